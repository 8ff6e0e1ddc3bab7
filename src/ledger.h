/* ledger: the record of every merge: what was filled, from where and when, so that it can be told
 * and undone, and so that what is done is not done again.
 *
 * A merge goes through three moments: it is intended (ledger_intend), its intention becomes durable
 * (the callback `durable`), and it is done (ledger_applied; then the data is synced, then "done" is
 * recorded).  Live files are written only between the second and the third.
 *
 * Invariants:
 *  1. What `durable` told is on disk: after any crash it is found again, runs and all.
 *  2. Whatever was written to a live file is within the runs of a merge on record: the intention is
 *     durable first, and ledger_covers() says whether it allows what is to be written now.
 *  3. A merge is "done" on record only after `sync` has said that its data is on disk; likewise a
 *     file's state (struct ledger_state), which lets it be passed by after a restart.
 *  4. One that is "intended" while nobody has the ledger open may be in part on disk.  It is opened
 *     as "interrupted", and is never called done.
 *  5. A cell of a run without old values was unknown when it was recorded, and lies in a past that
 *     rrdtool does not write again.  So it is unknown now, or holds what this or another merge on
 *     record put there: it can be made unknown whether this merge came that far or not.  A cell
 *     with an old value holds that or what was written over it: it can be given back likewise.
 *  6. A cell that several merges have recorded belongs to the latest of them that is not undone;
 *     where that has an old value for it, only if it is done.  Undoing another one leaves the cell
 *     alone.  Undoing the owner gives back what stood there before all merges undone by then.
 *     Undo takes nothing away that is not what a merge has written: a few cells of each run tell
 *     whether the file was written over by another database of the same structure.
 *  7. An open row is given back only while live's last_update is the one recorded and the open row
 *     holds what was recorded as new: else updates have come since, and it stays healed.
 *  8. A file of which something was undone is held: it is not merged, over restarts too, until
 *     ledger_release().  It is held from the moment when the undo's intention is durable.
 *  9. A merge is "undone" only when its undo is done; from the moment when the undo's intention is
 *     durable to then, and after an undo that was interrupted, it is "undone in part".  Such a
 *     merge is undone again from its beginning, or merged over; both are harmless.  An undo ends
 *     by what an undo has found, never by a merge's look at the file; one that is given up is not
 *     done (ledger_abandon()).  One that was interrupted before it wrote leaves the record when a
 *     merge finds in the file that it has not (ledger_never_begun()).
 * 10. Numbers of merges rise and are not used twice in one ledger.
 * 11. A ledger that cannot be written takes no intention, so nothing is merged without record.
 * 12. Nothing is undone, and no cell taken for spread, by what is damaged on record: each row that
 *     is acted upon has a checksum.
 *
 * Threads.  Every function may be called from any thread, but for one file from one at a time.
 * None waits for a disk but ledger_open, ledger_close, ledger_flush and those under "what is on
 * record".  Two threads inside: one commits in groups, one has live files synced; each calls its
 * callbacks without any mutex held.  Two mutexes: `mutex` for all that is in memory, never held
 * during I/O; `reading` for the connection on which questions are asked.  Never both at once.
 *
 * Memory: some 180 bytes a file beside its path; what is handed in and not yet done, 16 MB at most;
 * SQLite's caches, 3 MB. */
#ifndef LEDGER_H
#define LEDGER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"

struct ledger;

/* ---- what is recorded ---- */

enum ledger_what { LEDGER_MERGE, LEDGER_UNDO, LEDGER_REFUSAL };

/* How a cell came about. */
enum ledger_kind {
	LEDGER_EXACT, LEDGER_SEAM, LEDGER_CONSOLIDATED, LEDGER_SPREAD,
	LEDGER_KINDS
};

#define LEDGER_SAMPLES 8
#define LEDGER_BEFORE 7         /* old values of a cell that are told apart */

/* Cells of one DS in consecutive rows of one RRA. */
struct ledger_run {
	uint32_t rra, ds;
	uint32_t source;        /* index into the intent's sources */
	uint32_t step;          /* seconds between two rows; first is a multiple of it */
	enum ledger_kind kind;
	int64_t first;          /* end time of the oldest row, seconds since the epoch */
	uint64_t count;         /* cells, 1 at least */
	const double *old;      /* [count] what is overwritten; NULL: all unknown */
	/* What is written, as far as a few cells tell: ledger_sample() of the one at
	 * ledger_sampled().  So undo knows it from what somebody else has put there. */
	uint8_t samples;        /* 0: nobody has looked */
	uint8_t sample[LEDGER_SAMPLES];
};

/* The k-th cell of a run of `count` that is sampled: the newest, and further and further back.
 * There are LEDGER_SAMPLES of them, or `count`. */
uint64_t ledger_sampled(uint64_t count, unsigned k);
uint8_t ledger_sample(double value);

/* The open row of an RRA: CDP_val and CDP_unkn_pdp_cnt of its cdp_prep. */
struct ledger_open_row {
	uint32_t rra, ds;
	double old_val, new_val;
	uint64_t old_unkn, new_unkn;
};

struct ledger_source {
	const char *root;       /* of the backup */
	const char *rel;        /* beneath it; NULL: as the live file */
	uint64_t size;
	int64_t mtime_ns, ctime_ns;
};

struct ledger_intent {
	const char *rel;        /* beneath the live root */
	uint64_t dev, ino;
	uint64_t identity;      /* hash of what makes it this database: DS and RRA */
	int64_t last_up;        /* live's, at planning */
	const struct ledger_source *source;
	size_t sources;
	const struct ledger_run *run;   /* no cell twice; in any order, (rra, ds, first) is best */
	size_t runs;
	const struct ledger_open_row *open;
	size_t opens;
	const int64_t *undoes;  /* an undo: the merges that it undoes */
	size_t undone;          /* 0: a merge */
};

enum ledger_verdict {
	LEDGER_NOTHING,         /* nothing is known: to be looked at */
	LEDGER_MERGED, LEDGER_UNCHANGED, LEDGER_SKIPPED, LEDGER_REFUSED
};

/* A file as it was left.  (A device's number may be another after a reboot; ino and identity are
 * not.) */
struct ledger_state {
	uint8_t verdict;        /* enum ledger_verdict */
	bool settled;           /* live's last_update had passed every source's */
	bool held;              /* something of it was undone: leave it alone */
	bool spread;            /* may hold spread cells: ask ledger_spread() */
	uint64_t dev, ino, identity, size;
	int64_t mtime_ns, ctime_ns;
	uint64_t sources;       /* ledger_digest() of what it was merged from */
	uint64_t cells;         /* filled by the last merge */
};

/* One number for the sources as they are; not 0.  What is equal has the same one. */
uint64_t ledger_digest(const char *rel, const struct ledger_source *source, size_t sources);

/* ---- opening ---- */

struct ledger_synced {
	const char *rel;
	int error;              /* for the callee to set: 0 or -errno */
};

struct ledger_options {
	const char *path;       /* PATH-wal, PATH-shm and PATH.lock stand beside it */
	/* What is damaged beyond being recognised as a ledger may be moved away.  Else only what
	 * was one for certain: anybody may have written any path on a command line. */
	bool own_path;
	unsigned group_ms;      /* between two commits, at most; 0: 250 */
	unsigned sync_ms;       /* how long data written waits for its sync; 0: 1000 */
	unsigned retry_ms;      /* after a failure; 0: 10000 */

	/* The intention is durable: look at the file again. */
	void (*durable)(const char *rel, int64_t id, void *arg);
	/* Sees to it that what was written to these files is on disk.  (Opening a file conflicts
	 * with a lease on it, one of our own too; syncfs does not.) */
	void (*sync)(struct ledger_synced *file, size_t files, void *arg);
	/* "Done" is on record, or (-errno) never will be, since the data could not be synced: the
	 * file has to be looked at again.  May be NULL. */
	void (*done)(const char *rel, int64_t id, int error, void *arg);
	void *arg;
};

/*  0         open; perhaps not working yet, see ledger_ok(), and with something to say, see
 *            ledger_notice()
 *  REFUSED   in use by another process, of a newer version, or no ledger at all
 *  -ENOMEM, -EAGAIN (no thread) */
int ledger_open(const struct ledger_options *options, struct ledger **ret, struct reason *why);

/* For ledger_history() of all files, and nothing else: nothing is written, and another process may
 * have it open.  0, REFUSED, -errno. */
int ledger_open_reading(const char *path, struct ledger **ret, struct reason *why);

/* Has synced and recorded what was applied, but not beyond `until_ns` of the monotonic clock.
 * Intentions that are not durable are dropped.  False where something hangs: the ledger stays, and
 * so must all that its callbacks use. */
bool ledger_close(struct ledger *ledger, uint64_t until_ns);

/* How many merges wrote what is not on disk for certain; *ret_failed: of these, for how many the
 * disk has failed. */
size_t ledger_unsynced(struct ledger *ledger, size_t *ret_failed);
/* Does it work?  Where not: why, and it tries again by itself. */
bool ledger_ok(struct ledger *ledger, struct reason *why);
/* Have it looked, soon, whether the database at the path is still the one that is open.  (Before
 * each commit that is done anyway.) */
void ledger_check(struct ledger *ledger);
/* Hands out, once, what happened to the ledger and is to be said: it was set aside, begun anew. */
bool ledger_notice(struct ledger *ledger, struct reason *ret);

/* Waits until all that was handed in is on record and told, `until_ns` at most; hurries it.
 * Not from a callback.
 * 0, -EIO (it does not work), -ETIMEDOUT. */
int ledger_flush(struct ledger *ledger, uint64_t until_ns);

/* ---- one file's merge ---- */

/* Hands an intention in (copied) and does not wait.  It takes the place of one of the same file
 * that was not applied; where that one wrote something, it stays on record as LEDGER_PART.
 *    -EIO      the ledger does not work: ledger_ok()
 *    -EAGAIN   too much is under way: later
 *    -EPERM    the file is held
 *    -EINVAL   runs that no RRD can have
 *    -ENOMEM */
int ledger_intend(struct ledger *ledger, const struct ledger_intent *intent, int64_t *ret_id);

/* The intention of this file to do that, LEDGER_MERGE or LEDGER_UNDO, which is durable and was not
 * applied yet; 0: none. */
int64_t ledger_intended(struct ledger *ledger, const char *rel, enum ledger_what what);

/* The undo of this file that is under way, if one is, will not be gone on with.  Where it has
 * written nothing it is taken off the record, and the file is held no more than before; else it
 * stays there as LEDGER_PART, and the file held. */
void ledger_abandon(struct ledger *ledger, const char *rel);

/* Is all of `now` within the durable intention `id`: the same database, the same sources, each cell
 * in a run of the same kind and with the same old value; each open row with the same values at the
 * same last_update? */
bool ledger_covers(struct ledger *ledger, int64_t id, const struct ledger_intent *now);

/* The file was written to under its intention, which is durable: so many cells, more than before.
 * From now on it stays on record, whatever becomes of the job. */
void ledger_wrote(struct ledger *ledger, const char *rel, const uint64_t cells[LEDGER_KINDS]);

enum ledger_result {
	LEDGER_DONE,            /* all that was intended was written, or need not be any more */
	LEDGER_PART,            /* some of it was written, and no more will be */
	/* Nothing was written: the intention is taken off the record.  After ledger_wrote() it is
	 * LEDGER_DONE or LEDGER_PART instead, as the verdict says.  An undo that finds nothing to
	 * take back is done: all that it undoes is gone, or was taken back by one that was
	 * interrupted. */
	LEDGER_VOID
};

struct ledger_outcome {
	enum ledger_result result;
	uint64_t cells[LEDGER_KINDS];   /* written; what ledger_wrote() was told comes first */
	uint64_t took_ns;
	const char *reason;     /* what was refused of it, or could not be undone; or NULL */
	struct ledger_state state;      /* as which the file is known once the data is on disk */
};

/* What came of intention `id`, durable or not.  Does not wait. */
void ledger_applied(struct ledger *ledger, const char *rel, int64_t id,
		    const struct ledger_outcome *outcome);

/* What came of a look at a file without a merge.  Recorded where it is news; a refusal with its
 * reason goes into the history when that has changed.  `held` and `spread` stay as they are.
 * 0 or -ENOMEM. */
int ledger_note(struct ledger *ledger, const char *rel, const struct ledger_state *state,
		const char *reason);

/* ---- what is known of a file: from memory ---- */

/* False: it was never looked at to the end; *ret is set all the same where something is on record.
 */
bool ledger_known(struct ledger *ledger, const char *rel, struct ledger_state *ret);
/* Files of which an undo was interrupted or given up, having perhaps written something, and which
 * were not undone to the end since, nor merged.  An array to free, with what is in it.  0 or
 * -ENOMEM. */
int ledger_unended(struct ledger *ledger, char ***ret, size_t *ret_count);
/* Is this one of them? */
bool ledger_is_unended(struct ledger *ledger, const char *rel);
/* It may be merged again: somebody asked for it. */
void ledger_release(struct ledger *ledger, const char *rel);

/* ---- what is on record: asks the disk ---- */

struct ledger_cells {
	struct ledger_run *run; /* by (rra, ds, first) */
	size_t runs, run_capacity;
	struct ledger_open_row *open;
	size_t opens, open_capacity;
};
void ledger_cells_free(struct ledger_cells *cells);

enum ledger_stage { LEDGER_INTENDED, LEDGER_IS_DONE, LEDGER_IS_PART, LEDGER_INTERRUPTED };

struct ledger_entry {
	int64_t id;
	enum ledger_what what;
	enum ledger_stage stage;
	int64_t time_ms, done_ms;       /* since the epoch; done_ms 0: it is not */
	uint64_t dev, ino, identity;
	int64_t last_up;
	uint64_t cells[LEDGER_KINDS];   /* written; intended, where it is not done */
	uint64_t took_us;
	int64_t undone;         /* the undo that undid it, or 0 */
	int64_t undoing;        /* the undo that has begun with it and was not done, or 0 */
	char *rel, *reason;     /* reason: or NULL */
	/* Paths, a line each, in which a newline is \x0A and a backslash is \\; or NULL. */
	char *sources;
};

/* The latest `limit` before number `before` (0: of all), latest first; of one file, or all (NULL).
 * 0 or -errno.  ledger_get() gives one: -ENOENT where there is none. */
int ledger_history(struct ledger *ledger, const char *rel, int64_t before, size_t limit,
		   struct ledger_entry **ret, size_t *ret_count);
int ledger_get(struct ledger *ledger, int64_t id, struct ledger_entry **ret);
void ledger_entries_free(struct ledger_entry *entry, size_t count);

/* What merge `id` has recorded.  -EBADMSG: that is damaged. */
int ledger_runs(struct ledger *ledger, int64_t id, struct ledger_cells *ret);

/* The paths of its sources, as its runs number them; an array to free, with what is in it. */
int ledger_sources(struct ledger *ledger, int64_t id, char ***ret, size_t *ret_count);

/* Paths of which something can be undone; an array to free, with what is in it. */
int ledger_undoable(struct ledger *ledger, char ***ret, size_t *ret_count);

/* What the undos of a file that were interrupted were to write. */
struct ledger_begun {
	struct ledger_cells cells;      /* an open row: old and new as for a merge */
	struct ledger_cells before;     /* runs with old values, one of which a cell gets that does
					 * not become unknown */
	int64_t last_up;                /* at which the open rows were to be written */
	int64_t *undo, *merge;          /* the numbers of these undos, and of the file's merges */
	size_t undos, merges;
};

/* 0; REFUSED: there is none, or it has written something for certain, or it is another database, or
 * the record is damaged; -errno. */
int ledger_begun(struct ledger *ledger, const char *rel, uint64_t ino, uint64_t identity,
		 struct ledger_begun *ret);
void ledger_begun_free(struct ledger_begun *begun);
/* They have written nothing, the file says: they leave the record, and what they were to undo
 * stands.  0 or -ENOMEM. */
int ledger_never_begun(struct ledger *ledger, const char *rel, const struct ledger_begun *begun);

/* A run of a merge to be undone, which no later one has written to: does the file still hold it? */
struct ledger_check {
	struct ledger_run run;          /* old: not to be used */
	bool others;                    /* for the caller to set: it does not */
	unsigned samples;
	struct {
		int64_t time;           /* the row's end */
		uint8_t sample;         /* of its value, unless it is unknown */
		/* Of what merges have found there: an undo that did not come to its end, or is not
		 * at its end yet, may have put that back. */
		uint8_t before[LEDGER_BEFORE];
		uint8_t befores;
	} at[LEDGER_SAMPLES];
};

struct ledger_undo {
	/* Runs without old values become unknown, others get these; NaN: unknown.  Of open rows,
	 * old is to be written where new is found. */
	struct ledger_cells cells;
	int64_t last_up;        /* at which the open rows may be given back */
	int64_t newest_up;      /* live's last_up at the latest of them; it cannot have gone back */
	struct ledger_check *check;
	size_t checks;
	size_t healed;          /* open rows of an earlier last_update, which stay healed */
	int64_t *id;            /* the merges that it undoes, latest first */
	size_t ids;
};

/* What is to be written so that merge `id` (0: all of the file's) is undone in the database that
 * `rel` is now.  `again`: those that were undone too, for what they wrote may be in the file again
 * without a record.  REFUSED: there is nothing to undo, or it is another database; -errno. */
int ledger_undo(struct ledger *ledger, const char *rel, int64_t id, uint64_t ino, uint64_t identity,
		bool again, struct ledger_undo *ret, struct reason *why);
void ledger_undo_free(struct ledger_undo *undo);
/* Leaves out the cells of the runs that are `others`.  0 or -ENOMEM. */
int ledger_undo_leave(struct ledger_undo *undo);

/* The spread cells of this database: all that may still hold what was spread; and what tells
 * whether it is that. */
int ledger_spread(struct ledger *ledger, const char *rel, uint64_t ino, uint64_t identity,
		  struct ledger_undo *ret);

#endif
