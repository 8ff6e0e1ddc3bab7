#include "config.h"
#include "queue.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "blocks.h"
#include "io.h"
#include "until.h"

#define NOT_QUEUED SIZE_MAX

struct key {
	enum queue_kind kind;
	const char *path;
};

/* An item is in `index` from its first put to the queue_done() that lets it go, and in `heap`
 * while it waits to be taken. */
struct item {
	struct key key;
	struct item *next;      /* in its bucket */
	uint64_t due_ns;
	uint64_t sequence;
	size_t place;           /* in the heap, or NOT_QUEUED: in flight */
	unsigned flags;
	unsigned tries;
	uint64_t memo;
	bool put_meanwhile;     /* while in flight: due_ns, sequence and flags are of that put */
	char path[];
};

/* Binary, the first due on top. */
struct heap {
	struct item **item;
	size_t queued, capacity;
};

struct queue {
	pthread_mutex_t mutex;  /* guards all that follows */
	pthread_cond_t idle;    /* takers that wait for something to do */
	pthread_cond_t timer;   /* the one taker that waits for the first due time */
	bool timed;             /* somebody waits on `timer` */
	bool ended, stopped, paused;
	uint64_t held_until_ns; /* no file is handed out before */
	struct item **bucket;   /* [buckets], by the key's hash */
	size_t buckets;         /* a power of 2, or 0 */
	struct blocks blocks;   /* the items' memory: they come by the hundred thousand, and go */
	size_t items;           /* in the index */
	size_t scans_in_flight; /* of them, not QUEUE_FILE */
	struct heap files, scans;       /* QUEUE_FILE, and all else: while paused, only these */
	uint64_t sequence;
};

/* The index.  Callers hold the mutex. */

/* Where the item stands, or would. */
static struct item **find(const struct queue *queue, const struct key *key)
{
	uint64_t hash = UINT64_C(14695981039346656037) + (uint64_t)key->kind;
	struct item **place;

	for (const char *c = key->path; *c; c++)                /* FNV-1a */
		hash = (hash ^ (uint8_t)*c) * UINT64_C(1099511628211);
	place = &queue->bucket[(hash ^ hash >> 32) & (queue->buckets - 1)];
	while (*place && ((*place)->key.kind != key->kind || strcmp((*place)->path, key->path)))
		place = &(*place)->next;
	return place;
}

/* Room for one more, at any rate. */
static int grow_index(struct queue *queue)
{
	size_t count = queue->buckets, more = count ? count * 2 : 64;
	struct item **was = queue->bucket, **bucket;

	if (queue->items < count)
		return 0;
	bucket = calloc(more, sizeof(struct item *));
	if (!bucket)
		return -ENOMEM;
	queue->bucket = bucket;
	queue->buckets = more;
	for (size_t i = 0; i < count; i++)
		for (struct item *item = was[i], *next; item; item = next) {
			next = item->next;
			item->next = NULL;
			*find(queue, &item->key) = item;
		}
	free(was);
	return 0;
}

static struct item *look_up(const struct queue *queue, const struct key *key)
{
	return queue->buckets ? *find(queue, key) : NULL;
}

/* The heap.  Callers hold the mutex. */

static bool before(const struct item *a, const struct item *b)
{
	return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->sequence < b->sequence);
}

static void set_place(struct heap *heap, size_t place, struct item *item)
{
	heap->item[place] = item;
	item->place = place;
}

static void sift_up(struct heap *heap, struct item *item)
{
	size_t place = item->place;

	while (place > 0 && before(item, heap->item[(place - 1) / 2])) {
		set_place(heap, place, heap->item[(place - 1) / 2]);
		place = (place - 1) / 2;
	}
	set_place(heap, place, item);
}

static void sift_down(struct heap *heap, struct item *item)
{
	size_t place = item->place, child;

	while ((child = 2 * place + 1) < heap->queued) {
		if (child + 1 < heap->queued && before(heap->item[child + 1], heap->item[child]))
			child++;
		if (!before(heap->item[child], item))
			break;
		set_place(heap, place, heap->item[child]);
		place = child;
	}
	set_place(heap, place, item);
}

/* There is always room for every item: queue_done() must not fail. */
static int reserve(struct heap *heap, size_t items)
{
	size_t capacity = heap->capacity ? heap->capacity : 64;
	struct item **grown;

	if (items <= heap->capacity)
		return 0;
	while (capacity < items)
		capacity *= 2;
	grown = reallocarray(heap->item, capacity, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	heap->item = grown;
	heap->capacity = capacity;
	return 0;
}

static void insert(struct heap *heap, struct item *item)
{
	assert(heap->queued < heap->capacity);
	item->place = heap->queued++;
	sift_up(heap, item);
}

static void remove_item(struct heap *heap, struct item *item)
{
	struct item *last = heap->item[--heap->queued];

	if (last != item) {
		set_place(heap, item->place, last);
		sift_up(heap, last);
		sift_down(heap, last);
	}
	item->place = NOT_QUEUED;
}

static struct heap *heap_of(struct queue *queue, const struct item *item)
{
	return item->key.kind == QUEUE_FILE ? &queue->files : &queue->scans;
}

/* When it may be handed out. */
static uint64_t turn_of(const struct queue *queue, const struct item *item)
{
	bool held = item->key.kind == QUEUE_FILE && item->due_ns < queue->held_until_ns;

	return held ? queue->held_until_ns : item->due_ns;
}

/* Of those that are not paused, the one whose turn is first; NULL: there is none. */
static struct item *first(const struct queue *queue)
{
	const struct heap *files = &queue->files, *scans = &queue->scans;
	struct item *file = files->queued && !queue->paused ? files->item[0] : NULL;
	struct item *scan = scans->queued ? scans->item[0] : NULL;

	if (!file || !scan)
		return file ? file : scan;
	/* What holds up the files alone lets scans pass. */
	return scan->due_ns < turn_of(queue, file) || before(scan, file) ? scan : file;
}

/* Who is to wake.  Callers hold the mutex. */

/* One waiting taker is enough: it wakes the next where more is left when it goes. */
static void wake_one(struct queue *queue)
{
	pthread_cond_signal(queue->timed ? &queue->timer : &queue->idle);
}

static void wake_all(struct queue *queue)
{
	pthread_cond_broadcast(&queue->idle);
	pthread_cond_broadcast(&queue->timer);
}

static bool is_over(const struct queue *queue)
{
	return queue->stopped || (queue->ended && queue->items == 0);
}

struct queue *queue_new(void)
{
	struct queue *queue = calloc(1, sizeof(*queue));

	if (!queue)
		return NULL;
	if (until_prepare(&queue->timer)) {
		free(queue);
		return NULL;
	}
	pthread_cond_init(&queue->idle, NULL);
	pthread_mutex_init(&queue->mutex, NULL);
	return queue;
}

void queue_free(struct queue *queue)
{
	if (!queue)
		return;
	blocks_free(&queue->blocks);
	free(queue->bucket);
	free(queue->files.item);
	free(queue->scans.item);
	pthread_cond_destroy(&queue->idle);
	pthread_cond_destroy(&queue->timer);
	pthread_mutex_destroy(&queue->mutex);
	free(queue);
}

/* Adds an item that is new, not queued yet. */
static struct item *add(struct queue *queue, enum queue_kind kind, const char *path)
{
	size_t size = strlen(path) + 1;
	struct item *item;

	if (reserve(kind == QUEUE_FILE ? &queue->files : &queue->scans, queue->items + 1) < 0 ||
	    grow_index(queue) < 0)
		return NULL;
	item = blocks_get(&queue->blocks, sizeof(*item) + size);
	if (!item)
		return NULL;
	memcpy(item->path, path, size);
	item->key.kind = kind;
	item->key.path = item->path;
	item->place = NOT_QUEUED;
	*find(queue, &item->key) = item;
	queue->items++;
	return item;
}

/* Gives an item that is due anew, or earlier than before, its time and its turn. */
static void set_due(struct queue *queue, struct item *item, uint64_t due_ns)
{
	item->due_ns = due_ns;
	item->sequence = queue->sequence++;
}

int queue_put(struct queue *queue, enum queue_kind kind, const char *path, uint64_t due_ns,
	      unsigned flags)
{
	const struct key key = { kind, path };
	struct item *item;
	int result = 0;

	pthread_mutex_lock(&queue->mutex);
	item = look_up(queue, &key);
	if (item) {
		if (item->place == NOT_QUEUED) {
			if (!item->put_meanwhile || due_ns < item->due_ns)
				set_due(queue, item, due_ns);
			item->flags |= flags;
			item->put_meanwhile = true;
			goto out;
		}
	} else {
		item = add(queue, kind, path);
		if (!item) {
			result = -ENOMEM;
			goto out;
		}
		set_due(queue, item, due_ns);
		insert(heap_of(queue, item), item);
	}
	item->flags |= flags;
	if (due_ns < item->due_ns) {
		set_due(queue, item, due_ns);
		sift_up(heap_of(queue, item), item);
	}
	if (item == first(queue))
		wake_one(queue);
out:
	pthread_mutex_unlock(&queue->mutex);
	return result;
}

/* Waits until something has changed or the first path is due.  Of all takers one alone waits
 * with a clock: else every due time would wake them all. */
static void wait_for_work(struct queue *queue)
{
	const struct item *next = first(queue);

	if (!next || queue->timed) {
		pthread_cond_wait(&queue->idle, &queue->mutex);
		return;
	}
	queue->timed = true;
	until_wait(&queue->timer, &queue->mutex, turn_of(queue, next));
	queue->timed = false;
}

bool queue_take(struct queue *queue, struct queue_job *ret)
{
	struct item *item = NULL;

	pthread_mutex_lock(&queue->mutex);
	while (!is_over(queue)) {
		struct item *next = first(queue);

		if (next && (turn_of(queue, next) == QUEUE_NOW ||
			     turn_of(queue, next) <= io_now_ns())) {
			item = next;
			remove_item(heap_of(queue, item), item);
			break;
		}
		wait_for_work(queue);
	}
	if (item) {
		*ret = (struct queue_job){
			.kind = item->key.kind,
			.path = item->path,
			.flags = item->flags,
			.tries = item->tries,
			.memo = item->memo,
			.item = item,
		};
		if (item->key.kind != QUEUE_FILE)
			queue->scans_in_flight++;
		item->flags = 0;
		item->put_meanwhile = false;
		/* The next is for somebody else, to take it or to wait for its time. */
		if (first(queue))
			wake_one(queue);
	}
	pthread_mutex_unlock(&queue->mutex);
	return item != NULL;
}

int queue_claim(struct queue *queue, enum queue_kind kind, const char *path,
		struct queue_job *ret)
{
	const struct key key = { kind, path };
	struct item *item;
	int r = 0;

	pthread_mutex_lock(&queue->mutex);
	struct item *found = look_up(queue, &key);
	item = found ? found : add(queue, kind, path);
	if (!item) {
		r = -ENOMEM;
	} else if (found && item->place == NOT_QUEUED) {
		r = -EBUSY;
	} else {
		item->put_meanwhile = found != NULL;
		if (found)
			remove_item(heap_of(queue, item), item);
		if (kind != QUEUE_FILE)
			queue->scans_in_flight++;
		*ret = (struct queue_job){ .kind = kind, .path = item->path, .item = item };
	}
	pthread_mutex_unlock(&queue->mutex);
	return r;
}

void queue_done(struct queue *queue, struct queue_job *job, bool again, uint64_t due_ns)
{
	struct item *item = job->item;

	pthread_mutex_lock(&queue->mutex);
	assert(item && item->place == NOT_QUEUED);
	if (item->key.kind != QUEUE_FILE)
		queue->scans_in_flight--;
	if (again) {
		if (!item->put_meanwhile || due_ns < item->due_ns)
			set_due(queue, item, due_ns);
		item->flags |= job->flags;
		item->memo = job->memo;
		item->tries++;
	} else {
		item->tries = 0;
	}
	if (again || item->put_meanwhile) {
		insert(heap_of(queue, item), item);
		if (item == first(queue))
			wake_one(queue);
	} else {
		*find(queue, &item->key) = item->next;
		queue->items--;
		blocks_put(&queue->blocks, item);
		if (is_over(queue))
			wake_all(queue);
	}
	job->item = NULL;
	job->path = NULL;
	pthread_mutex_unlock(&queue->mutex);
}

void queue_end(struct queue *queue)
{
	pthread_mutex_lock(&queue->mutex);
	queue->ended = true;
	wake_all(queue);
	pthread_mutex_unlock(&queue->mutex);
}

void queue_stop(struct queue *queue)
{
	pthread_mutex_lock(&queue->mutex);
	queue->stopped = true;
	wake_all(queue);
	pthread_mutex_unlock(&queue->mutex);
}

void queue_resume(struct queue *queue)
{
	pthread_mutex_lock(&queue->mutex);
	queue->stopped = false;
	wake_all(queue);
	pthread_mutex_unlock(&queue->mutex);
}

void queue_pause(struct queue *queue, bool paused)
{
	pthread_mutex_lock(&queue->mutex);
	queue->paused = paused;
	wake_all(queue);
	pthread_mutex_unlock(&queue->mutex);
}

void queue_hold(struct queue *queue, uint64_t until_ns)
{
	pthread_mutex_lock(&queue->mutex);
	queue->held_until_ns = until_ns;
	wake_all(queue);
	pthread_mutex_unlock(&queue->mutex);
}

/* Those that are due are the top of the heap, with nothing that is due beneath what is not: only
 * they are visited.  The depth of the recursion is that of the heap. */
static size_t count_due(const struct heap *heap, size_t place, uint64_t now)
{
	if (place >= heap->queued || heap->item[place]->due_ns > now)
		return 0;
	return 1 + count_due(heap, 2 * place + 1, now) + count_due(heap, 2 * place + 2, now);
}

struct queue_count queue_count(struct queue *queue)
{
	struct queue_count count = { 0 };
	uint64_t now = io_now_ns();

	pthread_mutex_lock(&queue->mutex);
	size_t files = count_due(&queue->files, 0, now), scans = count_due(&queue->scans, 0, now);
	size_t queued = queue->files.queued + queue->scans.queued;
	count.due = files + scans;
	count.scans = scans + queue->scans_in_flight;
	count.later = queued - count.due;
	count.in_flight = queue->items - queued;
	count.files_in_flight = count.in_flight - queue->scans_in_flight;
	pthread_mutex_unlock(&queue->mutex);
	return count;
}
