/* names, index, globs: where rename rules lead, how the files that they lead are found again, and
 * which directories a pattern stands for. */
#include "config.h"

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "globs.h"
#include "index.h"
#include "names.h"
#include "scratch.h"

/* ---- rules, written down shortly ---- */

#define RULES_MAX 8
#define TOS_MAX 4

static struct names_rule rules[RULES_MAX];
static char *tos[RULES_MAX][TOS_MAX];
static size_t count;

/* Forgets all; then each (from, to) is one more. */
static void no_rules(void)
{
	count = 0;
	memset(rules, 0, sizeof(rules));
}

static void rule(const char *from, const char *to)
{
	assert_true(count < RULES_MAX);
	tos[count][0] = (char *)(uintptr_t)to;
	rules[count] = (struct names_rule){ (char *)(uintptr_t)from, tos[count], 1 };
	count++;
}

static void only_rule(const char *from, const char *to)
{
	no_rules();
	rule(from, to);
}

static void also_to(const char *to)
{
	struct names_rule *last = &rules[count - 1];

	assert_true(last->tos < TOS_MAX);
	last->to[last->tos++] = (char *)(uintptr_t)to;
}

static struct names *compiled(void)
{
	struct names *names;
	struct reason why = { "" };

	if (names_new(rules, count, &names, &why))
		fail_msg("%s", why.text);
	return names;
}

/* Under the rules, `rel` leads to `live` by the rule of that number (0: none). */
static void leads(const char *rel, const char *live, unsigned number)
{
	struct names *names = compiled();
	char buffer[NAMES_SIZE];
	struct reason why = { "" };
	unsigned by = 77;
	int r = names_apply(names, rel, 0, buffer, &by, &why);

	if (r)
		fail_msg("%s: %d %s", rel, r, why.text);
	assert_string_equal(buffer, live);
	assert_int_equal(by, number);
	names_free(names);
}

/* Of each pair, under the first as the one rule, which changes nothing: the second matches (1) or
 * does not (0). */
static void each_stays(const char *const (*pair)[2], size_t pairs, unsigned number)
{
	for (size_t i = 0; i < pairs; i++) {
		only_rule(pair[i][0], "$0");
		leads(pair[i][1], pair[i][1], number);
	}
}

static void leads_nowhere(const char *rel, const char *because)
{
	struct names *names = compiled();
	char buffer[NAMES_SIZE];
	struct reason why = { "" };
	unsigned by = 77;

	assert_int_equal(names_apply(names, rel, 0, buffer, &by, &why), REFUSED);
	if (!strstr(why.text, because))
		fail_msg("%s: %s", rel, why.text);
	assert_int_equal(by, 1);
	names_free(names);
}

static void wrong(const char *from, const char *to, const char *because)
{
	struct reason why = { "" };

	only_rule(from, to);
	assert_int_equal(names_check(&rules[0], &why), REFUSED);
	if (!strstr(why.text, because))
		fail_msg("%s → %s: %s", from, to, why.text);
}

/* ---- names ---- */

static void nothing_leads_anywhere(void **state)
{
	char buffer[NAMES_SIZE];
	unsigned by = 77;

	(void)state;
	no_rules();
	leads("web01/PING.rrd", "web01/PING.rrd", 0);
	assert_int_equal(names_apply(NULL, "a/b.rrd", 0, buffer, &by, NULL), 0);
	assert_string_equal(buffer, "a/b.rrd");
	assert_int_equal(by, 0);
	assert_int_equal(names_apply(NULL, "a/b.rrd", 1, buffer, &by, NULL), -ENOENT);
	/* What stands in a backup may be called anything. */
	leads("..x/.rrd.rrd", "..x/.rrd.rrd", 0);
}

static void hosts_and_services(void **state)
{
	(void)state;
	only_rule("^web01\\.old/(.*)", "web01/$1");
	leads("web01.old/PING.rrd", "web01/PING.rrd", 1);
	leads("web01xold/PING.rrd", "web01xold/PING.rrd", 0);
	leads("eu/web01.old/PING.rrd", "eu/web01.old/PING.rrd", 0);
	only_rule("/Load\\.rrd$", "/check_load.rrd");
	leads("db/Load.rrd", "db/check_load.rrd", 1);
	leads("db/Load.rrd/x.rrd", "db/Load.rrd/x.rrd", 0);
}

static void what_does_not_match_stays(void **state)
{
	(void)state;
	only_rule("_", "-");
	leads("a_b/c_d.rrd", "a-b/c_d.rrd", 1);
	only_rule("^perfdata/", "");
	leads("perfdata/web/PING.rrd", "web/PING.rrd", 1);
	only_rule("\\.example\\.org(/|$)", "$1");
	leads("web.example.org/PING.rrd", "web/PING.rrd", 1);
}

static void groups_and_dollars(void **state)
{
	(void)state;
	only_rule("^(.)(.)(.)(.)(.)(.)(.)(.)(.)/", "$9$8$7$6$5$4$3$2$1/");
	leads("123456789/x.rrd", "987654321/x.rrd", 1);
	only_rule("^(a|(b))/(.*)\\.rrd$", "$$/[$1][$2]$0");
	leads("a/x.rrd", "$/[a][]a/x.rrd", 1);
	leads("b/x.rrd", "$/[b][b]b/x.rrd", 1);
	only_rule("x", "$0$0");
	leads("axb.rrd", "axxb.rrd", 1);
	only_rule("^a", "$$1");
	leads("a.rrd", "$1.rrd", 1);
}

static void the_first_that_matches(void **state)
{
	(void)state;
	no_rules();
	rule("^web01/(.*)", "first/$1");
	rule("^web[0-9]+/(.*)", "second/$1");
	rule("^first/(.*)", "third/$1");
	leads("web01/x.rrd", "first/x.rrd", 1);
	leads("web02/x.rrd", "second/x.rrd", 2);
	leads("first/x.rrd", "third/x.rrd", 3);
	leads("other/x.rrd", "other/x.rrd", 0);
	/* A rule may keep a path from those after it. */
	no_rules();
	rule("^web01/", "web01/");
	rule("^web", "www");
	leads("web01/x.rrd", "web01/x.rrd", 1);
	leads("web02/x.rrd", "www02/x.rrd", 2);
}

/* A path that cannot match is told by its first bytes: by no more of them than the expression has
 * as they are. */
static void how_an_expression_begins(void **state)
{
	static const char *const matching[][2] = {
		{ "^ab", "abc.rrd" }, { "^ab*c", "ac.rrd" }, { "^ab?c", "ac.rrd" },
		{ "^ab+c", "abbc.rrd" }, { "^ab{0}c", "ac.rrd" }, { "^ab{2}c", "abbc.rrd" },
		{ "^a\\.b?c", "a.c.rrd" }, { "^a\\.?c", "ac.rrd" }, { "^a|b", "b.rrd" },
		{ "^a(b|)c", "ac.rrd" }, { "^[ab]c", "bc.rrd" }, { "^a.c", "abc.rrd" },
		{ "^.", "x.rrd" }, { "^a\\wc", "abc.rrd" },
		{ "^\\<ab", "ab.rrd" }, { "^a\\$", "a$.rrd" }, { "^a\\\\", "a\\.rrd" },
		{ "^a\\/b", "a/b.rrd" }, { "^a/b-_", "a/b-_.rrd" }, { "(^a)", "a.rrd" },
		{ "^^a", "a.rrd" }, { "^a\\{", "a{.rrd" }, { "^\\.\\*\\+", ".*+.rrd" },
	};
	static const char *const other[][2] = {
		{ "^ab", "xab.rrd" }, { "^ab", "a.rrd" }, { "^a\\.b", "axb.rrd" },
		{ "^a\\.b", "a\\.b.rrd" }, { "^web01/", "web02/x.rrd" },
	};

	(void)state;
	each_stays(matching, sizeof(matching) / sizeof(matching[0]), 1);
	each_stays(other, sizeof(other) / sizeof(other[0]), 0);
}

/* No locale is set here: a daemon has none either. */
static void beyond_ascii(void **state)
{
	static const char *const matching[][2] = {
		{ "^wü*b", "wb.rrd" }, { "^wü?b", "wb.rrd" }, { "^wü{2}b", "wüüb.rrd" },
		{ "^.{3}\\.rrd", "üxü.rrd" }, { "^[^a]\\.rrd", "ü.rrd" },
		{ "^[^[:alpha:]]\\.rrd", "ü.rrd" }, { "^ü", "ü.rrd" }, { "^…ü", "…ü.rrd" },
		/* Latin-1, by what is ASCII in it, or byte by byte. */
		{ "^web/(.*)\\.rrd$", "web/M\xfcll.rrd" }, { "^web/M.ll", "web/M\xfcll.rrd" },
		{ "^M\xfc*ll", "Mll.rrd" }, { "^M\xfcll", "M\xfcll.rrd" },
		{ "^M[\xfc]ll", "M\xfcll.rrd" }, { "^(ü|M..ll)", "Müll\xfc.rrd" },
	}, *const other[][2] = {
		{ "^M..ll", "Müll.rrd" }, { "^[äöü]{2}", "ü.rrd" }, { "Mü", "M\xfc.rrd" },
		{ "M\xfc", "Mü.rrd" }, { "^M.ll", "M\xfc\xfcll.rrd" },
	};

	(void)state;
	only_rule("M.ll .", "Muell");
	leads("h/Müll ü.rrd", "h/Muell.rrd", 1);
	only_rule("([äöü])(.)", "$2$1");
	leads("h/Höß.rrd", "h/Hßö.rrd", 1);
	each_stays(matching, sizeof(matching) / sizeof(matching[0]), 1);
	each_stays(other, sizeof(other) / sizeof(other[0]), 0);
}

/* What the C library's own UTF-8 would take minutes for. */
static void beyond_ascii_costs_no_more(void **state)
{
	char from[NAMES_COST_MAX] = "", path[NAMES_MATCH_MAX + 1] = "";

	(void)state;
	for (unsigned i = 0; i < 160; i++)
		strcat(from, "(.*)");
	strcat(from, "z");
	for (unsigned i = 0; i < (NAMES_MATCH_MAX - 4) / 2; i++)
		strcat(path, "ü");
	strcat(path, ".rrd");
	only_rule(from, "$0");
	leads(path, path, 0);
}

static void several_live_files(void **state)
{
	struct names *names;
	char buffer[NAMES_SIZE];
	unsigned by;

	(void)state;
	no_rules();
	rule("^a(/)(.*)", "b/$2");
	also_to("..$1$2");
	also_to("a/$2");
	names = compiled();
	assert_int_equal(names_apply(names, "a/x.rrd", 0, buffer, &by, NULL), 0);
	assert_string_equal(buffer, "b/x.rrd");
	assert_int_equal(names_apply(names, "a/x.rrd", 1, buffer, &by, NULL), REFUSED);
	assert_int_equal(names_apply(names, "a/x.rrd", 2, buffer, &by, NULL), 0);
	assert_string_equal(buffer, "a/x.rrd");
	assert_int_equal(names_apply(names, "a/x.rrd", 3, buffer, &by, NULL), -ENOENT);
	names_free(names);
}

static void what_is_no_name(void **state)
{
	char *longest = malloc(NAMES_SIZE + 16), buffer[NAMES_SIZE];
	unsigned by;

	(void)state;
	only_rule("^out/(.*)", "$1");
	leads_nowhere("out/../x.rrd", "rule 1 leads to a path with . or .. in it: ../x.rrd");
	leads_nowhere("out//etc/x.rrd", "an absolute path");
	leads_nowhere("out/a//x.rrd", "an empty part");
	leads_nowhere("out/./x.rrd", "a path with . or ..");
	leads_nowhere("out/a/..", "a path with . or ..");
	leads_nowhere("out/a/", "an empty part");
	leads_nowhere("out/", "an empty path");
	leads_nowhere("out/x.xml", "no .rrd");
	leads_nowhere("out/.rrd", "no .rrd");
	leads_nowhere("out/a/.rrd", "no .rrd");
	leads("out/...rrd", "...rrd", 1);
	leads("out/..a/x.rrd", "..a/x.rrd", 1);
	/* Too long before or after. */
	memset(longest, 'a', NAMES_SIZE + 15);
	strcpy(longest + NAMES_SIZE - 5, ".rrd");
	assert_int_equal(names_apply(NULL, longest, 0, buffer, &by, NULL), 0);
	no_rules();
	strcpy(longest + NAMES_SIZE - 4, ".rrd");
	assert_int_equal(names_apply(NULL, longest, 0, buffer, &by, NULL), REFUSED);
	rule("^.*", "$0$0$0$0$0.rrd");
	longest[NAMES_MATCH_MAX] = '\0';
	leads_nowhere(longest, "too long");
	struct names *names = compiled();
	longest[NAMES_MATCH_MAX] = 'a';
	assert_int_equal(names_apply(names, longest, 0, buffer, &by, NULL), REFUSED);
	assert_int_equal(by, 0);
	assert_int_equal(names_apply(names, longest, 1, buffer, &by, NULL), -ENOENT);
	names_free(names);
	free(longest);
}

static void rules_that_are_wrong(void **state)
{
	(void)state;
	wrong("", "x", "\"from\" is empty");
	wrong("web(01", "x", "is no regular expression");
	wrong("web[01", "x", "is no regular expression");
	wrong("a**{2,1}", "x", "is no regular expression");
	/* What regcomp() would need all memory for, or all time; and regexec() too. */
	wrong("((a{1,255}){1,255}){1,255}", "x", "what varies in itself");
	wrong("((a{255}){255}){255}", "x", "is too large");
	wrong("(((((a+)+)+)+)+)+", "x", "is too large");
	wrong("((a?){1,30}){3,}", "x", "what varies in itself");
	wrong("(|a){1,30}", "x", "what varies in itself");
	wrong("(){20}", "x", "what varies in itself");
	wrong("^{1,30}", "x", "what varies in itself");
	wrong("(.*)+{1,9}{3,}+", "x", "a repeat follows another");
	wrong("a{1001}", "x", "is too large");
	wrong("((.*)\\2)+x", "x", "refers back to a group");
	wrong("[[:alpha:]]{1001}", "x", "is too large");
	wrong("[]{1}]{1001}", "x", "is too large");
	wrong("web", "$1", "\"from\" has 0 groups");
	wrong("(web)", "$1$2", "asks for $2");
	wrong("(web)", "$1$2", "has 1 group,");
	wrong("(web)", "\\1", "write $1");
	wrong("web", "$x", "a $ without a number");
	wrong("web", "x$", "a $ without a number");
	wrong("^web", "/srv/x", "absolute path");
	/* What no live path can come of, whatever is matched; and what one can. */
	static const char *const nowhere[][2] = {
		{ "^a/", "../x/" }, { "^a/", "./" }, { "^(a|b)/", "../" }, { "/a/", "/../" },
		{ "a", "x/./y" }, { "^a/(.*)", "$1/../x.rrd" }, { "x$", "/.." },
		{ "rrd$", "xml" }, { "^(.*)\\.rrd$", "$1.xml" }, { "(a|b).rrd$", "$1" "d.r" },
		{ "^a.*$", "b" }, { "x[|]rrd$", "xml" }, { "rrd$", "$$xml" },
	}, *const somewhere[][2] = {
		{ "a/", "../x/" }, { "^a|b", "/x" }, { "^a|b/", "../" },
		{ "^a/", "..x/" }, { "^a/", "x../" }, { "^a/", "..$0" }, { "^(a)", "$1../" },
		{ "^a", ".." }, { "^a", "x/.." }, { "rrd$", "rrd" }, { "rrd$", "" },
		{ "(rrd|xml)$", "$1" }, { "a$|rrd", "xml" }, { "rrd\\$", "xml" },
		{ "rrd[$]", "xml" }, { "^(.*)\\.(rrd)$", "$1.xml.$2" }, { "^x.*$", "y.rrd" },
		{ "d$", "d" }, { "[$]", "xml" }, { "\\|\\^", "../" },
	};
	for (size_t i = 0; i < sizeof(nowhere) / sizeof(*nowhere); i++)
		wrong(nowhere[i][0], nowhere[i][1], "\"to\" leads to ");
	for (size_t i = 0; i < sizeof(somewhere) / sizeof(*somewhere); i++) {
		struct reason why = { "" };

		only_rule(somewhere[i][0], somewhere[i][1]);
		if (names_check(&rules[0], &why))
			fail_msg("%s → %s: %s", somewhere[i][0], somewhere[i][1], why.text);
	}
	only_rule("(a)(b)", "$0$1$2$$");
	assert_int_equal(names_check(&rules[0], NULL), 0);
	static const char *const fine[] = {
		"^([a-z0-9-]+)\\.(old|new)/(.*)\\.rrd$", "^(web[0-9]{2}\\.){3}", "a{1000}", "a{x",
		"[{(]{3}",
		"[^]{1}]+", "^(([a-z]+[0-9]+\\.)+)example/(.*)", "[\\1]", "a)|(b", "x{2,}", "(a+|b)*",
	};
	for (size_t i = 0; i < sizeof(fine) / sizeof(*fine); i++) {
		struct reason why = { "" };

		only_rule(fine[i], "x.rrd");
		if (names_check(&rules[0], &why) && !strstr(why.text, "is no regular expression"))
			fail_msg("%s: %s", fine[i], why.text);
	}
}

static void the_same_rules(void **state)
{
	struct names_rule other[2];
	char *to[] = { (char *)(uintptr_t)"x", (char *)(uintptr_t)"y" };

	(void)state;
	no_rules();
	rule("a", "x");
	rule("b", "x");
	other[0] = (struct names_rule){ (char *)(uintptr_t)"a", to, 1 };
	other[1] = (struct names_rule){ (char *)(uintptr_t)"b", to, 1 };
	assert_true(names_same(rules, 2, other, 2));
	assert_false(names_same(rules, 2, other, 1));
	other[1].tos = 2;
	assert_false(names_same(rules, 2, other, 2));
	other[1].tos = 1;
	other[1].to = to + 1;
	assert_false(names_same(rules, 2, other, 2));
	assert_true(names_same(NULL, 0, NULL, 0));
}

/* ---- index ---- */

static struct index *indexed(void)
{
	struct index *index;

	assert_int_equal(index_new(rules, count, &index, NULL), 0);
	return index;
}

static int collect(const char *path, unsigned number, void *arg)
{
	char *text = arg;
	size_t len = strlen(text);

	snprintf(text + len, 512 - len, "%u:%s ", number, path);
	return 0;
}

/* What is found for `live`, as "RULE:PATH " one after the other. */
static void finds(struct index *index, const char *live, const char *expected)
{
	char text[512] = "";

	assert_int_equal(index_find(index, live, collect, text), 0);
	assert_string_equal(text, expected);
}

/* Where the file was led, as "RULE:PATH " one after the other, a fresh one with a star; or why
 * not. */
static char led[512];

static int note_lead(const struct index_lead *lead, void *arg)
{
	size_t len = strlen(led);

	snprintf(led + len, sizeof(led) - len, "%u:%s%s ", lead->rule, lead->fresh ? "*" : "",
		 lead->live ? lead->live : lead->why.text);
	return arg ? *(int *)arg : 0;
}

static void add_as(struct index *index, const char *path, const char *rrd)
{
	led[0] = '\0';
	assert_int_equal(index_add(index, path, rrd, note_lead, NULL), 0);
}

static void add(struct index *index, const char *rel)
{
	add_as(index, rel, rel);
}

static void without_rules(void **state)
{
	(void)state;
	index_begin(NULL);
	add(NULL, "a.rrd");
	assert_string_equal(led, "0:a.rrd ");
	index_end(NULL, true);
	finds(NULL, "a.rrd", "");
	assert_true(index_serves_own(NULL, "a.rrd"));
	assert_null(index_names(NULL));
	assert_null(index_ref(NULL));
	index_free(NULL);
}

static void found_by_the_live_path(void **state)
{
	struct index *index;

	(void)state;
	no_rules();
	rule("^web01\\.old/(.*)", "web01/$1");
	rule("^(.*)/Load\\.rrd", "$1/load.rrd");
	rule("^(web01)-[0-9]/", "$1/");
	index = indexed();
	index_begin(index);
	add(index, "web01.old/PING.rrd");
	finds(index, "web01/PING.rrd", "1:web01.old/PING.rrd ");        /* at once */
	add(index, "web01-2/PING.rrd");
	add(index, "web01-1/PING.rrd");
	add(index, "web01/PING.rrd");
	assert_string_equal(led, "0:web01/PING.rrd ");
	add(index, "web02/PING.rrd");
	add(index, "web02/Load.rrd");
	index_end(index, true);
	/* By the rule, then by path, whatever the order in which they were met. */
	finds(index, "web01/PING.rrd",
	      "1:web01.old/PING.rrd 3:web01-1/PING.rrd 3:web01-2/PING.rrd ");
	finds(index, "web02/load.rrd", "2:web02/Load.rrd ");
	finds(index, "web02/PING.rrd", "");             /* its own path needs no index */
	finds(index, "web01.old/PING.rrd", "");
	assert_int_equal(index_count(index), 4);
	assert_true(index_serves_own(index, "web01/PING.rrd"));
	assert_false(index_serves_own(index, "web01.old/PING.rrd"));
	assert_false(index_serves_own(index, "web02/Load.rrd"));
	index_free(index);
}

static void dumps_stand_for_an_rrd(void **state)
{
	struct index *index;

	(void)state;
	only_rule("^old/(.*)\\.rrd$", "new/$1.rrd");
	index = indexed();
	index_begin(index);
	add_as(index, "old/a.xml.gz", "old/a.rrd");
	add_as(index, "old/a.rrd.xml", "old/a.rrd");
	add(index, "old/a.rrd");
	finds(index, "new/a.rrd", "1:old/a.rrd 1:old/a.rrd.xml 1:old/a.xml.gz ");
	index_free(index);
}

static void names_that_are_changed_about(void **state)
{
	struct index *index;

	(void)state;
	no_rules();
	rule("^a/(.*)", "b/$1");
	rule("^b/(.*)", "a/$1");
	index = indexed();
	index_begin(index);
	add(index, "a/x.rrd");
	add(index, "b/x.rrd");
	finds(index, "a/x.rrd", "2:b/x.rrd ");
	finds(index, "b/x.rrd", "1:a/x.rrd ");
	assert_false(index_serves_own(index, "a/x.rrd"));
	index_free(index);
	/* One for two, of which its own may be one. */
	no_rules();
	rule("^a(/)(.*)", "b/$2");
	also_to("a/$2");
	also_to("..$1$2");
	also_to("b/$2");
	index = indexed();
	index_begin(index);
	add(index, "a/x.rrd");
	assert_string_equal(led, "1:*b/x.rrd 1:a/x.rrd 1:rename rule 1 leads to a path with . or "
				 ".. in it: ../x.rrd 1:*b/x.rrd ");
	add(index, "a/x.rrd");
	assert_null(strchr(led, '*'));
	finds(index, "b/x.rrd", "1:a/x.rrd ");
	assert_true(index_serves_own(index, "a/x.rrd"));
	int enough = 5;
	led[0] = '\0';
	assert_int_equal(index_add(index, "a/y.rrd", "a/y.rrd", note_lead, &enough), 5);
	assert_string_equal(led, "1:*b/y.rrd ");
	index_free(index);
}

static void forgotten_after_a_whole_walk(void **state)
{
	struct index *index;

	(void)state;
	only_rule("^old/", "");
	index = indexed();
	index_begin(index);
	add(index, "old/a.rrd");
	add(index, "old/b.rrd");
	index_end(index, true);
	index_begin(index);
	add(index, "old/b.rrd");
	add(index, "old/b.rrd");
	finds(index, "a.rrd", "1:old/a.rrd ");          /* while the walk is under way */
	index_end(index, false);
	finds(index, "a.rrd", "1:old/a.rrd ");          /* a backup was away */
	index_begin(index);
	add(index, "old/b.rrd");
	index_end(index, true);
	finds(index, "a.rrd", "");
	finds(index, "b.rrd", "1:old/b.rrd ");
	assert_int_equal(index_count(index), 1);
	index_free(index);
}

#define MANY 3000

static atomic_bool walked;

static void *look_up(void *arg)
{
	struct index *index = arg;

	for (unsigned i = 0; !atomic_load(&walked); i = (i + 1) % MANY) {
		char live[64], text[512] = "", expected[64];

		snprintf(live, sizeof(live), "h%u/x.rrd", i);
		snprintf(expected, sizeof(expected), "1:old-h%u/x.rrd ", i);
		/* No assertion: this is not the thread that cmocka knows. */
		if (index_find(index, live, collect, text) ||
		    (*text && strcmp(text, expected)))
			return index;
	}
	index_free(index);
	return NULL;
}

static void many_from_many_threads(void **state)
{
	pthread_t thread[3];
	struct index *index;
	void *wrong_one;

	(void)state;
	only_rule("^old-", "");
	index = indexed();
	atomic_store(&walked, false);
	for (size_t i = 0; i < 3; i++)
		assert_int_equal(pthread_create(&thread[i], NULL, look_up, index_ref(index)), 0);
	for (unsigned walk = 0; walk < 4; walk++) {
		index_begin(index);
		for (unsigned i = walk % 2; i < MANY; i++) {
			char rel[64];

			snprintf(rel, sizeof(rel), "old-h%u/x.rrd", i);
			add(index, rel);
		}
		index_end(index, true);
		assert_int_equal(index_count(index), MANY - walk % 2);
	}
	finds(index, "h0/x.rrd", "");
	finds(index, "h1/x.rrd", "1:old-h1/x.rrd ");
	index_free(index);              /* they still have it */
	atomic_store(&walked, true);
	for (size_t i = 0; i < 3; i++) {
		pthread_join(thread[i], &wrong_one);
		assert_null(wrong_one);
	}
}

/* ---- globs ---- */

/* A directory of that age in seconds. */
static void directory(const char *name, time_t age)
{
	struct timespec times[2] = { { 1700000000 - age, 0 }, { 1700000000 - age, 500 + age } };
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", scratch_dir, name);
	for (char *at = path + strlen(scratch_dir) + 1; (at = strchr(at, '/')); at++) {
		*at = '\0';
		mkdir(path, 0755);
		*at = '/';
	}
	if (mkdir(path, 0755) && errno != EEXIST)
		fail_msg("%s: %s", path, strerror(errno));
	assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* The pattern, beneath the root, stands for these, each with a blank after it. */
static void stands_for(const char *pattern, const char *expected)
{
	char path[1024], text[2048] = "", **list;
	size_t found;
	int error;

	snprintf(path, sizeof(path), "%s/%s", scratch_dir, pattern);
	assert_int_equal(globs_expand(path, &list, &found, &error), 0);
	for (size_t i = 0; i < found; i++) {
		size_t len = strlen(text);

		snprintf(text + len, sizeof(text) - len, "%s ", list[i] + strlen(scratch_dir) + 1);
	}
	assert_string_equal(text, expected);
	globs_free(list, found);
}

static void newest_first(void **state)
{
	(void)state;
	directory("rsnap/daily.0/perf", 0);
	directory("rsnap/daily.1/perf", 86400);
	directory("rsnap/daily.2/perf", 3600);
	directory("rsnap/daily.10/other", 1);
	stands_for("rsnap/daily.*/perf",
		   "rsnap/daily.0/perf rsnap/daily.2/perf rsnap/daily.1/perf ");
	stands_for("rsnap/daily.[12]/perf", "rsnap/daily.2/perf rsnap/daily.1/perf ");
	stands_for("rsnap/daily.?/perf",
		   "rsnap/daily.0/perf rsnap/daily.2/perf rsnap/daily.1/perf ");
	/* Nothing, and no pattern: themselves. */
	stands_for("rsnap/weekly.*/perf", "rsnap/weekly.*/perf ");
	stands_for("rsnap/daily.1/perf", "rsnap/daily.1/perf ");
	stands_for("nowhere", "nowhere ");
}

static void of_the_same_age_by_name(void **state)
{
	(void)state;
	directory("same/daily.0", 5);
	directory("same/daily.10", 5);
	directory("same/daily.2", 5);
	stands_for("same/daily.*", "same/daily.0 same/daily.2 same/daily.10 ");
	directory("dated/2026-11-02/p", 5);
	directory("dated/2026-11-10/p", 5);
	directory("dated/2026-10-30/p", 5);
	stands_for("dated/*/p", "dated/2026-11-10/p dated/2026-11-02/p dated/2026-10-30/p ");
	/* A year on the way there is the same for all. */
	directory("in2026/daily.1", 5);
	directory("in2026/daily.0", 5);
	stands_for("in2026/daily.*", "in2026/daily.0 in2026/daily.1 ");
	directory("dated/2026-11-02", 5);
	directory("dated/2026-11-10", 5);
	directory("dated/2026-10-30", 5);
	directory("dated/latest-of-all", 5);
	stands_for("dated/*", "dated/2026-10-30 dated/2026-11-02 dated/2026-11-10 "
			      "dated/latest-of-all ");
}

static void directories_only_and_once(void **state)
{
	char path[1024], target[1024];
	int fd;

	(void)state;
	directory("mixed/a", 5);
	directory("mixed/b", 6);
	snprintf(path, sizeof(path), "%s/mixed/file", scratch_dir);
	fd = open(path, O_CREAT | O_WRONLY, 0644);
	assert_true(fd >= 0);
	close(fd);
	snprintf(path, sizeof(path), "%s/mixed/Latest", scratch_dir);
	snprintf(target, sizeof(target), "%s/mixed/a", scratch_dir);
	assert_int_equal(symlink(target, path), 0);
	snprintf(path, sizeof(path), "%s/mixed/dangling", scratch_dir);
	assert_int_equal(symlink("/nonexistent/x", path), 0);
	stands_for("mixed/*", "mixed/a mixed/b ");
	/* A name is a name where it is one. */
	directory("odd/[ab]", 5);
	directory("odd/a", 5);
	stands_for("odd/[ab]", "odd/[ab] ");
}

static void lists(void **state)
{
	char path[3][1024], **list;
	char *given[3] = { path[0], path[1], path[2] };
	size_t found, *from;

	(void)state;
	directory("list/1", 1);
	directory("list/2", 2);
	directory("list/3", 3);
	snprintf(path[0], sizeof(path[0]), "%s/list/2", scratch_dir);
	snprintf(path[1], sizeof(path[1]), "%s/list/*", scratch_dir);
	snprintf(path[2], sizeof(path[2]), "%s/list/x*", scratch_dir);
	assert_int_equal(globs_expand_all(given, 3, &list, &found, &from), 0);
	assert_int_equal(found, 4);
	for (size_t i = 0; i < 4; i++)
		assert_string_equal(list[i] + strlen(scratch_dir), ((const char *const[]){
			"/list/2", "/list/1", "/list/3", "/list/x*" })[i]);
	for (size_t i = 0; i < 4; i++)
		assert_int_equal(from[i], ((const size_t[]){ 0, 1, 1, 2 })[i]);
	char *turned[4] = { list[1], list[0], list[2], list[3] };
	assert_true(globs_same(list, 4, list, 4));
	assert_false(globs_same(list, 4, turned, 4));
	assert_true(globs_same_set(list, 4, turned, 4));
	assert_false(globs_same_set(list, 4, turned, 3));
	turned[0] = turned[1];
	assert_false(globs_same_set(list, 4, turned, 4));
	free(from);
	globs_free(list, found);
	/* What is named by itself has its own place, also after a pattern that matches it. */
	snprintf(path[0], sizeof(path[0]), "%s/list/*", scratch_dir);
	snprintf(path[1], sizeof(path[1]), "%s/list/[13]", scratch_dir);
	snprintf(path[2], sizeof(path[2]), "%s/list/../list/1", scratch_dir);
	assert_int_equal(globs_expand_all(given, 3, &list, &found, &from), 0);
	assert_int_equal(found, 3);
	for (size_t i = 0; i < 3; i++) {
		assert_string_equal(list[i] + strlen(scratch_dir), ((const char *const[]){
			"/list/2", "/list/3", "/list/../list/1" })[i]);
		assert_int_equal(from[i], ((const size_t[]){ 0, 0, 2 })[i]);
	}
	free(from);
	globs_free(list, found);
	snprintf(path[0], sizeof(path[0]), "%s/list/2", scratch_dir);
	/* Twice the same by name is for others to judge. */
	given[1] = given[0];
	assert_int_equal(globs_expand_all(given, 2, &list, &found, NULL), 0);
	assert_int_equal(found, 2);
	globs_free(list, found);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(nothing_leads_anywhere),
		cmocka_unit_test(hosts_and_services),
		cmocka_unit_test(what_does_not_match_stays),
		cmocka_unit_test(groups_and_dollars),
		cmocka_unit_test(the_first_that_matches),
		cmocka_unit_test(how_an_expression_begins),
		cmocka_unit_test(beyond_ascii),
		cmocka_unit_test(beyond_ascii_costs_no_more),
		cmocka_unit_test(several_live_files),
		cmocka_unit_test(what_is_no_name),
		cmocka_unit_test(rules_that_are_wrong),
		cmocka_unit_test(the_same_rules),
		cmocka_unit_test(without_rules),
		cmocka_unit_test(found_by_the_live_path),
		cmocka_unit_test(dumps_stand_for_an_rrd),
		cmocka_unit_test(names_that_are_changed_about),
		cmocka_unit_test(forgotten_after_a_whole_walk),
		cmocka_unit_test(many_from_many_threads),
		cmocka_unit_test(newest_first),
		cmocka_unit_test(of_the_same_age_by_name),
		cmocka_unit_test(directories_only_and_once),
		cmocka_unit_test(lists),
	};

	return cmocka_run_group_tests(tests, scratch_setup, scratch_teardown);
}
