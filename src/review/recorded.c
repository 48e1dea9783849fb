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
#include "utils/datetime.h"
#include "utils/fmgrprotos.h"
#include "utils/lsyscache.h"
#include "utils/numeric.h"

#include "base/compat.h"
#include "review/recorded.h"

/* Powers of ten that double precision holds exactly. */
#define MAX_EXACT_POWER 22

static Datum number_of(Oid type, Numeric number, const AgentpayRead *read);
static bool short_number(Numeric number, double *value);
static bool iso_time(const char *text, int len, TimestampTz *time);
static bool digits(const char *text, int count, int *value);

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
agentpay_recorded_input(Jsonb *object, const AgentpayInput *input,
						JsonbValue *value)
{
	return object != NULL && JB_ROOT_IS_OBJECT(object) &&
		   getKeyJsonValueFromContainer(&object->root, input->name,
										input->name_len, value) != NULL;
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
	TimestampTz time;
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
			if (type == TIMESTAMPTZOID &&
				iso_time(value->val.string.val, value->val.string.len, &time))
				return TimestampTzGetDatum(time);
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
			return Float8GetDatum(agentpay_recorded_double(number));
		default:
			return InputFunctionCall(
				(FmgrInfo *) &read->input,
				DatumGetCString(DirectFunctionCall1(numeric_out, datum)),
				read->ioparam, -1);
	}
}

double
agentpay_recorded_double(Numeric number)
{
	Datum datum = NumericGetDatum(number);
	double value;

	if (!short_number(number, &value))
		return DatumGetFloat8(DirectFunctionCall1(numeric_float8, datum));
	Assert(value == DatumGetFloat8(DirectFunctionCall1(numeric_float8, datum)));
	return value;
}

/*
 * A number of at most sixteen digits, as numeric_float8() has it, which goes
 * through its text: its digits as an integer and the power of ten are exact, so
 * that one division or multiplication rounds once, as reading its text does.
 * What is read is the form on disk.
 */
static bool
short_number(Numeric number, double *value)
{
	static const double powers[] = {1e0,  1e1,	1e2,  1e3,	1e4,  1e5,
									1e6,  1e7,	1e8,  1e9,	1e10, 1e11,
									1e12, 1e13, 1e14, 1e15, 1e16, 1e17,
									1e18, 1e19, 1e20, 1e21, 1e22};
	const char *data = VARDATA_ANY(number);
	int len = VARSIZE_ANY_EXHDR(number);
	uint16 head;
	int16 weight;
	uint64 sum = 0;
	bool negative;
	int power;

	memcpy(&head, data, sizeof(head));
	if ((head & 0xC000) == 0xC000)
		return false; /* NaN, or infinite */
	if (head & 0x8000)
	{
		negative = (head & 0x2000) != 0;
		weight = (int16) ((head & 0x003F) - (head & 0x0040));
		data += sizeof(head);
		len -= sizeof(head);
	}
	else
	{
		negative = (head & 0xC000) == 0x4000;
		memcpy(&weight, data + sizeof(head), sizeof(weight));
		data += sizeof(head) + sizeof(weight);
		len -= sizeof(head) + sizeof(weight);
	}
	len /= sizeof(int16);
	power = 4 * (weight - len + 1);
	if (len > 4 || abs(power) > MAX_EXACT_POWER)
		return false;
	for (int i = 0; i < len; i++)
	{
		int16 digit;

		memcpy(&digit, data + sizeof(digit) * i, sizeof(digit));
		sum = sum * 10000 + digit;
	}
	if (sum > UINT64CONST(1) << 53)
		return false;
	*value = power < 0 ? sum / powers[-power] : sum * powers[power];
	if (negative)
		*value = -*value;
	return true;
}

/*
 * As scoring/inputs.c writes a time of the years 1 to 9999, and nothing else:
 * 2026-01-31T12:00:00.5+01:00.
 */
static bool
iso_time(const char *text, int len, TimestampTz *time)
{
	const char *zone = text + len - 6;
	int year, month, day, hour, minute, second, zone_hour, zone_minute;
	int fraction = 0;
	int64 seconds;

	if (len < 25 || !digits(text, 4, &year) || text[4] != '-' ||
		!digits(text + 5, 2, &month) || text[7] != '-' ||
		!digits(text + 8, 2, &day) || text[10] != 'T' ||
		!digits(text + 11, 2, &hour) || text[13] != ':' ||
		!digits(text + 14, 2, &minute) || text[16] != ':' ||
		!digits(text + 17, 2, &second) || (*zone != '+' && *zone != '-') ||
		!digits(zone + 1, 2, &zone_hour) || zone[3] != ':' ||
		!digits(zone + 4, 2, &zone_minute))
		return false;
	if (year < 1 || month < 1 || month > MONTHS_PER_YEAR || day < 1 ||
		day > day_tab[isleap(year)][month - 1] || hour > 23 || minute > 59 ||
		second > 59 || zone_hour > 15 || zone_minute > 59)
		return false;
	if (len > 25)
	{
		int count = len - 26;

		if (text[19] != '.' || count < 1 || count > MAX_TIMESTAMP_PRECISION ||
			!digits(text + 20, count, &fraction))
			return false;
		for (; count < MAX_TIMESTAMP_PRECISION; count++)
			fraction *= 10;
	}
	seconds = (int64) (date2j(year, month, day) - POSTGRES_EPOCH_JDATE) *
			  SECS_PER_DAY;
	seconds += hour * SECS_PER_HOUR + minute * SECS_PER_MINUTE + second;
	seconds -= (*zone == '-' ? -1 : 1) *
			   (zone_hour * SECS_PER_HOUR + zone_minute * SECS_PER_MINUTE);
	*time = seconds * USECS_PER_SEC + fraction;
	return true;
}

static bool
digits(const char *text, int count, int *value)
{
	*value = 0;
	for (int i = 0; i < count; i++)
	{
		if (text[i] < '0' || text[i] > '9')
			return false;
		*value = *value * 10 + (text[i] - '0');
	}
	return true;
}
