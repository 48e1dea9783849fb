# Many sessions at once: fifty open transactions on one card see each other and
# leave nothing when they roll back (FAULTS 18), a key that nobody has seen
# before counts each of its first payments once (FAULTS 12), and an idempotency
# key that many insert keeps one payment, one decision, one task (FAULTS 17).
use strict;
use warnings;
use AgentpayTest;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('concurrent');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'agentpay'
agentpay.workers_enabled = off
max_connections = 80
fsync = off
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigserial PRIMARY KEY, card text, at timestamptz NOT NULL DEFAULT '2026-01-01', amount int, outcome text);
CREATE INDEX ON payments (card, at);
SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('fraud', 'n', '{card}', 'count', NULL, '1 day'), ('fraud', 'total', '{card}', 'sum', 'amount', '1 day');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('fraud', 'READS', 'n > total');
SELECT agentpay.activate('fraud');
CREATE VIEW seen AS SELECT p.id, p.card, (d.inputs->>'n')::int AS n, (d.inputs->>'total')::int AS total
	FROM payments p JOIN agentpay.decisions d ON d.point = 'fraud' AND d.row_id = p.id::text;
CREATE FUNCTION pay(card text, amount int) RETURNS text LANGUAGE sql VOLATILE AS $$
	INSERT INTO payments (card, amount) VALUES (card, amount);
	SELECT n || '/' || total FROM seen WHERE id = currval('payments_id_seq');
$$;
SQL

# ── 18: fifty sessions, each with its transaction open ──────────────────────
my @sessions = map { session($node) } 1 .. 50;
my @seen = map { my $n = $_; $sessions[$n - 1]->("BEGIN; SELECT pay('crowd', $n)") } 1 .. 50;
is_deeply(\@seen, [ map { $_ . '/' . $_ * ($_ + 1) / 2 } 1 .. 50 ], 'the n-th of fifty open transactions sees n - 1 others');
is($sessions[0]->("SELECT pay('crowd', 0)"), '51/1275', 'so does the first one, when it pays again');
$sessions[$_]->($_ % 2 ? 'ROLLBACK' : 'COMMIT') for 0 .. 24;
# the even ones of the first 25 rolled back: 2 + 4 + ... + 24 = 156
is($node->safe_psql('postgres', "SELECT pay('crowd', 0)"), '40/1119', 'thirteen committed, twelve rolled back');
$sessions[$_]->('ROLLBACK') for 25 .. 49;
# the first 13 odd numbers, and three payments of nothing
is($node->safe_psql('postgres', "SELECT pay('crowd', 0)"), '16/169', 'what was rolled back left nothing');
is($node->safe_psql('postgres', "SELECT count(*), count(DISTINCT d.row_id) FROM agentpay.decisions d WHERE point = 'fraud'"),
	$node->safe_psql('postgres', 'SELECT count(*), count(*) FROM payments'), 'a decision for each payment that is there, no other');
$_->(undef) for @sessions;

# A backend that goes away in the middle takes its payment with it.
my $lost = session($node);
is($lost->("BEGIN; SELECT pay('lost', 5)"), '1/5', 'one payment in flight');
my $pid = $lost->('SELECT pg_backend_pid()');
is($node->safe_psql('postgres', "SELECT pay('lost', 1)"), '2/6', 'seen by the next one');
$node->safe_psql('postgres', "SELECT pg_terminate_backend($pid)");
ok($node->poll_query_until('postgres', "SELECT NOT EXISTS (SELECT FROM pg_stat_activity WHERE pid = $pid)"), 'its backend ends');
is($node->safe_psql('postgres', "SELECT pay('lost', 1)"), '2/2', 'and so does the payment');
$lost->(undef);

# ── 12: a new key by sixteen sessions in the same instant ───────────────────
my $dir = PostgreSQL::Test::Utils::tempdir;
my @pgbench = ('pgbench', '-n', '-h', $node->host, '-p', $node->port, '-c', 16, '-j', 2);
append_to_file("$dir/first.sql", <<'SQL');
\set t :t + 1
INSERT INTO payments (card, amount) VALUES ('new' || :t, 1);
SQL
append_to_file("$dir/first_or_none.sql", <<'SQL');
\set t :t + 1
\set keep random(0, 1)
BEGIN;
INSERT INTO payments (card, amount) VALUES ('maybe' || :t, 1);
\if :keep
COMMIT;
\else
ROLLBACK;
\endif
SQL
my $ran = '';
IPC::Run::run([ @pgbench, '-t', 60, '-D', 't=0', '-f', "$dir/first.sql", 'postgres' ], '>', \$ran, '2>&1') or diag($ran);
like($ran, qr{actually processed: 960/960}, '60 new keys, 16 first payments each');
is($node->safe_psql('postgres', "SELECT DISTINCT pay('new' || t, 1) FROM generate_series(1, 60) AS t"), '17/17', 'each counted once');
# of two windows each one has its own order of payments in the same instant
is($node->safe_psql('postgres', <<'SQL'), '60', 'and the n-th of them saw n, in each window');
SELECT count(*) FROM (SELECT card FROM seen WHERE card LIKE 'new%' GROUP BY card
	HAVING array_agg(n ORDER BY n) = ARRAY(SELECT generate_series(1, 17))
	   AND array_agg(total ORDER BY total) = ARRAY(SELECT generate_series(1, 17))) AS right_ones
SQL
IPC::Run::run([ @pgbench, '-t', 60, '-D', 't=0', '-f', "$dir/first_or_none.sql", 'postgres' ], '>', \$ran, '2>&1') or diag($ran);
is($node->safe_psql('postgres', <<'SQL'), '0', 'and so where half of them roll back');
WITH kept AS MATERIALIZED (SELECT t, (SELECT count(*) FROM payments WHERE card = 'maybe' || t) AS n FROM generate_series(1, 60) AS t),
	paid AS MATERIALIZED (SELECT t, n, pay('maybe' || t, 1) AS saw FROM kept)
SELECT count(*) FROM paid WHERE saw <> format('%s/%s', n + 1, n + 1)
SQL

# ── 17: one idempotency key by sixteen sessions, with ON CONFLICT ───────────
$node->safe_psql('postgres', <<'SQL');
CREATE TABLE orders (id bigserial PRIMARY KEY, key text UNIQUE, at timestamptz NOT NULL DEFAULT '2026-01-01', amount int, tries int DEFAULT 1, outcome text);
SELECT agentpay.attach('orders', 'orders', 'fraud', 'id', 'at', outcome => 'outcome', idempotency => 'key');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('orders', 'BIG', 'amount > 500', 60);
SELECT agentpay.activate('orders');
INSERT INTO agentpay.models (name, kind, features, definition)
	VALUES ('half', 'logistic', '{amount}', '{"intercept":0,"coefficients":[0],"mean":[0],"scale":[1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage) VALUES ('asked', 'orders', 'builtin', 'half', 'true', 'shadow');
SQL
append_to_file("$dir/nothing.sql", <<'SQL');
\set t :t + 1
\set amount random(1, 1000)
INSERT INTO orders (key, amount) VALUES ('nothing' || :t, :amount) ON CONFLICT (key) DO NOTHING;
SQL
append_to_file("$dir/update.sql", <<'SQL');
\set t :t + 1
\set amount random(1, 1000)
INSERT INTO orders (key, amount) VALUES ('update' || :t, :amount) ON CONFLICT (key) DO UPDATE SET tries = orders.tries + 1;
SQL
for my $what ('nothing', 'update')
{
	IPC::Run::run([ @pgbench, '-t', 60, '-D', 't=0', '-f', "$dir/$what.sql", 'postgres' ], '>', \$ran, '2>&1') or diag($ran);
	like($ran, qr{actually processed: 960/960}, "16 sessions insert 60 keys, ON CONFLICT DO \U$what");
	is($node->safe_psql('postgres', <<"SQL"), '60|60|60|60', 'one payment, one decision, one task for each key');
SELECT count(*), count(d.n) FILTER (WHERE d.n = 1), count(*) FILTER (WHERE o.outcome = d.verdict
	AND o.outcome = CASE WHEN o.amount > 500 THEN 'review' ELSE 'approve' END), count(t.n) FILTER (WHERE t.n = 1)
  FROM orders o
  LEFT JOIN (SELECT row_id, count(*) AS n, min(verdict) AS verdict FROM agentpay.decisions
			  WHERE point = 'orders' AND kind = 'rules' GROUP BY row_id) d ON d.row_id = o.id::text
  LEFT JOIN (SELECT row_id, count(*) AS n FROM agentpay._tasks WHERE point = 'orders' GROUP BY row_id) t ON t.row_id = o.id::text
 WHERE key LIKE '$what%'
SQL
}
is($node->safe_psql('postgres', "SELECT sum(tries) FROM orders WHERE key LIKE 'update%'"), '960', 'every other try updated it');
is($node->safe_psql('postgres', <<'SQL'), '120|120', 'nothing is recorded about rows that did not land');
SELECT (SELECT count(*) FROM agentpay.decisions WHERE point = 'orders' AND kind = 'rules'), (SELECT count(*) FROM agentpay._tasks WHERE point = 'orders')
SQL

done_testing();
