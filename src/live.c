#include "config.h"
#include "live.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <search.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "awaited.h"
#include "io.h"
#include "log.h"
#include "place.h"
#include "privilege.h"
#include "report.h"
#include "watch.h"
#include "worker.h"

#define SECOND UINT64_C(1000000000)
#define ROOT_CHECK_NS (2 * SECOND)      /* is it still the same root; is a missing one there? */
#define OVERFLOW_FIRST_NS SECOND        /* from lost events to a scan; doubles */
#define OVERFLOW_MAX_NS (300 * SECOND)
#define UNWATCHED_NS (300 * SECOND)     /* directories beyond the watch limit */
#define REMOTE_NS (60 * SECOND)         /* other machines write there unseen */
#define ODDS_MAX 1000           /* that are named, each once */
#define GATHER_NS (8 * 1000000L)        /* events are taken in handfuls: waking up costs more */
#define CREATED_NS SECOND       /* a file that was made, unless its CLOSE_WRITE comes first */

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

/* ---- what watch tells ---- */

/* Set while this thread scans: what it finds waits its turn, what just appeared does not. */
static _Thread_local bool scans;

/* What cannot be kept is as good as lost. */
static void lose(struct live *live)
{
	atomic_fetch_add(&live->overflows, 1);
}

static void look(struct live *live, const char *rel, uint64_t due_ns, unsigned flags)
{
	if (queue_put(live->queue, QUEUE_FILE, rel, due_ns, flags | QUEUE_LOOK))
		lose(live);
}

/* An update of a file with which we are done costs nothing more than this. */
static void on_written(const char *rel, void *arg)
{
	struct live *live = arg;
	bool settled = false;

	if (tally_is_own(live->tally, rel, true))
		return;
	if (tally_live(live->tally, rel, false, &settled))
		lose(live);
	else if (!settled)
		look(live, rel, QUEUE_NOW, QUEUE_JUST_WRITTEN);
}

/* rrdtool's updates map the file and are not seen here.  Should what we take for others' be our own
 * after all, a stat will tell. */
static void rewritten(struct live *live, const char *rel, bool heard)
{
	bool settled = false;

	if (tally_live(live->tally, rel, false, &settled) ||
	    queue_put(live->queue, QUEUE_FILE, rel, io_now_ns() + SECOND *
		      tally_written_to(live->tally, rel, heard), QUEUE_REWRITTEN))
		lose(live);
}

/* With write(2), or truncated: by us, or by others who have put another database there. */
static void on_modified(const char *rel, void *arg)
{
	struct live *live = arg;

	if (!tally_is_own(live->tally, rel, false))
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
		lose(live);
	else if (atomic_load(&live->by_content))
		look(live, rel, io_now_ns(), 0);
	else if (unseen && settled)
		rewritten(live, rel, false);
	else if (queue_put(live->queue, QUEUE_FILE, rel, io_now_ns(), QUEUE_GLANCE))
		lose(live);
}

static void on_appeared(const char *rel, void *arg)
{
	struct live *live = arg;
	bool settled;

	if (scans)
		on_scanned(live, rel);
	else if (tally_live(live->tally, rel, false, &settled))
		lose(live);
	else
		look(live, rel, QUEUE_NOW, 0);
}

static void on_created(const char *rel, void *arg)
{
	struct live *live = arg;
	bool settled;

	if (tally_live(live->tally, rel, false, &settled))
		lose(live);
	else
		look(live, rel, io_now_ns() + CREATED_NS, 0);
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
		look(live, file, QUEUE_NOW, 0);
}

void live_await(struct live *live, const char *rel, bool waits)
{
	awaited_set(live->awaited, rel, waits);
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
		lose(live);
}

static void on_overflow(void *arg)
{
	lose(arg);
}

static void on_root_gone(void *arg)
{
	struct live *live = arg;

	atomic_store(&live->root, 0);
	atomic_store(&live->root_lost, true);
	if (queue_put(live->queue, QUEUE_DIR, "", QUEUE_NOW, 0))
		lose(live);
}

static void *read_events(void *arg)
{
	static const struct timespec gather = { 0, GATHER_NS };
	struct live *live = arg;
	struct pollfd wait[2] = {
		{ .fd = live->wake, .events = POLLIN },
		{ .fd = watch_fd(live->watch), .events = POLLIN },
	};

	for (;;) {
		if (poll(wait, 2, -1) < 0 && errno != EINTR)
			lose(live);
		if (wait[0].revents)
			return NULL;
		if (wait[1].revents) {
			watch_dispatch(live->watch);
			nanosleep(&gather, NULL);
		}
	}
}

/* ---- what workers do ---- */

static void say_root(int priority, const char *what, const struct live *live)
{
	char shown[LOG_PATH_SIZE];

	log_message(priority, "%s live=%s", what, log_escape(shown, sizeof(shown), live->path));
}

static uint64_t root_missing(struct live *live, int error)
{
	atomic_store(&live->root, 0);
	atomic_store(&live->missing, true);
	if (atomic_exchange(&live->missing_error, error) != error) {
		struct privilege_user user;
		char what[256];

		privilege_current(&user);
		if (error == -EACCES || error == -EPERM)
			snprintf(what, sizeof(what), "live tree cannot be watched by user %s: %s; "
				 "waiting for it",
				 user.name, strerror(-error));
		else
			snprintf(what, sizeof(what), "live tree cannot be watched: %s; waiting for it",
				 strerror(-error));
		say_root(LOG_ERR, what, live);
	}
	tally_gone_beneath(live->tally, "");
	return live->once ? 0 : ROOT_CHECK_NS;
}

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

/* How the directory that `fd` is stands to the backups: IO_APART, or how it does not, and `shown` is
 * which.  -ENOMEM. */
static int relate_to_sources(struct live *live, int fd, char *shown)
{
	char path[sizeof("/proc/self/fd/") + 3 * sizeof(fd)];
	struct source_set sources = { 0 };
	int relation = IO_APART;

	/* Nothing is held while a disk is waited for. */
	pthread_mutex_lock(&live->mutex);
	int r = source_set_copy(&live->sources, &sources);
	pthread_mutex_unlock(&live->mutex);
	if (r)
		return r;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	for (unsigned n = 0; n < sources.count && relation <= IO_APART; n++) {
		relation = place_relate(path, sources.source[n].path);
		if (relation > IO_APART)
			log_escape(shown, LOG_PATH_SIZE, sources.source[n].path);
	}
	source_set_free(&sources);
	return relation > IO_APART ? relation : IO_APART;
}

/* To relate asks the backups' disks, and one that hangs must not hang the live files: so a root that
 * was found good is related again only where something has changed. */
static bool is_to_relate_again(struct live *live)
{
	return atomic_load(&live->relate) || place_mounts() != atomic_load(&live->mounts);
}

/* What came of relating it to the sources that were number `set`, unless they are others by now. */
static void judge_root(struct live *live, unsigned set, uint64_t root)
{
	pthread_mutex_lock(&live->mutex);
	if (set == atomic_load(&live->set))
		atomic_store(&live->root, root);
	pthread_mutex_unlock(&live->mutex);
}

/* The configuration was found good when it was read; the path may lead elsewhere since.  Only the
 * directory that is found good here is ever written to; with `again`, it is not enough that it was so
 * before.  0 or -errno: -ELOOP where it is not. */
static int find_root_good(struct live *live, bool again)
{
	char shown[LOG_PATH_SIZE];
	struct stat st;
	unsigned set = atomic_load(&live->set);
	int fd = io_open_root(live->path), relation;

	if (fd < 0)
		return fd;
	int r = fstat(fd, &st) ? -errno : 0;
	if (!r && (again || merge_root_id(&st) != atomic_load(&live->root))) {
		atomic_store(&live->relate, false);
		atomic_store(&live->mounts, place_mounts());
		relation = relate_to_sources(live, fd, shown);
		if (relation != IO_APART)
			r = relation < 0 ? relation : -ELOOP;
		if (r == -ELOOP && atomic_exchange(&live->missing_error, r) != r) {
			char what[LOG_PATH_SIZE + 120];

			snprintf(what, sizeof(what), "live tree %s the backup %s: nothing is written "
				 "until it does not", relation == IO_SAME ? "is" : relation == IO_INSIDE
				 ? "lies inside" : "holds", shown);
			say_root(LOG_ERR, what, live);
		}
		judge_root(live, set, r ? 0 : merge_root_id(&st));
	}
	close(fd);
	return r;
}

static void root_there(struct live *live)
{
	const char *remote = io_remote_fs(live->path);

	atomic_store(&live->missing_error, 0);
	if (atomic_exchange(&live->missing, false))
		say_root(LOG_NOTICE, "live tree is there", live);
	if (remote && !atomic_exchange(&live->remote, true) && !live->once) {
		char what[160];

		snprintf(what, sizeof(what), "live tree is on a network filesystem (%s), where not "
			 "every change is seen: it is looked at every %d s as well", remote,
			 (int)(REMOTE_NS / SECOND));
		say_root(LOG_WARNING, what, live);
	} else if (!remote) {
		atomic_store(&live->remote, false);
	}
	atomic_store(&live->scanned, true);
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
		if (atomic_exchange(&live->root_lost, false))
			tally_gone_beneath(live->tally, "");
		/* What is found now may lie in a part of a backup that is mounted here. */
		r = find_root_good(live, is_to_relate_again(live));
		if (r)
			return root_missing(live, r);
	}
	scans = true;
	r = watch_scan(live->watch, rel);
	scans = false;
	bool listed = r == 0 || r == -ENOSPC || (r && r == watch_error(live->watch));

	if (listed && !*rel)
		root_there(live);
	if (r == 0)
		return 0;
	if (listed) {
		say_unwatched(live, r);
		return live->once ? 0 : UNWATCHED_NS;
	}
	if (!*rel)
		return root_missing(live, r);
	if (r == -ENOENT || r == -ENOTDIR) {
		tally_gone_beneath(live->tally, rel);
		return 0;
	}
	struct reason why;
	reason_errno(&why, -r, "directory cannot be read");
	dir_denied(live, rel, &why);
	return live->once ? 0 : UNWATCHED_NS;
}

/* A root that another is mounted over raises no event.  To relate it anew may take as long as a
 * backup hangs, and is a job of its own: what is at the live path is seen meanwhile. */
static uint64_t check_root(struct live *live)
{
	char job[32];

	if (atomic_load(&live->missing) || watch_check(live->watch))
		return ROOT_CHECK_NS;           /* which has called on_root_gone() */
	if (is_to_relate_again(live)) {
		/* One that waits for a backup which is none any more holds up no other. */
		snprintf(job, sizeof(job), "backups:%u", atomic_load(&live->set));
		if (queue_put(live->queue, QUEUE_ROOT, job, QUEUE_NOW, 0))
			lose(live);
	} else if (find_root_good(live, false)) {
		on_root_gone(live);
	}
	return ROOT_CHECK_NS;
}

static uint64_t relate_root(struct live *live)
{
	if (!atomic_load(&live->missing) && find_root_good(live, true))
		on_root_gone(live);
	return 0;
}

uint64_t live_job(struct live *live, const struct queue_job *job)
{
	if (job->kind != QUEUE_ROOT)
		return scan_directory(live, job->path);
	return *job->path ? relate_root(live) : check_root(live);
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
		lose(live);
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
		look(live, unmet[i], io_now_ns(), 0);
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
	if (atomic_load(&live->remote) && (!every || every > REMOTE_NS))
		every = REMOTE_NS;
	if (!live->scanning && (atomic_exchange(&live->asked, false) ||
				(every && now - live->scan_ns >= every)))
		begin_scan(live, false, QUEUE_NOW);
}

/* ---- the whole ---- */

int live_new(const struct live_options *options, struct queue *queue, struct tally *tally,
	     struct live **ret)
{
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
	r = watch_new(live->path, &calls, live, &live->watch);
	if (r)
		goto out;
	if (watch_error(live->watch))
		say_unwatched(live, watch_error(live->watch));
	r = -pthread_create(&live->events, NULL, read_events, live);
	if (r)
		goto out;
	live->events_run = true;
	begin_scan(live, false, QUEUE_NOW);
	if (!live->once)
		r = queue_put(queue, QUEUE_ROOT, "", io_now_ns() + ROOT_CHECK_NS, 0);
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
	if (live->events_run) {
		if (eventfd_write(live->wake, 1))
			pthread_cancel(live->events);
		pthread_join(live->events, NULL);
	}
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

int live_set_sources(struct live *live, const struct source_set *sources)
{
	struct source_set copy, old;
	int r = source_set_copy(sources, &copy);

	if (r)
		return r;
	pthread_mutex_lock(&live->mutex);
	old = live->sources;
	live->sources = copy;
	atomic_fetch_add(&live->set, 1);
	pthread_mutex_unlock(&live->mutex);
	source_set_free(&old);
	live_relate(live);
	return 0;
}

void live_relate(struct live *live)
{
	atomic_store(&live->relate, true);
}

const atomic_uint_fast64_t *live_root(const struct live *live)
{
	return &live->root;
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
