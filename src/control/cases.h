/*-------------------------------------------------------------------------
 * cases.h
 *		Opens cases: rows that a person is to look at.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CASES_H
#define AGENTPAY_CASES_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* Those that an INSERT finds; agents and people have others. */
typedef enum AgentpayCause
{
	AGENTPAY_CAUSE_NONE,
	AGENTPAY_CAUSE_REVIEW,
	AGENTPAY_CAUSE_AUDIT
} AgentpayCause;

typedef struct AgentpayCase
{
	const char *point;
	const char *row_id;
	pg_uuid_t decision_id; /* that opens it */
	AgentpayCause cause;
	TimestampTz opened_at;
	Interval due_in;	/* after that */
	TimestampTz due_by; /* not later; DT_NOEND: no limit */
} AgentpayCase;

typedef struct AgentpayCases AgentpayCases;

/* Room for cases that are to be opened, in that context. */
extern AgentpayCases *agentpay_cases_begin(MemoryContext context);

/* Keeps a copy; true: there are so many that they should be flushed. */
extern bool
agentpay_cases_add(AgentpayCases *cases, const AgentpayCase *opened);

/*
 * Opens what was added, but for rows that have an open case.  Nothing that
 * goes wrong fails the statement: it is an event of the governance log.
 */
extern void agentpay_cases_flush(AgentpayCases *cases);

#endif /* AGENTPAY_CASES_H */
