#include "config.h"
#include "source.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "dump.h"
#include "pnp.h"

/* ---- what a source holds ---- */

static int add_file(struct source_found *found, const struct source_file *file)
{
	if (found->count == found->capacity) {
		unsigned capacity = found->capacity ? found->capacity * 2 : 4;
		struct source_file *grown = reallocarray(found->file, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		found->file = grown;
		found->capacity = capacity;
	}
	found->file[found->count] = *file;
	found->file[found->count].rel = strdup(file->rel);
	return found->file[found->count].rel ? (int)(found->count++, 0) : -ENOMEM;
}

/* Whatever stands there: that it is no regular file, or cannot be looked at, is told to who opens it. */
static bool is_there(int root, const char *rel)
{
	struct stat st;

	return !fstatat(root, rel, &st, AT_SYMLINK_NOFOLLOW) ||
	       (errno != ENOENT && errno != ENOTDIR && errno != ENAMETOOLONG);
}

/* The same for a name that is only guessed at: what cannot be looked at was told of the RRD. */
static bool is_seen(int root, const char *rel)
{
	struct stat st;

	return !fstatat(root, rel, &st, AT_SYMLINK_NOFOLLOW);
}

/* 1: a dump, or what only its reader can tell; 0: something else of that name, pnp4nagios' sidecar
 * above all. */
static int is_dump(int root, const char *rel)
{
	enum dump_root what = DUMP_ROOT_OTHER;
	struct reason why;
	int fd = -1, r = io_open_file(root, rel, O_RDONLY, &fd, NULL, &why);

	if (r == -ENOENT || r == -ENOTDIR)
		return 0;
	if (!r) {
		r = dump_look(fd, &what, &why);
		close(fd);
	}
	return r || what != DUMP_ROOT_NAGIOS;
}

/* The dumps of `file`, an RRD. */
static int add_dumps(struct source_found *found, const struct source_file *file)
{
	struct source_file dump = *file;
	char name[PATH_MAX];
	int r = 0;

	dump.dump = true;
	dump.rel = name;
	for (unsigned i = 0; i < DUMP_NAMES && !r; i++)
		if (dump_name(file->rel, i, name, sizeof(name)) && is_seen(found->root, name) &&
		    is_dump(found->root, name))
			r = add_file(found, &dump);
	return r;
}

/* An RRD or, where there is none, its dumps. */
static int add_either(struct source_found *found, const struct source_file *file)
{
	return is_there(found->root, file->rel) ? add_file(found, file) : add_dumps(found, file);
}

bool source_is_dump(int fd, const char *name)
{
	enum dump_root what = DUMP_ROOT_OTHER;
	char magic[4], rrd[PATH_MAX];

	if (!io_pread(fd, magic, sizeof(magic), 0) && !memcmp(magic, "RRD", sizeof(magic)))
		return false;
	return (!dump_look(fd, &what, NULL) && what == DUMP_ROOT_RRD) ||
	       dump_stands_for(name, rrd, sizeof(rrd));
}

/* A file that was named is what it is, whatever its name. */
static int add_named(struct source_found *found, char *name)
{
	struct source_file file = { .rel = name };
	struct reason why;
	int fd = -1;

	if (!is_there(found->root, name))
		return 0;
	if (!io_open_file(found->root, name, O_RDONLY, &fd, NULL, &why)) {
		file.dump = source_is_dump(fd, name);
		close(fd);
	}
	return add_file(found, &file);
}

/* What a rule led to. */
static int add_led(struct source_found *found, const char *path, unsigned rule, enum source_way way)
{
	struct source_file file = { .rel = (char *)(uintptr_t)path, .way = way, .rule = rule };
	char rrd[PATH_MAX];

	if (!is_there(found->root, path))       /* another source has it */
		return 0;
	if (dump_stands_for(path, rrd, sizeof(rrd))) {
		file.dump = true;
		/* Beside an RRD it is not asked. */
		if (is_there(found->root, rrd) || !is_dump(found->root, path))
			return 0;
	}
	return add_file(found, &file);
}

static int add_renamed(const char *path, unsigned rule, void *arg)
{
	return add_led(arg, path, rule, SOURCE_RENAMED);
}

bool source_enter(const struct source_set *set, unsigned n, struct visit *visit)
{
	return visits_enter(set->source[n].visits, VISITS_READ, !set->impatient, visit);
}

void source_leave(const struct source_set *set, unsigned n, struct visit *visit)
{
	visits_leave(set->source[n].visits, visit);
}

int source_find(const struct source_set *set, unsigned n, const char *rel,
		struct source_found *found)
{
	const struct source *source = &set->source[n];
	const struct source_file own = { .rel = (char *)(uintptr_t)rel };
	int r = 0;

	source_found_end(found);
	/* The root is opened for each file and closed again, so that a backup can be unmounted. */
	found->root = io_open_root(source->path);
	if (found->root < 0) {
		found->error = -found->root;
		found->root = -1;
		return -ENXIO;
	}
	if (source->file)
		r = add_named(found, source->file);
	else if (index_serves_own(set->index, rel))
		r = add_either(found, &own);
	if (!r && !source->file)
		r = index_find(set->index, rel, add_renamed, found);
	if (r)
		source_found_end(found);
	return r;
}

int source_find_dumps(struct source_found *found, unsigned at)
{
	const struct source_file file = found->file[at];        /* the list may move */

	return add_dumps(found, &file);
}

/* ---- pnp4nagios' other storage type ---- */

struct sibling_search {
	const struct source_set *set;
	const struct sidecar *live;
	const char *rel;
	struct source_found *found;
};

static int add_own_sibling(const char *path, void *arg)
{
	const struct sibling_search *search = arg;
	const struct source_file file = { .rel = (char *)(uintptr_t)path, .way = SOURCE_SIBLING };

	return index_serves_own(search->set->index, path) ? add_either(search->found, &file) : 0;
}

static int add_renamed_sibling(const char *path, unsigned rule, void *arg)
{
	const struct sibling_search *search = arg;
	struct source_found *found = search->found;
	char rrd[PATH_MAX];
	const char *of = dump_stands_for(path, rrd, sizeof(rrd)) ? rrd : path;

	if (!is_seen(found->root, path) ||
	    !pnp_shares(search->live, search->rel, found->root, of))
		return 0;
	return add_led(found, path, rule, SOURCE_SIBLING);
}

/* The index leads from the paths that live would have to files that there are: what the other storage
 * type would be called in live is asked for, and the backup's own sidecar says whether it is that. */
static int add_renamed_siblings(const char *other, void *arg)
{
	const struct sibling_search *search = arg;

	return index_find(search->set->index, other, add_renamed_sibling, arg);
}

/* Is there an RRD of this path, or a dump that shows itself to be one of it? */
static bool is_kept(int root, const char *rrd)
{
	bool kept = is_seen(root, rrd);
	char name[PATH_MAX];

	for (unsigned i = 0; i < DUMP_NAMES && !kept; i++) {
		enum dump_root what = DUMP_ROOT_OTHER;
		int fd;

		if (!dump_name(rrd, i, name, sizeof(name)) || !is_seen(root, name) ||
		    io_open_file(root, name, O_RDONLY, &fd, NULL, NULL))
			continue;
		kept = !dump_look(fd, &what, NULL) && what == DUMP_ROOT_RRD;
		close(fd);
	}
	return kept;
}

struct other_search {
	const struct source_set *set;
	int root;
	pnp_file_fn *hear;
	void *arg;
};

static int hear_led(const char *path, unsigned rule, void *arg)
{
	const struct other_search *search = arg;
	char rrd[PATH_MAX];
	const char *of = dump_stands_for(path, rrd, sizeof(rrd)) ? rrd : path;

	(void)rule;
	return is_seen(search->root, path) ? search->hear(of, search->arg) : 0;
}

static int hear_other(const char *other, void *arg)
{
	struct other_search *search = arg;
	int r = 0;

	if (index_serves_own(search->set->index, other) && is_kept(search->root, other))
		r = search->hear(other, search->arg);
	return r || !search->set->index ? r : index_find(search->set->index, other, hear_led, arg);
}

int source_find_others(const struct source_set *set, const struct sidecar *live, const char *rel,
		       const struct source_found *found, pnp_file_fn *other, void *arg)
{
	struct other_search search = { set, found->root, other, arg };

	return pnp_others(live, rel, hear_other, &search);
}

/* The live path's own files first, of both storage types, then those that rules lead there: among
 * equals, what was found first. */
static void sort_by_rule(struct source_found *found)
{
	for (unsigned i = 1; i < found->count; i++) {
		const struct source_file file = found->file[i];
		unsigned k = i;

		for (; k && found->file[k - 1].rule > file.rule; k--)
			found->file[k] = found->file[k - 1];
		found->file[k] = file;
	}
}

int source_find_siblings(const struct source_set *set, const struct sidecar *live, const char *rel,
			 struct source_found *found)
{
	struct sibling_search search = { set, live, rel, found };
	int r = pnp_siblings(live, rel, found->root, rel, add_own_sibling, &search);

	if (!r && set->index)
		r = pnp_others(live, rel, add_renamed_siblings, &search);
	sort_by_rule(found);
	return r;
}

/* ---- is there a sidecar ---- */

struct sidecar_search {
	int root;
	bool near;
};

static int look_near(const char *path, unsigned rule, void *arg)
{
	struct sidecar_search *search = arg;

	(void)rule;
	search->near = pnp_sidecar_is_near(search->root, path);
	return search->near;
}

static void look_near_in(const struct source_set *set, unsigned n, const char *rel,
			 struct sidecar_search *search)
{
	const struct source *source = &set->source[n];

	search->root = io_open_root(source->path);
	if (search->root < 0)
		return;
	if (source->file || index_serves_own(set->index, rel))
		look_near(source->file ? source->file : rel, 0, search);
	if (!search->near && !source->file)
		index_find(set->index, rel, look_near, search);
	close(search->root);
}

bool source_has_sidecar(const struct source_set *set, const char *rel)
{
	struct sidecar_search search = { .near = false };
	struct visit visit;

	for (unsigned n = 0; n < set->count && !search.near; n++) {
		if (!source_enter(set, n, &visit))
			continue;
		look_near_in(set, n, rel, &search);
		source_leave(set, n, &visit);
	}
	return search.near;
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

/* ---- hard links ---- */

#define LINKS_FRESH_NS (UINT64_C(60) * 1000000000)
#define LINKS_WAIT_S 5          /* for another who looks for them, where that is bounded */

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
	bool whole;             /* all sources have answered */
	int root;               /* of the source being walked */
	struct visit visit;     /* there */
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

	visits_move(&links->visit);
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
	links->whole = true;
	for (unsigned n = 0; n < set->count; n++) {
		if (!source_enter(set, n, &links->visit)) {
			links->whole = false;
			continue;
		}
		links->root = io_open_root(set->source[n].path);
		if (links->root >= 0 && set->source[n].file)
			note_link(set->source[n].file, IO_FILE, links);
		else if (links->root >= 0)
			io_walk(links->root, "", note_link, ignore_error, links);
		if (links->root >= 0)
			close(links->root);
		source_leave(set, n, &links->visit);
	}
	if (links->count)
		qsort(links->inode, links->count, sizeof(*links->inode), compare_inodes);
	links->built_ns = links->whole ? io_now_ns() : 0;
}

/* Who looks for them may hang, with the lock. */
static bool lock_links(const struct source_set *set)
{
	struct timespec until;

	if (!set->impatient)
		return !pthread_mutex_lock(&set->links->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += LINKS_WAIT_S;
	return !pthread_mutex_timedlock(&set->links->lock, &until);
}

int source_holds_inode(const struct source_set *set, const struct io_stamp *live)
{
	struct source_links *links = set->links;
	struct inode wanted = { live->dev, live->ino };
	bool found = false;

	if (live->links < 2 || !links)
		return 0;
	if (!lock_links(set))
		return -EAGAIN;
	if (!links->built_ns || io_now_ns() - links->built_ns > LINKS_FRESH_NS)
		find_links(set);
	if (links->count)
		found = bsearch(&wanted, links->inode, links->count, sizeof(wanted),
				compare_inodes);
	bool whole = links->whole;
	pthread_mutex_unlock(&links->lock);
	return found ? 1 : whole ? 0 : -EAGAIN;
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
	added->visits = visits_of(path);
	if (!added->path || (file && !added->file) || !added->visits) {
		free(added->path);
		free(added->file);
		visits_free(added->visits);
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
	copy.index = index_ref(set->index);
	copy.impatient = set->impatient;
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
		visits_free(set->source[i].visits);
	}
	free(set->source);
	index_free(set->index);
	links_free(set->links);
	*set = (struct source_set){ 0 };
}
