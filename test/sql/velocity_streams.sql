-- What shared memory remembers, where that is easily wrong: columns that change
-- after a row was scored, rows that are skipped, streams that come and go, and
-- values and keys without a plain form. Each answer is compared with what plain
-- SQL says about the rows that came before.
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA t_streams;
SET search_path = t_streams;
CREATE TABLE payments (id bigint PRIMARY KEY, card text, to_card text, at timestamptz NOT NULL, amount numeric, kind text, outcome text);
CREATE INDEX ON payments (card, at);
CREATE INDEX ON payments (to_card, at);
SELECT agentpay.attach('payments', 't_streams', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, from_key, aggregate, value, over, delay, filter, include_current) VALUES
	('t_streams', 'total',    '{card}', NULL,        'sum',   'amount', '1 hour', '0',     NULL, true),
	('t_streams', 'before',   '{card}', NULL,        'count', NULL,     '1 hour', '5 min', NULL, true),
	('t_streams', 'declined', '{card}', NULL,        'count', NULL,     '1 hour', '0',     'outcome = ''decline''', false),
	('t_streams', 'got',      '{card}', '{to_card}', 'sum',   'amount', '1 hour', '0',     NULL, true);
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES ('t_streams', 'READS', 'total + before + declined + got < 0', NULL),
	('t_streams', 'BIG', 'amount >= 1000', 'decline');
SELECT agentpay.activate('t_streams');
CREATE FUNCTION differ(since bigint) RETURNS TABLE (id bigint, name text, saw numeric, truth numeric) LANGUAGE sql AS $$
	SELECT a.id, t.name, (d.inputs->>t.name)::numeric, t.truth
	  FROM payments a JOIN agentpay.decisions d ON d.point = 't_streams' AND d.row_id = a.id::text,
	LATERAL (SELECT sum(b.amount) FILTER (WHERE b.card = a.card),
			count(*) FILTER (WHERE b.id <> a.id AND b.card = a.card AND b.at > a.at - interval '65 min' AND b.at <= a.at - interval '5 min'),
			count(*) FILTER (WHERE b.id <> a.id AND b.card = a.card AND b.outcome = 'decline' AND b.at > a.at - interval '1 hour'),
			sum(b.amount) FILTER (WHERE b.id <> a.id AND b.to_card = a.card AND b.at > a.at - interval '1 hour')
		  FROM payments b WHERE b.id <= a.id AND b.at <= a.at AND b.at > a.at - interval '65 min') AS w (total, before, declined, got),
	LATERAL (VALUES ('total', (SELECT sum(b.amount) FROM payments b WHERE b.id <= a.id AND b.card = a.card AND b.at <= a.at AND b.at > a.at - interval '1 hour')),
		('before', w.before), ('declined', w.declined), ('got', w.got)) AS t (name, truth)
	 WHERE a.id >= since AND (d.inputs->>t.name)::numeric IS DISTINCT FROM t.truth ORDER BY a.id, t.name $$;

-- the verdict, which the row has only after it was scored; payments to oneself
INSERT INTO payments SELECT g, 'c' || g % 3, 'c' || g * 7 % 3, '2026-01-01'::timestamptz + g * interval '2 min', g * 37 % 1100, 'a'
  FROM generate_series(1, 200) AS g;
SELECT count(*) FILTER (WHERE outcome = 'decline') AS declined, (SELECT count(*) FROM differ(1)) AS differ FROM payments;
SELECT hits > 200 AS from_memory FROM agentpay.stat_velocity WHERE source = 'payments'::regclass;

-- a trigger of others that sorts last, and changes what was read, or skips the row
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
	IF NEW.kind = 'skip' THEN RETURN NULL; END IF;
	IF NEW.kind = 'double' THEN NEW.amount := NEW.amount * 2; END IF;
	IF NEW.kind = 'other' THEN NEW.card := 'c9'; END IF;
	RETURN NEW; END $$;
CREATE TRIGGER "~~last" BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION meddle();
INSERT INTO payments SELECT g, 'c' || g % 3, 'c' || g * 7 % 3, '2026-01-02'::timestamptz + g * interval '1 min', g,
	(ARRAY['skip', 'double', 'other', 'a'])[g % 4 + 1] FROM generate_series(301, 340) AS g;
DROP TRIGGER "~~last" ON payments;
INSERT INTO payments SELECT g, 'c' || CASE g WHEN 342 THEN 9 ELSE g % 3 END, NULL, '2026-01-02 05:41', 0, 'a' FROM generate_series(341, 344) AS g;
SELECT * FROM differ(341);

-- ON CONFLICT in one statement: what was skipped does not count
INSERT INTO payments SELECT CASE WHEN g % 3 = 0 THEN g - 1 ELSE g END, 'k', 'k', '2026-01-03', 1, 'a' FROM generate_series(401, 430) AS g ON CONFLICT DO NOTHING;
INSERT INTO payments SELECT CASE WHEN g % 3 = 0 THEN g - 1 ELSE g END, 'k', 'k', '2026-01-03', 1, 'a' FROM generate_series(431, 440) AS g
	ON CONFLICT (id) DO NOTHING;
SELECT count(*) AS landed, (SELECT count(*) FROM differ(401)) AS differ FROM payments WHERE id > 400;
MERGE INTO payments p USING (SELECT g, g % 4 = 0 AS twice FROM generate_series(437, 460) AS g) AS s ON p.id = s.g
	WHEN MATCHED THEN UPDATE SET amount = p.amount + 10
	WHEN NOT MATCHED THEN INSERT (id, card, to_card, at, amount) VALUES (g, 'k', 'k', '2026-01-03', 1);
INSERT INTO payments VALUES (461, 'k', 'k', '2026-01-03', 1, 'a');
SELECT * FROM differ(461);

-- a stream that no rule reads for a while misses rows, and begins anew
SELECT agentpay.draft('t_streams');
DELETE FROM agentpay.rules WHERE point = 't_streams' AND version = 2 AND code = 'READS';
SELECT agentpay.activate('t_streams');
INSERT INTO payments SELECT g, 'k', 'k', '2026-01-03', 5, 'a' FROM generate_series(501, 510) AS g;
SELECT agentpay.revert('t_streams', 'read again');
INSERT INTO payments VALUES (511, 'k', 'k', '2026-01-03', 1, 'a');
SELECT * FROM differ(511);
-- so does a table whose point is off, or whose triggers are
UPDATE agentpay.decision_points SET enabled = false WHERE point = 't_streams';
INSERT INTO payments VALUES (512, 'k', 'k', '2026-01-03', 7, 'a');
UPDATE agentpay.decision_points SET enabled = true WHERE point = 't_streams';
INSERT INTO payments VALUES (513, 'k', 'k', '2026-01-03', 1, 'a');
ALTER TABLE payments DISABLE TRIGGER "~agentpay_record";
DELETE FROM payments WHERE id = 512;
INSERT INTO payments VALUES (514, 'k', 'k', '2026-01-03', 1, 'a');
ALTER TABLE payments ENABLE ALWAYS TRIGGER "~agentpay_record";
INSERT INTO payments VALUES (515, 'k', 'k', '2026-01-03', 1, 'a');
SELECT agentpay.detach('t_streams');
INSERT INTO payments VALUES (516, 'k', 'k', '2026-01-03', 9, 'a');
DELETE FROM payments WHERE id = 401;
SELECT agentpay.attach('payments', 't_streams', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO payments VALUES (517, 'k', 'k', '2026-01-03', 1, 'a');
SELECT * FROM differ(517);
-- and rows that a restore or a subscription brings count, and are not scored
SET session_replication_role = replica;
INSERT INTO payments VALUES (518, 'k', 'k', '2026-01-03', 11, 'a');
UPDATE payments SET amount = 13 WHERE id = 402;
RESET session_replication_role;
INSERT INTO payments VALUES (519, 'k', 'k', '2026-01-03', 1, 'a');
SELECT * FROM differ(518);

-- values and keys without a plain form: many digits, long keys
INSERT INTO payments VALUES (601, 'n', NULL, '2026-01-04', 0.0000001, 'a'), (602, 'n', NULL, '2026-01-04', 1e30, 'a'), (603, 'n', NULL, '2026-01-04', 1, 'a'),
	(604, repeat('x', 2000), NULL, '2026-01-04', 1, 'a'), (605, repeat('x', 2000), NULL, '2026-01-04', 2, 'a'),
	(606, 'm', NULL, '2026-01-04', 'NaN', 'a'), (607, 'm', NULL, '2026-01-04', 1, 'a'), (608, 'o', NULL, '2026-01-04', 0.1, 'a'), (609, 'o', NULL, '2026-01-04', 0.2, 'a');
SELECT row_id::int AS id, inputs->>'total' AS total FROM agentpay.decisions WHERE point = 't_streams' AND row_id::int > 600 ORDER BY 1;

-- a figure that overflows leaves the others of the same values alone
ALTER TABLE payments ADD COLUMN ratio float8;
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_streams', 'dev', '{card}', 'stddev', 'ratio', '1 hour'), ('t_streams', 'top', '{card}', 'max', 'ratio', '1 hour'), ('t_streams', 'low', '{card}', 'min', 'ratio', '1 hour');
SELECT agentpay.draft('t_streams');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_streams', 'MORE', 'dev + top + low < 0');
SELECT agentpay.activate('t_streams');
INSERT INTO payments (id, card, at, ratio) VALUES (701, 'r', '2026-01-05', 1e200), (702, 'r', '2026-01-05', -1e200), (703, 'r', '2026-01-05', 2);
SELECT row_id, inputs->>'dev' AS dev, (inputs->>'top')::float8 AS top, (inputs->>'low')::float8 AS low, detail->'errors'->'dev'->>'message' AS error
  FROM agentpay.decisions WHERE point = 't_streams' AND row_id > '700' AND length(row_id) = 3 ORDER BY 1;

SELECT agentpay.detach('t_streams');
DROP SCHEMA t_streams CASCADE;
