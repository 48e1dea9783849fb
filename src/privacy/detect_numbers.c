/*-------------------------------------------------------------------------
 * detect_numbers.c
 *		IBANs and card numbers within a text.
 *
 * Both are told from other numbers by their check digits, their lengths and
 * their prefixes.  A number that adjoins further digits is none.
 *
 * Sources: ISO/IEC 7812-1 (Luhn, annex B), the card networks' published
 * ranges, ISO 13616-1 and SWIFT's IBAN registry (lengths).
 *-------------------------------------------------------------------------
 */
#include <stdint.h>

#include "privacy/detect_numbers.h"
#include "privacy/detect_window.h"
#include "privacy/fold.h"

#define PAN_MAX 19
#define PAN_RING 32 /* a power of two above PAN_MAX */
#define IBAN_MAX 34
#define AFTER_IBAN 0x4942414E /* "IBAN" */

/* ---- IBANs ---- */

#define COUNTRY(a, b) [((a) - 'A') * 26 + (b) - 'A']

/* Length of a country's IBANs; 0: it has none. */
/* clang-format off */
static const unsigned char iban_lengths[26 * 26] = {
	COUNTRY('A', 'D') = 24, COUNTRY('A', 'E') = 23, COUNTRY('A', 'L') = 28,
	COUNTRY('A', 'T') = 20, COUNTRY('A', 'Z') = 28, COUNTRY('B', 'A') = 20,
	COUNTRY('B', 'E') = 16, COUNTRY('B', 'G') = 22, COUNTRY('B', 'H') = 22,
	COUNTRY('B', 'I') = 27, COUNTRY('B', 'R') = 29, COUNTRY('B', 'Y') = 28,
	COUNTRY('C', 'H') = 21, COUNTRY('C', 'R') = 22, COUNTRY('C', 'Y') = 28,
	COUNTRY('C', 'Z') = 24, COUNTRY('D', 'E') = 22, COUNTRY('D', 'J') = 27,
	COUNTRY('D', 'K') = 18, COUNTRY('D', 'O') = 28, COUNTRY('E', 'E') = 20,
	COUNTRY('E', 'G') = 29, COUNTRY('E', 'S') = 24, COUNTRY('F', 'I') = 18,
	COUNTRY('F', 'K') = 18, COUNTRY('F', 'O') = 18, COUNTRY('F', 'R') = 27,
	COUNTRY('G', 'B') = 22, COUNTRY('G', 'E') = 22, COUNTRY('G', 'I') = 23,
	COUNTRY('G', 'L') = 18, COUNTRY('G', 'R') = 27, COUNTRY('G', 'T') = 28,
	COUNTRY('H', 'N') = 28, COUNTRY('H', 'R') = 21, COUNTRY('H', 'U') = 28,
	COUNTRY('I', 'E') = 22, COUNTRY('I', 'L') = 23, COUNTRY('I', 'Q') = 23,
	COUNTRY('I', 'S') = 26, COUNTRY('I', 'T') = 27, COUNTRY('J', 'O') = 30,
	COUNTRY('K', 'W') = 30, COUNTRY('K', 'Z') = 20, COUNTRY('L', 'B') = 28,
	COUNTRY('L', 'C') = 32, COUNTRY('L', 'I') = 21, COUNTRY('L', 'T') = 20,
	COUNTRY('L', 'U') = 20, COUNTRY('L', 'V') = 21, COUNTRY('L', 'Y') = 25,
	COUNTRY('M', 'C') = 27, COUNTRY('M', 'D') = 24, COUNTRY('M', 'E') = 22,
	COUNTRY('M', 'K') = 19, COUNTRY('M', 'N') = 20, COUNTRY('M', 'R') = 27,
	COUNTRY('M', 'T') = 31, COUNTRY('M', 'U') = 30, COUNTRY('N', 'I') = 28,
	COUNTRY('N', 'L') = 18, COUNTRY('N', 'O') = 15, COUNTRY('O', 'M') = 23,
	COUNTRY('P', 'K') = 24, COUNTRY('P', 'L') = 28, COUNTRY('P', 'S') = 29,
	COUNTRY('P', 'T') = 25, COUNTRY('Q', 'A') = 29, COUNTRY('R', 'O') = 24,
	COUNTRY('R', 'S') = 22, COUNTRY('R', 'U') = 33, COUNTRY('S', 'A') = 24,
	COUNTRY('S', 'C') = 31, COUNTRY('S', 'D') = 18, COUNTRY('S', 'E') = 24,
	COUNTRY('S', 'I') = 19, COUNTRY('S', 'K') = 24, COUNTRY('S', 'M') = 27,
	COUNTRY('S', 'O') = 23, COUNTRY('S', 'T') = 25, COUNTRY('S', 'V') = 28,
	COUNTRY('T', 'L') = 23, COUNTRY('T', 'N') = 24, COUNTRY('T', 'R') = 26,
	COUNTRY('U', 'A') = 29, COUNTRY('V', 'A') = 22, COUNTRY('V', 'G') = 24,
	COUNTRY('X', 'K') = 20, COUNTRY('Y', 'E') = 30,
};
/* clang-format on */

/* Both are upper case letters. */
int
agentpay_detect_iban_length(int first, int second)
{
	return iban_lengths[(first - 'A') * 26 + second - 'A'];
}

/* Whether n letters and digits in upper case have the right check digits. */
static bool
iban_checks(const char *iban, int n)
{
	int check = (iban[2] - '0') * 10 + iban[3] - '0';
	unsigned rest = 0;

	for (int i = 0; i < n; i++)
	{
		int c = iban[(i + 4) % n];

		if (agentpay_fold_is_digit(c))
			rest = (rest * 10 + c - '0') % 97;
		else
			rest = (rest * 100 + c - 'A' + 10) % 97;
	}
	return rest == 1 && check >= 2 && check <= 98;
}

/*
 * Whether a character of an IBAN may stand here: letters first, then two
 * check digits with no separator among either, then anything.
 */
static bool
iban_takes(int n, int c, int separators)
{
	if (n < 2)
		return agentpay_fold_is_letter(c) && separators == 0;
	if (n < 4)
		return agentpay_fold_is_digit(c) && (n == 2 || separators == 0);
	return true;
}

/* The length in bytes of an IBAN that begins at s; 0 if none does. */
static size_t
iban_at(const unsigned char *s, size_t left, AgentpayDetectCounts *counts)
{
	char iban[IBAN_MAX];
	int n = 0;
	int wanted = IBAN_MAX;
	int separators = 0;
	int size;
	size_t pos = 0;

	for (; pos < left && n < wanted; pos += size)
	{
		int c = agentpay_fold_char(s + pos, left - pos, &size);

		counts->steps++;
		if (c == FOLD_NOTHING)
			continue;
		if (agentpay_fold_is_separator(c) &&
			++separators <= AGENTPAY_SEPARATORS_MAX)
			continue;
		if (!(agentpay_fold_is_letter(c) || agentpay_fold_is_digit(c)) ||
			!iban_takes(n, c, separators))
			return 0;
		iban[n++] = agentpay_fold_upper(c);
		separators = 0;
		if (n == 2 &&
			(wanted = agentpay_detect_iban_length(iban[0], iban[1])) == 0)
			return 0;
	}
	if (n < wanted || !iban_checks(iban, n))
		return 0;
	if (pos < left)
	{
		int c = agentpay_fold_char(s + pos, left - pos, &size);

		if (agentpay_fold_is_digit(c) || (agentpay_fold_is_letter(c) &&
										  agentpay_fold_is_letter(iban[n - 1])))
			return 0;
	}
	return pos;
}

/* Takes the IBANs out of text; returns its new length. */
size_t
agentpay_detect_ibans(char *text, size_t len, AgentpayDetectCounts *counts)
{
	AgentpayCut cut = {text, 0, 0};
	const unsigned char *s = (const unsigned char *) text;
	uint32_t before = 0; /* the last four characters, folded, upper case */
	size_t pos = 0;

	while (pos < len)
	{
		int size;
		int c = agentpay_fold_upper(
			agentpay_fold_char(s + pos, len - pos, &size));

		counts->steps++;
		if (agentpay_fold_is_letter(c) &&
			(!agentpay_fold_is_letter(before & 0xFF) || before == AFTER_IBAN))
		{
			/* At the beginning of a word, or right after the word IBAN. */
			size_t found = iban_at(s + pos, len - pos, counts);

			if (found > 0)
			{
				agentpay_cut_out(&cut, pos, pos + found, "[IBAN]");
				counts->ibans++;
				pos += found;
				before = 0;
				continue;
			}
		}
		before = before << 8 | (c & 0xFF);
		pos += size;
	}
	return agentpay_cut_end(&cut, len);
}

/* ---- card numbers ---- */

/*
 * Ranges of the first six digits, and the lengths in use there as bits
 * (1 << length).  Where networks share a range, the lengths of all.
 */
#define LENGTHS(from, to) ((1u << ((to) + 1)) - (1u << (from)))

typedef struct PanRange
{
	uint32_t first;
	uint32_t last;
	uint32_t lengths;
} PanRange;

static const PanRange pan_ranges[] = {
	{180000, 180099, LENGTHS(15, 15)}, /* JCB, 15 digits */
	{213100, 213199, LENGTHS(15, 15)},
	{220000, 220499, LENGTHS(16, 19)}, /* Mir */
	{222100, 272099, LENGTHS(16, 16)}, /* Mastercard, 2-series */
	{300000, 305999, LENGTHS(14, 19)}, /* Diners Club */
	{309500, 309599, LENGTHS(14, 19)},
	{340000, 349999, LENGTHS(15, 15)}, /* American Express */
	{352800, 358999, LENGTHS(16, 19)}, /* JCB */
	{360000, 369999, LENGTHS(14, 19)}, /* Diners Club */
	{370000, 379999, LENGTHS(15, 15)}, /* American Express */
	{380000, 399999, LENGTHS(14, 19)}, /* Diners Club */
	{400000, 499999,				   /* Visa */
	 LENGTHS(13, 13) | LENGTHS(16, 16) | LENGTHS(18, 19)},
	{500000, 509999, LENGTHS(13, 19)}, /* Maestro, RuPay, Verve, Elo */
	{510000, 559999, LENGTHS(16, 16)}, /* Mastercard */
	{560000, 619999, LENGTHS(13, 19)}, /* Maestro, Discover, RuPay */
	{620000, 629999, LENGTHS(14, 19)}, /* UnionPay, Discover */
	{630000, 699999, LENGTHS(13, 19)}, /* Maestro, Discover, Hipercard */
	{810000, 828899, LENGTHS(16, 19)}, /* UnionPay, RuPay */
	{979200, 979299, LENGTHS(16, 16)}, /* Troy */
};

/* Digits of a run, the last PAN_RING of them. */
typedef struct Digit
{
	unsigned char value;
	bool begins; /* something stands between it and the digit before */
	size_t at;	 /* its byte */
} Digit;

typedef struct Run
{
	Digit digits[PAN_RING];
	size_t count; /* digits pushed */
	size_t from;  /* the first of them that belongs to the run */
	size_t end;	  /* after the last digit's bytes */
} Run;

static const Digit *
run_digit(const Run *run, size_t i)
{
	return &run->digits[i % PAN_RING];
}

/* Whether n digits from the run's i-th have a card network's prefix. */
static bool
pan_range(const Run *run, size_t i, int n)
{
	uint32_t prefix = 0;

	for (int k = 0; k < 6; k++)
		prefix = prefix * 10 + run_digit(run, i + k)->value;
	for (size_t k = 0; k < sizeof(pan_ranges) / sizeof(pan_ranges[0]); k++)
	{
		if (prefix >= pan_ranges[k].first && prefix <= pan_ranges[k].last)
			return (pan_ranges[k].lengths >> n & 1) != 0;
	}
	return false;
}

/*
 * The length in digits of the longest card number that ends with the run's
 * last digit and begins where a group of digits does; 0 if there is none.
 * Luhn's sum is built from the right, so one walk back tries all lengths.
 */
static int
pan_ending_here(const Run *run, AgentpayDetectCounts *counts)
{
	size_t have = run->count - run->from;
	int found = 0;
	int sum = 0;

	for (int n = 1; n <= PAN_MAX && (size_t) n <= have; n++)
	{
		const Digit *digit = run_digit(run, run->count - n);
		int value = digit->value;

		counts->steps++;
		if (n % 2 == 0)
			value = value < 5 ? value * 2 : value * 2 - 9;
		sum += value;
		if (n >= AGENTPAY_PAN_MIN && digit->begins && sum % 10 == 0 &&
			pan_range(run, run->count - n, n))
			found = n;
	}
	return found;
}

/*
 * What is to be cut next.  Held back as long as a later card number may
 * overlap it: then both are one.
 */
typedef struct Pending
{
	AgentpayCut cut;
	size_t start;
	size_t end; /* 0: nothing pending */
} Pending;

static void
flush_pending(Pending *pending, AgentpayDetectCounts *counts)
{
	if (pending->end == 0)
		return;
	if (pending->start < pending->cut.read)
		pending->cut.read = pending->end; /* goes on where the last one ended */
	else
		agentpay_cut_out(&pending->cut, pending->start, pending->end, "[PAN]");
	counts->pans++;
	pending->end = 0;
}

/* A group of digits has ended: notes the card number that ends with it. */
static void
end_group(const Run *run, Pending *pending, AgentpayDetectCounts *counts)
{
	int n = pan_ending_here(run, counts);
	size_t start;

	if (n == 0)
		return;
	start = run_digit(run, run->count - n)->at;
	if (pending->end > 0 && start >= pending->end)
		flush_pending(pending, counts);
	if (pending->end == 0 || start < pending->start)
		pending->start = start;
	pending->end = run->end;
}

/* Takes the card numbers out of text; returns its new length. */
size_t
agentpay_detect_pans(char *text, size_t len, AgentpayDetectCounts *counts)
{
	Pending pending = {{text, 0, 0}, 0, 0};
	Run run = {.count = 0};
	bool in_group = false;
	int separators = 0;

	for (size_t pos = 0; pos < len;)
	{
		int size;
		int c = agentpay_fold_char((const unsigned char *) text + pos,
								   len - pos, &size);

		counts->steps++;
		if (agentpay_fold_is_digit(c))
		{
			run.digits[run.count % PAN_RING] = (Digit){c - '0', !in_group, pos};
			run.count++;
			run.end = pos + size;
			in_group = true;
			separators = 0;
		}
		else
		{
			if (in_group)
				end_group(&run, &pending, counts);
			in_group = false;
			if (c != FOLD_NOTHING && !(agentpay_fold_is_separator(c) &&
									   ++separators <= AGENTPAY_SEPARATORS_MAX))
				run.from = run.count;
		}
		pos += size;
	}
	if (in_group)
		end_group(&run, &pending, counts);
	flush_pending(&pending, counts);
	return agentpay_cut_end(&pending.cut, len);
}
