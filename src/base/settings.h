/*-------------------------------------------------------------------------
 * settings.h
 *		Every GUC of agentpay, in one place.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SETTINGS_H
#define AGENTPAY_SETTINGS_H

#include "postgres.h"

#define AGENTPAY_MAX_DISPATCHERS 8

/* What AFTER does when a column that was read changed after scoring. */
typedef enum AgentpayChangedAction
{
	AGENTPAY_CHANGED_RECORD,
	AGENTPAY_CHANGED_ERROR
} AgentpayChangedAction;

/* How long a partition of a log is. */
typedef enum AgentpayPartitionPeriod
{
	AGENTPAY_PARTITION_MONTH,
	AGENTPAY_PARTITION_WEEK,
	AGENTPAY_PARTITION_DAY
} AgentpayPartitionPeriod;

extern bool agentpay_workers_enabled;	/* agentpay.workers_enabled, sighup */
extern int agentpay_recheck_interval_s; /* launcher's slow timer */
extern int agentpay_idle_interval_ms;	/* dispatcher's slow timer */
extern int agentpay_max_in_flight;		/* calls in flight per dispatcher */
extern int agentpay_dispatchers;		/* of a database */
extern int agentpay_connect_timeout_ms;
extern int agentpay_breaker_failures; /* in a row; 0: it never opens */
extern int agentpay_breaker_error_percent;
extern int agentpay_breaker_wait_ms; /* the first wait */
extern int agentpay_breaker_max_wait_ms;
extern int agentpay_response_limit_kb;	   /* body cap of an answer */
extern int agentpay_clock_offset_s;		   /* developer: the mock clock */
extern int agentpay_changed_after_scoring; /* AgentpayChangedAction */
extern int agentpay_velocity_memory_kb;	   /* postmaster; 0: none */
extern char *agentpay_expression_schemas;  /* functions rules may call */
extern int agentpay_seal_interval_ms;	   /* between two seals */
extern int agentpay_partition_period;	   /* AgentpayPartitionPeriod */
extern char *agentpay_log_origin;		   /* checkpoints are signed as */
extern char *agentpay_checkpoint_key_file; /* PEM; empty: no checkpoints */
extern char *agentpay_checkpoint_directory;

extern char *agentpay_egress_proxy;		   /* http(s)://host:port, or "" */
extern char *agentpay_egress_proxy_secret; /* reference, or "" */
extern char *agentpay_hash_key;			   /* reference, or "" */
extern char *agentpay_ca_file;			   /* path, or "" */
extern char *agentpay_master_key;		   /* file:/path, command:…, or "" */

extern void agentpay_settings_define(void);

#endif /* AGENTPAY_SETTINGS_H */
