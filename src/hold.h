/* hold: the short time in which we alone have a live file, and the writing in it.
 *
 * rrdtool drops an update that meets a lock.  A write lease makes the updater's open() wait
 * instead: it is granted only while nobody else has the file open.  Under the lease, the lock
 * keeps out whoever opened before us by a way that knows no leases. */
#ifndef HOLD_H
#define HOLD_H

#include <stdbool.h>
#include <stdint.h>

#include "io.h"
#include "plan.h"

struct hold {
	int fd;                 /* -1 when nothing is held */
	bool leased, locked;
	uint64_t since_ns;
};

/* Call once at the start of a program: the kernel tells of a waiting opener with SIGIO, which
 * would kill. */
void hold_prepare(void);

/* Opens `rel` beneath `root` for writing and takes the lease; `unleased`: does without.
 *    -EAGAIN    somebody has it open: try again later,
 *    -ENOLCK    the filesystem knows no leases, or we may not take one: the caller may decide
 *               to go on unleased, with a lock alone,
 *    other      cannot be opened.
 * Nothing is held unless it returns 0, and nobody who watches the file was told of a write. */
int hold_take(int root, const char *rel, bool unleased, struct hold *ret, struct reason *why);

/* Locks, and checks that the file is still the one planned on: same inode at the same path,
 * same times, the whole header byte for byte.
 *    -EAGAIN    somebody has it locked,
 *    -ESTALE    changed since: plan again. */
int hold_verify(struct hold *hold, int root, const char *rel, const struct rrd *live);

/* Writes extents from number *next on, at most `budget` bytes; advances *next (and cuts the
 * extent begun) and live's stamp.  Nothing is allocated, logged or synced here. */
int hold_write(struct hold *hold, struct rrd *live, struct plan *plan, size_t *next,
	       uint64_t budget);

/* Unlocks, gives the lease up, closes.  Returns how long it was held, nanoseconds. */
uint64_t hold_release(struct hold *hold);

#endif
