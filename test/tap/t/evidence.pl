# The Merkle log: sealed once whatever happens (FAULTS 16), never forked (7, 8),
# the same root after a restore (39), and a change by a superuser is named (35).
# docs/verify_log.py, which shares no code with the server, checks what it says.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $tree = $ENV{AGENTPAY_TREE};
my $verifier = "$tree/docs/verify_log.py";
my $dir = PostgreSQL::Test::Utils::tempdir;
mkdir "$dir/export" or die "could not make a directory: $!";
my $key = "$dir/key.pem";
run_log([ 'openssl', 'genpkey', '-algorithm', 'ed25519', '-out', $key ]) or die 'openssl';
chmod 0600, $key;

my $node = PostgreSQL::Test::Cluster->new('ledger');
$node->init(allows_streaming => 1);
$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
agentpay.seal_interval = 50
agentpay.log_origin = 'example.com/ledger'
agentpay.checkpoint_key_file = '$key'
agentpay.checkpoint_directory = '$dir/export'
max_prepared_transactions = 5
max_worker_processes = 16
max_connections = 40
CONF
$node->start;
my $exported = "$dir/export/example.com_ledger.checkpoint";

sub q1 { return $node->safe_psql('postgres', $_[0]); }

# Until everything that committed is sealed, signed and exported.
my $unsealed = join ' + ', map { "(SELECT count(*) FROM agentpay.$_->[0] r WHERE NOT EXISTS (SELECT FROM agentpay._leaves l WHERE l.row_key = r.$_->[1]))" }
  ([ 'decisions', 'decision_id' ], [ 'agent_calls', 'call_id' ], [ 'outcomes', 'outcome_id' ], [ 'governance_log', 'event_id' ]);

sub settle
{
	my ($database) = @_;
	$database //= 'postgres';
	$node->poll_query_until($database, "SELECT $unsealed = 0") or die 'not sealed';
	$node->poll_query_until($database, "SELECT (SELECT max(tree_size) FROM agentpay.checkpoints) = (SELECT max(tree_size) FROM agentpay._seals)")
	  or die 'not signed';
	return;
}

sub wait_exported
{
	my $note = q1("SELECT note FROM agentpay.checkpoints ORDER BY tree_size DESC LIMIT 1");
	foreach (1 .. 600)
	{
		last if -e $exported && slurp_file($exported) eq $note;
		Time::HiRes::usleep(100_000);
	}
	is(slurp_file($exported), $note, 'the last checkpoint is exported, and nothing else');
	return;
}

# verify_log()'s problems, and what the verifier outside says.
sub problems
{
	my ($since) = @_;
	my $argument = defined $since ? "\$c\$$since\$c\$" : '';
	return q1("SELECT coalesce(log, '-'), coalesce(leaf_index, -1), problem FROM agentpay.verify_log($argument) WHERE NOT ok AND problem !~ '^\\d+ problems\$'");
}

sub is_whole
{
	my ($name) = @_;
	is(q1("SELECT ok, rows = tree_size, problem FROM agentpay.verify_log()"), 't|t|', "$name: verify_log()");
	is(q1("SELECT count(*) = max(leaf_index) + 1, min(leaf_index), count(DISTINCT row_key) = count(*) FROM agentpay._leaves"),
		't|0|t', "$name: no gap, no duplicate");
	return;
}

my $vkey;

sub export_csv
{
	my ($database) = @_;
	my $settings = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 1;";
	my @files;
	foreach my $log (qw(decisions agent_calls outcomes governance_log))
	{
		append_to_file("$dir/$log.csv", '');
		open my $handle, '>', "$dir/$log.csv" or die $!;
		print $handle $node->safe_psql($database, "$settings COPY (SELECT * FROM agentpay.$log) TO STDOUT (FORMAT csv, HEADER)"), "\n";
		close $handle;
		push @files, "$log=$dir/$log.csv";
	}
	open my $handle, '>', "$dir/leaves.csv" or die $!;
	print $handle $node->safe_psql($database, "COPY (SELECT leaf_index, log, row_key FROM agentpay._leaves ORDER BY leaf_index) TO STDOUT (FORMAT csv, HEADER)"), "\n";
	close $handle;
	return @files;
}

sub outside
{
	my ($name, $wanted, @arguments) = @_;
	my ($out, $err) = ('', '');
	my $done = IPC::Run::run([ 'python3', $verifier, @arguments ], '>', \$out, '2>', \$err);
	like($out . $err, $wanted, $name);
	return;
}

# ── the ledger, and sixteen writers ─────────────────────────────────────────
q1(<<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (payment_id bigserial PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
	amount numeric, memo text, outcome text);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'payment_id', occurred_at => 'created_at', amount => 'amount',
	currency => 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('fraud', 'LARGE', 'amount > 900', 60), ('fraud', 'MEMO', 'memo = ''x''', 1);
SELECT agentpay.activate('fraud');
SQL
my $long = $node->background_psql('postgres', on_error_die => 1);
$long->query_safe("BEGIN; INSERT INTO payments (amount) VALUES (1001) RETURNING pg_current_xact_id();");
q1("BEGIN; INSERT INTO payments (amount) VALUES (1002); PREPARE TRANSACTION 'later'");
my %scripts = (
	commit => "INSERT INTO payments (amount, memo) VALUES (random() * 1000, E'a,\"b\"\\n\\\\') ;\n",
	rollback => "BEGIN;\nINSERT INTO payments (amount) SELECT g FROM generate_series(1, 3) g;\nROLLBACK;\n",
	savepoint => "BEGIN;\nINSERT INTO payments (amount) VALUES (1);\nSAVEPOINT a;\nINSERT INTO payments (amount) VALUES (2);\nROLLBACK TO a;\nINSERT INTO payments (amount) VALUES (3);\nCOMMIT;\n",
	label => "SELECT agentpay.record_outcome('fraud', payment_id, 'fraud') FROM payments LIMIT 1;\n");
foreach my $script (sort keys %scripts)
{
	append_to_file("$dir/$script.sql", $scripts{$script});
}
$node->command_ok([ 'pgbench', '-n', '-c', '16', '-j', '2', '-t', '40', (map { ('-f', "$dir/$_.sql\@3") } qw(commit rollback savepoint)),
	'-f', "$dir/label.sql\@1", 'postgres' ], 'sixteen writers, some of whom roll back');
is(q1("SELECT count(*) > 2 FROM agentpay._seals"), 't', 'sealed many times meanwhile');
$node->poll_query_until('postgres', "SELECT $unsealed = 0") or die 'not sealed';
pass('what committed is sealed while other transactions are open');
is_whole('writers');
my $before_long = q1("SELECT max(leaf_index) FROM agentpay._leaves");
$long->query_safe("COMMIT;");
$long->quit;
q1("COMMIT PREPARED 'later'");
settle();
is(q1("SELECT string_agg(d.amount::text, ',' ORDER BY d.amount) FROM agentpay._leaves l JOIN agentpay.decisions d ON d.decision_id = l.row_key WHERE l.leaf_index > $before_long"),
	'1001,1002', 'what was open is sealed when it commits, prepared or not');
is(q1("SELECT count(*) FROM payments") + 0, q1("SELECT count(*) FROM agentpay._leaves l JOIN agentpay.decisions d ON d.decision_id = l.row_key") + 0,
	'a leaf for each payment that is there');
is_whole('afterwards');

# ── checkpoints, and who checks them from outside ───────────────────────────
wait_exported();
my $first = slurp_file($exported);
append_to_file("$dir/first", $first);
$vkey = q1('SELECT vkey FROM agentpay._log_keys');
run_log([ 'openssl', 'pkey', '-in', $key, '-pubout', '-out', "$dir/public.pem" ]);
outside('the verifier key is that of the public key', qr/^\Q$vkey\E$/, 'key', '--public', "$dir/public.pem", '--origin', 'example.com/ledger');
is(q1("SELECT actor, object FROM agentpay.governance_log WHERE object_kind = 'key'"), "agentpay|$vkey", 'and on record');
q1("INSERT INTO payments (amount) VALUES (5)");
settle();
wait_exported();
my @csv = export_csv('postgres');
my $size = q1('SELECT max(tree_size) FROM agentpay._seals');
outside('CSV files', qr/^$size leaves are those of the checkpoint$/, 'log', '--checkpoint', $exported, '--since', "$dir/first", '--key', $vkey, '--leaves', "$dir/leaves.csv", @csv);
append_to_file("$dir/canonical", q1("SELECT agentpay.canonical_leaf(row_key) FROM agentpay._leaves ORDER BY leaf_index") . "\n");
outside('canonical rows', qr/^$size leaves are those of the checkpoint$/, 'log', '--checkpoint', $exported, '--key', $vkey, '--canonical', "$dir/canonical");
foreach my $leaf (0, 255, 256, $size - 1)
{
	unlink "$dir/leaf", "$dir/proof";
	append_to_file("$dir/leaf", q1("SELECT agentpay.canonical_leaf(row_key) FROM agentpay._leaves WHERE leaf_index = $leaf"));
	append_to_file("$dir/proof", q1("SELECT agentpay.inclusion_proof(row_key) FROM agentpay._leaves WHERE leaf_index = $leaf"));
	outside("an inclusion proof of leaf $leaf", qr/^the row is leaf $leaf of $size$/, 'proof', '--leaf', "$dir/leaf", '--proof', "$dir/proof", '--key', $vkey);
}
append_to_file("$dir/leaf", ' ');
outside('not of another row', qr/^the row is not the leaf/, 'proof', '--leaf', "$dir/leaf", '--proof', "$dir/proof", '--key', $vkey);
my ($first_size) = $first =~ /\n(\d+)\n/;
append_to_file("$dir/hashes", q1("SELECT unnest(agentpay.consistency_proof($first_size))"));
outside('a consistency proof', qr/^the log of $size leaves begins with that of $first_size$/, 'consistency', '--old', "$dir/first", '--new', $exported, '--hashes', "$dir/hashes", '--key', $vkey);
is(problems($first), '', 'verify_log() of what is behind the first checkpoint');
is(q1("SELECT rows FROM agentpay.verify_log(\$c\$$first\$c\$)"), $size - $first_size, 'and no more');

# ── crashes ─────────────────────────────────────────────────────────────────
foreach my $round (1 .. 3)
{
	my $writers = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', '8', '-T', '60', '-f', "$dir/commit.sql", '-f', "$dir/savepoint.sql", 'postgres' ],
		'>', \my $out, '2>', \my $err);
	my $leaves = q1('SELECT count(*) FROM agentpay._leaves');
	$node->poll_query_until('postgres', "SELECT count(*) > $leaves + 50 FROM agentpay._leaves") or die 'nothing is sealed';
	$node->stop('immediate');
	IPC::Run::finish($writers);
	my $there = slurp_file($exported);
	$node->start;
	is(problems($there), '', "crash $round: the log begins with the checkpoint that was exported");
	settle();
	is_whole("crash $round");
	is(q1("SELECT count(*) FROM payments p WHERE NOT EXISTS (SELECT FROM agentpay._leaves l JOIN agentpay.decisions d ON d.decision_id = l.row_key WHERE d.row_id = p.payment_id::text)"),
		'0', "crash $round: every payment has its leaf");
}
# the sealer killed in its work: nothing of it stays, and the next goes on
my $pid = q1("SELECT pid FROM pg_stat_activity WHERE backend_type = 'agentpay governor'");
q1("INSERT INTO payments (amount) SELECT g FROM generate_series(1, 5000) g; SELECT pg_terminate_backend($pid)");
settle();
is_whole('a governor that was terminated');
is(q1("SELECT agentpay._seal()"), '0', 'nothing is left to seal');
# the index still has the leaves of a seal that was taken back; who looks for their rows passes over them
my $sealer = $node->background_psql('postgres', on_error_die => 1);
$sealer->query_safe('BEGIN; SELECT agentpay._seal();');
q1("INSERT INTO payments (amount) SELECT g FROM generate_series(1, 300) g");
is($sealer->query_safe('SELECT agentpay._seal() >= 300;'), 't', 'sealed');
$sealer->query_safe('ROLLBACK;');
$sealer->quit;
q1('SELECT agentpay._seal()');
settle();
is_whole('a seal that was taken back');
is(slurp_file($node->logfile) =~ /could not find block/ ? 1 : 0, 0, 'with no error');

# ── dumped and restored ─────────────────────────────────────────────────────
wait_exported();
my $root = q1("SELECT tree_size, root_hash FROM agentpay._seals ORDER BY seal_id DESC LIMIT 1");
$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", 'postgres' ], 'dump');
q1('CREATE DATABASE copy');
# its own governor signs nothing: whoever exports first would win
q1("ALTER DATABASE copy SET agentpay.checkpoint_key_file = ''");
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", 'copy' ], 'restore');
is($node->safe_psql('copy', "SELECT tree_size, root_hash FROM agentpay._seals ORDER BY seal_id DESC LIMIT 1"), $root, 'the root is the same');
is($node->safe_psql('copy', "SELECT ok, rows = tree_size FROM agentpay.verify_log()"), 't|t', 'and the rows are those of it, before adopt()');
my ($rc, $stdout, $stderr) = $node->psql('copy', 'SELECT agentpay._seal()');
like($stderr, qr/not the ledger/, 'a copy seals nothing');
outside('an export of the copy', qr/^\d+ leaves are those of the checkpoint/, 'log', '--checkpoint', $exported, '--key', $vkey, '--leaves', "$dir/leaves.csv", export_csv('copy'));

# adopted beside the ledger: what it signs under the same name would be a fork
$node->safe_psql('copy', "INSERT INTO payments (amount) VALUES (7)");
$node->safe_psql('copy', 'SELECT agentpay.adopt()');
$node->poll_query_until('copy', "SELECT $unsealed = 0") or die 'not sealed';
is($node->safe_psql('copy', "SELECT ok, rows = tree_size, problem FROM agentpay.verify_log()"), 't|t|', 'adopted: goes on, each row once');
q1("INSERT INTO payments (amount) SELECT g FROM generate_series(1, 100) g");
settle();
wait_exported();
my $with_key = "SET agentpay.checkpoint_key_file = '$key';";
($rc, $stdout, $stderr) = $node->psql('copy', "\\set VERBOSITY verbose\n$with_key SELECT agentpay._sign_checkpoint()");
like($stderr, qr/AP004.*not that of its exported checkpoint: it is of \d+ leaves, and the log has \d+.*ALTER SYSTEM SET agentpay\.log_origin/s, 'behind the exported checkpoint: it refuses to sign, and says what to do');
$node->safe_psql('copy', "INSERT INTO payments (amount) SELECT g FROM generate_series(1, 500) g; SELECT agentpay._seal()");
($rc, $stdout, $stderr) = $node->psql('copy', "$with_key SELECT agentpay._sign_checkpoint()");
like($stderr, qr/the first \d+ leaves of the log are others/, 'and when it has grown past it, too');
$node->safe_psql('copy', "$with_key SET agentpay.log_origin = 'example.com/ledger-2'; SELECT agentpay._sign_checkpoint()");
is($node->safe_psql('copy', "SELECT split_part(note, E'\\n', 1) FROM agentpay.checkpoints ORDER BY tree_size DESC LIMIT 1"), 'example.com/ledger-2', 'under another origin it signs');
is($node->safe_psql('copy', "SELECT ok FROM agentpay.verify_log()"), 't', 'and verifies');
q1('DROP DATABASE copy');

# ── a cluster restored from an older backup ─────────────────────────────────
$node->backup('old');
q1("INSERT INTO payments (amount) VALUES (8)");
settle();
wait_exported();
my $newest = slurp_file($exported);
$node->stop;
my $restored = PostgreSQL::Test::Cluster->new('restored');
$restored->init_from_backup($node, 'old');
$restored->start;
$restored->poll_query_until('postgres', "SELECT count(*) > 0 FROM agentpay.stat_workers WHERE worker = 'governor' AND state = 'idle'") or die 'no governor';
$restored->safe_psql('postgres', "INSERT INTO payments (amount) VALUES (9)");
$restored->poll_query_until('postgres', "SELECT count(*) > 0 FROM agentpay.stat_workers WHERE last_error ~ 'not that of its exported checkpoint'")
  or die 'it signed';
pass('a restored cluster refuses to sign under the same origin, and stat_workers says so');
is(slurp_file($exported), $newest, 'and the exported checkpoint stays');
like($restored->safe_psql('postgres', "SELECT problem FROM agentpay.verify_log(\$c\$$newest\$c\$) LIMIT 1"),
	qr/the first \d+ leaves are not those of the given checkpoint|the log was cut off/, 'verify_log() of that checkpoint says so, too');
$restored->poll_query_until('postgres', "SELECT count(*) = 1 FROM agentpay.advice WHERE object_kind = 'checkpoint'") or die 'no advice';
pass('and advice');
$restored->stop;
$node->start;

# ── a superuser with the guards out of the way ──────────────────────────────
settle();
wait_exported();
$newest = slurp_file($exported);
my $all = join ',', map { "'$_'" } qw(agentpay_change agentpay_insert agentpay_truncate);
$node->append_conf('postgresql.conf', "agentpay.workers_enabled = off\nallow_system_table_mods = on\n");
$node->restart;
q1("UPDATE pg_trigger SET tgenabled = 'D' WHERE tgname IN ($all)");
my $leaf_of = "(SELECT row_key FROM agentpay._leaves l JOIN agentpay.decisions d ON d.decision_id = l.row_key WHERE l.leaf_index > 300 ORDER BY leaf_index LIMIT 1)";
my $at = q1("SELECT leaf_index FROM agentpay._leaves WHERE row_key = $leaf_of");
my $month = q1("SELECT to_char(agentpay._now() AT TIME ZONE 'UTC', 'YYYY_MM')");

# tampers in a transaction, so that the next one finds the log whole
sub tampered
{
	my ($name, $sql, $since, $wanted) = @_;
	my $argument = defined $since ? "\$c\$$since\$c\$" : '';
	my $said = q1("BEGIN; $sql; SELECT string_agg(concat_ws('|', log, leaf_index, problem), E'\\n') FROM agentpay.verify_log($argument) WHERE NOT ok");
	like($said, $wanted, $name);
	return;
}

tampered('a changed row is named', "UPDATE agentpay.decisions SET verdict = 'decline' WHERE decision_id = $leaf_of", undef,
	qr/^decisions\|$at\|the row was changed: it is not what was sealed\n1 problems$/);
tampered('a deleted row is named', "DELETE FROM agentpay.decisions WHERE decision_id = $leaf_of", undef, qr/^decisions\|$at\|the row is missing\n1 problems$/);
tampered('an inserted row is named', "INSERT INTO agentpay.decisions_$month SELECT (jsonb_populate_record(d, jsonb_build_object('decision_id', '01a00000-0000-7000-8000-000000000000'))).* FROM agentpay.decisions d WHERE decision_id = $leaf_of",
	undef, qr/^decisions\|the row was inserted past the log: it was never sealed\n1 problems$/);
tampered('one with a transaction id of the future, too', "INSERT INTO agentpay.decisions_$month SELECT (jsonb_populate_record(d, jsonb_build_object('decision_id', '01a00000-0000-7000-8000-000000000000', 'xid', '9000000000'))).* FROM agentpay.decisions d WHERE decision_id = $leaf_of",
	undef, qr/^decisions\|the row was inserted past the log: it was never sealed\n1 problems$/);
tampered('a copied row is named', "INSERT INTO agentpay.decisions_$month SELECT * FROM agentpay.decisions WHERE decision_id = $leaf_of", undef,
	qr/^decisions\|$at\|the row is there twice\n1 problems$/);
tampered('reordered rows: the leaves are named', "UPDATE agentpay._leaves SET leaf_index = -1 WHERE leaf_index = 300; UPDATE agentpay._leaves SET leaf_index = 300 WHERE leaf_index = 301; UPDATE agentpay._leaves SET leaf_index = 301 WHERE leaf_index = -1",
	undef, qr/^256\|leaves 256 to 511 are not those that were sealed: the node above them differs$/m);
my $rehash = "UPDATE agentpay._leaves SET hash = sha256('\\x00'::bytea || convert_to(agentpay.canonical_leaf(row_key), 'UTF8')) WHERE leaf_index = $at";
tampered('a row changed together with its leaf', "UPDATE agentpay.decisions SET verdict = 'decline' WHERE decision_id = $leaf_of; $rehash",
	undef, qr/^256\|leaves 256 to 511 are not those that were sealed: the node above them differs$/m);
tampered('a changed checkpoint', "UPDATE agentpay.checkpoints SET root_hash = '\\x00' WHERE tree_size = (SELECT max(tree_size) FROM agentpay.checkpoints)",
	undef, qr/^the checkpoint of \d+ leaves does not say what its note says$/m);
tampered('a leaf that is gone', 'DELETE FROM agentpay._leaves WHERE leaf_index = 270', undef, qr/^270\|the leaf is missing or damaged/m);
# cut off without a trace in the database: only what was exported tells
my $cut = "DELETE FROM agentpay.decisions WHERE decision_id IN (SELECT row_key FROM agentpay._leaves WHERE leaf_index >= s);"
  . "DELETE FROM agentpay.governance_log WHERE event_id IN (SELECT row_key FROM agentpay._leaves WHERE leaf_index >= s);"
  . "DELETE FROM agentpay.outcomes WHERE outcome_id IN (SELECT row_key FROM agentpay._leaves WHERE leaf_index >= s);"
  . "DELETE FROM agentpay._leaves WHERE leaf_index >= s; DELETE FROM agentpay._nodes WHERE (node_index + 1) << level::int > s;"
  . "DELETE FROM agentpay._seals WHERE tree_size > s; DELETE FROM agentpay.checkpoints WHERE tree_size > s";
$cut =~ s/\bs\b(?!\.)/$first_size/g;
is(q1("BEGIN; $cut; SELECT ok, tree_size FROM agentpay.verify_log()"), "t|$first_size", 'a tail cut off everywhere is not seen from within');
tampered('but an exported checkpoint says so', $cut, $newest, qr/^$first_size\|the log was cut off: the given checkpoint has \d+ leaves, the log $first_size$/m);
is(problems(), '', 'nothing of that stayed');

$node->append_conf('postgresql.conf', "agentpay.workers_enabled = on\n");
q1("UPDATE pg_trigger SET tgenabled = 'A' WHERE tgname IN ($all)");
$node->restart;

# ── keys ────────────────────────────────────────────────────────────────────
chmod 0644, $key;
q1("INSERT INTO payments (amount) VALUES (10)");
$node->poll_query_until('postgres', "SELECT count(*) > 0 FROM agentpay.stat_workers WHERE last_error ~ 'others may read the key of checkpoints'") or die 'it signed';
($rc, $stdout, $stderr) = $node->psql('postgres', 'SELECT agentpay._sign_checkpoint()');
like($stderr, qr/others may read the key.*chmod 600/s, 'a key that others may read is refused');
# the governor has not signed, so there is something to sign
append_to_file("$dir/none.pem", "-----BEGIN PRIVATE KEY-----\n");
chmod 0600, "$dir/none.pem";
($rc, $stdout, $stderr) = $node->psql('postgres', "SET agentpay.checkpoint_key_file = '$dir/none.pem'; SELECT agentpay._sign_checkpoint()");
like($stderr, qr/no Ed25519 private key in PEM/, 'what is no key, too');
($rc, $stdout, $stderr) = $node->psql('postgres', "SET agentpay.checkpoint_key_file = '$dir/missing.pem'; SELECT agentpay._sign_checkpoint()");
like($stderr, qr/could not open the key.*openssl genpkey/s, 'and one that is missing');
chmod 0600, $key;
run_log([ 'openssl', 'genpkey', '-algorithm', 'ed25519', '-out', "$dir/key2.pem" ]);
chmod 0600, "$dir/key2.pem";
q1("ALTER SYSTEM SET agentpay.checkpoint_key_file = '$dir/key2.pem'; SELECT pg_reload_conf()");
q1("INSERT INTO payments (amount) VALUES (11)");
$node->poll_query_until('postgres', 'SELECT count(*) = 2 FROM agentpay._log_keys') or die 'no other key';
settle();
is(q1("SELECT ok FROM agentpay.verify_log()"), 't', 'another key goes on with the log');
is(slurp_file($node->logfile) =~ /PRIVATE KEY/ ? 1 : 0, 0, 'no key is in the server log');

# ── the page that is computed by hand ───────────────────────────────────────
my ($command, $hash) = slurp_file("$tree/docs/reference/canonical.md") =~ /^```sh\n(.*?)^```\n\n```text\n(.*?)^```/ms;
my ($printed) = run_command([ 'sh', '-c', $command ]);
is("$printed\n", $hash, 'canonical.md: its example prints what it says');

$node->stop;
done_testing();
