#include "config.h"
#include "worker.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include "visits.h"

#define MS UINT64_C(1000000)
#define BUSY_MAX_MS 5000
#define QUIET_TRIES 10          /* minutes without an update: nobody writes the file */
#define TORN_MAX_MS 60000
#define REFUSED_MAX_MS 900000

#define RATE_CREDIT_MS 100

#define LONGEST_PATH (PATH_MAX + NAME_MAX + 1)  /* what is in a directory that can be opened */

/* One thread, and what it has in hand. */
struct worker {
	struct worker_pool *pool;
	pthread_t thread;
	bool joined;
	_Atomic uint64_t moved_ns;      /* when it was last seen to go on; 0: idle */
	pthread_mutex_t mutex;          /* for what follows */
	struct queue_job job;
	char path[LONGEST_PATH];        /* the job's; the thread's own, too, while it has it */
};

struct worker_pool {
	struct worker_options options;
	const struct merge_site *site;
	struct queue *queue;
	const struct worker_calls *calls;
	void *arg;
	unsigned started;
	atomic_bool leaving;    /* nothing more is taken from the queue */
	pthread_mutex_t spending;       /* for spent_ns */
	uint64_t spent_ns;      /* until when the rate has been used up, of the monotonic clock */
	struct worker worker[];
};

static _Thread_local struct worker *self;

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
	case MERGE_UNLABELLED:
	case MERGE_RECORDING:
	case MERGE_UNRECORDED:
		return result->retry_ms;
	case MERGE_FAILED:
	case MERGE_MERGED:
	case MERGE_UNCHANGED:
		if (!pool->options.retry_refused || !result->retry_ms)
			return 0;
		return back_off_ms(result->retry_ms, tries, REFUSED_MAX_MS);
	case MERGE_SKIPPED:
	case MERGE_HELD:
	case MERGE_GONE:
		break;
	}
	return 0;
}

/* Holds up the files that follow for as long as the rate gives for what this one took. */
static void spend(struct worker_pool *pool, const struct merge_result *result)
{
	double bytes = (double)result->bytes + (double)result->counts.cells * sizeof(double);
	uint64_t now = io_now_ns();

	if (!pool->options.rate)
		return;
	pthread_mutex_lock(&pool->spending);
	/* A short rest is made up for, so that many small files get the whole rate. */
	if (pool->spent_ns + RATE_CREDIT_MS * MS < now)
		pool->spent_ns = now - RATE_CREDIT_MS * MS;
	pool->spent_ns += (uint64_t)(bytes * 1000 * MS / (double)pool->options.rate);
	if (pool->spent_ns > now)
		queue_hold(pool->queue, pool->spent_ns);
	pthread_mutex_unlock(&pool->spending);
}

static void do_file(struct worker_pool *pool, struct merge_scratch *scratch,
		    struct queue_job *job)
{
	unsigned torn_tries = pool->options.torn_tries;
	struct merge_request request = {
		.rel = job->path,
		.just_written = job->flags & QUEUE_JUST_WRITTEN || job->tries >= QUIET_TRIES,
		.last_try = torn_tries && job->tries + 1 >= torn_tries,
		.wrote = job->flags & QUEUE_WROTE,
		.memo = job->memo,
	};
	struct merge_result result;

	bool done = pool->calls->glance && !(job->flags & QUEUE_LOOK) &&
		job->flags & (QUEUE_GLANCE | QUEUE_REWRITTEN | QUEUE_PROVE | QUEUE_RECALL |
			      QUEUE_SOURCES) &&
		pool->calls->glance(job->path, job->flags, pool->arg);
	if (visits_given_up())                  /* it is another's job by now */
		return;
	if (done) {
		queue_done(pool->queue, job, false, 0);
		return;
	}
	job->flags |= QUEUE_LOOK;               /* what is begun is brought to its end */
	merge_file(scratch, pool->site, &request, &result);
	if (visits_given_up())
		return;
	spend(pool, &result);
	if (result.outcome == MERGE_UNCHANGED && job->flags & QUEUE_WROTE)
		result.outcome = MERGE_MERGED;  /* an earlier try had begun */
	if (merge_wrote(&result))
		job->flags |= QUEUE_WROTE;
	uint64_t in_ms = retry_in_ms(pool, &result, job->tries);
	pool->calls->file(job->path, &result, job->tries, in_ms > 0, pool->arg);
	job->memo = result.memo;
	job->flags &= ~QUEUE_JUST_WRITTEN;      /* not true any more when it comes again */
	queue_done(pool->queue, job, in_ms > 0, io_now_ns() + in_ms * MS);
}

static void do_other(struct worker_pool *pool, struct queue_job *job)
{
	uint64_t in_ns = pool->calls->other ? pool->calls->other(job, pool->arg) : 0;

	queue_done(pool->queue, job, in_ns > 0, io_now_ns() + in_ns);
}

/* The queue's own path may go while we are held: what we have in hand may be another's by then. */
static void begin(struct worker *worker, struct queue_job *job)
{
	pthread_mutex_lock(&worker->mutex);
	snprintf(worker->path, sizeof(worker->path), "%s", job->path);
	job->path = worker->path;
	worker->job = *job;
	pthread_mutex_unlock(&worker->mutex);
	atomic_store(&worker->moved_ns, io_now_ns());
}

static void *work(void *arg)
{
	struct worker *worker = self = arg;
	struct worker_pool *pool = worker->pool;
	struct merge_scratch *scratch = merge_scratch_new();
	struct queue_job job;

	while (!atomic_load(&pool->leaving) && queue_take(pool->queue, &job)) {
		begin(worker, &job);
		if (job.kind == QUEUE_FILE && scratch) {
			do_file(pool, scratch, &job);
		} else if (job.kind == QUEUE_FILE) {    /* no memory yet: later */
			scratch = merge_scratch_new();
			queue_done(pool->queue, &job, true, io_now_ns() + 1000 * MS);
		} else {
			do_other(pool, &job);
		}
		atomic_store(&worker->moved_ns, 0);
	}
	merge_scratch_free(scratch);
	return NULL;
}

void worker_beat(void)
{
	if (self)
		atomic_store(&self->moved_ns, io_now_ns());
}

bool worker_is_held(const struct worker_pool *pool)
{
	bool held = false;

	for (unsigned i = 0; i < pool->started; i++)
		held = held || (!pool->worker[i].joined &&
				visits_hold((unsigned long)pool->worker[i].thread));
	return held;
}

bool worker_are_held(const struct worker_pool *pool)
{
	bool held = true;

	for (unsigned i = 0; i < pool->started; i++)
		held = held && (pool->worker[i].joined ||
				visits_hold((unsigned long)pool->worker[i].thread));
	return held;
}

void worker_give_up(struct worker_pool *pool)
{
	for (unsigned i = 0; i < pool->started; i++) {
		struct worker *worker = &pool->worker[i];

		if (worker->joined)
			continue;
		pthread_mutex_lock(&worker->mutex);
		struct queue_job job = worker->job;

		job.flags &= ~QUEUE_JUST_WRITTEN;
		if (visits_give_up((unsigned long)worker->thread))
			queue_done(pool->queue, &job, true, io_now_ns());
		pthread_mutex_unlock(&worker->mutex);
	}
}

uint64_t worker_stalled_ns(struct worker_pool *pool, char *path, size_t size)
{
	uint64_t now = io_now_ns(), most = 0;

	for (unsigned i = 0; i < pool->started; i++) {
		struct worker *worker = &pool->worker[i];
		uint64_t moved = atomic_load(&worker->moved_ns);

		if (!moved || moved > now || now - moved <= most)
			continue;
		most = now - moved;
		pthread_mutex_lock(&worker->mutex);
		snprintf(path, size, "%s", worker->path);
		pthread_mutex_unlock(&worker->mutex);
	}
	return most;
}

int worker_start(const struct worker_options *options, const struct merge_site *site,
		 struct queue *queue, const struct worker_calls *calls, void *arg,
		 struct worker_pool **ret)
{
	struct worker_pool *pool = calloc(1, sizeof(*pool) +
						     options->threads * sizeof(pool->worker[0]));
	int r = 0;

	if (!pool)
		return -ENOMEM;
	pthread_mutex_init(&pool->spending, NULL);
	pool->options = *options;
	pool->site = site;
	pool->queue = queue;
	pool->calls = calls;
	pool->arg = arg;
	queue_hold(queue, 0);                   /* by a pool before, with another rate */
	while (!r && pool->started < options->threads) {
		struct worker *worker = &pool->worker[pool->started];

		worker->pool = pool;
		pthread_mutex_init(&worker->mutex, NULL);
		r = -pthread_create(&worker->thread, NULL, work, worker);
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

void worker_leave(struct worker_pool *pool)
{
	atomic_store(&pool->leaving, true);
	queue_stop(pool->queue);
}

bool worker_join_thread(pthread_t thread, uint64_t until_ns)
{
	uint64_t now = io_now_ns(), left = until_ns > now ? until_ns - now : 0;
	struct timespec until;

	/* ThreadSanitizer knows pthread_timedjoin_np(3), but not its sister with another clock. */
	clock_gettime(CLOCK_REALTIME, &until);
	left += (uint64_t)until.tv_nsec;
	until.tv_sec += (time_t)(left / (1000 * MS));
	until.tv_nsec = (long)(left % (1000 * MS));
	return !pthread_timedjoin_np(thread, NULL, &until);
}

static void free_pool(struct worker_pool *pool)
{
	for (unsigned i = 0; i < pool->started; i++)
		pthread_mutex_destroy(&pool->worker[i].mutex);
	pthread_mutex_destroy(&pool->spending);
	free(pool);
}

bool worker_join_until(struct worker_pool *pool, uint64_t until_ns)
{
	bool all = true;

	/* One that hangs keeps none of the others from being joined. */
	for (unsigned i = 0; i < pool->started; i++) {
		struct worker *worker = &pool->worker[i];

		if (!worker->joined)
			worker->joined = worker_join_thread(worker->thread, until_ns);
		all = all && worker->joined;
	}
	if (all)
		free_pool(pool);
	return all;
}

void worker_join(struct worker_pool *pool)
{
	for (unsigned i = 0; i < pool->started; i++)
		if (!pool->worker[i].joined)
			pthread_join(pool->worker[i].thread, NULL);
	free_pool(pool);
}
