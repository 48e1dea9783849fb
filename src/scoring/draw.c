/*-------------------------------------------------------------------------
 * draw.c
 *		Whose label is to be learned, who is asked again, and who stands where
 *		in a rollout: the draws, and their probability.
 *
 * Pure: no PostgreSQL, no state, no locks.
 *-------------------------------------------------------------------------
 */
#include "scoring/draw.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/hmac.h>

#define NUMBERS 18446744073709551616.0 /* 2^64 */

static uint64_t big_endian(const unsigned char *bytes);

bool
agentpay_draw(const void *salt, size_t salt_size, const char *key,
			  AgentpayDraw *draw)
{
	unsigned char code[EVP_MAX_MD_SIZE];
	unsigned int size = 0;

	if (HMAC(EVP_sha256(), salt, (int) salt_size, (const unsigned char *) key,
			 strlen(key), code, &size) == NULL ||
		size < 16)
		return false;
	draw->first = big_endian(code);
	draw->second = big_endian(code + 8);
	return true;
}

bool
agentpay_draw_repeat(const void *salt, size_t salt_size, const char *agent,
					 const char *row_id, uint64_t *number)
{
	const char *form = "repeat\n%s\n%s";
	size_t size = strlen(form) + strlen(agent) + strlen(row_id);
	char *text = malloc(size);
	AgentpayDraw draw;
	bool drawn;

	if (text == NULL)
		return false;
	snprintf(text, size, form, agent, row_id);
	drawn = agentpay_draw(salt, salt_size, text, &draw);
	free(text);
	if (drawn)
		*number = draw.first;
	return drawn;
}

static uint64_t
big_endian(const unsigned char *bytes)
{
	uint64_t number = 0;

	for (int i = 0; i < 8; i++)
		number = number << 8 | bytes[i];
	return number;
}

bool
agentpay_draw_below(uint64_t number, double percent)
{
	/* 2^64 itself is no uint64_t */
	if (percent >= 100)
		return true;
	return percent > 0 && number < (uint64_t) (percent / 100 * NUMBERS);
}

/* In halves: 64 bits do not hold the product. */
unsigned
agentpay_draw_bucket(uint64_t number, unsigned buckets)
{
	uint64_t high = (number >> 32) * buckets;
	uint64_t low = (number & UINT32_MAX) * buckets;

	return (unsigned) ((high + (low >> 32)) >> 32);
}

/* 1 - (1 - e)(1 - a), without what cancels out. */
double
agentpay_draw_propensity(double explore_percent, double audit_percent)
{
	double explore = explore_percent / 100;
	double audit = audit_percent / 100;

	return explore + audit - explore * audit;
}
