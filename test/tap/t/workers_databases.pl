# Workers and databases: where the extension is there are workers, they keep
# nobody from dropping, renaming or copying a database (FAULTS 37; INTERNALS
# 28), and they hold back no vacuum while an agent takes its time (44).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use AgentpayTest;

start_agents();
my $node = new_ledger('databases');
sub query { my ($sql, $database) = @_; return $node->safe_psql($database // 'postgres', $sql); }

# The workers of a database, in alphabetical order.
sub workers
{
	return query("SELECT string_agg(backend_type, ', ' ORDER BY backend_type) FROM pg_stat_activity
		WHERE datname = '$_[0]' AND backend_type LIKE 'agentpay%'");
}
my $both = 'agentpay dispatcher, agentpay governor';
sub has_workers { my ($database, $what) = @_; return await($what, sub { workers($database) eq $both }, 20); }

# ── presence ────────────────────────────────────────────────────────────────
has_workers('postgres', 'CREATE EXTENSION brings workers');
query('CREATE DATABASE plain');
query('CREATE DATABASE ledger');
query('CREATE EXTENSION agentpay', 'ledger');
has_workers('ledger', 'in each database that has it');
is(workers('plain'), '', 'and in no other');
is(workers('template1'), '', 'a template is left alone');

# ── 37: what needs a database for itself ────────────────────────────────────
# PostgreSQL itself waits for five seconds, and then refuses.
sub quick
{
	my ($what, $sql) = @_;
	my $since = time;
	my ($rc, $out, $err) = $node->psql('postgres', $sql);
	is($err, '', "$what: works");
	cmp_ok(time - $since, '<', 4, "$what: at once");
	return;
}
has_workers('ledger', 'the ledger has its workers');
quick('CREATE DATABASE ... TEMPLATE', 'CREATE DATABASE twin TEMPLATE ledger');
has_workers('ledger', 'the workers are back in the original');
has_workers('twin', 'and in the copy');
is(query('SELECT agentpay._held()', 'twin'), query('SELECT agentpay._held()', 'ledger'), 'neither was started');
quick('ALTER DATABASE RENAME', 'ALTER DATABASE twin RENAME TO sibling');
has_workers('sibling', 'the workers are back under the new name');
mkdir($node->basedir . '/space');
query("CREATE TABLESPACE space LOCATION '" . $node->basedir . "/space'");
quick('SET TABLESPACE', 'ALTER DATABASE sibling SET TABLESPACE space');
has_workers('sibling', 'the workers are back in the other tablespace');
quick('DROP DATABASE', 'DROP DATABASE sibling');
is(workers('sibling'), '', 'no worker is left');
has_workers('ledger', 'the others go on');

# somebody else is there: refused as ever, and the workers come back
my $guest = session($node, 'ledger');
$guest->('SELECT 1');
my ($rc, $out, $err) = $node->psql('postgres', 'DROP DATABASE ledger');
like($err, qr/is being accessed by other users/, 'a session of somebody else still counts');
$guest->();
has_workers('ledger', 'after the refusal the workers are back');
# who may not drop it does not stop workers either
query('CREATE ROLE stranger LOGIN');
my $pids = "SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity WHERE datname = 'ledger'";
my $before = query($pids);
($rc, $out, $err) = $node->psql('postgres', 'SET ROLE stranger; DROP DATABASE ledger');
like($err, qr/must be owner/, 'a stranger may not');
is(query($pids), $before, 'and stops nobody');
quick('DROP DATABASE ... FORCE', 'DROP DATABASE ledger WITH (FORCE)');

# ── DROP EXTENSION ──────────────────────────────────────────────────────────
query('CREATE DATABASE other');
query('CREATE EXTENSION agentpay', 'other');
has_workers('other', 'a new one');
query('DROP EXTENSION agentpay', 'other');
await('the workers leave', sub { workers('other') eq '' });
query('CREATE EXTENSION agentpay', 'other');
has_workers('other', 'and come again');

# ── 44: no snapshot, no transaction while an agent takes its time ───────────
add_agent($node, 'slow', behaviour => 'hang', timeout_ms => 60000);
ask($node, 'slow', 1, 50);
await('the calls are under way', sub { in_flight($node) eq '50' });
my $activity = "SELECT %s FROM pg_stat_activity WHERE backend_type = 'agentpay dispatcher' AND datname = 'postgres'";
await('the dispatcher waits', sub { query(sprintf $activity, "wait_event_type || ' ' || query") eq 'Extension calling agents: 50 in flight' });
is(query(sprintf $activity, 'backend_xmin IS NULL AND backend_xid IS NULL AND xact_start IS NULL'), 't',
	'no snapshot and no transaction while it waits');
# 0xA604 as a smallint: the one dispatcher of its database
is(query("SELECT string_agg(l.locktype || ' ' || l.objsubid, ', ') FROM pg_locks l JOIN pg_stat_activity a USING (pid)
	WHERE a.backend_type = 'agentpay dispatcher' AND datname = 'postgres' AND l.locktype <> 'virtualxid'"), 'advisory -23036', 'and no lock but its own');
query('CREATE TABLE garbage AS SELECT generate_series(1, 1000) AS n');
query('DELETE FROM garbage');
# a page that vacuum could empty is given back
query('VACUUM garbage');
is(query("SELECT pg_relation_size('garbage')"), '0', 'vacuum is not held back');
is(query("SELECT state, in_flight FROM agentpay.stat_workers WHERE worker = 'dispatcher'"), 'calling|50', 'stat_workers says what it does');
is(query("SELECT agent, state, tasks FROM agentpay.queue_status"), 'slow|sent|50', 'queue_status too');

# ── 42: no worker slot is free ──────────────────────────────────────────────
$node->append_conf('postgresql.conf', "max_worker_processes = 2\nmax_parallel_workers = 0\nmax_logical_replication_workers = 0");
$node->restart;
query("INSERT INTO payments (payment_id, agent, amount) VALUES (1000, 'slow', 5)");
await('the launcher says why', sub { query("SELECT last_error FROM agentpay.stat_workers WHERE worker = 'launcher'") =~ /raise max_worker_processes \(now 2\)/ });
is(query('SELECT count(*) FROM payments WHERE payment_id = 1000'), '1', 'payments come in without workers');

$node->stop;
done_testing();
