#include "config.h"
#include "bulletin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "log.h"
#include "notify.h"
#include "privilege.h"
#include "report.h"
#include "suggest.h"

#define SECOND UINT64_C(1000000000)
#define PROGRESS_NS (10 * SECOND)
#define WAITING_NS (600 * SECOND)       /* those that wait are listed no more often */
#define WAITING_DIRS 20
#define LEFT_FILES 20           /* so many done tell how long the others will take */
#define UNPROVEN_NS (600 * SECOND)      /* so are those that nothing proves */
#define DENIED_STILL_NS (60 * SECOND)
#define DENIED_NS (600 * SECOND)
#define REFUSALS 4              /* per-file lines a tick: ticks are a tenth of a second apart */
#define GROUPS 16               /* reasons told apart at the end */
#define SAMPLES 256

/* ---- refusals ---- */

/* When the last ones were said, a ring: of the log, and not of a bulletin, for a reload may begin
 * another. */
static uint64_t refused_ns[BULLETIN_REFUSALS];
static unsigned refused_next;

/* Never more than BULLETIN_REFUSALS in any one second, the last one included: a line is as old as
 * its end, however long it took to write. */
static void say_refusals(const struct bulletin_news *news, unsigned count)
{
	char rel[LOG_PATH_SIZE], line[REPORT_SIZE];
	struct reason why;
	bool partial;

	while (count--) {
		uint64_t *oldest = &refused_ns[refused_next];

		if ((*oldest && io_now_ns() - *oldest < SECOND) ||
		    !tally_next_refusal(news->tally, rel, sizeof(rel), &why, &partial))
			return;
		log_message(LOG_WARNING, "%s",
			    report_refused(line, sizeof(line), partial ? "partial" : "refused", rel,
					   why.text));
		*oldest = io_now_ns();
		refused_next = (refused_next + 1) % BULLETIN_REFUSALS;
	}
}

/* Are there other denials than were said, and do their numbers stand?  While files are looked at they
 * grow: then they are said when they have not for a while, or when they have grown for long. */
static bool denials_due(struct bulletin *bulletin, const size_t *denied, bool settled)
{
	uint64_t now = io_now_ns();
	bool same = !memcmp(bulletin->denied, denied, sizeof(bulletin->denied));

	if (same || !bulletin->denied_ns)       /* files may be looked at before the first tick */
		bulletin->denied_ns = now;
	if (same)
		return false;
	if (memcmp(bulletin->denied_seen, denied, sizeof(bulletin->denied_seen))) {
		memcpy(bulletin->denied_seen, denied, sizeof(bulletin->denied_seen));
		bulletin->denied_still_ns = now;
	}
	return settled || now - bulletin->denied_still_ns >= DENIED_STILL_NS ||
	       now - bulletin->denied_ns >= DENIED_NS;
}

/* One line for those that lack the same right, and again when there are more or less of them. */
static void say_denied(struct bulletin *bulletin, const struct bulletin_news *news, bool settled)
{
	static const char *const right[MERGE_DENIALS] = {
		[MERGE_DENIED_SOURCE] = "read backup",
		[MERGE_DENIED_READ] = "read live",
		[MERGE_DENIED_WRITE] = "write live",
	};
	struct privilege_user user;

	if (!denials_due(bulletin, news->sums.denied, settled))
		return;
	privilege_current(&user);
	for (int kind = MERGE_ALLOWED + 1; kind < MERGE_DENIALS; kind++) {
		size_t count = news->sums.denied[kind], listed;
		char **example, shown[LOG_PATH_SIZE];
		struct reason why;

		if (!count || count == bulletin->denied[kind])
			continue;
		example = tally_list(news->tally, TALLY_DENIED, (enum merge_denied)kind, 1, &listed);
		if (listed && tally_why(news->tally, example[0], &why))
			log_message(LOG_WARNING, "refused count=%zu user=%s denied=\"%s\" "
				    "reason=\"%s\" file=%s", count, user.name, right[kind], why.text,
				    log_escape(shown, sizeof(shown), example[0]));
		tally_list_free(example, listed);
	}
	memcpy(bulletin->denied, news->sums.denied, sizeof(bulletin->denied));
}

/* ---- who waits ---- */

/* How many bytes of `rel` name the directory at the top of it: the host, for pnp4nagios. */
static size_t top_length(const char *rel)
{
	return strchr(rel, '/') ? strcspn(rel, "/") : 0;
}

static void say_waiting_dir(const char *rel, size_t len, size_t files)
{
	char dir[LOG_PATH_SIZE], shown[LOG_PATH_SIZE];

	snprintf(dir, sizeof(dir), "%.*s", len ? (int)len : 1, len ? rel : ".");
	log_message(LOG_NOTICE, "waiting files=%zu dir=%s", files,
		    log_escape(shown, sizeof(shown), dir));
}

/* Which hosts the backups know and live does not: they may come yet, or be gone for good. */
static void say_waiting(struct bulletin *bulletin, const struct bulletin_news *news)
{
	uint64_t now = io_now_ns();
	size_t count, dirs = 0, more = 0;

	if (!news->sums.waiting)
		bulletin->waiting = 0;
	if (news->sums.waiting == bulletin->waiting ||
	    (bulletin->waiting_said && now - bulletin->waiting_ns < WAITING_NS))
		return;
	bulletin->waiting = news->sums.waiting;
	bulletin->waiting_ns = now;
	bulletin->waiting_said = true;
	char **list = tally_list(news->tally, TALLY_WAITING, MERGE_ALLOWED, 0, &count);
	for (size_t i = 0, first = 0; i < count; i = first) {
		size_t len = top_length(list[i]);

		while (first < count && top_length(list[first]) == len &&
		       !strncmp(list[first], list[i], len))
			first++;
		if (dirs++ < WAITING_DIRS)
			say_waiting_dir(list[i], len, first - i);
		else
			more += first - i;
	}
	if (more)
		log_message(LOG_NOTICE, "waiting files=%zu more_dirs=%zu", more,
			    dirs - WAITING_DIRS);
	tally_list_free(list, count);
}

/* Those for which somebody may want to look whether the plugin's output is what it was.  Said once,
 * and now and then when there are more. */
static void say_unproven(struct bulletin *bulletin, const struct bulletin_news *news)
{
	size_t count = news->sums.unproven, listed;
	uint64_t now = io_now_ns();
	char **example, shown[LOG_PATH_SIZE];

	if (count <= bulletin->unproven ||
	    (bulletin->unproven && now - bulletin->unproven_ns < UNPROVEN_NS))
		return;
	bulletin->unproven = count;
	bulletin->unproven_ns = now;
	example = tally_list(news->tally, TALLY_UNPROVEN, MERGE_ALLOWED, 1, &listed);
	if (listed)
		log_message(LOG_NOTICE, "unproven count=%zu reason=\"" REPORT_UNPROVEN "\" file=%s",
			    count, log_escape(shown, sizeof(shown), example[0]));
	tally_list_free(example, listed);
}

/* ---- progress and idle ---- */

static void say_watching(const struct bulletin_news *news)
{
	char live[LOG_PATH_SIZE], line[LOG_PATH_SIZE * 2], shown[LOG_PATH_SIZE];
	size_t used;

	snprintf(line, sizeof(line), "watching live=%s dirs=%zu",
		 log_escape(live, sizeof(live), news->conf->live), news->directories);
	for (size_t n = 0; n < news->conf->backups; n++) {
		used = strlen(line);
		snprintf(line + used, sizeof(line) - used, " backup=%s",
			 log_escape(shown, sizeof(shown), news->conf->backup[n]));
	}
	log_message(LOG_NOTICE, "%s", line);
}

/* Done since it began to be busy. */
static size_t done_since(const struct bulletin *bulletin, const struct tally_sums *sums)
{
	size_t done = sums->live - sums->pending;

	return bulletin->was_busy && done > bulletin->busy_done ? done - bulletin->busy_done : 0;
}

static uint64_t left_s(const struct bulletin *bulletin, const struct tally_sums *sums)
{
	size_t since = done_since(bulletin, sums);

	size_t fresh = sums->pending - sums->retried;

	return since ? (io_now_ns() - bulletin->busy_since_ns) / since * fresh / SECOND : 0;
}

long long bulletin_left_s(const struct bulletin *bulletin, const struct tally_sums *sums)
{
	size_t since = done_since(bulletin, sums), fresh = sums->pending - sums->retried;

	if (!sums->pending)
		return 0;
	/* When a copy will be whole, or a busy file free, is not for us to tell; and one file done
	 * while a backup rests says nothing of the rest. */
	return fresh && (since >= LEFT_FILES || since >= fresh)
		? (long long)left_s(bulletin, sums) : -1;
}

static void say_progress(const struct bulletin *bulletin, const struct bulletin_news *news)
{
	const struct tally_sums *sums = &news->sums;
	size_t done = sums->live - sums->pending, of = sums->live;
	unsigned long long left = left_s(bulletin, sums);

	log_message(LOG_NOTICE,
		    "progress done=%zu of=%zu percent=%zu cells=%llu failed=%zu left=%02llu:%02llu:%02llu",
		    done, of, of ? done * 100 / of : 100, (unsigned long long)sums->cells,
		    sums->failed, left / 3600, left / 60 % 60, left % 60);
}

bool bulletin_is_lost(const struct tally_sums *sums)
{
	return sums->skipped && !sums->paired;
}

/* False where that the backup is not there, or empty, is all that there is to say: it was said. */
static bool say_lost(const struct bulletin_news *news)
{
	char *path = NULL, better[LOG_PATH_SIZE], shown[LOG_PATH_SIZE];
	size_t samples;
	char **sample = tally_list(news->tally, TALLY_LIVE, MERGE_ALLOWED, SAMPLES, &samples);
	char *live = NULL;

	for (unsigned n = 0; n < news->sources->count && !path && !live; n++) {
		const struct source *source = &news->sources->source[n];

		/* It is not asked while it hangs: this thread serves all. */
		if (visits_barred(source->visits) || visits_hang_ns(source->visits, VISITS_WALK))
			continue;
		path = suggest_backup(source, news->conf->live, sample, samples);
		if (!path)
			live = suggest_live(source, news->conf->live, sample, samples);
	}
	log_escape(shown, sizeof(shown), news->conf->backup[0]);
	if (live)
		log_message(LOG_ERR, "no live file has a counterpart in %s; did you mean live=%s",
			    shown, log_escape(better, sizeof(better), live));
	else if (path)
		log_message(LOG_ERR, "no live file has a counterpart in %s; did you mean backup=%s",
			    shown, log_escape(better, sizeof(better), path));
	else if (news->sums.waiting)
		log_message(LOG_ERR, "no live file has a counterpart, nor one or two levels up or "
			    "down: is it the right backup?  backup=%s", shown);
	bool said = path || news->sums.waiting;
	free(live);
	free(path);
	tally_list_free(sample, samples);
	return said;
}

static void say_idle(struct bulletin *bulletin, const struct bulletin_news *news)
{
	const struct tally_sums *sums = &news->sums;
	char line[sizeof(bulletin->idle)];

	snprintf(line, sizeof(line),
		 "idle merged=%zu unchanged=%zu skipped=%zu failed=%zu waiting=%zu backup_needed=%s",
		 sums->merged, sums->unchanged, sums->skipped, sums->failed, sums->waiting,
		 news->backup_needed ? "yes" : "no");
	if (!strcmp(line, bulletin->idle))
		return;
	memcpy(bulletin->idle, line, sizeof(line));
	log_flush();
	say_denied(bulletin, news, true);
	log_message(LOG_NOTICE, "%s", line);
	bulletin->lost = bulletin_is_lost(sums) && (bulletin->lost || say_lost(news));
}

static void tell_systemd(const struct bulletin_news *news)
{
	const struct tally_sums *sums = &news->sums;
	char trouble[120] = "";

	if (news->paused)
		snprintf(trouble, sizeof(trouble), "; paused");
	if (news->unwatched)
		snprintf(trouble + strlen(trouble), sizeof(trouble) - strlen(trouble),
			 "; %zu directories not watched", news->unwatched);
	if (news->overflows)
		snprintf(trouble + strlen(trouble), sizeof(trouble) - strlen(trouble),
			 "; events lost %llu times", (unsigned long long)news->overflows);
	if (news->missing)
		notify_status("waiting for the live tree %s", news->conf->live);
	else    /* what is under way may still turn something up */
		notify_status("%s: %zu merged, %zu unchanged, %zu skipped, %zu failed, %zu pending, "
			      "%zu waiting; backup needed: %s%s", news->busy ? "working" : "idle",
			      sums->merged, sums->unchanged, sums->skipped, sums->failed,
			      sums->pending, sums->waiting,
			      news->backup_needed || news->busy ? "yes" : "no", trouble);
}

void bulletin_tick(struct bulletin *bulletin, const struct bulletin_news *news)
{
	uint64_t now = io_now_ns();
	const struct tally_sums *sums = &news->sums;

	if (!bulletin->watching && news->scanned && !news->missing) {
		say_watching(news);
		bulletin->watching = true;
	}
	say_refusals(news, REFUSALS);
	if (news->busy)
		say_denied(bulletin, news, false);
	if (news->busy && !bulletin->was_busy)
		bulletin->progress_ns = now;
	/* The pace is that of the work: while a backup rests, or a pause lasts, there is none. */
	if (news->busy && (news->paused || !done_since(bulletin, sums))) {
		bulletin->busy_since_ns = now;
		bulletin->busy_done = sums->live - sums->pending;
	}
	if (news->busy && now - bulletin->progress_ns >= PROGRESS_NS && sums->pending) {
		size_t done = sums->live - sums->pending;

		bulletin->progress_ns = now;
		/* None is said without any. */
		if (done != bulletin->progress_done || sums->cells != bulletin->progress_cells)
			say_progress(bulletin, news);
		bulletin->progress_done = done;
		bulletin->progress_cells = sums->cells;
	}
	if (!news->busy) {
		say_idle(bulletin, news);
		say_waiting(bulletin, news);    /* also when what is idle was said long ago */
		say_unproven(bulletin, news);
	}
	bulletin->was_busy = news->busy;
	tell_systemd(news);
}

/* ---- the end ---- */

struct group {
	struct reason why;
	char example[LOG_PATH_SIZE];
	size_t count;
};

void bulletin_end(struct bulletin *bulletin, const struct bulletin_news *news)
{
	struct group *group = calloc(GROUPS + 1, sizeof(*group));
	char rel[LOG_PATH_SIZE], shown[LOG_PATH_SIZE];
	struct reason why;
	bool partial;

	say_refusals(news, BULLETIN_REFUSALS);
	while (group && tally_next_refusal(news->tally, rel, sizeof(rel), &why, &partial)) {
		unsigned g = 0;

		while (g < GROUPS && group[g].count && strcmp(group[g].why.text, why.text))
			g++;
		if (!group[g].count++) {
			group[g].why = why;
			memcpy(group[g].example, rel, sizeof(rel));
		}
	}
	for (unsigned g = 0; group && g <= GROUPS && group[g].count; g++)
		log_message(LOG_WARNING, "refused count=%zu reason=\"%s%s\" file=%s", group[g].count,
			    group[g].why.text, g == GROUPS ? ", and others" : "",
			    log_escape(shown, sizeof(shown), group[g].example));
	free(group);
	say_denied(bulletin, news, true);
	log_flush();
}
