/*-------------------------------------------------------------------------
 * ask.h
 *		Which agents are asked about a row, and where it stands in the rollout
 *		of each.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ASK_H
#define AGENTPAY_ASK_H

#include "postgres.h"

#include "scoring/evaluate.h"

/* One agent and the row, as agentpay._tasks keeps it. */
typedef struct AgentpayAsk
{
	bool asked;			  /* with the row, not only if need be */
	bool forced;		  /* nothing may loosen what the rules said */
	int16 bucket;		  /* 0 to 99; -1: not drawn, so never live */
	int16 holdout_bucket; /* 0 to 9999 */
	int16 stage;		  /* percent; 0: shadow; < 0: control group */
	int64 lowered;		  /* how often that stage had gone down */
} AgentpayAsk;

/* Fills evaluation->asks for the agents that are, or may be, asked. */
extern void agentpay_ask_draw(AgentpayEvaluation *evaluation);

/*
 * An AgentpayAsk for each of the point's agents, as bytea; no datum when none
 * is asked, or the database is held.
 */
extern Datum agentpay_ask_bytes(const AgentpayEvaluation *evaluation);

/* That of one agent. */
extern AgentpayAsk agentpay_ask_of(Datum bytes, int agent);

#endif /* AGENTPAY_ASK_H */
