/* daemonhang: disks that do not answer: said, shown to who asks, and passed by where they are a
 * backup's. */
#include "config.h"
#include "daemonint.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "log.h"
#include "notify.h"

#define SECOND UINT64_C(1000000000)
#define STALL_SHOWN_NS (5 * SECOND)     /* a disk that hangs: to who asks … */
#define STALLED_NS (30 * SECOND)        /* … and to the log */
#define PASS_NS (3 * SECOND)            /* for those to end whom nothing holds */

/* Each change is said once.  For how long the one that hangs longest does. */
static uint64_t look_at_backups(struct daemon *d)
{
	const struct source_set *sources = &d->site.sources;
	char shown[LOG_PATH_SIZE];
	uint64_t longest = 0;

	for (unsigned n = 0; n < sources->count; n++) {
		uint64_t ns = visits_hang_ns(sources->source[n].visits, VISITS_WALK);

		if (ns > longest)
			longest = ns;
		if (!ns == !d->hanging[n])
			continue;
		d->hanging[n] = ns;
		log_escape(shown, sizeof(shown), sources->source[n].path);
		if (ns) {
			log_message(LOG_WARNING, "backup does not answer: it is done without until it "
				    "does backup=%s", shown);
			continue;
		}
		log_message(LOG_NOTICE, "backup answers again backup=%s", shown);
		backups_walk(d->backups);
	}
	return longest;
}

void daemon_look_at_disks(struct daemon *d, uint64_t now)
{
	char path[PATH_MAX] = "", shown[LOG_PATH_SIZE];
	uint64_t watchdog = notify_watchdog_ns();
	uint64_t stalled = d->crew ? worker_stalled_ns(d->crew->pool, path, sizeof(path)) : 0;
	uint64_t hanging = d->options->once ? 0 : look_at_backups(d), longest;
	struct backups_state walk = backups_state(d->backups);

	if (walk.stalled_ns > stalled) {
		stalled = walk.stalled_ns;
		snprintf(path, sizeof(path), "%s", d->conf->backup[walk.at]);
	}
	longest = hanging > stalled ? hanging : stalled;
	atomic_store(&d->commands.stalled_s,
		     longest < STALL_SHOWN_NS ? 0 : (unsigned)(longest / SECOND));
	if (stalled < STALLED_NS) {
		d->stall_said = false;
	} else if (!d->stall_said) {
		d->stall_said = true;
		log_message(LOG_ERR, "a disk has not answered for %llu s: waiting for it file=%s",
			    (unsigned long long)(stalled / SECOND),
			    log_escape(shown, sizeof(shown), path));
	}
	/* Who is passed by needs no restart. */
	if (watchdog && stalled < watchdog / 2 && now - d->alive_ns >= watchdog / 4) {
		d->alive_ns = now;
		notify_alive();
	}
}

static void pass_by_walk(struct daemon *d)
{
	if (!backups_state(d->backups).held || pthread_rwlock_trywrlock(&d->commands.lock))
		return;
	if (!daemon_walk_anew(d))
		daemon_set_commands(d);
	pthread_rwlock_unlock(&d->commands.lock);
}

/* As at a reload: nobody takes anything from the queue meanwhile, so that it is not for long. */
static void pass_by_workers(struct daemon *d)
{
	uint64_t now = io_now_ns();

	if (!d->passing && d->crew && !worker_is_held(d->crew->pool))
		return;
	if (!d->passing && d->crew) {
		worker_leave(d->crew->pool);
		d->passing_ns = now;
	}
	d->passing = true;
	if (!daemon_workers_ended(d, now)) {
		if (!worker_are_held(d->crew->pool) && now - d->passing_ns < PASS_NS)
			return;
		worker_give_up(d->crew->pool);
		daemon_leave_behind(d);
	}
	queue_resume(d->queue);
	if (!daemon_start_workers(d))           /* else once more */
		d->passing = false;
}

void daemon_pass_by(struct daemon *d)
{
	if (d->options->once || d->reloading)
		return;
	pass_by_walk(d);
	pass_by_workers(d);
}
