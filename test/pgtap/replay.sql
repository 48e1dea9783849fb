-- replay() and replay_all().  A decision that nobody touched is identical
-- however the configuration changed since; one that says what its rules did
-- not say is different, and in what.  Forged rows are appended as a superuser
-- can; their expected differences are what was forged.
--
-- Its own time, years ago, so that replay_all() finds no other test's rows.
BEGIN;
SET client_min_messages = warning;
SET LOCAL agentpay.clock_offset = '-450000000s';
SELECT plan(26);
CREATE SCHEMA t_replay;
CREATE TABLE t_replay.payments (id bigint PRIMARY KEY, card text, amount numeric,
	rate double precision, country char(3), note text, key text,
	at timestamptz NOT NULL, outcome text);
CREATE INDEX ON t_replay.payments (card, at);
CREATE INDEX ON t_replay.payments (key);
\o /dev/null
SELECT agentpay.attach('t_replay.payments', point => 't_replay', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD',
	outcome => 'outcome', idempotency => 'key');
UPDATE agentpay.decision_points SET time_zone = 'Asia/Tokyo',
	explore_percent = 10, audit_sample_percent = 20 WHERE point = 't_replay';
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_replay', 'n', '{card}', 'count', NULL, '1 day'),
	('t_replay', 'total', '{card}', 'sum', 'amount', '1 day');
INSERT INTO agentpay.lists VALUES ('t_replay');
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_replay', 'c3');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_replay', 'logistic', '{amount,n}',
	'{"intercept": -3, "coefficients": [0.01, 0.2], "mean": [0, 0], "scale": [1, 1]}');
INSERT INTO agentpay.rules (point, code, condition, score, verdict) VALUES
	('t_replay', 'LARGE', 'amount > 900', 60, NULL),
	('t_replay', 'TOTAL', 'total > 1500 AND n > 2', 20.50, NULL),
	('t_replay', 'LISTED', 'in_list(''t_replay'', card)', 0, 'review'),
	('t_replay', 'MODEL', 'model(''t_replay'') > 0.9', 41, NULL),
	('t_replay', 'DIVIDE', '1 / (amount - 50) > 100', 1, NULL),
	('t_replay', 'NIGHT', 'extract(hour FROM at) < 6', 3, NULL),
	('t_replay', 'RATE', 'rate > 0.3 AND country = ''DE''', 2, NULL),
	('t_replay', 'SNOOZED', 'amount > 10', 100, NULL);
SELECT agentpay.activate('t_replay');
UPDATE agentpay.rules SET snoozed_until = agentpay._now() + interval '1 day'
 WHERE point = 't_replay' AND code = 'SNOOZED';
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_replay', 'OTHER', 'amount > 500', 100);
SELECT agentpay.activate('t_replay', as_shadow => true);
INSERT INTO t_replay.payments (id, card, amount, rate, country, note, key, at)
SELECT i, 'c' || i % 20, i * 7 % 1000, 1.0 / i, CASE i % 3 WHEN 0 THEN 'FR' ELSE 'DE' END,
	   'n', 'k' || i, agentpay._now() + i * interval '5 minutes'
  FROM generate_series(1, 300) i;
-- one of each idempotency key and of NULLs
INSERT INTO t_replay.payments (id, card, amount, key, at)
VALUES (301, 'c1', 950, 'k299', agentpay._now()), (302, NULL, NULL, NULL, agentpay._now());
-- a list that changes between the rows of one second: c99 is on it for odd ids
DO $$
BEGIN
	FOR i IN 401..440 LOOP
		IF i % 2 = 1 THEN
			INSERT INTO agentpay.list_entries (list, value) VALUES ('t_replay', 'c99');
		ELSE
			DELETE FROM agentpay.list_entries WHERE list = 't_replay' AND value = 'c99';
		END IF;
		INSERT INTO t_replay.payments (id, card, amount, key, at)
		VALUES (i, 'c99', 60, 'k' || i, agentpay._now());
	END LOOP;
END$$;
\o
CREATE TEMP TABLE before AS SELECT agentpay._now() AS at;
CREATE TEMP VIEW mine AS SELECT d.* FROM agentpay.decisions d WHERE d.point = 't_replay';
CREATE FUNCTION pg_temp.every() RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(format('%s %s', state, decisions), ', ' ORDER BY state), '')
	  FROM agentpay.replay_all(agentpay._now() - interval '1 day',
							   agentpay._now() + interval '1 day')
$$;

-- the test means something: all of these occur
SELECT ok(bool_or(reasons @> '{LARGE}') AND bool_or(reasons @> '{TOTAL}')
	AND bool_or(reasons @> '{LISTED}') AND bool_or(reasons @> '{MODEL}')
	AND bool_or(reasons @> '{NIGHT}') AND bool_or(reasons @> '{RATE}')
	AND bool_or(detail #> '{errors,DIVIDE}' IS NOT NULL), 'every rule matched, or failed, once at least')
  FROM mine WHERE kind = 'rules';
SELECT ok(bool_and((reasons @> '{LISTED}') = (row_id::int % 2 = 1)) AND count(*) = 40,
	'whoever was on the list for a moment was found on it') FROM mine WHERE kind = 'rules' AND row_id::int > 400;
SELECT ok(bool_or(assignment = 'audit') AND bool_or(detail ? 'repeats'),
	'rows were drawn, and one repeats a key') FROM mine WHERE kind = 'rules';
SELECT is(pg_temp.every(), 'identical ' || (SELECT count(*) FROM mine), 'at once');

-- ── everything changes ──────────────────────────────────────────────────────
\o /dev/null
DELETE FROM agentpay.list_entries WHERE list = 't_replay';
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_replay', 'c5');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_replay', 'logistic', '{amount,n}',
	'{"intercept": 9, "coefficients": [0.01, 0.2], "mean": [0, 0], "scale": [1, 1]}');
UPDATE agentpay.rules SET snoozed_until = NULL WHERE point = 't_replay' AND code = 'SNOOZED';
UPDATE agentpay.decision_points SET time_zone = 'America/Lima', explore_percent = 0,
	audit_sample_percent = 0, amount_column = NULL, currency = NULL WHERE point = 't_replay';
SELECT agentpay.draft('t_replay');
DELETE FROM agentpay.rules r USING agentpay.rulesets s WHERE r.point = 't_replay'
   AND (s.point, s.version) = (r.point, r.version) AND s.state = 'draft' AND r.code IN ('TOTAL', 'LARGE');
SELECT agentpay.activate('t_replay');
DELETE FROM t_replay.payments WHERE id < 100;
UPDATE t_replay.payments SET amount = 1;
\o
SET LOCAL TimeZone = 'Europe/Berlin';
SET LOCAL DateStyle = 'German';
SET LOCAL extra_float_digits = 0;
SELECT is(pg_temp.every(), 'identical ' || (SELECT count(*) FROM mine),
	'lists, models, versions, snoozes, zone, rows and the session''s settings changed');
SELECT results_eq($$SELECT DISTINCT r.state, r.difference, r.recorded_verdict = r.replayed_verdict
	FROM (SELECT decision_id FROM mine ORDER BY decided_at LIMIT 8) d, agentpay.replay(d.decision_id) r$$,
	$$VALUES ('identical', NULL::jsonb, true)$$, 'one by one');
SELECT is(agentpay.detach('t_replay')::text, agentpay.detach('t_replay')::text, 'detached');
SELECT is(pg_temp.every(), 'identical ' || (SELECT count(*) FROM mine), 'and detached');

-- ── forged ──────────────────────────────────────────────────────────────────
-- a copy of a rules decision with other values
CREATE FUNCTION pg_temp.forged(changes jsonb, VARIADIC kinds text[] DEFAULT '{rules}')
	RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d agentpay.decisions;
	r record;
BEGIN
	SELECT * INTO d FROM agentpay.decisions x
	 WHERE x.point = 't_replay' AND x.kind = ANY (kinds) AND x.row_id = '20'
	 ORDER BY x.decided_at LIMIT 1;
	d := jsonb_populate_record(d, changes || jsonb_build_object('decision_id', agentpay._uuid_v7(),
			'xid', NULL));
	PERFORM agentpay._append(d);
	SELECT * INTO r FROM agentpay.replay(d.decision_id);
	RETURN concat_ws(' ', r.state, r.difference);
END$$;
-- payment 20: amount 140, c0
SELECT is(pg_temp.forged('{}'), 'identical', 'a copy is what it is a copy of');
SELECT is(pg_temp.forged('{"verdict": "decline"}'),
	'different {"verdict": {"recorded": "decline", "replayed": "approve"}}', 'another verdict');
SELECT is((pg_temp.forged('{"score": 7}')), 'different '::text || jsonb_build_object('score', jsonb_build_object('recorded', 7,
	'replayed', (SELECT score FROM mine WHERE kind = 'rules' AND row_id = '20' AND score <> 7 LIMIT 1))), 'another score');
SELECT matches(pg_temp.forged('{"reasons": ["LARGE"]}'), '^different \{"reasons": \{"recorded": \["LARGE"\]', 'other reasons');
SELECT matches(pg_temp.forged((SELECT jsonb_build_object('inputs', inputs || '{"amount": 950}')
	FROM mine WHERE kind = 'rules' AND row_id = '20' LIMIT 1)), '"replayed": \[.*"LARGE"', 'another amount among the inputs');
SELECT is(pg_temp.forged((SELECT jsonb_build_object('inputs', inputs - 'card')
	FROM mine WHERE kind = 'rules' AND row_id = '20' LIMIT 1)), 'different {"missing_inputs": ["card"]}', 'an input that is gone');
SELECT matches(pg_temp.forged((SELECT jsonb_build_object('inputs', inputs || '{"model(t_replay)": 0.5}')
	FROM mine WHERE kind = 'rules' AND row_id = '20' LIMIT 1)), '^different \{"models": \["model\(t_replay\)"\]\}$', 'another answer of a model');
SELECT is(pg_temp.forged('{"inputs": null}'), 'different {"problem": "its inputs are gone"}', 'no inputs');
SELECT is(pg_temp.forged('{"ruleset_version": 77}'), 'different {"problem": "its version of the rules does not exist any more"}',
	'a version that there never was');
SELECT matches(pg_temp.forged('{"detail": {"errors": {"LARGE": {"sqlstate": "22012", "message": ""}}}}'), '^different .*"errors"', 'an error that did not happen');
SELECT matches(pg_temp.forged('{"kind": "shadow_rules", "verdict": "decline"}', 'shadow_rules'), '^different \{"verdict"', 'of a version in shadow');
SELECT matches(pg_temp.forged('{"assignment": "explore", "answer": "decline"}'), '^different .*"assignment"', 'a draw that was not');
-- the decision about one row, at the moment of another
CREATE FUNCTION pg_temp.moved(id text, there text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	d agentpay.decisions;
	r record;
BEGIN
	SELECT * INTO d FROM mine x WHERE x.kind = 'rules' AND x.row_id = id;
	d.decided_at := (SELECT x.decided_at FROM mine x WHERE x.kind = 'rules' AND x.row_id = there);
	d.decision_id := agentpay._uuid_v7();
	d.xid := NULL;
	PERFORM agentpay._append(d);
	SELECT * INTO r FROM agentpay.replay(d.decision_id);
	RETURN concat_ws(' ', r.state, r.difference -> 'reasons');
END$$;
SELECT is(pg_temp.moved('407', '409'), 'identical', 'while it was on the list again');
SELECT is(pg_temp.moved('411', '408') || '; ' || pg_temp.moved('412', '409'),
	(SELECT format('different {"recorded": %s, "replayed": %s}; different {"recorded": %s, "replayed": %s}',
			to_jsonb(x.reasons), to_jsonb(array_remove(x.reasons, 'LISTED')), to_jsonb(y.reasons), to_jsonb('{LISTED}' || y.reasons))
	   FROM mine x, mine y WHERE x.row_id = '411' AND y.row_id = '412' AND x.kind = 'rules' AND y.kind = 'rules'
		AND x.decided_at < y.decided_at AND x.ruleset_version = y.ruleset_version LIMIT 1), 'a moment earlier or later it was not so');
CREATE TEMP TABLE found AS SELECT pg_temp.every() AS states;
INSERT INTO agentpay.list_entries (list, value) SELECT 't_replay', 'x' || i FROM generate_series(1, 10001) i;
SELECT is(pg_temp.every(), (SELECT states FROM found), 'of a list too long to be kept, too');
SELECT matches(pg_temp.forged('{"kind": "human", "authority": "live", "verdict": "decline", "detail": {}, "inputs": null, "score": null, "reasons": []}'),
	'^identical', 'a person''s decision is what it is');
SELECT matches(pg_temp.forged('{"kind": "human", "verdict": "nonsense", "detail": {}}'), '^different \{"verdict"', 'but a verdict of the point');
SELECT is((SELECT state FROM agentpay.replay_all(agentpay._now() - interval '1 day', agentpay._now() + interval '1 day')
	ORDER BY 1 LIMIT 1), 'different', 'replay_all() finds them');
SELECT * FROM finish();
ROLLBACK;
