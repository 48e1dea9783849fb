/*-------------------------------------------------------------------------
 * detect_window.h
 *		What the rooms of detection share: a look ahead from where a word
 *		begins, and taking pieces out of a text in place.
 *
 * Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DETECT_WINDOW_H
#define AGENTPAY_DETECT_WINDOW_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "privacy/detect.h"
#include "privacy/fold.h"

/*
 * A text from which pieces are taken, from left to right, in place: what is
 * written never overtakes what is read, since no replacement is longer than
 * what it replaces.
 */
typedef struct AgentpayCut
{
	char *text;
	size_t written; /* bytes of the result */
	size_t read;	/* bytes of the source that are dealt with */
} AgentpayCut;

/* Replaces the source's bytes [start, end). */
static inline void
agentpay_cut_out(AgentpayCut *cut, size_t start, size_t end,
				 const char *replacement)
{
	size_t length = strlen(replacement);

	memmove(cut->text + cut->written, cut->text + cut->read, start - cut->read);
	cut->written += start - cut->read;
	memcpy(cut->text + cut->written, replacement, length);
	cut->written += length;
	cut->read = end;
}

/* Returns the length of the result. */
static inline size_t
agentpay_cut_end(AgentpayCut *cut, size_t len)
{
	memmove(cut->text + cut->written, cut->text + cut->read, len - cut->read);
	return cut->written + len - cut->read;
}

#define AGENTPAY_WINDOW 48		 /* characters that are looked at */
#define AGENTPAY_WINDOW_READ 160 /* characters read, invisible ones too */

/* The next characters of a text, folded, without those that take no room. */
typedef struct AgentpayWindow
{
	int n;
	unsigned char chars[AGENTPAY_WINDOW + 1]; /* letters upper case; 0: end */
	size_t ends[AGENTPAY_WINDOW]; /* where in the text each of them ends */
	unsigned char before;  /* the character before them, folded; 0: none */
	unsigned char before2; /* and the one before that */
} AgentpayWindow;

/* Fills chars and ends from a place in the text. */
extern void
agentpay_window_fill(AgentpayWindow *window, const char *text, size_t len,
					 size_t pos, AgentpayDetectCounts *counts);

static inline bool
agentpay_is_alnum(int c)
{
	return agentpay_fold_is_digit(c) || agentpay_fold_is_letter(c) ||
		   c == FOLD_LETTER;
}

/*
 * Finds the next place where a word begins, for the caller to fill the window
 * from there, of which the first character is set; false at the text's end.  A word begins with a letter, a
 * digit or one of the characters also, after what is no letter or digit.
 */
typedef struct AgentpayWords
{
	const char *text;
	size_t len;
	size_t pos;
	const char *also;
	unsigned char before;
	unsigned char before2;
} AgentpayWords;

extern bool
agentpay_next_word(AgentpayWords *words, size_t *start, AgentpayWindow *window,
				   AgentpayDetectCounts *counts);

/* Goes on behind what was taken out. */
static inline void
agentpay_words_skip(AgentpayWords *words, size_t end)
{
	words->pos = end;
	words->before = ']';
	words->before2 = 0;
}

/* ---- the kinds: each takes its own out, and returns the new length ---- */

/* Track data and card verification values. */
extern size_t agentpay_detect_card_secrets(char *text, size_t len,
										   AgentpayDetectCounts *counts);

/* Addresses of the internet, national ids and telephone numbers. */
extern size_t
agentpay_detect_people(char *text, size_t len, AgentpayDetectCounts *counts);

/* ---- at the beginning of a window: characters that belong to one, or 0 ---- */

extern int agentpay_match_ip(const AgentpayWindow *window);
extern int agentpay_match_phone(const AgentpayWindow *window, bool named);

/* named: an index of agentpay_id_named(), or -1. */
extern int agentpay_match_id(const AgentpayWindow *window, int named);

/* Which id's name the window begins with, or -1. */
extern int agentpay_id_named(const AgentpayWindow *window);

#endif /* AGENTPAY_DETECT_WINDOW_H */
