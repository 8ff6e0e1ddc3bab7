/* unit-labels: which data source is which, by pnp4nagios' labels and without. */
#include "config.h"
#include "labels.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <unistd.h>

#include "authority.h"
#include "scratch.h"

#define NONE LAYOUT_NO_DS
#define MAX 16

/* One of the two files, with a sidecar or without. */
struct side {
	struct layout_header head;
	struct sidecar sidecar;
	struct sidecar_ds ds[MAX];
	char text[MAX][3][64];
	bool has;
	const char *useless;
	const char *file;
	bool ruled;
};

/* A database as rrdtool makes it of these data sources, "NAME:TYPE" or "NAME:COMPUTE:RPN". */
static struct layout_header header(const char *const *ds)
{
	const char *args[MAX + 2] = { "RRA:AVERAGE:0.5:1:10" };
	char text[MAX][80];
	struct layout_header head;
	struct reason why;
	size_t size;

	for (size_t i = 0; ds[i]; i++) {
		snprintf(text[i], sizeof(text[i]), "DS:%s%s", ds[i],
			 strstr(ds[i], "COMPUTE") ? "" : ":8640:U:U");
		args[i + 1] = text[i];
	}
	authority_create(scratch("head.rrd"), 60, 1600000000, args);
	uint8_t *bytes = authority_slurp(scratch("head.rrd"), &size);
	assert_int_equal(layout_measure(bytes, size, size, &head, &why), 0);
	assert_int_equal(layout_decode(bytes, size, &head, &why), 0);
	unlink(scratch("head.rrd"));
	free(bytes);
	return head;
}

/* pnp4nagios' own: 1, 2, …, all gauges. */
static struct side gauges(unsigned count, const char *file)
{
	const char *ds[MAX + 1] = { NULL };
	char text[MAX][24];

	for (unsigned i = 0; i < count; i++) {
		snprintf(text[i], sizeof(text[i]), "%u:GAUGE", i + 1);
		ds[i] = text[i];
	}
	return (struct side){ .head = header(ds), .file = file };
}

/* "label" or "label|unit", a "*" before those that are in a file of their own. */
static void say(struct side *side, const char *service, const char *const *values)
{
	side->has = true;
	strcpy(side->sidecar.service, service);
	side->sidecar.ds = side->ds;
	for (side->sidecar.count = 0; values[side->sidecar.count]; side->sidecar.count++) {
		const char *value = values[side->sidecar.count];
		struct sidecar_ds *ds = &side->ds[side->sidecar.count];
		char (*text)[64] = side->text[side->sidecar.count];

		ds->multiple = *value == '*';
		value += ds->multiple;
		size_t len = strcspn(value, "|");
		snprintf(text[0], sizeof(text[0]), "%.*s", (int)len, value);
		memcpy(text[1], text[0], sizeof(text[1]));
		for (char *c = text[1]; *c; c++)
			if (strchr("& :/\\", *c))
				*c = '_';
		snprintf(text[2], sizeof(text[2]), "%s%s%s.rrd", service, ds->multiple ? "_" : "",
			 ds->multiple ? text[1] : "");
		ds->label = text[0];
		ds->name = text[1];
		ds->file = text[2];
		ds->unit = value[len] ? value + len + 1 : "";
	}
}

#define SAY(side, ...) say(side, "svc", (const char *[]){ __VA_ARGS__, NULL })
#define MAP(...) ((const uint64_t[]){ __VA_ARGS__ })

struct expected {
	enum labels_match match;
	int result;
	uint64_t refused;
	bool unproven;
	const char *words;      /* "": no reason at all; else they stand in it */
};

static void assert_map(struct side *live, struct side *backup, struct expected expected,
		       const uint64_t *map)
{
	const struct labels_side ours = { &live->head, live->has ? &live->sidecar : NULL,
					  live->useless, live->file, false };
	const struct labels_side theirs = { &backup->head, backup->has ? &backup->sidecar : NULL,
					    backup->useless, backup->file, backup->ruled };
	struct labels_verdict verdict = { .refused = 99, .unproven = true, .useless = true };
	bool damaged = live->useless || backup->useless;
	struct reason why = { "of old" };
	uint64_t got[MAX];
	int r = labels_map(&ours, &theirs, expected.match, got, &verdict, &why);

	if (strcmp(expected.words, why.text) &&
	    (!*expected.words || !strstr(why.text, expected.words)))
		fail_msg("\"%s\" and not \"%s\"", why.text, expected.words);
	assert_int_equal(r, expected.result);
	assert_int_equal(verdict.refused, expected.refused);
	assert_int_equal(verdict.unproven, expected.unproven);
	assert_int_equal(verdict.useless, damaged && expected.match != LABELS_NAME);
	if (expected.match == LABELS_NAME || (!live->has && !backup->has && !damaged &&
					      expected.match != LABELS_LABEL))
		assert_false(verdict.told);
	else if (expected.refused && live->has && backup->has)
		assert_true(verdict.told);
	for (uint64_t i = 0; i < live->head.ds_cnt; i++)
		if (got[i] != map[i])
			fail_msg("data source %d: %d and not %d", (int)i + 1, (int)got[i] + 1,
				 (int)map[i] + 1);
	layout_free(&live->head);
	layout_free(&backup->head);
}

#define EXPECT(...) ((struct expected){ __VA_ARGS__ })

static void test_same_and_reordered(void **state)
{
	struct side live = gauges(2, "svc.rrd"), backup = gauges(2, "svc.rrd");

	(void)state;
	SAY(&live, "rta|ms", "pl|%%");
	SAY(&backup, "rta|ms", "pl|%%");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(0, 1));

	live = gauges(3, "svc.rrd");
	backup = gauges(3, "svc.rrd");
	SAY(&live, "rta", "pl", "loss");
	SAY(&backup, "loss", "rta", "pl");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(1, 2, 0));
	/* An update that failed on a lock says nothing against it. */
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "rta", "pl");
	SAY(&backup, "pl", "rta");
	backup.sidecar.failed = live.sidecar.failed = true;
	assert_map(&live, &backup, EXPECT(LABELS_LABEL, .words = ""), MAP(1, 0));
}

static void test_sets(void **state)
{
	struct side live = gauges(2, "svc.rrd"), backup = gauges(2, "svc.rrd");

	(void)state;
	SAY(&live, "rta", "pl");
	SAY(&backup, "pl", "loss");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1,
			  .words = "labels differ: live has rta,pl and backup has pl,loss"),
		   MAP(NONE, 0));
	/* Nothing in common. */
	live = gauges(1, "svc.rrd");
	backup = gauges(1, "svc.rrd");
	SAY(&live, "time");
	SAY(&backup, "size");
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1,
			  .words = "labels differ: live has time and backup has size"), MAP(NONE));
	/* A value more, or less, than once: whatever its place. */
	live = gauges(3, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "new", "rta", "pl");
	SAY(&backup, "rta", "pl");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(NONE, 0, 1));
	live = gauges(2, "svc.rrd");
	backup = gauges(3, "svc.rrd");
	SAY(&live, "rta", "pl");
	SAY(&backup, "gone", "rta", "pl");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(1, 2));
	/* Said once for several. */
	live = gauges(3, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "a", "b", "c");
	SAY(&backup, "c", "d");
	assert_map(&live, &backup,
		   EXPECT(.refused = 2, .words = "labels differ: live has a,b,c and backup has c,d"),
		   MAP(NONE, NONE, 0));
}

static void test_long_lists(void **state)
{
	struct side live = gauges(4, "svc.rrd"), backup = gauges(1, "svc.rrd");
	static const char is[] = "0123456789abcdefghijklmnopqrstuvwxyz";

	(void)state;
	SAY(&live, "1-0123456789abcdefghijklmnopqrstuvwxyz", "2-0123456789abcdefghijklmnopqrstuvwxyz",
	    "3-0123456789abcdefghijklmnopqrstuvwxyz", "4");
	SAY(&backup, is);
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 4,
			  .words = "live has 1-0123456789abcdefghijklmnopqrstuvwxyz,"
				   "2-0123456789abcdefghijklmnopqrstuvwxyz,... and backup has "
				   "0123456789abcdefghijklmnopqrstuvwxyz"),
		   MAP(NONE, NONE, NONE, NONE));
}

static void test_types_and_units(void **state)
{
	struct side live = gauges(2, "svc.rrd");
	struct side backup = { .head = header((const char *[]){ "1:GAUGE", "2:DERIVE", NULL }),
			       .file = "svc.rrd" };

	(void)state;
	SAY(&live, "a", "b");
	SAY(&backup, "a", "b");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1,
			  .words = "data source 2 (b): live is GAUGE and backup is DERIVE"),
		   MAP(0, NONE));

	live = gauges(4, "svc.rrd");
	backup = gauges(4, "svc.rrd");
	SAY(&live, "used|GB", "free|GB", "part|%%", "plain");
	SAY(&backup, "free|GB", "used|MB", "part|%", "plain|B");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1,
			  .words = "data source 1 (used): live is in GB and backup in MB"),
		   MAP(NONE, 0, 2, 3));
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "a|ms", "b|%%");
	SAY(&backup, "a|s", "b");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1, .words = "data source 1 (a): live is in ms and backup in s"),
		   MAP(NONE, 1));
}

/* The first number on which two sides disagree; NULL: none. */
static const char *disagree(struct side *x, struct side *y)
{
	static char number[LAYOUT_NAME_SIZE];
	const struct labels_side ours = { .head = &x->head, .file = x->file,
					  .sidecar = x->has ? &x->sidecar : NULL };
	const struct labels_side theirs = { .head = &y->head, .file = y->file,
					    .sidecar = y->has ? &y->sidecar : NULL };
	const char *first = NULL, *reverse = NULL;
	bool do_they = labels_disagree(&ours, &theirs, &first);

	assert_int_equal(labels_disagree(&theirs, &ours, &reverse), do_they);
	if (do_they)
		strcpy(number, first);
	return do_they ? number : NULL;
}

static void test_disagree(void **state)
{
	struct side x = gauges(3, "svc.rrd"), y = gauges(2, "svc.rrd");

	(void)state;
	assert_null(disagree(&x, &y));                  /* nobody says anything */
	SAY(&x, "a|MB", "b", "c");
	assert_null(disagree(&x, &y));
	SAY(&y, "a|MB", "b");
	assert_null(disagree(&x, &y));
	SAY(&y, "a", "b|s");                            /* nor does no unit */
	assert_null(disagree(&x, &y));
	SAY(&y, "a|GB", "b");
	assert_string_equal(disagree(&x, &y), "1");
	SAY(&y, "a", "c");
	assert_string_equal(disagree(&x, &y), "2");
	SAY(&y, "b", "a");
	assert_string_equal(disagree(&x, &y), "1");
	SAY(&y, "b", "a", "c");                         /* not of this file */
	assert_null(disagree(&x, &y));
	layout_free(&y.head);
	/* One for each value: a rule says that they are the same under two names, but not in MB. */
	layout_free(&x.head);
	x = gauges(1, "svc_a.rrd");
	y = gauges(1, "svc_b.rrd");
	SAY(&x, "*a|MB");
	SAY(&y, "*a", "*b");
	assert_null(disagree(&x, &y));
	SAY(&y, "*a", "*b|GB");
	assert_string_equal(disagree(&x, &y), "1");
	/* What is one value here holds all of another service there. */
	layout_free(&y.head);
	y = gauges(2, "svc_a.rrd");
	say(&y, "svc_a", (const char *[]){ "c", "b", NULL });
	assert_string_equal(disagree(&x, &y), "1");
	layout_free(&x.head);
	layout_free(&y.head);
}

/* Bytes are bytes, once pnp4nagios has cleaned them. */
static void test_odd_labels(void **state)
{
	struct side live = gauges(5, "svc.rrd"), backup = gauges(5, "svc.rrd");

	(void)state;
	SAY(&live, "a<b>", "C:\\ used", "\xc3\xa9", "a b", "x</LABEL>");
	SAY(&backup, "x</LABEL>", "a b", "\xc3\xa9", "C:\\ used", "a<b>");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(4, 3, 2, 1, 0));
	/* Another label of the same name is another value. */
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "a b", "a_b");
	SAY(&backup, "a_b", "a b");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(1, 0));
	live = gauges(1, "svc.rrd");
	backup = gauges(1, "svc.rrd");
	SAY(&live, "a b");
	SAY(&backup, "a_b");
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1,
			  .words = "labels differ: live has a b and backup has a_b"), MAP(NONE));
	/* Before labels were told apart from names. */
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "a b", "c");
	SAY(&backup, "c", "a b");
	backup.ds[0].label = backup.ds[1].label = "";
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(1, 0));
	/* Values without any name. */
	live = gauges(1, "svc.rrd");
	backup = gauges(1, "svc.rrd");
	SAY(&live, "a");
	SAY(&backup, "a");
	live.ds[0].name = backup.ds[0].name = "";
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1, .words = "labels differ"), MAP(NONE));
}

static void test_twice(void **state)
{
	struct side live = gauges(3, "svc.rrd"), backup = gauges(3, "svc.rrd");

	(void)state;
	SAY(&live, "a", "b", "a");
	SAY(&backup, "b", "a", "c");
	assert_map(&live, &backup,
		   EXPECT(.refused = 2,
			  .words = "data source 1 (a): the label stands twice in live; "
				   "data source 3 (a): the label stands twice in live"),
		   MAP(NONE, 0, NONE));
	live = gauges(2, "svc.rrd");
	backup = gauges(3, "svc.rrd");
	SAY(&live, "a", "b");
	SAY(&backup, "b", "a", "a");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1,
			  .words = "data source 1 (a): the label stands twice in backup"),
		   MAP(NONE, 0));
}

static struct side named(const char *const *ds, const char *file, const char *a, const char *b,
			 const char *c)
{
	struct side side = { .head = header(ds), .file = file };

	strcpy(side.head.ds[0].name, a);
	strcpy(side.head.ds[1].name, b);
	strcpy(side.head.ds[2].name, c);
	return side;
}

/* rrd_modify.pl leaves 1,1,2: what stands where is known all the same. */
static void test_duplicate_names(void **state)
{
	const char *const ds[] = { "1:GAUGE", "2:GAUGE", "3:GAUGE", NULL };
	struct side live = gauges(3, "svc.rrd");
	struct side backup = named(ds, "svc.rrd", "1", "1", "2");

	(void)state;
	SAY(&live, "a", "b", "c");
	SAY(&backup, "a", "c", "b");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(0, 2, 1));

	/* Without sidecars no number of that file tells anything, whichever stands twice. */
	for (int match = LABELS_AUTO; match <= LABELS_NAME; match++) {
		if (match == LABELS_LABEL)
			continue;
		live = gauges(3, "svc.rrd");
		backup = named(ds, "svc.rrd", "1", "1", "2");
		assert_map(&live, &backup,
			   EXPECT((enum labels_match)match, REFUSED, 3,
				  .words = "data source 1: the name stands twice in backup, where no "
					   "number tells which is which then"),
			   MAP(NONE, NONE, NONE));
		live = named(ds, "svc.rrd", "3", "2", "2");
		backup = gauges(3, "svc.rrd");
		assert_map(&live, &backup,
			   EXPECT((enum labels_match)match, REFUSED, 3,
				  .words = "data source 2: the name stands twice in live"),
			   MAP(NONE, NONE, NONE));
	}
	/* Names that mean something do so beside one that stands twice; so do they beside numbers. */
	live = named(ds, "svc.rrd", "in", "out", "err");
	backup = named(ds, "svc.rrd", "in", "in", "out");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1, .words = "data source in: the name stands twice in backup"),
		   MAP(NONE, 2, NONE));
	live = named(ds, "svc.rrd", "1", "out", "2");
	backup = named(ds, "svc.rrd", "2", "2", "out");
	assert_map(&live, &backup,
		   EXPECT(.refused = 2, .words = "data source 2: the name stands twice in backup"),
		   MAP(NONE, 2, NONE));
	live = named(ds, "svc.rrd", "in", "out", "err");
	backup = named(ds, "svc.rrd", "1", "1", "out");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(NONE, 2, NONE));
}

/* More or fewer values than data sources: the plugin changed, and the RRD did not. */
static void test_counts(void **state)
{
	for (int match = LABELS_AUTO; match <= LABELS_LABEL; match++)
		for (int failed = 0; failed < 2; failed++) {
			struct side live = gauges(3, "svc.rrd"), backup = gauges(2, "svc.rrd");

			SAY(&live, "a", "b", "c");
			SAY(&backup, "a", "b", "c");
			backup.sidecar.failed = failed;
			assert_map(&live, &backup,
				   EXPECT((enum labels_match)match, REFUSED, 3,
					  .words = failed
					  ? "backup has 2 data sources and its sidecar lists 3 (its "
					    "last update failed): which is which is not known"
					  : "backup has 2 data sources and its sidecar lists 3: which"),
				   MAP(NONE, NONE, NONE));
		}
	struct side live = gauges(1, "svc.rrd"), backup = gauges(1, "svc.rrd");
	(void)state;
	SAY(&live, "a", "b");
	live.sidecar.failed = true;
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1,
			  .words = "live has 1 data source and its sidecar lists 2"), MAP(NONE));
	/* One beyond the last. */
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "a", "b");
	SAY(&backup, "a");
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 2,
			  .words = "backup has 2 data sources and its sidecar lists 1"),
		   MAP(NONE, NONE));
}

static void test_without(void **state)
{
	struct side live = gauges(2, "svc.rrd"), backup = gauges(2, "svc.rrd");

	(void)state;
	assert_map(&live, &backup, EXPECT(.unproven = true, .words = ""), MAP(0, 1));
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "b", "a");
	assert_map(&live, &backup, EXPECT(.unproven = true, .words = ""), MAP(0, 1));
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&backup, "b", "a");
	assert_map(&live, &backup, EXPECT(.unproven = true, .words = ""), MAP(0, 1));
	/* One alone; and names that mean something. */
	live = gauges(1, "svc.rrd");
	backup = gauges(1, "svc.rrd");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(0));
	live = gauges(1, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	assert_map(&live, &backup, EXPECT(.unproven = true, .words = ""), MAP(0));
	const char *const named[] = { "in:GAUGE", "out:GAUGE", NULL };
	live = (struct side){ .head = header(named), .file = "svc.rrd" };
	backup = (struct side){ .head = header(named), .file = "svc.rrd" };
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(0, 1));
	/* A sidecar of other files is none. */
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "a", "b");
	SAY(&backup, "*b", "*a");
	assert_map(&live, &backup, EXPECT(.unproven = true, .words = ""), MAP(0, 1));
}

/* One that stands there and is of no use is no missing one. */
static void test_useless(void **state)
{
	const char *const ds[] = { "1:GAUGE", "2:GAUGE", "3:GAUGE", NULL };
	struct side live = gauges(2, "svc.rrd"), backup = gauges(2, "svc.rrd");

	(void)state;
	SAY(&live, "a", "b");
	backup.useless = "h/svc.xml is damaged: so";
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 2,
			  .words = "backup sidecar is of no use, and numbers alone prove nothing: "
				   "h/svc.xml is damaged: so"), MAP(NONE, NONE));
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	live.useless = "svc.xml is a FIFO";
	assert_map(&live, &backup,
		   EXPECT(LABELS_LABEL, REFUSED, 2,
			  .words = "live sidecar is of no use, and match is \"label\": svc.xml is a FIFO"),
		   MAP(NONE, NONE));
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	live.useless = "x";
	SAY(&backup, "a", "b");
	assert_map(&live, &backup, EXPECT(LABELS_NAME, .words = ""), MAP(0, 1));
	/* One value, too: who knows what it was called. */
	live = gauges(1, "svc.rrd");
	backup = gauges(1, "svc.rrd");
	live.useless = backup.useless = "x";
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1,
			  .words = "live sidecar is of no use, and numbers alone prove nothing: x; "
				   "backup sidecar is of no use, and numbers alone prove nothing: x"),
		   MAP(NONE));
	/* Names that mean something need none. */
	live = named(ds, "svc.rrd", "in", "out", "3");
	backup = named(ds, "svc.rrd", "out", "in", "x");
	backup.useless = "svc.xml is a directory";
	assert_map(&live, &backup,
		   EXPECT(.words = "backup sidecar is of no use, data sources went by their names: "
				   "svc.xml is a directory"), MAP(1, 0, NONE));
}

static void test_match(void **state)
{
	struct side live = gauges(2, "svc.rrd"), backup = gauges(2, "svc.rrd");

	(void)state;
	/* Whatever sidecars say. */
	SAY(&live, "a", "b");
	SAY(&backup, "b", "c", "d");
	assert_map(&live, &backup, EXPECT(LABELS_NAME, .words = ""), MAP(0, 1));
	/* What they do not say. */
	live = gauges(2, "svc.rrd");
	backup = gauges(2, "svc.rrd");
	SAY(&live, "a", "b");
	assert_map(&live, &backup,
		   EXPECT(LABELS_LABEL, REFUSED, 2,
			  .words = "no sidecar of backup tells which data source is which, and "
				   "match is \"label\""), MAP(NONE, NONE));
	live = gauges(1, "svc.rrd");
	backup = gauges(1, "svc.rrd");
	SAY(&backup, "a");
	assert_map(&live, &backup,
		   EXPECT(LABELS_LABEL, REFUSED, 1, .words = "no sidecar of live tells"),
		   MAP(NONE));
	live = gauges(1, "svc.rrd");
	backup = gauges(1, "svc.rrd");
	assert_map(&live, &backup,
		   EXPECT(LABELS_LABEL, REFUSED, 1, .words = "no sidecar of live or backup tells"),
		   MAP(NONE));
}

/* A rename rule led from svc_<old>.rrd to svc_<new>.rrd. */
static void test_ruled(void **state)
{
	struct side live, backup;

	(void)state;
	for (int ruled = 0; ruled < 2; ruled++) {
		live = gauges(1, "svc_new.rrd");
		backup = gauges(1, "svc_old.rrd");
		backup.ruled = ruled;
		SAY(&live, "*x", "*new");
		SAY(&backup, "*old", "*x");
		assert_map(&live, &backup, ruled ? EXPECT(.words = "")
			   : EXPECT(.result = REFUSED, .refused = 1,
				    .words = "labels differ: live has x,new and backup has old,x"),
			   MAP(ruled ? 0 : NONE));
		/* Both sides know both names. */
		live = gauges(1, "svc_a.rrd");
		backup = gauges(1, "svc_b.rrd");
		backup.ruled = ruled;
		SAY(&live, "*a", "*b");
		SAY(&backup, "*a", "*b");
		assert_map(&live, &backup, ruled ? EXPECT(.words = "")
			   : EXPECT(.result = REFUSED,
				    .words = "labels differ: live keeps a in this file and backup b"),
			   MAP(ruled ? 0 : NONE));
	}
	/* A rule says nothing of the unit; nor, where it changes the host, of the value. */
	live = gauges(1, "svc_new.rrd");
	backup = gauges(1, "svc_old.rrd");
	backup.ruled = true;
	SAY(&live, "*new|s");
	SAY(&backup, "*old|ms");
	assert_map(&live, &backup, EXPECT(.result = REFUSED, .refused = 1, .words = "live is in s"),
		   MAP(NONE));
	live = gauges(1, "svc_a_b.rrd");
	backup = gauges(1, "svc_a_b.rrd");
	backup.ruled = true;
	SAY(&live, "*a_b");
	say(&backup, "svc_a", (const char *[]){ "*b", NULL });
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1,
			  .words = "live has a_b and backup has b"),
		   MAP(NONE));
	/* Nor what is what in files of storage type SINGLE. */
	live = gauges(1, "new.rrd");
	backup = gauges(1, "old.rrd");
	backup.ruled = true;
	say(&live, "new", (const char *[]){ "a", NULL });
	say(&backup, "old", (const char *[]){ "b", NULL });
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1, .words = "live has a and backup has b"),
		   MAP(NONE));
}

/* SINGLE and MULTIPLE: by NAME, one file to several and several to one. */
static void test_storage(void **state)
{
	struct side live, backup;

	(void)state;
	for (unsigned i = 0; i < 3; i++) {
		static const char *const file[] = { "svc_a.rrd", "svc_b_c.rrd", "svc_d.rrd" };

		live = gauges(1, file[i]);
		backup = gauges(3, "svc.rrd");
		SAY(&live, "*a", "*b c", "*d");
		SAY(&backup, "b c", "d", "a");
		assert_map(&live, &backup, EXPECT(LABELS_LABEL, .words = ""), MAP((i + 2) % 3));

		live = gauges(3, "svc.rrd");
		backup = gauges(1, file[i]);
		SAY(&live, "a", "b_c", "d");
		SAY(&backup, "*d", "*b c", "*a");
		const uint64_t map[] = { i == 0 ? 0 : NONE, i == 1 ? 0 : NONE, i == 2 ? 0 : NONE };
		assert_map(&live, &backup, EXPECT(LABELS_LABEL, .words = ""), map);
	}
	/* MULTIPLE on either side. */
	live = gauges(1, "svc_a.rrd");
	backup = gauges(1, "svc_a.rrd");
	SAY(&live, "*b", "*a|s");
	SAY(&backup, "*a|ms", "*c");
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1,
			  .words = "data source 1 (a): live is in s and backup in ms"), MAP(NONE));
	/* Two labels of one name cannot be told apart. */
	live = gauges(2, "svc.rrd");
	backup = gauges(1, "svc_a_b.rrd");
	SAY(&live, "a b", "a_b");
	SAY(&backup, "*a b");
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 2, .words = "stands twice in live"),
		   MAP(NONE, NONE));
	/* Two values in the one file of a MULTIPLE service. */
	live = gauges(1, "svc_a_b.rrd");
	backup = gauges(1, "svc_a_b.rrd");
	SAY(&live, "*a b");
	SAY(&backup, "*a b", "*a_b");
	assert_map(&live, &backup,
		   EXPECT(.result = REFUSED, .refused = 1,
			  .words = "backup has 1 data source and its sidecar lists 2"), MAP(NONE));
	/* A file of its own lacks what the rest of the service has: no contradiction but that. */
	live = gauges(2, "svc.rrd");
	backup = gauges(1, "svc_b.rrd");
	SAY(&live, "a", "b");
	SAY(&backup, "*b", "*c");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1, .words = "labels differ: live has a,b and backup has b,c"),
		   MAP(NONE, 0));
}

/* One that is computed keeps no value of the plugin's. */
static void test_compute(void **state)
{
	const char *const ours[] = { "x:GAUGE", "y:GAUGE", "sum:COMPUTE:x,y,+", NULL };
	const char *const theirs[] = { "x:GAUGE", "y:GAUGE", "sum:COMPUTE:y,x,+", NULL };
	const char *const beside[] = { "1:GAUGE", "2:GAUGE", "sum:COMPUTE:7,2,+", NULL };
	struct side live = { .head = header(ours), .file = "svc.rrd" };
	struct side backup = { .head = header(theirs), .file = "svc.rrd" };

	(void)state;
	SAY(&live, "a", "b");
	SAY(&backup, "b", "a");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(1, 0, 2));
	live = (struct side){ .head = header(beside), .file = "svc.rrd" };
	backup = (struct side){ .head = header(beside), .file = "svc.rrd" };
	SAY(&live, "a", "b");
	SAY(&backup, "b", "a");
	assert_map(&live, &backup, EXPECT(.words = ""), MAP(1, 0, 2));
	live = (struct side){ .head = header(ours), .file = "svc.rrd" };
	backup = (struct side){ .head = header(ours), .file = "svc.rrd" };
	SAY(&live, "a", "b");
	SAY(&backup, "b", "a");
	assert_map(&live, &backup,
		   EXPECT(.refused = 1, .words = "data source sum: live computes it otherwise"),
		   MAP(1, 0, NONE));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_same_and_reordered),
		cmocka_unit_test(test_sets),
		cmocka_unit_test(test_long_lists),
		cmocka_unit_test(test_types_and_units),
		cmocka_unit_test(test_disagree),
		cmocka_unit_test(test_odd_labels),
		cmocka_unit_test(test_twice),
		cmocka_unit_test(test_duplicate_names),
		cmocka_unit_test(test_counts),
		cmocka_unit_test(test_without),
		cmocka_unit_test(test_useless),
		cmocka_unit_test(test_match),
		cmocka_unit_test(test_ruled),
		cmocka_unit_test(test_storage),
		cmocka_unit_test(test_compute),
	};

	return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
