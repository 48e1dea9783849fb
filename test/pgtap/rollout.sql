-- Stages: who is inside, how an agent goes up, and what sends it down.
BEGIN;
SET client_min_messages = warning;
CREATE ROLE t_roll_a SUPERUSER;
CREATE ROLE t_roll_b SUPERUSER;
CREATE SCHEMA t_roll;
CREATE TABLE t_roll.payments (id text PRIMARY KEY, at timestamptz NOT NULL
	DEFAULT now(), customer text, amount numeric, outcome text);
\o /dev/null
SELECT agentpay.attach('t_roll.payments', 't_roll', 'fraud', 'id', 'at',
	amount => 'amount', currency => 'USD', subject => 'customer',
	outcome => 'outcome');
\o
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_roll', 'logistic', '{amount}',
	'{"intercept":9,"coefficients":[0],"mean":[0],"scale":[1]}');
\ir refused.psql
CREATE FUNCTION pg_temp.stage(agent text) RETURNS text LANGUAGE sql AS $$
	SELECT stage FROM agentpay.agents WHERE name = agent $$;
-- An agent at that stage, and a payment of which nothing special is known.
CREATE FUNCTION pg_temp.at(stage text, holdout numeric) RETURNS agentpay.agents
	LANGUAGE sql AS $$
	SELECT jsonb_populate_record(NULL::agentpay.agents,
		jsonb_build_object('stage', stage, 'holdout_percent', holdout)) $$;
CREATE FUNCTION pg_temp.treated() RETURNS agentpay.decisions LANGUAGE sql AS $$
	SELECT jsonb_populate_record(NULL::agentpay.decisions,
		'{"assignment": "treatment"}') $$;
SELECT plan(117);

-- ── buckets ─────────────────────────────────────────────────────────────────
-- A salt that is there before its agent stays; expected numbers by the Python
-- program of docs/rollout.md with hashlib.sha256(b"t_roll").digest() as salt.
INSERT INTO agentpay._agent_salts VALUES ('t_roll', sha256('t_roll'));
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_roll', 't_roll', 'builtin', 't_roll', 'true', 'shadow');
INSERT INTO t_roll.payments (id, customer) VALUES
	('1', 'ann'), ('2', 'Jörg'), ('900001', NULL), ('4', 'ann');
SELECT is((SELECT t.bucket || ' ' || t.holdout_bucket FROM agentpay._tasks t
			WHERE t.point = 't_roll' AND t.row_id = e.id), e.expected,
	'bucket of row ' || e.id)
  FROM (VALUES ('1', '94 4613'), ('2', '75 4071'), ('4', '94 4613'),
		-- without a subject, by its id
		('900001', '61 8054')) AS e (id, expected);
UPDATE agentpay.agents SET price_per_call = 0.001 WHERE name = 't_roll';
INSERT INTO t_roll.payments (id, customer) VALUES ('5', 'ann');
SELECT is((SELECT array_agg(t.agent_version || ' ' || t.bucket ORDER BY t.task_id)
			 FROM agentpay._tasks t WHERE t.point = 't_roll'
			  AND t.row_id IN ('4', '5')), '{"1 94","2 94"}',
	'the same in another version');

SELECT is(pg_temp.refused($$UPDATE agentpay._agent_salts SET salt = sha256('x')
	WHERE agent = 't_roll'$$),
	'55000 | the salt of an agent cannot change | Make an agent of another name: it gets a salt of its own.',
	'a salt stays');
SELECT alike(pg_temp.refused($$DELETE FROM agentpay._agent_salts
	WHERE agent = 't_roll'$$), '55000 | %', 'it cannot go');
SELECT alike(pg_temp.refused('TRUNCATE agentpay._agent_salts'), '55000 | %',
	'nor can all');
SET session_replication_role = replica;
SELECT alike(pg_temp.refused($$DELETE FROM agentpay._agent_salts
	WHERE agent = 't_roll'$$), '55000 | %', 'nor past triggers');
RESET session_replication_role;
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when)
VALUES ('t_roll_2', 't_roll', 'builtin', 't_roll', 'true');
CREATE TEMP TABLE salts AS TABLE agentpay._agent_salts;
SELECT is((SELECT octet_length(salt) FROM salts WHERE agent = 't_roll_2'), 32,
	'every agent gets one');
DELETE FROM agentpay.agents WHERE name = 't_roll_2';
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_roll_2', 't_roll', 'builtin', 't_roll', 'true', 'shadow');
SELECT results_eq('TABLE agentpay._agent_salts ORDER BY agent',
	'TABLE salts ORDER BY agent', 'it outlives its agent');

-- With the salt that agentpay chose, 10,000 rows by their id. Binomial, five
-- standard deviations: 5 % 500 ± 109, 25 % 2500 ± 216, holdout 10 % 1000 ± 150,
-- both 25 % and 10 % 250 ± 78.
INSERT INTO t_roll.payments (id)
SELECT 'r' || g FROM generate_series(1, 10000) AS g;
CREATE TEMP TABLE drawn AS
	SELECT t.row_id, t.bucket, t.holdout_bucket,
		   agentpay._is_live(jsonb_populate_record(t, a.asked), a.at_5, a.r) AS at_5,
		   agentpay._is_live(jsonb_populate_record(t, a.asked), a.at_25, a.r) AS at_25,
		   agentpay._is_live(jsonb_populate_record(t, a.asked), a.at_100, a.r) AS at_100,
		   agentpay._is_live(jsonb_populate_record(t, a.asked), a.in_shadow, a.r) AS in_shadow,
		   agentpay._is_live(jsonb_populate_record(t, a.asked), a.held_10, a.r) AS beside_holdout,
		   agentpay._is_live(t, a.at_100, a.r) AS asked_in_shadow,
		   agentpay._held_out(t, a.held_10) AS held_10,
		   agentpay._held_out(t, a.held_2_5) AS held_2_5
	  FROM agentpay._tasks t, (SELECT pg_temp.at('5', 0) AS at_5,
			-- as if it had been asked at the last stage
			'{"stage": 100}'::jsonb AS asked,
			pg_temp.at('25', 0) AS at_25, pg_temp.at('100', 0) AS at_100,
			pg_temp.at('shadow', 0) AS in_shadow,
			pg_temp.at('100', 10) AS held_10,
			pg_temp.at('100', 2.5) AS held_2_5, pg_temp.treated() AS r
			OFFSET 0) AS a
	 WHERE t.agent = 't_roll_2' AND t.row_id LIKE 'r%';
SELECT is((SELECT count(*) FROM drawn), 10000::bigint, 'one question a row');
SELECT is((SELECT min(bucket) || ' ' || max(bucket) || ' '
				  || count(DISTINCT bucket) FROM drawn), '0 99 100',
	'100 buckets');
SELECT cmp_ok(abs(count(*) FILTER (WHERE at_5) - 500), '<=', 109::bigint,
	'5 % are inside at 5') FROM drawn;
SELECT cmp_ok(abs(count(*) FILTER (WHERE at_25) - 2500), '<=', 216::bigint,
	'25 % at 25') FROM drawn;
SELECT is(count(*) FILTER (WHERE at_100), 10000::bigint, 'all at 100')
  FROM drawn;
SELECT is(count(*) FILTER (WHERE in_shadow), 0::bigint, 'none in shadow')
  FROM drawn;
SELECT is(count(*) FILTER (WHERE asked_in_shadow), 0::bigint,
	'nor at 100, asked in shadow') FROM drawn;
SELECT is(count(*) FILTER (WHERE at_5 AND NOT at_25), 0::bigint,
	'who is inside stays inside') FROM drawn;
SELECT cmp_ok(abs(count(*) FILTER (WHERE held_10) - 1000), '<=', 150::bigint,
	'10 % are held out') FROM drawn;
SELECT cmp_ok(abs(count(*) FILTER (WHERE held_10 AND at_25) - 250), '<=',
	78::bigint, 'independently of the bucket') FROM drawn;
SELECT is(count(*) FILTER (WHERE held_2_5 AND NOT held_10), 0::bigint,
	'a larger control group has the smaller one in it') FROM drawn;
SELECT cmp_ok(count(*) FILTER (WHERE held_2_5), '>', 0::bigint,
	'which is there') FROM drawn;
SELECT is(count(*) FILTER (WHERE beside_holdout = held_10), 0::bigint,
	'live at 100 is who is not held out') FROM drawn;
SELECT is(count(*) FILTER (WHERE held_2_5 <> (holdout_bucket < 250)), 0::bigint,
	'two decimal places count') FROM drawn;
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_roll_2';

-- An undrawn task, one asked again, one that explore let through, advice.
SELECT is(agentpay._is_live(jsonb_populate_record(NULL::agentpay._tasks, t), jsonb_populate_record(
		NULL::agentpay.agents, '{"stage": "100", "holdout_percent": 0}'::jsonb || a),
	jsonb_populate_record(NULL::agentpay.decisions, r)), live, name)
  FROM (VALUES
	('drawn', '{"bucket": 99, "holdout_bucket": 0, "repeat_no": 0}'::jsonb,
	 '{}'::jsonb, '{"assignment": "treatment"}'::jsonb, true),
	('not drawn', '{"repeat_no": 0}', '{}', '{"assignment": "treatment"}', false),
	('asked again', '{"bucket": 1, "holdout_bucket": 0, "repeat_no": 1}', '{}',
	 '{"assignment": "treatment"}', false),
	('audited', '{"bucket": 1, "holdout_bucket": 0, "repeat_no": 0}', '{}',
	 '{"assignment": "audit"}', true),
	('explored', '{"bucket": 1, "holdout_bucket": 0, "repeat_no": 0}', '{}',
	 '{"assignment": "explore"}', false),
	('advice', '{"bucket": 1, "holdout_bucket": 0, "repeat_no": 0}',
	 '{"position": "review"}', '{"assignment": "treatment"}', false))
	AS x (name, t, a, r, live);
SELECT is(agentpay._is_live(t, NULL, NULL), false, 'an agent that is gone')
  FROM agentpay._tasks t WHERE t.point = 't_roll' AND t.row_id = '1';
SELECT is(agentpay._assignment(
	jsonb_populate_record(NULL::agentpay._tasks, '{"holdout_bucket": 0}'),
	jsonb_populate_record(NULL::agentpay.agents, '{"holdout_percent": 1}'),
	jsonb_populate_record(NULL::agentpay.decisions,
		jsonb_build_object('assignment', a.was))), a.is,
	'held out: ' || a.was)
  FROM (VALUES ('treatment', 'holdout'), ('audit', 'holdout'),
			   ('explore', 'explore')) AS a (was, "is");

-- ── up ──────────────────────────────────────────────────────────────────────
SELECT is(pg_temp.refused($$INSERT INTO agentpay.agents (name, point, protocol,
	model, invoke_when, stage) VALUES ('t_roll_3', 't_roll', 'builtin', 't_roll',
	'true', '5')$$),
	'55000 | agent "t_roll_3" cannot begin at stage 5 | In the INSERT, use stage = ''shadow''; then SELECT agentpay.promote(''t_roll_3'');',
	'none begins live');
SELECT is(pg_temp.refused($$UPDATE agentpay.agents SET stage = '5'
	WHERE name = 't_roll'$$),
	'55000 | agent "t_roll" cannot go from stage shadow to 5 by UPDATE | SELECT agentpay.promote(''t_roll'');',
	'none is raised by UPDATE');
SET session_replication_role = replica;
SELECT alike(pg_temp.refused($$UPDATE agentpay.agents SET stage = '5'
	WHERE name = 't_roll'$$), '55000 | agent "t_roll" cannot go%',
	'nor with other triggers off');
RESET session_replication_role;
SELECT alike(pg_temp.refused($$UPDATE agentpay.agents SET stage = '7'
	WHERE name = 't_roll'$$), '55000 | %', 'nor to what is no step');
SELECT is(pg_temp.refused($$UPDATE agentpay.agents SET stage = 'live'
	WHERE name = 't_roll'$$),
	'23514 | unknown stage: ''live'' | UPDATE agentpay.agents SET stage = ''shadow'' WHERE name = ''t_roll'';',
	'no such stage');
SELECT alike(pg_temp.refused($$UPDATE agentpay.agents SET stage = 'off',
	rollout_steps = '{5,5}' WHERE name = 't_roll'$$),
	'22023 | rollout_steps of agent "t_roll" do not rise%', 'steps rise');
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('nobody')$$),
	'42704 | unknown agent: ''nobody'' | %', 'no such agent to promote');
SELECT alike(pg_temp.refused($$SELECT agentpay.promote(NULL)$$),
	'42704 | unknown agent: NULL | %', 'none at all');
-- 4 gates come with agentpay; none of them holds
SELECT results_eq($$SELECT kind, metric, direction, bound, value, samples, state
	FROM agentpay.rollout_status WHERE agent = 't_roll' ORDER BY metric$$,
	$$VALUES ('gate', 'accuracy_vs_rules', 'min', -0.01, NULL::numeric,
			0::bigint, 'hold'),
		('gate', 'cost_variation', 'max', 1.0, NULL, 0, 'hold'),
		('gate', 'labelled_samples', 'min', 500, 0, 0, 'hold'),
		('gate', 'sign_off', 'min', 1, 0, 0, 'hold')$$, 'missing data is hold');
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('t_roll')$$),
	'AP005 | agent "t_roll" cannot go from stage shadow to 5: 4 of its gates are closed | %INSERT INTO agentpay.gates (agent, metric, bound, enabled) VALUES (''t_roll'', ''accuracy_vs_rules'', -0.01, false)%',
	'closed gates');
CREATE FUNCTION pg_temp.lines() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	lines text;
BEGIN
	PERFORM agentpay.promote('t_roll');
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS lines = PG_EXCEPTION_DETAIL;
	RETURN lines;
END$$;
SELECT is(pg_temp.lines(), $$accuracy_vs_rules: hold, value not known, bound min -0.01, samples 0
cost_variation: hold, value not known, bound max 1, samples 0
labelled_samples: hold, value 0, bound min 500, samples 0
sign_off: hold, value 0, bound min 1, samples 0$$, 'a line for each gate');
SELECT is(pg_temp.stage('t_roll'), 'shadow', 'it stays where it is');

-- gates of its own go before those of all
INSERT INTO agentpay.gates (agent, metric, bound, enabled) VALUES
	('t_roll', 'labelled_samples', 500, false),
	('t_roll', 'accuracy_vs_rules', -0.01, false),
	('t_roll', 'cost_variation', 1, false);
SELECT is((SELECT array_agg(metric) FROM agentpay.rollout_status
			WHERE agent = 't_roll'), '{sign_off}', 'only the signature is left');
SELECT is((SELECT count(*) FROM agentpay.governance_log
			WHERE object_kind = 'gate' AND object LIKE 't\_roll.%'), 3::bigint,
	'who disabled gates is on record');

SET SESSION AUTHORIZATION t_roll_a;
SELECT alike(pg_temp.refused($$SELECT agentpay.sign_off('t_roll', ' ')$$),
	'22023 | sign_off() needs a reason | %', 'not without a reason');
SELECT alike(pg_temp.refused($$SELECT agentpay.sign_off('t_roll_2', 'good')$$),
	'55000 | agent "t_roll_2" is at stage off: there is nothing to sign | SELECT agentpay.promote(''t_roll_2'');',
	'nothing to sign');
SELECT lives_ok($$SELECT agentpay.sign_off('t_roll', 'good')$$, 'signed');
SELECT is((SELECT value || ' ' || state FROM agentpay.rollout_status
			WHERE agent = 't_roll'), '0 hold', 'not for who signed');
SELECT is(pg_temp.refused($$SELECT agentpay.promote('t_roll')$$),
	'AP005 | agent "t_roll" cannot go from stage shadow to 5: 1 of its gates is closed | Let another login run SELECT agentpay.sign_off(''t_roll'', reason => ''...'');',
	'who signed cannot promote');
SET ROLE t_roll_b;
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('t_roll')$$), 'AP005 | %',
	'nor under another role');
RESET ROLE;
SET SESSION AUTHORIZATION t_roll_b;
SELECT is((SELECT value || ' ' || state FROM agentpay.rollout_status
			WHERE agent = 't_roll'), '1 pass', 'but for another login');
-- a change that keeps the stage makes another version, which nobody signed
SAVEPOINT other_version;
UPDATE agentpay.agents SET timeout_ms = 1000 WHERE name = 't_roll';
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('t_roll')$$), 'AP005 | %',
	'a signature is for one version');
ROLLBACK TO SAVEPOINT other_version;
SELECT is(agentpay.promote('t_roll'), '5', 'promoted');
SELECT is(pg_temp.stage('t_roll'), '5', 'it is there');
SELECT is((SELECT g.actor || ' ' || (g.after ->> 'signed_by') FROM agentpay.governance_log g
			WHERE g.action = 'promote' AND g.object = 't_roll'),
	't_roll_b ["t_roll_a"]', 'who promoted and who signed is on record');
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('t_roll')$$), 'AP005 | %',
	'a signature is used once');
-- nothing of that event may be used again
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_roll';
SELECT is(pg_temp.refused($$UPDATE agentpay.agents SET stage = '5'
	WHERE name = 't_roll'$$),
	'55000 | agent "t_roll" cannot go from stage shadow to 5 by UPDATE | SELECT agentpay.promote(''t_roll'');',
	'down and up again is not promoted');
RESET SESSION AUTHORIZATION;
UPDATE agentpay.gates SET enabled = false WHERE agent = '*';
SELECT is_empty($$SELECT FROM agentpay.rollout_status$$,
	'gates that are disabled are not asked for');
SELECT is(agentpay.promote('t_roll'), s.stage, 'up to ' || s.stage)
  FROM (VALUES ('5'), ('25'), ('100')) AS s (stage);
SELECT is(pg_temp.refused($$SELECT agentpay.promote('t_roll')$$),
	'55000 | agent "t_roll" is at its last stage, 100 | SELECT agentpay.roll_back(''t_roll'', reason => ''...''); takes it back to shadow.',
	'no further');
SELECT alike(pg_temp.refused($$SELECT agentpay.sign_off('t_roll', 'good')$$),
	'55000 | agent "t_roll" is at stage 100: there is nothing to sign%',
	'and nothing to sign');

-- ── the answer counts where the row is inside ───────────────────────────────
UPDATE agentpay.agents SET stage = '25', holdout_percent = 20
 WHERE name = 't_roll';
INSERT INTO t_roll.payments (id, customer)
SELECT 'e' || g, 'customer ' || g % 200 FROM generate_series(1, 400) AS g;
DO $$ BEGIN
	PERFORM agentpay._decide_builtin(array_agg(t ORDER BY t.task_id))
	   FROM agentpay._tasks t WHERE t.agent = 't_roll' AND t.row_id LIKE 'e%';
END $$;
SELECT is_empty($$SELECT d.row_id, d.authority, d.assignment, t.bucket,
	t.holdout_bucket
	  FROM agentpay.decisions d
	  JOIN agentpay._tasks t ON t.task_id = (d.detail ->> 'task_id')::bigint
	 WHERE d.agent = 't_roll' AND d.row_id LIKE 'e%'
	   AND (d.authority, d.assignment) <> (
		CASE WHEN t.bucket < 25 AND t.holdout_bucket >= 2000 THEN 'live'
			 ELSE 'shadow' END,
		CASE WHEN t.holdout_bucket < 2000 THEN 'holdout' ELSE 'treatment' END)$$,
	'live inside, held out or not');
SELECT is((SELECT array_agg(DISTINCT d.authority || ' ' || d.assignment
							ORDER BY d.authority || ' ' || d.assignment)
			 FROM agentpay.decisions d
			WHERE d.agent = 't_roll' AND d.row_id LIKE 'e%'),
	'{"live treatment","shadow holdout","shadow treatment"}', 'there are all');
-- tiers: the steps of both are nested
SELECT is(agentpay._is_live(jsonb_populate_record(x.t, jsonb_build_object(
		'task_id', 0, 'agent', 't_roll_2', 'escalated_from', (x.t).task_id)),
	pg_temp.at(s.stage, s.holdout), pg_temp.treated()),
	s.live, format('a tier at %s, held out %s %%, of bucket %s', s.stage,
		s.holdout, (x.t).bucket))
  FROM (VALUES ('5', 0, 0, true), ('100', 0, 0, true), ('100', 0, 30, false),
			   ('100', 50, 0, false), ('shadow', 0, 0, false))
		AS s (stage, holdout, bucket, live)
 CROSS JOIN LATERAL (SELECT t FROM agentpay._tasks t
	WHERE t.agent = 't_roll' AND t.row_id LIKE 'e%' AND t.bucket BETWEEN
		  s.bucket AND s.bucket + 4 AND t.holdout_bucket BETWEEN 2000 AND 4999
	ORDER BY t.task_id LIMIT 1) AS x;

-- ── down ────────────────────────────────────────────────────────────────────
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_roll';
CREATE FUNCTION pg_temp.after_change(change text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	stage_after text;
BEGIN
	IF pg_temp.stage('t_roll') = 'shadow' THEN
		PERFORM agentpay.promote('t_roll');
	END IF;
	EXECUTE CASE WHEN change LIKE '% agentpay.%' THEN change
		ELSE format('UPDATE agentpay.agents SET %s WHERE name = ''t_roll''',
					change) END;
	stage_after := pg_temp.stage('t_roll');
	RAISE EXCEPTION USING ERRCODE = 'TROLL', MESSAGE = stage_after;
EXCEPTION WHEN SQLSTATE 'TROLL' THEN
	RETURN SQLERRM;
END$$;
INSERT INTO agentpay.allowed_endpoints (origin)
VALUES ('https://t-roll.example');
INSERT INTO agentpay.budgets (name, period, cap_cost)
VALUES ('t_roll_hour', 'hour', 5), ('t_roll_each', 'transaction', 1);
INSERT INTO agentpay.data_policies
VALUES ('t_roll.payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.models (name, kind, features, definition)
SELECT 't_roll_m2', kind, features, definition FROM agentpay.models
 WHERE name = 't_roll';
INSERT INTO agentpay.authorities (agent, verdict) VALUES ('t_roll', 'review');
SELECT is(pg_temp.after_change(c.change), c.stage, c.change)
  FROM (VALUES
	('protocol = ''openai'', endpoint = ''https://t-roll.example'', price_input_per_million = 1, price_output_per_million = 1', 'shadow'),
	('model = ''t_roll_m2''', 'shadow'), ('prompt = ''p''', 'shadow'),
	('fields = ''{amount}''', 'shadow'),
	('options = ''{"thresholds": {"review": 0.3}}''', 'shadow'),
	('invoke_when = ''amount > 1''', 'shadow'),
	('position = ''review''', 'shadow'),
	('escalate_to = ''t_roll_2''', 'shadow'),
	('min_confidence = 0.6', 'shadow'),
	('min_confidence = 0.6, stage = ''25''', 'shadow'),
	('min_confidence = 0.6, stage = ''off''', 'off'),
	('INSERT INTO agentpay.authorities (agent, verdict) VALUES (''t_roll'', ''decline'')', 'shadow'),
	('UPDATE agentpay.authorities SET max_amount = 5, currency = ''USD'' WHERE agent = ''t_roll''', 'shadow'),
	('DELETE FROM agentpay.authorities WHERE agent = ''t_roll''', 'shadow'),
	('UPDATE agentpay.authorities SET verdict = verdict WHERE agent = ''t_roll''', '5'),
	('timeout_ms = 5, holdout_percent = 5, price_per_call = 1, sample_percent = 50, cost_center = ''x'', enabled = false, min_confidence = 0.5', '5'),
	('rollout_steps = ''{5,10}''', '5'))
	AS c (change, stage);

SELECT is(agentpay.promote('t_roll'), '5', 'up again');
SELECT alike(pg_temp.refused($$UPDATE agentpay.agents SET rollout_steps = '{10}'
	WHERE name = 't_roll'$$), '23514 | unknown stage: ''5'' | %',
	'the step on which it stands stays');
SELECT alike(pg_temp.refused($$DELETE FROM agentpay.agents
	WHERE name = 't_roll'$$), '55000 | agent "t_roll" cannot be deleted | %',
	'it cannot go');
SELECT alike(pg_temp.refused($$SELECT agentpay.roll_back('t_roll', '')$$),
	'22023 | roll_back() needs a reason | %', 'roll_back() needs a reason');
SELECT alike(pg_temp.refused($$SELECT agentpay.roll_back('t_roll', 'x', '7')$$),
	'22023 | unknown stage: ''7'' | %', 'and a stage');
SELECT alike(pg_temp.refused($$SELECT agentpay.roll_back('t_roll', 'x', '25')$$),
	'22023 | agent "t_roll" cannot be rolled back from stage 5 to 25 | %',
	'not up');
SELECT is(agentpay.roll_back('t_roll', 'too many'), 'shadow', 'rolled back');
SELECT is(agentpay.roll_back('t_roll', 'again'), 'shadow', 'twice is once');
SELECT is((SELECT array_agg(g.reason || ': ' || (g.before ->> 'stage') || ' '
						|| (g.after ->> 'stage')) FROM agentpay.governance_log g
			WHERE g.action = 'roll_back' AND g.object = 't_roll'),
	'{"too many: 5 shadow"}', 'and on record');

-- ── four eyes ───────────────────────────────────────────────────────────────
UPDATE agentpay.decision_points SET four_eyes = true WHERE point = 't_roll';
SELECT is((SELECT kind || ' ' || metric || ' ' || state
			 FROM agentpay.rollout_status WHERE agent = 't_roll'),
	'four_eyes sign_off hold', 'four eyes, whatever the gates are');
SELECT alike(pg_temp.refused($$SELECT agentpay.promote('t_roll')$$), 'AP005 | %',
	'two logins');
SELECT is(agentpay.promote('t_roll_2'), 'shadow', 'shadow needs but one');
-- it takes two to end them
SET client_min_messages = error;
UPDATE agentpay.decision_points SET four_eyes = false WHERE point = 't_roll';
SET client_min_messages = warning;
CREATE ROLE t_roll_two SUPERUSER;
SET SESSION AUTHORIZATION t_roll_two;
UPDATE agentpay.decision_points SET four_eyes = false WHERE point = 't_roll';
RESET SESSION AUTHORIZATION;

-- ── gates that make no sense ────────────────────────────────────────────────
SELECT alike(pg_temp.refused(g.statement), g.said, g.statement)
  FROM (VALUES
	($$INSERT INTO agentpay.gates (metric, bound) VALUES ('luck', 1)$$,
	 '23514 | unknown metric: ''luck'' | %'),
	($$INSERT INTO agentpay.gates (agent, metric, bound) VALUES ('nobody', 'agreement', 1)$$,
	 '23503 | unknown agent: ''nobody'' | In the INSERT, use agent = ''*''.'),
	($$INSERT INTO agentpay.gates (metric, bound) VALUES ('agreement', 'NaN')$$,
	 '23514 | bound is out of range: NaN | %'),
	($$UPDATE agentpay.gates SET min_samples = -1 WHERE metric = 'sign_off'$$,
	 '23514 | min_samples is out of range: -1 | UPDATE agentpay.gates SET min_samples = 200 WHERE agent = ''*'' AND metric = ''sign_off'';'),
	($$UPDATE agentpay.gates SET confidence = 1 WHERE metric = 'sign_off'$$,
	 '23514 | confidence is out of range: 1 | %'),
	($$UPDATE agentpay.gates SET bound = NULL WHERE metric = 'sign_off'$$,
	 '23502 | bound of agentpay.gates cannot be NULL%'),
	($$DELETE FROM agentpay.gates WHERE metric = 'sign_off'$$,
	 '55000 | gate sign_off comes with agentpay | UPDATE agentpay.gates SET enabled = false WHERE agent = ''*'' AND metric = ''sign_off'';'),
	($$TRUNCATE agentpay.gates$$, '55000 | %'))
	AS g (statement, said);

-- ── caps ────────────────────────────────────────────────────────────────────
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model,
	invoke_when, stage, price_input_per_million, price_output_per_million)
VALUES ('t_roll_llm', 't_roll', 'openai', 'https://t-roll.example', 'm', 'true',
	'shadow', 1, 1);
SELECT alike(pg_temp.refused(c.statement), '55000 | agent "t_roll_llm" has no cap on its cost per '
	|| c.period || ' | %', c.statement)
  FROM (VALUES
	($$DELETE FROM agentpay.budgets WHERE name = 't_roll_hour'$$, 'hour'),
	($$UPDATE agentpay.budgets SET enabled = false WHERE name = 't_roll_each'$$, 'transaction'),
	($$UPDATE agentpay.budgets SET cap_cost = NULL, cap_calls = 5 WHERE name = 't_roll_hour'$$, 'hour'))
	AS c (statement, period);
SELECT is((SELECT count(*) FROM agentpay.gates WHERE agent = 't_roll'),
	3::bigint, 'gates of an agent stay with it');
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_roll';
DELETE FROM agentpay.agents WHERE name = 't_roll';
SELECT is((SELECT count(*) FROM agentpay.gates WHERE agent = 't_roll'),
	0::bigint, 'and go with it');
SELECT * FROM finish();
ROLLBACK;
