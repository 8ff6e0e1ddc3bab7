/* unit-worker: what threads do with what they take, and how it shows that one hangs. */
#include "config.h"
#include "worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <fcntl.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "authority.h"
#include "scratch.h"

#define MS UINT64_C(1000000)
#define HOUR (3600 * 1000 * MS)
#define STEP 60
#define ROWS 50

static struct queue *queue;
static struct merge_site site;
static struct worker_pool *pool;

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * (long)MS }, NULL);
}

/* ---- a gate: where a thread stands until it is let through ---- */

struct gate {
	int in[2], out[2];
};

static struct gate gates[2];
static bool hanging;           /* QUEUE_ROOT jobs stand at the first gate */

/* From a worker: says that it is here, and beats when it is told to. */
static void stand(const struct gate *gate)
{
	char byte = 'h';

	while (write(gate->out[1], &byte, 1) == 1 && read(gate->in[0], &byte, 1) == 1)
		if (byte == 'g')
			return;
		else
			worker_beat();
}

static void wait_here(const struct gate *gate)
{
	char byte;

	assert_int_equal(read(gate->out[0], &byte, 1), 1);
}

static void let_go(const struct gate *gate)
{
	assert_int_equal(write(gate->in[1], "g", 1), 1);
}

static void let_beat(const struct gate *gate)
{
	assert_int_equal(write(gate->in[1], "b", 1), 1);
	wait_here(gate);
}

/* ---- what was called ---- */

struct call {
	char what;              /* 'f'ile, 'o'ther, 'g'lance */
	char rel[32];
	enum merge_outcome outcome;
	uint64_t cells;
	unsigned tries, flags;
	bool will_retry;
	enum queue_kind kind;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct call called[64];
static size_t calls;
static char arg_of_all;
static atomic_uint faults;      /* no assertion may fail in a worker */

static bool nothing_to_do;      /* what a glance says */
static int held = -1;           /* a descriptor to be closed by the first call for a file */
static atomic_int again_ns;     /* what `other` returns, once */

static void note(struct call call, const char *rel, void *arg)
{
	pthread_mutex_lock(&mutex);
	snprintf(call.rel, sizeof(call.rel), "%s", rel);
	if (arg != &arg_of_all || calls == sizeof(called) / sizeof(called[0]))
		faults++;
	else
		called[calls++] = call;
	pthread_mutex_unlock(&mutex);
}

static void on_file(const char *rel, const struct merge_result *result, unsigned tries,
		    bool will_retry, void *arg)
{
	note((struct call){ .what = 'f', .outcome = result->outcome, .cells = result->counts.cells,
			    .tries = tries, .will_retry = will_retry }, rel, arg);
	if (held >= 0)
		close(held);
	held = -1;
}

static uint64_t on_other(const struct queue_job *job, void *arg)
{
	note((struct call){ .what = 'o', .kind = job->kind, .tries = job->tries,
			    .flags = job->flags }, job->path, arg);
	if (job->kind == QUEUE_ROOT && hanging)
		stand(&gates[0]);
	return (uint64_t)atomic_exchange(&again_ns, 0);
}

static bool on_glance(const char *rel, unsigned flags, void *arg)
{
	note((struct call){ .what = 'g', .flags = flags }, rel, arg);
	if (!strncmp(rel, "hang/", 5))
		stand(&gates[rel[5] - '0']);
	return nothing_to_do;
}

static const struct worker_calls all_calls = { on_file, on_other, on_glance };

static void start_with(unsigned threads, const struct worker_calls *with)
{
	struct worker_options options = { .threads = threads };

	assert_int_equal(worker_start(&options, &site, queue, with, &arg_of_all, &pool), 0);
}

static void start(unsigned threads)
{
	start_with(threads, &all_calls);
}

static void put(enum queue_kind kind, const char *rel, unsigned flags)
{
	assert_int_equal(queue_put(queue, kind, rel, QUEUE_NOW, flags), 0);
}

/* All that is queued is done. */
static void finish(void)
{
	struct queue_count count;

	queue_end(queue);
	worker_join(pool);
	pool = NULL;
	assert_int_equal(faults, 0);
	count = queue_count(queue);
	assert_int_equal(count.due + count.later + count.in_flight, 0);
}

/* ---- files ---- */

static void make_file(const char *path, int64_t start_s, int rows)
{
	static const char *const layout[] = { "DS:x:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:200", NULL };
	char update[48];

	authority_create(scratch(path), STEP, start_s, layout);
	for (int i = 1; i <= rows; i++) {
		snprintf(update, sizeof(update), "%lld:%d", (long long)(start_s + i * STEP), i);
		authority_update(scratch(path), (const char *const[]){ update, NULL });
	}
}

static int64_t lost_s;          /* when the backup ends and live begins */

/* A live file that knows two rows, and a backup that knows ROWS before them. */
static void make_pair(const char *name)
{
	char path[64];

	lost_s = time(NULL) / STEP * STEP - 3 * STEP;
	snprintf(path, sizeof(path), "backup/%s", name);
	make_file(path, lost_s - ROWS * STEP, ROWS);
	snprintf(path, sizeof(path), "live/%s", name);
	make_file(path, lost_s, 2);
}

static unsigned known_rows(const char *path)
{
	struct authority_rows rows = authority_fetch(scratch(path), "AVERAGE", STEP,
						     lost_s - ROWS * STEP, lost_s + 2 * STEP);
	unsigned known = 0;

	for (int64_t i = 0; i < (rows.end - rows.start) / (int64_t)rows.step; i++)
		known += isnan(rows.value[i]) ? 0 : 1;
	free(rows.value);
	return known;
}

static int setup(void **state)
{
	(void)state;
	if (scratch_make() || mkdir(scratch("live"), 0755) || mkdir(scratch("backup"), 0755))
		return -1;
	queue = queue_new();
	site = (struct merge_site){ .live = scratch("live") };
	if (!queue || source_add(&site.sources, scratch("backup"), NULL))
		return -1;
	for (size_t i = 0; i < 2; i++)
		if (pipe2(gates[i].in, O_CLOEXEC) || pipe2(gates[i].out, O_CLOEXEC))
			return -1;
	calls = 0;
	faults = 0;
	nothing_to_do = false;
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	for (size_t i = 0; i < 2; i++)
		for (size_t j = 0; j < 2; j++) {
			close(gates[i].in[j]);
			close(gates[i].out[j]);
		}
	source_set_free(&site.sources);
	queue_free(queue);
	return scratch_remove();
}

/* ---- merging ---- */

static void test_merge(void **state)
{
	(void)state;
	make_pair("a.rrd");
	make_file("live/alone.rrd", time(NULL) - 10 * STEP, 1);
	assert_int_equal(known_rows("live/a.rrd"), 2);
	start(1);
	put(QUEUE_FILE, "a.rrd", 0);
	put(QUEUE_FILE, "alone.rrd", QUEUE_JUST_WRITTEN);
	put(QUEUE_FILE, "gone.rrd", QUEUE_LOOK);
	finish();
	assert_int_equal(calls, 3);             /* and no glance */
	assert_string_equal(called[0].rel, "a.rrd");
	assert_int_equal(called[0].outcome, MERGE_MERGED);
	assert_int_equal(called[0].cells, ROWS);
	assert_int_equal(called[0].tries, 0);
	assert_false(called[0].will_retry);
	assert_int_equal(called[1].outcome, MERGE_SKIPPED);
	assert_int_equal(called[2].outcome, MERGE_GONE);
	assert_int_equal(known_rows("live/a.rrd"), ROWS + 2);
}

/* A stat is asked for where it may be enough, and never for what is to be read. */
static void test_glance_or_look(void **state)
{
	static const unsigned bit[] = { QUEUE_GLANCE, QUEUE_REWRITTEN, QUEUE_LOOK,
		QUEUE_JUST_WRITTEN };

	(void)state;
	make_pair("a.rrd");
	start(1);
	for (unsigned n = 0; n < 32; n++) {
		unsigned flags = 0, glances;

		for (size_t i = 0; i < 4; i++)
			flags |= n >> i & 1 ? bit[i] : 0;
		glances = flags & (QUEUE_GLANCE | QUEUE_REWRITTEN) && !(flags & QUEUE_LOOK);
		calls = 0;
		nothing_to_do = n >= 16;
		put(QUEUE_FILE, "a.rrd", flags);
		while (queue_count(queue).due || queue_count(queue).in_flight)
			pause_ms(1);
		if (glances) {
			assert_int_equal(called[0].what, 'g');
			assert_string_equal(called[0].rel, "a.rrd");
			assert_int_equal(called[0].flags, flags);
		}
		/* A glance that finds nothing to do is the end of it; else it is read. */
		assert_int_equal(calls, glances + !(glances && nothing_to_do));
		if (calls > glances)
			assert_int_equal(called[glances].what, 'f');
	}
	finish();
}

/* The pair stays as it is where there is nothing to do, and is merged where there is. */
static void test_glance_decides(void **state)
{
	(void)state;
	make_pair("a.rrd");
	nothing_to_do = true;
	start(1);
	put(QUEUE_FILE, "a.rrd", QUEUE_GLANCE);
	finish();
	assert_int_equal(calls, 1);
	assert_int_equal(known_rows("live/a.rrd"), 2);

	nothing_to_do = false;
	queue_free(queue);
	queue = queue_new();
	start(1);
	put(QUEUE_FILE, "a.rrd", QUEUE_REWRITTEN);
	finish();
	assert_int_equal(calls, 3);
	assert_int_equal(called[2].outcome, MERGE_MERGED);
	assert_int_equal(known_rows("live/a.rrd"), ROWS + 2);
}

static void test_no_glance_no_other(void **state)
{
	static const struct worker_calls file_alone = { .file = on_file };

	(void)state;
	make_pair("a.rrd");
	start_with(1, &file_alone);
	put(QUEUE_FILE, "a.rrd", QUEUE_GLANCE | QUEUE_REWRITTEN);
	put(QUEUE_DIR, "a", 0);
	finish();
	assert_int_equal(calls, 1);
	assert_int_equal(called[0].outcome, MERGE_MERGED);
}

/* What is begun is brought to its end: when it comes again, no stat is asked. */
static void test_no_glance_on_retry(void **state)
{
	(void)state;
	make_pair("a.rrd");
	held = open(scratch("live/a.rrd"), O_RDONLY | O_CLOEXEC);
	assert_true(held >= 0);
	start(1);
	put(QUEUE_FILE, "a.rrd", QUEUE_REWRITTEN);
	finish();
	if (calls == 2)
		skip();         /* this filesystem knows no leases: nothing is busy */
	assert_int_equal(calls, 3);
	assert_int_equal(called[0].what, 'g');
	assert_int_equal(called[1].outcome, MERGE_BUSY);
	assert_true(called[1].will_retry);
	assert_int_equal(called[2].what, 'f');
	assert_int_equal(called[2].outcome, MERGE_MERGED);
	assert_int_equal(called[2].tries, 1);
	assert_int_equal(called[2].cells, ROWS);
}

/* ---- jobs that are no files ---- */

static void test_other(void **state)
{
	(void)state;
	start(1);
	again_ns = (int)MS;
	put(QUEUE_DIR, "a/b", QUEUE_GLANCE);
	finish();
	assert_int_equal(calls, 2);
	for (unsigned i = 0; i < 2; i++) {
		assert_int_equal(called[i].what, 'o');
		assert_string_equal(called[i].rel, "a/b");
		assert_int_equal(called[i].kind, QUEUE_DIR);
		assert_int_equal(called[i].tries, i);
		assert_int_equal(called[i].flags, QUEUE_GLANCE);
	}
	queue_free(queue);
	queue = queue_new();
	start(1);
	put(QUEUE_ROOT, "", 0);
	finish();
	assert_int_equal(calls, 3);
	assert_int_equal(called[2].kind, QUEUE_ROOT);
	assert_string_equal(called[2].rel, "");
}

/* ---- one that hangs ---- */

static void wait_until_idle(void)
{
	char path[8] = "kept";

	while (worker_stalled_ns(pool, path, sizeof(path)))
		pause_ms(1);
}

/* Its time is counted from where it began, or from its last beat. */
static void test_stalled(void **state)
{
	char path[32] = "untouched";
	uint64_t began, beat, stalled;

	(void)state;
	start(2);
	worker_beat();                          /* not from a worker: of no effect */
	assert_int_equal(worker_stalled_ns(pool, path, sizeof(path)), 0);
	assert_string_equal(path, "untouched");
	began = io_now_ns();
	hanging = true;
	put(QUEUE_ROOT, "", 0);
	wait_here(&gates[0]);
	do
		stalled = worker_stalled_ns(pool, path, sizeof(path));
	while (stalled < 50 * MS);
	assert_true(stalled <= io_now_ns() - began);
	assert_string_equal(path, "");
	worker_beat();
	assert_true(worker_stalled_ns(pool, path, sizeof(path)) >= 50 * MS);

	beat = io_now_ns();
	let_beat(&gates[0]);
	stalled = worker_stalled_ns(pool, path, sizeof(path));
	assert_true(stalled <= io_now_ns() - beat);
	/* The other thread goes on. */
	put(QUEUE_DIR, "a", 0);
	while (queue_count(queue).due || queue_count(queue).in_flight > 1)
		pause_ms(1);
	let_go(&gates[0]);
	wait_until_idle();
	finish();
}

/* Of two, the one that has not moved for longer; its path, cut. */
static void test_slowest(void **state)
{
	char path[32], cut[4];

	(void)state;
	nothing_to_do = true;
	start(3);
	put(QUEUE_FILE, "hang/0", QUEUE_GLANCE);
	wait_here(&gates[0]);
	pause_ms(1);
	put(QUEUE_FILE, "hang/1", QUEUE_GLANCE);
	wait_here(&gates[1]);
	assert_true(worker_stalled_ns(pool, path, sizeof(path)) > 0);
	assert_string_equal(path, "hang/0");
	worker_stalled_ns(pool, cut, sizeof(cut));
	assert_string_equal(cut, "han");
	pause_ms(1);
	let_beat(&gates[0]);
	assert_true(worker_stalled_ns(pool, path, sizeof(path)) > 0);
	assert_string_equal(path, "hang/1");
	let_go(&gates[1]);
	do
		assert_true(worker_stalled_ns(pool, path, sizeof(path)) > 0);
	while (strcmp(path, "hang/0"));
	let_go(&gates[0]);
	wait_until_idle();
	finish();
}

/* The pool stays while one of its threads does not end, and goes with the last. */
static void test_join_until(void **state)
{
	char path[32] = "";

	(void)state;
	start(3);
	hanging = true;
	put(QUEUE_ROOT, "", 0);
	wait_here(&gates[0]);
	put(QUEUE_FILE, "later.rrd", 0);
	while (queue_count(queue).in_flight > 1 || queue_count(queue).due)
		pause_ms(1);
	queue_stop(queue);
	put(QUEUE_DIR, "after the stop", 0);
	uint64_t until = io_now_ns() + 20 * MS;
	assert_false(worker_join_until(pool, until));
	assert_true(io_now_ns() >= until);
	assert_false(worker_join_until(pool, 0));
	assert_false(worker_join_until(pool, io_now_ns()));
	assert_true(worker_stalled_ns(pool, path, sizeof(path)) >= 20 * MS);
	let_go(&gates[0]);
	while (!worker_join_until(pool, io_now_ns()))
		pause_ms(1);
	assert_int_equal(calls, 2);
	assert_int_equal(queue_count(queue).in_flight, 0);

	/* Others take up what was left. */
	queue_resume(queue);
	start(2);
	queue_end(queue);
	assert_true(worker_join_until(pool, io_now_ns() + HOUR));
	assert_int_equal(calls, 3);
	assert_string_equal(called[2].rel, "after the stop");
	assert_int_equal(faults, 0);
}

/* Whichever of them ends first, it is joined once. */
static void test_join_some(void **state)
{
	(void)state;
	nothing_to_do = true;
	for (unsigned n = 0; n < 16; n++) {
		calls = 0;
		start(2);
		put(QUEUE_FILE, "hang/0", QUEUE_GLANCE);
		wait_here(&gates[0]);
		put(QUEUE_FILE, "hang/1", QUEUE_GLANCE);
		wait_here(&gates[1]);
		queue_stop(queue);
		let_go(&gates[n % 2]);
		while (queue_count(queue).in_flight > 1)
			pause_ms(1);
		for (unsigned i = 0; i < 3; i++)
			assert_false(worker_join_until(pool, io_now_ns() + 2 * MS));
		let_go(&gates[1 - n % 2]);
		while (!worker_join_until(pool, io_now_ns() + MS))
			;
		assert_int_equal(calls, 2);
		queue_resume(queue);
	}
	assert_int_equal(faults, 0);
}

/* ---- many at once ---- */

static atomic_uint looked, glanced, scanned;

static void count_file(const char *rel, const struct merge_result *result, unsigned tries,
		       bool will_retry, void *arg)
{
	(void)rel;
	(void)arg;
	looked++;
	faults += result->outcome != MERGE_GONE || tries || will_retry;
}

static uint64_t count_other(const struct queue_job *job, void *arg)
{
	(void)job;
	(void)arg;
	worker_beat();
	scanned++;
	return 0;
}

static bool count_glance(const char *rel, unsigned flags, void *arg)
{
	(void)flags;
	(void)arg;
	glanced++;
	return rel[0] == '1';
}

static void test_crowd(void **state)
{
	static const struct worker_calls counts = { count_file, count_other, count_glance };
	char name[16], path[16];

	(void)state;
	start_with(4, &counts);
	for (unsigned n = 0; n < 1000; n++) {
		snprintf(name, sizeof(name), "%u/%u", n % 4, n);
		put(n % 4 == 3 ? QUEUE_DIR : QUEUE_FILE, name, n % 4 == 1 ? QUEUE_GLANCE : 0);
		snprintf(name, sizeof(name), "0/again%u", n);
		put(QUEUE_FILE, name, QUEUE_GLANCE);
		if (n % 8 == 0)
			worker_stalled_ns(pool, path, sizeof(path));
	}
	finish();
	assert_int_equal(looked, 1500);
	assert_int_equal(glanced, 1250);
	assert_int_equal(scanned, 250);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_merge),
		TEST(test_glance_or_look),
		TEST(test_glance_decides),
		TEST(test_no_glance_no_other),
		TEST(test_no_glance_on_retry),
		TEST(test_other),
		TEST(test_stalled),
		TEST(test_slowest),
		TEST(test_join_until),
		TEST(test_join_some),
		TEST(test_crowd),
	};

	alarm(120);                     /* a thread that is not let go would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
