/* merge: one live file, the whole transaction: read, plan, apply. */
#ifndef MERGE_H
#define MERGE_H

#include <stdatomic.h>

#include "cached.h"
#include "labels.h"
#include "ledger.h"
#include "plan.h"
#include "source.h"

struct gather;

enum merge_outcome {
	MERGE_MERGED,           /* written to (with dry_run: would be) */
	MERGE_UNCHANGED,        /* nothing to fill */
	MERGE_SKIPPED,          /* no counterpart in any source */
	MERGE_HELD,             /* undone, and not to be merged until somebody asks */
	MERGE_FAILED,           /* refused, or an error: result.why */
	MERGE_GONE,             /* the live file is not there any more */
	/* to be tried again, in result.retry_ms at the earliest: */
	MERGE_BUSY,             /* another process has the live file open */
	MERGE_RESTING,          /* a source changed only just now */
	MERGE_TORN,             /* a source is torn, or changed while it was read */
	MERGE_QUIET,            /* no lease to be had: wait for the file's next CLOSE_WRITE */
	MERGE_UNLABELLED,       /* its sidecar is still to come */
	MERGE_RECORDING,        /* its intention is on the way to the ledger's disk */
	MERGE_UNRECORDED        /* the ledger does not work */
};

/* A refusal that a right would have prevented: who runs this may not … */
enum merge_denied {
	MERGE_ALLOWED,
	MERGE_DENIED_SOURCE,    /* read the backup's file */
	MERGE_DENIED_READ,      /* read the live file */
	MERGE_DENIED_WRITE,     /* write it */
	MERGE_DENIALS
};

/* What holds for all files of a run; const while workers use it. */
struct merge_site {
	const char *live;       /* root of the live tree */
	const char *name;       /* … for the ledger, as place_name() has it; NULL: the same */
	struct source_set sources;
	/* Which directory the live root must be, as merge_root_id() has it: 0 is none, until one
	 * was found good.  NULL: any. */
	const atomic_uint_fast64_t *root;
	/* … and which one bears `name`, likewise; 0: any. */
	const atomic_uint_fast64_t *named;
	struct plan_options options;
	enum labels_match match;
	struct ledger *ledger;  /* NULL: no record is kept */
	struct cached *cached;  /* NULL: none */
	bool record_now;        /* a ledger that does not work is an error, not a wait */
	bool dry_run;
	unsigned rest_s;        /* a source must have rested so long, seconds; 0: need not */
	bool strict_roots;      /* a source's root that is not there is an error, not a wait */
	bool wait_quiet;        /* without leases, write only right after a CLOSE_WRITE */
	bool wait_sidecar;      /* a file that is new is not judged before its sidecar has come */
	/* Called before a live file is opened for writing: what inotify tells of it from now to the
	 * next CLOSE_WRITE is our own doing.  May be NULL. */
	void (*opening)(const char *rel, void *arg);
	void *opening_arg;
	/* Called with what is planned, which may be nothing, before anything is written; again
	 * where it has to be planned anew.  `live` holds it already.  May be NULL. */
	void (*planned)(const struct rrd *live, const struct plan *plan,
			const struct gather *gather, void *arg);
	void *planned_arg;
};

struct merge_request {
	const char *rel;        /* beneath the live root */
	bool just_written;      /* its CLOSE_WRITE came a moment ago */
	bool last_try;          /* a source that keeps changing is done without */
	bool wrote;             /* a try before this one has written, and not come to its end */
	uint64_t memo;          /* result.memo of the try before, or 0 */
};

struct merge_result {
	enum merge_outcome outcome;
	bool partial;           /* something was refused although the rest was taken: why */
	bool unproven;          /* data sources called by numbers alone were matched by these */
	/* live's sidecar is of no use, or there is none and no source has the file: it is written
	 * sooner or later, and then the file is to be looked at again */
	bool unlabelled;
	bool settled;           /* live's last_update has passed every source's */
	bool no_lease;          /* leases are refused here; a lock alone was used */
	struct reason lease_why;        /* … and why they are */
	bool source_newer;      /* a source was updated later than live */
	bool source_missing;    /* the root of a source could not be opened */
	enum merge_denied denied;       /* why it failed, or a part of it */
	struct io_stamp stamp;  /* of live as it was seen, or left, last; ino 0: it was not seen */
	bool future;            /* a last_update lies in the future: a clock is wrong */
	struct reason why;
	unsigned sources;       /* that have the file, whether it could be used or not */
	unsigned retry_ms;      /* also set where a source was refused: it may be mended */
	uint64_t memo;          /* for the next try: which state of the sources this one saw */
	struct plan_counts counts;      /* what was written */
	uint64_t unhealed;      /* cells of a seam that cannot be had */
	/* undo: open rows that stay completed, as updates have come since */
	uint64_t healed;
	int64_t from, to;       /* of it, seconds since the epoch */
	unsigned source;        /* 1 = the first that gave something */
	/* Its file that did, until the scratch is used again; NULL: none. */
	const struct source_file *source_file;
	bool foreign;           /* … which another kind of machine wrote */
	uint64_t bytes;         /* read and written */
	uint64_t took_ns;
	uint64_t hold_ns;       /* the longest hold */
	unsigned holds;
};

static inline bool merge_wrote(const struct merge_result *result)
{
	return result->counts.cells || result->counts.opens;
}

/* Never 0. */
uint64_t merge_root_id(const struct stat *st);

/* The file in the ledger's terms: its whole path, by the live tree's name.  Returns `buffer`. */
#define MERGE_KEY_SIZE (2 * 4096)
char *merge_key(const struct merge_site *site, const char *rel, char *buffer);

/* Buffers that one thread keeps from file to file. */
struct merge_scratch;
struct merge_scratch *merge_scratch_new(void);
void merge_scratch_free(struct merge_scratch *scratch);

void merge_file(struct merge_scratch *scratch, const struct merge_site *site,
		const struct merge_request *request, struct merge_result *ret);

/* Takes back what merge `id` (0: every merge) wrote to the file.  With a ledger only; like
 * merge_file() it may end as MERGE_RECORDING, to be called again when that is on record.
 * MERGE_MERGED: it is undone; counts.cells are those taken back, with those that were in `ret`
 * before: hand it in zeroed, and as it is for another try. */
void merge_undo(struct merge_scratch *scratch, const struct merge_site *site, const char *rel,
		int64_t id, struct merge_result *ret);

#endif
