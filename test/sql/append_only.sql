-- Nobody changes a log: not by rows, not by DDL, not the owner, not a
-- superuser (FAULTS 35).
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
INSERT INTO agentpay.lists VALUES ('t_append_only');

-- this month's leaf, under a name that does not change
SELECT format('agentpay.governance_log_%s', to_char(agentpay._now() AT TIME ZONE 'UTC', 'YYYY_MM')) AS leaf \gset
CREATE TEMP TABLE leaf_name AS SELECT :'leaf' AS leaf;

-- Returns the error of a statement, without the month.  What locks all there
-- is can meet a worker that does, too: tried again.
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE replace(statement, 'LEAF', (SELECT leaf FROM leaf_name));
	RETURN 'accepted';
EXCEPTION WHEN deadlock_detected THEN
	RETURN pg_temp.try(statement);
WHEN OTHERS THEN
	IF statement ~ '^DROP (SCHEMA|EXTENSION)' THEN
		RETURN SQLSTATE; -- what comes first differs between versions
	END IF;
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
	'INSERT INTO LEAF SELECT * FROM LEAF WHERE object = ''t_append_only''',
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
	'ALTER TABLE LEAF ADD CHECK (false) NOT VALID',
	'ALTER TABLE agentpay.governance_log ADD PRIMARY KEY (event_id, logged_at)',
	'ALTER TABLE LEAF ENABLE ROW LEVEL SECURITY',
	'ALTER TABLE agentpay.governance_log FORCE ROW LEVEL SECURITY',
	'CREATE POLICY p ON agentpay.governance_log USING (false)',
	'CREATE UNIQUE INDEX ON LEAF (actor)',
	'CREATE INDEX ON agentpay.governance_log (actor)',
	'CREATE FOREIGN TABLE a_part PARTITION OF agentpay.governance_log FOR VALUES FROM (''2001-01-01'') TO (''2001-02-01'') SERVER nobody',
	'DROP SCHEMA agentpay CASCADE',
	'DROP OWNED BY CURRENT_USER CASCADE',
	'DROP EXTENSION plpgsql CASCADE']) AS statement;

-- rows of another table cannot be shown as a log's
CREATE TABLE a_version (LIKE agentpay.agent_versions);
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'CREATE TABLE a_child () INHERITS (agentpay.agent_versions)',
	'ALTER TABLE a_version INHERIT agentpay.agent_versions',
	'CREATE TABLE a_parent (LIKE agentpay.agent_versions) PARTITION BY LIST (agent);
	 ALTER TABLE a_parent ATTACH PARTITION agentpay.agent_versions DEFAULT',
	'INSERT INTO agentpay.agent_versions SELECT ''a'', 1, ''{}'', ''x'', ''me'', now()']) AS statement;
DROP TABLE a_version;

-- nor can what guards the logs be exchanged: functions, names, the identity
-- that says whether the guards hold, triggers that check the configuration
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'CREATE OR REPLACE FUNCTION agentpay._refuse_change() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN RETURN coalesce(NEW, OLD); END''',
	'CREATE OR REPLACE FUNCTION agentpay._restoring() RETURNS boolean LANGUAGE sql STABLE STRICT AS ''SELECT true''',
	'CREATE FUNCTION agentpay._append(agentpay.governance_log) RETURNS void LANGUAGE sql AS ''SELECT''',
	'CREATE FUNCTION mine() RETURNS void LANGUAGE sql AS ''SELECT''; ALTER FUNCTION mine() SET SCHEMA agentpay',
	'CREATE ROLE t_append_only; ALTER FUNCTION agentpay._refuse_change() OWNER TO t_append_only',
	'ALTER FUNCTION agentpay._refuse_change() RENAME TO x',
	'ALTER FUNCTION agentpay._refuse_change() SET search_path = public',
	'ALTER FUNCTION agentpay._govern_change() SECURITY INVOKER',
	'ALTER EXTENSION agentpay DROP FUNCTION agentpay._refuse_change()',
	'ALTER EXTENSION agentpay DROP TABLE agentpay.decisions',
	'ALTER SCHEMA agentpay RENAME TO x',
	'DELETE FROM agentpay._identity',
	'UPDATE agentpay._identity SET database_oid = 1',
	'TRUNCATE agentpay._identity',
	'ALTER TABLE agentpay._identity DISABLE TRIGGER ALL',
	'ALTER TABLE agentpay._identity RENAME TO x',
	'DROP TABLE agentpay._identity',
	'ALTER TABLE agentpay.rules DISABLE TRIGGER agentpay_govern',
	'ALTER TABLE agentpay.rules DISABLE TRIGGER ALL',
	'ALTER TABLE agentpay.kill_switches ENABLE REPLICA TRIGGER agentpay_check',
	'DROP TRIGGER agentpay_govern ON agentpay.budgets',
	'ALTER TRIGGER agentpay_check ON agentpay.agents RENAME TO x',
	-- one that comes after the checks would take a row past them, or drop it
	'CREATE TRIGGER zz BEFORE UPDATE ON agentpay.agents FOR EACH ROW EXECUTE FUNCTION suppress_redundant_updates_trigger()',
	'CREATE TRIGGER a BEFORE UPDATE ON agentpay.kill_switches FOR EACH STATEMENT EXECUTE FUNCTION tsvector_update_trigger()',
	'CREATE RULE r AS ON UPDATE TO agentpay.kill_switches DO INSTEAD NOTHING',
	-- nor by a trigger elsewhere
	'CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS ''BEGIN DELETE FROM agentpay.kill_switches WHERE scope = ''''all''''; RETURN NULL; END'';
	 CREATE TABLE t (); CREATE TRIGGER t AFTER INSERT ON t EXECUTE FUNCTION f(); INSERT INTO t DEFAULT VALUES']) AS statement;
-- adopt() has nothing to do, and changes nothing
SELECT agentpay.adopt();

-- what changes no row and no guard is nobody's business
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'CREATE TRIGGER mine AFTER UPDATE ON agentpay.kill_switches FOR EACH ROW EXECUTE FUNCTION tsvector_update_trigger();
	 DROP TRIGGER mine ON agentpay.kill_switches',
	'ALTER TABLE LEAF SET (autovacuum_freeze_min_age = 1)',
	'ALTER TABLE LEAF RESET (autovacuum_freeze_min_age)',
	'ALTER TABLE LEAF ALTER COLUMN object SET STATISTICS 50',
	'ALTER TABLE LEAF ALTER COLUMN object SET STATISTICS -1',
	'ANALYZE LEAF', 'REINDEX TABLE LEAF', 'CREATE INDEX t_append_only ON LEAF (actor)', 'DROP INDEX agentpay.t_append_only',
	'ALTER TABLE LEAF OWNER TO CURRENT_USER', 'ALTER TABLE LEAF NO FORCE ROW LEVEL SECURITY',
	'CREATE ROLE t_append_only_admin SUPERUSER; ALTER FUNCTION agentpay._now() OWNER TO t_append_only_admin;
	 REASSIGN OWNED BY t_append_only_admin TO CURRENT_USER; DROP ROLE t_append_only_admin',
	'CREATE FUNCTION pg_temp.mine() RETURNS void LANGUAGE sql AS ''SELECT''',
	'ALTER TABLE a_copy ADD COLUMN x int', 'DROP TABLE a_copy']) AS statement;

-- an owner who is no superuser can do no more
CREATE ROLE t_append_only_owner;
GRANT USAGE ON SCHEMA agentpay TO t_append_only_owner;
DO $$ BEGIN
	EXECUTE 'ALTER TABLE agentpay.governance_log OWNER TO t_append_only_owner';
	EXECUTE format('ALTER TABLE %s OWNER TO t_append_only_owner', (SELECT leaf FROM leaf_name));
END $$;
GRANT SELECT ON leaf_name TO t_append_only_owner;
SET ROLE t_append_only_owner;
SELECT statement, pg_temp.try(statement) FROM unnest(ARRAY[
	'UPDATE agentpay.governance_log SET reason = ''x'' WHERE object = ''t_append_only''',
	'DELETE FROM LEAF WHERE object = ''t_append_only''',
	'TRUNCATE LEAF',
	'INSERT INTO LEAF SELECT * FROM LEAF WHERE object = ''t_append_only''',
	'ALTER TABLE LEAF DISABLE TRIGGER agentpay_change',
	'DROP TRIGGER agentpay_truncate ON LEAF',
	'ALTER TABLE agentpay.governance_log DETACH PARTITION LEAF',
	'DROP TABLE LEAF']) AS statement;
RESET ROLE;
DO $$ BEGIN
	EXECUTE 'ALTER TABLE agentpay.governance_log OWNER TO ' || quote_ident(current_user);
	EXECUTE format('ALTER TABLE %s OWNER TO %I', (SELECT leaf FROM leaf_name), current_user);
END $$;
REVOKE ALL ON SCHEMA agentpay FROM t_append_only_owner;
REVOKE ALL ON leaf_name FROM t_append_only_owner;
DROP ROLE t_append_only_owner;

-- a table of the same name elsewhere is not ours
CREATE SCHEMA t_append_only;
CREATE TABLE t_append_only.decisions (x int);
ALTER TABLE t_append_only.decisions DISABLE TRIGGER ALL;
DROP SCHEMA t_append_only CASCADE;

-- the row is still there, once
SELECT action, object_kind, object FROM agentpay.governance_log
 WHERE object = 't_append_only' AND action = 'insert';
DELETE FROM agentpay.lists WHERE name = 't_append_only';
