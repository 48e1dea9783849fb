-- simulate(): an agent and budgets over payments that were decided.  Expected
-- answers are plain SQL over the payments and over what was recorded of them:
-- the windows of budgets by a recursive query that admits call by call, the
-- rollout's buckets by HMAC-SHA-256 written out (RFC 2104).
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_sim;
CREATE TABLE t_sim.payments (id bigint PRIMARY KEY, card text, amount numeric,
	at timestamptz NOT NULL, memo text);
CREATE INDEX ON t_sim.payments (card, at);
\o /dev/null
SELECT agentpay.attach('t_sim.payments', point => 't_sim', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD',
	subject => 'card');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over)
VALUES ('t_sim', 'card_sum', '{card}', 'sum', 'amount', '2 hours');
INSERT INTO agentpay.rules (point, code, condition, score)
VALUES ('t_sim', 'BIG', 'amount > 80', 60);
SELECT agentpay.activate('t_sim');
INSERT INTO t_sim.payments
SELECT i, 'c' || i % 7, i * 37 % 101,
	   '2026-01-10 00:00+00'::timestamptz + i * interval '5 minutes', 'memo ' || i
  FROM generate_series(1, 240) i;
INSERT INTO agentpay.data_policies VALUES ('t_sim.payments', 'amount', 'financial', 'pass'),
	('t_sim.payments', 'memo', 'free_text', 'pass');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://t-sim.example');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, invoke_when,
	fields, price_input_per_million, price_output_per_million, price_per_call)
VALUES ('t_sim_a', 't_sim', 'openai', 'https://t-sim.example/v1', 'm', 'true',
	'{amount}', 1, 2, 0.01);
\o
-- what the rules said, by hand
CREATE TEMP VIEW said AS
SELECT p.*, CASE WHEN amount > 80 THEN 'review' ELSE 'approve' END AS rules,
	   CASE WHEN amount > 80 THEN 60 ELSE 0 END AS score,
	   sum(amount) OVER (PARTITION BY card ORDER BY at
						 RANGE '119 minutes 59 seconds' PRECEDING) AS card_sum
  FROM t_sim.payments p;
CREATE FUNCTION pg_temp.total(what text, settings jsonb, budgets jsonb DEFAULT '[]', stage text DEFAULT '100')
	RETURNS numeric LANGUAGE plpgsql AS $$
DECLARE
	answer numeric;
BEGIN
	EXECUTE format('SELECT sum(%I)::numeric FROM agentpay.simulate(''t_sim'', $1, $2, $3)', what)
	   INTO answer USING settings, budgets, stage;
	RETURN answer;
END$$;
-- Who is admitted at a cost of 0.01 a call, when in any window of that length
-- no more than so many fit.
CREATE FUNCTION pg_temp.admitted(cap int, length interval) RETURNS TABLE (id bigint, at timestamptz, ok boolean)
	LANGUAGE sql AS $$
	WITH RECURSIVE asked AS (
		SELECT row_number() OVER (ORDER BY s.at) AS n, s.id, s.at FROM said s WHERE s.amount > 50),
	step AS (
		SELECT 0::bigint AS n, NULL::bigint AS id, NULL::timestamptz AS at, NULL::boolean AS ok, '{}'::timestamptz[] AS past
		UNION ALL
		SELECT a.n, a.id, a.at, x.ok, CASE WHEN x.ok THEN s.past || a.at ELSE s.past END
		  FROM step s JOIN asked a ON a.n = s.n + 1
		 CROSS JOIN LATERAL (SELECT count(*) FILTER (WHERE t > a.at - length) < cap AS ok
							   FROM unnest(s.past) AS t) AS x)
	SELECT s.id, s.at, s.ok FROM step s WHERE s.n > 0 $$;
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, message) || CASE WHEN detail = '' OR hint = '' THEN ' | no help' ELSE '' END;
END$$;
SELECT plan(42);

CREATE TEMP TABLE before AS SELECT
	(SELECT count(*) FROM agentpay.decisions) AS decisions,
	(SELECT count(*) FROM agentpay.agent_calls) AS calls,
	(SELECT count(*) FROM agentpay._tasks) AS tasks,
	(SELECT count(*) FROM agentpay._holds) AS holds,
	(SELECT count(*) FROM agentpay.governance_log) AS events,
	(SELECT count(*) FROM agentpay.agents) AS agents;

-- ── who is asked, and what it costs ─────────────────────────────────────────
SELECT results_eq($$SELECT hour, payments, calls, cost, refused, verdict_changes, blocks, escalations, exhausted_at
	FROM agentpay.simulate('t_sim', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0.01, "invoke_when": "amount > 50 AND score < 60 AND verdict = ''approve''"}')$$,
	$$SELECT date_trunc('hour', at, 'UTC'), count(*), count(*) FILTER (WHERE amount > 50 AND rules = 'approve'),
			 0.01 * count(*) FILTER (WHERE amount > 50 AND rules = 'approve'), 0::bigint, 0::bigint, 0::bigint, 0::bigint, NULL::timestamptz
		FROM said GROUP BY 1 ORDER BY 1$$, 'hour by hour: payments, calls and cost');
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "card_sum > 100"}'),
	(SELECT count(*)::numeric FROM said WHERE card_sum > 100), 'a feature that no decision has recorded');
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "1 / (amount - 50) > 0"}'),
	(SELECT count(*)::numeric FROM said WHERE amount > 50), 'where invoke_when fails, nobody is asked');
-- recorded when they were decided: the amount; not the memo
UPDATE t_sim.payments SET amount = amount + 1000, memo = 'later' WHERE id <= 100;
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "amount > 50"}'),
	(SELECT count(*)::numeric FROM generate_series(1, 240) i WHERE i * 37 % 101 > 50), 'a column is read as it was recorded');
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "memo = ''later''"}'),
	100::numeric, 'and as it is now, when it was not');
UPDATE t_sim.payments SET amount = amount - 1000 WHERE id <= 100;
DELETE FROM t_sim.payments WHERE id = 240;
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "amount = 93 AND memo IS NULL AND card_sum IS NULL"}'),
	(SELECT 1::numeric WHERE 240 * 37 % 101 = 93), 'of a row that is gone, what was recorded; the rest is NULL');
INSERT INTO t_sim.payments VALUES (240, 'c2', 93, '2026-01-10 20:00+00', 'memo 240');
SELECT is((SELECT count(*) FROM agentpay.decisions WHERE point = 't_sim' AND kind = 'rules' AND row_id = '240'), 2::bigint, 'and is decided anew when it comes again');
SELECT results_eq($$SELECT sum(payments)::int, sum(calls)::int FROM agentpay.simulate('t_sim',
	'{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 1, "invoke_when": "true"}', '[]', '100', '2026-01-10 01:00+00', '2026-01-10 03:00+00')$$,
	'VALUES (24, 24)', 'since, and before until');
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "true", "sample_percent": 0}'), 0::numeric, 'a sample of none');
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "true"}', '[]', 'off'), 0::numeric, 'off: nobody is asked');
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "true", "position": "review"}'),
	(SELECT count(*)::numeric FROM agentpay.decisions WHERE point = 't_sim' AND verdict = 'review'), 'an adviser is asked when a case opens');
SELECT is(pg_temp.total('calls', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0, "invoke_when": "true", "repeat_percent": 100, "repeats": 3}'), 3 * 241::numeric, 'asked again');
-- the bound: each byte a token, and all of max_output_tokens
SELECT is(pg_temp.total('cost', '{"name": "t_sim_a", "price_input_per_million": 3, "invoke_when": "id = 7"}'),
	-- at 1 USD a million its bytes are what is left of 0.01 a call and 256 tokens at 2
	(SELECT x.upper_bound_cost + 2 * (x.upper_bound_cost - 0.01 - 256 * 0.000002)
	   FROM agentpay.preview_call('t_sim_a', 7) AS x), 'without a record a call costs its bound');

-- ── budgets ─────────────────────────────────────────────────────────────────
DELETE FROM t_sim.payments WHERE id = 240;
CREATE TEMP TABLE asks AS SELECT '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0.01, "invoke_when": "amount > 50"}'::jsonb AS s;
CREATE FUNCTION pg_temp.same(cap int, length interval, budgets jsonb) RETURNS SETOF text LANGUAGE sql AS $$
	WITH want AS (
		SELECT date_trunc('hour', at, 'UTC') AS hour, count(*) FILTER (WHERE ok) AS calls, 0.01 * count(*) FILTER (WHERE ok) AS cost,
			   count(*) FILTER (WHERE NOT ok) AS refused, min(at) FILTER (WHERE NOT ok) AS exhausted_at
		  FROM pg_temp.admitted(cap, length) GROUP BY 1),
	have AS (
		SELECT hour, calls, cost, refused, exhausted_at
		  FROM asks, agentpay.simulate('t_sim', s, budgets, until => '2026-01-10 20:00+00') WHERE calls + refused > 0)
	SELECT 'missing ' || m::text FROM (TABLE want EXCEPT TABLE have) m
	UNION ALL SELECT 'too much ' || t::text FROM (TABLE have EXCEPT TABLE want) t
	UNION ALL SELECT 'nothing refused' WHERE (SELECT sum(refused) FROM have) = 0 $$;
SELECT is_empty($$SELECT * FROM pg_temp.same(3, '1 hour', '[{"period": "hour", "cap_cost": 0.03}]')$$, 'a cap on cost: the hour slides');
SELECT is_empty($$SELECT * FROM pg_temp.same(3, '1 hour', '[{"period": "hour", "cap_cost": 0.0399}]')$$, 'what does not fit is refused, not trimmed');
SELECT is_empty($$SELECT * FROM pg_temp.same(4, '1 hour', '[{"period": "hour", "cap_calls": 4}]')$$, 'a cap on calls');
SELECT is_empty($$SELECT * FROM pg_temp.same(4, '1 hour', '[{"name": "wide", "period": "day", "cap_cost": 50}, {"name": "hour", "scope": "role", "target": "fraud", "period": "hour", "cap_calls": 4}, {"period": "minute", "cap_calls": 1}]')$$,
	'several budgets: the tightest');
SELECT is_empty($$SELECT * FROM pg_temp.same(30, '24 hours', '[{"period": "day", "cap_calls": 30}]')$$, 'a day');
-- every five minutes a call: at the twelfth the first has just left the hour
SELECT is((SELECT sum(refused)::int FROM agentpay.simulate('t_sim', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0.01, "invoke_when": "true"}',
	'[{"period": "hour", "cap_calls": 12}]', until => '2026-01-10 20:00+00')), 0, 'exact at the boundary: twelve an hour fit');
SELECT is((SELECT sum(refused)::int FROM agentpay.simulate('t_sim', '{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 0.01, "invoke_when": "true"}',
	'[{"period": "hour", "cap_calls": 11}]', until => '2026-01-10 20:00+00')), 19, 'with eleven, one in twelve does not');
SELECT is(pg_temp.total('calls', s, '[{"period": "transaction", "cap_cost": 0.005}]'), 0::numeric, 'a payment''s own cap') FROM asks;
SELECT is((SELECT count(*)::int FROM asks, agentpay.simulate('t_sim', s, '[{"period": "transaction", "cap_cost": 0.005}]') WHERE exhausted_at IS NOT NULL), 0, 'which is never exhausted for others');
SELECT is(pg_temp.total('calls', s || '{"repeat_percent": 100, "repeats": 3}', '[{"period": "transaction", "cap_calls": 2}]'),
	(SELECT 2 * count(*)::numeric FROM agentpay.decisions WHERE point = 't_sim' AND amount > 50), 'a payment''s own cap on calls: two of three') FROM asks;
SELECT results_eq($$SELECT sum(calls)::int, min(exhausted_at) FROM asks, agentpay.simulate('t_sim', s, '[{"period": "day", "cap_calls": 10, "on_exhausted": "kill"}]')$$,
	$$SELECT 10, (SELECT at FROM said WHERE amount > 50 ORDER BY at OFFSET 10 LIMIT 1)$$, 'kill: nobody is called any more');
-- three an hour at most; who has to wait is called in turn
SELECT is((SELECT max(calls) <= 6 AND sum(calls) > (SELECT sum(calls) FROM asks, agentpay.simulate('t_sim', s, '[{"period": "hour", "cap_calls": 3}]', until => '2026-01-10 20:00+00'))
	FROM asks, agentpay.simulate('t_sim', s, '[{"period": "hour", "cap_calls": 3, "on_exhausted": "wait"}]', until => '2026-01-10 20:00+00')), true, 'wait: called later, when there is room');

-- ── answers that were recorded ──────────────────────────────────────────────
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE TEMP TABLE c (LIKE agentpay.agent_calls INCLUDING DEFAULTS);
CREATE TEMP TABLE t (LIKE agentpay._tasks INCLUDING DEFAULTS);
CREATE TEMP TABLE answers AS
SELECT r.row_id, r.row_id::int AS i, r.decision_id AS rules_id, r.decided_at, r.verdict AS rules, r.amount,
	   CASE WHEN r.row_id::int % 11 = 2 THEN NULL WHEN r.row_id::int % 3 = 0 THEN 'decline'
			WHEN r.row_id::int % 3 = 1 THEN 'approve' ELSE 'review' END AS answer,
	   CASE WHEN r.row_id::int % 7 = 1 THEN 0.3 ELSE 0.9 END::real AS confidence
  FROM agentpay.decisions r WHERE r.point = 't_sim' AND r.kind = 'rules' AND r.row_id::int <= 200;
INSERT INTO t SELECT 960000000 + i, decided_at, 't_sim', row_id, rules_id, 't_sim_a', 1, NULL, gen_random_uuid(), 0, NULL, 0, 9999, i % 2 = 0, NULL, NULL, pg_current_xact_id() FROM answers;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind, authority, verdict, answer, agent, agent_version, confidence, failure, detail, xid)
SELECT gen_random_uuid(), now(), 't_sim', row_id, now(), CASE WHEN answer IS NULL OR confidence < 0.5 THEN 'fallback' ELSE 'agent' END,
	   'shadow', coalesce(answer, rules), answer, 't_sim_a', 1, CASE WHEN answer IS NOT NULL THEN confidence END,
	   CASE WHEN answer IS NULL THEN 'timeout' WHEN confidence < 0.5 THEN 'low_confidence' END,
	   jsonb_build_object('task_id', 960000000 + i), pg_current_xact_id() FROM answers;
-- with no answer: two attempts, charged at the bound and not at all
INSERT INTO c (call_id, called_at, task_id, attempt, point, row_id, agent, agent_version, cost_center, provider, status,
	input_tokens, cached_tokens, output_tokens, reserved_cost, cost, xid)
SELECT gen_random_uuid(), now(), 960000000 + i, a, 't_sim', row_id, 't_sim_a', 1, 'c', 'openai',
	   CASE WHEN answer IS NULL THEN 'timeout' ELSE 'ok' END,
	   CASE WHEN answer IS NOT NULL THEN 100 END, CASE WHEN answer IS NOT NULL THEN 40 END, CASE WHEN answer IS NOT NULL THEN 30 END,
	   0.5, CASE WHEN answer IS NOT NULL THEN 0.02 WHEN a = 1 THEN 0.5 ELSE 0 END, pg_current_xact_id()
  FROM answers, generate_series(1, 2) a WHERE answer IS NULL OR a = 1;
\o /dev/null
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
SELECT agentpay._append(ROW(c.*)::agentpay.agent_calls) FROM c;
\o
CREATE TEMP TABLE mine AS SELECT '{"name": "t_sim_a", "invoke_when": "id <= 200", "price_input_per_million": 10, "price_output_per_million": 20, "price_cached_input_per_million": 1}'::jsonb AS s;
CREATE TEMP VIEW ranked AS
SELECT *, array_position('{approve,review,decline}', answer) > array_position('{approve,review,decline}', rules) AS tightens,
	   array_position('{approve,review,decline}', answer) < array_position('{approve,review,decline}', rules) AS loosens FROM answers;
SELECT is(pg_temp.total('calls', s), (SELECT count(*) + count(*) FILTER (WHERE answer IS NULL) FROM answers)::numeric, 'attempts that were made') FROM mine;
-- 60 at 10, 40 at 1 and 30 at 20 USD a million, and 0.01 a call
SELECT is(pg_temp.total('cost', s || '{"invoke_when": "id = 3"}'), 0.01124, 'their tokens, at these prices') FROM mine;
-- both prices of tokens are ten times those of the agent
SELECT is(pg_temp.total('cost', s || '{"invoke_when": "id = 2"}'), (SELECT 0.01 + 10 * (upper_bound_cost - 0.01) FROM agentpay.preview_call('t_sim_a', 2)),
	'charged at the bound once, and not at all') FROM mine;
SELECT is(pg_temp.total('verdict_changes', s), (SELECT count(*)::numeric FROM ranked WHERE confidence >= 0.5 AND tightens), 'verdicts that tighten') FROM mine;
SELECT is(pg_temp.total('blocks', s), (SELECT count(*)::numeric FROM ranked WHERE confidence >= 0.5 AND tightens AND answer = 'decline'), 'those that block') FROM mine;
SELECT is(pg_temp.total('escalations', s), (SELECT count(*)::numeric FROM ranked WHERE answer IS NOT NULL AND (confidence < 0.5 OR loosens OR tightens AND answer = 'review')), 'unsure, beyond authority, or a review: to a person') FROM mine;
SELECT is(pg_temp.total('verdict_changes', s || '{"min_confidence": 0.2}'), (SELECT count(*)::numeric FROM ranked WHERE tightens), 'less confidence asked for') FROM mine;
SELECT is(pg_temp.total('verdict_changes', s || '{"authorities": [{"verdict": "decline", "max_amount": 70, "currency": "USD"}, {"verdict": "approve", "may_relax": true}]}'),
	(SELECT count(*)::numeric FROM ranked WHERE confidence >= 0.5 AND (tightens AND answer = 'decline' AND amount <= 70 OR loosens AND i % 2 = 1)), 'by authorities that are given') FROM mine;
SELECT is(pg_temp.total('verdict_changes', s, '[]', 'shadow'), 0::numeric, 'in shadow nothing changes') FROM mine;
SELECT is(pg_temp.total('calls', s, '[]', 'shadow'), pg_temp.total('calls', s), 'but all are asked') FROM mine;
SELECT is(pg_temp.total('calls', s || '{"max_attempts": 1}'), 200::numeric, 'one attempt each') FROM mine;
-- HMAC with a key of 32 bytes, and the first eight bytes of it
CREATE FUNCTION pg_temp.bucket(key bytea, message text, first int, buckets numeric) RETURNS int LANGUAGE sql AS $$
	SELECT trunc(('x' || encode(substr(h, first, 4), 'hex'))::bit(32)::bigint * 4294967296::numeric * buckets / 18446744073709551616
			+ ('x' || encode(substr(h, first + 4, 4), 'hex'))::bit(32)::bigint * buckets / 18446744073709551616)::int
	  FROM (SELECT sha256(o || sha256(i || convert_to(message, 'UTF8'))) AS h
			  FROM (SELECT decode(string_agg(lpad(to_hex((CASE WHEN n < 32 THEN get_byte(key, n) ELSE 0 END) # 92), 2, '0'), '' ORDER BY n), 'hex') AS o,
						   decode(string_agg(lpad(to_hex((CASE WHEN n < 32 THEN get_byte(key, n) ELSE 0 END) # 54), 2, '0'), '' ORDER BY n), 'hex') AS i
					  FROM generate_series(0, 63) n) AS pads) AS hashed $$;
CREATE TEMP TABLE inside AS
SELECT r.row_id, pg_temp.bucket(s.salt, p.card, 1, 100) AS bucket, pg_temp.bucket(s.salt, p.card, 9, 10000) AS holdout
  FROM ranked r JOIN t_sim.payments p ON p.id = r.i CROSS JOIN agentpay._agent_salts s
 WHERE s.agent = 't_sim_a' AND r.confidence >= 0.5 AND r.tightens;
SELECT is(pg_temp.total('verdict_changes', s, '[]', '60'), (SELECT count(*)::numeric FROM inside WHERE bucket < 60), 'the rows inside 60 percent') FROM mine;
SELECT is(pg_temp.total('verdict_changes', s || '{"holdout_percent": 40}'), (SELECT count(*)::numeric FROM inside WHERE holdout >= 4000), 'without the control group') FROM mine;

-- ── a built-in agent answers now ────────────────────────────────────────────
\o /dev/null
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_sim', 'logistic', '{amount}', '{"intercept": -75, "coefficients": [1], "mean": [0], "scale": [1]}');
\o
-- p >= 0.5 where the amount is 75 or more
SELECT is(pg_temp.total('verdict_changes', '{"protocol": "builtin", "model": "t_sim", "invoke_when": "true"}'),
	(SELECT count(*)::numeric FROM agentpay.decisions WHERE point = 't_sim' AND kind = 'rules' AND amount >= 75 AND row_id <> '240'), 'a model''s verdicts');

-- ── what is refused ─────────────────────────────────────────────────────────
CREATE TEMP TABLE wrong (n serial, settings jsonb, budgets jsonb DEFAULT '[]', stage text DEFAULT '100', error text);
INSERT INTO wrong (settings, error) VALUES
	('[]', '22023 | agent_settings must be a JSON object'), ('{"promt": "x"}', '42703 | unknown member of agent_settings: "promt"'),
	('{"invoke_when": "true"}', '23502 | protocol of agent_settings is missing'),
	('{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "price_per_call": 1}', '23502 | invoke_when of agent_settings is missing'),
	('{"protocol": "smtp", "invoke_when": "true"}', '23514 | unknown protocol: ''smtp'''),
	('{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "invoke_when": "true", "price_per_call": 1, "max_attempts": "many"}', '22023 | invalid agent_settings'),
	('{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "invoke_when": "true", "price_per_call": 1, "max_attempts": 99}', '23514 | max_attempts is out of range: 99'),
	('{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "invoke_when": "amuont > 1", "price_per_call": 1}', '42703 | there is no column or feature "amuont"'),
	('{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "invoke_when": "true", "price_per_call": 1, "fields": ["card"]}', '42501 | field "card" of agent "simulated" has no data policy'),
	('{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "invoke_when": "true", "price_per_call": 1, "point": "other"}', '22023 | agent_settings is of point ''other'''),
	('{"protocol": "http", "options": {"answer_paths": {"verdict": "$.verdict", "confidence": "$.sure"}}, "invoke_when": "true", "price_per_call": 1, "authorities": [{"verdict": "shrug"}]}', '23514 | unknown verdict of point "t_sim": ''shrug''');
INSERT INTO wrong (settings, budgets, error) SELECT s, b.budgets, b.error FROM asks, (VALUES
	('{}'::jsonb, '22023 | budgets must be a JSON array'), ('[1]', '22023 | budget 1 must be a JSON object'),
	('[{"period": "week", "cap_cost": 1}]', '23514 | unknown period: ''week'''), ('[{"period": "hour"}]', '23514 | budget "budget_1" has no cap'),
	('[{"period": "hour", "cap_cost": 1, "caps": 2}]', '42703 | unknown member of budget 1: "caps"'),
	('[{"period": "hour", "cap_cost": 1, "scope": "agent", "target": "x"}]', '22023 | budget "budget_1" does not reach the agent: scope agent, target ''x'''),
	('[{"period": "hour", "cap_cost": 1, "name": "a"}, {"period": "day", "cap_cost": 1, "name": "a"}]', '42710 | two budgets are named "a"')) AS b (budgets, error);
INSERT INTO wrong (settings, stage, error) SELECT s, 'live', '22023 | unknown stage: ''live''' FROM asks;
SELECT is_empty($$SELECT n, error, said FROM wrong, pg_temp.refused(format('SELECT * FROM agentpay.simulate(''t_sim'', %L, %L, %L)', settings, budgets, stage)) AS said
	WHERE said IS DISTINCT FROM error$$, 'settings that are wrong, each with its error, its detail and its hint');
SELECT is(pg_temp.refused($$SELECT * FROM asks, agentpay.simulate('t_sim', s, since => '2026-01-02', until => '2026-01-01')$$), '22023 | since is not before until', 'the other way round');
SELECT is((SELECT b - 'decisions' FROM (SELECT to_jsonb(before) AS b FROM before) x),
	jsonb_build_object('calls', (SELECT count(*) - (SELECT count(*) FROM c) FROM agentpay.agent_calls), 'tasks', (SELECT count(*) - (SELECT count(*) FROM t) FROM agentpay._tasks),
	'holds', (SELECT count(*) FROM agentpay._holds), 'events', (SELECT count(*) - 1 FROM agentpay.governance_log), 'agents', (SELECT count(*) FROM agentpay.agents)), 'nothing was written');
SELECT * FROM finish();
ROLLBACK;
