/*-------------------------------------------------------------------------
 * detect.h
 *		Finds card numbers and data, IBANs, addresses, telephone numbers and
 *		national ids in text, and takes
 *		them out.
 *
 * Pure: libc only, no state, no allocation, safe in any thread.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_DETECT_H
#define AGENTPAY_DETECT_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Bytes that agentpay_detect_redact() may write for an input of len bytes.
 * Only an e-mail address can grow ("[EMAIL]" is 7 bytes, the shortest address
 * 6, and two addresses never adjoin), so the text grows by a sixth at most.
 */
#define AGENTPAY_DETECT_OUT_SIZE(len) ((len) + (len) / 6 + 8)

typedef struct AgentpayDetectCounts
{
	unsigned pans;	 /* replaced by [PAN] */
	unsigned ibans;	 /* replaced by [IBAN] */
	unsigned emails; /* replaced by [EMAIL] */
	unsigned tracks; /* replaced by [TRACK] */
	unsigned cvvs;	 /* replaced by [CVV] */
	unsigned ids;	 /* replaced by [ID] */
	unsigned ips;	 /* replaced by [IP] */
	unsigned phones; /* replaced by [PHONE] */
	size_t steps;	 /* characters examined, repeats included: a test holds
					  * this to a multiple of the length */
} AgentpayDetectCounts;

/*
 * Whether agentpay_detect_redact() could change the text: false is certain,
 * true is a guess.  Costs about a nanosecond per byte at the most; meant for
 * every text value of every row.
 */
extern bool agentpay_detect_suspicious(const char *in, size_t len);

/*
 * Writes the text with what was found replaced, and returns its length.  Not
 * terminated.  in and out must not overlap; out has room for
 * AGENTPAY_DETECT_OUT_SIZE(len) bytes.  counts may be NULL.  Bytes that are
 * not UTF-8 are kept as they are; valid input gives valid output.
 */
extern size_t agentpay_detect_redact(const char *in, size_t len, char *out,
									 AgentpayDetectCounts *counts);

#endif /* AGENTPAY_DETECT_H */
