/*-------------------------------------------------------------------------
 * fold.h
 *		Reads UTF-8 text as the ASCII characters that it looks like.
 *
 * Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_FOLD_H
#define AGENTPAY_FOLD_H

#include <stdbool.h>
#include <stddef.h>

/* Folded forms that are not ASCII characters. */
#define FOLD_NOTHING 0x01 /* zero width: as if it were not there */
#define FOLD_LETTER 0x02  /* part of a word in some script */
#define FOLD_BREAK 0x03	  /* anything else: ends whatever was going on */

/*
 * The folded form of the character at s, of at most left (> 0) bytes: ASCII
 * letters, digits, separators and punctuation as they are, their kin in
 * Unicode as those, and FOLD_* for the rest.  Stores its size in bytes.
 */
extern int agentpay_fold_char(const unsigned char *s, size_t left, int *size);

static inline bool
agentpay_fold_is_digit(int c)
{
	return c >= '0' && c <= '9';
}

static inline bool
agentpay_fold_is_letter(int c)
{
	return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

static inline int
agentpay_fold_upper(int c)
{
	return c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c;
}

static inline bool
agentpay_fold_is_separator(int c)
{
	return c == ' ' || c == '-' || c == '.' || c == '_';
}

#endif /* AGENTPAY_FOLD_H */
