/* tallying: what the tests of tally share: a tally, short words for its calls, and assertions. */
#ifndef TALLYING_H
#define TALLYING_H

#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <unistd.h>

static inline int setup(void **state)
{
	*state = tally_new();
	return *state ? 0 : -1;
}

static inline int teardown(void **state)
{
	tally_free(*state);
	return 0;
}

static inline bool live(struct tally *tally, const char *rel)
{
	bool settled = false;

	assert_int_equal(tally_live(tally, rel, false, &settled), 0);
	return settled;
}

static inline bool scanned(struct tally *tally, const char *rel)
{
	bool settled = false;

	assert_int_equal(tally_live(tally, rel, true, &settled), 0);
	return settled;
}

static inline bool backup(struct tally *tally, const char *rel)
{
	bool look = false;

	assert_int_equal(tally_backup(tally, rel, &look), 0);
	return look;
}

static inline struct merge_result result(enum merge_outcome outcome, const char *why)
{
	struct merge_result r = { .outcome = outcome };

	reason_set(&r.why, "%s", why);
	r.sources = outcome != MERGE_SKIPPED;
	return r;
}

/* Tells of one try. */
static inline void tell(struct tally *tally, const char *rel, enum merge_outcome outcome)
{
	struct merge_result r = result(outcome, outcome == MERGE_FAILED ? "words" : "");

	tally_result(tally, rel, &r, outcome >= MERGE_BUSY);
}

static inline void fail_with(struct tally *tally, const char *rel, const char *why,
		      enum merge_denied denied)
{
	struct merge_result r = result(MERGE_FAILED, why);

	r.denied = denied;
	tally_result(tally, rel, &r, false);
}

static const struct io_stamp first = { .dev = 1, .ino = 2, .links = 1, .size = 3, .mtime_ns = 4,
	.ctime_ns = 5 };

/* The file is there and looks like this, and we are done with it. */
static inline void finish(struct tally *tally, const char *rel, const struct io_stamp *stamp)
{
	struct merge_result r = result(MERGE_UNCHANGED, "");

	r.settled = true;
	r.stamp = *stamp;
	live(tally, rel);
	tally_result(tally, rel, &r, false);
}

static inline void assert_sums(struct tally *tally, size_t lives, size_t merged, size_t unchanged,
			size_t skipped, size_t failed, size_t pending)
{
	struct tally_sums sums = tally_sums(tally);

	assert_int_equal(sums.live, lives);
	assert_int_equal(sums.merged, merged);
	assert_int_equal(sums.unchanged, unchanged);
	assert_int_equal(sums.skipped, skipped);
	assert_int_equal(sums.failed, failed);
	assert_int_equal(sums.pending, pending);
}

static inline void assert_same_sums(struct tally *tally, const struct tally_sums *before)
{
	struct tally_sums sums = tally_sums(tally);

	assert_memory_equal(&sums, before, sizeof(sums));
}

static inline size_t waiting(struct tally *tally)
{
	return tally_sums(tally).waiting;
}

/* The list is these, separated by blanks. */
static inline void assert_list(struct tally *tally, enum tally_which which, enum merge_denied denied,
			const char *expected)
{
	char joined[256] = "";
	size_t count = 99, len = 0;
	char **list = tally_list(tally, which, denied, 0, &count);

	assert_true(count < 99);
	assert_int_equal(list == NULL, count == 0);
	for (size_t i = 0; i < count; i++)
		len += (size_t)snprintf(joined + len, sizeof(joined) - len, "%s%s", i ? " " : "",
					list[i]);
	tally_list_free(list, count);
	assert_string_equal(joined, expected);
}

/* The next refusal is this one; NULL: there is none. */
static inline void assert_next(struct tally *tally, const char *rel, const char *why, bool partial)
{
	char next[32] = "untouched";
	struct reason said = { "untouched" };
	bool is_partial = !partial;
	size_t unsaid = tally_sums(tally).unsaid;
	bool any = tally_next_refusal(tally, next, sizeof(next), &said, &is_partial);

	assert_int_equal(any, rel != NULL);
	assert_string_equal(next, rel ? rel : "untouched");
	assert_string_equal(said.text, rel ? why : "untouched");
	if (rel) {
		assert_int_equal(is_partial, partial);
		assert_int_equal(tally_sums(tally).unsaid, unsaid - 1);
	} else {
		assert_int_equal(unsaid, 0);
	}
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

#endif
