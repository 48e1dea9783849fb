/*-------------------------------------------------------------------------
 * table_point.h
 *		Compiles one point of a table.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TABLE_POINT_H
#define AGENTPAY_TABLE_POINT_H

#include "scoring/table.h"

/*
 * Fills *point for rows of leaf, in the current memory context.  What does
 * not compile is kept as broken; an error means that the point cannot record
 * anything (its id column is gone).
 */
extern void agentpay_point_compile(AgentpayPoint *point, Relation leaf,
								   const AgentpayPointConfig *config,
								   AgentpayConfig *whole);

/* Gives back what is not in the memory context. */
extern void agentpay_point_free(AgentpayPoint *point);

/* Whether neither the active version nor an agent needs the parameter. */
extern bool agentpay_point_only_shadows(const AgentpayPoint *point, int param);

/*
 * Attribute numbers that scoring reads of a row (and maybe 0).  What only a
 * version in shadow reads is left out: a change of it is nobody's concern.
 */
extern Bitmapset *agentpay_point_columns(const AgentpayPoint *point);

/* A column by number or by name; attno 0 when there is none of that name. */
extern void
agentpay_column_of(Relation leaf, AttrNumber attno, AgentpayColumn *column);
extern void
agentpay_column_named(Relation leaf, const char *name, AgentpayColumn *column);

#endif /* AGENTPAY_TABLE_POINT_H */
