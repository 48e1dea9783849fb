/*-------------------------------------------------------------------------
 * proofs.c
 *		canonical_leaf(), and proofs that a row is in the log and that the log
 *		only grew.
 *
 * Locking: AccessShareLock on what is read.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "utils/builtins.h"
#include "utils/snapmgr.h"
#include "utils/uuid.h"

#include "evidence/log_row.h"

static text *utf8_to_text(const char *data, size_t len);

PG_FUNCTION_INFO_V1(agentpay_sql_canonical_leaf);

/* agentpay.canonical_leaf(decision_id uuid): of any row of the four logs. */
Datum
agentpay_sql_canonical_leaf(PG_FUNCTION_ARGS)
{
	pg_uuid_t *key = PG_GETARG_UUID_P(0);
	AgentpayJsonWriter json = {0};
	text *result;

	for (int log = 0; log < AGENTPAY_SEALED_LOGS; log++)
	{
		if (!agentpay_log_row_find(log, key, GetActiveSnapshot(), &json))
			continue;
		result = utf8_to_text(json.data, json.len);
		free(json.data);
		PG_RETURN_TEXT_P(result);
	}
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("no row of a log has the id %s",
					DatumGetCString(
						DirectFunctionCall1(uuid_out, PG_GETARG_DATUM(0)))),
			 errhint("SELECT decision_id FROM agentpay.decisions WHERE point "
					 "= … AND row_id = …;")));
}

/* In the database's encoding, as every text. */
static text *
utf8_to_text(const char *data, size_t len)
{
	char *server = pg_any_to_server(data, len, PG_UTF8);

	return server == data ? cstring_to_text_with_len(data, len)
						  : cstring_to_text(server);
}
