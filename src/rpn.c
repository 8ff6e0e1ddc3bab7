#include "config.h"
#include "rpn.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#define NODES 20                /* that fit into par[], OP_END included */
#define OP_NUMBER 0             /* of rrdtool's op_en */
#define OP_VARIABLE 1
#define OP_END 32

/* The operators by their number in rrdtool's src/rrd_rpncalc.h; NULL for what is no word.  Those
 * that later versions forbid in a COMPUTE data source may be in an older one's dump. */
static const char *const words[] = {
	NULL, NULL, "INF", "PREV", "NEGINF", "UNKN", "NOW", "TIME", "+", "%", "-", "*", "/", "SIN",
	"DUP", "EXC", "POP", "COS", "LOG", "EXP", "LT", "LE", "GT", "GE", "EQ", "IF", "MIN", "MAX",
	"LIMIT", "FLOOR", "CEIL", "UN", NULL, "LTIME", "NE", "ISINF", NULL, "COUNT", "ATAN", "SQRT",
	"SORT", "REV", "TREND", "TRENDNAN", "ATAN2", "RAD2DEG", "DEG2RAD", "PREDICT",
	"PREDICTSIGMA", "AVG", "ABS", "ADDNAN", "MINNAN", "MAXNAN", "MEDIAN", "PREDICTPERC",
	"DEPTH", "COPY", "ROLL", "INDEX", "STEPWIDTH", "NEWDAY", "NEWWEEK", "NEWMONTH", "NEWYEAR",
	"SMIN", "SMAX", "STDEV", "PERCENT", "POW", "ROUND",
};

/* Numbers are whole ones of 16 bits.  The last word of a formula is never one, so that a data
 * source may be called 1. */
static bool find_number(const char *word, size_t len, int16_t *ret_val)
{
	char *end;

	if (!len || strspn(word, "0123456789+-") < len)
		return false;
	long value = strtol(word, &end, 10);
	if (end != word + len || value < SHRT_MIN || value > SHRT_MAX)
		return false;
	*ret_val = (int16_t)value;
	return true;
}

static bool is_word(const char *word, size_t len, const char *other)
{
	return other && strlen(other) == len && !memcmp(word, other, len);
}

static bool find_node(const char *word, size_t len, const struct native_ds *ds,
		      uint64_t ds_cnt, uint8_t *ret_op, int16_t *ret_val)
{
	*ret_val = 0;
	*ret_op = OP_NUMBER;
	if (word[len] == ',' && find_number(word, len, ret_val))
		return true;
	for (uint8_t op = 0; op < sizeof(words) / sizeof(words[0]); op++) {
		if (is_word(word, len, words[op])) {
			*ret_op = op;
			return true;
		}
	}
	*ret_op = OP_VARIABLE;
	for (uint64_t i = 0; i < ds_cnt && i <= SHRT_MAX; i++) {
		if (is_word(word, len, ds[i].name)) {
			*ret_val = (int16_t)i;
			return true;
		}
	}
	return false;
}

bool rpn_compile(const char *text, const struct native_ds *ds, uint64_t ds_cnt,
		 uint64_t par[NATIVE_PARS])
{
	unsigned n = 0;

	memset(par, 0, NATIVE_PARS * sizeof(*par));
	for (;;) {
		size_t len = strcspn(text, ",");
		uint8_t op;
		int16_t val;

		if (n == NODES - 1 || !find_node(text, len, ds, ds_cnt, &op, &val))
			break;
		native_put_node(par, n++, op, val);
		if (text[len] == '\0') {
			native_put_node(par, n, OP_END, 0);
			return true;
		}
		text += len + 1;
	}
	memset(par, 0, NATIVE_PARS * sizeof(*par));
	native_put_node(par, 0, RPN_UNKNOWN, 0);
	native_put_node(par, 1, OP_END, 0);
	return false;
}
