/* forgotten: patterns of backup files that will never appear in the live tree, kept over restarts.
 *
 * They stand in STATE_DIR/forgotten, one on a line (escaped as in wire.h; a line that begins with
 * '#' is a comment), written anew as a whole, atomically and synced, with each change.  With or
 * without a ledger.  Every function may be called from any thread; forgotten_is() never waits for
 * a disk. */
#ifndef FORGOTTEN_H
#define FORGOTTEN_H

#include <stdbool.h>
#include <stddef.h>

#include "reason.h"

#define FORGOTTEN_MAX 1000      /* patterns */

struct forgotten;

/* Reads what is there; where that cannot be read, with the reason, nothing is forgotten, and
 * nothing can be changed.  0, that -errno or REFUSED, and *ret is set all the same; or
 * -ENOMEM. */
int forgotten_open(const char *state_dir, struct forgotten **ret, struct reason *why);
void forgotten_free(struct forgotten *forgotten);

/* Does a pattern match the path, or a directory that it lies in?  As fnmatch(3) without flags: a
 * '*' matches a '/' too. */
bool forgotten_matches(const char *pattern, const char *rel);
/* Does any of ours?  `arg` is the struct forgotten. */
bool forgotten_is(const char *rel, void *arg);

/* Adds or takes away a pattern, and has that on disk.
 *  0
 *  -EEXIST, -ENOENT    it is there already; it is not
 *  -EBUSY              another change is under way
 *  REFUSED, -errno     with the reason: it stays as it was */
int forgotten_change(struct forgotten *forgotten, const char *pattern, bool add,
		     struct reason *why);

/* A copy of pattern number n, to free; NULL: there are not so many. */
char *forgotten_get(struct forgotten *forgotten, size_t n);

#endif
