/*-------------------------------------------------------------------------
 * fold.c
 *		Reads UTF-8 text as the ASCII characters that it looks like.
 *
 * A card number typed in full-width digits, or broken by invisible characters,
 * is still a card number.  Only what numbers and addresses are made of is
 * folded; this is no general normalisation.
 *-------------------------------------------------------------------------
 */
#include <stdint.h>

#include "privacy/fold.h"

#define INVALID 0xFFFFFFFFu

/*
 * Decodes the character at s, of at most left (> 0) bytes.  INVALID, one byte
 * long, for what is not UTF-8 (RFC 3629).
 */
static uint32_t
decode(const unsigned char *s, size_t left, int *size)
{
	static const uint32_t smallest[5] = {0, 0, 0x80, 0x800, 0x10000};
	int n = s[0] < 0x80			  ? 1
			: (s[0] >> 5) == 0x6  ? 2
			: (s[0] >> 4) == 0xE  ? 3
			: (s[0] >> 3) == 0x1E ? 4
								  : 0;
	uint32_t c;

	*size = 1;
	if (n == 1)
		return s[0];
	if (n == 0 || (size_t) n > left)
		return INVALID;
	c = s[0] & (0x7F >> n);
	for (int i = 1; i < n; i++)
	{
		if ((s[i] & 0xC0) != 0x80)
			return INVALID;
		c = c << 6 | (s[i] & 0x3F);
	}
	if (c < smallest[n] || c > 0x10FFFF || (c >= 0xD800 && c <= 0xDFFF))
		return INVALID;
	*size = n;
	return c;
}

/* The digit that a character is in some script as ASCII; 0 if it is none. */
static int
fold_digit(uint32_t c)
{
	static const uint32_t zeros[] = {
		0x0660, /* Arabic-Indic */
		0x06F0, /* extended Arabic-Indic */
		0x0966, /* Devanagari */
		0x09E6, /* Bengali */
		0x0E50, /* Thai */
		0xFF10, /* full width */
	};

	for (size_t i = 0; i < sizeof(zeros) / sizeof(zeros[0]); i++)
	{
		if (c >= zeros[i] && c <= zeros[i] + 9)
			return '0' + (c - zeros[i]);
	}
	if (c >= 0x1D7CE && c <= 0x1D7FF) /* mathematical, five styles */
		return '0' + (c - 0x1D7CE) % 10;
	return 0;
}

/* Whether a character takes no room: joiners, marks of direction, keycaps. */
static bool
is_invisible(uint32_t c)
{
	return c == 0xAD || c == 0x34F || c == 0x61C || c == 0x180E ||
		   (c >= 0x200B && c <= 0x200F) || (c >= 0x202A && c <= 0x202E) ||
		   (c >= 0x2060 && c <= 0x206F) || c == 0x20E3 ||
		   (c >= 0xFE00 && c <= 0xFE0F) || c == 0xFEFF;
}

static bool
is_wide_space(uint32_t c)
{
	return c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
		   c == 0x202F || c == 0x205F || c == 0x3000;
}

static bool
is_wide_dash(uint32_t c)
{
	return (c >= 0x2010 && c <= 0x2015) || c == 0x2212 || c == 0xFE58 ||
		   c == 0xFE63;
}

/* Punctuation and symbols that are in no word. */
static bool
is_wide_break(uint32_t c)
{
	return c == INVALID || (c >= 0x80 && c <= 0xBF && c != 0xAA && c != 0xBA) ||
		   c == 0xD7 || c == 0xF7 || (c >= 0x2000 && c <= 0x2BFF) ||
		   (c >= 0x3001 && c <= 0x3003) || (c >= 0x3008 && c <= 0x3020) ||
		   (c >= 0xFE10 && c <= 0xFE6F) || (c >= 0xFF5F && c <= 0xFF65) ||
		   c >= 0x1F000;
}

int
agentpay_fold_char(const unsigned char *s, size_t left, int *size)
{
	uint32_t c;
	int digit;

	if (s[0] < 0x80)
	{
		*size = 1;
		if (s[0] >= 0x20 && s[0] < 0x7F)
			return s[0];
		return s[0] == '\t' ? ' ' : FOLD_BREAK;
	}
	c = decode(s, left, size);
	digit = fold_digit(c);
	if (digit != 0)
		return digit;
	if (c >= 0xFF01 && c <= 0xFF5E)
		return c - 0xFF01 + 0x21;
	if (c == 0xFE6B)
		return '@';
	if (c == 0xB7 || c == 0x2024 || c == 0x2027 || c == 0x30FB)
		return '.';
	if (is_invisible(c))
		return FOLD_NOTHING;
	if (is_wide_space(c))
		return ' ';
	if (is_wide_dash(c))
		return '-';
	return is_wide_break(c) ? FOLD_BREAK : FOLD_LETTER;
}
