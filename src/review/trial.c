/*-------------------------------------------------------------------------
 * trial.c
 *		A configuration that is tried on payments of the past.
 *
 * A payment is evaluated by the code of an INSERT.  Lists are asked as they
 * were when it was decided; windows are read by index past the shared memory
 * of live rows, up to the payment's own time, with the row itself once.
 *
 * Locks: AccessShareLock on the point's table, kept to the end of the
 * transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "access/table.h"
#include "utils/rel.h"

#include "review/dry_run.h"
#include "review/trial.h"
#include "scoring/lists.h"
#include "scoring/velocity.h"
#include "scoring/velocity_stream.h"

void
agentpay_trial_begin(AgentpayTrial *trial, AgentpayConfig *config, Oid relation,
					 const char *point)
{
	agentpay_config_pin(config);
	trial->config = config;
	trial->relation = table_open(relation, AccessShareLock);
	trial->table = agentpay_table_get(trial->relation, config);
	agentpay_table_pin(trial->table);
	trial->point = agentpay_review_point(trial->table, point);
	trial->stored = MakeSingleTupleTableSlot(RelationGetDescr(trial->relation),
											 &TTSOpsHeapTuple);
	trial->row = MakeSingleTupleTableSlot(RelationGetDescr(trial->relation),
										  &TTSOpsVirtual);
}

void
agentpay_trial_end(AgentpayTrial *trial)
{
	agentpay_velocity_leave_out(InvalidOid, NULL);
	agentpay_lists_look_back(NULL);
	if (trial->stored != NULL)
		ExecDropSingleTupleTableSlot(trial->stored);
	if (trial->row != NULL)
		ExecDropSingleTupleTableSlot(trial->row);
	if (trial->table != NULL)
		agentpay_table_unpin(trial->table);
	if (trial->config != NULL)
		agentpay_config_unpin(trial->config);
	if (trial->relation != NULL)
		table_close(trial->relation, NoLock);
}

void
agentpay_trial_look(AgentpayTrial *trial, Oid leaf, ItemPointer tid,
					const TimestampTz *decided_at)
{
	agentpay_velocity_leave_out(leaf, tid);
	agentpay_lists_look_back(decided_at);
	agentpay_streams_stop(trial->table->streams);
}

void
agentpay_trial_load(AgentpayTrial *trial, HeapTupleHeader header)
{
	HeapTuple tuple = palloc0(sizeof(HeapTupleData));

	tuple->t_len = HeapTupleHeaderGetDatumLength(header);
	tuple->t_tableOid = RelationGetRelid(trial->relation);
	tuple->t_data = header;
	ItemPointerSetInvalid(&tuple->t_self);
	ExecStoreHeapTuple(tuple, trial->stored, false);
}

void
agentpay_trial_fill(AgentpayTrial *trial, bool is_there)
{
	TupleTableSlot *row = trial->row;
	int natts = row->tts_tupleDescriptor->natts;

	ExecClearTuple(row);
	if (!is_there)
	{
		memset(row->tts_isnull, true, sizeof(bool) * natts);
		return;
	}
	slot_getallattrs(trial->stored);
	memcpy(row->tts_values, trial->stored->tts_values, sizeof(Datum) * natts);
	memcpy(row->tts_isnull, trial->stored->tts_isnull, sizeof(bool) * natts);
}
