-- four_eyes: one login asks, another one approves.
BEGIN;
SET client_min_messages = warning;
CREATE ROLE t_eyes_a SUPERUSER;
CREATE ROLE t_eyes_b SUPERUSER;
CREATE SCHEMA t_eyes;
CREATE TABLE t_eyes.payments (id text PRIMARY KEY, at timestamptz NOT NULL
	DEFAULT now(), outcome text);
\o /dev/null
SELECT agentpay.attach('t_eyes.payments', point => 't_eyes', role => 'fraud',
	id => 'id', occurred_at => 'at', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('t_eyes', 'ALL', 'true', 'review');
SELECT agentpay.activate('t_eyes');
UPDATE agentpay.decision_points SET four_eyes = true WHERE point = 't_eyes';
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('t_eyes', 'STRICT', 'true', 'decline');
\o
\ir refused.psql
CREATE FUNCTION pg_temp.states() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(version || ' ' || state, ', ' ORDER BY version)
	  FROM agentpay.rulesets WHERE point = 't_eyes' $$;
CREATE FUNCTION pg_temp.decided(row_id text) RETURNS text LANGUAGE sql AS $$
	INSERT INTO t_eyes.payments (id) VALUES (row_id) RETURNING outcome $$;
SELECT plan(24);

SELECT is(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 2, 'good')$$),
	'55000 | nobody asked to activate version 2 of point "t_eyes" | SELECT agentpay.activate(''t_eyes'', 2);',
	'nobody asked');
SELECT is(pg_temp.refused($$UPDATE agentpay.rulesets SET state = 'active'
	WHERE point = 't_eyes' AND version = 2$$),
	'42501 | version 2 of the rules of point "t_eyes" is not approved | SELECT agentpay.activate(''t_eyes'', 2); then, by another login, SELECT agentpay.approve(''t_eyes'', 2, reason => ''...'');',
	'not by hand either');

SET SESSION AUTHORIZATION t_eyes_a;
SELECT is(agentpay.activate('t_eyes'), 2, 'asked');
SELECT is(pg_temp.states(), '1 active, 2 draft', 'it waits');
SELECT is(pg_temp.decided('p1'), 'review', 'the old version decides');
SELECT is(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 2, 'good')$$),
	'42501 | "t_eyes_a" asked to activate version 2 of point "t_eyes", and cannot approve it | Let another login run SELECT agentpay.approve(''t_eyes'', 2, reason => ''...'');',
	'not by who asked');
SET ROLE t_eyes_b;
SELECT alike(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 2, 'good')$$),
	'42501 | "t_eyes_a" asked%', 'nor under another role');
RESET ROLE;

SET SESSION AUTHORIZATION t_eyes_b;
SELECT alike(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 2, ' ')$$),
	'22023 | approve() needs a reason | %', 'not without a reason');
SELECT alike(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 9, 'good')$$),
	'42704 | point "t_eyes" has no version 9 | %', 'no such version');
SELECT alike(pg_temp.refused($$SELECT agentpay.approve('t_eyes', NULL, 'good')$$),
	'42704 | %', 'no version');
SELECT alike(pg_temp.refused($$SELECT agentpay.approve('nowhere', 2, 'good')$$),
	'23503 | %', 'no such point');
SAVEPOINT before_change;
UPDATE agentpay.rules SET verdict = 'approve'
 WHERE point = 't_eyes' AND version = 2 AND code = 'STRICT';
SELECT is(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 2, 'good')$$),
	'55000 | version 2 of point "t_eyes" has changed since it was asked for | SELECT agentpay.activate(''t_eyes'', 2); asks for the present one.',
	'not what was changed since');
ROLLBACK TO before_change;
UPDATE agentpay.rules SET snoozed_until = now() - interval '1 day'
 WHERE point = 't_eyes' AND version = 2 AND code = 'STRICT';
SELECT lives_ok($$SELECT agentpay.approve('t_eyes', 2, 'tried it')$$,
	'another login approves; snoozing is no change');
SELECT is(pg_temp.states(), '1 retired, 2 active', 'it is active');
SELECT is(pg_temp.decided('p2'), 'decline', 'and decides');
SELECT results_eq($$SELECT actor::text COLLATE "default", action, reason, after ->> 'asked_by'
	FROM agentpay.governance_log WHERE object_kind = 'ruleset'
	AND object = 't_eyes.2' AND action IN ('ask', 'approve', 'activate')
	ORDER BY logged_at, event_id$$,
	$$VALUES ('t_eyes_a', 'ask', NULL::text COLLATE "default", NULL::text COLLATE "default"),
	('t_eyes_b', 'approve', 'tried it', 't_eyes_a'),
	('t_eyes_b', 'activate', NULL, NULL)$$, 'who did what');
SELECT alike(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 2, 'good')$$),
	'55000 | nobody asked%', 'a request is answered once');

-- back at once, and forth again only by two
SELECT is(agentpay.revert('t_eyes', 'too strict'), 1, 'revert() needs nobody');
SELECT is(agentpay.activate('t_eyes', 2), 2, 'a retired version');
SELECT is(pg_temp.states(), '1 active, 2 retired', 'waits as well');
SET SESSION AUTHORIZATION t_eyes_a;
SELECT lives_ok($$SELECT agentpay.approve('t_eyes', 2, 'again')$$, 'approved');
SELECT is(pg_temp.states(), '1 retired, 2 active', 'active again');

-- without four eyes, no wait; it takes two to say so
SET client_min_messages = error;
UPDATE agentpay.decision_points SET four_eyes = false WHERE point = 't_eyes';
SET client_min_messages = warning;
SET SESSION AUTHORIZATION t_eyes_b;
UPDATE agentpay.decision_points SET four_eyes = false WHERE point = 't_eyes';
SELECT is(agentpay.activate('t_eyes', 1), 1, 'one pair is enough');
SELECT is(pg_temp.refused($$SELECT agentpay.approve('t_eyes', 2, 'good')$$),
	'55000 | point "t_eyes" needs no approval | SELECT agentpay.activate(''t_eyes'', 2);',
	'nothing to approve');
RESET SESSION AUTHORIZATION;
SELECT * FROM finish();
ROLLBACK;
