/* rpn: a COMPUTE data source's formula, from text to the nodes that rrdtool keeps of it. */
#ifndef RPN_H
#define RPN_H

#include <stdbool.h>
#include <stdint.h>

#include "native.h"

/* An operator that rrdtool does not have. */
#define RPN_UNKNOWN 127

/* Packs `text` into par[] as rrdtool does (src/rrd_rpncalc.c, rpn_parse and rpn_compact), names
 * looked up in the `ds_cnt` data sources up to its own.  False where rrdtool would not have
 * kept such a formula; par[] then holds one that equals none of rrdtool's. */
bool rpn_compile(const char *text, const struct native_ds *ds, uint64_t ds_cnt,
		 uint64_t par[NATIVE_PARS]);

#endif
