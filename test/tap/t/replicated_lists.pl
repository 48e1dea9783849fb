# Lists that logical replication brings from another node: a session that has
# read them sees each change, though the apply worker fires no triggers of
# statements.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('replicated');
$node->init(allows_streaming => 'logical');
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'agentpay'\nagentpay.workers_enabled = off\n");
$node->start;
foreach my $database (qw(hub shop))
{
	$node->safe_psql('postgres', "CREATE DATABASE $database");
	$node->safe_psql($database, 'CREATE EXTENSION agentpay');
}
$node->safe_psql('hub', <<'SQL');
INSERT INTO agentpay.lists VALUES ('cards');
CREATE PUBLICATION lists FOR TABLE agentpay.lists, agentpay.list_entries;
SELECT pg_create_logical_replication_slot('shop', 'pgoutput');
SQL
my $connection = $node->connstr . ' dbname=hub';
$node->safe_psql('shop', <<"SQL");
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, card text,
	at timestamptz NOT NULL DEFAULT now(), outcome text);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'id', occurred_at => 'at', outcome => 'outcome');
CREATE SUBSCRIPTION shop CONNECTION '$connection' PUBLICATION lists WITH (create_slot = false, slot_name = shop);
SQL
$node->poll_query_until('shop', "SELECT count(*) = 2 AND bool_and(srsubstate = 'r') FROM pg_subscription_rel")
  or die 'the tables were not copied';
$node->safe_psql('shop', <<'SQL');
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES ('fraud', 'CARD', 'in_list(''cards'', card)', 'decline');
SELECT agentpay.activate('fraud');
-- waits until that is so here
CREATE FUNCTION arrived(condition text) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	so boolean;
	deadline timestamptz := clock_timestamp() + '60 s';
BEGIN
	LOOP
		EXECUTE format('SELECT %s FROM agentpay.list_entries', condition) INTO so;
		EXIT WHEN so;
		IF clock_timestamp() > deadline THEN
			RAISE 'the change did not arrive: %', condition;
		END IF;
		PERFORM pg_sleep(0.02);
	END LOOP;
END$$;
SQL

# One session of the shop; the hub changes while it stays.
sub at_hub { return "\\! psql -X -q -d hub -c \"$_[0]\"\n"; }
my $pay = "INSERT INTO payments (card) VALUES ('c1') RETURNING outcome;\n";
my $result = $node->safe_psql('shop', join '',
	$pay,
	at_hub("INSERT INTO agentpay.list_entries (list, value) VALUES ('cards', 'c1')"),
	"\\o /dev/null\nSELECT arrived('count(*) = 1');\n\\o\n",
	$pay,
	at_hub("UPDATE agentpay.list_entries SET expires_at = now() - interval '1 hour'"),
	"\\o /dev/null\nSELECT arrived('min(expires_at) < now()');\n\\o\n",
	$pay,
	at_hub("UPDATE agentpay.list_entries SET expires_at = NULL"),
	"\\o /dev/null\nSELECT arrived('count(*) = 1 AND count(expires_at) = 0');\n\\o\n",
	$pay,
	at_hub("DELETE FROM agentpay.list_entries"),
	"\\o /dev/null\nSELECT arrived('count(*) = 0');\n\\o\n",
	$pay);
is($result, "approve\ndecline\napprove\ndecline\napprove", 'each change counts at once');
is($node->safe_psql('shop', "SELECT count(*) FROM agentpay.governance_log WHERE object_kind = 'list_entry'"),
	'4', 'and is on record here');
$node->stop;

done_testing();
