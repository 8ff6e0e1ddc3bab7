#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define HELD_MAX (UINT64_C(16) << 20)   /* bytes of merges under way */

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
	    ledgerpack_get(same->runs, same->runs_size, &wanted))
		goto out;
	pthread_mutex_lock(&ledger->mutex);
	ticket = find_ticket(ledger, now->rel, id);
	covers = ticket && ticket->durable && ticket->what == same->what
		&& ticket->ino == now->ino && ticket->dev == now->dev
		&& ticket->identity == now->identity && ticket->digest == same->digest
		&& (!now->opens || ticket->last_up == now->last_up)
		&& !ledgerpack_get(ticket->runs, ticket->runs_size, &recorded);
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
