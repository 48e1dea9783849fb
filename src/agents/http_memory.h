/*-------------------------------------------------------------------------
 * http_memory.h
 *		The memory of libcurl, wiped when it is freed.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_HTTP_MEMORY_H
#define AGENTPAY_HTTP_MEMORY_H

#include <stdbool.h>

/*
 * curl_global_init(), with allocators of ours; to be paired with
 * curl_global_cleanup().  Whatever initialised libcurl before in this
 * process keeps its allocators.
 */
extern bool agentpay_http_memory_init(void);

#endif /* AGENTPAY_HTTP_MEMORY_H */
