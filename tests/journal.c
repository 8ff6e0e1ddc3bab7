/* journal: updates through an rrdcached that is killed and started again, while rrdmerge, which is
 * killed as well, merges the same files; what was accepted must be in the files.
 *
 *     journal [--seconds S] [--files K] [--dir DIR] RRDMERGE
 *
 * Each file has a twin that gets the updates that must be there, and no merge.  At the end of a
 * round the file must be, byte for byte, what one merge of the whole backup makes of the twin.
 *
 * rrdcached (1.7.2) itself loses accepted values, and each of these is known when it is met:
 *
 * 1. Its journal goes through a buffer of stdio that is not flushed (journal_write): when it is
 *    killed, the lines that were still in there are gone.  They are the last ones, and no more
 *    bytes than the buffer has.
 * 2. "wrote FILE" is put into the journal after a batch was written (queue_thread_main), and at
 *    the replay it takes away all that stands before it, also what was accepted meanwhile.
 * 3. Killed in the middle of rrd_update_r, it leaves a file of which one update is half in.  The
 *    prep areas show it: such a file is not judged.
 * 4. A batch that meets a lock fails as a whole and is journalled as written all the same.  Our
 *    merges must never cause that; it would be in the log.
 * 5. A SUSPENDed file is not written, and its FLUSH succeeds; SIGTERM without a journal loses it.
 * 6. The journal of before the last rotation but one is removed, written or not (journal_rotate).
 * 7. With several writing threads (-t), see sys-rrdcached.sh.
 *
 * 5 to 7 are kept out: nothing is suspended, -f is long, -t is 1.
 *
 * Exit: 0 good, 1 a sample was lost, 2 the test could not go on, 77 it cannot run here. */
#include "config.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "oracle.h"

#include <rrd_client.h>        /* needs rrd.h before it */

#define FILES_MAX 8
#define PATH_SIZE 512
#define STEP 10
#define RING 6000               /* rows of the finest RRA */
#define UPDATES_MAX 58000       /* of one file in a round, a second each: the ring holds them */
#define HISTORY (RING * STEP)   /* seconds of backup before the live file's creation */
#define FLUSH_EVERY 60          /* updates of any file */
#define AT_ONCE 60
#define ROUND_S 3.0

/* What became of an update. */
enum { REJECTED, ACCEPTED, UNSURE, LOST };

/* Shared by the updater with its parent. */
static struct shared {
	volatile unsigned go, paused;           /* where they are the same, the updater waits */
	volatile int stop, down;                /* down: rrdcached was killed, and is not back */
	volatile uint32_t count[FILES_MAX];
	volatile uint8_t fate[FILES_MAX][UPDATES_MAX];
	volatile uint64_t order[FILES_MAX][UPDATES_MAX];        /* in which they were sent */
	char error[256];
} *shared;

static struct file {
	char live[PATH_SIZE], twin[PATH_SIZE], backup[PATH_SIZE];
	struct oracle whole;            /* the backup when it knows all */
	uint8_t *known;                 /* what it knows now: its bytes */
	time_t start;
	uint32_t in_twin;               /* the first update that the twin has not seen */
	bool torn;
	/* while a journal is read */
	time_t written, last;           /* the file's last_up; the last stamp that it takes */
	uint32_t *pending, pendings;    /* what would be in memory after the replay */
	bool *seen, *wiped;             /* per update: is in the journal; a "wrote" took it away */
} file[FILES_MAX];

static struct {
	const char *rrdmerge;
	double seconds;
	unsigned files;
	char top[PATH_SIZE - 64];
} opt = { .seconds = 20, .files = 4 };

static struct {
	uint64_t updates, unsure, kills, merge_kills, replayed, buffered, wiped, torn, judged;
	uint64_t runs, merged;
} total;

static uint64_t seed, state;
static pid_t cached, updater;
static char address[PATH_SIZE];

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (double)ts.tv_sec + (double)ts.tv_nsec * 1e-9;
}

static void pause_us(uint64_t us)
{
	nanosleep(&(struct timespec){ (time_t)(us / 1000000), (long)(us % 1000000) * 1000 }, NULL);
}

static uint64_t below(uint64_t n)
{
	return oracle_random(&state) % n;
}

static const char *in_top(const char *name)
{
	static char path[4][PATH_SIZE];
	static unsigned next;

	next = (next + 1) % 4;
	snprintf(path[next], PATH_SIZE, "%s/%s", opt.top, name);
	return path[next];
}

/* A child, in which it returns 0, ends with us. */
static pid_t start_child(void)
{
	pid_t pid;

	fflush(NULL);
	pid = fork();
	if (pid < 0)
		oracle_die("fork: %s", strerror(errno));
	if (pid == 0)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

/* ---- the files of a round ---- */

static void create(const char *path, time_t start)
{
	static const char *const argv[] = {
		"DS:a:GAUGE:600:U:U", "DS:b:DERIVE:600:0:U",
		"RRA:AVERAGE:0.5:1:6000", "RRA:AVERAGE:0.5:6:1500", "RRA:AVERAGE:0.5:60:900",
		"RRA:MAX:0.5:1:6000", "RRA:MAX:0.5:6:1500", "RRA:MIN:0.5:60:900",
		"RRA:LAST:0.5:6:1500"
	};

	oracle_create(path, STEP, start, argv, sizeof(argv) / sizeof(argv[0]));
}

/* New names each round, one of them with what must be escaped. */
static void make_file(struct file *f, unsigned i, unsigned round)
{
	char text[64];
	const char *argv[] = { text };

	memset(f, 0, sizeof(*f));
	snprintf(f->live, sizeof(f->live), "%s/live/%u-%u%s.rrd", opt.top, i, round,
		 i == 1 ? " a\\b" : "");
	snprintf(f->backup, sizeof(f->backup), "%s/backup/%u-%u%s.rrd", opt.top, i, round,
		 i == 1 ? " a\\b" : "");
	snprintf(f->twin, sizeof(f->twin), "%s/twin/%u-%u.rrd", opt.top, i, round);
	f->start = 1600000000 + (time_t)below(100000000);
	create(f->backup, f->start - HISTORY);
	snprintf(text, sizeof(text), "%jd:1:1", (intmax_t)(f->start + UPDATES_MAX / 2));
	if (rrd_update_r(f->backup, NULL, 1, argv))
		oracle_die("%s: %s", f->backup, rrd_get_error());
	if (oracle_read(&f->whole, f->backup) < 0)
		exit(2);
	f->known = oracle_alloc(f->whole.size, 1);
	memcpy(f->known, f->whole.bytes, f->whole.size);
	oracle_fill(&f->whole, &state);
	create(f->live, f->start);
	oracle_copy(f->live, f->twin);
	f->pending = oracle_alloc(UPDATES_MAX, sizeof(*f->pending));
	f->seen = oracle_alloc(UPDATES_MAX, sizeof(*f->seen));
	f->wiped = oracle_alloc(UPDATES_MAX, sizeof(*f->wiped));
}

static void drop_file(struct file *f)
{
	unlink(f->live);
	unlink(f->twin);
	unlink(f->backup);
	oracle_free(&f->whole);
	free(f->known);
	free(f->pending);
	free(f->seen);
	free(f->wiped);
}

/* The backup learns a few more cells: not so many that a round's merges run out of them. */
static void learn(struct file *f)
{
	const struct oracle *db = &f->whole;
	size_t rows = db->rows_end - db->header_len;

	for (unsigned k = 0; k < 40; k++) {
		size_t size = below(4) * 8 + 8;
		size_t at = db->header_len + below(rows - size) / 8 * 8;

		memcpy(f->known + at, db->bytes + at, size);
	}
	oracle_overwrite(f->backup, f->known, db->size);
}

/* ---- the updater ---- */

/* The n-th update of file i. */
static void compose(unsigned i, uint32_t n, char *text, size_t size)
{
	uint64_t r = seed * 131 + (uint64_t)file[i].start + n;

	r = oracle_random(&r);
	snprintf(text, size, "%jd:%u.%u:%" PRIu64, (intmax_t)(file[i].start + 1 + n),
		 (unsigned)(r % 1000), (unsigned)(r >> 20) % 1000,
		 (uint64_t)n * 1000 + (r >> 32) % 1000);
}

/* Two minutes: a journal that is replayed on a busy machine takes long.  False: it was killed again
 * at its replay, and nobody starts it before the updater waits. */
static bool reach(void)
{
	for (unsigned tries = 0; tries < 240000; tries++) {
		rrd_clear_error();
		if (rrdc_connect(address) == 0)
			return true;
		if (shared->down)
			return false;
		pause_us(500);
	}
	oracle_die("rrdcached does not come back: %s", rrd_get_error());
}

/* Until it has been judged what became of the updates so far. */
static void wait_to_go(void)
{
	do {
		rrdc_disconnect();
		shared->paused = shared->go;
		while (shared->paused == shared->go && !shared->stop)
			pause_us(500);
	} while (!reach());
}

/* What rrdcached itself answers is a refusal: there must be none. */
static uint8_t send_update(unsigned i, uint32_t n)
{
	char text[96];
	const char *argv[] = { text };

	compose(i, n, text, sizeof(text));
	rrd_clear_error();
	if (rrdc_update(file[i].live, 1, argv) == 0)
		return ACCEPTED;
	if (rrdc_is_connected(address) && strstr(rrd_get_error(), "rrdcached: ")) {
		snprintf(shared->error, sizeof(shared->error), "%s", rrd_get_error());
		return REJECTED;
	}
	return UNSURE;
}

static void run_updater(void)
{
	uint64_t sent = 0;

	signal(SIGPIPE, SIG_IGN);       /* librrd writes to a connection that is gone */
	if (!reach())
		wait_to_go();
	for (uint32_t n = 0; n < UPDATES_MAX && !shared->stop; n++) {
		for (unsigned i = 0; i < opt.files && !shared->stop; i++) {
			uint8_t fate;

			shared->order[i][n] = ++sent;
			fate = send_update(i, n);
			shared->fate[i][n] = fate;
			shared->count[i] = n + 1;
			if (fate == UNSURE)
				wait_to_go();
			else if (sent % FLUSH_EVERY == 0)
				rrdc_flush(file[i].live);
		}
	}
	while (!shared->stop) {         /* it got to the end of the ring: killed once more */
		shared->paused = shared->go;
		pause_us(500);
	}
}

/* ---- rrdcached ---- */

static void start_cached(void)
{
	char log[PATH_SIZE], pid_file[PATH_SIZE], journal[PATH_SIZE];

	snprintf(log, sizeof(log), "%s/log", opt.top);
	snprintf(pid_file, sizeof(pid_file), "%s/pid", opt.top);
	snprintf(journal, sizeof(journal), "%s/journal", opt.top);
	unlink(in_top("sock"));
	/* One that was killed before it wrote its number there keeps the next from starting. */
	unlink(pid_file);
	cached = start_child();
	if (cached)
		return;
	int fd = open(log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	dup2(fd, 1);
	dup2(fd, 2);
	/* It writes what is a second old. */
	execlp("rrdcached", "rrdcached", "-g", "-l", address, "-p", pid_file, "-j", journal, "-F",
	       "-w", "1", "-z", "1", "-f", "3600", "-t", "1", "-V", "LOG_NOTICE", "-o", log,
	       (char *)NULL);
	_exit(127);
}

static void end_cached(int sig)
{
	int status;

	kill(cached, sig);
	if (waitpid(cached, &status, 0) < 0)
		oracle_die("waitpid: %s", strerror(errno));
	if (sig == SIGTERM && (!WIFEXITED(status) || WEXITSTATUS(status)))
		oracle_die("rrdcached ended with status %#x", (unsigned)status);
	if (sig == SIGKILL && !WIFSIGNALED(status))
		oracle_die("rrdcached was gone already");
	cached = 0;
}

/* ---- what a journal holds ---- */

static time_t last_update(const char *path)
{
	time_t last;

	rrd_clear_error();
	last = rrd_last_r(path);
	if (last < 0)
		oracle_die("%s: %s", path, rrd_get_error());
	return last;
}

/* Of which file: escaped, as it came, in an update; plain behind "wrote".  The rest of the line. */
static struct file *file_of(char *path, bool escaped, char **ret_rest)
{
	char *from = path, *to = path;

	while (*from && (*from != ' ' || !escaped)) {
		if (escaped && *from == '\\' && from[1])
			from++;
		*to++ = *from++;
	}
	*ret_rest = *from ? from + 1 : from;
	*to = '\0';
	for (unsigned i = 0; i < opt.files; i++)
		if (strcmp(file[i].live, path) == 0)
			return &file[i];
	return NULL;
}

/* As handle_request_update and handle_request_wrote do at the replay. */
static void replay_line(char *line)
{
	bool wrote = strncmp(line, "wrote ", 6) == 0;
	char *rest;
	struct file *f;

	if (!wrote && strncmp(line, "update ", 7) != 0)
		oracle_die("a line of the journal is unknown: %s", line);
	f = file_of(line + (wrote ? 6 : 7), !wrote, &rest);
	if (!f)
		return;                 /* a round before */
	if (wrote) {
		for (uint32_t k = 0; k < f->pendings; k++)
			f->wiped[f->pending[k]] = true;
		f->pendings = 0;
		return;
	}
	time_t stamp = strtoll(rest, NULL, 10);
	if (stamp <= f->start || stamp > f->start + UPDATES_MAX)
		oracle_die("a stamp in the journal is wrong: %s", rest);
	f->seen[stamp - f->start - 1] = true;
	if (stamp > f->last) {
		f->last = stamp;
		f->pending[f->pendings++] = (uint32_t)(stamp - f->start - 1);
	}
}

static void replay_journal(const char *path)
{
	FILE *in = fopen(path, "r");
	char line[4096];

	if (!in)
		oracle_die("%s: %s", path, strerror(errno));
	while (fgets(line, sizeof(line), in)) {
		size_t len = strlen(line);

		if (line[len - 1] != '\n')
			continue;       /* cut off by the kill */
		line[len - 1] = '\0';
		replay_line(line);
	}
	fclose(in);
}

static int is_journal(const struct dirent *entry)
{
	return strncmp(entry->d_name, "rrd.journal", 11) == 0;
}

/* Bytes of the journal's buffer (stdio takes the file system's block). */
static size_t replay_journals(void)
{
	struct dirent **name;
	int count = scandir(in_top("journal"), &name, is_journal, alphasort);
	char path[PATH_SIZE + 300];
	struct stat st = { .st_blksize = 4096 };

	if (count <= 0)
		oracle_die("rrdcached keeps no journal in %s", in_top("journal"));
	for (int k = 0; k < count; k++) {
		snprintf(path, sizeof(path), "%s/journal/%s", opt.top, name[k]->d_name);
		stat(path, &st);
		replay_journal(path);
		free(name[k]);
	}
	free(name);
	return (size_t)st.st_blksize;
}

/* ---- twins ---- */

/* The twin gets what must be in the file, up to that time. */
static void catch_up(unsigned i, time_t until)
{
	struct file *f = &file[i];
	char text[AT_ONCE][96];
	const char *argv[AT_ONCE];
	int argc = 0;

	for (; f->in_twin < shared->count[i] && f->start + 1 + f->in_twin <= until; f->in_twin++) {
		if (shared->fate[i][f->in_twin] == ACCEPTED) {
			compose(i, f->in_twin, text[argc], sizeof(text[0]));
			argv[argc] = text[argc];
			argc++;
		}
		if (argc < AT_ONCE && f->in_twin + 1 < shared->count[i] &&
		    f->start + 2 + f->in_twin <= until)
			continue;
		rrd_clear_error();
		if (argc && rrd_update_r(f->twin, NULL, argc, argv))
			oracle_die("%s: %s", f->twin, rrd_get_error());
		argc = 0;
	}
}

/* Gap 3: some of an update is in, and its time is not.  One thread writes, so that it is one file
 * at each kill.  False where the file is in disorder in another way. */
static bool look_for_tear(struct file *f, unsigned *torn)
{
	struct oracle live, twin;
	bool good;

	if (oracle_read(&live, f->live) < 0 || oracle_read(&twin, f->twin) < 0)
		exit(2);
	good = live.last_up == twin.last_up;
	f->torn = memcmp(live.bytes, twin.bytes, twin.header_len) != 0;
	if (f->torn && ++*torn > 1)
		good = false;
	if (!good)
		printf("%s: its header is not what the updates so far make\n", f->live);
	total.torn += f->torn;
	oracle_free(&live);
	oracle_free(&twin);
	return good;
}

/* ---- a kill, and what it may have cost ---- */

static bool excuse(unsigned i, uint32_t n, uint64_t first_gone)
{
	const struct file *f = &file[i];

	if (f->wiped[n])
		total.wiped++;
	else if (!f->seen[n] && shared->order[i][n] >= first_gone)
		total.buffered++;
	else
		return false;
	return true;
}

/* The first update of those that the buffer may have held: each later one is in it too. */
static uint64_t first_in_buffer(size_t size)
{
	uint64_t first = UINT64_MAX;
	size_t used = 0;
	uint32_t at[FILES_MAX];

	for (unsigned i = 0; i < opt.files; i++)
		at[i] = shared->count[i];
	for (;;) {
		unsigned best = FILES_MAX;
		char text[96];

		for (unsigned i = 0; i < opt.files; i++)
			if (at[i] && (best == FILES_MAX || shared->order[i][at[i] - 1] >
				      shared->order[best][at[best] - 1]))
				best = i;
		if (best == FILES_MAX)
			return first;
		compose(best, --at[best], text, sizeof(text));
		used += strlen("update ") + strlen(file[best].live) + 1 + strlen(text) + 1;
		if (used > size + PATH_SIZE)    /* one line may be cut */
			return first;
		first = shared->order[best][at[best]];
	}
}

/* What is in the file, or will be after the replay.  False where something accepted is neither. */
static bool assess_file(unsigned i, uint64_t first_gone)
{
	struct file *f = &file[i];
	uint32_t k = 0;

	for (uint32_t n = 0; n < shared->count[i]; n++) {
		time_t stamp = f->start + 1 + n;
		bool kept = stamp <= f->written;

		while (k < f->pendings && f->pending[k] < n)
			k++;
		if (!kept && k < f->pendings && f->pending[k] == n) {
			kept = true;
			total.replayed++;
		}
		if (shared->fate[i][n] == UNSURE)
			shared->fate[i][n] = kept ? ACCEPTED : REJECTED;
		if (shared->fate[i][n] != ACCEPTED || kept)
			continue;
		shared->fate[i][n] = LOST;
		if (!excuse(i, n, first_gone)) {
			printf("%s: the update of %jd was accepted and is gone\n", f->live,
			       (intmax_t)stamp);
			return false;
		}
	}
	return true;
}

static bool assess(void)
{
	unsigned torn = 0;
	bool good = true;

	for (unsigned i = 0; i < opt.files; i++) {
		struct file *f = &file[i];

		f->last = f->written = last_update(f->live);
		f->pendings = 0;
		memset(f->seen, 0, UPDATES_MAX * sizeof(*f->seen));
		memset(f->wiped, 0, UPDATES_MAX * sizeof(*f->wiped));
	}
	uint64_t first_gone = first_in_buffer(replay_journals());
	for (unsigned i = 0; i < opt.files; i++) {
		struct file *f = &file[i];

		good = assess_file(i, first_gone) && good;
		catch_up(i, f->written);
		if (!f->torn)
			good = look_for_tear(f, &torn) && good;
	}
	return good;
}

static bool kill_and_restart(void)
{
	bool good;

	end_cached(SIGKILL);
	shared->down = 1;
	total.kills++;
	while (shared->paused != shared->go) {
		if (waitpid(updater, NULL, WNOHANG))
			oracle_die("the updater broke down");
		pause_us(500);
	}
	good = assess();
	start_cached();
	shared->down = 0;
	shared->go++;
	return good;
}

/* ---- merges ---- */

static pid_t start_merge(void)
{
	const char *out = in_top("out"), *backup = in_top("backup"), *live = in_top("live");
	pid_t pid;

	for (unsigned i = 0; i < opt.files; i++)
		learn(&file[i]);
	pid = start_child();
	if (pid)
		return pid;
	int fd = open(out, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	dup2(fd, 1);
	dup2(fd, 2);
	execl(opt.rrdmerge, opt.rrdmerge, "-j2", "--exact", backup, live, (char *)NULL);
	_exit(127);
}

/* How many files it says it has written. */
static unsigned long merged_of(const char *path)
{
	FILE *in = fopen(path, "r");
	unsigned long merged = 0;

	if (in && fscanf(in, "%lu merged", &merged) != 1)
		merged = 0;
	if (in)
		fclose(in);
	return merged;
}

static bool end_merge(pid_t pid, bool killed)
{
	int status;

	if (killed) {
		kill(pid, SIGKILL);
		total.merge_kills++;
	}
	if (waitpid(pid, &status, 0) < 0)
		oracle_die("waitpid: %s", strerror(errno));
	total.runs++;
	if (!killed)
		total.merged += merged_of(in_top("out"));
	if (killed || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
		return true;
	printf("rrdmerge ended with status %d; see %s\n", status, in_top("out"));
	return false;
}

static bool merge_all(void)
{
	const char *argv[] = { opt.rrdmerge, "-j2", "--exact", in_top("backup"), in_top("live"),
			       NULL };
	struct oracle_summary s;

	for (unsigned i = 0; i < opt.files; i++)
		oracle_overwrite(file[i].backup, file[i].whole.bytes, file[i].whole.size);
	s = oracle_run(argv, opt.top);
	if (s.understood && s.status == 0 && s.failed == 0)
		return true;
	printf("rrdmerge: exit %d, %lu failed; see %s/err\n", s.status, s.failed, opt.top);
	return false;
}

/* ---- a round ---- */

static bool judge(unsigned i)
{
	struct file *f = &file[i];
	struct oracle twin, backup;
	size_t size;
	bool good;

	catch_up(i, INT64_MAX);
	if (oracle_read(&twin, f->twin) < 0 || oracle_read(&backup, f->backup) < 0)
		exit(2);
	uint8_t *expected = oracle_alloc(twin.size, 1);
	oracle_expect(&twin, &backup, expected);
	uint8_t *got = oracle_slurp(f->live, &size);
	good = oracle_compare(&twin, expected, got, size, f->live, stdout) == 0;
	free(expected);
	free(got);
	oracle_free(&twin);
	oracle_free(&backup);
	total.judged++;
	return good;
}

static bool hammer_for(double seconds)
{
	double end = now() + seconds;
	double next_kill = now() + 0.3 + (double)below(900) / 1000;
	bool good = true;

	while (good && now() < end) {
		pid_t merge = start_merge();
		bool killed = below(3) == 0;

		pause_us(below(6000));
		if (now() >= next_kill) {
			good = kill_and_restart();
			/* Now and then so soon that it is still at its replay. */
			next_kill = now() + (below(4) ? 0.3 + (double)below(900) / 1000 : 0.05);
		}
		good = end_merge(merge, killed) && good;
	}
	return good;
}

static bool log_is_clean(void)
{
	size_t size;
	char *text = (char *)oracle_slurp(in_top("log"), &size);
	char *copy = oracle_alloc(size + 1, 1), *bad;

	memcpy(copy, text, size);
	bad = strstr(copy, "failed with status");       /* gap 4 */
	if (bad)
		printf("rrdcached lost a batch: it %.*s\n", (int)strcspn(bad, "\n"), bad);
	free(text);
	free(copy);
	return !bad;
}

static bool run_round(unsigned round, double seconds)
{
	bool good;
	int status;

	memset(shared, 0, sizeof(*shared));
	shared->go = 1;
	for (unsigned i = 0; i < opt.files; i++)
		make_file(&file[i], i, round);
	start_cached();
	updater = start_child();
	if (updater == 0) {
		run_updater();
		_exit(0);
	}
	good = hammer_for(seconds);
	shared->stop = 1;
	if (waitpid(updater, &status, 0) < 0 || status)
		oracle_die("the updater broke down");
	/* SIGTERM in the middle of a replay would end it like SIGKILL: an answer comes after it. */
	reach();
	if (rrdc_flush(file[0].live))
		oracle_die("FLUSH %s: %s", file[0].live, rrd_get_error());
	rrdc_disconnect();
	/* -F: all is written when it ends. */
	end_cached(SIGTERM);
	if (*shared->error) {
		printf("an update was refused: %s\n", shared->error);
		good = false;
	}
	good = log_is_clean() && merge_all() && good;
	for (unsigned i = 0; i < opt.files; i++) {
		total.updates += shared->count[i];
		good = good && (file[i].torn || judge(i));
		if (good)
			drop_file(&file[i]);
	}
	return good;
}

/* ---- */

static void parse(int argc, char **argv)
{
	const char *tmp = getenv("TMPDIR"), *dir = tmp ? tmp : "/tmp";
	const char *env = getenv("SEED");

	for (int i = 1; i < argc; i++) {
		const char *arg = argv[i], *value = i + 1 < argc ? argv[i + 1] : "";

		if (strncmp(arg, "--", 2))
			opt.rrdmerge = arg;
		else if (strcmp(arg, "--seconds") == 0)
			opt.seconds = atof(value), i++;
		else if (strcmp(arg, "--files") == 0)
			opt.files = (unsigned)strtoul(value, NULL, 10), i++;
		else if (strcmp(arg, "--dir") == 0)
			dir = value, i++;
		else
			oracle_die("unknown option %s", arg);
	}
	if (!opt.rrdmerge || opt.files < 2 || opt.files > FILES_MAX)
		oracle_die("usage: journal [--seconds S] [--files K] [--dir DIR] RRDMERGE");
	seed = env && *env ? strtoull(env, NULL, 10) : (uint64_t)time(NULL);
	state = seed;
	snprintf(opt.top, sizeof(opt.top), "%.200s/journal-XXXXXX", dir);
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
	static const char *const names[] = { "live", "backup", "twin", "journal" };
	int fd;

	for (unsigned i = 0; i < 4; i++)
		if (mkdir(in_top(names[i]), 0755) < 0)
			oracle_die("%s: %s", in_top(names[i]), strerror(errno));
	snprintf(address, sizeof(address), "unix:%s", in_top("sock"));
	fd = open(in_top("out"), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
	if (fd < 0 || fcntl(fd, F_SETLEASE, F_WRLCK) < 0) {
		printf("no write lease to be had beneath %s: %s\n", opt.top, strerror(errno));
		remove_top();
		exit(77);
	}
	close(fd);
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	if (shared == MAP_FAILED)
		oracle_die("mmap: %s", strerror(errno));
}

int main(int argc, char **argv)
{
	bool good = true;
	double end;

	setvbuf(stdout, NULL, _IOLBF, 0);
	parse(argc, argv);
	printf("SEED=%" PRIu64 "\n", seed);
	prepare();
	end = now() + opt.seconds;
	for (unsigned round = 0; good && (!round || now() + 1 < end); round++)
		good = run_round(round, end - now() < ROUND_S ? end - now() : ROUND_S);
	printf("rrdcached: %" PRIu64 " updates, killed %" PRIu64 " times; %" PRIu64 " values came "
	       "back from its journal; it lost %" PRIu64 " in the journal's buffer, %" PRIu64
	       " to \"wrote\", %" PRIu64 " files were torn\n", total.updates, total.kills,
	       total.replayed, total.buffered, total.wiped, total.torn);
	printf("rrdmerge: %" PRIu64 " runs, %" PRIu64 " killed, wrote %" PRIu64 " times meanwhile; %"
	       PRIu64 " files judged\n", total.runs, total.merge_kills, total.merged,
	       total.judged);
	if (good && (!total.kills || !total.replayed || !total.merge_kills || !total.judged ||
		     total.merged < total.runs / 4)) {
		printf("nothing was tested\n");
		good = false;
	}
	if (!good)
		printf("the files are left in %s\n", opt.top);
	else
		remove_top();
	return good ? 0 : 1;
}
