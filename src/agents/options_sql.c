/*-------------------------------------------------------------------------
 * options_sql.c
 *		agentpay._openai_option_problem(): what of an agent's options the
 *		protocol would not send, for the check of agentpay.agents.
 *
 * Apart from protocol_openai.c, which knows no PostgreSQL.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "agents/protocol_openai.h"

PG_FUNCTION_INFO_V1(agentpay_sql_openai_option_problem);

/* agentpay._openai_option_problem(options text): NULL when all is well */
Datum
agentpay_sql_openai_option_problem(PG_FUNCTION_ARGS)
{
	char *options = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char problem[256];

	if (agentpay_openai_check_options(options, strlen(options), problem,
									  sizeof(problem)) == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}
