/* unit-ledger-bits: a bit that has turned in a row of the ledger is noticed, whichever it is, and
 * what that row says is not acted upon. */
#include "config.h"
#include "ledgering.h"

#include <errno.h>
#include <math.h>
#include <sqlite3.h>

static const double some_old[] = { 1.5, NAN, -3e10 };
static const struct ledger_run runs[] = {
	{ .rra = 0, .ds = 0, .step = 60, .kind = LEDGER_EXACT, .first = 1699900020, .count = 500,
	  .samples = 8, .sample = { 1, 2, 3, 4, 5, 6, 7, 8 } },
	{ .rra = 0, .ds = 1, .step = 60, .kind = LEDGER_SEAM, .first = 1699900020, .count = 3,
	  .old = some_old, .samples = 3, .sample = { 9, 10, 11 } },
	{ .rra = 2, .ds = 1, .step = 3600, .kind = LEDGER_SPREAD, .first = 1699200000, .count = 9 },
};
static const struct ledger_open_row open_rows[] = {
	{ .rra = 1, .ds = 0, .old_val = 2.5, .new_val = 7, .old_unkn = 3, .new_unkn = 1 },
};

static struct ledger_intent rich_intent(const char *rel)
{
	struct ledger_intent intent = intent_for(rel);

	intent.run = runs;
	intent.runs = sizeof(runs) / sizeof(*runs);
	intent.open = open_rows;
	intent.opens = 1;
	return intent;
}

static sqlite3 *connect(void)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(ledger_path(), &db), SQLITE_OK);
	assert_int_equal(sqlite3_busy_timeout(db, 60000), SQLITE_OK);
	assert_int_equal(sqlite3_exec(db, "PRAGMA synchronous = OFF", NULL, NULL, NULL), SQLITE_OK);
	return db;
}

static void run_on(sqlite3 *db, const char *text)
{
	if (sqlite3_exec(db, text, NULL, NULL, NULL))
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
}

static void change(const char *text)
{
	sqlite3 *db = connect();

	run_on(db, text);
	sqlite3_close(db);
}

static int64_t ask(sqlite3 *db, const char *text)
{
	sqlite3_stmt *statement;

	assert_int_equal(sqlite3_prepare_v2(db, text, -1, &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	int64_t number = sqlite3_column_int64(statement, 0);
	sqlite3_finalize(statement);
	return number;
}

static void assert_good(struct ledger *ledger, const char *rel)
{
	struct ledger_undo undo = { .last_up = 0 };
	struct reason why = { "" };

	if (ledger_undo(ledger, rel, 0, INO, IDENTITY, false, &undo, &why))
		fail_msg("%s", why.text);
	assert_int_equal(undo.cells.runs, 3);
	ledger_undo_free(&undo);
}

/* Of merge 1, of a.rrd, nothing is believed. */
static void assert_distrusted(struct ledger *ledger, const char *what)
{
	struct ledger_cells cells = { NULL, 0, 0, NULL, 0, 0 };
	struct ledger_undo undo = { .last_up = 0 };
	struct reason why = { "" };

	for (int64_t id = 0; id < 2; id++) {
		if (ledger_undo(ledger, "a.rrd", id, INO, IDENTITY, false, &undo, &why) != REFUSED)
			fail_msg("%s: may be undone (%s)", what, why.text);
		if (!strstr(why.text, "merge 1 is damaged"))
			fail_msg("%s: says %s", what, why.text);
	}
	if (!ledger_spread(ledger, "a.rrd", INO, IDENTITY, &undo))
		fail_msg("%s: its spread cells are told", what);
	if (ledger_runs(ledger, 1, &cells) != -EBADMSG)
		fail_msg("%s: its runs are told", what);
}

/* Each bit of the cells on record. */
static void test_runs(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = rich_intent("a.rrd"), other = rich_intent("b.rrd");
	sqlite3_stmt *statement;
	uint8_t blob[1024];
	char what[64];

	(void)state;
	assert_int_equal(merge(ledger, &intent), 1);
	merge(ledger, &other);
	sqlite3 *db = connect();
	assert_int_equal(sqlite3_prepare_v2(db, "SELECT runs FROM merge WHERE id = 1", -1,
					    &statement, NULL), SQLITE_OK);
	assert_int_equal(sqlite3_step(statement), SQLITE_ROW);
	int size = sqlite3_column_bytes(statement, 0);
	assert_true(size > 60 && (size_t)size < sizeof(blob));
	memcpy(blob, sqlite3_column_blob(statement, 0), (size_t)size);
	sqlite3_finalize(statement);
	assert_int_equal(sqlite3_prepare_v2(db, "UPDATE merge SET runs = ?1 WHERE id = 1", -1,
					    &statement, NULL), SQLITE_OK);
	/* The last time round it is whole, the time before it lacks its last byte. */
	for (int bit = 0; bit <= size * 8 + 1; bit++) {
		if (bit < size * 8)
			blob[bit / 8] ^= (uint8_t)(1 << bit % 8);
		sqlite3_bind_blob(statement, 1, blob, size - (bit == size * 8), SQLITE_STATIC);
		assert_int_equal(sqlite3_step(statement), SQLITE_DONE);
		sqlite3_reset(statement);
		snprintf(what, sizeof(what), "bit %d of byte %d", bit % 8, bit / 8);
		if (bit <= size * 8)
			assert_distrusted(ledger, what);
		if (bit < size * 8)
			blob[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	sqlite3_finalize(statement);
	sqlite3_close(db);
	assert_good(ledger, "a.rrd");
	assert_good(ledger, "b.rrd");
	close_it(ledger);
}

/* Each bit of what else undo goes by. */
static void test_columns(void **state)
{
	static const char *const column[] = {
		"what", "state", "time_ms", "dev", "ino", "identity", "last_up", "undone", "undoing"
	};
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = rich_intent("a.rrd");
	char text[256];

	(void)state;
	merge(ledger, &intent);
	sqlite3 *db = connect();
	for (size_t n = 0; n < sizeof(column) / sizeof(*column); n++) {
		snprintf(text, sizeof(text), "SELECT coalesce(%s, 0) FROM merge", column[n]);
		int64_t good = ask(db, text);

		for (int bit = 0; bit < 64; bit++) {
			snprintf(text, sizeof(text), "UPDATE merge SET %s = %lld", column[n],
				 (long long)(good ^ (int64_t)(UINT64_C(1) << bit)));
			run_on(db, text);
			assert_distrusted(ledger, text);
		}
		if (n < 7)
			snprintf(text, sizeof(text), "UPDATE merge SET %s = %lld", column[n],
				 (long long)good);
		else
			snprintf(text, sizeof(text), "UPDATE merge SET %s = NULL", column[n]);
		run_on(db, text);
		assert_good(ledger, "a.rrd");
	}
	sqlite3_close(db);
	close_it(ledger);
}

/* What was damaged is so still when its row is written to: it is not sealed anew. */
static void test_stays(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = rich_intent("a.rrd"), undo = intent;
	int64_t id = intend(ledger, &intent), way;

	(void)state;
	close_it(ledger);               /* interrupted: that is written when it is opened */
	change("UPDATE merge SET last_up = last_up + 1");
	ledger = open_at(ledger_path());
	assert_int_equal(stage_of(ledger, id), LEDGER_INTERRUPTED);
	assert_distrusted(ledger, "interrupted");
	/* An undo that was planned before it came to light, and is let go, done, or let go. */
	undo.undoes = &id;
	undo.undone = 1;
	for (int how = 0; how < 2; how++) {
		struct ledger_outcome outcome = outcome_for("a.rrd");

		way = intend(ledger, &undo);
		assert_distrusted(ledger, "undoing");
		if (!how)
			outcome = (struct ledger_outcome){ .result = LEDGER_VOID };
		ledger_applied(ledger, "a.rrd", way, &outcome);
		flush(ledger);
		assert_distrusted(ledger, how ? "undone" : "let go");
	}
	close_it(ledger);
}

/* How a file was left. */
static void test_files(void **state)
{
	static const char *const damage[] = {
		"path = 'A.rrd'", "path = 'b.rrd'", "path = 'c.rrd'", "verdict = 2", "settled = 0",
		"held = 1 - held", "spread = 0", "dev = 2", "ino = 76", "identity = identity + 1",
		"size = size + 1", "mtime_ns = 12", "ctime_ns = 13", "sources = 0", "cells = 0",
		"why = 4", "seal = seal + 1", "seal = NULL"
	};
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent[] = { rich_intent("a.rrd"), rich_intent("b.rrd"),
					  rich_intent("0.rrd") }, undo = rich_intent("a.rrd");
	struct ledger_outcome outcome = outcome_for("a.rrd");
	struct ledger_state known;
	struct reason why = { "" };
	char text[256];

	(void)state;
	merge(ledger, &intent[2]);
	int64_t id = merge(ledger, &intent[0]), number;
	merge(ledger, &intent[1]);
	close_it(ledger);
	for (int held = 0; held < 2; held++) {
		if (held) {
			ledger = open_at(ledger_path());
			undo.undoes = &id;
			undo.undone = 1;
			number = intend(ledger, &undo);
			ledger_applied(ledger, "a.rrd", number, &outcome);
			flush(ledger);
			close_it(ledger);
		}
		for (size_t n = 0; n < sizeof(damage) / sizeof(*damage); n++) {
			change("CREATE TABLE kept AS SELECT * FROM file");
			snprintf(text, sizeof(text), "UPDATE file SET %s WHERE path = 'a.rrd'",
				 damage[n]);
			change(text);
			ledger = open_at(ledger_path());
			if (!ledger_notice(ledger, &why))
				fail_msg("%s: not said", damage[n]);
			assert_non_null(strstr(why.text, "1 files: they are looked at again"));
			memset(&known, 0, sizeof(known));
			if (n > 2 && ledger_known(ledger, "a.rrd", &known) != held)
				fail_msg("%s: is believed", damage[n]);
			if (n > 2 && (known.verdict || !known.spread || known.held != held))
				fail_msg("%s: how it was left is believed", damage[n]);
			/* The others are as they were. */
			assert_true(ledger_known(ledger, "b.rrd", &known));
			assert_int_equal(known.verdict, LEDGER_MERGED);
			assert_false(known.held);
			assert_int_equal(known.ino, INO);
			assert_good(ledger, "b.rrd");
			assert_true(ledger_known(ledger, "0.rrd", &known));
			assert_int_equal(known.verdict, LEDGER_MERGED);
			close_it(ledger);
			change("DELETE FROM file; INSERT INTO file SELECT * FROM kept;"
			       "DROP TABLE kept");
		}
	}
	/* And when it was looked at, all is well. */
	change("UPDATE file SET size = 5 WHERE path = 'b.rrd'");
	ledger = open_at(ledger_path());
	assert_int_equal(ledger_note(ledger, "b.rrd", &outcome.state, NULL), 0);
	flush(ledger);
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_false(ledger_notice(ledger, &why));
	assert_true(ledger_known(ledger, "b.rrd", &known));
	assert_true(ledger_known(ledger, "a.rrd", &known));
	assert_true(known.held);
	close_it(ledger);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_runs, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_columns, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_stays, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_files, scratch_setup, scratch_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
