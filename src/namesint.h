/* namesint: what the files of names share. */
#ifndef NAMESINT_H
#define NAMESINT_H

#include <stddef.h>

#include "reason.h"

/* ---- namesrule.c: can a rule be followed ---- */

/* By their texts.  0, or REFUSED with why; the first is asked before the expression is compiled,
 * the second with its number of groups. */
int names_check_from(const char *from, struct reason *why);
int names_check_to(const char *from, const char *to, size_t groups, struct reason *why);

#endif
