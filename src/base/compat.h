/*-------------------------------------------------------------------------
 * compat.h
 *		What differs between PostgreSQL 15 and 18.  Nowhere else does the
 *		code ask for the server's version.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_COMPAT_H
#define AGENTPAY_COMPAT_H

#include "postgres.h"

#if PG_VERSION_NUM < 150000
#error "agentpay needs PostgreSQL 15 or later"
#endif

/* PostgreSQL 16 moved VARDATA() and its kin out of postgres.h. */
#if PG_VERSION_NUM >= 160000
#include "varatt.h"
#endif

/* PostgreSQL 16 added onlySummarizing to ExecInsertIndexTuples(). */
#if PG_VERSION_NUM >= 160000
#define AGENTPAY_EXEC_INSERT_INDEX_TUPLES(rel, slot, estate) \
	ExecInsertIndexTuples(rel, slot, estate, false, false, NULL, NIL, false)
#else
#define AGENTPAY_EXEC_INSERT_INDEX_TUPLES(rel, slot, estate) \
	ExecInsertIndexTuples(rel, slot, estate, false, false, NULL, NIL)
#endif

#endif							/* AGENTPAY_COMPAT_H */
