/* reshape: random outages where live has other RRAs than the backup, or another step, merged and
 * held against what the rules make of each cell.
 *
 *     reshape [RRDMERGE [RRDMERGD]]            the environment: trial.h
 *
 * The truth is a file with live's structure and rows enough for all of the stream, which lives
 * through all of it and gets one update of unknown at T2.  What a cell must hold that live did not
 * know, the first of these deciding that applies:
 *     copied         where the backup's ring holds the row of the same CF, resolution and time, and
 *                    it is known: that, to the bit
 *     from PDPs      where the backup has rows of one PDP, of whatever CF, for all of it: as the
 *                    truth, if the step is the same; if the backup's is smaller, consolidated by
 *                    time, first to live's PDPs, then to rows; if it is greater, not so
 *     from rows      where finer RRAs of the same CF reach over all of it: consolidated by time,
 *                    with live's xff, from the finest of those of which no row crosses its ends,
 *                    or else of all
 *     spread         where it ends before the oldest row of all RRAs that it could have been made
 *                    from (LAST excepted): the value of the finest coarser RRA of the same CF that
 *                    reaches over it, known or not
 *     seam           all else: unknown or, where a part of it is after the backup's last row, as
 *                    the truth; where the steps differ, within the range of what it may come from
 * A row that the backup holds and does not know may be made from PDPs, or is a seam.  A cell is
 * never known where all of it lies in the hole.
 *
 * A seam must be healed where the step is the same, the backup has rows of one PDP or the same RRA,
 * and live has rows of one PDP; later updates then complete the open rows like the truth's.
 * Elsewhere they come out like these or as if there had been no merge. */
#include "config.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

#include "specimen.h"
#include "trial.h"

enum { KEPT, COPIED, FROM_PDPS, FROM_ROWS, SPREAD, SEAM, UNKNOWN, OPEN_RIGHT, OPEN_UNHEALED,
       UNHEALED, IN_RANGE, CHANGED, NOT_COPIED, WRONG_COPY, NOT_FROM_PDPS, WRONG_PDPS,
       NOT_FROM_ROWS, WRONG_ROWS, NOT_SPREAD, WRONG_SPREAD, IN_HOLE, NOT_HEALED, WRONG_SEAM,
       OUT_OF_RANGE, INVENTED, OPEN_WRONG, OPEN_NOT_HEALED, VERDICTS };

static const char *const names[VERDICTS] = {
	"known before", "copied", "made from rows of one PDP", "made from finer rows", "spread",
	"seam row right", "unknown, rightly", "open row completed", "open row as if not merged",
	"seam row unhealed", "seam row of another step, in range", "KNOWN CELL CHANGED",
	"NOT COPIED", "WRONG COPY", "NOT MADE FROM ROWS OF ONE PDP", "WRONG FROM ROWS OF ONE PDP",
	"NOT MADE FROM FINER ROWS", "WRONG FROM FINER ROWS", "NOT SPREAD", "WRONG SPREAD",
	"KNOWN IN THE HOLE", "NOT HEALED", "WRONG SEAM ROW", "OUT OF RANGE", "INVENTED",
	"WRONG OPEN ROW", "OPEN ROW NOT HEALED"
};

/* ---- the structure ---- */

static unsigned random_rows(unsigned pdp_cnt, unsigned ample)
{
	if (pdp_cnt == 1 && specimen_chance(40))
		return 300 + (unsigned)specimen_below(1500);
	return 4 + (unsigned)outage_any_size(ample);
}

/* Two alike are seldom. */
static void add_archive(struct outage_shape *s, const char *cf, unsigned pdp_cnt, double xff,
			unsigned rows)
{
	for (unsigned i = 0; i < s->rra_cnt; i++)
		if (s->rra[i].cf == cf && s->rra[i].pdp_cnt == pdp_cnt && !specimen_chance(5))
			return;
	outage_add_archive(s, cf, pdp_cnt, xff, rows);
}

/* Some that another shape has too, at other steps by the second. */
static void take_archives(struct outage_shape *s, const struct outage_shape *other, unsigned ample)
{
	unsigned percent = specimen_chance(50) ? 60 : 15;

	for (unsigned i = 0; i < other->rra_cnt; i++) {
		const struct outage_archive *rra = &other->rra[i];
		time_t size = other->step * (time_t)rra->pdp_cnt;
		unsigned pdp_cnt = (unsigned)(size / s->step);

		if (size % s->step == 0 && specimen_chance(percent))
			add_archive(s, rra->cf, pdp_cnt, specimen_chance(50) ? rra->xff
				    : outage_random_xff(), specimen_chance(30) ? rra->row_cnt
				    : random_rows(pdp_cnt, ample));
	}
}

static void choose_archives(struct outage_shape *s, const struct outage_shape *other)
{
	static const char *const cfs[] = { "AVERAGE", "MIN", "MAX", "LAST" };
	static const unsigned counts[] = { 1, 2, 3, 5, 6, 7, 12, 30, 60, 360 };
	unsigned kinds = 1 + (unsigned)specimen_below(4);
	unsigned ample = specimen_chance(40) ? 1000 : specimen_chance(60) ? 150 : 12;
	unsigned thin = specimen_chance(50) ? 85 : 40;
	double xff = outage_random_xff();
	bool same_xff = specimen_chance(50);

	if (other)
		take_archives(s, other, ample);
	for (unsigned i = 0; i < kinds; i++) {
		unsigned pdp_cnt = i == 0 && specimen_chance(60) ? 1
			: counts[specimen_below(sizeof(counts) / sizeof(*counts))];

		for (unsigned cf = 0; cf < 4; cf++)
			if (specimen_chance(thin))
				add_archive(s, cfs[cf], pdp_cnt, same_xff ? xff
					    : outage_random_xff(), random_rows(pdp_cnt, ample));
	}
	if (s->rra_cnt == 0)
		add_archive(s, cfs[specimen_below(4)], counts[specimen_below(4)], xff,
			    10 + (unsigned)specimen_below(90));
	outage_shuffle(s);
}

static void shuffle_sources(struct outage *o)
{
	for (unsigned i = o->ds_cnt - o->computes; i > 1; i--) {
		unsigned j = (unsigned)specimen_below(i), swap = o->new.order[i - 1];

		o->new.order[i - 1] = o->new.order[j];
		o->new.order[j] = swap;
	}
}

static void choose_steps(struct outage *o)
{
	static const time_t steps[] = { 1, 10, 60, 300 };
	static const time_t pairs[][2] = {
		{ 60, 300 }, { 300, 60 }, { 10, 60 }, { 60, 10 }, { 60, 90 }, { 90, 60 }, { 1, 10 },
		{ 300, 240 }, { 10, 300 }, { 60, 120 }
	};

	if (specimen_chance(67)) {
		o->old.step = o->new.step = steps[specimen_below(4)];
	} else {
		const time_t *pair = pairs[specimen_below(sizeof(pairs) / sizeof(*pairs))];

		o->old.step = pair[0];
		o->new.step = pair[1];
	}
	o->step = o->old.step > o->new.step ? o->old.step : o->new.step;
}

static void choose(struct outage *o)
{
	choose_steps(o);
	outage_choose_sources(o, 4);
	if (specimen_chance(30))
		shuffle_sources(o);
	choose_archives(&o->old, NULL);
	choose_archives(&o->new, specimen_chance(70) ? &o->old : NULL);
	outage_choose_streams(o, true);
	trial_choose_how(o, OUTAGE_NO_SPREAD, 15);
	trial_choose_how(o, OUTAGE_REBUILD, 20);
	trial_choose_how(o, OUTAGE_DAEMON, 5);
	if (!(o->how & (OUTAGE_DAEMON | OUTAGE_REBUILD)))
		trial_choose_how(o, OUTAGE_EXACT, 5);
}

static void make(struct outage *o)
{
	outage_create(o, &o->old, OUTAGE_BACKUP, o->t0, false);
	outage_feed(o, OUTAGE_BACKUP, &o->before, 0, o->before.count);
	outage_create(o, &o->new, OUTAGE_TRUTH, o->t0, true);
	outage_feed(o, OUTAGE_TRUTH, &o->before, 0, o->before.count);
	outage_feed_unknown(o, OUTAGE_TRUTH);
	outage_feed(o, OUTAGE_TRUTH, &o->since, 0, o->since.count);
	outage_create(o, &o->new, OUTAGE_LIVE, o->t2, false);
	outage_feed(o, OUTAGE_LIVE, &o->since, 0, o->since.count);
	outage_copy(o, OUTAGE_LIVE, OUTAGE_FRESH);
}

/* ---- rows ---- */

static bool same_step(const struct outage *o)
{
	return o->old.step == o->new.step;
}

static uint64_t old_ds(const struct outage *o, const struct outage_cell *c)
{
	return o->new.order[c->ds];
}

static time_t size_of(const struct outage_cell *c)
{
	return c->end - c->start;
}

static time_t newest_row(const struct oracle *db, uint64_t rra)
{
	return outage_floor(db->last_up, oracle_resolution(db, rra));
}

/* Where the oldest row begins. */
static time_t reach(const struct oracle *db, uint64_t rra)
{
	return newest_row(db, rra) - (time_t)db->rra[rra].row_cnt * oracle_resolution(db, rra);
}

static bool covers(const struct oracle *db, uint64_t rra, time_t start, time_t end)
{
	return reach(db, rra) <= start && newest_row(db, rra) >= end;
}

static bool same_cf(const struct outage *o, uint64_t rra, const struct outage_cell *c)
{
	return strcmp(o->old.rra[rra].cf, c->cf) == 0;
}

/* Rows of one PDP hold the same under every function; but one that is longer than live's is an
 * average of these. */
static bool is_pdps(const struct outage *o, uint64_t rra)
{
	return o->old.rra[rra].pdp_cnt == 1 && o->old.step <= o->new.step;
}

/* May the cell be made from these rows? */
static bool serves(const struct outage *o, uint64_t rra, const struct outage_cell *c)
{
	return is_pdps(o, rra) || (same_cf(o, rra, c) &&
				   oracle_resolution(&o->backup, rra) <= size_of(c));
}

/* What the RRAs of its kind know of a row together. */
static double row_of(const struct outage *o, uint64_t kind, uint64_t ds, time_t end)
{
	const struct outage_archive *archive = &o->old.rra[kind];
	double v = NAN;

	for (uint64_t rra = 0; rra < o->backup.rra_cnt && isnan(v); rra++)
		if (o->old.rra[rra].pdp_cnt == archive->pdp_cnt &&
		    (is_pdps(o, kind) || !strcmp(o->old.rra[rra].cf, archive->cf)))
			v = outage_value(&o->backup, rra, ds, end);
	return v;
}

/* A row in the making, of pieces of time. */
struct sum {
	time_t known, unknown;
	double sum, min, max, last;
};

static struct sum nothing(void)
{
	return (struct sum){ 0, 0, 0, INFINITY, -INFINITY, NAN };
}

static void add_piece(struct sum *s, double v, time_t length)
{
	s->last = v;
	if (isnan(v)) {
		s->unknown += length;
		return;
	}
	s->known += length;
	s->sum += v * (double)length;
	s->min = fmin(s->min, v);
	s->max = fmax(s->max, v);
}

/* Unknown where more than xff of it is. */
static double value_of(const struct sum *s, const char *cf, double xff)
{
	if (!s->known || (double)s->unknown > (double)(s->known + s->unknown) * xff)
		return NAN;
	return strcmp(cf, "AVERAGE") == 0 ? s->sum / (double)s->known
		: strcmp(cf, "MIN") == 0 ? s->min : strcmp(cf, "MAX") == 0 ? s->max : s->last;
}

/* What the rows of an RRA's kind have for a span. */
static struct sum sum_of(const struct outage *o, uint64_t rra, uint64_t ds, time_t start,
			 time_t end, const char *cf)
{
	time_t size = oracle_resolution(&o->backup, rra);
	struct sum s = nothing();

	for (time_t row = outage_floor(start, size) + size; row - size < end; row += size) {
		time_t from = row - size > start ? row - size : start, to = row < end ? row : end;

		/* what is last in a row that ends later was not yet so */
		if (row <= end || strcmp(cf, "LAST"))
			add_piece(&s, row_of(o, rra, ds, row), to - from);
	}
	return s;
}

/* The values of which a cell must have one: two where the share of what is unknown is xff but for
 * the rounding. */
struct answers {
	double value[2];
	unsigned count;
};

static void answer(struct answers *a, const struct sum *s, const struct outage_cell *c, double xff)
{
	a->value[0] = value_of(s, c->cf, xff * (1 + 1e-12));
	a->value[1] = value_of(s, c->cf, xff * (1 - 1e-12));
	a->count = 2;
}

static bool is_answer(const struct outage *o, const struct outage_cell *c, const struct answers *a)
{
	for (unsigned i = 0; i < a->count; i++)
		if (outage_equal(o, c->ds, c->is, a->value[i]))
			return true;
	return false;
}

/* `missing` + 1 is the verdict on another value. */
static unsigned judge_answer(const struct outage *o, const struct outage_cell *c,
			     const struct answers *a, unsigned right, unsigned missing)
{
	if (is_answer(o, c, a))
		return isnan(c->is) ? UNKNOWN : right;
	return isnan(c->is) ? missing : missing + 1;
}

/* ---- the rules, one by one ---- */

/* Is there a row of the same CF, resolution and time?  Its verdict, where it is known. */
static bool judge_copy(const struct outage *o, const struct outage_cell *c, bool *ret_known,
		       unsigned *ret_verdict)
{
	bool held = false;

	*ret_known = false;
	*ret_verdict = isnan(c->is) ? NOT_COPIED : WRONG_COPY;
	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++) {
		double v;

		if (!same_cf(o, rra, c) || oracle_resolution(&o->backup, rra) != size_of(c) ||
		    oracle_slot(&o->backup, rra, c->end) < 0)
			continue;
		held = true;
		v = outage_value(&o->backup, rra, old_ds(o, c), c->end);
		if (isnan(v))
			continue;
		*ret_known = true;
		if (outage_same(v, c->is))
			*ret_verdict = COPIED;
	}
	return held;
}

/* Rows of one PDP for all of it; where they are smaller than live's PDPs, these first. */
static bool from_pdps(const struct outage *o, const struct outage_cell *c, struct answers *a)
{
	struct sum row = nothing();

	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++) {
		if (!is_pdps(o, rra) || !covers(&o->backup, rra, c->start, c->end))
			continue;
		for (time_t end = c->start + o->new.step; end <= c->end; end += o->new.step) {
			struct sum pdp = sum_of(o, rra, old_ds(o, c), end - o->new.step, end,
						"AVERAGE");

			add_piece(&row, value_of(&pdp, "AVERAGE", 0.5), 1);
		}
		answer(a, &row, c, o->new.rra[c->rra].xff);
		if (same_step(o))
			*a = (struct answers){ { c->must_be }, 1 };
		return true;
	}
	return false;
}

/* The finest of those that do not cross its ends, or else of all. */
static bool from_rows(const struct outage *o, const struct outage_cell *c, struct answers *a)
{
	a->count = 0;
	for (int across = 0; across < 2 && !a->count; across++) {
		time_t finest = size_of(c) + 1;

		for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++) {
			time_t size = oracle_resolution(&o->backup, rra);
			struct sum s;

			if (!serves(o, rra, c) || size >= finest ||
			    (size_of(c) % size && !across) ||
			    !covers(&o->backup, rra, c->start, c->end))
				continue;
			finest = size;
			s = sum_of(o, rra, old_ds(o, c), c->start, c->end, c->cf);
			answer(a, &s, c, o->new.rra[c->rra].xff);
		}
	}
	return a->count;
}

/* Does it end before the oldest row of all RRAs that it could have been made from? */
static bool is_older(const struct outage *o, const struct outage_cell *c)
{
	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++)
		if (serves(o, rra, c) && c->end > reach(&o->backup, rra))
			return false;
	return true;
}

static bool to_spread(const struct outage *o, const struct outage_cell *c, struct answers *a)
{
	time_t finest = 0;

	a->count = 0;
	if (o->how & OUTAGE_NO_SPREAD || strcmp(c->cf, "LAST") == 0 || !is_older(o, c))
		return false;
	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++) {
		time_t size = oracle_resolution(&o->backup, rra);
		struct sum s;

		if (!same_cf(o, rra, c) || size <= size_of(c) || (finest && size >= finest) ||
		    !covers(&o->backup, rra, c->start, c->end))
			continue;
		finest = size;
		/* known where all of the rows are */
		s = sum_of(o, rra, old_ds(o, c), c->start, c->end, c->cf);
		answer(a, &s, c, 0);
	}
	return a->count;
}

/* ---- seams ---- */

/* All of it after T1's PDP and before T2's. */
static bool in_hole(const struct outage *o, const struct outage_cell *c)
{
	return c->start >= outage_floor(o->t1 + o->old.step - 1, o->old.step) &&
		c->end <= outage_floor(o->t2, o->new.step);
}

/* Is some of it after the newest row of an RRA that it could have been made from? */
static bool is_late(const struct outage *o, const struct outage_cell *c)
{
	time_t newest = o->t1;

	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++)
		if (serves(o, rra, c) && newest_row(&o->backup, rra) < newest)
			newest = newest_row(&o->backup, rra);
	return c->end > newest && c->start < o->t1;
}

/* Must the row that holds T1's PDP be had?  What came before T1 is in the backup's rows of one PDP,
 * or in the prep area of the same RRA; what came after, in live's rows of one PDP.  The last PDP of
 * a COMPUTE is nowhere. */
static bool can_be_had(const struct outage *o, const struct outage_cell *c)
{
	time_t last = outage_floor(o->t1, o->new.step);

	if (!same_step(o) || c->start >= o->t1 || c->end <= last ||
	    outage_is_compute(o, c) || !outage_live_tells(o, c))
		return false;
	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++) {
		if (is_pdps(o, rra) &&
		    (c->start == last || covers(&o->backup, rra, c->start, last)))
			return true;
		if (same_cf(o, rra, c) && oracle_resolution(&o->backup, rra) == size_of(c))
			return true;
	}
	return false;
}

static void widen(double v, double *min, double *max)
{
	if (isfinite(v)) {
		*min = fmin(*min, v);
		*max = fmax(*max, v);
	}
}

static void widen_by_rows(const struct oracle *db, uint64_t rra, uint64_t ds,
			  const struct outage_cell *c, double *min, double *max)
{
	time_t size = oracle_resolution(db, rra);

	for (time_t row = outage_floor(c->start, size) + size; row - size < c->end; row += size)
		widen(outage_value(db, rra, ds, row), min, max);
}

/* What the backup's last, unfinished PDP and CDPs say. */
static void widen_by_preps(const struct outage *o, const struct outage_cell *c, double *min,
			   double *max)
{
	const struct oracle *b = &o->backup;
	size_t at = b->header_len - b->rra_cnt * sizeof(rra_ptr_t) -
		b->rra_cnt * b->ds_cnt * sizeof(cdp_prep_t);
	time_t open = b->last_up % (time_t)b->step;
	pdp_prep_t pdp;

	memcpy(&pdp, b->bytes + at - (b->ds_cnt - old_ds(o, c)) * sizeof(pdp), sizeof(pdp));
	widen(pdp.scratch[PDP_val].u_val /
	      (double)(open - (time_t)pdp.scratch[PDP_unkn_sec_cnt].u_cnt), min, max);
	for (uint64_t rra = 0; rra < b->rra_cnt; rra++) {
		time_t from = newest_row(b, rra);
		uint64_t done = (uint64_t)((b->last_up - from) / (time_t)b->step), known;
		cdp_prep_t cdp;

		memcpy(&cdp, b->bytes + at + (rra * b->ds_cnt + old_ds(o, c)) * sizeof(cdp),
		       sizeof(cdp));
		known = done - cdp.scratch[CDP_unkn_pdp_cnt].u_cnt;
		if (b->rra[rra].pdp_cnt == 1 || !same_cf(o, rra, c) || from >= c->end || !known)
			continue;
		widen(cdp.scratch[CDP_val].u_val / (strcmp(c->cf, "AVERAGE") ? 1 : (double)known),
		      min, max);
	}
}

/* Where the steps differ: is it within the range of what it may come from? */
static bool in_range(const struct outage *o, const struct outage_cell *c)
{
	double min = INFINITY, max = -INFINITY, slack;

	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++)
		if (serves(o, rra, c))
			widen_by_rows(&o->backup, rra, old_ds(o, c), c, &min, &max);
	widen_by_preps(o, c, &min, &max);
	for (uint64_t rra = 0; rra < o->fresh.rra_cnt; rra++)
		if (o->new.rra[rra].pdp_cnt == 1 || strcmp(o->new.rra[rra].cf, c->cf) == 0)
			widen_by_rows(&o->fresh, rra, c->ds, c, &min, &max);
	slack = outage_slack(o, c->ds, min, max);
	return c->is >= min - slack && c->is <= max + slack;
}

static unsigned judge_seam(const struct outage *o, const struct outage_cell *c)
{
	if (same_step(o) && outage_equal(o, c->ds, c->is, c->must_be))
		return isnan(c->is) ? UNKNOWN : SEAM;
	if (isnan(c->is))
		return can_be_had(o, c) ? NOT_HEALED : same_step(o) ? UNHEALED : UNKNOWN;
	if (!is_late(o, c))
		return INVENTED;
	if (same_step(o))
		return WRONG_SEAM;
	return in_range(o, c) ? IN_RANGE : OUT_OF_RANGE;
}

/* A row that was complete at the merge. */
static unsigned judge_complete(const struct outage *o, const struct outage_cell *c)
{
	struct answers answers;
	unsigned verdict;
	bool known, held;

	if (!isnan(c->was) && outage_same(c->is, c->was))
		return KEPT;
	if (!isnan(c->was))
		return o->how & OUTAGE_REBUILD && c->start < o->t1 && c->end > o->t2 &&
			o->new.rra[c->rra].pdp_cnt > 1 ? judge_seam(o, c) : CHANGED;
	if (in_hole(o, c) && !isnan(c->is) &&
	    !(same_step(o) && outage_equal(o, c->ds, c->is, c->must_be)))
		return IN_HOLE;
	held = judge_copy(o, c, &known, &verdict);
	if (known)
		return verdict;
	if (o->how & OUTAGE_EXACT)
		return isnan(c->is) ? UNKNOWN : INVENTED;
	/* live's xff may make a row known that the backup's left unknown */
	if ((!held || !isnan(c->is)) && from_pdps(o, c, &answers))
		return judge_answer(o, c, &answers, FROM_PDPS, NOT_FROM_PDPS);
	if (!held && from_rows(o, c, &answers))
		return judge_answer(o, c, &answers, FROM_ROWS, NOT_FROM_ROWS);
	if (!held && to_spread(o, c, &answers))
		return judge_answer(o, c, &answers, SPREAD, NOT_SPREAD);
	return judge_seam(o, c);
}

/* A row that was open then and was completed since; c->was is its value had there been no merge. */
static unsigned judge_open(const struct outage *o, const struct outage_cell *c)
{
	bool unmerged = outage_equal(o, c->ds, c->is, c->was);

	if (o->how & OUTAGE_EXACT && !unmerged)
		return OPEN_WRONG;
	if (outage_equal(o, c->ds, c->is, c->must_be))
		return unmerged ? KEPT : OPEN_RIGHT;
	if (o->how & OUTAGE_EXACT)
		return OPEN_UNHEALED;
	if (can_be_had(o, c) && outage_live_has(o, c->start + o->new.step,
						outage_floor(o->t3, o->new.step)))
		return OPEN_NOT_HEALED;
	return unmerged ? OPEN_UNHEALED : OPEN_WRONG;
}

static void judge(struct outage *o)
{
	struct oracle truth, later, unmerged;

	outage_read(o, &truth, OUTAGE_TRUTH);
	trial_cells(o, &o->merged, &truth, &o->fresh, 0, judge_complete);
	oracle_free(&truth);
	if (!same_step(o))
		return;

	outage_feed(o, OUTAGE_LIVE, &o->further, 0, o->further.count);
	outage_feed(o, OUTAGE_FRESH, &o->further, 0, o->further.count);
	outage_feed(o, OUTAGE_TRUTH, &o->further, 0, o->further.count);
	outage_read(o, &later, OUTAGE_LIVE);
	outage_read(o, &unmerged, OUTAGE_FRESH);
	outage_read(o, &truth, OUTAGE_TRUTH);
	trial_cells(o, &later, &truth, &unmerged, o->t3, judge_open);
	oracle_free(&later);
	oracle_free(&unmerged);
	oracle_free(&truth);
}

/* What the backup has for a cell. */
static void explain(const struct outage *o, const struct outage_cell *c)
{
	for (uint64_t rra = 0; rra < o->backup.rra_cnt; rra++) {
		double min = INFINITY, max = -INFINITY;

		if (!serves(o, rra, c) && !same_cf(o, rra, c))
			continue;
		widen_by_rows(&o->backup, rra, old_ds(o, c), c, &min, &max);
		printf("    backup %s of %jd s, rows (%jd, %jd]: %.17g to %.17g\n",
		       o->old.rra[rra].cf, (intmax_t)oracle_resolution(&o->backup, rra),
		       (intmax_t)reach(&o->backup, rra), (intmax_t)newest_row(&o->backup, rra),
		       min, max);
	}
}

int main(int argc, char **argv)
{
	static const struct trial_judge reshape = {
		.name = "reshape", .choose = choose, .make = make, .judge = judge,
		.explain = explain, .verdict = names, .verdicts = VERDICTS,
		.needed = OPEN_UNHEALED, .failures = CHANGED
	};

	return trial_main(argc, argv, &reshape);
}
