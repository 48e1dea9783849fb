/*-------------------------------------------------------------------------
 * policy.c
 *		Applies a data policy to one value in its text form.
 *
 * Masking comes before detection: a card number under mask keeps the last
 * digits that the policy grants, and one in clear, or one that a mask left
 * whole, is still taken out.
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "privacy/policy.h"

static size_t mask(const char *in, size_t len, int keep_last, char *out);

bool
agentpay_policy_parse(const char *name, AgentpayTreatment *treatment)
{
	static const char *const names[] = {
		[AGENTPAY_TREATMENT_PASS] = "pass",
		[AGENTPAY_TREATMENT_MASK] = "mask",
		[AGENTPAY_TREATMENT_DROP] = "drop",
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		if (strcmp(name, names[i]) == 0)
		{
			*treatment = (AgentpayTreatment) i;
			return true;
		}
	}
	return false;
}

bool
agentpay_policy_apply(const AgentpayPolicy *policy, const char *in, size_t len,
					  char *out, size_t *out_len)
{
	const char *treated = in;
	size_t treated_len = len;

	if (policy != NULL && policy->treatment == AGENTPAY_TREATMENT_DROP)
		return false;
	if (policy != NULL && policy->treatment == AGENTPAY_TREATMENT_MASK)
	{
		/* Beyond what detection may write, so that it can read from there. */
		char *masked = out + AGENTPAY_DETECT_OUT_SIZE(len);

		treated_len = mask(in, len, policy->keep_last, masked);
		treated = masked;
	}

	if (agentpay_detect_suspicious(treated, treated_len))
		*out_len = agentpay_detect_redact(treated, treated_len, out, NULL);
	else
	{
		memcpy(out, treated, treated_len);
		*out_len = treated_len;
	}
	return true;
}

/* Whether a byte continues a UTF-8 character. */
static bool
continues_char(char c)
{
	return ((unsigned char) c & 0xC0) == 0x80;
}

/*
 * Writes a star for each character but the last keep_last, and returns the
 * length, which is len at the most.  A value of keep_last characters or fewer
 * becomes stars only: otherwise a mask would show short values whole.
 */
static size_t
mask(const char *in, size_t len, int keep_last, char *out)
{
	size_t chars = 0;
	size_t stars;
	size_t pos = 0;

	for (size_t i = 0; i < len; i++)
		chars += !continues_char(in[i]);
	stars = keep_last > 0 && chars > (size_t) keep_last ? chars - keep_last
														: chars;

	/* The byte after as many characters as become stars. */
	for (size_t n = 0; pos < len; pos++)
	{
		if (!continues_char(in[pos]) && n++ == stars)
			break;
	}
	memset(out, '*', stars);
	memcpy(out + stars, in + pos, len - pos);
	return stars + len - pos;
}
