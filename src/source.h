/* source: the backups in order of trust, and what of each belongs to a live file. */
#ifndef SOURCE_H
#define SOURCE_H

#include "io.h"
#include "layout.h"

struct source {
	char *path;             /* of the root, as the administrator wrote it */
	char *file;             /* NULL for a tree; else the one file in it that is the source */
};

struct source_set {
	struct source *source;  /* [count], most trusted first */
	unsigned count;
	struct source_links *links;     /* source_holds_inode()'s own */
};

/* Appends a tree, or one file in a directory.  Copies its arguments.  0 or -ENOMEM. */
int source_add(struct source_set *set, const char *path, const char *file);
void source_set_free(struct source_set *set);

/* Opens what source `n` holds for the live file `rel`.
 *    -ENOENT    nothing there: the file is skipped
 *    -ENXIO     the root itself cannot be opened
 *    REFUSED    a link, a FIFO, …  */
int source_open(const struct source_set *set, unsigned n, const char *rel, int *ret_fd,
		struct reason *why);

/* What it is now, not opened.  -ENOENT where there is none; -ENXIO, REFUSED (no regular file) or
 * another -errno where that cannot be told. */
int source_stat(const struct source_set *set, unsigned n, const char *rel,
		struct io_stamp *ret_stamp);

/* Walks source `n`, a tree: see io_walk().  -errno where its root cannot be opened. */
int source_walk(const struct source_set *set, unsigned n, io_entry_fn *entry,
		io_error_fn *error, void *arg);

/* Is the live file a hard link to any file of a source, whatever its name?  Writing to it would
 * change the backup.  Looks only where live has more links than one, and remembers what it
 * found for a minute.  From any thread. */
bool source_holds_inode(const struct source_set *set, const struct io_stamp *live);

/* Which data source of the backup belongs to which of live: by name and type, COMPUTE by its
 * RPN with the names put in.  map[live ds] = backup ds, or LAYOUT_NO_DS.  Returns 0, or REFUSED
 * where nothing at all can be taken.  `ret_refused` counts the live data sources that were
 * refused for a contradiction, each named in `why`. */
int source_map(const struct layout_header *live, const struct layout_header *backup,
	       uint64_t *map, uint64_t *ret_refused, struct reason *why);

/* Where no live file has a counterpart: looks one and two levels up and down from the
 * backup's root for a directory beneath which some of the live files `rel[count]` stand.
 * Returns a path to free, or NULL. */
char *source_suggest(const struct source *source, const char *live_root,
		     char *const *rel, size_t count);
/* The same for the live root: one or two levels down from it, beneath which live files stand that
 * this backup has. */
char *source_suggest_live(const struct source *source, const char *live_root,
			  char *const *rel, size_t count);

#endif
