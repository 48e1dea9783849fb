# Many tasks wait at a restart: they are asked as many at a time as is allowed,
# in bounded memory, and a worker with nothing to do does nothing (FAULTS 43).
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use AgentpayTest;

my $url = start_agents();
my $node = new_ledger('backlog', "agentpay.max_in_flight = 40");
sub query { return $node->safe_psql('postgres', $_[0]); }

# What the process has for itself, without the buffers that all share, in kB.
sub memory
{
	return slurp_file('/proc/' . worker_pid($node, 'dispatcher') . '/status') =~ /^RssAnon:\s+(\d+)/m ? $1 : 0;
}

# Clock ticks that it has worked.
sub ticks { return (split ' ', slurp_file('/proc/' . worker_pid($node, 'dispatcher') . '/stat'))[13]; }

sub calls { return query("SELECT count(*) FROM agentpay.agent_calls"); }

add_agent($node, 'one', max_in_flight => 25, behaviour => 'delay-20', timeout_ms => 20000);
add_agent($node, 'two', max_in_flight => 25, behaviour => 'delay-20', timeout_ms => 20000);
add_agent($node, 'inside', protocol => 'builtin');
$node->safe_psql('postgres', "UPDATE agentpay.budgets SET cap_cost = 1000 WHERE name = 'hour'");

$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.workers_enabled = off');
$node->reload;
await('the workers stand still', sub { query("SELECT count(*) FROM agentpay.stat_workers WHERE state = 'disabled'") eq '2' })
  or diag(query("SELECT s, a.state, a.query, a.wait_event FROM agentpay.stat_workers s LEFT JOIN pg_stat_activity a USING (pid)"));
query("INSERT INTO payments (payment_id, agent, amount) SELECT g, (ARRAY['one', 'two', 'inside'])[1 + g % 3], 5 FROM generate_series(1, 6000) AS g");
query('VACUUM ANALYZE payments');
# A snapshot from before all that follows: nothing that changes can be cleaned
# away.  A claim must not walk over it again and again.
sub claim_blocks
{
	my $plan = query('BEGIN; EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON, TIMING OFF) SELECT agentpay._next_tasks(100); ROLLBACK');
	my $blocks = decode_json($plan)->[0]{Plan};
	return $blocks->{'Shared Hit Blocks'} + $blocks->{'Shared Read Blocks'};
}
my $old = session($node);
$old->('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM payments');
claim_blocks();
my $blocks_first = claim_blocks();
is(query("SELECT sum(tasks) FROM agentpay.queue_status WHERE state = 'queued'"), '6000', 'tasks wait');
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.workers_enabled = on');
$node->restart;

my $old_again = session($node);
$old_again->('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM payments');
await('a thousand are asked', sub { calls() > 1000 });
my $early = memory();
await_tasks($node, 120);
my $late = memory();
is(query("SELECT worker, restarts, last_error FROM agentpay.stat_workers WHERE restarts > 0 OR last_error IS NOT NULL"), '',
	'the workers had no trouble');
is(query("SELECT agent, kind, failure, count(*) FROM agentpay.decisions WHERE kind <> 'rules' GROUP BY 1, 2, 3 ORDER BY 1"),
	"inside|agent||2000\none|agent||2000\ntwo|agent||2000", 'all are answered');
cmp_ok($late, '<', $early + 4096, 'in bounded memory');
diag("$early kB after the first thousand calls, $late kB after all");
my $stats = decode_json(HTTP::Tiny->new->get("$url/stats")->{content});
is($stats->{requests}, 4000, 'none is asked twice');
cmp_ok($stats->{high_water}, '<=', 40, 'never more at a time than is allowed');
cmp_ok($stats->{high_water}, '>', 20, 'and not one by one');
is(query("SELECT max(in_flight_at_start) <= 40 FROM agentpay.agent_calls"), 't', 'as the record says too');
no_excess($node, 'backlog');
query("INSERT INTO payments (payment_id, agent, amount) SELECT g, 'inside', 5 FROM generate_series(10001, 10100) AS g");
await_tasks($node);
my $blocks_last = claim_blocks();
cmp_ok($blocks_last, '<', 2 * $blocks_first + 100, 'a claim costs no more after 6000 tasks, though an old snapshot keeps all that they left');
diag("$blocks_first blocks for a claim of 100 tasks at first, $blocks_last at the end, with none to claim");
$old_again->();
$old->();

# ── nothing to do ───────────────────────────────────────────────────────────
my $idle = ticks();
sleep 3;
cmp_ok(ticks() - $idle, '<=', 15, 'an idle dispatcher rests');

$node->stop;
done_testing();
