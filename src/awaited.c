#include "config.h"
#include "awaited.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "pnp.h"

#define FILES_MAX 1000

struct awaited {
	pthread_mutex_t mutex;          /* for all below; held for work in memory alone */
	char *rel[FILES_MAX];
	atomic_size_t count;            /* read without it, too */
};

struct awaited *awaited_new(void)
{
	struct awaited *awaited = calloc(1, sizeof(*awaited));

	if (awaited)
		pthread_mutex_init(&awaited->mutex, NULL);
	return awaited;
}

void awaited_free(struct awaited *awaited)
{
	if (!awaited)
		return;
	for (size_t i = 0; i < awaited->count; i++)
		free(awaited->rel[i]);
	pthread_mutex_destroy(&awaited->mutex);
	free(awaited);
}

/* Caller holds the mutex. */
static void drop(struct awaited *awaited, size_t i)
{
	free(awaited->rel[i]);
	awaited->rel[i] = awaited->rel[--awaited->count];
}

bool awaited_any(const struct awaited *awaited)
{
	return atomic_load(&awaited->count);
}

void awaited_set(struct awaited *awaited, const char *rel, bool waits)
{
	size_t i = 0;

	if (!waits && !awaited_any(awaited))
		return;
	pthread_mutex_lock(&awaited->mutex);
	while (i < awaited->count && strcmp(awaited->rel[i], rel))
		i++;
	if (i < awaited->count && !waits) {
		drop(awaited, i);
	} else if (i == awaited->count && waits && i < FILES_MAX) {
		awaited->rel[i] = strdup(rel);
		awaited->count += awaited->rel[i] != NULL;
	}
	pthread_mutex_unlock(&awaited->mutex);
}

bool awaited_take(struct awaited *awaited, const char *rel, char *buffer, size_t size)
{
	bool found = false;

	pthread_mutex_lock(&awaited->mutex);
	for (size_t i = 0; i < awaited->count && !found; i++) {
		if (!pnp_may_tell_of(rel, awaited->rel[i]))
			continue;
		snprintf(buffer, size, "%s", awaited->rel[i]);
		drop(awaited, i);
		found = true;
	}
	pthread_mutex_unlock(&awaited->mutex);
	return found;
}
