/* unit-bulletin: how long it will still take, as the daemon says it. */
#include "config.h"
#include "bulletin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

#include "io.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_rest_is_no_work),
		cmocka_unit_test(test_pause_is_no_work),
		cmocka_unit_test(test_not_told_too_soon),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
