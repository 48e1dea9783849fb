/*-------------------------------------------------------------------------
 * identity.h
 *		Whether this database is the ledger, or a copy that must keep quiet.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_IDENTITY_H
#define AGENTPAY_IDENTITY_H

#include "postgres.h"

/* Not started, or a copy that nobody adopted: nothing may call an agent. */
extern bool agentpay_identity_held(void);

#endif /* AGENTPAY_IDENTITY_H */
