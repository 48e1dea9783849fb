/*-------------------------------------------------------------------------
 * clock.h
 *		agentpay's clock, which tests can move, and time-ordered ids.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CLOCK_H
#define AGENTPAY_CLOCK_H

#include "postgres.h"

#include "datatype/timestamp.h"
#include "utils/uuid.h"

/* The wall clock plus agentpay.clock_offset. */
extern TimestampTz agentpay_clock_now(void);

/* A UUID of version 7 (RFC 9562) for that moment. */
extern void agentpay_uuid_v7(TimestampTz at, pg_uuid_t *out);

#endif /* AGENTPAY_CLOCK_H */
