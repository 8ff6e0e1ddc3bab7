#include "config.h"
#include "native.h"

#include <limits.h>
#include <stdio.h>
#include <time.h>

#define FLOAT_COOKIE 8.642135E130

/* rrdtool's structures (src/rrd_format.h), laid out by this machine's compiler as it would lay
 * out rrdtool's own. */

union value {
	unsigned long count;
	double value;
};

struct stat_head {
	char cookie[4];
	char version[5];
	double float_cookie;
	unsigned long ds_cnt, rra_cnt, step;
	union value par[NATIVE_PARS];
};

struct ds_def {
	char name[NATIVE_NAME_SIZE], type[NATIVE_NAME_SIZE];
	union value par[NATIVE_PARS];
};

struct rra_def {
	char cf[NATIVE_NAME_SIZE];
	unsigned long row_cnt, pdp_cnt;
	union value par[NATIVE_PARS];
};

struct live_head {
	time_t last_up;
	long last_up_usec;
};

struct pdp_prep {
	char last_ds[NATIVE_LAST_DS_SIZE];
	union value scratch[NATIVE_PARS];
};

struct cdp_prep {
	union value scratch[NATIVE_PARS];
};

struct rra_ptr {
	unsigned long cur_row;
};

struct node {
	char op;
	short val;
};

_Static_assert(sizeof(union value) == sizeof(uint64_t), "eight bytes each");
_Static_assert(sizeof(struct node) == 4, "twenty nodes in eighty bytes");

/* ---- places ---- */

static size_t live_head_size(const struct native_head *head)
{
	return head->version < 3 ? sizeof(time_t) : sizeof(struct live_head);
}

static size_t at_ds_def(uint64_t ds)
{
	return sizeof(struct stat_head) + (size_t)ds * sizeof(struct ds_def);
}

static size_t at_rra_def(const struct native_head *head, uint64_t rra)
{
	return at_ds_def(head->ds_cnt) + (size_t)rra * sizeof(struct rra_def);
}

static size_t at_live_head(const struct native_head *head)
{
	return at_rra_def(head, head->rra_cnt);
}

static size_t at_pdp_prep(const struct native_head *head, uint64_t ds)
{
	return at_live_head(head) + live_head_size(head) + (size_t)ds * sizeof(struct pdp_prep);
}

static size_t at_cdp_prep(const struct native_head *head, uint64_t rra, uint64_t ds)
{
	return at_pdp_prep(head, head->ds_cnt) +
	       (size_t)(rra * head->ds_cnt + ds) * sizeof(struct cdp_prep);
}

static size_t at_rra_ptr(const struct native_head *head, uint64_t rra)
{
	return at_cdp_prep(head, head->rra_cnt, 0) + (size_t)rra * sizeof(struct rra_ptr);
}

/* ---- sizes ---- */

static bool add(uint64_t *size, uint64_t count, uint64_t each)
{
	uint64_t bytes, sum;

	if (__builtin_mul_overflow(count, each, &bytes) ||
	    __builtin_add_overflow(*size, bytes, &sum))
		return false;
	*size = sum;
	return true;
}

bool native_header_size(const struct native_head *head, uint64_t *ret_size)
{
	uint64_t cells, size = sizeof(struct stat_head) + live_head_size(head);

	if (head->ds_cnt > ULONG_MAX || head->rra_cnt > ULONG_MAX || head->step > ULONG_MAX ||
	    (int64_t)(time_t)head->last_up != head->last_up ||
	    (int64_t)(long)head->last_up_usec != head->last_up_usec ||
	    __builtin_mul_overflow(head->ds_cnt, head->rra_cnt, &cells) ||
	    !add(&size, head->ds_cnt, sizeof(struct ds_def) + sizeof(struct pdp_prep)) ||
	    !add(&size, head->rra_cnt, sizeof(struct rra_def) + sizeof(struct rra_ptr)) ||
	    !add(&size, cells, sizeof(struct cdp_prep)))
		return false;
	*ret_size = size;
	return true;
}

bool native_add_rows(uint64_t *size, uint64_t row_cnt, uint64_t ds_cnt)
{
	uint64_t cells;

	return !__builtin_mul_overflow(row_cnt, ds_cnt, &cells) &&
	       add(size, cells, sizeof(double));
}

/* ---- pieces ---- */

void native_put_node(uint64_t *par, unsigned n, uint8_t op, int16_t val)
{
	struct node node;

	memset(&node, 0, sizeof(node));
	node.op = (char)op;
	node.val = val;
	memcpy((uint8_t *)par + n * sizeof(node), &node, sizeof(node));
}

/* Each structure is cleared whole first: rrdtool writes what lies between the fields, too. */

void native_put_head(uint8_t *bytes, const struct native_head *head)
{
	struct stat_head stat;
	struct live_head live;

	memset(&stat, 0, sizeof(stat));
	memset(&live, 0, sizeof(live));
	memcpy(stat.cookie, "RRD", 4);
	snprintf(stat.version, sizeof(stat.version), "%04u", head->version % 10000);
	stat.float_cookie = FLOAT_COOKIE;
	stat.ds_cnt = (unsigned long)head->ds_cnt;
	stat.rra_cnt = (unsigned long)head->rra_cnt;
	stat.step = (unsigned long)head->step;
	memcpy(stat.par, head->par, sizeof(stat.par));
	memcpy(bytes, &stat, sizeof(stat));
	live.last_up = (time_t)head->last_up;
	live.last_up_usec = (long)head->last_up_usec;
	/* Where it is bare, it is the first field. */
	memcpy(bytes + at_live_head(head), &live, live_head_size(head));
}

void native_put_ds(uint8_t *bytes, const struct native_head *head, uint64_t ds,
		   const struct native_ds *value)
{
	struct ds_def def;
	struct pdp_prep prep;

	memset(&def, 0, sizeof(def));
	memset(&prep, 0, sizeof(prep));
	memcpy(def.name, value->name, sizeof(def.name));
	memcpy(def.type, value->type, sizeof(def.type));
	memcpy(def.par, value->par, sizeof(def.par));
	memcpy(bytes + at_ds_def(ds), &def, sizeof(def));
	memcpy(prep.last_ds, value->last_ds, sizeof(prep.last_ds));
	memcpy(prep.scratch, value->pdp, sizeof(prep.scratch));
	memcpy(bytes + at_pdp_prep(head, ds), &prep, sizeof(prep));
}

void native_put_rra(uint8_t *bytes, const struct native_head *head, uint64_t rra,
		    const struct native_rra *value)
{
	struct rra_def def;
	struct rra_ptr ptr = { (unsigned long)value->cur_row };

	memset(&def, 0, sizeof(def));
	memcpy(def.cf, value->cf, sizeof(def.cf));
	def.row_cnt = (unsigned long)value->row_cnt;
	def.pdp_cnt = (unsigned long)value->pdp_cnt;
	memcpy(def.par, value->par, sizeof(def.par));
	memcpy(bytes + at_rra_def(head, rra), &def, sizeof(def));
	memcpy(bytes + at_rra_ptr(head, rra), &ptr, sizeof(ptr));
}

void native_put_cdp(uint8_t *bytes, const struct native_head *head, uint64_t rra, uint64_t ds,
		    const uint64_t scratch[NATIVE_PARS])
{
	struct cdp_prep prep;

	memcpy(prep.scratch, scratch, sizeof(prep.scratch));
	memcpy(bytes + at_cdp_prep(head, rra, ds), &prep, sizeof(prep));
}
