/* plan: live + sources + mapping → the cells to write, without touching a file.
 *
 * The rules of a merge, as far as this room decides them:
 *  1. A known live cell is never changed.
 *  2. An unknown one takes, to the bit, the first known value that the sources, in their
 *     order, hold for the same data source, the same CF, the same resolution and the same row
 *     end time; step, xff, min, max, row counts, ring positions, the order of DS and RRAs do
 *     not matter.
 *  3. SEASONAL and DEVSEASONAL are no time series (one coefficient a phase) and left alone.
 *  4. The header and the prep areas stay as they are.
 *
 * Planning happens in memory: the live database's rows are filled in place, and the plan
 * remembers which; whoever has the file alone writes those bytes. */
#ifndef PLAN_H
#define PLAN_H

#include "rrd.h"

/* How a cell came about. */
enum plan_kind { PLAN_EXACT };

/* Cells of one DS in consecutive rows of one RRA. */
struct plan_run {
	uint32_t rra, ds;
	uint32_t source;        /* index in the order of trust */
	enum plan_kind kind;
	int64_t first;          /* end time of the oldest row, seconds since the epoch */
	uint64_t count;         /* cells */
};

/* Bytes of the live file to write from the filled image. */
struct plan_extent {
	uint64_t offset, size;
};

struct plan {
	struct plan_run *run;
	size_t runs, run_capacity;
	struct plan_extent *extent;
	size_t extents, extent_capacity;
	uint64_t cells;
	int64_t from, to;       /* end times of the oldest and newest row filled; cells > 0 */
};

/* A zeroed struct plan is empty. */
void plan_clear(struct plan *plan);     /* keeps the memory */
void plan_free(struct plan *plan);

/* Fills from one source what is still unknown in `live`, `map` as source_map() made it.
 * Call it for the sources in their order.  0, -ENOMEM, or REFUSED where live and source have
 * no RRA in common (same CF, same resolution). */
int plan_fill(struct plan *plan, struct rrd *live, const struct rrd *source,
	      uint32_t source_index, const uint64_t *map, struct reason *why);

/* Turns the runs into extents in file order.  Neighbours closer than a few hundred bytes
 * become one, known cells between them written as they are.  0 or -ENOMEM. */
int plan_finish(struct plan *plan, const struct rrd *live);

/* How many of the planned cells stand before this offset of the file. */
uint64_t plan_cells_before(const struct plan *plan, const struct rrd *live, uint64_t offset);

#endif
