/* unit-rrd: rows by time as rrd_fetch has them, reading, and what counts as torn. */
#include "config.h"
#include "rrd.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "authority.h"
#include "scratch.h"
#include "specimen.h"

#define HISTORIES 300

static unsigned seed;
static uint64_t random_state;

static size_t below(size_t n)
{
	return (size_t)(authority_random(&random_state) % n);
}

/* Stands before the C library's: what `in_between` does happens before the read number
 * `reads_before` from now. */
static void (*in_between)(void);
static unsigned reads_before, reads_seen;

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
	reads_seen++;
	if (in_between && !reads_before--) {
		void (*now)(void) = in_between;

		in_between = NULL;
		now();
	}
	return (ssize_t)syscall(SYS_pread64, fd, buffer, size, offset);
}

static int try_read(struct rrd *db, const char *path, struct reason *why)
{
	int fd = open(path, O_RDONLY);
	int r;

	assert_true(fd >= 0);
	why->text[0] = '\0';
	r = rrd_read(db, fd, why);
	close(fd);
	return r;
}

static void must_read(struct rrd *db, const char *path)
{
	struct reason why;

	if (try_read(db, path, &why))
		fail_msg("%s: %s", path, why.text);
}

static void assert_torn(const char *path, bool expected)
{
	struct rrd db = { 0 };
	struct reason why = { "" };

	must_read(&db, path);
	bool torn = rrd_is_torn(&db, &why);
	rrd_free(&db);
	if (torn && !expected)
		fail_msg("%s: %s", path, why.text);
	assert_int_equal(torn, expected);
	if (expected)
		assert_non_null(strstr(why.text, "torn"));
}

/* ---- rows and times ---- */

static void compare_rra(const struct rrd *db, uint64_t rra, const char *path)
{
	int64_t resolution = layout_resolution(&db->head, rra);
	int64_t oldest = rrd_oldest(db, rra), newest = rrd_newest(db, rra);
	uint64_t rows = db->head.rra[rra].row_cnt, ds_cnt = db->head.ds_cnt, met = 0;
	bool *taken = calloc(rows, sizeof(*taken));
	struct authority_rows theirs = authority_fetch(path, layout_cf_name(db->head.rra[rra].cf),
						       (uint64_t)resolution,
						       oldest - resolution, newest);

	assert_int_equal(theirs.step, resolution);
	assert_int_equal(theirs.ds_cnt, ds_cnt);
	assert_int_equal(theirs.start, oldest - resolution);
	assert_int_equal((newest - oldest) / resolution + 1, rows);
	for (int64_t t = theirs.start + resolution, n = 0; t <= theirs.end; t += resolution, n++) {
		if (t > newest)
			continue;       /* fetch appends one that is not there yet */
		uint64_t slot = rrd_slot(db, rra, t);
		assert_true(slot < rows);
		assert_false(taken[slot]);
		taken[slot] = true;
		met++;
		for (uint64_t ds = 0; ds < ds_cnt; ds++) {
			double ours = rrd_rows(db, rra)[slot * ds_cnt + ds];
			double value = theirs.value[(uint64_t)n * ds_cnt + ds];

			assert_true((isnan(ours) && isnan(value)) ||
				    memcmp(&ours, &value, sizeof(ours)) == 0);
		}
	}
	assert_int_equal(met, rows);
	assert_int_equal(rrd_slot(db, rra, newest), db->head.rra[rra].cur_row);
	assert_int_equal(rrd_slot(db, rra, oldest), (db->head.rra[rra].cur_row + 1) % rows);
	free(theirs.value);
	free(taken);
}

/* Each RRA is the only one that fetch can mean.  The rings are young, just full, and round
 * several times, at many phases of the resolutions. */
static void test_times(void **state)
{
	static const unsigned updates[] = { 0, 1, 3, 9, 10, 11, 40, 200 };
	struct rrd db = { 0 };

	(void)state;
	for (unsigned n = 0; n < 40; n++) {
		const char *path = scratch("times.rrd");
		int64_t now = 1600000000 + (int64_t)below(100000);
		char text[64];

		authority_create(path, 10, now, (const char *[]){
			"DS:a:GAUGE:600:U:U", "DS:b:GAUGE:600:U:U", "RRA:AVERAGE:0.5:1:10",
			"RRA:MAX:0.5:3:7", "RRA:AVERAGE:0.5:5:13", "RRA:MIN:0.5:7:1",
			"RRA:LAST:0.5:2:30", "RRA:MAX:0.5:360:2", NULL });
		for (unsigned i = 0; i < updates[n % 8]; i++) {
			now += 1 + (int64_t)below(30);
			snprintf(text, sizeof(text), "%lld:%zu:%zu", (long long)now, below(1000),
				 below(1000));
			authority_update(path, (const char *[]){ text, NULL });
		}
		must_read(&db, path);
		for (uint64_t rra = 0; rra < db.head.rra_cnt; rra++)
			compare_rra(&db, rra, path);
		unlink(path);
	}
	rrd_free(&db);
}

/* ---- reading ---- */

static const char *make_small(const char *name)
{
	const char *path = scratch(name);

	authority_create(path, 60, 1600000000, (const char *[]){
		"DS:a:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:10", "RRA:MAX:0.5:6:11", NULL });
	return path;
}

/* Its header alone is longer than what is read first. */
static const char *make_large(const char *name)
{
	char ds[40][40];
	const char *args[64] = { "RRA:AVERAGE:0.5:1:500", "RRA:MAX:0.5:6:300" };
	const char *path = scratch(name);

	for (size_t i = 0; i < 40; i++) {
		snprintf(ds[i], sizeof(ds[i]), "DS:name%zu:GAUGE:120:U:U", i);
		args[i + 2] = ds[i];
	}
	authority_create(path, 60, 1600000000, args);
	return path;
}

static void assert_whole(const struct rrd *db, const char *path)
{
	size_t size;
	uint8_t *bytes = authority_slurp(path, &size);

	assert_int_equal(db->size, db->head.file_size);
	assert_true(db->size <= size);
	assert_memory_equal(db->bytes, bytes, db->size);
	assert_int_equal(db->stamp.size, size);
	free(bytes);
}

static void test_read_again(void **state)
{
	struct rrd db = { 0 };
	const char *large = make_large("large.rrd"), *small = make_small("small.rrd");
	struct reason why;

	(void)state;
	for (int i = 0; i < 3; i++) {
		must_read(&db, small);
		assert_whole(&db, small);
		must_read(&db, large);
		assert_true(db.head.size > 4096);
		assert_whole(&db, large);
	}
	/* What failed leaves nothing behind that looks like a database, and does not spoil it. */
	authority_spill(scratch("junk"), "junk", 4);
	assert_int_equal(try_read(&db, scratch("junk"), &why), REFUSED);
	assert_int_equal(db.size, 0);
	assert_null(db.head.ds);
	assert_null(db.head.rra);
	must_read(&db, small);
	assert_whole(&db, small);
	rrd_free(&db);
	rrd_free(&db);
}

static void test_sizes(void **state)
{
	struct rrd db = { 0 };
	struct reason why;
	const char *paths[] = { make_small("small.rrd"), make_large("large.rrd") };

	(void)state;
	for (size_t p = 0; p < 2; p++) {
		size_t size;
		uint8_t *bytes = authority_slurp(paths[p], &size);
		uint8_t *longer = calloc(1, size + 5000);

		for (size_t cut = 0; cut < size; cut += cut < 1200 ? 7 : 997) {
			authority_spill(scratch("cut.rrd"), bytes, cut);
			assert_int_equal(try_read(&db, scratch("cut.rrd"), &why), REFUSED);
		}
		authority_spill(scratch("cut.rrd"), bytes, size - 1);
		assert_int_equal(try_read(&db, scratch("cut.rrd"), &why), REFUSED);
		assert_non_null(strstr(why.text, "truncated"));
		memcpy(longer, bytes, size);
		memset(longer + size, 0xa5, 5000);
		for (size_t more = 1; more <= 5000; more += 1249) {
			authority_spill(scratch("more.rrd"), longer, size + more);
			must_read(&db, scratch("more.rrd"));
			assert_int_equal(db.size, size);
			assert_whole(&db, scratch("more.rrd"));
		}
		free(longer);
		free(bytes);
	}
	rrd_free(&db);
}

static void test_no_files(void **state)
{
	struct rrd db = { 0 };
	struct reason why = { "" };
	int pipes[2];

	(void)state;
	assert_int_not_equal(try_read(&db, scratch_dir, &why), 0);
	assert_string_not_equal(why.text, "");
	assert_int_equal(pipe(pipes), 0);
	assert_int_not_equal(rrd_read(&db, pipes[0], &why), 0);
	close(pipes[0]);
	close(pipes[1]);
	assert_true(rrd_read(&db, -1, &why) < 0);
	authority_spill(scratch("empty.rrd"), "", 0);
	assert_int_equal(try_read(&db, scratch("empty.rrd"), &why), REFUSED);
	assert_non_null(strstr(why.text, "empty"));
	assert_int_equal(truncate(scratch("empty.rrd"), (off_t)RRD_SIZE_MAX + 1), 0);
	rrd_free(&db);
	assert_int_equal(try_read(&db, scratch("empty.rrd"), &why), REFUSED);
	assert_non_null(strstr(why.text, "too large"));
	assert_int_equal(db.capacity, 0);
	rrd_free(&db);
}

static const char *changed;

static void grow(void)
{
	int fd = open(changed, O_WRONLY | O_APPEND);

	assert_int_equal(write(fd, "x", 1), 1);
	close(fd);
}

static void shrink(void)
{
	assert_int_equal(truncate(changed, 5000), 0);
}

static void touch(void)
{
	const struct timespec times[2] = { { 5, 5 }, { 5, 5 } };

	assert_int_equal(utimensat(AT_FDCWD, changed, times, 0), 0);
}

static void test_changed(void **state)
{
	static void (*const changes[])(void) = { grow, shrink, touch };
	struct rrd db = { 0 };
	struct reason why;

	(void)state;
	for (size_t c = 0; c < 3; c++)
		for (unsigned before = 0; before < 3; before++) {
			changed = make_large("changed.rrd");
			reads_before = before;
			in_between = changes[c];
			reads_seen = 0;
			int r = try_read(&db, changed, &why);
			if (!reads_seen) {
				print_message("this C library reads by another name\n");
				in_between = NULL;
				rrd_free(&db);
				skip();
			}
			assert_null(in_between);        /* there were as many reads */
			assert_int_equal(r, -ESTALE);
			assert_int_equal(db.size, 0);
			assert_null(db.head.ds);
			in_between = NULL;
			unlink(changed);
		}
	rrd_free(&db);
}

/* ---- torn or sound ---- */

static void test_sound_histories(void **state)
{
	(void)state;
	for (unsigned n = 0; n < HISTORIES; n++) {
		struct specimen live, backup;
		struct specimen *file = n % 2 ? &live : &backup;

		specimen_random_pair(&live, &backup);
		live.start = backup.start;
		specimen_create(scratch("sound.rrd"), file);
		assert_torn(scratch("sound.rrd"), false);
		specimen_update(scratch("sound.rrd"), file);
		assert_torn(scratch("sound.rrd"), false);
		if (n % 4 == 0) {
			authority_dump_restore(scratch("sound.rrd"));
			assert_torn(scratch("sound.rrd"), false);
			authority_dump_restore(scratch("sound.rrd"));
			assert_torn(scratch("sound.rrd"), false);
		}
		if (n % 4 == 1 && !file->fractions)
			specimen_make_old(scratch("sound.rrd"), '1');
		assert_torn(scratch("sound.rrd"), false);
		unlink(scratch("sound.rrd"));
	}
}

static void test_sound_after_tune(void **state)
{
	(void)state;
	for (unsigned n = 0; n < 60; n++) {
		struct specimen live, backup;
		const char *path = scratch("tuned.rrd");
		struct rrd db = { 0 };
		bool resizable;
		char name[64];

		specimen_random_pair(&live, &backup);
		specimen_create(path, &backup);
		specimen_update(path, &backup);
		snprintf(name, sizeof(name), "%s:77", backup.ds[0].name);
		authority_tune(path, (const char *[]){ "-h", name, NULL });
		assert_torn(path, false);
		must_read(&db, path);
		resizable = db.head.version < 5;        /* or rrdtool refuses it */
		for (unsigned rra = 0; resizable && rra < db.head.rra_cnt; rra++) {
			bool grow = below(2) || db.head.rra[rra].row_cnt < 9;

			if (db.head.rra[rra].cf > CF_LAST)
				continue;
			authority_resize(path, rra, grow, 1 + (unsigned)below(7));
			assert_torn(path, false);
		}
		rrd_free(&db);
		authority_tune(path, (const char *[]){ "DS:added:GAUGE:600:U:U", NULL });
		assert_torn(path, false);
		unlink(path);
	}
}

/* One more sample for the file, rows of all RRAs among it. */
static void one_more(const char *path, int64_t *now, int value)
{
	char text[64];

	*now += 60;
	snprintf(text, sizeof(text), "%lld:%d:%d", (long long)*now, value, -value);
	authority_update(path, (const char *[]){ text, NULL });
}

/* The header of a later copy over the rows of an earlier one, at every age of the ring. */
static void test_torn(void **state)
{
	int64_t now = 1600000020;       /* a multiple of 60 */
	const char *path = scratch("torn.rrd");
	unsigned torn = 0;

	(void)state;
	authority_create(path, 60, now, (const char *[]){
		"DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:10",
		"RRA:MAX:0.5:2:11", "RRA:MIN:0.5:5:4", "RRA:LAST:0.5:3:7", NULL });
	for (int i = 1; i < 60; i++) {
		size_t size, later_size;
		uint8_t *earlier = authority_slurp(path, &size), *later;
		struct rrd db = { 0 };

		one_more(path, &now, 1000 + i);
		later = authority_slurp(path, &later_size);
		assert_int_equal(size, later_size);
		must_read(&db, path);
		memcpy(later + db.head.size, earlier + db.head.size, size - db.head.size);
		rrd_free(&db);
		authority_spill(scratch("mixed.rrd"), later, size);
		assert_torn(scratch("mixed.rrd"), true);
		torn++;
		free(earlier);
		free(later);
	}
	assert_torn(path, false);
	assert_int_equal(torn, 59);
}

/* The reader got one RRA's rows late, or one cell. */
static void test_torn_in_part(void **state)
{
	int64_t now = 1600000020;
	const char *path = scratch("part.rrd");
	struct rrd db = { 0 };
	struct reason why = { "" };

	(void)state;
	authority_create(path, 60, now, (const char *[]){
		"DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:10",
		"RRA:MAX:0.5:2:11", NULL });
	for (int i = 0; i < 30; i++)
		one_more(path, &now, 1000 + i);
	must_read(&db, path);
	assert_false(rrd_is_torn(&db, &why));
	for (uint64_t rra = 0; rra < 2; rra++)
		for (uint64_t ds = 0; ds < 2; ds++) {
			double *cell = rrd_rows(&db, rra) + db.head.rra[rra].cur_row * 2 + ds;
			double was = *cell;

			*cell = 3.25;
			assert_true(rrd_is_torn(&db, &why));
			assert_non_null(strstr(why.text, rra ? "RRA 1 (MAX)" : "RRA 0 (AVERAGE)"));
			*cell = (double)NAN;
			assert_true(rrd_is_torn(&db, &why));
			assert_true(rrd_is_torn(&db, NULL));
			*cell = was;
			assert_false(rrd_is_torn(&db, &why));
		}
	rrd_free(&db);
}

/* What a merge wrote where rrdtool had written "unknown", or nothing yet. */
static void test_filled_is_not_torn(void **state)
{
	(void)state;
	for (unsigned n = 0; n < HISTORIES; n++) {
		struct specimen live, backup;
		struct rrd db = { 0 };
		struct reason why = { "" };

		specimen_random_pair(&live, &backup);
		specimen_create(scratch("filled.rrd"), &backup);
		if (n % 4)
			specimen_update(scratch("filled.rrd"), &backup);
		must_read(&db, scratch("filled.rrd"));
		for (uint64_t rra = 0; rra < db.head.rra_cnt; rra++) {
			double *row = rrd_rows(&db, rra) +
				      db.head.rra[rra].cur_row * db.head.ds_cnt;

			for (uint64_t ds = 0; ds < db.head.ds_cnt; ds++)
				if (isnan(row[ds]))
					row[ds] = below(8) ? 0.5 + (double)below(100) : 0.0;
		}
		if (rrd_is_torn(&db, &why))
			fail_msg("%s", why.text);
		/* And it stays so, when updates go on. */
		authority_spill(scratch("filled.rrd"), db.bytes, db.size);
		char text[400];
		size_t at = (size_t)snprintf(text, sizeof(text), "%lld",
					     (long long)db.head.last_up + 1 +
					     (long long)below(db.head.step * 3));
		for (uint64_t ds = 0; ds < db.head.ds_cnt; ds++)
			if (db.head.ds[ds].type != DST_COMPUTE)
				at += (size_t)snprintf(text + at, sizeof(text) - at, ":%s",
						       below(2) ? "U" : "5");
		authority_update(scratch("filled.rrd"), (const char *[]){ text, NULL });
		assert_torn(scratch("filled.rrd"), false);
		rrd_free(&db);
		unlink(scratch("filled.rrd"));
	}
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_read_again),
		cmocka_unit_test(test_sizes),
		cmocka_unit_test(test_no_files),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_sound_histories),
		cmocka_unit_test(test_sound_after_tune),
		cmocka_unit_test(test_torn),
		cmocka_unit_test(test_torn_in_part),
		cmocka_unit_test(test_filled_is_not_torn),
	};
	int failed;

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	specimen_seed(seed);
	random_state = seed;
	srandom(seed);
	if (scratch_make())
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return scratch_remove() || failed;
}
