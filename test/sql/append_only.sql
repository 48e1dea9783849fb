-- Nobody changes a log: not by rows, not by DDL, not the owner, not a
-- superuser (FAULTS 35).
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
INSERT INTO agentpay.lists VALUES ('t_append_only');

-- this month's leaf, under a name that does not change
SELECT format('agentpay.governance_log_%s', to_char(agentpay._now() AT TIME ZONE 'UTC', 'YYYY_MM')) AS leaf \gset
CREATE TEMP TABLE leaf_name AS SELECT :'leaf' AS leaf;

-- Returns the error of a statement, without the month.
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE replace(statement, 'LEAF', (SELECT leaf FROM leaf_name));
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	RETURN SQLSTATE || ': ' || regexp_replace(SQLERRM, '_20[0-9]{2}_[0-9]{2}', '_MONTH');
END$$;

-- rows, through the parent and at the leaf
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'UPDATE agentpay.governance_log SET reason = ''x'' WHERE object = ''t_append_only''',
	'DELETE FROM agentpay.governance_log WHERE object = ''t_append_only''',
	'INSERT INTO agentpay.governance_log SELECT * FROM agentpay.governance_log WHERE object = ''t_append_only''',
	'TRUNCATE agentpay.governance_log',
	'MERGE INTO agentpay.governance_log g USING (VALUES (1)) v ON g.object = ''t_append_only'' WHEN MATCHED THEN DELETE',
	'UPDATE LEAF SET reason = ''x'' WHERE object = ''t_append_only''',
	'DELETE FROM LEAF WHERE object = ''t_append_only''',
	'INSERT INTO LEAF SELECT * FROM LEAF WHERE object = ''t_append_only''',
	'TRUNCATE LEAF']) AS statement;
CREATE TABLE a_copy AS SELECT * FROM agentpay.governance_log WHERE object = 't_append_only';
SELECT pg_temp.try($$COPY LEAF FROM PROGRAM 'printf "00000000-0000-7000-8000-000000000000\t2026-11-24\tx\tx\tx\tx\t\\\\N\t\\\\N\t\\\\N\t1\n"'$$) AS copy;

-- the other logs have the same guards
SELECT c.relname, string_agg(g.tgname || ' ' || g.tgenabled::text, ', ' ORDER BY g.tgname) AS guards
  FROM pg_class c JOIN pg_trigger g ON g.tgrelid = c.oid AND NOT g.tgisinternal
 WHERE c.relnamespace = 'agentpay'::regnamespace
   AND c.relname IN ('decisions', 'agent_calls', 'outcomes', 'governance_log', '_tasks', 'agent_versions')
 GROUP BY c.relname ORDER BY c.relname COLLATE "C";

-- triggers do not listen to session_replication_role
SET session_replication_role = replica;
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'UPDATE agentpay.governance_log SET reason = ''x'' WHERE object = ''t_append_only''',
	'DELETE FROM LEAF WHERE object = ''t_append_only''',
	'TRUNCATE LEAF']) AS statement;
RESET session_replication_role;

-- DDL
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'DROP TABLE LEAF',
	'DROP TABLE agentpay.governance_log',
	'DROP TABLE agentpay.agent_versions CASCADE',
	'DROP TABLE a_copy, LEAF',
	'ALTER TABLE agentpay.governance_log DETACH PARTITION LEAF',
	'ALTER TABLE agentpay.governance_log ATTACH PARTITION a_copy FOR VALUES FROM (''2001-01-01'') TO (''2001-02-01'')',
	'CREATE TABLE a_part PARTITION OF agentpay.governance_log FOR VALUES FROM (''2001-01-01'') TO (''2001-02-01'')',
	'ALTER TABLE LEAF DISABLE TRIGGER ALL',
	'ALTER TABLE agentpay.governance_log DISABLE TRIGGER agentpay_change',
	'ALTER TABLE LEAF ENABLE REPLICA TRIGGER agentpay_change',
	'DROP TRIGGER agentpay_truncate ON LEAF',
	'ALTER TRIGGER agentpay_truncate ON LEAF RENAME TO x',
	'CREATE TRIGGER mine BEFORE INSERT ON LEAF FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE RULE r AS ON INSERT TO LEAF DO INSTEAD NOTHING',
	'ALTER TABLE LEAF RENAME TO x',
	'ALTER TABLE LEAF SET SCHEMA public',
	'ALTER TABLE agentpay.governance_log ADD COLUMN x int',
	'ALTER TABLE agentpay.governance_log DROP COLUMN reason',
	'ALTER TABLE agentpay.governance_log RENAME COLUMN reason TO x',
	'ALTER TABLE agentpay.governance_log ALTER COLUMN reason TYPE varchar',
	'ALTER TABLE LEAF SET UNLOGGED',
	'ALTER TABLE agentpay.agent_versions DISABLE TRIGGER ALL',
	'DROP SCHEMA agentpay CASCADE']) AS statement;

-- what changes no row and no guard is nobody's business
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'ALTER TABLE LEAF SET (autovacuum_freeze_min_age = 1)',
	'ALTER TABLE LEAF RESET (autovacuum_freeze_min_age)',
	'ALTER TABLE LEAF ALTER COLUMN object SET STATISTICS 50',
	'ALTER TABLE LEAF ALTER COLUMN object SET STATISTICS -1',
	'ANALYZE LEAF', 'REINDEX TABLE LEAF', 'CREATE INDEX t_append_only ON LEAF (actor)', 'DROP INDEX agentpay.t_append_only',
	'ALTER TABLE a_copy ADD COLUMN x int', 'DROP TABLE a_copy']) AS statement;

-- a table of the same name elsewhere is not ours
CREATE SCHEMA t_append_only;
CREATE TABLE t_append_only.decisions (x int);
ALTER TABLE t_append_only.decisions DISABLE TRIGGER ALL;
DROP SCHEMA t_append_only CASCADE;

-- the row is still there, once
SELECT action, object_kind, object FROM agentpay.governance_log
 WHERE object = 't_append_only' AND action = 'insert';
DELETE FROM agentpay.lists WHERE name = 't_append_only';
