-- four_eyes beyond rules: switches, caps, gates, guardrails and four_eyes
-- itself.  What loosens takes two logins, what tightens takes one.
BEGIN;
SET client_min_messages = warning;
CREATE ROLE t_fec_a SUPERUSER;
CREATE ROLE t_fec_b SUPERUSER;
CREATE SCHEMA t_fec;
CREATE TABLE t_fec.payments (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, outcome text);
\o /dev/null
SELECT agentpay.attach('t_fec.payments', point => p, role => r, id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'USD') FROM (VALUES ('t_fec', 'fraud'), ('t_fec_free', 'dispute')) AS v (p, r);
UPDATE agentpay.decision_points SET four_eyes = true WHERE point = 't_fec';
INSERT INTO agentpay.allowed_endpoints VALUES ('https://llm.example') ON CONFLICT DO NOTHING;
INSERT INTO agentpay.data_policies VALUES ('t_fec.payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost, cap_calls) VALUES
	('t_fec_h', 'point', 't_fec', 'hour', 5, NULL), ('t_fec_t', 'point', 't_fec', 'transaction', 1, 10),
	('t_fec_c', 'cost_center', 't_fec_cc', 'hour', 5, NULL), ('t_fec_r', 'role', 'fraud', 'day', 5, NULL),
	('t_fec_a', 'all', '*', 'day', 5, NULL), ('t_fec_o', 'point', 't_fec_free', 'hour', 5, NULL),
	('t_fec_x', 'point', 't_fec', 'day', NULL, 7), ('t_fec_d', 'point', 't_fec', 'minute', 5, NULL);
UPDATE agentpay.budgets SET on_exhausted = 'kill' WHERE name = 't_fec_x';
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, stage,
	price_input_per_million, price_output_per_million, cost_center)
VALUES ('t_fec', 't_fec', 'openai', 'https://llm.example/v1', 'm', '{amount}', 'true', 'shadow', 1, 1, 't_fec_cc');
INSERT INTO agentpay.gates (agent, metric, bound) VALUES ('t_fec', 'agreement', 0.9), ('t_fec', 'p95_latency_ms', 800);
INSERT INTO agentpay.guardrails (agent, metric, bound, action) VALUES
	('t_fec', 'error_rate', 0.2, 'roll_back'), ('*', 'decline_rate', 0.3, 'roll_back');
\o
-- Rows that a statement by a login changes; it warns, so not a word of that.
CREATE FUNCTION pg_temp.by(login text, statement text) RETURNS bigint LANGUAGE plpgsql
	SET client_min_messages = error AS $$
DECLARE n bigint;
BEGIN
	EXECUTE format('SET SESSION AUTHORIZATION %I', login);
	EXECUTE statement;
	GET DIAGNOSTICS n = ROW_COUNT;
	EXECUTE 'RESET SESSION AUTHORIZATION';
	RETURN n;
END$$;
-- Asked by a, asked again by a, then by b: what each of them changed.
CREATE FUNCTION pg_temp.thrice(statement text) RETURNS text LANGUAGE sql AS $$
	SELECT pg_temp.by('t_fec_a', statement) || ' ' || pg_temp.by('t_fec_a', statement) || ' ' || pg_temp.by('t_fec_b', statement) $$;
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE message text; hint text; detail text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT, detail = PG_EXCEPTION_DETAIL;
	RETURN concat_ws(' | ', SQLSTATE, message, detail, hint);
END$$;
SELECT plan(84);

-- ── kill switches ───────────────────────────────────────────────────────────
SELECT is(pg_temp.by('t_fec_a', format($$UPDATE agentpay.kill_switches SET engaged = true, reason = 'odd' WHERE scope = %L AND target = %L$$, s, t)), 1::bigint,
	'engaged at once by one login: ' || s)
  FROM (VALUES ('agent', 't_fec'), ('point', 't_fec'), ('point', 't_fec_free'), ('role', 'fraud'), ('all', '*')) AS v (s, t);
SELECT is(pg_temp.by('t_fec_a', $$UPDATE agentpay.kill_switches SET engaged = true, reason = 'very odd' WHERE target = 't_fec' AND scope = 'agent'$$), 1::bigint,
	'its reason may change');
SELECT is(pg_temp.thrice(format('UPDATE agentpay.kill_switches SET engaged = false WHERE scope = %L AND target = %L', s, t)), '0 0 1',
	'opened by two: ' || s)
  FROM (VALUES ('agent', 't_fec'), ('point', 't_fec'), ('role', 'fraud'), ('all', '*')) AS v (s, t);
SELECT is(pg_temp.by('t_fec_b', $$UPDATE agentpay.kill_switches SET engaged = false WHERE target = 't_fec_free'$$), 1::bigint,
	'a point without four_eyes needs but one');
SELECT results_eq($$SELECT actor::text COLLATE "default", action, reason, after ->> 'asked_by' FROM agentpay.governance_log
	WHERE object = 'agent.t_fec' AND object_kind = 'kill_switch' AND action <> 'insert' ORDER BY logged_at, event_id$$,
	$$VALUES ('t_fec_a', 'update', 'odd', NULL::text COLLATE "default"), ('t_fec_a', 'update', 'very odd', NULL), ('t_fec_a', 'ask', 'very odd', NULL),
	('t_fec_a', 'ask', 'very odd', NULL), ('t_fec_b', 'approve', 'very odd', 't_fec_a'), ('t_fec_b', 'update', 'very odd', NULL)$$, 'who did what');
-- what was asked before it was engaged again is void
SELECT is(pg_temp.by('t_fec_a', $$UPDATE agentpay.kill_switches SET engaged = true WHERE target = 't_fec' AND scope = 'agent'$$), 1::bigint, 'engaged again');
SELECT is(pg_temp.by('t_fec_b', $$UPDATE agentpay.kill_switches SET engaged = false WHERE target = 't_fec' AND scope = 'agent'$$), 0::bigint,
	'an old request does not open it');
SELECT is(pg_temp.by('t_fec_b', $$UPDATE agentpay.kill_switches SET engaged = true, reason = 'another' WHERE target = 't_fec' AND scope = 'agent'$$), 1::bigint, 'and for another reason');
SELECT is(pg_temp.by('t_fec_a', $$UPDATE agentpay.kill_switches SET engaged = false WHERE target = 't_fec' AND scope = 'agent'$$), 0::bigint,
	'nor does a request from before that');
SET SESSION AUTHORIZATION t_fec_a;
SET ROLE t_fec_b;
SET client_min_messages = error;
SELECT is_empty($$UPDATE agentpay.kill_switches SET engaged = false WHERE target = 't_fec' AND scope = 'agent' RETURNING 1$$, 'SET ROLE makes no other login');
SET client_min_messages = warning;
RESET SESSION AUTHORIZATION;
SELECT is(pg_temp.by('t_fec_b', $$UPDATE agentpay.kill_switches SET engaged = false WHERE target = 't_fec' AND scope = 'agent'$$), 1::bigint,
	'another login does');

-- ── promote() of an agent that is killed ────────────────────────────────────
UPDATE agentpay.kill_switches SET engaged = true, reason = 'odd' WHERE target = 't_fec' AND scope = 'agent';
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('t_fec')$$),
	'AP005 | agent "t_fec" cannot go from stage shadow to 5: % | %kill switch agent t_fec: engaged by % at %: odd% | When what it was engaged for is mended: UPDATE agentpay.kill_switches SET engaged = false WHERE scope = ''agent'' AND target = ''t_fec'' RETURNING *;',
	'a killed agent is not promoted');
SELECT results_eq($$SELECT metric, direction, bound, value, samples, state FROM agentpay.rollout_status WHERE agent = 't_fec' AND kind = 'kill_switch'$$,
	$$VALUES ('engaged', 'max', 0::numeric, 1::numeric, 1::bigint, 'fail')$$, 'rollout_status says so before anyone asks');
UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all';
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_fec';
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('t_fec')$$), 'AP005 | agent "t_fec" cannot go from stage off to shadow: % | kill switch agent t_fec: %kill switch all: % | %',
	'not even to shadow');
SELECT alike(pg_temp.refused('DELETE FROM agentpay.agents WHERE name = ''t_fec'''), '55000 | agent "t_fec" cannot be removed while its kill switch is engaged | %',
	'it does not go by removing the agent');
SELECT is(pg_temp.thrice('UPDATE agentpay.kill_switches SET engaged = false WHERE engaged'), '0 0 2', 'several switches by one statement');
SELECT is(agentpay.promote('t_fec'), 'shadow', 'opened, it is promoted');
SELECT is_empty($$SELECT FROM agentpay.rollout_status WHERE kind = 'kill_switch'$$, 'and nothing is said of switches');

-- ── caps ────────────────────────────────────────────────────────────────────
SELECT is(pg_temp.by('t_fec_a', s), 1::bigint, 'tightened at once: ' || s)
  FROM unnest(ARRAY[
	$$UPDATE agentpay.budgets SET cap_cost = 4.5 WHERE name = 't_fec_h'$$,
	$$UPDATE agentpay.budgets SET cap_calls = 9, cap_cost = 0.9 WHERE name = 't_fec_t'$$,
	$$UPDATE agentpay.budgets SET cap_calls = 100 WHERE name = 't_fec_h'$$,
	$$UPDATE agentpay.budgets SET alert_percent = 90 WHERE name = 't_fec_h'$$,
	$$UPDATE agentpay.budgets SET on_exhausted = 'kill' WHERE name = 't_fec_h'$$,
	$$UPDATE agentpay.budgets SET cap_cost = 50 WHERE name = 't_fec_o'$$,
	$$INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('t_fec_new', 'point', 't_fec', 'month', 1)$$]) AS s;
SELECT is(pg_temp.thrice(s), '0 0 1', 'by two: ' || s)
  FROM unnest(ARRAY[
	$$UPDATE agentpay.budgets SET cap_cost = 4.51 WHERE name = 't_fec_h'$$,
	$$UPDATE agentpay.budgets SET cap_calls = 10, cap_cost = 0.5 WHERE name = 't_fec_t'$$,
	$$UPDATE agentpay.budgets SET cap_calls = NULL, cap_cost = 9 WHERE name = 't_fec_x'$$,
	$$UPDATE agentpay.budgets SET on_exhausted = 'fallback' WHERE name = 't_fec_x'$$,
	$$UPDATE agentpay.budgets SET cap_cost = 6 WHERE name = 't_fec_c'$$,
	$$UPDATE agentpay.budgets SET cap_cost = 6 WHERE name = 't_fec_r'$$,
	$$UPDATE agentpay.budgets SET cap_cost = 6 WHERE name = 't_fec_a'$$,
	$$UPDATE agentpay.budgets SET enabled = false WHERE name = 't_fec_d'$$,
	$$UPDATE agentpay.budgets SET scope = 'point', target = 't_fec_free' WHERE name = 't_fec_r'$$,
	$$DELETE FROM agentpay.budgets WHERE name = 't_fec_new'$$]) AS s;
SELECT is(pg_temp.by('t_fec_a', $$UPDATE agentpay.budgets SET cap_cost = 7 WHERE name = 't_fec_h'$$)
	+ pg_temp.by('t_fec_b', $$UPDATE agentpay.budgets SET cap_cost = 8 WHERE name = 't_fec_h'$$), 0::bigint, 'two who ask for different caps');
SELECT is((SELECT cap_cost FROM agentpay.budgets WHERE name = 't_fec_h'), 4.51, 'change nothing');

-- ── what a cap lets through: prices, and whose cap it is ────────────────────
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('t_fec_cc', 'cost_center', 't_fec_cc', 'day', 5);
UPDATE agentpay.agents SET price_cached_input_per_million = 1, price_per_call = 0.01 WHERE name = 't_fec';
SELECT is(pg_temp.by('t_fec_a', s), 1::bigint, 'at once: ' || s)
  FROM unnest(ARRAY[
	$$UPDATE agentpay.agents SET price_input_per_million = 2, price_output_per_million = 3 WHERE name = 't_fec'$$,
	$$UPDATE agentpay.agents SET price_per_call = 0.02, timeout_ms = 9000 WHERE name = 't_fec'$$,
	-- what is cached then costs what is not
	$$UPDATE agentpay.agents SET price_cached_input_per_million = NULL WHERE name = 't_fec'$$]) AS s;
SELECT is(pg_temp.thrice(s), '0 0 1', 'by two: ' || s)
  FROM unnest(ARRAY[
	$$UPDATE agentpay.agents SET price_input_per_million = 1.99 WHERE name = 't_fec'$$,
	$$UPDATE agentpay.agents SET price_input_per_million = 9, price_output_per_million = 2.9 WHERE name = 't_fec'$$,
	$$UPDATE agentpay.agents SET price_cached_input_per_million = 8 WHERE name = 't_fec'$$,
	$$UPDATE agentpay.agents SET price_per_call = NULL WHERE name = 't_fec'$$,
	$$UPDATE agentpay.agents SET cost_center = 't_fec_other' WHERE name = 't_fec'$$]) AS s;
SELECT is(pg_temp.by('t_fec_a', $$UPDATE agentpay.agents SET cost_center = 't_fec_cc' WHERE name = 't_fec'$$), 1::bigint, 'out of a center without a cap: one');
SELECT is((SELECT (price_input_per_million, price_output_per_million, price_cached_input_per_million, price_per_call, cost_center, stage)::text
	FROM agentpay.agents WHERE name = 't_fec'), '(9,2.9,8,,t_fec_cc,shadow)', 'as the second login left it, and its stage is what it was');
SELECT is(pg_temp.by('t_fec_a', $$INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, price_input_per_million, price_output_per_million)
	VALUES ('t_fec', 't_fec', 'openai', 'https://llm.example/v1', 'm', '{amount}', 'true', 1, 1)
	ON CONFLICT (name) DO UPDATE SET price_input_per_million = excluded.price_input_per_million$$), 0::bigint, 'ON CONFLICT DO UPDATE is an UPDATE');
SELECT is((SELECT price_input_per_million FROM agentpay.agents WHERE name = 't_fec'), 9::numeric, 'and waits');
-- deleted and made anew: the last prices count
SAVEPOINT here;
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_fec';
SELECT is(pg_temp.by('t_fec_a', $$DELETE FROM agentpay.agents WHERE name = 't_fec'$$), 1::bigint, 'an agent is deleted by one');
SELECT is(pg_temp.thrice($$INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, price_input_per_million, price_output_per_million)
	VALUES ('t_fec', 't_fec', 'openai', 'https://llm.example/v1', 'm', '{amount}', 'true', 1, 1)$$), '0 0 1', 'and made anew at lower prices by two');
SELECT is(pg_temp.by('t_fec_a', $$INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, price_input_per_million, price_output_per_million)
	VALUES ('t_fec_2', 't_fec', 'openai', 'https://llm.example/v1', 'm', '{amount}', 'true', 1, 1)$$), 1::bigint, 'a new one is made by one');
ROLLBACK TO here;

-- ── exchange rates: what is past ────────────────────────────────────────────
INSERT INTO agentpay.exchange_rates VALUES ('USD', 'ZAR', (now() AT TIME ZONE 'UTC')::date, 0.05);
SELECT is(pg_temp.by('t_fec_a', $$INSERT INTO agentpay.exchange_rates VALUES ('USD', 'ZAR', (now() AT TIME ZONE 'UTC')::date + 1, 0.06)$$), 1::bigint, 'a rate to come: one');
SELECT is(pg_temp.by('t_fec_a', $$INSERT INTO agentpay.exchange_rates VALUES ('XAU', 'ZAR', '2020-01-01', 0.06)$$), 1::bigint, 'no point counts in that: one');
SELECT is(pg_temp.thrice(s), '0 0 1', 'by two: ' || s)
  FROM unnest(ARRAY[
	$$INSERT INTO agentpay.exchange_rates VALUES ('USD', 'ZAR', (now() AT TIME ZONE 'UTC')::date - 1, 0.04)$$,
	$$UPDATE agentpay.exchange_rates SET rate = 0.03 WHERE base = 'USD' AND currency = 'ZAR' AND valid_from < now() - interval '1 day'$$,
	$$INSERT INTO agentpay.exchange_rates VALUES ('USD', 'ZAR', (now() AT TIME ZONE 'UTC')::date, 0.01)
		ON CONFLICT (base, currency, valid_from) DO UPDATE SET rate = excluded.rate$$,
	$$UPDATE agentpay.exchange_rates SET base = 'USD' WHERE base = 'XAU' AND currency = 'ZAR'$$,
	$$DELETE FROM agentpay.exchange_rates WHERE base = 'USD' AND currency = 'ZAR' AND valid_from = '2020-01-01'$$]) AS s;
SELECT is(pg_temp.by('t_fec_a', $$UPDATE agentpay.exchange_rates SET rate = rate WHERE currency = 'ZAR'$$), 3::bigint, 'the same rate again: one');

-- ── gates and guardrails ────────────────────────────────────────────────────
SELECT is(pg_temp.by('t_fec_a', s), 1::bigint, 'tightened at once: ' || s)
  FROM unnest(ARRAY[
	$$UPDATE agentpay.gates SET bound = 0.95, min_samples = 300 WHERE agent = 't_fec' AND metric = 'agreement'$$,
	$$UPDATE agentpay.gates SET bound = 700 WHERE agent = 't_fec' AND metric = 'p95_latency_ms'$$,
	$$UPDATE agentpay.guardrails SET bound = 0.1, action = 'kill' WHERE agent = 't_fec' AND metric = 'error_rate'$$,
	$$INSERT INTO agentpay.guardrails (agent, metric, bound, action) VALUES ('t_fec', 'timeout_rate', 0.9, 'alert')$$]) AS s;
SELECT is(pg_temp.thrice(s), '0 0 1', 'by two: ' || s)
  FROM unnest(ARRAY[
	$$UPDATE agentpay.gates SET bound = 0.94 WHERE agent = 't_fec' AND metric = 'agreement'$$,
	$$UPDATE agentpay.gates SET bound = 701 WHERE agent = 't_fec' AND metric = 'p95_latency_ms'$$,
	$$UPDATE agentpay.gates SET min_samples = 10 WHERE agent = 't_fec' AND metric = 'agreement'$$,
	$$DELETE FROM agentpay.gates WHERE agent = 't_fec' AND metric = 'agreement'$$,
	$$INSERT INTO agentpay.gates (agent, metric, bound, enabled) VALUES ('t_fec', 'sign_off', 1, false)$$,
	$$UPDATE agentpay.guardrails SET bound = 0.11 WHERE agent = 't_fec' AND metric = 'error_rate'$$,
	$$UPDATE agentpay.guardrails SET action = 'alert' WHERE agent = 't_fec' AND metric = 'error_rate'$$,
	$$INSERT INTO agentpay.guardrails (agent, metric, bound, action) VALUES ('t_fec', 'decline_rate', 0.3, 'alert')$$,
	$$DELETE FROM agentpay.guardrails WHERE agent = 't_fec' AND metric = 'error_rate'$$]) AS s;

-- ── a request is good for 24 hours ──────────────────────────────────────────
CREATE FUNCTION pg_temp.asked(ago interval) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now() - ago, 't_fec_a', 'ask', 'gate', '*.labelled_samples', NULL,
		to_jsonb(g), to_jsonb(g) || '{"bound": 400}', NULL)::agentpay.governance_log))
	  FROM agentpay.gates g WHERE g.agent = '*' AND g.metric = 'labelled_samples' $$;
SELECT pg_temp.asked('24 hours 1 minute') AS one \gset
SELECT is(pg_temp.by('t_fec_b', $$UPDATE agentpay.gates SET bound = 400 WHERE agent = '*' AND metric = 'labelled_samples'$$), 0::bigint, 'an old request is none');
SELECT pg_temp.asked('23 hours 59 minutes') AS one \gset
SELECT is(pg_temp.by('t_fec_b', $$UPDATE agentpay.gates SET bound = 400 WHERE agent = '*' AND metric = 'labelled_samples'$$), 1::bigint, 'one of the last day is');

-- ── four_eyes itself ────────────────────────────────────────────────────────
SELECT is(pg_temp.thrice($$UPDATE agentpay.decision_points SET four_eyes = false WHERE point = 't_fec'$$), '0 0 1', 'to end it takes two');
SELECT is(pg_temp.by('t_fec_a', $$UPDATE agentpay.budgets SET cap_cost = 50 WHERE name = 't_fec_h'$$), 1::bigint, 'then one is enough');
SELECT * FROM finish();
ROLLBACK;
