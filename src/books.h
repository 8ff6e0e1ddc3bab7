/* books: the daemon's side of the ledger: opens it, brings back the files whose intention is on
 * record, and passes by what is done. */
#ifndef BOOKS_H
#define BOOKS_H

#include "merge.h"
#include "queue.h"
#include "tally.h"

struct books;

struct books_options {
	const char *state_dir;          /* the ledger is STATE_DIR/ledger.db */
	const struct merge_site *site;  /* its live tree; must outlive the books */
	struct queue *queue;
	struct tally *tally;
	bool once;              /* what is to be proved is so at once */
};

/* 0; REFUSED where another process has the ledger, or it is of a newer version; -errno.  One that
 * cannot be written is opened all the same, and said by books_tick(). */
int books_open(const struct books_options *options, struct books **ret, struct reason *why);
/* False where a disk hangs: the books stay, and so must all that they use.  NULL is fine. */
bool books_close(struct books *books, uint64_t until_ns);

/* From now on files come back to this queue and tally; NULL: to none.  So the ledger stays open
 * while a reload puts all else away: its directory may be ours no more (systemd gives it back to
 * root then). */
void books_serve(struct books *books, struct queue *queue, struct tally *tally);

/* The backups from now on; none before the first time.  0 or -ENOMEM. */
int books_set_sources(struct books *books, const struct source_set *sources);

/* Merges that are on the way to the disk, and those for which it has failed.  NULL: none. */
size_t books_syncing(struct books *books);
size_t books_unsynced(struct books *books);

/* How many of the tally's live files an undo has left undone in part, see ledger_unended();
 * *ret_example: the path of the first of them, to free, or NULL.  The site must stay meanwhile. */
size_t books_unended(struct books *books, struct tally *tally, char **ret_example);

struct ledger *books_ledger(struct books *books);

/* For workers: is the file, never looked at since the start, done by the record?  It is the
 * database that was merged, and its sources are as they were then.  Opens no RRD; the tally is
 * told, also where the file was changed since, so that books_prove() is due.  True too where it
 * cannot be known before the first walk over the backups has ended: then the file is put into the
 * queue again. */
bool books_recall(struct books *books, const char *rel);
/* For workers: has the file been looked at with its sources as they are now?  Opens no RRD.  False,
 * too, where there is no record of it. */
bool books_has_sources(struct books *books, const char *rel);
/* For workers: does the file still hold what was merged into it?  Reads it; the tally is told.
 * False where it does not, or where nothing can tell: it is to be looked at. */
bool books_prove(struct books *books, const char *rel);

/* For the ticking thread: says what happened to the ledger, and whether it works. */
void books_tick(struct books *books);

#endif
