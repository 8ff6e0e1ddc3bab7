/* pnp: which files of pnp4nagios' trees belong together: an RRD and the sidecar that tells of it,
 * by names and by what the sidecars say; and the RRDs in which the same values are kept as the
 * other storage type has them (sidecar.h).
 *
 * Paths are relative to an open root, `root`, which stays the caller's.  A `why` may be NULL. */
#ifndef PNP_H
#define PNP_H

#include <stdbool.h>

#include "sidecar.h"

/* ---- the sidecar of an RRD ---- */

/* Finds and reads the sidecar that tells of the RRD `rel` beneath `root`, be that file there or
 * not: <service>.xml for <service>.rrd, and for <service>_<name>.rrd of the same service; or that
 * packed, as .xml.gz, .xml.zst or .xml.xz, where it does not stand there itself.  On success the
 * caller frees it with sidecar_free(); otherwise *ret is untouched.
 *    -ENOENT    none does
 *    REFUSED    one stands there that should or might, and is of no use, as it is damaged,
 *               cannot be read, or tells of a file that is not its own (it was moved here, and
 *               another service's perhaps): `why` begins with its path
 *    -EXDEV     the same, as its values are kept in files of the other storage type
 *    -ENOTUNIQ  two do, or there are too many: whatever is taken for proved may be wrong */
int pnp_find_sidecar(int root, const char *rel, struct sidecar *ret, struct reason *why);

/* "dir/service.xml WHAT": it tells of `rel`, and is of no use. */
void pnp_name_sidecar(const char *rel, const struct sidecar *sidecar, const char *what,
		      struct reason *why);

/* Does any sidecar stand there that might tell of `rel`, or of a file of the other storage type?
 * Costs less than to find it. */
bool pnp_sidecar_is_near(int root, const char *rel);

/* Do these names belong together: dir/service.xml, and dir/service.rrd or dir/service_….rrd?  No
 * file is looked at. */
bool pnp_may_tell_of(const char *xml, const char *rrd);

/* ---- the other storage type ---- */

/* The backup's <service>_<name>.rrd, the counterpart of live's `rel`, of which no sidecar tells:
 * does that of the service, as `live` has it, keep its values in <service>.rrd alone?  Then it is
 * left from another time, or another service's: `why`, as above.  `root` is the backup's. */
bool pnp_disowns(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		 struct reason *why);

/* Called with a path beneath the root, which is valid during the call only.  A return other than 0
 * ends it. */
typedef int pnp_file_fn(const char *rel, void *arg);

/* The files of a backup that hold values of the live file `rel` as the other storage type has them:
 * svc.rrd for svc_name.rrd, each svc_name.rrd for svc.rrd; those of which the sidecars of both
 * sides say so.  `live` is the one found for `rel`; `backup_rel` is the path of the live file's
 * counterpart, which need not exist.  0, or what `sibling` returned. */
int pnp_siblings(const struct sidecar *live, const char *rel, int root, const char *backup_rel,
		 pnp_file_fn *sibling, void *arg);

/* The names that files with values of `rel` would have beside it as the other storage type has
 * them, be they there or not; `sidecar` tells of `rel`.  0, or what `other` returned. */
int pnp_others(const struct sidecar *sidecar, const char *rel, pnp_file_fn *other, void *arg);

/* Does the sidecar of `other` beneath root say that it holds a value that `rel` has too?  Also
 * where it has two of them, of which each may be wrong: that is told to who reads them. */
bool pnp_shares(const struct sidecar *sidecar, const char *rel, int root, const char *other);

#endif
