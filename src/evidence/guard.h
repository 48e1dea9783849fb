/*-------------------------------------------------------------------------
 * guard.h
 *		Refuses DDL that would change or remove the logs.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_GUARD_H
#define AGENTPAY_GUARD_H

#include "postgres.h"

#include "datatype/timestamp.h"

#include "base/shmem.h"

/* For agentpay_shmem_set_guard(). */
extern const AgentpayGuard agentpay_guard;

/*
 * Makes the monthly leaf of a log for that moment, if it is missing.  Runs as
 * the extension's owner, with the guards lifted.  The caller has no reference
 * to the parent's relation open.
 */
extern void agentpay_guard_make_partition(const char *log, TimestampTz at);

#endif /* AGENTPAY_GUARD_H */
