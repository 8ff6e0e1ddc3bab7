#include "config.h"
#include "layout.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "layoutint.h"

/* Kinds of machines that we can read.  All offsets follow from a row: see layout.h. */
static const struct layout_form forms[] = {
	/* name                                            word align time big endian */
	{ "64-bit little-endian",                             8, 8, 8, false },
	{ "64-bit big-endian",                                8, 8, 8, true },
	{ "32-bit little-endian",                             4, 8, 4, false },
	{ "32-bit little-endian, 64-bit time_t",              4, 8, 8, false },
	{ "32-bit big-endian",                                4, 8, 4, true },
	{ "32-bit big-endian, 64-bit time_t",                 4, 8, 8, true },
	{ "i386",                                             4, 4, 4, false },
	{ "i386, 64-bit time_t",                              4, 4, 8, false },
	{ "32-bit big-endian, doubles at 4",                  4, 4, 4, true },
	{ "32-bit big-endian, doubles at 4, 64-bit time_t",   4, 4, 8, true },
};

#define FORMS (sizeof(forms) / sizeof(forms[0]))
#define FLOAT_COOKIE 8.642135E130
#define VERSION_MAX 5
/* A ring's span in seconds, and any time in it, must stay far from overflowing 64 bits. */
#define TIME_MAX (INT64_C(1) << 53)
#define USEC_MAX 999999
/* No rrdtool creates a file that begins before 1980 (rrd_create.c), and what is later than 2106 was
 * put together of two fields. */
#define FOREIGN_TIME_MIN (INT64_C(3600) * 24 * 365 * 10)
#define FOREIGN_TIME_MAX INT64_C(0xffffffff)
#define OP_VARIABLE 1           /* of rrdtool's op_en */
#define OP_END 32
#define OP_PREV_OTHER 36

static bool is_native(const struct layout_form *form)
{
	return form->word == sizeof(long) && form->align == __alignof__(struct { double d; }) &&
	       form->time == sizeof(time_t) &&
	       form->big_endian == (__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__);
}

/* ---- first look ---- */

static bool is_number(const char *version)
{
	return strspn(version, "0123456789") == 4 && version[4] == '\0';
}

static bool has_cookie(const struct layout_form *form, const uint8_t *bytes, size_t len)
{
	unsigned at = float_cookie_at(form);

	return len >= at + 8 && get_double(form, bytes + at) == FLOAT_COOKIE;
}

/* True where the float cookie stands as no machine of the table would have written it: at another
 * place, or with its two halves swapped as old ARM processors did. */
static bool is_unknown_form(const uint8_t *bytes, size_t len)
{
	struct layout_form form = { .big_endian = false };

	for (unsigned at = 9; at <= 24 && len >= at + 8; at++) {
		uint8_t swapped[8];

		memcpy(swapped, bytes + at + 4, 4);
		memcpy(swapped + 4, bytes + at, 4);
		for (int big = 0; big < 2; big++) {
			form.big_endian = big;
			if (get_double(&form, bytes + at) == FLOAT_COOKIE ||
			    get_double(&form, swapped) == FLOAT_COOKIE)
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

/* False where the first bytes, `len` of them, make no sense as that kind of machine's. */
static bool count_as(const struct layout_form *form, const uint8_t *bytes, size_t len,
		     struct layout_header *head)
{
	*head = (struct layout_header){
		.form = form,
		.native = is_native(form),
		.version = (unsigned)atoi((const char *)bytes + 4),
	};
	return len >= stat_head_size(form) && measure_sections(bytes, head) &&
	       head->ds_cnt >= 1 && head->rra_cnt >= 1 && head->step >= 1 &&
	       head->ds_cnt <= LAYOUT_DS_MAX && head->rra_cnt <= LAYOUT_RRA_MAX;
}

static int measure_as(const struct layout_form *form, const uint8_t *bytes, size_t len,
		      uint64_t file_size, struct layout_header *ret, struct reason *why)
{
	struct layout_header head;

	if (len < stat_head_size(form)) {
		reason_set(why, "is truncated: %llu bytes are no header",
			   (unsigned long long)file_size);
		return REFUSED;
	}
	if (!count_as(form, bytes, len, &head)) {
		reason_set(why, "is damaged, or too large: %llu data sources, %llu RRAs, step %llu",
			   (unsigned long long)head.ds_cnt, (unsigned long long)head.rra_cnt,
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

/* Where the first bytes are no kind of machine's: as the likeliest one's, why not. */
static int refuse_all(const uint8_t *bytes, size_t len, uint64_t file_size, struct reason *why)
{
	const struct layout_form *likely = NULL;
	struct layout_header head;
	bool sense = false;

	for (size_t i = 0; i < FORMS && !sense; i++) {
		if (!has_cookie(&forms[i], bytes, len))
			continue;
		sense = count_as(&forms[i], bytes, len, &head);
		if (!likely || is_native(&forms[i]) || sense)
			likely = &forms[i];
	}
	return measure_as(likely, bytes, len, file_size, &head, why);
}

/* All kinds of machines that the first bytes may be of.  One is all but always the only one of
 * its word size; whether its time_t is long or short only the whole header tells. */
static int measure_all(const uint8_t *bytes, size_t len, uint64_t file_size,
		       struct layout_header *ret, struct reason *why)
{
	struct layout_header head, last = { .form = NULL };
	unsigned possible = 0;
	uint64_t size = 0;

	for (size_t i = 0; i < FORMS; i++) {
		if (!has_cookie(&forms[i], bytes, len) || !count_as(&forms[i], bytes, len, &head))
			continue;
		possible++;
		if (head.size > file_size)
			continue;
		if (head.size > size)
			size = head.size;
		last = head;
	}
	if (!last.form)
		return refuse_all(bytes, len, file_size, why);
	if (possible > 1)
		last = (struct layout_header){ .version = last.version, .size = size };
	last.file_size = file_size;
	*ret = last;
	return 0;
}

int layout_measure(const uint8_t *bytes, size_t len, uint64_t file_size,
		   struct layout_header *ret, struct reason *why)
{
	bool any = false;

	if (file_size == 0) {
		reason_set(why, "is empty");
		return REFUSED;
	}
	if (len < 9 || memcmp(bytes, "RRD", 4) || !is_number((const char *)bytes + 4)) {
		reason_set(why, "is not an RRD file");
		return REFUSED;
	}
	for (size_t i = 0; i < FORMS && !any; i++)
		any = has_cookie(&forms[i], bytes, len);
	if (!any) {
		reason_set(why, is_unknown_form(bytes, len)
			   ? "was written on a kind of machine that is not known here; take the "
			     "output of \"rrdtool dump\" there instead"
			   : "is damaged: its float cookie is not there");
		return REFUSED;
	}
	int version = atoi((const char *)bytes + 4);
	if (version < 1 || version > VERSION_MAX) {
		reason_set(why, "is of RRD version %.4s; versions 0001 to 000%d are known",
			   (const char *)bytes + 4, VERSION_MAX);
		return REFUSED;
	}
	return measure_all(bytes, len, file_size, ret, why);
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
	const uint8_t *def = rra_def_of(head, bytes, 0);
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

/* What tells a long time_t from a short one, besides the length: in the wrong form, these are
 * pieces of something else. */
static int check_foreign(const uint8_t *bytes, const struct layout_header *head,
			 struct reason *why)
{
	if (head->last_up < FOREIGN_TIME_MIN || head->last_up > FOREIGN_TIME_MAX) {
		reason_set(why, "is damaged: last_update %lld is not between 1980 and 2106",
			   (long long)head->last_up);
		return REFUSED;
	}
	if (head->last_up_usec < 0 || head->last_up_usec > USEC_MAX) {
		reason_set(why, "is damaged: last_update has %lld microseconds",
			   (long long)head->last_up_usec);
		return REFUSED;
	}
	for (uint64_t i = 0; i < head->ds_cnt; i++)
		if (!memchr(pdp_prep_of(head, bytes, i), '\0', LAST_DS_SIZE)) {
			reason_set(why, "is damaged: the last value of data source %llu of %llu has "
				   "no end", (unsigned long long)i + 1,
				   (unsigned long long)head->ds_cnt);
			return REFUSED;
		}
	return 0;
}

static int decode_sections(const uint8_t *bytes, struct layout_header *head, struct reason *why)
{
	const struct layout_form *form = head->form;
	const uint8_t *live_head = bytes + head->pdp_prep - live_head_size(form, head->version);

	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		if (!decode_ds(head, ds_def_of(head, bytes, i), &head->ds[i])) {
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
		head->last_up_usec = (int64_t)get_word(form, live_head + align_to(form->time,
										  form->word));
	if (head->last_up < 0 || head->last_up > TIME_MAX) {
		reason_set(why, "is damaged: last_update %lld is no time",
			   (long long)head->last_up);
		return REFUSED;
	}
	return head->native ? 0 : check_foreign(bytes, head, why);
}

/* Of a kind of machine that is known by now. */
static int decode_known(const uint8_t *bytes, size_t len, struct layout_header *head,
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

/* What came of trying one kind of machine after the other. */
struct trial {
	bool strict;
	struct layout_header best;      /* the one that is as long as the file, else the first */
	unsigned found, exact;
	bool contradicted;              /* one is as long as the file, but does not look right */
	bool truncated;                 /* one would be it, were the file longer */
	struct reason names, why;       /* of those possible; of the first that was not */
};

/* Are the last values texts?  They follow the time, and so begin with a piece of something else
 * in the wrong form.  No rule of the format, but so it is in all but odd files. */
static bool looks_right(const struct layout_header *head, const uint8_t *bytes)
{
	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		const uint8_t *last_ds = pdp_prep_of(head, bytes, i);

		if (!*last_ds)
			return false;
		for (; *last_ds; last_ds++)
			if (*last_ds < ' ' || *last_ds > '~')
				return false;
	}
	return true;
}

/* -errno ends it. */
static int try_form(struct trial *trial, const struct layout_form *form, const uint8_t *bytes,
		    size_t len, uint64_t file_size)
{
	struct layout_header head;
	struct reason ignored, *keep = trial->why.text[0] ? &ignored : &trial->why;

	if (!has_cookie(form, bytes, len) || !count_as(form, bytes, len, &head) ||
	    measure_as(form, bytes, len, file_size, &head, &trial->why))
		return 0;
	int r = decode_known(bytes, len, &head, keep);
	if (r)
		return r < 0 ? r : 0;
	bool exact = head.file_size == file_size;
	if (trial->strict && !head.native && !looks_right(&head, bytes)) {
		trial->contradicted |= exact;
		if (exact)
			reason_add(&trial->names, "%s", form->name);
		goto not_it;
	}
	if (head.file_size > file_size) {
		reason_set(&trial->why, "is truncated: %llu bytes of %llu",
			   (unsigned long long)file_size, (unsigned long long)head.file_size);
		trial->truncated = true;
		goto not_it;
	}
	reason_add(&trial->names, "%s", form->name);
	if (trial->found++ && !exact)
		goto not_it;
	trial->exact += exact;
	layout_free(&trial->best);
	trial->best = head;
	return 0;
not_it:
	layout_free(&head);
	return 0;
}

static int try_forms(struct trial *trial, bool strict, const uint8_t *bytes, size_t len,
		     uint64_t file_size)
{
	int r = 0;

	*trial = (struct trial){ .strict = strict };
	for (size_t i = 0; i < FORMS && !r; i++)
		r = try_form(trial, &forms[i], bytes, len, file_size);
	return r;
}

static int decode_all(const uint8_t *bytes, size_t len, uint64_t file_size,
		      struct layout_header *ret, struct reason *why)
{
	struct trial trial;
	int r = try_forms(&trial, true, bytes, len, file_size);

	if (!r && !trial.found && !trial.truncated)
		r = try_forms(&trial, false, bytes, len, file_size);
	bool one = trial.exact == 1 || (trial.found == 1 && !trial.exact);
	if (!r && one && !trial.contradicted) {
		*ret = trial.best;
		return 0;
	}
	layout_free(&trial.best);
	if (r || !trial.found)
		reason_set(why, "%s", trial.why.text);
	else
		reason_set(why, "could be of more than one kind of machine, and its length %s (%s); "
			   "take the output of \"rrdtool dump\" there instead",
			   trial.contradicted ? "is one's and its last values are another's"
					      : "does not tell which", trial.names.text);
	return r ? r : REFUSED;
}

int layout_decode(const uint8_t *bytes, size_t len, struct layout_header *head,
		  struct reason *why)
{
	return head->form ? decode_known(bytes, len, head, why)
			  : decode_all(bytes, len, head->file_size, head, why);
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
	return pdp_prep_of(head, bytes, ds) + pdp_prep_size(head->form) - PAR_SIZE +
	       scratch * 8u;
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
