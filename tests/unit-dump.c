/* unit-dump: dumps of every age and packing against what rrdtool restore makes of them. */
#include "config.h"
#include "dump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <locale.h>
#include <math.h>
#include <sys/syscall.h>
#include <time.h>
#include <zlib.h>
#ifdef HAVE_ZSTD
#include <zstd.h>
#endif
#ifdef HAVE_LZMA
#include <lzma.h>
#endif

#include "dumping.h"
#include "rpn.h"
#include "specimen.h"

#define DATABASES 60
#define SAMPLE_S 1234

static unsigned seed;

/* Stands before the C library's: what `in_between` does happens before the second read. */
static void (*in_between)(void);
static unsigned reads;

ssize_t pread(int fd, void *buffer, size_t size, off_t offset)
{
	if (in_between && ++reads == 2) {
		void (*now)(void) = in_between;

		in_between = NULL;
		now();
	}
	return (ssize_t)syscall(SYS_pread64, fd, buffer, size, offset);
}

/* The cells are, to the bit, what strtod makes of the text, in the order of the text. */
static void assert_cells_of_text(const struct rrd *db, const char *text)
{
	const double *cell = (const double *)(const void *)(db->bytes + db->head.size);
	size_t cells = (db->size - (size_t)db->head.size) / sizeof(double), seen = 0;

	for (const char *at = text; *at; at++) {
		if (at[0] != '<' || at[1] != 'v' || at[2] != '>')
			continue;
		at += 3;
		double value = strtod(at, NULL);
		assert_true(seen < cells);
		if (isnan(value) ? !isnan(cell[seen])
				 : memcmp(&value, &cell[seen], sizeof(value)) != 0)
			fail_msg("value %zu is %.17g, should be %.17g", seen, cell[seen], value);
		seen++;
	}
	assert_int_equal(seen, cells);
}

/* What rrdtool's restore makes of the file is what we make of it. */
static void assert_as_restored(const char *xml, const char *original)
{
	const char *image = scratch("image.rrd"), *restored = scratch("restored.rrd");
	struct rrd db = { 0 };
	struct reason why;
	int r = read_path(&db, xml, &why);

	if (r)
		fail_msg("%s: %d: %s", xml, r, why.text);
	assert_int_equal(db.size, db.head.file_size);
	assert_true(db.head.native);
	assert_string_equal(db.origin, "dump");
	authority_spill(image, db.bytes, db.size);
	if (!dumped_restore(xml, restored))
		fail_msg("%s: rrdtool does not restore it", xml);
	const char *difference = dumped_difference(image, restored, original);
	if (difference)
		fail_msg("%s: %s", xml, difference);
	for (uint64_t i = 0; i < db.head.rra_cnt; i++)
		assert_int_equal(db.head.rra[i].cur_row, db.head.rra[i].row_cnt - 1);
	struct text text = text_file(xml);
	assert_cells_of_text(&db, text.at);
	free(text.at);
	rrd_free(&db);
}

/* ---- against restore ---- */

static void test_random(void **state)
{
	const char *rrd = scratch("random.rrd"), *xml = scratch("random.xml");

	(void)state;
	for (unsigned i = 0; i < DATABASES; i++) {
		struct specimen live, backup;

		unlink(rrd);
		specimen_random_pair(&live, &backup);
		specimen_make(rrd, &backup);
		dumped_dump(rrd, xml, (int)(i % 3));
		assert_as_restored(xml, rrd);
	}
}

static void must_be_as_restored(struct text text, const char *name)
{
	const char *xml = scratch(name);

	authority_spill(xml, text.at, text.len);
	assert_as_restored(xml, NULL);
	free(text.at);
}

/* rrdtool 1.0 to 1.3 put blanks around values; 1.2 no line before <rrd>; 1.0 knew neither params
 * nor the primary value. */
static struct text age(struct text text, bool oldest)
{
	static const char *const names[] = {
		"version", "step", "lastupdate", "minimal_heartbeat", "min", "max", "last_ds",
		"value", "cf", "pdp_per_row", "xff", "unknown_datapoints", "v"
	};
	char from[40], to[40];

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(from, sizeof(from), "<%s>", names[i]);
		snprintf(to, sizeof(to), "<%s> ", names[i]);
		text = text_replace(text, from, to, SIZE_MAX);
		snprintf(from, sizeof(from), "</%s>", names[i]);
		snprintf(to, sizeof(to), " </%s>", names[i]);
		text = text_replace(text, from, to, SIZE_MAX);
	}
	text = text_replace(text, "-->\n<rrd>\n", "--><rrd>", 1);
	if (!oldest)
		return text;
	text = text_replace(text, "<params>", "", SIZE_MAX);
	text = text_replace(text, "</params>", "", SIZE_MAX);
	text = text_replace(text, "<version> 0003 ", "<version> 0001 ", 1);
	for (char *at; (at = strstr(text.at, "<primary_value>"));) {
		char *end = strstr(at, "<value>");

		memmove(at, end, strlen(end) + 1);
		text.len = strlen(text.at);
	}
	return text;
}

static void test_ages(void **state)
{
	static const char *const fixtures[] = { "rrdtool1.xml", "rrdtool3.xml" };
	const char *top = getenv("top_srcdir");
	char path[512];

	(void)state;
	for (int header = 0; header < 3; header++) {
		must_be_as_restored(make_sample(SAMPLE_S, header), "now.xml");
		must_be_as_restored(age(make_sample(SAMPLE_S, header), false), "blanks.xml");
		must_be_as_restored(age(make_sample(SAMPLE_S, header), true), "oldest.xml");
	}
	for (unsigned i = 0; i < 2; i++) {
		snprintf(path, sizeof(path), "%s/tests/data/dumps/%s", top ? top : ".",
			 fixtures[i]);
		must_be_as_restored(text_file(path), fixtures[i]);
	}
}

/* All that Holt-Winters' archives keep, with values that are not the defaults. */
static void test_holt_winters(void **state)
{
	static const char history[] = "0110100110010110100101100110";
	const char *rrd = scratch("hw.rrd"), *xml = scratch("hw.xml");
	struct rrd db = { 0 };
	struct reason why;
	int64_t start = 1600000000;
	char update[64], longer[64];

	(void)state;
	unlink(rrd);
	authority_create(rrd, 10, start, (const char *[]){
		"DS:a:GAUGE:600:U:U", "DS:b:GAUGE:600:U:U", "RRA:AVERAGE:0.5:1:50",
		"RRA:MHWPREDICT:60:0.11:0.0035:12:3",
		"RRA:SEASONAL:12:0.13:2:smoothing-window=0.17",
		"RRA:DEVSEASONAL:12:0.19:2:smoothing-window=0.23", "RRA:DEVPREDICT:40:4",
		"RRA:FAILURES:40:5:20:4", NULL });
	for (int64_t t = start + 10; t < start + 2000; t += 10) {
		snprintf(update, sizeof(update), "%lld:%lld:%lld", (long long)t, (long long)t % 120,
			 (long long)(t % 120 + t * t % 7919 / 70));
		authority_update(rrd, (const char *[]){ update, NULL });
	}
	dumped_dump(rrd, xml, 1);
	assert_as_restored(xml, rrd);
	/* rrdtool keeps up to 28 violations, and restores 10. */
	struct text text = text_file(xml);
	char *at = strstr(text.at, "<history>"), *end = strstr(at, "</history>");
	char *old = strndup(at, (size_t)(end - at));
	snprintf(longer, sizeof(longer), "<history>%s", history);
	text = text_replace(text, old, longer, 1);
	assert_int_equal(read_bytes(&db, text.at, text.len, &why), 0);
	for (unsigned i = 0; i < 28; i++)
		assert_int_equal(db.bytes[layout_cdp_offset(&db.head, 5, 0) + i], history[i] - '0');
	free(old);
	free(text.at);
	rrd_free(&db);
}

/* All versions that there are, and the next one. */
static void test_versions(void **state)
{
	struct rrd db = { 0 };
	struct reason why;
	char version[32];

	(void)state;
	for (unsigned i = 0; i <= 6; i++) {
		snprintf(version, sizeof(version), "<version>%04u<", i);
		struct text text = text_replace(make_sample(100, 0), "<version>0003<", version, 1);
		int r = read_bytes(&db, text.at, text.len, &why);

		assert_int_equal(r, i >= 1 && i <= 5 ? 0 : REFUSED);
		if (!r)
			assert_int_equal(db.head.version, i < 3 ? 3 : i);
		free(text.at);
	}
	assert_non_null(strstr(why.text, "version 0006"));
	rrd_free(&db);
}

/* ---- numbers ---- */

static const struct {
	const char *text;
	double value;
} numbers[] = {
	{ "0", 0.0 }, { "-0.0000000000e+00", -0.0 }, { "1", 1.0 }, { "+1.5", 1.5 },
	{ "1.2345678901e+02", 123.45678901 }, { "-1.2345678901e-07", -1.2345678901e-07 },
	{ "9.9999999999e+32", 9.9999999999e+32 }, { "1.0000000000e+33", 1e33 },
	{ "1.2345678901e-13", 1.2345678901e-13 }, { "9007199254740993", 9007199254740992.0 },
	{ "123456789012345678901234567890", 123456789012345678901234567890.0 },
	{ "0.000000000000000000000000000001", 1e-30 }, { "4.9406564584e-324", 4.9406564584e-324 },
	{ "2.2250738585e-308", 2.2250738585e-308 }, { "1e-400", 0.0 }, { "1e400", INFINITY },
	{ "1.7976931349e+308", INFINITY }, { "1.7976931348e+308", 1.7976931348e+308 },
	{ "1,5000000000e+00", 1.5 }, { "-1,2345678901e+40", -1.2345678901e+40 },
	{ "NaN", NAN }, { "nan", NAN }, { "-nan", NAN }, { "-NaN", NAN }, { "inf", INFINITY },
	{ "-inf", -INFINITY }, { "+Inf", INFINITY }, { "Infinity", INFINITY },
	{ "1e99999999999999999999", INFINITY }, { "1e-99999999999999999999", 0.0 },
	{ "0e99999999999999999999", 0.0 },
	/* As other systems print them; rrdtool restores them so. */
	{ "NaNQ", NAN }, { "-NaNQ", NAN }, { "NANS", NAN }, { "nan0x8000000000000", NAN },
	{ "-nan(ind)", NAN }, { "nan(0x7f)", NAN }, { "1.#QNAN00000e+000", NAN },
	{ "-1.#QNAN", NAN }, { "1.#SNAN0", NAN }, { "1.#INF", INFINITY }, { "1.5e+003", 1500.0 },
	{ "1.#INF000000e+000", INFINITY }, { "-1.#INF000000e+000", -INFINITY },
};

static const char *const no_numbers[] = {
	"", "U", "-", "+", ".", "e5", "1e", "1e+", "1.2.3", "1,2,3", "1.2,3", "0x10", "1e5x", "1 2",
	"--1", "nanx", "nanq1", "infin", "infq", "1.#IND", "1.#INFx", "1.#", "nan0",
	"1.#inf 0", ("\xc2\xa0" "1"), "1e5.5"
};

static void read_number(const char *number, int expected, double value)
{
	struct text text = make_sample(100, 0);
	struct rrd db = { 0 };
	struct reason why;
	char to[128];

	snprintf(to, sizeof(to), "<database><row><v>%s</v><v>NaN</v></row>", number);
	text = text_replace(text, "<database>", to, 1);
	int r = read_bytes(&db, text.at, text.len, &why);
	if (r != expected)
		fail_msg("\"%s\": %d: %s", number, r, why.text);
	if (!r) {
		double cell = rrd_rows(&db, 0)[0];
		if (isnan(value) ? !isnan(cell) : memcmp(&cell, &value, sizeof(cell)) != 0)
			fail_msg("\"%s\" was read as %.17g", number, cell);
	}
	free(text.at);
	rrd_free(&db);
}

static void test_numbers(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
		read_number(numbers[i].text, 0, numbers[i].value);
	for (size_t i = 0; i < sizeof(no_numbers) / sizeof(no_numbers[0]); i++)
		read_number(no_numbers[i], REFUSED, 0);
	/* Whatever the locale, where there is one with a comma. */
	if (!setlocale(LC_NUMERIC, "de_DE.UTF-8") && !setlocale(LC_NUMERIC, "fr_FR.UTF-8"))
		return;
	read_number("1.2345678901e+40", 0, 1.2345678901e+40);
	setlocale(LC_NUMERIC, "C");
}

/* As in dumps, and at random: what strtod says. */
static void test_random_numbers(void **state)
{
	enum { ROWS = 20000 };
	struct text text = make_sample(100, 0);
	char *rows = malloc(ROWS * 64), *at = rows;
	struct rrd db = { 0 };
	struct reason why;
	uint64_t random = seed;

	(void)state;
	at += sprintf(at, "<database>");
	for (unsigned i = 0; i < ROWS; i++) {
		union { uint64_t bits; double value; } any = { authority_random(&random) };
		double some = (double)(authority_random(&random) % 2000000) / 1000 - 1000;

		if (!isfinite(any.value))
			any.value = 0;
		at += sprintf(at, "<row><v>%0.10e</v><v>%.*g</v></row>", any.value,
			      (int)(i % 20) + 1, some);
	}
	text = text_replace(text, "<database>", rows, 1);
	int r = read_bytes(&db, text.at, text.len, &why);
	if (r)
		fail_msg("%s", why.text);
	assert_cells_of_text(&db, text.at);
	free(rows);
	free(text.at);
	rrd_free(&db);
}

/* ---- formulas ---- */

/* Each word alone with enough before it; what rrdtool restores, we pack as it does. */
static void test_formulas(void **state)
{
	static const char *const words[] = {
		"INF", "NEGINF", "UNKN", "NOW", "+", "%", "-", "*", "/", "SIN", "DUP", "EXC", "POP",
		"COS", "LOG", "EXP", "LT", "LE", "GT", "GE", "EQ", "IF", "MIN", "MAX", "LIMIT",
		"FLOOR", "CEIL", "UN", "NE", "ISINF", "ATAN", "SQRT", "SORT", "REV", "ATAN2",
		"RAD2DEG", "DEG2RAD", "AVG", "ABS", "ADDNAN", "MINNAN", "MAXNAN", "MEDIAN",
		"DEPTH", "COPY", "ROLL", "INDEX", "SMIN", "SMAX", "STDEV", "PERCENT", "POW",
		"in", "32767,+", "-32768,*", "0,+",
		"in,in,in,in,in,in,in,in,in,in,in,in,in,in,in,in"
	};
	const char *xml = scratch("formula.xml");
	char formula[128];

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		snprintf(formula, sizeof(formula), "<cdef> in,2,in,%s </cdef>", words[i]);
		struct text text = text_replace(make_sample(50, 0), "<cdef> in,2,* </cdef>",
						formula, 1);
		authority_spill(xml, text.at, text.len);
		assert_as_restored(xml, NULL);
		free(text.at);
	}
}

/* pnp4nagios calls its data sources 1, 2, 3: a number is one where it is the last word alone. */
static void test_formulas_of_numbers(void **state)
{
	static const char *const words[] = { "1,1", "1,1,+", "2,1", "1" };
	char formula[128];

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		snprintf(formula, sizeof(formula), "<cdef> %s </cdef>", words[i]);
		struct text text = text_replace(make_sample(50, 0), "<cdef> in,2,* </cdef>",
						formula, 1);
		must_be_as_restored(text_replace(text, "<name> in <", "<name> 1 <", 1),
				    "numbers.xml");
	}
}

/* What rrdtool would not keep makes no dump useless. */
static void test_formulas_unknown(void **state)
{
	static const char *const words[] = {
		"in,FOO,*", "", "in,,*", "in,40000,*", "in,1.5,*", "other,2,*", "in,PREV(in),+",
		"in,in,in,in,in,in,in,in,in,in,in,in,in,in,in,in,in,in,in,in"
	};
	char formula[128];

	(void)state;
	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		struct rrd db = { 0 };
		struct reason why;

		snprintf(formula, sizeof(formula), "<cdef> %s </cdef>", words[i]);
		struct text text = text_replace(make_sample(50, 0), "<cdef> in,2,* </cdef>",
						formula, 1);
		if (read_bytes(&db, text.at, text.len, &why))
			fail_msg("%s: %s", words[i], why.text);
		assert_int_equal(db.head.ds[1].rpn_len, 1);
		assert_int_equal(db.head.ds[1].rpn[0].op, RPN_UNKNOWN);
		assert_int_equal(db.head.ds[0].type, DST_GAUGE);
		free(text.at);
		rrd_free(&db);
	}
}

/* ---- packed ---- */

static struct text pack_gzip(struct text text)
{
	z_stream z = { 0 };
	struct text packed = { malloc(text.len + 1000), 0 };

	assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_in = (Bytef *)text.at;
	z.avail_in = (uInt)text.len;
	z.next_out = (Bytef *)packed.at;
	z.avail_out = (uInt)(text.len + 1000);
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	packed.len = z.total_out;
	deflateEnd(&z);
	return packed;
}

#ifdef HAVE_ZSTD
static struct text pack_zstd(struct text text)
{
	size_t room = ZSTD_compressBound(text.len);
	struct text packed = { malloc(room), 0 };
	ZSTD_CCtx *zstd = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(zstd, ZSTD_c_checksumFlag, 1);
	packed.len = ZSTD_compress2(zstd, packed.at, room, text.at, text.len);
	assert_false(ZSTD_isError(packed.len));
	ZSTD_freeCCtx(zstd);
	return packed;
}
#endif

#ifdef HAVE_LZMA
static struct text pack_xz(struct text text)
{
	size_t room = lzma_stream_buffer_bound(text.len);
	struct text packed = { malloc(room), 0 };

	assert_int_equal(lzma_easy_buffer_encode(6, LZMA_CHECK_CRC64, NULL, (uint8_t *)text.at,
						 text.len, (uint8_t *)packed.at, &packed.len,
						 room), LZMA_OK);
	return packed;
}
#endif

#ifdef HAVE_ZSTD
/* As pzstd does: how long it is stands in a frame of its own before it. */
static struct text pack_pzstd(struct text text)
{
	struct text frame = pack_zstd(text), packed = { malloc(frame.len + 12), frame.len + 12 };
	uint32_t len = (uint32_t)frame.len;

	memcpy(packed.at, "\x50\x2a\x4d\x18\4\0\0", 8);
	for (unsigned i = 0; i < 4; i++)
		packed.at[8 + i] = (char)(len >> 8 * i);
	memcpy(packed.at + 12, frame.at, frame.len);
	free(frame.at);
	return packed;
}
#endif

static struct text (*const packers[])(struct text) = {
	pack_gzip,
#ifdef HAVE_ZSTD
	pack_zstd,
	pack_pzstd,
#endif
#ifdef HAVE_LZMA
	pack_xz,
#endif
};

#define PACKERS (sizeof(packers) / sizeof(packers[0]))

static void test_packed(void **state)
{
	struct text text = make_sample(SAMPLE_S, 1);
	struct rrd plain = { 0 }, db = { 0 };
	struct reason why;

	(void)state;
	assert_int_equal(read_bytes(&plain, text.at, text.len, &why), 0);
	for (size_t i = 0; i < PACKERS; i++) {
		/* In one piece, and in two. */
		for (size_t cut = 0; cut <= text.len; cut += text.len / 2) {
			struct text first = packers[i]((struct text){ text.at, cut });
			struct text rest = packers[i]((struct text){ text.at + cut,
								      text.len - cut });
			struct text both = { malloc(first.len + rest.len + 2), 0 };

			memcpy(both.at, first.at, first.len);
			memcpy(both.at + first.len, rest.at, rest.len);
			both.len = first.len + rest.len;
			if (read_bytes(&db, both.at, both.len, &why))
				fail_msg("packing %zu, cut at %zu: %s", i, cut, why.text);
			assert_int_equal(db.size, plain.size);
			assert_memory_equal(db.bytes, plain.bytes, db.size);
			/* Something else behind it is no part of it. */
			both.at[both.len] = 'x';
			both.at[both.len + 1] = 'y';
			assert_int_equal(read_bytes(&db, both.at, both.len + 2, &why), REFUSED);
			free(first.at);
			free(rest.at);
			free(both.at);
			if (!text.len)
				break;
		}
	}
	assert_int_equal(read_bytes(&db, "BZh91AY&SY", 10, &why), REFUSED);
	assert_non_null(strstr(why.text, "bzip2"));
	/* Filled up with zeros, as by a tape; xz has a rule for that: by four. */
	for (size_t i = 0; i < PACKERS; i++) {
		struct text packed = packers[i](text);
		const char *format = (const char *)packed.at;
		bool good = format[0] == '\x1f' || format[0] == '\xfd';

		packed.at = realloc(packed.at, packed.len + 200004);
		memset(packed.at + packed.len, 0, 200004);
		assert_int_equal(read_bytes(&db, packed.at, packed.len + 200000, &why),
				 good ? 0 : REFUSED);
		if (good)
			assert_memory_equal(db.bytes, plain.bytes, plain.size);
		packed.at[packed.len + 200000] = 'x';
		assert_int_equal(read_bytes(&db, packed.at, packed.len + 200004, &why), REFUSED);
		free(packed.at);
	}
	free(text.at);
	rrd_free(&plain);
	rrd_free(&db);
}

/* A file that has no end to speak of, of which nothing comes: not read. */
static void test_huge(void **state)
{
	struct text text = make_sample(SAMPLE_S, 1), packed = pack_gzip(text);
	struct rrd db = { 0 };
	struct reason why;

	(void)state;
	for (int whole = 0; whole < 2; whole++) {
		const char *path = scratch("huge.xml");

		authority_spill(path, packed.at, packed.len);
		/* Where that cannot be had, files are small. */
		if (!truncate(path, whole ? INT64_C(1) << 40 : (INT64_C(4) << 30) + 1)) {
			enum dump_root root = DUMP_ROOT_RRD;
			int fd = open(path, O_RDONLY);

			assert_int_equal(dump_read(&db, fd, &why), REFUSED);
			assert_non_null(strstr(why.text, "is too large for a dump"));
			assert_int_equal(dump_look(fd, &root, &why), 0);
			assert_int_equal(root, DUMP_ROOT_OTHER);
			close(fd);
		}
		unlink(path);
	}
	free(packed.at);
	free(text.at);
	rrd_free(&db);
}

static void assert_truncated(struct text text, size_t whole)
{
	struct rrd db = { 0 };
	struct reason why;

	for (size_t len = 0; len < whole; len += 97) {
		int r = read_bytes(&db, text.at, len, &why);

		if (r != REFUSED)
			fail_msg("%zu of %zu bytes: %d %s", len, text.len, r, why.text);
		assert_true(why.text[0] != '\0');
		assert_int_equal(db.size, 0);
		assert_null(db.head.ds);
	}
	assert_int_equal(read_bytes(&db, text.at, whole - 1, &why), REFUSED);
	if (!strstr(why.text, "truncated"))
		fail_msg("%s", why.text);
	rrd_free(&db);
}

static void test_truncated(void **state)
{
	struct text text = make_sample(SAMPLE_S, 1);

	(void)state;
	assert_truncated(text, text.len - 1);   /* the last byte is a newline */
	for (size_t i = 0; i < PACKERS; i++) {
		struct text packed = packers[i](text);

		assert_truncated(packed, packed.len);
		free(packed.at);
	}
	free(text.at);
}

/* A bit that fell over in what is packed is found, by the checksum at the latest. */
static void test_flipped(void **state)
{
	struct text text = make_sample(300, 1);
	struct rrd db = { 0 };
	struct reason why;

	(void)state;
	for (size_t i = 0; i < PACKERS; i++) {
		struct text packed = packers[i](text);

		for (size_t at = packed.len / 3; at < packed.len - 40; at += 7) {
			packed.at[at] = (char)(packed.at[at] ^ 4);
			assert_int_equal(read_bytes(&db, packed.at, packed.len, &why), REFUSED);
			packed.at[at] = (char)(packed.at[at] ^ 4);
		}
		free(packed.at);
	}
	free(text.at);
	rrd_free(&db);
}

/* ---- while it changes ---- */

static void append_one(void)
{
	int fd = open(scratch("given.xml"), O_WRONLY | O_APPEND);

	assert_int_equal(write(fd, "\n", 1), 1);
	close(fd);
}

static void cut_it(void)
{
	assert_int_equal(truncate(scratch("given.xml"), 70000), 0);
}

static void test_changed(void **state)
{
	static void (*const changes[])(void) = { append_one, cut_it };
	struct text text = make_sample(SAMPLE_S, 1);
	struct rrd db = { 0 };
	struct reason why;
	char *blanks = malloc(200001);

	(void)state;
	memset(blanks, ' ', 200000);
	blanks[200000] = '\0';
	text = text_replace(text, "<rrd>", "<rrd><!--x-->", 1);
	struct text grown = { malloc(text.len + 200001), text.len + 200000 };
	memcpy(grown.at, text.at, text.len);
	memcpy(grown.at + text.len, blanks, 200001);
	for (size_t i = 0; i < 2; i++) {
		reads = 0;
		in_between = changes[i];
		assert_int_equal(read_bytes(&db, grown.at, grown.len, &why), -ESTALE);
		assert_null(in_between);
		assert_int_equal(db.size, 0);
	}
	assert_int_equal(read_bytes(&db, grown.at, grown.len, &why), 0);
	free(blanks);
	free(text.at);
	free(grown.at);
	rrd_free(&db);
}

/* A structure is used again and again, after large files and refused ones. */
static void test_again(void **state)
{
	struct text small = make_sample(100, 1), large = make_sample(SAMPLE_S, 2);
	struct rrd db = { 0 };
	struct reason why;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(read_bytes(&db, large.at, large.len, &why), 0);
		assert_int_equal(read_bytes(&db, large.at, large.len / 2, &why), REFUSED);
		assert_int_equal(read_bytes(&db, small.at, small.len, &why), 0);
		assert_false(rrd_is_torn(&db, &why));
		assert_int_equal(rrd_newest(&db, 0), db.head.last_up / 10 * 10);
	}
	assert_int_equal(db.stamp.size, small.len);
	free(small.at);
	free(large.at);
	rrd_free(&db);
}

/* ---- names and roots ---- */

static void test_names(void **state)
{
	static const char *const expected[] = {
		"a/x.xml", "a/x.xml.gz", "a/x.xml.zst", "a/x.xml.xz",
		"a/x.rrd.xml", "a/x.rrd.xml.gz", "a/x.rrd.xml.zst", "a/x.rrd.xml.xz",
	};
	static const char *const none[] = {
		"a/x.rrd", "a/x.gz", ".xml", "a/.xml", "xml", "a.xml.bz2", "a.xmlx", "a.xml.gz.gz",
		"", "x.xml/y", ".xml.gz"
	};
	char name[64], back[64];

	(void)state;
	for (unsigned i = 0; i < DUMP_NAMES; i++) {
		assert_true(dump_name("a/x.rrd", i, name, sizeof(name)));
		assert_string_equal(name, expected[i]);
		assert_true(dump_stands_for(name, back, sizeof(back)));
		assert_string_equal(back, "a/x.rrd");
		assert_false(dump_name("a/x.rrd", i, name, strlen(expected[i])));
	}
	assert_false(dump_name("a/x.rrd", DUMP_NAMES, name, sizeof(name)));
	assert_false(dump_name("a/x.xml", 0, name, sizeof(name)));
	assert_false(dump_name("a/.rrd", 0, name, sizeof(name)));
	assert_false(dump_stands_for("a/x.xml", back, 7));
	assert_true(dump_stands_for("a/x.xml", back, 8));
	for (size_t i = 0; i < sizeof(none) / sizeof(none[0]); i++)
		assert_false(dump_stands_for(none[i], back, sizeof(back)));
	/* An RRD may have a name like that, too. */
	assert_true(dump_stands_for("x.rrd.rrd.xml", back, sizeof(back)));
	assert_string_equal(back, "x.rrd.rrd");
	assert_true(dump_stands_for(".rrd.xml", back, sizeof(back)));
	assert_string_equal(back, ".rrd.rrd");
}

static void assert_root(struct text text, enum dump_root expected)
{
	const char *path = scratch("root.xml");
	enum dump_root root = (enum dump_root)77;
	struct reason why = { "" };

	authority_spill(path, text.at, text.len);
	int fd = open(path, O_RDONLY);
	assert_int_equal(dump_look(fd, &root, &why), 0);
	close(fd);
	if (root != expected)
		fail_msg("%.40s: %d", text.at, root);
}

static void test_roots(void **state)
{
	static const char sidecar[] =
		"<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n<NAGIOS>\n"
		"  <DATASOURCE>\n    <LABEL>a<b & c</LABEL>\n";
	static const char *const others[] = {
		"", "RRD", "<html>", "no xml at all", "<!-- only this -->", "<RRD>", "<rrdx>"
	};
	struct reason why;
	struct rrd db = { 0 };

	(void)state;
	for (int header = 0; header < 3; header++) {
		struct text text = make_sample(100, header);

		assert_root(text, DUMP_ROOT_RRD);
		for (size_t i = 0; i < PACKERS; i++) {
			struct text packed = packers[i](text);

			assert_root(packed, DUMP_ROOT_RRD);
			free(packed.at);
		}
		free(text.at);
	}
	struct text text = text_of(sidecar, sizeof(sidecar) - 1);
	assert_root(text, DUMP_ROOT_NAGIOS);
	assert_int_equal(read_bytes(&db, text.at, text.len, &why), REFUSED);
	assert_non_null(strstr(why.text, "sidecar of pnp4nagios"));
	free(text.at);
	for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
		text = text_of(others[i], strlen(others[i]));
		assert_root(text, DUMP_ROOT_OTHER);
		assert_int_equal(read_bytes(&db, text.at, text.len, &why), REFUSED);
		free(text.at);
	}
	/* Not before 4096 bytes. */
	text = text_of("", 0);
	text.at = realloc(text.at, 5000);
	memset(text.at, ' ', 5000);
	memcpy(text.at + 4990, "<rrd>", 5);
	text.len = 5000;
	assert_root(text, DUMP_ROOT_OTHER);
	free(text.at);
	rrd_free(&db);
}

static int setup(void **state)
{
	const char *given = getenv("SEED");

	(void)state;
	seed = given ? (unsigned)strtoul(given, NULL, 10) : (unsigned)time(NULL);
	print_message("SEED=%u\n", seed);
	srandom(seed);
	specimen_seed(seed);
	return scratch_make();
}

static int teardown(void **state)
{
	(void)state;
	return scratch_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_random),
		cmocka_unit_test(test_ages),
		cmocka_unit_test(test_holt_winters),
		cmocka_unit_test(test_versions),
		cmocka_unit_test(test_numbers),
		cmocka_unit_test(test_random_numbers),
		cmocka_unit_test(test_formulas),
		cmocka_unit_test(test_formulas_of_numbers),
		cmocka_unit_test(test_formulas_unknown),
		cmocka_unit_test(test_packed),
		cmocka_unit_test(test_huge),
		cmocka_unit_test(test_truncated),
		cmocka_unit_test(test_flipped),
		cmocka_unit_test(test_changed),
		cmocka_unit_test(test_again),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_roots),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
