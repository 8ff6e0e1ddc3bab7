#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define HEADER_SIZE 100         /* of an SQLite database */

static int load_one(const struct file_row *row, void *arg)
{
	struct ledger *ledger = arg;
	struct entry *entry;

	/* A damaged one may have got the path of another file. */
	ledger->damaged += row->damaged;
	if (row->damaged && ledgertable_find(ledger, row->rel))
		return 0;
	entry = ledgertable_add(ledger, row->rel, row->id);
	if (!entry)
		return -ENOMEM;
	entry->id = row->id;
	entry->state = row->state;
	entry->why = row->why;
	return 0;
}

static void say(struct ledger *ledger, const struct reason *notice)
{
	pthread_mutex_lock(&ledger->mutex);
	ledger->notice = *notice;
	pthread_mutex_unlock(&ledger->mutex);
}

/* The database is empty: all that is known, and every merge under way, goes into it again.  Those
 * that are applied see by their epoch that they are not in it.  Caller holds the mutex. */
static void record_anew(struct ledger *ledger)
{
	ledger->epoch++;
	ledgerunended_clear(ledger);
	for (size_t slot = 0; slot < ledger->capacity; slot++) {
		struct entry *entry = ledger->table[slot];

		if (!entry)
			continue;
		if (entry->state.verdict || entry->state.held)
			ledgertable_list(ledger, entry);
		if (entry->ticket && entry->ticket->durable) {
			entry->ticket->durable = false;
			TAILQ_INSERT_TAIL(&ledger->fresh, entry->ticket, link);
		}
	}
}

static int set_aside(struct ledger *ledger, const struct reason *damage, struct reason *why)
{
	struct reason name = { "" }, notice;
	int r = ledgerschema_set_aside(ledger->path, "corrupt", &name);

	if (r) {
		reason_set(why, "is damaged (%.120s) and %s", damage->text, name.text);
		return r;
	}
	reason_set(&notice, "was damaged (%.80s), was set aside as %.150s and begun anew",
		   damage->text, name.text);
	say(ledger, &notice);
	return 0;
}

static int open_sql(struct ledger *ledger, struct ledgersql **ret, bool *ret_created,
		    struct reason *why)
{
	bool ours = false, whole = ledger->whole;
	int r = ledgersql_open(ledger->path, whole, ret, ret_created, &ours, why);

	if (r == LEDGERSCHEMA_ODD && !ledger->options.own_path) {
		struct reason odd = *why;

		reason_set(why, "is damaged (%.200s): move it away, and a new one is begun", odd.text);
		return REFUSED;
	}
	if (r != LEDGERSCHEMA_CORRUPT && r != LEDGERSCHEMA_ODD)
		return r;
	if (!ours && !ledger->options.own_path) {
		reason_set(why, "is no ledger");
		return REFUSED;
	}
	struct reason damage = *why;

	r = set_aside(ledger, &damage, why);
	if (!r)
		r = ledgersql_open(ledger->path, false, ret, ret_created, &ours, why);
	return r == LEDGERSCHEMA_CORRUPT || r == LEDGERSCHEMA_ODD ? -EIO : r;
}

static bool is_beside(const struct ledger *ledger, const char *ending)
{
	char path[4200];
	struct stat st;

	snprintf(path, sizeof(path), "%s%s", ledger->path, ending);
	return !lstat(path, &st);
}

/* What SQLite would take for a new one, and remove its log, though there was one before. */
static int look_for_empty(struct ledger *ledger, struct reason *why)
{
	const struct reason empty = { "it is empty" };
	struct reason notice;
	struct stat st;

	if (lstat(ledger->path, &st)) {
		reason_set(&notice, "is not there any more: begun anew");
		if (ledger->begun && ledger->options.own_path)
			say(ledger, &notice);
		return 0;
	}
	if (st.st_size >= HEADER_SIZE)
		return 0;
	if (ledger->begun || is_beside(ledger, "-wal") || is_beside(ledger, "-shm") ||
	    (st.st_size && ledger->options.own_path))
		return set_aside(ledger, &empty, why);
	if (!st.st_size)
		return 0;
	reason_set(why, "is no ledger");
	return REFUSED;
}

static void load_unended(const char *rel, void *arg)
{
	struct ledger *ledger = arg;
	struct entry *entry = ledgertable_find(ledger, rel);

	if (entry)
		ledgerunended_set(ledger, entry, true);
}

/* The first time: what is known of each file.  Nobody else uses the table before. */
static int load(struct ledger *ledger, struct ledgersql *sql, struct reason *why)
{
	int64_t last_file = 0, last_merge = 0;
	struct reason notice;

	ledger->damaged = 0;
	int r = ledgersql_load(sql, load_one, ledger, &last_file, &last_merge, why);
	if (!r)
		r = ledgersql_unended(sql, load_unended, ledger, why);
	if (!r && ledger->damaged) {
		reason_set(&notice, "is damaged in what it says of %zu files: they are looked at again",
			   ledger->damaged);
		say(ledger, &notice);
	}
	if (r) {
		ledgerunended_clear(ledger);
		ledgertable_free(ledger);
		return r;
	}
	pthread_mutex_lock(&ledger->mutex);
	ledger->last_file = last_file;
	ledger->last_merge = last_merge;
	ledger->loaded = true;
	pthread_mutex_unlock(&ledger->mutex);
	return 0;
}

/* A copy is still being written, perhaps. */
static int await_newcomer(const struct ledger *ledger, struct reason *why)
{
	struct timespec now;
	struct stat st;

	clock_gettime(CLOCK_REALTIME, &now);
	if (ledger->found == LEDGERPLACE_SAME || stat(ledger->path, &st))
		return 0;
	int64_t age_ms = (now.tv_sec - st.st_ctim.tv_sec) * 1000
		+ (now.tv_nsec - st.st_ctim.tv_nsec) / 1000000;
	if (age_ms < 0 || age_ms >= LEDGERCONNECT_NEWCOMER_MS)
		return 0;
	reason_set(why, "was removed, or another was put in its place");
	return -EAGAIN;
}

/* Not the database that we had open: what is in there is somebody else's, or older than what we
 * know. */
static int put_stranger_aside(struct ledger *ledger, struct ledgersql **sql, bool *ret_created,
			      struct reason *why)
{
	struct reason name = { "" }, notice;

	ledgersql_close(*sql);
	*sql = NULL;
	int r = ledgerschema_set_aside(ledger->path, "other", &name);
	if (!r)
		r = open_sql(ledger, sql, ret_created, why);
	else
		reason_set(why, "is not the one that it was, and %s", name.text);
	if (r)
		return r;
	reason_set(&notice, "was removed, or another was put in its place: that is now %.150s, and it"
		   " was begun anew", name.text);
	say(ledger, &notice);
	return 0;
}

/* Opened again: is it the one that was open before? */
static int reconnect(struct ledger *ledger, struct ledgersql **sql, bool *ret_created,
		     struct reason *why)
{
	struct ledger_mark mark;
	struct reason notice;
	int r = 0;

	if (!*ret_created) {
		r = ledgersql_mark(*sql, &mark, why);
		/* A commit that failed may have come through all the same. */
		if (!r && memcmp(&mark, &ledger->last, sizeof(mark)) &&
		    memcmp(&mark, &ledger->tried, sizeof(mark)))
			r = put_stranger_aside(ledger, sql, ret_created, why);
	} else if (ledger->found != LEDGERPLACE_SAME) {
		reason_set(&notice, "was removed or emptied: begun anew");
		say(ledger, &notice);
	}
	return r;
}

int ledgerconnect_open(struct ledger *ledger, struct reason *why)
{
	struct ledgersql *sql = NULL;
	bool created = false;
	int r = ledgerlock_look(ledger->path, false, why);

	if (!r)
		r = ledgerlock_take(ledger->path, &ledger->lock, &ledger->begun, why);
	if (!r)
		r = await_newcomer(ledger, why);
	if (!r && !ledger->loaded)
		r = look_for_empty(ledger, why);
	if (!r)
		r = open_sql(ledger, &sql, &created, why);
	if (!r && !ledger->loaded) {
		r = load(ledger, sql, why);
		if (r == LEDGERSCHEMA_CORRUPT) {
			struct reason damage = *why;

			ledgersql_close(sql);
			sql = NULL;
			r = set_aside(ledger, &damage, why);
			if (!r)
				r = open_sql(ledger, &sql, &created, why);
			if (!r)
				r = load(ledger, sql, why);
		}
	} else if (!r) {
		r = reconnect(ledger, &sql, &created, why);
		pthread_mutex_lock(&ledger->mutex);
		if (!r && created)
			record_anew(ledger);
		pthread_mutex_unlock(&ledger->mutex);
	}
	if (!r)
		r = ledgersql_mark(sql, &ledger->last, why);
	if (r) {
		ledgersql_close(sql);
		return r;
	}
	if (!ledger->begun)
		ledgerlock_begun(ledger->lock);
	ledger->begun = true;
	ledger->found = LEDGERPLACE_SAME;
	pthread_mutex_lock(&ledger->reading);
	ledger->sql = sql;
	pthread_mutex_unlock(&ledger->reading);
	return 0;
}

void ledgerconnect_close(struct ledger *ledger)
{
	pthread_mutex_lock(&ledger->reading);
	ledgersql_close(ledger->sql);
	ledger->sql = NULL;
	pthread_mutex_unlock(&ledger->reading);
}

int ledgerconnect_ready(struct ledger *ledger, struct reason *why)
{
	enum ledgerplace_is found = ledger->sql ? ledgersql_check(ledger->sql, &ledger->tried)
		: LEDGERPLACE_SAME;
	int r = 0;

	pthread_mutex_lock(&ledger->mutex);
	ledger->whole = ledger->doubted;
	pthread_mutex_unlock(&ledger->mutex);
	if (found != LEDGERPLACE_SAME) {
		struct ledgersql *sql = ledger->sql;

		pthread_mutex_lock(&ledger->reading);
		ledger->sql = NULL;
		pthread_mutex_unlock(&ledger->reading);
		ledgersql_leave(sql, found);
		/* A log that was lost leaves nothing behind that could be somebody else's. */
		ledger->found = found == LEDGERPLACE_LOG_LOST ? LEDGERPLACE_SAME : found;
	} else if (ledger->whole) {
		ledgerconnect_close(ledger);
	}
	if (!ledger->sql)
		r = ledgerconnect_open(ledger, why);
	pthread_mutex_lock(&ledger->mutex);
	ledger->doubted &= !ledger->whole || r;
	pthread_mutex_unlock(&ledger->mutex);
	return r;
}

int ledgerconnect_failed(struct ledger *ledger, int r, struct reason *why)
{
	if (r == -EBUSY || r == -ENOSPC || r == -ENOMEM)
		return r;
	ledgerconnect_close(ledger);
	if (r == LEDGERSCHEMA_CORRUPT) {
		struct reason damage = *why;

		r = set_aside(ledger, &damage, why);
	}
	return r;
}
