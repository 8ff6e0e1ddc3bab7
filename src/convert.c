#include "config.h"
#include "convert.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dump.h"
#include "io.h"
#include "source.h"

#define MODE 0666               /* less the umask */
#define READ_TRIES 5            /* of a file that changes */
#define READ_PAUSE_NS 250000000L
#define NAME_TRIES 100
#define TEMPORARY_SIZE 64

/* A file that has no name yet; or, where there can be none such, one that nobody else uses. */
struct draft {
	int dir, fd;
	char temporary[TEMPORARY_SIZE]; /* "" where it has none */
};

/* ---- reading ---- */

/* `path` split at its last slash; the caller frees `ret_dir`. */
static int split(const char *path, char **ret_dir, const char **ret_name)
{
	const char *slash = strrchr(path, '/');
	size_t len = !slash ? 0 : slash == path ? 1 : (size_t)(slash - path);
	char *dir = slash ? strndup(path, len) : strdup(".");

	if (!dir)
		return -ENOMEM;
	*ret_dir = dir;
	*ret_name = slash ? slash + 1 : path;
	return 0;
}

static int open_dir_of(const char *path, int *ret_fd, const char **ret_name, struct reason *why)
{
	char *dir;
	int r = split(path, &dir, ret_name);

	if (r)
		return reason_errno(why, -r, "cannot be looked at");
	int fd = io_open_root(dir);
	free(dir);
	if (fd < 0)
		return reason_errno(why, -fd, "its directory cannot be opened");
	*ret_fd = fd;
	return 0;
}

static int read_once(struct rrd *db, const char *path, struct reason *why)
{
	const char *name;
	int dir = -1, fd = -1;
	int r = open_dir_of(path, &dir, &name, why);

	if (!r)
		r = io_open_file(dir, name, O_RDONLY, &fd, NULL, why);
	if (!r)
		r = source_is_dump(fd, name) ? dump_read(db, fd, why) : rrd_read(db, fd, why);
	if (fd >= 0)
		close(fd);
	if (dir >= 0)
		close(dir);
	return r;
}

static int read_source(struct rrd *db, const char *path, struct reason *why)
{
	const struct timespec pause = { 0, READ_PAUSE_NS };
	int r = read_once(db, path, why);

	for (int n = 1; n < READ_TRIES && (r == -ESTALE || r == -EAGAIN); n++) {
		nanosleep(&pause, NULL);
		r = read_once(db, path, why);
	}
	return r;
}

/* ---- writing ---- */

static int open_named(struct draft *draft)
{
	int fd = -1;

	errno = EEXIST;
	for (unsigned n = 0; n < NAME_TRIES && fd < 0 && errno == EEXIST; n++) {
		snprintf(draft->temporary, sizeof(draft->temporary), ".rrdmerge-%ld-%u",
			 (long)getpid(), n);
		fd = openat(draft->dir, draft->temporary,
			    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, MODE);
	}
	if (fd < 0) {
		draft->temporary[0] = '\0';     /* whose is that? not ours */
		return -errno;
	}
	draft->fd = fd;
	return 0;
}

static int open_draft(struct draft *draft)
{
	/* What has no name is given one through /proc. */
	int fd = access("/proc/self/fd", X_OK) ? -1
		: openat(draft->dir, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, MODE);

	if (fd < 0)
		return open_named(draft);       /* not every filesystem knows it */
	draft->fd = fd;
	return 0;
}

/* Gives it its name, unless something has that name by now. */
static int name_draft(struct draft *draft, const char *name)
{
	char from[64];

	if (!draft->temporary[0]) {
		snprintf(from, sizeof(from), "/proc/self/fd/%d", draft->fd);
		return linkat(AT_FDCWD, from, draft->dir, name, AT_SYMLINK_FOLLOW) ? -errno : 0;
	}
	if (!linkat(draft->dir, draft->temporary, draft->dir, name, 0))
		return 0;
	if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
		return -errno;
	/* No hard links here. */
	if (renameat2(draft->dir, draft->temporary, draft->dir, name, RENAME_NOREPLACE))
		return -errno;
	draft->temporary[0] = '\0';
	return 0;
}

static int write_draft(struct draft *draft, const struct rrd *db, const char *name,
		       struct reason *why)
{
	int r = open_draft(draft);

	if (r)
		return reason_errno(why, -r, "cannot be made");
	r = io_pwrite(draft->fd, db->bytes, db->size, 0);
	if (!r && fsync(draft->fd))
		r = -errno;
	if (r)
		return reason_errno(why, -r, "cannot be written");
	r = name_draft(draft, name);
	if (r)
		return reason_errno(why, -r, "cannot be made");
	/* Some filesystems sync no directory. */
	if (fsync(draft->dir) && errno != EINVAL) {
		r = reason_errno(why, errno, "cannot be written");
		unlinkat(draft->dir, name, 0);
	}
	return r;
}

static int check_new(int dir, const char *name, struct reason *why)
{
	struct stat st;

	if (!*name) {
		reason_set(why, "is no name of a file");
		return REFUSED;
	}
	if (!fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW)) {
		reason_set(why, "is there already, and is not overwritten");
		return REFUSED;
	}
	return errno == ENOENT ? 0 : reason_errno(why, errno, "cannot be looked at");
}

int convert_file(const char *old, const char *new, bool dry_run, struct convert_result *ret,
		 const char **ret_failed, struct reason *why)
{
	struct draft draft = { .dir = -1, .fd = -1 };
	struct rrd db = { 0 };
	const char *name;

	*ret_failed = new;
	int r = open_dir_of(new, &draft.dir, &name, why);
	if (!r)
		r = check_new(draft.dir, name, why);
	if (r)
		goto out;
	*ret_failed = old;
	r = read_source(&db, old, why);
	if (r)
		goto out;
	*ret_failed = new;
	if (!dry_run)
		r = write_draft(&draft, &db, name, why);
	if (r)
		goto out;
	*ret = (struct convert_result){
		.origin = db.origin ? db.origin : "this kind of machine",
		.version = db.head.version,
		.ds_cnt = db.head.ds_cnt,
		.rra_cnt = db.head.rra_cnt,
		.size = db.size,
		.last_up = db.head.last_up,
	};
	ret->torn = rrd_is_torn(&db, &ret->torn_why);
	*ret_failed = NULL;
out:
	if (draft.temporary[0])
		unlinkat(draft.dir, draft.temporary, 0);
	if (draft.fd >= 0)
		close(draft.fd);
	if (draft.dir >= 0)
		close(draft.dir);
	rrd_free(&db);
	return r;
}
