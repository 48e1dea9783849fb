# pg_upgrade: no worker starts in the servers that it runs; the new cluster has
# the configuration and the logs, and is held until adopt() (FAULTS 40).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $conf = "shared_preload_libraries = 'agentpay'\nagentpay.recheck_interval = 1\nlog_min_messages = debug1\n";
my $old = PostgreSQL::Test::Cluster->new('old');
$old->init;
$old->append_conf('postgresql.conf', $conf);
$old->start;
$old->safe_psql('postgres', <<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, outcome text);
SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('fraud', 'LARGE', 'amount > 500', 60);
SELECT agentpay.activate('fraud');
INSERT INTO payments (id, amount) SELECT g, g * 100 FROM generate_series(1, 10) g;
UPDATE agentpay.kill_switches SET engaged = true, reason = 'before the upgrade' WHERE scope = 'all';
SQL
my $summary = join ' UNION ALL ', map {
	"SELECT '$_', count(*), md5(string_agg(x::text, ',' ORDER BY x::text)) FROM agentpay.$_ x"
} qw(decision_points verdicts rulesets rules kill_switches agent_versions decisions outcomes governance_log _tasks _identity);
my $before = $old->safe_psql('postgres', $summary);
$old->stop;

my $new = PostgreSQL::Test::Cluster->new('new');
$new->init;
$new->append_conf('postgresql.conf', $conf);

my $bin = $old->config_data('--bindir');
my $dir = PostgreSQL::Test::Utils::tempdir;
chdir $dir or die "could not enter $dir: $!";
command_ok(
	[   'pg_upgrade', '--retain', '-d', $old->data_dir, '-D', $new->data_dir, '-b', $bin, '-B', $bin,
		'-p', $old->port, '-P', $new->port, '-s', $new->host ],
	'pg_upgrade');
# what its servers logged; -b is binary-upgrade mode
my @logs = glob($new->data_dir . '/pg_upgrade_output.d/*/log/pg_upgrade_server.log');
ok(@logs > 0, 'its servers left a log');
my $ours = qr/background worker (?:process )?"agentpay /;
like(slurp_file($old->logfile), $ours, 'a server that runs normally says which workers it starts');
unlike(join('', map { slurp_file($_) } @logs), $ours, 'in binary-upgrade mode there are none of ours');

$new->start;
is($new->safe_psql('postgres', $summary), $before, 'everything is as it was');
is($new->safe_psql('postgres', 'SELECT agentpay._held(), agentpay._restoring()'), 't|t', 'and held');
$new->safe_psql('postgres', "INSERT INTO payments (id, amount) VALUES (11, 2000)");
is($new->safe_psql('postgres', "SELECT p.outcome, d.detail ->> 'held' FROM payments p JOIN agentpay.decisions d ON d.row_id = p.id::text WHERE p.id = 11"),
	'review|true', 'payments are decided meanwhile');
$new->safe_psql('postgres', 'SELECT agentpay.adopt()');
is($new->safe_psql('postgres', 'SELECT agentpay._held()'), 'f', 'until adopt()');
my ($rc, $stdout, $stderr) = $new->psql('postgres', "DELETE FROM agentpay.decisions");
like($stderr, qr/append-only: DELETE refused/, 'its logs are guarded');
$new->safe_psql('postgres', 'DROP EXTENSION agentpay CASCADE');
is($new->safe_psql('postgres', "SELECT count(*) FROM pg_class WHERE relnamespace = 'agentpay'::regnamespace"), '0',
	'and belong to the extension still');
$new->stop;
done_testing();
