/*-------------------------------------------------------------------------
 * recorded.h
 *		The inputs of a decision, read back from JSON.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_RECORDED_H
#define AGENTPAY_RECORDED_H

#include "postgres.h"

#include "fmgr.h"
#include "utils/jsonb.h"
#include "utils/numeric.h"

#include "scoring/table.h"

/* How to read an input back. */
typedef struct AgentpayRead
{
	FmgrInfo input;
	Oid ioparam;
} AgentpayRead;

/* By input of the point; in the current memory context. */
extern AgentpayRead *agentpay_recorded_reads(const AgentpayPoint *point);

/* The member of a jsonb object, or false. */
extern bool
agentpay_recorded_member(Jsonb *object, const char *key, JsonbValue *value);

/* The member that an input is recorded in. */
extern bool agentpay_recorded_input(Jsonb *object, const AgentpayInput *input,
									JsonbValue *value);

/* As numeric_float8(). */
extern double agentpay_recorded_double(Numeric number);

/*
 * A member that is not null in that type, as scoring/inputs.c wrote it, under
 * the point's settings; an error when it has no such value.
 */
extern Datum agentpay_recorded_datum(const AgentpayRead *read, Oid type,
									 const JsonbValue *value);

/*
 * Whether the member is what was read: no text out of which something was
 * taken, which would have left its name in brackets.
 */
extern bool
agentpay_recorded_whole(const AgentpayInput *input, const JsonbValue *value);

#endif /* AGENTPAY_RECORDED_H */
