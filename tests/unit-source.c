/* unit-source: what the backups hold for a live file, and which data source is which. */
#include "config.h"
#include "source.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "authority.h"
#include "labels.h"
#include "scratch.h"
#include "suggest.h"

#define NONE LAYOUT_NO_DS

static void make_dir(const char *rel)
{
	assert_int_equal(mkdir(scratch(rel), 0755), 0);
}

static void make_file(const char *rel)
{
	authority_spill(scratch(rel), rel, strlen(rel));
}

/* ---- which data source is which ---- */

/* A header as rrdtool makes it of these data sources. */
static struct layout_header header(const char *const *ds)
{
	const char *args[16] = { "RRA:AVERAGE:0.5:1:10" };
	struct layout_header head;
	struct reason why;
	size_t size;

	for (size_t i = 0; ds[i]; i++)
		args[i + 1] = ds[i];
	authority_create(scratch("head.rrd"), 60, 1600000000, args);
	uint8_t *bytes = authority_slurp(scratch("head.rrd"), &size);
	assert_int_equal(layout_measure(bytes, size, size, &head, &why), 0);
	assert_int_equal(layout_decode(bytes, size, &head, &why), 0);
	unlink(scratch("head.rrd"));
	free(bytes);
	return head;
}

/* Maps and frees; `words` must stand in the reason where something is refused. */
static void assert_map(struct layout_header live, struct layout_header backup, int result,
		       uint64_t refused, const uint64_t *expected, const char *words)
{
	uint64_t map[16], count = 99;
	struct reason why = { "of old" };
	int r = labels_by_name(&live, &backup, map, &count, &why);

	if (strcmp(words, why.text) && (!*words || !strstr(why.text, words)))
		fail_msg("\"%s\" and not \"%s\"", why.text, words);
	assert_int_equal(r, result);
	assert_int_equal(count, refused);
	for (uint64_t i = 0; i < live.ds_cnt; i++)
		assert_int_equal(map[i], expected[i]);
	layout_free(&live);
	layout_free(&backup);
}

#define HEADER(...) header((const char *[]){ __VA_ARGS__, NULL })
#define MAP(...) ((const uint64_t[]){ __VA_ARGS__ })

static void test_map_names(void **state)
{
	(void)state;
	assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:b:COUNTER:120:U:U"),
		   HEADER("DS:a:GAUGE:120:U:U", "DS:b:COUNTER:120:U:U"), 0, 0, MAP(0, 1), "");
	/* Another order, others between, other heartbeats and limits. */
	assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:b:COUNTER:120:U:U"),
		   HEADER("DS:x:GAUGE:9:U:U", "DS:b:COUNTER:999:0:5", "DS:a:GAUGE:1:-3:U"),
		   0, 0, MAP(2, 1), "");
	assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:new:GAUGE:120:U:U"),
		   HEADER("DS:a:GAUGE:120:U:U"), 0, 0, MAP(0, NONE), "");
	assert_map(HEADER("DS:a:GAUGE:120:U:U"), HEADER("DS:A:GAUGE:120:U:U"), REFUSED, 0,
		   MAP(NONE), "no data source in common: live has a and backup has A");
	assert_map(HEADER("DS:a:GAUGE:120:U:U"), HEADER("DS:aa:GAUGE:120:U:U"), REFUSED, 0,
		   MAP(NONE), "no data source in common");
}

static void test_map_types(void **state)
{
	(void)state;
	assert_map(HEADER("DS:a:GAUGE:120:U:U"), HEADER("DS:a:DERIVE:120:U:U"), REFUSED, 1,
		   MAP(NONE), "data source a: live is GAUGE and backup is DERIVE");
	assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U"),
		   HEADER("DS:a:DERIVE:120:U:U", "DS:b:GAUGE:120:U:U"), 0, 1, MAP(NONE, 1),
		   "data source a: live is GAUGE and backup is DERIVE");
	/* Each is named. */
	assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U", "DS:c:GAUGE:120:U:U"),
		   HEADER("DS:a:DERIVE:120:U:U", "DS:b:GAUGE:120:U:U", "DS:c:COUNTER:120:U:U"),
		   0, 2, MAP(NONE, 1, NONE),
		   "data source a: live is GAUGE and backup is DERIVE; "
		   "data source c: live is GAUGE and backup is COUNTER");
	assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:b:COMPUTE:a,2,*"),
		   HEADER("DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U"), 0, 1, MAP(0, NONE),
		   "data source b: live is COMPUTE and backup is GAUGE");
}

static void test_map_formulas(void **state)
{
	static const struct {
		const char *live, *backup;
		bool same;
	} pairs[] = {
		{ "DS:c:COMPUTE:a,b,+", "DS:c:COMPUTE:a,b,+", true },
		{ "DS:c:COMPUTE:a,b,+", "DS:c:COMPUTE:b,a,+", false },
		{ "DS:c:COMPUTE:a,b,+", "DS:c:COMPUTE:a,b,-", false },
		{ "DS:c:COMPUTE:a,b,+", "DS:c:COMPUTE:a,b,+,2,*", false },
		{ "DS:c:COMPUTE:a,5,*", "DS:c:COMPUTE:a,5,*", true },
		{ "DS:c:COMPUTE:a,5,*", "DS:c:COMPUTE:a,6,*", false },
		{ "DS:c:COMPUTE:a,-5,*", "DS:c:COMPUTE:a,-5,*", true },
		{ "DS:c:COMPUTE:a,UN,b,a,IF", "DS:c:COMPUTE:a,UN,b,a,IF", true },
		{ "DS:c:COMPUTE:a,UN,b,a,IF", "DS:c:COMPUTE:a,UN,b,b,IF", false },
		{ "DS:c:COMPUTE:a,UNKN,+", "DS:c:COMPUTE:a,INF,+", false },
		{ "DS:c:COMPUTE:a,0,*", "DS:c:COMPUTE:a,a,*", false },
	};

	(void)state;
	for (size_t i = 0; i < sizeof(pairs) / sizeof(pairs[0]); i++) {
		/* The same of the same names, though their numbers are others. */
		assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U", pairs[i].live),
			   HEADER("DS:x:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U",
				  "DS:a:GAUGE:120:U:U", pairs[i].backup),
			   0, !pairs[i].same, MAP(2, 1, pairs[i].same ? 3 : NONE),
			   pairs[i].same ? "" : "data source c: live computes it otherwise");
	}
	/* The same numbers of other names. */
	assert_map(HEADER("DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U", "DS:c:COMPUTE:a,b,-"),
		   HEADER("DS:b:GAUGE:120:U:U", "DS:a:GAUGE:120:U:U", "DS:c:COMPUTE:b,a,-"),
		   0, 1, MAP(1, 0, NONE), "data source c: live computes it otherwise");
}

/* PNP's rrd_modify.pl makes such files, in which no number is what it was; rrdtool does not. */
static void test_map_twice(void **state)
{
	struct layout_header live = HEADER("DS:1:GAUGE:120:U:U", "DS:2:GAUGE:120:U:U",
					   "DS:3:GAUGE:120:U:U");
	struct layout_header backup = HEADER("DS:1:GAUGE:120:U:U", "DS:2:GAUGE:120:U:U",
					     "DS:3:GAUGE:120:U:U");

	(void)state;
	strcpy(backup.ds[2].name, "1");
	assert_map(live, backup, REFUSED, 3, MAP(NONE, NONE, NONE),
		   "data source 1: the name stands twice in backup");
	live = HEADER("DS:1:GAUGE:120:U:U", "DS:2:GAUGE:120:U:U", "DS:3:GAUGE:120:U:U");
	backup = HEADER("DS:1:GAUGE:120:U:U", "DS:2:GAUGE:120:U:U");
	strcpy(live.ds[2].name, "1");
	assert_map(live, backup, REFUSED, 3, MAP(NONE, NONE, NONE),
		   "data source 1: the name stands twice in live");
	live = HEADER("DS:1:GAUGE:120:U:U", "DS:2:GAUGE:120:U:U", "DS:3:GAUGE:120:U:U");
	backup = HEADER("DS:2:GAUGE:120:U:U");
	strcpy(live.ds[2].name, "1");
	assert_map(live, backup, REFUSED, 3, MAP(NONE, NONE, NONE),
		   "data source 1: the name stands twice in live");
	/* Twice, but what of it: it means something, and is in no backup. */
	live = HEADER("DS:a:GAUGE:120:U:U", "DS:b:GAUGE:120:U:U", "DS:c:GAUGE:120:U:U");
	backup = HEADER("DS:b:GAUGE:120:U:U");
	strcpy(live.ds[2].name, "a");
	assert_map(live, backup, 0, 0, MAP(NONE, 0, NONE), "");
}

static void test_map_many_names(void **state)
{
	enum { MANY = 1000 };
	struct layout_header live = { .ds_cnt = MANY }, backup = { .ds_cnt = MANY };
	uint64_t *map = calloc(MANY, sizeof(*map)), refused;
	struct reason why;

	(void)state;
	live.ds = calloc(MANY, sizeof(*live.ds));
	backup.ds = calloc(MANY, sizeof(*backup.ds));
	for (int i = 0; i < MANY; i++) {
		snprintf(live.ds[i].name, LAYOUT_NAME_SIZE, "live%015d", i);
		snprintf(backup.ds[i].name, LAYOUT_NAME_SIZE, "b%d", i);
	}
	assert_int_equal(labels_by_name(&live, &backup, map, &refused, &why), REFUSED);
	assert_non_null(strstr(why.text, "live000000000000000"));
	assert_non_null(strstr(why.text, "..."));
	assert_non_null(strstr(why.text, "b0,b1"));
	assert_int_equal(labels_by_name(&live, &backup, map, &refused, NULL), REFUSED);
	free(live.ds);
	free(backup.ds);
	free(map);
}

/* ---- opening ---- */

static int try_open(const struct source_set *set, unsigned n, const char *rel, struct reason *why)
{
	struct source_found found = SOURCE_FOUND_NONE;
	int fd = -1, r = source_find(set, n, rel, &found);

	assert_true(r ? found.root == -1 : found.count <= 1);
	if (!r)
		r = found.count ? io_open_file(found.root, found.file[0].rel, O_RDONLY, &fd, NULL,
					       why)
				: -ENOENT;
	source_found_free(&found);
	assert_true(r ? fd == -1 : fd >= 0);
	if (!r) {
		assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
		close(fd);
	}
	return r;
}

static void test_open(void **state)
{
	struct source_set set = { 0 };
	struct reason why;

	(void)state;
	make_dir("b");
	make_dir("b/h");
	make_file("b/h/x.rrd");
	make_dir("b/dir.rrd");
	make_file("other.rrd");
	assert_int_equal(symlink("h/x.rrd", scratch("b/link.rrd")), 0);
	assert_int_equal(symlink("h", scratch("b/hl")), 0);
	assert_int_equal(mkfifo(scratch("b/fifo.rrd"), 0600), 0);
	assert_int_equal(source_add(&set, scratch("b"), NULL), 0);
	assert_int_equal(source_add(&set, scratch("not mounted"), NULL), 0);
	assert_int_equal(source_add(&set, scratch("b/h"), "x.rrd"), 0);
	assert_int_equal(set.count, 3);
	assert_int_equal(try_open(&set, 0, "h/x.rrd", &why), 0);
	assert_int_equal(try_open(&set, 0, "h/y.rrd", &why), -ENOENT);
	assert_int_equal(try_open(&set, 0, "g/x.rrd", &why), -ENOENT);
	assert_int_equal(try_open(&set, 1, "h/x.rrd", &why), -ENXIO);
	assert_int_equal(try_open(&set, 2, "any name", &why), 0);
	assert_int_equal(try_open(&set, 0, "link.rrd", &why), REFUSED);
	assert_non_null(strstr(why.text, "symbolic link"));
	assert_int_equal(try_open(&set, 0, "hl/x.rrd", &why), REFUSED);
	assert_int_equal(try_open(&set, 0, "fifo.rrd", &why), REFUSED);
	assert_non_null(strstr(why.text, "FIFO"));
	assert_int_equal(try_open(&set, 0, "dir.rrd", &why), REFUSED);
	assert_non_null(strstr(why.text, "directory"));
	assert_int_equal(try_open(&set, 0, "../other.rrd", &why), REFUSED);
	/* Nothing stays open, so that a backup can be unmounted. */
	int before = dup(0);
	close(before);
	try_open(&set, 0, "h/x.rrd", &why);
	try_open(&set, 0, "link.rrd", &why);
	int after = dup(0);
	close(after);
	assert_int_equal(before, after);
	source_set_free(&set);
	source_set_free(&set);
}

static void test_open_unreadable(void **state)
{
	struct source_set set = { 0 };
	struct reason why = { "" };

	(void)state;
	make_dir("b");
	make_file("b/x.rrd");
	assert_int_equal(chmod(scratch("b/x.rrd"), 0), 0);
	assert_int_equal(chmod(scratch_dir, 0755), 0);
	assert_int_equal(source_add(&set, scratch("b"), NULL), 0);
	if (getuid() == 0 && seteuid(65534)) {
		print_message("cannot become another user\n");
		source_set_free(&set);
		skip();
	}
	int file = try_open(&set, 0, "x.rrd", &why);
	if (getuid() == 0 && seteuid(0))
		abort();
	assert_int_equal(chmod(scratch("b"), 0), 0);
	if (getuid() == 0 && seteuid(65534))
		abort();
	int tree = try_open(&set, 0, "x.rrd", NULL);
	if (getuid() == 0 && seteuid(0))
		abort();
	chmod(scratch("b"), 0755);
	source_set_free(&set);
	assert_int_equal(file, -EACCES);
	assert_int_equal(tree, -ENXIO);
	assert_non_null(strstr(why.text, "Permission denied"));
}

static int count_entry(const char *rel, enum io_kind kind, void *arg)
{
	(void)rel;
	(void)kind;
	++*(unsigned *)arg;
	return 0;
}

static void no_error(const char *rel, int error, void *arg)
{
	(void)arg;
	fail_msg("%s: %d", rel, error);
}

static void test_walk(void **state)
{
	struct source_set set = { 0 };
	unsigned entries = 0;

	(void)state;
	make_dir("b");
	make_dir("b/h");
	make_file("b/h/x.rrd");
	source_add(&set, scratch("b"), NULL);
	source_add(&set, scratch("nowhere"), NULL);
	assert_int_equal(source_walk(&set, 0, count_entry, no_error, &entries), 0);
	assert_int_equal(entries, 2);
	assert_int_equal(source_walk(&set, 1, count_entry, no_error, &entries), -ENOENT);
	source_set_free(&set);
}

/* ---- hard links ---- */

static bool holds(const struct source_set *set, const char *rel)
{
	struct stat st;
	struct io_stamp stamp;

	assert_int_equal(lstat(scratch(rel), &st), 0);
	stamp = io_stamp_of(&st);
	return source_holds_inode(set, &stamp);
}

static void test_hard_links(void **state)
{
	struct source_set set = { 0 }, other = { 0 }, none = { 0 };

	(void)state;
	make_dir("live");
	make_dir("b");
	make_dir("b/deep");
	make_dir("c");
	make_file("b/deep/x.rrd");
	make_file("b/y.rrd");
	make_file("live/alone.rrd");
	make_file("live/twice.rrd");
	make_file("c/z.rrd");
	make_file("c/not it.rrd");
	assert_int_equal(link(scratch("b/deep/x.rrd"), scratch("live/other name.rrd")), 0);
	assert_int_equal(link(scratch("live/twice.rrd"), scratch("live/thrice.rrd")), 0);
	assert_int_equal(link(scratch("c/z.rrd"), scratch("live/z.rrd")), 0);
	assert_int_equal(link(scratch("c/not it.rrd"), scratch("live/not it.rrd")), 0);
	source_add(&set, scratch("nowhere"), NULL);
	source_add(&set, scratch("b"), NULL);
	source_add(&set, scratch("c"), "z.rrd");
	assert_true(holds(&set, "live/other name.rrd"));
	assert_true(holds(&set, "live/z.rrd"));
	assert_false(holds(&set, "live/not it.rrd"));   /* in the directory, but not the source */
	assert_false(holds(&set, "live/alone.rrd"));
	assert_false(holds(&set, "live/twice.rrd"));    /* with another of live */
	/* A set that never had such files, and an empty one. */
	source_add(&other, scratch("live"), "alone.rrd");
	assert_false(holds(&other, "live/other name.rrd"));
	assert_false(holds(&none, "live/other name.rrd"));
	source_set_free(&other);
	source_set_free(&set);
}

/* ---- suggestions ---- */

static char *const wanted[] = { (char []){ "h1/a.rrd" }, (char []){ "h1/b.rrd" },
	(char []){ "h2/a.rrd" } };

/* Makes `dir` a directory in which the first `count` live files stand. */
static void make_tree(const char *dir, size_t count)
{
	char path[256];

	for (size_t i = 0; i < 3; i++) {
		snprintf(path, sizeof(path), "%s/h%zu", dir, i / 2 + 1);
		if (i != 1)
			make_dir(path);
		snprintf(path, sizeof(path), "%s/%s", dir, wanted[i]);
		if (i < count)
			make_file(path);
	}
}

static void assert_suggested(const char *backup, const char *expected)
{
	struct source source = { .path = (char *)(uintptr_t)scratch(backup) };
	char *path = suggest_backup(&source, "/somewhere/perfdata", wanted, 3);

	if (!expected) {
		assert_null(path);
		return;
	}
	assert_non_null(path);
	assert_string_equal(path, scratch(expected));
	free(path);
}

static void test_suggest_down(void **state)
{
	(void)state;
	make_dir("b");
	make_dir("b/empty");
	make_file("b/file");
	assert_suggested("b", NULL);
	make_dir("b/one");
	make_dir("b/one/two");
	make_dir("b/one/two/three");
	make_tree("b/one/two/three", 3);
	assert_suggested("b", NULL);                    /* too deep */
	make_tree("b/one/two", 1);
	assert_suggested("b", "b/one/two");
	make_tree("b/empty", 2);
	assert_suggested("b", "b/empty");
	/* Between equals, the one that is called as live is. */
	make_dir("b/a-perfdata");
	make_tree("b/a-perfdata", 2);
	make_dir("b/one/perfdata");
	make_tree("b/one/perfdata", 2);
	make_dir("b/zone");
	make_tree("b/zone", 2);
	assert_suggested("b", "b/one/perfdata");
	/* The most hits win over the name; links and directories are no hits. */
	assert_int_equal(unlink(scratch("b/one/perfdata/h1/b.rrd")), 0);
	assert_int_equal(symlink("a.rrd", scratch("b/one/perfdata/h1/b.rrd")), 0);
	assert_int_equal(mkdir(scratch("b/one/perfdata/h2/a.rrd"), 0755), 0);
	make_dir("b/one/all");
	make_tree("b/one/all", 3);
	assert_suggested("b", "b/one/all");
	assert_suggested("nowhere", NULL);
}

static void test_suggest_up(void **state)
{
	(void)state;
	make_dir("up");
	make_dir("up/x");
	make_dir("up/x/y");
	make_dir("up/x/y/z");
	assert_suggested("up/x/y/z", NULL);
	make_tree("up", 3);
	assert_suggested("up/x/y/z", NULL);             /* too high */
	assert_suggested("up/x/y", "up");
	assert_suggested("up/x", "up");
	make_tree("up/x", 1);
	assert_suggested("up/x/y/z", "up/x");
	assert_suggested("up/x/y", "up");               /* three beat one */
	/* By way of a link the directories above are those of what it names. */
	assert_int_equal(symlink("up/x/y/z", scratch("short")), 0);
	assert_suggested("short", "up/x");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_map_names, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_map_types, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_map_formulas, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_map_twice, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_map_many_names, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_open, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_open_unreadable, scratch_setup,
						scratch_teardown),
		cmocka_unit_test_setup_teardown(test_walk, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_hard_links, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_suggest_down, scratch_setup, scratch_teardown),
		cmocka_unit_test_setup_teardown(test_suggest_up, scratch_setup, scratch_teardown),
	};

	alarm(60);                      /* a FIFO opened would hang */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
