/* chart: what the cells of a database are: known in live, filled by us and how, unknown; as
 * counts, and as time lines (timeline.h), one for all archives that look the same.
 *
 * SEASONAL and DEVSEASONAL, which are no time series, are left out. */
#ifndef CHART_H
#define CHART_H

#include "rrd.h"
#include "timeline.h"

/* Cells of one DS in consecutive rows of one RRA that were filled. */
#define CHART_SOURCES_MAX 60000
struct chart_run {
	uint32_t rra, ds;
	/* who gave them: any numbers; beyond the maximum, nobody is told of */
	uint32_t source;
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

/* What one of the sources gave, of what is known yet. */
struct chart_share {
	uint64_t cells[TIMELINE_KINDS], all;
	int64_t from, to;       /* when the oldest of its rows begins, and the newest ends */
};

struct chart {
	struct chart_share *share;      /* [shares], by source */
	size_t shares;
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
/* "12 cells (10 exact, 2 spread), DATE to DATE" of a share, or "nothing"; dates in UTC. */
#define CHART_SHARE_SIZE 256
char *chart_share_text(char *buffer, const struct chart_share *share);
/* One of them. */
void chart_draw_line(FILE *to, const struct chart_line *line, size_t columns, bool utf8);

#endif
