/*-------------------------------------------------------------------------
 * trial.h
 *		A configuration that is tried on payments of the past, by backtest()
 *		and simulate().
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TRIAL_H
#define AGENTPAY_TRIAL_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

#include "scoring/table.h"

typedef struct AgentpayTrial
{
	AgentpayConfig *config;
	Relation relation;
	AgentpayTable *table;
	AgentpayPoint *point;
} AgentpayTrial;

/*
 * Compiles the point for the table under the configuration, which belongs to
 * the trial from here on; an error when it does not score rows.  To be ended,
 * also after an error of whatever comes between.
 */
extern void agentpay_trial_begin(AgentpayTrial *trial, AgentpayConfig *config,
								 Oid relation, const char *point);
extern void agentpay_trial_end(AgentpayTrial *trial);

/* The row that is evaluated next: where it stands, and when it was decided. */
extern void agentpay_trial_look(AgentpayTrial *trial, Oid leaf, ItemPointer tid,
								const TimestampTz *decided_at);

#endif /* AGENTPAY_TRIAL_H */
