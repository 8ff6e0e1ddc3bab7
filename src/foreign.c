#include "config.h"
#include "foreign.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "layoutint.h"
#include "native.h"

/* Which of the ten values in a union are integers, one bit each; the others are doubles, or
 * unused (rrdtool src/rrd_format.h, ds_param_en, rra_par_en, pdp_par_en and cdp_par_en). */
#define DS_COUNTS 0x001         /* heartbeat */
#define PDP_COUNTS 0x001        /* unknown seconds */
#define CDP_COUNTS 0x002        /* unknown PDPs */
#define CDP_HW_COUNTS 0x0c2     /* and how many unknown values came one after the other */
/* FAILURES keeps its history as one char for each row, up to here. */
#define CDP_CHARS 8

/* `counts` says which are integers. */
static void get_pars(const struct layout_form *form, const uint8_t *at, unsigned counts,
		     uint64_t *ret)
{
	for (unsigned i = 0; i < PAR_COUNT; i++, at += 8)
		ret[i] = counts >> i & 1 ? native_count(get_word(form, at))
					 : get_uint(at, 8, form->big_endian);
}

/* Beware of the period of (M)HWPREDICT: it is kept as a double (rrdtool src/rrd_create.c). */
static unsigned rra_counts(enum layout_cf cf)
{
	switch (cf) {
	case CF_HWPREDICT:
	case CF_MHWPREDICT:
	case CF_DEVPREDICT:
		return 0x008;           /* dependent RRA */
	case CF_SEASONAL:
	case CF_DEVSEASONAL:
		return 0x018;           /* and smoothing index */
	case CF_FAILURES:
		return 0x038;           /* and length of the window, threshold */
	default:
		return 0;
	}
}

static struct native_head get_head(const struct layout_header *head, const uint8_t *bytes)
{
	struct native_head to = {
		.version = head->version,
		.ds_cnt = head->ds_cnt,
		.rra_cnt = head->rra_cnt,
		.step = head->step,
		.last_up = head->last_up,
		.last_up_usec = head->last_up_usec,
	};

	get_pars(head->form, bytes + stat_head_size(head->form) - PAR_SIZE, 0, to.par);
	return to;
}

static void get_ds(const struct layout_header *head, const uint8_t *bytes, uint64_t ds,
		   struct native_ds *ret)
{
	const uint8_t *def = ds_def_of(head, bytes, ds), *par = def + ds_par_at(head->form);
	const uint8_t *prep = pdp_prep_of(head, bytes, ds);
	unsigned prep_size = pdp_prep_size(head->form);

	memcpy(ret->name, def, NAME);
	memcpy(ret->type, def + NAME, NAME);
	if (head->ds[ds].type == DST_COMPUTE)
		for (unsigned n = 0; n < LAYOUT_RPN_NODES; n++)
			native_put_node(ret->par, n, par[4 * n],
					(int16_t)get_uint(par + 4 * n + 2, 2,
							  head->form->big_endian));
	else
		get_pars(head->form, par, DS_COUNTS, ret->par);
	memcpy(ret->last_ds, prep, LAST_DS_SIZE);
	get_pars(head->form, prep + prep_size - PAR_SIZE, PDP_COUNTS, ret->pdp);
}

static void get_rra(const struct layout_header *head, const uint8_t *bytes, uint64_t rra,
		    struct native_rra *ret)
{
	const struct layout_rra *from = &head->rra[rra];
	const uint8_t *def = rra_def_of(head, bytes, rra);

	*ret = (struct native_rra){
		.row_cnt = from->row_cnt,
		.pdp_cnt = from->pdp_cnt,
		.cur_row = from->cur_row,
	};
	memcpy(ret->cf, def, NAME);
	get_pars(head->form, def + rra_par_at(head->form), rra_counts(from->cf), ret->par);
}

static void get_cdp(const struct layout_header *head, const uint8_t *bytes, uint64_t rra,
		    uint64_t ds, uint64_t ret[PAR_COUNT])
{
	const uint8_t *at = bytes + layout_cdp_offset(head, rra, ds);
	enum layout_cf cf = head->rra[rra].cf;

	get_pars(head->form, at, cf <= CF_LAST ? CDP_COUNTS : CDP_HW_COUNTS, ret);
	if (cf == CF_FAILURES)
		memcpy(ret, at, CDP_CHARS * 8);
}

/* All rows stand together, in the same order everywhere. */
static void get_rows(const struct layout_header *head, const uint8_t *bytes, uint8_t *to)
{
	for (uint64_t at = head->size; at < head->file_size; at += 8, to += 8) {
		uint64_t bits = get_uint(bytes + at, 8, head->form->big_endian);

		memcpy(to, &bits, 8);
	}
}

int foreign_translate(const struct layout_header *head, const uint8_t *bytes,
		      uint8_t **ret_image, size_t *ret_size, struct reason *why)
{
	struct native_head native = get_head(head, bytes);
	uint64_t header, size;

	if (!native_header_size(&native, &header) ||
	    __builtin_add_overflow(header, head->file_size - head->size, &size) ||
	    size > SIZE_MAX) {
		reason_set(why, "holds numbers that are too large for this machine");
		return REFUSED;
	}
	uint8_t *image = malloc((size_t)size);
	if (!image)
		return reason_errno(why, ENOMEM, "cannot be read");
	native_put_head(image, &native);
	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		struct native_ds ds;

		get_ds(head, bytes, i, &ds);
		native_put_ds(image, &native, i, &ds);
	}
	for (uint64_t i = 0; i < head->rra_cnt; i++) {
		struct native_rra rra;

		get_rra(head, bytes, i, &rra);
		native_put_rra(image, &native, i, &rra);
		for (uint64_t ds = 0; ds < head->ds_cnt; ds++) {
			uint64_t scratch[PAR_COUNT];

			get_cdp(head, bytes, i, ds, scratch);
			native_put_cdp(image, &native, i, ds, scratch);
		}
	}
	get_rows(head, bytes, image + header);
	*ret_image = image;
	*ret_size = (size_t)size;
	return 0;
}
