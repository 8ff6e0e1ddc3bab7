/* counterparts: which files of one backup belong to a live file, asked of a disk that may hang: by
 * a thread that can be left behind with it (patience.h). */
#ifndef COUNTERPARTS_H
#define COUNTERPARTS_H

#include "patience.h"
#include "source.h"

/* What the backup says. */
struct counterparts {
	/* By path, rule or dump, and those of pnp4nagios' other storage type. */
	struct source_found found;
	int r;                          /* 0, or what source_find() says; found.error: see there */
};

/* Begins to ask source `n` of the set for the files that belong to `rel` of the live tree at the
 * path `live`; NULL: sidecars, of which live has one, are not asked.  All that is given is copied.
 * *ret_answer is not to be looked at before patience_wait() is true, and not after patience_end(),
 * which the caller calls in any case, and which frees it.
 * 0; -EAGAIN where too many disks hang already; -ENOMEM or another -errno: nothing was begun. */
int counterparts_ask(const struct source_set *sources, unsigned n, const char *rel,
		     const char *live, struct patience **ret,
		     const struct counterparts **ret_answer);

#endif
