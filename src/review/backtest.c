/*-------------------------------------------------------------------------
 * backtest.c
 *		What a version of the rules would have said of payments that were
 *		decided.
 *
 * The version is compiled and evaluated by the code of an INSERT.  What its
 * rules read is what was recorded with the decision, as far as that is what
 * was read then:
 *
 *		columns		not treated by a policy, or sealed; no text out of which
 *					something was taken; no policy changed since
 *		features	of the same definition
 *
 * What the record lacks comes from the table: the row as it is now, features
 * computed for the row's own time (trial.c).  Lists are asked as they were;
 * models are computed again.  Payments are counted here, group by group.
 *
 * Nothing is written.
 *
 * Locks: AccessShareLock on the point's table, and whatever features read;
 * kept to the end of the transaction.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_type.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "funcapi.h"
#include "nodes/execnodes.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"
#include "utils/numeric.h"
#include "utils/rel.h"
#include "utils/timestamp.h"
#include "utils/tuplestore.h"

#include "base/compat.h"
#include "base/config_load.h"
#include "base/contain.h"
#include "review/backtest.h"
#include "review/batch.h"
#include "review/parallel.h"
#include "review/recorded.h"
#include "review/trial.h"
#include "scoring/evaluate.h"

/* Arguments of agentpay._backtest(). */
enum
{
	ARG_POINT,
	ARG_VERSION,
	ARG_RELATION,
	ARG_QUERY,
	ARG_SHARED_QUERY, /* of the blocks that come to a process */
	ARG_ROWS_QUERY,
	ARG_COLUMNS_SINCE, /* what was recorded before is not taken */
	ARG_CHANGED,	   /* features that changed, and when */
	ARG_FEATURES_SINCE
};

/* Columns of the query. */
enum
{
	COL_RECORDED,
	COL_LABEL,
	COL_AMOUNT,
	COL_CURRENCY,
	COL_BASE_AMOUNT,
	COL_ROW_ID,
	COL_OCCURRED_AT,
	COL_DECIDED_AT,
	COL_INPUTS,
	COL_IN_CLEAR, /* whatever policies say */
	COL_FAILED,	  /* something did, then */
	COLUMNS
};

static const Oid column_types[COLUMNS] = {
	[COL_RECORDED] = TEXTOID,
	[COL_LABEL] = TEXTOID,
	[COL_AMOUNT] = NUMERICOID,
	[COL_CURRENCY] = TEXTOID,
	[COL_BASE_AMOUNT] = NUMERICOID,
	[COL_ROW_ID] = TEXTOID,
	[COL_OCCURRED_AT] = TIMESTAMPTZOID,
	[COL_DECIDED_AT] = TIMESTAMPTZOID,
	[COL_INPUTS] = JSONBOID,
	[COL_IN_CLEAR] = BOOLOID,
	[COL_FAILED] = BOOLOID,
};

/* Columns of the query for rows of the table. */
enum
{
	ROW_NUMBER, /* from 1: among those that are asked for */
	ROW_LEAF,
	ROW_TID,
	ROW_ROW,
	ROW_COLUMNS
};

/* The row is checked by itself. */
static const Oid row_types[ROW_COLUMNS] = {
	[ROW_NUMBER] = INT8OID,
	[ROW_LEAF] = OIDOID,
	[ROW_TID] = TIDOID,
};

typedef struct Backtest
{
	AgentpayTrial trial;
	AgentpayGroups *groups;
	const char *rows_query;
	TimestampTz columns_since;
	TimestampTz *features_since; /* by number */
	AgentpayRead *reads;
	NullableDatum *features;

	/* of the rows that were fetched, those that lack something */
	SPITupleTable *payments;
	int n_lacking;
	int lacking[AGENTPAY_BATCH_MAX];
	bool *found; /* in the table */
} Backtest;

/* One payment. */
typedef struct Payment
{
	Datum values[COLUMNS]; /* 0 for NULL */
	Jsonb *inputs;		   /* NULL: nothing of it is used */
	TimestampTz decided_at;
	Bitmapset *unknown; /* features */
} Payment;

/* A payment on its way through agentpay_contain(). */
typedef struct Taking
{
	Backtest *backtest;
	Payment *payment;
	bool is_there;
	bool all; /* that is needed */
} Taking;

static void *open_groups(void);
static void work(const NullableDatum *args, bool shared, void *sum);
static void open_backtest(Backtest *backtest, const NullableDatum *args);
static bool visit_payment(AgentpayBatch *batch, HeapTuple row, TupleDesc desc);
static void look_up_rows(AgentpayBatch *batch);
static Datum ids_of(Backtest *backtest);
static bool visit_row(AgentpayBatch *batch, HeapTuple row, TupleDesc desc);
static void read_payment(Payment *payment, HeapTuple tuple, TupleDesc desc);
static bool
take(Backtest *backtest, Payment *payment, bool is_there, bool contained);
static void take_body(void *arg);
static bool take_recorded(Backtest *backtest, Payment *payment, bool is_there);
static bool take_input(Backtest *backtest, Payment *payment, int index);
static bool may_take(Backtest *backtest, const Payment *payment,
					 const AgentpayInput *input, const JsonbValue *value);
static void evaluate(Backtest *backtest, Payment *payment, bool contained);
static void count(Backtest *backtest, const Payment *payment, Datum verdict);

PG_FUNCTION_INFO_V1(agentpay_sql_backtest);

/* agentpay._backtest(…): see ARG_POINT, COL_RECORDED, ROW_NUMBER. */
Datum
agentpay_sql_backtest(PG_FUNCTION_ARGS)
{
	AgentpayGroups *groups;

	InitMaterializedSRF(fcinfo, 0);
	groups =
		agentpay_parallel_run(AGENTPAY_TASK_BACKTEST, fcinfo,
							  text_to_cstring(PG_GETARG_TEXT_PP(ARG_QUERY)));
	agentpay_groups_put(groups, (ReturnSetInfo *) fcinfo->resultinfo);
	return (Datum) 0;
}

const AgentpayTask agentpay_backtest_task = {
	.type = "agentpay backtest",
	.open = open_groups,
	.work = work,
	.write = agentpay_groups_write,
	.add = agentpay_groups_read,
};

static void *
open_groups(void)
{
	return agentpay_groups_make();
}

static void
work(const NullableDatum *args, bool shared, void *sum)
{
	char *name = TextDatumGetCString(args[ARG_POINT].value);
	char *query = TextDatumGetCString(
		args[shared ? ARG_SHARED_QUERY : ARG_QUERY].value);
	AgentpayConfig *config =
		agentpay_config_load_version(name,
									 DatumGetInt32(args[ARG_VERSION].value));
	Backtest *backtest = palloc0(sizeof(Backtest));
	AgentpayBatch batch = {.visit = visit_payment,
						   .done = look_up_rows,
						   .n_columns = COLUMNS,
						   .types = column_types,
						   .arg = backtest};

	backtest->groups = sum;
	PG_TRY();
	{
		agentpay_trial_begin(&backtest->trial, config,
							 DatumGetObjectId(args[ARG_RELATION].value), name);
		open_backtest(backtest, args);
		agentpay_batch_query(&batch, query);
	}
	PG_FINALLY();
	{
		agentpay_trial_end(&backtest->trial);
	}
	PG_END_TRY();
}

static void
open_backtest(Backtest *backtest, const NullableDatum *args)
{
	const AgentpayPoint *point = backtest->trial.point;
	const AgentpayPointConfig *config = point->config;
	Datum *names;
	Datum *since;
	int n_names;
	int n_since;

	backtest->rows_query = TextDatumGetCString(args[ARG_ROWS_QUERY].value);
	backtest->columns_since = DatumGetTimestampTz(
		args[ARG_COLUMNS_SINCE].value);
	backtest->features_since = palloc(sizeof(TimestampTz) *
									  Max(config->n_features, 1));
	for (int i = 0; i < config->n_features; i++)
		backtest->features_since[i] = DT_NOBEGIN;
	deconstruct_array(DatumGetArrayTypeP(args[ARG_CHANGED].value), TEXTOID, -1,
					  false, TYPALIGN_INT, &names, NULL, &n_names);
	deconstruct_array(DatumGetArrayTypeP(args[ARG_FEATURES_SINCE].value),
					  TIMESTAMPTZOID, sizeof(TimestampTz), FLOAT8PASSBYVAL,
					  TYPALIGN_DOUBLE, &since, NULL, &n_since);
	for (int i = 0; i < Min(n_names, n_since); i++)
	{
		int feature = agentpay_config_feature(config,
											  TextDatumGetCString(names[i]));

		if (feature >= 0)
			backtest->features_since[feature] = DatumGetTimestampTz(since[i]);
	}
	backtest->reads = agentpay_recorded_reads(point);
	backtest->features = palloc0(sizeof(NullableDatum) *
								 Max(config->n_features, 1));
}

/* Counts the payment; one that lacks something is noted, and counted later. */
static bool
visit_payment(AgentpayBatch *batch, HeapTuple row, TupleDesc desc)
{
	Backtest *backtest = batch->arg;
	Payment payment = {0};

	if (batch->at == 0)
		backtest->n_lacking = 0;
	read_payment(&payment, row, desc);
	if (payment.inputs != NULL &&
		take(backtest, &payment, false, batch->contained))
	{
		agentpay_trial_look(&backtest->trial, InvalidOid, NULL,
							&payment.decided_at);
		evaluate(backtest, &payment, batch->contained);
	}
	else
		backtest->lacking[backtest->n_lacking++] = (int) batch->at;
	return true;
}

/* Asks the table for what the record lacks. */
static void
look_up_rows(AgentpayBatch *payments)
{
	Backtest *backtest = payments->arg;
	AgentpayBatch batch = {.visit = visit_row,
						   .arg = backtest,
						   .n_columns = ROW_COLUMNS,
						   .types = row_types,
						   .row_context = payments->row_context};
	Oid type = TEXTARRAYOID;
	Datum ids;

	if (backtest->n_lacking == 0)
		return;
	backtest->payments = payments->rows;
	backtest->found = palloc0(sizeof(bool) * backtest->n_lacking);
	ids = ids_of(backtest);
	if (SPI_execute_with_args(backtest->rows_query, 1, &type, &ids, NULL, true,
							  0) != SPI_OK_SELECT)
		elog(ERROR, "could not read the rows of payments");
	batch.rows = SPI_tuptable;
	batch.n_rows = SPI_processed;
	agentpay_batch_visit(&batch);
	SPI_freetuptable(batch.rows);
	for (int i = 0; i < backtest->n_lacking; i++)
	{
		Payment payment = {0};

		if (backtest->found[i])
			continue;
		read_payment(&payment, backtest->payments->vals[backtest->lacking[i]],
					 backtest->payments->tupdesc);
		count(backtest, &payment, (Datum) 0);
	}
	pfree(backtest->found);
	pfree(DatumGetPointer(ids));
}

/* The ids of the payments that lack something: text[]. */
static Datum
ids_of(Backtest *backtest)
{
	Datum *ids = palloc(sizeof(Datum) * backtest->n_lacking);
	bool isnull;

	for (int i = 0; i < backtest->n_lacking; i++)
		ids[i] = SPI_getbinval(backtest->payments->vals[backtest->lacking[i]],
							   backtest->payments->tupdesc, COL_ROW_ID + 1,
							   &isnull);
	return PointerGetDatum(construct_array(ids, backtest->n_lacking, TEXTOID,
										   -1, false, TYPALIGN_INT));
}

/* Counts a payment with its row. */
static bool
visit_row(AgentpayBatch *batch, HeapTuple row, TupleDesc desc)
{
	Backtest *backtest = batch->arg;
	Payment payment = {0};
	Datum values[ROW_COLUMNS];
	bool nulls[ROW_COLUMNS];
	int number;

	heap_deform_tuple(row, desc, values, nulls);
	number = (int) DatumGetInt64(values[ROW_NUMBER]) - 1;
	if (number < 0 || number >= backtest->n_lacking ||
		TupleDescAttr(desc, ROW_ROW)->atttypid !=
			backtest->trial.relation->rd_rel->reltype)
		elog(ERROR, "row %d is no row of table \"%s\"", number + 1,
			 RelationGetRelationName(backtest->trial.relation));
	read_payment(&payment, backtest->payments->vals[backtest->lacking[number]],
				 backtest->payments->tupdesc);
	agentpay_trial_load(&backtest->trial,
						DatumGetHeapTupleHeader(values[ROW_ROW]));
	agentpay_trial_look(&backtest->trial, DatumGetObjectId(values[ROW_LEAF]),
						(ItemPointer) DatumGetPointer(values[ROW_TID]),
						&payment.decided_at);
	if (!take(backtest, &payment, true, batch->contained))
		(void) take(backtest, &payment, true, batch->contained);
	evaluate(backtest, &payment, batch->contained);
	backtest->found[number] = true;
	return true;
}

static void
read_payment(Payment *payment, HeapTuple tuple, TupleDesc desc)
{
	bool nulls[COLUMNS];

	heap_deform_tuple(tuple, desc, payment->values, nulls);
	for (int i = 0; i < COLUMNS; i++)
		if (nulls[i])
			payment->values[i] = (Datum) 0;
	payment->decided_at = DatumGetTimestampTz(payment->values[COL_DECIDED_AT]);
	if (!nulls[COL_INPUTS] && !DatumGetBool(payment->values[COL_FAILED]))
		payment->inputs = DatumGetJsonbP(payment->values[COL_INPUTS]);
}

/*
 * Fills the row and its features from the record, over the row of the table
 * where that is there.  False: something is in neither, or the record cannot
 * be read, and is not used from here on.
 */
static bool
take(Backtest *backtest, Payment *payment, bool is_there, bool contained)
{
	AgentpayPoint *point = backtest->trial.point;
	Taking taking = {backtest, payment, is_there};
	AgentpayExpressionState saved;
	ErrorData *error;

	agentpay_expression_enter(&point->scope, false, &saved);
	PG_TRY();
	{
		if (contained)
			take_body(&taking);
		else if (!agentpay_contain(take_body, &taking, &error))
			payment->inputs = NULL;
	}
	PG_FINALLY();
	{
		agentpay_expression_leave(&saved);
	}
	PG_END_TRY();
	return taking.all;
}

static void
take_body(void *arg)
{
	Taking *taking = arg;

	taking->all = take_recorded(taking->backtest, taking->payment,
								taking->is_there);
}

/* Of a row that is there, all is there. */
static bool
take_recorded(Backtest *backtest, Payment *payment, bool is_there)
{
	const AgentpayPoint *point = backtest->trial.point;

	agentpay_trial_fill(&backtest->trial, is_there);
	for (int i = 0; i < point->config->n_features; i++)
		backtest->features[i].isnull = true;
	for (int i = 0; i < point->n_inputs; i++)
		if (!take_input(backtest, payment, i) && !is_there)
			return false;
	ExecStoreVirtualTuple(backtest->trial.row);
	return true;
}

/* False: it is not recorded as it was read; models are computed anyway. */
static bool
take_input(Backtest *backtest, Payment *payment, int index)
{
	const AgentpayPoint *point = backtest->trial.point;
	const AgentpayInput *input = &point->inputs[index];
	bool is_column = input->column.attno != 0;
	JsonbValue value;
	NullableDatum *datum;

	if (!is_column && input->param >= point->config->n_features)
		return true;
	if (!agentpay_recorded_input(payment->inputs, input, &value) ||
		!may_take(backtest, payment, input, &value))
	{
		if (!is_column)
			payment->unknown = bms_add_member(payment->unknown, input->param);
		return false;
	}
	if (is_column)
	{
		int at = input->column.attno - 1;

		backtest->trial.row->tts_isnull[at] = value.type == jbvNull;
		if (value.type != jbvNull)
			backtest->trial.row->tts_values[at] =
				agentpay_recorded_datum(&backtest->reads[index],
										input->column.type, &value);
		return true;
	}
	datum = &backtest->features[input->param];
	datum->isnull = value.type == jbvNull;
	if (!datum->isnull)
		datum->value = agentpay_recorded_datum(&backtest->reads[index],
											   input->column.type, &value);
	return true;
}

static bool
may_take(Backtest *backtest, const Payment *payment, const AgentpayInput *input,
		 const JsonbValue *value)
{
	if (input->column.attno == 0 &&
		payment->decided_at <= backtest->features_since[input->param])
		return false;
	if (!DatumGetBool(payment->values[COL_IN_CLEAR]) &&
		(payment->decided_at <= backtest->columns_since ||
		 (input->has_policy &&
		  input->policy.treatment != AGENTPAY_TREATMENT_PASS)))
		return false;
	return agentpay_recorded_whole(input, value);
}

static void
evaluate(Backtest *backtest, Payment *payment, bool contained)
{
	AgentpayGiven given = {
		.occurred_at = DatumGetTimestampTz(payment->values[COL_OCCURRED_AT]),
		.amount = payment->values[COL_AMOUNT],
		.currency = payment->values[COL_CURRENCY],
		.base_amount = payment->values[COL_BASE_AMOUNT],
		.features = backtest->features,
		.unknown = payment->unknown,
	};
	AgentpayEvaluation evaluation = {
		.table = backtest->trial.table,
		.point = backtest->trial.point,
		.row = backtest->trial.row,
		.row_id = "",
		.decided_at = payment->decided_at,
		.contained = contained,
	};

	/* what failed then is read again, as all else with it */
	if (payment->inputs != NULL)
		evaluation.given = &given;
	agentpay_evaluate(&evaluation);
	count(backtest, payment,
		  backtest->trial.point->verdict_texts[evaluation.verdict]);
}

static void
count(Backtest *backtest, const Payment *payment, Datum verdict)
{
	Datum keys[AGENTPAY_GROUP_KEYS] = {
		[AGENTPAY_GROUP_RECORDED] = payment->values[COL_RECORDED],
		[AGENTPAY_GROUP_VERDICT] = verdict,
		[AGENTPAY_GROUP_LABEL] = payment->values[COL_LABEL],
		[AGENTPAY_GROUP_CURRENCY] = payment->values[COL_CURRENCY],
	};

	agentpay_groups_add(backtest->groups, keys, payment->values[COL_AMOUNT]);
}
