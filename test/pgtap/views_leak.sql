-- opex_leak: one call of each cause, and the sums by hand: 0.91 charged to cost
-- center cc, 0.53 of it leaked.
BEGIN;
SET client_min_messages = warning;
SELECT plan(5);
CREATE SCHEMA t_leak;
CREATE TABLE t_leak.payments (id text PRIMARY KEY, at timestamptz NOT NULL, amount numeric);
\o /dev/null
SELECT agentpay.attach('t_leak.payments', point => 't_leak', role => 'fraud',
	id => 'id', occurred_at => 'at');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_leak', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_leak', 't_leak', 'builtin', 't_leak', 'true', 'shadow'),
	   ('t_free', 't_leak', 'builtin', 't_leak', 'true', 'shadow');
CREATE TEMP TABLE crafted (id int, row_id text, agent text, center text, status text, cost numeric, rules text, authority text,
	failure text, repeat_no int, detail jsonb, decision_id uuid DEFAULT gen_random_uuid());
INSERT INTO crafted VALUES
	(1, 'a', 't_leak', 'cc', 'uncertain', 0.10, 'approve', 'shadow', 'uncertain', 0, '{}'),
	(2, 'b', 't_leak', 'cc', 'timeout', 0.02, 'approve', 'shadow', 'timeout', 0, '{}'),
	(3, 'c', 't_leak', 'cc', 'killed', 0.03, 'approve', 'shadow', 'killed', 0, '{}'),
	(4, 'd', 't_leak', 'cc', 'ok', 0.04, 'approve', 'live', NULL, 0, '{"late": true}'),
	(5, 'e', 't_leak', 'cc', 'ok', 0.05, 'approve', 'shadow', NULL, 1, '{}'),
	(6, 'f', 't_leak', 'cc', 'ok', 0.06, 'approve', 'shadow', 'low_confidence', 0, '{}'),
	(7, 'g', 't_leak', 'cc', 'ok', 0.07, 'approve', 'live', 'over_authority', 0, '{}'),
	(8, 'h', 't_leak', 'cc', 'ok', 0.08, 'decline', 'live', NULL, 0, '{}'),
	(9, 'i', 't_leak', 'cc', 'ok', 0.09, 'approve', 'live', NULL, 0, '{}'),
	(10, 'j', 't_leak', 'cc', 'ok', 0.11, 'approve', 'shadow', NULL, 0, '{}'),
	(11, 'k', 't_leak', 'cc', 'ok', 0.13, 'approve', 'shadow', NULL, 0, '{}'),
	(12, 'k', 't_leak', 'cc', 'ok', 0.12, 'approve', 'shadow', NULL, 0, '{}'),
	(13, 'l', 't_free', 'unattributed', 'ok', 0.14, 'approve', 'shadow', NULL, 0, '{}'),
	(14, 'm', 't_leak', 'cc', 'uncertain', 0.50, 'approve', 'shadow', 'uncertain', 0, '{}');
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE TEMP TABLE c (LIKE agentpay.agent_calls INCLUDING DEFAULTS);
UPDATE crafted SET detail = detail || jsonb_build_object('task_id', 940000000 + id);
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind, authority, verdict, xid)
SELECT gen_random_uuid(), now(), 't_leak', row_id, now(), 'rules', 'live', min(rules), pg_current_xact_id() FROM crafted GROUP BY row_id;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind, authority, verdict, agent, agent_version, failure, repeat_no, detail, xid)
SELECT decision_id, now(), 't_leak', row_id, now(), CASE WHEN failure IS NULL THEN 'agent' ELSE 'fallback' END, authority, 'approve',
	   agent, 1, failure, repeat_no, detail, pg_current_xact_id() FROM crafted;
INSERT INTO c (call_id, called_at, task_id, attempt, decision_id, point, row_id, agent, agent_version, cost_center, provider, status, cost, xid)
SELECT gen_random_uuid(), now(), 940000000 + id, 1, decision_id, 't_leak', row_id, agent, 1, center, 'openai', status, cost,
	   pg_current_xact_id() FROM crafted;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
SELECT agentpay._append(ROW(c.*)::agentpay.agent_calls) FROM c;
SELECT agentpay._append(ROW(940000000 + x.id, now(), 't_leak', x.row_id, d.decision_id, x.agent, 1, NULL, gen_random_uuid(),
		x.repeat_no, NULL, NULL, NULL, false, NULL, NULL, pg_current_xact_id())::agentpay._tasks)
  FROM crafted x JOIN d ON d.row_id = x.row_id AND d.kind = 'rules';
-- the last one cost a cent after all
INSERT INTO agentpay._reconciliations VALUES (940000014, 1, 0.01);
\o
SELECT results_eq($$ SELECT cause, calls, cost FROM agentpay.opex_leak WHERE agent = 't_leak' ORDER BY cause COLLATE "C" $$,
	$$ VALUES ('duplicate', 1::bigint, 0.12), ('evaluation', 1, 0.05), ('evidence', 2, 0.24), ('failed', 2, 0.03),
		('killed', 1, 0.03), ('late', 1, 0.04), ('live', 1, 0.09), ('low_confidence', 1, 0.06), ('no_effect', 1, 0.08),
		('over_authority', 1, 0.07), ('uncertain', 1, 0.10) $$, 'each call has one cause');
SELECT results_eq($$ SELECT DISTINCT opex_loss_index FROM agentpay.opex_leak WHERE agent = 't_leak' $$, 'VALUES (0.582418)', '0.53 / 0.91');
SELECT is((SELECT share FROM agentpay.opex_leak WHERE agent = 't_leak' AND cause = 'uncertain'), 0.109890, '0.10 / 0.91');
SELECT results_eq($$ SELECT cause, cost, share, opex_loss_index FROM agentpay.opex_leak WHERE agent = 't_free' $$,
	$$ VALUES ('unattributed', 0.14, 1.000000, 1.000000) $$, 'what nobody pays for');
SELECT is((SELECT sum(cost) FROM agentpay.opex_leak WHERE agent LIKE 't\_%'), (SELECT sum(cost) FROM agentpay.agent_cost
	WHERE agent IN ('t_leak', 't_free')), 'causes add up to what was charged');
SELECT * FROM finish();
ROLLBACK;
