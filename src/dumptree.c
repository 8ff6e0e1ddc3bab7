#include "config.h"
#include "dumpint.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "dump.h"
#include "rpn.h"

#define HISTORY_MAX 28          /* rrdtool's MAX_FAILURES_WINDOW_LEN */
#define ROWS_ROOM 65536u        /* bytes, at first */

/* ---- the grammar ---- */

enum kind { OPENS, REAL, COUNT, TIME, TEXT };
/* PLAIN: a data source that is not computed; one of the four consolidations that everybody uses.
 * COMPUTED: a COMPUTE data source. */
enum need { MAY, MUST, PLAIN, COMPUTED };
enum { T_VERSION, T_NAME, T_TYPE, T_CDEF, T_LAST_DS, T_CF, T_HISTORY };       /* texts */

#define PDP NATIVE_PARS         /* of a <ds>: parameters, then scratch */
#define MANY 1

struct dump_element {
	enum dump_place in;
	const char *name;
	enum kind kind;
	unsigned to;            /* OPENS: which place; else which value there */
	enum need need;
	unsigned many;
};

/* The indices of values are those of rrdtool's src/rrd_format.h.  What comes most stands first. */
static const struct dump_element elements[] = {
	{ DUMP_ROW, "v", REAL, 0, MAY, MANY },
	{ DUMP_DATABASE, "row", OPENS, DUMP_ROW, MUST, MANY },

	{ DUMP_CDP, "primary_value", REAL, 8, MAY, 0 },
	{ DUMP_CDP, "secondary_value", REAL, 9, MAY, 0 },
	{ DUMP_CDP, "value", REAL, 0, PLAIN, 0 },
	{ DUMP_CDP, "unknown_datapoints", COUNT, 1, PLAIN, 0 },
	{ DUMP_CDP, "intercept", REAL, 2, MAY, 0 },
	{ DUMP_CDP, "last_intercept", REAL, 3, MAY, 0 },
	{ DUMP_CDP, "slope", REAL, 4, MAY, 0 },
	{ DUMP_CDP, "last_slope", REAL, 5, MAY, 0 },
	{ DUMP_CDP, "nan_count", COUNT, 6, MAY, 0 },
	{ DUMP_CDP, "last_nan_count", COUNT, 7, MAY, 0 },
	{ DUMP_CDP, "seasonal", REAL, 2, MAY, 0 },
	{ DUMP_CDP, "last_seasonal", REAL, 3, MAY, 0 },
	{ DUMP_CDP, "init_flag", COUNT, 6, MAY, 0 },
	{ DUMP_CDP, "history", TEXT, T_HISTORY, MAY, 0 },
	{ DUMP_CDP_PREP, "ds", OPENS, DUMP_CDP, MUST, MANY },

	{ DUMP_RRA, "cf", TEXT, T_CF, MUST, 0 },
	{ DUMP_RRA, "pdp_per_row", COUNT, 0, MUST, 0 },
	{ DUMP_RRA, "xff", REAL, 0, MAY, 0 },
	{ DUMP_RRA, "params", OPENS, DUMP_PARAMS, MAY, 0 },
	{ DUMP_RRA, "cdp_prep", OPENS, DUMP_CDP_PREP, MUST, 0 },
	{ DUMP_RRA, "database", OPENS, DUMP_DATABASE, MUST, 0 },

	{ DUMP_PARAMS, "xff", REAL, 0, MAY, 0 },
	{ DUMP_PARAMS, "hw_alpha", REAL, 1, MAY, 0 },
	{ DUMP_PARAMS, "hw_beta", REAL, 2, MAY, 0 },
	{ DUMP_PARAMS, "dependent_rra_idx", COUNT, 3, MAY, 0 },
	{ DUMP_PARAMS, "seasonal_gamma", REAL, 1, MAY, 0 },
	{ DUMP_PARAMS, "smoothing_window", REAL, 2, MAY, 0 },
	{ DUMP_PARAMS, "seasonal_smooth_idx", COUNT, 4, MAY, 0 },
	{ DUMP_PARAMS, "delta_pos", REAL, 1, MAY, 0 },
	{ DUMP_PARAMS, "delta_neg", REAL, 2, MAY, 0 },
	{ DUMP_PARAMS, "window_len", COUNT, 4, MAY, 0 },
	{ DUMP_PARAMS, "failure_threshold", COUNT, 5, MAY, 0 },

	{ DUMP_DS, "name", TEXT, T_NAME, MUST, 0 },
	{ DUMP_DS, "type", TEXT, T_TYPE, MUST, 0 },
	{ DUMP_DS, "minimal_heartbeat", COUNT, 0, PLAIN, 0 },
	{ DUMP_DS, "min", REAL, 1, PLAIN, 0 },
	{ DUMP_DS, "max", REAL, 2, PLAIN, 0 },
	{ DUMP_DS, "cdef", TEXT, T_CDEF, COMPUTED, 0 },
	{ DUMP_DS, "last_ds", TEXT, T_LAST_DS, MUST, 0 },
	{ DUMP_DS, "value", REAL, PDP + PDP_VAL, MUST, 0 },
	{ DUMP_DS, "unknown_sec", COUNT, PDP + PDP_UNKN_SEC_CNT, MUST, 0 },

	{ DUMP_RRD, "version", TEXT, T_VERSION, MUST, 0 },
	{ DUMP_RRD, "step", COUNT, 0, MUST, 0 },
	{ DUMP_RRD, "lastupdate", TIME, 0, MUST, 0 },
	{ DUMP_RRD, "ds", OPENS, DUMP_DS, MUST, MANY },
	{ DUMP_RRD, "rra", OPENS, DUMP_RRA, MUST, MANY },
	{ DUMP_FILE, "rrd", OPENS, DUMP_RRD, MUST, 0 },
};

#define ELEMENTS (sizeof(elements) / sizeof(elements[0]))
_Static_assert(ELEMENTS <= 64, "a bit of `seen` each");

static const char *const place_names[] = {
	"the file", "rrd", "ds", "rra", "params", "cdp_prep", "ds of a cdp_prep", "database", "row"
};

static const enum dump_place outside[] = {
	DUMP_FILE, DUMP_FILE, DUMP_RRD, DUMP_RRD, DUMP_RRA, DUMP_RRA, DUMP_CDP_PREP, DUMP_RRA,
	DUMP_DATABASE
};

static uint64_t bit(const struct dump_element *element)
{
	return UINT64_C(1) << (element - elements);
}

static const struct dump_element *find(enum dump_place place, const char *name)
{
	for (size_t i = 0; i < ELEMENTS; i++)
		if (elements[i].in == place && !strcmp(elements[i].name, name))
			return &elements[i];
	return NULL;
}

/* ---- when something is wrong ---- */

static void stop(struct dump_tree *tree, int error)
{
	tree->error = error;
	XML_StopParser(tree->xml, XML_FALSE);
}

static void refuse(struct dump_tree *tree, const char *format, ...)
	__attribute__((format(printf, 2, 3)));
static void refuse(struct dump_tree *tree, const char *format, ...)
{
	char text[200];
	va_list args;

	if (tree->error)
		return;
	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	reason_set(tree->why, "is a damaged dump, line %lu: %s",
		   (unsigned long)XML_GetCurrentLineNumber(tree->xml), text);
	stop(tree, REFUSED);
}

/* A name or a value to be shown: cut, and nothing that a terminal or a log would take ill. */
static const char *shown(const char *text, char buffer[32])
{
	size_t i = 0;

	for (; text[i] && i < 31; i++)
		buffer[i] = text[i];
	buffer[i] = '\0';
	for (i = 0; buffer[i]; i++)
		if (buffer[i] < ' ' || buffer[i] > '~')
			buffer[i] = '?';
	return buffer;
}

/* ---- room ---- */

int dump_reserve(struct rrd *db, uint64_t size)
{
	uint64_t room = db->capacity + db->capacity / 2;

	if (size <= db->capacity)
		return 0;
	if (room < size)
		room = size;
	if (room < ROWS_ROOM)
		room = ROWS_ROOM;
	uint8_t *grown = realloc(db->bytes, (size_t)room);
	if (!grown)
		return -ENOMEM;
	db->bytes = grown;
	db->capacity = (size_t)room;
	return 0;
}

/* One more of `size` bytes in *array, which has `count`. */
static bool grow(struct dump_tree *tree, void *array, size_t *room, uint64_t count, size_t size)
{
	void **at = array;

	if (count == *room) {
		size_t more = *room ? *room * 2 : 8;
		void *grown = reallocarray(*at, more, size);

		if (!grown) {
			reason_errno(tree->why, ENOMEM, "cannot be read");
			stop(tree, -ENOMEM);
			return false;
		}
		*at = grown;
		*room = more;
	}
	memset((char *)*at + count * size, 0, size);
	return true;
}

uint64_t dump_tree_size(const struct dump_tree *tree)
{
	return tree->cells * sizeof(double) + tree->cdps * sizeof(*tree->cdp) +
	       tree->head.ds_cnt * sizeof(*tree->ds) + tree->head.rra_cnt * sizeof(*tree->rra);
}

static bool is_bounded(struct dump_tree *tree)
{
	if (dump_tree_size(tree) <= RRD_SIZE_MAX)
		return true;
	refuse(tree, "the database is too large");
	return false;
}

/* ---- values ---- */

static struct native_ds *this_ds(const struct dump_tree *tree)
{
	return &tree->ds[tree->head.ds_cnt - 1];
}

static struct native_rra *this_rra(const struct dump_tree *tree)
{
	return &tree->rra[tree->head.rra_cnt - 1];
}

static uint64_t *slot(struct dump_tree *tree, const struct dump_element *element)
{
	struct native_ds *ds;

	switch (element->in) {
	case DUMP_RRD:
		return &tree->head.step;
	case DUMP_DS:
		ds = this_ds(tree);
		return element->to < PDP ? &ds->par[element->to] : &ds->pdp[element->to - PDP];
	case DUMP_RRA:
		return element->kind == COUNT ? &this_rra(tree)->pdp_cnt : this_rra(tree)->par;
	case DUMP_PARAMS:
		return &this_rra(tree)->par[element->to];
	default:
		return &tree->cdp[tree->cdps - 1][element->to];
	}
}

static void put_cell(struct dump_tree *tree, double value)
{
	if (tree->in_row == tree->head.ds_cnt) {
		refuse(tree, "more values in a row than data sources (%llu)",
		       (unsigned long long)tree->head.ds_cnt);
		return;
	}
	size_t at = tree->cells - (size_t)(tree->head.ds_cnt - tree->in_row++);
	memcpy(tree->db->bytes + at * sizeof(value), &value, sizeof(value));
}

static bool is_dst(const char *name)
{
	for (int i = 0; i <= DST_DDERIVE; i++)
		if (!strcmp(name, layout_dst_name((enum layout_dst)i)))
			return true;
	return false;
}

static bool is_cf(const char *name)
{
	for (int i = 0; i <= CF_MHWPREDICT; i++)
		if (!strcmp(name, layout_cf_name((enum layout_cf)i)))
			return true;
	return false;
}

/* False: it does not fit. */
static bool put_text(struct dump_tree *tree, char *to, size_t size)
{
	if (tree->word_len >= size)
		return false;
	memcpy(to, tree->word, tree->word_len + 1);
	return true;
}

static bool put_version(struct dump_tree *tree)
{
	uint64_t version;

	if (!dump_count(tree->word, &version) || version < 1)
		return false;
	if (version > 5) {
		refuse(tree, "RRD version %.4s; versions 0001 to 0005 are known", tree->word);
		return true;
	}
	/* As restore does; the older ones differ in how the last update is kept. */
	tree->head.version = version < 3 ? 3 : (unsigned)version;
	return true;
}

static bool put_word(struct dump_tree *tree, unsigned what)
{
	struct native_ds *ds = tree->place == DUMP_DS ? this_ds(tree) : NULL;

	switch (what) {
	case T_VERSION:
		return put_version(tree);
	case T_NAME:
		return tree->word_len && put_text(tree, ds->name, sizeof(ds->name));
	case T_TYPE:
		return is_dst(tree->word) && put_text(tree, ds->type, sizeof(ds->type));
	case T_CDEF:
		return put_text(tree, tree->cdef, sizeof(tree->cdef));
	case T_LAST_DS:
		return put_text(tree, ds->last_ds, sizeof(ds->last_ds));
	case T_CF:
		return is_cf(tree->word) &&
		       put_text(tree, this_rra(tree)->cf, sizeof(this_rra(tree)->cf));
	default:
		for (size_t i = 0; i < tree->word_len && i < HISTORY_MAX; i++)
			((uint8_t *)tree->cdp[tree->cdps - 1])[i] = tree->word[i] == '1';
		return true;
	}
}

static void finish_leaf(struct dump_tree *tree)
{
	const struct dump_element *element = tree->leaf;
	double value;
	uint64_t count;
	bool good;
	char text[32];

	tree->leaf = NULL;
	while (tree->word_len && strchr(" \t\r\n", tree->word[tree->word_len - 1]))
		tree->word_len--;
	tree->word[tree->word_len] = '\0';
	switch (element->kind) {
	case REAL:
		good = dump_real(tree->word, &value);
		if (good && element->in == DUMP_ROW)
			put_cell(tree, value);
		else if (good)
			*slot(tree, element) = native_double(value);
		break;
	case COUNT:
		good = dump_count(tree->word, &count);
		/* Counts are 64 bits wide in a head, but as wide as a word in a union. */
		if (good && (element->in == DUMP_RRD || element->in == DUMP_RRA))
			*slot(tree, element) = count;
		else if (good)
			*slot(tree, element) = native_count(count);
		break;
	case TIME:
		good = dump_time(tree->word, &tree->head.last_up);
		break;
	default:
		good = put_word(tree, element->to);
	}
	if (!good)
		refuse(tree, "<%s> cannot be \"%s\"", element->name, shown(tree->word, text));
}

/* ---- elements that hold others ---- */

static void enter_ds(struct dump_tree *tree)
{
	if (tree->head.rra_cnt)
		refuse(tree, "a data source after the first RRA");
	else if (tree->head.ds_cnt == LAYOUT_DS_MAX)
		refuse(tree, "more than %d data sources", LAYOUT_DS_MAX);
	else if (grow(tree, &tree->ds, &tree->ds_room, tree->head.ds_cnt, sizeof(*tree->ds)))
		tree->head.ds_cnt++;
}

static void enter_rra(struct dump_tree *tree)
{
	if (!tree->head.ds_cnt)
		refuse(tree, "an RRA before the first data source");
	else if (tree->head.rra_cnt == LAYOUT_RRA_MAX)
		refuse(tree, "more than %d RRAs", LAYOUT_RRA_MAX);
	else if (grow(tree, &tree->rra, &tree->rra_room, tree->head.rra_cnt, sizeof(*tree->rra)))
		tree->head.rra_cnt++;
	tree->seen[DUMP_PARAMS] = 0;    /* it may have none */
}

static void enter_cdp(struct dump_tree *tree)
{
	if (!this_rra(tree)->cf[0])
		refuse(tree, "<cdp_prep> before <cf>");
	else if (tree->in_prep == tree->head.ds_cnt)
		refuse(tree, "more <ds> in a <cdp_prep> than data sources");
	else if (is_bounded(tree) &&
		 grow(tree, &tree->cdp, &tree->cdp_room, tree->cdps, sizeof(*tree->cdp))) {
		tree->cdps++;
		tree->in_prep++;
	}
}

static void enter_row(struct dump_tree *tree)
{
	size_t cells = tree->cells + (size_t)tree->head.ds_cnt;

	if (!is_bounded(tree))
		return;
	int r = dump_reserve(tree->db, cells * sizeof(double));
	if (r) {
		reason_errno(tree->why, -r, "cannot be read");
		stop(tree, r);
		return;
	}
	tree->cells = cells;
	tree->in_row = 0;
	this_rra(tree)->row_cnt++;
}

static void enter(struct dump_tree *tree, enum dump_place place)
{
	tree->place = place;
	tree->seen[place] = 0;
	switch (place) {
	case DUMP_RRD:
		tree->begun = true;
		break;
	case DUMP_DS:
		enter_ds(tree);
		break;
	case DUMP_RRA:
		enter_rra(tree);
		break;
	case DUMP_CDP_PREP:
		tree->in_prep = 0;
		break;
	case DUMP_CDP:
		enter_cdp(tree);
		break;
	case DUMP_ROW:
		enter_row(tree);
		break;
	default:
		break;
	}
}

static bool is_computed(const struct dump_tree *tree)
{
	return !strcmp(this_ds(tree)->type, layout_dst_name(DST_COMPUTE));
}

/* One of the four consolidations that everybody uses. */
static bool is_plain(const struct dump_tree *tree)
{
	for (enum layout_cf cf = CF_AVERAGE; cf <= CF_LAST; cf++)
		if (!strcmp(this_rra(tree)->cf, layout_cf_name(cf)))
			return true;
	return false;
}

static bool is_needed(const struct dump_tree *tree, const struct dump_element *element)
{
	if (element->need != PLAIN && element->need != COMPUTED)
		return element->need == MUST;
	if (element->in == DUMP_DS)
		return is_computed(tree) == (element->need == COMPUTED);
	return is_plain(tree);
}

/* rrdtool 1.0 had it in the <rra> itself. */
static bool has_xff(const struct dump_tree *tree)
{
	return (tree->seen[DUMP_RRA] & bit(find(DUMP_RRA, "xff"))) ||
	       (tree->seen[DUMP_PARAMS] & bit(find(DUMP_PARAMS, "xff")));
}

/* True where all is there that must be. */
static bool is_whole(struct dump_tree *tree)
{
	if (tree->place == DUMP_ROW && tree->in_row == tree->head.ds_cnt)
		return true;    /* the most frequent by far */
	if (tree->place == DUMP_ROW)
		refuse(tree, "a row of %llu values for %llu data sources",
		       (unsigned long long)tree->in_row, (unsigned long long)tree->head.ds_cnt);
	if (tree->place == DUMP_CDP_PREP && tree->in_prep != tree->head.ds_cnt)
		refuse(tree, "a <cdp_prep> of %llu <ds> for %llu data sources",
		       (unsigned long long)tree->in_prep, (unsigned long long)tree->head.ds_cnt);
	for (const struct dump_element *e = elements; e < elements + ELEMENTS && !tree->error; e++)
		if (e->in == tree->place && !(tree->seen[e->in] & bit(e)) && is_needed(tree, e))
			refuse(tree, "no <%s> in %s", e->name, place_names[e->in]);
	if (tree->place == DUMP_RRA && !tree->error && is_plain(tree) && !has_xff(tree))
		refuse(tree, "no <xff> in %s", place_names[DUMP_RRA]);
	return !tree->error;
}

static void leave(struct dump_tree *tree)
{
	if (!is_whole(tree))
		return;
	/* Where the formula cannot be had, this data source is like no other; the rest goes on. */
	if (tree->place == DUMP_DS && is_computed(tree))
		rpn_compile(tree->cdef, tree->ds, tree->head.ds_cnt, this_ds(tree)->par);
	if (tree->place == DUMP_RRA)
		this_rra(tree)->cur_row = this_rra(tree)->row_cnt - 1;
	tree->place = outside[tree->place];
}

/* ---- what expat calls ---- */

static void refuse_root(struct dump_tree *tree, const char *name)
{
	char text[32];

	if (!strcmp(name, "NAGIOS"))
		reason_set(tree->why, "is a sidecar of pnp4nagios, not a dump of rrdtool");
	else
		reason_set(tree->why, "is no dump of rrdtool: it begins with <%s>",
			   shown(name, text));
	stop(tree, REFUSED);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
	struct dump_tree *tree = arg;
	char text[32];

	if (tree->error)
		return;
	const struct dump_element *element = tree->leaf ? NULL : find(tree->place, name);
	if (!element && tree->place == DUMP_FILE)
		refuse_root(tree, name);
	else if (!element)
		refuse(tree, "<%s> in %s%s", shown(name, text),
		       tree->leaf ? tree->leaf->name : place_names[tree->place],
		       tree->leaf ? "" : ", where it is not known");
	else if (!element->many && tree->seen[tree->place] & bit(element))
		refuse(tree, "<%s> twice in %s", element->name, place_names[tree->place]);
	else if (attributes[0] && element->in != DUMP_FILE)
		refuse(tree, "<%s> has attributes", element->name);
	if (tree->error)
		return;
	tree->seen[tree->place] |= bit(element);
	if (element->kind == OPENS) {
		enter(tree, (enum dump_place)element->to);
		return;
	}
	tree->leaf = element;
	tree->word_len = 0;
	tree->cut = false;
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
	struct dump_tree *tree = arg;

	(void)name;
	if (tree->error)
		return;
	if (tree->leaf)
		finish_leaf(tree);
	else
		leave(tree);
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
	struct dump_tree *tree = arg;

	if (tree->error)
		return;
	for (int i = 0; i < len; i++) {
		bool white = text[i] == ' ' || text[i] == '\t' || text[i] == '\n' ||
			     text[i] == '\r';

		if (white && (!tree->leaf || !tree->word_len || tree->cut))
			continue;
		if (!tree->leaf) {
			refuse(tree, "text in %s, where none belongs", place_names[tree->place]);
			return;
		}
		if (tree->cut) {
			refuse(tree, "a comment within the value of <%s>", tree->leaf->name);
			return;
		}
		if (tree->word_len == sizeof(tree->word) - 1) {
			refuse(tree, "<%s> is too long", tree->leaf->name);
			return;
		}
		tree->word[tree->word_len++] = text[i];
	}
}

/* What is on both sides of one is no value: which part would it be? */
static void XMLCALL on_comment(void *arg, const XML_Char *text)
{
	struct dump_tree *tree = arg;

	(void)text;
	tree->cut = tree->leaf && tree->word_len;
}

static void XMLCALL on_instruction(void *arg, const XML_Char *target, const XML_Char *text)
{
	(void)target;
	on_comment(arg, text);
}

static void XMLCALL on_cdata(void *arg)
{
	refuse(arg, "a CDATA section, which no dump has");
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
			       const XML_Char *public_id, int has_internal_subset)
{
	(void)name;
	(void)system_id;
	(void)public_id;
	if (has_internal_subset)
		refuse(arg, "declarations of its own, which no dump has");
}

static void XMLCALL on_entity(void *arg, const XML_Char *name, int is_parameter_entity)
{
	(void)name;
	(void)is_parameter_entity;
	refuse(arg, "an entity, which no dump has");
}

void dump_tree_attach(struct dump_tree *tree, XML_Parser xml)
{
	tree->xml = xml;
	XML_SetUserData(xml, tree);
	XML_SetElementHandler(xml, on_start, on_end);
	XML_SetCharacterDataHandler(xml, on_text);
	XML_SetCommentHandler(xml, on_comment);
	XML_SetProcessingInstructionHandler(xml, on_instruction);
	XML_SetStartCdataSectionHandler(xml, on_cdata);
	XML_SetStartDoctypeDeclHandler(xml, on_doctype);
	XML_SetSkippedEntityHandler(xml, on_entity);
}

void dump_tree_free(struct dump_tree *tree)
{
	free(tree->ds);
	free(tree->rra);
	free(tree->cdp);
}
