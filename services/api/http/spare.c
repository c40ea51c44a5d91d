#include "api/http/spare.h"

#include <malloc.h>
#include <pthread.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <orcania.h>

struct block {
	struct block *next;
};

static alignas(max_align_t) unsigned char small[SPARE_SMALL * SPARE_SMALL_COUNT];
static alignas(max_align_t) unsigned char large[SPARE_LARGE * SPARE_LARGE_COUNT];

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* guards `fresh` and `free` */

static struct pool {
	unsigned char *memory;
	size_t size, count; /* of its blocks */
	size_t fresh;       /* the first block that has never been handed out, nor any behind it */
	struct block *free;
	atomic_size_t taken;
} pools[] = {
	{.memory = small, .size = SPARE_SMALL, .count = SPARE_SMALL_COUNT},
	{.memory = large, .size = SPARE_LARGE, .count = SPARE_LARGE_COUNT},
};

#define POOLS (sizeof pools / sizeof pools[0])

void spare_begin(void)
{
	o_set_alloc_funcs(spare_malloc, spare_realloc, spare_free);
}

bool spare_is_low(void)
{
	for (size_t i = 0; i < POOLS; i++)
		if (atomic_load_explicit(&pools[i].taken, memory_order_relaxed) >= pools[i].count / 4)
			return true;
	return false;
}

static void *take_from(struct pool *pool)
{
	struct block *block;

	pthread_mutex_lock(&lock);
	block = pool->free;
	if (block)
		pool->free = block->next;
	else if (pool->fresh < pool->count)
		block = (struct block *)(void *)(pool->memory + pool->fresh++ * pool->size);
	pthread_mutex_unlock(&lock);
	if (block)
		atomic_fetch_add(&pool->taken, 1);
	return block;
}

static void *take(size_t size)
{
	void *block = NULL;

	for (size_t i = 0; i < POOLS && !block; i++)
		if (size <= pools[i].size)
			block = take_from(&pools[i]);
	return block;
}

/* NULL: malloc()'s. */
static struct pool *pool_of(const void *memory)
{
	for (size_t i = 0; i < POOLS; i++)
		if ((uintptr_t)memory - (uintptr_t)pools[i].memory < pools[i].size * pools[i].count)
			return &pools[i];
	return NULL;
}

void *spare_malloc(size_t size)
{
	void *memory = malloc(size);

	return memory ? memory : take(size);
}

static void *move(void *memory, size_t old_size, size_t size)
{
	void *moved = spare_malloc(size);

	if (moved && memory)
		memcpy(moved, memory, old_size < size ? old_size : size);
	if (moved)
		spare_free(memory);
	return moved;
}

void *spare_realloc(void *memory, size_t size)
{
	const struct pool *pool = pool_of(memory);

	if (pool)
		return size <= pool->size ? memory : move(memory, pool->size, size);
	void *moved = realloc(memory, size);
	return moved || !size ? moved : move(memory, malloc_usable_size(memory), size);
}

void spare_free(void *memory)
{
	struct pool *pool = pool_of(memory);
	struct block *block = memory;

	if (!pool) {
		free(memory);
		return;
	}
	pthread_mutex_lock(&lock);
	block->next = pool->free;
	pool->free = block;
	pthread_mutex_unlock(&lock);
	atomic_fetch_sub(&pool->taken, 1);
}
