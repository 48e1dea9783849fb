# A kill switch is one UPDATE: after its commit no call starts and no answer
# counts, whatever was under way; and nothing of it touches an INSERT (FAULTS
# 14; INTERNALS 21).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use AgentpayTest;

start_agents();
my $node = new_ledger('kill');
sub query { return $node->safe_psql('postgres', $_[0]); }
sub flip
{
	my ($scope, $target, $engaged) = @_;
	is(query("UPDATE agentpay.kill_switches SET engaged = $engaged, reason = 'test' WHERE scope = '$scope' AND target = '$target' RETURNING engaged"),
		$engaged eq 'true' ? 't' : 'f', "$scope $target: engaged is $engaged");
	return;
}

add_agent($node, 'good');
add_agent($node, 'inside', protocol => 'builtin');
add_agent($node, 'hangs', behaviour => 'hang', timeout_ms => 60000);
add_agent($node, 'late', behaviour => 'delay-1500', timeout_ms => 60000);

# ── transfers in flight are aborted within 100 ms, and charged ──────────────
ask($node, 'hangs', 1, 20);
await('the calls are under way', sub { (() = journal('hang')) == 20 });
my $before = time;
flip('agent', 'hangs', 'true');
my $killed_at = query("SELECT extract(epoch FROM changed_at) FROM agentpay.kill_switches WHERE target = 'hangs'");
await_tasks($node);
is(decisions($node, 'hangs'), 'fallback|killed|approve||20', 'the rules stand');
is(query("SELECT status, bool_and(cost = reserved_cost AND cost > 0), count(*) FROM agentpay.agent_calls WHERE agent = 'hangs' GROUP BY 1"),
	'killed|t|20', 'what may have been spent is charged');
await('the agent sees its connections close', sub { (grep { $_->{closed_early} } journal('hang')) == 20 });
my ($latest) = sort { $b <=> $a } map { $_->{closed_at} } journal('hang');
cmp_ok($latest - $before, '<', 0.5, 'and at once');
diag(sprintf 'aborted %.0f ms after the UPDATE began', 1000 * ($latest - $before));

# ── what comes now is not asked; another agent goes on ──────────────────────
ask($node, 'hangs', 101, 105);
ask($node, 'good', 111, 115);
await_tasks($node);
is(query("SELECT agent, failure, count(*) FROM agentpay.decisions WHERE row_id::int > 100 AND kind <> 'rules' GROUP BY 1, 2 ORDER BY 1"),
	"good||5\nhangs|killed|5", 'the killed agent is not asked, the other one is');
is((() = journal('hang')), 20, 'nothing was sent');
is(query("SELECT sum(bound_cost) FROM agentpay.budget_holds h JOIN agentpay.tasks t USING (task_id) WHERE row_id::int BETWEEN 101 AND 105"), '',
	'and nothing held');

# ── a switch of each scope ──────────────────────────────────────────────────
flip('agent', 'hangs', 'false');
my $id = 200;
foreach my $switch ([ 'all', '*' ], [ 'role', 'fraud' ], [ 'point', 'fraud' ], [ 'agent', 'inside' ])
{
	flip(@$switch, 'true');
	ask($node, 'inside', ++$id);
	await_tasks($node);
	is(query("SELECT kind, failure, verdict FROM agentpay.decisions WHERE kind <> 'rules' AND row_id = '$id'"), 'fallback|killed|approve',
		"$switch->[0]: stopped");
	flip(@$switch, 'false');
	ask($node, 'inside', ++$id);
	await_tasks($node);
	is(query("SELECT kind, failure FROM agentpay.decisions WHERE kind <> 'rules' AND row_id = '$id'"), 'agent|', "$switch->[0]: and goes on");
}

# ── an open kill: INSERTs go on, answers wait, and then do not count ────────
ask($node, 'late', 301, 310);
await('the calls are under way', sub { (() = journal('delay-1500')) == 10 });
my $session = session($node);
$session->("BEGIN; UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all'");
await('they have answered', sub { (grep { $_->{status} } journal('delay-1500')) == 10 });
ask($node, 'good', 321, 325);
ask($node, 'inside', 326, 330);
is(query("SELECT count(*) FROM payments WHERE payment_id BETWEEN 321 AND 330"), '10', 'an open kill holds up no INSERT');
is(query("SELECT count(*) FROM agentpay.decisions WHERE row_id::int BETWEEN 301 AND 330 AND kind <> 'rules'"), '0', 'nothing is applied while it is open');
is(query("SELECT count(*) FROM pg_stat_activity WHERE backend_type LIKE 'agentpay%' AND wait_event_type = 'Lock'"), '0', 'and the dispatcher does not wait for it');
$session->('COMMIT');
await_tasks($node);
is(query("SELECT agent, kind, failure, verdict, answer, count(*) FROM agentpay.decisions WHERE row_id::int BETWEEN 301 AND 330 AND kind <> 'rules' GROUP BY 1, 2, 3, 4, 5 ORDER BY 1"),
	"good|fallback|killed|approve||5\ninside|fallback|killed|approve||5\nlate|fallback|killed|approve|approve|10", 'late answers are stored, none is applied');
is(query("SELECT bool_and(cost > 0 AND cost < reserved_cost AND status = 'ok') FROM agentpay.agent_calls WHERE agent = 'late'"), 't', 'and paid for');

# ── rolled back: as if it had not been ──────────────────────────────────────
flip('all', '*', 'false');
$session->("BEGIN; UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'all'");
ask($node, 'good', 401, 405);
$session->('ROLLBACK');
$session->();
await_tasks($node);
is(query("SELECT kind, failure, count(*) FROM agentpay.decisions WHERE row_id::int BETWEEN 401 AND 405 AND kind <> 'rules' GROUP BY 1, 2"), 'agent||5',
	'a kill that is rolled back stops nothing');

# ── killed again and again while payments come ──────────────────────────────
# Whoever flipped the switch knows the time of his commit; no call may begin, and
# no agent's verdict be recorded, between it and the end of the kill.
my $stream = session($node);
my ($first, $n, @kills) = (10000, 0);
foreach my $round (1 .. 15)
{
	my $from = $first + 40 * $n++;
	$stream->("INSERT INTO payments (payment_id, agent, amount) SELECT g, CASE WHEN g % 4 = 0 THEN 'inside' ELSE 'good' END, 5 FROM generate_series($from, $from + 39) AS g");
	sleep 0.002 * $round;
	$node->safe_psql('postgres', "UPDATE agentpay.kill_switches SET engaged = true WHERE scope = 'point'");
	my $from_time = query('SELECT clock_timestamp()');
	$from = $first + 40 * $n++;
	$stream->("INSERT INTO payments (payment_id, agent, amount) SELECT g, CASE WHEN g % 4 = 0 THEN 'inside' ELSE 'good' END, 5 FROM generate_series($from, $from + 39) AS g");
	push @kills, [ $from_time, query('SELECT clock_timestamp()') ];
	query("UPDATE agentpay.kill_switches SET engaged = false WHERE scope = 'point'");
}
$stream->();
await_tasks($node);
my $during = join ' OR ', map { "t > '$_->[0]' AND t < '$_->[1]'" } @kills;
is(query("SELECT count(*) FROM (SELECT called_at AS t FROM agentpay.agent_calls UNION ALL
	SELECT decided_at FROM agentpay.decisions WHERE kind = 'agent') AS x WHERE $during"), '0', 'nothing began and nothing was applied after a kill');
cmp_ok(query("SELECT count(*) FROM agentpay.decisions WHERE failure = 'killed' AND row_id::int >= $first"), '>', 0, 'some were stopped');
cmp_ok(query("SELECT count(*) FROM agentpay.decisions WHERE kind = 'agent' AND row_id::int >= $first"), '>', 0, 'and some were not');
is(query("SELECT count(*) FROM payments WHERE payment_id >= $first"), '1200', 'every payment came in');
no_excess($node, 'after fifteen kills');
is(query("SELECT count(*) > 30 FROM agentpay.governance_log WHERE object_kind = 'kill_switch'"), 't', 'each flip is on record');

$node->stop;
done_testing();
