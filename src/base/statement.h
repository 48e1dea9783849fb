/*-------------------------------------------------------------------------
 * statement.h
 *		SQL that functions in C ask again and again for a row.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_STATEMENT_H
#define AGENTPAY_STATEMENT_H

#include "postgres.h"

#include "executor/spi.h"

/* Static; its plan is kept to the end of the session. */
typedef struct AgentpayStatement
{
	const char *sql;
	bool writes;
	SPIPlanPtr plan;
	Oid type; /* of the first argument, for which the plan was made */
} AgentpayStatement;

/*
 * The columns of the one row that the statement gives, in the current memory
 * context; false when it gives none.  What only reads sees what the active
 * snapshot sees.
 */
extern bool
agentpay_statement_row(AgentpayStatement *statement, int n, Oid *types,
					   Datum *args, const bool *arg_nulls, int columns,
					   Datum *values, bool *nulls);

#endif /* AGENTPAY_STATEMENT_H */
