/* rrd: one database in memory, its rows found by time. */
#ifndef RRD_H
#define RRD_H

#include "io.h"
#include "layout.h"

/* Nothing larger is read: a file of this size is no monitoring data but an attack on memory. */
#define RRD_SIZE_MAX (UINT64_C(1) << 30)

struct rrd {
	struct layout_header head;
	struct io_stamp stamp;  /* of the file at the moment it was read */
	const char *origin;     /* NULL: bytes as in the file; else what they were made from, in
				 * words: a kind of machine, a dump.  Never live. */
	uint8_t *bytes;         /* header and rows in this machine's form */
	size_t size;            /* bytes in use */
	size_t capacity;        /* kept from one file to the next */
};

/* A zeroed struct rrd is empty and may be read into again and again. */
void rrd_free(struct rrd *db);

/* Reads the whole database with pread, neither locking nor mapping the file.  One that another kind
 * of machine wrote is turned into this machine's form (head.native is false, origin set).
 *    REFUSED    not an RRD that we can read,
 *    -ESTALE    the file changed while it was read: try again,
 *    -ENOMEM, -EIO … */
int rrd_read(struct rrd *db, int fd, struct reason *why);

/* The same of an image in this machine's form that was made of something else: header and rows.
 * Takes the image over in any case; `origin` must outlive the database. */
int rrd_adopt(struct rrd *db, uint8_t *image, size_t size, const char *origin,
	      struct reason *why);

/* True where the rows do not agree with what the header says was written last: the file was
 * copied while it was being updated.  Says which RRA in `why`. */
bool rrd_is_torn(const struct rrd *db, struct reason *why);

/* The rows of one RRA, row-major: cell (slot, ds) is [slot * ds_cnt + ds]. */
static inline double *rrd_rows(const struct rrd *db, uint64_t rra)
{
	return (double *)(void *)(db->bytes + db->head.rra[rra].offset);
}

/* A row is named by the time at which it ends, seconds since the epoch; it covers
 * (time − resolution, time].  The newest and the oldest that the ring holds: */
int64_t rrd_newest(const struct rrd *db, uint64_t rra);
int64_t rrd_oldest(const struct rrd *db, uint64_t rra);
/* Where the ring keeps it; `time` must be a row's end within oldest … newest.
 * (rrdtool src/rrd_dump.c and rrd_fetch.c: cur_row is the row that ends at
 * last_up − last_up mod resolution.) */
uint64_t rrd_slot(const struct rrd *db, uint64_t rra, int64_t time);

#endif
