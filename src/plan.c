#include "config.h"
#include "plan.h"

#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "consolidate.h"

/* A page's worth of neighbours costs less to write again than another call. */
#define BRIDGE 512u
#define OPEN_SIZE 16u           /* CDP_val and CDP_unkn_pdp_cnt, one after the other */

void plan_clear(struct plan *plan)
{
	plan->runs = plan->extents = 0;
	plan->counts = (struct plan_counts){ 0 };
	plan->unhealed = 0;
	plan->dropped = false;
	plan->from = plan->to = 0;
}

void plan_free(struct plan *plan)
{
	free(plan->run);
	free(plan->open);
	free(plan->extent);
	*plan = (struct plan){ 0 };
}

static void note_time(struct plan *plan, int64_t first, int64_t last)
{
	bool none = plan_is_empty(plan);

	if (none || first < plan->from)
		plan->from = first;
	if (none || last > plan->to)
		plan->to = last;
}

static int add_run(struct plan *plan, const struct plan_run *run, int64_t resolution)
{
	if (plan->runs == plan->run_capacity) {
		size_t capacity = plan->run_capacity ? plan->run_capacity * 2 : 64;
		struct plan_run *grown = reallocarray(plan->run, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		plan->run = grown;
		plan->run_capacity = capacity;
	}
	plan->run[plan->runs++] = *run;
	note_time(plan, run->first, run->first + (int64_t)(run->count - 1) * resolution);
	plan->counts.cells += run->count;
	plan->counts.of_kind[run->kind] += run->count;
	return 0;
}

/* Does the cell come right after this run, made in the same way? */
static bool continues(const struct plan_run *run, const struct plan_run *cell, int64_t resolution)
{
	return run->rra == cell->rra && run->ds == cell->ds && run->source == cell->source &&
	       run->kind == cell->kind && isnan(run->old) && isnan(cell->old) &&
	       run->first + (int64_t)run->count * resolution == cell->first;
}

int plan_put(struct plan *plan, struct rrd *live, const struct plan_run *at, double value)
{
	double *cell = rrd_rows(live, at->rra) +
		       rrd_slot(live, at->rra, at->first) * live->head.ds_cnt + at->ds;
	int64_t resolution = layout_resolution(&live->head, at->rra);
	struct plan_run *last = plan->runs ? &plan->run[plan->runs - 1] : NULL;
	struct plan_run run = *at;

	run.count = 1;
	run.old = at->undone ? NAN : *cell;
	if (last && continues(last, &run, resolution)) {
		last->count++;
		note_time(plan, run.first, run.first);
		plan->counts.cells++;
		plan->counts.of_kind[run.kind]++;
	} else {
		int r = add_run(plan, &run, resolution);

		if (r)
			return r;
	}
	*cell = value;
	return 0;
}

int plan_put_open(struct plan *plan, const struct rrd *live, const struct plan_open *open)
{
	int64_t end = rrd_newest(live, open->rra) + layout_resolution(&live->head, open->rra);

	if (plan->counts.opens == plan->open_capacity) {
		size_t capacity = plan->open_capacity ? plan->open_capacity * 2 : 16;
		struct plan_open *grown = reallocarray(plan->open, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		plan->open = grown;
		plan->open_capacity = capacity;
	}
	note_time(plan, end, end);
	plan->open[plan->counts.opens++] = *open;
	return 0;
}

/* ---- copies ---- */

/* A stretch of rows that neither ring breaks: from these two slots on, `rows` of them. */
struct stretch {
	double *live;
	const double *source;
	uint64_t rows;
	int64_t first;          /* end time of the first row */
	int64_t resolution;
};

/* Fills one data source over one stretch; each unbroken piece becomes a run. */
static int fill_stretch(struct plan *plan, const struct stretch *at, size_t live_stride,
			size_t source_stride, struct plan_run *run)
{
	double *live = at->live;
	const double *source = at->source;
	int64_t time = at->first;

	run->count = 0;
	for (uint64_t row = 0; row < at->rows; row++) {
		if (isnan(*live) && !isnan(*source)) {
			*live = *source;
			if (!run->count)
				run->first = time;
			run->count++;
		} else if (run->count) {
			int r = add_run(plan, run, at->resolution);

			if (r)
				return r;
			run->count = 0;
		}
		live += live_stride;
		source += source_stride;
		time += at->resolution;
	}
	return run->count ? add_run(plan, run, at->resolution) : 0;
}

/* One live RRA from one of the source's of the same CF and resolution: the rows that both
 * rings hold, in stretches. */
static int fill_rra(struct plan *plan, struct rrd *live, uint64_t rra,
		    const struct plan_source *source, uint64_t source_rra)
{
	const struct rrd *db = source->db;
	int64_t resolution = layout_resolution(&live->head, rra);
	int64_t from = rrd_oldest(live, rra), to = rrd_newest(live, rra);
	uint64_t live_rows = live->head.rra[rra].row_cnt;
	uint64_t source_rows = db->head.rra[source_rra].row_cnt;

	if (from < rrd_oldest(db, source_rra))
		from = rrd_oldest(db, source_rra);
	if (to > rrd_newest(db, source_rra))
		to = rrd_newest(db, source_rra);
	while (from <= to) {
		uint64_t slot = rrd_slot(live, rra, from);
		uint64_t source_slot = rrd_slot(db, source_rra, from);
		uint64_t rows = (uint64_t)((to - from) / resolution) + 1;

		if (rows > live_rows - slot)
			rows = live_rows - slot;
		if (rows > source_rows - source_slot)
			rows = source_rows - source_slot;
		for (uint64_t ds = 0; ds < live->head.ds_cnt; ds++) {
			if (source->map[ds] == LAYOUT_NO_DS)
				continue;
			struct stretch stretch = {
				.live = rrd_rows(live, rra) + slot * live->head.ds_cnt + ds,
				.source = rrd_rows(db, source_rra) +
					  source_slot * db->head.ds_cnt + source->map[ds],
				.rows = rows,
				.first = from,
				.resolution = resolution,
			};
			struct plan_run run = {
				.rra = (uint32_t)rra,
				.ds = (uint32_t)ds,
				.source = source->index,
				.kind = PLAN_EXACT,
				.old = NAN,
			};
			int r = fill_stretch(plan, &stretch, live->head.ds_cnt,
					     db->head.ds_cnt, &run);
			if (r)
				return r;
		}
		from += (int64_t)rows * resolution;
	}
	return 0;
}

/* SEASONAL and DEVSEASONAL hold one coefficient a phase: their rows have no time. */
static bool is_time_series(enum layout_cf cf)
{
	return cf != CF_SEASONAL && cf != CF_DEVSEASONAL;
}

static bool same_series(const struct rrd *live, uint64_t rra, const struct rrd *source,
			uint64_t source_rra)
{
	enum layout_cf cf = live->head.rra[rra].cf;

	return is_time_series(cf) && cf == source->head.rra[source_rra].cf &&
	       layout_resolution(&live->head, rra) ==
		       layout_resolution(&source->head, source_rra);
}

/* "AVERAGE 60 s, MAX 300 s, ..." */
static void list_archives(const struct rrd *db, char *buffer, size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (uint64_t rra = 0; rra < db->head.rra_cnt && used + 48 < size; rra++)
		used += (size_t)snprintf(buffer + used, size - used, "%s%s %lld s",
					 rra ? ", " : "", layout_cf_name(db->head.rra[rra].cf),
					 (long long)layout_resolution(&db->head, rra));
}

/* Could rows of this RRA be made from that one's, by seam or reshape? */
static bool serves(const struct rrd *live, uint64_t rra, const struct rrd *source,
		   uint64_t source_rra, const struct plan_options *options)
{
	enum layout_cf ours = live->head.rra[rra].cf, theirs = source->head.rra[source_rra].cf;

	if (options->exact || !consolidate_does(ours) || !consolidate_does(theirs))
		return false;
	if (source->head.rra[source_rra].pdp_cnt == 1 && source->head.step <= live->head.step)
		return true;
	if (ours != theirs)
		return false;
	return layout_resolution(&source->head, source_rra) < layout_resolution(&live->head, rra) ||
	       (!options->no_spread && ours != CF_LAST);
}

int plan_fill(struct plan *plan, struct rrd *live, const struct plan_source *source,
	      const struct plan_options *options, struct reason *why)
{
	bool common = false;

	for (uint64_t rra = 0; rra < live->head.rra_cnt; rra++) {
		for (uint64_t s = 0; s < source->db->head.rra_cnt; s++) {
			if (!same_series(live, rra, source->db, s)) {
				common = common || serves(live, rra, source->db, s, options);
				continue;
			}
			common = true;
			int r = fill_rra(plan, live, rra, source, s);
			if (r)
				return reason_errno(why, -r, "cannot plan");
		}
	}
	if (!common) {
		char ours[120], theirs[120];

		list_archives(live, ours, sizeof(ours));
		list_archives(source->db, theirs, sizeof(theirs));
		reason_set(why, "no RRA in common: live has %s and backup has %s", ours, theirs);
		return REFUSED;
	}
	return 0;
}

/* ---- extents ---- */

static int add_extent(struct plan *plan, uint64_t offset, uint64_t size)
{
	/* Runs often follow each other in the file already. */
	if (plan->extents) {
		struct plan_extent *last = &plan->extent[plan->extents - 1];

		if (offset >= last->offset && offset <= last->offset + last->size + BRIDGE) {
			if (offset + size > last->offset + last->size)
				last->size = offset + size - last->offset;
			return 0;
		}
	}
	if (plan->extents == plan->extent_capacity) {
		size_t capacity = plan->extent_capacity ? plan->extent_capacity * 2 : 64;
		struct plan_extent *grown = reallocarray(plan->extent, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		plan->extent = grown;
		plan->extent_capacity = capacity;
	}
	plan->extent[plan->extents++] = (struct plan_extent){ offset, size };
	return 0;
}

/* A run's cells are consecutive rows; where the ring wraps, its bytes are in two places.
 * Between two rows of one DS stand the other DS, written as they are in the image. */
static int add_run_extents(struct plan *plan, const struct rrd *live, const struct plan_run *run)
{
	const struct layout_rra *rra = &live->head.rra[run->rra];
	uint64_t row_size = live->head.ds_cnt * sizeof(double);
	uint64_t slot = rrd_slot(live, run->rra, run->first);
	uint64_t left = run->count;

	while (left) {
		uint64_t rows = left < rra->row_cnt - slot ? left : rra->row_cnt - slot;
		int r = add_extent(plan, rra->offset + slot * row_size + run->ds * sizeof(double),
				   (rows - 1) * row_size + sizeof(double));

		if (r)
			return r;
		left -= rows;
		slot = 0;
	}
	return 0;
}

static int by_offset(const void *a, const void *b)
{
	const struct plan_extent *x = a, *y = b;

	return x->offset < y->offset ? -1 : x->offset > y->offset;
}

int plan_finish(struct plan *plan, const struct rrd *live)
{
	plan->extents = 0;
	for (size_t i = 0; i < plan->counts.opens; i++) {
		const struct plan_open *open = &plan->open[i];
		int r = add_extent(plan, layout_cdp_offset(&live->head, open->rra, open->ds),
				   OPEN_SIZE);

		if (r)
			return r;
	}
	for (size_t i = 0; i < plan->runs; i++) {
		int r = add_run_extents(plan, live, &plan->run[i]);

		if (r)
			return r;
	}
	if (plan->extents < 2)
		return 0;
	qsort(plan->extent, plan->extents, sizeof(*plan->extent), by_offset);
	size_t found = plan->extents;
	plan->extents = 1;
	for (size_t i = 1; i < found; i++) {
		struct plan_extent next = plan->extent[i];
		int r = add_extent(plan, next.offset, next.size);

		if (r)
			return r;
	}
	return 0;
}

int plan_drop_opens(struct plan *plan, const struct rrd *live)
{
	plan->counts.opens = 0;
	plan->dropped = true;
	return plan_finish(plan, live);
}

void plan_open_rows(const struct plan *plan, struct rrd *live)
{
	for (size_t i = 0; i < plan->counts.opens; i++) {
		const struct plan_open *open = &plan->open[i];
		uint8_t *at = live->bytes + layout_cdp_offset(&live->head, open->rra, open->ds);

		/* Live is this machine's own. */
		memcpy(at, &open->value, sizeof(open->value));
		memcpy(at + sizeof(open->value), &open->unknown, sizeof(open->unknown));
	}
}

static uint64_t cells_before(const struct plan_run *run, const struct rrd *live, uint64_t offset)
{
	const struct layout_rra *rra = &live->head.rra[run->rra];
	uint64_t row_size = live->head.ds_cnt * sizeof(double), cells = 0;
	uint64_t slot = rrd_slot(live, run->rra, run->first), left = run->count;

	while (left) {
		uint64_t rows = left < rra->row_cnt - slot ? left : rra->row_cnt - slot;
		uint64_t at = rra->offset + slot * row_size + run->ds * sizeof(double);
		uint64_t before = offset <= at ? 0 : (offset - at + row_size - 1) / row_size;

		cells += before < rows ? before : rows;
		left -= rows;
		slot = 0;
	}
	return cells;
}

struct plan_counts plan_before(const struct plan *plan, const struct rrd *live, uint64_t offset)
{
	struct plan_counts counts = { 0 };

	for (size_t i = 0; i < plan->counts.opens; i++)
		counts.opens += layout_cdp_offset(&live->head, plan->open[i].rra,
						  plan->open[i].ds) < offset;
	for (size_t i = 0; i < plan->runs; i++) {
		uint64_t cells = cells_before(&plan->run[i], live, offset);

		counts.cells += cells;
		counts.of_kind[plan->run[i].kind] += cells;
	}
	return counts;
}
