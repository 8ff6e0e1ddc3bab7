#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <time.h>

enum statement {
	BEGIN, COMMIT, ROLLBACK, PUT_MARK, PUT_BASE, PUT_FILE, PUT_INTENT, PUT_HELD, PUT_ROOT, PUT_SOURCE,
	PUT_REFUSAL, SET_DONE, SET_UNDOING, SET_UNDONE, UNSET_UNDOING, REMOVE_SOURCES, REMOVE,
	IS_UNENDED,
	STATEMENTS
};

/* A commit whose sync has failed may have come through all the same: what puts something in has to
 * be good for a second time. */
static const char *const statement_text[STATEMENTS] = {
	[BEGIN] = "BEGIN IMMEDIATE",
	[COMMIT] = "COMMIT",
	[ROLLBACK] = "ROLLBACK",
	[PUT_MARK] = "UPDATE mark SET text = ?1 WHERE id = 1",
	[PUT_BASE] = "INSERT INTO file(id, path, seal) VALUES(?1, ?2, seal_of(?1, ?2, 0, 0, 0, 0,"
		" NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)) ON CONFLICT(id) DO NOTHING",
	[PUT_FILE] = "INSERT INTO file VALUES"
		"(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, seal_of"
		"(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15))"
		" ON CONFLICT(id) DO UPDATE SET path = ?2, verdict = ?3, settled = ?4, held = ?5,"
		" spread = ?6, dev = ?7, ino = ?8, identity = ?9, size = ?10, mtime_ns = ?11,"
		" ctime_ns = ?12, sources = ?13, cells = ?14, why = ?15, seal = excluded.seal",
	[PUT_INTENT] = "INSERT OR REPLACE INTO merge(id, file, what, state, time_ms, dev, ino, identity,"
		" last_up, exact, seam, consolidated, spread, runs, seal) VALUES"
		"(?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13,"
		" seal_of(?1, ?2, ?3, 0, ?4, ?5, ?6, ?7, ?8, NULL, NULL, ?13))",
	[PUT_HELD] = "UPDATE file SET held = held OR ?2, spread = spread OR ?3, "
		LEDGERSEAL_FILE_SET("held OR ?2", "spread OR ?3") " WHERE id = ?1",
	[PUT_ROOT] = "INSERT INTO root(path) SELECT ?1 WHERE NOT EXISTS"
		" (SELECT 1 FROM root WHERE path = ?1)",
	[PUT_SOURCE] = "INSERT OR REPLACE INTO source VALUES(?1, ?2, (SELECT id FROM root WHERE path = ?3),"
		" ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
	[PUT_REFUSAL] = "INSERT OR REPLACE INTO merge(id, file, what, state, time_ms, dev, ino, identity,"
		" reason, seal) VALUES(?1, ?2, 2, 1, ?3, ?4, ?5, ?6, ?7,"
		" seal_of(?1, ?2, 2, 1, ?3, ?4, ?5, ?6, NULL, NULL, NULL, NULL))",
	[SET_DONE] = "UPDATE merge SET state = ?2, done_ms = ?3, took_us = ?4, reason = ?5,"
		" exact = ?6, seam = ?7, consolidated = ?8, spread = ?9, "
		LEDGERSEAL_MERGE_SET("?2", "undone", "undoing") " WHERE id = ?1",
	/* The first one that may have taken something back stays. */
	[SET_UNDOING] = "UPDATE merge SET undoing = coalesce(undoing, ?2), "
		LEDGERSEAL_MERGE_SET("state", "undone", "coalesce(undoing, ?2)") " WHERE id = ?1",
	[SET_UNDONE] = "UPDATE merge SET undone = ?2, undoing = NULL, "
		LEDGERSEAL_MERGE_SET("state", "?2", "NULL") " WHERE id = ?1",
	[UNSET_UNDOING] = "UPDATE merge SET undoing = NULL, "
		LEDGERSEAL_MERGE_SET("state", "undone", "NULL") " WHERE id = ?1 AND undoing = ?2",
	[REMOVE_SOURCES] = "DELETE FROM source WHERE merge = ?1",
	[REMOVE] = "DELETE FROM merge WHERE id = ?1",
	[IS_UNENDED] = LEDGERSQL_UNENDED " AND m.file = ?1",
};

struct ledgerwrite {
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENTS];
};

int ledgerwrite_open(struct sqlite3 *db, struct ledgerwrite **ret, struct reason *why)
{
	struct ledgerwrite *writer = calloc(1, sizeof(*writer));
	int r = 0;

	if (!writer)
		return reason_errno(why, ENOMEM, "cannot be opened");
	writer->db = db;
	for (int i = 0; i < STATEMENTS && !r; i++)
		r = ledgerschema_prepare(db, statement_text[i], &writer->statement[i], why);
	if (r)
		ledgerwrite_close(writer);
	else
		*ret = writer;
	return r;
}

void ledgerwrite_close(struct ledgerwrite *writer)
{
	if (!writer)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(writer->statement[i]);
	free(writer);
}

/* ---- steps ---- */

static int step(struct ledgerwrite *writer, enum statement which, struct reason *why)
{
	int code = sqlite3_step(writer->statement[which]);

	if (code != SQLITE_DONE && code != SQLITE_ROW) {
		int r = ledgerschema_fail(writer->db, code, why);

		sqlite3_reset(writer->statement[which]);
		return r;
	}
	sqlite3_reset(writer->statement[which]);
	return 0;
}

static void bind(struct ledgerwrite *writer, enum statement which, int n, int64_t value)
{
	sqlite3_bind_int64(writer->statement[which], n, value);
}

static void bind_cells(struct ledgerwrite *writer, enum statement which, int n,
		       const uint64_t *cells)
{
	for (int kind = 0; kind < LEDGER_KINDS; kind++)
		bind(writer, which, n + kind, (int64_t)cells[kind]);
}

/* What is bound lives until the step after. */
static void bind_text(struct ledgerwrite *writer, enum statement which, int n, const char *text)
{
	sqlite3_bind_text(writer->statement[which], n, text, -1, SQLITE_STATIC);
}

/* ---- one transaction ---- */

int ledgerwrite_begin(struct ledgerwrite *writer, struct reason *why)
{
	return step(writer, BEGIN, why);
}

int ledgerwrite_mark(struct ledgerwrite *writer, const struct ledger_mark *mark,
		     struct reason *why)
{
	char text[LEDGER_MARK_SIZE];

	ledgerplace_text(mark, text);
	bind_text(writer, PUT_MARK, 1, text);
	return step(writer, PUT_MARK, why);
}

int ledgerwrite_commit(struct ledgerwrite *writer, struct reason *why)
{
	return step(writer, COMMIT, why);
}

void ledgerwrite_rollback(struct ledgerwrite *writer)
{
	/* An error may have done it already. */
	if (!sqlite3_get_autocommit(writer->db))
		step(writer, ROLLBACK, NULL);
}

static int put_refusal(struct ledgerwrite *writer, const struct file_row *row, struct reason *why)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	bind(writer, PUT_REFUSAL, 1, row->event);
	bind(writer, PUT_REFUSAL, 2, row->id);
	bind(writer, PUT_REFUSAL, 3, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	bind(writer, PUT_REFUSAL, 4, (int64_t)row->state.dev);
	bind(writer, PUT_REFUSAL, 5, (int64_t)row->state.ino);
	bind(writer, PUT_REFUSAL, 6, (int64_t)row->state.identity);
	bind_text(writer, PUT_REFUSAL, 7, row->refusal);
	return step(writer, PUT_REFUSAL, why);
}

int ledgerwrite_file(struct ledgerwrite *writer, const struct file_row *row, struct reason *why)
{
	const struct ledger_state *state = &row->state;
	const int64_t value[] = {
		state->verdict, state->settled, state->held, state->spread, (int64_t)state->dev,
		(int64_t)state->ino, (int64_t)state->identity, (int64_t)state->size,
		state->mtime_ns, state->ctime_ns, (int64_t)state->sources, (int64_t)state->cells,
		(int64_t)row->why
	};
	int r;

	bind(writer, PUT_FILE, 1, row->id);
	bind_text(writer, PUT_FILE, 2, row->rel);
	for (int i = 0; i < (int)(sizeof(value) / sizeof(*value)); i++)
		bind(writer, PUT_FILE, i + 3, value[i]);
	r = step(writer, PUT_FILE, why);
	return r || !row->refusal ? r : put_refusal(writer, row, why);
}

static int put_source(struct ledgerwrite *writer, const struct ticket *ticket, size_t n,
		      struct reason *why)
{
	const struct ledger_source *source = &ticket->source[n];
	int r;

	bind_text(writer, PUT_ROOT, 1, source->root);
	r = step(writer, PUT_ROOT, why);
	if (r)
		return r;
	bind(writer, PUT_SOURCE, 1, ticket->id);
	bind(writer, PUT_SOURCE, 2, (int64_t)n);
	bind_text(writer, PUT_SOURCE, 3, source->root);
	bind_text(writer, PUT_SOURCE, 4, source->rel);
	bind(writer, PUT_SOURCE, 5, (int64_t)source->size);
	bind(writer, PUT_SOURCE, 6, source->mtime_ns);
	bind(writer, PUT_SOURCE, 7, source->ctime_ns);
	bind_cells(writer, PUT_SOURCE, 8, ticket->given[n]);
	return step(writer, PUT_SOURCE, why);
}

static int put_undoes(struct ledgerwrite *writer, const struct ticket *ticket, enum statement which,
		      struct reason *why)
{
	int r = 0;

	for (size_t i = 0; i < ticket->undone && !r; i++) {
		bind(writer, which, 1, ticket->undoes[i]);
		bind(writer, which, 2, ticket->id);
		r = step(writer, which, why);
	}
	return r;
}

int ledgerwrite_intent(struct ledgerwrite *writer, const struct ticket *ticket,
		       struct reason *why)
{
	bool undo = ticket->what == LEDGER_UNDO, spread = ticket->intended[LEDGER_SPREAD] && !undo;
	int r;

	bind(writer, PUT_BASE, 1, ticket->file);
	bind_text(writer, PUT_BASE, 2, ticket->rel);
	r = step(writer, PUT_BASE, why);
	if (r)
		return r;
	bind(writer, PUT_INTENT, 1, ticket->id);
	bind(writer, PUT_INTENT, 2, ticket->file);
	bind(writer, PUT_INTENT, 3, ticket->what);
	bind(writer, PUT_INTENT, 4, ticket->time_ms);
	bind(writer, PUT_INTENT, 5, (int64_t)ticket->dev);
	bind(writer, PUT_INTENT, 6, (int64_t)ticket->ino);
	bind(writer, PUT_INTENT, 7, (int64_t)ticket->identity);
	bind(writer, PUT_INTENT, 8, ticket->last_up);
	bind_cells(writer, PUT_INTENT, 9, ticket->intended);
	sqlite3_bind_blob64(writer->statement[PUT_INTENT], 13, ticket->runs, ticket->runs_size,
			    SQLITE_STATIC);
	r = step(writer, PUT_INTENT, why);
	for (size_t n = 0; n < ticket->sources && !r; n++)
		r = put_source(writer, ticket, n, why);
	if (!r && (undo || spread)) {
		bind(writer, PUT_HELD, 1, ticket->file);
		bind(writer, PUT_HELD, 2, undo);
		bind(writer, PUT_HELD, 3, spread);
		r = step(writer, PUT_HELD, why);
	}
	return r ? r : put_undoes(writer, ticket, SET_UNDOING, why);
}

int ledgerwrite_done(struct ledgerwrite *writer, const struct ticket *ticket, int64_t now_ms,
		     struct reason *why)
{
	const struct ledger_outcome *outcome = &ticket->outcome;
	int r;

	bind(writer, SET_DONE, 1, ticket->id);
	bind(writer, SET_DONE, 2, outcome->result == LEDGER_PART ? LEDGER_IS_PART : LEDGER_IS_DONE);
	bind(writer, SET_DONE, 3, now_ms);
	bind(writer, SET_DONE, 4, (int64_t)(outcome->took_ns / 1000));
	bind_text(writer, SET_DONE, 5, ticket->reason);
	bind_cells(writer, SET_DONE, 6, outcome->cells);
	r = step(writer, SET_DONE, why);
	/* What is undone in part is undone again: invariant 9. */
	if (!r && outcome->result == LEDGER_DONE)
		r = put_undoes(writer, ticket, SET_UNDONE, why);
	return r;
}

int ledgerwrite_unended(struct ledgerwrite *writer, int64_t file, bool *ret, struct reason *why)
{
	sqlite3_stmt *statement = writer->statement[IS_UNENDED];
	int code, r = 0;

	sqlite3_bind_int64(statement, 1, file);
	code = sqlite3_step(statement);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		r = ledgerschema_fail(writer->db, code, why);
	sqlite3_reset(statement);
	if (!r)
		*ret = code == SQLITE_ROW;
	return r;
}

int ledgerwrite_remove(struct ledgerwrite *writer, const struct ticket *ticket,
		       struct reason *why)
{
	int r = put_undoes(writer, ticket, UNSET_UNDOING, why);

	bind(writer, REMOVE_SOURCES, 1, ticket->id);
	if (!r)
		r = step(writer, REMOVE_SOURCES, why);
	bind(writer, REMOVE, 1, ticket->id);
	return r ? r : step(writer, REMOVE, why);
}
