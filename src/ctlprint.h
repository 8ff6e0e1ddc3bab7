/* ctlprint: the daemon's answers as text for people, and as JSON for programs. */
#ifndef CTLPRINT_H
#define CTLPRINT_H

#include <stdio.h>

#include "ctlclient.h"

/* One record, its values beneath one another, an empty line before all but the first.  What a
 * terminal would heed is shown as \xHH, and a backslash as \\. */
void ctlprint_plain(FILE *to, const struct ctlclient_field *fields, size_t count, bool first);

/* Text as it is in all of these. */
void ctlprint_safe(FILE *to, const char *text);

/* The answer of list: a line for each file, its state first. */
void ctlprint_item(FILE *to, const struct ctlclient_field *fields, size_t count);

/* The answer of help: a line for each command, or what there is to say of one. */
void ctlprint_help(FILE *to, const struct ctlclient_field *fields, size_t count, bool alone);

/* One object on one line, a comma before all but the first. */
void ctlprint_json(FILE *to, const struct ctlclient_field *fields, size_t count, bool first);

/* A string in quotes, valid UTF-8 whatever it holds: each byte that is not part of it becomes
 * U+FFFD, and what a terminal would heed is \uHHHH. */
void ctlprint_json_string(FILE *to, const char *text);

#endif
