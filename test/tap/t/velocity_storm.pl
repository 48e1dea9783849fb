# What shared memory remembers of a window is what the table holds, whatever
# many sessions have done at once: inserts that commit, abort, go back to a
# savepoint, are skipped or are prepared; updates, deletes, moves to another
# partition, DDL; with room for everything, and with room for next to nothing.
# The answers come from plain SQL over the table, when all is quiet.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $dir = PostgreSQL::Test::Utils::tempdir;
append_to_file("$dir/storm.sql", <<'SQL');
\set what random(1, 100)
\set card random(1, 12)
\set amount random(1, 1000)
\set id random(1, 3000)
\set back random(0, 7200)
\if :what <= 30
INSERT INTO payments (card, at, amount, shop) VALUES (:card, '2026-01-10'::timestamptz - :back * interval '1 s', :amount, :what % 2);
\elif :what <= 40
BEGIN;
INSERT INTO payments (card, at, amount, shop) VALUES (:card, '2026-01-10', :amount, 0), (:card, '2026-01-10', :amount + 1, 1);
ROLLBACK;
\elif :what <= 50
BEGIN;
INSERT INTO payments (card, at, amount, shop) VALUES (:card, '2026-01-10', :amount, 1);
SAVEPOINT s;
INSERT INTO payments (card, at, amount, shop) VALUES (:card, '2026-01-10', :amount, 0);
SAVEPOINT t;
INSERT INTO payments (card, at, amount, shop) VALUES (:card, '2026-01-09', :amount, 1);
RELEASE t;
ROLLBACK TO s;
INSERT INTO payments (card, at, amount, shop) VALUES (:card, '2026-01-10', :amount, 0);
COMMIT;
\elif :what <= 60
INSERT INTO payments (id, card, at, amount, shop) SELECT g % 2 + :id, :card, '2026-01-10'::timestamptz + :back * interval '1 s', :amount, 1
  FROM generate_series(1, 3) AS g ON CONFLICT DO NOTHING;
\elif :what <= 70
SELECT try_to('INSERT INTO payments (id, card, at, amount, shop) VALUES (:id, :card, ''2026-01-10'', :amount, 0)
  ON CONFLICT (id, shop) DO UPDATE SET amount = excluded.amount');
\elif :what <= 80
UPDATE payments SET amount = amount + 1 WHERE id = :id;
\elif :what <= 85
SELECT try_to('UPDATE payments SET shop = 1 - shop WHERE id = :id AND shop < 2');
\elif :what <= 90
DELETE FROM payments WHERE id = :id;
\elif :what <= 94
BEGIN;
UPDATE payments SET card = :card WHERE id = :id;
INSERT INTO payments (card, at, amount, shop) VALUES (:card, '2026-01-10', :amount, 1);
ROLLBACK;
\elif :what <= 99
BEGIN;
DELETE FROM payments WHERE id = :id;
SELECT try_to('INSERT INTO payments (id, card, at, amount, shop) VALUES (:id, :card, ''2026-01-10'', :amount, 0), (:id, :card, ''2026-01-10'', 1, 0)');
INSERT INTO payments (id, card, at, amount, shop) VALUES (:id, :card, '2026-01-10', :amount, 0) ON CONFLICT DO NOTHING;
SAVEPOINT s;
DELETE FROM payments WHERE id = :id;
ROLLBACK TO s;
COMMIT;
\else
BEGIN;
ALTER TABLE payments DETACH PARTITION payments_2;
ALTER TABLE payments ATTACH PARTITION payments_2 FOR VALUES IN (2);
COMMIT;
\endif
SQL

sub start_node
{
	my ($name, $memory) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', <<CONF);
shared_preload_libraries = 'agentpay'
agentpay.workers_enabled = off
agentpay.velocity_memory = $memory
max_prepared_transactions = 10
deadlock_timeout = 100ms
CONF
	$node->start;
	$node->safe_psql('postgres', <<'SQL');
CREATE EXTENSION agentpay;
CREATE SEQUENCE ids START 10000;
CREATE TABLE payments (id bigint NOT NULL DEFAULT nextval('ids'), card int, at timestamptz NOT NULL, amount numeric(12,2), shop int,
	outcome text) PARTITION BY LIST (shop);
CREATE TABLE payments_0 PARTITION OF payments (id PRIMARY KEY) FOR VALUES IN (0);
CREATE TABLE payments_1 PARTITION OF payments (id PRIMARY KEY) FOR VALUES IN (1);
CREATE TABLE payments_2 PARTITION OF payments (id PRIMARY KEY) FOR VALUES IN (2);
ALTER TABLE payments ADD UNIQUE (id, shop);
CREATE INDEX ON payments (card, at);
CREATE FUNCTION try_to(statement text) RETURNS void LANGUAGE plpgsql AS $$
	BEGIN EXECUTE statement; EXCEPTION WHEN unique_violation THEN NULL; END $$;
INSERT INTO payments (id, card, at, amount, shop) SELECT g, g % 12 + 1, '2026-01-10'::timestamptz - g * interval '20 s', g, g % 3
  FROM generate_series(1, 3000, 3) AS g;
SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over, delay, filter) VALUES
	('fraud', 'n',      '{card}', 'count',          NULL,     '1 day',  '0',       NULL),
	('fraud', 'n_hour', '{card}', 'count',          NULL,     '1 hour', '0',       NULL),
	('fraud', 'total',  '{card}', 'sum',            'amount', '1 day',  '0',       NULL),
	('fraud', 'late',   '{card}', 'sum',            'amount', '1 hour', '90 min',  NULL),
	('fraud', 'top',    '{card}', 'max',            'amount', '1 day',  '0',       'shop = 1'),
	('fraud', 'kinds',  '{card}', 'count_distinct', 'amount', '1 day',  '0',       NULL),
	('fraud', 'spread', '{card}', 'stddev',         'amount', '1 day',  '0',       NULL);
INSERT INTO agentpay.features (point, name, kind, key) VALUES ('fraud', 'since', 'since_last', '{card}');
INSERT INTO agentpay.rules (point, code, condition)
	SELECT 'fraud', 'READS', string_agg(format('%I IS NULL', name), ' OR ') FROM agentpay.features;
SELECT agentpay.activate('fraud');
SQL
	return $node;
}

# A payment of each card now and one a little earlier; what they saw, and what
# plain SQL says of the rows that were there.
sub check_windows
{
	my ($node, $when) = @_;
	my $wrong = $node->safe_psql('postgres', <<'SQL');
BEGIN;
CREATE TEMP TABLE probe ON COMMIT DROP AS SELECT nextval('ids') AS id, card, at, g
  FROM generate_series(1, 12) AS card, (VALUES (1, '2026-01-10 02:00+00'::timestamptz), (2, '2026-01-10 00:00:01+00')) AS t (g, at) ORDER BY g, card;
CREATE TEMP TABLE truth ON COMMIT DROP AS
SELECT p.id, jsonb_build_object(
	'n', 1 + count(*) FILTER (WHERE b.at > p.at - interval '1 day'),
	'n_hour', 1 + count(*) FILTER (WHERE b.at > p.at - interval '1 hour'),
	'total', coalesce(sum(b.amount) FILTER (WHERE b.at > p.at - interval '1 day'), 0) + 7,
	'late', sum(b.amount) FILTER (WHERE b.at > p.at - interval '150 min' AND b.at <= p.at - interval '90 min'),
	'top', greatest(7, max(b.amount) FILTER (WHERE b.at > p.at - interval '1 day' AND b.shop = 1)),
	'kinds', (SELECT count(DISTINCT x) FROM unnest(array_agg(b.amount) FILTER (WHERE b.at > p.at - interval '1 day') || 7.00) AS x),
	'spread', (SELECT stddev(x) FROM unnest(array_agg(b.amount) FILTER (WHERE b.at > p.at - interval '1 day') || 7.00) AS x),
	'since', extract(epoch FROM p.at - max(b.at))) AS inputs
  FROM probe p LEFT JOIN payments b ON b.card = p.card AND b.at <= p.at GROUP BY p.id, p.at;
INSERT INTO payments (id, card, at, amount, shop) SELECT id, card, at, 7, 1 FROM probe ORDER BY id;
-- the probes at the later time were first: the earlier ones do not see them
SELECT string_agg(format('card %s at %s: %s saw %s, not %s', p.card, p.at, f.name, d.inputs->f.name, t.inputs->f.name), E'\n')
  FROM probe p JOIN truth t USING (id) JOIN agentpay.decisions d ON d.row_id = p.id::text AND d.point = 'fraud', agentpay.features f
 WHERE round((d.inputs->>f.name)::numeric, 6) IS DISTINCT FROM round((t.inputs->>f.name)::numeric, 6) OR d.detail ? 'errors';
ROLLBACK;
SQL
	is($wrong, '', $when);
}

foreach my $memory (65536, 192, 0)
{
	my $node = start_node("storm_$memory", $memory);
	check_windows($node, "$memory kB: before");
	foreach my $round (1, 2)
	{
		my $storm = IPC::Run::start([ 'pgbench', '-n', '-h', $node->host, '-p', $node->port, '-T', 6, '-c', 6,
			'--max-tries=100', '-f', "$dir/storm.sql", 'postgres' ], '>', \my $out, '2>&1');
		$storm->finish;
		my ($transactions) = $out =~ /actually processed: (\d+)/;
		cmp_ok($transactions // 0, '>', 100, "$memory kB: a storm") or diag($out);
		unlike($out, qr/aborted/, "$memory kB: in which nobody gave up") or diag($out);
		note("$transactions transactions");
		check_windows($node, "$memory kB: after storm $round");
		# twice: the probes were rolled back
		check_windows($node, "$memory kB: and again");
	}
	$node->safe_psql('postgres', join '', map {
		"BEGIN; INSERT INTO payments (card, at, amount, shop) VALUES ($_, '2026-01-10', 5, 0); PREPARE TRANSACTION 'p$_';\n" } 1 .. 6);
	$node->stop('immediate') if $memory == 192;
	$node->start if $memory == 192;
	$node->safe_psql('postgres', "INSERT INTO payments (card, at, amount, shop) SELECT g, '2026-01-10', 6, 1 FROM generate_series(1, 12) AS g");
	$node->safe_psql('postgres', join '', map { ($_ % 2 ? 'COMMIT' : 'ROLLBACK') . " PREPARED 'p$_';" } 1 .. 6);
	check_windows($node, "$memory kB: after prepared transactions");
	$node->safe_psql('postgres', 'TRUNCATE payments_0');
	check_windows($node, "$memory kB: after TRUNCATE of a partition");
	my $used = $node->safe_psql('postgres', 'SELECT coalesce(sum(bytes), 0) <= ' . $memory * 1024 . ' FROM agentpay.stat_velocity');
	is($used, 't', "$memory kB: no more memory than that");
	note($node->safe_psql('postgres', 'SELECT * FROM agentpay.stat_velocity'));
	unlike(slurp_file($node->logfile), qr/TRAP|PANIC|terminated by signal 11/, "$memory kB: no crash");
	$node->stop;
}
done_testing();
