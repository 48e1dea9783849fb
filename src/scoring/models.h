/*-------------------------------------------------------------------------
 * models.h
 *		Models that run inside the database.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_MODELS_H
#define AGENTPAY_MODELS_H

#include "postgres.h"

#include "base/config.h"

/* The model's answer, 0 to 1; NaN in inputs means missing. */
extern double
agentpay_model_predict(const AgentpayModelConfig *model, const double *inputs);

#endif /* AGENTPAY_MODELS_H */
