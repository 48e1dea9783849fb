-- evaluate(): says what an INSERT of the row would get, and writes nothing.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_evaluate;
CREATE TABLE t_evaluate.parts (gone int, id bigint PRIMARY KEY,
	at timestamptz NOT NULL) PARTITION BY HASH (id);
CREATE TABLE t_evaluate.p0 PARTITION OF t_evaluate.parts
	FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE t_evaluate.p1 PARTITION OF t_evaluate.parts
	FOR VALUES WITH (MODULUS 2, REMAINDER 1);
ALTER TABLE t_evaluate.parts DROP COLUMN gone;
CREATE INDEX ON t_evaluate.parts (id, at);
CREATE TABLE t_evaluate.routes (id bigint PRIMARY KEY, at timestamptz,
	amount numeric);
\o /dev/null
SELECT agentpay.attach('t_evaluate.routes', point => 't_routes',
	role => 'routing', id => 'id', occurred_at => 'at',
	verdicts => '{a,b,c}');
CREATE TABLE t_evaluate.plain (id bigint PRIMARY KEY, card text,
	amount numeric(10, 2), at timestamptz NOT NULL, outcome text,
	score numeric, reasons text[]);
CREATE INDEX ON t_evaluate.plain (card, at);
SELECT agentpay.attach('t_evaluate.plain', point => 't_plain',
	role => 'fraud', id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'EUR', outcome => 'outcome', score => 'score',
	reasons => 'reasons');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over)
VALUES ('t_plain', 'spent', '{card}', 'sum', 'amount', '1 hour'),
	   ('t_plain', 'unused', '{card}', 'count', NULL, '1 hour');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_evaluate', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [0], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.rules (point, code, condition, score, verdict, priority,
	snoozed_until)
VALUES ('t_plain', 'SPENT', 'spent > 100', 60, NULL, 1, NULL),
	   ('t_plain', 'MODEL', 'model(''t_evaluate'') >= 0.5', 5, NULL, 2, NULL),
	   ('t_plain', 'RATIO', '1000 / amount > 50', 0, 'decline', 3, NULL),
	   ('t_plain', 'QUIET', 'true', 100, NULL, 4, now() + interval '1 day');
SELECT agentpay.activate('t_plain');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_evaluate_yes', 't_plain', 'builtin', 't_evaluate',
		'verdict = ''review''', 'shadow'),
	   ('t_evaluate_no', 't_plain', 'builtin', 't_evaluate', 'score > 65',
		'shadow');
INSERT INTO t_evaluate.plain (id, card, amount, at)
VALUES (1, 'x', 70, '2026-01-01 10:00+00'), (2, 'y', 500, '2026-01-01 10:00+00'),
	   (3, 'x', 900, '2026-01-01 08:00+00');
\o
CREATE FUNCTION pg_temp.said(point text, input jsonb) RETURNS SETOF text
	LANGUAGE sql AS $$
	SELECT format('%s %s: %s, %s, %s, %s, %s', e.item, e.name, e.value,
				  e.matched, e.score, e.verdict, e.error)
	  FROM agentpay.evaluate(point, input) WITH ORDINALITY AS e (item, name,
		value, matched, score, verdict, error, ord) ORDER BY e.ord $$;
\ir refused.psql
SELECT plan(17);

-- 70 + 50 in the hour; a logistic model of weight 0 says 1/2; 60 + 5 = 65 is
-- at least 50 (review) and below 100; 1000 / 50 = 20 is not above 50
CREATE TEMP TABLE before AS
SELECT (SELECT count(*) FROM agentpay.decisions) AS decisions,
	   (SELECT count(*) FROM agentpay._tasks) AS tasks,
	   (SELECT count(*) FROM agentpay.governance_log) AS events,
	   (SELECT count(*) FROM t_evaluate.plain) AS payments;
SELECT results_eq($$SELECT * FROM pg_temp.said('t_plain',
	'{"id": 4, "card": "x", "amount": 50, "at": "2026-01-01 10:30+00"}')$$,
	$$VALUES ('feature spent: 120, , , , '),
	('model t_evaluate: 0.5, , , , '),
	('rule SPENT: , t, 60, , '),
	('rule MODEL: , t, 5, , '),
	('rule RATIO: , f, 0, decline, '),
	('rule QUIET: snoozed, , 100, , '),
	('verdict t_plain: 1, , 65, review, '),
	('agent t_evaluate_no: , f, , , '),
	('agent t_evaluate_yes: , t, , , ')$$, 'everything that is decided');
-- columns that are left out are NULL, and a sum over nothing is NULL
SELECT results_eq($$SELECT * FROM pg_temp.said('t_plain', '{}')$$,
	$$VALUES ('feature spent: , , , , '),
	('model t_evaluate: 0.5, , , , '),
	('rule SPENT: , f, 60, , '),
	('rule MODEL: , t, 5, , '),
	('rule RATIO: , f, 0, decline, '),
	('rule QUIET: snoozed, , 100, , '),
	('verdict t_plain: 1, , 5, approve, '),
	('agent t_evaluate_no: , f, , , '),
	('agent t_evaluate_yes: , f, , , ')$$, 'a row of nothing');
-- 5 is approve; a rule in error: at least review
SELECT results_eq($$SELECT * FROM pg_temp.said('t_plain',
	'{"amount": 0, "card": "new", "at": "2026-01-01"}')
	WHERE said ~ '^(rule RATIO|verdict)'$$,
	$$VALUES ('rule RATIO: , , 0, decline, 22012 division by zero'),
	('verdict t_plain: 1, , 5, review, on_error: review')$$,
	'a rule that fails');
SELECT results_eq($$SELECT decisions, tasks, events, payments FROM before$$,
	$$SELECT (SELECT count(*) FROM agentpay.decisions),
		(SELECT count(*) FROM agentpay._tasks),
		(SELECT count(*) FROM agentpay.governance_log),
		(SELECT count(*) FROM t_evaluate.plain)$$, 'nothing was written');

-- the INSERT of the same row gets the same
CREATE TEMP TABLE asked AS
SELECT i.id, i.amount, i.card, e.* FROM (VALUES (10, 20, 'x'), (11, 120, 'z'),
	(12, 0, 'y'), (13, NULL, NULL)) AS i (id, amount, card),
	agentpay.evaluate('t_plain', jsonb_build_object('id', i.id, 'amount',
		i.amount, 'card', i.card, 'at', '2026-01-01 10:45+00')) AS e;
INSERT INTO t_evaluate.plain (id, card, amount, at)
SELECT DISTINCT id, card, amount, '2026-01-01 10:45+00'::timestamptz
  FROM asked ORDER BY id;
SELECT results_eq($$SELECT id::bigint, verdict, score FROM asked
	WHERE item = 'verdict' ORDER BY id$$,
	$$SELECT id, outcome, score FROM t_evaluate.plain WHERE id >= 10
	ORDER BY id$$, 'verdict and score as of an INSERT');
SELECT results_eq($$SELECT id::bigint, array_agg(name ORDER BY name)::text[]
	FROM asked WHERE item = 'rule' AND matched GROUP BY id ORDER BY id$$,
	$$SELECT id, ARRAY(SELECT unnest(reasons) ORDER BY 1)
	FROM t_evaluate.plain WHERE id >= 10 ORDER BY id$$, 'reasons too');
SELECT is((SELECT count(*) FROM asked a JOIN agentpay.decisions d
			ON d.point = 't_plain' AND d.row_id = a.id::text
		   WHERE a.item = 'feature' AND (d.inputs ->> a.name)::numeric
				 IS NOT DISTINCT FROM a.value::numeric), 4::bigint,
	'and what features say');

-- a draft is tried in a transaction
SAVEPOINT trial;
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('t_plain', 'ALL', 'true', 'decline');
SELECT is((SELECT verdict FROM agentpay.evaluate('t_plain', '{}')
			WHERE item = 'verdict'), 'approve', 'a draft does not decide');
SELECT is(agentpay.activate('t_plain'), 2, 'activated');
SELECT is((SELECT value || verdict FROM agentpay.evaluate('t_plain', '{}')
			WHERE item = 'verdict'), '2decline', 'activated, it does');
ROLLBACK TO trial;

-- first_match: what comes after the match is not reached
INSERT INTO agentpay.rules (point, code, condition, verdict, priority)
VALUES ('t_routes', 'B', 'amount > 10', 'b', 2),
	   ('t_routes', 'C', 'amount > 5', 'c', 3),
	   ('t_routes', 'A', 'amount > 100', 'a', 1);
\o /dev/null
SELECT agentpay.activate('t_routes');
\o
SELECT results_eq($$SELECT * FROM pg_temp.said('t_routes', '{"amount": 50}')$$,
	$$VALUES ('rule A: , f, , a, '), ('rule B: , t, , b, '),
	('rule C: not reached, , , c, '), ('verdict t_routes: 1, , , b, ')$$,
	'first match');

-- partitions: wherever the row would go, all of them are read
\o /dev/null
SELECT agentpay.attach('t_evaluate.parts', point => 't_parts',
	role => 'fraud', id => 'id', occurred_at => 'at');
INSERT INTO agentpay.features (point, name, key, aggregate, over)
VALUES ('t_parts', 'seen', '{id}', 'count', '1 hour');
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('t_parts', 'SEEN', 'seen > 1', 'review');
SELECT agentpay.activate('t_parts');
INSERT INTO t_evaluate.parts SELECT i, '2026-01-01 10:00+00'
  FROM generate_series(1, 8) i;
\o
SELECT is((SELECT count(*) FROM generate_series(1, 8) i, agentpay.evaluate(
			't_parts', jsonb_build_object('id', i, 'at',
				'2026-01-01 10:30+00')) AS e
		   WHERE e.item = 'feature' AND e.value = '2'), 8::bigint,
	'a partitioned table');

-- errors
SELECT is(pg_temp.refused($$SELECT * FROM agentpay.evaluate('t_routes',
	'{"id": 1, "amuont": 2}')$$),
	'42703 | table t_evaluate.routes has no column "amuont" | SELECT * FROM agentpay.evaluate(''t_routes'', ''{"id": 100}'');',
	'an unknown key');
SELECT is(pg_temp.refused($$SELECT * FROM agentpay.evaluate('t_plain', '[1]')$$),
	'22023 | evaluate() needs the row as a JSON object | SELECT * FROM agentpay.evaluate(''t_plain'', ''{"amount": 100}'');',
	'no object');
SELECT alike(pg_temp.refused($$SELECT * FROM agentpay.evaluate('t_plain',
	'{"amount": "much"}')$$), '22P02 | invalid input syntax for type numeric%',
	'a value of another type');
SELECT alike(pg_temp.refused($$SELECT * FROM agentpay.evaluate('nowhere', '{}')$$),
	'23503 | %', 'no such point');
UPDATE agentpay.decision_points SET enabled = false WHERE point = 't_routes';
SELECT is(pg_temp.refused($$SELECT * FROM agentpay.evaluate('t_routes', '{}')$$),
	'55000 | point "t_routes" does not score rows now | UPDATE agentpay.decision_points SET enabled = true WHERE point = ''t_routes'';',
	'a point that is off');
SELECT * FROM finish();
ROLLBACK;
