/* live: the live tree's side of the daemon: what its events and scans put into the queue.
 *
 * A thread of its own reads the events.  It takes the mutexes of watch, tally, queue and awaited,
 * none of which is held while anybody waits for a disk; it never logs. */
#ifndef LIVE_H
#define LIVE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "queue.h"
#include "tally.h"

struct live;

struct live_options {
	const char *path;       /* the root */
	unsigned rescan_s;      /* 0: never */
	bool once;              /* what is there now, and no more */
	const struct source_set *sources;       /* the live tree must not lie in one of them */
};

struct live_state {
	bool missing;           /* the root cannot be opened: waiting for it */
	bool scanned;           /* the root was listed at least once */
	bool scanning;          /* the sums are not right before a scan has ended */
	size_t directories;     /* watched */
	size_t unwatched;       /* known, and only scanned */
	size_t unread;          /* that the last scan could not list */
	uint64_t overflows;     /* how often events were lost */
};

/* Begins to watch; the first scan waits in the queue.  Copies its options; queue and tally must
 * outlive it.  0 or -errno. */
int live_new(const struct live_options *options, struct queue *queue, struct tally *tally,
	     struct live **ret);
/* No worker may use it any more. */
void live_free(struct live *live);
/* The backups are others from now on.  0 or -ENOMEM, and they are as before. */
int live_set_sources(struct live *live, const struct source_set *sources);
/* Have the tree looked at again, soon. */
void live_rescan(struct live *live);
/* rescan_interval is another from now on. */
void live_set_rescan(struct live *live, unsigned rescan_s);

/* For workers: a QUEUE_DIR or QUEUE_ROOT job.  Returns in how many nanoseconds it is to be done
 * again, or 0. */
uint64_t live_job(struct live *live, const struct queue_job *job);
/* For workers: see worker_calls.glance. */
bool live_glance(struct live *live, const char *rel, unsigned flags);

/* For workers: the file is not judged before its sidecar has come, or does not wait any more. */
void live_await(struct live *live, const char *rel, bool waits);

/* The backups were just found to be there: the root is held against them anew, soon. */
void live_relate(struct live *live);

/* The root that may be written to: see merge_site.root. */
const atomic_uint_fast64_t *live_root(const struct live *live);

/* For the ticking thread: lost events, the end of a scan, the time for the next.  `scanning`: jobs
 * of a scan are still queued or in hand. */
void live_tick(struct live *live, bool scanning);

/* For the ticking thread. */
struct live_state live_state(struct live *live);

#endif
