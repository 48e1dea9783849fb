/*-------------------------------------------------------------------------
 * apply.h
 *		How an agent's verdict gets into the ledger's own table.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_APPLY_H
#define AGENTPAY_APPLY_H

#include "postgres.h"

/*
 * Whether this process has met a row that somebody else had locked, since it
 * last asked: its verdict waits in agentpay._applies.
 */
extern bool agentpay_apply_take_busy(void);

#endif /* AGENTPAY_APPLY_H */
