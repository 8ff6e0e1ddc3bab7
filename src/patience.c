#include "config.h"
#include "patience.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#include "detached.h"
#include "io.h"
#include "until.h"

#define MS UINT64_C(1000000)

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
	int r = until_prepare(&patience->ended);

	if (r)
		return r;
	r = -pthread_mutex_init(&patience->mutex, NULL);
	if (r)
		pthread_cond_destroy(&patience->ended);
	return r;
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
	r = -EAGAIN;
	if (atomic_fetch_add(&under_way, 1) < PATIENCE_MAX)
		r = detached_start(run, patience);
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

	pthread_mutex_lock(&patience->mutex);
	while (!patience->done && until_wait(&patience->ended, &patience->mutex, until_ns))
		continue;
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
