#include "config.h"
#include "tallyint.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

/* ---- over all files ---- */

/* twalk_r() may not be run while nodes are deleted: collect first. */
struct collect {
	bool (*wanted)(const struct file *file, const void *arg);
	const void *arg;
	struct file **file;
	size_t count, capacity;
};

static void collect_one(const void *node, VISIT visit, void *closure)
{
	struct collect *collect = closure;
	struct file *file = *(struct file *const *)node;

	if ((visit != postorder && visit != leaf) || !collect->wanted(file, collect->arg))
		return;
	if (collect->count == collect->capacity) {
		size_t capacity = collect->capacity ? collect->capacity * 2 : 256;
		struct file **grown = reallocarray(collect->file, capacity, sizeof(*grown));

		if (!grown)
			return;         /* the rest is met the next time */
		collect->file = grown;
		collect->capacity = capacity;
	}
	collect->file[collect->count++] = file;
}

static bool is_live_beneath(const struct file *file, const void *arg)
{
	const char *dir = arg;
	size_t len = strlen(dir);

	return file->live && (!len || (!strncmp(file->rel, dir, len) && file->rel[len] == '/'));
}

void tally_gone_beneath(struct tally *tally, const char *dir)
{
	struct collect collect = { .wanted = is_live_beneath, .arg = dir };

	pthread_mutex_lock(&tally->mutex);
	twalk_r(tally->index, collect_one, &collect);
	for (size_t i = 0; i < collect.count; i++) {
		tally_drop_live(tally, collect.file[i]);
		tally_forget_unless_wanted(tally, collect.file[i]);
	}
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
}

static bool is_any(const struct file *file, const void *arg)
{
	(void)file;
	(void)arg;
	return true;
}

void tally_scan_begin(struct tally *tally)
{
	pthread_mutex_lock(&tally->mutex);
	tally->scan++;
	pthread_mutex_unlock(&tally->mutex);
}

void tally_new_sources(struct tally *tally)
{
	struct collect collect = { .wanted = is_any };

	pthread_mutex_lock(&tally->mutex);
	twalk_r(tally->index, collect_one, &collect);
	for (size_t i = 0; i < collect.count; i++) {
		struct file *file = collect.file[i];

		tally_before(tally, file);
		file->settled = file->backup = false;
		file->pending = file->live;
		file->retried = false;
		file->sources = 0;
		tally_after(tally, file);
		tally_forget_unless_wanted(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
}

void tally_backups_begin(struct tally *tally)
{
	pthread_mutex_lock(&tally->mutex);
	tally->walk++;
	tally->walk_met = 0;
	pthread_mutex_unlock(&tally->mutex);
}

int tally_backup(struct tally *tally, const char *rel, bool *ret_look)
{
	int r = -ENOMEM;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find_or_add(tally, rel);
	if (file) {
		if (file->walk != tally->walk) {
			file->walk = tally->walk;
			file->met = 0;
			tally->walk_met++;
		}
		file->met++;
		if (!file->backup) {
			tally_before(tally, file);
			file->backup = true;
			file->forgotten = tally->is_forgotten &&
				tally->is_forgotten(rel, tally->is_forgotten_arg);
			tally_after(tally, file);
		}
		*ret_look = file->live && !file->pending && file->met > file->sources;
		r = 0;
	}
	pthread_mutex_unlock(&tally->mutex);
	return r;
}

static bool was_not_met(const struct file *file, const void *arg)
{
	const struct tally *tally = arg;

	return file->backup && file->walk != tally->walk;
}

void tally_backups_end(struct tally *tally, bool whole)
{
	struct collect collect = { .wanted = was_not_met, .arg = tally };

	if (!whole)
		return;
	pthread_mutex_lock(&tally->mutex);
	/* Mostly it has met all that are known, and there is nothing to look for. */
	if (tally->in_backup > tally->walk_met)
		twalk_r(tally->index, collect_one, &collect);
	for (size_t i = 0; i < collect.count; i++) {
		struct file *file = collect.file[i];

		tally_before(tally, file);
		file->backup = false;
		tally_after(tally, file);
		tally_forget_unless_wanted(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
}

/* ---- lists ---- */

struct wanted {
	enum tally_which which;
	enum merge_denied denied;
	unsigned scan;
};

static bool is_wanted(const struct file *file, const void *arg)
{
	const struct wanted *wanted = arg;

	switch (wanted->which) {
	case TALLY_LIVE:
		return file->live;
	case TALLY_UNMET:
		return file->live && file->scan != wanted->scan;
	case TALLY_HALF_SEEN:
		return file->live && file->half_seen;
	case TALLY_WAITING:
		return file->backup && !file->live && !file->forgotten;
	case TALLY_DENIED:
		return file->live && file->denied == wanted->denied;
	case TALLY_UNPROVEN:
		return file->live && file->unproven;
	}
	return false;
}

char **tally_list(struct tally *tally, enum tally_which which, enum merge_denied denied,
		  size_t count, size_t *ret_count)
{
	struct wanted wanted = { which, denied, 0 };
	struct collect collect = { .wanted = is_wanted, .arg = &wanted };
	char **list = NULL;
	size_t taken = 0;

	pthread_mutex_lock(&tally->mutex);
	wanted.scan = tally->scan;
	twalk_r(tally->index, collect_one, &collect);
	if (!count || count > collect.count)
		count = collect.count;
	list = count ? calloc(count, sizeof(*list)) : NULL;
	while (list && taken < count) {
		list[taken] = strdup(collect.file[taken * collect.count / count]->rel);
		if (!list[taken])
			break;
		taken++;
	}
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
	*ret_count = taken;
	return list;
}

void tally_list_free(char **list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		free(list[i]);
	free(list);
}
