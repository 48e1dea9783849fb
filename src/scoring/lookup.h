/*-------------------------------------------------------------------------
 * lookup.h
 *		What another row says: an expression over the row of a table whose key
 *		columns equal this row's.
 *
 * Committed rows and this transaction's own are found; what another
 * transaction has in flight is not, since it may yet be rolled back.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LOOKUP_H
#define AGENTPAY_LOOKUP_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "executor/tuptable.h"
#include "nodes/bitmapset.h"

#include "base/config.h"
#include "scoring/expression.h"

typedef struct AgentpayLookup AgentpayLookup;

/*
 * The type of a lookup's value on rows of scope's relation.  default_value is
 * compiled, too, unless it is NULL.  An error when one of them is wrong.
 */
extern Oid agentpay_lookup_type(const AgentpayScope *scope, const char *value,
								const char *default_value);

/*
 * Prepares to look up for rows of leaf, in the current memory context; values
 * are of that type.  Keeps no relation open.
 */
extern AgentpayLookup *
agentpay_lookup_compile(const AgentpayPointConfig *point,
						const AgentpayFeatureConfig *config, Oid leaf,
						Oid type);
extern void agentpay_lookup_free(AgentpayLookup *lookup);

/* Columns of leaf that it reads of the row itself. */
extern const Bitmapset *agentpay_lookup_columns(const AgentpayLookup *lookup);

/* Whether what it was compiled from changed: compile it again. */
extern bool agentpay_lookup_stale(const AgentpayLookup *lookup);

/*
 * The value for a row that is about to be inserted, at its own time, in the
 * current memory context; default_value is applied.
 */
extern Datum agentpay_lookup_read(AgentpayLookup *lookup, TupleTableSlot *row,
								  TimestampTz at, bool *isnull);

#endif /* AGENTPAY_LOOKUP_H */
