#include "config.h"

#include "authority.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

#define READONLY 1      /* rrdtool src/rrd_tool.h, RRD_READONLY: not in the installed headers */
#define ARGS_MAX 64

#pragma GCC diagnostic ignored "-Wdeprecated-declarations"

static void copy_ds(struct authority_ds *to, const ds_def_t *from)
{
	memcpy(to->name, from->ds_nam, sizeof(to->name));
	memcpy(to->type, from->dst, sizeof(to->type));
	to->heartbeat = from->par[DS_mrhb_cnt].u_cnt;
	to->min = from->par[DS_min_val].u_val;
	to->max = from->par[DS_max_val].u_val;
	memcpy(to->par, from->par, sizeof(to->par));
}

static void copy_rra(struct authority_rra *to, const rra_def_t *from, const rra_ptr_t *ptr)
{
	memcpy(to->cf, from->cf_nam, sizeof(to->cf));
	to->row_cnt = from->row_cnt;
	to->pdp_cnt = from->pdp_cnt;
	to->cur_row = ptr->cur_row;
	to->xff = from->par[RRA_cdp_xff_val].u_val;
}

void authority_read(struct authority *db, const char *path)
{
	rrd_t rrd;
	rrd_file_t *file;
	size_t cells;

	rrd_clear_error();
	rrd_init(&rrd);
	file = rrd_open(path, &rrd, READONLY);
	if (!file)
		oracle_die("%s: %s", path, rrd_get_error());
	memset(db, 0, sizeof(*db));
	memcpy(db->version, rrd.stat_head->version, sizeof(db->version));
	db->ds_cnt = rrd.stat_head->ds_cnt;
	db->rra_cnt = rrd.stat_head->rra_cnt;
	db->step = rrd.stat_head->pdp_step;
	db->last_up = rrd.live_head->last_up;
	db->last_up_usec = rrd.live_head->last_up_usec;
	db->header_len = (uint64_t)file->header_len;
	db->file_len = db->header_len;
	db->ds = oracle_alloc(db->ds_cnt, sizeof(*db->ds));
	db->rra = oracle_alloc(db->rra_cnt, sizeof(*db->rra));
	cells = db->ds_cnt * db->rra_cnt;
	db->cdp = oracle_alloc(cells * AUTHORITY_SCRATCH, sizeof(*db->cdp));
	for (uint64_t i = 0; i < db->ds_cnt; i++)
		copy_ds(&db->ds[i], &rrd.ds_def[i]);
	for (uint64_t i = 0; i < db->rra_cnt; i++) {
		copy_rra(&db->rra[i], &rrd.rra_def[i], &rrd.rra_ptr[i]);
		db->file_len += db->rra[i].row_cnt * db->ds_cnt * sizeof(rrd_value_t);
	}
	for (size_t i = 0; i < cells; i++)
		memcpy(db->cdp + i * AUTHORITY_SCRATCH, rrd.cdp_prep[i].scratch,
		       AUTHORITY_SCRATCH * sizeof(*db->cdp));
	rrd_free(&rrd);
	rrd_close(file);
}

void authority_free(struct authority *db)
{
	free(db->ds);
	free(db->rra);
	free(db->cdp);
	memset(db, 0, sizeof(*db));
}

struct authority_rows authority_fetch(const char *path, const char *cf, uint64_t step,
				      int64_t start, int64_t end)
{
	time_t from = start, to = end;
	unsigned long ds_cnt, by = step;
	char **names = NULL;
	rrd_value_t *data = NULL;

	rrd_clear_error();
	if (rrd_fetch_r(path, cf, &from, &to, &by, &ds_cnt, &names, &data))
		oracle_die("%s: fetch: %s", path, rrd_get_error());
	for (unsigned long i = 0; i < ds_cnt; i++)
		free(names[i]);
	free(names);
	return (struct authority_rows){ from, to, by, ds_cnt, data };
}

static int count(const char *const *args)
{
	int n = 0;

	while (args[n])
		n++;
	return n;
}

void authority_create(const char *path, unsigned long step, int64_t start,
		      const char *const *args)
{
	const char *copy[ARGS_MAX];
	int n = count(args);

	if (n > ARGS_MAX)
		oracle_die("too many arguments");
	memcpy(copy, args, (size_t)n * sizeof(*args));
	rrd_clear_error();
	if (rrd_create_r(path, step, start, n, copy))
		oracle_die("cannot create %s: %s", path, rrd_get_error());
}

void authority_update(const char *path, const char *const *args)
{
	const char *copy[ARGS_MAX];
	int n = count(args);

	if (n > ARGS_MAX)
		oracle_die("too many arguments");
	memcpy(copy, args, (size_t)n * sizeof(*args));
	rrd_clear_error();
	if (rrd_update_r(path, NULL, n, copy))
		oracle_die("cannot update %s: %s", path, rrd_get_error());
}

/* For functions that read their arguments as a program does. */
static void call(int (*function)(int, char **), const char *const *args)
{
	char *copy[ARGS_MAX + 1];
	int n = count(args);

	if (n > ARGS_MAX)
		oracle_die("too many arguments");
	for (int i = 0; i < n; i++)
		copy[i] = strdup(args[i]);
	copy[n] = NULL;
	rrd_clear_error();
	if (function(n, copy))
		oracle_die("%s %s: %s", args[0], n > 1 ? args[1] : "", rrd_get_error());
	for (int i = 0; i < n; i++)
		free(copy[i]);
}

void authority_dump_restore(const char *path)
{
	char xml[512];
	const char *args[] = { "restore", "-f", xml, path, NULL };

	snprintf(xml, sizeof(xml), "%s.xml", path);
	rrd_clear_error();
	if (rrd_dump_r(path, xml))
		oracle_die("dump of %s: %s", path, rrd_get_error());
	call(rrd_restore, args);
	unlink(xml);
}

void authority_tune(const char *path, const char *const *args)
{
	const char *all[ARGS_MAX + 3] = { "tune", path };

	memcpy(all + 2, args, (size_t)(count(args) + 1) * sizeof(*args));
	call(rrd_tune, all);
}

void authority_resize(const char *path, unsigned rra, bool grow, unsigned rows)
{
	char which[16], by[16], *dir = strdup(path), *before = getcwd(NULL, 0);
	const char *args[] = { "resize", path, which, grow ? "GROW" : "SHRINK", by, NULL };

	snprintf(which, sizeof(which), "%u", rra);
	snprintf(by, sizeof(by), "%u", rows);
	*strrchr(dir, '/') = '\0';
	if (!before || chdir(dir) < 0)
		oracle_die("%s: %s", dir, strerror(errno));
	call(rrd_resize, args);
	if (rename("resize.rrd", path) < 0 || chdir(before) < 0)
		oracle_die("%s: %s", path, strerror(errno));
	free(before);
	free(dir);
}

uint8_t *authority_slurp(const char *path, size_t *ret_size)
{
	return oracle_slurp(path, ret_size);
}

void authority_spill(const char *path, const void *bytes, size_t size)
{
	if (access(path, F_OK) < 0)
		oracle_spill(path, bytes, size);
	else
		oracle_overwrite(path, bytes, size);
}

uint64_t authority_random(uint64_t *state)
{
	return oracle_random(state);
}
