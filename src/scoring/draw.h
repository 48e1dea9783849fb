/*-------------------------------------------------------------------------
 * draw.h
 *		Whose label is to be learned, who is asked again, and who stands where
 *		in a rollout: the draws, and their probability.
 *
 * Pure: libc and libcrypto only, no state, so it is unit-tested outside a
 * server.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DRAW_H
#define AGENTPAY_DRAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As in decisions.assignment of the rules; holdouts are an agent's. */
typedef enum AgentpayAssignment
{
	AGENTPAY_TREATMENT,
	AGENTPAY_EXPLORE,
	AGENTPAY_AUDIT
} AgentpayAssignment;

/* What a row gets, and why. */
typedef struct AgentpayAssigned
{
	int verdict; /* index into the point's verdicts, as the next */
	int answer;	 /* explore: what the rules said; otherwise -1 */
	AgentpayAssignment assignment;
	float propensity; /* that the row's label can be observed */
} AgentpayAssigned;

/* Two independent numbers of a key, each uniform over 64 bits. */
typedef struct AgentpayDraw
{
	uint64_t first;
	uint64_t second;
} AgentpayDraw;

/*
 * The numbers of a key (a row id, a subject) under a salt: the first and the
 * second eight bytes, big-endian, of HMAC-SHA-256 (RFC 2104).  The same
 * whenever it is asked, and unpredictable without the salt.  False: libcrypto
 * failed.
 */
extern bool agentpay_draw(const void *salt, size_t salt_size, const char *key,
						  AgentpayDraw *draw);

/*
 * The number of an agent and a row id under a salt: the first eight bytes of
 * HMAC-SHA-256 of "repeat", the agent's name and the row id, a line each.
 * False: libcrypto failed, or there is no memory.
 */
extern bool
agentpay_draw_repeat(const void *salt, size_t salt_size, const char *agent,
					 const char *row_id, uint64_t *number);

/* Whether a number is among the lowest percent of all; 100: always. */
extern bool agentpay_draw_below(uint64_t number, double percent);

/*
 * Which of that many buckets of equal size the number is in: the whole part of
 * number * buckets / 2^64.
 */
extern unsigned agentpay_draw_bucket(uint64_t number, unsigned buckets);

/* The probability that at least one of the two draws takes a row. */
extern double
agentpay_draw_propensity(double explore_percent, double audit_percent);

#endif /* AGENTPAY_DRAW_H */
