#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define SCHEMA_VERSION 3
#define HISTORY_VERSION 2               /* from which on the history can be asked */
#define APPLICATION_ID 0x7272646d       /* "rrdm" */
/* A larger one would take seconds to check; what is wrong with it shows when it is used. */
#define CHECK_BYTES (256 << 20)

/* ledgerplace.c; what is written to it later is as long. */
#define MARK_TABLE "CREATE TABLE mark(id INTEGER PRIMARY KEY, text TEXT NOT NULL);" \
	"INSERT INTO mark VALUES(1, 'rrdmergd 0000000000000000 0000000000000000');"

/* docs/ledger.md describes it.  Numbers of what, state, verdict are those of ledger.h. */
static const char schema[] =
	"CREATE TABLE file(id INTEGER PRIMARY KEY, path TEXT NOT NULL,"
	" verdict INTEGER NOT NULL DEFAULT 0, settled INTEGER NOT NULL DEFAULT 0,"
	" held INTEGER NOT NULL DEFAULT 0, spread INTEGER NOT NULL DEFAULT 0,"
	" dev INTEGER, ino INTEGER, identity INTEGER, size INTEGER, mtime_ns INTEGER,"
	" ctime_ns INTEGER, sources INTEGER, cells INTEGER, why INTEGER, seal INTEGER);"
	"CREATE TABLE merge(id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES file,"
	" what INTEGER NOT NULL, state INTEGER NOT NULL, time_ms INTEGER NOT NULL,"
	" done_ms INTEGER, dev INTEGER, ino INTEGER, identity INTEGER, last_up INTEGER,"
	" exact INTEGER, seam INTEGER, consolidated INTEGER, spread INTEGER,"
	" took_us INTEGER, undone INTEGER, reason TEXT, runs BLOB, undoing INTEGER,"
	" seal INTEGER);"
	"CREATE INDEX merge_file ON merge(file);"
	"CREATE INDEX merge_intended ON merge(id) WHERE state = 0;"
	MARK_TABLE
	"CREATE TABLE root(id INTEGER PRIMARY KEY, path TEXT NOT NULL);"
	"CREATE TABLE source(merge INTEGER NOT NULL REFERENCES merge, n INTEGER NOT NULL,"
	" root INTEGER NOT NULL REFERENCES root, path TEXT, size INTEGER, mtime_ns INTEGER,"
	" ctime_ns INTEGER, exact INTEGER, seam INTEGER, consolidated INTEGER, spread INTEGER,"
	" PRIMARY KEY(merge, n)) WITHOUT ROWID;";
static const char views[] =
	"CREATE VIEW merges AS SELECT m.id AS id,"
	" datetime(time_ms / 1000, 'unixepoch', 'localtime') AS time, f.path AS file,"
	" CASE what WHEN 0 THEN 'merge' WHEN 1 THEN 'undo' ELSE 'refusal' END AS what,"
	" CASE WHEN undone IS NOT NULL THEN 'undone' WHEN undoing IS NOT NULL THEN 'undone in part'"
	"  WHEN state = 0 THEN 'intended'"
	"  WHEN state = 1 THEN 'done' WHEN state = 2 THEN 'part' ELSE 'interrupted' END AS state,"
	" exact, seam, consolidated, m.spread AS spread,"
	" exact + seam + consolidated + m.spread AS cells, took_us / 1000.0 AS ms,"
	" coalesce(undone, undoing) AS undone_by, reason FROM merge m JOIN file f ON f.id = m.file;"
	"CREATE VIEW sources AS SELECT s.merge AS merge, m.time AS time, m.file AS file,"
	" r.path || '/' || coalesce(s.path, m.file) AS backup, s.size AS size,"
	" datetime(s.mtime_ns / 1000000000, 'unixepoch', 'localtime') AS changed,"
	" s.exact AS exact, s.seam AS seam, s.consolidated AS consolidated, s.spread AS spread,"
	" m.state AS state FROM source s JOIN merges m ON m.id = s.merge"
	" JOIN root r ON r.id = s.root;"
	"CREATE VIEW refusals AS SELECT max(m.id) AS id,"
	" datetime(time_ms / 1000, 'unixepoch', 'localtime') AS time, f.path AS file, reason"
	" FROM merge m JOIN file f ON f.id = m.file WHERE what = 2 AND f.verdict = 4"
	" GROUP BY m.file;";

/* From each version to the next.  The views are made anew behind the last. */
static const char *const migration[SCHEMA_VERSION] = {
	[1] = MARK_TABLE
	"ALTER TABLE merge ADD COLUMN undoing INTEGER;"
	/* Which merges an undo that was interrupted has begun with was not on record. */
	"UPDATE merge SET undoing = (SELECT min(u.id) FROM merge u WHERE u.file = merge.file"
	" AND u.what = 1 AND u.state <> 1 AND u.id > merge.id) WHERE what = 0 AND undone IS NULL;",
	[2] = "ALTER TABLE merge ADD COLUMN seal INTEGER; ALTER TABLE file ADD COLUMN seal INTEGER;"
	"UPDATE merge SET seal = " LEDGERSEAL_MERGE("state", "undone", "undoing") ";"
	"UPDATE file SET seal = " LEDGERSEAL_FILE("held", "spread") ";",
};
static const char drop_views[] = "DROP VIEW sources; DROP VIEW merges; DROP VIEW refusals;";

/* ---- errors ---- */

static int error_of(int code)
{
	switch (code & 0xff) {
	case SQLITE_FULL: return -ENOSPC;
	case SQLITE_NOMEM: return -ENOMEM;
	case SQLITE_READONLY: return -EROFS;
	case SQLITE_PERM: case SQLITE_AUTH: return -EACCES;
	case SQLITE_BUSY: case SQLITE_LOCKED: return -EBUSY;
	case SQLITE_CORRUPT: case SQLITE_NOTADB: return LEDGERSCHEMA_CORRUPT;
	case SQLITE_ERROR: return LEDGERSCHEMA_ODD;        /* there is no such table, or one too many */
	default: return -EIO;
	}
}

/* An error of SQLite's, said as far as it knows; for a system call that failed, with its reason. */
int ledgerschema_fail(sqlite3 *db, int code, struct reason *why)
{
	int error = db ? sqlite3_system_errno(db) : 0, kind = code & 0xff;

	if (error && (kind == SQLITE_IOERR || kind == SQLITE_CANTOPEN || kind == SQLITE_READONLY))
		reason_errno(why, error, "%s", sqlite3_errstr(code));
	else if (kind == SQLITE_BUSY)
		reason_set(why, "another program (sqlite3?) keeps it locked");
	else if (kind == SQLITE_IOERR)
		reason_set(why, "%s (SQLite's error %d)", sqlite3_errstr(code), code);
	else
		reason_set(why, "%s", db && sqlite3_errcode(db) ? sqlite3_errmsg(db)
			   : sqlite3_errstr(code));
	return error_of(code);
}

/* ---- opening ---- */

int ledgerschema_prepare(sqlite3 *db, const char *text, sqlite3_stmt **ret, struct reason *why)
{
	int code = sqlite3_prepare_v3(db, text, -1, SQLITE_PREPARE_PERSISTENT, ret, NULL);

	return code ? ledgerschema_fail(db, code, why) : 0;
}

int ledgerschema_run(sqlite3 *db, const char *text, struct reason *why)
{
	int code = sqlite3_exec(db, text, NULL, NULL, NULL);

	return code ? ledgerschema_fail(db, code, why) : 0;
}

int ledgerschema_ask(sqlite3 *db, const char *text, int64_t *ret, struct reason *why)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(db, text, -1, &statement, NULL);

	if (!code) {
		code = sqlite3_step(statement);
		if (code == SQLITE_ROW)
			*ret = sqlite3_column_int64(statement, 0);
	}
	if (code != SQLITE_ROW) {
		int r = ledgerschema_fail(db, code == SQLITE_DONE ? SQLITE_ERROR : code, why);

		sqlite3_finalize(statement);
		return r;
	}
	sqlite3_finalize(statement);
	return 0;
}

int ledgerschema_connect(const char *path, int flags, sqlite3 **ret, struct reason *why)
{
	sqlite3 *db = NULL;
	int code = sqlite3_open_v2(path, &db, flags | SQLITE_OPEN_NOMUTEX, NULL);

	if (code) {
		int r = ledgerschema_fail(db, code, why);

		if (db && sqlite3_system_errno(db))
			r = -sqlite3_system_errno(db);
		sqlite3_close(db);
		return r;
	}
	sqlite3_extended_result_codes(db, 1);
	ledgerseal_prepare(db);         /* without memory: what needs it will say so */
	sqlite3_busy_timeout(db, LEDGERSCHEMA_BUSY_MS);
	*ret = db;
	return 0;
}

static int quick_check(sqlite3 *db, struct reason *why)
{
	sqlite3_stmt *statement = NULL;
	int code = sqlite3_prepare_v2(db, "PRAGMA quick_check(1)", -1, &statement, NULL), r = 0;

	if (!code)
		code = sqlite3_step(statement);
	if (code == SQLITE_ROW) {
		const char *text = (const char *)sqlite3_column_text(statement, 0);

		if (!text || strcmp(text, "ok")) {
			for (const char *at = text; at && (at = strchr(at, '\n')); )
				text = ++at;    /* the first line only says where */
			reason_set(why, "%s", text ? text : "it is damaged");
			r = LEDGERSCHEMA_CORRUPT;
		}
	} else {
		r = ledgerschema_fail(db, code, why);
	}
	sqlite3_finalize(statement);
	return r;
}

/* Makes it one of our version, from nothing (0) or from an older one: all of it or none. */
static int make_ours(sqlite3 *db, int64_t version, struct reason *why)
{
	char text[128];
	int r = ledgerschema_run(db, "BEGIN IMMEDIATE", why);

	if (r)
		return r;
	snprintf(text, sizeof(text), "PRAGMA application_id = %d; PRAGMA user_version = %d",
		 APPLICATION_ID, SCHEMA_VERSION);
	r = ledgerschema_run(db, version ? drop_views : schema, why);
	for (int64_t step = version; step > 0 && step < SCHEMA_VERSION && !r; step++)
		r = ledgerschema_run(db, migration[step], why);
	if (!r)
		r = ledgerschema_run(db, views, why);
	if (!r)
		r = ledgerschema_run(db, text, why);
	if (!r)
		r = ledgerschema_run(db, "COMMIT", why);
	if (r)
		ledgerschema_run(db, "ROLLBACK", NULL);
	return r;
}

/* *ret_version 0: there is nothing in it. */
static int identify(sqlite3 *db, int64_t *ret_version, bool *ret_ours, struct reason *why)
{
	int64_t id = 0, version = 0, objects = 0;
	int r = ledgerschema_ask(db, "PRAGMA application_id", &id, why);

	if (!r)
		r = ledgerschema_ask(db, "PRAGMA user_version", &version, why);
	*ret_ours = !r && id == APPLICATION_ID;
	if (!r)
		r = ledgerschema_ask(db, "SELECT count(*) FROM sqlite_master", &objects, why);
	if (r)
		return r;
	if (!*ret_ours && (objects || id || version)) {
		reason_set(why, "is a database, but no ledger");
		return REFUSED;
	}
	if (version > SCHEMA_VERSION) {
		reason_set(why, "was written by a newer version of this program (its schema is "
			   "%lld, this one knows %d): use that one, or another file",
			   (long long)version, SCHEMA_VERSION);
		return REFUSED;
	}
	if (version < 0 || (!version && objects)) {
		reason_set(why, "its schema has the number %lld", (long long)version);
		return LEDGERSCHEMA_ODD;
	}
	*ret_version = version;
	return 0;
}

int ledgerschema_check_reading(sqlite3 *db, struct reason *why)
{
	struct reason damage = { "" };
	int64_t version = 0;
	bool ours = false;
	int r = identify(db, &version, &ours, &damage);

	if (r == LEDGERSCHEMA_CORRUPT || r == LEDGERSCHEMA_ODD) {
		reason_set(why, ours ? "is damaged (%s)" : "is no ledger", damage.text);
		return REFUSED;
	}
	*why = damage;
	if (!r && version < HISTORY_VERSION) {
		reason_set(why, version ? "was written by an older version: the first merge or undo "
			   "with it brings it to this one" : "is empty");
		r = REFUSED;
	}
	return r;
}

int ledgerschema_check(sqlite3 *db, bool whole, bool *ret_created, bool *ret_ours,
		       struct reason *why)
{
	int64_t version = 0, pages = 0, page_size = 0;
	int r = identify(db, &version, ret_ours, why);

	if (r)
		return r;
	*ret_created = version == 0;
	if (version) {
		r = ledgerschema_ask(db, "PRAGMA page_count", &pages, why);
		if (!r)
			r = ledgerschema_ask(db, "PRAGMA page_size", &page_size, why);
		if (!r && (whole || pages * page_size <= CHECK_BYTES))
			r = quick_check(db, why);
		if (r || version == SCHEMA_VERSION)
			return r;
	}
	return make_ours(db, version, why);
}

bool ledgerschema_is_ours(const char *path)
{
	uint8_t head[72];
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	ssize_t got;

	if (fd < 0)
		return false;
	got = pread(fd, head, sizeof(head), 0);
	close(fd);
	return got == (ssize_t)sizeof(head) && !memcmp(head, "SQLite format 3", 16)
		&& !memcmp(head + 68, "rrdm", 4);
}

int ledgerschema_set_aside(const char *path, const char *what, struct reason *ret)
{
	char from[4200], to[4200], stamp[32];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
	/* The log first: beside a new database it would be taken for that one's. */
	for (int log = 1; log >= 0; log--) {
		const char *ending = log ? "-wal" : "";

		snprintf(from, sizeof(from), "%s%s", path, ending);
		snprintf(to, sizeof(to), "%s.%s-%s%s", path, what, stamp, ending);
		if (rename(from, to) && errno != ENOENT)
			return reason_errno(ret, errno, "cannot be set aside");
	}
	snprintf(from, sizeof(from), "%s-shm", path);
	unlink(from);
	reason_set(ret, "%s", to);
	return 0;
}
