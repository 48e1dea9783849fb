# One agent of each protocol against peers that others wrote, end to end: what
# they are sent is what they understand, and what they answer is what is read.
# The peers come from npm (scripts/peers); without them nothing is tested here.
use strict;
use warnings;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

my $peers = $ENV{AGENTPAY_PEERS};
plan skip_all => 'the peers that others wrote are not installed' unless $peers;

# ── the peers ───────────────────────────────────────────────────────────────
my $dir = File::Temp->newdir(CLEANUP => 1);
my $pid = fork();
die "could not fork: $!" unless defined $pid;
if ($pid == 0)
{
	open(STDOUT, '>', "$dir/log");
	open(STDERR, '>&', \*STDOUT);
	chdir $peers or POSIX::_exit(1);
	exec('node', 'peers.mjs', "$dir/urls") or POSIX::_exit(1);
}
END
{
	my $status = $?;
	if ($pid)
	{
		kill 'TERM', $pid;
		waitpid($pid, 0);
	}
	$? = $status;
}
await('the peers listen', sub { -s "$dir/urls" }, 120);
my $urls = decode_json(slurp_file("$dir/urls"));
my ($aimock, $aws) = @{$urls}{qw(aimock aws)};

sub fetch
{
	my $answer = HTTP::Tiny->new->get($_[0]);
	die "no answer: $answer->{status} $answer->{content}" unless $answer->{success};
	return @{ decode_json($answer->{content}) };
}

# The calls that aimock has seen at a path.
sub seen { my ($path) = @_; return grep { $_->{path} =~ $path } fetch("$aimock/__aimock/journal?limit=1000"); }

# ── the ledger ──────────────────────────────────────────────────────────────
start_agents();
my $node = new_ledger('peers');
sub query { return $node->safe_psql('postgres', $_[0]); }

sub secret
{
	my ($name, $text) = @_;
	append_to_file("$dir/$name", $text);
	return "file:$dir/$name";
}
query('ALTER TABLE payments ADD COLUMN input text');
query("INSERT INTO agentpay.data_policies VALUES ('payments', 'input', 'free_text', 'pass')");
my $key = secret('key', "sentinel-key-1\n");
my %bedrock = (protocol => 'bedrock', model => 'anthropic.claude-3-haiku-20240307-v1:0');
my $region = '"region": "us-east-1"';
my $pair = '"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"';
my $json = secret('json', "{\"Version\": 1, $pair, \"SessionToken\": \"token/with+signs==\"}");
my $ini = secret('ini', "[other]\naws_access_key_id = X\n[pay]\naws_access_key_id = AKIDEXAMPLE\n"
	  . "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY\n");
my $expired = secret('expired', "{$pair, \"Expiration\": \"2020-01-01T00:00:00Z\"}");
my $wrong = secret('wrong', '{"AccessKeyId": "AKIDEXAMPLE", "SecretAccessKey": "another"}');

my %agents = (
	openai => { endpoint => "$aimock/v1", model => 'gpt-test', options => '{"actions": {"decline": "refund"}, "seed": 7}' },
	azure => { endpoint => "$aimock/openai/deployments/gpt-azure", model => 'gpt-azure', options => '{"api_version": "2024-10-21"}' },
	no_schema => { endpoint => "$aimock/v1", model => 'no-schema' },
	anthropic => { protocol => 'anthropic', endpoint => $aimock, model => 'claude-test' },
	bedrock => { %bedrock, endpoint => $aimock, secret => $json, options => "{$region}" },
	scores => { protocol => 'http', endpoint => "$aimock/v1/moderations", model => undef, fields => '{input}', price_per_call => 0.001,
		price_input_per_million => undef, price_output_per_million => undef,
		options => '{"answer_paths": {"score": "$.results[0].category_scores.illicit", "model": "/model", "request_id": "/id"},
			"thresholds": {"review": 0.3, "decline": 0.8}}' },
	inside => { protocol => 'builtin' },
	limited => { endpoint => "$aimock/v1", model => 'limited', max_attempts => 1 },
	overloaded => { protocol => 'anthropic', endpoint => $aimock, model => 'overloaded', max_attempts => 2 },
	prose => { protocol => 'anthropic', endpoint => $aimock, model => 'prose' },
	cut => { endpoint => "$aimock/v1", model => 'cut' },
	sdk => { %bedrock, endpoint => $aws, secret => $json, options => "{$region}" },
	sdk_ini => { %bedrock, endpoint => $aws, secret => $ini, options => "{$region, \"profile\": \"pay\"}", model => 'amazon.nova-lite-v1:0' },
	sdk_arn => { %bedrock, endpoint => $aws, secret => $ini, options => "{$region, \"profile\": \"pay\"}",
		model => 'arn:aws:bedrock:us-east-1:1:inference-profile/us.x' },
	sdk_wrong => { %bedrock, endpoint => $aws, secret => $wrong, options => "{$region}" },
	sdk_expired => { %bedrock, endpoint => $aws, secret => $expired, options => "{$region}" });
my $id = 0;
my %payment;
foreach my $agent (sort keys %agents)
{
	my %with = %{ $agents{$agent} };
	$with{secret} //= $key unless $agent eq 'inside';
	add_agent($node, $agent, %with);
	$payment{$agent} = ++$id;
	query("INSERT INTO payments (payment_id, agent, amount, memo, input)
		VALUES ($id, '$agent', 12.5, 'lunch, card 4111 1111 1111 1111', 'a stolen phone')");
}
await_tasks($node);

# kind, failure, verdict, answer of an agent's one decision
sub decided
{
	my ($agent, $expected, $what) = @_;
	is(query("SELECT kind, failure, verdict, answer FROM agentpay.decisions WHERE agent = '$agent'"), $expected, "$agent: $what");
	return;
}

# ── answers ─────────────────────────────────────────────────────────────────
decided($_, 'agent||review|review', 'the verdict of the peer') foreach qw(openai azure no_schema anthropic bedrock);
decided('scores', 'agent||decline|decline', 'a score of 0.9 against 0.3 and 0.8');
# the model says 0.5 of every row: no less than 0.5, so the tightest positive verdict
decided('inside', 'agent||decline|decline', 'the embedded model');
is(query("SELECT confidence, score, reasons, detail ->> 'explanation' FROM agentpay.decisions WHERE agent = 'openai'"),
	'0.8|0.4|{odd_hour}|Paid by [EMAIL] at night.', 'the whole answer is kept, the explanation redacted');
is(query("SELECT bool_and(authority = 'shadow') FROM agentpay.decisions WHERE agent IS NOT NULL"), 't', 'all in shadow');
is(query("SELECT confidence, score, cost FROM agentpay.decisions WHERE agent = 'scores'"), '0.9|0.9|0.001', 'a scoring service and its price');

# 50 tokens at 1 USD a million, 12 at 2: 74 millionths.
is(query("SELECT string_agg(agent || ' ' || input_tokens || ' ' || output_tokens || ' ' || cost * 1e6, ', ' ORDER BY agent)
	FROM agentpay.agent_calls WHERE agent IN ('openai', 'azure', 'anthropic', 'bedrock')"),
	join(', ', map { "$_ 50 12 74.000000" } qw(anthropic azure bedrock openai)), 'tokens and cost are read per provider')
  or diag(query("SELECT agent, input_tokens, output_tokens, cost FROM agentpay.agent_calls ORDER BY 1"));
is(query("SELECT string_agg(agent || ' ' || provider || ' ' || request_model || ' ' || coalesce(response_model, '-')
		|| ' ' || finish_reason, ', ' ORDER BY agent) FROM agentpay.agent_calls WHERE agent IN ('openai', 'anthropic', 'bedrock')"),
	'anthropic anthropic claude-test claude-test tool_use, '
	  . "bedrock bedrock $bedrock{model} - tool_use, openai openai gpt-test gpt-test stop", 'models and finish reasons');
like(query("SELECT request_id FROM agentpay.agent_calls WHERE agent = '$_->[0]'"), $_->[1], "$_->[0]: the request's id")
  foreach [ openai => qr/^chatcmpl-/ ], [ anthropic => qr/^msg_/ ], [ scores => qr/^modr-/ ], [ sdk => qr/^aws-request-1$/ ];

# ── what was sent ───────────────────────────────────────────────────────────
my ($call) = grep { $_->{body}{model} eq 'gpt-test' } seen(qr{^/v1/chat/completions$});
is_deeply(decode_json($call->{body}{messages}[1]{content}), { amount => 12.5, memo => 'lunch, card [PAN]' },
	'openai: the treated fields and nothing else');
unlike($call->{body}{messages}[0]{content}, qr/lunch/, 'openai: not spliced into the instructions');
is($call->{body}{response_format}{json_schema}{schema}{additionalProperties}, JSON::PP::false, 'openai: a closed schema');
ok($call->{body}{seed} == 7 && !exists $call->{body}{actions}, 'openai: its own options are sent, those of agentpay are not');
($call) = seen(qr{^/openai/});
is($call->{path}, '/openai/deployments/gpt-azure/chat/completions?api-version=2024-10-21', 'azure: its form of URL');
ok($call->{headers}{'api-key'} && !$call->{headers}{authorization}, 'azure: its header');
($call) = grep { $_->{body}{model} eq 'claude-test' } seen(qr{^/v1/messages$});
ok($call->{headers}{'x-api-key'} && !$call->{headers}{authorization}, 'anthropic: its header');
is($call->{headers}{'anthropic-version'}, '2023-06-01', 'anthropic: its version');
is($call->{body}{max_tokens}, 500, 'anthropic: max_tokens');
is(query("SELECT count(*) FROM agentpay.agent_calls WHERE agent = 'anthropic' AND reserved_cost > cost"), '1', 'anthropic: within its bound');
($call) = seen(qr{^/model/});
is($call->{path}, '/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse', 'bedrock: the model in the path');
($call) = seen(qr{^/v1/moderations$});
is($call->{headers}{'idempotency-key'}, query("SELECT idempotency_key FROM agentpay._tasks WHERE agent = 'scores'"),
	'http: the idempotency key');

# ── a refused response_format ───────────────────────────────────────────────
is(query("SELECT string_agg(attempt || ' ' || status || ' ' || http_status || ' ' || (cost = 0), ', ' ORDER BY attempt)
	FROM agentpay.agent_calls WHERE agent = 'no_schema'"), '1 http_error 400 true, 2 ok 200 false', 'json_object after json_schema, refused free of charge');
query("INSERT INTO payments (payment_id, agent, amount) VALUES (100, 'no_schema', 1)");
await_tasks($node);
is(query("SELECT count(*) FROM agentpay.agent_calls WHERE agent = 'no_schema' AND row_id = '100'"), '1', 'which is kept for the next call');
is(query("SELECT bool_and(cost <= reserved_cost) FROM agentpay.agent_calls"), 't', 'no call costs more than was held');

# ── failures ────────────────────────────────────────────────────────────────
decided('limited', 'fallback|rate_limited|approve|', '429');
decided('overloaded', 'fallback|http_error|approve|', '529');
is(query("SELECT count(*), sum(cost) FROM agentpay.agent_calls WHERE agent = 'overloaded'"), '2|0', 'overloaded: tried again, free of charge');
decided('prose', 'fallback|not_json|approve|', 'prose instead of the tool');
decided('cut', 'fallback|truncated|approve|', 'cut at max_output_tokens');

# ── signatures ──────────────────────────────────────────────────────────────
decided($_, 'agent||decline|decline', 'signed as AWS wants it') foreach qw(sdk sdk_ini sdk_arn);
my %signed = map { ($_->{model} // $_->{path}) => $_ } fetch("$aws/journal");
foreach my $model (map { $agents{$_}{model} } qw(sdk sdk_ini sdk_arn))
{
	ok($signed{$model}{same}, "$model: the signature of AWS's own SDK");
	ok($signed{$model}{hash}, "$model: the hash of the body");
	cmp_ok($signed{$model}{age}, '<', 300_000, "$model: the time of the call");
}
is($signed{ $bedrock{model} }{token}, 'token/with+signs==', 'the session token goes along');
decided('sdk_wrong', 'fallback|http_error|approve|', 'a wrong secret is found out');
is(query("SELECT http_status FROM agentpay.agent_calls WHERE agent = 'sdk_wrong'"), '401', 'by the peer');
decided('sdk_expired', 'fallback|skipped|approve|', 'expired credentials are not used');
is(query("SELECT detail ->> 'error' FROM agentpay.decisions WHERE agent = 'sdk_expired'"), 'the AWS credentials have expired', 'and it says so');

# ── afterwards ──────────────────────────────────────────────────────────────
no_excess($node, 'afterwards');
unlike(slurp_file($node->logfile), qr/sentinel-key-1|wJalrXUtnFEMI/, 'the log has no keys');
is(query("SELECT count(*) FROM agentpay.agents a CROSS JOIN LATERAL agentpay.preview_call(a.name, (
	SELECT p.payment_id FROM payments p WHERE p.agent = a.name ORDER BY 1 LIMIT 1)) AS c
	WHERE (c.request IS NULL) <> (a.protocol = 'builtin') OR c.upper_bound_cost IS NULL"), '0', 'preview_call() knows each protocol');
is(query("SELECT string_agg(DISTINCT c.agent, ', ') FROM agentpay.agent_calls c CROSS JOIN LATERAL agentpay.preview_call(c.agent, c.row_id) AS p
	WHERE c.reserved_cost <> p.upper_bound_cost"), '', 'and what it costs at the most is what was held');

$node->stop;
done_testing();
