# Without shared_preload_libraries nothing of agentpay loads, and the error says
# how to mend that; the server goes on.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('plain');
$node->init;
$node->start;

for my $command ('CREATE EXTENSION agentpay', "LOAD 'agentpay'")
{
	my ($result, $stdout, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY verbose\n$command;");

	isnt($result, 0, "$command is refused");
	like($stderr, qr/ERROR:  55000: agentpay must be loaded by shared_preload_libraries/,
		'... as a prerequisite that is missing');
	like($stderr,
		qr/HINT:  Add agentpay to shared_preload_libraries in postgresql\.conf and restart the server/,
		'... with what to do');
}
is($node->safe_psql('postgres',
		"SELECT count(*) FROM pg_namespace WHERE nspname = 'agentpay'"),
	'0', 'nothing is left behind');

$node->append_conf('postgresql.conf', "shared_preload_libraries = 'agentpay'");
$node->restart;
$node->safe_psql('postgres', 'CREATE EXTENSION agentpay');
is($node->safe_psql('postgres', 'SELECT count(*) FROM agentpay.kill_switches'),
	'5', 'with it, the extension is made');
$node->stop;

done_testing();
