/* pdps: the PDPs of one data source, as live's and the sources' rows of one PDP know them together.
 *
 * Where a row holds one PDP, all four functions store the PDP itself, so that any of these RRAs
 * serves every other function.  A PDP is
 *    known       the first source that knows it says so, or live, of the time after them,
 *    unknown     a file holds its row, and that says so; or no server ran at the time,
 *    not reached no ring holds its row: nobody can say whether it was known.
 * Up to the end of the sources, live's rings are not asked, so that what a merge has put there by
 * other means never comes back as evidence. */
#ifndef PDPS_H
#define PDPS_H

#include "consolidate.h"
#include "plan.h"
#include "series.h"

struct pdps_source {
	struct series series;   /* of one PDP a row; resolution 0: it has none */
	int64_t from;           /* the oldest of live's PDPs that it reaches; past `cut`: none */
	int64_t cut;            /* the PDP that was open at its end */
	double last;            /* what that one is, where nothing but unknown followed */
	bool ends;              /* … which it did: nobody went on after it */
};

struct pdps {
	const struct rrd *live;
	uint64_t ds;
	int64_t step;           /* live's, seconds */
	int64_t now;            /* live's newest PDP */
	struct series fine;     /* live's longest of one PDP a row; resolution 0: none */
	struct pdps_source *source;     /* [sources], in the order of trust, owned */
	unsigned sources, capacity;

	/* Of the source that was updated last: */
	const struct plan_source *end;
	int64_t cut;            /* as above: what is later is live's alone */
	bool no_last;           /* what the PDP at `cut` is cannot be told: COMPUTE */
	int64_t from;           /* no source reaches what is older */
	int64_t known_from;     /* and none knows what is older */
	bool approximate;       /* some are made of rows of another step */

	bool looked;            /* for … */
	int64_t empty_to;       /* from `cut` to here live knows nothing, as far as can be told */
};

/* A zeroed struct pdps is empty and may be used again and again. */
void pdps_free(struct pdps *pdps);

/* All that can be had for one of live's data sources; the sources must stay.  *ret_any is false
 * where that is nothing: none has it, or none with steps as small as live's.  0 or -ENOMEM. */
int pdps_look(struct pdps *pdps, const struct rrd *live, const struct plan_source *source,
	      unsigned sources, uint64_t ds, bool *ret_any);

/* Nothing shows that live knew nothing after `cut`: it was found to have known something. */
void pdps_distrust(struct pdps *pdps);

/* Adds the PDPs that end at first … last.  False where one of them is not reached. */
bool pdps_add(struct pdps *pdps, int64_t first, int64_t last, struct consolidate_row *row);

#endif
