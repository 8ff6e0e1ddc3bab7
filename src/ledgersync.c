#include "config.h"
#include "ledgerint.h"

#include <stdlib.h>

#include "io.h"
#include "until.h"

#define MS UINT64_C(1000000)

/* Caller holds the mutex. */
static void synced(struct ledger *ledger, struct ticket *ticket)
{
	struct entry *entry = ticket->entry;

	/* What a sync has failed for is done no more in this life: a later one that succeeds tells
	 * nothing of what the kernel has given up. */
	if (ticket->error) {
		entry->state.verdict = LEDGER_NOTHING;
		ledger->given_up++;
	} else {
		entry->unsynced--;
	}
	if (entry->dirty)
		ledgertable_list(ledger, entry);
	if (!ticket->error)
		TAILQ_INSERT_TAIL(&ledger->finished, ticket, link);
	ledgertable_wake_committer(ledger);
}

static void sync_files(struct ledger *ledger, struct ticket_list *list)
{
	const struct ledger_options *options = &ledger->options;
	struct ledger_synced one = { NULL, 0 }, *file;
	struct ticket *ticket;
	size_t files = 0, n = 0;

	if (!options->sync)
		return;
	TAILQ_FOREACH(ticket, list, link)
		files++;
	file = calloc(files, sizeof(*file));
	if (file) {
		TAILQ_FOREACH(ticket, list, link)
			file[n++].rel = ticket->rel;
		options->sync(file, files, options->arg);
	}
	n = 0;
	TAILQ_FOREACH(ticket, list, link) {
		if (!file) {            /* no memory: one by one */
			one = (struct ledger_synced){ .rel = ticket->rel };
			options->sync(&one, 1, options->arg);
		}
		ticket->error = file ? file[n++].error : one.error;
	}
	free(file);
}

static void sync_all(struct ledger *ledger, struct ticket_list *list)
{
	const struct ledger_options *options = &ledger->options;
	struct ticket *ticket;

	sync_files(ledger, list);
	while ((ticket = TAILQ_FIRST(list))) {
		const char *rel = ticket->rel;
		int64_t id = ticket->id;
		int error = ticket->error;

		TAILQ_REMOVE(list, ticket, link);
		pthread_mutex_lock(&ledger->mutex);
		synced(ledger, ticket);
		if (error)
			ledgertable_ticket_free(ledger, ticket);
		pthread_mutex_unlock(&ledger->mutex);
		if (error && options->done)
			options->done(rel, id, error, options->arg);
	}
}

void *ledgersync_run(void *arg)
{
	struct ledger *ledger = arg;
	struct ticket_list list = TAILQ_HEAD_INITIALIZER(list);

	pthread_mutex_lock(&ledger->mutex);
	for (;;) {
		bool hurry = ledger->stopping || ledger->flushing;
		uint64_t due = ledger->applied_since_ns + ledger->options.sync_ms * MS;

		if (TAILQ_EMPTY(&ledger->applied)) {
			if (ledger->stopping)
				break;
			until_wait(&ledger->sync, &ledger->mutex, UINT64_MAX);
			continue;
		}
		if (!hurry && due > io_now_ns()) {
			until_wait(&ledger->sync, &ledger->mutex, due);
			continue;
		}
		TAILQ_CONCAT(&list, &ledger->applied, link);
		ledger->applied_since_ns = 0;
		ledger->syncing = true;
		pthread_mutex_unlock(&ledger->mutex);
		sync_all(ledger, &list);
		pthread_mutex_lock(&ledger->mutex);
		ledger->syncing = false;
		pthread_cond_broadcast(&ledger->moved);
	}
	ledger->syncer_ended = true;
	pthread_cond_signal(&ledger->commit);
	pthread_cond_broadcast(&ledger->moved);
	pthread_mutex_unlock(&ledger->mutex);
	return NULL;
}
