#include "config.h"
#include "liveint.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "log.h"
#include "kin.h"
#include "place.h"
#include "privilege.h"

#define SECOND UINT64_C(1000000000)

static void say_root(int priority, const char *what, const struct live *live)
{
	char shown[LOG_PATH_SIZE];

	log_message(priority, "%s live=%s", what, log_escape(shown, sizeof(shown), live->path));
}

uint64_t liveroot_missing(struct live *live, int error)
{
	atomic_store(&live->root, 0);
	atomic_store(&live->missing, true);
	if (atomic_exchange(&live->missing_error, error) != error) {
		struct privilege_user user;
		char what[256];

		privilege_current(&user);
		if (error == -EACCES || error == -EPERM)
			snprintf(what, sizeof(what), "live tree cannot be watched by user %s: %s; "
				 "waiting for it",
				 user.name, strerror(-error));
		else
			snprintf(what, sizeof(what), "live tree cannot be watched: %s; waiting for it",
				 strerror(-error));
		say_root(LOG_ERR, what, live);
	}
	tally_gone_beneath(live->tally, "");
	return live->once ? 0 : LIVEROOT_CHECK_NS;
}

/* How the directory that `fd` is stands to the backups: IO_APART, or how it does not, and `shown`
 * is which.  -ENOMEM. */
static int relate_to_sources(struct live *live, int fd, char *shown)
{
	struct source_set sources = { 0 };

	/* Nothing is held while a disk is waited for. */
	pthread_mutex_lock(&live->mutex);
	int r = source_set_copy(&live->sources, &sources);
	pthread_mutex_unlock(&live->mutex);
	if (r)
		return r;
	r = kin_relate(&sources, fd, shown);
	source_set_free(&sources);
	return r;
}

static bool is_answered(struct live *live)
{
	pthread_mutex_lock(&live->mutex);
	bool answered = kin_is_answered(&live->sources);
	pthread_mutex_unlock(&live->mutex);
	return answered;
}

/* To relate asks the backups' disks, which takes its time where one hangs: so a root that was found
 * good is related again only where something has changed. */
static bool is_to_relate_again(struct live *live)
{
	return atomic_load(&live->relate) || place_mounts() != atomic_load(&live->mounts) ||
	       is_answered(live);
}

/* What came of relating it to the sources that were number `set`, unless they are others by now. */
static void judge_root(struct live *live, unsigned set, uint64_t root)
{
	pthread_mutex_lock(&live->mutex);
	if (set == atomic_load(&live->set))
		atomic_store(&live->root, root);
	pthread_mutex_unlock(&live->mutex);
}

/* The configuration was found good when it was read; the path may lead elsewhere since.  Only the
 * directory that is found good here is ever written to; with `again`, it is not enough that it was
 * so before.  0 or -errno: -ELOOP where it is not. */
static int find_root_good(struct live *live, bool again)
{
	char shown[LOG_PATH_SIZE];
	struct stat st;
	unsigned set = atomic_load(&live->set);
	int fd = io_open_root(live->path), relation;

	if (fd < 0)
		return fd;
	int r = fstat(fd, &st) ? -errno : 0;
	if (!r && (again || merge_root_id(&st) != atomic_load(&live->root))) {
		atomic_store(&live->relate, false);
		atomic_store(&live->mounts, place_mounts());
		relation = relate_to_sources(live, fd, shown);
		if (relation != IO_APART)
			r = relation < 0 ? relation : -ELOOP;
		if (r == -ELOOP && atomic_exchange(&live->missing_error, r) != r) {
			char what[LOG_PATH_SIZE + 120];

			snprintf(what, sizeof(what), "live tree %s the backup %s: nothing is written "
				 "until it does not", relation == IO_SAME ? "is" : relation == IO_INSIDE
				 ? "lies inside" : "holds", shown);
			say_root(LOG_ERR, what, live);
		}
		judge_root(live, set, r ? 0 : merge_root_id(&st));
	}
	close(fd);
	return r;
}

int liveroot_find(struct live *live)
{
	if (atomic_exchange(&live->root_lost, false))
		tally_gone_beneath(live->tally, "");
	/* What is found now may lie in a part of a backup that is mounted here. */
	return find_root_good(live, is_to_relate_again(live));
}

void liveroot_there(struct live *live)
{
	const char *remote = io_remote_fs(live->path);

	atomic_store(&live->missing_error, 0);
	if (atomic_exchange(&live->missing, false))
		say_root(LOG_NOTICE, "live tree is there", live);
	if (remote && !atomic_exchange(&live->remote, true) && !live->once) {
		char what[160];

		snprintf(what, sizeof(what), "live tree is on a network filesystem (%s), where not "
			 "every change is seen: it is looked at every %d s as well", remote,
			 (int)(LIVE_REMOTE_NS / SECOND));
		say_root(LOG_WARNING, what, live);
	} else if (!remote) {
		atomic_store(&live->remote, false);
	}
	atomic_store(&live->scanned, true);
}

/* A root that another is mounted over raises no event.  To relate it anew may take as long as a
 * backup hangs, and is a job of its own: what is at the live path is seen meanwhile. */
static uint64_t check_root(struct live *live)
{
	char job[32];

	if (atomic_load(&live->missing) || watch_check(live->watch))
		return LIVEROOT_CHECK_NS;       /* which has said that it is gone */
	if (is_to_relate_again(live)) {
		/* One that waits for a backup which is none any more holds up no other. */
		snprintf(job, sizeof(job), "backups:%u", atomic_load(&live->set));
		if (queue_put(live->queue, QUEUE_ROOT, job, QUEUE_NOW, 0))
			liveevents_lose(live);
	} else if (find_root_good(live, false)) {
		liveevents_root_gone(live);
	}
	return LIVEROOT_CHECK_NS;
}

static uint64_t relate_root(struct live *live)
{
	if (!atomic_load(&live->missing) && find_root_good(live, true))
		liveevents_root_gone(live);
	return 0;
}

uint64_t liveroot_job(struct live *live, const char *job)
{
	return *job ? relate_root(live) : check_root(live);
}

/* ---- what it is held against ---- */

int live_set_sources(struct live *live, const struct source_set *sources)
{
	struct source_set copy, old;
	int r = source_set_copy(sources, &copy);

	if (r)
		return r;
	pthread_mutex_lock(&live->mutex);
	old = live->sources;
	live->sources = copy;
	atomic_fetch_add(&live->set, 1);
	pthread_mutex_unlock(&live->mutex);
	source_set_free(&old);
	live_relate(live);
	return 0;
}

void live_relate(struct live *live)
{
	atomic_store(&live->relate, true);
}

const atomic_uint_fast64_t *live_root(const struct live *live)
{
	return &live->root;
}
