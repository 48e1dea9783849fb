/*-------------------------------------------------------------------------
 * bucket.h
 *		The range that a number or a time is in; for policy.c.
 *
 * Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_BUCKET_H
#define AGENTPAY_BUCKET_H

#include <stdbool.h>
#include <stddef.h>

#include "privacy/policy.h"

/*
 * "<10", "[10,100)" or ">=1000"; compared as decimals, without rounding.
 * False for what is no number.
 */
extern bool agentpay_bucket_number(const AgentpayPolicy *policy, const char *in,
								   size_t len, char *out, size_t *out_len);

/*
 * The beginning of a time in ISO 8601, such as "2026-11"; false if there is
 * no such part.
 */
extern bool agentpay_bucket_time(AgentpayWidth width, const char *in,
								 size_t len, char *out, size_t *out_len);

#endif /* AGENTPAY_BUCKET_H */
