/* signals: those that steer the daemon, and the promise that one which ends it does so within a
 * second.
 *
 * They come through a descriptor, one at a time.  signals_watch() has a thread of its own take them
 * first: where the program has not ended of itself in SIGNALS_END_MS after SIGTERM or SIGINT,
 * because a disk or whoever reads its log does not answer, that thread ends it. */
#ifndef SIGNALS_H
#define SIGNALS_H

#include <stdint.h>

#define SIGNALS_END_MS 950

/* Blocks SIGTERM, SIGINT and SIGHUP in this thread and those that it starts, and ignores what would
 * end us for nothing.  Call before there are threads.  Returns a descriptor to close, or -errno. */
int signals_open(void);

/* From now on the program ends in time: with `status`, where it must be made to.  Call when it is
 * settled as whom we run.  Returns the descriptor to use instead of `signals`, which stays in use,
 * or -errno. */
int signals_watch(int signals, int status);

/* Waits for one until `until_ns` of the monotonic clock.  Returns its number, or 0. */
int signals_wait(int signals, uint64_t until_ns);

/* Between the two, one that ends us does so at once: around what may hang before there is a
 * thread. */
void signals_deadly(void);
void signals_tame(void);

#endif
