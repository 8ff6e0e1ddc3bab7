/* rrdmerge: one pair of files or two trees, now, without a daemon. */
#include "config.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "convert.h"
#include "hold.h"
#include "log.h"
#include "place.h"
#include "progress.h"
#include "record.h"
#include "report.h"
#include "suggest.h"
#include "undo.h"
#include "worker.h"

enum { EXIT_MERGED = 0, EXIT_REFUSED = 1, EXIT_USAGE = 2 };

#define JOBS_MAX 64
#define DRAW_MS 100
#define SAMPLES_MAX 256         /* live files to look for where nothing matches */
#define LEDGER_NS UINT64_C(600000000000)  /* for the disk, at the end */
#define TORN_TRIES 5            /* some four seconds for a source that is being written */
#define BUSY_SAID 6             /* the try at which a busy file is worth a line */

struct options {
	bool dry_run, verbose, json;
	struct plan_options plan;
	unsigned jobs;
	struct names_rule *rename;      /* [renames] */
	size_t renames;
	const char *ledger;     /* NULL: no record is kept */
	bool convert;           /* OLD to NEW, which is not there yet */
	const char *merging;    /* an option that says how to merge; NULL: none was given */
	bool undo;              /* of the ledger, what `id` names */
	char **id;
	size_t ids;
	const char *old, *new;
};

/* What the worker threads and the ticking thread share. */
struct run {
	const struct options *options;
	struct merge_site site;
	struct queue *queue;
	atomic_bool interrupted;
	const char *pair;               /* two files: what NEW was called, else NULL */
	char *live_dir, *live_name;     /* two files: NEW's directory and name; else NULL */
	char *live_real;                /* with a ledger: the live root's own path */

	pthread_mutex_t lock;           /* for all below, and for writing a line */
	struct report_sums sums;
	struct progress progress;
	size_t found, done;             /* files */
	size_t queued;                  /* of the found, those that are regular files */
	size_t newer;                   /* OLD was updated later than NEW */
	bool lease_said;
	size_t future;
	char *future_first;
	char *sample[SAMPLES_MAX];
	size_t samples;
};

/* ---- lines ---- */

/* Caller holds run->lock. */
static void say_refused(struct run *run, const char *word, const char *rel, const char *reason)
{
	char line[REPORT_SIZE];

	progress_clear(&run->progress);
	log_message(LOG_ERR, "%s", report_refused(line, sizeof(line), word, rel, reason));
}

/* Caller holds run->lock. */
static void say_merged(struct run *run, const char *rel, const struct merge_result *result)
{
	char line[REPORT_SIZE];
	bool dry = run->options->dry_run;

	if (!dry && !run->options->verbose)
		return;
	progress_clear(&run->progress);
	/* stdout belongs to the JSON object, where one was asked for. */
	fprintf(run->options->json ? stderr : stdout, "%s\n",
		report_merged(line, sizeof(line), rel, result, dry, true));
}

/* Caller holds run->lock. */
static void say_unchanged(struct run *run, const char *rel, const struct merge_result *result)
{
	char line[REPORT_SIZE];

	if (!run->options->verbose || !result->unhealed)
		return;
	progress_clear(&run->progress);
	fprintf(run->options->json ? stderr : stdout, "%s\n",
		report_unhealed(line, sizeof(line), rel, result));
}

/* Caller holds run->lock. */
static void say_skipped(struct run *run, const char *rel)
{
	char line[REPORT_SIZE];

	if (!run->options->verbose)
		return;
	progress_clear(&run->progress);
	fprintf(run->options->json ? stderr : stdout, "%s\n",
		report_refused(line, sizeof(line), "skipped", rel, "no counterpart in the backup"));
}

/* Caller holds run->lock. */
static void say_held(struct run *run, const char *rel)
{
	char line[REPORT_SIZE];

	progress_clear(&run->progress);
	log_message(LOG_NOTICE, "%s", report_refused(line, sizeof(line), "held", rel, "was undone, and "
						    "is not merged again with the tree; name the "
						    "two files to have it merged"));
}

/* Caller holds run->lock. */
static void say_once(struct run *run, const char *rel, const struct merge_result *result)
{
	if (result->no_lease && !run->lease_said) {
		run->lease_said = true;
		progress_clear(&run->progress);
		log_message(LOG_WARNING, "%s: writing under a short lock instead; an update that "
			    "meets it is lost, so stop what writes these files until this is done",
			    result->lease_why.text);
	}
	if (result->outcome < MERGE_FAILED && result->source_newer)
		run->newer++;
	if (result->future && !run->future++)
		run->future_first = strdup(rel);
}

/* ---- what came of a file ---- */

static void count_final(struct run *run, const char *rel, const struct merge_result *result)
{
	struct report_sums *sums = &run->sums;

	run->done++;
	switch (result->outcome) {
	case MERGE_MERGED:
		sums->merged++;
		say_merged(run, rel, result);
		break;
	case MERGE_UNCHANGED:
		sums->unchanged++;
		say_unchanged(run, rel, result);
		break;
	case MERGE_HELD:
		sums->unchanged++;
		say_held(run, rel);
		break;
	case MERGE_SKIPPED:
	case MERGE_GONE:
		sums->skipped++;
		say_skipped(run, rel);
		break;
	default:
		sums->failed++;
		break;
	}
	if (result->outcome >= MERGE_FAILED || result->partial) {
		if (result->outcome != MERGE_GONE) {
			sums->named++;
			say_refused(run, result->outcome == MERGE_FAILED ? "refused" : "partial",
				    rel, result->why.text);
		}
	}
}

static void on_file(const char *path, const struct merge_result *result, unsigned tries,
		    bool will_retry, void *arg)
{
	struct run *run = arg;
	const char *rel = run->pair ? run->pair : path;

	pthread_mutex_lock(&run->lock);
	run->sums.cells += result->counts.cells;
	run->sums.bytes += result->bytes;
	say_once(run, rel, result);
	if (!will_retry)
		count_final(run, rel, result);
	else if (tries == BUSY_SAID)
		say_refused(run, "busy", rel, result->why.text);
	pthread_mutex_unlock(&run->lock);
}

static void refuse_entry(struct run *run, const char *rel, const char *reason)
{
	pthread_mutex_lock(&run->lock);
	run->found++;
	run->done++;
	run->sums.failed++;
	run->sums.named++;
	say_refused(run, "refused", rel, reason);
	pthread_mutex_unlock(&run->lock);
}

/* Each file found so far is among the samples with the same chance.  Caller holds run->lock. */
static void take_sample(struct run *run, const char *rel)
{
	size_t place = run->samples < SAMPLES_MAX ? run->samples
						  : (size_t)random() % run->queued;
	char *copy = place < SAMPLES_MAX ? strdup(rel) : NULL;

	if (!copy)
		return;
	if (place == run->samples)
		run->samples++;
	else
		free(run->sample[place]);
	run->sample[place] = copy;
}

static int on_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct run *run = arg;

	if (kind == IO_LINK_TO_DIR) {
		refuse_entry(run, rel, "is a symbolic link to a directory, which is not followed");
		return 0;
	}
	if (kind == IO_DIR || !io_is_rrd_name(rel))
		return 0;
	if (kind != IO_FILE) {
		refuse_entry(run, rel, kind == IO_LINK ? "is a symbolic link, which is not followed"
				: "is a FIFO, a socket or a device, not a regular file");
		return 0;
	}
	pthread_mutex_lock(&run->lock);
	run->found++;
	run->queued++;
	take_sample(run, rel);
	pthread_mutex_unlock(&run->lock);
	return atomic_load(&run->interrupted) ? 1 : queue_put(run->queue, QUEUE_FILE, rel, QUEUE_NOW, 0);
}

static void on_unreadable(const char *rel, int error, void *arg)
{
	struct reason why;

	if (error == ELOOP)
		reason_set(&why, "lies too deep: directories are nested without end");
	else
		reason_errno(&why, error, "directory cannot be read");
	refuse_entry(arg, *rel ? rel : ".", why.text);
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
		/* Somebody may hold the lock and wait for a reader of stderr. */
		if (pthread_mutex_trylock(&run->lock))
			continue;
		progress_draw(&run->progress, run->done, run->found, run->sums.bytes);
		pthread_mutex_unlock(&run->lock);
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

static void say_renamed(struct run *run, const char *rel, const char *live, unsigned rule)
{
	char from[LOG_PATH_SIZE], to[LOG_PATH_SIZE];

	if (!run->options->verbose)
		return;
	pthread_mutex_lock(&run->lock);
	progress_clear(&run->progress);
	fprintf(run->options->json ? stderr : stdout, "renamed rule=%u old=%s file=%s\n", rule,
		log_escape(from, sizeof(from), rel), log_escape(to, sizeof(to), live));
	pthread_mutex_unlock(&run->lock);
}

static void say_misled(struct run *run, const char *rel, const struct reason *why)
{
	pthread_mutex_lock(&run->lock);
	run->sums.named++;
	say_refused(run, "refused", rel, why->text);
	pthread_mutex_unlock(&run->lock);
}

struct leading {
	struct run *run;
	int root;               /* OLD's */
};

static int on_old(const char *rel, enum io_kind kind, void *arg)
{
	struct leading *leading = arg;
	struct run *run = leading->run;
	struct index *index = run->site.sources.index;
	char buffer[NAMES_SIZE], live[NAMES_SIZE];
	struct reason why = { "" };
	const char *rrd = kind == IO_FILE ? index_rrd_of(leading->root, rel, buffer) : NULL;
	int r = rrd ? index_add(index, rel, rrd) : -ENOENT;
	unsigned rule;

	for (unsigned nth = 0; !r; nth++) {
		r = names_apply(index_names(index), rrd, nth, live, &rule, &why);
		if (!r && rule)
			say_renamed(run, rel, live, rule);
		else if (r == REFUSED)
			say_misled(run, rel, &why);
		r = r == REFUSED ? 0 : r;
	}
	if (r != -ENOENT)
		return r;
	return atomic_load(&run->interrupted) ? 1 : 0;
}

static void on_old_unreadable(const char *rel, int error, void *arg)
{
	struct leading *leading = arg;
	struct reason why;

	reason_errno(&why, error, "directory of OLD cannot be read");
	say_misled(leading->run, *rel ? rel : ".", &why);
}

/* Which files of OLD the rules lead where, before NEW's are looked at. */
static int follow_rules(struct run *run)
{
	struct leading leading = { run, io_open_root(run->site.sources.source[0].path) };
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
		pthread_mutex_lock(&run->lock);         /* the ticker is there already */
		run->found = 1;
		pthread_mutex_unlock(&run->lock);
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

static void on_durable(const char *key, int64_t id, void *arg)
{
	struct run *run = arg;
	size_t len = strlen(run->site.live);

	(void)id;
	if (!strncmp(key, run->site.live, len) && key[len] == '/')
		queue_put(run->queue, QUEUE_FILE, key + len + 1, QUEUE_NOW, 0);
}

/* The record names files by their whole path: it may serve many trees, and be asked from anywhere. */
static int open_ledger(struct run *run)
{
	const struct ledger_options options = {
		.path = run->options->ledger,
		.durable = on_durable,
		.sync = record_sync,
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
	bool done = !ledger_flush(ledger, io_now_ns() + LEDGER_NS);
	if (!done) {
		ledger_ok(ledger, &why);
		log_message(LOG_ERR, "the ledger does not know all that was merged: %s", why.text);
	}
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
	progress_clear(&run->progress);
	return r;
}

/* ---- arguments ---- */

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
	const struct options *o = run->options;
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
	r = trees ? prepare_trees(run) : prepare_pair(run);
	if (r == -ENOMEM)
		log_message(LOG_ERR, "out of memory");
	return r;
}

/* ---- another form, and no merge ---- */

static int convert(const struct options *o)
{
	char line[REPORT_SIZE], shown[LOG_PATH_SIZE];
	struct convert_result result;
	struct reason why = { "" };
	const char *failed;
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

static void usage(FILE *to)
{
	fputs("usage: rrdmerge [-nv] [-j N] [--json] [--exact] [--no-spread] [--seam HOW]\n"
	      "                [--rename FROM TO]... [--ledger FILE] OLD NEW\n"
	      "       rrdmerge --convert [-nv] OLD NEW.rrd\n"
	      "       rrdmerge --undo FILE [ID...]\n"
	      "\n"
	      "Gives NEW, an RRD file or a tree of them that may be in use, the history\n"
	      "that OLD, the same from a backup, holds.  Known values are never changed;\n"
	      "OLD is only read.\n"
	      "\n"
	      "  -n, --dry-run   change nothing, say what would be done\n"
	      "  -v, --verbose   a line for each file that is merged or skipped\n"
	      "  -j, --jobs N    threads, 1 to 64 (the number of processors, at most 4)\n"
	      "      --json      the sums as one JSON object on standard output\n"
	      "      --exact     copy rows, and make none\n"
	      "      --no-spread spread no coarse row over finer ones that nobody has\n"
	      "      --seam HOW  rebuild: make the coarse rows again that NEW knows from its\n"
	      "                  own part alone; heal, the default: leave them as they are\n"
	      "      --convert   write OLD, from whatever kind of machine, to the new file NEW\n"
	      "                  in this machine's own form, and merge nothing\n"
	      "      --rename FROM TO\n"
	      "                  what the regular expression FROM matches in the path of a file\n"
	      "                  in OLD is TO in NEW\n"
	      "      --ledger FILE\n"
	      "                  keep a record of the merges, by which they can be undone\n"
	      "      --undo FILE undo the merges of that record with these numbers; without\n"
	      "                  one, list them\n"
	      "  -h, --help      this text\n"
	      "  -V, --version   the version\n"
	      "\n"
	      "Exit status: 0 all merged or nothing to do; 1 a file was refused or failed,\n"
	      "each named on standard error; 2 usage, or not one file of NEW has a\n"
	      "counterpart in OLD.\n", to);
}

static bool parse_jobs(const char *text, unsigned *ret)
{
	char *end;

	errno = 0;
	long n = strtol(text, &end, 10);
	if (errno || end == text || *end || n < 1 || n > JOBS_MAX ||
	    strspn(text, "0123456789") != strlen(text))
		return false;
	*ret = (unsigned)n;
	return true;
}

/* False where it is wrong, and said. */
static bool add_rule(struct options *o, const char *from, const char *to)
{
	struct names_rule *grown, *rule;
	struct reason why = { "out of memory" };
	char shown[LOG_PATH_SIZE];

	if (!to) {
		log_message(LOG_ERR, "--rename takes two words, FROM and TO: a regular expression, and "
			    "what takes the place of what it matches");
		return false;
	}
	grown = reallocarray(o->rename, o->renames + 1, sizeof(*grown));
	if (grown) {
		o->rename = grown;
		rule = &grown[o->renames];
		*rule = (struct names_rule){ strdup(from), calloc(1, sizeof(char *)), 0 };
		o->renames++;
		if (rule->from && rule->to && (rule->to[0] = strdup(to))) {
			rule->tos = 1;
			if (!names_check(rule, &why))
				return true;
		}
	}
	log_message(LOG_ERR, "--rename: %s", log_escape(shown, sizeof(shown), why.text));
	return false;
}

static char *without_slashes(char *path)
{
	size_t len = strlen(path);

	/* "dir/" is the directory; "file/" must stay the error that it is. */
	while (len > 1 && path[len - 1] == '/') {
		struct stat st;

		if (stat(path, &st) || !S_ISDIR(st.st_mode))
			break;
		path[--len] = '\0';
	}
	return path;
}

/* The first option that says how to merge, or what to do of it. */
static const char *option_of_merging(int c, const char *given)
{
	static const struct {
		int c;
		const char *name;
	} options[] = {
		{ 'j', "-j, --jobs" }, { 'J', "--json" }, { 'E', "--exact" },
		{ 'P', "--no-spread" }, { 'S', "--seam" }, { 'L', "--ledger" }, { 'U', "--undo" },
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]) && !given; i++)
		if (options[i].c == c)
			given = options[i].name;
	return given;
}

/* -1: go on; else the exit status. */
static int parse(int argc, char **argv, struct options *o)
{
	static const struct option longs[] = {
		{ "dry-run", no_argument, NULL, 'n' },
		{ "verbose", no_argument, NULL, 'v' },
		{ "jobs", required_argument, NULL, 'j' },
		{ "json", no_argument, NULL, 'J' },
		{ "exact", no_argument, NULL, 'E' },
		{ "convert", no_argument, NULL, 'C' },
		{ "ledger", required_argument, NULL, 'L' },
		{ "undo", required_argument, NULL, 'U' },
		{ "no-spread", no_argument, NULL, 'P' },
		{ "seam", required_argument, NULL, 'S' },
		{ "rename", required_argument, NULL, 'R' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 }
	};
	int c;

	while ((c = getopt_long(argc, argv, "nvj:hV", longs, NULL)) != -1) {
		o->merging = option_of_merging(c, o->merging);
		switch (c) {
		case 'n':
			o->dry_run = true;
			break;
		case 'v':
			o->verbose = true;
			break;
		case 'J':
			o->json = true;
			break;
		case 'E':
			o->plan.exact = true;
			break;
		case 'C':
			o->convert = true;
			break;
		case 'L':
		case 'U':
			o->ledger = optarg;
			o->undo = c == 'U';
			break;
		case 'P':
			o->plan.no_spread = true;
			break;
		case 'R':
			if (!add_rule(o, optarg, argv[optind]))
				return EXIT_USAGE;
			optind++;
			break;
		case 'S':
			o->plan.rebuild = !strcmp(optarg, "rebuild");
			if (o->plan.rebuild || !strcmp(optarg, "heal"))
				break;
			log_message(LOG_ERR, "--seam: %s is neither \"heal\" nor \"rebuild\"", optarg);
			return EXIT_USAGE;
		case 'j':
			if (parse_jobs(optarg, &o->jobs))
				break;
			log_message(LOG_ERR, "-j, --jobs: %s is no number from 1 to %d", optarg,
				    JOBS_MAX);
			return EXIT_USAGE;
		case 'h':
			usage(stdout);
			return fflush(stdout) ? EXIT_REFUSED : EXIT_MERGED;
		case 'V':
			printf("rrdmerge %s\n", PACKAGE_VERSION);
			return fflush(stdout) ? EXIT_REFUSED : EXIT_MERGED;
		default:
			usage(stderr);
			return EXIT_USAGE;
		}
	}
	if (o->convert && o->merging) {
		log_message(LOG_ERR, "--convert merges nothing: %s does not go with it", o->merging);
		return EXIT_USAGE;
	}
	if (o->undo) {
		o->id = argv + optind;
		o->ids = (size_t)(argc - optind);
		return -1;
	}
	if (argc - optind != 2 || !*argv[optind] || !*argv[optind + 1]) {
		log_message(LOG_ERR, o->convert ? "give two files: OLD, and NEW, which is not there yet"
			    : "give two files or two directories: OLD, the backup, and NEW");
		usage(stderr);
		return EXIT_USAGE;
	}
	o->old = without_slashes(argv[optind]);
	o->new = without_slashes(argv[optind + 1]);
	return -1;
}

/* ---- the end ---- */

/* Not one live file has a counterpart: most likely a path is one level off. */
static void say_no_counterpart(struct run *run)
{
	char shown[LOG_PATH_SIZE], better[LOG_PATH_SIZE];
	const struct source *source = &run->site.sources.source[0];
	char *path = suggest_backup(source, run->site.live, run->sample, run->samples);

	if (!path)
		path = suggest_live(source, run->site.live, run->sample, run->samples);
	log_escape(shown, sizeof(shown), source->path);
	if (path)
		log_message(LOG_ERR, "no file has a counterpart in %s; did you mean %s", shown,
			    log_escape(better, sizeof(better), path));
	else
		log_message(LOG_ERR, "no file has a counterpart in %s, nor one or two levels up or "
			    "down from it; is it the right backup?", shown);
	free(path);
}

static int conclude(struct run *run, double seconds)
{
	const struct report_sums *sums = &run->sums;
	char text[256], path[LOG_PATH_SIZE];
	int status = sums->failed || sums->named ? EXIT_REFUSED : EXIT_MERGED;

	if (run->future)
		log_message(LOG_WARNING, "%zu files with a last_update in the future: is a clock "
			    "wrong?  The first: %s", run->future,
			    log_escape(path, sizeof(path), run->future_first ? run->future_first
									     : "?"));
	size_t pairs = sums->merged + sums->unchanged;
	if (pairs && !sums->merged && run->newer == pairs)
		log_message(LOG_WARNING, "there was nothing to fill, and in every pair OLD was updated "
			    "later than NEW: were they swapped?  OLD is the backup, NEW is in use");
	if (atomic_load(&run->interrupted)) {
		log_message(LOG_ERR, "interrupted; %zu files were not looked at; what was merged "
			    "stays, run again for the rest", run->found - run->done);
		status = EXIT_REFUSED;
	} else if (run->queued && sums->skipped == run->queued) {
		say_no_counterpart(run);
		status = EXIT_USAGE;
	} else if (!run->found) {
		log_message(LOG_WARNING, "no *.rrd in %s: nothing to do",
			    log_escape(path, sizeof(path), run->site.live));
	}
	puts(run->options->json ? report_sums_json(text, sizeof(text), sums, seconds)
				: report_sums_text(text, sizeof(text), sums, seconds));
	if (fflush(stdout) || ferror(stdout)) {
		log_message(LOG_ERR, "cannot write to standard output: %s", strerror(errno));
		if (status == EXIT_MERGED)
			status = EXIT_REFUSED;
	}
	return status;
}

int main(int argc, char **argv)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	struct options options = { .jobs = cpus < 1 ? 1 : cpus > 4 ? 4 : (unsigned)cpus };
	struct run run = { .options = &options, .lock = PTHREAD_MUTEX_INITIALIZER };
	uint64_t started = io_now_ns();

	io_prepare();
	log_open("rrdmerge", LOG_TO_STDERR, LOG_USER);
	int status = parse(argc, argv, &options);
	if (status >= 0) {
		names_rules_free(options.rename, options.renames);
		return status;
	}
	if (options.convert) {
		status = convert(&options);
		log_close();
		return status;
	}
	if (options.undo) {
		hold_prepare();
		status = undo_merges(options.ledger, options.id, options.ids) && !fflush(stdout)
			? EXIT_MERGED : EXIT_REFUSED;
		goto out;
	}
	status = EXIT_USAGE;
	run.site.dry_run = options.dry_run;
	run.site.options = options.plan;
	run.site.strict_roots = true;
	progress_start(&run.progress, STDERR_FILENO);
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
	status = conclude(&run, (double)(io_now_ns() - started) / 1e9);
	if (!recorded && status == EXIT_MERGED)
		status = EXIT_REFUSED;
out:
	close_ledger(&run);
	free(run.live_real);
	queue_free(run.queue);
	source_set_free(&run.site.sources);
	for (size_t i = 0; i < run.samples; i++)
		free(run.sample[i]);
	free(run.future_first);
	names_rules_free(options.rename, options.renames);
	free(run.live_dir);
	free(run.live_name);
	log_close();
	return status;
}
