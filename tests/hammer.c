/* hammer: updates without a pause while rrdmerge merges the same files again and again; not one
 * update may fail, and not one value may be lost.
 *
 *     hammer [--seconds S] [--updates N] [--files K] [--dir DIR] [--rrdcached ADDRESS] RRDMERGE
 *     hammer --control [--seconds S] [--files K] [--dir DIR]
 *
 * Each file has a twin that sees the same updates and no merge.  Backups grow: before each merge
 * they know a little more, so that each merge has something to write.  At the end of a round the
 * file must be, byte for byte, what one merge of the whole backup makes of the twin.
 *
 * --control shows what the test would see of a merger that takes a plain lock and no lease.
 *
 * Exit: 0 good, 1 a sample was lost, 2 the test could not go on, 77 no leases to be had here. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#include <rrd_client.h>        /* needs rrd.h before it */

#define FILES_MAX 16
#define PATH_SIZE 512
#define STEP 60
#define ROUND_S 2.0             /* seconds of hammering between two judgements */
#define HISTORY (40 * 86400)    /* seconds of backup before the live file's creation */
#define FUTURE 90000            /* the old server ran on for so long beside the new one */
#define ROUND_UPDATES 60000     /* of one file at most: the finest ring holds 172,800 s */
#define FLUSH_EVERY 60          /* updates, with rrdcached */
#define AT_ONCE 60              /* updates in one call when the twin catches up */

/* Shared by the updater with its parent. */
struct count {
	volatile int stop;
	volatile uint64_t updates, failed, slowest_ns;
	char error[256];        /* the first one's */
};

struct file {
	char live[PATH_SIZE], twin[PATH_SIZE], backup[PATH_SIZE];
	struct oracle whole;    /* the backup when it knows all */
	uint8_t *known;         /* what it knows now: its bytes */
	time_t start;
};

static struct {
	const char *rrdmerge, *rrdcached;
	double seconds;
	uint64_t updates;
	unsigned files;
	bool control;
	char top[PATH_SIZE - 64];
} opt = { .seconds = 10, .updates = UINT64_MAX, .files = 4 };

static struct file file[FILES_MAX];
static struct count *count;
static uint64_t seed, state;

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static uint64_t below(uint64_t n)
{
	return oracle_random(&state) % n;
}

/* ---- the files of a round ---- */

/* pnp4nagios' own shape: 768,224 bytes. */
static void create(const char *path, time_t start)
{
	static const char *const argv[] = {
		"DS:1:GAUGE:8460:U:U", "DS:2:GAUGE:8460:U:U",
		"RRA:AVERAGE:0.5:1:2880", "RRA:AVERAGE:0.5:5:2880",
		"RRA:AVERAGE:0.5:30:4320", "RRA:AVERAGE:0.5:360:5840",
		"RRA:MAX:0.5:1:2880", "RRA:MAX:0.5:5:2880",
		"RRA:MAX:0.5:30:4320", "RRA:MAX:0.5:360:5840",
		"RRA:MIN:0.5:1:2880", "RRA:MIN:0.5:5:2880",
		"RRA:MIN:0.5:30:4320", "RRA:MIN:0.5:360:5840"
	};

	oracle_create(path, STEP, start, argv, sizeof(argv) / sizeof(argv[0]));
}

/* New names each round: rrdcached remembers the old ones. */
static void make_file(struct file *f, unsigned i, uint64_t round)
{
	char text[64];
	const char *argv[] = { text };

	snprintf(f->live, sizeof(f->live), "%s/live/%u-%u.rrd", opt.top, i,
		 (unsigned)round);
	snprintf(f->backup, sizeof(f->backup), "%s/backup/%u-%u.rrd", opt.top, i,
		 (unsigned)round);
	snprintf(f->twin, sizeof(f->twin), "%s/twin/%u-%u.rrd", opt.top, i,
		 (unsigned)round);
	f->start = 1600000000 + (time_t)below(100000000);
	create(f->backup, f->start - HISTORY);
	snprintf(text, sizeof(text), "%jd:1:1", (intmax_t)(f->start + FUTURE));
	if (rrd_update_r(f->backup, NULL, 1, argv))
		oracle_die("%s: %s", f->backup, rrd_get_error());
	if (oracle_read(&f->whole, f->backup) < 0)
		exit(2);
	f->known = oracle_alloc(f->whole.size, 1);
	memcpy(f->known, f->whole.bytes, f->whole.size);
	oracle_fill(&f->whole, &state);
	create(f->live, f->start);
	oracle_copy(f->live, f->twin);
}

static void drop_file(struct file *f)
{
	unlink(f->live);
	unlink(f->twin);
	unlink(f->backup);
	oracle_free(&f->whole);
	free(f->known);
}

/* The backup learns a few more cells: a stretch of rows, or many single ones. */
static void learn(struct file *f)
{
	const struct oracle *db = &f->whole;
	size_t rows = db->rows_end - db->header_len;

	if (below(2)) {
		size_t size = below(below(4) ? 20000 : rows / 3) / 8 * 8 + 8;
		size_t at = db->header_len + below(rows - size) / 8 * 8;

		memcpy(f->known + at, db->bytes + at, size);
	} else {
		for (uint64_t n = below(800); n > 0; n--) {
			size_t at = db->header_len + below(rows / 8) * 8;

			memcpy(f->known + at, db->bytes + at, sizeof(double));
		}
	}
	oracle_overwrite(f->backup, f->known, db->size);
}

/* ---- the updater ---- */

/* The updates of one file: the same whenever they are asked for in the same order. */
struct stream {
	uint64_t state;
	time_t time;
	uint64_t count;
};

static struct stream stream_begin(unsigned i, uint64_t round)
{
	return (struct stream){ seed * 131 + round * 1009 + i, file[i].start, 0 };
}

static void stream_next(struct stream *s, char *text, size_t size)
{
	uint64_t r = oracle_random(&s->state);

	s->time += 1;
	if (r % 20000 == 0)
		s->time += 9000;        /* a gap longer than the heartbeat */
	s->count++;
	snprintf(text, size, "%jd:%" PRIu64 ".%u:%u", (intmax_t)s->time, s->count % 1000,
		 (unsigned)(r >> 20) % 1000, (unsigned)(r >> 32) % 100000);
}

static int update(const char *path, const char *text, uint64_t number)
{
	const char *argv[] = { text };
	int rc;

	rrd_clear_error();
	if (!opt.rrdcached)
		return rrd_update_r(path, NULL, 1, argv);
	rc = rrdc_update(path, 1, argv);
	if (rc == 0 && number % FLUSH_EVERY == 0)
		rc = rrdc_flush(path);
	return rc;
}

static void note(int rc, double took)
{
	uint64_t ns = (uint64_t)(took * 1e9);

	count->updates++;
	if (ns > count->slowest_ns)
		count->slowest_ns = ns;
	if (rc == 0)
		return;
	if (count->failed++ == 0)
		snprintf(count->error, sizeof(count->error), "%s",
			 rrd_test_error() ? rrd_get_error() : "no reason given");
}

/* The twin gets what was accepted. */
static void catch_up(unsigned i, uint64_t round, const uint8_t *accepted, uint64_t n)
{
	struct stream s = stream_begin(i, round);
	char text[AT_ONCE][96];
	const char *argv[AT_ONCE];
	int argc = 0;

	for (uint64_t k = 0; k < n; k++) {
		stream_next(&s, text[argc], sizeof(text[0]));
		if (accepted[k]) {
			argv[argc] = text[argc];
			argc++;
		}
		if (argc == AT_ONCE || (k + 1 == n && argc)) {
			rrd_clear_error();
			if (rrd_update_r(file[i].twin, NULL, argc, argv))
				oracle_die("%s: %s", file[i].twin, rrd_get_error());
			argc = 0;
		}
	}
}

static void run_updater(uint64_t round, uint64_t budget)
{
	struct stream s[FILES_MAX];
	uint8_t *accepted[FILES_MAX];
	uint64_t done = 0, size = 1 << 16, n = 0;

	for (unsigned i = 0; i < opt.files; i++) {
		s[i] = stream_begin(i, round);
		accepted[i] = oracle_alloc(size, 1);
	}
	if (opt.rrdcached && rrdc_connect(opt.rrdcached))
		oracle_die("rrdcached: %s", rrd_get_error());
	for (; !count->stop && done < budget; n++) {
		if (n == size) {
			size *= 2;
			for (unsigned i = 0; i < opt.files; i++)
				if (!(accepted[i] = realloc(accepted[i], size)))
					oracle_die("out of memory");
		}
		for (unsigned i = 0; i < opt.files; i++, done++) {
			char text[96];
			double begun = now();
			int rc;

			stream_next(&s[i], text, sizeof(text));
			rc = update(file[i].live, text, n);
			note(rc, now() - begun);
			accepted[i][n] = rc == 0;
		}
	}
	for (unsigned i = 0; opt.rrdcached && i < opt.files; i++)
		if (rrdc_flush(file[i].live))
			oracle_die("FLUSH %s: %s", file[i].live, rrd_get_error());
	for (unsigned i = 0; i < opt.files; i++)
		catch_up(i, round, accepted[i], n);
}

static pid_t start_updater(uint64_t round, uint64_t budget)
{
	pid_t pid;

	count->stop = 0;
	fflush(NULL);
	pid = fork();
	if (pid < 0)
		oracle_die("fork: %s", strerror(errno));
	if (pid == 0) {
		run_updater(round, budget);
		fflush(NULL);
		_exit(0);
	}
	return pid;
}

static bool has_ended(pid_t pid)
{
	siginfo_t info = { .si_pid = 0 };

	return waitid(P_PID, (id_t)pid, &info, WEXITED | WNOHANG | WNOWAIT) < 0 || info.si_pid;
}

static void stop_updater(pid_t pid)
{
	int status;

	count->stop = 1;
	if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status) || WEXITSTATUS(status))
		oracle_die("the updater broke down");
}

/* ---- a round with rrdmerge ---- */

static struct {
	uint64_t runs, files, cells;
} total;

static bool merge(bool all)
{
	char backup[PATH_SIZE], live[PATH_SIZE];
	const char *argv[] = { opt.rrdmerge, "-j2", "--exact", backup, live, NULL };
	struct oracle_summary s;

	for (unsigned i = 0; i < opt.files; i++) {
		if (all)
			oracle_overwrite(file[i].backup, file[i].whole.bytes, file[i].whole.size);
		else
			learn(&file[i]);
	}
	snprintf(backup, sizeof(backup), "%s/backup", opt.top);
	snprintf(live, sizeof(live), "%s/live", opt.top);
	s = oracle_run(argv, opt.top);
	total.runs++;
	total.files += s.merged;
	total.cells += s.cells;
	if (s.understood && s.status == 0 && s.failed == 0)
		return true;
	printf("rrdmerge: exit %d, %lu merged, %lu failed; see %s/err\n", s.status, s.merged,
	       s.failed, opt.top);
	return false;
}

static bool judge(const struct file *f)
{
	struct oracle twin, backup;
	uint8_t *expected, *after;
	size_t size;
	bool good;

	if (oracle_read(&twin, f->twin) < 0 || oracle_read(&backup, f->backup) < 0)
		exit(2);
	expected = oracle_alloc(twin.size, 1);
	oracle_expect(&twin, &backup, expected);
	after = oracle_slurp(f->live, &size);
	good = oracle_compare(&twin, expected, after, size, f->live, stdout) == 0;
	free(expected);
	free(after);
	oracle_free(&twin);
	oracle_free(&backup);
	return good;
}

static bool run_round(uint64_t round, double seconds, uint64_t budget)
{
	double end;
	bool good = true;
	pid_t pid;

	for (unsigned i = 0; i < opt.files; i++)
		make_file(&file[i], i, round);
	pid = start_updater(round, budget);
	end = now() + seconds;
	while (good && now() < end && !has_ended(pid))
		good = merge(false);
	stop_updater(pid);
	good = good && merge(true);
	for (unsigned i = 0; i < opt.files; i++) {
		good = good && judge(&file[i]);
		if (good)
			drop_file(&file[i]);
	}
	return good;
}

static int hammer(void)
{
	double end = now() + opt.seconds;
	bool good = true;

	for (uint64_t round = 0; good && count->updates < opt.updates; round++) {
		double left = end - now();
		uint64_t budget = opt.updates - count->updates;

		if (round && left < ROUND_S / 2)
			break;
		if (budget > (uint64_t)ROUND_UPDATES * opt.files)
			budget = (uint64_t)ROUND_UPDATES * opt.files;
		good = run_round(round, left < ROUND_S ? left : ROUND_S, budget);
	}
	printf("rrdmerge: %" PRIu64 " updates%s, %" PRIu64 " failed, slowest %.1f ms; %" PRIu64
	       " merges of %u files wrote %" PRIu64 " files, %" PRIu64 " cells\n",
	       count->updates, opt.rrdcached ? " through rrdcached" : "", count->failed,
	       (double)count->slowest_ns / 1e6, total.runs, opt.files, total.files, total.cells);
	if (count->failed)
		printf("the first failed update said: %s\n", count->error);
	if (good && total.files == 0) {
		printf("not one merge wrote anything: nothing was tested\n");
		good = false;
	}
	return good && count->failed == 0 ? 0 : 1;
}

/* ---- the control: a plain lock ---- */

static void write_under_plain_lock(const char *path, uint8_t *buffer)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
	int fd = open(path, O_RDWR | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		oracle_die("%s: %s", path, strerror(errno));
	if (fcntl(fd, F_SETLK, &lock) == 0) {
		n = pread(fd, buffer, 400000, 4096);
		if (n > 0 && pwrite(fd, buffer, (size_t)n, 4096) != n)
			oracle_die("%s: cannot write", path);
	}
	close(fd);
}

static int control(void)
{
	uint8_t *buffer = oracle_alloc(400000, 1);
	double end = now() + opt.seconds;
	uint64_t writes = 0;
	pid_t pid;

	for (unsigned i = 0; i < opt.files; i++)
		make_file(&file[i], i, 0);
	pid = start_updater(0, opt.updates);
	while (now() < end)
		write_under_plain_lock(file[writes++ % opt.files].live, buffer);
	stop_updater(pid);
	printf("a plain lock: %" PRIu64 " updates, %" PRIu64 " failed, slowest %.1f ms; %" PRIu64
	       " writes of 400 kB\n", count->updates, count->failed,
	       (double)count->slowest_ns / 1e6, writes);
	if (count->failed)
		printf("the first failed update said: %s\n", count->error);
	free(buffer);
	return 0;
}

/* ---- */

static void parse(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR"), *dir = tmp ? tmp : "/tmp";
	const char *env = getenv("SEED");

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";

		if (strcmp(arg, "--control") == 0)
			opt.control = true;
		else if (strncmp(arg, "--", 2))
			opt.rrdmerge = arg;
		else if (strcmp(arg, "--seconds") == 0)
			opt.seconds = atof(value), i++;
		else if (strcmp(arg, "--updates") == 0)
			opt.updates = strtoull(value, NULL, 10), i++;
		else if (strcmp(arg, "--files") == 0)
			opt.files = (unsigned)strtoul(value, NULL, 10), i++;
		else if (strcmp(arg, "--dir") == 0)
			dir = value, i++;
		else if (strcmp(arg, "--rrdcached") == 0)
			opt.rrdcached = value, i++;
		else
			oracle_die("unknown option %s", arg);
	}
	if ((!opt.rrdmerge && !opt.control) || opt.files < 1 || opt.files > FILES_MAX)
		oracle_die("usage: hammer [--seconds S] [--updates N] [--files K] [--dir DIR]"
			   " [--rrdcached ADDRESS] RRDMERGE | hammer --control ...");
	seed = env && *env ? strtoull(env, NULL, 10) : (uint64_t)time(NULL);
	state = seed;
	snprintf(opt.top, sizeof(opt.top), "%.200s/hammer-XXXXXX", dir);
	if (!mkdtemp(opt.top))
		oracle_die("%s: %s", opt.top, strerror(errno));
}

static void remove_top(void)
{
	char text[PATH_SIZE + 16];

	snprintf(text, sizeof(text), "rm -rf '%s'", opt.top);
	if (system(text))
		oracle_die("cannot remove %s", opt.top);
}

static void prepare(void)
{
	static const char *const names[] = { "live", "backup", "twin" };
	char path[PATH_SIZE];
	int fd;

	for (unsigned i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/%s", opt.top, names[i]);
		if (mkdir(path, 0755) < 0)
			oracle_die("%s: %s", path, strerror(errno));
	}
	snprintf(path, sizeof(path), "%s/out", opt.top);
	oracle_spill(path, "", 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		printf("no write lease to be had beneath %s: %s\n", opt.top, strerror(errno));
		remove_top();
		exit(77);
	}
	close(fd);
	count = mmap(NULL, sizeof(*count), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		     -1, 0);
	if (count == MAP_FAILED)
		oracle_die("mmap: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	int rc;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	printf("SEED=%" PRIu64 "\n", seed);
	prepare();
	rc = opt.control ? control() : hammer();
	if (rc)
		printf("the files are left in %s\n", opt.top);
	else
		remove_top();
	return rc;
}
