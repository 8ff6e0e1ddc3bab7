/* unit-timeline: cells in bins, letters, and what is drawn of them. */
#include "config.h"
#include "timeline.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

static char *text;
static size_t size;

static const char *drawn(const char *letters, int64_t from, int64_t to, size_t columns, bool utf8)
{
	const struct timeline_line line = { letters, from, to };
	FILE *out;

	free(text);
	text = NULL;
	out = open_memstream(&text, &size);
	assert_non_null(out);
	timeline_draw(out, &line, columns, utf8);
	assert_int_equal(fclose(out), 0);
	return text;
}

static const char *legend(const uint64_t cells[TIMELINE_KINDS], size_t columns, bool utf8)
{
	FILE *out;

	free(text);
	text = NULL;
	out = open_memstream(&text, &size);
	assert_non_null(out);
	timeline_legend(out, cells, columns, utf8);
	assert_int_equal(fclose(out), 0);
	return text;
}

/* Each row falls into one bin, in order, and no bin is more than a row larger than another. */
static void test_bins(void **state)
{
	(void)state;
	for (uint64_t rows = 1; rows < 200; rows += 1 + rows / 9)
		for (size_t columns = 20; columns < 130; columns += 7) {
			struct timeline_bins bins;
			uint64_t least = rows, most = 0, sum = 0;

			assert_int_equal(timeline_begin(&bins, rows, columns), 0);
			assert_int_equal(bins.bins, rows < columns ? rows : columns);
			for (uint64_t row = 0; row <= rows; row++)      /* the last is none */
				timeline_add(&bins, row, TIMELINE_EXACT);
			for (size_t i = 0; i < bins.bins; i++) {
				uint64_t cells = bins.cells[i][TIMELINE_EXACT];

				least = cells < least ? cells : least;
				most = cells > most ? cells : most;
				sum += cells;
			}
			assert_int_equal(sum, rows);
			assert_true(most - least <= 1 && least);
			timeline_free(&bins);
		}
}

static void test_letters(void **state)
{
	struct timeline_bins bins;
	char letters[8];

	(void)state;
	assert_int_equal(timeline_begin(&bins, 70, 7), 0);
	for (uint64_t row = 0; row < 70; row++)
		timeline_add(&bins, row, row < 10 ? TIMELINE_UNKNOWN : row < 20 ? TIMELINE_EXACT
			     : row < 30 ? TIMELINE_SPREAD : row < 40 ? TIMELINE_CONSOLIDATED
			     : row < 50 ? TIMELINE_SEAM : TIMELINE_LIVE);
	timeline_letters(&bins, letters);
	assert_string_equal(letters, ".+~cs##");
	/* Most decide; of two that are as many, what is not live's own. */
	for (int i = 0; i < 10; i++)
		timeline_add(&bins, 69, TIMELINE_SPREAD);
	for (int i = 0; i < 9; i++)
		timeline_add(&bins, 50, TIMELINE_EXACT);
	timeline_letters(&bins, letters);
	assert_string_equal(letters, ".+~cs#~");
	timeline_free(&bins);

	/* A bin without a cell, and an archive without a row. */
	assert_int_equal(timeline_begin(&bins, 2, 7), 0);
	timeline_add(&bins, 1, TIMELINE_LIVE);
	timeline_letters(&bins, letters);
	assert_string_equal(letters, ".#");
	timeline_free(&bins);
	assert_int_equal(timeline_begin(&bins, 0, 7), 0);
	timeline_add(&bins, 0, TIMELINE_LIVE);
	timeline_letters(&bins, letters);
	assert_string_equal(letters, "");
	timeline_free(&bins);
}

static void test_names(void **state)
{
	static const char *const names[TIMELINE_KINDS] = {
		"live", "exact", "consolidated", "spread", "seam", "unknown"
	};

	(void)state;
	for (int kind = 0; kind < TIMELINE_KINDS; kind++)
		assert_string_equal(timeline_name((enum timeline_kind)kind), names[kind]);
}

#define DAY 86400
#define T0 INT64_C(1699920000)          /* 2023-11-14 00:00 */

static void test_drawn(void **state)
{
	(void)state;
	assert_string_equal(drawn("..++s##", T0, T0 + 100 * DAY, 35, false),
			    "..........++++++++++sssss##########\n"
			    "2023-11-14               2024-02-22\n");
	/* As many letters as columns, and more; and what is no letter. */
	assert_string_equal(drawn("#+#+#+#+#+#+#+#+#+#+", T0, T0 + DAY, 20, false),
			    "#+#+#+#+#+#+#+#+#+#+\n11-14 00:00\n");
	assert_string_equal(drawn("#+#+#+#+#+#+#+#+#+#+#+#+#+#+#+#+#+#+#+#+", T0, T0 + DAY, 20,
				  false),
			    "####################\n11-14 00:00\n");
	assert_string_equal(drawn("\033.", T0, T0 + DAY, 20, true),
			    "\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7"
			    "\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\u00b7\n"
			    "11-14 00:00\n");
	assert_string_equal(drawn("#+~cs.", T0, T0 + 10 * DAY, 24, true),
			    "\u2588\u2588\u2588\u2588\u2593\u2593\u2593\u2593"
			    "\u2591\u2591\u2591\u2591\u2592\u2592\u2592\u2592"
			    "\u254b\u254b\u254b\u254b\u00b7\u00b7\u00b7\u00b7\n"
			    "2023-11-14\n");
	/* Too narrow becomes narrow; nothing is drawn of nothing. */
	assert_string_equal(drawn("#", T0, T0 + DAY, 0, false), "####################\n"
			    "11-14 00:00\n");
	assert_string_equal(drawn("", T0, T0 + DAY, 20, false), "\n11-14 00:00\n");
	/* Times that no calendar has. */
	drawn("#", INT64_MIN / 4, INT64_MAX / 4, 200, false);
}

/* Whatever the width: the line has it, the dates keep within it, apart, and in order. */
static void test_widths(void **state)
{
	(void)state;
	for (size_t columns = TIMELINE_COLUMNS_MIN; columns <= TIMELINE_COLUMNS_MAX; columns++)
		for (int64_t span = 3600; span < 3000 * DAY; span *= 37) {
			char last[16] = "";
			const char *at = drawn("#.+", T0, T0 + span, columns, false);

			assert_int_equal(strcspn(at, "\n"), columns);
			at += columns + 1;
			assert_true(strlen(at) - 1 <= columns && at[strlen(at) - 1] == '\n');
			for (at += strspn(at, " "); *at != '\n'; at += strspn(at, " ")) {
				char date[16];
				size_t length = span < 4 * DAY ? 11 : 10;

				snprintf(date, sizeof(date), "%.*s", (int)length, at);
				assert_true(strcmp(date, last) >= 0 || span > 300 * DAY);
				at += length;
				assert_true(*at == ' ' || *at == '\n');
				strcpy(last, date);
				if (*at == '\n')
					break;
			}
		}
}

static void test_legend(void **state)
{
	const uint64_t none[TIMELINE_KINDS] = { 0 }, all[TIMELINE_KINDS] = { 1, 22, 3, 4, 5, 6 };
	const uint64_t two[TIMELINE_KINDS] = { [TIMELINE_LIVE] = 7, [TIMELINE_UNKNOWN] = 8 };

	(void)state;
	assert_string_equal(legend(none, 80, false), "");
	assert_string_equal(legend(two, 80, false), "# known in live: 7   . unknown: 8\n");
	assert_string_equal(legend(two, 80, true), "\u2588 known in live: 7   \u00b7 unknown: 8\n");
	assert_string_equal(legend(two, 30, false), "# known in live: 7\n. unknown: 8\n");
	assert_string_equal(legend(all, 80, false),
			    "# known in live: 1   + filled as the backup has it: 22\n"
			    "c filled from finer rows: 3   ~ filled from a coarser row: 4\n"
			    "s healed at the seam: 5   . unknown: 6\n");
}

static void test_span(void **state)
{
	static const struct {
		int64_t seconds;
		const char *text;
	} each[] = {
		{ 1, "1 s" }, { 59, "59 s" }, { 60, "1 min" }, { 90, "90 s" }, { 300, "5 min" },
		{ 3600, "1 h" }, { 5400, "90 min" }, { DAY, "1 d" }, { 90000, "25 h" },
		{ 0, "0 s" }, { -5, "-5 s" },
	};
	char buffer[TIMELINE_SPAN_SIZE];

	(void)state;
	for (size_t i = 0; i < sizeof(each) / sizeof(each[0]); i++)
		assert_string_equal(timeline_span(buffer, each[i].seconds), each[i].text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_bins),
		cmocka_unit_test(test_letters),
		cmocka_unit_test(test_names),
		cmocka_unit_test(test_drawn),
		cmocka_unit_test(test_widths),
		cmocka_unit_test(test_legend),
		cmocka_unit_test(test_span),
	};
	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	free(text);
	return failed;
}
