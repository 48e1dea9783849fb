# Keys are seen nowhere (FAULTS 36): not in the server's log at its most talkative,
# views, statistics, dumps, records, nor, once the calls have ended, in the
# dispatcher's memory.
use strict;
use warnings;
use File::Find;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;
use AgentpayTls;

start_agents();
my $certificates = start_tls();
# The key in two parts, so that this program's text is no hit in itself.
my $key = 'sk-sentinel-' . 'Kq7ZpW3nXv81Rt5mLd0c';
my $login = 'clerk:' . 'Pw-sentinel-Hs94kTq2';
my $basic = 'Y2xlcms6' . 'UHctc2VudGluZWwtSHM5NGtUcTI=';
append_to_file("$certificates/key", "$key\n");
append_to_file("$certificates/login", "$login\n");
chmod 0600, "$certificates/key", "$certificates/login";

# a server built from source may be without it
chomp(my $libraries = `pg_config --pkglibdir`);
my $statements = -e "$libraries/pg_stat_statements.so"
  ? "shared_preload_libraries = 'agentpay, pg_stat_statements'\npg_stat_statements.track = all" : '';

my $node = new_ledger('secrets', <<"CONF");
log_statement = all
log_min_messages = debug5
log_min_error_statement = debug5
log_min_duration_statement = 0
$statements
agentpay.ca_file = '$certificates/ca.pem'
agentpay.egress_proxy = 'http://127.0.0.1:@{[ port_of('proxy') ]}'
agentpay.egress_proxy_secret = 'file:$certificates/login'
CONF
my $has_statements = $node->psql('postgres', 'CREATE EXTENSION pg_stat_statements') == 0;

my $id = 0;
my $https = 'https://llm.agent.test:';

# Three payments for each agent, which has the key.
sub call_all
{
	my (%endpoints) = @_;
	foreach my $agent (sort keys %endpoints)
	{
		add_agent($node, $agent, %{ $endpoints{$agent} }, secret => "file:$certificates/key", max_attempts => 2, timeout_ms => 5000);
		ask($node, $agent, $id + 1, $id + 3);
		$id += 3;
	}
	await_tasks($node);
	return;
}

# Calls that end well, badly, and with the key sent back in each place.
my @behaviours = qw(normal echo echo-401 401 reset close truncated-json redirect 503);
call_all((map { ("local_$_" =~ tr/-/_/r => { behaviour => $_ }) } @behaviours),
	http1 => { endpoint => $https . port_of('http1') . '/normal' },
	http1_echo => { endpoint => $https . port_of('http1') . '/echo' },
	expired => { endpoint => $https . port_of('expired') . '/normal' });
is(scalar(grep { ($_->{headers}{authorization} // '') eq "Bearer $key" } journal('normal')), 3, 'the key was sent');
is(scalar(grep { $_->{headers}{authorization} eq "Bearer $key" } @{ seen('http1')->{journal} }), 6, 'through the proxy, too');
cmp_ok(seen('proxy')->{requests}, '>', 2, 'which was logged in to');

# ── a dispatcher whose calls have ended holds nothing ───────────────────────
# Over HTTP/1.1: what nghttp2 frees it does not wipe (docs/security.md).
SKIP:
{
	my $pid = worker_pid($node, 'dispatcher');
	my $core = "$certificates/core";
	skip 'gcore is not here', 4 if system('command -v gcore >/dev/null') != 0;
	system("gcore -a -o $core $pid >$certificates/gcore.log 2>&1");
	skip 'the memory may not be read here', 4 unless -s "$core.$pid";
	my $memory = slurp_file("$core.$pid");
	unlink "$core.$pid";
	cmp_ok(index($memory, 'agentpay dispatcher'), '>', 0, 'the memory of the dispatcher');
	foreach ([ 'key', $key ], [ 'login of the proxy', $login ], [ 'login as it is sent', $basic ])
	{
		my ($what, $secret) = @$_;
		my $at = index($memory, $secret);
		is($at, -1, "has no $what")
		  or diag(substr($memory, $at - 100, 200) =~ s/[^ -~]/./gr);
	}
}

call_all(http2 => { endpoint => $https . port_of('good') . '/normal' },
	http2_echo => { endpoint => $https . port_of('good') . '/echo' },
	hang => { endpoint => $https . port_of('good') . '/hang' });
is($node->safe_psql('postgres', "SELECT string_agg(DISTINCT agent, ' ' ORDER BY agent) FROM agentpay.decisions WHERE kind = 'agent'"),
	'http1 http1_echo http2 local_echo local_normal', 'some are answered, the others fail')
  or diag($node->safe_psql('postgres', "SELECT agent, status, http_status, error FROM agentpay.agent_calls"));

# ── what anybody can read ───────────────────────────────────────────────────
sub nowhere
{
	my ($what, $text) = @_;
	my @found = grep { index($text, $_) >= 0 } $key, $login, $basic;
	is(scalar(@found), 0, "$what has none of them");
	return;
}

# while a call that has the key is under way
add_agent($node, 'under_way', behaviour => 'delay-3000', secret => "file:$certificates/key", timeout_ms => 20000);
ask($node, 'under_way', ++$id, $id);
await('a call is under way', sub { in_flight($node) eq '1' });
nowhere('a server in mid-call', $node->safe_psql('postgres', 'SELECT * FROM pg_stat_activity; SELECT * FROM agentpay.stat_workers;'
	  . ' SELECT * FROM agentpay._task_work; SELECT pg_log_backend_memory_contexts(pid) FROM agentpay.stat_workers WHERE pid IS NOT NULL'));
await_tasks($node);

my %queries = (
	'pg_stat_activity' => 'SELECT * FROM pg_stat_activity',
	'pg_settings' => 'SELECT * FROM pg_settings',
	'pg_file_settings' => 'SELECT * FROM pg_file_settings');
$queries{pg_stat_statements} = 'SELECT * FROM pg_stat_statements' if $has_statements;
# every table and view of agentpay, agent_calls, governance_log, stat_workers among them
foreach my $relation (split /\n/, $node->safe_psql('postgres', <<'SQL'))
SELECT relname FROM pg_class WHERE relnamespace = 'agentpay'::regnamespace AND relkind IN ('r', 'v', 'p') ORDER BY 1
SQL
{
	$queries{"agentpay.$relation"} = "SELECT * FROM agentpay.$relation";
}
my ($rows, $all) = (0, '');
foreach my $what (sort keys %queries)
{
	my $text = $node->safe_psql('postgres', $queries{$what});
	$rows += () = $text =~ /^./mg;
	$all .= "$what\n$text\n";
}
cmp_ok($rows, '>', 200, "$rows rows of " . keys(%queries) . ' tables and views');
like($all, qr/\*{8}/, 'a key that came back is blotted out');
nowhere('what SQL shows', $all);
my ($dump, $errors) = run_command([ 'pg_dump', '-d', $node->connstr('postgres') ]);
cmp_ok(length $dump, '>', 10000, 'a dump');
nowhere('it', $dump);
my ($globals) = run_command([ 'pg_dumpall', '-g', '-d', $node->connstr('postgres') ]);
nowhere('a dump of roles', $globals);

# ── a key in clear is refused, and not repeated ─────────────────────────────
my (undef, undef, $error) = $node->psql('postgres', "SET log_statement = none; SET log_min_error_statement = panic; SET log_min_duration_statement = -1;
UPDATE agentpay.agents SET secret = '$key' WHERE name = 'http1'");
like($error, qr/is not a reference/, 'a key in clear is refused');
nowhere('the error', $error);

$node->stop;
my $log = slurp_file($node->logfile);
like($log, qr/DEBUG:.*CommitTransaction/, 'the log is as talkative as can be');
# psql sent the statement above, and DEBUG5 has it nowhere but where it was sent
$log =~ s/^.*UPDATE agentpay\.agents SET secret.*$//mg;
nowhere('the log', $log);
# tables, WAL, statistics, temporary files: all that the server wrote
my @written;
find({ no_chdir => 1, wanted => sub {
	return unless -f $_;
	my $bytes = slurp_file($_);
	push @written, $_ if grep { index($bytes, $_) >= 0 } $key, $login, $basic;
} }, $node->data_dir);
is("@written", '', 'no file of the server has one of them');
my $files = join '', map { slurp_file($_) } grep { -f && -s } glob($node->data_dir . '/pg_stat/* ' . $node->data_dir . '/postgresql*.conf');
nowhere('statistics on disk', $files);

done_testing();
