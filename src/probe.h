/* probe: do directories answer?  Asked by a process of its own: one that hangs on a disk can be
 * left behind, where a thread would keep the whole program from changing its user. */
#ifndef PROBE_H
#define PROBE_H

#include <stddef.h>

/* Looks at the paths and at what patterns (glob(7)) among them match, one after the other, for up
 * to `wait_ms` in all.  The place of the one that has not answered, or `count` where all have, if
 * only to say that they are not there, or where no process was to be had.  Only while the program
 * has no threads. */
size_t probe_hanging(char *const *path, size_t count, int wait_ms);

#endif
