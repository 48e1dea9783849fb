-- What was on a list at any moment, against a timeline made by hand.
BEGIN;
SET client_min_messages = warning;
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	message text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT;
	RETURN concat_ws(' | ', SQLSTATE, message);
END$$;
-- moments, in order: each is before what is done after it is taken
CREATE TEMP TABLE moments (name text PRIMARY KEY, at timestamptz);
CREATE FUNCTION pg_temp.moment(text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_sleep(0.002);
	INSERT INTO moments VALUES ($1, agentpay._now());
	PERFORM pg_sleep(0.002);
END$$;
CREATE FUNCTION pg_temp.was_on(moment text) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce(string_agg(v, '' ORDER BY v), '') FROM unnest('{a,b,c,d,e}'::text[]) v
	 WHERE agentpay._in_list_at('t_history', v, (SELECT at FROM moments WHERE name = $1)) $$;
\o /dev/null
SELECT pg_temp.moment('none');
INSERT INTO agentpay.lists (name) VALUES ('t_history'), ('t_history_2');
SELECT pg_temp.moment('empty');
INSERT INTO agentpay.list_entries (list, value, expires_at) VALUES
	('t_history', 'a', NULL), ('t_history', 'b', agentpay._now() + interval '1 hour'),
	('t_history_2', 'c', NULL), ('t_history_2', 'x', agentpay._now() + interval '1 hour');
SELECT pg_temp.moment('a, b');
UPDATE agentpay.list_entries SET expires_at = agentpay._now()
 WHERE list = 't_history' AND value = 'b';
SELECT pg_temp.moment('a; b expired');
UPDATE agentpay.list_entries SET reason = 'why' WHERE list = 't_history';
UPDATE agentpay.list_entries SET expires_at = NULL
 WHERE list = 't_history' AND value = 'b';
DELETE FROM agentpay.list_entries WHERE list = 't_history' AND value = 'a';
SELECT pg_temp.moment('b');
UPDATE agentpay.list_entries SET value = 'd' WHERE value = 'b' AND list = 't_history';
UPDATE agentpay.list_entries SET list = 't_history' WHERE list = 't_history_2' AND value = 'c';
SELECT pg_temp.moment('c, d');
-- off and on in one statement
WITH gone AS (DELETE FROM agentpay.list_entries
	WHERE list = 't_history' AND value = 'c' RETURNING *)
INSERT INTO agentpay.list_entries (list, value) SELECT list, value FROM gone;
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_history', 'd'), ('t_history', 'e')
	ON CONFLICT (list, value) DO UPDATE SET expires_at = '2001-01-01';
SELECT pg_temp.moment('c, e');
SAVEPOINT s;
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_history', 'a');
ROLLBACK TO s;
SELECT pg_temp.moment('c, e again');
DELETE FROM agentpay.lists WHERE name = 't_history';
SELECT pg_temp.moment('gone');
\o
SELECT plan(20);
SELECT is(pg_temp.was_on('none'), '', 'no list yet');
SELECT is(pg_temp.was_on('empty'), '', 'no entry yet');
SELECT is(pg_temp.was_on('a, b'), 'ab', 'two entries; the other list''s is not there');
SELECT is(pg_temp.was_on('a; b expired'), 'a', 'one expired');
SELECT is(pg_temp.was_on('b'), 'b', 'it has no end any more; one was taken off');
SELECT is(pg_temp.was_on('c, d'), 'cd', 'renamed, and moved from the other list');
SELECT is(pg_temp.was_on('c, e'), 'ce',
	'off and on in one statement stays on; an upsert');
SELECT is(pg_temp.was_on('c, e again'), 'ce', 'what was rolled back never was');
SELECT is(pg_temp.was_on('gone'), '', 'deleted with its list');
SELECT is(agentpay._in_list_at('t_history_2', 'c', (SELECT at FROM moments WHERE name = 'a, b')),
	true, 'the other list then');
SELECT is(agentpay._in_list_at('t_history_2', 'c', (SELECT at FROM moments WHERE name = 'c, d')),
	false, 'and later');
-- x: an hour from then on, and nobody touched it
SELECT is((SELECT array_agg(agentpay._in_list_at('t_history_2', 'x', h.at + d) ORDER BY d)
			 FROM (SELECT at FROM agentpay._list_history WHERE value = 'x') h,
				  unnest(ARRAY['-1 s', '0', '59 min', '61 min']::interval[]) d), '{f,t,t,f}',
	'an entry ends by itself');
SELECT is(agentpay._in_list_at('t_history', NULL, now()), NULL, 'NULL is NULL');
SELECT is((SELECT count(*) FROM agentpay._list_history WHERE list = 't_history' AND value = 'a'),
	2::bigint, 'a change of the reason is none of the list');
-- append-only
SELECT matches(pg_temp.refused($$DELETE FROM agentpay._list_history$$), '^AP001', 'no DELETE');
SELECT matches(pg_temp.refused($$UPDATE agentpay._list_history SET present = true$$), '^AP001', 'no UPDATE');
SELECT matches(pg_temp.refused($$TRUNCATE agentpay._list_history$$), '^AP001', 'no TRUNCATE');
SELECT is(pg_temp.refused($$INSERT INTO agentpay._list_history (list, value, present) VALUES ('t_history', 'a', true)$$),
	'AP001 | agentpay._list_history is append-only: INSERT refused', 'nothing that is not so');
SELECT matches(pg_temp.refused($$ALTER TABLE agentpay._list_history DISABLE TRIGGER ALL$$), '^AP001', 'no way around');
SELECT matches(pg_temp.refused($$ALTER TABLE agentpay.list_entries DISABLE TRIGGER agentpay_history$$), '^AP001',
	'nor around what writes it');
SELECT * FROM finish();
ROLLBACK;
