/* log: messages, to syslog and to stderr; the only room that writes any. */
#ifndef LOG_H
#define LOG_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <syslog.h>

enum log_target {
	LOG_TO_STDERR = 1,
	LOG_TO_SYSLOG = 2
};

/* `ident` must outlive the log.  On stderr a line reads "ident: message". */
void log_open(const char *ident, unsigned targets, int facility);
void log_close(void);

/* One line; `priority` is LOG_ERR, LOG_WARNING, LOG_NOTICE, LOG_INFO or LOG_DEBUG. Thread-safe.
 * Control characters in the outcome are escaped: one message is one line. */
void log_message(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* The same for a line per file: at most LOG_FILE_RATE of them in any one second (a burst of as
 * many); what is left out is counted and said in a line of its own, once a second. */
#define LOG_FILE_RATE 50
void log_file(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Says now how many were left out since it was last said. */
void log_flush(void);

/* Writes `text` so that it is one line of valid UTF-8 whatever it holds: control characters
 * (C0, DEL, C1), line and paragraph separators, direction overrides and bytes that are not
 * UTF-8 as \xHH, a backslash as \\.  Cut to `size` bytes with "..." where it does not fit.
 * Returns `buffer`. */
#define LOG_PATH_SIZE 4200
char *log_escape(char *buffer, size_t size, const char *text);

/* Would this character end a line, move the cursor, or show the text in another order? */
bool log_is_unsafe(uint32_t code);

/* LOG_DAEMON for "daemon", LOG_LOCAL0 for "local0" …; -1 for what is none. */
int log_facility(const char *name);

#endif
