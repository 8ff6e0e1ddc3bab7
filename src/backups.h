/* backups: the backups' side of the daemon: are they there, and what do they hold.
 *
 * A thread of its own walks over them, so that a slow or hung backup keeps no worker from the live
 * files.  It holds none open between two walks: a backup can be unmounted. */
#ifndef BACKUPS_H
#define BACKUPS_H

#include <stdbool.h>
#include <stdint.h>

#include "queue.h"
#include "source.h"
#include "tally.h"

struct backups;

/* Begins to walk, and walks again now and then, by which the set's index is fed.  `live` is the
 * root of the live tree, to be asked for sidecars; NULL: they are not.  Copies the set and the
 * path; queue and tally must outlive it.  0 or -errno. */
int backups_new(const struct source_set *set, const char *live, struct queue *queue,
		struct tally *tally, struct backups **ret);
/* At once, whatever the walk under way waits for: from now on queue and tally are left alone, and
 * the thread ends when it can. */
void backups_free(struct backups *backups);

/* The set's paths were found by these, paths and patterns (globs.h): each walk sees whether they
 * stand for others now.  Copied.  0 or -ENOMEM. */
int backups_follow(struct backups *backups, char *const *given, size_t givens);
/* Do they?  True once for each time that they do. */
bool backups_changed(struct backups *backups);

/* A walk is wanted soon; not more often than walking costs a small part of the time. */
void backups_walk(struct backups *backups);

/* A live file was just looked at that had to do without a backup, as that was not there, and the
 * tally knows it (half_seen): where the last walk has found each, one is wanted soon, so that such
 * files are looked at again when the backup is back. */
void backups_missed(struct backups *backups);

struct backups_state {
	bool whole;             /* each was walked, all of it, with RRD files in it */
	uint64_t walked_ns;     /* when the last whole walk began; 0: never */
	bool held;              /* the walk under way is by one that does not answer (visits.h) */
	uint64_t stalled_ns;    /* since when the walk under way has not moved; 0: it does */
	unsigned at;            /* the backup that it is in, or was in last */
	unsigned unread;        /* backups that the last walk could not read, or not all of: a right
				 * is missing, or a disk has failed; not those that are not there */
	size_t misled;          /* files that a rule leads to what is no live file: the last whole
				 * walk's */
};

struct backups_state backups_state(struct backups *backups);

#endif
