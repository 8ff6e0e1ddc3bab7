#include "config.h"

#include "dumped.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

#define READONLY 1      /* rrdtool src/rrd_tool.h, RRD_READONLY: not in the installed headers */
#define HISTORY 10      /* violations that restore reads */
#define HISTORY_MAX 28
#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

struct opened {
	rrd_t rrd;
	rrd_file_t *file;
	uint8_t *bytes;
};

static char text[256];

static void open_one(struct opened *db, const char *path)
{
	size_t size;

	rrd_clear_error();
	rrd_init(&db->rrd);
	db->file = rrd_open(path, &db->rrd, READONLY);
	if (!db->file)
		oracle_die("%s: %s", path, rrd_get_error());
	db->bytes = oracle_slurp(path, &size);
	if (size < (size_t)db->file->header_len)
		oracle_die("%s: %zu bytes", path, size);
}

static void close_one(struct opened *db)
{
	rrd_close(db->file);
	rrd_free(&db->rrd);
	free(db->bytes);
}

void dumped_dump(const char *rrd, const char *xml, int header)
{
	rrd_clear_error();
	if (rrd_dump_opt_r(rrd, (char *)xml, header))
		oracle_die("dump of %s: %s", rrd, rrd_get_error());
}

bool dumped_restore(const char *xml, const char *rrd)
{
	char *args[] = { strdup("restore"), strdup("-f"), strdup(xml), strdup(rrd), NULL };

	rrd_clear_error();
	unlink(rrd);
	bool good = rrd_restore(4, args) == 0;
	for (unsigned i = 0; i < 4; i++)
		free(args[i]);
	return good;
}

static bool is_near(double a, double b)
{
	return a == b || (isnan(a) && isnan(b)) ||
	       fabs(a - b) <= fmax(1e-14 * fmax(fabs(a), fabs(b)), 8 * DBL_TRUE_MIN);
}

/* Of doubles and counts alike: as doubles, counts are so small that all are near each other. */
static bool is_same(unival a, unival b)
{
	return a.u_cnt == b.u_cnt ||
	       (fpclassify(a.u_val) != FP_SUBNORMAL && fpclassify(b.u_val) != FP_SUBNORMAL &&
		is_near(a.u_val, b.u_val));
}

static const char *differ(const char *what, unsigned long i, unsigned long j, unsigned long k)
{
	snprintf(text, sizeof(text), "%s differs: %lu, %lu, %lu", what, i, j, k);
	return text;
}

static const char *compare_ds(const struct opened *x, const struct opened *y, unsigned long i)
{
	const ds_def_t *a = &x->rrd.ds_def[i], *b = &y->rrd.ds_def[i];
	const pdp_prep_t *p = &x->rrd.pdp_prep[i], *q = &y->rrd.pdp_prep[i];

	if (strcmp(a->ds_nam, b->ds_nam) || strcmp(a->dst, b->dst))
		return differ("a data source's name or type", i, 0, 0);
	if (strcmp(a->dst, "COMPUTE") == 0 && memcmp(a->par, b->par, sizeof(a->par)))
		return differ("a formula", i, 0, 0);
	if (strcmp(p->last_ds, q->last_ds))
		return differ("last_ds", i, 0, 0);
	for (unsigned n = 0; n < COUNT(a->par); n++)
		if (!is_same(a->par[n], b->par[n]))
			return differ("a parameter of a data source", i, n, 0);
	for (unsigned n = 0; n < COUNT(p->scratch); n++)
		if (!is_same(p->scratch[n], q->scratch[n]))
			return differ("pdp_prep", i, n, 0);
	return NULL;
}

static const char *compare_cdp(const struct opened *x, const struct opened *y,
			       const struct opened *original, unsigned long rra, unsigned long ds)
{
	unsigned long at = rra * x->rrd.stat_head->ds_cnt + ds;
	const cdp_prep_t *a = &x->rrd.cdp_prep[at], *b = &y->rrd.cdp_prep[at];
	bool history = strcmp(x->rrd.rra_def[rra].cf_nam, "FAILURES") == 0;

	if (history && memcmp(a, b, HISTORY))
		return differ("violations", rra, ds, 0);
	if (history && original) {
		const char *whole = (const char *)&original->rrd.cdp_prep[at];
		unsigned long len = original->rrd.rra_def[rra].par[RRA_window_len].u_cnt;

		if (len > HISTORY_MAX || memcmp(a, whole, len))
			return differ("violations beyond what restore reads", rra, ds, 0);
	}
	for (unsigned n = history ? CDP_primary_val : 0; n < COUNT(a->scratch); n++)
		if (!is_same(a->scratch[n], b->scratch[n]))
			return differ("cdp_prep", rra, ds, n);
	return NULL;
}

static double cell(const struct opened *db, size_t offset, unsigned long rra, unsigned long age,
		   unsigned long ds)
{
	unsigned long rows = db->rrd.rra_def[rra].row_cnt;
	unsigned long slot = (db->rrd.rra_ptr[rra].cur_row + rows - age) % rows;

	return oracle_value(db->bytes, offset + (slot * db->rrd.stat_head->ds_cnt + ds) *
				       sizeof(double));
}

static const char *compare_rra(const struct opened *x, const struct opened *y, unsigned long i,
			       size_t *offset)
{
	const rra_def_t *a = &x->rrd.rra_def[i], *b = &y->rrd.rra_def[i];
	unsigned long ds_cnt = x->rrd.stat_head->ds_cnt;

	if (strcmp(a->cf_nam, b->cf_nam) || a->row_cnt != b->row_cnt || a->pdp_cnt != b->pdp_cnt)
		return differ("an RRA", i, 0, 0);
	for (unsigned n = 0; n < COUNT(a->par); n++)
		if (!is_same(a->par[n], b->par[n]))
			return differ("a parameter of an RRA", i, n, 0);
	for (unsigned long age = 0; age < a->row_cnt; age++)
		for (unsigned long ds = 0; ds < ds_cnt; ds++)
			if (!is_near(cell(x, *offset, i, age, ds), cell(y, *offset, i, age, ds)))
				return differ("a row", i, age, ds);
	*offset += a->row_cnt * ds_cnt * sizeof(double);
	return NULL;
}

static const char *compare(const struct opened *x, const struct opened *y,
			   const struct opened *original)
{
	const stat_head_t *a = x->rrd.stat_head, *b = y->rrd.stat_head;
	size_t offset = (size_t)x->file->header_len;
	const char *found = NULL;

	/* What restore writes of "<version> 1 </version>" is "1". */
	if (atoi(a->version) != atoi(b->version) || a->ds_cnt != b->ds_cnt ||
	    a->rra_cnt != b->rra_cnt || a->pdp_step != b->pdp_step ||
	    x->file->header_len != y->file->header_len)
		return differ("the head", 0, 0, 0);
	if (x->rrd.live_head->last_up != y->rrd.live_head->last_up ||
	    x->rrd.live_head->last_up_usec != y->rrd.live_head->last_up_usec)
		return differ("last_up", 0, 0, 0);
	for (unsigned long i = 0; i < a->ds_cnt && !found; i++)
		found = compare_ds(x, y, i);
	for (unsigned long i = 0; i < a->rra_cnt && !found; i++) {
		found = compare_rra(x, y, i, &offset);
		for (unsigned long j = 0; j < a->ds_cnt && !found; j++)
			found = compare_cdp(x, y, original, i, j);
	}
	return found;
}

const char *dumped_difference(const char *ours, const char *restored, const char *original)
{
	struct opened x, y, z;

	open_one(&x, ours);
	open_one(&y, restored);
	if (original)
		open_one(&z, original);
	const char *found = compare(&x, &y, original ? &z : NULL);
	close_one(&x);
	close_one(&y);
	if (original)
		close_one(&z);
	return found;
}
