/*-------------------------------------------------------------------------
 * reservation.h
 *		One attempt that wants to be made, as it is handed from SQL to C.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_RESERVATION_H
#define AGENTPAY_RESERVATION_H

/* Of agentpay._reservation, zero-based, as in sql/parts/50_control.sql. */
typedef enum AgentpayWantedColumn
{
	WANTED_TASK_ID,
	WANTED_ATTEMPT,
	WANTED_BOUND,
	WANTED_ROLE,
	WANTED_POINT,
	WANTED_AGENT,
	WANTED_COST_CENTER,
	WANTED_PAYMENT,
	WANTED_LEASE_UNTIL,
	WANTED_COLUMNS
} AgentpayWantedColumn;

#endif /* AGENTPAY_RESERVATION_H */
