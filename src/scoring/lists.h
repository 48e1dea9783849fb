/*-------------------------------------------------------------------------
 * lists.h
 *		Named lists, for in_list().
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LISTS_H
#define AGENTPAY_LISTS_H

#include "postgres.h"

#include "datatype/timestamp.h"

/*
 * From now on in_list() says what was on a list at that moment; NULL: what is
 * on it now.  The caller takes it back, also after an error.
 */
extern void agentpay_lists_look_back(const TimestampTz *at);

#endif /* AGENTPAY_LISTS_H */
