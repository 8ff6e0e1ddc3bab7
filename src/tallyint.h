/* tallyint: what tally.c (one file after the other) and tallywalk.c (over all of them) share. */
#ifndef TALLYINT_H
#define TALLYINT_H

#include <pthread.h>
#include <sys/queue.h>

#include "blocks.h"
#include "tally.h"

enum state { NEW, MERGED, UNCHANGED, SKIPPED, FAILED, STATES };

struct file {
	enum state state;
	bool live, backup;
	bool forgotten;         /* of those in a backup: nobody waits for it */
	bool merged;            /* once: what comes after does not take that away */
	bool pending;
	bool retried;           /* pending, as its last try was not the last */
	bool settled;
	bool held;              /* it was undone, and nobody had asked for it at the last try */
	bool half_seen;         /* at the last try, a source was missing */
	bool unpaired;          /* at the last try, no source had it, and none was missing */
	bool partial;           /* `why` is of a part alone */
	bool unsaid;            /* `why` is to be said: in the tally's line */
	bool suspect;           /* a look is due that may show that it is another database, */
	bool doubted;           /* and comes so late that only the backup waits for it */
	bool alarmed;           /* a stat showed that others have written it */
	bool recalled;          /* done by the record, and changed since: nothing proves it yet */
	bool in_turn;           /* … and tally_next_recalled() has still to hand it out */
	bool unproven;          /* data sources were matched by their numbers alone, once */
	uint8_t false_alarms;   /* in a row */
	uint8_t denied;         /* enum merge_denied */
	unsigned walk;          /* the last walk over the backups that met it, */
	unsigned met;           /* and how often */
	unsigned sources;       /* how many sources had it at the last try */
	unsigned scan;          /* the last scan that found it */
	uint64_t identity;      /* of live: hash of inode and size; 0: not seen yet */
	int64_t ctime_ns;
	uint64_t own_ns;        /* since when what is heard of it is our own doing; 0: it is not */
	char *why;              /* the refusal; NULL: none */
	struct file *next;      /* in its bucket */
	TAILQ_ENTRY(file) line;
	TAILQ_ENTRY(file) turn;
	char rel[];
};

struct tally {
	pthread_mutex_t mutex;
	struct blocks blocks;   /* the files' memory */
	void *index;            /* tsearch(3) over struct file, by rel: all of them in order */
	/* The same by a hash of rel: each event asks for one, and on a large site a search of the
	 * tree would be most of what it costs. */
	struct file **bucket;   /* [buckets] */
	size_t buckets;         /* a power of 2, or 0 */
	size_t files;
	TAILQ_HEAD(, file) unsaid;
	TAILQ_HEAD(, file) recalled;
	size_t live, waiting, pending, retried, refused, unsaid_count, unsettled, paired,
	       in_backup, undone, half_seen, unproven;
	size_t forgotten;
	tally_forgotten_fn *is_forgotten;       /* or NULL */
	void *is_forgotten_arg;
	unsigned walk;          /* over the backups: the one under way, or the last */
	size_t walk_met;        /* files that it has met */
	size_t denied[MERGE_DENIALS];
	size_t in_state[STATES];
	unsigned scan;
	uint64_t cells, changes;
};

/* The caller of all of these holds the mutex. */

/* NULL: not known; or no memory for it. */
struct file *tally_find(struct tally *tally, const char *rel);
struct file *tally_find_or_add(struct tally *tally, const char *rel);
/* A change of a file comes between these two: they keep the sums. */
void tally_before(struct tally *tally, const struct file *file);
void tally_after(struct tally *tally, const struct file *file);
/* It stands in the live tree no more. */
void tally_drop_live(struct tally *tally, struct file *file);
/* Calls `visit` for each file in the order of paths; none may be added or taken away meanwhile. */
void tally_visit(struct tally *tally, void (*visit)(struct file *file, void *arg), void *arg);
/* The file is not to be used after this. */
void tally_forget_unless_wanted(struct tally *tally, struct file *file);

#endif
