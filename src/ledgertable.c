#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "io.h"

/* ---- hashes ---- */

static uint64_t hash_bytes(uint64_t hash, const void *bytes, size_t size)
{
	const uint8_t *at = bytes;

	/* FNV-1a */
	while (size-- > 0)
		hash = (hash ^ *at++) * UINT64_C(0x100000001b3);
	return hash;
}

#define HASH_START UINT64_C(0xcbf29ce484222325)

static uint64_t hash_end(uint64_t hash)
{
	/* splitmix64's last steps */
	hash = (hash ^ hash >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	hash = (hash ^ hash >> 27) * UINT64_C(0x94d049bb133111eb);
	hash ^= hash >> 31;
	return hash ? hash : 1;
}

uint64_t ledgertable_hash(const char *text)
{
	return text ? hash_end(hash_bytes(HASH_START, text, strlen(text))) : 0;
}

uint64_t ledger_digest(const char *rel, const struct ledger_source *source, size_t sources)
{
	uint64_t hash = HASH_START;

	for (size_t n = 0; n < sources; n++) {
		const char *path = source[n].rel ? source[n].rel : rel;

		hash = hash_bytes(hash, source[n].root, strlen(source[n].root) + 1);
		hash = hash_bytes(hash, path, strlen(path) + 1);
		hash = hash_bytes(hash, &source[n].size, sizeof(source[n].size));
		hash = hash_bytes(hash, &source[n].mtime_ns, sizeof(source[n].mtime_ns));
		hash = hash_bytes(hash, &source[n].ctime_ns, sizeof(source[n].ctime_ns));
	}
	return hash_end(hash);
}

/* ---- files ---- */

void ledgertable_free(struct ledger *ledger)
{
	for (size_t slot = 0; slot < ledger->capacity; slot++) {
		if (ledger->table[slot])
			free(ledger->table[slot]->refusal);
	}
	blocks_free(&ledger->blocks);
	free(ledger->table);
	ledger->table = NULL;
	ledger->capacity = ledger->entries = 0;
}

static size_t slot_of(const struct ledger *ledger, const char *rel)
{
	size_t slot = ledgertable_hash(rel) & (ledger->capacity - 1);

	while (ledger->table[slot] && strcmp(ledger->table[slot]->path, rel))
		slot = (slot + 1) & (ledger->capacity - 1);
	return slot;
}

struct entry *ledgertable_find(const struct ledger *ledger, const char *rel)
{
	return ledger->capacity ? ledger->table[slot_of(ledger, rel)] : NULL;
}

static int grow_table(struct ledger *ledger)
{
	struct entry **was = ledger->table;
	size_t capacity = ledger->capacity;

	if (ledger->entries * 3 < capacity * 2)
		return 0;
	ledger->table = calloc(capacity ? capacity * 2 : 64, sizeof(*was));
	if (!ledger->table) {
		ledger->table = was;
		return -ENOMEM;
	}
	ledger->capacity = capacity ? capacity * 2 : 64;
	for (size_t i = 0; i < capacity; i++)
		if (was[i])
			ledger->table[slot_of(ledger, was[i]->path)] = was[i];
	free(was);
	return 0;
}

struct entry *ledgertable_add(struct ledger *ledger, const char *rel, int64_t id)
{
	struct entry *entry = ledgertable_find(ledger, rel);
	size_t size = strlen(rel) + 1;

	if (entry)
		return entry;
	if (grow_table(ledger))
		return NULL;
	entry = blocks_get(&ledger->blocks, sizeof(*entry) + size);
	if (!entry)
		return NULL;
	memcpy(entry->path, rel, size);
	entry->id = id ? id : ++ledger->last_file;
	ledger->table[slot_of(ledger, rel)] = entry;
	ledger->entries++;
	return entry;
}

/* ---- work for the threads ---- */

void ledgertable_wake_committer(struct ledger *ledger)
{
	if (!ledger->work_since_ns)
		ledger->work_since_ns = io_now_ns();
	pthread_cond_signal(&ledger->commit);
}

void ledgertable_list(struct ledger *ledger, struct entry *entry)
{
	entry->dirty = true;
	if (entry->unsynced || entry->listed)
		return;
	entry->listed = true;
	entry->next_dirty = ledger->dirty;
	ledger->dirty = entry;
	ledgertable_wake_committer(ledger);
}

/* The tickets' memory: they come by the hundred thousand, and go. */
static pthread_mutex_t tickets_mutex = PTHREAD_MUTEX_INITIALIZER;
static struct blocks tickets;

static void *get_memory(size_t size)
{
	pthread_mutex_lock(&tickets_mutex);
	void *memory = blocks_get(&tickets, size);
	pthread_mutex_unlock(&tickets_mutex);
	return memory;
}

static void put_memory(void *memory)
{
	pthread_mutex_lock(&tickets_mutex);
	blocks_put(&tickets, memory);
	pthread_mutex_unlock(&tickets_mutex);
}

static size_t names_size(const struct ledger_intent *intent)
{
	size_t size = 0;

	for (size_t n = 0; n < intent->sources; n++) {
		size += strlen(intent->source[n].root) + 1;
		if (intent->source[n].rel)
			size += strlen(intent->source[n].rel) + 1;
	}
	return size;
}

/* The names stand behind. */
static void copy_sources(const struct ledger_intent *intent, struct ledger_source *copy, char *at)
{
	for (size_t n = 0; n < intent->sources; n++) {
		const struct ledger_source *source = &intent->source[n];

		copy[n] = *source;
		copy[n].root = at;
		at = stpcpy(at, source->root) + 1;
		if (source->rel) {
			copy[n].rel = at;
			at = stpcpy(at, source->rel) + 1;
		}
	}
}

/* A ticket with room for all that it has, each behind the other in one piece of memory. */
static struct ticket *new_ticket(const struct ledger_intent *intent, size_t runs_size)
{
	size_t given = intent->sources * sizeof(*((struct ticket *)NULL)->given);
	size_t undoes = intent->undone * sizeof(*intent->undoes);
	size_t sources = intent->sources * sizeof(struct ledger_source);
	size_t size = sizeof(struct ticket) + given + undoes + sources + names_size(intent) +
		      runs_size;
	struct ticket *ticket = get_memory(size);

	if (!ticket)
		return NULL;
	uint8_t *at = (uint8_t *)(ticket + 1);
	ticket->bytes = size;
	ticket->given = (void *)at;
	ticket->undoes = (void *)(at += given);
	ticket->source = (void *)(at += undoes);
	ticket->runs = at += sources;
	ticket->runs_size = runs_size;
	ticket->sources = intent->sources;
	ticket->undone = intent->undone;
	copy_sources(intent, ticket->source, (char *)at + runs_size);
	return ticket;
}

static void count_cells(const struct ledger_intent *intent, struct ticket *ticket)
{
	for (size_t i = 0; i < intent->runs; i++) {
		const struct ledger_run *run = &intent->run[i];

		ticket->intended[run->kind] += run->count;
		if (run->source < intent->sources)
			ticket->given[run->source][run->kind] += run->count;
	}
}

int ledgertable_ticket(const struct ledger_intent *intent, struct ticket **ret)
{
	struct ticket *ticket;
	struct timespec now;
	uint8_t *runs;
	size_t runs_size;
	int r = ledgerpack_put(intent, &runs, &runs_size);

	if (r)
		return r;
	ticket = new_ticket(intent, runs_size);
	if (ticket) {
		clock_gettime(CLOCK_REALTIME, &now);
		ticket->what = intent->undone ? LEDGER_UNDO : LEDGER_MERGE;
		ticket->time_ms = (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
		ticket->dev = intent->dev;
		ticket->ino = intent->ino;
		ticket->identity = intent->identity;
		ticket->last_up = intent->last_up;
		ticket->digest = ledger_digest(intent->rel, intent->source, intent->sources);
		if (intent->undone)
			memcpy(ticket->undoes, intent->undoes,
			       intent->undone * sizeof(*ticket->undoes));
		if (runs_size)
			memcpy(ticket->runs, runs, runs_size);
		count_cells(intent, ticket);
	}
	free(runs);
	if (!ticket)
		return -ENOMEM;
	*ret = ticket;
	return 0;
}

void ledgertable_ticket_free(struct ledger *ledger, struct ticket *ticket)
{
	if (!ticket)
		return;
	if (ledger)
		ledger->held -= ticket->bytes;
	free(ticket->reason);
	put_memory(ticket);
}

void ledgertable_drop(struct ledger *ledger, struct ticket *ticket)
{
	ticket->entry->ticket = NULL;
	if (ticket->committing) {
		ticket->dropped = true;
		return;
	}
	if (!ticket->durable)
		TAILQ_REMOVE(&ledger->fresh, ticket, link);
	if (!ticket->durable && !ticket->tried) {
		ledgertable_ticket_free(ledger, ticket);
		return;
	}
	TAILQ_INSERT_TAIL(&ledger->dropped, ticket, link);
	ledgertable_wake_committer(ledger);
}

void ledgertable_applied(struct ledger *ledger, struct ticket *ticket)
{
	if (TAILQ_EMPTY(&ledger->applied)) {
		ledger->applied_since_ns = io_now_ns();
		pthread_cond_signal(&ledger->sync);
	}
	TAILQ_INSERT_TAIL(&ledger->applied, ticket, link);
}
