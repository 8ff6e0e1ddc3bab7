/* gather: what the backups hold for one live file, read and judged.
 *
 * A source counts when it could be read whole, is not torn, and has been left alone for long
 * enough; what cannot count now, but may soon, ends the try. */
#ifndef GATHER_H
#define GATHER_H

#include "rrd.h"
#include "source.h"

enum gather_outcome {
	GATHER_READY,           /* at least one source can be used */
	GATHER_NONE,            /* no source has the file */
	GATHER_REFUSED,         /* those that have it cannot be used: why */
	/* to be tried again, in retry_ms at the earliest: */
	GATHER_RESTING,         /* a source changed only just now */
	GATHER_TORN             /* a source is torn, or changed while it was read */
};

/* A file of a source that counts. */
struct gather_input {
	struct rrd db;
	unsigned source;        /* which, in the order of trust */
	struct source_file file;
	struct sidecar sidecar; /* its own; all zero: none */
	struct reason useless;  /* one stands there and is of no use; "": none does */
	int fd;                 /* open until gather_end(): cached for us alone; or -1 */
};

struct gather_request {
	const struct source_set *sources;
	const char *rel;        /* beneath the live root */
	const struct sidecar *sidecar;  /* the live file's; NULL: sidecars are not asked */
	unsigned rest_s;        /* a source must have rested so long, seconds; 0: need not */
	bool strict_roots;      /* a source's root that is not there is an error, not a wait */
	bool last_try;          /* a source that keeps changing is done without */
	bool again;             /* we have read the same for the same live file a moment ago */
	uint64_t memo;          /* of the try before, or 0 */
};

/* What came of it.  Starts zeroed; memory is kept from file to file. */
struct gather {
	struct gather_input *input;     /* the most trusted first */
	unsigned inputs;
	unsigned capacity;
	struct source_found files;

	unsigned found;         /* files of the sources, whether they can be used or not */
	int64_t newest;         /* the latest last_up of those that can be used */
	bool all_seen;          /* none was missing or refused */
	bool missing;           /* the root of one could not be opened */
	bool denied;            /* one may not be read by whoever runs this */
	unsigned retry_ms;      /* also set where one was refused: it may be mended */
	uint64_t memo;          /* for the next try: which state of the sources this one saw */
	uint64_t bytes;         /* read */
	struct reason why;      /* the refusals, or what is waited for */
};

/* Reads what each source holds for request->rel. */
enum gather_outcome gather_read(struct gather *gather, const struct gather_request *request);
/* `done`: the live file will not need them again.  What the page cache holds of them gives way to
 * the live files then, but for what it held before and what other live files may need. */
void gather_end(struct gather *gather, bool done);
void gather_free(struct gather *gather);

/* "backup", or "backup 2" where there are several.  Returns `buffer`. */
#define GATHER_SIDE_SIZE 24
char *gather_side(const struct source_set *sources, unsigned n, char *buffer);

/* Is this file, by its inode, one of those that were read? */
bool gather_holds(const struct gather *gather, const struct io_stamp *stamp);

#endif
