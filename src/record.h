/* record: a merge in the ledger's terms: what it intends to write, and as what a file is known. */
#ifndef RECORD_H
#define RECORD_H

#include "give.h"
#include "ledger.h"
#include "plan.h"
#include "source.h"

/* Memory to work with; starts zeroed. */
struct record {
	struct ledger_run *run;
	size_t run_capacity;
	double *old;                    /* what gives way */
	size_t old_capacity;
	struct ledger_open_row *open;
	size_t open_capacity;
	struct ledger_source *source;
	unsigned source_capacity, sources;
};
void record_free(struct record *record);

/* What makes a live file the database that it is: its data sources and archives. */
uint64_t record_identity(const struct layout_header *head);

/* The sources' files for a live file, in order: begin, each, then what is asked of them;
 * plan_run.source counts them as they come.  0 or -ENOMEM.  `rel` must stay as long as the record
 * is asked. */
void record_begin(struct record *record);
int record_source(struct record *record, const struct source *source, const char *rel,
		  const struct io_stamp *stamp);
/* One number for them as they are. */
uint64_t record_digest(const struct record *record, const char *rel);

/* The plan for `rel`, of which io_file_id() is `file_id`, as it is to be recorded; `give`: what has
 * given way to it; NULL for an undo.  *ret points into `record` and `plan`, and is good until these
 * change. 0 or -ENOMEM. */
int record_intent(struct record *record, const char *rel, const struct rrd *live,
		  uint64_t file_id, const struct plan *plan, const struct give *give,
		  struct ledger_intent *ret);

/* Leaves out what of `undo` is not as a merge has written it: the file was written over in place,
 * by one of the same structure.  0, saying how much where there is any; REFUSED where that is so
 * for all of it; -ENOMEM. */
int record_heed(struct ledger_undo *undo, struct rrd *live, struct reason *why);

/* Is the file still what these merges (of ledger_spread) have made of it, updates apart?  All that
 * was sampled of them and is still in the ring speaks; where there is none, nothing does. */
enum record_word { RECORD_MUTE, RECORD_AGREES, RECORD_DIFFERS };
enum record_word record_word(const struct ledger_undo *merged, struct rrd *live);

/* Has none of these undos written anything into the file?  False too where that cannot be told: as
 * nothing of what they were to write is in the ring any more, or an update has come since to an
 * open row of it. */
bool record_never_begun(const struct ledger_begun *begun, struct rrd *live);

/* As what the file is known from now on. */
struct ledger_state record_state(enum ledger_verdict verdict, bool settled,
				 const struct io_stamp *stamp, uint64_t file_id,
				 uint64_t identity, uint64_t digest, uint64_t cells);

/* Before a write to a live file, on `dev`: so that record_sync() hears of all that goes wrong from
 * now on, whoever else does.  Its filesystem is held open until that. */
void record_before(const char *path, dev_t dev);
/* Lets go of what was held for so long: its sync has never come. */
void record_rest(uint64_t idle_ns);
/* For ledger_options.sync: has on disk what was written to these files, by syncfs(2) of where they
 * are; opening the files themselves would break our own leases on them. */
void record_sync(struct ledger_synced *file, size_t files, void *arg);

#endif
