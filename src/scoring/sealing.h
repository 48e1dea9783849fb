/*-------------------------------------------------------------------------
 * sealing.h
 *		Seals what a row's inputs were under the key of its subject.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SEALING_H
#define AGENTPAY_SEALING_H

#include "postgres.h"

#include "utils/jsonb.h"
#include "utils/uuid.h"

#include "scoring/evaluate.h"

/* What was sealed of a row's inputs: bytea, with what its decision needs. */
typedef struct AgentpaySealed AgentpaySealed;

/*
 * Seals those members, in clear, and sets evaluation->sealed, with the id that
 * the decision has to have.  What fails while the evaluation is not careful is
 * raised, and then contained and logged.
 */
extern void agentpay_sealing_inputs(AgentpayEvaluation *evaluation,
									const JsonbPair *pairs, int count);

/* The text form of a row's subject; NULL: it has none. */
extern const char *
agentpay_sealing_subject(AgentpayPoint *point, TupleTableSlot *row);

/* Sets the id, and the columns sealed and key_id of the decision. */
extern void agentpay_sealing_put(Datum sealed, pg_uuid_t *id, Datum *values);

#endif /* AGENTPAY_SEALING_H */
