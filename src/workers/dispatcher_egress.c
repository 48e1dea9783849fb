/*-------------------------------------------------------------------------
 * dispatcher_egress.c
 *		The way out as the settings have it: proxy, authorities, secrets.
 *
 * The settings change with a reload, and the files of authorities at any
 * time; calls that are under way go on as they were started.  No locks.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "utils/memutils.h"

#include "agents/protocol.h"
#include "base/secret.h"
#include "base/settings.h"
#include "workers/dispatcher.h"
#include "workers/worker.h"

/* Keeps what the client is given, and returns it. */
static AgentpayHttpOptions
take_settings(Dispatcher *d)
{
	AgentpayHttpOptions options = {.max_connections = 0};

	if (d->egress_proxy)
		pfree(d->egress_proxy);
	if (d->ca_file)
		pfree(d->ca_file);
	d->egress_proxy = MemoryContextStrdup(d->context, agentpay_egress_proxy);
	d->ca_file = MemoryContextStrdup(d->context, agentpay_ca_file);
	d->max_idle = dispatcher_max_in_flight(d);
	options.proxy = d->egress_proxy;
	options.ca_file = d->ca_file;
	options.max_idle = d->max_idle;
	return options;
}

/* What does not keep calls from going out. */
static void
warn(const char *problem)
{
	if (problem == NULL)
		return;
	agentpay_worker_report_error(problem);
	ereport(WARNING, (errcode(ERRCODE_UNDEFINED_FILE), errmsg("%s", problem),
					  errhint("Mend the file; it is looked at each second.")));
}

/* The HTTP client; its context is there. */
void
dispatcher_create_client(Dispatcher *d)
{
	AgentpayHttpOptions options = take_settings(d);
	const char *problem = NULL;

	d->client = agentpay_http_client_create(&options, &problem);
	if (d->client == NULL)
		ereport(FATAL,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the HTTP client: %s", problem)));
	warn(problem);
}

/* Has the calls to come go out as the settings are now. */
void
dispatcher_follow_settings(Dispatcher *d, bool look_at_files)
{
	AgentpayHttpOptions options;
	const char *problem = NULL;

	if (strcmp(d->egress_proxy, agentpay_egress_proxy) == 0 &&
		strcmp(d->ca_file, agentpay_ca_file) == 0 &&
		d->max_idle == dispatcher_max_in_flight(d) &&
		!(look_at_files && agentpay_http_client_authorities_changed(d->client)))
		return;
	options = take_settings(d);
	if (!agentpay_http_client_configure(d->client, &options, &problem))
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY), errmsg("out of memory")));
	warn(problem);
}

/* What a reference refers to, palloc'd, to be wiped; NULL with *problem. */
char *
dispatcher_read_secret(const char *reference, const char **problem)
{
	char buffer[AGENTPAY_PROTOCOL_MAX_SECRET + 2];
	char *secret;

	if (!agentpay_secret_read(reference, buffer, sizeof(buffer), problem))
		return NULL;
	secret = pstrdup(buffer);
	explicit_bzero(buffer, sizeof(buffer));
	return secret;
}

/* For the calls that are about to be started. */
void
dispatcher_read_proxy_secret(Dispatcher *d)
{
	const char *problem = NULL;
	MemoryContext old;

	dispatcher_wipe_proxy_secret(d);
	if (d->egress_proxy[0] == '\0' || agentpay_egress_proxy_secret[0] == '\0')
		return;
	old = MemoryContextSwitchTo(d->context);
	d->proxy_secret = dispatcher_read_secret(agentpay_egress_proxy_secret,
											 &problem);
	MemoryContextSwitchTo(old);
	/* the proxy will say no */
	if (problem != NULL)
		agentpay_worker_report_error(
			"agentpay.egress_proxy_secret could not be read");
}

void
dispatcher_wipe_proxy_secret(Dispatcher *d)
{
	if (d->proxy_secret == NULL)
		return;
	explicit_bzero(d->proxy_secret, strlen(d->proxy_secret));
	pfree(d->proxy_secret);
	d->proxy_secret = NULL;
}
