/*-------------------------------------------------------------------------
 * tap.h
 *		What a unit test of a pure room needs: counted checks, TAP output.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_TEST_TAP_H
#define AGENTPAY_TEST_TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int tap_checks;
static int tap_failures;

/* Counts one check and prints its line. */
__attribute__((format(printf, 2, 3))) static bool
check(bool passed, const char *format, ...)
{
	va_list args;

	tap_checks++;
	tap_failures += !passed;
	printf("%s %d - ", passed ? "ok" : "not ok", tap_checks);
	va_start(args, format);
	vprintf(format, args);
	va_end(args);
	putchar('\n');
	return passed;
}

/* Prints the plan; what main() returns. */
static int
tap_done(void)
{
	printf("1..%d\n", tap_checks);
	return tap_failures == 0 ? 0 : 1;
}

#endif /* AGENTPAY_TEST_TAP_H */
