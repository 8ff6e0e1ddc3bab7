#include "config.h"
#include "watch.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <search.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "io.h"

/* No IN_DONT_FOLLOW: the path that is watched is a link of /proc's, to an open descriptor. */
#define EVENTS (IN_CREATE | IN_CLOSE_WRITE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE \
		| IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_EXCL_UNLINK)
#define NOT_WATCHED (-1)
#define READ_SIZE 65536         /* bytes of events read at once */
#define READS_MAX 256           /* then the caller may look at other things */
#define SCANS_MAX 8             /* of one directory that is replaced again and again */

struct by_name {
	const struct dir *parent;
	const char *name;
};

/* A directory.  One without a watch is there because of what is beneath it. */
struct dir {
	struct by_name key;     /* first: `names` compares keys; not for the root */
	int wd;                 /* or NOT_WATCHED */
	struct dir *parent;     /* NULL: the root */
	struct dir *child, *next, *previous;
	uint64_t seen;          /* the number of the scan that listed it last */
	char name[];
};

struct watch {
	int fd;
	char *path;             /* of the root */
	struct watch_calls calls;
	void *arg;

	pthread_mutex_t mutex;  /* guards all that follows; never held during a call */
	struct dir *root;
	void *names;            /* tsearch(3): struct dir by parent and name */
	void *wds;              /* tsearch(3): watched struct dir by wd */
	size_t watched;
	uint64_t scans;         /* begun so far */
	bool rooted;            /* a root was scanned, and it was: */
	dev_t dev;
	ino_t ino;
};

static int compare_names(const void *left, const void *right)
{
	const struct by_name *a = left, *b = right;

	if (a->parent != b->parent)
		return (uintptr_t)a->parent < (uintptr_t)b->parent ? -1 : 1;
	return strcmp(a->name, b->name);
}

static int compare_wds(const void *left, const void *right)
{
	const struct dir *a = left, *b = right;

	return (a->wd > b->wd) - (a->wd < b->wd);
}

#define CALL(watch, call, ...) \
	((watch)->calls.call ? (watch)->calls.call(__VA_ARGS__, (watch)->arg) : (void)0)

/* The table of directories.  Callers hold the mutex. */

static struct dir *find_wd(struct watch *watch, int wd)
{
	const struct dir key = { .wd = wd };
	void *found = tfind(&key, &watch->wds, compare_wds);

	return found ? *(struct dir **)found : NULL;
}

static struct dir *find_child(struct watch *watch, const struct dir *parent, const char *name)
{
	const struct by_name key = { parent, name };
	void *found = tfind(&key, &watch->names, compare_names);

	return found ? *(struct dir **)found : NULL;
}

static struct dir *add_child(struct watch *watch, struct dir *parent, const char *name)
{
	size_t size = strlen(name) + 1;
	struct dir *dir = calloc(1, sizeof(*dir) + size);

	if (!dir)
		return NULL;
	memcpy(dir->name, name, size);
	dir->key.parent = parent;
	dir->key.name = dir->name;
	dir->wd = NOT_WATCHED;
	dir->parent = parent;
	if (parent && !tsearch(dir, &watch->names, compare_names)) {
		free(dir);
		return NULL;
	}
	if (parent) {
		dir->next = parent->child;
		if (dir->next)
			dir->next->previous = dir;
		parent->child = dir;
	}
	return dir;
}

/* Finds `rel`; with `make`, adds what is not there.  NULL: not there, or no memory. */
static struct dir *find_path(struct watch *watch, const char *rel, bool make)
{
	struct dir *dir = watch->root;

	while (dir && *rel) {
		char name[NAME_MAX + 1];
		size_t len = strcspn(rel, "/");
		struct dir *child;

		if (len > NAME_MAX)
			return NULL;
		memcpy(name, rel, len);
		name[len] = '\0';
		rel += len + (rel[len] == '/');
		child = find_child(watch, dir, name);
		if (!child && make)
			child = add_child(watch, dir, name);
		dir = child;
	}
	return dir;
}

/* Writes the path of `name` ("" for the directory itself) in `dir`.  False where it is longer
 * than any path that can be opened. */
static bool path_of(const struct dir *dir, const char *name, char *buffer, size_t size)
{
	size_t at = size - 1, len = strlen(name);

	buffer[at] = '\0';
	while (true) {
		if (len > at)
			return false;
		at -= len;
		memcpy(buffer + at, name, len);
		if (!dir->parent)
			break;
		if (buffer[at]) {
			if (at == 0)
				return false;
			buffer[--at] = '/';
		}
		name = dir->name;
		len = strlen(name);
		dir = dir->parent;
	}
	memmove(buffer, buffer + at, size - at);
	return true;
}

/* Forgets the watch of one directory, without removing it from the kernel. */
static void unmap(struct watch *watch, struct dir *dir)
{
	if (dir->wd == NOT_WATCHED)
		return;
	tdelete(dir, &watch->wds, compare_wds);
	dir->wd = NOT_WATCHED;
	watch->watched--;
}

static int map(struct watch *watch, struct dir *dir, int wd)
{
	dir->wd = wd;
	if (!tsearch(dir, &watch->wds, compare_wds)) {
		dir->wd = NOT_WATCHED;
		return -ENOMEM;
	}
	watch->watched++;
	return 0;
}

static void unlink_dir(struct watch *watch, struct dir *dir)
{
	tdelete(dir, &watch->names, compare_names);
	if (dir->previous)
		dir->previous->next = dir->next;
	else
		dir->parent->child = dir->next;
	if (dir->next)
		dir->next->previous = dir->previous;
	free(dir);
}

/* Removes directories upwards that are watched no more and have nothing beneath. */
static void prune(struct watch *watch, struct dir *dir)
{
	while (dir->parent && !dir->child && dir->wd == NOT_WATCHED) {
		struct dir *parent = dir->parent;

		unlink_dir(watch, dir);
		dir = parent;
	}
}

/* Forgets all beneath `top`, and its own watch, in the kernel too.  (A watch that the kernel
 * has removed already makes a harmless EINVAL: its number is not given out again.)  The caller
 * prunes.  No recursion: the depth is whatever others made it. */
static void drop(struct watch *watch, struct dir *top)
{
	struct dir *dir = top;

	while (true) {
		while (dir->child)
			dir = dir->child;
		if (dir->wd != NOT_WATCHED) {
			inotify_rm_watch(watch->fd, dir->wd);
			unmap(watch, dir);
		}
		if (dir == top)
			break;

		struct dir *parent = dir->parent;
		unlink_dir(watch, dir);
		dir = parent;
	}
}

/* Drops and prunes what is known of `rel`.  True where there was something. */
static bool forget(struct watch *watch, const char *rel)
{
	struct dir *dir;

	pthread_mutex_lock(&watch->mutex);
	dir = find_path(watch, rel, false);
	if (dir) {
		drop(watch, dir);
		prune(watch, dir);
	}
	pthread_mutex_unlock(&watch->mutex);
	return dir != NULL;
}

static void lose_root(struct watch *watch)
{
	bool had;

	pthread_mutex_lock(&watch->mutex);
	had = watch->rooted;
	watch->rooted = false;
	drop(watch, watch->root);
	pthread_mutex_unlock(&watch->mutex);
	if (had && watch->calls.root_gone)
		watch->calls.root_gone(watch->arg);
}

int watch_new(const char *root, const struct watch_calls *calls, void *arg, struct watch **ret)
{
	struct watch *watch = calloc(1, sizeof(*watch));
	int result = -ENOMEM;

	if (!watch)
		return -ENOMEM;
	pthread_mutex_init(&watch->mutex, NULL);
	watch->fd = -1;
	watch->calls = *calls;
	watch->arg = arg;
	watch->path = strdup(root);
	watch->root = add_child(watch, NULL, "");
	if (!watch->path || !watch->root)
		goto out;
	watch->fd = inotify_init1(IN_NONBLOCK | IN_CLOEXEC);
	if (watch->fd < 0) {
		result = -errno;
		goto out;
	}
	*ret = watch;
	return 0;
out:
	watch_free(watch);
	return result;
}

static void keep(void *node)
{
	(void)node;
}

void watch_free(struct watch *watch)
{
	if (!watch)
		return;
	/* First, and all watches go with it: faster than one by one. */
	if (watch->fd >= 0)
		close(watch->fd);
	tdestroy(watch->wds, keep);
	tdestroy(watch->names, free);
	free(watch->root);
	free(watch->path);
	pthread_mutex_destroy(&watch->mutex);
	free(watch);
}

int watch_fd(const struct watch *watch)
{
	return watch->fd;
}

size_t watch_directories(struct watch *watch)
{
	size_t watched;

	pthread_mutex_lock(&watch->mutex);
	watched = watch->watched;
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
	struct dir *dir;
	bool is_root, known;

	pthread_mutex_lock(&watch->mutex);
	dir = find_wd(watch, wd);
	if (!dir) {
		pthread_mutex_unlock(&watch->mutex);
		return;
	}
	is_root = !dir->parent;
	known = path_of(dir, "", rel, sizeof(rel));
	if (mask & IN_IGNORED)
		unmap(watch, dir);
	if (!is_root) {
		drop(watch, dir);
		prune(watch, dir);
	}
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
	struct dir *dir;
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
	dir = find_wd(watch, event->wd);
	known = dir && path_of(dir, event->name, rel, sizeof(rel));
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

	for (int reads = 0; reads < READS_MAX; reads++) {
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

/* Maps `wd`, which inotify has just given for `rel`.  The caller holds the mutex. */
static int adopt(struct scan *scan, int wd)
{
	struct watch *watch = scan->watch;
	struct dir *other = find_wd(watch, wd), *dir = find_path(watch, scan->rel, false);

	if (other && other == dir)
		return 0;
	if (other && !other->parent)
		return -ELOOP;          /* the root, mounted within itself */
	if (other) {
		/* The same inode under another path: it was moved, the event is still to come
		 * (or this scan is outdated, which its last look will tell). */
		if (!path_of(other, "", scan->displaced, sizeof(scan->displaced)))
			scan->displaced[0] = '\0';
		unmap(watch, other);
		drop(watch, other);
		prune(watch, other);
		dir = find_path(watch, scan->rel, false);
	}
	if (dir && dir->wd != NOT_WATCHED)
		drop(watch, dir);       /* another directory stood at this path */
	dir = find_path(watch, scan->rel, true);
	if (!dir || map(watch, dir, wd) < 0) {
		inotify_rm_watch(watch->fd, wd);
		if (dir)
			prune(watch, dir);
		return -ENOMEM;
	}
	dir->seen = watch->scans;
	return 0;
}

/* Watches the directory that `fd` is.  Under the mutex as a whole: nobody must remove the watch
 * as the one of an older path between its being given and its being mapped. */
static int watch_descriptor(struct scan *scan, int fd)
{
	struct watch *watch = scan->watch;
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];
	int wd, result;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	pthread_mutex_lock(&watch->mutex);
	wd = inotify_add_watch(watch->fd, path, EVENTS);
	if (wd >= 0)
		result = adopt(scan, wd);
	else
		/* The descriptor is open: what is not there is /proc. */
		result = errno == ENOENT ? -EOPNOTSUPP : -errno;
	pthread_mutex_unlock(&watch->mutex);
	return result;
}

/* Opens the root, and sees that it is the one that we know. */
static int open_root(struct watch *watch, bool first, int *ret_fd)
{
	struct stat st;
	bool same, rooted;
	int root = io_open_root(watch->path);

	if (root < 0) {
		if (root == -ENOENT || root == -ENOTDIR)
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
	struct dir *dir;

	switch (kind) {
	case IO_DIR:
		pthread_mutex_lock(&watch->mutex);
		dir = find_path(watch, rel, false);
		if (dir)
			dir->seen = scan->number;
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
	struct dir *dir, *child;

	do {
		char rel[PATH_MAX];
		bool known = false;

		pthread_mutex_lock(&watch->mutex);
		dir = find_path(watch, scan->rel, false);
		child = dir ? dir->child : NULL;
		while (child && child->seen >= scan->number)
			child = child->next;
		if (child) {
			known = path_of(child, "", rel, sizeof(rel));
			drop(watch, child);
			unlink_dir(watch, child);
		}
		pthread_mutex_unlock(&watch->mutex);
		if (known)
			CALL(watch, directory, rel);
	} while (child);
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

int watch_scan(struct watch *watch, const char *rel)
{
	struct scan scan = { .watch = watch, .rel = rel };
	int root, result = -ESTALE, watched;

	for (int scans = 0; scans < SCANS_MAX && result == -ESTALE; scans++) {
		result = open_root(watch, !*rel, &root);
		if (result < 0)
			return result;
		pthread_mutex_lock(&watch->mutex);
		scan.number = ++watch->scans;
		pthread_mutex_unlock(&watch->mutex);
		scan.displaced[0] = '\0';
		result = watch_path(&scan, root);
		if (result == -ESTALE)
			close(root);
	}
	if (result == -ESTALE)
		return -ENOENT;
	if (result < 0 && !scan.opened) {
		if (result == -ENOENT || result == -ENOTDIR || result == -ELOOP)
			forget(watch, rel);
		close(root);
		return result;
	}
	/* What could not be watched for want of watches can be listed all the same. */
	watched = result;
	result = io_list(root, rel, list_entry, &scan);
	close(root);
	if (result == 0)
		sweep(&scan);
	else if (result == -ENOENT || result == -ENOTDIR)
		forget(watch, rel);
	return result < 0 ? result : watched;
}
