/* range: thresholds as Nagios plugins take them: [@]start:end.
 *
 *    10       outside 0 … 10 alerts          ~:10     above 10 (~: from minus infinity)
 *    10:      below 10                       @10:20   inside 10 … 20, ends included
 *    10:20    outside 10 … 20 */
#ifndef RANGE_H
#define RANGE_H

#include <stdbool.h>

struct range {
	double start, end;      /* may be infinite */
	bool inside;            /* alerts within and not without */
};

/* False where the text is none. */
bool range_parse(const char *text, struct range *ret);
bool range_alerts(const struct range *range, double value);

#endif
