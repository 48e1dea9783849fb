/*-------------------------------------------------------------------------
 * waiters.h
 *		Sessions that wait until something is known about one payment.
 *
 * A waiter says what it waits for before it looks; whoever changes that wakes
 * it after the change is visible.  So one of the two sees the other.
 *
 * Locking: a place in shared memory for each process, of atomics alone.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_WAITERS_H
#define AGENTPAY_WAITERS_H

#include "postgres.h"

/* What a session of this database waits for, a row of a point; never 0. */
extern uint64 agentpay_waiters_key(const char *point, const char *row_id);

/* From here on this process is woken, until end().  One key at a time. */
extern void agentpay_waiters_begin(uint64 key);
extern void agentpay_waiters_end(void);

/* Rises with each wake-up: a wait for a lock may eat the latch. */
extern uint32 agentpay_waiters_wakes(void);

/* When this transaction commits: who waits for the key, or everybody. */
extern void agentpay_waiters_wake_at_commit(uint64 key);
extern void agentpay_waiters_wake_all_at_commit(void);

/* shmem.c's. */
extern void agentpay_waiters_request(void);
extern void agentpay_waiters_start(void);
extern void agentpay_waiters_install(void);

#endif /* AGENTPAY_WAITERS_H */
