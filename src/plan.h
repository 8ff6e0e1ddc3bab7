/* plan: live + sources + mapping → the cells to write, without touching a file.
 *
 * The rules of a merge, as far as this room decides them:
 *  1. A known live cell is never changed.
 *  2. An unknown one takes, to the bit, the first known value that the sources, in their
 *     order, hold for the same data source, the same CF, the same resolution and the same row
 *     end time; step, xff, min, max, row counts, ring positions, the order of DS and RRAs do
 *     not matter.
 *  3. SEASONAL and DEVSEASONAL are no time series (one coefficient a phase) and left alone.
 *  4. The header stays as it is, but for the scratch values of open rows that seam completes.
 *
 * Planning happens in memory: the live database's rows are filled in place, and the plan
 * remembers which; whoever has the file alone writes those bytes.  Rows are copied here; what
 * is made of others, by seam and reshape, is put into the same plan. */
#ifndef PLAN_H
#define PLAN_H

#include "rrd.h"

/* How a cell came about. */
enum plan_kind {
	PLAN_EXACT,             /* a source's cell */
	PLAN_SEAM,              /* no file has it whole: from rows of one PDP and prep areas */
	PLAN_CONSOLIDATED,      /* from finer rows */
	PLAN_SPREAD,            /* from a coarser row */
	PLAN_KINDS
};

/* What a merge may do; all false: everything that rule 2 to 4 of DESIGN.md promise. */
struct plan_options {
	bool exact;             /* copies rows, and makes none */
	bool no_spread;
	/* coarse rows that are known are made again where the finer differ */
	bool rebuild;
};

/* Where values come from: one backup's file, in the order of trust. */
struct plan_source {
	const struct rrd *db;
	const uint64_t *map;    /* as labels_map() made it: [live's ds] */
	uint32_t index;         /* of the backup */
};

/* Cells of one DS in consecutive rows of one RRA. */
struct plan_run {
	uint32_t rra, ds;
	uint32_t source;        /* index in the order of trust */
	enum plan_kind kind;    /* how it came about, also where it is taken back */
	bool undone;            /* it is: what it held is of no interest */
	int64_t first;          /* end time of the oldest row, seconds since the epoch */
	uint64_t count;         /* cells */
	double old;             /* what a rebuilt one held, alone in its run; NAN: unknown */
};

/* Bytes of the live file to write from the filled image. */
struct plan_extent {
	uint64_t offset, size;
};

/* A row that is open in live, completed: what its cdp_prep area is to hold.  It is not in the
 * image, in which the header stays as it was read. */
struct plan_open {
	uint32_t rra, ds;
	double value;           /* rrdtool's CDP_val */
	uint64_t unknown;       /* … and CDP_unkn_pdp_cnt */
};

/* What was, or is to be, written. */
struct plan_counts {
	uint64_t cells;         /* of all kinds */
	uint64_t of_kind[PLAN_KINDS];
	uint64_t opens;         /* open rows */
};

struct plan {
	struct plan_run *run;
	size_t runs, run_capacity;
	struct plan_open *open;
	size_t open_capacity;   /* counts.opens of them */
	struct plan_extent *extent;
	size_t extents, extent_capacity;
	struct plan_counts counts;
	uint64_t unhealed;      /* cells of seams that cannot be had, open rows included */
	bool dropped;           /* open rows were left out */
	int64_t from, to;       /* end times of the oldest and newest row filled, or open row */
};

/* A zeroed struct plan is empty. */
void plan_clear(struct plan *plan);     /* keeps the memory */
void plan_free(struct plan *plan);

/* Is there anything to do? */
static inline bool plan_is_empty(const struct plan *plan)
{
	return !plan->counts.cells && !plan->counts.opens;
}

/* Copies from one source what is still unknown in `live`.  Call it for the sources in their order.
 * 0, -ENOMEM, or REFUSED where live and source have no RRA of which one could serve the other. */
int plan_fill(struct plan *plan, struct rrd *live, const struct plan_source *source,
	      const struct plan_options *options, struct reason *why);

/* For who makes values: puts one into live's image.  `at` tells where and how, its count and old
 * value are found here.  0 or -ENOMEM. */
int plan_put(struct plan *plan, struct rrd *live, const struct plan_run *at, double value);
int plan_put_open(struct plan *plan, const struct rrd *live, const struct plan_open *open);

/* Turns the runs into extents in file order.  Neighbours closer than a few hundred bytes
 * become one, known cells between them written as they are.  0 or -ENOMEM. */
int plan_finish(struct plan *plan, const struct rrd *live);

/* Leaves the open rows out, for another plan.  0 or -ENOMEM. */
int plan_drop_opens(struct plan *plan, const struct rrd *live);

/* Puts the completed open rows into live's image: when it is certain that its header is the file's,
 * and before the extents are written. */
void plan_open_rows(const struct plan *plan, struct rrd *live);

/* How much of the plan stands before this offset of the file. */
struct plan_counts plan_before(const struct plan *plan, const struct rrd *live, uint64_t offset);

#endif
