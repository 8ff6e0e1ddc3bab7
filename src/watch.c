#include "config.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "dirs.h"
#include "io.h"

/* No IN_DONT_FOLLOW: the path that is watched is a link of /proc's, to an open descriptor. */
#define EVENTS (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM \
		| IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
#define READ_SIZE 65536         /* bytes of events read at once */
#define READS_MAX 256           /* then the caller may look at other things */
#define SCANS_MAX 8             /* of one directory that is replaced again and again */

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

static bool forget(struct watch *watch, const char *rel)
{
	bool known;

	pthread_mutex_lock(&watch->mutex);
	known = dirs_forget(watch->dirs, rel);
	pthread_mutex_unlock(&watch->mutex);
	return known;
}

static void lose_root(struct watch *watch)
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

/* Removes what is doomed from the kernel.  (What the kernel has removed already makes a harmless
 * EINVAL: a number is not given out again.)  The caller holds `changing`. */
static void reap_held(struct watch *watch)
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

static void reap(struct watch *watch)
{
	pthread_mutex_lock(&watch->changing);
	reap_held(watch);
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
		if (forget(watch, rel))
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
		lose_root(watch);
	else if (known && !(mask & IN_DELETE_SELF))
		/* Moved while its parent was not watched; unmounted, and something else is
		 * beneath; or the kernel dropped the watch, we know not why. */
		CALL(watch, directory, rel);
}

static void dispatch_event(struct watch *watch, const struct inotify_event *event)
{
	char rel[PATH_MAX];
	bool known;

	if (event->mask & IN_Q_OVERFLOW) {
		if (watch->calls.overflow)
			watch->calls.overflow(watch->arg);
		return;
	}
	if (event->mask & (IN_IGNORED | IN_UNMOUNT | IN_DELETE_SELF | IN_MOVE_SELF)) {
		dispatch_self(watch, event->mask, event->wd);
		return;
	}
	if (!event->len || (!(event->mask & IN_ISDIR) && !io_is_rrd_name(event->name)))
		return;

	pthread_mutex_lock(&watch->mutex);
	known = dirs_path(watch->dirs, event->wd, event->name, rel, sizeof(rel));
	pthread_mutex_unlock(&watch->mutex);
	if (!known)
		return;
	if (event->mask & IN_ISDIR)
		dispatch_dir(watch, event->mask, rel);
	else
		dispatch_file(watch, event->mask, rel);
}

void watch_dispatch(struct watch *watch)
{
	_Alignas(struct inotify_event) char buffer[READ_SIZE];

	for (int reads = 0; watch->fd >= 0 && reads < READS_MAX; reads++) {
		ssize_t len = read(watch->fd, buffer, sizeof(buffer));
		const struct inotify_event *event;

		if (len < 0 && errno == EINTR)
			continue;
		if (len <= 0)
			return;
		for (char *at = buffer; at < buffer + len; at += sizeof(*event) + event->len) {
			event = (const struct inotify_event *)(void *)at;
			dispatch_event(watch, event);
		}
	}
}

/* Scanning. */

struct scan {
	struct watch *watch;
	const char *rel;
	uint64_t number;
	struct stat st;
	bool opened;
	char displaced[PATH_MAX];       /* whose watch this scan took, or "" */
};

/* Watches the directory that `fd` is, or notes that it is not watched.  To add a watch may wait
 * for another machine (NFS asks whether the inode is still good, and for permission), so it is
 * done without `mutex`; what events take away meanwhile is only doomed, and adopted again. */
static int watch_descriptor(struct scan *scan, int fd)
{
	struct watch *watch = scan->watch;
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];
	int wd = -1, result = watch->error;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	pthread_mutex_lock(&watch->changing);
	if (watch->fd >= 0) {
		wd = inotify_add_watch(watch->fd, path, EVENTS);
		if (wd < 0)     /* the descriptor is open: what is not there is /proc */
			result = errno == ENOENT ? -EOPNOTSUPP : -errno;
	}
	pthread_mutex_lock(&watch->mutex);
	if (wd >= 0)
		result = dirs_adopt(watch->dirs, scan->rel, wd, scan->displaced,
				    sizeof(scan->displaced));
	else if (dirs_adopt_unwatched(watch->dirs, scan->rel) < 0)
		result = -ENOMEM;
	pthread_mutex_unlock(&watch->mutex);
	if (wd >= 0 && result == -ENOMEM)
		inotify_rm_watch(watch->fd, wd);
	reap_held(watch);
	pthread_mutex_unlock(&watch->changing);
	return result;
}

/* Whether an attempt to reach the root failed for want of something that will be there again
 * soon, and says nothing of the root. */
static bool is_passing(int result)
{
	return result == -EMFILE || result == -ENFILE || result == -ENOMEM || result == -EINTR;
}

/* Opens the root, and sees that it is the one that we know. */
static int open_root(struct watch *watch, bool first, int *ret_fd)
{
	struct stat st;
	bool same, rooted;
	int root = io_open_root(watch->path);

	if (root < 0) {
		if (!is_passing(root))
			lose_root(watch);
		return root;
	}
	if (fstat(root, &st) < 0) {
		int result = -errno;

		close(root);
		return result;
	}
	pthread_mutex_lock(&watch->mutex);
	rooted = watch->rooted;
	if (!rooted && first) {
		watch->rooted = true;
		watch->dev = st.st_dev;
		watch->ino = st.st_ino;
	}
	same = watch->rooted && watch->dev == st.st_dev && watch->ino == st.st_ino;
	pthread_mutex_unlock(&watch->mutex);
	if (same) {
		*ret_fd = root;
		return 0;
	}
	close(root);
	if (rooted)
		lose_root(watch);
	return -ENOENT;
}

static int open_dir(int root, const char *rel, int *ret_fd)
{
	int fd;

	if (*rel)
		return io_open_dir(root, rel, ret_fd);
	fd = fcntl(root, F_DUPFD_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

/* Whether the path still leads to the directory that was watched: 0, or -ESTALE. */
static int look_again(const struct scan *scan)
{
	struct stat st;
	int root, fd = -1, result;

	result = open_root(scan->watch, false, &root);
	if (result < 0)
		return -ESTALE;
	result = open_dir(root, scan->rel, &fd);
	if (result == 0 && fstat(fd, &st) < 0)
		result = -errno;
	if (result == 0 && (st.st_dev != scan->st.st_dev || st.st_ino != scan->st.st_ino))
		result = -ESTALE;
	if (fd >= 0)
		close(fd);
	close(root);
	return result < 0 ? -ESTALE : 0;
}

static int list_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct scan *scan = arg;
	struct watch *watch = scan->watch;

	switch (kind) {
	case IO_DIR:
		pthread_mutex_lock(&watch->mutex);
		dirs_listed(watch->dirs, rel, scan->number);
		pthread_mutex_unlock(&watch->mutex);
		CALL(watch, directory, rel);
		break;
	case IO_LINK_TO_DIR:
		CALL(watch, odd, rel, "is a symbolic link to a directory; not followed");
		break;
	case IO_FILE:
		if (io_is_rrd_name(rel))
			CALL(watch, appeared, rel);
		break;
	case IO_LINK:
		if (io_is_rrd_name(rel))
			CALL(watch, odd, rel, "is a symbolic link; not followed");
		break;
	case IO_OTHER:
		if (io_is_rrd_name(rel))
			CALL(watch, odd, rel, "is not a regular file");
		break;
	}
	return 0;
}

/* Forgets the subdirectories that were known before and that the listing did not show: their
 * events were lost.  One that was made meanwhile is handed out again for caution. */
static void sweep(struct scan *scan)
{
	struct watch *watch = scan->watch;
	char rel[PATH_MAX];
	bool swept;

	do {
		pthread_mutex_lock(&watch->mutex);
		swept = dirs_sweep(watch->dirs, scan->rel, scan->number, rel, sizeof(rel));
		pthread_mutex_unlock(&watch->mutex);
		if (swept && *rel)
			CALL(watch, directory, rel);
	} while (swept);
}

/* Watches, and looks whether it was the right one: -ESTALE where it was not. */
static int watch_path(struct scan *scan, int root)
{
	struct watch *watch = scan->watch;
	int fd, result;

	scan->opened = false;
	result = open_dir(root, scan->rel, &fd);
	if (result < 0)
		return result;
	if (fstat(fd, &scan->st) < 0)
		result = -errno;
	else
		result = watch_descriptor(scan, fd);
	scan->opened = result != -ELOOP;
	close(fd);
	if (result < 0 || look_again(scan) == 0)
		return result;

	forget(watch, scan->rel);
	if (scan->displaced[0])
		CALL(watch, directory, scan->displaced);
	return -ESTALE;
}

static int scan_path(struct scan *scan)
{
	struct watch *watch = scan->watch;
	int root, result = -ESTALE, watched;

	for (int scans = 0; scans < SCANS_MAX && result == -ESTALE; scans++) {
		result = open_root(watch, !*scan->rel, &root);
		if (result < 0)
			return result;
		pthread_mutex_lock(&watch->mutex);
		scan->number = dirs_begin_scan(watch->dirs);
		pthread_mutex_unlock(&watch->mutex);
		scan->displaced[0] = '\0';
		result = watch_path(scan, root);
		if (result == -ESTALE)
			close(root);
	}
	if (result == -ESTALE)
		return -ENOENT;
	if (result < 0 && !scan->opened) {
		if (result == -ENOENT || result == -ENOTDIR || result == -ELOOP)
			forget(watch, scan->rel);
		close(root);
		return result;
	}
	/* What could not be watched for want of watches can be listed all the same. */
	watched = result;
	result = io_list(root, scan->rel, list_entry, scan);
	close(root);
	if (result == 0)
		sweep(scan);
	else if (result == -ENOENT || result == -ENOTDIR)
		forget(watch, scan->rel);
	return result < 0 ? result : watched;
}

int watch_scan(struct watch *watch, const char *rel)
{
	struct scan scan = { .watch = watch, .rel = rel };
	int result = scan_path(&scan);

	reap(watch);
	return result;
}

int watch_check(struct watch *watch)
{
	struct stat st;
	int result = stat(watch->path, &st) < 0 ? -errno : 0;
	bool rooted;

	if (result == 0 && !S_ISDIR(st.st_mode))
		result = -ENOTDIR;
	pthread_mutex_lock(&watch->mutex);
	rooted = watch->rooted;
	if (rooted && result == 0 && (watch->dev != st.st_dev || watch->ino != st.st_ino))
		result = -ESTALE;
	pthread_mutex_unlock(&watch->mutex);
	if (!rooted || is_passing(result))
		result = 0;
	if (result < 0)
		lose_root(watch);
	reap(watch);
	return result;
}
