#include "config.h"
#include "until.h"

#include <time.h>

#define SECOND UINT64_C(1000000000)

int until_prepare(pthread_cond_t *cond)
{
	pthread_condattr_t monotonic;
	int r = pthread_condattr_init(&monotonic);

	if (r)
		return -r;
	r = pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	if (!r)
		r = pthread_cond_init(cond, &monotonic);
	pthread_condattr_destroy(&monotonic);
	return -r;
}

bool until_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until_ns)
{
	const struct timespec until = {
		.tv_sec = (time_t)(until_ns / SECOND), .tv_nsec = (long)(until_ns % SECOND),
	};

	if (until_ns == UINT64_MAX)
		return !pthread_cond_wait(cond, mutex);
	return !pthread_cond_timedwait(cond, mutex, &until);
}
