#include "config.h"
#include "seam.h"

#include <math.h>

#define ROUNDING 1e-9           /* relative; what differs by less is the same value */

/* One data source of one file under way. */
struct heal {
	struct plan *plan;
	struct rrd *live;
	struct pdps *pdps;
	uint64_t rra, ds;
	bool rebuild;
};

static int put(struct heal *h, int64_t time, double value)
{
	const struct pdps *pdps = h->pdps;
	const struct plan_run at = {
		.rra = (uint32_t)h->rra,
		.ds = (uint32_t)h->ds,
		.source = pdps->end->index,
		.kind = time < pdps->cut || pdps->approximate ? PLAN_CONSOLIDATED : PLAN_SEAM,
		.first = time,
	};

	return plan_put(h->plan, h->live, &at, value);
}

/* The row that was open at the source's end, of which the files have not all PDPs any more: as far
 * as its cdp_prep area knows it, then the PDP that was open too.  False where it cannot be had. */
static bool from_prep(struct heal *h, struct consolidate_row *ret)
{
	const struct layout_rra *ours = &h->live->head.rra[h->rra];
	const struct rrd *db = h->pdps->end->db;

	for (uint64_t s = 0; s < db->head.rra_cnt; s++) {
		const struct layout_rra *theirs = &db->head.rra[s];

		if (theirs->cf != ours->cf || theirs->pdp_cnt != ours->pdp_cnt ||
		    db->head.step != h->live->head.step)
			continue;
		*ret = consolidate_open(db, s, h->pdps->end->map[h->ds]);
		return pdps_add(h->pdps, h->pdps->cut, h->pdps->cut, ret);
	}
	return false;
}

/* What is known of the row in this RRA whose PDPs end at first … last.  False where some of them
 * cannot be had. */
static bool make_row(struct heal *h, int64_t first, int64_t last, struct consolidate_row *ret)
{
	enum layout_cf cf = h->live->head.rra[h->rra].cf;

	*ret = consolidate_begin(cf);
	if (first >= h->pdps->from && pdps_add(h->pdps, first, last, ret))
		return true;
	*ret = consolidate_begin(cf);
	return last >= h->pdps->cut && from_prep(h, ret) &&
		pdps_add(h->pdps, h->pdps->cut + h->pdps->step, last, ret);
}

/* Is the row that live knows another than the one that the PDPs give (NAN: none)? */
static bool differs(double known, double made)
{
	return known != made &&
	       !(fabs(known - made) <= ROUNDING * fmax(fabs(known), fabs(made)));
}

/* May a known row be made again?  Not one that a source of another step may have given: that is
 * exact, and what we make an approximation. */
static bool may_rebuild(const struct heal *h, int64_t time)
{
	return h->rebuild && h->live->head.rra[h->rra].pdp_cnt > 1 &&
	       (time >= h->pdps->cut || !h->pdps->approximate);
}

static int heal_row(struct heal *h, int64_t time, double known)
{
	const struct layout_rra *def = &h->live->head.rra[h->rra];
	int64_t first = time - layout_resolution(&h->live->head, h->rra) + h->pdps->step;
	struct consolidate_row row;
	double value;

	if (!isnan(known) && !may_rebuild(h, time))
		return 0;
	if (!make_row(h, first, time, &row)) {
		h->plan->unhealed += isnan(known) && time >= h->pdps->cut;
		return 0;
	}
	value = consolidate_end(&row, def->xff);
	if (isnan(value) || (!isnan(known) && !differs(known, value)))
		return 0;
	return put(h, time, value);
}

/* Those that hold a PDP up to the source's end: what is later is live's alone. */
static int heal_rows(struct heal *h)
{
	int64_t resolution = layout_resolution(&h->live->head, h->rra);
	int64_t last = series_end_of(h->pdps->cut, resolution);
	int64_t time = series_end_of(h->pdps->known_from, resolution);
	struct series rows = series_of(h->live, h->rra, h->ds);
	int r = 0;

	if (time < rows.oldest)
		time = rows.oldest;
	if (last > rows.newest)
		last = rows.newest;
	for (; !r && time <= last; time += resolution)
		r = heal_row(h, time, series_at(&rows, time));
	return r;
}

/* What the row that is open in live is to hold; false where it cannot be had, or is so already. */
static bool make_open(struct heal *h, int64_t first, struct consolidate_row *ret)
{
	const struct consolidate_row has = consolidate_open(h->live, h->rra, h->ds);

	if (make_row(h, first, h->pdps->now, ret))
		return ret->known > has.known;
	/* Live's part has no rows of one PDP.  But where nothing of it is known, nothing is missing;
	 * and once it was completed, it holds what the source gives. */
	if (from_prep(h, ret)) {
		ret->unknown += (uint64_t)((h->pdps->now - h->pdps->cut) / h->pdps->step);
		if (!has.known)
			return ret->known;
		if (has.known == ret->known && has.value == ret->value)
			return false;
	}
	h->plan->unhealed++;
	return false;
}

static int heal_open(struct heal *h)
{
	int64_t first = rrd_newest(h->live, h->rra) + h->pdps->step;
	struct consolidate_row row;

	if (first > h->pdps->now || first > h->pdps->cut || !make_open(h, first, &row))
		return 0;
	/* The last PDP of a row is all that LAST will look at. */
	if (row.cf == CF_LAST)
		row.value = layout_cdp_double(&h->live->head, h->live->bytes, h->rra, h->ds,
					      CDP_VAL);
	const struct plan_open open = {
		(uint32_t)h->rra, (uint32_t)h->ds, row.value, row.unknown
	};
	return plan_put_open(h->plan, h->live, &open);
}

/* Where live knows a row otherwise than the source alone would have it, live has a part in it, though
 * its later rows look as if it had begun only then. */
static bool had_begun(struct heal *h)
{
	for (h->rra = 0; h->rra < h->live->head.rra_cnt; h->rra++) {
		const struct layout_rra *def = &h->live->head.rra[h->rra];
		int64_t resolution = layout_resolution(&h->live->head, h->rra);
		int64_t time = series_end_of(h->pdps->cut, resolution);
		struct series rows = series_of(h->live, h->rra, h->ds);
		struct consolidate_row row;

		if (!consolidate_does(def->cf) || def->cf == CF_LAST || def->pdp_cnt == 1 ||
		    !series_reaches(&rows, time) || isnan(series_at(&rows, time)))
			continue;
		if (make_row(h, time - resolution + h->pdps->step, time, &row) &&
		    differs(series_at(&rows, time), consolidate_end(&row, def->xff)))
			return true;
	}
	return false;
}

static int heal_ds(struct heal *h)
{
	int r = 0;

	if (!series_reaches(&h->pdps->fine, h->pdps->cut + h->pdps->step) && had_begun(h))
		pdps_distrust(h->pdps);
	for (h->rra = 0; h->rra < h->live->head.rra_cnt && !r; h->rra++) {
		const struct layout_rra *def = &h->live->head.rra[h->rra];

		if (!consolidate_does(def->cf))
			continue;
		r = heal_rows(h);
		if (!r && def->pdp_cnt > 1)
			r = heal_open(h);
	}
	return r;
}

int seam_heal(struct plan *plan, struct rrd *live, const struct plan_source *source,
	      unsigned sources, const struct plan_options *options, struct pdps *pdps)
{
	int r = 0;

	for (uint64_t ds = 0; ds < live->head.ds_cnt && !r; ds++) {
		struct heal heal = {
			.plan = plan,
			.live = live,
			.pdps = pdps,
			.ds = ds,
			.rebuild = options->rebuild,
		};
		bool any;

		r = pdps_look(pdps, live, source, sources, ds, &any);
		if (!r && any)
			r = heal_ds(&heal);
	}
	return r;
}
