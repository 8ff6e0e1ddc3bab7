/* blocks: memory for small pieces that come in masses: those that go again, and those that stay.
 *
 * Put among one another, each piece that goes leaves a hole that nothing else fits, and a daemon
 * stays as large as it was in its busiest minute.  Here pieces of one kind lie together in blocks,
 * and a block of which nothing is in use any more goes back to the system.  Not for several threads
 * at once. */
#ifndef BLOCKS_H
#define BLOCKS_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/queue.h>

#define BLOCKS_KEPT 32

/* All zero, but for `reuse`: empty. */
struct blocks {
	bool reuse;             /* pieces put back are used again, and no block goes back */
	struct kept *kept[BLOCKS_KEPT]; /* those, by size */
	LIST_HEAD(, block) all;
	struct block *current;  /* the one that pieces are cut from; NULL: none */
};

/* Zeroed.  NULL: no memory. */
void *blocks_get(struct blocks *blocks, size_t size);
void blocks_put(struct blocks *blocks, void *piece);
/* All pieces are gone with it. */
void blocks_free(struct blocks *blocks);

#endif
