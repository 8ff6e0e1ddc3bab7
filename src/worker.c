#include "config.h"
#include "worker.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#define MS UINT64_C(1000000)
#define BUSY_MAX_MS 5000
#define QUIET_TRIES 10          /* minutes without an update: nobody writes the file */
#define TORN_MAX_MS 60000
#define REFUSED_MAX_MS 900000

struct worker_pool {
	struct worker_options options;
	const struct merge_site *site;
	struct queue *queue;
	const struct worker_calls *calls;
	void *arg;
	unsigned started;
	pthread_t thread[];
};

/* Doubles with each try. */
static uint64_t back_off_ms(unsigned first_ms, unsigned tries, uint64_t max_ms)
{
	uint64_t ms = (uint64_t)first_ms << (tries < 16 ? tries : 16);

	return ms < max_ms ? ms : max_ms;
}

/* In how many milliseconds the file is to be looked at again; 0: not by itself. */
static uint64_t retry_in_ms(const struct worker_pool *pool, const struct merge_result *result,
			    unsigned tries)
{
	switch (result->outcome) {
	case MERGE_BUSY:
		return back_off_ms(result->retry_ms, tries, BUSY_MAX_MS);
	case MERGE_TORN:
		return back_off_ms(result->retry_ms, tries, TORN_MAX_MS);
	case MERGE_RESTING:
	case MERGE_QUIET:
		return result->retry_ms;
	case MERGE_FAILED:
	case MERGE_MERGED:
	case MERGE_UNCHANGED:
		if (!pool->options.retry_refused || !result->retry_ms)
			return 0;
		return back_off_ms(result->retry_ms, tries, REFUSED_MAX_MS);
	case MERGE_SKIPPED:
	case MERGE_GONE:
		break;
	}
	return 0;
}

static void do_file(struct worker_pool *pool, struct merge_scratch *scratch,
		    struct queue_job *job)
{
	unsigned torn_tries = pool->options.torn_tries;
	struct merge_request request = {
		.rel = job->path,
		.just_written = job->flags & QUEUE_JUST_WRITTEN || job->tries >= QUIET_TRIES,
		.last_try = torn_tries && job->tries + 1 >= torn_tries,
		.memo = job->memo,
	};
	struct merge_result result;

	merge_file(scratch, pool->site, &request, &result);
	if (result.outcome == MERGE_UNCHANGED && job->flags & QUEUE_WROTE)
		result.outcome = MERGE_MERGED;  /* an earlier try had begun */
	if (result.cells)
		job->flags |= QUEUE_WROTE;
	uint64_t in_ms = retry_in_ms(pool, &result, job->tries);
	pool->calls->file(job->path, &result, job->tries, in_ms > 0, pool->arg);
	job->memo = result.memo;
	job->flags &= ~QUEUE_JUST_WRITTEN;      /* not true any more when it comes again */
	queue_done(pool->queue, job, in_ms > 0, io_now_ns() + in_ms * MS);
}

static void *work(void *arg)
{
	struct worker_pool *pool = arg;
	struct merge_scratch *scratch = merge_scratch_new();
	struct queue_job job;

	while (queue_take(pool->queue, &job)) {
		if (job.kind == QUEUE_FILE && scratch) {
			do_file(pool, scratch, &job);
		} else if (job.kind == QUEUE_FILE) {    /* no memory yet: later */
			scratch = merge_scratch_new();
			queue_done(pool->queue, &job, true, io_now_ns() + 1000 * MS);
		} else {
			uint64_t in_ns = pool->calls->other ? pool->calls->other(&job, pool->arg)
							    : 0;
			queue_done(pool->queue, &job, in_ns > 0, io_now_ns() + in_ns);
		}
	}
	merge_scratch_free(scratch);
	return NULL;
}

int worker_start(const struct worker_options *options, const struct merge_site *site,
		 struct queue *queue, const struct worker_calls *calls, void *arg,
		 struct worker_pool **ret)
{
	struct worker_pool *pool = calloc(1, sizeof(*pool) +
						     options->threads * sizeof(pool->thread[0]));
	int r = 0;

	if (!pool)
		return -ENOMEM;
	pool->options = *options;
	pool->site = site;
	pool->queue = queue;
	pool->calls = calls;
	pool->arg = arg;
	while (!r && pool->started < options->threads) {
		r = -pthread_create(&pool->thread[pool->started], NULL, work, pool);
		if (!r)
			pool->started++;
	}
	if (r) {
		queue_stop(queue);
		worker_join(pool);
		return r;
	}
	*ret = pool;
	return 0;
}

void worker_join(struct worker_pool *pool)
{
	for (unsigned i = 0; i < pool->started; i++)
		pthread_join(pool->thread[i], NULL);
	free(pool);
}
