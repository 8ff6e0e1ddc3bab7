#include "config.h"
#include "patience.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>

#include "io.h"

#define MS UINT64_C(1000000)
#define STACK_SIZE (1u << 20)

struct patience {
	void (*work)(void *arg), (*drop)(void *arg);
	void *arg;
	pthread_mutex_t mutex;          /* for what follows */
	pthread_cond_t ended;
	bool done, left;                /* by the thread; by the asker */
};

static atomic_uint under_way;

/* For whoever of the two is the last. */
static void finish(struct patience *patience)
{
	patience->drop(patience->arg);
	pthread_cond_destroy(&patience->ended);
	pthread_mutex_destroy(&patience->mutex);
	free(patience);
}

static void *run(void *arg)
{
	struct patience *patience = arg;

	patience->work(patience->arg);
	atomic_fetch_sub(&under_way, 1);
	pthread_mutex_lock(&patience->mutex);
	patience->done = true;
	bool last = patience->left;
	pthread_cond_signal(&patience->ended);
	pthread_mutex_unlock(&patience->mutex);
	if (last)
		finish(patience);
	return NULL;
}

static int prepare(struct patience *patience)
{
	pthread_condattr_t monotonic;
	int r = pthread_mutex_init(&patience->mutex, NULL);

	if (r)
		return -r;
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	r = pthread_cond_init(&patience->ended, &monotonic);
	pthread_condattr_destroy(&monotonic);
	if (r)
		pthread_mutex_destroy(&patience->mutex);
	return -r;
}

/* Detached, for one that hangs is never waited for; and without signals. */
static int start(struct patience *patience)
{
	pthread_attr_t attributes;
	sigset_t all, before;
	pthread_t thread;
	int r = pthread_attr_init(&attributes);

	if (r)
		return -r;
	pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
	pthread_attr_setstacksize(&attributes, STACK_SIZE);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	r = pthread_create(&thread, &attributes, run, patience);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	pthread_attr_destroy(&attributes);
	return -r;
}

int patience_begin(void (*work)(void *arg), void (*drop)(void *arg), void *arg,
		   struct patience **ret)
{
	struct patience *patience = calloc(1, sizeof(*patience));
	int r = patience ? prepare(patience) : -ENOMEM;

	if (r) {
		free(patience);
		drop(arg);
		return r;
	}
	patience->work = work;
	patience->drop = drop;
	patience->arg = arg;
	r = atomic_fetch_add(&under_way, 1) < PATIENCE_MAX ? start(patience) : -EAGAIN;
	if (r) {
		atomic_fetch_sub(&under_way, 1);
		finish(patience);
	} else {
		*ret = patience;
	}
	return r;
}

bool patience_wait(struct patience *patience, unsigned ms)
{
	uint64_t until_ns = io_now_ns() + ms * MS;
	const struct timespec until = {
		.tv_sec = (time_t)(until_ns / (1000 * MS)), .tv_nsec = (long)(until_ns % (1000 * MS)),
	};
	int r = 0;

	pthread_mutex_lock(&patience->mutex);
	while (!patience->done && !r)
		r = pthread_cond_timedwait(&patience->ended, &patience->mutex, &until);
	bool done = patience->done;
	pthread_mutex_unlock(&patience->mutex);
	return done;
}

void patience_end(struct patience *patience)
{
	if (!patience)
		return;
	pthread_mutex_lock(&patience->mutex);
	patience->left = true;
	bool last = patience->done;
	pthread_mutex_unlock(&patience->mutex);
	if (last)
		finish(patience);
}
