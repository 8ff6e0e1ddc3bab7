#include "config.h"
#include "watch.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "io.h"
#include "sidecar.h"
#include "watchint.h"

#define READ_SIZE 65536         /* bytes of events read at once */
#define EVENT_SIZE_MAX (sizeof(struct inotify_event) + NAME_MAX + 1)
#define READS_MAX 256           /* then the caller may look at other things */

bool watch_forget(struct watch *watch, const char *rel)
{
	bool known;

	pthread_mutex_lock(&watch->mutex);
	known = dirs_forget(watch->dirs, rel);
	pthread_mutex_unlock(&watch->mutex);
	return known;
}

void watch_lose_root(struct watch *watch)
{
	bool had;

	pthread_mutex_lock(&watch->mutex);
	had = watch->rooted;
	watch->rooted = false;
	dirs_forget(watch->dirs, "");
	pthread_mutex_unlock(&watch->mutex);
	if (had && watch->calls.root_gone)
		watch->calls.root_gone(watch->arg);
}

void watch_reap_held(struct watch *watch)
{
	int wd;

	do {
		pthread_mutex_lock(&watch->mutex);
		wd = dirs_doomed(watch->dirs);
		pthread_mutex_unlock(&watch->mutex);
		if (wd >= 0)
			inotify_rm_watch(watch->fd, wd);
	} while (wd >= 0);
}

void watch_reap(struct watch *watch)
{
	pthread_mutex_lock(&watch->changing);
	watch_reap_held(watch);
	pthread_mutex_unlock(&watch->changing);
}

int watch_new(const char *root, const struct watch_calls *calls, void *arg, struct watch **ret)
{
	struct watch *watch = calloc(1, sizeof(*watch));

	if (!watch)
		return -ENOMEM;
	pthread_mutex_init(&watch->changing, NULL);
	pthread_mutex_init(&watch->mutex, NULL);
	watch->fd = -1;
	watch->calls = *calls;
	watch->arg = arg;
	watch->path = strdup(root);
	watch->dirs = dirs_new();
	if (!watch->path || !watch->dirs) {
		watch_free(watch);
		return -ENOMEM;
	}
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd < 0)
		watch->error = -errno;
	*ret = watch;
	return 0;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	/* First, and all watches go with it: faster than one by one. */
	if (watch->fd >= 0)
		close(watch->fd);
	dirs_free(watch->dirs);
	free(watch->path);
	pthread_mutex_destroy(&watch->mutex);
	pthread_mutex_destroy(&watch->changing);
	free(watch);
}

int watch_fd(const struct watch *watch)
{
	return watch->fd;
}

int watch_error(const struct watch *watch)
{
	return watch->error;
}

size_t watch_directories(struct watch *watch)
{
	size_t watched;

	pthread_mutex_lock(&watch->mutex);
	watched = dirs_watched(watch->dirs);
	pthread_mutex_unlock(&watch->mutex);
	return watched;
}

size_t watch_unwatched(struct watch *watch)
{
	size_t unwatched;

	pthread_mutex_lock(&watch->mutex);
	unwatched = dirs_unwatched(watch->dirs);
	pthread_mutex_unlock(&watch->mutex);
	return unwatched;
}

bool watch_sees(struct watch *watch, const char *rel)
{
	const char *slash = strrchr(rel, '/');
	size_t len = slash ? (size_t)(slash - rel) : 0;
	char dir[PATH_MAX];
	bool watched;

	if (len >= sizeof(dir))
		return false;
	memcpy(dir, rel, len);
	dir[len] = '\0';
	pthread_mutex_lock(&watch->mutex);
	watched = dirs_is_watched(watch->dirs, dir);
	pthread_mutex_unlock(&watch->mutex);
	return watched;
}

/* Reading events. */

static void dispatch_file(struct watch *watch, uint32_t mask, const char *rel)
{
	if (mask & IN_CLOSE_WRITE)
		CALL(watch, written, rel);
	else if (mask & IN_MOVED_TO)
		CALL(watch, appeared, rel);
	else if (mask & IN_CREATE)
		CALL(watch, created, rel);
	else if (mask & (IN_MOVED_FROM | IN_DELETE))
		CALL(watch, gone, rel);
	else if (mask & IN_MODIFY)
		CALL(watch, modified, rel);
}

/* A directory came or went.  The name may be another directory's again by now, one that was
 * scanned already: so it is looked at again where a watch was taken from it. */
static void dispatch_dir(struct watch *watch, uint32_t mask, const char *rel)
{
	if (mask & (IN_MOVED_FROM | IN_DELETE)) {
		if (watch_forget(watch, rel))
			CALL(watch, directory, rel);
	} else if (mask & (IN_CREATE | IN_MOVED_TO)) {
		CALL(watch, directory, rel);
	}
}

/* What happened to a watched directory itself. */
static void dispatch_self(struct watch *watch, uint32_t mask, int wd)
{
	char rel[PATH_MAX];
	bool is_root, known;

	pthread_mutex_lock(&watch->mutex);
	is_root = dirs_is_root(watch->dirs, wd);
	known = dirs_path(watch->dirs, wd, "", rel, sizeof(rel));
	if (!is_root || mask & IN_IGNORED)
		dirs_forget_wd(watch->dirs, wd);
	pthread_mutex_unlock(&watch->mutex);

	if (is_root && !(mask & IN_IGNORED))
		watch_lose_root(watch);
	else if (known && !(mask & IN_DELETE_SELF))
		/* Moved while its parent was not watched; unmounted, and something else is
		 * beneath; or the kernel dropped the watch, we know not why. */
		CALL(watch, directory, rel);
}

static bool is_wanted_sidecar(const struct watch *watch, const struct inotify_event *event)
{
	return event->mask & IN_MOVED_TO && watch->calls.wants_sidecars &&
	       watch->calls.wants_sidecars(watch->arg) && sidecar_is_name(event->name);
}

static void dispatch_event(struct watch *watch, const struct inotify_event *event)
{
	char rel[PATH_MAX];
	bool known, sidecar = false;

	if (event->mask & IN_Q_OVERFLOW) {
		if (watch->calls.overflow)
			watch->calls.overflow(watch->arg);
		return;
	}
	if (event->mask & (IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF)) {
		dispatch_self(watch, event->mask, event->wd);
		return;
	}
	if (!event->len)
		return;
	if (!(event->mask & IN_ISDIR) && !io_is_rrd_name(event->name)) {
		sidecar = is_wanted_sidecar(watch, event);
		if (!sidecar)
			return;
	}

	pthread_mutex_lock(&watch->mutex);
	known = dirs_path(watch->dirs, event->wd, event->name, rel, sizeof(rel));
	pthread_mutex_unlock(&watch->mutex);
	if (!known)
		return;
	if (sidecar)
		CALL(watch, sidecar, rel);
	else if (event->mask & IN_ISDIR)
		dispatch_dir(watch, event->mask, rel);
	else
		dispatch_file(watch, event->mask, rel);
}

bool watch_dispatch(struct watch *watch)
{
	_Alignas(struct inotify_event) char buffer[READ_SIZE];
	bool any = false;

	for (int reads = 0; watch->fd >= 0 && reads < READS_MAX; reads++) {
		ssize_t len = read(watch->fd, buffer, sizeof(buffer));
		const struct inotify_event *event;

		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			break;
		any = true;
		for (char *at = buffer; at < buffer + len; at += sizeof(*event) + event->len) {
			event = (const struct inotify_event *)(void *)at;
			dispatch_event(watch, event);
		}
		/* There was room for one more: that was all. */
		if ((size_t)len <= sizeof(buffer) - EVENT_SIZE_MAX)
			break;
	}
	return any;
}
