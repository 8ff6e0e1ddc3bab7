/* dirs: the table of the directories of a tree that is watched: by path, and by watch.
 *
 * Invariants:
 *  1. A directory stands in the table because it is watched, or was listed without a watch, or
 *     has such a one beneath it.
 *  2. A watch (the number that inotify gave for it) belongs to one directory, or is doomed: no
 *     directory is found by it, and dirs_doomed() hands it out for removal from the kernel, once.
 *     Until then dirs_adopt() gives it to a directory again.  So whoever takes a directory away
 *     needs no system call for it.
 *  3. Only those who may ask the kernel (to add a watch and adopt it, to remove a doomed one)
 *     call dirs_adopt() and dirs_doomed(), and they do both one at a time: the kernel gives the
 *     same number for the same directory, which must not be removed in between.
 * Nothing here does I/O, waits or locks: the caller holds its mutex around each call.  Paths are
 * beneath the root, which is "" and always there. */
#ifndef DIRS_H
#define DIRS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct dirs;

/* NULL when there is no memory. */
struct dirs *dirs_new(void);
void dirs_free(struct dirs *dirs);

/* How many are watched; how many were listed and are not. */
size_t dirs_watched(const struct dirs *dirs);
size_t dirs_unwatched(const struct dirs *dirs);

/* Is this directory watched? */
bool dirs_is_watched(const struct dirs *dirs, const char *rel);

/* Writes the path of `name` ("" for the directory itself) in the directory that `wd` watches.
 * False where it watches none, or the path is longer than any that can be opened. */
bool dirs_path(const struct dirs *dirs, int wd, const char *name, char *buffer, size_t size);

/* Scans have numbers, counted from 1. */
uint64_t dirs_begin_scan(struct dirs *dirs);
/* The scan `number` of the directory above has listed this one. */
void dirs_listed(struct dirs *dirs, const char *rel, uint64_t number);
/* Forgets a directory in `rel` that was known before the scan `number`, which did not list it,
 * and writes its path, or "" where that is too long.  False where there is none (any more). */
bool dirs_sweep(struct dirs *dirs, const char *rel, uint64_t number, char *buffer, size_t size);

/* The kernel has just given `wd` for `rel`.  Where the watch was another directory's, that one
 * and all beneath it are forgotten, and its path is written to `displaced` (else "").
 * -ELOOP: it is the root's; -ENOMEM: the watch is to be removed. */
int dirs_adopt(struct dirs *dirs, const char *rel, int wd, char *displaced, size_t size);
/* The kernel refused a watch for `rel`, which will be listed all the same.  0 or -ENOMEM. */
int dirs_adopt_unwatched(struct dirs *dirs, const char *rel);

/* Forgets `rel` and all beneath.  True where there was something. */
bool dirs_forget(struct dirs *dirs, const char *rel);
/* Forgets the directory that `wd` watches and all beneath; the root only loses its watch. */
void dirs_forget_wd(struct dirs *dirs, int wd);
bool dirs_is_root(const struct dirs *dirs, int wd);

/* A watch to remove from the kernel, which may have removed it itself by now; -1: no more. */
int dirs_doomed(struct dirs *dirs);

#endif
