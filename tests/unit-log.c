/* log: one message is one line of valid UTF-8 whatever is in it, lines per file are bounded. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>

/* The module itself, so that its clock and its way to syslog can be replaced. */
static void fake_syslog(int priority, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
#define syslog fake_syslog
#include "../src/log.c"
#undef syslog

static int said_priority;
static char said[LINE_SIZE];
static unsigned said_count;
static void (*on_syslog)(void);

static void fake_syslog(int priority, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(said, sizeof(said), format, args);
	va_end(args);
	said_priority = priority;
	said_count++;
	if (on_syslog)
		on_syslog();
	errno = EPIPE;
}

static uint64_t fake_time_ns;

static uint64_t fake_clock(void)
{
	return fake_time_ns;
}

/* What `fd` 2 got since capture_begin(). */
static FILE *captured;
static int stderr_before;

static void capture_begin(void)
{
	captured = tmpfile();
	assert_non_null(captured);
	fflush(stderr);
	stderr_before = dup(STDERR_FILENO);
	assert_true(dup2(fileno(captured), STDERR_FILENO) >= 0);
}

static size_t capture_end(char *buffer, size_t size)
{
	size_t len;

	dup2(stderr_before, STDERR_FILENO);
	close(stderr_before);
	rewind(captured);
	len = fread(buffer, 1, size - 1, captured);
	buffer[len] = '\0';
	fclose(captured);
	return len;
}

static void expect_escaped(const char *text, const char *expected)
{
	char buffer[LOG_PATH_SIZE];

	assert_ptr_equal(log_escape(buffer, sizeof(buffer), text), buffer);
	assert_string_equal(buffer, expected);
}

static void plain_text_stays(void **state)
{
	(void)state;
	expect_escaped("", "");
	expect_escaped("web 01/C___Drive_%usage_(main)_#1 [x] \"q\" 'p'.rrd",
		       "web 01/C___Drive_%usage_(main)_#1 [x] \"q\" 'p'.rrd");
	expect_escaped("%s%n%d", "%s%n%d");
	expect_escaped("gr\xc3\xbc\xc3\x9f", "gr\xc3\xbc\xc3\x9f");
	/* The first and the last character of every length. */
	expect_escaped(" ~", " ~");
	expect_escaped("\xc2\xa0\xdf\xbf", "\xc2\xa0\xdf\xbf");
	expect_escaped("\xe0\xa0\x80\xef\xbf\xbf", "\xe0\xa0\x80\xef\xbf\xbf");
	expect_escaped("\xed\x9f\xbf\xee\x80\x80", "\xed\x9f\xbf\xee\x80\x80");
	expect_escaped("\xf0\x90\x80\x80\xf4\x8f\xbf\xbf", "\xf0\x90\x80\x80\xf4\x8f\xbf\xbf");
}

static void controls_are_escaped(void **state)
{
	char text[2] = "", expected[8];

	(void)state;
	for (unsigned c = 1; c < 0x20; c++) {
		text[0] = (char)c;
		snprintf(expected, sizeof(expected), "\\x%02X", c);
		expect_escaped(text, expected);
	}
	expect_escaped("\x7f", "\\x7F");
	expect_escaped("a\nb\rc\td\033[31m", "a\\x0Ab\\x0Dc\\x09d\\x1B[31m");
	expect_escaped("a\\b\\x41", "a\\\\b\\\\x41");
	expect_escaped("\\", "\\\\");
}

static void c1_is_escaped(void **state)
{
	char text[3] = "\xc2", expected[16];

	(void)state;
	for (unsigned c = 0x80; c < 0xa0; c++) {
		text[1] = (char)c;
		snprintf(expected, sizeof(expected), "\\xC2\\x%02X", c);
		expect_escaped(text, expected);
	}
}

static void separators_and_overrides_are_escaped(void **state)
{
	static const unsigned last[] = {
		0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e,
		0x2066, 0x2067, 0x2068, 0x2069
	};
	char text[4], expected[32];

	(void)state;
	for (size_t i = 0; i < sizeof(last) / sizeof(last[0]); i++) {
		unsigned b1 = 0x80 | (last[i] >> 6 & 0x3f), b2 = 0x80 | (last[i] & 0x3f);

		snprintf(text, sizeof(text), "\xe2%c%c", (int)b1, (int)b2);
		snprintf(expected, sizeof(expected), "\\xE2\\x%02X\\x%02X", b1, b2);
		expect_escaped(text, expected);
	}
	/* Their neighbours are ordinary: U+2027, U+202F, U+2065, U+206A. */
	expect_escaped("\xe2\x80\xa7\xe2\x80\xaf", "\xe2\x80\xa7\xe2\x80\xaf");
	expect_escaped("\xe2\x81\xa5\xe2\x81\xaa", "\xe2\x81\xa5\xe2\x81\xaa");
}

static void invalid_utf8_is_escaped(void **state)
{
	static const char *const bad[][2] = {
		{ "\x80", "\\x80" }, { "\xbf" "a", "\\xBFa" },          /* lone continuation */
		{ "\xc0\x80", "\\xC0\\x80" }, { "\xc1\xbf", "\\xC1\\xBF" },     /* overlong, 2 */
		{ "\xe0\x80\x80", "\\xE0\\x80\\x80" },                  /* overlong, 3 */
		{ "\xe0\x9f\xbf", "\\xE0\\x9F\\xBF" },
		{ "\xf0\x80\x80\x80", "\\xF0\\x80\\x80\\x80" },         /* overlong, 4 */
		{ "\xf0\x8f\xbf\xbf", "\\xF0\\x8F\\xBF\\xBF" },
		{ "\xed\xa0\x80", "\\xED\\xA0\\x80" },                  /* surrogates */
		{ "\xed\xbf\xbf", "\\xED\\xBF\\xBF" },
		{ "\xf4\x90\x80\x80", "\\xF4\\x90\\x80\\x80" },         /* U+110000 */
		{ "\xf5\x80\x80\x80", "\\xF5\\x80\\x80\\x80" },
		{ "\xf8\x88\x80\x80\x80", "\\xF8\\x88\\x80\\x80\\x80" },
		{ "\xfe", "\\xFE" }, { "\xff", "\\xFF" },
		{ "\xc3", "\\xC3" }, { "\xc3" "a", "\\xC3a" },          /* truncated */
		{ "\xe2\x82", "\\xE2\\x82" }, { "\xe2\x82" "a", "\\xE2\\x82a" },
		{ "\xf0\x9f\x98", "\\xF0\\x9F\\x98" },
		{ "\xf0\x9f\x98\xc3\xa4", "\\xF0\\x9F\\x98\xc3\xa4" },
		{ "\xe2\xe2\x82\xac", "\\xE2\xe2\x82\xac" },
		{ "Z\xfcrich\xe4", "Z\\xFCrich\\xE4" }                  /* Latin-1 */
	};

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		expect_escaped(bad[i][0], bad[i][1]);
}

/* Every byte string of up to three bytes comes out as text that needs no escape any more. */
static void any_bytes_become_clean(void **state)
{
	char text[5], once[64], again[64];

	(void)state;
	for (unsigned n = 1; n < 1u << 24; n += n < 1u << 16 ? 1 : 97) {
		snprintf(text, sizeof(text), "%c%c%c", (int)(n & 255), (int)(n >> 8 & 255),
			 (int)(n >> 16 & 255));
		log_escape(once, sizeof(once), text);
		for (const char *c = once; *c; c++)
			assert_true((unsigned char)*c >= 0x20 && *c != 0x7f);
		assert_string_equal(escape(again, sizeof(again), once, false), once);
	}
}

static void cut_never_amid_a_character(void **state)
{
	/* a, two bytes, three bytes, four bytes, one escape, a backslash, three escapes, b */
	static const char text[] = "a\xc3\xa4\xe2\x82\xac\xf0\x9f\x98\x80\n\\\xe2\x80\xa8" "b";
	static const size_t ends[] = { 0, 1, 3, 6, 10, 14, 16, 28, 29 };
	char whole[64], cut[64];
	size_t len = strlen(log_escape(whole, sizeof(whole), text));

	(void)state;
	assert_int_equal(len, 29);
	for (size_t size = 1; size <= sizeof(cut); size++) {
		size_t expected = 0;

		memset(cut, '?', sizeof(cut));
		log_escape(cut, size, text);
		assert_true(strlen(cut) < size);
		for (size_t i = size; i < sizeof(cut); i++)
			assert_int_equal(cut[i], '?');
		if (size > len) {
			assert_string_equal(cut, whole);
			continue;
		}
		for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
			if (ends[i] + 4 <= size)
				expected = ends[i];
		}
		assert_memory_equal(cut, whole, expected);
		assert_memory_equal(cut + expected, "...", strlen(cut + expected));
		assert_int_equal(strlen(cut), size < 4 ? size - 1 : expected + 3);
	}
	cut[0] = '?';
	assert_ptr_equal(log_escape(cut, 0, text), cut);
	assert_int_equal(cut[0], '?');
}

static void message_is_one_line(void **state)
{
	char path[64], out[256];
	size_t len;

	(void)state;
	log_open("unit", LOG_TO_STDERR | LOG_TO_SYSLOG, LOG_DAEMON);
	log_escape(path, sizeof(path), "a\\b\nc\xff.rrd");
	capture_begin();
	errno = E2BIG;
	log_message(LOG_WARNING, "x=%d\n\xe2\x80\xa8%%s file=%s", 5, path);
	assert_int_equal(errno, E2BIG);
	len = capture_end(out, sizeof(out));
	/* What log_escape() made is not escaped once more. */
	assert_string_equal(out, "unit: x=5\\x0A\\xE2\\x80\\xA8%s file=a\\\\b\\x0Ac\\xFF.rrd\n");
	out[len - 1] = '\0';
	assert_string_equal(said, out + strlen("unit: "));
	assert_int_equal(said_priority, LOG_WARNING);
	log_close();
}

static void targets_are_kept_apart(void **state)
{
	char out[256];

	(void)state;
	said_count = 0;
	log_open("unit", LOG_TO_SYSLOG, LOG_DAEMON);
	capture_begin();
	log_message(LOG_ERR, "one");
	assert_int_equal(capture_end(out, sizeof(out)), 0);
	assert_int_equal(said_count, 1);
	log_open("unit", LOG_TO_STDERR, LOG_DAEMON);
	capture_begin();
	log_message(LOG_ERR, "two");
	capture_end(out, sizeof(out));
	assert_string_equal(out, "unit: two\n");
	assert_int_equal(said_count, 1);
	log_close();
}

/* Too long a message is cut at a character's or an escape's end, whatever stands there. */
static void long_message_is_cut(void **state)
{
	static const char *const unit[] = { "x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					    "\\x0A", "\\\\", "\n" };
	static const char *const shown[] = { "x", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80",
					     "\\x0A", "\\\\", "\\x0A" };
	char *text = malloc(3 * LINE_SIZE);

	(void)state;
	assert_non_null(text);
	log_open("unit", LOG_TO_SYSLOG, LOG_DAEMON);
	for (size_t u = 0; u < sizeof(unit) / sizeof(unit[0]); u++) {
		for (size_t lead = 0; lead < 5; lead++) {
			size_t len = lead, each = strlen(shown[u]), at;

			memset(text, '-', lead);
			while (len < 2 * LINE_SIZE) {
				strcpy(text + len, unit[u]);
				len += strlen(unit[u]);
			}
			log_message(LOG_INFO, "%s", text);
			len = strlen(said);
			assert_true(len < LINE_SIZE && len + 8 > LINE_SIZE);
			assert_string_equal(said + len - 3, "...");
			for (at = lead; at + each <= len - 3; at += each)
				assert_memory_equal(said + at, shown[u], each);
			assert_int_equal(at, len - 3);
		}
	}
	free(text);
	log_close();
}

static unsigned say_files(unsigned n)
{
	unsigned before = said_count;

	for (unsigned i = 0; i < n; i++)
		log_file(LOG_INFO, "file=%u", i);
	return said_count - before;
}

static void files_are_bounded(void **state)
{
	(void)state;
	clock_ns = fake_clock;
	fake_time_ns = UINT64_C(5000000000);
	log_open("unit", LOG_TO_SYSLOG, LOG_DAEMON);

	assert_int_equal(say_files(LOG_FILE_RATE), LOG_FILE_RATE);
	assert_int_equal(say_files(7), 0);
	fake_time_ns += 999999999;
	assert_int_equal(say_files(5), 0);
	/* Messages that are not for a file are not bounded by it, nor counted. */
	log_message(LOG_ERR, "refused");
	assert_string_equal(said, "refused");

	/* The next second says first what the last one left out. */
	fake_time_ns += 1;
	assert_int_equal(say_files(1), 2);
	assert_string_equal(said, "file=0");
	assert_int_equal(say_files(LOG_FILE_RATE), LOG_FILE_RATE - 1);

	/* One is left out now; log_flush() says it once, and the bound holds on. */
	said_count = 0;
	log_flush();
	assert_int_equal(said_count, 1);
	assert_string_equal(said, "omitted lines=1 reason=\"more than 50 a second\"");
	log_flush();
	assert_int_equal(said_count, 1);
	assert_int_equal(say_files(3), 0);
	log_close();
	assert_int_equal(said_count, 2);
	assert_string_equal(said, "omitted lines=3 reason=\"more than 50 a second\"");

	/* Nothing is said of a second in which all was said. */
	fake_time_ns += UINT64_C(1000000000);
	log_open("unit", LOG_TO_SYSLOG, LOG_DAEMON);
	assert_int_equal(say_files(LOG_FILE_RATE), LOG_FILE_RATE);
	fake_time_ns += UINT64_C(3600000000000);
	assert_int_equal(say_files(LOG_FILE_RATE), LOG_FILE_RATE);
	log_close();
	clock_ns = monotonic_ns;
}

/* Under a steady flood, what is said and what is said to be left out is all there was. */
static void nothing_is_left_uncounted(void **state)
{
	unsigned long long lines = 0, omitted = 0;

	(void)state;
	clock_ns = fake_clock;
	fake_time_ns += UINT64_C(2000000000);
	log_open("unit", LOG_TO_STDERR, LOG_DAEMON);
	capture_begin();
	for (unsigned i = 0; i < 10000; i++) {
		log_file(LOG_INFO, "file");
		fake_time_ns += 777777;
	}
	log_flush();
	fseek(captured, 0, SEEK_SET);
	while (fgets(said, sizeof(said), captured)) {
		unsigned long long n;

		if (sscanf(said, "unit: omitted lines=%llu", &n) == 1)
			omitted += n;
		else if (strcmp(said, "unit: file\n") == 0)
			lines++;
	}
	capture_end(said, sizeof(said));
	assert_int_equal(lines, 8 * LOG_FILE_RATE);     /* 7.8 s: eight seconds begun */
	assert_int_equal(lines + omitted, 10000);
	log_close();
	clock_ns = monotonic_ns;
}

/* What came of many lines at random times, written in random times. */
#define STORM 20000
static struct {
	uint64_t at_ns[STORM];          /* when each that was said was said */
	unsigned lines;
	unsigned long long omitted;
	uint64_t omitted_ns;            /* when it was said last that some were left out */
	unsigned left, depth;
} storm;

static void storm_line(void)
{
	storm.left--;
	log_file(LOG_INFO, "file=x");
}

/* Mostly next to nothing; now and then the reader is slow. */
static void storm_wait(void)
{
	fake_time_ns += (uint64_t)(random() % 300 ? random() % 3000 : random() % 300000000);
}

/* Writing takes a while, at both of its ends, and other threads say something meanwhile. */
static void storm_syslog(void)
{
	unsigned long long n;
	bool is_file = !strcmp(said, "file=x");

	storm_wait();
	if (is_file)
		storm.at_ns[storm.lines++] = fake_time_ns;
	if (sscanf(said, "omitted lines=%llu", &n) == 1) {
		assert_true(!storm.omitted_ns || fake_time_ns - storm.omitted_ns > 699999999);
		storm.omitted_ns = fake_time_ns;
		storm.omitted += n;
	}
	long more = random() % 50 ? random() % 3 : 2 * LOG_FILE_RATE;
	while (more-- && storm.depth < 2 * LOG_FILE_RATE && storm.left) {
		storm.depth++;
		storm_line();
		storm.depth--;
	}
	storm_wait();
}

static int by_time(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* No second, wherever it begins, sees more lines than are allowed; and none goes uncounted. */
static void no_second_sees_more(void **state)
{
	const char *env = getenv("SEED");
	unsigned seed = env ? (unsigned)strtoul(env, NULL, 0) : (unsigned)time(NULL);

	(void)state;
	print_message("SEED=%u\n", seed);
	srandom(seed);
	clock_ns = fake_clock;
	fake_time_ns += UINT64_C(2000000000);
	log_open("unit", LOG_TO_SYSLOG, LOG_DAEMON);
	on_syslog = storm_syslog;
	for (storm.left = STORM; storm.left;) {
		static const long gap[] = { 1, 1000, 300000, 10000000 };

		fake_time_ns += (uint64_t)(random() % 500 ? random() % gap[random() % 4]
							  : random() % 1500000000);
		storm_line();
	}
	storm.omitted_ns = 0;
	on_syslog = NULL;
	said[0] = '\0';
	log_flush();
	if (!strncmp(said, "omitted lines=", 14))
		storm.omitted += strtoull(said + 14, NULL, 10);
	qsort(storm.at_ns, storm.lines, sizeof(storm.at_ns[0]), by_time);
	assert_true(storm.lines > 10 * LOG_FILE_RATE);
	for (unsigned i = LOG_FILE_RATE; i < storm.lines; i++)
		assert_true(storm.at_ns[i] - storm.at_ns[i - LOG_FILE_RATE] >= 1000000000);
	assert_int_equal(storm.lines + storm.omitted, STORM);
	log_close();
	clock_ns = monotonic_ns;
}

static void facilities(void **state)
{
	(void)state;
	assert_int_equal(log_facility("daemon"), LOG_DAEMON);
	assert_int_equal(log_facility("DAEMON"), LOG_DAEMON);
	assert_int_equal(log_facility("user"), LOG_USER);
	assert_int_equal(log_facility("authpriv"), LOG_AUTHPRIV);
	assert_int_equal(log_facility("local0"), LOG_LOCAL0);
	assert_int_equal(log_facility("local7"), LOG_LOCAL7);
	assert_int_equal(log_facility("local8"), -1);
	assert_int_equal(log_facility("kern"), -1);
	assert_int_equal(log_facility("daemons"), -1);
	assert_int_equal(log_facility("daemo"), -1);
	assert_int_equal(log_facility(""), -1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_text_stays),
		cmocka_unit_test(controls_are_escaped),
		cmocka_unit_test(c1_is_escaped),
		cmocka_unit_test(separators_and_overrides_are_escaped),
		cmocka_unit_test(invalid_utf8_is_escaped),
		cmocka_unit_test(any_bytes_become_clean),
		cmocka_unit_test(cut_never_amid_a_character),
		cmocka_unit_test(message_is_one_line),
		cmocka_unit_test(targets_are_kept_apart),
		cmocka_unit_test(long_message_is_cut),
		cmocka_unit_test(files_are_bounded),
		cmocka_unit_test(nothing_is_left_uncounted),
		cmocka_unit_test(no_second_sees_more),
		cmocka_unit_test(facilities),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
