# Workers that are terminated or killed, and servers that stop or crash while
# calls are under way: no task is lost, none is decided twice, and what may
# have been spent stays charged (FAULTS 1, 3, 4, 5).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use AgentpayTest;

start_agents();
my $node = new_ledger('crash', "restart_after_crash = on\nagentpay.max_in_flight = 100");
sub query { return $node->safe_psql('postgres', $_[0]); }

add_agent($node, 'good');
add_agent($node, 'inside', protocol => 'builtin');
add_agent($node, 'hangs', behaviour => 'hang', timeout_ms => 60000, max_attempts => 3);
add_agent($node, 'late', behaviour => 'delay-1500', timeout_ms => 60000, max_attempts => 3);
add_agent($node, 'busy', behaviour => '503-10', timeout_ms => 30000, max_attempts => 2);
my $id = 0;

# Answers come whoever was there before.
sub works
{
	my ($when) = @_;
	await("$when: the workers are back", sub { worker_pid($node, 'dispatcher') ne '' });
	ask($node, 'good', ++$id);
	ask($node, 'inside', ++$id);
	await("$when: agents are asked", sub {
		query("SELECT count(*) FROM agentpay.decisions WHERE kind = 'agent' AND row_id::int > $id - 2") eq '2' });
	return;
}

works('at first');

# ── 3: terminated workers come back ─────────────────────────────────────────
foreach my $worker (qw(launcher governor dispatcher))
{
	my $pid = worker_pid($node, $worker);
	my $since = time;
	is(query("SELECT pg_terminate_backend($pid, 10000)"), 't', "$worker ends when it is told to");
	await("the $worker is back", sub { my $new = worker_pid($node, $worker); $new ne '' && $new ne $pid }, 15);
	cmp_ok(time - $since, '<', 10, "$worker: back within seconds");
	works("after the end of the $worker");
}
is(query("SELECT restarts FROM agentpay.stat_workers WHERE worker = 'dispatcher'"), '1', 'the restart is counted');

# A dispatcher that is terminated with calls under way: nobody knows what
# became of them.
sub uncertain_after
{
	my ($what, $do) = @_;
	my $first = $id + 1;
	my $last = $id += 5;
	my $calls = () = journal('hang');
	ask($node, 'hangs', $first, $last);
	await('the agent hangs', sub { (() = journal('hang')) == $calls + 5 });
	is(query("SELECT state, count(*) FROM agentpay.tasks WHERE row_id::int BETWEEN $first AND $last GROUP BY 1"), 'sent|5',
		"$what: five calls are under way");
	$do->();
	works($what);
	await("$what: they are ended", sub {
		query("SELECT count(*) FROM agentpay.tasks WHERE state <> 'done'") eq '0' });
	is(query("SELECT kind, failure, verdict, count(*) FROM agentpay.decisions WHERE agent = 'hangs'
		AND row_id::int BETWEEN $first AND $last GROUP BY 1, 2, 3"), 'fallback|uncertain|approve|5', "$what: uncertain, and the rules stand");
	is(query("SELECT h.state, count(*), bool_and(h.settled_cost = h.bound_cost) FROM agentpay.budget_holds h
		JOIN agentpay.tasks t USING (task_id) WHERE row_id::int BETWEEN $first AND $last AND budget = 'hour' GROUP BY 1"),
		'uncertain|5|t', "$what: held at the bound");
	is(query("SELECT status, count(*), bool_and(cost = reserved_cost AND cost > 0) FROM agentpay.agent_calls
		WHERE row_id::int BETWEEN $first AND $last GROUP BY 1"), 'uncertain|5|t', "$what: and charged");
	is((() = journal('hang')) - $calls, 5, "$what: none is repeated");
	no_excess($node, $what);
	return;
}

uncertain_after('terminated', sub {
	query('SELECT pg_terminate_backend(' . worker_pid($node, 'dispatcher') . ', 10000)') });

# ── 1: kill -9; the postmaster restarts everything ──────────────────────────
uncertain_after('kill -9', sub {
	my $started = query('SELECT pg_postmaster_start_time()');
	my $pid = worker_pid($node, 'dispatcher');
	my $before = query("SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
	kill 'KILL', $pid;
	await('the server has restarted itself', sub {
		# psql may be gone before it has read its input
		my ($rc, $now) = eval { $node->psql('postgres', "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'") };
		return ($rc // 1) == 0 && $now ne '' && $now ne $before; });
});

# ── 5: a fast stop does not wait for an agent ───────────────────────────────
uncertain_after('fast stop', sub {
	my $since = time;
	$node->stop('fast');
	cmp_ok(time - $since, '<', 5, 'a fast stop does not wait for an agent that hangs');
	$node->start;
});

# ── 4: an immediate stop with tasks in every state ──────────────────────────
# late: answered while an open kill keeps the answer from being recorded;
# good and inside: queued behind the same; hangs: under way; busy: waits for
# its second attempt.
my $calls = () = journal('503-10');
ask($node, 'busy', $id + 1, $id + 3);
ask($node, 'hangs', $id + 4, $id + 6);
await('busy was asked', sub { query("SELECT count(*) FROM agentpay.tasks WHERE agent = 'busy' AND state = 'leased' AND attempts = 1") eq '3' });
await('hangs is asked', sub { query("SELECT count(*) FROM agentpay.tasks WHERE agent = 'hangs' AND state = 'sent'") eq '3' });
ask($node, 'late', $id + 7, $id + 9);
await('late is asked', sub { (() = journal('delay-1500')) == 3 });
my $kill = session($node);
$kill->("BEGIN; UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all'");
await('late has answered', sub { (grep { $_->{status} } journal('delay-1500')) == 3 });
ask($node, 'good', $id + 10, $id + 12);
ask($node, 'inside', $id + 13, $id + 15);
my $states = "SELECT agent, state, attempts, count(*) FROM agentpay.tasks WHERE row_id::int > $id GROUP BY 1, 2, 3 ORDER BY 1";
is(query($states), "busy|leased|1|3\ngood|queued|0|3\nhangs|sent|1|3\ninside|queued|0|3\nlate|sent|1|3", 'tasks in every state');
$node->stop('immediate');
$kill->();
$node->start;
await_tasks($node);
is(query("SELECT agent, kind, failure, count(*) FROM agentpay.decisions WHERE kind <> 'rules' AND row_id::int > $id GROUP BY 1, 2, 3 ORDER BY 1"),
	"busy|fallback|http_error|3\ngood|agent||3\nhangs|fallback|uncertain|3\ninside|agent||3\nlate|fallback|uncertain|3",
	'each was ended once');
is((() = journal('503-10')) - $calls, 6, 'what waited for its second attempt got one, not three');
no_excess($node, 'immediate stop');

# ── crashes at any moment ───────────────────────────────────────────────────
# Payments come without pause, and the server crashes in the middle, at five
# different moments.
foreach my $round (1 .. 5)
{
	my $first = 10000 * $round;
	my $more = session($node);
	$more->("INSERT INTO payments (payment_id, agent, amount) SELECT g, (ARRAY['good', 'inside', 'late'])[1 + g % 3], 5 FROM generate_series($first, $first + 299) AS g");
	my $at = 40 * $round;
	await('some are decided', sub { query("SELECT count(*) FROM agentpay.decisions WHERE kind <> 'rules' AND row_id::int >= $first") >= $at });
	$node->stop('immediate');
	$more->();
	$node->start;
}
await_tasks($node);
is(query('SELECT count(*) FROM payments WHERE payment_id >= 10000'), '1500', 'every payment that was committed is there');
is(query("SELECT count(*) FROM agentpay._tasks WHERE row_id::int >= 10000"), '1500', 'and its task');
no_excess($node, 'after five crashes');
is(query("SELECT bool_and(attempts = 1) FROM agentpay.tasks WHERE row_id::int >= 10000"), 't', 'nothing was asked twice');

$node->stop;
done_testing();
