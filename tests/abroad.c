/* abroad: abroad MACHINE IN OUT: writes IN, a file of this machine, as that one would have; abroad
 * alone lists the machines.  SEED is for what no field of a file covers. */
#include "config.h"

#include <stdio.h>
#include <stdlib.h>

#include "oracle.h"
#include "otherhost.h"

int main(int argc, char **argv)
{
	const char *given = getenv("SEED");
	uint64_t state = given ? strtoull(given, NULL, 10) : 1;
	size_t size;

	if (argc == 1) {
		for (unsigned i = 0; i < otherhost_count; i++)
			puts(otherhosts[i].name);
		return 0;
	}
	const struct otherhost *host = argc == 4 ? otherhost_find(argv[1]) : NULL;
	if (!host)
		oracle_die("usage: abroad [MACHINE IN OUT]");
	uint8_t *bytes = oracle_slurp(argv[2], &size);
	uint8_t *theirs = otherhost_write(host, bytes, &state, &size);
	if (!theirs)
		oracle_die("%s: too large a number for %s", argv[2], argv[1]);
	oracle_spill(argv[3], theirs, size);
	free(theirs);
	free(bytes);
	return 0;
}
