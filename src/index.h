/* index: which backup files the rename rules lead to a live file.
 *
 * An expression cannot be turned round, so those are remembered that a walk over the backups met.
 * Invariants:
 *  1. A file is found from the moment in which it was added, until a whole walk has not met it.
 *  2. Only files that a rule leads to another path than their own are in it; by their own path the
 *     others are found without it.  Which backup has the file is asked of each.
 * One mutex inside; every function may be called from any thread. */
#ifndef INDEX_H
#define INDEX_H

#include <stdbool.h>

#include "names.h"

struct index;

/* Copies the rules.  0, REFUSED where one cannot be followed, or -ENOMEM. */
int index_new(const struct names_rule *rule, size_t count, struct index **ret, struct reason *why);
/* One more who has it; and one less: the last frees it.  NULL, no rules, is fine everywhere. */
struct index *index_ref(struct index *index);
void index_free(struct index *index);
const struct names *index_names(const struct index *index);

/* The path of the RRD that a file of a backup is, or is a dump of; NULL: it is none.  pnp4nagios
 * calls what it writes beside an RRD as if it were a dump, and a dump beside an RRD tells less than
 * that: so one counts only where the RRD is not there. */
const char *index_rrd_of(int root, const char *path, char buffer[NAMES_SIZE]);

/* A walk over all backups: begin, each file of each, end; what was not met is forgotten then,
 * unless one of them could not be walked (`whole` is false).
 * `path` is the file's, beneath its backup's root; `rrd` what index_rrd_of() says of it, and what
 * the rules are for.  `hear` is told of each live path that it leads to, when it can be found there
 * already.  What it returns, other than 0, ends it and is handed back.  0 or -ENOMEM. */
struct index_lead {
	const char *live;       /* NULL: it would be no path of a live file */
	unsigned rule;          /* which led there; 0: none, the path is its own */
	bool fresh;             /* who has looked for it before now cannot have found it */
	struct reason why;      /* there is no path */
};
typedef int index_lead_fn(const struct index_lead *lead, void *arg);
void index_begin(struct index *index);
int index_add(struct index *index, const char *path, const char *rrd, index_lead_fn *hear,
	      void *arg);
void index_end(struct index *index, bool whole);
/* Has a walk ended, so that what there is can be found?  True without rules. */
bool index_is_walked(struct index *index);

/* Does a backup file of this path serve the live file of this path?  Not where a rule leads it
 * elsewhere. */
bool index_serves_own(const struct index *index, const char *rel);

/* The backup files that rules lead to the live file `live`, by the rule's number (from 1), then by
 * path.  What `hit` returns, other than 0, ends it and is handed back; or -ENOMEM. */
typedef int index_hit_fn(const char *path, unsigned rule, void *arg);
int index_find(struct index *index, const char *live, index_hit_fn *hit, void *arg);

/* How many there are. */
size_t index_count(struct index *index);

#endif
