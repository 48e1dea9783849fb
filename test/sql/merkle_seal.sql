-- The Merkle log: each committed row of the logs is one leaf, in its canonical
-- form, and the root is that of RFC 9162.  What C computes is computed here
-- again by SQL: the form from the columns' texts, the root by its definition.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE TABLE t_sealed (id text PRIMARY KEY, at timestamptz NOT NULL, amount numeric, memo text, outcome text);
SELECT agentpay.attach('t_sealed', 't_sealed', 'fraud', id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_sealed', 'MEMO', 'memo = ''x''', 1);
SELECT agentpay.activate('t_sealed');
-- what is hard to write: quotes, backslashes, control characters, scale, old and far times
INSERT INTO t_sealed VALUES
	(E'a "quoted" \\ id', '2026-11-27 01:02:03.5+00', 12.50, E'tab\tline\nfeed\r\b\f\x01\x7f', NULL),
	(E'\u00e9\u20ac\U0001F602/', '0044-03-15 12:00:00+00 BC', 90071992547409931.10, '', NULL),
	('far', '9999-12-31 23:59:59.999999+00', -0.00, 'x', NULL);
SELECT agentpay.record_outcome('t_sealed', 'far', 'fraud', amount_lost => 1.10) IS NOT NULL AS recorded;
SELECT agentpay._append(ROW('01a00000-0000-7000-8000-000000000001', now(), 7, 1, NULL, 't_sealed', 'far', 'x', 1, 'c', 'openai',
	'm', NULL, NULL, 1, NULL, 9223372036854775807, NULL, 200, 'ok', NULL, 0.000000001, 1e-9, 1e-5, 3, 123456789.125,
	'\x00ff5c', '\x', 12, NULL)::agentpay.agent_calls);
SELECT agentpay._append(ROW('01a00000-0000-7000-8000-000000000002', now(), 7, 2, NULL, 't_sealed', 'far', 'x', 1, 'c', 'openai',
	'm', NULL, NULL, 1, NULL, NULL, NULL, 200, 'ok', NULL, 0, 0, 'Infinity', 3, 1e300, NULL, NULL, NULL, NULL)::agentpay.agent_calls);

-- of a log's row: the members by key, each value the text of its column
CREATE FUNCTION pg_temp.by_sql(log text, row_key uuid) RETURNS text LANGUAGE plpgsql
	SET timezone = 'UTC' SET datestyle = 'ISO' SET bytea_output = 'hex' SET extra_float_digits = 1 AS $$
DECLARE
	members text;
	key_column text;
	result text;
BEGIN
	SELECT string_agg(format('(%L, t.%I::text)', attname, attname), ', '), min(attname::text) FILTER (WHERE attnum = 1)
	  INTO members, key_column FROM pg_attribute
	 WHERE attrelid = format('agentpay.%I', log)::regclass AND attnum > 0;
	EXECUTE format($q$SELECT '{' || string_agg(to_json(k)::text || ':' || to_json(v)::text, ',' ORDER BY k COLLATE "C") || '}'
		FROM agentpay.%I t, LATERAL (VALUES ('log', %L), %s) AS c (k, v) WHERE v IS NOT NULL AND t.%I = $1$q$,
		log, log, members, key_column) INTO result USING row_key;
	RETURN result;
END$$;
CREATE VIEW t_rows AS
	SELECT 'decisions' AS log, decision_id AS row_key, xmin FROM agentpay.decisions
	UNION ALL SELECT 'agent_calls', call_id, xmin FROM agentpay.agent_calls
	UNION ALL SELECT 'outcomes', outcome_id, xmin FROM agentpay.outcomes
	UNION ALL SELECT 'governance_log', event_id, xmin FROM agentpay.governance_log;
CREATE FUNCTION pg_temp.root_by_sql(hashes bytea[]) RETURNS bytea LANGUAGE plpgsql AS $$
DECLARE
	n int := cardinality(hashes);
	k int := 1;
BEGIN
	IF n = 0 THEN RETURN sha256(''); END IF;
	IF n = 1 THEN RETURN hashes[1]; END IF;
	WHILE k * 2 < n LOOP k := k * 2; END LOOP;
	RETURN sha256('\x01'::bytea || pg_temp.root_by_sql(hashes[:k]) || pg_temp.root_by_sql(hashes[k + 1:]));
END$$;

SELECT agentpay._seal() >= 0 AS sealed;

-- leaves are numbered without a gap, and each row is one of them
SELECT count(*) = max(leaf_index) + 1 AS no_gap, min(leaf_index) FROM agentpay._leaves;
SELECT count(*) AS rows_without_a_leaf FROM t_rows r
  LEFT JOIN agentpay._leaves l ON l.row_key = r.row_key
   AND l.log = CASE r.log WHEN 'decisions' THEN 'd' WHEN 'agent_calls' THEN 'c' WHEN 'outcomes' THEN 'o' ELSE 'g' END
 WHERE l.leaf_index IS NULL;
SELECT count(*) AS leaves_without_a_row FROM agentpay._leaves l LEFT JOIN t_rows r USING (row_key) WHERE r.row_key IS NULL;

-- the canonical form, whatever the session's settings are
SELECT count(*) > 10 AS compared, count(*) FILTER (WHERE agentpay.canonical_leaf(row_key) <> pg_temp.by_sql(log, row_key)) AS different FROM t_rows;
SET timezone = 'Asia/Kolkata';
SET datestyle = 'German, DMY';
SET bytea_output = 'escape';
SET extra_float_digits = -3;
SELECT count(*) FILTER (WHERE agentpay.canonical_leaf(row_key) <> pg_temp.by_sql(log, row_key)) AS different FROM t_rows;
SELECT agentpay.canonical_leaf('01a00000-0000-7000-8000-000000000001')::json ->> 'request_sha256' AS bytea,
	   agentpay.canonical_leaf('01a00000-0000-7000-8000-000000000001')::json ->> 'cached_tokens' AS nothing,
	   agentpay.canonical_leaf('01a00000-0000-7000-8000-000000000001')::json ->> 'queued_ms' AS double_precision;
RESET timezone;
RESET datestyle;
RESET bytea_output;
RESET extra_float_digits;

-- a leaf is the hash of a zero byte and the form; the root is that of them all
SELECT count(*) AS wrong_hashes FROM agentpay._leaves
 WHERE hash <> sha256('\x00'::bytea || convert_to(agentpay.canonical_leaf(row_key), 'UTF8'));
SELECT s.root_hash = pg_temp.root_by_sql(array(SELECT l.hash FROM agentpay._leaves l WHERE l.leaf_index < s.tree_size ORDER BY l.leaf_index)) AS right_root
  FROM agentpay._seals s ORDER BY seal_id DESC LIMIT 1;

-- more than a tile, so that nodes are kept
INSERT INTO t_sealed SELECT 'many ' || g, now(), g FROM generate_series(1, 700) g;
SELECT agentpay._seal() >= 0 AS sealed;
SELECT agentpay._seal() AS nothing_is_left;
SELECT count(*) >= 2 AS there_are_nodes, count(*) FILTER (WHERE n.hash <> pg_temp.root_by_sql(array(
	SELECT l.hash FROM agentpay._leaves l WHERE l.leaf_index / 256 = n.node_index ORDER BY l.leaf_index))) AS wrong
  FROM agentpay._nodes n WHERE level = 8;
SELECT s.root_hash = pg_temp.root_by_sql(array(SELECT l.hash FROM agentpay._leaves l WHERE l.leaf_index < s.tree_size ORDER BY l.leaf_index)) AS right_root
  FROM agentpay._seals s ORDER BY seal_id DESC LIMIT 1;

-- what rolled back is not there, what a savepoint gave up neither
SELECT count(*) AS leaves FROM agentpay._leaves \gset
BEGIN;
INSERT INTO t_sealed VALUES ('gone', now(), 1);
ROLLBACK;
BEGIN;
INSERT INTO t_sealed VALUES ('stays', now(), 1);
SAVEPOINT s;
INSERT INTO t_sealed VALUES ('gone too', now(), 1);
ROLLBACK TO s;
COMMIT;
SELECT agentpay._seal() >= 0 AS sealed;
SELECT count(*) - :leaves AS added FROM agentpay._leaves;
SELECT r.row_id FROM agentpay._leaves l JOIN agentpay.decisions r ON r.decision_id = l.row_key ORDER BY l.leaf_index DESC LIMIT 1;

SELECT agentpay.canonical_leaf('00000000-0000-0000-0000-000000000000');
SELECT agentpay.canonical_leaf(NULL) IS NULL AS nothing;

-- nobody writes here
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || SQLERRM;
END$$;
SELECT pg_temp.try(format(statement, name)) FROM unnest(ARRAY['_leaves', '_nodes', '_seals', 'checkpoints', '_log_keys']) AS name,
	unnest(ARRAY['TRUNCATE agentpay.%I', 'DROP TABLE agentpay.%I', 'ALTER TABLE agentpay.%I DISABLE TRIGGER ALL',
		'CREATE RULE r AS ON INSERT TO agentpay.%I DO INSTEAD NOTHING']) AS statement;
SELECT pg_temp.try(statement) FROM unnest(ARRAY[
	'UPDATE agentpay._leaves SET leaf_index = -leaf_index',
	'DELETE FROM agentpay._leaves',
	'INSERT INTO agentpay._leaves SELECT -1, gen_random_uuid(), ''d'', ''\x00''',
	'DELETE FROM agentpay._nodes',
	'UPDATE agentpay._seals SET tree_size = 0',
	'INSERT INTO agentpay.checkpoints VALUES (1, ''\x00'', '''', now())',
	'INSERT INTO agentpay._log_keys VALUES ('''', now())']) AS statement;
DROP VIEW t_rows;
SELECT agentpay.detach('t_sealed');
DROP TABLE t_sealed;
