# What the tests about the way out share: the agents and proxies of
# tls_server.py, names of our own, settings.
package AgentpayTls;
use strict;
use warnings;
use Exporter 'import';
use File::Temp;
use HTTP::Tiny;
use JSON::PP;
use PostgreSQL::Test::Utils;
use AgentpayTest;

our @EXPORT = qw(start_tls port_of seen own_names name_is set_and_reload outcome);

my ($pid, $directory, $names);

# Starts them; returns the directory of their certificates.
sub start_tls
{
	$directory = File::Temp->newdir(CLEANUP => 1);
	$pid = fork();
	die "could not fork: $!" unless defined $pid;
	if ($pid == 0)
	{
		open(STDOUT, '>', "$directory/log");
		open(STDERR, '>&', \*STDOUT);
		exec('/usr/bin/python3', "$ENV{AGENTPAY_TREE}/test/server/tls_server.py", "$directory")
		  or POSIX::_exit(1);
	}
	await('the TLS servers listen', sub { -s "$directory/ports" });
	return "$directory";
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

sub port_of
{
	my ($name) = @_;
	my ($port) = slurp_file("$directory/ports") =~ /^\Q$name\E (\d+)$/m;
	return $port // die "no port of $name";
}

# What a listener has seen.
sub seen
{
	my ($name) = @_;
	my $answer = HTTP::Tiny->new->get('http://127.0.0.1:' . port_of('control') . '/');
	die "no answer: $answer->{status} $answer->{content}" unless $answer->{success};
	return decode_json($answer->{content})->{$name};
}

# Servers that are started from now on resolve names by name_is().
sub own_names
{
	my $library = "$directory/resolver.so";
	system('gcc', '-shared', '-fPIC', '-o', $library, "$ENV{AGENTPAY_TREE}/test/tap/resolver.c", '-ldl') == 0
	  or die 'could not build the resolver';
	$names = "$directory/own_names";
	append_to_file($names, '');
	$ENV{AGENTPAY_TEST_NAMES} = $names;
	$ENV{LD_PRELOAD} = $library;
	return;
}

sub name_is
{
	my ($name, $address) = @_;
	append_to_file($names, "$name $address\n");
	return;
}

# ALTER SYSTEM, in force for calls that start from now on.
sub set_and_reload
{
	my ($node, %settings) = @_;
	foreach my $name (sort keys %settings)
	{
		$node->safe_psql('postgres', "ALTER SYSTEM SET agentpay.$name = '$settings{$name}'");
	}
	$node->reload;
	# the dispatcher reads its settings before anything else in a turn
	$node->poll_query_until('postgres', "SELECT current_setting('agentpay.$_') = '$settings{$_}'") foreach sort keys %settings;
	return;
}

# The failure of an agent's only task, and the error of its last call.
sub outcome
{
	my ($node, $agent) = @_;
	return $node->safe_psql('postgres', <<"SQL");
SELECT concat_ws(': ', coalesce(d.failure, d.kind), (
	SELECT c.status || CASE WHEN c.error <> '' THEN ', ' || c.error ELSE '' END FROM agentpay.agent_calls c
	 WHERE c.agent = d.agent ORDER BY c.called_at DESC LIMIT 1))
  FROM agentpay.decisions d WHERE d.agent = '$agent' AND d.kind <> 'rules' ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT 1
SQL
}

1;
