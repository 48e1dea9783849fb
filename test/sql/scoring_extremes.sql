-- Amounts and times at the ends of what their types hold (FAULTS 29): every
-- payment lands, is decided once, and what cannot be decided about gets
-- on_error, never a silent approve.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET datestyle = 'ISO';
SET TimeZone = 'UTC';
CREATE SCHEMA t_extremes;
SET search_path = t_extremes;
CREATE TABLE payments (id bigint PRIMARY KEY, card text, at timestamptz NOT NULL, amount numeric, currency text,
	outcome text, score numeric(6, 2));
CREATE INDEX ON payments (card, at);
SELECT agentpay.attach('payments', 't_extremes', 'fraud', 'id', 'at', amount => 'amount', currency => 'currency',
	outcome => 'outcome', score => 'score');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_extremes', 'n', '{card}', 'count', NULL, '1 day'),
	('t_extremes', 'spent', '{card}', 'sum', 'amount', '1 day');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_extremes', 'LARGE', 'amount > 1000', 60),
	('t_extremes', 'NEGATIVE', 'amount < 0', 120),
	('t_extremes', 'MANY', 'n > 3 OR spent > 1e6', 60),
	('t_extremes', 'FUTURE', 'at > ''2100-01-01''', 60);
SELECT agentpay.activate('t_extremes');
CREATE VIEW seen AS
SELECT row_id::int AS id, p.outcome, p.score, d.verdict = p.outcome AS same, d.reasons, length(d.amount::text) AS digits,
	   d.currency, d.base_amount IS NOT NULL AS base, d.inputs -> 'n' AS n, left(d.inputs ->> 'spent', 12) AS spent,
	   (SELECT string_agg(format('%s %s', key, value ->> 'sqlstate'), ', ' ORDER BY key COLLATE "C") FROM jsonb_each(d.detail -> 'errors')) AS errors
  FROM payments p LEFT JOIN agentpay.decisions d ON d.point = 't_extremes' AND d.row_id = p.id::text;

-- no finite number: on_error, and the amount of the decision is empty
INSERT INTO payments VALUES (1, 'nan', '2026-01-01', 'NaN', 'USD'), (2, 'inf', '2026-01-01', 'Infinity', 'USD'),
	(3, 'minus', '2026-01-01', '-Infinity', 'USD');
-- negative, zero, the most digits that numeric holds, on both sides of the point
INSERT INTO payments VALUES (4, 'neg', '2026-01-01', -1, 'USD'), (5, 'zero', '2026-01-01', 0, 'USD'),
	(6, 'big', '2026-01-01', repeat('9', 131072)::numeric, 'USD'),
	(7, 'small', '2026-01-01', ('0.' || repeat('0', 16382) || '1')::numeric, 'USD');
-- a currency that nobody knows, one that is empty, none
INSERT INTO payments VALUES (8, 'cur', '2026-01-01', 5, 'XXQ'), (9, 'cur', '2026-01-01', 5, ''), (10, 'cur', '2026-01-01', 5, NULL);
-- times that are none, and at both ends
INSERT INTO payments VALUES (11, 'when', 'infinity', 5, 'USD'), (12, 'when', '-infinity', 5, 'USD'),
	(13, 'when', '294276-12-31 23:59:59.999999', 5, 'USD'), (14, 'when', '4713-01-01 BC', 5, 'USD'), (15, 'when', '2999-01-01', 5, 'USD');
SELECT * FROM seen ORDER BY id;
-- one column without a value
INSERT INTO payments (id, at) VALUES (16, '2026-01-01') RETURNING outcome, score;
-- the windows of the same card afterwards
INSERT INTO payments VALUES (21, 'nan', '2026-01-01', 5, 'USD'), (22, 'inf', '2026-01-01', 5, 'USD'), (26, 'big', '2026-01-01', 5, 'USD');
SELECT * FROM seen WHERE id > 20 ORDER BY id;

-- a score that its column does not hold: the row lands without it
SELECT agentpay.draft('t_extremes');
UPDATE agentpay.rules SET score = 1e9 WHERE point = 't_extremes' AND code = 'NEGATIVE' AND version = 2;
SELECT agentpay.activate('t_extremes');
INSERT INTO payments VALUES (30, 'neg', '2026-01-01', -1, 'USD');
SELECT p.outcome, p.score, d.score AS decision, d.detail -> 'errors' AS errors
  FROM payments p JOIN agentpay.decisions d ON d.point = 't_extremes' AND d.row_id = p.id::text WHERE id = 30;

-- double precision as stored inputs: the digits that float8's own text form has
CREATE TABLE numbers (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT '2026-01-01', x float8);
SELECT agentpay.attach('numbers', 't_numbers', 'fraud', 'id', 'at');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_numbers', 'READS', 'x > 1');
SELECT agentpay.activate('t_numbers');
INSERT INTO numbers (id, x)
SELECT g, (hashint4(g) / 2147483648.0) * 10::float8 ^ (hashint4(-g) % 300) FROM generate_series(1, 2000) AS g;
INSERT INTO numbers (id, x)
SELECT 2000 + g, (g % 3 - 1) * round(abs(hashint4(g)) / 1000.0, g % 9)::float8 FROM generate_series(1, 2000) AS g;
INSERT INTO numbers (id, x) SELECT 5000 + row_number() OVER (), x
  FROM unnest('{5e-324,1.7976931348623157e308,-0.0,0.1,1e15,123456789012345.67,9007199254740993,2.2250738585072014e-308,1e22,1e-5}'::float8[]) AS x;
SELECT count(*), count(*) FILTER (WHERE (d.inputs ->> 'x')::float8 = x) AS equal,
	   count(*) FILTER (WHERE d.inputs ->> 'x' = x::text::numeric::text) AS to_the_digit
  FROM numbers JOIN agentpay.decisions d ON d.point = 't_numbers' AND d.row_id = id::text;

SELECT agentpay.detach(p) FROM unnest('{t_extremes,t_numbers}'::text[]) AS p;
DROP SCHEMA t_extremes CASCADE;
