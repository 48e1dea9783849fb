-- The payments, a point on them, and the features as their authors define them:
-- of a customer over (t - w, t]; of a terminal over (t - 7 days - w, t - 7 days],
-- risk being frauds / payments, 0 without payments.
--
-- mode: outcomes takes labels from agentpay.outcomes instead of tx_fraud.
-- features: all, or customer: those alone.
SELECT :'mode' = 'outcomes' AS from_outcomes \gset
CREATE TABLE handbook.payments (
	tx_id int PRIMARY KEY,
	tx_at timestamptz NOT NULL,
	customer_id int NOT NULL,
	terminal_id int NOT NULL,
	tx_amount numeric(10,2) NOT NULL,
	tx_fraud int NOT NULL);
CREATE INDEX ON handbook.payments (customer_id, tx_at);
CREATE INDEX ON handbook.payments (terminal_id, tx_at);
SELECT agentpay.attach('handbook.payments', 'handbook', 'fraud', 'tx_id', 'tx_at', 'tx_amount', 'EUR');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over)
SELECT 'handbook', format('customer_%s_%sd', what, d), '{customer_id}', aggregate, value, d * interval '1 day'
  FROM unnest('{1,7,30}'::int[]) AS d, (VALUES ('n', 'count', NULL), ('avg', 'avg', 'tx_amount')) AS a (what, aggregate, value);
INSERT INTO agentpay.features (point, name, key, aggregate, over, delay)
SELECT 'handbook', format('terminal_n_%sd', d), '{terminal_id}', 'count', d * interval '1 day', '7 days'
  FROM unnest('{1,7,30}'::int[]) AS d WHERE :'features' = 'all';
\if :from_outcomes
INSERT INTO agentpay.features (point, name, from_table, key, aggregate, value, over, delay, default_value)
SELECT 'handbook', format('terminal_risk_%sd', d), 'agentpay.outcomes', '{terminal_id}', 'rate', 'label = ''fraud''',
	   d * interval '1 day', '7 days', '0'
  FROM unnest('{1,7,30}'::int[]) AS d;
-- agentpay's clock follows the payments: a day's labels are observed as it ends
CREATE PROCEDURE handbook.record_outcomes(day date) LANGUAGE plpgsql AS $$
BEGIN
	PERFORM set_config('agentpay.clock_offset',
		extract(epoch FROM day::timestamp AT TIME ZONE 'UTC' + interval '1 day' - clock_timestamp())::int::text, false);
	PERFORM agentpay.record_outcome('handbook', tx_id, 'fraud', 'import',
									effective_at => (day + 1)::timestamp AT TIME ZONE 'UTC')
	   FROM handbook.payments
	  WHERE tx_fraud = 1 AND tx_at >= day::timestamp AT TIME ZONE 'UTC'
		AND tx_at < (day + 1)::timestamp AT TIME ZONE 'UTC';
END$$;
\else
INSERT INTO agentpay.features (point, name, key, aggregate, value, over, delay, default_value)
SELECT 'handbook', format('terminal_risk_%sd', d), '{terminal_id}', 'rate', 'tx_fraud = 1', d * interval '1 day', '7 days', '0'
  FROM unnest('{1,7,30}'::int[]) AS d WHERE :'features' = 'all';
\endif
INSERT INTO agentpay.rules (point, code, condition)
SELECT 'handbook', 'READS', string_agg(format('%I > 1e9', name), ' OR ' ORDER BY name) FROM agentpay.features;
SELECT agentpay.activate('handbook');
