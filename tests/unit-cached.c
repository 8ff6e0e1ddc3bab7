/* cached: what a FLUSH comes to with the real rrdcached, and whatever answers in its place. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/wait.h>

#include "scratch.h"

/* The module itself, so that it rests less, and has patience on a busy machine. */
#include "../src/cached.c"

#define HOUR (3600 * S)

static struct cached *cached;
static struct reason why;

static void open_at(const char *socket_path)
{
	assert_int_equal(cached_new(socket_path, &cached), 0);
}

static unsigned descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	unsigned count = 0;

	assert_non_null(dir);
	while (readdir(dir))
		count++;
	closedir(dir);
	return count;
}

static unsigned descriptors_before;

static int before(void **state)
{
	(void)state;
	rest_min_ns = 0;
	slow_ns = HOUR;
	call_ns = 60 * S;
	cached = NULL;
	descriptors_before = descriptors();
	return scratch_make();
}

static void stop_server(void);
static bool serving;

static int after(void **state)
{
	(void)state;
	if (serving)            /* it failed */
		stop_server();
	cached_free(cached);
	cached = NULL;
	if (descriptors() != descriptors_before) {
		print_error("%u descriptors and not %u\n", descriptors(), descriptors_before);
		return -1;
	}
	return scratch_remove();
}

static void as_it_is(void)
{
	call_ns = CACHED_CALL_MS * MS;
	slow_ns = 50 * MS;
	rest_min_ns = 5 * S;
}

static void expect_news(enum cached_news news, const char *words)
{
	assert_int_equal(cached_news(cached, &why), news);
	if (words && !strstr(why.text, words))
		fail_msg("\"%s\" lacks \"%s\"", why.text, words);
	assert_int_equal(cached_news(cached, &why), CACHED_NO_NEWS);
}

static void expect_failed(const char *words)
{
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
	expect_news(CACHED_LOST, words);
}

/* ---- a server that says what it is told to ---- */

/* How it answers a request; the connection is closed behind it where `closes`. */
struct script {
	const char *bytes;              /* NULL: it has flushed it */
	size_t size;
	bool closes, silent, closes_at_once;
	unsigned delay_ms;              /* before each byte where it `drips`, else before all */
	bool drips, unasked;            /* said once more, when nobody asks */
	bool by_name;                   /* a file in /nothing is not known */
};

static pthread_t server;
static int listener = -1, wake[2];
static atomic_uint connections, requests;
static pthread_mutex_t script_mutex = PTHREAD_MUTEX_INITIALIZER;        /* for these two */
static struct script script;
static char last_request[REQUEST_SIZE + 1];

static void play(struct script next)
{
	pthread_mutex_lock(&script_mutex);
	script = next;
	pthread_mutex_unlock(&script_mutex);
}

static struct script playing(void)
{
	pthread_mutex_lock(&script_mutex);
	struct script now = script;
	pthread_mutex_unlock(&script_mutex);
	return now;
}

static void expect_request(const char *request)
{
	char copy[sizeof(last_request)];

	pthread_mutex_lock(&script_mutex);
	memcpy(copy, last_request, sizeof(copy));
	pthread_mutex_unlock(&script_mutex);
	assert_string_equal(copy, request);
}

static void pause_ms(unsigned ms)
{
	nanosleep(&(struct timespec){ ms / 1000, (long)(ms % 1000) * 1000000 }, NULL);
}

static bool say(int fd, const struct script *now, const char *bytes, size_t size)
{
	for (size_t at = 0; at < size;) {
		ssize_t sent;

		if (now->delay_ms && (now->drips || !at))
			pause_ms(now->delay_ms);
		sent = send(fd, bytes + at, now->drips ? 1 : size - at, MSG_NOSIGNAL);
		if (sent < 0)
			return false;
		at += (size_t)sent;
	}
	return true;
}

static bool answer(int fd, const char *request)
{
	static const char known[] = "0 Successfully flushed it.\n";
	static const char unknown[] = "-1 No such file: it.\n";
	struct script now = playing();

	requests++;
	if (now.silent)
		return true;
	if (now.by_name && strstr(request, " /nothing"))
		return say(fd, &now, unknown, sizeof(unknown) - 1);
	if (!now.bytes)
		return say(fd, &now, known, sizeof(known) - 1);
	return say(fd, &now, now.bytes, now.size) &&
		(!now.unasked || say(fd, &now, now.bytes, now.size)) && !now.closes;
}

/* False where the connection is over. */
static bool serve_request(int fd)
{
	char request[REQUEST_SIZE + 1];
	size_t used = 0;

	while (!used || request[used - 1] != '\n') {
		ssize_t got = recv(fd, request + used, sizeof(request) - 1 - used, 0);

		if (got <= 0)
			return false;
		used += (size_t)got;
	}
	request[used] = '\0';
	pthread_mutex_lock(&script_mutex);
	memcpy(last_request, request, used + 1);
	pthread_mutex_unlock(&script_mutex);
	return answer(fd, request);
}

static void *serve(void *arg)
{
	struct pollfd wait[66] = { { .fd = listener, .events = POLLIN },
				   { .fd = wake[0], .events = POLLIN } };
	nfds_t count = 2;

	(void)arg;
	while (poll(wait, count, -1) > 0 && !wait[1].revents) {
		for (nfds_t i = count; i-- > 2;)
			if (wait[i].revents && !serve_request(wait[i].fd)) {
				close(wait[i].fd);
				wait[i] = wait[--count];
			}
		if (!wait[0].revents)
			continue;
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		connections++;
		if (fd >= 0 && (playing().closes_at_once || count == 66))
			close(fd);
		else if (fd >= 0)
			wait[count++] = (struct pollfd){ .fd = fd, .events = POLLIN };
	}
	while (count > 2)
		close(wait[--count].fd);
	return NULL;
}

static void listen_at(const char *path, int type)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	strcpy(address.sun_path, path);
	unlink(path);
	listener = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(listener, (struct sockaddr *)&address, sizeof(address)), 0);
	if (type == SOCK_STREAM)
		assert_int_equal(listen(listener, 5), 0);
}

static void start_server(void)
{
	connections = requests = 0;
	listen_at(scratch("sock"), SOCK_STREAM);
	assert_int_equal(pipe2(wake, O_CLOEXEC), 0);
	assert_int_equal(pthread_create(&server, NULL, serve, NULL), 0);
	serving = true;
}

static void stop_server(void)
{
	serving = false;
	assert_int_equal(write(wake[1], "x", 1), 1);
	pthread_join(server, NULL);
	close(listener);
	close(wake[0]);
	close(wake[1]);
}

static void script_bytes(const char *bytes, size_t size)
{
	play((struct script){ .bytes = bytes, .size = size });
}

static void script_good(void)
{
	play((struct script){ .bytes = NULL });
}

static void test_good_answers(void **state)
{
	static const struct { const char *bytes; enum cached_outcome outcome; } good[] = {
		{ "0 Successfully flushed /a/b.rrd.\n", CACHED_FLUSHED },
		{ "0 Nothing to flush: /a/b.rrd.\n", CACHED_NOTHING },
		{ "-1 No such file: /a/b.rrd.\n", CACHED_NOTHING },
		{ "-2 No such file\n", CACHED_NOTHING },
		{ "0 \n", CACHED_FLUSHED },
	};

	(void)state;
	script_good();
	start_server();
	open_at(scratch("sock"));
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		script_bytes(good[i].bytes, strlen(good[i].bytes));
		assert_int_equal(cached_flush(cached, "/a/b.rrd"), good[i].outcome);
		expect_request("FLUSH /a/b.rrd\n");
		expect_news(CACHED_NO_NEWS, NULL);
	}
	/* A byte at a time, in time. */
	play((struct script){ .bytes = "0 x\n", .size = 4, .drips = true, .delay_ms = 2 });
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);
	assert_int_equal(connections, 1);
	stop_server();
}

#define BYTES(text) { text, sizeof(text) - 1 }

static void test_bad_answers(void **state)
{
	static const struct { const char *bytes; size_t size; } bad[] = {
		BYTES("hello\n"), BYTES("\n"), BYTES("0\n"), BYTES("-\n"), BYTES("-1\n"),
		BYTES(" 0 x\n"), BYTES("00 x\n"), BYTES("1 line\nline\n"), BYTES("1 line\n"),
		BYTES("+0 x\n"), BYTES("0 x\n0 x\n"), BYTES("0 x\ny"), BYTES("0 \0x\n"),
		BYTES("\0\n"), BYTES("\377\376\n"), BYTES("99999999999999999999999 x\n"),
		BYTES("--1 x\n"), BYTES("- 1 x\n"), BYTES("0x0 y\n"),
	};

	(void)state;
	script_good();
	start_server();
	open_at(scratch("sock"));
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		script_bytes(bad[i].bytes, bad[i].size);
		assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
		expect_news(CACHED_LOST, "does not speak as rrdcached does");
		assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
		expect_news(CACHED_NO_NEWS, NULL);
		script_good();
		assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);
		expect_news(CACHED_BACK, NULL);
	}
	stop_server();
}

static void test_refusals(void **state)
{
	static char text[ANSWER_SIZE];

	(void)state;
	start_server();
	open_at(scratch("sock"));
	script_bytes("-1 Permission denied.\n", 22);
	expect_failed("refuses to flush files: Permission denied.");
	script_bytes("-18446744073709551617 x\n", 24);
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
	assert_int_equal(connections, 1);       /* it did answer */

	/* As long as it may be, and longer. */
	memset(text, 'x', sizeof(text));
	memcpy(text, "-1 ", 3);
	text[sizeof(text) - 1] = '\n';
	script_good();
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);
	expect_news(CACHED_BACK, NULL);
	script_bytes(text, sizeof(text));
	expect_failed("xxx");
	assert_true(strlen(why.text) < sizeof(why.text));
	stop_server();
}

static void test_broken_off(void **state)
{
	static char much[1 << 20];

	(void)state;
	start_server();
	open_at(scratch("sock"));
	play((struct script){ .bytes = "0 Succ", .size = 6, .closes = true });
	expect_failed("broke off");

	script_good();
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);
	expect_news(CACHED_BACK, NULL);
	cached_free(cached);
	open_at(scratch("sock"));
	play((struct script){ .closes_at_once = true });
	expect_failed("broke off");

	/* A megabyte without a newline. */
	memset(much, '0', sizeof(much));
	script_bytes(much, sizeof(much));
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
	script_good();
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);
	stop_server();
}

static void test_silence(void **state)
{
	(void)state;
	start_server();
	open_at(scratch("sock"));
	play((struct script){ .silent = true });
	call_ns = CACHED_CALL_MS * MS;
	expect_failed("has not answered within 300 ms");
	/* An answer that comes too late is not taken for the next one's. */
	play((struct script){ .bytes = "-1 No such file: late.\n", .size = 23, .delay_ms = 600 });
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
	script_good();
	call_ns = 60 * S;
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);

	/* A byte now and then, for ever. */
	play((struct script){ .bytes = "000000000000", .size = 12, .drips = true, .delay_ms = 50 });
	call_ns = CACHED_CALL_MS * MS;
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
	stop_server();
}

static void test_unasked(void **state)
{
	(void)state;
	start_server();
	open_at(scratch("sock"));
	play((struct script){ .bytes = "0 Nothing\n", .size = 10, .unasked = true, .delay_ms = 20 });
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_NOTHING);
	pause_ms(100);
	/* The second answer is there: not taken for that to another question. */
	script_good();
	assert_int_equal(cached_flush(cached, "/a/c.rrd"), CACHED_FLUSHED);
	assert_int_equal(connections, 2);
	expect_news(CACHED_NO_NEWS, NULL);
	stop_server();
}

static void test_nobody_there(void **state)
{
	int fds[64], count = 0;
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	(void)state;
	open_at(scratch("none"));
	expect_failed("is not running");
	cached_free(cached);
	open_at("/proc/self/stat/sock");
	expect_failed("is not running");
	cached_free(cached);

	close(creat(scratch("plain"), 0600));
	open_at(scratch("plain"));
	expect_failed("is not running");
	cached_free(cached);

	listen_at(scratch("datagram"), SOCK_DGRAM);
	open_at(scratch("datagram"));
	expect_failed("cannot be asked: ");
	close(listener);
	cached_free(cached);

	/* Its queue is full. */
	listen_at(scratch("full"), SOCK_STREAM);
	strcpy(address.sun_path, scratch("full"));
	do
		fds[count] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	while (!connect(fds[count++], (struct sockaddr *)&address, sizeof(address)) && count < 64);
	assert_true(count < 64);
	call_ns = CACHED_CALL_MS * MS;
	open_at(scratch("full"));
	expect_failed("has not answered");
	while (count)
		close(fds[--count]);
	close(listener);
}

static void test_left_alone(void **state)
{
	(void)state;
	rest_min_ns = HOUR;
	start_server();
	open_at(scratch("sock"));
	script_bytes("x\n", 2);
	expect_failed("speak");
	script_good();
	for (int i = 0; i < 100; i++)
		assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_LEFT);
	assert_int_equal(requests, 1);
	expect_news(CACHED_NO_NEWS, NULL);
	cached->rest_until_ns = 0;
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);
	expect_news(CACHED_BACK, NULL);
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);

	/* Longer with each failure, up to a bound; and short again after a good while. */
	script_bytes("x\n", 2);
	cached->failed_ns = 0;
	rest_min_ns = 5 * S;
	for (uint64_t expected = 5; expected; expected = expected == 60 ? 0 : expected * 2) {
		expected = expected > 60 ? 60 : expected;
		cached->rest_until_ns = 0;
		assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
		assert_int_equal(cached->rest_ns, expected * S);
		assert_true(cached->rest_until_ns == cached->failed_ns + expected * S);
	}
	cached->rest_until_ns = 0;
	cached->failed_ns = 1;
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FAILED);
	assert_true(cached->rest_ns == 5 * S || io_now_ns() < 2 * REST_MAX);
	stop_server();
}

static void test_slow(void **state)
{
	(void)state;
	start_server();
	open_at(scratch("sock"));
	play((struct script){ .delay_ms = 80 });
	slow_ns = 50 * MS;
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_FLUSHED);
	assert_true(cached->rest_until_ns > cached->failed_ns + 9 * 80 * MS);
	cached->rest_until_ns += HOUR;
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_LEFT);
	expect_news(CACHED_NO_NEWS, NULL);
	stop_server();
}

static void test_names(void **state)
{
	static char name[PATH_MAX * 2];

	(void)state;
	assert_int_equal(cached_new("relative", &cached), -EINVAL);
	assert_int_equal(cached_new("", &cached), -EINVAL);
	memset(name, 'x', 108);
	name[0] = '/';
	assert_int_equal(cached_new(name, &cached), -EINVAL);
	assert_null(cached);
	assert_int_equal(cached_flush(NULL, "/a"), CACHED_LEFT);
	assert_int_equal(cached_news(NULL, &why), CACHED_NO_NEWS);
	cached_free(NULL);

	script_good();
	start_server();
	open_at(scratch("sock"));
	assert_int_equal(cached_flush(cached, "/a b\\c/\303\244'\".rrd"), CACHED_FLUSHED);
	expect_request("FLUSH /a\\ b\\\\c/\303\244'\".rrd\n");

	/* What no client can have named. */
	assert_int_equal(cached_flush(cached, "/a\nFORGET /b"), CACHED_NOTHING);
	assert_int_equal(cached_flush(cached, "/a\r"), CACHED_NOTHING);
	assert_int_equal(cached_flush(cached, ""), CACHED_NOTHING);
	assert_int_equal(cached_flush(cached, "a/b"), CACHED_NOTHING);
	memset(name, ' ', sizeof(name) - 1);
	name[0] = '/';
	assert_int_equal(cached_flush(cached, name), CACHED_NOTHING);
	name[REQUEST_SIZE / 2] = '\0';
	assert_int_equal(cached_flush(cached, name), CACHED_NOTHING);
	assert_int_equal(requests, 1);
	name[REQUEST_SIZE / 2 - 4] = '\0';
	assert_int_equal(cached_flush(cached, name), CACHED_FLUSHED);
	assert_int_equal(cached->idles, 1);
	stop_server();
}

#define THREADS 12

static void *flush_many(void *arg)
{
	bool known = arg;
	intptr_t wrong = 0;

	for (int i = 0; i < 500; i++)
		wrong += cached_flush(cached, known ? "/known/a.rrd" : "/nothing/a.rrd") !=
			(known ? CACHED_FLUSHED : CACHED_NOTHING);
	return (void *)wrong;
}

static void run_threads(void)
{
	pthread_t thread[THREADS];
	void *wrong;

	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, flush_many,
						i % 2 ? cached : NULL), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &wrong);
		assert_null(wrong);
	}
}

static void test_threads(void **state)
{
	(void)state;
	start_server();
	open_at(scratch("sock"));
	play((struct script){ .by_name = true });
	run_threads();
	assert_true(cached->idles <= IDLE_MAX);
	stop_server();
}

static void *flush_once(void *arg)
{
	return cached_flush(cached, "/a") == CACHED_FAILED ? arg : NULL;
}

/* Those that wait for the same hung server: one failure, told once. */
static void test_threads_fail_together(void **state)
{
	pthread_t thread[THREADS];
	unsigned failed = 0;
	void *got;

	(void)state;
	as_it_is();
	start_server();
	open_at(scratch("sock"));
	play((struct script){ .silent = true });
	for (int i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, flush_once, cached), 0);
	for (int i = 0; i < THREADS; i++) {
		pthread_join(thread[i], &got);
		failed += got != NULL;
	}
	assert_true(failed >= 1);
	assert_int_equal(cached->rest_ns, 5 * S);
	expect_news(CACHED_LOST, "has not answered");
	stop_server();
}

/* ---- the real one ---- */

static pid_t real;
static char command_out[4096];

static const char *run(const char *format, ...)
{
	char command[4 * PATH_MAX];
	va_list args;

	va_start(args, format);
	vsnprintf(command, sizeof(command), format, args);
	va_end(args);
	FILE *from = popen(command, "r");
	assert_non_null(from);
	size_t got = fread(command_out, 1, sizeof(command_out) - 1, from);
	command_out[got] = '\0';
	if (pclose(from))
		fail_msg("%s: %s", command, command_out);
	return command_out;
}

static bool is_installed(const char *program)
{
	char command[128];

	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin command -v %s >/dev/null",
		 program);
	return system(command) == 0;
}

/* Its socket is there before it listens. */
static bool listens(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool yes;

	assert_true(fd >= 0);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	yes = !connect(fd, (struct sockaddr *)&address, sizeof(address));
	close(fd);
	return yes;
}

static void start_real(const char *options)
{
	char command[4 * PATH_MAX];

	/* It removes its socket and makes it anew. */
	unlink(scratch("real.sock"));
	snprintf(command, sizeof(command), "PATH=$PATH:/usr/sbin exec rrdcached -g -l unix:%s "
		 "-p %s -w 3600 -f 7200 -t 1 %s >%s 2>&1", scratch("real.sock"),
		 scratch("real.pid"), options, scratch("real.out"));
	real = fork();
	assert_true(real >= 0);
	if (!real) {
		execl("/bin/sh", "sh", "-c", command, (char *)NULL);
		_exit(127);
	}
	while (!listens(scratch("real.sock"))) {
		if (waitpid(real, NULL, WNOHANG)) {
			real = 0;
			run("cat %s >&2", scratch("real.out"));
			skip();
		}
		pause_ms(10);
	}
}

static void end_real(int signal)
{
	kill(real, signal);
	waitpid(real, NULL, 0);
	real = 0;
}

static int after_real(void **state)
{
	if (real)
		end_real(SIGKILL);
	return after(state);
}

static void begin_real(const char *options)
{
	if (!is_installed("rrdcached") || !is_installed("rrdtool")) {
		print_message("rrdcached or rrdtool is not installed\n");
		skip();
	}
	start_real(options);
	open_at(scratch("real.sock"));
}

static void create(const char *path)
{
	run("rrdtool create '%s' --start 1600000000 --step 60 DS:a:GAUGE:120:U:U "
	    "RRA:AVERAGE:0.5:1:100", path);
}

static void update(const char *path, long time)
{
	run("rrdtool update '%s' --daemon unix:%s %ld:1", path, scratch("real.sock"), time);
}

static long last(const char *path)
{
	return strtol(run("rrdtool last '%s'", path), NULL, 10);
}

static void test_real(void **state)
{
	const char *plain = scratch("a.rrd"), *odd = scratch("a b\\c \303\244.rrd");

	(void)state;
	begin_real("");
	create(plain);
	create(odd);
	assert_int_equal(cached_flush(cached, plain), CACHED_NOTHING);
	assert_int_equal(cached_flush(cached, scratch("none.rrd")), CACHED_NOTHING);

	update(plain, 1600000060);
	update(odd, 1600000120);
	assert_int_equal(last(plain), 1600000000);
	assert_int_equal(last(odd), 1600000000);
	assert_int_equal(cached_flush(cached, plain), CACHED_FLUSHED);
	assert_int_equal(last(plain), 1600000060);
	assert_int_equal(last(odd), 1600000000);
	assert_int_equal(cached_flush(cached, odd), CACHED_FLUSHED);
	assert_int_equal(last(odd), 1600000120);

	/* The same file by another path is another file to it. */
	update(plain, 1600000180);
	assert_int_equal(cached_flush(cached, scratch("./a.rrd")), CACHED_NOTHING);
	assert_int_equal(last(plain), 1600000060);

	/* A name is no command. */
	char evil[PATH_MAX];
	snprintf(evil, sizeof(evil), "/x\nFORGET %s", plain);
	assert_int_equal(cached_flush(cached, evil), CACHED_NOTHING);
	assert_int_equal(cached_flush(cached, plain), CACHED_FLUSHED);
	assert_int_equal(last(plain), 1600000180);
	expect_news(CACHED_NO_NEWS, NULL);
	end_real(SIGTERM);
}

/* What FLUSH says of a SUSPENDed file: that all is well. */
static void test_real_suspended(void **state)
{
	const char *path = scratch("a.rrd");
	struct call call = { .fd = -1, .until_ns = io_now_ns() + 10 * S };

	(void)state;
	begin_real("");
	create(path);
	update(path, 1600000060);
	assert_int_equal(reach(&call, &cached->address), 0);
	call.size = (size_t)snprintf(call.request, sizeof(call.request), "SUSPEND %s\n", path);
	assert_int_equal(send_request(&call), 0);
	assert_int_equal(take_line(&call), 0);
	if (begins(call.answer, "0 "))
		assert_int_equal(cached_flush(cached, path), CACHED_FLUSHED);
	close(call.fd);
	end_real(SIGTERM);
}

/* The longest path that is asked: the answer fits as well. */
static void test_real_long_name(void **state)
{
	static char name[REQUEST_SIZE];

	(void)state;
	begin_real("");
	memset(name, 'x', sizeof(name));
	name[0] = '/';
	name[REQUEST_SIZE - 9] = '\0';
	assert_int_equal(cached_flush(cached, name), CACHED_NOTHING);
	name[REQUEST_SIZE - 9] = 'x';
	name[REQUEST_SIZE - 8] = '\0';
	assert_int_equal(cached_flush(cached, name), CACHED_NOTHING);
	assert_int_equal(cached->idles, 1);
	expect_news(CACHED_NO_NEWS, NULL);
	end_real(SIGTERM);
}

static void test_real_hangs(void **state)
{
	const char *path = scratch("a.rrd");

	(void)state;
	begin_real("");
	create(path);
	update(path, 1600000060);
	kill(real, SIGSTOP);
	call_ns = CACHED_CALL_MS * MS;
	expect_failed("has not answered");
	kill(real, SIGCONT);
	call_ns = 60 * S;
	assert_int_equal(cached_flush(cached, "/a/b.rrd"), CACHED_NOTHING);
	expect_news(CACHED_BACK, NULL);
	/* The first question may have done it, and still be at it. */
	assert_int_equal(cached_flush(cached, path), CACHED_FLUSHED);
	while (last(path) != 1600000060)
		pause_ms(10);
	end_real(SIGTERM);
}

/* A file that it cannot open now: we go on, it survives our going, and the value gets in. */
static void test_real_waits_for_a_lease(void **state)
{
	const char *path = scratch("a.rrd");

	(void)state;
	begin_real("");
	create(path);
	update(path, 1600000060);
	signal(SIGIO, SIG_IGN);
	int fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	if (fcntl(fd, F_SETLEASE, F_WRLCK)) {
		close(fd);
		print_message("no write lease to be had here\n");
		skip();
	}
	call_ns = CACHED_CALL_MS * MS;
	assert_int_equal(cached_flush(cached, path), CACHED_FAILED);
	expect_news(CACHED_LOST, "has not answered");
	fcntl(fd, F_SETLEASE, F_UNLCK);
	close(fd);
	while (last(path) != 1600000060)
		pause_ms(10);
	assert_int_equal(waitpid(real, NULL, WNOHANG), 0);
	call_ns = 60 * S;
	assert_int_equal(cached_flush(cached, path), CACHED_FLUSHED);
	expect_news(CACHED_BACK, NULL);
	end_real(SIGTERM);
}

static void test_real_restarted(void **state)
{
	const char *path = scratch("a.rrd");

	(void)state;
	begin_real("");
	create(path);
	update(path, 1600000060);
	assert_int_equal(cached_flush(cached, path), CACHED_FLUSHED);
	end_real(SIGKILL);
	start_real("");
	update(path, 1600000120);
	/* The kept connection is dead, which nobody need hear of. */
	assert_int_equal(cached_flush(cached, path), CACHED_FLUSHED);
	assert_int_equal(last(path), 1600000120);
	expect_news(CACHED_NO_NEWS, NULL);
	end_real(SIGTERM);
	assert_int_equal(cached_flush(cached, path), CACHED_FAILED);
	expect_news(CACHED_LOST, "is not running");
	start_real("");
	assert_int_equal(cached_flush(cached, path), CACHED_NOTHING);
	expect_news(CACHED_BACK, NULL);
	end_real(SIGTERM);
}

static void test_real_refuses(void **state)
{
	char options[PATH_MAX + 64];

	(void)state;
	if (mkdir(scratch("base"), 0755))
		fail();
	snprintf(options, sizeof(options), "-b %s -B", scratch("base"));
	begin_real(options);
	create(scratch("base/in.rrd"));
	create(scratch("out.rrd"));
	update(scratch("base/in.rrd"), 1600000060);
	assert_int_equal(cached_flush(cached, scratch("base/in.rrd")), CACHED_FLUSHED);
	assert_int_equal(cached_flush(cached, scratch("out.rrd")), CACHED_FAILED);
	expect_news(CACHED_LOST, "refuses to flush files: ");
	assert_non_null(strstr(why.text, "out.rrd"));
	end_real(SIGTERM);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, before, after)
#define TEST_REAL(f) cmocka_unit_test_setup_teardown(f, before, after_real)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_good_answers),
		TEST(test_bad_answers),
		TEST(test_refusals),
		TEST(test_broken_off),
		TEST(test_silence),
		TEST(test_unasked),
		TEST(test_nobody_there),
		TEST(test_left_alone),
		TEST(test_slow),
		TEST(test_names),
		TEST(test_threads),
		TEST(test_threads_fail_together),
		TEST_REAL(test_real),
		TEST_REAL(test_real_suspended),
		TEST_REAL(test_real_long_name),
		TEST_REAL(test_real_hangs),
		TEST_REAL(test_real_waits_for_a_lease),
		TEST_REAL(test_real_restarted),
		TEST_REAL(test_real_refuses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
