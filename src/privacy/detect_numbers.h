/*-------------------------------------------------------------------------
 * detect_numbers.h
 *		IBANs and card numbers within a text; detect.c's other half.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DETECT_NUMBERS_H
#define AGENTPAY_DETECT_NUMBERS_H

#include <stddef.h>

#include "privacy/detect.h"

#define AGENTPAY_PAN_MIN 13		  /* digits of a card number */
#define AGENTPAY_SEPARATORS_MAX 3 /* visible ones between two digits */

/* Length of a country's IBANs, given its two upper case letters; 0: none. */
extern int agentpay_detect_iban_length(int first, int second);

/* Each takes its kind out of text, in place, and returns the new length. */
extern size_t
agentpay_detect_ibans(char *text, size_t len, AgentpayDetectCounts *counts);
extern size_t
agentpay_detect_pans(char *text, size_t len, AgentpayDetectCounts *counts);

#endif /* AGENTPAY_DETECT_NUMBERS_H */
