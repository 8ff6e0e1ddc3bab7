/* notify: tells systemd how the daemon fares, by the protocol of sd_notify(3).
 *
 * A no-op where nobody asked to be told.  What a supervisor waits for is tried again while it is
 * behind: notify_ready() for NOTIFY_READY_S seconds, notify_reloading() and notify_stopping() for
 * a tenth of one; the others never wait.  For one thread at a time. */
#ifndef NOTIFY_H
#define NOTIFY_H

#include <stdint.h>

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID, takes them out of the environment, and
 * connects: from then on no privilege is needed.  Returns 0, also where nobody asks; or -errno
 * where NOTIFY_SOCKET names what cannot be a socket (-EINVAL) or does not answer (which is tried
 * again with every message). */
int notify_open(void);
void notify_close(void);

/* The start, or a reload, is complete. */
#define NOTIFY_READY_S 5
void notify_ready(void);

/* What `systemctl status` shows: one line of UTF-8, cut to NOTIFY_STATUS_SIZE - 1 bytes, control
 * characters made spaces.  What was said last is not sent again. */
#define NOTIFY_STATUS_SIZE 512
void notify_status(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* A reload begins; notify_ready() ends it. */
void notify_reloading(void);
void notify_stopping(void);

/* All is well: to be said at least once in notify_watchdog_ns(), better twice. */
void notify_alive(void);
/* Nanoseconds; 0: nobody watches. */
uint64_t notify_watchdog_ns(void);

#endif
