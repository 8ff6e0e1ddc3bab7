#include "config.h"
#include "labels.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define OP_NUMBER 0             /* of rrdtool's op_en, src/rrd_rpncalc.h */
#define OP_VARIABLE 1
#define OP_PREV_OTHER 36

/* ---- by name ---- */

/* The DS of that name, or LAYOUT_NO_DS; `ret_twice` tells that there are more. */
static uint64_t find_ds(const struct layout_header *head, const char *name, bool *ret_twice)
{
	uint64_t found = LAYOUT_NO_DS;

	*ret_twice = false;
	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		if (strcmp(head->ds[i].name, name))
			continue;
		if (found != LAYOUT_NO_DS) {
			*ret_twice = true;
			return found;
		}
		found = i;
	}
	return found;
}

/* Do two COMPUTE data sources compute the same, of data sources that belong together?  Those that
 * an expression names stand before it (rrdtool src/rrd_update.c, update_pdp), so `map` knows. */
static bool same_rpn(const struct layout_ds *x, const struct layout_ds *y, uint64_t known,
		     const uint64_t *map)
{
	if (x->rpn_len != y->rpn_len)
		return false;
	for (unsigned i = 0; i < x->rpn_len; i++) {
		const struct layout_rpn_node *m = &x->rpn[i], *n = &y->rpn[i];

		if (m->op != n->op)
			return false;
		if (m->op == OP_NUMBER && m->val != n->val)
			return false;
		if ((m->op == OP_VARIABLE || m->op == OP_PREV_OTHER) &&
		    ((uint64_t)m->val >= known || map[m->val] != (uint64_t)n->val))
			return false;
	}
	return true;
}

/* Finds the backup's for live's i-th (or LAYOUT_NO_DS), those before it being known: map[i].
 * REFUSED: a contradiction, named. */
static int match_ds(const struct layout_header *live, uint64_t i,
		    const struct layout_header *backup, uint64_t *map, struct reason *why)
{
	const struct layout_ds *ds = &live->ds[i];
	bool twice_live, twice_backup;
	uint64_t j = find_ds(backup, ds->name, &twice_backup);

	find_ds(live, ds->name, &twice_live);
	map[i] = LAYOUT_NO_DS;
	if (j == LAYOUT_NO_DS)
		return 0;
	if (twice_live || twice_backup) {
		reason_add(why, "data source %s: the name stands twice in %s", ds->name,
			   twice_live ? "live" : "backup");
		return REFUSED;
	}
	if (ds->type != backup->ds[j].type) {
		reason_add(why, "data source %s: live is %s and backup is %s", ds->name,
			   layout_dst_name(ds->type), layout_dst_name(backup->ds[j].type));
		return REFUSED;
	}
	if (ds->type == DST_COMPUTE && !same_rpn(ds, &backup->ds[j], i, map)) {
		reason_add(why, "data source %s: live computes it otherwise than backup, or of "
			   "others", ds->name);
		return REFUSED;
	}
	map[i] = j;
	return 0;
}

static void list_names(const struct layout_header *head, char *buffer, size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (uint64_t i = 0; i < head->ds_cnt && used + LAYOUT_NAME_SIZE + 5 < size; i++) {
		bool last_fit = used + 2 * (LAYOUT_NAME_SIZE + 5) >= size;
		int n = snprintf(buffer + used, size - used, "%s%s", i ? "," : "",
				 last_fit && i + 1 < head->ds_cnt ? "..." : head->ds[i].name);
		used += (size_t)n;
	}
}

int labels_by_name(const struct layout_header *live, const struct layout_header *backup,
		   uint64_t *map, uint64_t *ret_refused, struct reason *why)
{
	uint64_t matched = 0, refused = 0;

	reason_set(why, "%s", "");
	for (uint64_t i = 0; i < live->ds_cnt; i++) {
		if (match_ds(live, i, backup, map, why))
			refused++;
		else if (map[i] != LAYOUT_NO_DS)
			matched++;
	}
	*ret_refused = refused;
	if (matched)
		return 0;
	if (!refused) {
		char ours[100], theirs[100];

		list_names(live, ours, sizeof(ours));
		list_names(backup, theirs, sizeof(theirs));
		reason_set(why, "no data source in common: live has %s and backup has %s",
			   ours, theirs);
	}
	return REFUSED;
}
