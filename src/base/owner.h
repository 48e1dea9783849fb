/*-------------------------------------------------------------------------
 * owner.h
 *		Running agentpay's own SQL as the extension's owner, out of reach of
 *		the session's user, search_path and settings.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_OWNER_H
#define AGENTPAY_OWNER_H

#include "postgres.h"

typedef struct AgentpayOwnerState
{
	Oid user;
	int security_context;
	int guc_level;
} AgentpayOwnerState;

/* An error in between is undone by the transaction's abort. */
extern void agentpay_owner_enter(AgentpayOwnerState *saved);
extern void agentpay_owner_leave(const AgentpayOwnerState *saved);

#endif /* AGENTPAY_OWNER_H */
