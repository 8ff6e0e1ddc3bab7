/* convert: any readable source of a database → a file in this machine's own form: rrdmerge
 * --convert. */
#ifndef CONVERT_H
#define CONVERT_H

#include <stdbool.h>
#include <stdint.h>

#include "reason.h"

struct convert_result {
	const char *origin;             /* what wrote OLD, in words */
	unsigned version;
	uint64_t ds_cnt, rra_cnt, size; /* size: bytes of NEW */
	int64_t last_up;                /* seconds since the epoch */
	bool torn;                      /* OLD was copied while it was being updated … */
	struct reason torn_why;         /* … and where that shows */
};

/* Writes the database in the file `old` to `new`, which must not exist: whole and synced, or not at
 * all.  A dry run only reads.  Whose fault it was is in `ret_failed`: `old`, or `new`. */
int convert_file(const char *old, const char *new, bool dry_run, struct convert_result *ret,
		 const char **ret_failed, struct reason *why);

#endif
