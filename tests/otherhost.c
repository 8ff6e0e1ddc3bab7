#include "config.h"

#include "otherhost.h"

#include <stdlib.h>
#include <string.h>

#include "oracle.h"

const struct otherhost otherhosts[] = {
	{ "amd64", 8, 8, 8, false },
	{ "s390x", 8, 8, 8, true },
	{ "armel", 4, 4, 8, false },
	{ "armhf-t64", 4, 8, 8, false },
	{ "powerpc", 4, 4, 8, true },
	{ "powerpc-t64", 4, 8, 8, true },
	{ "i386", 4, 4, 4, false },
	{ "i386-t64", 4, 8, 4, false },
	{ "aix", 4, 4, 4, true },
	{ "aix-t64", 4, 8, 4, true },
};
const unsigned otherhost_count = sizeof(otherhosts) / sizeof(otherhosts[0]);

struct output {
	const struct otherhost *host;
	uint64_t *random_state;
	uint8_t *bytes;
	size_t size, capacity;
	size_t begin;           /* of the structure */
	unsigned strictest;     /* alignment of a field of it so far */
	bool overflow;
};

const struct otherhost *otherhost_find(const char *name)
{
	for (unsigned i = 0; i < otherhost_count; i++)
		if (!strcmp(otherhosts[i].name, name))
			return &otherhosts[i];
	return NULL;
}

/* ---- fields ---- */

static uint8_t *grow(struct output *to, size_t by)
{
	if (to->size + by > to->capacity) {
		to->capacity = (to->size + by) * 2;
		to->bytes = realloc(to->bytes, to->capacity);
		if (!to->bytes)
			oracle_die("out of memory");
	}
	to->size += by;
	return to->bytes + to->size - by;
}

static void pad_to(struct output *to, unsigned alignment)
{
	while ((to->size - to->begin) % alignment)
		*grow(to, 1) = (uint8_t)oracle_random(to->random_state);
	if (alignment > to->strictest)
		to->strictest = alignment;
}

static void begin_struct(struct output *to)
{
	to->begin = to->size;
	to->strictest = 1;
}

static void end_struct(struct output *to)
{
	pad_to(to, to->strictest);
}

static void put_chars(struct output *to, const char *chars, size_t n)
{
	memcpy(grow(to, n), chars, n);
}

static void store(const struct output *to, uint8_t *at, uint64_t value, unsigned size)
{
	for (unsigned i = 0; i < size; i++) {
		unsigned shift = 8 * (to->host->big_endian ? size - 1 - i : i);

		at[i] = (uint8_t)(value >> shift);
	}
}

static void put_integer(struct output *to, uint64_t value, unsigned size, unsigned alignment)
{
	if (size == 4 && value > UINT32_MAX)
		to->overflow = true;
	pad_to(to, alignment);
	store(to, grow(to, size), value, size);
}

static void put_long(struct output *to, uint64_t value)
{
	put_integer(to, value, to->host->size_of_long, to->host->size_of_long);
}

static void put_time(struct output *to, time_t value)
{
	unsigned size = to->host->size_of_time;

	if (size == 4 && (int32_t)value != value)
		to->overflow = true;
	put_integer(to, (uint64_t)value, size, size == 8 ? to->host->double_at : 4);
}

static void put_double(struct output *to, double value)
{
	uint64_t bits;

	memcpy(&bits, &value, sizeof(bits));
	put_integer(to, bits, 8, to->host->double_at);
}

/* An integer in a union with a double. */
static void put_union_long(struct output *to, uint64_t value)
{
	unsigned size = to->host->size_of_long;

	pad_to(to, to->host->double_at);
	if (size == 4 && value > UINT32_MAX)
		to->overflow = true;
	uint8_t *at = grow(to, 8);
	for (unsigned i = 0; i < 8; i++)
		at[i] = (uint8_t)oracle_random(to->random_state);
	store(to, at, value, size);
}

/* ---- structures (rrdtool src/rrd_format.h) ---- */

static void put_stat_head(struct output *to, const stat_head_t *head)
{
	begin_struct(to);
	put_chars(to, head->cookie, sizeof(head->cookie));
	put_chars(to, head->version, sizeof(head->version));
	put_double(to, head->float_cookie);
	put_long(to, head->ds_cnt);
	put_long(to, head->rra_cnt);
	put_long(to, head->pdp_step);
	for (int i = 0; i < 10; i++)
		put_double(to, head->par[i].u_val);
	end_struct(to);
}

static void put_ds_def(struct output *to, const ds_def_t *ds)
{
	begin_struct(to);
	put_chars(to, ds->ds_nam, sizeof(ds->ds_nam));
	put_chars(to, ds->dst, sizeof(ds->dst));
	pad_to(to, to->host->double_at);
	if (!strcmp(ds->dst, "COMPUTE")) {
		const uint8_t *node = (const void *)ds->par;

		/* struct { char op; short val; }, twenty times. */
		for (int i = 0; i < 20; i++, node += 4) {
			uint8_t *at = grow(to, 4);
			short val;

			memcpy(&val, node + 2, sizeof(val));
			at[0] = node[0];
			at[1] = (uint8_t)oracle_random(to->random_state);
			store(to, at + 2, (uint16_t)val, 2);
		}
	} else {
		for (int i = 0; i < 10; i++)
			if (i == DS_mrhb_cnt)
				put_union_long(to, ds->par[i].u_cnt);
			else
				put_double(to, ds->par[i].u_val);
	}
	end_struct(to);
}

/* Which parameters are integers depends on the function; for others they are 0. */
static bool is_rra_integer(const char *cf, int i)
{
	if (!strcmp(cf, "AVERAGE") || !strcmp(cf, "MIN") || !strcmp(cf, "MAX") ||
	    !strcmp(cf, "LAST"))
		return false;
	if (i == RRA_dependent_rra_idx)
		return true;
	if (!strcmp(cf, "FAILURES"))
		return i == RRA_window_len || i == RRA_failure_threshold;
	/* rrd_create keeps RRA_period as a double. */
	return i == RRA_seasonal_smooth_idx && strstr(cf, "SEASONAL");
}

static void put_rra_def(struct output *to, const rra_def_t *rra)
{
	begin_struct(to);
	put_chars(to, rra->cf_nam, sizeof(rra->cf_nam));
	put_long(to, rra->row_cnt);
	put_long(to, rra->pdp_cnt);
	for (int i = 0; i < 10; i++)
		if (is_rra_integer(rra->cf_nam, i))
			put_union_long(to, rra->par[i].u_cnt);
		else
			put_double(to, rra->par[i].u_val);
	end_struct(to);
}

static void put_pdp_prep(struct output *to, const pdp_prep_t *pdp)
{
	begin_struct(to);
	put_chars(to, pdp->last_ds, sizeof(pdp->last_ds));
	for (int i = 0; i < 10; i++)
		if (i == PDP_unkn_sec_cnt)
			put_union_long(to, pdp->scratch[i].u_cnt);
		else
			put_double(to, pdp->scratch[i].u_val);
	end_struct(to);
}

static bool is_cdp_integer(const char *cf, int i)
{
	if (i == CDP_unkn_pdp_cnt)
		return true;
	return (i == CDP_null_count || i == CDP_last_null_count) &&
	       (strstr(cf, "PREDICT") || strstr(cf, "SEASONAL"));
}

static void put_cdp_prep(struct output *to, const cdp_prep_t *cdp, const char *cf)
{
	/* Chars, as many as the window is long. */
	int chars = strcmp(cf, "FAILURES") ? 0 : MAX_CDP_FAILURES_IDX;

	begin_struct(to);
	put_chars(to, (const char *)cdp->scratch, (size_t)chars * 8);
	for (int i = chars; i < 10; i++)
		if (is_cdp_integer(cf, i))
			put_union_long(to, cdp->scratch[i].u_cnt);
		else
			put_double(to, cdp->scratch[i].u_val);
	end_struct(to);
}

/* ---- the file ---- */

/* Before version 3 it is a bare time_t.  Returns how many bytes it has here. */
static size_t put_live_head(struct output *to, const uint8_t *at, bool bare)
{
	live_head_t live = { .last_up = 0 };
	size_t size = bare ? sizeof(live.last_up) : sizeof(live);

	memcpy(&live, at, size);
	begin_struct(to);
	put_time(to, live.last_up);
	if (!bare)
		put_long(to, (uint64_t)live.last_up_usec);
	end_struct(to);
	return size;
}

uint8_t *otherhost_write(const struct otherhost *host, const uint8_t *bytes, uint64_t *random_state,
			 size_t *ret_size)
{
	struct output to = { .host = host, .random_state = random_state };
	const stat_head_t *stat = (const void *)bytes;
	const ds_def_t *ds = (const void *)(stat + 1);
	const rra_def_t *rra = (const void *)(ds + stat->ds_cnt);
	const uint8_t *live = (const void *)(rra + stat->rra_cnt);

	put_stat_head(&to, stat);
	for (unsigned long i = 0; i < stat->ds_cnt; i++)
		put_ds_def(&to, &ds[i]);
	for (unsigned long i = 0; i < stat->rra_cnt; i++)
		put_rra_def(&to, &rra[i]);
	live += put_live_head(&to, live, atoi(stat->version) < 3);
	const pdp_prep_t *pdp = (const void *)live;
	for (unsigned long i = 0; i < stat->ds_cnt; i++)
		put_pdp_prep(&to, &pdp[i]);
	const cdp_prep_t *cdp = (const void *)(pdp + stat->ds_cnt);
	for (unsigned long i = 0; i < stat->rra_cnt; i++)
		for (unsigned long n = 0; n < stat->ds_cnt; n++)
			put_cdp_prep(&to, cdp++, rra[i].cf_nam);
	const rra_ptr_t *ptr = (const void *)cdp;
	begin_struct(&to);
	for (unsigned long i = 0; i < stat->rra_cnt; i++)
		put_long(&to, ptr[i].cur_row);
	const double *cell = (const void *)(ptr + stat->rra_cnt);
	for (unsigned long i = 0; i < stat->rra_cnt; i++)
		for (unsigned long n = 0; n < rra[i].row_cnt * stat->ds_cnt; n++) {
			uint64_t bits;

			memcpy(&bits, cell++, sizeof(bits));
			store(&to, grow(&to, 8), bits, 8);      /* the header pads nothing here */
		}
	if (to.overflow) {
		free(to.bytes);
		return NULL;
	}
	*ret_size = to.size;
	return to.bytes;
}
