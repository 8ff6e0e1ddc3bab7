#include "config.h"
#include "liveint.h"

#include <errno.h>
#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>

#include "io.h"
#include "log.h"
#include "report.h"
#include "worker.h"

#define SECOND UINT64_C(1000000000)
#define ODDS_MAX 1000           /* that are named, each once */
#define GATHER_MS 12            /* events are taken in handfuls: waking up costs more */
#define CREATED_NS SECOND       /* a file that was made, unless its CLOSE_WRITE comes first */

/* Set while this thread scans. */
static _Thread_local bool scans;

void liveevents_lose(struct live *live)
{
	atomic_fetch_add(&live->overflows, 1);
}

void liveevents_look(struct live *live, const char *rel, uint64_t due_ns, unsigned flags)
{
	if (queue_put(live->queue, QUEUE_FILE, rel, due_ns, flags | QUEUE_LOOK))
		liveevents_lose(live);
}

/* An update of a file with which we are done costs nothing more than this. */
static void on_written(const char *rel, void *arg)
{
	struct live *live = arg;
	bool wanted = false;

	if (tally_closed(live->tally, rel, &wanted))
		liveevents_lose(live);
	else if (wanted)
		liveevents_look(live, rel, QUEUE_NOW, QUEUE_JUST_WRITTEN);
}

/* rrdtool's updates map the file and are not seen here.  Should what we take for others' be our own
 * after all, a stat will tell. */
static void rewritten(struct live *live, const char *rel, bool heard)
{
	bool settled = false;

	if (tally_live(live->tally, rel, false, &settled) ||
	    queue_put(live->queue, QUEUE_FILE, rel, io_now_ns() + SECOND *
		      tally_written_to(live->tally, rel, heard), QUEUE_REWRITTEN))
		liveevents_lose(live);
}

/* With write(2), or truncated: by us, or by others who have put another database there. */
static void on_modified(const char *rel, void *arg)
{
	struct live *live = arg;

	if (!tally_is_own(live->tally, rel))
		rewritten(live, rel, true);
}

/* A scan's find is read where it is new or not done yet; else a stat is enough, unless events
 * were lost: then anything may have happened to it.  Where no event tells, a change time that moves
 * may be an update or another database: it is looked at, less and less often. */
static void on_scanned(struct live *live, const char *rel)
{
	bool unseen = atomic_load(&live->remote) || !watch_sees(live->watch, rel);
	bool settled = false;

	worker_beat();                  /* a large directory takes long, and does not hang */
	if (tally_live(live->tally, rel, true, &settled))
		liveevents_lose(live);
	else if (atomic_load(&live->by_content))
		liveevents_look(live, rel, io_now_ns(), 0);
	else if (unseen && settled)
		rewritten(live, rel, false);
	else if (queue_put(live->queue, QUEUE_FILE, rel, io_now_ns(), QUEUE_GLANCE))
		liveevents_lose(live);
}

static void on_appeared(const char *rel, void *arg)
{
	struct live *live = arg;
	bool settled;

	if (scans)
		on_scanned(live, rel);
	else if (tally_live(live->tally, rel, false, &settled))
		liveevents_lose(live);
	else
		liveevents_look(live, rel, QUEUE_NOW, 0);
}

static void on_created(const char *rel, void *arg)
{
	struct live *live = arg;
	bool settled;

	if (tally_live(live->tally, rel, false, &settled))
		liveevents_lose(live);
	else
		liveevents_look(live, rel, io_now_ns() + CREATED_NS, 0);
}

static void on_gone(const char *rel, void *arg)
{
	struct live *live = arg;

	tally_gone(live->tally, rel);
}

static bool wants_sidecars(void *arg)
{
	const struct live *live = arg;

	return awaited_any(live->awaited);
}

static void on_sidecar(const char *rel, void *arg)
{
	struct live *live = arg;
	char file[PATH_MAX];

	while (awaited_take(live->awaited, rel, file, sizeof(file)))
		liveevents_look(live, file, QUEUE_NOW, 0);
}

static int compare_names(const void *a, const void *b)
{
	return strcmp(a, b);
}

/* True the first time that it is asked for this path. */
static bool first_time(struct live *live, const char *rel)
{
	char *copy = strdup(rel);
	bool first = false;

	pthread_mutex_lock(&live->mutex);
	if (copy && live->odds < ODDS_MAX) {
		char **node = tsearch(copy, &live->odd, compare_names);

		first = node && *node == copy;
		live->odds += first;
	}
	pthread_mutex_unlock(&live->mutex);
	if (!first)
		free(copy);
	return first;
}

/* What is called *.rrd and is no file counts as refused; a link to a directory is only named. */
static void on_odd(const char *rel, const char *what, void *arg)
{
	struct live *live = arg;
	struct merge_result result = { .outcome = MERGE_FAILED, .settled = true };
	bool settled;

	if (!io_is_rrd_name(rel)) {
		char line[REPORT_SIZE];

		if (first_time(live, rel))
			log_file(LOG_WARNING, "%s",
				 report_refused(line, sizeof(line), "refused", rel, what));
		return;
	}

	reason_set(&result.why, "%s", what);
	if (!tally_live(live->tally, rel, true, &settled))
		tally_result(live->tally, rel, &result, false);
}

static void on_directory(const char *rel, void *arg)
{
	struct live *live = arg;

	if (queue_put(live->queue, QUEUE_DIR, rel, QUEUE_NOW, 0))
		liveevents_lose(live);
}

static void on_overflow(void *arg)
{
	liveevents_lose(arg);
}

void liveevents_root_gone(struct live *live)
{
	atomic_store(&live->root, 0);
	atomic_store(&live->root_lost, true);
	if (queue_put(live->queue, QUEUE_DIR, "", QUEUE_NOW, 0))
		liveevents_lose(live);
}

static void on_root_gone(void *arg)
{
	liveevents_root_gone(arg);
}

static const struct watch_calls calls = {
	.written = on_written,
	.modified = on_modified,
	.appeared = on_appeared,
	.created = on_created,
	.gone = on_gone,
	.wants_sidecars = wants_sidecars,
	.sidecar = on_sidecar,
	.odd = on_odd,
	.directory = on_directory,
	.overflow = on_overflow,
	.root_gone = on_root_gone,
};

int liveevents_watch(struct live *live)
{
	return watch_new(live->path, &calls, live, &live->watch);
}

int liveevents_scan(struct live *live, const char *rel)
{
	scans = true;
	int r = watch_scan(live->watch, rel);
	scans = false;
	return r;
}

/* ---- the thread ---- */

static void *read_events(void *arg)
{
	struct live *live = arg;
	struct pollfd wait[2] = {
		{ .fd = live->wake, .events = POLLIN },
		{ .fd = watch_fd(live->watch), .events = POLLIN },
	};

	bool busy = false;

	/* While they come all the time, nobody asks first whether there are any. */
	for (;;) {
		if (poll(wait, busy ? 1 : 2, busy ? GATHER_MS : -1) < 0 && errno != EINTR)
			liveevents_lose(live);
		if (wait[0].revents)
			return NULL;
		busy = watch_dispatch(live->watch);
	}
}

int liveevents_start(struct live *live)
{
	int r = -pthread_create(&live->events, NULL, read_events, live);

	live->events_run = !r;
	return r;
}

void liveevents_stop(struct live *live)
{
	if (!live->events_run)
		return;
	if (eventfd_write(live->wake, 1))
		pthread_cancel(live->events);
	pthread_join(live->events, NULL);
}
