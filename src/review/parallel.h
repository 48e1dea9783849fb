/*-------------------------------------------------------------------------
 * parallel.h
 *		A task over the decisions on record, shared by several processes.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_PARALLEL_H
#define AGENTPAY_PARALLEL_H

#include "postgres.h"

#include "fmgr.h"
#include "lib/stringinfo.h"
#include "storage/block.h"

/* Names a task beyond the process. */
typedef enum AgentpayTaskKind
{
	AGENTPAY_TASK_BACKTEST,
	AGENTPAY_TASK_REPLAY,
	AGENTPAY_TASKS
} AgentpayTaskKind;

/*
 * What a task finds is a sum, to which rows are added in any order: each
 * process has its own, and the leader adds up those of the others.
 */
typedef struct AgentpayTask
{
	const char *type; /* of its workers, in pg_stat_activity */

	/* An empty sum, in the current memory context. */
	void *(*open)(void);
	/*
	 * Adds the rows of the task's query, or, when shared, of the blocks that
	 * come to this process.
	 */
	void (*work)(const NullableDatum *args, bool shared, void *sum);
	/* The sum as bytes, and added to another one, whatever the context. */
	void (*write)(const void *sum, StringInfo bytes);
	void (*add)(void *sum, StringInfo bytes);
} AgentpayTask;

extern const AgentpayTask agentpay_backtest_task;
extern const AgentpayTask agentpay_replay_task;

extern const AgentpayTask *agentpay_parallel_task(AgentpayTaskKind kind);

/*
 * The sum of a task, whose work gets the arguments of the function.  query is
 * what it runs unshared: parallel.c says when workers help.  Errors of workers
 * are raised here.
 */
extern void *agentpay_parallel_run(AgentpayTaskKind kind, FunctionCallInfo call,
								   const char *query);

/* The next blocks for this process; false: none are left. */
extern bool agentpay_parallel_take(BlockNumber *first, BlockNumber *beyond);

#endif /* AGENTPAY_PARALLEL_H */
