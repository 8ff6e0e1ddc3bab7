/* controlling: a control socket with a table of commands for its tests, and peers of all kinds. */
#ifndef CONTROLLING_H
#define CONTROLLING_H

#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"

#include "../src/control.h"
#include "../src/io.h"
#include "../src/wire.h"

#define SECOND UINT64_C(1000000000)
#define LONG_NS (60 * SECOND)   /* never reached where all is well */

/* ---- the commands ---- */

static sem_t go;                        /* lets one that hangs go on */
static sem_t reached;                   /* a handler that waits has begun */
static atomic_int calls_seen, last_error;

static int do_echo(struct control_call *call, int argc, char **argv, void *arg)
{
	(void)arg;
	calls_seen++;
	control_number(call, "words", argc - 1);
	for (int i = 1; i < argc; i++) {
		control_record(call);
		control_put(call, "word", argv[i]);
	}
	return 0;
}

static int do_many(struct control_call *call, int argc, char **argv, void *arg)
{
	int r = 0;

	(void)argc;
	(void)arg;
	calls_seen++;
	sem_post(&reached);
	for (long i = 0; i < atol(argv[1]) && !r; i++) {
		control_record(call);
		control_number(call, "n", i);
		r = control_putf(call, "path", "host %ld/a\\path", i);
	}
	last_error = r;
	sem_post(&reached);
	return 0;
}

static int do_hang(struct control_call *call, int argc, char **argv, void *arg)
{
	(void)call;
	(void)argc;
	(void)argv;
	(void)arg;
	calls_seen++;
	sem_post(&reached);
	while (sem_wait(&go))
		;
	return control_put(call, "hung", "no more");
}

static int do_wait(struct control_call *call, int argc, char **argv, void *arg)
{
	(void)argc;
	(void)arg;
	calls_seen++;
	sem_post(&reached);
	last_error = control_wait(call, (unsigned)atol(argv[1]));
	sem_post(&reached);
	return 0;
}

static int do_fail(struct control_call *call, int argc, char **argv, void *arg)
{
	(void)arg;
	calls_seen++;
	control_put(call, "before", "the end");
	if (argc > 1)
		return -atoi(argv[1]);
	return control_fail(call, "no such file: %s", "a\nb\\c d");
}

static int do_options(struct control_call *call, int argc, char **argv, void *arg)
{
	calls_seen++;
	control_put(call, "all", control_has(call, "--all") ? "yes" : "no");
	control_put(call, "undo", control_has(call, "--undo") ? "yes" : "no");
	return do_echo(call, argc, argv, arg);
}

static int do_values(struct control_call *call, int argc, char **argv, void *arg)
{
	(void)argc;
	(void)argv;
	(void)arg;
	calls_seen++;
	control_number(call, "number", -42);
	control_real(call, "real", 0.125, 2);
	control_real(call, "unknown", strtod("nan", NULL), 2);
	control_put(call, "digits", "2024");
	control_put(call, "empty", "");
	control_put(call, "spaces", "  two  ");
	control_put(call, "lines", "a\nok\nerror: b\n");
	control_put(call, "bytes", "\xff\xc3\xa4\"\\\x1b[31m");
	return 0;
}

static int do_large(struct control_call *call, int argc, char **argv, void *arg)
{
	size_t size = (size_t)atol(argv[1]);
	char *text = malloc(size + 1);

	(void)argc;
	(void)arg;
	calls_seen++;
	memset(text, 'x', size);
	text[size] = '\0';
	int r = control_put(call, "large", text);
	free(text);
	return r;
}

static const struct control_command table[] = {
	{ "echo", do_echo, CONTROL_ASKS, 0, -1, NULL, "[WORD ...]", "Says it again." },
	{ "many", do_many, CONTROL_ASKS, 1, 1, NULL, "COUNT", "Says much." },
	{ "hang", do_hang, CONTROL_ASKS, 0, 0, NULL, NULL, "Hangs." },
	{ "wait", do_wait, CONTROL_ASKS, 1, 1, NULL, "MS", "Waits." },
	{ "fail", do_fail, CONTROL_ASKS, 0, 1, NULL, "[ERROR]", "Fails." },
	{ "options", do_options, CONTROL_ASKS, 0, 1, "--all --undo", "[--all] [--undo] [WORD]",
	  "Knows options." },
	{ "values", do_values, CONTROL_ASKS, 0, 0, NULL, NULL, "Has all kinds of them." },
	{ "large", do_large, CONTROL_ASKS, 1, 1, NULL, "BYTES", "Says one long thing." },
	{ "change", do_echo, CONTROL_CHANGES, 0, 1, NULL, "[WORD]", "Changes something." },
	{ "stick", do_hang, CONTROL_CHANGES, 0, 0, NULL, NULL, "Hangs while changing." },
};
#define COMMANDS (sizeof(table) / sizeof(table[0]))

/* ---- the server ---- */

static struct control *server;

static int start_at(const char *path, struct control **ret, struct reason *why)
{
	const struct control_options options = {
		.path = path, .commands = table, .count = COMMANDS,
	};

	return control_start(&options, ret, why);
}

static void start(void)
{
	struct reason why = { "" };

	if (start_at(scratch("control.sock"), &server, &why))
		fail_msg("%s", why.text);
}

static inline void stop(void)
{
	struct control *c = server;

	server = NULL;
	assert_true(control_stop(c, io_now_ns() + LONG_NS));
}

static int before(void **state)
{
	(void)state;
	alarm(240);             /* a test that hangs fails */
	sem_init(&go, 0, 0);
	sem_init(&reached, 0, 0);
	calls_seen = 0;
	last_error = 1;
	return scratch_make();
}

static int after(void **state)
{
	(void)state;
	for (int i = 0; i < 2 * CONTROL_CALLS_MAX; i++)
		sem_post(&go);
	if (server && !control_stop(server, io_now_ns() + LONG_NS))
		return -1;
	server = NULL;
	return scratch_remove();
}

/* ---- peers ---- */

static int dial_at(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const struct timeval patience = { .tv_sec = 60 };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(address.sun_path, path);
	if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof(address)) ||
	    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience))) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline int dial(void)
{
	int fd = dial_at(scratch("control.sock"));

	assert_true(fd >= 0);
	return fd;
}

/* All that comes until the end; closes `fd`.  Good until the next call. */
static const char *hear(int fd)
{
	static char heard[1 << 16];
	size_t used = 0;
	ssize_t got;

	while (used < sizeof(heard) - 1 &&
	       (got = recv(fd, heard + used, sizeof(heard) - 1 - used, 0)) > 0)
		used += (size_t)got;
	heard[used] = '\0';
	close(fd);
	return heard;
}

static inline const char *say_bytes(const char *request, size_t size)
{
	int fd = dial();

	for (size_t at = 0; at < size;) {
		ssize_t sent = send(fd, request + at, size - at, MSG_NOSIGNAL);

		if (sent <= 0)
			break;          /* it did not want to hear more: so what does it say? */
		at += (size_t)sent;
	}
	return hear(fd);
}

static inline const char *ask_for(const char *request)
{
	return say_bytes(request, strlen(request));
}

#endif
