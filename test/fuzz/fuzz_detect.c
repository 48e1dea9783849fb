/*-------------------------------------------------------------------------
 * fuzz_detect.c
 *		libFuzzer's entry to detection in text.
 *
 * Whatever the bytes are: the result fits, time is linear, what the quick scan
 * lets through is not changed.  Under the address and undefined behaviour
 * sanitizers (scripts/check fuzz).
 *-------------------------------------------------------------------------
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "privacy/detect.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

/* Aborts, which libFuzzer reports with the input. */
static void
require(int holds, const char *what)
{
	if (holds)
		return;
	fprintf(stderr, "broken: %s\n", what);
	abort();
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
	const char *text = (const char *) data;
	char *out = malloc(AGENTPAY_DETECT_OUT_SIZE(size));
	AgentpayDetectCounts counts;
	size_t n = agentpay_detect_redact(text, size, out, &counts);

	require(n <= AGENTPAY_DETECT_OUT_SIZE(size), "the result fits");
	require(counts.steps <= size * 120 + 500, "time is linear");
	if (!agentpay_detect_suspicious(text, size))
		require(n == size && memcmp(out, text, n) == 0,
				"the quick scan misses nothing");
	free(out);
	return 0;
}
