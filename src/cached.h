/* cached: asks rrdcached to write down what it holds for one file (its FLUSH).
 *
 * A merge is correct without it: what rrdcached holds is newer than the file's last_up, and a
 * merge fills older rows.  With it, what is planned on, and shown, is the latest.  So nothing
 * here may hold a worker up or fail a merge: the whole of a call is bounded by CACHED_CALL_MS,
 * and an rrdcached that does not answer, or slowly, is left alone for a while.
 *
 * - Never call it while a file is leased: rrdcached would open that file, and wait for us, while
 *   we wait for it.
 * - rrdcached knows a file by the text of its path.  It must be asked by the one that its clients
 *   use; under another it holds nothing, and says so.
 * - That it has flushed is no promise.  A file that is being written counts as flushed already,
 *   and so does a SUSPENDed one, which is not written at all (src/rrd_daemon.c, flush_file).
 * - With more than one writing thread (-t; 4 by default) rrdcached can lose an update where a
 *   FLUSH, anybody's, meets a write of the same file: the manual says to give it one.
 *
 * librrd has a client too, rrdc_*.  It waits without bound for an rrdcached that hangs, and keeps
 * one connection for the whole process, with a lock around each exchange. */
#ifndef CACHED_H
#define CACHED_H

#include "reason.h"

#define CACHED_CALL_MS 300

struct cached;

/* `socket` is the absolute path of rrdcached's socket.  Nothing is opened yet. */
int cached_new(const char *socket, struct cached **ret);
/* Nobody may be in a call.  NULL is fine. */
void cached_free(struct cached *cached);

enum cached_outcome {
	CACHED_FLUSHED,         /* what it held for the file is written, or about to be */
	CACHED_NOTHING,         /* it holds nothing under this path */
	CACHED_LEFT,            /* it was not asked: not long ago it failed, or was slow */
	CACHED_FAILED           /* it was asked, and did not answer, or refused */
};

/* `path` is absolute.  From any thread, several at once; `cached` may be NULL (CACHED_LEFT). */
enum cached_outcome cached_flush(struct cached *cached, const char *path);

/* What is to be told, each once: that it is of no use now and why, in words for the
 * administrator, that may hold any byte; and that it answers again.  Never waits. */
enum cached_news { CACHED_NO_NEWS, CACHED_LOST, CACHED_BACK };
enum cached_news cached_news(struct cached *cached, struct reason *ret_why);

#endif
