/*-------------------------------------------------------------------------
 * secret.h
 *		What file:/path or env:NAME refers to.
 *
 * Pure: libc only.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_SECRET_H
#define AGENTPAY_SECRET_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Reads it into buffer, NUL-terminated and without its last newlines.  False
 * with *problem, and buffer wiped, when there is nothing, when it does not fit
 * or has a NUL in it, or when the file is no regular one.  The caller wipes
 * buffer.
 */
extern bool agentpay_secret_read(const char *reference, char *buffer,
								 size_t size, const char **problem);

#endif /* AGENTPAY_SECRET_H */
