#include "config.h"
#include "pdps.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STEADY 3                /* rows known one after the other tell where live's data begin */
#define SAME_SERVER 16          /* PDPs looked at to tell whether one source continues another */
#define NO_RRA UINT64_MAX

void pdps_free(struct pdps *pdps)
{
	free(pdps->source);
	*pdps = (struct pdps){ 0 };
}

/* ---- setting up ---- */

/* The RRA with most rows of one PDP. */
static uint64_t find_fine(const struct rrd *db)
{
	uint64_t best = NO_RRA;

	for (uint64_t rra = 0; rra < db->head.rra_cnt; rra++) {
		const struct layout_rra *def = &db->head.rra[rra];

		if (def->pdp_cnt == 1 && consolidate_does(def->cf) &&
		    (best == NO_RRA || def->row_cnt > db->head.rra[best].row_cnt))
			best = rra;
	}
	return best;
}

/* One of live's PDPs from a source's smaller ones, by time, as rrdtool makes a PDP of what it is
 * given: unknown where more than half of it is (src/rrd_update.c, process_pdp_st). */
static double build_pdp(struct series *from, int64_t time, int64_t step)
{
	struct consolidate_row pdp = consolidate_begin(CF_AVERAGE);
	int64_t at = time - step, begin = from->oldest - from->resolution;

	if (at < begin) {
		consolidate_add(&pdp, NAN, (uint64_t)((begin < time ? begin : time) - at));
		at = begin;
	}
	while (at < time) {
		int64_t end = series_start_of(at, from->resolution) + from->resolution;
		int64_t until = end < time && end <= from->newest ? end : time;

		consolidate_add(&pdp, end <= from->newest ? series_at(from, end) : NAN,
				(uint64_t)(until - at));
		at = until;
	}
	return consolidate_end(&pdp, 0.5);
}

static double source_pdp(struct pdps_source *source, int64_t time, int64_t step)
{
	return source->series.resolution == step ? series_at(&source->series, time)
						 : build_pdp(&source->series, time, step);
}

static void add_source(struct pdps *pdps, const struct plan_source *source)
{
	const struct rrd *db = source->db;
	uint64_t ds = source->map[pdps->ds], fine = find_fine(db);
	struct pdps_source *add = &pdps->source[pdps->sources++];

	*add = (struct pdps_source){ .cut = consolidate_open_pdp(db, pdps->step), .last = NAN };
	add->from = add->cut;
	if (fine != NO_RRA) {
		add->series = series_of(db, fine, ds);
		/* Its oldest row must not reach into the PDP: it covers all of it, or none. */
		add->from = series_end_of(add->series.oldest - add->series.resolution +
					  pdps->step, pdps->step);
	}
	if ((int64_t)db->head.step == pdps->step) {
		add->last = consolidate_last_pdp(db, ds);
	} else {
		pdps->approximate = true;
		if (fine == NO_RRA)
			add->from = add->cut + pdps->step;      /* nothing at all */
		else
			add->last = build_pdp(&add->series, add->cut, pdps->step);
	}
}

/* Did whoever wrote `later` go on where `source` ends, or was it another server, made after that
 * one had died?  Of the same server, the later copy knows what the earlier one knew last. */
static bool goes_on(struct pdps_source *later, struct pdps_source *source, int64_t step)
{
	int64_t time = source->cut - step;

	if (!later->series.resolution || later->from > time)
		return true;            /* cannot be told */
	if (!isnan(source_pdp(later, source->cut, step)))
		return true;
	for (int i = 0; i < SAME_SERVER && time >= source->from && time >= later->from;
	     i++, time -= step)
		if (source->series.resolution && !isnan(source_pdp(source, time, step)))
			return !isnan(source_pdp(later, time, step));
	return true;
}

static void find_from(struct pdps *pdps)
{
	pdps->from = pdps->known_from = pdps->cut;
	for (unsigned n = 0; n < pdps->sources; n++) {
		struct pdps_source *source = &pdps->source[n];
		int64_t time = source->from;

		if (time < pdps->from)
			pdps->from = time;
		while (time < source->cut && time < pdps->known_from &&
		       isnan(source_pdp(source, time, pdps->step)))
			time += pdps->step;
		if (time < pdps->known_from)
			pdps->known_from = time;
	}
}

static int reserve(struct pdps *pdps, unsigned count)
{
	if (count <= pdps->capacity)
		return 0;
	struct pdps_source *grown = reallocarray(pdps->source, count, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	pdps->source = grown;
	pdps->capacity = count;
	return 0;
}

/* After which sources nobody went on, so that what was open then ended with unknown. */
static void find_ends(struct pdps *pdps, struct pdps_source *newest)
{
	for (unsigned n = 0; n < pdps->sources && newest; n++) {
		struct pdps_source *source = &pdps->source[n];

		source->ends = source == newest ? source->cut <= pdps->now
			: source->cut < newest->cut && !goes_on(newest, source, pdps->step);
	}
}

int pdps_look(struct pdps *pdps, const struct rrd *live, const struct plan_source *source,
	      unsigned sources, uint64_t ds, bool *ret_any)
{
	struct pdps_source *newest = NULL;
	uint64_t fine = find_fine(live);

	if (reserve(pdps, sources))
		return -ENOMEM;
	*pdps = (struct pdps){
		.source = pdps->source,
		.capacity = pdps->capacity,
		.live = live,
		.ds = ds,
		.step = (int64_t)live->head.step,
		.now = live->head.last_up - live->head.last_up % (int64_t)live->head.step,
		.no_last = live->head.ds[ds].type == DST_COMPUTE,
	};
	if (fine != NO_RRA)
		pdps->fine = series_of(live, fine, ds);
	for (unsigned n = 0; n < sources; n++) {
		/* Of larger steps, the parts of one cannot be told from the whole. */
		bool usable = source[n].db->head.step <= live->head.step;

		if (source[n].map[ds] == LAYOUT_NO_DS)
			continue;
		if (usable)
			add_source(pdps, &source[n]);
		if (!pdps->end || source[n].db->head.last_up > pdps->end->db->head.last_up) {
			pdps->end = &source[n];
			newest = usable ? &pdps->source[pdps->sources - 1] : NULL;
		}
	}
	*ret_any = pdps->sources > 0;
	if (!*ret_any)
		return 0;
	pdps->cut = consolidate_open_pdp(pdps->end->db, pdps->step);
	find_ends(pdps, newest);
	find_from(pdps);
	return 0;
}

/* ---- where live's own data begin ---- */

static bool known_at(const struct rrd *live, uint64_t rra, uint64_t ds, int64_t time)
{
	return !isnan(rrd_rows(live, rra)[rrd_slot(live, rra, time) * live->head.ds_cnt + ds]);
}

static bool any_known_at(const struct rrd *live, uint64_t rra, int64_t time)
{
	for (uint64_t ds = 0; ds < live->head.ds_cnt; ds++)
		if (live->head.ds[ds].type != DST_COMPUTE && known_at(live, rra, ds, time))
			return true;
	return false;
}

/* Is some data source known at `time` and after, without a break? */
static bool steady_at(const struct rrd *live, uint64_t rra, int64_t time)
{
	int64_t resolution = layout_resolution(&live->head, rra);

	if (rrd_newest(live, rra) < time + (STEADY - 1) * resolution)
		return false;
	for (uint64_t ds = 0; ds < live->head.ds_cnt; ds++) {
		int steady = 0;

		while (steady < STEADY && live->head.ds[ds].type != DST_COMPUTE &&
		       known_at(live, rra, ds, time + steady * resolution))
			steady++;
		if (steady == STEADY)
			return true;
	}
	return false;
}

/* Until when live knows nothing after `cut`, as one RRA shows it.  A row that is unknown may hide
 * known PDPs, as many as xff allows: so one row more is left open, and what follows must be known
 * steadily, lest a beginning with holes deceives us. */
static int64_t empty_by(const struct rrd *live, uint64_t rra, int64_t cut)
{
	const struct layout_rra *def = &live->head.rra[rra];
	int64_t resolution = layout_resolution(&live->head, rra);
	int64_t first = series_end_of(cut, resolution) + resolution, time = first;
	bool hides = (double)def->pdp_cnt - 1 > def->xff * (double)def->pdp_cnt;

	if (first < rrd_oldest(live, rra))
		return cut;
	while (time <= rrd_newest(live, rra) && !any_known_at(live, rra, time))
		time += resolution;
	if (hides && !steady_at(live, rra, time))
		return cut;
	time -= hides ? 2 * resolution : resolution;
	/* One whole row at least; so live began after it, and knows nothing before it either. */
	return time >= first ? time : cut;
}

static int64_t empty_to(struct pdps *pdps)
{
	if (pdps->looked)
		return pdps->empty_to;
	pdps->looked = true;
	pdps->empty_to = pdps->cut;
	for (uint64_t rra = 0; rra < pdps->live->head.rra_cnt; rra++) {
		enum layout_cf cf = pdps->live->head.rra[rra].cf;

		/* A row of LAST tells of one PDP alone. */
		if (!consolidate_does(cf) || cf == CF_LAST)
			continue;
		int64_t to = empty_by(pdps->live, rra, pdps->cut);
		if (to > pdps->empty_to)
			pdps->empty_to = to;
	}
	return pdps->empty_to;
}

void pdps_distrust(struct pdps *pdps)
{
	pdps->looked = true;
	pdps->empty_to = pdps->cut;
}

/* ---- reading ---- */

/* False where it is not reached. */
static bool pdp_at(struct pdps *pdps, int64_t time, double *ret)
{
	bool reached = false;

	*ret = NAN;
	if (time > pdps->cut) {
		reached = series_reaches(&pdps->fine, time);
		if (reached)
			*ret = series_at(&pdps->fine, time);
		return reached;
	}
	/* Of that time live may hold what was spread into it, or copied of another step. */
	for (unsigned n = 0; n < pdps->sources && isnan(*ret); n++) {
		struct pdps_source *source = &pdps->source[n];
		bool last = time == source->cut;

		if (time < source->from || time > source->cut)
			continue;
		if (last && (!source->ends || (pdps->no_last && isnan(source->last))))
			continue;
		reached = true;
		*ret = last ? source->last : source_pdp(source, time, pdps->step);
	}
	return reached;
}

/* How many PDPs from `time` to `last`, all of them later than the cut, no ring reaches, though they
 * are known to be unknown.  In one go: a file may say that they are millions. */
static uint64_t empty_from(struct pdps *pdps, int64_t time, int64_t last)
{
	if (time <= pdps->cut || series_reaches(&pdps->fine, time))
		return 0;
	if (last > empty_to(pdps))
		last = empty_to(pdps);
	if (pdps->fine.resolution && time < pdps->fine.oldest && last >= pdps->fine.oldest)
		last = pdps->fine.oldest - pdps->step;
	return last < time ? 0 : (uint64_t)((last - time) / pdps->step) + 1;
}

bool pdps_add(struct pdps *pdps, int64_t first, int64_t last, struct consolidate_row *row)
{
	double value;

	for (int64_t time = first; time <= last; time += pdps->step) {
		uint64_t empty = empty_from(pdps, time, last);

		if (empty) {
			consolidate_add(row, NAN, empty);
			time += (int64_t)(empty - 1) * pdps->step;
		} else if (pdp_at(pdps, time, &value)) {
			consolidate_add(row, value, 1);
		} else {
			return false;
		}
	}
	return true;
}
