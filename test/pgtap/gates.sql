-- What gates measure: 4,000 answers by arithmetic, and what test/oracle/gates.py
-- says of the same ones; an agent that flips coins.
BEGIN;
SET client_min_messages = warning;
SELECT plan(19);
CREATE SCHEMA t_gates;
CREATE TABLE t_gates.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL,
	amount numeric);
\o /dev/null
SELECT agentpay.attach('t_gates.payments', point => 't_gates', role => 'fraud',
	id => 'id', occurred_at => 'at');
UPDATE agentpay.decision_points SET label_maturity = '1 day'
 WHERE point = 't_gates';
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_gates', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
SELECT a, 't_gates', 'builtin', 't_gates', 'true', 'shadow'
  FROM unnest('{t_agent,t_coin}'::text[]) a;
CREATE TEMP TABLE made AS
SELECT i, i % 5 = 0 AS rules, i % 15 = 0 OR i % 35 = 7 AS fraud,
	   CASE a WHEN 't_agent' THEN i % 5 = 0 AND i % 10 <> 0 OR i % 35 = 7
		ELSE (i * 7919) % 1009 < 504 END AS agent,
	   a AS name, gen_random_uuid() AS agent_id
  FROM generate_series(1, 4000) i, unnest('{t_agent,t_coin}'::text[]) a;
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE TEMP TABLE t (LIKE agentpay._tasks INCLUDING DEFAULTS);
CREATE TEMP TABLE o (LIKE agentpay.outcomes INCLUDING DEFAULTS);
CREATE TEMP TABLE c (LIKE agentpay.agent_calls INCLUDING DEFAULTS);
-- every fourth of those that the rules stop is let through, to learn
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, answer, assignment, propensity, xid)
SELECT gen_random_uuid(), now(), 't_gates', i, now() - interval '3 days',
	   'rules', 'live', CASE WHEN rules AND NOT explored THEN 'decline'
	   ELSE 'approve' END, CASE WHEN explored THEN 'decline' END,
	   CASE WHEN explored THEN 'explore' ELSE 'treatment' END,
	   CASE WHEN rules THEN 0.25 ELSE 1 END, pg_current_xact_id()
  FROM (SELECT m.*, m.rules AND (i / 5) % 4 = 0 AS explored FROM made m
		 WHERE name = 't_agent') AS m;
INSERT INTO t (task_id, created_at, point, row_id, decision_id, agent,
	agent_version, idempotency_key, repeat_no, forced, xid)
SELECT 950000000 + m.i * 2 + (m.name = 't_coin')::int,
	   -- 50 rows a day for 22 days, the first and the last of them incomplete
	   CASE WHEN m.i <= 1100 THEN now() - interval '1 day' * ((m.i - 1) / 50)
	   ELSE now() END, 't_gates', m.i, d.decision_id, m.name, 1, gen_random_uuid(),
	   0, false, pg_current_xact_id()
  FROM made m JOIN d ON d.row_id = m.i::text;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, answer, agent, agent_version, detail, xid)
SELECT m.agent_id, now(), 't_gates', m.i, now() - interval '3 days', 'agent',
	   'shadow', v.verdict, v.verdict, m.name, 1,
	   jsonb_build_object('task_id', 950000000 + m.i * 2 + (m.name = 't_coin')::int),
	   pg_current_xact_id()
  FROM made m CROSS JOIN LATERAL (SELECT CASE WHEN m.agent THEN 'decline'
	ELSE 'approve' END AS verdict) AS v;
INSERT INTO o
SELECT gen_random_uuid(), now(), 't_gates', i,
	   CASE WHEN fraud THEN 'fraud' ELSE 'legit' END, 'import', NULL, now(),
	   session_user, pg_current_xact_id() FROM made WHERE name = 't_agent';
-- Only what was let through has a label; a quarter of what the rules stop was.
CREATE TEMP TABLE stopped AS
SELECT row_id FROM d WHERE kind = 'rules' AND verdict = 'decline';
-- day k before today: 0.001 and k times 0.0001 USD a row
INSERT INTO c (call_id, called_at, task_id, attempt, decision_id, point, row_id,
	agent, agent_version, cost_center, provider, status, cost, latency_ms, xid)
SELECT gen_random_uuid(), now(), 950000000 + i * 2, 1, agent_id, 't_gates', i,
	   name, 1, 'c', 'openai', 'ok',
	   CASE WHEN i <= 1100 THEN 0.001 + 0.0001 * ((i - 1) / 50) ELSE 0 END, i,
	   pg_current_xact_id() FROM made WHERE name = 't_agent';
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t;
SELECT agentpay._append(ROW(o.*)::agentpay.outcomes) FROM o
 WHERE row_id NOT IN (SELECT row_id FROM stopped);
SELECT agentpay._append(ROW(c.*)::agentpay.agent_calls) FROM c;
ANALYZE agentpay.decisions, agentpay._tasks, agentpay.outcomes, agentpay.agent_calls;
\o
CREATE FUNCTION pg_temp.evidence(agent text) RETURNS TABLE (metric text,
	value numeric, samples bigint) LANGUAGE sql AS $$
	SELECT m, e.value, e.samples FROM unnest('{accuracy_vs_rules,fpr_vs_rules,fnr_vs_rules}'::text[])
	  WITH ORDINALITY AS u (m, o), agentpay._gate_evidence(agent, 1, m, 0.95) AS e
	 ORDER BY o $$;

SELECT results_eq($$ SELECT * FROM pg_temp.evidence('t_agent') $$,
	$$ VALUES ('accuracy_vs_rules', 0.069284, 3400::bigint), ('fpr_vs_rules', -0.126214, 3219), ('fnr_vs_rules', 0.521084, 181) $$, 'weighed by propensity: the agent');
SELECT results_eq($$ SELECT * FROM pg_temp.evidence('t_coin') $$,
	$$ VALUES ('accuracy_vs_rules', -0.364112, 3400::bigint), ('fpr_vs_rules', 0.376354, 3219), ('fnr_vs_rules', 0.340035, 181) $$, 'and a coin, which stays far below the rules');

-- And now every label is known.
\o /dev/null
SELECT agentpay._append(ROW(o.*)::agentpay.outcomes) FROM o
 WHERE row_id IN (SELECT row_id FROM stopped);
\o
UPDATE agentpay.decision_points SET labels_complete = true WHERE point = 't_gates';
SELECT results_eq($$ SELECT * FROM pg_temp.evidence('t_agent') $$,
	$$ VALUES ('accuracy_vs_rules', 0.051299, 4000::bigint), ('fpr_vs_rules', -0.065261, 3619), ('fnr_vs_rules', 0.128117, 381) $$, 'every label known: the agent');
SELECT results_eq($$ SELECT * FROM pg_temp.evidence('t_coin') $$,
	$$ VALUES ('accuracy_vs_rules', -0.357714, 4000::bigint), ('fpr_vs_rules', 0.372234, 3619), ('fnr_vs_rules', 0.275715, 381) $$, 'and a coin');
SELECT results_eq($$ SELECT value, samples FROM agentpay._gate_evidence('t_agent', 1, 'labelled_samples', 0.95) $$,
	'VALUES (4000::numeric, 4000::bigint)', 'labelled samples');

-- Costs: of the 22 days the first and today are incomplete.
SELECT results_eq($$ SELECT value, samples FROM agentpay._gate_evidence('t_agent', 1, 'cost_variation', 0.95) $$,
	'VALUES (0.288589, 1000::bigint)', 'variation of the daily cost');
-- 50 rows times 22 days: 1,100 × 0.001 + 50 × 0.0001 × (0 + … + 21) = 2.255
SELECT results_eq($$ SELECT value, samples FROM agentpay._gate_evidence('t_agent', 1, 'cost_per_decision', 0.95) $$,
	'VALUES (0.000563750, 4000::bigint)', '2.255 / 4000');
-- of 1 … 4,000: 1 + 0.95 × 3999
SELECT results_eq($$ SELECT value, samples FROM agentpay._gate_evidence('t_agent', 1, 'p95_latency_ms', 0.95) $$,
	'VALUES (3800.050, 4000::bigint)', 'p95 latency');
SELECT is((SELECT samples FROM agentpay._gate_evidence('t_coin', 1, 'agreement', 0.95)), 4000::bigint, 'pairs');
SELECT is((SELECT value FROM agentpay._gate_evidence('t_coin', 1, 'agreement', 0.95)),
	(SELECT agreement_low FROM agentpay.shadow_vs_rules WHERE agent = 't_coin' AND compared = 'answer'),
	'agreement: the lower end of its interval');
SELECT results_eq($$ SELECT value, samples FROM agentpay._gate_evidence('t_agent', 1, 'coverage', 0.95) $$,
	'VALUES (1.000000, 4000::bigint)', 'coverage');
SELECT is((SELECT value FROM agentpay._gate_evidence('t_agent', 1, 'inference_variance', 0.95)), NULL, 'nothing was asked again');
SELECT is((SELECT value FROM agentpay._gate_evidence('t_agent', 1, 'compliance', 0.95)), NULL, 'compliance, before anybody has validated it');

-- ── pass, fail, hold ────────────────────────────────────────────────────────
-- The figures above as bounds: reached is passed, missed by the last digit is
-- not, and by one sample too few nothing is told; nor where there is no figure.
CREATE TEMP TABLE bounds (metric text, bound numeric, samples int, step numeric);
INSERT INTO bounds VALUES ('labelled_samples', 4000, 4000, 1), ('accuracy_vs_rules', 0.051299, 4000, 0.000001),
	('fpr_vs_rules', -0.065261, 3619, -0.000001), ('fnr_vs_rules', 0.128117, 381, -0.000001), ('coverage', 1, 4000, 0.000001),
	('cost_variation', 0.288589, 1000, -0.000001), ('cost_per_decision', 0.00056375, 4000, -0.00000001), ('p95_latency_ms', 3800.05, 4000, -0.01),
	('agreement', (SELECT agreement_low FROM agentpay.shadow_vs_rules WHERE agent = 't_agent' AND compared = 'answer'), 4000, 0.000001),
	('inference_variance', 1, 0, -1), ('calibration_error', 1000, 0, -1), ('compliance', -1000, 0, 1), ('sign_off', 1, 0, 1);
INSERT INTO agentpay.gates (agent, metric, bound, min_samples) SELECT 't_agent', metric, bound, samples FROM bounds;
CREATE FUNCTION pg_temp.states() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(state || ' ' || metrics, '; ' ORDER BY state)
	  FROM (SELECT state, string_agg(metric, ' ' ORDER BY metric) AS metrics FROM agentpay.rollout_status
			 WHERE agent = 't_agent' AND kind = 'gate' GROUP BY state) AS s $$;
SELECT is(pg_temp.states(),
	'hold calibration_error compliance inference_variance sign_off; pass accuracy_vs_rules agreement cost_per_decision cost_variation coverage fnr_vs_rules fpr_vs_rules labelled_samples p95_latency_ms',
	'a bound that is reached is passed; without a figure, or a signature, nothing is');
UPDATE agentpay.gates g SET bound = b.bound + b.step FROM bounds b WHERE g.agent = 't_agent' AND g.metric = b.metric;
SELECT is(pg_temp.states(),
	'fail accuracy_vs_rules agreement cost_per_decision cost_variation coverage fnr_vs_rules fpr_vs_rules p95_latency_ms; hold calibration_error compliance inference_variance labelled_samples sign_off',
	'one that is missed by the last digit fails; more labels may come');
UPDATE agentpay.gates g SET bound = b.bound, min_samples = b.samples + 1 FROM bounds b WHERE g.agent = 't_agent' AND g.metric = b.metric;
SELECT is(pg_temp.states(),
	'hold accuracy_vs_rules agreement calibration_error compliance cost_per_decision cost_variation coverage fnr_vs_rules fpr_vs_rules inference_variance labelled_samples p95_latency_ms sign_off',
	'with a sample too few all hold');
UPDATE agentpay.gates g SET min_samples = 0 WHERE g.agent = 't_agent';
UPDATE agentpay.decision_points SET environment = 'synthetic' WHERE point = 't_gates';
SELECT is(pg_temp.states() !~ 'pass', true, 'of made-up payments nothing passes');
UPDATE agentpay.decision_points SET environment = 'production' WHERE point = 't_gates';

-- Without exploring nobody knows what the rules kept from happening: a coin
-- looks no worse than anybody, and nothing passes.
UPDATE agentpay.decision_points SET environment = 'synthetic' WHERE point = 't_gates';
SELECT is((SELECT count(value) FROM pg_temp.evidence('t_agent')), 0::bigint, 'made-up payments are no evidence');
UPDATE agentpay.decision_points SET environment = 'production',
	labels_complete = false WHERE point = 't_gates';
\o /dev/null
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, propensity, xid)
VALUES (gen_random_uuid(), now(), 't_gates', 'stopped', now() - interval '3 days',
	'rules', 'live', 'decline', 0, pg_current_xact_id());
INSERT INTO t (task_id, created_at, point, row_id, decision_id, agent,
	agent_version, idempotency_key, repeat_no, forced, xid)
SELECT 960000000, now(), 't_gates', 'stopped', decision_id, 't_coin', 1,
	   gen_random_uuid(), 0, false, xid FROM d WHERE row_id = 'stopped';
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, answer, agent, agent_version, detail, xid)
VALUES (gen_random_uuid(), now(), 't_gates', 'stopped', now() - interval '3 days',
	'agent', 'shadow', 'approve', 'approve', 't_coin', 1, '{"task_id": 960000000}',
	pg_current_xact_id());
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d WHERE row_id = 'stopped';
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t WHERE row_id = 'stopped';
\o
SELECT is((SELECT count(value) FROM pg_temp.evidence('t_coin')), 0::bigint,
	'on labels of what was let through alone, a coin is not judged');
SELECT * FROM finish();
ROLLBACK;
