# A dump can name a time zone that this machine does not know.  Nothing is
# validated before adopt(), and until then payments come all the same: on_error
# holds, and the error is on record.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('zones');
$node->init;
$node->append_conf('postgresql.conf',
	"shared_preload_libraries = 'agentpay'\nagentpay.workers_enabled = off\n");
$node->start;

$node->safe_psql('postgres', 'CREATE DATABASE ledger; CREATE DATABASE copy');
$node->safe_psql('ledger', <<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigint PRIMARY KEY, amount numeric,
	at timestamptz NOT NULL DEFAULT now(), outcome text);
SELECT agentpay.attach('payments', point => 'fraud', role => 'fraud',
	id => 'id', occurred_at => 'at', outcome => 'outcome');
UPDATE agentpay.decision_points SET time_zone = 'Asia/Tokyo';
INSERT INTO agentpay.rules (point, code, condition, score)
	VALUES ('fraud', 'BIG', 'amount > 1000', 100);
SELECT agentpay.activate('fraud');
INSERT INTO payments VALUES (1, 5);
SQL

my $dump = $node->basedir . '/ledger.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, '-d', $node->connstr('ledger') ],
	'dump');
my $text = slurp_file($dump);
is($text =~ s{Asia/Tokyo}{Mars/Phobos}g > 0, 1, 'the zone is in the dump');
unlink $dump;
append_to_file($dump, $text);
$node->command_ok(
	[ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $node->connstr('copy') ],
	'restore');

is($node->safe_psql('copy',
		'INSERT INTO payments VALUES (2, 5), (3, 5000) RETURNING id, outcome'),
	"2|review\n3|decline", 'payments come: the stricter of on_error and the rules');
is($node->safe_psql('copy', <<'SQL'),
SELECT DISTINCT detail #>> '{errors,time_zone,sqlstate}',
	detail #>> '{errors,time_zone,message}'
  FROM agentpay.decisions WHERE row_id IN ('2', '3')
SQL
	'22023|unknown time zone: Mars/Phobos', 'why is on record');

my ($result, $stdout, $stderr) = $node->psql('copy', 'SELECT agentpay.adopt()');
isnt($result, 0, 'adopt() refuses such a point');
like($stderr, qr{Mars/Phobos}, '... and names the zone');
$node->stop;

done_testing();
