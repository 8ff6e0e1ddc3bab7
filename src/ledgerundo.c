#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* The merges of one file, oldest first, and which of them an undo takes. */
struct site {
	const struct recorded *merge;
	size_t count;
	const bool *taken;
	uint64_t ino, identity;
};

static bool is_same(const struct recorded *merge, uint64_t ino, uint64_t identity)
{
	return merge->ino == ino && merge->identity == identity;
}

/* Not undone, this undo done. */
static bool is_alive(const struct site *site, size_t n)
{
	const struct recorded *merge = &site->merge[n];

	return is_same(merge, site->ino, site->identity) && !merge->undone && !site->taken[n];
}

static bool is_dead(const struct site *site, size_t n)
{
	const struct recorded *merge = &site->merge[n];

	return is_same(merge, site->ino, site->identity) && (merge->undone || site->taken[n]);
}

static int copy_runs(const struct ledger_cells *from, struct ledger_cells *to)
{
	int r = 0;

	for (size_t i = 0; i < from->runs && !r; i++)
		r = ledgercells_add(to, &from->run[i]);
	return r;
}

static bool has_old(const struct ledger_cells *cells)
{
	for (size_t i = 0; i < cells->runs; i++)
		if (cells->run[i].old)
			return true;
	return false;
}

/* Moves the cells that `other` has too from `cells` to `to`. */
static int move_common(struct ledger_cells *cells, const struct ledger_cells *other,
		       struct ledger_cells *to)
{
	struct ledger_cells common = { NULL, 0, 0, NULL, 0, 0 };
	int r = copy_runs(cells, &common);

	if (!r)
		r = ledgercells_subtract(cells, other);
	if (!r)
		r = ledgercells_subtract(&common, cells);
	if (!r)
		r = copy_runs(&common, to);
	ledger_cells_free(&common);
	return r;
}

static int copy_unknown(const struct ledger_cells *from, struct ledger_cells *to)
{
	int r = 0;

	for (size_t i = 0; i < from->runs && !r; i++)
		if (!from->run[i].old)
			r = ledgercells_add(to, &from->run[i]);
	return r;
}

/* Takes away what belongs to a later merge.  Where that was to overwrite something and is not done,
 * nobody knows what the cell holds: perhaps what is to be undone now. */
static int take_owned(struct ledger_cells *cells, const struct recorded *later)
{
	struct ledger_cells owned = { NULL, 0, 0, NULL, 0, 0 };
	int r;

	if (later->stage == LEDGER_IS_DONE)
		return ledgercells_subtract(cells, &later->cells);
	r = copy_unknown(&later->cells, &owned);
	if (!r)
		r = ledgercells_subtract(cells, &owned);
	ledger_cells_free(&owned);
	return r;
}

/* The old value that `cells` have for a cell; NULL: none. */
static const double *find_old(const struct ledger_cells *cells, const struct ledger_run *like,
			      int64_t time)
{
	for (size_t i = 0; i < cells->runs; i++) {
		const struct ledger_run *run = &cells->run[i];

		if (run->rra == like->rra && run->ds == like->ds && run->step == like->step
		    && time >= run->first
		    && time < run->first + (int64_t)(run->count * run->step))
			return run->old ? run->old + (time - run->first) / run->step : NULL;
	}
	return NULL;
}

/* Is that what a merge before number `n` found in the cell, and so older than what `n` has made? */
static bool stood_before(const struct site *site, size_t n, const struct ledger_run *cell, double value)
{
	while (n-- > 0) {
		const double *old = is_same(&site->merge[n], site->ino, site->identity)
			? find_old(&site->merge[n].cells, cell, cell->first) : NULL;

		if (old && !memcmp(old, &value, sizeof(value)))
			return true;
	}
	return false;
}

/* What of merge `n`, which is not undone, stands under `cells`, so that their old values are its
 * own. Where it is not done, and they have the value that it was to overwrite, or one that is older
 * still, it has not come there. */
static int find_standing(const struct site *site, size_t n, const struct ledger_cells *cells,
			 struct ledger_cells *to)
{
	const struct recorded *below = &site->merge[n];
	int r = below->stage == LEDGER_IS_DONE ? copy_runs(&below->cells, to)
		: copy_unknown(&below->cells, to);

	if (below->stage == LEDGER_IS_DONE)
		return r;
	for (size_t i = 0; i < below->cells.runs && !r; i++) {
		struct ledger_run cell = below->cells.run[i];
		const double *was = cell.old;

		cell.count = 1;
		for (uint64_t k = 0; was && k < below->cells.run[i].count && !r; k++) {
			const double *old = find_old(cells, &cell, cell.first);

			cell.old = &was[k];
			if (old && memcmp(old, cell.old, sizeof(*old)) &&
			    !stood_before(site, n, &cell, *old))
				r = ledgercells_add(to, &cell);
			cell.first += cell.step;
		}
	}
	ledgercells_sort(to);
	return r;
}

static int stop_at(const struct site *site, size_t n, struct ledger_cells *cells,
		   struct ledger_cells *to)
{
	struct ledger_cells standing = { NULL, 0, 0, NULL, 0, 0 };
	int r = find_standing(site, n, cells, &standing);

	if (!r)
		r = move_common(cells, &standing, to);
	ledger_cells_free(&standing);
	return r;
}

/* The cells of merge `n` that it owns, with what stood there before all merges undone by then. */
static int give_back(const struct site *site, size_t n, struct ledger_cells *to)
{
	struct ledger_cells cells = { NULL, 0, 0, NULL, 0, 0 };
	int r = copy_runs(&site->merge[n].cells, &cells);

	/* Of what this undo takes, the latest gives a cell back. */
	for (size_t later = n + 1; later < site->count && !r; later++)
		if (site->taken[later])
			r = ledgercells_subtract(&cells, &site->merge[later].cells);
		else if (is_alive(site, later))
			r = take_owned(&cells, &site->merge[later]);
	for (size_t below = n; below-- > 0 && !r && has_old(&cells); ) {
		if (is_dead(site, below))
			r = ledgercells_sink(&cells, &site->merge[below].cells);
		else if (is_alive(site, below))
			r = stop_at(site, below, &cells, to);
	}
	if (!r)
		r = copy_runs(&cells, to);
	ledger_cells_free(&cells);
	return r;
}

static const struct ledger_open_row *find_open(const struct recorded *merge, int64_t last_up,
					       const struct ledger_open_row *like)
{
	if (merge->last_up != last_up)
		return NULL;
	for (size_t i = 0; i < merge->cells.opens; i++) {
		const struct ledger_open_row *row = &merge->cells.open[i];

		if (row->rra == like->rra && row->ds == like->ds)
			return row;
	}
	return NULL;
}

/* What the open row was before all merges undone by then. */
static struct ledger_open_row sink_open(const struct site *site, size_t n,
					struct ledger_open_row row)
{
	int64_t last_up = site->merge[n].last_up;

	while (n-- > 0) {
		const struct ledger_open_row *below = find_open(&site->merge[n], last_up, &row);

		if (!below || below->new_unkn != row.old_unkn
		    || memcmp(&below->new_val, &row.old_val, sizeof(double)))
			continue;
		if (!is_dead(site, n))
			break;
		row.old_val = below->old_val;
		row.old_unkn = below->old_unkn;
	}
	return row;
}

static bool owns_open(const struct site *site, size_t n, const struct ledger_open_row *row)
{
	for (size_t later = n + 1; later < site->count; later++)
		if ((site->taken[later] || (is_alive(site, later)
					    && site->merge[later].stage == LEDGER_IS_DONE))
		    && find_open(&site->merge[later], site->merge[n].last_up, row))
			return false;
	return true;
}

static int give_back_open(const struct site *site, struct ledger_undo *undo)
{
	for (size_t n = 0; n < site->count; n++)
		if (site->taken[n] && site->merge[n].cells.opens
		    && site->merge[n].last_up > undo->last_up)
			undo->last_up = site->merge[n].last_up;
	for (size_t n = 0; n < site->count; n++)
		for (size_t i = 0; site->taken[n] && i < site->merge[n].cells.opens; i++) {
			const struct recorded *merge = &site->merge[n];
			struct ledger_open_row row = merge->cells.open[i];

			if (!owns_open(site, n, &row))
				continue;
			if (merge->last_up != undo->last_up) {
				undo->healed++;
				continue;
			}
			row = sink_open(site, n, row);
			if (ledgercells_add_open(&undo->cells, &row))
				return -ENOMEM;
		}
	return 0;
}

/* Which merges the undo takes. */
static int choose(const struct recorded *merge, size_t count, int64_t id, uint64_t ino,
		  uint64_t identity, bool *taken, struct reason *why)
{
	size_t chosen = 0, others = 0, renamed = 0, undone = 0;

	for (size_t n = 0; n < count; n++) {
		if (id && merge[n].id != id)
			continue;
		if (merge[n].undone)
			undone++;
		else if (merge[n].ino != ino)
			others++;
		else if (merge[n].identity != identity)
			renamed++;
		else
			taken[n] = true;
		chosen += taken[n];
	}
	if (chosen)
		return 0;
	if (renamed)
		reason_set(why, "cannot be undone: its data sources or archives are not those that it "
			   "had when it was merged: other names, types or sizes");
	else if (others)
		reason_set(why, "cannot be undone: the file was made anew since");
	else if (undone)
		reason_set(why, "was undone already");
	else if (id)
		reason_set(why, "has no merge %lld", (long long)id);
	else
		reason_set(why, "has nothing that could be undone");
	return REFUSED;
}

static bool has_cell(const struct ledger_cells *cells, const struct ledger_run *like, int64_t time)
{
	for (size_t i = 0; i < cells->runs; i++) {
		const struct ledger_run *run = &cells->run[i];

		if (run->rra == like->rra && run->ds == like->ds && run->step == like->step
		    && time >= run->first
		    && time < run->first + (int64_t)(run->count * run->step))
			return true;
	}
	return false;
}

/* Has a later merge written there?  One that was undone has given the cell back. */
static bool is_overwritten(const struct site *site, size_t n, const struct ledger_run *run,
			   int64_t time)
{
	for (size_t later = n + 1; later < site->count; later++)
		if ((site->taken[later] || is_alive(site, later))
		    && has_cell(&site->merge[later].cells, run, time))
			return true;
	return false;
}

/* What merge `n`, which has overwritten the cell, and those before it have found there.  False: that
 * is too much to be told. */
static bool find_before(const struct site *site, size_t n, const struct ledger_run *run, int64_t time,
			uint8_t *ret, uint8_t *ret_count)
{
	uint8_t count = 0;

	for (size_t below = n + 1; below-- > 0; ) {
		const double *old = is_same(&site->merge[below], site->ino, site->identity)
			? find_old(&site->merge[below].cells, run, time) : NULL;

		if (!old || memchr(ret, ledger_sample(*old), count))
			continue;
		if (count == LEDGER_BEFORE)
			return false;
		ret[count++] = ledger_sample(*old);
	}
	*ret_count = count;
	return true;
}

static void make_check(const struct site *site, size_t n, const struct ledger_run *run,
		       struct ledger_check *check)
{
	check->run = *run;
	check->run.old = NULL;
	/* Where it did not come to its end, what it was to overwrite may have been given back since. */
	if (run->old && site->merge[n].stage != LEDGER_IS_DONE)
		return;
	for (unsigned k = 0; k < run->samples; k++) {
		uint64_t cell = ledger_sampled(run->count, k);
		int64_t time = run->first + (int64_t)(cell * run->step);

		if (is_overwritten(site, n, run, time) ||
		    (run->old && !find_before(site, n, run, time,
					      check->at[check->samples].before,
					      &check->at[check->samples].befores)))
			continue;
		check->at[check->samples].time = time;
		check->at[check->samples++].sample = run->sample[k];
	}
}

/* What is to be found in the file, if that is still what these merges were into. */
static int add_checks(const struct site *site, struct ledger_undo *undo)
{
	size_t runs = 0;

	for (size_t n = 0; n < site->count; n++)
		runs += site->taken[n] ? site->merge[n].cells.runs : 0;
	undo->check = calloc(runs ? runs : 1, sizeof(*undo->check));
	if (!undo->check)
		return -ENOMEM;
	for (size_t n = 0; n < site->count; n++) {
		const struct ledger_cells *cells = &site->merge[n].cells;

		if (!site->taken[n])
			continue;
		if (site->merge[n].last_up > undo->newest_up)
			undo->newest_up = site->merge[n].last_up;
		for (size_t i = 0; i < cells->runs; i++)
			if (cells->run[i].samples)
				make_check(site, n, &cells->run[i], &undo->check[undo->checks++]);
	}
	return 0;
}

int ledgerundo_plan(struct recorded *merge, size_t count, int64_t id, uint64_t ino,
		    uint64_t identity, struct ledger_undo *ret, struct reason *why)
{
	struct ledger_undo undo = { .last_up = 0 };
	bool *taken = calloc(count ? count : 1, sizeof(*taken));
	struct site site = { merge, count, taken, ino, identity };
	int r = -ENOMEM;

	undo.id = calloc(count ? count : 1, sizeof(*undo.id));
	if (!taken || !undo.id)
		goto out;
	r = choose(merge, count, id, ino, identity, taken, why);
	if (r)
		goto out;
	for (size_t n = count; n-- > 0 && !r; )
		if (taken[n]) {
			undo.id[undo.ids++] = merge[n].id;
			r = give_back(&site, n, &undo.cells);
		}
	if (!r)
		r = give_back_open(&site, &undo);
	if (!r)
		r = add_checks(&site, &undo);
	if (r)
		goto out;
	ledgercells_sort(&undo.cells);
	*ret = undo;
	memset(&undo, 0, sizeof(undo));
out:
	ledger_undo_free(&undo);
	free(taken);
	return r;
}

int ledger_undo_leave(struct ledger_undo *undo)
{
	struct ledger_cells others = { NULL, 0, 0, NULL, 0, 0 };
	int r = 0;

	for (size_t i = 0; i < undo->checks && !r; i++)
		if (undo->check[i].others)
			r = ledgercells_add(&others, &undo->check[i].run);
	ledgercells_sort(&others);
	if (!r)
		r = ledgercells_subtract(&undo->cells, &others);
	ledger_cells_free(&others);
	return r;
}

void ledger_undo_free(struct ledger_undo *undo)
{
	ledger_cells_free(&undo->cells);
	free(undo->check);
	free(undo->id);
	memset(undo, 0, sizeof(*undo));
}

/* The spread ones of its runs. */
static int copy_spread(const struct ledger_cells *from, struct ledger_cells *to)
{
	int r = 0;

	for (size_t i = 0; i < from->runs && !r; i++)
		if (from->run[i].kind == LEDGER_SPREAD)
			r = ledgercells_add(to, &from->run[i]);
	return r;
}

/* Takes away what a later merge has put in its place.  One that may not have come that far, or may
 * have been undone there, leaves the cell as one that may be spread; where both spread it, it counts
 * once. */
static int take_replaced(struct ledger_cells *cells, const struct recorded *later)
{
	struct ledger_cells spread = { NULL, 0, 0, NULL, 0, 0 };
	int r;

	if (later->stage == LEDGER_IS_DONE && !later->undoing)
		return ledgercells_subtract(cells, &later->cells);
	r = copy_spread(&later->cells, &spread);
	if (!r)
		r = ledgercells_subtract(cells, &spread);
	ledger_cells_free(&spread);
	return r;
}

static int find_spread(const struct recorded *merge, size_t count, const bool *taken,
		       struct ledger_cells *to)
{
	int r = 0;

	for (size_t n = 0; n < count && !r; n++) {
		struct ledger_cells cells = { NULL, 0, 0, NULL, 0, 0 };

		if (!taken[n])
			continue;
		r = copy_spread(&merge[n].cells, &cells);
		for (size_t later = n + 1; later < count && !r; later++)
			if (taken[later])
				r = take_replaced(&cells, &merge[later]);
		if (!r)
			r = copy_runs(&cells, to);
		ledger_cells_free(&cells);
	}
	ledgercells_sort(to);
	return r;
}

int ledgerundo_spread(struct recorded *merge, size_t count, uint64_t ino, uint64_t identity,
		      struct ledger_undo *ret)
{
	struct ledger_undo found = { .last_up = 0 };
	bool *taken = calloc(count ? count : 1, sizeof(*taken));
	const struct site site = { merge, count, taken, ino, identity };
	int r = -ENOMEM;

	if (!taken)
		return r;
	for (size_t n = 0; n < count; n++)
		taken[n] = !merge[n].undone && is_same(&merge[n], ino, identity);
	r = find_spread(merge, count, taken, &found.cells);
	if (!r)
		r = add_checks(&site, &found);
	free(taken);
	if (r) {
		ledger_undo_free(&found);
		return r;
	}
	*ret = found;
	return 0;
}
