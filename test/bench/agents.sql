-- What `make bench-agents` asks about: a point, an agent in shadow with two
-- budgets, and payments of which each has one task.
CREATE EXTENSION agentpay;
CREATE TABLE payments (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT clock_timestamp(),
	batch text NOT NULL,
	amount numeric NOT NULL,
	memo text,
	outcome text);
CREATE INDEX ON payments (batch);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'id',
	occurred_at => 'at', amount => 'amount', currency => 'USD',
	outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict)
	VALUES ('fraud', 'LARGE', 'amount > 10000', 'decline');
SELECT agentpay.activate('fraud');
INSERT INTO agentpay.data_policies VALUES
	('payments', 'amount', 'financial', 'pass'),
	('payments', 'memo', 'free_text', 'pass');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES (:'url');
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES
	('hour', 'hour', 1000000), ('each', 'transaction', 1);
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields,
	invoke_when, price_input_per_million, price_output_per_million, stage,
	timeout_ms)
VALUES ('bench', 'fraud', 'openai', :'url', 'bench', '{amount,memo}', 'true', 1,
	2, 'shadow', 20000);
