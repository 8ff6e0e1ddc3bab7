#include "config.h"
#include "give.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"
#include "series.h"

void give_free(struct give *give)
{
	free(give->cell);
	ledger_undo_free(&give->spread);
	*give = (struct give){ 0 };
}

static double *cell_at(struct rrd *live, const struct give_cell *cell)
{
	return rrd_rows(live, cell->rra) +
	       rrd_slot(live, cell->rra, cell->time) * live->head.ds_cnt + cell->ds;
}

static int add(struct give *give, const struct give_cell *cell)
{
	if (give->cells == give->capacity) {
		size_t capacity = give->capacity ? give->capacity * 2 : 256;
		struct give_cell *grown = reallocarray(give->cell, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		give->cell = grown;
		give->capacity = capacity;
	}
	give->cell[give->cells++] = *cell;
	return 0;
}

/* What of a run is in the ring yet, and known. */
static int give_run(struct give *give, struct rrd *live, const struct ledger_run *run)
{
	int r = 0;

	if (run->rra >= live->head.rra_cnt || run->ds >= live->head.ds_cnt ||
	    layout_resolution(&live->head, run->rra) != run->step)
		return 0;
	struct series rows = series_of(live, run->rra, run->ds);
	for (uint64_t n = 0; n < run->count && !r; n++) {
		struct give_cell cell = {
			.rra = run->rra, .ds = run->ds, .time = run->first + (int64_t)(n * run->step)
		};

		if (!series_reaches(&rows, cell.time))
			continue;
		cell.value = series_at(&rows, cell.time);
		if (!isnan(cell.value))
			r = add(give, &cell);
	}
	return r;
}

/* What the ledger has of it.  An error there is none of ours: the cells stay as they are. */
static void ask_ledger(struct give *give, struct ledger *ledger, const char *key, uint64_t file_id,
		       uint64_t identity)
{
	struct ledger_state state = { .spread = false };

	ledger_undo_free(&give->spread);
	give->file = give->identity = 0;
	ledger_known(ledger, key, &state);
	if (!state.spread || ledger_spread(ledger, key, file_id, identity, &give->spread))
		return;
	give->file = file_id;
	give->identity = identity;
}

int give_up(struct give *give, struct ledger *ledger, const char *key, bool ask, uint64_t file_id,
	    struct rrd *live)
{
	int r = 0;

	give->cells = 0;
	if (!ledger)
		return 0;
	uint64_t identity = record_identity(&live->head);
	if (ask)
		ask_ledger(give, ledger, key, file_id, identity);
	if (!give->file || give->file != file_id || give->identity != identity)
		return 0;
	/* Another database of the same structure, written over it: what is known there stays. */
	r = record_heed(&give->spread, live, NULL);
	if (r)
		return r == REFUSED ? 0 : r;
	for (size_t i = 0; i < give->spread.cells.runs && !r; i++)
		r = give_run(give, live, &give->spread.cells.run[i]);
	for (size_t i = 0; i < give->cells && !r; i++)
		*cell_at(live, &give->cell[i]) = NAN;
	return r;
}

int give_reshape(struct give *give, struct plan *plan, struct rrd *live,
		 const struct plan_source *source, unsigned sources,
		 const struct plan_options *options, struct reshape *reshape)
{
	struct plan_options unspread = *options;
	int r = 0;

	unspread.no_spread = true;
	if (give->cells && !options->exact)
		r = reshape_fill(plan, live, source, sources, &unspread, reshape);
	for (size_t i = 0; i < give->cells && !r; i++) {
		double *cell = cell_at(live, &give->cell[i]);

		if (isnan(*cell))
			*cell = give->cell[i].value;
	}
	if (!r && !options->exact)
		r = reshape_fill(plan, live, source, sources, options, reshape);
	return r;
}

static int compare(const struct give_cell *cell, uint32_t rra, uint32_t ds, int64_t time)
{
	if (cell->rra != rra)
		return cell->rra < rra ? -1 : 1;
	if (cell->ds != ds)
		return cell->ds < ds ? -1 : 1;
	return (cell->time > time) - (cell->time < time);
}

uint64_t give_alike(const struct give *give, uint32_t rra, uint32_t ds, int64_t first, int64_t step,
		    uint64_t count, const struct give_cell **ret)
{
	size_t low = 0, high = give->cells;
	uint64_t alike = 0;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (compare(&give->cell[middle], rra, ds, first) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	const struct give_cell *cell = &give->cell[low];
	if (low == give->cells || cell->rra != rra || cell->ds != ds ||
	    cell->time >= first + (int64_t)count * step) {
		*ret = NULL;
		return count;
	}
	if (cell->time > first) {
		*ret = NULL;
		return (uint64_t)((cell->time - first) / step);
	}
	*ret = cell;
	while (alike < count && low + alike < give->cells &&
	       !compare(&cell[alike], rra, ds, first + (int64_t)alike * step))
		alike++;
	return alike;
}
