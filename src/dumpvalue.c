#include "config.h"
#include "dumpint.h"

#include <errno.h>
#include <float.h>
#include <locale.h>
#include <math.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

static locale_t plain_locale;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_locale(void)
{
	plain_locale = newlocale(LC_NUMERIC_MASK, "C", (locale_t)0);
}

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

/* A number taken apart: digits · 10^exponent.  False where it is written otherwise.  `ret_exact`:
 * all digits are in `ret_digits`. */
static bool take_apart(const char *text, bool *ret_negative, uint64_t *ret_digits,
		       int *ret_exponent, bool *ret_exact)
{
	const char *c = text;
	unsigned count = 0;
	uint64_t digits = 0;
	int exponent = 0, shift = 0;
	bool point = false;

	*ret_negative = *c == '-';
	if (*c == '-' || *c == '+')
		c++;
	*ret_exact = true;
	for (; is_digit(*c) || (!point && (*c == '.' || *c == ',')); c++) {
		if (!is_digit(*c)) {
			point = true;
			continue;
		}
		count++;
		if (digits > (UINT64_C(1) << 53) / 10 - 1) {
			*ret_exact = false;
			continue;
		}
		digits = digits * 10 + (uint64_t)(*c - '0');
		shift -= point;
	}
	if (count == 0)
		return false;
	if (*c == 'e' || *c == 'E') {
		bool below = *++c == '-';

		if (*c == '-' || *c == '+')
			c++;
		if (!is_digit(*c))
			return false;
		for (; is_digit(*c); c++)
			if (exponent < 10000)
				exponent = exponent * 10 + (*c - '0');
		exponent = below ? -exponent : exponent;
	}
	*ret_digits = digits;
	*ret_exponent = exponent + shift;
	return *c == '\0';
}

static bool slow_real(const char *text, double *ret_value)
{
	char copy[DUMP_WORD_SIZE];
	char *comma, *end;

	if (strlen(text) >= sizeof(copy))
		return false;
	strcpy(copy, text);
	comma = strchr(copy, ',');
	if (comma)
		*comma = '.';
	pthread_once(&once, make_locale);
	double value = plain_locale ? strtod_l(copy, &end, plain_locale) : strtod(copy, &end);
	if (*end)
		return false;
	/* Beyond the largest double is infinity: rounded to eleven digits, that one is, too. */
	*ret_value = value;
	return true;
}

/* What printf of one machine or another writes where a number is none: rrdtool writes NaN itself in
 * most places, but not infinity, and not in all. */
static bool special_real(const char *text, double *ret_value)
{
	static const char any[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_)";
	static const struct {
		const char *begin, *rest;       /* of any case; characters that may follow */
		bool infinite;
	} spelt[] = {
		{ "nan", "", false }, { "inf", "", true }, { "infinity", "", true },
		{ "nan(", any, false }, { "nan0x", any, false },
		{ "nanq", "", false }, { "nans", "", false },                   /* AIX */
		{ "1.#qnan", "0123456789e+", false }, { "1.#snan", "0123456789e+", false },
		{ "1.#inf", "0123456789e+", true },                             /* Windows */
	};
	bool negative = *text == '-';

	if (*text == '-' || *text == '+')
		text++;
	for (size_t i = 0; i < sizeof(spelt) / sizeof(spelt[0]); i++) {
		size_t len = strlen(spelt[i].begin);

		if (strncasecmp(text, spelt[i].begin, len) ||
		    text[len + strspn(text + len, spelt[i].rest)])
			continue;
		*ret_value = !spelt[i].infinite ? NAN : negative ? -INFINITY : INFINITY;
		return true;
	}
	return false;
}

bool dump_real(const char *text, double *ret_value)
{
	/* Powers of ten that a double holds exactly: one multiplication or division of an exact
	 * number by an exact one is rounded right. */
	static const double tens[] = {
		1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14,
		1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22
	};
	bool negative, exact;
	uint64_t digits;
	int exponent;

	if (!take_apart(text, &negative, &digits, &exponent, &exact))
		return special_real(text, ret_value);
	if (FLT_EVAL_METHOD != 0 || !exact || exponent < -22 || exponent > 22)
		return slow_real(text, ret_value);
	double value = exponent < 0 ? (double)digits / tens[-exponent]
				    : (double)digits * tens[exponent];
	*ret_value = negative ? -value : value;
	return true;
}

bool dump_count(const char *text, uint64_t *ret_value)
{
	char *end;

	if (!is_digit(*text))
		return false;
	errno = 0;
	unsigned long long value = strtoull(text, &end, 10);
	if (*end || errno)
		return false;
	*ret_value = value;
	return true;
}

bool dump_time(const char *text, int64_t *ret_value)
{
	bool negative = *text == '-';
	uint64_t value;

	if (!dump_count(text + negative, &value) || value > INT64_MAX)
		return false;
	*ret_value = negative ? -(int64_t)value : (int64_t)value;
	return true;
}
