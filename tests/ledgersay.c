/* ledgersay: what a ledger has on record, for scripts.
 *
 *     ledgersay LEDGER
 *
 *     merge ID STAGE WHAT CELLS PATH          WHAT: merge, undo or refusal; "merge,undone",
 *                                             "merge,undoing"
 *     cell RRA DS STEP FIRST COUNT PATH       what a merge or an undo has recorded; undone or not
 *     open RRA DS PATH
 *
 * It opens the ledger as a daemon would: give it a copy. */
#include "config.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "ledger.h"

#define MANY 1000000

static void durable(const char *rel, int64_t id, void *arg)
{
	(void)rel, (void)id, (void)arg;
}

static void sync_none(struct ledger_synced *file, size_t files, void *arg)
{
	(void)file, (void)files, (void)arg;
}

static int say_cells(struct ledger *ledger, const struct ledger_entry *entry)
{
	struct ledger_cells cells = { .run = NULL };
	int r = ledger_runs(ledger, entry->id, &cells);

	for (size_t i = 0; !r && i < cells.runs; i++)
		printf("cell %" PRIu32 " %" PRIu32 " %" PRIu32 " %" PRId64 " %" PRIu64 " %s\n",
		       cells.run[i].rra, cells.run[i].ds, cells.run[i].step, cells.run[i].first,
		       cells.run[i].count, entry->rel);
	for (size_t i = 0; !r && i < cells.opens; i++)
		printf("open %" PRIu32 " %" PRIu32 " %s\n", cells.open[i].rra, cells.open[i].ds,
		       entry->rel);
	ledger_cells_free(&cells);
	return r;
}

static int say(struct ledger *ledger)
{
	static const char *const stage[] = { "intended", "done", "part", "interrupted" };
	static const char *const what[] = { "merge", "undo", "refusal" };
	struct ledger_entry *entry = NULL;
	size_t count = 0;
	int r = ledger_history(ledger, NULL, 0, MANY, &entry, &count);

	for (size_t i = 0; !r && i < count; i++) {
		uint64_t cells = 0;

		for (int kind = 0; kind < LEDGER_KINDS; kind++)
			cells += entry[i].cells[kind];
		printf("merge %" PRId64 " %s %s%s %" PRIu64 " %s\n", entry[i].id,
		       stage[entry[i].stage], what[entry[i].what],
		       entry[i].undone ? ",undone" : entry[i].undoing ? ",undoing" : "", cells, entry[i].rel);
		if (entry[i].what != LEDGER_REFUSAL)
			r = say_cells(ledger, &entry[i]);
	}
	ledger_entries_free(entry, count);
	return r;
}

int main(int argc, char **argv)
{
	struct ledger_options options = { .durable = durable, .sync = sync_none };
	struct ledger *ledger = NULL;
	struct reason why = { "" };

	if (argc != 2) {
		fputs("usage: ledgersay LEDGER\n", stderr);
		return 2;
	}
	options.path = argv[1];
	if (ledger_open(&options, &ledger, &why) || !ledger_ok(ledger, &why)) {
		fprintf(stderr, "%s %s\n", argv[1], why.text);
		return 2;
	}
	if (ledger_notice(ledger, &why)) {
		fprintf(stderr, "%s %s\n", argv[1], why.text);
		return 1;
	}
	int r = say(ledger);
	if (r)
		fprintf(stderr, "%s: %s\n", argv[1], strerror(-r));
	ledger_close(ledger, io_now_ns() + UINT64_C(10000000000));
	return r ? 2 : 0;
}
