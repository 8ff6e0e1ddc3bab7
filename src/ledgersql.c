#include "config.h"
#include "ledgerint.h"

#include <ctype.h>
#include <errno.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CHECKPOINT_PAGES 1000

struct ledgersql {
	char *path;
	struct ledgerplace place;
	sqlite3 *write, *read;
	int held;               /* ledgerlock_hold()'s */
	struct ledgerwrite *writer;
	struct ledgerask *asker;
	int log_pages;          /* frames in the WAL after the last commit */
};

/* ---- opening ---- */

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
		r = ledgerwrite_open(sql->write, &sql->writer, why);
	if (!r)
		r = ledgerask_open(sql->read, true, &sql->asker, why);
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
	return r ? r : ledgerask_open(sql->read, false, &sql->asker, why);
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
	ledgerwrite_close(sql->writer);
	ledgerask_close(sql->asker);
	sqlite3_close(sql->read);
	sqlite3_close(sql->write);
	if (sql->held >= 0)
		close(sql->held);       /* last: see ledgerint.h */
	free(sql->path);
	free(sql);
}

struct ledgerwrite *ledgersql_writer(struct ledgersql *sql)
{
	return sql->writer;
}

struct ledgerask *ledgersql_asker(struct ledgersql *sql)
{
	return sql->asker;
}

/* ---- while it is open ---- */

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

void ledgersql_checkpoint(struct ledgersql *sql)
{
	if (sql->log_pages < CHECKPOINT_PAGES)
		return;
	/* Fails where the disk is full: the log grows then, and the next commit will say so. */
	sqlite3_wal_checkpoint_v2(sql->write, "main", SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
	sql->log_pages = 0;
	ledgerplace_note(&sql->place, sql->write, sql->path);
}

/* ---- what it says as it is opened ---- */

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

int ledgersql_unended(struct ledgersql *sql, ledgersql_unended_fn *fn, void *arg,
		      struct reason *why)
{
	sqlite3_stmt *statement = NULL;
	/* Of a ledger that has many merges, they are few. */
	int r = ledgerschema_run(sql->write, "CREATE INDEX IF NOT EXISTS merge_undoing ON merge(file)"
				 " WHERE undoing IS NOT NULL", why);
	int code;

	if (!r)
		r = ledgerschema_prepare(sql->write, LEDGERSQL_UNENDED, &statement, why);
	if (r)
		return r;
	while ((code = sqlite3_step(statement)) == SQLITE_ROW) {
		const char *rel = (const char *)sqlite3_column_text(statement, 0);

		if (rel)
			fn(rel, arg);
	}
	if (code != SQLITE_DONE)
		r = ledgerschema_fail(sql->write, code, why);
	sqlite3_finalize(statement);
	return r;
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
		r = row.rel ? file(&row, arg) : LEDGERSCHEMA_CORRUPT;
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
