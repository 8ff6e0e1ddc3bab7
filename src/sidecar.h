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

#define SIDECAR_SIZE_MAX (4u << 20)     /* bytes: some 6,000 values */

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
	char service[NAME_MAX + 1];     /* its own name without ".xml"; sidecar_find() sets it */
	char *bytes;            /* into which all of it points */
};

/* Reads one.  On success the caller frees it with sidecar_free(), which takes a zeroed one too.
 *    -ENOENT    it is something else: another root element
 *    REFUSED    too large, cut off, damaged
 *    -errno     */
int sidecar_read(int fd, struct sidecar *ret, struct reason *why);
void sidecar_free(struct sidecar *sidecar);

/* Finds and reads the sidecar that tells of the RRD `rel` beneath `root`, be that file there or
 * not: <service>.xml for <service>.rrd, and for <service>_<name>.rrd of the same service.
 *    -ENOENT    none does
 *    REFUSED    one stands there that should or might, and is of no use, as it is damaged or
 *               cannot be read: `why` begins with its path
 *    -EXDEV     the same, as its values are kept in files of the other storage type
 *    -ENOTUNIQ  two do, or there are too many: whatever is taken for proved may be wrong */
int sidecar_find(int root, const char *rel, struct sidecar *ret, struct reason *why);

/* "dir/service.xml WHAT": it tells of `rel`, and is of no use. */
void sidecar_name(const char *rel, const struct sidecar *sidecar, const char *what,
		  struct reason *why);

/* The backup's <service>_<name>.rrd, the counterpart of live's `rel`, of which no sidecar tells:
 * does that of the service, as `live` has it, keep its values in <service>.rrd alone?  Then it is
 * left from another time, or another service's: `why`, as above. */
bool sidecar_disowns(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		     struct reason *why);

/* Do these names belong together: dir/service.xml, and dir/service.rrd or dir/service_….rrd? */
bool sidecar_may_tell_of(const char *xml, const char *rrd);
/* Is it a sidecar's name, "*.xml"? */
bool sidecar_is_name(const char *name);

/* Does any sidecar stand there that might tell of `rel`, or of a file of the other storage type?
 * Costs less than to find it. */
bool sidecar_is_near(int root, const char *rel);

/* Is this value kept in the RRD of this name (no directories)? */
bool sidecar_tells_of(const struct sidecar *sidecar, const struct sidecar_ds *ds, const char *file);

/* Called with a path beneath the backup's root.  A return other than 0 ends it. */
typedef int sidecar_sibling_fn(const char *rel, void *arg);

/* The files of a backup that hold values of the live file `rel` as the other storage type has them:
 * svc.rrd for svc_name.rrd, each svc_name.rrd for svc.rrd; those of which the sidecars of both
 * sides say so.  `live` is the one found for `rel`; `backup_rel` is the path of the live file's
 * counterpart, which need not exist.  0, or what `sibling` returned. */
int sidecar_siblings(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		     sidecar_sibling_fn *sibling, void *arg);

/* The names that files with values of `rel` would have beside it as the other storage type has
 * them, be they there or not; `sidecar` tells of `rel`.  0, or what `other` returned. */
int sidecar_others(const struct sidecar *sidecar, const char *rel, sidecar_sibling_fn *other,
		   void *arg);
/* Does the sidecar of `other` beneath root say that it holds a value that `rel` has too?  Also
 * where it has two of them, of which each may be wrong: that is told to who reads them. */
bool sidecar_shares(const struct sidecar *sidecar, const char *rel, int root, const char *other);

#endif
