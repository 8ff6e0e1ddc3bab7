/* trial: random outages, merged by the built programs and brought before a judge.
 *
 * From the environment, for every judge:
 *     SEED, CASES    where to begin and how many (default: by the clock, 300)
 *     ONLY           one case by its own seed, with all details
 *     KEEP=1         leaves the files of the cases that the daemon merged, and of ONLY's
 *     SHOW           differences printed of one case (default 6)
 *     DAEMON, REBUILD, EXACT, NOSPREAD
 *                    1: each merge goes through the daemon, rebuilds what live knows from its own
 *                    part alone, copies only, spreads nothing, where the judge has such cases; 0:
 *                    none does (default: some do)
 *     BREAK=1        one cell is changed after each merge: how many cases go unnoticed?
 *
 * Exit: 0 all as it must be, 1 not so, 2 the trial itself could not go on. */
#ifndef TRIAL_H
#define TRIAL_H

#include "outage.h"

#define TRIAL_VERDICTS 32       /* at the most */
#define TRIAL_SKIP TRIAL_VERDICTS

struct trial_judge {
	const char *name;
	/* Chooses structure, streams and how. */
	void (*choose)(struct outage *o);
	/* Makes all files but OUTAGE_MERGED. */
	void (*make)(struct outage *o);
	/* Judges o->merged.  LIVE and TRUTH may be updated now. */
	void (*judge)(struct outage *o);
	/* Prints more of a cell that failed; may be NULL. */
	void (*explain)(const struct outage *o, const struct outage_cell *c);
	/* The names of verdicts: the first `needed` of them must all be met where there are many
	 * cases; those from `failures` on must not. */
	const char *const *verdict;
	unsigned verdicts, needed, failures;
};

/* Tries as many outages as the environment says.  The arguments: [RRDMERGE [RRDMERGD]].  Returns
 * the program's exit status. */
int trial_main(int argc, char **argv, const struct trial_judge *judge);

/* Of some cases, or as the environment has it: they are merged so. */
void trial_choose_how(struct outage *o, enum outage_how how, unsigned percent);

/* Asks for a verdict (or TRIAL_SKIP) for every cell of rows that end after `after`, with `truth`
 * and `before` to compare with, and counts it. */
void trial_cells(struct outage *o, const struct oracle *merged, const struct oracle *truth,
		 const struct oracle *before, time_t after,
		 unsigned (*verdict)(const struct outage *, const struct outage_cell *));

#endif
