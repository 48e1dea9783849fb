-- replay() of agents' answers: judged again as of their moment.  Tasks end as
-- the dispatcher ends them; the failure is what _judge() said then, so that
-- what changes afterwards must change nothing.
BEGIN;
SET client_min_messages = error;
SET LOCAL agentpay.clock_offset = '-460000000s';
SELECT plan(14);
CREATE SCHEMA t_ra;
CREATE TABLE t_ra.payments (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
	amount numeric, outcome text);
\o /dev/null
SELECT agentpay.attach('t_ra.payments', point => 't_ra', role => 'fraud', id => 'id',
	occurred_at => 'at', amount => 'amount', currency => 'USD', outcome => 'outcome');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_ra', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [0], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage, min_confidence)
VALUES ('t_ra', 't_ra', 'builtin', 't_ra', 'true', 'shadow', 0.5);
INSERT INTO agentpay.authorities (agent, verdict, max_amount, currency) VALUES ('t_ra', 'review', 500, 'USD');
INSERT INTO t_ra.payments (id, amount) VALUES ('ok', 100), ('over', 900), ('unsure', 100), ('beyond', 100), ('late', 100), ('same', 900);
CREATE FUNCTION pg_temp.ended(id text, answer text, confidence real, failed text DEFAULT NULL) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	t agentpay._tasks;
	r agentpay.decisions;
	a agentpay.agents;
BEGIN
	SELECT x.* INTO t FROM agentpay._tasks x WHERE x.point = 't_ra' AND x.row_id = id;
	SELECT x.* INTO r FROM agentpay.decisions x WHERE x.decision_id = t.decision_id;
	SELECT x.* INTO a FROM agentpay.agents x WHERE x.name = 't_ra';
	PERFORM agentpay._end_tasks(ARRAY[ROW(t.task_id, t.created_at, agentpay._uuid_v7(),
		coalesce(failed, agentpay._judge(t, a, r, answer, confidence)), answer, answer, confidence,
		NULL, NULL, 0, NULL, NULL)::agentpay._task_end]);
END$$;
SELECT pg_temp.ended('ok', 'review', 0.9), pg_temp.ended('over', 'review', 0.9), pg_temp.ended('unsure', 'review', 0.4),
	pg_temp.ended('beyond', 'decline', 0.9), pg_temp.ended('late', NULL, NULL, 'timeout'), pg_temp.ended('same', 'approve', 0.6);
CREATE TEMP VIEW said AS SELECT d.row_id, d.failure, r.state, r.recorded_verdict, r.replayed_verdict, r.difference
  FROM agentpay.decisions d, agentpay.replay(d.decision_id) r WHERE d.point = 't_ra' AND d.kind IN ('agent', 'fallback');
\o
-- from the authority: review up to 500 USD; and min_confidence 0.5
SELECT results_eq('SELECT row_id, failure FROM said ORDER BY row_id COLLATE "C"',
	$$VALUES ('beyond', 'over_authority'), ('late', 'timeout'), ('ok', NULL), ('over', 'over_authority'),
		('same', NULL), ('unsure', 'low_confidence')$$, 'what was judged');
SELECT results_eq('SELECT DISTINCT state, recorded_verdict = replayed_verdict FROM said', $$VALUES ('identical', true)$$, 'at once');
\o /dev/null
UPDATE agentpay.authorities SET max_amount = 5000 WHERE agent = 't_ra';
INSERT INTO agentpay.authorities (agent, verdict) VALUES ('t_ra', 'decline');
UPDATE agentpay.agents SET min_confidence = 0.99 WHERE name = 't_ra';
\o
SELECT results_eq('SELECT DISTINCT state, recorded_verdict = replayed_verdict FROM said', $$VALUES ('identical', true)$$,
	'authorities and the agent changed since');
DELETE FROM agentpay.authorities WHERE agent = 't_ra';
SELECT results_eq('SELECT DISTINCT state FROM said', $$VALUES ('identical')$$, 'the authorities are gone');
SELECT is((SELECT string_agg(state || ' ' || decisions, ', ') FROM agentpay.replay_all(agentpay._now() - interval '1 day',
	agentpay._now() + interval '1 day')), 'identical 12', 'six rules decisions, six ends of tasks');
CREATE FUNCTION pg_temp.forged(id text, changes jsonb) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d agentpay.decisions;
	r record;
BEGIN
	SELECT * INTO d FROM agentpay.decisions x WHERE x.point = 't_ra' AND x.row_id = id AND x.kind IN ('agent', 'fallback') LIMIT 1;
	d := jsonb_populate_record(d, changes || jsonb_build_object('decision_id', agentpay._uuid_v7(), 'xid', NULL));
	PERFORM agentpay._append(d);
	SELECT * INTO r FROM agentpay.replay(d.decision_id);
	RETURN concat_ws(' ', r.state, r.difference);
END$$;
SELECT matches(pg_temp.forged('unsure', '{"confidence": 0.9}'), '^different .*"failure": \{"recorded": "low_confidence"', 'more sure than it was');
SELECT matches(pg_temp.forged('ok', '{"verdict": "decline"}'), '^different \{"verdict"', 'another verdict than its answer');
SELECT matches(pg_temp.forged('ok', '{"authority": "live"}'), '^different \{"authority"', 'live, of an agent in shadow');
-- together as one by one
CREATE TEMP VIEW one_by_one AS SELECT x.state, count(*) AS decisions, min(d.decision_id::text COLLATE "C")::uuid AS first
  FROM agentpay.decisions d CROSS JOIN LATERAL agentpay._replay_answer(d, agentpay._judges_changed_at()) AS x
 WHERE d.kind IN ('agent', 'fallback') GROUP BY 1;
SELECT results_eq('SELECT state FROM one_by_one ORDER BY 1', $$VALUES ('different'), ('identical')$$, 'both occur');
SELECT set_eq($$SELECT * FROM agentpay._replay_answers('-infinity', 'infinity')$$, 'TABLE one_by_one', 'answers judged together as one by one');
-- asked in shadow and answered at the last stage, asked and answered there
\o /dev/null
INSERT INTO t_ra.payments (id, amount) VALUES ('before', 100);
UPDATE agentpay.agents SET min_confidence = 0.5 WHERE name = 't_ra';
INSERT INTO agentpay.gates (agent, metric, bound, enabled) SELECT 't_ra', metric, bound, false FROM agentpay.gates WHERE agent = '*';
SELECT agentpay.promote('t_ra') FROM agentpay.agents, unnest(rollout_steps) WHERE name = 't_ra';
INSERT INTO t_ra.payments (id, amount) VALUES ('after', 100);
SELECT pg_temp.ended('before', 'review', 0.9), pg_temp.ended('after', 'review', 0.9);
SELECT agentpay.roll_back('t_ra', 'test');
\o
SELECT results_eq($$SELECT s.row_id, d.authority, s.state, s.difference::text FROM said s JOIN agentpay.decisions d
	ON d.point = 't_ra' AND d.row_id = s.row_id AND d.kind = 'agent' WHERE s.row_id IN ('after', 'before') ORDER BY 1$$,
	$$VALUES ('after', 'live', 'identical', NULL), ('before', 'shadow', 'identical', NULL)$$, 'the stage of the question counts, and of its answer');
SELECT matches(pg_temp.forged('after', '{"authority": "shadow"}'), '^different \{"authority"', 'in shadow, of one that was live');
SELECT matches(pg_temp.forged('before', '{"authority": "live"}'), '^different \{"authority"', 'live, of one that was asked in shadow');
SELECT set_eq($$SELECT * FROM agentpay._replay_answers('-infinity', 'infinity')$$, 'TABLE one_by_one', 'and again, with stages and forgeries of them');
SELECT * FROM finish();
ROLLBACK;
