/* names: rename rules, which lead from the path of a backup file to that of the live file whose
 * history it holds.
 *
 *  1. The first rule whose expression (POSIX extended) matches the path decides; the others are not
 *     looked at.  Where none matches, the live file has the same path.
 *  2. What the expression matches is replaced; what stands before and after it stays.
 *  3. A rule may have several replacements: the backup file then serves several live files.
 *  4. Paths and rules are UTF-8 in any locale: a character is one.  A path that is none is held
 *     against a rule byte by byte; so is any against a rule that is none.
 *  5. What comes out is a path beneath the live root that names an RRD, or the file is refused. */
#ifndef NAMES_H
#define NAMES_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

#include "reason.h"

#define NAMES_RULES_MAX 1000
#define NAMES_COST_MAX 1000     /* characters of an expression, its repeats written out */
#define NAMES_MATCH_MAX 1000    /* bytes of a path that rules are held against */
#define NAMES_SIZE PATH_MAX     /* of a buffer for any path that comes out */

struct names_rule {
	char *from;             /* an extended regular expression */
	char **to;              /* [tos]; $0 to $9: what it matched, and its groups; $$: a $ */
	size_t tos;
};

/* Is the rule one that can be followed, and that costs little whatever it is held against?
 * 0, REFUSED with what is wrong in it, or -ENOMEM. */
int names_check(const struct names_rule *rule, struct reason *why);
/* Do two lists of rules say the same? */
bool names_same(const struct names_rule *a, size_t a_count, const struct names_rule *b,
		size_t b_count);
void names_rules_free(struct names_rule *rule, size_t count);

struct names;

/* Copies the rules.  As names_check(). */
int names_new(const struct names_rule *rule, size_t count, struct names **ret, struct reason *why);
void names_free(struct names *names);

/* The nth (from 0) live path of the backup file `rel`, into `buffer`, and the rule, from 1, that
 * led there; 0: none did, and it is `rel`.  From any thread; without rules (NULL) nothing is led
 * anywhere.
 *    -ENOENT    there are not so many
 *    REFUSED    the rule leads to what is no name for a live file; *ret_rule is set
 *    -ENOMEM */
int names_apply(const struct names *names, const char *rel, unsigned nth, char buffer[NAMES_SIZE],
		unsigned *ret_rule, struct reason *why);

#endif
