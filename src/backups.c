#include "config.h"
#include "backups.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "log.h"
#include "privilege.h"
#include "report.h"
#include "worker.h"

#define SECOND UINT64_C(1000000000)
#define MISSING_NS (5 * SECOND) /* to the next walk where one is not there */
#define PRESENT_NS (45 * SECOND)        /* what is unpacked meanwhile is seen within a minute */
#define IDLE_SHARE 300          /* a walk that takes long comes less often: so much longer apart */
#define LONGEST_NS (600 * SECOND)

enum presence { UNKNOWN, THERE, EMPTY, AWAY };

struct backup {
	enum presence presence;
	bool seen;              /* once, with RRD files in it */
	bool partial;           /* then a directory of it could not be read */
	size_t files;           /* that this walk has met */
};

struct backups {
	const struct source_set *set;
	struct queue *queue;
	struct tally *tally;
	const atomic_bool *stopping;

	pthread_mutex_t mutex;  /* for backup[] and walked_ns; not held during a walk */
	uint64_t walked_ns;

	/* Of the walk under way; one worker at a time. */
	struct backup *now;
	size_t denied, denied_said;
	char denied_rel[PATH_MAX];
	struct reason denied_why;

	struct backup backup[];
};

struct backups *backups_new(const struct source_set *set, struct queue *queue,
			    struct tally *tally, const atomic_bool *stopping)
{
	struct backups *backups = calloc(1, sizeof(*backups) +
						     set->count * sizeof(backups->backup[0]));

	if (!backups)
		return NULL;
	backups->set = set;
	backups->queue = queue;
	backups->tally = tally;
	backups->stopping = stopping;
	pthread_mutex_init(&backups->mutex, NULL);
	return backups;
}

void backups_free(struct backups *backups)
{
	if (!backups)
		return;
	pthread_mutex_destroy(&backups->mutex);
	free(backups);
}

static int on_entry(const char *rel, enum io_kind kind, void *arg)
{
	struct backups *backups = arg;
	bool look = false;

	worker_beat();
	if (kind == IO_DIR || kind == IO_LINK_TO_DIR || !io_is_rrd_name(rel))
		return atomic_load(backups->stopping);
	backups->now->files++;
	int r = tally_backup(backups->tally, rel, &look);
	if (!r && look)
		r = queue_put(backups->queue, QUEUE_FILE, rel, QUEUE_NOW, QUEUE_LOOK);
	return r ? r : atomic_load(backups->stopping);
}

static void on_error(const char *rel, int error, void *arg)
{
	struct backups *backups = arg;
	struct reason why;
	char line[REPORT_SIZE];

	backups->now->partial = true;
	reason_errno(&why, error, "directory of the backup cannot be read");
	if (error != EACCES && error != EPERM) {
		log_file(LOG_WARNING, "%s", report_refused(line, sizeof(line), "failed",
							   *rel ? rel : ".", why.text));
	} else if (!backups->denied++) {
		snprintf(backups->denied_rel, sizeof(backups->denied_rel), "%s", rel);
		backups->denied_why = why;
	}
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

/* Walks one, and notes how it is. */
static void walk_one(struct backups *backups, unsigned n)
{
	struct backup now = backups->backup[n];
	enum presence before = now.presence;
	bool was_partial = now.partial;

	now.files = 0;
	now.partial = false;
	backups->now = &now;
	int r = source_walk(backups->set, n, on_entry, on_error, backups);
	backups->now = NULL;
	if (atomic_load(backups->stopping))
		return;
	now.presence = r < 0 ? AWAY : now.files ? THERE : EMPTY;
	if (now.presence != before)
		say_presence(&now, before, backups->set->source[n].path, r);
	now.seen = now.seen || now.presence == THERE;
	if (now.presence != THERE)
		now.partial = was_partial;
	pthread_mutex_lock(&backups->mutex);
	backups->backup[n] = now;
	pthread_mutex_unlock(&backups->mutex);
}

uint64_t backups_walk(struct backups *backups)
{
	uint64_t began = io_now_ns(), took;
	bool all = true, whole = true;

	backups->denied = 0;
	tally_backups_begin(backups->tally);
	for (unsigned n = 0; n < backups->set->count && !atomic_load(backups->stopping); n++) {
		walk_one(backups, n);
		all = all && backups->backup[n].presence == THERE;
		whole = whole && !backups->backup[n].partial;
	}
	if (atomic_load(backups->stopping))
		return 0;
	say_denied(backups);
	/* What only a backup has that is away now, or cannot be looked into, waits for it. */
	tally_backups_end(backups->tally, all && whole);
	pthread_mutex_lock(&backups->mutex);
	backups->walked_ns = began;
	pthread_mutex_unlock(&backups->mutex);
	took = (io_now_ns() - began) * IDLE_SHARE;
	uint64_t in_ns = all ? PRESENT_NS : MISSING_NS;
	if (took > in_ns)
		in_ns = took < LONGEST_NS ? took : LONGEST_NS;
	return in_ns;
}

struct backups_state backups_state(struct backups *backups)
{
	struct backups_state state = { .whole = true };

	pthread_mutex_lock(&backups->mutex);
	state.walked_ns = backups->walked_ns;
	for (unsigned n = 0; n < backups->set->count; n++) {
		const struct backup *backup = &backups->backup[n];

		state.whole = state.whole && backup->seen && !backup->partial;
		state.away = state.away || (backup->seen && backup->presence != THERE);
	}
	pthread_mutex_unlock(&backups->mutex);
	return state;
}
