/*-------------------------------------------------------------------------
 * velocity_cache_internal.h
 *		The shared memory behind velocity_cache.h, for the rooms that keep it:
 *
 *		velocity_cache.c	entries: found, made, dropped, evicted
 *		velocity_writers.c	who wrote an entry's events in flight
 *		velocity_sources.c	tables, their streams, changes of their definition
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VELOCITY_CACHE_INTERNAL_H
#define AGENTPAY_VELOCITY_CACHE_INTERNAL_H

#include "postgres.h"

#include "port/atomics.h"
#include "storage/condition_variable.h"
#include "storage/lwlock.h"

#include "scoring/velocity_cache.h"

#define PARTITIONS 128 /* power of two */
#define LOCK_ARENA PARTITIONS
#define LOCK_SOURCES (PARTITIONS + 1)
#define N_LOCKS (PARTITIONS + 2)
#define SOURCES_MAX 256
#define SOURCE_MARKS_MAX 16
#define SOURCE_STREAMS_MAX 32
#define PRUNE_FIRST 16

/* A table; LOCK_SOURCES guards what is not atomic. */
typedef struct AgentpayCacheSource
{
	Oid database; /* InvalidOid: free */
	Oid table;
	pg_atomic_uint32 generation; /* entries of another one are out of date */
	pg_atomic_uint32 n_marks;
	pg_atomic_uint32 blocked; /* marks were lost: until the server restarts */
	FullTransactionId marks[SOURCE_MARKS_MAX];
	pg_atomic_uint32 version; /* rises when the streams change */
	uint32 last_epoch;
	int n_streams;
	AgentpayCacheStream streams[SOURCE_STREAMS_MAX];
	pg_atomic_uint64 entries;
	pg_atomic_uint64 counters[AGENTPAY_CACHE_COUNTERS];
} AgentpayCacheSource;

typedef struct AgentpayCachePartition
{
	pg_atomic_uint32 drops;
	uint32 last_incarnation;
	ConditionVariable loaded;
} AgentpayCachePartition;

typedef struct AgentpayCacheShared
{
	pg_atomic_uint64 aborts;
	pg_atomic_uint32 prepared;
	pg_atomic_uint32 registry; /* rises with each new source */
	pg_atomic_uint32 hand;	   /* of the clock that evicts */
	uint32 n_buckets;		   /* power of two */
	AgentpayCachePartition partitions[PARTITIONS];
	AgentpayCacheSource sources[SOURCES_MAX];
	AgentpayRef buckets[];
} AgentpayCacheShared;

extern AgentpayCacheShared *agentpay_cache_shared; /* NULL: no memory */
extern LWLockPadded *agentpay_cache_locks;

/* The lowest bits choose the lock, so that a bucket has one. */
static inline LWLock *
agentpay_cache_lock_of(uint64 hash)
{
	return &agentpay_cache_locks[hash & (PARTITIONS - 1)].lock;
}

/* Whether the entry is of the table as it is now. */
extern bool agentpay_cache_is_current(const AgentpayCacheEntry *entry);
/* Whether that is this transaction, or one whose fate may be known no more. */
extern bool agentpay_cache_is_own(FullTransactionId xid);
extern bool agentpay_cache_is_forgotten(FullTransactionId xid);

#endif /* AGENTPAY_VELOCITY_CACHE_INTERNAL_H */
