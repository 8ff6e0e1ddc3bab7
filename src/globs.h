/* globs: the directories that a list of paths and patterns (glob(7)) stands for. */
#ifndef GLOBS_H
#define GLOBS_H

#include <stdbool.h>
#include <stddef.h>

/* Is it a pattern?  Not where something of that very name is there. */
bool globs_is(const char *path);

/* What `given` stands for, to be freed with globs_free(): the directories that a pattern matches,
 * the newest first, by the second of the directory's mtime; between equals daily.2 before daily.10,
 * but the largest first where all have a number of four digits or more in their names, as in a
 * date.  Anything else, and a pattern that matches nothing, is itself.  `ret_error`: why a
 * directory could not be searched for it, an errno, or 0.  May wait for a disk.  0 or -ENOMEM. */
int globs_expand(const char *given, char ***ret, size_t *ret_count, int *ret_error);

/* The same for a list, one after the other.  A directory that a pattern matches is left out where
 * it is named by itself, anywhere in the list, or another pattern before has matched it.
 * (*ret_from)[i], to be freed, is the place in `given` that led to the ith; `ret_from` may be
 * NULL. */
int globs_expand_all(char *const *given, size_t givens, char ***ret, size_t *ret_count,
		     size_t **ret_from);

bool globs_same(char *const *a, size_t a_count, char *const *b, size_t b_count);
/* The same, in any order, each once. */
bool globs_same_set(char *const *a, size_t a_count, char *const *b, size_t b_count);
void globs_free(char **list, size_t count);

#endif
