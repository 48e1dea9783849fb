/*-------------------------------------------------------------------------
 * sealing.h
 *		Seals what a row's inputs were under the key of its subject.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SEALING_H
#define AGENTPAY_SEALING_H

#include "postgres.h"

#include "utils/uuid.h"

#include "scoring/evaluate.h"

/*
 * What there is to seal of the evaluation, sealed, with the id that its
 * decision has to have; no datum: nothing, or it could not be done, which is
 * logged.  Raises only what nobody may contain.
 */
extern Datum agentpay_sealing_inputs(const AgentpayEvaluation *evaluation);

/* The text form of a row's subject; NULL: it has none. */
extern const char *
agentpay_sealing_subject(AgentpayPoint *point, TupleTableSlot *row);

/* Sets the id, and the columns sealed and key_id of the decision. */
extern void agentpay_sealing_put(Datum sealed, pg_uuid_t *id, Datum *values);

#endif /* AGENTPAY_SEALING_H */
