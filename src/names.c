#include "config.h"
#include "names.h"

#include <ctype.h>
#include <errno.h>
#include <regex.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "io.h"
#include "namesint.h"

#define GROUPS 10               /* $0 to $9 */

/* The C library's own UTF-8 is no choice: its regexec() takes minutes for what takes a millisecond
 * byte by byte.  So a text is held against an expression with one byte for each character: those
 * that the expression names have a byte each, and all others beyond ASCII are OTHER. */
#define FIRST 0x80u
#define OTHER 0xffu

struct expression {
	regex_t bytes;          /* as it is written */
	regex_t chars;          /* a byte for each character; only where it has others than ASCII */
	bool has_chars;
	char *letter;           /* these, each once; NULL: it is no UTF-8 or has too many */
};

struct compiled {
	struct expression from;
	char *prefix;           /* what a path that matches begins with; "" where not known */
	char **to;
	size_t tos;
};

struct names {
	size_t count;
	struct compiled rule[];
};

/* ---- the rules ---- */

/* Bytes of the character at `at`; 0: it is no UTF-8. */
static size_t char_len(const char *at)
{
	unsigned char c = (unsigned char)*at;
	size_t len = c < 0x80 ? 1 : c < 0xc2 ? 0 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 0;

	for (size_t i = 1; i < len; i++)
		if (((unsigned char)at[i] & 0xc0) != 0x80)
			return 0;
	return len;
}

static unsigned code_of(const char *letter, const char *at, size_t len)
{
	unsigned code = FIRST;

	if (len == 1)
		return (unsigned char)*at;
	for (size_t n; *letter; letter += n, code++) {
		n = char_len(letter);
		if (n == len && !memcmp(letter, at, len))
			return code;
	}
	return OTHER;
}

/* `to` has room for as many bytes as `text` has.  False: it is no UTF-8. */
static bool translate(const char *text, const char *letter, char *to)
{
	for (size_t len; *text; text += len) {
		len = char_len(text);
		if (!len)
			return false;
		*to++ = (char)code_of(letter, text, len);
	}
	*to = '\0';
	return true;
}

/* Those of `from`; false: there are too many, or it is no UTF-8. */
static bool collect(const char *from, char *letter)
{
	size_t used = 0, count = 0;

	*letter = '\0';
	for (size_t len; *from; from += len) {
		len = char_len(from);
		if (!len)
			return false;
		if (len == 1 || code_of(letter, from, len) != OTHER)
			continue;
		if (++count > OTHER - FIRST)
			return false;
		memcpy(letter + used, from, len);
		used += len;
		letter[used] = '\0';
	}
	return true;
}

static void free_expression(struct expression *e)
{
	regfree(&e->bytes);
	if (e->has_chars)
		regfree(&e->chars);
	free(e->letter);
}

/* 0 or regcomp()'s error; what is compiled is to be freed where it is 0. */
static int compile_both(const char *from, struct expression *ret)
{
	char *letter = malloc(strlen(from) + 1), *chars = malloc(strlen(from) + 1);
	struct expression e = { .letter = letter };
	int error = letter && chars ? regcomp(&e.bytes, from, REG_EXTENDED) : REG_ESPACE;

	if (error) {
		free(letter);
	} else if (!collect(from, letter)) {
		free(letter);
		e.letter = NULL;
	} else if (*letter && translate(from, letter, chars)) {
		error = regcomp(&e.chars, chars, REG_EXTENDED);
		e.has_chars = !error;
		if (error)
			free_expression(&e);
	}
	free(chars);
	if (!error)
		*ret = e;
	return error;
}

/* Where the nth character begins. */
static regoff_t offset_of(const char *text, regoff_t n)
{
	const char *at = text;

	for (; n > 0; n--)
		at += char_len(at);
	return (regoff_t)(at - text);
}

/* As regexec(), of a text of up to NAMES_MATCH_MAX bytes. */
static int match_text(const struct expression *e, const char *text, regmatch_t match[GROUPS])
{
	char chars[NAMES_MATCH_MAX + 1];

	if (!e->letter || !translate(text, e->letter, chars))
		return regexec(&e->bytes, text, GROUPS, match, 0);
	int r = regexec(e->has_chars ? &e->chars : &e->bytes, chars, GROUPS, match, 0);
	for (size_t i = 0; i < GROUPS && !r; i++)
		if (match[i].rm_so >= 0) {
			match[i].rm_so = offset_of(text, match[i].rm_so);
			match[i].rm_eo = offset_of(text, match[i].rm_eo);
		}
	return r;
}

/* What is compiled is to be freed where this returns 0. */
static int compile(const struct names_rule *rule, struct expression *ret, struct reason *why)
{
	char words[160];
	int error;

	if (!*rule->from) {
		reason_set(why, "\"from\" is empty; write what it must match, like "
			   "\"^web01/(.*)\"");
		return REFUSED;
	}
	if (names_check_from(rule->from, why))
		return REFUSED;
	error = compile_both(rule->from, ret);
	if (error) {
		regerror(error, NULL, words, sizeof(words));
		reason_set(why, "\"from\" is no regular expression: %s: %.100s; see regex(7)",
			   words, rule->from);
		return error == REG_ESPACE ? -ENOMEM : REFUSED;
	}
	for (size_t i = 0; i < rule->tos; i++)
		if (names_check_to(rule->from, rule->to[i], ret->bytes.re_nsub, why)) {
			free_expression(ret);
			return REFUSED;
		}
	return 0;
}

int names_check(const struct names_rule *rule, struct reason *why)
{
	struct expression compiled;
	int r = compile(rule, &compiled, why);

	if (!r)
		free_expression(&compiled);
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

		/* A repeat is of all of a character's bytes. */
		if ((unsigned char)c >= FIRST)
			break;
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
		free_expression(&names->rule[i].from);
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
		int r = match_text(&rule->from, rel, match);
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
