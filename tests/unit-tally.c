/* unit-tally: the sums through every change, what is settled, what is said, what is forgotten. */
#include "config.h"
#include "tally.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <pthread.h>
#include <unistd.h>

static unsigned seed;

static int setup(void **state)
{
	*state = tally_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	tally_free(*state);
	return 0;
}

static bool live(struct tally *tally, const char *rel)
{
	bool settled = false;

	assert_int_equal(tally_live(tally, rel, &settled), 0);
	return settled;
}

static bool backup(struct tally *tally, const char *rel)
{
	bool look = false;

	assert_int_equal(tally_backup(tally, rel, &look), 0);
	return look;
}

static struct merge_result result(enum merge_outcome outcome, const char *why)
{
	struct merge_result r = { .outcome = outcome };

	reason_set(&r.why, "%s", why);
	r.sources = outcome != MERGE_SKIPPED;
	return r;
}

/* Tells of one try. */
static bool tell(struct tally *tally, const char *rel, enum merge_outcome outcome)
{
	struct merge_result r = result(outcome, outcome == MERGE_FAILED ? "words" : "");

	return tally_result(tally, rel, &r, outcome >= MERGE_BUSY);
}

static bool fail_with(struct tally *tally, const char *rel, const char *why)
{
	struct merge_result r = result(MERGE_FAILED, why);

	return tally_result(tally, rel, &r, false);
}

static void assert_sums(struct tally *tally, size_t lives, size_t merged, size_t unchanged,
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

static size_t waiting(struct tally *tally)
{
	return tally_sums(tally).waiting;
}

static void test_empty(void **state)
{
	struct tally *tally = *state;
	struct tally_sums sums = tally_sums(tally), zero = { 0 };
	char *rel[3];

	assert_memory_equal(&sums, &zero, sizeof(sums));
	assert_int_equal(tally_sample(tally, rel, 3), 0);
	tally_gone(tally, "nothing");
	tally_gone_beneath(tally, "");
	tally_backups_begin(tally);
	tally_backups_end(tally);
	assert_false(tell(tally, "nothing", MERGE_MERGED));
	sums = tally_sums(tally);
	assert_memory_equal(&sums, &zero, sizeof(sums));
	tally_free(NULL);
}

static void test_one_file(void **state)
{
	struct tally *tally = *state;

	assert_false(live(tally, "a"));
	assert_sums(tally, 1, 0, 0, 0, 0, 1);
	assert_false(live(tally, "a"));
	assert_sums(tally, 1, 0, 0, 0, 0, 1);
	tell(tally, "a", MERGE_BUSY);
	assert_sums(tally, 1, 0, 0, 0, 0, 1);
	tell(tally, "a", MERGE_SKIPPED);
	assert_sums(tally, 1, 0, 0, 1, 0, 0);
	tell(tally, "a", MERGE_UNCHANGED);
	assert_sums(tally, 1, 0, 1, 0, 0, 0);
	tell(tally, "a", MERGE_MERGED);
	assert_sums(tally, 1, 1, 0, 0, 0, 0);
	tell(tally, "a", MERGE_RESTING);
	assert_sums(tally, 1, 1, 0, 0, 0, 1);
	tell(tally, "a", MERGE_UNCHANGED);              /* merged it stays */
	assert_sums(tally, 1, 1, 0, 0, 0, 0);
	tell(tally, "a", MERGE_SKIPPED);
	assert_sums(tally, 1, 1, 0, 0, 0, 0);
	tell(tally, "a", MERGE_FAILED);
	assert_sums(tally, 1, 0, 0, 0, 1, 0);
	tell(tally, "a", MERGE_GONE);
	assert_sums(tally, 0, 0, 0, 0, 0, 0);
	assert_int_equal(waiting(tally), 0);
}

/* Also by way of a failure: the third invariant of tally.h. */
static void test_merged_stays_merged(void **state)
{
	struct tally *tally = *state;

	live(tally, "a");
	tell(tally, "a", MERGE_MERGED);
	tell(tally, "a", MERGE_FAILED);
	assert_sums(tally, 1, 0, 0, 0, 1, 0);
	tell(tally, "a", MERGE_UNCHANGED);
	assert_sums(tally, 1, 1, 0, 0, 0, 0);
}

/* From every state by every outcome, the sums are of one file. */
static void test_every_change(void **state)
{
	static const enum merge_outcome all[] = {
		MERGE_MERGED, MERGE_UNCHANGED, MERGE_SKIPPED, MERGE_FAILED, MERGE_BUSY,
		MERGE_RESTING, MERGE_TORN, MERGE_QUIET
	};
	struct tally *tally = *state;

	for (size_t i = 0; i < 8; i++)
		for (size_t j = 0; j < 8; j++) {
			live(tally, "a");
			tell(tally, "a", all[i]);
			uint64_t changes = tally_sums(tally).changes;
			tell(tally, "a", all[j]);
			struct tally_sums sums = tally_sums(tally);
			assert_int_equal(sums.live, 1);
			assert_true(sums.changes > changes);
			assert_true(sums.merged + sums.unchanged + sums.skipped + sums.failed <= 1);
			assert_int_equal(sums.pending, all[j] >= MERGE_BUSY);
			if (all[j] < MERGE_GONE)
				assert_int_equal(sums.merged + sums.unchanged + sums.skipped +
						 sums.failed, 1);
			if (all[j] == MERGE_FAILED)
				assert_int_equal(sums.failed, 1);
			tally_gone(tally, "a");
			assert_sums(tally, 0, 0, 0, 0, 0, 0);
			assert_int_equal(tally_sums(tally).refused, 0);
			assert_int_equal(tally_sums(tally).unsettled, 0);
		}
}

static void test_cells(void **state)
{
	struct tally *tally = *state;
	struct merge_result r = result(MERGE_MERGED, "");

	live(tally, "a");
	r.cells = 5;
	tally_result(tally, "a", &r, false);
	r.cells = UINT64_C(1) << 40;
	tally_result(tally, "a", &r, false);
	tally_gone(tally, "a");
	assert_true(tally_sums(tally).cells == (UINT64_C(1) << 40) + 5);
}

static void test_settled(void **state)
{
	struct tally *tally = *state;
	struct merge_result r = result(MERGE_MERGED, "");

	assert_false(live(tally, "a"));
	assert_int_equal(tally_sums(tally).unsettled, 1);
	tally_result(tally, "a", &r, false);
	assert_int_equal(tally_sums(tally).unsettled, 1);
	assert_false(live(tally, "a"));
	r.settled = true;
	tally_result(tally, "a", &r, false);
	assert_int_equal(tally_sums(tally).unsettled, 0);
	assert_true(live(tally, "a"));
	/* Settled, but to be tried again. */
	r.outcome = MERGE_BUSY;
	tally_result(tally, "a", &r, true);
	assert_false(live(tally, "a"));
	r.outcome = MERGE_MERGED;
	tally_result(tally, "a", &r, false);
	assert_true(live(tally, "a"));
	/* Gone and come back it is a new file. */
	tally_gone(tally, "a");
	assert_false(live(tally, "a"));
	/* Nothing to do for one without counterpart, until there is one. */
	assert_false(live(tally, "b"));
	tell(tally, "b", MERGE_SKIPPED);
	assert_true(live(tally, "b"));
	assert_int_equal(tally_sums(tally).unsettled, 1);       /* a */
	backup(tally, "b");
	assert_false(live(tally, "b"));
	tell(tally, "b", MERGE_FAILED);
	assert_false(live(tally, "b"));
}

static void test_waiting(void **state)
{
	struct tally *tally = *state;

	tally_backups_begin(tally);
	assert_false(backup(tally, "a"));
	assert_false(backup(tally, "b"));
	assert_false(backup(tally, "b"));       /* in a second source */
	tally_backups_end(tally);
	assert_int_equal(waiting(tally), 2);
	assert_sums(tally, 0, 0, 0, 0, 0, 0);
	live(tally, "a");
	assert_int_equal(waiting(tally), 1);
	assert_sums(tally, 1, 0, 0, 0, 0, 1);
	live(tally, "only live");
	assert_int_equal(waiting(tally), 1);
	tally_gone(tally, "a");
	tally_gone(tally, "only live");
	assert_int_equal(waiting(tally), 2);
	tally_gone(tally, "b");                 /* was never in live */
	assert_int_equal(waiting(tally), 2);
	/* What a later walk does not meet is forgotten; what stands in live stays. */
	live(tally, "a");
	tell(tally, "a", MERGE_MERGED);
	tally_backups_begin(tally);
	backup(tally, "c");
	assert_int_equal(waiting(tally), 2);
	tally_backups_end(tally);
	assert_int_equal(waiting(tally), 1);
	assert_sums(tally, 1, 1, 0, 0, 0, 0);
	tally_gone(tally, "a");
	assert_int_equal(waiting(tally), 1);
	tally_backups_begin(tally);
	tally_backups_end(tally);
	assert_int_equal(waiting(tally), 0);
}

/* A backup turns up for a file that was told that there is none. */
static void test_look(void **state)
{
	struct tally *tally = *state;

	live(tally, "a");
	live(tally, "b");
	live(tally, "c");
	live(tally, "d");
	tell(tally, "b", MERGE_SKIPPED);
	tell(tally, "c", MERGE_UNCHANGED);
	tell(tally, "d", MERGE_FAILED);
	tally_backups_begin(tally);
	assert_false(backup(tally, "a"));       /* will be looked at anyway */
	assert_true(backup(tally, "b"));
	assert_true(backup(tally, "b"));
	assert_false(backup(tally, "c"));
	assert_false(backup(tally, "d"));
	assert_false(backup(tally, "e"));
	tally_backups_end(tally);
	assert_int_equal(waiting(tally), 1);
	tell(tally, "b", MERGE_MERGED);
	tally_backups_begin(tally);
	assert_false(backup(tally, "b"));
	assert_true(backup(tally, "b"));        /* a second backup has it now */
	tally_backups_end(tally);
}

static void test_said_once(void **state)
{
	struct tally *tally = *state;
	struct merge_result partial = result(MERGE_MERGED, "a part");

	partial.partial = true;
	live(tally, "a");
	live(tally, "b");
	assert_true(fail_with(tally, "a", "one"));
	assert_false(fail_with(tally, "a", "one"));
	assert_true(fail_with(tally, "b", "one"));
	assert_true(fail_with(tally, "a", "two"));
	assert_false(fail_with(tally, "a", "two"));
	assert_int_equal(tally_sums(tally).refused, 2);
	assert_int_equal(tally_sums(tally).failed, 2);
	/* Between the tries it was busy: that does not make it new. */
	tell(tally, "a", MERGE_TORN);
	assert_false(fail_with(tally, "a", "two"));
	/* It was mended and broke again: that does. */
	tell(tally, "a", MERGE_UNCHANGED);
	assert_int_equal(tally_sums(tally).refused, 1);
	assert_true(fail_with(tally, "a", "two"));
	/* A part of it. */
	assert_true(tally_result(tally, "a", &partial, false));
	assert_false(tally_result(tally, "a", &partial, false));
	assert_int_equal(tally_sums(tally).refused, 2);
	assert_int_equal(tally_sums(tally).failed, 1);
	assert_int_equal(tally_sums(tally).merged, 1);
	/* Another file of the same name is another. */
	tally_gone(tally, "b");
	assert_int_equal(tally_sums(tally).refused, 1);
	live(tally, "b");
	assert_true(fail_with(tally, "b", "one"));
	/* Nothing is said of what is not in live any more. */
	tally_gone(tally, "b");
	assert_false(fail_with(tally, "b", "three"));
	assert_false(fail_with(tally, "never there", "one"));
}

/* A refusal that is looked at again once in a while holds nothing up. */
static void test_failed_is_not_pending(void **state)
{
	struct tally *tally = *state;
	struct merge_result r = result(MERGE_FAILED, "words");

	live(tally, "a");
	assert_true(tally_result(tally, "a", &r, true));
	assert_sums(tally, 1, 0, 0, 0, 1, 0);
	assert_int_equal(tally_sums(tally).unsettled, 1);
}

static void test_gone_beneath(void **state)
{
	struct tally *tally = *state;
	static const char *const files[] = { "h/a", "h/b/c", "h", "hh/a", "h.rrd", "g/h/a", "h /x",
		"h-x" };

	for (size_t i = 0; i < 8; i++)
		live(tally, files[i]);
	backup(tally, "h/b/c");
	backup(tally, "h/only");
	tally_gone_beneath(tally, "h");
	assert_int_equal(tally_sums(tally).live, 6);
	assert_int_equal(waiting(tally), 2);
	tally_gone_beneath(tally, "nowhere");
	tally_gone_beneath(tally, "g/h");
	assert_int_equal(tally_sums(tally).live, 5);
	tally_gone_beneath(tally, "");
	assert_sums(tally, 0, 0, 0, 0, 0, 0);
	assert_int_equal(waiting(tally), 2);
}

static void test_sample(void **state)
{
	struct tally *tally = *state;
	char *rel[5];

	live(tally, "a");
	live(tally, "b\n\xff");
	live(tally, "c");
	backup(tally, "0");
	size_t n = tally_sample(tally, rel, 2);
	assert_int_equal(n, 2);
	assert_string_not_equal(rel[0], rel[1]);
	for (size_t i = 0; i < n; i++)
		free(rel[i]);
	n = tally_sample(tally, rel, 5);
	assert_int_equal(n, 3);
	for (size_t i = 0; i < n; i++) {
		assert_string_not_equal(rel[i], "0");
		free(rel[i]);
	}
	assert_int_equal(tally_sample(tally, rel, 0), 0);
}

/* ---- any sequence at all, against a plain list ---- */

enum { NEW = 100, NAMES = 40 };

struct model {
	bool live, backup, met, pending, settled, partial;
	unsigned outcome;       /* an enum merge_outcome, or NEW */
};

static void assert_as_modelled(struct tally *tally, const struct model *model)
{
	struct tally_sums sums = tally_sums(tally), mine = { 0 };

	for (size_t i = 0; i < NAMES; i++) {
		const struct model *m = &model[i];

		mine.waiting += m->backup && !m->live;
		if (!m->live)
			continue;
		mine.live++;
		mine.merged += m->outcome == MERGE_MERGED;
		mine.unchanged += m->outcome == MERGE_UNCHANGED;
		mine.skipped += m->outcome == MERGE_SKIPPED;
		mine.failed += m->outcome == MERGE_FAILED;
		mine.pending += m->pending;
		mine.unsettled += !m->settled && m->outcome != MERGE_SKIPPED;
	}
	assert_int_equal(sums.live, mine.live);
	assert_int_equal(sums.merged, mine.merged);
	assert_int_equal(sums.unchanged, mine.unchanged);
	assert_int_equal(sums.skipped, mine.skipped);
	assert_int_equal(sums.failed, mine.failed);
	assert_int_equal(sums.pending, mine.pending);
	assert_int_equal(sums.unsettled, mine.unsettled);
	assert_int_equal(sums.waiting, mine.waiting);
}

static void result_at_random(struct tally *tally, const char *name, struct model *m)
{
	/* A merged file that failed is for test_merged_stays_merged. */
	static const enum merge_outcome outcomes[] = { MERGE_MERGED, MERGE_UNCHANGED, MERGE_SKIPPED,
		MERGE_GONE, MERGE_BUSY, MERGE_TORN, MERGE_FAILED };
	enum merge_outcome outcome = outcomes[rand() % (m->outcome == MERGE_MERGED ? 6 : 7)];
	struct merge_result r = result(outcome, "words");

	r.settled = rand() % 2;
	tally_result(tally, name, &r, outcome >= MERGE_BUSY);
	if (!m->live)
		return;
	if (outcome == MERGE_GONE) {
		*m = (struct model){ .backup = m->backup, .met = m->met };
		return;
	}
	m->pending = outcome >= MERGE_BUSY;
	m->settled = r.settled;
	if (outcome == MERGE_MERGED || outcome == MERGE_FAILED ||
	    (outcome < MERGE_GONE && m->outcome != MERGE_MERGED))
		m->outcome = outcome;
}

static void end_backups(struct tally *tally, struct model *model)
{
	tally_backups_end(tally);
	for (size_t i = 0; i < NAMES; i++)
		model[i].backup = model[i].met;
	tally_backups_begin(tally);
	for (size_t i = 0; i < NAMES; i++)
		model[i].met = false;
}

static void test_random(void **state)
{
	struct tally *tally = *state;
	struct model model[NAMES] = { { 0 } };
	char name[32], dir[8];

	srand(seed);
	tally_backups_begin(tally);
	for (unsigned n = 0; n < 20000; n++) {
		size_t i = (size_t)rand() % NAMES;
		struct model *m = &model[i];

		snprintf(name, sizeof(name), "d%zu/f%zu", i % 4, i);
		switch (rand() % 100) {
		default:
			live(tally, name);
			if (!m->live)
				*m = (struct model){ .live = true, .pending = true, .outcome = NEW,
						     .backup = m->backup, .met = m->met };
			break;
		case 40 ... 70:
			result_at_random(tally, name, m);
			break;
		case 71 ... 80:
			backup(tally, name);
			m->backup = m->met = true;
			break;
		case 81 ... 85:
			tally_gone(tally, name);
			*m = (struct model){ .backup = m->backup, .met = m->met };
			break;
		case 86:
			snprintf(dir, sizeof(dir), "d%zu", i % 4);
			tally_gone_beneath(tally, dir);
			for (size_t j = i % 4; j < NAMES; j += 4)
				model[j] = (struct model){ .backup = model[j].backup,
							   .met = model[j].met };
			break;
		case 87:
			end_backups(tally, model);
			break;
		}
		assert_as_modelled(tally, model);
	}
}

static void test_many(void **state)
{
	enum { FILES = 100000 };
	struct tally *tally = *state;
	char name[64];

	for (int i = 0; i < FILES; i++) {
		snprintf(name, sizeof(name), "host%d/service%d.rrd", i % 997, i);
		live(tally, name);
		backup(tally, name);
		tell(tally, name, MERGE_MERGED);
	}
	assert_sums(tally, FILES, FILES, 0, 0, 0, 0);
	tally_gone_beneath(tally, "host5");
	assert_int_equal(tally_sums(tally).live + waiting(tally), FILES);
	tally_gone_beneath(tally, "");
	assert_int_equal(waiting(tally), FILES);
	tally_backups_begin(tally);
	tally_backups_end(tally);
	assert_int_equal(waiting(tally), 0);
}

static void *crowd(void *arg)
{
	struct tally *tally = arg;
	char name[16];

	for (int i = 0; i < 3000; i++) {
		snprintf(name, sizeof(name), "f%d", i % 50);
		live(tally, name);
		backup(tally, name);
		tell(tally, name, (enum merge_outcome)(i % 4));
		if (i % 3 == 0)
			tally_gone(tally, name);
		if (i % 500 == 0)
			tally_gone_beneath(tally, "");
		tally_sums(tally);
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct tally *tally = *state;
	pthread_t threads[4];

	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, crowd, tally), 0);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(pthread_join(threads[i], NULL), 0);
	tally_gone_beneath(tally, "");
	assert_sums(tally, 0, 0, 0, 0, 0, 0);
	assert_int_equal(waiting(tally), 50);
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_empty, setup, teardown),
		cmocka_unit_test_setup_teardown(test_one_file, setup, teardown),
		cmocka_unit_test_setup_teardown(test_merged_stays_merged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_every_change, setup, teardown),
		cmocka_unit_test_setup_teardown(test_cells, setup, teardown),
		cmocka_unit_test_setup_teardown(test_settled, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waiting, setup, teardown),
		cmocka_unit_test_setup_teardown(test_look, setup, teardown),
		cmocka_unit_test_setup_teardown(test_said_once, setup, teardown),
		cmocka_unit_test_setup_teardown(test_failed_is_not_pending, setup, teardown),
		cmocka_unit_test_setup_teardown(test_gone_beneath, setup, teardown),
		cmocka_unit_test_setup_teardown(test_sample, setup, teardown),
		cmocka_unit_test_setup_teardown(test_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
		cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
	};

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	alarm(120);                     /* a lock held twice would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
