/* unit-tally: the sums through every change, what is settled, what is said, what is forgotten. */
#include "config.h"
#include "tally.h"

#include "tallying.h"

/* ---- nothing, one file ---- */

static void test_empty(void **state)
{
	struct tally *tally = *state;
	struct tally_sums zero = { 0 };
	struct reason why;
	size_t count = 9;

	assert_same_sums(tally, &zero);
	for (int which = TALLY_LIVE; which <= TALLY_DENIED; which++) {
		assert_null(tally_list(tally, (enum tally_which)which, MERGE_ALLOWED, 3, &count));
		assert_int_equal(count, 0);
	}
	tally_list_free(NULL, 0);
	tally_gone(tally, "nothing");
	tally_gone_beneath(tally, "");
	tally_backups_begin(tally);
	tally_backups_end(tally, true);
	tally_backups_begin(tally);
	tally_backups_end(tally, false);
	tally_scan_begin(tally);
	tally_new_sources(tally);
	assert_int_equal(tally_written_to(tally, "nothing", false), 1);
	assert_false(tally_same(tally, "nothing", &first, false));
	assert_false(tally_same(tally, "nothing", &first, true));
	assert_false(tally_why(tally, "nothing", &why));
	tell(tally, "nothing", MERGE_MERGED);
	tell(tally, "nothing", MERGE_FAILED);
	assert_next(tally, NULL, NULL, false);
	assert_same_sums(tally, &zero);
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
			assert_int_equal(sums.retried, sums.pending);
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
	r.counts.cells = 5;
	tally_result(tally, "a", &r, false);
	r.counts.cells = UINT64_C(1) << 40;
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

/* ---- while the root of a backup is missing ---- */

/* A try that found the backup's root missing. */
static void try_while_away(struct tally *tally, const char *rel, enum merge_outcome outcome,
			   const struct io_stamp *stamp)
{
	struct merge_result r = result(outcome, "");

	r.source_missing = true;
	r.sources = 0;
	r.stamp = *stamp;
	tally_result(tally, rel, &r, false);
}

static void test_kept_while_away(void **state)
{
	struct tally *tally = *state;
	struct io_stamp updated = first;

	updated.ctime_ns++;             /* an update changes the times, and nothing else */
	updated.mtime_ns++;
	finish(tally, "a", &first);
	try_while_away(tally, "a", MERGE_SKIPPED, &updated);
	assert_sums(tally, 1, 0, 1, 0, 0, 0);
	assert_int_equal(tally_sums(tally).unsettled, 0);
	assert_int_equal(tally_sums(tally).paired, 1);
	assert_true(live(tally, "a"));
	/* Another source was there and had nothing more. */
	try_while_away(tally, "a", MERGE_UNCHANGED, &updated);
	assert_true(live(tally, "a"));
	tally_backups_begin(tally);
	assert_false(backup(tally, "a"));       /* we were done with it */
	tally_backups_end(tally, true);

	/* A merged one stays merged. */
	struct merge_result r = result(MERGE_MERGED, "");
	r.settled = true;
	r.stamp = first;
	live(tally, "b");
	tally_result(tally, "b", &r, false);
	try_while_away(tally, "b", MERGE_SKIPPED, &first);
	assert_sums(tally, 2, 1, 1, 0, 0, 0);
	assert_true(live(tally, "b"));
}

/* Who asks for a file that is done waits for it; where its backup is away, it is done as before. */
static void test_asked(void **state)
{
	struct tally *tally = *state;

	tally_asked(tally, "nothing");
	assert_sums(tally, 0, 0, 0, 0, 0, 0);
	finish(tally, "a", &first);
	tally_asked(tally, "a");
	assert_sums(tally, 1, 0, 1, 0, 0, 1);
	assert_false(live(tally, "a"));
	assert_false(tally_same(tally, "a", &first, false));
	try_while_away(tally, "a", MERGE_SKIPPED, &first);
	assert_sums(tally, 1, 0, 1, 0, 0, 0);
	assert_true(live(tally, "a"));
	assert_int_equal(tally_sums(tally).unsettled, 0);
	tell(tally, "b", MERGE_BUSY);
	live(tally, "b");
	tell(tally, "b", MERGE_BUSY);
	assert_int_equal(tally_sums(tally).retried, 1);
	tally_asked(tally, "b");
	assert_int_equal(tally_sums(tally).retried, 0);
	assert_int_equal(tally_sums(tally).pending, 1);
}

/* Another database, or nobody knows which: it is to be looked at when the backup is back. */
static void test_not_kept(void **state)
{
	struct tally *tally = *state;
	struct io_stamp other[4] = { first, first, first, first };

	other[0].ino++;
	other[1].size++;
	other[2].dev++;
	other[3].ino = 0;
	for (size_t i = 0; i < 4; i++) {
		finish(tally, "a", &first);
		try_while_away(tally, "a", MERGE_SKIPPED, &other[i]);
		assert_false(live(tally, "a"));
		assert_int_equal(tally_sums(tally).unsettled, 1);
		assert_int_equal(tally_sums(tally).paired, 0);
		tally_backups_begin(tally);
		assert_true(backup(tally, "a"));
		tally_backups_end(tally, true);
		tally_gone(tally, "a");
	}
	/* No root was missing: the backup's file is gone. */
	struct merge_result r = result(MERGE_UNCHANGED, "");
	finish(tally, "a", &first);
	r.stamp = first;
	tally_result(tally, "a", &r, false);
	assert_false(live(tally, "a"));
	/* It was not settled before. */
	try_while_away(tally, "a", MERGE_SKIPPED, &first);
	assert_false(live(tally, "a"));
	assert_sums(tally, 1, 0, 1, 0, 0, 0);   /* unchanged is what is known */
	/* It was never looked at before. */
	live(tally, "new");
	try_while_away(tally, "new", MERGE_SKIPPED, &first);
	assert_sums(tally, 2, 0, 1, 1, 0, 0);
}

/* ---- a stat instead of a look ---- */

enum have { PENDING, SETTLED, UNSETTLED, SKIPPED, SKIPPED_BACKED, SETTLED_BUSY, FORGOTTEN, HAVES };

static void make(struct tally *tally, enum have have)
{
	struct merge_result r = result(have == SKIPPED || have == SKIPPED_BACKED ? MERGE_SKIPPED
				       : MERGE_UNCHANGED, "");

	live(tally, "a");
	if (have == PENDING)
		return;
	r.stamp = first;
	r.settled = have == SETTLED || have == SETTLED_BUSY || have == FORGOTTEN;
	tally_result(tally, "a", &r, false);
	if (have == SKIPPED_BACKED)
		backup(tally, "a");
	r.outcome = MERGE_BUSY;
	if (have == SETTLED_BUSY)
		tally_result(tally, "a", &r, true);
	if (have == FORGOTTEN)
		tally_new_sources(tally);
}

static void unmake(struct tally *tally)
{
	tally_gone(tally, "a");
	tally_backups_begin(tally);
	tally_backups_end(tally, true);
}

static void test_same(void **state)
{
	struct tally *tally = *state;
	struct io_stamp now[5] = { first, first, first, first, first };
	enum { SAME, TOUCHED };

	now[TOUCHED].ctime_ns--;        /* any other time, not a later one alone */
	now[2].ino++;
	now[3].size--;
	now[4].dev++;
	for (unsigned n = 0; n < HAVES * 5 * 2; n++) {
		enum have have = (enum have)(n / 10);
		unsigned looks = n % 5;
		bool rewritten = n / 5 % 2, done = have == SETTLED || have == SKIPPED;
		bool pending = have == PENDING || have == SETTLED_BUSY || have == FORGOTTEN;
		bool other = looks > TOUCHED || (rewritten && looks == TOUCHED) || have == PENDING;

		make(tally, have);
		struct tally_sums before = tally_sums(tally);
		bool same = tally_same(tally, "a", &now[looks], rewritten);
		if (same != (!other && (done || (rewritten && !pending))))
			fail_msg("have=%u looks=%u rewritten=%d: %d", have, looks, rewritten, same);
		if (other) {            /* as if it were new, until it was looked at */
			assert_int_equal(tally_sums(tally).pending, 1);
			assert_int_equal(tally_sums(tally).unsettled, have != SKIPPED);
			assert_false(live(tally, "a"));
			assert_false(tally_same(tally, "a", &first, false));
			assert_false(tally_same(tally, "a", &first, true));
		} else {
			assert_same_sums(tally, &before);
		}
		unmake(tally);
	}
	backup(tally, "b");
	assert_false(tally_same(tally, "b", &first, false));
	assert_int_equal(tally_sums(tally).live, 0);
}

/* What was done is done for that database: the next look says which that is. */
static void test_same_after_a_look(void **state)
{
	struct tally *tally = *state;
	struct io_stamp other = first, none = { 0 };

	other.ino++;
	other.ctime_ns++;
	finish(tally, "a", &first);
	assert_false(tally_same(tally, "a", &other, false));
	finish(tally, "a", &other);
	assert_true(tally_same(tally, "a", &other, false));
	assert_true(tally_same(tally, "a", &other, true));
	assert_false(tally_same(tally, "a", &first, false));
	/* A try that saw nothing leaves what was known. */
	finish(tally, "a", &other);
	finish(tally, "a", &none);
	assert_true(tally_same(tally, "a", &other, true));
	/* One that will come again has seen it, and is not done. */
	struct merge_result r = result(MERGE_BUSY, "");
	r.stamp = first;
	tally_result(tally, "a", &r, true);
	assert_false(tally_same(tally, "a", &first, true));
	/* Gone and come back, it is not known. */
	finish(tally, "a", &first);
	tally_gone(tally, "a");
	live(tally, "a");
	tell(tally, "a", MERGE_SKIPPED);
	assert_false(tally_same(tally, "a", &first, false));
}

/* ---- false alarms ---- */

static int64_t clock_ns;

/* Others wrote it, a stat shows; then it was looked at. */
static void alarm_and(struct tally *tally, const char *rel, enum merge_outcome outcome,
		      uint64_t cells)
{
	struct merge_result r = result(outcome, outcome == MERGE_FAILED ? "words" : "");

	r.counts.cells = cells;
	r.stamp = first;
	r.stamp.ctime_ns = ++clock_ns;
	assert_false(tally_same(tally, rel, &r.stamp, true));
	tally_result(tally, rel, &r, outcome >= MERGE_BUSY);
}

static void test_false_alarms(void **state)
{
	static const unsigned in_s[] = { 1, 1, 1, 60, 120, 240, 480, 960, 1920, 3600, 3600 };
	struct tally *tally = *state;
	struct merge_result r = result(MERGE_UNCHANGED, "");

	clock_ns = 100;
	finish(tally, "a", &first);
	finish(tally, "b", &first);
	assert_int_equal(tally_written_to(tally, "a", false), 1);
	for (size_t i = 0; i < sizeof(in_s) / sizeof(in_s[0]); i++) {
		alarm_and(tally, "a", i == 3 ? MERGE_FAILED : MERGE_UNCHANGED, 0);
		assert_int_equal(tally_written_to(tally, "a", false), in_s[i]);
		assert_int_equal(tally_written_to(tally, "b", false), 1);
	}
	for (size_t i = 0; i < 300; i++)        /* however long it goes on */
		alarm_and(tally, "a", MERGE_UNCHANGED, 0);
	assert_int_equal(tally_written_to(tally, "a", false), 3600);
	alarm_and(tally, "a", MERGE_MERGED, 5);
	assert_int_equal(tally_written_to(tally, "a", false), 1);
	for (size_t i = 0; i < 4; i++)
		alarm_and(tally, "a", MERGE_UNCHANGED, 0);
	assert_int_equal(tally_written_to(tally, "a", false), 60);

	/* What was not the fault of an alarm does not count: our own event, a look because of
	 * something else, a scan's stat. */
	r.stamp = first;
	r.stamp.ctime_ns = clock_ns;
	assert_true(tally_same(tally, "a", &r.stamp, true));
	tally_result(tally, "a", &r, false);
	r.stamp.ino++;
	assert_false(tally_same(tally, "a", &r.stamp, false));
	tally_result(tally, "a", &r, false);
	assert_int_equal(tally_written_to(tally, "a", false), 60);

	/* An alarm counts once, at the end of its look. */
	alarm_and(tally, "a", MERGE_BUSY, 0);
	assert_int_equal(tally_written_to(tally, "a", false), 60);
	tally_result(tally, "a", &r, false);
	assert_int_equal(tally_written_to(tally, "a", false), 120);
	tally_result(tally, "a", &r, false);
	assert_int_equal(tally_written_to(tally, "a", false), 120);

	backup(tally, "a");
	tally_gone(tally, "a");
	live(tally, "a");
	assert_int_equal(tally_written_to(tally, "a", false), 1);
}

/* ---- scans ---- */

static void test_unmet(void **state)
{
	struct tally *tally = *state;

	live(tally, "event");
	assert_false(scanned(tally, "a"));
	assert_list(tally, TALLY_UNMET, MERGE_ALLOWED, "");     /* no scan has begun */
	tally_scan_begin(tally);
	scanned(tally, "a");
	scanned(tally, "b");
	backup(tally, "c");
	assert_list(tally, TALLY_UNMET, MERGE_ALLOWED, "event");
	tally_scan_begin(tally);
	assert_list(tally, TALLY_UNMET, MERGE_ALLOWED, "a b event");
	scanned(tally, "event");
	live(tally, "b");                       /* an event is no scan */
	assert_list(tally, TALLY_UNMET, MERGE_ALLOWED, "a b");
	tally_gone(tally, "a");
	assert_list(tally, TALLY_UNMET, MERGE_ALLOWED, "b");
	scanned(tally, "b");
	assert_list(tally, TALLY_UNMET, MERGE_ALLOWED, "");
	assert_list(tally, TALLY_LIVE, MERGE_ALLOWED, "b event");
}

/* ---- backups ---- */

static void test_waiting(void **state)
{
	struct tally *tally = *state;

	tally_backups_begin(tally);
	assert_false(backup(tally, "a"));
	assert_false(backup(tally, "b"));
	assert_false(backup(tally, "b"));       /* in a second source */
	tally_backups_end(tally, true);
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
	tally_backups_end(tally, true);
	assert_int_equal(waiting(tally), 1);
	assert_sums(tally, 1, 1, 0, 0, 0, 0);
	tally_gone(tally, "a");
	assert_int_equal(waiting(tally), 1);
	tally_backups_begin(tally);
	tally_backups_end(tally, true);
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
	tally_backups_end(tally, true);
	assert_int_equal(waiting(tally), 1);
	tell(tally, "b", MERGE_MERGED);
	tally_backups_begin(tally);
	assert_false(backup(tally, "b"));
	assert_true(backup(tally, "b"));        /* a second backup has it now */
	tally_backups_end(tally, true);
}

/* What a backup holds that is away now is not forgotten. */
static void test_backups_away(void **state)
{
	struct tally *tally = *state;

	live(tally, "skipped");
	tell(tally, "skipped", MERGE_SKIPPED);
	tally_backups_begin(tally);
	backup(tally, "a");
	backup(tally, "b");
	backup(tally, "skipped");
	tally_backups_end(tally, true);
	tally_backups_begin(tally);
	backup(tally, "b");
	struct tally_sums before = tally_sums(tally);
	tally_backups_end(tally, false);
	assert_same_sums(tally, &before);
	assert_list(tally, TALLY_WAITING, MERGE_ALLOWED, "a b");
	assert_int_equal(tally_sums(tally).unsettled, 1);
	assert_false(live(tally, "skipped"));
	/* A later one begins anew, and forgets. */
	tally_backups_begin(tally);
	backup(tally, "a");
	tally_backups_end(tally, true);
	assert_list(tally, TALLY_WAITING, MERGE_ALLOWED, "a");
	assert_int_equal(tally_sums(tally).unsettled, 0);
	assert_true(live(tally, "skipped"));
}

static void test_new_sources(void **state)
{
	struct tally *tally = *state;
	struct reason why;

	finish(tally, "done", &first);
	live(tally, "skipped");
	live(tally, "merged");
	live(tally, "failed");
	tell(tally, "skipped", MERGE_SKIPPED);
	tell(tally, "merged", MERGE_MERGED);
	fail_with(tally, "failed", "words", MERGE_ALLOWED);
	backup(tally, "waiting");
	backup(tally, "merged");
	tally_new_sources(tally);
	assert_sums(tally, 4, 1, 1, 1, 1, 4);
	assert_int_equal(waiting(tally), 0);
	assert_int_equal(tally_sums(tally).paired, 0);
	assert_int_equal(tally_sums(tally).unsettled, 3);       /* nothing is known of skipped */
	assert_false(live(tally, "done"));
	assert_false(live(tally, "skipped"));
	assert_false(tally_same(tally, "done", &first, false));
	assert_false(tally_same(tally, "skipped", &first, false));
	/* Forgotten altogether. */
	live(tally, "waiting");
	tally_gone(tally, "waiting");
	tally_gone(tally, "merged");
	assert_int_equal(waiting(tally), 0);
	/* A refusal stands until the next try says another thing. */
	assert_true(tally_why(tally, "failed", &why));
	assert_next(tally, "failed", "words", false);
	fail_with(tally, "failed", "words", MERGE_ALLOWED);
	assert_next(tally, NULL, NULL, false);
	/* A walk finds for the new what it found for the old. */
	finish(tally, "done", &first);
	tell(tally, "skipped", MERGE_SKIPPED);
	tally_backups_begin(tally);
	assert_false(backup(tally, "done"));
	assert_true(backup(tally, "skipped"));
	tally_backups_end(tally, true);
}

/* Merged once, and no backup has it any more: it is merged, and nothing is left to do. */
static void test_merged_without_counterpart(void **state)
{
	struct tally *tally = *state;
	struct merge_result r = result(MERGE_SKIPPED, "");

	live(tally, "a");
	tell(tally, "a", MERGE_MERGED);
	tally_new_sources(tally);
	r.stamp = first;
	tally_result(tally, "a", &r, false);
	assert_sums(tally, 1, 1, 0, 0, 0, 0);
	assert_int_equal(tally_sums(tally).unsettled, 0);
	assert_true(live(tally, "a"));
	assert_true(tally_same(tally, "a", &first, false));
	tally_backups_begin(tally);
	assert_true(backup(tally, "a"));
	assert_int_equal(tally_sums(tally).unsettled, 1);
	assert_false(live(tally, "a"));
}

/* ---- refusals ---- */

static void test_said_once(void **state)
{
	struct tally *tally = *state;
	struct merge_result partial = result(MERGE_MERGED, "a part");

	partial.partial = true;
	live(tally, "a");
	live(tally, "b");
	fail_with(tally, "b", "one", MERGE_ALLOWED);
	fail_with(tally, "a", "one", MERGE_ALLOWED);
	fail_with(tally, "a", "one", MERGE_ALLOWED);
	assert_int_equal(tally_sums(tally).unsaid, 2);
	assert_next(tally, "b", "one", false);          /* the oldest first */
	assert_next(tally, "a", "one", false);
	assert_next(tally, NULL, NULL, false);
	fail_with(tally, "b", "one", MERGE_ALLOWED);
	fail_with(tally, "a", "two", MERGE_ALLOWED);
	assert_next(tally, "a", "two", false);
	assert_next(tally, NULL, NULL, false);
	assert_int_equal(tally_sums(tally).refused, 2);
	assert_int_equal(tally_sums(tally).failed, 2);
	/* Between the tries it was busy: that does not make it new. */
	tell(tally, "a", MERGE_TORN);
	fail_with(tally, "a", "two", MERGE_ALLOWED);
	assert_next(tally, NULL, NULL, false);
	/* It was mended and broke again: that does. */
	tell(tally, "a", MERGE_UNCHANGED);
	assert_int_equal(tally_sums(tally).refused, 1);
	fail_with(tally, "a", "two", MERGE_ALLOWED);
	assert_next(tally, "a", "two", false);
	/* A part of it. */
	tally_result(tally, "a", &partial, false);
	assert_next(tally, "a", "a part", true);
	tally_result(tally, "a", &partial, false);
	assert_next(tally, NULL, NULL, false);
	assert_int_equal(tally_sums(tally).refused, 2);
	assert_int_equal(tally_sums(tally).failed, 1);
	assert_int_equal(tally_sums(tally).merged, 1);
	/* Another file of the same name is another. */
	tally_gone(tally, "b");
	assert_int_equal(tally_sums(tally).refused, 1);
	live(tally, "b");
	fail_with(tally, "b", "one", MERGE_ALLOWED);
	assert_next(tally, "b", "one", false);
	/* Nothing is said of what is not in live any more. */
	tally_gone(tally, "b");
	fail_with(tally, "b", "three", MERGE_ALLOWED);
	fail_with(tally, "never there", "one", MERGE_ALLOWED);
	assert_next(tally, NULL, NULL, false);
}

/* What was not said yet and does not hold any more is not said. */
static void test_overtaken(void **state)
{
	struct tally *tally = *state;
	char rel[4] = "";
	struct reason why;
	bool partial;

	for (const char *at = "abcde"; *at; at++) {
		char name[] = { *at, '\0' };

		live(tally, name);
		fail_with(tally, name, "one", MERGE_ALLOWED);
	}
	assert_int_equal(tally_sums(tally).unsaid, 5);
	fail_with(tally, "a", "two", MERGE_ALLOWED);    /* now this alone */
	tell(tally, "b", MERGE_UNCHANGED);
	backup(tally, "c");
	tally_gone(tally, "c");
	tell(tally, "d", MERGE_BUSY);                   /* still holds */
	tally_gone(tally, "e");
	assert_int_equal(tally_sums(tally).unsaid, 2);
	assert_next(tally, "d", "one", false);
	assert_next(tally, "a", "two", false);
	assert_next(tally, NULL, NULL, false);

	live(tally, "abcdef");
	fail_with(tally, "abcdef", "one", MERGE_ALLOWED);
	assert_true(tally_next_refusal(tally, rel, sizeof(rel), &why, &partial));
	assert_string_equal(rel, "abc");
	live(tally, "z");
	fail_with(tally, "z", "one", MERGE_ALLOWED);    /* never said: to be freed */
}

static void test_why(void **state)
{
	struct tally *tally = *state;
	struct reason why = { "untouched" };

	live(tally, "a");
	backup(tally, "b");
	assert_false(tally_why(tally, "a", &why));
	assert_false(tally_why(tally, "b", &why));
	assert_string_equal(why.text, "untouched");
	fail_with(tally, "a", "one", MERGE_ALLOWED);
	assert_next(tally, "a", "one", false);
	assert_true(tally_why(tally, "a", &why));       /* said or not */
	assert_string_equal(why.text, "one");
	fail_with(tally, "a", "two", MERGE_DENIED_READ);
	assert_true(tally_why(tally, "a", &why));
	assert_string_equal(why.text, "two");
	tell(tally, "a", MERGE_QUIET);
	assert_true(tally_why(tally, "a", &why));
	tell(tally, "a", MERGE_SKIPPED);
	assert_false(tally_why(tally, "a", &why));
}

static void assert_denied(struct tally *tally, size_t source, size_t read, size_t write)
{
	struct tally_sums sums = tally_sums(tally);

	assert_int_equal(sums.denied[MERGE_ALLOWED], 0);
	assert_int_equal(sums.denied[MERGE_DENIED_SOURCE], source);
	assert_int_equal(sums.denied[MERGE_DENIED_READ], read);
	assert_int_equal(sums.denied[MERGE_DENIED_WRITE], write);
}

/* They are counted by what was denied, listed, and not handed out one by one. */
static void test_denied(void **state)
{
	struct tally *tally = *state;
	struct merge_result partial = result(MERGE_MERGED, "a part");

	live(tally, "a");
	live(tally, "b");
	live(tally, "c");
	live(tally, "d");
	live(tally, "e");
	fail_with(tally, "b", "no", MERGE_DENIED_WRITE);
	fail_with(tally, "a", "no", MERGE_DENIED_WRITE);
	fail_with(tally, "c", "no", MERGE_DENIED_READ);
	partial.partial = true;
	partial.denied = MERGE_DENIED_SOURCE;
	tally_result(tally, "d", &partial, false);
	partial.partial = false;                        /* no refusal at all */
	tally_result(tally, "e", &partial, false);
	assert_denied(tally, 1, 1, 2);
	assert_int_equal(tally_sums(tally).refused, 4);
	assert_next(tally, NULL, NULL, false);
	assert_list(tally, TALLY_DENIED, MERGE_DENIED_WRITE, "a b");
	assert_list(tally, TALLY_DENIED, MERGE_DENIED_READ, "c");
	assert_list(tally, TALLY_DENIED, MERGE_DENIED_SOURCE, "d");
	/* Not while it comes again. */
	tell(tally, "a", MERGE_TORN);
	assert_denied(tally, 1, 1, 2);
	/* Another right, another reason, none at all. */
	fail_with(tally, "c", "not either", MERGE_DENIED_WRITE);
	assert_denied(tally, 1, 0, 3);
	fail_with(tally, "a", "damaged", MERGE_ALLOWED);
	assert_denied(tally, 1, 0, 2);
	assert_int_equal(tally_sums(tally).unsaid, 1);
	fail_with(tally, "a", "no", MERGE_DENIED_WRITE);
	assert_denied(tally, 1, 0, 3);
	assert_next(tally, NULL, NULL, false);          /* not said before it was denied */
	tell(tally, "d", MERGE_UNCHANGED);
	assert_denied(tally, 0, 0, 3);
	/* Gone. */
	backup(tally, "b");
	tally_gone(tally, "b");
	assert_denied(tally, 0, 0, 2);
	live(tally, "b");
	assert_denied(tally, 0, 0, 2);
	tell(tally, "a", MERGE_GONE);
	assert_denied(tally, 0, 0, 1);
	tally_gone_beneath(tally, "");
	assert_denied(tally, 0, 0, 0);
	assert_int_equal(tally_sums(tally).refused, 0);
	assert_list(tally, TALLY_DENIED, MERGE_DENIED_WRITE, "");
}

/* A refusal that is looked at again once in a while holds nothing up. */
static void test_failed_is_not_pending(void **state)
{
	struct tally *tally = *state;
	struct merge_result r = result(MERGE_FAILED, "words");

	live(tally, "a");
	tally_result(tally, "a", &r, true);
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

static void test_list(void **state)
{
	struct tally *tally = *state;
	char name[8], **list;
	size_t count;

	live(tally, "b\n\xff");
	live(tally, "c");
	live(tally, "a");
	backup(tally, "0");
	backup(tally, "c");
	assert_list(tally, TALLY_LIVE, MERGE_ALLOWED, "a b\n\xff c");
	assert_list(tally, TALLY_WAITING, MERGE_ALLOWED, "0");
	tally_gone_beneath(tally, "");
	assert_list(tally, TALLY_LIVE, MERGE_ALLOWED, "");
	assert_list(tally, TALLY_WAITING, MERGE_ALLOWED, "0 c");

	for (int i = 0; i < 100; i++) {
		snprintf(name, sizeof(name), "%02d", i * 37 % 100);
		live(tally, name);
	}
	for (size_t wanted = 1; wanted < 103; wanted++) {
		list = tally_list(tally, TALLY_LIVE, MERGE_ALLOWED, wanted, &count);
		assert_non_null(list);
		assert_int_equal(count, wanted < 100 ? wanted : 100);
		for (size_t i = 1; i < count; i++)
			assert_true(strcmp(list[i - 1], list[i]) < 0);
		/* From all over: one from the beginning, one from the end. */
		assert_true(atoi(list[0]) <= 100 / (int)count);
		assert_true(atoi(list[count - 1]) >= 99 - 100 / (int)count);
		tally_list_free(list, count);
	}
}

/* ---- pages, one file, groups of refusals ---- */

static bool is_in(const char *rel, void *arg)
{
	return strncmp(rel, arg, strlen(arg)) == 0;
}

/* All that tally_page() gives, `count` at a time: "state path, ..." */
static const char *paged(struct tally *tally, enum tally_state state, const char *in, size_t count)
{
	static char all[8192];
	static const char letter[] = "pmusfwg";         /* g: given up */
	struct tally_item item[16];
	char after[256] = "";
	size_t got;

	*all = '\0';
	do {
		got = tally_page(tally, state, in ? is_in : NULL, (void *)(uintptr_t)in, after, item,
				 count);
		for (size_t i = 0; i < got; i++) {
			sprintf(all + strlen(all), "%s%c:%s%s%s", *all ? " " : "",
				letter[item[i].state], item[i].rel, item[i].why ? "=" : "",
				item[i].why ? item[i].why : "");
			snprintf(after, sizeof(after), "%s", item[i].rel);
		}
		tally_page_free(item, got);
	} while (got == count);
	return all;
}

static bool gives_up(const char *rel, void *arg)
{
	return strstr(rel, arg) != NULL;
}

static void test_pages(void **state)
{
	struct tally *tally = *state;
	struct tally_item item;

	assert_string_equal(paged(tally, TALLY_ANY_STATE, NULL, 3), "");
	tally_backups_begin(tally);
	for (int i = 0; i < 3; i++)
		backup(tally, i == 0 ? "b/w" : i == 1 ? "a/g" : "a/m");
	tally_backups_end(tally, true);
	live(tally, "a/m");
	tell(tally, "a/m", MERGE_MERGED);
	live(tally, "c/p");
	live(tally, "c/s");
	tell(tally, "c/s", MERGE_SKIPPED);
	live(tally, "d/f");
	tell(tally, "d/f", MERGE_FAILED);
	live(tally, "d/u");
	tell(tally, "d/u", MERGE_UNCHANGED);
	live(tally, "d/x");
	struct merge_result part = result(MERGE_MERGED, "half");
	part.partial = true;
	tally_result(tally, "d/x", &part, false);
	tally_forget(tally, gives_up, (void *)(uintptr_t)"g");
	for (size_t count = 1; count < 10; count++) {
		assert_string_equal(paged(tally, TALLY_ANY_STATE, NULL, count),
				    "g:a/g m:a/m w:b/w p:c/p s:c/s f:d/f=words u:d/u m:d/x=half");
		assert_string_equal(paged(tally, TALLY_ANY_STATE, "c/", count), "p:c/p s:c/s");
		assert_string_equal(paged(tally, TALLY_IS_MERGED, NULL, count), "m:a/m m:d/x=half");
		assert_string_equal(paged(tally, TALLY_IS_MERGED, "d", count), "m:d/x=half");
		assert_string_equal(paged(tally, TALLY_IS_REFUSED, NULL, count),
				    "f:d/f=words m:d/x=half");
		assert_string_equal(paged(tally, TALLY_IS_WAITING, NULL, count), "w:b/w");
		assert_string_equal(paged(tally, TALLY_IS_FORGOTTEN, NULL, count), "g:a/g");
		assert_string_equal(paged(tally, TALLY_IS_PENDING, "d", count), "");
	}
	assert_false(tally_look(tally, "a", &item));
	assert_true(tally_look(tally, "d/x", &item));
	assert_true(item.state == TALLY_IS_MERGED && item.partial && item.merged && !item.backup);
	assert_int_equal(item.sources, 1);
	assert_string_equal(item.why, "half");
	tally_page_free(&item, 1);
	/* Merged, and under way again. */
	tell(tally, "a/m", MERGE_BUSY);
	assert_true(tally_look(tally, "a/m", &item));
	assert_true(item.state == TALLY_IS_PENDING && item.merged && item.backup && !item.why);
	tally_page_free(&item, 1);
}

static void test_forgotten(void **state)
{
	struct tally *tally = *state;

	tally_forget(tally, gives_up, (void *)(uintptr_t)"old");
	tally_backups_begin(tally);
	backup(tally, "old1");
	backup(tally, "new1");
	tally_backups_end(tally, true);
	assert_int_equal(tally_sums(tally).waiting, 1);
	assert_int_equal(tally_sums(tally).forgotten, 1);
	live(tally, "old1");                            /* it came all the same */
	assert_int_equal(tally_sums(tally).forgotten, 0);
	assert_int_equal(tally_sums(tally).pending, 1);
	tally_gone(tally, "old1");
	assert_int_equal(tally_sums(tally).forgotten, 1);
	tally_forget(tally, gives_up, (void *)(uintptr_t)"1");
	assert_int_equal(tally_sums(tally).waiting, 0);
	assert_int_equal(tally_sums(tally).forgotten, 2);
	tally_backups_begin(tally);
	backup(tally, "old1");
	tally_backups_end(tally, true);
	assert_int_equal(tally_sums(tally).forgotten, 1);
	tally_forget(tally, NULL, NULL);
	assert_int_equal(tally_sums(tally).waiting, 1);
	assert_int_equal(tally_sums(tally).forgotten, 0);
	tally_new_sources(tally);
	assert_int_equal(tally_sums(tally).waiting, 0);
}

static void test_groups(void **state)
{
	struct tally *tally = *state;
	struct tally_group group[3];
	size_t groups = 9;
	char name[32], why[64];

	assert_int_equal(tally_groups(tally, group, 3, &groups), 0);
	assert_int_equal(groups, 0);
	for (int i = 0; i < 60; i++) {
		sprintf(name, "%02d", i);
		live(tally, name);
		if (i % 6 == 0)
			sprintf(why, "labels differ: live has %c", 'a' + i % 26);
		else if (i % 6 == 1 || i % 6 == 5)
			sprintf(why, "is truncated, %d bytes of %d", i * i * i, i);
		else if (i == 2)
			sprintf(why, "is truncated, x bytes of 8");
		else
			continue;
		fail_with(tally, name, why, MERGE_ALLOWED);
	}
	assert_int_equal(tally_groups(tally, group, 3, &groups), 3);
	assert_int_equal(groups, 3);
	assert_int_equal(group[0].files, 20);
	assert_string_equal(group[0].example, "01");
	assert_string_equal(group[0].why.text, "is truncated, 1 bytes of 1");
	assert_int_equal(group[0].kind, strlen(group[0].why.text));
	assert_int_equal(group[1].files, 10);
	assert_string_equal(group[1].example, "00");
	assert_int_equal(group[1].kind, strlen("labels differ"));
	assert_int_equal(group[2].files, 1);
	assert_int_equal(tally_groups(tally, group, 1, &groups), 1);
	assert_int_equal(groups, 3);
	/* More kinds than are told apart: none is lost. */
	for (int i = 0; i < 1000; i++) {
		sprintf(name, "x%03d", i);
		live(tally, name);
		sprintf(why, "%c%c%c", 'a' + i % 10, 'a' + i / 10 % 10, 'a' + i / 100);
		fail_with(tally, name, why, MERGE_ALLOWED);
	}
	assert_int_equal(tally_groups(tally, group, 3, &groups), 3);
	assert_true(groups > 200 && groups < 300);
	assert_true(group[0].files > 700);
}

static void assert_next_recalled(struct tally *tally, const char *rel)
{
	char next[16] = "";

	assert_int_equal(tally_next_recalled(tally, next, sizeof(next)), rel != NULL);
	assert_string_equal(next, rel ? rel : "");
}

/* Done by the record, and changed since: its backup is needed until it is proved. */
static void test_recalled(void **state)
{
	struct tally *tally = *state;

	tally_recalled(tally, "a");             /* it is not known */
	assert_next_recalled(tally, NULL);
	finish(tally, "a", &first);
	finish(tally, "b", &first);
	finish(tally, "c", &first);
	finish(tally, "d", &first);
	tally_recalled(tally, "b");
	tally_recalled(tally, "a");
	tally_recalled(tally, "b");
	assert_int_equal(tally_sums(tally).unsettled, 2);
	assert_sums(tally, 4, 0, 4, 0, 0, 0);   /* and that is all that it is */
	assert_true(live(tally, "b"));
	assert_next_recalled(tally, "b");
	assert_next_recalled(tally, "a");
	assert_next_recalled(tally, NULL);
	assert_int_equal(tally_sums(tally).unsettled, 2);
	/* A stat proves nothing. */
	assert_true(tally_same(tally, "b", &first, false));
	assert_int_equal(tally_sums(tally).unsettled, 2);
	tally_proved(tally, "b", true);
	assert_int_equal(tally_sums(tally).unsettled, 1);
	assert_true(live(tally, "b"));
	tally_proved(tally, "a", false);
	assert_sums(tally, 4, 0, 4, 0, 0, 1);
	assert_false(live(tally, "a"));
	/* What comes of a try is as good, and what is gone is not handed out. */
	tally_recalled(tally, "b");
	tally_recalled(tally, "c");
	tally_recalled(tally, "d");
	finish(tally, "b", &first);
	tally_gone(tally, "c");
	assert_next_recalled(tally, "d");
	assert_next_recalled(tally, NULL);
	tally_gone(tally, "d");
	tally_proved(tally, "d", false);
	assert_sums(tally, 2, 0, 2, 0, 0, 1);
	assert_int_equal(tally_sums(tally).unsettled, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty),
		TEST(test_one_file),
		TEST(test_merged_stays_merged),
		TEST(test_every_change),
		TEST(test_cells),
		TEST(test_settled),
		TEST(test_kept_while_away),
		TEST(test_asked),
		TEST(test_not_kept),
		TEST(test_same),
		TEST(test_same_after_a_look),
		TEST(test_false_alarms),
		TEST(test_unmet),
		TEST(test_waiting),
		TEST(test_look),
		TEST(test_backups_away),
		TEST(test_new_sources),
		TEST(test_merged_without_counterpart),
		TEST(test_said_once),
		TEST(test_overtaken),
		TEST(test_why),
		TEST(test_denied),
		TEST(test_failed_is_not_pending),
		TEST(test_gone_beneath),
		TEST(test_list),
		TEST(test_pages),
		TEST(test_forgotten),
		TEST(test_groups),
		TEST(test_recalled),
	};

	alarm(120);                     /* a lock held twice would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
