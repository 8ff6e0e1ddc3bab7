#include "config.h"
#include "io.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#define BEAT_BYTES (1u << 20)
#define WALK_DEPTH_MAX 64       /* perfdata is one or two deep; a loop must end somewhere */

static int64_t ns_of(struct timespec t)
{
	return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

struct io_stamp io_stamp_of(const struct stat *st)
{
	return (struct io_stamp){
		.dev = st->st_dev,
		.ino = st->st_ino,
		.links = st->st_nlink,
		.size = (uint64_t)st->st_size,
		.mtime_ns = ns_of(st->st_mtim),
		.ctime_ns = ns_of(st->st_ctim),
	};
}

bool io_stamp_equal(const struct io_stamp *a, const struct io_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino && a->size == b->size &&
	       a->mtime_ns == b->mtime_ns && a->ctime_ns == b->ctime_ns;
}

int io_unchanged(int fd, const struct stat *before, struct io_stamp *ret_now, struct reason *why)
{
	const struct io_stamp then = io_stamp_of(before);
	struct stat now;

	if (fstat(fd, &now))
		return reason_errno(why, errno, "cannot be looked at");
	*ret_now = io_stamp_of(&now);
	if (io_stamp_equal(&then, ret_now))
		return 0;
	reason_set(why, "changed while it was read");
	return -ESTALE;
}

/* See io_beat_to(). */
static _Thread_local _Atomic uint64_t *beat_to;

_Atomic uint64_t *io_beat_to(_Atomic uint64_t *at_ns)
{
	_Atomic uint64_t *before = beat_to;

	beat_to = at_ns;
	return before;
}

static void beat(void)
{
	if (beat_to)
		atomic_store(beat_to, io_now_ns());
}

int io_pread(int fd, void *buffer, size_t size, uint64_t offset)
{
	uint8_t *at = buffer;

	while (size) {
		/* A large file on a slow disk takes long, and does not hang. */
		size_t most = beat_to && size > BEAT_BYTES ? BEAT_BYTES : size;
		ssize_t n = pread(fd, at, most, (off_t)offset);

		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		if (n == 0)
			return -ENODATA;
		at += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
		beat();
	}
	return 0;
}

bool io_is_cached(int fd)
{
	char byte;
	struct iovec first = { &byte, 1 };

	return preadv2(fd, &first, 1, 0, RWF_NOWAIT) == 1;
}

int io_pwrite(int fd, const void *buffer, size_t size, uint64_t offset)
{
	const uint8_t *at = buffer;

	while (size) {
		ssize_t n = pwrite(fd, at, size, (off_t)offset);
		if (n < 0) {
			if (errno == EINTR)
				continue;
			return -errno;
		}
		at += n;
		size -= (size_t)n;
		offset += (uint64_t)n;
	}
	return 0;
}

/* The same without openat2(2), a directory at a time: no name is "..", and none is a link. */
static int open_stepwise(int root, const char *rel, int flags)
{
	char name[NAME_MAX + 1];
	struct stat st;
	int at = root, fd;

	if (*rel == '/')
		return -EXDEV;
	for (;;) {
		size_t len = strcspn(rel, "/");
		bool last = !rel[len + strspn(rel + len, "/")];

		if (len > NAME_MAX) {
			fd = -ENAMETOOLONG;
			break;
		}
		memcpy(name, len ? rel : ".", len ? len : 1);
		name[len ? len : 1] = '\0';
		if (strcmp(name, "..") == 0) {
			fd = -EXDEV;
			break;
		}
		fd = openat(at, name, last ? flags : O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 && errno == EINTR)
			continue;
		if (fd < 0)
			fd = errno == ENOTDIR && !last &&
			     !fstatat(at, name, &st, AT_SYMLINK_NOFOLLOW) &&
			     S_ISLNK(st.st_mode) ? -ELOOP : -errno;
		if (fd < 0 || last)
			break;
		if (at != root)
			close(at);
		at = fd;
		rel += len + strspn(rel + len, "/");
	}
	if (at != root)
		close(at);
	return fd;
}

static int open_beneath(int root, const char *rel, int flags)
{
	/* Linux before 5.6; and systemd's RestrictSUIDSGID=, whose filter cannot see into `how`. */
	static atomic_bool no_openat2;
	struct open_how how = {
		.flags = (unsigned)(flags | O_CLOEXEC | O_NOFOLLOW),
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
	};
	long fd;

	if (atomic_load(&no_openat2))
		return open_stepwise(root, rel, (int)how.flags);
	do
		fd = syscall(SYS_openat2, root, *rel ? rel : ".", &how, sizeof(how));
	while (fd < 0 && (errno == EINTR || (errno == EAGAIN && !(flags & O_NONBLOCK))));
	if (fd < 0 && errno == ENOSYS) {
		atomic_store(&no_openat2, true);
		return open_stepwise(root, rel, (int)how.flags);
	}
	return fd < 0 ? -errno : (int)fd;
}

uint64_t io_file_id(int fd, const char *rel)
{
	struct statx stx;

	if (statx(fd, rel, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_INO | STATX_BTIME, &stx))
		return 0;
	uint64_t birth = stx.stx_mask & STATX_BTIME
		? (uint64_t)stx.stx_btime.tv_sec * 1000000000u + stx.stx_btime.tv_nsec : 0;
	uint64_t id = (stx.stx_ino ^ birth * UINT64_C(0x9e3779b97f4a7c15)) & INT64_MAX;

	return id ? id : 1;
}

int io_open_root(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

static int refuse_kind(mode_t mode, struct reason *why)
{
	const char *what = S_ISLNK(mode)  ? "a symbolic link"
			 : S_ISDIR(mode)  ? "a directory"
			 : S_ISFIFO(mode) ? "a FIFO"
			 : S_ISSOCK(mode) ? "a socket"
			 : S_ISCHR(mode) || S_ISBLK(mode) ? "a device"
					  : "not a regular file";

	reason_set(why, "is %s, not a regular file", what);
	return REFUSED;
}

/* A FIFO or a device must not even be opened: that alone can block or do something.  So the
 * path is first opened as a mere name (O_PATH), looked at, and opened again. */
static int look_at(int root, const char *rel, struct stat *ret_st, struct reason *why)
{
	int fd = open_beneath(root, rel, O_PATH);

	if (fd == -ELOOP) {
		reason_set(why, "is or lies behind a symbolic link, which is not followed");
		return REFUSED;
	}
	if (fd == -EXDEV) {
		reason_set(why, "lies out of the tree");
		return REFUSED;
	}
	if (fd < 0)
		return reason_errno(why, -fd, "cannot be opened");
	int r = fstat(fd, ret_st) ? reason_errno(why, errno, "cannot be looked at") : 0;
	close(fd);
	if (!r && !S_ISREG(ret_st->st_mode))
		return refuse_kind(ret_st->st_mode, why);
	return r;
}

int io_open_file(int root, const char *rel, int flags, int *ret_fd, struct stat *ret_st,
		 struct reason *why)
{
	struct stat st;
	int r = look_at(root, rel, &st, why);

	beat();
	if (r)
		return r;
	int fd = open_beneath(root, rel, flags | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return reason_errno(why, -fd, "cannot be opened");
	if (fstat(fd, &st)) {
		r = reason_errno(why, errno, "cannot be looked at");
		close(fd);
		return r;
	}
	if (!S_ISREG(st.st_mode)) {     /* exchanged between the two opens */
		close(fd);
		return refuse_kind(st.st_mode, why);
	}
	*ret_fd = fd;
	if (ret_st)
		*ret_st = st;
	return 0;
}

int io_open_dir(int root, const char *rel, int *ret_fd)
{
	int fd = open_beneath(root, rel, O_RDONLY | O_DIRECTORY);

	if (fd < 0)
		return fd;
	*ret_fd = fd;
	return 0;
}

static enum io_kind kind_of(int dir, const char *name, unsigned char type)
{
	struct stat st;

	if (type == DT_REG)
		return IO_FILE;
	if (type == DT_DIR)
		return IO_DIR;
	if (type == DT_UNKNOWN) {
		if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
			return IO_OTHER;
		if (S_ISREG(st.st_mode))
			return IO_FILE;
		if (S_ISDIR(st.st_mode))
			return IO_DIR;
		if (!S_ISLNK(st.st_mode))
			return IO_OTHER;
	} else if (type != DT_LNK) {
		return IO_OTHER;
	}
	return fstatat(dir, name, &st, 0) == 0 && S_ISDIR(st.st_mode) ? IO_LINK_TO_DIR : IO_LINK;
}

int io_list(int root, const char *rel, io_entry_fn *entry, void *arg)
{
	int fd, r = io_open_dir(root, rel, &fd);

	if (r)
		return r;
	DIR *dir = fdopendir(fd);
	if (!dir) {
		r = -errno;
		close(fd);
		return r;
	}
	for (;;) {
		errno = 0;
		struct dirent *e = readdir(dir);

		beat();
		if (!e) {
			r = -errno;
			break;
		}
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;

		char *child;
		if (asprintf(&child, "%s%s%s", rel, *rel ? "/" : "", e->d_name) < 0) {
			r = -ENOMEM;
			break;
		}
		r = entry(child, kind_of(dirfd(dir), e->d_name, e->d_type), arg);
		free(child);
		if (r)
			break;
	}
	closedir(dir);
	return r;
}

struct walk {
	int root;
	unsigned depth;
	io_entry_fn *entry;
	io_error_fn *error;
	void *arg;
	int ended;              /* what the caller's entry ended the walk with */
};

static int walk_directory(struct walk *walk, const char *rel);

static int walk_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct walk *walk = arg;

	walk->ended = walk->entry(rel, kind, walk->arg);
	if (walk->ended || kind != IO_DIR)
		return walk->ended;
	if (walk->depth == WALK_DEPTH_MAX) {
		walk->error(rel, ELOOP, walk->arg);
		return 0;
	}
	walk->depth++;
	int r = walk_directory(walk, rel);
	walk->depth--;
	return r;
}

/* A directory that cannot be read is told of, and the walk goes on. */
static int walk_directory(struct walk *walk, const char *rel)
{
	int r = io_list(walk->root, rel, walk_entry, walk);

	if (walk->ended)
		return walk->ended;
	if (r == -ENOMEM)
		return r;
	if (r)
		walk->error(rel, -r, walk->arg);
	return 0;
}

int io_walk(int root, const char *rel, io_entry_fn *entry, io_error_fn *error, void *arg)
{
	struct walk walk = { root, 0, entry, error, arg, 0 };

	return walk_directory(&walk, rel);
}

/* IO_SAME, IO_INSIDE where `outer` is met on the way up, or IO_APART. */
static int climb(const char *inner, const struct stat *outer)
{
	char path[PATH_MAX];
	int relation = IO_SAME;
	struct stat st;

	if (!realpath(inner, path))
		return -errno;
	for (;;) {
		if (stat(*path ? path : "/", &st))
			return -errno;
		if (st.st_dev == outer->st_dev && st.st_ino == outer->st_ino)
			return relation;
		if (!*path || !strcmp(path, "/"))
			return IO_APART;
		*strrchr(path, '/') = '\0';
		relation = IO_INSIDE;
	}
}

int io_relate(const char *a, const char *b)
{
	struct stat a_st, b_st;

	if (stat(a, &a_st) || stat(b, &b_st))
		return -errno;
	int r = climb(a, &b_st);
	if (r != IO_APART)
		return r;
	r = climb(b, &a_st);
	return r == IO_INSIDE ? IO_HOLDS : r;
}

/* Values of statfs(2)'s f_type: those that linux/magic.h of an older kernel may lack, or that the
 * kernel keeps elsewhere (fs/gfs2, fs/orangefs, fs/vboxsf), or that are not part of it. */
#define BEEGFS_TYPE 0x19830326
#define GFS2_TYPE 0x01161970
#define GPFS_TYPE 0x47504653
#define LUSTRE_TYPE 0x0bd00bd0
#define ORANGEFS_TYPE 0x20030528
#define SMB2_TYPE 0xfe534d42
#define CIFS_TYPE 0xff534d42
#define VBOXSF_TYPE 0x786f4256
#define VMHGFS_TYPE 0xbacbacbc

const char *io_remote_fs(const char *path)
{
	static const struct {
		uint32_t type;
		const char *name;
	} remote[] = {
		{ NFS_SUPER_MAGIC, "NFS" },
		{ SMB_SUPER_MAGIC, "SMB" }, { SMB2_TYPE, "SMB" }, { CIFS_TYPE, "SMB" },
		{ FUSE_SUPER_MAGIC, "FUSE" },
		{ CEPH_SUPER_MAGIC, "Ceph" },
		{ V9FS_MAGIC, "9p" },
		{ AFS_SUPER_MAGIC, "AFS" }, { AFS_FS_MAGIC, "AFS" },
		{ CODA_SUPER_MAGIC, "Coda" },
		{ NCP_SUPER_MAGIC, "NCP" },
		{ GFS2_TYPE, "GFS2" },
		{ OCFS2_SUPER_MAGIC, "OCFS2" },
		{ LUSTRE_TYPE, "Lustre" },
		{ GPFS_TYPE, "GPFS" },
		{ BEEGFS_TYPE, "BeeGFS" },
		{ ORANGEFS_TYPE, "OrangeFS" },
		{ VBOXSF_TYPE, "vboxsf" },
		{ VMHGFS_TYPE, "vmhgfs" },
	};
	struct statfs fs;
	int r;

	do
		r = statfs(path, &fs);
	while (r && errno == EINTR);
	if (r)
		return NULL;
	/* f_type is signed, and as wide as the machine. */
	for (size_t i = 0; i < sizeof(remote) / sizeof(*remote); i++)
		if ((uint32_t)fs.f_type == remote[i].type)
			return remote[i].name;
	return NULL;
}

bool io_is_rrd_name(const char *rel)
{
	size_t len = strlen(rel);

	return len > 4 && !strcmp(rel + len - 4, ".rrd") && rel[len - 5] != '/';
}

void io_prepare(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd < 0)
		abort();
	close(fd);
}

uint64_t io_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}
