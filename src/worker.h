/* worker: threads that take paths from the queue, merge them and report. */
#ifndef WORKER_H
#define WORKER_H

#include "merge.h"
#include "queue.h"

struct worker_pool;

/* All calls come from worker threads, several at once. */
struct worker_calls {
	/* What is known of a file now.  `result` may be one that will be tried again. */
	void (*file)(const char *rel, const struct merge_result *result, unsigned tries, void *arg);
	/* A job that is not a file: QUEUE_DIR, QUEUE_BACKUPS.  Returns 0, or how many
	 * nanoseconds from now it is to be done again. */
	uint64_t (*other)(const struct queue_job *job, void *arg);
};

/* `site`, `queue` and `calls` must outlive the pool.  Files that torn or unreadable sources hold
 * up are given up after `tries_max` tries (0: never). */
int worker_start(unsigned threads, const struct merge_site *site, struct queue *queue,
		 const struct worker_calls *calls, void *arg, unsigned tries_max,
		 struct worker_pool **ret);

/* Waits for the threads to end (queue_end or queue_stop) and frees the pool. */
void worker_join(struct worker_pool *pool);

#endif
