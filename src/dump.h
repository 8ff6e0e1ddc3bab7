/* dump: rrdtool's XML dumps → the same database in memory that an RRD file becomes.
 *
 * What `rrdtool dump` of 1.0 to 1.9 writes (src/rrd_dump.c), with any of its headers or none,
 * plain or packed.  The grammar, whose elements must all be there:
 *
 *    rrd       version step lastupdate ds+ rra+
 *    ds        name type last_ds value unknown_sec, and minimal_heartbeat min max, or cdef
 *    rra       cf pdp_per_row [xff] [params] cdp_prep database
 *    params    what the consolidation function has: xff, hw_alpha …
 *    cdp_prep  ds × as many as there are
 *    ds        [primary_value secondary_value …] and value unknown_datapoints, or Holt-Winters'
 *    database  row+, oldest first, the last one that of lastupdate
 *    row       v × as many as there are data sources
 *
 * A dump does not tell all: numbers have eleven digits, fractions of a second of the last update
 * are left out, and so is how the ring was turned (here its last row is the newest).
 *
 * Every byte is hostile: no element that is not in the table is passed by, no entity is ever
 * declared or expanded, and text, tokens, counts and the database that comes of it are bounded. */
#ifndef DUMP_H
#define DUMP_H

#include <stdbool.h>
#include <stddef.h>

#include "rrd.h"

/* Text beyond this, unpacked, is not read. */
#define DUMP_TEXT_MAX (UINT64_C(4) << 30)

/* Reads a whole dump.  `db` is then as rrd_read() would have left it, had `rrdtool restore` made
 * an RRD of the dump on this machine; head.file_size is the size of that one, and the stamp is
 * that of the dump.  Returns as rrd_read() does:
 *    REFUSED    no dump, or one that is damaged,
 *    -ESTALE    the file changed while it was read: try again,
 *    -ENOMEM, -EIO … */
int dump_read(struct rrd *db, int fd, struct reason *why);

/* By the first element, seen in the first 4096 bytes of what is unpacked: */
enum dump_root {
	DUMP_ROOT_RRD,          /* rrdtool's dump */
	DUMP_ROOT_NAGIOS,       /* pnp4nagios' sidecar */
	DUMP_ROOT_OTHER
};
/* Returns as dump_read() does, but for REFUSED: what cannot be unpacked is OTHER. */
int dump_look(int fd, enum dump_root *ret_root, struct reason *why);

/* The names under which a dump of `rel` (*.rrd) may stand beside it, n from 0 to DUMP_NAMES - 1,
 * the likeliest first: x.xml, x.rrd.xml, each also packed.  False where there is no such name, or
 * `buffer` is too small. */
#define DUMP_NAMES 8
bool dump_name(const char *rel, unsigned n, char *buffer, size_t size);
/* The reverse: the path of the RRD that a file of this name would be a dump of.  False where no
 * dump has such a name. */
bool dump_stands_for(const char *path, char *buffer, size_t size);

#endif
