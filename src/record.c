#include "config.h"
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "series.h"

#define DISKS 16                /* filesystems of live trees at once; more are synced too */

void record_free(struct record *record)
{
	free(record->run);
	free(record->old);
	free(record->open);
	free(record->source);
	*record = (struct record){ 0 };
}

/* ---- identity ---- */

static uint64_t mix(uint64_t hash, const void *bytes, size_t size)
{
	const uint8_t *byte = bytes;

	for (size_t i = 0; i < size; i++)
		hash = (hash ^ byte[i]) * UINT64_C(1099511628211);      /* FNV-1a */
	return hash;
}

uint64_t record_identity(const struct layout_header *head)
{
	uint64_t hash = mix(UINT64_C(14695981039346656037), &head->step, sizeof(head->step));

	for (uint64_t ds = 0; ds < head->ds_cnt; ds++) {
		const char *name = head->ds[ds].name;

		for (size_t i = 0; i < LAYOUT_NAME_SIZE && name[i]; i++)
			hash = mix(hash, &name[i], 1);
		hash = mix(hash, &head->ds[ds].type, sizeof(head->ds[ds].type));
	}
	for (uint64_t rra = 0; rra < head->rra_cnt; rra++) {
		const struct layout_rra *def = &head->rra[rra];

		hash = mix(hash, &def->cf, sizeof(def->cf));
		hash = mix(hash, &def->pdp_cnt, sizeof(def->pdp_cnt));
		hash = mix(hash, &def->row_cnt, sizeof(def->row_cnt));
	}
	return hash;
}

/* ---- sources ---- */

void record_begin(struct record *record)
{
	record->sources = 0;
}

int record_source(struct record *record, const struct source *source, const char *rel,
		  const struct io_stamp *stamp)
{
	if (record->sources == record->source_capacity) {
		unsigned capacity = record->source_capacity ? record->source_capacity * 2 : 4;
		struct ledger_source *grown = reallocarray(record->source, capacity,
							   sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		record->source = grown;
		record->source_capacity = capacity;
	}
	record->source[record->sources++] = (struct ledger_source){
		.root = source->path,
		.rel = rel,
		.size = stamp->size,
		.mtime_ns = stamp->mtime_ns,
		.ctime_ns = stamp->ctime_ns,
	};
	return 0;
}

uint64_t record_digest(const struct record *record, const char *rel)
{
	return ledger_digest(rel, record->source, record->sources);
}

/* ---- what is intended ---- */

/* A run falls into two more with each row that gives way, at most. */
static int reserve(struct record *record, const struct plan *plan, size_t given)
{
	size_t runs = plan->runs + 2 * given;

	if (runs > record->run_capacity) {
		struct ledger_run *grown = reallocarray(record->run, runs, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		record->run = grown;
		record->run_capacity = runs;
	}
	if (given > record->old_capacity) {
		double *grown = reallocarray(record->old, given, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		record->old = grown;
		record->old_capacity = given;
	}
	if (plan->counts.opens > record->open_capacity) {
		struct ledger_open_row *grown = reallocarray(record->open, plan->counts.opens,
							     sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		record->open = grown;
		record->open_capacity = plan->counts.opens;
	}
	return 0;
}

/* Some of its cells, as they are in the image. */
static void take_samples(const struct rrd *live, struct ledger_run *run)
{
	struct series rows = series_of(live, run->rra, run->ds);

	run->samples = (uint8_t)(run->count < LEDGER_SAMPLES ? run->count : LEDGER_SAMPLES);
	for (unsigned k = 0; k < run->samples; k++) {
		uint64_t cell = ledger_sampled(run->count, k);

		run->sample[k] = ledger_sample(
			series_at(&rows, run->first + (int64_t)(cell * run->step)));
	}
}

/* One run, in pieces where a part of it has replaced spread values. */
static void put_run(struct record *record, const struct rrd *live, const struct give *give,
		    const struct ledger_run *run, size_t *runs, size_t *olds)
{
	struct ledger_run piece = *run;

	for (uint64_t left = run->count; left > 0; left -= piece.count) {
		const struct give_cell *cell = NULL;

		piece.count = give && !run->old
			? give_alike(give, run->rra, run->ds, piece.first, run->step, left, &cell)
			: left;
		piece.old = cell ? record->old + *olds : run->old;
		for (uint64_t i = 0; cell && i < piece.count; i++)
			record->old[(*olds)++] = cell[i].value;
		/* What an undo gives back is on record already. */
		if (give)
			take_samples(live, &piece);
		record->run[(*runs)++] = piece;
		piece.first += (int64_t)(piece.count * run->step);
	}
}

static enum ledger_kind kind_of(enum plan_kind kind)
{
	switch (kind) {
	case PLAN_SEAM:
		return LEDGER_SEAM;
	case PLAN_CONSOLIDATED:
		return LEDGER_CONSOLIDATED;
	case PLAN_SPREAD:
		return LEDGER_SPREAD;
	default:
		return LEDGER_EXACT;
	}
}

int record_intent(struct record *record, const char *rel, const struct rrd *live,
		  uint64_t file_id, const struct plan *plan, const struct give *give,
		  struct ledger_intent *ret)
{
	const struct layout_header *head = &live->head;
	size_t runs = 0, olds = 0;

	if (reserve(record, plan, give ? give->cells : 0))
		return -ENOMEM;
	for (size_t i = 0; i < plan->runs; i++) {
		const struct plan_run *run = &plan->run[i];

		const struct ledger_run all = {
			.rra = run->rra,
			.ds = run->ds,
			.source = run->source < record->sources ? run->source : 0,
			.step = (uint32_t)layout_resolution(head, run->rra),
			.kind = kind_of(run->kind),
			.first = run->first,
			.count = run->count,
			.old = isnan(run->old) ? NULL : &run->old,
		};

		put_run(record, live, give, &all, &runs, &olds);
	}
	for (size_t i = 0; i < plan->counts.opens; i++) {
		const struct plan_open *open = &plan->open[i];

		record->open[i] = (struct ledger_open_row){
			.rra = open->rra,
			.ds = open->ds,
			.old_val = layout_cdp_double(head, live->bytes, open->rra, open->ds, CDP_VAL),
			.new_val = open->value,
			.old_unkn = layout_cdp_count(head, live->bytes, open->rra, open->ds,
						     CDP_UNKN_PDP_CNT),
			.new_unkn = open->unknown,
		};
	}
	*ret = (struct ledger_intent){
		.rel = rel,
		.dev = live->stamp.dev,
		.ino = file_id,
		.identity = record_identity(head),
		.last_up = head->last_up,
		.source = record->source,
		.sources = record->sources,
		.run = record->run,
		.runs = runs,
		.open = record->open,
		.opens = plan->counts.opens,
	};
	return 0;
}

/* ---- is it still what was written? ---- */

/* Does a run still hold what was recorded?  True too where that cannot be told: *ret_known is not
 * counted up then. */
static bool is_held(struct rrd *live, const struct ledger_check *check, size_t *ret_known)
{
	const struct ledger_run *run = &check->run;
	unsigned good = 0, wrong = 0;

	if (run->rra >= live->head.rra_cnt || run->ds >= live->head.ds_cnt ||
	    layout_resolution(&live->head, run->rra) != run->step)
		return true;
	struct series rows = series_of(live, run->rra, run->ds);
	for (unsigned k = 0; k < check->samples; k++) {
		if (!series_reaches(&rows, check->at[k].time))
			continue;
		double value = series_at(&rows, check->at[k].time);
		uint8_t sample = ledger_sample(value);

		if (isnan(value))       /* not written yet, or taken back before */
			continue;
		if (sample == check->at[k].sample)
			good++;
		else if (!memchr(check->at[k].before, sample, check->at[k].befores))
			wrong++;        /* nor what was there before, and was put back */
	}
	*ret_known += good >= wrong && good > 0;
	return good >= wrong;
}

int record_heed(struct ledger_undo *undo, struct rrd *live, struct reason *why)
{
	size_t known = 0, others = 0;

	if (live->head.last_up < undo->newest_up) {
		reason_set(why, "cannot be undone: it is older than it was when it was merged, and so"
			   " another database");
		return REFUSED;
	}
	for (size_t i = 0; i < undo->checks; i++) {
		undo->check[i].others = !is_held(live, &undo->check[i], &known);
		others += undo->check[i].others;
	}
	if (!others)
		return 0;
	if (!known) {
		reason_set(why, "cannot be undone: it holds other values than were put there, and so"
			   " another database was written over it");
		return REFUSED;
	}
	reason_set(why, "%zu runs of rows stay: they hold other values than were put there", others);
	return ledger_undo_leave(undo);
}

enum record_word record_word(const struct ledger_undo *merged, struct rrd *live)
{
	enum record_word word = RECORD_MUTE;

	if (live->head.last_up < merged->newest_up)
		return RECORD_DIFFERS;
	for (size_t i = 0; i < merged->checks; i++) {
		const struct ledger_check *check = &merged->check[i];
		const struct ledger_run *run = &check->run;

		if (run->rra >= live->head.rra_cnt || run->ds >= live->head.ds_cnt ||
		    layout_resolution(&live->head, run->rra) != run->step)
			return RECORD_DIFFERS;
		struct series rows = series_of(live, run->rra, run->ds);
		for (unsigned k = 0; k < check->samples; k++) {
			if (!series_reaches(&rows, check->at[k].time))
				continue;
			double value = series_at(&rows, check->at[k].time);

			if (isnan(value) || ledger_sample(value) != check->at[k].sample)
				return RECORD_DIFFERS;
			word = RECORD_AGREES;
		}
	}
	return word;
}

/* Has a merge found that value in the cell? */
static bool was_before(const struct ledger_cells *before, const struct ledger_run *cell, int64_t time,
		       double value)
{
	for (size_t i = 0; i < before->runs; i++) {
		const struct ledger_run *run = &before->run[i];

		if (run->rra == cell->rra && run->ds == cell->ds && run->step == cell->step &&
		    time >= run->first &&
		    time < run->first + (int64_t)(run->count * run->step) &&
		    !memcmp(&run->old[(time - run->first) / run->step], &value, sizeof(value)))
			return true;
	}
	return false;
}

/* False where a cell may have been written. */
static bool is_untouched(const struct ledger_begun *begun, const struct ledger_run *run,
			 struct rrd *live, size_t *ret_seen)
{
	if (run->rra >= live->head.rra_cnt || run->ds >= live->head.ds_cnt ||
	    layout_resolution(&live->head, run->rra) != run->step)
		return false;
	struct series rows = series_of(live, run->rra, run->ds);
	for (uint64_t n = 0; n < run->count; n++) {
		int64_t time = run->first + (int64_t)(n * run->step);

		if (!series_reaches(&rows, time))
			continue;
		double value = series_at(&rows, time);
		if (isnan(value) || was_before(&begun->before, run, time, value))
			return false;
		++*ret_seen;
	}
	return true;
}

static bool is_open_untouched(const struct ledger_begun *begun, const struct ledger_open_row *row,
			      struct rrd *live)
{
	if (live->head.last_up != begun->last_up || row->rra >= live->head.rra_cnt ||
	    row->ds >= live->head.ds_cnt)
		return false;
	double value = layout_cdp_double(&live->head, live->bytes, row->rra, row->ds, CDP_VAL);
	return !memcmp(&value, &row->old_val, sizeof(value)) &&
	       row->old_unkn == layout_cdp_count(&live->head, live->bytes, row->rra, row->ds,
						 CDP_UNKN_PDP_CNT);
}

bool record_never_begun(const struct ledger_begun *begun, struct rrd *live)
{
	size_t seen = 0;

	for (size_t i = 0; i < begun->cells.opens; i++, seen++)
		if (!is_open_untouched(begun, &begun->cells.open[i], live))
			return false;
	for (size_t i = 0; i < begun->cells.runs; i++)
		if (!is_untouched(begun, &begun->cells.run[i], live, &seen))
			return false;
	return seen > 0;
}

struct ledger_state record_state(enum ledger_verdict verdict, bool settled,
				 const struct io_stamp *stamp, uint64_t file_id,
				 uint64_t identity, uint64_t digest, uint64_t cells)
{
	return (struct ledger_state){
		.verdict = (uint8_t)verdict,
		.settled = settled,
		.dev = stamp->dev,
		.ino = file_id,
		.identity = identity,
		.size = stamp->size,
		.mtime_ns = stamp->mtime_ns,
		.ctime_ns = stamp->ctime_ns,
		.sources = digest,
		.cells = cells,
	};
}

/* The directory of the file, or where that was: what is on disk there, its data are too. */
static int open_beside(const char *path)
{
	char *dir = strdup(path), *slash;
	int fd = -ENOMEM;

	while (dir && (slash = strrchr(dir, '/'))) {
		slash[slash == dir] = '\0';
		fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		if (fd >= 0 || errno != ENOENT || slash == dir)
			break;
		*slash = '\0';
	}
	if (fd < 0 && dir)
		fd = -errno;
	free(dir);
	return fd;
}

/* A filesystem's error in writing back is told once to each descriptor that was open when it
 * happened; to one that was opened after somebody else has heard of it, never (Linux lib/errseq.c).
 * So one is held of each filesystem from before the first write to after the sync. */
static struct {
	pthread_mutex_t mutex;
	struct disk {
		dev_t dev;
		int fd;
	} disk[DISKS];
	unsigned disks;
	unsigned syncing;               /* threads that use them */
	uint64_t writes;                /* that were announced */
	uint64_t used_ns;
} held = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* Caller holds the mutex.  -1: none. */
static int find_held(dev_t dev)
{
	for (unsigned n = 0; n < held.disks; n++)
		if (held.disk[n].dev == dev)
			return held.disk[n].fd;
	return -1;
}

void record_before(const char *path, dev_t dev)
{
	pthread_mutex_lock(&held.mutex);
	held.writes++;
	held.used_ns = io_now_ns();
	if (find_held(dev) < 0 && held.disks < DISKS) {
		int fd = open_beside(path);
		struct stat st;

		if (fd >= 0 && !fstat(fd, &st) && st.st_dev == dev)
			held.disk[held.disks++] = (struct disk){ dev, fd };
		else if (fd >= 0)
			close(fd);
	}
	pthread_mutex_unlock(&held.mutex);
}

/* Caller holds the mutex. */
static void let_go(void)
{
	while (!held.syncing && held.disks > 0)
		close(held.disk[--held.disks].fd);
}

void record_rest(uint64_t idle_ns)
{
	pthread_mutex_lock(&held.mutex);
	if (io_now_ns() - held.used_ns >= idle_ns)
		let_go();
	pthread_mutex_unlock(&held.mutex);
}

static int sync_disk(dev_t dev, int fresh)
{
	pthread_mutex_lock(&held.mutex);
	int fd = find_held(dev);
	held.syncing++;
	pthread_mutex_unlock(&held.mutex);
	int error = syncfs(fd < 0 ? fresh : fd) ? -errno : 0;
	pthread_mutex_lock(&held.mutex);
	held.syncing--;
	held.used_ns = io_now_ns();
	pthread_mutex_unlock(&held.mutex);
	return error;
}

/* One call for all that is on one filesystem; what goes wrong with it is so for all of them. */
void record_sync(struct ledger_synced *file, size_t files, void *arg)
{
	bool any = false;
	dev_t synced = 0;
	int error = 0;

	(void)arg;
	pthread_mutex_lock(&held.mutex);
	uint64_t writes = held.writes;
	pthread_mutex_unlock(&held.mutex);
	for (size_t i = 0; i < files; i++) {
		int fd = open_beside(file[i].rel);
		struct stat st;

		if (fd < 0 || fstat(fd, &st)) {
			file[i].error = fd < 0 ? fd : -errno;
			if (fd >= 0)
				close(fd);
			continue;
		}
		if (!any || st.st_dev != synced)
			error = sync_disk(st.st_dev, fd);
		any = true;
		synced = st.st_dev;
		close(fd);
		file[i].error = error;
	}
	/* Nothing was written since: nothing is held open, and the tree can be unmounted. */
	pthread_mutex_lock(&held.mutex);
	if (held.writes == writes)
		let_go();
	pthread_mutex_unlock(&held.mutex);
}
