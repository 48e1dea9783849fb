/*-------------------------------------------------------------------------
 * query.h
 *		A set-returning C function whose rows come from a query.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_QUERY_H
#define AGENTPAY_QUERY_H

#include "postgres.h"

#include "fmgr.h"

/*
 * Runs the query read-only, by SPI, and gives its rows to the caller of
 * fcinfo, a function that RETURNS TABLE of the same shape.
 */
extern void
agentpay_review_query(FunctionCallInfo fcinfo, const char *query, int nargs,
					  Oid *types, Datum *values, const char *nulls);

#endif /* AGENTPAY_QUERY_H */
