#include "config.h"
#include "index.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "dump.h"
#include "io.h"

#define BUCKETS_FIRST 256

/* What leads from a live path to one backup path.  The live path itself is not kept: there may be a
 * hundred thousand of them, and the rules tell it. */
struct entry {
	struct entry *next;     /* in the bucket */
	uint64_t hash;          /* of the live path */
	unsigned walk;          /* the last that met it */
	unsigned nth;           /* of the live paths that the backup path leads to */
	size_t stem;            /* so much of `path`, and ".rrd", is what the rules are for */
	char path[];
};

struct index {
	struct names *names;
	atomic_uint users;
	pthread_mutex_t mutex;  /* for all below */
	struct entry **bucket;
	size_t buckets, count;  /* buckets: a power of two */
	unsigned walk;
	bool walked;            /* one has ended */
};

static uint64_t hash_of(const char *text)       /* FNV-1a */
{
	uint64_t h = UINT64_C(14695981039346656037);

	for (; *text; text++)
		h = (h ^ (unsigned char)*text) * UINT64_C(1099511628211);
	return h;
}

static struct entry **bucket_of(const struct index *index, uint64_t hash)
{
	return &index->bucket[(hash ^ hash >> 32) & (index->buckets - 1)];
}

int index_new(const struct names_rule *rule, size_t count, struct index **ret, struct reason *why)
{
	struct index *index = calloc(1, sizeof(*index));
	int r = -ENOMEM;

	if (!index)
		return r;
	atomic_init(&index->users, 1);
	pthread_mutex_init(&index->mutex, NULL);
	index->buckets = BUCKETS_FIRST;
	index->bucket = calloc(index->buckets, sizeof(struct entry *));
	if (index->bucket)
		r = names_new(rule, count, &index->names, why);
	if (r)
		index_free(index);
	else
		*ret = index;
	return r;
}

struct index *index_ref(struct index *index)
{
	if (index)
		atomic_fetch_add(&index->users, 1);
	return index;
}

void index_free(struct index *index)
{
	if (!index || atomic_fetch_sub(&index->users, 1) > 1)
		return;
	for (size_t i = 0; index->bucket && i < index->buckets; i++)
		while (index->bucket[i]) {
			struct entry *next = index->bucket[i]->next;

			free(index->bucket[i]);
			index->bucket[i] = next;
		}
	free(index->bucket);
	names_free(index->names);
	pthread_mutex_destroy(&index->mutex);
	free(index);
}

const struct names *index_names(const struct index *index)
{
	return index ? index->names : NULL;
}

size_t index_count(struct index *index)
{
	size_t count = 0;

	if (index) {
		pthread_mutex_lock(&index->mutex);
		count = index->count;
		pthread_mutex_unlock(&index->mutex);
	}
	return count;
}

/* ---- a walk ---- */

const char *index_rrd_of(int root, const char *path, char buffer[NAMES_SIZE])
{
	enum dump_root kind = DUMP_ROOT_OTHER;
	struct reason why;
	struct stat st;
	int fd;

	if (io_is_rrd_name(path))
		return path;
	if (!dump_stands_for(path, buffer, NAMES_SIZE) ||
	    !fstatat(root, buffer, &st, AT_SYMLINK_NOFOLLOW) ||
	    io_open_file(root, path, O_RDONLY, &fd, NULL, &why))
		return NULL;
	dump_look(fd, &kind, &why);
	close(fd);
	return kind == DUMP_ROOT_RRD ? buffer : NULL;
}

void index_begin(struct index *index)
{
	if (!index)
		return;
	pthread_mutex_lock(&index->mutex);
	index->walk++;
	pthread_mutex_unlock(&index->mutex);
}

/* Twice as many buckets.  Without memory for them it is slower, and no less right. */
static void grow(struct index *index)
{
	struct entry **old = index->bucket;
	size_t count = index->buckets;
	struct entry **bucket = calloc(count * 2, sizeof(struct entry *));

	if (!bucket)
		return;
	index->bucket = bucket;
	index->buckets = count * 2;
	for (size_t i = 0; i < count; i++)
		while (old[i]) {
			struct entry *entry = old[i], **to = bucket_of(index, entry->hash);

			old[i] = entry->next;
			entry->next = *to;
			*to = entry;
		}
	free(old);
}

/* Caller holds the mutex. */
static int put(struct index *index, const char *path, size_t stem, unsigned nth, uint64_t hash,
	       bool *ret_fresh)
{
	size_t len = strlen(path) + 1;
	struct entry *entry;

	for (entry = *bucket_of(index, hash); entry; entry = entry->next)
		if (entry->hash == hash && entry->nth == nth && !strcmp(entry->path, path)) {
			entry->walk = index->walk;
			*ret_fresh = false;
			return 0;
		}
	entry = malloc(sizeof(*entry) + len);
	if (!entry)
		return -ENOMEM;
	if (index->count >= index->buckets)
		grow(index);
	struct entry **to = bucket_of(index, hash);
	*entry = (struct entry){ .next = *to, .hash = hash, .walk = index->walk, .nth = nth,
				 .stem = stem };
	memcpy(entry->path, path, len);
	*to = entry;
	index->count++;
	*ret_fresh = true;
	return 0;
}

int index_add(struct index *index, const char *path, const char *rrd, index_lead_fn *hear,
	      void *arg)
{
	char live[NAMES_SIZE];
	int r = 0;

	assert(strlen(rrd) > 4 && !strncmp(path, rrd, strlen(rrd) - 4));
	for (unsigned nth = 0; !r; nth++) {
		struct index_lead lead = { .live = live };

		r = names_apply(index_names(index), rrd, nth, live, &lead.rule, &lead.why);
		if (r == REFUSED) {
			lead.live = NULL;
			r = 0;
		} else if (!r && lead.rule && strcmp(live, rrd)) {
			pthread_mutex_lock(&index->mutex);
			r = put(index, path, strlen(rrd) - 4, nth, hash_of(live), &lead.fresh);
			pthread_mutex_unlock(&index->mutex);
		}
		if (!r)
			r = hear(&lead, arg);
	}
	return r == -ENOENT ? 0 : r;
}

void index_end(struct index *index, bool whole)
{
	if (!index)
		return;
	pthread_mutex_lock(&index->mutex);
	index->walked = true;
	for (size_t i = 0; whole && i < index->buckets; i++)
		for (struct entry **at = &index->bucket[i]; *at; ) {
			struct entry *entry = *at;

			if (entry->walk == index->walk) {
				at = &entry->next;
				continue;
			}
			*at = entry->next;
			free(entry);
			index->count--;
		}
	pthread_mutex_unlock(&index->mutex);
}

bool index_is_walked(struct index *index)
{
	if (!index)
		return true;
	pthread_mutex_lock(&index->mutex);
	bool walked = index->walked;
	pthread_mutex_unlock(&index->mutex);
	return walked;
}

/* ---- a look-up ---- */

bool index_serves_own(const struct index *index, const char *rel)
{
	char live[NAMES_SIZE];
	unsigned rule;
	int r = 0;

	if (!index)
		return true;
	for (unsigned nth = 0; r == 0 || r == REFUSED; nth++) {
		r = names_apply(index->names, rel, nth, live, &rule, NULL);
		if (r == 0 && !strcmp(live, rel))
			return true;
	}
	return false;
}

struct hit {
	unsigned rule;
	char *path;
};

struct hits {
	struct hit *hit;
	size_t count, capacity;
};

static int compare_hits(const void *a, const void *b)
{
	const struct hit *x = a, *y = b;

	if (x->rule != y->rule)
		return x->rule < y->rule ? -1 : 1;
	return strcmp(x->path, y->path);
}

/* Does the entry lead to `live`?  Then it is one more hit. */
static int take(const struct index *index, const struct entry *entry, const char *live,
		struct hits *hits)
{
	char rrd[NAMES_SIZE + 4], led[NAMES_SIZE];
	struct hit hit;

	memcpy(rrd, entry->path, entry->stem);
	memcpy(rrd + entry->stem, ".rrd", 5);
	int r = names_apply(index->names, rrd, entry->nth, led, &hit.rule, NULL);
	if (r || strcmp(led, live))
		return r == -ENOMEM ? r : 0;
	if (hits->count == hits->capacity) {
		size_t capacity = hits->capacity ? hits->capacity * 2 : 8;
		struct hit *grown = reallocarray(hits->hit, capacity, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		hits->hit = grown;
		hits->capacity = capacity;
	}
	hit.path = strdup(entry->path);
	if (!hit.path)
		return -ENOMEM;
	hits->hit[hits->count++] = hit;
	return 0;
}

int index_find(struct index *index, const char *live, index_hit_fn *hit, void *arg)
{
	struct hits hits = { NULL, 0, 0 };
	uint64_t hash = hash_of(live);
	int r = 0;

	if (!index)
		return 0;
	pthread_mutex_lock(&index->mutex);
	for (struct entry *entry = *bucket_of(index, hash); entry && !r; entry = entry->next)
		if (entry->hash == hash)
			r = take(index, entry, live, &hits);
	pthread_mutex_unlock(&index->mutex);
	if (hits.count && !r)
		qsort(hits.hit, hits.count, sizeof(*hits.hit), compare_hits);
	for (size_t i = 0; i < hits.count && !r; i++)
		/* Two replacements of one rule may come to the same. */
		if (!i || strcmp(hits.hit[i].path, hits.hit[i - 1].path))
			r = hit(hits.hit[i].path, hits.hit[i].rule, arg);
	for (size_t i = 0; i < hits.count; i++)
		free(hits.hit[i].path);
	free(hits.hit);
	return r;
}
