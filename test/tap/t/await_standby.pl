# await_decision() on a hot standby: the verdict as soon as it has arrived, the
# rules' at decide_by, also when the primary is gone; and after promotion.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use AgentpayTest;

start_agents();
my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
max_worker_processes = 16
fsync = off
CONF
$node->start;
AgentpayTest::make_ledger($node, 'postgres');
sub within { return ($_[1] // $node)->safe_psql('postgres', "UPDATE agentpay.decision_points SET decide_within_ms = $_[0]"); }
foreach my $agent ([ 'slow', 'delay-900' ], [ 'hangs', 'hang' ])
{
	add_agent($node, $agent->[0], behaviour => $agent->[1], position => 'pre_auth', timeout_ms => 60000);
	promote_fully($node, $agent->[0]);
}
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
sub waited
{
	my ($on, $id, $timeout) = @_;
	my $began = time;
	my $verdict = $on->safe_psql('postgres', "SELECT agentpay.await_decision('fraud', $id, '$timeout')");
	return ($verdict, time - $began);
}
sub arrived
{
	my ($id) = @_;
	return await("row $id is there", sub { $standby->safe_psql('postgres', "SELECT count(*) FROM agentpay.decisions WHERE row_id = '$id' AND kind = 'rules'") eq '1' });
}

# ── an answer that arrives ──────────────────────────────────────────────────
within(600000);
ask($node, 'slow', 1, 1, 5000);
arrived(1);
my ($verdict, $took) = waited($standby, 1, '5 minutes');
is($verdict, 'decline', 'the agent\'s verdict, on the standby');
cmp_ok($took, '<', 120, 'when it has arrived, not at decide_by');
is($standby->safe_psql('postgres', "SELECT outcome FROM payments WHERE payment_id = 1"), 'decline', 'as in the column');
is((waited($standby, 1, '0'))[0], 'decline', 'and at once');

# ── none that does ──────────────────────────────────────────────────────────
ask($node, 'hangs', 2);
arrived(2);
($verdict, $took) = waited($standby, 2, '300 ms');
is($verdict, 'approve', 'after its timeout the verdict of that moment');
cmp_ok($took, '<', 60, 'in time');
my ($rc, $out, $err) = $standby->psql('postgres', "\\set VERBOSITY verbose\nSELECT agentpay.await_decision('fraud', 4711)");
like($err, qr/42704: point "fraud" has no decision about row '4711'/, 'a row that has not arrived');
within(3000);
ask($node, 'hangs', 3);
arrived(3);
$node->stop('immediate');
($verdict, $took) = waited($standby, 3, '5 minutes');
is($verdict, 'approve', 'at decide_by the rules\', though the primary is gone');
cmp_ok($took, '<', 60, 'and not later');

# ── promoted ────────────────────────────────────────────────────────────────
$standby->promote;
within(600000, $standby);
ask($standby, 'slow', 4, 4, 5000);
is((waited($standby, 4, '5 minutes'))[0], 'decline', 'after its promotion it waits for its own');
is((waited($standby, 3, '5 minutes'))[0], 'approve', 'and what was final stays final');
$standby->stop;
done_testing();
