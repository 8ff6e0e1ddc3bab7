/* watchint: what watch.c (events) and watchscan.c (scans) share, and nobody else knows. */
#ifndef WATCHINT_H
#define WATCHINT_H

#include <pthread.h>
#include <stdbool.h>
#include <sys/types.h>

#include "dirs.h"
#include "watch.h"

struct watch {
	int fd;                 /* -1: no inotify, and why: */
	int error;
	char *path;             /* of the root */
	struct watch_calls calls;
	void *arg;

	/* Held while the kernel is asked to add a watch or to remove some, which on a network
	 * filesystem may wait.  Taken before `mutex`; watch_dispatch() never takes it. */
	pthread_mutex_t changing;

	/* Guards all that follows.  Held for work in memory alone: during no call, and no system
	 * call that could wait. */
	pthread_mutex_t mutex;
	struct dirs *dirs;
	bool rooted;            /* a root was scanned, and it was: */
	dev_t dev;
	ino_t ino;
};

#define CALL(watch, call, ...) \
	((watch)->calls.call ? (watch)->calls.call(__VA_ARGS__, (watch)->arg) : (void)0)

/* Forgets `rel` and all beneath.  True where there was something. */
bool watch_forget(struct watch *watch, const char *rel);
/* Forgets all, and tells of it where there was a root. */
void watch_lose_root(struct watch *watch);

/* Removes what is doomed from the kernel.  (What the kernel has removed already makes a harmless
 * EINVAL: a number is not given out again.)  Not for the thread that reads events. */
void watch_reap(struct watch *watch);
/* The same; the caller holds `changing`. */
void watch_reap_held(struct watch *watch);

#endif
