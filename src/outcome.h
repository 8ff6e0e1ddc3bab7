/* outcome: what comes of a run of rrdmerge: told as it comes, drawn as a bar, summed up. */
#ifndef OUTCOME_H
#define OUTCOME_H

#include <pthread.h>

#include "arguments.h"
#include "merge.h"
#include "progress.h"
#include "report.h"

#define OUTCOME_SAMPLES 256     /* live files to look for where nothing matches */

/* What the worker threads and the ticking thread share. */
struct outcome {
	const struct arguments *arguments;
	pthread_mutex_t lock;           /* for all below, and for writing a line */
	struct report_sums sums;
	struct progress progress;
	size_t found, done;             /* files */
	size_t queued;                  /* of the found, those that are regular files */
	size_t newer;                   /* OLD was updated later than NEW */
	size_t unproven;                /* data sources were matched by their numbers alone */
	char *unproven_first;
	bool lease_said;
	size_t future;
	char *future_first;
	char *sample[OUTCOME_SAMPLES];
	size_t samples;
};

void outcome_begin(struct outcome *o, const struct arguments *arguments);
void outcome_free(struct outcome *o);

/* A file is to be merged.  NULL: the one of a pair, for which no other path is suggested. */
void outcome_found(struct outcome *o, const char *rel);
/* Something was found that cannot be. */
void outcome_refuse(struct outcome *o, const char *rel, const char *reason);
/* A rule leads a file of OLD to a live one; or it cannot be followed. */
void outcome_renamed(struct outcome *o, const char *rel, const char *live, unsigned rule);
void outcome_misled(struct outcome *o, const char *rel, const struct reason *why);
/* What was merged into it could not be synced: -errno.  From any thread. */
void outcome_unsynced(struct outcome *o, const char *rel, int error);
/* What came of a try. */
void outcome_file(struct outcome *o, const char *rel, const struct merge_result *result,
		  unsigned tries, bool will_retry);
/* Draws the bar, unless somebody holds the lock: he may wait for a reader of stderr. */
void outcome_draw(struct outcome *o);
void outcome_clear(struct outcome *o);

/* Says the sums, when nobody else uses it any more.  Returns the exit status. */
int outcome_conclude(struct outcome *o, const struct merge_site *site, bool interrupted,
		     double seconds);

#endif
