#include "config.h"
#include "daemon.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "hold.h"
#include "log.h"
#include "report.h"
#include "tally.h"
#include "watch.h"
#include "worker.h"

#define SECOND UINT64_C(1000000000)
#define REST_S 10               /* a source must have been left alone so long */
#define TICK_MS 100
#define PROGRESS_NS (10 * SECOND)
#define ROOT_RETRY_NS (2 * SECOND)      /* a live root that is not there */
#define OVERFLOW_NS SECOND
#define UNWATCHED_NS (300 * SECOND)     /* directories beyond the watch limit */
#define BACKUP_WANTED_NS (60 * SECOND)  /* a backup that has more to give, or is not there yet */
#define BACKUP_DONE_NS (600 * SECOND)
#define BACKUP_MISSING_NS (5 * SECOND)
#define CREATED_NS SECOND       /* a file that was made, unless its CLOSE_WRITE comes first */
#define ONCE_TORN_TRIES 5
#define BUSY_SAID 6             /* the try at which a busy file is worth a line */
#define SAMPLES 256

struct daemon {
	const struct conf *conf;
	bool once;
	struct merge_site site;
	struct queue *queue;
	struct watch *watch;
	struct tally *tally;
	struct worker_pool *pool;
	int signals;

	/* Said once, or since it last was otherwise. */
	atomic_bool lease_said, rest_said, limit_said, live_missing, future_said;
	atomic_bool *backup_missing;    /* [conf->backups] */
	atomic_bool stopping;
	_Atomic uint64_t backups_seen_ns;       /* when the last walk over them began */

	/* The ticking thread's own. */
	bool watching_said, was_busy, lost_said;
	uint64_t busy_since_ns, busy_until_ns, progress_ns;
	size_t busy_done;
	uint64_t idle_changes;
};

/* ---- what watch tells ---- */

/* Set while this thread scans: what it finds waits its turn, what just appeared does not. */
static _Thread_local bool scanning;

static void look(struct daemon *d, const char *rel, uint64_t due_ns, unsigned flags, bool always)
{
	bool settled = false;

	if (tally_live(d->tally, rel, &settled) ||
	    ((always || !settled) && queue_put(d->queue, QUEUE_FILE, rel, due_ns, flags)))
		log_message(LOG_ERR, "out of memory: a file is passed over until its next update");
}

/* An update of a file with which we are done costs nothing more than this. */
static void on_written(const char *rel, void *arg)
{
	look(arg, rel, QUEUE_NOW, QUEUE_JUST_WRITTEN, false);
}

static void on_appeared(const char *rel, void *arg)
{
	look(arg, rel, scanning ? io_now_ns() : QUEUE_NOW, 0, true);
}

static void on_created(const char *rel, void *arg)
{
	look(arg, rel, io_now_ns() + CREATED_NS, 0, true);
}

static void on_gone(const char *rel, void *arg)
{
	struct daemon *d = arg;

	tally_gone(d->tally, rel);
}

static void on_odd(const char *rel, const char *what, void *arg)
{
	struct daemon *d = arg;
	struct merge_result result = { .outcome = MERGE_FAILED };
	char line[REPORT_SIZE];
	bool settled;

	reason_set(&result.why, "%s", what);
	if (!tally_live(d->tally, rel, &settled) &&
	    tally_result(d->tally, rel, &result, false))
		log_message(LOG_WARNING, "%s",
			    report_refused(line, sizeof(line), "refused", rel, what));
}

static void on_directory(const char *rel, void *arg)
{
	struct daemon *d = arg;

	if (queue_put(d->queue, QUEUE_DIR, rel, QUEUE_NOW, 0))
		log_message(LOG_ERR, "out of memory: a directory is not watched");
}

static void on_overflow(void *arg)
{
	struct daemon *d = arg;

	log_message(LOG_WARNING, "events were lost (fs.inotify.max_queued_events is too small for "
		    "this): everything is looked at again");
	queue_put(d->queue, QUEUE_DIR, "", io_now_ns() + OVERFLOW_NS, 0);
}

static void on_root_gone(void *arg)
{
	struct daemon *d = arg;

	queue_put(d->queue, QUEUE_DIR, "", io_now_ns() + ROOT_RETRY_NS, 0);
}

/* ---- what workers do ---- */

static void say_path(int priority, const char *format, const char *path)
{
	char shown[LOG_PATH_SIZE];

	log_message(priority, format, log_escape(shown, sizeof(shown), path));
}

static void say_once_for_all(struct daemon *d, const struct merge_result *result)
{
	if (result->no_lease && !atomic_exchange(&d->lease_said, true))
		log_message(LOG_WARNING, "%s: writing under a short lock instead, right after a "
			    "file's own update; an update that meets the lock all the same is lost",
			    result->lease_why.text);
	if (result->outcome == MERGE_RESTING && !atomic_exchange(&d->rest_said, true))
		log_message(LOG_NOTICE, "resting: the backup changed within the last %d s; each of "
			    "its files is taken when it has been left alone so long", REST_S);
}

static void on_file(const char *rel, const struct merge_result *result, unsigned tries,
		    bool will_retry, void *arg)
{
	struct daemon *d = arg;
	char line[REPORT_SIZE];

	say_once_for_all(d, result);
	if (result->future && !atomic_exchange(&d->future_said, true))
		say_path(LOG_WARNING, "a last_update lies in the future, is a clock wrong?  file=%s",
			 rel);
	bool refusal = tally_result(d->tally, rel, result, will_retry);
	if (result->outcome == MERGE_MERGED && result->cells)
		log_file(LOG_INFO, "%s", report_merged(line, sizeof(line), rel, result, false,
						       false));
	if (refusal)
		log_message(LOG_WARNING, "%s",
			    report_refused(line, sizeof(line), result->outcome == MERGE_FAILED
					   ? "refused" : "partial", rel, result->why.text));
	else if (result->outcome == MERGE_TORN && tries == 0)
		log_file(LOG_NOTICE, "%s", report_refused(line, sizeof(line), "later", rel,
							  result->why.text));
	else if (result->outcome == MERGE_BUSY && tries == BUSY_SAID)
		log_message(LOG_NOTICE, "%s", report_refused(line, sizeof(line), "busy", rel,
							     result->why.text));
}

/* Caller has scanned the root in vain. */
static uint64_t live_missing(struct daemon *d, int error)
{
	if (!atomic_exchange(&d->live_missing, true)) {
		char shown[LOG_PATH_SIZE];

		log_message(LOG_ERR, "live tree cannot be watched: %s; waiting for it live=%s",
			    strerror(error), log_escape(shown, sizeof(shown), d->conf->live));
	}
	tally_gone_beneath(d->tally, "");
	return d->once ? 0 : ROOT_RETRY_NS;
}

/* Returns in how many nanoseconds the directory is to be scanned again, or 0. */
static uint64_t scan_directory(struct daemon *d, const char *rel)
{
	scanning = true;
	int r = watch_scan(d->watch, rel);
	scanning = false;

	if (!*rel && (r == 0 || r == -ENOSPC) && atomic_exchange(&d->live_missing, false))
		say_path(LOG_NOTICE, "live tree is there live=%s", d->conf->live);
	if (r == 0)
		return 0;
	if (r == -ENOSPC) {
		if (!atomic_exchange(&d->limit_said, true))
			log_message(LOG_WARNING, "more directories than may be watched: raise "
				    "fs.inotify.max_user_watches; the rest is looked at every %d s",
				    (int)(UNWATCHED_NS / SECOND));
		return d->once ? 0 : UNWATCHED_NS;
	}
	if (!*rel)
		return live_missing(d, -r);
	if (r == -ENOENT || r == -ENOTDIR) {
		tally_gone_beneath(d->tally, rel);
		return 0;
	}
	struct reason why;
	char line[REPORT_SIZE];
	reason_errno(&why, -r, "directory cannot be watched");
	log_message(LOG_WARNING, "%s", report_refused(line, sizeof(line), "failed", rel, why.text));
	return d->once ? 0 : UNWATCHED_NS;
}

static int on_backup_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct daemon *d = arg;
	bool again = false;

	if (kind == IO_DIR || kind == IO_LINK_TO_DIR || !io_is_rrd_name(rel))
		return atomic_load(&d->stopping);
	int r = tally_backup(d->tally, rel, &again);
	if (!r && again)
		r = queue_put(d->queue, QUEUE_FILE, rel, QUEUE_NOW, 0);
	return r ? r : atomic_load(&d->stopping);
}

static void on_backup_error(const char *rel, int error, void *arg)
{
	struct reason why;
	char line[REPORT_SIZE];

	(void)arg;
	reason_errno(&why, error, "directory of the backup cannot be read");
	log_message(LOG_WARNING, "%s", report_refused(line, sizeof(line), "failed", *rel ? rel : ".",
						      why.text));
}

/* Which files do the backups hold?  Returns when to ask again. */
static uint64_t scan_backups(struct daemon *d)
{
	uint64_t began = io_now_ns();
	bool missing = false;

	tally_backups_begin(d->tally);
	for (unsigned n = 0; n < d->site.sources.count; n++) {
		int r = source_walk(&d->site.sources, n, on_backup_entry, on_backup_error, d);

		missing = missing || r < 0;
		if (r < 0 && !atomic_exchange(&d->backup_missing[n], true)) {
			char shown[LOG_PATH_SIZE];

			log_message(LOG_WARNING, "backup cannot be read: %s; waiting for it backup=%s",
				    strerror(-r),
				    log_escape(shown, sizeof(shown), d->site.sources.source[n].path));
		} else if (r >= 0 && atomic_exchange(&d->backup_missing[n], false)) {
			say_path(LOG_NOTICE, "backup is there backup=%s",
				 d->site.sources.source[n].path);
		}
	}
	if (atomic_load(&d->stopping))
		return 0;
	tally_backups_end(d->tally);
	atomic_store(&d->backups_seen_ns, began);
	if (missing)
		return BACKUP_MISSING_NS;
	struct tally_sums sums = tally_sums(d->tally);
	bool done = sums.live && !sums.waiting && !sums.unsettled && !sums.skipped &&
		    !sums.pending;
	return done ? BACKUP_DONE_NS : BACKUP_WANTED_NS;
}

static uint64_t on_other(const struct queue_job *job, void *arg)
{
	struct daemon *d = arg;

	return job->kind == QUEUE_DIR ? scan_directory(d, job->path) : scan_backups(d);
}

/* ---- what is said of the whole ---- */

static void say_watching(struct daemon *d)
{
	char live[LOG_PATH_SIZE], line[LOG_PATH_SIZE * 2], shown[LOG_PATH_SIZE];
	size_t used;

	if (atomic_load(&d->live_missing))
		return;
	d->watching_said = true;
	snprintf(line, sizeof(line), "watching live=%s dirs=%zu",
		 log_escape(live, sizeof(live), d->conf->live), watch_directories(d->watch));
	for (size_t n = 0; n < d->conf->backups; n++) {
		used = strlen(line);
		snprintf(line + used, sizeof(line) - used, " backup=%s",
			 log_escape(shown, sizeof(shown), d->conf->backup[n]));
	}
	log_message(LOG_NOTICE, "%s", line);
}

static bool backup_needed(struct daemon *d, const struct tally_sums *sums)
{
	for (size_t n = 0; n < d->conf->backups; n++)
		if (atomic_load(&d->backup_missing[n]))
			return true;
	/* A backup without any file is one that is not there yet: a mount point, say. */
	return sums->waiting || sums->unsettled || sums->pending || !sums->in_backup;
}

static void say_progress(struct daemon *d, const struct tally_sums *sums, uint64_t now_ns)
{
	size_t done = sums->live - sums->pending, of = sums->live;
	size_t since = done > d->busy_done ? done - d->busy_done : 0;
	uint64_t left = since ? (now_ns - d->busy_since_ns) / since * sums->pending / SECOND : 0;

	log_message(LOG_NOTICE,
		    "progress done=%zu of=%zu percent=%zu cells=%llu failed=%zu left=%02llu:%02llu:%02llu",
		    done, of, of ? done * 100 / of : 100, (unsigned long long)sums->cells,
		    sums->failed, (unsigned long long)left / 3600,
		    (unsigned long long)left / 60 % 60, (unsigned long long)left % 60);
}

/* True where live has files and no backup has any of them: a path is one level off. */
static bool is_lost(const struct tally_sums *sums)
{
	return sums->skipped && !sums->paired;
}

static void say_lost(struct daemon *d)
{
	char *sample[SAMPLES], *path = NULL, better[LOG_PATH_SIZE], shown[LOG_PATH_SIZE];
	size_t samples = tally_sample(d->tally, sample, SAMPLES);

	for (unsigned n = 0; n < d->site.sources.count && !path; n++)
		path = source_suggest(&d->site.sources.source[n], d->conf->live, sample, samples);
	log_escape(shown, sizeof(shown), d->conf->backup[0]);
	if (path)
		log_message(LOG_ERR, "no live file has a counterpart in %s; did you mean backup=%s",
			    shown, log_escape(better, sizeof(better), path));
	else
		log_message(LOG_ERR, "no live file has a counterpart, nor one or two levels up or "
			    "down: is it the right backup?  backup=%s", shown);
	free(path);
	for (size_t i = 0; i < samples; i++)
		free(sample[i]);
}

static void say_idle(struct daemon *d, const struct tally_sums *sums)
{
	log_flush();
	log_message(LOG_NOTICE,
		    "idle merged=%zu unchanged=%zu skipped=%zu failed=%zu waiting=%zu backup_needed=%s",
		    sums->merged, sums->unchanged, sums->skipped, sums->failed, sums->waiting,
		    backup_needed(d, sums) ? "yes" : "no");
	if (is_lost(sums) && !d->lost_said)
		say_lost(d);
	d->lost_said = is_lost(sums);
}

/* Looks how things stand.  True when all is done that can be done now. */
static bool tick(struct daemon *d)
{
	uint64_t now = io_now_ns();
	struct queue_count queued = queue_count(d->queue);
	struct tally_sums sums = tally_sums(d->tally);

	if (!d->watching_said && !queued.scans)
		say_watching(d);
	bool busy = queued.due || queued.in_flight || sums.pending;
	if (busy) {
		if (queued.due + queued.in_flight > queued.scans || sums.pending)
			d->busy_until_ns = now;
		if (!d->was_busy) {
			d->busy_since_ns = d->progress_ns = now;
			d->busy_done = sums.live - sums.pending;
		}
		if (now - d->progress_ns >= PROGRESS_NS && sums.pending) {
			d->progress_ns = now;
			say_progress(d, &sums, now);
		}
	} else if (sums.changes != d->idle_changes && !backup_needed(d, &sums) &&
		   atomic_load(&d->backups_seen_ns) < d->busy_until_ns) {
		/* Nobody is told that a backup can go before it was looked at once more. */
		queue_put(d->queue, QUEUE_BACKUPS, "", QUEUE_NOW, 0);
		return false;
	} else if (sums.changes != d->idle_changes) {
		d->idle_changes = sums.changes;
		atomic_store(&d->rest_said, false);
		say_idle(d, &sums);
	}
	d->was_busy = busy;
	return !busy;
}

/* ---- the loop ---- */

static void block_signals(struct daemon *d)
{
	sigset_t set;

	hold_prepare();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	d->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

/* True where a signal ends us. */
static bool take_signal(struct daemon *d)
{
	struct signalfd_siginfo info;

	while (read(d->signals, &info, sizeof(info)) == sizeof(info)) {
		if (info.ssi_signo != SIGHUP)
			return true;
		log_message(LOG_NOTICE, "the configuration is read at the start alone: restart to "
			    "have a change take effect");
	}
	return false;
}

/* Events, signals, and every TICK_MS a look at how things stand.  False where a signal came. */
static bool loop(struct daemon *d)
{
	struct pollfd wait[2] = {
		{ .fd = d->signals, .events = POLLIN },
		{ .fd = watch_fd(d->watch), .events = POLLIN },
	};
	uint64_t next_tick = io_now_ns();

	for (;;) {
		uint64_t now = io_now_ns();
		int ms = next_tick > now ? (int)((next_tick - now) / 1000000) + 1 : 0;

		if (poll(wait, 2, ms) < 0 && errno != EINTR) {
			log_message(LOG_CRIT, "poll: %s; ending", strerror(errno));
			return false;
		}
		if (wait[0].revents && take_signal(d))
			return false;
		if (wait[1].revents)
			watch_dispatch(d->watch);
		if (io_now_ns() < next_tick)
			continue;
		next_tick = io_now_ns() + TICK_MS * UINT64_C(1000000);
		if (tick(d) && d->once)
			return true;
	}
}

static int start(struct daemon *d)
{
	static const struct watch_calls watch_calls = {
		.written = on_written,
		.appeared = on_appeared,
		.created = on_created,
		.gone = on_gone,
		.odd = on_odd,
		.directory = on_directory,
		.overflow = on_overflow,
		.root_gone = on_root_gone,
	};
	static const struct worker_calls worker_calls = { .file = on_file, .other = on_other };
	const struct worker_options options = {
		.threads = d->conf->workers,
		.torn_tries = d->once ? ONCE_TORN_TRIES : 0,
		.retry_refused = !d->once,
	};
	int r = 0;

	d->site = (struct merge_site){
		.live = d->conf->live,
		.rest_s = REST_S,
		.wait_quiet = !d->once,
	};
	for (size_t n = 0; n < d->conf->backups && !r; n++)
		r = source_add(&d->site.sources, d->conf->backup[n], NULL);
	d->queue = queue_new();
	d->tally = tally_new();
	d->backup_missing = calloc(d->conf->backups, sizeof(*d->backup_missing));
	if (r || !d->queue || !d->tally || !d->backup_missing || d->signals < 0)
		return r ? r : -ENOMEM;
	r = watch_new(d->conf->live, &watch_calls, d, &d->watch);
	/* The backups first: what they hold tells a file that waits from one that is alone. */
	if (!r)
		r = queue_put(d->queue, QUEUE_BACKUPS, "", QUEUE_NOW, 0);
	if (!r)
		r = queue_put(d->queue, QUEUE_DIR, "", QUEUE_NOW, 0);
	if (!r)
		r = worker_start(&options, &d->site, d->queue, &worker_calls, d, &d->pool);
	return r;
}

static int once_status(struct daemon *d)
{
	struct tally_sums sums = tally_sums(d->tally);

	if (is_lost(&sums) || atomic_load(&d->live_missing))
		return 2;
	return sums.failed || sums.refused ? 1 : 0;
}

int daemon_run(const struct conf *conf, bool once)
{
	struct daemon d = { .conf = conf, .once = once, .signals = -1 };
	int status = 1;

	block_signals(&d);
	int r = start(&d);
	if (r) {
		log_message(LOG_ERR, "cannot start: %s", strerror(-r));
	} else {
		bool whole = loop(&d);
		atomic_store(&d.stopping, true);
		queue_stop(d.queue);
		worker_join(d.pool);
		status = !once ? 0 : whole ? once_status(&d) : 1;
		log_flush();
		log_message(LOG_NOTICE, "ended");
	}
	watch_free(d.watch);
	tally_free(d.tally);
	queue_free(d.queue);
	source_set_free(&d.site.sources);
	free(d.backup_missing);
	if (d.signals >= 0)
		close(d.signals);
	return status;
}
