/* liveint: what the files of live share. */
#ifndef LIVEINT_H
#define LIVEINT_H

#include <limits.h>
#include <pthread.h>

#include "awaited.h"
#include "live.h"
#include "watch.h"

struct live {
	char *path;
	bool once;
	struct source_set sources;      /* our own, under the mutex */
	atomic_uint set;                /* how often they were others */
	struct queue *queue;
	struct tally *tally;
	struct watch *watch;
	struct awaited *awaited;        /* those whose sidecar is */
	atomic_uint_fast64_t root;      /* that may be written to */
	atomic_bool root_lost;          /* what was known of it is to be forgotten */
	atomic_bool relate;             /* it is to be held against the backups anew */
	atomic_uint_fast64_t mounts;    /* place_mounts() when that was done last */

	pthread_t events;
	bool events_run;
	int wake;               /* an eventfd: the events' thread is to end */

	atomic_uint rescan_s;
	atomic_bool by_content; /* the scan under way reads every file again */
	atomic_bool missing, scanned, limit_said, remote;
	atomic_bool asked;      /* for a scan, which has not begun yet */
	atomic_int missing_error;       /* why, as it was said last; 0: it is there */
	atomic_uint_fast64_t overflows;

	/* Directories that may not be read: since the scan began; the first is named. */
	pthread_mutex_t mutex;
	size_t denied;
	char denied_rel[PATH_MAX];
	struct reason denied_why;
	void *odd;              /* tsearch(3): paths of what was named once */
	size_t odds;

	/* The ticking thread's own. */
	bool scanning;          /* a scan of the whole tree is under way, or waits for its time */
	uint64_t overflows_seen, overflow_ns, back_off_ns, scan_ns;
	size_t denied_said;
};

#define LIVEROOT_CHECK_NS UINT64_C(2000000000)  /* is it still the same root; is one there again? */
#define LIVE_REMOTE_NS UINT64_C(60000000000)    /* other machines write there unseen */

/* ---- liveevents.c: what watch tells, and the thread that reads it ---- */

/* Begins to watch, without its first scan.  0 or -errno. */
int liveevents_watch(struct live *live);
/* The thread.  0 or -errno. */
int liveevents_start(struct live *live);
void liveevents_stop(struct live *live);
/* watch_scan(): what it finds waits its turn, what just appears does not. */
int liveevents_scan(struct live *live, const char *rel);

/* What cannot be kept is as good as lost. */
void liveevents_lose(struct live *live);
/* Puts a file into the queue, to be read. */
void liveevents_look(struct live *live, const char *rel, uint64_t due_ns, unsigned flags);
/* The directory that is watched is not the root any more. */
void liveevents_root_gone(struct live *live);

/* ---- liveroot.c: is the root there, and may it be written to? ---- */

/* Holds it against the backups where that is called for.  0: what is at the path may be watched and
 * written to; else -errno, which liveroot_missing() is to be told. */
int liveroot_find(struct live *live);
/* Returns in how many nanoseconds it is to be looked for again, or 0. */
uint64_t liveroot_missing(struct live *live, int error);
/* It was listed. */
void liveroot_there(struct live *live);
/* A QUEUE_ROOT job: see live_job(). */
uint64_t liveroot_job(struct live *live, const char *job);

#endif
