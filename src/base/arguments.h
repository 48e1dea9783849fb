/*-------------------------------------------------------------------------
 * arguments.h
 *		Arguments of type "any": row ids, which are logged as text.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_ARGUMENTS_H
#define AGENTPAY_ARGUMENTS_H

#include "postgres.h"

#include "fmgr.h"

/*
 * The argument's text form, by its type's output function; a literal without
 * a type will do.  Returns a text datum, or sets *isnull.
 */
extern Datum
agentpay_arguments_text(FunctionCallInfo fcinfo, int arg, bool *isnull);

#endif /* AGENTPAY_ARGUMENTS_H */
