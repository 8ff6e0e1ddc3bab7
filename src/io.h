/* io: whole reads and writes, and files found beneath a root without following a link. */
#ifndef IO_H
#define IO_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <sys/types.h>

#include "reason.h"

/* What tells one state of a file from another: identity, size and times. */
struct io_stamp {
	dev_t dev;
	ino_t ino;
	nlink_t links;
	uint64_t size;      /* bytes */
	int64_t mtime_ns;   /* nanoseconds since the epoch */
	int64_t ctime_ns;
};

struct io_stamp io_stamp_of(const struct stat *st);
bool io_stamp_equal(const struct io_stamp *a, const struct io_stamp *b);
/* Is the file that was read still as it was `before`?  0, -ESTALE or -errno; ret_now is set unless
 * it cannot be looked at. */
int io_unchanged(int fd, const struct stat *before, struct io_stamp *ret_now, struct reason *why);

/* From now on what this thread reads here, each time that a disk has answered, is noted at `at_ns`
 * as io_now_ns() has it.  NULL: nowhere.  Returns where it was noted before. */
_Atomic uint64_t *io_beat_to(_Atomic uint64_t *at_ns);

/* Reads exactly `size` bytes at `offset`, or returns -errno: -ENODATA where the file ends
 * before. */
int io_pread(int fd, void *buffer, size_t size, uint64_t offset);
/* Is what it begins with in the page cache?  False, too, where that cannot be told. */
bool io_is_cached(int fd);
/* Writes all of it, or returns -errno. */
int io_pwrite(int fd, const void *buffer, size_t size, uint64_t offset);

/* What makes a file this one and no other that got its inode later: a hash of inode and time of
 * birth (where the filesystem keeps that).  Of what `fd` is, or, where `rel` is not empty, of
 * what has that name beneath it.  0: it cannot be told. */
uint64_t io_file_id(int fd, const char *rel);

/* Opens a root directory (links in its own path are the administrator's and followed).
 * Returns a descriptor to close, or -errno. */
int io_open_root(const char *path);

/* Opens `rel` beneath `root` with `flags`: no link is followed, nothing outside is reached.
 * Anything but a regular file is refused without opening it.  `ret_st` may be NULL. */
int io_open_file(int root, const char *rel, int flags, int *ret_fd, struct stat *ret_st,
		 struct reason *why);
/* The same for a directory. */
int io_open_dir(int root, const char *rel, int *ret_fd);

enum io_kind { IO_FILE, IO_DIR, IO_LINK, IO_LINK_TO_DIR, IO_OTHER };

/* Called for each entry of a directory; `rel` is beneath the root and lives only for the call.
 * A return other than 0 ends the listing and is handed back. */
typedef int io_entry_fn(const char *rel, enum io_kind kind, void *arg);
/* Called for a directory that cannot be read: -errno in `error`. */
typedef void io_error_fn(const char *rel, int error, void *arg);

/* Lists one directory ("" is the root itself), not its subdirectories. */
int io_list(int root, const char *rel, io_entry_fn *entry, void *arg);
/* Walks everything beneath `rel`, hidden entries included, depth bounded; directories
 * themselves are reported before what is in them. */
int io_walk(int root, const char *rel, io_entry_fn *entry, io_error_fn *error, void *arg);

/* How directory `a` stands to directory `b`, links and mounts seen through: by the identity of
 * each directory on the way up.  -errno where one cannot be reached. */
enum io_relation { IO_APART, IO_SAME, IO_INSIDE, IO_HOLDS };
int io_relate(const char *a, const char *b);

/* The name of the filesystem at `path` ("NFS", "SMB", "FUSE", ...) where it is one that another
 * machine, or somebody behind it, may write to without inotify telling it here.  Else, or where
 * that cannot be found out, NULL.  May wait for that machine. */
const char *io_remote_fs(const char *path);

/* True for the names that we merge: "*.rrd". */
bool io_is_rrd_name(const char *rel);

/* Call first of all in a program.  A descriptor 0, 1 or 2 that was closed would be given to the
 * next file opened, and messages would be written into a live RRD: /dev/null takes its place. */
void io_prepare(void);

/* Monotonic clock in nanoseconds. */
uint64_t io_now_ns(void);

#endif
