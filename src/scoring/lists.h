/*-------------------------------------------------------------------------
 * lists.h
 *		Named lists, for in_list(): a hash table per session.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LISTS_H
#define AGENTPAY_LISTS_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * Whether value is on the list at that moment (expired entries are not).
 * Reads the lists again when they changed.  An error when there is no list of
 * that name.
 */
extern bool
agentpay_list_contains(const char *list, const char *value, TimestampTz at);

#endif /* AGENTPAY_LISTS_H */
