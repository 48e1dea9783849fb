# Every function of agentpay, public and internal, called with NULLs and with
# values at the ends of their types: an error of the caller's, or an answer, but
# no crash, no failed assertion and no internal error.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

my $node = new_ledger('wrong_arguments');
$node->safe_psql('postgres', <<'SQL');
CREATE INDEX ON payments (agent, created_at);
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage) VALUES ('half', 'fraud', 'builtin', 'half', 'true', 'shadow');
INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES ('fraud', 'n', '{agent}', 'count', '1 hour');
INSERT INTO agentpay.lists (name) VALUES ('some');
INSERT INTO payments (payment_id, agent, amount, memo) SELECT i, 'half', i, 'a' FROM generate_series(1, 5) AS i;
SELECT agentpay.record_outcome('fraud', 3, 'fraud');
-- values of a type; those of pseudo-types have their own
CREATE TABLE pool (type regtype, literals text[]);
INSERT INTO pool VALUES
	('text', ARRAY['', 'fraud', 'half', '*', '3', 'all', 'agent', 'some', 'hour', 'approve', 'decline', 'shadow', '100', 'amount > 100', 'payments', 'decisions',
		repeat('x', 3000), '"; DROP''--%s%I', 'NaN', '{}', '[]', '{"a":[1]}', 'rule', 'boolean', 'transaction', 'USD', 'psi', 'https://a.b/c', E'\u00e4\U0001F600']),
	('name', '{"",payment_id,amount,x\"y,decisions}'), ('"char"', '{"",c,d,t,x}'),
	('integer', '{0,1,-1,100,2147483647,-2147483648}'), ('bigint', '{0,1,-1,3,9223372036854775807,-9223372036854775808}'), ('smallint', '{0,-1,32767}'),
	('numeric', '{0,1,-1,0.5,NaN,Infinity,-Infinity,1e1000,1e-1000,1e131071}'), ('double precision', '{0,-0,1,-1,0.5,NaN,Infinity,-Infinity,1e308,5e-324}'),
	('real', '{0,1,-1,NaN,Infinity,3e38}'), ('boolean', '{t,f}'),
	('timestamptz', '{now,infinity,-infinity,4714-11-24 00:00:00+00 BC,294276-12-31 23:59:59+00,2000-01-01}'), ('date', '{infinity,2026-01-01,4714-11-24 BC,5874897-12-31}'),
	('interval', '{0,1 hour,-1 day,1000 years,178000000 years,-178000000 years,1 month -30 days}'),
	('jsonb', ARRAY['null', '{}', '[]', '1', '"x"', '{"name":"half"}', '[{"period":"hour","cap_cost":1}]', '{"fields":[null]}', '{"amount":1e400}', '[null,[1,[2]]]', '{"keep_last":-1,"bounds":[1,null]}', to_jsonb(repeat('z', 3000))::text]),
	('regclass', '{payments,agentpay.decisions,agentpay.agents,pg_class,payments_pkey,agentpay.current_decisions}'), ('regtype', '{numeric,timestamptz,agentpay.decisions,anyarray}'),
	('oid', (SELECT array_agg(oid) FROM pg_class WHERE relname IN ('payments', 'pg_class', 'advice'))), ('regrole', ARRAY[current_user]), ('xid8', '{0,1,18446744073709551615}'),
	('uuid', ARRAY['00000000-0000-0000-0000-000000000000', 'ffffffff-ffff-ffff-ffff-ffffffffffff', (SELECT decision_id::text FROM agentpay.decisions LIMIT 1)]),
	('bytea', ARRAY['', '\x00', '\xdeadbeef', '\x' || repeat('ab', 32), '\x' || repeat('ab', 60), '\x' || repeat('cd', 3000)]), ('pg_snapshot', '{1:1:,1:9223372036854775807:,"10:20:10,14,15"}');
CREATE TABLE pseudo (type regtype, expressions text[]);
INSERT INTO pseudo VALUES ('"any"', '{NULL,3,''3''::text,3.0,''x'',ARRAY[1],now(),NULL::int,"ROW(1, 2)",''infinity''::timestamptz}'), ('anyelement', '{NULL::int,3,''3''::text,ARRAY[1],now(),''NaN''::float8}'),
	('record', '{NULL,"ROW(1, 2)",ROW(),NULL::agentpay.decisions,"jsonb_populate_record(NULL::agentpay.governance_log, ''{}'')",(SELECT d FROM agentpay.decisions d LIMIT 1),(SELECT t FROM agentpay._tasks t LIMIT 1)}');
CREATE FUNCTION one_of(given text[]) RETURNS text LANGUAGE sql VOLATILE AS $$ SELECT given[1 + floor(random() * cardinality(given))] $$;
-- an expression of the type
CREATE FUNCTION value_of(t oid) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	y pg_type := (SELECT y FROM pg_type y WHERE y.oid = t);
	name text := t::regtype;
	chance int := floor(random() * 7);
BEGIN
	IF y.typelem <> 0 AND y.typlen = -1 OR t = 'record[]'::regtype THEN
		RETURN CASE chance WHEN 0 THEN 'NULL' WHEN 1 THEN '''{}''' WHEN 2 THEN '''{NULL}'''
			WHEN 3 THEN format('ARRAY[%s, %s]', value_of(coalesce(nullif(y.typelem, 0), 'record'::regtype)), value_of(coalesce(nullif(y.typelem, 0), 'record'::regtype)))
			ELSE format('array_fill(%s, %L)', value_of(coalesce(nullif(y.typelem, 0), 'record'::regtype)), CASE chance WHEN 4 THEN '{2,2}' WHEN 5 THEN '{40}' ELSE '{1}' END) END || '::' || name;
	ELSIF y.typtype = 'p' THEN
		RETURN (SELECT one_of(p.expressions) FROM pseudo p WHERE p.type = t);
	ELSIF chance = 0 THEN
		RETURN 'NULL::' || name;
	ELSIF y.typtype = 'c' THEN
		RETURN CASE WHEN chance < 3 THEN format('jsonb_populate_record(NULL::%s, %L)', name, '{}')
			WHEN chance < 5 AND (SELECT c.relkind IN ('r', 'p', 'v') FROM pg_class c WHERE c.oid = y.typrelid) THEN format('(SELECT x FROM %s x LIMIT 1)', name)
			ELSE (SELECT format('ROW(%s)::%s', string_agg(value_of(a.atttypid), ', ' ORDER BY a.attnum), name) FROM pg_attribute a
				   WHERE a.attrelid = y.typrelid AND a.attnum > 0 AND NOT a.attisdropped) END;
	END IF;
	RETURN (SELECT format('%L::%s', one_of(p.literals), name) FROM pool p WHERE p.type = t);
END$$;
SELECT setseed(0.5);
-- kill_drill() and what it calls take seconds, and have tests of their own
CREATE TABLE calls AS
SELECT round, p.oid::regprocedure AS name, format('SELECT count(x::text) FROM (SELECT agentpay.%I(%s) AS x) AS y', p.proname, (
		SELECT string_agg(CASE WHEN round = 0 THEN CASE y.typtype WHEN 'p' THEN 'NULL' ELSE 'NULL::' || t::regtype END ELSE value_of(t) END, ', ' ORDER BY ord)
		  FROM unnest(p.proargtypes) WITH ORDINALITY AS u (t, ord) JOIN pg_type y ON y.oid = t)) AS statement
  FROM pg_proc p, generate_series(0, 1) AS round
 WHERE p.pronamespace = 'agentpay'::regnamespace AND p.prokind = 'f' AND p.prorettype <> 'trigger'::regtype
   AND p.proname NOT IN ('_flip_apart', '_flip_for_drill', 'kill_drill');
SQL

my $made = $node->safe_psql('postgres', 'SELECT count(*) FROM calls WHERE statement IS NOT NULL');
cmp_ok($made, '>', 700, "$made calls");
is($node->safe_psql('postgres', 'SELECT string_agg(DISTINCT name::text, \', \') FROM calls WHERE statement IS NULL AND round > 0 AND name::text !~ \'\(\)$\''), '', 'there are values of each type');
$node->safe_psql('postgres', q{UPDATE calls SET statement = format('SELECT count(x::text) FROM (SELECT %s AS x) AS y', name) WHERE statement IS NULL});

my ($rc, $out, $err) = $node->psql('postgres', <<'SQL', on_error_stop => 0);
\set VERBOSITY verbose
SET client_min_messages = error;
SET statement_timeout = '3s';
SELECT 'BEGIN', statement, 'ROLLBACK' FROM calls ORDER BY round, name::text
\gexec
SELECT 'all of them were made';
SQL
like($out, qr/all of them were made$/, 'the session lives') or diag(substr($err, -2000));
my @internal = $err =~ /(ERROR:  XX.*\n(?:(?:DETAIL|HINT|CONTEXT|LOCATION).*\n)*)/g;
is(join('', @internal), '', 'no internal error');
my $log = slurp_file($node->logfile);
unlike($log, qr/was terminated by signal|TRAP:/, 'no process died');
is($node->safe_psql('postgres', "INSERT INTO payments (payment_id, agent, amount) VALUES (6, 'half', 20000) RETURNING outcome"), 'decline', 'and payments are decided');
is($node->safe_psql('postgres', 'SELECT DISTINCT ok FROM agentpay.verify_log()'), 't', 'the log verifies');

$node->stop;
done_testing();
