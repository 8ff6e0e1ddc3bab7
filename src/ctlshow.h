/* ctlshow: the answer of show for people: how a file stands, its merges, its time line, its
 * sources. */
#ifndef CTLSHOW_H
#define CTLSHOW_H

#include <stdio.h>

#include "ctlclient.h"
#include "timeline.h"

/* Starts zeroed, but for what is to be said of the place that it is printed to. */
struct ctlshow {
	size_t columns;
	bool utf8;

	enum ctlshow_part { CTLSHOW_FILE, CTLSHOW_MERGES, CTLSHOW_LINES, CTLSHOW_SOURCES } part;
	uint64_t cells[TIMELINE_KINDS];
};

/* One record after the other, as they come; then the end. */
void ctlshow_print(FILE *to, struct ctlshow *show, const struct ctlclient_field *field,
		   size_t fields);
void ctlshow_end(FILE *to, struct ctlshow *show);

#endif
