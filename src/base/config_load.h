/*-------------------------------------------------------------------------
 * config_load.h
 *		Reads the configuration tables; only config.c needs it.
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

#endif /* AGENTPAY_CONFIG_LOAD_H */
