/* kin: how the live tree stands to the backups: it must be none of them, lie in none, hold none.
 *
 * That asks their disks, and one that hangs must not keep the live tree from the others: it is
 * asked by a thread that can be left behind with it.  One that has not answered is judged by the
 * names and the table of mounts alone, and barred (visits.h): nobody reads from it before it was
 * asked. */
#ifndef KIN_H
#define KIN_H

#include "source.h"

/* How the directory that `fd` is stands to the sources: IO_APART, or how it does not, and `shown`,
 * LOG_PATH_SIZE, is to which.  -ENOMEM.  Where the set is not impatient, all are waited for. */
int kin_relate(const struct source_set *sources, int fd, char *shown);

/* Does one answer by now that was not asked before? */
bool kin_is_answered(const struct source_set *sources);

#endif
