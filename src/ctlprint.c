#include "config.h"
#include "ctlprint.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define HELP_COLUMN 32
#define STATE_COLUMNS 9

/* ---- for people ---- */

void ctlprint_safe(FILE *to, const char *text)
{
	size_t size = 4 * strlen(text) + 1;     /* \xHH for each byte */
	char *shown = malloc(size);

	fputs(shown ? log_escape(shown, size, text) : "(out of memory)", to);
	free(shown);
}

void ctlprint_plain(FILE *to, const struct ctlclient_field *fields, size_t count, bool first)
{
	size_t width = 0;

	for (size_t i = 0; i < count; i++)
		if (strlen(fields[i].key) > width)
			width = strlen(fields[i].key);
	if (!first)
		fputc('\n', to);
	for (size_t i = 0; i < count; i++) {
		bool empty = !*fields[i].value;

		fprintf(to, "%s:%*s", fields[i].key,
			empty ? 0 : (int)(width - strlen(fields[i].key) + 1), "");
		ctlprint_safe(to, fields[i].value);
		fputc('\n', to);
	}
}

static const char *value_of(const struct ctlclient_field *fields, size_t count, const char *key)
{
	for (size_t i = 0; i < count; i++)
		if (!strcmp(fields[i].key, key))
			return fields[i].value;
	return "";
}

void ctlprint_item(FILE *to, const struct ctlclient_field *fields, size_t count)
{
	const char *reason = value_of(fields, count, "reason");
	const char *state = value_of(fields, count, "state");
	int width = (int)strlen(state);

	ctlprint_safe(to, state);
	fprintf(to, "%*s", width < STATE_COLUMNS ? STATE_COLUMNS - width + 1 : 1, "");
	ctlprint_safe(to, value_of(fields, count, "file"));
	if (*reason) {
		bool part = !strcmp(value_of(fields, count, "refused"), "in part");

		fputs(part ? ": refused in part: " : ": ", to);
		ctlprint_safe(to, reason);
	}
	fputc('\n', to);
}

void ctlprint_help(FILE *to, const struct ctlclient_field *fields, size_t count, bool alone)
{
	const char *command = value_of(fields, count, "command");
	const char *arguments = value_of(fields, count, "arguments");
	int used = (int)(strlen(command) + strlen(arguments) + 3);

	fputs(alone ? "usage: rrdmergctl " : "  ", to);
	ctlprint_safe(to, command);
	if (*arguments) {
		fputc(' ', to);
		ctlprint_safe(to, arguments);
	}
	if (alone)
		fputs("\n\n", to);
	else if (used + 2 <= HELP_COLUMN)
		fprintf(to, "%*s", HELP_COLUMN - used - (*arguments ? 0 : -1), "");
	else
		fprintf(to, "\n%*s", HELP_COLUMN, "");
	ctlprint_safe(to, value_of(fields, count, "help"));
	fputc('\n', to);
	if (alone && !strcmp(value_of(fields, count, "access"), "changes"))
		fputs("It changes something, and so is for root and for the group of the socket.\n",
		      to);
}

/* ---- for programs ---- */

/* Length of the UTF-8 sequence at `s` (RFC 3629 §4), 0 where there is none. */
static size_t sequence(const unsigned char *s)
{
	unsigned char low = 0x80, high = 0xbf;
	size_t length;

	if (s[0] < 0x80)
		return 1;
	length = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 :
		 s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
	if (s[0] == 0xe0)
		low = 0xa0;             /* shorter ones say the rest */
	else if (s[0] == 0xed)
		high = 0x9f;            /* surrogates */
	else if (s[0] == 0xf0)
		low = 0x90;
	else if (s[0] == 0xf4)
		high = 0x8f;            /* the end of Unicode */
	for (size_t i = 1; i < length; i++) {
		if (s[i] < low || s[i] > high)
			return 0;
		low = 0x80;
		high = 0xbf;
	}
	return length;
}

/* What is good UTF-8 may still be what a terminal heeds. */
static uint32_t code_of(const unsigned char *s, size_t length)
{
	uint32_t code = length == 1 ? s[0] : s[0] & (0x7fu >> length);

	for (size_t i = 1; i < length; i++)
		code = code << 6 | (s[i] & 0x3fu);
	return code;
}

void ctlprint_json_string(FILE *to, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	fputc('"', to);
	while (*s) {
		size_t length = sequence(s);

		if (!length)
			fputs("\\ufffd", to);
		else if (*s == '"' || *s == '\\')
			fprintf(to, "\\%c", *s);
		else if (log_is_unsafe(code_of(s, length)))
			fprintf(to, "\\u%04x", (unsigned)code_of(s, length));
		else
			fwrite(s, 1, length, to);
		s += length ? length : 1;
	}
	fputc('"', to);
}

void ctlprint_json(FILE *to, const struct ctlclient_field *fields, size_t count, bool first)
{
	fputs(first ? "\n{" : ",\n{", to);
	for (size_t i = 0; i < count; i++) {
		if (i)
			fputc(',', to);
		ctlprint_json_string(to, fields[i].key);
		fputc(':', to);
		if (fields[i].is_number)
			fputs(fields[i].value, to);
		else
			ctlprint_json_string(to, fields[i].value);
	}
	fputc('}', to);
}
