/* Merging, counting and telling. */
#include "config.h"

#include "trial.h"

#include <errno.h>
#include <ftw.h>
#include <inttypes.h>
#include <math.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "specimen.h"

#define BATCH 500               /* cases; those for the daemon are given to it together */
#define MANY 250                /* cases in which every verdict that is needed must come up */
#define HOWS 64                 /* combinations of enum outage_how */
#define ARGS_MAX 8

/* What the environment can ask for. */
static const struct {
	const char *name;
	enum outage_how how;
} how_names[] = {
	{ "DAEMON", OUTAGE_DAEMON }, { "REBUILD", OUTAGE_REBUILD }, { "EXACT", OUTAGE_EXACT },
	{ "NOSPREAD", OUTAGE_NO_SPREAD }
};

static const struct trial_judge *judge;
static const char *rrdmerge_path = "./rrdmerge";
static char rrdmergd_path[OUTAGE_PATH_SIZE];
static char top[OUTAGE_PATH_SIZE / 2];
static bool details, spoil;
static unsigned show, shown;
static uint64_t cases, cells, failures, cases_failed, unnoticed, counts[TRIAL_VERDICTS];

static uint64_t from_environment(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);

	return text && *text ? strtoull(text, NULL, 0) : otherwise;
}

void trial_choose_how(struct outage *o, enum outage_how how, unsigned percent)
{
	uint64_t does = specimen_chance(percent);

	for (unsigned i = 0; i < sizeof(how_names) / sizeof(*how_names); i++)
		if (how_names[i].how == how)
			does = from_environment(how_names[i].name, does);
	if (does)
		o->how |= how;
}

/* ---- directories ---- */

/* Cases that the daemon merges alike have their trees together. */
static void directory_of(unsigned how, char *path, size_t size)
{
	snprintf(path, size, "%s/%u", top, how & OUTAGE_DAEMON ? how : 0);
}

static void name_files(struct outage *o)
{
	static const char *const trees[] = {
		"live", "newest", "older", "truth", "fresh", "merged"
	};
	char dir[OUTAGE_PATH_SIZE / 2 + 16];

	directory_of(o->how, dir, sizeof(dir));
	for (unsigned i = 0; i < OUTAGE_FILES; i++)
		snprintf(o->path[i], sizeof(o->path[i]), "%s/%s/%" PRIu64 ".rrd", dir, trees[i],
			 o->seed);
}

static void make_directory(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		oracle_die("%s: %s", path, strerror(errno));
}

static void make_directories(const struct outage *o)
{
	char path[OUTAGE_PATH_SIZE];

	directory_of(o->how, path, sizeof(path));
	make_directory(path);
	for (unsigned i = 0; i < OUTAGE_FILES; i++) {
		snprintf(path, sizeof(path), "%s", o->path[i]);
		*strrchr(path, '/') = '\0';
		make_directory(path);
	}
}

static int remove_one(const char *path, const struct stat *st, int kind, struct FTW *ftw)
{
	(void)st, (void)kind, (void)ftw;
	return remove(path);
}

static void remove_tree(const char *path)
{
	if (nftw(path, remove_one, 8, FTW_DEPTH | FTW_PHYS) < 0 && errno != ENOENT)
		oracle_die("%s: %s", path, strerror(errno));
}

/* ---- merging ---- */

static void show_output(const char *dir)
{
	static const char *const names[] = { "out", "err" };

	for (int i = 0; i < 2; i++) {
		char path[OUTAGE_PATH_SIZE];
		size_t size;
		uint8_t *bytes;

		snprintf(path, sizeof(path), "%s/%s", dir, names[i]);
		bytes = oracle_slurp(path, &size);
		fwrite(bytes, 1, size, stdout);
		free(bytes);
	}
}

static void fail(uint64_t seed, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void fail(uint64_t seed, const char *format, ...)
{
	va_list ap;

	failures++;
	printf("  seed %" PRIu64 ": ", seed);
	va_start(ap, format);
	vprintf(format, ap);
	va_end(ap);
	putchar('\n');
}

static void run_rrdmerge(const struct outage *o)
{
	const char *argv[ARGS_MAX] = { rrdmerge_path };
	struct oracle_summary summary;
	int n = 1;

	if (o->how & OUTAGE_REBUILD)
		argv[n++] = "--seam=rebuild";
	if (o->how & OUTAGE_NO_SPREAD)
		argv[n++] = "--no-spread";
	if (o->how & OUTAGE_EXACT)
		argv[n++] = "--exact";
	argv[n++] = o->path[OUTAGE_BACKUP];
	argv[n++] = o->path[OUTAGE_LIVE];
	summary = oracle_run(argv, top);
	/* refused, as there is nothing in common: the cells will tell */
	bool refused = summary.status == 1 && summary.failed == 1 && !summary.merged;
	if (!summary.understood || (summary.status != 0 && !refused))
		fail(o->seed, "rrdmerge ended with %d", summary.status);
	else if (!details)
		return;
	show_output(top);
}

/* Each run with a state of its own, so that the second does not rely on what the first one
 * remembers. */
static void write_configuration(const char *path, const char *dir, unsigned how, unsigned turn)
{
	const struct passwd *user = getpwuid(geteuid());
	FILE *file = fopen(path, "we");

	if (!file || !user)
		oracle_die("%s: %s", path, strerror(errno));
	fprintf(file, "live = \"%s/live\";\nbackup = [ ", dir);
	if (!(how & OUTAGE_OLDER))
		fprintf(file, "\"%s/newest\" ];\n", dir);
	else if (how & OUTAGE_OLDER_FIRST)
		fprintf(file, "\"%s/older\", \"%s/newest\" ];\n", dir, dir);
	else
		fprintf(file, "\"%s/newest\", \"%s/older\" ];\n", dir, dir);
	if (how & OUTAGE_REBUILD)
		fputs("seam = \"rebuild\";\n", file);
	if (how & OUTAGE_NO_SPREAD)
		fputs("spread = false;\n", file);
	fprintf(file, "workers = 2;\nuser = \"%s\";\nstate_dir = \"%s/state-%u\";\n"
		"socket = \"%s/socket-%u\";\n", user->pw_name, dir, turn, dir, turn);
	if (fclose(file))
		oracle_die("%s: %s", path, strerror(errno));
}

/* All cases that are merged so. */
static void run_daemon(unsigned how, unsigned turn)
{
	char dir[OUTAGE_PATH_SIZE / 2 + 16], path[OUTAGE_PATH_SIZE];
	const char *argv[] = { rrdmergd_path, "--once", "-e", "-f", path, NULL };
	struct oracle_summary summary;

	directory_of(how, dir, sizeof(dir));
	snprintf(path, sizeof(path), "%s/conf", dir);
	write_configuration(path, dir, how, turn);
	summary = oracle_run(argv, dir);
	if (summary.status != 0 && summary.status != 1) {
		fail(0, "rrdmergd ended with %d", summary.status);
		show_output(dir);
	} else if (details) {
		show_output(dir);
	}
}

/* ---- judging ---- */

/* Of the header, a merge may change CDP_val and CDP_unkn_pdp_cnt of RRAs of more than one PDP,
 * and nothing else. */
static void judge_header(const struct outage *o)
{
	const struct oracle *db = &o->merged;
	size_t preps_end = db->header_len - db->rra_cnt * sizeof(rra_ptr_t);
	size_t preps = preps_end - db->rra_cnt * db->ds_cnt * sizeof(cdp_prep_t);

	if (db->size != o->fresh.size || db->header_len != o->fresh.header_len) {
		fail(o->seed, "the size has changed");
		return;
	}
	for (size_t at = 0; at < db->header_len; at++) {
		size_t prep = at < preps || at >= preps_end ? SIZE_MAX
			: (at - preps) / sizeof(cdp_prep_t);

		if (db->bytes[at] == o->fresh.bytes[at])
			continue;
		if (prep != SIZE_MAX && (at - preps) % sizeof(cdp_prep_t) < 2 * sizeof(unival) &&
		    db->rra[prep / db->ds_cnt].pdp_cnt > 1 && !(o->how & OUTAGE_EXACT))
			continue;
		fail(o->seed, "the header has changed at %zu (cdp_prep begins at %zu)", at, preps);
		return;
	}
}

static void judge_again(const struct outage *o)
{
	size_t size;
	uint8_t *bytes = oracle_slurp(o->path[OUTAGE_MERGED], &size);

	if (size != o->merged.size || memcmp(bytes, o->merged.bytes, size))
		fail(o->seed, "a second merge has changed the file");
	free(bytes);
}

static const char *place(time_t t, const struct outage_cell *c)
{
	return t >= c->end ? "after" : t > c->start ? "in" : "before";
}

static void print_cell(const struct outage *o, const struct outage_cell *c, unsigned verdict)
{
	const struct outage_archive *rra = &o->new.rra[c->rra];
	const struct outage_source *ds = &o->ds[o->new.order[c->ds]];

	printf("  seed %" PRIu64 ": %s: RRA %" PRIu64 " (%s, %u PDPs, xff %g, %u rows) ds %s %s"
	       " (%jd, %jd]: is %.17g, truth %.17g, was %.17g; T1 %s T2 %s T3 %s it\n", o->seed,
	       judge->verdict[verdict], c->rra, c->cf, rra->pdp_cnt, rra->xff, rra->row_cnt,
	       ds->name, ds->type, (intmax_t)c->start, (intmax_t)c->end, c->is, c->must_be, c->was,
	       place(o->t1, c), place(o->t2, c), place(o->t3, c));
	if (judge->explain)
		judge->explain(o, c);
}

/* The greatest values, which say how much may be cancelled out. */
static void measure(struct outage *o, const struct oracle *db)
{
	for (uint64_t rra = 0; rra < db->rra_cnt; rra++)
		for (uint64_t i = 0; outage_consolidates(db->rra[rra].cf_nam) &&
		     i < db->rra[rra].row_cnt * db->ds_cnt; i++) {
			double v = fabs(oracle_value(db->bytes, db->offset[rra] +
						     i * sizeof(double)));

			if (isfinite(v) && v > o->scale[i % db->ds_cnt])
				o->scale[i % db->ds_cnt] = v;
		}
}

static void judge_cell(const struct outage *o, const struct outage_cell *c, unsigned verdict)
{
	if (verdict == TRIAL_SKIP)
		return;
	cells++;
	counts[verdict]++;
	failures += verdict >= judge->failures;
	if (verdict >= judge->failures && shown++ < show)
		print_cell(o, c, verdict);
}

void trial_cells(struct outage *o, const struct oracle *merged, const struct oracle *truth,
		 const struct oracle *before, time_t after,
		 unsigned (*verdict)(const struct outage *, const struct outage_cell *))
{
	measure(o, truth);
	for (uint64_t rra = 0; rra < merged->rra_cnt; rra++)
		for (uint64_t slot = 0; slot < merged->rra[rra].row_cnt; slot++)
			for (uint64_t ds = 0; ds < merged->ds_cnt; ds++) {
				struct outage_cell c = { .rra = rra, .ds = ds };

				c.cf = o->new.rra[rra].cf;
				c.end = oracle_time(merged, rra, slot);
				c.start = c.end - oracle_resolution(merged, rra);
				c.is = oracle_value(merged->bytes,
						    oracle_cell(merged, rra, slot, ds));
				c.must_be = outage_value(truth, rra, ds, c.end);
				c.was = outage_value(before, rra, ds, c.end);
				if (c.end > after)
					judge_cell(o, &c, verdict(o, &c));
			}
}

/* One cell of the merged file, in memory only, becomes another: one that was filled, if any. */
static void break_one(struct outage *o)
{
	uint64_t all = (o->merged.rows_end - o->merged.header_len) / sizeof(double);

	for (int i = 0; i < 10000; i++) {
		size_t at = o->merged.header_len + specimen_below(all) * sizeof(double);
		double value = oracle_value(o->merged.bytes, at);

		if (i < 9999 && (isnan(value) ||
				 outage_same(value, oracle_value(o->fresh.bytes, at))))
			continue;
		value = isnan(value) ? 1000 : value * 1.01 + 1;
		memcpy(o->merged.bytes + at, &value, sizeof(value));
		return;
	}
}

/* ---- cases ---- */

static void begin(struct outage *o, uint64_t seed)
{
	memset(o, 0, sizeof(*o));
	o->seed = seed;
	specimen_seed(seed);
	judge->choose(o);
	name_files(o);
}

static void end(struct outage *o)
{
	struct outage_stream *streams[] = { &o->before, &o->since, &o->further };

	for (unsigned i = 0; i < 3; i++) {
		free(streams[i]->time);
		free(streams[i]->text);
	}
}

static void make(struct outage *o)
{
	make_directories(o);
	srandom((unsigned)o->seed);
	judge->make(o);
}

static void tell(const struct outage *o)
{
	const struct outage_shape *shapes[] = { &o->old, &o->new };

	printf("seed %" PRIu64 ": how %u, check interval %jd, T0 %jd T1 %jd (%+jd in its step) T2"
	       " %jd (%+jd) T3 %jd; %zu, %zu, %zu updates, the older copy %zu\n", o->seed, o->how,
	       (intmax_t)o->interval, (intmax_t)o->t0, (intmax_t)o->t1,
	       (intmax_t)(o->t1 % o->old.step), (intmax_t)o->t2, (intmax_t)(o->t2 % o->new.step),
	       (intmax_t)o->t3, o->before.count, o->since.count, o->further.count, o->older_count);
	for (unsigned s = 0; details && s < 2; s++)
		for (unsigned i = 0; i < shapes[s]->rra_cnt; i++)
			printf("  %s: step %jd, %s of %u PDPs, %u rows, xff %g\n", s ? "live"
			       : "backup", (intmax_t)shapes[s]->step, shapes[s]->rra[i].cf,
			       shapes[s]->rra[i].pdp_cnt, shapes[s]->rra[i].row_cnt,
			       shapes[s]->rra[i].xff);
}

static void tell_how_to_repeat(const struct outage *o)
{
	printf("to repeat: ");
	for (unsigned i = 0; i < sizeof(how_names) / sizeof(*how_names); i++)
		if (getenv(how_names[i].name))
			printf("%s=%s ", how_names[i].name, getenv(how_names[i].name));
	printf("ONLY=%" PRIu64 " KEEP=1 tests/%s %s\n", o->seed, judge->name, rrdmerge_path);
}

static void judge_case(struct outage *o)
{
	uint64_t before = failures;

	shown = 0;
	if (details)
		tell(o);
	outage_read(o, &o->backup, OUTAGE_BACKUP);
	if (o->how & OUTAGE_OLDER)
		outage_read(o, &o->older, OUTAGE_OLDER_COPY);
	outage_read(o, &o->fresh, OUTAGE_FRESH);
	outage_read(o, &o->merged, OUTAGE_LIVE);
	judge_header(o);
	judge_again(o);
	if (spoil)
		break_one(o);
	judge->judge(o);
	oracle_free(&o->backup);
	if (o->how & OUTAGE_OLDER)
		oracle_free(&o->older);
	oracle_free(&o->fresh);
	oracle_free(&o->merged);
	cases++;
	unnoticed += failures == before;
	if (failures == before)
		return;
	cases_failed++;
	if (!details)
		tell(o);
	tell_how_to_repeat(o);
}

/* A case that rrdmerge merges, from beginning to end. */
static void try_alone(struct outage *o)
{
	make(o);
	run_rrdmerge(o);
	outage_copy(o, OUTAGE_LIVE, OUTAGE_MERGED);
	run_rrdmerge(o);
	judge_case(o);
	for (unsigned i = 0; i < OUTAGE_FILES && !(details && from_environment("KEEP", 0)); i++)
		unlink(o->path[i]);
}

/* The daemon leaves a backup alone that was changed within the last seconds, so its files are made
 * first of all. */
static void try_batch(const uint64_t *seeds, unsigned count)
{
	bool used[HOWS] = { false };
	struct outage o;

	for (unsigned pass = 0; pass < 4; pass++) {
		for (unsigned i = 0; i < count; i++) {
			begin(&o, seeds[i]);
			if (!(o.how & OUTAGE_DAEMON)) {
				if (pass == 1)
					try_alone(&o);
			} else if (pass == 0) {
				make(&o);
				used[o.how] = true;
			} else if (pass == 2) {
				outage_copy(&o, OUTAGE_LIVE, OUTAGE_MERGED);
			} else if (pass == 3) {
				judge_case(&o);
			}
			end(&o);
		}
		for (unsigned how = 0; how < HOWS; how++)
			if (used[how] && (pass == 1 || pass == 2))
				run_daemon(how, pass);
	}
	for (unsigned how = 0; how < HOWS && !from_environment("KEEP", 0); how++)
		if (used[how]) {
			char dir[OUTAGE_PATH_SIZE];

			directory_of(how, dir, sizeof(dir));
			remove_tree(dir);
		}
}

static void try_all(uint64_t seed, uint64_t wanted)
{
	uint64_t seeds[BATCH];

	printf("SEED=%" PRIu64 " CASES=%" PRIu64 "\n", seed, wanted);
	while (wanted) {
		unsigned count = 0;

		while (wanted && count < BATCH) {
			seeds[count++] = 1 + oracle_random(&seed) % 1000000000;
			wanted--;
		}
		try_batch(seeds, count);
	}
}

static void print_counts(void)
{
	printf("%" PRIu64 " cases, %" PRIu64 " cells\n", cases, cells);
	for (unsigned i = 0; i < judge->verdicts; i++) {
		if (i < judge->failures || counts[i])
			printf("  %12" PRIu64 "  %s\n", counts[i], judge->verdict[i]);
		if (i < judge->needed && !counts[i] && cases >= MANY)
			fail(0, "there was no \"%s\": nothing was judged", judge->verdict[i]);
	}
	if (spoil)
		printf("broken, and not noticed: %" PRIu64 " cases\n", unnoticed);
	printf("failures: %" PRIu64 " in %" PRIu64 " cases\n", failures, cases_failed);
}

int trial_main(int argc, char **argv, const struct trial_judge *whose)
{
	uint64_t only = from_environment("ONLY", 0);
	const char *tmp = getenv("TMPDIR");

	judge = whose;
	if (argc > 1)
		rrdmerge_path = argv[1];
	const char *name = strrchr(rrdmerge_path, '/');
	snprintf(rrdmergd_path, sizeof(rrdmergd_path), "%.*srrdmergd",
		 name ? (int)(name + 1 - rrdmerge_path) : 0, rrdmerge_path);
	if (argc > 2)
		snprintf(rrdmergd_path, sizeof(rrdmergd_path), "%s", argv[2]);
	details = only != 0;
	spoil = from_environment("BREAK", 0);
	show = (unsigned)from_environment("SHOW", details ? 1000 : 6);
	setvbuf(stdout, NULL, _IOLBF, 0);
	rrd_random();   /* seeds itself at the first call; from here on srandom() rules */
	snprintf(top, sizeof(top), "%s/%s-XXXXXX", tmp && *tmp ? tmp : "/tmp", judge->name);
	if (!mkdtemp(top))
		oracle_die("%s: %s", top, strerror(errno));
	if (only)
		try_batch(&only, 1);
	else
		try_all(from_environment("SEED", (uint64_t)time(NULL)),
			from_environment("CASES", 300));
	print_counts();
	if (from_environment("KEEP", 0))
		printf("kept: %s\n", top);
	else
		remove_tree(top);
	return failures ? 1 : 0;
}
