/*-------------------------------------------------------------------------
 * models.h
 *		Models that run inside the database.
 *-------------------------------------------------------------------------
 */
#ifndef AGENTPAY_MODELS_H
#define AGENTPAY_MODELS_H

#include "postgres.h"

#include "base/config.h"

/* A model that is ready to answer. */
typedef struct AgentpayModel AgentpayModel;

/*
 * Makes a model ready; it lives in the current memory context, as long as
 * the configuration.  Trees are read from the table when this session does
 * not have them yet.  Raises an error when they cannot be.
 */
extern AgentpayModel *agentpay_model_prepare(const AgentpayModelConfig *config);

/*
 * The answer: a probability, or whatever a regression estimates.  NaN in
 * inputs means missing.
 */
extern double
agentpay_model_predict(const AgentpayModel *model, const double *inputs);

/* Frees the trees that nobody uses and that this configuration has not. */
extern void agentpay_models_forget(const AgentpayConfig *config);

#endif /* AGENTPAY_MODELS_H */
