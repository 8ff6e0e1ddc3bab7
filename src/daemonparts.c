/* daemonparts: what the daemon consists of; made at the start, and at a reload wholly or in part. */
#include "config.h"
#include "daemonint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "place.h"

bool daemon_backup_needed(struct daemon *d, const struct tally_sums *sums)
{
	return sums->waiting || sums->unsettled || sums->pending || books_syncing(d->books) ||
	       books_unsynced(d->books) ||
	       !backups_state(d->backups).whole;
}

static int begin_walks(struct daemon *d, struct backups **ret)
{
	struct backups *backups;
	int r = backups_new(&d->site.sources, d->site.match == LABELS_NAME ? NULL : d->conf->live,
			    d->queue, d->tally, &backups);

	if (r)
		return r;
	r = backups_follow(backups, d->conf->given, d->conf->givens);
	if (r)
		backups_free(backups);
	else
		*ret = backups;
	return r;
}

int daemon_set_sources(struct daemon *d)
{
	struct reason why;      /* none: the rules were checked when they were read */
	int r = 0;

	d->site.options = (struct plan_options){
		.no_spread = d->conf->no_spread,
		.rebuild = d->conf->rebuild,
	};
	d->site.match = d->conf->match == CONF_MATCH_LABEL ? LABELS_LABEL
		: d->conf->match == CONF_MATCH_NAME ? LABELS_NAME : LABELS_AUTO;
	d->site.sources.impatient = !d->options->once;
	free(d->hanging);
	d->hanging = calloc(d->conf->backups + 1, sizeof(*d->hanging));
	if (!d->hanging)
		return -ENOMEM;
	for (size_t n = 0; n < d->conf->backups && !r; n++)
		r = source_add(&d->site.sources, d->conf->backup[n], NULL);
	if (!r && d->conf->renames)
		r = index_new(d->conf->rename, d->conf->renames, &d->site.sources.index, &why);
	if (!r)
		r = books_set_sources(d->books, &d->site.sources);
	if (!r && d->live)
		r = live_set_sources(d->live, &d->site.sources);
	return r ? r : begin_walks(d, &d->backups);
}

int daemon_walk_anew(struct daemon *d)
{
	struct backups *backups;
	int r = begin_walks(d, &backups);

	if (r)
		return r;
	backups_free(d->backups);
	d->backups = backups;
	return 0;
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

	return daemon_backup_needed(d, &sums);
}

void daemon_set_commands(struct daemon *d)
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

int daemon_start_control(struct daemon *d)
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

static void on_opening(const char *rel, void *arg)
{
	struct daemon *d = arg;

	tally_own(d->tally, rel);
}

int daemon_start(struct daemon *d)
{
	const struct live_options live = {
		.path = d->conf->live,
		.rescan_s = d->conf->rescan_s,
		.once = d->options->once,
		.sources = &d->site.sources,
	};

	free(d->name);
	d->name = place_name(d->conf->live);
	atomic_store(&d->named_root, 0);
	d->asked_root = 0;
	if (!d->name)
		return -ENOMEM;
	d->site = (struct merge_site){
		.live = d->conf->live,
		.name = d->name,
		.named = &d->named_root,
		.rest_s = DAEMON_REST_S,
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
		r = daemon_set_sources(d);
	if (!r)
		r = live_new(&live, d->queue, d->tally, &d->live);
	if (!r)
		d->site.root = live_root(d->live);
	if (!r)
		r = daemon_start_workers(d);
	return r;
}

void daemon_drop_sources(struct daemon *d)
{
	backups_free(d->backups);
	d->backups = NULL;
	source_set_free(&d->site.sources);
	free(d->hanging);
	d->hanging = NULL;
}

void daemon_drop_all(struct daemon *d)
{
	books_serve(d->books, NULL, NULL);
	live_free(d->live);
	daemon_drop_sources(d);
	tally_free(d->tally);
	queue_free(d->queue);
	d->live = NULL;
	d->tally = NULL;
	d->queue = NULL;
}
