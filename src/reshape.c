#include "config.h"
#include "reshape.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include "consolidate.h"

/* What one of the sources' RRAs is to one of live's. */
enum rank {
	PDPS,           /* rows of one PDP: where these cover a row, seam has made it */
	WITHIN,         /* finer, and so that its rows do not cross live's */
	ACROSS,         /* finer, and crossing */
	SAME,
	COARSER
};

struct reshape_rows {
	struct series series;
	enum rank rank;
	unsigned source;        /* in the order of trust */
	uint32_t index;         /* of the backup */
};

/* One data source in one RRA of live under way.  The sources' RRAs stand in the order in which they
 * are asked: by rank, resolution and trust. */
struct work {
	struct plan *plan;
	struct rrd *live;
	uint64_t rra, ds;
	enum layout_cf cf;
	double xff;
	int64_t resolution;
	struct reshape_rows *rows;
	size_t count;
	size_t same, coarser;   /* where these begin */
	int64_t spread_to;      /* rows may be spread that end here or before */
};

void reshape_free(struct reshape *reshape)
{
	free(reshape->rows);
	*reshape = (struct reshape){ 0 };
}

static int by_rank(const void *a, const void *b)
{
	const struct reshape_rows *x = a, *y = b;

	if (x->rank != y->rank)
		return x->rank < y->rank ? -1 : 1;
	if (x->series.resolution != y->series.resolution)
		return x->series.resolution < y->series.resolution ? -1 : 1;
	return x->source < y->source ? -1 : x->source > y->source;
}

/* False where it is of no use.  A row of one PDP holds the same under every function; but a PDP that
 * is longer than live's is an average of these. */
static bool rank_of(const struct work *w, const struct rrd *db, uint64_t rra, enum rank *ret)
{
	const struct layout_rra *def = &db->head.rra[rra];
	int64_t resolution = layout_resolution(&db->head, rra);

	if (def->cf == w->cf && resolution == w->resolution)
		*ret = SAME;
	else if (def->pdp_cnt == 1 && consolidate_does(def->cf) &&
		 db->head.step <= w->live->head.step)
		*ret = PDPS;
	else if (def->cf != w->cf)
		return false;
	else if (resolution > w->resolution)
		*ret = COARSER;
	else
		*ret = w->resolution % resolution ? ACROSS : WITHIN;
	return true;
}

/* Collects what may serve this RRA. */
static void collect(struct work *w, const struct plan_source *source, unsigned sources)
{
	w->count = w->same = w->coarser = 0;
	w->spread_to = INT64_MAX;
	for (unsigned n = 0; n < sources; n++) {
		const struct rrd *db = source[n].db;
		uint64_t ds = source[n].map[w->ds];

		for (uint64_t s = 0; s < db->head.rra_cnt && ds != LAYOUT_NO_DS; s++) {
			enum rank rank;

			if (!rank_of(w, db, s, &rank))
				continue;
			const struct reshape_rows rows = {
				series_of(db, s, ds), rank, n, source[n].index
			};

			w->rows[w->count++] = rows;
			w->same += rank < SAME;
			w->coarser += rank < COARSER;
			if (rank < COARSER &&
			    rows.series.oldest - rows.series.resolution < w->spread_to)
				w->spread_to = rows.series.oldest - rows.series.resolution;
		}
	}
	qsort(w->rows, w->count, sizeof(*w->rows), by_rank);
}

/* From `i` on, those of the same rank and resolution: until where? */
static size_t group_end(const struct work *w, size_t i)
{
	size_t end = i + 1;

	while (end < w->count && w->rows[end].rank == w->rows[i].rank &&
	       w->rows[end].series.resolution == w->rows[i].series.resolution)
		end++;
	return end;
}

/* The row that ends at `time`, by the first of a group that knows it.  False where none reaches
 * it. */
static bool group_at(struct work *w, size_t from, size_t to, int64_t time, double *ret,
		     uint32_t *ret_index)
{
	bool reached = false;

	*ret = NAN;
	for (size_t i = from; i < to && isnan(*ret); i++) {
		if (!series_reaches(&w->rows[i].series, time))
			continue;
		reached = true;
		*ret = series_at(&w->rows[i].series, time);
		*ret_index = w->rows[i].index;
	}
	return reached;
}

/* Puts the rows of a group that lie in the live row together, each by the time that it has in
 * there; one that contains it is taken to the bit.  False where the group does not cover it. */
static bool add_group(struct work *w, size_t from, size_t to, int64_t time,
		      struct consolidate_row *row, uint32_t *ret_index)
{
	int64_t resolution = w->rows[from].series.resolution, at = time - w->resolution;
	double value;

	while (at < time) {
		int64_t end = series_start_of(at, resolution) + resolution;
		int64_t until = end < time ? end : time;
		uint32_t index = 0;

		if (!group_at(w, from, to, end, &value, &index))
			return false;
		/* What was last in a row that ends later was not yet so. */
		if (w->cf != CF_LAST || end <= time)
			consolidate_add(row, value,
					until - at == w->resolution ? 1 : (uint64_t)(until - at));
		if (!isnan(value))
			*ret_index = index;
		at = until;
	}
	return true;
}

static int put(struct work *w, int64_t time, enum plan_kind kind, uint32_t index, double value)
{
	const struct plan_run at = {
		.rra = (uint32_t)w->rra,
		.ds = (uint32_t)w->ds,
		.source = index,
		.kind = kind,
		.first = time,
	};

	return isnan(value) ? 0 : plan_put(w->plan, w->live, &at, value);
}

/* The first group that covers the row decides, also where it says unknown. */
static int fill_row(struct work *w, int64_t time, bool spread)
{
	uint32_t index = 0;

	for (size_t from = 0, to; from < w->same; from = to) {
		struct consolidate_row row = consolidate_begin(w->cf);

		to = group_end(w, from);
		if (add_group(w, from, to, time, &row, &index))
			return w->rows[from].rank == PDPS ? 0
				: put(w, time, PLAN_CONSOLIDATED, index,
				      consolidate_end(&row, w->xff));
	}
	for (size_t from = w->coarser, to; spread && time <= w->spread_to && from < w->count;
	     from = to) {
		struct consolidate_row row = consolidate_begin(w->cf);

		to = group_end(w, from);
		if (add_group(w, from, to, time, &row, &index))
			return put(w, time, PLAN_SPREAD, index,
				   row.unknown ? NAN : consolidate_end(&row, 0));
	}
	return 0;
}

static int fill_rows(struct work *w, bool spread)
{
	struct series rows = series_of(w->live, w->rra, w->ds);
	int64_t time = INT64_MAX, to = INT64_MIN;
	int r = 0;

	for (size_t i = 0; i < w->count; i++) {
		const struct series *series = &w->rows[i].series;

		if (series->oldest - series->resolution + 1 < time)
			time = series->oldest - series->resolution + 1;
		if (series->newest > to)
			to = series->newest;
	}
	time = series_end_of(time, w->resolution);
	if (time < rows.oldest)
		time = rows.oldest;
	if (to > rows.newest)
		to = rows.newest;
	for (; !r && time <= to; time += w->resolution) {
		size_t same = w->same;

		while (same < w->coarser && !series_reaches(&w->rows[same].series, time))
			same++;
		if (same < w->coarser)
			time = w->rows[same].series.newest;     /* all that is left in its ring */
		else if (isnan(series_at(&rows, time)))
			r = fill_row(w, time, spread);
	}
	return r;
}

/* Does one source reach every row up to the end of all sources?  So it is where live was made as the
 * old server's files were. */
static bool all_reached(const struct rrd *live, uint64_t rra, uint64_t ds,
			const struct plan_source *source, unsigned sources)
{
	int64_t resolution = layout_resolution(&live->head, rra), end = INT64_MIN;

	for (unsigned n = 0; n < sources; n++)
		if (source[n].db->head.last_up > end)
			end = source[n].db->head.last_up;
	for (unsigned n = 0; n < sources; n++) {
		const struct rrd *db = source[n].db;

		for (uint64_t s = 0; s < db->head.rra_cnt && source[n].map[ds] != LAYOUT_NO_DS; s++)
			if (db->head.rra[s].cf == live->head.rra[rra].cf &&
			    layout_resolution(&db->head, s) == resolution &&
			    rrd_oldest(db, s) <= rrd_oldest(live, rra) &&
			    rrd_newest(db, s) + resolution > end)
				return true;
	}
	return false;
}

static int reserve(struct reshape *reshape, const struct plan_source *source, unsigned sources)
{
	size_t count = 0;

	for (unsigned n = 0; n < sources; n++)
		count += source[n].db->head.rra_cnt;
	if (count <= reshape->capacity)
		return 0;
	struct reshape_rows *grown = reallocarray(reshape->rows, count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	reshape->rows = grown;
	reshape->capacity = count;
	return 0;
}

int reshape_fill(struct plan *plan, struct rrd *live, const struct plan_source *source,
		 unsigned sources, const struct plan_options *options, struct reshape *reshape)
{
	int r = reserve(reshape, source, sources);

	for (uint64_t rra = 0; rra < live->head.rra_cnt && !r; rra++) {
		const struct layout_rra *def = &live->head.rra[rra];
		struct work work = {
			.plan = plan,
			.live = live,
			.rra = rra,
			.cf = def->cf,
			.xff = def->xff,
			.resolution = layout_resolution(&live->head, rra),
			.rows = reshape->rows,
		};
		/* LAST is one moment's value, and not that of all the time around it. */
		bool spread = !options->no_spread && def->cf != CF_LAST;

		for (; consolidate_does(def->cf) && work.ds < live->head.ds_cnt && !r; work.ds++) {
			if (all_reached(live, rra, work.ds, source, sources))
				continue;
			collect(&work, source, sources);
			if (work.count)
				r = fill_rows(&work, spread);
		}
	}
	return r;
}
