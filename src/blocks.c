#include "config.h"
#include "blocks.h"

#include <stdalign.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define BLOCK_SIZE ((size_t)64 << 10)
#define ALIGN alignof(max_align_t)

struct block {
	LIST_ENTRY(block) link;
	size_t size, used;      /* bytes, this header included */
	size_t pieces;          /* in use */
};

/* What stands before the bytes that are handed out. */
struct piece {
	alignas(max_align_t) struct block *block;
	size_t size;            /* bytes, this header included */
};

/* In the place of the bytes, where the piece was put back to be used again. */
struct kept {
	struct kept *next;
};

static size_t aligned(size_t size)
{
	return (size + ALIGN - 1) / ALIGN * ALIGN;
}

/* Large enough for a piece of so many bytes. */
static struct block *new_block(struct blocks *blocks, size_t piece)
{
	size_t size = aligned(sizeof(struct block)) + piece;
	struct block *block;

	if (size < BLOCK_SIZE)
		size = BLOCK_SIZE;
	/* malloc() would put it among the rest. */
	block = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (block == MAP_FAILED)
		return NULL;
	block->size = size;
	block->used = aligned(sizeof(*block));
	LIST_INSERT_HEAD(&blocks->all, block, link);
	return block;
}

static void free_block(struct block *block)
{
	LIST_REMOVE(block, link);
	munmap(block, block->size);
}

/* Where the pieces of this size are kept; NULL: they are not. */
static struct kept **kept(struct blocks *blocks, size_t size)
{
	size_t n = size / ALIGN;

	return blocks->reuse && n < BLOCKS_KEPT ? &blocks->kept[n] : NULL;
}

/* One that is not in use yet. */
static struct piece *cut(struct blocks *blocks, size_t size)
{
	struct block *block = blocks->current;

	if (!block || block->size - block->used < size) {
		block = new_block(blocks, size);
		if (!block)
			return NULL;
		if (blocks->current && !blocks->current->pieces)
			free_block(blocks->current);
		blocks->current = block;
	}
	struct piece *piece = (struct piece *)(void *)((uint8_t *)block + block->used);
	block->used += size;
	block->pieces++;
	piece->block = block;
	piece->size = size;
	return piece;
}

void *blocks_get(struct blocks *blocks, size_t size)
{
	struct kept **again;
	struct piece *piece;
	void *bytes;

	size = aligned(sizeof(*piece) + (size < sizeof(struct kept) ? sizeof(struct kept) : size));
	again = kept(blocks, size);
	if (again && *again) {
		bytes = *again;
		*again = (*again)->next;
	} else {
		piece = cut(blocks, size);
		if (!piece)
			return NULL;
		bytes = piece + 1;
	}
	return memset(bytes, 0, size - sizeof(*piece));
}

void blocks_put(struct blocks *blocks, void *bytes)
{
	struct piece *piece = (struct piece *)bytes - 1;
	struct block *block = piece->block;
	struct kept **again = kept(blocks, piece->size);

	if (again) {
		struct kept *this = bytes;

		this->next = *again;
		*again = this;
		return;
	}
	if (--block->pieces)
		return;
	block->used = aligned(sizeof(*block));
	if (block == blocks->current && block->size <= BLOCK_SIZE)
		return;
	if (block == blocks->current)
		blocks->current = NULL;
	free_block(block);
}

void blocks_free(struct blocks *blocks)
{
	while (!LIST_EMPTY(&blocks->all))
		free_block(LIST_FIRST(&blocks->all));
	*blocks = (struct blocks){ .reuse = blocks->reuse };
}
