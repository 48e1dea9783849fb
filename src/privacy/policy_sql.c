/*-------------------------------------------------------------------------
 * policy_sql.c
 *		Detection as a SQL function, for values that take a way in SQL, and
 *		what the checks of data_policies ask.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "utils/builtins.h"

#include "base/compat.h"
#include "base/settings.h"
#include "privacy/detect.h"
#include "privacy/policy.h"

PG_FUNCTION_INFO_V1(agentpay_redact);
PG_FUNCTION_INFO_V1(agentpay_sql_forbids);
PG_FUNCTION_INFO_V1(agentpay_sql_hash_key_problem);

/*
 * _redact(text): the text without card numbers, IBANs and e-mail addresses.
 * The argument itself when there is nothing to redact.
 */
Datum
agentpay_redact(PG_FUNCTION_ARGS)
{
	text *in = PG_GETARG_TEXT_PP(0);
	size_t len = VARSIZE_ANY_EXHDR(in);
	text *out;
	size_t out_len;

	if (!agentpay_detect_suspicious(VARDATA_ANY(in), len))
		PG_RETURN_TEXT_P(in);

	out = palloc(VARHDRSZ + AGENTPAY_DETECT_OUT_SIZE(len));
	out_len = agentpay_detect_redact(VARDATA_ANY(in), len, VARDATA(out), NULL);
	SET_VARSIZE(out, VARHDRSZ + out_len);
	PG_RETURN_TEXT_P(out);
}

/* agentpay._forbids(column_name) */
Datum
agentpay_sql_forbids(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(
		agentpay_policy_forbids(text_to_cstring(PG_GETARG_TEXT_PP(0))));
}

/* agentpay._hash_key_problem(): NULL when there is a key. */
Datum
agentpay_sql_hash_key_problem(PG_FUNCTION_ARGS)
{
	const char *problem = agentpay_hash_key_problem(agentpay_hash_key);

	if (problem == NULL)
		PG_RETURN_NULL();
	PG_RETURN_TEXT_P(cstring_to_text(problem));
}
