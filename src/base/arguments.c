/*-------------------------------------------------------------------------
 * arguments.c
 *		Text forms of row ids and of arguments of type "any".
 *
 * 42, '42' and a uuid all work without a cast, so that nobody has to know how
 * a log stores them.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

#include "base/arguments.h"

Datum
agentpay_arguments_text(FunctionCallInfo fcinfo, int arg, bool *isnull)
{
	Oid type = get_fn_expr_argtype(fcinfo->flinfo, arg);
	Oid output;
	bool is_varlena;

	*isnull = PG_ARGISNULL(arg);
	if (*isnull)
		return (Datum) 0;
	if (!OidIsValid(type))
		elog(ERROR, "could not determine the type of argument %d", arg + 1);
	getTypeOutputInfo(type, &output, &is_varlena);
	return CStringGetTextDatum(
		agentpay_text_form(type, OidOutputFunctionCall(output,
													   PG_GETARG_DATUM(arg))));
}

char *
agentpay_text_form(Oid type, char *text)
{
	if (type == BPCHAROID || getBaseType(type) == BPCHAROID)
	{
		Size length = strlen(text);

		while (length > 0 && text[length - 1] == ' ')
			length--;
		text[length] = '\0';
	}
	return text;
}
