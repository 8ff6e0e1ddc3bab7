/* unit-ledger-unended: undos that were begun and did not come to their end: which files have one, and
 * how it leaves the record where it has written nothing. */
#include "config.h"
#include "ledgering.h"

#include <errno.h>

static size_t unended(struct ledger *ledger)
{
	size_t count = 0;
	char **path;

	assert_int_equal(ledger_unended(ledger, &path, &count), 0);
	for (size_t i = 0; i < count; i++) {
		assert_true(ledger_is_unended(ledger, path[i]));
		free(path[i]);
	}
	free(path);
	return count;
}

static int64_t undoing(struct ledger *ledger, int64_t id)
{
	struct ledger_entry *entry;

	assert_int_equal(ledger_get(ledger, id, &entry), 0);
	int64_t by = entry->undoing;
	ledger_entries_free(entry, 1);
	return by;
}

static struct ledger *reopen(struct ledger *ledger)
{
	close_it(ledger);
	return open_at(ledger_path());
}

static struct ledger_intent undo_of(const int64_t *id, size_t count)
{
	struct ledger_intent intent = intent_for("a.rrd");

	intent.undoes = id;
	intent.undone = count;
	return intent;
}

static void finish_undo(struct ledger *ledger, const int64_t *id, size_t count)
{
	struct ledger_intent intent = undo_of(id, count);
	struct ledger_outcome outcome = outcome_for("a.rrd");

	ledger_applied(ledger, "a.rrd", intend(ledger, &intent), &outcome);
	flush(ledger);
}

static void it_has_written_nothing(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd"), other = intent_for("b.rrd"), undo;
	int64_t id = merge(ledger, &intent), first, second;
	struct ledger_begun begun;
	struct ledger_entry *entry;

	(void)state;
	merge(ledger, &other);
	undo = undo_of(&id, 1);
	first = intend(ledger, &undo);
	assert_int_equal(unended(ledger), 0);           /* it is under way */
	ledger = reopen(ledger);
	assert_int_equal(unended(ledger), 1);
	assert_true(ledger_is_unended(ledger, "a.rrd"));
	assert_false(ledger_is_unended(ledger, "b.rrd"));
	assert_false(ledger_is_unended(ledger, "c.rrd"));
	second = intend(ledger, &undo);                 /* once more */
	assert_int_equal(unended(ledger), 1);
	ledger = reopen(ledger);
	assert_int_equal(unended(ledger), 1);
	assert_int_equal(undoing(ledger, id), first);

	assert_int_equal(ledger_begun(ledger, "a.rrd", INO + 1, IDENTITY, &begun), REFUSED);
	assert_int_equal(ledger_begun(ledger, "a.rrd", INO, IDENTITY + 1, &begun), REFUSED);
	assert_int_equal(ledger_begun(ledger, "b.rrd", INO, IDENTITY, &begun), REFUSED);
	assert_int_equal(ledger_begun(ledger, "a.rrd", INO, IDENTITY, &begun), 0);
	assert_int_equal(begun.undos, 2);
	assert_int_equal(begun.cells.runs, 2 * SOME_RUNS);
	assert_int_equal(ledger_never_begun(ledger, "a.rrd", &begun), 0);
	ledger_begun_free(&begun);
	assert_int_equal(unended(ledger), 0);
	flush(ledger);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(unended(ledger), 0);
		assert_int_equal(undoing(ledger, id), 0);
		assert_int_equal(ledger_get(ledger, first, &entry), -ENOENT);
		assert_int_equal(ledger_get(ledger, second, &entry), -ENOENT);
		ledger = reopen(ledger);
	}
	close_it(ledger);
}

static void it_has_written(void **state)
{
	const uint64_t cells[LEDGER_KINDS] = { 1 };
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd"), undo;
	int64_t id = merge(ledger, &intent);
	struct ledger_begun begun;

	(void)state;
	undo = undo_of(&id, 1);
	intend(ledger, &undo);
	ledger_wrote(ledger, "a.rrd", cells);
	ledger_abandon(ledger, "a.rrd");
	flush(ledger);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(unended(ledger), 1);
		assert_int_equal(ledger_begun(ledger, "a.rrd", INO, IDENTITY, &begun), REFUSED);
		ledger = reopen(ledger);
	}
	/* The next is given up, having written nothing: that changes nothing. */
	intend(ledger, &undo);
	ledger_abandon(ledger, "a.rrd");
	flush(ledger);
	assert_int_equal(unended(ledger), 1);
	finish_undo(ledger, &id, 1);
	assert_int_equal(unended(ledger), 0);
	ledger = reopen(ledger);
	assert_int_equal(unended(ledger), 0);
	close_it(ledger);
}

/* One of two merges is undone to the end: the other is undone in part as before. */
static void one_of_two(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd"), undo;
	int64_t id[2] = { merge(ledger, &intent), merge(ledger, &intent) };

	(void)state;
	undo = undo_of(id, 2);
	intend(ledger, &undo);
	ledger = reopen(ledger);
	finish_undo(ledger, &id[1], 1);
	assert_int_equal(unended(ledger), 1);
	ledger = reopen(ledger);
	assert_int_equal(unended(ledger), 1);
	finish_undo(ledger, &id[0], 1);
	assert_int_equal(unended(ledger), 0);
	close_it(ledger);
}

/* What was taken back is there again: what is said of the older merge stays, and nobody waits. */
static void it_was_merged_since(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd"), undo;
	int64_t id = merge(ledger, &intent), first;
	struct ledger_begun begun;

	(void)state;
	undo = undo_of(&id, 1);
	first = intend(ledger, &undo);
	ledger = reopen(ledger);
	ledger_release(ledger, "a.rrd");
	merge(ledger, &intent);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(unended(ledger), 0);
		assert_int_equal(undoing(ledger, id), first);
		assert_int_equal(ledger_begun(ledger, "a.rrd", INO, IDENTITY, &begun), REFUSED);
		ledger = reopen(ledger);
	}
	close_it(ledger);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, scratch_setup, scratch_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(it_has_written_nothing),
		TEST(it_has_written),
		TEST(one_of_two),
		TEST(it_was_merged_since),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
