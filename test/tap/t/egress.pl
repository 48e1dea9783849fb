# The way out: certificates, an authority of one's own, HTTP/2, proxies, names
# that change or that nobody answers for (FAULTS 5, 19, 25, 26).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use AgentpayTest;
use AgentpayTls;

start_agents();
my $certificates = start_tls();
own_names();
# The server's environment has no say: this proxy would refuse everything.
my $env_proxy = 'http://127.0.0.1:' . port_of('proxy-refuse');
my $node = with_proxies(sub { new_ledger('egress', "agentpay.connect_timeout = '10s'") });
my $id = 0;

sub query { return $node->safe_psql('postgres', sprintf($_[0], @_[ 1 .. $#_ ])); }

# Starts a server with the variables that programs look for a proxy in.
sub with_proxies
{
	my ($start) = @_;
	local @ENV{qw(http_proxy https_proxy HTTPS_PROXY all_proxy ALL_PROXY)} = ($env_proxy) x 5;
	return $start->();
}

# The whole error of a statement that is refused.
sub refusal
{
	my ($sql) = @_;
	my ($status, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	return $status ? $error : 'accepted';
}

# One more payment for an agent, and what came of it.
sub ask_once
{
	my ($agent) = @_;
	ask($node, $agent, ++$id);
	await_tasks($node);
	return outcome($node, $agent);
}

sub tls_agent
{
	my ($name, $listener, %with) = @_;
	my $host = delete $with{host} // 'localhost';
	add_agent($node, $name, endpoint => "https://$host:" . port_of($listener) . '/' . (delete $with{behaviour} // 'normal'),
		max_attempts => 1, timeout_ms => 20000, %with);
	return;
}

# ── settings: what they may be, and whose they are ──────────────────────────
like(refusal("ALTER SYSTEM SET agentpay.egress_proxy = '$_->[0]'"), qr/ERROR:  22023: agentpay\.egress_proxy $_->[1].*HINT:  .*ALTER SYSTEM SET/s,
	"refused: $_->[0]")
  foreach [ 'ftp://proxy:3128', 'is not a proxy' ], [ 'proxy:3128', 'is not a proxy' ], [ 'http://proxy', 'is not a proxy' ],
  [ 'http://proxy:3128/x', 'is not a proxy' ], [ 'http://proxy:70000', 'is not a proxy' ], [ 'http://pro xy:1', 'is not a proxy' ],
  [ 'http://me:pa55word@proxy:3128', 'contains a user name or a password' ];
unlike(refusal("ALTER SYSTEM SET agentpay.egress_proxy = 'http://me:pa55word\@proxy:3128'"), qr/^(?!.*STATEMENT).*pa55word/m,
	'a password is not repeated');
like(refusal("ALTER SYSTEM SET agentpay.egress_proxy = E'http://proxy:1\\r\\nX: 1'"), qr/is not a proxy|newline/, 'nor is a line break taken');
unlike(refusal("ALTER SYSTEM SET agentpay.egress_proxy_secret = 'me:pa55word'"), qr/accepted|ERROR.*pa55word|DETAIL.*pa55word/, 'a secret is a reference');
like(refusal("ALTER SYSTEM SET agentpay.egress_proxy_secret = '$_'"), qr/is not a reference/, "no reference: $_")
  foreach 'file:proxy', 'env:', 'env:A-B', 'file:/a b';
like(refusal("ALTER SYSTEM SET agentpay.ca_file = 'ca.pem'"), qr/22023: agentpay\.ca_file is not an absolute path/, 'ca_file is a path');
query('CREATE ROLE clerk');
foreach my $setting (qw(egress_proxy egress_proxy_secret ca_file))
{
	like(refusal("SET SESSION AUTHORIZATION clerk; SET agentpay.$setting = ''"), qr/55P02/, "an ordinary role does not set $setting");
	like(refusal("SET SESSION AUTHORIZATION clerk; ALTER ROLE clerk SET agentpay.$setting = ''"), qr/55P02/, 'nor for itself');
	like(refusal("SET SESSION AUTHORIZATION clerk; SHOW agentpay.$setting"), qr/42501/, 'nor sees it');
}

# ── certificates ────────────────────────────────────────────────────────────
tls_agent('good', 'good');
is(ask_once('good'), 'http_error: http_error, the certificate is refused: unable to get local issuer certificate',
	'an authority of our own is not believed unasked');
set_and_reload($node, ca_file => "$certificates/ca.pem");
is(ask_once('good'), 'agent: ok', 'but as agentpay.ca_file it is');
my %problems = (
	'expired' => 'the certificate is refused: certificate has expired',
	'not-yet' => 'the certificate is refused: certificate is not yet valid',
	'wrong-host' => 'the certificate is for another host',
	'wrong-purpose' => 'the certificate is refused: unsuitable certificate purpose',
	'unknown-ca' => 'the certificate is refused: unable to get local issuer certificate',
	'self-signed' => 'the certificate is refused: self-signed certificate',
	'no-authority' => 'the certificate is refused: invalid CA certificate',
	'tls10' => 'no TLS: the other side does not speak 1.2 or later',
	'tls11' => 'no TLS: the other side does not speak 1.2 or later',
	'plain' => 'no TLS: the other side speaks something else');
foreach my $listener (sort keys %problems)
{
	(my $agent = "bad_$listener") =~ tr/-/_/;
	tls_agent($agent, $listener);
	is(ask_once($agent), "http_error: http_error, $problems{$listener}", "$listener is refused");
	is(seen($listener)->{requests}, 0, 'and has not seen the request');
}
is(query("SELECT bool_and(cost = 0) FROM agentpay.agent_calls WHERE agent LIKE 'bad%%'"), 't', 'none of it is charged');
is(query("SELECT count(*) FROM agentpay.decisions WHERE agent LIKE 'bad%%' AND kind = 'fallback' AND verdict = 'approve'"),
	scalar(keys %problems), 'the rules stand');

# ── HTTP/2: many calls, one connection ──────────────────────────────────────
tls_agent('slow', 'good', behaviour => 'delay-300');
ask($node, 'slow', $id + 1, $id + 60);
$id += 60;
await_tasks($node);
is(decisions($node, 'slow'), 'agent||approve|approve|60', '60 calls over HTTP/2');
my $good = seen('good');
is($good->{protocols}{h2}, $good->{connections}, 'that is what was agreed on');
cmp_ok($good->{high_water}, '>', 10, "many at once in one connection: $good->{high_water}");
cmp_ok($good->{connections}, '<=', 4, "few connections: $good->{connections}");

# ── a proxy ─────────────────────────────────────────────────────────────────
add_agent($node, 'local');
tls_agent('far', 'good', host => 'llm.agent.test');
is(ask_once('far'), "http_error: http_error, Couldn't resolve host name", 'a name that only the proxy knows');
foreach my $proxy ('proxy', 'proxy-tls', 'proxy-login')
{
	my $scheme = $proxy eq 'proxy-tls' ? 'https' : 'http';
	append_to_file("$certificates/login", "user:pass word\n") unless -e "$certificates/login";
	set_and_reload($node, egress_proxy => "$scheme://localhost:" . port_of($proxy),
		egress_proxy_secret => $proxy eq 'proxy-login' ? "file:$certificates/login" : '');
	my $before = seen('good')->{requests};
	is(ask_once('far'), 'agent: ok', "by way of $proxy");
	is(seen($proxy)->{journal}[0]{path}, 'llm.agent.test:' . port_of('good'), 'it was asked for a tunnel');
	is(seen('good')->{requests}, $before + 1, 'and the agent got the call');
	is(ask_once('local'), 'agent: ok', 'this machine is called');
	is(seen($proxy)->{requests}, 1, 'without it');
}
set_and_reload($node, egress_proxy_secret => '', egress_proxy => 'http://localhost:' . port_of('proxy-login') . '');
is(ask_once('far'), 'agent: ok', 'its tunnel needs no second login');
set_and_reload($node, egress_proxy_secret => "file:$certificates/nobody", egress_proxy => 'http://127.0.0.1:' . port_of('proxy-login'));
is(ask_once('far'), 'http_error: http_error, the proxy answered HTTP 407', 'a login that is not there');
like(query("SELECT last_error FROM agentpay.stat_workers WHERE worker = 'dispatcher'"), qr/egress_proxy_secret could not be read/, 'the worker says so');
set_and_reload($node, egress_proxy_secret => "file:$certificates/login", egress_proxy => 'http://192.0.2.1:3128');
is(ask_once('far'), "http_error: http_error, the proxy's credentials would go out in clear", 'credentials only over TLS');
set_and_reload($node, egress_proxy_secret => '', egress_proxy => 'https://localhost:' . port_of('proxy-bad'));
is(ask_once('far'), "http_error: http_error, the proxy's certificate is for another host", 'a proxy is verified, too');
set_and_reload($node, egress_proxy => 'http://127.0.0.1:' . port_of('proxy'));
my $n = 0;
foreach my $host ('metadata.google.internal', '169.254.169.254', '2852039166', '0xa9.0xfe.0xa9.0xfe', '[fd00:ec2::254]', '[::ffff:169.254.169.254]')
{
	$n++;
	add_agent($node, "metadata_$n", endpoint => "https://$host/v1", max_attempts => 1);
	is(ask_once("metadata_$n"), 'http_error: http_error, the host is forbidden: link-local or a metadata service', "$host: not by a proxy");
}
is(seen('proxy')->{requests}, 1, 'it heard of none');
set_and_reload($node, egress_proxy => '');
name_is('metadata.google.internal', '169.254.169.254');
foreach (1 .. $n)
{
	like(ask_once("metadata_$_"), qr/^http_error: http_error, the address is forbidden/, 'nor directly');
}
is(seen('proxy-refuse')->{connections}, 0, 'the environment was not asked');

# ── a name that is elsewhere the next time ──────────────────────────────────
name_is('flip.agent.test', '127.0.0.1');
tls_agent('flip', 'http1', host => 'flip.agent.test');
is(ask_once('flip'), 'agent: ok', 'a name as it was at first');
name_is('flip.agent.test', '169.254.169.254');
is(ask_once('flip'), 'agent: ok', 'the second call goes over the connection that was checked');
is(seen('http1')->{connections}, 1, 'that one');
append_to_file("$certificates/ca.pem", "\n");    # what makes connections end
await('a connection of its own is refused', sub { ask_once('flip') =~ /the address is forbidden/ });
is(seen('http1')->{connections}, 1, 'nothing else was connected to');

# ── an origin that is not allowed any more ──────────────────────────────────
my $requests = seen('good')->{requests};
query("DELETE FROM agentpay.allowed_endpoints WHERE origin = 'https://localhost:%d'", port_of('good'));
like(ask_once('good'), qr/^skipped/, 'an origin that was taken out');
is(seen('good')->{requests}, $requests, 'is not called');

# ── a key that would add a header ───────────────────────────────────────────
append_to_file("$certificates/evil", "sk-evil\r\nX-Evil: 1\n");
add_agent($node, 'evil', behaviour => 'delay-1', secret => "file:$certificates/evil");
like(ask_once('evil'), qr/^skipped/, 'a key with a line break');
is(scalar(journal('delay-1')), 0, 'is not sent');

# ── 19, 5: names that nobody resolves, agents that hang ─────────────────────
name_is('never.agent.test', 'never');
tls_agent('never', 'good', host => 'never.agent.test', timeout_ms => 60000);
add_agent($node, 'hang', behaviour => 'hang', timeout_ms => 60000);
set_and_reload($node, connect_timeout => '1min');
ask($node, 'never', $id + 1, $id + 40);
ask($node, 'hang', $id + 41, $id + 80);
$id += 80;
await('they are all under way', sub { in_flight($node) >= 80 });
ask($node, 'local', $id + 1, $id + 50);
$id += 50;
await('another agent answers all the same', sub { decisions($node, 'local') =~ /\|53$/ }, 20);
is(in_flight($node), '80', 'while those hang');
my $began = time;
$node->stop('fast');
my $took = time - $began;
cmp_ok($took, '<', 5, sprintf('a fast stop takes %.1f s', $took));

# ── a setting that makes no sense when the server starts ────────────────────
$node->append_conf('postgresql.auto.conf', "agentpay.egress_proxy = 'socks5://proxy:1080'\n");
with_proxies(sub { $node->start });
like(slurp_file($node->logfile), qr/WARNING:.*agentpay\.egress_proxy is not a proxy/, 'the server starts and warns');
await_tasks($node, 120);
is(ask_once('flip'), 'http_error: http_error, agentpay.egress_proxy is not valid', 'no call goes past it');
is(ask_once('local'), 'agent: ok', 'but to this machine');
is(query('SET max_parallel_workers_per_gather = 2; SET parallel_setup_cost = 0; SET parallel_tuple_cost = 0; SET min_parallel_table_scan_size = 0; SELECT count(*) > 0 FROM payments'),
	't', 'and parallel workers start with it');

$node->stop;
done_testing();
