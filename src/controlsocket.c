#include "config.h"
#include "controlint.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

#define MODE 0660
#define BACKLOG 32
#define LOCK_TRIES 100          /* of 10 ms */
#define NOBODYS_GROUP 65534     /* the kernel's overflow id */

/* So that of two that begin at once none takes the socket of the other for one that was left: one
 * has no listener yet between bind() and listen().  Anyone who may read the directory could hold
 * this lock for ever, so it is not insisted on.  Returns a descriptor to close, or -1. */
static int lock_directory(const char *path)
{
	const struct timespec pause = { .tv_nsec = 10 * 1000000 };
	char *copy = strdup(path);
	int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	free(copy);
	for (int tries = LOCK_TRIES; fd >= 0 && flock(fd, LOCK_EX | LOCK_NB) && tries; tries--)
		nanosleep(&pause, NULL);
	return fd;
}

/* 0 where nobody answers there, -EADDRINUSE where somebody does. */
static int ask(const struct sockaddr_un *address)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int r;

	if (fd < 0)
		return -errno;
	r = connect(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
	close(fd);
	if (!r || r == -EAGAIN)         /* its queue may be full */
		return -EADDRINUSE;
	return r == -ECONNREFUSED || r == -ENOENT ? 0 : r;
}

/* Makes room for our socket. */
static int clear(const struct sockaddr_un *address, const char *shown, struct reason *why)
{
	struct stat st;
	int r;

	if (lstat(address->sun_path, &st)) {
		if (errno == ENOENT)
			return 0;       /* bind() says where it is a directory that is missing */
		return reason_errno(why, errno, "%s cannot be looked at", shown);
	}
	if (!S_ISSOCK(st.st_mode)) {
		reason_set(why, "%s is there and is no socket; take it away, or set \"socket\" to "
			   "another path", shown);
		return -EEXIST;
	}
	r = ask(address);
	if (r == -EADDRINUSE)
		reason_set(why, "%s: another process answers on it; is rrdmergd running "
			   "already?", shown);
	else if (r)
		reason_errno(why, -r, "%s: cannot tell whether somebody uses it", shown);
	else if (unlink(address->sun_path) && errno != ENOENT)
		r = reason_errno(why, errno, "%s was left by another run and cannot be "
				 "removed", shown);
	return r;
}

static int listen_at(const struct sockaddr_un *address, const char *shown,
		     struct control_socket *ret, struct reason *why)
{
	const char *path = address->sun_path;
	int r, fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	bool bound = false;
	struct stat st;

	if (fd < 0)
		return reason_errno(why, errno, "cannot be had");
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address))) {
		r = reason_errno(why, errno, "%s cannot be made%s", shown,
				 errno == ENOENT ? " (its directory must be there before)" : "");
		goto out;
	}
	bound = true;
	/* Nobody can connect before listen(), so nobody sees the mode that the umask gave it. */
	if (chmod(path, MODE) || lstat(path, &st) || listen(fd, BACKLOG)) {
		r = reason_errno(why, errno, "%s cannot be opened for others", shown);
		goto out;
	}
	*ret = (struct control_socket){ .fd = fd, .dev = st.st_dev, .ino = st.st_ino };
	strcpy(ret->path, path);
	return 0;
out:
	if (bound)
		unlink(path);
	close(fd);
	return r;
}

int control_socket_open(const char *path, struct control_socket *ret, struct reason *why)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char shown[sizeof(address.sun_path) * 4 + 1];
	int r, lock;

	if (strlen(path) >= sizeof(address.sun_path)) {
		reason_set(why, "has a path of %zu bytes, and %zu is the most; set "
			   "\"socket\" to a shorter path", strlen(path),
			   sizeof(address.sun_path) - 1);
		return -ENAMETOOLONG;
	}
	if (!*path)
		return reason_errno(why, EINVAL, "has no path");
	strcpy(address.sun_path, path);
	log_escape(shown, sizeof(shown), path);
	lock = lock_directory(path);
	r = clear(&address, shown, why);
	if (!r)
		r = listen_at(&address, shown, ret, why);
	if (lock >= 0)
		close(lock);
	return r;
}

/* While it is bound its inode is not given to another file, so the number tells. */
static bool is_ours(const struct control_socket *socket, struct stat *st)
{
	return !lstat(socket->path, st) && st->st_dev == socket->dev && st->st_ino == socket->ino;
}

bool control_socket_group(const struct control_socket *socket, gid_t *ret_gid)
{
	struct stat st;

	if (!is_ours(socket, &st) || st.st_gid == NOBODYS_GROUP)
		return false;
	*ret_gid = st.st_gid;
	return true;
}

void control_socket_remove(const struct control_socket *socket)
{
	struct stat st;

	if (socket->fd >= 0 && is_ours(socket, &st))
		unlink(socket->path);
}
