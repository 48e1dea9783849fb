# Four dispatchers share a database's tasks: each task ends once, whoever dies
# in between; what limits an agent limits all of them together (FAULTS 1, 15).
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use AgentpayTest;

my $url = start_agents();
my $node = new_ledger('dispatchers', "agentpay.dispatchers = 4\nrestart_after_crash = on\nagentpay.breaker_failures = 0");
sub query { return $node->safe_psql('postgres', $_[0]); }
my $living = "SELECT count(*) FROM agentpay.stat_workers WHERE worker = 'dispatcher' AND pid IS NOT NULL AND state <> 'starting'";
sub pids { return split /\n/, query("SELECT pid FROM agentpay.stat_workers WHERE worker = 'dispatcher' AND pid IS NOT NULL ORDER BY pid"); }
sub all_there { return await($_[0], sub { my ($rc, $n) = $node->psql('postgres', $living); $rc == 0 && $n eq '4' }, 90); }

all_there('four dispatchers');
$node->safe_psql('postgres', "UPDATE agentpay.budgets SET cap_cost = 1000 WHERE name = 'hour'");

# ── limits of an agent hold over all ────────────────────────────────────────
add_agent($node, 'seven', behaviour => 'delay-20', max_in_flight => 7, timeout_ms => 20000);
ask($node, 'seven', 1, 400);
await_tasks($node, 120);
my $stats = decode_json(HTTP::Tiny->new->get("$url/stats")->{content});
is($stats->{requests}, 400, 'each is asked once');
cmp_ok($stats->{high_water}, '<=', 7, 'never more than seven at a time, from four dispatchers together');
cmp_ok($stats->{high_water}, '>', 3, 'and not one by one');
is(query("SELECT count(*) > 1 FROM agentpay.stat_workers WHERE worker = 'dispatcher' AND calls > 0"), 't', 'more than one of them called');
add_agent($node, 'single', behaviour => 'delay-5', max_in_flight => 1, timeout_ms => 20000);
ask($node, 'single', 501, 540);
await_tasks($node);
is(query("SELECT count(*), max(in_flight_at_start) FROM agentpay.agent_calls WHERE agent = 'single'"), '40|1', 'one at a time is one');

add_agent($node, 'rate', options => '{"calls_per_second": 20}', timeout_ms => 20000);
ask($node, 'rate', 601, 660);
await_tasks($node);
# a bucket holds a tenth of a second's, here 2; and a call is stamped a moment
# after it was let through
is(query("SELECT max((SELECT count(*) FROM agentpay.agent_calls y WHERE y.agent = 'rate'
		AND y.called_at >= x.called_at AND y.called_at < x.called_at + interval '1 second')) BETWEEN 15 AND 24
	FROM agentpay.agent_calls x WHERE agent = 'rate'"), 't', 'twenty a second are twenty a second');
foreach my $bad ('0', '-1', '"many"', 'null', '1e9')
{
	my ($rc, $out, $err) = $node->psql('postgres', "UPDATE agentpay.agents SET options = '{\"calls_per_second\": $bad}' WHERE name = 'rate'");
	like($err, qr/calls_per_second of agent "rate" must be a number/, "calls_per_second $bad is refused");
}

# ── a kill reaches all ──────────────────────────────────────────────────────
add_agent($node, 'hangs', behaviour => 'hang', timeout_ms => 60000, max_in_flight => 40);
ask($node, 'hangs', 701, 740);
await('all are under way', sub { in_flight($node) eq '40' });
is(query("SELECT count(*) FROM agentpay.stat_workers WHERE worker = 'dispatcher' AND in_flight = 10"), '4', 'ten each');
query("UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'agent' AND target = 'hangs'");
await('none is', sub { in_flight($node) eq '0' }, 10);
await_tasks($node);
is(query("SELECT failure, count(*) FROM agentpay.decisions WHERE agent = 'hangs' GROUP BY 1"), 'killed|40', 'killed');
query("UPDATE agentpay.kill_switches SET engaged = false WHERE scope = 'agent' AND target = 'hangs'");
no_excess($node, 'limits');

# ── 15: the lease of another ────────────────────────────────────────────────
ask($node, 'hangs', 801, 804);
await('they are sent', sub { query("SELECT count(*) FROM agentpay.tasks WHERE agent = 'hangs' AND state = 'sent'") eq '4' });
is(query("SELECT count(*) FROM agentpay._record(1, (SELECT array_agg(jsonb_populate_record(NULL::agentpay._attempt_end,
	jsonb_build_object('task_id', task_id, 'attempt', attempt, 'final', true, 'charge', 'none', 'status', 'ok', 'verdict', 'decline',
	'confidence', 1, 'called_at', now()))) FROM agentpay._task_work))"), '0', 'a stale lease records nothing');
is(query("SELECT count(*) FROM agentpay._prepare(1, ARRAY(SELECT task_id FROM agentpay._task_work))"), '0', 'and sends nothing that is sent');
is(query("SELECT count(*) FROM agentpay.budget_holds WHERE state = 'held' AND budget = 'hour'"), '4', 'and settles nothing');

# one dispatcher ends: the others end what it had sent, at once
my $victim = query("SELECT pid FROM agentpay.stat_workers WHERE worker = 'dispatcher' AND in_flight > 0 ORDER BY in_flight DESC LIMIT 1");
my $lost = query("SELECT in_flight FROM agentpay.stat_workers WHERE pid = $victim");
query("SELECT pg_terminate_backend($victim, 10000)");
await('what it had sent is uncertain', sub {
	query("SELECT count(*) FROM agentpay.decisions WHERE agent = 'hangs' AND failure = 'uncertain'") eq $lost }, 10);
is(query("SELECT count(*) FROM agentpay.budget_holds WHERE state = 'uncertain' AND budget = 'hour'"), $lost, 'and charged');
is(in_flight($node), 4 - $lost, 'the others go on');
query("UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'agent' AND target = 'hangs'");
await_tasks($node);
all_there('a fourth comes again');

# ── one after the other dies ────────────────────────────────────────────────
add_agent($node, 'late', behaviour => 'delay-100', timeout_ms => 60000, max_in_flight => 40);
add_agent($node, 'inside', protocol => 'builtin');
foreach my $round (0 .. 5)
{
	my $first = 10000 * ($round + 1);
	query("INSERT INTO payments (payment_id, agent, amount) SELECT g, (ARRAY['late', 'late', 'inside'])[1 + g % 3], 5
		FROM generate_series($first, $first + 299) AS g");
	await('some are decided', sub { query("SELECT count(*) FROM agentpay.decisions WHERE kind <> 'rules' AND row_id::int >= $first") > 20 });
	my @pids = pids();
	my $pid = $pids[ $round % @pids ];
	if ($round % 3 == 2)
	{
		# PostgreSQL restarts all of it then
		my $before = query("SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
		kill 'KILL', $pid;
		await('the server has restarted itself', sub {
			# psql may be gone before it has read its input
			my ($rc, $now) = eval { $node->psql('postgres', "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'") };
			return ($rc // 1) == 0 && $now ne '' && $now ne $before; });
	}
	else
	{
		query("SELECT pg_terminate_backend($pid, 10000)");
	}
	all_there("round $round: four again");
}
await_tasks($node, 120);
is(query('SELECT count(*) FROM agentpay._tasks WHERE row_id::int >= 10000'), '1800', 'every task is there');
is(query("SELECT count(*), count(DISTINCT detail ->> 'task_id') FROM agentpay.decisions WHERE kind <> 'rules' AND row_id::int >= 10000"),
	'1800|1800', 'and has ended exactly once');
is(query("SELECT string_agg(DISTINCT failure, ',') FROM agentpay.decisions WHERE kind = 'fallback' AND row_id::int >= 10000"), 'uncertain',
	'those whose dispatcher died are uncertain, and no other failed');
is(query("SELECT max(attempt) FROM agentpay.agent_calls WHERE row_id::int >= 10000"), '1', 'none is asked twice');
no_excess($node, 'one after the other');
is(query('SELECT count(*) FROM agentpay._dispatchers'), '4', 'what the dead left is put away');

# ── fewer ───────────────────────────────────────────────────────────────────
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.dispatchers = 1');
$node->reload;
await('one is left', sub { query($living) eq '1' });
ask($node, 'late', 90001, 90040);
await_tasks($node);
is(query("SELECT count(*) FROM agentpay.decisions WHERE row_id::int > 90000 AND kind = 'agent'"), '40', 'which answers all');

# ── a task that somebody else has just then ─────────────────────────────────
# As when dispatchers come and go, and two try for one task: whose it is looks
# for it again.
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.workers_enabled = off');
$node->reload;
ask($node, 'late', 90101, 90102);
await('nobody claims', sub { query("SELECT agentpay._claim(100)"); query("SELECT count(*) FROM agentpay._task_work WHERE state = 'leased'") eq '2' });
my $other = session($node);
$other->("BEGIN; SELECT FROM agentpay._task_work w JOIN agentpay._tasks t USING (task_id) WHERE t.row_id = '90101' FOR UPDATE OF w");
$node->safe_psql('postgres', 'ALTER SYSTEM RESET agentpay.workers_enabled');
$node->reload;
ask($node, 'late', 90103);
my $answered = "SELECT count(*) FROM agentpay.decisions WHERE row_id = '%s' AND kind = 'agent'";
await('those behind it are asked', sub { query(sprintf $answered, '90102') eq '1' && query(sprintf $answered, '90103') eq '1' }, 20);
is(query(sprintf $answered, '90101'), '0', 'it is not');
$other->('COMMIT');
$other->();
await_tasks($node, 20);
is(query(sprintf $answered, '90101'), '1', 'until it is free');

# ── the clock was a day ahead, and is set back ──────────────────────────────
# What was to be tried in a second is not tried in a day.
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls, on_exhausted) VALUES ('late', 'agent', 'late', 'hour', 1, 'wait')");
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.clock_offset = 86400');
$node->reload;
await('the clock is ahead', sub { query('SELECT agentpay._now() > now() + interval \'1 hour\'') eq 't' });
ask($node, 'late', 90111, 90113);
await('one is answered', sub { query("SELECT count(*) FROM agentpay.agent_calls WHERE row_id IN ('90111', '90112', '90113')") eq '1' });
await('two wait for room', sub { query("SELECT count(*) FROM agentpay._task_work WHERE state = 'leased' AND run_after > now() + interval '1 hour'") eq '2' });
$node->safe_psql('postgres', 'ALTER SYSTEM RESET agentpay.clock_offset');
$node->restart;
query("DELETE FROM agentpay.budgets WHERE name = 'late'");
await_tasks($node, 20);
is(query("SELECT count(*) FROM agentpay.decisions WHERE row_id IN ('90111', '90112', '90113') AND kind = 'agent'"), '3', 'all are asked');

# ── no room for all of them ─────────────────────────────────────────────────
my $advice = "SELECT problem FROM agentpay.advice WHERE object = 'agentpay.dispatchers'";
is(query($advice), '', 'nothing to advise');
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.dispatchers = 4');
$node->append_conf('postgresql.conf', "max_worker_processes = 4\nmax_parallel_workers = 0\nmax_logical_replication_workers = 0");
$node->restart;
await('advice says that they lack room', sub { query($advice) =~ /^[123] of 4 dispatchers run$/ });
$node->append_conf('postgresql.conf', 'max_worker_processes = 16');
$node->restart;
await('with room it is content', sub { query($advice) eq '' and query($living) eq '4' });
pass('and all run');
$node->stop;
done_testing();
