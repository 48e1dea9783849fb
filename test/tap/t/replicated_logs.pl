# Rows of a log that logical replication brings from another node
# (agentpay._foreign_rows). Their transaction ids were given there and say
# nothing here, so that the sealer, which goes by them, would pass them over.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('replicated');
$node->init(allows_streaming => 'logical');
# seals are made here by hand, so that each step is seen
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'agentpay'\nagentpay.workers_enabled = off\n");
$node->start;
sub shop { return $node->safe_psql('shop', $_[0]); }
sub hub { return $node->safe_psql('hub', $_[0]); }
sub verified { return hub('SELECT ok, rows = tree_size, problem FROM agentpay.verify_log()'); }

foreach my $database (qw(hub shop))
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, <<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), outcome text);
SELECT agentpay.attach('payments', current_database(), 'fraud', id => 'id', occurred_at => 'at', outcome => 'outcome');
SQL
}
shop(<<'SQL');
INSERT INTO payments SELECT n FROM generate_series(1, 3) AS n;
CREATE PUBLICATION logs FOR TABLE agentpay.decisions, agentpay.outcomes WITH (publish_via_partition_root = true);
SELECT pg_create_logical_replication_slot('hub', 'pgoutput');
SQL
hub('INSERT INTO payments VALUES (1)');
my $own = hub('SELECT agentpay._seal()');
cmp_ok($own, '>=', 2, 'the node seals what is its own');

# ── copied when the subscription begins ─────────────────────────────────────
my $connection = $node->connstr . ' dbname=shop';
hub("CREATE SUBSCRIPTION hub CONNECTION '$connection' PUBLICATION logs WITH (create_slot = false, slot_name = hub)");
$node->poll_query_until('hub', "SELECT count(*) = 2 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")
  or die 'the tables were not copied';
is(hub("SELECT count(*) FROM agentpay.decisions WHERE point = 'shop'"), '3', 'decisions of another node, from before');
is(hub('SELECT count(*) FROM agentpay._foreign_rows'), '1', 'the transaction that brought them is noted');
# the seal of above has seen those ids as past: by them, the rows are not new
is(hub("SELECT bool_and(pg_visible_in_snapshot(d.xid, (SELECT s.snapshot FROM agentpay._seals s ORDER BY seal_id DESC LIMIT 1))) FROM agentpay.decisions d WHERE point = 'shop'"),
	't', 'whose ids are older than the last seal');
is(verified(), 't|t|', 'verify_log(): nothing is wrong while they wait');
is(hub('SELECT agentpay._seal()'), '3', 'they are sealed');
is(hub('SELECT count(*) FROM agentpay._foreign_rows'), '0', 'and nothing is left to look for');
is(verified(), 't|t|', 'verify_log()');
is(hub('SELECT agentpay._seal()'), '0', 'once');

# ── as they come ────────────────────────────────────────────────────────────
# Held back while this node goes on and seals, so that they come late.
hub('ALTER SUBSCRIPTION hub DISABLE');
shop("INSERT INTO payments SELECT n FROM generate_series(11, 15) AS n");
shop("BEGIN; INSERT INTO payments VALUES (16); SAVEPOINT s; INSERT INTO payments VALUES (17); ROLLBACK TO s; INSERT INTO payments VALUES (18); COMMIT");
shop("SELECT agentpay.record_outcome('shop', 12, 'fraud')");
hub('INSERT INTO payments SELECT n FROM generate_series(2, 100) AS n');
is(hub('SELECT agentpay._seal()'), '99', 'its own go on meanwhile');
hub('ALTER SUBSCRIPTION hub ENABLE');
$node->poll_query_until('hub', "SELECT count(*) = 1 FROM agentpay.outcomes WHERE point = 'shop'") or die 'they did not come';
is(hub("SELECT string_agg(row_id, ' ' ORDER BY row_id::int) FROM agentpay.decisions WHERE point = 'shop' AND row_id::int > 10"), '11 12 13 14 15 16 18',
	'what committed there comes');
is(hub('SELECT count(*) FROM agentpay._foreign_rows'), '3', 'each transaction is noted');
is(verified(), 't|t|', 'verify_log(): nothing is wrong meanwhile');
# a seal that is taken back forgets nothing
hub('BEGIN; SELECT agentpay._seal(); ROLLBACK');
is(hub('SELECT count(*) FROM agentpay._foreign_rows'), '3', 'a seal that is rolled back leaves them noted');
hub('INSERT INTO payments VALUES (101)');
is(hub('SELECT agentpay._seal()'), '9', 'sealed, together with what is its own');
is(verified(), 't|t|', 'verify_log()');
is(hub("SELECT count(*), count(DISTINCT row_key), max(leaf_index) + 1 FROM agentpay._leaves"),
	hub('SELECT n, n, n FROM (SELECT (SELECT count(*) FROM agentpay.decisions) + (SELECT count(*) FROM agentpay.outcomes) + (SELECT count(*) FROM agentpay.governance_log) AS n) AS c'),
	'a leaf for each row of both nodes, and no other');
is(hub("SELECT agentpay.canonical_leaf(decision_id) FROM agentpay.decisions WHERE point = 'shop' AND row_id = '14'"),
	shop("SELECT agentpay.canonical_leaf(decision_id) FROM agentpay.decisions WHERE row_id = '14'"), 'the same leaf on both nodes');

# ── nobody else's ───────────────────────────────────────────────────────────
foreach my $role ('origin', 'replica')
{
	my (undef, undef, $error) = $node->psql('hub', "\\set VERBOSITY verbose\nSET session_replication_role = $role; INSERT INTO agentpay.decisions SELECT * FROM agentpay.decisions LIMIT 1");
	like($error, qr/AP001.*append-only: INSERT refused/, "a session brings none, session_replication_role = $role");
}
is(hub('SELECT count(*) FROM agentpay._foreign_rows'), '0', 'and nothing is noted');
$node->stop;
done_testing();
