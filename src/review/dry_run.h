/*-------------------------------------------------------------------------
 * dry_run.h
 *		What evaluate() and backtest() share.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DRY_RUN_H
#define AGENTPAY_DRY_RUN_H

#include "scoring/table.h"

/* The compiled point of that name; an error when it does not score rows. */
extern AgentpayPoint *
agentpay_review_point(AgentpayTable *table, const char *name);

#endif /* AGENTPAY_DRY_RUN_H */
