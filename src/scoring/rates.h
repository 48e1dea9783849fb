/*-------------------------------------------------------------------------
 * rates.h
 *		Exchange rates, by day.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_RATES_H
#define AGENTPAY_RATES_H

#include "postgres.h"

#include "utils/date.h"
#include "utils/numeric.h"

/*
 * What a unit of the currency is worth in base on that day: the latest rate
 * whose valid_from is not after it.  NULL: there is none.  The result lives
 * until the rates change.
 */
extern Numeric
agentpay_rates_find(const char *base, const char *currency, DateADT day);

#endif /* AGENTPAY_RATES_H */
