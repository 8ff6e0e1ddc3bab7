#include "config.h"
#include "namesint.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"

#define NESTED_MAX 100          /* groups in one another */

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

/* One character, list or other thing that can be repeated, groups apart.  *ret_empty: what it
 * matches has no length. */
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

int names_check_from(const char *from, struct reason *why)
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

/* ---- where a rule leads ---- */

/* Does what `to` begins with begin the path, and what it ends with end it?  Where the expression
 * is bound to that, in all of its alternatives. */
struct bounds {
	bool begin, end;
};

static struct bounds bounds_of(const char *from)
{
	struct bounds bounds = { .begin = *from == '^', .end = false };
	const char *last = from;
	size_t depth = 0;
	bool refers, empty;

	for (const char *at = from; *at; ) {
		last = at;
		if (*at == '|' && !depth)
			return (struct bounds){ false, false };
		depth += *at == '(';
		depth -= *at == ')' && depth;
		at = skip_one(at, &refers, &empty);
	}
	bounds.end = *last == '$';
	return bounds;
}

/* Of what `to` says itself. */
static bool is_dots(const char *part, size_t len)
{
	return (len == 1 || len == 2) && !memcmp(part, "..", len);
}

/* Is there a part of the path that is . or .., whatever was matched? */
static bool has_dots(const char *to, struct bounds bounds)
{
	for (const char *part = to; ; part++) {
		size_t len = strcspn(part, "/");
		bool begins = part > to || bounds.begin, ends = part[len] || bounds.end;

		if (begins && ends && is_dots(part, len))
			return true;
		part += len;
		if (!*part)
			return false;
	}
}

/* Can it end in .rrd?  What a group matched may. */
static bool can_end(const char *to, struct bounds bounds)
{
	static const char rrd[] = ".rrd";
	const char *tail = to;

	for (const char *at = to; (at = strchr(at, '$')); tail = at)
		at += at[1] ? 2 : 1;
	size_t len = strlen(tail), known = len < strlen(rrd) ? len : strlen(rrd);
	return !bounds.end || !memcmp(tail + len - known, rrd + strlen(rrd) - known, known);
}

/* What no path comes of that could be one of a live file. */
static int check_path(const char *from, const char *to, struct reason *why)
{
	struct bounds bounds = bounds_of(from);

	if (bounds.begin && *to == '/')
		reason_set(why, "\"to\" leads to an absolute path: %.100s; write the path beneath "
			   "the live tree, without the / at its beginning", to);
	else if (has_dots(to, bounds))
		reason_set(why, "\"to\" leads to a path with . or .. in it: %.100s; no file is led "
			   "out of the live tree", to);
	else if (!can_end(to, bounds))
		reason_set(why, "\"to\" leads to what is no .rrd: %.100s; \"from\" ends in $, so "
			   "that the end of \"to\" is the end of the path", to);
	else
		return 0;
	return REFUSED;
}

int names_check_to(const char *from, const char *to, size_t groups, struct reason *why)
{
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
	return check_path(from, to, why);
}
