/*-------------------------------------------------------------------------
 * key_memo.h
 *		The keys of the subjects whose payments came last, by their names.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_KEY_MEMO_H
#define AGENTPAY_KEY_MEMO_H

#include "postgres.h"

#include "privacy/cipher.h"

#define AGENTPAY_MEMO_SUBJECT 48

typedef struct AgentpayKeyMemo
{
	int len; /* of the subject; 0: there is none here */
	char subject[AGENTPAY_MEMO_SUBJECT];
	int64 key_id;
	bool own; /* made by this transaction */
	uint8 bytes[AGENTPAY_KEY_SIZE];
	AgentpaySealer *sealer; /* NULL: it has sealed nothing yet */
} AgentpayKeyMemo;

/* NULL: that subject is not noted. */
extern AgentpayKeyMemo *agentpay_key_memo_find(const char *subject);

/* Notes a subject's key, in place of another one; a long name is not noted. */
extern void agentpay_key_memo_note(const char *subject, int64 key_id,
								   const uint8 *bytes, bool own);

/* Wipes all, or what this transaction made. */
extern void agentpay_key_memo_wipe(bool own_only);

/* The transaction has committed: what it made is there. */
extern void agentpay_key_memo_keep_own(void);

#endif /* AGENTPAY_KEY_MEMO_H */
