#include "config.h"
#include "tally.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

enum state { NEW, MERGED, UNCHANGED, SKIPPED, FAILED, STATES };

struct file {
	enum state state;
	bool live, backup;
	bool merged;            /* once: what comes after does not take that away */
	unsigned met;           /* how often in the walk over the backups under way */
	unsigned sources;       /* how many sources had it at the last try */
	bool pending;
	bool settled;
	uint32_t said;          /* hash of the refusal said last; 0: none */
	char rel[];
};

struct tally {
	pthread_mutex_t mutex;
	void *index;            /* tsearch(3) over struct file, by rel */
	size_t live, waiting, pending, refused, unsettled, paired, in_backup;
	size_t in_state[STATES];
	uint64_t cells, changes;
};

static int by_rel(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->rel, ((const struct file *)b)->rel);
}

struct tally *tally_new(void)
{
	struct tally *tally = calloc(1, sizeof(*tally));

	if (tally)
		pthread_mutex_init(&tally->mutex, NULL);
	return tally;
}

void tally_free(struct tally *tally)
{
	if (!tally)
		return;
	tdestroy(tally->index, free);
	pthread_mutex_destroy(&tally->mutex);
	free(tally);
}

/* ---- one file; caller holds the mutex ---- */

static struct file *make(const char *rel)
{
	size_t len = strlen(rel) + 1;
	struct file *file = calloc(1, sizeof(*file) + len);

	if (file)
		memcpy(file->rel, rel, len);
	return file;
}

static struct file *find(struct tally *tally, const char *rel)
{
	struct file *key = make(rel);
	void *node = key ? tfind(key, &tally->index, by_rel) : NULL;

	free(key);
	return node ? *(struct file **)node : NULL;
}

static struct file *find_or_add(struct tally *tally, const char *rel)
{
	struct file *key = make(rel);
	struct file **node = key ? tsearch(key, &tally->index, by_rel) : NULL;

	if (!node || *node != key)
		free(key);
	return node ? *node : NULL;
}

/* Takes the file out of the sums (before a change) or puts it in (after it). */
static void count(struct tally *tally, const struct file *file, size_t by)
{
	if (file->live) {
		tally->live += by;
		tally->in_state[file->state] += by;
		if (file->pending)
			tally->pending += by;
		if (file->said)
			tally->refused += by;
		if (file->sources)
			tally->paired += by;
		if (!file->settled && file->state != SKIPPED)
			tally->unsettled += by;
	} else if (file->backup) {
		tally->waiting += by;
	}
	if (file->backup)
		tally->in_backup += by;
}

static void before(struct tally *tally, const struct file *file)
{
	count(tally, file, (size_t)-1);
}

static void after(struct tally *tally, const struct file *file)
{
	count(tally, file, 1);
	tally->changes++;
}

static void drop_live(struct tally *tally, struct file *file)
{
	before(tally, file);
	file->live = file->pending = file->settled = file->merged = false;
	file->state = NEW;
	file->said = 0;
	file->sources = 0;
	after(tally, file);
}

static void forget_unless_wanted(struct tally *tally, struct file *file)
{
	if (file->live || file->backup)
		return;
	tdelete(file, &tally->index, by_rel);
	free(file);
}

/* ---- what is told ---- */

int tally_live(struct tally *tally, const char *rel, bool *ret_settled)
{
	int r = -ENOMEM;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = find_or_add(tally, rel);
	if (file) {
		if (!file->live) {
			before(tally, file);
			file->live = file->pending = true;
			after(tally, file);
		}
		/* Without a counterpart there is nothing to do either, until a backup has one. */
		*ret_settled = !file->pending &&
			       (file->settled || (file->state == SKIPPED && !file->backup));
		r = 0;
	}
	pthread_mutex_unlock(&tally->mutex);
	return r;
}

void tally_gone(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = find(tally, rel);
	if (file && file->live) {
		drop_live(tally, file);
		forget_unless_wanted(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
}

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
		drop_live(tally, collect.file[i]);
		forget_unless_wanted(tally, collect.file[i]);
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

void tally_backups_begin(struct tally *tally)
{
	struct collect collect = { .wanted = is_any };

	pthread_mutex_lock(&tally->mutex);
	twalk_r(tally->index, collect_one, &collect);
	for (size_t i = 0; i < collect.count; i++)
		collect.file[i]->met = 0;
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
}

int tally_backup(struct tally *tally, const char *rel, bool *ret_look)
{
	int r = -ENOMEM;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = find_or_add(tally, rel);
	if (file) {
		file->met++;
		if (!file->backup) {
			before(tally, file);
			file->backup = true;
			after(tally, file);
		}
		*ret_look = file->live && !file->pending && file->met > file->sources;
		r = 0;
	}
	pthread_mutex_unlock(&tally->mutex);
	return r;
}

static bool was_not_met(const struct file *file, const void *arg)
{
	(void)arg;
	return file->backup && !file->met;
}

void tally_backups_end(struct tally *tally)
{
	struct collect collect = { .wanted = was_not_met };

	pthread_mutex_lock(&tally->mutex);
	twalk_r(tally->index, collect_one, &collect);
	for (size_t i = 0; i < collect.count; i++) {
		struct file *file = collect.file[i];

		before(tally, file);
		file->backup = false;
		after(tally, file);
		forget_unless_wanted(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
}

/* ---- results ---- */

static uint32_t hash(const char *text)  /* FNV-1a, never 0 */
{
	uint32_t h = 2166136261u;

	for (; *text; text++)
		h = (h ^ (uint8_t)*text) * 16777619u;
	return h ? h : 1;
}

static enum state state_after(const struct file *file, enum merge_outcome outcome)
{
	switch (outcome) {
	case MERGE_MERGED:
		return MERGED;
	case MERGE_UNCHANGED:
		return file->merged ? MERGED : UNCHANGED;
	case MERGE_SKIPPED:
		return file->merged ? MERGED : SKIPPED;
	case MERGE_FAILED:
		return FAILED;
	default:
		return file->state;
	}
}

bool tally_result(struct tally *tally, const char *rel, const struct merge_result *result,
		  bool will_retry)
{
	bool refusal = result->outcome == MERGE_FAILED || result->partial;
	bool fresh = false;

	if (result->outcome == MERGE_GONE) {
		tally_gone(tally, rel);
		return false;
	}
	pthread_mutex_lock(&tally->mutex);
	struct file *file = find(tally, rel);
	tally->cells += result->cells;
	if (file && file->live) {
		uint32_t words = refusal ? hash(result->why.text) : 0;

		before(tally, file);
		file->state = state_after(file, result->outcome);
		file->sources = result->sources;
		file->merged = file->merged || file->state == MERGED;
		/* A refusal that is looked at again once in a while holds nothing up. */
		file->pending = will_retry && result->outcome >= MERGE_BUSY;
		file->settled = result->settled;
		if (!file->pending || refusal) {
			fresh = refusal && words != file->said;
			file->said = words;
		}
		after(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
	return fresh;
}

struct tally_sums tally_sums(struct tally *tally)
{
	pthread_mutex_lock(&tally->mutex);
	struct tally_sums sums = {
		.live = tally->live,
		.merged = tally->in_state[MERGED],
		.unchanged = tally->in_state[UNCHANGED],
		.skipped = tally->in_state[SKIPPED],
		.failed = tally->in_state[FAILED],
		.pending = tally->pending,
		.refused = tally->refused,
		.paired = tally->paired,
		.in_backup = tally->in_backup,
		.unsettled = tally->unsettled,
		.waiting = tally->waiting,
		.cells = tally->cells,
		.changes = tally->changes,
	};
	pthread_mutex_unlock(&tally->mutex);
	return sums;
}

size_t tally_sample(struct tally *tally, char **ret_rel, size_t count)
{
	struct collect collect = { .wanted = is_live_beneath, .arg = "" };
	size_t taken = 0;

	pthread_mutex_lock(&tally->mutex);
	twalk_r(tally->index, collect_one, &collect);
	/* From all over the tree: what stands together is often new together. */
	if (count > collect.count)
		count = collect.count;
	while (taken < count) {
		ret_rel[taken] = strdup(collect.file[taken * collect.count / count]->rel);
		if (!ret_rel[taken])
			break;
		taken++;
	}
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
	return taken;
}
