/*-------------------------------------------------------------------------
 * arguments.h
 *		Text forms of row ids and of arguments of type "any".
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ARGUMENTS_H
#define AGENTPAY_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"

/*
 * What a type's output function wrote, as a cast to text has it: char(n)
 * without the blanks that fill it up.  In place; returns text.
 */
extern char *agentpay_text_form(Oid type, char *text);

/*
 * The argument's text form; a literal without a type will do.  Returns a text
 * datum, or sets *isnull.
 */
extern Datum
agentpay_arguments_text(FunctionCallInfo fcinfo, int arg, bool *isnull);

#endif /* AGENTPAY_ARGUMENTS_H */
