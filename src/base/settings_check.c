/*-------------------------------------------------------------------------
 * settings_check.c
 *		What the settings about the way out may be.
 *
 * A bad value is refused without being shown: it may be a password.  Only
 * while the server starts it is taken, with a warning: to fall back to the
 * default would send calls past the proxy, and to refuse to start would stop
 * the payments.  No call goes out by it (agents/http_route.c).
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "miscadmin.h"

#include "base/settings_check.h"

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGITS "0123456789"

/* Says what is wrong; whether the value is taken all the same. */
static bool
refuse(const char *what, const char *detail, const char *hint)
{
	/* a parallel worker gets what its leader has */
	if (InitializingParallelWorker)
		return true;
	if (process_shared_preload_libraries_in_progress)
	{
		ereport(WARNING,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE), errmsg("%s", what),
				 errdetail("%s", detail),
				 errhint("%s Until then no agent is called by it.", hint)));
		return true;
	}
	GUC_check_errmsg("%s", what);
	GUC_check_errdetail("%s", detail);
	GUC_check_errhint("%s", hint);
	return false;
}

/* The length of host:port, with nothing after it; 0 when it is none. */
static size_t
authority_length(const char *text)
{
	size_t host;
	size_t port = 0;

	if (text[0] == '[')
	{
		host = 1 + strspn(text + 1, DIGITS "abcdefABCDEF:.");
		if (host == 1 || text[host++] != ']')
			return 0;
	}
	else
		host = strspn(text, LETTERS DIGITS ".-_");
	if (host == 0 || text[host] != ':')
		return 0;
	port = strspn(text + host + 1, DIGITS);
	if (port == 0 || port > 5 || atoi(text + host + 1) < 1 ||
		atoi(text + host + 1) > 65535)
		return 0;
	return host + 1 + port;
}

bool
agentpay_check_egress_proxy(char **value, void **extra, GucSource source)
{
	static const char hint[] =
		"Run: ALTER SYSTEM SET agentpay.egress_proxy = 'http://proxy.example:3128';";
	const char *text = *value;

	if (text == NULL || text[0] == '\0')
		return true;
	if (strchr(text, '@') != NULL)
		return refuse(
			"agentpay.egress_proxy contains a user name or a password",
			"The value is not shown here, but the statement may be in the server's log: if it was a password, replace the password.",
			"Put user:password into a file, and run: ALTER SYSTEM SET agentpay.egress_proxy_secret = 'file:/etc/agentpay/proxy';");
	if (strncmp(text, "http://", 7) == 0)
		text += 7;
	else if (strncmp(text, "https://", 8) == 0)
		text += 8;
	else
		text = "";
	if (authority_length(text) == 0 || text[authority_length(text)] != '\0')
		return refuse(
			"agentpay.egress_proxy is not a proxy",
			"It is http://host:port or https://host:port, in small letters and without a path; empty: none.",
			hint);
	return true;
}

/* Whether it is empty, file:/path or env:NAME. */
static bool
is_reference(const char *text)
{
	if (text == NULL || text[0] == '\0')
		return true;
	if (strncmp(text, "file:/", 6) == 0)
		return strpbrk(text, " \t\r\n") == NULL;
	return strncmp(text, "env:", 4) == 0 && strspn(text + 4, LETTERS "_") > 0 &&
		   text[4 + strspn(text + 4, LETTERS DIGITS "_")] == '\0';
}

bool
agentpay_check_egress_proxy_secret(char **value, void **extra, GucSource source)
{
	return is_reference(*value) ||
		   refuse(
			   "agentpay.egress_proxy_secret is not a reference",
			   "It is file:/path or env:NAME. The value is not shown here, but the statement may be in the server's log: if it was a password, replace the password.",
			   "Run: ALTER SYSTEM SET agentpay.egress_proxy_secret = 'file:/etc/agentpay/proxy';");
}

bool
agentpay_check_hash_key(char **value, void **extra, GucSource source)
{
	return is_reference(*value) ||
		   refuse(
			   "agentpay.hash_key is not a reference",
			   "It is file:/path or env:NAME. The value is not shown here, but the statement may be in the server's log: if it was a key, make another one.",
			   "Run: ALTER SYSTEM SET agentpay.hash_key = 'file:/etc/agentpay/hash_key';");
}

bool
agentpay_check_ca_file(char **value, void **extra, GucSource source)
{
	const char *text = *value;

	return text == NULL || text[0] == '\0' ||
		   (text[0] == '/' && strpbrk(text, "\r\n") == NULL) ||
		   refuse(
			   "agentpay.ca_file is not an absolute path",
			   "It names a file of certificates in PEM; empty: none beside the system's.",
			   "Run: ALTER SYSTEM SET agentpay.ca_file = '/etc/agentpay/ca.pem';");
}

/* Not shown, too: it may be the key itself. */
bool
agentpay_check_master_key(char **value, void **extra, GucSource source)
{
	const char *text = *value;

	if (text == NULL || text[0] == '\0' ||
		(strncmp(text, "file:/", 6) == 0 && strpbrk(text, "\r\n") == NULL) ||
		(strncmp(text, "command:", 8) == 0 && text[8] != '\0' &&
		 strpbrk(text, "\r\n") == NULL))
		return true;
	GUC_check_errmsg("agentpay.master_key is not a reference");
	GUC_check_errdetail(
		"It is file:/path or command:program arguments. The value is not shown here, but the statement may be in the server's log: if it was a key, make another.");
	GUC_check_errhint(
		"Run: ALTER SYSTEM SET agentpay.master_key = 'file:/etc/agentpay/master.key';");
	return false;
}
