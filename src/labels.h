/* labels: which data source of a backup belongs to which of live.
 *
 * Most tools give their data sources names that mean something, and these are what matches.
 * pnp4nagios calls them 1, 2, … in the order of the plugin's output, which may have changed: only
 * the sidecars of both sides (sidecar.h) can tell which is which.  Where they do,
 *
 *  1. a sidecar counts when it lists as many values as its RRD has data sources.  One that does not
 *     is of another output than the RRD is (whatever its RC): nothing is taken then.
 *  2. live's i-th takes from the backup's j-th where NAME and LABEL are the same and stand once on
 *     either side, the types are equal, and the units are or one of them is not said.  (MB and GB,
 *     s and ms, are other scales of the same thing; an empty unit says nothing, and so contradicts
 *     none, "%" neither.)  LABEL counts only between two files of storage type SINGLE: a MULTIPLE
 *     file is called after NAME.
 *  3. a label that the backup lacks is new, and no contradiction, unless the backup has labels in
 *     its turn that live lacks: it may be one of these under another name.  Then it is refused.
 *
 *     But where the administrator's own rename rule leads from one file of storage type MULTIPLE to
 *     another of another name, each of one value, the rule says that they are the same.
 *  4. where the sidecars of live and of one backup, or of two backups, say that a number has not
 *     always been the same value, a third backup without one is not matched by its numbers: who
 *     has all of them sees to that (labels_disagree(), mergematch.c).
 *  5. a sidecar that stands there and is of no use is no missing one: it may contradict what the
 *     numbers say, and it can be mended.  Data sources called by numbers are all refused then.
 *
 * Nothing here opens a file. */
#ifndef LABELS_H
#define LABELS_H

#include "layout.h"
#include "sidecar.h"

enum labels_match {
	LABELS_AUTO,            /* by label where both sides have sidecars, else by name */
	LABELS_LABEL,           /* what no sidecar proves is refused */
	LABELS_NAME             /* sidecars are not asked */
};

/* One of the two files, and what is said of it. */
struct labels_side {
	const struct layout_header *head;
	const struct sidecar *sidecar;  /* as pnp_find_sidecar() gave it; NULL: none */
	/* its words for one that is of no use; NULL: there is none */
	const char *useless;
	const char *file;               /* the RRD's name, by which the sidecar knows it */
	bool ruled;                     /* of the backup's: a rename rule led from it to live's */
};

struct labels_verdict {
	uint64_t refused;       /* of live's data sources, for a contradiction or want of proof */
	bool unproven;          /* data sources called by numbers alone were matched by these */
	bool numbers;           /* the same, but also of a file that has only one */
	bool told;              /* sidecars decided, or the want of them: others might otherwise */
	/* one is of no use, which `why` says even where nothing is refused */
	bool useless;
};

/* map[live's data source] = the backup's, or LAYOUT_NO_DS.  For a file that belongs to live only by
 * what sidecars say (pnp_siblings()), `match` is LABELS_LABEL.
 *    0          something can be taken; what is refused of it is in `why`
 *    REFUSED    nothing at all can be
 *    -ENOMEM    */
int labels_map(const struct labels_side *live, const struct labels_side *backup,
	       enum labels_match match, uint64_t *map, struct labels_verdict *ret,
	       struct reason *why);

/* Do the sidecars of two files that have one live path, or are led there, say that a number is not
 * the same value in both, or not of the same scale?  Then no number tells anything where there is
 * no sidecar, be it in a third.  `ret_number` is the first such. */
bool labels_disagree(const struct labels_side *x, const struct labels_side *y,
		     const char **ret_number);

/* By name and type, COMPUTE by its RPN with the names put in.  Where a number stands twice among
 * the names of one side, no data source called by a number matches: they are pnp4nagios', which
 * counts them through, and no number is what it was.  Returns 0, or REFUSED where nothing
 * at all can be taken.  `ret_refused` counts the live data sources that were refused for a
 * contradiction, each named in `why`. */
int labels_by_name(const struct layout_header *live, const struct layout_header *backup,
		   uint64_t *map, uint64_t *ret_refused, struct reason *why);

#endif
