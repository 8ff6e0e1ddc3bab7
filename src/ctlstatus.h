/* ctlstatus: the answer of status in sentences: is all well, how far, what needs a person, and
 * whether the backup is still needed. */
#ifndef CTLSTATUS_H
#define CTLSTATUS_H

#include <stdio.h>

#include "ctlclient.h"

#define CTLSTATUS_KINDS 16      /* of refusals that are shown */

/* Starts zeroed; takes one record after the other. */
struct ctlstatus {
	struct ctlstatus_field {
		char *key, *value;
	} *field;               /* of the first record: [fields] */
	size_t fields;
	struct ctlstatus_kind {
		char *text, *example, *reason;
		unsigned long long files;
	} kind[CTLSTATUS_KINDS];
	size_t kinds;
	unsigned long long more_kinds;
	bool failed;            /* for want of memory */
};

void ctlstatus_take(struct ctlstatus *status, const struct ctlclient_field *field, size_t fields);
void ctlstatus_free(struct ctlstatus *status);

/* A value of the first record: "" where there is none; as a number, 0 then. */
const char *ctlstatus_text(const struct ctlstatus *status, const char *key);
unsigned long long ctlstatus_number(const struct ctlstatus *status, const char *key);
/* Is there nothing under way, and nothing to come by itself? */
bool ctlstatus_is_idle(const struct ctlstatus *status);

void ctlstatus_print(FILE *to, const struct ctlstatus *status);

#endif
