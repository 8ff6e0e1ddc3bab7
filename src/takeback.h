/* takeback: one try to undo merges of one file, which live's disk may keep waiting for ever.
 *
 * It runs in a thread of its own (patience.h).  Who asked and has had no answer leaves it: when the
 * disk lets it, it brings that try to its end, or abandons what it cannot end. */
#ifndef TAKEBACK_H
#define TAKEBACK_H

#include <stdatomic.h>

#include "merge.h"
#include "queue.h"

#define TAKEBACK_MS 5000

/* Those that are left, with the queue, the ledger and the live tree that they use; counted in
 * `left`. */
struct takeback_site {
	const struct merge_site *site;
	struct queue *queue;
	atomic_uint *left;
};

struct takeback;

/* Takes the file from the queue.  0, -EBUSY where it is in another hand, -EAGAIN where so many hang
 * that no more are asked, -ENOMEM.  Copies what it needs; `result` as for merge_undo(). */
int takeback_begin(const struct takeback_site *at, const char *rel, int64_t id,
		   const struct merge_result *result, struct takeback **ret);
/* Waits for the end of it.  0 and the result, or -ETIMEDOUT: it is left. */
int takeback_end(struct takeback *takeback, struct merge_result *ret_result);

#endif
