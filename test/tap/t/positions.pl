# Before the authorisation an agent's verdict may replace the rules' until
# decide_by; await_decision() waits for it, needs no worker, and never waits
# longer.  Whatever the ledger's own table does, the payment has one verdict.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use AgentpayTest;

start_agents();
my $node = new_ledger('positions', "log_statement = 'none'");
sub query { return $node->safe_psql('postgres', $_[0]); }
sub fails
{
	my ($sql, $expected, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($err, $expected, $what);
	return;
}

# An agent whose verdict counts.
sub add_live
{
	my ($name, %with) = @_;
	add_agent($node, $name, position => 'pre_auth', timeout_ms => 60000, %with);
	query("SET allow_system_table_mods = on; UPDATE pg_proc SET prosrc = 'BEGIN RETURN NEW; END' WHERE proname = '_check_agents'");
	query("UPDATE agentpay.agents SET stage = '100' WHERE name = '$name'");
	return;
}

sub within
{
	query("UPDATE agentpay.decision_points SET decide_within_ms = $_[0] WHERE point = 'fraud'");
	return;
}

# What is on record about a payment, in its order, and what its column says.
sub story
{
	my ($id) = @_;
	return query("SELECT concat_ws(' ', kind, authority, verdict, 'answer ' || answer, failure,
			CASE WHEN detail ? 'late' THEN 'late' END, 'not applied: ' || (detail #>> '{not_applied,message}'))
		FROM agentpay.decisions WHERE row_id = '$id' ORDER BY decided_at, decision_id")
	  . "\ncolumn " . query("SELECT outcome FROM payments WHERE payment_id = $id");
}

sub waited
{
	my ($id, $options) = @_;
	my $began = time;
	my $verdict = query(($options // '') . "SELECT agentpay.await_decision('fraud', $id)");
	return ($verdict, 1000 * (time - $began));
}

add_live('sure', behaviour => 'always-decline');
add_live('slow', behaviour => 'delay-300');
add_live('inside', protocol => 'builtin', options => '{"thresholds": {"decline": 0.4}}');
add_live('hangs', behaviour => 'hang');
add_live('late', behaviour => 'delay-900');

# ── in time ─────────────────────────────────────────────────────────────────
within(20000);
ask($node, 'sure', 1);
is((waited(1))[0], 'decline', 'the agent decides');
is(story(1), "rules live approve\nagent live decline answer decline\ncolumn decline", 'in the log and in the column');
is(query("SELECT a.supersedes = r.decision_id FROM agentpay.decisions a, agentpay.decisions r
	WHERE a.row_id = '1' AND r.row_id = '1' AND a.kind = 'agent' AND r.kind = 'rules'"), 't', 'it supersedes the rules decision');
is(query("SELECT kind, verdict, agent, pending, decide_by FROM agentpay.current_decisions WHERE row_id = '1'"), 'agent|decline|sure|f|', 'and stands');
ask($node, 'slow', 2, 2, 5000);
my ($verdict, $ms) = waited(2);
is($verdict, 'decline', 'await_decision() waits');
cmp_ok($ms, '>', 250, 'as long as the agent takes');
cmp_ok($ms, '<', 5000, 'and not longer');
ask($node, 'inside', 3);
is((waited(3))[0], 'decline', 'a builtin agent decides too');
is(query("SELECT outcome FROM payments WHERE payment_id = 3"), 'decline', 'in the column');
is(query("SELECT count(*) FROM agentpay.decisions WHERE kind = 'rules'"), '3', 'an UPDATE makes no decision');

# ── not in time ─────────────────────────────────────────────────────────────
within(400);
ask($node, 'hangs', 11);
is(query("SELECT pending, decide_by = r.decided_at + interval '400 ms' FROM agentpay.current_decisions c
	JOIN agentpay.decisions r USING (decision_id) WHERE c.row_id = '11'"), 't|t', 'until decide_by it is pending');
($verdict, $ms) = waited(11);
is($verdict, 'approve', 'at decide_by the rules verdict is final');
cmp_ok($ms, '<', 2000, 'at once');
await('the governor says so', sub { query("SELECT count(*) FROM agentpay.decisions WHERE row_id = '11'") == 2 });
is(story(11), "rules live approve\nfallback live approve timeout\ncolumn approve", 'once');
ask($node, 'late', 12, 12, 5000);
is((waited(12))[0], 'approve', 'a late agent');
await('the answer comes', sub { query("SELECT count(*) FROM agentpay.agent_calls WHERE row_id = '12'") == 1 });
is(story(12), "rules live approve\nfallback live approve timeout\nfallback shadow approve answer decline timeout late\ncolumn approve",
	'a late answer is stored and not applied');
is(query("SELECT c.status, c.cost > 0 AND c.cost = d.cost, d.detail ? 'late' FROM agentpay.agent_calls c JOIN agentpay.decisions d USING (decision_id) WHERE c.row_id = '12'"),
	'ok|t|t', 'and paid for');
is(query("SELECT state FROM agentpay.tasks WHERE row_id = '12'"), 'done', 'the task ended once');

$node->stop;
done_testing();
