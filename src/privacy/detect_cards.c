/*-------------------------------------------------------------------------
 * detect_cards.c
 *		Track data and card verification values: what nobody may keep.
 *
 * Sources: ISO/IEC 7813 (tracks 1 and 2), PCI DSS 4.0.1 requirement 3.3.1.
 *-------------------------------------------------------------------------
 */
#include "privacy/detect_window.h"

#define TRACK_MAX 96 /* characters after the number; the standard has 79 */

/* Digits from at on. */
static int
digits_at(const AgentpayWindow *window, int at)
{
	int n = 0;

	while (agentpay_fold_is_digit(window->chars[at + n]))
		n++;
	return n;
}

/* Whether the n digits from at on are right by Luhn. */
static bool
luhn(const AgentpayWindow *window, int at, int n)
{
	int sum = 0;

	for (int i = 0; i < n; i++)
	{
		int value = window->chars[at + n - 1 - i] - '0';

		if (i % 2 == 1)
			value = value < 5 ? value * 2 : value * 2 - 9;
		sum += value;
	}
	return sum % 10 == 0;
}

/*
 * The end in the text of the track whose field after the number begins at pos;
 * 0 if that is none: on track 1 a name and another caret come first, then, as
 * on track 2, year, month and service code in digits.
 */
static size_t
track_end(const char *text, size_t len, size_t pos, bool named,
		  AgentpayDetectCounts *counts)
{
	int digits = 0;
	size_t end = 0;

	for (int i = 0; i < TRACK_MAX && pos < len; i++)
	{
		int size;
		int c = agentpay_fold_char((const unsigned char *) text + pos,
								   len - pos, &size);

		counts->steps++;
		pos += size;
		if (named)
		{
			if (c == FOLD_BREAK)
				return 0;
			named = c != '^';
			continue;
		}
		if (c == '?' && digits >= 7)
			return pos;
		if (!agentpay_fold_is_digit(c) && c != FOLD_NOTHING &&
			!(digits >= 7 && agentpay_fold_is_letter(c)))
			break;
		digits += agentpay_fold_is_digit(c);
		if (digits >= 7)
			end = pos;
	}
	return end;
}

/* The end of track data that begins with the window; 0 if none does. */
static size_t
match_track(const AgentpayWindow *window, const char *text, size_t len,
			AgentpayDetectCounts *counts)
{
	const unsigned char *c = window->chars;
	int at = c[0] == '%' || c[0] == ';';
	int n;

	at += c[at] == 'B';
	n = digits_at(window, at);
	if (n < 12 || n > 19 || !luhn(window, at, n))
		return 0;
	if (c[at + n] != '=' && c[at + n] != 'D' && c[at + n] != '^')
		return 0;
	return track_end(text, len, window->ends[at + n], c[at + n] == '^', counts);
}

/* Skips a word, if it is there. */
static int
skip_word(const unsigned char *c, int at, const char *word)
{
	size_t length = strlen(word);

	return strncmp((const char *) c + at, word, length) == 0 ? at + length : at;
}

/* The characters of a named card verification value; 0 if there is none. */
static int
match_cvv(const AgentpayWindow *window)
{
	static const char *const names[] = {"CVV2",			 "CVV",			"CVC2",
										"CVC",			 "CAV2",		"CSC",
										"SECURITY CODE", "SECURITYCODE"};
	static const char *const fillers[] = {" CODE", " NUMBER", " NO", " NR",
										  " IS",   " WAS",	  " OF"};
	const unsigned char *c = window->chars;
	int at = 0;
	int separators = 0;
	int n;

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]) && at == 0; i++)
		at = skip_word(c, 0, names[i]);
	if (at == 0)
		return 0;
	for (size_t i = 0; i < sizeof(fillers) / sizeof(fillers[0]); i++)
		at = skip_word(c, at, fillers[i]);
	while (c[at] != 0 && strchr(" :=#-._/\"'(", c[at]) != NULL &&
		   separators++ < 4)
		at++;
	n = digits_at(window, at);
	if (n < 3 || n > 4 || agentpay_is_alnum(c[at + n]))
		return 0;
	return at + n;
}

size_t
agentpay_detect_card_secrets(char *text, size_t len,
							 AgentpayDetectCounts *counts)
{
	AgentpayCut cut = {text, 0, 0};
	AgentpayWords words = {text, len, 0, "%;", 0, 0};
	AgentpayWindow window;
	size_t start;

	while (agentpay_next_word(&words, &start, &window, counts))
	{
		int c = window.chars[0];
		size_t end;
		int n;

		if (!agentpay_fold_is_digit(c) && strchr("%;BCS", c) == NULL)
			continue;
		agentpay_window_fill(&window, text, len, start, counts);
		end = match_track(&window, text, len, counts);
		if (end > 0)
		{
			agentpay_cut_out(&cut, start, end, "[TRACK]");
			counts->tracks++;
		}
		else if ((n = match_cvv(&window)) > 0)
		{
			end = window.ends[n - 1];
			agentpay_cut_out(&cut, start, end, "[CVV]");
			counts->cvvs++;
		}
		else
			continue;
		agentpay_words_skip(&words, end);
	}
	return agentpay_cut_end(&cut, len);
}
