/* reread: the configuration read again, by a thread of its own: a path in it may lead to a disk
 * that does not answer, and the daemon is not to wait for that. */
#ifndef REREAD_H
#define REREAD_H

#include <stdbool.h>

#include "conf.h"

struct reread;

/* Begins.  NULL where there is no memory, or no thread. */
struct reread *reread_begin(const char *file, conf_report_fn *report);
/* False while it reads.  Then *ret_result is conf_read()'s, and *ret its configuration; and it is
 * gone. */
bool reread_ended(struct reread *reread, struct conf *ret, int *ret_result);
/* Nobody wants it any more.  NULL is fine. */
void reread_drop(struct reread *reread);

#endif
