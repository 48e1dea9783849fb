/*-------------------------------------------------------------------------
 * settings.c
 *		Defines every GUC of agentpay.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "utils/guc.h"

#include "base/settings.h"
#include "base/settings_check.h"

/* Longest origin: what c2sp.org/tlog-checkpoint's readers take. */
#define MAX_ORIGIN 200

bool agentpay_workers_enabled = true;
int agentpay_recheck_interval_s = 60;
int agentpay_idle_interval_ms = 5000;
int agentpay_max_in_flight = 256;
int agentpay_dispatchers = 1;
int agentpay_connect_timeout_ms = 1000;
int agentpay_breaker_failures = 10;
int agentpay_breaker_error_percent = 50;
int agentpay_breaker_wait_ms = 1000;
int agentpay_breaker_max_wait_ms = 60000;
int agentpay_response_limit_kb = 1024;
int agentpay_clock_offset_s = 0;
int agentpay_changed_after_scoring = AGENTPAY_CHANGED_RECORD;
int agentpay_velocity_memory_kb = 65536;
char *agentpay_expression_schemas = NULL;
int agentpay_seal_interval_ms = 1000;
int agentpay_partition_period = AGENTPAY_PARTITION_MONTH;
char *agentpay_egress_proxy = NULL;
char *agentpay_egress_proxy_secret = NULL;
char *agentpay_hash_key = NULL;
char *agentpay_ca_file = NULL;
char *agentpay_master_key = NULL;
char *agentpay_log_origin = NULL;
char *agentpay_checkpoint_key_file = NULL;
char *agentpay_checkpoint_directory = NULL;

/* Only SQL reads them: what cost_to_value_weekly counts with. */
static double false_decline_margin = 10;
static double dispute_fee = 15;
static double review_cost = 5;

static const struct config_enum_entry changed_actions[] = {
	{"record", AGENTPAY_CHANGED_RECORD, false},
	{"error", AGENTPAY_CHANGED_ERROR, false},
	{NULL, 0, false}};

/* Named as date_trunc() does. */
static const struct config_enum_entry partition_periods[] = {
	{"month", AGENTPAY_PARTITION_MONTH, false},
	{"week", AGENTPAY_PARTITION_WEEK, false},
	{"day", AGENTPAY_PARTITION_DAY, false},
	{NULL, 0, false}};

static void define_worker_settings(void);
static void define_egress_settings(void);
static void define_breaker_settings(void);
static void define_scoring_settings(void);
static void define_evidence_settings(void);
static void define_privacy_settings(void);
static void define_value_settings(void);
static bool check_origin(char **value, void **extra, GucSource source);

/* Called once from _PG_init. */
void
agentpay_settings_define(void)
{
	define_worker_settings();
	define_egress_settings();
	define_breaker_settings();
	define_scoring_settings();
	define_evidence_settings();
	define_privacy_settings();
	define_value_settings();
	MarkGUCPrefixReserved("agentpay");
}

static void
define_worker_settings(void)
{
	DefineCustomBoolVariable(
		"agentpay.workers_enabled", "Whether agentpay's workers run.",
		"Off stops every dispatcher and governor; payments are still scored by the rules.",
		&agentpay_workers_enabled, true, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"agentpay.recheck_interval",
		"How often the launcher looks for databases that have agentpay.", NULL,
		&agentpay_recheck_interval_s, 60, 1, 3600, PGC_SIGHUP, GUC_UNIT_S, NULL,
		NULL, NULL);
	DefineCustomIntVariable(
		"agentpay.idle_interval",
		"How often an idle dispatcher looks for tasks that nothing woke it for.",
		"COMMIT PREPARED wakes nobody.", &agentpay_idle_interval_ms, 5000, 10,
		600000, PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable("agentpay.max_in_flight",
							"Calls in flight at once per dispatcher.", NULL,
							&agentpay_max_in_flight, 256, 1, 10000, PGC_SIGHUP,
							0, NULL, NULL, NULL);
	DefineCustomIntVariable("agentpay.dispatchers",
							"Dispatchers of each database with agentpay.",
							"Each is a background worker.",
							&agentpay_dispatchers, 1, 1,
							AGENTPAY_MAX_DISPATCHERS, PGC_SIGHUP, 0, NULL, NULL,
							NULL);
	DefineCustomIntVariable("agentpay.connect_timeout",
							"Longest wait for a connection to an agent.", NULL,
							&agentpay_connect_timeout_ms, 1000, 1, 60000,
							PGC_SIGHUP, GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"agentpay.response_limit", "Largest body of an agent's answer.",
		"A longer body is cut off, and the call fails as truncated.",
		&agentpay_response_limit_kb, 1024, 1, 65536, PGC_SIGHUP, GUC_UNIT_KB,
		NULL, NULL, NULL);
}

/* Not for ordinary roles, neither to set nor to see. */
static void
define_egress_settings(void)
{
	DefineCustomStringVariable(
		"agentpay.egress_proxy", "Proxy through which agents are called.",
		"http://host:port or https://host:port; empty: none. The environment has no say.",
		&agentpay_egress_proxy, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		agentpay_check_egress_proxy, NULL, NULL);
	DefineCustomStringVariable(
		"agentpay.egress_proxy_secret",
		"Where the proxy's user:password is: file:/path or env:NAME.", NULL,
		&agentpay_egress_proxy_secret, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		agentpay_check_egress_proxy_secret, NULL, NULL);
	DefineCustomStringVariable(
		"agentpay.hash_key",
		"Where the key of treatment hash is: file:/path or env:NAME.",
		"Empty: there is none, and values under hash are withheld.",
		&agentpay_hash_key, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		agentpay_check_hash_key, NULL, NULL);
	DefineCustomStringVariable(
		"agentpay.ca_file",
		"File of certificate authorities that are believed beside the system's.",
		NULL, &agentpay_ca_file, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		agentpay_check_ca_file, NULL, NULL);
}

static void
define_breaker_settings(void)
{
	DefineCustomIntVariable(
		"agentpay.breaker_failures",
		"Failures in a row after which an agent is not called for a while.",
		"0 switches circuit breakers off.", &agentpay_breaker_failures, 10, 0,
		10000, PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"agentpay.breaker_error_percent",
		"Share of an agent's last calls beyond which failures open its breaker.",
		"Of at least 20 calls; 100 leaves it to failures in a row.",
		&agentpay_breaker_error_percent, 50, 1, 100, PGC_SIGHUP, 0, NULL, NULL,
		NULL);
	DefineCustomIntVariable(
		"agentpay.breaker_wait",
		"How long an open breaker waits before its first probe.",
		"Doubled with each probe that fails; half of it by chance.",
		&agentpay_breaker_wait_ms, 1000, 1, 3600000, PGC_SIGHUP, GUC_UNIT_MS,
		NULL, NULL, NULL);
	DefineCustomIntVariable(
		"agentpay.breaker_max_wait",
		"Longest wait of an open breaker before a probe.",
		"A Retry-After, of a minute at most, can be longer.",
		&agentpay_breaker_max_wait_ms, 60000, 1, 86400000, PGC_SIGHUP,
		GUC_UNIT_MS, NULL, NULL, NULL);
}

static void
define_scoring_settings(void)
{
	DefineCustomIntVariable("agentpay.clock_offset",
							"Seconds added to agentpay's clock, for tests.",
							NULL, &agentpay_clock_offset_s, 0, INT_MIN, INT_MAX,
							PGC_SUSET, GUC_UNIT_S | GUC_NOT_IN_SAMPLE, NULL,
							NULL, NULL);
	DefineCustomEnumVariable(
		"agentpay.changed_after_scoring",
		"What happens when a column that was read is changed by a later trigger.",
		"record: the decision says so; error: the statement fails.",
		&agentpay_changed_after_scoring, AGENTPAY_CHANGED_RECORD,
		changed_actions, PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomIntVariable(
		"agentpay.velocity_memory",
		"Shared memory for the rows that features count.",
		"Features of keys that do not fit are read from the table by index; 0 reads all of them so.",
		&agentpay_velocity_memory_kb, 65536, 0, INT_MAX, PGC_POSTMASTER,
		GUC_UNIT_KB, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"agentpay.expression_schemas",
		"Schemas whose functions rules may call, beside the built-in list.",
		"Functions there run as the owner of the table, restricted.",
		&agentpay_expression_schemas, "", PGC_SUSET, GUC_LIST_INPUT, NULL, NULL,
		NULL);
}

/* Not for ordinary roles, neither to set nor to see. */
static void
define_privacy_settings(void)
{
	DefineCustomStringVariable(
		"agentpay.master_key",
		"Where the master key is: file:/path or command:program arguments.",
		"Lines of 64 hexadecimal digits, the current key first; empty: nothing is sealed.",
		&agentpay_master_key, "", PGC_SIGHUP, GUC_SUPERUSER_ONLY,
		agentpay_check_master_key, NULL, NULL);
}

static void
define_value_settings(void)
{
	DefineCustomRealVariable(
		"agentpay.false_decline_margin",
		"Share of a good payment's amount, in percent, that declining it costs.",
		NULL, &false_decline_margin, 10, 0, 100, PGC_SUSET, 0, NULL, NULL,
		NULL);
	DefineCustomRealVariable("agentpay.dispute_fee",
							 "What a dispute costs beside its amount, in USD.",
							 NULL, &dispute_fee, 15, 0, 1000000, PGC_SUSET, 0,
							 NULL, NULL, NULL);
	DefineCustomRealVariable("agentpay.review_cost",
							 "What a person's look at a payment costs, in USD.",
							 NULL, &review_cost, 5, 0, 1000000, PGC_SUSET, 0,
							 NULL, NULL, NULL);
}

static void
define_evidence_settings(void)
{
	DefineCustomIntVariable(
		"agentpay.seal_interval",
		"How often committed rows of the logs get their place in the Merkle log.",
		NULL, &agentpay_seal_interval_ms, 1000, 10, 600000, PGC_SIGHUP,
		GUC_UNIT_MS, NULL, NULL, NULL);
	DefineCustomEnumVariable("agentpay.partition_period",
							 "How long a partition of a log is.",
							 "Partitions that are there stay as they are.",
							 &agentpay_partition_period,
							 AGENTPAY_PARTITION_MONTH, partition_periods,
							 PGC_SIGHUP, 0, NULL, NULL, NULL);
	DefineCustomStringVariable(
		"agentpay.log_origin",
		"The name that the Merkle log's checkpoints are signed under.",
		"One name for one log, such as example.com/ledger; empty: nothing is signed.",
		&agentpay_log_origin, "", PGC_SUSET, 0, check_origin, NULL, NULL);
	DefineCustomStringVariable(
		"agentpay.checkpoint_key_file",
		"File with the Ed25519 private key, in PEM, that signs checkpoints.",
		"Empty: nothing is signed.", &agentpay_checkpoint_key_file, "",
		PGC_SUSET, 0, NULL, NULL, NULL);
	DefineCustomStringVariable("agentpay.checkpoint_directory",
							   "Where the last checkpoint is exported to.",
							   "Empty: nothing is exported.",
							   &agentpay_checkpoint_directory, "", PGC_SUSET, 0,
							   NULL, NULL, NULL);
}

/* As signed notes want the names of keys. */
static bool
check_origin(char **value, void **extra, GucSource source)
{
	for (const char *c = *value; *c != '\0'; c++)
		if (*c <= ' ' || *c >= 0x7F || *c == '+')
		{
			GUC_check_errdetail(
				"An origin has printable ASCII without spaces and \"+\", such as example.com/ledger.");
			return false;
		}
	if (strlen(*value) > MAX_ORIGIN)
	{
		GUC_check_errdetail("An origin has at most %d bytes.", MAX_ORIGIN);
		return false;
	}
	return true;
}
