#include "config.h"
#include "tally.h"

#include <errno.h>
#include <pthread.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define OWN_NS UINT64_C(2000000000)     /* our CLOSE_WRITE comes sooner, if it comes */
#define ALARM_FIRST_S 1         /* one more event of ours may still be on its way */
#define ALARM_NEXT_S 60
#define ALARM_MAX_S 3600
#define FALSE_ALARMS_FREE 3     /* false alarms in a row that cost no waiting */
#define FALSE_ALARMS_MAX 10

enum state { NEW, MERGED, UNCHANGED, SKIPPED, FAILED, STATES };

struct file {
	enum state state;
	bool live, backup;
	bool merged;            /* once: what comes after does not take that away */
	bool pending;
	bool settled;
	bool half_seen;         /* at the last try, a source was missing */
	bool unpaired;          /* at the last try, no source had it, and none was missing */
	bool partial;           /* `why` is of a part alone */
	bool unsaid;            /* `why` is to be said: in the tally's line */
	bool suspect;           /* a look is due that may show that it is another database, */
	bool doubted;           /* and comes so late that only the backup waits for it */
	bool alarmed;           /* a stat showed that others have written it */
	uint8_t false_alarms;   /* in a row */
	uint8_t denied;         /* enum merge_denied */
	unsigned walk;          /* the last walk over the backups that met it, */
	unsigned met;           /* and how often */
	unsigned sources;       /* how many sources had it at the last try */
	unsigned scan;          /* the last scan that found it */
	uint64_t identity;      /* of live: hash of inode and size; 0: not seen yet */
	int64_t ctime_ns;
	uint64_t own_ns;        /* since when what is heard of it is our own doing; 0: it is not */
	char *why;              /* the refusal; NULL: none */
	TAILQ_ENTRY(file) line;
	char rel[];
};

struct tally {
	pthread_mutex_t mutex;
	void *index;            /* tsearch(3) over struct file, by rel */
	TAILQ_HEAD(, file) unsaid;
	size_t live, waiting, pending, refused, unsaid_count, unsettled, paired, in_backup,
	       half_seen;
	unsigned walk;          /* over the backups: the one under way, or the last */
	size_t walk_met;        /* files that it has met */
	size_t denied[MERGE_DENIALS];
	size_t in_state[STATES];
	unsigned scan;
	uint64_t cells, changes;
};

static int by_rel(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->rel, ((const struct file *)b)->rel);
}

struct tally *tally_new(void)
{
	struct tally *tally = calloc(1, sizeof(*tally));

	if (tally) {
		pthread_mutex_init(&tally->mutex, NULL);
		TAILQ_INIT(&tally->unsaid);
	}
	return tally;
}

static void free_file(void *node)
{
	struct file *file = node;

	free(file->why);
	free(file);
}

void tally_free(struct tally *tally)
{
	if (!tally)
		return;
	tdestroy(tally->index, free_file);
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

/* As tfind(3) calls it: the key, which is no more than a path, comes first. */
static int key_to_file(const void *key, const void *file)
{
	return strcmp(key, ((const struct file *)file)->rel);
}

static struct file *find(struct tally *tally, const char *rel)
{
	void *node = tfind(rel, &tally->index, key_to_file);

	return node ? *(struct file **)node : NULL;
}

static struct file *find_or_add(struct tally *tally, const char *rel)
{
	struct file *file = find(tally, rel);

	if (file)
		return file;
	file = make(rel);
	if (file && !tsearch(file, &tally->index, by_rel)) {
		free(file);
		file = NULL;
	}
	return file;
}

/* No backup has it: there is nothing to do, until one has. */
static bool is_alone(const struct file *file)
{
	return (file->state == SKIPPED || file->unpaired) && !file->backup;
}

static bool is_done(const struct file *file)
{
	return !file->pending && (file->settled || is_alone(file));
}

/* Takes the file out of the sums (before a change) or puts it in (after it). */
static void count(struct tally *tally, const struct file *file, size_t by)
{
	if (file->live) {
		tally->live += by;
		tally->in_state[file->state] += by;
		if (file->pending || file->suspect)
			tally->pending += by;
		if (file->why)
			tally->refused += by;
		if (file->sources)
			tally->paired += by;
		if ((!file->settled || file->doubted) && !is_alone(file))
			tally->unsettled += by;
		if (file->half_seen)
			tally->half_seen += by;
		tally->denied[file->denied] += by;
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

/* Between before() and after(): `why` is the refusal from now on, or NULL. */
static void set_refusal(struct tally *tally, struct file *file, const char *why)
{
	bool fresh = why && (!file->why || strcmp(why, file->why));

	if (file->unsaid && (fresh || !why)) {
		TAILQ_REMOVE(&tally->unsaid, file, line);
		tally->unsaid_count--;
		file->unsaid = false;
	}
	if (!why || fresh) {
		free(file->why);
		file->why = why ? strdup(why) : NULL;
	}
	/* Those that lack a right are said together. */
	if (fresh && file->why && !file->denied) {
		TAILQ_INSERT_TAIL(&tally->unsaid, file, line);
		tally->unsaid_count++;
		file->unsaid = true;
	}
}

static void drop_live(struct tally *tally, struct file *file)
{
	before(tally, file);
	file->live = file->pending = file->settled = file->merged = file->alarmed = false;
	file->unpaired = file->half_seen = file->suspect = file->doubted = false;
	file->own_ns = 0;
	file->state = NEW;
	file->denied = MERGE_ALLOWED;
	set_refusal(tally, file, NULL);
	file->sources = 0;
	file->identity = 0;
	file->false_alarms = 0;
	after(tally, file);
}

static void forget_unless_wanted(struct tally *tally, struct file *file)
{
	if (file->live || file->backup)
		return;
	tdelete(file, &tally->index, by_rel);
	free_file(file);
}

/* ---- one live file ---- */

int tally_live(struct tally *tally, const char *rel, bool scanned, bool *ret_settled)
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
		if (scanned)
			file->scan = tally->scan;
		*ret_settled = is_done(file);
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

void tally_own(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = find(tally, rel);
	if (file)
		file->own_ns = io_now_ns();
	pthread_mutex_unlock(&tally->mutex);
}

bool tally_is_own(struct tally *tally, const char *rel, bool closed)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = find(tally, rel);
	bool own = file && file->own_ns && io_now_ns() - file->own_ns < OWN_NS;
	if (file && (closed || !own))
		file->own_ns = 0;
	pthread_mutex_unlock(&tally->mutex);
	return own;
}

unsigned tally_written_to(struct tally *tally, const char *rel, bool heard)
{
	unsigned in_s = ALARM_FIRST_S;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = find(tally, rel);
	if (file && file->false_alarms > FALSE_ALARMS_FREE) {
		in_s = (unsigned)ALARM_NEXT_S << (file->false_alarms - FALSE_ALARMS_FREE - 1);
		before(tally, file);
		file->doubted = file->doubted || (heard && file->live);
		after(tally, file);
	} else if (file && file->live && heard) {
		before(tally, file);
		file->suspect = true;
		after(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
	return in_s < ALARM_MAX_S ? in_s : ALARM_MAX_S;
}

static uint64_t identity_of(const struct io_stamp *stamp)      /* FNV-1a, never 0 */
{
	const uint64_t part[] = { (uint64_t)stamp->dev, (uint64_t)stamp->ino, stamp->size };
	uint64_t h = UINT64_C(14695981039346656037);

	for (size_t i = 0; i < 8 * sizeof(part) / sizeof(part[0]); i++)
		h = (h ^ (part[i / 8] >> 8 * (i % 8) & 255)) * UINT64_C(1099511628211);
	return h ? h : 1;
}

bool tally_same(struct tally *tally, const char *rel, const struct io_stamp *now, bool rewritten)
{
	bool same = false;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = find(tally, rel);
	if (file && file->live) {
		bool done = is_done(file);
		bool other = file->identity != identity_of(now) ||
			     (rewritten && file->ctime_ns != now->ctime_ns);

		/* Nobody but us has written it since the last look: what came of that stands. */
		same = !other && (done || (rewritten && !file->pending));
		if (other || file->suspect || file->doubted) {
			before(tally, file);
			file->suspect = file->doubted = false;
			after(tally, file);
		}
		if (other) {
			before(tally, file);
			file->settled = false;
			file->pending = true;
			after(tally, file);
			file->alarmed = rewritten;
		}
	}
	pthread_mutex_unlock(&tally->mutex);
	return same;
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

		before(tally, file);
		file->settled = file->backup = false;
		file->pending = file->live;
		file->sources = 0;
		after(tally, file);
		forget_unless_wanted(tally, file);
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
	struct file *file = find_or_add(tally, rel);
	if (file) {
		if (file->walk != tally->walk) {
			file->walk = tally->walk;
			file->met = 0;
			tally->walk_met++;
		}
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

		before(tally, file);
		file->backup = false;
		after(tally, file);
		forget_unless_wanted(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
	free(collect.file);
}

/* ---- results ---- */

static enum state state_after(const struct file *file, const struct merge_result *result)
{
	switch (result->outcome) {
	case MERGE_MERGED:
		return MERGED;
	case MERGE_UNCHANGED:
		return file->merged ? MERGED : UNCHANGED;
	case MERGE_HELD:
		return UNCHANGED;
	case MERGE_SKIPPED:
		if (file->merged)
			return MERGED;
		/* Where a backup is gone, nothing is known that was not known before. */
		return result->source_missing && file->state == UNCHANGED ? UNCHANGED : SKIPPED;
	case MERGE_FAILED:
		return FAILED;
	default:
		return file->state;
	}
}

static void note_stamp(struct file *file, const struct merge_result *result)
{
	if (result->stamp.ino) {
		file->identity = identity_of(&result->stamp);
		file->ctime_ns = result->stamp.ctime_ns;
	}
	if (file->alarmed && result->outcome < MERGE_BUSY) {
		file->alarmed = false;
		if (merge_wrote(result))
			file->false_alarms = 0;
		else if (file->false_alarms < FALSE_ALARMS_MAX)
			file->false_alarms++;
	}
}

void tally_result(struct tally *tally, const char *rel, const struct merge_result *result,
		  bool will_retry)
{
	bool refusal = result->outcome == MERGE_FAILED || result->partial;

	if (result->outcome == MERGE_GONE) {
		tally_gone(tally, rel);
		return;
	}
	pthread_mutex_lock(&tally->mutex);
	struct file *file = find(tally, rel);
	tally->cells += result->counts.cells;
	if (file && file->live) {
		/* A database that we were done with stays so while its backup is away. */
		bool kept = file->settled && result->source_missing && result->stamp.ino &&
			    file->identity == identity_of(&result->stamp);

		before(tally, file);
		file->state = state_after(file, result);
		/* What is not waited for any more has failed, until it comes about. */
		if (file->state == NEW && result->outcome == MERGE_BUSY && !will_retry)
			file->state = FAILED;
		file->merged = file->merged || file->state == MERGED;
		/* A refusal that is looked at again once in a while holds nothing up. */
		file->pending = will_retry && result->outcome >= MERGE_BUSY;
		file->suspect = file->doubted = false;
		file->unpaired = result->outcome == MERGE_SKIPPED && !result->source_missing;
		file->half_seen = result->source_missing && !kept;
		if (!kept) {
			file->settled = result->settled;
			file->sources = result->sources;
		}
		if (!file->pending || refusal) {
			file->denied = refusal ? (uint8_t)result->denied : MERGE_ALLOWED;
			file->partial = result->outcome != MERGE_FAILED;
			set_refusal(tally, file, refusal ? result->why.text : NULL);
		}
		note_stamp(file, result);
		after(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
}

/* ---- what is to be told ---- */

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
		.unsaid = tally->unsaid_count,
		.paired = tally->paired,
		.unsettled = tally->unsettled,
		.half_seen = tally->half_seen,
		.waiting = tally->waiting,
		.cells = tally->cells,
		.changes = tally->changes,
	};
	memcpy(sums.denied, tally->denied, sizeof(sums.denied));
	sums.denied[MERGE_ALLOWED] = 0;
	pthread_mutex_unlock(&tally->mutex);
	return sums;
}

bool tally_next_refusal(struct tally *tally, char *rel, size_t size, struct reason *why,
			bool *ret_partial)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = TAILQ_FIRST(&tally->unsaid);
	if (file) {
		TAILQ_REMOVE(&tally->unsaid, file, line);
		tally->unsaid_count--;
		file->unsaid = false;
		snprintf(rel, size, "%s", file->rel);
		reason_set(why, "%s", file->why);
		*ret_partial = file->partial;
	}
	pthread_mutex_unlock(&tally->mutex);
	return file;
}

bool tally_why(struct tally *tally, const char *rel, struct reason *why)
{
	pthread_mutex_lock(&tally->mutex);
	const struct file *file = find(tally, rel);
	bool refused = file && file->why;
	if (refused)
		reason_set(why, "%s", file->why);
	pthread_mutex_unlock(&tally->mutex);
	return refused;
}

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
		return file->backup && !file->live;
	case TALLY_DENIED:
		return file->live && file->denied == wanted->denied;
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
