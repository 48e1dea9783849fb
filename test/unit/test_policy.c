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
		  policy == NULL								 ? "no policy"
		  : policy->treatment == AGENTPAY_TREATMENT_PASS ? "pass"
		  : policy->treatment == AGENTPAY_TREATMENT_MASK ? "mask"
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
	check(!agentpay_policy_parse("hash", &treatment), "no hash yet");
	check(!agentpay_policy_parse("", &treatment), "no empty name");
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
