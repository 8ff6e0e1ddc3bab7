#include "config.h"
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "labels.h"

/* ---- what a source holds ---- */

static int add_file(struct source_found *found, const char *rel, enum source_way way)
{
	if (found->count == found->capacity) {
		unsigned capacity = found->capacity ? found->capacity * 2 : 4;
		struct source_file *grown = reallocarray(found->file, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		found->file = grown;
		found->capacity = capacity;
	}
	char *copy = strdup(rel);
	if (!copy)
		return -ENOMEM;
	found->file[found->count++] = (struct source_file){ .rel = copy, .way = way };
	return 0;
}

/* Whatever stands there: that it is no regular file, or cannot be looked at, is told to who opens it. */
static bool is_there(int root, const char *rel)
{
	struct stat st;

	return !fstatat(root, rel, &st, AT_SYMLINK_NOFOLLOW) ||
	       (errno != ENOENT && errno != ENOTDIR);
}

int source_find(const struct source_set *set, unsigned n, const char *rel,
		struct source_found *found)
{
	const struct source *source = &set->source[n];
	const char *name = source->file ? source->file : rel;
	int r = 0;

	source_found_end(found);
	/* The root is opened for each file and closed again, so that a backup can be unmounted. */
	found->root = io_open_root(source->path);
	if (found->root < 0) {
		found->error = -found->root;
		found->root = -1;
		return -ENXIO;
	}
	if (is_there(found->root, name))
		r = add_file(found, name, SOURCE_SAME);
	if (r)
		source_found_end(found);
	return r;
}

void source_found_end(struct source_found *found)
{
	if (found->root >= 0)
		close(found->root);
	found->root = -1;
	for (unsigned i = 0; i < found->count; i++)
		free(found->file[i].rel);
	found->count = 0;
}

void source_found_free(struct source_found *found)
{
	source_found_end(found);
	free(found->file);
	*found = SOURCE_FOUND_NONE;
}

int source_walk(const struct source_set *set, unsigned n, io_entry_fn *entry,
		io_error_fn *error, void *arg)
{
	int root = io_open_root(set->source[n].path);

	if (root < 0)
		return root;
	int r = io_walk(root, "", entry, error, arg);
	close(root);
	return r;
}

/* ---- which data source is which ---- */

int source_map(const struct layout_header *live, const struct layout_header *backup,
	       uint64_t *map, uint64_t *ret_refused, struct reason *why)
{
	return labels_by_name(live, backup, map, ret_refused, why);
}

/* ---- hard links ---- */

#define LINKS_FRESH_NS (UINT64_C(60) * 1000000000)

struct inode {
	dev_t dev;
	ino_t ino;
};

/* The sources' files that have more links than one, sorted. */
struct source_links {
	pthread_mutex_t lock;   /* for all below */
	uint64_t built_ns;      /* 0: never */
	struct inode *inode;
	size_t count, capacity;
	int root;               /* of the source being walked */
};

static int compare_inodes(const void *a, const void *b)
{
	const struct inode *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

static int note_link(const char *rel, enum io_kind kind, void *arg)
{
	struct source_links *links = arg;
	struct stat st;

	if (kind != IO_FILE || fstatat(links->root, rel, &st, AT_SYMLINK_NOFOLLOW) ||
	    st.st_nlink < 2)
		return 0;
	if (links->count == links->capacity) {
		size_t capacity = links->capacity ? links->capacity * 2 : 256;
		struct inode *grown = reallocarray(links->inode, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		links->inode = grown;
		links->capacity = capacity;
	}
	links->inode[links->count++] = (struct inode){ st.st_dev, st.st_ino };
	return 0;
}

static void ignore_error(const char *rel, int error, void *arg)
{
	(void)rel;
	(void)error;
	(void)arg;
}

/* Caller holds links->lock. */
static void find_links(const struct source_set *set)
{
	struct source_links *links = set->links;

	links->count = 0;
	for (unsigned n = 0; n < set->count; n++) {
		links->root = io_open_root(set->source[n].path);
		if (links->root < 0)
			continue;
		if (set->source[n].file)
			note_link(set->source[n].file, IO_FILE, links);
		else
			io_walk(links->root, "", note_link, ignore_error, links);
		close(links->root);
	}
	if (links->count)
		qsort(links->inode, links->count, sizeof(*links->inode), compare_inodes);
	links->built_ns = io_now_ns();
}

bool source_holds_inode(const struct source_set *set, const struct io_stamp *live)
{
	struct source_links *links = set->links;
	struct inode wanted = { live->dev, live->ino };
	bool found = false;

	if (live->links < 2 || !links)
		return false;
	pthread_mutex_lock(&links->lock);
	if (!links->built_ns || io_now_ns() - links->built_ns > LINKS_FRESH_NS)
		find_links(set);
	if (links->count)
		found = bsearch(&wanted, links->inode, links->count, sizeof(wanted),
				compare_inodes);
	pthread_mutex_unlock(&links->lock);
	return found;
}

static struct source_links *links_new(void)
{
	struct source_links *links = calloc(1, sizeof(*links));

	if (links)
		pthread_mutex_init(&links->lock, NULL);
	return links;
}

static void links_free(struct source_links *links)
{
	if (!links)
		return;
	pthread_mutex_destroy(&links->lock);
	free(links->inode);
	free(links);
}

/* ---- the set ---- */

int source_add(struct source_set *set, const char *path, const char *file)
{
	struct source *grown = reallocarray(set->source, set->count + 1, sizeof(*grown));

	if (!grown)
		return -ENOMEM;
	set->source = grown;
	if (!set->links)
		set->links = links_new();
	if (!set->links)
		return -ENOMEM;
	struct source *added = &grown[set->count];
	added->path = strdup(path);
	added->file = file ? strdup(file) : NULL;
	if (!added->path || (file && !added->file)) {
		free(added->path);
		free(added->file);
		return -ENOMEM;
	}
	set->count++;
	return 0;
}

int source_set_copy(const struct source_set *set, struct source_set *ret)
{
	struct source_set copy = { 0 };
	int r = 0;

	for (unsigned n = 0; n < set->count && !r; n++)
		r = source_add(&copy, set->source[n].path, set->source[n].file);
	if (r)
		source_set_free(&copy);
	else
		*ret = copy;
	return r;
}

void source_set_free(struct source_set *set)
{
	for (unsigned i = 0; i < set->count; i++) {
		free(set->source[i].path);
		free(set->source[i].file);
	}
	free(set->source);
	links_free(set->links);
	*set = (struct source_set){ 0 };
}
