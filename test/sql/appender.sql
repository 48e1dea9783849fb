-- A session keeps what it compiled to write to a leaf, so every change of the
-- leaf must reach its next append.
\set SHOW_CONTEXT never
\set VERBOSITY terse
BEGIN;
SET LOCAL client_min_messages = warning;
CREATE FUNCTION pg_temp.append(observed_at timestamptz, row_id text,
	source text) RETURNS void LANGUAGE sql AS $$
	SELECT agentpay._append(ROW(agentpay._uuid_v7(), observed_at, 't_append',
		row_id, 'fraud', source, NULL, observed_at, 'tester',
		NULL)::agentpay.outcomes)
$$;
-- what an index of a leaf finds
CREATE FUNCTION pg_temp.by_index(leaf regclass) RETURNS text[]
	LANGUAGE plpgsql SET enable_seqscan = off SET enable_bitmapscan = off AS $$
DECLARE
	plan text := '';
	line text;
	found text[];
BEGIN
	FOR line IN EXECUTE format(
		'EXPLAIN SELECT FROM %s WHERE label = ''fraud''', leaf)
	LOOP
		plan := plan || line;
	END LOOP;
	IF plan !~ 'Index' THEN
		RAISE EXCEPTION 'no index is used: %', plan;
	END IF;
	EXECUTE format('SELECT array_agg(row_id ORDER BY row_id COLLATE "C")'
				   ' FROM %s WHERE label = ''fraud''', leaf) INTO found;
	RETURN found;
END$$;

-- two leaves in turn
SELECT pg_temp.append(at, row_id, 'analyst')
  FROM (VALUES ('2031-09-10'::timestamptz, '1'), ('2031-10-10', '2'),
			   ('2031-09-11', '3')) AS v (at, row_id);
SELECT tableoid::regclass, row_id, xid = pg_current_xact_id() AS own_xid
  FROM agentpay.outcomes WHERE point = 't_append' ORDER BY row_id;

-- an error leaves nothing behind that the next append would use
SAVEPOINT s;
SELECT pg_temp.append('2031-09-12', '4', 'nobody');
ROLLBACK TO s;
SELECT pg_temp.append('2031-09-12', '5', 'analyst');

-- an index that comes and goes
CREATE INDEX t_append_label ON agentpay.outcomes_2031_09 (label);
SELECT pg_temp.append('2031-09-13', '6', 'analyst');
SELECT pg_temp.by_index('agentpay.outcomes_2031_09');
DROP INDEX agentpay.t_append_label;
SELECT pg_temp.append('2031-09-14', '7', 'analyst');
CREATE INDEX t_append_label ON agentpay.outcomes_2031_09 (label);
REINDEX INDEX agentpay.t_append_label;
SELECT pg_temp.append('2031-09-15', '8', 'analyst');
SELECT pg_temp.by_index('agentpay.outcomes_2031_09');

SELECT array_agg(row_id ORDER BY row_id::int) FROM agentpay.outcomes
 WHERE point = 't_append';
ROLLBACK;
