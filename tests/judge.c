/* judge: random pairs of live and backup files, merged by the built rrdmerge, and every byte of
 * the outcome held against what librrd's own reading of the two files says it must be.
 *
 *     judge [RRDMERGE]                         random pairs; SEED and CASES from the environment
 *     judge --pair BEFORE_LIVE BACKUP AFTER    judges one merge that is done already
 *     judge --forget LIKE FILE                 makes unknown all rows that end by LIKE's
 *                                              last_update
 *     judge --recovered ORIGINAL FILE          every cell that the original knows must be in FILE,
 *                                              and no other
 *
 * Exit: 0 all as it must be, 1 not so (the files of a failing case are kept), 2 the judge itself
 * could not go on. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"
#include "specimen.h"

#define BATCH 50                /* pairs in one tree */
#define FAILURES_MAX 10
#define PATH_SIZE 512

/* One live file with its backup, and what is known of both before the merge. */
struct pair {
	unsigned number;
	char live_path[PATH_SIZE], backup_path[PATH_SIZE];
	struct oracle live, backup;
	uint8_t *expected;
	struct oracle_outcome outcome;
	bool torn;              /* by our own hand: must be refused */
	bool alone;             /* has no backup: must be skipped */
};

static const char *rrdmerge_path = "./rrdmerge";
static char top[PATH_SIZE];             /* of all our files */
static uint64_t seed;
static unsigned failures, pairs_judged, pairs_refused, pairs_partial;
static uint64_t cells_filled, cells_judged;

static unsigned file_is_own_seed(unsigned number)
{
	return (unsigned)(seed * 2654435761u + number);
}

/* ---- pairs ---- */

static void dress(const char *path)
{
	static const mode_t modes[] = { 0644, 0600, 0664, 0640 };

	if (chmod(path, modes[specimen_below(4)]) < 0)
		oracle_die("%s: %s", path, strerror(errno));
	if (geteuid() == 0 && specimen_chance(20) && chown(path, 1, 1) < 0)
		oracle_die("%s: %s", path, strerror(errno));
}

/* One update a minute with a value that is always known and always another. */
static time_t count_up(const char *path, time_t last, unsigned n, unsigned value)
{
	for (unsigned i = 0; i < n; i++) {
		char text[64];
		const char *argv[] = { text };

		last += 60;
		snprintf(text, sizeof(text), "%jd:%u", (intmax_t)last, value + i * i);
		rrd_clear_error();
		if (rrd_update_r(path, NULL, 1, argv))
			oracle_die("%s: %s", path, rrd_get_error());
	}
	return last;
}

/* Puts the header of a later copy over the rows of an earlier one. */
static void tear(const struct pair *pair, time_t last)
{
	size_t size;
	uint8_t *early = oracle_slurp(pair->backup_path, &size);
	struct oracle late;

	count_up(pair->backup_path, last, 3, 700000);
	if (oracle_read(&late, pair->backup_path) < 0)
		oracle_die("cannot read back %s", pair->backup_path);
	memcpy(late.bytes + late.header_len, early + late.header_len, size - late.header_len);
	oracle_overwrite(pair->backup_path, late.bytes, size);
	oracle_free(&late);
	free(early);
}

/* A torn backup must be one whose tear can be seen: one GAUGE that is always known and never
 * twice the same. */
static void make_torn_pair(struct pair *pair)
{
	struct specimen file;
	time_t last;

	memset(&file, 0, sizeof(file));
	file.step = 60;
	file.start = 1600000000;
	file.ds_cnt = 1;
	file.ds[0] = (struct specimen_ds){ "1", "GAUGE", 86400, "U", "U", "", { -1, -1 } };
	file.rra_cnt = 1;
	snprintf(file.rra[0], sizeof(file.rra[0]), "RRA:%s:0.5:1:%u",
		 specimen_chance(50) ? "AVERAGE" : "MAX", 20 + (unsigned)specimen_below(50));
	specimen_create(pair->backup_path, &file);
	last = count_up(pair->backup_path, file.start, 50, 1000);
	tear(pair, last);
	file.start = last + 3600;
	specimen_create(pair->live_path, &file);
	count_up(pair->live_path, file.start, 10, 5000);
	pair->torn = true;
}

static void read_pair(struct pair *pair)
{
	uint64_t first;

	if (oracle_read(&pair->live, pair->live_path) < 0 ||
	    (!pair->alone && oracle_read(&pair->backup, pair->backup_path) < 0))
		oracle_die("seed %" PRIu64 " case %u: librrd cannot read its own file", seed,
			   pair->number);
	pair->expected = oracle_alloc(pair->live.size, 1);
	if (pair->alone || pair->torn) {
		memcpy(pair->expected, pair->live.bytes, pair->live.size);
		pair->outcome.refused = pair->torn;
	} else {
		pair->outcome = oracle_expect(&pair->live, &pair->backup, pair->expected);
		if (pair->outcome.refused)
			memcpy(pair->expected, pair->live.bytes, pair->live.size);
	}
	first = specimen_below(100);
	if (oracle_fetch_check(&pair->live, pair->live_path, first) < 0 ||
	    (!pair->alone && oracle_fetch_check(&pair->backup, pair->backup_path, first) < 0))
		oracle_die("seed %" PRIu64 " case %u: the judge reads rows otherwise than rrdtool",
			   seed, pair->number);
	/* reading takes a lock and leaves the times alone, but let the merge start from now */
	if (stat(pair->live_path, &pair->live.st) < 0)
		oracle_die("%s: %s", pair->live_path, strerror(errno));
}

static void make_pair(struct pair *pair)
{
	struct specimen live, backup;
	time_t last;

	srandom(file_is_own_seed(pair->number));
	if (specimen_chance(2)) {
		make_torn_pair(pair);
	} else {
		specimen_random_pair(&live, &backup);
		last = specimen_make(pair->backup_path, &backup);
		live.start = specimen_live_start(&backup, last, live.step);
		specimen_make(pair->live_path, &live);
		if (specimen_chance(2)) {
			pair->alone = true;
			unlink(pair->backup_path);
		}
	}
	dress(pair->live_path);
	read_pair(pair);
}

static void free_pair(struct pair *pair)
{
	oracle_free(&pair->live);
	oracle_free(&pair->backup);
	free(pair->expected);
	memset(pair, 0, sizeof(*pair));
}

/* ---- running rrdmerge ---- */

static struct oracle_summary run_on(const char *backup, const char *live, bool dry)
{
	const char *argv[8];
	unsigned n = 0;

	argv[n++] = rrdmerge_path;
	argv[n++] = "-j2";
	argv[n++] = "--exact";          /* what is made of other rows has judges of its own */
	if (dry)
		argv[n++] = "-n";
	argv[n++] = backup;
	argv[n++] = live;
	argv[n] = NULL;
	return oracle_run(argv, top);
}

/* ---- judging ---- */

static void keep(const struct pair *pair, const uint8_t *after, size_t size)
{
	char dir[PATH_SIZE], path[PATH_SIZE + 32];
	const char *tmp = getenv("TMPDIR");

	snprintf(dir, sizeof(dir), "%s/judge-failed-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(dir))
		oracle_die("%s: %s", dir, strerror(errno));
	snprintf(path, sizeof(path), "%s/before.rrd", dir);
	oracle_spill(path, pair->live.bytes, pair->live.size);
	snprintf(path, sizeof(path), "%s/after.rrd", dir);
	oracle_spill(path, after, size);
	snprintf(path, sizeof(path), "%s/expected.rrd", dir);
	oracle_spill(path, pair->expected, pair->live.size);
	if (!pair->alone) {
		snprintf(path, sizeof(path), "%s/backup.rrd", dir);
		oracle_spill(path, pair->backup.bytes, pair->backup.size);
	}
	printf("  its files are kept in %s\n", dir);
}

/* Everything about the file that a merge must leave alone besides bytes. */
static bool stat_differs(const struct stat *a, const struct stat *b, bool times)
{
	return a->st_ino != b->st_ino || a->st_mode != b->st_mode || a->st_uid != b->st_uid ||
	       a->st_gid != b->st_gid || a->st_size != b->st_size || a->st_nlink != b->st_nlink ||
	       (times && (a->st_mtim.tv_sec != b->st_mtim.tv_sec ||
			  a->st_mtim.tv_nsec != b->st_mtim.tv_nsec));
}

static bool backup_differs(const struct pair *pair)
{
	struct stat st;
	uint8_t *bytes;
	size_t size;
	bool differs;

	if (pair->alone)
		return false;
	if (stat(pair->backup_path, &st) < 0)
		return true;
	bytes = oracle_slurp(pair->backup_path, &size);
	differs = stat_differs(&pair->backup.st, &st, true) || size != pair->backup.size ||
		  memcmp(bytes, pair->backup.bytes, size);
	free(bytes);
	return differs;
}

/* Compares a pair's files as they are now with `want` (live->size bytes). */
static bool judge_pair(struct pair *pair, const uint8_t *want, const char *when)
{
	char label[96];
	struct stat st;
	size_t size;
	uint8_t *after = oracle_slurp(pair->live_path, &size);
	bool untouched = memcmp(want, pair->live.bytes, pair->live.size) == 0;
	bool bad;

	snprintf(label, sizeof(label), "seed %" PRIu64 " case %u %s", seed, pair->number, when);
	bad = oracle_compare(&pair->live, want, after, size, label, stdout) != 0;
	if (stat(pair->live_path, &st) < 0 || stat_differs(&pair->live.st, &st, untouched)) {
		printf("%s: inode, mode, owner, size or times of the live file differ\n", label);
		bad = true;
	}
	if (backup_differs(pair)) {
		printf("%s: the backup was touched\n", label);
		bad = true;
	}
	if (bad)
		keep(pair, after, size);
	free(after);
	return !bad;
}

struct tally {
	unsigned long merged, failed, skipped, empty, partial;
	unsigned long long cells;
};

static struct tally count(const struct pair *pair, unsigned n)
{
	struct tally t = { 0, 0, 0, 0, 0, 0 };

	for (unsigned i = 0; i < n; i++) {
		if (pair[i].alone)
			t.skipped++;
		else if (pair[i].outcome.refused)
			t.failed++;
		else if (pair[i].outcome.cells)
			t.merged++;
		else if (pair[i].outcome.ds_refused)
			t.empty++;
		t.partial += !pair[i].outcome.refused && pair[i].outcome.ds_refused;
		t.cells += pair[i].outcome.refused ? 0 : pair[i].outcome.cells;
	}
	return t;
}

/* Holds the summary against what must have come out.  A pair with a refused data source counts
 * as merged; where nothing else of it was filled, we do not say as what. */
static bool judge_summary(const struct oracle_summary *s, const struct pair *pair, unsigned n,
			  const char *when)
{
	struct tally t = count(pair, n);
	bool again = strcmp(when, "again") == 0;
	unsigned long low = again ? 0 : t.merged, high = again ? t.partial : t.merged + t.empty;
	int status = t.failed || t.partial ? 1 : 0;

	if (n == t.skipped)
		return true;    /* not one counterpart: an error of its own */
	if (s->understood && s->status == status && s->failed == t.failed &&
	    s->skipped == t.skipped && s->merged >= low && s->merged <= high &&
	    s->merged + s->unchanged + s->skipped + s->failed == n &&
	    s->cells == (again ? 0 : t.cells))
		return true;
	printf("seed %" PRIu64 " cases %u to %u %s: exit %d, %lu merged, %lu unchanged,"
	       " %lu skipped, %lu failed, %llu cells; must be: exit %d, %lu to %lu merged,"
	       " %lu skipped, %lu failed, %llu cells\n", seed, pair[0].number,
	       pair[n - 1].number, when,
	       s->status, s->merged, s->unchanged, s->skipped, s->failed, s->cells, status, low,
	       high, t.skipped, t.failed, again ? 0 : t.cells);
	return false;
}

static void fail(void)
{
	if (++failures < FAILURES_MAX)
		return;
	printf("%u failures: giving up; everything is left in %s\n", failures, top);
	exit(1);
}

static void say_stderr(void)
{
	char path[PATH_SIZE + 8], *text;
	size_t size;

	snprintf(path, sizeof(path), "%s/err", top);
	text = (char *)oracle_slurp(path, &size);
	printf("  stderr: %.*s\n", (int)(size < 1500 ? size : 1500), text);
	free(text);
}

/* Merges what stands in two places, dry first sometimes, then twice, and judges each time. */
static void judge_places(struct pair *pair, unsigned n, const char *backup, const char *live)
{
	struct oracle_summary s;
	bool ok;

	if (specimen_chance(30)) {
		s = run_on(backup, live, true);
		ok = judge_summary(&s, pair, n, "with -n");
		for (unsigned i = 0; i < n; i++)
			ok &= judge_pair(&pair[i], pair[i].live.bytes, "with -n");
		if (!ok)
			say_stderr(), fail();
	}
	s = run_on(backup, live, false);
	ok = judge_summary(&s, pair, n, "");
	if (!ok)
		say_stderr(), fail();
	for (unsigned i = 0; i < n; i++) {
		if (!judge_pair(&pair[i], pair[i].expected, "")) {
			fail();
			ok = false;
		}
		if (stat(pair[i].live_path, &pair[i].live.st) < 0)
			oracle_die("%s is gone", pair[i].live_path);
	}
	if (!ok)
		return;
	s = run_on(backup, live, false);
	ok = judge_summary(&s, pair, n, "again");
	for (unsigned i = 0; i < n; i++) {
		struct stat st;

		ok &= judge_pair(&pair[i], pair[i].expected, "again");
		if (stat(pair[i].live_path, &st) < 0 ||
		    stat_differs(&pair[i].live.st, &st, true)) {
			printf("seed %" PRIu64 " case %u: written to again\n", seed,
			       pair[i].number);
			ok = false;
		}
	}
	if (!ok)
		say_stderr(), fail();
}

static void add_up(const struct pair *pair)
{
	pairs_judged++;
	pairs_refused += pair->outcome.refused;
	pairs_partial += !pair->outcome.refused && pair->outcome.ds_refused;
	cells_filled += pair->outcome.refused ? 0 : pair->outcome.cells;
	cells_judged += (pair->live.rows_end - pair->live.header_len) / sizeof(double);
}

static void make_dir(const char *path)
{
	if (mkdir(path, 0755) < 0 && errno != EEXIST)
		oracle_die("%s: %s", path, strerror(errno));
}

static void remove_tree(const char *path)
{
	const char *argv[] = { "rm", "-rf", path, NULL };
	pid_t pid = fork();

	if (pid == 0) {
		execvp(argv[0], (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, NULL, 0) < 0)
		oracle_die("cannot remove %s", path);
}

/* One tree of `n` pairs, in a few directories; or, where n is 1, a pair of files. */
static void judge_batch(unsigned first, unsigned n, bool files)
{
	static struct pair pair[BATCH];
	char live[PATH_SIZE / 4], backup[PATH_SIZE / 4], dir[PATH_SIZE / 2];

	memset(pair, 0, sizeof(pair));
	snprintf(live, sizeof(live), "%.90s/live", top);
	snprintf(backup, sizeof(backup), "%.90s/backup", top);
	make_dir(live);
	make_dir(backup);
	for (unsigned i = 0; i < n; i++) {
		unsigned host = (first + i) % 7;

		pair[i].number = first + i;
		specimen_seed(seed * UINT64_C(0x5851F42D4C957F2D) + pair[i].number);
		snprintf(dir, sizeof(dir), "%s/host %u", live, host);
		make_dir(dir);
		snprintf(dir, sizeof(dir), "%s/host %u", backup, host);
		make_dir(dir);
		snprintf(pair[i].live_path, PATH_SIZE, "%s/host %u/%u.rrd", live, host, first + i);
		snprintf(pair[i].backup_path, PATH_SIZE, "%s/host %u/%u.rrd", backup, host,
			 first + i);
		make_pair(&pair[i]);
		add_up(&pair[i]);
	}
	if (files && !pair[0].alone)
		judge_places(pair, n, pair[0].backup_path, pair[0].live_path);
	else
		judge_places(pair, n, backup, live);
	for (unsigned i = 0; i < n; i++)
		free_pair(&pair[i]);
	remove_tree(live);
	remove_tree(backup);
}

/* ---- single files that chance would rarely make ---- */

static struct specimen plain_spec(time_t start, unsigned updates)
{
	struct specimen file;

	memset(&file, 0, sizeof(file));
	file.step = 60;
	file.start = start;
	file.updates = updates;
	file.ds_cnt = 2;
	file.ds[0] = (struct specimen_ds){ "1", "GAUGE", 86400, "U", "U", "", { -1, -1 } };
	file.ds[1] = (struct specimen_ds){ "2", "GAUGE", 86400, "U", "U", "", { -1, -1 } };
	file.rra_cnt = 3;
	strcpy(file.rra[0], "RRA:AVERAGE:0.5:1:300");
	strcpy(file.rra[1], "RRA:MAX:0.5:5:100");
	strcpy(file.rra[2], "RRA:LAST:0.5:5:100");
	return file;
}

static void set_version(const char *path, const char *version)
{
	size_t size;
	uint8_t *bytes = oracle_slurp(path, &size);

	memcpy(bytes + offsetof(stat_head_t, version), version, 5);
	oracle_overwrite(path, bytes, size);
	free(bytes);
}

enum edge {
	EDGE_OLD_1_1, EDGE_OLD_1_2, EDGE_OLD_2_3, EDGE_OLD_3_1, EDGE_LIVE_6, EDGE_BACKUP_6,
	EDGE_TORN, EDGE_SAME_TIME, EDGE_EMPTY_BACKUP, EDGE_EMPTY_LIVE, EDGE_COUNT
};

static void shape_edge(enum edge edge, struct pair *pair)
{
	static const char versions[][2] = { { '1', '1' }, { '1', '2' }, { '2', 0 }, { 0, '1' } };

	if (edge <= EDGE_OLD_3_1) {
		if (versions[edge][0])
			specimen_make_old(pair->live_path, versions[edge][0]);
		if (versions[edge][1])
			specimen_make_old(pair->backup_path, versions[edge][1]);
	}
}

/* Files of a version that is none are read while they are still 0003, and changed after. */
static void spoil_edge(enum edge edge, struct pair *pair)
{
	bool live = edge == EDGE_LIVE_6;
	const char *path = live ? pair->live_path : pair->backup_path;
	struct oracle *db = live ? &pair->live : &pair->backup;

	if (edge != EDGE_LIVE_6 && edge != EDGE_BACKUP_6)
		return;
	set_version(path, "0006");
	memcpy(db->bytes + offsetof(stat_head_t, version), "0006", 5);
	memcpy(pair->expected, pair->live.bytes, pair->live.size);
	pair->outcome = (struct oracle_outcome){ true, 0, 0 };
	if (stat(path, &db->st) < 0)
		oracle_die("%s: %s", path, strerror(errno));
}

static void judge_edge(enum edge edge)
{
	struct pair pair;
	struct specimen file = plain_spec(1600000000, edge == EDGE_EMPTY_BACKUP ? 0 : 200);
	time_t last;

	memset(&pair, 0, sizeof(pair));
	pair.number = 1000000 + (unsigned)edge;
	specimen_seed(seed + pair.number);
	srandom(file_is_own_seed(pair.number));
	snprintf(pair.live_path, PATH_SIZE, "%.400s/live.rrd", top);
	snprintf(pair.backup_path, PATH_SIZE, "%.400s/backup.rrd", top);
	if (edge == EDGE_TORN) {
		make_torn_pair(&pair);
	} else {
		specimen_create(pair.backup_path, &file);
		last = specimen_update(pair.backup_path, &file);
		file.start = edge == EDGE_SAME_TIME ? file.start : last + 1000;
		file.updates = edge == EDGE_EMPTY_LIVE ? 0 : 30;
		specimen_create(pair.live_path, &file);
		specimen_update(pair.live_path, &file);
	}
	shape_edge(edge, &pair);
	read_pair(&pair);
	spoil_edge(edge, &pair);
	add_up(&pair);
	judge_places(&pair, 1, pair.backup_path, pair.live_path);
	free_pair(&pair);
}

/* ---- */

static int judge_done(const char *before_path, const char *backup_path, const char *after_path)
{
	struct oracle before, backup;
	struct oracle_outcome outcome;
	uint8_t *expected, *after;
	size_t size;
	uint64_t differ;

	if (oracle_read(&before, before_path) < 0 || oracle_read(&backup, backup_path) < 0)
		return 2;
	if (oracle_fetch_check(&before, before_path, 0) < 0 ||
	    oracle_fetch_check(&backup, backup_path, 0) < 0)
		return 2;
	expected = oracle_alloc(before.size, 1);
	outcome = oracle_expect(&before, &backup, expected);
	if (outcome.refused)
		memcpy(expected, before.bytes, before.size);
	after = oracle_slurp(after_path, &size);
	differ = oracle_compare(&before, expected, after, size, after_path, stdout);
	printf("%" PRIu64 " cells to fill, %u data sources to refuse%s: %s\n", outcome.cells,
	       outcome.ds_refused, outcome.refused ? ", nothing in common" : "",
	       differ ? "NOT as it must be" : "as it must be");
	free(expected);
	free(after);
	oracle_free(&before);
	oracle_free(&backup);
	return differ ? 1 : 0;
}

/* A server that began anew when the file `like` ended. */
static int forget(const char *like_path, const char *path)
{
	struct oracle like, db;
	double unknown = NAN;

	if (oracle_read(&like, like_path) < 0 || oracle_read(&db, path) < 0)
		return 2;
	for (uint64_t rra = 0; rra < db.rra_cnt; rra++)
		for (uint64_t slot = 0; slot < db.rra[rra].row_cnt; slot++)
			for (uint64_t ds = 0; ds < db.ds_cnt; ds++)
				if (oracle_time(&db, rra, slot) <= like.last_up)
					memcpy(db.bytes + oracle_cell(&db, rra, slot, ds), &unknown,
					       sizeof(unknown));
	oracle_overwrite(path, db.bytes, db.size);
	oracle_free(&like);
	oracle_free(&db);
	return 0;
}

static int recovered(const char *original_path, const char *path)
{
	struct oracle original;
	size_t size;
	uint8_t *bytes = oracle_slurp(path, &size);
	uint64_t wrong = 0, lost = 0, known = 0;

	if (oracle_read(&original, original_path) < 0 || size != original.size)
		return 2;
	for (size_t at = original.header_len; at < original.rows_end; at += sizeof(double)) {
		double was = oracle_value(original.bytes, at), is = oracle_value(bytes, at);

		if (!isnan(was))
			known++;
		if (!isnan(was) && isnan(is))
			lost++;
		if (!isnan(is) && memcmp(original.bytes + at, bytes + at, sizeof(is)))
			wrong++;
	}
	if (memcmp(original.bytes, bytes, original.header_len))
		wrong++;
	printf("%s: of %" PRIu64 " known cells %" PRIu64 " are unknown now, %" PRIu64
	       " are others\n", path, known, lost, wrong);
	free(bytes);
	oracle_free(&original);
	return wrong || lost ? 1 : 0;
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	uint64_t n;

	if (!text || !*text)
		return otherwise;
	n = strtoull(text, &end, 10);
	if (*end)
		oracle_die("%s=%s is no number", name, text);
	return n;
}

static void find_rrdmerge(int argc, char **argv)
{
	const char *env = getenv("RRDMERGE");

	if (env && *env)
		rrdmerge_path = env;
	if (argc > 1)
		rrdmerge_path = argv[1];
	if (access(rrdmerge_path, X_OK) < 0)
		oracle_die("%s: %s (give its path, or set RRDMERGE)", rrdmerge_path,
			   strerror(errno));
}

int main(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR");
	unsigned cases, at = 0;

	if (argc == 5 && strcmp(argv[1], "--pair") == 0)
		return judge_done(argv[2], argv[3], argv[4]);
	if (argc == 4 && strcmp(argv[1], "--forget") == 0)
		return forget(argv[2], argv[3]);
	if (argc == 4 && strcmp(argv[1], "--recovered") == 0)
		return recovered(argv[2], argv[3]);
	find_rrdmerge(argc, argv);
	seed = number_of("SEED", (uint64_t)time(NULL) * 1000 + (uint64_t)getpid() % 1000);
	cases = (unsigned)number_of("CASES", 250);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("SEED=%" PRIu64 " CASES=%u\n", seed, cases);
	snprintf(top, sizeof(top), "%.80s/judge-XXXXXX", tmp ? tmp : "/tmp");
	if (!mkdtemp(top))
		oracle_die("%s: %s", top, strerror(errno));
	rrd_random();   /* seeds itself at the first call; from here on srandom() rules */
	for (int edge = 0; edge < EDGE_COUNT; edge++)
		judge_edge((enum edge)edge);
	while (at < cases) {
		/* the same pair for the same number, whatever the number of cases */
		unsigned n = at % 60 < BATCH ? BATCH - at % 60 : 1;

		if (n > cases - at)
			n = cases - at;
		judge_batch(at, n, n == 1);
		at += n;
	}
	remove_tree(top);
	printf("%u pairs judged (%u to refuse, %u in part), %" PRIu64 " cells, %" PRIu64
	       " of them filled: %s\n", pairs_judged, pairs_refused, pairs_partial, cells_judged,
	       cells_filled, failures ? "NOT all as it must be" : "all as it must be");
	return failures ? 1 : 0;
}
