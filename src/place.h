/* place: how two directories stand to each other where bind mounts are about.
 *
 * io_relate() follows ".." upwards, which leaves a bind mount at the directory that it is mounted
 * on.  Here a directory is where it lies within its filesystem (/proc/self/mountinfo), whatever
 * it is mounted on, and what is mounted beneath it belongs to it. */
#ifndef PLACE_H
#define PLACE_H

#include "io.h"

/* How directory `a` stands to directory `b`, both ways of looking taken together: IO_APART alone
 * where neither finds anything.  -errno where one cannot be reached. */
int place_relate(const char *a, const char *b);

/* The same where `b` is not asked, for its disk may hang: what its name and the table of mounts
 * tell.  A link in its path is not seen through. */
int place_relate_names(const char *a, const char *b);

/* The one name of a directory, however it was spelt: without symlinks, as far as it is there.  To
 * free; NULL without memory. */
char *place_name(const char *path);

/* A number that changes with the table of mounts, and when something is unmounted and mounted again
 * too.  From any thread. */
uint64_t place_mounts(void);

#endif
