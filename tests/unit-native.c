/* unit-native: headers put together piece by piece, byte for byte what librrd writes. */
#include "config.h"
#include "../src/native.h"     /* beside librrd's rrd.h, ours must not be found */

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "authority.h"
#include "oracle.h"
#include "scratch.h"
#include "specimen.h"

#define SHAPES 40

static unsigned seed;

/* A file's pieces through rrdtool's own structures. */
struct parts {
	const stat_head_t *stat;
	const ds_def_t *ds;
	const rra_def_t *rra;
	const uint8_t *live;
	const pdp_prep_t *pdp;
	const cdp_prep_t *cdp;
	const rra_ptr_t *ptr;
	size_t size;            /* of the header */
};

static struct parts take_apart(const uint8_t *bytes, unsigned version)
{
	struct parts parts = { .stat = (const void *)bytes };
	size_t ds = parts.stat->ds_cnt, rra = parts.stat->rra_cnt;

	parts.ds = (const void *)(parts.stat + 1);
	parts.rra = (const void *)(parts.ds + ds);
	parts.live = (const void *)(parts.rra + rra);
	parts.pdp = (const void *)(parts.live + (version < 3 ? sizeof(time_t)
							      : sizeof(live_head_t)));
	parts.cdp = (const void *)(parts.pdp + ds);
	parts.ptr = (const void *)(parts.cdp + ds * rra);
	parts.size = (size_t)((const uint8_t *)(parts.ptr + rra) - bytes);
	return parts;
}

static struct native_head head_of(const struct parts *parts, unsigned version)
{
	struct native_head head = {
		.version = version,
		.ds_cnt = parts->stat->ds_cnt,
		.rra_cnt = parts->stat->rra_cnt,
		.step = parts->stat->pdp_step,
	};
	time_t last_up;
	long usec;

	memcpy(&last_up, parts->live, sizeof(last_up));
	memcpy(&usec, parts->live + offsetof(live_head_t, last_up_usec), sizeof(usec));
	head.last_up = last_up;
	head.last_up_usec = version < 3 ? 0 : usec;
	memcpy(head.par, parts->stat->par, sizeof(head.par));
	return head;
}

/* In an order that no writer of a file would choose. */
static void put_together(uint8_t *to, const struct parts *parts, const struct native_head *head)
{
	for (uint64_t i = head->rra_cnt; i-- > 0;) {
		const rra_def_t *def = &parts->rra[i];
		struct native_rra rra = { .row_cnt = def->row_cnt, .pdp_cnt = def->pdp_cnt,
					  .cur_row = parts->ptr[i].cur_row };

		memcpy(rra.cf, def->cf_nam, sizeof(rra.cf));
		memcpy(rra.par, def->par, sizeof(rra.par));
		native_put_rra(to, head, i, &rra);
		for (uint64_t d = head->ds_cnt; d-- > 0;) {
			uint64_t scratch_values[NATIVE_PARS];

			memcpy(scratch_values, parts->cdp[i * head->ds_cnt + d].scratch,
			       sizeof(scratch_values));
			native_put_cdp(to, head, i, d, scratch_values);
		}
	}
	for (uint64_t i = head->ds_cnt; i-- > 0;) {
		struct native_ds ds;

		memcpy(ds.name, parts->ds[i].ds_nam, sizeof(ds.name));
		memcpy(ds.type, parts->ds[i].dst, sizeof(ds.type));
		memcpy(ds.par, parts->ds[i].par, sizeof(ds.par));
		memcpy(ds.last_ds, parts->pdp[i].last_ds, sizeof(ds.last_ds));
		memcpy(ds.pdp, parts->pdp[i].scratch, sizeof(ds.pdp));
		native_put_ds(to, head, i, &ds);
	}
	native_put_head(to, head);
}

/* Returns the file's version. */
static unsigned assert_made_again(const char *path)
{
	struct authority theirs;
	size_t size;
	uint8_t *bytes = authority_slurp(path, &size), *made;
	unsigned version = (unsigned)atoi((const char *)bytes + 4);
	struct parts parts = take_apart(bytes, version);
	struct native_head head = head_of(&parts, version);
	uint64_t header = 0, whole;

	authority_read(&theirs, path);
	assert_true(native_header_size(&head, &header));
	assert_int_equal(header, theirs.header_len);
	assert_int_equal(header, parts.size);
	whole = header;
	for (uint64_t i = 0; i < head.rra_cnt; i++)
		assert_true(native_add_rows(&whole, parts.rra[i].row_cnt, head.ds_cnt));
	assert_int_equal(whole, theirs.file_len);
	made = malloc(header);
	memset(made, 0xa5, header);
	put_together(made, &parts, &head);
	/* What lies between two fields is whatever rrdtool's memory held; 0 where it was new. */
	for (uint64_t i = 0; i < header; i++)
		if (made[i] != bytes[i])
			fail_msg("%s: byte %llu is %02x and not %02x", path,
				 (unsigned long long)i, made[i], bytes[i]);
	free(made);
	free(bytes);
	authority_free(&theirs);
	return version;
}

static void test_all_kinds(void **state)
{
	(void)state;
	authority_create(scratch("3.rrd"), 60, 1600000000, (const char *[]){
		"DS:a:COUNTER:120:0:1e9", "DS:b:ABSOLUTE:600:U:U",
		"DS:c_19_letters_long_x:GAUGE:7:-3:4.5", "DS:e:COMPUTE:a,b,+,-5,MAX",
		"RRA:AVERAGE:0.5:1:10", "RRA:MIN:0:5:3", "RRA:LAST:0.1:360:20",
		"RRA:HWPREDICT:30:0.1:0.0035:10", NULL });
	authority_update(scratch("3.rrd"), (const char *[]){
		"1600000061.25:5:6:1", "1600000125.5:8:7:2", "1600000425.5:8:U:2", NULL });
	assert_int_equal(assert_made_again(scratch("3.rrd")), 3);
	authority_create(scratch("4.rrd"), 300, 1600000000, (const char *[]){
		"DS:a:GAUGE:600:U:U", "RRA:AVERAGE:0.5:1:10",
		"RRA:MHWPREDICT:30:0.1:0.0035:10:3", "RRA:SEASONAL:10:0.2:2",
		"RRA:DEVSEASONAL:10:0.2:2", "RRA:DEVPREDICT:30:5", "RRA:FAILURES:30:4:6:5", NULL });
	assert_int_equal(assert_made_again(scratch("4.rrd")), 4);
	authority_create(scratch("5.rrd"), 1, 1600000000, (const char *[]){
		"DS:a:DCOUNTER:600:U:U", "DS:b:DDERIVE:600:U:U", "RRA:AVERAGE:0.5:1:10", NULL });
	assert_int_equal(assert_made_again(scratch("5.rrd")), 5);
	assert_true(specimen_make_old(scratch("3.rrd"), '1'));
	assert_int_equal(assert_made_again(scratch("3.rrd")), 1);
}

static void test_shapes(void **state)
{
	struct specimen live, backup;

	(void)state;
	for (unsigned i = 0; i < SHAPES; i++) {
		specimen_random_pair(&live, &backup);
		specimen_make(scratch("shape.rrd"), &backup);
		assert_made_again(scratch("shape.rrd"));
		unlink(scratch("shape.rrd"));
	}
}

/* The unions as rrdtool's own compiler's. */
static void test_values(void **state)
{
	static const int16_t vals[] = { 0, 1, -5, INT16_MIN, INT16_MAX };
	const uint64_t counts[] = { 0, 1, 300, 0x01020304, ULONG_MAX };

	(void)state;
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++) {
		uint64_t bits = native_count(counts[i]);
		unival value;

		memcpy(&value, &bits, sizeof(value));
		assert_true(value.u_cnt == counts[i]);
	}
	uint64_t bits = native_double(-2.5);
	unival value;
	memcpy(&value, &bits, sizeof(value));
	assert_true(value.u_val == -2.5);
	for (unsigned n = 0; n < 20; n++) {
		uint64_t par[NATIVE_PARS + 1];
		struct { char op; short val; } node;

		memset(par, 0xa5, sizeof(par));
		native_put_node(par, n, (uint8_t)(n + 13), vals[n % 5]);
		memcpy(&node, (uint8_t *)par + n * 4, 4);
		assert_int_equal(node.op, n + 13);
		assert_int_equal(node.val, vals[n % 5]);
		assert_int_equal(((uint8_t *)par)[n * 4 + 4], 0xa5);
		assert_true(n == 0 || ((uint8_t *)par)[n * 4 - 1] == 0xa5);
	}
}

static void test_too_large(void **state)
{
	const struct native_head sound = { .version = 3, .ds_cnt = 2, .rra_cnt = 3, .step = 60 };
	struct native_head head = sound;
	uint64_t size = 77;

	(void)state;
	head.ds_cnt = UINT64_C(1) << 60;
	assert_false(native_header_size(&head, &size));
	head.ds_cnt = head.rra_cnt = UINT64_C(1) << 32;
	assert_false(native_header_size(&head, &size));
	head.ds_cnt = 1;
	head.rra_cnt = UINT64_MAX / 80;
	assert_false(native_header_size(&head, &size));
	assert_int_equal(size, 77);
	head = sound;
	assert_true(native_header_size(&head, &size));
	size = 77;
	assert_false(native_add_rows(&size, UINT64_C(1) << 62, 2));
	assert_false(native_add_rows(&size, UINT64_C(1) << 61, 1));
	assert_false(native_add_rows(&size, UINT64_MAX / 8, 1));
	assert_int_equal(size, 77);
	assert_true(native_add_rows(&size, 10, 3));
	assert_int_equal(size, 77 + 240);
#if ULONG_MAX < UINT64_MAX
	head.step = UINT64_C(1) << 32;
	assert_false(native_header_size(&head, &size));
#endif
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_too_large),
	};
	int failed;

	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	specimen_seed(seed);
	srandom(seed);
	if (scratch_make())
		return 1;
	failed = cmocka_run_group_tests(tests, NULL, NULL);
	return scratch_remove() || failed;
}
