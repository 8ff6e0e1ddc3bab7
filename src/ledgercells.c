#include "config.h"
#include "ledgerint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

void ledger_cells_free(struct ledger_cells *cells)
{
	for (size_t i = 0; i < cells->runs; i++)
		free((void *)(uintptr_t)cells->run[i].old);
	free(cells->run);
	free(cells->open);
	memset(cells, 0, sizeof(*cells));
}

/* ---- lists ---- */

static int grow(void **array, size_t *capacity, size_t used, size_t size)
{
	size_t wanted = *capacity ? *capacity * 2 : 16;
	void *grown;

	if (used < *capacity)
		return 0;
	grown = reallocarray(*array, wanted, size);
	if (!grown)
		return -ENOMEM;
	*array = grown;
	*capacity = wanted;
	return 0;
}

int ledgercells_add(struct ledger_cells *cells, const struct ledger_run *run)
{
	double *old = NULL;
	void *array = cells->run;

	if (grow(&array, &cells->run_capacity, cells->runs, sizeof(*run)))
		return -ENOMEM;
	cells->run = array;
	if (run->old) {
		old = reallocarray(NULL, run->count, sizeof(*old));
		if (!old)
			return -ENOMEM;
		memcpy(old, run->old, run->count * sizeof(*old));
	}
	cells->run[cells->runs] = *run;
	cells->run[cells->runs++].old = old;
	return 0;
}

int ledgercells_add_open(struct ledger_cells *cells, const struct ledger_open_row *row)
{
	void *array = cells->open;

	if (grow(&array, &cells->open_capacity, cells->opens, sizeof(*row)))
		return -ENOMEM;
	cells->open = array;
	cells->open[cells->opens++] = *row;
	return 0;
}

static int compare_runs(const void *left, const void *right)
{
	const struct ledger_run *a = left, *b = right;

	if (a->rra != b->rra)
		return a->rra < b->rra ? -1 : 1;
	if (a->ds != b->ds)
		return a->ds < b->ds ? -1 : 1;
	return (a->first > b->first) - (a->first < b->first);
}

bool ledgercells_are_sorted(const struct ledger_run *run, size_t runs)
{
	for (size_t i = 1; i < runs; i++)
		if (compare_runs(&run[i - 1], &run[i]) > 0)
			return false;
	return true;
}

void ledgercells_sort(struct ledger_cells *cells)
{
	if (!ledgercells_are_sorted(cells->run, cells->runs))
		qsort(cells->run, cells->runs, sizeof(*cells->run), compare_runs);
}

/* ---- rows ---- */

int64_t ledgercells_end(const struct ledger_run *run)
{
	return run->first + (int64_t)(run->count * run->step);
}

/* A few are for all lengths, the others four times as far from the newest each. */
uint64_t ledger_sampled(uint64_t count, unsigned k)
{
	if (count <= LEDGER_SAMPLES)
		return count - 1 - k;
	return count - 1 - (k ? (count - 1) >> 2 * (LEDGER_SAMPLES - 1 - k) : 0);
}

uint8_t ledger_sample(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	/* splitmix64 */
	bits = (bits ^ bits >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	bits = (bits ^ bits >> 27) * UINT64_C(0x94d049bb133111eb);
	return (uint8_t)(bits >> 56);
}

/* ---- sets ---- */

/* Which rows of `a` are in `b` too: [*ret_from, *ret_to) of a's. */
static bool overlap(const struct ledger_run *a, const struct ledger_run *b, uint64_t *ret_from,
		    uint64_t *ret_to)
{
	int64_t step = a->step, from, to;

	if (a->rra != b->rra || a->ds != b->ds || a->step != b->step)
		return false;
	from = b->first > a->first ? b->first : a->first;
	to = ledgercells_end(b) < ledgercells_end(a) ? ledgercells_end(b) : ledgercells_end(a);
	if (from >= to)
		return false;
	*ret_from = (uint64_t)((from - a->first) / step);
	*ret_to = (uint64_t)((to - a->first) / step);
	return true;
}

static struct ledger_run piece_of(const struct ledger_run *run, uint64_t from, uint64_t to)
{
	struct ledger_run piece = *run;

	piece.first += (int64_t)(from * run->step);
	piece.count = to - from;
	piece.old = run->old ? run->old + from : NULL;
	if (piece.count != run->count)
		piece.samples = 0;
	return piece;
}

/* Ends before any row of `b` begins, or is of an earlier RRA or DS. */
static bool is_before(const struct ledger_run *a, const struct ledger_run *b)
{
	if (a->rra != b->rra || a->ds != b->ds)
		return compare_runs(a, b) < 0;
	return ledgercells_end(a) <= b->first;
}

static int add_piece(struct ledger_cells *to, const struct ledger_run *run, uint64_t from,
		     uint64_t end)
{
	struct ledger_run piece = piece_of(run, from, end);

	return from < end ? ledgercells_add(to, &piece) : 0;
}

int ledgercells_subtract(struct ledger_cells *from, const struct ledger_cells *what)
{
	struct ledger_cells left = { NULL, 0, 0, NULL, 0, 0 };
	size_t first = 0;
	int r = 0;

	for (size_t i = 0; i < from->runs && !r; i++) {
		const struct ledger_run *run = &from->run[i];
		uint64_t next = 0, begin, end;

		while (first < what->runs && is_before(&what->run[first], run))
			first++;
		for (size_t n = first; n < what->runs && !r && !is_before(run, &what->run[n]);
		     n++) {
			if (!overlap(run, &what->run[n], &begin, &end))
				continue;
			r = add_piece(&left, run, next, begin);
			next = end;
		}
		if (!r)
			r = add_piece(&left, run, next, run->count);
	}
	if (r) {
		ledger_cells_free(&left);
		return r;
	}
	left.open = from->open;
	left.opens = from->opens;
	left.open_capacity = from->open_capacity;
	from->open = NULL;
	from->opens = 0;
	ledger_cells_free(from);
	*from = left;
	return 0;
}

/* The rows [begin, end) of `run` as `below` has them. */
static int add_sunk(struct ledger_cells *to, const struct ledger_run *run, uint64_t begin,
		    uint64_t end, const struct ledger_run *below)
{
	struct ledger_run piece = piece_of(run, begin, end);

	piece.old = below->old
		? below->old + (uint64_t)((piece.first - below->first) / below->step) : NULL;
	return ledgercells_add(to, &piece);
}

int ledgercells_sink(struct ledger_cells *cells, const struct ledger_cells *below)
{
	struct ledger_cells sunk = { NULL, 0, 0, NULL, 0, 0 };
	size_t first = 0;
	int r = 0;

	for (size_t i = 0; i < cells->runs && !r; i++) {
		const struct ledger_run *run = &cells->run[i];
		uint64_t next = 0, begin, end;

		while (first < below->runs && is_before(&below->run[first], run))
			first++;
		for (size_t n = first; run->old && n < below->runs && !r
		     && !is_before(run, &below->run[n]); n++) {
			if (!overlap(run, &below->run[n], &begin, &end))
				continue;
			r = add_piece(&sunk, run, next, begin);
			if (!r)
				r = add_sunk(&sunk, run, begin, end, &below->run[n]);
			next = end;
		}
		if (!r)
			r = add_piece(&sunk, run, next, run->count);
	}
	if (!r) {
		struct ledger_cells was = *cells;

		*cells = sunk;
		cells->open = was.open;
		cells->opens = was.opens;
		cells->open_capacity = was.open_capacity;
		was.open = NULL;
		sunk = was;
	}
	ledger_cells_free(&sunk);
	return r;
}

static bool same_old(const struct ledger_run *run, uint64_t begin, uint64_t end,
		     const struct ledger_run *other)
{
	int64_t shift = (run->first - other->first) / run->step;

	if (!run->old || !other->old)
		return run->old == other->old;
	return !memcmp(run->old + begin, other->old + ((int64_t)begin + shift),
		       (end - begin) * sizeof(*run->old));
}

static bool has_open(const struct ledger_cells *cells, const struct ledger_open_row *row)
{
	for (size_t i = 0; i < cells->opens; i++) {
		const struct ledger_open_row *open = &cells->open[i];

		if (open->rra == row->rra && open->ds == row->ds)
			return !memcmp(&open->old_val, &row->old_val, sizeof(double))
				&& !memcmp(&open->new_val, &row->new_val, sizeof(double))
				&& open->old_unkn == row->old_unkn
				&& open->new_unkn == row->new_unkn;
	}
	return false;
}

bool ledgercells_within(const struct ledger_cells *inner, const struct ledger_cells *outer)
{
	size_t first = 0;

	for (size_t i = 0; i < inner->runs; i++) {
		const struct ledger_run *run = &inner->run[i];
		uint64_t next = 0, begin, end;

		while (first < outer->runs && is_before(&outer->run[first], run))
			first++;
		for (size_t n = first; n < outer->runs && next < run->count; n++) {
			const struct ledger_run *other = &outer->run[n];

			if (!overlap(run, other, &begin, &end) || begin != next
			    || other->kind != run->kind || other->source != run->source
			    || !same_old(run, begin, end, other))
				break;
			next = end;
		}
		if (next < run->count)
			return false;
	}
	for (size_t i = 0; i < inner->opens; i++)
		if (!has_open(outer, &inner->open[i]))
			return false;
	return true;
}
