/*-------------------------------------------------------------------------
 * frame_queue.h
 *		The queue between BEFORE and AFTER; only frame.c needs it.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_FRAME_QUEUE_H
#define AGENTPAY_FRAME_QUEUE_H

#include "scoring/frame.h"

typedef struct AgentpayQueue AgentpayQueue;

/* In the current memory context. */
extern AgentpayQueue *agentpay_queue_open(void);
extern void agentpay_queue_close(AgentpayQueue *queue);

/* Appends a copy. */
extern void
agentpay_queue_push(AgentpayQueue *queue, const AgentpayEntry *entry);

/* The first entry, or NULL; valid until drop(), seek() or close(). */
extern const AgentpayEntry *agentpay_queue_peek(AgentpayQueue *queue);
extern void agentpay_queue_drop(AgentpayQueue *queue);

/*
 * Drops everything before the first entry of that row.  False, and nothing
 * dropped, when there is none.  *skipped: copies of what streams had of those
 * that are dropped (bytea).
 */
extern bool
agentpay_queue_seek(AgentpayQueue *queue, Oid leaf, const char *row_id,
					const bytea *digest, List **skipped);

/* Whether the entry is of that row; a digest of NULL fits every one. */
extern bool agentpay_queue_matches(const AgentpayEntry *entry, Oid leaf,
								   const char *row_id, const bytea *digest);

#endif /* AGENTPAY_FRAME_QUEUE_H */
