#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>

#include "io.h"
#include "until.h"

/* ---- opening and closing ---- */

static void ledger_free(struct ledger *ledger)
{
	struct ticket_list *lists[] = {
		&ledger->fresh, &ledger->applied, &ledger->finished, &ledger->dropped
	};
	struct ticket *ticket;

	/* Those that are durable and not applied are in no list. */
	for (size_t slot = 0; slot < ledger->capacity; slot++) {
		ticket = ledger->table[slot] ? ledger->table[slot]->ticket : NULL;
		if (ticket && ticket->durable)
			ledgertable_ticket_free(ledger, ticket);
	}
	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		while ((ticket = TAILQ_FIRST(lists[i]))) {
			TAILQ_REMOVE(lists[i], ticket, link);
			ledgertable_ticket_free(ledger, ticket);
		}
	ledgertable_free(ledger);
	ledgersql_close(ledger->sql);
	if (ledger->lock >= 0)
		close(ledger->lock);
	pthread_cond_destroy(&ledger->commit);
	pthread_cond_destroy(&ledger->sync);
	pthread_cond_destroy(&ledger->moved);
	pthread_mutex_destroy(&ledger->mutex);
	pthread_mutex_destroy(&ledger->reading);
	free(ledger->path);
	free(ledger);
}

static struct ledger *make(const struct ledger_options *options)
{
	struct ledger *ledger = calloc(1, sizeof(*ledger));

	if (!ledger)
		return NULL;
	ledger->options = *options;
	/* A path and nothing else: "file:…" and ":memory:" are more than that to SQLite. */
	if (asprintf(&ledger->path, "%s%s", options->path[0] == '/' || !options->path[0] ? "" : "./",
		     options->path) < 0) {
		free(ledger);
		return NULL;
	}
	ledger->options.path = ledger->path;
	if (!options->group_ms)
		ledger->options.group_ms = 250;
	if (!options->sync_ms)
		ledger->options.sync_ms = 1000;
	if (!options->retry_ms)
		ledger->options.retry_ms = 10000;
	if (getrandom(&ledger->token, sizeof(ledger->token), 0) != sizeof(ledger->token))
		ledger->token = io_now_ns() ^ (uint64_t)getpid() << 40;
	ledger->lock = -1;
	ledger->epoch = 1;
	TAILQ_INIT(&ledger->fresh);
	TAILQ_INIT(&ledger->applied);
	TAILQ_INIT(&ledger->finished);
	TAILQ_INIT(&ledger->dropped);
	until_prepare(&ledger->commit);
	until_prepare(&ledger->sync);
	until_prepare(&ledger->moved);
	pthread_mutex_init(&ledger->mutex, NULL);
	pthread_mutex_init(&ledger->reading, NULL);
	return ledger;
}

static int start(struct ledger *ledger)
{
	int r = pthread_create(&ledger->committer, NULL, ledgercommit_run, ledger);

	if (r)
		return -r;
	r = pthread_create(&ledger->syncer, NULL, ledgersync_run, ledger);
	if (!r)
		return 0;
	pthread_mutex_lock(&ledger->mutex);
	ledger->stopping = ledger->syncer_ended = true;
	pthread_cond_signal(&ledger->commit);
	pthread_mutex_unlock(&ledger->mutex);
	pthread_join(ledger->committer, NULL);
	return -r;
}

int ledger_open(const struct ledger_options *options, struct ledger **ret, struct reason *why)
{
	struct ledger *ledger = make(options);
	struct reason trouble = { "" };
	int r;

	if (!ledger)
		return reason_errno(why, ENOMEM, "the ledger");
	r = ledgerconnect_open(ledger, &trouble);
	if (r == REFUSED || r == -ENOMEM) {
		reason_set(why, "%s", trouble.text);
		goto out;
	}
	/* Anything else may be mended while we run. */
	ledger->ok = r == 0;
	ledger->why = trouble;
	ledger->retry_ns = io_now_ns() + ledger->options.retry_ms * UINT64_C(1000000);
	r = start(ledger);
	if (r) {
		reason_errno(why, -r, "no thread for the ledger");
		goto out;
	}
	*ret = ledger;
	ledger = NULL;
out:
	if (ledger)
		ledger_free(ledger);
	return r;
}

int ledger_open_reading(const char *path, struct ledger **ret, struct reason *why)
{
	const struct ledger_options options = { .path = path };
	struct ledger *ledger = make(&options);
	int r;

	if (!ledger)
		return reason_errno(why, ENOMEM, "the ledger");
	ledger->only_read = true;
	r = ledgerlock_look(ledger->path, true, why);
	if (!r)
		r = ledgersql_open_reading(ledger->path, &ledger->sql, why);
	if (r)
		ledger_free(ledger);
	else
		*ret = ledger;
	return r;
}

bool ledger_close(struct ledger *ledger, uint64_t until_ns)
{
	bool ended;

	if (!ledger)
		return true;
	if (ledger->only_read) {
		ledger_free(ledger);
		return true;
	}
	pthread_mutex_lock(&ledger->mutex);
	ledger->stopping = true;
	pthread_cond_signal(&ledger->commit);
	pthread_cond_signal(&ledger->sync);
	while (!(ended = ledger->committer_ended && ledger->syncer_ended))
		if (!until_wait(&ledger->moved, &ledger->mutex, until_ns))
			break;
	ended = ledger->committer_ended && ledger->syncer_ended;
	pthread_mutex_unlock(&ledger->mutex);
	if (!ended)
		return false;
	pthread_join(ledger->committer, NULL);
	pthread_join(ledger->syncer, NULL);
	ledger_free(ledger);
	return true;
}

size_t ledger_unsynced(struct ledger *ledger, size_t *ret_failed)
{
	pthread_mutex_lock(&ledger->mutex);
	size_t unsynced = ledger->unsynced;
	*ret_failed = ledger->given_up;
	pthread_mutex_unlock(&ledger->mutex);
	return unsynced;
}

bool ledger_ok(struct ledger *ledger, struct reason *why)
{
	bool ok;

	pthread_mutex_lock(&ledger->mutex);
	ok = ledger->ok;
	if (!ok && why)
		*why = ledger->why;
	pthread_mutex_unlock(&ledger->mutex);
	return ok;
}

void ledger_check(struct ledger *ledger)
{
	pthread_mutex_lock(&ledger->mutex);
	ledger->checking = true;
	pthread_cond_signal(&ledger->commit);
	pthread_mutex_unlock(&ledger->mutex);
}

bool ledger_notice(struct ledger *ledger, struct reason *ret)
{
	bool some;

	pthread_mutex_lock(&ledger->mutex);
	some = ledger->notice.text[0] != '\0';
	if (some)
		*ret = ledger->notice;
	ledger->notice.text[0] = '\0';
	pthread_mutex_unlock(&ledger->mutex);
	return some;
}

int ledger_flush(struct ledger *ledger, uint64_t until_ns)
{
	int r = 0;

	pthread_mutex_lock(&ledger->mutex);
	ledger->flushing++;
	pthread_cond_signal(&ledger->commit);
	pthread_cond_signal(&ledger->sync);
	while (!r && (ledgercommit_has_work(ledger) || !TAILQ_EMPTY(&ledger->applied)
		      || ledger->syncing || ledger->committing)) {
		if (!ledger->ok)
			r = -EIO;
		else if (!until_wait(&ledger->moved, &ledger->mutex, until_ns))
			r = -ETIMEDOUT;
	}
	if (!r && !ledger->ok)
		r = -EIO;
	ledger->flushing--;
	pthread_mutex_unlock(&ledger->mutex);
	return r;
}

/* ---- what is on record ---- */

/* A question has met an error: the database is closed, checked and opened again. */
static void doubt(struct ledger *ledger, int error)
{
	pthread_mutex_lock(&ledger->mutex);
	if (error == -EIO || error == -EUCLEAN) {
		ledger->doubted = true;
		ledger->ok = false;
		ledger->retry_ns = 0;
		reason_set(&ledger->why, error == -EIO ? "cannot be read" : "is damaged");
		pthread_cond_signal(&ledger->commit);
	}
	pthread_mutex_unlock(&ledger->mutex);
}

/* For a question: whom to ask, with `reading` held; or NULL. */
static struct ledgerask *ask(struct ledger *ledger)
{
	pthread_mutex_lock(&ledger->reading);
	if (ledger->sql)
		return ledgersql_asker(ledger->sql);
	pthread_mutex_unlock(&ledger->reading);
	return NULL;
}

static int answered(struct ledger *ledger, int r)
{
	pthread_mutex_unlock(&ledger->reading);
	if (r)
		doubt(ledger, r);
	return r;
}

/* The file's number, 0 where it has none. */
static int64_t number_of(struct ledger *ledger, const char *rel)
{
	struct entry *entry;
	int64_t id;

	pthread_mutex_lock(&ledger->mutex);
	entry = ledger->loaded ? ledgertable_find(ledger, rel) : NULL;
	id = entry ? entry->id : 0;
	pthread_mutex_unlock(&ledger->mutex);
	return id;
}

int ledger_history(struct ledger *ledger, const char *rel, int64_t before, size_t limit,
		   struct ledger_entry **ret, size_t *ret_count)
{
	int64_t file = rel ? number_of(ledger, rel) : 0;

	if (rel && !file) {
		*ret = NULL;
		*ret_count = 0;
		return 0;
	}
	struct ledgerask *asker = ask(ledger);
	return !asker ? -EIO : answered(ledger, ledgerask_history(asker, file, 0, before, limit,
								  ret, ret_count));
}

int ledger_get(struct ledger *ledger, int64_t id, struct ledger_entry **ret)
{
	struct ledger_entry *entry = NULL;
	size_t count = 0;

	if (id <= 0)
		return -ENOENT;
	struct ledgerask *asker = ask(ledger);
	int r = !asker ? -EIO : answered(ledger, ledgerask_history(asker, 0, id, 0, 1, &entry,
								   &count));
	if (r || !count)
		return r ? r : -ENOENT;
	*ret = entry;
	return 0;
}

int ledger_runs(struct ledger *ledger, int64_t id, struct ledger_cells *ret)
{
	struct ledgerask *asker = ask(ledger);

	return asker ? answered(ledger, ledgerask_runs(asker, id, ret)) : -EIO;
}

int ledger_sources(struct ledger *ledger, int64_t id, char ***ret, size_t *ret_count)
{
	struct ledgerask *asker = ask(ledger);

	return asker ? answered(ledger, ledgerask_sources(asker, id, ret, ret_count)) : -EIO;
}

int ledger_undoable(struct ledger *ledger, char ***ret, size_t *ret_count)
{
	struct ledgerask *asker = ask(ledger);

	return asker ? answered(ledger, ledgerask_undoable(asker, ret, ret_count)) : -EIO;
}

static int recorded_of(struct ledger *ledger, const char *rel, enum ledger_what what,
		       struct recorded **ret, size_t *ret_count, int64_t *ret_damaged)
{
	int64_t file = number_of(ledger, rel);
	struct ledgerask *asker = ask(ledger);

	return asker ? answered(ledger, ledgerask_recorded(asker, file, what, ret, ret_count,
							   ret_damaged)) : -EIO;
}

/* As if they had not been undone. */
static void revive(struct recorded *merge, size_t count, int64_t id)
{
	for (size_t n = 0; n < count; n++)
		if (!id || merge[n].id == id)
			merge[n].undone = false;
}

int ledger_undo(struct ledger *ledger, const char *rel, int64_t id, uint64_t ino, uint64_t identity,
		bool again, struct ledger_undo *ret, struct reason *why)
{
	struct recorded *merge = NULL;
	int64_t damaged = 0;
	size_t count = 0;
	int r = recorded_of(ledger, rel, LEDGER_MERGE, &merge, &count, &damaged);

	/* Which cells are another merge's is not known either. */
	if (r == -EBADMSG) {
		reason_set(why, "cannot be undone: what the ledger has of its merge %lld is damaged",
			   (long long)damaged);
		return REFUSED;
	}
	if (r)
		return reason_errno(why, -r, "the ledger cannot be read");
	if (again)
		revive(merge, count, id);
	r = ledgerundo_plan(merge, count, id, ino, identity, ret, why);
	ledgerask_recorded_free(merge, count);
	return r;
}

int ledger_spread(struct ledger *ledger, const char *rel, uint64_t ino, uint64_t identity,
		  struct ledger_undo *ret)
{
	struct recorded *merge = NULL;
	int64_t damaged = 0;
	size_t count = 0;
	int r = recorded_of(ledger, rel, LEDGER_MERGE, &merge, &count, &damaged);

	if (r)
		return r;
	r = ledgerundo_spread(merge, count, ino, identity, ret);
	ledgerask_recorded_free(merge, count);
	return r;
}

int ledger_begun(struct ledger *ledger, const char *rel, uint64_t ino, uint64_t identity,
		 struct ledger_begun *ret)
{
	struct recorded *merge = NULL, *undo = NULL;
	size_t merges = 0, undos = 0;
	int64_t damaged = 0;
	int r = recorded_of(ledger, rel, LEDGER_MERGE, &merge, &merges, &damaged);

	if (!r)
		r = recorded_of(ledger, rel, LEDGER_UNDO, &undo, &undos, &damaged);
	if (!r)
		r = ledgerunended_begun(merge, merges, undo, undos, ino, identity, ret);
	ledgerask_recorded_free(merge, merges);
	ledgerask_recorded_free(undo, undos);
	return r == -EBADMSG ? REFUSED : r;
}
