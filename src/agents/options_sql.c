/*-------------------------------------------------------------------------
 * options_sql.c
 *		agentpay._option_problem(): what of an agent's options its protocol
 *		would not send, for the check of agentpay.agents.
 *
 * Apart from the protocols, which know no PostgreSQL.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "agents/protocol.h"

PG_FUNCTION_INFO_V1(agentpay_sql_option_problem);

/*
 * agentpay._option_problem(protocol text, options text): NULL when all is
 * well, and for builtin, which is no protocol of this wing.
 */
Datum
agentpay_sql_option_problem(PG_FUNCTION_ARGS)
{
	const AgentpayProtocol *protocol = agentpay_protocol_find(
		text_to_cstring(PG_GETARG_TEXT_PP(0)));
	char *options = text_to_cstring(PG_GETARG_TEXT_PP(1));
	char problem[256];

	if (protocol == NULL ||
		protocol->check_options(options, strlen(options), problem,
								sizeof(problem)) == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}
