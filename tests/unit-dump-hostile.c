/* unit-dump-hostile: dumps that were damaged, or made to do harm. */
#include "config.h"
#include "dump.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <math.h>
#include <time.h>
#include <zlib.h>

#include "dumping.h"

#define SAMPLE_S 300
#define CASES 3000              /* of the fuzzer; CASES=n for more */

static uint64_t seed;
static struct text sample;      /* with the header that names a DTD */

static struct text copy(void)
{
	return text_of(sample.at, sample.len);
}

/* Refused, and `needle` is in the reason. */
static void must_refuse(struct text text, const char *needle)
{
	struct rrd db = { 0 };
	struct reason why;
	int r = read_bytes(&db, text.at, text.len, &why);

	if (r != REFUSED || !strstr(why.text, needle))
		fail_msg("\"%.60s\" not in %d: %s", needle, r, why.text);
	assert_int_equal(db.size, 0);
	assert_null(db.head.ds);
	free(text.at);
	rrd_free(&db);
}

static void must_read(struct text text)
{
	struct rrd db = { 0 };
	struct reason why;

	if (read_bytes(&db, text.at, text.len, &why))
		fail_msg("%s", why.text);
	free(text.at);
	rrd_free(&db);
}

/* The sample with the first `from` become `to`. */
static struct text with(const char *from, const char *to)
{
	assert_non_null(strstr(sample.at, from));
	return text_replace(copy(), from, to, 1);
}

/* ---- what no dump has ---- */

static void test_entities(void **state)
{
	static const char doctype[] = "<!DOCTYPE rrd SYSTEM \"";
	char *line = strstr(sample.at, doctype), *end = strchr(line, '>');
	char *whole = strndup(line, (size_t)(end + 1 - line));

	(void)state;
	must_refuse(with(whole, "<!DOCTYPE rrd [<!ENTITY a \"aaaaaaaaaa\">"
			 "<!ENTITY b \"&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;\">"
			 "<!ENTITY c \"&b;&b;&b;&b;&b;&b;&b;&b;&b;&b;\">"
			 "<!ENTITY d \"&c;&c;&c;&c;&c;&c;&c;&c;&c;&c;\">"
			 "<!ENTITY e \"&d;&d;&d;&d;&d;&d;&d;&d;&d;&d;\">]>"), "declarations");
	must_refuse(with(whole, "<!DOCTYPE rrd [<!ENTITY % p SYSTEM \"file:///etc/passwd\">%p;]>"),
		    "declarations");
	must_refuse(with(whole, "<!DOCTYPE rrd [<!ATTLIST rrd x CDATA \"y\">]>"), "declarations");
	must_refuse(with("<step>10", "<step>&nothing;"), "entity");
	must_refuse(with("<rrd>", "<rrd>&nothing;"), "entity");
	free(whole);
	/* Those of XML itself, and numbers, are text. */
	must_read(with("<step>10", "<step>&#49;&#x30;"));
	must_refuse(with("<step>10", "<step>&lt;10"), "<step> cannot be \"<10\"");
}

static void test_foreign_elements(void **state)
{
	struct text deep = { malloc(1 << 20), 0 };

	(void)state;
	must_refuse(with("<rrd>", "<rrd><more/>"), "<more> in rrd");
	must_refuse(with("<rrd>", "<rrd><rrd>"), "<rrd> in rrd");
	must_refuse(with("<step>10", "<step><step>10"), "<step> in step");
	must_refuse(with("<v>", "<v><v>"), "<v> in v");
	must_refuse(with("<row>", "<row><row>"), "<row> in row");
	must_refuse(with("<step>", "<step a=\"b\">"), "attributes");
	must_refuse(with("<row>", "<row>12"), "text in row");
	must_refuse(with("<rra>", "x<rra>"), "text in rrd");
	must_refuse(with("</rrd>", "</rrd><rrd>"), "line");
	must_refuse(with("</rrd>", "</rrd>more"), "line");
	must_refuse(with("</rrd>", "</rrd"), "line");
	must_refuse(with("</ds>", "</rra>"), "mismatched");
	for (unsigned i = 0; i < 100000; i++)
		deep.len += (size_t)sprintf(deep.at + deep.len, "<rrd>");
	must_refuse(deep, "<rrd> in rrd");
}

/* Each element once too few and once too many. */
static void test_missing(void **state)
{
	static const char *const names[] = {
		"version", "step", "lastupdate", "name", "type", "minimal_heartbeat", "min", "max",
		"cdef", "last_ds", "value", "unknown_sec", "cf", "pdp_per_row", "database",
		"cdp_prep", "unknown_datapoints", "xff",
	};
	char from[40], to[40], needle[80];

	(void)state;
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		snprintf(from, sizeof(from), "<%s>", names[i]);
		snprintf(to, sizeof(to), "</%s>", names[i]);
		char *begin = strstr(sample.at, from), *end = strstr(begin, to) + strlen(to);
		char *whole = strndup(begin, (size_t)(end - begin)), *twice;

		assert_true(asprintf(&twice, "%s%s", whole, whole) > 0);
		snprintf(needle, sizeof(needle), "<%s> twice", names[i]);
		must_refuse(with(whole, twice), needle);
		if (strcmp(names[i], "cf"))
			snprintf(needle, sizeof(needle), "no <%s> in", names[i]);
		else
			snprintf(needle, sizeof(needle), "<cdp_prep> before <cf>");
		must_refuse(with(whole, ""), needle);
		free(whole);
		free(twice);
	}
	/* What 1.0 did not have may be missing; rrd4j puts xff where 1.0 has it; and a last_ds of
	 * nothing was seen in the wild. */
	must_read(text_replace(text_replace(copy(), "<primary_value>", "<!-- ", SIZE_MAX),
			       "</primary_value>", " -->", SIZE_MAX));
	must_read(text_replace(text_replace(copy(), "<params>", "", SIZE_MAX), "</params>", "",
			       SIZE_MAX));
	char *last = strstr(sample.at, "<last_ds>"), *end = strstr(last, "</last_ds>");
	char *whole = strndup(last, (size_t)(end - last));
	must_read(with(whole, "<last_ds>"));
	free(whole);
	must_refuse(with("<name> twice </name>", ""), "no <name> in ds");
	/* That of the first RRA is not that of the second. */
	char *second = strstr(strstr(sample.at, "</rra>"), "<params>");
	end = strstr(second, "</params>") + strlen("</params>");
	struct text text = copy();
	size_t at = (size_t)(second - sample.at), len = (size_t)(end - second);
	memset(text.at + at, ' ', len);
	must_refuse(text, "no <xff> in rra");
}

/* rrdtool does not restore what stands on both sides of a comment, nor CDATA. */
static void test_cut_values(void **state)
{
	static const char *const cuts[] = { "<!-- x -->", "<?x y?>", "<!-- x --> <?x y?>\n" };
	char to[80];

	(void)state;
	for (size_t i = 0; i < sizeof(cuts) / sizeof(*cuts); i++) {
		snprintf(to, sizeof(to), "<step>1%s0<", cuts[i]);
		must_refuse(with("<step>10<", to), "a comment within the value of <step>");
		snprintf(to, sizeof(to), "<v>1%s2</v><v>", cuts[i]);
		must_refuse(with("<v>", to), "a comment within the value of <v>");
		snprintf(to, sizeof(to), "<step>%s10<", cuts[i]);
		must_read(with("<step>10<", to));
		snprintf(to, sizeof(to), "<step>10%s<", cuts[i]);
		must_read(with("<step>10<", to));
		snprintf(to, sizeof(to), "%s<step>1", cuts[i]);
		must_read(with("<step>1", to));
	}
	must_refuse(with("<step>10<", "<step><![CDATA[10]]><"), "a CDATA section");
	must_refuse(with("<step>10<", "<step>10<![CDATA[]]><"), "a CDATA section");
	must_refuse(with("<row>", "<![CDATA[]]><row>"), "a CDATA section");
}

static void test_structure(void **state)
{
	char *ds = strstr(sample.at, "<ds>"), *rra = strstr(sample.at, "<rra>");
	char *one = strndup(ds, (size_t)(strstr(ds, "</ds>") + 5 - ds));
	char *two;

	(void)state;
	assert_true(asprintf(&two, "<rrd>%s", rra) > 0);
	must_refuse(with("<rrd>", two), "before the first data source");
	free(two);
	assert_true(asprintf(&two, "</rra>%s", one) > 0);
	must_refuse(with("</rra>", two), "after the first RRA");
	free(two);
	free(one);
	must_refuse(with("<row>", "<row><v>1</v>"), "more values in a row");
	must_refuse(with("<row>", "<row></row><row>"), "a row of 0 values for 2");
	must_refuse(with("<cdp_prep>", "<cdp_prep><ds><value>1</value><unknown_datapoints>0"
			 "</unknown_datapoints></ds>"), "more <ds> in a <cdp_prep>");
	must_refuse(with("<database>", "<database></database><database>"),
		    "no <row> in database");
	must_refuse(text_of("<rrd></rrd>", 11), "no <version> in rrd");
	must_refuse(text_of("<rrd/>", 6), "no <version> in rrd");
}

static void test_values(void **state)
{
	static const struct { const char *from, *to, *needle; } cases[] = {
		{ "<step>10<", "<step>0<", "damaged" },
		{ "<step>10<", "<step>-10<", "<step> cannot be" },
		{ "<step>10<", "<step>99999999999999999999<", "<step> cannot be" },
		{ "<step>10<", "<step>18446744073709551615<", "damaged" },
		{ "<step>10<", "<step>1 0<", "<step> cannot be" },
		{ "<lastupdate>", "<lastupdate>-", "is no time" },
		{ "<lastupdate>", "<lastupdate>999999999", "<lastupdate> cannot be" },
		{ "<lastupdate>", "<lastupdate>99999999", "is no time" },
		{ "<name> in ", "<name> ", "" },
		{ "<name> in ", "<name> abcdefghijklmnopqrst ", "<name> cannot be" },
		{ "<type> GAUGE ", "<type> GAUGES ", "<type> cannot be" },
		{ "<type> GAUGE ", "<type>  ", "<type> cannot be" },
		{ "<cf>MAX", "<cf>MEDIAN", "<cf> cannot be" },
		{ "<pdp_per_row>3", "<pdp_per_row>0", "damaged" },
		{ "<pdp_per_row>3", "<pdp_per_row>3e0", "<pdp_per_row> cannot be" },
		{ "<pdp_per_row>3", "<pdp_per_row>4611686018427387904", "damaged" },
		{ "<last_ds>", "<last_ds>123456789012345678901234567890", "<last_ds> cannot be" },
		{ "<version>0003", "<version>3.0", "<version> cannot be" },
		{ "<version>0003", "<version>99999999999", "versions 0001 to 0005 are known" },
		{ "<xff>", "<xff>x", "<xff> cannot be" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		must_refuse(with(cases[i].from, cases[i].to), cases[i].needle);
	/* What cannot be shown as it is, is not. */
	must_refuse(with("<step>10<", "<step>\xc3\xa4\xc2\x9b&#13;x<"), "cannot be \"?????x\"");
	must_read(with("<name> in ", "<name> abcdefghijklmnopqrs "));
}

/* ---- bytes ---- */

static struct text to_utf16(struct text text, bool big, bool mark)
{
	struct text wide = { malloc(2 * text.len + 2), 0 };

	if (mark) {
		wide.at[wide.len++] = big ? '\xfe' : '\xff';
		wide.at[wide.len++] = big ? '\xff' : '\xfe';
	}
	for (size_t i = 0; i < text.len; i++) {
		wide.at[wide.len + big] = text.at[i];
		wide.at[wide.len + !big] = '\0';
		wide.len += 2;
	}
	free(text.at);
	return wide;
}

static void test_bytes(void **state)
{
	struct text text;

	(void)state;
	for (size_t at = 0; at < sample.len; at += sample.len / 50) {
		text = copy();
		text.at[at] = '\0';
		must_refuse(text, "");
	}
	text = text_of("", 0);
	must_refuse(text, "empty");
	text = text_of("\0\0\0\0\0\0\0\0", 8);
	must_refuse(text, "is no dump of rrdtool");
	/* As the shell of another system writes a dump: it is one, unless it says otherwise. */
	for (int big = 0; big < 2; big++) {
		must_read(to_utf16(make_sample(SAMPLE_S, 0), big, true));
		must_refuse(to_utf16(make_sample(SAMPLE_S, 1), big, true), "line");
		text = to_utf16(make_sample(SAMPLE_S, 0), big, true);
		text.len--;
		must_refuse(text, "truncated");
	}
	must_refuse(with("utf-8", "utf-7"), "line 1");
	must_refuse(with("utf-8", "klingon"), "line 1");
	must_read(with("utf-8", "iso-8859-1"));
	must_refuse(with("<last_ds>", "<last_ds>\xff"), "line");
	must_refuse(with("<last_ds>", "<last_ds>\x01"), "line");
}

/* ---- more than is good ---- */

/* `count` times `what` at the first `after`. */
static struct text stuffed(const char *after, const char *what, size_t count)
{
	char *there = strstr(sample.at, after) + strlen(after);
	size_t len = strlen(what), at = (size_t)(there - sample.at);
	struct text text = { malloc(sample.len + len * count + 1), sample.len + len * count };

	memcpy(text.at, sample.at, at);
	for (size_t i = 0; i < count; i++)
		memcpy(text.at + at + i * len, what, len);
	memcpy(text.at + at + count * len, sample.at + at, sample.len - at + 1);
	return text;
}

static void test_long_tokens(void **state)
{
	enum { MUCH = 1 << 21 };
	static const struct { const char *before, *after; } tokens[] = {
		{ "<rrd><!-- ", " -->" }, { "<rrd><?x ", "?>" }, { "<rrd><", "/>" },
		{ "<rrd a=\"", "\">" }, { "<rrd ", "=\"\">" },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(tokens) / sizeof(tokens[0]); i++) {
		char *much = malloc(MUCH + 64);
		int n = sprintf(much, "%s", tokens[i].before);

		memset(much + n, 'x', MUCH);
		strcpy(much + n + MUCH, tokens[i].after);
		must_refuse(with("<rrd>", much), "of more than 262144 bytes");
		free(much);
	}
	must_refuse(stuffed("<last_ds>", "x", 2000), "too long");
	must_refuse(stuffed("<cdef>", "in,", 400), "too long");
	must_read(stuffed("<last_ds>", " ", 2000));
	must_read(stuffed("<rrd>", "<!-- small -->\n", 1000));
	must_refuse(stuffed("<rrd>", "<!-- small -->\n", 400000), "hardly a value");
	must_refuse(stuffed("<rrd>", " ", 5000000), "hardly a value");
	must_refuse(stuffed("<last_ds>", " ", 5000000), "hardly a value");
}

static void test_many(void **state)
{
	static const char ds[] = "<ds><name>x</name><type>GAUGE</type><minimal_heartbeat>1"
		"</minimal_heartbeat><min>0</min><max>1</max><last_ds>1</last_ds><value>0</value>"
		"<unknown_sec>0</unknown_sec></ds>\n";
	char *begin = strstr(sample.at, "<rra>"), *end = strstr(begin, "</rra>") + 6;
	char *rra = strndup(begin, (size_t)(end - begin));
	struct text text;

	(void)state;
	must_refuse(stuffed("</lastupdate>", ds, LAYOUT_DS_MAX), "more than 16384 data sources");
	text = stuffed("</rra>", rra, LAYOUT_RRA_MAX);
	must_refuse(text, "more than 4096 RRAs");
	free(rra);
}

/* 2 GB of blanks, and a stream of rows without end, in a few MB: refused after a little of it. */
static struct text pack(const char *head, const char *rest, size_t count)
{
	z_stream z = { 0 };
	struct text packed = { malloc(32 << 20), 0 };
	size_t len = strlen(rest), block = 20000 / len + 1;
	char *blocks = malloc(block * len);

	for (size_t i = 0; i < block; i++)
		memcpy(blocks + i * len, rest, len);
	assert_int_equal(deflateInit2(&z, 1, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
	z.next_out = (Bytef *)packed.at;
	z.avail_out = 32 << 20;
	z.next_in = (Bytef *)(uintptr_t)head;
	z.avail_in = (uInt)strlen(head);
	assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
	for (size_t i = 0; i < count; i += block) {
		z.next_in = (Bytef *)blocks;
		z.avail_in = (uInt)(block * len);
		assert_int_equal(deflate(&z, Z_NO_FLUSH), Z_OK);
	}
	assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
	packed.len = z.total_out;
	deflateEnd(&z);
	free(blocks);
	return packed;
}

static void test_bombs(void **state)
{
	const char *database = strstr(sample.at, "<database>") + 10;
	char *head = strndup(sample.at, (size_t)(database - sample.at));

	(void)state;
	must_refuse(pack("<rrd>", "          ", 200000000 / 10), "hardly a value");
	must_refuse(pack(head, "          ", 200000000 / 10), "hardly a value");
	if (getenv("BOMB"))     /* half a minute, 1 GB of memory */
		must_refuse(pack(head, "<row><v>0</v><v>0</v></row>", 80000000), "too large");
	free(head);
}

/* ---- at random ---- */

static void use(const struct rrd *db)
{
	struct reason why;
	uint64_t known = 0;

	assert_int_equal(db->size, db->head.file_size);
	assert_true(db->size <= db->capacity && db->size <= RRD_SIZE_MAX);
	for (uint64_t i = 0; i < db->head.rra_cnt; i++) {
		const struct layout_rra *rra = &db->head.rra[i];

		for (uint64_t n = 0; n < rra->row_cnt * db->head.ds_cnt; n++)
			known += isnan(rrd_rows(db, i)[n]) ? 0 : 1;
		assert_int_equal(rrd_slot(db, i, rrd_newest(db, i)), rra->row_cnt - 1);
		assert_int_equal(rrd_slot(db, i, rrd_oldest(db, i)), 0);
		for (uint64_t n = 0; n < db->head.ds_cnt; n++)
			known += layout_cdp_count(&db->head, db->bytes, i, n, CDP_UNKN_PDP_CNT);
	}
	for (uint64_t i = 0; i < db->head.ds_cnt; i++)
		assert_non_null(memchr(db->head.ds[i].name, '\0', LAYOUT_NAME_SIZE));
	rrd_is_torn(db, &why);
	assert_true(known < UINT64_MAX);
}

static void look_at(const char *path)
{
	enum dump_root root = (enum dump_root)77;
	struct reason why;
	int fd = open(path, O_RDONLY);

	assert_int_equal(dump_look(fd, &root, &why), 0);
	assert_true(root == DUMP_ROOT_RRD || root == DUMP_ROOT_NAGIOS || root == DUMP_ROOT_OTHER);
	close(fd);
}

static size_t below(size_t n)
{
	return n ? (size_t)(authority_random(&seed) % n) : 0;
}

/* One change of a kind that finds its way into a parser. */
static struct text harm(struct text text)
{
	static const char *const bits[] = {
		"<", ">", "</", "<v>", "</v>", "<row>", "</row>", "<ds>", "</ds>", "<rra>",
		"</rra>",
		"&", "&#", "<!--", "-->", "<![CDATA[", "]]>", "<?", "?>", "NaN", "inf", "-", "0",
		"99999999999999999999", "1e999", "\xff\xfe", "\xef\xbb\xbf", "<database>",
		"</database>", "<cdp_prep>", "<params/>", "<!DOCTYPE x [", "\n", "\xc3", " "
	};
	size_t at = below(text.len), len = below(200), to = below(text.len);

	if (len > text.len - at)
		len = text.len - at;
	struct text made = { malloc(text.len * 2 + 64), 0 };
	memcpy(made.at, text.at, at);
	made.len = at;
	switch (below(6)) {
	case 0:                 /* a byte */
		memcpy(made.at + at, text.at + at, text.len - at);
		made.len = text.len;
		if (made.len)
			made.at[at] = (char)below(256);
		break;
	case 1:                 /* cut out */
		memcpy(made.at + at, text.at + at + len, text.len - at - len);
		made.len = text.len - len;
		break;
	case 2:                 /* twice */
		memcpy(made.at + at, text.at + at, len);
		memcpy(made.at + at + len, text.at + at, text.len - at);
		made.len = text.len + len;
		break;
	case 3:                 /* the rest from elsewhere */
		memcpy(made.at + at, text.at + to, text.len - to);
		made.len = at + text.len - to;
		break;
	case 4:                 /* no more */
		break;
	default: {
		const char *bit = bits[below(sizeof(bits) / sizeof(bits[0]))];

		memcpy(made.at + at, bit, strlen(bit));
		memcpy(made.at + at + strlen(bit), text.at + at, text.len - at);
		made.len = text.len + strlen(bit);
	}
	}
	free(text.at);
	return made;
}

static void test_random(void **state)
{
	unsigned long cases = getenv("CASES") ? strtoul(getenv("CASES"), NULL, 10) : CASES;
	struct text samples[3] = { make_sample(60, 0), make_sample(SAMPLE_S, 1), { NULL, 0 } };
	struct rrd db = { 0 };
	struct reason why;
	unsigned long read = 0;

	(void)state;
	samples[2] = pack(samples[0].at, "\n", 0);
	for (unsigned long i = 0; i < cases; i++) {
		size_t which = below(3);
		struct text text = text_of(samples[which].at, samples[which].len);

		for (size_t n = below(3); n < 3; n++)
			text = harm(text);
		int r = read_bytes(&db, text.at, text.len, &why);
		free(text.at);
		look_at(scratch("given.xml"));
		if (r && (r != REFUSED || !why.text[0]))
			fail_msg("case %lu: %d %s", i, r, why.text);
		if (!r)
			use(&db);
		read += !r;
	}
	print_message("%lu of %lu were read all the same\n", read, cases);
	for (unsigned i = 0; i < 3; i++)
		free(samples[i].at);
	rrd_free(&db);
}

static int setup(void **state)
{
	const char *given = getenv("SEED");

	(void)state;
	seed = given ? strtoul(given, NULL, 10) : (uint64_t)time(NULL);
	print_message("SEED=%llu\n", (unsigned long long)seed);
	if (scratch_make())
		return -1;
	sample = make_sample(SAMPLE_S, 1);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	free(sample.at);
	return scratch_remove();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_entities),
		cmocka_unit_test(test_foreign_elements),
		cmocka_unit_test(test_missing),
		cmocka_unit_test(test_cut_values),
		cmocka_unit_test(test_structure),
		cmocka_unit_test(test_values),
		cmocka_unit_test(test_bytes),
		cmocka_unit_test(test_long_tokens),
		cmocka_unit_test(test_many),
		cmocka_unit_test(test_bombs),
		cmocka_unit_test(test_random),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
