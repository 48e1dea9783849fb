/*-------------------------------------------------------------------------
 * idempotency.h
 *		Rows that repeat a caller's key.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_IDEMPOTENCY_H
#define AGENTPAY_IDEMPOTENCY_H

#include "postgres.h"

#include "executor/tuptable.h"
#include "nodes/pg_list.h"

#include "scoring/table.h"

/*
 * The ids, as text, of earlier rows with the row's key, some of them if there
 * are many; NIL: it has no key, or is the first.  Locks the key until the
 * transaction ends, so that of two sessions one waits for the other.
 */
extern List *
agentpay_idempotency_earlier(AgentpayPoint *point, TupleTableSlot *row);

#endif /* AGENTPAY_IDEMPOTENCY_H */
