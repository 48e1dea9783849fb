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

static char *text_argument(FunctionCallInfo fcinfo, int i);

PG_FUNCTION_INFO_V1(agentpay_sql_refuse);

/*
 * agentpay._refuse(state, message, detail, hint): raises the error.  Whoever
 * catches it restores the context stack that it had.  Not strict: a NULL, as
 * string_agg() makes it of no rows, must not let through what was refused.
 */
Datum
agentpay_sql_refuse(PG_FUNCTION_ARGS)
{
	char *state = text_argument(fcinfo, 0);
	char *message = text_argument(fcinfo, 1);
	char *detail = text_argument(fcinfo, 2);
	char *hint = text_argument(fcinfo, 3);

	if (state == NULL || strlen(state) != 5)
		ereport(ERROR, (errcode(ERRCODE_INVALID_PARAMETER_VALUE),
						errmsg("invalid SQLSTATE \"%s\"",
							   state != NULL ? state : "")));
	error_context_stack = NULL;
	ereport(ERROR, (errcode(MAKE_SQLSTATE(state[0], state[1], state[2],
										  state[3], state[4])),
					errmsg("%s", message != NULL ? message : "refused"),
					detail != NULL ? errdetail("%s", detail) : 0,
					hint != NULL ? errhint("%s", hint) : 0));
	PG_RETURN_VOID(); /* not reached */
}

/* The argument in palloc'd memory; NULL for NULL. */
static char *
text_argument(FunctionCallInfo fcinfo, int i)
{
	return PG_ARGISNULL(i) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i));
}
