#include "config.h"
#include "daemon.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "backups.h"
#include "bulletin.h"
#include "commands.h"
#include "identity.h"
#include "live.h"
#include "log.h"
#include "notify.h"
#include "place.h"
#include "privilege.h"
#include "report.h"
#include "reread.h"
#include "signals.h"
#include "worker.h"

#define MS UINT64_C(1000000)
#define SECOND (1000 * MS)
#define REST_S 10               /* a source must have been left alone so long */
#define PROOFS 4                /* files a tick that are read to see whether they are what was merged */
#define REST_SAID_NS (600 * SECOND)
#define TICK_NS (100 * MS)
#define END_NS (600 * MS)       /* for the files in hand when a signal ends us */
#define CLOSE_NS (280 * MS)     /* after that for the ledger and who asks */
#define ONCE_CLOSE_NS (600 * SECOND)    /* where no signal came: until all is on disk */
#define RELOAD_NS (3 * SECOND)  /* for the files in hand before a reload */
#define STALL_SHOWN_NS (5 * SECOND)     /* a disk that hangs: to who asks … */
#define STALLED_NS (30 * SECOND)        /* … and to the log */
#define ONCE_TORN_TRIES 5
#define BUSY_SAID 6             /* the try at which a busy file is worth a line */

enum { STATUS_FINE, STATUS_FAILED, STATUS_CONFIG };

/* Workers and what they work with, which is theirs alone: it may outlast a reload. */
struct crew {
	struct worker_pool *pool;
	struct merge_site site;
	struct crew *next;
};

struct daemon {
	const struct daemon_options *options;
	struct conf *conf;
	int signals;

	struct merge_site site;
	struct queue *queue;
	struct tally *tally;
	struct live *live;
	struct backups *backups;
	struct crew *crew;      /* at work; NULL: none */
	struct crew *left;      /* those of before a reload that have not come back */
	struct books *books;    /* NULL: ledger = false */
	struct forgotten *forgotten;
	struct control *control;
	struct commands commands;
	char *name;             /* of the live tree, see place_name() */
	char *next_name;        /* while reloading */
	uint64_t named_root;    /* which directory bears it; 0: nobody has looked */

	atomic_bool log_files;  /* conf's, for workers: they may outlast a reload */

	/* Said once, by workers. */
	atomic_bool lease_said, future_said;
	atomic_uint_fast64_t rest_ns;   /* when it was said last that the backup rests */

	/* The main thread's own. */
	struct bulletin bulletin;
	uint64_t busy_until_ns, alive_ns, walked_ns, reload_ns;
	bool ready, stall_said, was_root, concluded, reread_said;
	bool reloading, reload_again;   /* the file may be another since it was read */
	struct reread *reread;  /* the configuration is being read again */
	struct conf next;       /* while reloading */
};

/* ---- what workers tell ---- */

static void say_once_for_all(struct daemon *d, const char *rel, const struct merge_result *result)
{
	char shown[LOG_PATH_SIZE];

	if (result->no_lease && !atomic_exchange(&d->lease_said, true))
		log_message(LOG_WARNING, "%s: writing under a short lock instead, right after a "
			    "file's own update; an update that meets the lock all the same is lost",
			    result->lease_why.text);
	uint64_t now = io_now_ns(), said = atomic_load(&d->rest_ns);
	if (result->outcome == MERGE_RESTING && (!said || now - said > REST_SAID_NS) &&
	    atomic_compare_exchange_strong(&d->rest_ns, &said, now))
		log_message(LOG_NOTICE, "resting: the backup changed within the last %d s; each of "
			    "its files is taken when it has been left alone so long", REST_S);
	if (result->future && !atomic_exchange(&d->future_said, true))
		log_message(LOG_WARNING, "a last_update lies in the future, is a clock wrong?  "
			    "file=%s", log_escape(shown, sizeof(shown), rel));
}

static void on_file(const char *rel, const struct merge_result *result, unsigned tries,
		    bool will_retry, void *arg)
{
	struct daemon *d = arg;
	char line[REPORT_SIZE];

	say_once_for_all(d, rel, result);
	live_await(d->live, rel, result->outcome == MERGE_UNLABELLED || result->unlabelled);
	/* One that somebody keeps open for long is not waited for before the rest is said. */
	tally_result(d->tally, rel, result,
		     will_retry && (result->outcome != MERGE_BUSY || tries < BUSY_SAID));
	if (result->outcome == MERGE_MERGED && merge_wrote(result)) {
		if (atomic_load(&d->log_files))
			log_file(LOG_INFO, "%s", report_merged(line, sizeof(line), rel, result,
							       false, false));
	} else if (result->outcome == MERGE_TORN && tries == 0) {
		log_file(LOG_NOTICE, "%s", report_refused(line, sizeof(line), "later", rel,
							  result->why.text));
	} else if (result->outcome == MERGE_BUSY && tries == BUSY_SAID) {
		log_file(LOG_NOTICE, "%s", report_refused(line, sizeof(line), "busy", rel,
							  result->why.text));
	}
}

static uint64_t on_other(const struct queue_job *job, void *arg)
{
	struct daemon *d = arg;

	return live_job(d->live, job);
}

static void on_opening(const char *rel, void *arg)
{
	struct daemon *d = arg;

	tally_own(d->tally, rel);
}

static bool on_glance(const char *rel, unsigned flags, void *arg)
{
	struct daemon *d = arg;

	bool done = (!(flags & QUEUE_RECALL) && live_glance(d->live, rel, flags)) ||
		    (flags & (QUEUE_GLANCE | QUEUE_RECALL) && !(flags & QUEUE_REWRITTEN) &&
		     books_recall(d->books, rel));
	if (flags & QUEUE_SOURCES)
		done = done && books_has_sources(d->books, rel);
	return done && (!(flags & QUEUE_PROVE) || books_prove(d->books, rel));
}

/* ---- how things stand ---- */

/* A backup is needed until each was seen with files in it, and none of these is wanted any more. */
static bool backup_needed(struct daemon *d, const struct tally_sums *sums)
{
	return sums->waiting || sums->unsettled || sums->pending ||
	       !backups_state(d->backups).whole;
}

/* Feeds systemd's watchdog, unless a worker hangs. */
static void feed_watchdog(struct daemon *d, uint64_t now)
{
	char path[PATH_MAX] = "", shown[LOG_PATH_SIZE];
	uint64_t watchdog = notify_watchdog_ns();
	uint64_t stalled = d->crew ? worker_stalled_ns(d->crew->pool, path, sizeof(path)) : 0;
	struct backups_state walk = backups_state(d->backups);

	if (walk.stalled_ns > stalled) {
		stalled = walk.stalled_ns;
		snprintf(path, sizeof(path), "%s", d->conf->backup[walk.at]);
	}
	atomic_store(&d->commands.stalled_s,
		     stalled < STALL_SHOWN_NS ? 0 : (unsigned)(stalled / SECOND));
	if (stalled < STALLED_NS) {
		d->stall_said = false;
	} else if (!d->stall_said) {
		d->stall_said = true;
		log_message(LOG_ERR, "a disk has not answered for %llu s: waiting for it file=%s",
			    (unsigned long long)(stalled / SECOND),
			    log_escape(shown, sizeof(shown), path));
	}
	if (watchdog && stalled < watchdog / 2 && now - d->alive_ns >= watchdog / 4) {
		d->alive_ns = now;
		notify_alive();
	}
}

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
		.scanned = live.scanned && (!queued.scans || d->ready),
	};

	live_tick(d->live, queued.scans);
	books_tick(d->books);
	say_cached(d);
	news.busy = queued.due || queued.in_flight || news.sums.pending || live.scanning;
	if (queued.due + queued.in_flight > queued.scans || news.sums.pending)
		d->busy_until_ns = now;
	news.backup_needed = backup_needed(d, &news.sums);
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
	if (!news.busy)
		prove(d);
	atomic_store(&d->commands.busy, news.busy);
	atomic_store(&d->commands.left_s, bulletin_left_s(&d->bulletin, &news.sums));
	/* A disk that hangs must not make systemd give the start up. */
	if (!d->ready && (news.scanned || news.missing || d->commands.stalled_s)) {
		d->ready = true;
		notify_ready();
	}
	feed_watchdog(d, now);
	return !news.busy && !d->reloading && !d->reread;
}

/* ---- start and end ---- */

static void free_crew(struct crew *crew)
{
	if (!crew)
		return;
	cached_free(crew->site.cached);
	source_set_free(&crew->site.sources);
	free((char *)(uintptr_t)crew->site.live);
	free((char *)(uintptr_t)crew->site.name);
	free(crew);
}

/* True where there are none any more. */
static bool workers_ended(struct daemon *d, uint64_t until_ns)
{
	if (d->crew && !worker_join_until(d->crew->pool, until_ns))
		return false;
	free_crew(d->crew);
	d->crew = NULL;
	return true;
}

/* The same for those who were left behind. */
static bool left_ended(struct daemon *d, uint64_t until_ns)
{
	struct crew **at = &d->left;

	while (*at) {
		struct crew *crew = *at;

		if (worker_join_until(crew->pool, until_ns)) {
			*at = crew->next;
			free_crew(crew);
		} else {
			at = &crew->next;
		}
	}
	return !d->left;
}

/* A disk holds them: what they have in hand is theirs until they come back, and then they end. */
static void leave_behind(struct daemon *d)
{
	char path[PATH_MAX] = "", shown[LOG_PATH_SIZE];

	worker_stalled_ns(d->crew->pool, path, sizeof(path));
	log_message(LOG_WARNING, "a disk has not answered: what waits for it is left behind file=%s",
		    log_escape(shown, sizeof(shown), path));
	d->crew->next = d->left;
	d->left = d->crew;
	d->crew = NULL;
}

static int start_workers(struct daemon *d)
{
	static const struct worker_calls calls = {
		.file = on_file, .other = on_other, .glance = on_glance,
	};
	const struct worker_options options = {
		.threads = d->conf->workers,
		.rate = d->conf->rate,
		.torn_tries = d->options->once ? ONCE_TORN_TRIES : 0,
		.retry_refused = !d->options->once,
	};
	struct crew *crew = calloc(1, sizeof(*crew));
	int r;

	if (!crew)
		return -ENOMEM;
	crew->site = d->site;
	crew->site.live = strdup(d->site.live);
	crew->site.name = strdup(d->site.name);
	crew->site.sources = (struct source_set){ 0 };
	r = source_set_copy(&d->site.sources, &crew->site.sources);
	if (!r && (!crew->site.live || !crew->site.name))
		r = -ENOMEM;
	if (!r && d->conf->rrdcached)
		r = cached_new(d->conf->rrdcached, &crew->site.cached);
	if (!r)
		r = worker_start(&options, &crew->site, d->queue, &calls, d, &crew->pool);
	if (r)
		free_crew(crew);
	else
		d->crew = crew;
	return r;
}

static int set_sources(struct daemon *d)
{
	struct reason why;      /* none: the rules were checked when they were read */
	int r = 0;

	d->site.options = (struct plan_options){
		.no_spread = d->conf->no_spread,
		.rebuild = d->conf->rebuild,
	};
	d->site.match = d->conf->match == CONF_MATCH_LABEL ? LABELS_LABEL
		: d->conf->match == CONF_MATCH_NAME ? LABELS_NAME : LABELS_AUTO;
	for (size_t n = 0; n < d->conf->backups && !r; n++)
		r = source_add(&d->site.sources, d->conf->backup[n], NULL);
	if (!r && d->conf->renames)
		r = index_new(d->conf->rename, d->conf->renames, &d->site.sources.index, &why);
	if (!r)
		r = books_set_sources(d->books, &d->site.sources);
	if (!r && d->live)
		r = live_set_sources(d->live, &d->site.sources);
	if (!r)
		r = backups_new(&d->site.sources, d->site.match == LABELS_NAME ? NULL : d->conf->live,
				d->queue, d->tally, &d->backups);
	return r ? r : backups_follow(d->backups, d->conf->given, d->conf->givens);
}

/* What was undone is on record alone. */
static void say_unheld(const struct daemon *d)
{
	char *path = NULL, shown[LOG_PATH_SIZE];

	if (asprintf(&path, "%s/ledger.db", d->conf->state_dir) < 0)
		return;
	if (!access(path, F_OK))
		log_message(LOG_WARNING, "ledger = false: what was undone is not known, and is merged "
			    "again path=%s", log_escape(shown, sizeof(shown), path));
	free(path);
}

/* 0, -errno, or REFUSED where we may not start, and said. */
static int open_books(struct daemon *d)
{
	const struct books_options options = {
		.state_dir = d->conf->state_dir,
		.site = &d->site,
		.queue = d->queue,
		.tally = d->tally,
		.once = d->options->once,
	};
	struct reason why = { "" };
	char shown[LOG_PATH_SIZE];
	int r = 0;

	if (!d->books && !d->conf->ledger) {
		say_unheld(d);
		return 0;
	}
	if (d->books)
		books_serve(d->books, d->queue, d->tally);
	else
		r = books_open(&options, &d->books, &why);
	if (r)
		log_message(LOG_ERR, "ledger %s state_dir=%s", why.text,
			    log_escape(shown, sizeof(shown), d->conf->state_dir));
	d->site.ledger = books_ledger(d->books);
	d->site.record_now = d->options->once;
	return r;
}

/* What cannot be read is said, and nothing is forgotten then. */
static int open_forgotten(struct daemon *d)
{
	struct reason why = { "" };
	char shown[LOG_PATH_SIZE];

	if (!d->forgotten) {
		int r = forgotten_open(d->conf->state_dir, &d->forgotten, &why);

		if (r == -ENOMEM)
			return r;
		if (r)
			log_message(LOG_WARNING, "the file \"forgotten\" %s: nothing is forgotten "
				    "state_dir=%s", why.text,
				    log_escape(shown, sizeof(shown), d->conf->state_dir));
	}
	tally_forget(d->tally, forgotten_is, d->forgotten);
	return 0;
}

static bool backup_is_needed(void *arg)
{
	struct daemon *d = arg;
	struct tally_sums sums = tally_sums(d->tally);

	return backup_needed(d, &sums);
}

/* Who asks finds what there is now.  Nobody may be asking. */
static void set_commands(struct daemon *d)
{
	struct commands *commands = &d->commands;

	commands->queue = d->queue;
	commands->tally = d->tally;
	commands->live = d->live;
	commands->backups = d->backups;
	if (commands->site)
		return;
	/* These stay what they are, and are read without the lock. */
	commands->site = &d->site;
	commands->books = d->books;
	commands->forgotten = d->forgotten;
	commands->backup_needed = backup_is_needed;
	commands->arg = d;
}

/* 0, or REFUSED where another daemon answers there; what is otherwise wrong is said, and the daemon
 * goes on unasked. */
static int start_control(struct daemon *d)
{
	const struct control_options options = {
		.path = d->conf->socket,
		.commands = commands_table,
		.count = commands_count,
		.arg = &d->commands,
	};
	struct reason why = { "" };

	if (d->options->once)
		return 0;
	int r = control_start(&options, &d->control, &why);
	if (r)
		log_message(r == -EADDRINUSE ? LOG_ERR : LOG_WARNING, "control socket %s%s", why.text,
			    r == -EADDRINUSE ? "" : "; rrdmergctl will not reach this daemon");
	return r == -EADDRINUSE ? REFUSED : 0;
}

static int start(struct daemon *d)
{
	const struct live_options live = {
		.path = d->conf->live,
		.rescan_s = d->conf->rescan_s,
		.once = d->options->once,
		.sources = &d->site.sources,
	};

	free(d->name);
	d->name = place_name(d->conf->live);
	d->named_root = 0;
	if (!d->name)
		return -ENOMEM;
	d->site = (struct merge_site){
		.live = d->conf->live,
		.name = d->name,
		.rest_s = REST_S,
		.wait_quiet = !d->options->once,
		.wait_sidecar = !d->options->once,
		.opening = on_opening,
		.opening_arg = d,
	};
	atomic_store(&d->log_files, d->conf->log_files);
	d->queue = queue_new();
	d->tally = tally_new();
	if (!d->queue || !d->tally)
		return -ENOMEM;
	queue_pause(d->queue, atomic_load(&d->commands.paused));
	int r = open_forgotten(d);
	if (!r)
		r = open_books(d);
	if (!r)
		r = set_sources(d);
	if (!r)
		r = live_new(&live, d->queue, d->tally, &d->live);
	if (!r)
		d->site.root = live_root(d->live);
	if (!r)
		r = start_workers(d);
	return r;
}

static void drop_sources(struct daemon *d)
{
	backups_free(d->backups);
	d->backups = NULL;
	source_set_free(&d->site.sources);
}

/* All but the books, which stay open. */
static void drop_all(struct daemon *d)
{
	books_serve(d->books, NULL, NULL);
	live_free(d->live);
	drop_sources(d);
	tally_free(d->tally);
	queue_free(d->queue);
	d->live = NULL;
	d->tally = NULL;
	d->queue = NULL;
}

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
	bool ended = workers_ended(d, until);
	ended = left_ended(d, until) && ended;
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

/* ---- reload ---- */

static void say(int priority, const char *message, void *arg)
{
	(void)arg;
	log_message(priority, "%s", message);
}

static void stay(struct daemon *d, const char *why)
{
	log_message(LOG_ERR, "the configuration is not taken over: %s; what was read before stays in "
		    "force", why);
	conf_free(&d->next);
	notify_ready();
	atomic_fetch_add(&d->commands.stayed, 1);
}

/* May this process serve the new configuration?  It has given up the right to become another. */
static bool may_serve(struct daemon *d)
{
	struct privilege_user user, self;
	struct reason why, said;

	if (!d->was_root)
		return true;            /* "user" is for whoever starts as root */
	privilege_current(&self);
	/* Where live is not there yet, or cannot be read, that is said as at the start. */
	int r = privilege_choose(d->next.live, d->next.user, &user, &why);
	if (r < 0 || (r == 0 && user.uid == self.uid))
		return true;
	if (r == REFUSED)
		reason_set(&said, "live %s", why.text);
	else
		reason_set(&said, "%s %s and this runs as %s, which takes a restart",
			   d->next.user ? "\"user\" is" : "the live tree belongs to", user.name,
			   self.name);
	stay(d, said.text);
	return false;
}

static void begin_reload(struct daemon *d)
{
	d->reload_again = d->reloading;
	if (d->reloading)
		return;
	notify_reloading();
	reread_drop(d->reread);         /* what the file says now counts */
	d->reread = reread_begin(d->options->file, say);
	d->reload_ns = io_now_ns();
	d->reread_said = false;
	if (!d->reread)
		stay(d, "there is no memory to read it");
}

/* The file is read: its workers finish what they have in hand. */
static void go_on_reloading(struct daemon *d)
{
	int r;

	if (!reread_ended(d->reread, &d->next, &r)) {
		if (!d->reread_said && io_now_ns() - d->reload_ns > RELOAD_NS)
			log_message(LOG_WARNING, "a disk has not answered: the configuration names it, "
				    "and is taken over when it does, or when the configuration "
				    "names it no more; until then the one from before is in force");
		d->reread_said = d->reread_said || io_now_ns() - d->reload_ns > RELOAD_NS;
		return;
	}
	d->reread = NULL;
	if (r)
		stay(d, "it has errors");
	if (r || !may_serve(d))
		return;
	free(d->next_name);
	d->next_name = place_name(d->next.live);
	d->reloading = true;
	d->reload_ns = io_now_ns();
	d->reread_said = false;
	worker_leave(d->crew->pool);
}

/* Is it the same live tree?  Its path may lead elsewhere by now. */
static bool is_same_live(const struct daemon *d)
{
	return !strcmp(d->conf->live, d->next.live) && d->next_name &&
	       !strcmp(d->name, d->next_name);
}

/* The configuration is read: the files in hand are brought to their end.  True when that is so; who
 * waits for a disk is left behind, unless it is the live tree that is another. */
static bool workers_are_off(struct daemon *d)
{
	bool same_live = is_same_live(d);

	if (workers_ended(d, io_now_ns()) && (same_live || left_ended(d, io_now_ns())))
		return true;
	if (io_now_ns() - d->reload_ns < RELOAD_NS)
		return false;
	if (same_live) {
		leave_behind(d);
		return true;
	}
	if (!d->reread_said)
		log_message(LOG_WARNING, "a disk has not answered: the new live tree is taken over when "
			    "it does, or at a restart");
	d->reread_said = true;
	return false;
}

/* Every live file is looked at again, with the new sources. */
static int look_at_all(struct daemon *d)
{
	size_t count;
	char **list = tally_list(d->tally, TALLY_LIVE, MERGE_ALLOWED, 0, &count);
	int r = 0;

	for (size_t i = 0; i < count && !r; i++)
		r = queue_put(d->queue, QUEUE_FILE, list[i], io_now_ns(), QUEUE_LOOK);
	tally_list_free(list, count);
	return r;
}

static void reopen_log(const struct daemon *d)
{
	log_close();
	log_open("rrdmergd", d->options->log_targets, d->conf->facility);
}

/* No worker is at work.  What has not changed is left as it is, the watches above all. */
static int finish_reload(struct daemon *d)
{
	struct conf old = *d->conf;
	bool same_live = is_same_live(d);
	bool same_sources = conf_same_sources(&old, &d->next);
	bool same_rules = old.no_spread == d->next.no_spread && old.rebuild == d->next.rebuild &&
			  old.match == d->next.match;
	int r = 0;

	*d->conf = d->next;
	if (same_live) {                /* who was left behind may still look at it */
		d->conf->live = old.live;
		old.live = d->next.live;
	}
	d->next = (struct conf){ 0 };
	d->reloading = false;
	if (d->conf->facility != old.facility)
		reopen_log(d);
	atomic_store(&d->log_files, d->conf->log_files);
	log_message(LOG_NOTICE, "reloaded file=%s", d->options->file);
	if (!same_live || !same_sources)
		d->bulletin = (struct bulletin){ 0 };
	if (!same_live) {
		drop_all(d);
		r = start(d);
	} else {
		live_set_rescan(d->live, d->conf->rescan_s);
		drop_sources(d);
		if (!same_sources)
			tally_new_sources(d->tally);
		r = set_sources(d);
		if (!r && !(same_sources && same_rules))
			r = look_at_all(d);
		queue_resume(d->queue);
		if (!r)
			r = start_workers(d);
	}
	conf_free(&old);
	d->ready = false;               /* told again when all is watched */
	return r;
}

/* ---- the loop ---- */

/* Does the live tree's path lead elsewhere, by a symlink that was changed?  What is on record of the
 * tree that it led to is not of this one.  Only another directory is asked for its name, which has
 * just been looked at and so does not hang. */
static bool is_elsewhere(struct daemon *d)
{
	uint64_t root = atomic_load(live_root(d->live));
	char *name;

	if (!root || root == d->named_root)
		return false;
	name = place_name(d->conf->live);
	bool elsewhere = name && strcmp(name, d->name);
	if (name)
		d->named_root = root;
	free(name);
	return elsewhere;
}

static int once_status(struct daemon *d)
{
	struct tally_sums sums = tally_sums(d->tally);

	if (bulletin_is_lost(&sums) || live_state(d->live).missing)
		return STATUS_CONFIG;
	return sums.failed || sums.refused ? STATUS_FAILED : STATUS_FINE;
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
				begin_reload(d);
		}
		if (!once && !d->reloading && !d->reread && backups_changed(d->backups)) {
			log_message(LOG_NOTICE, "the patterns in \"backup\" stand for other directories "
				    "now: reloading");
			begin_reload(d);
		}
		if (!once && !d->reloading && !d->reread && is_elsewhere(d)) {
			log_message(LOG_NOTICE, "the path of the live tree leads elsewhere now: "
				    "reloading");
			begin_reload(d);
		}
		if (d->reread)
			go_on_reloading(d);
		left_ended(d, io_now_ns());
		if (d->reloading && workers_are_off(d) &&
		    !pthread_rwlock_trywrlock(&d->commands.lock)) {
			int r = finish_reload(d);
			set_commands(d);
			atomic_fetch_add(&d->commands.reloaded, 1);
			pthread_rwlock_unlock(&d->commands.lock);
			if (r) {
				log_message(LOG_CRIT, "cannot go on after the reload: %s",
					    strerror(-r));
				return STATUS_FAILED;
			}
			if (d->reload_again)
				begin_reload(d);
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
			reopen_log(&d);
		if (!r)
			r = start(&d);
		if (!r) {
			set_commands(&d);
			r = start_control(&d);
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
	/* Where a disk hangs, what is used must stay: all ends with the process then. */
	if (control_stop(d.control, until) && books_close(d.books, until)) {
		d.books = NULL;
		drop_all(&d);
		forgotten_free(d.forgotten);
		free(d.name);
		free(d.next_name);
	}
	notify_close();
	return status;
}
