/*-------------------------------------------------------------------------
 * memo.c
 *		What the configuration says, kept from one transaction to the next.
 *
 * A dispatcher asks the same of an agent for each batch, and a batch is often
 * one payment.  Every change of configuration invalidates its table in all
 * sessions, from where it is visible on; so does every change of any table's
 * shape.  As long as no such message has come, the answer is the same.
 *
 * An answer is read under a snapshot that is taken after the messages were, so
 * that what it does not see yet is still to be told.
 *
 * Locking: none of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#include "base/config.h"
#include "base/memo.h"

/* Old versions of agents are never forgotten one by one. */
#define MAX_KEPT_BYTES (1024 * 1024)

void
agentpay_memo_begin(AgentpayMemo *memo)
{
	uint64 generation;

	AcceptInvalidationMessages();
	generation = agentpay_config_generation();
	if (memo->context == NULL)
		memo->context = AllocSetContextCreate(TopMemoryContext, "agentpay memo",
											  ALLOCSET_SMALL_SIZES);
	if (memo->name != NULL)
		MemoryContextSetIdentifier(memo->context, memo->name);
	if (memo->generation == generation &&
		MemoryContextMemAllocated(memo->context, true) <= MAX_KEPT_BYTES)
		return;
	memo->first = NULL;
	memo->generation = 0;
	MemoryContextReset(memo->context);
	memo->generation = generation;
}

void
agentpay_memo_expire(AgentpayMemo *memo)
{
	memo->generation = 0;
}

bool
agentpay_memo_row(AgentpayMemo *memo, AgentpayStatement *statement, int n,
				  Oid *types, Datum *args, int columns, Datum *values,
				  bool *nulls)
{
	MemoryContext old = MemoryContextSwitchTo(memo->context);
	bool found;

	PushActiveSnapshot(GetLatestSnapshot());
	found = agentpay_statement_row(statement, n, types, args, NULL, columns,
								   values, nulls);
	PopActiveSnapshot();
	MemoryContextSwitchTo(old);
	return found;
}
