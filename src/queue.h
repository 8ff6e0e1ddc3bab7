/* queue: paths to look at: coalesced, each with its due time, each in one hand at a time.
 *
 * Invariants:
 *  1. A path is in the queue at most once; putting it again moves it to the earlier due time.
 *  2. A path that is in flight is handed to nobody else; put again meanwhile, it comes back
 *     when it is done.
 *  3. queue_take() gives the path due earliest, equal due times in the order of their coming.
 *     (A path that is moved to an earlier time comes anew at that time.)
 * A path is one of its kind: the same path as a file and as a directory are two.
 * One mutex inside; every function may be called from any thread, queue_free() from the last. */
#ifndef QUEUE_H
#define QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct queue;

enum queue_kind { QUEUE_FILE, QUEUE_DIR, QUEUE_ROOT };

#define QUEUE_NOW 0             /* due before everything that waits its turn */

/* Flags travel with the path, or-ed together when it is put more than once. */
#define QUEUE_JUST_WRITTEN 1u   /* its CLOSE_WRITE came a moment ago */
#define QUEUE_WROTE 2u          /* a try that did not come to its end has written already */
#define QUEUE_LOOK 4u           /* the file is to be read, whatever else is asked */
#define QUEUE_GLANCE 8u         /* a stat is enough where it shows the file that we know */
#define QUEUE_REWRITTEN 16u     /* it was written to; a stat tells whether by others than us */
#define QUEUE_PROVE 32u         /* is it what the record says?  A look at live alone may tell */
/* to be read, unless the record knows it with its sources as they are */
#define QUEUE_RECALL 64u
#define QUEUE_SOURCES 128u      /* to be read where its sources are not what the record says */

struct queue_job {
	enum queue_kind kind;
	const char *path;       /* valid until queue_done() */
	unsigned flags;
	uint64_t memo;          /* the taker's, kept from one try to the next; 0 at first */
	unsigned tries;         /* how often it was put back by queue_done() in a row */
	void *item;             /* the queue's own */
};

/* NULL when there is no memory. */
struct queue *queue_new(void);
/* Frees what is queued or in flight too: no other thread may use the queue any more. */
void queue_free(struct queue *queue);

/* Puts a path, due at `due_ns` of the monotonic clock (io_now_ns), or QUEUE_NOW.  Copies it.
 * A path that waits for its next try keeps its tries.  0 or -ENOMEM. */
int queue_put(struct queue *queue, enum queue_kind kind, const char *path, uint64_t due_ns,
	      unsigned flags);

/* Waits for a path that is due.  False when the queue was stopped, or was ended and is empty. */
bool queue_take(struct queue *queue, struct queue_job *ret);

/* Takes this path, due or not, out of turn: it is the caller's until queue_done(), and its turn,
 * if it had one, comes after that.  0, -EBUSY where it is in another hand, -ENOMEM. */
int queue_claim(struct queue *queue, enum queue_kind kind, const char *path,
		struct queue_job *ret);

/* The job is finished; with `again`, it comes back at `due_ns` (and tries goes up), bearing
 * what job->flags holds now: a flag that will not be true any more is the caller's to clear.
 * Where the path was put meanwhile, the earlier of both due times counts.  Never fails. */
void queue_done(struct queue *queue, struct queue_job *job, bool again, uint64_t due_ns);

/* Nothing more will be put, but by those who have a job in flight: takers get false once all is
 * done (jobs that come back included). */
void queue_end(struct queue *queue);
/* Takers get false at once, those that wait included.  queue_done() is still due for each job. */
void queue_stop(struct queue *queue);
/* Takes queue_stop() back: what is queued is handed out again. */
void queue_resume(struct queue *queue);

/* While it is paused, files are handed out to nobody but by queue_claim(); all else is, and files
 * are put as ever. */
void queue_pause(struct queue *queue, bool paused);

/* No file is handed out before `until_ns` of the monotonic clock, but by queue_claim(); all else
 * is. 0 takes it back. */
void queue_hold(struct queue *queue, uint64_t until_ns);

struct queue_count {
	size_t due;             /* waiting for a taker */
	size_t later;           /* due in the future */
	size_t in_flight;
	size_t scans;           /* of due and in_flight those that are not QUEUE_FILE */
	size_t files_in_flight; /* those that are */
};
/* Looks at every path queued: for a status now and then, not for each job. */
struct queue_count queue_count(struct queue *queue);

#endif
