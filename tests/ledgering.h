/* ledgering: what the tests of the ledger share. */
#ifndef LEDGERING_H
#define LEDGERING_H

#include "ledger.h"

#include <dirent.h>
#include <pthread.h>
#include <setjmp.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "scratch.h"

#define SECOND UINT64_C(1000000000)
#define INO 77
#define IDENTITY UINT64_C(0xfedcba9876543210)
#define LAST_UP INT64_C(1700000123)

static inline const char *ledger_path(void)
{
	return scratch("ledger.db");
}

static inline uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * SECOND + (uint64_t)now.tv_nsec;
}

/* What the callbacks have told. */
struct told {
	pthread_mutex_t mutex;
	pthread_cond_t some;
	size_t durable, done, failed, synced;
	int64_t last_durable, last_done;
	int sync_error;         /* what sync is to answer */
	bool sync_hangs;
};

static struct told told = { .mutex = PTHREAD_MUTEX_INITIALIZER, .some = PTHREAD_COND_INITIALIZER };

static inline void tell_durable(const char *rel, int64_t id, void *arg)
{
	(void)rel;
	(void)arg;
	pthread_mutex_lock(&told.mutex);
	told.durable++;
	told.last_durable = id;
	pthread_cond_broadcast(&told.some);
	pthread_mutex_unlock(&told.mutex);
}

static inline void tell_done(const char *rel, int64_t id, int error, void *arg)
{
	(void)rel;
	(void)arg;
	pthread_mutex_lock(&told.mutex);
	if (error) {
		told.failed++;
	} else {
		told.done++;
		told.last_done = id;
	}
	pthread_cond_broadcast(&told.some);
	pthread_mutex_unlock(&told.mutex);
}

static inline void do_sync(struct ledger_synced *file, size_t files, void *arg)
{
	(void)arg;
	pthread_mutex_lock(&told.mutex);
	while (told.sync_hangs)
		pthread_cond_wait(&told.some, &told.mutex);
	for (size_t i = 0; i < files; i++)
		file[i].error = told.sync_error;
	told.synced += files;
	pthread_mutex_unlock(&told.mutex);
}

/* Waits until `*what` has come to `count`. */
static inline void wait_for(const size_t *what, size_t count)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += 60;
	pthread_mutex_lock(&told.mutex);
	while (*what < count)
		if (pthread_cond_timedwait(&told.some, &told.mutex, &until))
			break;
	size_t got = *what;
	pthread_mutex_unlock(&told.mutex);
	if (got < count)
		fail_msg("waited in vain: %zu of %zu", got, count);
}

static inline void tell_nothing(void)
{
	told.durable = told.done = told.failed = told.synced = 0;
	told.last_durable = told.last_done = 0;
	told.sync_error = 0;
	told.sync_hangs = false;
}

static inline struct ledger_options options_for(const char *path)
{
	struct ledger_options options = {
		.path = path, .own_path = true, .group_ms = 10, .sync_ms = 10, .retry_ms = 50,
		.durable = tell_durable, .sync = do_sync, .done = tell_done
	};

	return options;
}

static inline struct ledger *open_at(const char *path)
{
	struct ledger_options options = options_for(path);
	struct ledger *ledger = NULL;
	struct reason why = { "" };
	int r;

	tell_nothing();
	r = ledger_open(&options, &ledger, &why);
	if (r)
		fail_msg("cannot be opened: %d, %s", r, why.text);
	return ledger;
}

static inline void close_it(struct ledger *ledger)
{
	assert_true(ledger_close(ledger, now_ns() + 60 * SECOND));
}

static inline void flush(struct ledger *ledger)
{
	assert_int_equal(ledger_flush(ledger, now_ns() + 60 * SECOND), 0);
}

static const struct ledger_source one_source = {
	.root = "/backup/a", .size = 1000, .mtime_ns = 1600000000123456789, .ctime_ns = 5
};

static const struct ledger_run some_runs[] = {
	{ .rra = 0, .ds = 0, .step = 60, .kind = LEDGER_EXACT, .first = 1699900020, .count = 500 },
	{ .rra = 0, .ds = 1, .step = 60, .kind = LEDGER_EXACT, .first = 1699900020, .count = 500 },
	{ .rra = 1, .ds = 0, .step = 300, .kind = LEDGER_EXACT, .first = 1699800000, .count = 100 },
	{ .rra = 1, .ds = 0, .step = 300, .kind = LEDGER_SEAM, .first = 1699830000, .count = 1 },
	{ .rra = 2, .ds = 1, .step = 3600, .kind = LEDGER_SPREAD, .first = 1699200000, .count = 9 },
};
#define SOME_RUNS (sizeof(some_runs) / sizeof(*some_runs))

static inline struct ledger_intent intent_for(const char *rel)
{
	struct ledger_intent intent = {
		.rel = rel, .dev = 3, .ino = INO, .identity = IDENTITY, .last_up = LAST_UP,
		.source = &one_source, .sources = 1, .run = some_runs, .runs = SOME_RUNS
	};

	return intent;
}

static inline struct ledger_outcome outcome_for(const char *rel)
{
	struct ledger_outcome outcome = {
		.result = LEDGER_DONE, .cells = { 1100, 1, 0, 9 }, .took_ns = 1234567,
		.state = {
			.verdict = LEDGER_MERGED, .settled = true, .dev = 3, .ino = INO,
			.identity = IDENTITY, .size = 4711, .mtime_ns = 11, .ctime_ns = 12,
			.sources = ledger_digest(rel, &one_source, 1), .cells = 1110
		}
	};

	return outcome;
}

/* Intends what intent_for() says, and waits until that is durable. */
static inline int64_t intend(struct ledger *ledger, const struct ledger_intent *intent)
{
	int64_t id = 0;
	size_t before;

	pthread_mutex_lock(&told.mutex);
	before = told.durable;
	pthread_mutex_unlock(&told.mutex);
	assert_int_equal(ledger_intend(ledger, intent, &id), 0);
	wait_for(&told.durable, before + 1);
	return id;
}

/* A whole merge, on record. */
static inline int64_t merge(struct ledger *ledger, const struct ledger_intent *intent)
{
	struct ledger_outcome outcome = outcome_for(intent->rel);
	int64_t id = intend(ledger, intent);

	ledger_applied(ledger, intent->rel, id, &outcome);
	flush(ledger);
	return id;
}

static inline enum ledger_stage stage_of(struct ledger *ledger, int64_t id)
{
	struct ledger_entry *entry = NULL;
	enum ledger_stage stage;

	assert_int_equal(ledger_get(ledger, id, &entry), 0);
	stage = entry->stage;
	ledger_entries_free(entry, 1);
	return stage;
}

static inline int try_open(const char *path, bool own_path, struct ledger **ret, struct reason *why)
{
	struct ledger_options options = options_for(path);

	options.own_path = own_path;
	why->text[0] = '\0';
	return ledger_open(&options, ret, why);
}

/* How many files of the directory have this in their name; "": all. */
static inline int count_named(const char *part)
{
	DIR *dir = opendir(scratch_dir);
	int count = 0;

	for (struct dirent *entry; (entry = readdir(dir)); )
		count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..") &&
			strstr(entry->d_name, part);
	closedir(dir);
	return count;
}

static inline void exec_on(const char *path, const char *text)
{
	sqlite3 *db;

	assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
	if (sqlite3_exec(db, text, NULL, NULL, NULL))
		fail_msg("%s: %s", text, sqlite3_errmsg(db));
	sqlite3_close(db);
}

static inline void assert_works(struct ledger *ledger)
{
	struct ledger_intent intent = intent_for("works.rrd");
	struct reason why;

	if (!ledger_ok(ledger, &why))
		fail_msg("does not work: %s", why.text);
	assert_int_equal(stage_of(ledger, merge(ledger, &intent)), LEDGER_IS_DONE);
}

static inline void assert_run(const struct ledger_run *a, const struct ledger_run *b)
{
	assert_int_equal(a->rra, b->rra);
	assert_int_equal(a->ds, b->ds);
	assert_int_equal(a->source, b->source);
	assert_int_equal(a->step, b->step);
	assert_int_equal(a->kind, b->kind);
	assert_int_equal(a->first, b->first);
	assert_int_equal(a->count, b->count);
	assert_int_equal(!a->old, !b->old);
	if (a->old)
		assert_memory_equal(a->old, b->old, a->count * sizeof(double));
	assert_int_equal(a->samples, b->samples);
	if (a->samples)
		assert_memory_equal(a->sample, b->sample, a->samples);
}

#endif
