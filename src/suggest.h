/* suggest: a path that would match, where no live file has a counterpart in a backup: somebody gave
 * the directory above, or one beneath. */
#ifndef SUGGEST_H
#define SUGGEST_H

#include "source.h"

/* Looks one and two levels up and down from the backup's root for a directory beneath which some of
 * the live files `rel[count]` stand.  Returns a path to free, or NULL. */
char *suggest_backup(const struct source *source, const char *live_root,
		     char *const *rel, size_t count);
/* The same for the live root: one or two levels down from it, beneath which live files stand that
 * this backup has. */
char *suggest_live(const struct source *source, const char *live_root,
		   char *const *rel, size_t count);

#endif
