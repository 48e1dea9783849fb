/*-------------------------------------------------------------------------
 * vault.h
 *		Tokens in place of values, and the vault that leads back.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VAULT_H
#define AGENTPAY_VAULT_H

#include "postgres.h"

/* "tok_" and 32 hexadecimal digits, or as many digits at the most. */
#define AGENTPAY_TOKEN_SIZE 36

typedef struct AgentpayTokenOf
{
	const char *domain;	 /* a value has one token in each */
	bool keeps_format;	 /* 6 to 36 digits become as many digits, by FF1 */
	const char *subject; /* under whose key the value goes; NULL: nobody's */
	const char *value;
	size_t len;
} AgentpayTokenOf;

/*
 * Writes the value's token, returns its length, and sees to it that the vault
 * has the value, sealed.  0: there is no key, which is logged.  Raises what the
 * tables raise.
 */
extern size_t agentpay_vault_token(const AgentpayTokenOf *of, char *token);

#endif /* AGENTPAY_VAULT_H */
