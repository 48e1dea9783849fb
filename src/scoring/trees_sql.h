/*-------------------------------------------------------------------------
 * trees_sql.h
 *		Trees in a server: memory contexts and errors around the pure loader.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TREES_SQL_H
#define AGENTPAY_TREES_SQL_H

#include "postgres.h"

#include "utils/jsonb.h"

#include "scoring/trees_load.h"

/*
 * The trees of a definition, in the current memory context; an error says
 * what is wrong with it.  name is the model's.
 */
extern AgentpayTrees *
agentpay_trees_of(const char *name, const char *definition);

/*
 * A definition as the text that is read, palloc'd; an error when it is longer
 * than a model may be.
 */
extern char *agentpay_trees_text(const char *name, Jsonb *definition);

#endif /* AGENTPAY_TREES_SQL_H */
