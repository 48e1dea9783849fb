/*-------------------------------------------------------------------------
 * policy_sql.c
 *		Detection as a SQL function, for values that take a way in SQL.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "base/compat.h"
#include "privacy/detect.h"

PG_FUNCTION_INFO_V1(agentpay_redact);

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
