# Without a postmaster no worker goes on calling (FAULTS 2); on a standby none
# begins, and after its promotion calls start without a restart (FAULTS 6).
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = PostgreSQL::Test::Cluster->new('primary');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
agentpay.dispatchers = 2
max_worker_processes = 16
fsync = off
CONF
$node->start;
AgentpayTest::make_ledger($node, 'postgres');
add_agent($node, 'good');
add_agent($node, 'hangs', behaviour => 'hang', timeout_ms => 600000);

# ── 6: a standby ────────────────────────────────────────────────────────────
$node->backup('base');
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
ask($node, 'good', 1, 5);
await_tasks($node);
is((() = journal('normal')), 5, 'the primary asks');
$node->wait_for_catchup($standby);
is($standby->safe_psql('postgres', "SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'agentpay%'"), '0', 'the standby has no worker');
is((() = journal('normal')), 5, 'and asks nobody');

# ── 2: the postmaster is gone ───────────────────────────────────────────────
ask($node, 'hangs', 101, 104);
await('calls are under way', sub { in_flight($node) eq '4' });
my @workers = split /\n/, $node->safe_psql('postgres', "SELECT pid FROM pg_stat_activity WHERE backend_type LIKE 'agentpay%'");
is(scalar(@workers), 4, 'launcher, governor and two dispatchers');
$node->wait_for_catchup($standby);
$node->kill9;
await('its workers end with it', sub { !grep { kill 0, $_ } @workers }, 30);
is((() = journal('hang')), 4, 'nothing more was sent');

# ── promotion ───────────────────────────────────────────────────────────────
$standby->promote;
ask($standby, 'good', 201, 205);
await_tasks($standby);
is($standby->safe_psql('postgres', "SELECT kind, count(*) FROM agentpay.decisions WHERE row_id::int > 200 AND agent = 'good' GROUP BY 1"), 'agent|5',
	'after promotion agents are asked, without a restart');
is($standby->safe_psql('postgres', "SELECT failure, count(*) FROM agentpay.decisions WHERE agent = 'hangs' GROUP BY 1"), 'uncertain|4',
	'what the old primary had sent is uncertain');
no_excess($standby, 'after promotion');
$standby->stop;
done_testing();
