#include "config.h"
#include "daemonint.h"

#include <errno.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "identity.h"
#include "log.h"
#include "notify.h"
#include "place.h"
#include "signals.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define PROOFS 4                /* files a tick that are read to see whether they are what was merged */
#define RUSH 1000
#define TICK_NS (100 * MS)
#define END_NS (600 * MS)       /* for the files in hand when a signal ends us */
#define CLOSE_NS (280 * MS)     /* after that for the ledger and who asks */
#define ONCE_CLOSE_NS (600 * SECOND)    /* where no signal came: until all is on disk */

enum { STATUS_FINE, STATUS_FAILED, STATUS_CONFIG };

/* ---- how things stand ---- */

static void say_cached(struct daemon *d)
{
	char shown[LOG_PATH_SIZE];
	struct reason why = { "" };

	struct cached *cached = d->crew ? d->crew->site.cached : NULL;

	switch (cached ? cached_news(cached, &why) : CACHED_NO_NEWS) {
	case CACHED_LOST:
		log_message(LOG_WARNING, "rrdcached is not asked for now: %s; merging goes on without "
			    "it", log_escape(shown, sizeof(shown), why.text));
		break;
	case CACHED_BACK:
		log_message(LOG_NOTICE, "rrdcached answers again");
		break;
	case CACHED_NO_NEWS:
		break;
	}
}

/* A few files at a time: after a restart, it may be all of them. */
static void prove(struct daemon *d)
{
	char rel[PATH_MAX];

	if (atomic_load(&d->commands.paused))
		return;
	for (unsigned n = 0; n < PROOFS && tally_next_recalled(d->tally, rel, sizeof(rel)); n++)
		if (queue_put(d->queue, QUEUE_FILE, rel, io_now_ns(), QUEUE_PROVE))
			tally_recalled(d->tally, rel);
}

/* True when all is done that can be done now. */
static bool tick(struct daemon *d)
{
	uint64_t now = io_now_ns();
	struct queue_count queued = queue_count(d->queue);
	struct live_state live = live_state(d->live);
	struct bulletin_news news = {
		.conf = d->conf,
		.sources = &d->site.sources,
		.tally = d->tally,
		.sums = tally_sums(d->tally),
		.directories = live.directories,
		.unwatched = live.unwatched,
		.overflows = live.overflows,
		.missing = live.missing,
		.paused = atomic_load(&d->commands.paused),
		.scanned = live.scanned && (!queued.scans || d->ready),
	};

	live_tick(d->live, queued.scans);
	books_tick(d->books);
	say_cached(d);
	/* A ledger that does not work would be waited for without end. */
	news.busy = queued.due || queued.in_flight || news.sums.pending || live.scanning ||
		    (books_syncing(d->books) && ledger_ok(books_ledger(d->books), NULL));
	if (queued.due + queued.in_flight > queued.scans || news.sums.pending)
		d->busy_until_ns = now;
	news.backup_needed = daemon_backup_needed(d, &news.sums);
	uint64_t missed = atomic_load(&d->missed);
	if (missed != d->missed_told)
		backups_missed(d->backups);
	d->missed_told = missed;
	/* Nobody is told that a backup can go before it was looked at once more, nor anything of what
	 * waits before it was looked at at all. */
	uint64_t walked = backups_state(d->backups).walked_ns;
	if (walked != d->walked_ns)
		live_relate(d->live);
	d->walked_ns = walked;
	if (!news.busy && !walked) {
		news.busy = true;
	} else if (!news.busy && !news.backup_needed && walked < d->busy_until_ns) {
		backups_walk(d->backups);
		news.busy = true;
	}
	bulletin_tick(&d->bulletin, &news);
	/* What a rush has used goes back to the system. */
	if (!news.busy && d->rushed)
		malloc_trim(0);
	d->rushed = news.busy && (d->rushed || news.sums.pending > RUSH);
	if (!news.busy)
		prove(d);
	atomic_store(&d->commands.busy, news.busy);
	atomic_store(&d->commands.left_s, bulletin_left_s(&d->bulletin, &news.sums));
	/* A disk that hangs must not make systemd give the start up. */
	if (!d->ready && (news.scanned || news.missing || d->commands.stalled_s)) {
		d->ready = true;
		notify_ready();
	}
	daemon_look_at_disks(d, now);
	return !news.busy && !d->reloading && !d->reread;
}

/* ---- the end ---- */

/* The files in hand are brought to their end.  Where a disk does not let us, we end all the same:
 * what was begun is complete to the next start. */
static void end(struct daemon *d, int status)
{
	char path[PATH_MAX] = "", shown[LOG_PATH_SIZE];
	struct bulletin_news news = {
		.conf = d->conf,
		.tally = d->tally,
		.sums = tally_sums(d->tally),
	};

	notify_stopping();
	queue_stop(d->queue);
	uint64_t until = io_now_ns() + END_NS;
	bool ended = daemon_workers_ended(d, until);
	ended = daemon_left_ended(d, until) && ended;
	news.sums = tally_sums(d->tally);
	bulletin_end(&d->bulletin, &news);
	if (ended) {
		log_message(LOG_NOTICE, "ended");
		return;
	}
	worker_stalled_ns(d->crew ? d->crew->pool : d->left->pool, path, sizeof(path));
	log_message(LOG_WARNING, "ended; a disk has not answered, and the file in hand is left for the "
		    "next start file=%s", log_escape(shown, sizeof(shown), path));
	log_close();
	_exit(status);          /* a thread still uses all that would be freed */
}

/* ---- the loop ---- */

/* Does the live tree's path lead elsewhere, by a symlink that was changed?  What is on record of the
 * tree that it led to is not of this one.  Only another directory is asked for its name, which has
 * just been looked at and so does not hang. */
static bool is_elsewhere(struct daemon *d)
{
	uint64_t root = atomic_load(live_root(d->live));
	char *name;

	if (!root || root == atomic_load(&d->named_root) || root == d->asked_root)
		return false;
	name = place_name(d->conf->live);
	bool elsewhere = name && strcmp(name, d->name);
	/* Nothing is written to another one before the reload. */
	if (elsewhere)
		d->asked_root = root;
	else if (name)
		atomic_store(&d->named_root, root);
	free(name);
	return elsewhere;
}

/* What was said before, in lines that stand anywhere among those of the files, and makes the exit
 * code: once more, at the end. */
static bool is_all_done(struct daemon *d)
{
	unsigned backups = backups_state(d->backups).unread;
	size_t dirs = live_state(d->live).unread, unsynced = books_unsynced(d->books);
	size_t unrecorded = books_syncing(d->books);
	bool works = !d->books || ledger_ok(books_ledger(d->books), NULL);

	if (backups)
		log_message(LOG_WARNING, "%u backup%s could not be read as a whole: run again when %s can",
			    backups, backups == 1 ? "" : "s", backups == 1 ? "it" : "they");
	if (dirs)
		log_message(LOG_WARNING, "%zu director%s of live could not be read: run again when %s "
			    "can", dirs, dirs == 1 ? "y" : "ies", dirs == 1 ? "it" : "they");
	if (unsynced)
		log_message(LOG_ERR, "live's disk has failed: %zu merge%s not done on record; keep the "
			    "backup, see the kernel's log, restart the machine, and run again",
			    unsynced, unsynced == 1 ? " is" : "s are");
	if (!works && unrecorded)
		log_message(LOG_ERR, "the ledger does not know that %zu merge%s done: run again when it "
			    "works", unrecorded, unrecorded == 1 ? " is" : "s are");
	return !backups && !dirs && !unsynced && works;
}

static int once_status(struct daemon *d)
{
	struct tally_sums sums = tally_sums(d->tally);
	bool all = is_all_done(d);

	if (bulletin_is_lost(&sums) || live_state(d->live).missing)
		return STATUS_CONFIG;
	return !all || sums.failed || sums.refused || backups_state(d->backups).misled
		? STATUS_FAILED : STATUS_FINE;
}

static int loop(struct daemon *d)
{
	bool once = d->options->once;

	for (;;) {
		uint64_t next_tick = io_now_ns() + TICK_NS;
		int signal;

		if (tick(d) && once) {
			d->concluded = true;
			return once_status(d);
		}
		while ((signal = signals_wait(d->signals, next_tick))) {
			if (signal != SIGHUP)
				return once ? STATUS_FAILED : STATUS_FINE;
			if (!once)
				daemon_begin_reload(d);
		}
		if (!once && !d->reloading && !d->reread && backups_changed(d->backups)) {
			log_message(LOG_NOTICE, "the patterns in \"backup\" stand for other directories "
				    "now: reloading");
			daemon_begin_reload(d);
		}
		if (!once && !d->reloading && !d->reread && is_elsewhere(d)) {
			log_message(LOG_NOTICE, "the path of the live tree leads elsewhere now: "
				    "reloading");
			daemon_begin_reload(d);
		}
		daemon_left_ended(d, io_now_ns());
		daemon_pass_by(d);
		int r = daemon_go_on_reloading(d);
		if (r) {
			log_message(LOG_CRIT, "cannot go on after the reload: %s", strerror(-r));
			return STATUS_FAILED;
		}
	}
}

int daemon_run(const struct daemon_options *options, struct conf *conf)
{
	struct daemon d = {
		.options = options,
		.conf = conf,
		.signals = signals_open(),
		.was_root = geteuid() == 0,
		.commands = { .lock = PTHREAD_RWLOCK_INITIALIZER, .busy = true, .left_s = -1 },
	};
	int status = STATUS_FINE;

	if (notify_open())
		log_message(LOG_WARNING, "NOTIFY_SOCKET does not answer: systemd is not told how we "
			    "fare");
	int facility = conf->facility;
	if (identity_take(options->file, conf, options->once, d.signals, &status)) {
		int r = d.signals < 0 ? d.signals
			: signals_watch(d.signals, options->once ? STATUS_FAILED : STATUS_FINE);

		if (r >= 0) {
			d.signals = r;
			r = 0;
		}
		/* It may have been read again while live was not there. */
		if (conf->facility != facility)
			daemon_reopen_log(&d);
		if (!r)
			r = daemon_start(&d);
		if (!r) {
			daemon_set_commands(&d);
			r = daemon_start_control(&d);
		}
		if (r == REFUSED) {
			status = STATUS_CONFIG;
		} else if (r) {
			log_message(LOG_ERR, "cannot start: %s%s", strerror(-r), r == -EAGAIN
				    ? ": may the user have more processes (ulimit -u)?" : "");
			status = STATUS_FAILED;
		} else {
			status = loop(&d);
		}
	}
	uint64_t until = io_now_ns() + (d.concluded ? ONCE_CLOSE_NS : END_NS + CLOSE_NS);
	if (d.queue)
		end(&d, status);
	reread_drop(d.reread);
	conf_free(&d.next);
	if (!control_stop(d.control, until) || atomic_load(&d.commands.left) ||
	    !books_close(d.books, until)) {
		notify_close();
		log_close();
		_exit(status);  /* a disk hangs, and a thread still uses all that would be freed */
	}
	d.books = NULL;
	daemon_drop_all(&d);
	forgotten_free(d.forgotten);
	free(d.name);
	free(d.next_name);
	notify_close();
	return status;
}
