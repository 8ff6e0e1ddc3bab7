#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "io.h"

#define HELD_MAX (UINT64_C(16) << 20)   /* bytes of merges under way */

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
	pthread_condattr_t monotonic;

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
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&ledger->commit, &monotonic);
	pthread_cond_init(&ledger->sync, &monotonic);
	pthread_cond_init(&ledger->moved, &monotonic);
	pthread_condattr_destroy(&monotonic);
	pthread_mutex_init(&ledger->mutex, NULL);
	pthread_mutex_init(&ledger->reading, NULL);
	return ledger;
}

static int start(struct ledger *ledger)
{
	int r = pthread_create(&ledger->committer, NULL, ledgercommit_commit, ledger);

	if (r)
		return -r;
	r = pthread_create(&ledger->syncer, NULL, ledgercommit_sync, ledger);
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
	r = ledgercommit_connect(ledger, &trouble);
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

static struct timespec time_of(uint64_t ns)
{
	const uint64_t second = UINT64_C(1000000000);
	struct timespec time = { (time_t)(ns / second), (long)(ns % second) };

	return time;
}

bool ledger_close(struct ledger *ledger, uint64_t until_ns)
{
	struct timespec until = time_of(until_ns);
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
		if (pthread_cond_timedwait(&ledger->moved, &ledger->mutex, &until) == ETIMEDOUT)
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

/* For a question: the database, with `reading` held; or NULL. */
static struct ledgersql *ask(struct ledger *ledger)
{
	pthread_mutex_lock(&ledger->reading);
	if (ledger->sql)
		return ledger->sql;
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
	struct timespec until = time_of(until_ns);
	int r = 0;

	pthread_mutex_lock(&ledger->mutex);
	ledger->flushing++;
	pthread_cond_signal(&ledger->commit);
	pthread_cond_signal(&ledger->sync);
	while (!r && (ledgercommit_has_work(ledger) || !TAILQ_EMPTY(&ledger->applied)
		      || ledger->syncing || ledger->committing)) {
		if (!ledger->ok)
			r = -EIO;
		else if (pthread_cond_timedwait(&ledger->moved, &ledger->mutex, &until))
			r = -ETIMEDOUT;
	}
	if (!r && !ledger->ok)
		r = -EIO;
	ledger->flushing--;
	pthread_mutex_unlock(&ledger->mutex);
	return r;
}

/* ---- one file's merge ---- */

/* May this one be taken?  Caller holds the mutex. */
static int admit(struct ledger *ledger, const struct ledger_intent *intent,
		 const struct ticket *ticket, struct entry **ret)
{
	struct entry *entry;

	if (!ledger->ok || !ledger->loaded || ledger->stopping)
		return -EIO;
	if (ledger->held + ticket->bytes > HELD_MAX && ledger->held)
		return -EAGAIN;
	entry = ledgertable_add(ledger, intent->rel, 0);
	if (!entry)
		return -ENOMEM;
	if (entry->state.held && !intent->undone)
		return -EPERM;
	*ret = entry;
	return 0;
}

/* It will not be written any more.  Caller holds the mutex. */
static void apply(struct ledger *ledger, struct ticket *ticket)
{
	ticket->entry->ticket = NULL;
	ticket->entry->dirty = true;
	ticket->entry->unsynced++;
	ledger->unsynced++;
	if (ticket->wrote)
		memcpy(ticket->outcome.cells, ticket->written, sizeof(ticket->written));
	if (ticket->committing) {
		ticket->applied = true;
		return;
	}
	if (!ticket->durable)   /* it was, in a database that is gone */
		TAILQ_REMOVE(&ledger->fresh, ticket, link);
	ledgertable_applied(ledger, ticket);
}

/* Nothing of it was written, nor will be: an undo holds the file no longer.  Caller holds the
 * mutex. */
static void drop(struct ledger *ledger, struct ticket *ticket)
{
	struct entry *entry = ticket->entry;
	bool undo = ticket->what == LEDGER_UNDO, was_held = ticket->was_held;

	ledgertable_drop(ledger, ticket);
	if (!undo)
		return;
	entry->state.held = was_held;
	ledgertable_list(ledger, entry);
}

/* It will not be gone on with.  Caller holds the mutex. */
static void supersede(struct ledger *ledger, struct ticket *ticket)
{
	if (!ticket->wrote) {
		drop(ledger, ticket);
		return;
	}
	ticket->outcome = (struct ledger_outcome){ .result = LEDGER_PART };
	ticket->entry->state.verdict = LEDGER_NOTHING;
	apply(ledger, ticket);
}

int ledger_intend(struct ledger *ledger, const struct ledger_intent *intent, int64_t *ret_id)
{
	struct ticket *ticket = NULL;
	struct entry *entry = NULL;
	int r = ledgertable_ticket(intent, &ticket);

	if (r)
		return r;
	pthread_mutex_lock(&ledger->mutex);
	r = admit(ledger, intent, ticket, &entry);
	if (r) {
		ledgertable_ticket_free(NULL, ticket);
	} else {
		if (entry->ticket)
			supersede(ledger, entry->ticket);
		ticket->entry = entry;
		ticket->id = ++ledger->last_merge;
		ticket->file = entry->id;
		ticket->rel = entry->path;
		entry->ticket = ticket;
		ticket->was_held = entry->state.held;
		entry->state.held |= ticket->what == LEDGER_UNDO;
		entry->state.spread |= ticket->what != LEDGER_UNDO &&
				       ticket->intended[LEDGER_SPREAD] > 0;
		ledger->held += ticket->bytes;
		TAILQ_INSERT_TAIL(&ledger->fresh, ticket, link);
		ledgertable_wake_committer(ledger);
		*ret_id = ticket->id;
	}
	pthread_mutex_unlock(&ledger->mutex);
	return r;
}

/* The one under way, if it is that.  Caller holds the mutex. */
static struct ticket *find_ticket(struct ledger *ledger, const char *rel, int64_t id)
{
	struct entry *entry = ledgertable_find(ledger, rel);

	return entry && entry->ticket && entry->ticket->id == id ? entry->ticket : NULL;
}

int64_t ledger_intended(struct ledger *ledger, const char *rel, enum ledger_what what)
{
	pthread_mutex_lock(&ledger->mutex);
	const struct entry *entry = ledgertable_find(ledger, rel);
	const struct ticket *ticket = entry ? entry->ticket : NULL;
	int64_t id = ticket && ticket->durable && ticket->what == what ? ticket->id : 0;
	pthread_mutex_unlock(&ledger->mutex);
	return id;
}

void ledger_abandon(struct ledger *ledger, const char *rel)
{
	pthread_mutex_lock(&ledger->mutex);
	const struct entry *entry = ledgertable_find(ledger, rel);
	if (entry && entry->ticket && entry->ticket->what == LEDGER_UNDO)
		supersede(ledger, entry->ticket);
	pthread_mutex_unlock(&ledger->mutex);
}

bool ledger_covers(struct ledger *ledger, int64_t id, const struct ledger_intent *now)
{
	struct ledger_cells recorded = { NULL, 0, 0, NULL, 0, 0 }, wanted = recorded;
	struct ticket *ticket, *same = NULL;
	bool covers = false;

	/* The same way into bytes and back, so that both are sorted and sound. */
	if (ledgertable_ticket(now, &same) ||
	    ledgercells_unpack(same->runs, same->runs_size, &wanted))
		goto out;
	pthread_mutex_lock(&ledger->mutex);
	ticket = find_ticket(ledger, now->rel, id);
	covers = ticket && ticket->durable && ticket->what == same->what
		&& ticket->ino == now->ino && ticket->dev == now->dev
		&& ticket->identity == now->identity && ticket->digest == same->digest
		&& (!now->opens || ticket->last_up == now->last_up)
		&& !ledgercells_unpack(ticket->runs, ticket->runs_size, &recorded);
	pthread_mutex_unlock(&ledger->mutex);
	covers = covers && ledgercells_within(&wanted, &recorded);
out:
	ledger_cells_free(&wanted);
	ledger_cells_free(&recorded);
	ledgertable_ticket_free(NULL, same);
	return covers;
}

/* As the file is known from now on; on record it is when the data is on disk. */
static void set_state(struct entry *entry, const struct ledger_state *state, const char *reason)
{
	bool held = entry->state.held, spread = entry->state.spread;

	entry->state = *state;
	entry->state.held = held;
	entry->state.spread = spread;
	entry->why = ledgertable_hash(reason);
	free(entry->refusal);
	entry->refusal = NULL;
}

void ledger_wrote(struct ledger *ledger, const char *rel, const uint64_t cells[LEDGER_KINDS])
{
	pthread_mutex_lock(&ledger->mutex);
	struct entry *entry = ledgertable_find(ledger, rel);
	struct ticket *ticket = entry ? entry->ticket : NULL;

	if (ticket) {
		ticket->wrote = true;
		for (int kind = 0; kind < LEDGER_KINDS; kind++)
			ticket->written[kind] += cells[kind];
	}
	pthread_mutex_unlock(&ledger->mutex);
}

/* What it comes to in the end. */
static enum ledger_result result_of(const struct ticket *ticket,
				    const struct ledger_outcome *outcome)
{
	uint8_t verdict = outcome->state.verdict;
	bool complete = verdict == LEDGER_MERGED || verdict == LEDGER_UNCHANGED;

	if (outcome->result != LEDGER_VOID || (!ticket->wrote && ticket->what != LEDGER_UNDO))
		return outcome->result;
	return complete ? LEDGER_DONE : ticket->wrote ? LEDGER_PART : LEDGER_VOID;
}

void ledger_applied(struct ledger *ledger, const char *rel, int64_t id,
		    const struct ledger_outcome *outcome)
{
	struct ticket *ticket;

	pthread_mutex_lock(&ledger->mutex);
	ticket = find_ticket(ledger, rel, id);
	if (!ticket)
		goto out;
	ticket->outcome = *outcome;
	ticket->outcome.result = result_of(ticket, outcome);
	if (ticket->outcome.result == LEDGER_VOID) {
		drop(ledger, ticket);
		goto out;
	}
	/* Without memory the reason is lost, and nothing else. */
	ticket->reason = outcome->reason ? strdup(outcome->reason) : NULL;
	set_state(ticket->entry, &outcome->state, outcome->reason);
	apply(ledger, ticket);
out:
	pthread_mutex_unlock(&ledger->mutex);
}

static bool is_news(const struct entry *entry, const struct ledger_state *state, uint64_t why)
{
	const struct ledger_state *known = &entry->state;

	return known->verdict != state->verdict || known->settled != state->settled
		|| known->dev != state->dev || known->ino != state->ino
		|| known->identity != state->identity || known->size != state->size
		|| known->mtime_ns != state->mtime_ns || known->ctime_ns != state->ctime_ns
		|| known->sources != state->sources || known->cells != state->cells
		|| entry->why != why;
}

int ledger_note(struct ledger *ledger, const char *rel, const struct ledger_state *state,
		const char *reason)
{
	uint64_t why = ledgertable_hash(reason);
	struct entry *entry = NULL;
	int r = 0;

	pthread_mutex_lock(&ledger->mutex);
	if (!ledger->loaded)
		goto out;               /* nobody knows what is known of it */
	entry = ledgertable_add(ledger, rel, 0);
	if (!entry) {
		r = -ENOMEM;
	} else if (is_news(entry, state, why)) {
		bool refused = state->verdict == LEDGER_REFUSED && reason, same = refused
			&& entry->why == why && entry->state.verdict == LEDGER_REFUSED;
		char *refusal = same ? entry->refusal : refused ? strdup(reason) : NULL;

		if (same)
			entry->refusal = NULL;
		set_state(entry, state, reason);
		entry->refusal = refusal;
		ledgertable_list(ledger, entry);
	}
out:
	pthread_mutex_unlock(&ledger->mutex);
	return r;
}

bool ledger_known(struct ledger *ledger, const char *rel, struct ledger_state *ret)
{
	struct entry *entry;

	pthread_mutex_lock(&ledger->mutex);
	entry = ledger->loaded ? ledgertable_find(ledger, rel) : NULL;
	if (entry)
		*ret = entry->state;
	pthread_mutex_unlock(&ledger->mutex);
	return entry && (ret->verdict != LEDGER_NOTHING || ret->held);
}

void ledger_release(struct ledger *ledger, const char *rel)
{
	struct entry *entry;

	pthread_mutex_lock(&ledger->mutex);
	entry = ledger->loaded ? ledgertable_find(ledger, rel) : NULL;
	/* An undo that is under way, and will be given up now, is not to hold it again. */
	if (entry && entry->ticket)
		entry->ticket->was_held = false;
	if (entry && entry->state.held) {
		entry->state.held = false;
		ledgertable_list(ledger, entry);
	}
	pthread_mutex_unlock(&ledger->mutex);
}

/* ---- what is on record ---- */

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
	struct ledgersql *sql = ask(ledger);
	return !sql ? -EIO : answered(ledger, ledgersql_history(sql, file, 0, before, limit, ret,
								ret_count));
}

int ledger_get(struct ledger *ledger, int64_t id, struct ledger_entry **ret)
{
	struct ledger_entry *entry = NULL;
	size_t count = 0;

	if (id <= 0)
		return -ENOENT;
	struct ledgersql *sql = ask(ledger);
	int r = !sql ? -EIO : answered(ledger, ledgersql_history(sql, 0, id, 0, 1, &entry, &count));
	if (r || !count)
		return r ? r : -ENOENT;
	*ret = entry;
	return 0;
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

int ledger_runs(struct ledger *ledger, int64_t id, struct ledger_cells *ret)
{
	struct ledgersql *sql = ask(ledger);

	return sql ? answered(ledger, ledgersql_runs(sql, id, ret)) : -EIO;
}

int ledger_sources(struct ledger *ledger, int64_t id, char ***ret, size_t *ret_count)
{
	struct ledgersql *sql = ask(ledger);

	return sql ? answered(ledger, ledgersql_sources(sql, id, ret, ret_count)) : -EIO;
}

int ledger_undoable(struct ledger *ledger, char ***ret, size_t *ret_count)
{
	struct ledgersql *sql = ask(ledger);

	return sql ? answered(ledger, ledgersql_undoable(sql, ret, ret_count)) : -EIO;
}

static int recorded_of(struct ledger *ledger, const char *rel, struct recorded **ret,
		       size_t *ret_count, int64_t *ret_damaged)
{
	int64_t file = number_of(ledger, rel);
	struct ledgersql *sql = ask(ledger);

	return sql ? answered(ledger, ledgersql_recorded(sql, file, ret, ret_count, ret_damaged))
		: -EIO;
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
	int r = recorded_of(ledger, rel, &merge, &count, &damaged);

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
	ledgersql_recorded_free(merge, count);
	return r;
}

int ledger_spread(struct ledger *ledger, const char *rel, uint64_t ino, uint64_t identity,
		  struct ledger_undo *ret)
{
	struct recorded *merge = NULL;
	int64_t damaged = 0;
	size_t count = 0;
	int r = recorded_of(ledger, rel, &merge, &count, &damaged);

	if (r)
		return r;
	r = ledgerundo_spread(merge, count, ino, identity, ret);
	ledgersql_recorded_free(merge, count);
	return r;
}
