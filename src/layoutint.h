/* layoutint: where things stand in a file of a given form, and how they are read there; for
 * layout and foreign alone.  The table in layout.h is what this arithmetic gives. */
#ifndef LAYOUTINT_H
#define LAYOUTINT_H

#include <string.h>

#include "layout.h"

#define NAME LAYOUT_NAME_SIZE
#define PAR_COUNT 10            /* parameters of 8 bytes in stat_head, ds_def, rra_def */
#define PAR_SIZE (PAR_COUNT * 8u)
#define CDP_PREP_SIZE PAR_SIZE
#define LAST_DS_SIZE 30u

/* ---- values ---- */

/* Of 2, 4 or 8 bytes. */
static inline uint64_t get_uint(const uint8_t *at, unsigned size, bool big_endian)
{
	bool turn = big_endian != (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
	uint64_t eight;
	uint32_t four;
	uint16_t two;

	if (size == 8) {
		memcpy(&eight, at, 8);
		return turn ? __builtin_bswap64(eight) : eight;
	}
	if (size == 4) {
		memcpy(&four, at, 4);
		return turn ? __builtin_bswap32(four) : four;
	}
	memcpy(&two, at, 2);
	return turn ? __builtin_bswap16(two) : two;
}

/* Of an integer in a union of eight bytes, too: a 32-bit machine fills the first four only, and
 * what the others hold is nobody's. */
static inline uint64_t get_word(const struct layout_form *form, const uint8_t *at)
{
	return get_uint(at, form->word, form->big_endian);
}

static inline int64_t get_time(const struct layout_form *form, const uint8_t *at)
{
	uint64_t value = get_uint(at, form->time, form->big_endian);

	return form->time == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
}

static inline double get_double(const struct layout_form *form, const uint8_t *at)
{
	uint64_t bits = get_uint(at, 8, form->big_endian);
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

/* ---- places ---- */

static inline unsigned align_to(unsigned offset, unsigned to)
{
	return (offset + to - 1) / to * to;
}

static inline unsigned float_cookie_at(const struct layout_form *form)
{
	return align_to(9, form->align);        /* after cookie[4] and version[5] */
}

static inline unsigned ds_cnt_at(const struct layout_form *form)
{
	return float_cookie_at(form) + 8;
}

static inline unsigned stat_head_size(const struct layout_form *form)
{
	return align_to(ds_cnt_at(form) + 3 * form->word, form->align) + PAR_SIZE;
}

static inline unsigned ds_par_at(const struct layout_form *form)
{
	return align_to(2 * NAME, form->align);
}

static inline unsigned ds_def_size(const struct layout_form *form)
{
	return ds_par_at(form) + PAR_SIZE;
}

static inline unsigned row_cnt_at(const struct layout_form *form)
{
	return align_to(NAME, form->word);
}

static inline unsigned rra_par_at(const struct layout_form *form)
{
	return align_to(row_cnt_at(form) + 2 * form->word, form->align);
}

static inline unsigned rra_def_size(const struct layout_form *form)
{
	return rra_par_at(form) + PAR_SIZE;
}

static inline unsigned live_head_size(const struct layout_form *form, unsigned version)
{
	if (version < 3)
		return form->time;
	/* A 64-bit time_t is aligned as a double is. */
	unsigned to = form->time == 8 ? form->align : form->word;
	return align_to(form->time + form->word, to);
}

static inline unsigned pdp_prep_size(const struct layout_form *form)
{
	return align_to(LAST_DS_SIZE, form->align) + PAR_SIZE;
}

/* ---- sections ---- */

static inline const uint8_t *ds_def_of(const struct layout_header *head, const uint8_t *bytes,
				       uint64_t ds)
{
	return bytes + stat_head_size(head->form) + ds * ds_def_size(head->form);
}

static inline const uint8_t *rra_def_of(const struct layout_header *head, const uint8_t *bytes,
					uint64_t rra)
{
	return ds_def_of(head, bytes, head->ds_cnt) + rra * rra_def_size(head->form);
}

static inline const uint8_t *pdp_prep_of(const struct layout_header *head, const uint8_t *bytes,
					 uint64_t ds)
{
	return bytes + head->pdp_prep + ds * pdp_prep_size(head->form);
}

#endif
