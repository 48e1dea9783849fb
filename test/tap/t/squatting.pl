# Objects put in the way before CREATE EXTENSION are refused; a hostile
# search_path, and operators in temporary schemas, change nothing (FAULTS 33).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('squatting');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'agentpay'\nagentpay.workers_enabled = off\n");
$node->start;
my $databases = 0;

# A new database in which that was done before CREATE EXTENSION; its error.
sub create_after
{
	my ($squat) = @_;
	my $name = 'd' . ++$databases;
	$node->safe_psql('postgres', "CREATE DATABASE $name");
	$node->safe_psql($name, $squat);
	my ($rc, $stdout, $stderr) = $node->psql($name, 'CREATE EXTENSION agentpay');
	return $rc == 0 ? '' : $stderr;
}

$node->safe_psql('postgres', 'CREATE ROLE mallory');
like(create_after("CREATE SCHEMA agentpay; CREATE FUNCTION agentpay._now(int DEFAULT 1) RETURNS timestamptz LANGUAGE sql AS 'SELECT now()'"),
	qr/schema agentpay is not empty.*_now\(integer\).*DROP SCHEMA agentpay CASCADE;/s, 'a function');
like(create_after('CREATE SCHEMA agentpay; CREATE TABLE agentpay.rules (x int)'), qr/not empty.*table rules/s, 'a table');
like(create_after('CREATE SCHEMA agentpay; CREATE DOMAIN agentpay.money AS int'), qr/not empty.*type agentpay\.money/s, 'a type');
like(create_after(<<'SQL'), qr/not empty.*operator/s, 'an operator');
CREATE SCHEMA agentpay;
CREATE FUNCTION public.yes(text, int) RETURNS boolean LANGUAGE sql AS 'SELECT true';
CREATE OPERATOR agentpay.= (leftarg = text, rightarg = int, function = public.yes);
SQL
like(create_after('CREATE SCHEMA agentpay AUTHORIZATION mallory'), qr/belongs to another role.*ALTER SCHEMA agentpay OWNER TO/s, "somebody's schema");
is(create_after('CREATE SCHEMA agentpay'), '', 'an empty schema of our own, as a dump makes it, will do');

# Everything that a call without a schema could find first.
$node->safe_psql('postgres', 'CREATE DATABASE hostile');
$node->safe_psql('hostile', <<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL, amount numeric, outcome text);
CREATE SCHEMA evil;
CREATE FUNCTION evil.boom() RETURNS void LANGUAGE plpgsql AS $$BEGIN RAISE EXCEPTION 'hijacked'; END$$;
DO $$
DECLARE
	f regprocedure;
BEGIN
	-- the same names and arguments as built-ins that agentpay's SQL calls
	FOR f IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND provariadic = 0
		AND proname IN ('to_jsonb', 'lower', 'btrim', 'quote_ident', 'quote_nullable', 'isfinite', 'date_trunc', 'sha256',
			'convert_to', 'jsonb_typeof', 'cardinality', 'array_position', 'pg_get_expr', 'left', 'substr', 'strpos')
		AND NOT EXISTS (SELECT FROM unnest(proargtypes) a WHERE format_type(a, NULL) LIKE 'any%')
	LOOP
		EXECUTE format('CREATE FUNCTION evil.%s RETURNS %s LANGUAGE sql AS ''SELECT evil.boom(); SELECT NULL::%2$s''',
			f, (SELECT format_type(prorettype, NULL) FROM pg_proc WHERE oid = f));
	END LOOP;
	CREATE FUNCTION evil.yes(text, text) RETURNS boolean LANGUAGE sql AS 'SELECT evil.boom(); SELECT true';
	CREATE OPERATOR evil.= (leftarg = text, rightarg = text, function = evil.yes);
	CREATE OPERATOR evil.<> (leftarg = text, rightarg = text, function = evil.yes);
	CREATE OPERATOR evil.~ (leftarg = text, rightarg = text, function = evil.yes);
	CREATE OPERATOR evil.|| (leftarg = text, rightarg = text, function = evil.yes);
END$$;
SQL
my ($rc, $stdout, $stderr) = $node->psql('hostile', <<'SQL', on_error_stop => 1);
CREATE OPERATOR pg_temp.= (leftarg = text, rightarg = text, function = evil.yes);
SET search_path = pg_temp, evil, pg_catalog, public;
SELECT agentpay.attach('public.payments', point => 'p', role => 'fraud', id => 'id', occurred_at => 'at', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('p', 'LARGE', 'amount > 1000', 60);
SELECT agentpay.activate('p');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://api.example.com');
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES ('h', 'hour', 1), ('t', 'transaction', 1);
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, invoke_when, stage, price_input_per_million, price_output_per_million)
	VALUES ('a', 'p', 'openai', 'https://api.example.com/v1', 'm', 'true', 'shadow', 1, 1);
UPDATE agentpay.kill_switches SET engaged = true WHERE scope OPERATOR(pg_catalog.=) 'agent';
INSERT INTO public.payments VALUES (1, now(), 5000);
SELECT agentpay.detach('p');
SQL
is($rc, 0, 'a hostile search_path changes nothing') or diag($stderr);
unlike($stderr, qr/hijacked/, 'nothing of it was called');

# Every function pins its own search_path; those in C have no SQL to mislead.
# One is pinned differently: _would_invoke() evaluates an expression that may
# call in_list(), so it looks into agentpay, where nobody else makes objects.
is($node->safe_psql('hostile', <<'SQL'), '', 'every SQL function pins search_path');
SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
 WHERE p.pronamespace = 'agentpay'::regnamespace AND l.lanname IN ('sql', 'plpgsql')
   AND NOT coalesce(p.proconfig @> CASE p.proname
		WHEN '_would_invoke' THEN '{"search_path=pg_catalog, agentpay, pg_temp"}'
		ELSE '{"search_path=pg_catalog, pg_temp"}' END::text[], false)
SQL
is($node->safe_psql('hostile', <<'SQL'), '', 'nothing is granted to everybody');
SELECT pg_describe_object('pg_proc'::regclass, p.oid, 0) FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) a
 WHERE p.pronamespace = 'agentpay'::regnamespace AND a.grantee = 0
UNION ALL
SELECT pg_describe_object('pg_class'::regclass, c.oid, 0) FROM pg_class c, aclexplode(c.relacl) a
 WHERE c.relnamespace = 'agentpay'::regnamespace AND a.grantee = 0
UNION ALL
SELECT 'schema' FROM pg_namespace n, aclexplode(n.nspacl) a WHERE n.nspname = 'agentpay' AND a.grantee = 0
SQL

done_testing();
