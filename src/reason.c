#include "config.h"
#include "reason.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void append(struct reason *why, const char *format, va_list args)
{
	size_t used = strlen(why->text);

	vsnprintf(why->text + used, sizeof(why->text) - used, format, args);
}

void reason_set(struct reason *why, const char *format, ...)
{
	va_list args;

	if (!why)
		return;
	why->text[0] = '\0';
	va_start(args, format);
	append(why, format, args);
	va_end(args);
}

int reason_errno(struct reason *why, int error, const char *format, ...)
{
	va_list args;
	char words[128];

	if (!why)
		return -error;
	why->text[0] = '\0';
	va_start(args, format);
	append(why, format, args);
	va_end(args);

	size_t used = strlen(why->text);
	snprintf(why->text + used, sizeof(why->text) - used, ": %s",
		 strerror_r(error, words, sizeof(words)));
	return -error;
}

void reason_add(struct reason *why, const char *format, ...)
{
	va_list args;
	size_t used;

	if (!why)
		return;
	used = strlen(why->text);
	if (used)
		snprintf(why->text + used, sizeof(why->text) - used, "; ");
	va_start(args, format);
	append(why, format, args);
	va_end(args);
}
