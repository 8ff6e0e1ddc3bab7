/* showing: rrdmerge --show: NEW as it is planned, drawn, and which file gives what of it. */
#ifndef SHOWING_H
#define SHOWING_H

#include "chart.h"
#include "gather.h"
#include "plan.h"

struct showing {
	const char *old;                /* as OLD was called */
	const struct source_set *sources;
	struct chart chart;
	char **giver;                   /* [givers] OLD, and the files beside it */
	unsigned givers;
};

/* merge_site.planned: the worker's own call; to be printed when that has ended. */
void showing_planned(const struct rrd *live, const struct plan *plan, const struct gather *gather,
		     void *showing);
void showing_print(const struct showing *showing);
/* What it points to from outside stays. */
void showing_free(struct showing *showing);

#endif
