/*-------------------------------------------------------------------------
 * test_policy.c
 *		What a data policy leaves of a value.
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "privacy/policy.h"
#include "tap.h"

/* Checks a treatment; out NULL: withheld. */
static void
expect(const AgentpayPolicy *policy, const char *in, const char *out)
{
	size_t len = strlen(in);
	char *exact = malloc(len + 1);
	char *got = malloc(AGENTPAY_POLICY_OUT_SIZE(len));
	size_t got_len = 0;
	bool kept;
	bool passed;

	memcpy(exact, in, len);
	kept = agentpay_policy_apply(policy, exact, len, got, &got_len);
	if (out == NULL)
		passed = !kept;
	else
		passed = kept && got_len == strlen(out) &&
				 memcmp(got, out, got_len) == 0;
	check(passed, "%s (%s, keep_last %d) -> %s", in,
		  policy == NULL								   ? "no policy"
		  : policy->treatment == AGENTPAY_TREATMENT_PASS   ? "pass"
		  : policy->treatment == AGENTPAY_TREATMENT_MASK   ? "mask"
		  : policy->treatment == AGENTPAY_TREATMENT_HASH   ? "hash"
		  : policy->treatment == AGENTPAY_TREATMENT_BUCKET ? "bucket"
														   : "drop",
		  policy == NULL ? 0 : policy->keep_last, out ? out : "withheld");
	if (!passed)
		printf("# got %.*s\n", (int) got_len, got);
	free(exact);
	free(got);
}

static void
test_parse(void)
{
	AgentpayTreatment treatment = AGENTPAY_TREATMENT_DROP;

	check(agentpay_policy_parse("pass", &treatment) &&
			  treatment == AGENTPAY_TREATMENT_PASS,
		  "pass");
	check(agentpay_policy_parse("mask", &treatment) &&
			  treatment == AGENTPAY_TREATMENT_MASK,
		  "mask");
	check(agentpay_policy_parse("drop", &treatment) &&
			  treatment == AGENTPAY_TREATMENT_DROP,
		  "drop");
	check(agentpay_policy_parse("hash", &treatment) &&
			  treatment == AGENTPAY_TREATMENT_HASH,
		  "hash");
	check(agentpay_policy_parse("bucket", &treatment) &&
			  treatment == AGENTPAY_TREATMENT_BUCKET,
		  "bucket");
	check(!agentpay_policy_parse("show", &treatment), "no other name");
	check(!agentpay_policy_parse("", &treatment), "no empty name");
}

static const AgentpayPolicy *
hash_under(const char *key)
{
	static AgentpayPolicy hash = {.treatment = AGENTPAY_TREATMENT_HASH};

	setenv("AGENTPAY_TEST_HASH", key, 1);
	hash.hash_key = "env:AGENTPAY_TEST_HASH";
	agentpay_hash_key_problem(hash.hash_key); /* reads it again */
	return &hash;
}

/*
 * The hashes are those of: printf %s VALUE |
 * openssl dgst -sha256 -hmac 0123456789abcdef0123456789abcdef | cut -c-32
 */
static void
test_hash(void)
{
	const AgentpayPolicy unset = {.treatment = AGENTPAY_TREATMENT_HASH};
	const AgentpayPolicy *hash = hash_under("0123456789abcdef0123456789abcdef");

	expect(hash, "4111111111111111", "7b7e6cb2715c7b1c37110f035123abd3");
	expect(hash, "", "796cd3078af14636753d26b3b5555422");
	expect(hash, "M\xC3\xBCller", "44dedecfb6c02d74bf96e1b49e58d7e7");
	expect(hash_under("0123456789abcdef0123456789abcdeg"), "4111111111111111",
		   "7278184d5302dbb7fbd42044a2e1a2ab");

	expect(&unset, "4111111111111111", NULL);
	expect(hash_under("0123456789abcdef"), "4111111111111111", NULL);
	check(strcmp(agentpay_hash_key_problem("env:AGENTPAY_TEST_HASH"),
				 "the key is shorter than 32 bytes") == 0,
		  "a short key is none");
	check(agentpay_hash_key_problem("env:AGENTPAY_TEST_NOWHERE") != NULL,
		  "nor is one that is nowhere");
}

static void
test_bucket_numbers(void)
{
	static char *const bounds[] = {"-5.5", "0", "10", "100", "1000"};
	const AgentpayPolicy bucket = {.treatment = AGENTPAY_TREATMENT_BUCKET,
								   .n_bounds = 5,
								   .bounds = bounds};
	const AgentpayPolicy none = {.treatment = AGENTPAY_TREATMENT_BUCKET};
	static const char *const cases[][2] = {
		{"9.99", "[0,10)"},
		{"9.99999999999999999999999999", "[0,10)"},
		{"10", "[10,100)"},
		{"10.000", "[10,100)"},
		{"10.000000000000000000000001", "[10,100)"},
		{"0", "[0,10)"},
		{"0.00", "[0,10)"},
		{"-0", "[0,10)"},
		{"0.001", "[0,10)"},
		{"-0.001", "[-5.5,0)"},
		{"-5.5", "[-5.5,0)"},
		{"-5.50", "[-5.5,0)"},
		{"-5.51", "<-5.5"},
		{"-100", "<-5.5"},
		{"999.999", "[100,1000)"},
		{"1000", ">=1000"},
		{"1e+20", ">=1000"},
		{"1e-07", "[0,10)"},
		{"1.5e+01", "[10,100)"},
		{"Infinity", ">=1000"},
		{"-Infinity", "<-5.5"},
		{"NaN", NULL},
		{"", NULL},
		{"-", NULL},
		{"12 apples", NULL},
		{"1.2.3", NULL},
		{"1e", NULL},
		{"1e99999999999999999999", NULL},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		expect(&bucket, cases[i][0], cases[i][1]);
	expect(&none, "1", NULL);
}

static AgentpayPolicy
of_width(const char *width)
{
	AgentpayPolicy policy = {.treatment = AGENTPAY_TREATMENT_BUCKET,
							 .width = agentpay_policy_width(width)};

	return policy;
}

static void
test_bucket_times(void)
{
	const AgentpayPolicy year = of_width("year");
	const AgentpayPolicy month = of_width("month");
	const AgentpayPolicy day = of_width("day");
	const AgentpayPolicy hour = of_width("hour");
	const char *time = "2026-11-24T09:39:12.123+00:00";

	expect(&year, time, "2026");
	expect(&month, time, "2026-11");
	expect(&day, time, "2026-11-24");
	expect(&hour, time, "2026-11-24T09");
	expect(&day, "2026-11-24", "2026-11-24");
	expect(&month, "2026-11-24", "2026-11");
	expect(&hour, "2026-11-24", NULL);
	expect(&year, "12026-11-24", "12026");
	expect(&year, "infinity", NULL);
	expect(&year, "0044-03-15 BC", NULL);
	expect(&day, "", NULL);
	check(agentpay_policy_width("week") == AGENTPAY_WIDTH_NONE, "no week");
	check(agentpay_policy_width(NULL) == AGENTPAY_WIDTH_NONE, "no width");
}

static void
test_forbidden(void)
{
	static const char *const forbidden[] = {"cvv",		 "CVV2",
											"card_cvc",	 "cardCvv",
											"track1",	 "security_code",
											"track_2",	 "pin_block",
											"trackData", "card_security_code",
											"cvv-2",	 "magstripe",
											"csc"};
	static const char *const fine[] = {"cvv_result", "cvc_match",  "amount",
									   "fiscsc",	 "tracking",   "track",
									   "pin",		 "card",	   "",
									   "code",		 "soundtrack1"};

	for (size_t i = 0; i < sizeof(forbidden) / sizeof(forbidden[0]); i++)
		check(agentpay_policy_forbids(forbidden[i]), "%s is withheld",
			  forbidden[i]);
	for (size_t i = 0; i < sizeof(fine) / sizeof(fine[0]); i++)
		check(!agentpay_policy_forbids(fine[i]), "\"%s\" is not", fine[i]);
}

int
main(void)
{
	const AgentpayPolicy pass = {AGENTPAY_TREATMENT_PASS, 0};
	const AgentpayPolicy drop = {AGENTPAY_TREATMENT_DROP, 0};
	const AgentpayPolicy mask = {AGENTPAY_TREATMENT_MASK, 0};
	const AgentpayPolicy mask4 = {AGENTPAY_TREATMENT_MASK, 4};
	const AgentpayPolicy mask16 = {AGENTPAY_TREATMENT_MASK, 16};

	test_parse();
	test_hash();
	test_bucket_numbers();
	test_bucket_times();
	test_forbidden();

	expect(&pass, "Berlin", "Berlin");
	expect(&pass, "", "");
	expect(&pass, "card 4111 1111 1111 1111", "card [PAN]");
	expect(NULL, "Berlin", "Berlin");
	expect(NULL, "write to joe@example.com", "write to [EMAIL]");

	expect(&drop, "Berlin", NULL);
	expect(&drop, "", NULL);

	expect(&mask, "Berlin", "******");
	expect(&mask, "", "");
	expect(&mask, "joe@example.com", "***************");
	expect(&mask4, "4111111111111111", "************1111");
	expect(&mask4, "12345", "*2345");
	expect(&mask4, "1234", "****"); /* not longer than keep_last */
	expect(&mask4, "123", "***");
	expect(&mask4, "Müller-Lüdenscheidt", "***************eidt");
	expect(&mask4, "谢谢谢谢谢谢", "**谢谢谢谢");
	expect(&mask4, "ab\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80",
		   "*b\xF0\x9F\x98\x80\xF0\x9F\x98\x80\xF0\x9F\x98\x80");

	/* A mask that leaves a card number whole does not let it out. */
	expect(&mask16, "x4111111111111111", "*[PAN]");
	expect(&mask16, "4111111111111111", "****************");
	return tap_done();
}
