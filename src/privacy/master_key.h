/*-------------------------------------------------------------------------
 * master_key.h
 *		The master keys, from the file or the command that
 *		agentpay.master_key names.
 *
 * Never in the database.  The first wraps what is new; the others are old
 * ones, which unwrap what is not rewrapped yet.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_MASTER_KEY_H
#define AGENTPAY_MASTER_KEY_H

#include "postgres.h"

#include "privacy/cipher.h"

#define AGENTPAY_MASTER_KEYS 8
/* Of the file, and of what the command prints. */
#define AGENTPAY_MASTER_KEY_TEXT 4096

typedef struct AgentpayMasterKey
{
	uint8 bytes[AGENTPAY_KEY_SIZE];
	uint8 name[AGENTPAY_KEY_NAME_SIZE];
} AgentpayMasterKey;

typedef struct AgentpayMasterKeys
{
	int count; /* 0: none */
	AgentpayMasterKey keys[AGENTPAY_MASTER_KEYS];
} AgentpayMasterKeys;

/* From _PG_init. */
extern void agentpay_master_key_install(void);

/*
 * The keys of this process, or NULL with *problem, a sentence without a
 * secret.  A file is looked at again at most once a second, or now if fresh.
 * Raises nothing.  *generation changes with the keys.
 */
extern const AgentpayMasterKeys *
agentpay_master_keys(bool fresh, uint64 *generation, const char **problem);

/* Wipes this process's copy. */
extern void agentpay_master_keys_wipe(void);

/*
 * The launcher calls it each second: starts the command, takes what it has
 * printed, or ends it when it hangs; never waits.  An error is returned once.
 */
extern const char *agentpay_master_key_tend(void);

/* Reads lines of 64 hexadecimal digits; NULL, or what is wrong. */
extern const char *agentpay_master_key_parse(const char *text, size_t len,
											 AgentpayMasterKeys *keys);

/* What the command printed: shared by master_key.c and its command. */
extern void agentpay_master_key_publish(const AgentpayMasterKeys *keys);

#endif /* AGENTPAY_MASTER_KEY_H */
