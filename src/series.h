/* series: one data source in one RRA, its values by the time at which their rows end. */
#ifndef SERIES_H
#define SERIES_H

#include "rrd.h"

struct series {
	const double *cell;     /* of the ring's first slot */
	size_t stride;          /* cells from one row to the next */
	uint64_t rows;
	int64_t oldest, newest; /* end times of rows, seconds since the epoch */
	int64_t resolution;     /* seconds; 0: there is no such series */
	uint64_t newest_slot;
	int64_t time;           /* where it was read last, so that the next row is one slot on */
	uint64_t slot;
};

/* `db` must stay as long as it is read. */
static inline struct series series_of(const struct rrd *db, uint64_t rra, uint64_t ds)
{
	const struct layout_rra *def = &db->head.rra[rra];
	struct series s = {
		.cell = rrd_rows(db, rra) + ds,
		.stride = db->head.ds_cnt,
		.rows = def->row_cnt,
		.oldest = rrd_oldest(db, rra),
		.newest = rrd_newest(db, rra),
		.resolution = layout_resolution(&db->head, rra),
		.newest_slot = def->cur_row,
	};

	s.time = s.newest;
	s.slot = s.newest_slot;
	return s;
}

/* Does the ring hold the row that ends at `time`, whatever it says of it? */
static inline bool series_reaches(const struct series *s, int64_t time)
{
	return s->resolution && time >= s->oldest && time <= s->newest;
}

/* NAN: unknown.  The ring must reach `time`, a multiple of the resolution. */
static inline double series_at(struct series *s, int64_t time)
{
	if (time == s->time + s->resolution) {
		s->slot = s->slot + 1 == s->rows ? 0 : s->slot + 1;
	} else if (time != s->time) {
		uint64_t back = (uint64_t)((s->newest - time) / s->resolution);

		s->slot = back <= s->newest_slot ? s->newest_slot - back
						 : s->newest_slot + s->rows - back;
	}
	s->time = time;
	return s->cell[s->slot * s->stride];
}

/* The first multiple of `resolution` that is not before, and the last that is not after. */
static inline int64_t series_end_of(int64_t time, int64_t resolution)
{
	int64_t over = time % resolution;

	return over > 0 ? time - over + resolution : time - over;
}

static inline int64_t series_start_of(int64_t time, int64_t resolution)
{
	int64_t over = time % resolution;

	return over < 0 ? time - over - resolution : time - over;
}

#endif
