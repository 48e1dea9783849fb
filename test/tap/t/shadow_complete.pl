# Shadow is complete: whatever becomes of agents, workers and budgets, each
# payment that an agent was to be asked about ends in exactly one observation,
# and rows that are asked about again are beside it, never in it.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('shadow', "restart_after_crash = on\nagentpay.max_in_flight = 60\nagentpay.breaker_failures = 0");
sub query { return $node->safe_psql('postgres', sprintf($_[0], @_[ 1 .. $#_ ])); }

# ── asked again: the same bytes, another key ────────────────────────────────
add_agent($node, 'again', repeat_percent => 100, repeats => 5);
ask($node, 'again', 1, 4);
await_tasks($node);
my @calls = grep { $_->{path} =~ m{/normal/} } journal('normal');
is(scalar(@calls), 20, 'four rows are asked about five times each');
my %keys = map { $_->{headers}{'idempotency-key'} => 1 } @calls;
is(scalar(keys %keys), 20, 'each with its own idempotency key');
is(query("SELECT row_id, repeat_no, kind, authority, verdict, cost > 0 FROM agentpay.decisions
	WHERE agent = 'again' AND row_id = '2' ORDER BY repeat_no"),
	join("\n", map { "2|$_|agent|shadow|approve|t" } 0 .. 4), 'each has its decision, in shadow');
is(query("SELECT count(*), count(DISTINCT row_id), count(DISTINCT (row_id, request_sha256)) FROM agentpay.agent_calls
	WHERE agent = 'again'"), '20|4|4', 'the request of a row is the same each time');
is(query("SELECT count(*), count(DISTINCT idempotency_key) FROM agentpay.tasks WHERE agent = 'again'"), '20|20', 'a task each');
is(query("SELECT count(*), count(DISTINCT task_id) FROM agentpay.budget_holds h JOIN agentpay.tasks t USING (task_id)
	WHERE agent = 'again' AND h.state = 'settled'"), '40|20', 'each held and settled in both budgets');
is(query("SELECT invoked, pairs FROM agentpay.shadow_vs_rules WHERE agent = 'again'"), "4|4\n4|4",
	'shadow counts each row once');
is(query("SELECT calls, decisions, cost = (SELECT sum(cost) FROM agentpay.agent_calls WHERE agent = 'again')
	FROM agentpay.agent_cost WHERE agent = 'again'"), '20|4|t', 'and the answers bear the cost of all');
is(query("SELECT authority, calls_per_invocation, invoked_share FROM agentpay.cost_per_million WHERE agent = 'again' ORDER BY 1"),
	"evaluation|4.000000|1.000000\nshadow|1.000000|1.000000", 'asking again is an evaluation');
is(query("SELECT rows, answers, load_band, flip_rate, score_variance FROM agentpay.inference_variance
	WHERE agent = 'again' AND load_band = 'all'"), '4|20|all|0.000000|0.000000000', 'the test agent does not waver');
is(query("SELECT sum(calls), bool_and(p50_ms > 0 AND p50_ms <= p95_ms AND p95_ms <= p99_ms AND p99_ms <= max_ms AND queued_p95_ms > 0)
	FROM agentpay.agent_latency WHERE agent = 'again'"), '20|t', 'each call has its time');

# A provider that wavers: one answer of each row fails for good.
add_agent($node, 'wavers', behaviour => 'fail-first-1', repeat_percent => 100, repeats => 5, max_attempts => 1);
ask($node, 'wavers', 11, 12);
await_tasks($node);
is(query("SELECT rows, answers, flip_rate FROM agentpay.inference_variance WHERE agent = 'wavers' AND load_band = 'all'"),
	'2|10|0.000000', 'ten failures of one type are the same');

# ── a mixed load ────────────────────────────────────────────────────────────
my %behaves = (
	good => 'normal', slow => 'delay-100', timeout => 'hang', http_error => '500', rate_limited => '429-0', truncated => 'close',
	not_json => 'prose', schema => 'extra-key', unknown_verdict => 'unknown-verdict', uncertain => 'reset',
	low_confidence => 'normal', over_budget => 'normal', killed => 'delay-400', skipped => 'delay-100', crashed => 'hang');
my %with = (
	timeout => { timeout_ms => 300 }, low_confidence => { min_confidence => 0.95 }, skipped => { max_in_flight => 1 },
	killed => { max_in_flight => 8, timeout_ms => 60000 }, crashed => { timeout_ms => 60000, max_in_flight => 4 },
	good => { repeat_percent => 30, repeats => 3, sample_percent => 60 });
foreach my $agent (sort keys %behaves)
{
	add_agent($node, "m_$agent", behaviour => $behaves{$agent}, max_attempts => 1, %{ $with{$agent} // {} });
}
add_agent($node, 'm_inside', protocol => 'builtin');
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls) VALUES ('few', 'agent', 'm_over_budget', 'hour', 7)");
my @agents = sort map { "m_$_" } keys %behaves, 'inside';

# Payments of all of them, some in transactions that take long.
my ($first, $each) = (1000, 24);
my @sessions = map { session($node) } 1 .. 3;
foreach my $part (0 .. 2)
{
	my @ids = grep { $_ % 3 == $part } 0 .. $each - 1;
	$sessions[$part]->('BEGIN') if $part == 2;
	foreach my $i (0 .. $#agents)
	{
		my $ids = join ', ', map { '(' . ($first + 100 * $i + $_) . ", '$agents[$i]', 5)" } @ids;
		$sessions[$part]->("INSERT INTO payments (payment_id, agent, amount) VALUES $ids");
	}
}
# a kill while calls are under way, others wait, and some have not come yet
await('calls are under way', sub { (grep { $_->{path} =~ /delay-400/ } journal('delay-400')) >= 4 });
query("UPDATE agentpay.kill_switches SET engaged = true WHERE target = 'm_killed'");
# a new version: what waits for the old one is not asked any more
query("UPDATE agentpay.agents SET max_output_tokens = 499 WHERE name = 'm_skipped'");
$sessions[2]->('COMMIT');
$_->() foreach @sessions;
# the dispatcher dies while calls hang, and takes the server with it
await('calls hang', sub { query("SELECT count(*) FROM agentpay.tasks WHERE agent = 'm_crashed' AND state = 'sent'") eq '4' });
my $checkpointer = query("SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'");
kill 'KILL', worker_pid($node, 'dispatcher');
await('the server has restarted itself', sub {
	# psql may be gone before it has read its input
	my ($rc, $now) = eval { $node->psql('postgres', "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'") };
	return ($rc // 1) == 0 && $now ne '' && $now ne $checkpointer; });
query("UPDATE agentpay.agents SET stage = 'off' WHERE name = 'm_crashed'");
await_tasks($node, 120);

# What each came to, by decisions alone.
is(query("SELECT count(*) FROM payments WHERE payment_id >= $first"), $each * @agents, 'every payment came in');
my %ends = map { split /\|/, $_, 2 } split /\n/, query(<<"SQL");
SELECT agent, string_agg(what, ' ' ORDER BY what) FROM (
	SELECT DISTINCT agent, coalesce(failure, 'answered') AS what FROM agentpay.decisions
	 WHERE kind IN ('agent', 'fallback') AND row_id::int >= $first) AS x GROUP BY 1
SQL
foreach my $failure (qw(http_error rate_limited truncated not_json schema unknown_verdict uncertain))
{
	like($ends{"m_$failure"}, qr/^($failure|uncertain| )+$/, "all of m_$failure: $failure, or its dispatcher died");
}
like($ends{m_timeout}, qr/^timeout( uncertain)?$/, 'all of m_timeout ran into their time');
like($ends{m_low_confidence}, qr/^low_confidence( uncertain)?$/, 'all of m_low_confidence are unsure');
is($ends{m_inside}, 'answered', 'all of the built-in one are answered');
like($ends{m_killed}, qr/\bkilled\b/, 'some were killed');
like($ends{m_skipped}, qr/\bskipped\b/, 'some were skipped');
like($ends{m_crashed}, qr/\bskipped uncertain$/, 'some hung when the dispatcher died');
is(query("SELECT failure, count(*) FROM agentpay.decisions WHERE agent = 'm_over_budget' AND failure = 'over_budget' GROUP BY 1"),
	'over_budget|17', 'seven calls fit into the budget, of 24');

# Who was to be asked: all but of m_good, of whose payments a share was drawn.
is(query(<<"SQL"), '', 'one observation for each payment and agent: none twice, none missing');
SELECT p.payment_id, p.agent, count(d.decision_id) FROM payments p
  LEFT JOIN agentpay.decisions d ON d.row_id = p.payment_id::text AND d.agent = p.agent
   AND d.kind IN ('agent', 'fallback') AND d.repeat_no = 0
 WHERE p.payment_id >= $first AND p.agent <> 'm_good'
 GROUP BY 1, 2 HAVING count(d.decision_id) <> 1
SQL
is(query(<<"SQL"), '', 'nor of those that were drawn; and others have none');
SELECT p.payment_id, count(DISTINCT t.task_id), count(d.decision_id) FROM payments p
  LEFT JOIN agentpay._tasks t ON t.row_id = p.payment_id::text AND t.agent = p.agent AND t.repeat_no = 0
  LEFT JOIN agentpay.decisions d ON d.row_id = p.payment_id::text AND d.agent = p.agent
   AND d.kind IN ('agent', 'fallback') AND d.repeat_no = 0
 WHERE p.payment_id >= $first AND p.agent = 'm_good'
 GROUP BY 1 HAVING count(DISTINCT t.task_id) > 1 OR count(DISTINCT t.task_id) <> count(d.decision_id)
SQL
is(query("SELECT min(n), max(n), count(*) BETWEEN 1 AND 23 FROM (SELECT count(*) AS n FROM agentpay._tasks
	WHERE agent = 'm_good' AND repeat_no > 0 GROUP BY row_id) AS x"), '2|2|t', 'a share of them is asked twice more');

# The view against the decisions: S is the sum of its parts.
is(query(<<"SQL"), '', 'S = answered + each failure + open, in every row of the view');
SELECT agent, compared, invoked, pairs, failed, by_reason FROM agentpay.shadow_vs_rules
 WHERE agent LIKE 'm\\_%%' AND (invoked <> pairs + (SELECT coalesce(sum(value::int), 0) FROM jsonb_each_text(by_reason))
	OR failed <> invoked - pairs OR by_reason ? 'open' OR coverage <> round(pairs::numeric / invoked, 6))
SQL
is(query(<<"SQL"), '', 'and its parts are those of the record');
WITH v AS (
	SELECT agent, sum(invoked) AS s, sum(pairs) AS p FROM agentpay.shadow_vs_rules
	 WHERE agent LIKE 'm\\_%%' AND compared = 'effective' GROUP BY 1),
w AS (
	SELECT agent, key AS failure, sum(value::int) AS n FROM agentpay.shadow_vs_rules, jsonb_each_text(by_reason)
	 WHERE agent LIKE 'm\\_%%' AND compared = 'effective' GROUP BY 1, 2),
d AS (
	SELECT agent, failure, count(*) AS n FROM agentpay.decisions
	 WHERE agent LIKE 'm\\_%%' AND kind IN ('agent', 'fallback') AND repeat_no = 0 GROUP BY 1, 2)
SELECT 'asked', agent, s::text FROM v WHERE s <> (SELECT sum(n) FROM d WHERE d.agent = v.agent)
	OR agent <> 'm_good' AND s <> $each
UNION ALL
SELECT 'answered', agent, p::text FROM v
 WHERE p <> (SELECT coalesce(sum(n), 0) FROM d WHERE d.agent = v.agent AND (failure IS NULL OR failure = 'low_confidence'))
UNION ALL
SELECT 'failed', coalesce(d.agent, w.agent), coalesce(d.failure, w.failure) FROM w
  FULL JOIN (SELECT * FROM d WHERE failure <> 'low_confidence') AS d ON d.agent = w.agent AND d.failure = w.failure
 WHERE w.n IS DISTINCT FROM d.n
SQL
no_excess($node, 'after the mixed load');

$node->stop;
done_testing();
