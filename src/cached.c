#include "config.h"
#include "cached.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "io.h"

#define MS UINT64_C(1000000)
#define S (1000 * MS)
#define RETRY_MS 10             /* while its queue of connections is full */
#define IDLE_MAX 8              /* connections that are kept */
/* A command, and the answer that repeats its path, must fit into RRD_CMD_MAX bytes, 4096: where an
 * answer does not, rrdcached reads beyond its own buffer (src/rrd_daemon.c, send_response). */
#define REQUEST_SIZE 4000
#define ANSWER_SIZE 4096
#define QUOTED_MAX 160          /* bytes of an answer that are repeated */

/* The tests change these three. */
static uint64_t call_ns = CACHED_CALL_MS * MS;
/* After a failure it is left alone for so long, and twice as long where it fails again soon. */
static uint64_t rest_min_ns = 5 * S;
#define REST_MAX (60 * S)
/* An answer that takes longer than this is slow: it may cost a tenth of our time, no more. */
static uint64_t slow_ns = 50 * MS;
#define SLOW_REST 9

struct cached {
	struct sockaddr_un address;

	pthread_mutex_t mutex;          /* for all below; never held while anything is waited for */
	int idle[IDLE_MAX];             /* connections on which nothing is outstanding */
	unsigned idles;
	uint64_t rest_until_ns;
	uint64_t rest_ns;               /* after the last failure */
	uint64_t failed_ns;             /* when that was; 0: never */
	bool down, told_down;
	struct reason why;              /* while it is down */
};

struct call {
	const char *socket;
	int fd;
	uint64_t begun_ns, until_ns;
	char request[REQUEST_SIZE];
	size_t size;
	char answer[ANSWER_SIZE];
	enum cached_outcome outcome;
	struct reason why;              /* with CACHED_FAILED */
};

int cached_new(const char *socket_path, struct cached **ret)
{
	struct cached *c;

	if (*socket_path != '/' || strlen(socket_path) >= sizeof(c->address.sun_path))
		return -EINVAL;
	c = calloc(1, sizeof(*c));
	if (!c)
		return -ENOMEM;
	c->address.sun_family = AF_UNIX;
	strcpy(c->address.sun_path, socket_path);
	int r = pthread_mutex_init(&c->mutex, NULL);
	if (r) {
		free(c);
		return -r;
	}
	*ret = c;
	return 0;
}

void cached_free(struct cached *c)
{
	if (!c)
		return;
	while (c->idles)
		close(c->idle[--c->idles]);
	pthread_mutex_destroy(&c->mutex);
	free(c);
}

/* ---- one question and its answer ---- */

/* "FLUSH path", blanks and backslashes escaped.  False where it cannot be asked; then no client
 * can have asked for it either, and it holds nothing. */
static bool compose(struct call *call, const char *path)
{
	static const char flush[] = "FLUSH ";
	size_t used = sizeof(flush) - 1;

	if (*path != '/')
		return false;
	memcpy(call->request, flush, used);
	for (; *path; path++) {
		if ((unsigned char)*path < 0x20 || used + 3 > sizeof(call->request))
			return false;   /* a newline would begin another command */
		if (*path == ' ' || *path == '\\')
			call->request[used++] = '\\';
		call->request[used++] = *path;
	}
	call->request[used++] = '\n';
	call->size = used;
	return true;
}

static int await(const struct call *call, short events)
{
	struct pollfd wait = { .fd = call->fd, .events = events };

	for (;;) {
		uint64_t now = io_now_ns();

		if (now >= call->until_ns)
			return -ETIMEDOUT;
		if (poll(&wait, 1, (int)((call->until_ns - now + MS - 1) / MS)) > 0)
			return 0;
	}
}

static int reach(struct call *call, const struct sockaddr_un *address)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000 };

	call->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (call->fd < 0)
		return -errno;
	/* A full queue is not waited for by a socket that does not block (unix(7)). */
	while (connect(call->fd, (const struct sockaddr *)address, sizeof(*address))) {
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
		if (io_now_ns() >= call->until_ns)
			return -ETIMEDOUT;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static int send_request(const struct call *call)
{
	for (size_t at = 0; at < call->size;) {
		ssize_t sent = send(call->fd, call->request + at, call->size - at,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0) {
			at += (size_t)sent;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -errno;
		} else {
			int r = await(call, POLLOUT);

			if (r)
				return r;
		}
	}
	return 0;
}

/* One line, to a NUL in place of its newline; nothing may come behind it. */
static int take_line(struct call *call)
{
	size_t used = 0;

	for (;;) {
		ssize_t got = recv(call->fd, call->answer + used, sizeof(call->answer) - used,
				   MSG_DONTWAIT);

		if (got > 0) {
			char *newline = memchr(call->answer + used, '\n', (size_t)got);
			bool zero = memchr(call->answer + used, '\0', (size_t)got);

			used += (size_t)got;
			if (zero || (newline && newline != call->answer + used - 1) ||
			    (!newline && used == sizeof(call->answer)))
				return -EPROTO;
			if (newline) {
				*newline = '\0';
				return 0;
			}
		} else if (got == 0) {
			return -EPIPE;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -errno;
		} else {
			int r = await(call, POLLIN);

			if (r)
				return r;
		}
	}
}

static bool begins(const char *text, const char *with)
{
	return !strncmp(text, with, strlen(with));
}

/* "0 Successfully flushed …", "0 Nothing to flush: …", "-1 No such file: …", "-1 …". */
static int judge(struct call *call)
{
	bool negative = call->answer[0] == '-';
	const char *digits = call->answer + negative;
	size_t count = strspn(digits, "0123456789");
	const char *words = digits + count + 1;

	if (!count || digits[count] != ' ' || (!negative && (count > 1 || *digits != '0')))
		return -EPROTO;         /* a number above 0 announces lines: none are due */
	if (!negative)
		call->outcome = begins(words, "Nothing") ? CACHED_NOTHING : CACHED_FLUSHED;
	else if (begins(words, "No such file"))
		call->outcome = CACHED_NOTHING;
	else
		reason_set(&call->why, "rrdcached at %s refuses to flush files: %.*s",
			   call->socket, QUOTED_MAX, words);
	return 0;
}

static void explain(struct call *call, int error)
{
	const char *at = call->socket;

	if (error == -ENOENT || error == -ECONNREFUSED || error == -ENOTDIR)
		reason_set(&call->why, "rrdcached is not running: nobody answers at %s", at);
	else if (error == -ETIMEDOUT)
		reason_set(&call->why, "rrdcached at %s has not answered within %d ms", at,
			   CACHED_CALL_MS);
	else if (error == -EPROTO)
		reason_set(&call->why, "what answers at %s does not speak as rrdcached does", at);
	else if (error == -EPIPE || error == -ECONNRESET)
		reason_set(&call->why, "rrdcached at %s broke off; was it stopped?", at);
	else
		reason_errno(&call->why, -error, "rrdcached at %s cannot be asked", at);
}

/* Leaves the connection in call->fd where another question can be asked there, else -1. */
static void ask(struct call *call, const struct sockaddr_un *address)
{
	char byte;
	int r = 0;

	call->outcome = CACHED_FAILED;
	/* It was restarted, or says something that nobody has asked for. */
	if (call->fd >= 0 && (recv(call->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) >= 0 ||
			      (errno != EAGAIN && errno != EINTR))) {
		close(call->fd);
		call->fd = -1;
	}
	if (call->fd < 0)
		r = reach(call, address);
	if (!r)
		r = send_request(call);
	if (!r)
		r = take_line(call);
	if (!r)
		r = judge(call);
	if (!r)
		return;
	explain(call, r);
	/* An answer may still come, to nobody: rrdcached survives that (it blocks SIGPIPE). */
	if (call->fd >= 0)
		close(call->fd);
	call->fd = -1;
}

/* ---- how it fares ---- */

/* Takes a kept connection, or -1; false where it is to be left alone. */
static bool begin(struct cached *c, struct call *call)
{
	bool resting;

	call->socket = c->address.sun_path;
	call->fd = -1;
	call->begun_ns = io_now_ns();
	call->until_ns = call->begun_ns + call_ns;
	pthread_mutex_lock(&c->mutex);
	resting = call->begun_ns < c->rest_until_ns;
	if (!resting && c->idles)
		call->fd = c->idle[--c->idles];
	pthread_mutex_unlock(&c->mutex);
	return !resting;
}

/* Several calls that fail together are one failure.  Caller holds the mutex. */
static void note_failure(struct cached *c, const struct call *call, uint64_t now)
{
	if (call->begun_ns < c->failed_ns)
		return;
	if (!c->failed_ns || now - c->failed_ns > 2 * REST_MAX)
		c->rest_ns = rest_min_ns;
	else if (c->rest_ns < REST_MAX)
		c->rest_ns = c->rest_ns * 2 < REST_MAX ? c->rest_ns * 2 : REST_MAX;
	c->failed_ns = now;
	c->rest_until_ns = now + c->rest_ns;
	c->down = true;
	c->why = call->why;
}

static void end(struct cached *c, struct call *call)
{
	uint64_t now = io_now_ns(), took = now - call->begun_ns;

	pthread_mutex_lock(&c->mutex);
	if (call->outcome == CACHED_FAILED) {
		note_failure(c, call, now);
	} else if (call->begun_ns >= c->failed_ns) {
		c->down = false;
		if (took > slow_ns)
			c->rest_until_ns = now + SLOW_REST * took;
	}
	if (call->fd >= 0 && c->idles < IDLE_MAX) {
		c->idle[c->idles++] = call->fd;
		call->fd = -1;
	}
	pthread_mutex_unlock(&c->mutex);
	if (call->fd >= 0)
		close(call->fd);
}

enum cached_outcome cached_flush(struct cached *c, const char *path)
{
	struct call call;

	if (!c)
		return CACHED_LEFT;
	call.why.text[0] = '\0';
	if (!compose(&call, path))
		return CACHED_NOTHING;
	if (!begin(c, &call))
		return CACHED_LEFT;
	ask(&call, &c->address);
	end(c, &call);
	return call.outcome;
}

enum cached_news cached_news(struct cached *c, struct reason *ret_why)
{
	enum cached_news news = CACHED_NO_NEWS;

	if (!c)
		return news;
	pthread_mutex_lock(&c->mutex);
	if (c->down != c->told_down) {
		news = c->down ? CACHED_LOST : CACHED_BACK;
		c->told_down = c->down;
		if (c->down)
			*ret_why = c->why;
	}
	pthread_mutex_unlock(&c->mutex);
	return news;
}
