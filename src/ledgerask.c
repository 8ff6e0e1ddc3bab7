#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <sqlite3.h>
#include <stdlib.h>
#include <string.h>

/* The first is all that can be asked where nothing else is prepared. */
enum statement { HISTORY_OF_ALL, HISTORY, RUNS, SOURCES, RECORDED, UNDOABLE, STATEMENTS };

/* One line, whatever the path: a newline in it is \x0A, a backslash \\. */
#define SOURCE_LINE "replace(replace(r.path || '/' || coalesce(s.path, f.path), '\\', '\\\\')," \
	" char(10), '\\x0A')"
#define ENTRY_COLUMNS "m.id, m.what, m.state, m.time_ms, m.done_ms, m.dev, m.ino, m.identity," \
	" m.last_up, m.exact, m.seam, m.consolidated, m.spread, m.took_us, m.undone, f.path," \
	" m.reason, (SELECT group_concat(" SOURCE_LINE ", char(10))" \
	" FROM source s JOIN root r ON r.id = s.root WHERE s.merge = m.id), m.undoing"

static const char *const statement_text[STATEMENTS] = {
	[HISTORY_OF_ALL] = "SELECT " ENTRY_COLUMNS " FROM merge m JOIN file f ON f.id = m.file"
		" WHERE m.id >= ?2 AND m.id < ?3 AND ?1 = 0 ORDER BY m.id DESC LIMIT ?4",
	[HISTORY] = "SELECT " ENTRY_COLUMNS " FROM merge m JOIN file f ON f.id = m.file"
		" WHERE m.id >= ?2 AND m.id < ?3 AND m.file = ?1 ORDER BY m.id DESC LIMIT ?4",
	[RUNS] = "SELECT runs, " LEDGERSEAL_MERGE_SOUND " FROM merge WHERE id = ?1"
		" AND runs IS NOT NULL",
	[SOURCES] = "SELECT r.path || '/' || coalesce(s.path, f.path) FROM source s"
		" JOIN root r ON r.id = s.root JOIN merge m ON m.id = s.merge"
		" JOIN file f ON f.id = m.file WHERE s.merge = ?1 ORDER BY s.n",
	/* One that is damaged may have been any. */
	[RECORDED] = "SELECT id, state, ino, identity, last_up, undone IS NOT NULL, runs, what, "
		LEDGERSEAL_MERGE_SOUND ", undoing IS NOT NULL FROM merge WHERE file = ?1 ORDER BY id",
	[UNDOABLE] = "SELECT path FROM file WHERE id IN"
		" (SELECT m.file FROM merge m JOIN file f ON f.id = m.file WHERE m.what = 0"
		" AND m.undone IS NULL AND (coalesce(f.ino, 0) = 0"
		" OR (m.ino = f.ino AND m.identity = f.identity)))"
		" ORDER BY path",
};

struct ledgerask {
	sqlite3 *db;
	sqlite3_stmt *statement[STATEMENTS];
};

int ledgerask_open(struct sqlite3 *db, bool all, struct ledgerask **ret, struct reason *why)
{
	struct ledgerask *asker = calloc(1, sizeof(*asker));
	int r = 0;

	if (!asker)
		return reason_errno(why, ENOMEM, "cannot be opened");
	asker->db = db;
	for (int i = 0; i < (all ? STATEMENTS : HISTORY_OF_ALL + 1) && !r; i++)
		r = ledgerschema_prepare(db, statement_text[i], &asker->statement[i], why);
	if (r)
		ledgerask_close(asker);
	else
		*ret = asker;
	return r;
}

void ledgerask_close(struct ledgerask *asker)
{
	if (!asker)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(asker->statement[i]);
	free(asker);
}

static char *copy_text(sqlite3_stmt *statement, int column, int *r)
{
	const char *text = (const char *)sqlite3_column_text(statement, column);
	char *copy = text ? strdup(text) : NULL;

	if (text && !copy)
		*r = -ENOMEM;
	return copy;
}

static uint64_t number(sqlite3_stmt *statement, int column)
{
	return (uint64_t)sqlite3_column_int64(statement, column);
}

static int read_entry(sqlite3_stmt *statement, struct ledger_entry *entry)
{
	int r = 0;

	memset(entry, 0, sizeof(*entry));
	entry->id = sqlite3_column_int64(statement, 0);
	entry->what = (enum ledger_what)sqlite3_column_int(statement, 1);
	entry->stage = (enum ledger_stage)sqlite3_column_int(statement, 2);
	entry->time_ms = sqlite3_column_int64(statement, 3);
	entry->done_ms = sqlite3_column_int64(statement, 4);
	entry->dev = number(statement, 5);
	entry->ino = number(statement, 6);
	entry->identity = number(statement, 7);
	entry->last_up = sqlite3_column_int64(statement, 8);
	for (int kind = 0; kind < LEDGER_KINDS; kind++)
		entry->cells[kind] = number(statement, 9 + kind);
	entry->took_us = number(statement, 13);
	entry->undone = sqlite3_column_int64(statement, 14);
	entry->rel = copy_text(statement, 15, &r);
	entry->reason = copy_text(statement, 16, &r);
	entry->sources = copy_text(statement, 17, &r);
	entry->undoing = sqlite3_column_int64(statement, 18);
	return r;
}

/* Makes room for one more. */
static int more(void **array, size_t count, size_t size)
{
	void *grown;

	if (count & (count - 1))
		return 0;
	grown = reallocarray(*array, count ? count * 2 : 1, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	return 0;
}

/* The end of a question. */
static int ended(struct ledgerask *asker, sqlite3_stmt *statement, int code, int r)
{
	sqlite3_reset(statement);
	if (r || code == SQLITE_DONE)
		return r;
	r = ledgerschema_fail(asker->db, code, NULL);
	return r == LEDGERSCHEMA_CORRUPT || r == LEDGERSCHEMA_ODD ? -EUCLEAN : r;
}

void ledger_entries_free(struct ledger_entry *entry, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(entry[i].rel);
		free(entry[i].reason);
		free(entry[i].sources);
	}
	free(entry);
}

int ledgerask_history(struct ledgerask *asker, int64_t file, int64_t id, int64_t before,
		      size_t limit, struct ledger_entry **ret, size_t *ret_count)
{
	sqlite3_stmt *statement = asker->statement[file ? HISTORY : HISTORY_OF_ALL];
	void *entry = NULL;
	size_t count = 0;
	int code, r = 0;

	sqlite3_bind_int64(statement, 1, file);
	sqlite3_bind_int64(statement, 2, id);
	sqlite3_bind_int64(statement, 3, id ? id + 1 : before ? before : INT64_MAX);
	sqlite3_bind_int64(statement, 4, limit > INT32_MAX ? INT32_MAX : (int64_t)limit);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW && !r) {
		r = more(&entry, count, sizeof(struct ledger_entry));
		if (!r)
			r = read_entry(statement, (struct ledger_entry *)entry + count++);
	}
	r = ended(asker, statement, code, r);
	if (r) {
		ledger_entries_free(entry, count);
		return r;
	}
	*ret = entry;
	*ret_count = count;
	return 0;
}

static int read_runs(sqlite3_stmt *statement, int column, struct ledger_cells *ret)
{
	const uint8_t *bytes = sqlite3_column_blob(statement, column);

	if (!bytes)
		return -EBADMSG;
	return ledgerpack_get(bytes, (size_t)sqlite3_column_bytes(statement, column), ret);
}

int ledgerask_runs(struct ledgerask *asker, int64_t id, struct ledger_cells *ret)
{
	sqlite3_stmt *statement = asker->statement[RUNS];
	int code, r;

	sqlite3_bind_int64(statement, 1, id);
	code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		r = sqlite3_column_int(statement, 1) ? read_runs(statement, 0, ret) : -EBADMSG;
		sqlite3_reset(statement);
		return r;
	}
	return ended(asker, statement, code, code == SQLITE_DONE ? -ENOENT : 0);
}

/* A list of texts. */
static int read_texts(struct ledgerask *asker, sqlite3_stmt *statement, char ***ret,
		      size_t *ret_count)
{
	void *array = NULL;
	size_t count = 0;
	int code, r = 0;

	while ((code = sqlite3_step(statement)) == SQLITE_ROW && !r) {
		r = more(&array, count, sizeof(char *));
		if (!r)
			((char **)array)[count++] = copy_text(statement, 0, &r);
	}
	r = ended(asker, statement, code, r);
	if (r) {
		while (count > 0)
			free(((char **)array)[--count]);
		free(array);
		return r;
	}
	*ret = array;
	*ret_count = count;
	return 0;
}

int ledgerask_sources(struct ledgerask *asker, int64_t id, char ***ret, size_t *ret_count)
{
	sqlite3_bind_int64(asker->statement[SOURCES], 1, id);
	return read_texts(asker, asker->statement[SOURCES], ret, ret_count);
}

int ledgerask_undoable(struct ledgerask *asker, char ***ret, size_t *ret_count)
{
	return read_texts(asker, asker->statement[UNDOABLE], ret, ret_count);
}

int ledgerask_recorded(struct ledgerask *asker, int64_t file, enum ledger_what what,
		       struct recorded **ret, size_t *ret_count, int64_t *ret_damaged)
{
	sqlite3_stmt *statement = asker->statement[RECORDED];
	void *array = NULL;
	size_t count = 0;
	int code, r = 0;

	sqlite3_bind_int64(statement, 1, file);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW && !r) {
		bool sound = sqlite3_column_int(statement, 8);

		if (sound && sqlite3_column_int(statement, 7) != (int)what)
			continue;
		*ret_damaged = sqlite3_column_int64(statement, 0);
		r = sound ? more(&array, count, sizeof(struct recorded)) : -EBADMSG;
		if (r)
			break;
		struct recorded *merge = (struct recorded *)array + count++;

		memset(merge, 0, sizeof(*merge));
		merge->id = sqlite3_column_int64(statement, 0);
		merge->stage = (enum ledger_stage)sqlite3_column_int(statement, 1);
		merge->ino = number(statement, 2);
		merge->identity = number(statement, 3);
		merge->last_up = sqlite3_column_int64(statement, 4);
		merge->undone = sqlite3_column_int(statement, 5) != 0;
		merge->undoing = sqlite3_column_int(statement, 9) != 0;
		r = read_runs(statement, 6, &merge->cells);
		if (r)
			break;
	}
	r = ended(asker, statement, code, r);
	if (r) {
		ledgerask_recorded_free(array, count);
		return r;
	}
	*ret = array;
	*ret_count = count;
	return 0;
}

void ledgerask_recorded_free(struct recorded *merge, size_t count)
{
	for (size_t n = 0; n < count; n++)
		ledger_cells_free(&merge[n].cells);
	free(merge);
}
