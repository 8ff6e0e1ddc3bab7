/* bulletin: what the daemon says of the whole: watching, progress, idle, who waits, what is
 * refused, and the status for systemd.  For one thread. */
#ifndef BULLETIN_H
#define BULLETIN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf.h"
#include "source.h"
#include "tally.h"

#define BULLETIN_REFUSALS 45    /* lines a second; with those of log_file() still below 100 */

/* Starts zeroed.  What was said already. */
struct bulletin {
	bool watching, was_busy, lost, waiting_said;
	uint64_t busy_since_ns, progress_ns, waiting_ns, unproven_ns;
	size_t busy_done, progress_done, waiting, unproven;
	uint64_t progress_cells;
	size_t denied[MERGE_DENIALS], denied_seen[MERGE_DENIALS];
	uint64_t denied_ns;             /* when what was seen was last what was said */
	uint64_t denied_still_ns;       /* since when what is seen is what it is */
	char idle[256];
};

/* How things stand, as the daemon sees it. */
struct bulletin_news {
	const struct conf *conf;
	const struct source_set *sources;
	struct tally *tally;
	struct tally_sums sums;
	size_t directories;     /* watched */
	size_t unwatched;       /* and those that cannot be */
	uint64_t overflows;     /* how often events were lost */
	bool missing;           /* the live tree */
	bool scanned;           /* all of it, once */
	bool busy;              /* something is due or in hand */
	bool paused;
	bool backup_needed;
};

/* Says what is new.  Call it often. */
void bulletin_tick(struct bulletin *bulletin, const struct bulletin_news *news);
/* In how many seconds will it be done, if it goes on as it did?  -1: that cannot be told yet. */
long long bulletin_left_s(const struct bulletin *bulletin, const struct tally_sums *sums);
/* At the end: what was held back is said, summed up. */
void bulletin_end(struct bulletin *bulletin, const struct bulletin_news *news);

/* True where live has files and no backup has any of them: a path is one level off. */
bool bulletin_is_lost(const struct tally_sums *sums);

#endif
