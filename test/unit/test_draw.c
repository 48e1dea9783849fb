/*-------------------------------------------------------------------------
 * test_draw.c
 *		Draws against the HMAC-SHA-256 values of RFC 4231, thresholds at their
 *		edges, and propensities by hand.
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "scoring/draw.h"
#include "tap.h"

/* The first 16 bytes of the code, as the RFC prints them. */
static void
check_draw(const char *name, const char *key, size_t size, const char *data,
		   uint64_t first, uint64_t second)
{
	AgentpayDraw draw;

	check(agentpay_draw(key, size, data, &draw) && draw.first == first &&
			  draw.second == second,
		  "%s", name);
}

static void
check_hmac(void)
{
	char key[131];

	memset(key, 0x0b, 20);
	check_draw("RFC 4231, case 1", key, 20, "Hi There", 0xb0344c61d8db3853,
			   0x5ca8afceaf0bf12b);
	check_draw("RFC 4231, case 2", "Jefe", 4, "what do ya want for nothing?",
			   0x5bdcc146bf60754e, 0x6a042426089575c7);
	memset(key, 0xaa, 131);
	check_draw("RFC 4231, case 6", key, 131,
			   "Test Using Larger Than Block-Size Key - Hash Key First",
			   0x60e431591ee0b67f, 0x0d8a26aacbf5b77f);
}

/* By Python's hmac, over the three lines. */
static void
check_repeat(void)
{
	uint64_t number;

	check(agentpay_draw_repeat("Jefe", 4, "llm", "42", &number) &&
			  number == 0x48b6c2da5023a447,
		  "a row that an agent may be asked about again");
	check(agentpay_draw_repeat("Jefe", 4, "llm", "", &number) &&
			  number == 0xc5c7e3e2bd725477,
		  "a row id without a character");
}

static void
check_below(void)
{
	check(!agentpay_draw_below(0, 0), "0 %% takes nothing");
	check(agentpay_draw_below(UINT64_MAX, 100), "100 %% takes all");
	check(agentpay_draw_below(UINT64_C(0x7fffffffffffffff), 50) &&
			  !agentpay_draw_below(UINT64_C(0x8000000000000000), 50),
		  "50 %% is half of the numbers");
	/* 12.5 % of 2^64 is 2^61 */
	check(agentpay_draw_below((UINT64_C(1) << 61) - 1, 12.5) &&
			  !agentpay_draw_below(UINT64_C(1) << 61, 12.5),
		  "12.5 %% is an eighth");
	check(!agentpay_draw_below(0, 1e-30), "less than one number is none");
	check(!agentpay_draw_below(UINT64_MAX, nextafter(100, 0)),
		  "a little less than 100 %% is not all");
}

/* The whole part of number * buckets / 2^64, by hand. */
static void
check_bucket(void)
{
	check(agentpay_draw_bucket(0, 100) == 0, "the lowest number");
	check(agentpay_draw_bucket(UINT64_MAX, 100) == 99, "the highest number");
	check(agentpay_draw_bucket(UINT64_MAX, 10000) == 9999, "of 10,000");
	/* 2^64 / 100 = 184467440737095516.16 */
	check(agentpay_draw_bucket(UINT64_C(184467440737095516), 100) == 0 &&
			  agentpay_draw_bucket(UINT64_C(184467440737095517), 100) == 1,
		  "the edge between the first and the second of 100");
	/* 25 % of 2^64 is 2^62 */
	check(agentpay_draw_bucket((UINT64_C(1) << 62) - 1, 100) == 24 &&
			  agentpay_draw_bucket(UINT64_C(1) << 62, 100) == 25,
		  "the edge of a quarter");
	/* 0xb0344c61d8db3853 / 2^64 = 0.68829801... */
	check(agentpay_draw_bucket(UINT64_C(0xb0344c61d8db3853), 100) == 68 &&
			  agentpay_draw_bucket(UINT64_C(0xb0344c61d8db3853), 10000) == 6882,
		  "RFC 4231, case 1");
}

static void
check_propensity(void)
{
	/* 1 - (1 - 0.1)(1 - 0.2) = 0.28 */
	check((float) agentpay_draw_propensity(10, 20) == 0.28f, "10 and 20 %%");
	check(agentpay_draw_propensity(0, 0) == 0, "neither");
	check(agentpay_draw_propensity(10, 0) == 0.1, "explore alone");
	check(agentpay_draw_propensity(0, 20) == 0.2, "audit alone");
	check(agentpay_draw_propensity(10, 100) == 1, "audit of all");
	/* 1 - (1 - 1e-15) loses most of its digits */
	check(agentpay_draw_propensity(1e-13, 0) == 1e-13 / 100,
		  "small ones are exact");
}

int
main(void)
{
	check_hmac();
	check_repeat();
	check_below();
	check_bucket();
	check_propensity();
	return tap_done();
}
