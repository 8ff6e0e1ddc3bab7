#include "config.h"
#include "ledgerint.h"

#include <ctype.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define CHECKPOINT_PAGES 1000

enum statement {
	BEGIN, COMMIT, ROLLBACK, PUT_MARK, PUT_BASE, PUT_FILE, PUT_INTENT, PUT_HELD, PUT_ROOT, PUT_SOURCE,
	PUT_REFUSAL, SET_DONE, SET_UNDOING, SET_UNDONE, UNSET_UNDOING, REMOVE_SOURCES, REMOVE,
	WRITES,
	HISTORY = WRITES, RUNS, SOURCES, RECORDED, UNDOABLE,
	STATEMENTS
};

#define ENTRY_COLUMNS "m.id, m.what, m.state, m.time_ms, m.done_ms, m.dev, m.ino, m.identity," \
	" m.last_up, m.exact, m.seam, m.consolidated, m.spread, m.took_us, m.undone, f.path," \
	" m.reason, (SELECT group_concat(r.path || '/' || coalesce(s.path, f.path), char(10))" \
	" FROM source s JOIN root r ON r.id = s.root WHERE s.merge = m.id), m.undoing"

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
	[HISTORY] = "SELECT " ENTRY_COLUMNS " FROM merge m JOIN file f ON f.id = m.file"
		" WHERE m.id >= ?2 AND m.id < ?3 AND m.file = ?1 ORDER BY m.id DESC LIMIT ?4",
	[RUNS] = "SELECT runs, " LEDGERSEAL_MERGE_SOUND " FROM merge WHERE id = ?1"
		" AND runs IS NOT NULL",
	[SOURCES] = "SELECT r.path || '/' || coalesce(s.path, f.path) FROM source s"
		" JOIN root r ON r.id = s.root JOIN merge m ON m.id = s.merge"
		" JOIN file f ON f.id = m.file WHERE s.merge = ?1 ORDER BY s.n",
	/* One that is damaged may have been any. */
	[RECORDED] = "SELECT id, state, ino, identity, last_up, undone IS NOT NULL, runs, what, "
		LEDGERSEAL_MERGE_SOUND " FROM merge WHERE file = ?1 ORDER BY id",
	[UNDOABLE] = "SELECT path FROM file WHERE id IN"
		" (SELECT m.file FROM merge m JOIN file f ON f.id = m.file WHERE m.what = 0"
		" AND m.undone IS NULL AND (coalesce(f.ino, 0) = 0"
		" OR (m.ino = f.ino AND m.identity = f.identity)))"
		" ORDER BY path",
};
/* The same of all files. */
static const char history_of_all[] =
	"SELECT " ENTRY_COLUMNS " FROM merge m JOIN file f ON f.id = m.file"
	" WHERE m.id >= ?2 AND m.id < ?3 AND ?1 = 0 ORDER BY m.id DESC LIMIT ?4";

struct ledgersql {
	char *path;
	struct ledgerplace place;
	sqlite3 *write, *read;
	int held;               /* ledgerlock_hold()'s */
	sqlite3_stmt *statement[STATEMENTS];
	sqlite3_stmt *history_of_all;
	int log_pages;          /* frames in the WAL after the last commit */
};

/* ---- steps ---- */

static int step(struct ledgersql *sql, enum statement which, struct reason *why)
{
	int code = sqlite3_step(sql->statement[which]);

	if (code != SQLITE_DONE && code != SQLITE_ROW) {
		int r = ledgerschema_fail(sql->write, code, why);

		sqlite3_reset(sql->statement[which]);
		return r;
	}
	sqlite3_reset(sql->statement[which]);
	return 0;
}

static void bind(struct ledgersql *sql, enum statement which, int n, int64_t value)
{
	sqlite3_bind_int64(sql->statement[which], n, value);
}

static void bind_cells(struct ledgersql *sql, enum statement which, int n, const uint64_t *cells)
{
	for (int kind = 0; kind < LEDGER_KINDS; kind++)
		bind(sql, which, n + kind, (int64_t)cells[kind]);
}

/* What is bound lives until the step after. */
static void bind_text(struct ledgersql *sql, enum statement which, int n, const char *text)
{
	sqlite3_bind_text(sql->statement[which], n, text, -1, SQLITE_STATIC);
}

/* ---- opening ---- */

static int prepare(sqlite3 *db, const char *text, sqlite3_stmt **ret, struct reason *why)
{
	int code = sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);

	return code ? ledgerschema_fail(db, code, why) : 0;
}

static int prepare_all(struct ledgersql *sql, struct reason *why)
{
	int r = 0;

	for (int i = 0; i < STATEMENTS && !r; i++)
		r = prepare(i < WRITES ? sql->write : sql->read, statement_text[i],
			    &sql->statement[i], why);
	return r ? r : prepare(sql->read, history_of_all, &sql->history_of_all, why);
}

static int count_log(void *arg, sqlite3 *db, const char *name, int pages)
{
	struct ledgersql *sql = arg;

	(void)db;
	(void)name;
	sql->log_pages = pages;
	return SQLITE_OK;
}

/* What is in the log from before may have failed to reach the disk, and the kernel does not try
 * twice: a commit behind it would be lost with it.  In the database it is written, and synced, anew.
 * Somebody who is reading may hinder that, and is not waited for. */
static int settle_log(sqlite3 *db, struct reason *why)
{
	int code;

	sqlite3_busy_timeout(db, 100);
	code = sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
	sqlite3_busy_timeout(db, LEDGERSCHEMA_BUSY_MS);
	if (code == SQLITE_OK || (code & 0xff) == SQLITE_BUSY)
		return 0;
	return ledgerschema_fail(db, code, why);
}

static int open_both(const char *path, bool whole, struct ledgersql *sql, bool *ret_created,
		     bool *ret_ours, struct reason *why)
{
	int r = ledgerlock_hold(path, &sql->held, why);

	if (!r)
		r = ledgerschema_connect(path, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE,
					 &sql->write, why);
	if (r)
		return r;
	if (sqlite3_db_readonly(sql->write, "main")) {
		reason_set(why, "may not be written to");
		return -EROFS;
	}
	r = ledgerschema_check(sql->write, whole, ret_created, ret_ours, why);
	if (!r)
		r = ledgerschema_run(sql->write, "PRAGMA journal_mode = WAL;"
				     "PRAGMA synchronous = FULL; PRAGMA cache_size = -2000;"
				     "PRAGMA journal_size_limit = 16777216", why);
	if (!r)
		r = settle_log(sql->write, why);
	if (!r)
		r = ledgerschema_connect(path, SQLITE_OPEN_READONLY, &sql->read, why);
	if (!r)
		r = ledgerschema_run(sql->read, "PRAGMA cache_size = -500", why);
	if (!r)
		r = prepare_all(sql, why);
	if (!r)
		r = ledgersql_mark(sql, &sql->place.opened, why);
	if (!r)
		r = ledgerplace_take(&sql->place, sql->write, path, why);
	if (!r)
		sqlite3_wal_hook(sql->write, count_log, sql);
	return r;
}

int ledgersql_open(const char *path, bool whole, struct ledgersql **ret, bool *ret_created,
		   bool *ret_ours, struct reason *why)
{
	struct ledgersql *sql = calloc(1, sizeof(*sql));
	bool created = false, ours = false;
	int r;

	if (!sql)
		return -ENOMEM;
	sql->held = -1;
	sql->path = strdup(path);
	r = sql->path ? open_both(path, whole, sql, &created, &ours, why) : -ENOMEM;
	if (r) {
		ledgersql_close(sql);
		*ret_ours = ours || ledgerschema_is_ours(path);
		return r;
	}
	*ret_created = created;
	*ret = sql;
	return 0;
}

/* Without a log nobody has it open, and it is what its file holds: then SQLite needs no right to
 * write there (sqlite.org/c3ref/open.html, "immutable"). */
static int connect_immutable(const char *path, sqlite3 **ret, struct reason *why)
{
	size_t size = strlen(path) * 3 + 64;
	char *uri = malloc(size), *at = uri;

	if (!uri)
		return reason_errno(why, ENOMEM, "cannot be read");
	at = stpcpy(at, *path == '/' ? "file://" : "file:");
	for (const char *from = path; *from; from++)
		if (isalnum((unsigned char)*from) || strchr("/._-", *from))
			*at++ = *from;
		else
			at += sprintf(at, "%%%02x", (unsigned)(unsigned char)*from);
	strcpy(at, "?immutable=1");
	int r = ledgerschema_connect(uri, SQLITE_OPEN_READONLY | SQLITE_OPEN_URI, ret, why);
	free(uri);
	return r;
}

static int open_to_read(struct ledgersql *sql, struct reason *why)
{
	char log[4200];
	struct stat st;

	snprintf(log, sizeof(log), "%s-wal", sql->path);
	bool logged = !lstat(log, &st);
	int r = logged ? ledgerschema_connect(sql->path, SQLITE_OPEN_READONLY, &sql->read, why)
		: connect_immutable(sql->path, &sql->read, why);

	if (!r)
		r = ledgerschema_check_reading(sql->read, why);
	if (r < 0 && logged)
		reason_add(why, "without the right to write beside it, what is in its log cannot be "
			   "read");
	return r ? r : prepare(sql->read, history_of_all, &sql->history_of_all, why);
}

int ledgersql_open_reading(const char *path, struct ledgersql **ret, struct reason *why)
{
	struct ledgersql *sql = calloc(1, sizeof(*sql));
	int r = -ENOMEM;

	if (!sql)
		return reason_errno(why, ENOMEM, "cannot be read");
	sql->held = -1;
	sql->path = strdup(path);
	if (sql->path)
		r = open_to_read(sql, why);
	if (r)
		ledgersql_close(sql);
	else
		*ret = sql;
	return r;
}

void ledgersql_close(struct ledgersql *sql)
{
	if (!sql)
		return;
	for (int i = 0; i < STATEMENTS; i++)
		sqlite3_finalize(sql->statement[i]);
	sqlite3_finalize(sql->history_of_all);
	sqlite3_close(sql->read);
	sqlite3_close(sql->write);
	if (sql->held >= 0)
		close(sql->held);       /* last: see ledgerint.h */
	free(sql->path);
	free(sql);
}

enum ledgerplace_is ledgersql_check(struct ledgersql *sql, const struct ledger_mark *last)
{
	return ledgerplace_check(&sql->place, sql->write, sql->path, last);
}

void ledgersql_leave(struct ledgersql *sql, enum ledgerplace_is found)
{
	const struct ledgerplace place = sql->place;
	char path[4200];

	snprintf(path, sizeof(path), "%s", sql->path);
	if (found != LEDGERPLACE_REPLACED)
		sqlite3_wal_checkpoint_v2(sql->write, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	if (found != LEDGERPLACE_LOG_LOST) {
		sqlite3_db_config(sql->read, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
		sqlite3_db_config(sql->write, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
	}
	ledgersql_close(sql);
	if (found != LEDGERPLACE_LOG_LOST)
		ledgerplace_clear(&place, path);
}

int ledgersql_mark(struct ledgersql *sql, struct ledger_mark *ret, struct reason *why)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(sql->write, "SELECT text FROM mark WHERE id = 1", -1,
				      &statement, NULL), r = 0;

	*ret = (struct ledger_mark){ 0 };
	if (!code)
		code = sqlite3_step(statement);
	const char *text = code == SQLITE_ROW
		? (const char *)sqlite3_column_text(statement, 0) : NULL;
	if (text)
		ledgerplace_parse(text, ret);
	if (code != SQLITE_ROW && code != SQLITE_DONE)
		r = ledgerschema_fail(sql->write, code, why);
	sqlite3_finalize(statement);
	return r;
}

static const char load_text[] = "SELECT id, path, verdict, settled, held, spread, dev, ino, identity,"
	" size, mtime_ns, ctime_ns, sources, cells, why, " LEDGERSEAL_FILE_SOUND " FROM file";

/* Was the last of a file's merges and undos an undo, which holds it? */
static bool ends_with_undo(struct ledgersql *sql, int64_t file)
{
	char text[128];
	int64_t found = 0;

	snprintf(text, sizeof(text), "SELECT count(*) FROM merge WHERE what = 1 AND id ="
		 " (SELECT max(id) FROM merge WHERE what < 2 AND file = %lld)", (long long)file);
	return !ledgerschema_ask(sql->write, text, &found, NULL) && found;
}

static void read_row(struct ledgersql *sql, sqlite3_stmt *s, struct file_row *ret)
{
	*ret = (struct file_row){
		.id = sqlite3_column_int64(s, 0),
		.rel = (const char *)sqlite3_column_text(s, 1),
		.damaged = !sqlite3_column_int(s, 15),
	};
	if (ret->damaged) {
		ret->state.held = ends_with_undo(sql, ret->id);
		ret->state.spread = true;
		return;
	}
	ret->why = (uint64_t)sqlite3_column_int64(s, 14);
	ret->state = (struct ledger_state){
		.verdict = (uint8_t)sqlite3_column_int(s, 2),
		.settled = sqlite3_column_int(s, 3) != 0,
		.held = sqlite3_column_int(s, 4) != 0,
		.spread = sqlite3_column_int(s, 5) != 0,
		.dev = (uint64_t)sqlite3_column_int64(s, 6),
		.ino = (uint64_t)sqlite3_column_int64(s, 7),
		.identity = (uint64_t)sqlite3_column_int64(s, 8),
		.size = (uint64_t)sqlite3_column_int64(s, 9),
		.mtime_ns = sqlite3_column_int64(s, 10),
		.ctime_ns = sqlite3_column_int64(s, 11),
		.sources = (uint64_t)sqlite3_column_int64(s, 12),
		.cells = (uint64_t)sqlite3_column_int64(s, 13),
	};
}

int ledgersql_load(struct ledgersql *sql, ledgersql_file_fn *file, void *arg,
		   int64_t *ret_last_file, int64_t *ret_last_merge, struct reason *why)
{
	sqlite3_stmt *statement = NULL;
	int64_t last_file = 0, last_merge = 0;
	/* What nobody finished may be in part on disk: invariant 4. */
	int r = ledgerschema_run(sql->write, "UPDATE merge SET state = 3, "
				 LEDGERSEAL_MERGE_SET("3", "undone", "undoing")
				 " WHERE state = 0", why);
	int code;

	if (!r)
		r = ledgerschema_ask(sql->write, "SELECT coalesce(max(id), 0) FROM file",
				     &last_file, why);
	if (!r)
		r = ledgerschema_ask(sql->write, "SELECT coalesce(max(id), 0) FROM merge",
				     &last_merge, why);
	if (r)
		return r;
	code = sqlite3_prepare_v2(sql->write, load_text, -1, &statement, NULL);
	while (!code && !r && (code = sqlite3_step(statement)) == SQLITE_ROW) {
		struct file_row row;

		read_row(sql, statement, &row);
		code = 0;
		r = row.rel ? file(&row, arg) : LEDGERSQL_CORRUPT;
	}
	if (!r && code && code != SQLITE_DONE)
		r = ledgerschema_fail(sql->write, code, why);
	sqlite3_finalize(statement);
	if (r)
		return r;
	*ret_last_file = last_file;
	*ret_last_merge = last_merge;
	return 0;
}

/* ---- one transaction ---- */

int ledgersql_begin(struct ledgersql *sql, struct reason *why)
{
	return step(sql, BEGIN, why);
}

int ledgersql_put_mark(struct ledgersql *sql, const struct ledger_mark *mark, struct reason *why)
{
	char text[LEDGER_MARK_SIZE];

	ledgerplace_text(mark, text);
	bind_text(sql, PUT_MARK, 1, text);
	return step(sql, PUT_MARK, why);
}

int ledgersql_commit(struct ledgersql *sql, struct reason *why)
{
	return step(sql, COMMIT, why);
}

void ledgersql_rollback(struct ledgersql *sql)
{
	/* An error may have done it already. */
	if (!sqlite3_get_autocommit(sql->write))
		step(sql, ROLLBACK, NULL);
}

void ledgersql_checkpoint(struct ledgersql *sql)
{
	if (sql->log_pages < CHECKPOINT_PAGES)
		return;
	/* Fails where the disk is full: the log grows then, and the next commit will say so. */
	sqlite3_wal_checkpoint_v2(sql->write, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	sql->log_pages = 0;
	ledgerplace_note(&sql->place, sql->write, sql->path);
}

static int put_refusal(struct ledgersql *sql, const struct file_row *row, struct reason *why)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	bind(sql, PUT_REFUSAL, 1, row->event);
	bind(sql, PUT_REFUSAL, 2, row->id);
	bind(sql, PUT_REFUSAL, 3, (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
	bind(sql, PUT_REFUSAL, 4, (int64_t)row->state.dev);
	bind(sql, PUT_REFUSAL, 5, (int64_t)row->state.ino);
	bind(sql, PUT_REFUSAL, 6, (int64_t)row->state.identity);
	bind_text(sql, PUT_REFUSAL, 7, row->refusal);
	return step(sql, PUT_REFUSAL, why);
}

int ledgersql_put_file(struct ledgersql *sql, const struct file_row *row, struct reason *why)
{
	const struct ledger_state *state = &row->state;
	const int64_t value[] = {
		state->verdict, state->settled, state->held, state->spread, (int64_t)state->dev,
		(int64_t)state->ino, (int64_t)state->identity, (int64_t)state->size,
		state->mtime_ns, state->ctime_ns, (int64_t)state->sources, (int64_t)state->cells,
		(int64_t)row->why
	};
	int r;

	bind(sql, PUT_FILE, 1, row->id);
	bind_text(sql, PUT_FILE, 2, row->rel);
	for (int i = 0; i < (int)(sizeof(value) / sizeof(*value)); i++)
		bind(sql, PUT_FILE, i + 3, value[i]);
	r = step(sql, PUT_FILE, why);
	return r || !row->refusal ? r : put_refusal(sql, row, why);
}

static int put_source(struct ledgersql *sql, const struct ticket *ticket, size_t n,
		      struct reason *why)
{
	const struct ledger_source *source = &ticket->source[n];
	int r;

	bind_text(sql, PUT_ROOT, 1, source->root);
	r = step(sql, PUT_ROOT, why);
	if (r)
		return r;
	bind(sql, PUT_SOURCE, 1, ticket->id);
	bind(sql, PUT_SOURCE, 2, (int64_t)n);
	bind_text(sql, PUT_SOURCE, 3, source->root);
	bind_text(sql, PUT_SOURCE, 4, source->rel);
	bind(sql, PUT_SOURCE, 5, (int64_t)source->size);
	bind(sql, PUT_SOURCE, 6, source->mtime_ns);
	bind(sql, PUT_SOURCE, 7, source->ctime_ns);
	bind_cells(sql, PUT_SOURCE, 8, ticket->given[n]);
	return step(sql, PUT_SOURCE, why);
}

static int put_undoes(struct ledgersql *sql, const struct ticket *ticket, enum statement which,
		      struct reason *why)
{
	int r = 0;

	for (size_t i = 0; i < ticket->undone && !r; i++) {
		bind(sql, which, 1, ticket->undoes[i]);
		bind(sql, which, 2, ticket->id);
		r = step(sql, which, why);
	}
	return r;
}

int ledgersql_put_intent(struct ledgersql *sql, const struct ticket *ticket, struct reason *why)
{
	bool undo = ticket->what == LEDGER_UNDO, spread = ticket->intended[LEDGER_SPREAD] && !undo;
	int r;

	bind(sql, PUT_BASE, 1, ticket->file);
	bind_text(sql, PUT_BASE, 2, ticket->rel);
	r = step(sql, PUT_BASE, why);
	if (r)
		return r;
	bind(sql, PUT_INTENT, 1, ticket->id);
	bind(sql, PUT_INTENT, 2, ticket->file);
	bind(sql, PUT_INTENT, 3, ticket->what);
	bind(sql, PUT_INTENT, 4, ticket->time_ms);
	bind(sql, PUT_INTENT, 5, (int64_t)ticket->dev);
	bind(sql, PUT_INTENT, 6, (int64_t)ticket->ino);
	bind(sql, PUT_INTENT, 7, (int64_t)ticket->identity);
	bind(sql, PUT_INTENT, 8, ticket->last_up);
	bind_cells(sql, PUT_INTENT, 9, ticket->intended);
	sqlite3_bind_blob64(sql->statement[PUT_INTENT], 13, ticket->runs, ticket->runs_size,
			    SQLITE_STATIC);
	r = step(sql, PUT_INTENT, why);
	for (size_t n = 0; n < ticket->sources && !r; n++)
		r = put_source(sql, ticket, n, why);
	if (!r && (undo || spread)) {
		bind(sql, PUT_HELD, 1, ticket->file);
		bind(sql, PUT_HELD, 2, undo);
		bind(sql, PUT_HELD, 3, spread);
		r = step(sql, PUT_HELD, why);
	}
	return r ? r : put_undoes(sql, ticket, SET_UNDOING, why);
}

int ledgersql_put_done(struct ledgersql *sql, const struct ticket *ticket, int64_t now_ms,
		       struct reason *why)
{
	const struct ledger_outcome *outcome = &ticket->outcome;
	int r;

	bind(sql, SET_DONE, 1, ticket->id);
	bind(sql, SET_DONE, 2, outcome->result == LEDGER_PART ? LEDGER_IS_PART : LEDGER_IS_DONE);
	bind(sql, SET_DONE, 3, now_ms);
	bind(sql, SET_DONE, 4, (int64_t)(outcome->took_ns / 1000));
	bind_text(sql, SET_DONE, 5, ticket->reason);
	bind_cells(sql, SET_DONE, 6, outcome->cells);
	r = step(sql, SET_DONE, why);
	/* What is undone in part is undone again: invariant 9. */
	if (!r && outcome->result == LEDGER_DONE)
		r = put_undoes(sql, ticket, SET_UNDONE, why);
	return r;
}

int ledgersql_remove(struct ledgersql *sql, const struct ticket *ticket, struct reason *why)
{
	int r = put_undoes(sql, ticket, UNSET_UNDOING, why);

	bind(sql, REMOVE_SOURCES, 1, ticket->id);
	if (!r)
		r = step(sql, REMOVE_SOURCES, why);
	bind(sql, REMOVE, 1, ticket->id);
	return r ? r : step(sql, REMOVE, why);
}

/* ---- questions ---- */

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
static int ended(struct ledgersql *sql, sqlite3_stmt *statement, int code, int r)
{
	sqlite3_reset(statement);
	if (r || code == SQLITE_DONE)
		return r;
	r = ledgerschema_fail(sql->read, code, NULL);
	return r == LEDGERSQL_CORRUPT || r == LEDGERSQL_ODD ? -EUCLEAN : r;
}

int ledgersql_history(struct ledgersql *sql, int64_t file, int64_t id, int64_t before,
		      size_t limit, struct ledger_entry **ret, size_t *ret_count)
{
	sqlite3_stmt *statement = file ? sql->statement[HISTORY] : sql->history_of_all;
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
	r = ended(sql, statement, code, r);
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
	return ledgercells_unpack(bytes, (size_t)sqlite3_column_bytes(statement, column), ret);
}

int ledgersql_runs(struct ledgersql *sql, int64_t id, struct ledger_cells *ret)
{
	sqlite3_stmt *statement = sql->statement[RUNS];
	int code, r;

	sqlite3_bind_int64(statement, 1, id);
	code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		r = sqlite3_column_int(statement, 1) ? read_runs(statement, 0, ret) : -EBADMSG;
		sqlite3_reset(statement);
		return r;
	}
	return ended(sql, statement, code, code == SQLITE_DONE ? -ENOENT : 0);
}

/* A list of texts. */
static int read_texts(struct ledgersql *sql, sqlite3_stmt *statement, char ***ret, size_t *ret_count)
{
	void *array = NULL;
	size_t count = 0;
	int code, r = 0;

	while ((code = sqlite3_step(statement)) == SQLITE_ROW && !r) {
		r = more(&array, count, sizeof(char *));
		if (!r)
			((char **)array)[count++] = copy_text(statement, 0, &r);
	}
	r = ended(sql, statement, code, r);
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

int ledgersql_sources(struct ledgersql *sql, int64_t id, char ***ret, size_t *ret_count)
{
	sqlite3_bind_int64(sql->statement[SOURCES], 1, id);
	return read_texts(sql, sql->statement[SOURCES], ret, ret_count);
}

int ledgersql_undoable(struct ledgersql *sql, char ***ret, size_t *ret_count)
{
	return read_texts(sql, sql->statement[UNDOABLE], ret, ret_count);
}

int ledgersql_recorded(struct ledgersql *sql, int64_t file, struct recorded **ret,
		       size_t *ret_count, int64_t *ret_damaged)
{
	sqlite3_stmt *statement = sql->statement[RECORDED];
	void *array = NULL;
	size_t count = 0;
	int code, r = 0;

	sqlite3_bind_int64(statement, 1, file);
	while ((code = sqlite3_step(statement)) == SQLITE_ROW && !r) {
		bool sound = sqlite3_column_int(statement, 8);

		if (sound && sqlite3_column_int(statement, 7) != LEDGER_MERGE)
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
		r = read_runs(statement, 6, &merge->cells);
		if (r)
			break;
	}
	r = ended(sql, statement, code, r);
	if (r) {
		ledgersql_recorded_free(array, count);
		return r;
	}
	*ret = array;
	*ret_count = count;
	return 0;
}

void ledgersql_recorded_free(struct recorded *merge, size_t count)
{
	for (size_t n = 0; n < count; n++)
		ledger_cells_free(&merge[n].cells);
	free(merge);
}
