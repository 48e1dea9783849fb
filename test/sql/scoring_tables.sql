-- Tables of every shape: each row that is inserted gets exactly one decision
-- per point, and its columns the verdict, whatever becomes of the table.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA t_tables;
SET search_path = t_tables;

-- Attaches a table whose columns have these names if they exist, with one
-- rule: above 100 is 60 points, which is review of 50, 100.
CREATE FUNCTION put(relation regclass, point text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	columns name[] := (SELECT array_agg(attname) FROM pg_attribute WHERE attrelid = relation AND attnum > 0);
	name text := coalesce(point, 't_tables_' || (SELECT relname FROM pg_class WHERE oid = relation));
BEGIN
	PERFORM agentpay.attach(relation, name, 'fraud', 'id', 'at', 'amount', 'USD',
		outcome => CASE WHEN 'outcome' = ANY (columns) THEN 'outcome' END,
		score => CASE WHEN 'score' = ANY (columns) THEN 'score' END,
		reasons => CASE WHEN 'reasons' = ANY (columns) THEN 'reasons' END);
	INSERT INTO agentpay.rules (point, code, condition, score) VALUES (name, 'LARGE', 'amount > 100', 60);
	PERFORM agentpay.activate(name);
	RETURN name;
END$$;
-- What is wrong with a point's decisions; in short: rows, and how many of each
-- verdict.  The expected verdict is computed here, not by agentpay.
CREATE FUNCTION decided(relation regclass, point text DEFAULT NULL) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	name text := coalesce(point, 't_tables_' || (SELECT relname FROM pg_class WHERE oid = relation));
	wrong text;
	result text;
BEGIN
	EXECUTE format($q$
		SELECT string_agg(format('%%s: %%s decisions, %%s instead of %%s', coalesce(t.id, d.row_id), coalesce(d.n, 0), d.verdict, t.expected), '; ')
		  FROM (SELECT id::text, CASE WHEN amount > 100 THEN 'review' ELSE 'approve' END AS expected FROM %s) t
		  FULL JOIN (SELECT row_id, count(*) AS n, min(verdict) AS verdict FROM agentpay.decisions
					  WHERE point = %L AND kind = 'rules' GROUP BY row_id) d ON d.row_id = t.id
		 WHERE d.n IS DISTINCT FROM 1 OR t.expected IS DISTINCT FROM d.verdict $q$, relation, name) INTO wrong;
	EXECUTE format('SELECT count(*) || '' rows: '' || concat_ws('', '', count(*) FILTER (WHERE amount > 100) || '' review'','
		' count(*) FILTER (WHERE coalesce(amount, 0) <= 100) || '' approve'') FROM %s', relation) INTO result;
	RETURN coalesce('WRONG: ' || wrong, result);
END$$;

-- ── ids of every type, with and without columns that receive ────────────────
CREATE TABLE by_bigint (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, outcome text, score numeric, reasons text[]);
CREATE TABLE by_int (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamp NOT NULL DEFAULT now(), amount float8, outcome varchar(10));
CREATE TABLE by_uuid (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), at date NOT NULL DEFAULT now(), amount int);
CREATE TABLE by_text (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric(12,2), score float4);
CREATE TABLE by_varchar (id varchar(40) COLLATE "C" PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount bigint, reasons text[]);
CREATE TABLE by_numeric (id numeric PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric);
CREATE DOMAIN payment_key AS text CHECK (value ~ '^p');
CREATE TABLE by_domain (id payment_key PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, outcome text);
SELECT put(t) FROM unnest('{by_bigint,by_int,by_uuid,by_text,by_varchar,by_numeric,by_domain}'::regclass[]) AS t;
INSERT INTO by_bigint (id, amount) VALUES (1, 50), (-9223372036854775808, 500), (9223372036854775807, NULL) RETURNING id, outcome, score, reasons;
INSERT INTO by_int (amount) VALUES (50), (500) RETURNING id, outcome;
INSERT INTO by_uuid (amount) VALUES (50), (500);
INSERT INTO by_text (id, amount) VALUES ('a''b', 50), (E'\t"x" ü €', 500), ('', 100.01), (repeat('k', 2000), 500) RETURNING left(id, 8), score;
INSERT INTO by_varchar (id, amount) VALUES ('one', 50), ('two', 500) RETURNING id, reasons;
INSERT INTO by_numeric (id, amount) VALUES (1.50, 50), (1e30, 500);
INSERT INTO by_domain (id, amount) VALUES ('p1', 50), ('p2', 500) RETURNING id, outcome;
INSERT INTO by_domain (id, amount) VALUES ('q1', 50);
SELECT t, decided(t) FROM unnest('{by_bigint,by_int,by_uuid,by_text,by_varchar,by_numeric,by_domain}'::regclass[]) AS t;
-- the id as it is found again, by its own type
SELECT agentpay.record_outcome('t_tables_by_numeric', 1.50, 'legit') IS NOT NULL AS by_numeric,
	agentpay.record_outcome('t_tables_by_uuid', (SELECT id FROM by_uuid LIMIT 1), 'legit') IS NOT NULL AS by_uuid,
	agentpay.record_outcome('t_tables_by_text', E'\t"x" ü €', 'fraud') IS NOT NULL AS by_text;

-- ── every way in ────────────────────────────────────────────────────────────
CREATE TABLE ways (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, outcome text);
CREATE VIEW ways_view AS SELECT id, amount FROM ways;
CREATE TABLE ways_by_rule (id bigint, amount numeric);
CREATE RULE r AS ON INSERT TO ways_by_rule DO INSTEAD INSERT INTO ways (id, amount) VALUES (NEW.id, NEW.amount);
SELECT put('ways');
COPY ways (id, amount) FROM stdin;
1	50
2	500
\.
INSERT INTO ways (id, amount) SELECT g, g * 10 FROM generate_series(3, 20) g;
MERGE INTO ways w USING (VALUES (3, 7), (21, 500), (22, 5)) AS v (id, amount) ON w.id = v.id
	WHEN MATCHED THEN UPDATE SET amount = v.amount WHEN NOT MATCHED THEN INSERT (id, amount) VALUES (v.id, v.amount);
INSERT INTO ways (id, amount) VALUES (22, 1), (23, 500) ON CONFLICT (id) DO UPDATE SET amount = 6 RETURNING id, amount, outcome;
INSERT INTO ways (id, amount) VALUES (23, 500), (24, 500) ON CONFLICT DO NOTHING RETURNING id, outcome;
INSERT INTO ways_view VALUES (25, 500) RETURNING *;
INSERT INTO ways_by_rule VALUES (26, 500);
WITH moved AS (INSERT INTO ways (id, amount) VALUES (27, 500) RETURNING id, outcome) SELECT * FROM moved;
PREPARE p AS INSERT INTO ways (id, amount) VALUES ($1, $2) RETURNING outcome;
EXECUTE p (28, 50); EXECUTE p (29, 500); DEALLOCATE p;
DO $$ BEGIN
	FOR i IN 30..32 LOOP
		BEGIN
			INSERT INTO ways (id, amount) VALUES (i, 500);
			IF i = 31 THEN RAISE division_by_zero; END IF;
		EXCEPTION WHEN division_by_zero THEN NULL;
		END;
	END LOOP;
END $$;
UPDATE ways SET amount = amount WHERE id > 10;
SELECT decided('ways');
DELETE FROM ways WHERE id = 28;
INSERT INTO ways (id, amount) VALUES (28, 50);
-- it came twice, and has a decision for each time that it did
SELECT row_id, count(*) FROM agentpay.decisions WHERE point = 't_tables_ways' GROUP BY row_id HAVING count(*) > 1;

-- ── nothing is scored for what is replicated or restored (FAULTS 31) ────────
SET session_replication_role = replica;
INSERT INTO ways (id, amount) VALUES (40, 500) RETURNING id, outcome;
COPY ways (id, amount) FROM stdin;
41	500
\.
RESET session_replication_role;
SELECT count(*) FROM agentpay.decisions WHERE point = 't_tables_ways' AND row_id IN ('40', '41');

-- ── partitions: ranges, lists, hashes, more than one level ──────────────────
CREATE TABLE parts (extra text, id bigint NOT NULL, at timestamptz NOT NULL, amount numeric, region text NOT NULL, outcome text,
	PRIMARY KEY (id, region, at)) PARTITION BY LIST (region);
CREATE TABLE parts_eu PARTITION OF parts FOR VALUES IN ('eu') PARTITION BY RANGE (at);
CREATE TABLE parts_eu_1 PARTITION OF parts_eu FOR VALUES FROM ('2026-01-01') TO ('2026-07-01');
-- where a unique index must have the keys of every level
CREATE TABLE no_index (LIKE parts) PARTITION BY LIST (region);
CREATE TABLE no_index_eu PARTITION OF no_index FOR VALUES IN ('eu') PARTITION BY RANGE (at);
\set VERBOSITY default
SELECT put('no_index');
\set VERBOSITY terse
SELECT put('parts');
-- leaves that come later: made there, and attached with columns in another
-- order, dropped ones among them
CREATE TABLE parts_eu_2 PARTITION OF parts_eu FOR VALUES FROM ('2026-07-01') TO ('2027-01-01');
CREATE TABLE parts_us (outcome text, dropped_1 int, amount numeric, at timestamptz NOT NULL, dropped_2 text, region text NOT NULL, id bigint NOT NULL, extra text);
ALTER TABLE parts_us DROP COLUMN dropped_1, DROP COLUMN dropped_2;
ALTER TABLE parts ATTACH PARTITION parts_us FOR VALUES IN ('us');
CREATE TABLE parts_rest PARTITION OF parts DEFAULT PARTITION BY HASH (id);
CREATE TABLE parts_rest_0 PARTITION OF parts_rest FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_rest_1 PARTITION OF parts_rest FOR VALUES WITH (MODULUS 2, REMAINDER 1);
INSERT INTO parts (id, at, amount, region)
SELECT g, '2026-06-29'::timestamptz + g * interval '1 day', g * 30, (ARRAY['eu', 'us', 'asia'])[1 + g % 3] FROM generate_series(1, 12) g;
INSERT INTO parts_us (id, at, amount, region) VALUES (13, '2026-01-01', 500, 'us') RETURNING id, outcome;
COPY parts (id, at, amount, region) FROM stdin;
14	2026-03-01	500	eu
15	2026-10-01	50	us
16	2026-10-01	500	africa
\.
SELECT tableoid::regclass, count(*), count(outcome) AS with_outcome FROM parts GROUP BY 1 ORDER BY 1;
SELECT decided('parts');
-- a row that moves is not decided again, and keeps what it was given
UPDATE parts SET region = 'us' WHERE id IN (14, 16);
UPDATE parts SET at = '2026-08-01', region = 'eu' WHERE id = 15;
UPDATE parts SET id = id, amount = amount;
SELECT decided('parts');
SELECT id, tableoid::regclass, outcome FROM parts WHERE id > 13 ORDER BY id;
-- a partition that leaves keeps no trigger of ours
ALTER TABLE parts DETACH PARTITION parts_us;
SELECT count(*) AS triggers FROM pg_trigger WHERE tgrelid = 'parts_us'::regclass AND tgname LIKE '~agentpay%';

-- ── the table changes under its point ───────────────────────────────────────
CREATE TABLE changing (gone int, id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount int, memo text,
	twice int GENERATED ALWAYS AS (amount * 2) STORED, outcome text);
ALTER TABLE changing DROP COLUMN gone;
SELECT put('changing');
INSERT INTO changing (id, amount) VALUES (1, 500) RETURNING id, twice, outcome;
ALTER TABLE changing ADD COLUMN later text DEFAULT 'x', ADD COLUMN another int;
INSERT INTO changing (id, amount) VALUES (2, 500) RETURNING id, outcome, later;
ALTER TABLE changing DROP COLUMN memo;
INSERT INTO changing (id, amount) VALUES (3, 50) RETURNING id, outcome;
ALTER TABLE changing DROP COLUMN twice;
ALTER TABLE changing ALTER COLUMN amount TYPE numeric;
INSERT INTO changing (id, amount) VALUES (4, 100.5) RETURNING id, outcome;
ALTER TABLE changing RENAME TO changed;
ALTER TABLE changed ALTER COLUMN id TYPE text;
INSERT INTO changed (id, amount) VALUES ('five', 500) RETURNING id, outcome;
VACUUM FULL changed;
ALTER TABLE changed SET UNLOGGED;
INSERT INTO changed (id, amount) VALUES ('six', 50) RETURNING id, outcome;
SELECT decided('changed', 't_tables_changing');
-- a column that a rule reads goes: the row lands with the on_error verdict
ALTER TABLE changed ADD COLUMN memo text;
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_tables_changing', 'MEMO', 'memo LIKE ''%win%''', 60);
SELECT agentpay.activate('t_tables_changing');
INSERT INTO changed (id, amount, memo) VALUES ('seven', 50, 'you win') RETURNING id, outcome;
ALTER TABLE changed DROP COLUMN memo;
INSERT INTO changed (id, amount) VALUES ('eight', 50), ('nine', 500) RETURNING id, outcome;
SELECT row_id, verdict, detail #> '{errors,MEMO}' ->> 'sqlstate' AS memo_failed FROM agentpay.decisions
 WHERE point = 't_tables_changing' AND row_id IN ('seven', 'eight', 'nine') ORDER BY row_id;
-- the column that receives goes: nothing is lost but the column
ALTER TABLE changed DROP COLUMN outcome;
INSERT INTO changed (id, amount) VALUES ('ten', 500);
SELECT row_id, verdict FROM agentpay.decisions WHERE point = 't_tables_changing' AND row_id = 'ten';
DROP TABLE changed;
SELECT agentpay.detach('t_tables_changing');

-- ── large values ────────────────────────────────────────────────────────────
CREATE TABLE toasted (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, memo text, payload jsonb, outcome text);
ALTER TABLE toasted ALTER COLUMN memo SET STORAGE EXTERNAL;
SELECT put('toasted');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_tables_toasted', 'NEEDLE', 'strpos(memo, ''needle'') > 0', 60), ('t_tables_toasted', 'LONG', 'length(memo) > 100000', 0);
SELECT agentpay.activate('t_tables_toasted');
INSERT INTO toasted (id, amount, memo, payload) VALUES (1, 50, repeat('hay ', 50000) || 'needle', jsonb_build_object('x', repeat('y', 100000)));
-- from a table, where the values are stored out of line and compressed
CREATE TABLE source AS SELECT * FROM toasted;
INSERT INTO toasted (id, at, amount, memo, payload) SELECT 2, at, amount, memo, payload FROM source;
INSERT INTO toasted (id, amount, memo) SELECT 3, 50, string_agg(chr(97 + g % 26), '') FROM generate_series(1, 200000) g;
SELECT id, outcome, d.verdict, d.reasons, length(d.inputs ->> 'memo') AS stored
  FROM toasted t JOIN agentpay.decisions d ON d.point = 't_tables_toasted' AND d.row_id = t.id::text ORDER BY id;

-- ── two points on one table ─────────────────────────────────────────────────
CREATE TABLE shared (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, outcome text, score numeric, reasons text[], route text);
SELECT put('shared');
SELECT agentpay.attach('shared', 't_tables_route', 'routing', 'id', 'at', outcome => 'route', verdicts => '{acquirer_a,acquirer_b}');
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES ('t_tables_route', 'BIG', 'amount > 200', 'acquirer_b');
SELECT agentpay.activate('t_tables_route');
INSERT INTO shared (id, amount) VALUES (1, 50), (2, 150), (3, 500) RETURNING id, outcome, score, reasons, route;
SELECT row_id, point, verdict, score, reasons FROM agentpay.decisions WHERE point IN ('t_tables_shared', 't_tables_route') ORDER BY row_id, point COLLATE "C";
-- one is taken off, the other goes on; then none
SELECT agentpay.detach('t_tables_shared');
INSERT INTO shared (id, amount) VALUES (4, 500) RETURNING id, outcome, route;
SELECT agentpay.detach('t_tables_route');
INSERT INTO shared (id, amount) VALUES (5, 500) RETURNING id, outcome, route;
SELECT row_id, point, verdict FROM agentpay.decisions WHERE point IN ('t_tables_shared', 't_tables_route') AND row_id > '3' ORDER BY row_id;
-- and on again, with other columns
SELECT agentpay.attach('shared', 't_tables_shared', 'fraud', 'id', 'at', 'amount', 'USD', reasons => 'reasons');
INSERT INTO shared (id, amount) VALUES (6, 500) RETURNING id, outcome, score, reasons;
-- disabled by UPDATE: rows pass through
UPDATE agentpay.decision_points SET enabled = false WHERE point = 't_tables_shared';
INSERT INTO shared (id, amount) VALUES (7, 500) RETURNING id, reasons;
UPDATE agentpay.decision_points SET enabled = true WHERE point = 't_tables_shared';
INSERT INTO shared (id, amount) VALUES (8, 500) RETURNING id, reasons;
SELECT array_agg(row_id ORDER BY row_id) FROM agentpay.decisions WHERE point = 't_tables_shared';

-- ── rows of a table that inherits from it are not its own ───────────────────
CREATE TABLE heir () INHERITS (by_bigint);
INSERT INTO heir (id, amount) VALUES (3, 500) RETURNING id, outcome;
SELECT object, problem, fix FROM agentpay.advice
 WHERE problem LIKE '%inherits%';
DROP TABLE heir;

-- ── who inserts needs no right on anything of agentpay ──────────────────────
CREATE ROLE t_tables;
GRANT USAGE ON SCHEMA t_tables TO t_tables;
GRANT INSERT, SELECT ON by_bigint TO t_tables;
SET ROLE t_tables;
INSERT INTO by_bigint (id, amount) VALUES (2, 500) RETURNING id, outcome;
SELECT count(*) FROM agentpay.decisions;
RESET ROLE;
SELECT decided('by_bigint');

-- clean up
SELECT agentpay.detach(point) FROM agentpay.decision_points WHERE point LIKE 't\_tables%' AND enabled;
DROP SCHEMA t_tables CASCADE;
DROP ROLE t_tables;
