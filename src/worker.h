/* worker: threads that take paths from the queue, merge them and report. */
#ifndef WORKER_H
#define WORKER_H

#include <pthread.h>

#include "merge.h"
#include "queue.h"

struct worker_pool;

/* All calls come from worker threads, several at once. */
struct worker_calls {
	/* What came of a file now.  `will_retry` tells that it comes again by itself;
	 * result->cells are those of this try, `tries` counts those before it. */
	void (*file)(const char *rel, const struct merge_result *result, unsigned tries,
		     bool will_retry, void *arg);
	/* A job that is not a file: QUEUE_DIR, QUEUE_ROOT.  Returns 0, or in how many
	 * nanoseconds it is to be done again.  May be NULL. */
	uint64_t (*other)(const struct queue_job *job, void *arg);
	/* A file for which less than a try may be enough (QUEUE_GLANCE, QUEUE_REWRITTEN,
	 * QUEUE_PROVE, QUEUE_RECALL, QUEUE_SOURCES, and no QUEUE_LOOK).  True where there is
	 * nothing to do.  May be NULL. */
	bool (*glance)(const char *rel, unsigned flags, void *arg);
};

struct worker_options {
	unsigned threads;
	unsigned torn_tries;    /* a source that keeps changing is given up then; 0: never */
	uint64_t rate;          /* bytes a second that are read and written at most; 0: no limit */
	bool retry_refused;     /* look again, now and then, at what a bad source made fail */
};

/* `site`, `queue` and `calls` must outlive the pool.  0 or -errno. */
int worker_start(const struct worker_options *options, const struct merge_site *site,
		 struct queue *queue, const struct worker_calls *calls, void *arg,
		 struct worker_pool **ret);

/* Each ends when it is done with what it has in hand.  The queue is stopped, so that they wake;
 * once it is resumed for another pool they take nothing from it all the same. */
void worker_leave(struct worker_pool *pool);

/* Waits for the threads to end (queue_end or queue_stop) and frees the pool. */
void worker_join(struct worker_pool *pool);
/* The same, but not beyond `until_ns` of the monotonic clock.  False where one has not ended (a
 * disk that does not answer): the pool stays, and so must all that it uses. */
bool worker_join_until(struct worker_pool *pool, uint64_t until_ns);

/* Joins one thread, but not beyond `until_ns`; true where it has ended. */
bool worker_join_thread(pthread_t thread, uint64_t until_ns);

/* Does a backup that does not answer hold any of the threads?  And: is there none that will end
 * soon, once it is told to?  (visits.h) */
bool worker_is_held(const struct worker_pool *pool);
bool worker_are_held(const struct worker_pool *pool);

/* What those have in hand whom a backup holds goes back into the queue, for others.  Only after
 * worker_leave(). */
void worker_give_up(struct worker_pool *pool);

/* From a job that takes long by its nature, now and then: it goes on. */
void worker_beat(void);

/* For how many nanoseconds the slowest thread has not moved; 0: all are idle.  What it has in
 * hand, a file or a directory ("" for a root), is in `path` then, cut to `size`. */
uint64_t worker_stalled_ns(struct worker_pool *pool, char *path, size_t size);

#endif
