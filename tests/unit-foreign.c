/* unit-foreign: what other kinds of machines write, read here as if this one had written it. */
#include "config.h"
#include "foreign.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "authority.h"
#include "native.h"
#include "otherhost.h"
#include "rrd.h"
#include "scratch.h"
#include "specimen.h"

#define SHAPES 30
#define MUTATIONS 1500          /* for each kind of machine */

static uint64_t random_state;

static size_t below(size_t n)
{
	return (size_t)(authority_random(&random_state) % n);
}

static int read_bytes(struct rrd *db, const uint8_t *bytes, size_t size, struct reason *why)
{
	const char *path = scratch("read.rrd");

	why->text[0] = '\0';
	unlink(path);
	authority_spill(path, bytes, size);
	int fd = open(path, O_RDONLY);
	int r = rrd_read(db, fd, why);
	close(fd);
	return r;
}

static bool is_ours(const struct otherhost *host)
{
	return host->size_of_long == sizeof(long) && host->size_of_time == sizeof(time_t) &&
	       host->double_at == __alignof__(struct { double d; }) &&
	       host->big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* This machine's own file and the same from each other kind: every byte that we then have is the
 * same, prep areas and unused parameters included. */
static unsigned assert_same_everywhere(const char *path)
{
	size_t size, theirs_size;
	uint8_t *bytes = authority_slurp(path, &size);
	struct rrd ours = { 0 }, theirs = { 0 };
	struct reason why;
	unsigned versions;

	if (read_bytes(&ours, bytes, size, &why))
		fail_msg("%s: %s", path, why.text);
	assert_true(ours.head.native);
	assert_null(ours.origin);
	versions = 1u << ours.head.version;
	for (unsigned i = 0; i < otherhost_count; i++) {
		uint8_t *other = otherhost_write(&otherhosts[i], bytes, &random_state,
						 &theirs_size);

		assert_non_null(other);
		if (read_bytes(&theirs, other, theirs_size, &why))
			fail_msg("%s: %s", otherhosts[i].name, why.text);
		assert_int_equal(theirs.head.native, is_ours(&otherhosts[i]));
		assert_true(theirs.head.native == !theirs.origin);
		assert_int_equal(theirs.size, ours.size);
		for (size_t n = theirs.head.native ? ours.size : 0; n < ours.size; n++)
			if (theirs.bytes[n] != ours.bytes[n])
				fail_msg("%s: byte %zu is %02x and not %02x", otherhosts[i].name, n,
					 theirs.bytes[n], ours.bytes[n]);
		free(other);
	}
	rrd_free(&ours);
	rrd_free(&theirs);
	free(bytes);
	return versions;
}

static void make_all_kinds(void)
{
	authority_create(scratch("3.rrd"), 60, 1600000000, (const char *[]){
		"DS:a:COUNTER:120:0:1e9", "DS:b:ABSOLUTE:600:U:U",
		"DS:c_19_letters_long_x:GAUGE:7:-3:4.5", "DS:d:DERIVE:120:U:0",
		"DS:e:COMPUTE:a,b,+,c_19_letters_long_x,*,-5,MAX",
		"RRA:AVERAGE:0.5:1:10", "RRA:MIN:0:5:3", "RRA:MAX:0.99:7:4", "RRA:LAST:0.1:360:20",
		NULL });
	authority_update(scratch("3.rrd"), (const char *[]){
		"1600000061.25:5:6:1:2", "1600000125.5:8:7:2:3", "1600000425.5:8:U:2:1", NULL });
	authority_create(scratch("4.rrd"), 300, 1600000000, (const char *[]){
		"DS:a:GAUGE:600:U:U", "RRA:AVERAGE:0.5:1:10",
		"RRA:MHWPREDICT:30:0.1:0.0035:4:3", "RRA:SEASONAL:4:0.2:2",
		"RRA:DEVSEASONAL:4:0.2:2", "RRA:DEVPREDICT:30:4", "RRA:FAILURES:30:2:9:4", NULL });
	for (unsigned i = 1; i <= 60; i++) {
		char update[64];

		snprintf(update, sizeof(update), "%u:%u", 1600000000 + i * 300,
			 i % 13 ? i % 4 * 100 : 90000);
		authority_update(scratch("4.rrd"), (const char *[]){ update, NULL });
	}
	authority_create(scratch("5.rrd"), 1, 1600000000, (const char *[]){
		"DS:a:DCOUNTER:600:U:U", "DS:b:DDERIVE:600:U:U", "RRA:AVERAGE:0.5:1:10", NULL });
}

static void test_all_kinds(void **state)
{
	unsigned versions = 0;

	(void)state;
	make_all_kinds();
	versions |= assert_same_everywhere(scratch("3.rrd"));
	versions |= assert_same_everywhere(scratch("4.rrd"));
	versions |= assert_same_everywhere(scratch("5.rrd"));
	assert_true(specimen_make_old(scratch("3.rrd"), '2'));
	versions |= assert_same_everywhere(scratch("3.rrd"));
	authority_create(scratch("1.rrd"), 60, 1600000000, (const char *[]){
		"DS:a:COUNTER:120:0:1e9", "RRA:AVERAGE:0.5:1:10", NULL });
	assert_true(specimen_make_old(scratch("1.rrd"), '1'));
	versions |= assert_same_everywhere(scratch("1.rrd"));
	assert_int_equal(versions, 0x3e);
}

static void test_shapes(void **state)
{
	struct specimen live, backup;

	(void)state;
	for (unsigned i = 0; i < SHAPES; i++) {
		specimen_random_pair(&live, &backup);
		specimen_make(scratch("shape.rrd"), &backup);
		assert_same_everywhere(scratch("shape.rrd"));
		unlink(scratch("shape.rrd"));
	}
}

/* How much longer the same file is where time_t is long, of version 3 to 5; 0 where it is long. */
static size_t long_time_takes(const struct otherhost *host)
{
	return host->size_of_time == 8 ? 0 : host->double_at;
}

/* A file that is longer than it need be is taken for what it is; but not where it is just as long
 * as it were with a long time_t: see test_contradicted. */
static void test_longer(void **state)
{
	struct rrd ours = { 0 }, theirs = { 0 };
	size_t size, theirs_size;
	struct reason why;

	(void)state;
	make_all_kinds();
	for (unsigned v = 0; v < 3; v++) {
		const char *paths[] = { scratch("3.rrd"), scratch("4.rrd"), scratch("5.rrd") };
		uint8_t *bytes = authority_slurp(paths[v], &size);

		assert_int_equal(read_bytes(&ours, bytes, size, &why), 0);
		for (unsigned i = 0; i < otherhost_count; i++) {
			uint8_t *other = otherhost_write(&otherhosts[i], bytes, &random_state,
							 &theirs_size);
			size_t tail = 1 + below(40);

			tail += tail == long_time_takes(&otherhosts[i]);
			other = realloc(other, theirs_size + tail);
			memset(other + theirs_size, v == 1 ? 0 : 0x5a, tail);
			if (read_bytes(&theirs, other, theirs_size + tail, &why))
				fail_msg("%s: %s", otherhosts[i].name, why.text);
			assert_int_equal(theirs.size, ours.size);
			if (!is_ours(&otherhosts[i]))   /* its gaps are left as they are */
				assert_memory_equal(theirs.bytes, ours.bytes, ours.size);
			free(other);
		}
		free(bytes);
	}
	rrd_free(&ours);
	rrd_free(&theirs);
}

/* A file that says the same of itself with a short time_t and with a long one. */
static uint8_t *make_ambiguous(const char *host, size_t longer, size_t *ret_size)
{
	size_t size;

	/* One DS, one RRA, a cur_row of 0: what is read some bytes later is 0, too. */
	authority_create(scratch("a.rrd"), 60, 1600000000, (const char *[]){
		"DS:a:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:4", NULL });
	uint8_t *bytes = authority_slurp(scratch("a.rrd"), &size);
	memset(bytes + size - 5 * 8, 0, 5 * 8);         /* rra_ptr and the rows */
	/* Its last value, with another text behind its end. */
	memcpy(bytes + 128 + 120 + 120 + 16, "U\0\0\0x\0\0\0y", 10);
	uint8_t *other = otherhost_write(otherhost_find(host), bytes, &random_state, ret_size);
	other = realloc(other, *ret_size + longer);
	memset(other + *ret_size, 0, longer);
	free(bytes);
	return other;
}

/* What could be two things goes by its length, and is refused with the names of both where that is
 * neither's. */
static void test_ambiguous(void **state)
{
	static const struct {
		const char *host, *name;
		size_t by;              /* a long time_t takes more */
	} kinds[] = {
		{ "i386", "i386", 4 }, { "armel", "32-bit little-endian", 8 },
	};
	struct rrd theirs = { 0 };
	struct reason why;
	size_t size;

	(void)state;
	for (unsigned i = 0; i < 2; i++) {
		uint8_t *other = make_ambiguous(kinds[i].host, 64, &size);
		char longer[64], both[128];

		snprintf(longer, sizeof(longer), "%s, 64-bit time_t", kinds[i].name);
		snprintf(both, sizeof(both), "(%s; %s)", kinds[i].name, longer);
		assert_int_equal(read_bytes(&theirs, other, size, &why), 0);
		assert_string_equal(theirs.origin, kinds[i].name);
		assert_int_equal(read_bytes(&theirs, other, size + kinds[i].by, &why), 0);
		assert_string_equal(theirs.origin, longer);
		assert_int_equal(read_bytes(&theirs, other, size + kinds[i].by - 1, &why), 0);
		assert_string_equal(theirs.origin, kinds[i].name);
		for (size_t more = kinds[i].by + 1; more < 64; more++) {
			assert_int_equal(read_bytes(&theirs, other, size + more, &why), REFUSED);
			if (!strstr(why.text, both))
				fail_msg("%s", why.text);
		}
		free(other);
	}
	rrd_free(&theirs);
}

/* Of the length of a file with a long time_t, and yet with last values only where they stand with a
 * short one: a little-endian machine's, whose half a second then is a part of no time at all, is
 * told by that; of whole seconds, nobody knows. */
static void test_contradicted(void **state)
{
	struct rrd theirs = { 0 };
	struct reason why;
	size_t size, theirs_size;
	char both[128];

	(void)state;
	for (unsigned fraction = 0; fraction < 2; fraction++) {
		unlink(scratch("c.rrd"));
		authority_create(scratch("c.rrd"), 60, 1600000000, (const char *[]){
			"DS:a:GAUGE:120:U:U", "RRA:AVERAGE:0.5:1:4", NULL });
		authority_update(scratch("c.rrd"), (const char *[]){
			fraction ? "1600000061.5:42" : "1600000061:42", NULL });
		uint8_t *bytes = authority_slurp(scratch("c.rrd"), &size);
		memset(bytes + size - 5 * 8, 0, 5 * 8);         /* rra_ptr and the rows */
		for (unsigned i = 0; i < otherhost_count; i++) {
			const struct otherhost *host = &otherhosts[i];
			size_t by = long_time_takes(host);
			bool unknown = by && !host->big_endian && !fraction;

			if (is_ours(host))
				continue;
			uint8_t *other = otherhost_write(host, bytes, &random_state, &theirs_size);
			other = realloc(other, theirs_size + 16);
			memset(other + theirs_size, 0, 16);
			for (size_t tail = 0; tail <= 16; tail++) {
				int r = read_bytes(&theirs, other, theirs_size + tail, &why);

				if (r != (unknown && tail == by ? REFUSED : 0))
					fail_msg("%s, %zu more: %d: %s", host->name, tail, r,
						 why.text);
				if (r && !strstr(why.text, "its length is one's and its last "
							   "values are another's"))
					fail_msg("%s", why.text);
				if (!r)
					snprintf(both, sizeof(both), "(%s; %s, 64-bit time_t)",
						 theirs.origin, theirs.origin);
				else
					assert_non_null(strstr(why.text, both));
			}
			free(other);
		}
		free(bytes);
	}
	rrd_free(&theirs);
}

/* rrdtool writes no file of the 1970s, and none that wrote one with 32 bits is from beyond 2106. */
static void test_times(void **state)
{
	static const struct { int64_t time; bool good; } times[] = {
		{ 0, false }, { 1, false }, { 315359999, false }, { 315360000, true },
		{ INT32_MAX, true }, { UINT32_MAX, true }, { (int64_t)UINT32_MAX + 1, false },
		{ -1, false }, { INT32_MIN, false }, { INT64_MAX, false }, { INT64_MIN, false }
	};
	struct rrd theirs = { 0 };
	struct reason why;
	size_t size, theirs_size;

	(void)state;
	make_all_kinds();
	uint8_t *bytes = authority_slurp(scratch("5.rrd"), &size);
	for (unsigned n = 0; n < sizeof(times) / sizeof(times[0]); n++) {
		time_t time = (time_t)times[n].time;

		memcpy(bytes + 128 + 2 * 120 + 120, &time, sizeof(time));
		for (unsigned i = 0; i < otherhost_count; i++) {
			uint8_t *other = otherhost_write(&otherhosts[i], bytes, &random_state,
							 &theirs_size);

			/* Its own kind may have any time, and a short one has no such. */
			if (other && !is_ours(&otherhosts[i])) {
				int r = read_bytes(&theirs, other, theirs_size, &why);

				if (r != (times[n].good ? 0 : REFUSED))
					fail_msg("%s: %lld: %d: %s", otherhosts[i].name,
						 (long long)times[n].time, r, why.text);
				if (r && !strstr(why.text, "is damaged: last_update"))
					fail_msg("%s", why.text);
			}
			free(other);
		}
	}
	free(bytes);
	rrd_free(&theirs);
}

/* A last value that is no text is odd, but says nothing where no other form is possible. */
static void test_odd_last_value(void **state)
{
	struct rrd theirs = { 0 };
	struct reason why;
	size_t size;
	uint8_t *other = make_ambiguous("i386", 0, &size);

	(void)state;
	memset(other + 112 + 120 + 108 + 8, 0, 30);
	assert_int_equal(read_bytes(&theirs, other, size, &why), 0);
	assert_string_equal(theirs.origin, "i386");
	memset(other + 112 + 120 + 108 + 8, 'x', 30);
	assert_int_equal(read_bytes(&theirs, other, size, &why), REFUSED);
	assert_non_null(strstr(why.text, "has no end"));
	free(other);
	rrd_free(&theirs);
}

static void test_truncated(void **state)
{
	size_t size, theirs_size;
	struct rrd theirs = { 0 };
	struct reason why;

	(void)state;
	make_all_kinds();
	uint8_t *bytes = authority_slurp(scratch("5.rrd"), &size);
	for (unsigned i = 0; i < otherhost_count; i++) {
		uint8_t *other = otherhost_write(&otherhosts[i], bytes, &random_state,
						 &theirs_size);

		for (size_t len = 0; len < theirs_size; len++) {
			assert_int_equal(read_bytes(&theirs, other, len, &why), REFUSED);
			assert_string_not_equal(why.text, "");
			/* And of the right machine, not of one that it cannot be. */
			if (len >= 128 && !strstr(why.text, "is truncated"))
				fail_msg("%s: %s", otherhosts[i].name, why.text);
		}
		free(other);
	}
	free(bytes);
	rrd_free(&theirs);
}

static void mutate(uint8_t *bytes, size_t len)
{
	static const uint8_t bad[] = { 0, 1, 0x7f, 0x80, 0xff };

	for (size_t n = 1 + below(5); n--;) {
		size_t at = below(below(4) || len < 200 ? len : 200);

		if (below(2))
			bytes[at] ^= (uint8_t)(1u << below(8));
		else
			memset(bytes + at, bad[below(sizeof(bad))],
			       len - at < 8 ? len - at : 1 + below(8));
	}
}

/* What is taken must hold together, and be all there. */
static void check_taken(const struct rrd *db)
{
	double sum = 0;

	assert_true(db->head.native == !db->origin);
	assert_int_equal(db->head.file_size, db->size);
	for (uint64_t i = 0; i < db->head.rra_cnt; i++) {
		assert_true(db->head.rra[i].cur_row < db->head.rra[i].row_cnt);
		for (uint64_t n = 0; n < db->head.rra[i].row_cnt * db->head.ds_cnt; n++)
			sum += rrd_rows(db, i)[n];
		for (uint64_t ds = 0; ds < db->head.ds_cnt; ds++)
			sum += layout_cdp_double(&db->head, db->bytes, i, ds, 9);
	}
	(void)sum;
	rrd_is_torn(db, NULL);
}

static void test_mutations(void **state)
{
	unsigned taken = 0, refused = 0;
	struct rrd db = { 0 };
	struct reason why;
	size_t size, theirs_size;

	(void)state;
	make_all_kinds();
	for (unsigned i = 0; i < otherhost_count; i++) {
		const char *paths[] = { scratch("3.rrd"), scratch("4.rrd"), scratch("5.rrd") };
		uint8_t *bytes = authority_slurp(paths[i % 3], &size);
		uint8_t *other = otherhost_write(&otherhosts[i], bytes, &random_state,
						 &theirs_size);
		struct layout_header head;

		assert_int_equal(layout_measure(other, theirs_size, theirs_size, &head, NULL), 0);
		for (unsigned n = 0; n < MUTATIONS; n++) {
			size_t len = below(8) ? theirs_size : below(theirs_size) + 1;
			uint8_t *copy = malloc(theirs_size);

			memcpy(copy, other, theirs_size);
			mutate(copy, len < 256 ? len : below(3) ? (size_t)head.size : len);
			int r = read_bytes(&db, copy, len, &why);
			free(copy);
			taken += !r;
			refused += r == REFUSED;
			if (!r)
				check_taken(&db);
			else
				assert_int_equal(r, REFUSED);
		}
		free(other);
		free(bytes);
	}
	rrd_free(&db);
	print_message("%u taken, %u refused\n", taken, refused);
	assert_true(taken && refused);
}

/* What is made elsewhere, of a dump say, is looked at like a file. */
static void test_adopt(void **state)
{
	struct rrd db = { 0 };
	struct reason why = { "" };
	size_t size;

	(void)state;
	make_all_kinds();
	uint8_t *bytes = authority_slurp(scratch("5.rrd"), &size);
	assert_int_equal(rrd_adopt(&db, bytes, size, "dump", &why), 0);
	assert_false(db.head.native);
	assert_string_equal(db.origin, "dump");
	check_taken(&db);
	bytes = authority_slurp(scratch("4.rrd"), &size);
	assert_int_equal(rrd_adopt(&db, bytes, size - 1, "dump", &why), REFUSED);
	assert_non_null(strstr(why.text, "truncated"));
	assert_int_equal(db.size, 0);
	bytes = authority_slurp(scratch("4.rrd"), &size);
	bytes[0] = 'X';
	assert_int_equal(rrd_adopt(&db, bytes, size, "dump", &why), REFUSED);
	/* A file after that is a file again. */
	bytes = authority_slurp(scratch("4.rrd"), &size);
	assert_int_equal(read_bytes(&db, bytes, size, &why), 0);
	assert_true(db.head.native);
	assert_null(db.origin);
	free(bytes);
	rrd_free(&db);
}

int main(void)
{
	const char *given = getenv("SEED");
	unsigned seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_longer),
		cmocka_unit_test(test_ambiguous),
		cmocka_unit_test(test_contradicted),
		cmocka_unit_test(test_times),
		cmocka_unit_test(test_odd_last_value),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_mutations),
		cmocka_unit_test(test_adopt),
	};

	print_message("SEED=%u\n", seed);
	specimen_seed(seed);
	srandom(seed);
	random_state = seed;
	if (scratch_make())
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	return scratch_remove() || failed;
}
