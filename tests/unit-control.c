/* control: the protocol, who may do what, and that no peer and no handler holds up another. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <sys/stat.h>

#include "controlling.h"

/* The module itself, so that it waits less. */
#include "../src/controlsocket.c"
#include "../src/controlcall.c"
#include "../src/control.c"

#include "../src/conf.h"

#define FULL "error: too many are asking; try again in a moment\n"
#define NOBODY 65534

static int before_each(void **state)
{
	request_ms = CONTROL_REQUEST_MS;
	stall_ms = CONTROL_STALL_MS;
	answer_ms = CONTROL_ANSWER_MS;
	return before(state);
}

static bool ends_with(const char *text, const char *end)
{
	size_t a = strlen(text), b = strlen(end);

	return a >= b && !strcmp(text + a - b, end);
}

static void await_handler(void)
{
	while (sem_wait(&reached))
		;
}

/* ---- words ---- */

static uint64_t seed;

static uint64_t draw(void)
{
	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

static void seed_it(void)
{
	const char *given = getenv("SEED");

	seed = given ? strtoull(given, NULL, 0) : io_now_ns() ^ (uint64_t)getpid() << 32;
	if (!seed)
		seed = 1;
	print_message("SEED=%llu\n", (unsigned long long)seed);
}

static void test_escapes(void **state)
{
	static const char *const wrong[] = {
		"\\", "a\\", "\\n", "\\x", "\\x4", "\\x00", "\\xg0", "\\x4g", "\\xff", "a\tb", "\n",
			"\x7f",
		"\\ ", "\\\\\\",
	};
	char buffer[64];

	(void)state;
	assert_int_equal(wire_word(buffer, sizeof(buffer), "a b\\c\nd\x7f\xff"), 17);
	assert_string_equal(buffer, "a\\sb\\\\c\\x0Ad\\x7F\xff");
	assert_int_equal(wire_value(buffer, sizeof(buffer), " a b "), 5);
	assert_string_equal(buffer, " a b ");
	assert_int_equal(wire_word(buffer, sizeof(buffer), ""), 2);
	assert_int_equal(wire_value(buffer, sizeof(buffer), ""), 0);
	/* to the byte */
	assert_int_equal(wire_word(buffer, 5, "a\nb"), -E2BIG);
	assert_int_equal(wire_word(buffer, 6, "a\nb"), -E2BIG);
	assert_int_equal(wire_word(buffer, 7, "a\nb"), 6);
	assert_int_equal(wire_word(buffer, 2, ""), -E2BIG);
	assert_int_equal(wire_value(buffer, 0, ""), -E2BIG);
	strcpy(buffer, "\\x41\\s\\\\\\e\\x0A");
	assert_int_equal(wire_unescape(buffer), 0);
	assert_string_equal(buffer, "A \\\n");
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		strcpy(buffer, wrong[i]);
		if (wire_unescape(buffer) != -EINVAL)
			fail_msg("taken: %s", wrong[i]);
	}
}

static void test_numbers_and_keys(void **state)
{
	static const char *const numbers[] = {
		"0", "-0", "1", "10", "-12.50", "0.1", "1e5", "1E-5", "1.5e+10",
		"1234567890123456789012345678901234567890",
	}, *const others[] = {
		"", "-", "01", "1.", ".5", "+1", "1e", "1e+", "0x10", "1 ", " 1", "1,5", "nan",
			"inf", "--1",
		"1-", "12345678901234567890123456789012345678901",
	}, *const keys[] = { "a", "last_update", "0", "ok", "errors" },
	*const no_keys[] = { "", "error", "A", "a b", "a-b", "a:", "\xc3\xa4" };

	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		assert_true(wire_is_number(numbers[i]));
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++)
		assert_false(wire_is_number(others[i]));
	for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++)
		assert_true(wire_is_key(keys[i], strlen(keys[i])));
	for (size_t i = 0; i < sizeof(no_keys) / sizeof(no_keys[0]); i++)
		assert_false(wire_is_key(no_keys[i], strlen(no_keys[i])));
}

/* What was escaped comes back; what was not said by us is taken or refused, and nothing is read
 * or written outside (the buffers are of the exact size, for the sanitizers). */
static void test_random_words(void **state)
{
	(void)state;
	seed_it();
	for (int n = 0; n < 20000; n++) {
		size_t length = draw() % 60, count, at = 0;
		char *text = malloc(length + 1), line[300], *words[WIRE_WORDS_MAX];

		for (size_t i = 0; i < length; i++)
			text[i] = draw() % 3 ? "\\ \nsxe0AF\x7f"[draw() % 10] :
				  (char)(draw() % 255 + 1);
		text[length] = '\0';
		at = (size_t)wire_word(line, sizeof(line), text);
		line[at++] = ' ';
		at += (size_t)wire_word(line + at, sizeof(line) - at, "b");
		assert_null(memchr(line, '\n', at));
		assert_int_equal(wire_split(line, at, words, &count), 0);
		assert_int_equal(count, 2);
		assert_string_equal(words[0], text);
		assert_true(wire_value(line, sizeof(line), text) >= 0);
		assert_int_equal(wire_unescape(line), 0);
		assert_string_equal(line, text);

		if (length && draw() % 4 == 0)
			text[draw() % length] = '\0';
		int r = wire_split(text, length, words, &count);
		assert_true(r == 0 || r == -EINVAL || r == -ENODATA || r == -E2BIG);
		for (size_t i = 0; !r && i < count; i++)
			assert_true(words[i] >= text &&
				    words[i] + strlen(words[i]) <= text + length);
		free(text);
	}
}

/* ---- requests ---- */

static void test_every_command(void **state)
{
	char request[64], head[64];

	(void)state;
	start();
	for (size_t i = 0; i < COMMANDS; i++) {
		int seen = calls_seen;

		sem_post(&go);
		snprintf(request, sizeof(request), "%s%s\n", table[i].name,
			 table[i].min ? " 1" : "");
		const char *answer = ask_for(request);
		if (calls_seen <= seen)
			fail_msg("%s was not called: %s", table[i].name, answer);
		if (table[i].handler != do_fail && !ends_with(answer, "ok\n"))
			fail_msg("%s: %s", table[i].name, answer);
		sem_trywait(&go);
	}
	const char *help_says = ask_for("help\n");
	const char *at = help_says;
	for (size_t i = 0; i < COMMANDS; i++) {
		snprintf(head, sizeof(head), "command: %s\n", table[i].name);
		at = strstr(at, head);
		assert_non_null(at);
		assert_non_null(strstr(at, table[i].help));
	}
	assert_non_null(strstr(at, "\n\ncommand: help\narguments: [COMMAND]\naccess: asks\n"));
	assert_string_equal(ask_for("help change\n"), "command: change\narguments: [WORD]\n"
			    "access: changes\nhelp: Changes something.\nok\n");
	assert_string_equal(ask_for("help nothing\n"),
			    "error: usage: there is no command \"nothing\"; "
			    "help shows those there are\n");
}

static void test_requests(void **state)
{
#define DASHED "; what begins with a dash, and is no option, stands behind \"--\""
	static const struct { const char *request, *answer; } case_of[] = {
		{ "echo\n", "words: 0\nok\n" },
		{ "  echo  a   b \n", "words: 2\n\nword: a\n\nword: b\nok\n" },
		{ "echo \\e a\\sb\n", "words: 2\n\nword: \n\nword: a b\nok\n" },
		{ "echo 12\n", "words: 1\n\nword: \\x312\nok\n" },
		{ "echo -- --all -x\n", "words: 2\n\nword: --all\n\nword: -x\nok\n" },
		{ "echo -\n", "words: 1\n\nword: -\nok\n" },
		{ "echo --all\n", "error: usage: say it as: echo [WORD ...]" DASHED "\n" },
		{ "options --undo a --all\n", "all: yes\nundo: yes\nwords: 1\n\nword: a\nok\n" },
		{ "options --al\n",
		  "error: usage: say it as: options [--all] [--undo] [WORD]" DASHED "\n" },
		{ "options a b\n", "error: usage: say it as: options [--all] [--undo] [WORD]\n" },
		{ "options -- --all\n", "all: no\nundo: no\nwords: 1\n\nword: --all\nok\n" },
		{ "many\n", "error: usage: say it as: many COUNT\n" },
		{ "many 1 2\n", "error: usage: say it as: many COUNT\n" },
		{ "hang 1\n", "error: usage: say it as: hang\n" },
		{ "hang --all\n", "error: usage: say it as: hang\n" },
		{ "fail\n", "before: the end\nerror: no such file: a\\x0Ab\\\\c d\n" },
		{ "fail 2\n", "before: the end\nerror: No such file or directory\n" },
		{ "echo a\necho b\n", "words: 1\n\nword: a\nok\n" },
		{ "\n", "error: usage: the request is empty\n" },
		{ "   \n", "error: usage: the request is empty\n" },
		{ "ECHO\n",
			"error: usage: there is no command \"ECHO\"; help shows those there are\n" },
		{ "ech\n",
			"error: usage: there is no command \"ech\"; help shows those there are\n" },
		{ "echo a\tb\n", "error: usage: the request is not escaped as it should be\n" },
		{ "echo\r\n", "error: usage: the request is not escaped as it should be\n" },
		{ "echo \\n\n", "error: usage: the request is not escaped as it should be\n" },
	};
	char line[WIRE_REQUEST_MAX + 2] = "echo", long_answer[64];

	(void)state;
	start();
	for (size_t i = 0; i < sizeof(case_of) / sizeof(case_of[0]); i++)
		assert_string_equal(ask_for(case_of[i].request), case_of[i].answer);
	assert_string_equal(say_bytes("echo\0a\n", 7),
			    "error: usage: the request is not escaped as it should be\n");
	/* the most words and bytes, and one more */
	for (int n = 1; n < WIRE_WORDS_MAX; n++)
		strcat(line, " a");
	snprintf(long_answer, sizeof(long_answer), "words: %d\n", WIRE_WORDS_MAX - 1);
	strcat(line, "\n");
	assert_memory_equal(ask_for(line), long_answer, strlen(long_answer));
	strcpy(line + strlen(line) - 1, " a\n");
	assert_string_equal(ask_for(line), "error: usage: a request has at most 64 words\n");
	memset(line, 'a', sizeof(line));
	memcpy(line, "echo ", 5);
	line[WIRE_REQUEST_MAX - 1] = '\n';
	assert_true(ends_with(say_bytes(line, WIRE_REQUEST_MAX), "aaaa\nok\n"));
	line[WIRE_REQUEST_MAX - 1] = 'a';
	line[WIRE_REQUEST_MAX] = '\n';
	assert_string_equal(say_bytes(line, WIRE_REQUEST_MAX + 1),
			    "error: usage: a request has at most 8192 bytes\n");
}

static void test_a_megabyte(void **state)
{
	char *line = malloc(1 << 20);

	(void)state;
	start();
	memset(line, 'a', 1 << 20);
	assert_string_equal(say_bytes(line, 1 << 20),
			    "error: usage: a request has at most 8192 bytes\n");
	memset(line, 0, 1 << 20);
	assert_string_equal(say_bytes(line, 1 << 20),
			    "error: usage: a request has at most 8192 bytes\n");
	free(line);
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
}

static void test_half_a_line(void **state)
{
	(void)state;
	request_ms = 1500;
	start();
	int silent = dial(), half = dial(), slow = dial(), ended = dial(), gone = dial();

	assert_int_equal(send(half, "ech", 3, 0), 3);
	assert_int_equal(send(ended, "ech", 3, 0), 3);
	shutdown(ended, SHUT_WR);
	close(gone);
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
	assert_string_equal(hear(ended), "error: usage: a request ends with a newline\n");
	/* a byte now and then does not keep it open */
	for (int i = 0; i < 6000 && send(slow, "a", 1, MSG_NOSIGNAL) == 1; i++)
		usleep(10000);
	assert_string_equal(hear(slow), "error: no whole request came within 2 s\n");
	assert_string_equal(hear(silent), "error: no whole request came within 2 s\n");
	assert_string_equal(hear(half), "error: no whole request came within 2 s\n");
	assert_int_equal(calls_seen, 1);
	/* in two pieces, and its other half closed behind it */
	int fd = dial();
	assert_int_equal(send(fd, "ech", 3, 0), 3);
	usleep(20000);
	assert_int_equal(send(fd, "o\n", 2, 0), 2);
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), "words: 0\nok\n");
}

static void test_hundred_connections(void **state)
{
	int fd[100], full = 0;
	struct pollfd wait = { .events = POLLIN };

	(void)state;
	start();
	for (int i = 0; i < 100; i++)
		fd[i] = dial();
	/* the first have their places; each of the others is told */
	for (int i = CONTROL_CALLS_MAX; i < 100; i++) {
		assert_string_equal(hear(fd[i]), FULL);
		full++;
	}
	assert_int_equal(full, 100 - CONTROL_CALLS_MAX);
	for (int i = 0; i < CONTROL_CALLS_MAX; i++) {
		wait.fd = fd[i];
		assert_int_equal(poll(&wait, 1, 0), 0);
	}
	/* as soon as one has gone there is a place */
	close(fd[0]);
	for (int tries = 0; tries < 3000 && !strcmp(ask_for("echo\n"), FULL); tries++)
		usleep(10000);
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
	for (int i = 1; i < CONTROL_CALLS_MAX; i++) {
		assert_int_equal(send(fd[i], "echo\n", 5, 0), 5);
		assert_string_equal(hear(fd[i]), "words: 0\nok\n");
	}
}

/* ---- answers ---- */

static void test_values(void **state)
{
	(void)state;
	start();
	assert_string_equal(ask_for("values\n"),
		"number: -42\nreal: 0.12\nunknown: nan\ndigits: \\x32024\nempty: \nspaces:   two  \n"
		"lines: a\\x0Aok\\x0Aerror: b\\x0A\nbytes: \xff\xc3\xa4\"\\\\\\x1B[31m\nok\n");
	/* the longest, and a byte more */
	assert_true(ends_with(ask_for("large 60000\n"), "xxx\nok\n"));
	assert_string_equal(ask_for("large 70000\n"), "error: Argument list too long\n");
}

/* A long answer comes whole, however slowly it is read. */
static void test_much(void **state)
{
	char line[256];
	int n = 0, fd;
	FILE *from;

	(void)state;
	start();
	fd = dial();
	assert_int_equal(send(fd, "many 100000\n", 12, 0), 12);
	from = fdopen(fd, "r");
	for (; fgets(line, sizeof(line), from) && strcmp(line, "ok\n"); n++) {
		char expected[256];

		if (n % 20000 == 0)
			usleep(50000);
		if (n % 3 == 0)
			snprintf(expected, sizeof(expected), "n: %d\n", n / 3);
		else if (n % 3 == 1)
			snprintf(expected, sizeof(expected), "path: host %d/a\\\\path\n", n / 3);
		else
			strcpy(expected, "\n");
		assert_string_equal(line, expected);
	}
	assert_int_equal(n, 299999);
	assert_string_equal(line, "ok\n");
	assert_null(fgets(line, sizeof(line), from));
	fclose(from);
	assert_int_equal(last_error, 0);
}

static void test_reader_stops(void **state)
{
	(void)state;
	stall_ms = 300;
	start();
	int fd = dial();

	assert_int_equal(send(fd, "many 100000000\n", 15, 0), 15);
	await_handler();
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
	await_handler();
	assert_int_equal(last_error, -ETIMEDOUT);
	const char *heard = hear(fd);
	assert_false(ends_with(heard, "ok\n"));
}

/* One who reads just enough not to stall is dropped as well. */
static void test_reader_drips(void **state)
{
	char bytes[512];

	(void)state;
	stall_ms = 60000;
	answer_ms = 400;
	start();
	int fd = dial();

	assert_int_equal(send(fd, "many 100000000\n", 15, 0), 15);
	await_handler();
	while (sem_trywait(&reached)) {
		if (recv(fd, bytes, sizeof(bytes), 0) <= 0)
			break;
		usleep(2000);
	}
	if (last_error == 1)
		await_handler();
	assert_int_equal(last_error, -ETIMEDOUT);
	close(fd);
}

/* Nor is anybody killed by SIGPIPE, which is at its default here. */
static void test_reader_goes(void **state)
{
	(void)state;
	start();
	int fd = dial();

	assert_int_equal(send(fd, "many 100000000\n", 15, 0), 15);
	await_handler();
	close(fd);
	await_handler();
	assert_int_equal(last_error, -EPIPE);
	fd = dial();
	assert_int_equal(send(fd, "wait 600000\n", 12, 0), 12);
	await_handler();
	close(fd);
	await_handler();
	assert_int_equal(last_error, -EPIPE);
	/* who only says that no more requests come is still there */
	fd = dial();
	assert_int_equal(send(fd, "wait 100\n", 9, 0), 9);
	shutdown(fd, SHUT_WR);
	assert_string_equal(hear(fd), "ok\n");
	assert_int_equal(last_error, 0);
}

/* ---- handlers that hang ---- */

static void test_hang_and_stop(void **state)
{
	struct stat st;

	(void)state;
	start();
	int hung = dial(), waiting = dial(), silent = dial(), stalled = dial();

	assert_int_equal(send(hung, "hang\n", 5, 0), 5);
	await_handler();
	assert_int_equal(send(waiting, "wait 600000\n", 12, 0), 12);
	await_handler();
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
	assert_int_equal(send(stalled, "many 100000000\n", 15, 0), 15);
	await_handler();

	/* the deadline is kept, the others end, and the socket is gone at once */
	assert_false(control_stop(server, io_now_ns() + SECOND / 2));
	await_handler();
	await_handler();
	assert_int_equal(last_error, -ECANCELED);
	assert_string_equal(hear(waiting), "");
	assert_string_equal(hear(silent), "");
	close(stalled);
	assert_int_equal(stat(scratch("control.sock"), &st), -1);
	assert_false(control_stop(server, 0));
	sem_post(&go);
	stop();
	assert_string_equal(hear(hung), "hung: no more\nok\n");
}

static void test_many_hang_while_changing(void **state)
{
	int fd[CONTROL_CHANGES_MAX];

	(void)state;
	start();
	for (int i = 0; i < CONTROL_CHANGES_MAX; i++) {
		fd[i] = dial();
		assert_int_equal(send(fd[i], "stick\n", 6, 0), 6);
		await_handler();
	}
	assert_string_equal(ask_for("change\n"),
			    "error: 8 commands that change something are under "
			    "way; try again when one has ended\n");
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
	sem_post(&go);
	for (int tries = 0; tries < 3000 && *ask_for("change\n") == 'e'; tries++)
		usleep(10000);
	assert_string_equal(ask_for("change\n"), "words: 0\nok\n");
	for (int i = 0; i < CONTROL_CHANGES_MAX; i++)
		sem_post(&go);
	for (int i = 0; i < CONTROL_CHANGES_MAX; i++)
		assert_string_equal(hear(fd[i]), "hung: no more\nok\n");
}

/* ---- rights ---- */

/* What somebody else gets as an answer; becomes nobody with these groups first.  "unreached" where
 * it cannot connect. */
static const char *ask_as(uid_t uid, gid_t gid, const gid_t *groups, size_t count,
			  const char *request)
{
	static char heard[4096];
	size_t used = 0;
	ssize_t got;
	int out[2], status = -1;

	assert_int_equal(pipe(out), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child) {
		if (setgroups(count, groups) || setresgid(gid, gid, gid) ||
		    setresuid(uid, uid, uid))
			_exit(2);
		int fd = dial_at(scratch("control.sock"));
		const char *answer = "unreached";

		if (fd >= 0) {
			if (send(fd, request, strlen(request), MSG_NOSIGNAL) < 0)
				_exit(3);
			answer = hear(fd);
		}
		_exit(write(out[1], answer, strlen(answer)) < 0);
	}
	close(out[1]);
	while ((got = read(out[0], heard + used, sizeof(heard) - 1 - used)) > 0)
		used += (size_t)got;
	heard[used] = '\0';
	close(out[0]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	return heard;
}

static void test_rights(void **state)
{
	const gid_t ours = 54321, others[] = { 54320, 54322 }, many[] = { 1, 2, 3, ours };
	const char *path;

	(void)state;
	if (geteuid()) {
		print_message("SKIP: only root can be somebody else\n");
		skip();
	}
	start();
	path = scratch("control.sock");
	assert_int_equal(chmod(scratch_dir, 0711), 0);
	assert_int_equal(chown(path, 12345, ours), 0);
	/* as it is, nobody but the group comes in */
	assert_string_equal(ask_as(NOBODY, NOBODY, others, 2, "echo\n"), "unreached");
	assert_string_equal(ask_as(NOBODY, ours, others, 2, "change\n"), "words: 0\nok\n");
	assert_string_equal(ask_as(NOBODY, NOBODY, many, 4, "change\n"), "words: 0\nok\n");
	/* where an administrator lets all ask, all can, and no more */
	assert_int_equal(chmod(path, 0666), 0);
	assert_string_equal(ask_as(NOBODY, NOBODY, others, 2, "echo\n"), "words: 0\nok\n");
	int seen = calls_seen;
	assert_string_equal(ask_as(NOBODY, NOBODY, others, 2, "change\n"),
			    "error: permission denied: "
			    "change is for root, and for members of the group #54321\n");
	assert_string_equal(ask_as(NOBODY, NOBODY, NULL, 0, "change --bad\n"), "error: permission "
			    "denied: change is for root, and for members of the group #54321\n");
	assert_int_equal(calls_seen, seen);
	assert_string_equal(ask_as(NOBODY, NOBODY, many, 4, "change\n"), "words: 0\nok\n");
	assert_string_equal(ask_as(0, NOBODY, NULL, 0, "change\n"), "words: 0\nok\n");
	/* more groups than a first look has room for */
	gid_t crowd[200];
	for (gid_t i = 0; i < 200; i++)
		crowd[i] = 70000 + i;
	assert_memory_equal(ask_as(NOBODY, NOBODY, crowd, 200, "change\n"), "error: perm", 11);
	crowd[199] = ours;
	assert_string_equal(ask_as(NOBODY, NOBODY, crowd, 200, "change\n"), "words: 0\nok\n");
	/* a group that is nobody's gives no right, nor does a file that is not our socket */
	assert_int_equal(chown(path, 12345, NOBODY), 0);
	assert_string_equal(ask_as(NOBODY, NOBODY, NULL, 0, "change\n"),
			    "error: permission denied: "
			    "change is for root, and for the user as whom rrdmergd runs\n");
}

/* A daemon that is not root, whose group gives no right: it serves its own user, and root. */
static void serve_as_somebody(int began, int end)
{
	char byte = 0;

	if (setgroups(0, NULL) || setresgid(NOBODY, NOBODY, NOBODY) ||
	    setresuid(12345, 12345, 12345))
		_exit(2);
	start();
	if (write(began, &byte, 1) != 1 || strcmp(ask_for("change\n"), "words: 0\nok\n"))
		_exit(3);
	(void)!read(end, &byte, 1);
	_exit(!control_stop(server, io_now_ns() + LONG_NS));
}

static void test_rights_of_our_own(void **state)
{
	int status = -1, began[2], end[2];
	char byte;

	(void)state;
	if (geteuid()) {
		start();
		assert_string_equal(ask_for("change\n"), "words: 0\nok\n");
		return;
	}
	assert_int_equal(chmod(scratch_dir, 0777), 0);
	assert_int_equal(pipe(began), 0);
	assert_int_equal(pipe(end), 0);
	pid_t child = fork();
	assert_true(child >= 0);
	if (!child) {
		close(end[1]);
		serve_as_somebody(began[1], end[0]);
	}
	close(began[1]);
	assert_int_equal(read(began[0], &byte, 1), 1);
	assert_string_equal(ask_for("change\n"), "words: 0\nok\n");
	assert_memory_equal(ask_as(54321, 54321, NULL, 0, "change\n"), "unreached", 9);
	close(began[0]);
	close(end[0]);
	close(end[1]);
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
}

static void test_group_database(void **state)
{
	struct control_call call = { .uid = 0, .gid = 54321 };

	(void)state;
	assert_true(database_has(&call, 54321));        /* that which it has itself */
	assert_false(database_has(&call, 54322));
	call.uid = 987654321;                   /* whom nobody knows */
	assert_false(database_has(&call, 54321));
}

/* ---- the socket's file ---- */

static void test_file(void **state)
{
	struct stat st;
	struct sockaddr_un other = { .sun_family = AF_UNIX };
	const char *path = scratch("control.sock");

	(void)state;
	for (mode_t mask = 0; mask <= 0777; mask += 0777) {
		mode_t old = umask(mask);

		start();
		umask(old);
		assert_int_equal(lstat(path, &st), 0);
		assert_true(S_ISSOCK(st.st_mode));
		assert_int_equal(st.st_mode & 07777, 0660);
		assert_int_equal(st.st_uid, geteuid());
		stop();
		assert_int_equal(lstat(path, &st), -1);
	}
	/* what another has put there meanwhile is left alone, be it a socket */
	start();
	assert_int_equal(unlink(path), 0);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	strcpy(other.sun_path, path);
	assert_int_equal(bind(fd, (const struct sockaddr *)&other, sizeof(other)), 0);
	stop();
	assert_int_equal(lstat(path, &st), 0);
	close(fd);
}

static void test_stale(void **state)
{
	struct sockaddr_un left = { .sun_family = AF_UNIX };
	struct reason why;

	(void)state;
	strcpy(left.sun_path, scratch("control.sock"));
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&left, sizeof(left)), 0);
	close(fd);
	start();
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
	/* a second one is refused, and does no harm */
	struct control *second = NULL;
	assert_int_equal(start_at(left.sun_path, &second, &why), -EADDRINUSE);
	assert_null(second);
	assert_non_null(strstr(why.text, "rrdmergd running already"));
	assert_non_null(strstr(why.text, left.sun_path));
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
	stop();
	/* one that listens and takes nobody, its queue full, is alive as well */
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int waiting = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fd, (const struct sockaddr *)&left, sizeof(left)), 0);
	assert_int_equal(listen(fd, 0), 0);
	assert_int_equal(connect(waiting, (const struct sockaddr *)&left, sizeof(left)), 0);
	assert_int_equal(start_at(left.sun_path, &second, &why), -EADDRINUSE);
	close(waiting);
	close(fd);
}

static void *begin(void *arg)
{
	struct control **ret = arg;
	struct reason why;

	if (start_at(scratch_dir, ret, &why) != -EEXIST)
		abort();
	start_at(scratch("control.sock"), ret, &why);
	return NULL;
}

/* Of two that begin at the same moment over a stale socket one wins, and it is heard. */
static void test_two_begin_at_once(void **state)
{
	struct sockaddr_un left = { .sun_family = AF_UNIX };

	(void)state;
	strcpy(left.sun_path, scratch("control.sock"));
	for (int n = 0; n < 100; n++) {
		struct control *c[2] = { NULL, NULL };
		pthread_t thread[2];
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

		unlink(left.sun_path);
		assert_int_equal(bind(fd, (const struct sockaddr *)&left, sizeof(left)), 0);
		close(fd);
		for (int i = 0; i < 2; i++)
			pthread_create(&thread[i], NULL, begin, &c[i]);
		for (int i = 0; i < 2; i++)
			pthread_join(thread[i], NULL);
		assert_true(!c[0] != !c[1]);
		assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
		assert_true(control_stop(c[0] ? c[0] : c[1], io_now_ns() + LONG_NS));
	}
}

static void test_bad_paths(void **state)
{
	char path[200] = "/";
	struct control *none = NULL;
	struct reason why;
	struct stat st;
	FILE *file;

	(void)state;
	memset(path + 1, 'x', sizeof(path) - 2);
	path[199] = '\0';
	assert_int_equal(start_at(path, &none, &why), -ENAMETOOLONG);
	assert_non_null(strstr(why.text, "a path of 199 bytes, and 107 is the most"));
	assert_int_equal(start_at("", &none, &why), -EINVAL);
	assert_int_equal(start_at(scratch("missing/control.sock"), &none, &why), -ENOENT);
	assert_non_null(strstr(why.text, "its directory must be there before"));
	/* neither a file nor a link is taken for a socket that was left */
	file = fopen(scratch("file"), "w");
	assert_int_equal(fclose(file), 0);
	assert_int_equal(start_at(scratch("file"), &none, &why), -EEXIST);
	assert_int_equal(stat(scratch("file"), &st), 0);
	assert_int_equal(symlink("elsewhere", scratch("link")), 0);
	assert_int_equal(start_at(scratch("link"), &none, &why), -EEXIST);
	assert_int_equal(lstat(scratch("link"), &st), 0);
	/* a path of the greatest length there is room for */
	strcpy(path, scratch("y"));
	memset(path + strlen(path), 'y', sizeof(path) - strlen(path));
	path[107] = '\0';
	assert_int_equal(start_at(path, &none, &why), 0);
	assert_true(control_stop(none, io_now_ns() + LONG_NS));
	assert_true(control_stop(NULL, 0));
}

static int count_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 1024; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

static void ignore(int priority, const char *message, void *arg)
{
	(void)priority;
	(void)message;
	(void)arg;
}

static void test_default_path(void **state)
{
	struct conf conf;
	FILE *file = fopen(scratch("conf"), "w");

	(void)state;
	fputs("live = \"/nowhere/live\"; backup = \"/nowhere/backup\";\n", file);
	assert_int_equal(fclose(file), 0);
	assert_int_equal(conf_read(scratch("conf"), &conf, ignore, NULL), 0);
	assert_string_equal(conf.socket, WIRE_SOCKET);
	conf_free(&conf);
}

/* ---- anything at all ---- */

static size_t invent(char *bytes, size_t size)
{
	static const char *const pieces[] = {
		"echo", "help", "options", "values", "fail", "change", " ", " ", "\n", "\\", "\\x",
			"0A",
		"--all", "--", "-", "\\e", "\\s", "many 3", "large 9", "\t", "\xff",
	};
	size_t used = 0, count = draw() % 12;

	for (size_t i = 0; i < count; i++) {
		const char *piece = pieces[draw() % (sizeof(pieces) / sizeof(pieces[0]))];
		size_t length = strlen(piece);

		if (draw() % 6 == 0) {
			for (length = draw() % 40; length && used < size; length--)
				bytes[used++] = (char)draw();
		} else if (used + length < size) {
			memcpy(bytes + used, piece, length);
			used += length;
		}
	}
	if (draw() % 4)
		bytes[used++] = '\n';
	return used;
}

static bool is_whole(const char *answer)
{
	const char *last = answer + strlen(answer);

	if (last == answer || *--last != '\n')
		return false;
	while (last > answer && last[-1] != '\n')
		last--;
	return !strcmp(last, "ok\n") || !strncmp(last, "error: ", 7);
}

static void test_random_peers(void **state)
{
	char bytes[1024];

	(void)state;
	seed_it();
	start();
	int descriptors = count_descriptors();
	for (int n = 0; n < 2000; n++) {
		size_t size = invent(bytes, sizeof(bytes) - 1);
		int fd = dial();

		if (send(fd, bytes, size, MSG_NOSIGNAL) < 0)
			size = 0;
		if (draw() % 8 == 0) {
			close(fd);      /* without a look at the answer */
			continue;
		}
		shutdown(fd, SHUT_WR);
		const char *answer = hear(fd);
		if (size && !is_whole(answer))
			fail_msg("an answer has no end: %s", answer);
	}
	for (int tries = 0; tries < 3000 && count_descriptors() > descriptors; tries++)
		usleep(10000);
	assert_int_equal(count_descriptors(), descriptors);
	assert_string_equal(ask_for("echo\n"), "words: 0\nok\n");
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, before_each, after)

int main(void)
{
	const struct CMUnitTest tests[] = {
		/* First: its child has threads, and must not be born while one of ours ends, with a
		 * lock of a sanitizer's in its hands. */
		EACH(test_rights_of_our_own),
		EACH(test_escapes),
		EACH(test_numbers_and_keys),
		EACH(test_random_words),
		EACH(test_every_command),
		EACH(test_requests),
		EACH(test_a_megabyte),
		EACH(test_half_a_line),
		EACH(test_hundred_connections),
		EACH(test_values),
		EACH(test_much),
		EACH(test_reader_stops),
		EACH(test_reader_drips),
		EACH(test_reader_goes),
		EACH(test_hang_and_stop),
		EACH(test_many_hang_while_changing),
		EACH(test_rights),
		EACH(test_group_database),
		EACH(test_file),
		EACH(test_stale),
		EACH(test_two_begin_at_once),
		EACH(test_bad_paths),
		EACH(test_default_path),
		EACH(test_random_peers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
