#include "config.h"
#include "rrd.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "foreign.h"

/* Most headers fit in here, so that one read is enough to know the file. */
#define FIRST_READ 4096
/* A buffer larger than this is not kept for the next file. */
#define KEEP_CAPACITY (UINT64_C(32) << 20)

#define CDP_PRIMARY 8           /* rrdtool's CDP_primary_val and CDP_secondary_val */
#define CDP_SECONDARY 9

void rrd_free(struct rrd *db)
{
	layout_free(&db->head);
	free(db->bytes);
	*db = (struct rrd){ 0 };
}

static int reserve(struct rrd *db, size_t size)
{
	if (size <= db->capacity && db->capacity <= KEEP_CAPACITY)
		return 0;
	free(db->bytes);
	db->capacity = 0;
	db->bytes = malloc(size);
	if (!db->bytes)
		return -ENOMEM;
	db->capacity = size;
	return 0;
}

static int read_part(struct rrd *db, int fd, size_t from, size_t to, struct reason *why)
{
	int r = io_pread(fd, db->bytes + from, to - from, from);

	if (r == -ENODATA) {
		reason_set(why, "became shorter while it was read");
		return -ESTALE;
	}
	return r ? reason_errno(why, -r, "cannot be read") : 0;
}

int rrd_adopt(struct rrd *db, uint8_t *image, size_t size, const char *origin,
	      struct reason *why)
{
	struct layout_header head;

	layout_free(&db->head);
	free(db->bytes);
	db->bytes = image;
	db->size = db->capacity = size;
	int r = layout_measure(image, size, size, &head, why);
	if (!r)
		r = layout_decode(image, size, &head, why);
	if (!r && head.file_size != size) {
		layout_free(&head);
		reason_set(why, "is truncated: %llu bytes of %llu", (unsigned long long)size,
			   (unsigned long long)head.file_size);
		r = REFUSED;
	}
	if (r) {
		db->size = 0;
		return r;
	}
	db->head = head;
	db->head.native = false;
	db->origin = origin;
	return 0;
}

/* From another kind of machine's form to ours. */
static int translate(struct rrd *db, struct reason *why)
{
	const char *origin = db->head.form->name;
	uint8_t *image;
	size_t size;
	int r = foreign_translate(&db->head, db->bytes, &image, &size, why);

	return r ? r : rrd_adopt(db, image, size, origin, why);
}

/* Reads the first bytes, the header, and then what the header says is there. */
static int read_all(struct rrd *db, int fd, uint64_t file_size, struct reason *why)
{
	struct layout_header head;
	size_t have = file_size < FIRST_READ ? (size_t)file_size : FIRST_READ;
	int r;

	/* One buffer for all: what the file says of its own size is not known yet. */
	r = reserve(db, (size_t)file_size);
	if (r)
		return reason_errno(why, -r, "cannot be read (%llu bytes)",
				    (unsigned long long)file_size);
	r = read_part(db, fd, 0, have, why);
	if (!r)
		r = layout_measure(db->bytes, have, file_size, &head, why);
	if (!r && head.size > have) {
		r = read_part(db, fd, have, (size_t)head.size, why);
		have = (size_t)head.size;
	}
	if (!r)
		r = layout_decode(db->bytes, have, &head, why);
	if (r)
		return r;
	db->head = head;
	if (head.file_size > file_size) {
		reason_set(why, "is truncated: %llu bytes of %llu",
			   (unsigned long long)file_size, (unsigned long long)head.file_size);
		return REFUSED;
	}
	db->size = (size_t)head.file_size;
	if (db->size > have)
		r = read_part(db, fd, have, db->size, why);
	return !r && !head.native ? translate(db, why) : r;
}

int rrd_read(struct rrd *db, int fd, struct reason *why)
{
	struct stat before;

	layout_free(&db->head);
	db->size = 0;
	db->origin = NULL;
	if (fstat(fd, &before))
		return reason_errno(why, errno, "cannot be looked at");
	if ((uint64_t)before.st_size > RRD_SIZE_MAX) {
		reason_set(why, "is too large to be an RRD: %llu bytes",
			   (unsigned long long)before.st_size);
		return REFUSED;
	}
	int r = read_all(db, fd, (uint64_t)before.st_size, why);
	if (!r)
		r = io_unchanged(fd, &before, &db->stamp, why);
	if (r) {
		layout_free(&db->head);
		db->size = 0;
	}
	return r;
}

static bool same(double a, double b)
{
	return a == b || (isnan(a) && isnan(b));
}

static bool is_zero(double value)
{
	return value == 0.0;    /* −0 as well */
}

/* A coarse row that a merge has made again is another than rrd_update wrote.  It is whole if the
 * file's own rows of one PDP give it. */
static bool is_made_of_pdps(const struct rrd *db, uint64_t rra, uint64_t ds, double cell)
{
	const struct layout_rra *def = &db->head.rra[rra];
	int64_t step = (int64_t)db->head.step, last = rrd_newest(db, rra);
	int64_t first = last - layout_resolution(&db->head, rra) + step;
	uint64_t fine = 0, known = 0;
	double sum = 0, min = INFINITY, max = -INFINITY, value = NAN;

	while (fine < db->head.rra_cnt &&
	       (db->head.rra[fine].pdp_cnt != 1 || db->head.rra[fine].cf > CF_LAST ||
		rrd_oldest(db, fine) > first))
		fine++;
	if (def->pdp_cnt == 1 || fine == db->head.rra_cnt)
		return false;
	for (int64_t time = first; time <= last; time += step) {
		value = rrd_rows(db, fine)[rrd_slot(db, fine, time) * db->head.ds_cnt + ds];
		if (isnan(value))
			continue;
		known++;
		sum += value;
		min = fmin(min, value);
		max = fmax(max, value);
	}
	value = def->cf == CF_AVERAGE ? sum / (double)known : def->cf == CF_MIN ? min
		: def->cf == CF_MAX ? max : value;
	return known && fabs(cell - value) <= 1e-9 * fmax(fabs(cell), fabs(value));
}

/* What rrd_update last wrote into a row is still in cdp_prep: the primary value where the
 * update completed one row, the secondary where it completed several (rrdtool
 * src/rrd_update.c, write_to_rras).  Both are zero from create until the RRA's first row, and
 * a row that was unknown may have been filled by a merge since; neither tells anything. */
static bool cell_agrees(const struct rrd *db, uint64_t rra, uint64_t ds)
{
	double primary = layout_cdp_double(&db->head, db->bytes, rra, ds, CDP_PRIMARY);
	double secondary = layout_cdp_double(&db->head, db->bytes, rra, ds, CDP_SECONDARY);
	double cell = rrd_rows(db, rra)[db->head.rra[rra].cur_row * db->head.ds_cnt + ds];

	if (same(cell, primary) || same(cell, secondary))
		return true;
	if (is_zero(primary) && is_zero(secondary))
		return true;
	return !isnan(cell) && (isnan(primary) || isnan(secondary) ||
				is_made_of_pdps(db, rra, ds, cell));
}

bool rrd_is_torn(const struct rrd *db, struct reason *why)
{
	for (uint64_t rra = 0; rra < db->head.rra_cnt; rra++) {
		enum layout_cf cf = db->head.rra[rra].cf;

		if (cf != CF_AVERAGE && cf != CF_MIN && cf != CF_MAX && cf != CF_LAST)
			continue;
		for (uint64_t ds = 0; ds < db->head.ds_cnt; ds++) {
			if (cell_agrees(db, rra, ds))
				continue;
			reason_set(why, "is torn, copied while it was being updated: the newest row "
				   "of RRA %llu (%s) is not the one that its header says was written",
				   (unsigned long long)rra, layout_cf_name(cf));
			return true;
		}
	}
	return false;
}

int64_t rrd_newest(const struct rrd *db, uint64_t rra)
{
	int64_t resolution = layout_resolution(&db->head, rra);

	return db->head.last_up - db->head.last_up % resolution;
}

int64_t rrd_oldest(const struct rrd *db, uint64_t rra)
{
	int64_t rows = (int64_t)db->head.rra[rra].row_cnt;

	return rrd_newest(db, rra) - (rows - 1) * layout_resolution(&db->head, rra);
}

uint64_t rrd_slot(const struct rrd *db, uint64_t rra, int64_t time)
{
	const struct layout_rra *def = &db->head.rra[rra];
	uint64_t back = (uint64_t)((rrd_newest(db, rra) - time) /
				   layout_resolution(&db->head, rra));

	return back <= def->cur_row ? def->cur_row - back : def->cur_row + def->row_cnt - back;
}
