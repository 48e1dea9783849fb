/*-------------------------------------------------------------------------
 * models.c
 *		Models that run inside the database.
 *
 * In an expression, model('name') becomes a parameter (expression.c), so the
 * function itself is never called there.
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"

#include "scoring/logistic.h"
#include "scoring/models.h"

PG_FUNCTION_INFO_V1(agentpay_model);

double
agentpay_model_predict(const AgentpayModelConfig *model, const double *inputs)
{
	AgentpayLogistic logistic = {
		.n_inputs = model->n_inputs,
		.intercept = model->intercept,
		.coefficients = model->coefficients,
		.mean = model->mean,
		.scale = model->scale,
	};

	return agentpay_logistic_predict(&logistic, inputs);
}

/* agentpay.model(name) outside an expression of ours. */
Datum
agentpay_model(PG_FUNCTION_ARGS)
{
	ereport(ERROR,
			(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
			 errmsg("agentpay.model() works only inside rules and invoke_when"),
			 errdetail("It answers for the row that is being scored."),
			 errhint("INSERT INTO agentpay.rules (point, code, condition, "
					 "score) VALUES ('fraud', 'MODEL', 'model(''name'') > "
					 "0.9', 60);")));
}
