/*-------------------------------------------------------------------------
 * config.c
 *		The session's cache of the configuration.
 *
 * Changes of the configuration tables arrive as relcache invalidations of
 * those tables: the trigger agentpay._config_changed() sends one with each
 * statement that changes a table, and with each row that logical replication
 * brings; an abort sends its own transaction's again.  The callback counts;
 * the next agentpay_config_get() reads the tables when the count has moved
 * since the last reading began.
 *
 * No locks of its own.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/trigger.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "base/appender.h"
#include "base/config.h"
#include "base/config_load.h"
#include "base/contain.h"
#include "base/waiters.h"

/* What the configuration is read from. */
static const char *const table_names[] = {
	"decision_points", "verdicts",	"features", "rulesets",
	"rules",		   "models",	"agents",	"agent_versions",
	"data_policies",   "_identity",
};

/* Lists are read one by one, when they are asked for (scoring/lists.c). */
static const char *const list_names[] = {"lists", "list_entries"};

/* So are the rates of a currency (scoring/rates.c). */
static const char *const rate_names[] = {"exchange_rates"};

static Oid table_ids[lengthof(table_names)];
static Oid list_ids[lengthof(list_names)];
static Oid rate_ids[lengthof(rate_names)];

static AgentpayConfig *current = NULL;
static bool watching = false;
static uint64 changes = 1;		 /* of the tables */
static uint64 changes_read = 0;	 /* when current was read */
static uint64 lists_changed = 1; /* generation of the lists */
static uint64 rates_changed = 1; /* and of the exchange rates */
static uint64 all_changed = 1;	 /* and of any relation at all */

static void load(void *arg);
static void watch(void);
static void note_change(Datum arg, Oid relid);
static uint64 watched(const uint64 *changed, uint64 *seen);
static bool has_oid(const Oid *ids, int count, Oid id);
static int
find_name(const void *first, int count, size_t size, const char *name);

PG_FUNCTION_INFO_V1(agentpay_config_changed);

AgentpayConfig *
agentpay_config_get(void)
{
	AgentpayConfig *fresh;
	ErrorData *error;
	uint64 reading;

	if (current != NULL && changes == changes_read)
		return current;
	watch();
	reading = changes;
	if (!agentpay_contain(load, &fresh, &error))
	{
		/* better what held until now than no payment at all */
		if (current == NULL)
			ReThrowError(error);
		ereport(WARNING,
				(errcode(error->sqlerrcode),
				 errmsg("could not read agentpay's configuration: %s",
						error->message),
				 errdetail("Rows are scored with what this session read "
						   "before; the next statement tries again.")));
		return current;
	}
	/* a change that came while reading has counted on: read again next time */
	changes_read = reading;
	agentpay_config_pin(fresh);
	if (current != NULL)
		agentpay_config_unpin(current);
	current = fresh;
	return current;
}

static void
load(void *arg)
{
	*(AgentpayConfig **) arg = agentpay_config_load();
}

void
agentpay_config_pin(AgentpayConfig *config)
{
	config->pins++;
}

void
agentpay_config_unpin(AgentpayConfig *config)
{
	Assert(config->pins > 0);
	if (--config->pins == 0)
		MemoryContextDelete(config->context);
}

uint64
agentpay_config_lists_generation(void)
{
	static uint64 seen = 0;

	return watched(&lists_changed, &seen);
}

uint64
agentpay_config_rates_generation(void)
{
	static uint64 seen = 0;

	return watched(&rates_changed, &seen);
}

uint64
agentpay_config_generation(void)
{
	if (!watching)
		watch();
	return all_changed;
}

static uint64
watched(const uint64 *changed, uint64 *seen)
{
	if (*seen != *changed)
	{
		uint64 now = *changed;

		/* the tables themselves may be new ones, or become it meanwhile */
		watch();
		*seen = now;
	}
	return *seen;
}

const AgentpayPointConfig *
agentpay_config_point(const AgentpayConfig *config, const char *name)
{
	int i = find_name(config->points, config->n_points,
					  sizeof(AgentpayPointConfig), name);

	return i < 0 ? NULL : &config->points[i];
}

const AgentpayModelConfig *
agentpay_config_model(const AgentpayConfig *config, const char *name)
{
	int i = find_name(config->models, config->n_models,
					  sizeof(AgentpayModelConfig), name);

	return i < 0 ? NULL : &config->models[i];
}

int
agentpay_config_verdict(const AgentpayPointConfig *point, const char *name)
{
	return find_name(point->verdicts, point->n_verdicts,
					 sizeof(AgentpayVerdict), name);
}

int
agentpay_config_feature(const AgentpayPointConfig *point, const char *name)
{
	return find_name(point->features, point->n_features,
					 sizeof(AgentpayFeatureConfig), name);
}

const AgentpayPolicyConfig *
agentpay_config_feature_policy(const AgentpayPointConfig *point, int feature,
							   const char *column)
{
	const AgentpayFeatureConfig *config = &point->features[feature];

	if (config->from_table == point->table)
		return agentpay_config_policy(point, column);
	for (int i = 0; i < config->n_policies; i++)
		if (strcmp(config->policies[i].column, column) == 0)
			return &config->policies[i];
	return NULL;
}

const AgentpayPolicyConfig *
agentpay_config_policy(const AgentpayPointConfig *point, const char *column)
{
	int i = find_name(point->policies, point->n_policies,
					  sizeof(AgentpayPolicyConfig), column);

	return i < 0 ? NULL : &point->policies[i];
}

/* Structs whose first member is their name. */
static int
find_name(const void *first, int count, size_t size, const char *name)
{
	for (int i = 0; i < count; i++)
	{
		char *const *candidate = (char *const *) ((const char *) first +
												  i * size);

		if (strcmp(*candidate, name) == 0)
			return i;
	}
	return -1;
}

/* Finds the tables' oids anew, before they are read. */
static void
watch(void)
{
	if (!watching)
	{
		CacheRegisterRelcacheCallback(note_change, (Datum) 0);
		watching = true;
	}
	for (int i = 0; i < lengthof(table_names); i++)
		table_ids[i] = agentpay_relation(table_names[i]);
	for (int i = 0; i < lengthof(list_names); i++)
		list_ids[i] = agentpay_relation(list_names[i]);
	for (int i = 0; i < lengthof(rate_names); i++)
		rate_ids[i] = agentpay_relation(rate_names[i]);
}

/* Invalidation callback: relid InvalidOid means every relation. */
static void
note_change(Datum arg, Oid relid)
{
	all_changed++;
	if (!OidIsValid(relid) || has_oid(table_ids, lengthof(table_ids), relid))
		changes++;
	if (!OidIsValid(relid) || has_oid(list_ids, lengthof(list_ids), relid))
		lists_changed++;
	if (!OidIsValid(relid) || has_oid(rate_ids, lengthof(rate_ids), relid))
		rates_changed++;
}

static bool
has_oid(const Oid *ids, int count, Oid id)
{
	for (int i = 0; i < count; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* The trigger agentpay._config_changed(), after each statement. */
Datum
agentpay_config_changed(PG_FUNCTION_ARGS)
{
	TriggerData *trigger = (TriggerData *) fcinfo->context;

	if (!CALLED_AS_TRIGGER(fcinfo) || !TRIGGER_FIRED_AFTER(trigger->tg_event))
		ereport(ERROR,
				(errcode(ERRCODE_E_R_I_E_TRIGGER_PROTOCOL_VIOLATED),
				 errmsg("agentpay._config_changed() was not called as an "
						"AFTER trigger"),
				 errhint("CREATE EXTENSION agentpay makes its triggers.")));
	CacheInvalidateRelcacheByRelid(RelationGetRelid(trigger->tg_relation));
	/* an agent that may decide no more is not waited for */
	if (strcmp(RelationGetRelationName(trigger->tg_relation), "agents") == 0)
		agentpay_waiters_wake_all_at_commit();
	return PointerGetDatum(NULL);
}
