/*-------------------------------------------------------------------------
 * idempotency.h
 *		Rows that repeat a caller's key.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_IDEMPOTENCY_H
#define AGENTPAY_IDEMPOTENCY_H

#include "postgres.h"

#include "executor/tuptable.h"

#include "scoring/table.h"

/*
 * The id, as text, of an earlier row with the row's key, or NULL: the row has
 * none, or is the first.  Locks the key until the transaction ends, so that
 * of two sessions one waits for the other.
 */
extern char *
agentpay_idempotency_first(AgentpayPoint *point, TupleTableSlot *row);

#endif /* AGENTPAY_IDEMPOTENCY_H */
