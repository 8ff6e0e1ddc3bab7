/* chart: what the cells of a database are: known in live, filled by us and how, unknown; as counts, and
 * as time lines (timeline.h), one for all archives that look the same.
 *
 * SEASONAL and DEVSEASONAL, which are no time series, are left out. */
#ifndef CHART_H
#define CHART_H

#include "rrd.h"
#include "timeline.h"

/* Cells of one DS in consecutive rows of one RRA that were filled. */
struct chart_run {
	uint32_t rra, ds;
	int64_t first;          /* end time of the oldest row */
	uint64_t count;
	enum timeline_kind kind;
};

struct chart_line {
	char *functions;        /* "AVERAGE MAX" */
	int64_t resolution;     /* seconds */
	uint64_t rows;          /* of each archive */
	int64_t from, to;       /* when the oldest row begins, and the newest ends */
	char *letters;
	uint64_t cells[TIMELINE_KINDS];         /* of all its archives */
};

struct chart {
	struct chart_line *line;        /* finest first */
	size_t lines;
	uint64_t cells[TIMELINE_KINDS];
};

/* Of the database as it is in memory: a cell in a run that is unknown there is unknown.  Where runs
 * overlap, the later in the array counts.  Lines have `columns` letters at most.  0 or -ENOMEM. */
int chart_make(const struct rrd *db, const struct chart_run *run, size_t runs, size_t columns,
	       struct chart *ret);
void chart_free(struct chart *chart);

/* Each line with its heading and dates, and what the characters mean. */
void chart_draw(FILE *to, const struct chart *chart, size_t columns, bool utf8);
/* One of them. */
void chart_draw_line(FILE *to, const struct chart_line *line, size_t columns, bool utf8);

#endif
