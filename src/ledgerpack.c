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
			 (last->ds == run[i].ds && ledgercells_end(last) > run[i].first))))
			return -EINVAL;
		put_run(to, &run[i], last);
	}
	return 0;
}

int ledgerpack_put(const struct ledger_intent *intent, uint8_t **ret, size_t *ret_size)
{
	struct writer to = { NULL, 0, 0, false };
	struct ledger_cells sorted;
	struct ledger_run *copy = NULL;
	const struct ledger_run *run = intent->run;
	int r;

	if (!ledgercells_are_sorted(run, intent->runs)) {
		copy = reallocarray(NULL, intent->runs, sizeof(*copy));
		if (!copy)
			return -ENOMEM;
		memcpy(copy, run, intent->runs * sizeof(*copy));
		sorted = (struct ledger_cells){ .run = copy, .runs = intent->runs };
		ledgercells_sort(&sorted);
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

/* ---- and back ---- */

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

int ledgerpack_get(const uint8_t *bytes, size_t size, struct ledger_cells *ret)
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
	r = from.failed || from.at != from.end || !ledgercells_are_sorted(cells.run, cells.runs) ? -EBADMSG : 0;
	if (r)
		goto out;
	*ret = cells;
	memset(&cells, 0, sizeof(cells));
out:
	ledger_cells_free(&cells);
	return r;
}
