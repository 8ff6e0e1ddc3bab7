#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdlib.h>
#include <time.h>

#include "io.h"
#include "until.h"

#define MS UINT64_C(1000000)
#define CALM_MS 1000            /* what nobody waits for may wait so long for company */
#define FEW 4                   /* merges in a commit: no tree is under way, somebody waits for each … */
#define SHARE 5                 /* … so that commits may take this part of the time */

/* What one commit writes; the committer's own. */
struct batch {
	struct ticket_list fresh, finished, dropped;
	struct file_row *row;
	size_t rows;
};

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

bool ledgercommit_has_work(const struct ledger *ledger)
{
	return (!TAILQ_EMPTY(&ledger->fresh) && !ledger->stopping) || ledger->dirty
		|| !TAILQ_EMPTY(&ledger->finished) || !TAILQ_EMPTY(&ledger->dropped);
}

/* When the next commit is due; UINT64_MAX: when there is something to do. */
static uint64_t commit_due(const struct ledger *ledger)
{
	uint64_t group = ledger->options.group_ms * MS, calm = CALM_MS * MS;

	if (!ledger->ok)
		return ledger->stopping ? 0 : ledger->retry_ns;
	if (!ledgercommit_has_work(ledger))
		return ledger->stopping && ledger->syncer_ended ? 0 : UINT64_MAX;
	if (ledger->stopping || ledger->flushing)
		return 0;
	if (!TAILQ_EMPTY(&ledger->fresh))
		return ledger->began_ns ? ledger->began_ns + ledger->gap_ns : 0;
	return ledger->work_since_ns + (calm > group ? calm : group);
}

static void gather_rows(struct ledger *ledger, struct batch *batch)
{
	size_t rows = 0;

	for (struct entry *entry = ledger->dirty; entry; entry = entry->next_dirty)
		rows++;
	batch->row = rows ? calloc(rows, sizeof(*batch->row)) : NULL;
	if (!batch->row)
		return;                 /* they stay where they are */
	while (ledger->dirty) {
		struct entry *entry = ledger->dirty;
		struct file_row *row = &batch->row[batch->rows];

		ledger->dirty = entry->next_dirty;
		entry->listed = false;
		if (entry->unsynced)
			continue;       /* it comes again when they are */
		entry->dirty = false;
		*row = (struct file_row){
			.id = entry->id, .rel = entry->path, .entry = entry,
			.state = entry->state, .why = entry->why, .refusal = entry->refusal,
			.event = entry->refusal ? ++ledger->last_merge : 0,
		};
		entry->refusal = NULL;
		batch->rows++;
	}
}

static void gather(struct ledger *ledger, struct batch *batch)
{
	struct ticket *ticket;

	TAILQ_INIT(&batch->fresh);
	TAILQ_INIT(&batch->finished);
	TAILQ_INIT(&batch->dropped);
	batch->row = NULL;
	batch->rows = 0;
	if (!ledger->stopping)
		TAILQ_CONCAT(&batch->fresh, &ledger->fresh, link);
	TAILQ_CONCAT(&batch->finished, &ledger->finished, link);
	TAILQ_CONCAT(&batch->dropped, &ledger->dropped, link);
	TAILQ_FOREACH(ticket, &batch->fresh, link)
		ticket->committing = ticket->tried = true;
	gather_rows(ledger, batch);
	ledger->began_ns = io_now_ns();
	ledger->work_since_ns = ledger->dirty ? ledger->began_ns : 0;
	ledger->committing = true;
}

/* What has become of undos, when all of it is written. */
static int ask_unended(struct ledger *ledger, const struct batch *batch, struct reason *why)
{
	const struct ticket_list *const lists[] = {
		&batch->fresh, &batch->finished, &batch->dropped
	};
	struct ledgerwrite *writer = ledgersql_writer(ledger->sql);
	struct ticket *ticket;
	int r = 0;

	for (size_t i = 0; i < sizeof(lists) / sizeof(*lists); i++)
		TAILQ_FOREACH(ticket, lists[i], link) {
			pthread_mutex_lock(&ledger->mutex);
			ticket->asked = ticket->what == LEDGER_UNDO || ticket->entry->unended;
			pthread_mutex_unlock(&ledger->mutex);
			if (!r && ticket->asked)
				r = ledgerwrite_unended(writer, ticket->file, &ticket->unended, why);
		}
	return r;
}

static int write_batch(struct ledger *ledger, const struct batch *batch, struct reason *why)
{
	struct ledgerwrite *writer = ledgersql_writer(ledger->sql);
	struct ticket *ticket;
	int64_t now = now_ms();
	int r = ledgerwrite_begin(writer, why);

	ledger->tried.token = ledger->token;
	ledger->tried.count++;
	if (!r)
		r = ledgerwrite_mark(writer, &ledger->tried, why);
	TAILQ_FOREACH(ticket, &batch->fresh, link)
		if (!r)
			r = ledgerwrite_intent(writer, ticket, why);
	TAILQ_FOREACH(ticket, &batch->finished, link) {
		if (!r && ticket->epoch != ledger->epoch)
			r = ledgerwrite_intent(writer, ticket, why);
		if (!r)
			r = ledgerwrite_done(writer, ticket, now, why);
	}
	TAILQ_FOREACH(ticket, &batch->dropped, link)
		if (!r)
			r = ledgerwrite_remove(writer, ticket, why);
	for (size_t i = 0; i < batch->rows && !r; i++)
		r = ledgerwrite_file(writer, &batch->row[i], why);
	if (!r)
		r = ask_unended(ledger, batch, why);
	if (!r)
		r = ledgerwrite_commit(writer, why);
	if (r)
		ledgerwrite_rollback(writer);
	else
		ledger->last = ledger->tried;
	return r;
}

/* Out of the committer's hands: what became of it meanwhile?  True where it is settled so. */
static bool hand_back(struct ledger *ledger, struct ticket *ticket)
{
	ticket->committing = false;
	if (ticket->dropped)
		TAILQ_INSERT_TAIL(&ledger->dropped, ticket, link);
	else if (ticket->applied)
		ledgertable_applied(ledger, ticket);
	else
		return false;
	ledgertable_wake_committer(ledger);
	return true;
}

/* It could not be written: all of it waits for the next time.  Caller holds the mutex. */
static void put_back(struct ledger *ledger, struct batch *batch)
{
	struct ticket_list kept = TAILQ_HEAD_INITIALIZER(kept);
	struct ticket *ticket;

	while ((ticket = TAILQ_FIRST(&batch->fresh))) {
		TAILQ_REMOVE(&batch->fresh, ticket, link);
		if (!hand_back(ledger, ticket))
			TAILQ_INSERT_TAIL(&kept, ticket, link);
	}
	/* What came meanwhile comes after. */
	TAILQ_CONCAT(&kept, &ledger->fresh, link);
	TAILQ_CONCAT(&ledger->fresh, &kept, link);
	TAILQ_CONCAT(&batch->finished, &ledger->finished, link);
	TAILQ_CONCAT(&ledger->finished, &batch->finished, link);
	TAILQ_CONCAT(&ledger->dropped, &batch->dropped, link);
	for (size_t i = 0; i < batch->rows; i++) {
		struct entry *entry = batch->row[i].entry;

		if (entry->refusal || entry->state.verdict != LEDGER_REFUSED)
			free(batch->row[i].refusal);
		else
			entry->refusal = batch->row[i].refusal;
		ledgertable_list(ledger, entry);
	}
	free(batch->row);
}

/* What is to be told; the paths are the entries'. */
struct news {
	const char *rel;
	int64_t id;
	bool done;
};

static void note_unended(struct ledger *ledger, const struct ticket_list *list)
{
	struct ticket *ticket;

	TAILQ_FOREACH(ticket, list, link)
		if (ticket->asked)
			ledgerunended_set(ledger, ticket->entry, ticket->unended);
}

/* It is on disk.  Caller holds the mutex.  Returns what is to be told; NULL where there is nothing,
 * or no memory: then the file is looked at again with its next event. */
static struct news *settle(struct ledger *ledger, struct batch *batch, size_t *ret_count)
{
	struct ticket *ticket;
	struct news *news;
	size_t count = 0, told = 0;

	TAILQ_FOREACH(ticket, &batch->fresh, link)
		count++;
	TAILQ_FOREACH(ticket, &batch->finished, link)
		count++;
	news = count ? calloc(count, sizeof(*news)) : NULL;
	note_unended(ledger, &batch->fresh);
	note_unended(ledger, &batch->finished);
	note_unended(ledger, &batch->dropped);
	while ((ticket = TAILQ_FIRST(&batch->fresh))) {
		TAILQ_REMOVE(&batch->fresh, ticket, link);
		ticket->epoch = ledger->epoch;
		ticket->durable = true;
		if (!hand_back(ledger, ticket) && news)
			news[told++] = (struct news){ ticket->rel, ticket->id, false };
	}
	while ((ticket = TAILQ_FIRST(&batch->finished))) {
		TAILQ_REMOVE(&batch->finished, ticket, link);
		if (news)
			news[told++] = (struct news){ ticket->rel, ticket->id, true };
		ledger->unsynced--;
		ledgertable_ticket_free(ledger, ticket);
	}
	while ((ticket = TAILQ_FIRST(&batch->dropped))) {
		TAILQ_REMOVE(&batch->dropped, ticket, link);
		ledgertable_ticket_free(ledger, ticket);
	}
	for (size_t i = 0; i < batch->rows; i++)
		free(batch->row[i].refusal);
	free(batch->row);
	*ret_count = told;
	return news;
}

static void tell(struct ledger *ledger, const struct news *news, size_t count)
{
	const struct ledger_options *options = &ledger->options;

	for (size_t i = 0; i < count; i++)
		if (news[i].done && options->done)
			options->done(news[i].rel, news[i].id, 0, options->arg);
		else if (!news[i].done && options->durable)
			options->durable(news[i].rel, news[i].id, options->arg);
}

/* From the beginning of this commit to that of the next.  Caller holds the mutex. */
static uint64_t gap_after(const struct ledger *ledger, size_t merges)
{
	uint64_t group = ledger->options.group_ms * MS;
	uint64_t share = (io_now_ns() - ledger->began_ns) * SHARE;

	if (!merges)                    /* what is done comes once a second, and holds nobody up */
		return 0;
	return merges > FEW || share > group ? group : share;
}

static void commit(struct ledger *ledger)
{
	struct reason why = { "" };
	struct batch batch;
	struct news *news = NULL;
	const struct ticket *ticket;
	size_t told = 0, merges = 0;
	bool written = false;
	int r = ledgerconnect_ready(ledger, &why);

	/* After that: that may have everything recorded anew. */
	pthread_mutex_lock(&ledger->mutex);
	gather(ledger, &batch);
	TAILQ_FOREACH(ticket, &batch.fresh, link)
		merges++;
	pthread_mutex_unlock(&ledger->mutex);
	if (!r) {
		r = write_batch(ledger, &batch, &why);
		written = r == 0;
		if (r)
			r = ledgerconnect_failed(ledger, r, &why);
	}
	pthread_mutex_lock(&ledger->mutex);
	ledger->ok = written;
	ledger->gap_ns = gap_after(ledger, merges);
	if (written) {
		news = settle(ledger, &batch, &told);
	} else {
		put_back(ledger, &batch);
		ledger->why = why;
		/* Where it was set aside (r is 0): at once with a new one. */
		uint64_t wait_ms = ledger->options.retry_ms;
		if (r == -EAGAIN && wait_ms > LEDGERCONNECT_NEWCOMER_MS / 2)
			wait_ms = LEDGERCONNECT_NEWCOMER_MS / 2;
		ledger->retry_ns = io_now_ns() + (r ? wait_ms * MS : 0);
	}
	pthread_mutex_unlock(&ledger->mutex);
	tell(ledger, news, told);
	free(news);
	/* Who has waited for it finds that all is told. */
	pthread_mutex_lock(&ledger->mutex);
	ledger->committing = false;
	pthread_cond_broadcast(&ledger->moved);
	pthread_mutex_unlock(&ledger->mutex);
	if (written)
		ledgersql_checkpoint(ledger->sql);
}

void *ledgercommit_run(void *arg)
{
	struct ledger *ledger = arg;

	pthread_mutex_lock(&ledger->mutex);
	for (;;) {
		uint64_t due = commit_due(ledger);

		if (ledger->checking) {
			ledger->checking = false;
			pthread_mutex_unlock(&ledger->mutex);
			if (ledger->sql && ledgersql_check(ledger->sql, &ledger->tried))
				commit(ledger);
			pthread_mutex_lock(&ledger->mutex);
			continue;
		}
		if (ledger->stopping && ledger->syncer_ended && !ledgercommit_has_work(ledger))
			break;
		if (due > io_now_ns()) {
			until_wait(&ledger->commit, &ledger->mutex, due);
			continue;
		}
		pthread_mutex_unlock(&ledger->mutex);
		commit(ledger);
		pthread_mutex_lock(&ledger->mutex);
		if (ledger->stopping && !ledger->ok)
			break;          /* what is not on record is merged again */
	}
	pthread_mutex_unlock(&ledger->mutex);
	ledgerconnect_close(ledger);
	pthread_mutex_lock(&ledger->mutex);
	ledger->committer_ended = true;
	pthread_cond_broadcast(&ledger->moved);
	pthread_mutex_unlock(&ledger->mutex);
	return NULL;
}
