#include "config.h"
#include "liveint.h"

#include <errno.h>
#include <fcntl.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "io.h"
#include "log.h"
#include "privilege.h"

#define SECOND UINT64_C(1000000000)
#define OVERFLOW_FIRST_NS SECOND        /* from lost events to a scan; doubles */
#define OVERFLOW_MAX_NS (300 * SECOND)
#define UNWATCHED_NS (300 * SECOND)     /* directories beyond the watch limit */

/* ---- what workers do ---- */

/* Said once: what may be done so that all is watched. */
static void say_unwatched(struct live *live, int error)
{
	const char *sysctl = error == -EMFILE ? "fs.inotify.max_user_instances"
					      : "fs.inotify.max_user_watches";

	if (atomic_exchange(&live->limit_said, true))
		return;
	if (error == -ENOSPC || error == -EMFILE)
		log_message(LOG_WARNING, "more %s than may be watched: raise %s; what is not watched "
			    "is looked at every %d s", error == -EMFILE ? "programs watch"
			    : "directories", sysctl, (int)(UNWATCHED_NS / SECOND));
	else
		log_message(LOG_WARNING, "directories cannot be watched: %s; they are looked at every "
			    "%d s", strerror(-error), (int)(UNWATCHED_NS / SECOND));
}

static void dir_denied(struct live *live, const char *rel, const struct reason *why)
{
	pthread_mutex_lock(&live->mutex);
	if (!live->denied++) {
		snprintf(live->denied_rel, sizeof(live->denied_rel), "%s", *rel ? rel : ".");
		live->denied_why = *why;
	}
	pthread_mutex_unlock(&live->mutex);
}

static uint64_t scan_directory(struct live *live, const char *rel)
{
	int r = 0;

	if (!*rel) {
		r = liveroot_find(live);
		if (r)
			return liveroot_missing(live, r);
	}
	r = liveevents_scan(live, rel);
	bool listed = r == 0 || r == -ENOSPC || (r && r == watch_error(live->watch));

	if (listed && !*rel)
		liveroot_there(live);
	if (r == 0)
		return 0;
	if (listed) {
		say_unwatched(live, r);
		return live->once ? 0 : UNWATCHED_NS;
	}
	if (!*rel)
		return liveroot_missing(live, r);
	if (r == -ENOENT || r == -ENOTDIR) {
		tally_gone_beneath(live->tally, rel);
		return 0;
	}
	struct reason why;
	reason_errno(&why, -r, "directory cannot be read");
	dir_denied(live, rel, &why);
	return live->once ? 0 : UNWATCHED_NS;
}

uint64_t live_job(struct live *live, const struct queue_job *job)
{
	if (job->kind != QUEUE_ROOT)
		return scan_directory(live, job->path);
	return liveroot_job(live, job->path);
}

bool live_glance(struct live *live, const char *rel, unsigned flags)
{
	int root = io_open_root(live->path), error;
	struct stat st;

	if (root < 0)
		return false;
	error = fstatat(root, rel, &st, AT_SYMLINK_NOFOLLOW) ? errno : 0;
	close(root);
	if (error)
		return false;           /* the look will tell */
	struct io_stamp now = io_stamp_of(&st);
	return tally_same(live->tally, rel, &now, flags & QUEUE_REWRITTEN);
}

/* ---- scans of the whole ---- */

static void begin_scan(struct live *live, bool by_content, uint64_t due_ns)
{
	pthread_mutex_lock(&live->mutex);
	live->denied = 0;
	pthread_mutex_unlock(&live->mutex);
	if (by_content)
		atomic_store(&live->by_content, true);
	tally_scan_begin(live->tally);
	live->scanning = true;
	if (queue_put(live->queue, QUEUE_DIR, "", due_ns, 0))
		liveevents_lose(live);
}

static void say_denied(struct live *live)
{
	char shown[LOG_PATH_SIZE];
	struct privilege_user user;

	privilege_current(&user);
	pthread_mutex_lock(&live->mutex);
	size_t denied = live->denied;
	struct reason why = live->denied_why;
	log_escape(shown, sizeof(shown), live->denied_rel);
	pthread_mutex_unlock(&live->mutex);
	if (denied && denied != live->denied_said)
		log_message(LOG_WARNING, "refused count=%zu user=%s reason=\"live %s\" dir=%s", denied,
			    user.name, why.text, shown);
	live->denied_said = denied;
}

/* What the scan has not found was lost with its event, if it is gone at all. */
static void end_scan(struct live *live)
{
	size_t count;
	char **unmet = tally_list(live->tally, TALLY_UNMET, MERGE_ALLOWED, 0, &count);

	for (size_t i = 0; i < count; i++)
		liveevents_look(live, unmet[i], io_now_ns(), 0);
	tally_list_free(unmet, count);
	atomic_store(&live->by_content, false);
	live->scanning = false;
	say_denied(live);
}

/* However often events are lost: one scan, the later the more often. */
static void take_overflow(struct live *live, uint64_t now)
{
	uint64_t overflows = atomic_load(&live->overflows);
	bool calm = now - live->overflow_ns > 10 * live->back_off_ns;

	if (overflows == live->overflows_seen || now < live->overflow_ns || live->scanning)
		return;
	live->back_off_ns = calm || !live->back_off_ns ? OVERFLOW_FIRST_NS : live->back_off_ns * 2;
	if (live->back_off_ns > OVERFLOW_MAX_NS)
		live->back_off_ns = OVERFLOW_MAX_NS;
	live->overflow_ns = now + live->back_off_ns;
	log_message(LOG_WARNING, "events were lost (%llu times; fs.inotify.max_queued_events is too "
		    "small for this): everything is looked at again in %llu s",
		    (unsigned long long)(overflows - live->overflows_seen),
		    (unsigned long long)(live->back_off_ns / SECOND));
	live->overflows_seen = overflows;
	begin_scan(live, true, live->overflow_ns);
}

void live_tick(struct live *live, bool scanning)
{
	uint64_t now = io_now_ns();
	uint64_t every = atomic_load(&live->rescan_s) * SECOND;

	/* A scan that waits for its time is not over. */
	if (live->scanning && !scanning && now > live->overflow_ns) {
		end_scan(live);
		live->scan_ns = now;
	}
	if (live->once || atomic_load(&live->missing))
		return;
	take_overflow(live, now);
	if (atomic_load(&live->remote) && (!every || every > LIVE_REMOTE_NS))
		every = LIVE_REMOTE_NS;
	if (!live->scanning && (atomic_exchange(&live->asked, false) ||
				(every && now - live->scan_ns >= every)))
		begin_scan(live, false, QUEUE_NOW);
}

/* ---- the whole ---- */

int live_new(const struct live_options *options, struct queue *queue, struct tally *tally,
	     struct live **ret)
{
	struct live *live = calloc(1, sizeof(*live));
	int r = -ENOMEM;

	if (!live)
		return r;
	pthread_mutex_init(&live->mutex, NULL);
	live->once = options->once;
	live->queue = queue;
	live->tally = tally;
	atomic_store(&live->rescan_s, options->rescan_s);
	live->scan_ns = io_now_ns();
	live->path = strdup(options->path);
	live->wake = eventfd(0, EFD_CLOEXEC);
	live->awaited = awaited_new();
	if (!live->path || live->wake < 0 || !live->awaited ||
	    source_set_copy(options->sources, &live->sources))
		goto out;
	r = liveevents_watch(live);
	if (r)
		goto out;
	if (watch_error(live->watch))
		say_unwatched(live, watch_error(live->watch));
	r = liveevents_start(live);
	if (r)
		goto out;
	begin_scan(live, false, QUEUE_NOW);
	if (!live->once)
		r = queue_put(queue, QUEUE_ROOT, "", io_now_ns() + LIVEROOT_CHECK_NS, 0);
	if (r)
		goto out;
	*ret = live;
	return 0;
out:
	live_free(live);
	return r;
}

void live_free(struct live *live)
{
	if (!live)
		return;
	liveevents_stop(live);
	watch_free(live->watch);
	awaited_free(live->awaited);
	source_set_free(&live->sources);
	tdestroy(live->odd, free);
	if (live->wake >= 0)
		close(live->wake);
	free(live->path);
	pthread_mutex_destroy(&live->mutex);
	free(live);
}

void live_await(struct live *live, const char *rel, bool waits)
{
	awaited_set(live->awaited, rel, waits);
}

void live_rescan(struct live *live)
{
	atomic_store(&live->asked, true);
}

void live_set_rescan(struct live *live, unsigned rescan_s)
{
	atomic_store(&live->rescan_s, rescan_s);
}

struct live_state live_state(struct live *live)
{
	pthread_mutex_lock(&live->mutex);
	size_t unread = live->denied;
	pthread_mutex_unlock(&live->mutex);
	return (struct live_state){
		.missing = atomic_load(&live->missing),
		.scanning = live->scanning || atomic_load(&live->asked) ||
			    (!live->once && atomic_load(&live->overflows) != live->overflows_seen),
		.scanned = atomic_load(&live->scanned),
		.directories = watch_directories(live->watch),
		.unwatched = watch_unwatched(live->watch),
		.unread = unread,
		.overflows = atomic_load(&live->overflows),
	};
}
