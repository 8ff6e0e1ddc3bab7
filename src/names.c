#include "config.h"
#include "names.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"

#define GROUPS 10               /* $0 to $9 */
#define NESTED_MAX 100          /* groups in one another */

struct compiled {
	regex_t from;
	char *prefix;           /* what a path that matches begins with; "" where not known */
	char **to;
	size_t tos;
};

struct names {
	size_t count;
	struct compiled rule[];
};

/* ---- the rules ---- */

static int check_to(const char *from, const char *to, size_t groups, struct reason *why)
{
	if (*from == '^' && *to == '/') {
		reason_set(why, "\"to\" leads to an absolute path: %.100s; write the path beneath "
			   "the live tree, without the / at its beginning", to);
		return REFUSED;
	}
	for (const char *at = to; *at; at++) {
		if (*at == '\\' && at[1] >= '0' && at[1] <= '9') {
			reason_set(why, "\"to\" has \\%c in it: %.100s; write $%c", at[1], to,
				   at[1]);
			return REFUSED;
		}
		if (*at != '$')
			continue;
		at++;
		if (*at == '$')
			continue;
		if (*at < '0' || *at > '9') {
			reason_set(why, "\"to\" has a $ without a number: %.100s; write $1 for the "
				   "first group, $$ for a dollar sign", to);
			return REFUSED;
		}
		if ((size_t)(*at - '0') > groups) {
			reason_set(why, "\"to\" asks for $%c: %.100s; \"from\" has %zu group%s, "
				   "in ( )", *at, to, groups, groups == 1 ? "" : "s");
			return REFUSED;
		}
	}
	return 0;
}

/* ---- what an expression costs ----
 *
 * regcomp() writes a repeated part out as often as it may stand there: a few nested repeats take
 * all memory there is, and counted ones of what varies in itself all time.  A reference back to a
 * group, which POSIX has not, but the C library, makes regexec() try all ways to match: hours for
 * one path.  All are told from the text. */
#define LOOP 4                  /* a repeat without an end counts as so many */

struct repeat {
	size_t times;           /* that the part counts; 0: there is none */
	bool counted;           /* {…} */
	bool fixed;             /* {3} */
};

/* The repeat that begins at `at`, which is set behind it. */
static struct repeat repeat_at(const char **at)
{
	const char *from = *at;
	char *end;

	if (!*from || !strchr("?*+{", *from))
		return (struct repeat){ 0 };
	++*at;
	if (*from != '{')
		return (struct repeat){ *from == '?' ? 2 : LOOP, false, false };
	unsigned long most = strtoul(from + 1, &end, 10);
	struct repeat repeat = { 0, true, *end == '}' };
	if (*end == ',' && isdigit((unsigned char)end[1])) {
		most = strtoul(end + 1, &end, 10);
	} else if (*end == ',') {
		repeat.times = LOOP;
		end++;
	}
	/* What is no repeat after all is for regcomp() to say. */
	if (*end == '}')
		*at = end + 1;
	repeat.times += most > NAMES_COST_MAX ? NAMES_COST_MAX + 1 : most;
	repeat.times += !repeat.times;
	return repeat;
}

/* Behind a list in brackets, in which nothing has a meaning but its end. */
static const char *skip_list(const char *at)
{
	at++;
	at += *at == '^';
	at += *at == ']';
	while (*at && *at != ']') {
		/* [:alpha:], [.x.], [=x=] */
		if (*at == '[' && at[1] && strchr(":.=", at[1])) {
			const char end[] = { at[1], ']', '\0' };
			const char *close = strstr(at + 2, end);

			if (close)
				at = close + 1;
		}
		at++;
	}
	return at + (*at == ']');
}

/* One character, list or other thing that can be repeated, groups apart.  *ret_empty: what it matches
 * has no length. */
static const char *skip_one(const char *at, bool *ret_refers, bool *ret_empty)
{
	bool escaped = *at == '\\' && at[1];

	*ret_refers = escaped && at[1] >= '1' && at[1] <= '9';
	*ret_empty = escaped ? !!strchr("bB<>`'", at[1]) : strchr("^$|", *at) != NULL;
	return *at == '[' ? skip_list(at) : at + 1 + escaped;
}

/* An expression, as far as it was looked at. */
struct cost {
	size_t depth;                   /* groups that are open */
	size_t written[NESTED_MAX + 1]; /* so far in each */
	bool varies[NESTED_MAX + 1];    /* may match more or less, in one way or another */
};

/* Takes the next part in, and returns what is behind it; NULL, and why, where it must not be. */
static const char *add_part(struct cost *cost, const char *at, struct reason *why)
{
	bool refers = false, varies = false;
	struct repeat repeat;
	size_t part = 1;

	if (*at == '(' && cost->depth == NESTED_MAX) {
		reason_set(why, "has groups within groups, more than %d", NESTED_MAX);
		return NULL;
	}
	if (*at == '(') {
		cost->written[++cost->depth] = 1;
		cost->varies[cost->depth] = at[1] == ')';
		return at + 1;
	}
	if (*at == ')' && cost->depth) {
		varies = cost->varies[cost->depth];
		part = cost->written[cost->depth--] + 1;
		at++;
	} else {
		at = skip_one(at, &refers, &varies);
	}
	if (refers) {
		reason_set(why, "refers back to a group, which no extended expression can");
		return NULL;
	}
	repeat = repeat_at(&at);
	if (repeat.counted && varies) {
		reason_set(why, "repeats with { } what varies in itself");
		return NULL;
	}
	if (repeat.times && repeat_at(&at).times) {
		reason_set(why, "is no regular expression: a repeat follows another");
		return NULL;
	}
	cost->varies[cost->depth] = cost->varies[cost->depth] || varies ||
				    (repeat.times && !repeat.fixed);
	cost->written[cost->depth] += repeat.times ? part * repeat.times : part;
	if (cost->written[cost->depth] <= NAMES_COST_MAX)
		return at;
	reason_set(why, "is too large: with its repeats written out, it may have %d characters",
		   NAMES_COST_MAX);
	return NULL;
}

static int check_cost(const char *from, struct reason *why)
{
	struct cost cost = { .depth = 0 };
	struct reason fault = { "" };
	const char *at = from;

	while (at && *at)
		at = add_part(&cost, at, &fault);
	if (at && strlen(from) <= 4 * NAMES_COST_MAX)
		return 0;
	reason_set(why, "\"from\" %s: %.100s; see rrdmergd.conf(5)",
		   at ? "is too long" : fault.text, from);
	return REFUSED;
}

/* What is compiled is to be freed where this returns 0. */
static int compile(const struct names_rule *rule, regex_t *ret, struct reason *why)
{
	char words[160];
	int error;

	if (!*rule->from) {
		reason_set(why, "\"from\" is empty; write what it must match, like "
			   "\"^web01/(.*)\"");
		return REFUSED;
	}
	if (check_cost(rule->from, why))
		return REFUSED;
	error = regcomp(ret, rule->from, REG_EXTENDED);
	if (error) {
		regerror(error, ret, words, sizeof(words));
		reason_set(why, "\"from\" is no regular expression: %s: %.100s; see regex(7)",
			   words, rule->from);
		return error == REG_ESPACE ? -ENOMEM : REFUSED;
	}
	for (size_t i = 0; i < rule->tos; i++)
		if (check_to(rule->from, rule->to[i], ret->re_nsub, why)) {
			regfree(ret);
			return REFUSED;
		}
	return 0;
}

int names_check(const struct names_rule *rule, struct reason *why)
{
	regex_t compiled;
	int r = compile(rule, &compiled, why);

	if (!r)
		regfree(&compiled);
	return r;
}

bool names_same(const struct names_rule *a, size_t a_count, const struct names_rule *b,
		size_t b_count)
{
	bool same = a_count == b_count;

	for (size_t i = 0; same && i < a_count; i++) {
		same = !strcmp(a[i].from, b[i].from) && a[i].tos == b[i].tos;
		for (size_t k = 0; same && k < a[i].tos; k++)
			same = !strcmp(a[i].to[k], b[i].to[k]);
	}
	return same;
}

static void free_list(char **list, size_t count)
{
	for (size_t i = 0; list && i < count; i++)
		free(list[i]);
	free(list);
}

void names_rules_free(struct names_rule *rule, size_t count)
{
	for (size_t i = 0; rule && i < count; i++) {
		free(rule[i].from);
		free_list(rule[i].to, rule[i].tos);
	}
	free(rule);
}

/* A hundred rules for as many hosts cost little where a path that cannot match is told by its first
 * bytes.  So much of an anchored expression stands for itself alone. */
static char *prefix_of(const char *from)
{
	char *prefix = calloc(1, strlen(from) + 1);
	size_t len = 0;

	if (!prefix || *from != '^' || strchr(from, '|'))
		return prefix;
	for (from++; *from; ) {
		bool escaped = *from == '\\';
		char c = from[escaped];

		/* Not what GNU's expressions have besides: \w, \<, \1 … */
		if (escaped ? !c || isalnum((unsigned char)c) || strchr("<>`'", c)
			    : !!strchr(".[]()*+?{}^$", c))
			break;
		from += 1 + escaped;
		if (*from && strchr("*+?{", *from))
			break;
		prefix[len++] = c;
	}
	prefix[len] = '\0';
	return prefix;
}

static int copy_to(struct compiled *compiled, const struct names_rule *rule)
{
	compiled->to = calloc(rule->tos + 1, sizeof(*compiled->to));
	if (!compiled->to)
		return -ENOMEM;
	for (size_t i = 0; i < rule->tos; i++) {
		compiled->to[i] = strdup(rule->to[i]);
		if (!compiled->to[i])
			return -ENOMEM;
		compiled->tos++;
	}
	return 0;
}

int names_new(const struct names_rule *rule, size_t count, struct names **ret, struct reason *why)
{
	struct names *names = calloc(1, sizeof(*names) + count * sizeof(names->rule[0]));
	int r = names ? 0 : -ENOMEM;

	for (size_t i = 0; i < count && !r; i++) {
		r = compile(&rule[i], &names->rule[i].from, why);
		if (r)
			break;
		names->count++;
		names->rule[i].prefix = prefix_of(rule[i].from);
		r = !names->rule[i].prefix ? -ENOMEM : copy_to(&names->rule[i], &rule[i]);
	}
	if (r)
		names_free(names);
	else
		*ret = names;
	return r;
}

void names_free(struct names *names)
{
	if (!names)
		return;
	for (size_t i = 0; i < names->count; i++) {
		regfree(&names->rule[i].from);
		free(names->rule[i].prefix);
		free_list(names->rule[i].to, names->rule[i].tos);
	}
	free(names);
}

/* ---- a path ---- */

/* Is it a path beneath a root, with one spelling only, of an RRD? */
static const char *fault_of(const char *path)
{
	if (*path == '/')
		return "an absolute path";
	for (const char *part = path; ; part++) {
		size_t len = strcspn(part, "/");

		if ((len == 1 && *part == '.') || (len == 2 && part[0] == '.' && part[1] == '.'))
			return "a path with . or .. in it";
		if (!len)
			return *path ? "a path with an empty part" : "an empty path";
		part += len;
		if (!*part)
			break;
	}
	return io_is_rrd_name(path) ? NULL : "what is no .rrd";
}

struct text {
	char *at;
	size_t used;
	bool cut;
};

static void put(struct text *text, const char *from, size_t len)
{
	if (text->used + len >= NAMES_SIZE) {
		text->cut = true;
		return;
	}
	memcpy(text->at + text->used, from, len);
	text->used += len;
	text->at[text->used] = '\0';
}

static void expand(struct text *text, const char *to, const char *rel, const regmatch_t *match)
{
	while (*to) {
		size_t len = strcspn(to, "$");

		put(text, to, len);
		to += len;
		if (!*to)
			break;
		const regmatch_t *group = to[1] == '$' ? NULL : &match[to[1] - '0'];
		if (!group)
			put(text, "$", 1);
		else if (group->rm_so >= 0)     /* else it took no part in the match */
			put(text, rel + group->rm_so, (size_t)(group->rm_eo - group->rm_so));
		to += 2;
	}
}

static int replace(const struct names *names, size_t i, const char *rel, const regmatch_t *match,
		   unsigned nth, char *buffer, struct reason *why)
{
	const struct compiled *rule = &names->rule[i];
	struct text text = { .at = buffer };
	const char *fault;

	if (nth >= rule->tos)
		return -ENOENT;
	*buffer = '\0';
	put(&text, rel, (size_t)match[0].rm_so);
	expand(&text, rule->to[nth], rel, match);
	put(&text, rel + match[0].rm_eo, strlen(rel + match[0].rm_eo));
	fault = text.cut ? "a path that is too long" : fault_of(buffer);
	if (!fault)
		return 0;
	reason_set(why, "rename rule %zu leads to %s: %.200s", i + 1, fault, buffer);
	return REFUSED;
}

int names_apply(const struct names *names, const char *rel, unsigned nth, char buffer[NAMES_SIZE],
		unsigned *ret_rule, struct reason *why)
{
	size_t len = strlen(rel), most = names ? NAMES_MATCH_MAX : NAMES_SIZE - 1;

	if (len > most && !nth) {
		reason_set(why, "the path is too long");
		*ret_rule = 0;
		return REFUSED;
	}
	if (len > most)
		return -ENOENT;
	for (size_t i = 0; names && i < names->count; i++) {
		const struct compiled *rule = &names->rule[i];
		regmatch_t match[GROUPS];

		if (strncmp(rel, rule->prefix, strlen(rule->prefix)))
			continue;
		int r = regexec(&rule->from, rel, GROUPS, match, 0);
		if (r == REG_NOMATCH)
			continue;
		if (r)
			return -ENOMEM;
		*ret_rule = (unsigned)i + 1;
		return replace(names, i, rel, match, nth, buffer, why);
	}
	if (nth)
		return -ENOENT;
	memcpy(buffer, rel, len + 1);
	*ret_rule = 0;
	return 0;
}
