/* commandssteer: the commands that steer the daemon as a whole. */
#include "config.h"
#include "commandsint.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"

#define MS UINT64_C(1000000)
#define HAND_NS (10000 * MS)            /* for the files in hand when a pause begins */
#define RELOAD_NS (15000 * MS)
#define LOOK_MS 20

/* ---- rescan ---- */

struct again {
	struct commands *c;
	unsigned flags;
};

static int put_again(const struct tally_item *item, void *arg)
{
	const struct again *again = arg;

	pthread_rwlock_rdlock(&again->c->lock);
	int r = queue_put(again->c->queue, QUEUE_FILE, item->rel, io_now_ns(), again->flags);
	pthread_rwlock_unlock(&again->c->lock);
	return r;
}

/* A scan passes by those with which we are done: until somebody has exchanged or mended what the
 * backup has, and asks.  0 or -ENOMEM. */
static int look_again(struct commands *c, enum tally_state state, unsigned flags)
{
	struct again again = { c, flags };
	size_t count;

	return commands_each(c, state, NULL, put_again, &again, &count);
}

int commands_rescan(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;

	(void)argc;
	(void)argv;
	pthread_rwlock_rdlock(&c->lock);
	bool missing = live_state(c->live).missing;
	live_rescan(c->live);
	atomic_store(&c->rescan_ns, io_now_ns());
	backups_walk(c->backups);
	pthread_rwlock_unlock(&c->lock);
	int r = look_again(c, TALLY_IS_REFUSED, QUEUE_LOOK);
	if (!r)
		r = look_again(c, TALLY_IS_MERGED, QUEUE_GLANCE | QUEUE_SOURCES);
	if (!r)
		r = look_again(c, TALLY_IS_UNCHANGED, QUEUE_GLANCE | QUEUE_SOURCES);
	if (r)
		return r;
	control_put(call, "rescan", "begun");
	if (missing)
		control_put(call, "note", "the live tree is not there: it is looked for every other "
			    "second, and looked through when it comes");
	else if (atomic_load(&c->paused))
		control_put(call, "note", "the daemon is paused: what is found is merged after "
			    "\"rrdmergctl resume\"");
	return 0;
}

/* ---- forget ---- */

static int show_patterns(struct control_call *call, struct commands *c)
{
	char *pattern;
	int r = 0;

	for (size_t n = 0; !r && (pattern = forgotten_get(c->forgotten, n)); n++) {
		control_record(call);
		r = control_put(call, "pattern", pattern);
		free(pattern);
	}
	return r;
}

static int change_failed(struct control_call *call, const char *pattern, int r,
			 const struct reason *why)
{
	switch (r) {
	case -EEXIST:
		return control_fail(call, "%s is forgotten already", pattern);
	case -ENOENT:
		return control_fail(call, "%s is no pattern that was forgotten; \"rrdmergctl forget\" "
				    "shows those that were", pattern);
	case -EBUSY:
		return control_fail(call, "another pattern is being changed; try again in a moment");
	default:
		return control_fail(call, "the file \"forgotten\" in state_dir %s", why->text);
	}
}

static int change_pattern(struct control_call *call, struct commands *c, const char *pattern,
			  bool undo)
{
	struct reason why = { "" };
	char shown[LOG_PATH_SIZE];
	int r = forgotten_change(c->forgotten, pattern, !undo, &why);

	if (r)
		return change_failed(call, pattern, r, &why);
	pthread_rwlock_rdlock(&c->lock);
	size_t before = tally_sums(c->tally).waiting;
	tally_forget(c->tally, forgotten_is, c->forgotten);
	size_t after = tally_sums(c->tally).waiting;
	pthread_rwlock_unlock(&c->lock);
	size_t files = undo ? after > before ? after - before : 0
			    : before > after ? before - after : 0;
	log_message(LOG_NOTICE, "%s files=%zu waiting=%zu pattern=%s",
		    undo ? "remembered" : "forgotten", files, after,
		    log_escape(shown, sizeof(shown), pattern));
	control_put(call, undo ? "remembered" : "forgotten", pattern);
	control_number(call, "files", (long long)files);
	control_number(call, "waiting", (long long)after);
	if (!files && !undo)
		control_put(call, "note", "it matches no file that is waiting now; \"rrdmergctl list "
			    "waiting\" shows those that are");
	return 0;
}

int commands_forget(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;
	bool undo = control_has(call, "--undo");

	if (!c->forgotten)
		return -ENOMEM;
	if (argc == 1 && undo)
		return control_fail(call, WIRE_USAGE "say which: forget --undo PATTERN");
	if (argc == 1)
		return show_patterns(call, c);
	char *pattern = commands_pattern(c, argv[1]);
	if (!pattern)
		return -ENOMEM;
	int r;
	if (!*pattern)
		r = control_fail(call, WIRE_USAGE "%s; \"forget '*'\" gives up all that wait", *argv[1]
				 ? "that is the whole tree" : "an empty pattern matches nothing");
	else if (*pattern == '/' && !undo)
		r = commands_not_beneath(call, c, argv[1]);
	else
		r = change_pattern(call, c, pattern, undo);
	free(pattern);
	return r;
}

/* ---- pause and resume ---- */

static void set_paused(struct commands *c, bool paused)
{
	pthread_rwlock_rdlock(&c->lock);
	bool was = atomic_exchange(&c->paused, paused);
	queue_pause(c->queue, paused);
	pthread_rwlock_unlock(&c->lock);
	if (was != paused)
		log_message(LOG_NOTICE, paused ? "paused: no merge begins until \"rrdmergctl resume\" or "
			    "a restart; changes in the live tree are still seen" : "resumed");
}

static size_t in_hand(struct commands *c)
{
	pthread_rwlock_rdlock(&c->lock);
	size_t count = queue_count(c->queue).files_in_flight;
	pthread_rwlock_unlock(&c->lock);
	return count;
}

int commands_pause(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;
	uint64_t until = io_now_ns() + HAND_NS;
	size_t left;

	(void)argc;
	(void)argv;
	set_paused(c, true);
	/* Who asks wants to know that nothing is written any more. */
	while ((left = in_hand(c)) && io_now_ns() < until) {
		int r = control_wait(call, LOOK_MS);

		if (r)
			return r;
	}
	control_put(call, "paused", "yes");
	if (left)
		control_number(call, "in_hand", (long long)left);
	return 0;
}

int commands_resume(struct control_call *call, int argc, char **argv, void *arg)
{
	(void)argc;
	(void)argv;
	set_paused(arg, false);
	return control_put(call, "paused", "no");
}

/* ---- reload ---- */

int commands_reload(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;
	unsigned reloaded = atomic_load(&c->reloaded), stayed = atomic_load(&c->stayed);
	uint64_t until = io_now_ns() + RELOAD_NS;

	(void)argc;
	(void)argv;
	if (kill(getpid(), SIGHUP))
		return -errno;
	while (io_now_ns() < until) {
		int r = control_wait(call, LOOK_MS);

		if (r)
			return r;
		if (atomic_load(&c->reloaded) != reloaded)
			return control_put(call, "reloaded", "yes");
		if (atomic_load(&c->stayed) != stayed)
			return control_fail(call, "the configuration is not taken over, and the one "
					    "from before stays in force: the log says why, and so does "
					    "\"rrdmergd -t\"");
	}
	control_put(call, "reloaded", "not yet");
	return control_put(call, "note", "a disk that the configuration names has not answered yet");
}
