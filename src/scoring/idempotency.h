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

#include "scoring/frame.h"
#include "scoring/table.h"

/*
 * The ids, as text, of earlier rows with the row's key, some of them if there
 * are many; NIL: it has no key, or is the first, or they could not be read,
 * and *error says why.  Waits for transactions that have such a row in flight.
 * Locks the key until the frame's next row.
 */
extern List *
agentpay_idempotency_earlier(AgentpayFrame *frame, AgentpayPoint *point,
							 TupleTableSlot *row, ErrorData **error);

#endif /* AGENTPAY_IDEMPOTENCY_H */
