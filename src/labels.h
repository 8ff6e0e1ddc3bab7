/* labels: which data source of a backup belongs to which of live. */
#ifndef LABELS_H
#define LABELS_H

#include "layout.h"

/* By name and type, COMPUTE by its RPN with the names put in.  map[live ds] = backup ds, or
 * LAYOUT_NO_DS.  Returns 0, or REFUSED where nothing at all can be taken.  `ret_refused` counts the
 * live data sources that were refused for a contradiction, each named in `why`. */
int labels_by_name(const struct layout_header *live, const struct layout_header *backup,
		   uint64_t *map, uint64_t *ret_refused, struct reason *why);

#endif
