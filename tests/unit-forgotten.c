/* forgotten: which paths a pattern names, and that what is on disk is what was said, whole or not at
 * all. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>

#include "scratch.h"

#include "../src/forgotten.h"

static struct forgotten *list;
static struct reason why;

static int open_again(void)
{
	forgotten_free(list);
	list = NULL;
	why = (struct reason){ "" };
	return forgotten_open(scratch("state"), &list, &why);
}

static int setup(void **state)
{
	if (scratch_setup(state))
		return -1;
	return mkdir(scratch("state"), 0700);
}

static int teardown(void **state)
{
	forgotten_free(list);
	list = NULL;
	return scratch_teardown(state);
}

static void put_file(const char *text, size_t size)
{
	FILE *to = fopen(scratch("state/forgotten"), "w");

	assert_non_null(to);
	assert_int_equal(fwrite(text, 1, size, to), size);
	assert_int_equal(fclose(to), 0);
}

static char *file_text(void)
{
	static char text[65536];
	FILE *from = fopen(scratch("state/forgotten"), "r");

	assert_non_null(from);
	text[fread(text, 1, sizeof(text) - 1, from)] = '\0';
	fclose(from);
	return text;
}

static int change(const char *pattern, bool add)
{
	why = (struct reason){ "" };
	return forgotten_change(list, pattern, add, &why);
}

static void want_pattern(size_t n, const char *pattern)
{
	char *got = forgotten_get(list, n);

	if (pattern)
		assert_string_equal(got, pattern);
	else
		assert_null(got);
	free(got);
}

static void test_matches(void **state)
{
	static const struct {
		const char *pattern, *path;
		bool matches;
	} cases[] = {
		{ "web01", "web01/PING.rrd", true },    { "web01", "web01/a/b.rrd", true },
		{ "web01", "web01", true },             { "web01", "web010/PING.rrd", false },
		{ "web01", "old/web01/PING.rrd", false }, { "web", "web01/PING.rrd", false },
		{ "web*", "web01/PING.rrd", true },     { "*/PING.rrd", "a/b/PING.rrd", true },
		{ "*", "a", true },                     { "a*c.rrd", "a/b/c.rrd", true },
		{ "web0[12]", "web02/x.rrd", true },    { "web0[12]", "web03/x.rrd", false },
		{ "a?b", "a/b", true },                 { "a\\*b", "a*b", true },
		{ "a\\*b", "axb", false },              { "[", "[", true },
		{ "", "a", false },                     { "A", "a", false },
		{ ".x", ".x/y", true },                 { "*", ".x/y", true },
		{ "*\xff*", "a\xff" "b", true },        { "a\nb", "a\nb/c", true },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (forgotten_matches(cases[i].pattern, cases[i].path) != cases[i].matches)
			fail_msg("\"%s\" and \"%s\"", cases[i].pattern, cases[i].path);
}

/* Whatever a pattern holds is the same after a restart, in the order in which it was said. */
static void test_kept(void **state)
{
	char bytes[256], longest[2048];
	const char *const pattern[] = {
		"web01", "#no comment", "##", " ", " a b ", "a\nb\r\tc", "\\", "\\x41", "\\e", "12", "#", bytes,
		longest,
	};
	const size_t patterns = sizeof(pattern) / sizeof(pattern[0]);

	(void)state;
	for (int i = 1; i < 256; i++)
		bytes[i - 1] = (char)i;
	bytes[255] = '\0';
	memset(longest, 1, sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(open_again(), 0);
	want_pattern(0, NULL);
	for (size_t i = 0; i < patterns; i++)
		assert_int_equal(change(pattern[i], true), 0);
	for (int again = 0; again < 2; again++) {
		for (size_t i = 0; i < patterns; i++)
			want_pattern(i, pattern[i]);
		want_pattern(patterns, NULL);
		assert_true(forgotten_is("web01/PING.rrd", list));
		assert_false(forgotten_is("web02/PING.rrd", list));
		assert_int_equal(open_again(), 0);
	}
	for (size_t i = 0; i < patterns; i += 2)
		assert_int_equal(change(pattern[i], false), 0);
	assert_int_equal(open_again(), 0);
	for (size_t i = 1; i < patterns; i += 2)
		want_pattern(i / 2, pattern[i]);
	want_pattern(patterns / 2, NULL);
	assert_false(forgotten_is("web01/PING.rrd", list));
}

static void test_twice(void **state)
{
	(void)state;
	assert_int_equal(open_again(), 0);
	assert_int_equal(change("a", false), -ENOENT);
	assert_int_equal(change("a", true), 0);
	assert_int_equal(change("a", true), -EEXIST);
	assert_int_equal(change("b", false), -ENOENT);
	assert_int_equal(change("a", false), 0);
	want_pattern(0, NULL);
	/* What is left is a file of comments. */
	assert_int_equal(*file_text(), '#');
	assert_null(strstr(file_text(), "\na"));
}

static void test_full(void **state)
{
	char text[32];

	(void)state;
	FILE *to = fopen(scratch("state/forgotten"), "w");
	assert_non_null(to);
	for (int i = 0; i < FORGOTTEN_MAX - 1; i++)
		fprintf(to, "host%d\n", i);
	fclose(to);
	assert_int_equal(open_again(), 0);
	assert_int_equal(change("last", true), 0);
	assert_int_equal(change("one more", true), REFUSED);
	assert_non_null(strstr(why.text, "patterns"));
	assert_int_equal(open_again(), 0);
	snprintf(text, sizeof(text), "host%d", FORGOTTEN_MAX - 2);
	want_pattern(FORGOTTEN_MAX - 2, text);
	want_pattern(FORGOTTEN_MAX - 1, "last");
}

/* By hand: comments, empty lines, no newline at the end. */
static void test_by_hand(void **state)
{
	static const char text[] = "# mine\n\nweb01\n#\nweb\\x20" "2";

	(void)state;
	put_file(text, sizeof(text) - 1);
	assert_int_equal(open_again(), 0);
	want_pattern(0, "web01");
	want_pattern(1, "web 2");
	want_pattern(2, NULL);
}

/* What cannot be read is not written over, and nothing is forgotten by half of it. */
static void test_damaged(void **state)
{
	static const struct {
		const char *text;
		size_t size;
	} cases[] = {
		{ "web01\nweb\\q\n", 12 }, { "web01\nweb\\x\n", 12 }, { "web01\nweb\\x00\n", 14 },
		{ "web01\nweb\1\n", 11 }, { "web01\nweb\0x\n", 12 }, { "web01\n\0", 7 },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		put_file(cases[i].text, cases[i].size);
		assert_int_equal(open_again(), REFUSED);
		assert_string_equal(why.text, "line 2 is none that rrdmergctl has written");
		assert_false(forgotten_is("web01/PING.rrd", list));
		want_pattern(0, NULL);
		assert_int_equal(change("x", true), REFUSED);
		assert_string_equal(why.text, "line 2 is none that rrdmergctl has written");
		assert_memory_equal(file_text(), cases[i].text, cases[i].size);
	}
	assert_int_equal(unlink(scratch("state/forgotten")), 0);
	assert_int_equal(mkdir(scratch("state/forgotten"), 0700), 0);
	assert_int_equal(open_again(), REFUSED);
	assert_int_equal(change("x", true), REFUSED);
	/* Nor is a link followed. */
	assert_int_equal(rmdir(scratch("state/forgotten")), 0);
	assert_int_equal(symlink("elsewhere", scratch("state/forgotten")), 0);
	assert_int_equal(open_again(), -ELOOP);
	assert_int_equal(change("x", true), REFUSED);
}

/* Where it cannot be written, it stays as it was, in memory and on disk, and can be tried again. */
static void test_unwritable(void **state)
{
	(void)state;
	assert_int_equal(open_again(), 0);
	assert_int_equal(change("a", true), 0);
	/* What a killed one has left is in nobody's way; a directory is. */
	assert_int_equal(symlink("elsewhere", scratch("state/forgotten.new")), 0);
	assert_int_equal(change("b", true), 0);
	assert_int_not_equal(access(scratch("state/elsewhere"), F_OK), 0);
	assert_int_equal(mkdir(scratch("state/forgotten.new"), 0700), 0);
	assert_true(change("c", true) < 0);
	assert_non_null(strstr(why.text, "cannot be written"));
	assert_true(change("a", false) < 0);
	want_pattern(0, "a");
	want_pattern(1, "b");
	want_pattern(2, NULL);
	assert_int_equal(rmdir(scratch("state/forgotten.new")), 0);
	assert_int_equal(change("c", true), 0);
	assert_int_equal(open_again(), 0);
	want_pattern(2, "c");
	struct stat st;
	assert_int_equal(stat(scratch("state/forgotten"), &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
}

/* The first one makes the directory. */
static void test_no_directory(void **state)
{
	(void)state;
	assert_int_equal(rmdir(scratch("state")), 0);
	assert_int_equal(open_again(), 0);
	assert_int_equal(change("a", true), 0);
	assert_int_equal(open_again(), 0);
	want_pattern(0, "a");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_matches),
		cmocka_unit_test_setup_teardown(test_kept, setup, teardown),
		cmocka_unit_test_setup_teardown(test_twice, setup, teardown),
		cmocka_unit_test_setup_teardown(test_full, setup, teardown),
		cmocka_unit_test_setup_teardown(test_by_hand, setup, teardown),
		cmocka_unit_test_setup_teardown(test_damaged, setup, teardown),
		cmocka_unit_test_setup_teardown(test_unwritable, setup, teardown),
		cmocka_unit_test_setup_teardown(test_no_directory, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
