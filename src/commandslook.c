/* commandslook: the commands that tell how things stand with all the files. */
#include "config.h"
#include "commandsint.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bulletin.h"

#define GROUPS 10               /* kinds of refusals that status tells of */
#define STALLED_NS UINT64_C(10000000000)        /* a backup that hangs is waited for no longer */
#define PAGE 1024               /* files in memory at once */

/* ---- status ---- */

struct standing {
	struct tally_sums sums;
	struct live_state live;
	struct queue_count queued;
	struct reason ledger;           /* why it does not work */
	size_t unsynced;                /* merges for which live's disk has failed */
	size_t unended;                 /* files that an undo has left undone in part … */
	char *unended_example;          /* … one of them, or NULL */
	bool works, needed, lost;
	char *hanging;                  /* the backups that do not answer; NULL: all do */
	bool walking;                   /* over the backups, for a rescan */
	const char *seen;               /* the backups */
	char *path;                     /* of the live tree */
	struct tally_group *group;
	size_t groups, all_groups;
};

static bool is_busy(const struct commands *c, const struct standing *now)
{
	return atomic_load(&c->busy) || now->walking || now->sums.pending || now->queued.due ||
	       now->queued.in_flight || now->live.scanning || !now->live.scanned;
}

/* NULL: there is none. */
static char *list_hanging(const struct source_set *sources)
{
	char *list = NULL, *longer;

	for (unsigned n = 0; n < sources->count; n++) {
		const struct source *source = &sources->source[n];

		if (!visits_hang_ns(source->visits, VISITS_WALK))
			continue;
		if (asprintf(&longer, "%s%s%s", list ? list : "", list ? " and " : "",
			     source->path) < 0)
			break;
		free(list);
		list = longer;
	}
	return list;
}

static void take_standing(struct commands *c, struct standing *ret)
{
	*ret = (struct standing){ .group = calloc(GROUPS, sizeof(*ret->group)) };
	pthread_rwlock_rdlock(&c->lock);
	ret->sums = tally_sums(c->tally);
	ret->live = live_state(c->live);
	ret->queued = queue_count(c->queue);
	ret->works = !c->books || ledger_ok(books_ledger(c->books), &ret->ledger);
	ret->unsynced = books_unsynced(c->books);
	ret->unended = books_unended(c->books, c->tally, &ret->unended_example);
	struct backups_state backups = backups_state(c->backups);
	ret->seen = backups.whole ? "yes" : backups.walked_ns ? "no" : "not yet";
	ret->walking = atomic_load(&c->rescan_ns) > backups.walked_ns &&
		       backups.stalled_ns < STALLED_NS;
	/* Where a backup is not there, that is why, and not a path. */
	ret->lost = backups.whole && bulletin_is_lost(&ret->sums);
	ret->path = strdup(c->site->live);
	ret->hanging = list_hanging(&c->site->sources);
	if (ret->group && ret->sums.refused)
		ret->groups = tally_groups(c->tally, ret->group, GROUPS, &ret->all_groups);
	/* What is under way, or waits for resume, may still turn something up. */
	ret->needed = c->backup_needed(c->arg) || is_busy(c, ret);
	pthread_rwlock_unlock(&c->lock);
}

static const char *state_of(const struct commands *c, const struct standing *now)
{
	return now->live.missing ? "waiting for the live tree"
		: !now->works ? "waiting for the ledger"
		: atomic_load(&c->paused) ? "paused"
		: is_busy(c, now) ? "merging" : "idle";
}

/* Does nothing want a person? */
static bool is_well(const struct commands *c, const struct standing *now)
{
	return !now->live.missing && now->works && !now->unsynced && !now->unended &&
	       !atomic_load(&c->paused) &&
	       !atomic_load(&c->stalled_s) && !now->sums.refused && !now->sums.failed &&
	       !now->live.unwatched && !now->lost && strcmp(now->seen, "no");
}

static void put_figures(struct control_call *call, const struct commands *c,
			const struct standing *now)
{
	const struct tally_sums *sums = &now->sums;
	long long left = atomic_load(&c->left_s);

	control_number(call, "files", (long long)sums->live);
	control_number(call, "merged", (long long)sums->merged);
	control_number(call, "unchanged", (long long)sums->unchanged);
	control_number(call, "skipped", (long long)sums->skipped);
	control_number(call, "failed", (long long)sums->failed);
	control_number(call, "refused", (long long)sums->refused);
	control_number(call, "pending", (long long)sums->pending);
	control_number(call, "waiting", (long long)sums->waiting);
	control_number(call, "forgotten", (long long)sums->forgotten);
	control_number(call, "unproven", (long long)sums->unproven);
	control_number(call, "cells", (long long)sums->cells);
	if (left >= 0 && sums->pending)
		control_number(call, "left_seconds", left);
	control_put(call, "backup_needed", now->needed ? "yes" : "no");
	control_number(call, "needed_by", (long long)(sums->waiting + sums->unsettled));
	control_put(call, "backups_seen", now->seen);
	control_put(call, "lost", now->lost ? "yes" : "no");
}

static void put_groups(struct control_call *call, const struct standing *now)
{
	for (size_t i = 0; i < now->groups; i++) {
		const struct tally_group *group = &now->group[i];

		control_record(call);
		control_number(call, "refusals", (long long)group->files);
		control_putf(call, "kind", "%.*s", (int)group->kind, group->why.text);
		control_put(call, "example", group->example);
		control_put(call, "reason", group->why.text);
	}
	if (now->all_groups > now->groups) {
		control_record(call);
		control_number(call, "more_kinds", (long long)(now->all_groups - now->groups));
	}
}

int commands_status(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;
	struct standing now;

	(void)argc;
	(void)argv;
	take_standing(c, &now);
	control_put(call, "state", state_of(c, &now));
	control_put(call, "well", is_well(c, &now) ? "yes" : "no");
	control_put(call, "live", now.path ? now.path : "");
	put_figures(call, c, &now);
	control_put(call, "paused", atomic_load(&c->paused) ? "yes" : "no");
	control_number(call, "watch_overflows", (long long)now.live.overflows);
	control_number(call, "unwatched_dirs", (long long)now.live.unwatched);
	control_number(call, "stalled_seconds", (long long)atomic_load(&c->stalled_s));
	if (now.hanging)
		control_put(call, "stalled_backups", now.hanging);
	if (!now.works)
		control_put(call, "ledger", now.ledger.text);
	else
		control_put(call, "ledger", c->books ? "works" : "none");
	control_number(call, "tried_again", (long long)now.sums.retried);
	control_number(call, "undone", (long long)now.sums.undone);
	control_number(call, "unsynced", (long long)now.unsynced);
	control_number(call, "undone_in_part", (long long)now.unended);
	if (now.unended_example)
		control_put(call, "undone_in_part_example", now.unended_example);
	put_groups(call, &now);
	free(now.unended_example);
	free(now.path);
	free(now.hanging);
	free(now.group);
	return 0;
}

/* ---- list ---- */

static const char *const states[] = {
	[TALLY_IS_PENDING] = "pending", [TALLY_IS_MERGED] = "merged",
	[TALLY_IS_UNCHANGED] = "unchanged", [TALLY_IS_SKIPPED] = "skipped",
	[TALLY_IS_FAILED] = "failed", [TALLY_IS_WAITING] = "waiting",
	[TALLY_IS_FORGOTTEN] = "forgotten", [TALLY_ANY_STATE] = NULL,
	[TALLY_IS_REFUSED] = "refused",
};

const char *commands_state(enum tally_state state)
{
	return states[state];
}

/* TALLY_ANY_STATE: it is none. */
static enum tally_state state_called(const char *name)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (states[i] && !strcmp(states[i], name))
			return (enum tally_state)i;
	return TALLY_ANY_STATE;
}

static bool is_listed(const char *rel, void *arg)
{
	return forgotten_matches(arg, rel);
}

int commands_each(struct commands *c, enum tally_state state, const char *pattern,
		  commands_item_fn *fn, void *arg, size_t *ret_count)
{
	struct tally_item *item = calloc(PAGE, sizeof(*item));
	char *after = strdup("");
	size_t count = PAGE, all = 0;
	int r = item && after ? 0 : -ENOMEM;

	while (!r && count == PAGE) {
		pthread_rwlock_rdlock(&c->lock);
		count = tally_page(c->tally, state, pattern ? is_listed : NULL,
				   (void *)(uintptr_t)pattern, after, item, PAGE);
		pthread_rwlock_unlock(&c->lock);
		for (size_t i = 0; i < count && !r; i++)
			r = fn(&item[i], arg);
		all += count;
		if (count) {
			free(after);
			after = item[count - 1].rel;
			item[count - 1].rel = NULL;
		}
		tally_page_free(item, count);
	}
	free(after);
	free(item);
	*ret_count = all;
	return r;
}

static int put_item(const struct tally_item *item, void *arg)
{
	struct control_call *call = arg;

	control_record(call);
	control_put(call, "state", commands_state(item->state));
	if (item->why) {
		control_put(call, "refused", item->partial ? "in part" : "wholly");
		control_put(call, "reason", item->why);
	}
	return control_put(call, "file", item->rel);
}

char *commands_pattern(struct commands *c, const char *given)
{
	pthread_rwlock_rdlock(&c->lock);
	const char *rel = commands_rel(c, given);
	char *pattern = strdup(rel != given ? rel + strspn(rel, "/") : rel);
	pthread_rwlock_unlock(&c->lock);

	/* "web07/" is what a shell completes. */
	for (size_t len = pattern ? strlen(pattern) : 0; len > 1 && pattern[len - 1] == '/'; len--)
		pattern[len - 1] = '\0';
	return pattern;
}

int commands_list(struct control_call *call, int argc, char **argv, void *arg)
{
	struct commands *c = arg;
	enum tally_state state = argc > 1 ? state_called(argv[1]) : TALLY_ANY_STATE;
	const char *given = argc > 2 ? argv[2]
		: argc > 1 && state == TALLY_ANY_STATE ? argv[1] : NULL;
	char *pattern = NULL;
	size_t listed;

	if (argc > 2 && state == TALLY_ANY_STATE)
		return control_fail(call, WIRE_USAGE "there is no state \"%.64s\": say list "
				    COMMAND_STATES " [PATTERN]", argv[1]);
	if (given) {
		pattern = commands_pattern(c, given);
		if (!pattern)
			return -ENOMEM;
		if (*pattern == '/') {
			free(pattern);
			return commands_not_beneath(call, c, given);
		}
		/* The tree itself: all of it. */
		if (*given && !*pattern) {
			free(pattern);
			pattern = NULL;
		}
	}
	int r = commands_each(c, state, pattern, put_item, call, &listed);
	/* Most likely it was meant for a state. */
	if (!r && !listed && argc == 2 && given && !strpbrk(given, "./*?["))
		r = control_fail(call, WIRE_USAGE "\"%.64s\" is neither a state nor a directory of "
				 "which anything is known: say list " COMMAND_STATES " [PATTERN]",
				 given);
	free(pattern);
	return r;
}
