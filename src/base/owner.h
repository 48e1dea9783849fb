/*-------------------------------------------------------------------------
 * owner.h
 *		Running agentpay's own SQL as the extension's owner, out of reach of
 *		the session's user, search_path and settings.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_OWNER_H
#define AGENTPAY_OWNER_H

#include "postgres.h"

#include "utils/snapshot.h"

typedef struct AgentpayOwnerState
{
	Oid user;
	int security_context;
	int guc_level;
} AgentpayOwnerState;

/* An error in between is undone by the transaction's abort. */
extern void agentpay_owner_enter(AgentpayOwnerState *saved);
extern void agentpay_owner_leave(const AgentpayOwnerState *saved);

/*
 * As the owner of a user's table, in a security-restricted operation: what its
 * triggers do, they do with that owner's rights.  Left by the same leave().
 */
extern void agentpay_owner_enter_table(Oid relation, AgentpayOwnerState *saved);

/*
 * Reading agentpay's tables, by SPI as the owner: what is committed now and
 * what this transaction did.  Under the transaction's own snapshot, a
 * REPEATABLE READ session would keep what it read then, since no later
 * invalidation corrects it.
 */
typedef struct AgentpayOwnerReading
{
	AgentpayOwnerState owner;
	Snapshot snapshot;
} AgentpayOwnerReading;

/*
 * What is read from here on, so that several processes see one configuration;
 * NULL: the latest.  To be reset before the snapshot is unregistered.
 */
extern void agentpay_owner_read_under(Snapshot snapshot);

/* All that is selected between begin and end belongs to one instant. */
extern void agentpay_owner_read_begin(AgentpayOwnerReading *reading);
extern void agentpay_owner_read_end(AgentpayOwnerReading *reading);

/* Leaves the rows, at most limit of them (0: all), in SPI_tuptable. */
extern void
agentpay_owner_select(const AgentpayOwnerReading *reading, const char *query,
					  int n_args, Oid *types, Datum *values, long limit);

#endif /* AGENTPAY_OWNER_H */
