/* until: a condition waited for until a moment of the monotonic clock, which nobody sets. */
#ifndef UNTIL_H
#define UNTIL_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* Makes the condition, for until_wait(); to be destroyed as any.  0 or -errno. */
int until_prepare(pthread_cond_t *cond);

/* Waits until somebody signals it, or until `until_ns` as io_now_ns() counts (UINT64_MAX: for as
 * long as it takes): false.  May return true for nothing; caller holds the mutex, and looks again.
 */
bool until_wait(pthread_cond_t *cond, pthread_mutex_t *mutex, uint64_t until_ns);

#endif
