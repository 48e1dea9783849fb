-- Windows and since_last over the rows of another table.  Most answers are
-- compared with what plain SQL says about the same rows.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA t_from;
SET search_path = t_from;
CREATE VIEW seen AS
	SELECT row_id::bigint AS id, inputs, detail, verdict FROM agentpay.decisions
	 WHERE kind = 'rules' AND point = 't_from';
CREATE TABLE payments (id bigint PRIMARY KEY, card int, shop varchar(20), at timestamptz NOT NULL, outcome text);
SELECT agentpay.attach('payments', 't_from', 'fraud', 'id', 'at', outcome => 'outcome');

-- logins: bigint for integer, text for varchar, a timestamp, and partitions
CREATE TABLE logins (holder bigint, site text, seen timestamp, score numeric, ok boolean)
	PARTITION BY RANGE (seen);
CREATE TABLE logins_1 PARTITION OF logins FOR VALUES FROM (MINVALUE) TO ('2026-03-01 02:00');
CREATE TABLE logins_2 PARTITION OF logins FOR VALUES FROM ('2026-03-01 02:00') TO (MAXVALUE);
CREATE INDEX ON logins (holder, seen);
CREATE INDEX ON logins (site, holder, seen);
-- refunds: the point on them says which column is the time
CREATE TABLE refunds (rid bigint PRIMARY KEY, card int, made timestamptz NOT NULL, amount numeric, note text);
CREATE INDEX ON refunds (card, made DESC);
SELECT agentpay.attach('refunds', 't_from_refunds', 'fraud', 'rid', 'made');

INSERT INTO agentpay.features (point, name, kind, from_table, key, from_key, from_time, aggregate, value, over, delay, filter) VALUES
	('t_from', 'n_logins',  'window', 'logins', '{card}', '{holder}', 'seen', 'count', NULL, '1 hour', '0', NULL),
	('t_from', 'failed',    'window', 'logins', '{card}', '{holder}', 'seen', 'rate', 'NOT ok', '3 hours', '30 minutes', NULL),
	('t_from', 'at_site',   'window', 'logins', '{card,shop}', '{holder,site}', 'seen', 'sum', 'score', '2 hours', '0', 'ok'),
	('t_from', 'since_login', 'since_last', 'logins', '{card}', '{holder}', 'seen', NULL, NULL, NULL, '0', 'ok'),
	('t_from', 'refunded',  'window', 'refunds', '{card}', NULL, NULL, 'sum', 'amount', '2 hours', '0', NULL),
	('t_from', 'since_refund', 'since_last', 'refunds', '{card}', NULL, NULL, NULL, NULL, NULL, '10 minutes', NULL);
-- what the point on refunds said is written down
SELECT name, from_table, from_time FROM agentpay.features WHERE point = 't_from' ORDER BY name COLLATE "C";
INSERT INTO agentpay.rules (point, code, condition)
SELECT 't_from', 'READS', string_agg(format('%I IS NULL', name), ' OR ')
  FROM agentpay.features WHERE point = 't_from';
SELECT agentpay.activate('t_from');

INSERT INTO logins SELECT g * 7919 % 5, 'shop ' || g * 104723 % 3,
	'2026-03-01'::timestamp + g * 104729 % 240 * interval '1 minute', g * 15485863 % 1009 / 10.0, g * 32452843 % 7 > 1
  FROM generate_series(1, 700::bigint) AS g;
INSERT INTO refunds SELECT g, g * 7907 % 5, '2026-03-01'::timestamptz + g * 49979687 % 240 * interval '1 minute',
	g * 86028121 % 10007 / 100.0 FROM generate_series(1, 300::bigint) AS g;
INSERT INTO payments SELECT g, g % 6, 'shop ' || g % 3, '2026-03-01'::timestamptz + g * 67867967 % 300 * interval '1 minute'
  FROM generate_series(1, 400::bigint) AS g;
CREATE TABLE expected AS
SELECT p.id, jsonb_build_object(
	'n_logins', (SELECT count(*) FROM logins l WHERE l.holder = p.card
		AND l.seen > p.at - interval '1 hour' AND l.seen <= p.at),
	'failed', (SELECT avg((NOT l.ok)::int)::float8 FROM logins l WHERE l.holder = p.card
		AND l.seen > p.at - interval '210 minutes' AND l.seen <= p.at - interval '30 minutes'),
	'at_site', (SELECT sum(l.score)::float8 FROM logins l WHERE l.holder = p.card AND l.site = p.shop AND l.ok
		AND l.seen > p.at - interval '2 hours' AND l.seen <= p.at),
	'since_login', (SELECT extract(epoch FROM p.at - max(l.seen)) FROM logins l WHERE l.holder = p.card AND l.ok
		AND l.seen <= p.at),
	'refunded', (SELECT sum(r.amount)::float8 FROM refunds r WHERE r.card = p.card
		AND r.made > p.at - interval '2 hours' AND r.made <= p.at),
	'since_refund', (SELECT extract(epoch FROM p.at - max(r.made)) FROM refunds r WHERE r.card = p.card
		AND r.made <= p.at - interval '10 minutes')) AS inputs
  FROM payments p;
SELECT f.name, count(*), count(got) > 100 AS many, count(*) FILTER (WHERE got IS NULL) > 0 AS nulls,
	   count(*) FILTER (WHERE got IS DISTINCT FROM want AND NOT coalesce(abs(got - want) <= abs(want) * 1e-14, false)) AS differ
  FROM expected e JOIN seen s USING (id), agentpay.features f,
	   LATERAL (VALUES ((s.inputs->>f.name)::numeric, (e.inputs->>f.name)::numeric)) AS v (got, want)
 WHERE f.point = 't_from' GROUP BY f.name ORDER BY f.name COLLATE "C";

-- this transaction's own rows count, until they are rolled back; the row that
-- is decided about is never one of them
BEGIN;
INSERT INTO refunds VALUES (1001, 77, '2026-04-01 10:00', 5);
INSERT INTO payments VALUES (1001, 77, 'x', '2026-04-01 10:00');
SAVEPOINT s;
INSERT INTO refunds VALUES (1002, 77, '2026-04-01 10:00', 50);
INSERT INTO payments VALUES (1002, 77, 'x', '2026-04-01 10:30');
ROLLBACK TO s;
INSERT INTO payments VALUES (1003, 77, 'x', '2026-04-01 12:00');
COMMIT;
SELECT id, inputs->'refunded' AS refunded, inputs->'since_refund' AS since, inputs->'n_logins' AS logins, detail
  FROM seen WHERE id > 1000 ORDER BY id;

-- other columns of its own table: who was paid by this card's holder before
CREATE TABLE transfers (id bigint PRIMARY KEY, payer int, payee int, at timestamptz, outcome text);
CREATE INDEX ON transfers (payee, at);
SELECT agentpay.attach('transfers', 't_from_own', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, from_key, aggregate, over) VALUES
	('t_from_own', 'got_before', '{payer}', '{payee}', 'count', '1 day');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_from_own', 'PASSES_ON', 'got_before > 0', 100);
SELECT agentpay.activate('t_from_own');
INSERT INTO transfers VALUES (1, 1, 2, '2026-04-01 10:00'), (2, 2, 3, '2026-04-01 10:00'), (3, 3, 3, '2026-04-03');
SELECT id, outcome FROM transfers ORDER BY id;

-- a value is as sensitive as the column that it comes from, of that table
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES ('refunds', 'amount', 'financial', 'drop');
INSERT INTO payments VALUES (1004, 77, 'x', '2026-04-01 10:00');
SELECT inputs->'refunded' AS refunded, inputs->'since_refund' AS since FROM seen WHERE id = 1004;
DELETE FROM agentpay.data_policies WHERE table_name = 'refunds'::regclass;
INSERT INTO payments VALUES (1005, 77, 'x', '2026-04-01 10:00');
SELECT inputs->'refunded' AS refunded FROM seen WHERE id = 1005;

-- the other table changes: its new index is found; without one, or without
-- the table, the row is decided by on_error, and advice says what to do
DROP INDEX refunds_card_made_idx;
INSERT INTO payments VALUES (1006, 77, 'x', '2026-04-01 10:00');
SELECT verdict, jsonb_object_keys(detail->'errors') AS failed FROM seen WHERE id = 1006;
SELECT object, problem, fix FROM agentpay.advice WHERE object_kind = 'feature' AND object LIKE 't\_from.%' ORDER BY object COLLATE "C";
CREATE INDEX ON refunds (made, card);
CREATE INDEX right_one ON refunds (card, made);
INSERT INTO payments VALUES (1007, 77, 'x', '2026-04-01 10:00');
SELECT verdict, inputs->'refunded' AS refunded, detail FROM seen WHERE id = 1007;
DROP TABLE logins;
INSERT INTO payments VALUES (1008, 77, 'x', '2026-04-01 10:00');
SELECT verdict, inputs->'refunded' AS refunded, detail->'errors'->'n_logins' AS failed FROM seen WHERE id = 1008;
SELECT object, problem, fix FROM agentpay.advice WHERE object_kind = 'feature' AND object = 't_from.n_logins';

-- ── what is refused ─────────────────────────────────────────────────────────
CREATE FUNCTION try(columns text, "values" text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE format('INSERT INTO agentpay.features (point, name, key, aggregate, over, %s) VALUES (''t_from'', ''f'', ''{card}'', ''count'', ''1 hour'', %s)', columns, "values");
	RETURN NEXT 'written';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT state || ' ' || message;
	RETURN NEXT '  ' || detail;
	RETURN NEXT '  ' || hint;
END$$;
CREATE TABLE other (card numeric, holder int, label text, day date, n int);
CREATE VIEW a_view AS SELECT * FROM other;
CREATE TEMP TABLE gone (LIKE other);
SELECT try('from_table, from_time', '''t_from.a_view'', ''day''');
SELECT (array_agg(t))[1] LIKE '42809 feature "f" cannot read %' AS refused
  FROM try('from_table, from_time', '''pg_temp.gone'', ''day''') AS t;
SELECT try('from_table', '''agentpay.decisions''');
SELECT try('from_table', '''pg_class''');
SELECT try('from_table', '''agentpay.outcomes''');
SELECT try('from_table', '''t_from.other''');
SELECT try('from_table, from_key', '''t_from.other'', ''{holder}''');
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{holder}'', ''n''');
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{holder}'', ''nix''');
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{nix}'', ''day''');
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{holder,n}'', ''day''');
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{label}'', ''day''');
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{holder}'', ''day''');
SELECT try('from_table, from_key, from_time, filter', '''t_from.other'', ''{holder}'', ''day'', ''shop = 1''');
CREATE INDEX ON other (holder, day);
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{holder}'', ''day''');
-- two points on a table that do not agree about its time
ALTER TABLE refunds ADD booked timestamptz;
SELECT agentpay.attach('refunds', 't_from_booked', 'fraud', 'rid', 'booked');
SELECT try('from_table', '''t_from.refunds''');
-- it is read in the name of the owner of the point's table
CREATE ROLE t_from_owner;
ALTER TABLE payments OWNER TO t_from_owner;
SELECT try('from_table, from_key, from_time', '''t_from.other'', ''{holder}'', ''day''');
ALTER TABLE payments OWNER TO CURRENT_USER;
DROP ROLE t_from_owner;

SELECT agentpay.detach(point) FROM agentpay.decision_points WHERE point LIKE 't\_from%' ORDER BY point COLLATE "C";
DROP SCHEMA t_from CASCADE;
