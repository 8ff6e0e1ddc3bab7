#include "config.h"
#include "ledgerint.h"

#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Bytes, as they stand in the database:
 *
 *    version 2 | number of runs | runs | number of open rows | open rows
 *    run: head | RRA − the one before, step (not with SAME_RRA) | DS |
 *         source, first/step − the one before's, count (not with SAME_SPAN) | old values (OLD) |
 *         eight samples, or as many as there are cells (SAMPLES)
 *    open row: RRA | DS | old unknown | new unknown | old value | new value
 *
 * Numbers are varints (seven bits a byte, the low ones first), the difference zigzag;
 * values are eight bytes, little endian.  Most runs need 3 to 12 bytes. */
#define PACKED_VERSION 2
#define HEAD_KIND 7u
#define HEAD_OLD 8u
#define HEAD_SAME_RRA 16u
#define HEAD_SAME_SPAN 32u
#define HEAD_SAMPLES 64u

#define TIME_MAX (INT64_C(1) << 40)
#define CELLS_MAX (UINT64_C(1) << 32)

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

static bool is_sorted(const struct ledger_run *run, size_t runs)
{
	for (size_t i = 1; i < runs; i++)
		if (compare_runs(&run[i - 1], &run[i]) > 0)
			return false;
	return true;
}

void ledgercells_sort(struct ledger_cells *cells)
{
	if (!is_sorted(cells->run, cells->runs))
		qsort(cells->run, cells->runs, sizeof(*cells->run), compare_runs);
}

/* ---- bytes ---- */

struct writer {
	uint8_t *bytes;
	size_t size, capacity;
	bool failed;
};

static uint8_t *room_for(struct writer *to, size_t size)
{
	if (!to->failed && to->capacity - to->size < size) {
		size_t wanted = to->capacity * 2 + size + 64;
		uint8_t *grown = realloc(to->bytes, wanted);

		if (grown) {
			to->bytes = grown;
			to->capacity = wanted;
		} else {
			to->failed = true;
		}
	}
	if (to->failed)
		return NULL;
	to->size += size;
	return to->bytes + to->size - size;
}

static void put_number(struct writer *to, uint64_t number)
{
	uint8_t digits[10];
	size_t size = 0;

	do {
		digits[size] = (uint8_t)((number & 0x7f) | (number > 0x7f ? 0x80 : 0));
		number >>= 7;
		size++;
	} while (number);
	uint8_t *at = room_for(to, size);
	if (at)
		memcpy(at, digits, size);
}

static void put_signed(struct writer *to, int64_t number)
{
	put_number(to, (uint64_t)number << 1 ^ (uint64_t)(number >> 63));
}

static void put_value(struct writer *to, double value)
{
	uint8_t *at = room_for(to, 8);
	uint64_t bits;

	memcpy(&bits, &value, 8);
	bits = htole64(bits);
	if (at)
		memcpy(at, &bits, 8);
}

static unsigned samples_of(uint64_t count)
{
	return count < LEDGER_SAMPLES ? (unsigned)count : LEDGER_SAMPLES;
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

static bool is_sound(const struct ledger_run *run)
{
	if (run->samples && run->samples != samples_of(run->count))
		return false;
	return run->step > 0 && run->count > 0 && run->count < CELLS_MAX
		&& run->count < (uint64_t)TIME_MAX / run->step
		&& (unsigned)run->kind < LEDGER_KINDS
		&& run->first > -TIME_MAX && run->first < TIME_MAX
		&& run->first % run->step == 0;
}

static int64_t end_of(const struct ledger_run *run)
{
	return run->first + (int64_t)(run->count * run->step);
}

static void put_run(struct writer *to, const struct ledger_run *run, const struct ledger_run *last)
{
	int64_t row = run->first / run->step;
	bool same_rra = last && last->rra == run->rra && last->step == run->step;
	bool same_span = same_rra && last->first == run->first && last->count == run->count
		&& last->source == run->source;

	put_number(to, (unsigned)run->kind | (run->old ? HEAD_OLD : 0)
		   | (run->samples ? HEAD_SAMPLES : 0)
		   | (same_rra ? HEAD_SAME_RRA : 0) | (same_span ? HEAD_SAME_SPAN : 0));
	if (!same_rra) {
		put_number(to, run->rra - (last ? last->rra : 0));
		put_number(to, run->step);
	}
	put_number(to, run->ds);
	if (!same_span) {
		put_number(to, run->source);
		put_signed(to, row - (last ? last->first / run->step : 0));
		put_number(to, run->count);
	}
	for (uint64_t i = 0; run->old && i < run->count; i++)
		put_value(to, run->old[i]);
	uint8_t *at = run->samples ? room_for(to, samples_of(run->count)) : NULL;
	if (at)
		memcpy(at, run->sample, samples_of(run->count));
}

static void put_open(struct writer *to, const struct ledger_open_row *row)
{
	put_number(to, row->rra);
	put_number(to, row->ds);
	put_number(to, row->old_unkn);
	put_number(to, row->new_unkn);
	put_value(to, row->old_val);
	put_value(to, row->new_val);
}

static int put_runs(struct writer *to, const struct ledger_run *run, size_t runs)
{
	put_number(to, PACKED_VERSION);
	put_number(to, runs);
	for (size_t i = 0; i < runs; i++) {
		const struct ledger_run *last = i ? &run[i - 1] : NULL;

		if (!is_sound(&run[i]) || (last && last->rra == run[i].rra &&
			(last->step != run[i].step ||
			 (last->ds == run[i].ds && end_of(last) > run[i].first))))
			return -EINVAL;
		put_run(to, &run[i], last);
	}
	return 0;
}

int ledgercells_pack(const struct ledger_intent *intent, uint8_t **ret, size_t *ret_size)
{
	struct writer to = { NULL, 0, 0, false };
	struct ledger_run *copy = NULL;
	const struct ledger_run *run = intent->run;
	int r;

	if (!is_sorted(run, intent->runs)) {
		copy = reallocarray(NULL, intent->runs, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, run, intent->runs * sizeof(*copy));
		qsort(copy, intent->runs, sizeof(*copy), compare_runs);
		run = copy;
	}
	r = put_runs(&to, run, intent->runs);
	if (r)
		goto out;
	put_number(&to, intent->opens);
	for (size_t i = 0; i < intent->opens; i++)
		put_open(&to, &intent->open[i]);
	r = to.failed ? -ENOMEM : 0;
	if (r)
		goto out;
	*ret = to.bytes;
	*ret_size = to.size;
	to.bytes = NULL;
out:
	free(to.bytes);
	free(copy);
	return r;
}

struct reader {
	const uint8_t *at, *end;
	bool failed;
};

static uint64_t get_number(struct reader *from)
{
	uint64_t number = 0;

	for (unsigned shift = 0; shift < 64 && from->at < from->end; shift += 7) {
		uint8_t digit = *from->at++;

		number |= (uint64_t)(digit & 0x7f) << shift;
		if (!(digit & 0x80))
			return number;
	}
	from->failed = true;
	return 0;
}

static uint32_t get_small(struct reader *from)
{
	uint64_t number = get_number(from);

	if (number > UINT32_MAX)
		from->failed = true;
	return (uint32_t)number;
}

static double get_value(struct reader *from)
{
	uint64_t bits;
	double value;

	if (from->end - from->at < 8) {
		from->failed = true;
		return 0;
	}
	memcpy(&bits, from->at, 8);
	from->at += 8;
	bits = le64toh(bits);
	memcpy(&value, &bits, 8);
	return value;
}

/* first/step of the run before, and the difference to it, as a time. */
static int64_t get_first(struct reader *from, const struct ledger_run *last, uint32_t step)
{
	uint64_t zigzag = get_number(from);
	int64_t row = (int64_t)(zigzag >> 1) ^ -(int64_t)(zigzag & 1);

	if (step == 0 || row > TIME_MAX * 2 || row < -TIME_MAX * 2) {
		from->failed = true;
		return 0;
	}
	row += last->first / step;
	if (row > TIME_MAX / step || row < -TIME_MAX / step)
		from->failed = true;
	return from->failed ? 0 : row * step;
}

static void get_run(struct reader *from, struct ledger_run *run, const struct ledger_run *last)
{
	uint64_t head = get_number(from);

	*run = *last;
	run->old = NULL;
	run->samples = 0;
	run->kind = (enum ledger_kind)(head & HEAD_KIND);
	if (!(head & HEAD_SAME_RRA)) {
		run->rra += get_small(from);
		run->step = get_small(from);
	}
	run->ds = get_small(from);
	if (!(head & HEAD_SAME_SPAN)) {
		run->source = get_small(from);
		run->first = get_first(from, last, run->step);
		run->count = get_number(from);
	}
	if (from->failed || !is_sound(run) ||
	    ((head & HEAD_OLD) && run->count > (uint64_t)(from->end - from->at) / 8)) {
		from->failed = true;
		return;
	}
	if (head & HEAD_OLD) {
		double *old = reallocarray(NULL, run->count, sizeof(*old));

		for (uint64_t i = 0; old && i < run->count; i++)
			old[i] = get_value(from);
		run->old = old;
		from->failed = !old;
	}
	if (!from->failed && head & HEAD_SAMPLES) {
		run->samples = (uint8_t)samples_of(run->count);
		if ((size_t)(from->end - from->at) < run->samples) {
			from->failed = true;
			return;
		}
		memcpy(run->sample, from->at, run->samples);
		from->at += run->samples;
	}
}

static void get_open(struct reader *from, struct ledger_open_row *row)
{
	row->rra = get_small(from);
	row->ds = get_small(from);
	row->old_unkn = get_number(from);
	row->new_unkn = get_number(from);
	row->old_val = get_value(from);
	row->new_val = get_value(from);
}

/* How many there can be in the bytes that are left: nobody makes us allocate more. */
static uint64_t get_count(struct reader *from, size_t smallest)
{
	uint64_t count = get_number(from);

	if (count > (uint64_t)(from->end - from->at) / smallest)
		from->failed = true;
	return from->failed ? 0 : count;
}

int ledgercells_unpack(const uint8_t *bytes, size_t size, struct ledger_cells *ret)
{
	struct reader from = { bytes, bytes + size, false };
	struct ledger_cells cells = { NULL, 0, 0, NULL, 0, 0 };
	struct ledger_run last = { .step = 1 };
	int r = -ENOMEM;

	/* The first version is as this one is without samples. */
	uint64_t version = get_number(&from);
	if (version != PACKED_VERSION && version != 1)
		return -EBADMSG;
	uint64_t runs = get_count(&from, 2);
	cells.run = calloc(runs ? runs : 1, sizeof(*cells.run));
	if (!cells.run)
		return -ENOMEM;
	cells.run_capacity = runs ? runs : 1;
	for (; cells.runs < runs && !from.failed; cells.runs++) {
		get_run(&from, &cells.run[cells.runs], &last);
		last = cells.run[cells.runs];
	}
	for (uint64_t opens = get_count(&from, 20); opens > 0 && !from.failed; opens--) {
		struct ledger_open_row row;

		get_open(&from, &row);
		if (ledgercells_add_open(&cells, &row))
			goto out;
	}
	r = from.failed || from.at != from.end || !is_sorted(cells.run, cells.runs) ? -EBADMSG : 0;
	if (r)
		goto out;
	*ret = cells;
	memset(&cells, 0, sizeof(cells));
out:
	ledger_cells_free(&cells);
	return r;
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
	to = end_of(b) < end_of(a) ? end_of(b) : end_of(a);
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
	return end_of(a) <= b->first;
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
