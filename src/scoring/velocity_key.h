/*-------------------------------------------------------------------------
 * velocity_key.h
 *		Values as bytes that are equal when the values are.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VELOCITY_KEY_H
#define AGENTPAY_VELOCITY_KEY_H

#include "postgres.h"

#include "scoring/event_sum.h"

/* Types of one form compare with each other. */
typedef enum AgentpayKeyForm
{
	AGENTPAY_KEY_NONE, /* equality is more than that of bytes */
	AGENTPAY_KEY_INTEGER,
	AGENTPAY_KEY_FIXED,	 /* the bytes of the value; the same type only */
	AGENTPAY_KEY_TEXT,	 /* text, varchar */
	AGENTPAY_KEY_PADDED, /* char(n) */
	AGENTPAY_KEY_BYTES,	 /* bytea */
	AGENTPAY_KEY_NUMERIC
} AgentpayKeyForm;

/* Of a base type; collation: that by which the values are compared. */
extern AgentpayKeyForm agentpay_key_form(Oid type, Oid collation);

/*
 * Writes the value's form; returns how many bytes, or -1 when there is no room.
 * May leave memory behind in the current context.
 */
extern int agentpay_key_write(AgentpayKeyForm form, Oid type, Datum value,
							  char *to, int room);

/*
 * 128 bits that are equal when the values are, and else differ: the value
 * itself up to 15 bytes, otherwise half of its SHA-256.
 */
extern void agentpay_key_identity(AgentpayKeyForm form, Oid type, Datum value,
								  AgentpayEventValue *identity);

#endif /* AGENTPAY_VELOCITY_KEY_H */
