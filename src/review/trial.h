/*-------------------------------------------------------------------------
 * trial.h
 *		A configuration that is tried on payments of the past, by backtest()
 *		and simulate().
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TRIAL_H
#define AGENTPAY_TRIAL_H

#include "postgres.h"

#include "access/htup.h"
#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "storage/itemptr.h"
#include "utils/relcache.h"

#include "scoring/table.h"

typedef struct AgentpayTrial
{
	AgentpayConfig *config;
	Relation relation;
	AgentpayTable *table;
	AgentpayPoint *point;
	TupleTableSlot *stored; /* a row as the table has it */
	TupleTableSlot *row;	/* with what was recorded instead */
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

/* Puts a row of the table into stored, of which it stays a part. */
extern void agentpay_trial_load(AgentpayTrial *trial, HeapTupleHeader header);

/*
 * Fills row, to be stored as a virtual tuple: what stored has, or, when it is
 * not there, nothing.
 */
extern void agentpay_trial_fill(AgentpayTrial *trial, bool is_there);

#endif /* AGENTPAY_TRIAL_H */
