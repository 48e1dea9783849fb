-- Nonsense of every kind, into every column of every configuration table, by
-- INSERT and by UPDATE: refused with a detail and a hint, or known to be fine.
BEGIN;
SET client_min_messages = error;
SET search_path = public, pg_catalog;
\o /dev/null
CREATE SCHEMA t_nonsense;
CREATE TABLE t_nonsense.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL, card text, amount numeric, memo text,
	outcome text, risk numeric, reasons text[], total numeric GENERATED ALWAYS AS (amount * 2) STORED);
CREATE INDEX ON t_nonsense.payments (card, at);
SELECT agentpay.attach('t_nonsense.payments', 't_nonsense', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome',
	score => 'risk', reasons => 'reasons');
INSERT INTO agentpay.features (point, name, key, aggregate, over, value, filter)
VALUES ('t_nonsense', 'card_sum', '{card}', 'sum', '1 hour', 'amount', 'amount > 0');
INSERT INTO agentpay.lists VALUES ('t_nonsense');
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_nonsense', 'c1');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_nonsense', 'LARGE', 'amount > 1000', 60);
SELECT agentpay.activate('t_nonsense'), agentpay.draft('t_nonsense');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_nonsense', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://t-nonsense.example');
INSERT INTO agentpay.data_policies VALUES ('t_nonsense.payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES ('t_nonsense', 'hour', 5);
INSERT INTO agentpay.outcome_mappings VALUES ('t_nonsense', '1', 'fraud');
INSERT INTO agentpay.exchange_rates VALUES ('XTS', 'XAU', '2026-01-01', 2);
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, price_input_per_million, price_output_per_million)
VALUES ('t_nonsense', 't_nonsense', 'openai', 'https://t-nonsense.example/v1', 'x', '{amount}', 'true', 1, 2);
INSERT INTO agentpay.guardrails (agent, metric, bound) VALUES ('t_nonsense', 'timeout_rate', 0.5);

CREATE TEMP TABLE nonsense AS
SELECT type, value::jsonb FROM (VALUES
	('text', '{null,"\"\"","\" \"","\"No Such\"","\"nosuch\"","\"x;DROP TABLE t\"","\"a\\nb\""}'::text[]),
	('name', '{null,"\"\"","\"nosuch\"","\"total\"","\"ctid\""}'),
	('numeric', '{null,-1,"\"NaN\"","\"Infinity\"","\"-Infinity\"",1e30}'),
	('integer', '{null,-1,0,2147483647}'),
	('bigint', '{null,-1}'),
	('interval', '{null,"\"-1 day\"","\"1000 years\"","\"100000000 days\""}'),
	('jsonb', '{null,[],"\"x\"","{\"x\": 1}","{\"review\": \"NaN\"}"}'),
	('text[]', '{null,[null],"[\"nosuch\"]","[\"total\"]","[[\"amount\", \"card\"], [\"memo\", \"card\"]]"}'),
	('integer[]', '{null,[],[null],[0],[101],"[50, 5]","[[1, 2], [3, 4]]"}'),
	('regclass', '{null,"\"0\"","\"99999999\"","\"pg_class\"","\"agentpay.rules\"","\"pg_views\""}'),
	('boolean', '{null}'),
	('date', '{null,"\"infinity\"","\"-infinity\""}'),
	('timestamp with time zone', '{null,"\"infinity\"","\"-infinity\""}')) AS v (type, nonsense_values),
	unnest(replace(nonsense_values::text, '{null', '{"null"')::text[]) AS value;

-- A valid row of each table, and the column that a new one differs by.
CREATE TEMP TABLE valid AS
SELECT 'decision_points' AS name, to_jsonb(x) AS valid_row, 'point' AS key FROM agentpay.decision_points x WHERE point = 't_nonsense'
UNION ALL SELECT 'verdicts', to_jsonb(x), 'verdict' FROM agentpay.verdicts x WHERE point = 't_nonsense' AND verdict = 'review'
UNION ALL SELECT 'features', to_jsonb(x), 'name' FROM agentpay.features x WHERE point = 't_nonsense'
UNION ALL SELECT 'rulesets', to_jsonb(x), 'version' FROM agentpay.rulesets x WHERE point = 't_nonsense' AND state = 'draft'
UNION ALL SELECT 'rules', to_jsonb(x), 'code' FROM agentpay.rules x WHERE point = 't_nonsense' AND version = 2
UNION ALL SELECT 'lists', to_jsonb(x), 'name' FROM agentpay.lists x WHERE name = 't_nonsense'
UNION ALL SELECT 'list_entries', to_jsonb(x), 'value' FROM agentpay.list_entries x WHERE list = 't_nonsense'
UNION ALL SELECT 'models', to_jsonb(x), 'version' FROM agentpay.models x WHERE name = 't_nonsense'
UNION ALL SELECT 'allowed_endpoints', to_jsonb(x), 'origin' FROM agentpay.allowed_endpoints x WHERE origin LIKE '%t-nonsense%'
UNION ALL SELECT 'agents', to_jsonb(x), 'name' FROM agentpay.agents x WHERE name = 't_nonsense'
UNION ALL SELECT 'data_policies', to_jsonb(x), 'column_name' FROM agentpay.data_policies x WHERE table_name = 't_nonsense.payments'::regclass
UNION ALL SELECT 'budgets', to_jsonb(x), 'name' FROM agentpay.budgets x WHERE name = 't_nonsense'
UNION ALL SELECT 'guardrails', to_jsonb(x), 'metric' FROM agentpay.guardrails x WHERE agent = 't_nonsense'
UNION ALL SELECT 'exchange_rates', to_jsonb(x), 'valid_from' FROM agentpay.exchange_rates x WHERE base = 'XTS'
UNION ALL SELECT 'outcome_mappings', to_jsonb(x), 'reason_code' FROM agentpay.outcome_mappings x WHERE network = 't_nonsense'
UNION ALL SELECT 'kill_switches', to_jsonb(x), 'target' FROM agentpay.kill_switches x WHERE target = 't_nonsense' AND scope = 'agent';

CREATE TEMP TABLE result (name text, operation text, col text, value jsonb, state text, message text, detail text, hint text);
-- The error of a statement that has a row in $1, and in $2 the row before.
CREATE FUNCTION pg_temp.try(statement text, new_row jsonb, old_row jsonb, r INOUT result) LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement USING new_row, old_row;
	RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS r.state = RETURNED_SQLSTATE, r.message = MESSAGE_TEXT, r.detail = PG_EXCEPTION_DETAIL, r.hint = PG_EXCEPTION_HINT;
END$$;
INSERT INTO result
SELECT r.* FROM valid v
  JOIN pg_attribute a ON a.attrelid = ('agentpay.' || v.name)::regclass AND a.attnum > 0
  JOIN nonsense n ON n.type = format_type(a.atttypid, NULL),
  LATERAL pg_temp.try(format('UPDATE agentpay.%1$I x SET %2$I = (jsonb_populate_record(NULL::agentpay.%1$I, $1)).%2$I WHERE to_jsonb(x) = $2', v.name, a.attname),
	jsonb_build_object(a.attname, n.value), v.valid_row, ROW(v.name, 'UPDATE', a.attname, n.value, NULL, NULL, NULL, NULL)::result) AS r
UNION ALL
SELECT r.* FROM valid v
  JOIN pg_attribute a ON a.attrelid = ('agentpay.' || v.name)::regclass AND a.attnum > 0
  JOIN nonsense n ON n.type = format_type(a.atttypid, NULL),
  LATERAL pg_temp.try(format('INSERT INTO agentpay.%1$I SELECT * FROM jsonb_populate_record(NULL::agentpay.%1$I, $1)', v.name),
	-- a row that is fine, but for this
	v.valid_row || jsonb_build_object(v.key, CASE v.key WHEN 'version' THEN '3' WHEN 'origin' THEN '"https://b.example"'
		WHEN 'column_name' THEN '"memo"' WHEN 'reason_code' THEN '"2"' WHEN 'metric' THEN '"error_rate"' WHEN 'valid_from' THEN '"2026-02-01"' ELSE '"fresh"' END::jsonb)
		|| CASE v.name WHEN 'verdicts' THEN '{"rank": 9}' WHEN 'decision_points' THEN '{"outcome_column": null, "score_column": null, "reasons_column": null}'
		   ELSE '{}' END::jsonb || jsonb_build_object(a.attname, n.value),
	NULL, ROW(v.name, 'INSERT', a.attname, n.value, NULL, NULL, NULL, NULL)::result) AS r;
\o
SELECT plan(5);
SELECT cmp_ok(count(*), '>', 800::bigint, 'much was tried') FROM result;
SELECT is_empty($$ SELECT name, operation, col, value, state, message FROM result
	WHERE state <> 'ZZZZZ' AND (hint = '' OR detail = '')
	-- PostgreSQL says where in the expression, and that is enough; a key twice
	AND state NOT IN ('22P02', '42601', '42703', '23505') $$,
	'every refusal has a detail and a hint');
SELECT is_empty($$ SELECT name, operation, col, value, state, message FROM result
	WHERE state ~ '^(XX|21|P0|2[12]004|0A000$)' AND message !~ 'is not supported|is generated' $$,
	'none is an accident');
SELECT is_empty($$ SELECT name, operation, col, value, message || detail || hint FROM result
	WHERE hint ~ '%s|<NULL>' OR message ~ '  |^$' AND value::text !~ '  ' $$, 'messages are whole');
-- What is fine: NULL where there may be none, names of nothing yet, texts for
-- people, times of when somebody did something.
SELECT is_empty($$ SELECT name, operation, col, value FROM result r
	WHERE state = 'ZZZZZ'
	AND NOT (value = 'null' AND NOT (SELECT attnotnull FROM pg_attribute
		WHERE attrelid = ('agentpay.' || r.name)::regclass AND attname = r.col))
	AND (name, col) NOT IN (('agents', 'prompt'), ('agents', 'cost_center'), ('agents', 'model'), ('agents', 'processor'),
		('allowed_endpoints', 'added_by'), ('allowed_endpoints', 'added_at'), ('decision_points', 'attached_at'),
		('kill_switches', 'reason'), ('lists', 'description'), ('list_entries', 'added_by'), ('list_entries', 'added_at'),
		('list_entries', 'reason'), ('list_entries', 'value'), ('models', 'report'), ('models', 'trained_at'), ('models', 'features'),
		('rules', 'priority'), ('rules', 'reason'), ('rules', 'score'), ('rulesets', 'created_by'), ('rulesets', 'created_at'),
		('rulesets', 'description'), ('verdicts', 'description'))
	-- by triggers, whatever is given
	AND (name, col) NOT IN (('kill_switches', 'changed_by'), ('kill_switches', 'changed_at'), ('models', 'version'),
		('rules', 'version'), ('rulesets', 'version'))
	AND NOT (name, operation, value) IN (('budgets', 'INSERT', '"nosuch"'), ('features', 'INSERT', '"nosuch"'), ('lists', 'INSERT', '"nosuch"'),
		('models', 'INSERT', '"nosuch"'), ('agents', 'INSERT', '"nosuch"'), ('decision_points', 'INSERT', '"nosuch"'),
		('outcome_mappings', 'INSERT', '"nosuch"'), ('outcome_mappings', 'UPDATE', '"nosuch"'),
		('rules', 'INSERT', '"nosuch"'), ('rules', 'UPDATE', '"nosuch"'), ('verdicts', 'INSERT', '"nosuch"')) $$,
	'nothing else is accepted');
SELECT * FROM finish();
ROLLBACK;
