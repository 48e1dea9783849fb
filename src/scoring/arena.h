/*-------------------------------------------------------------------------
 * arena.h
 *		Blocks of a fixed piece of memory that processes share.
 *
 * A buddy allocator: blocks have a power of two of bytes, from 64 to 4096,
 * and two free halves become one again.  A block is named by where it lies,
 * so that processes may have the memory at different addresses; 0 is none.
 *
 * Knows no PostgreSQL.  Locking: lock() and unlock() are called around each
 * allocation and release, which take some hundred instructions at most.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ARENA_H
#define AGENTPAY_ARENA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AGENTPAY_ARENA_UNIT 64
#define AGENTPAY_ARENA_ORDERS 7 /* 64 << 6 = 4096 */
#define AGENTPAY_ARENA_BLOCK_MAX \
	((size_t) AGENTPAY_ARENA_UNIT << (AGENTPAY_ARENA_ORDERS - 1))

typedef uint32_t AgentpayRef; /* a block, in units; 0: none */

/* In shared memory, in front of the blocks. */
typedef struct AgentpayArenaShared
{
	uint32_t n_units;
	uint64_t used; /* bytes of blocks that are given out */
	AgentpayRef free[AGENTPAY_ARENA_ORDERS]; /* heads of lists */
} AgentpayArenaShared;

/* A process's view of it. */
typedef struct AgentpayArena
{
	AgentpayArenaShared *shared;
	uint8_t *state; /* of each unit */
	char *blocks;
	void (*lock)(void *arg); /* or NULL */
	void (*unlock)(void *arg);
	void *lock_arg;
} AgentpayArena;

/* Bytes of shared memory for blocks of that many bytes altogether. */
extern size_t agentpay_arena_size(size_t bytes);

/* Makes the view of such memory; with first, all of it is free. */
extern void agentpay_arena_open(AgentpayArena *arena, void *memory,
								size_t bytes, bool first);

/* A block of at least that many bytes, not cleared; 0 when there is none. */
extern AgentpayRef agentpay_arena_alloc(AgentpayArena *arena, size_t bytes);
extern void agentpay_arena_free(AgentpayArena *arena, AgentpayRef ref);

/* The size that a request of so many bytes gets, and that a block has. */
extern size_t agentpay_arena_round(size_t bytes);
extern size_t
agentpay_arena_block_size(const AgentpayArena *arena, AgentpayRef ref);

static inline void *
agentpay_arena_at(const AgentpayArena *arena, AgentpayRef ref)
{
	return arena->blocks + (size_t) ref * AGENTPAY_ARENA_UNIT;
}

#endif /* AGENTPAY_ARENA_H */
