/*-------------------------------------------------------------------------
 * detect.c
 *		Finds what must not be stored in text, and takes it out.
 *
 * Free text carries what no column is meant to hold: a card number in a memo
 * would otherwise be stored with the decision and sent to a model.  When in
 * doubt this takes out too much: a number that looks like a card's is worth
 * less to a fraud model than a leaked card number costs.
 *
 * Five passes, each linear: e-mail addresses from in to out, then, within out
 * (they only shrink), track data and card verification values, IBANs, card
 * numbers, and last what is told less surely: national ids, addresses of the
 * internet, telephone numbers.  E-mail addresses come first, since a card
 * number may stand before an @, and IBANs before card numbers, since their
 * digits may pass for one.  All compare characters in a
 * folded form, in which other scripts' digits, full-width letters and the many
 * spaces and dashes are the ASCII ones.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>
#include <string.h>

#include "privacy/detect.h"
#include "privacy/detect_numbers.h"
#include "privacy/detect_window.h"
#include "privacy/fold.h"

static size_t redact_emails(const unsigned char *in, size_t len, char *out,
							AgentpayDetectCounts *counts);

/* ---- the scan before the scan ---- */

#define SEEN_AT 1	 /* an ASCII @ */
#define SEEN_WIDE 2	 /* a lead byte of non-ASCII digits or letters we fold */
#define SEEN_DIGIT 4 /* a digit, or such a lead byte */
#define SEEN_COLON 8

/* What a byte says about a text, before any decoding. */
static const unsigned char byte_says[256] = {
	['0' ... '9'] = SEEN_DIGIT,		 ['@'] = SEEN_AT, [':'] = SEEN_COLON,
	[0xD9] = SEEN_DIGIT | SEEN_WIDE, /* Arabic-Indic */
	[0xDB] = SEEN_DIGIT | SEEN_WIDE, /* extended Arabic-Indic */
	[0xE0] = SEEN_DIGIT | SEEN_WIDE, /* Indian scripts, Thai */
	[0xEF] = SEEN_DIGIT | SEEN_WIDE, /* full width */
	[0xF0] = SEEN_DIGIT | SEEN_WIDE, /* mathematical */
};

/* Whether there is a full-width or small commercial at. */
static bool
has_wide_at(const unsigned char *s, size_t len)
{
	for (size_t i = 0; i + 2 < len; i++)
	{
		if (s[i] == 0xEF && ((s[i + 1] == 0xBC && s[i + 2] == 0xA0) ||
							 (s[i + 1] == 0xB9 && s[i + 2] == 0xAB)))
			return true;
	}
	return false;
}

/*
 * Whether enough digits for a card number follow each other with no more than
 * separators between.  Bytes outside ASCII are passed over, or are digits.
 */
static bool
has_pan_run(const unsigned char *s, size_t len)
{
	int digits = 0;
	int separators = 0;

	for (size_t i = 0; i < len; i++)
	{
		int c = s[i] == '\t' ? ' ' : s[i];

		if (byte_says[s[i]] & SEEN_DIGIT)
		{
			if (++digits >= AGENTPAY_PAN_MIN)
				return true;
			separators = 0;
		}
		else if (c < 0x80 && !(agentpay_fold_is_separator(c) &&
							   ++separators <= AGENTPAY_SEPARATORS_MAX))
			digits = 0;
	}
	return false;
}

/*
 * Whether two letters of an IBAN country begin a word (or follow an N, as in
 * the word IBAN) and are followed by two digits.  Bytes outside ASCII are
 * passed over, since they may be zero-width characters, or may end a word.
 */
static bool
has_iban_start(const unsigned char *s, size_t len, bool ascii)
{
	int before = 0; /* the letter before the last two */
	int first = 0;
	int second = 0;
	int gap = 0;
	bool one_digit = false;

	for (size_t i = 0; i < len; i++)
	{
		int c = s[i] == '\t' ? ' ' : s[i];

		if (c >= 0x80)
			continue;
		if (agentpay_fold_is_letter(c))
		{
			bool goes_on = gap == 0 && !one_digit;

			before = goes_on ? first : 0;
			first = goes_on ? second : 0;
			second = agentpay_fold_upper(c);
			gap = 0;
			one_digit = false;
		}
		else if (agentpay_fold_is_digit(c) && first != 0 && !one_digit)
			one_digit = true;
		else if (agentpay_fold_is_digit(c) && first != 0 &&
				 agentpay_detect_iban_length(first, second) > 0 &&
				 (before == 0 || before == 'N' || !ascii))
			return true;
		else if (agentpay_fold_is_separator(c) && !one_digit &&
				 ++gap <= AGENTPAY_SEPARATORS_MAX)
			continue;
		else
		{
			before = first = second = gap = 0;
			one_digit = false;
		}
	}
	return false;
}

/* Whether there is what stands between the groups of an IPv6 address. */
static bool
has_ipv6(const unsigned char *s, size_t len)
{
	int colons = 0;

	for (size_t i = 0; i < len; i++)
	{
		if (s[i] != ':')
			continue;
		if (i + 1 < len && s[i + 1] == ':')
			return true;
		if (++colons == 7)
			return true;
	}
	return false;
}

/*
 * Whether an ASCII text of that many digits (3 or more) may hold a card
 * verification value, a telephone number, an IPv4 address or a national id:
 * the beginning of a value's name, digits after a plus, nine digits or three
 * dots in a row, or letters beside digits.
 */
static bool
has_more(const unsigned char *s, size_t len, size_t digits)
{
	size_t run = 0; /* digits with no more than separators between */
	int separators = 0;
	int dots = 0;		 /* between them */
	int word = 0;		 /* letters in a row, up to here */
	int letters = 0;	 /* and with separators since */
	bool beside = false; /* letters stand right before the run */
	bool plus = false;

	for (size_t i = 0; i < len; i++)
	{
		int c = s[i] == '\t' ? ' ' : s[i];

		if (agentpay_fold_is_digit(c))
		{
			if (word >= 5)
				return true;
			if (run == 0)
				beside = letters > 0;
			word = letters = separators = 0;
			run++;
			if (run >= 9 || (run >= 7 && plus) || (run >= 6 && beside))
				return true;
			continue;
		}
		if (agentpay_fold_is_letter(c))
		{
			int next = i + 1 < len ? agentpay_fold_upper(s[i + 1]) : 0;

			if (run >= 6 ||
				(agentpay_fold_upper(c) == 'C' &&
				 (next == 'V' || next == 'A' || next == 'S' || next == 'U')))
				return true;
			letters++;
			word++;
			/* a letter may stand among the digits, as in Corsica */
			if (run > 0 && letters == 1)
				continue;
			run = 0;
			plus = false;
			dots = separators = 0;
			continue;
		}
		word = 0;
		if (c == '.' && run > 0 && ++dots == 3 && digits >= 4)
			return true;
		if (agentpay_fold_is_separator(c) || c == '/' || c == '(' || c == ')' ||
			c == '+')
		{
			if (c == '+')
				plus = true;
			if (run == 0 || ++separators <= AGENTPAY_SEPARATORS_MAX)
				continue;
		}
		run = 0;
		plus = false;
		dots = separators = letters = 0;
	}
	return false;
}

bool
agentpay_detect_suspicious(const char *in, size_t len)
{
	const unsigned char *s = (const unsigned char *) in;
	size_t digits = 0;
	unsigned seen = 0;
	unsigned char bits = 0;

	for (size_t i = 0; i < len; i++)
	{
		unsigned says = byte_says[s[i]];

		bits |= s[i];
		seen |= says;
		digits += says >> 2 & 1;
	}
	if (seen & SEEN_AT)
		return true;
	if (digits >= AGENTPAY_PAN_MIN && has_pan_run(s, len))
		return true;
	if ((seen & SEEN_WIDE) && has_wide_at(s, len))
		return true;
	if (digits >= 3 && (bits >= 0x80 || has_more(s, len, digits)))
		return true;
	if ((seen & SEEN_COLON) && digits >= 1 && has_ipv6(s, len))
		return true;
	if (digits < 2 || len < 15)
		return false;
	return (seen & SEEN_WIDE) || has_iban_start(s, len, bits < 0x80);
}

size_t
agentpay_detect_redact(const char *in, size_t len, char *out,
					   AgentpayDetectCounts *counts)
{
	AgentpayDetectCounts unwanted;
	size_t n;

	if (counts == NULL)
		counts = &unwanted;
	memset(counts, 0, sizeof(*counts));

	n = redact_emails((const unsigned char *) in, len, out, counts);
	n = agentpay_detect_card_secrets(out, n, counts);
	n = agentpay_detect_ibans(out, n, counts);
	n = agentpay_detect_pans(out, n, counts);
	return agentpay_detect_people(out, n, counts);
}

/* ---- e-mail addresses ---- */

/* Whether a folded character may begin the part before the @. */
static bool
begins_local(int c)
{
	return agentpay_fold_is_letter(c) || agentpay_fold_is_digit(c) ||
		   c == FOLD_LETTER || c == '_' || c == '+';
}

/* Whether a folded character may stand in the part before the @. */
static bool
continues_local(int c)
{
	return begins_local(c) || c == FOLD_NOTHING ||
		   (c < 0x80 && strchr(".-%'~!#$^&*", c) != NULL);
}

/*
 * Returns the length of the domain at s, 0 if there is none: at least two
 * labels, the last of two characters or more with a letter in it.  A last
 * label ends where its script does, so that text without spaces around an
 * address is not swallowed.
 */
static size_t
domain_length(const unsigned char *s, size_t left, AgentpayDetectCounts *counts)
{
	size_t pos = 0;
	size_t good = 0;
	int labels = 0;
	int chars = 0;		  /* of this label */
	int letters = 0;	  /* kind of its letters: 0, 'a' or FOLD_LETTER */
	bool one_kind = true; /* so far */

	while (pos < left)
	{
		int size;
		int c = agentpay_fold_char(s + pos, left - pos, &size);
		int kind = agentpay_fold_is_letter(c) ? 'a' : c;

		counts->steps++;
		if (c == '.' && chars > 0)
		{
			labels++;
			chars = letters = 0;
			one_kind = true;
		}
		else if (agentpay_fold_is_letter(c) || c == FOLD_LETTER ||
				 agentpay_fold_is_digit(c))
		{
			if (!agentpay_fold_is_digit(c))
			{
				one_kind = one_kind && (letters == 0 || letters == kind);
				letters = kind;
			}
			chars++;
			if (labels > 0 && chars >= 2 && letters != 0 && one_kind)
				good = pos + size;
		}
		else if (c == '-' && chars > 0)
			chars++;
		else if (c != FOLD_NOTHING)
			break;
		pos += size;
	}
	return good;
}

/*
 * Where in out the part before an @ begins that is in quotes and ends at n;
 * n if there is none.
 */
static size_t
quoted_local(const char *out, size_t n)
{
	if (n < 2 || out[n - 1] != '"')
		return n;
	for (size_t back = 2; back <= n && back <= 66; back++)
	{
		if (out[n - back] == '"')
			return n - back;
	}
	return n;
}

/* Copies in to out without its e-mail addresses; returns out's length. */
static size_t
redact_emails(const unsigned char *in, size_t len, char *out,
			  AgentpayDetectCounts *counts)
{
	size_t n = 0;
	size_t local = 0; /* where in out a part before an @ may begin */
	bool in_local = false;

	for (size_t pos = 0; pos < len;)
	{
		int size;
		int c = agentpay_fold_char(in + pos, len - pos, &size);

		counts->steps++;
		if (c == '@')
		{
			size_t start = in_local ? local : quoted_local(out, n);
			size_t domain = 0;

			if (start < n)
				domain = domain_length(in + pos + size, len - pos - size,
									   counts);
			in_local = false;
			if (domain > 0)
			{
				memcpy(out + start, "[EMAIL]", 7);
				n = start + 7;
				pos += size + domain;
				counts->emails++;
				continue;
			}
		}
		else if (!in_local && begins_local(c))
		{
			local = n;
			in_local = true;
		}
		else if (in_local && !continues_local(c))
			in_local = false;
		memcpy(out + n, in + pos, size);
		n += size;
		pos += size;
	}
	return n;
}
