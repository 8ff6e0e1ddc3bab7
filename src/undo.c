#include "config.h"
#include "undo.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"
#include "merge.h"
#include "record.h"

#define SECOND UINT64_C(1000000000)
#define RECORD_NS (60 * SECOND)
#define LISTED 500
#define BUSY_TRIES 200
#define BUSY_NS 50000000L

static void on_durable(const char *rel, int64_t id, void *arg)
{
	(void)rel;
	(void)id;
	(void)arg;              /* ledger_flush() waits for it */
}

static void on_done(const char *path, int64_t id, int error, void *arg)
{
	char shown[LOG_PATH_SIZE];

	(void)id;
	(void)arg;
	if (error)
		log_message(LOG_ERR, "unsynced reason=\"live: %s: what was undone may not be on disk\" "
			    "file=%s", strerror(-error), log_escape(shown, sizeof(shown), path));
}

/* Undoes merge `id` of the file that stands at `path`.  False where it could not, and said. */
static bool undo_merge(struct ledger *ledger, const char *path, int64_t id)
{
	const struct timespec nap = { 0, BUSY_NS };
	struct merge_site site = { .ledger = ledger, .record_now = true };
	struct merge_scratch *scratch = merge_scratch_new();
	struct merge_result result = { .outcome = MERGE_FAILED };       /* counts over all tries */
	char *dir = strdup(path), *slash = dir ? strrchr(dir, '/') : NULL;
	char shown[LOG_PATH_SIZE];

	if (!scratch || !slash) {
		reason_set(&result.why, "out of memory");
		goto out;
	}
	*slash = '\0';
	site.live = dir;
	for (unsigned try = 0; try < BUSY_TRIES; try++) {
		merge_undo(scratch, &site, slash + 1, id, &result);
		if (result.outcome == MERGE_BUSY)
			nanosleep(&nap, NULL);
		else if (result.outcome != MERGE_RECORDING ||
			 ledger_flush(ledger, io_now_ns() + RECORD_NS))
			break;
	}
	/* Nobody goes on with it. */
	if (result.outcome != MERGE_MERGED)
		ledger_abandon(ledger, path);
out:
	merge_scratch_free(scratch);
	free(dir);
	log_escape(shown, sizeof(shown), path);
	if (result.outcome == MERGE_MERGED) {
		printf("undone id=%lld cells=%llu open=%llu file=%s\n", (long long)id,
		       (unsigned long long)result.counts.cells,
		       (unsigned long long)result.counts.opens, shown);
		if (result.healed)
			log_message(LOG_NOTICE, "%llu open rows stay completed, as updates have come "
				    "since file=%s", (unsigned long long)result.healed, shown);
		if (result.why.text[0])
			log_message(LOG_NOTICE, "%s file=%s", result.why.text, shown);
		return true;
	}
	log_message(LOG_ERR, "merge %lld is not undone: %s file=%s", (long long)id,
		    result.outcome == MERGE_GONE ? "the file is not there any more"
		    : result.why.text, shown);
	return false;
}

static bool undo_one(struct ledger *ledger, const char *text)
{
	struct ledger_entry *entry;
	char *end;
	long long id = strtoll(text, &end, 10);
	bool undone;

	if (*end || id <= 0) {
		log_message(LOG_ERR, "%s is no number of a merge", text);
		return false;
	}
	int r = id < LLONG_MAX ? ledger_get(ledger, id, &entry) : -ENOENT;
	if (r) {
		log_message(LOG_ERR, "merge %lld: %s", id, r == -ENOENT ? "is not on record"
			    : strerror(-r));
		return false;
	}
	undone = entry->what == LEDGER_MERGE && undo_merge(ledger, entry->rel, id);
	if (entry->what != LEDGER_MERGE)
		log_message(LOG_ERR, "merge %lld is not undone: it is %s", id,
			    entry->what == LEDGER_UNDO ? "an undo; merging anew brings the values back"
						       : "a refusal, and nothing was written");
	ledger_entries_free(entry, 1);
	return undone;
}

static const char *what_of(const struct ledger_entry *entry)
{
	bool whole = entry->stage == LEDGER_IS_DONE;

	if (entry->what == LEDGER_UNDO)
		return whole ? "undo" : "undo-in-part";
	if (entry->what == LEDGER_REFUSAL)
		return "refused";
	return entry->undone ? "undone" : entry->undoing ? "undone-in-part"
		: whole ? "merge" : "merge-in-part";
}

/* The latest first. */
static bool list(struct ledger *ledger)
{
	struct ledger_entry *entry;
	int64_t before = 0;
	size_t count;

	do {
		int r = ledger_history(ledger, NULL, before, LISTED, &entry, &count);

		if (r) {
			log_message(LOG_ERR, "the ledger cannot be read: %s", r == -EUCLEAN
				    ? "it is damaged" : strerror(-r));
			return false;
		}
		for (size_t i = 0; i < count; i++) {
			char shown[LOG_PATH_SIZE], when[32];
			time_t seconds = (time_t)(entry[i].time_ms / 1000);
			struct tm tm;
			uint64_t cells = 0;

			for (int kind = 0; kind < LEDGER_KINDS; kind++)
				cells += entry[i].cells[kind];
			if (!gmtime_r(&seconds, &tm) ||
			    !strftime(when, sizeof(when), "%Y-%m-%dT%H:%MZ", &tm))
				snprintf(when, sizeof(when), "?");
			printf("id=%lld time=%s what=%s cells=%llu file=%s\n", (long long)entry[i].id,
			       when, what_of(&entry[i]), (unsigned long long)cells,
			       log_escape(shown, sizeof(shown), entry[i].rel));
			before = entry[i].id;
		}
		ledger_entries_free(entry, count);
	} while (count == LISTED);
	return true;
}

/* What is on record; nothing is written for it. */
static bool list_all(const char *path)
{
	struct ledger *ledger;
	struct reason why = { "" };
	char shown[LOG_PATH_SIZE];
	int r = ledger_open_reading(path, &ledger, &why);

	if (r) {
		log_message(LOG_ERR, "ledger %s path=%s", why.text,
			    log_escape(shown, sizeof(shown), path));
		return false;
	}
	bool listed = list(ledger);
	ledger_close(ledger, 0);
	return listed;
}

bool undo_merges(const char *path, char *const *id, size_t ids)
{
	const struct ledger_options options = {
		.path = path,
		.durable = on_durable,
		.sync = record_sync,
		.done = on_done,
	};
	struct ledger *ledger;
	struct reason why = { "" };
	char shown[LOG_PATH_SIZE];
	bool all = true;

	if (!ids)
		return list_all(path);
	log_escape(shown, sizeof(shown), path);
	if (access(path, R_OK)) {
		log_message(LOG_ERR, "ledger cannot be read: %s; nothing was changed path=%s",
			    strerror(errno), shown);
		return false;
	}
	int r = ledger_open(&options, &ledger, &why);
	if (r) {
		log_message(LOG_ERR, "ledger %s; if rrdmergd has it, ask that: rrdmergctl undo path=%s",
			    why.text, shown);
		return false;
	}
	for (size_t i = 0; i < ids; i++)
		all = undo_one(ledger, id[i]) && all;
	if (!ledger_ok(ledger, &why) || ledger_flush(ledger, io_now_ns() + RECORD_NS)) {
		log_message(LOG_ERR, "the ledger does not work: %s path=%s", why.text, shown);
		all = false;
	}
	size_t failed = 0;
	ledger_unsynced(ledger, &failed);
	if (failed)
		log_message(LOG_ERR, "live's disk has failed: %zu undo%s not done on record; see the "
			    "kernel's log, restart the machine, and undo again path=%s", failed,
			    failed == 1 ? " is" : "s are", shown);
	all = all && !failed;
	return ledger_close(ledger, io_now_ns() + RECORD_NS) && all;
}
