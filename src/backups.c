#include "config.h"
#include "backups.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "globs.h"
#include "index.h"
#include "io.h"
#include "log.h"
#include "place.h"
#include "pnp.h"
#include "privilege.h"
#include "report.h"
#include "until.h"
#include "worker.h"

#define SECOND UINT64_C(1000000000)
#define MISSING_NS (5 * SECOND) /* to the next walk where one is not there */
#define PRESENT_NS (45 * SECOND)        /* what is unpacked meanwhile is seen within a minute */
#define IDLE_SHARE 300          /* a walk that takes long comes less often: so much longer apart */
#define MOUNTS_NS (2 * SECOND)  /* how often a look is taken at what is mounted */
#define LONGEST_NS (600 * SECOND)
#define NO_ANSWER (-EINPROGRESS)        /* no disk says so */
#define WANTED_NS SECOND        /* between two walks that are asked for, or … */
#define WANTED_SHARE 20         /* … so much longer than one takes */

enum presence { UNKNOWN, THERE, EMPTY, AWAY };

struct backup {
	enum presence presence;
	bool seen;              /* once, with RRD files in it */
	bool partial;           /* then a directory of it could not be read */
	bool unread;            /* the last walk could not read it, or not all of it */
	int error;              /* nor could the root, to its end: -errno */
	size_t files;           /* that this walk has met */
};

struct backups {
	struct source_set set;          /* our own */
	char *live;                     /* the live tree's root; NULL: sidecars are not asked */
	struct queue *queue;
	struct tally *tally;

	atomic_uint at;                 /* which backup it is in */
	_Atomic uint64_t moved_ns;      /* when the walk under way was last seen to go on; 0: none */

	/* For what follows, and held while tally or queue are used: once it stops they are not
	 * ours any more.  Never held while a disk is waited for. */
	pthread_mutex_t mutex;
	pthread_cond_t wake;    /* stopping, or wanted */
	bool stopping, wanted;
	bool all;               /* the last walk found each of them there */
	uint64_t mounts;        /* place_mounts() of before the last walk */
	char **given;           /* [givens]; none: there is no pattern among them */
	size_t givens;
	bool changed;           /* the patterns stand for others, which was not told yet */
	unsigned walks;         /* that have ended */
	uint64_t walked_ns;
	uint64_t ended_ns, took_ns;     /* of the last walk */

	/* Of the walk under way: the thread's own. */
	struct backup *now;
	struct visit *visit;
	int root, live_root;
	size_t denied, denied_said;
	char denied_rel[PATH_MAX];
	struct reason denied_why;
	size_t misled, misled_said;     /* files that a rule leads to what is no live file */
	unsigned misled_source;
	char misled_rel[PATH_MAX];
	struct reason misled_why;
	char **other;           /* what the patterns stood for at the last walk */
	size_t others;
	bool other_told;

	pthread_t thread;       /* for who looks at it from outside */
	struct backup backup[];
};

/* Takes the mutex; false, and it is not taken, where we have been let go. */
static bool enter(struct backups *backups)
{
	pthread_mutex_lock(&backups->mutex);
	if (!backups->stopping)
		return true;
	pthread_mutex_unlock(&backups->mutex);
	return false;
}

static void leave(struct backups *backups)
{
	pthread_mutex_unlock(&backups->mutex);
}

static void note_misled(struct backups *backups, const char *rel, const struct reason *why)
{
	if (backups->misled++)
		return;
	backups->misled_source = atomic_load(&backups->at);
	snprintf(backups->misled_rel, sizeof(backups->misled_rel), "%s", rel);
	backups->misled_why = *why;
}

struct met {
	struct backups *backups;
	const char *rel;        /* of the backup's file */
	const char *rrd;        /* the same, or the RRD that it is a dump of */
	bool fresh;             /* see count_in() */
	size_t served;          /* its values that live files of the other storage type have */
};

/* The live file is served by the file that was met.  `fresh`: who has it in hand right now may have
 * looked for that too early.  Caller holds the mutex. */
static int count_in(struct backups *backups, const char *live, bool fresh)
{
	bool look = false;
	int r = tally_backup(backups->tally, live, &look);

	/* A live file that is not known yet is still to be looked at, and then this is found. */
	if (!r && (look || (fresh && tally_has_live(backups->tally, live))))
		r = queue_put(backups->queue, QUEUE_FILE, live, QUEUE_NOW,
			      look ? QUEUE_LOOK : QUEUE_RECALL);
	return r;
}

/* The first scan of the live tree may be under way: what it has not found yet may stand there. */
static bool is_live(struct backups *backups, const char *live)
{
	struct stat st;

	if (!enter(backups))
		return false;
	bool known = tally_has_live(backups->tally, live);
	leave(backups);
	return known || !fstatat(backups->live_root, live, &st, AT_SYMLINK_NOFOLLOW);
}

static int on_sibling(const char *live, void *arg)
{
	struct met *met = arg;
	int r;

	if (!is_live(met->backups, live))
		return 0;
	if (!enter(met->backups))
		return 1;
	met->served++;
	r = count_in(met->backups, live, met->fresh);
	leave(met->backups);
	return r;
}

/* Where live has no such file, it may have those of pnp4nagios' other storage type.  *ret_all: one for
 * each value. */
static int find_siblings(struct met *met, const char *live, bool *ret_all)
{
	struct backups *backups = met->backups;
	const char *slash = strrchr(met->rrd, '/');
	struct sidecar sidecar;
	size_t values = 0;
	int r = 0;

	*ret_all = false;
	met->served = 0;
	if (backups->live_root >= 0 && !is_live(backups, live) &&
	    !pnp_find_sidecar(backups->root, met->rrd, &sidecar, NULL)) {
		for (size_t i = 0; i < sidecar.count; i++)
			values += sidecar_tells_of(&sidecar, &sidecar.ds[i],
						   slash ? slash + 1 : met->rrd);
		r = pnp_siblings(&sidecar, met->rrd, backups->live_root, live, on_sibling, met);
		*ret_all = values && met->served >= values;
		sidecar_free(&sidecar);
	}
	return r;
}

/* The file holds the history of a live file; or is led astray. */
static int on_lead(const struct index_lead *lead, void *arg)
{
	struct met *met = arg;
	struct backups *backups = met->backups;
	bool served = false;

	met->fresh = lead->fresh;
	int r = lead->live ? find_siblings(met, lead->live, &served) : 0;

	if (r || served)
		return r;
	if (!enter(backups))
		return 1;
	if (lead->live)
		r = count_in(backups, lead->live, lead->fresh);
	else
		note_misled(backups, met->rel, &lead->why);
	leave(backups);
	return r;
}

static int on_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct backups *backups = arg;
	struct met met = { .backups = backups, .rel = rel };
	char buffer[NAMES_SIZE];
	const char *rrd = kind == IO_DIR || kind == IO_LINK_TO_DIR ? NULL
		: index_rrd_of(backups->root, rel, buffer);

	atomic_store(&backups->moved_ns, io_now_ns());
	visits_move(backups->visit);
	if (!enter(backups))
		return 1;
	leave(backups);
	if (!rrd)
		return 0;
	met.rrd = rrd;
	backups->now->files++;
	return index_add(backups->set.index, rel, rrd, on_lead, &met);
}

static void on_error(const char *rel, int error, void *arg)
{
	struct backups *backups = arg;
	struct reason why;
	char line[REPORT_SIZE];

	if (!enter(backups))
		return;
	backups->now->partial = true;
	if (!*rel) {            /* a disk that dies while it is walked is not there: said as that */
		backups->now->error = -error;
		leave(backups);
		return;
	}
	reason_errno(&why, error, "directory of the backup cannot be read");
	if (error != EACCES && error != EPERM) {
		log_file(LOG_WARNING, "%s", report_refused(line, sizeof(line), "failed",
							   rel, why.text));
	} else if (!backups->denied++) {
		snprintf(backups->denied_rel, sizeof(backups->denied_rel), "%s", rel);
		backups->denied_why = why;
	}
	leave(backups);
}

static void say_denied(struct backups *backups)
{
	char shown[LOG_PATH_SIZE];
	struct privilege_user user;

	privilege_current(&user);
	if (backups->denied && backups->denied != backups->denied_said)
		log_message(LOG_WARNING, "refused count=%zu user=%s reason=\"%s\" dir=%s",
			    backups->denied, user.name,
			    backups->denied_why.text,
			    log_escape(shown, sizeof(shown), backups->denied_rel));
	backups->denied_said = backups->denied;
}

static void say_misled(struct backups *backups)
{
	char shown[LOG_PATH_SIZE], why[LOG_PATH_SIZE];

	if (backups->misled && backups->misled != backups->misled_said)
		log_message(LOG_WARNING, "refused count=%zu reason=\"%s\" source=%u file=%s",
			    backups->misled, log_escape(why, sizeof(why), backups->misled_why.text),
			    backups->misled_source + 1,
			    log_escape(shown, sizeof(shown), backups->misled_rel));
	backups->misled_said = backups->misled;
}

/* Each change is said once. */
static void say_presence(const struct backup *backup, enum presence before, const char *path,
			 int error)
{
	char shown[LOG_PATH_SIZE];
	struct privilege_user user;

	privilege_current(&user);
	log_escape(shown, sizeof(shown), path);
	switch (backup->presence) {
	case THERE:
		if (before != UNKNOWN)
			log_message(LOG_NOTICE, "backup is there backup=%s", shown);
		break;
	case EMPTY:
		log_message(LOG_WARNING, "backup %s backup=%s", backup->seen
			    ? "has gone: no RRD file is there any more; looking for it now and then"
			    : "holds no RRD file: is it mounted, or still to be unpacked?  "
			      "waiting for it", shown);
		break;
	case AWAY:
		if (error == NO_ANSWER) /* said when that was found out */
			break;
		if (error == -EACCES || error == -EPERM)
			log_message(LOG_WARNING, "backup cannot be read by user %s: %s; waiting for "
				    "it backup=%s", user.name,
				    strerror(-error), shown);
		else
			log_message(LOG_WARNING, "backup %s: %s; %s backup=%s",
				    backup->seen ? "has gone" : "cannot be read", strerror(-error),
				    backup->seen ? "looking for it now and then" : "waiting for it",
				    shown);
		break;
	case UNKNOWN:
		break;
	}
}

/* What the walk has come to: 0 or -errno. */
static int walk_into(struct backups *backups, unsigned n)
{
	const struct source *source = &backups->set.source[n];
	struct visit visit;

	if (!visits_enter(source->visits, VISITS_WALK, !backups->set.impatient, &visit))
		return NO_ANSWER;
	backups->visit = &visit;
	backups->root = io_open_root(source->path);
	int r = backups->root < 0 ? backups->root
		: io_walk(backups->root, "", on_entry, on_error, backups);
	if (backups->root >= 0)
		close(backups->root);
	visits_leave(source->visits, &visit);
	return r;
}

/* Walks one, and notes how it is.  False where we have been let go. */
static bool walk_one(struct backups *backups, unsigned n)
{
	struct backup now = backups->backup[n];
	enum presence before = now.presence;
	bool was_partial = now.partial;

	now.files = 0;
	now.partial = false;
	now.error = 0;
	backups->now = &now;
	int r = walk_into(backups, n);
	if (!r)
		r = now.error;
	backups->now = NULL;
	if (!enter(backups))
		return false;
	now.presence = r < 0 ? AWAY : now.files ? THERE : EMPTY;
	now.unread = now.partial || (r < 0 && r != -ENOENT);
	if (now.presence != before)
		say_presence(&now, before, backups->set.source[n].path, r);
	now.seen = now.seen || now.presence == THERE;
	if (now.presence != THERE)
		now.partial = was_partial;
	backups->backup[n] = now;
	leave(backups);
	return true;
}

/* What was looked at while one was away is looked at again, now that all are there. */
static void look_again(struct backups *backups)
{
	size_t count;
	char **list;

	if (!tally_sums(backups->tally).half_seen)
		return;
	list = tally_list(backups->tally, TALLY_HALF_SEEN, MERGE_ALLOWED, 0, &count);
	for (size_t i = 0; i < count; i++)
		queue_put(backups->queue, QUEUE_FILE, list[i], io_now_ns(), QUEUE_LOOK);
	tally_list_free(list, count);
}

/* What a whole walk has shown.  Caller holds the mutex. */
static void conclude(struct backups *backups, uint64_t began, bool all, bool whole)
{
	say_denied(backups);
	say_misled(backups);
	backups->all = all;
	if (all)
		look_again(backups);
	/* What only a backup has that is away now, or cannot be looked into, waits for it. */
	index_end(backups->set.index, all && whole);
	tally_backups_end(backups->tally, all && whole);
	backups->walks++;
	backups->walked_ns = began;
	backups->ended_ns = io_now_ns();
	backups->took_ns = backups->ended_ns - began;
	atomic_store(&backups->moved_ns, 0);
}

/* Somebody may hang in it already. */
static bool expand(const struct backups *backups, char *const *given, size_t givens, char ***ret,
		   size_t *ret_count)
{
	struct visits *visits;
	struct visit visit;
	size_t n = 0;

	while (n + 1 < givens && !globs_is(given[n]))
		n++;
	visits = visits_of(given[n]);
	bool in = visits && visits_enter(visits, VISITS_WALK, !backups->set.impatient, &visit);
	bool good = in && !globs_expand_all(given, givens, ret, ret_count, NULL);
	if (in)
		visits_leave(visits, &visit);
	visits_free(visits);
	return good;
}

/* What the patterns stand for now; false where there are none. */
static bool expand_given(struct backups *backups, char ***ret, size_t *ret_count)
{
	char **given = NULL;
	size_t givens = 0;
	bool good;

	if (!enter(backups))
		return false;
	good = backups->givens && (given = calloc(backups->givens, sizeof(*given)));
	while (good && givens < backups->givens && (given[givens] = strdup(backups->given[givens])))
		givens++;
	good = good && givens == backups->givens;
	leave(backups);
	good = good && expand(backups, given, givens, ret, ret_count);
	globs_free(given, givens);
	return good;
}

/* Do the patterns stand for others than those that we have?  One more or one less counts at once;
 * where the order alone is another, a restore may be under way: it must stay so for two walks. */
static bool is_changed(struct backups *backups)
{
	size_t count = backups->set.count, nows;
	char **ours, **now;
	bool same, again, changed = false;

	if (!expand_given(backups, &now, &nows))
		return false;
	ours = calloc(count + 1, sizeof(*ours));
	for (size_t n = 0; ours && n < count; n++)
		ours[n] = backups->set.source[n].path;
	same = !ours || globs_same(now, nows, ours, count);
	again = backups->others && globs_same(now, nows, backups->other, backups->others);
	if (!again)
		backups->other_told = false;
	if (!same && !backups->other_told && (again || !globs_same_set(now, nows, ours, count)))
		changed = backups->other_told = true;
	free(ours);
	globs_free(backups->other, backups->others);
	backups->other = now;
	backups->others = nows;
	return changed;
}

/* Walks over all of them.  Returns in how many nanoseconds to walk again; 0: we have been let go. */
static uint64_t walk(struct backups *backups)
{
	uint64_t began = io_now_ns(), in_ns;
	bool all = true, whole = true;

	atomic_store(&backups->moved_ns, began);
	backups->denied = backups->misled = 0;
	bool changed = is_changed(backups);
	if (!enter(backups))
		return 0;
	backups->changed = backups->changed || changed;
	index_begin(backups->set.index);
	tally_backups_begin(backups->tally);
	leave(backups);
	backups->live_root = backups->live ? io_open_root(backups->live) : -1;
	bool stays = true;
	for (unsigned n = 0; n < backups->set.count && stays; n++) {
		atomic_store(&backups->at, n);
		stays = walk_one(backups, n);
		all = all && backups->backup[n].presence == THERE;
		whole = whole && !backups->backup[n].partial;
	}
	if (backups->live_root >= 0)
		close(backups->live_root);
	if (!stays || !enter(backups))
		return 0;
	conclude(backups, began, all, whole);
	in_ns = backups->took_ns * IDLE_SHARE;
	leave(backups);
	if (in_ns > LONGEST_NS)
		in_ns = LONGEST_NS;
	return in_ns > (all ? PRESENT_NS : MISSING_NS) ? in_ns : all ? PRESENT_NS : MISSING_NS;
}

/* What was mounted or unmounted may be a backup.  Caller holds the mutex. */
static void look_at_mounts(struct backups *backups)
{
	uint64_t mounts = place_mounts();

	if (mounts != backups->mounts)
		backups->wanted = true;
	backups->mounts = mounts;
}

/* Waits until it is time.  Caller holds the mutex. */
static void wait_for_walk(struct backups *backups, uint64_t due_ns)
{
	for (;;) {
		/* The first pass over live is followed by a look at once. */
		uint64_t soon = backups->walks > 1 ? backups->took_ns * WANTED_SHARE : 0;
		uint64_t due = due_ns;

		look_at_mounts(backups);
		if (backups->walks > 1 && soon < WANTED_NS)
			soon = WANTED_NS;
		soon += backups->ended_ns;
		if (backups->wanted && soon < due)
			due = soon;
		uint64_t now = io_now_ns();
		if (backups->stopping || now >= due)
			return;
		if (due > now + MOUNTS_NS)
			due = now + MOUNTS_NS;
		until_wait(&backups->wake, &backups->mutex, due);
	}
}

static void free_all(struct backups *backups)
{
	source_set_free(&backups->set);
	free(backups->live);
	globs_free(backups->given, backups->givens);
	globs_free(backups->other, backups->others);
	pthread_cond_destroy(&backups->wake);
	pthread_mutex_destroy(&backups->mutex);
	free(backups);
}

static void *walk_now_and_then(void *arg)
{
	struct backups *backups = arg;
	uint64_t in_ns;

	while ((in_ns = walk(backups)) > 0 && enter(backups)) {
		wait_for_walk(backups, io_now_ns() + in_ns);
		backups->wanted = false;
		leave(backups);
	}
	free_all(backups);
	return NULL;
}

/* ---- the thread, from outside ---- */

int backups_new(const struct source_set *set, const char *live, struct queue *queue,
		struct tally *tally, struct backups **ret)
{
	struct backups *backups = calloc(1, sizeof(*backups) +
						     set->count * sizeof(backups->backup[0]));
	int r = 0;

	if (!backups)
		return -ENOMEM;
	r = source_set_copy(set, &backups->set);
	backups->live = live ? strdup(live) : NULL;
	if (live && !backups->live)
		r = -ENOMEM;
	backups->queue = queue;
	backups->tally = tally;
	backups->mounts = place_mounts();
	pthread_mutex_init(&backups->mutex, NULL);
	until_prepare(&backups->wake);
	if (!r)
		r = -pthread_create(&backups->thread, NULL, walk_now_and_then, backups);
	if (r) {
		free_all(backups);
		return r;
	}
	pthread_detach(backups->thread);
	*ret = backups;
	return 0;
}

int backups_follow(struct backups *backups, char *const *given, size_t givens)
{
	char **copy = calloc(givens + 1, sizeof(*copy));
	bool pattern = false;
	size_t count = 0;

	while (copy && count < givens && (copy[count] = strdup(given[count])))
		pattern = globs_is(given[count++]) || pattern;
	if (!copy || count < givens) {
		globs_free(copy, count);
		return -ENOMEM;
	}
	pthread_mutex_lock(&backups->mutex);
	globs_free(backups->given, backups->givens);
	backups->given = pattern ? copy : NULL;
	backups->givens = pattern ? givens : 0;
	pthread_mutex_unlock(&backups->mutex);
	if (!pattern)
		globs_free(copy, count);
	return 0;
}

bool backups_changed(struct backups *backups)
{
	pthread_mutex_lock(&backups->mutex);
	bool changed = backups->changed;
	backups->changed = false;
	pthread_mutex_unlock(&backups->mutex);
	return changed;
}

void backups_walk(struct backups *backups)
{
	pthread_mutex_lock(&backups->mutex);
	backups->wanted = true;
	pthread_cond_signal(&backups->wake);
	pthread_mutex_unlock(&backups->mutex);
}

void backups_missed(struct backups *backups)
{
	pthread_mutex_lock(&backups->mutex);
	/* Where one is known to be away, the thread looks for it anyhow. */
	if (backups->all) {
		backups->wanted = true;
		pthread_cond_signal(&backups->wake);
	}
	pthread_mutex_unlock(&backups->mutex);
}

void backups_free(struct backups *backups)
{
	if (!backups)
		return;
	pthread_mutex_lock(&backups->mutex);
	backups->stopping = true;
	pthread_cond_signal(&backups->wake);
	pthread_mutex_unlock(&backups->mutex);
}

struct backups_state backups_state(struct backups *backups)
{
	struct backups_state state = { .whole = true };
	uint64_t moved = atomic_load(&backups->moved_ns), now = io_now_ns();

	if (moved && now > moved)
		state.stalled_ns = now - moved;
	state.held = visits_hold((unsigned long)backups->thread);
	state.at = atomic_load(&backups->at);
	pthread_mutex_lock(&backups->mutex);
	state.walked_ns = backups->walked_ns;
	state.misled = backups->misled_said;
	for (unsigned n = 0; n < backups->set.count; n++) {
		const struct backup *backup = &backups->backup[n];

		state.whole = state.whole && backup->seen && !backup->partial;
		state.unread += backup->unread;
	}
	pthread_mutex_unlock(&backups->mutex);
	return state;
}
