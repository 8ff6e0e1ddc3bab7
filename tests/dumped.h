/* dumped: dumps made, restored and compared by librrd, without a type or a name of its own. */
#ifndef DUMPED_H
#define DUMPED_H

#include <stdbool.h>
#include <stdint.h>

/* 0: no header; 1: a DTD; 2: a schema.  Ends the program where librrd fails. */
void dumped_dump(const char *rrd, const char *xml, int header);
/* False where librrd refuses it. */
bool dumped_restore(const char *xml, const char *rrd);

/* Opens both with librrd and compares them: all of the headers, and the rows by age, wherever the
 * rings stand.  Doubles may differ as much as rrdtool's own reading of decimals is off.  What
 * FAILURES keeps beyond the ten violations that restore reads is held against `original`, unless
 * that is NULL.  NULL: they are the same; else the first difference. */
const char *dumped_difference(const char *ours, const char *restored, const char *original);

#endif
