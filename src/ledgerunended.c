/* ledgerunended: undos that were begun and did not come to their end. */
#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* ---- in memory ---- */

void ledgerunended_set(struct ledger *ledger, struct entry *entry, bool unended)
{
	ledger->unended += unended;
	ledger->unended -= entry->unended;
	entry->unended = unended;
}

void ledgerunended_clear(struct ledger *ledger)
{
	for (size_t slot = 0; slot < ledger->capacity; slot++)
		if (ledger->table[slot])
			ledger->table[slot]->unended = false;
	ledger->unended = 0;
}

bool ledger_is_unended(struct ledger *ledger, const char *rel)
{
	pthread_mutex_lock(&ledger->mutex);
	const struct entry *entry = ledger->unended ? ledgertable_find(ledger, rel) : NULL;
	bool unended = entry && entry->unended;
	pthread_mutex_unlock(&ledger->mutex);
	return unended;
}

int ledger_unended(struct ledger *ledger, char ***ret, size_t *ret_count)
{
	char **path = NULL;
	size_t count = 0;
	int r = 0;

	pthread_mutex_lock(&ledger->mutex);
	if (ledger->unended && !(path = calloc(ledger->unended, sizeof(*path))))
		r = -ENOMEM;
	for (size_t slot = 0; path && !r && slot < ledger->capacity; slot++) {
		const struct entry *entry = ledger->table[slot];

		if (!entry || !entry->unended)
			continue;
		path[count] = strdup(entry->path);
		if (path[count])
			count++;
		else
			r = -ENOMEM;
	}
	pthread_mutex_unlock(&ledger->mutex);
	if (r) {
		while (count > 0)
			free(path[--count]);
		free(path);
		return r;
	}
	*ret = path;
	*ret_count = count;
	return 0;
}

/* ---- what they were to write ---- */

void ledger_begun_free(struct ledger_begun *begun)
{
	ledger_cells_free(&begun->cells);
	ledger_cells_free(&begun->before);
	free(begun->undo);
	free(begun->merge);
	*begun = (struct ledger_begun){ .undos = 0 };
}

/* The undo's cells.  REFUSED where it has written something for certain, or cannot be judged. */
static int add_undo(struct ledger_begun *begun, const struct recorded *undo, uint64_t ino,
		    uint64_t identity)
{
	const struct ledger_cells *cells = &undo->cells;
	int r = 0;

	if (undo->stage != LEDGER_INTERRUPTED || undo->ino != ino || undo->identity != identity ||
	    (begun->cells.opens && cells->opens && begun->last_up != undo->last_up))
		return REFUSED;
	for (size_t i = 0; i < cells->runs && !r; i++)
		r = ledgercells_add(&begun->cells, &cells->run[i]);
	for (size_t i = 0; i < cells->opens && !r; i++)
		r = ledgercells_add_open(&begun->cells, &cells->open[i]);
	if (cells->opens)
		begun->last_up = undo->last_up;
	begun->undo[begun->undos++] = undo->id;
	return r;
}

/* What the merges have found and written over: what an undo gives back is among it. */
static int add_before(struct ledger_begun *begun, const struct recorded *merge)
{
	int r = 0;

	for (size_t i = 0; i < merge->cells.runs && !r; i++)
		if (merge->cells.run[i].old)
			r = ledgercells_add(&begun->before, &merge->cells.run[i]);
	begun->merge[begun->merges++] = merge->id;
	return r;
}

int ledgerunended_begun(const struct recorded *merge, size_t merges, const struct recorded *undo,
			size_t undos, uint64_t ino, uint64_t identity, struct ledger_begun *ret)
{
	struct ledger_begun begun = {
		.undo = calloc(undos + 1, sizeof(*begun.undo)),
		.merge = calloc(merges + 1, sizeof(*begun.merge)),
	};
	int64_t last = merges ? merge[merges - 1].id : 0;
	int r = begun.undo && begun.merge ? 0 : -ENOMEM;

	for (size_t n = 0; n < merges && !r; n++)
		r = add_before(&begun, &merge[n]);
	/* What was merged after an undo has ended it. */
	for (size_t n = 0; n < undos && !r; n++)
		if (undo[n].id > last && undo[n].stage != LEDGER_IS_DONE)
			r = add_undo(&begun, &undo[n], ino, identity);
	if (!r && !begun.undos)
		r = REFUSED;
	if (r)
		ledger_begun_free(&begun);
	else
		*ret = begun;
	return r;
}

/* ---- off the record ---- */

static int hand_in(struct ledger *ledger, const char *rel, int64_t undo,
		   const struct ledger_begun *begun)
{
	/* Of these, those that it was to undo are set free. */
	const struct ledger_intent intent = {
		.rel = rel, .undoes = begun->merge, .undone = begun->merges,
	};
	struct ticket *ticket;
	int r = ledgertable_ticket(&intent, &ticket);

	if (r)
		return r;
	pthread_mutex_lock(&ledger->mutex);
	ticket->entry = ledgertable_find(ledger, rel);
	ticket->id = undo;
	ticket->file = ticket->entry->id;
	ticket->rel = ticket->entry->path;
	ticket->durable = true;
	ledger->held += ticket->bytes;
	ledgerunended_set(ledger, ticket->entry, false);
	TAILQ_INSERT_TAIL(&ledger->dropped, ticket, link);
	ledgertable_wake_committer(ledger);
	pthread_mutex_unlock(&ledger->mutex);
	return 0;
}

int ledger_never_begun(struct ledger *ledger, const char *rel, const struct ledger_begun *begun)
{
	int r = 0;

	for (size_t n = 0; n < begun->undos && !r; n++)
		r = hand_in(ledger, rel, begun->undo[n], begun);
	return r;
}
