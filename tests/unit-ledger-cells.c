/* unit-ledger-cells: sets of cells, their bytes, and what an undo gives back. */
#include "config.h"
#include "ledgering.h"

#include "ledgerint.h"

#include <errno.h>
#include <math.h>

static unsigned seed;

/* ---- undo and spread, held against a file of a few cells ---- */

enum { ROWS = 40, MERGES = 8, STEP = 60 };

struct model {
	double cell[ROWS];      /* as in the file */
	double own[ROWS];       /* live's own value */
	struct recorded merge[MERGES];
	double to[MERGES][ROWS];        /* what each was to write; NaN: nothing */
	size_t merges;
};

static size_t checked;

static int chance(int of)
{
	return rand() % of == 0;
}

static bool same_bits(double a, double b)
{
	return !memcmp(&a, &b, sizeof(a));
}

/* A merge of random runs; perhaps cut short, perhaps overwriting. */
static void model_merge(struct model *model)
{
	size_t n = model->merges++;
	struct recorded *merge = &model->merge[n];
	bool cut = chance(3);
	enum ledger_kind kind = chance(2) ? LEDGER_SPREAD : LEDGER_EXACT;

	memset(merge, 0, sizeof(*merge));
	merge->id = (int64_t)n + 1;
	merge->ino = INO;
	merge->identity = IDENTITY;
	merge->stage = cut ? LEDGER_INTERRUPTED : LEDGER_IS_DONE;
	for (int row = 0; row < ROWS; row++) {
		bool known = !isnan(model->cell[row]);
		struct ledger_run run = { .step = STEP, .kind = kind, .first = STEP * (row + 1),
					  .count = 1 };

		model->to[n][row] = NAN;
		if (chance(2) || (known && !chance(4)))
			continue;
		if (known)
			run.old = &model->cell[row];
		model->to[n][row] = (double)(100 * (n + 1)) + row;
		run.samples = 1;
		run.sample[0] = ledger_sample(model->to[n][row]);
		assert_int_equal(ledgercells_add(&merge->cells, &run), 0);
	}
	for (int row = 0; row < ROWS; row++)
		if (!isnan(model->to[n][row]) && (!cut || chance(2)))
			model->cell[row] = model->to[n][row];
}

/* What a cell must be, with only those merges in force that are not undone: the latest of these
 * that has written it, else live's own. */
static bool right(const struct model *model, int row)
{
	double want = model->own[row];
	bool maybe = false;     /* one that was cut short has the cell */

	/* … or an undo that was: it holds what some merge has found or put there. */
	for (size_t n = 0; n < model->merges; n++) {
		if (isnan(model->to[n][row]) || !model->merge[n].undoing || model->merge[n].undone)
			continue;
		for (size_t i = 0; i < model->merges; i++)
			if (same_bits(model->cell[row], model->to[i][row]))
				return true;
		return isnan(model->cell[row]) || same_bits(model->cell[row], model->own[row]);
	}
	for (size_t n = 0; n < model->merges; n++) {
		if (isnan(model->to[n][row]) || model->merge[n].undone)
			continue;
		if (model->merge[n].stage == LEDGER_IS_DONE) {
			want = model->to[n][row];
			maybe = false;
		} else if (same_bits(model->cell[row], model->to[n][row])) {
			return true;
		} else {
			maybe = true;
		}
	}
	return same_bits(model->cell[row], want) || (maybe && isnan(model->cell[row]));
}

/* `cut`: it is killed, and nobody knows where. */
static void apply_undo(struct model *model, const struct ledger_undo *undo, bool cut)
{
	for (size_t i = 0; i < undo->cells.runs; i++) {
		const struct ledger_run *run = &undo->cells.run[i];

		for (uint64_t k = 0; k < run->count; k++)
			if (!cut || chance(2))
				model->cell[run->first / STEP - 1 + (int64_t)k] =
					run->old ? run->old[k] : NAN;
	}
	for (size_t i = 0; i < undo->ids; i++) {
		model->merge[undo->id[i] - 1].undone = !cut;
		model->merge[undo->id[i] - 1].undoing = cut;
	}
}

/* It still is the file that was merged, and nothing says otherwise. */
static void model_checks(const struct model *model, const struct ledger_undo *undo)
{
	for (size_t i = 0; i < undo->checks; i++)
		for (unsigned k = 0; k < undo->check[i].samples; k++) {
			double value = model->cell[undo->check[i].at[k].time / STEP - 1];

			uint8_t sample = ledger_sample(value);

			checked += isnan(value) ? 0 : 1;
			if (!isnan(value) && undo->check[i].at[k].sample != sample)
				assert_non_null(memchr(undo->check[i].at[k].before, sample,
						       undo->check[i].at[k].befores));
		}
}

static void model_undo(struct model *model, int64_t id, bool cut)
{
	struct ledger_undo undo;
	struct reason why;
	int r = ledgerundo_plan(model->merge, model->merges, id, INO, IDENTITY, &undo, &why);

	if (r == REFUSED)
		return;
	assert_int_equal(r, 0);
	for (size_t i = 1; i < undo.cells.runs; i++)    /* no cell twice */
		assert_true(undo.cells.run[i].first >= undo.cells.run[i - 1].first +
			    (int64_t)(STEP * undo.cells.run[i - 1].count));
	model_checks(model, &undo);
	apply_undo(model, &undo, cut);
	ledger_undo_free(&undo);
}

/* Every cell that holds what was spread is told, and none of live's own. */
static void model_spread(struct model *model)
{
	struct ledger_undo spread_cells;
	bool told_spread[ROWS] = { false };

	assert_int_equal(ledgerundo_spread(model->merge, model->merges, INO, IDENTITY,
					     &spread_cells), 0);
	const struct ledger_cells *cells = &spread_cells.cells;
	for (size_t i = 0; i < cells->runs; i++)
		for (uint64_t k = 0; k < cells->run[i].count; k++)
			told_spread[cells->run[i].first / STEP - 1 + (int64_t)k] = true;
	model_checks(model, &spread_cells);
	ledger_undo_free(&spread_cells);
	for (int row = 0; row < ROWS; row++) {
		bool spread = false, written = false;

		for (size_t n = 0; n < model->merges; n++) {
			const struct ledger_cells *of = &model->merge[n].cells;

			if (isnan(model->to[n][row]))
				continue;
			written = true;
			if (!model->merge[n].undone && of->runs
			    && of->run[0].kind == LEDGER_SPREAD
			    && same_bits(model->cell[row], model->to[n][row]))
				spread = true;
		}
		assert_true(!spread || told_spread[row]);
		assert_true(written || !told_spread[row]);
	}
}

static void test_undo_random(void **state)
{
	(void)state;
	srand(seed);
	for (int round = 0; round < 3000; round++) {
		struct model model = { .merges = 0 };

		for (int row = 0; row < ROWS; row++)
			model.cell[row] = model.own[row] = chance(3) ? (double)row : NAN;
		while (model.merges < MERGES) {
			model_merge(&model);
			if (chance(3))
				model_undo(&model, 1 + rand() % (int)model.merges, chance(3));
			for (int row = 0; row < ROWS; row++)
				if (!right(&model, row))
					fail_msg("round %d, row %d: %f", round, row,
						 model.cell[row]);
			model_spread(&model);
		}
		model_undo(&model, 0, false);
		for (int row = 0; row < ROWS; row++)
			assert_true(same_bits(model.cell[row], model.own[row]) ||
				    (isnan(model.cell[row]) && isnan(model.own[row])));
		for (size_t n = 0; n < model.merges; n++)
			ledger_cells_free(&model.merge[n].cells);
	}
	assert_true(checked > 10000);
}

/* Which cells are sampled: all of a short run; else its ends and some between. */
static void test_samples(void **state)
{
	(void)state;
	for (uint64_t count = 1; count < 100000; count += 1 + count / 7) {
		bool seen[LEDGER_SAMPLES] = { false };

		for (unsigned k = 0; k < LEDGER_SAMPLES && k < count; k++) {
			uint64_t at = ledger_sampled(count, k);

			assert_true(at < count);
			if (count <= LEDGER_SAMPLES)
				seen[at] = true;
			if (k)
				assert_true(at <= ledger_sampled(count, k - 1));
		}
		for (uint64_t i = 0; count <= LEDGER_SAMPLES && i < count; i++)
			assert_true(seen[i]);
		assert_int_equal(ledger_sampled(count, 0), count - 1);
		if (count >= LEDGER_SAMPLES)
			assert_int_equal(ledger_sampled(count, LEDGER_SAMPLES - 1), 0);
	}
}

/* ---- sets and bytes ---- */

static void random_cells(struct ledger_cells *cells, int kinds)
{
	static const double old[64] = { 1, 2, 3, 4, 5, 6, 7, 8 };

	for (uint32_t rra = 0; rra < 3; rra++)
		for (uint32_t ds = 0; ds < 3; ds++)
			for (int64_t row = rand() % 8; row < 60; row += 1 + rand() % 8) {
				struct ledger_run run = {
					.rra = rra * 5, .ds = ds, .source = (uint32_t)rand() % 3,
					.step = 60 * (rra + 1), .first = row * 60 * (rra + 1),
					.kind = (enum ledger_kind)(rand() % kinds),
					.count = 1 + (unsigned)rand() % 6,
					.old = chance(4) ? old + rand() % 8 : NULL
				};

				run.samples = chance(2) ? (uint8_t)run.count : 0;
				for (unsigned k = 0; k < run.samples; k++)
					run.sample[k] = (uint8_t)rand();
				if (!chance(3))
					assert_int_equal(ledgercells_add(cells, &run), 0);
				row += (int64_t)run.count;
			}
}

static void paint(const struct ledger_cells *cells, bool *grid)
{
	memset(grid, 0, 3 * 3 * 80);
	for (size_t i = 0; i < cells->runs; i++)
		for (uint64_t k = 0; k < cells->run[i].count; k++) {
			const struct ledger_run *run = &cells->run[i];

			grid[(run->rra / 5 * 3 + run->ds) * 80
			     + (uint64_t)(run->first / run->step) + k] = true;
		}
}

static void test_sets(void **state)
{
	(void)state;
	srand(seed);
	for (int round = 0; round < 2000; round++) {
		struct ledger_cells a = { 0 }, b = { 0 }, again = { 0 };
		bool in_a[720], in_b[720], left[720];
		struct ledger_intent intent = { .rel = "x" };
		uint8_t *bytes;
		size_t size;

		random_cells(&a, LEDGER_KINDS);
		random_cells(&b, LEDGER_KINDS);
		intent.run = a.run;
		intent.runs = a.runs;
		assert_int_equal(ledgerpack_put(&intent, &bytes, &size), 0);
		assert_int_equal(ledgerpack_get(bytes, size, &again), 0);
		assert_int_equal(again.runs, a.runs);
		for (size_t i = 0; i < a.runs; i++)
			assert_run(&again.run[i], &a.run[i]);
		/* Bytes that something has changed: refused, or sound, but never beyond. */
		for (int i = 0; i < 20; i++) {
			struct ledger_cells bad = { 0 };
			uint8_t *copy = malloc(size);
			size_t cut = chance(2) ? size : (size_t)rand() % size;

			memcpy(copy, bytes, size);
			copy[(size_t)rand() % size] ^= (uint8_t)(1 << rand() % 8);
			if (!ledgerpack_get(copy, cut, &bad))
				ledger_cells_free(&bad);
			free(copy);
		}
		free(bytes);
		assert_true(ledgercells_within(&again, &a));
		paint(&a, in_a);
		paint(&b, in_b);
		assert_int_equal(ledgercells_subtract(&again, &b), 0);
		paint(&again, left);
		for (int i = 0; i < 720; i++)
			assert_int_equal(left[i], in_a[i] && !in_b[i]);
		assert_true(ledgercells_within(&again, &a));
		if (again.runs != a.runs)
			assert_false(ledgercells_within(&a, &again));
		ledger_cells_free(&a);
		ledger_cells_free(&b);
		ledger_cells_free(&again);
	}
}

int main(void)
{
	const char *wanted = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_undo_random),
		cmocka_unit_test(test_samples),
		cmocka_unit_test(test_sets),
	};

	seed = wanted ? (unsigned)strtoul(wanted, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
