/* paused: random outages, merged and held against the file that rrdtool itself would have, had the
 * old server merely paused.
 *
 *     paused [RRDMERGE [RRDMERGD]]             the environment: trial.h
 *
 * Each case has three files of one structure:
 *     truth   lives through all of the stream; at T2 it gets one update of unknown
 *     backup  is a byte copy of it as it was at T1
 *     live    is created at T2 and has what came after
 * The backup is merged into live, and every cell of live must equal the truth's; then both get the
 * same further updates, and every row completed since must be equal too.  In some cases there are
 * two backups, the second an older copy of the same file: the same must hold, nothing counts twice.
 *
 * What may differ (each recognised from T1, T2 and the structure, never from the outcome):
 *     known before   live knew the row before the merge, from its own part alone
 *     unhealed       a coarse row that holds T1 and of which the PDPs after the backup's last one
 *                    are no longer all in live's rows of one PDP; a COMPUTE's row that holds T1
 *     open unhealed  the same, of a row that was open at the merge and was completed later
 *     misplaced      a row that rrdtool gave the truth at a wrong time, as its ring is shorter than
 *                    the hole
 * Only the first and the last may hold a value that is not the truth's.
 *
 * Holt-Winters rows depend on all that came before them, so that the truth's are others: they must
 * be live's where it knew them, and else the backup's. */
#include "config.h"

#include <math.h>
#include <string.h>

#include "specimen.h"
#include "trial.h"

enum { RIGHT, SEAM_RIGHT, OPEN_RIGHT, REBUILT, KNOWN_BEFORE, HW_KEPT, HW_COPIED, UNHEALED_AFTER,
       UNHEALED_GAP, UNHEALED_COMPUTE, OPEN_UNHEALED, OPEN_AVOIDABLE, MISPLACED, WRONG, MISSING,
       CHANGED, HW_WRONG, HW_MISSING, VERDICTS };

static const char *const names[VERDICTS] = {
	"right", "seam row right", "open row completed", "rebuilt", "known before",
	"Holt-Winters as before", "Holt-Winters copied", "unhealed, live's part gone",
	"unhealed, the gap's rows gone", "unhealed COMPUTE", "open row unhealed",
	"open row unhealed, without rows of one PDP", "misplaced by rrdtool", "WRONG VALUE",
	"NOT HEALED", "KNOWN CELL CHANGED", "WRONG HOLT-WINTERS", "HOLT-WINTERS NOT COPIED"
};

/* ---- the structure ---- */

static void add_holt_winters(struct outage_shape *s)
{
	s->season = 3 + (unsigned)specimen_below(20);
	outage_add_archive(s, "HWPREDICT", 1, 0, s->season + (unsigned)specimen_below(300));
	outage_add_archive(s, "SEASONAL", 1, 0, s->season);
	outage_add_archive(s, "DEVSEASONAL", 1, 0, s->season);
	outage_add_archive(s, "DEVPREDICT", 1, 0, 10 + (unsigned)specimen_below(300));
	outage_add_archive(s, "FAILURES", 1, 0, 10 + (unsigned)specimen_below(300));
}

static void choose_archives(struct outage_shape *s)
{
	static const char *const cfs[] = { "AVERAGE", "MIN", "MAX", "LAST" };
	static const unsigned sets[][5] = {
		{ 1, 5, 30 }, { 1, 7 }, { 1, 5, 30, 360 }, { 1, 2, 3 }, { 1, 360 }, { 1, 30 },
		{ 1, 4, 12, 60 }, { 1, 7, 5, 30 }
	};
	const unsigned *set = sets[specimen_below(sizeof(sets) / sizeof(*sets))];
	bool none = specimen_chance(10), same_xff = specimen_chance(50);
	unsigned ample = specimen_chance(40) ? 1200 : specimen_chance(50) ? 200 : 12;
	double xff = outage_random_xff();

	for (unsigned i = 0; i < 5 && set[i]; i++) {
		unsigned had = s->rra_cnt;

		if (none && set[i] == 1)
			continue;
		for (unsigned cf = 0; cf < 4; cf++) {
			unsigned rows = 2 + (unsigned)outage_any_size(ample);

			if (set[i] == 1 && specimen_chance(60))
				rows = 400 + (unsigned)specimen_below(2600);
			if (specimen_chance(80))
				outage_add_archive(s, cfs[cf], set[i], same_xff ? xff
						   : outage_random_xff(), rows);
		}
		if (s->rra_cnt == had)
			outage_add_archive(s, cfs[specimen_below(4)], set[i], outage_random_xff(),
					   10 + (unsigned)specimen_below(90));
	}
	if (specimen_chance(12))
		add_holt_winters(s);
	outage_shuffle(s);
}

static void choose(struct outage *o)
{
	static const time_t steps[] = { 1, 10, 60, 300 };

	o->step = o->old.step = steps[specimen_below(4)];
	outage_choose_sources(o, 6);
	choose_archives(&o->old);
	o->new = o->old;
	o->fractions = specimen_chance(15);
	outage_choose_streams(o, false);
	trial_choose_how(o, OUTAGE_REBUILD, 30);
	trial_choose_how(o, OUTAGE_DAEMON, 33);
	if (o->how & OUTAGE_DAEMON) {
		o->how |= OUTAGE_OLDER;
		trial_choose_how(o, OUTAGE_OLDER_FIRST, 50);
	}
}

static void make(struct outage *o)
{
	outage_create(o, &o->old, OUTAGE_TRUTH, o->t0, false);
	outage_feed(o, OUTAGE_TRUTH, &o->before, 0, o->older_count);
	if (o->how & OUTAGE_OLDER)
		outage_copy(o, OUTAGE_TRUTH, OUTAGE_OLDER_COPY);
	outage_feed(o, OUTAGE_TRUTH, &o->before, o->older_count, o->before.count);
	outage_copy(o, OUTAGE_TRUTH, OUTAGE_BACKUP);
	outage_feed_unknown(o, OUTAGE_TRUTH);
	outage_feed(o, OUTAGE_TRUTH, &o->since, 0, o->since.count);
	outage_create(o, &o->new, OUTAGE_LIVE, o->t2, false);
	outage_feed(o, OUTAGE_LIVE, &o->since, 0, o->since.count);
	outage_copy(o, OUTAGE_LIVE, OUTAGE_FRESH);
}

/* ---- judging ---- */

/* An update that completes more rows than the ring holds writes the first of them, the row that was
 * open, as if it were the oldest that is still in the ring: rrdtool src/rrd_update.c,
 * update_all_cdp_prep cuts rra_step_cnt to row_cnt, and write_to_rras begins with
 * CDP_primary_val all the same.  Did the one from `last` to `now` write this cell so, and with
 * what row's value?  The end of that row, or 0. */
static time_t really(const struct outage *o, const struct outage_cell *c, time_t last, time_t now)
{
	time_t size = c->end - c->start, from = last, first;

	if (last % o->step && outage_floor(now, o->step) - outage_floor(last, o->step) > o->step)
		from = outage_floor(last, o->step) + o->step;   /* the open PDP goes first */
	first = outage_floor(from, size) + size;
	if (c->end != outage_floor(now, size) - (time_t)(o->new.rra[c->rra].row_cnt - 1) * size ||
	    c->end <= first)
		return 0;
	return first;
}

static bool misplaced(const struct outage *o, const struct outage_cell *c)
{
	const struct outage_stream *streams[] = { &o->since, &o->further };
	time_t last = o->t2;

	if (really(o, c, o->t1, o->t2))
		return isnan(c->is);    /* live was not there to make the mistake */
	for (unsigned s = 0; s < 2; s++)
		for (size_t i = 0; i < streams[s]->count; last = streams[s]->time[i++]) {
			time_t end = really(o, c, last, streams[s]->time[i]);

			if (end && end > o->t1 && end - (c->end - c->start) < o->t1)
				return true;
		}
	return false;
}

static bool is_coarse_seam(const struct outage *o, const struct outage_cell *c)
{
	return o->new.rra[c->rra].pdp_cnt > 1 && outage_holds(c, o->t1);
}

static unsigned judge_holt_winters(const struct outage *o, const struct outage_cell *c)
{
	const struct oracle *copies[] = { &o->backup, &o->older };
	unsigned verdict = isnan(c->is) ? HW_KEPT : HW_WRONG;

	if (!isnan(c->was) || strstr(c->cf, "SEASONAL"))
		return outage_same(c->is, c->was) ? HW_KEPT : CHANGED;
	for (unsigned i = 0; i < (o->how & OUTAGE_OLDER ? 2 : 1); i++) {
		double value = outage_value(copies[i], c->rra, c->ds, c->end);

		if (!isnan(value) && outage_same(c->is, value))
			return HW_COPIED;
		if (!isnan(value) && isnan(c->is))
			verdict = HW_MISSING;
	}
	return verdict;
}

static unsigned right(const struct outage *o, const struct outage_cell *c)
{
	if (isnan(c->must_be))
		return RIGHT;
	if (!isnan(c->was) && !outage_equal(o, c->ds, c->is, c->was))
		return REBUILT;
	return outage_holds(c, o->t1) || outage_holds(c, o->t2) ? SEAM_RIGHT : RIGHT;
}

/* A row that was complete at the merge. */
static unsigned judge_complete(const struct outage *o, const struct outage_cell *c)
{
	bool had = outage_live_tells(o, c), rebuild = o->how & OUTAGE_REBUILD;

	if (!outage_consolidates(c->cf))
		return judge_holt_winters(o, c);
	if (!isnan(c->was) && !outage_same(c->is, c->was) && !(rebuild && is_coarse_seam(o, c)))
		return CHANGED;
	if (outage_equal(o, c->ds, c->is, c->must_be))
		return right(o, c);
	if (!isnan(c->was) && outage_same(c->is, c->was) && is_coarse_seam(o, c) &&
	    c->end > o->t2 && (!rebuild || !had || outage_is_compute(o, c)))
		return KNOWN_BEFORE;
	if (misplaced(o, c))
		return MISPLACED;
	if (!isnan(c->is))
		return WRONG;
	if (outage_is_compute(o, c) && outage_holds(c, o->t1))
		return UNHEALED_COMPUTE;
	if (is_coarse_seam(o, c) && !had)
		return c->end > o->t2 ? UNHEALED_AFTER : UNHEALED_GAP;
	return MISSING;
}

/* A row that was completed since the merge. */
static unsigned judge_open(const struct outage *o, const struct outage_cell *c)
{
	if (!outage_consolidates(c->cf))
		return TRIAL_SKIP;
	if (outage_equal(o, c->ds, c->is, c->must_be))
		return is_coarse_seam(o, c) && !isnan(c->is) ? OPEN_RIGHT : RIGHT;
	if (is_coarse_seam(o, c)) {
		if (outage_is_compute(o, c) || !outage_live_tells(o, c))
			return OPEN_UNHEALED;
		if (!outage_live_has(o, c->start + o->step, outage_floor(o->t3, o->step)))
			return OPEN_AVOIDABLE;
	}
	if (misplaced(o, c))
		return MISPLACED;
	return isnan(c->is) ? MISSING : WRONG;
}

static void judge(struct outage *o)
{
	struct oracle later, truth;

	outage_read(o, &truth, OUTAGE_TRUTH);
	trial_cells(o, &o->merged, &truth, &o->fresh, 0, judge_complete);
	oracle_free(&truth);

	outage_feed(o, OUTAGE_TRUTH, &o->further, 0, o->further.count);
	outage_feed(o, OUTAGE_LIVE, &o->further, 0, o->further.count);
	outage_read(o, &truth, OUTAGE_TRUTH);
	outage_read(o, &later, OUTAGE_LIVE);
	trial_cells(o, &later, &truth, &o->fresh, o->t3, judge_open);
	oracle_free(&truth);
	oracle_free(&later);
}

int main(int argc, char **argv)
{
	static const struct trial_judge paused = {
		.name = "paused", .choose = choose, .make = make, .judge = judge,
		.verdict = names, .verdicts = VERDICTS, .needed = UNHEALED_AFTER, .failures = WRONG
	};

	return trial_main(argc, argv, &paused);
}
