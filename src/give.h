/* give: what an earlier merge has spread gives way to something better.
 *
 * A row that was spread from a coarser one is a stand-in.  Where the ledger has it on record, and a
 * source has turned up since that knows the row itself, or finer ones, it counts as unknown: for
 * copies, seams and consolidated rows, which so never see it; but not for another spread.  What the
 * stand-in was is recorded with the merge that replaces it, and comes back when that is undone.
 * Without a ledger nobody knows which rows these are, and they are known ones like all others. */
#ifndef GIVE_H
#define GIVE_H

#include "ledger.h"
#include "reshape.h"

struct give_cell {
	uint32_t rra, ds;
	int64_t time;           /* its row's end */
	double value;           /* that was spread */
};

/* For one file; starts zeroed. */
struct give {
	struct give_cell *cell; /* known and spread, by (rra, ds, time) */
	size_t cells, capacity;
	struct ledger_undo spread;      /* by the ledger */
	uint64_t file, identity;        /* of this database; 0: of none */
};
void give_free(struct give *give);

/* Makes the spread cells unknown in live's image.  `ask`: the ledger, whose disk may be waited for;
 * NULL: what it said last, if that was of the same file.  0 or -ENOMEM. */
int give_up(struct give *give, struct ledger *ledger, const char *key, bool ask, uint64_t file_id,
	    struct rrd *live);

/* After copies and seams, instead of reshape_fill(): rows are consolidated, then what nothing
 * better was found for has its value back, and then rows are spread.  0 or -ENOMEM. */
int give_reshape(struct give *give, struct plan *plan, struct rrd *live,
		 const struct plan_source *source, unsigned sources,
		 const struct plan_options *options, struct reshape *reshape);

/* How many of the `count` cells from `first` on are alike in this: they have replaced a spread
 * value, of which *ret is then the first, or (NULL) have not. */
uint64_t give_alike(const struct give *give, uint32_t rra, uint32_t ds, int64_t first, int64_t step,
		    uint64_t count, const struct give_cell **ret);

#endif
