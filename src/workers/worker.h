/*-------------------------------------------------------------------------
 * worker.h
 *		What every background worker of agentpay does alike.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_WORKER_H
#define AGENTPAY_WORKER_H

#include "postgres.h"

#include "executor/spi.h"

#include "base/shmem.h"

/* What a worker finds out about its database before it works. */
typedef enum AgentpayPresence
{
	AGENTPAY_ABSENT,		/* no extension: exit for good */
	AGENTPAY_WRONG_VERSION, /* not the version of this library: idle */
	AGENTPAY_HELD,			/* not started, or a copy: idle */
	AGENTPAY_DISABLED,		/* agentpay.workers_enabled is off: idle */
	AGENTPAY_READY
} AgentpayPresence;

/*
 * First in a database worker's main function: signals, slot, connection and
 * settings.  Does not return when the slot is not ours any more or the
 * database is held.
 */
extern void agentpay_worker_start(const char *name, Datum main_arg);

/* In the launcher: signals and a slot of its own. */
extern void agentpay_worker_take_launcher_slot(void);

/* This process's slot. */
extern AgentpayWorkerSlot *agentpay_worker_slot(void);

/* Shown in pg_stat_activity and stat_workers; NULL detail: idle. */
extern void agentpay_worker_report(const char *state, const char *detail);
extern void agentpay_worker_report_error(const char *message);

/*
 * Runs step in a transaction of its own.  After an error the transaction is
 * rolled back, the error is logged and shown in stat_workers, and the result
 * is false.  step finds SPI connected.
 */
extern bool agentpay_worker_run(void (*step)(void *arg), void *arg);

/*
 * Waits, outside of a transaction, until what this process committed survives
 * a crash, and a failover where synchronous_commit waits for standbys.
 */
extern void agentpay_worker_flush(void);

/*
 * After each step from now on, with no transaction open.  heed may run steps
 * of its own, after which it is not called.
 */
extern void agentpay_worker_after_each(void (*heed)(void *arg), void *arg);

/* A statement whose plan is kept to the end of the process; static. */
typedef struct AgentpayWorkerStatement
{
	const char *sql;
	SPIPlanPtr plan;
} AgentpayWorkerStatement;

/* In a step; its rows are in SPI_tuptable.  An error unless it was executed. */
extern void agentpay_worker_execute(AgentpayWorkerStatement *statement, int n,
									Oid *types, Datum *args);

/* The SQLSTATE of the last step that failed, and its message. */
extern int agentpay_worker_sqlstate(void);
extern const char *agentpay_worker_message(void);

/* Looks at the extension and the identity, in a transaction of its own. */
extern AgentpayPresence agentpay_worker_presence(void);

/* A dispatcher says that it lives, to the end of the process. */
extern void agentpay_worker_lock_lease(int64 lease);

/*
 * Ends, as uncertain, what dispatchers had sent that are gone; false: an
 * error.  ours is the caller's own lease; 0: it has none.
 */
extern bool agentpay_worker_heal(int64 ours);

/* To the end of the transaction; false when another dispatcher claims. */
extern bool agentpay_worker_try_lock_cursor(void);

/* As a state of stat_workers. */
extern const char *agentpay_worker_presence_name(AgentpayPresence presence);

/* SIGHUP came: rereads the configuration file. */
extern void agentpay_worker_reload(void);

#endif /* AGENTPAY_WORKER_H */
