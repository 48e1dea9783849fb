/*-------------------------------------------------------------------------
 * backtest.h
 *		The groups in which backtest() counts payments.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_BACKTEST_H
#define AGENTPAY_BACKTEST_H

#include "postgres.h"

#include "lib/stringinfo.h"
#include "nodes/execnodes.h"

/* What makes a group: texts. */
enum
{
	AGENTPAY_GROUP_RECORDED,
	AGENTPAY_GROUP_VERDICT,
	AGENTPAY_GROUP_LABEL,
	AGENTPAY_GROUP_CURRENCY,
	AGENTPAY_GROUP_KEYS
};

typedef struct AgentpayGroups AgentpayGroups;

/* In a child of the current memory context. */
extern AgentpayGroups *agentpay_groups_make(void);

/* Counts a payment; 0 for NULL, of its amount (numeric), too. */
extern void
agentpay_groups_add(AgentpayGroups *groups,
					const Datum keys[AGENTPAY_GROUP_KEYS], Datum amount);

/* A row for each group. */
extern void
agentpay_groups_put(const AgentpayGroups *groups, ReturnSetInfo *result);

/* All groups as bytes; and what they say, added to other groups. */
extern void agentpay_groups_write(const void *groups, StringInfo bytes);
extern void agentpay_groups_read(void *groups, StringInfo bytes);

#endif /* AGENTPAY_BACKTEST_H */
