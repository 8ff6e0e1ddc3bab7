/* unit-layout: headers as librrd reads them, and every kind of lie in one. */
#include "config.h"
#include "layout.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "authority.h"
#include "scratch.h"
#include "specimen.h"

#define MUTATIONS 30000
#define SHAPES 60

static unsigned seed;

/* A header as bytes, and where things stand in it (the table of layout.h, first column). */
struct image {
	uint8_t *bytes;
	size_t size;            /* of the file */
	uint64_t ds, rra, header;
};

enum { AT_VERSION = 4, AT_COOKIE = 16, AT_DS_CNT = 24, AT_RRA_CNT = 32, AT_STEP = 40,
	STAT_HEAD = 128, DS_DEF = 120, RRA_DEF = 120 };

static size_t at_ds(uint64_t i)
{
	return STAT_HEAD + i * DS_DEF;
}

static size_t at_rra(const struct image *image, uint64_t i)
{
	return at_ds(image->ds) + i * RRA_DEF;
}

static size_t at_live_head(const struct image *image)
{
	return at_rra(image, image->rra);
}

static size_t at_ptr(const struct image *image, uint64_t i)
{
	return image->header - (image->rra - i) * 8;
}

/* What comes of a file of `size` bytes of which the first `len` were read: in a buffer that is
 * no larger, so that a read beyond it is seen by whatever watches memory. */
static int decode(const uint8_t *bytes, size_t len, uint64_t size, struct layout_header *ret,
		  struct reason *why)
{
	uint8_t *exact = malloc(len ? len : 1);
	struct layout_header head;
	int r;

	memcpy(exact, bytes, len);
	why->text[0] = '\0';
	r = layout_measure(exact, len, size, &head, why);
	if (!r)
		r = layout_decode(exact, len, &head, why);
	free(exact);
	if (r) {
		assert_int_equal(r, REFUSED);
		assert_string_not_equal(why->text, "");
	} else {
		*ret = head;
	}
	return r;
}

static void assert_refused_saying(const uint8_t *bytes, size_t len, uint64_t size,
				  const char *words)
{
	struct layout_header head;
	struct reason why;

	assert_int_equal(decode(bytes, len, size, &head, &why), REFUSED);
	if (words && !strstr(why.text, words))
		fail_msg("refused, but with \"%s\" and not \"%s\"", why.text, words);
}

static void assert_refused(const struct image *image, const char *words)
{
	assert_refused_saying(image->bytes, image->size, image->size, words);
}

static void assert_sound(const struct image *image)
{
	struct layout_header head;
	struct reason why;

	if (decode(image->bytes, image->size, image->size, &head, &why))
		fail_msg("refused: %s", why.text);
	layout_free(&head);
}

static bool same_double(double a, double b)
{
	return memcmp(&a, &b, sizeof(a)) == 0;
}

/* Every field of a COMPUTE's nodes, from the parameters as librrd has them in memory. */
static void assert_same_rpn(const struct layout_ds *ds, const struct authority_ds *theirs)
{
	unsigned len = 0;

	/* rpn_cdefds_t: a char, and a short at 2; 32 is OP_END. */
	while (theirs->par[4 * len] != 32) {
		int16_t val;

		assert_true(len < LAYOUT_RPN_NODES - 1);
		memcpy(&val, theirs->par + 4 * len + 2, sizeof(val));
		assert_int_equal(ds->rpn[len].op, theirs->par[4 * len]);
		assert_int_equal(ds->rpn[len].val, val);
		len++;
	}
	assert_int_equal(ds->rpn_len, len);
}

static void assert_same_ds(const struct layout_header *head, const struct authority *theirs)
{
	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		const struct layout_ds *ds = &head->ds[i];

		assert_string_equal(ds->name, theirs->ds[i].name);
		assert_string_equal(layout_dst_name(ds->type), theirs->ds[i].type);
		if (ds->type == DST_COMPUTE) {
			assert_same_rpn(ds, &theirs->ds[i]);
			continue;
		}
		assert_int_equal(ds->heartbeat, theirs->ds[i].heartbeat);
		assert_true(same_double(ds->min, theirs->ds[i].min));
		assert_true(same_double(ds->max, theirs->ds[i].max));
	}
}

static void assert_same_rras(const struct layout_header *head, const struct authority *theirs)
{
	uint64_t offset = theirs->header_len;

	for (uint64_t i = 0; i < head->rra_cnt; i++) {
		const struct layout_rra *rra = &head->rra[i];

		assert_string_equal(layout_cf_name(rra->cf), theirs->rra[i].cf);
		assert_int_equal(rra->row_cnt, theirs->rra[i].row_cnt);
		assert_int_equal(rra->pdp_cnt, theirs->rra[i].pdp_cnt);
		assert_int_equal(rra->cur_row, theirs->rra[i].cur_row);
		assert_true(same_double(rra->xff, theirs->rra[i].xff));
		assert_int_equal(rra->offset, offset);
		assert_int_equal(layout_resolution(head, i), theirs->step * rra->pdp_cnt);
		offset += rra->row_cnt * head->ds_cnt * sizeof(double);
	}
	assert_int_equal(head->file_size, offset);
}

static void assert_same_preps(const struct layout_header *head, const uint8_t *bytes,
			      const struct authority *theirs)
{
	const double *cdp = theirs->cdp;

	for (uint64_t rra = 0; rra < head->rra_cnt; rra++)
		for (uint64_t ds = 0; ds < head->ds_cnt; ds++)
			for (unsigned i = 0; i < AUTHORITY_SCRATCH; i++, cdp++)
				assert_true(same_double(layout_cdp_double(head, bytes, rra, ds, i),
							*cdp));
}

/* The whole of a file's header against librrd's; returns its version. */
static unsigned compare(const char *path)
{
	struct authority theirs;
	struct layout_header head;
	struct reason why;
	size_t size;
	uint8_t *bytes = authority_slurp(path, &size);
	unsigned version;

	authority_read(&theirs, path);
	if (decode(bytes, theirs.header_len, size, &head, &why))
		fail_msg("%s: %s", path, why.text);
	assert_true(head.native);
	assert_non_null(head.form);
	version = head.version;
	assert_int_equal(version, atoi(theirs.version));
	assert_int_equal(head.ds_cnt, theirs.ds_cnt);
	assert_int_equal(head.rra_cnt, theirs.rra_cnt);
	assert_int_equal(head.step, theirs.step);
	assert_int_equal(head.last_up, theirs.last_up);
	assert_int_equal(head.last_up_usec, theirs.last_up_usec);
	assert_int_equal(head.size, theirs.header_len);
	assert_same_ds(&head, &theirs);
	assert_same_rras(&head, &theirs);
	assert_same_preps(&head, bytes, &theirs);
	layout_free(&head);
	layout_free(&head);             /* twice does no harm */
	authority_free(&theirs);
	free(bytes);
	return version;
}

/* Every type and every CF, versions 0003 to 0005. */
static void test_all_kinds(void **state)
{
	(void)state;
	authority_create(scratch("3.rrd"), 60, 1600000000, (const char *[]){
		"DS:a:COUNTER:120:0:1e9", "DS:b:ABSOLUTE:600:U:U",
		"DS:c_19_letters_long_x:GAUGE:7:-3:4.5",
		"DS:d:DERIVE:120:U:0", "DS:e:COMPUTE:a,b,+,c_19_letters_long_x,*,-5,MAX",
		"DS:f:COMPUTE:e,UN,0,e,IF",
		"RRA:AVERAGE:0.5:1:10", "RRA:MIN:0:5:3", "RRA:MAX:0.99:7:1", "RRA:LAST:0.1:360:20",
		"RRA:HWPREDICT:30:0.1:0.0035:10", NULL });
	assert_int_equal(compare(scratch("3.rrd")), 3);
	authority_create(scratch("4.rrd"), 300, 1600000000, (const char *[]){
		"DS:a:GAUGE:600:U:U", "RRA:AVERAGE:0.5:1:10",
		"RRA:MHWPREDICT:30:0.1:0.0035:10:3", "RRA:SEASONAL:10:0.2:2",
		"RRA:DEVSEASONAL:10:0.2:2", "RRA:DEVPREDICT:30:5", "RRA:FAILURES:30:4:6:5", NULL });
	assert_int_equal(compare(scratch("4.rrd")), 4);
	authority_create(scratch("5.rrd"), 1, 1600000000, (const char *[]){
		"DS:a:DCOUNTER:600:U:U", "DS:b:DDERIVE:600:U:U", "RRA:AVERAGE:0.5:1:10", NULL });
	assert_int_equal(compare(scratch("5.rrd")), 5);
	authority_update(scratch("3.rrd"), (const char *[]){
		"1600000061.25:5:6:1:2", "1600000125.5:8:7:2:3", NULL });
	compare(scratch("3.rrd"));
	assert_true(specimen_make_old(scratch("3.rrd"), '1'));
	assert_int_equal(compare(scratch("3.rrd")), 1);
}

static void test_old_versions(void **state)
{
	char version = '1';

	(void)state;
	for (unsigned i = 0; i < 2; i++, version++) {
		authority_create(scratch("old.rrd"), 60, 1600000000, (const char *[]){
			"DS:a:GAUGE:120:U:U", "DS:b:COUNTER:600:U:U", "RRA:AVERAGE:0.5:1:10",
			"RRA:MAX:0.5:6:11", NULL });
		authority_update(scratch("old.rrd"), (const char *[]){
			"1600000070:5:6", "1600000500:7:60", NULL });
		assert_true(specimen_make_old(scratch("old.rrd"), version));
		assert_int_equal(compare(scratch("old.rrd")), i + 1);
	}
}

/* Files of many shapes, from the judge's own maker. */
static void test_shapes(void **state)
{
	struct specimen live, backup;
	unsigned versions = 0;

	(void)state;
	for (unsigned i = 0; i < SHAPES; i++) {
		specimen_random_pair(&live, &backup);
		specimen_make(scratch("shape.rrd"), &backup);
		versions |= 1u << compare(scratch("shape.rrd"));
		unlink(scratch("shape.rrd"));
	}
	assert_true(versions & 1 << 3);
}

/* The file that the lies are told in. */
static struct image make_image(void)
{
	struct image image;

	authority_create(scratch("x.rrd"), 60, 1600000000, (const char *[]){
		"DS:a:GAUGE:120:U:U", "DS:b:COUNTER:600:U:U", "DS:c:COMPUTE:a,b,+",
		"RRA:AVERAGE:0.5:1:10", "RRA:MAX:0.5:6:11", NULL });
	authority_update(scratch("x.rrd"), (const char *[]){ "1600000070:5:6", NULL });
	image.bytes = authority_slurp(scratch("x.rrd"), &image.size);
	image.ds = 3;
	image.rra = 2;
	image.header = image.size - 21 * 3 * sizeof(double);
	unlink(scratch("x.rrd"));
	return image;
}

static int setup(void **state)
{
	struct image *image = malloc(sizeof(*image));

	*image = make_image();
	*state = image;
	return 0;
}

static int teardown(void **state)
{
	struct image *image = *state;

	free(image->bytes);
	free(image);
	return 0;
}

/* Whether a file ends there or only what was read of it does. */
static void test_truncation(void **state)
{
	struct image *image = *state;

	assert_sound(image);
	for (size_t len = 0; len < image->header; len++) {
		assert_refused_saying(image->bytes, len, len, len < 9 ? NULL : len < 24
				      ? "damaged" : "truncated");
		assert_refused_saying(image->bytes, len, image->size, NULL);
	}
	assert_refused_saying(image->bytes, 0, 0, "empty");
	/* The header alone, and no rows: for whoever has the file to find out. */
	struct layout_header head;
	struct reason why;
	assert_int_equal(decode(image->bytes, image->header, image->header, &head, &why), 0);
	assert_int_equal(head.file_size, image->size);
	layout_free(&head);
}

/* What layout_measure() says of a file of which it sees no more than it asks for. */
static void test_first_bytes(void **state)
{
	struct image *image = *state;
	struct layout_header head, untouched;
	uint8_t *exact = malloc(LAYOUT_HEAD_SIZE);

	memcpy(exact, image->bytes, LAYOUT_HEAD_SIZE);
	assert_int_equal(layout_measure(exact, LAYOUT_HEAD_SIZE, image->size, &head, NULL), 0);
	assert_int_equal(head.size, image->header);
	assert_int_equal(head.ds_cnt, 3);
	assert_int_equal(head.rra_cnt, 2);
	assert_int_equal(head.step, 60);
	/* One byte too few for the header is known at once. */
	assert_int_equal(layout_measure(exact, LAYOUT_HEAD_SIZE, image->header, &head, NULL), 0);
	assert_int_equal(layout_measure(exact, LAYOUT_HEAD_SIZE, image->header - 1, &head, NULL),
			 REFUSED);
	memset(&head, 0x5a, sizeof(head));
	untouched = head;
	exact[0] = 'X';
	assert_int_equal(layout_measure(exact, LAYOUT_HEAD_SIZE, image->size, &head, NULL),
			 REFUSED);
	assert_memory_equal(&head, &untouched, sizeof(head));
	free(exact);
}

static void put_word(struct image *image, size_t at, uint64_t value)
{
	memcpy(image->bytes + at, &value, sizeof(value));
}

/* Each of the numbers that say how much there is. */
static void test_hostile_counts(void **state)
{
	struct image *image = *state;
	static const uint64_t lies[] = {
		0, UINT64_C(1) << 31, UINT64_C(1) << 32, UINT64_C(1) << 53, UINT64_C(1) << 61,
		(UINT64_C(1) << 61) + 10, UINT64_C(1) << 63, UINT64_MAX - 1, UINT64_MAX
	};
	const size_t places[] = {
		AT_DS_CNT, AT_RRA_CNT, AT_STEP, at_rra(image, 0) + 24, at_rra(image, 0) + 32,
		at_rra(image, 1) + 24, at_rra(image, 1) + 32, at_ptr(image, 0), at_ptr(image, 1)
	};

	for (size_t p = 0; p < sizeof(places) / sizeof(places[0]); p++)
		for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
			uint64_t was, lie = lies[i];
			bool is_step = places[p] == AT_STEP || places[p] == at_rra(image, 0) + 32 ||
				       places[p] == at_rra(image, 1) + 32;
			bool is_rows = places[p] == at_rra(image, 0) + 24 ||
				       places[p] == at_rra(image, 1) + 24;
			struct layout_header head;
			struct reason why;

			if (places[p] >= at_ptr(image, 0) && lie == 0)
				continue;       /* cur_row may be 0 */
			memcpy(&was, image->bytes + places[p], sizeof(was));
			put_word(image, places[p], lie);
			int r = decode(image->bytes, image->size, image->size, &head, &why);
			/* What does not overflow is for the file's own size to refute. */
			if (!r && is_step && lie <= UINT64_C(1) << 32)
				assert_int_equal(head.file_size, image->size);
			else if (!r && is_rows && lie <= UINT64_C(1) << 32)
				assert_true(head.file_size > image->size);
			else if (!r)
				fail_msg("%llu taken at %zu", (unsigned long long)lie, places[p]);
			if (!r)
				layout_free(&head);
			put_word(image, places[p], was);
		}
	assert_sound(image);
}

/* One too many and one too few are found out as well. */
static void test_counts_by_one(void **state)
{
	struct image *image = *state;

	put_word(image, AT_DS_CNT, 1);
	assert_refused(image, "damaged");
	put_word(image, AT_DS_CNT, 2);
	assert_refused(image, "damaged");
	put_word(image, AT_DS_CNT, 4);
	assert_refused(image, "damaged");
	put_word(image, AT_DS_CNT, 3);
	put_word(image, AT_RRA_CNT, 3);
	assert_refused(image, "damaged");
	put_word(image, AT_RRA_CNT, 2);
	put_word(image, at_ptr(image, 0), 10);
	assert_refused(image, "RRA 1 of 2");
	put_word(image, at_ptr(image, 0), 9);
	assert_sound(image);
	put_word(image, at_ptr(image, 1), 11);
	assert_refused(image, "RRA 2 of 2");
	put_word(image, at_ptr(image, 1), 0);
	assert_sound(image);
	/* More than anybody ever made, and a file to match. */
	put_word(image, AT_DS_CNT, LAYOUT_DS_MAX + 1);
	assert_refused_saying(image->bytes, image->size, UINT64_C(1) << 60, "damaged, or too large");
	put_word(image, AT_DS_CNT, 3);
	put_word(image, AT_RRA_CNT, LAYOUT_RRA_MAX + 1);
	assert_refused_saying(image->bytes, image->size, UINT64_C(1) << 60, "damaged, or too large");
}

static void test_names(void **state)
{
	struct image *image = *state;
	uint8_t was[60];

	for (uint64_t i = 0; i < 3; i++) {
		memcpy(was, image->bytes + at_ds(i), sizeof(was));
		memset(image->bytes + at_ds(i), 'a', 20);               /* no NUL in the name */
		assert_refused(image, "data source");
		image->bytes[at_ds(i) + 19] = '\0';
		assert_sound(image);
		image->bytes[at_ds(i)] = '\0';
		assert_refused(image, "data source");                   /* no name at all */
		memcpy(image->bytes + at_ds(i), was, sizeof(was));
		memset(image->bytes + at_ds(i) + 20, 'G', 20);          /* nor in the type */
		assert_refused(image, "data source");
		strcpy((char *)image->bytes + at_ds(i) + 20, "GAUG");
		assert_refused(image, "data source");
		strcpy((char *)image->bytes + at_ds(i) + 20, "gauge");
		assert_refused(image, "data source");
		strcpy((char *)image->bytes + at_ds(i) + 20, "");
		assert_refused(image, "data source");
		memcpy(image->bytes + at_ds(i), was, sizeof(was));
		assert_sound(image);
	}
	for (uint64_t i = 0; i < 2; i++) {
		memcpy(was, image->bytes + at_rra(image, i), sizeof(was));
		memset(image->bytes + at_rra(image, i), 'A', 20);
		assert_refused(image, "RRA");
		strcpy((char *)image->bytes + at_rra(image, i), "AVERAGES");
		assert_refused(image, "RRA");
		strcpy((char *)image->bytes + at_rra(image, i), "");
		assert_refused(image, "RRA");
		memcpy(image->bytes + at_rra(image, i), was, sizeof(was));
		assert_sound(image);
	}
}

/* c computes a,b,+: VARIABLE 0, VARIABLE 1, ADD, END. */
static void test_formulas(void **state)
{
	struct image *image = *state;
	uint8_t *par = image->bytes + at_ds(2) + 40;
	int16_t index[] = { 3, 1000, -1, INT16_MIN, INT16_MAX };

	assert_int_equal(par[12], 32);
	for (size_t i = 0; i < sizeof(index) / sizeof(index[0]); i++) {
		memcpy(par + 2, &index[i], 2);
		assert_refused(image, "data source 3");
		par[0] = 36;                    /* OP_PREV_OTHER */
		assert_refused(image, "data source 3");
		par[0] = 1;
	}
	memset(par, 2, 80);                     /* no end */
	assert_refused(image, "data source 3");
	memset(par + 76, 32, 4);
	assert_sound(image);
	memset(par, 32, 4);                     /* nothing but an end */
	assert_sound(image);
}

static void test_times(void **state)
{
	struct image *image = *state;
	static const int64_t lies[] = { -1, INT64_MIN, INT64_MAX, INT64_C(1) << 60 };
	size_t at = at_live_head(image);

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		put_word(image, at, (uint64_t)lies[i]);
		assert_refused(image, "last_update");
	}
	put_word(image, at, 0);
	assert_sound(image);
	put_word(image, at, UINT64_C(1) << 33);
	assert_sound(image);
}

static void test_versions(void **state)
{
	struct image *image = *state;
	static const char *const lies[] = { "0000", "0006", "9999", "3", "000", "003 ", "-003",
		"+003", " 003", "0x03", "abcd", "", "\xff\xff\xff\xff" };

	for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
		memset(image->bytes + AT_VERSION, 0, 5);
		memcpy(image->bytes + AT_VERSION, lies[i], strlen(lies[i]));
		assert_refused(image, NULL);
	}
	memcpy(image->bytes + AT_VERSION, "00033", 5);          /* no NUL */
	assert_refused(image, NULL);
	memcpy(image->bytes + AT_VERSION, "0006", 5);
	assert_refused(image, "0006");
	memcpy(image->bytes + AT_VERSION, "0003", 5);
	assert_sound(image);
	image->bytes[3] = 'x';
	assert_refused(image, "not an RRD");
	image->bytes[3] = '\0';
	image->bytes[AT_COOKIE] ^= 1;
	assert_refused(image, "float cookie");
}

static void test_foreign(void **state)
{
	static const struct {
		const char *name, *form;        /* NULL: this machine's own */
		unsigned tail;                  /* bytes that the file is too long */
	} files[] = {
		{ "0001b328", "32-bit big-endian", 0 }, { "0001b648", "64-bit big-endian", 0 },
		{ "0001l324", "i386", 0 }, { "0001l648", NULL, 0 },
		{ "0003b328", "32-bit big-endian", 0 }, { "0003l324", "i386", 0 },
		{ "0003l328", "32-bit little-endian", 4 }, { "0003l648", NULL, 0 },
		{ "rrdtool", NULL, 0 }
	};
	const char *top = getenv("top_srcdir");
	char path[4096];

	(void)state;
	if (!top || sizeof(long) != 8 || __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__) {
		print_message("top_srcdir is not set, or this is not the machine for it\n");
		skip();
	}
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		size_t size;

		snprintf(path, sizeof(path), "%s/tests/data/foreign/%s.rrd", top, files[i].name);
		if (!files[i].form) {
			compare(path);
			continue;
		}
		uint8_t *bytes = authority_slurp(path, &size);
		struct layout_header head;
		struct reason why;
		if (decode(bytes, size, size, &head, &why))
			fail_msg("%s: %s", files[i].name, why.text);
		assert_false(head.native);
		assert_string_equal(head.form->name, files[i].form);
		assert_int_equal(head.file_size + files[i].tail, size);
		assert_string_equal(head.ds[0].name, "speed");
		assert_string_equal(head.ds[1].name, "weight");
		layout_free(&head);
		/* Of none of the machines in the table: a double's halves swapped, at another place. */
		unsigned at = files[i].form[0] == 'i' ? 12 : 16;
		for (unsigned n = 0; n < 4; n++) {
			uint8_t byte = bytes[at + n];
			bytes[at + n] = bytes[at + 4 + n];
			bytes[at + 4 + n] = byte;
		}
		assert_refused_saying(bytes, size, size, "kind of machine that is not known");
		memmove(bytes + 10, bytes + at, 8);
		assert_refused_saying(bytes, size, size, "kind of machine that is not known");
		free(bytes);
	}
}

static uint64_t random_state;

static size_t below(size_t n)
{
	return (size_t)(authority_random(&random_state) % n);
}

/* A few changes to a sound header: bits, bytes, whole words of the kind that hurts. */
static void mutate(uint8_t *bytes, size_t len)
{
	static const uint64_t words[] = { 0, 1, 2, UINT64_MAX, UINT64_C(1) << 63, UINT64_C(1) << 61,
		UINT64_C(1) << 31, UINT64_C(1) << 32, INT64_MAX, 4096, 16384 };

	for (size_t n = 1 + below(6); n-- && len >= 16;) {
		size_t at = below(len);

		switch (below(4)) {
		case 0:
			bytes[at] ^= (uint8_t)(1u << below(8));
			break;
		case 1:
			bytes[at] = (uint8_t)below(256);
			break;
		case 2:
			at = at / 8 * 8;
			if (at + 8 <= len)
				memcpy(bytes + at, &words[below(sizeof(words) / 8)], 8);
			break;
		default:
			/* Where the counts stand. */
			at = AT_DS_CNT + 8 * below(3);
			if (at + 8 <= len)
				memcpy(bytes + at, &words[below(sizeof(words) / 8)], 8);
			break;
		}
	}
}

/* What is taken must hold together. */
static void check_taken(const struct layout_header *head, uint64_t size)
{
	assert_true(head->ds_cnt >= 1 && head->ds_cnt <= LAYOUT_DS_MAX);
	assert_true(head->rra_cnt >= 1 && head->rra_cnt <= LAYOUT_RRA_MAX);
	assert_true(head->step >= 1 && head->size <= size && head->last_up >= 0);
	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		assert_true(memchr(head->ds[i].name, '\0', LAYOUT_NAME_SIZE) != NULL);
		assert_true(head->ds[i].type <= DST_DDERIVE);
		assert_true(head->ds[i].rpn_len < LAYOUT_RPN_NODES);
	}
	for (uint64_t i = 0; i < head->rra_cnt; i++) {
		assert_true(head->rra[i].cf <= CF_MHWPREDICT);
		assert_true(head->rra[i].cur_row < head->rra[i].row_cnt);
		assert_true(layout_resolution(head, i) > 0);
		assert_true(head->rra[i].offset >= head->size);
		assert_true(head->rra[i].offset < head->file_size);
	}
}

static void test_mutations(void **state)
{
	enum { ORIGINALS = 12 };
	struct image original[ORIGINALS];
	struct specimen live, backup;
	unsigned taken = 0, refused = 0;

	(void)state;
	random_state = seed;
	for (unsigned i = 0; i < ORIGINALS; i++) {
		specimen_random_pair(&live, &backup);
		specimen_make(scratch("m.rrd"), &backup);
		original[i].bytes = authority_slurp(scratch("m.rrd"), &original[i].size);
		unlink(scratch("m.rrd"));
		struct layout_header head;
		struct reason why;
		assert_int_equal(decode(original[i].bytes, original[i].size, original[i].size,
					&head, &why), 0);
		original[i].header = head.size;
		layout_free(&head);
	}
	for (unsigned n = 0; n < MUTATIONS; n++) {
		const struct image *from = &original[below(ORIGINALS)];
		size_t len = below(4) ? (size_t)from->header : below((size_t)from->header + 1);
		/* As the file's size what was read, what the file had, or a lie. */
		uint64_t size = !below(4) ? len
			      : below(8) ? from->size : authority_random(&random_state);
		uint8_t *bytes = malloc(len ? len : 1);
		struct layout_header head;
		struct reason why;

		memcpy(bytes, from->bytes, len);
		mutate(bytes, len);
		if (decode(bytes, len, size, &head, &why)) {
			refused++;
		} else {
			taken++;
			check_taken(&head, size);
			for (uint64_t i = 0; i < 4; i++)
				layout_cdp_double(&head, from->bytes, 0, 0, (unsigned)i);
			layout_free(&head);
		}
		free(bytes);
	}
	for (unsigned i = 0; i < ORIGINALS; i++)
		free(original[i].bytes);
	print_message("%u taken, %u refused\n", taken, refused);
	assert_true(taken && refused);
}

int main(void)
{
	const char *given = getenv("SEED");
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_all_kinds),
		cmocka_unit_test(test_old_versions),
		cmocka_unit_test(test_shapes),
		cmocka_unit_test_setup_teardown(test_truncation, setup, teardown),
		cmocka_unit_test_setup_teardown(test_first_bytes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_hostile_counts, setup, teardown),
		cmocka_unit_test_setup_teardown(test_counts_by_one, setup, teardown),
		cmocka_unit_test_setup_teardown(test_names, setup, teardown),
		cmocka_unit_test_setup_teardown(test_formulas, setup, teardown),
		cmocka_unit_test_setup_teardown(test_times, setup, teardown),
		cmocka_unit_test_setup_teardown(test_versions, setup, teardown),
		cmocka_unit_test(test_foreign),
		cmocka_unit_test(test_mutations),
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
