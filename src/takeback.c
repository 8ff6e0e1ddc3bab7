#include "config.h"
#include "takeback.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "patience.h"

enum { UNDER_WAY, ENDED, LEFT };

struct takeback {
	struct patience *patience;
	struct merge_site site;         /* our own: another configuration may come meanwhile */
	struct queue *queue;
	struct queue_job job;
	atomic_uint *left;
	atomic_int how;
	char *rel;
	int64_t id;
	struct merge_result result;
};

static void drop(void *arg)
{
	struct takeback *t = arg;

	source_set_free(&t->site.sources);
	free((char *)(uintptr_t)t->site.live);
	free((char *)(uintptr_t)t->site.name);
	free(t->rel);
	free(t);
}

/* Nobody goes on with it: what is not undone is not under way any more. */
static void abandon(struct takeback *t)
{
	char key[MERGE_KEY_SIZE];

	if (t->result.outcome != MERGE_MERGED)
		ledger_abandon(t->site.ledger, merge_key(&t->site, t->rel, key));
	queue_done(t->queue, &t->job, false, 0);
	queue_put(t->queue, QUEUE_FILE, t->rel, QUEUE_NOW, QUEUE_LOOK);
	atomic_fetch_sub(t->left, 1);
}

static void work(void *arg)
{
	struct takeback *t = arg;
	struct merge_scratch *scratch = merge_scratch_new();

	if (scratch)
		merge_undo(scratch, &t->site, t->rel, t->id, &t->result);
	merge_scratch_free(scratch);
	if (atomic_exchange(&t->how, ENDED) == LEFT)
		abandon(t);
}

static int copy(const struct takeback_site *at, const char *rel, struct takeback *t)
{
	t->site = *at->site;
	t->site.sources = (struct source_set){ 0 };
	t->site.live = strdup(at->site->live);
	t->site.name = at->site->name ? strdup(at->site->name) : NULL;
	t->rel = strdup(rel);
	if (!t->site.live || !t->rel || (at->site->name && !t->site.name))
		return -ENOMEM;
	return source_set_copy(&at->site->sources, &t->site.sources);
}

int takeback_begin(const struct takeback_site *at, const char *rel, int64_t id,
		   const struct merge_result *result, struct takeback **ret)
{
	struct takeback *t = calloc(1, sizeof(*t));
	struct queue_job job;
	int r = t ? copy(at, rel, t) : -ENOMEM;

	if (!r)
		r = queue_claim(at->queue, QUEUE_FILE, rel, &job);
	if (r) {
		if (t)
			drop(t);
		return r;
	}
	t->queue = at->queue;
	t->job = job;
	t->left = at->left;
	t->id = id;
	t->result = *result;
	struct patience *patience;
	atomic_fetch_add(at->left, 1);          /* until it has ended */
	r = patience_begin(work, drop, t, &patience);
	if (r) {
		atomic_fetch_sub(at->left, 1);
		queue_done(at->queue, &job, false, 0);
		return r;
	}
	t->patience = patience;
	*ret = t;
	return 0;
}

int takeback_end(struct takeback *t, struct merge_result *ret_result)
{
	struct patience *patience = t->patience;
	int r = 0;

	if (!patience_wait(patience, TAKEBACK_MS) && atomic_exchange(&t->how, LEFT) != ENDED)
		r = -ETIMEDOUT;
	if (!r) {
		*ret_result = t->result;
		queue_done(t->queue, &t->job, false, 0);
		atomic_fetch_sub(t->left, 1);
	}
	patience_end(patience);
	return r;
}
