/*-------------------------------------------------------------------------
 * vault.h
 *		Tokens in place of values, and the vault that leads back.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VAULT_H
#define AGENTPAY_VAULT_H

#include "postgres.h"

/* "tok_" and 32 hexadecimal digits. */
#define AGENTPAY_TOKEN_SIZE 36

/*
 * Writes the value's token in that domain, AGENTPAY_TOKEN_SIZE bytes, and sees
 * to it that the vault has the value, sealed under a key of the subject (NULL:
 * nobody's).  False: there is no key, which is logged.  Raises what the tables
 * raise.
 */
extern bool agentpay_vault_token(const char *domain, const char *subject,
								 const char *value, size_t len, char *token);

#endif /* AGENTPAY_VAULT_H */
