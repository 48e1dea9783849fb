/*-------------------------------------------------------------------------
 * policy.h
 *		Applies a data policy to one value in its text form.
 *
 * The one place where a value is treated: what it returns feeds prompt,
 * stored inputs and logs alike.  Pure: libc and libcrypto only, no allocation.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_POLICY_H
#define AGENTPAY_POLICY_H

#include <stdbool.h>
#include <stddef.h>

#include "privacy/detect.h"
#include "privacy/hash.h"

/* In order of strictness: what is read from several columns takes the last. */
typedef enum AgentpayTreatment
{
	AGENTPAY_TREATMENT_PASS,   /* as it is */
	AGENTPAY_TREATMENT_BUCKET, /* the range of a number, or part of a time */
	AGENTPAY_TREATMENT_MASK, /* stars, but for the last keep_last characters */
	AGENTPAY_TREATMENT_TOKENISE, /* a token; vault.h makes it */
	AGENTPAY_TREATMENT_HASH, /* a keyed hash: equal values are seen as equal */
	AGENTPAY_TREATMENT_DROP	 /* withheld: JSON null */
} AgentpayTreatment;

/* How much of a time bucket keeps. */
typedef enum AgentpayWidth
{
	AGENTPAY_WIDTH_NONE,
	AGENTPAY_WIDTH_YEAR,
	AGENTPAY_WIDTH_MONTH,
	AGENTPAY_WIDTH_DAY,
	AGENTPAY_WIDTH_HOUR
} AgentpayWidth;

typedef struct AgentpayPolicy
{
	AgentpayTreatment treatment;
	int keep_last;		  /* characters left in clear by mask; 0 or more */
	int n_bounds;		  /* of bucket: decimals that rise */
	char *const *bounds;  /* each of AGENTPAY_BOUND_MAX bytes at the most */
	AgentpayWidth width;  /* of bucket, for times; else NONE */
	const char *hash_key; /* of hash: where the key is; see hash.h */
	bool keeps_format;	  /* of tokenise: digits become digits */
} AgentpayPolicy;

#define AGENTPAY_BOUND_MAX 40

/* Bytes that agentpay_policy_apply() may use of out. */
#define AGENTPAY_POLICY_OUT_SIZE(len) \
	(AGENTPAY_DETECT_OUT_SIZE(len) + (len) + 2 * AGENTPAY_BOUND_MAX + 8)

/*
 * The treatment that data_policies.treatment names; false if there is none of
 * that name (configuration refuses those that do not exist yet).
 */
extern bool
agentpay_policy_parse(const char *name, AgentpayTreatment *treatment);

/* The width that options name; NONE for NULL and what is none. */
extern AgentpayWidth agentpay_policy_width(const char *name);

/*
 * Whether a column of that name holds what nobody may keep once a payment is
 * authorised: a card verification value, track data, a PIN block.  Such a
 * column is withheld whatever its policy is.
 */
extern bool agentpay_policy_forbids(const char *column);

/*
 * Treats one value, then takes what detect.h finds out of what is left,
 * whatever the policy; a hash and a bucket are made of nothing that could be
 * found.  False: the value is withheld, and nothing is written.  Otherwise out
 * holds *out_len bytes, not terminated.
 * in and out must not overlap; out has AGENTPAY_POLICY_OUT_SIZE(len) bytes.
 * policy NULL: no policy, the value is kept but scanned.  A value not longer
 * than keep_last is masked whole.  Bucket reads numbers as PostgreSQL writes
 * them, and times as ISO 8601; what is neither, and NaN, is withheld.
 *
 * Callers that want to spare a copy: where the treatment is pass (or policy is
 * NULL) and agentpay_detect_suspicious() is false, the result is the input.
 */
extern bool agentpay_policy_apply(const AgentpayPolicy *policy, const char *in,
								  size_t len, char *out, size_t *out_len);

#endif /* AGENTPAY_POLICY_H */
