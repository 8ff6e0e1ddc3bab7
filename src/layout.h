/* layout: the bytes of an RRD file → one decoded header, every bound checked.
 *
 * An RRD is a struct dumped by the machine that made it.  One machine differs from another
 * in four things, and all offsets follow from them (rrdtool src/rrd_format.h):
 *
 *                    LP64    ILP32, double at 8    i386    (time_t 64 bit on ILP32)
 *    word               8                     4       4
 *    align              8                     8       4
 *    time               8                     4       4                8
 *    ------------------------------------------------------------------------
 *    float_cookie      16                    16      12
 *    ds_cnt            24                    24      20
 *    rra_cnt           32                    28      24
 *    pdp_step          40                    32      28
 *    stat_head size   128                   120     112
 *    ds_def size      120                   120     120   name 0, type 20, par 40
 *    rra_def size     120                   112     108   cf 0, row_cnt 24/20, pdp_cnt, par
 *    live_head size    16                     8       8               16 or 12
 *    pdp_prep size    112                   112     112   last_ds 0, scratch 32
 *    cdp_prep size     80                    80      80   10 scratch values
 *    rra_ptr size       8                     4       4
 *
 * Sections stand one after the other without padding: stat_head, ds_def × ds_cnt,
 * rra_def × rra_cnt, live_head, pdp_prep × ds_cnt, cdp_prep × rra_cnt·ds_cnt,
 * rra_ptr × rra_cnt, then the rows of RRA 0, 1, …: row_cnt × ds_cnt doubles each.
 * Versions 0001 and 0002 have a bare time_t where live_head stands.
 *
 * Nothing here trusts a byte: counts and sizes are computed with overflow checks and held
 * against the file's size before anything is read at the place that they name. */
#ifndef LAYOUT_H
#define LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "reason.h"

enum layout_dst {       /* data source types, in the order of rrdtool's dst_en */
	DST_COUNTER, DST_ABSOLUTE, DST_GAUGE, DST_DERIVE, DST_COMPUTE, DST_DCOUNTER, DST_DDERIVE
};

enum layout_cf {        /* consolidation functions, in the order of rrdtool's cf_en */
	CF_AVERAGE, CF_MIN, CF_MAX, CF_LAST, CF_HWPREDICT, CF_SEASONAL, CF_DEVPREDICT,
	CF_DEVSEASONAL, CF_FAILURES, CF_MHWPREDICT
};

#define LAYOUT_NAME_SIZE 20     /* DS names and types, CF names: bytes with their NUL */
/* More than anybody ever made; what claims more would only cost hours. */
#define LAYOUT_DS_MAX 16384
#define LAYOUT_RRA_MAX 4096
#define LAYOUT_RPN_NODES 20     /* a COMPUTE DS holds at most this many, OP_END included */

/* Where an index of a data source is wanted and there is none. */
#define LAYOUT_NO_DS UINT64_MAX

struct layout_rpn_node {
	uint8_t op;             /* rrdtool's op_en */
	int16_t val;            /* a number, or the index of a data source */
};

struct layout_ds {
	char name[LAYOUT_NAME_SIZE];
	enum layout_dst type;
	uint64_t heartbeat;             /* seconds; not for COMPUTE */
	double min, max;                /* not for COMPUTE */
	unsigned rpn_len;               /* nodes before OP_END; COMPUTE only */
	struct layout_rpn_node rpn[LAYOUT_RPN_NODES];
};

struct layout_rra {
	enum layout_cf cf;
	uint64_t row_cnt;
	uint64_t pdp_cnt;
	double xff;
	uint64_t cur_row;               /* the row written last */
	uint64_t offset;                /* of its first row, bytes from the file's start */
};

/* The four numbers of the table above: one kind of machine. */
struct layout_form {
	const char *name;               /* for messages */
	unsigned word, align, time;     /* bytes */
	bool big_endian;
};

struct layout_header {
	const struct layout_form *form; /* NULL: layout_decode() finds out */
	bool native;                    /* this machine's own form: may be live */
	unsigned version;               /* 1 to 5 */
	uint64_t ds_cnt, rra_cnt;
	uint64_t step;                  /* seconds in one PDP */
	int64_t last_up;                /* seconds since the epoch */
	int64_t last_up_usec;
	struct layout_ds *ds;           /* [ds_cnt], owned */
	struct layout_rra *rra;         /* [rra_cnt], owned */
	uint64_t pdp_prep, cdp_prep;    /* offsets of the two areas */
	uint64_t size;                  /* of the header: the rows begin here */
	uint64_t file_size;             /* header and rows: the file has at least that */
};

/* The first bytes that layout_measure() needs to see (fewer where the file is shorter). */
#define LAYOUT_HEAD_SIZE 128

/* From the first bytes of a file of `file_size` bytes: which form it has and how long its
 * header is, at most where several forms are possible.  Refuses what is no RRD, of a kind of
 * machine that the table does not hold, or too short. */
int layout_measure(const uint8_t *bytes, size_t len, uint64_t file_size,
		   struct layout_header *ret, struct reason *why);

/* From the whole header (`len` ≥ ret->size of layout_measure) everything else.  Where several
 * forms are possible, all are tried: the one counts that gives the file's length, and in a file
 * that is longer than it need be only one that nothing else speaks against; else it is refused.
 * Of those that are possible, one whose last values are texts goes before one whose are none; but
 * where that one gives the file's length and the other does not, nobody can tell.
 * On success the caller frees with layout_free(); on failure nothing is held. */
int layout_decode(const uint8_t *bytes, size_t len, struct layout_header *head,
		  struct reason *why);
void layout_free(struct layout_header *head);

/* Values in the prep areas, this machine's byte order; `scratch` of rrdtool's cdp_par_en and
 * pdp_par_en (src/rrd_format.h). */
enum { CDP_VAL, CDP_UNKN_PDP_CNT };
enum { PDP_UNKN_SEC_CNT, PDP_VAL };
double layout_cdp_double(const struct layout_header *head, const uint8_t *bytes,
			 uint64_t rra, uint64_t ds, unsigned scratch);
uint64_t layout_cdp_count(const struct layout_header *head, const uint8_t *bytes,
			  uint64_t rra, uint64_t ds, unsigned scratch);
double layout_pdp_double(const struct layout_header *head, const uint8_t *bytes, uint64_t ds,
			 unsigned scratch);
uint64_t layout_pdp_count(const struct layout_header *head, const uint8_t *bytes, uint64_t ds,
			  unsigned scratch);
/* Where a CDP's first scratch value stands in the file. */
uint64_t layout_cdp_offset(const struct layout_header *head, uint64_t rra, uint64_t ds);

const char *layout_dst_name(enum layout_dst type);
const char *layout_cf_name(enum layout_cf cf);

/* Seconds between two rows. */
static inline int64_t layout_resolution(const struct layout_header *head, uint64_t rra)
{
	return (int64_t)(head->step * head->rra[rra].pdp_cnt);
}

#endif
