#include "config.h"
#include "ctlclient.h"

#include <errno.h>
#include <grp.h>
#include <libgen.h>
#include <poll.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "io.h"
#include "wire.h"

#define MS UINT64_C(1000000)
#define RETRY_MS 20             /* while the daemon's queue is full */
#define QUEUE_MS 5000
#define FIELDS_MAX 256
#define RECORD_MAX (1u << 20)   /* bytes */

struct exchange {
	const struct ctlclient_options *options;
	int fd;
	uint64_t until_ns, slow_ns;     /* 0: none */
	char *text;                     /* what the user is told */

	bool ended;
	enum ctlclient_outcome outcome; /* where it has ended */
	char line[WIRE_ANSWER_MAX + 1];
	size_t used;                    /* bytes of an unfinished line */

	char *record;                   /* keys and values, a NUL behind each */
	size_t size;
	size_t key[FIELDS_MAX], value[FIELDS_MAX];
	bool number[FIELDS_MAX];
	size_t fields;
};

static enum ctlclient_outcome __attribute__((format(printf, 3, 4)))
say(char *text, enum ctlclient_outcome outcome, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (vsnprintf(text, CTLCLIENT_TEXT_SIZE, format, args) < 0)
		*text = '\0';
	va_end(args);
	return outcome;
}

/* ---- the connection ---- */

/* Who is let in: the group of the socket, or of its directory where that hides it. */
static void say_denied(char *text, const char *path)
{
	char *copy = strdup(path);
	struct stat st;
	const struct group *group = NULL;
	bool known = !stat(path, &st) || (copy && !stat(dirname(copy), &st));

	free(copy);
	if (known)
		group = getgrgid(st.st_gid);
	if (group)
		say(text, 0,
		    "no permission to use the socket %s: be root, or a member of the group "
		    "%s (usermod -aG %s NAME, and log in anew)", path, group->gr_name,
		    group->gr_name);
	else
		say(text, 0, "no permission to use the socket %s: be root, or the user as whom "
		    "rrdmergd runs", path);
}

static enum ctlclient_outcome say_unreached(char *text, const char *path, int error)
{
	if (error == ENOENT || error == ECONNREFUSED || error == ENOTDIR)
		say(text, 0,
		    "rrdmergd is not running: nobody answers on the socket %s; \"systemctl "
		    "start rrdmergd\" starts it, and where it runs, it may be waiting as root for "
		    "its live tree, with no socket yet: \"systemctl status rrdmergd\" tells", path);
	else if (error == EACCES || error == EPERM)
		say_denied(text, path);
	else if (error == EAGAIN)
		say(text, 0, "rrdmergd does not answer: too many are waiting at the socket %s",
		    path);
	else
		say(text, 0, "the socket %s cannot be used: %s", path, strerror(error));
	return CTLCLIENT_UNREACHED;
}

/* Waits for the socket; false where the time is over. */
static bool await(struct exchange *x, short events)
{
	struct pollfd wait = { .fd = x->fd, .events = events };

	for (;;) {
		uint64_t now = io_now_ns();
		uint64_t until = x->until_ns;

		if (x->slow_ns && now >= x->slow_ns) {
			x->slow_ns = 0;
			x->options->slow(x->options->arg);
		}
		if (until && now >= until)
			return false;
		if (x->slow_ns && (!until || x->slow_ns < until))
			until = x->slow_ns;
		int ms = until ? (int)((until - now + MS - 1) / MS) : -1;
		if (poll(&wait, 1, ms) > 0)
			return true;
	}
}

static int join(struct exchange *x, const struct sockaddr_un *address)
{
	const struct timespec pause = { .tv_nsec = RETRY_MS * 1000000 };
	uint64_t until = io_now_ns() + QUEUE_MS * MS;

	if (x->until_ns && x->until_ns < until)
		until = x->until_ns;
	/* A full queue is not waited for by a socket that does not block (unix(7)). */
	while (connect(x->fd, (const struct sockaddr *)address, sizeof(*address))) {
		if (errno != EINTR && errno != EAGAIN)
			return errno;
		if (io_now_ns() >= until)
			return EAGAIN;
		nanosleep(&pause, NULL);
	}
	return 0;
}

static enum ctlclient_outcome reach(struct exchange *x)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = x->options->socket;

	if (!*path || strlen(path) >= sizeof(address.sun_path))
		return say(x->text, CTLCLIENT_USAGE, "a socket's path has 1 to %zu bytes: %s",
			   sizeof(address.sun_path) - 1, path);
	strcpy(address.sun_path, path);
	x->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int error = x->fd < 0 ? errno : join(x, &address);
	return error ? say_unreached(x->text, path, error) : CTLCLIENT_DONE;
}

/* ---- the request ---- */

/* The line, in `buffer` of WIRE_REQUEST_MAX + 1 bytes; 0 where it is too long. */
static size_t compose(char *buffer, size_t words, char *const *word)
{
	size_t used = 0;

	if (words > WIRE_WORDS_MAX)
		return 0;
	for (size_t i = 0; i < words; i++) {
		ssize_t length = wire_word(buffer + used, WIRE_REQUEST_MAX - used, word[i]);

		if (length < 0)
			return 0;
		used += (size_t)length;
		buffer[used++] = i + 1 < words ? ' ' : '\n';
	}
	return used;
}

/* False where the time is over.  A daemon that does not want it says why: that is read next. */
static bool send_all(struct exchange *x, const char *buffer, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t sent = send(x->fd, buffer + at, size - at, MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0)
			at += (size_t)sent;
		else if (errno != EAGAIN && errno != EINTR)
			return true;
		else if (!await(x, POLLOUT))
			return false;
	}
	return true;
}

/* ---- the answer ---- */

static void hand_out(struct exchange *x)
{
	struct ctlclient_field field[FIELDS_MAX];

	for (size_t i = 0; i < x->fields; i++)
		field[i] = (struct ctlclient_field){ x->record + x->key[i], x->record + x->value[i],
						     x->number[i] };
	if (x->fields && x->options->record)
		x->options->record(field, x->fields, x->options->arg);
	x->fields = 0;
	x->size = 0;
}

/* Keeps a string; -EPROTO where the record grows too large. */
static int keep(struct exchange *x, const char *text, size_t *ret_at)
{
	size_t length = strlen(text) + 1;

	if (x->size + length > RECORD_MAX)
		return -EPROTO;
	memcpy(x->record + x->size, text, length);
	*ret_at = x->size;
	x->size += length;
	return 0;
}

static int take_field(struct exchange *x, char *line)
{
	char *end = strstr(line, ": ");

	if (!end || !wire_is_key(line, (size_t)(end - line)) || x->fields == FIELDS_MAX)
		return -EPROTO;
	*end = '\0';
	for (size_t i = 0; i < x->fields; i++)
		if (!strcmp(x->record + x->key[i], line))
			return -EPROTO;
	char *value = end + 2;
	bool number = wire_is_number(value);
	if (wire_unescape(value) || keep(x, line, &x->key[x->fields]) ||
	    keep(x, value, &x->value[x->fields]))
		return -EPROTO;
	x->number[x->fields++] = number;
	return 0;
}

static int take_error(struct exchange *x, char *text)
{
	bool usage = !strncmp(text, WIRE_USAGE, strlen(WIRE_USAGE));

	if (wire_unescape(text))
		return -EPROTO;
	if (usage)
		text += strlen(WIRE_USAGE);
	x->outcome = say(x->text, usage ? CTLCLIENT_USAGE : CTLCLIENT_FAILED, "%s", text);
	return 0;
}

static int take_line(struct exchange *x, char *line, size_t length)
{
	static const char error[] = "error: ";
	int r = 0;

	if (x->ended || memchr(line, '\0', length))
		return -EPROTO;
	if (!*line) {
		hand_out(x);
	} else if (!strcmp(line, "ok") || !strncmp(line, error, strlen(error))) {
		x->ended = true;
		hand_out(x);
		if (*line == 'e')
			r = take_error(x, line + strlen(error));
	} else {
		r = take_field(x, line);
	}
	return r;
}

static int take_bytes(struct exchange *x, size_t got)
{
	char *begin = x->line, *end = x->line + x->used + got;
	char *newline = memchr(x->line + x->used, '\n', got);
	int r = 0;

	for (; newline && !r; newline = memchr(begin, '\n', (size_t)(end - begin))) {
		*newline = '\0';
		r = take_line(x, begin, (size_t)(newline - begin));
		begin = newline + 1;
	}
	x->used = (size_t)(end - begin);
	memmove(x->line, begin, x->used);
	return r ? r : x->used == sizeof(x->line) ? -EPROTO : 0;
}

/* 0 at its end; -EPIPE where it broke off, -ETIMEDOUT, -EPROTO where it is none. */
static int take_answer(struct exchange *x)
{
	for (;;) {
		ssize_t got = recv(x->fd, x->line + x->used, sizeof(x->line) - x->used,
				   MSG_DONTWAIT);

		if (got > 0) {
			x->slow_ns = 0;
			int r = take_bytes(x, (size_t)got);
			if (r)
				return r;
		} else if (!got || (errno != EAGAIN && errno != EINTR)) {
			return x->ended && !x->used ? 0 : -EPIPE;
		} else if (!await(x, POLLIN)) {
			return -ETIMEDOUT;
		}
	}
}

static enum ctlclient_outcome talk(struct exchange *x, size_t words, char *const *word)
{
	const char *path = x->options->socket;
	char request[WIRE_REQUEST_MAX + 1];
	size_t size = compose(request, words, word);

	if (!size)
		return say(x->text, CTLCLIENT_USAGE,
			   "that is too long: a command has at most %d bytes "
			   "and %d words", WIRE_REQUEST_MAX, WIRE_WORDS_MAX);
	enum ctlclient_outcome outcome = reach(x);
	if (outcome != CTLCLIENT_DONE)
		return outcome;
	int r = send_all(x, request, size) ? take_answer(x) : -ETIMEDOUT;
	if (!r)
		return x->outcome;
	if (r == -ETIMEDOUT)
		return say(x->text, CTLCLIENT_UNREACHED,
			   "rrdmergd has not answered within %u s on the "
			   "socket %s", (x->options->timeout_ms + 999) / 1000, path);
	if (r == -EPROTO)
		return say(x->text, CTLCLIENT_UNREACHED,
			   "what answers on the socket %s does not speak "
			   "as rrdmergd does", path);
	return say(x->text, CTLCLIENT_UNREACHED,
		   "rrdmergd broke off its answer on the socket %s; was "
		   "it stopped?", path);
}

enum ctlclient_outcome ctlclient_ask(const struct ctlclient_options *options, size_t words,
				     char *const *word, char text[CTLCLIENT_TEXT_SIZE])
{
	struct exchange *x = calloc(1, sizeof(*x));
	enum ctlclient_outcome outcome;

	*text = '\0';
	if (x)
		x->record = malloc(RECORD_MAX);
	if (!x || !x->record) {
		free(x);
		return say(text, CTLCLIENT_FAILED, "%s", strerror(ENOMEM));
	}
	x->options = options;
	x->text = text;
	x->fd = -1;
	uint64_t now = io_now_ns();
	x->until_ns = options->timeout_ms ? now + options->timeout_ms * MS : 0;
	x->slow_ns = options->slow && options->patience_ms ? now + options->patience_ms * MS : 0;
	outcome = talk(x, words, word);
	if (x->fd >= 0)
		close(x->fd);
	free(x->record);
	free(x);
	return outcome;
}
