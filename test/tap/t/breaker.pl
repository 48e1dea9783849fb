# An agent whose provider fails is not called for a while: its tasks end at
# once, unasked and free, others go on, and a probe finds out when it is back
# (FAULTS 23).  What is our fault, or the model's, opens no breaker.
use strict;
use warnings;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use AgentpayTest;

start_agents();
my $node = new_ledger('breaker', <<'CONF');
agentpay.breaker_failures = 5
agentpay.breaker_wait = '400ms'
agentpay.breaker_max_wait = '2s'
CONF
sub query { return $node->safe_psql('postgres', $_[0]); }
my $open = "SELECT breaker_open FROM agentpay.stat_workers WHERE worker = 'dispatcher'";

# Calls, tasks that ended skipped, tasks.
sub ends
{
	return query("SELECT (SELECT count(*) FROM agentpay.agent_calls WHERE agent = '$_[0]'),
		count(*) FILTER (WHERE failure = 'skipped'), count(*) FROM agentpay.decisions WHERE agent = '$_[0]'");
}

# ── nobody listens ──────────────────────────────────────────────────────────
my $socket = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "could not listen: $!";
my $port = $socket->sockport;
close $socket;
add_agent($node, 'good');
add_agent($node, 'dead', endpoint => "http://127.0.0.1:$port/normal", max_attempts => 1, max_in_flight => 1);
ask($node, 'dead', 1, 60);
ask($node, 'good', 101, 110);
await_tasks($node);
my ($calls, $skipped, $tasks) = split /\|/, ends('dead');
# five failures open it; a slow machine may probe meanwhile
cmp_ok($calls, '>=', 5, 'five failures');
cmp_ok($calls, '<=', 10, 'and it is called no more');
is("$skipped|$tasks", (60 - $calls) . '|60', 'each other task ends all the same');
is(query("SELECT DISTINCT detail ->> 'error', cost, verdict FROM agentpay.decisions WHERE agent = 'dead' AND failure = 'skipped'"),
	'the circuit breaker of the agent is open|0|approve', 'skipped, free, and the rules stand');
is(query("SELECT count(*) FROM agentpay.budget_holds h JOIN agentpay.tasks t USING (task_id) JOIN agentpay.decisions d USING (decision_id)
	WHERE d.failure = 'skipped'"), '0', 'nothing was held for them');
is(query($open), '{dead}', 'stat_workers names the agent');
my $advice = "SELECT level, object FROM agentpay.advice WHERE problem LIKE 'its circuit breaker is open%'";
is(query($advice), 'warning|dead', 'advice too');
is(query("SELECT last_error LIKE 'agent dead: http_error: %' FROM agentpay.stat_workers WHERE worker = 'dispatcher'"), 't', 'and the error');
is(query("SELECT actor, object_kind, object, (after ->> 'failures_in_a_row')::int, (after ->> 'openings')::int,
	(after ->> 'wait_ms')::int BETWEEN 150 AND 400, reason LIKE 'http_error: %'
	FROM agentpay.governance_log WHERE action = 'breaker_open' ORDER BY event_id LIMIT 1"), 'agentpay|agent|dead|5|1|t|t', 'and so does the governance log');
is(decisions($node, 'good'), 'agent||approve|approve|10', 'another agent is not concerned');

# ── it survives its dispatcher ──────────────────────────────────────────────
my $pid = worker_pid($node, 'dispatcher');
query("SELECT pg_terminate_backend($pid, 10000)");
await('a new dispatcher', sub { my $new = worker_pid($node, 'dispatcher'); $new ne '' && $new ne $pid });
is(query($open), '{dead}', 'a new dispatcher knows that it is open');

# ── back again ──────────────────────────────────────────────────────────────
my $agents = IPC::Run::start([ 'python3', "$ENV{AGENTPAY_TREE}/test/server/agent_server.py", '--port', $port ],
	'>', '/dev/null', '2>', '/dev/null');
my $id = 1000;
await('a probe closes it', sub {
	ask($node, 'dead', ++$id);
	sleep 0.1;
	query($open) eq '{}' });
is(query($advice), '', 'advice is content again');
is(query("SELECT count(*) > 0 FROM agentpay.governance_log WHERE action = 'breaker_close' AND object = 'dead'"), 't', 'which is recorded');
await_tasks($node);
my $before = query("SELECT count(*) FROM agentpay.decisions WHERE agent = 'dead' AND kind = 'agent'");
ask($node, 'dead', 2001, 2010);
await_tasks($node);
is(query("SELECT count(*) FROM agentpay.decisions WHERE agent = 'dead' AND kind = 'agent'") - $before, 10, 'and all are asked again');
$agents->kill_kill;

# ── what opens none ─────────────────────────────────────────────────────────
# 400 and nonsense, as often as they like; and a kill of calls that hang.
add_agent($node, 'wrong', behaviour => '400', max_attempts => 1);
add_agent($node, 'prose', behaviour => 'prose', max_attempts => 1);
add_agent($node, 'killed', behaviour => 'hang', timeout_ms => 60000);
ask($node, $_->[0], $_->[1], $_->[1] + 29) for [ 'wrong', 3001 ], [ 'prose', 3101 ], [ 'killed', 3201 ];
await('calls hang', sub { in_flight($node) eq '30' });
query("UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'agent' AND target = 'killed'");
await_tasks($node);
is(ends('wrong'), '30|0|30', 'a 400 opens no breaker');
is(ends('prose'), '30|0|30', 'nor does a bad answer');
is(query("SELECT failure, count(*) FROM agentpay.decisions WHERE agent = 'killed' GROUP BY 1"), 'killed|30', 'calls are killed');
is(query($open), '{}', 'nor does a kill');

# ── 23: what the provider asks for ──────────────────────────────────────────
# A call at a time, so that the fifth opens it.
my %wait = ('503-3' => [ 3000, 3000 ], '429-1000000000' => [ 60000, 60000 ], '429--1' => [ 200, 400 ]);
foreach my $behaviour (sort keys %wait)
{
	(my $agent = "wait_$behaviour") =~ tr/-/m/;
	add_agent($node, $agent, behaviour => $behaviour, max_attempts => 1, max_in_flight => 1);
	$id += 100;
	ask($node, $agent, $id, $id + 9);
	await_tasks($node);
	my ($least, $most) = @{ $wait{$behaviour} };
	# a millisecond is lost to rounding
	is(query("SELECT (after ->> 'wait_ms')::int BETWEEN $least - 1 AND $most FROM agentpay.governance_log
		WHERE action = 'breaker_open' AND object = '$agent' ORDER BY event_id LIMIT 1"), 't', "$behaviour: $least to $most ms");
}
is(query("SELECT count(*) FROM agentpay.agent_calls WHERE agent = 'wait_429m1000000000'"), '5', 'an hour later would be as good');

# ── off ─────────────────────────────────────────────────────────────────────
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.breaker_failures = 0');
$node->reload;
add_agent($node, 'never', behaviour => '500', max_attempts => 1);
ask($node, 'never', 9001, 9030);
await_tasks($node);
is(ends('never'), '30|0|30', 'switched off: called however often it fails');
no_excess($node, 'breaker');
$node->stop;
done_testing();
