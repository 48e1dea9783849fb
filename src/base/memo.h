/*-------------------------------------------------------------------------
 * memo.h
 *		What the configuration says, kept from one transaction to the next.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_MEMO_H
#define AGENTPAY_MEMO_H

#include "postgres.h"

#include "base/statement.h"

/* Static.  What is kept is the owner's list, all of it in the context. */
typedef struct AgentpayMemo
{
	const char *name;
	MemoryContext context;
	uint64 generation; /* of the configuration; 0: nothing is kept */
	void *first;
} AgentpayMemo;

/*
 * Before each use: forgets what is kept if any configuration has changed since.
 * What it keeps stays until the next begin.
 */
extern void agentpay_memo_begin(AgentpayMemo *memo);

/* What is kept now is good for this use only. */
extern void agentpay_memo_expire(AgentpayMemo *memo);

/*
 * As agentpay_statement_row(), in the memo's context and as of now, so that it
 * is no older than what begin looked at.  For statements whose answer depends
 * on configuration alone.
 */
extern bool agentpay_memo_row(AgentpayMemo *memo, AgentpayStatement *statement,
							  int n, Oid *types, Datum *args, int columns,
							  Datum *values, bool *nulls);

#endif /* AGENTPAY_MEMO_H */
