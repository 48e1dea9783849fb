/*-------------------------------------------------------------------------
 * velocity_cache.h
 *		What shared memory remembers of the rows that share a key.
 *
 * An entry belongs to one stream (what an event is: table, key columns, time,
 * value, filter) and one key.  It holds the events after a time, `low`, of
 * committed rows and of rows in flight alike, and who wrote those in flight.
 *
 * Dropping an entry is always allowed: the next reader loads it from the table
 * again.  Whoever has added an event whose row is not in the table yet looks,
 * when it is, whether the entry is still the one that it knew (`incarnation`).
 *
 * Locking: one of many LWLocks, by the key's hash, guards the entries of its
 * buckets with all that hangs on them; it is held for moments, never while a
 * table is read, memory of a context is allocated or an error is raised.
 * Inside it the arena's lock is taken.  The sources have a lock of their own.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VELOCITY_CACHE_H
#define AGENTPAY_VELOCITY_CACHE_H

#include "postgres.h"

#include "access/transam.h"

#include "scoring/event_tree.h"

/* Longer keys are not remembered. */
#define AGENTPAY_CACHE_KEY_MAX 1024

typedef struct AgentpayCacheKey
{
	int source;
	uint64 hash;
	int length;
	char bytes[AGENTPAY_CACHE_KEY_MAX]; /* stream, then the key's values */
} AgentpayCacheKey;

typedef enum AgentpayCacheState
{
	AGENTPAY_CACHE_LOADING, /* somebody reads the table */
	AGENTPAY_CACHE_LIVE,
	AGENTPAY_CACHE_BYPASS /* does not fit: read the table */
} AgentpayCacheState;

/*
 * A (sub)transaction that was in progress.  It wrote events with its tag; or, with
 * tag 0, it changed or deleted rows, so that the entry is wrong when it commits
 * (and, if it had begun before the entry was loaded, when it aborts).
 */
typedef struct AgentpayCacheWriter
{
	FullTransactionId xid;
	uint32 tag;
	bool wrong_on_abort;
	int64 from; /* times of its events */
	int64 until;
} AgentpayCacheWriter;

typedef struct AgentpayCacheEntry
{
	AgentpayRef next; /* in the bucket */
	AgentpayRef self;
	uint64 hash;
	uint32 incarnation;
	uint32 generation; /* of the source, when it was made */
	uint16 source;
	uint8 state;
	bool used;	  /* since eviction came by */
	bool spoiled; /* while loading: what is being read is wrong already */
	int32 skips;  /* bypass: how many more reads until it is tried again */
	int32 backoff;
	int64 low;	/* events after it are there; DT_NOBEGIN: all */
	int64 span; /* microseconds that its readers look back */
	AgentpayEventTree tree;
	uint32 next_tag;
	uint32 n_writers;
	uint32 prune_at;	 /* look at all writers from that many on */
	AgentpayRef writers; /* a block */
	uint64 aborts_seen;
	uint16 length;
	char key[];
} AgentpayCacheEntry;

/* A table whose rows are remembered, as stat_velocity shows it. */
typedef struct AgentpayCacheCounts
{
	Oid table;
	uint64 entries;
	uint64 bytes;
	uint64 hits;
	uint64 loads;
	uint64 evictions;
	uint64 bypasses;
} AgentpayCacheCounts;

typedef enum AgentpayCacheCounter
{
	AGENTPAY_CACHE_HITS,
	AGENTPAY_CACHE_LOADS,
	AGENTPAY_CACHE_EVICTIONS,
	AGENTPAY_CACHE_BYPASSES
} AgentpayCacheCounter;

#define AGENTPAY_CACHE_COUNTERS (AGENTPAY_CACHE_BYPASSES + 1)

extern AgentpayArena agentpay_cache_arena;

/* Called once from _PG_init. */
extern void agentpay_cache_install(void);

/* Whether there is memory for it and this server may use it. */
extern bool agentpay_cache_enabled(void);

/* The number of a table of this database; -1 when too many are known. */
extern int agentpay_cache_source(Oid table);
/* The same, if it is known already. */
extern int agentpay_cache_find_source(Oid table);

/*
 * Which streams of a source are kept up to date: a session that inserts rows
 * without knowing one of them ends it, and whoever begins it again begins with
 * another epoch, so that nothing of before is found.  registry() rises when a
 * source is new, version() when the source's streams are others.
 */
typedef struct AgentpayCacheStream
{
	uint64 digest[2];
	uint32 epoch; /* 0: there is no room for it */
} AgentpayCacheStream;

extern uint32 agentpay_cache_registry(void);
extern uint32 agentpay_cache_version(int source);
/* These are what this session knows: fills in their epochs. */
extern uint32
agentpay_cache_cover(int source, AgentpayCacheStream *streams, int n);

/*
 * Whether what is remembered of the source may be read by this transaction:
 * not after its own change of the table's definition.
 */
extern bool agentpay_cache_usable(int source);
extern void agentpay_cache_count(int source, AgentpayCacheCounter counter);

/* This transaction changes the table: all is wrong once it commits. */
extern void agentpay_cache_mark_source(int source);
extern int
agentpay_cache_counts(AgentpayCacheCounts *counts, int room); /* of this db */

/* Locks the key's entries; the entry, if it is there and not out of date. */
extern AgentpayCacheEntry *agentpay_cache_lock(const AgentpayCacheKey *key);
extern void agentpay_cache_unlock(const AgentpayCacheKey *key);

/* Those that need the key's lock. */

/* An entry in state LOADING or BYPASS; NULL when there is no memory. */
extern AgentpayCacheEntry *
agentpay_cache_make(const AgentpayCacheKey *key, AgentpayCacheState state);
extern void agentpay_cache_drop(AgentpayCacheEntry *entry);

/* Looks what became of the writers; false: it dropped the entry. */
extern bool agentpay_cache_resolve(AgentpayCacheEntry *entry);

/*
 * The tag of this transaction for an event of that time; 0 when there is no
 * memory.  The same of another transaction, while loading.
 */
extern uint32 agentpay_cache_own_tag(AgentpayCacheEntry *entry, int64 time);
extern uint32 agentpay_cache_writer_tag(AgentpayCacheEntry *entry,
										FullTransactionId xid, int64 time);
/* The tags of this transaction and its subtransactions; how many. */
extern int agentpay_cache_own_tags(const AgentpayCacheEntry *entry,
								   uint32 *tags, int room);
/* This or another transaction changes or deletes rows; false: no memory. */
extern bool agentpay_cache_mark(AgentpayCacheEntry *entry,
								FullTransactionId xid, bool wrong_on_abort);

/* Rises with each entry that is dropped. */
extern uint32 agentpay_cache_drops(const AgentpayCacheKey *key);

/* Those that take locks themselves. */

/* The same as lock() by hash alone; wherever the hash leads. */
extern AgentpayCacheEntry *
agentpay_cache_lock_hash(uint64 hash, int source, uint32 incarnation);
extern void agentpay_cache_unlock_hash(uint64 hash);
extern uint32 agentpay_cache_drops_hash(uint64 hash);

/* Drops what there is under that hash, unless it has that incarnation. */
extern void
agentpay_cache_drop_hash(uint64 hash, int source, uint32 incarnation);

/* Gives back entries that nobody used lately; false: there are none. */
extern bool agentpay_cache_evict(void);

/* Waits until somebody's loading ends, or for a while; false: too long. */
extern bool agentpay_cache_wait(const AgentpayCacheKey *key);
extern void agentpay_cache_loaded(const AgentpayCacheKey *key);

/* Transactions that added events say how they end. */
extern void agentpay_cache_note_abort(void);
extern void agentpay_cache_note_prepare(void);

#endif /* AGENTPAY_VELOCITY_CACHE_H */
