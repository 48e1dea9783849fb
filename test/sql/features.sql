-- What a feature says about a row's past.  Most answers are compared with what
-- plain SQL says about the same rows; the others can be counted by hand.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA t_features;
SET search_path = t_features;

-- the rule reads every feature, so that every decision has them on record
CREATE FUNCTION read_all(point_name text) RETURNS void LANGUAGE sql AS $$
	INSERT INTO agentpay.rules (point, code, condition)
	SELECT point_name, 'READS', string_agg(format('%I IS NULL', name), ' OR ')
	  FROM agentpay.features WHERE point = point_name;
	SELECT agentpay.activate(point_name);
$$;
CREATE VIEW seen AS
	SELECT point, row_id::bigint AS id, inputs, detail, verdict FROM agentpay.decisions
	 WHERE kind = 'rules' AND point LIKE 't\_features%';

-- ── each aggregate, against SQL ─────────────────────────────────────────────
CREATE TABLE payments (
	id bigint PRIMARY KEY, card text, at timestamptz NOT NULL, amount numeric(12,2),
	points int, big bigint, ratio float8, country text, bad boolean, outcome text);
CREATE INDEX ON payments (card, at);
CREATE INDEX ON payments (card, country, at DESC) INCLUDE (amount);
SELECT agentpay.attach('payments', 't_features', 'fraud', 'id', 'at', amount => 'amount', currency => 'EUR',
	outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over, delay, filter, include_current) VALUES
	('t_features', 'f_count',    '{card}', 'count',  NULL,      '1 hour', '0', NULL, true),
	('t_features', 'f_sum',      '{card}', 'sum',    'amount',  '1 hour', '0', NULL, true),
	('t_features', 'f_avg',      '{card}', 'avg',    'amount',  '1 hour', '0', NULL, true),
	('t_features', 'f_min',      '{card}', 'min',    'amount',  '1 hour', '0', NULL, true),
	('t_features', 'f_max',      '{card}', 'max',    'amount',  '1 hour', '0', NULL, true),
	('t_features', 'f_stddev',   '{card}', 'stddev', 'amount',  '1 hour', '0', NULL, true),
	('t_features', 'f_distinct', '{card}', 'count_distinct', 'country', '1 hour', '0', NULL, true),
	('t_features', 'f_rate',     '{card}', 'rate',   'bad',     '1 hour', '0', NULL, true),
	('t_features', 'f_int_sum',  '{card}', 'sum',    'points',  '1 hour', '0', NULL, true),
	('t_features', 'f_int_avg',  '{card}', 'avg',    'points',  '1 hour', '0', NULL, true),
	('t_features', 'f_int_dev',  '{card}', 'stddev', 'points',  '1 hour', '0', NULL, true),
	('t_features', 'f_int_min',  '{card}', 'min',    'points',  '1 hour', '0', NULL, true),
	('t_features', 'f_big_sum',  '{card}', 'sum',    'big',     '1 hour', '0', NULL, true),
	('t_features', 'f_big_avg',  '{card}', 'avg',    'big',     '1 hour', '0', NULL, true),
	('t_features', 'f_big_dev',  '{card}', 'stddev', 'big',     '1 hour', '0', NULL, true),
	('t_features', 'f_flt_sum',  '{card}', 'sum',    'ratio',   '1 hour', '0', NULL, true),
	('t_features', 'f_flt_avg',  '{card}', 'avg',    'ratio',   '1 hour', '0', NULL, true),
	('t_features', 'f_flt_dev',  '{card}', 'stddev', 'ratio',   '1 hour', '0', NULL, true),
	('t_features', 'f_flt_max',  '{card}', 'max',    'ratio',   '1 hour', '0', NULL, true),
	('t_features', 'f_flt_dist', '{card}', 'count_distinct', 'points % 90', '5 hours', '0', NULL, true),
	('t_features', 'f_delayed',  '{card}', 'count',  NULL,      '1 hour', '10 minutes', NULL, true),
	('t_features', 'f_others',   '{card}', 'sum',    'amount',  '1 hour', '0', NULL, false),
	('t_features', 'f_german',   '{card}', 'max',    'amount',  '1 hour', '0', 'country = ''DE''', true),
	('t_features', 'f_two_keys', '{country,card}', 'avg', 'amount * 2', '1 hour', '0', 'amount > 100', true);
INSERT INTO agentpay.features (point, name, kind, key, delay, filter) VALUES
	('t_features', 'f_since',     'since_last', '{card}', '0', NULL),
	('t_features', 'f_since_bad', 'since_last', '{card}', '10 minutes', 'bad');
SELECT read_all('t_features');
INSERT INTO payments
SELECT g, 'card ' || g * 7919 % 6, '2026-03-01'::timestamptz + g * 104729 % 300 * interval '1 minute',
	nullif(g * 15485863 % 100003, 3) / 100.0, nullif((g * 32452843 % 2000003 - 1000001)::int, 0),
	9007199254740993 * (g * 49979687 % 1019 - 509), CASE WHEN g % 11 > 0 THEN g * 67867967 % 1000003 / 997.0 END,
	('{DE,FR,US}'::text[])[g * 86028121 % 4], nullif(g * 982451653 % 3, 2) = 1
  FROM generate_series(1, 1500::bigint) AS g;
ANALYZE payments;
CREATE TABLE expected AS
SELECT a.id, jsonb_build_object(
	'f_count',    count(*) FILTER (WHERE hour),
	'f_sum',      (sum(b.amount) FILTER (WHERE hour))::float8,
	'f_avg',      (avg(b.amount) FILTER (WHERE hour))::float8,
	'f_min',      (min(b.amount) FILTER (WHERE hour))::float8,
	'f_max',      (max(b.amount) FILTER (WHERE hour))::float8,
	'f_stddev',   stddev(b.amount::numeric(40,20)) FILTER (WHERE hour),
	'f_distinct', count(DISTINCT b.country) FILTER (WHERE hour),
	'f_rate',     (avg(b.bad::int) FILTER (WHERE hour))::float8,
	'f_int_sum',  (sum(b.points) FILTER (WHERE hour))::float8,
	'f_int_avg',  (avg(b.points) FILTER (WHERE hour))::float8,
	'f_int_dev',  stddev(b.points::numeric(40,20)) FILTER (WHERE hour),
	'f_int_min',  (min(b.points) FILTER (WHERE hour))::float8,
	'f_big_sum',  (sum(b.big) FILTER (WHERE hour))::float8,
	'f_big_avg',  (avg(b.big) FILTER (WHERE hour))::float8,
	'f_big_dev',  stddev(b.big::numeric(50,20)) FILTER (WHERE hour),
	'f_flt_sum',  (sum(b.ratio::text::numeric) FILTER (WHERE hour))::float8,
	'f_flt_avg',  (avg(b.ratio::text::numeric) FILTER (WHERE hour))::float8,
	'f_flt_dev',  stddev(b.ratio::text::numeric(40,20)) FILTER (WHERE hour),
	'f_flt_max',  (max(b.ratio) FILTER (WHERE hour))::float8,
	'f_flt_dist', count(DISTINCT b.points % 90) FILTER (WHERE b.at > a.at - interval '5 hours'),
	'f_delayed',  count(*) FILTER (WHERE NOT self AND b.at > a.at - interval '70 minutes'
								   AND b.at <= a.at - interval '10 minutes'),
	'f_others',   (sum(b.amount) FILTER (WHERE hour AND NOT self))::float8,
	'f_german',   (max(b.amount) FILTER (WHERE hour AND b.country = 'DE'))::float8,
	'f_two_keys', (avg(b.amount * 2) FILTER (WHERE hour AND b.amount > 100
					AND (b.country = a.country OR self)))::float8,
	'f_since',    extract(epoch FROM a.at - max(b.at) FILTER (WHERE NOT self)),
	'f_since_bad', extract(epoch FROM a.at - max(b.at) FILTER (WHERE NOT self AND b.bad
								   AND b.at <= a.at - interval '10 minutes'))) AS inputs
  FROM payments a
  JOIN payments b ON b.id <= a.id AND b.at <= a.at AND b.card = a.card
 CROSS JOIN LATERAL (VALUES (b.id = a.id, b.at > a.at - interval '1 hour')) AS which (self, hour)
 GROUP BY a.id;
-- to 15 digits; stddev() of numerics has fewer, unless they have more decimals
SELECT f.name, count(*), count(*) FILTER (WHERE got IS NULL) AS nulls,
	   count(*) FILTER (WHERE got IS DISTINCT FROM want
						AND NOT coalesce(abs(got - want) <= abs(want) * CASE f.name WHEN 'f_flt_dev' THEN 1e-13 ELSE 1e-15 END, false)) AS differ
  FROM expected e JOIN seen s USING (id), agentpay.features f,
	   LATERAL (VALUES ((s.inputs->>f.name)::numeric, (e.inputs->>f.name)::numeric)) AS v (got, want)
 WHERE s.point = 't_features' AND f.point = 't_features'
 GROUP BY f.name ORDER BY f.name COLLATE "C";

-- ── edges, by hand ──────────────────────────────────────────────────────────
CREATE TABLE edges (id bigint PRIMARY KEY, card text, at timestamptz NOT NULL, amount numeric, outcome text);
CREATE INDEX ON edges (card, at);
SELECT agentpay.attach('edges', 't_features_edges', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over, delay, include_current, default_value) VALUES
	('t_features_edges', 'n',       '{card}', 'count', NULL,     '1 hour', '0', true, NULL),
	('t_features_edges', 'before',  '{card}', 'count', NULL,     '1 hour', '0', false, NULL),
	('t_features_edges', 'total',   '{card}', 'sum',   'amount', '1 hour', '0', true, NULL),
	('t_features_edges', 'late',    '{card}', 'sum',   'amount', '1 hour', '1 day', true, NULL),
	('t_features_edges', 'late_0',  '{card}', 'sum',   'amount', '1 hour', '1 day', true, '-1.5'),
	('t_features_edges', 'ages',    '{card}', 'count', NULL, '36600 days', '0', true, NULL);
INSERT INTO agentpay.features (point, name, kind, key, default_value) VALUES
	('t_features_edges', 'since',   'since_last', '{card}', NULL),
	('t_features_edges', 'since_0', 'since_last', '{card}', '1e9');
SELECT read_all('t_features_edges');
CREATE FUNCTION edge(ids bigint[]) RETURNS TABLE (id bigint, n int, before int, total numeric, late numeric,
	late_0 numeric, ages int, since numeric, since_0 numeric) LANGUAGE sql AS $$
	SELECT s.id, r.* FROM seen s, jsonb_to_record(s.inputs) AS r (n int, before int, total numeric, late numeric,
		late_0 numeric, ages int, since numeric, since_0 numeric)
	 WHERE s.point = 't_features_edges' AND s.id = ANY (ids) ORDER BY s.id;
$$;
-- a row exactly an hour old is out, a microsecond younger is in; equal times
-- see those that came before; each row of a statement sees the ones before it
INSERT INTO edges (id, card, at, amount) VALUES
	(1, 'a', '2026-01-01 10:00', 1), (2, 'a', '2026-01-01 10:00:00.000001', 2),
	(3, 'a', '2026-01-01 11:00', 4), (4, 'a', '2026-01-01 11:00', 8),
	(5, 'b', '2026-01-01 11:00', 16), (6, 'a', '2026-01-01 10:30', 32);
SELECT * FROM edge('{1,2,3,4,5,6}');
-- with delay 1 day the window is (10:30, 11:30] of the day before
INSERT INTO edges (id, card, at, amount) VALUES (7, 'a', '2026-01-02 11:30', 64), (8, 'a', '2026-01-02 12:00', 128);
SELECT * FROM edge('{7,8}');
-- a NULL key is no key: nobody shares it
INSERT INTO edges (id, card, at, amount) VALUES (9, NULL, '2026-01-01 11:00', 1), (10, NULL, '2026-01-01 11:00', 2);
SELECT * FROM edge('{9,10}');
-- a NULL value does not count, and a sum of none is NULL
INSERT INTO edges (id, card, at) VALUES (11, 'c', '2026-01-01'), (12, 'c', '2026-01-01');
SELECT * FROM edge('{11,12}');
-- times before the calendar's beginning are cut off; an infinite time is an error
INSERT INTO edges (id, card, at) VALUES (13, 'd', '4714-11-24 00:00:00+00 BC'), (14, 'd', '4714-11-24 00:30:00+00 BC'),
	(15, 'd', '294276-12-31 23:59:59'), (16, 'd', 'infinity'), (17, 'd', '-infinity'), (18, 'd', '2026-01-01');
SELECT * FROM edge('{13,14,15,18}');
SELECT id, verdict, detail->'errors' AS errors FROM seen WHERE point = 't_features_edges' AND id IN (16, 17) ORDER BY id;
-- what was rolled back, to a savepoint or by an error, leaves nothing
BEGIN;
INSERT INTO edges (id, card, at, amount) VALUES (20, 'e', '2026-01-01 10:00', 1);
SAVEPOINT s;
INSERT INTO edges (id, card, at, amount) VALUES (21, 'e', '2026-01-01 10:01', 2);
ROLLBACK TO s;
INSERT INTO edges (id, card, at, amount) VALUES (22, 'e', '2026-01-01 10:02', 4);
SAVEPOINT s;
INSERT INTO edges (id, card, at, amount) VALUES (23, 'e', '2026-01-01 10:03', 8), (20, 'e', '2026-01-01 10:03', 8);
ROLLBACK TO s;
-- what the transaction itself changed and deleted is as it is now
UPDATE edges SET amount = 100 WHERE id = 20;
INSERT INTO edges (id, card, at, amount) VALUES (24, 'e', '2026-01-01 10:04', 8);
DELETE FROM edges WHERE id = 20;
INSERT INTO edges (id, card, at, amount) VALUES (25, 'e', '2026-01-01 10:05', 16);
UPDATE edges SET at = at - interval '2 hours' WHERE id = 22;
SAVEPOINT s;
DELETE FROM edges WHERE card = 'e';
INSERT INTO edges (id, card, at, amount) VALUES (26, 'e', '2026-01-01 10:05', 32);
SELECT * FROM edge('{26}');
ROLLBACK TO s;
INSERT INTO edges (id, card, at, amount) VALUES (27, 'e', '2026-01-01 10:06', 32);
COMMIT;
SELECT * FROM edge('{20,22,24,25,27}');
-- COPY, and one statement that deletes what its own rows are scored against
COPY edges (id, card, at, amount) FROM stdin;
30	f	2026-01-01 10:00	1
31	f	2026-01-01 10:01	2
32	f	2026-01-01 10:02	4
\.
WITH gone AS (DELETE FROM edges WHERE id = 31 RETURNING id)
INSERT INTO edges (id, card, at, amount) SELECT id + 10, 'f', '2026-01-01 10:03', 8 FROM gone;
SELECT * FROM edge('{30,31,32,41}');
-- also under an old snapshot, rows are counted as of now
BEGIN ISOLATION LEVEL SERIALIZABLE;
INSERT INTO edges (id, card, at, amount) VALUES (42, 'f', '2026-01-01 10:04', 16);
INSERT INTO edges (id, card, at, amount) VALUES (43, 'f', '2026-01-01 10:05', 32);
COMMIT;
SELECT * FROM edge('{42,43}');

-- ── times that are no instants ──────────────────────────────────────────────
-- In New York clocks go from 02:00 EDT back to 01:00 EST on 2026-11-01, so that
-- 01:00 stands for 06:00 UTC; and from 02:00 EST on to 03:00 EDT on 2026-03-08,
-- so that 02:30, which no clock showed, stands for 07:30 UTC, as 03:30 does.
CREATE TABLE stamps (id bigint PRIMARY KEY, card text, at timestamp NOT NULL, amount float8, outcome text);
CREATE INDEX ON stamps (card, at);
SELECT agentpay.attach('stamps', 't_features_stamps', 'fraud', 'id', 'at', outcome => 'outcome');
UPDATE agentpay.decision_points SET time_zone = 'America/New_York' WHERE point = 't_features_stamps';
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_features_stamps', 'total', '{card}', 'sum', 'amount', '2 hours');
INSERT INTO agentpay.features (point, name, kind, key) VALUES ('t_features_stamps', 'since', 'since_last', '{card}');
SELECT read_all('t_features_stamps');
CREATE DOMAIN day AS date CHECK (value > '2000-01-01');
CREATE TABLE days (id bigint PRIMARY KEY, card text, at day NOT NULL, amount float8, outcome text);
CREATE INDEX ON days (at DESC) WHERE false;
CREATE INDEX ON days (card, at DESC);
SELECT agentpay.attach('days', 't_features_days', 'fraud', 'id', 'at', outcome => 'outcome');
UPDATE agentpay.decision_points SET time_zone = 'Asia/Tokyo' WHERE point = 't_features_days';
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_features_days', 'total', '{card}', 'sum', 'amount', '2 days');
INSERT INTO agentpay.features (point, name, kind, key, delay) VALUES
	('t_features_days', 'since', 'since_last', '{card}', '0'), ('t_features_days', 'since_1', 'since_last', '{card}', '1 hour');
SELECT read_all('t_features_days');
SET TimeZone = 'Pacific/Auckland';
-- 04:59, 06:00, 06:30 and 08:00 UTC
INSERT INTO stamps VALUES (1, 'a', '2026-11-01 00:59', 1), (2, 'a', '2026-11-01 01:00', 2), (3, 'a', '2026-11-01 01:30', 4),
	(4, 'a', '2026-11-01 03:00', 8);
-- 07:30, 09:20, 06:45 and 07:30 UTC
INSERT INTO stamps VALUES (5, 'b', '2026-03-08 02:30', 1), (6, 'b', '2026-03-08 05:20', 2), (7, 'b', '2026-03-08 01:45', 4),
	(8, 'b', '2026-03-08 03:30', 8);
INSERT INTO days VALUES (1, 'a', '2026-01-01', 1), (2, 'a', '2026-01-02', 2), (3, 'a', '2026-01-03', 4), (4, 'a', '2026-01-03', 8);
SET TimeZone = 'UTC';
SELECT point, id, inputs->'total' AS total, inputs->'since' AS since, inputs->'since_1' AS since_1 FROM seen
 WHERE point IN ('t_features_stamps', 't_features_days') ORDER BY point COLLATE "C", id;

-- ── partitions ──────────────────────────────────────────────────────────────
-- By time, and below by card; columns of different numbers, a dropped one, and
-- one that came later; the rows of a key lie in many leaves.
CREATE TABLE parts (id bigint NOT NULL, card text, at timestamptz NOT NULL, amount numeric, outcome text) PARTITION BY RANGE (at);
CREATE TABLE parts_1 (gone int, amount numeric, id bigint NOT NULL, outcome text, at timestamptz NOT NULL, card text);
ALTER TABLE parts_1 DROP COLUMN gone;
INSERT INTO parts_1 (id, card, at, amount) VALUES (-1, 'late', '2026-01-31 23:30', 1);
ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (MINVALUE) TO ('2026-02-01');
CREATE TABLE parts_2 PARTITION OF parts FOR VALUES FROM ('2026-02-01') TO ('2026-03-01') PARTITION BY HASH (card);
CREATE TABLE parts_2a PARTITION OF parts_2 FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_2b PARTITION OF parts_2 FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE TABLE parts_3 PARTITION OF parts DEFAULT;
ALTER TABLE parts ADD COLUMN fee numeric NOT NULL DEFAULT 0.25;
ALTER TABLE parts ADD UNIQUE (id, at, card);
CREATE UNIQUE INDEX ON parts_1 (id);
CREATE UNIQUE INDEX ON parts_2a (id);
CREATE UNIQUE INDEX ON parts_2b (id);
CREATE UNIQUE INDEX ON parts_3 (id);
CREATE INDEX ON parts (card, at);
SELECT agentpay.attach('parts', 't_features_parts', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, kind, key, aggregate, value, over, delay) VALUES
	('t_features_parts', 'n',        'window', '{card}', 'count', NULL, '1 day', '0'),
	('t_features_parts', 'fees',     'window', '{card}', 'sum', 'fee', '1 day', '0'),
	('t_features_parts', 'earlier',  'window', '{card}', 'count_distinct', 'amount', '50 days', '1 day'),
	('t_features_parts', 'since',    'since_last', '{card}', NULL, NULL, NULL, '0');
SELECT read_all('t_features_parts');
INSERT INTO parts (id, card, at, amount, fee) VALUES (0, 'late', '2026-02-01 00:10', 2, 0.5);
SELECT id, inputs FROM seen WHERE point = 't_features_parts';
INSERT INTO parts (id, card, at, amount, fee)
SELECT g, 'card ' || g * 7919 % 5, '2026-01-20'::timestamptz + g * 104729 % 1441 * interval '1 hour', g * 15485863 % 17, g % 3
  FROM generate_series(1, 2000::bigint) AS g;
SELECT tableoid::regclass AS leaf, count(*) > 100 AS has_rows FROM parts GROUP BY tableoid ORDER BY tableoid::regclass::text COLLATE "C";
ANALYZE parts;
WITH expected AS (
	SELECT a.id, jsonb_build_object(
		'n', count(*) FILTER (WHERE b.at > a.at - interval '1 day'),
		'fees', (sum(b.fee) FILTER (WHERE b.at > a.at - interval '1 day'))::float8,
		'earlier', count(DISTINCT b.amount) FILTER (WHERE b.at > a.at - interval '51 days' AND b.at <= a.at - interval '1 day'),
		'since', extract(epoch FROM a.at - max(b.at) FILTER (WHERE b.id < a.id))) AS inputs
	  FROM parts a JOIN parts b ON b.id <= a.id AND b.at <= a.at AND b.card = a.card WHERE a.id > 0 GROUP BY a.id, a.at)
SELECT f.name, count(*), count(*) FILTER (WHERE (s.inputs->>f.name)::numeric IS DISTINCT FROM (e.inputs->>f.name)::numeric) AS differ
  FROM expected e JOIN seen s USING (id), agentpay.features f
 WHERE s.point = 't_features_parts' AND f.point = 't_features_parts'
 GROUP BY f.name ORDER BY f.name COLLATE "C";
-- of all the leaves that are read only the row's own stays locked
BEGIN;
INSERT INTO parts (id, card, at) VALUES (3000, 'new', '2026-03-01 00:10');
SELECT relation::regclass AS locked FROM pg_locks JOIN pg_class c ON c.oid = relation
 WHERE pid = pg_backend_pid() AND c.relkind IN ('r', 'p') AND c.relnamespace = 't_features'::regnamespace
 GROUP BY relation ORDER BY relation::regclass::text COLLATE "C";
ROLLBACK;
CREATE FUNCTION part(ids bigint[]) RETURNS TABLE (id bigint, n int, since numeric, errors text) LANGUAGE sql AS $$
	SELECT id, (inputs->>'n')::int, (inputs->>'since')::numeric,
		(SELECT string_agg(format('%s: %s', key, value->>'message'), E'\n' ORDER BY key COLLATE "C") FROM jsonb_each(detail->'errors')) FROM seen
	 WHERE point = 't_features_parts' AND id = ANY (ids) ORDER BY id;
$$;
-- what is attached is seen at once, what is detached no longer
BEGIN;
INSERT INTO parts (id, card, at) VALUES (3001, 'x', '2026-02-27 23:00');
INSERT INTO parts (id, card, at) VALUES (3002, 'x', '2026-03-01 00:00');
ALTER TABLE parts DETACH PARTITION parts_3;
INSERT INTO parts (id, card, at) VALUES (3003, 'x', '2026-02-28 23:30');
CREATE TABLE parts_4 (LIKE parts INCLUDING DEFAULTS INCLUDING INDEXES);
CREATE UNIQUE INDEX ON parts_4 (id);
INSERT INTO parts_4 (id, card, at) VALUES (-2, 'x', '2026-03-01 00:00');
ALTER TABLE parts ATTACH PARTITION parts_4 FOR VALUES FROM ('2026-03-01') TO ('2026-04-01');
INSERT INTO parts (id, card, at) VALUES (3004, 'x', '2026-03-01 00:10');
UPDATE parts SET at = '2026-02-28 23:45' WHERE id = -2;
INSERT INTO parts (id, card, at) VALUES (3005, 'x', '2026-03-01 00:20');
SELECT * FROM part('{3001,3002,3003,3004,3005}');
ROLLBACK;
-- the index of a leaf matters as soon as a window reaches the leaf: without it
-- the feature is an error on record, and the payment passes to a human
ALTER TABLE parts DETACH PARTITION parts_1;
ALTER TABLE parts ATTACH PARTITION parts_1 FOR VALUES FROM (MINVALUE) TO ('2026-02-01');
DROP INDEX parts_card_at_idx;
INSERT INTO parts (id, card, at) VALUES (3011, 'y', '2026-03-20');
CREATE INDEX ON parts_3 (card, at);
CREATE INDEX ON parts_2a (card, at) WHERE amount > 0;
CREATE INDEX ON parts_2a (at, card);
CREATE INDEX ON parts_2b (card, amount, at);
CREATE INDEX ON parts_2b (card, (amount * 2), at);
CREATE INDEX ON parts_1 USING hash (card);
INSERT INTO parts (id, card, at) VALUES (3012, 'y', '2026-03-21');
DROP INDEX parts_3_card_at_idx;
CREATE INDEX ON parts (card, at);
INSERT INTO parts (id, card, at) VALUES (3013, 'y', '2026-03-22');
SELECT * FROM part('{3011,3012,3013}');

-- ── what the compiled form must notice ──────────────────────────────────────
CREATE TABLE later (id bigint PRIMARY KEY, gone int, card varchar(20), at timestamptz NOT NULL, outcome text);
CREATE INDEX ON later (card, at);
INSERT INTO later (id, card, at) VALUES (1, 'a', '2026-01-01 10:00');
ALTER TABLE later DROP COLUMN gone;
ALTER TABLE later ADD COLUMN amount numeric DEFAULT 5;
SELECT agentpay.attach('later', 't_features_later', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_features_later', 'total', '{card}', 'sum', 'amount', '1 hour');
SELECT read_all('t_features_later');
-- a value from before the column was there
INSERT INTO later (id, card, at, amount) VALUES (2, 'a', '2026-01-01 10:01', 1);
-- a rewrite, another type, a truncation, another index
ALTER TABLE later ALTER amount TYPE float8;
INSERT INTO later (id, card, at, amount) VALUES (3, 'a', '2026-01-01 10:02', 0.5);
REINDEX TABLE later;
CREATE INDEX ON later (card COLLATE "C", at);
DROP INDEX later_card_at_idx;
INSERT INTO later (id, card, at, amount) VALUES (4, 'a', '2026-01-01 10:03', 0.25);
TRUNCATE later;
INSERT INTO later (id, card, at, amount) VALUES (5, 'a', '2026-01-01 10:04', 0.125);
SELECT id, inputs->'total' AS total FROM seen WHERE point = 't_features_later' ORDER BY id;
-- sums that float8 cannot hold, and values that are none
INSERT INTO later (id, card, at, amount) VALUES (10, 'big', '2026-01-01', 1e308), (11, 'big', '2026-01-01', 1e308),
	(12, 'inf', '2026-01-01', 'Infinity'), (13, 'inf', '2026-01-01', 1),
	(14, 'sum', '2026-01-01', 1e100), (15, 'sum', '2026-01-01', 1), (16, 'sum', '2026-01-01', -1e100);
SELECT id, (inputs->>'total')::float8 AS total, detail->'errors'->'total'->>'message' AS error FROM seen WHERE point = 't_features_later' AND id >= 10 ORDER BY id;

SELECT agentpay.detach(point) FROM agentpay.decision_points WHERE point LIKE 't\_features%' ORDER BY point COLLATE "C";
DROP SCHEMA t_features CASCADE;
