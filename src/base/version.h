/*-------------------------------------------------------------------------
 * version.h
 *		The version of the SQL objects that this library works with.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_VERSION_H
#define AGENTPAY_VERSION_H

#define AGENTPAY_VERSION "1.0"

#endif /* AGENTPAY_VERSION_H */
