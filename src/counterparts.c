#include "config.h"
#include "counterparts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io.h"
#include "pnp.h"

/* All of it the thread's own, which may outlast who asked. */
struct question {
	struct source_set sources;
	unsigned n;
	char *rel, *live;       /* live: its tree, for sidecars; NULL: they are not asked */
	struct counterparts answer;
};

/* Of pnp4nagios' other storage type. */
static int ask_siblings(struct question *q)
{
	struct sidecar sidecar = { 0 };
	int root = io_open_root(q->live), r = 0;

	if (root < 0)
		return 0;
	if (!pnp_find_sidecar(root, q->rel, &sidecar, NULL))
		r = source_find_siblings(&q->sources, &sidecar, q->rel, &q->answer.found);
	sidecar_free(&sidecar);
	close(root);
	return r;
}

static void ask(void *arg)
{
	struct question *q = arg;

	q->answer.r = source_find(&q->sources, q->n, q->rel, &q->answer.found);
	if (!q->answer.r && q->live)
		q->answer.r = ask_siblings(q);
}

static void drop(void *arg)
{
	struct question *q = arg;

	source_found_end(&q->answer.found);
	source_found_free(&q->answer.found);
	source_set_free(&q->sources);
	free(q->rel);
	free(q->live);
	free(q);
}

int counterparts_ask(const struct source_set *sources, unsigned n, const char *rel,
		     const char *live, struct patience **ret,
		     const struct counterparts **ret_answer)
{
	struct question *q = calloc(1, sizeof(*q));
	struct patience *patience;

	if (!q)
		return -ENOMEM;
	q->answer.found = SOURCE_FOUND_NONE;
	q->n = n;
	q->rel = strdup(rel);
	q->live = live ? strdup(live) : NULL;
	if (!q->rel || (live && !q->live) || source_set_copy(sources, &q->sources)) {
		drop(q);
		return -ENOMEM;
	}
	int r = patience_begin(ask, drop, q, &patience);
	if (r)
		return r;               /* which has dropped it */
	*ret = patience;
	*ret_answer = &q->answer;
	return 0;
}
