# FAULTS 6 for features: a standby remembers nothing, evaluates by index, and
# is right from the first row after its promotion; so is a server after a crash.
# Rows that a logical subscriber receives count, and are not scored.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

my $primary = PostgreSQL::Test::Cluster->new('primary');
$primary->init(allows_streaming => 'logical');
$primary->append_conf('postgresql.conf', <<'CONF');
shared_preload_libraries = 'agentpay'
agentpay.workers_enabled = off
CONF
$primary->start;
my $payments = <<'SQL';
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigserial PRIMARY KEY, card int, at timestamptz NOT NULL DEFAULT '2026-01-01 12:00+00', amount int, outcome text);
CREATE INDEX ON payments (card, at);
SQL
my $point = <<'SQL';
SELECT agentpay.attach('payments', 'fraud', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('fraud', 'n', '{card}', 'count', NULL, '1 day'), ('fraud', 'total', '{card}', 'sum', 'amount', '1 day');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('fraud', 'READS', 'n > total');
SELECT agentpay.activate('fraud');
CREATE FUNCTION seen(card int) RETURNS text LANGUAGE sql AS $$
	INSERT INTO payments (card, amount) VALUES (card, 1);
	SELECT format('%s %s', inputs->>'n', inputs->>'total') FROM agentpay.decisions ORDER BY decided_at DESC, decision_id DESC LIMIT 1 $$;
SQL
$primary->safe_psql('postgres', $payments . $point);
$primary->safe_psql('postgres', 'INSERT INTO payments (card, amount) SELECT g % 2, g FROM generate_series(1, 100) AS g');
# odd numbers up to 99 add up to 2500, even ones up to 100 to 2550
is($primary->safe_psql('postgres', 'SELECT seen(1)'), '51 2501', 'on the primary');
cmp_ok($primary->safe_psql('postgres', 'SELECT sum(hits) FROM agentpay.stat_velocity'), '>', 100, 'from memory');
$primary->backup('base');

my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($primary, 'base', has_streaming => 1);
$standby->start;
$primary->safe_psql('postgres', 'SELECT seen(0); DELETE FROM payments WHERE id = 2; UPDATE payments SET amount = 50 WHERE id = 4');
$primary->wait_for_catchup($standby);
# 2550 + 1 - 2 - 4 + 50, the row that is tried is the 51st
is($standby->safe_psql('postgres', q{SELECT string_agg(value, ' ' ORDER BY name) FROM agentpay.evaluate('fraud', '{"card": 0, "amount": 0, "at": "2026-01-01 12:00+00"}')
	WHERE item = 'feature'}), '51 2595', 'the standby evaluates by index');
is($standby->safe_psql('postgres', 'SELECT coalesce(sum(entries), 0) FROM agentpay.stat_velocity'), '0', 'and remembers nothing');

$primary->stop('immediate');
$standby->promote;
is($standby->safe_psql('postgres', 'SELECT seen(0)'), '51 2596', 'the first row after the promotion');
is($standby->safe_psql('postgres', 'SELECT seen(0)'), '52 2597', 'and the second one');
cmp_ok($standby->safe_psql('postgres', 'SELECT sum(entries) FROM agentpay.stat_velocity'), '>', 0, 'which it remembers');
$standby->stop('immediate');
$standby->start;
is($standby->safe_psql('postgres', 'SELECT seen(0)'), '53 2598', 'and after a crash');

# A subscriber that scores payments of its own beside those it receives.
my $subscriber = PostgreSQL::Test::Cluster->new('subscriber');
$subscriber->init;
$subscriber->append_conf('postgresql.conf', "shared_preload_libraries = 'agentpay'\nagentpay.workers_enabled = off\n");
$subscriber->start;
$subscriber->safe_psql('postgres', $payments . $point . "SELECT setval('payments_id_seq', 100000)");
$standby->safe_psql('postgres', 'CREATE PUBLICATION payments FOR TABLE payments');
$subscriber->safe_psql('postgres', 'CREATE SUBSCRIPTION payments CONNECTION $$' . $standby->connstr('postgres') . '$$ PUBLICATION payments');
$subscriber->wait_for_subscription_sync($standby, 'payments');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM agentpay.decisions'), '0', 'what was received is not scored');
is($subscriber->safe_psql('postgres', 'SELECT seen(0)'), '54 2599', 'but counts');
$standby->safe_psql('postgres', 'INSERT INTO payments (card, amount) VALUES (0, 100); UPDATE payments SET amount = 0 WHERE id = 4; DELETE FROM payments WHERE id = 6');
$standby->wait_for_catchup('payments');
# + 1 + 1 - 1 rows; + 1 + 100 - 50 - 6
is($subscriber->safe_psql('postgres', 'SELECT seen(0)'), '55 2644', 'so does what was inserted, updated and deleted there');
is($subscriber->safe_psql('postgres', 'SELECT count(*) FROM agentpay.decisions'), '2', 'two decisions, for its own two payments');
$standby->safe_psql('postgres', 'TRUNCATE payments');
$standby->wait_for_catchup('payments');
is($subscriber->safe_psql('postgres', 'SELECT seen(0)'), '1 1', 'what was truncated there is gone');
done_testing();
