/*-------------------------------------------------------------------------
 * launcher.h
 *		Starts a dispatcher and a governor in each database with agentpay.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_LAUNCHER_H
#define AGENTPAY_LAUNCHER_H

#include "postgres.h"

/* Called once from _PG_init. */
extern void agentpay_launcher_register(void);

#endif /* AGENTPAY_LAUNCHER_H */
