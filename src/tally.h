/* tally: what is known of each file, live or in a backup, and the sums of it.
 *
 * Invariants:
 *  1. A path that stands neither in live nor in a backup is not remembered.
 *  2. The sums are those of the live files; `waiting` counts what only backups hold, but for what
 *     is forgotten: nobody expects that it will appear in live.
 *  3. A file that was merged stays merged, however often it is looked at again.
 * One mutex inside; every function may be called from any thread. */
#ifndef TALLY_H
#define TALLY_H

#include "merge.h"

struct tally;

struct tally_sums {
	size_t live;            /* files seen in the live tree */
	size_t merged, unchanged, skipped, failed;
	size_t pending;         /* not looked at yet, or to be tried again soon */
	size_t retried;         /* of them, those to be tried again */
	size_t refused;         /* failed, and those of which a part was refused */
	size_t unsaid;          /* of them, not handed out by tally_next_refusal() yet */
	size_t denied[MERGE_DENIALS];   /* of them, for want of a right */
	size_t paired;          /* that some source has */
	size_t unsettled;       /* a source may still have more to give, now or later */
	size_t undone;          /* and left alone since, until somebody asks for them */
	size_t half_seen;       /* looked at last while a backup was away */
	size_t unproven;        /* whose data sources were matched by their numbers alone */
	size_t waiting;         /* in a backup, not in live, and not forgotten */
	size_t forgotten;       /* in a backup, not in live, and nobody waits for it */
	uint64_t cells;
	uint64_t changes;       /* counts up whenever one of the above changes */
};

struct tally *tally_new(void);
void tally_free(struct tally *tally);

/* ---- live files ---- */

/* The file stands in the live tree; `scanned` tells that a scan found it there.  Where
 * `ret_settled` is set, there is nothing more to do for it however often it is updated.
 * 0 or -ENOMEM. */
int tally_live(struct tally *tally, const char *rel, bool scanned, bool *ret_settled);
/* Does it? */
bool tally_has_live(struct tally *tally, const char *rel);
/* It does not any more. */
void tally_gone(struct tally *tally, const char *rel);
/* The same for all files beneath a directory. */
void tally_gone_beneath(struct tally *tally, const char *dir);

/* We are about to write to it: until its next CLOSE_WRITE (or, where that is lost, for a moment)
 * what is heard of it is our own doing. */
void tally_own(struct tally *tally, const char *rel);
/* Something is heard of the file, and not its CLOSE_WRITE: is it that? */
bool tally_is_own(struct tally *tally, const char *rel);
/* Its CLOSE_WRITE is heard, so it stands in the live tree.  `ret_look`: that was not our own doing,
 * and there is something to do for it.  0 or -ENOMEM. */
int tally_closed(struct tally *tally, const char *rel, bool *ret_look);

/* A file that is known was written to, perhaps by us.  Returns in how many seconds to look at it:
 * longer and longer where such looks found nothing to do (an rrdtool that does not map files).
 * `heard`, an event told: then it is not done before that look, unless it comes so late. */
unsigned tally_written_to(struct tally *tally, const char *rel, bool heard);
/* Is there nothing to do for a file that looks like this now?  It is the same database with which
 * we were done, the same inode and size; with `rewritten`, it was not changed since we looked at it
 * last.  Where it is another, it counts as one that was never looked at. */
bool tally_same(struct tally *tally, const char *rel, const struct io_stamp *now, bool rewritten);

/* A file that is done by the record was changed since: by updates, if it is what was merged, and
 * that is to be proved.  Until then its backup is needed; whatever comes of a try proves it
 * too. */
void tally_recalled(struct tally *tally, const char *rel);
/* Hands out, once, one of those; copies to `rel` (cut to `size`).  False where there is none. */
bool tally_next_recalled(struct tally *tally, char *rel, size_t size);
/* It is what was merged, or else it counts as one that was never looked at. */
void tally_proved(struct tally *tally, const char *rel, bool same);

/* Somebody asks for the file: it is pending until it was looked at, and its backup needed. */
void tally_asked(struct tally *tally, const char *rel);

/* A scan of the whole tree begins.  After it, tally_unmet() are those that it has not found. */
void tally_scan_begin(struct tally *tally);
/* What came of a try. */
void tally_result(struct tally *tally, const char *rel, const struct merge_result *result,
		  bool will_retry);
/* The sources are others from now on: nothing is settled, nothing waits. */
void tally_new_sources(struct tally *tally);

/* ---- backups ---- */

/* A walk over the backups: begin, each file of each, end; what was not met is forgotten, unless
 * one of them could not be walked (`whole` is false).
 * `ret_look` is set where live has the file, and more backups have it than at its last try. */
void tally_backups_begin(struct tally *tally);
int tally_backup(struct tally *tally, const char *rel, bool *ret_look);
void tally_backups_end(struct tally *tally, bool whole);

/* From now on these are forgotten: `is` tells of each path, under the mutex.  NULL: none. */
typedef bool tally_forgotten_fn(const char *rel, void *arg);
void tally_forget(struct tally *tally, tally_forgotten_fn *is, void *arg);

/* ---- what is to be told ---- */

struct tally_sums tally_sums(struct tally *tally);

/* Hands out a refusal that was not said yet, the oldest first, but none for want of a right.
 * Copies to `rel` (cut to `size`) and `why`.  False where there is none. */
bool tally_next_refusal(struct tally *tally, char *rel, size_t size, struct reason *why,
			bool *ret_partial);

enum tally_which {
	TALLY_LIVE, TALLY_UNMET, TALLY_HALF_SEEN, TALLY_WAITING, TALLY_DENIED, TALLY_UNPROVEN
};

/* The paths of such files in their order, `count` of them at most, from all over where there are
 * more (0: all); with TALLY_DENIED, those with that denial.  To be freed with tally_list_free();
 * NULL where there is none or no memory. */
char **tally_list(struct tally *tally, enum tally_which which, enum merge_denied denied,
		  size_t count, size_t *ret_count);
void tally_list_free(char **list, size_t count);

enum tally_state {
	TALLY_IS_PENDING, TALLY_IS_MERGED, TALLY_IS_UNCHANGED, TALLY_IS_SKIPPED, TALLY_IS_FAILED,
	TALLY_IS_WAITING, TALLY_IS_FORGOTTEN,
	TALLY_ANY_STATE,        /* what is asked for, not what a file is in */
	TALLY_IS_REFUSED        /* the same: those with a reason */
};

/* What is known of one file. */
struct tally_item {
	enum tally_state state; /* of those above TALLY_ANY_STATE */
	char *rel;
	char *why;              /* the refusal; NULL: none */
	bool partial;           /* … of a part alone */
	bool merged;            /* since the start; pending again, perhaps */
	bool settled;           /* its sources have nothing more to give */
	bool half_seen;         /* looked at last while a backup was away */
	bool unproven;          /* its data sources were matched by their numbers alone */
	bool backup;            /* a walk over the backups has met it */
	unsigned sources;       /* how many files of backups it had at its last try */
};

/* Of those in `state` that `wanted` (NULL: any) says yes to, the first `count` at most whose path
 * comes after `after` ("": all), in the order of paths.  Fills `item`, an array for so many; to
 * be emptied with tally_page_free().  Returns how many; fewer than `count`: there are no more, or
 * no memory. */
size_t tally_page(struct tally *tally, enum tally_state state,
		  bool (*wanted)(const char *rel, void *arg), void *arg, const char *after,
		  struct tally_item *item, size_t count);
void tally_page_free(struct tally_item *item, size_t count);
/* One file.  False where it is not known, or there is no memory. */
bool tally_look(struct tally *tally, const char *rel, struct tally_item *ret);

/* Refusals that differ in particulars only: in numbers, and in what comes after the first ": ". */
struct tally_group {
	size_t files;
	char example[4096];     /* the first of them, and why it was */
	struct reason why;
	size_t kind;            /* so many bytes of `why` hold for all of them */
};
/* The largest groups first, `count` at most.  Returns how many; *ret_groups: how many there are. */
size_t tally_groups(struct tally *tally, struct tally_group *group, size_t count,
		    size_t *ret_groups);

/* Why a file was refused; false where it was not. */
bool tally_why(struct tally *tally, const char *rel, struct reason *why);

#endif
