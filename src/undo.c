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
#define AT_ONCE 200             /* merges that are undone together */

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

/* One merge to be undone. */
struct job {
	int64_t id;
	char *path;             /* NULL: that was said to be impossible */
	struct merge_result result;     /* counts over all tries */
	bool ended;
};

/* One try, which hands in what it intends, or applies it when that is on disk. */
static void try_once(struct ledger *ledger, struct merge_scratch *scratch, struct job *job)
{
	struct merge_site site = { .ledger = ledger, .record_now = true };
	char *slash = strrchr(job->path, '/');

	*slash = '\0';
	site.live = job->path;
	merge_undo(scratch, &site, slash + 1, job->id, &job->result);
	*slash = '/';
	job->ended = job->result.outcome != MERGE_BUSY && job->result.outcome != MERGE_RECORDING;
}

/* All of them together: so the intentions of many files cost one sync, not one each. */
static void undo_jobs(struct ledger *ledger, struct merge_scratch *scratch, struct job *job,
		      size_t jobs)
{
	const struct timespec nap = { 0, BUSY_NS };

	for (unsigned try = 0; try < BUSY_TRIES; try++) {
		bool busy = false, recording = false;

		for (size_t i = 0; i < jobs; i++) {
			if (job[i].ended)
				continue;
			try_once(ledger, scratch, &job[i]);
			busy |= job[i].result.outcome == MERGE_BUSY;
			recording |= job[i].result.outcome == MERGE_RECORDING;
		}
		if (!busy && !recording)
			break;
		if (recording && ledger_flush(ledger, io_now_ns() + RECORD_NS))
			break;
		if (busy)
			nanosleep(&nap, NULL);
	}
	/* Nobody goes on with these. */
	for (size_t i = 0; i < jobs; i++)
		if (job[i].path && job[i].result.outcome != MERGE_MERGED)
			ledger_abandon(ledger, job[i].path);
}

/* What came of it.  False where it could not be undone. */
static bool say(const struct job *job)
{
	const struct merge_result *result = &job->result;
	char shown[LOG_PATH_SIZE];

	if (!job->path)
		return false;
	log_escape(shown, sizeof(shown), job->path);
	if (result->outcome == MERGE_MERGED) {
		printf("undone id=%lld cells=%llu open=%llu file=%s\n", (long long)job->id,
		       (unsigned long long)result->counts.cells,
		       (unsigned long long)result->counts.opens, shown);
		if (result->healed)
			log_message(LOG_NOTICE, "%llu open rows stay completed, as updates have come "
				    "since file=%s", (unsigned long long)result->healed, shown);
		if (result->why.text[0])
			log_message(LOG_NOTICE, "%s file=%s", result->why.text, shown);
		return true;
	}
	log_message(LOG_ERR, "merge %lld is not undone: %s file=%s", (long long)job->id,
		    result->outcome == MERGE_GONE ? "the file is not there any more"
		    : result->why.text, shown);
	return false;
}

/* Which merge of which file; where there is none, that is said, and it has no path. */
static void find_job(struct ledger *ledger, const char *text, struct job *ret)
{
	struct ledger_entry *entry;
	char *end;
	long long id = strtoll(text, &end, 10);

	*ret = (struct job){ .id = id, .ended = true, .result = { .outcome = MERGE_FAILED } };
	if (*end || id <= 0) {
		log_message(LOG_ERR, "%s is no number of a merge", text);
		return;
	}
	int r = id < LLONG_MAX ? ledger_get(ledger, id, &entry) : -ENOENT;
	if (r) {
		log_message(LOG_ERR, "merge %lld: %s", id, r == -ENOENT ? "is not on record"
			    : strerror(-r));
		return;
	}
	if (entry->what != LEDGER_MERGE)
		log_message(LOG_ERR, "merge %lld is not undone: it is %s", id,
			    entry->what == LEDGER_UNDO ? "an undo; merging anew brings the values back"
						       : "a refusal, and nothing was written");
	else if (!strchr(entry->rel, '/') || !(ret->path = strdup(entry->rel)))
		log_message(LOG_ERR, "merge %lld is not undone: out of memory", id);
	ret->ended = !ret->path;
	ledger_entries_free(entry, 1);
}

/* Those of one file are undone one after the other. */
static bool is_among(const struct job *job, size_t jobs, const char *path)
{
	for (size_t i = 0; path && i < jobs; i++)
		if (job[i].path && !strcmp(job[i].path, path))
			return true;
	return false;
}

static bool end_jobs(struct ledger *ledger, struct merge_scratch *scratch, struct job *job,
		     size_t jobs)
{
	bool all = true;

	undo_jobs(ledger, scratch, job, jobs);
	for (size_t i = 0; i < jobs; i++) {
		all = say(&job[i]) && all;
		free(job[i].path);
	}
	return all;
}

static bool undo_all(struct ledger *ledger, char *const *id, size_t ids)
{
	struct merge_scratch *scratch = merge_scratch_new();
	struct job *job = calloc(AT_ONCE, sizeof(*job)), next;
	size_t jobs = 0;
	bool all = true;

	if (!scratch || !job) {
		log_message(LOG_ERR, "nothing is undone: out of memory");
		all = false;
		ids = 0;
	}
	for (size_t i = 0; i < ids; i++) {
		find_job(ledger, id[i], &next);
		if (jobs == AT_ONCE || is_among(job, jobs, next.path)) {
			all = end_jobs(ledger, scratch, job, jobs) && all;
			jobs = 0;
		}
		job[jobs++] = next;
	}
	if (jobs)
		all = end_jobs(ledger, scratch, job, jobs) && all;
	merge_scratch_free(scratch);
	free(job);
	return all;
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
	all = undo_all(ledger, id, ids);
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
