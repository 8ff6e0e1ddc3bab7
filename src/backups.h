/* backups: the backups' side of the daemon: are they there, and what do they hold. */
#ifndef BACKUPS_H
#define BACKUPS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "queue.h"
#include "source.h"
#include "tally.h"

struct backups;

/* The set, queue and tally must outlive it; `stopping` ends a walk before its time.  NULL where
 * there is no memory. */
struct backups *backups_new(const struct source_set *set, struct queue *queue,
			    struct tally *tally, const atomic_bool *stopping);
void backups_free(struct backups *backups);

/* For a worker: walks over all of them, so that tally knows what they hold.  Holds none open
 * afterwards.  Returns in how many nanoseconds to walk again. */
uint64_t backups_walk(struct backups *backups);

struct backups_state {
	bool whole;             /* each was walked, all of it, with RRD files in it */
	bool away;              /* one was there and is not now */
	uint64_t walked_ns;     /* when the last walk began; 0: never */
};

struct backups_state backups_state(struct backups *backups);

#endif
