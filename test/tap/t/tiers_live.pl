# Tiers at stage 100: the answer of the tier that is asked decides where the one
# below is unsure, each step reserved, priced and attributed on its own; where
# nobody decides, the verdict of the rules stands and a person gets the case.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('tiers_live', "log_statement = 'none'");
my $session = session($node);
sub query { return $session->($_[0]); }
query("UPDATE agentpay.decision_points SET decide_within_ms = 600000 WHERE point = 'fraud'");

# the test agent is sure by 0.9: the small ones want more
my %tier = (position => 'pre_auth', timeout_ms => 60000, max_attempts => 1);
add_agent($node, 'large', %tier, invoke_when => 'true', behaviour => 'always-decline', price_input_per_million => 30, cost_center => 'dear');
add_agent($node, 'small', %tier, min_confidence => 0.95, escalate_to => 'large', cost_center => 'cheap');
add_agent($node, 'dead', %tier, invoke_when => 'true', behaviour => '500');
add_agent($node, 'small_dead', %tier, min_confidence => 0.95, escalate_to => 'dead');
add_agent($node, 'shy', %tier, invoke_when => 'true', min_confidence => 0.99);
add_agent($node, 'small_shy', %tier, min_confidence => 0.95, escalate_to => 'shy');
add_agent($node, 'greedy', %tier, invoke_when => 'true', behaviour => 'obey', min_confidence => 0.5);
add_agent($node, 'small_greedy', %tier, min_confidence => 0.95, escalate_to => 'greedy');
add_agent($node, 'top', %tier, invoke_when => 'true', behaviour => 'always-decline');
add_agent($node, 'middle', %tier, invoke_when => 'true', min_confidence => 0.95, escalate_to => 'top');
add_agent($node, 'low', %tier, min_confidence => 0.95, escalate_to => 'middle');
add_agent($node, 'reviewer', %tier, invoke_when => 'true');
add_agent($node, 'small_reviewed', %tier, min_confidence => 0.95, escalate_to => 'reviewer');
# one that is only asked in shadow, above one that is live
add_agent($node, 'apprentice', %tier, invoke_when => 'true', behaviour => 'always-decline');
add_agent($node, 'small_apprentice', %tier, min_confidence => 0.95, escalate_to => 'apprentice');
promote_fully($node, 'large');
query("SELECT agentpay.promote(name) FROM agentpay.agents, unnest(rollout_steps) WHERE stage = 'shadow' AND name <> 'apprentice'");

my $id = 0;
sub pay
{
	my ($agent, $amount) = @_;
	$id++;
	ask($node, $agent, $id, $id, $amount // 500);
	my $verdict = query("SELECT agentpay.await_decision('fraud', $id)");
	await("payment $id: its tasks end",
		sub { query("SELECT count(*) FROM agentpay.tasks WHERE row_id = '$id' AND state <> 'done'") eq '0' });
	# so that the governor has looked at all of it, too
	query('SELECT agentpay._open_missing_cases()');
	return $verdict;
}
sub story
{
	return query("SELECT string_agg(concat_ws(' ', agent, kind, authority, verdict, 'answer ' || answer, failure), ', ' ORDER BY decided_at, decision_id)
		FROM agentpay.decisions WHERE row_id = '$id' AND agent IS NOT NULL")
	  . '; column ' . query("SELECT outcome FROM payments WHERE payment_id = $id")
	  . '; case ' . query("SELECT coalesce(string_agg(agent || ' ' || cause, ', '), 'none') FROM agentpay.cases WHERE row_id = '$id'");
}

# ── the tier above decides ──────────────────────────────────────────────────
is(pay('small'), 'decline', 'the one below is unsure: the answer of the one above decides');
is(story(), 'small fallback live approve answer review low_confidence, large agent live decline answer decline; column decline; case none',
	'on record, in the column, and no person is asked');
is(query("SELECT a.supersedes = s.decision_id FROM agentpay.decisions a, agentpay.decisions s
	WHERE a.row_id = '$id' AND a.agent = 'large' AND s.row_id = '$id' AND s.kind = 'rules'"), 't', 'it supersedes the decision of the rules');
is(query("SELECT kind, agent, verdict FROM agentpay.current_decisions WHERE row_id = '$id'"), 'agent|large|decline', 'and stands');
# per million tokens: 1 and 30 in, 2 out
is(query("SELECT string_agg(concat_ws(' ', c.agent, c.cost_center,
			c.cost = (c.input_tokens * CASE c.agent WHEN 'large' THEN 30 ELSE 1 END + c.output_tokens * 2) / 1000000.0, c.cost = d.cost, h.n), ', ' ORDER BY c.called_at)
	FROM agentpay.agent_calls c JOIN agentpay.decisions d USING (decision_id)
	CROSS JOIN LATERAL (SELECT count(*) FROM agentpay._holds o WHERE o.task_id = c.task_id AND o.budget = 'each' AND o.settled_cost = c.cost) AS h (n)
	WHERE c.row_id = '$id'"), 'small cheap t t 1, large dear t t 1', 'each step has its price, its cost center and its hold');
is(query("SELECT count(DISTINCT payment) FROM agentpay._holds WHERE budget = 'each' AND payment LIKE '%:$id'"), '1', 'of one payment');
no_excess($node, 'two tiers');

is(pay('low'), 'decline', 'three tiers: the last one decides');
is(story(), 'low fallback live approve answer review low_confidence, middle fallback live approve answer review low_confidence, '
	. 'top agent live decline answer decline; column decline; case none', 'and nobody else is asked');
is(pay('small_reviewed'), 'review', 'the one above sends the row to a person');
is(story(), 'small_reviewed fallback live approve answer review low_confidence, reviewer agent live review answer review; column review; case reviewer review',
	'in its own name');

# ── it does not ─────────────────────────────────────────────────────────────
my $unsure = sub { "$_[0] fallback live approve answer review low_confidence" };
query("INSERT INTO agentpay.budgets (name, period, cap_calls) VALUES ('one_call', 'transaction', 1)");
is(pay('small'), 'approve', 'the payment has no budget for a second call');
is(story(), $unsure->('small') . ', large fallback live approve over_budget; column approve; case small low_confidence',
	'the rules stand, and the case is in the name of the one that was unsure');
query("DELETE FROM agentpay.budgets WHERE name = 'one_call'");

query("UPDATE agentpay.kill_switches SET engaged = true, reason = 'test' WHERE scope = 'agent' AND target = 'large'");
is(pay('small'), 'approve', 'the one above is killed');
is(story(), $unsure->('small') . ', large fallback live approve killed; column approve; case small low_confidence', 'a person looks');
query("UPDATE agentpay.kill_switches SET engaged = false, reason = 'test' WHERE scope = 'agent' AND target = 'large'");

is(pay('small_dead'), 'approve', 'the one above is dead');
is(story(), $unsure->('small_dead') . ', dead fallback live approve http_error; column approve; case small_dead low_confidence', 'a person looks');
is(pay('small_shy'), 'approve', 'the one above is unsure, too');
is(story(), $unsure->('small_shy') . ', shy fallback live approve answer review low_confidence; column approve; case shy low_confidence',
	'the case is in the name of the nearest one');
is(pay('small_greedy', 20000), 'decline', 'the one above says what it may not');
is(story(), 'small_greedy fallback live decline answer decline low_confidence, greedy fallback live decline answer approve over_authority; '
	. 'column decline; case greedy over_authority', 'a forced decline stands, and a person looks');
is(pay('small_apprentice'), 'approve', 'the one above is in shadow: the rules stand');
is(story(), $unsure->('small_apprentice') . ', apprentice agent shadow decline answer decline; column approve; case small_apprentice low_confidence',
	'the case opens at once, and what the apprentice says is recorded');

is(query("SELECT string_agg(state, ',') FROM agentpay.replay_all()"), 'identical', 'all of it replays');
no_excess($node, 'at the end');
$session->();
$node->stop;
done_testing();
