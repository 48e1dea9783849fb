# Every protocol, well and badly, through a real server: nothing that should not
# be believed becomes a verdict, whatever the protocol wraps it in (FAULTS 24).
use strict;
use warnings;
use Test::More;
use AgentpayTest;

my $url = start_agents();
my $node = new_ledger('dialects');
sub query { return $node->safe_psql('postgres', $_[0]); }

open(my $secret, '>', $node->basedir . '/aws') or die "could not write: $!";
print $secret '{"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"}';
close $secret;
my %paths = (verdict => 'verdict', confidence => 'confidence', reasons => 'reasons', score => 'score', explanation => 'explanation');
my $paths = join ', ', map { "\"$_\": \"\$.$_\"" } sort keys %paths;
my %dialects = (
	openai => {},
	anthropic => { protocol => 'anthropic' },
	bedrock => { protocol => 'bedrock', model => 'eu.model-v1:0', options => '{"region": "us-east-1"}', secret => 'file:' . $node->basedir . '/aws' },
	http => { protocol => 'http', price_per_call => 0.01, path => '/score', options => "{\"answer_paths\": {$paths}}" });
my $id = 0;

# An agent of a dialect with a behaviour; returns its name.
sub add
{
	my ($dialect, $behaviour, %with) = @_;
	my %row = (%{ $dialects{$dialect} }, %with);
	(my $name = "${dialect}_$behaviour") =~ tr/-/_/;
	my $endpoint = "$url/$behaviour" . (delete $row{path} // '');
	add_agent($node, $name, endpoint => $endpoint, %row);
	return $name;
}

# ── well ────────────────────────────────────────────────────────────────────
# The server decides by the amount: below 100, between, from 1000.
foreach my $dialect (sort keys %dialects)
{
	my $agent = add($dialect, 'normal');
	ask($node, $agent, ++$id, $id, $_) foreach 12.5, 500, 5000;
}
await_tasks($node);
foreach my $dialect (sort keys %dialects)
{
	my $agent = "${dialect}_normal";
	is(query("SELECT string_agg(verdict, ' ' ORDER BY amount) FROM agentpay.decisions WHERE agent = '$agent' AND kind = 'agent'"),
		'approve review decline', "$dialect: answers");
	is(query("SELECT string_agg(score::text || reasons::text, ' ' ORDER BY amount) FROM agentpay.decisions WHERE agent = '$agent'"),
		'0.0063{amount_low} 0.25{amount_high} 1{amount_high}', "$dialect: with score and reasons");
	is(query("SELECT bool_and(cost > 0 AND cost <= reserved_cost) FROM agentpay.agent_calls WHERE agent = '$agent'"), 't', "$dialect: within its bound");
}

# ── a score alone: as a builtin agent's model is judged ─────────────────────
my $thresholds = '{"thresholds": {"review": 0.25, "decline": 0.75}}';
my $score = '"answer_paths": {"score": "/score"}';
add_agent($node, 'scored', endpoint => "$url/normal/score", %{ $dialects{http} }{qw(protocol price_per_call)},
	min_confidence => 0, options => "{$score, \"thresholds\": {\"review\": 0.25, \"decline\": 0.75}}");
add_agent($node, 'halved', endpoint => "$url/normal/score", %{ $dialects{http} }{qw(protocol price_per_call)},
	min_confidence => 0, options => "{$score}");
query("INSERT INTO payments (payment_id, agent, amount)
	SELECT $id + g, CASE g % 2 WHEN 0 THEN 'scored' ELSE 'halved' END, 25 * (g / 2) FROM generate_series(1, 164) AS g");
$id += 164;
await_tasks($node);
is(query("SELECT count(*), count(DISTINCT answer) FROM agentpay.decisions WHERE agent = 'scored'"), '82|3', 'every verdict occurs');
is(query("SELECT count(*) FROM agentpay.decisions d
	CROSS JOIN LATERAL agentpay._builtin_verdict('fraud', d.score::float8, CASE d.agent WHEN 'scored' THEN '$thresholds' ELSE '{}' END::jsonb) AS v
	WHERE agent IN ('scored', 'halved') AND (d.answer <> v.verdict
		OR abs(d.confidence - CASE WHEN v.positive THEN d.score ELSE 1 - d.score END) > 1e-6)"), '0',
	'a score becomes the verdict and the confidence that a builtin agent would give');

# ── badly ───────────────────────────────────────────────────────────────────
# What the reader does not take as JSON breaks the envelope, where there is one.
my %typed = (
	'truncated-json' => 'not_json', 'duplicate-keys' => 'not_json', 'nan' => 'not_json', 'deep' => 'not_json',
	'nul' => 'not_json', 'bad-utf8' => 'not_json', 'prose' => 'not_json', 'fenced' => 'not_json', 'html' => 'not_json',
	'empty' => 'not_json', 'unknown-verdict' => 'unknown_verdict', 'confidence-7' => 'schema', 'extra-key' => 'schema',
	'prose-reasons' => 'schema', 'length' => 'truncated', 'refusal' => 'schema', 'close' => 'truncated',
	'429' => 'rate_limited', '500' => 'http_error');
# A service has no way to say these; what has no path is not read.
my %not_http = map { $_ => 1 } qw(extra-key length refusal);
my %agents;
foreach my $dialect (qw(anthropic bedrock http))
{
	foreach my $behaviour (sort keys %typed)
	{
		next if $dialect eq 'http' && $not_http{$behaviour};
		$agents{ add($dialect, $behaviour, max_attempts => 1) } = $typed{$behaviour};
	}
}
# Large payments: whatever these say, it would be decline.
query("INSERT INTO payments (payment_id, agent, amount) SELECT $id + row_number() OVER (), name, 5000
	FROM agentpay.agents WHERE name = ANY ('{@{[ join ',', sort keys %agents ]}}')");
$id += 1000;
await_tasks($node);
my %found = map { split /=/ } split /\n/, query(
	"SELECT d.agent || '=' || concat_ws(' ', d.failure, d.kind, d.verdict, coalesce(d.answer, '-'), c.status, (c.cost > 0)::text)
	FROM agentpay.decisions d JOIN agentpay.agent_calls c USING (decision_id) WHERE d.kind = 'fallback'");
foreach my $agent (sort keys %agents)
{
	my $paid = $agents{$agent} eq 'rate_limited' ? 'false' : 'true';
	is($found{$agent}, "$agents{$agent} fallback approve - $agents{$agent} $paid", "$agent: typed, the rules stand, paid for or not");
}
is(scalar(keys %found), scalar(keys %agents), 'and nothing else failed');
my %count;
$count{$_}++ foreach values %agents;
is(query("SELECT string_agg(x.failure || ' ' || x.n, ', ' ORDER BY x.failure) FROM (
	SELECT f.failure, sum(f.n::int) AS n FROM agentpay.shadow_vs_rules s, jsonb_each_text(s.by_reason) AS f (failure, n)
	WHERE s.compared = 'answer' GROUP BY 1) AS x"),
	join(', ', map { "$_ $count{$_}" } sort keys %count), 'each is counted by its type');

# ── a server that refuses the schema ────────────────────────────────────────
foreach my $dialect (qw(openai anthropic bedrock))
{
	my $agent = add($dialect, 'no-schema');
	ask($node, $agent, ++$id, $id, 500);
	await_tasks($node);
	is(query("SELECT string_agg(attempt || ' ' || status || ' ' || coalesce(http_status, 0) || ' ' || (cost > 0), ', ' ORDER BY attempt)
		FROM agentpay.agent_calls WHERE agent = '$agent'"), '1 http_error 400 false, 2 ok 200 true', "$agent: asked again, more plainly");
	ask($node, $agent, $id + 1, $id + 5, 500);
	$id += 5;
	await_tasks($node);
	is(query("SELECT count(*), count(*) FILTER (WHERE status <> 'ok') FROM agentpay.agent_calls WHERE agent = '$agent'"), '7|1',
		"$agent: which is kept");
	query("UPDATE agentpay.agents SET max_output_tokens = 400 WHERE name = '$agent'");
	ask($node, $agent, ++$id, $id, 500);
	await_tasks($node);
	is(query("SELECT count(*) FILTER (WHERE status <> 'ok') FROM agentpay.agent_calls WHERE agent = '$agent'"), '2',
		"$agent: for this version");
}
is(query("SELECT count(*) FROM agentpay.decisions d JOIN agentpay.agents a ON a.name = d.agent
	WHERE a.name LIKE '%no_schema' AND d.kind = 'agent'"), '21', 'all were answered');

no_excess($node, 'afterwards');
$node->stop;
done_testing();
