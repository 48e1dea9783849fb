-- What a person's verdict does: the decision, the row's column or an action,
-- the label, the case; and what it refuses.
BEGIN;
SET client_min_messages = error;
SELECT plan(26);
CREATE SCHEMA t_res;
CREATE TABLE t_res.payments (id text PRIMARY KEY, amount numeric, at timestamptz NOT NULL
	DEFAULT clock_timestamp(), outcome text, reasons text[]);
\o /dev/null
SELECT agentpay.attach('t_res.payments', point => 't_res', role => 'fraud',
	id => 'id', occurred_at => 'at', outcome => 'outcome', reasons => 'reasons');
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('t_res', 'MID', 'amount > 100', 'review'), ('t_res', 'HIGH', 'amount > 1000', 'decline');
SELECT agentpay.activate('t_res');
INSERT INTO t_res.payments (id, amount) VALUES ('r1', 500), ('r2', 500), ('r3', 500), ('a1', 5), ('d1', 5000);
INSERT INTO t_res.payments (id, amount, at) VALUES ('a2', 5, now() - interval '3 days');
\o
CREATE FUNCTION pg_temp.case_of(id text) RETURNS bigint LANGUAGE sql AS $$
	SELECT max(case_id) FROM agentpay.cases WHERE point = 't_res' AND row_id = id $$;
CREATE FUNCTION pg_temp.row_of(id text) RETURNS text LANGUAGE sql AS $$
	SELECT outcome || ' ' || reasons::text FROM t_res.payments p WHERE p.id = row_of.id $$;
CREATE FUNCTION pg_temp.action_of(id text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', action, state, actionable_until - p.at), ', ' ORDER BY action_id)
	  FROM agentpay.actions a JOIN t_res.payments p ON p.id = a.row_id
	 WHERE a.point = 't_res' AND a.row_id = action_of.id $$;
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	RETURN concat_ws(' | ', SQLSTATE, regexp_replace(SQLERRM, '[0-9]+', 'N'));
END$$;

-- a review: into the column
SELECT isnt(agentpay.resolve_case(pg_temp.case_of('r1'), 'approve', 'card 4111 1111 1111 1111 is known', 'legit'),
	NULL, 'resolved');
SELECT is(pg_temp.row_of('r1'), 'approve {MID}', 'the row has the verdict, and its reasons still');
SELECT is((SELECT concat_ws(' ', kind, authority, verdict, detail ->> 'reason', detail ->> 'actor' = session_user,
			supersedes = (SELECT decision_id FROM agentpay.decisions WHERE point = 't_res' AND row_id = 'r1' AND kind = 'rules'))
			 FROM agentpay.decisions WHERE point = 't_res' AND row_id = 'r1' AND kind = 'human'),
	'human live approve card [PAN] is known t t', 'the decision says who and why, without the card''s number');
SELECT is((SELECT concat_ws(' ', state, closed_at = first_action_at, resolution_id = d.decision_id)
			 FROM agentpay.cases c JOIN agentpay.decisions d ON d.kind = 'human' AND d.row_id = c.row_id AND d.point = c.point
			WHERE c.case_id = pg_temp.case_of('r1')), 'closed t t', 'the case is closed by it');
SELECT is((SELECT label || ' ' || source FROM agentpay.outcomes WHERE point = 't_res' AND row_id = 'r1'),
	'legit analyst', 'the label');
SELECT is((SELECT kind || ' ' || verdict FROM agentpay.current_decisions WHERE point = 't_res' AND row_id = 'r1'),
	'human approve', 'it stands');
SELECT is(pg_temp.action_of('r1'), NULL, 'nothing to do for the payment system');
SELECT is(pg_temp.refused(format('SELECT agentpay.resolve_case(%s, ''decline'', ''x'')', pg_temp.case_of('r1'))),
	'55000 | case N is closed', 'not twice');

-- a payment that was let through: never rewritten
SELECT isnt(agentpay.open_case('t_res', 'a1', 'the customer called'), NULL, 'a case by hand');
SELECT isnt(agentpay.resolve_case(pg_temp.case_of('a1'), 'decline', 'stolen', 'fraud'), NULL, 'resolved');
SELECT is(pg_temp.row_of('a1'), 'approve {}', 'the authorisation stays');
SELECT is(pg_temp.action_of('a1'), 'void open 1 day', 'and can be voided until the capture');
SELECT isnt(agentpay.open_case('t_res', 'a2', 'the customer called'), NULL, 'three days old');
SELECT isnt(agentpay.resolve_case(pg_temp.case_of('a2'), 'decline', 'stolen'), NULL, 'resolved');
SELECT is(pg_temp.action_of('a2'), 'refund open', 'after it, the money can be given back');
SELECT isnt(agentpay.open_case('t_res', 'a1', 'it was the customer after all'), NULL, 'again');
SELECT isnt(agentpay.resolve_case(pg_temp.case_of('a1'), 'approve', 'a mistake'), NULL, 'taken back');
SELECT is(pg_temp.action_of('a1'), 'void open 1 day, notify open', 'the payment system is told');
SELECT is((SELECT verdict FROM agentpay.current_decisions WHERE point = 't_res' AND row_id = 'a1'),
	'approve', 'the latest person''s verdict stands');

-- from a decline; to another verdict twice
SELECT is((SELECT count(*) FROM agentpay.cases WHERE point = 't_res' AND row_id = 'd1'), 0::bigint, 'a decline needs nobody');
SELECT lives_ok($$SELECT agentpay.open_case('t_res', 'd1', 'complaint'); SELECT agentpay.resolve_case(pg_temp.case_of('d1'), 'review', 'wait')$$, 'loosened');
SELECT lives_ok($$SELECT agentpay.open_case('t_res', 'd1', 'complaint'); SELECT agentpay.resolve_case(pg_temp.case_of('d1'), 'approve', 'fine')$$, 'and again');
SELECT is(pg_temp.row_of('d1'), 'approve {HIGH,MID}', 'each in the column');

-- what the user's own code has changed stays
UPDATE t_res.payments SET outcome = 'frozen' WHERE id = 'r2';
SELECT lives_ok(format('SELECT agentpay.resolve_case(%s, ''decline'', ''x'')', pg_temp.case_of('r2')), 'resolved all the same');
SELECT is(pg_temp.row_of('r2') || ' ' || (SELECT detail ? 'not_applied' FROM agentpay.decisions WHERE point = 't_res' AND row_id = 'r2' AND kind = 'human'),
	'frozen {MID} true', 'the row stays, and the decision says so');

-- the label of an audited row
UPDATE agentpay.decision_points SET audit_sample_percent = 100 WHERE point = 't_res';
INSERT INTO t_res.payments (id, amount) VALUES ('x1', 5);
SELECT agentpay.resolve_case(pg_temp.case_of('x1'), 'approve', 'fine', 'legit') \g /dev/null
SELECT is((SELECT label || ' ' || source FROM agentpay.outcomes WHERE point = 't_res' AND row_id = 'x1'),
	'legit audit', 'the label of an audited row has its propensity''s source');
SELECT * FROM finish();
ROLLBACK;
