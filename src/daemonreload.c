/* daemonreload: another configuration while the daemon runs: it is read, the files in hand are
 * brought to their end, and what differs is made anew. */
#include "config.h"
#include "daemonint.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "notify.h"
#include "place.h"
#include "privilege.h"

#define SECOND UINT64_C(1000000000)
#define RELOAD_NS (3 * SECOND)  /* for the files in hand before a reload */

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

void daemon_begin_reload(struct daemon *d)
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
static void await_reading(struct daemon *d)
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
	d->passing = false;
	queue_stop(d->queue);
	if (d->crew)
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

	if (daemon_workers_ended(d, io_now_ns()) &&
	    (same_live || (daemon_left_ended(d, io_now_ns()) && !atomic_load(&d->commands.left))))
		return true;
	if (io_now_ns() - d->reload_ns < RELOAD_NS)
		return false;
	if (same_live) {
		daemon_leave_behind(d);
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

void daemon_reopen_log(const struct daemon *d)
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
		daemon_reopen_log(d);
	atomic_store(&d->log_files, d->conf->log_files);
	log_message(LOG_NOTICE, "reloaded file=%s", d->options->file);
	if (!same_live || !same_sources)
		d->bulletin = (struct bulletin){ 0 };
	if (!same_live) {
		daemon_drop_all(d);
		r = daemon_start(d);
	} else {
		live_set_rescan(d->live, d->conf->rescan_s);
		daemon_drop_sources(d);
		if (!same_sources)
			tally_new_sources(d->tally);
		r = daemon_set_sources(d);
		if (!r && !(same_sources && same_rules))
			r = look_at_all(d);
		queue_resume(d->queue);
		if (!r)
			r = daemon_start_workers(d);
	}
	conf_free(&old);
	d->ready = false;               /* told again when all is watched */
	return r;
}

int daemon_go_on_reloading(struct daemon *d)
{
	int r;

	if (d->reread)
		await_reading(d);
	if (!d->reloading || !workers_are_off(d) || pthread_rwlock_trywrlock(&d->commands.lock))
		return 0;
	/* An undo of the old live tree may have begun since. */
	if (!is_same_live(d) && atomic_load(&d->commands.left)) {
		pthread_rwlock_unlock(&d->commands.lock);
		return 0;
	}
	r = finish_reload(d);
	daemon_set_commands(d);
	atomic_fetch_add(&d->commands.reloaded, 1);
	pthread_rwlock_unlock(&d->commands.lock);
	if (!r && d->reload_again)
		daemon_begin_reload(d);
	return r;
}
