-- calibration: 300 answers by arithmetic, and what test/oracle/calibration.py
-- says of the same ones.
BEGIN;
SET client_min_messages = warning;
SELECT plan(6);
CREATE SCHEMA t_cal;
CREATE TABLE t_cal.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL, amount numeric);
\o /dev/null
SELECT agentpay.attach('t_cal.payments', point => 't_cal', role => 'fraud',
	id => 'id', occurred_at => 'at');
UPDATE agentpay.decision_points SET labels_complete = true,
	label_maturity = '1 day' WHERE point = 't_cal';
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_cal', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_cal', 't_cal', 'builtin', 't_cal', 'true', 'shadow');
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE TEMP TABLE t (LIKE agentpay._tasks);
CREATE TEMP TABLE o (LIKE agentpay.outcomes INCLUDING DEFAULTS);
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, xid)
SELECT gen_random_uuid(), now(), 't_cal', i, now() - interval '3 days',
	   'rules', 'live', 'approve', pg_current_xact_id()
  FROM generate_series(1, 300) i;
INSERT INTO t
SELECT 920000000 + row_id::int, decided_at, point, row_id, decision_id, 't_cal',
	   1, NULL, gen_random_uuid(), 0, NULL, NULL, NULL, false, NULL, NULL, xid FROM d;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, answer, agent, agent_version, confidence, score, detail,
	xid)
SELECT gen_random_uuid(), now(), 't_cal', i, now() - interval '3 days', 'agent',
	   'shadow', said, said, 't_cal', 1, ((i * 37) % 100 + 0.5) / 100,
	   ((i * 17) % 100 + 0.5) / 100,
	   jsonb_build_object('task_id', 920000000 + i), pg_current_xact_id()
  FROM generate_series(1, 300) i
 CROSS JOIN LATERAL (SELECT CASE i % 3 WHEN 0 THEN 'decline' ELSE 'approve' END)
	AS s (said);
INSERT INTO o
SELECT gen_random_uuid(), now(), 't_cal', i,
	   CASE WHEN (i * 53) % 100 < 100 * (((i * 17) % 100 + 0.5) / 100) ^ 2
			THEN 'fraud' ELSE 'legit' END,
	   'import', NULL, now(), session_user, pg_current_xact_id()
  FROM generate_series(1, 300) i;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t;
SELECT agentpay._append(ROW(o.*)::agentpay.outcomes) FROM o;
\o
SELECT results_eq($$ SELECT measure, bin, bin_from, bin_to, labelled,
	mean_confidence, observed_rate FROM agentpay.calibration
	WHERE agent = 't_cal' ORDER BY measure, bin $$, $$ VALUES
	('confidence', 1, 0.004, 0.095, 30::bigint, 0.050000, 0.533333),
	('confidence', 2, 0.104, 0.195, 30::bigint, 0.150000, 0.533333),
	('confidence', 3, 0.204, 0.295, 30::bigint, 0.250000, 0.600000),
	('confidence', 4, 0.305, 0.396, 30::bigint, 0.350000, 0.533333),
	('confidence', 5, 0.405, 0.496, 30::bigint, 0.450000, 0.533333),
	('confidence', 6, 0.504, 0.596, 30::bigint, 0.550000, 0.566667),
	('confidence', 7, 0.605, 0.695, 30::bigint, 0.650000, 0.633333),
	('confidence', 8, 0.704, 0.796, 30::bigint, 0.750000, 0.500000),
	('confidence', 9, 0.805, 0.895, 30::bigint, 0.850000, 0.566667),
	('confidence', 10, 0.904, 0.996, 30::bigint, 0.950000, 0.533333),
	('score', 1, 0.005, 0.396, 120::bigint, 0.200000, 0.050000),
	('score', 2, 0.405, 0.496, 30::bigint, 0.450000, 0.200000),
	('score', 3, 0.505, 0.596, 30::bigint, 0.550000, 0.400000),
	('score', 4, 0.605, 0.696, 30::bigint, 0.650000, 0.300000),
	('score', 5, 0.705, 0.796, 30::bigint, 0.750000, 0.500000),
	('score', 6, 0.805, 0.896, 30::bigint, 0.850000, 0.800000),
	('score', 7, 0.905, 0.996, 30::bigint, 0.950000, 1.000000) $$, 'bins of equal mass, joined where positives are few');
SELECT results_eq($$ SELECT DISTINCT measure, brier, skill, observed_expected,
	ece FROM agentpay.calibration WHERE agent = 't_cal' ORDER BY measure $$,
	$$ VALUES ('confidence', 0.333392, -0.348914, 1.106667, 0.246667),
			  ('score', 0.161125, 0.281974, 0.680000, 0.170000) $$, 'figures');

-- Rows that the rules stopped, and whose label nobody knows.
UPDATE d SET propensity = 0, verdict = 'decline', decision_id = gen_random_uuid(),
	row_id = 'x' || row_id WHERE kind = 'rules' AND row_id = '1';
UPDATE agentpay.decision_points SET labels_complete = false WHERE point = 't_cal';
SELECT is((SELECT count(brier) FROM agentpay.calibration WHERE agent = 't_cal'),
	17::bigint, 'labels by nature, every row let through: the same');
\o /dev/null
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d WHERE row_id = 'x1';
UPDATE t SET row_id = 'x1', task_id = 930000000, decision_id = (
	SELECT decision_id FROM d WHERE row_id = 'x1') WHERE row_id = '1';
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t WHERE row_id = 'x1';
UPDATE d SET row_id = 'x1', detail = '{"task_id": 930000000}',
	decision_id = gen_random_uuid() WHERE kind = 'agent' AND row_id = '1';
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d
 WHERE row_id = 'x1' AND kind = 'agent';
\o
SELECT is((SELECT count(*) FILTER (WHERE brier IS NULL AND skill IS NULL
		AND observed_rate IS NULL AND observed_expected IS NULL AND ece IS NULL)
	FROM agentpay.calibration WHERE agent = 't_cal'), 17::bigint,
	'one row that nobody can label: nothing is known');

-- What joins bins.
SELECT is(agentpay._merge_bins('{1,4,0,9,2,2}', 5), '{1,1,2,2,2,2}', 'the rest goes to the last one');
SELECT is(agentpay._merge_bins('{1,1}', 5), '{1,1}', 'never enough: one bin');
SELECT * FROM finish();
ROLLBACK;
