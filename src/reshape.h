/* reshape: rows of live that no source has at their resolution, from finer rows and from coarser
 * ones.
 *
 *  1. A row that no source's RRA of the same function and resolution reaches is consolidated from
 *     the finest rows of that function that cover all of it, those first that do not cross its
 *     ends, by time: an AVERAGE weighs a row by what of it lies within, and live's xff compares
 *     seconds.  (Where these are rows of one PDP, of steps not larger than live's, seam has done
 *     it already.)
 *  2. A row that ends before all rows of its own resolution and of finer ones takes what a coarser
 *     row says that it lies in, LAST excepted: spread.  The finest one that reaches it decides,
 *     and where that says unknown nothing is spread.
 * Only sources' rows are used, so that nothing that was made feeds what is made later. */
#ifndef RESHAPE_H
#define RESHAPE_H

#include "plan.h"
#include "series.h"

struct reshape_rows;

/* Memory to work with; starts zeroed. */
struct reshape {
	struct reshape_rows *rows;      /* [capacity], owned */
	size_t capacity;
};
void reshape_free(struct reshape *reshape);

/* After all sources were copied from and seams healed.  0 or -ENOMEM. */
int reshape_fill(struct plan *plan, struct rrd *live, const struct plan_source *source,
		 unsigned sources, const struct plan_options *options, struct reshape *reshape);

#endif
