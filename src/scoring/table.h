/*-------------------------------------------------------------------------
 * table.h
 *		A table with its points, compiled: everything that scoring a row of
 *		one leaf needs, so that nothing is looked up per row.
 *
 * Attribute numbers differ between partitions, so each leaf has its own.
 * A compiled table belongs to one reading of the configuration, which it
 * pins; when that, the leaf, or a function in a rule changes, the next
 * statement compiles it again.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TABLE_H
#define AGENTPAY_TABLE_H

#include "postgres.h"

#include "fmgr.h"
#include "nodes/bitmapset.h"
#include "nodes/execnodes.h"
#include "nodes/params.h"
#include "nodes/pg_list.h"
#include "utils/jsonb.h"
#include "utils/relcache.h"

#include "base/config.h"
#include "privacy/policy.h"
#include "scoring/expression.h"
#include "scoring/features.h"
#include "scoring/lookup.h"
#include "scoring/models.h"
#include "scoring/velocity_stream.h"

/* A column of the leaf, by its base type. attno 0: there is none. */
typedef struct AgentpayColumn
{
	AttrNumber attno;
	Oid type; /* domains: their base type */
	int16 length;
	bool by_value;
	char *name;
} AgentpayColumn;

/* A column that receives something of the decision. */
typedef struct AgentpayTarget
{
	AgentpayColumn column;
	Oid declared_type; /* may be a domain */
	int32 typmod;
} AgentpayTarget;

typedef struct AgentpayRule
{
	const AgentpayRuleConfig *config;
	AgentpayExpression *condition; /* NULL: broken says why */
	ErrorData *broken;
	Datum code;	   /* text */
	bool is_whole; /* its score is, and below 10^12: points */
	int64 points;
} AgentpayRule;

/* One version of the point's rules. */
typedef struct AgentpayRuleset
{
	const AgentpayRulesetConfig *config; /* NULL: no version is active */
	int n_rules;
	AgentpayRule *rules;
	Bitmapset *reads; /* parameters that it needs, also through models */
} AgentpayRuleset;

typedef struct AgentpayFeatureSlot
{
	/* both NULL: broken says why, or it is not needed */
	AgentpayFeature *reader; /* of a window or since_last */
	AgentpayLookup *lookup;
	ErrorData *broken;
	bool needed;
} AgentpayFeatureSlot;

/* An input of a model: a column, or a feature's parameter. */
typedef struct AgentpayModelInput
{
	AgentpayColumn column; /* attno 0: feature */
	int feature;
} AgentpayModelInput;

typedef struct AgentpayModelSlot
{
	const AgentpayModelConfig *config;
	AgentpayModel *model; /* NULL: not used, or broken */
	AgentpayModelInput *inputs;
	double *values; /* room for the inputs */
	ErrorData *broken;
	bool needed;
} AgentpayModelSlot;

typedef struct AgentpayInvoke
{
	const AgentpayAgentConfig *config;
	AgentpayExpression *invoke_when;
	ErrorData *broken;
	int escalate_to;   /* index among the point's, or -1 */
	uint64 seed;	   /* of the sampling bucket */
	uint32 draw_below; /* of a million buckets */
} AgentpayInvoke;

/* A member of the decision's inputs. */
typedef struct AgentpayInput
{
	char *name;
	int name_len;
	AgentpayColumn column; /* attno 0: a parameter */
	int param;
	FmgrInfo output; /* of types without a form of their own */
	bool scanned;	 /* its text may hold what must not be stored */
	bool has_policy;
	bool forbidden; /* nobody may keep it, sealed or not */
	AgentpayPolicy policy;
	Bitmapset *agents; /* only when one of these is asked; NULL: always */
	bool shadow;	   /* only versions in shadow read it */
} AgentpayInput;

typedef struct AgentpayPoint
{
	const AgentpayPointConfig *config;
	Datum name; /* text */
	AgentpayScope scope;
	ParamListInfo params;
	AgentpayColumn id;
	FmgrInfo id_output;
	AgentpayColumn occurred_at;
	AgentpayColumn amount;
	AgentpayColumn currency;
	AgentpayColumn subject;
	FmgrInfo subject_output;
	AgentpayColumn idempotency;
	AgentpayColumn respond_by; /* of role dispute, when there is such a time */
	bool unique_keys; /* the key's index is unique: nothing can repeat it */
	FmgrInfo key_output;
	AgentpayTarget outcome;
	AgentpayTarget score;
	AgentpayTarget reasons;
	Datum *verdict_texts;	   /* by verdict */
	Datum *outcomes;		   /* by verdict, in the outcome's type */
	bool *stops;			   /* by verdict: no label comes by itself */
	ErrorData *outcome_broken; /* a verdict that the column does not take */
	ErrorData *zone_broken;	   /* the point's time zone is not known here */
	bool lost_columns;		   /* the table has not all that config names */
	int n_rulesets;
	AgentpayRuleset *rulesets;	   /* the active version, then the shadows */
	Bitmapset *agents_read;		   /* parameters that agents need */
	AgentpayFeatureSlot *features; /* as in config */
	int n_models;				   /* as in AgentpayConfig */
	AgentpayModelSlot *models;
	int n_agents;
	AgentpayInvoke *agents;
	int n_inputs; /* in jsonb's order of keys */
	AgentpayInput *inputs;
	bool foreign_functions;
	Jsonb *detail; /* of a row without anything special; may be NULL */
} AgentpayPoint;

typedef struct AgentpayTable
{
	Oid leaf;
	MemoryContext context;
	int pins;
	bool stale;	   /* marked by invalidations */
	List *awaited; /* tables of broken features: a change may mend them */
	AgentpayConfig *config;
	int n_points;
	AgentpayPoint *points;
	int n_used; /* columns that were read, for the digest */
	AgentpayColumn *used;
	TupleTableSlot *unpacked; /* room for a row; NULL: no column gains */
	AgentpayStreams *streams;
	ExprContext *econtext;
	bool evaluating; /* a row of it */
} AgentpayTable;

/*
 * The compiled table of a leaf under that configuration; cached.  n_points is
 * 0 when none of its points is enabled.  Pin it before the next call.
 */
extern AgentpayTable *agentpay_table_get(Relation leaf, AgentpayConfig *config);
extern void agentpay_table_pin(AgentpayTable *table);
extern void agentpay_table_unpin(AgentpayTable *table);

#endif /* AGENTPAY_TABLE_H */
