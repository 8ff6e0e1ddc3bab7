/* seam: rows that no file has whole, made as rrdtool would have made them had the old server merely
 * paused.
 *
 * All of it comes from the PDPs that the files know together (pdps.h), and from the cdp_prep area
 * of the source that was updated last, for the row in which it ended:
 *  1. rows of one PDP, the one that was open at the source's end among them;
 *  2. coarser rows that no file knows;
 *  3. the row that is open in live: what its cdp_prep area would hold;
 *  4. on request, coarser rows that live knows from its own part alone.
 * It is derived, nothing is added up, so that healing twice changes nothing.  A row of which some
 * PDPs are not to be had, as theirs were overwritten or the data source is a COMPUTE, stays unknown
 * and is counted as unhealed. */
#ifndef SEAM_H
#define SEAM_H

#include "pdps.h"

/* After all sources were copied from.  `pdps` is memory to work with.  0 or -ENOMEM. */
int seam_heal(struct plan *plan, struct rrd *live, const struct plan_source *source,
	      unsigned sources, const struct plan_options *options, struct pdps *pdps);

#endif
