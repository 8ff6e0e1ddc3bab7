/* notify: what a supervisor's socket gets, whatever the environment holds. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "scratch.h"

/* The module itself, so that it waits less. */
#include "../src/notify.c"

#define FLOOD 5000

static int listener = -1;

static void listen_at(const struct sockaddr_un *address, socklen_t size)
{
	listener = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	assert_true(listener >= 0);
	assert_int_equal(bind(listener, (const struct sockaddr *)address, size), 0);
}

/* Binds a socket in the file system and names it in the environment. */
static void listen_path(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	assert_true(strlen(path) < sizeof(address.sun_path));
	strcpy(address.sun_path, path);
	listen_at(&address, sizeof(address));
	setenv("NOTIFY_SOCKET", path, 1);
}

/* The next message; "" where there is none. */
static const char *heard(void)
{
	static char buffer[2 * NOTIFY_STATUS_SIZE];
	ssize_t len = recv(listener, buffer, sizeof(buffer) - 1, MSG_DONTWAIT);

	buffer[len > 0 ? len : 0] = '\0';
	return buffer;
}

static int before(void **state)
{
	(void)state;
	unsetenv("NOTIFY_SOCKET");
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	return scratch_make();
}

static int after(void **state)
{
	(void)state;
	notify_close();
	if (listener >= 0)
		close(listener);
	listener = -1;
	ready_tries = NOTIFY_READY_S * 1000 / RETRY_MS;
	return scratch_remove();
}

static void say_everything(void)
{
	notify_ready();
	notify_status("files %d", 3);
	notify_reloading();
	notify_alive();
	notify_stopping();
}

static void hear_everything(void)
{
	unsigned long long then, now;
	struct timespec time;
	int end = 0;

	assert_string_equal(heard(), "READY=1");
	assert_string_equal(heard(), "STATUS=files 3");
	assert_int_equal(sscanf(heard(), "RELOADING=1\nMONOTONIC_USEC=%llu%n", &then, &end), 1);
	clock_gettime(CLOCK_MONOTONIC, &time);
	now = (unsigned long long)time.tv_sec * 1000000 + (unsigned long long)time.tv_nsec / 1000;
	assert_true(then <= now && now - then < 600u * 1000000);
	assert_string_equal(heard(), "WATCHDOG=1");
	assert_string_equal(heard(), "STOPPING=1");
	assert_string_equal(heard(), "");
}

static void test_path(void **state)
{
	(void)state;
	listen_path(scratch("notify"));
	assert_int_equal(notify_open(), 0);
	assert_null(getenv("NOTIFY_SOCKET"));
	say_everything();
	hear_everything();
	/* asked once more, with nothing in the environment */
	assert_int_equal(notify_open(), 0);
	say_everything();
	assert_string_equal(heard(), "");
}

static void test_abstract(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	char name[sizeof(address.sun_path) + 1];

	(void)state;
	/* a short one, and the longest that there can be */
	for (int longest = 0; longest < 2; longest++) {
		memset(name, 'x', sizeof(name));
		snprintf(name, sizeof(name), "@rrdmergd-unit-%d", (int)getpid());
		if (longest)
			name[strlen(name)] = 'x';
		name[sizeof(name) - 1] = '\0';
		memcpy(address.sun_path, name, strlen(name));
		address.sun_path[0] = '\0';
		listen_at(&address, (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
						strlen(name)));
		setenv("NOTIFY_SOCKET", name, 1);
		assert_int_equal(notify_open(), 0);
		say_everything();
		hear_everything();
		close(listener);
		listener = -1;
	}
}

static void test_nobody(void **state)
{
	(void)state;
	say_everything();               /* before anything was opened */
	setenv("WATCHDOG_USEC", "1000000", 1);
	assert_int_equal(notify_open(), 0);
	assert_int_equal(notify_watchdog_ns(), 0);
	assert_null(getenv("WATCHDOG_USEC"));
	say_everything();
	setenv("NOTIFY_SOCKET", "", 1);
	assert_int_equal(notify_open(), 0);
	say_everything();
	assert_null(getenv("NOTIFY_SOCKET"));
}

static void test_odd_sockets(void **state)
{
	char path[400] = "/";
	static const char *const odd[] = { "@", "/", "relative", "vsock:2:1234", " /run/x", "\n" };

	(void)state;
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++) {
		setenv("NOTIFY_SOCKET", odd[i], 1);
		setenv("WATCHDOG_USEC", "1000000", 1);
		assert_int_equal(notify_open(), -EINVAL);
		assert_null(getenv("NOTIFY_SOCKET"));
		assert_int_equal(notify_watchdog_ns(), 0);
		say_everything();
	}
	/* one byte more than there is room for, and many more */
	memset(path + 1, 'x', sizeof(path) - 2);
	for (size_t len = sizeof(path) - 1; len > 107; len = len > 108 ? 108 : 0) {
		path[len] = '\0';
		setenv("NOTIFY_SOCKET", path, 1);
		assert_int_equal(notify_open(), -EINVAL);
		path[0] = '@';
		path[len] = 'x';
		path[len + (len == 108)] = '\0';
		setenv("NOTIFY_SOCKET", path, 1);
		assert_int_equal(notify_open(), -EINVAL);
		path[0] = '/';
	}
	/* it fits, but is not there */
	path[107] = '\0';
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_open(), -ENOENT);
	ready_tries = 2;
	say_everything();
}

static uint64_t watchdog_with(const char *usec, const char *pid)
{
	setenv("NOTIFY_SOCKET", scratch("notify"), 1);
	if (usec)
		setenv("WATCHDOG_USEC", usec, 1);
	if (pid)
		setenv("WATCHDOG_PID", pid, 1);
	assert_int_equal(notify_open(), 0);
	assert_null(getenv("WATCHDOG_USEC"));
	assert_null(getenv("WATCHDOG_PID"));
	return notify_watchdog_ns();
}

static void test_watchdog(void **state)
{
	static const char *const odd[] = {
		"", "0", "-1", "+5", " 5", "5 ", "5s", "0x10", "1e6", "infinity", "1.5",
		"18446744073709551615", "18446744073709551616", "99999999999999999999999",
		"18446744073709552"
	};
	char pid[32], spoilt[34];

	(void)state;
	listen_path(scratch("notify"));
	snprintf(pid, sizeof(pid), "%d", (int)getpid());
	snprintf(spoilt, sizeof(spoilt), "%s ", pid);
	assert_int_equal(watchdog_with("120000000", pid), UINT64_C(120000000000));
	assert_int_equal(watchdog_with("1", pid), 1000);
	assert_int_equal(watchdog_with("2000000", NULL), UINT64_C(2000000000));
	assert_int_equal(watchdog_with("18446744073709551", pid), UINT64_C(18446744073709551000));
	assert_int_equal(watchdog_with(NULL, pid), 0);
	assert_int_equal(watchdog_with(NULL, NULL), 0);
	for (size_t i = 0; i < sizeof(odd) / sizeof(odd[0]); i++)
		assert_int_equal(watchdog_with(odd[i], pid), 0);
	/* meant for another process, or for nobody that can be told */
	assert_int_equal(watchdog_with("2000000", "1"), 0);
	assert_int_equal(watchdog_with("2000000", ""), 0);
	assert_int_equal(watchdog_with("2000000", "0"), 0);
	assert_int_equal(watchdog_with("2000000", "self"), 0);
	assert_int_equal(watchdog_with("2000000", spoilt), 0);
}

static void test_status_is_one_line(void **state)
{
	static const char head[] = "STATUS=";
	char text[2 * NOTIFY_STATUS_SIZE];

	(void)state;
	listen_path(scratch("notify"));
	assert_int_equal(notify_open(), 0);
	notify_status("%s", "a\nREADY=1\r\tb\x7f\x1b[31m");
	assert_string_equal(heard(), "STATUS=a READY=1  b  [31m");
	notify_status("%s", "Grüße, 日本");
	assert_string_equal(heard(), "STATUS=Grüße, 日本");
	notify_status("%s", "");
	assert_string_equal(heard(), "STATUS=");

	/* Cut, but never amid a character: whatever offset the characters of three bytes have. */
	for (size_t shift = 0; shift < 3; shift++) {
		memset(text, 'x', shift);
		for (size_t at = shift; at + 4 < sizeof(text); at += 3)
			strcpy(text + at, "日");
		notify_status("%s", text);
		const char *got = heard();
		size_t len = strlen(got + strlen(head));

		assert_memory_equal(got, head, strlen(head));
		assert_memory_equal(got + strlen(head), text, len);
		assert_true(len < NOTIFY_STATUS_SIZE && len > NOTIFY_STATUS_SIZE - 8);
		assert_int_equal((len - shift) % 3, 0);
	}
	memset(text, 'y', sizeof(text) - 1);
	text[sizeof(text) - 1] = '\0';
	notify_status("%s", text);
	assert_int_equal(strlen(heard()), strlen(head) + NOTIFY_STATUS_SIZE - 1);
}

static void test_status_once(void **state)
{
	(void)state;
	listen_path(scratch("notify"));
	assert_int_equal(notify_open(), 0);
	notify_status("one");
	notify_status("one");
	notify_status("two");
	notify_status("one");
	assert_string_equal(heard(), "STATUS=one");
	assert_string_equal(heard(), "STATUS=two");
	assert_string_equal(heard(), "STATUS=one");
	assert_string_equal(heard(), "");
}

static int flood(void)
{
	int got = 0;

	for (int i = 0; i < FLOOD; i++)
		notify_alive();
	while (*heard())
		got++;
	return got;
}

static void test_full_is_dropped(void **state)
{
	(void)state;
	listen_path(scratch("notify"));
	assert_int_equal(notify_open(), 0);
	int room = flood();

	assert_true(room > 0 && room < FLOOD);
	for (int i = 0; i < room; i++)
		notify_alive();
	notify_status("lost");          /* nor does it count as said */
	ready_tries = 3;
	notify_ready();                 /* gives up */
	while (room--)
		assert_string_equal(heard(), "WATCHDOG=1");
	assert_string_equal(heard(), "");
	notify_status("lost");
	assert_string_equal(heard(), "STATUS=lost");
}

static void *late_listener(void *arg)
{
	const struct timespec pause = { .tv_nsec = 50 * 1000000 };
	int *ready = arg;

	nanosleep(&pause, NULL);
	for (;;) {
		struct pollfd wait = { .fd = listener, .events = POLLIN };

		if (poll(&wait, 1, 20000) <= 0)
			return NULL;
		if (strcmp(heard(), "READY=1") == 0) {
			*ready = 1;
			return NULL;
		}
	}
}

static void test_ready_waits(void **state)
{
	pthread_t thread;
	int ready = 0;

	(void)state;
	listen_path(scratch("notify"));
	assert_int_equal(notify_open(), 0);
	for (int i = 0; i < FLOOD; i++)
		notify_alive();
	ready_tries = 2000;
	assert_int_equal(pthread_create(&thread, NULL, late_listener, &ready), 0);
	notify_ready();
	pthread_join(thread, NULL);
	assert_int_equal(ready, 1);
}

static void test_supervisor_begins_anew(void **state)
{
	const char *path = scratch("notify");

	(void)state;
	listen_path(path);
	assert_int_equal(notify_open(), 0);
	notify_ready();
	assert_string_equal(heard(), "READY=1");
	close(listener);
	listener = -1;
	notify_alive();                 /* to nobody */
	unlink(path);
	notify_alive();
	listen_path(path);
	notify_alive();
	assert_string_equal(heard(), "WATCHDOG=1");

	/* bound only after notify_open() */
	close(listener);
	unlink(path);
	setenv("NOTIFY_SOCKET", path, 1);
	assert_int_equal(notify_open(), -ENOENT);
	listen_path(path);
	notify_ready();
	assert_string_equal(heard(), "READY=1");
}

/* As the daemon does it: opened as root, used as somebody who could not open it. */
static void test_privileges_go(void **state)
{
	int status = -1;

	(void)state;
	listen_path(scratch("notify"));
	assert_int_equal(notify_open(), 0);
	assert_int_equal(chmod(scratch("notify"), 0), 0);
	pid_t child = fork();

	assert_true(child >= 0);
	if (!child) {
		if (getuid() == 0 && (setresgid(65534, 65534, 65534) ||
				      setresuid(65534, 65534, 65534)))
			_exit(2);
		if (!reach())
			_exit(3);       /* the test would prove nothing */
		notify_ready();
		notify_alive();
		_exit(0);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_int_equal(status, 0);
	assert_string_equal(heard(), "READY=1");
	assert_string_equal(heard(), "WATCHDOG=1");
}

static void test_errno_is_kept(void **state)
{
	(void)state;
	listen_path(scratch("notify"));
	assert_int_equal(notify_open(), 0);
	close(listener);
	listener = -1;
	errno = EXDEV;
	notify_alive();
	notify_stopping();
	assert_int_equal(errno, EXDEV);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_path, before, after),
		cmocka_unit_test_setup_teardown(test_abstract, before, after),
		cmocka_unit_test_setup_teardown(test_nobody, before, after),
		cmocka_unit_test_setup_teardown(test_odd_sockets, before, after),
		cmocka_unit_test_setup_teardown(test_watchdog, before, after),
		cmocka_unit_test_setup_teardown(test_status_is_one_line, before, after),
		cmocka_unit_test_setup_teardown(test_status_once, before, after),
		cmocka_unit_test_setup_teardown(test_full_is_dropped, before, after),
		cmocka_unit_test_setup_teardown(test_ready_waits, before, after),
		cmocka_unit_test_setup_teardown(test_supervisor_begins_anew, before, after),
		cmocka_unit_test_setup_teardown(test_privileges_go, before, after),
		cmocka_unit_test_setup_teardown(test_errno_is_kept, before, after),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
