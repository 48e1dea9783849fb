/*-------------------------------------------------------------------------
 * policy.h
 *		Applies a data policy to one value in its text form.
 *
 * The one place where a value is treated: what it returns feeds prompt,
 * stored inputs and logs alike.  Pure: libc only, no state, no allocation.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_POLICY_H
#define AGENTPAY_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "privacy/detect.h"

typedef enum AgentpayTreatment
{
	AGENTPAY_TREATMENT_PASS, /* as it is */
	AGENTPAY_TREATMENT_MASK, /* stars, but for the last keep_last characters */
	AGENTPAY_TREATMENT_DROP	 /* withheld: JSON null */
} AgentpayTreatment;

typedef struct AgentpayPolicy
{
	AgentpayTreatment treatment;
	int keep_last; /* characters left in clear by mask; 0 or more */
} AgentpayPolicy;

/* Bytes that agentpay_policy_apply() may use of out. */
#define AGENTPAY_POLICY_OUT_SIZE(len) (AGENTPAY_DETECT_OUT_SIZE(len) + (len))

/*
 * The treatment that data_policies.treatment names; false if there is none of
 * that name (configuration refuses those that do not exist yet).
 */
extern bool
agentpay_policy_parse(const char *name, AgentpayTreatment *treatment);

/*
 * Treats one value, then takes card numbers, IBANs and e-mail addresses out
 * of what is left, whatever the policy.  False: the value is withheld, and
 * nothing is written.  Otherwise out holds *out_len bytes, not terminated.
 * in and out must not overlap; out has AGENTPAY_POLICY_OUT_SIZE(len) bytes.
 * policy NULL: no policy, the value is kept but scanned.  A value not longer
 * than keep_last is masked whole.
 *
 * Callers that want to spare a copy: where the treatment is pass (or policy is
 * NULL) and agentpay_detect_suspicious() is false, the result is the input.
 */
extern bool agentpay_policy_apply(const AgentpayPolicy *policy, const char *in,
								  size_t len, char *out, size_t *out_len);

#endif /* AGENTPAY_POLICY_H */
