/* native: writes a database's header in this machine's own form, piece by piece.
 *
 * What comes from elsewhere (another kind of machine, a dump) becomes an image such as rrdtool
 * would have written here, so that nobody above needs to know where it came from.  The order of
 * calls is the caller's; each piece has its place, which follows from the counts in the head.
 * The caller owns the buffer, which has native_header_size() bytes and the rows behind them. */
#ifndef NATIVE_H
#define NATIVE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define NATIVE_PARS 10          /* parameters of a definition, scratch values of a prep area */
#define NATIVE_LAST_DS_SIZE 30  /* bytes with the NUL */
#define NATIVE_NAME_SIZE 20

/* Parameters and scratch values are unions of eight bytes; here they are as this machine has
 * them in memory: native_double() and native_count() make them.  The names are in rrdtool's
 * src/rrd_format.h: ds_param_en, rra_par_en, pdp_par_en, cdp_par_en. */
struct native_head {
	unsigned version;               /* 1 to 5 */
	uint64_t ds_cnt, rra_cnt, step;
	int64_t last_up;                /* seconds since the epoch */
	int64_t last_up_usec;           /* not kept by versions 1 and 2 */
	uint64_t par[NATIVE_PARS];
};

struct native_ds {
	char name[NATIVE_NAME_SIZE], type[NATIVE_NAME_SIZE];
	uint64_t par[NATIVE_PARS];
	char last_ds[NATIVE_LAST_DS_SIZE];
	uint64_t pdp[NATIVE_PARS];      /* scratch */
};

struct native_rra {
	char cf[NATIVE_NAME_SIZE];
	uint64_t row_cnt, pdp_cnt;
	uint64_t par[NATIVE_PARS];
	uint64_t cur_row;
};

static inline uint64_t native_double(double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* An integer fills as many of the eight bytes as an unsigned long has; the others are 0. */
static inline uint64_t native_count(uint64_t count)
{
	union { unsigned long count; uint8_t bytes[8]; } unival = { .bytes = { 0 } };
	uint64_t bits;

	unival.count = (unsigned long)count;
	memcpy(&bits, unival.bytes, sizeof(bits));
	return bits;
}

/* A COMPUTE data source keeps its formula in its parameters: node n, 0 to 19, of rrdtool's op_en
 * and a number or the index of a data source.  (rrdtool src/rrd_rpncalc.h, rpn_cdefds_t) */
void native_put_node(uint64_t *par, unsigned n, uint8_t op, int16_t val);

/* Bytes of the header; the rows of RRA 0 begin there.  False where that overflows, or where this
 * machine's integers are too small for a number in `head`. */
bool native_header_size(const struct native_head *head, uint64_t *ret_size);
/* Adds the rows of one RRA; false on overflow. */
bool native_add_rows(uint64_t *size, uint64_t row_cnt, uint64_t ds_cnt);

/* stat_head and live_head. */
void native_put_head(uint8_t *bytes, const struct native_head *head);
/* ds_def and pdp_prep. */
void native_put_ds(uint8_t *bytes, const struct native_head *head, uint64_t ds,
		   const struct native_ds *value);
/* rra_def and rra_ptr. */
void native_put_rra(uint8_t *bytes, const struct native_head *head, uint64_t rra,
		    const struct native_rra *value);
/* One cdp_prep. */
void native_put_cdp(uint8_t *bytes, const struct native_head *head, uint64_t rra, uint64_t ds,
		    const uint64_t scratch[NATIVE_PARS]);

#endif
