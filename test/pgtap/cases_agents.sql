-- Which answers of agents open a case, over chains of tiers.  Tasks and
-- decisions are crafted: what is live is said, not played.
BEGIN;
SET client_min_messages = error;
SELECT plan(14);
CREATE SCHEMA t_ca;
CREATE TABLE t_ca.payments (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
	amount numeric, outcome text);
\o /dev/null
SELECT agentpay.attach('t_ca.payments', point => 't_ca', role => 'fraud', id => 'id',
	occurred_at => 'at', outcome => 'outcome');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_ca', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [0], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_ca2', 't_ca', 'builtin', 't_ca', 'true', 'shadow');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage, escalate_to)
VALUES ('t_ca1', 't_ca', 'builtin', 't_ca', 'true', 'shadow', 't_ca2');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage, position)
VALUES ('t_ca_adviser', 't_ca', 'builtin', 't_ca', 'amount > 10', 'shadow', 'review');
INSERT INTO t_ca.payments (id, amount) SELECT 'p' || i, 100 FROM generate_series(1, 12) AS i;
INSERT INTO t_ca.payments (id, amount) VALUES ('small', 1);
\o
-- the end of the task of an agent about a row; below: the task that escalated
CREATE FUNCTION pg_temp.ended(id text, agent text, authority text, failure text,
	below bigint DEFAULT NULL, repeat_no int DEFAULT 0, quiet boolean DEFAULT false) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	r agentpay.decisions;
	task bigint := nextval('agentpay._task_id_seq');
	d agentpay.decisions;
BEGIN
	SELECT x.* INTO r FROM agentpay.decisions x WHERE x.point = 't_ca' AND x.row_id = id AND x.kind = 'rules';
	PERFORM agentpay._append(ROW(task, r.decided_at, 't_ca', id, r.decision_id, agent, 1, NULL,
		gen_random_uuid(), repeat_no, below, 1, 5000, false, 100, 0, NULL)::agentpay._tasks);
	IF below IS NOT NULL THEN
		INSERT INTO agentpay._asked_later VALUES (r.decision_id, agent, task, below, now());
	END IF;
	d := ROW(agentpay._uuid_v7(), agentpay._now(), 't_ca', id, r.occurred_at, NULL, NULL, NULL,
		CASE WHEN failure IS NULL THEN 'agent' ELSE 'fallback' END, authority, 'approve', NULL,
		'treatment', repeat_no, 1, NULL, '{}', NULL, agent, 1, 0.1, failure, NULL, 0, NULL, NULL,
		jsonb_strip_nulls(jsonb_build_object('task_id', task, 'escalated_from', below)), NULL, NULL,
		NULL)::agentpay.decisions;
	PERFORM agentpay._append(d);
	IF NOT quiet THEN
		PERFORM agentpay._open_cases(ARRAY[d]);
	END IF;
	RETURN task;
END$$;
CREATE FUNCTION pg_temp.case_of(id text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' ', c.agent, c.cause, d.agent), ', ' ORDER BY c.case_id)
	  FROM agentpay.cases c JOIN agentpay.decisions d USING (decision_id)
	 WHERE c.point = 't_ca' AND c.row_id = id $$;

SELECT is(pg_temp.case_of('p1'), NULL, 'an approved payment has none');
SELECT pg_temp.ended('p1', 't_ca1', 'live', 'low_confidence') \g /dev/null
SELECT is(pg_temp.case_of('p1'), 't_ca1 low_confidence t_ca1', 'a live agent that is unsure');
SELECT pg_temp.ended('p2', 't_ca1', 'live', 'over_authority') \g /dev/null
SELECT is(pg_temp.case_of('p2'), 't_ca1 over_authority t_ca1', 'or over its authority');
SELECT pg_temp.ended('p3', 't_ca1', 'shadow', 'low_confidence') \g /dev/null
SELECT is(pg_temp.case_of('p3'), NULL, 'not one in shadow');
SELECT pg_temp.ended('p4', 't_ca1', 'live', 'timeout') \g /dev/null
SELECT is(pg_temp.case_of('p4'), NULL, 'nor one that failed otherwise');
SELECT pg_temp.ended('p5', 't_ca1', 'live', 'low_confidence', NULL, 1) \g /dev/null
SELECT is(pg_temp.case_of('p5'), NULL, 'nor an answer that was asked again');
SELECT pg_temp.ended('p6', 't_ca_adviser', 'live', 'low_confidence') \g /dev/null
SELECT is(pg_temp.case_of('p6'), NULL, 'nor an adviser');

-- two tiers: the one above decides, fails, is in shadow
SELECT pg_temp.ended('p7', 't_ca2', 'live', NULL, pg_temp.ended('p7', 't_ca1', 'shadow', 'low_confidence')) \g /dev/null
SELECT is(pg_temp.case_of('p7'), NULL, 'the tier above decides');
SELECT pg_temp.ended('p8', 't_ca2', 'live', 'low_confidence', pg_temp.ended('p8', 't_ca1', 'shadow', 'low_confidence')) \g /dev/null
SELECT is(pg_temp.case_of('p8'), 't_ca2 low_confidence t_ca2', 'is unsure too: its case');
-- what the tier below had said stands in the log when the one above ends
CREATE FUNCTION pg_temp.below_first(id text, above_authority text, above_failure text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	first bigint;
BEGIN
	-- as while the one above is asked
	first := pg_temp.ended(id, 't_ca1', 'live', 'low_confidence', quiet => true);
	PERFORM pg_temp.ended(id, 't_ca2', above_authority, above_failure, first);
END$$;
SELECT pg_temp.below_first('p9', 'live', 'timeout') \g /dev/null
SELECT is(pg_temp.case_of('p9'), 't_ca1 low_confidence t_ca1', 'fails: the case of the one below, once');
SELECT pg_temp.below_first('p10', 'shadow', NULL) \g /dev/null
SELECT is(pg_temp.case_of('p10'), 't_ca1 low_confidence t_ca1', 'is in shadow: the same');

-- a person has decided
SELECT agentpay.open_case('t_ca', 'p11', 'x') \g /dev/null
SELECT agentpay.resolve_case((SELECT case_id FROM agentpay.cases WHERE point = 't_ca' AND row_id = 'p11'), 'approve', 'x') \g /dev/null
SELECT pg_temp.ended('p11', 't_ca1', 'live', 'low_confidence') \g /dev/null
SELECT is(pg_temp.case_of('p11'), 'manual', 'after a person no agent opens one');

-- who advises is asked with the case, where its invoke_when held
SELECT pg_temp.ended('small', 't_ca1', 'live', 'low_confidence') \g /dev/null
SELECT is((SELECT string_agg(t.row_id, ', ' ORDER BY t.row_id) FROM agentpay._tasks t
			WHERE t.point = 't_ca' AND t.agent = 't_ca_adviser' AND t.row_id IN ('p1', 'p3', 'small')), 'p1',
	'the adviser is asked with the case');
-- the governor opens what is missing, once
SELECT pg_temp.ended('p12', 't_ca1', 'live', 'low_confidence', quiet => true) \g /dev/null
CREATE TEMP TABLE before AS SELECT count(*) AS n FROM agentpay.cases WHERE point = 't_ca';
SELECT agentpay._open_missing_cases(), agentpay._open_missing_cases() \g /dev/null
SELECT is((SELECT count(*) FROM agentpay.cases WHERE point = 't_ca') - n, 1::bigint, 'the governor opens the missing one alone')
  FROM before;
SELECT * FROM finish();
ROLLBACK;
