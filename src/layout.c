#include "config.h"
#include "layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* Kinds of machines that we can read.  All offsets follow from a row: see layout.h. */
static const struct layout_form forms[] = {
#if defined(__LP64__)
	{ "this machine's", 8, 8, 8, __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ },
#else
	{ "this machine's", sizeof(long), __alignof__(struct { double d; }), sizeof(long),
	  __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ },
#endif
};

#define FLOAT_COOKIE 8.642135E130
#define FOREIGN "was written on another kind of machine (32 bit, or the other byte order)"
#define NAME LAYOUT_NAME_SIZE
#define PAR_COUNT 10            /* parameters of 8 bytes in stat_head, ds_def, rra_def */
#define PAR_SIZE (PAR_COUNT * 8u)
#define LAST_DS_SIZE 30u
#define VERSION_MAX 5
/* A ring's span in seconds, and any time in it, must stay far from overflowing 64 bits. */
#define TIME_MAX (INT64_C(1) << 53)
#define OP_VARIABLE 1           /* of rrdtool's op_en */
#define OP_END 32
#define OP_PREV_OTHER 36

/* ---- values ---- */

static uint64_t get_uint(const uint8_t *at, unsigned size, bool big_endian)
{
	uint64_t value = 0;

	for (unsigned i = 0; i < size; i++)
		value = value << 8 | at[big_endian ? i : size - 1 - i];
	return value;
}

static uint64_t get_word(const struct layout_form *form, const uint8_t *at)
{
	return get_uint(at, form->word, form->big_endian);
}

static int64_t get_time(const struct layout_form *form, const uint8_t *at)
{
	uint64_t value = get_uint(at, form->time, form->big_endian);

	return form->time == 4 ? (int32_t)(uint32_t)value : (int64_t)value;
}

static double get_double(const struct layout_form *form, const uint8_t *at)
{
	uint64_t bits = get_uint(at, 8, form->big_endian);
	double value;

	memcpy(&value, &bits, sizeof(value));
	return value;
}

static unsigned align(unsigned offset, unsigned to)
{
	return (offset + to - 1) / to * to;
}

/* ---- where things stand in a section ---- */

static unsigned float_cookie_at(const struct layout_form *form)
{
	return align(9, form->align);   /* after cookie[4] and version[5] */
}

static unsigned ds_cnt_at(const struct layout_form *form)
{
	return float_cookie_at(form) + 8;
}

static unsigned stat_head_size(const struct layout_form *form)
{
	return align(ds_cnt_at(form) + 3 * form->word, form->align) + PAR_SIZE;
}

static unsigned ds_par_at(const struct layout_form *form)
{
	return align(2 * NAME, form->align);
}

static unsigned ds_def_size(const struct layout_form *form)
{
	return ds_par_at(form) + PAR_SIZE;
}

static unsigned row_cnt_at(const struct layout_form *form)
{
	return align(NAME, form->word);
}

static unsigned rra_par_at(const struct layout_form *form)
{
	return align(row_cnt_at(form) + 2 * form->word, form->align);
}

static unsigned rra_def_size(const struct layout_form *form)
{
	return rra_par_at(form) + PAR_SIZE;
}

static unsigned live_head_size(const struct layout_form *form, unsigned version)
{
	if (version < 3)
		return form->time;
	/* A 64-bit time_t is aligned as a double is. */
	unsigned to = form->time == 8 ? form->align : form->word;
	return align(form->time + form->word, to);
}

static unsigned pdp_prep_size(const struct layout_form *form)
{
	return align(LAST_DS_SIZE, form->align) + PAR_SIZE;
}

#define CDP_PREP_SIZE PAR_SIZE

/* ---- first look ---- */

static bool is_number(const char *version)
{
	return strspn(version, "0123456789") == 4 && version[4] == '\0';
}

static const struct layout_form *find_form(const uint8_t *bytes, size_t len)
{
	for (size_t i = 0; i < sizeof(forms) / sizeof(forms[0]); i++) {
		unsigned at = float_cookie_at(&forms[i]);

		if (len >= at + 8 && get_double(&forms[i], bytes + at) == FLOAT_COOKIE)
			return &forms[i];
	}
	return NULL;
}

/* True where the float cookie stands as another kind of machine would have written it. */
static bool is_foreign(const uint8_t *bytes, size_t len)
{
	for (unsigned at = 12; at <= 16; at += 4) {
		for (int big = 0; big < 2; big++) {
			struct layout_form form = { "", 8, 8, 8, big };

			if (len >= at + 8 && get_double(&form, bytes + at) == FLOAT_COOKIE)
				return true;
		}
	}
	return false;
}

/* a += count × size; false where that overflows. */
static bool add_section(uint64_t *a, uint64_t count, uint64_t size)
{
	uint64_t bytes;

	return !__builtin_mul_overflow(count, size, &bytes) &&
	       !__builtin_add_overflow(*a, bytes, a);
}

/* Fills in counts, the places of the areas and the header's size; false on overflow. */
static bool measure_sections(const uint8_t *bytes, struct layout_header *head)
{
	const struct layout_form *form = head->form;
	const uint8_t *counts = bytes + ds_cnt_at(form);
	uint64_t cells, at = stat_head_size(form);

	head->ds_cnt = get_word(form, counts);
	head->rra_cnt = get_word(form, counts + form->word);
	head->step = get_word(form, counts + 2 * form->word);
	if (__builtin_mul_overflow(head->ds_cnt, head->rra_cnt, &cells) ||
	    !add_section(&at, head->ds_cnt, ds_def_size(form)) ||
	    !add_section(&at, head->rra_cnt, rra_def_size(form)) ||
	    !add_section(&at, 1, live_head_size(form, head->version)))
		return false;
	head->pdp_prep = at;
	if (!add_section(&at, head->ds_cnt, pdp_prep_size(form)))
		return false;
	head->cdp_prep = at;
	if (!add_section(&at, cells, CDP_PREP_SIZE) ||
	    !add_section(&at, head->rra_cnt, form->word))
		return false;
	head->size = at;
	return true;
}

/* A 32-bit machine that aligns doubles to 8 has the cookie where a 64-bit one has it; its counts
 * then make sense as 32-bit numbers only. */
static bool is_32_bit(const uint8_t *bytes, size_t len, const struct layout_header *head,
		      uint64_t file_size)
{
	struct layout_form narrow = *head->form;
	struct layout_header as = { .form = &narrow, .version = head->version };

	narrow.word = narrow.time = 4;
	return len >= stat_head_size(&narrow) && measure_sections(bytes, &as) &&
	       as.ds_cnt >= 1 && as.rra_cnt >= 1 && as.step >= 1 && as.size <= file_size;
}

int layout_measure(const uint8_t *bytes, size_t len, uint64_t file_size,
		   struct layout_header *ret, struct reason *why)
{
	struct layout_header head = { 0 };

	if (file_size == 0) {
		reason_set(why, "is empty");
		return REFUSED;
	}
	if (len < 9 || memcmp(bytes, "RRD", 4) || !is_number((const char *)bytes + 4)) {
		reason_set(why, "is not an RRD file");
		return REFUSED;
	}
	head.version = (unsigned)atoi((const char *)bytes + 4);
	head.form = find_form(bytes, len);
	if (!head.form) {
		reason_set(why, is_foreign(bytes, len)
			? FOREIGN
			: "is damaged: its float cookie is not there");
		return REFUSED;
	}
	head.native = head.form == &forms[0];
	if (head.version < 1 || head.version > VERSION_MAX) {
		reason_set(why, "is of RRD version %.4s; versions 0001 to 000%d are known",
			   (const char *)bytes + 4, VERSION_MAX);
		return REFUSED;
	}
	if (len < stat_head_size(head.form)) {
		reason_set(why, "is truncated: %llu bytes are no header",
			   (unsigned long long)file_size);
		return REFUSED;
	}
	if (!measure_sections(bytes, &head) || head.ds_cnt < 1 || head.rra_cnt < 1 ||
	    head.step < 1 || head.ds_cnt > LAYOUT_DS_MAX || head.rra_cnt > LAYOUT_RRA_MAX) {
		if (is_32_bit(bytes, len, &head, file_size))
			reason_set(why, FOREIGN);
		else
			reason_set(why, "is damaged, or too large: %llu data sources, %llu RRAs, "
				   "step %llu", (unsigned long long)head.ds_cnt,
				   (unsigned long long)head.rra_cnt,
				   (unsigned long long)head.step);
		return REFUSED;
	}
	if (head.size > file_size) {
		reason_set(why, "is truncated: %llu bytes, its header alone takes %llu",
			   (unsigned long long)file_size, (unsigned long long)head.size);
		return REFUSED;
	}
	*ret = head;
	return 0;
}

/* ---- the whole header ---- */

static const char *const dst_names[] = {
	"COUNTER", "ABSOLUTE", "GAUGE", "DERIVE", "COMPUTE", "DCOUNTER", "DDERIVE"
};

static const char *const cf_names[] = {
	"AVERAGE", "MIN", "MAX", "LAST", "HWPREDICT", "SEASONAL", "DEVPREDICT", "DEVSEASONAL",
	"FAILURES", "MHWPREDICT"
};

const char *layout_dst_name(enum layout_dst type)
{
	return dst_names[type];
}

const char *layout_cf_name(enum layout_cf cf)
{
	return cf_names[cf];
}

/* The index of a NUL-terminated name of at most NAME bytes, or -1. */
static int find_name(const uint8_t *at, const char *const *names, size_t count)
{
	if (!memchr(at, '\0', NAME))
		return -1;
	for (size_t i = 0; i < count; i++)
		if (!strcmp((const char *)at, names[i]))
			return (int)i;
	return -1;
}

/* A COMPUTE DS keeps its expression in par[] as pairs of an operator and a short
 * (rrdtool src/rrd_rpncalc.h, rpn_cdefds_t: char op, short val).  False where it has no end or
 * names a data source that is not there. */
static bool decode_rpn(const struct layout_header *head, const uint8_t *par, struct layout_ds *ds)
{
	for (unsigned i = 0; i < LAYOUT_RPN_NODES; i++) {
		const uint8_t *node = par + 4 * i;
		struct layout_rpn_node *to = &ds->rpn[i];

		to->op = node[0];
		to->val = (int16_t)get_uint(node + 2, 2, head->form->big_endian);
		if (to->op == OP_END) {
			ds->rpn_len = i;
			return true;
		}
		if ((to->op == OP_VARIABLE || to->op == OP_PREV_OTHER) &&
		    (to->val < 0 || (uint64_t)to->val >= head->ds_cnt))
			return false;
	}
	return false;
}

static bool decode_ds(const struct layout_header *head, const uint8_t *at, struct layout_ds *ds)
{
	const uint8_t *par = at + ds_par_at(head->form);
	int type = find_name(at + NAME, dst_names, sizeof(dst_names) / sizeof(dst_names[0]));

	if (type < 0 || !memchr(at, '\0', NAME) || at[0] == '\0')
		return false;
	memcpy(ds->name, at, NAME);
	ds->type = (enum layout_dst)type;
	if (ds->type == DST_COMPUTE)
		return decode_rpn(head, par, ds);
	ds->heartbeat = get_word(head->form, par);
	ds->min = get_double(head->form, par + 8);
	ds->max = get_double(head->form, par + 16);
	return true;
}

/* All RRAs: definitions, positions, and where their rows begin.  Returns which one is
 * impossible, or rra_cnt. */
static uint64_t decode_rras(const uint8_t *bytes, struct layout_header *head)
{
	const struct layout_form *form = head->form;
	const uint8_t *def = bytes + stat_head_size(form) + head->ds_cnt * ds_def_size(form);
	const uint8_t *ptr = bytes + head->size - head->rra_cnt * form->word;
	uint64_t row_size, rows_at = head->size;

	if (__builtin_mul_overflow(head->ds_cnt, sizeof(double), &row_size))
		return 0;
	for (uint64_t i = 0; i < head->rra_cnt; i++) {
		struct layout_rra *rra = &head->rra[i];
		int cf = find_name(def, cf_names, sizeof(cf_names) / sizeof(cf_names[0]));
		uint64_t span;

		rra->row_cnt = get_word(form, def + row_cnt_at(form));
		rra->pdp_cnt = get_word(form, def + row_cnt_at(form) + form->word);
		rra->xff = get_double(form, def + rra_par_at(form));
		rra->cur_row = get_word(form, ptr);
		rra->offset = rows_at;
		if (cf < 0 || rra->row_cnt < 1 || rra->pdp_cnt < 1 ||
		    rra->cur_row >= rra->row_cnt ||
		    __builtin_mul_overflow(head->step, rra->pdp_cnt, &span) ||
		    __builtin_mul_overflow(span, rra->row_cnt, &span) || span > TIME_MAX ||
		    !add_section(&rows_at, rra->row_cnt, row_size))
			return i;
		rra->cf = (enum layout_cf)cf;
		def += rra_def_size(form);
		ptr += form->word;
	}
	head->file_size = rows_at;
	return head->rra_cnt;
}

static int decode_sections(const uint8_t *bytes, struct layout_header *head, struct reason *why)
{
	const struct layout_form *form = head->form;
	const uint8_t *live_head = bytes + head->pdp_prep - live_head_size(form, head->version);

	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		const uint8_t *at = bytes + stat_head_size(form) + i * ds_def_size(form);

		if (!decode_ds(head, at, &head->ds[i])) {
			reason_set(why, "is damaged: data source %llu of %llu is impossible",
				   (unsigned long long)i + 1, (unsigned long long)head->ds_cnt);
			return REFUSED;
		}
	}
	uint64_t bad = decode_rras(bytes, head);
	if (bad < head->rra_cnt) {
		reason_set(why, "is damaged: RRA %llu of %llu is impossible",
			   (unsigned long long)bad + 1, (unsigned long long)head->rra_cnt);
		return REFUSED;
	}
	head->last_up = get_time(form, live_head);
	if (head->version >= 3)
		head->last_up_usec = (int64_t)get_word(form, live_head + align(form->time,
									       form->word));
	if (head->last_up < 0 || head->last_up > TIME_MAX) {
		reason_set(why, "is damaged: last_update %lld is no time",
			   (long long)head->last_up);
		return REFUSED;
	}
	return 0;
}

int layout_decode(const uint8_t *bytes, size_t len, struct layout_header *head,
		  struct reason *why)
{
	if (len < head->size) {
		reason_set(why, "is truncated: %llu of its header's %llu bytes",
			   (unsigned long long)len, (unsigned long long)head->size);
		return REFUSED;
	}
	head->ds = calloc(head->ds_cnt, sizeof(*head->ds));
	head->rra = calloc(head->rra_cnt, sizeof(*head->rra));
	int r = head->ds && head->rra ? decode_sections(bytes, head, why)
				      : reason_errno(why, ENOMEM, "cannot be read");
	if (r)
		layout_free(head);
	return r;
}

void layout_free(struct layout_header *head)
{
	free(head->ds);
	free(head->rra);
	head->ds = NULL;
	head->rra = NULL;
}

uint64_t layout_cdp_offset(const struct layout_header *head, uint64_t rra, uint64_t ds)
{
	return head->cdp_prep + (rra * head->ds_cnt + ds) * CDP_PREP_SIZE;
}

/* A scratch value is a union of eight bytes; an integer in it has the machine's word. */
static const uint8_t *cdp_scratch(const struct layout_header *head, const uint8_t *bytes,
				  uint64_t rra, uint64_t ds, unsigned scratch)
{
	return bytes + layout_cdp_offset(head, rra, ds) + scratch * 8u;
}

static const uint8_t *pdp_scratch(const struct layout_header *head, const uint8_t *bytes,
				  uint64_t ds, unsigned scratch)
{
	unsigned size = pdp_prep_size(head->form);

	return bytes + head->pdp_prep + ds * size + (size - PAR_SIZE) + scratch * 8u;
}

double layout_cdp_double(const struct layout_header *head, const uint8_t *bytes,
			 uint64_t rra, uint64_t ds, unsigned scratch)
{
	return get_double(head->form, cdp_scratch(head, bytes, rra, ds, scratch));
}

uint64_t layout_cdp_count(const struct layout_header *head, const uint8_t *bytes,
			  uint64_t rra, uint64_t ds, unsigned scratch)
{
	return get_word(head->form, cdp_scratch(head, bytes, rra, ds, scratch));
}

double layout_pdp_double(const struct layout_header *head, const uint8_t *bytes, uint64_t ds,
			 unsigned scratch)
{
	return get_double(head->form, pdp_scratch(head, bytes, ds, scratch));
}

uint64_t layout_pdp_count(const struct layout_header *head, const uint8_t *bytes, uint64_t ds,
			  unsigned scratch)
{
	return get_word(head->form, pdp_scratch(head, bytes, ds, scratch));
}
