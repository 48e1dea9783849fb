/*-------------------------------------------------------------------------
 * detect_contacts.c
 *		Telephone numbers, and addresses of the internet.
 *
 * A telephone number has no check digit, so it is taken for one only where it
 * is written as one: after a +, in the groups of the North American plan, with
 * a leading 0 and in groups, or after a word such as phone.
 *
 * Sources: ITU-T E.164 and E.123, the North American Numbering Plan
 * (NPA-NXX-XXXX, N 2 to 9), RFC 4291 and 5952, RFC 791.
 *-------------------------------------------------------------------------
 */
#include "privacy/detect_window.h"

/* ---- telephone numbers ---- */

typedef struct Groups
{
	int length;		 /* characters, up to the last digit */
	int digits;		 /* in all */
	int groups;		 /* of digits */
	int sizes[8];	 /* digits of each */
	char between[8]; /* the separator before each */
} Groups;

/*
 * Reads groups of digits with one or two separators between; false where
 * there are too many, or the number adjoins what is no part of one.
 */
static bool
read_groups(const unsigned char *c, int at, Groups *groups)
{
	int separators = 0;
	char last = 0;

	memset(groups, 0, sizeof(*groups));
	for (; c[at] != 0; at++)
	{
		if (agentpay_fold_is_digit(c[at]))
		{
			if (groups->groups == 0 || separators > 0)
			{
				/* where the next number begins */
				if (last == ' ' && c[at] == '0' && groups->digits >= 9)
					break;
				if (groups->groups == 8)
					return false;
				groups->between[groups->groups] = last;
				groups->sizes[groups->groups++] = 0;
			}
			groups->sizes[groups->groups - 1]++;
			groups->digits++;
			groups->length = at + 1;
			separators = 0;
		}
		else if (strchr(" -./()", c[at]) == NULL || ++separators > 2)
			break;
		else
			last = c[at];
	}
	at = groups->length;
	return groups->groups > 0 && !agentpay_is_alnum(c[at]) &&
		   !(c[at] != 0 && strchr(":=,@", c[at]) != NULL &&
			 agentpay_fold_is_digit(c[at + 1]));
}

/* NPA-NXX-XXXX, also (NPA) NXX-XXXX and with 1 before. */
static bool
is_nanp(const unsigned char *c, const Groups *groups)
{
	const unsigned char *digit = c;
	int first = groups->groups == 4 && groups->sizes[0] == 1 && c[0] == '1';
	int start[2] = {0, 0};
	int seen = 0;

	if (groups->groups != 3 + first || groups->sizes[first] != 3 ||
		groups->sizes[first + 1] != 3 || groups->sizes[first + 2] != 4)
		return false;
	for (int i = 0; i < groups->length; i++)
	{
		if (!agentpay_fold_is_digit(digit[i]))
			continue;
		if (seen == first)
			start[0] = digit[i];
		if (seen == first + 3)
			start[1] = digit[i];
		seen++;
	}
	return start[0] >= '2' && start[1] >= '2';
}

/* 0 and the rest in groups, but no date such as 01.02.2026. */
static bool
is_national(const unsigned char *c, const Groups *groups)
{
	if (c[0] != '0' || groups->digits < 9 || groups->groups < 2 ||
		groups->sizes[0] < 2)
		return false;
	if (c[1] == '0')
		return groups->digits >= 10 && groups->digits <= 17;
	if (groups->groups >= 3 && groups->sizes[0] == 2 && groups->sizes[1] == 2 &&
		groups->sizes[2] == 4)
		return false;
	for (int i = 1; i < groups->groups; i++)
	{
		if (groups->sizes[i] < 2)
			return false;
	}
	return groups->digits <= 12;
}

int
agentpay_match_phone(const AgentpayWindow *window, bool named)
{
	const unsigned char *c = window->chars;
	bool plus = c[0] == '+';
	Groups groups;
	int first = plus;

	if (!plus && c[0] != '(' && !agentpay_fold_is_digit(c[0]))
		return 0;
	if (window->before != 0 && strchr("-./+#=_", window->before) != NULL &&
		agentpay_is_alnum(window->before2))
		return 0;
	first += plus && c[1] == ' ';
	if (!read_groups(c, first, &groups))
		return 0;
	if (plus)
		return agentpay_fold_is_digit(c[first]) && c[first] != '0' &&
					   groups.digits >= 8 && groups.digits <= 16
				   ? groups.length
				   : 0;
	/* not from the middle of other groups on */
	if (!(window->before == ' ' && agentpay_fold_is_digit(window->before2)) &&
		(is_nanp(c, &groups) || is_national(c, &groups)))
		return groups.length;
	return named && groups.digits >= 9 && groups.digits <= 15 ? groups.length
															  : 0;
}

/* ---- addresses of the internet ---- */

static bool
is_hex(int c)
{
	return agentpay_fold_is_digit(c) || (c >= 'A' && c <= 'F');
}

/* The characters of four numbers up to 255 from at on; 0 if there are none. */
static int
ipv4_at(const unsigned char *c, int at)
{
	int start = at;

	for (int part = 0; part < 4; part++)
	{
		int value = 0;
		int n = 0;

		if (part > 0 && c[at++] != '.')
			return 0;
		for (; agentpay_fold_is_digit(c[at]) && n < 4; n++)
			value = value * 10 + c[at++] - '0';
		if (n == 0 || n > 3 || value > 255 || (n > 1 && c[at - n] == '0'))
			return 0;
	}
	if (agentpay_is_alnum(c[at]) ||
		(c[at] == '.' && agentpay_is_alnum(c[at + 1])))
		return 0;
	return at - start;
}

/* The same for groups of hexadecimal digits, one :: among them at the most. */
static int
ipv6_at(const unsigned char *c)
{
	int at = 0;
	int groups = 0;
	int digits = 0; /* decimal ones */
	bool gap = false;

	while (groups < 8)
	{
		int n = 0;
		int v4 = groups > 0 || gap ? ipv4_at(c, at) : 0;

		if (v4 > 0)
		{
			at += v4;
			groups += 2;
			digits++;
			break;
		}
		for (; is_hex(c[at]) && n < 5; n++)
			digits += agentpay_fold_is_digit(c[at++]);
		if (n > 4 || (n == 0 && !(c[at] == ':' && c[at + 1] == ':')))
		{
			if (n == 0 && gap && at >= 2 && c[at - 1] == ':')
				break;
			return 0;
		}
		groups += n > 0;
		if (c[at] != ':')
			break;
		if (c[at + 1] == ':')
		{
			if (gap)
				return 0;
			gap = true;
			at += 2;
		}
		else if (is_hex(c[at + 1]) && groups < 8)
			at++;
		else
			break;
	}
	if (!(gap ? groups >= 1 && groups < 8 : groups == 8) || digits == 0 ||
		at < 5 || agentpay_is_alnum(c[at]) ||
		(c[at] == ':' && agentpay_is_alnum(c[at + 1])))
		return 0;
	return at;
}

int
agentpay_match_ip(const AgentpayWindow *window)
{
	const unsigned char *c = window->chars;
	int n;

	if (window->before == '.' || window->before == ':')
	{
		if (agentpay_is_alnum(window->before2) || window->before2 == ':')
			return 0;
	}
	n = ipv4_at(c, 0);
	return n > 0 ? n : ipv6_at(c);
}
