/*-------------------------------------------------------------------------
 * config_load.h
 *		Reads the configuration tables; config.c caches
 *		what it reads.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_CONFIG_LOAD_H
#define AGENTPAY_CONFIG_LOAD_H

#include "base/config.h"

/*
 * One consistent reading: what is committed now and what this transaction
 * did, in a memory context of its own.  Nobody has pinned it.
 */
extern AgentpayConfig *agentpay_config_load(void);

/*
 * The same, in which that version of the point's rules is the active one, no
 * other point has rules, and nobody has agents: to try the version.
 */
extern AgentpayConfig *
agentpay_config_load_version(const char *point, int version);

/*
 * The same with that version, of the one point alone, enabled or not, as all
 * of it was configured at that moment; of models the versions that a jsonb
 * object names.  Version 0: without rules.
 */
extern AgentpayConfig *agentpay_config_load_at(const char *point, int version,
											   TimestampTz at, Datum models);

#endif /* AGENTPAY_CONFIG_LOAD_H */
