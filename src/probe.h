/* probe: do directories answer?  Asked by processes of their own: one that hangs on a disk can be
 * left behind, where a thread would keep the whole program from changing its user. */
#ifndef PROBE_H
#define PROBE_H

#include <stdbool.h>
#include <stddef.h>

/* Looks at the paths and at what patterns (glob(7)) among them match, all at once, for up to
 * `wait_ms`.  ret[i]: path i has not answered, if only to say that it is not there; false, too,
 * where no process was to be had.  Only while the program has no threads. */
void probe_hanging(char *const *path, size_t count, int wait_ms, bool *ret);

#endif
