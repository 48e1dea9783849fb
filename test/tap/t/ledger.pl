# A ledger made by create_ledger() in a fresh database: dumped with what went
# through it, restored elsewhere, adopted, and gone on with; disputes in several
# sessions; what is left when the extension goes.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('ledger');
$node->init;
$node->append_conf('postgresql.conf', "shared_preload_libraries = 'agentpay'\ntimezone = 'UTC'\nfsync = off\n"
	  . "agentpay.workers_enabled = off\nmax_prepared_transactions = 4\nmax_worker_processes = 32\n");
$node->start;
$node->safe_psql('postgres', 'CREATE ROLE payment_service LOGIN');
$node->safe_psql('postgres', 'CREATE DATABASE ledger');

is($node->safe_psql('ledger', 'CREATE EXTENSION agentpay; SELECT * FROM agentpay.create_ledger();'), <<'END' =~ s/\n\z//r,
ledger.payments|fraud|fraud
ledger.payments|routing|routing
ledger.settlements|reconciliation|reconciliation
ledger.disputes|dispute|dispute
END
	'one call in a fresh database');
is($node->safe_psql('ledger', "SELECT level, object, problem FROM agentpay.advice WHERE object <> 'agentpay.master_key'"), '', 'nothing to advise but a master key');
$node->safe_psql('ledger', <<'SQL');
GRANT USAGE ON SCHEMA ledger TO payment_service;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA ledger TO payment_service;
SQL

# What the service does, with nothing granted in agentpay.
sub service
{
	my ($database, $sql) = @_;
	return $node->safe_psql($database, "SET ROLE payment_service; $sql");
}

sub pay
{
	my ($reference, $amount) = @_;
	return "INSERT INTO ledger.payments (reference, created_at, customer_id, card_id, merchant_id, channel, network,"
	  . " amount, currency, card_country, ip_country) VALUES ('$reference', '2024-03-04 10:00+00', 'cust', 'card-$reference',"
	  . " 'm1', 'ecommerce', 'visa', $amount, 'EUR', 'DE', 'FR') RETURNING payment_id, outcome, route";
}

sub dispute
{
	my ($reference, $payment, $code) = @_;
	return "INSERT INTO ledger.disputes (reference, payment_id, received_at, respond_by, network, reason_code, amount,"
	  . " currency) VALUES ('$reference', $payment, '2024-04-01', '2024-04-21', 'visa', '$code', 20, 'EUR') RETURNING outcome";
}

my $labels = "SELECT row_id, label, source, amount_lost FROM agentpay.outcomes ORDER BY observed_at, outcome_id";

is(service('ledger', pay('a', 100)), '1|approve|acquirer_a', 'a payment');
# 30 for the country, 40 for 600 > 5 * 100
is(service('ledger', pay('b', 600)), '2|review|acquirer_a', 'another one');
is(service('ledger', dispute('d1', 1, '10.4')), 'escalate', 'a dispute');
is($node->safe_psql('ledger', $labels), '1|fraud|chargeback|20', 'is a label');

# ── sessions, transactions ──────────────────────────────────────────────────
service('ledger', 'BEGIN; ' . dispute('d2', 2, '10.4') . '; ROLLBACK');
service('ledger', 'BEGIN; SAVEPOINT s; ' . dispute('d2', 2, '10.4') . '; ROLLBACK TO s; COMMIT');
is($node->safe_psql('ledger', $labels), '1|fraud|chargeback|20', 'one that is rolled back is none');
service('ledger', 'BEGIN; ' . pay('c', 10) . '; ' . dispute('d3', 3, '10.4') . '; COMMIT');
is($node->safe_psql('ledger', "$labels OFFSET 1"), '3|fraud|chargeback|20', 'a payment of the same transaction');
service('ledger', "BEGIN; " . dispute('d4', 2, '10.4') . "; PREPARE TRANSACTION 'd4'");
$node->safe_psql('ledger', "COMMIT PREPARED 'd4'");
is($node->safe_psql('ledger', "$labels OFFSET 2"), '2|fraud|chargeback|20', 'a prepared transaction');
service('ledger', 'INSERT INTO ledger.disputes (reference, payment_id, received_at, respond_by, network, reason_code, amount,'
	  . " currency) SELECT 'e' || g, 1, '2024-04-01', '2024-04-21', 'visa', CASE g % 3 WHEN 0 THEN '10.1' WHEN 1 THEN '13.1'"
	  . " ELSE '12.5' END, g, 'EUR' FROM generate_series(1, 9) AS g");
is($node->safe_psql('ledger', "$labels OFFSET 3"), "1|fraud|chargeback|3\n1|fraud|chargeback|6\n1|fraud|chargeback|9",
	'many rows of one statement');

# Two sessions update one dispute: the second waits, and says what holds then.
{
	my $one = $node->background_psql('ledger', on_error_stop => 0);
	my $two = $node->background_psql('ledger', on_error_stop => 0);
	$one->query_safe('BEGIN');
	$one->query_safe("UPDATE ledger.disputes SET result = 'won', resolved_at = '2024-05-01' WHERE reference = 'd4'");
	$two->query_until(qr/start/, "\\echo start\nUPDATE ledger.disputes SET result = 'lost', resolved_at = '2024-05-02' WHERE reference = 'd4';\n");
	$node->poll_query_until('ledger', "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE wait_event_type = 'Lock')") or die 'it does not wait';
	$one->query_safe('COMMIT');
	$two->quit;
	$one->quit;
	is($node->safe_psql('ledger', "$labels OFFSET 6"), "2|legit|representment|0\n2|fraud|chargeback|20", 'in the order of their commits');
}

# ── dumped and restored ─────────────────────────────────────────────────────
my $all = join ' UNION ALL ', map { "SELECT '$_' AS name, count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM $_ x" }
  (map { "ledger.$_" } qw(payments route_attempts captures settlements reversals refunds disputes)),
  (map { "agentpay.$_" } qw(decision_points verdicts features rulesets rules lists data_policies outcome_mappings decisions outcomes));
my $triggers = "SELECT tgrelid::regclass, string_agg(tgname || ' ' || tgenabled::text, ',' ORDER BY tgname) FROM pg_trigger"
  . " WHERE tgrelid::regclass::text LIKE 'ledger.%' AND NOT tgisinternal GROUP BY 1 ORDER BY tgrelid::regclass::text COLLATE \"C\"";
my $before = $node->safe_psql('ledger', $all);
my $triggers_before = $node->safe_psql('ledger', $triggers);
my $dir = $node->backup_dir;
mkdir $dir;
$node->command_ok([ 'pg_dump', '-f', "$dir/plain.sql", 'ledger' ], 'plain dump');
$node->command_ok([ 'pg_dump', '-Fc', '-f', "$dir/custom", 'ledger' ], 'custom dump');
$node->safe_psql('postgres', "CREATE DATABASE $_") for qw(plain custom);
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/plain.sql", 'plain' ], 'plain: restored with no error');
$node->command_ok([ 'pg_restore', '-e', '-d', 'custom', "$dir/custom" ], 'custom: restored with no error');
foreach my $name (qw(plain custom))
{
	is($node->safe_psql($name, $all), $before, "$name: all is as it was; no dispute was told again");
	is($node->safe_psql($name, $triggers), $triggers_before, "$name: triggers too");
}
is(service('plain', dispute('f1', 3, '10.2')), 'escalate', 'a dispute while the copy waits for adopt()');
is($node->safe_psql('plain', "$labels OFFSET 8"), '3|fraud|chargeback|20', 'is a label');
$node->safe_psql('plain', 'SELECT agentpay.adopt()');
is($node->safe_psql('plain', "SELECT level, object, problem FROM agentpay.advice WHERE object <> 'agentpay.master_key' AND problem NOT LIKE '%no exchange rate%'"), '', 'adopted, nothing to advise but a master key and exchange rates');
# 30 + 40 + 30: 100,710 in a day is more than ten times (100 + 600 + 10) / 3
is(service('plain', pay('z', 100000)), '4|decline|acquirer_a', 'payments go on, with the next key');
is(service('plain', dispute('f2', 4, '10.3')), 'escalate', 'and disputes');
is($node->safe_psql('plain', "$labels OFFSET 9"), '4|fraud|chargeback|20', 'and labels');

# ── a logical replica, or another restore, tells nothing twice ──────────────
$node->safe_psql('plain', 'SET session_replication_role = replica; ' . dispute('f3', 4, '10.4'));
is($node->safe_psql('plain', "$labels OFFSET 10"), '', 'the replica role gives no label');

# ── without the extension ───────────────────────────────────────────────────
$node->safe_psql('plain', 'DROP EXTENSION agentpay CASCADE');
is(service('plain', 'SELECT count(*) FROM ledger.disputes'), '15', 'the tables stay when agentpay goes');
like(service('plain', dispute('f4', 4, '10.4')), qr/^$/, 'and take rows');

$node->stop;
done_testing();
