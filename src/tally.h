/* tally: what is known of each file, live or in a backup, and the sums of it.
 *
 * Invariants:
 *  1. A path that stands neither in live nor in a backup is not remembered.
 *  2. The sums are those of the live files; `waiting` counts what only backups hold.
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
	size_t refused;         /* failed, and those of which a part was refused */
	size_t paired;          /* that some source has */
	size_t in_backup;       /* files that some backup has, live or not */
	size_t unsettled;       /* a source may still have more to give, now or later */
	size_t waiting;         /* in a backup, not in live */
	uint64_t cells;
	uint64_t changes;       /* counts up whenever one of the above changes */
};

struct tally *tally_new(void);
void tally_free(struct tally *tally);

/* The file stands in the live tree.  Where `ret_settled` is set, there is nothing more to do for
 * it however often it is updated.  0 or -ENOMEM. */
int tally_live(struct tally *tally, const char *rel, bool *ret_settled);
/* It does not any more. */
void tally_gone(struct tally *tally, const char *rel);
/* The same for all files beneath a directory. */
void tally_gone_beneath(struct tally *tally, const char *dir);

/* A walk over the backups: begin, each file of each, end; what was not met is forgotten.
 * `ret_look` is set where live has the file, and more backups have it than at its last try. */
void tally_backups_begin(struct tally *tally);
int tally_backup(struct tally *tally, const char *rel, bool *ret_look);
void tally_backups_end(struct tally *tally);

/* What came of a try.  True where the refusal that it names was not said before. */
bool tally_result(struct tally *tally, const char *rel, const struct merge_result *result,
		  bool will_retry);

struct tally_sums tally_sums(struct tally *tally);

/* Copies up to `count` live paths, each to be freed; returns how many. */
size_t tally_sample(struct tally *tally, char **ret_rel, size_t count);

#endif
