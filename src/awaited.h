/* awaited: live files that are not judged before their sidecar has come, until an event tells of
 * it.  From any thread. */
#ifndef AWAITED_H
#define AWAITED_H

#include <stdbool.h>
#include <stddef.h>

struct awaited;

/* NULL: no memory. */
struct awaited *awaited_new(void);
void awaited_free(struct awaited *awaited);

/* The file waits for its sidecar, or does not any more.  There is room for a bounded number: those
 * that do not fit are looked at again now and then, as all are. */
void awaited_set(struct awaited *awaited, const char *rel, bool waits);
/* Does any?  Costs nothing. */
bool awaited_any(const struct awaited *awaited);

/* Hands out a file that may have waited for the sidecar `rel`, once each: into `buffer`, cut to
 * `size`.  False where there is none (any more). */
bool awaited_take(struct awaited *awaited, const char *rel, char *buffer, size_t size);

#endif
