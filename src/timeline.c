#include "config.h"
#include "timeline.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DATE_GAP 3              /* columns between two dates, at least */
#define DATES_MAX 16
#define SHORT_SPAN (4 * 86400)  /* below it, dates tell the minute */

/* The legend's words are the user's, the names the program's. */
static const struct {
	const char *name, *words, *block;
	char letter;
} look[TIMELINE_KINDS] = {
	[TIMELINE_LIVE] = { "live", "known in live", "\u2588", '#' },
	[TIMELINE_EXACT] = { "exact", "filled as the backup has it", "\u2593", '+' },
	[TIMELINE_CONSOLIDATED] = { "consolidated", "filled from finer rows", "\u2592", 'c' },
	[TIMELINE_SPREAD] = { "spread", "filled from a coarser row", "\u2591", '~' },
	[TIMELINE_SEAM] = { "seam", "healed at the seam", "\u254b", 's' },
	[TIMELINE_UNKNOWN] = { "unknown", "unknown", "\u00b7", '.' },
};

const char *timeline_name(enum timeline_kind kind)
{
	return look[kind].name;
}

/* ---- bins ---- */

int timeline_begin(struct timeline_bins *bins, uint64_t rows, size_t columns)
{
	size_t count = rows < columns ? (size_t)rows : columns;

	*bins = (struct timeline_bins){ rows, count, calloc(count ? count : 1,
							    sizeof(*bins->cells)) };
	return bins->cells ? 0 : -ENOMEM;
}

void timeline_add(struct timeline_bins *bins, uint64_t row, enum timeline_kind kind)
{
	if (row >= bins->rows)
		return;
	/* No archive has so many rows that this would overflow. */
	size_t bin = (size_t)(row * bins->bins / bins->rows);

	bins->cells[bin][kind]++;
}

void timeline_letters(const struct timeline_bins *bins, char *letters)
{
	for (size_t i = 0; i < bins->bins; i++) {
		int most = 0;

		for (int kind = 1; kind < TIMELINE_KINDS; kind++)
			if (bins->cells[i][kind] && bins->cells[i][kind] >= bins->cells[i][most])
				most = kind;
		letters[i] = bins->cells[i][most] ? look[most].letter
						  : look[TIMELINE_UNKNOWN].letter;
	}
	letters[bins->bins] = '\0';
}

void timeline_free(struct timeline_bins *bins)
{
	free(bins->cells);
	bins->cells = NULL;
}

/* ---- text ---- */

static enum timeline_kind kind_of(char letter)
{
	int kind = 0;

	while (kind < TIMELINE_UNKNOWN && look[kind].letter != letter)
		kind++;
	return (enum timeline_kind)kind;
}

static void draw_kind(FILE *to, enum timeline_kind kind, bool utf8)
{
	if (utf8)
		fputs(look[kind].block, to);
	else
		fputc(look[kind].letter, to);
}

static size_t write_date(char *buffer, size_t size, int64_t at, bool minutes)
{
	time_t seconds = (time_t)at;
	struct tm tm;
	size_t length = 0;

	if (gmtime_r(&seconds, &tm))
		length = strftime(buffer, size, minutes ? "%m-%d %H:%M" : "%Y-%m-%d", &tm);
	if (!length)
		length = (size_t)snprintf(buffer, size, "%lld", (long long)at);
	return length;
}

/* The dates stand where their time is; the first begins there, the last ends there. */
static void draw_dates(FILE *to, const struct timeline_line *line, size_t columns)
{
	char text[TIMELINE_COLUMNS_MAX + 1], date[40];
	int64_t span = line->to - line->from;
	bool minutes = span < SHORT_SPAN;
	size_t length = write_date(date, sizeof(date), line->from, minutes);
	size_t dates = columns / (length + DATE_GAP), end = 0;

	if (dates > DATES_MAX)
		dates = DATES_MAX;
	memset(text, ' ', columns);
	for (size_t i = 0; i < dates; i++) {
		size_t of = dates > 1 ? dates - 1 : 1, at = columns * i / of;
		int64_t when = line->from + (int64_t)((double)span * (double)i / (double)of);

		length = write_date(date, sizeof(date), when, minutes);
		at = !i ? 0 : i == of ? columns - length : at - length / 2;
		if (length > columns || (i && at < end + 1) || at + length > columns)
			continue;
		memcpy(text + at, date, length);
		end = at + length;
	}
	while (columns && text[columns - 1] == ' ')
		columns--;
	fwrite(text, 1, columns, to);
	fputc('\n', to);
}

static size_t bounded(size_t columns)
{
	return columns < TIMELINE_COLUMNS_MIN ? TIMELINE_COLUMNS_MIN
		: columns > TIMELINE_COLUMNS_MAX ? TIMELINE_COLUMNS_MAX : columns;
}

void timeline_draw(FILE *to, const struct timeline_line *line, size_t columns, bool utf8)
{
	size_t bins = strlen(line->letters);

	columns = bounded(columns);
	for (size_t i = 0; i < columns && bins; i++)
		draw_kind(to, kind_of(line->letters[i * bins / columns]), utf8);
	fputc('\n', to);
	draw_dates(to, line, columns);
}

void timeline_legend(FILE *to, const uint64_t cells[TIMELINE_KINDS], size_t columns, bool utf8)
{
	size_t used = 0;

	columns = bounded(columns);
	for (int kind = 0; kind < TIMELINE_KINDS; kind++) {
		char text[120];
		size_t length;

		if (!cells[kind])
			continue;
		length = (size_t)snprintf(text, sizeof(text), " %s: %llu", look[kind].words,
					  (unsigned long long)cells[kind]);
		if (used && used + 3 + 1 + length > columns) {
			fputc('\n', to);
			used = 0;
		} else if (used) {
			fputs("   ", to);
			used += 3;
		}
		draw_kind(to, (enum timeline_kind)kind, utf8);
		fputs(text, to);
		used += length + 1;
	}
	if (used)
		fputc('\n', to);
}

char *timeline_span(char *buffer, int64_t seconds)
{
	static const struct {
		int64_t seconds;
		const char *name;
	} unit[] = { { 86400, "d" }, { 3600, "h" }, { 60, "min" }, { 1, "s" } };
	size_t i = 0;

	while (unit[i].seconds > 1 && (seconds < unit[i].seconds || seconds % unit[i].seconds))
		i++;
	snprintf(buffer, TIMELINE_SPAN_SIZE, "%lld %s", (long long)(seconds / unit[i].seconds),
		 unit[i].name);
	return buffer;
}
