-- Row-level security of a ledger's table holds in what agentpay shows of one
-- payment: a role that a policy lets see its own payments only.
BEGIN;
SET client_min_messages = warning;
SELECT plan(22);
CREATE SCHEMA t_rls;
CREATE TABLE t_rls.payments (id bigint PRIMARY KEY, owner text NOT NULL,
	at timestamptz NOT NULL DEFAULT now(), amount numeric, outcome text);
CREATE ROLE t_desk;
GRANT USAGE ON SCHEMA t_rls TO t_desk;
GRANT SELECT ON t_rls.payments TO t_desk;
ALTER TABLE t_rls.payments ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON t_rls.payments USING (owner = current_user);
\o /dev/null
SELECT agentpay.attach('t_rls.payments', point => 't_rls', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD',
	outcome => 'outcome');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_rls', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_rls', 't_rls', 'builtin', 't_rls', 'true', 'shadow');
-- as committed before, so that await_decision() answers
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, inputs, xid)
SELECT gen_random_uuid(), now(), 't_rls', i, now(), 'rules', 'live', 'approve',
	   jsonb_build_object('amount', i), '1'
  FROM generate_series(3, 4) AS i;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
INSERT INTO t_rls.payments (id, owner, amount)
VALUES (1, 't_desk', 10), (2, 'another', 20);
ALTER TABLE t_rls.payments DISABLE TRIGGER ALL;
INSERT INTO t_rls.payments (id, owner, amount)
VALUES (3, 't_desk', 10), (4, 'another', 20);
SELECT agentpay.open_case('t_rls', i, 'a test') FROM generate_series(1, 2) AS i;
INSERT INTO agentpay.actions (point, row_id, decision_id, action)
SELECT 't_rls', i, gen_random_uuid(), 'notify' FROM generate_series(1, 2) AS i;
SELECT agentpay.grant_role('t_desk', 'analyst'), agentpay.grant_role('t_desk', 'operator');
GRANT EXECUTE ON FUNCTION agentpay.preview_call(text, "any") TO t_desk;
CREATE TEMP TABLE ids AS SELECT row_id, decision_id FROM agentpay.decisions
 WHERE point = 't_rls' AND kind = 'rules';
GRANT SELECT ON ids TO t_desk;
CREATE TEMP TABLE case_ids AS SELECT row_id, case_id FROM agentpay.cases WHERE point = 't_rls';
GRANT SELECT ON case_ids TO t_desk;
CREATE FUNCTION pg_temp.leaky(t text) RETURNS boolean LANGUAGE plpgsql COST 0.0000001 AS $$
BEGIN RAISE NOTICE 'saw %', t; RETURN true; END$$;
\o
SET ROLE t_desk;
SELECT set_eq('SELECT row_id FROM agentpay.current_decisions WHERE point = ''t_rls''', '{1,3}'::text[], 'current_decisions: its own');
SELECT set_eq('SELECT DISTINCT row_id FROM agentpay.tasks WHERE point = ''t_rls''', '{1}'::text[], 'tasks');
SELECT set_eq('SELECT row_id FROM agentpay.cases WHERE point = ''t_rls''', '{1}'::text[], 'cases');
SELECT set_eq('SELECT row_id FROM agentpay.actions WHERE point = ''t_rls''', '{1}'::text[], 'actions');
WITH u AS (UPDATE agentpay.cases SET state = 'investigating' WHERE point = 't_rls' RETURNING row_id)
SELECT is((SELECT array_agg(row_id) FROM u), '{1}', 'and takes no other case');
SELECT isnt_empty('SELECT * FROM agentpay.explain(''t_rls'', 1)', 'explain() of its own');
SELECT throws_ok('SELECT * FROM agentpay.explain(''t_rls'', 2)', '42704', NULL, 'not of another''s');
SELECT throws_ok('SELECT * FROM agentpay.explain((SELECT decision_id FROM ids WHERE row_id = ''2''))', '42704', NULL, 'nor by its id');
SELECT isnt_empty('SELECT * FROM agentpay.payment_timeline(''t_rls'', 1)', 'payment_timeline()');
SELECT throws_ok('SELECT * FROM agentpay.payment_timeline(''t_rls'', 2)', '42704', NULL, 'not of another''s');
SELECT is(agentpay.await_decision('t_rls', 3), 'approve', 'await_decision()');
SELECT throws_ok('SELECT agentpay.await_decision(''t_rls'', 4)', '42704', 'point "t_rls" has no decision about row ''4''', 'as if it were not there');
SELECT throws_ok('SELECT agentpay.await_decision(''t_rls'', 99)', '42704', 'point "t_rls" has no decision about row ''99''', 'which reads the same');
SELECT throws_ok('SELECT agentpay.record_outcome(''t_rls'', 2, ''fraud'')', '42704', NULL, 'record_outcome()');
SELECT throws_ok('SELECT agentpay.open_case(''t_rls'', 4, ''x'')', '42704', NULL, 'open_case()');
SELECT throws_ok('SELECT agentpay.resolve_case((SELECT case_id FROM case_ids WHERE row_id = ''2''), ''approve'', ''x'')', '42704', NULL, 'resolve_case()');
SELECT lives_ok('SELECT agentpay.resolve_case((SELECT case_id FROM case_ids WHERE row_id = ''1''), ''approve'', ''x'')', 'of its own it does');
-- a function that tells what it is given, as cheap as can be
SELECT is((SELECT count(*) FROM agentpay.current_decisions c WHERE c.point = 't_rls' AND pg_temp.leaky(c.row_id)), 2::bigint, 'a condition of the reader''s own sees no more');
SET row_security = off;
SELECT set_eq('SELECT row_id FROM agentpay.current_decisions WHERE point = ''t_rls''', '{1,3}'::text[], 'row_security = off opens nothing');
RESET row_security;
RESET ROLE;
GRANT EXECUTE ON FUNCTION agentpay._sees(text, text) TO t_desk;
SELECT is((SELECT count(*) FROM agentpay.current_decisions WHERE point = 't_rls'), 4::bigint, 'the owner sees all');
REVOKE SELECT ON t_rls.payments FROM t_desk;
SET ROLE t_desk;
SELECT is_empty('SELECT * FROM agentpay.current_decisions WHERE point = ''t_rls''', 'a policy and no right to read: nothing');
RESET ROLE;
ALTER TABLE t_rls.payments DISABLE ROW LEVEL SECURITY;
SET ROLE t_desk;
SELECT is((SELECT count(*) FROM agentpay.current_decisions WHERE point = 't_rls'), 4::bigint, 'without policies the grant of the view is what counts');
RESET ROLE;
SELECT * FROM finish();
ROLLBACK;
