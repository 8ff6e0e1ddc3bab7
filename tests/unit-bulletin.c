/* unit-bulletin: how long it will still take, as the daemon says it; what systemd is told. */
#include "config.h"
#include "bulletin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "io.h"
#include "notify.h"

#define HOUR_NS UINT64_C(3600000000000)

static struct conf conf = { .live = (char *)"/live" };

/* `since_ns` ago it began to be busy, and nothing was done yet; now `done` of a thousand are. */
static long long left_after(uint64_t since_ns, bool paused, size_t done)
{
	struct tally *tally = tally_new();
	struct bulletin bulletin = { .watching = true, .was_busy = true };
	struct bulletin_news news = { .conf = &conf, .tally = tally, .busy = true, .paused = paused };

	assert_non_null(tally);
	news.sums.live = 1000;
	news.sums.pending = paused ? 500 : 1000;
	bulletin.busy_since_ns = bulletin.progress_ns = io_now_ns() - since_ns;
	bulletin_tick(&bulletin, &news);
	if (paused)
		assert_int_equal(bulletin_left_s(&bulletin, &news.sums), -1);
	news.paused = false;
	news.sums.pending = 1000 - done;
	bulletin_tick(&bulletin, &news);
	tally_free(tally);
	return bulletin_left_s(&bulletin, &news.sums);
}

/* A backup rested for an hour before the first file was merged. */
static void test_rest_is_no_work(void **state)
{
	(void)state;
	assert_in_range(left_after(HOUR_NS, false, 100), 0, 3599);
}

static void test_pause_is_no_work(void **state)
{
	(void)state;
	assert_in_range(left_after(HOUR_NS, true, 600), 0, 2399);
}

/* One file tells nothing of a thousand. */
static void test_not_told_too_soon(void **state)
{
	(void)state;
	assert_int_equal(left_after(HOUR_NS, false, 0), -1);
	assert_int_equal(left_after(HOUR_NS, false, 1), -1);
	assert_int_equal(left_after(HOUR_NS, false, 1000), 0);
}

/* ---- systemctl status ---- */

/* What a tick tells. */
static void assert_told(int server, const struct bulletin_news *news, const char *status)
{
	struct bulletin bulletin = { .watching = true, .was_busy = true };
	char text[NOTIFY_STATUS_SIZE + 16] = "";

	bulletin_tick(&bulletin, news);
	assert_true(recv(server, text, sizeof(text) - 1, MSG_DONTWAIT) > 0);
	assert_string_equal(text, status);
}

static void test_systemd(void **state)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct tally *tally = tally_new();
	struct bulletin_news news = { .conf = &conf, .tally = tally, .busy = true };
	int server = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	(void)state;
	assert_true(server >= 0 && tally);
	/* of no directory: no name is left behind */
	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "unit-bulletin-%d",
		 (int)getpid());
	assert_int_equal(bind(server, (struct sockaddr *)&address, (socklen_t)
			      (offsetof(struct sockaddr_un, sun_path) + 1 +
			       strlen(address.sun_path + 1))), 0);
	address.sun_path[0] = '@';
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	assert_int_equal(notify_open(), 0);
	news.sums.live = news.sums.merged = 3;
	assert_told(server, &news, "STATUS=working: 3 merged, 0 unchanged, 0 skipped, 0 failed, "
		    "0 pending, 0 waiting; backup needed: yes");
	news.paused = true;
	news.unwatched = 2;
	news.overflows = 1;
	assert_told(server, &news, "STATUS=working: 3 merged, 0 unchanged, 0 skipped, 0 failed, "
		    "0 pending, 0 waiting; backup needed: yes; paused; 2 directories not watched; "
		    "events lost 1 times");
	news.busy = news.paused = false;
	news.unwatched = 0;
	news.overflows = 0;
	assert_told(server, &news, "STATUS=idle: 3 merged, 0 unchanged, 0 skipped, 0 failed, "
		    "0 pending, 0 waiting; backup needed: no");
	notify_close();
	close(server);
	tally_free(tally);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rest_is_no_work),
		cmocka_unit_test(test_pause_is_no_work),
		cmocka_unit_test(test_not_told_too_soon),
		cmocka_unit_test(test_systemd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
