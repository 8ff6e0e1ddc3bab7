/* unit-queue: the order, the coalescing and the hands of the queue. */
#include "config.h"
#include "queue.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdatomic.h>

#define MS UINT64_C(1000000)
#define HOUR (3600 * 1000 * MS)
#define PAST MS                 /* the clock counts from the boot, which may be minutes ago */

static unsigned seed;

static uint64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000 * MS + (uint64_t)ts.tv_nsec;
}

static int setup(void **state)
{
	*state = queue_new();
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	queue_free(*state);
	return 0;
}

static void put(struct queue *queue, const char *path, uint64_t due, unsigned flags)
{
	assert_int_equal(queue_put(queue, QUEUE_FILE, path, due, flags), 0);
}

static struct queue_job take(struct queue *queue, const char *path)
{
	struct queue_job job;

	assert_true(queue_take(queue, &job));
	assert_string_equal(job.path, path);
	return job;
}

static void done(struct queue *queue, struct queue_job *job)
{
	queue_done(queue, job, false, 0);
}

static void take_and_let_go(struct queue *queue, const char *path)
{
	struct queue_job job = take(queue, path);

	done(queue, &job);
}

static void assert_count(struct queue *queue, size_t due, size_t later, size_t in_flight)
{
	struct queue_count count = queue_count(queue);

	assert_int_equal(count.due, due);
	assert_int_equal(count.later, later);
	assert_int_equal(count.in_flight, in_flight);
}

static void test_order(void **state)
{
	struct queue *queue = *state;
	uint64_t past = PAST;

	put(queue, "third", past, 0);
	put(queue, "fifth", past + 2, 0);
	put(queue, "first", QUEUE_NOW, 0);
	put(queue, "fourth", past, 0);
	put(queue, "second", QUEUE_NOW, 0);
	take_and_let_go(queue, "first");
	take_and_let_go(queue, "second");
	take_and_let_go(queue, "third");
	take_and_let_go(queue, "fourth");
	take_and_let_go(queue, "fifth");
	assert_count(queue, 0, 0, 0);
}

static int compare_dues(const void *a, const void *b)
{
	const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

/* Many random due times, some moved earlier, come out sorted. */
static void test_order_random(void **state)
{
	enum { PATHS = 3000 };
	struct queue *queue = *state;
	uint64_t *due = calloc(PATHS, sizeof(*due)), past = PAST;
	char path[32];

	srand(seed);
	for (size_t i = 0; i < PATHS; i++) {
		due[i] = past + (uint64_t)rand() % 1000;
		snprintf(path, sizeof(path), "%zu", i);
		put(queue, path, due[i], 0);
	}
	for (size_t n = 0; n < PATHS; n++) {
		size_t i = (size_t)rand() % PATHS;
		uint64_t other = past + (uint64_t)rand() % 1000;

		snprintf(path, sizeof(path), "%zu", i);
		put(queue, path, other, 0);
		due[i] = other < due[i] ? other : due[i];
	}
	uint64_t *sorted = calloc(PATHS, sizeof(*sorted));
	memcpy(sorted, due, PATHS * sizeof(*due));
	qsort(sorted, PATHS, sizeof(*sorted), compare_dues);
	for (size_t n = 0; n < PATHS; n++) {
		struct queue_job job;

		assert_true(queue_take(queue, &job));
		size_t i = strtoul(job.path, NULL, 10);
		assert_int_equal(due[i], sorted[n]);
		due[i] = 0;             /* never again */
		done(queue, &job);
	}
	assert_count(queue, 0, 0, 0);
	free(sorted);
	free(due);
}

static void test_coalescing(void **state)
{
	struct queue *queue = *state;
	uint64_t past = PAST;

	put(queue, "a", past + 10, 0);
	put(queue, "b", past + 5, 0);
	put(queue, "a", past + 20, 4);                  /* later: does not move it */
	assert_count(queue, 2, 0, 0);
	put(queue, "a", past + 1, QUEUE_JUST_WRITTEN);  /* earlier: before b now */
	assert_count(queue, 2, 0, 0);

	struct queue_job job = take(queue, "a");
	assert_int_equal(job.flags, 4 | QUEUE_JUST_WRITTEN);
	assert_int_equal(job.tries, 0);
	done(queue, &job);
	take_and_let_go(queue, "b");
	assert_count(queue, 0, 0, 0);

	put(queue, "a", past, 0);                       /* its flags went with it */
	job = take(queue, "a");
	assert_int_equal(job.flags, 0);
	done(queue, &job);
}

/* Moved to a time at which others are due already, a path comes after them. */
static void test_turn(void **state)
{
	struct queue *queue = *state;

	put(queue, "old", now() + HOUR, 0);
	put(queue, "a", QUEUE_NOW, 0);
	put(queue, "old", QUEUE_NOW, 0);
	put(queue, "b", QUEUE_NOW, 0);
	put(queue, "a", QUEUE_NOW, 0);                  /* keeps its turn */
	take_and_let_go(queue, "a");
	take_and_let_go(queue, "old");
	take_and_let_go(queue, "b");
}

static void test_kinds(void **state)
{
	struct queue *queue = *state;
	struct queue_job job;

	assert_int_equal(queue_put(queue, QUEUE_DIR, "x", QUEUE_NOW, 0), 0);
	assert_int_equal(queue_put(queue, QUEUE_FILE, "x", QUEUE_NOW, 0), 0);
	assert_int_equal(queue_put(queue, QUEUE_ROOT, "", QUEUE_NOW, 0), 0);
	assert_count(queue, 3, 0, 0);
	assert_true(queue_take(queue, &job));
	assert_int_equal(job.kind, QUEUE_DIR);
	done(queue, &job);
	assert_true(queue_take(queue, &job));
	assert_int_equal(job.kind, QUEUE_FILE);
	done(queue, &job);
	assert_true(queue_take(queue, &job));
	assert_int_equal(job.kind, QUEUE_ROOT);
	assert_string_equal(job.path, "");
	done(queue, &job);
}

/* The path is the queue's own copy. */
static void test_copy(void **state)
{
	struct queue *queue = *state;
	char path[] = "web 01\n/\xff.rrd";

	put(queue, path, QUEUE_NOW, 0);
	memset(path, 'x', sizeof(path) - 1);
	take_and_let_go(queue, "web 01\n/\xff.rrd");
}

static void test_put_in_flight(void **state)
{
	struct queue *queue = *state;

	put(queue, "a", QUEUE_NOW, 0);
	struct queue_job job = take(queue, "a");
	put(queue, "a", now() + HOUR, 4);
	put(queue, "a", QUEUE_NOW, QUEUE_JUST_WRITTEN);
	put(queue, "a", now() + HOUR, 8);
	put(queue, "b", QUEUE_NOW, 0);
	assert_count(queue, 1, 0, 1);
	take_and_let_go(queue, "b");            /* not a: that one is in a hand */
	done(queue, &job);
	assert_count(queue, 1, 0, 0);
	job = take(queue, "a");
	assert_int_equal(job.flags, 4 | 8 | QUEUE_JUST_WRITTEN);
	assert_int_equal(job.tries, 0);
	done(queue, &job);
	assert_count(queue, 0, 0, 0);
}

static void test_retries(void **state)
{
	struct queue *queue = *state;

	put(queue, "a", QUEUE_NOW, 4);
	struct queue_job job = take(queue, "a");
	queue_done(queue, &job, true, QUEUE_NOW);
	assert_null(job.item);
	job = take(queue, "a");
	assert_int_equal(job.tries, 1);
	assert_int_equal(job.flags, 4);
	job.flags = 0;                          /* the caller's to clear */
	queue_done(queue, &job, true, now() + HOUR);
	assert_count(queue, 0, 1, 0);

	put(queue, "a", QUEUE_NOW, 0);          /* earlier, its tries kept */
	assert_count(queue, 1, 0, 0);
	job = take(queue, "a");
	assert_int_equal(job.tries, 2);
	assert_int_equal(job.flags, 0);
	done(queue, &job);

	put(queue, "a", QUEUE_NOW, 0);          /* a fresh one */
	job = take(queue, "a");
	assert_int_equal(job.tries, 0);
	done(queue, &job);
}

/* Put meanwhile and put back: the earlier time, all flags, one more try. */
static void test_put_in_flight_and_again(void **state)
{
	struct queue *queue = *state;

	put(queue, "a", QUEUE_NOW, 4);
	struct queue_job job = take(queue, "a");
	put(queue, "a", QUEUE_NOW, 8);
	queue_done(queue, &job, true, now() + HOUR);
	assert_count(queue, 1, 0, 0);
	job = take(queue, "a");
	assert_int_equal(job.flags, 4 | 8);
	assert_int_equal(job.tries, 1);

	put(queue, "a", now() + HOUR, 0);
	queue_done(queue, &job, true, QUEUE_NOW);
	assert_count(queue, 1, 0, 0);
	job = take(queue, "a");
	assert_int_equal(job.tries, 2);

	put(queue, "a", QUEUE_NOW, 0);          /* done well, then looked at afresh */
	done(queue, &job);
	job = take(queue, "a");
	assert_int_equal(job.tries, 0);
	assert_int_equal(job.flags, 0);
	done(queue, &job);
}

static void test_waits_until_due(void **state)
{
	struct queue *queue = *state;
	uint64_t due = now() + 30 * MS;

	put(queue, "a", due, 0);
	assert_count(queue, 0, 1, 0);
	take_and_let_go(queue, "a");
	assert_true(now() >= due);              /* no upper bound: the machine may be busy */
}

/* One thread that takes until it gets false. */
struct taker {
	struct queue *queue;
	pthread_t thread;
	atomic_uint taken;
	uint64_t again_ns;              /* not 0: the first of all jobs comes back so late */
};

static void *run_taker(void *arg)
{
	struct taker *taker = arg;
	struct queue_job job;

	while (queue_take(taker->queue, &job)) {
		bool again = taker->again_ns && job.tries == 0;

		taker->taken++;
		queue_done(taker->queue, &job, again, now() + taker->again_ns);
	}
	return NULL;
}

static void start(struct taker *taker, struct queue *queue, uint64_t again_ns)
{
	taker->queue = queue;
	taker->taken = 0;
	taker->again_ns = again_ns;
	assert_int_equal(pthread_create(&taker->thread, NULL, run_taker, taker), 0);
}

static void join(struct taker *taker)
{
	assert_int_equal(pthread_join(taker->thread, NULL), 0);
}

static void pause_ms(long ms)
{
	nanosleep(&(struct timespec){ .tv_nsec = ms * (long)MS }, NULL);
}

static void test_end(void **state)
{
	struct queue *queue = *state;
	struct taker taker[3];
	unsigned taken = 0;
	struct queue_job job;

	put(queue, "a", QUEUE_NOW, 0);
	put(queue, "b", now() + 40 * MS, 0);
	for (size_t i = 0; i < 3; i++)
		start(&taker[i], queue, 20 * MS);
	queue_end(queue);
	for (size_t i = 0; i < 3; i++) {
		join(&taker[i]);
		taken += taker[i].taken;
	}
	assert_int_equal(taken, 4);             /* each twice: what comes back is waited for */
	assert_count(queue, 0, 0, 0);
	assert_false(queue_take(queue, &job));
}

/* A taker that waits at the end goes when the last job in flight is done, not before: the job
 * may still bring others. */
static void test_end_with_job_in_flight(void **state)
{
	struct queue *queue = *state;
	struct taker taker;

	put(queue, "dir", QUEUE_NOW, 0);
	struct queue_job job = take(queue, "dir");
	queue_end(queue);
	start(&taker, queue, 0);
	pause_ms(20);
	put(queue, "dir/a", QUEUE_NOW, 0);
	pause_ms(20);
	done(queue, &job);
	join(&taker);
	assert_int_equal(taker.taken, 1);
}

static void test_stop(void **state)
{
	struct queue *queue = *state;
	struct taker idle[2], timed[2];
	struct queue_job job, other;

	for (size_t i = 0; i < 2; i++)
		start(&idle[i], queue, 0);
	pause_ms(10);
	put(queue, "flight", QUEUE_NOW, 0);
	pause_ms(10);
	put(queue, "later", now() + HOUR, 0);
	for (size_t i = 0; i < 2; i++)
		start(&timed[i], queue, 0);
	pause_ms(10);
	queue_stop(queue);
	for (size_t i = 0; i < 2; i++) {
		join(&idle[i]);
		join(&timed[i]);
	}
	put(queue, "ready", QUEUE_NOW, 0);
	assert_false(queue_take(queue, &job));
	assert_false(queue_take(queue, &other));
}

/* Jobs in flight at the stop are given back, or not: all is freed (the sanitizers look). */
static void test_done_after_stop(void **state)
{
	struct queue *queue = *state;

	put(queue, "a", QUEUE_NOW, 0);
	put(queue, "b", QUEUE_NOW, 0);
	put(queue, "c", QUEUE_NOW, 0);
	struct queue_job a = take(queue, "a"), b = take(queue, "b");
	take(queue, "c");
	put(queue, "b", QUEUE_NOW, 0);
	queue_stop(queue);
	done(queue, &a);
	queue_done(queue, &b, true, now() + HOUR);
	assert_count(queue, 1, 0, 1);
}

/* A path put with an early time while the only taker sleeps until a late one is taken at once.
 * (Where a wake is lost, this waits until the alarm.) */
static void test_earlier_wakes(void **state)
{
	struct queue *queue = *state;
	struct taker taker;

	put(queue, "later", now() + HOUR, 0);
	start(&taker, queue, 0);
	pause_ms(10);
	put(queue, "sooner", now() + MS, 0);
	while (taker.taken < 1)
		pause_ms(1);
	put(queue, "at once", QUEUE_NOW, 0);
	while (taker.taken < 2)
		pause_ms(1);
	put(queue, "later", QUEUE_NOW, 0);
	queue_end(queue);
	join(&taker);
	assert_int_equal(taker.taken, 3);
}

/* Paused, files stay where they are and all else goes on; then they come in their order. */
static void test_pause(void **state)
{
	struct queue *queue = *state;
	struct taker taker;
	struct queue_job job;

	put(queue, "a", QUEUE_NOW, 0);
	put(queue, "b", QUEUE_NOW, QUEUE_LOOK);
	queue_pause(queue, true);
	put(queue, "c", QUEUE_NOW, 0);
	assert_int_equal(queue_put(queue, QUEUE_DIR, "a", now(), 0), 0);
	take_and_let_go(queue, "a");            /* the directory */
	assert_count(queue, 3, 0, 0);
	assert_int_equal(queue_claim(queue, QUEUE_FILE, "a", &job), 0);
	queue_done(queue, &job, true, QUEUE_NOW);
	assert_count(queue, 3, 0, 0);
	start(&taker, queue, 0);
	pause_ms(20);
	assert_int_equal(taker.taken, 0);
	assert_int_equal(queue_put(queue, QUEUE_ROOT, "", QUEUE_NOW, 0), 0);
	while (taker.taken < 1)
		pause_ms(1);
	assert_count(queue, 3, 0, 0);
	queue_pause(queue, false);              /* wakes it */
	while (taker.taken < 4)
		pause_ms(1);
	queue_pause(queue, true);
	queue_end(queue);                       /* a pause does not keep it from its end */
	join(&taker);
	assert_int_equal(taker.taken, 4);
}

/* Held up, files wait, and all else goes on. */
static void test_hold(void **state)
{
	struct queue *queue = *state;
	struct taker taker;
	struct queue_job job;

	put(queue, "a", QUEUE_NOW, 0);
	queue_hold(queue, now() + 60000 * MS);
	assert_int_equal(queue_put(queue, QUEUE_DIR, "d", now(), 0), 0);
	take_and_let_go(queue, "d");
	assert_int_equal(queue_claim(queue, QUEUE_FILE, "a", &job), 0);
	queue_done(queue, &job, true, QUEUE_NOW);
	start(&taker, queue, 0);
	pause_ms(20);
	assert_int_equal(taker.taken, 0);
	assert_int_equal(queue_put(queue, QUEUE_ROOT, "", now() + 5 * MS, 0), 0);
	while (taker.taken < 1)
		pause_ms(1);
	queue_hold(queue, now() + 20 * MS);     /* it ends by itself */
	while (taker.taken < 2)
		pause_ms(1);
	queue_hold(queue, now() + 60000 * MS);
	put(queue, "b", QUEUE_NOW, 0);
	pause_ms(10);
	assert_int_equal(taker.taken, 2);
	queue_hold(queue, 0);                   /* or is taken back */
	while (taker.taken < 3)
		pause_ms(1);
	put(queue, "c", QUEUE_NOW, 0);
	queue_hold(queue, now() + 60000 * MS);
	queue_stop(queue);                      /* and keeps nobody from his end */
	join(&taker);
}

struct pair {
	struct queue *queue;
	pthread_barrier_t both;
};

static void *take_one_of_two(void *arg)
{
	struct pair *pair = arg;
	struct queue_job job;

	if (!queue_take(pair->queue, &job))
		return NULL;
	pthread_barrier_wait(&pair->both);
	done(pair->queue, &job);
	return pair;
}

/* Two paths become due while two takers sleep: both wake, although one alone has a clock. */
static void test_both_wake(void **state)
{
	struct pair pair = { .queue = *state };
	pthread_t taker[2];
	uint64_t due = now() + 30 * MS;
	void *took;

	assert_int_equal(pthread_barrier_init(&pair.both, NULL, 2), 0);
	put(*state, "a", due, 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&taker[i], NULL, take_one_of_two, &pair), 0);
	put(*state, "b", due, 0);
	for (size_t i = 0; i < 2; i++) {
		pthread_join(taker[i], &took);
		assert_non_null(took);
	}
	pthread_barrier_destroy(&pair.both);
}

/* Stopped, nothing is handed out; resumed, what was queued is, in its order. */
static void test_resume(void **state)
{
	struct queue *queue = *state;
	struct taker taker[2];
	struct queue_job job;

	queue_resume(queue);                    /* of what was not stopped */
	put(queue, "flight", QUEUE_NOW, 0);
	struct queue_job flight = take(queue, "flight");
	put(queue, "b", QUEUE_NOW, QUEUE_LOOK);
	put(queue, "later", now() + HOUR, 0);
	queue_stop(queue);
	put(queue, "c", QUEUE_NOW, 0);
	put(queue, "flight", QUEUE_NOW, QUEUE_GLANCE);
	assert_false(queue_take(queue, &job));
	assert_count(queue, 2, 1, 1);
	queue_resume(queue);
	job = take(queue, "b");
	assert_int_equal(job.flags, QUEUE_LOOK);
	done(queue, &job);
	done(queue, &flight);                   /* a hand from before the stop */
	take_and_let_go(queue, "c");
	job = take(queue, "flight");
	assert_int_equal(job.flags, QUEUE_GLANCE);
	done(queue, &job);
	assert_count(queue, 0, 1, 0);

	/* Those who wait again are woken as ever. */
	queue_stop(queue);
	queue_resume(queue);
	for (size_t i = 0; i < 2; i++)
		start(&taker[i], queue, 0);
	pause_ms(10);
	put(queue, "d", QUEUE_NOW, 0);
	while (taker[0].taken + taker[1].taken < 1)
		pause_ms(1);
	queue_stop(queue);
	for (size_t i = 0; i < 2; i++)
		join(&taker[i]);
	/* An end that was asked for meanwhile holds. */
	queue_end(queue);
	queue_resume(queue);
	put(queue, "later", QUEUE_NOW, 0);
	take_and_let_go(queue, "later");
	assert_false(queue_take(queue, &job));
}

/* Of one path, whatever was put when: each flag is a bit of its own. */
static void test_flags(void **state)
{
	static const unsigned flags[] = { QUEUE_JUST_WRITTEN, QUEUE_WROTE, QUEUE_LOOK, QUEUE_GLANCE,
		QUEUE_REWRITTEN };
	struct queue *queue = *state;

	for (unsigned set = 0; set < 32; set++) {
		unsigned expected = 0;

		put(queue, "a", now() + HOUR, 0);
		for (size_t i = 0; i < 5; i++) {
			if (!(set >> i & 1))
				continue;
			assert_int_equal(expected & flags[i], 0);
			expected |= flags[i];
			put(queue, "a", now() + HOUR + i, flags[i]);
		}
		put(queue, "a", QUEUE_NOW, 0);
		struct queue_job job = take(queue, "a");
		assert_int_equal(job.flags, expected);
		/* A scan's stat does not take away that it was to be read. */
		put(queue, "a", QUEUE_NOW, QUEUE_GLANCE);
		job.flags = QUEUE_LOOK;
		queue_done(queue, &job, true, now() + HOUR);
		job = take(queue, "a");
		assert_int_equal(job.flags, QUEUE_LOOK | QUEUE_GLANCE);
		done(queue, &job);
	}
}

/* The same path in all kinds, each a job of its own; all but files count as scans. */
static void test_count_scans(void **state)
{
	static const enum queue_kind kinds[] = { QUEUE_FILE, QUEUE_DIR, QUEUE_ROOT };
	struct queue *queue = *state;
	struct queue_job job[3];

	for (size_t i = 0; i < 3; i++)
		assert_int_equal(queue_put(queue, kinds[i], "x", now() + HOUR, 1u << i), 0);
	assert_count(queue, 0, 3, 0);
	assert_int_equal(queue_count(queue).scans, 0);  /* not yet */
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(queue_put(queue, kinds[i], "x", QUEUE_NOW, 0), 0);
	assert_count(queue, 3, 0, 0);
	assert_int_equal(queue_count(queue).scans, 2);
	for (size_t i = 0; i < 3; i++) {
		assert_true(queue_take(queue, &job[i]));
		assert_int_equal(job[i].kind, kinds[i]);
		assert_int_equal(job[i].flags, 1u << i);
		assert_int_equal(queue_count(queue).scans, 2);
	}
	assert_count(queue, 0, 0, 3);
	for (size_t i = 0; i < 3; i++) {
		queue_done(queue, &job[i], i == 2, now() + HOUR);
		assert_int_equal(queue_count(queue).scans, i < 2 ? 2 - i : 0);
	}
	assert_count(queue, 0, 1, 0);
}

/* What is due is counted right wherever it lies among what is not. */
static void test_count_random(void **state)
{
	enum { PATHS = 500 };
	struct queue *queue = *state;
	bool due[PATHS] = { false };
	size_t dues = 0, scans = 0, queued = 0;
	char path[16];

	srand(seed);
	for (int n = 0; n < 3 * PATHS; n++) {
		int i = rand() % PATHS;
		/* One that is queued may have become due, never the other way. */
		bool now_due = rand() % 3 == 0;
		uint64_t at = now_due ? rand() % 2 ? QUEUE_NOW : PAST + (uint64_t)rand() % 100
				      : now() + HOUR + (uint64_t)rand() % (HOUR / MS) * MS;
		size_t before = queued;

		snprintf(path, sizeof(path), "%d", i);
		assert_int_equal(queue_put(queue, i % 3 ? QUEUE_FILE : QUEUE_DIR, path, at, 0), 0);
		struct queue_count count = queue_count(queue);
		queued = count.due + count.later;
		assert_true(queued == before || queued == before + 1);
		if (now_due && !due[i]) {
			due[i] = true;
			dues++;
			scans += i % 3 == 0;
		}
		assert_int_equal(count.due, dues);
		assert_int_equal(count.scans, scans);
	}
	while (dues) {
		struct queue_job job;

		assert_true(queue_take(queue, &job));
		scans -= job.kind == QUEUE_DIR;
		assert_true(due[strtoul(job.path, NULL, 10)]);
		done(queue, &job);
		dues--;
		queued--;
		assert_count(queue, dues, queued - dues, 0);
		assert_int_equal(queue_count(queue).scans, scans);
	}
}

/* Takers and putters at random: every put is followed by a taking that begins after it, and
 * no path is in two hands. */
#define CROWD_PATHS 200
#define CROWD_PUTS 20000

struct crowd {
	struct queue *queue;
	atomic_int hands[CROWD_PATHS];
	atomic_uint puts[CROWD_PATHS], seen[CROWD_PATHS];
	atomic_uint faults;
	unsigned seed;
	atomic_uint number;
};

static void *crowd_put(void *arg)
{
	struct crowd *crowd = arg;
	unsigned random = crowd->seed + crowd->number++;
	char path[32];

	for (int n = 0; n < CROWD_PUTS; n++) {
		size_t i = (size_t)rand_r(&random) % CROWD_PATHS;
		uint64_t due = rand_r(&random) % 2 ? QUEUE_NOW
						   : now() + (uint64_t)rand_r(&random) % MS;

		snprintf(path, sizeof(path), "host/%zu.rrd", i);
		crowd->puts[i]++;
		if (queue_put(crowd->queue, QUEUE_FILE, path, due, 0) < 0)
			crowd->faults++;
	}
	return NULL;
}

static void *crowd_take(void *arg)
{
	struct crowd *crowd = arg;
	unsigned random = crowd->seed + crowd->number++;
	struct queue_job job;

	while (queue_take(crowd->queue, &job)) {
		size_t i = strtoul(job.path + strlen("host/"), NULL, 10);

		if (crowd->hands[i]++ != 0)
			crowd->faults++;
		crowd->seen[i] = crowd->puts[i];
		if (rand_r(&random) % 16 == 0)
			sched_yield();
		crowd->hands[i]--;
		queue_done(crowd->queue, &job, rand_r(&random) % 4 == 0,
			   now() + (uint64_t)rand_r(&random) % MS);
	}
	return NULL;
}

static void test_crowd(void **state)
{
	struct crowd *crowd = calloc(1, sizeof(*crowd));
	pthread_t taker[4], putter[2];

	assert_non_null(crowd);
	crowd->queue = *state;
	crowd->seed = seed;
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&taker[i], NULL, crowd_take, crowd), 0);
	for (size_t i = 0; i < 2; i++)
		assert_int_equal(pthread_create(&putter[i], NULL, crowd_put, crowd), 0);
	for (size_t i = 0; i < 2; i++)
		pthread_join(putter[i], NULL);
	queue_end(crowd->queue);
	for (size_t i = 0; i < 3; i++)
		pthread_join(taker[i], NULL);
	assert_int_equal(crowd->faults, 0);
	for (size_t i = 0; i < CROWD_PATHS; i++)
		assert_int_equal(crowd->seen[i], crowd->puts[i]);
	assert_count(*state, 0, 0, 0);
	free(crowd);
}

static void test_many(void **state)
{
	enum { PATHS = 100000 };
	struct queue *queue = *state;
	uint64_t begin = now(), filled;
	char path[64];
	struct queue_job job;

	for (int i = 0; i < PATHS; i++) {
		snprintf(path, sizeof(path), "host%05d/service_%d.rrd", i * 7919 % PATHS, i % 10);
		put(queue, path, QUEUE_NOW, 0);
	}
	filled = now();
	assert_count(queue, PATHS, 0, 0);
	for (int i = 0; i < PATHS; i++) {
		snprintf(path, sizeof(path), "host%05d/service_%d.rrd", i * 7919 % PATHS, i % 10);
		job = take(queue, path);
		done(queue, &job);
	}
	assert_count(queue, 0, 0, 0);
	print_message("%d paths: put in %.0f ms, taken and done in %.0f ms\n", PATHS,
		      (double)(filled - begin) / 1e6, (double)(now() - filled) / 1e6);
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_order_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_coalescing, setup, teardown),
		cmocka_unit_test_setup_teardown(test_turn, setup, teardown),
		cmocka_unit_test_setup_teardown(test_kinds, setup, teardown),
		cmocka_unit_test_setup_teardown(test_copy, setup, teardown),
		cmocka_unit_test_setup_teardown(test_put_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_retries, setup, teardown),
		cmocka_unit_test_setup_teardown(test_put_in_flight_and_again, setup, teardown),
		cmocka_unit_test_setup_teardown(test_waits_until_due, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end, setup, teardown),
		cmocka_unit_test_setup_teardown(test_end_with_job_in_flight, setup, teardown),
		cmocka_unit_test_setup_teardown(test_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_done_after_stop, setup, teardown),
		cmocka_unit_test_setup_teardown(test_earlier_wakes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_both_wake, setup, teardown),
		cmocka_unit_test_setup_teardown(test_pause, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hold, setup, teardown),
		cmocka_unit_test_setup_teardown(test_resume, setup, teardown),
		cmocka_unit_test_setup_teardown(test_flags, setup, teardown),
		cmocka_unit_test_setup_teardown(test_count_scans, setup, teardown),
		cmocka_unit_test_setup_teardown(test_count_random, setup, teardown),
		cmocka_unit_test_setup_teardown(test_crowd, setup, teardown),
		cmocka_unit_test_setup_teardown(test_many, setup, teardown),
	};

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	/* A wake that is lost would hang the test for ever. */
	alarm(60);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
