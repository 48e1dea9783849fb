-- Every aggregate of a window as pandas computes it, over generated payments
-- that tie, come late, and lack keys and values: test/oracle/windows.py made
-- them and the answers (12 digits). Loaded in one COPY, in statements of many
-- rows among failures, deletes and updates, one row at a time, and into a table
-- with partitions.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA t_windows;
SET search_path = t_windows;
\getenv abs_srcdir PG_ABS_SRCDIR
\set payments :abs_srcdir '/oracle/windows_payments.csv'
\set answers :abs_srcdir '/oracle/windows_answers.csv'
\set reports :abs_srcdir '/oracle/windows_reports.csv'

CREATE TABLE generated (id int PRIMARY KEY, card text, terminal int, at timestamptz, amount numeric(12,2), points int,
	ratio float8, country text, declined boolean);
COPY generated FROM :'payments' CSV HEADER;
CREATE TABLE answers (id int PRIMARY KEY,
	n_1h float8, n_30d float8, n_before float8, sum_6h float8, sum_before float8, avg_1d float8, min_6h float8,
	max_1d float8, max_before float8, dev_1d float8, kinds_1d float8, rate_6h float8, int_sum float8, int_dev float8,
	int_min float8, flt_sum float8, flt_avg float8, flt_dev float8, flt_max float8, german float8, bad_before float8,
	both_keys float8, term_n float8, term_rate float8, term_rate_3d float8, term_cards float8, term_dev float8,
	rep_n float8, rep_rate float8, rep_loss float8, since float8, since_fr float8);
COPY answers FROM :'answers' CSV HEADER;
CREATE TABLE reports (terminal int, seen_at timestamptz, fraud boolean, loss numeric(12,2));
COPY reports FROM :'reports' CSV HEADER;
CREATE INDEX ON reports (terminal, seen_at);
ANALYZE;

-- what the answers are answers to: the definitions in windows.py
CREATE TABLE asked (name text, kind text, from_table regclass, key text, from_time text, aggregate text, value text,
	over interval, delay interval, filter text, include_current boolean, default_value text);
INSERT INTO asked VALUES
	('n_1h',       'window', NULL, 'card', NULL, 'count', NULL, '1 hour', '0', NULL, true, NULL),
	('n_30d',      'window', NULL, 'card', NULL, 'count', NULL, '30 days', '0', NULL, true, NULL),
	('n_before',   'window', NULL, 'card', NULL, 'count', NULL, '1 hour', '0', NULL, false, NULL),
	('sum_6h',     'window', NULL, 'card', NULL, 'sum', 'amount', '6 hours', '0', NULL, true, NULL),
	('sum_before', 'window', NULL, 'card', NULL, 'sum', 'amount', '6 hours', '0', NULL, false, '0'),
	('avg_1d',     'window', NULL, 'card', NULL, 'avg', 'amount', '1 day', '0', NULL, true, NULL),
	('min_6h',     'window', NULL, 'card', NULL, 'min', 'amount', '6 hours', '0', NULL, true, NULL),
	('max_1d',     'window', NULL, 'card', NULL, 'max', 'amount', '1 day', '0', NULL, true, NULL),
	('max_before', 'window', NULL, 'card', NULL, 'max', 'amount', '1 hour', '0', NULL, false, NULL),
	('dev_1d',     'window', NULL, 'card', NULL, 'stddev', 'amount', '1 day', '0', NULL, true, NULL),
	('kinds_1d',   'window', NULL, 'card', NULL, 'count_distinct', 'country', '1 day', '0', NULL, true, NULL),
	('rate_6h',    'window', NULL, 'card', NULL, 'rate', 'declined', '6 hours', '0', NULL, true, NULL),
	('int_sum',    'window', NULL, 'card', NULL, 'sum', 'points', '1 day', '0', NULL, true, NULL),
	('int_dev',    'window', NULL, 'card', NULL, 'stddev', 'points', '1 day', '0', NULL, true, NULL),
	('int_min',    'window', NULL, 'card', NULL, 'min', 'points', '1 hour', '0', NULL, true, NULL),
	('flt_sum',    'window', NULL, 'card', NULL, 'sum', 'ratio', '1 day', '0', NULL, true, NULL),
	('flt_avg',    'window', NULL, 'card', NULL, 'avg', 'ratio', '1 day', '0', NULL, true, NULL),
	('flt_dev',    'window', NULL, 'card', NULL, 'stddev', 'ratio', '1 day', '0', NULL, true, NULL),
	('flt_max',    'window', NULL, 'card', NULL, 'max', 'ratio', '6 hours', '0', NULL, true, NULL),
	('german',     'window', NULL, 'card', NULL, 'sum', 'amount', '1 day', '0', 'country = ''DE''', true, NULL),
	('bad_before', 'window', NULL, 'card', NULL, 'count', NULL, '1 day', '0', 'declined', false, NULL),
	('both_keys',  'window', NULL, 'card,country', NULL, 'avg', 'amount', '1 day', '0', NULL, true, NULL),
	('term_n',     'window', NULL, 'terminal', NULL, 'count', NULL, '1 day', '1 day', NULL, true, NULL),
	('term_rate',  'window', NULL, 'terminal', NULL, 'rate', 'declined', '1 day', '1 day', NULL, true, '0'),
	('term_rate_3d', 'window', NULL, 'terminal', NULL, 'rate', 'declined', '3 days', '6 hours', NULL, true, NULL),
	('term_cards', 'window', NULL, 'terminal', NULL, 'count_distinct', 'card', '3 hours', '10 minutes', NULL, true, NULL),
	('term_dev',   'window', NULL, 'terminal', NULL, 'stddev', 'amount', '1 day', '1 hour', 'country = ''FR''', true, NULL),
	('rep_n',      'window', 'reports', 'terminal', 'seen_at', 'count', NULL, '2 days', '0', NULL, true, NULL),
	('rep_rate',   'window', 'reports', 'terminal', 'seen_at', 'rate', 'fraud', '2 days', '12 hours', NULL, true, NULL),
	('rep_loss',   'window', 'reports', 'terminal', 'seen_at', 'max', 'loss', '5 days', '0', 'fraud', true, '-1'),
	('since',      'since_last', NULL, 'card', NULL, NULL, NULL, NULL, '0', NULL, true, NULL),
	('since_fr',   'since_last', NULL, 'card', NULL, NULL, NULL, NULL, '0', 'country = ''FR''', true, NULL);

-- a table with all these features, and a rule that reads them
CREATE FUNCTION make_point(name text, partitions text DEFAULT '') RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE format('CREATE TABLE t_windows.%I (id int NOT NULL, card text, terminal int, at timestamptz NOT NULL,
		amount numeric(12,2), points int, ratio float8, country text, declined boolean) %s', name, partitions);
	IF partitions = '' THEN
		EXECUTE format('ALTER TABLE t_windows.%I ADD PRIMARY KEY (id)', name);
	ELSE
		EXECUTE format('CREATE TABLE t_windows.%I_1 PARTITION OF t_windows.%1$I (id PRIMARY KEY)
			FOR VALUES FROM (MINVALUE) TO (''2026-02-24+00'')', name);
		EXECUTE format('CREATE TABLE t_windows.%I_2 PARTITION OF t_windows.%1$I (id PRIMARY KEY)
			FOR VALUES FROM (''2026-02-24+00'') TO (MAXVALUE)', name);
	END IF;
	EXECUTE format('CREATE INDEX ON t_windows.%I (card, at); CREATE INDEX ON t_windows.%1$I (card, country, at);
		CREATE INDEX ON t_windows.%1$I (terminal, at)', name);
	PERFORM agentpay.attach(('t_windows.' || name)::regclass, 't_windows_' || name, 'fraud', 'id', 'at');
	INSERT INTO agentpay.features (point, name, kind, from_table, key, from_time, aggregate, value, over, delay, filter,
		include_current, default_value)
	SELECT 't_windows_' || $1, a.name, kind, from_table, string_to_array(key, ','), from_time, aggregate, value, over, delay,
		filter, include_current, default_value
	  FROM t_windows.asked a;
	INSERT INTO agentpay.rules (point, code, condition)
	SELECT 't_windows_' || $1, 'READS', string_agg(format('%I IS NULL', a.name), ' OR ') FROM t_windows.asked a;
	PERFORM agentpay.activate('t_windows_' || $1);
	RETURN 't_windows_' || $1;
END$$;
-- of each feature: how many values were compared, and how many differ. Counts
-- are equal; the others to 11 digits, or as many decimals below 1
CREATE FUNCTION differing(name text) RETURNS TABLE (feature text, rows bigint, known bigint, differ bigint, first_id int)
LANGUAGE sql AS $$
	WITH answer AS MATERIALIZED (
		SELECT g.id, d.inputs AS got, to_jsonb(g) AS want
		  FROM t_windows.answers g LEFT JOIN agentpay.decisions d
			ON d.point = 't_windows_' || $1 AND d.row_id = g.id::text AND d.kind = 'rules' AND d.detail->'errors' IS NULL),
	compared AS (
		SELECT id, name, w.want,
			   CASE WHEN aggregate IN ('count', 'count_distinct') OR w.want IS NULL OR w.got IS NULL
					THEN w.got IS DISTINCT FROM w.want
					ELSE abs(w.got - w.want) > 1e-11 * greatest(1, abs(w.want)) END AS differs
		  FROM answer a CROSS JOIN t_windows.asked
		 CROSS JOIN LATERAL (VALUES ((a.got->>name)::float8, (a.want->>name)::float8)) AS w (got, want))
	SELECT name, count(*), count(want), count(*) FILTER (WHERE differs), min(id) FILTER (WHERE differs)
	  FROM compared GROUP BY name ORDER BY name COLLATE "C"
$$;

-- ── in one statement ────────────────────────────────────────────────────────
SELECT make_point('copied');
COPY copied FROM :'payments' CSV HEADER;
SELECT * FROM differing('copied');

-- ── in statements of many rows ──────────────────────────────────────────────
-- Between them: rows that are rolled back, rows that come and go (with the same
-- answers), rows that others take for a moment.
SELECT make_point('batches');
CREATE PROCEDURE batches(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR start IN first..last BY 150 LOOP
		BEGIN
			INSERT INTO t_windows.batches SELECT * FROM t_windows.generated WHERE id BETWEEN start AND start + 299 ORDER BY id;
			RAISE division_by_zero;
		EXCEPTION WHEN division_by_zero THEN
			NULL;
		END;
		COMMIT;
		INSERT INTO t_windows.batches SELECT * FROM t_windows.generated WHERE id BETWEEN start AND start + 49 ORDER BY id;
		COMMIT;
		DELETE FROM t_windows.batches WHERE id >= start;
		UPDATE t_windows.batches SET amount = 1e6, card = 'c1', at = at - interval '1 hour' WHERE id % 7 = 0;
		COMMIT;
		UPDATE t_windows.batches b SET (amount, card, at) = (SELECT amount, card, at FROM t_windows.generated g WHERE g.id = b.id)
		 WHERE id % 7 = 0;
		COMMIT;
		INSERT INTO t_windows.batches SELECT * FROM t_windows.generated WHERE id BETWEEN start AND start + 149 ORDER BY id;
		COMMIT;
	END LOOP;
END$$;
CALL batches(1, 1500);
\c -
CALL t_windows.batches(1501, 3000);
SET search_path = t_windows;
SELECT max(rows) AS rows, sum(differ) AS differ FROM differing('batches');

-- ── one row at a time ───────────────────────────────────────────────────────
SET client_min_messages = warning;
SELECT make_point('single');
CREATE PROCEDURE singly(first int, last int) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN first..last LOOP
		INSERT INTO t_windows.single SELECT * FROM t_windows.generated WHERE id = i;
		IF i % 10 = 0 THEN COMMIT; END IF;
	END LOOP;
END$$;
CALL singly(1, 1000);
\c -
CALL t_windows.singly(1001, 3000);
SET search_path = t_windows;
SELECT max(rows) AS rows, sum(differ) AS differ FROM differing('single');

-- ── with partitions ─────────────────────────────────────────────────────────
SET client_min_messages = warning;
SELECT make_point('parted', 'PARTITION BY RANGE (at)');
\set payments :abs_srcdir '/oracle/windows_payments.csv'
COPY parted FROM :'payments' CSV HEADER;
SELECT max(rows) AS rows, sum(differ) AS differ FROM differing('parted');

SELECT agentpay.detach('t_windows_' || name) FROM unnest('{copied,batches,single,parted}'::text[]) AS name;
DROP SCHEMA t_windows CASCADE;
