/* survive: a tree that is updated all the while, for a daemon that is killed while it merges it.
 *
 *     survive make DIR FILES
 *         DIR/backup and DIR/pristine: FILES databases each, whose old server died within a row
 *         and whose new one began within another
 *     survive update DIR FILES
 *         updates all files of DIR/live until SIGTERM, and begins one anew now and then; each has a
 *         twin in DIR/twin that is given the same.  What DIR/live begins with is a copy of
 *         DIR/pristine, what DIR/twin begins with one of DIR/merged: merged by nobody who was
 *         disturbed
 *     survive compare DIR FILES
 *         each live file must be as its twin: known and unknown alike, values to 1e-9 of their size
 *
 * An update that is refused is a failure.  SEED repeats a run (but for what the clock decides).
 * Exit: 0 good, 1 not so, 2 the test could not go on, 77 no leases to be had here. */
#include "config.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <math.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#define PATH_SIZE 600
#define HOSTS 20
#define STEP 60
#define CREATED 1700000000      /* the earliest live file */
#define PAUSE_NS 150000         /* between two updates */
#define ANEW 60                 /* one of so many updates is a new file instead */
#define SHOWN 10

static const char *top;
static unsigned files;
static uint64_t state;
static volatile sig_atomic_t stop;

static uint64_t below(uint64_t n)
{
	return oracle_random(&state) % n;
}

static const char *path_of(const char *tree, unsigned i)
{
	static char path[4][PATH_SIZE];
	static unsigned next;
	char *p = path[next++ % 4];

	snprintf(p, PATH_SIZE, "%s/%s/h%u/%u.rrd", top, tree, i % HOSTS, i);
	return p;
}

/* What each file was created at depends on its number alone. */
static time_t created(unsigned i)
{
	uint64_t own = i + 1;

	return CREATED + (time_t)(oracle_random(&own) % 7200);
}

/* ---- make ---- */

static void create(const char *path, time_t start)
{
	static const char *const argv[] = {
		"DS:1:GAUGE:600:U:U", "DS:2:DERIVE:600:U:U",
		"RRA:AVERAGE:0.5:1:1500", "RRA:AVERAGE:0.5:5:500", "RRA:AVERAGE:0.5:30:200",
		"RRA:MAX:0.5:1:600", "RRA:MAX:0.5:5:500", "RRA:MIN:0.2:30:200",
		"RRA:LAST:0.5:5:300"
	};

	oracle_create(path, STEP, start, argv, sizeof(argv) / sizeof(argv[0]));
}

static int update(const char *path, time_t time, uint64_t a, uint64_t b)
{
	char text[96];
	const char *argv[] = { text };

	snprintf(text, sizeof(text), "%jd:%" PRIu64 ".%02u:%" PRIu64, (intmax_t)time, a,
		 (unsigned)(b % 100), b);
	rrd_clear_error();
	return rrd_update_r(path, NULL, 1, argv);
}

/* Without leases an update may meet a lock, and is refused. */
static void need_leases(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		printf("SKIP: no write lease to be had on %s: %s\n", path, strerror(errno));
		exit(77);
	}
	close(fd);
}

static void make(void)
{
	for (unsigned i = 0; i < files; i++) {
		time_t start = created(i), ended = start - 60 - (time_t)below(3600),
		       t = ended - 26 * 3600;
		uint64_t sum = 0;

		create(path_of("backup", i), t);
		while (t < ended) {
			t += 20 + (time_t)below(100);
			t = t < ended ? t : ended;
			sum += below(100000);
			if (update(path_of("backup", i), t, below(1000), sum))
				oracle_die("%s: %s", path_of("backup", i), rrd_get_error());
		}
		create(path_of("pristine", i), start);
		if (i == 0)
			need_leases(path_of("pristine", i));
	}
}

/* ---- update ---- */

static void on_term(int number)
{
	(void)number;
	stop = 1;
}

struct stream {
	time_t time;
	uint64_t sum;
};

static void put(const char *from, const char *to)
{
	char tmp[PATH_SIZE + 16];
	size_t size;
	uint8_t *bytes = oracle_slurp(from, &size);

	/* As rrdtool's create does it. */
	snprintf(tmp, sizeof(tmp), "%sXXXXXX", to);
	oracle_spill(tmp, bytes, size);
	if (rename(tmp, to))
		oracle_die("%s: %s", to, strerror(errno));
	free(bytes);
}

static void anew(struct stream *s, unsigned i)
{
	put(path_of("pristine", i), path_of("live", i));
	put(path_of("merged", i), path_of("twin", i));
	*s = (struct stream){ created(i), 0 };
}

static int run(void)
{
	struct stream *stream = oracle_alloc(files, sizeof(*stream));
	struct timespec pause = { 0, PAUSE_NS };
	uint64_t updates = 0, fresh = 0, refused = 0;

	signal(SIGTERM, on_term);
	for (unsigned i = 0; i < files; i++)
		stream[i].time = created(i);
	while (!stop) {
		unsigned i = (unsigned)below(files);
		struct stream *s = &stream[i];
		uint64_t value = below(1000);

		if (below(ANEW) == 0) {
			anew(s, i);
			fresh++;
			continue;
		}
		/* A gap longer than the heartbeat, now and then. */
		s->time += below(50) ? 1 + (time_t)below(200) : 1000;
		s->sum += below(100000);
		updates++;
		if (update(path_of("live", i), s->time, value, s->sum)) {
			if (refused++ < SHOWN)
				printf("%s: %s\n", path_of("live", i), rrd_get_error());
			continue;
		}
		if (update(path_of("twin", i), s->time, value, s->sum))
			oracle_die("%s: %s", path_of("twin", i), rrd_get_error());
		nanosleep(&pause, NULL);
	}
	printf("%" PRIu64 " updates, %" PRIu64 " refused, %" PRIu64 " files begun anew\n", updates,
	       refused, fresh);
	free(stream);
	return refused ? 1 : 0;
}

/* ---- compare ---- */

static bool is_close(double a, double b)
{
	if (isnan(a) || isnan(b))
		return isnan(a) && isnan(b);
	return fabs(a - b) <= 1e-9 * fmax(fabs(a), fabs(b));
}

struct sums {
	uint64_t known, history, inexact, wrong;
};

static void compare_cells(const struct oracle *live, const struct oracle *twin, unsigned i,
			  struct sums *sums)
{
	for (uint64_t rra = 0; rra < live->rra_cnt; rra++)
		for (uint64_t slot = 0; slot < live->rra[rra].row_cnt; slot++)
			for (uint64_t ds = 0; ds < live->ds_cnt; ds++) {
				size_t at = oracle_cell(live, rra, slot, ds);
				double is = oracle_value(live->bytes, at),
				       want = oracle_value(twin->bytes, at);
				int64_t time = oracle_time(live, rra, slot);

				sums->known += isnan(is) ? 0 : 1;
				sums->history += !isnan(is) && time <= created(i) ? 1 : 0;
				sums->inexact += !isnan(is) && is != want ? 1 : 0;
				if (!is_close(is, want) && sums->wrong++ < SHOWN)
					printf("%s: RRA %" PRIu64 ", DS %" PRIu64 " at %" PRId64
					       " (%+" PRId64 " from its creation) is %.17g and not"
					       " %.17g\n", path_of("live", i), rra, ds, time,
					       time - (int64_t)created(i), is, want);
			}
}

/* What an RRA's last row was when it was finished: a merge that came later has changed the row, and
 * leaves this as it was.  Nothing is made from it. */
static bool is_last_row(const struct oracle *db, size_t at)
{
	size_t first = db->header_len - db->rra_cnt * sizeof(rra_ptr_t) -
		db->rra_cnt * db->ds_cnt * sizeof(cdp_prep_t);
	size_t value = (at - first) % sizeof(cdp_prep_t) / sizeof(unival);

	return at >= first && at < db->header_len - db->rra_cnt * sizeof(rra_ptr_t) &&
		(value == CDP_primary_val || value == CDP_secondary_val);
}

/* The open rows stand there as doubles among other words; nothing else may differ. */
static void compare_header(const struct oracle *live, const struct oracle *twin, unsigned i,
			   struct sums *sums)
{
	for (size_t at = 0; at < live->header_len; at += sizeof(double)) {
		if (!memcmp(live->bytes + at, twin->bytes + at, sizeof(double)) ||
		    is_last_row(live, at))
			continue;
		if (!is_close(oracle_value(live->bytes, at), oracle_value(twin->bytes, at)) &&
		    sums->wrong++ < SHOWN)
			printf("%s: byte %zu of the header, %.17g and not %.17g\n",
			       path_of("live", i), at, oracle_value(live->bytes, at),
			       oracle_value(twin->bytes, at));
	}
}

static int compare(void)
{
	struct sums sums = { 0, 0, 0, 0 };

	for (unsigned i = 0; i < files; i++) {
		struct oracle live, twin;

		if (oracle_read(&live, path_of("live", i)) < 0)
			return 1;
		if (oracle_read(&twin, path_of("twin", i)) < 0)
			return 2;
		if (live.size != twin.size || live.header_len != twin.header_len) {
			printf("%s: of another size\n", path_of("live", i));
			sums.wrong++;
		} else {
			compare_header(&live, &twin, i, &sums);
			compare_cells(&live, &twin, i, &sums);
		}
		oracle_free(&live);
		oracle_free(&twin);
	}
	printf("%" PRIu64 " known cells, %" PRIu64 " of them history, %" PRIu64
	       " equal but for rounding; %" PRIu64 " wrong\n", sums.known, sums.history,
	       sums.inexact, sums.wrong);
	return sums.wrong || !sums.history ? 1 : 0;
}

int main(int argc, char **argv)
{
	const char *env = getenv("SEED");

	setvbuf(stdout, NULL, _IOLBF, 0);
	if (argc != 4 || !(files = (unsigned)strtoul(argv[3], NULL, 10)))
		oracle_die("usage: survive make|update|compare DIR FILES");
	top = argv[2];
	state = env && *env ? strtoull(env, NULL, 10) : (uint64_t)time(NULL);
	if (!strcmp(argv[1], "make")) {
		make();
		return 0;
	}
	return !strcmp(argv[1], "update") ? run() : compare();
}
