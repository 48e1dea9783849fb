/*-------------------------------------------------------------------------
 * guard.h
 *		Refuses DDL that would change or remove the logs.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_GUARD_H
#define AGENTPAY_GUARD_H

#include "postgres.h"

#include "catalog/objectaccess.h"
#include "datatype/timestamp.h"
#include "nodes/nodes.h"

/*
 * For the ProcessUtility hook, before the statement runs: raises an error for
 * one that may not touch a log.  Returns true when the guards must be lifted
 * while it runs (DROP EXTENSION agentpay); the caller then calls lift() before
 * and restore() after it, also on error (PG_TRY).
 */
extern bool agentpay_guard_check_utility(Node *parsetree);
extern void agentpay_guard_lift(void);
extern void agentpay_guard_restore(void);

/* For the object_access hook: raises an error for a log that is dropped. */
extern void agentpay_guard_check_access(ObjectAccessType access, Oid class_id,
										Oid object_id, int sub_id, void *arg);

/*
 * Makes the monthly leaf of a log for that moment, if it is missing.  Runs as
 * the extension's owner, with the guards lifted.  The caller has no reference
 * to the parent's relation open.
 */
extern void agentpay_guard_make_partition(const char *log, TimestampTz at);

#endif							/* AGENTPAY_GUARD_H */
