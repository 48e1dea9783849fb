# Databases in other encodings than UTF-8: nothing that a row may hold stops the
# seal, and whoever has an export computes the same leaves. The bytes below are
# what a client of that encoding sends; their UTF-8 is by the tables of
# Unicode, and what has none is by docs/reference/canonical.md.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Digest::SHA;

my $verifier = "$ENV{AGENTPAY_TREE}/docs/verify_log.py";
my $dir = PostgreSQL::Test::Utils::tempdir;
chmod 0777, $dir;
my $key = "$dir/key.pem";
run_log([ 'openssl', 'genpkey', '-algorithm', 'ed25519', '-out', $key ]) or die 'openssl';
chmod 0600, $key;
my $node = PostgreSQL::Test::Cluster->new('ledger');
$node->init;
$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
agentpay.seal_interval = 50
agentpay.checkpoint_key_file = '$key'
max_worker_processes = 16
allow_system_table_mods = on
CONF
$node->start;

# name, Python's codec, [ hex of a value, its canonical form ] ...
my @databases = (
	[ 'SQL_ASCII', 'utf-8', [ '636166e9', '{"hex":"636166e9"}' ], [ '636166c3a9', "\"caf\xc3\xa9\"" ],
		# a surrogate, an overlong slash, above U+10FFFF, a character that is cut
		[ 'eda080', '{"hex":"eda080"}' ], [ 'c0af', '{"hex":"c0af"}' ], [ 'f4908080', '{"hex":"f4908080"}' ], [ '61e282', '{"hex":"61e282"}' ],
		[ 'f09f9882', "\"\xf0\x9f\x98\x82\"" ], [ '2209ff', '{"hex":"2209ff"}' ] ],
	[ 'LATIN1', 'latin-1', [ '636166e9', "\"caf\xc3\xa9\"" ], [ '80ff', "\"\xc2\x80\xc3\xbf\"" ] ],
	[ 'WIN1252', 'cp1252', [ '80', "\"\xe2\x82\xac\"" ], [ '81', '{"hex":"81"}' ], [ 'c381', '{"hex":"c381"}' ], [ 'c1', "\"\xc3\x81\"" ] ],
	# more bytes than one a character, and of another length in UTF-8
	[ 'EUC_JP', 'euc_jp', [ 'c6fccbdc', "\"\xe6\x97\xa5\xe6\x9c\xac\"" ], [ '8eb1', "\"\xef\xbd\xb1\"" ] ]);

my $client; # the encoding of the database at hand, so that nothing is converted
sub q1
{
	local $ENV{PGCLIENTENCODING} = $client;
	return $node->safe_psql(lc $client, $_[0]);
}
sub verified { return q1("SELECT ok, rows = tree_size, problem FROM agentpay.verify_log()"); }

foreach my $database (@databases)
{
	my ($codec, @values);
	($client, $codec, @values) = @$database;
	my $name = lc $client;
	$node->safe_psql('postgres', "CREATE DATABASE $name ENCODING '$client' LC_COLLATE 'C' LC_CTYPE 'C' TEMPLATE template0; ALTER DATABASE $name SET agentpay.log_origin = 'example.com/$name'");
	q1(<<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(), memo text, amount numeric, outcome text);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES ('fraud', 'MEMO', 'memo <> ''''', 'review');
SELECT agentpay.activate('fraud');
SQL
	# in text, and in jsonb (inputs)
	my $bytes = sub { my ($hex) = @_; return "E'" . join('', map { "\\x$_" } $hex =~ /../g) . "'"; };
	foreach my $value (@values)
	{
		my $text = $bytes->($value->[0]);
		q1("INSERT INTO payments (id, memo, amount) VALUES ('id' || $text, $text, 1)");
		q1("SELECT agentpay.record_outcome('fraud', 'id' || $text, 'fraud')");
	}
	my $count = @values;
	$node->poll_query_until($name, "SELECT count(*) = 2 * $count FROM agentpay._leaves WHERE log IN ('d', 'o')")
	  or die "$client: not sealed";
	pass("$client: sealed, whatever the rows hold");
	is(verified(), 't|t|', "$client: verify_log()");

	foreach my $value (@values)
	{
		my ($hex, $form) = @$value;
		my $text = $bytes->($hex);
		my $leaf = q1("SELECT encode(l.hash, 'hex') FROM agentpay._leaves l JOIN agentpay.outcomes o ON o.outcome_id = l.row_key WHERE o.row_id = 'id' || $text");
		my $row = q1("SET timezone = 'UTC'; SELECT outcome_id, observed_at, effective_at, recorded_by, xid FROM agentpay.outcomes WHERE row_id = 'id' || $text");
		my ($id, $observed, $effective, $by, $xid) = split /\|/, $row;
		# what has no form in UTF-8 is the whole value, with the ASCII in front (6964 is "id")
		my $row_id = $form;
		$row_id =~ s/^"/"id/ or $row_id =~ s/:"/:"6964/;
		my $canonical = "{\"effective_at\":\"$effective\",\"label\":\"fraud\",\"log\":\"outcomes\",\"observed_at\":\"$observed\",\"outcome_id\":\"$id\",\"point\":\"fraud\",\"recorded_by\":\"$by\",\"row_id\":$row_id,\"source\":\"analyst\",\"xid\":\"$xid\"}";
		is($leaf, Digest::SHA::sha256_hex("\0" . $canonical), "$client: the leaf of $hex");
		my $printed = "convert_to(agentpay.canonical_leaf('$id'), " . ($client eq 'SQL_ASCII' ? "'SQL_ASCII'" : "'UTF8'") . ')';
		is(q1("SELECT encode(sha256('\\x00'::bytea || $printed), 'hex')"), $leaf, 'which canonical_leaf() prints');
	}

	# ── an export, in the database's encoding ───────────────────────────────
	$node->poll_query_until($name, 'SELECT (SELECT max(tree_size) FROM agentpay.checkpoints) = (SELECT max(tree_size) FROM agentpay._seals)') or die 'not signed';
	my $of = "$dir/$name";
	my $settings = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 1;";
	my @files = map { "$_=$of.$_" } qw(decisions agent_calls outcomes governance_log);
	q1(join ' ', $settings, map { /(.*)=(.*)/; "COPY (SELECT * FROM agentpay.$1) TO '$2' (FORMAT csv, HEADER, ENCODING '$client');" } @files);
	q1("COPY (SELECT leaf_index, log, row_key FROM agentpay._leaves ORDER BY leaf_index) TO '$of.leaves' (FORMAT csv, HEADER)");
	append_to_file("$of.checkpoint", q1('SELECT note FROM agentpay.checkpoints ORDER BY tree_size DESC LIMIT 1'));
	my $vkey = q1('SELECT vkey FROM agentpay._log_keys');
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'python3', $verifier, 'log', '--checkpoint', "$of.checkpoint", '--key', $vkey, '--encoding', $codec, '--leaves', "$of.leaves", @files ], '>', \$out, '2>', \$err);
	like($out . $err, qr/^\d+ leaves are those of the checkpoint$/m, "$client: the verifier outside, from CSV files");

	my $row_key = q1("SELECT row_key FROM agentpay._leaves WHERE log = 'o' ORDER BY leaf_index LIMIT 1");
	append_to_file("$of.proof", q1("SELECT agentpay.inclusion_proof('$row_key')"));
	append_to_file("$of.leaf", q1("SET client_encoding = " . ($client eq 'SQL_ASCII' ? "'SQL_ASCII'" : "'UTF8'") . "; SELECT agentpay.canonical_leaf('$row_key')"));
	($out, $err) = ('', '');
	IPC::Run::run([ 'python3', $verifier, 'proof', '--leaf', "$of.leaf", '--proof', "$of.proof", '--key', $vkey ], '>', \$out, '2>', \$err);
	like($out . $err, qr/^the row is leaf \d+ of \d+$/m, "$client: an inclusion proof");

	# ── the bytes themselves are what is held ───────────────────────────────
	my ($was, $is) = $client eq 'SQL_ASCII' ? ('636166e9', '636166c3a9') : $client eq 'WIN1252' ? ('c381', 'c1') : next;
	($was, $is) = map { $bytes->($_) } $was, $is;
	q1("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname = 'agentpay_change'");
	q1("UPDATE agentpay.outcomes SET row_id = 'id' || $is WHERE row_id = 'id' || $was");
	like(q1("SELECT problem FROM agentpay.verify_log() WHERE log = 'outcomes' AND NOT ok"), qr/changed/, "$client: bytes that look alike in UTF-8 are not the same leaf");
}
$node->stop;
done_testing();
