#include "config.h"
#include "mergeint.h"

#include <errno.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

/* The unknown that rrdtool writes (src/rrd_format.c, rrd_set_to_DNAN): what 0/0 is on this machine,
 * which NAN is not on all. */
static double unknown(void)
{
	volatile double zero = 0;

	return zero / zero;
}

static bool same(double a, double b)
{
	return memcmp(&a, &b, sizeof(a)) == 0 || (isnan(a) && isnan(b));
}

static enum plan_kind kind_of(enum ledger_kind kind)
{
	switch (kind) {
	case LEDGER_SEAM:
		return PLAN_SEAM;
	case LEDGER_CONSOLIDATED:
		return PLAN_CONSOLIDATED;
	case LEDGER_SPREAD:
		return PLAN_SPREAD;
	default:
		return PLAN_EXACT;
	}
}

/* What is still in the ring, and is not so already. */
static int undo_run(struct merge_job *job, const struct ledger_run *run)
{
	struct rrd *live = &job->scratch->live;
	struct plan_run at = {
		.rra = run->rra,
		.ds = run->ds,
		.kind = kind_of(run->kind),
		.undone = true,
	};
	int r = 0;

	if (run->rra >= live->head.rra_cnt || run->ds >= live->head.ds_cnt ||
	    layout_resolution(&live->head, run->rra) != run->step)
		return 0;
	struct series rows = series_of(live, run->rra, run->ds);
	for (uint64_t n = 0; n < run->count && !r; n++) {
		double value = run->old ? run->old[n] : NAN;

		at.first = run->first + (int64_t)(n * run->step);
		if (series_reaches(&rows, at.first) && !same(series_at(&rows, at.first), value))
			r = plan_put(&job->scratch->plan, live, &at,
				     isnan(value) ? unknown() : value);
	}
	return r;
}

static int undo_open(struct merge_job *job, const struct ledger_open_row *row)
{
	struct rrd *live = &job->scratch->live;
	const struct plan_open open = { row->rra, row->ds, row->old_val, row->old_unkn };

	/* An update has come since, and has built on it. */
	if (row->rra >= live->head.rra_cnt || row->ds >= live->head.ds_cnt ||
	    live->head.last_up != job->scratch->undo.last_up ||
	    !same(row->new_val, layout_cdp_double(&live->head, live->bytes, row->rra, row->ds,
						  CDP_VAL)) ||
	    row->new_unkn != layout_cdp_count(&live->head, live->bytes, row->rra, row->ds,
					      CDP_UNKN_PDP_CNT)) {
		job->result->healed++;
		return 0;
	}
	return plan_put_open(&job->scratch->plan, live, &open);
}

/* What the ledger says is to be taken back.  What was undone may have come back while no record was
 * kept. */
static int ask(struct merge_job *job, uint64_t identity, struct reason *why)
{
	struct merge_scratch *scratch = job->scratch;
	struct ledger *ledger = job->site->ledger;
	int r = ledger_undo(ledger, scratch->key, job->merge, scratch->file_id, identity, false,
			    &scratch->undo, why);

	scratch->undo_again = r == REFUSED &&
		!ledger_undo(ledger, scratch->key, job->merge, scratch->file_id, identity, true,
			     &scratch->undo, NULL);
	if (!scratch->undo_again)
		return r;
	scratch->undone = *why;
	why->text[0] = '\0';
	return 0;
}

/* See merge_job.plan. */
static int plan(struct merge_job *job, int fd)
{
	struct merge_scratch *scratch = job->scratch;
	struct ledger_undo *undo = &scratch->undo;
	struct reason why = { "" };
	int r = merge_read_live(job, fd);

	if (r)
		return r < 0 ? r : 0;
	uint64_t identity = record_identity(&scratch->live.head);
	/* Under the lease nothing waits for the ledger's disk: what it said before still holds. */
	if (fd < 0 || scratch->undo_file != scratch->file_id ||
	    scratch->undo_identity != identity) {
		ledger_undo_free(undo);
		*undo = (struct ledger_undo){ .last_up = 0 };
		r = ask(job, identity, &why);
		scratch->undo_file = r ? 0 : scratch->file_id;
		scratch->undo_identity = identity;
	}
	if (!r)
		r = record_heed(undo, &scratch->live, &why);
	if (r == REFUSED && scratch->undo_again)
		why = scratch->undone;
	job->result->why = why;
	if (r) {
		struct reason ledger = { "" };

		if (r < 0 && !ledger_ok(job->site->ledger, &ledger))
			reason_set(&job->result->why, "is not undone without a record, and the ledger "
				   "does not work: %s", ledger.text);
		else if (r < 0)
			reason_errno(&job->result->why, -r, "ledger cannot be asked");
		merge_finish(job, MERGE_FAILED);
		return 0;
	}
	plan_clear(&scratch->plan);
	job->result->healed = undo->healed;
	for (size_t i = 0; i < undo->cells.runs && !r; i++)
		r = undo_run(job, &undo->cells.run[i]);
	for (size_t i = 0; i < undo->cells.opens && !r; i++)
		r = undo_open(job, &undo->cells.open[i]);
	if (!r)
		r = plan_finish(&scratch->plan, &scratch->live);
	if (r) {
		reason_errno(&why, -r, "cannot be undone");
		merge_fail(job, "live", &why);
		return 0;
	}
	if (scratch->undo_again && plan_is_empty(&scratch->plan) && !merge_wrote(job->result)) {
		job->result->why = scratch->undone;
		merge_finish(job, MERGE_FAILED);
		return 0;
	}
	return 1;
}

void merge_heed_undo(struct merge_job *job)
{
	struct merge_scratch *scratch = job->scratch;
	struct ledger *ledger = job->site->ledger;
	struct ledger_begun begun;

	if (!ledger || job->site->dry_run || !ledger_is_unended(ledger, scratch->key) ||
	    ledger_begun(ledger, scratch->key, scratch->file_id,
			 record_identity(&scratch->live.head), &begun))
		return;
	/* Without memory it is said to be undone in part, as before. */
	if (record_never_begun(&begun, &scratch->live))
		ledger_never_begun(ledger, scratch->key, &begun);
	ledger_begun_free(&begun);
}

void merge_undo(struct merge_scratch *scratch, const struct merge_site *site, const char *rel,
		int64_t id, struct merge_result *ret)
{
	const struct merge_request request = { .rel = rel };
	struct merge_job job = {
		.scratch = scratch,
		.site = site,
		.request = &request,
		.result = ret,
		.plan = plan,
		.undo = true,
		.merge = id,
	};

	const struct plan_counts before = ret->counts;

	bool begun = merge_begin(&job);
	ret->counts = before;
	if (begun) {
		/* No source is asked: the ledger has it all. */
		record_begin(&scratch->record);
		scratch->gather.inputs = 0;
		merge_apply(&job);
		merge_end(&job);
	}
	if (job.root >= 0)
		close(job.root);
	ret->took_ns = io_now_ns() - job.started_ns;
}
