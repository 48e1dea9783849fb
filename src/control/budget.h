/*-------------------------------------------------------------------------
 * budget.h
 *		What a transaction that held a budget's lock leaves to its process.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_BUDGET_H
#define AGENTPAY_BUDGET_H

#include "postgres.h"

/*
 * Whether a transaction of this process has committed, since it last asked,
 * without waiting for the disk; *applies: what it ended waits in
 * agentpay._applies.  An aborted one may have left it, too.
 */
extern bool agentpay_budget_take_flush(bool *applies);

#endif /* AGENTPAY_BUDGET_H */
