/*-------------------------------------------------------------------------
 * aws_credentials.c
 *		Reads AWS credentials out of what a secret refers to.
 *
 * Two of AWS's own formats, so that what rotates them needs no change: a
 * shared credentials file, and what a credential_process prints.  What does
 * not look like a key is refused before anything is signed with it.
 *-------------------------------------------------------------------------
 */
#include "agents/sigv4.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"

/* Copies printable text without blanks; false when it is no such text. */
static bool
copy_key(const char *text, size_t len, char *key, size_t size)
{
	if (len == 0 || len >= size)
		return false;
	for (size_t i = 0; i < len; i++)
	{
		if (text[i] < 0x21 || text[i] > 0x7e)
			return false;
	}
	memcpy(key, text, len);
	key[len] = '\0';
	return true;
}

/* An access key stands between slashes and commas: letters and digits. */
static bool
is_access_key(const char *key)
{
	size_t len = strspn(key, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
							 "abcdefghijklmnopqrstuvwxyz0123456789_");

	return len > 0 && key[len] == '\0';
}

/* ── JSON ─────────────────────────────────────────────────────────────── */
/* A member of a JSON object as a key; NULL member: only if it is optional. */
static bool
take_member(json_object *object, const char *name, bool is_optional, char *key,
			size_t size)
{
	json_object *value = NULL;

	key[0] = '\0';
	json_object_object_get_ex(object, name, &value);
	if (value == NULL)
		return is_optional;
	return json_object_is_type(value, json_type_string) &&
		   copy_key(json_object_get_string(value),
					(size_t) json_object_get_string_len(value), key, size);
}

/* Whether the moment (ISO 8601, UTC or with an offset) is over, or no time. */
static bool
is_over(const char *text, time_t now)
{
	struct tm utc = {0};
	int hours = 0;
	int minutes = 0;
	int at = 0;
	const char *rest;
	time_t then;

	if (sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &utc.tm_year, &utc.tm_mon,
			   &utc.tm_mday, &utc.tm_hour, &utc.tm_min, &utc.tm_sec,
			   &at) != 6 ||
		at == 0)
		return true;
	utc.tm_year -= 1900;
	utc.tm_mon -= 1;
	rest = text + at;
	if (*rest == '.')
		rest += 1 + strspn(rest + 1, "0123456789");
	then = timegm(&utc);
	if (*rest == '+' || *rest == '-')
	{
		if (sscanf(rest + 1, "%2d:%2d", &hours, &minutes) != 2)
			return true;
		then += (*rest == '+' ? -60 : 60) * (60 * hours + minutes);
	}
	else if (strcmp(rest, "Z") != 0)
		return true;
	return then <= now;
}

static bool
read_json(const char *text, time_t now, AgentpayAwsCredentials *credentials,
		  const char **problem)
{
	const char *why;
	json_object *object = agentpay_json_parse(text, strlen(text), 4, &why);
	json_object *member = NULL;
	bool good =
		json_object_is_type(object, json_type_object) &&
		take_member(object, "AccessKeyId", false, credentials->access_key,
					sizeof(credentials->access_key)) &&
		take_member(object, "SecretAccessKey", false, credentials->secret_key,
					sizeof(credentials->secret_key)) &&
		take_member(object, "SessionToken", true, credentials->session_token,
					sizeof(credentials->session_token));

	if (good && json_object_object_get_ex(object, "Expiration", &member) &&
		member != NULL &&
		(!json_object_is_type(member, json_type_string) ||
		 is_over(json_object_get_string(member), now)))
	{
		*problem = "the AWS credentials have expired";
		good = false;
	}
	json_object_put(object);
	return good;
}

/* ── INI ──────────────────────────────────────────────────────────────── */
static const char *
skip_blanks(const char *at, const char *end)
{
	while (at < end && (*at == ' ' || *at == '\t'))
		at++;
	return at;
}

/* Takes "name = value" of a profile; false when the value is no key. */
static bool
take_line(const char *at, const char *end, AgentpayAwsCredentials *credentials)
{
	const char *equals = memchr(at, '=', end - at);
	const char *name_end = equals;
	size_t len;

	if (equals == NULL)
		return true;
	while (name_end > at && (name_end[-1] == ' ' || name_end[-1] == '\t'))
		name_end--;
	len = name_end - at;
	at = skip_blanks(equals + 1, end);
#define IS(text) \
	(len == strlen(text) && strncasecmp(name_end - len, text, len) == 0)
	if (IS("aws_access_key_id"))
		return copy_key(at, end - at, credentials->access_key,
						sizeof(credentials->access_key));
	if (IS("aws_secret_access_key"))
		return copy_key(at, end - at, credentials->secret_key,
						sizeof(credentials->secret_key));
	if (IS("aws_session_token"))
		return copy_key(at, end - at, credentials->session_token,
						sizeof(credentials->session_token));
#undef IS
	return true;
}

/* Whether the line is the head of this profile. */
static bool
is_profile(const char *at, const char *end, const char *profile)
{
	const char *close = memchr(at, ']', end - at);
	size_t len = strlen(profile);

	if (close == NULL)
		return false;
	at = skip_blanks(at + 1, close);
	while (close > at && (close[-1] == ' ' || close[-1] == '\t'))
		close--;
	return (size_t) (close - at) == len && memcmp(at, profile, len) == 0;
}

static bool
read_ini(const char *text, const char *profile,
		 AgentpayAwsCredentials *credentials, const char **problem)
{
	bool inside = false;
	bool found = false;

	while (*text != '\0')
	{
		const char *end = text + strcspn(text, "\n");
		const char *next = *end == '\0' ? end : end + 1;
		const char *at = skip_blanks(text, end);

		while (end > at &&
			   (end[-1] == ' ' || end[-1] == '\t' || end[-1] == '\r'))
			end--;
		text = next;
		if (at == end || *at == '#' || *at == ';')
			continue;
		if (*at == '[')
			found |= inside = is_profile(at, end, profile);
		else if (inside && !take_line(at, end, credentials))
			return false;
	}
	if (!found)
		*problem = "its secret has no such profile of AWS credentials";
	return found;
}

bool
agentpay_aws_credentials_read(const char *text, const char *profile, time_t now,
							  AgentpayAwsCredentials *credentials,
							  const char **problem)
{
	const char *at = text + strspn(text, " \t\r\n");
	bool good;

	memset(credentials, 0, sizeof(*credentials));
	*problem = "its secret is no AWS credentials";
	if (*at == '{')
		good = read_json(at, now, credentials, problem);
	else
		good = read_ini(at, profile ? profile : "default", credentials,
						problem);
	good = good && is_access_key(credentials->access_key) &&
		   credentials->secret_key[0] != '\0';
	if (!good)
		explicit_bzero(credentials, sizeof(*credentials));
	return good;
}
