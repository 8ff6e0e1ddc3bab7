#include "config.h"
#include "dirs.h"

#include <errno.h>
#include <limits.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>

struct by_name {
	const struct dir *parent;
	const char *name;
};

/* A watch in the kernel. */
struct mark {
	int wd;
	struct dir *dir;        /* NULL: doomed */
	bool queued;            /* in the list of the doomed; stays there when it is adopted */
	struct mark *next;      /* in that list */
	struct mark *beside;    /* in its bucket */
};

struct dir {
	struct by_name key;     /* first: `names` compares keys; not for the root */
	struct mark *mark;      /* NULL: not watched */
	bool unwatched;         /* was listed without a watch */
	struct dir *parent;     /* NULL: the root */
	struct dir *child, *next, *previous;
	uint64_t seen;          /* the number of the scan that listed it last */
	char name[];
};

struct dirs {
	struct dir *root;
	void *names;            /* tsearch(3): struct dir by parent and name */
	struct mark **bucket;   /* [buckets], by wd: each event asks for one */
	size_t buckets;         /* a power of 2, or 0 */
	size_t marks;
	struct mark *doomed;
	size_t watched, unwatched;
	uint64_t scans;         /* begun so far */
};

static int compare_names(const void *left, const void *right)
{
	const struct by_name *a = left, *b = right;

	if (a->parent != b->parent)
		return (uintptr_t)a->parent < (uintptr_t)b->parent ? -1 : 1;
	return strcmp(a->name, b->name);
}

/* ---- directories ---- */

static struct dir *find_child(const struct dirs *dirs, const struct dir *parent, const char *name)
{
	const struct by_name key = { parent, name };
	void *found = tfind(&key, &dirs->names, compare_names);

	return found ? *(struct dir **)found : NULL;
}

static struct dir *add_child(struct dirs *dirs, struct dir *parent, const char *name)
{
	size_t size = strlen(name) + 1;
	struct dir *dir = calloc(1, sizeof(*dir) + size);

	if (!dir)
		return NULL;
	memcpy(dir->name, name, size);
	dir->key.parent = parent;
	dir->key.name = dir->name;
	dir->parent = parent;
	if (parent && !tsearch(dir, &dirs->names, compare_names)) {
		free(dir);
		return NULL;
	}
	if (parent) {
		dir->next = parent->child;
		if (dir->next)
			dir->next->previous = dir;
		parent->child = dir;
	}
	return dir;
}

/* Takes the first name off a path.  False where no directory can be called so. */
static bool next_name(const char **rel, char name[NAME_MAX + 1])
{
	size_t len = strcspn(*rel, "/");

	if (len > NAME_MAX)
		return false;
	memcpy(name, *rel, len);
	name[len] = '\0';
	*rel += len + ((*rel)[len] == '/');
	return true;
}

static struct dir *find_path(const struct dirs *dirs, const char *rel)
{
	struct dir *dir = dirs->root;
	char name[NAME_MAX + 1];

	while (dir && *rel)
		dir = next_name(&rel, name) ? find_child(dirs, dir, name) : NULL;
	return dir;
}

/* Writes the path of `name` ("" for the directory itself) in `dir`.  False where it is longer
 * than any path that can be opened. */
static bool path_of(const struct dir *dir, const char *name, char *buffer, size_t size)
{
	size_t at = size - 1, len = strlen(name);

	buffer[at] = '\0';
	while (true) {
		if (len > at)
			return false;
		at -= len;
		memcpy(buffer + at, name, len);
		if (!dir->parent)
			break;
		if (buffer[at]) {
			if (at == 0)
				return false;
			buffer[--at] = '/';
		}
		name = dir->name;
		len = strlen(name);
		dir = dir->parent;
	}
	memmove(buffer, buffer + at, size - at);
	return true;
}

static void unlink_dir(struct dirs *dirs, struct dir *dir)
{
	tdelete(dir, &dirs->names, compare_names);
	if (dir->previous)
		dir->previous->next = dir->next;
	else
		dir->parent->child = dir->next;
	if (dir->next)
		dir->next->previous = dir->previous;
	free(dir);
}

/* Removes directories upwards that nothing keeps in the table. */
static void prune(struct dirs *dirs, struct dir *dir)
{
	while (dir->parent && !dir->child && !dir->mark && !dir->unwatched) {
		struct dir *parent = dir->parent;

		unlink_dir(dirs, dir);
		dir = parent;
	}
}

/* Finds or adds `rel`; NULL: no memory, or no such name.  The caller gives it a reason to stay. */
static struct dir *make_path(struct dirs *dirs, const char *rel)
{
	struct dir *dir = dirs->root, *child;
	char name[NAME_MAX + 1];

	while (*rel) {
		child = NULL;
		if (next_name(&rel, name)) {
			child = find_child(dirs, dir, name);
			if (!child)
				child = add_child(dirs, dir, name);
		}
		if (!child) {
			prune(dirs, dir);
			return NULL;
		}
		dir = child;
	}
	return dir;
}

/* ---- watches ---- */

/* Where the mark stands, or would.  There are buckets.  The kernel counts wd up: no hash is better. */
static struct mark **place(const struct dirs *dirs, int wd)
{
	struct mark **mark = &dirs->bucket[(unsigned)wd & (dirs->buckets - 1)];

	while (*mark && (*mark)->wd != wd)
		mark = &(*mark)->beside;
	return mark;
}

static struct mark *find_mark(const struct dirs *dirs, int wd)
{
	return dirs->buckets ? *place(dirs, wd) : NULL;
}

/* Room for one more.  False: no memory. */
static bool grow(struct dirs *dirs)
{
	size_t count = dirs->buckets, more = count ? count * 2 : 64;
	struct mark **was = dirs->bucket, **bucket;

	if (dirs->marks < count)
		return true;
	bucket = calloc(more, sizeof(struct mark *));
	if (!bucket)
		return false;
	dirs->bucket = bucket;
	dirs->buckets = more;
	for (size_t i = 0; i < count; i++)
		for (struct mark *mark = was[i], *beside; mark; mark = beside) {
			beside = mark->beside;
			mark->beside = NULL;
			*place(dirs, mark->wd) = mark;
		}
	free(was);
	return true;
}

static struct dir *find_wd(const struct dirs *dirs, int wd)
{
	struct mark *mark = find_mark(dirs, wd);

	return mark ? mark->dir : NULL;
}

static void queue_doomed(struct dirs *dirs, struct mark *mark)
{
	if (mark->queued)
		return;
	mark->queued = true;
	mark->next = dirs->doomed;
	dirs->doomed = mark;
}

/* Finds the mark of `wd`, or adds a doomed one; NULL: no memory. */
static struct mark *make_mark(struct dirs *dirs, int wd)
{
	struct mark *mark = find_mark(dirs, wd);

	if (mark || !grow(dirs))
		return mark;
	mark = calloc(1, sizeof(*mark));
	if (!mark)
		return NULL;
	mark->wd = wd;
	*place(dirs, wd) = mark;
	dirs->marks++;
	queue_doomed(dirs, mark);
	return mark;
}

/* Takes from one directory its watch, or its having been listed without. */
static void unmap(struct dirs *dirs, struct dir *dir)
{
	if (dir->mark) {
		dir->mark->dir = NULL;
		queue_doomed(dirs, dir->mark);
		dir->mark = NULL;
		dirs->watched--;
	}
	if (dir->unwatched) {
		dir->unwatched = false;
		dirs->unwatched--;
	}
}

/* Forgets all beneath `top`, and its own watch.  The caller prunes.  No recursion: the depth is
 * whatever others made it. */
static void drop(struct dirs *dirs, struct dir *top)
{
	struct dir *dir = top;

	while (true) {
		while (dir->child)
			dir = dir->child;
		unmap(dirs, dir);
		if (dir == top)
			break;

		struct dir *parent = dir->parent;
		unlink_dir(dirs, dir);
		dir = parent;
	}
}

/* ---- what is exported ---- */

struct dirs *dirs_new(void)
{
	struct dirs *dirs = calloc(1, sizeof(*dirs));

	if (!dirs)
		return NULL;
	dirs->root = add_child(dirs, NULL, "");
	if (!dirs->root) {
		free(dirs);
		return NULL;
	}
	return dirs;
}

void dirs_free(struct dirs *dirs)
{
	if (!dirs)
		return;
	for (size_t i = 0; i < dirs->buckets; i++)
		for (struct mark *mark = dirs->bucket[i], *beside; mark; mark = beside) {
			beside = mark->beside;
			free(mark);
		}
	free(dirs->bucket);
	tdestroy(dirs->names, free);
	free(dirs->root);
	free(dirs);
}

size_t dirs_watched(const struct dirs *dirs)
{
	return dirs->watched;
}

size_t dirs_unwatched(const struct dirs *dirs)
{
	return dirs->unwatched;
}

bool dirs_is_watched(const struct dirs *dirs, const char *rel)
{
	const struct dir *dir = find_path(dirs, rel);

	return dir && dir->mark;
}

bool dirs_path(const struct dirs *dirs, int wd, const char *name, char *buffer, size_t size)
{
	const struct dir *dir = find_wd(dirs, wd);

	return dir && path_of(dir, name, buffer, size);
}

uint64_t dirs_begin_scan(struct dirs *dirs)
{
	return ++dirs->scans;
}

void dirs_listed(struct dirs *dirs, const char *rel, uint64_t number)
{
	struct dir *dir = find_path(dirs, rel);

	if (dir)
		dir->seen = number;
}

bool dirs_sweep(struct dirs *dirs, const char *rel, uint64_t number, char *buffer, size_t size)
{
	struct dir *dir = find_path(dirs, rel), *child = dir ? dir->child : NULL;

	while (child && child->seen >= number)
		child = child->next;
	if (!child)
		return false;
	if (!path_of(child, "", buffer, size))
		buffer[0] = '\0';
	drop(dirs, child);
	unlink_dir(dirs, child);
	return true;
}

int dirs_adopt(struct dirs *dirs, const char *rel, int wd, char *displaced, size_t size)
{
	struct mark *mark = make_mark(dirs, wd);
	struct dir *other = mark ? mark->dir : NULL, *dir = find_path(dirs, rel);

	displaced[0] = '\0';
	if (!mark)
		return -ENOMEM;
	if (other && other == dir)
		return 0;
	if (other && !other->parent)
		return -ELOOP;          /* the root, mounted within itself */
	if (other) {
		/* The same inode under another path: it was moved, the event is still to come
		 * (or this scan is outdated, which its last look will tell). */
		if (!path_of(other, "", displaced, size))
			displaced[0] = '\0';
		drop(dirs, other);
		prune(dirs, other);
		dir = find_path(dirs, rel);
	}
	if (dir && dir->mark)
		drop(dirs, dir);        /* another directory stood at this path */
	dir = make_path(dirs, rel);
	if (!dir)
		return -ENOMEM;
	unmap(dirs, dir);
	dir->mark = mark;
	mark->dir = dir;
	dirs->watched++;
	dir->seen = dirs->scans;
	return 0;
}

int dirs_adopt_unwatched(struct dirs *dirs, const char *rel)
{
	struct dir *dir = make_path(dirs, rel);

	if (!dir)
		return -ENOMEM;
	/* A directory that has a watch is not refused one: another stood at this path. */
	if (dir->mark)
		drop(dirs, dir);
	if (!dir->unwatched) {
		dir->unwatched = true;
		dirs->unwatched++;
		dir->seen = dirs->scans;
	}
	return 0;
}

bool dirs_forget(struct dirs *dirs, const char *rel)
{
	struct dir *dir = find_path(dirs, rel);

	if (!dir)
		return false;
	drop(dirs, dir);
	prune(dirs, dir);
	return true;
}

void dirs_forget_wd(struct dirs *dirs, int wd)
{
	struct dir *dir = find_wd(dirs, wd);

	if (!dir)
		return;
	if (dir->parent)
		drop(dirs, dir);
	else
		unmap(dirs, dir);
	prune(dirs, dir);
}

bool dirs_is_root(const struct dirs *dirs, int wd)
{
	return dirs->root->mark && dirs->root->mark->wd == wd;
}

int dirs_doomed(struct dirs *dirs)
{
	while (dirs->doomed) {
		struct mark *mark = dirs->doomed;

		dirs->doomed = mark->next;
		mark->queued = false;
		if (mark->dir)
			continue;       /* adopted meanwhile */

		int wd = mark->wd;
		*place(dirs, wd) = mark->beside;
		dirs->marks--;
		free(mark);
		return wd;
	}
	return -1;
}
