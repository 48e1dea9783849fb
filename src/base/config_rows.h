/*-------------------------------------------------------------------------
 * config_rows.h
 *		The rows of a query over the configuration, for config_load.c.  What
 *		is read is copied into the configuration's memory.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CONFIG_ROWS_H
#define AGENTPAY_CONFIG_ROWS_H

#include "executor/spi.h"

#include "base/config.h"
#include "base/owner.h"

typedef struct AgentpayRows
{
	AgentpayConfig *config;
	const char *point; /* whose version is tried; empty: none */
	int version;
	const TimestampTz *at; /* the tables as they were; NULL: as they are */
	bool changed;		   /* some of it since */
	Datum models;		   /* with at: jsonb, the version of each by its name */
	AgentpayOwnerReading reading;
	SPITupleTable *table;
	uint64 count;
	uint64 row; /* the current one */
} AgentpayRows;

/* Runs the query; its rows are the current ones. */
extern void agentpay_rows_query(AgentpayRows *rows, const char *sql);

/* The point that the row's first column names, or NULL. */
extern AgentpayPointConfig *agentpay_rows_point(AgentpayRows *rows);

/* Room for one more; what is new is zero. */
extern void *
agentpay_rows_grow(AgentpayRows *rows, void *array, int count, size_t size);

/* A column of the current row, from 1; not copied. */
extern Datum agentpay_rows_value(AgentpayRows *rows, int column, bool *isnull);

/* NULL for NULL; bytes, too. */
extern char *agentpay_rows_text(AgentpayRows *rows, int column);
extern struct varlena *agentpay_rows_bytes(AgentpayRows *rows, int column);

/* 0 for NULL, as the next four. */
extern int64 agentpay_rows_int(AgentpayRows *rows, int column);
extern bool agentpay_rows_bool(AgentpayRows *rows, int column);
extern double agentpay_rows_float(AgentpayRows *rows, int column);
extern Numeric agentpay_rows_numeric(AgentpayRows *rows, int column);
extern Interval agentpay_rows_interval(AgentpayRows *rows, int column);

/* Arrays; NULL for NULL. */
extern char **agentpay_rows_texts(AgentpayRows *rows, int column, int *count);
extern double *
agentpay_rows_numbers(AgentpayRows *rows, int column, int *count);

/* -1 for NULL, or what is no verdict of the point. */
extern int agentpay_rows_verdict(AgentpayRows *rows, int column,
								 const AgentpayPointConfig *point);

/* What a double cannot hold becomes 0 or infinity, and is no error. */
extern double agentpay_rows_double(Datum numeric);

#endif /* AGENTPAY_CONFIG_ROWS_H */
