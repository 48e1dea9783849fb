-- Two agents in shadow: they answer, and nothing that they say is applied.
-- The first is the model above, inside the database.
-- Its thresholds say how sure it must be.
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage,
	min_confidence, options)
VALUES ('embedded', 'fraud', 'builtin', 'card_fraud',
	'score > 0 OR v14 < -1 OR v4 > 2', 'shadow', 0,
	'{"thresholds": {"review": 0.3, "decline": 0.8}}');

-- The second is a language model behind an OpenAI-compatible service. What it
-- may see is named column by column; what is not named never leaves.
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment)
VALUES ('payments', 'amount', 'financial', 'pass'),
	('payments', 'currency', 'public', 'pass'),
	('payments', 'v4', 'financial', 'pass'),
	('payments', 'v10', 'financial', 'pass'),
	('payments', 'v12', 'financial', 'pass'),
	('payments', 'v14', 'financial', 'pass'),
	('payments', 'v17', 'financial', 'pass');

INSERT INTO agentpay.allowed_endpoints (origin) VALUES (:'origin');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields,
	invoke_when, sample_percent, price_input_per_million,
	price_output_per_million, cost_center)
VALUES ('llm', 'fraud', 'openai', :'origin' || '/v1', 'demo-model',
	'{amount,currency,same_amount_10m,v4,v10,v12,v14,v17}',
	'verdict <> ''decline'' AND (score > 0 OR v14 < -1)', 40, 0.15, 0.60,
	'fraud_team');

-- It may not leave `off` before its spending is capped.
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost, cap_calls)
VALUES ('llm_hour', 'agent', 'llm', 'hour', 0.25, 1000),
	('llm_payment', 'agent', 'llm', 'transaction', 0.002, NULL);
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 'llm';

\echo Neither is asked about every payment: only where invoke_when holds, and the second
\echo about a sample of those.
SELECT name, protocol, stage, invoke_when, sample_percent || ' %' AS sampled,
	price_input_per_million AS usd_in_per_million,
	price_output_per_million AS usd_out_per_million
FROM agentpay.agents ORDER BY name;
