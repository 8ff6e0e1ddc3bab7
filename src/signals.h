/* signals: those that steer the daemon, taken one at a time by the main thread. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <stdint.h>

/* Blocks SIGTERM, SIGINT and SIGHUP in this thread and those that it starts, and ignores what would
 * end us for nothing.  Call before there are threads.  Returns a descriptor to close, or -errno. */
int signals_open(void);

/* Waits for one until `until_ns` of the monotonic clock.  Returns its number, or 0. */
int signals_wait(int signals, uint64_t until_ns);

#endif
