#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

/* SQLite's own locks are on 512 bytes from 0x40000000 on (its os.h, PENDING_BYTE). */
#define HELD_BYTE (0x40000000 + 1024)
#define BEGUN "\nbegun\n"

/* ---- what stands there ---- */

static const char *kind_of(mode_t mode)
{
	return S_ISDIR(mode) ? "a directory" : S_ISLNK(mode) ? "a symbolic link"
		: S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
}

/* By each name SQLite would keep another log. */
static int check_links(const struct stat *st, struct reason *why)
{
	if (st->st_nlink < 2)
		return 0;
	reason_set(why, "has %llu names (hard links), and each would have a log of its own: leave it "
		   "one", (unsigned long long)st->st_nlink);
	return REFUSED;
}

int ledgerlock_look(const char *path, bool reading, struct reason *why)
{
	static const char *const ending[] = { "-wal", "-shm", "-journal", ".lock" };
	const char *slash = strrchr(path, '/'), *name = slash ? slash + 1 : path;
	char beside[4200];
	struct stat st;

	if (!*name) {
		reason_set(why, "has no name: a file's path is wanted");
		return REFUSED;
	}
	if (reading && stat(path, &st))
		return reason_errno(why, errno, "cannot be read");
	if (reading || !lstat(path, &st)) {
		if (!S_ISREG(st.st_mode)) {
			reason_set(why, "is %s%s", kind_of(st.st_mode), S_ISLNK(st.st_mode)
				   ? ": it is opened by its own name only" : "");
			return REFUSED;
		}
		if (!reading && check_links(&st, why))
			return REFUSED;
	}
	for (size_t i = 0; i < sizeof(ending) / sizeof(*ending); i++) {
		snprintf(beside, sizeof(beside), "%s%s", path, ending[i]);
		if (!lstat(beside, &st) && !S_ISREG(st.st_mode)) {
			reason_set(why, "cannot be used: %.100s%s beside it is %s", name, ending[i],
				   kind_of(st.st_mode));
			return REFUSED;
		}
	}
	return 0;
}

/* ---- the file beside it ---- */

/* Is it still the one at its path? */
static bool is_there(int fd, const char *path)
{
	struct stat ours, there;

	return !fstat(fd, &ours) && !lstat(path, &there) && ours.st_dev == there.st_dev
		&& ours.st_ino == there.st_ino;
}

int ledgerlock_take(const char *ledger, int *lock, bool *ret_begun, struct reason *why)
{
	char path[4200], text[64] = "";

	snprintf(path, sizeof(path), "%s.lock", ledger);
	if (*lock >= 0 && is_there(*lock, path))
		return 0;
	if (*lock >= 0)
		close(*lock);
	*lock = -1;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);
	if (fd < 0)
		return reason_errno(why, errno, "%s", path);
	int error = flock(fd, LOCK_EX | LOCK_NB) ? errno : 0;
	ssize_t got = pread(fd, text, sizeof(text) - 1, 0);
	text[got > 0 ? got : 0] = '\0';
	if (error) {
		close(fd);
		if (error != EWOULDBLOCK)
			return reason_errno(why, error, "%s cannot be locked", path);
		reason_set(why, "is in use by another process%s%.*s", text[0] ? ": " : "",
			   (int)strcspn(text, "\n"), text);
		return REFUSED;
	}
	*ret_begun = strstr(text, BEGUN);
	/* For people only. */
	snprintf(text, sizeof(text), "%ld%s", (long)getpid(), *ret_begun ? BEGUN : "\n");
	if (ftruncate(fd, 0) || pwrite(fd, text, strlen(text), 0) < 0)
		text[0] = '\0';
	*lock = fd;
	return 0;
}

void ledgerlock_begun(int lock)
{
	char text[64];

	snprintf(text, sizeof(text), "%ld%s", (long)getpid(), BEGUN);
	/* Where it cannot be said, an empty one passes for new the next time. */
	if (pwrite(lock, text, strlen(text), 0) < 0)
		return;
}

/* ---- the database itself ---- */

int ledgerlock_hold(const char *path, int *ret_fd, struct reason *why)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = HELD_BYTE,
			      .l_len = 1 };
	struct stat st;
	int r = 0, fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0644);

	if (fd < 0)
		return reason_errno(why, errno, "may not be written to");
	if (fstat(fd, &st) || !S_ISREG(st.st_mode)) {
		reason_set(why, "is no file any more");
		r = REFUSED;
	} else if (check_links(&st, why)) {
		r = REFUSED;
	} else if (fcntl(fd, F_OFD_SETLK, &lock)) {
		r = reason_errno(why, errno, "cannot be locked");
		if (r == -EAGAIN || r == -EACCES) {
			reason_set(why, "is in use by another process, whose lock file is gone");
			r = REFUSED;
		}
	} else if (!is_there(fd, path)) {
		reason_set(why, "was removed, or another was put in its place");
		r = -EAGAIN;
	}
	if (r)
		close(fd);
	else
		*ret_fd = fd;
	return r;
}
