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

#include "privacy/bucket.h"
#include "privacy/policy.h"

static bool treat(const AgentpayPolicy *policy, const char *in, size_t len,
				  char *out, size_t *out_len, bool *scan);
static size_t mask(const char *in, size_t len, int keep_last, char *out);

bool
agentpay_policy_parse(const char *name, AgentpayTreatment *treatment)
{
	static const char *const names[] = {
		[AGENTPAY_TREATMENT_PASS] = "pass",
		[AGENTPAY_TREATMENT_BUCKET] = "bucket",
		[AGENTPAY_TREATMENT_MASK] = "mask",
		[AGENTPAY_TREATMENT_TOKENISE] = "tokenise",
		[AGENTPAY_TREATMENT_HASH] = "hash",
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

AgentpayWidth
agentpay_policy_width(const char *name)
{
	static const char *const names[] = {
		[AGENTPAY_WIDTH_YEAR] = "year",
		[AGENTPAY_WIDTH_MONTH] = "month",
		[AGENTPAY_WIDTH_DAY] = "day",
		[AGENTPAY_WIDTH_HOUR] = "hour",
	};

	for (int i = AGENTPAY_WIDTH_YEAR; name != NULL && i <= AGENTPAY_WIDTH_HOUR;
		 i++)
	{
		if (strcmp(name, names[i]) == 0)
			return (AgentpayWidth) i;
	}
	return AGENTPAY_WIDTH_NONE;
}

bool
agentpay_policy_forbids(const char *column)
{
	static const char *const names[] = {
		"cvv",
		"cvv2",
		"cvc",
		"cvc2",
		"cav2",
		"csc",
		"cvn",
		"cvn2",
		"cardcode",
		"securitycode",
		"verificationvalue",
		"verificationcode",
		"trackdata",
		"track1",
		"track2",
		"track1data",
		"track2data",
		"magstripe",
		"pinblock",
	};
	char name[65]; /* small letters and digits only */
	bool starts[65] = {false};
	size_t n = 0;
	bool word = true; /* whether the next character begins one */

	for (; *column != '\0' && n < sizeof(name) - 1; column++)
	{
		char c = *column;
		bool upper = c >= 'A' && c <= 'Z';

		if (!upper && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
		{
			word = true;
			continue;
		}
		starts[n] = word || (upper && n > 0 && name[n - 1] >= 'a');
		name[n++] = upper ? c - 'A' + 'a' : c;
		word = false;
	}
	name[n] = '\0';
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
	{
		size_t length = strlen(names[i]);

		if (n >= length && starts[n - length] &&
			strcmp(name + n - length, names[i]) == 0)
			return true;
	}
	return false;
}

bool
agentpay_policy_apply(const AgentpayPolicy *policy, const char *in, size_t len,
					  char *out, size_t *out_len)
{
	/* Beyond what detection may write, so that it can read from there. */
	char *treated = out + AGENTPAY_DETECT_OUT_SIZE(len);
	bool scan = true;
	size_t n = len;

	if (policy == NULL || policy->treatment == AGENTPAY_TREATMENT_PASS)
		treated = (char *) in;
	else if (!treat(policy, in, len, treated, &n, &scan))
		return false;

	if (scan && agentpay_detect_suspicious(treated, n))
		*out_len = agentpay_detect_redact(treated, n, out, NULL);
	else
	{
		memmove(out, treated, n);
		*out_len = n;
	}
	return true;
}

/*
 * Writes what a treatment makes of a value; false: withheld, as whatever is
 * not known here is.  *scan: whether it may still hold what detection finds.
 */
static bool
treat(const AgentpayPolicy *policy, const char *in, size_t len, char *out,
	  size_t *out_len, bool *scan)
{
	switch (policy->treatment)
	{
		case AGENTPAY_TREATMENT_MASK:
			*out_len = mask(in, len, policy->keep_last, out);
			return true;
		case AGENTPAY_TREATMENT_BUCKET:
			*scan = false;
			if (policy->width != AGENTPAY_WIDTH_NONE)
				return agentpay_bucket_time(policy->width, in, len, out,
											out_len);
			return agentpay_bucket_number(policy, in, len, out, out_len);
		case AGENTPAY_TREATMENT_HASH:
			*scan = false;
			*out_len = AGENTPAY_HASH_SIZE;
			return agentpay_hash_value(policy->hash_key, in, len, out);
		case AGENTPAY_TREATMENT_PASS:
		case AGENTPAY_TREATMENT_TOKENISE:
		case AGENTPAY_TREATMENT_DROP:
			break;
	}
	return false;
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
