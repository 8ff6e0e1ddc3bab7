/* consolidate: rrdtool's arithmetic: a row from smaller pieces of time, and what a file's last
 * words make of the PDP in which it ended.
 *
 * A PDP, like a row, is named by the time at which it ends; NAN: it is unknown.  The formulas are
 * those of rrdtool 1.7.2 and later. */
#ifndef CONSOLIDATE_H
#define CONSOLIDATE_H

#include "rrd.h"

/* Is this one of the four functions that consolidate PDPs (AVERAGE, MIN, MAX, LAST)? */
bool consolidate_does(enum layout_cf cf);

/* A row in the making: what rrdtool keeps in a CDP's scratch area. */
struct consolidate_row {
	enum layout_cf cf;
	double value;           /* sum, minimum, maximum or last; NAN: nothing is known so far */
	uint64_t known, unknown;        /* PDPs, or seconds: the caller's unit */
};

struct consolidate_row consolidate_begin(enum layout_cf cf);
/* What `db` has so far, in PDPs, of the row that is open in this RRA. */
struct consolidate_row consolidate_open(const struct rrd *db, uint64_t rra, uint64_t ds);

/* The next piece in time, `weight` PDPs or seconds long (src/rrd_update.c, update_cdp and
 * calculate_cdp_val). */
void consolidate_add(struct consolidate_row *row, double value, uint64_t weight);
/* The value that the row is given when all of it is in: unknown where more than xff of it is
 * (update_cdp, a strict comparison; initialize_cdp_val). */
double consolidate_end(const struct consolidate_row *row, double xff);

/* When the PDP of `step` seconds ends that was open at db's last update. */
int64_t consolidate_open_pdp(const struct rrd *db, int64_t step);
/* What that PDP, of db's own step, would be if nothing but unknown had come after (process_arg and
 * process_pdp_st: 1.7.2 finishes it by itself).  NAN for COMPUTE, of which pdp_prep holds
 * nothing. */
double consolidate_last_pdp(const struct rrd *db, uint64_t ds);

#endif
