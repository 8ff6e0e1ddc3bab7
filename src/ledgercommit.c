#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "io.h"

#define MS UINT64_C(1000000)
#define NEWCOMER_MS 1000        /* so long a file put in the ledger's place has to rest */
#define HEADER_SIZE 100         /* of an SQLite database */
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

static void wait_until(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until_ns)
{
	struct timespec until = {
		(time_t)(until_ns / (1000 * MS)), (long)(until_ns % (1000 * MS))
	};

	if (until_ns == UINT64_MAX)
		pthread_cond_wait(cond, mutex);
	else
		pthread_cond_timedwait(cond, mutex, &until);
}

/* ---- opening, and opening again: by the committer, or before there is one ---- */

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

static void disconnect(struct ledger *ledger)
{
	pthread_mutex_lock(&ledger->reading);
	ledgersql_close(ledger->sql);
	ledger->sql = NULL;
	pthread_mutex_unlock(&ledger->reading);
}

/* The database is empty: all that is known, and every merge under way, goes into it again.  Those
 * that are applied see by their epoch that they are not in it.  Caller holds the mutex. */
static void record_anew(struct ledger *ledger)
{
	ledger->epoch++;
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

	if (r == LEDGERSQL_ODD && !ledger->options.own_path) {
		struct reason odd = *why;

		reason_set(why, "is damaged (%.200s): move it away, and a new one is begun", odd.text);
		return REFUSED;
	}
	if (r != LEDGERSQL_CORRUPT && r != LEDGERSQL_ODD)
		return r;
	if (!ours && !ledger->options.own_path) {
		reason_set(why, "is no ledger");
		return REFUSED;
	}
	struct reason damage = *why;

	r = set_aside(ledger, &damage, why);
	if (!r)
		r = ledgersql_open(ledger->path, false, ret, ret_created, &ours, why);
	return r == LEDGERSQL_CORRUPT || r == LEDGERSQL_ODD ? -EIO : r;
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

/* The first time: what is known of each file.  Nobody else uses the table before. */
static int load(struct ledger *ledger, struct ledgersql *sql, struct reason *why)
{
	int64_t last_file = 0, last_merge = 0;
	struct reason notice;

	ledger->damaged = 0;
	int r = ledgersql_load(sql, load_one, ledger, &last_file, &last_merge, why);
	if (!r && ledger->damaged) {
		reason_set(&notice, "is damaged in what it says of %zu files: they are looked at again",
			   ledger->damaged);
		say(ledger, &notice);
	}
	if (r) {
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
	if (age_ms < 0 || age_ms >= NEWCOMER_MS)
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

int ledgercommit_connect(struct ledger *ledger, struct reason *why)
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
		if (r == LEDGERSQL_CORRUPT) {
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

/* ---- the committer ---- */

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

static int write_batch(struct ledger *ledger, const struct batch *batch, struct reason *why)
{
	struct ledgersql *sql = ledger->sql;
	const struct ticket *ticket;
	int64_t now = now_ms();
	int r = ledgersql_begin(sql, why);

	ledger->tried.token = ledger->token;
	ledger->tried.count++;
	if (!r)
		r = ledgersql_put_mark(sql, &ledger->tried, why);
	TAILQ_FOREACH(ticket, &batch->fresh, link)
		if (!r)
			r = ledgersql_put_intent(sql, ticket, why);
	TAILQ_FOREACH(ticket, &batch->finished, link) {
		if (!r && ticket->epoch != ledger->epoch)
			r = ledgersql_put_intent(sql, ticket, why);
		if (!r)
			r = ledgersql_put_done(sql, ticket, now, why);
	}
	TAILQ_FOREACH(ticket, &batch->dropped, link)
		if (!r)
			r = ledgersql_remove(sql, ticket, why);
	for (size_t i = 0; i < batch->rows && !r; i++)
		r = ledgersql_put_file(sql, &batch->row[i], why);
	if (!r)
		r = ledgersql_commit(sql, why);
	if (r)
		ledgersql_rollback(sql);
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

/* The database as it stands at its path, opened again where it must be. */
static int ready(struct ledger *ledger, struct reason *why)
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
		disconnect(ledger);
	}
	if (!ledger->sql)
		r = ledgercommit_connect(ledger, why);
	pthread_mutex_lock(&ledger->mutex);
	ledger->doubted &= !ledger->whole || r;
	pthread_mutex_unlock(&ledger->mutex);
	return r;
}

/* Damage that shows only now, and what may be cured by opening it anew. */
static int after_failure(struct ledger *ledger, int r, struct reason *why)
{
	if (r == -EBUSY || r == -ENOSPC || r == -ENOMEM)
		return r;
	disconnect(ledger);
	if (r == LEDGERSQL_CORRUPT) {
		struct reason damage = *why;

		r = set_aside(ledger, &damage, why);
	}
	return r;
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
	int r = ready(ledger, &why);

	/* After ready(): that may have everything recorded anew. */
	pthread_mutex_lock(&ledger->mutex);
	gather(ledger, &batch);
	TAILQ_FOREACH(ticket, &batch.fresh, link)
		merges++;
	pthread_mutex_unlock(&ledger->mutex);
	if (!r) {
		r = write_batch(ledger, &batch, &why);
		written = r == 0;
		if (r)
			r = after_failure(ledger, r, &why);
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
		if (r == -EAGAIN && wait_ms > NEWCOMER_MS / 2)
			wait_ms = NEWCOMER_MS / 2;
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

void *ledgercommit_commit(void *arg)
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
			wait_until(&ledger->commit, &ledger->mutex, due);
			continue;
		}
		pthread_mutex_unlock(&ledger->mutex);
		commit(ledger);
		pthread_mutex_lock(&ledger->mutex);
		if (ledger->stopping && !ledger->ok)
			break;          /* what is not on record is merged again */
	}
	pthread_mutex_unlock(&ledger->mutex);
	disconnect(ledger);
	pthread_mutex_lock(&ledger->mutex);
	ledger->committer_ended = true;
	pthread_cond_broadcast(&ledger->moved);
	pthread_mutex_unlock(&ledger->mutex);
	return NULL;
}

/* ---- the syncer ---- */

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

void *ledgercommit_sync(void *arg)
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
			wait_until(&ledger->sync, &ledger->mutex, UINT64_MAX);
			continue;
		}
		if (!hurry && due > io_now_ns()) {
			wait_until(&ledger->sync, &ledger->mutex, due);
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
