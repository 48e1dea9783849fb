# DROP EXTENSION while payments come in and agents are called: no deadlock, no
# payment lost, nothing left behind; and it can be created again.  While the SQL
# objects are of another version, workers idle and payments go on (FAULTS 38).
use strict;
use warnings;
use IPC::Run;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);

my $node = PostgreSQL::Test::Cluster->new('drop_extension');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
agentpay.dispatchers = 2
deadlock_timeout = '100ms'
log_lock_waits = on
log_statement = 'ddl'
CONF
$node->start;

my $port_file = $node->basedir . '/agent_port';
my $agent = IPC::Run::start(
	[ 'python3', "$ENV{AGENTPAY_TREE}/test/server/agent_server.py", '--port-file', $port_file ],
	'>', '/dev/null', '2>', '/dev/null');
ok($node->poll_query_until('postgres',
	"SELECT (pg_stat_file('$port_file', true)).size > 0 AND pg_read_file('$port_file') ~ '[0-9]'"), 'the agent listens');
my $agent_port = slurp_file($port_file);
chomp $agent_port;

$node->safe_psql('postgres', <<'SQL');
CREATE DATABASE ledger;
\c ledger
CREATE TABLE payments (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT now(), card int, amount numeric, outcome text);
CREATE INDEX ON payments (card, at);
SQL

my $configure = <<"SQL";
CREATE EXTENSION agentpay;
SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES ('fraud', 'card_hour', '{card}', 'count', '1 hour');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('fraud', 'LARGE', 'amount > 500', 60), ('fraud', 'BUSY', 'card_hour > 20', 60);
SELECT agentpay.activate('fraud');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('http://127.0.0.1:$agent_port');
INSERT INTO agentpay.data_policies VALUES ('payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES ('hour', 'hour', 1000), ('each', 'transaction', 1);
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when,
	price_input_per_million, price_output_per_million, stage)
VALUES ('llm', 'fraud', 'openai', 'http://127.0.0.1:$agent_port/delay-50', 'm', '{amount}', 'true', 1, 2, 'shadow');
SQL

my $script = $node->basedir . '/payment.sql';
append_to_file($script, <<'SQL');
\set card random(1, 50)
\set amount random(1, 1000)
INSERT INTO payments (card, amount) VALUES (:card, :amount);
SQL

my $rounds = 3;
for my $round (1 .. $rounds)
{
	$node->safe_psql('ledger', $configure);
	my ($out, $err) = ('', '');
	my $load = IPC::Run::start(
		[ 'pgbench', '-n', '-c', '4', '-j', '2', '-T', '120', '-f', $script, '-h', $node->host, '-p', $node->port, 'ledger' ],
		'>', \$out, '2>', \$err);
	ok($node->poll_query_until('ledger', "SELECT count(*) > 20 FROM agentpay.decisions WHERE kind = 'agent'"),
		"round $round: payments come, agents answer");
	my $before = $node->safe_psql('ledger', 'SELECT max(id) FROM payments');
	my $started = time;
	my ($rc, $stdout, $stderr) = $node->psql('ledger', 'DROP EXTENSION agentpay CASCADE');
	is($rc, 0, 'DROP EXTENSION under load') or diag($stderr);
	cmp_ok(time - $started, '<', 15, 'in time');
	ok($node->poll_query_until('ledger', "SELECT max(id) > $before + 100 FROM payments"), 'payments go on without it');
	# pgbench ends a client whose statement fails, and says so
	$load->signal('INT');
	$load->finish;
	unlike($err, qr/aborted|ERROR/, 'no INSERT failed');
	is($node->safe_psql('ledger', <<'SQL'), '0|0|0', 'nothing is left behind but an empty schema');
SELECT (SELECT count(*) FROM pg_depend d JOIN pg_namespace n ON n.oid = d.refobjid AND d.refclassid = 'pg_namespace'::regclass
		WHERE n.nspname = 'agentpay'),
	(SELECT count(*) FROM pg_trigger WHERE tgname LIKE '%agentpay%'),
	(SELECT count(*) FROM pg_class WHERE relname ~ '^(decisions|agent_calls|outcomes|governance_log|_tasks)')
SQL
	ok($node->poll_query_until('ledger', "SELECT count(*) = 0 FROM pg_stat_activity WHERE datname = 'ledger' AND backend_type LIKE 'agentpay%'"),
		'its workers went');
}

# ── made anew while a governor is at work ───────────────────────────────────
# Its partitions would make the new extension look like a copy, whose first
# attach() is refused; there are none before something has started, and while
# they are made nobody drops the extension.
$node->safe_psql('ledger', 'CREATE EXTENSION agentpay; SELECT agentpay._make_partitions()');
is($node->safe_psql('ledger', 'SELECT agentpay._has_leaves(), agentpay._held()'), 'f|t', 'before the first attach() there are no partitions');
$node->safe_psql('ledger', "SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome')");
is($node->safe_psql('ledger', 'SELECT agentpay._has_leaves(), agentpay._held()'), 't|f', 'which makes them');
is($node->safe_psql('ledger', <<'SQL'), 'AccessShareLock', 'the maker keeps the extension from being dropped');
BEGIN;
DO $$ BEGIN PERFORM agentpay._make_partitions(); END $$;
SELECT mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation = 'agentpay._identity'::regclass;
ROLLBACK;
SQL
foreach my $i (1 .. 3)
{
	my ($rc, undef, $stderr) = $node->psql('ledger', <<'SQL');
DROP EXTENSION agentpay CASCADE;
CREATE EXTENSION agentpay;
SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
SQL
	is($rc, 0, "made anew and attached, time $i") or diag($stderr);
}
$node->safe_psql('ledger', 'DROP EXTENSION agentpay CASCADE');

# ── another version ─────────────────────────────────────────────────────────
# ALTER EXTENSION UPDATE, by the scripts of test/tap/update, while all goes on:
# there are always tasks that wait, so that no dispatcher comes to rest by itself.
$node->safe_psql('ledger', $configure);
$node->safe_psql('ledger', 'CREATE TABLE attached AS SELECT max(id) AS first FROM payments');
my ($out, $err) = ('', '');
my $load = IPC::Run::start(
	[ 'pgbench', '-n', '-c', '2', '-T', '120', '-f', $script, '-h', $node->host, '-p', $node->port, 'ledger' ],
	'>', \$out, '2>', \$err);
my $answered = "SELECT count(*) FROM agentpay.decisions WHERE kind = 'agent'";
ok($node->poll_query_until('ledger', "SELECT ($answered) > 5"), 'agents answer');
$node->safe_psql('ledger', "ALTER EXTENSION agentpay UPDATE TO '1.0.1test'");
is($node->safe_psql('ledger', 'SELECT agentpay._t_added()'), '1', 'its script has run');
ok($node->poll_query_until('ledger', "SELECT bool_and(state = 'version mismatch') FROM agentpay.stat_workers WHERE worker <> 'launcher'"),
	'the workers say why they idle') or diag($node->safe_psql('ledger', 'SELECT * FROM agentpay.stat_workers'));
# what was in flight has come back
my $idle = "SELECT ($answered), (SELECT count(*) FROM agentpay.decisions WHERE kind = 'rules')";
my ($agents_then, $rules_then) = split /\|/, $node->safe_psql('ledger', $idle);
ok($node->poll_query_until('ledger', "SELECT count(*) > $rules_then + 100 FROM agentpay.decisions WHERE kind = 'rules'"), 'payments are decided');
my ($agents_now) = split /\|/, $node->safe_psql('ledger', $idle);
cmp_ok($agents_now - $agents_then, '<', 50, 'and agents are not asked');
$node->safe_psql('ledger', "ALTER EXTENSION agentpay UPDATE TO '1.0'");
ok($node->poll_query_until('ledger', "SELECT ($answered) > $agents_now + 50"), 'until the versions are the same again');
$load->signal('INT');
$load->finish;
unlike($err, qr/aborted|ERROR/, 'no INSERT failed');
is($node->safe_psql('ledger', <<'SQL'), '0', 'and each payment has its one decision');
SELECT count(*) FROM payments p LEFT JOIN (
	SELECT d.row_id, count(*) AS n FROM agentpay.decisions d WHERE d.kind = 'rules' GROUP BY 1) AS r ON r.row_id = p.id::text
 WHERE coalesce(r.n, 0) <> 1 AND p.id > (SELECT first FROM attached)
SQL

ok(slurp_file($node->logfile) !~ /(deadlock detected|PANIC|terminated by signal).*/, 'no deadlock, no crash') or diag($&);
$agent->kill_kill;
$node->stop;
done_testing();
