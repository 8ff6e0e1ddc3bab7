#include "config.h"
#include "consolidate.h"

#include <math.h>

bool consolidate_does(enum layout_cf cf)
{
	return cf == CF_AVERAGE || cf == CF_MIN || cf == CF_MAX || cf == CF_LAST;
}

struct consolidate_row consolidate_begin(enum layout_cf cf)
{
	return (struct consolidate_row){ .cf = cf, .value = NAN };
}

struct consolidate_row consolidate_open(const struct rrd *db, uint64_t rra, uint64_t ds)
{
	const struct layout_header *head = &db->head;
	uint64_t elapsed = (uint64_t)(head->last_up - rrd_newest(db, rra)) / head->step;
	uint64_t unknown = layout_cdp_count(head, db->bytes, rra, ds, CDP_UNKN_PDP_CNT);
	struct consolidate_row row = consolidate_begin(head->rra[rra].cf);

	row.unknown = unknown < elapsed ? unknown : elapsed;
	row.known = elapsed - row.unknown;
	/* Where none is known, it holds what the function begins with: 0, an infinity. */
	if (row.known)
		row.value = layout_cdp_double(head, db->bytes, rra, ds, CDP_VAL);
	return row;
}

void consolidate_add(struct consolidate_row *row, double value, uint64_t weight)
{
	if (isnan(value)) {
		row->unknown += weight;
		/* LAST is the last, whatever came before. */
		if (row->cf == CF_LAST)
			row->value = NAN;
		return;
	}
	row->known += weight;
	if (row->cf == CF_AVERAGE)
		row->value = (isnan(row->value) ? 0 : row->value) + value * (double)weight;
	else if (isnan(row->value) || row->cf == CF_LAST)
		row->value = value;
	else if (row->cf == CF_MIN ? value < row->value : value > row->value)
		row->value = value;
}

double consolidate_end(const struct consolidate_row *row, double xff)
{
	uint64_t all = row->known + row->unknown;

	if ((double)row->unknown > (double)all * xff || !row->known)
		return NAN;
	return row->cf == CF_AVERAGE ? row->value / (double)row->known : row->value;
}

int64_t consolidate_open_pdp(const struct rrd *db, int64_t step)
{
	return db->head.last_up - db->head.last_up % step + step;
}

double consolidate_last_pdp(const struct rrd *db, uint64_t ds)
{
	const struct layout_header *head = &db->head;
	const struct layout_ds *def = &head->ds[ds];
	/* A second begun counts: the rest of the PDP is cut down to whole ones (process_arg). */
	uint64_t elapsed = (uint64_t)head->last_up % head->step + (head->last_up_usec > 0);
	double value = layout_pdp_double(head, db->bytes, ds, PDP_VAL);
	uint64_t unknown = layout_pdp_count(head, db->bytes, ds, PDP_UNKN_SEC_CNT);

	if (def->type == DST_COMPUTE || isnan(value) || elapsed >= head->step ||
	    elapsed <= unknown || (double)unknown > (double)head->step / 2 ||
	    head->step - elapsed > def->heartbeat)
		return NAN;
	return value / (double)(elapsed - unknown);
}
