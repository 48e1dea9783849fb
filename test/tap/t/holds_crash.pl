# A hold is on the disk before the call that it is for begins, though nobody
# waits for the disk with the budget's lock: whatever the agent has seen when the
# server is killed is charged afterwards, and nothing is beyond a cap (FAULTS 2,
# 4).  Others write little meanwhile, and the WAL writer sleeps.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(sleep);
use AgentpayTest;

start_agents();
my $node = new_ledger('holds', "wal_writer_delay = 10s\nagentpay.dispatchers = 2\nagentpay.seal_interval = 60s");
sub query { return $node->safe_psql('postgres', $_[0]); }

add_agent($node, 'hangs', behaviour => 'hang', timeout_ms => 60000);
# room for ten calls at their bound; the first one counts, too
ask($node, 'hangs', 1);
await('its bound is known', sub { query('SELECT count(*) FROM agentpay.budget_holds') ne '0' });
my $bound = query("SELECT max(bound_cost) FROM agentpay.budget_holds");
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost)
	VALUES ('some', 'agent', 'hangs', 'hour', 10 * $bound)");
my $id = 1;
foreach my $round (1 .. 4)
{
	my @processes = split /\n/, query('SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	my $before = () = journal('hang');
	my $more = session($node);
	$more->('INSERT INTO payments (payment_id, agent, amount) SELECT g, \'hangs\', 5 FROM generate_series('
		  . ($id + 1) . ', ' . ($id + 4) . ') AS g');
	$id += 4;
	my $deadline = time + 60;
	1 while (() = journal('hang')) == $before && $round < 4 && time < $deadline;
	await('what has no room has ended', sub { query("SELECT count(*) FROM agentpay.decisions WHERE failure = 'over_budget'") ne '0' })
	  if $round > 3;
	$node->kill9;
	$more->();
	await('its processes are gone', sub { !grep { kill 0, $_ } @processes });
	$node->start;
	await_tasks($node);
	my $seen = () = journal('hang');
	is(query("SELECT count(*) >= $seen FROM agentpay.agent_calls"), 't', "round $round: each call that the agent saw is on record");
	is(query('SELECT bool_and(cost = reserved_cost AND cost > 0) FROM agentpay.agent_calls'), 't', "round $round: and charged at its bound");
	no_excess($node, "round $round");
}
is(query("SELECT sum(cost) <= (SELECT cap_cost FROM agentpay.budgets WHERE name = 'some') FROM agentpay.agent_calls WHERE row_id <> '1'"), 't',
	'no more was charged than fits');

# ── agents inside the database ──────────────────────────────────────────────
# They decide in the transaction that claims, which does not wait for the disk
# with the lock either.  Whatever a verdict has done is there after a crash; what
# was only being claimed is claimed again, within the cap.
add_agent($node, 'inside', protocol => 'builtin');
query("UPDATE agentpay.agents SET price_per_call = 0.01 WHERE name = 'inside'");
promote_fully($node, 'inside');
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('own', 'agent', 'inside', 'hour', 0.2)");
# 0.2 at 0.01 each has room for twenty of thirty
my $effective = "SELECT string_agg(row_id, ',' ORDER BY row_id::int) FROM agentpay.decisions WHERE agent = 'inside' AND authority = 'live'";
foreach my $round (1 .. 3)
{
	my @processes = split /\n/, query('SELECT pid FROM pg_stat_activity WHERE pid <> pg_backend_pid()');
	my $more = session($node);
	my $seen = session($node);
	my $before = $seen->($effective);
	$more->('INSERT INTO payments (payment_id, agent, amount) SELECT g, \'inside\', 5 FROM generate_series('
		  . ($id + 1) . ', ' . ($id + 10) . ') AS g');
	$id += 10;
	my $deadline = time + 60;
	my $after;
	do { $after = $seen->($effective) } while ($after eq $before && $round < 3 && time < $deadline);
	$node->kill9;
	$_->() foreach ($more, $seen);
	await('its processes are gone', sub { !grep { kill 0, $_ } @processes });
	$node->start;
	await_tasks($node);
	my %there = map { $_ => 1 } split /,/, query($effective);
	is(join(',', grep { !$there{$_} } split /,/, $after), '', "round $round: what took effect is on record");
	no_excess($node, "round $round, inside");
}
is(query("SELECT count(*), count(DISTINCT task_id), sum(cost) FROM agentpay.agent_calls WHERE agent = 'inside'"), '20|20|0.20',
	'as many were asked as fit, each once');
is(query("SELECT count(*), count(DISTINCT row_id) FROM agentpay.decisions WHERE agent = 'inside' AND kind = 'agent' AND authority = 'live'"), '20|20', 'and took effect once');

$node->stop;
done_testing();
