/*-------------------------------------------------------------------------
 * bucket.c
 *		The range that a number or a time is in.
 *
 * Numbers are compared digit by digit: as a double, 9.99999999999999999999
 * would be in the bucket of 10.
 *-------------------------------------------------------------------------
 */
#include "privacy/bucket.h"

#include <stdio.h>
#include <string.h>

#define EXPONENT_MAX 1000000

/* 0.d1d2d3... * 10^scale, where d1 is not 0. */
typedef struct Decimal
{
	int sign;		   /* -1, 0 or 1 */
	const char *first; /* d1; a decimal point may follow */
	const char *end;
	long scale; /* beyond EXPONENT_MAX: infinite */
} Decimal;

/* Reads e, a sign and digits; false if that is not what is there. */
static bool
read_exponent(const char *at, const char *end, long *exponent)
{
	bool negative = false;

	*exponent = 0;
	if (at == end)
		return true;
	if (*at != 'e' && *at != 'E')
		return false;
	at++;
	if (at < end && (*at == '-' || *at == '+'))
		negative = *at++ == '-';
	if (at == end)
		return false;
	for (; at < end; at++)
	{
		if (*at < '0' || *at > '9' || *exponent > EXPONENT_MAX)
			return false;
		*exponent = *exponent * 10 + (*at - '0');
	}
	if (negative)
		*exponent = -*exponent;
	return true;
}

/* As numeric_out() and float8out() write it; false for NaN and no number. */
static bool
read_decimal(const char *at, size_t len, Decimal *number)
{
	const char *end = at + len;
	bool negative = at < end && *at == '-';
	bool fraction = false;
	int digits = 0;
	long exponent;

	memset(number, 0, sizeof(*number));
	at += negative;
	if (end - at == 8 && memcmp(at, "Infinity", 8) == 0)
	{
		number->sign = negative ? -1 : 1;
		number->scale = 4 * EXPONENT_MAX;
		number->first = number->end = at;
		return true;
	}
	for (; at < end; at++)
	{
		if (*at == '.' && !fraction)
			fraction = true;
		else if (*at >= '0' && *at <= '9')
		{
			digits++;
			if (number->first == NULL && *at != '0')
				number->first = at;
			if (number->first != NULL && !fraction)
				number->scale++;
			else if (number->first == NULL && fraction)
				number->scale--;
		}
		else
			break;
	}
	number->end = at;
	if (digits == 0 || !read_exponent(at, end, &exponent))
		return false;
	number->scale += exponent;
	number->sign = number->first == NULL ? 0 : negative ? -1 : 1;
	return true;
}

/* The next digit of a number; 0 after its end. */
static int
next_digit(const Decimal *number, const char **at)
{
	if (*at < number->end && **at == '.')
		(*at)++;
	return *at < number->end ? *(*at)++ - '0' : 0;
}

/* < 0, 0 or > 0, as a is less than, equal to or greater than b. */
static int
compare(const Decimal *a, const Decimal *b)
{
	const char *at_a = a->first;
	const char *at_b = b->first;
	int sign = a->sign;

	if (a->sign != b->sign || sign == 0)
		return a->sign - b->sign;
	if (a->scale != b->scale)
		return a->scale < b->scale ? -sign : sign;
	while (at_a < a->end || at_b < b->end)
	{
		int digit_a = next_digit(a, &at_a);
		int digit_b = next_digit(b, &at_b);

		if (digit_a != digit_b)
			return digit_a < digit_b ? -sign : sign;
	}
	return 0;
}

bool
agentpay_bucket_number(const AgentpayPolicy *policy, const char *in, size_t len,
					   char *out, size_t *out_len)
{
	size_t room = 2 * AGENTPAY_BOUND_MAX + 8;
	Decimal number;
	int above = 0; /* bounds that the number has reached */

	if (policy->n_bounds <= 0 || !read_decimal(in, len, &number))
		return false;
	for (; above < policy->n_bounds; above++)
	{
		const char *text = policy->bounds[above];
		Decimal bound;

		if (strlen(text) > AGENTPAY_BOUND_MAX ||
			!read_decimal(text, strlen(text), &bound))
			return false;
		if (compare(&number, &bound) < 0)
			break;
	}
	if (above == 0)
		*out_len = snprintf(out, room, "<%s", policy->bounds[0]);
	else if (above == policy->n_bounds)
		*out_len = snprintf(out, room, ">=%s", policy->bounds[above - 1]);
	else
		*out_len = snprintf(out, room, "[%s,%s)", policy->bounds[above - 1],
							policy->bounds[above]);
	return true;
}

bool
agentpay_bucket_time(AgentpayWidth width, const char *in, size_t len, char *out,
					 size_t *out_len)
{
	static const char ends[] = "--T:"; /* of year, month, day, hour */
	size_t pos = 0;

	if (width <= AGENTPAY_WIDTH_NONE || width > AGENTPAY_WIDTH_HOUR ||
		len == 0 || in[len - 1] == 'C') /* BC */
		return false;
	for (int part = 0; part < (int) width; part++)
	{
		size_t start = pos += part > 0;

		while (pos < len && in[pos] >= '0' && in[pos] <= '9')
			pos++;
		if (pos == start || (pos < len && in[pos] != ends[part]) ||
			(pos == len && part != AGENTPAY_WIDTH_DAY - 1))
			return false;
		if (pos == len && part + 1 < (int) width)
			return false;
	}
	memcpy(out, in, pos);
	*out_len = pos;
	return true;
}
