/* sidecar: pnp4nagios' <service>.xml: which label is which data source of which file.
 *
 * process_perfdata.pl (data2rrd) writes, beside the RRDs of a service, one element a line:
 *
 *    <?xml version="1.0" encoding="UTF-8" standalone="yes"?>
 *    <NAGIOS>
 *      <DATASOURCE>                  one for each value, in the order of the plugin's output
 *        <RRDFILE>/path/host/service.rrd</RRDFILE>
 *        <RRD_STORAGE_TYPE>SINGLE</RRD_STORAGE_TYPE>
 *        <NAME>…</NAME>              the label, with "& : / \" and blanks made "_"
 *        <LABEL>…</LABEL>            the label without & " '
 *        <UNIT>…</UNIT> …
 *      </DATASOURCE> …
 *      <RRD>
 *        <RC>0</RC> …                of the last update; of the last file's where there are many
 *      </RRD>
 *      <NAGIOS_TIMET>1700000000</NAGIOS_TIMET> …       of the check, as given to the RRD
 *    </NAGIOS>
 *
 *  1. It is no XML: nothing is escaped.  A value goes from its opening tag to the closing tag at
 *     the end of the same line, whatever is between.
 *  2. SINGLE: all values are in <service>.rrd, the n-th in the n-th data source (rrdtool's update
 *     goes by position; the names need not be 1, 2, … any more).
 *  3. MULTIPLE: each is the one data source of <service>_<NAME>.rrd.
 *  4. The file is written anew after each update, that of the RRD having come first; and also where
 *     the update was refused because the plugin has more or fewer values now: then it tells of the
 *     plugin and not of the RRD. */
#ifndef SIDECAR_H
#define SIDECAR_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "io.h"

#define SIDECAR_SIZE_MAX (4u << 20)     /* bytes, unpacked: some 6,000 values */

struct sidecar_ds {
	const char *file;       /* RRDFILE's last part; NULL: not said (pnp4nagios before 0.6) */
	const char *name;       /* "" where not said, as all that follow */
	const char *label;
	const char *unit;
	bool multiple;
};

struct sidecar {
	struct sidecar_ds *ds;  /* [count], in the order of the file */
	size_t count;
	bool failed;            /* the last update did not reach the RRD */
	/* of the check that it tells of, seconds since the epoch; 0: unsaid */
	int64_t time;
	struct io_stamp stamp;
	char service[NAME_MAX + 1];     /* its own name without ".xml"; "": who found it sets it */
	/* the ending of its name after that, "" or ".gz", …; NULL: who found it sets it */
	const char *packing;
	char *bytes;            /* into which all of it points */
};

/* Reads one, packed (unpack.h) or not, wherever the file's offset is.  On success the caller frees
 * it with sidecar_free(), which takes a zeroed one too, and leaves one; otherwise *ret is
 * untouched, and `why` says it:
 *    -ENOENT    it is one of rrdtool's dumps, whose root is <rrd>; `why` is untouched
 *    REFUSED    too large, cut off, damaged, without any value: whatever else stands there
 *    -errno     */
int sidecar_read(int fd, struct sidecar *ret, struct reason *why);
void sidecar_free(struct sidecar *sidecar);

/* Has it such a name, "*.xml"?  A dump may have, too. */
bool sidecar_is_name(const char *name);
/* Is it one, sound or not, and no dump, by its first bytes?  Costs less than to read it.  True also
 * where they cannot be read: sidecar_read() tells why. */
bool sidecar_is_one(int fd);

/* Is this value, one of those in `sidecar`, whose `service` must be set, kept in the RRD of this
 * name (no directories)? */
bool sidecar_tells_of(const struct sidecar *sidecar, const struct sidecar_ds *ds, const char *file);

#endif
