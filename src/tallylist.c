#include "config.h"
#include "tallyint.h"

#include <ctype.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- over all files, in the order of their paths ---- */

struct visiting {
	void (*visit)(struct file *file, void *arg);
	void *arg;
};

static void visit_node(const void *node, VISIT visit, void *closure)
{
	const struct visiting *visiting = closure;

	if (visit == postorder || visit == leaf)
		visiting->visit(*(struct file *const *)node, visiting->arg);
}

void tally_visit(struct tally *tally, void (*visit)(struct file *file, void *arg), void *arg)
{
	struct visiting visiting = { visit, arg };

	twalk_r(tally->index, visit_node, &visiting);
}

/* ---- what is forgotten ---- */

static void judge(struct file *file, void *arg)
{
	struct tally *tally = arg;
	bool is = tally->is_forgotten && tally->is_forgotten(file->rel, tally->is_forgotten_arg);

	if (is == file->forgotten)
		return;
	tally_before(tally, file);
	file->forgotten = is;
	tally_after(tally, file);
}

void tally_forget(struct tally *tally, tally_forgotten_fn *is, void *arg)
{
	pthread_mutex_lock(&tally->mutex);
	tally->is_forgotten = is;
	tally->is_forgotten_arg = arg;
	tally_visit(tally, judge, tally);
	pthread_mutex_unlock(&tally->mutex);
}

/* ---- pages ---- */

struct page {
	enum tally_state state;
	bool (*wanted)(const char *rel, void *arg);
	void *arg;
	const char *after;
	struct tally_item *item;
	size_t count, used;
	bool failed;
};

/* TALLY_ANY_STATE: there is nothing to tell of it. */
static enum tally_state state_of(const struct file *file)
{
	static const enum tally_state of[STATES] = {
		[NEW] = TALLY_IS_PENDING, [MERGED] = TALLY_IS_MERGED,
		[UNCHANGED] = TALLY_IS_UNCHANGED, [SKIPPED] = TALLY_IS_SKIPPED,
		[FAILED] = TALLY_IS_FAILED,
	};

	if (file->live)
		return file->pending || file->suspect ? TALLY_IS_PENDING : of[file->state];
	return !file->backup ? TALLY_ANY_STATE
		: file->forgotten ? TALLY_IS_FORGOTTEN : TALLY_IS_WAITING;
}

static bool copy(const struct file *file, struct tally_item *ret)
{
	*ret = (struct tally_item){
		.state = state_of(file),
		.rel = strdup(file->rel),
		.why = file->why ? strdup(file->why) : NULL,
		.partial = file->partial,
		.merged = file->merged,
		.settled = file->settled,
		.half_seen = file->half_seen,
		.unproven = file->unproven,
		.backup = file->backup,
		.sources = file->sources,
	};
	if (ret->rel && (ret->why || !file->why))
		return true;
	tally_page_free(ret, 1);
	return false;
}

static void add_to_page(struct file *file, void *arg)
{
	struct page *page = arg;
	enum tally_state state = state_of(file);

	if (page->used == page->count || page->failed || state == TALLY_ANY_STATE ||
	    (page->state == TALLY_IS_REFUSED ? !file->why
	     : page->state != TALLY_ANY_STATE && state != page->state) ||
	    strcmp(file->rel, page->after) <= 0 ||
	    (page->wanted && !page->wanted(file->rel, page->arg)))
		return;
	page->failed = !copy(file, &page->item[page->used]);
	page->used += !page->failed;
}

size_t tally_page(struct tally *tally, enum tally_state state,
		  bool (*wanted)(const char *rel, void *arg), void *arg, const char *after,
		  struct tally_item *item, size_t count)
{
	struct page page = { state, wanted, arg, after, item, count, 0, false };

	pthread_mutex_lock(&tally->mutex);
	tally_visit(tally, add_to_page, &page);
	pthread_mutex_unlock(&tally->mutex);
	return page.used;
}

void tally_page_free(struct tally_item *item, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		free(item[i].rel);
		free(item[i].why);
		item[i].rel = item[i].why = NULL;
	}
}

bool tally_look(struct tally *tally, const char *rel, struct tally_item *ret)
{
	pthread_mutex_lock(&tally->mutex);
	const struct file *file = tally_find(tally, rel);
	bool known = file && state_of(file) != TALLY_ANY_STATE && copy(file, ret);
	pthread_mutex_unlock(&tally->mutex);
	return known;
}

/* ---- refusals in groups ---- */

#define SLOTS 256               /* kinds of refusals that are told apart; the rest are one more */

struct slot {
	const struct file *first;
	size_t files;
};

struct grouping {
	struct slot slot[SLOTS + 1];
	size_t slots;
};

/* Up to which byte refusals of one kind agree, but for numbers. */
static size_t kind_length(const char *why)
{
	const char *end = strstr(why, ": ");

	return end ? (size_t)(end - why) : strlen(why);
}

static bool is_digit(char c)
{
	return isdigit((unsigned char)c);
}

static bool same_kind(const char *a, const char *b)
{
	const char *a_end = a + kind_length(a), *b_end = b + kind_length(b);

	while (a < a_end && b < b_end) {
		if (is_digit(*a) && is_digit(*b)) {
			while (a < a_end && is_digit(*a))
				a++;
			while (b < b_end && is_digit(*b))
				b++;
		} else if (*a++ != *b++) {
			return false;
		}
	}
	return a == a_end && b == b_end;
}

static void group_one(struct file *file, void *arg)
{
	struct grouping *grouping = arg;
	size_t i = 0;

	if (!file->live || !file->why)
		return;
	while (i < grouping->slots && !same_kind(grouping->slot[i].first->why, file->why))
		i++;
	if (i == grouping->slots && i < SLOTS)
		grouping->slots++;
	if (!grouping->slot[i].first)
		grouping->slot[i].first = file;
	grouping->slot[i].files++;
	/* What is met often is found soon. */
	if (i && i < SLOTS && grouping->slot[i].files > grouping->slot[i - 1].files) {
		struct slot swap = grouping->slot[i];

		grouping->slot[i] = grouping->slot[i - 1];
		grouping->slot[i - 1] = swap;
	}
}

static int by_files(const void *a, const void *b)
{
	size_t left = ((const struct slot *)a)->files, right = ((const struct slot *)b)->files;

	return left < right ? 1 : left > right ? -1 : 0;
}

size_t tally_groups(struct tally *tally, struct tally_group *group, size_t count,
		    size_t *ret_groups)
{
	struct grouping *grouping = calloc(1, sizeof(*grouping));
	size_t used = 0;

	*ret_groups = 0;
	if (!grouping)
		return 0;
	pthread_mutex_lock(&tally->mutex);
	tally_visit(tally, group_one, grouping);
	qsort(grouping->slot, SLOTS + 1, sizeof(grouping->slot[0]), by_files);
	for (size_t i = 0; i <= SLOTS && grouping->slot[i].files; i++) {
		const struct slot *slot = &grouping->slot[i];

		++*ret_groups;
		if (used == count)
			continue;
		group[used].files = slot->files;
		snprintf(group[used].example, sizeof(group[used].example), "%s", slot->first->rel);
		reason_set(&group[used].why, "%s", slot->first->why);
		group[used].kind = kind_length(slot->first->why);
		used++;
	}
	pthread_mutex_unlock(&tally->mutex);
	free(grouping);
	return used;
}
