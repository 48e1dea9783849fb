# What agents do wrong: nothing of it becomes a verdict, holds up another
# agent, or costs less than it may have cost (FAULTS 19, 20, 22 to 24).
use strict;
use warnings;
use IO::Socket::INET;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('faults');

# The bound is what a call holds: each byte of its request at 1 USD a million,
# 500 tokens of output at 2.
my $bound = <<'SQL';
SELECT bool_and(cost = reserved_cost AND reserved_cost > 0.001) FROM agentpay.agent_calls WHERE agent = '%s'
SQL
my $free = "SELECT bool_and(cost = 0) FROM agentpay.agent_calls WHERE agent = '%s'";

sub query { return $node->safe_psql('postgres', sprintf($_[0], @_[ 1 .. $#_ ])); }

# ── a normal answer ─────────────────────────────────────────────────────────
add_agent($node, 'good');
ask($node, 'good', 1, 1, 12.5);
ask($node, 'good', 2, 2, 5000);
await_tasks($node);
is(decisions($node, 'good'), "agent||approve|approve|1\nagent||decline|decline|1", 'an agent answers');
is(query("SELECT bool_and(cost < reserved_cost AND cost = (input_tokens * 1 + output_tokens * 2) / 1e6::numeric)
	FROM agentpay.agent_calls WHERE agent = 'good'"), 't', 'and its true cost is charged');
is(query('SELECT outcome FROM payments WHERE payment_id = 2') || 'approve', 'approve',
	'in shadow the payment keeps the verdict of the rules');
my ($call) = journal('normal');
is(scalar(() = $call->{headers}{'idempotency-key'} =~ /^[0-9a-f-]{36}$/), 1, 'a call has its idempotency key');
is(query("SELECT count(*) FROM agentpay.agent_calls WHERE agent = 'good'
	AND request_sha256 = sha256(convert_to(\$b\$$call->{body}\$b\$, 'UTF8'))"), '1', 'the record has the hash of what was sent');

# ── 24: an answer that must not be believed ─────────────────────────────────
# Large payments: whatever these say, it would be decline.  Each is charged.
# What the reader does not take counts as no JSON: U+0000, which text cannot
# hold, keys twice, and depth among it.
my %typed = (
	'truncated-json' => 'not_json', 'duplicate-keys' => 'not_json', 'nan' => 'not_json',
	'deep' => 'not_json', 'nul' => 'not_json', 'bad-utf8' => 'not_json',
	'prose' => 'not_json', 'fenced' => 'not_json', 'html' => 'not_json', 'empty' => 'not_json',
	'unknown-verdict' => 'unknown_verdict', 'confidence-7' => 'schema',
	'extra-key' => 'schema', 'prose-reasons' => 'schema', 'length' => 'truncated',
	'refusal' => 'schema', 'close' => 'truncated', 'redirect' => 'http_error',
	'huge' => 'truncated', 'huge-length' => 'truncated', 'endless-headers' => 'truncated',
	'500' => 'http_error');
my $id = 1000;
foreach my $behaviour (sort keys %typed)
{
	(my $agent = "bad_$behaviour") =~ tr/-/_/;
	add_agent($node, $agent, behaviour => $behaviour, max_attempts => 1);
	ask($node, $agent, ++$id, $id, 5000);
}
await_tasks($node);
foreach my $behaviour (sort keys %typed)
{
	(my $agent = "bad_$behaviour") =~ tr/-/_/;
	my $failure = query("SELECT failure FROM agentpay.decisions WHERE agent = '%s'", $agent);
	is($failure, $typed{$behaviour}, "$behaviour: $failure");
	is(query("SELECT kind, verdict, answer FROM agentpay.decisions WHERE agent = '%s'", $agent),
		'fallback|approve|', "$behaviour: the rules stand");
	is(query("SELECT count(*) FROM agentpay.agent_calls WHERE agent = '%s' AND status = '$failure'", $agent), '1',
		"$behaviour: the call says the same");
}
is(query("SELECT bool_and(cost > 0) FROM agentpay.agent_calls WHERE agent LIKE 'bad%' AND agent <> 'bad_redirect'"),
	't', 'a bad answer is paid for all the same');
# A server that packs a gigabyte answers nobody else meanwhile.  We accept no
# encoding, so what comes is a megabyte that is no JSON, or too much.
add_agent($node, 'gzip_bomb', behaviour => 'gzip-bomb', max_attempts => 1, timeout_ms => 60000);
ask($node, 'gzip_bomb', ++$id);
await_tasks($node);
like(decisions($node, 'gzip_bomb'), qr/^fallback\|(not_json|truncated)\|approve\|\|1$/, 'gzip-bomb: never unpacked');
is(query("SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'agentpay dispatcher'"), '1', 'the dispatcher lives');

# ── wrong token counts ──────────────────────────────────────────────────────
foreach my $behaviour (qw(usage-missing usage-negative usage-absurd))
{
	(my $agent = $behaviour) =~ tr/-/_/;
	add_agent($node, $agent, behaviour => $behaviour);
	ask($node, $agent, ++$id);
	await_tasks($node);
	is(decisions($node, $agent), 'agent||approve|approve|1', "$behaviour: the answer counts");
	is(query($bound, $agent), 't', "$behaviour: charged at the bound");
}

# ── 20: slow headers, a byte a second ───────────────────────────────────────
foreach my $behaviour (qw(slow-headers drip hang))
{
	(my $agent = $behaviour) =~ tr/-/_/;
	add_agent($node, $agent, behaviour => $behaviour, timeout_ms => 300);
	ask($node, $agent, ++$id);
	await_tasks($node);
	is(decisions($node, $agent), 'fallback|timeout|approve||1', "$behaviour: time-out");
	is(query($bound, $agent), 't', "$behaviour: settled at the bound");
	is(query("SELECT count(*), max(latency_ms) BETWEEN 290 AND 2000 FROM agentpay.agent_calls WHERE agent = '%s'", $agent),
		'1|t', "$behaviour: at its time, and not repeated");
}

# ── 22, 23: retries ─────────────────────────────────────────────────────────
add_agent($node, 'reset', behaviour => 'reset', max_attempts => 3);
ask($node, 'reset', ++$id);
await_tasks($node);
is(decisions($node, 'reset'), 'fallback|uncertain|approve||1', 'reset after the request: uncertain');
is(scalar(journal('reset')), 1, 'and not blindly repeated');
is(query("SELECT DISTINCT h.state FROM agentpay.budget_holds h JOIN agentpay.tasks t USING (task_id) WHERE agent = 'reset'"),
	'uncertain', 'its hold says so');
is(query($bound, 'reset'), 't', 'at the bound');

add_agent($node, 'again', behaviour => 'fail-first-2', max_attempts => 3);
ask($node, 'again', ++$id);
await_tasks($node);
is(decisions($node, 'again'), 'agent||approve|approve|1', '503 twice, then an answer');
is(query("SELECT string_agg(attempt || ' ' || status || ' ' || http_status, ', ' ORDER BY attempt) FROM agentpay.agent_calls WHERE agent = 'again'"),
	'1 http_error 503, 2 http_error 503, 3 ok 200', 'each attempt is on record');
my %keys = map { $_->{headers}{'idempotency-key'} => 1 } journal('fail-first-2');
is(scalar(keys %keys), 1, 'all with one idempotency key');

foreach my $wait ('-1', '1000000000', 'date')
{
	(my $agent = "wait_$wait") =~ tr/-/m/;
	add_agent($node, $agent, behaviour => "429-$wait", max_attempts => 2);
	ask($node, $agent, ++$id);
}
await('Retry-After of -1 is tried again at once',
	sub { decisions($node, 'wait_m1') eq 'fallback|rate_limited|approve||1' });
is(query($free, 'wait_m1'), 't', 'a refused call costs nothing');
foreach my $agent (qw(wait_1000000000 wait_date))
{
	await("$agent waits", sub { query("SELECT attempts FROM agentpay.tasks WHERE agent = '$agent'") eq '1' });
	is(query("SELECT state, run_after BETWEEN agentpay._now() + interval '30 s' AND agentpay._now() + interval '61 s'
		FROM agentpay.tasks WHERE agent = '$agent'"), 'leased|t', "$agent: clamped to a minute");
}
is(query("SELECT count(*) FROM agentpay.budget_holds WHERE state = 'held'"), '0', 'nothing is held while they wait');

# ── 19: black holes hold up nobody ──────────────────────────────────────────
# A listener whose queue is full answers no SYN; a name server that is not there
# looks the same.  Two such agents want all that may be in flight.
my $hole = IO::Socket::INET->new(Listen => 1, LocalAddr => '127.0.0.1', Proto => 'tcp') or die "could not listen: $!";
my @queue;
push @queue, IO::Socket::INET->new(PeerAddr => '127.0.0.1', PeerPort => $hole->sockport, Proto => 'tcp', Blocking => 0, Timeout => 0)
  for 1 .. 8;
$node->safe_psql('postgres', "ALTER SYSTEM SET agentpay.max_in_flight = 16");
$node->safe_psql('postgres', "ALTER SYSTEM SET agentpay.connect_timeout = '20s'");
$node->reload;
foreach my $agent (qw(hole_a hole_b))
{
	add_agent($node, $agent, endpoint => 'http://127.0.0.1:' . $hole->sockport . '/v1', timeout_ms => 20000, max_attempts => 1);
	ask($node, $agent, $id + 1, $id + 100);
	$id += 100;
}
await('the black holes have what they can get', sub { in_flight($node) >= 12 });
ask($node, 'good', 101, 160);
await('another agent answers all the same',
	sub { query("SELECT count(*) FROM agentpay.decisions WHERE agent = 'good' AND kind = 'agent' AND row_id::int > 100") eq '60' }, 15);
is(query("SELECT count(*) FROM agentpay.decisions WHERE agent LIKE 'hole%'"), '0', 'while the black holes still hang');

$node->stop;
done_testing();
