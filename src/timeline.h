/* timeline: what a database holds, as one line of text: cells in bins by time, a character each.
 *
 * Pure: it knows neither files nor terminals.  A line goes from the oldest row to the newest;
 * each bin shows what most of its cells are (where two kinds are equally many: the one further
 * from "known in live").  Bins are handed on as letters, those of the plain drawing. */
#ifndef TIMELINE_H
#define TIMELINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum timeline_kind {
	TIMELINE_LIVE,          /* known, and not by us */
	TIMELINE_EXACT, TIMELINE_CONSOLIDATED, TIMELINE_SPREAD, TIMELINE_SEAM,  /* filled */
	TIMELINE_UNKNOWN,
	TIMELINE_KINDS
};

#define TIMELINE_COLUMNS_MIN 20
#define TIMELINE_COLUMNS_MAX 1000

/* "live", "exact" … */
const char *timeline_name(enum timeline_kind kind);

/* ---- bins ---- */

struct timeline_bins {
	uint64_t rows;
	size_t bins;
	uint64_t (*cells)[TIMELINE_KINDS];      /* [bins] */
};

/* For so many rows, in `columns` bins at most; as many as there are rows where these are fewer.
 * 0 or -ENOMEM. */
int timeline_begin(struct timeline_bins *bins, uint64_t rows, size_t columns);
/* A cell of row number `row`, the oldest is 0. */
void timeline_add(struct timeline_bins *bins, uint64_t row, enum timeline_kind kind);
/* A letter for each bin, and a NUL; in `letters` of bins + 1 bytes. */
void timeline_letters(const struct timeline_bins *bins, char *letters);
void timeline_free(struct timeline_bins *bins);

/* ---- text ---- */

struct timeline_line {
	const char *letters;    /* one at least; what is no letter of ours is drawn as unknown */
	int64_t from, to;       /* when it begins and ends, seconds since the epoch */
};

/* The line, `columns` wide however many letters there are, and beneath it the dates (UTC).  In
 * plain ASCII, or with the blocks of Unicode as UTF-8. */
void timeline_draw(FILE *to, const struct timeline_line *line, size_t columns, bool utf8);
/* What the characters mean, for those of the kinds of which `cells` is not 0, and how many there
 * are. */
void timeline_legend(FILE *to, const uint64_t cells[TIMELINE_KINDS], size_t columns, bool utf8);
/* "5 min", "2 h", "90 s" */
#define TIMELINE_SPAN_SIZE 32
char *timeline_span(char *buffer, int64_t seconds);

#endif
