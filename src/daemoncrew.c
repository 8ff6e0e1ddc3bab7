/* daemoncrew: the workers: how they begin, what they tell of each file, how they end or are left
 * behind. */
#include "config.h"
#include "daemonint.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "report.h"

#define SECOND UINT64_C(1000000000)
#define REST_SAID_NS (600 * SECOND)
#define ONCE_TORN_TRIES 5
#define BUSY_SAID 6             /* the try at which a busy file is worth a line */

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
			    "its files is taken when it has been left alone so long",
			    DAEMON_REST_S);
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
	if (result->source_missing)
		atomic_fetch_add(&d->missed, 1);
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

/* ---- their beginning and end ---- */

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

bool daemon_workers_ended(struct daemon *d, uint64_t until_ns)
{
	if (d->crew && !worker_join_until(d->crew->pool, until_ns))
		return false;
	free_crew(d->crew);
	d->crew = NULL;
	return true;
}

bool daemon_left_ended(struct daemon *d, uint64_t until_ns)
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

void daemon_leave_behind(struct daemon *d)
{
	char path[PATH_MAX] = "", shown[LOG_PATH_SIZE];

	worker_stalled_ns(d->crew->pool, path, sizeof(path));
	log_message(LOG_WARNING, "a disk has not answered: what waits for it is left behind file=%s",
		    log_escape(shown, sizeof(shown), path));
	d->crew->next = d->left;
	d->left = d->crew;
	d->crew = NULL;
}

int daemon_start_workers(struct daemon *d)
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
