/*-------------------------------------------------------------------------
 * refuse.c
 *		agentpay._refuse(): an error of the SQL parts, in full and no more.
 *
 * RAISE in PL/pgSQL would add the text of every statement on the way as
 * CONTEXT, which buries the hint that mends the mistake.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

PG_FUNCTION_INFO_V1(agentpay_sql_refuse);

/*
 * agentpay._refuse(state, message, detail, hint): raises the error.  Whoever
 * catches it restores the context stack that it had.
 */
Datum
agentpay_sql_refuse(PG_FUNCTION_ARGS)
{
	char *state = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char *message = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char *detail = text_to_cstring(PG_GETARG_TEXT_PP(2));
	char *hint = text_to_cstring(PG_GETARG_TEXT_PP(3));

	if (strlen(state) != 5)
		elog(ERROR, "invalid SQLSTATE \"%s\"", state);
	error_context_stack = NULL;
	ereport(ERROR, (errcode(MAKE_SQLSTATE(state[0], state[1], state[2],
										  state[3], state[4])),
					errmsg("%s", message), errdetail("%s", detail),
					errhint("%s", hint)));
	PG_RETURN_VOID(); /* not reached */
}
