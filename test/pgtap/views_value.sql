-- cost_to_value_weekly: payments whose losses are added up by hand, with a
-- margin of 10 %, 15 USD for a dispute and 5 USD for a review.
BEGIN;
SET client_min_messages = warning;
SELECT plan(13);
CREATE SCHEMA t_value;
CREATE TABLE t_value.payments (id text PRIMARY KEY, at timestamptz NOT NULL, amount numeric);
\o /dev/null
SET LOCAL agentpay.false_decline_margin = 10;
SET LOCAL agentpay.dispute_fee = 15;
SET LOCAL agentpay.review_cost = 5;
SELECT agentpay.attach('t_value.payments', point => p, role => 'fraud', id => 'id', occurred_at => 'at')
  FROM unnest('{t_value,t_value_eur}'::text[]) AS p;
UPDATE agentpay.decision_points SET label_maturity = '1 day', time_zone = 'UTC' WHERE point = 't_value';
UPDATE agentpay.decision_points SET label_maturity = '1 day', time_zone = 'Europe/Berlin', base_currency = 'EUR'
 WHERE point = 't_value_eur';
INSERT INTO agentpay.exchange_rates (base, currency, valid_from, rate)
VALUES ('EUR', 'USD', '2026-01-01', 0.8), ('EUR', 'USD', '2026-01-05', 0.9)
ON CONFLICT (base, currency, valid_from) DO UPDATE SET rate = excluded.rate;
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_value', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
SELECT a, p, 'builtin', 't_value', 'true', 'shadow'
  FROM (VALUES ('t_v', 't_value'), ('t_x', 't_value'), ('t_a', 't_value'), ('t_e', 't_value_eur')) AS v (a, p);
-- how: live, shadow, holdout, explore or open
CREATE TEMP TABLE crafted (row_id text, agent text, at timestamptz, amount numeric, base numeric, rules text, said text,
	how text, propensity real, label text, source text, amount_lost numeric, cost numeric,
	task_id bigint GENERATED ALWAYS AS IDENTITY (START 950000001), rules_id uuid DEFAULT gen_random_uuid(),
	agent_id uuid DEFAULT gen_random_uuid());
INSERT INTO crafted VALUES
	-- a week in which the agent is live, with a control group
	('R1', 't_v', '2026-02-04', 200, 200, 'approve', 'decline', 'live', 1, 'fraud', 'analyst', NULL, 0.01),
	('R2', 't_v', '2026-02-04', 100, 100, 'approve', 'decline', 'live', 1, 'legit', 'analyst', NULL, 0.01),
	('R3', 't_v', '2026-02-05', 300, 300, 'decline', 'approve', 'live', 0, 'fraud', 'chargeback', 120, 0.01),
	('R4', 't_v', '2026-02-05', 50, 50, 'decline', 'approve', 'live', 0, NULL, NULL, NULL, 0.01),
	('R5', 't_v', '2026-02-06', 70, 70, 'approve', 'review', 'live', 1, 'legit', 'analyst', NULL, 0.01),
	('R6', 't_v', '2026-02-08 23:59', 90, 90, 'approve', 'approve', 'live', 1, NULL, NULL, NULL, 0.01),
	('H1', 't_v', '2026-02-02', 400, 400, 'approve', 'decline', 'holdout', 1, 'fraud', 'chargeback', NULL, 0.01),
	('H2', 't_v', '2026-02-04', 10, 10, 'approve', 'approve', 'holdout', 1, NULL, NULL, NULL, 0.01),
	('H3', 't_v', '2026-02-04', 80, 80, 'decline', 'decline', 'holdout', 0, 'legit', 'analyst', NULL, 0.01),
	('H4', 't_v', '2026-02-04', 60, 60, 'review', 'approve', 'holdout', 0, 'legit', 'analyst', NULL, 0.01),
	('H5', 't_v', '2026-02-04', 10, 10, 'approve', 'approve', 'holdout', 1, NULL, NULL, NULL, 0.01),
	-- nobody knows what a payment was that the agent stopped
	('U1', 't_v', '2026-02-11', 200, 200, 'approve', 'decline', 'live', 1, NULL, NULL, NULL, 0.01),
	-- only a control group, and nothing live
	('S1', 't_v', '2026-02-18', 50, 50, 'approve', 'approve', 'holdout', 1, NULL, NULL, NULL, 0.01),
	('S2', 't_v', '2026-02-18', 50, 50, 'approve', 'approve', 'shadow', 1, NULL, NULL, NULL, 0.01),
	-- labels that are not due, and a task that is open
	('P1', 't_v', now(), 50, 50, 'approve', 'approve', 'shadow', 1, NULL, NULL, NULL, 0),
	('P2', 't_v', '2026-02-25', 50, 50, 'approve', NULL, 'open', 1, NULL, NULL, NULL, 0),
	-- each explored row stands for four
	('X1', 't_x', '2026-02-04', 100, 100, 'decline', 'approve', 'explore', 0.25, NULL, NULL, NULL, 0),
	('X2', 't_x', '2026-02-04', 100, 100, 'decline', 'approve', 'explore', 0.25, 'fraud', 'chargeback', NULL, 0),
	('X3', 't_x', '2026-02-04', 100, 100, 'decline', 'approve', 'shadow', 0.25, NULL, NULL, NULL, 0),
	-- rows that were drawn for audit stand for the others of their group
	('A1', 't_a', '2026-02-04', 100, 100, 'decline', 'decline', 'holdout', 0.25, 'legit', 'audit', NULL, 0),
	('A2', 't_a', '2026-02-04', 900, 900, 'decline', 'decline', 'holdout', 0.25, NULL, NULL, NULL, 0),
	('A3', 't_a', '2026-02-04', 50, 50, 'approve', 'approve', 'holdout', 1, NULL, NULL, NULL, 0),
	('A4', 't_a', '2026-02-04', 50, 50, 'decline', 'approve', 'live', 0.25, NULL, NULL, NULL, 0),
	('A5', 't_a', '2026-02-04', 50, 50, 'approve', 'approve', 'live', 1, NULL, NULL, NULL, 0),
	-- pounds in euros at 1.15; Monday in Berlin, and still Sunday in UTC
	('E1', 't_e', '2026-01-04 23:30+00', 100, 115, 'approve', 'decline', 'live', 1, 'fraud', 'analyst', NULL, 0.01),
	('E2', 't_e', '2026-01-07', 200, 230, 'decline', 'approve', 'live', 0, 'fraud', 'fraud_report', 40, 0.01),
	-- before the first rate
	('E3', 't_e', '2025-12-10', 100, NULL, 'approve', 'decline', 'live', 1, 'fraud', 'analyst', NULL, 0.01);
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE TEMP TABLE t (LIKE agentpay._tasks INCLUDING DEFAULTS);
CREATE TEMP TABLE o (LIKE agentpay.outcomes INCLUDING DEFAULTS);
CREATE TEMP TABLE c (LIKE agentpay.agent_calls INCLUDING DEFAULTS);
CREATE FUNCTION pg_temp.point_of(agent text) RETURNS text LANGUAGE sql
AS $$ SELECT CASE agent WHEN 't_e' THEN 't_value_eur' ELSE 't_value' END $$;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, amount, base_amount, kind, authority, verdict, answer,
	assignment, propensity, xid)
SELECT rules_id, now() - interval '1 minute', pg_temp.point_of(agent), row_id, at, amount, base, 'rules', 'live',
	   CASE how WHEN 'explore' THEN 'approve' ELSE rules END, CASE how WHEN 'explore' THEN rules END,
	   CASE WHEN how = 'explore' THEN how WHEN source = 'audit' THEN source ELSE 'treatment' END, propensity,
	   pg_current_xact_id() FROM crafted;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind, authority, verdict, answer, assignment, propensity,
	agent, agent_version, detail, xid)
SELECT agent_id, now(), pg_temp.point_of(agent), row_id, at, 'agent', CASE how WHEN 'live' THEN how ELSE 'shadow' END, said, said,
	   CASE WHEN how IN ('holdout', 'explore') THEN how ELSE 'treatment' END, propensity, agent, 1,
	   jsonb_build_object('task_id', task_id), pg_current_xact_id() FROM crafted WHERE said IS NOT NULL;
INSERT INTO t SELECT task_id, now() - interval '1 minute', pg_temp.point_of(agent), row_id, rules_id, agent, 1, NULL,
	   gen_random_uuid(), 0, NULL, NULL, NULL, false, NULL, NULL, pg_current_xact_id() FROM crafted;
INSERT INTO o (outcome_id, observed_at, point, row_id, label, source, amount_lost, effective_at, xid)
SELECT gen_random_uuid(), now(), pg_temp.point_of(agent), row_id, label, source, amount_lost, now(), pg_current_xact_id()
  FROM crafted WHERE label IS NOT NULL;
-- of two attempts, one failed
INSERT INTO c (call_id, called_at, task_id, attempt, decision_id, point, row_id, agent, agent_version, cost_center, provider,
	status, cost, xid)
SELECT gen_random_uuid(), now(), task_id, n, agent_id, pg_temp.point_of(agent), row_id, agent, 1, 'risk', 'openai',
	   CASE n WHEN 1 THEN 'timeout' ELSE 'ok' END, CASE n WHEN 1 THEN 0.25 * cost ELSE 0.75 * cost END, pg_current_xact_id()
  FROM crafted, generate_series(1, 2) AS n WHERE cost > 0;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t;
SELECT agentpay._append(ROW(o.*)::agentpay.outcomes) FROM o;
SELECT agentpay._append(ROW(c.*)::agentpay.agent_calls) FROM c;
ANALYZE agentpay.decisions, agentpay._tasks, agentpay.outcomes, agentpay.agent_calls;
CREATE TEMP TABLE seen AS SELECT * FROM agentpay.cost_to_value_weekly WHERE point IN ('t_value', 't_value_eur');
\o
-- R1 saves 200 + 15; R3 loses 120 + 15; R2 costs 10, R4 spares 5, R5 costs 5;
-- six payments at a cent
SELECT results_eq($$ SELECT currency, cost, prevented, lost, false_declines, net_value, net_low, net_high, labelled_share, provisional
	FROM seen WHERE agent = 't_v' AND week = '2026-02-02' AND basis = 'realised' $$,
	$$ VALUES ('USD', 0.060000000, 215.00, 135.00, 10.00, 69.94, NULL::numeric, NULL::numeric, 1.000000, false) $$,
	'realised: live verdicts that are not the rules''');
-- H1 would have saved 400 + 15, H4 a review
SELECT results_eq($$ SELECT cost, prevented, lost, false_declines, net_value, labelled_share
	FROM seen WHERE agent = 't_v' AND week = '2026-02-02' AND basis = 'estimated' $$,
	$$ VALUES (0.050000000, 415.00, 0.00, -5.00, 419.95, 1.000000) $$, 'estimated: the same in shadow');
-- fraud takes 415 / 5 of the control group, 135 / 6 of the others; friction
-- (8 + 5) / 5 and (10 + 5) / 6: 6 × (83 − 22.5), 6 × (2.5 − 2.6)
SELECT results_eq($$ SELECT cost, prevented, lost, false_declines, net_value, labelled_share, provisional
	FROM seen WHERE agent = 't_v' AND week = '2026-02-02' AND basis = 'holdout' $$,
	$$ VALUES (0.110000000, 363.00, 0.00, -0.60, 363.49, 1.000000, false) $$, 'holdout: the difference of the means');
-- Welch's interval with PostgreSQL's own variances
CREATE TEMP TABLE welch AS
SELECT sqrt(h.v / h.n + t.v / t.n) AS se,
	   (h.v / h.n + t.v / t.n) ^ 2 / ((h.v / h.n) ^ 2 / (h.n - 1) + (t.v / t.n) ^ 2 / (t.n - 1)) AS df
  FROM (SELECT var_samp(x) AS v, count(x) AS n FROM unnest('{415,0,8,5,0}'::numeric[]) x) AS h,
	   (SELECT var_samp(x) AS v, count(x) AS n FROM unnest('{0,10,135,0,5,0}'::numeric[]) x) AS t;
SELECT is((SELECT round(df, 4) FROM welch), 4.5757, 'degrees of freedom');
-- t(0.975; 4.5757) = 2.643967, by integration of the density
SELECT ok(abs(net_high - (363.49 + 6 * 2.643967 * se)) < 0.002 * 6 * 2.643967 * se AND net_low + net_high = 2 * net_value,
	'its interval is Welch''s') FROM seen, welch WHERE agent = 't_v' AND week = '2026-02-02' AND basis = 'holdout';
-- fraud: + 215; good: − 20; a cent
SELECT results_eq($$ SELECT basis, cost, prevented, net_value, net_low, net_high, labelled_share FROM seen
	WHERE agent = 't_v' AND week = '2026-02-09' $$,
	$$ VALUES ('realised', 0.010000000, NULL::numeric, NULL::numeric, -20.01, 214.99, 0.000000) $$,
	'a missing label leaves bounds');
SELECT results_eq($$ SELECT basis, cost, net_value FROM seen WHERE agent = 't_v' AND week = '2026-02-16' $$,
	$$ VALUES ('estimated', 0.020000000, -0.02) $$, 'no headline where nothing is live');
SELECT results_eq($$ SELECT basis, net_value, labelled_share, provisional FROM seen
	WHERE agent = 't_v' AND week >= '2026-02-23' ORDER BY week $$,
	$$ VALUES ('estimated', 0.00, NULL::numeric, true), ('estimated', 0.00, NULL, true) $$,
	'provisional while a task is open, or labels are not due');
-- 4 × 10 spared, 4 × (100 + 15) lost
SELECT results_eq($$ SELECT basis, prevented, lost, false_declines, net_value, net_low, labelled_share FROM seen WHERE agent = 't_x' $$,
	$$ VALUES ('estimated', 0.00, 460.00, -40.00, -420.00, NULL::numeric, 0.666667) $$, 'explored rows weigh 1 / propensity');
-- A1 lost 10 and speaks for A2: 20 / 3 a payment; nothing was lost on A4, A5
SELECT results_eq($$ SELECT prevented, false_declines, net_value, net_low, labelled_share FROM seen WHERE agent = 't_a' AND basis = 'holdout' $$,
	$$ VALUES (0.00, -13.33, 13.33, NULL::numeric, 0.800000) $$, 'audited rows speak for their group; two are too few for an interval');
-- 115 + 15 × 0.9 saved, 40 × 1.15 lost without a dispute, two cents × 0.9
SELECT results_eq($$ SELECT currency, cost, prevented, lost, net_value FROM seen WHERE agent = 't_e' AND week = '2026-01-05' $$,
	$$ VALUES ('EUR', 0.018000000, 128.50, 46.00, 82.48) $$, 'another currency, at the rate of the day in the time zone');
SELECT results_eq($$ SELECT cost, prevented, net_value, net_low FROM seen WHERE agent = 't_e' AND week = '2025-12-08' $$,
	$$ VALUES (NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric) $$, 'nothing is said without a rate');
SELECT is((SELECT sum(cost) FROM seen WHERE agent = 't_v' AND basis <> 'holdout'),
	(SELECT sum(cost) FROM agentpay.agent_cost WHERE agent = 't_v'), 'realised and estimated cost what was charged');
SELECT * FROM finish();
ROLLBACK;
