# Fifty payments in flight on one card see each other (FAULTS 18), also when
# they are prepared transactions, and also after a crash; and while others
# update and move the rows of a window, each row is counted once.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $node = PostgreSQL::Test::Cluster->new('features');
$node->init;
$node->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'agentpay'
agentpay.workers_enabled = off
max_prepared_transactions = 60
CONF
$node->start;
$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigserial NOT NULL, card text, at timestamptz NOT NULL, amount int, note int, shop text)
	PARTITION BY LIST (shop);
CREATE TABLE payments_a PARTITION OF payments (id PRIMARY KEY) FOR VALUES IN ('a');
CREATE TABLE payments_b PARTITION OF payments (id PRIMARY KEY) FOR VALUES IN ('b');
ALTER TABLE payments ADD UNIQUE (id, shop);
CREATE INDEX ON payments (card, at);
CREATE INDEX ON payments (note);
INSERT INTO payments (card, at, amount, note, shop)
	SELECT 'busy', '2026-01-01', 1, g, CASE g % 2 WHEN 0 THEN 'a' ELSE 'b' END FROM generate_series(1, 200) AS g;
SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('fraud', 'n', '{card}', 'count', NULL, '1 day'), ('fraud', 'total', '{card}', 'sum', 'amount', '1 day');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('fraud', 'READS', 'n > total');
SELECT agentpay.activate('fraud');
CREATE FUNCTION pay(card text, amount int, shop text) RETURNS TABLE (n int, total int) LANGUAGE sql VOLATILE AS $$
	INSERT INTO payments (card, at, amount, shop) VALUES (card, '2026-01-01 12:00', amount, shop);
	SELECT (inputs->>'n')::int, (inputs->>'total')::int FROM agentpay.decisions
	 WHERE point = 'fraud' AND row_id = currval('payments_id_seq')::text;
$$;
CREATE TABLE wrong (total int);
SQL

my @seen = split /\n/, $node->safe_psql('postgres', join '', map {
	sprintf "BEGIN; SELECT n FROM pay('crowd', 1, '%s'); PREPARE TRANSACTION 'p%d';\n", $_ % 2 ? 'a' : 'b', $_
} 1 .. 50);
is_deeply(\@seen, [ 1 .. 50 ], 'the n-th payment in flight sees n - 1 others and itself');
$node->stop('immediate');
$node->start;
is($node->safe_psql('postgres', "SELECT n FROM pay('crowd', 1, 'a')"), '51', 'and so after a crash');
$node->safe_psql('postgres', join '', map { $_ % 5 ? "COMMIT PREPARED 'p$_';" : "ROLLBACK PREPARED 'p$_';" } 1 .. 50);
is($node->safe_psql('postgres', "SELECT n FROM pay('crowd', 1, 'a')"), '42', 'what was rolled back is gone');

# Writers change an indexed column, move rows between leaves, and roll back;
# whatever they are at, there are 200 rows of amount 1.
my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/write.sql", <<'SQL');
\set i random(1, 200)
\set r random(1, 3)
\set roll_back :r = 3
BEGIN;
UPDATE payments SET note = note + 1 WHERE id = :i;
UPDATE payments SET shop = CASE shop WHEN 'a' THEN 'b' ELSE 'a' END WHERE id = :i % 50 + 1 AND id <> :i AND :r > 1;
\if :roll_back
ROLLBACK;
\else
COMMIT;
\endif
SQL
append_to_file("$dir/read.sql", <<'SQL');
BEGIN;
SELECT total FROM pay('busy', 0, 'a') \gset
ROLLBACK;
\set is_wrong :total <> 200
\if :is_wrong
INSERT INTO wrong VALUES (:total);
\endif
SQL
my ($host, $port) = ($node->host, $node->port);
my @pgbench = ('pgbench', '-n', '-h', $host, '-p', $port, '-T', 10);
my $writers = IPC::Run::start([ @pgbench, '-c', 4, '--max-tries=100', '-f', "$dir/write.sql", 'postgres' ], '>', \my $written, '2>&1');
my $readers = IPC::Run::start([ @pgbench, '-c', 3, '-f', "$dir/read.sql", 'postgres' ], '>', \my $read, '2>&1');
$writers->finish;
$readers->finish;
my ($transactions) = $read =~ /actually processed: (\d+)/;
cmp_ok($transactions // 0, '>', 100, 'read while others write') or diag($read, $written);
is($node->safe_psql('postgres', 'SELECT total, count(*) FROM wrong GROUP BY total ORDER BY total'), '', 'each row was counted once');
note("$transactions reads");

done_testing();
