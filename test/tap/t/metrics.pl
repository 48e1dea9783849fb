# The view metrics: its counters are what the logs hold, counted once, whatever
# happens to the governor; docs/monitoring has a query for each metric, which
# runs with the privileges that docs/operations.md grants.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('metrics');
sub query { return $node->safe_psql('postgres', $_[0]); }

add_agent($node, 'good', cost_center => 'risk', price_per_call => 0.5);
add_agent($node, 'broken', behaviour => '500', max_attempts => 1);
add_agent($node, 'embedded', protocol => 'builtin');
add_agent($node, 'killed');
query("UPDATE agentpay.kill_switches SET engaged = true WHERE target = 'killed'");
query("INSERT INTO agentpay.guardrails (agent, metric, bound, action) VALUES ('good', 'error_rate', 0.5, 'alert')");
query("INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('fraud', 'ZERO', '1 / amount > 2', 1); SELECT agentpay.activate('fraud')");
ask($node, 'good', 1, 30);
ask($node, 'broken', 101, 103);
ask($node, 'embedded', 201, 204);
ask($node, 'killed', 301, 302);
ask($node, 'nobody', 401, 401, 0);
ask($node, 'nobody', 402, 402, 20000);
query("SELECT agentpay.record_outcome('fraud', 1, 'fraud')");
await_tasks($node);

# What the counters must be, by plain SQL over the whole logs.
my $truth = <<'SQL';
SELECT 'agentpay_decisions_total' AS metric,
	jsonb_build_object('point', point, 'kind', kind, 'authority', authority, 'verdict', verdict) AS labels, count(*)::numeric AS value
  FROM agentpay.decisions WHERE repeat_no = 0 GROUP BY 2
UNION ALL SELECT 'agentpay_fallbacks_total', jsonb_build_object('point', point, 'agent', agent, 'failure', failure), count(*)
  FROM agentpay.decisions WHERE repeat_no = 0 AND failure IS NOT NULL GROUP BY 2
UNION ALL SELECT 'agentpay_scoring_errors_total', '{"point": "fraud"}', count(*)
  FROM agentpay.decisions WHERE detail -> 'errors' IS NOT NULL AND kind = 'rules'
UNION ALL SELECT 'agentpay_labels_total', jsonb_build_object('point', point, 'label', label, 'source', source), count(*)
  FROM agentpay.outcomes GROUP BY 2
UNION ALL SELECT 'agentpay_calls_total', jsonb_build_object('agent', agent, 'status', status), count(*)
  FROM agentpay.agent_calls GROUP BY 2
UNION ALL SELECT 'agentpay_cost_usd_total', jsonb_build_object('agent', agent, 'cost_center', cost_center), sum(cost)
  FROM agentpay.agent_calls GROUP BY 2
UNION ALL SELECT 'agentpay_tokens_total', jsonb_build_object('agent', agent, 'direction', 'input'), sum(input_tokens)
  FROM agentpay.agent_calls GROUP BY 2 HAVING sum(input_tokens) > 0
UNION ALL SELECT 'agentpay_tokens_total', jsonb_build_object('agent', agent, 'direction', 'output'), sum(output_tokens)
  FROM agentpay.agent_calls GROUP BY 2 HAVING sum(output_tokens) > 0
UNION ALL SELECT 'agentpay_call_seconds_count', jsonb_build_object('agent', agent), count(*)
  FROM agentpay.agent_calls WHERE latency_ms IS NOT NULL GROUP BY 2
UNION ALL SELECT 'agentpay_call_seconds_bucket', jsonb_build_object('agent', agent, 'le', le), count(*)
  FROM agentpay.agent_calls, unnest('{0.05,0.1,0.25,0.5,1,2.5,5,10,30,60,+Inf}'::text[]) AS le
 WHERE latency_ms <= 1000 * le::float8 GROUP BY 2
SQL
sub counted
{
	my ($what) = @_;
	my $different = <<"SQL";
SELECT metric, labels, t.value, m.value FROM ($truth) AS t
  FULL JOIN (SELECT * FROM agentpay._metric_counts WHERE metric <> 'agentpay_call_seconds_sum') AS m USING (metric, labels)
 WHERE t.value IS DISTINCT FROM m.value ORDER BY 1, 2
SQL
	await("$what: the counters are what the logs hold", sub { query($different) eq '' })
	  or diag(query($different));
	is(query($different), '', "$what: the counters are what the logs hold");
	return;
}

counted('at first');
is(query("SELECT sum(value) FROM agentpay.metrics WHERE metric = 'agentpay_decisions_total' AND labels ->> 'kind' = 'rules'"), '41',
	'a rules decision for each of 41 payments');
is(query("SELECT labels ->> 'failure', value FROM agentpay.metrics WHERE metric = 'agentpay_fallbacks_total' ORDER BY 1"),
	"http_error|3\nkilled|2", 'why the rules stand');
is(query("SELECT value FROM agentpay.metrics WHERE metric = 'agentpay_scoring_errors_total'"), '1', 'a division by zero');
is(query("SELECT abs(value - (SELECT sum(latency_ms) / 1000 FROM agentpay.agent_calls WHERE agent = 'good')) < 1e-9
	FROM agentpay.metrics WHERE metric = 'agentpay_call_seconds_sum' AND labels ->> 'agent' = 'good'"), 't', 'the time of the calls');

# ── once, whatever happens ──────────────────────────────────────────────────
# A transaction that began before a count and commits after it.
my $long = session($node);
$long->('BEGIN; ' . AgentpayTest::ask_sql('good', 501, 503, 1));
ask($node, 'good', 601, 605);
await_tasks($node);
counted('while a transaction is open');
$long->('COMMIT');
$long->();
await_tasks($node);
counted('after it');
kill 'TERM', worker_pid($node, 'governor');
ask($node, 'embedded', 701, 702);
await('the governor is back', sub { worker_pid($node, 'governor') =~ /\d/ });
await_tasks($node);
counted('after another governor');
query("DELETE FROM agentpay._metric_state");
ask($node, 'embedded', 801, 801);
await_tasks($node);
counted('counted anew');

# ── gauges ──────────────────────────────────────────────────────────────────
sub gauge { return query("SELECT value FROM agentpay.metrics WHERE metric = 'agentpay_$_[0]'" . ($_[1] ? " AND labels @> '$_[1]'" : '')); }
is(gauge('kill_switch_engaged', '{"target": "killed"}'), '1', 'a kill switch');
is(gauge('agent_stage', '{"agent": "good"}'), '0', 'a stage');
is(gauge('budget_cap_usd', '{"budget": "hour"}'), '100', 'a cap');
is(query("SELECT value = (SELECT settled FROM agentpay.budget_status WHERE name = 'hour') FROM agentpay.metrics
	WHERE metric = 'agentpay_budget_used_usd' AND labels @> '{\"budget\": \"hour\", \"state\": \"settled\"}'"), 't', 'what was spent');
is(gauge('workers', '{"worker": "governor"}'), '1', 'the governor runs');
is(gauge('held'), '0', 'no copy');
await('the log is sealed', sub { gauge('log_seal_lag_seconds') eq '0' });
is(gauge('log_seal_lag_seconds'), '0', 'every row has its leaf');
cmp_ok(gauge('log_tree_size'), '>', 100, 'the leaves');
$node->append_conf('postgresql.conf', 'agentpay.workers_enabled = off');
$node->restart;
ask($node, 'good', 901, 904);
is(gauge('queue_tasks', '{"agent": "good", "state": "queued"}'), '4', 'what waits');
cmp_ok(gauge('queue_oldest_seconds', '{"agent": "good"}'), '>', 0, 'and for how long');
is(gauge('workers', '{"worker": "dispatcher"}') || 0, '0', 'nobody works on it');
cmp_ok(gauge('log_seal_lag_seconds'), '>', 0, 'nor seals it');

# ── the exporter ────────────────────────────────────────────────────────────
my ($grants) = slurp_file("$ENV{AGENTPAY_TREE}/docs/operations.md") =~ /^(CREATE ROLE monitor.*?)^```/ms;
query($grants);
my $collector = slurp_file("$ENV{AGENTPAY_TREE}/docs/monitoring/agentpay.collector.yml");
my %known;
foreach my $entry (split /^  - metric_name: /m, $collector)
{
	next unless $entry =~ /^(agentpay_\w+)$/m;
	my $metric = $1;
	my ($type) = $entry =~ /^    type: (\w+)$/m;
	my ($labels) = $entry =~ /^    key_labels: \[(.*)\]$/m;
	my ($sql) = $entry =~ /^    query: (.*)$/m;
	my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE monitor; CREATE TEMP TABLE t AS $sql;
		SELECT string_agg(attname, ', ' ORDER BY attnum) FROM pg_attribute WHERE attrelid = 't'::regclass AND attnum > 0");
	is($out, join(', ', grep { $_ } $labels, 'value'), "$metric: its query gives its labels") or diag($err);
	is($type, $metric =~ /_(total|bucket|count|sum)$/ ? 'counter' : 'gauge', "$metric: its type");
	$known{$metric} = join ', ', sort split /, /, $labels // '';
}
my @there = map { [ split /\|/, $_, -1 ] } split /\n/, query(<<'SQL');
SELECT DISTINCT metric, (SELECT string_agg(k, ', ' ORDER BY k COLLATE "C") FROM jsonb_object_keys(labels) AS k) FROM agentpay.metrics
SQL
my @other = grep { ($known{ $_->[0] } // 'none') ne $_->[1] } @there;
is_deeply(\@other, [], 'the view has no other metric, and no other label')
  or diag(join ' ', map { "@$_" } @other);
cmp_ok(scalar(@there), '>', 30, 'of which there are many');
my ($described) = slurp_file("$ENV{AGENTPAY_TREE}/docs/reference/views.md") =~ /^## metrics$(.*?)^## /ms;
is_deeply([ sort grep { $described !~ /`$_`/ } keys %known ], [], 'the reference has each of them');

$node->stop;
done_testing();
