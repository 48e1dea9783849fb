/*-------------------------------------------------------------------------
 * arena.c
 *		Blocks of a fixed piece of memory that processes share.
 *
 * The buddy of a block of 2^k units lies at its place with bit k flipped.
 * Each unit has a byte of state: the first one of a block says the block's
 * order and whether it is free; the others are never looked at.
 *
 * Source: D. E. Knuth, The Art of Computer Programming, vol. 1, 2.5,
 * algorithms R and S.
 *-------------------------------------------------------------------------
 */
#include <assert.h>
#include <string.h>

#include "scoring/arena.h"

#define STATE_FREE 0x80 /* beside the order */
#define STATE_INTERIOR 0x7f

/* In a free block. */
typedef struct FreeBlock
{
	AgentpayRef next;
	AgentpayRef previous;
} FreeBlock;

static uint32_t units_of(size_t bytes);
static size_t blocks_offset(uint32_t n_units);
static int order_of(size_t bytes);
static void push(AgentpayArena *arena, AgentpayRef ref, int order);
static void unlink_block(AgentpayArena *arena, AgentpayRef ref, int order);
static AgentpayRef take(AgentpayArena *arena, int order);
static void give_back(AgentpayArena *arena, AgentpayRef ref);

size_t
agentpay_arena_size(size_t bytes)
{
	uint32_t n_units = units_of(bytes);

	return blocks_offset(n_units) + (size_t) n_units * AGENTPAY_ARENA_UNIT;
}

void
agentpay_arena_open(AgentpayArena *arena, void *memory, size_t bytes,
					bool first)
{
	const uint32_t step = 1u << (AGENTPAY_ARENA_ORDERS - 1);
	uint32_t n_units = units_of(bytes);

	memset(arena, 0, sizeof(*arena));
	arena->shared = memory;
	arena->state = (uint8_t *) memory + sizeof(AgentpayArenaShared);
	arena->blocks = (char *) memory + blocks_offset(n_units);
	if (!first)
		return;
	memset(arena->shared, 0, sizeof(AgentpayArenaShared));
	arena->shared->n_units = n_units;
	memset(arena->state, STATE_INTERIOR, n_units);
	/* the first one stays unused, so that 0 is no block */
	for (uint32_t ref = n_units - n_units % step; ref > step; ref -= step)
		push(arena, ref - step, AGENTPAY_ARENA_ORDERS - 1);
}

AgentpayRef
agentpay_arena_alloc(AgentpayArena *arena, size_t bytes)
{
	AgentpayRef ref;

	if (arena->shared == NULL || bytes > AGENTPAY_ARENA_BLOCK_MAX)
		return 0;
	if (arena->lock)
		arena->lock(arena->lock_arg);
	ref = take(arena, order_of(bytes));
	if (arena->unlock)
		arena->unlock(arena->lock_arg);
	return ref;
}

void
agentpay_arena_free(AgentpayArena *arena, AgentpayRef ref)
{
	if (arena->lock)
		arena->lock(arena->lock_arg);
	give_back(arena, ref);
	if (arena->unlock)
		arena->unlock(arena->lock_arg);
}

size_t
agentpay_arena_round(size_t bytes)
{
	return (size_t) AGENTPAY_ARENA_UNIT << order_of(bytes);
}

size_t
agentpay_arena_block_size(const AgentpayArena *arena, AgentpayRef ref)
{
	return (size_t) AGENTPAY_ARENA_UNIT << arena->state[ref];
}

static uint32_t
units_of(size_t bytes)
{
	return (uint32_t) (bytes / AGENTPAY_ARENA_UNIT);
}

/* Blocks begin at a multiple of the unit. */
static size_t
blocks_offset(uint32_t n_units)
{
	size_t offset = sizeof(AgentpayArenaShared) + n_units;

	return (offset + AGENTPAY_ARENA_UNIT - 1) / AGENTPAY_ARENA_UNIT *
		   AGENTPAY_ARENA_UNIT;
}

static int
order_of(size_t bytes)
{
	int order = 0;

	while (((size_t) AGENTPAY_ARENA_UNIT << order) < bytes)
		order++;
	return order;
}

static void
push(AgentpayArena *arena, AgentpayRef ref, int order)
{
	FreeBlock *block = agentpay_arena_at(arena, ref);
	AgentpayRef head = arena->shared->free[order];

	block->next = head;
	block->previous = 0;
	if (head != 0)
		((FreeBlock *) agentpay_arena_at(arena, head))->previous = ref;
	arena->shared->free[order] = ref;
	arena->state[ref] = STATE_FREE | order;
}

static void
unlink_block(AgentpayArena *arena, AgentpayRef ref, int order)
{
	FreeBlock *block = agentpay_arena_at(arena, ref);

	if (block->previous != 0)
		((FreeBlock *) agentpay_arena_at(arena, block->previous))->next =
			block->next;
	else
		arena->shared->free[order] = block->next;
	if (block->next != 0)
		((FreeBlock *) agentpay_arena_at(arena, block->next))->previous =
			block->previous;
}

/* The smallest free block that is large enough, cut in halves. */
static AgentpayRef
take(AgentpayArena *arena, int order)
{
	int found = order;
	AgentpayRef ref;

	while (found < AGENTPAY_ARENA_ORDERS && arena->shared->free[found] == 0)
		found++;
	if (found == AGENTPAY_ARENA_ORDERS)
		return 0;
	ref = arena->shared->free[found];
	unlink_block(arena, ref, found);
	while (found > order)
	{
		found--;
		push(arena, ref + (1u << found), found);
	}
	arena->state[ref] = order;
	arena->shared->used += (size_t) AGENTPAY_ARENA_UNIT << order;
	return ref;
}

/* Joins it with its buddy as long as that is free. */
static void
give_back(AgentpayArena *arena, AgentpayRef ref)
{
	int order = arena->state[ref];

	assert(order < AGENTPAY_ARENA_ORDERS);
	arena->shared->used -= (size_t) AGENTPAY_ARENA_UNIT << order;
	while (order < AGENTPAY_ARENA_ORDERS - 1)
	{
		AgentpayRef buddy = ref ^ (1u << order);

		if (buddy >= arena->shared->n_units ||
			arena->state[buddy] != (STATE_FREE | order))
			break;
		unlink_block(arena, buddy, order);
		arena->state[buddy] = STATE_INTERIOR;
		arena->state[ref] = STATE_INTERIOR;
		if (buddy < ref)
			ref = buddy;
		order++;
	}
	push(arena, ref, order);
}
