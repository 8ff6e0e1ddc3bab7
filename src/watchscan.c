/* Watching and listing directories, and looking after the root: all of watch that may wait. */
#include "config.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "io.h"
#include "watchint.h"

/* No IN_DONT_FOLLOW: the path that is watched is a link of /proc's, to an open descriptor. */
#define EVENTS (IN_CREATE | IN_MODIFY | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM \
		| IN_DELETE | IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
#define SCANS_MAX 8             /* of one directory that is replaced again and again */

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
	watch_reap_held(watch);
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
			watch_lose_root(watch);
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
		watch_lose_root(watch);
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

	watch_forget(watch, scan->rel);
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
			watch_forget(watch, scan->rel);
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
		watch_forget(watch, scan->rel);
	return result < 0 ? result : watched;
}

int watch_scan(struct watch *watch, const char *rel)
{
	struct scan scan = { .watch = watch, .rel = rel };
	int result = scan_path(&scan);

	watch_reap(watch);
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
		watch_lose_root(watch);
	watch_reap(watch);
	return result;
}
