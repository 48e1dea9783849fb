-- Reports about payments that agents were asked about say the same whatever
-- _asked_rows has seen: each step compares them with plain SQL over the logs,
-- in one statement, so that it does not matter what workers do meanwhile.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
CREATE SCHEMA asked;
SET search_path = asked;
SET jit = off;
CREATE TABLE payments (id bigint PRIMARY KEY, amount numeric,
	at timestamptz NOT NULL DEFAULT now(), outcome text);
SELECT agentpay.attach('payments', point => 't_asked', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD',
	outcome => 'outcome');
UPDATE agentpay.decision_points SET label_maturity = '1 day'
 WHERE point = 't_asked';
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_asked', 'EVEN', 'amount % 2 = 0', 60),
	('t_asked', 'BIG', 'amount > 90', 60);
SELECT agentpay.activate('t_asked');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_asked', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [50], "scale": [10]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage,
	price_per_call)
VALUES ('t_asked', 't_asked', 'builtin', 't_asked', 'amount < 80',
	'shadow', 0.0001);
INSERT INTO agentpay.gates (agent, metric, bound, min_samples)
SELECT 't_asked', m, 0, 0
  FROM unnest('{labelled_samples,coverage,agreement,accuracy_vs_rules,
	fpr_vs_rules,fnr_vs_rules,cost_per_decision,cost_variation,
	p95_latency_ms,calibration_error}'::text[]) AS m;

-- ── what the logs say ───────────────────────────────────────────────────────
CREATE VIEW tasks AS
SELECT t.created_at, t.agent_version, t.repeat_no, r.occurred_at, r.amount,
	   r.propensity, r.assignment, r.verdict AS given,
	   coalesce(r.answer, r.verdict) AS rules_verdict, e.kind, e.verdict,
	   e.failure, e.confidence, CASE WHEN e.kind = 'agent' THEN e.score END,
	   t.repeat_no = 0 AND t.task_id = (SELECT min(x.task_id)
			FROM agentpay._tasks x WHERE x.point = t.point
			 AND x.row_id = t.row_id AND x.repeat_no = 0) AS first,
	   (SELECT o.label FROM agentpay.outcomes o
		 WHERE o.point = t.point AND o.row_id = t.row_id
		 ORDER BY o.observed_at DESC LIMIT 1) AS label,
	   (SELECT d.kind FROM agentpay.decisions d
		 WHERE d.point = t.point AND d.row_id = t.row_id
		   AND d.authority = 'live' AND d.kind <> 'fallback'
		 ORDER BY d.kind = 'human' DESC, d.decided_at DESC LIMIT 1) AS stands,
	   (SELECT count(*) FROM agentpay.agent_calls c
		 WHERE c.task_id = t.task_id) AS calls,
	   (SELECT coalesce(sum(coalesce(f.true_cost, c.cost)), 0)
		  FROM agentpay.agent_calls c
		  LEFT JOIN agentpay._reconciliations f USING (task_id, attempt)
		 WHERE c.task_id = t.task_id) AS cost
  FROM agentpay._tasks t
  LEFT JOIN agentpay.decisions r ON r.decision_id = t.decision_id
  LEFT JOIN agentpay.decisions e ON e.point = t.point AND e.row_id = t.row_id
   AND e.kind IN ('agent', 'fallback') AND e.repeat_no = 0
   AND (e.detail ->> 'task_id')::bigint = t.task_id
 WHERE t.point = 't_asked';
CREATE VIEW said AS
SELECT a.created_at, a.agent_version, a.repeat_no, a.occurred_at, a.amount,
	   s.propensity, s.assignment, s.given, s.rules_verdict, s.kind, s.verdict,
	   s.failure, a.confidence, a.score, a.first_of_agent, s.label,
	   s.standing_kind, a.calls, a.cost
  FROM agentpay._asked a CROSS JOIN LATERAL agentpay._said(a.said) AS s
 WHERE a.point = 't_asked';
CREATE VIEW calls AS
SELECT c.called_at, c.status, c.latency_ms, coalesce(f.true_cost, c.cost) AS cost,
	   f.task_id IS NOT NULL AS reconciled, d.repeat_no, d.authority
  FROM agentpay.agent_calls c
  LEFT JOIN agentpay._reconciliations f USING (task_id, attempt)
  LEFT JOIN agentpay.decisions d ON d.decision_id = c.decision_id
 WHERE c.point = 't_asked';
CREATE VIEW called AS
SELECT c.called_at, c.status, c.latency_ms, c.cost, c.reconciled, c.repeat_no,
	   c.authority
  FROM agentpay._called c WHERE c.point = 't_asked';
CREATE VIEW differences AS
SELECT 'tasks' AS what, count(*) FROM (
	(TABLE tasks EXCEPT ALL TABLE said)
	UNION ALL (TABLE said EXCEPT ALL TABLE tasks)) AS x HAVING count(*) > 0
UNION ALL
SELECT 'calls', count(*) FROM (
	(TABLE calls EXCEPT ALL TABLE called)
	UNION ALL (TABLE called EXCEPT ALL TABLE calls)) AS x HAVING count(*) > 0;

-- What reports say, and what they say when nothing is kept.
CREATE FUNCTION reports() RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	report text;
BEGIN
	FOREACH report IN ARRAY '{shadow_vs_rules,agent_accuracy,agent_cost,
			cost_per_million,agent_latency,opex_leak,calibration,
			cost_to_value_weekly,rollout_status}'::text[] LOOP
		RETURN QUERY EXECUTE format('SELECT %L || x::text FROM agentpay.%I x'
			' WHERE agent = ''t_asked''', report || ' ', report);
	END LOOP;
END $$;
CREATE TABLE kept (line text);
CREATE VIEW report_differences AS
SELECT 'kept' AS what, k.* FROM (TABLE kept EXCEPT ALL SELECT reports()) AS k
UNION ALL
SELECT 'anew', a.* FROM (SELECT reports() EXCEPT ALL TABLE kept) AS a;
-- before the snapshot: nobody rolls until the end of the transaction
\set compare_reports 'BEGIN ISOLATION LEVEL REPEATABLE READ; LOCK TABLE agentpay._asked_state IN SHARE ROW EXCLUSIVE MODE; INSERT INTO kept SELECT reports(); DELETE FROM agentpay._asked_state; TABLE report_differences; ROLLBACK;'

CREATE PROCEDURE await_answers(n bigint) LANGUAGE plpgsql AS $$
DECLARE
	until timestamptz := clock_timestamp() + interval '180 seconds';
BEGIN
	LOOP
		COMMIT;
		IF (SELECT count(*) FROM agentpay.decisions WHERE point = 't_asked'
			 AND kind IN ('agent', 'fallback')) >= n THEN
			RETURN;
		ELSIF clock_timestamp() > until THEN
			RAISE 'the agent has not answered';
		END IF;
		PERFORM pg_sleep(0.05);
	END LOOP;
END $$;

-- ── step by step ────────────────────────────────────────────────────────────
TABLE differences;
-- around the moment at which labels are due
INSERT INTO payments (id, amount, at)
SELECT i, i, now() - interval '1 day' + (i - 50) * interval '97 seconds'
  FROM generate_series(1, 100) AS i;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;
CALL await_answers(79);
SELECT count(*) FILTER (WHERE repeat_no = 0) AS asked,
	   count(*) FILTER (WHERE first) AS first FROM tasks;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;
:compare_reports

-- labels, corrections, of two sources
DO $$ BEGIN PERFORM agentpay.record_outcome('t_asked', i,
	CASE WHEN i % 4 = 0 THEN 'fraud' ELSE 'legit' END)
   FROM generate_series(1, 100, 3) i; END $$;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
DO $$ BEGIN PERFORM agentpay.record_outcome('t_asked', i, 'fraud',
	'chargeback') FROM generate_series(1, 100, 6) i; END $$;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;
:compare_reports

-- what a call cost after all stands beside the log
INSERT INTO agentpay._reconciliations
SELECT task_id, attempt, 5 FROM agentpay.agent_calls WHERE point = 't_asked'
 ORDER BY called_at, task_id LIMIT 3;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;
UPDATE agentpay._reconciliations SET true_cost = 7
 WHERE task_id IN (SELECT task_id FROM agentpay.agent_calls
					WHERE point = 't_asked');
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
:compare_reports
TABLE differences;

-- a row that goes and comes again, not asked about the second time
DELETE FROM payments WHERE id <= 3;
INSERT INTO payments (id, amount) VALUES (1, 95), (2, 4), (3, 97);
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;

-- a person decides
DO $$ BEGIN PERFORM agentpay.resolve_case(case_id, 'approve', 'seen')
   FROM agentpay.cases WHERE point = 't_asked' AND row_id = '10'; END $$;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;

-- in a transaction that has written: what it wrote counts, and nothing rolls
BEGIN;
INSERT INTO payments (id, amount) VALUES (200, 2);
TABLE differences;
SELECT agentpay._roll_asked();
SAVEPOINT s;
INSERT INTO payments (id, amount) VALUES (201, 12);
ROLLBACK TO s;
INSERT INTO payments (id, amount) VALUES (202, 14);
TABLE differences;
COMMIT;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;

-- the state is gone, as after a restore: all is made anew
DELETE FROM agentpay._asked_state;
TABLE differences;
SELECT agentpay._roll_asked() IS NOT NULL AS rolled;
TABLE differences;
SELECT agentpay.detach('t_asked');
