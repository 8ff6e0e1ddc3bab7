#include "config.h"
#include "range.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* A decimal number that ends where `end` points; no blanks, hexadecimals or names of infinities. */
static bool parse_number(const char *text, const char *end, double *ret)
{
	char *stop;

	if (text == end || strspn(text, "+-.0123456789eE") < (size_t)(end - text))
		return false;
	*ret = strtod(text, &stop);
	return stop == end && isfinite(*ret);
}

bool range_parse(const char *text, struct range *ret)
{
	struct range range = { .inside = *text == '@' };
	const char *from = text + range.inside, *colon = strchr(from, ':');
	const char *end = from + strlen(from);

	range.end = INFINITY;
	if (!colon) {
		if (!parse_number(from, end, &range.end))
			return false;
	} else {
		if (colon - from == 1 && *from == '~')
			range.start = -INFINITY;
		else if (colon != from && !parse_number(from, colon, &range.start))
			return false;
		if (colon + 1 != end && !parse_number(colon + 1, end, &range.end))
			return false;
	}
	if (range.start > range.end)
		return false;
	*ret = range;
	return true;
}

bool range_alerts(const struct range *range, double value)
{
	bool within = value >= range->start && value <= range->end;

	return range->inside ? within : !within;
}
