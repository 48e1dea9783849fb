-- The partition maker: monthly leaves in UTC, complete before they are
-- attached, made once, and never members of an extension.
\set SHOW_CONTEXT never
-- the first change of the configuration starts the ledger, and its guards
INSERT INTO agentpay.lists VALUES ('t_partitions_start');
DELETE FROM agentpay.lists WHERE name = 't_partitions_start';
BEGIN;
SET LOCAL client_min_messages = warning;

-- the session's settings make no difference
SET LOCAL TimeZone = 'Pacific/Auckland';
SET LOCAL DateStyle = 'SQL, DMY';
SET LOCAL search_path = pg_temp;
SELECT agentpay._make_partition('decisions', '2031-01-31 23:59:59.999999+00');
SELECT agentpay._make_partition('decisions', '2031-02-01 12:59:59+13');
SELECT agentpay._make_partition('decisions', '2031-12-31 23:00:00-02');
SET LOCAL TimeZone = 'UTC';
SET LOCAL DateStyle = 'ISO, MDY';
SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) AS bound
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'agentpay.decisions'::regclass AND c.relname ~ '_203[0-9]_'
 ORDER BY c.relname COLLATE "C";

-- what every leaf has
SELECT agentpay._make_partition(log, '2031-01-15')
  FROM unnest('{agent_calls,outcomes,governance_log,_tasks}'::text[]) AS log;
SELECT c.relname, pg_get_indexdef(x.indexrelid) AS index
  FROM pg_class c JOIN pg_index x ON x.indrelid = c.oid
 WHERE c.relnamespace = 'agentpay'::regnamespace AND c.relname LIKE '%\_2031\_01'
 ORDER BY c.relname COLLATE "C", pg_get_indexdef(x.indexrelid) COLLATE "C";
SELECT c.relname, g.tgname, g.tgenabled, g.tgfoid::regproc
  FROM pg_class c JOIN pg_trigger g ON g.tgrelid = c.oid
 WHERE c.relnamespace = 'agentpay'::regnamespace AND c.relname LIKE '%\_2031\_01'
 ORDER BY c.relname COLLATE "C", g.tgname COLLATE "C";
SELECT count(*) AS checks_missing
  FROM pg_constraint p
 WHERE p.conrelid = 'agentpay.decisions'::regclass AND p.contype = 'c'
   AND NOT EXISTS (SELECT FROM pg_constraint l
					WHERE l.conrelid = 'agentpay.decisions_2031_01'::regclass
					  AND l.conname = p.conname AND l.coninhcount = 1);
SELECT count(*) AS defaults FROM pg_attrdef
 WHERE adrelid = 'agentpay.decisions_2031_01'::regclass;
SELECT c.relowner = p.relowner AS same_owner
  FROM pg_class c, pg_class p
 WHERE c.oid = 'agentpay.decisions_2031_01'::regclass
   AND p.oid = 'agentpay.decisions'::regclass;

-- no member of an extension; parents are, and have no index
SELECT count(*) AS members FROM pg_depend d JOIN pg_class c ON c.oid = d.objid
 WHERE d.classid = 'pg_class'::regclass AND d.deptype = 'e'
   AND c.relname LIKE '%\_2031\_%';
SELECT count(*) AS indexes_of_parents FROM pg_index x
 WHERE x.indrelid IN ('agentpay.decisions'::regclass, 'agentpay.agent_calls'::regclass,
	'agentpay.outcomes'::regclass, 'agentpay.governance_log'::regclass, 'agentpay._tasks'::regclass);

-- no DEFAULT partition: one row in it would block the right one
SELECT count(*) AS defaults FROM pg_partitioned_table
 WHERE partrelid::regclass::text LIKE 'agentpay.%' AND partdefid <> 0;

-- errors
SAVEPOINT s;
SELECT agentpay._make_partition('decisions', 'infinity');
ROLLBACK TO s;
-- the error is PostgreSQL's own, and differs between its versions
DO $$ BEGIN
	PERFORM agentpay._make_partition('verdicts', '2031-01-01');
EXCEPTION WHEN invalid_object_definition OR wrong_object_type THEN
	RAISE WARNING 'refused';
END $$;
ROLLBACK TO s;
CREATE TABLE agentpay.decisions_2031_07 (x int);
SELECT agentpay._make_partition('decisions', '2031-07-01');
ROLLBACK TO s;

-- only the maker may: its helper alone is refused
SELECT agentpay._build_partition('decisions', '2031-07-01');
ROLLBACK TO s;

-- a missing partition never fails an append: it is made on the way
SELECT agentpay._append(ROW(agentpay._uuid_v7(), '2031-09-10', 'tester', 'test',
	'test', 't_partitions', NULL, NULL, NULL, NULL)::agentpay.governance_log);
SELECT tableoid::regclass, object FROM agentpay.governance_log WHERE object = 't_partitions';
-- also when the query that appends reads the log
SELECT agentpay._append(ROW(agentpay._uuid_v7(), '2031-10-10', 'tester', 'test',
	'test', g.object, NULL, NULL, NULL, NULL)::agentpay.governance_log)
  FROM agentpay.governance_log g WHERE object = 't_partitions';
ROLLBACK;

-- the month in which anything was first configured, and two ahead
INSERT INTO agentpay.lists VALUES ('t_partitions');
DELETE FROM agentpay.lists WHERE name = 't_partitions';
SELECT log, bool_and(to_regclass(format('agentpay.%s_%s', log, to_char(
		(SELECT logged_at FROM agentpay.governance_log ORDER BY xid LIMIT 1) AT TIME ZONE 'UTC'
		+ make_interval(months => ahead), 'YYYY_MM'))) IS NOT NULL) AS made
  FROM unnest('{decisions,agent_calls,outcomes,governance_log,_tasks}'::text[]) AS log,
	   generate_series(0, 2) AS ahead
 GROUP BY log ORDER BY log COLLATE "C";
-- each is on record, with its bounds as PostgreSQL has them
SET timezone = 'UTC';
SET datestyle = 'ISO';
SELECT count(*) >= 15 AS made, count(*) FILTER (WHERE g.event_id IS NULL) AS unrecorded
  FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
  LEFT JOIN agentpay.governance_log g ON (g.action, g.object_kind, g.object) = ('create', 'partition', c.relname)
   AND format('FOR VALUES FROM (%L) TO (%L)', g.after ->> 'from', g.after ->> 'until') = pg_get_expr(c.relpartbound, c.oid)
   AND i.inhparent = format('agentpay.%I', g.after ->> 'log')::regclass
 WHERE i.inhparent IN (SELECT format('agentpay.%I', l)::regclass FROM unnest('{decisions,agent_calls,outcomes,governance_log,_tasks}'::text[]) AS l);
RESET timezone;
RESET datestyle;
-- and the clock decides which months those are
BEGIN;
SET LOCAL agentpay.clock_offset = 315360000;
SELECT agentpay._make_partitions();
SELECT count(*) AS made FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
 WHERE i.inhparent = 'agentpay.decisions'::regclass
   AND c.relname = 'decisions_' || to_char(agentpay._now() AT TIME ZONE 'UTC', 'YYYY_MM');
ROLLBACK;
