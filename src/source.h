/* source: the backups in order of trust, and what of each belongs to a live file. */
#ifndef SOURCE_H
#define SOURCE_H

#include "index.h"
#include "io.h"
#include "pnp.h"
#include "sidecar.h"
#include "visits.h"

struct source {
	char *path;             /* of the root, as the administrator wrote it */
	char *file;             /* NULL for a tree; else the one file in it that is the source */
	struct visits *visits;  /* shared by all sets that name it */
};

struct source_set {
	struct source *source;  /* [count], most trusted first */
	unsigned count;
	bool impatient;         /* one that does not answer is done without: source_enter() */
	struct index *index;            /* where rename rules lead; NULL: nowhere.  One reference */
	struct source_links *links;     /* source_holds_inode()'s own */
};

/* Appends a tree, or one file in a directory.  Copies its arguments.  0 or -ENOMEM. */
int source_add(struct source_set *set, const char *path, const char *file);
/* Another of the same, to be freed like the first.  0 or -ENOMEM. */
int source_set_copy(const struct source_set *set, struct source_set *ret);
void source_set_free(struct source_set *set);

/* To be called around all that asks the disk of source `n`.  False where it does not answer just
 * now, or must not be used yet, and the set is impatient: it is as if it were not there. */
bool source_enter(const struct source_set *set, unsigned n, struct visit *visit);
void source_leave(const struct source_set *set, unsigned n, struct visit *visit);

/* How a file of a source came to belong to a live file. */
enum source_way {
	SOURCE_SAME,            /* it has its path, or is the one file that is the source */
	SOURCE_RENAMED,         /* a rule led there */
	SOURCE_SIBLING          /* pnp4nagios' other storage type: sidecars say so */
};

/* A file of a source that holds, or may hold, a live file's history. */
struct source_file {
	char *rel;              /* beneath the source's root; owned by whoever has the list */
	enum source_way way;
	unsigned rule;          /* which led to it, from 1, of a sibling too; 0: none */
	bool dump;              /* rrdtool's XML, and no RRD */
};

/* Starts as SOURCE_FOUND_NONE; the memory is kept from file to file. */
struct source_found {
	int root;               /* the source's, open until source_found_end(); -1: none */
	int error;              /* why it could not be opened, an errno */
	struct source_file *file;       /* [count] */
	unsigned count, capacity;
};
#define SOURCE_FOUND_NONE ((struct source_found){ .root = -1 })

/* Which files source `n` has for the live file `rel`, the most trusted first; its root is opened.
 * Dumps are among them where they have no RRD beside them.
 * 0, -ENXIO where the root cannot be opened, -ENOMEM, or another -errno. */
int source_find(const struct source_set *set, unsigned n, const char *rel,
		struct source_found *found);
/* A file that somebody named: is it one of rrdtool's dumps, by what is in it or else by its
 * name? */
bool source_is_dump(int fd, const char *name);
/* Appends the dumps of the RRD that is found->file[at]: it cannot be used.  As source_find(). */
int source_find_dumps(struct source_found *found, unsigned at);
/* Adds those of pnp4nagios' other storage type that hold values of `rel`, of which `live` is the
 * sidecar: beside where `rel` itself would be, and where rename rules lead from there.  What has
 * the path by itself stays before what a rule leads to it, and that goes by the rule's number. */
int source_find_siblings(const struct source_set *set, const struct sidecar *live, const char *rel,
			 struct source_found *found);
/* Calls `other` with the path of each RRD, or of what a dump is of, that would be one of the other
 * storage type for `rel`, by name and by rules: no sidecar of the source is asked.  0, what `other`
 * returned, or -ENOMEM. */
int source_find_others(const struct source_set *set, const struct sidecar *live, const char *rel,
		       const struct source_found *found, pnp_file_fn *other, void *arg);
/* Has any source a sidecar of pnp4nagios where one of `rel` would be? */
bool source_has_sidecar(const struct source_set *set, const char *rel);
/* Closes the root and forgets the files. */
void source_found_end(struct source_found *found);
void source_found_free(struct source_found *found);

/* Walks source `n`, a tree: see io_walk().  -errno where its root cannot be opened. */
int source_walk(const struct source_set *set, unsigned n, io_entry_fn *entry,
		io_error_fn *error, void *arg);

/* Is the live file a hard link to any file of a source, whatever its name?  Writing to it would
 * change the backup.  Looks only where live has more links than one, and remembers what it
 * found for a minute.  1: yes; 0: no; -EAGAIN: a source does not answer.  From any thread. */
int source_holds_inode(const struct source_set *set, const struct io_stamp *live);

#endif
