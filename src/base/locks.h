/*-------------------------------------------------------------------------
 * locks.h
 *		Every heavyweight lock of agentpay, in the order in which they are
 *		taken: kill switch, then budgets (ascending key), then tasks (ascending
 *		number), then rows.
 *
 * Some stand apart: a dispatcher takes its own before all others, once;
 * whoever claims only tries the cursor's; idempotency keys are locked by
 * INSERTs, and the Merkle tree by whoever seals or signs, which take none of
 * the others.
 *
 * They live in a key space of the advisory lock tag that SQL cannot reach
 * (SQL's functions use field4 1 and 2, Citus 4 to 16), so that nobody can
 * stall spending with pg_advisory_lock().
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LOCKS_H
#define AGENTPAY_LOCKS_H

#include "postgres.h"

#include "miscadmin.h"
#include "storage/lock.h"

#define AGENTPAY_LOCK_KILL 0xA601		 /* field4; K of the design */
#define AGENTPAY_LOCK_BUDGET 0xA602		 /* key: hash of the name */
#define AGENTPAY_LOCK_IDEMPOTENCY 0xA603 /* key: hash of point and key */
#define AGENTPAY_LOCK_DISPATCHER 0xA604	 /* key: lease; its dispatcher lives */
#define AGENTPAY_LOCK_TASK 0xA605	/* key: task_id, of those with decide_by */
#define AGENTPAY_LOCK_SEAL 0xA607	/* key 0: one sealer a database */
#define AGENTPAY_LOCK_CURSOR 0xA608 /* key 0: who claims tasks */

#define SET_LOCKTAG_AGENTPAY(tag, space, key)                       \
	SET_LOCKTAG_ADVISORY(tag, MyDatabaseId, (uint32) ((key) >> 32), \
						 (uint32) (key), (space))

#endif /* AGENTPAY_LOCKS_H */
