#include "config.h"
#include "ledgerint.h"

#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define MARK "rrdmergd "
#define PAGE_MAX 65536

void ledgerplace_text(const struct ledger_mark *mark, char *buffer)
{
	snprintf(buffer, LEDGER_MARK_SIZE, MARK "%016" PRIx64 " %016" PRIx64, mark->token,
		 mark->count);
}

bool ledgerplace_parse(const char *text, struct ledger_mark *ret)
{
	uint64_t token, count;

	if (sscanf(text, MARK "%16" SCNx64 " %16" SCNx64, &token, &count) != 2)
		return false;
	*ret = (struct ledger_mark){ token, count };
	return true;
}

/* The mark that stands in the database's own file, whatever is in the log: not through SQLite,
 * which has its pages in memory; but through its descriptor, for closing another one would give up
 * its locks.  False where there is none. */
static bool read_mark(const struct ledgerplace *place, sqlite3 *db, struct ledger_mark *ret)
{
	char page[PAGE_MAX + 1];
	sqlite3_file *file = NULL;
	int size = (int)place->page_size;

	if (!place->page || place->page_size > PAGE_MAX ||
	    sqlite3_file_control(db, "main", SQLITE_FCNTL_FILE_POINTER, &file) || !file->pMethods ||
	    file->pMethods->xRead(file, page, size, (sqlite3_int64)(place->page - 1) * size))
		return false;
	page[size] = '\0';
	const char *at = memmem(page, (size_t)size, MARK, strlen(MARK));
	return at && ledgerplace_parse(at, ret);
}

static bool is_equal(const struct ledger_mark *a, const struct ledger_mark *b)
{
	return a->token == b->token && a->count == b->count;
}

static struct ledger_stamp stamp_of(const struct stat *st)
{
	return (struct ledger_stamp){
		.dev = st->st_dev, .ino = st->st_ino, .size = (uint64_t)st->st_size,
		.mtime_ns = st->st_mtim.tv_sec * INT64_C(1000000000) + st->st_mtim.tv_nsec,
		.ctime_ns = st->st_ctim.tv_sec * INT64_C(1000000000) + st->st_ctim.tv_nsec,
	};
}

static bool stamp_at(const char *path, const char *ending, struct ledger_stamp *ret)
{
	char name[4200];
	struct stat st;

	snprintf(name, sizeof(name), "%s%s", path, ending);
	if (stat(name, &st))
		return false;
	*ret = stamp_of(&st);
	return true;
}

static bool same_file(const struct ledger_stamp *a, const struct ledger_stamp *b)
{
	return a->dev == b->dev && a->ino == b->ino;
}

int ledgerplace_take(struct ledgerplace *place, sqlite3 *db, const char *path, struct reason *why)
{
	int64_t page = 0, page_size = 0;
	int r = ledgerschema_ask(db, "SELECT rootpage FROM sqlite_master WHERE name = 'mark'", &page,
				 why);

	if (!r)
		r = ledgerschema_ask(db, "PRAGMA page_size", &page_size, why);
	if (r)
		return r;
	place->page = (uint32_t)page;
	place->page_size = (uint32_t)page_size;
	ledgerplace_note(place, db, path);
	return 0;
}

void ledgerplace_note(struct ledgerplace *place, sqlite3 *db, const char *path)
{
	/* Another one at the path now is found by the next check. */
	if (!stamp_at(path, "", &place->file))
		place->file = (struct ledger_stamp){ 0 };
	if (!stamp_at(path, "-wal", &place->log))
		place->log = (struct ledger_stamp){ 0 };
	if (!read_mark(place, db, &place->base))
		place->base = (struct ledger_mark){ 0 };
}

/* What has changed it was a checkpoint of our own log, by somebody else: what it has now was
 * committed by us since ours. */
static bool is_ours(const struct ledgerplace *place, sqlite3 *db, const struct ledger_mark *last)
{
	struct ledger_mark mark;

	if (!read_mark(place, db, &mark))
		return false;
	/* It does not go back. */
	if (place->base.token == last->token)
		return mark.token == last->token && mark.count >= place->base.count
			&& mark.count <= last->count;
	return is_equal(&mark, &place->base) || is_equal(&mark, &place->opened)
		|| (mark.token == last->token && mark.count <= last->count);
}

enum ledgerplace_is ledgerplace_check(struct ledgerplace *place, sqlite3 *db, const char *path,
				   const struct ledger_mark *last)
{
	struct ledger_stamp now, log;

	if (!stamp_at(path, "", &now) || !same_file(&now, &place->file))
		return LEDGERPLACE_MOVED;
	if (memcmp(&now, &place->file, sizeof(now))) {
		if (now.size < place->file.size || !is_ours(place, db, last))
			return LEDGERPLACE_REPLACED;
		place->file = now;
		read_mark(place, db, &place->base);
	}
	if (place->log.ino && (!stamp_at(path, "-wal", &log) || !same_file(&log, &place->log)))
		return LEDGERPLACE_LOG_LOST;
	return LEDGERPLACE_SAME;
}

void ledgerplace_clear(const struct ledgerplace *place, const char *path)
{
	struct ledger_stamp log;
	char name[4200];

	if (!place->log.ino || !stamp_at(path, "-wal", &log) || !same_file(&log, &place->log))
		return;
	for (int shm = 0; shm < 2; shm++) {
		snprintf(name, sizeof(name), "%s%s", path, shm ? "-shm" : "-wal");
		remove(name);
	}
}
