#include "config.h"
#include "mergeint.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

#define HOLD_BYTES (UINT64_C(1) << 20)  /* written under one lease at most */
#define LOCK_BYTES (UINT64_C(64) << 10) /* under a lock alone, which costs updates */
#define FREE_PLANS 3            /* plans made without the lease before one is made under it */
#define LEASE_TRIES 24          /* in one go, a few milliseconds altogether */
#define RECORDING_RETRY_MS 60000        /* the ledger tells before */
#define CROWDED_RETRY_MS 250
#define UNRECORDED_RETRY_MS 10000
#define QUIET_RETRY_MS 60000    /* a file that is not updated, where leases are refused */

static void nap(unsigned try)
{
	struct timespec t = { 0, 20000L << (try < 5 ? try : 5) };

	nanosleep(&t, NULL);
}

static int take_once(struct merge_job *job, bool unleased, struct hold *hold, struct reason *why)
{
	if (job->site->opening)
		job->site->opening(job->request->rel, job->site->opening_arg);
	return hold_take(job->root, job->request->rel, unleased, hold, why);
}

static int take(struct merge_job *job, struct hold *hold, struct reason *why)
{
	int r = -EAGAIN;

	for (unsigned try = 0; try < LEASE_TRIES; try++) {
		r = take_once(job, false, hold, why);
		if (r != -EAGAIN)
			return r;
		nap(try);
	}
	return r;
}

static void busy(struct merge_job *job)
{
	struct reason why;

	reason_set(&why, job->undo ? "is open in another process"
		   : "is open in another process: trying again until it is closed");
	merge_again(job, MERGE_BUSY, 50, "live", &why);
}

static void add_counts(struct plan_counts *sum, const struct plan_counts *now,
		       const struct plan_counts *before)
{
	sum->cells += now->cells - before->cells;
	for (int kind = 0; kind < PLAN_KINDS; kind++)
		sum->of_kind[kind] += now->of_kind[kind] - before->of_kind[kind];
	sum->opens += now->opens - before->opens;
}

static const uint64_t no_cells[LEDGER_KINDS];

/* The ledger is told at once: what it has on record must outlast a job that does not come to its
 * end. */
static void tell_written(struct merge_job *job, const struct plan_counts *now,
			 const struct plan_counts *before)
{
	struct plan_counts wrote = { 0 };

	add_counts(&wrote, now, before);
	const uint64_t cells[LEDGER_KINDS] = {
		wrote.of_kind[PLAN_EXACT], wrote.of_kind[PLAN_SEAM],
		wrote.of_kind[PLAN_CONSOLIDATED], wrote.of_kind[PLAN_SPREAD]
	};

	if (wrote.cells || wrote.opens)
		ledger_wrote(job->site->ledger, job->scratch->key, cells);
}

/* What is written is counted when it is written: a plan may not come to its end. */
static void count_written(struct merge_job *job, size_t next, struct plan_counts *counted)
{
	const struct gather *gather = &job->scratch->gather;
	const struct plan *plan = &job->scratch->plan;
	struct merge_result *result = job->result;
	struct plan_counts now = next < plan->extents
		? plan_before(plan, &job->scratch->live, plan->extent[next].offset)
		: plan->counts;
	bool first = !merge_wrote(result);

	if (first || plan->from < result->from)
		result->from = plan->from;
	if (first || plan->to > result->to)
		result->to = plan->to;
	/* An undo has no sources. */
	if (!result->source && plan->runs && plan->run[0].source < gather->inputs) {
		const struct gather_input *input = &gather->input[plan->run[0].source];

		result->source = input->source + 1;
		result->source_file = &input->file;
		result->foreign = !input->file.dump && !input->db.head.native;
	}
	if (job->site->ledger && !job->site->dry_run)
		tell_written(job, &now, counted);
	add_counts(&result->counts, &now, counted);
	*counted = now;
}

/* Has the lease or, where there is none, may do without?  Otherwise the job has ended. */
static bool may_write(struct merge_job *job, int taken, struct hold *hold, bool planned_often,
		      struct reason *why)
{
	if (taken == 0) {
		job->result->no_lease = !hold->leased;
		return true;
	}
	if (taken == -EAGAIN) {
		busy(job);
	} else if (taken == -ENOENT) {
		merge_finish(job, MERGE_GONE);
	} else if (taken == -ENOLCK) {
		struct reason quiet;

		job->result->lease_why = *why;
		reason_set(&quiet, "must wait for its next update: %s", why->text);
		if (planned_often)
			busy(job);      /* it is being updated all the time: a lock would hurt */
		else if (job->site->wait_quiet && !job->request->just_written)
			merge_again(job, MERGE_QUIET, QUIET_RETRY_MS, "live", &quiet);
		else
			return may_write(job, take_once(job, true, hold, why), hold, planned_often,
					 why);
	} else {
		merge_advise(why, taken);
		merge_note_denied(job, taken, MERGE_DENIED_WRITE);
		merge_fail(job, "live", why);
	}
	return false;
}

/* Told before anything is promised or recorded.  Otherwise the job has ended. */
static bool is_writable(struct merge_job *job)
{
	struct reason why;

	if (!faccessat(job->root, job->request->rel, W_OK, AT_EACCESS))
		return true;
	int error = -errno;
	if (error == -ENOENT) {
		merge_finish(job, MERGE_GONE);
		return false;
	}
	reason_errno(&why, -error, "cannot be opened for writing");
	merge_advise(&why, error);
	merge_note_denied(job, error, MERGE_DENIED_WRITE);
	merge_fail(job, "live", &why);
	return false;
}

/* See may_write().  What opens something comes before. */
static bool hold_live(struct merge_job *job, struct hold *hold, bool planned_often,
		      struct reason *why)
{
	if (job->site->ledger)
		record_before(job->scratch->key, job->scratch->live.stamp.dev);
	return may_write(job, take(job, hold, why), hold, planned_often, why);
}

/* A dry run promises nothing that the same user could not do. */
static void promise(struct merge_job *job)
{
	struct plan_counts counted = { 0 };

	if (!is_writable(job))
		return;
	count_written(job, job->scratch->plan.extents, &counted);
	merge_finish(job, MERGE_MERGED);
}

static void note_hold(struct merge_job *job, struct hold *hold)
{
	uint64_t held = hold_release(hold);

	job->result->holds++;
	if (held > job->result->hold_ns)
		job->result->hold_ns = held;
}

/* One hold: verify, write a part.  0 or -errno: -ESTALE plan again, -EAGAIN locked. */
static int write_part(struct merge_job *job, struct hold *hold, size_t *next)
{
	struct merge_scratch *scratch = job->scratch;
	int r = hold_verify(hold, job->root, job->request->rel, &scratch->live);

	if (!r)
		r = hold_write(hold, &scratch->live, &scratch->plan, next,
			       hold->leased ? HOLD_BYTES : LOCK_BYTES);
	note_hold(job, hold);
	return r;
}

/* ---- the record ---- */

/* Why no intention is taken.  The file is tried again, where there is time to wait for that. */
static void unrecorded(struct merge_job *job, int error)
{
	struct reason why = { "" }, ledger = { "" };

	if (error == -EPERM) {
		merge_finish(job, MERGE_HELD);
		return;
	}
	if (error == -EAGAIN) {
		reason_set(&why, "waits for its record: too many are under way");
		merge_again(job, MERGE_RECORDING, CROWDED_RETRY_MS, "live", &why);
		return;
	}
	if (error == -EIO && !ledger_ok(job->site->ledger, &ledger))
		reason_set(&why, "is not %s without a record, and the ledger does not work: %s",
			   job->undo ? "undone" : "merged", ledger.text);
	else
		reason_errno(&why, -error, "cannot be recorded");
	if (error == -EIO && !job->site->record_now)
		merge_again(job, MERGE_UNRECORDED, UNRECORDED_RETRY_MS, "live", &why);
	else
		merge_fail(job, "live", &why);
}

/* Is what is planned on record, so that it may be written?  Otherwise it is handed in, and the job
 * has ended: the file comes again when that is on disk. */
static bool is_recorded(struct merge_job *job)
{
	struct merge_scratch *scratch = job->scratch;
	struct ledger *ledger = job->site->ledger;
	struct ledger_intent intent;
	struct reason why;
	int64_t id;

	if (!ledger)
		return true;
	int r = record_intent(&scratch->record, scratch->key, &scratch->live, scratch->file_id,
			      &scratch->plan, job->undo ? NULL : &scratch->give, &intent);
	if (r) {
		unrecorded(job, r);
		return false;
	}
	if (job->undo) {
		intent.undoes = scratch->undo.id;
		intent.undone = scratch->undo.ids;
	}
	id = ledger_intended(ledger, scratch->key, job->undo ? LEDGER_UNDO : LEDGER_MERGE);
	if (id && ledger_covers(ledger, id, &intent))
		return true;
	/* An update came since, and the open rows are others.  The rest is as good as before; a turn
	 * later they are all that is left. */
	if (id && intent.opens && intent.runs) {
		intent.opens = 0;
		if (ledger_covers(ledger, id, &intent) &&
		    !plan_drop_opens(&scratch->plan, &scratch->live))
			return true;
		intent.opens = scratch->plan.counts.opens;
	}
	if (!is_writable(job))
		return false;
	r = ledger_intend(ledger, &intent, &id);
	if (r) {
		unrecorded(job, r);
		return false;
	}
	reason_set(&why, "waits for its record");
	merge_again(job, MERGE_RECORDING, RECORDING_RETRY_MS, "live", &why);
	return false;
}

/* ---- all of it ---- */

/* Plans and writes until nothing is left.  Each turn of the outer loop is one plan. */
void merge_apply(struct merge_job *job)
{
	struct plan *planned = &job->scratch->plan;
	struct hold hold = { .fd = -1 };
	unsigned stale = 0;             /* plans in a row that came to nothing */

	for (;;) {
		struct reason why = { "" };
		bool under_lease = stale >= FREE_PLANS && !job->site->dry_run;
		struct plan_counts counted = { 0 };
		size_t next = 0;
		int r = 0;

		if (under_lease && !hold_live(job, &hold, true, &why))
			return;
		int todo = job->plan(job, hold.fd);
		if (todo == -ESTALE) {
			hold_release(&hold);
			if (++stale > 10 * FREE_PLANS) {
				busy(job);
				return;
			}
			nap(stale);
			continue;
		}
		if (todo == 0 || job->site->dry_run) {
			hold_release(&hold);
			if (todo)
				promise(job);
			return;
		}
		if (!is_recorded(job)) {
			hold_release(&hold);
			return;
		}
		while (!r && next < planned->extents) {
			if (hold.fd < 0 &&
			    !hold_live(job, &hold, false, &why))
				return;
			r = write_part(job, &hold, &next);
			count_written(job, next, &counted);
			/* Nobody knows how much of it there is. */
			if (r && r != -ESTALE && r != -EAGAIN && job->site->ledger)
				ledger_wrote(job->site->ledger, job->scratch->key, no_cells);
			if (!r)
				stale = 0;
			job->result->stamp = job->scratch->live.stamp;
		}
		if (!r && !planned->dropped) {
			merge_finish(job, MERGE_MERGED);
			return;
		}
		if (!r)
			continue;
		if (r == -EAGAIN) {
			busy(job);
			return;
		}
		if (r != -ESTALE) {
			reason_errno(&why, -r, "cannot be written");
			merge_fail(job, "live", &why);
			return;
		}
		stale++;
	}
}

