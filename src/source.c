#include "config.h"
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define OP_NUMBER 0             /* of rrdtool's op_en, src/rrd_rpncalc.h */
#define OP_VARIABLE 1
#define OP_PREV_OTHER 36

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

/* The DS of that name, or LAYOUT_NO_DS; `ret_twice` tells that there are more. */
static uint64_t find_ds(const struct layout_header *head, const char *name, bool *ret_twice)
{
	uint64_t found = LAYOUT_NO_DS;

	*ret_twice = false;
	for (uint64_t i = 0; i < head->ds_cnt; i++) {
		if (strcmp(head->ds[i].name, name))
			continue;
		if (found != LAYOUT_NO_DS) {
			*ret_twice = true;
			return found;
		}
		found = i;
	}
	return found;
}

/* Do two COMPUTE data sources compute the same, of data sources that belong together?  Those that
 * an expression names stand before it (rrdtool src/rrd_update.c, update_pdp), so `map` knows. */
static bool same_rpn(const struct layout_ds *x, const struct layout_ds *y, uint64_t known,
		     const uint64_t *map)
{
	if (x->rpn_len != y->rpn_len)
		return false;
	for (unsigned i = 0; i < x->rpn_len; i++) {
		const struct layout_rpn_node *m = &x->rpn[i], *n = &y->rpn[i];

		if (m->op != n->op)
			return false;
		if (m->op == OP_NUMBER && m->val != n->val)
			return false;
		if ((m->op == OP_VARIABLE || m->op == OP_PREV_OTHER) &&
		    ((uint64_t)m->val >= known || map[m->val] != (uint64_t)n->val))
			return false;
	}
	return true;
}

/* Finds the backup's for live's i-th (or LAYOUT_NO_DS), those before it being known: map[i].
 * REFUSED: a contradiction, named. */
static int match_ds(const struct layout_header *live, uint64_t i,
		    const struct layout_header *backup, uint64_t *map, struct reason *why)
{
	const struct layout_ds *ds = &live->ds[i];
	bool twice_live, twice_backup;
	uint64_t j = find_ds(backup, ds->name, &twice_backup);

	find_ds(live, ds->name, &twice_live);
	map[i] = LAYOUT_NO_DS;
	if (j == LAYOUT_NO_DS)
		return 0;
	if (twice_live || twice_backup) {
		reason_add(why, "data source %s: the name stands twice in %s", ds->name,
			   twice_live ? "live" : "backup");
		return REFUSED;
	}
	if (ds->type != backup->ds[j].type) {
		reason_add(why, "data source %s: live is %s and backup is %s", ds->name,
			   layout_dst_name(ds->type), layout_dst_name(backup->ds[j].type));
		return REFUSED;
	}
	if (ds->type == DST_COMPUTE && !same_rpn(ds, &backup->ds[j], i, map)) {
		reason_add(why, "data source %s: live computes it otherwise than backup, or of "
			   "others", ds->name);
		return REFUSED;
	}
	map[i] = j;
	return 0;
}

static void list_names(const struct layout_header *head, char *buffer, size_t size)
{
	size_t used = 0;

	buffer[0] = '\0';
	for (uint64_t i = 0; i < head->ds_cnt && used + LAYOUT_NAME_SIZE + 5 < size; i++) {
		bool last_fit = used + 2 * (LAYOUT_NAME_SIZE + 5) >= size;
		int n = snprintf(buffer + used, size - used, "%s%s", i ? "," : "",
				 last_fit && i + 1 < head->ds_cnt ? "..." : head->ds[i].name);
		used += (size_t)n;
	}
}

int source_map(const struct layout_header *live, const struct layout_header *backup,
	       uint64_t *map, uint64_t *ret_refused, struct reason *why)
{
	uint64_t matched = 0, refused = 0;

	reason_set(why, "%s", "");
	for (uint64_t i = 0; i < live->ds_cnt; i++) {
		if (match_ds(live, i, backup, map, why))
			refused++;
		else if (map[i] != LAYOUT_NO_DS)
			matched++;
	}
	*ret_refused = refused;
	if (matched)
		return 0;
	if (!refused) {
		char ours[100], theirs[100];

		list_names(live, ours, sizeof(ours));
		list_names(backup, theirs, sizeof(theirs));
		reason_set(why, "no data source in common: live has %s and backup has %s",
			   ours, theirs);
	}
	return REFUSED;
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
