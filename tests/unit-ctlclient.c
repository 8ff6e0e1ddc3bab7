/* ctlclient, ctlprint and rrdmergctl: what is asked and shown, whatever answers. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <grp.h>
#include <pthread.h>
#include <sys/stat.h>

#include "controlling.h"

#include "../src/ctlclient.h"
#include "../src/ctlprint.h"

static char text[CTLCLIENT_TEXT_SIZE];
static char *got;               /* records, one field a line, an empty line behind each */
static size_t got_size;
static FILE *taking;

static void take(const struct ctlclient_field *fields, size_t count, void *arg)
{
	assert_ptr_equal(arg, &got);
	for (size_t i = 0; i < count; i++)
		fprintf(taking, "%s%s%s\n", fields[i].key, fields[i].is_number ? "#" : "=",
			fields[i].value);
	fputc('\n', taking);
}

static void slow(void *arg)
{
	assert_ptr_equal(arg, &got);
	sem_post(&reached);
}

static int after_client(void **state)
{
	free(got);
	got = NULL;
	return after(state);
}

static enum ctlclient_outcome ask_with(struct ctlclient_options options, size_t words, char **word)
{
	free(got);
	got = NULL;
	taking = open_memstream(&got, &got_size);
	if (!options.socket)
		options.socket = scratch("control.sock");
	options.record = take;
	options.arg = &got;
	enum ctlclient_outcome outcome = ctlclient_ask(&options, words, word, text);
	fclose(taking);
	return outcome;
}

#define ASK(...) ask_with((struct ctlclient_options){ 0 }, \
	sizeof((const char *[]){ __VA_ARGS__ }) / sizeof(char *), (char *[]){ __VA_ARGS__ })
static char word_echo[] = "echo", word_many[] = "many", word_fail[] = "fail", word_hang[] = "hang",
	word_values[] = "values", word_wrong[] = "wrong", word_n[] = "3000",
	word_all[] = "--all", word_empty[] = "", word_ends[] = "--";

/* ---- the client ---- */

static void test_all_bytes(void **state)
{
	char bytes[256], expected[300];

	(void)state;
	for (int i = 1; i < 256; i++)
		bytes[i - 1] = (char)i;
	bytes[255] = '\0';
	start();
	assert_int_equal(ASK(word_echo, bytes), CTLCLIENT_DONE);
	snprintf(expected, sizeof(expected), "words#1\n\nword=%s\n\n", bytes);
	assert_string_equal(got, expected);
	assert_int_equal(ASK(word_echo, word_empty, word_n, word_ends, word_all), CTLCLIENT_DONE);
	assert_string_equal(got, "words#3\n\nword=\n\nword=3000\n\nword=--all\n\n");
	assert_int_equal(ASK(word_values), CTLCLIENT_DONE);
	assert_string_equal(got,
			    "number#-42\nreal#0.12\nunknown=nan\ndigits=2024\nempty=\nspaces=  two  \n"
			    "lines=a\nok\nerror: b\n\nbytes=\xff\xc3\xa4\"\\\x1b[31m\n\n");
}

static void test_outcomes(void **state)
{
	static char large[WIRE_REQUEST_MAX];

	(void)state;
	start();
	assert_int_equal(ASK(word_many, word_n), CTLCLIENT_DONE);
	assert_memory_equal(got, "n#0\npath=host 0/a\\path\n\nn#1\n", 28);
	assert_int_equal(ASK(word_fail), CTLCLIENT_FAILED);
	assert_string_equal(text, "no such file: a\nb\\c d");
	assert_string_equal(got, "before=the end\n\n");
	assert_int_equal(ASK(word_wrong), CTLCLIENT_USAGE);
	assert_string_equal(text, "there is no command \"wrong\"; help shows those there are");
	assert_int_equal(ASK(word_many), CTLCLIENT_USAGE);
	assert_string_equal(text, "say it as: many COUNT");
	memset(large, 'a', sizeof(large) - 1);
	assert_int_equal(ASK(word_echo, large), CTLCLIENT_USAGE);
	large[sizeof(large) - 6] = '\0';        /* fits to the byte */
	assert_int_equal(ASK(word_echo, large), CTLCLIENT_DONE);
	large[0] = ' ';
	assert_int_equal(ASK(word_echo, large), CTLCLIENT_USAGE);
	assert_string_equal(text,
			    "that is too long: a command has at most 8192 bytes and 64 words");
}

static void test_not_running(void **state)
{
	struct sockaddr_un left = { .sun_family = AF_UNIX };
	static char long_path[200];

	(void)state;
	for (int stale = 0; stale < 2; stale++) {
		assert_int_equal(ASK(word_echo), CTLCLIENT_UNREACHED);
		assert_non_null(strstr(text, "rrdmergd is not running"));
		assert_non_null(strstr(text, scratch("control.sock")));
		assert_non_null(strstr(text, "systemctl start rrdmergd"));
		/* Until it knows as whom to run, it has none. */
		assert_non_null(strstr(text, "it may be waiting as root for its live tree"));
		strcpy(left.sun_path, scratch("control.sock"));
		int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_true(bind(fd, (const struct sockaddr *)&left, sizeof(left)) == 0 || stale);
		close(fd);
	}
	memset(long_path, '/', sizeof(long_path) - 1);
	assert_int_equal(ask_with((struct ctlclient_options){ .socket = long_path }, 1,
				  (char *[]){ word_echo }), CTLCLIENT_USAGE);
}

static int ask_as_nobody(const char *expected)
{
	if (setgroups(0, NULL) || setresgid(65534, 65534, 65534) || setresuid(65534, 65534, 65534))
		return 2;
	if (ASK(word_echo) != CTLCLIENT_UNREACHED)
		return 3;
	return strstr(text, expected) && strstr(text, scratch("control.sock")) ? 0 : 4;
}

static void test_not_allowed(void **state)
{
	/* the directory lets one look at the socket, or not; its group has a name, or not */
	static const struct { mode_t mode; gid_t gid; const char *expected; } case_of[] = {
		{ 0711, 0, "a member of the group root" },
		{ 0700, 0, "a member of the group root" },
		{ 0711, 54321, "the user as whom rrdmergd runs" },
	};

	(void)state;
	if (geteuid()) {
		print_message("SKIP: only root can be somebody else\n");
		skip();
	}
	start();
	for (size_t i = 0; i < sizeof(case_of) / sizeof(case_of[0]); i++) {
		int status = -1;

		assert_int_equal(chmod(scratch_dir, case_of[i].mode), 0);
		assert_int_equal(chown(scratch("control.sock"), 0, case_of[i].gid), 0);
		pid_t child = fork();
		assert_true(child >= 0);
		if (!child)
			_exit(ask_as_nobody(case_of[i].expected));
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_int_equal(status, 0);
	}
}

static void test_patience(void **state)
{
	const struct ctlclient_options hurried = { .timeout_ms = 300 };
	const struct ctlclient_options patient = {
		.timeout_ms = 600, .patience_ms = 100, .slow = slow,
	};

	(void)state;
	start();
	assert_int_equal(ask_with(hurried, 1, (char *[]){ word_hang }), CTLCLIENT_UNREACHED);
	assert_non_null(strstr(text, "not answered within 1 s"));
	while (sem_wait(&reached))      /* posted by the handler */
		;
	sem_post(&go);
	int posted = 1;
	while (posted) {                /* it must be this handler that takes it */
		usleep(1000);
		sem_getvalue(&go, &posted);
	}
	assert_int_equal(ask_with(patient, 1, (char *[]){ word_hang }), CTLCLIENT_UNREACHED);
	for (int i = 0; i < 2; i++)     /* posted by the handler, and once by slow() */
		while (sem_wait(&reached))
			;
	assert_int_equal(sem_trywait(&reached), -1);
	sem_post(&go);
}

/* ---- a server of another kind ---- */

static struct {
	int listener;
	const char *answer;
	size_t size;
} liar;

static void *lie(void *arg)
{
	int fd = accept(liar.listener, NULL, NULL);
	char request[WIRE_REQUEST_MAX];

	(void)arg;
	(void)!recv(fd, request, sizeof(request), 0);
	for (size_t at = 0; at < liar.size;) {
		ssize_t sent = send(fd, liar.answer + at, liar.size - at, MSG_NOSIGNAL);

		if (sent <= 0)
			break;
		at += (size_t)sent;
	}
	close(fd);
	return NULL;
}

static enum ctlclient_outcome ask_liar(const char *answer, size_t size)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	pthread_t thread;

	strcpy(address.sun_path, scratch("control.sock"));
	unlink(address.sun_path);
	liar.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	liar.answer = answer;
	liar.size = size;
	assert_int_equal(bind(liar.listener, (const struct sockaddr *)&address, sizeof(address)),
			 0);
	assert_int_equal(listen(liar.listener, 1), 0);
	assert_int_equal(pthread_create(&thread, NULL, lie, NULL), 0);
	enum ctlclient_outcome outcome = ASK(word_echo);
	pthread_join(thread, NULL);
	close(liar.listener);
	return outcome;
}

static void test_odd_answers(void **state)
{
	static const struct {
		const char *answer;
		enum ctlclient_outcome outcome;
		const char *got;
	} c[] = {
		{ "ok\n", CTLCLIENT_DONE, "" },
		{ "a: 1\n\n\nb: \nok\n", CTLCLIENT_DONE, "a#1\n\nb=\n\n" },
		{ "a: 1\n\nok\n", CTLCLIENT_DONE, "a#1\n\n" },
		{ "error: \n", CTLCLIENT_FAILED, "" },
		{ "error: usage: x\n", CTLCLIENT_USAGE, "" },
		{ "", CTLCLIENT_UNREACHED, "" },
		{ "ok", CTLCLIENT_UNREACHED, "" },
		{ "a: 1\n", CTLCLIENT_UNREACHED, "" },
		{ "a: 1\n\nb: 2", CTLCLIENT_UNREACHED, "a#1\n\n" },
		{ "ok\nok\n", CTLCLIENT_UNREACHED, "" },
		{ "ok\na", CTLCLIENT_UNREACHED, "" },
		{ "a:1\nok\n", CTLCLIENT_UNREACHED, "" },
		{ "A: 1\nok\n", CTLCLIENT_UNREACHED, "" },
		{ ": 1\nok\n", CTLCLIENT_UNREACHED, "" },
		{ "a: \\q\nok\n", CTLCLIENT_UNREACHED, "" },
		{ "a: \x1b\nok\n", CTLCLIENT_UNREACHED, "" },
		{ "error: \\\n", CTLCLIENT_UNREACHED, "" },
		{ "HTTP/1.0 400 Bad Request\r\n\r\n", CTLCLIENT_UNREACHED, "" },
	};
	char *much = malloc(4 << 20);

	(void)state;
	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++) {
		if (ask_liar(c[i].answer, strlen(c[i].answer)) != c[i].outcome ||
		    strcmp(got, c[i].got))
			fail_msg("case %zu: %s", i, c[i].answer);
	}
	assert_int_equal(ask_liar("a: \0\nok\n", 8), CTLCLIENT_UNREACHED);
	/* a line, and a record, without an end */
	memset(much, 'a', 4 << 20);
	assert_int_equal(ask_liar(much, 4 << 20), CTLCLIENT_UNREACHED);
	assert_non_null(strstr(text, "does not speak as rrdmergd does"));
	for (size_t at = 0; at + 5 <= 4 << 20; at += 5)
		memcpy(much + at, "a: 1\n", 5);
	assert_int_equal(ask_liar(much, 4 << 20), CTLCLIENT_UNREACHED);
	for (size_t at = 0; at + 50000 <= 4 << 20; at += 50000) {
		memset(much + at, 'x', 50000);
		memcpy(much + at, "a: ", 3);
		much[at + 49999] = '\n';
	}
	assert_int_equal(ask_liar(much, 4000000), CTLCLIENT_UNREACHED);
	assert_non_null(strstr(text, "does not speak as rrdmergd does"));
	free(much);
}

static void test_random_answers(void **state)
{
	static const char *const pieces[] = {
		"ok\n", "ok", "error: ", "a: ", "b", ": ", "\n", "\\", "\\x41", "1", "-2.5", " ",
			"\xff",
		"usage: ", "key_2: value\n", "\n\n",
	};
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 0) : (unsigned)io_now_ns();
	char bytes[512];

	(void)state;
	print_message("SEED=%u\n", seed);
	srandom(seed);
	for (int n = 0; n < 1000; n++) {
		size_t used = 0;

		for (long count = random() % 20; count; count--) {
			const char *piece =
				pieces[(size_t)random() % (sizeof(pieces) / sizeof(*pieces))];

			memcpy(bytes + used, piece, strlen(piece));
			used += strlen(piece);
			if (random() % 8 == 0)
				bytes[used++] = (char)random();
		}
		enum ctlclient_outcome outcome = ask_liar(bytes, used);
		assert_true(outcome <= CTLCLIENT_UNREACHED);
		if (outcome == CTLCLIENT_DONE)
			assert_true(used >= 3 && !memcmp(bytes + used - 3, "ok\n", 3));
	}
}

/* ---- what is shown ---- */

static const char *printed(void (*print)(FILE *, const struct ctlclient_field *, size_t, bool),
			   const struct ctlclient_field *fields, size_t count, bool flag)
{
	taking = open_memstream(&got, &got_size);
	print(taking, fields, count, flag);
	fclose(taking);
	return got;
}

static const char *as_json(const char *string)
{
	free(got);
	taking = open_memstream(&got, &got_size);
	ctlprint_json_string(taking, string);
	fclose(taking);
	return got;
}

static void test_json_strings(void **state)
{
	static const struct { const char *text, *json; } c[] = {
		{ "", "\"\"" }, { "a/b", "\"a/b\"" }, { "\"\\", "\"\\\"\\\\\"" },
		{ "\n\t\x01\x1f\x7f", "\"\\u000a\\u0009\\u0001\\u001f\\u007f\"" },
		{ "\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80",
			"\"\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\"" },
		{ "\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf",
			"\"\xed\x9f\xbf\xee\x80\x80\xf4\x8f\xbf\xbf\"" },
		{ "\xc3", "\"\\ufffd\"" }, { "\x80", "\"\\ufffd\"" },
			{ "\xff" "a", "\"\\ufffda\"" },
		{ "\xe2\x82", "\"\\ufffd\\ufffd\"" }, { "\xc3\"", "\"\\ufffd\\\"\"" },
		{ "\xc0\xaf", "\"\\ufffd\\ufffd\"" },
			{ "\xe0\x9f\xbf", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xed\xa0\x80", "\"\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf0\x8f\xbf\xbf", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf4\x90\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
		{ "\xf5\x80\x80\x80", "\"\\ufffd\\ufffd\\ufffd\\ufffd\"" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(c) / sizeof(c[0]); i++)
		assert_string_equal(as_json(c[i].text), c[i].json);
}

static void test_shown(void **state)
{
	static const struct ctlclient_field fields[] = {
		{ "id", "12", true }, { "file_name", "a\x1b[31m\\\n\xff b", false },
			{ "none", "", false },
	};
	static const struct ctlclient_field help[] = {
		{ "command", "undo", false }, { "arguments", "PATH | ID | --all", false },
		{ "access", "changes", false }, { "help", "Takes it back.", false },
	};

	(void)state;
	free(got);
	assert_string_equal(printed(ctlprint_plain, fields, 3, true),
			    "id:        12\nfile_name: a\\x1B[31m\\\\\\x0A\\xFF b\nnone:\n");
	free(got);
	assert_string_equal(printed(ctlprint_plain, fields, 1, false), "\nid: 12\n");
	free(got);
	assert_string_equal(printed(ctlprint_json, fields, 3, true),
		"\n{\"id\":12,\"file_name\":\"a\\u001b[31m\\\\\\u000a\\ufffd b\",\"none\":\"\"}");
	free(got);
	assert_string_equal(printed(ctlprint_json, fields, 1, false), ",\n{\"id\":12}");
	free(got);
	assert_string_equal(printed(ctlprint_help, help, 4, false),
			    "  undo PATH | ID | --all        Takes it back.\n");
	free(got);
	assert_string_equal(printed(ctlprint_help, help, 4, true),
			    "usage: rrdmergctl undo PATH | ID | --all\n\nTakes it back.\n"
			    "It changes something, and so is for root and for the group of the socket.\n");
}

/* ---- the program ---- */

/* Runs it through the shell, with SOCKET in its environment; "status:output, both". */
static const char *run_program(const char *arguments)
{
	static char said[1 << 16];
	const char *build = getenv("builddir_abs");
	char command[1024];
	size_t used = 8;

	snprintf(command, sizeof(command), "{ '%s/rrdmergctl' %s; } 2>&1", build ? build : ".",
		 arguments);
	FILE *from = popen(command, "r");
	assert_non_null(from);
	used += fread(said + used, 1, sizeof(said) - used - 1, from);
	said[used] = '\0';
	int status = pclose(from);
	char head[9];
	snprintf(head, sizeof(head), "%d:", WIFEXITED(status) ? WEXITSTATUS(status) : 99);
	return memcpy(said + 8 - strlen(head), head, strlen(head));
}

static void is_said(const char *arguments, const char *expected)
{
	const char *said = run_program(arguments);

	if (strcmp(said, expected))
		fail_msg("%s: expected <%s>, it said <%s>", arguments, expected, said);
}

static void begins(const char *arguments, const char *expected)
{
	const char *said = run_program(arguments);

	if (strncmp(said, expected, strlen(expected)))
		fail_msg("%s: expected <%s...>, it said <%s>", arguments, expected, said);
}

static void test_program(void **state)
{
	(void)state;
	setenv("SOCKET", scratch("control.sock"), 1);
	begins("--help", "0:usage: rrdmergctl [-s SOCKET] [--json] COMMAND");
	begins("--version", "0:rrdmergctl " PACKAGE_VERSION "\n");
	/* Its own commands need no daemon. */
	begins("--help | sed 1,9d", "0:Commands; ");
	begins("--help | grep ^..history", "0:  history [PATH] ");
	begins("-s \"$SOCKET\" undo --help", "0:usage: rrdmergctl undo PATH | ID | --all\n\n");
	begins("-s \"$SOCKET\" --json undo --help", "3:");
	begins("-s \"$SOCKET\" many --help", "3:");
	begins("", "2:rrdmergctl: name a command\nusage: ");
	begins("--json", "2:rrdmergctl: name a command\nusage: ");
	begins("--wrong echo", "2:");
	begins("-s \"$SOCKET\" echo",
	       "3:rrdmergctl: rrdmergd is not running: nobody answers on the "
	       "socket /");
	is_said("-s \"$SOCKET\" --json echo 2> /dev/null | head -c 30",
		"0:{\"records\":[],\"status\":\"error\"");
	start();
	is_said("-s \"$SOCKET\" echo 'a b'", "0:words: 1\n\nword: a b\n");
	is_said("-s \"$SOCKET\" --json echo 7 ''",
		"0:{\"records\":[\n{\"words\":2},\n{\"word\":\"7\"},\n{\"word\":\"\"}\n],\"status\":\"ok\"}\n");
	is_said("-s \"$SOCKET\" echo --json",
		"0:{\"records\":[\n{\"words\":0}\n],\"status\":\"ok\"}\n");
	is_said("-s \"$SOCKET\" echo -- --json", "0:words: 1\n\nword: --json\n");
	is_said("-s \"$SOCKET\" options a --undo",
		"0:all:   no\nundo:  yes\nwords: 1\n\nword: a\n");
	is_said("-s \"$SOCKET\" fail",
		"1:before: the end\nrrdmergctl: no such file: a\\x0Ab\\\\c d\n");
	is_said("-s \"$SOCKET\" fail --json 2> /dev/null",
		"1:{\"records\":[\n{\"before\":\"the end\"}\n],"
		"\"status\":\"error\",\"error\":\"no such file: a\\u000ab\\\\c d\"}\n");
	is_said("-s \"$SOCKET\" wrong",
		"2:rrdmergctl: there is no command \"wrong\"; help shows those "
		"there are\n");
	is_said("-s \"$SOCKET\" many", "2:rrdmergctl: say it as: many COUNT\n");
	is_said("-s \"$SOCKET\" many --help", "0:usage: rrdmergctl many COUNT\n\nSays much.\n");
	begins("-s \"$SOCKET\" help",
	       "0:  echo [WORD ...]               Says it again.\n  many COUNT ");
	is_said("-s \"$SOCKET\" many 50 > /dev/full",
		"1:rrdmergctl: the answer cannot be written: No "
		"space left on device\n");
	is_said("-s \"$SOCKET\" many 100000 | wc -l | tr -d ' '", "0:299999\n");
}

#define EACH(test) cmocka_unit_test_setup_teardown(test, before, after_client)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(test_all_bytes),
		EACH(test_outcomes),
		EACH(test_not_running),
		EACH(test_not_allowed),
		EACH(test_patience),
		EACH(test_odd_answers),
		EACH(test_random_answers),
		EACH(test_json_strings),
		EACH(test_shown),
		EACH(test_program),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
