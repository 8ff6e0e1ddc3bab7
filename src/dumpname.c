#include "config.h"
#include "dump.h"

#include <stdio.h>
#include <string.h>

static const char *const packings[] = { "", ".gz", ".zst", ".xz" };

#define PACKINGS (sizeof(packings) / sizeof(packings[0]))
_Static_assert(DUMP_NAMES == 2 * PACKINGS, "x.xml and x.rrd.xml");

/* How long `name` is without `ending`; 0 where it does not end so or nothing would be left. */
static size_t stem(const char *name, size_t len, const char *ending)
{
	size_t cut = strlen(ending);

	if (len <= cut || memcmp(name + len - cut, ending, cut))
		return 0;
	return name[len - cut - 1] == '/' ? 0 : len - cut;
}

bool dump_name(const char *rel, unsigned n, char *buffer, size_t size)
{
	size_t len = strlen(rel), base = stem(rel, len, ".rrd");

	if (!base || n >= DUMP_NAMES)
		return false;
	if (n >= PACKINGS)
		base = len;
	int need = snprintf(buffer, size, "%.*s.xml%s", (int)base, rel, packings[n % PACKINGS]);
	return need > 0 && (size_t)need < size;
}

bool dump_stands_for(const char *path, char *buffer, size_t size)
{
	size_t len = strlen(path), base = 0;

	for (size_t i = 1; i < PACKINGS && !base; i++)
		base = stem(path, len, packings[i]);
	base = stem(path, base ? base : len, ".xml");
	if (!base)
		return false;
	size_t bare = stem(path, base, ".rrd");
	int need = snprintf(buffer, size, "%.*s.rrd", (int)(bare ? bare : base), path);
	return need > 0 && (size_t)need < size;
}
