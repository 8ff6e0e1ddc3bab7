/* unit-plan: which cells are taken, from where, and the bytes to write for them. */
#include "config.h"
#include "plan.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <math.h>

#include "authority.h"

#define CASES 1500
#define HEADER 200              /* bytes of the databases made here; what is in them is unread */
#define NONE LAYOUT_NO_DS

static unsigned seed;
static uint64_t random_state;

static size_t below(size_t n)
{
	return (size_t)(authority_random(&random_state) % n);
}

/* ---- databases made of nothing ---- */

struct ring {
	enum layout_cf cf;
	uint64_t pdp_cnt, row_cnt, cur_row;
};

/* All cells unknown. */
static struct rrd make(uint64_t step, int64_t last_up, uint64_t ds_cnt, const struct ring *rings,
		       uint64_t count)
{
	struct rrd db = { .head = { .step = step, .last_up = last_up, .ds_cnt = ds_cnt,
				    .rra_cnt = count, .size = HEADER, .version = 3 } };
	uint64_t at = HEADER;

	db.head.ds = calloc(ds_cnt, sizeof(*db.head.ds));
	db.head.rra = calloc(count, sizeof(*db.head.rra));
	for (uint64_t i = 0; i < count; i++) {
		db.head.rra[i] = (struct layout_rra){ .cf = rings[i].cf, .offset = at,
			.row_cnt = rings[i].row_cnt, .pdp_cnt = rings[i].pdp_cnt,
			.cur_row = rings[i].cur_row };
		at += rings[i].row_cnt * ds_cnt * sizeof(double);
	}
	db.head.file_size = db.size = db.capacity = at;
	db.bytes = malloc(at);
	memset(db.bytes, 0xee, HEADER);
	for (size_t i = HEADER; i < at; i += sizeof(double))
		memcpy(db.bytes + i, &(double){ (double)NAN }, sizeof(double));
	return db;
}

/* The cell, by a way of its own; NULL where the ring does not hold that time. */
static double *cell(const struct rrd *db, uint64_t rra, int64_t time, uint64_t ds)
{
	const struct layout_rra *def = &db->head.rra[rra];
	int64_t resolution = (int64_t)(db->head.step * def->pdp_cnt);
	int64_t end = db->head.last_up - db->head.last_up % resolution;
	int64_t rows = (int64_t)def->row_cnt, age = (end - time) / resolution;

	if (time > end || age >= rows || (end - time) % resolution)
		return NULL;
	int64_t slot = (((int64_t)def->cur_row - age) % rows + rows) % rows;
	return (double *)(void *)(db->bytes + def->offset) + (uint64_t)slot * db->head.ds_cnt + ds;
}

static void set(struct rrd *db, uint64_t rra, int64_t time, uint64_t ds, double value)
{
	double *at = cell(db, rra, time, ds);

	assert_non_null(at);
	*at = value;
}

static uint64_t bits_of(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

static double from_bits(uint64_t bits)
{
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static void assert_cell(const struct rrd *db, uint64_t rra, int64_t time, uint64_t ds,
			double expected)
{
	const double *at = cell(db, rra, time, ds);

	assert_non_null(at);
	if (bits_of(*at) != bits_of(expected))
		fail_msg("rra %d time %d ds %d: %g and not %g", (int)rra, (int)time, (int)ds, *at,
			 expected);
}

static struct rrd copy_of(const struct rrd *db)
{
	struct rrd copy = *db;

	copy.bytes = malloc(db->size);
	memcpy(copy.bytes, db->bytes, db->size);
	copy.head.ds = NULL;
	copy.head.rra = calloc(db->head.rra_cnt, sizeof(*copy.head.rra));
	memcpy(copy.head.rra, db->head.rra, db->head.rra_cnt * sizeof(*copy.head.rra));
	return copy;
}

static int fill(struct plan *plan, struct rrd *live, const struct rrd *source, uint32_t index,
		const uint64_t *map)
{
	const struct plan_options options = { .exact = true };
	const struct plan_source from = { source, map, index };
	struct reason why = { "" };
	int r = plan_fill(plan, live, &from, &options, &why);

	if (r)
		assert_string_not_equal(why.text, "");
	return r;
}

static void assert_run(const struct plan *plan, size_t i, uint32_t rra, uint32_t ds,
		       uint32_t source, int64_t first, uint64_t count)
{
	assert_true(i < plan->runs);
	assert_int_equal(plan->run[i].rra, rra);
	assert_int_equal(plan->run[i].ds, ds);
	assert_int_equal(plan->run[i].source, source);
	assert_int_equal(plan->run[i].kind, PLAN_EXACT);
	assert_int_equal(plan->run[i].first, first);
	assert_int_equal(plan->run[i].count, count);
}

/* The runs of each data source, where but one RRA is filled from one. */
static void assert_in_time_order(const struct plan *plan, int64_t resolution)
{
	int64_t end[4] = { 0 };

	for (size_t i = 0; i < plan->runs; i++) {
		const struct plan_run *run = &plan->run[i];

		assert_true(run->ds < 4 && run->first >= end[run->ds]);
		end[run->ds] = run->first + (int64_t)run->count * resolution;
	}
}

/* ---- what must hold of any plan ---- */

/* The cells of the live file that differ from what they were, found one by one. */
static uint64_t count_changed(const struct rrd *before, const struct rrd *after, size_t end)
{
	uint64_t changed = 0;

	for (size_t at = HEADER; at < end; at += sizeof(double))
		changed += memcmp(before->bytes + at, after->bytes + at, sizeof(double)) != 0;
	return changed;
}

static void check_runs(const struct plan *plan, const struct rrd *before, const struct rrd *after)
{
	uint64_t cells = 0;
	int64_t from = INT64_MAX, to = INT64_MIN;

	for (size_t i = 0; i < plan->runs; i++) {
		const struct plan_run *run = &plan->run[i];
		int64_t resolution = layout_resolution(&after->head, run->rra);

		assert_true(run->count > 0);
		for (uint64_t n = 0; n < run->count; n++) {
			int64_t time = run->first + (int64_t)n * resolution;
			const double *was = cell(before, run->rra, time, run->ds);

			assert_non_null(was);
			assert_true(isnan(*was));
			assert_true(!isnan(*cell(after, run->rra, time, run->ds)));
			from = time < from ? time : from;
			to = time > to ? time : to;
		}
		cells += run->count;
	}
	assert_int_equal(plan->counts.cells, cells);
	assert_int_equal(cells, count_changed(before, after, after->size));
	if (cells) {
		assert_int_equal(plan->from, from);
		assert_int_equal(plan->to, to);
	}
}

/* Written to the file as it was, the extents give the image; every one is needed. */
static void check_extents(const struct plan *plan, const struct rrd *before,
			  const struct rrd *after)
{
	struct rrd written = copy_of(before);
	uint64_t end = HEADER;

	for (size_t i = 0; i < plan->extents; i++) {
		const struct plan_extent *extent = &plan->extent[i];

		assert_true(extent->size > 0);
		assert_true(i ? extent->offset > end : extent->offset >= end);
		end = extent->offset + extent->size;
		assert_true(end <= after->head.file_size);
		assert_memory_not_equal(written.bytes + extent->offset,
					after->bytes + extent->offset, sizeof(double));
		assert_memory_not_equal(written.bytes + end - sizeof(double),
					after->bytes + end - sizeof(double), sizeof(double));
		memcpy(written.bytes + extent->offset, after->bytes + extent->offset, extent->size);
	}
	assert_memory_equal(written.bytes, after->bytes, after->size);
	assert_true(!plan->counts.cells == !plan->extents);
	rrd_free(&written);
}

static void check_cells_before(const struct plan *plan, const struct rrd *before,
			       const struct rrd *after)
{
	uint64_t cells = 0;

	assert_int_equal(plan_before(plan, after, 0).cells, 0);
	for (size_t at = HEADER; at < after->size; at += sizeof(double)) {
		assert_int_equal(plan_before(plan, after, at).cells, cells);
		cells += memcmp(before->bytes + at, after->bytes + at, sizeof(double)) != 0;
	}
	assert_int_equal(plan_before(plan, after, after->size).cells, cells);
	assert_int_equal(plan_before(plan, after, UINT64_MAX / 2).cells, cells);
	assert_int_equal(plan->counts.cells, cells);
}

static void check(struct plan *plan, const struct rrd *before, struct rrd *after)
{
	assert_memory_equal(before->bytes, after->bytes, HEADER);
	check_runs(plan, before, after);
	assert_int_equal(plan_finish(plan, after), 0);
	check_extents(plan, before, after);
	check_cells_before(plan, before, after);
	/* Finishing again does not change it. */
	size_t extents = plan->extents;
	assert_int_equal(plan_finish(plan, after), 0);
	assert_int_equal(plan->extents, extents);
}

/* ---- small cases, cell by cell ---- */

static const uint64_t straight[] = { 0, 1, 2, 3 };

/* Live holds 910 to 1000, the backup 860 to 950; some of the overlap is known in live. */
static void test_overlap(void **state)
{
	const struct ring ring = { CF_AVERAGE, 1, 10, 3 }, theirs = { CF_AVERAGE, 1, 10, 7 };
	struct rrd live = make(10, 1004, 1, &ring, 1), source = make(10, 950, 1, &theirs, 1);
	struct plan plan = { 0 };

	(void)state;
	for (int64_t t = 860; t <= 950; t += 10)
		set(&source, 0, t, 0, (double)t);
	set(&source, 0, 920, 0, (double)NAN);
	set(&live, 0, 940, 0, 7);
	set(&live, 0, 970, 0, 8);
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	for (int64_t t = 910; t <= 1000; t += 10)
		assert_cell(&live, 0, t, 0, t == 940 ? 7 : t == 970 ? 8
			    : t == 920 || t > 950 ? (double)NAN : (double)t);
	assert_int_equal(plan.counts.cells, 3);
	assert_int_equal(plan.from, 910);
	assert_int_equal(plan.to, 950);
	assert_run(&plan, 0, 0, 0, 0, 910, 1);
	/* Live's ring goes round between 960 and 970, the backup's between 870 and 880. */
	assert_run(&plan, 1, 0, 0, 0, 930, 1);
	assert_run(&plan, 2, 0, 0, 0, 950, 1);
	assert_int_equal(plan.runs, 3);
	check(&plan, &before, &live);
	/* A second time there is nothing. */
	plan_clear(&plan);
	rrd_free(&before);
	before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	assert_int_equal(plan.counts.cells, 0);
	assert_int_equal(plan.runs, 0);
	check(&plan, &before, &live);
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&source);
	plan_free(&plan);
	plan_free(&plan);
}

/* At every position of either ring. */
static void test_wraps(void **state)
{
	enum { ROWS = 7, THEIRS = 9 };

	(void)state;
	for (uint64_t at = 0; at < ROWS; at++)
		for (uint64_t their_at = 0; their_at < THEIRS; their_at++) {
			const struct ring ring = { CF_MAX, 3, ROWS, at };
			const struct ring theirs = { CF_MAX, 3, THEIRS, their_at };
			struct rrd live = make(10, 1000, 2, &ring, 1);
			struct rrd source = make(10, 1000, 2, &theirs, 1);
			struct plan plan = { 0 };

			for (int64_t t = 990 - 8 * 30; t <= 990; t += 30) {
				set(&source, 0, t, 0, (double)t);
				set(&source, 0, t, 1, (double)-t);
			}
			struct rrd before = copy_of(&live);
			assert_int_equal(fill(&plan, &live, &source, 3, straight), 0);
			for (int64_t t = 990 - 6 * 30; t <= 990; t += 30) {
				assert_cell(&live, 0, t, 0, (double)t);
				assert_cell(&live, 0, t, 1, (double)-t);
			}
			assert_int_equal(plan.counts.cells, 2 * ROWS);
			assert_true(plan.runs >= 2 && plan.runs <= 6);
			assert_in_time_order(&plan, 30);
			check(&plan, &before, &live);
			assert_int_equal(plan.extents, 1);
			rrd_free(&before);
			rrd_free(&live);
			rrd_free(&source);
			plan_free(&plan);
		}
}

/* Other steps, other orders of DS and RRAs; matched by meaning. */
static void test_by_meaning(void **state)
{
	const struct ring rings[] = {
		{ CF_AVERAGE, 1, 5, 1 }, { CF_MAX, 6, 5, 4 }, { CF_AVERAGE, 6, 5, 0 },
		{ CF_LAST, 6, 5, 2 }
	};
	const struct ring theirs[] = {
		{ CF_MIN, 60, 5, 0 }, { CF_AVERAGE, 60, 4, 3 }, { CF_MAX, 60, 7, 3 },
		{ CF_AVERAGE, 30, 9, 2 }
	};
	const uint64_t map[] = { 2, NONE, 0 };
	struct rrd live = make(10, 1200, 3, rings, 4), source = make(1, 1259, 3, theirs, 4);
	struct plan plan = { 0 };

	(void)state;
	for (uint64_t rra = 0; rra < 4; rra++)
		for (int64_t t = 30; t <= 1260; t += 30)
			for (uint64_t ds = 0; ds < 3; ds++)
				if (cell(&source, rra, t, ds))
					set(&source, rra, t, ds,
					    (double)(rra * 1000000 + (uint64_t)t * 10 + ds));
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 1, map), 0);
	for (int64_t t = 1160; t <= 1200; t += 10)
		for (uint64_t ds = 0; ds < 3; ds++)
			assert_cell(&live, 0, t, ds, (double)NAN);
	for (int64_t t = 960; t <= 1200; t += 60) {
		assert_cell(&live, 1, t, 0, (double)(2000000 + t * 10 + 2));
		assert_cell(&live, 1, t, 1, (double)NAN);
		assert_cell(&live, 1, t, 2, (double)(2000000 + t * 10));
		/* The backup's ring is one row short. */
		assert_cell(&live, 2, t, 0,
			    t == 960 ? (double)NAN : (double)(1000000 + t * 10 + 2));
		assert_cell(&live, 2, t, 1, (double)NAN);
		assert_cell(&live, 3, t, 0, (double)NAN);
	}
	assert_int_equal(plan.counts.cells, 2 * 5 + 2 * 4);
	check(&plan, &before, &live);
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&source);
	plan_free(&plan);
}

/* The first known value wins, in the order of the sources and not of their goodness. */
static void test_two_sources(void **state)
{
	const struct ring ring = { CF_AVERAGE, 1, 8, 2 }, other = { CF_AVERAGE, 1, 20, 11 };
	struct rrd live = make(10, 1000, 1, &ring, 1);
	struct rrd first = make(10, 980, 1, &other, 1), second = make(10, 1100, 1, &other, 1);
	struct plan plan = { 0 };

	(void)state;
	for (int64_t t = 930; t <= 1000; t += 10)
		set(&second, 0, t, 0, 2);
	set(&first, 0, 940, 0, 1);
	set(&first, 0, 950, 0, 1);
	set(&first, 0, 970, 0, 1);
	set(&live, 0, 970, 0, 0);
	set(&live, 0, 990, 0, 0);
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &first, 0, straight), 0);
	assert_int_equal(fill(&plan, &live, &second, 1, straight), 0);
	static const double expected[] = { 2, 1, 1, 2, 0, 2, 0, 2 };
	for (int64_t i = 0; i < 8; i++)
		assert_cell(&live, 0, 930 + 10 * i, 0, expected[i]);
	assert_run(&plan, 0, 0, 0, 0, 940, 2);
	for (size_t i = 1; i < plan.runs; i++)
		assert_int_equal(plan.run[i].source, 1);
	assert_int_equal(plan.counts.cells, 6);
	check(&plan, &before, &live);
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&first);
	rrd_free(&second);
	plan_free(&plan);
}

/* Two RRAs of the source mean the same: what one does not know the other may. */
static void test_twins(void **state)
{
	const struct ring ring = { CF_MIN, 1, 4, 0 };
	const struct ring twins[] = { { CF_MIN, 1, 4, 1 }, { CF_MIN, 1, 6, 5 } };
	struct rrd live = make(10, 100, 1, &ring, 1), source = make(10, 100, 1, twins, 2);
	struct plan plan = { 0 };

	(void)state;
	set(&source, 0, 90, 0, 1);
	set(&source, 1, 90, 0, 2);
	set(&source, 1, 80, 0, 2);
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	assert_cell(&live, 0, 90, 0, 1);
	assert_cell(&live, 0, 80, 0, 2);
	assert_int_equal(plan.counts.cells, 2);
	check(&plan, &before, &live);
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&source);
	plan_free(&plan);
}

static void test_holt_winters(void **state)
{
	const struct ring rings[] = {
		{ CF_HWPREDICT, 1, 4, 0 }, { CF_MHWPREDICT, 1, 4, 1 }, { CF_SEASONAL, 1, 4, 0 },
		{ CF_DEVPREDICT, 1, 4, 2 }, { CF_DEVSEASONAL, 1, 4, 3 }, { CF_FAILURES, 1, 4, 1 }
	};
	struct rrd live = make(10, 100, 1, rings, 6), source = make(10, 100, 1, rings, 6);
	struct plan plan = { 0 };

	(void)state;
	for (uint64_t rra = 0; rra < 6; rra++)
		for (int64_t t = 70; t <= 100; t += 10)
			set(&source, rra, t, 0, (double)(rra + 1));
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	for (uint64_t rra = 0; rra < 6; rra++)
		for (int64_t t = 70; t <= 100; t += 10)
			assert_cell(&live, rra, t, 0, rings[rra].cf == CF_SEASONAL ||
				    rings[rra].cf == CF_DEVSEASONAL ? (double)NAN
								    : (double)(rra + 1));
	assert_int_equal(plan.counts.cells, 16);
	check(&plan, &before, &live);
	/* Only they in common: nothing. */
	const struct ring seasonal[] = { { CF_SEASONAL, 1, 4, 0 }, { CF_DEVSEASONAL, 1, 4, 0 },
		{ CF_AVERAGE, 1, 4, 0 } };
	struct rrd other = make(10, 100, 1, seasonal, 3);
	plan_clear(&plan);
	assert_int_equal(fill(&plan, &live, &other, 0, straight), REFUSED);
	assert_int_equal(plan.counts.cells, 0);
	rrd_free(&other);
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&source);
	plan_free(&plan);
}

/* Nothing in common by CF or by resolution; and in common, but not in time. */
static void test_nothing_in_common(void **state)
{
	const struct ring rings[] = { { CF_AVERAGE, 1, 4, 0 }, { CF_MAX, 5, 4, 0 } };
	const struct ring theirs[] = { { CF_MAX, 1, 4, 0 }, { CF_AVERAGE, 5, 4, 0 } };
	struct rrd live = make(10, 1000, 1, rings, 2), source = make(10, 1000, 1, theirs, 2);
	struct rrd old = make(10, 100, 1, rings, 2), before = copy_of(&live);
	const struct plan_options exact = { .exact = true };
	struct plan plan = { 0 };
	struct reason why;

	(void)state;
	for (size_t at = HEADER; at < source.size; at += sizeof(double)) {
		memcpy(source.bytes + at, &(double){ 1 }, sizeof(double));
		memcpy(old.bytes + at, &(double){ 1 }, sizeof(double));
	}
	const struct plan_source from = { &source, straight, 0 };
	assert_int_equal(plan_fill(&plan, &live, &from, &exact, &why), REFUSED);
	assert_non_null(strstr(why.text, "no RRA in common"));
	assert_int_equal(plan_fill(&plan, &live, &from, &exact, NULL), REFUSED);
	/* But rows could be made of those. */
	assert_int_equal(plan_fill(&plan, &live, &from, &(struct plan_options){ 0 }, &why), 0);
	assert_true(plan_is_empty(&plan));
	assert_int_equal(fill(&plan, &live, &old, 0, straight), 0);
	assert_int_equal(plan.counts.cells, 0);
	check(&plan, &before, &live);
	rrd_free(&live);
	rrd_free(&before);
	rrd_free(&source);
	rrd_free(&old);
	plan_free(&plan);
}

/* To the bit: signed zero, infinities, the smallest there is.  An unknown cell with a payload is
 * unknown on either side, and what is not filled keeps its payload. */
static void test_bits(void **state)
{
	const struct ring ring = { CF_AVERAGE, 1, 12, 5 };
	struct rrd live = make(10, 200, 1, &ring, 1), source = make(10, 200, 1, &ring, 1);
	static const uint64_t bits[] = {
		0x8000000000000000, 0, 0x7ff0000000000000, 0xfff0000000000000, 1,
		0x800fffffffffffff, 0x7fefffffffffffff, 0x3ff0000000000001,
		/* unknown: */
		0x7ff8000000001234, 0xfff8000000000001, 0x7ff0000000000001, 0xffffffffffffffff
	};
	struct plan plan = { 0 };

	(void)state;
	for (int64_t i = 0; i < 12; i++) {
		uint64_t payload = 0x7ff80000000a0000 + (uint64_t)i;

		memcpy(cell(&source, 0, 90 + 10 * i, 0), &bits[i], sizeof(double));
		memcpy(cell(&live, 0, 90 + 10 * i, 0), &payload, sizeof(double));
	}
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	for (int64_t i = 0; i < 12; i++) {
		uint64_t payload = 0x7ff80000000a0000 + (uint64_t)i;

		assert_memory_equal(cell(&live, 0, 90 + 10 * i, 0), i < 8 ? &bits[i] : &payload,
				    sizeof(double));
	}
	assert_int_equal(plan.counts.cells, 8);
	check(&plan, &before, &live);
	/* A known zero of either sign is known. */
	plan_clear(&plan);
	set(&live, 0, 90, 0, from_bits(0x8000000000000000));
	set(&source, 0, 90, 0, 5);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	assert_int_equal(plan.counts.cells, 0);
	assert_cell(&live, 0, 90, 0, from_bits(0x8000000000000000));
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&source);
	plan_free(&plan);
}

/* A ring longer than all time until last_update: its oldest rows end before the epoch. */
static void test_before_the_epoch(void **state)
{
	const struct ring ring = { CF_AVERAGE, 1, 30, 5 }, theirs = { CF_AVERAGE, 1, 40, 39 };
	struct rrd live = make(10, 100, 1, &ring, 1), source = make(10, 105, 1, &theirs, 1);
	struct plan plan = { 0 };

	(void)state;
	for (int64_t t = -290; t <= 100; t += 10)
		set(&source, 0, t, 0, (double)t);
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	for (int64_t t = -190; t <= 100; t += 10)
		assert_cell(&live, 0, t, 0, (double)t);
	assert_int_equal(plan.counts.cells, 30);
	assert_int_equal(plan.from, -190);
	check(&plan, &before, &live);
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&source);
	plan_free(&plan);
}

/* What lies close together is written as one; what lies far apart is not. */
static void test_bridges(void **state)
{
	const struct ring ring = { CF_AVERAGE, 1, 2000, 1999 };
	struct rrd live = make(10, 20000, 1, &ring, 1), source = make(10, 20000, 1, &ring, 1);
	struct plan plan = { 0 };

	(void)state;
	for (int64_t t = 10; t <= 20000; t += 10)
		set(&live, 0, t, 0, 1);
	static const int64_t holes[] = { 10, 30, 10000, 10020, 20000 };
	for (size_t i = 0; i < 5; i++) {
		set(&live, 0, holes[i], 0, (double)NAN);
		set(&source, 0, holes[i], 0, 2);
	}
	struct rrd before = copy_of(&live);
	assert_int_equal(fill(&plan, &live, &source, 0, straight), 0);
	check(&plan, &before, &live);
	assert_int_equal(plan.counts.cells, 5);
	assert_int_equal(plan.extents, 3);
	assert_int_equal(plan.extent[0].offset, HEADER);
	assert_int_equal(plan.extent[0].size, 3 * sizeof(double));
	assert_int_equal(plan.extent[2].offset, live.size - sizeof(double));
	assert_int_equal(plan.extent[2].size, sizeof(double));
	rrd_free(&before);
	rrd_free(&live);
	rrd_free(&source);
	plan_free(&plan);
}

/* ---- any case at all, against the plainest merge there is ---- */

static const uint64_t steps[] = { 10, 20, 5, 30 };

static struct rrd make_random(uint64_t ds_cnt, unsigned known)
{
	struct ring rings[6];
	uint64_t count = 1 + below(6);

	for (uint64_t i = 0; i < count; i++) {
		rings[i].cf = (enum layout_cf)below(below(6) ? 2 : 10);
		rings[i].pdp_cnt = 1 + below(3);
		rings[i].row_cnt = 1 + below(below(4) ? 20 : 200);
		rings[i].cur_row = below(rings[i].row_cnt);
	}
	struct rrd db = make(steps[below(below(2) ? 2 : 4)], 10000 + (int64_t)below(300), ds_cnt,
			     rings, count);
	for (size_t at = HEADER; at < db.size; at += sizeof(double)) {
		double value = (double)below(1000000);

		if (below(100) < known)
			memcpy(db.bytes + at, &value, sizeof(value));
	}
	return db;
}

static bool merge_plainly(struct rrd *live, const struct rrd *source, const uint64_t *map)
{
	bool common = false;

	for (uint64_t i = 0; i < live->head.rra_cnt; i++) {
		int64_t resolution = layout_resolution(&live->head, i);
		enum layout_cf cf = live->head.rra[i].cf;

		for (uint64_t j = 0; j < source->head.rra_cnt; j++) {
			if (cf != source->head.rra[j].cf || cf == CF_SEASONAL ||
			    cf == CF_DEVSEASONAL ||
			    resolution != layout_resolution(&source->head, j))
				continue;
			common = true;
			for (int64_t t = -30000 - (-30000 % resolution); t < 12000; t += resolution)
				for (uint64_t ds = 0; ds < live->head.ds_cnt; ds++) {
					double *to = cell(live, i, t, ds), *from = NULL;

					if (to && map[ds] != NONE)
						from = cell(source, j, t, map[ds]);
					if (from && isnan(*to) && !isnan(*from))
						*to = *from;
				}
		}
	}
	return common;
}

static void test_random(void **state)
{
	uint64_t cells = 0, refused = 0;

	(void)state;
	for (unsigned n = 0; n < CASES; n++) {
		uint64_t map[4], ds_cnt = 1 + below(4), theirs = 1 + below(4);
		struct rrd live = make_random(ds_cnt, (unsigned)below(101));
		struct rrd before = copy_of(&live), expected = copy_of(&live);
		struct plan plan = { 0 };

		for (uint32_t s = 0; s < 1 + n % 3; s++) {
			struct rrd source = make_random(theirs, (unsigned)below(101));

			for (uint64_t ds = 0; ds < ds_cnt; ds++)
				map[ds] = below(6) ? below(theirs) : NONE;
			bool common = merge_plainly(&expected, &source, map);
			assert_int_equal(fill(&plan, &live, &source, s, map), common ? 0 : REFUSED);
			assert_memory_equal(live.bytes, expected.bytes, live.size);
			uint64_t had = plan.counts.cells;
			fill(&plan, &live, &source, s, map);
			assert_int_equal(plan.counts.cells, had);
			rrd_free(&source);
			refused += !common;
		}
		check(&plan, &before, &live);
		cells += plan.counts.cells;
		plan_free(&plan);
		rrd_free(&live);
		rrd_free(&before);
		rrd_free(&expected);
	}
	print_message("%llu cells, %llu refused\n", (unsigned long long)cells,
		      (unsigned long long)refused);
	assert_true(cells && refused);
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_overlap),
		cmocka_unit_test(test_wraps),
		cmocka_unit_test(test_by_meaning),
		cmocka_unit_test(test_two_sources),
		cmocka_unit_test(test_twins),
		cmocka_unit_test(test_holt_winters),
		cmocka_unit_test(test_nothing_in_common),
		cmocka_unit_test(test_bits),
		cmocka_unit_test(test_before_the_epoch),
		cmocka_unit_test(test_bridges),
		cmocka_unit_test(test_random),
	};

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	random_state = seed;
	return cmocka_run_group_tests(tests, NULL, NULL);
}
