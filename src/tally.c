#include "config.h"
#include "tallyint.h"

#include <errno.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define OWN_NS UINT64_C(2000000000)     /* our CLOSE_WRITE comes sooner, if it comes */
#define ALARM_FIRST_S 1         /* one more event of ours may still be on its way */
#define ALARM_NEXT_S 60
#define ALARM_MAX_S 3600
#define FALSE_ALARMS_FREE 3     /* false alarms in a row that cost no waiting */
#define FALSE_ALARMS_MAX 10

static int by_rel(const void *a, const void *b)
{
	return strcmp(((const struct file *)a)->rel, ((const struct file *)b)->rel);
}

struct tally *tally_new(void)
{
	struct tally *tally = calloc(1, sizeof(*tally));

	if (tally) {
		pthread_mutex_init(&tally->mutex, NULL);
		tally->blocks.reuse = true;
		TAILQ_INIT(&tally->unsaid);
		TAILQ_INIT(&tally->recalled);
	}
	return tally;
}

static void empty_file(void *node)
{
	struct file *file = node;

	free(file->why);
}

void tally_free(struct tally *tally)
{
	if (!tally)
		return;
	tdestroy(tally->index, empty_file);
	free(tally->bucket);
	blocks_free(&tally->blocks);
	pthread_mutex_destroy(&tally->mutex);
	free(tally);
}

/* ---- one file; caller holds the mutex ---- */

static struct file *make(struct tally *tally, const char *rel)
{
	size_t len = strlen(rel) + 1;
	struct file *file = blocks_get(&tally->blocks, sizeof(*file) + len);

	if (file)
		memcpy(file->rel, rel, len);
	return file;
}

/* Where the file stands, or would.  There are buckets. */
static struct file **place(struct tally *tally, const char *rel)
{
	uint64_t hash = UINT64_C(14695981039346656037);

	for (const char *c = rel; *c; c++)              /* FNV-1a */
		hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
	struct file **file = &tally->bucket[(hash ^ hash >> 32) & (tally->buckets - 1)];
	while (*file && strcmp((*file)->rel, rel))
		file = &(*file)->next;
	return file;
}

/* Room for one more.  False: no memory. */
static bool grow(struct tally *tally)
{
	size_t count = tally->buckets, more = count ? count * 2 : 64;
	struct file **was = tally->bucket, **bucket;

	if (tally->files < count)
		return true;
	bucket = calloc(more, sizeof(struct file *));
	if (!bucket)
		return false;
	tally->bucket = bucket;
	tally->buckets = more;
	for (size_t i = 0; i < count; i++)
		for (struct file *file = was[i], *next; file; file = next) {
			next = file->next;
			file->next = NULL;
			*place(tally, file->rel) = file;
		}
	free(was);
	return true;
}

struct file *tally_find(struct tally *tally, const char *rel)
{
	return tally->buckets ? *place(tally, rel) : NULL;
}

struct file *tally_find_or_add(struct tally *tally, const char *rel)
{
	struct file *file = tally_find(tally, rel);

	if (file || !grow(tally))
		return file;
	file = make(tally, rel);
	if (file && !tsearch(file, &tally->index, by_rel)) {
		blocks_put(&tally->blocks, file);
		file = NULL;
	}
	if (file) {
		*place(tally, rel) = file;
		tally->files++;
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
		if (file->pending && file->retried)
			tally->retried += by;
		if (file->why)
			tally->refused += by;
		if (file->sources)
			tally->paired += by;
		if ((!file->settled || file->doubted || file->recalled) && !is_alone(file))
			tally->unsettled += by;
		if (file->held)
			tally->undone += by;
		if (file->half_seen)
			tally->half_seen += by;
		if (file->unproven)
			tally->unproven += by;
		tally->denied[file->denied] += by;
	} else if (file->backup && file->forgotten) {
		tally->forgotten += by;
	} else if (file->backup) {
		tally->waiting += by;
	}
	if (file->backup)
		tally->in_backup += by;
}

void tally_before(struct tally *tally, const struct file *file)
{
	count(tally, file, (size_t)-1);
}

void tally_after(struct tally *tally, const struct file *file)
{
	count(tally, file, 1);
	tally->changes++;
}

/* Between tally_before() and tally_after(): `why` is the refusal from now on, or NULL. */
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

/* The same: there is nothing to prove any more. */
static void drop_recalled(struct tally *tally, struct file *file)
{
	if (file->in_turn)
		TAILQ_REMOVE(&tally->recalled, file, turn);
	file->recalled = file->in_turn = false;
}

void tally_drop_live(struct tally *tally, struct file *file)
{
	tally_before(tally, file);
	drop_recalled(tally, file);
	file->live = file->pending = file->settled = file->merged = file->alarmed = false;
	file->held = file->retried = false;
	file->unpaired = file->half_seen = file->suspect = file->doubted = false;
	file->unproven = false;
	file->own_ns = 0;
	file->state = NEW;
	file->denied = MERGE_ALLOWED;
	set_refusal(tally, file, NULL);
	file->sources = 0;
	file->identity = 0;
	file->false_alarms = 0;
	tally_after(tally, file);
}

void tally_forget_unless_wanted(struct tally *tally, struct file *file)
{
	if (file->live || file->backup)
		return;
	*place(tally, file->rel) = file->next;
	tally->files--;
	tdelete(file, &tally->index, by_rel);
	empty_file(file);
	blocks_put(&tally->blocks, file);
}

/* ---- one live file ---- */

/* Caller holds the mutex. */
static void set_live(struct tally *tally, struct file *file)
{
	if (file->live)
		return;
	tally_before(tally, file);
	file->live = file->pending = true;
	tally_after(tally, file);
}

int tally_live(struct tally *tally, const char *rel, bool scanned, bool *ret_settled)
{
	int r = -ENOMEM;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find_or_add(tally, rel);
	if (file) {
		set_live(tally, file);
		if (scanned)
			file->scan = tally->scan;
		*ret_settled = is_done(file);
		r = 0;
	}
	pthread_mutex_unlock(&tally->mutex);
	return r;
}

/* Caller holds the mutex. */
static bool is_own(struct file *file, bool closed)
{
	bool own = file->own_ns && io_now_ns() - file->own_ns < OWN_NS;

	if (closed || !own)
		file->own_ns = 0;
	return own;
}

/* One search: of all that is done for an update, that is the most. */
int tally_closed(struct tally *tally, const char *rel, bool *ret_look)
{
	int r = -ENOMEM;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find_or_add(tally, rel);
	if (file) {
		bool own = is_own(file, true);

		if (!own)
			set_live(tally, file);
		*ret_look = !own && !is_done(file);
		r = 0;
	}
	pthread_mutex_unlock(&tally->mutex);
	return r;
}

bool tally_has_live(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	const struct file *file = tally_find(tally, rel);
	bool has = file && file->live;
	pthread_mutex_unlock(&tally->mutex);
	return has;
}

void tally_gone(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find(tally, rel);
	if (file && file->live) {
		tally_drop_live(tally, file);
		tally_forget_unless_wanted(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
}

void tally_own(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find(tally, rel);
	if (file)
		file->own_ns = io_now_ns();
	pthread_mutex_unlock(&tally->mutex);
}

bool tally_is_own(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find(tally, rel);
	bool own = file && is_own(file, false);
	pthread_mutex_unlock(&tally->mutex);
	return own;
}

unsigned tally_written_to(struct tally *tally, const char *rel, bool heard)
{
	unsigned in_s = ALARM_FIRST_S;

	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find(tally, rel);
	if (file && file->false_alarms > FALSE_ALARMS_FREE) {
		in_s = (unsigned)ALARM_NEXT_S << (file->false_alarms - FALSE_ALARMS_FREE - 1);
		tally_before(tally, file);
		file->doubted = file->doubted || (heard && file->live);
		tally_after(tally, file);
	} else if (file && file->live && heard) {
		tally_before(tally, file);
		file->suspect = true;
		tally_after(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
	return in_s < ALARM_MAX_S ? in_s : ALARM_MAX_S;
}

/* Caller holds the mutex, and is between tally_before() and tally_after(). */
static void set_other(struct tally *tally, struct file *file)
{
	file->settled = false;
	file->pending = true;
	file->retried = false;
	drop_recalled(tally, file);
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
	struct file *file = tally_find(tally, rel);
	if (file && file->live) {
		bool done = is_done(file);
		bool other = file->identity != identity_of(now) ||
			     (rewritten && file->ctime_ns != now->ctime_ns);

		/* Nobody but us has written it since the last look: what came of that stands. */
		same = !other && (done || (rewritten && !file->pending));
		if (other || file->suspect || file->doubted) {
			tally_before(tally, file);
			file->suspect = file->doubted = false;
			tally_after(tally, file);
		}
		if (other) {
			tally_before(tally, file);
			set_other(tally, file);
			tally_after(tally, file);
			file->alarmed = rewritten;
		}
	}
	pthread_mutex_unlock(&tally->mutex);
	return same;
}

/* ---- what is done by the record ---- */

void tally_recalled(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find(tally, rel);
	if (file && file->live && !file->in_turn) {
		tally_before(tally, file);
		file->recalled = file->in_turn = true;
		TAILQ_INSERT_TAIL(&tally->recalled, file, turn);
		tally_after(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
}

bool tally_next_recalled(struct tally *tally, char *rel, size_t size)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = TAILQ_FIRST(&tally->recalled);
	if (file) {
		TAILQ_REMOVE(&tally->recalled, file, turn);
		file->in_turn = false;
		snprintf(rel, size, "%s", file->rel);
	}
	pthread_mutex_unlock(&tally->mutex);
	return file;
}

void tally_proved(struct tally *tally, const char *rel, bool same)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find(tally, rel);
	if (file && file->live) {
		tally_before(tally, file);
		if (same)
			drop_recalled(tally, file);
		else
			set_other(tally, file);
		tally_after(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
}

void tally_asked(struct tally *tally, const char *rel)
{
	pthread_mutex_lock(&tally->mutex);
	struct file *file = tally_find(tally, rel);
	if (file && file->live) {
		tally_before(tally, file);
		file->pending = true;           /* but settled: if its backup is away, that stands */
		file->retried = false;
		tally_after(tally, file);
	}
	pthread_mutex_unlock(&tally->mutex);
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
	struct file *file = tally_find(tally, rel);
	tally->cells += result->counts.cells;
	if (file && file->live) {
		/* A database that we were done with stays so while its backup is away; one that was
		 * undone, and is asked for again, was not done. */
		bool kept = file->settled && !file->held && result->source_missing &&
			    result->stamp.ino && file->identity == identity_of(&result->stamp);

		tally_before(tally, file);
		/* Nor is it merged any more. */
		if (file->held && result->outcome == MERGE_SKIPPED)
			file->merged = false;
		file->held = result->outcome == MERGE_HELD ||
			     (file->held && result->outcome >= MERGE_BUSY);
		file->state = state_after(file, result);
		/* What is not waited for any more has failed, until it comes about. */
		if (file->state == NEW && result->outcome == MERGE_BUSY && !will_retry)
			file->state = FAILED;
		file->merged = file->merged || file->state == MERGED;
		file->unproven = file->unproven || result->unproven;
		/* A refusal that is looked at again once in a while holds nothing up. */
		file->pending = file->retried = will_retry && result->outcome >= MERGE_BUSY;
		file->suspect = file->doubted = false;
		drop_recalled(tally, file);
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
		tally_after(tally, file);
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
		.retried = tally->retried,
		.refused = tally->refused,
		.unsaid = tally->unsaid_count,
		.paired = tally->paired,
		.unsettled = tally->unsettled,
		.undone = tally->undone,
		.half_seen = tally->half_seen,
		.unproven = tally->unproven,
		.waiting = tally->waiting,
		.forgotten = tally->forgotten,
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
	const struct file *file = tally_find(tally, rel);
	bool refused = file && file->why;
	if (refused)
		reason_set(why, "%s", file->why);
	pthread_mutex_unlock(&tally->mutex);
	return refused;
}
