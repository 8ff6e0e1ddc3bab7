/* backups: what a walk over them tells of files that rules lead elsewhere, and of patterns that stand
 * for other directories than they did. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "backups.h"
#include "globs.h"
#include "index.h"
#include "log.h"
#include "scratch.h"

static struct queue *queue;
static struct tally *tally;
static struct source_set set;
static struct backups *backups;

static void file(const char *rel)
{
	int fd = open(scratch(rel), O_CREAT | O_WRONLY, 0644);

	assert_true(fd >= 0);
	close(fd);
}

static void directory(const char *rel)
{
	assert_int_equal(mkdir(scratch(rel), 0755), 0);
}

/* Until so many walks have ended; they come a second apart where they are wanted. */
static void walks(unsigned count)
{
	while (count--) {
		uint64_t before = backups_state(backups).walked_ns;

		if (before)
			backups_walk(backups);
		while (backups_state(backups).walked_ns == before)
			usleep(5000);
	}
}

static int setup(void **state)
{
	(void)state;
	queue = queue_new();
	tally = tally_new();
	set = (struct source_set){ 0 };
	return !queue || !tally || scratch_make();
}

static int teardown(void **state)
{
	(void)state;
	backups_free(backups);
	backups = NULL;
	source_set_free(&set);
	tally_free(tally);
	queue_free(queue);
	return scratch_remove();
}

/* ---- rules ---- */

static void begin_with_rule(const char *from, const char *to)
{
	char *tos[] = { (char *)(uintptr_t)to };
	const struct names_rule rule = { (char *)(uintptr_t)from, tos, 1 };

	directory("old");
	directory("old/a.old");
	file("old/a.old/x.rrd");
	file("old/a.old/x.xml");
	assert_int_equal(source_add(&set, scratch("old"), NULL), 0);
	assert_int_equal(index_new(&rule, 1, &set.index, NULL), 0);
	assert_int_equal(backups_new(&set, NULL, queue, tally, &backups), 0);
	walks(1);
}

static char *waiting(void)
{
	static char text[256];
	size_t count;
	char **list = tally_list(tally, TALLY_WAITING, MERGE_ALLOWED, 0, &count);

	text[0] = '\0';
	for (size_t i = 0; i < count; i++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), "%s ", list[i]);
	tally_list_free(list, count);
	return text;
}

static int found(const char *path, unsigned rule, void *arg)
{
	assert_string_equal(path, "a.old/x.rrd");
	assert_int_equal(rule, 1);
	(*(int *)arg)++;
	return 0;
}

static void the_live_path_is_told(void **state)
{
	int hits = 0;

	(void)state;
	begin_with_rule("^a\\.old/", "a/");
	assert_string_equal(waiting(), "a/x.rrd ");
	assert_int_equal(index_find(set.index, "a/x.rrd", found, &hits), 0);
	assert_int_equal(hits, 1);
	/* It is gone with the next walk. */
	assert_int_equal(unlink(scratch("old/a.old/x.rrd")), 0);
	file("old/y.rrd");
	walks(1);
	assert_string_equal(waiting(), "y.rrd ");
	assert_int_equal(index_count(set.index), 0);
}

/* A worker that has it in hand may have looked into the index before the walk came: it is to look
 * once more, though all else says that it is at it; what is done by the record need not be read. */
static void who_came_too_early_looks_again(void **state)
{
	struct queue_job job;
	bool settled;

	(void)state;
	assert_int_equal(tally_live(tally, "a/x.rrd", true, &settled), 0);
	begin_with_rule("^a\\.old/", "a/");
	assert_int_equal(queue_count(queue).due, 1);
	assert_true(queue_take(queue, &job));
	assert_string_equal(job.path, "a/x.rrd");
	assert_true(job.flags & (QUEUE_LOOK | QUEUE_RECALL));
	queue_done(queue, &job, false, 0);
	walks(1);
	assert_int_equal(queue_count(queue).due, 0);
}

static void what_leads_nowhere_waits_for_nobody(void **state)
{
	(void)state;
	begin_with_rule("^a\\.old(/)", "..$1");
	assert_string_equal(waiting(), "");
	assert_int_equal(index_count(set.index), 0);
	assert_int_equal(queue_count(queue).due, 0);
}

/* ---- patterns ---- */

/* A copy of that age, with an RRD file in it: where one has none, walks come by themselves. */
static void copy(const char *rel, time_t age)
{
	struct timespec times[2] = { { 1700000000 - age, 0 }, { 1700000000 - age, 0 } };
	char rrd[64];

	snprintf(rrd, sizeof(rrd), "%s/x.rrd", rel);
	mkdir(scratch(rel), 0755);
	file(rrd);
	assert_int_equal(utimensat(AT_FDCWD, scratch(rel), times, 0), 0);
}

/* The set is what the pattern stands for now. */
static void begin_with_pattern(void)
{
	char *given = (char *)(uintptr_t)scratch("daily.*"), **list;
	size_t count;

	copy("daily.0", 1);
	copy("daily.1", 2);
	assert_int_equal(globs_expand_all(&given, 1, &list, &count, NULL), 0);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(source_add(&set, list[i], NULL), 0);
	globs_free(list, count);
	assert_int_equal(backups_new(&set, NULL, queue, tally, &backups), 0);
	assert_int_equal(backups_follow(backups, &given, 1), 0);
	walks(2);
	assert_false(backups_changed(backups));
}

static void one_more_and_one_less(void **state)
{
	(void)state;
	begin_with_pattern();
	copy("daily.2", 3);
	walks(1);
	assert_true(backups_changed(backups));
	assert_false(backups_changed(backups));         /* told once */
	walks(1);
	assert_false(backups_changed(backups));
	assert_int_equal(rename(scratch("daily.1"), scratch("gone")), 0);
	walks(1);
	assert_true(backups_changed(backups));
}

static void another_order_that_stays(void **state)
{
	(void)state;
	begin_with_pattern();
	copy("daily.1", 0);
	walks(1);
	assert_false(backups_changed(backups));
	walks(1);
	assert_true(backups_changed(backups));
	copy("daily.1", 5);                /* as it was: that is nothing new to tell */
	walks(2);
	assert_false(backups_changed(backups));
}

/* ---- one that is away ---- */

/* Nobody waits for the next walk in its turn, 45 s later. */
static void who_missed_one_is_looked_at_again(void **state)
{
	const struct merge_result missing = { .outcome = MERGE_UNCHANGED, .source_missing = true };
	struct queue_job job;
	bool settled;

	(void)state;
	directory("old");
	file("old/x.rrd");
	assert_int_equal(source_add(&set, scratch("old"), NULL), 0);
	assert_int_equal(tally_live(tally, "x.rrd", true, &settled), 0);
	assert_int_equal(backups_new(&set, NULL, queue, tally, &backups), 0);
	walks(2);
	while (queue_count(queue).due && queue_take(queue, &job))
		queue_done(queue, &job, false, 0);
	tally_result(tally, "x.rrd", &missing, false);
	uint64_t before = backups_state(backups).walked_ns;
	backups_missed(backups);
	for (int i = 0; i < 4000 && !queue_count(queue).due; i++)
		usleep(5000);
	assert_true(backups_state(backups).walked_ns != before);
	assert_int_equal(queue_count(queue).due, 1);
	assert_true(queue_take(queue, &job));
	assert_string_equal(job.path, "x.rrd");
	queue_done(queue, &job, false, 0);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(the_live_path_is_told),
		TEST(who_came_too_early_looks_again),
		TEST(what_leads_nowhere_waits_for_nobody),
		TEST(one_more_and_one_less),
		TEST(another_order_that_stays),
		TEST(who_missed_one_is_looked_at_again),
	};

	log_open("unit-backups", 0, LOG_USER);
	return cmocka_run_group_tests(tests, NULL, NULL);
}
