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

/*
 * PostgreSQL 16 says which indexes an update has to write to: all, none, or
 * those that summarize.
 */
#if PG_VERSION_NUM >= 160000
#define AGENTPAY_UPDATED_INDEXES TU_UpdateIndexes
#define AGENTPAY_EXEC_UPDATE_INDEX_TUPLES(rel, slot, estate, which)        \
	((which) == TU_None                                                    \
		 ? (void) 0                                                        \
		 : list_free(ExecInsertIndexTuples(rel, slot, estate, true, false, \
										   NULL, NIL,                      \
										   (which) == TU_Summarizing)))
#else
#define AGENTPAY_UPDATED_INDEXES bool
#define AGENTPAY_EXEC_UPDATE_INDEX_TUPLES(rel, slot, estate, which)      \
	(!(which) ? (void) 0                                                 \
			  : list_free(ExecInsertIndexTuples(rel, slot, estate, true, \
												false, NULL, NIL)))
#endif

/* PostgreSQL 18 added an argument for statistics to index_beginscan(). */
#if PG_VERSION_NUM >= 180000
#define AGENTPAY_INDEX_BEGINSCAN(heap, index, snapshot, keys) \
	index_beginscan(heap, index, snapshot, NULL, keys, 0)
#else
#define AGENTPAY_INDEX_BEGINSCAN(heap, index, snapshot, keys) \
	index_beginscan(heap, index, snapshot, keys, 0)
#endif

/* PostgreSQL 17 put the local transaction id into a struct. */
#if PG_VERSION_NUM >= 170000
#define AGENTPAY_MY_LXID (MyProc->vxid.lxid)
#else
#define AGENTPAY_MY_LXID (MyProc->lxid)
#endif

/* PostgreSQL 17 keeps the process's number in a variable. */
#if PG_VERSION_NUM >= 170000
#define AGENTPAY_MY_PROC_NUMBER (MyProcNumber)
#else
#define AGENTPAY_MY_PROC_NUMBER (MyProc->pgprocno)
#endif

/* PostgreSQL 17 renamed what transactions share; below it fates are gone. */
#if PG_VERSION_NUM >= 170000
#define AGENTPAY_OLDEST_KNOWN_XID (TransamVariables->oldestClogXid)
#else
#define AGENTPAY_OLDEST_KNOWN_XID (ShmemVariableCache->oldestClogXid)
#endif

/* PostgreSQL 18 has pg_noreturn in its place, which goes in front. */
#if PG_VERSION_NUM >= 180000
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

/* PostgreSQL 16 made one function of pg_*_ownercheck(). */
#if PG_VERSION_NUM >= 160000
#define AGENTPAY_DATABASE_OWNERCHECK(database, role) \
	object_ownercheck(DatabaseRelationId, database, role)
#else
#define AGENTPAY_DATABASE_OWNERCHECK(database, role) \
	pg_database_ownercheck(database, role)
#endif

/* PostgreSQL 16 made one function of pg_*_aclcheck(). */
#if PG_VERSION_NUM >= 160000
#define AGENTPAY_FUNCTION_ACLCHECK(function, role) \
	object_aclcheck(ProcedureRelationId, function, role, ACL_EXECUTE)
#else
#define AGENTPAY_FUNCTION_ACLCHECK(function, role) \
	pg_proc_aclcheck(function, role, ACL_EXECUTE)
#endif

/* PostgreSQL 18 took execute_once from ExecutorRun(). */
#if PG_VERSION_NUM >= 180000
#define AGENTPAY_RUN_ARGS \
	QueryDesc *query, ScanDirection direction, uint64 count
#define AGENTPAY_RUN_PASS query, direction, count
#else
#define AGENTPAY_RUN_ARGS \
	QueryDesc *query, ScanDirection direction, uint64 count, bool once
#define AGENTPAY_RUN_PASS query, direction, count, once
#endif

/* PostgreSQL 18 can leave room in front of a minimal tuple. */
#if PG_VERSION_NUM >= 180000
#define AGENTPAY_FORM_MINIMAL_TUPLE(description, values, nulls) \
	heap_form_minimal_tuple(description, values, nulls, 0)
#else
#define AGENTPAY_FORM_MINIMAL_TUPLE(description, values, nulls) \
	heap_form_minimal_tuple(description, values, nulls)
#endif

/* PostgreSQL 18 caches abbreviations of the session's time zone. */
#if PG_VERSION_NUM >= 180000
#define AGENTPAY_TIME_ZONE_CHANGED() ClearTimeZoneAbbrevCache()
#else
#define AGENTPAY_TIME_ZONE_CHANGED() ((void) 0)
#endif

/* PostgreSQL 17 lets a background worker run as a role that cannot log in. */
#if PG_VERSION_NUM >= 170000
#define AGENTPAY_BYPASS_LOGIN_CHECKS \
	(BGWORKER_BYPASS_ALLOWCONN | BGWORKER_BYPASS_ROLELOGINCHECK)
#else
#define AGENTPAY_BYPASS_LOGIN_CHECKS BGWORKER_BYPASS_ALLOWCONN
#endif

/* A database whose DROP was interrupted (PostgreSQL 15.4 and later). */
#define AGENTPAY_DATCONNLIMIT_INVALID (-2)

#define AGENTPAY_UTILITY_ARGS                                       \
	PlannedStmt *pstmt, const char *queryString, bool readOnlyTree, \
		ProcessUtilityContext context, ParamListInfo params,        \
		QueryEnvironment *queryEnv, DestReceiver *dest, QueryCompletion *qc
#define AGENTPAY_UTILITY_PASS \
	pstmt, queryString, readOnlyTree, context, params, queryEnv, dest, qc

#endif /* AGENTPAY_COMPAT_H */
