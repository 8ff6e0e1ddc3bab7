#include "config.h"
#include "terminal.h"

#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define COLUMNS_DEFAULT 80
#define COLUMNS_MAX 10000

size_t terminal_columns(int fd)
{
	const char *text = getenv("COLUMNS");
	unsigned long columns = text ? strtoul(text, NULL, 10) : 0;
	struct winsize size;

	if (!ioctl(fd, TIOCGWINSZ, &size) && size.ws_col)
		return size.ws_col;
	return columns && columns <= COLUMNS_MAX ? (size_t)columns : COLUMNS_DEFAULT;
}

bool terminal_is_utf8(int fd)
{
	bool is = false;

	if (!isatty(fd))
		return false;
	/* For this question alone: what is written otherwise does not depend on it. */
	locale_t locale = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
	if (locale != (locale_t)0) {
		is = !strcmp(nl_langinfo_l(CODESET, locale), "UTF-8");
		freelocale(locale);
	}
	return is;
}
