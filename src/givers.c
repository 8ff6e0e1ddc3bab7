#include "config.h"
#include "givers.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "record.h"

struct giver *givers_find(struct givers *givers, const char *path)
{
	for (size_t i = 0; i < givers->count; i++)
		if (!strcmp(givers->giver[i].path, path))
			return &givers->giver[i];
	return NULL;
}

/* The giver's number.  0 or -ENOMEM. */
static int number(struct givers *givers, const char *path, uint32_t *ret)
{
	struct giver *giver = givers_find(givers, path);

	if (!giver && givers->count == givers->capacity) {
		size_t capacity = givers->capacity ? givers->capacity * 2 : 8;
		struct giver *grown = reallocarray(givers->giver, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		givers->giver = grown;
		givers->capacity = capacity;
	}
	if (!giver) {
		giver = &givers->giver[givers->count];
		*giver = (struct giver){ .path = strdup(path) };
		if (!giver->path)
			return -ENOMEM;
		givers->count++;
	}
	*ret = (uint32_t)(giver - givers->giver);
	return 0;
}

/* `giver`: by the merge's own numbers of its sources. */
static int add_runs(struct givers *givers, const struct ledger_cells *cells, const uint32_t *giver,
		    size_t count, const struct rrd *db)
{
	static const enum timeline_kind kind[LEDGER_KINDS] = {
		[LEDGER_EXACT] = TIMELINE_EXACT, [LEDGER_SEAM] = TIMELINE_SEAM,
		[LEDGER_CONSOLIDATED] = TIMELINE_CONSOLIDATED, [LEDGER_SPREAD] = TIMELINE_SPREAD,
	};

	if (givers->runs + cells->runs > givers->run_capacity) {
		size_t capacity = (givers->runs + cells->runs) * 2;
		struct chart_run *grown = reallocarray(givers->run, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		givers->run = grown;
		givers->run_capacity = capacity;
	}
	for (size_t i = 0; i < cells->runs; i++) {
		const struct ledger_run *run = &cells->run[i];

		if (run->rra >= db->head.rra_cnt ||
		    run->step != layout_resolution(&db->head, run->rra))
			continue;
		givers->run[givers->runs++] = (struct chart_run){
			run->rra, run->ds, run->source < count ? giver[run->source]
							       : CHART_SOURCES_MAX,
			run->first, run->count, kind[run->kind],
		};
	}
	return 0;
}

static int take_merge(struct givers *givers, struct ledger *ledger, int64_t id,
		      const struct rrd *db)
{
	struct ledger_cells cells = { 0 };
	uint32_t *giver = NULL;
	char **path = NULL;
	size_t paths = 0;
	int r = ledger_runs(ledger, id, &cells);

	/* What is damaged there tells nothing: its cells are drawn as live's own. */
	if (r == -EBADMSG)
		return 0;
	if (!r)
		r = ledger_sources(ledger, id, &path, &paths);
	if (!r)
		giver = calloc(paths + 1, sizeof(*giver));
	if (!r && !giver)
		r = -ENOMEM;
	for (size_t n = 0; n < paths && !r; n++)
		r = number(givers, path[n], &giver[n]);
	if (!r)
		r = add_runs(givers, &cells, giver, paths, db);
	for (size_t n = 0; n < paths; n++)
		free(path[n]);
	free(path);
	free(giver);
	ledger_cells_free(&cells);
	return r;
}

/* The oldest merge first: a later one's cells are its own. */
int givers_take(struct givers *givers, struct ledger *ledger, const struct ledger_entry *entry,
		size_t entries, const struct rrd *db, uint64_t id)
{
	uint64_t identity = record_identity(&db->head);
	int r = 0;

	for (size_t i = entries; i && !r; i--) {
		const struct ledger_entry *merge = &entry[i - 1];

		if (merge->what != LEDGER_MERGE || merge->undone || merge->ino != id ||
		    merge->identity != identity)
			continue;
		r = take_merge(givers, ledger, merge->id, db);
	}
	return r;
}

void givers_share(struct givers *givers, const struct chart *chart)
{
	for (size_t i = 0; i < chart->shares && i < givers->count; i++)
		givers->giver[i].share = chart->share[i];
}

void givers_free(struct givers *givers)
{
	for (size_t i = 0; i < givers->count; i++)
		free(givers->giver[i].path);
	free(givers->giver);
	free(givers->run);
	*givers = (struct givers){ 0 };
}
