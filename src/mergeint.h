/* mergeint: what merge.c and the other merge*.c share; nobody else includes it. */
#ifndef MERGEINT_H
#define MERGEINT_H

#include "gather.h"
#include "give.h"
#include "hold.h"
#include "labels.h"
#include "merge.h"
#include "record.h"
#include "reshape.h"
#include "seam.h"

struct merge_scratch {
	struct rrd live;
	uint64_t file_id;       /* of live, io_file_id() */
	struct sidecar sidecar; /* live's; all zero: none */
	struct reason useless;  /* one stands there and is of no use; "": none does */
	struct gather gather;
	bool numbers_asked;     /* by two sidecars, is a number another value? */
	struct reason changed;  /* … it is; "": no */
	uint64_t *map;          /* of all sources, one after the other */
	size_t map_capacity;
	struct plan_source *source;     /* those that can be taken from */
	unsigned source_capacity;
	struct plan plan;
	struct pdps pdps;
	struct reshape reshape;
	struct give give;
	struct record record;
	struct ledger_undo undo;
	uint64_t undo_file, undo_identity;       /* of the database that it is for */
	bool undo_again;                /* all that it undoes was undone before: */
	struct reason undone;           /* … what that means, where nothing of it is there */
	char key[MERGE_KEY_SIZE];       /* the file in the ledger's terms */
};

/* One file under way. */
struct merge_job {
	struct merge_scratch *scratch;
	const struct merge_site *site;
	const struct merge_request *request;
	struct merge_result *result;
	int root;
	/* Reads live from `fd`, or opens it for the time of reading when that is -1, and makes
	 * the plan.  1 where there is something to write; 0 where the job has ended; -ESTALE
	 * where live changed under the reading. */
	int (*plan)(struct merge_job *job, int fd);
	uint64_t started_ns;
	bool undo;
	int64_t merge;          /* undo: which; 0: all of the file's */
};

/* ---- merge.c ---- */

/* Zeroes the result and opens the live root.  False where the job has ended. */
bool merge_begin(struct merge_job *job);
/* The ledger learns what came of it. */
void merge_end(struct merge_job *job);

void merge_finish(struct merge_job *job, enum merge_outcome outcome);
/* What could not be read or written may be tomorrow: it is not done. */
void merge_fail(struct merge_job *job, const char *side, const struct reason *why);
void merge_again(struct merge_job *job, enum merge_outcome outcome, unsigned in_ms,
		 const char *side, const struct reason *why);
/* Whoever runs this may not do it: told apart, for there will be many of them. */
void merge_note_denied(struct merge_job *job, int error, enum merge_denied what);
void merge_advise(struct reason *why, int error);

/* 0; 1 where the job has ended; -ESTALE. */
int merge_read_live(struct merge_job *job, int fd);

/* ---- mergesidecar.c ---- */

/* Finds the live file's sidecar, if it has one.  False where the job has ended: with
 * MERGE_UNLABELLED if that is worth waiting for. */
bool merge_read_sidecar(struct merge_job *job);

/* ---- mergematch.c ---- */

/* Which data source of that input belongs to which of live, by what it says and by what the others
 * do: as labels_map(). */
int merge_match(struct merge_job *job, unsigned input, uint64_t *map, struct labels_verdict *ret,
		struct reason *why);

/* ---- mergeundo.c ---- */

/* Before a merge writes, with live read: an undo that was interrupted before it wrote anything
 * leaves the record.  Asks the ledger's disk. */
void merge_heed_undo(struct merge_job *job);

/* ---- mergeapply.c ---- */

/* Plans and writes until nothing is left. */
void merge_apply(struct merge_job *job);

#endif
