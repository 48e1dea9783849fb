/*-------------------------------------------------------------------------
 * recorded.c
 *		The inputs of a decision, read back from JSON.
 *
 * No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "review/recorded.h"

static Datum number_of(Oid type, Numeric number, const AgentpayRead *read);

AgentpayRead *
agentpay_recorded_reads(const AgentpayPoint *point)
{
	AgentpayRead *reads = palloc0(sizeof(AgentpayRead) *
								  Max(point->n_inputs, 1));

	for (int i = 0; i < point->n_inputs; i++)
	{
		Oid input;

		getTypeInputInfo(point->inputs[i].column.type, &input,
						 &reads[i].ioparam);
		fmgr_info(input, &reads[i].input);
	}
	return reads;
}

bool
agentpay_recorded_member(Jsonb *object, const char *key, JsonbValue *value)
{
	return object != NULL && JB_ROOT_IS_OBJECT(object) &&
		   getKeyJsonValueFromContainer(&object->root, key, strlen(key),
										value) != NULL;
}

bool
agentpay_recorded_whole(const AgentpayInput *input, const JsonbValue *value)
{
	return !input->scanned || value->type != jbvString ||
		   memchr(value->val.string.val, '[', value->val.string.len) == NULL;
}

Datum
agentpay_recorded_datum(const AgentpayRead *read, Oid type,
						const JsonbValue *value)
{
	char *text;

	switch (value->type)
	{
		case jbvBool:
			if (type == BOOLOID)
				return BoolGetDatum(value->val.boolean);
			break;
		case jbvNumeric:
			return number_of(type, value->val.numeric, read);
		case jbvString:
			if (type == TEXTOID || type == VARCHAROID || type == BPCHAROID)
				return PointerGetDatum(
					cstring_to_text_with_len(value->val.string.val,
											 value->val.string.len));
			text = pnstrdup(value->val.string.val, value->val.string.len);
			return InputFunctionCall((FmgrInfo *) &read->input, text,
									 read->ioparam, -1);
		case jbvBinary:
			text = JsonbToCString(NULL, value->val.binary.data,
								  value->val.binary.len);
			return InputFunctionCall((FmgrInfo *) &read->input, text,
									 read->ioparam, -1);
		default:
			break;
	}
	ereport(ERROR, (errcode(ERRCODE_DATATYPE_MISMATCH),
					errmsg("an input has a value of another type")));
}

static Datum
number_of(Oid type, Numeric number, const AgentpayRead *read)
{
	Datum datum = NumericGetDatum(number);

	switch (type)
	{
		case NUMERICOID:
			return datum;
		case INT2OID:
			return DirectFunctionCall1(numeric_int2, datum);
		case INT4OID:
			return DirectFunctionCall1(numeric_int4, datum);
		case INT8OID:
			return DirectFunctionCall1(numeric_int8, datum);
		case FLOAT4OID:
			return DirectFunctionCall1(numeric_float4, datum);
		case FLOAT8OID:
			return DirectFunctionCall1(numeric_float8, datum);
		default:
			return InputFunctionCall(
				(FmgrInfo *) &read->input,
				DatumGetCString(DirectFunctionCall1(numeric_out, datum)),
				read->ioparam, -1);
	}
}
