#include "config.h"
#include "chart.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What the cells of one archive are. */
struct cells {
	const struct rrd *db;
	uint32_t rra;
	uint64_t rows, ds_cnt;
	uint8_t *kind;          /* [rows * ds_cnt], the oldest row first */
	uint16_t *source;       /* likewise, of those that were filled */
};

static int64_t resolution_of(const struct cells *cells)
{
	return layout_resolution(&cells->db->head, cells->rra);
}

static void take_known(struct cells *cells)
{
	const double *rows = rrd_rows(cells->db, cells->rra);
	int64_t time = rrd_oldest(cells->db, cells->rra);

	for (uint64_t row = 0; row < cells->rows; row++, time += resolution_of(cells)) {
		const double *cell = rows + rrd_slot(cells->db, cells->rra, time) * cells->ds_cnt;

		for (uint64_t ds = 0; ds < cells->ds_cnt; ds++)
			cells->kind[row * cells->ds_cnt + ds] = isnan(cell[ds]) ? TIMELINE_UNKNOWN
									       : TIMELINE_LIVE;
	}
}

static void take_run(struct cells *cells, const struct chart_run *run)
{
	int64_t every = resolution_of(cells), oldest = rrd_oldest(cells->db, cells->rra);
	int64_t newest = rrd_newest(cells->db, cells->rra);

	if (run->ds >= cells->ds_cnt || run->first > newest || (run->first - oldest) % every)
		return;
	/* What has left the ring is skipped. */
	uint64_t gone = run->first < oldest ? (uint64_t)((oldest - run->first) / every) : 0;
	uint64_t row = run->first < oldest ? 0 : (uint64_t)((run->first - oldest) / every);

	for (uint64_t i = gone; i < run->count && row < cells->rows; i++, row++) {
		uint64_t cell = row * cells->ds_cnt + run->ds;

		if (cells->kind[cell] == TIMELINE_UNKNOWN)
			continue;
		cells->kind[cell] = (uint8_t)run->kind;
		cells->source[cell] = run->source < CHART_SOURCES_MAX ? (uint16_t)run->source
								      : CHART_SOURCES_MAX;
	}
}

static void count_shares(const struct cells *cells, struct chart *chart)
{
	int64_t every = resolution_of(cells), oldest = rrd_oldest(cells->db, cells->rra);

	for (uint64_t i = 0; i < cells->rows * cells->ds_cnt; i++) {
		uint8_t kind = cells->kind[i];
		int64_t end = oldest + (int64_t)(i / cells->ds_cnt) * every;

		if (kind == TIMELINE_UNKNOWN || kind == TIMELINE_LIVE ||
		    cells->source[i] >= chart->shares)
			continue;
		struct chart_share *share = &chart->share[cells->source[i]];
		if (!share->all || end - every < share->from)
			share->from = end - every;
		if (!share->all || end > share->to)
			share->to = end;
		share->all++;
		share->cells[kind]++;
	}
}

static int fill_line(const struct cells *cells, size_t columns, struct chart_line *line)
{
	struct timeline_bins bins;
	int r = timeline_begin(&bins, cells->rows, columns);

	for (uint64_t i = 0; !r && i < cells->rows * cells->ds_cnt; i++) {
		timeline_add(&bins, i / cells->ds_cnt, (enum timeline_kind)cells->kind[i]);
		line->cells[cells->kind[i]]++;
	}
	line->letters = r ? NULL : malloc(bins.bins + 1);
	if (line->letters)
		timeline_letters(&bins, line->letters);
	timeline_free(&bins);
	return line->letters ? 0 : -ENOMEM;
}

/* Takes the line into one that looks the same, or at its place by resolution. */
static int add_line(struct chart *chart, struct chart_line *line)
{
	size_t at = 0;

	for (size_t i = 0; i < chart->lines; i++) {
		struct chart_line *other = &chart->line[i];
		char *both;

		if (other->resolution != line->resolution || other->rows != line->rows ||
		    other->to != line->to || strcmp(other->letters, line->letters))
			continue;
		if (asprintf(&both, "%s %s", other->functions, line->functions) < 0)
			return -ENOMEM;
		free(other->functions);
		other->functions = both;
		for (int kind = 0; kind < TIMELINE_KINDS; kind++)
			other->cells[kind] += line->cells[kind];
		return 0;
	}
	struct chart_line *grown = reallocarray(chart->line, chart->lines + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	chart->line = grown;
	while (at < chart->lines && grown[at].resolution <= line->resolution)
		at++;
	memmove(grown + at + 1, grown + at, (chart->lines - at) * sizeof(*grown));
	grown[at] = *line;
	chart->lines++;
	line->functions = line->letters = NULL;         /* the chart's now */
	return 0;
}

/* `of`: for each run the next of its archive, as 1 and up; `first`: the first one. */
static int chart_rra(const struct rrd *db, uint32_t rra, const struct chart_run *run, size_t first,
		     const size_t *next, size_t columns, struct chart *chart)
{
	struct cells cells = {
		.db = db, .rra = rra, .rows = db->head.rra[rra].row_cnt, .ds_cnt = db->head.ds_cnt,
	};
	struct chart_line line = {
		.functions = strdup(layout_cf_name(db->head.rra[rra].cf)),
		.resolution = resolution_of(&cells),
		.rows = cells.rows,
		.from = rrd_oldest(db, rra) - resolution_of(&cells),
		.to = rrd_newest(db, rra),
	};
	int r = -ENOMEM;

	cells.kind = malloc(cells.rows * cells.ds_cnt);
	cells.source = reallocarray(NULL, cells.rows * cells.ds_cnt, sizeof(*cells.source));
	if (cells.kind && cells.source && line.functions) {
		take_known(&cells);
		for (size_t i = first; i; i = next[i - 1])
			take_run(&cells, &run[i - 1]);
		count_shares(&cells, chart);
		r = fill_line(&cells, columns, &line);
	}
	for (int kind = 0; kind < TIMELINE_KINDS && !r; kind++)
		chart->cells[kind] += line.cells[kind];
	if (!r)
		r = add_line(chart, &line);
	free(line.functions);
	free(line.letters);
	free(cells.kind);
	free(cells.source);
	return r;
}

int chart_make(const struct rrd *db, const struct chart_run *run, size_t runs, size_t columns,
	       struct chart *ret)
{
	size_t *next = calloc(runs + 1, sizeof(*next));
	size_t *first = calloc(db->head.rra_cnt + 1, sizeof(*first));
	struct chart chart = { 0 };
	int r = next && first ? 0 : -ENOMEM;

	for (size_t i = 0; i < runs; i++)
		if (run[i].source < CHART_SOURCES_MAX && run[i].source >= chart.shares)
			chart.shares = run[i].source + 1;
	chart.share = calloc(chart.shares + 1, sizeof(*chart.share));
	r = chart.share ? r : -ENOMEM;
	/* From the last to the first, so that each chain is in the order of the array. */
	for (size_t i = runs; i && !r; i--) {
		if (run[i - 1].rra >= db->head.rra_cnt)
			continue;
		next[i - 1] = first[run[i - 1].rra];
		first[run[i - 1].rra] = i;
	}
	for (uint32_t rra = 0; rra < db->head.rra_cnt && !r; rra++) {
		enum layout_cf cf = db->head.rra[rra].cf;

		if (cf != CF_SEASONAL && cf != CF_DEVSEASONAL)
			r = chart_rra(db, rra, run, first[rra], next, columns, &chart);
	}
	free(next);
	free(first);
	if (r)
		chart_free(&chart);
	else
		*ret = chart;
	return r;
}

void chart_free(struct chart *chart)
{
	for (size_t i = 0; i < chart->lines; i++) {
		free(chart->line[i].functions);
		free(chart->line[i].letters);
	}
	free(chart->line);
	free(chart->share);
	*chart = (struct chart){ 0 };
}

char *chart_share_text(char *buffer, const struct chart_share *share)
{
	const char *separator = " (";
	int64_t edge[2] = { share->from, share->to };
	size_t used;

	if (!share->all)
		return strcpy(buffer, "nothing");
	used = (size_t)sprintf(buffer, "%llu cells", (unsigned long long)share->all);
	for (int kind = TIMELINE_LIVE + 1; kind < TIMELINE_UNKNOWN; kind++) {
		if (!share->cells[kind])
			continue;
		used += (size_t)sprintf(buffer + used, "%s%llu %s", separator,
					(unsigned long long)share->cells[kind],
					timeline_name((enum timeline_kind)kind));
		separator = ", ";
	}
	for (int i = 0; i < 2; i++) {
		time_t seconds = (time_t)edge[i];
		struct tm tm;

		used += (size_t)sprintf(buffer + used, i ? " to " : "), ");
		if (!gmtime_r(&seconds, &tm) ||
		    !strftime(buffer + used, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
			sprintf(buffer + used, "%lld", (long long)edge[i]);
		used += strlen(buffer + used);
	}
	return buffer;
}

void chart_draw_line(FILE *to, const struct chart_line *line, size_t columns, bool utf8)
{
	const struct timeline_line drawn = { line->letters, line->from, line->to };
	char every[TIMELINE_SPAN_SIZE], all[TIMELINE_SPAN_SIZE];

	fprintf(to, "every %s for %s: %s\n", timeline_span(every, line->resolution),
		timeline_span(all, line->to - line->from), line->functions);
	timeline_draw(to, &drawn, columns, utf8);
}

void chart_draw(FILE *to, const struct chart *chart, size_t columns, bool utf8)
{
	for (size_t i = 0; i < chart->lines; i++) {
		chart_draw_line(to, &chart->line[i], columns, utf8);
		fputc('\n', to);
	}
	timeline_legend(to, chart->cells, columns, utf8);
}
