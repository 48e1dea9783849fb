/*-------------------------------------------------------------------------
 * settings_check.h
 *		What the settings about the way out, and about keys, may be; for settings.c.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SETTINGS_CHECK_H
#define AGENTPAY_SETTINGS_CHECK_H

#include "postgres.h"

#include "utils/guc.h"

extern bool
agentpay_check_egress_proxy(char **value, void **extra, GucSource source);
extern bool agentpay_check_egress_proxy_secret(char **value, void **extra,
											   GucSource source);
extern bool
agentpay_check_ca_file(char **value, void **extra, GucSource source);
extern bool
agentpay_check_hash_key(char **value, void **extra, GucSource source);

extern bool
agentpay_check_master_key(char **value, void **extra, GucSource source);

#endif /* AGENTPAY_SETTINGS_CHECK_H */
