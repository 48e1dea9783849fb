# apply_retention(): what goes, what stays and why; the Merkle log without the
# rows; who uses the logs meanwhile; and partitions of other periods.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes;

my $tree = $ENV{AGENTPAY_TREE};
my $dir = PostgreSQL::Test::Utils::tempdir;
mkdir "$dir/export" or die "could not make a directory: $!";
my $key = "$dir/key.pem";
run_log([ 'openssl', 'genpkey', '-algorithm', 'ed25519', '-out', $key ]) or die 'openssl';
chmod 0600, $key;

my $node = PostgreSQL::Test::Cluster->new('ledger');
$node->init;
$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
agentpay.seal_interval = 50
agentpay.log_origin = 'example.com/ledger'
agentpay.checkpoint_directory = '$dir/export'
max_worker_processes = 16
timezone = 'America/New_York'
CONF
$node->start;
my $exported = "$dir/export/example.com_ledger.checkpoint";

sub q1 { return $node->safe_psql('postgres', $_[0]); }

sub settle
{
	my @keys = ([ 'decisions', 'decision_id' ], [ 'outcomes', 'outcome_id' ], [ 'governance_log', 'event_id' ]);
	my $unsealed = join ' + ', map { "(SELECT count(*) FROM agentpay.$_->[0] r WHERE NOT EXISTS (SELECT FROM agentpay._leaves l WHERE l.row_key = r.$_->[1]))" } @keys;
	$node->poll_query_until('postgres', "SELECT $unsealed = 0") or die 'not sealed';
	return;
}

# Until the file is the last checkpoint, and that is of all leaves.
sub wait_exported
{
	settle();
	foreach (1 .. 1800)
	{
		my ($note, $size) = split /\|/, q1("SELECT encode(sha256(convert_to(note, 'UTF8')), 'hex'), tree_size = (SELECT max(tree_size) FROM agentpay._seals) FROM agentpay.checkpoints ORDER BY tree_size DESC LIMIT 1");
		return slurp_file($exported) if ($size // 'f') eq 't' && -e $exported && `sha256sum $exported` =~ /^$note /;
		Time::HiRes::usleep(100_000);
	}
	die 'not exported';
}

# What apply_retention() returns, and what it says.
sub retain
{
	my ($arguments, $before) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', ($before // '') . '\echo -' . "\nSELECT log, partition_name, rows, dropped FROM agentpay.apply_retention(" . ($arguments // '') . ")");
	return ($out =~ s/\A.*?^-\n?//msr, $err =~ s/psql:\S+ //gr);
}

sub outside
{
	my ($name, $wanted, @arguments) = @_;
	my ($out, $err) = ('', '');
	IPC::Run::run([ 'python3', "$tree/docs/verify_log.py", @arguments ], '>', \$out, '2>', \$err);
	like($out . $err, $wanted, $name);
	return;
}

sub export_csv
{
	my ($columns) = @_;
	my $settings = "SET timezone = 'UTC'; SET datestyle = 'ISO'; SET bytea_output = 'hex'; SET extra_float_digits = 1;";
	my @files;
	foreach my $log (qw(decisions agent_calls outcomes governance_log leaves))
	{
		my $query = $log eq 'leaves' ? "SELECT $columns FROM agentpay._leaves ORDER BY leaf_index" : "SELECT * FROM agentpay.$log";
		open my $handle, '>', "$dir/$log.csv" or die $!;
		print $handle q1("$settings COPY ($query) TO STDOUT (FORMAT csv, HEADER)"), "\n";
		close $handle;
		push @files, "$log=$dir/$log.csv" if $log ne 'leaves';
	}
	return ('--leaves', "$dir/leaves.csv", @files);
}

my $summary = 'SELECT ok, rows, problem FROM agentpay.verify_log() ORDER BY rows LIMIT 1';
my $problems = "SELECT string_agg(concat_ws('|', log, problem), E'\\n') FROM agentpay.verify_log() WHERE NOT ok";

# ── a ledger of fourteen months ─────────────────────────────────────────────
# Each group of payments is of noon in the middle of a month: at midnight the
# rounded offset would put some into the day before.
sub back
{
	my ($months, $sql) = @_;
	return q1("SELECT FROM set_config('agentpay.clock_offset', (SELECT extract(epoch FROM m.at - now())::bigint::text FROM (SELECT (date_trunc('month', now() AT TIME ZONE 'UTC') - interval '$months months' + interval '14 days 12 hours') AT TIME ZONE 'UTC') AS m (at)), false);\n$sql");
}
sub name_of { my ($log, $months) = @_; return q1("SELECT '${log}_' || to_char(date_trunc('month', now() AT TIME ZONE 'UTC') - interval '$months months', 'YYYY_MM')"); }
my %name = map { my $log = $_; map { ("$log $_" => name_of($log, $_)) } (12, 13, 14) } qw(decisions agent_calls outcomes governance_log);
q1('CREATE EXTENSION agentpay');
back(14, <<'SQL');
CREATE TABLE payments (payment_id bigserial PRIMARY KEY, created_at timestamptz NOT NULL DEFAULT agentpay._now(), amount numeric, outcome text);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'payment_id', occurred_at => 'created_at', amount => 'amount', currency => 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('fraud', 'LARGE', 'amount > 900', 60), ('fraud', 'EVEN', 'amount % 2 = 0', 1);
SELECT agentpay.activate('fraud');
SQL
foreach my $months (14, 13, 3, 0)
{
	back($months, "INSERT INTO payments (amount) SELECT g FROM generate_series(1, 50) g;"
		  . "SELECT count(agentpay.record_outcome('fraud', payment_id, 'fraud', effective_at => agentpay._now())) FROM (SELECT payment_id FROM payments ORDER BY payment_id DESC LIMIT 5) p");
}
my $first_id = q1("SELECT decision_id FROM agentpay.decisions WHERE row_id = '1'");

# ── what is refused ─────────────────────────────────────────────────────────
foreach my $keep ("interval '2 months'", "interval '-1 year'", 'NULL')
{
	my ($out, $err) = retain($keep, "\\set VERBOSITY verbose\n");
	like($err, qr/22023: logs cannot be kept for .*only.*DETAIL:.*HINT:.*apply_retention/s, "not for $keep");
}
like((retain('', "SET default_transaction_isolation = 'repeatable read';\n"))[1], qr/needs a transaction of READ COMMITTED/, 'not with an old snapshot');
foreach my $sql ("DROP TABLE agentpay.\"$name{'decisions 14'}\"", "ALTER TABLE agentpay.decisions DETACH PARTITION agentpay.\"$name{'decisions 14'}\"",
	"SELECT agentpay._drop_partition(ROW('decisions', 'agentpay.$name{'decisions 14'}', '$name{'decisions 14'}', '2020-01-01', '2020-02-01', 1, NULL, NULL, NULL)::agentpay._old_partition, '1 year', 1, '')")
{
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	like($err, qr/is append-only: (DROP|DETACH PARTITION) refused/, 'refused: ' . substr($sql, 0, 50));
}
foreach my $role (qw(operator analyst auditor privacy_officer))
{
	q1("CREATE ROLE r_$role; SELECT agentpay.grant_role('r_$role', '$role')");
	my ($rc, $out, $err) = $node->psql('postgres', "SET ROLE r_$role; SELECT * FROM agentpay.apply_retention()");
	like($err, qr/permission denied for function apply_retention/, "not by $role");
}
like((retain())[1], qr/$name{'decisions 14'} is kept: no checkpoint has been signed/, 'not without a checkpoint');
$node->append_conf('postgresql.conf', "agentpay.checkpoint_key_file = '$key'\n");
$node->restart;
my $old_note = wait_exported();
append_to_file("$dir/old", $old_note);
q1('ALTER SYSTEM SET agentpay.workers_enabled = off');
$node->restart;
rename $exported, "$dir/away" or die $!;
like((retain())[1], qr/$name{'decisions 14'} is kept: no checkpoint is in file/, 'not without the exported one, where checkpoints are exported');
rename "$dir/away", $exported or die $!;
back(14, 'INSERT INTO payments (amount) VALUES (7)');
like((retain('', "BEGIN;\n"))[1], qr/$name{'decisions 14'} is kept: 1 of its rows are not sealed/, 'not with a row that is not sealed');
q1('SELECT agentpay._seal()');
like((retain('', "BEGIN;\n"))[1], qr/$name{'decisions 14'} is kept: 1 of its rows are behind the last checkpoint/, 'nor with one that no exported checkpoint has');
q1('ALTER SYSTEM RESET agentpay.workers_enabled');
$node->restart;
wait_exported();

# ── what is open stays ──────────────────────────────────────────────────────
my $at_14 = "(SELECT decided_at FROM agentpay.decisions WHERE row_id = '1')";
my $task = "SELECT agentpay._append(ROW(nextval('agentpay._task_id_seq'), $at_14, 'fraud', '1', '$first_id', 'a', 1, NULL, '$first_id', 0, NULL, NULL, NULL, false, NULL, NULL, NULL)::agentpay._tasks);";
# the cursor is past it
my $taken = "('1:' || (pg_current_xact_id()::text::bigint + 1) || ':')::pg_snapshot";
my $ended = "$task INSERT INTO agentpay._task_cursor VALUES (true, $taken, $taken, '0', 0) ON CONFLICT (one) DO UPDATE SET done = excluded.done, upto = excluded.upto, xid = '0', task_id = 0;";
my %open = (
	"SELECT agentpay.open_case('fraud', 1, 'a look');" => '1 cases are open',
	"INSERT INTO agentpay.actions (point, row_id, decision_id, action) VALUES ('fraud', '1', '$first_id', 'refund');" => '1 actions are open',
	"INSERT INTO agentpay._cases_failed VALUES ('$first_id', $at_14, 'x');" => '1 cases could not be opened yet',
	$task => '1 tasks have not ended',
	"$ended INSERT INTO agentpay._holds (budget, task_id, attempt, state, bound_cost, settled_cost, held_at, counts_until) SELECT 'b', currval('agentpay._task_id_seq'), 1, 'uncertain', 1, 1, now(), now();" => '1 holds of budgets are open or uncertain',
	"UPDATE agentpay.decision_points SET label_maturity = '20 months';" => 'labels of point "fraud" may come for 1 year 8 mons');
foreach my $sql (sort keys %open)
{
	my ($out, $err) = retain('', "BEGIN; $sql\n");
	like($err, qr/\Q$name{'decisions 14'} is kept: $open{$sql}\E\nHINT:  (SELECT|UPDATE)/, "kept: $open{$sql}");
	like($out, qr/^decisions\|$name{'decisions 14'}\|51\|f$/m, 'and said so');
	like($err, qr/$name{'governance_log 14'} is kept: decisions since \S+ \S+ are kept, and need it/, 'and with it what explains it');
	unlike($out, qr/\|$name{"$_ 14"}\|\d+\|t/, "and $_") foreach qw(agent_calls outcomes governance_log);
}
my ($out, $err) = retain('', "BEGIN; CREATE INDEX ON payments (amount, created_at); INSERT INTO agentpay.features (point, name, from_table, key, aggregate, value, over) VALUES ('fraud', 'labelled', 'agentpay.outcomes', '{amount}', 'rate', 'label = ''fraud''', '500 days');\n");
like($err, qr/\Q$name{'outcomes 13'}\E is kept: feature "labelled" of point "fraud" counts its labels/, 'kept: labels that a feature counts');
($out, $err) = retain('', "CREATE VIEW looks AS SELECT * FROM agentpay.\"$name{'decisions 13'}\"; BEGIN;\n");
like($err, qr/$name{'decisions 13'} is kept: other objects depend on it/, 'kept: a view of it');
like($out, qr/^decisions\|$name{'decisions 14'}\|51\|t\ndecisions\|$name{'decisions 13'}\|50\|f$/m, 'which keeps no other');
q1('DROP VIEW looks');

# ── while others use the logs ───────────────────────────────────────────────
my $session = $node->background_psql('postgres', on_error_die => 1);
$session->query_safe('BEGIN; INSERT INTO payments (amount) VALUES (1);');
append_to_file("$dir/insert.sql", "INSERT INTO payments (amount) VALUES (random() * 800);\n");
my $writers = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', '4', '-T', '120', '-f', "$dir/insert.sql", 'postgres' ], '>', \my $bench_out, '2>', \my $bench_err);
$node->poll_query_until('postgres', 'SELECT count(*) > 250 FROM payments') or die 'nothing is written';
my $written = q1('SELECT count(*) FROM payments');
like((retain('', "SET lock_timeout = '2s';\n"))[1], qr/$name{'decisions 14'} is kept: the logs are in use/, 'a transaction that is open on the logs is not waited for');
ok(q1('SELECT count(*) FROM payments') > $written, 'and payments went on');
$session->query_safe('COMMIT;');
$session->quit;
# a crash before the commit
$session = $node->background_psql('postgres');
like($session->query('BEGIN; SELECT count(*) FILTER (WHERE dropped) FROM agentpay.apply_retention();'), qr/^8$/m, 'between the payments it finds its moment');
$node->stop('immediate');
$session->{run}->kill_kill;
IPC::Run::finish($writers);
$node->start;
is(q1('SELECT ok, problem FROM agentpay.verify_log()'), 't|', 'a crash before the commit: nothing was dropped');
is(q1("SELECT count(*) FROM agentpay.\"$name{'decisions 14'}\""), '51', 'the rows are there');
wait_exported();

# ── somebody has changed what would go ──────────────────────────────────────
sub set_triggers
{
	q1("SET allow_system_table_mods = on; UPDATE pg_trigger SET tgenabled = '$_[0]' WHERE tgname IN ('agentpay_change', 'agentpay_insert')");
	return;
}
set_triggers('D');
($out, $err) = retain('', "BEGIN; UPDATE agentpay.decisions SET verdict = 'decline' WHERE row_id = '1';\n");
like($err, qr/$name{'decisions 14'} is kept: 1 of its rows are not what was sealed, such as $first_id\nHINT:  SELECT \* FROM agentpay.verify_log/, 'kept: a changed row');
is(q1("BEGIN; DELETE FROM agentpay.decisions WHERE row_id = '2'; SELECT count(*) FILTER (WHERE dropped) FROM agentpay.apply_retention(); $problems"),
	"8\ndecisions|the row is missing\n1 problems", 'a row that was deleted before is missed after it');
# nobody is excused by a record of his own
my $leaves = "(SELECT jsonb_agg(jsonb_build_array(l.leaf_index, l.leaf_index)) FROM agentpay._leaves l JOIN agentpay.decisions d ON d.decision_id = l.row_key WHERE d.row_id IN ('3', '4'))";
my $decided = "(SELECT decided_at AT TIME ZONE 'UTC' FROM agentpay.decisions WHERE row_id = '3')";
my $day = "date_trunc('day', $decided)";
foreach my $case (
	[ "$day + interval '1 day'", qr/^governance_log\|it says that retention dropped a partition of decisions, but a row of it is there, leaf \d+\n1 problems$/, 'rows of that day are left' ],
	[ "date_trunc('minute', $decided) + interval '1 minute'", qr/^decisions\|the row is missing\ndecisions\|the row is missing\n2 problems$/, 'it is of no whole days' ],
	[ "date_trunc('day', now() AT TIME ZONE 'UTC')", qr/^decisions\|the row is missing\ndecisions\|the row is missing\n2 problems$/, 'it is too young' ],
	[ "$day + interval '1 day'", qr/^decisions\|the row is missing\ndecisions\|the row is missing\n2 problems$/, 'it is of another tree', ", 'root_hash', repeat('00', 32)" ])
{
	my $record = "jsonb_build_object('log', 'decisions', 'from', $day || '+00', 'until', $case->[0] || '+00', 'leaves', $leaves, 'tree_size', k.tree_size, 'root_hash', encode(k.root_hash, 'hex'))"
	  . (defined $case->[3] ? " || jsonb_build_object(" . substr($case->[3], 2) . ')' : '');
	like(q1("BEGIN; SELECT FROM (SELECT agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(), 'postgres', 'drop', 'partition', 'x', NULL, NULL, $record, NULL)::agentpay.governance_log) FROM (SELECT * FROM agentpay.checkpoints ORDER BY tree_size DESC LIMIT 1) k) AS a;"
		. "DELETE FROM agentpay.decisions WHERE row_id IN ('3', '4'); $problems") =~ s/\A\s+//r, $case->[1], "a forged record: $case->[2]");
}
set_triggers('A');

# ── they go ─────────────────────────────────────────────────────────────────
$node->poll_query_until('postgres', "SELECT (SELECT sum(value) FROM agentpay._metric_counts WHERE metric = 'agentpay_decisions_total') = (SELECT count(*) FROM agentpay.decisions)") or die 'not counted';
my $counted = q1("SELECT sum(value) FROM agentpay.metrics WHERE metric = 'agentpay_decisions_total'");
my $governed = q1("SELECT count(*) FROM agentpay.\"$name{'governance_log 14'}\"");
append_to_file("$dir/leaf", q1("SELECT agentpay.canonical_leaf('$first_id')"));
wait_exported();
like((retain("interval '11 months'", "BEGIN;\n"))[1], qr/WARNING:  logs are kept for less than twelve months\nDETAIL:  PCI DSS 10\.5\.1/, 'less than twelve months: a warning');
($out, $err) = retain();
is($err, '', 'nothing keeps them now');
is($out, join("\n", "decisions|$name{'decisions 14'}|51|t", "decisions|$name{'decisions 13'}|50|t", "agent_calls|$name{'agent_calls 14'}|0|t", "agent_calls|$name{'agent_calls 13'}|0|t",
	"outcomes|$name{'outcomes 14'}|5|t", "outcomes|$name{'outcomes 13'}|5|t", "governance_log|$name{'governance_log 14'}|$governed|t", "governance_log|$name{'governance_log 13'}|0|t"),
	'months that are wholly older go, with as many rows as were written');
is((retain())[0], '', 'and then there is nothing to do');
is(q1("SELECT count(*) FROM pg_class WHERE relname ~ '^_tasks_\\d' AND relname COLLATE \"C\" < '_tasks_' || right('$name{'decisions 12'}', 7) AND relkind = 'r'"), '0', 'tasks of the time, too');
is(q1("SELECT string_agg(format('%s %s %s', object, actor, after ->> 'rows'), ', ' ORDER BY event_id) FROM agentpay.governance_log WHERE action = 'drop' AND object ~ '^decisions'"),
	"$name{'decisions 14'} postgres 51, $name{'decisions 13'} postgres 50", 'who, which, and how many rows');
is(q1("SELECT count(*) FROM agentpay._leaves l, agentpay.governance_log g, jsonb_array_elements(g.after -> 'leaves') r WHERE g.action = 'drop' AND g.object = '$name{'decisions 14'}' AND l.log = 'd' AND l.leaf_index BETWEEN (r ->> 0)::int AND (r ->> 1)::int"),
	'51', 'and which leaves');
settle();
my $gone = 51 + 50 + 5 + 5 + $governed;
like(q1($summary), qr/^t\|\d+\|$gone rows were removed by retention, on record in 5 rows of governance_log, leaves \d+ to \d+$/, 'verify_log() knows who removed them');
is(q1('SELECT count(*) FROM agentpay.verify_log() WHERE NOT ok'), '0', 'and has no complaint');
is(q1("SELECT ok FROM agentpay.verify_log(\$c\$$old_note\$c\$)"), 't', 'nor since a checkpoint from before');
my $note = wait_exported();
my ($size) = $note =~ /\n(\d+)\n/;
my ($old_size) = $old_note =~ /\n(\d+)\n/;
my $vkey = q1('SELECT vkey FROM agentpay._log_keys');
outside('from outside, with the hashes', qr/^$size leaves are those of the checkpoint\n$gone rows were dropped by retention, as governance_log says$/,
	'log', '--checkpoint', $exported, '--since', "$dir/old", '--key', $vkey, export_csv('leaf_index, log, row_key, hash'));
outside('without them it says what is missing', qr/^leaf \d+ was dropped by retention: export the column hash/, 'log', '--checkpoint', $exported, '--key', $vkey, export_csv('leaf_index, log, row_key'));
append_to_file("$dir/proof", q1("SELECT agentpay.inclusion_proof('$first_id')"));
outside('a row that was archived is proved still', qr/^the row is leaf \d+ of $size$/, 'proof', '--leaf', "$dir/leaf", '--proof', "$dir/proof", '--key', $vkey);
append_to_file("$dir/hashes", q1("SELECT unnest(agentpay.consistency_proof($old_size))"));
outside('and that the log begins with the old one', qr/^the log of $size leaves begins with that of $old_size$/, 'consistency', '--old', "$dir/old", '--new', $exported, '--hashes', "$dir/hashes", '--key', $vkey);
foreach my $call ('replay', 'explain', 'canonical_leaf')
{
	my ($rc, $o, $e) = $node->psql('postgres', "SELECT agentpay.$call('$first_id')");
	like($e, qr/(no decision|no row of a log has the id) $first_id\nDETAIL:  It was leaf \d+ of the Merkle log; its partition agentpay\.$name{'decisions 14'} was dropped by apply_retention\(\)/, "$call() says where it went");
}
my ($rc, $late_out, $late) = $node->psql('postgres', "SELECT agentpay.record_outcome('fraud', 1, 'fraud')");
like($late, qr/point "fraud" has no decision about row '1'\nDETAIL: .* apply_retention\(\) dropped decisions from before \d{4}-\d\d-01 00:00:00\+00\./, 'a label that comes too late is told why');
ok(q1("SELECT sum(value) FROM agentpay.metrics WHERE metric = 'agentpay_decisions_total'") >= $counted, 'counters do not fall');
foreach my $rolled ('before', 'after')
{
	is(q1("SELECT hits FROM agentpay.rule_stats WHERE code = 'EVEN'"), q1("SELECT count(*) FROM agentpay.decisions WHERE reasons \@> '{EVEN}' AND kind = 'rules'"), "reports are of what is there, $rolled they are counted anew");
	is(q1('SELECT sum(payments), sum(labelled), (SELECT sum(payments) FROM agentpay._payment_days()) FROM agentpay.label_coverage'),
		q1("SELECT count(*), count(*) FILTER (WHERE EXISTS (SELECT FROM agentpay.outcomes o WHERE o.point = d.point AND o.row_id = d.row_id)), count(*) FROM agentpay.decisions d WHERE kind = 'rules'"),
		'of payments, too');
	q1('SELECT agentpay._roll_rules()');
}
is(q1("SELECT count(*) FROM agentpay.replay_all() WHERE state <> 'identical'"), '0', 'what is left replays');

# ── dumped and restored ─────────────────────────────────────────────────────
wait_exported();
my $root = q1('SELECT tree_size, root_hash FROM agentpay._seals ORDER BY seal_id DESC LIMIT 1');
$node->command_ok([ 'pg_dump', '-f', "$dir/dump.sql", 'postgres' ], 'dump');
q1('CREATE DATABASE copy');
q1("ALTER DATABASE copy SET agentpay.checkpoint_key_file = ''");
$node->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', "$dir/dump.sql", 'copy' ], 'restore');
is($node->safe_psql('copy', 'SELECT tree_size, root_hash FROM agentpay._seals ORDER BY seal_id DESC LIMIT 1'), $root, 'the root is the same');
like($node->safe_psql('copy', $summary), qr/^t\|\d+\|$gone rows were removed by retention/, 'a copy knows it, too');
like(($node->psql('copy', 'SELECT * FROM agentpay.apply_retention()'))[2], qr/waits for adopt\(\)/, 'but drops nothing before it is adopted');
q1('DROP DATABASE copy');

# ── the records themselves grow old ─────────────────────────────────────────
my $later = "SET agentpay.clock_offset = '500d';";
q1("ALTER SYSTEM SET agentpay.clock_offset = '500d'");
$node->restart;
q1('SELECT agentpay._make_partitions()');
wait_exported();
($out, $err) = retain();
is($err, '', 'sixteen months later all of it goes');
like($out, qr/^governance_log\|\w+\|\d+\|t$/m, 'the records of the first time, too');
settle();
is(q1("SELECT count(*) FROM agentpay.governance_log WHERE action = 'drop' AND object = '$name{'decisions 14'}' AND after ? 'first_logged_at'"), '1', 'but they are said again');
like(q1($summary), qr/^t\|\d+\|\d+ rows were removed by retention/, 'so that verify_log() still knows');
wait_exported();
outside('and the verifier', qr/^\d+ leaves are those of the checkpoint\n\d+ rows were dropped by retention/,
	'log', '--checkpoint', $exported, '--key', $vkey, export_csv('leaf_index, log, row_key, hash'));

# ── other periods ───────────────────────────────────────────────────────────
# Month, day, week, month, day: whole days of UTC, without an overlap.
my $began = q1('SELECT agentpay._now()');
my $offset = 500;
foreach my $step ([ 'day', 20 ], [ 'day', 80 ], [ 'week', 9 ], [ 'week', 60 ], [ 'month', 17 ], [ 'month', 60 ], [ 'day', 100 ], [ 'day', 3 ])
{
	my ($period, $days) = @$step;
	q1("ALTER SYSTEM SET agentpay.partition_period = '$period'");
	$node->reload;
	$node->poll_query_until('postgres', "SELECT current_setting('agentpay.partition_period') = '$period'") or die 'no reload';
	$offset += $days;
	q1("SET agentpay.clock_offset = '${offset}d'; SELECT agentpay._make_partitions(); INSERT INTO payments (created_at, amount) VALUES (agentpay._now(), 1)");
}
is(q1("SELECT count(*) FROM (SELECT p.*, lead(p.lower) OVER (ORDER BY p.lower) AS next FROM agentpay._partitions('decisions') AS p) AS p WHERE p.next < p.upper OR date_trunc('day', p.lower AT TIME ZONE 'UTC') <> p.lower AT TIME ZONE 'UTC'"), '0', 'no overlap, whole days');
is(q1("SELECT string_agg(DISTINCT (p.upper - p.lower)::text, ',' ORDER BY (p.upper - p.lower)::text) FROM agentpay._partitions('decisions') AS p WHERE p.upper - p.lower IN ('1 day', '7 days') AND p.lower > '$began'"), '1 day,7 days', 'days and weeks');
is(q1("SELECT bool_and(extract(isodow FROM p.lower AT TIME ZONE 'UTC') = 1) FROM agentpay._partitions('decisions') AS p WHERE p.upper - p.lower = '7 days'"), 't', 'weeks begin on Monday, by UTC');
is(q1("SELECT bool_and(CASE WHEN p.leaf::text ~ '_\\d{4}_\\d\\d\$' THEN extract(day FROM p.lower AT TIME ZONE 'UTC') = 1 AND p.upper AT TIME ZONE 'UTC' = p.lower AT TIME ZONE 'UTC' + interval '1 month'"
	. " ELSE p.leaf::text = 'agentpay.decisions' || to_char(p.lower AT TIME ZONE 'UTC', '_YYYY_MM_DD') END) FROM agentpay._partitions('decisions') AS p"), 't', 'full months by their month, others by their first day');
is(q1("SELECT count(*), bool_and(d.decided_at >= p.lower AND d.decided_at < p.upper) FROM agentpay.decisions d JOIN agentpay._partitions('decisions') p ON p.leaf = d.tableoid WHERE d.decided_at > '$began'"), '8|t', 'each row is in its partition');
is(q1("SET agentpay.clock_offset = '${offset}d'; SELECT count(*) FROM agentpay._missing_partitions()"), '0', 'none is missing');
is(q1("SET agentpay.clock_offset = '2000d'; SELECT count(*), min(object) = 'agentpay._tasks_' || to_char(agentpay._now() AT TIME ZONE 'UTC', 'YYYY_MM_DD') FROM agentpay.advice WHERE object_kind = 'partition'"), '10|t', 'advice names those that are: of five logs, today and tomorrow');
done_testing();
