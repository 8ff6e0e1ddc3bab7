#include "config.h"
#include "labels.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
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

/* pnp4nagios' names: all that they say is where a data source stands. */
static bool is_number(const char *name)
{
	return strspn(name, "0123456789") == strlen(name);
}

/* The first number that stands twice among the names; NULL: none.  As rrd_modify.pl leaves them,
 * 1, 1, 2, the others are not what they were either. */
static const char *number_twice(const struct layout_header *head)
{
	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		bool twice = false;

		if (is_number(head->ds[i].name))
			find_ds(head, head->ds[i].name, &twice);
		if (twice)
			return head->ds[i].name;
	}
	return NULL;
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
	const char *ours = number_twice(live), *twice = ours ? ours : number_twice(backup);
	uint64_t matched = 0, refused = 0, numbers = 0;

	reason_set(why, "%s", "");
	for (uint64_t i = 0; i < live->ds_cnt; i++) {
		map[i] = LAYOUT_NO_DS;
		if (twice && is_number(live->ds[i].name)) {
			if (!numbers++)
				reason_add(why, "data source %s: the name stands twice in %s, where no "
					   "number tells which is which then", twice,
					   ours ? "live" : "backup");
			refused++;
		} else if (match_ds(live, i, backup, map, why)) {
			refused++;
		} else if (map[i] != LAYOUT_NO_DS) {
			matched++;
		}
	}
	*ret_refused = refused;
	if (matched)
		return 0;
	if (!refused) {
		char a[100], b[100];

		list_names(live, a, sizeof(a));
		list_names(backup, b, sizeof(b));
		reason_set(why, "no data source in common: live has %s and backup has %s", a, b);
	}
	return REFUSED;
}

/* ---- what a sidecar says of its file ---- */

/* Called 1, 2, …  (One that is computed keeps nothing of the plugin's.) */
static bool has_numbers_only(const struct layout_header *head)
{
	for (uint64_t i = 0; i < head->ds_cnt; i++)
		if (head->ds[i].type != DST_COMPUTE && !is_number(head->ds[i].name))
			return false;
	return true;
}

enum told {
	TOLD,
	TOLD_NOTHING,           /* there is no sidecar, or it does not know the file */
	TOLD_OTHERWISE          /* it does not describe the file */
};

/* Finds the value that each data source keeps; of[i] is NULL for a COMPUTE one, which keeps none.
 * `why` is for TOLD_OTHERWISE. */
static enum told ask_sidecar(const struct labels_side *side, const char *name,
			     const struct sidecar_ds **of, struct reason *why)
{
	const struct layout_header *head = side->head;
	uint64_t listed = 0, kept = 0, at = 0;

	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		of[i] = NULL;
		kept += head->ds[i].type != DST_COMPUTE;
	}
	for (size_t n = 0; side->sidecar && n < side->sidecar->count; n++) {
		const struct sidecar_ds *value = &side->sidecar->ds[n];

		if (!sidecar_tells_of(side->sidecar, value, side->file))
			continue;
		while (at < head->ds_cnt && head->ds[at].type == DST_COMPUTE)
			at++;
		if (at < head->ds_cnt)
			of[at++] = value;
		listed++;
	}
	if (!listed)
		return TOLD_NOTHING;
	if (listed == kept)
		return TOLD;
	reason_add(why, "%s has %llu data source%s and its sidecar lists %llu%s: which is which is "
		   "not known", name, (unsigned long long)kept, kept == 1 ? "" : "s",
		   (unsigned long long)listed,
		   side->sidecar->failed ? " (its last update failed)" : "");
	return TOLD_OTHERWISE;
}

/* ---- by label ---- */

struct by_label {
	const struct labels_side *live, *backup;
	const struct sidecar_ds **ours, **theirs;       /* [ds_cnt] of each */
	uint64_t *map;
	bool differ_said;
	int backup_has_more;    /* labels than live: 1 or 0; -1: not looked yet */
	struct reason *why;
};

static bool is_same(const struct sidecar_ds *x, const struct sidecar_ds *y)
{
	if (!*x->name || strcmp(x->name, y->name))
		return false;
	return x->multiple || y->multiple || !*x->label || !*y->label ||
	       !strcmp(x->label, y->label);
}

/* How often it stands in the sidecar, in whichever file. */
static size_t count_same(const struct sidecar *sidecar, const struct sidecar_ds *ds)
{
	size_t count = 0;

	for (size_t i = 0; i < sidecar->count; i++)
		count += is_same(&sidecar->ds[i], ds);
	return count;
}

/* Has `x` a label that `y` lacks? */
static bool has_more(const struct sidecar *x, const struct sidecar *y)
{
	for (size_t i = 0; i < x->count; i++)
		if (!count_same(y, &x->ds[i]))
			return true;
	return false;
}

/* "%" is written "%%". */
static const char *unit_of(const struct sidecar_ds *ds)
{
	return strcmp(ds->unit, "%%") ? ds->unit : "%";
}

static bool same_unit(const struct sidecar_ds *x, const struct sidecar_ds *y)
{
	return !*x->unit || !*y->unit || !strcmp(unit_of(x), unit_of(y));
}

static const char *label_of(const struct sidecar_ds *ds)
{
	return *ds->label ? ds->label : ds->name;
}

/* Those of `file` alone, or of all files where that is NULL. */
static void list_labels(const struct sidecar *sidecar, const char *file, char *buffer, size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (size_t i = 0; i < sidecar->count; i++) {
		const char *label = label_of(&sidecar->ds[i]);

		if (file && !sidecar_tells_of(sidecar, &sidecar->ds[i], file))
			continue;
		size_t room = size - used - (i + 1 < sidecar->count ? sizeof(",...") : 1);

		if (strlen(label) + 1 > room) {
			snprintf(buffer + used, size - used, "%s...", used ? "," : "");
			return;
		}
		used += (size_t)snprintf(buffer + used, size - used, "%s%s", used ? "," : "",
				 label);
	}
}

static int differ(struct by_label *by)
{
	char ours[100], theirs[100];

	if (!by->differ_said) {
		list_labels(by->live->sidecar, NULL, ours, sizeof(ours));
		list_labels(by->backup->sidecar, NULL, theirs, sizeof(theirs));
		bool as_whole = strcmp(ours, theirs);
		if (!as_whole) {
			list_labels(by->live->sidecar, by->live->file, ours, sizeof(ours));
			list_labels(by->backup->sidecar, by->backup->file, theirs, sizeof(theirs));
		}
		reason_add(by->why, as_whole ? "labels differ: live has %s and backup has %s"
			   : "labels differ: live keeps %s in this file and backup %s", ours,
			   strcmp(ours, theirs) ? theirs : "others");
	}
	by->differ_said = true;
	return REFUSED;
}

/* Sees whether live's i-th may take from the backup's j-th, which has its label. */
static int check_pair(struct by_label *by, uint64_t i, uint64_t j)
{
	const struct layout_ds *live = &by->live->head->ds[i], *backup = &by->backup->head->ds[j];
	const struct sidecar_ds *ours = by->ours[i], *theirs = by->theirs[j];

	if (live->type != backup->type) {
		reason_add(by->why, "data source %s (%.60s): live is %s and backup is %s",
			   live->name, label_of(ours), layout_dst_name(live->type),
			   layout_dst_name(backup->type));
		return REFUSED;
	}
	if (!same_unit(ours, theirs)) {
		reason_add(by->why, "data source %s (%.60s): live is in %.20s and backup in %.20s",
			   live->name, label_of(ours), unit_of(ours), unit_of(theirs));
		return REFUSED;
	}
	by->map[i] = j;
	return 0;
}

/* The only data source that keeps a value, in a file of storage type MULTIPLE; LAYOUT_NO_DS. */
static uint64_t only_value(const struct layout_header *head, const struct sidecar_ds *const *of)
{
	uint64_t found = LAYOUT_NO_DS;

	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		if (!of[i])
			continue;
		if (found != LAYOUT_NO_DS || !of[i]->multiple)
			return LAYOUT_NO_DS;
		found = i;
	}
	return found;
}

/* Does a rename rule say which is live's i-th, the name of the value being in that of the file?
 * (One that changes the host alone does not.) */
static bool is_ruled(const struct by_label *by, uint64_t i, uint64_t *ret_j)
{
	*ret_j = only_value(by->backup->head, by->theirs);
	return by->backup->ruled && strcmp(by->live->file, by->backup->file) &&
	       *ret_j != LAYOUT_NO_DS && only_value(by->live->head, by->ours) == i &&
	       !is_same(by->ours[i], by->theirs[*ret_j]);
}

/* Finds the backup's for live's i-th. */
static int match_label(struct by_label *by, uint64_t i)
{
	const struct sidecar *live = by->live->sidecar, *backup = by->backup->sidecar;
	const struct sidecar_ds *ours = by->ours[i];
	uint64_t found = LAYOUT_NO_DS;
	size_t there = count_same(backup, ours);

	if (is_ruled(by, i, &found))
		return check_pair(by, i, found);
	found = LAYOUT_NO_DS;
	if (!there) {
		if (by->backup_has_more < 0)
			by->backup_has_more = has_more(backup, live);
		return by->backup_has_more ? differ(by) : 0;
	}
	for (uint64_t j = 0; j < by->backup->head->ds_cnt && found == LAYOUT_NO_DS; j++)
		if (by->theirs[j] && is_same(by->theirs[j], ours))
			found = j;
	if (found == LAYOUT_NO_DS)
		return 0;               /* another file has it */
	if (there > 1 || count_same(live, by->theirs[found]) > 1) {
		reason_add(by->why, "data source %s (%.60s): the label stands twice in %s",
			   by->live->head->ds[i].name, label_of(ours),
			   there > 1 ? "backup" : "live");
		return REFUSED;
	}
	return check_pair(by, i, found);
}

static int map_by_label(struct by_label *by, uint64_t *ret_refused)
{
	const struct layout_header *live = by->live->head;
	uint64_t matched = 0, refused = 0;

	for (uint64_t i = 0; i < live->ds_cnt; i++) {
		by->map[i] = LAYOUT_NO_DS;
		if (by->ours[i] ? match_label(by, i)
				: match_ds(live, i, by->backup->head, by->map, by->why))
			refused++;
		else if (by->map[i] != LAYOUT_NO_DS)
			matched++;
	}
	*ret_refused = refused;
	if (!matched && !refused)
		differ(by);
	return matched ? 0 : REFUSED;
}

/* ---- one or the other ---- */

static int refuse_all(const struct layout_header *live, uint64_t *map, uint64_t *ret_refused)
{
	for (uint64_t i = 0; i < live->ds_cnt; i++)
		map[i] = LAYOUT_NO_DS;
	*ret_refused = live->ds_cnt;
	return REFUSED;
}

static int map_numbers(const struct labels_side *live, const struct labels_side *backup,
		       uint64_t *map, struct labels_verdict *verdict, struct reason *why)
{
	const struct layout_header *x = live->head, *y = backup->head;
	int r = labels_by_name(x, y, map, &verdict->refused, why);

	verdict->numbers = !r && has_numbers_only(x);
	verdict->unproven = verdict->numbers && (x->ds_cnt > 1 || y->ds_cnt > 1);
	return r;
}

/* A sidecar stands there and is of no use. */
static int map_useless(struct by_label *by, enum labels_match match, struct labels_verdict *verdict)
{
	const struct layout_header *live = by->live->head, *backup = by->backup->head;
	const struct labels_side *side[] = { by->live, by->backup };
	bool by_name = match == LABELS_AUTO && !has_numbers_only(live);
	int r = by_name ? labels_by_name(live, backup, by->map, &verdict->refused, by->why)
			: refuse_all(live, by->map, &verdict->refused);

	verdict->told = verdict->useless = true;
	for (int i = 0; i < 2; i++)
		if (side[i]->useless)
			reason_add(by->why, "%s sidecar is of no use, %s: %s", i ? "backup" : "live",
				   by_name ? "data sources went by their names"
				   : match == LABELS_LABEL ? "and match is \"label\""
				   : "and numbers alone prove nothing", side[i]->useless);
	return r;
}

static int map_told(struct by_label *by, enum labels_match match, struct labels_verdict *verdict)
{
	const struct layout_header *live = by->live->head;
	enum told ours = ask_sidecar(by->live, "live", by->ours, by->why);
	enum told theirs = ask_sidecar(by->backup, "backup", by->theirs, by->why);

	verdict->told = ours != TOLD_NOTHING || theirs != TOLD_NOTHING;
	if (ours == TOLD && theirs == TOLD)
		return map_by_label(by, &verdict->refused);
	if (ours == TOLD_OTHERWISE || theirs == TOLD_OTHERWISE)
		return refuse_all(live, by->map, &verdict->refused);
	if (by->live->useless || by->backup->useless)
		return map_useless(by, match, verdict);
	if (match == LABELS_AUTO)
		return map_numbers(by->live, by->backup, by->map, verdict, by->why);
	verdict->told = true;
	const char *lacks = ours == TOLD ? "backup" : theirs == TOLD ? "live" : "live or backup";
	reason_add(by->why, "no sidecar of %s tells which data source is which, and match is "
		   "\"label\"", lacks);
	return refuse_all(live, by->map, &verdict->refused);
}

int labels_map(const struct labels_side *live, const struct labels_side *backup,
	       enum labels_match match, uint64_t *map, struct labels_verdict *ret,
	       struct reason *why)
{
	struct labels_verdict verdict = { 0 };
	struct by_label by = {
		.live = live,
		.backup = backup,
		.map = map,
		.backup_has_more = -1,
		.why = why,
	};
	int r = -ENOMEM;

	reason_set(why, "%s", "");
	if (match == LABELS_NAME) {
		r = labels_by_name(live->head, backup->head, map, &verdict.refused, why);
		*ret = verdict;
		return r;
	}
	by.ours = calloc(live->head->ds_cnt, sizeof(const struct sidecar_ds *));
	by.theirs = calloc(backup->head->ds_cnt, sizeof(const struct sidecar_ds *));
	if (by.ours && by.theirs) {
		r = map_told(&by, match, &verdict);
		*ret = verdict;
	}
	free(by.ours);
	free(by.theirs);
	return r;
}

/* ---- two files of one live file's ---- */

/* The value that the data source of this name keeps, or NULL. */
static const struct sidecar_ds *find_value(const struct layout_header *head,
					   const struct sidecar_ds *const *of, const char *name)
{
	bool twice;
	uint64_t i = find_ds(head, name, &twice);

	return i == LAYOUT_NO_DS || twice ? NULL : of[i];
}

/* `same_file`: the two files have one name, and so one value, where there is one for each. */
static bool contradicts(const struct sidecar_ds *x, const struct sidecar_ds *y, bool same_file)
{
	bool by_rule = !same_file && x && y && x->multiple && y->multiple;

	return x && y && *x->name && *y->name &&
	       ((!by_rule && !is_same(x, y)) || !same_unit(x, y));
}

bool labels_disagree(const struct labels_side *x, const struct labels_side *y,
		     const char **ret_number)
{
	const struct sidecar_ds **ours = calloc(x->head->ds_cnt, sizeof(*ours));
	const struct sidecar_ds **theirs = calloc(y->head->ds_cnt, sizeof(*theirs));
	bool same_file = !strcmp(x->file, y->file), disagree = false;

	if (ours && theirs && ask_sidecar(x, "", ours, NULL) == TOLD &&
	    ask_sidecar(y, "", theirs, NULL) == TOLD)
		for (uint64_t i = 0; i < x->head->ds_cnt && !disagree; i++) {
			*ret_number = x->head->ds[i].name;
			disagree = is_number(*ret_number) &&
				   contradicts(ours[i], find_value(y->head, theirs, *ret_number),
					       same_file);
		}
	free(ours);
	free(theirs);
	return disagree;
}
