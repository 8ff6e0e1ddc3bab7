/* crashed: is a file that a crash has left a database that holds a part of the merge?
 *
 *     crashed [--runs | --undo] BEFORE RESULT NOW [BEFORE RESULT NOW]…
 *
 * BEFORE is the file before the merge, RESULT the one that an undisturbed merge makes, NOW what is
 * there.  NOW must be a database to librrd, in its size and structure as BEFORE; each cell and each
 * value of an open row as in BEFORE or as in RESULT; nothing else may be changed, in RESULT either.
 *
 * --runs: what is recorded is on standard input, lines as ledgersay writes them, with NOW's own
 * path.  Whatever NOW has of RESULT and not of BEFORE must lie in a run or an open row of it, and
 * what lies in one of a merge that is done must be as in RESULT.
 *
 * --undo: the same of an undo, of which BEFORE is how it began; and nothing of a merge that is said
 * to be done and to stand may be as in RESULT.
 *
 * Prints how many words differ from BEFORE and how many of the merge are missing.
 * Exit: 0 all hold, 1 not so (said), 2 the test could not go on. */
#include "config.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "oracle.h"

#define WORD sizeof(uint64_t)
#define SHOWN 5

/* As ledgersay writes them. */
struct run {
	char *path;
	bool open, done;
	bool stands;            /* of a merge that is done, and not undone, nor in part */
	uint64_t rra, ds, step, count;
	int64_t first;
};

static struct run *runs;
static size_t run_count;
static struct run *mine;        /* those of the file that is judged */
static size_t mine_count;
static unsigned wrong;
static const char *kind = "merge";      /* of which what is done is looked for */

#define SAY(...) \
	do { \
		if (wrong++ < SHOWN) \
			printf(__VA_ARGS__); \
	} while (0)

/* merge ID STAGE WHAT CELLS PATH; cell RRA DS STEP FIRST COUNT PATH; open RRA DS PATH. */
static void read_runs(void)
{
	char line[8192], path[4096];
	bool done = false, stands = false;

	while (fgets(line, sizeof(line), stdin)) {
		struct run run = { .done = done, .stands = stands };
		char stage[32], what[32];

		if (sscanf(line, "merge %*s %31s %31s", stage, what) == 2) {
			done = !strcmp(stage, "done") && !strcmp(what, kind);
			stands = !strcmp(stage, "done") && !strcmp(what, "merge");
			continue;
		}

		if (sscanf(line, "cell %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNd64 " %" SCNu64
			   " %4095[^\n]", &run.rra, &run.ds, &run.step, &run.first, &run.count,
			   path) != 6) {
			run.open = true;
			if (sscanf(line, "open %" SCNu64 " %" SCNu64 " %4095[^\n]", &run.rra,
				   &run.ds, path) != 3)
				continue;
		}
		run.path = strdup(path);
		runs = reallocarray(runs, run_count + 1, sizeof(*runs));
		if (!runs || !run.path)
			oracle_die("out of memory");
		runs[run_count++] = run;
	}
}

/* The path that a ledger has is beneath its root. */
static bool is_of(const struct run *run, const char *path)
{
	size_t n = strlen(path), m = strlen(run->path);

	return n >= m && !strcmp(path + n - m, run->path) && (n == m || path[n - m - 1] == '/');
}

static void choose_runs(const char *path)
{
	mine = reallocarray(mine, run_count + 1, sizeof(*mine));
	if (!mine)
		oracle_die("out of memory");
	mine_count = 0;
	for (size_t i = 0; i < run_count; i++)
		if (is_of(&runs[i], path))
			mine[mine_count++] = runs[i];
}

enum record { NOT, RECORDED, DONE };

/* *ret_stands: it is in a merge that stands. */
static enum record recorded(bool open, uint64_t rra, uint64_t ds, int64_t time, bool *ret_stands)
{
	enum record found = NOT;

	for (size_t i = 0; i < mine_count; i++) {
		const struct run *run = &mine[i];

		if (run->open != open || run->rra != rra || run->ds != ds)
			continue;
		if (!open && (time < run->first ||
			      time > run->first + (int64_t)((run->count - 1) * run->step) ||
			      (uint64_t)(time - run->first) % run->step))
			continue;
		*ret_stands |= run->stands;
		if (found != DONE)
			found = run->done ? DONE : RECORDED;
	}
	return found;
}

static uint64_t word(const uint8_t *bytes, size_t at)
{
	uint64_t value;

	memcpy(&value, bytes + at, WORD);
	return value;
}

/* Where CDP_val of an open row stands; its count of unknown PDPs is the word behind it. */
static size_t scratch_at(const struct oracle *db, uint64_t rra, uint64_t ds)
{
	return sizeof(stat_head_t) + db->ds_cnt * sizeof(ds_def_t) +
		db->rra_cnt * sizeof(rra_def_t) + sizeof(live_head_t) +
		db->ds_cnt * sizeof(pdp_prep_t) +
		(rra * db->ds_cnt + ds) * sizeof(cdp_prep_t);
}

struct sums {
	uint64_t changed, missing;
};

/* What a merge may write: a cell, or the two words of an open row, to which `time` means nothing. */
struct place {
	const char *path;
	bool open;
	uint64_t rra, ds;
	int64_t time;
	size_t at, words;
};

static void judge_place(const struct oracle *before, const struct oracle *result,
			const struct oracle *now, const struct place *p, bool runs_too,
			struct sums *sums)
{
	uint64_t changed = 0, missing = 0;

	for (size_t at = p->at; at < p->at + p->words * WORD; at += WORD) {
		uint64_t old = word(before->bytes, at), new = word(result->bytes, at),
			 is = word(now->bytes, at);

		if (is != old && is != new)
			SAY("%s: byte %zu is neither as it was nor as it is to be\n", p->path, at);
		changed += is != old;
		missing += is != new;
	}
	sums->changed += changed;
	sums->missing += missing;
	if (!runs_too || (!changed && !missing))
		return;
	bool stands = false;
	enum record record = recorded(p->open, p->rra, p->ds, p->time, &stands);
	if (changed && stands && !strcmp(kind, "undo"))
		SAY("%s: %s of RRA %" PRIu64 ", DS %" PRIu64 ", %" PRId64 ", is taken back, and its"
		    " merge said to stand\n", p->path, p->open ? "open row" : "cell", p->rra, p->ds,
		    p->time);
	if (changed && record == NOT)
		SAY("%s: %s of RRA %" PRIu64 ", DS %" PRIu64 ", %" PRId64 ", is on no record\n",
		    p->path, p->open ? "open row" : "cell", p->rra, p->ds, p->time);
	if (missing && record == DONE)
		SAY("%s: %s of RRA %" PRIu64 ", DS %" PRIu64 ", %" PRId64 ", is called done and is"
		    " not there\n", p->path, p->open ? "open row" : "cell", p->rra, p->ds, p->time);
}

static void judge_rra(const struct oracle *before, const struct oracle *result,
		      const struct oracle *now, uint64_t rra, const char *path, bool runs_too,
		      struct sums *sums)
{
	struct place p = { .path = path, .rra = rra };

	for (p.ds = 0; p.ds < now->ds_cnt; p.ds++) {
		p.open = true;
		p.words = 2;
		p.at = scratch_at(now, rra, p.ds);
		judge_place(before, result, now, &p, runs_too, sums);
		p.open = false;
		p.words = 1;
		for (uint64_t slot = 0; slot < now->rra[rra].row_cnt; slot++) {
			p.at = oracle_cell(now, rra, slot, p.ds);
			p.time = oracle_time(now, rra, slot);
			judge_place(before, result, now, &p, runs_too, sums);
		}
	}
}

/* Everything else is as it was. */
static void judge_rest(const struct oracle *before, const struct oracle *now, const char *path)
{
	uint8_t *masked = oracle_alloc(now->size, 1);

	memcpy(masked, now->bytes, now->size);
	for (uint64_t rra = 0; rra < now->rra_cnt; rra++)
		for (uint64_t ds = 0; ds < now->ds_cnt; ds++) {
			size_t at = scratch_at(now, rra, ds);

			memcpy(masked + at, before->bytes + at, 2 * WORD);
		}
	memcpy(masked + now->header_len, before->bytes + now->header_len,
	       now->rows_end - now->header_len);
	if (memcmp(masked, before->bytes, now->size))
		SAY("%s: something else than cells and open rows has changed\n", path);
	free(masked);
}

static void judge_valid(const char *path)
{
	rrd_info_t *info;

	rrd_clear_error();
	info = rrd_info_r(path);
	if (!info)
		SAY("%s: %s\n", path, rrd_get_error());
	rrd_info_free(info);
}

static struct sums judge(const char *const path[3], bool runs_too)
{
	struct oracle db[3];
	struct sums sums = { 0, 0 };

	for (int i = 0; i < 2; i++)
		if (oracle_read(&db[i], path[i]) < 0)
			exit(2);
	judge_valid(path[2]);
	if (oracle_read(&db[2], path[2]) < 0)
		exit(1);
	if (db[0].size != db[1].size || db[0].size != db[2].size ||
	    db[0].header_len != db[2].header_len) {
		SAY("%s: has another size or structure\n", path[2]);
		return sums;
	}
	choose_runs(path[2]);
	judge_rest(&db[0], &db[1], path[1]);
	judge_rest(&db[0], &db[2], path[2]);
	for (uint64_t rra = 0; rra < db[2].rra_cnt; rra++)
		judge_rra(&db[0], &db[1], &db[2], rra, path[2], runs_too, &sums);
	for (int i = 0; i < 3; i++)
		oracle_free(&db[i]);
	return sums;
}

int main(int argc, char **argv)
{
	struct sums all = { 0, 0 };
	bool undo = argc > 1 && !strcmp(argv[1], "--undo"),
	     runs_too = undo || (argc > 1 && !strcmp(argv[1], "--runs"));
	int first = runs_too ? 2 : 1;

	if (argc <= first || (argc - first) % 3)
		oracle_die("usage: crashed [--runs] BEFORE RESULT NOW …");
	if (undo)
		kind = "undo";
	if (runs_too)
		read_runs();
	for (int i = first; i < argc; i += 3) {
		const char *const path[3] = { argv[i], argv[i + 1], argv[i + 2] };
		struct sums sums = judge(path, runs_too);

		all.changed += sums.changed;
		all.missing += sums.missing;
	}
	printf("%" PRIu64 " changed, %" PRIu64 " missing\n", all.changed, all.missing);
	return wrong ? 1 : 0;
}
