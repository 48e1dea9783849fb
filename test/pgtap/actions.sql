-- After the authorisation a verdict that changed opens an action.  Answers are
-- given to agentpay._end_tasks() as the dispatcher gives them; the actions that
-- are expected are those of docs/positions.md, by hand.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_act;
CREATE TABLE t_act.payments (id text PRIMARY KEY, agent text, amount numeric,
	at timestamptz NOT NULL, key text, outcome text, score numeric, reasons text[]);
CREATE INDEX ON t_act.payments (key);
\o /dev/null
SELECT agentpay.attach('t_act.payments', point => 't_act', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD',
	outcome => 'outcome', score => 'score', reasons => 'reasons',
	idempotency => 'key');
-- between 100 and 1000: review; from 1000 on: decline
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_act', 'BIG', 'amount >= 100', 60), ('t_act', 'HUGE', 'amount >= 1000', 60);
SELECT agentpay.activate('t_act');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_act', 'logistic', '{amount}',
	 '{"intercept": 0, "coefficients": [0], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage, position, options)
SELECT 't_act_' || n, 't_act', 'builtin', 't_act', format('agent = %L', n), 'shadow', p, o
  FROM (VALUES ('post', 'post_auth', '{}'::jsonb), ('pre', 'pre_auth', '{}'),
		('own', 'post_auth', '{"actions": {"review": "step_up", "decline": "refund"}, "capture_within": "7 days"}'),
		('shadow', 'post_auth', '{}')) AS a (n, p, o);
-- a stage beyond shadow, whatever the gates say
SET allow_system_table_mods = on;
CREATE TEMP TABLE saved AS SELECT oid, prosrc FROM pg_proc WHERE proname = '_check_agents';
UPDATE pg_proc SET prosrc = 'BEGIN RETURN NEW; END' WHERE proname = '_check_agents';
UPDATE agentpay.agents SET stage = '100' WHERE name IN ('t_act_post', 't_act_pre', 't_act_own');
UPDATE pg_proc p SET prosrc = s.prosrc FROM saved s WHERE s.oid = p.oid;
\o
-- A payment `old` ago, and what its agent answers.
CREATE FUNCTION pg_temp.answered(id text, agent text, amount numeric, old interval, verdict text)
	RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t_act.payments VALUES (id, agent, amount, now() - old);
	PERFORM agentpay._end_tasks(array_agg(ROW(t.task_id, t.created_at, agentpay._uuid_v7(),
			NULL, verdict, verdict, 0.9, 0.75, '{model_says}', 0.001, 12, NULL)::agentpay._task_end))
	   FROM agentpay._tasks t WHERE t.point = 't_act' AND t.row_id = answered.id AND t.repeat_no = 0;
	RETURN (SELECT concat_ws(' ', p.outcome, '/', c.kind, c.verdict, '/', coalesce((SELECT a.action || ' ' || a.state
			|| coalesce(' until ' || (a.actionable_until - p.at)::text, '') FROM agentpay.actions a
			 WHERE a.point = 't_act' AND a.row_id = answered.id), 'no action'))
	  FROM t_act.payments p JOIN agentpay.current_decisions c ON c.point = 't_act' AND c.row_id = p.id WHERE p.id = answered.id);
END$$;
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	message text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT;
	RETURN regexp_replace(concat_ws(' ', SQLSTATE, message), 'action [0-9]+', 'action N');
END$$;
SELECT plan(35);

-- ── which action ────────────────────────────────────────────────────────────
SELECT is(pg_temp.answered('a1', 'post', 5, '1 hour', 'decline'),
	'approve / agent decline / void open until 1 day', 'declined before the capture: void');
SELECT is(pg_temp.answered('a2', 'post', 5, '25 hours', 'decline'),
	'approve / agent decline / refund open', 'after it: refund');
SELECT is(pg_temp.answered('a3', 'post', 5, '1 hour', 'review'),
	'approve / agent review / hold_capture open until 1 day', 'to be looked at before the capture: hold it');
SELECT is(pg_temp.answered('a4', 'post', 5, '25 hours', 'review'),
	'approve / agent review / notify open', 'after it there is nothing to hold');
SELECT is(pg_temp.answered('a5', 'post', 500, '1 hour', 'decline'),
	'review / agent decline / void open until 1 day', 'from review to decline');
SELECT is(pg_temp.answered('a6', 'post', 5, '1 hour', 'approve'),
	'approve / agent approve / no action', 'the same verdict: nothing to do');
SELECT is(pg_temp.answered('a7', 'own', 5, '3 days', 'review'),
	'approve / agent review / step_up open until 7 days', 'an action of the agent''s own, and its capture');
SELECT is(pg_temp.answered('a8', 'own', 5, '8 days', 'review'),
	'approve / agent review / notify open', 'too late for it');
SELECT is(pg_temp.answered('a9', 'own', 5, '1 hour', 'decline'),
	'approve / agent decline / refund open', 'a refund has no limit');
SELECT is(pg_temp.answered('a10', 'shadow', 5, '1 hour', 'decline'),
	'approve / rules approve / no action', 'in shadow nothing follows');
SELECT is(pg_temp.answered('a11', 'pre', 5, '1 hour', 'decline'),
	'decline / agent decline / no action', 'before the authorisation the payment itself');
SELECT is((SELECT concat_ws(' ', score, reasons) FROM t_act.payments WHERE id = 'a11'),
	'0.75 {model_says}', 'with score and reasons');
SELECT is((SELECT concat_ws(' ', trim_scale(score), outcome) FROM t_act.payments WHERE id = 'a5'),
	'60 review', 'after it the payment is never touched');
SELECT results_eq($$ SELECT DISTINCT d.verdict, s.kind, s.verdict FROM agentpay.actions a
	JOIN agentpay.decisions d USING (decision_id) JOIN agentpay.decisions s ON s.decision_id = d.supersedes
	WHERE a.row_id = 'a5' AND a.point = 't_act' $$, $$ VALUES ('decline', 'rules', 'review') $$,
	'an action names its decision, which supersedes the rules''');
-- unordered vocabularies, by the function alone
SELECT is(agentpay._action_of('routing', false, NULL, NULL, now(), now() + interval '1 day', now())::text,
	'(notify,)', 'a changed route: notify');
SELECT is(agentpay._action_of('fraud', false, false, NULL, now(), now() + interval '1 day', now())::text,
	'(notify,)', 'a looser verdict: notify');
SELECT is(agentpay._action_of('fraud', true, true, 'void', now(), now() - interval '1 day', now())::text,
	'(refund,)', 'void after the capture: refund');

-- ── what explain() says of one that did not get there ───────────────────────
INSERT INTO t_act.payments VALUES ('e1', 'pre', 5, now());
UPDATE t_act.payments SET outcome = 'mine' WHERE id = 'e1';
DO $$ BEGIN PERFORM agentpay._end_tasks(array_agg(ROW(t.task_id, t.created_at, agentpay._uuid_v7(),
		NULL, 'decline', 'decline', 0.9, 0.75, '{model_says}', 0.001, 12, NULL)::agentpay._task_end))
   FROM agentpay._tasks t WHERE t.point = 't_act' AND t.row_id = 'e1'; END $$;
SELECT is((SELECT value FROM agentpay.explain('t_act', 'e1') WHERE section = 'agent' AND item = 'not applied'),
	'the outcome was changed meanwhile', 'explain() tells why a verdict was not applied');

-- ── several agents, people, experiments ─────────────────────────────────────
SELECT is(pg_temp.answered('b1', 'pre', 500, '1 hour', 'approve'),
	'approve / agent approve / no action', 'the judgement of authority is not this room''s');
INSERT INTO t_act.payments VALUES ('b2', 'none', 5, now());
CREATE FUNCTION pg_temp.follows(verdict text, kind text, other text, assignment text DEFAULT 'treatment')
	RETURNS text LANGUAGE sql AS $$
	SELECT agentpay._follow_problem(
		jsonb_populate_record(NULL::agentpay.decisions, jsonb_build_object('point', 't_act',
			'agent', 't_act_pre', 'verdict', verdict, 'assignment', assignment)),
		jsonb_populate_record(NULL::agentpay.decisions, jsonb_build_object('point', 't_act',
			'agent', 'other', 'kind', kind, 'verdict', other))) $$;
SELECT is(pg_temp.follows('decline', 'agent', 'review'), NULL, 'a tighter one follows another agent''s');
SELECT is(pg_temp.follows('review', 'agent', 'decline'), 'the verdict of agent other stands', 'a looser one does not');
SELECT is(pg_temp.follows('review', 'agent', 'review'), NULL, 'the same one does');
SELECT is(pg_temp.follows('decline', 'human', 'approve'), 'a person has decided', 'nobody follows a person');
SELECT is(pg_temp.follows('decline', 'rules', 'approve', 'explore'),
	'the payment was let through to learn its label', 'nor an experiment');

-- ── a key that is repeated ──────────────────────────────────────────────────
INSERT INTO t_act.payments VALUES ('k1', 'pre', 5, now(), 'key-1');
INSERT INTO t_act.payments VALUES ('k2', 'pre', 5, now(), 'key-1');
SELECT is((SELECT outcome FROM t_act.payments WHERE id = 'k2'), 'approve', 'before the answer: the rules verdict');
DO $$ BEGIN PERFORM agentpay._end_tasks(array_agg(ROW(t.task_id, t.created_at, agentpay._uuid_v7(),
		NULL, 'decline', 'decline', 0.9, 0.75, '{model_says}', 0.001, 12, NULL)::agentpay._task_end))
   FROM agentpay._tasks t WHERE t.point = 't_act' AND t.row_id = 'k1'; END $$;
INSERT INTO t_act.payments VALUES ('k3', 'pre', 5, now(), 'key-1');
SELECT is((SELECT outcome FROM t_act.payments WHERE id = 'k3'), 'decline', 'after it: the one that stands');
SELECT is((SELECT concat_ws(' ', kind, verdict, detail ->> 'repeats' IS NOT NULL) FROM agentpay.decisions
	WHERE point = 't_act' AND row_id = 'k3'), 'rules decline t', 'by a decision of its own');

-- ── what may be done with an action ─────────────────────────────────────────
SELECT is(pg_temp.refused(format('UPDATE agentpay.actions SET action = ''notify'' WHERE point = ''t_act'' AND row_id = %L', 'a1')),
	(SELECT format('55000 only the state of action %s may change', 'N')), 'nothing but its state');
SELECT is(pg_temp.refused($$UPDATE agentpay.actions SET state = 'finished' WHERE point = 't_act' AND row_id = 'a1'$$),
	'23514 unknown state: ''finished''', 'one of the four');
SELECT is(pg_temp.refused($$DELETE FROM agentpay.actions WHERE point = 't_act' AND row_id = 'a1'$$),
	'55000 action N is open', 'an open one stays');
UPDATE agentpay.actions SET state = 'done' WHERE point = 't_act' AND row_id = 'a1';
SELECT is(pg_temp.refused($$UPDATE agentpay.actions SET state = 'open' WHERE point = 't_act' AND row_id = 'a1'$$),
	'55000 action N is done already', 'done is done');
SELECT is((SELECT concat_ws(' ', actor, action, before ->> 'state', after ->> 'state') FROM agentpay.governance_log
	WHERE object_kind = 'action' ORDER BY logged_at DESC LIMIT 1), session_user || ' update open done', 'and on record');
SELECT is(pg_temp.refused('TRUNCATE agentpay.actions'), '55000 agentpay.actions cannot be truncated', 'no truncation');
SET LOCAL agentpay.clock_offset = '25h';
DO $$ BEGIN PERFORM agentpay._expire_actions(); END $$;
SELECT results_eq($$ SELECT row_id, state FROM agentpay.actions WHERE point = 't_act'
	AND row_id IN ('a1', 'a2', 'a3', 'a5', 'a7') ORDER BY row_id $$,
	$$ VALUES ('a1', 'done'), ('a2', 'open'), ('a3', 'expired'), ('a5', 'expired'), ('a7', 'open') $$,
	'what is actionable no more expires');
SELECT is((SELECT count(*) FROM information_schema.role_table_grants WHERE table_schema = 'agentpay'
	AND table_name = 'actions' AND grantee = 'PUBLIC'), 0::bigint, 'nobody else may read them');
SELECT * FROM finish();
ROLLBACK;
