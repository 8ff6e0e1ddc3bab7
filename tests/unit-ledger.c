/* unit-ledger: a merge's way through the ledger, what is known afterwards, and undo. */
#include "config.h"
#include "ledgering.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <signal.h>
#include <sys/wait.h>

static unsigned seed;

/* ---- one merge ---- */

static void test_life(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("web01/PING.rrd");
	struct ledger_outcome outcome = outcome_for(intent.rel);
	struct ledger_state known;
	struct ledger_cells cells;
	struct ledger_entry *entry;
	size_t count;
	int64_t id;

	(void)state;
	assert_true(ledger_ok(ledger, NULL));
	assert_false(ledger_known(ledger, intent.rel, &known));
	assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
	wait_for(&told.durable, 1);
	assert_int_equal(told.last_durable, id);
	assert_int_equal(stage_of(ledger, id), LEDGER_INTENDED);
	assert_true(ledger_covers(ledger, id, &intent));
	assert_false(ledger_known(ledger, intent.rel, &known));

	ledger_applied(ledger, intent.rel, id, &outcome);
	assert_false(ledger_covers(ledger, id, &intent));
	flush(ledger);
	wait_for(&told.done, 1);
	assert_int_equal(told.last_done, id);
	assert_int_equal(told.synced, 1);

	/* Twice: as it is, and as it is found again. */
	for (int again = 0; again < 2; again++) {
		assert_true(ledger_known(ledger, intent.rel, &known));
		assert_int_equal(known.verdict, LEDGER_MERGED);
		assert_true(known.settled);
		assert_false(known.held);
		assert_true(known.spread);
		assert_int_equal(known.dev, 3);
		assert_int_equal(known.ino, INO);
		assert_true(known.identity == IDENTITY);
		assert_int_equal(known.size, 4711);
		assert_int_equal(known.mtime_ns, 11);
		assert_int_equal(known.ctime_ns, 12);
		assert_true(known.sources == ledger_digest(intent.rel, &one_source, 1));
		assert_int_equal(known.cells, 1110);
		assert_int_equal(ledger_history(ledger, NULL, 0, 10, &entry, &count), 0);
		assert_int_equal(count, 1);
		assert_int_equal(entry->id, id);
		assert_int_equal(entry->what, LEDGER_MERGE);
		assert_int_equal(entry->stage, LEDGER_IS_DONE);
		assert_int_equal(entry->cells[LEDGER_EXACT], 1100);
		assert_int_equal(entry->cells[LEDGER_SPREAD], 9);
		assert_int_equal(entry->took_us, 1234);
		assert_int_equal(entry->last_up, LAST_UP);
		assert_true(entry->done_ms >= entry->time_ms);
		assert_string_equal(entry->rel, intent.rel);
		assert_string_equal(entry->sources, "/backup/a/web01/PING.rrd");
		assert_null(entry->reason);
		ledger_entries_free(entry, count);
		assert_int_equal(ledger_runs(ledger, id, &cells), 0);
		assert_int_equal(cells.runs, SOME_RUNS);
		for (size_t i = 0; i < SOME_RUNS; i++)
			assert_run(&cells.run[i], &some_runs[i]);
		ledger_cells_free(&cells);
		close_it(ledger);
		ledger = open_at(ledger_path());
	}
	close_it(ledger);
}

static void test_covers(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	const double old[] = { 1.5, NAN, -0.0 }, other[] = { 1.5, NAN, 0.0 };
	struct ledger_run run[SOME_RUNS + 1];
	struct ledger_open_row open = { 1, 0, 5.5, 8.5, 3, 1 };
	struct ledger_source source = one_source;
	struct ledger_intent intent = intent_for("a.rrd"), now;
	int64_t id;

	(void)state;
	memcpy(run, some_runs, sizeof(some_runs));
	run[SOME_RUNS] = (struct ledger_run){ .rra = 3, .step = 10, .first = 1000, .count = 3,
					      .old = old };
	intent.run = run;
	intent.runs = SOME_RUNS + 1;
	intent.open = &open;
	intent.opens = 1;
	id = intend(ledger, &intent);
	now = intent;
	assert_true(ledger_covers(ledger, id, &now));
	assert_false(ledger_covers(ledger, id + 1, &now));

	struct ledger_run part = some_runs[0];
	now.run = &part;
	now.runs = 1;
	part.first += 60;
	part.count -= 2;
	assert_true(ledger_covers(ledger, id, &now));
	part.count += 2;
	assert_false(ledger_covers(ledger, id, &now));
	part = some_runs[0];
	part.first -= 60;
	assert_false(ledger_covers(ledger, id, &now));
	part = some_runs[0];
	part.kind = LEDGER_SEAM;
	assert_false(ledger_covers(ledger, id, &now));
	part = some_runs[0];
	part.ds = 2;
	assert_false(ledger_covers(ledger, id, &now));
	part = some_runs[0];
	part.old = (const double[500]){ 0 };
	assert_false(ledger_covers(ledger, id, &now));
	part = run[SOME_RUNS];
	assert_true(ledger_covers(ledger, id, &now));
	part.old = other;
	assert_false(ledger_covers(ledger, id, &now));
	part.old = NULL;
	assert_false(ledger_covers(ledger, id, &now));
	/* Two pieces where one was recorded, and two recorded under one. */
	struct ledger_run pieces[] = { some_runs[0], some_runs[0] };
	pieces[0].count = 200;
	pieces[1].first += 200 * 60;
	pieces[1].count = 300;
	now.run = pieces;
	now.runs = 2;
	assert_true(ledger_covers(ledger, id, &now));
	now.runs = 0;
	now.last_up++;
	assert_false(ledger_covers(ledger, id, &now));  /* the open row */
	now.opens = 0;
	assert_true(ledger_covers(ledger, id, &now));
	now.opens = 1;
	now.last_up--;
	assert_true(ledger_covers(ledger, id, &now));
	struct ledger_open_row later = open;
	later.new_val = 9;
	now.open = &later;
	assert_false(ledger_covers(ledger, id, &now));
	now.opens = 0;
	source.mtime_ns++;
	now.source = &source;
	assert_false(ledger_covers(ledger, id, &now));
	now.source = &one_source;
	now.ino++;
	assert_false(ledger_covers(ledger, id, &now));
	now.ino--;
	now.identity++;
	assert_false(ledger_covers(ledger, id, &now));
	now.identity--;
	assert_true(ledger_covers(ledger, id, &now));

	/* What is handed in but not durable covers nothing; and it takes the place of the other. */
	int64_t second, first = id;
	tell_nothing();
	assert_int_equal(ledger_intend(ledger, &intent, &second), 0);
	assert_false(ledger_covers(ledger, first, &intent));
	wait_for(&told.durable, 1);
	assert_true(ledger_covers(ledger, second, &intent));
	flush(ledger);
	struct ledger_entry *entry;
	assert_int_equal(ledger_get(ledger, first, &entry), -ENOENT);
	close_it(ledger);
}

static void test_bad_runs(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_run run[2] = { some_runs[0], some_runs[0] };
	int64_t id;

	(void)state;
	intent.run = run;
	intent.runs = 2;
	/* The same cells twice. */
	assert_int_equal(ledger_intend(ledger, &intent, &id), -EINVAL);
	intent.runs = 1;
	run[0].first++;
	assert_int_equal(ledger_intend(ledger, &intent, &id), -EINVAL);
	run[0].first--;
	run[0].step = 0;
	assert_int_equal(ledger_intend(ledger, &intent, &id), -EINVAL);
	run[0].step = 60;
	run[0].count = 0;
	assert_int_equal(ledger_intend(ledger, &intent, &id), -EINVAL);
	run[0].count = 1;
	assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
	close_it(ledger);
}

static void test_void(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_outcome nothing = { .result = LEDGER_VOID };
	struct ledger_entry *entry = NULL;
	size_t count = 1;
	int64_t id = intend(ledger, &intent);

	(void)state;
	ledger_applied(ledger, "a.rrd", id, &nothing);
	assert_int_equal(ledger_intend(ledger, &intent, &id), 0);
	ledger_applied(ledger, "a.rrd", id, &nothing);  /* on its way into the database, perhaps */
	flush(ledger);
	assert_int_equal(ledger_history(ledger, "a.rrd", 0, 10, &entry, &count), 0);
	assert_int_equal(count, 0);
	close_it(ledger);
}

/* What was intended and not done when the ledger was left is told apart for ever. */
static void test_interrupted(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_undo undo;
	int64_t id = intend(ledger, &intent), next;

	(void)state;
	close_it(ledger);
	for (int again = 0; again < 2; again++) {
		ledger = open_at(ledger_path());
		assert_int_equal(stage_of(ledger, id), LEDGER_INTERRUPTED);
		assert_int_equal(ledger_undo(ledger, "a.rrd", id, INO, IDENTITY, false, &undo, NULL), 0);
		/* The second time, its cells belong to the merge that came after. */
		assert_int_equal(undo.cells.runs, again ? 0 : SOME_RUNS);
		ledger_undo_free(&undo);
		next = merge(ledger, &intent);
		assert_true(next > id);
		close_it(ledger);
	}
}

static void test_part(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_outcome outcome = outcome_for("a.rrd");
	struct ledger_entry *entry;
	int64_t id = intend(ledger, &intent);

	(void)state;
	outcome.result = LEDGER_PART;
	outcome.cells[LEDGER_EXACT] = 5;
	outcome.reason = "label differs: rta";
	ledger_applied(ledger, "a.rrd", id, &outcome);
	flush(ledger);
	assert_int_equal(ledger_get(ledger, id, &entry), 0);
	assert_int_equal(entry->stage, LEDGER_IS_PART);
	assert_int_equal(entry->cells[LEDGER_EXACT], 5);
	assert_string_equal(entry->reason, "label differs: rta");
	ledger_entries_free(entry, 1);
	close_it(ledger);
}

/* Neither "done" nor the file's state is recorded before the sync has succeeded. */
static void test_sync(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_outcome outcome = outcome_for("a.rrd");
	struct ledger_state known, other = { .verdict = LEDGER_UNCHANGED };
	int64_t id = intend(ledger, &intent);

	(void)state;
	told.sync_hangs = true;
	ledger_applied(ledger, "a.rrd", id, &outcome);
	/* The disk that hangs holds up nobody else, nor does it let a later look be recorded. */
	struct ledger_intent second = intent_for("b.rrd");
	intend(ledger, &second);
	assert_int_equal(ledger_note(ledger, "a.rrd", &other, NULL), 0);
	assert_int_equal(ledger_note(ledger, "c.rrd", &other, NULL), 0);
	assert_int_equal(ledger_flush(ledger, now_ns() + SECOND / 2), -ETIMEDOUT);
	assert_false(ledger_close(ledger, now_ns() + SECOND / 10));

	pthread_mutex_lock(&told.mutex);
	told.sync_hangs = false;
	told.sync_error = -EIO;
	pthread_cond_broadcast(&told.some);
	pthread_mutex_unlock(&told.mutex);
	close_it(ledger);
	assert_int_equal(told.failed, 1);
	ledger = open_at(ledger_path());
	assert_int_equal(stage_of(ledger, id), LEDGER_INTERRUPTED);
	assert_false(ledger_known(ledger, "a.rrd", &known));
	assert_true(ledger_known(ledger, "c.rrd", &known));
	close_it(ledger);
}

static void test_refusals(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_state refused = { .verdict = LEDGER_REFUSED, .size = 5 }, known;
	struct ledger_entry *entry;
	size_t count;

	(void)state;
	for (int times = 0; times < 3; times++) {
		assert_int_equal(ledger_note(ledger, "a.rrd", &refused, "is a FIFO"), 0);
		flush(ledger);
	}
	refused.size++;         /* another file, the same reason: known, but no history */
	assert_int_equal(ledger_note(ledger, "a.rrd", &refused, "is a FIFO"), 0);
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_int_equal(ledger_note(ledger, "a.rrd", &refused, "is a FIFO"), 0);
	flush(ledger);
	assert_int_equal(ledger_history(ledger, "a.rrd", 0, 10, &entry, &count), 0);
	assert_int_equal(count, 1);
	assert_int_equal(entry->what, LEDGER_REFUSAL);
	assert_string_equal(entry->reason, "is a FIFO");
	ledger_entries_free(entry, count);
	assert_true(ledger_known(ledger, "a.rrd", &known));
	assert_int_equal(known.size, 6);
	/* Two before the next commit: the latest counts. */
	assert_int_equal(ledger_note(ledger, "a.rrd", &refused, "is torn"), 0);
	assert_int_equal(ledger_note(ledger, "a.rrd", &refused, "labels differ"), 0);
	flush(ledger);
	assert_int_equal(ledger_history(ledger, "a.rrd", 0, 1, &entry, &count), 0);
	assert_string_equal(entry->reason, "labels differ");
	ledger_entries_free(entry, count);
	close_it(ledger);
}

/* ---- undo ---- */

static int64_t undo_all(struct ledger *ledger, const char *rel, int64_t id)
{
	struct ledger_undo undo;
	struct ledger_intent intent = intent_for(rel);
	struct ledger_outcome outcome = outcome_for(rel);
	struct reason why = { "" };
	int64_t number;

	if (ledger_undo(ledger, rel, id, INO, IDENTITY, false, &undo, &why))
		fail_msg("cannot be undone: %s", why.text);
	intent.run = undo.cells.run;
	intent.runs = undo.cells.runs;
	intent.open = undo.cells.open;
	intent.opens = undo.cells.opens;
	intent.sources = 0;
	intent.undoes = undo.id;
	intent.undone = undo.ids;
	number = intend(ledger, &intent);
	ledger_applied(ledger, rel, number, &outcome);
	flush(ledger);
	ledger_undo_free(&undo);
	return number;
}

static void test_undo(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd"), other = intent_for("b.rrd");
	struct ledger_undo undo;
	struct ledger_state known;
	struct ledger_entry *entry;
	struct reason why;
	char **path;
	size_t count;
	int64_t id = merge(ledger, &intent), done, unused;

	(void)state;
	merge(ledger, &other);
	assert_int_equal(ledger_undoable(ledger, &path, &count), 0);
	assert_int_equal(count, 2);
	assert_string_equal(path[0], "a.rrd");
	assert_string_equal(path[1], "b.rrd");
	free(path[0]);
	free(path[1]);
	free(path);
	assert_int_equal(ledger_undo(ledger, "a.rrd", 0, INO + 1, IDENTITY, false, &undo, &why), REFUSED);
	assert_non_null(strstr(why.text, "made anew"));
	assert_int_equal(ledger_undo(ledger, "a.rrd", id + 1, INO, IDENTITY, false, &undo, &why), REFUSED);
	assert_int_equal(ledger_undo(ledger, "none.rrd", 0, INO, IDENTITY, false, &undo, &why), REFUSED);

	done = undo_all(ledger, "a.rrd", id);
	for (int again = 0; again < 2; again++) {
		assert_int_equal(ledger_get(ledger, id, &entry), 0);
		assert_int_equal(entry->undone, done);
		ledger_entries_free(entry, 1);
		assert_int_equal(ledger_get(ledger, done, &entry), 0);
		assert_int_equal(entry->what, LEDGER_UNDO);
		assert_int_equal(entry->stage, LEDGER_IS_DONE);
		ledger_entries_free(entry, 1);
		assert_int_equal(ledger_undo(ledger, "a.rrd", 0, INO, IDENTITY, false, &undo, &why),
				 REFUSED);
		assert_non_null(strstr(why.text, "undone already"));
		assert_true(ledger_known(ledger, "a.rrd", &known));
		assert_true(known.held);
		assert_int_equal(ledger_intend(ledger, &intent, &unused), -EPERM);
		close_it(ledger);
		ledger = open_at(ledger_path());
	}
	ledger_release(ledger, "a.rrd");
	merge(ledger, &intent);
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_true(ledger_known(ledger, "a.rrd", &known));
	assert_false(known.held);
	assert_int_equal(ledger_undo(ledger, "a.rrd", 0, INO, IDENTITY, false, &undo, &why), 0);
	assert_int_equal(undo.ids, 1);
	ledger_undo_free(&undo);
	close_it(ledger);
}

/* An undo that was cut short: the file is held, and can be undone again. */
/* By which undo a merge is undone, and with which it has begun. */
static void assert_undo(struct ledger *ledger, int64_t id, int64_t undone, int64_t undoing)
{
	struct ledger_entry *entry;

	assert_int_equal(ledger_get(ledger, id, &entry), 0);
	assert_int_equal(entry->undone, undone);
	assert_int_equal(entry->undoing, undoing);
	ledger_entries_free(entry, 1);
}

static void test_undo_interrupted(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_outcome outcome = outcome_for("a.rrd");
	struct ledger_entry *entry;
	struct ledger_undo undo;
	struct ledger_state known;
	int64_t id = merge(ledger, &intent), first, again;

	(void)state;
	intent.undoes = &id;
	intent.undone = 1;
	first = intend(ledger, &intent);
	assert_undo(ledger, id, 0, first);
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_true(ledger_known(ledger, "a.rrd", &known));
	assert_true(known.held);
	assert_undo(ledger, id, 0, first);
	assert_int_equal(stage_of(ledger, first), LEDGER_INTERRUPTED);
	assert_int_equal(ledger_undo(ledger, "a.rrd", 0, INO, IDENTITY, false, &undo, NULL), 0);
	assert_int_equal(undo.ids, 1);
	assert_int_equal(undo.id[0], id);
	assert_int_equal(undo.cells.runs, SOME_RUNS);
	ledger_undo_free(&undo);

	/* It failed before it wrote anything: what the first one has begun is still so. */
	again = intend(ledger, &intent);
	outcome.result = LEDGER_VOID;
	outcome.state.verdict = LEDGER_REFUSED;
	ledger_applied(ledger, "a.rrd", again, &outcome);
	flush(ledger);
	assert_undo(ledger, id, 0, first);
	assert_int_equal(ledger_get(ledger, again, &entry), -ENOENT);

	/* The one that was interrupted took all back: nothing is to be written, and it is done. */
	intent.runs = 0;
	again = intend(ledger, &intent);
	outcome.state.verdict = LEDGER_MERGED;
	ledger_applied(ledger, "a.rrd", again, &outcome);
	flush(ledger);
	for (int reopened = 0; reopened < 2; reopened++) {
		assert_undo(ledger, id, again, 0);
		assert_int_equal(stage_of(ledger, again), LEDGER_IS_DONE);
		assert_int_equal(ledger_undo(ledger, "a.rrd", 0, INO, IDENTITY, false, &undo, NULL), REFUSED);
		close_it(ledger);
		ledger = open_at(ledger_path());
	}
	close_it(ledger);
}

static bool is_held(struct ledger *ledger)
{
	struct ledger_state known;

	return ledger_known(ledger, "a.rrd", &known) && known.held;
}

/* An undo that nobody goes on with: is off the record, and the file is held as it was before; one
 * that has written stays in part, and holds it. */
static void test_undo_abandoned(void **state)
{
	const uint64_t cells[LEDGER_KINDS] = { 1 };
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_entry *entry;
	int64_t id = merge(ledger, &intent), undo;

	(void)state;
	ledger_abandon(ledger, "a.rrd");
	ledger_abandon(ledger, "none.rrd");
	assert_int_equal(stage_of(ledger, id), LEDGER_IS_DONE);
	intent.undoes = &id;
	intent.undone = 1;
	for (int durable = 0; durable < 2; durable++) {
		if (durable)
			undo = intend(ledger, &intent);
		else
			assert_int_equal(ledger_intend(ledger, &intent, &undo), 0);
		assert_true(is_held(ledger));
		/* No merge's look at the file ends it. */
		assert_int_equal(ledger_intended(ledger, "a.rrd", LEDGER_MERGE), 0);
		assert_int_equal(ledger_intended(ledger, "a.rrd", LEDGER_UNDO), durable ? undo : 0);
		ledger_abandon(ledger, "a.rrd");
		assert_false(is_held(ledger));
		flush(ledger);
		assert_undo(ledger, id, 0, 0);
		assert_int_equal(ledger_get(ledger, undo, &entry), -ENOENT);
		close_it(ledger);
		ledger = open_at(ledger_path());
		assert_false(is_held(ledger));
	}
	/* Twice, one in the other's place. */
	intend(ledger, &intent);
	intend(ledger, &intent);
	ledger_abandon(ledger, "a.rrd");
	assert_false(is_held(ledger));
	undo = intend(ledger, &intent);
	ledger_wrote(ledger, "a.rrd", cells);
	ledger_abandon(ledger, "a.rrd");
	flush(ledger);
	assert_true(is_held(ledger));
	assert_int_equal(stage_of(ledger, undo), LEDGER_IS_PART);
	assert_undo(ledger, id, 0, undo);
	/* The next one finds it held, and leaves it so; unless somebody wants it merged. */
	intend(ledger, &intent);
	ledger_abandon(ledger, "a.rrd");
	assert_true(is_held(ledger));
	intend(ledger, &intent);
	ledger_release(ledger, "a.rrd");
	ledger_abandon(ledger, "a.rrd");
	assert_false(is_held(ledger));
	close_it(ledger);
	ledger = open_at(ledger_path());
	assert_false(is_held(ledger));
	close_it(ledger);
}

/* What is not done, and may be undone in part. */
static void test_undo_void(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd");
	struct ledger_outcome outcome = outcome_for("a.rrd");
	int64_t id = merge(ledger, &intent), undo;

	(void)state;
	intent.undoes = &id;
	intent.undone = 1;
	undo = intend(ledger, &intent);
	assert_undo(ledger, id, 0, undo);
	outcome.result = LEDGER_VOID;
	outcome.state.verdict = LEDGER_REFUSED;
	ledger_applied(ledger, "a.rrd", undo, &outcome);
	flush(ledger);
	assert_undo(ledger, id, 0, 0);
	undo = intend(ledger, &intent);
	outcome.result = LEDGER_PART;
	ledger_applied(ledger, "a.rrd", undo, &outcome);
	flush(ledger);
	assert_undo(ledger, id, 0, undo);
	close_it(ledger);
}

/* What was written stays on record, whatever becomes of the job. */
static void test_wrote(void **state)
{
	static const uint64_t some[LEDGER_KINDS] = { 3, 2, 1, 0 };
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_intent intent = intent_for("a.rrd"), other = intent;
	struct ledger_outcome outcome = outcome_for("a.rrd");
	struct ledger_entry *entry;
	int64_t id, merged = merge(ledger, &intent);

	(void)state;
	/* An undo that was half done, and then the file is merged: merge PATH. */
	other.undoes = &merged;
	other.undone = 1;
	id = intend(ledger, &other);
	ledger_wrote(ledger, "a.rrd", some);
	ledger_wrote(ledger, "a.rrd", some);
	ledger_release(ledger, "a.rrd");
	int64_t next = intend(ledger, &intent);
	flush(ledger);
	assert_int_equal(ledger_get(ledger, id, &entry), 0);
	assert_int_equal(entry->stage, LEDGER_IS_PART);
	assert_int_equal(entry->cells[LEDGER_EXACT], 6);
	assert_int_equal(entry->cells[LEDGER_SEAM], 4);
	ledger_entries_free(entry, 1);
	assert_undo(ledger, merged, 0, id);

	/* A merge that was half done, and of which nobody remembers it. */
	for (int verdict = LEDGER_UNCHANGED; verdict <= LEDGER_REFUSED; verdict++) {
		ledger_wrote(ledger, "a.rrd", some);
		outcome.result = LEDGER_VOID;
		outcome.state.verdict = (uint8_t)verdict;
		ledger_applied(ledger, "a.rrd", next, &outcome);
		flush(ledger);
		assert_int_equal(ledger_get(ledger, next, &entry), 0);
		assert_int_equal(entry->stage, verdict == LEDGER_UNCHANGED ? LEDGER_IS_DONE
				 : LEDGER_IS_PART);
		assert_int_equal(entry->cells[LEDGER_EXACT], 3);
		ledger_entries_free(entry, 1);
		next = intend(ledger, &intent);
	}
	close_it(ledger);
}

static struct ledger_intent with_open(struct ledger_open_row *row, int64_t last_up)
{
	struct ledger_intent intent = intent_for("a.rrd");

	intent.runs = 0;
	intent.open = row;
	intent.opens = 1;
	intent.last_up = last_up;
	return intent;
}

static void test_undo_open(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	struct ledger_open_row first = { 1, 0, 5, 8, 4, 2 }, second = { 1, 0, 8, 9, 2, 0 },
		third = { 1, 0, 20, 30, 1, 0 };
	struct ledger_intent a = with_open(&first, 1000), b = with_open(&second, 1000),
		c = with_open(&third, 2000);
	struct ledger_undo undo;
	int64_t id = merge(ledger, &a), last;

	(void)state;
	last = merge(ledger, &b);
	assert_int_equal(ledger_undo(ledger, "a.rrd", 0, INO, IDENTITY, false, &undo, NULL), 0);
	assert_int_equal(undo.cells.opens, 1);
	assert_int_equal(undo.last_up, 1000);
	assert_true(undo.cells.open[0].old_val == 5 && undo.cells.open[0].old_unkn == 4);
	assert_true(undo.cells.open[0].new_val == 9 && undo.cells.open[0].new_unkn == 0);
	ledger_undo_free(&undo);
	assert_int_equal(ledger_undo(ledger, "a.rrd", last, INO, IDENTITY, false, &undo, NULL), 0);
	assert_true(undo.cells.open[0].old_val == 8 && undo.cells.open[0].old_unkn == 2);
	ledger_undo_free(&undo);
	assert_int_equal(ledger_undo(ledger, "a.rrd", id, INO, IDENTITY, false, &undo, NULL), 0);
	assert_int_equal(undo.cells.opens, 0);          /* it is the second's now */
	ledger_undo_free(&undo);
	merge(ledger, &c);
	assert_int_equal(ledger_undo(ledger, "a.rrd", 0, INO, IDENTITY, false, &undo, NULL), 0);
	assert_int_equal(undo.last_up, 2000);
	assert_int_equal(undo.cells.opens, 1);
	assert_true(undo.cells.open[0].old_val == 20);
	assert_int_equal(undo.ids, 3);
	ledger_undo_free(&undo);
	close_it(ledger);
}

/* ---- many at once ---- */

enum { THREADS = 4, EACH = 400 };

struct hand {
	struct ledger *ledger;
	int number;
	int64_t id[EACH];
};

static void *hand_in(void *arg)
{
	struct hand *hand = arg;
	struct ledger_state known;
	char rel[64] = "";

	for (int i = 0; i < EACH; i++) {
		struct ledger_intent intent = intent_for(rel);
		struct ledger_outcome outcome = outcome_for(rel);

		snprintf(rel, sizeof(rel), "host%d/%d.rrd", hand->number, i);
		if (ledger_intend(hand->ledger, &intent, &hand->id[i]))
			return hand;
		while (!ledger_covers(hand->ledger, hand->id[i], &intent) && i % 8 == 0)
			usleep(200);
		ledger_known(hand->ledger, rel, &known);
		if (i % 8 == 0)
			ledger_applied(hand->ledger, rel, hand->id[i], &outcome);
		if (i % 50 == 0) {
			struct ledger_entry *entry;
			size_t count;

			if (ledger_history(hand->ledger, rel, 0, 5, &entry, &count))
				return hand;
			ledger_entries_free(entry, count);
		}
		outcome.state.verdict = LEDGER_UNCHANGED;
		snprintf(rel, sizeof(rel), "host%d/none%d.rrd", hand->number, i);
		if (ledger_note(hand->ledger, rel, &outcome.state, NULL))
			return hand;
	}
	return NULL;
}

static void test_threads(void **state)
{
	struct ledger *ledger = open_at(ledger_path());
	static struct hand hand[THREADS];
	pthread_t thread[THREADS];
	struct ledger_state known;
	size_t all = 0, done = 0;
	void *bad;

	(void)state;
	for (int i = 0; i < THREADS; i++) {
		hand[i].ledger = ledger;
		hand[i].number = i;
		assert_int_equal(pthread_create(&thread[i], NULL, hand_in, &hand[i]), 0);
	}
	for (int i = 0; i < THREADS; i++) {
		assert_int_equal(pthread_join(thread[i], &bad), 0);
		assert_null(bad);
	}
	flush(ledger);
	wait_for(&told.durable, THREADS * EACH);
	wait_for(&told.done, THREADS * EACH / 8);
	close_it(ledger);
	ledger = open_at(ledger_path());
	for (int i = 0; i < THREADS; i++)
		for (int n = 0; n < EACH; n++) {
			char rel[64] = "";

			assert_int_equal(stage_of(ledger, hand[i].id[n]),
					 n % 8 ? LEDGER_INTERRUPTED : LEDGER_IS_DONE);
			snprintf(rel, sizeof(rel), "host%d/%d.rrd", i, n);
			all++;
			done += ledger_known(ledger, rel, &known);
			snprintf(rel, sizeof(rel), "host%d/none%d.rrd", i, n);
			assert_true(ledger_known(ledger, rel, &known));
		}
	assert_int_equal(all, THREADS * EACH);
	assert_int_equal(done, THREADS * EACH / 8);
	close_it(ledger);
}

/* ---- killed at any moment ---- */

static int pipe_end;

static void write_number(char what, int64_t id)
{
	char line[9];

	line[0] = what;
	memcpy(line + 1, &id, 8);
	if (write(pipe_end, line, sizeof(line)) != sizeof(line))
		_exit(3);
}

static void pipe_durable(const char *rel, int64_t id, void *arg)
{
	(void)rel;
	(void)arg;
	write_number('i', id);
}

static void pipe_done(const char *rel, int64_t id, int error, void *arg)
{
	(void)rel;
	(void)arg;
	if (!error)
		write_number('d', id);
}

static void work_until_killed(const char *path, int round)
{
	struct ledger_options options = options_for(path);
	struct ledger *ledger;
	struct reason why;

	options.durable = pipe_durable;
	options.done = pipe_done;
	options.sync = NULL;
	options.group_ms = 2;
	options.sync_ms = 3;
	if (ledger_open(&options, &ledger, &why))
		_exit(4);
	write_number('o', 0);
	for (int i = 0;; i++) {
		char rel[64] = "";
		struct ledger_intent intent = intent_for(rel);
		struct ledger_outcome outcome = outcome_for(rel);
		int64_t id;

		snprintf(rel, sizeof(rel), "r%d/%d.rrd", round, i % 3000);
		intent.runs = 1 + (size_t)i % SOME_RUNS;
		if (ledger_intend(ledger, &intent, &id))
			usleep(100);
		else if (i % 3) {
			while (!ledger_covers(ledger, id, &intent))
				usleep(50);
			ledger_applied(ledger, rel, id, &outcome);
		}
	}
}

static size_t check_after_kill(const char *path, int from)
{
	struct ledger *ledger = open_at(path);
	struct reason why;
	struct ledger_cells cells;
	char line[9];
	size_t count = 0;
	int64_t id;

	assert_true(ledger_ok(ledger, &why));
	assert_false(ledger_notice(ledger, &why));      /* nothing was damaged */
	while (read(from, line, sizeof(line)) == sizeof(line)) {
		memcpy(&id, line + 1, 8);
		if (line[0] == 'o')
			continue;
		count++;
		if (line[0] == 'i') {
			assert_int_equal(ledger_runs(ledger, id, &cells), 0);
			assert_run(&cells.run[0], &some_runs[0]);
			ledger_cells_free(&cells);
		} else {
			assert_int_equal(stage_of(ledger, id), LEDGER_IS_DONE);
		}
	}
	close_it(ledger);
	return count;
}

static void test_kill(void **state)
{
	const char *rounds = getenv("KILLS");
	size_t count = 0;

	(void)state;
	srand(seed);
	for (int round = 0; round < (rounds ? atoi(rounds) : 40); round++) {
		int ends[2], status, until = rand() % 60000;
		char line[9];
		pid_t child;

		assert_int_equal(pipe(ends), 0);
		fcntl(ends[1], F_SETPIPE_SZ, 1 << 20);
		child = fork();
		assert_true(child >= 0);
		if (child == 0) {
			close(ends[0]);
			pipe_end = ends[1];
			work_until_killed(ledger_path(), round);
		}
		close(ends[1]);
		/* Every fourth while it opens the ledger. */
		if (round % 4)
			assert_int_equal(read(ends[0], line, sizeof(line)), sizeof(line));
		usleep((useconds_t)(round % 4 ? until : until / 20));
		kill(child, SIGKILL);
		assert_int_equal(waitpid(child, &status, 0), child);
		assert_true(WIFSIGNALED(status));
		count += check_after_kill(ledger_path(), ends[0]);
		close(ends[0]);
	}
	assert_true(count > 0);
	print_message("           %zu told durable or done before the kills, all there\n", count);
}

/* ---- large ---- */

static void test_large(void **state)
{
	const char *wanted = getenv("FILES");
	int files = wanted ? atoi(wanted) : 100000;
	struct ledger_options options = options_for(ledger_path());
	struct ledger_run run[20];
	struct ledger *ledger;
	struct ledger_state known;
	struct reason why;
	struct stat st;
	uint64_t began, handed, opened;
	char rel[96] = "";

	(void)state;
	/* Four archives, five data sources; what a backup of pnp4nagios' leaves. */
	for (uint32_t i = 0; i < 20; i++) {
		uint32_t step = (const uint32_t[]){ 60, 300, 1800, 21600 }[i / 5];

		run[i] = (struct ledger_run){
			.rra = i / 5, .ds = i % 5, .step = step, .count = 2880,
			.first = 1700000000 / step * step - 2879 * (int64_t)step,
			.samples = LEDGER_SAMPLES,
		};
	}
	tell_nothing();
	options.group_ms = 0;
	assert_int_equal(ledger_open(&options, &ledger, &why), 0);
	began = now_ns();
	for (int i = 0; i < files; i++) {
		struct ledger_intent intent = intent_for(rel);
		struct ledger_outcome outcome = outcome_for(rel);
		int64_t id;
		int r;

		snprintf(rel, sizeof(rel), "srv-%05d.example.net/Check_Service_%02d.rrd", i / 20,
			 i % 20);
		intent.run = run;
		intent.runs = 20;
		intent.ino = outcome.state.ino = 1000000 + (unsigned)i;
		intent.dev = outcome.state.dev = 2049;
		outcome.state.size = 384952;
		outcome.state.mtime_ns = outcome.state.ctime_ns = 1700000000123456789 + i;
		while ((r = ledger_intend(ledger, &intent, &id)) == -EAGAIN)
			usleep(1000);
		assert_int_equal(r, 0);
		/* Applied as soon as handed in: nobody looks here whether it is durable. */
		ledger_applied(ledger, rel, id, &outcome);
	}
	handed = now_ns();
	flush(ledger);
	print_message("           %d merges of 20 runs: handed in within %.2f s, "
		      "done after %.2f s\n", files, (double)(handed - began) / 1e9,
		      (double)(now_ns() - began) / 1e9);
	close_it(ledger);
	assert_int_equal(stat(ledger_path(), &st), 0);
	print_message("           %.1f MB, %.0f bytes each\n", (double)st.st_size / 1e6,
		      (double)st.st_size / files);
	began = now_ns();
	assert_int_equal(ledger_open(&options, &ledger, &why), 0);
	opened = now_ns();
	for (int i = 0; i < files; i++) {
		snprintf(rel, sizeof(rel), "srv-%05d.example.net/Check_Service_%02d.rrd", i / 20,
			 i % 20);
		assert_true(ledger_known(ledger, rel, &known));
		assert_int_equal(known.ino, 1000000 + i);
	}
	print_message("           opened in %.0f ms, each asked for in %.0f ms\n",
		      (double)(opened - began) / 1e6, (double)(now_ns() - opened) / 1e6);
	close_it(ledger);
}

int main(void)
{
	const char *wanted = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_life, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_covers, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_bad_runs, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_void, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_interrupted, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_part, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_sync, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_refusals, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_undo, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_undo_interrupted, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_undo_abandoned, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_undo_void, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_wrote, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_undo_open, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_threads, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_kill, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_large, scratch_setup, scratch_teardown),
	};

	seed = wanted ? (unsigned)strtoul(wanted, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
