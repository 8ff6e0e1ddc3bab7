#include "config.h"
#include "control.h"

#include <assert.h>
#include <errno.h>
#include <grp.h>
#include <math.h>
#include <poll.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controlint.h"
#include "io.h"
#include "privilege.h"

#define MS UINT64_C(1000000)
#define GROUPS_MAX 65536        /* NGROUPS_MAX */

/* The tests do not wait so long. */
static unsigned request_ms = CONTROL_REQUEST_MS;
static unsigned stall_ms = CONTROL_STALL_MS;
static unsigned answer_ms = CONTROL_ANSWER_MS;

/* ---- waiting ---- */

/* Waits until the peer's socket is ready for `events`; 0, -ETIMEDOUT, or -ECANCELED where the
 * server stops. */
static int await(const struct control_call *call, short events, unsigned ms)
{
	struct pollfd wait[] = {
		{ .fd = call->control->stop_fd, .events = POLLIN },
		{ .fd = call->fd, .events = events },
	};
	uint64_t now = io_now_ns(), until = now + ms * MS;
	int n;

	do {
		n = poll(wait, 2, (int)((until - now + MS - 1) / MS));
		now = io_now_ns();
	} while (n <= 0 && now < until);
	if (n <= 0)
		return -ETIMEDOUT;
	return wait[0].revents ? -ECANCELED : 0;
}

int control_wait(struct control_call *call, unsigned ms)
{
	if (!call->error) {
		int r = await(call, 0, ms);     /* POLLHUP is told without being asked for */

		call->error = r == -ETIMEDOUT ? 0 : r ? r : -EPIPE;
	}
	return call->error;
}

/* ---- the answer ---- */

/* Waits for the peer to read. */
static int await_reader(struct control_call *call)
{
	unsigned left = answer_ms > call->waited_ms ? answer_ms - call->waited_ms : 0;
	uint64_t began = io_now_ns();
	int r = await(call, POLLOUT, left < stall_ms ? left : stall_ms);

	call->waited_ms += (unsigned)((io_now_ns() - began + MS - 1) / MS);
	return r;
}

int control_flush(struct control_call *call)
{
	size_t at = 0;

	while (!call->error && at < call->used) {
		ssize_t sent = send(call->fd, call->out + at, call->used - at,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent > 0)
			at += (size_t)sent;
		else if (sent < 0 && errno == EAGAIN)
			call->error = await_reader(call);
		else if (sent < 0 && errno != EINTR)
			call->error = -EPIPE;
	}
	call->used = 0;
	return call->error;
}

/* A line of `key`, ": " and the value, in a buffer that has room for any. */
static ssize_t write_line(char *buffer, const char *key, const char *text, bool is_number)
{
	size_t used = (size_t)snprintf(buffer, WIRE_ANSWER_MAX, "%s: ", key);
	ssize_t length;

	if (!is_number && wire_is_number(text)) {
		used += (size_t)snprintf(buffer + used, WIRE_ANSWER_MAX - used, "\\x%02X",
					 (unsigned)(unsigned char)*text);
		text++;
	}
	length = wire_value(buffer + used, WIRE_ANSWER_MAX - used, text);
	if (length < 0)
		return length;
	used += (size_t)length;
	buffer[used++] = '\n';
	return (ssize_t)used;
}

static int put(struct control_call *call, const char *key, const char *text, bool is_number)
{
	char line[WIRE_ANSWER_MAX + 1];

	assert(wire_is_key(key, strlen(key)));
	if (call->error)
		return call->error;
	ssize_t length = write_line(line, key, text, is_number);
	if (length < 0)
		return call->error = (int)length;
	if (call->used + (size_t)length + 1 > sizeof(call->out) && control_flush(call))
		return call->error;
	if (call->separate && call->any)
		call->out[call->used++] = '\n';
	call->separate = false;
	call->any = true;
	memcpy(call->out + call->used, line, (size_t)length);
	call->used += (size_t)length;
	return 0;
}

int control_put(struct control_call *call, const char *key, const char *text)
{
	return put(call, key, text, false);
}

int control_putf(struct control_call *call, const char *key, const char *format, ...)
{
	char *text;
	va_list args;

	va_start(args, format);
	int length = vasprintf(&text, format, args);
	va_end(args);
	if (length < 0)
		return call->error ? call->error : (call->error = -ENOMEM);
	int r = put(call, key, text, false);
	free(text);
	return r;
}

int control_number(struct control_call *call, const char *key, long long number)
{
	char text[32];

	snprintf(text, sizeof(text), "%lld", number);
	return put(call, key, text, true);
}

int control_real(struct control_call *call, const char *key, double number, int decimals)
{
	char text[512];

	snprintf(text, sizeof(text), "%.*f", decimals < 100 ? decimals : 100, number);
	return put(call, key, text, isfinite(number));
}

void control_record(struct control_call *call)
{
	call->separate = true;
}

int control_fail(struct control_call *call, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	if (vsnprintf(call->failure, sizeof(call->failure), format, args) < 0 || !*call->failure)
		strcpy(call->failure, "failed");
	va_end(args);
	return REFUSED;
}

/* The last line, and all that was kept back. */
static void finish(struct control_call *call, int r)
{
	char line[4 * sizeof(call->failure) + 16] = "ok\n";

	if (call->error == -E2BIG || call->error == -ENOMEM) {  /* ours, not the peer's */
		r = call->error;
		call->error = 0;
	}
	if (call->error)
		return;
	if (r) {
		const char *text = *call->failure ? call->failure : r < 0 ? strerror(-r) : "failed";
		size_t used = (size_t)sprintf(line, "error: ");
		ssize_t length = wire_value(line + used, sizeof(line) - used - 1, text);

		used += (size_t)(length > 0 ? length : 0);
		strcpy(line + used, "\n");
	}
	if (call->used + strlen(line) > sizeof(call->out) && control_flush(call))
		return;
	memcpy(call->out + call->used, line, strlen(line));
	call->used += strlen(line);
	control_flush(call);
}

/* ---- the request ---- */

/* Reads up to the newline, whose place a NUL takes.  0; REFUSED where the peer is told why; -errno
 * where there is nobody to be told. */
static int read_request(struct control_call *call, size_t *ret_length)
{
	uint64_t until = io_now_ns() + request_ms * MS;
	size_t used = 0;

	for (;;) {
		ssize_t got = recv(call->fd, call->request + used, WIRE_REQUEST_MAX - used,
				   MSG_DONTWAIT);
		uint64_t now = io_now_ns();
		int r;

		if (got > 0) {
			char *end = memchr(call->request + used, '\n', (size_t)got);

			used += (size_t)got;
			if (end) {
				*end = '\0';
				*ret_length = (size_t)(end - call->request);
				return 0;
			}
			if (used == WIRE_REQUEST_MAX)
				return control_fail(call,
						    WIRE_USAGE "a request has at most %d bytes",
						    WIRE_REQUEST_MAX);
		} else if (!got) {
			if (!used)
				return -EPIPE;
			return control_fail(call, WIRE_USAGE "a request ends with a newline");
		} else if (errno != EAGAIN && errno != EINTR) {
			return -EPIPE;
		}
		r = -ETIMEDOUT;
		if (now < until)
			r = await(call, POLLIN, (unsigned)((until - now) / MS) + 1);
		if (r == -ETIMEDOUT)
			return control_fail(call, "no whole request came within %u s",
					    (request_ms + 999) / 1000);
		if (r)
			return r;
	}
}

/* ---- who asks ---- */

static bool is_among(gid_t gid, const gid_t *groups, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (groups[i] == gid)
			return true;
	return false;
}

/* By the group database, for kernels that do not tell. */
static bool database_has(const struct control_call *call, gid_t gid)
{
	char name[PRIVILEGE_NAME_SIZE];
	int count = 64;
	bool found = false;

	/* Where there is no such user, a name that cannot be one. */
	if (*privilege_name(call->uid, name, sizeof(name)) == '#')
		return false;
	for (int tries = 0; tries < 2 && count > 0 && count <= GROUPS_MAX; tries++) {
		int asked = count;
		gid_t *groups = calloc((size_t)count, sizeof(*groups));

		if (!groups)
			break;
		if (getgrouplist(name, call->gid, groups, &count) >= 0) {
			found = is_among(gid, groups, (size_t)count);
			tries = 2;
		} else if (count <= asked) {
			tries = 2;
		}
		free(groups);
	}
	return found;
}

/* The groups that the peer's process really had when it connected: nobody need be asked over a
 * network, and a process that has given a group up is not in it. */
static bool peer_has(const struct control_call *call, gid_t gid)
{
	socklen_t size = 64 * sizeof(gid_t);
	bool found = false;

	if (call->gid == gid)
		return true;
	for (int tries = 0; tries < 2; tries++) {
		gid_t *groups = malloc(size);

		if (!groups)
			return false;
		int r = getsockopt(call->fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) ? errno : 0;
		if (!r)
			found = is_among(gid, groups, size / sizeof(*groups));
		free(groups);
		if (r == ENOPROTOOPT)
			return database_has(call, gid);
		if (r != ERANGE || size > GROUPS_MAX * sizeof(gid_t))
			break;                  /* else `size` is what it takes */
	}
	return found;
}

static bool identify(struct control_call *call)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);

	if (getsockopt(call->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) || size != sizeof(peer))
		return false;
	call->uid = peer.uid;
	call->gid = peer.gid;
	return true;
}

/* 0, or REFUSED with what would help. */
static int check_access(struct control_call *call, const struct control_command *command)
{
	gid_t gid = 0;
	bool has_group = control_socket_group(&call->control->socket, &gid);
	struct group entry, *found = NULL;
	char buffer[4096], number[32];

	if (command->access == CONTROL_ASKS || call->uid == 0 || call->uid == geteuid() ||
	    (has_group && peer_has(call, gid)))
		return 0;
	if (!has_group)
		return control_fail(call, "permission denied: %s is for root, and for the user as "
				    "whom rrdmergd runs", command->name);
	snprintf(number, sizeof(number), "#%lu", (unsigned long)gid);
	if (getgrgid_r(gid, &entry, buffer, sizeof(buffer), &found))
		found = NULL;
	return control_fail(call, "permission denied: %s is for root, and for members of the group "
			    "%s", command->name, found ? found->gr_name : number);
}

uid_t control_uid(const struct control_call *call)
{
	return call->uid;
}

/* ---- the command ---- */

static int help(struct control_call *call, int argc, char **argv, void *arg);

static const struct control_command own_help = {
	.name = "help", .handler = help, .max = 1, .arguments = CONTROL_HELP_ARGUMENTS,
	.help = CONTROL_HELP,
};

/* The commands in order, help the last; NULL behind it. */
static const struct control_command *command_at(const struct control *c, size_t i)
{
	if (i < c->options.count)
		return &c->options.commands[i];
	return i == c->options.count ? &own_help : NULL;
}

static const struct control_command *find(const struct control *c, const char *name)
{
	const struct control_command *command;

	for (size_t i = 0; (command = command_at(c, i)); i++)
		if (!strcmp(command->name, name))
			break;
	return command;
}

static int refuse_unknown(struct control_call *call, const char *name)
{
	return control_fail(call,
			    WIRE_USAGE "there is no command \"%.64s\"; help shows those there "
			    "are", name);
}

static int help(struct control_call *call, int argc, char **argv, void *arg)
{
	const struct control_command *command;

	(void)arg;
	if (argc > 1 && !find(call->control, argv[1]))
		return refuse_unknown(call, argv[1]);
	for (size_t i = 0; (command = command_at(call->control, i)); i++) {
		if (argc > 1 && strcmp(command->name, argv[1]))
			continue;
		control_record(call);
		control_put(call, "command", command->name);
		control_put(call, "arguments", command->arguments ? command->arguments : "");
		control_put(call, "access", command->access == CONTROL_ASKS ? "asks" : "changes");
		control_put(call, "help", command->help);
	}
	return 0;
}

bool control_has(const struct control_call *call, const char *option)
{
	for (size_t i = 0; i < call->options; i++)
		if (!strcmp(call->option[i], option))
			return true;
	return false;
}

static bool is_in_list(const char *word, const char *list)
{
	size_t length = strlen(word);

	for (const char *at = list; at && *at; at += strspn(at, " ")) {
		size_t each = strcspn(at, " ");

		if (each == length && !memcmp(at, word, length))
			return true;
		at += each;
	}
	return false;
}

/* `dashed`: it is for a word that looks like an option. */
static int refuse_usage(struct control_call *call, const struct control_command *command,
			bool dashed)
{
	const char *arguments = command->arguments ? command->arguments : "";

	return control_fail(call, WIRE_USAGE "say it as: %s%s%s%s", command->name,
			    *arguments ? " " : "", arguments, dashed && command->max
			    ? "; what begins with a dash, and is no option, stands behind \"--\"" : "");
}

/* Takes the options out of the words; what is left is in call->word. */
static int take_options(struct control_call *call, const struct control_command *command,
			size_t *count)
{
	bool ended = false;
	size_t kept = 1;

	for (size_t i = 1; i < *count; i++) {
		char *word = call->word[i];

		if (ended || word[0] != '-' || !word[1])
			call->word[kept++] = word;
		else if (!strcmp(word, "--"))
			ended = true;
		else if (is_in_list(word, command->options))
			call->option[call->options++] = word;
		else
			return refuse_usage(call, command, true);
	}
	*count = kept;
	if (kept - 1 < (size_t)command->min ||
	    (command->max >= 0 && kept - 1 > (size_t)command->max))
		return refuse_usage(call, command, false);
	return 0;
}

static int run(struct control_call *call, const struct control_command *command, size_t count)
{
	struct control *c = call->control;
	bool changes = command->access == CONTROL_CHANGES;

	if (changes) {
		pthread_mutex_lock(&c->mutex);
		bool room = c->changes < CONTROL_CHANGES_MAX;
		c->changes += room;
		pthread_mutex_unlock(&c->mutex);
		if (!room)
			return control_fail(call,
					    "%d commands that change something are under way; "
					    "try again when one has ended", CONTROL_CHANGES_MAX);
	}
	int r = command->handler(call, (int)count, call->word, c->options.arg);
	if (changes) {
		pthread_mutex_lock(&c->mutex);
		c->changes--;
		pthread_mutex_unlock(&c->mutex);
	}
	return r;
}

static int dispatch(struct control_call *call, size_t length)
{
	const struct control_command *command;
	size_t count;
	int r = wire_split(call->request, length, call->word, &count);

	if (r == -ENODATA)
		return control_fail(call, WIRE_USAGE "the request is empty");
	if (r == -E2BIG)
		return control_fail(call, WIRE_USAGE "a request has at most %d words",
				    WIRE_WORDS_MAX);
	if (r)
		return control_fail(call, WIRE_USAGE "the request is not escaped as it should be");
	command = find(call->control, call->word[0]);
	if (!command)
		return refuse_unknown(call, call->word[0]);
	r = check_access(call, command);
	if (!r)
		r = take_options(call, command, &count);
	return r ? r : run(call, command, count);
}

void control_call_serve(struct control_call *call)
{
	size_t length = 0;
	int r = identify(call) ? read_request(call, &length) : -EPIPE;

	if (r < 0)
		return;
	finish(call, r ? r : dispatch(call, length));
}
