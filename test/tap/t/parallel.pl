# backtest() and replay_all() by several processes say what one says, whatever
# the rows are like; they end with their leader; who sees what stays as it was.
use strict;
use warnings;
use File::Temp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib "$FindBin::Bin/..";
use AgentpayTest;

my $key_dir = File::Temp->newdir(CLEANUP => 1);
open my $key, '>', "$key_dir/master.key" or die $!;
print $key 'a1' x 32, "\n";
close $key;
chmod 0600, "$key_dir/master.key";

my $node = PostgreSQL::Test::Cluster->new('parallel');
$node->init;
# workers are logged when they start; any table is large enough for them
$node->append_conf('postgresql.conf', <<"CONF");
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
agentpay.master_key = 'file:$key_dir/master.key'
max_worker_processes = 16
log_min_messages = debug1
fsync = off
min_parallel_table_scan_size = 0
restart_after_crash = on
max_parallel_workers_per_gather = 3
CONF
$node->start;
sub sql { return $node->safe_psql('postgres', join ';', @_); }
sub fails { my (undef, undef, $error) = $node->psql('postgres', '\set VERBOSITY verbose' . "\n" . join ';', @_); return $error; }

# How many helpers were ever started, and how many there are.
sub started { return scalar(() = slurp_file($node->logfile) =~ /starting background worker process "agentpay (?:backtest|replay) worker/g); }
sub helpers { return sql("SELECT count(*) FROM pg_stat_activity WHERE backend_type IN ('agentpay backtest', 'agentpay replay')"); }

# ── rows of every kind ──────────────────────────────────────────────────────
# Rules that fail, NULLs, a model, a list that changed, a version in shadow,
# repeated keys, sealed and forgotten values, texts to trip over, rows that are
# gone, and one that makes a message longer than a worker's queue.
sql(<<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL, customer text, card text,
	amount numeric, currency text, memo text, key text, outcome text);
CREATE INDEX ON payments (card, at);
CREATE INDEX ON payments (key);
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'currency', subject => 'customer', outcome => 'outcome', idempotency => 'key');
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment)
VALUES ('payments', 'memo', 'free_text', 'drop');
INSERT INTO agentpay.lists VALUES ('bad');
INSERT INTO agentpay.list_entries (list, value) VALUES ('bad', 'c3');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES ('m', 'logistic', '{amount}',
	'{"intercept": -2, "coefficients": [0.03], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over)
VALUES ('fraud', 'spent', '{card}', 'sum', 'amount', '1 day');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('fraud', 'DIVIDE', '100 / (amount - 50) > 10', 30),
	('fraud', 'LISTED', 'in_list(''bad'', card)', 60),
	('fraud', 'MODEL', 'model(''m'') > 0.5', 40),
	('fraud', 'SPENT', 'spent > 2000', 20),
	('fraud', 'MEMO', 'memo LIKE ''%x%''', 5);
SELECT agentpay.activate('fraud');
UPDATE agentpay.rules SET score = 110 WHERE point = 'fraud' AND code = 'SPENT' AND version = 2;
SQL
sql("SELECT agentpay.activate('fraud', as_shadow => true)") if sql("SELECT count(*) FROM agentpay.rulesets WHERE state = 'draft'");
await('the governor makes the lookup key', sub { sql('SELECT count(*) FROM agentpay._lookup_key') });
sub pay
{
	my ($first, $last, $day) = @_;
	sql(<<"SQL");
INSERT INTO payments (id, at, customer, card, amount, currency, memo, key)
SELECT i, '2026-0$day-10 00:00+00'::timestamptz + i * interval '1 minute', 'who' || i % 50,
	   CASE WHEN i % 11 <> 0 THEN 'c' || i % 7 END,
	   CASE i % 13 WHEN 0 THEN NULL WHEN 1 THEN 50 WHEN 2 THEN 'NaN'::numeric ELSE i * 37 % 101 END,
	   CASE i % 5 WHEN 0 THEN '' WHEN 1 THEN 'U''S"D\\' WHEN 2 THEN NULL ELSE 'EUR' END,
	   CASE i % 3 WHEN 0 THEN 'x' || i END, CASE WHEN i % 100 < 2 THEN 'k' || i / 100 END
  FROM generate_series($first, $last) AS i
SQL
	return;
}
pay(1, 1500, 1);
sql("DELETE FROM agentpay.list_entries WHERE value = 'c3'", "INSERT INTO agentpay.list_entries (list, value) VALUES ('bad', 'c5')");
pay(1501, 3000, 2);
sql("INSERT INTO payments (id, at, amount, currency) VALUES (3001, '2026-03-01', 1, repeat('long', 50000))",
	"SELECT agentpay.record_outcome('fraud', i, CASE WHEN i % 2 = 0 THEN 'fraud' ELSE 'legit' END) FROM generate_series(1, 3000, 7) AS i",
	"DELETE FROM payments WHERE id % 29 = 0",
	"SELECT agentpay.forget('who7', 'a test')",
	"ANALYZE");
# what rules of the past do not have has to be worked out: 3 reads a new window
sql("INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES ('fraud', 'n', '{card}', 'count', '2 hours')",
	"INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('fraud', 'N', 'n > 15', 70)");

my %questions = (
	'backtest() of the version that decided' => "SELECT * FROM agentpay.backtest('fraud', 1)",
	'backtest() of a draft, which reads what is not on record' => "SELECT * FROM agentpay.backtest('fraud')",
	'backtest() of a stretch of time' => "SELECT * FROM agentpay.backtest('fraud', NULL, '2026-01-10 05:00+00', '2026-01-10 09:00+00')",
	'replay_all()' => 'SELECT * FROM agentpay.replay_all()',
	'replay_all() of nothing' => "SELECT * FROM agentpay.replay_all('2001-01-01', '2001-01-02')");
my $alone = 'SET max_parallel_workers_per_gather = 0';
my $apart = 'SET parallel_leader_participation = off';
my %alone;
foreach my $what (sort keys %questions)
{
	my $before = started();
	$alone{$what} = sql($alone, $questions{$what});
	is(started(), $before, "$what: alone, without workers");
	is(sql($questions{$what}), $alone{$what}, '... with workers it says the same');
	my $between = started();
	is(sql($apart, $questions{$what}), $alone{$what}, '... by workers alone, too');
	cmp_ok($between, '>', $before, '... which there were') unless $what =~ /nothing/;
}
# each payment once, but the second row of each key: 101, 201, ... 2901
my ($draft) = grep { /draft/ } keys %questions;
is(sql("SELECT sum(payments) FROM ($questions{$draft}) AS b"), 3001 - 29, 'every payment that rules decided about counts once');
like($alone{$draft}, qr/^\|?[a-z]+\|\|/m, 'rows that are gone have no answer');
like($alone{'replay_all()'}, qr/^erased\|60\|/m, 'all 60 payments of who was forgotten are erased');
unlike($alone{'replay_all()'}, qr/different/, 'nothing differs');
is(helpers(), 0, 'no worker is left');

# ── where only one process will do ──────────────────────────────────────────
sub serially
{
	my ($what, $expected, @statements) = @_;
	my $before = started();
	is((split /\n/, sql(@statements))[-1], $expected, $what);
	is(started(), $before, '... in one process');
	return;
}
my $count = "SELECT sum(payments) FROM ($questions{$draft}) AS b";
{
	my $before = started();
	my $seen = sql('BEGIN', "INSERT INTO payments (id, at, amount) VALUES (9000, '2026-03-01', 1)", $count, 'ROLLBACK');
	is($seen, 3001 - 29 + 1, 'what the transaction itself wrote counts');
	is(started(), $before, '... in one process');
}
serially('no workers are to be had', 3001 - 29, 'SET max_parallel_workers = 0', $count);
serially('a serializable transaction', 3001 - 29, 'SET default_transaction_isolation = serializable', $count);
serially('rules that may call functions', 3001 - 29, "SET agentpay.expression_schemas = 'public'", $count);
serially('a log that is small enough', 3001 - 29, "SET min_parallel_table_scan_size = '1GB'", $count);
is(sql("BEGIN ISOLATION LEVEL REPEATABLE READ; $count; COMMIT"), 3001 - 29, 'repeatable read, with workers');

# ── rights ──────────────────────────────────────────────────────────────────
# A role that a policy lets see half of the rows; what it does not see has no
# answer, where the row is needed.
sql(<<'SQL');
CREATE ROLE clerk;
CREATE ROLE teller SUPERUSER LOGIN;
GRANT USAGE ON SCHEMA agentpay TO clerk;
GRANT SELECT ON ALL TABLES IN SCHEMA agentpay TO clerk;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA agentpay TO clerk;
GRANT SELECT ON payments TO clerk;
ALTER TABLE payments ENABLE ROW LEVEL SECURITY;
CREATE POLICY halves ON payments TO clerk USING (id % 2 = current_setting('clerk.half')::int AND current_user = 'clerk');
SQL
my $unseen = "SELECT sum(payments) FILTER (WHERE backtest_verdict IS NULL) FROM ($questions{$draft}) AS b";
my $half = "SET clerk.half = 1; SET ROLE clerk";
my $hidden = sql($alone, $half, $unseen);
my $gone = sql($alone, $unseen);
cmp_ok($hidden, '>', $gone + 1000, 'row security hides rows');
is(sql($half, $apart, $unseen), $hidden, '... from workers as well');
is(sql("SET clerk.half = 1; SET SESSION AUTHORIZATION clerk", $apart, $unseen), $hidden, '... by session authorization');
is(sql($apart, $unseen), $gone, '... and from nobody else');
like(fails($half, $apart, "SELECT * FROM agentpay.backtest('fraud', 77)"), qr/42704/, 'an error before there are workers');
is(helpers(), 0, 'no worker is left');
# who may not log in any more, though he is in: below PostgreSQL 17 no worker gets in
is($node->safe_psql('postgres', "ALTER ROLE teller NOLOGIN; $apart; $questions{$draft}", extra_params => [ '-U', 'teller' ]),
	$alone{$draft}, 'workers that do not come as far as to begin');

# ── an error of a worker is the leader's ────────────────────────────────────
sql('REVOKE SELECT ON payments FROM clerk');
my $denied = '42501: permission denied for table payments';
like(fails($alone, $half, $questions{$draft}), qr/ERROR: +\Q$denied/, 'an error of one process');
like(fails($half, $apart, $questions{$draft}), qr/ERROR: +\Q$denied\E.*CONTEXT:.*agentpay backtest$/sm,
	'... is the same from a worker, and says so');
is(helpers(), 0, 'no worker is left');
sql('ALTER TABLE payments DISABLE ROW LEVEL SECURITY');

# ── they end with their leader ──────────────────────────────────────────────
# A lock on the table keeps workers waiting; the leader takes no part.
my $blocker = session($node);
my $waiting = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'agentpay backtest' AND wait_event_type = 'Lock'";
my $leader = "SELECT DISTINCT leader_pid FROM pg_stat_activity WHERE backend_type = 'agentpay backtest'";
my $question = "SELECT * FROM agentpay.backtest('fraud', 1)";
my $answer = sql($alone, $question);

# What becomes of a leader whose workers wait, when this is done to it.
sub while_waiting
{
	my ($deed, @settings) = @_;
	my ($out, $error) = ('', '');
	$blocker->('BEGIN; LOCK TABLE payments IN ACCESS EXCLUSIVE MODE');
	my $asks = IPC::Run::start([ 'psql', '-X', '-A', '-t', '-q', '-v', 'VERBOSITY=verbose', '-d', $node->connstr('postgres'),
			map { ('-c', $_) } $apart, @settings, $question ],
		'<', \undef, '>', \$out, '2>', \$error, IPC::Run::timeout(120));
	if (defined $deed)
	{
		await('the workers wait', sub { sql($waiting) == 3 });
		$deed->();
	}
	eval { $asks->finish; };
	my $left = helpers();
	$blocker->('ROLLBACK');
	return ($error, $left, $out);
}
my ($error, $left, $out) = while_waiting(undef, "SET statement_timeout = '2s'");
like($error, qr/57014: canceling statement due to statement timeout/, 'statement_timeout ends the leader');
is($left, 0, '... and its workers with it');
($error, $left) = while_waiting(sub { sql("SELECT pg_cancel_backend(leader_pid) FROM ($leader) AS l") });
like($error, qr/57014: canceling statement due to user request/, 'so does a cancel');
is($left, 0, '... and no worker is left');
($error, $left) = while_waiting(sub { sql("SELECT pg_terminate_backend(leader_pid) FROM ($leader) AS l") });
like($error, qr/57P01/, 'the leader is terminated');
await('its workers end', sub { helpers() == 0 });
($error, $left) = while_waiting(
	sub { sql("SELECT pg_terminate_backend(min(pid)) FROM pg_stat_activity WHERE backend_type = 'agentpay backtest'") });
like($error, qr/ERROR: +57P01: terminating background worker/, 'a worker that is terminated is an error of the leader');
is($left, 0, '... which ends the others');
($error, $left, $out) = while_waiting(sub { $blocker->('ROLLBACK') });
is("$error$out", "$answer\n", 'workers that waited go on');

# a lock of the leader's own does not keep its workers waiting
is(sql($apart, 'BEGIN', 'LOCK TABLE payments IN ACCESS EXCLUSIVE MODE', $question, 'COMMIT'), $answer, 'a lock of the leader');

# ── kill -9 of a worker: the server comes back, and so does the answer ──────
my $checkpointer = "SELECT backend_start FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
my $before = sql($checkpointer);
$blocker->('BEGIN; LOCK TABLE payments IN ACCESS EXCLUSIVE MODE');
my $asks = IPC::Run::start([ 'psql', '-X', '-d', $node->connstr('postgres'), '-c', $apart, '-c', $question ],
	'<', \undef, '>', \$out, '2>', \$error, IPC::Run::timeout(120));
await('the workers wait', sub { sql($waiting) == 3 });
kill 'KILL', sql("SELECT min(pid) FROM pg_stat_activity WHERE backend_type = 'agentpay backtest'");
eval { $asks->finish; };
$blocker->();
await('the server has restarted itself', sub {
	my ($rc, $now) = eval { $node->psql('postgres', $checkpointer) };
	return ($rc // 1) == 0 && $now ne '' && $now ne $before; });
is(sql($question), $answer, 'after a crash of a worker it says the same');
is(helpers(), 0, 'no worker is left');
$node->stop;
done_testing();
