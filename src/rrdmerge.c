/* rrdmerge: one pair of files or two trees, now, without a daemon. */
#include "config.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "arguments.h"
#include "convert.h"
#include "hold.h"
#include "log.h"
#include "outcome.h"
#include "place.h"
#include "record.h"
#include "report.h"
#include "showing.h"
#include "undo.h"
#include "worker.h"

#define DRAW_MS 100
#define LEDGER_NS UINT64_C(600000000000)  /* for the disk, at the end */
#define TORN_TRIES 5            /* some four seconds for a source that is being written */

/* What the threads share: the workers, and the one that draws and waits for signals. */
struct run {
	const struct arguments *options;
	struct merge_site site;
	struct queue *queue;
	atomic_bool interrupted;
	const char *pair;               /* two files: what NEW was called, else NULL */
	char *live_dir, *live_name;     /* two files: NEW's directory and name; else NULL */
	struct showing showing;
	char *live_real;                /* with a ledger: the live root's own path */
	struct outcome outcome;
};

/* ---- files ---- */

static void on_file(const char *path, const struct merge_result *result, unsigned tries,
		    bool will_retry, void *arg)
{
	struct run *run = arg;

	outcome_file(&run->outcome, run->pair ? run->pair : path, result, tries, will_retry);
}

static int on_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct run *run = arg;
	struct outcome *outcome = &run->outcome;

	if (kind == IO_LINK_TO_DIR) {
		outcome_refuse(outcome, rel, "is a symbolic link to a directory, which is not "
			       "followed");
		return 0;
	}
	if (kind == IO_DIR || !io_is_rrd_name(rel))
		return 0;
	if (kind != IO_FILE) {
		outcome_refuse(outcome, rel, kind == IO_LINK
			       ? "is a symbolic link, which is not followed"
			       : "is a FIFO, a socket or a device, not a regular file");
		return 0;
	}
	outcome_found(outcome, rel);
	if (atomic_load(&run->interrupted))
		return 1;
	return queue_put(run->queue, QUEUE_FILE, rel, QUEUE_NOW, 0);
}

static void on_unreadable(const char *rel, int error, void *arg)
{
	struct run *run = arg;
	struct reason why;

	if (error == ELOOP)
		reason_set(&why, "lies too deep: directories are nested without end");
	else
		reason_errno(&why, error, "directory cannot be read");
	outcome_refuse(&run->outcome, *rel ? rel : ".", why.text);
}

/* ---- the run ---- */

/* Draws, and waits for signals: SIGUSR1 is main's, to end. */
static void *tick(void *arg)
{
	struct run *run = arg;
	struct timespec pause = { 0, DRAW_MS * 1000000L };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	for (;;) {
		int got = sigtimedwait(&set, NULL, &pause);

		if (got == SIGUSR1)
			return NULL;
		if (got > 0) {
			if (atomic_exchange(&run->interrupted, true))
				_exit(EXIT_REFUSED);    /* asked twice: now; it is safe at any time */
			queue_stop(run->queue);
		}
		outcome_draw(&run->outcome);
	}
}

static void block_signals(void)
{
	sigset_t set;

	hold_prepare();
	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/* ---- rename rules ---- */

struct leading {
	struct run *run;
	int root;               /* OLD's */
	const char *rel;        /* the file beneath it that is being led */
};

static int on_lead(const struct index_lead *lead, void *arg)
{
	const struct leading *leading = arg;
	struct run *run = leading->run;

	if (!lead->live)
		outcome_misled(&run->outcome, leading->rel, &lead->why);
	else if (lead->rule)
		outcome_renamed(&run->outcome, leading->rel, lead->live, lead->rule);
	return atomic_load(&run->interrupted) ? 1 : 0;
}

static int on_old(const char *rel, enum io_kind kind, void *arg)
{
	struct leading *leading = arg;
	char buffer[NAMES_SIZE];
	const char *rrd = kind == IO_FILE ? index_rrd_of(leading->root, rel, buffer) : NULL;

	leading->rel = rel;
	return rrd ? index_add(leading->run->site.sources.index, rel, rrd, on_lead, leading) : 0;
}

static void on_old_unreadable(const char *rel, int error, void *arg)
{
	struct leading *leading = arg;
	struct reason why;

	reason_errno(&why, error, "directory of OLD cannot be read");
	outcome_misled(&leading->run->outcome, *rel ? rel : ".", &why);
}

/* Which files of OLD the rules lead where, before NEW's are looked at. */
static int follow_rules(struct run *run)
{
	struct leading leading = { run, io_open_root(run->site.sources.source[0].path), NULL };
	int r;

	if (leading.root < 0)
		return leading.root;
	index_begin(run->site.sources.index);
	r = io_walk(leading.root, "", on_old, on_old_unreadable, &leading);
	close(leading.root);
	return r < 0 ? r : 0;
}

static int feed(struct run *run)
{
	if (run->site.sources.index) {
		int r = follow_rules(run);

		if (r)
			return r;
	}
	if (run->pair) {
		outcome_found(&run->outcome, NULL);
		return queue_put(run->queue, QUEUE_FILE, run->live_name, QUEUE_NOW, 0);
	}
	int root = io_open_root(run->site.live);
	if (root < 0)
		return root;
	int r = io_walk(root, "", on_entry, on_unreadable, run);
	close(root);
	return r < 0 ? r : 0;
}

/* ---- the ledger ---- */

/* The path beneath NEW; NULL: it is of another tree. */
static const char *rel_of(const struct run *run, const char *key)
{
	size_t len = strlen(run->site.live);

	return !strncmp(key, run->site.live, len) && key[len] == '/' ? key + len + 1 : NULL;
}

static void on_durable(const char *key, int64_t id, void *arg)
{
	struct run *run = arg;
	const char *rel = rel_of(run, key);

	(void)id;
	if (rel)
		queue_put(run->queue, QUEUE_FILE, rel, QUEUE_NOW, 0);
}

static void on_done(const char *key, int64_t id, int error, void *arg)
{
	struct run *run = arg;
	const char *rel = rel_of(run, key);

	(void)id;
	if (error)
		outcome_unsynced(&run->outcome, run->pair ? run->pair : rel ? rel : key, error);
}

/* The record names files by their whole path: it may serve many trees, and be asked from anywhere. */
static int open_ledger(struct run *run)
{
	const struct ledger_options options = {
		.path = run->options->ledger,
		.durable = on_durable,
		.sync = record_sync,
		.done = on_done,
		.arg = run,
	};
	struct reason why = { "" };
	char shown[LOG_PATH_SIZE];

	/* A dry run makes none; but what it says must not be more than the record allows. */
	if (!options.path || (run->options->dry_run && access(options.path, F_OK)))
		return 0;
	run->live_real = realpath(run->site.live, NULL);
	if (!run->live_real) {
		log_message(LOG_ERR, "%s: %s; nothing was changed",
			    log_escape(shown, sizeof(shown), run->site.live), strerror(errno));
		return -EINVAL;
	}
	run->site.live = run->live_real;
	run->site.record_now = true;
	for (unsigned n = 0; n < run->site.sources.count; n++) {
		char *real = realpath(run->site.sources.source[n].path, NULL);

		if (real) {
			free(run->site.sources.source[n].path);
			run->site.sources.source[n].path = real;
		}
	}
	int r = ledger_open(&options, &run->site.ledger, &why);
	if (r || !ledger_ok(run->site.ledger, &why)) {
		if (!r)
			ledger_close(run->site.ledger, io_now_ns() + LEDGER_NS);
		run->site.ledger = NULL;
		log_message(LOG_ERR, "ledger %s; nothing was changed path=%s", why.text,
			    log_escape(shown, sizeof(shown), options.path));
		return -EINVAL;
	}
	if (run->pair && !run->options->dry_run) {
		char key[MERGE_KEY_SIZE];

		ledger_release(run->site.ledger, merge_key(&run->site, run->live_name, key));
	}
	if (ledger_notice(run->site.ledger, &why))
		log_message(LOG_WARNING, "ledger %s path=%s", why.text,
			    log_escape(shown, sizeof(shown), options.path));
	return 0;
}

/* What was merged is on disk and on record when this returns true. */
static bool close_ledger(struct run *run)
{
	struct ledger *ledger = run->site.ledger;
	struct reason why = { "is not done in time" };

	if (!ledger)
		return true;
	size_t failed = 0;
	bool done = !ledger_flush(ledger, io_now_ns() + LEDGER_NS);
	if (!done) {
		ledger_ok(ledger, &why);
		log_message(LOG_ERR, "the ledger does not know all that was merged: %s", why.text);
	}
	ledger_unsynced(ledger, &failed);
	if (failed)
		log_message(LOG_ERR, "live's disk has failed: %zu merge%s not done on record; keep the "
			    "backup, see the kernel's log, restart the machine, and run again", failed,
			    failed == 1 ? " is" : "s are");
	return ledger_close(ledger, io_now_ns() + LEDGER_NS) && done;
}

static int work_all(struct run *run)
{
	const struct worker_calls calls = { .file = on_file };
	const struct worker_options options = {
		.threads = run->pair ? 1 : run->options->jobs,
		.torn_tries = TORN_TRIES,
	};
	struct worker_pool *pool;
	pthread_t ticker;

	int r = worker_start(&options, &run->site, run->queue, &calls, run, &pool);
	if (r)
		return r;
	r = -pthread_create(&ticker, NULL, tick, run);
	if (r) {
		queue_stop(run->queue);
		worker_join(pool);
		return r;
	}
	r = feed(run);
	if (r)
		queue_stop(run->queue);
	else
		queue_end(run->queue);
	worker_join(pool);
	pthread_kill(ticker, SIGUSR1);
	pthread_join(ticker, NULL);
	outcome_clear(&run->outcome);
	return r;
}

/* ---- what is given ---- */

static void split(const char *path, char **ret_dir, char **ret_name)
{
	const char *slash = strrchr(path, '/');

	*ret_name = strdup(slash ? slash + 1 : path);
	*ret_dir = !slash ? strdup(".") : slash == path ? strdup("/")
						       : strndup(path, (size_t)(slash - path));
}

/* Two files: NEW's directory is the live tree, OLD the one source in its own. */
static int prepare_pair(struct run *run)
{
	char *old_dir = NULL, *old_name = NULL;
	int r = -ENOMEM;

	split(run->options->old, &old_dir, &old_name);
	split(run->options->new, &run->live_dir, &run->live_name);
	if (old_dir && old_name && run->live_dir && run->live_name)
		r = source_add(&run->site.sources, old_dir, old_name);
	run->site.live = run->live_dir;
	run->pair = run->options->new;
	free(old_dir);
	free(old_name);
	return r;
}

static int prepare_trees(struct run *run)
{
	const struct arguments *o = run->options;
	char old[LOG_PATH_SIZE], new[LOG_PATH_SIZE];
	int r = place_relate(o->old, o->new);

	log_escape(old, sizeof(old), o->old);
	log_escape(new, sizeof(new), o->new);
	if (r < 0) {
		log_message(LOG_ERR, "%s and %s cannot be compared: %s; nothing was changed", old,
			    new, strerror(-r));
		return -EINVAL;
	}
	if (r != IO_APART) {
		log_message(LOG_ERR, r == IO_SAME ? "%s and %s are the same tree; nothing was changed"
			    : r == IO_INSIDE ? "%s lies inside %s; nothing was changed"
					     : "%s holds %s inside it; nothing was changed", old, new);
		return -EINVAL;
	}
	const char *roots[2] = { o->old, o->new };
	for (int i = 0; i < 2; i++) {
		int root = io_open_root(roots[i]);

		if (root < 0) {
			log_message(LOG_ERR, "%s: %s; nothing was changed", i ? new : old,
				    strerror(-root));
			return -EINVAL;
		}
		close(root);
	}
	run->site.live = o->new;
	r = source_add(&run->site.sources, o->old, NULL);
	if (!r && o->renames)
		r = index_new(o->rename, o->renames, &run->site.sources.index, NULL);
	return r;
}

/* Both files, or both directories?  Says what is wrong and returns -EINVAL. */
static int prepare(struct run *run)
{
	const char *path[2] = { run->options->old, run->options->new };
	char shown[2][LOG_PATH_SIZE];
	struct stat st[2];
	int r;

	for (int i = 0; i < 2; i++) {
		log_escape(shown[i], sizeof(shown[i]), path[i]);
		if (stat(path[i], &st[i]) && lstat(path[i], &st[i])) {
			log_message(LOG_ERR, "%s: %s; nothing was changed", shown[i],
				    strerror(errno));
			return -EINVAL;
		}
	}
	bool trees = S_ISDIR(st[0].st_mode);
	if (trees != !!S_ISDIR(st[1].st_mode)) {
		log_message(LOG_ERR, "%s is %s and %s is %s: give two files or two directories",
			    shown[0], trees ? "a directory" : "a file", shown[1],
			    trees ? "a file" : "a directory");
		return -EINVAL;
	}
	if (!trees && run->options->renames) {
		log_message(LOG_ERR, "--rename is for two directories; of two files, give the two that "
			    "belong together");
		return -EINVAL;
	}
	if (trees && run->options->show) {
		log_message(LOG_ERR, "--show draws one file: give two files, and not two directories");
		return -EINVAL;
	}
	r = trees ? prepare_trees(run) : prepare_pair(run);
	if (r == -ENOMEM)
		log_message(LOG_ERR, "out of memory");
	return r;
}

/* ---- another form, and no merge ---- */

static int convert(const struct arguments *o)
{
	char line[REPORT_SIZE], shown[LOG_PATH_SIZE];
	struct convert_result result;
	struct reason why = { "" };
	const char *failed;
	struct stat st;

	if (stat(o->old, &st) && lstat(o->old, &st)) {
		log_message(LOG_ERR, "%s: %s; nothing was written",
			    log_escape(shown, sizeof(shown), o->old), strerror(errno));
		return EXIT_USAGE;
	}
	if (S_ISDIR(st.st_mode)) {
		log_message(LOG_ERR, "%s is a directory: --convert takes one file at a time",
			    log_escape(shown, sizeof(shown), o->old));
		return EXIT_USAGE;
	}
	int r = convert_file(o->old, o->new, o->dry_run, &result, &failed, &why);

	if (r) {
		log_message(LOG_ERR, "%s", report_refused(line, sizeof(line), "refused", failed,
							  why.text));
		return EXIT_REFUSED;
	}
	if (result.torn)
		log_message(LOG_WARNING, "%s %s; converted as it is",
			    log_escape(shown, sizeof(shown), o->old), result.torn_why.text);
	if (o->dry_run || o->verbose)
		printf("%s from=\"%s\" version=%04u ds=%llu rras=%llu last_update=%lld bytes=%llu "
		       "file=%s\n", o->dry_run ? "would convert" : "converted", result.origin,
		       result.version, (unsigned long long)result.ds_cnt,
		       (unsigned long long)result.rra_cnt, (long long)result.last_up,
		       (unsigned long long)result.size, log_escape(shown, sizeof(shown), o->new));
	if (fflush(stdout) || ferror(stdout)) {
		log_message(LOG_ERR, "cannot write to standard output: %s", strerror(errno));
		return EXIT_REFUSED;
	}
	return EXIT_MERGED;
}

/* ---- all of it ---- */

static int merge(const struct arguments *options, uint64_t started_ns)
{
	struct run run = {
		.options = options,
		.site = {
			.dry_run = options->dry_run, .options = options->plan,
			.strict_roots = true,
		},
	};
	int status = EXIT_USAGE;

	if (options->show) {
		run.showing.old = options->old;
		run.showing.sources = &run.site.sources;
		run.site.planned = showing_planned;
		run.site.planned_arg = &run.showing;
	}
	outcome_begin(&run.outcome, options);
	block_signals();
	if (prepare(&run))
		goto out;
	run.queue = queue_new();
	if (run.queue && open_ledger(&run))
		goto out;
	int r = run.queue ? work_all(&run) : -ENOMEM;
	if (r) {
		log_message(LOG_ERR, "cannot go on: %s; what was merged stays, run again for the rest",
			    strerror(-r));
		status = EXIT_REFUSED;
		goto out;
	}
	bool recorded = close_ledger(&run);
	run.site.ledger = NULL;
	showing_print(&run.showing);
	status = outcome_conclude(&run.outcome, &run.site, atomic_load(&run.interrupted),
				  (double)(io_now_ns() - started_ns) / 1e9);
	if (!recorded && status == EXIT_MERGED)
		status = EXIT_REFUSED;
out:
	close_ledger(&run);
	showing_free(&run.showing);
	free(run.live_real);
	queue_free(run.queue);
	source_set_free(&run.site.sources);
	outcome_free(&run.outcome);
	free(run.live_dir);
	free(run.live_name);
	return status;
}

static int undo(const struct arguments *options)
{
	hold_prepare();
	return undo_merges(options->ledger, options->id, options->ids) && !fflush(stdout)
		? EXIT_MERGED : EXIT_REFUSED;
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct arguments options = { .jobs = cpus < 1 ? 1 : cpus > 4 ? 4 : (unsigned)cpus };
	uint64_t started = io_now_ns();

	io_prepare();
	log_open("rrdmerge", LOG_TO_STDERR, LOG_USER);
	int status = arguments_parse(argc, argv, &options);
	if (status >= 0)
		goto out;
	if (options.convert)
		status = convert(&options);
	else if (options.undo)
		status = undo(&options);
	else
		status = merge(&options, started);
out:
	arguments_free(&options);
	log_close();
	return status;
}
