#include "config.h"
#include "ctlshow.h"

#include <stdlib.h>
#include <string.h>

#include "ctlprint.h"

#define INDENT "  "

static const char *find(const struct ctlclient_field *field, size_t fields, const char *key)
{
	for (size_t i = 0; i < fields; i++)
		if (!strcmp(field[i].key, key))
			return field[i].value;
	return NULL;
}

static const char *text(const struct ctlclient_field *field, size_t fields, const char *key)
{
	const char *value = find(field, fields, key);

	return value ? value : "";
}

static long long number(const struct ctlclient_field *field, size_t fields, const char *key)
{
	return strtoll(text(field, fields, key), NULL, 10);
}

static void print_part(FILE *to, const char *before, const char *value)
{
	fputs(before, to);
	ctlprint_safe(to, value);
}

/* "word: text", where there is any. */
static void print_item(FILE *to, const char *word, const char *value)
{
	if (!*value)
		return;
	fprintf(to, INDENT "%s", word);
	ctlprint_safe(to, value);
	fputc('\n', to);
}

static void print_file(FILE *to, const struct ctlclient_field *field, size_t fields)
{
	bool part = !strcmp(text(field, fields, "refused"), "in part");

	ctlprint_safe(to, text(field, fields, "file"));
	fputs(": ", to);
	ctlprint_safe(to, text(field, fields, "state"));
	fputs(*text(field, fields, "undone") ? ", undone\n" : "\n", to);
	print_item(to, part ? "refused in part: " : "refused: ", text(field, fields, "reason"));
	print_item(to, "waits for: ", text(field, fields, "waits_for"));
	if (*text(field, fields, "unproven"))
		print_item(to, "", "its data sources were matched by their numbers alone");
}

/* A source as it is in the ledger's lists: see ledger_entry.sources. */
static void print_from(FILE *to, char *line)
{
	char *end = line;

	for (const char *at = line; *at; ) {
		bool newline = !strncmp(at, "\\x0A", 4), backslash = !strncmp(at, "\\\\", 2);

		*end++ = newline ? '\n' : *at;
		at += newline ? 4 : backslash ? 2 : 1;
	}
	*end = '\0';
	print_item(to, "  from ", line);
}

static void print_merge(FILE *to, const struct ctlclient_field *field, size_t fields)
{
	const char *kind[] = { "exact", "seam", "consolidated", "spread" };
	const char *separator = ": ";

	print_part(to, INDENT, text(field, fields, "time"));
	print_part(to, "  ", text(field, fields, "what"));
	print_part(to, " (id ", text(field, fields, "id"));
	print_part(to, "), ", text(field, fields, "cells"));
	fputs(" cells", to);
	for (size_t i = 0; i < sizeof(kind) / sizeof(kind[0]); i++) {
		const char *cells = find(field, fields, kind[i]);

		if (!cells)
			continue;
		print_part(to, separator, cells);
		fprintf(to, " %s", kind[i]);
		separator = ", ";
	}
	if (find(field, fields, "undone_by"))
		print_part(to, "; undone by ", text(field, fields, "undone_by"));
	if (find(field, fields, "undone_in_part_by"))
		print_part(to, "; undone in part by ", text(field, fields, "undone_in_part_by"));
	fputc('\n', to);
	print_item(to, "  ", text(field, fields, "reason"));
	/* Several stand a line each. */
	for (const char *at = text(field, fields, "sources"); *at; ) {
		size_t length = strcspn(at, "\n");
		char *one = strndup(at, length);

		if (one)
			print_from(to, one);
		free(one);
		at += length + (at[length] == '\n');
	}
}

static void print_line(FILE *to, struct ctlshow *show, const struct ctlclient_field *field,
		       size_t fields)
{
	const char *letters = text(field, fields, "line");
	const struct timeline_line line = {
		letters, number(field, fields, "from"), number(field, fields, "to"),
	};
	char every[TIMELINE_SPAN_SIZE], all[TIMELINE_SPAN_SIZE];

	for (int kind = 0; kind < TIMELINE_KINDS; kind++)
		show->cells[kind] += (uint64_t)number(field, fields,
						      timeline_name((enum timeline_kind)kind));
	fprintf(to, "every %s for %s: ",
		timeline_span(every, number(field, fields, "resolution")),
		timeline_span(all, line.to - line.from));
	ctlprint_safe(to, text(field, fields, "archives"));
	fputc('\n', to);
	timeline_draw(to, &line, show->columns, show->utf8);
	fputc('\n', to);
}

static void print_source(FILE *to, const struct ctlclient_field *field, size_t fields)
{
	const char *away = find(field, fields, "away");

	/* What gave something once, and is not to be found now, has no number. */
	if (strcmp(text(field, fields, "source"), "0"))
		print_part(to, INDENT, text(field, fields, "source"));
	else
		fputs(INDENT "not there any more", to);
	print_part(to, ": ", text(field, fields, "path"));
	if (away)
		print_part(to, " is away: ", away);
	if (!strcmp(text(field, fields, "kind"), "dump"))
		fputs(" (a dump)", to);
	if (find(field, fields, "rule")) {
		print_part(to, " (by rename rule ", text(field, fields, "rule"));
		fputc(')', to);
	}
	fputc('\n', to);
	print_item(to, "   gave ", text(field, fields, "share"));
}

static enum ctlshow_part part_of(const struct ctlclient_field *field, size_t fields)
{
	return find(field, fields, "id") ? CTLSHOW_MERGES
		: find(field, fields, "archives") || find(field, fields, "no_line") ? CTLSHOW_LINES
		: find(field, fields, "source") ? CTLSHOW_SOURCES : CTLSHOW_FILE;
}

static void begin(FILE *to, struct ctlshow *show, enum ctlshow_part part)
{
	static const char *const heading[] = {
		[CTLSHOW_FILE] = "",
		[CTLSHOW_MERGES] = "\nMerges, the latest first:\n",
		[CTLSHOW_LINES] = "\nTime line (UTC):\n\n",
		[CTLSHOW_SOURCES] = "\nBackups that have it, the most trusted first:\n",
	};

	if (part == show->part)
		return;
	if (show->part == CTLSHOW_LINES)
		timeline_legend(to, show->cells, show->columns, show->utf8);
	fputs(heading[part], to);
	show->part = part;
}

void ctlshow_print(FILE *to, struct ctlshow *show, const struct ctlclient_field *field,
		   size_t fields)
{
	enum ctlshow_part part = part_of(field, fields);

	begin(to, show, part);
	if (part == CTLSHOW_FILE)
		print_file(to, field, fields);
	else if (part == CTLSHOW_MERGES)
		print_merge(to, field, fields);
	else if (part == CTLSHOW_SOURCES)
		print_source(to, field, fields);
	else if (find(field, fields, "no_line"))
		print_item(to, "", text(field, fields, "no_line"));
	else
		print_line(to, show, field, fields);
}

void ctlshow_end(FILE *to, struct ctlshow *show)
{
	begin(to, show, CTLSHOW_FILE);
}
