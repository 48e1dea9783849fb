/*-------------------------------------------------------------------------
 * guard.h
 *		Refuses DDL that would change or remove the logs.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_GUARD_H
#define AGENTPAY_GUARD_H

#include "postgres.h"

#include "base/shmem.h"

/* For agentpay_shmem_set_guard(). */
extern const AgentpayGuard agentpay_guard;

#endif /* AGENTPAY_GUARD_H */
