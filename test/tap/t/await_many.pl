# A thousand sessions wait for a thousand payments; each is woken by its own.
# A server that is stopped does not wait for those who wait.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use AgentpayTest;

my $waiters = $ENV{AGENTPAY_QUICK} ? 100 : 1000;
my $node = new_ledger('await_many', "max_connections = @{[ $waiters + 100 ]}");
sub query { return $node->safe_psql('postgres', $_[0]); }

add_agent($node, 'inside', protocol => 'builtin', position => 'pre_auth', options => '{"thresholds": {"decline": 0.4}}');
query("SET allow_system_table_mods = on; UPDATE pg_proc SET prosrc = 'BEGIN RETURN NEW; END' WHERE proname = '_check_agents'");
query("UPDATE agentpay.agents SET stage = '100'");
query("UPDATE agentpay.decision_points SET decide_within_ms = 3600000");

my $script = "$PostgreSQL::Test::Utils::tmp_check/await.sql";
append_to_file($script, "INSERT INTO told SELECT :client_id + :first, agentpay.await_decision('fraud', :client_id + :first, '1 hour');\n");
query('CREATE TABLE told (payment_id bigint, verdict text)');

# Sessions that wait for the payments from this one on.
sub wait_for
{
	my ($first, $n) = @_;
	my $log = '';
	my $bench = IPC::Run::start([ 'pgbench', '-n', '-c', $n, '-j', 2, '-t', 1, '-D', "first=$first", '-f', $script,
			'-h', $node->host, '-p', $node->port, 'postgres' ], '>', \$log, '2>&1');
	return unless await("$n sessions wait", sub {
			$bench->pump_nb;
			query("SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%await_decision%' AND wait_event = 'Extension'") >= $n
		}, 240);
	return ($bench, \$log);
}

# an open kill keeps the agent from answering
my $killer = session($node);
$killer->("BEGIN; UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all'");
ask($node, 'inside', 1, $waiters);
my ($bench, $log) = wait_for(1, $waiters);
# whoever polls wakes up
my @pids = split /\n/, query("SELECT pid FROM pg_stat_activity WHERE query LIKE '%await_decision%' AND wait_event = 'Extension'");
sub switches
{
	my $sum = 0;
	foreach my $pid (@pids)
	{
		$sum += $1 if slurp_file("/proc/$pid/status") =~ /^voluntary_ctxt_switches:\s+(\d+)/m;
	}
	return $sum;
}
my $before = switches();
sleep 1;
cmp_ok(switches() - $before, '<', $waiters / 10, 'they do not poll');
$killer->('ROLLBACK');
my $began = time;
await_tasks($node, 180);
$bench->finish;
diag(sprintf '%d waiters told in %.0f ms', $waiters, 1000 * (time - $began));
is(query('SELECT verdict, count(*), count(DISTINCT payment_id) FROM told GROUP BY 1'), "decline|$waiters|$waiters", 'each is told the verdict of its own');
is(query("SELECT outcome, count(*) FROM payments GROUP BY 1"), "decline|$waiters", 'which is in its column');

$killer->("BEGIN; UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all'");
ask($node, 'inside', 5001, 5050);
($bench, $log) = wait_for(5001, 50);
$began = time;
$node->stop('fast');
cmp_ok(time - $began, '<', 15, 'a fast stop ends them');
eval { $bench->finish };
like($$log, qr/terminating connection due to administrator command/, 'who are told');
done_testing();
