#include "config.h"
#include "outcome.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "suggest.h"

#define BUSY_SAID 6             /* the try at which a busy file is worth a line */

/* ---- lines ---- */

/* Caller holds o->lock. */
static void say_refused(struct outcome *o, const char *word, const char *rel, const char *reason)
{
	char line[REPORT_SIZE];

	progress_clear(&o->progress);
	log_message(LOG_ERR, "%s", report_refused(line, sizeof(line), word, rel, reason));
}

/* Caller holds o->lock. */
static void say_merged(struct outcome *o, const char *rel, const struct merge_result *result)
{
	char line[REPORT_SIZE];
	bool dry = o->arguments->dry_run;

	if (!dry && !o->arguments->verbose)
		return;
	progress_clear(&o->progress);
	/* stdout belongs to the JSON object, where one was asked for. */
	fprintf(o->arguments->json ? stderr : stdout, "%s\n",
		report_merged(line, sizeof(line), rel, result, dry, true));
}

/* Caller holds o->lock. */
static void say_unchanged(struct outcome *o, const char *rel, const struct merge_result *result)
{
	char line[REPORT_SIZE];

	if (!o->arguments->verbose || !result->unhealed)
		return;
	progress_clear(&o->progress);
	fprintf(o->arguments->json ? stderr : stdout, "%s\n",
		report_unhealed(line, sizeof(line), rel, result));
}

/* Caller holds o->lock. */
static void say_skipped(struct outcome *o, const char *rel)
{
	char line[REPORT_SIZE];

	if (!o->arguments->verbose)
		return;
	progress_clear(&o->progress);
	fprintf(o->arguments->json ? stderr : stdout, "%s\n",
		report_refused(line, sizeof(line), "skipped", rel, "no counterpart in the backup"));
}

/* Caller holds o->lock. */
static void say_held(struct outcome *o, const char *rel)
{
	char line[REPORT_SIZE];

	progress_clear(&o->progress);
	log_message(LOG_NOTICE, "%s", report_refused(line, sizeof(line), "held", rel, "was undone, and "
						    "is not merged again with the tree; name the "
						    "two files to have it merged"));
}

/* Caller holds o->lock. */
static void say_once(struct outcome *o, const char *rel, const struct merge_result *result)
{
	if (result->no_lease && !o->lease_said) {
		o->lease_said = true;
		progress_clear(&o->progress);
		log_message(LOG_WARNING, "%s: writing under a short lock instead; an update that "
			    "meets it is lost, so stop what writes these files until this is done",
			    result->lease_why.text);
	}
	if (result->outcome < MERGE_FAILED && result->source_newer)
		o->newer++;
	if (result->future && !o->future++)
		o->future_first = strdup(rel);
}

/* ---- what came of a file ---- */

static void count_final(struct outcome *o, const char *rel, const struct merge_result *result)
{
	struct report_sums *sums = &o->sums;

	o->done++;
	if (result->unproven && !o->unproven++)
		o->unproven_first = strdup(rel);
	switch (result->outcome) {
	case MERGE_MERGED:
		sums->merged++;
		say_merged(o, rel, result);
		break;
	case MERGE_UNCHANGED:
		sums->unchanged++;
		say_unchanged(o, rel, result);
		break;
	case MERGE_HELD:
		sums->unchanged++;
		say_held(o, rel);
		break;
	case MERGE_SKIPPED:
	case MERGE_GONE:
		sums->skipped++;
		say_skipped(o, rel);
		break;
	default:
		sums->failed++;
		break;
	}
	if (result->outcome >= MERGE_FAILED || result->partial) {
		if (result->outcome != MERGE_GONE) {
			sums->named++;
			say_refused(o, result->outcome == MERGE_FAILED ? "refused" : "partial",
				    rel, result->why.text);
		}
	}
}

void outcome_file(struct outcome *o, const char *rel, const struct merge_result *result,
		  unsigned tries, bool will_retry)
{
	pthread_mutex_lock(&o->lock);
	o->sums.cells += result->counts.cells;
	o->sums.bytes += result->bytes;
	say_once(o, rel, result);
	if (!will_retry)
		count_final(o, rel, result);
	else if (tries == BUSY_SAID)
		say_refused(o, "busy", rel, result->why.text);
	pthread_mutex_unlock(&o->lock);
}

void outcome_refuse(struct outcome *o, const char *rel, const char *reason)
{
	pthread_mutex_lock(&o->lock);
	o->found++;
	o->done++;
	o->sums.failed++;
	o->sums.named++;
	say_refused(o, "refused", rel, reason);
	pthread_mutex_unlock(&o->lock);
}

void outcome_renamed(struct outcome *o, const char *rel, const char *live, unsigned rule)
{
	char from[LOG_PATH_SIZE], to[LOG_PATH_SIZE];

	if (!o->arguments->verbose)
		return;
	pthread_mutex_lock(&o->lock);
	progress_clear(&o->progress);
	fprintf(o->arguments->json ? stderr : stdout, "renamed rule=%u old=%s file=%s\n", rule,
		log_escape(from, sizeof(from), rel), log_escape(to, sizeof(to), live));
	pthread_mutex_unlock(&o->lock);
}

void outcome_misled(struct outcome *o, const char *rel, const struct reason *why)
{
	pthread_mutex_lock(&o->lock);
	o->sums.named++;
	say_refused(o, "refused", rel, why->text);
	pthread_mutex_unlock(&o->lock);
}

void outcome_unsynced(struct outcome *o, const char *rel, int error)
{
	struct reason why;

	reason_set(&why, "live: %s: what was merged may not be on disk", strerror(-error));
	pthread_mutex_lock(&o->lock);
	o->sums.named++;
	say_refused(o, "unsynced", rel, why.text);
	pthread_mutex_unlock(&o->lock);
}

/* Each file found so far is among the samples with the same chance.  Caller holds o->lock. */
static void take_sample(struct outcome *o, const char *rel)
{
	size_t place = o->samples < OUTCOME_SAMPLES ? o->samples
						    : (size_t)random() % o->queued;
	char *copy = place < OUTCOME_SAMPLES ? strdup(rel) : NULL;

	if (!copy)
		return;
	if (place == o->samples)
		o->samples++;
	else
		free(o->sample[place]);
	o->sample[place] = copy;
}

void outcome_found(struct outcome *o, const char *rel)
{
	pthread_mutex_lock(&o->lock);
	o->found++;
	if (rel) {
		o->queued++;
		take_sample(o, rel);
	}
	pthread_mutex_unlock(&o->lock);
}

/* ---- the bar ---- */

void outcome_draw(struct outcome *o)
{
	if (pthread_mutex_trylock(&o->lock))
		return;
	progress_draw(&o->progress, o->done, o->found, o->sums.bytes);
	pthread_mutex_unlock(&o->lock);
}

void outcome_clear(struct outcome *o)
{
	progress_clear(&o->progress);
}

/* ---- the beginning and the end ---- */

void outcome_begin(struct outcome *o, const struct arguments *arguments)
{
	*o = (struct outcome){ .arguments = arguments };
	pthread_mutex_init(&o->lock, NULL);
	progress_start(&o->progress, STDERR_FILENO);
}

void outcome_free(struct outcome *o)
{
	for (size_t i = 0; i < o->samples; i++)
		free(o->sample[i]);
	free(o->future_first);
	free(o->unproven_first);
	pthread_mutex_destroy(&o->lock);
}

/* Not one live file has a counterpart: most likely a path is one level off. */
static void say_no_counterpart(const struct outcome *o, const struct merge_site *site)
{
	char shown[LOG_PATH_SIZE], better[LOG_PATH_SIZE];
	const struct source *source = &site->sources.source[0];
	char *path = suggest_backup(source, site->live, o->sample, o->samples);

	if (!path)
		path = suggest_live(source, site->live, o->sample, o->samples);
	log_escape(shown, sizeof(shown), source->path);
	if (path)
		log_message(LOG_ERR, "no file has a counterpart in %s; did you mean %s", shown,
			    log_escape(better, sizeof(better), path));
	else
		log_message(LOG_ERR, "no file has a counterpart in %s, nor one or two levels up or "
			    "down from it; is it the right backup?", shown);
	free(path);
}

int outcome_conclude(struct outcome *o, const struct merge_site *site, bool interrupted,
		     double seconds)
{
	const struct report_sums *sums = &o->sums;
	char text[256], path[LOG_PATH_SIZE];
	int status = sums->failed || sums->named ? EXIT_REFUSED : EXIT_MERGED;

	if (o->future)
		log_message(LOG_WARNING, "%zu files with a last_update in the future: is a clock "
			    "wrong?  The first: %s", o->future,
			    log_escape(path, sizeof(path), o->future_first ? o->future_first : "?"));
	if (o->unproven)
		log_message(LOG_NOTICE, "unproven count=%zu reason=\"" REPORT_UNPROVEN "\" file=%s",
			    o->unproven, log_escape(path, sizeof(path), o->unproven_first
						    ? o->unproven_first : "?"));
	size_t pairs = sums->merged + sums->unchanged;
	if (pairs && !sums->merged && o->newer == pairs)
		log_message(LOG_WARNING, "there was nothing to fill, and in every pair OLD was updated "
			    "later than NEW: were they swapped?  OLD is the backup, NEW is in use");
	if (interrupted) {
		size_t left = o->found - o->done;

		log_message(LOG_ERR, "interrupted; %zu file%s not brought to %s end; what was "
			    "merged stays, run again for the rest", left,
			    left == 1 ? " was" : "s were", left == 1 ? "its" : "their");
		status = EXIT_REFUSED;
	} else if (o->queued && sums->skipped == o->queued) {
		say_no_counterpart(o, site);
		status = EXIT_USAGE;
	} else if (!o->found) {
		log_message(LOG_WARNING, "no *.rrd in %s: nothing to do",
			    log_escape(path, sizeof(path), site->live));
	}
	puts(o->arguments->json ? report_sums_json(text, sizeof(text), sums, seconds)
				: report_sums_text(text, sizeof(text), sums, seconds));
	if (fflush(stdout) || ferror(stdout)) {
		log_message(LOG_ERR, "cannot write to standard output: %s", strerror(errno));
		if (status == EXIT_MERGED)
			status = EXIT_REFUSED;
	}
	return status;
}
