#include "config.h"
#include "hold.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#define CHUNK 4096              /* of the header, compared on the stack: nothing is allocated */
#define WRITES_MAX 256          /* calls in one hold, so that many small extents stay short too */

void hold_prepare(void)
{
	signal(SIGIO, SIG_IGN);
}

/* 0, -EAGAIN, -ENOLCK where there are no leases to be had, or another -errno. */
static int lease(int fd, struct reason *why)
{
	if (fcntl(fd, F_SETLEASE, F_WRLCK) == 0)
		return 0;
	if (errno == EAGAIN)
		return -EAGAIN;
	bool none = errno == EINVAL || errno == EACCES || errno == EOPNOTSUPP || errno == ENOLCK;
	int r = reason_errno(why, errno, "no lease can be taken");
	return none ? -ENOLCK : r;
}

/* The same on a descriptor for reading.  Closing one for writing would tell whoever watches the
 * file, ourselves included, that it was written. */
static int probe(int root, const char *rel, struct reason *why)
{
	int fd, r = io_open_file(root, rel, O_RDONLY, &fd, NULL, why);

	if (r)
		return r;
	r = lease(fd, why);
	if (!r)
		fcntl(fd, F_SETLEASE, F_UNLCK);
	close(fd);
	/* Who may not write it may not lease it either: the first is what is to be said. */
	if (r == -ENOLCK && faccessat(root, rel, W_OK, AT_EACCESS))
		r = reason_errno(why, errno, "cannot be opened for writing");
	return r;
}

int hold_take(int root, const char *rel, bool unleased, struct hold *ret, struct reason *why)
{
	struct hold hold = { .fd = -1 };
	int r = unleased ? 0 : probe(root, rel, why);

	if (!r)
		r = io_open_file(root, rel, O_RDWR, &hold.fd, NULL, why);
	if (r)
		return r;
	hold.since_ns = io_now_ns();
	if (!unleased) {
		r = lease(hold.fd, why);
		if (r) {
			close(hold.fd);
			return r;
		}
		hold.leased = true;
	}
	*ret = hold;
	return 0;
}

static int lock(struct hold *hold)
{
	struct flock whole = { .l_type = F_WRLCK, .l_whence = SEEK_SET };

	/* The descriptor's own lock: a POSIX lock would vanish with any other descriptor of this
	 * file that this process closes. */
	if (fcntl(hold->fd, F_OFD_SETLK, &whole))
		return errno == EACCES ? -EAGAIN : -errno;
	hold->locked = true;
	return 0;
}

static int same_header(int fd, const struct rrd *live)
{
	uint8_t now[CHUNK];
	size_t at = 0, size = (size_t)live->head.size;

	while (at < size) {
		size_t n = size - at < CHUNK ? size - at : CHUNK;
		int r = io_pread(fd, now, n, at);

		if (r)
			return r == -ENODATA ? -ESTALE : r;
		if (memcmp(now, live->bytes + at, n))
			return -ESTALE;
		at += n;
	}
	return 0;
}

int hold_verify(struct hold *hold, int root, const char *rel, const struct rrd *live)
{
	struct stat st, named;
	int r = lock(hold);

	if (r)
		return r;
	if (fstat(hold->fd, &st))
		return -errno;
	if (fstatat(root, rel, &named, AT_SYMLINK_NOFOLLOW))
		return errno == ENOENT ? -ESTALE : -errno;
	struct io_stamp now = io_stamp_of(&st);
	if (!io_stamp_equal(&now, &live->stamp) || named.st_dev != st.st_dev ||
	    named.st_ino != st.st_ino)
		return -ESTALE;
	return same_header(hold->fd, live);
}

int hold_write(struct hold *hold, struct rrd *live, struct plan *plan, size_t *next,
	       uint64_t budget)
{
	struct stat st;
	int r = 0;

	if (*next == 0)
		plan_open_rows(plan, live);
	for (unsigned writes = 0; !r && budget && *next < plan->extents && writes < WRITES_MAX;
	     writes++) {
		struct plan_extent *extent = &plan->extent[*next];
		uint64_t size = extent->size < budget ? extent->size : budget;

		r = io_pwrite(hold->fd, live->bytes + extent->offset, (size_t)size,
			      extent->offset);
		if (r)
			break;
		extent->offset += size;
		extent->size -= size;
		budget -= size;
		if (!extent->size)
			++*next;
	}
	/* Our own write changed the times: the next hold must not take that for another's. */
	if (!r && fstat(hold->fd, &st))
		r = -errno;
	if (!r)
		live->stamp = io_stamp_of(&st);
	return r;
}

uint64_t hold_release(struct hold *hold)
{
	if (hold->fd < 0)
		return 0;
	/* It gives up the lock, then the lease; but first the kernel tells of the CLOSE_WRITE (Linux
	 * fs/file_table.c, __fput).  So nothing that others write comes before it. */
	close(hold->fd);
	uint64_t held = io_now_ns() - hold->since_ns;
	*hold = (struct hold){ .fd = -1 };
	return held;
}
