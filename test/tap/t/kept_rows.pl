# What the governor keeps for reports knows rows by their transaction ids
# (79_rollups.sql).  So reports are held here to plain SQL over the logs where
# these are not what they were: on a standby and after its promotion, with a
# transaction that was open and one that was prepared; on a subscriber, and when
# it is none any more; in a restored dump, whose own ids are far lower, and when
# they have come to those of the rows.
use strict;
use warnings;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

my $conf = <<'CONF';
shared_preload_libraries = 'agentpay'
agentpay.recheck_interval = 1
max_worker_processes = 16
max_prepared_transactions = 4
wal_level = logical
fsync = off
CONF
# Without workers of its own, a node counts when it is told to.
my $quiet = "agentpay.workers_enabled = off\n";

# The next transaction has this id, of epoch 3: the first of a page of pg_xact,
# so that no file has to be there.
sub begin_at
{
	my ($node, $segment) = @_;
	$node->stop;
	$node->command_ok([ 'pg_resetwal', '-f', '-e', '3', '-x', 1048576 * $segment, $node->data_dir ],
		"transaction ids go on at segment $segment");
	$node->start;
	return;
}

sub start_cluster
{
	my ($name, $more) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init(allows_streaming => 'logical');
	$node->append_conf('postgresql.conf', $conf . $more);
	$node->start;
	return $node;
}

my $labels = "UPDATE agentpay.decision_points SET labels_complete = true, label_maturity = '0'";

# What reports say: of rules, from _rule_rollup; of payments, from
# _payment_rollup; of agents, from _asked_rows and _call_rows.
sub reported
{
	my ($node) = @_;
	return $node->safe_psql('postgres', <<'SQL');
SELECT (SELECT concat_ws(' ', evaluated, hits, round(precision * hits)) FROM agentpay.rule_stats WHERE code = 'LARGE'),
	(SELECT concat_ws(' ', sum(payments), sum(labelled), (SELECT sum(payments) FROM agentpay._payment_days())) FROM agentpay.label_coverage),
	(SELECT concat_ws(' ', sum(invoked), sum(pairs), coalesce(sum(agreed), 0)) FROM agentpay.shadow_vs_rules WHERE agent = 'a' AND compared = 'answer'),
	(SELECT concat_ws(' ', coalesce(sum(labelled), 0), coalesce(sum(positives), 0)) FROM agentpay.agent_accuracy
	  WHERE agent = 'a' AND decided_by = 'agent' AND positive = 'positive' AND population = 'answered'),
	(SELECT concat_ws(' ', coalesce(sum(calls), 0), sum(cost), coalesce(sum(decisions), 0)) FROM agentpay.agent_cost WHERE agent = 'a')
SQL
}

# The same by the logs alone.  Labels are complete: what has none is legit.
sub logged
{
	my ($node) = @_;
	return $node->safe_psql('postgres', <<'SQL');
WITH label AS (
	SELECT DISTINCT ON (row_id) row_id, label = 'fraud' AS fraud FROM agentpay.outcomes ORDER BY row_id, observed_at DESC),
rules AS (
	SELECT d.row_id, d.verdict, 'LARGE' = ANY (d.reasons) AS large, coalesce(l.fraud, false) AS fraud
	  FROM agentpay.decisions d LEFT JOIN label l USING (row_id) WHERE d.kind = 'rules'),
answers AS (
	SELECT d.row_id, d.answer FROM agentpay.decisions d WHERE d.agent = 'a' AND d.kind = 'agent')
SELECT (SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE large), count(*) FILTER (WHERE large AND fraud)) FROM rules),
	(SELECT concat_ws(' ', count(*), count(l), count(*)) FROM rules r LEFT JOIN label l USING (row_id)),
	(SELECT concat_ws(' ', (SELECT count(*) FROM agentpay._tasks WHERE agent = 'a'), count(*),
			count(*) FILTER (WHERE a.answer = r.verdict)) FROM answers a JOIN rules r USING (row_id)),
	(SELECT concat_ws(' ', count(*), count(*) FILTER (WHERE r.fraud)) FROM answers a JOIN rules r USING (row_id)),
	(SELECT concat_ws(' ', count(*), sum(cost), (SELECT count(*) FROM answers)) FROM agentpay.agent_calls)
SQL
}

# What is kept, of all that there is to keep.
sub kept
{
	my ($node) = @_;
	return $node->safe_psql('postgres', <<'SQL');
SELECT (SELECT coalesce(sum(n), 0) FROM agentpay._rule_rollup WHERE EXISTS (SELECT FROM agentpay._rule_rollup_state)),
	(SELECT coalesce(sum(n), 0) FROM agentpay._payment_rollup WHERE EXISTS (SELECT FROM agentpay._rule_rollup_state)),
	(SELECT count(*) FROM agentpay._asked_rows WHERE EXISTS (SELECT FROM agentpay._asked_state)),
	(SELECT count(*) FROM agentpay._call_rows WHERE EXISTS (SELECT FROM agentpay._asked_state)),
	(SELECT coalesce(sum(value), 0) FROM agentpay._metric_counts WHERE metric = 'agentpay_decisions_total')
SQL
}
my $all = <<'SQL';
SELECT (SELECT count(*) FROM agentpay.decisions WHERE kind = 'rules'), (SELECT count(*) FROM agentpay.decisions WHERE kind = 'rules'),
	(SELECT count(*) FROM agentpay._tasks),
	(SELECT count(*) FROM agentpay.agent_calls), (SELECT count(*) FROM agentpay.decisions)
SQL

sub exact
{
	my ($node, $when) = @_;
	my $logged = logged($node);
	is(reported($node), $logged, "$when: reports say what the logs say ($logged)");
	return;
}

sub turn
{
	my ($node) = @_;
	$node->safe_psql('postgres', "SELECT agentpay.$_()") foreach qw(_roll_rules _roll_asked _roll_drift _count_metrics);
	return;
}

sub counted
{
	my ($node, $when) = @_;
	turn($node);
	is(kept($node), $node->safe_psql('postgres', $all), "$when: all is kept, once");
	exact($node, $when);
	return;
}

# Payments of 20, 2000 and 20000: approved by both, stopped by the agent alone,
# stopped by both.
sub payments
{
	my ($first, $last) = @_;
	return 'INSERT INTO payments (payment_id, agent, amount)'
	  . " SELECT g, 'a', (ARRAY[20, 2000, 20000])[1 + g % 3] FROM generate_series($first, $last) AS g";
}

sub label
{
	my ($node, $row, $label) = @_;
	$node->safe_psql('postgres', "SELECT agentpay.record_outcome('fraud', $row, '$label')");
	return;
}

sub pay
{
	my ($node, $first, $last) = @_;
	$node->safe_psql('postgres', payments($first, $last));
	await_tasks($node);
	return;
}

start_agents();
my $node = start_cluster('primary', '');
begin_at($node, 100);
AgentpayTest::make_ledger($node, 'postgres');
$node->safe_psql('postgres', $labels);
add_agent($node, 'a');
is($node->safe_psql('postgres', "SELECT pg_current_xact_id() > '12000000000'::xid8"), 't', 'ids beyond 32 bits');

pay($node, 1, 30);
label($node, $_, 'fraud') foreach (2, 5, 7);
# one that is open, and one that is prepared, while the governor goes on
my $open = session($node);
$open->('BEGIN; ' . payments(31, 33));
$node->safe_psql('postgres', 'BEGIN; ' . payments(41, 46) . "; SELECT agentpay.record_outcome('fraud', 8, 'fraud'); PREPARE TRANSACTION 'p'");
pay($node, 51, 60);
label($node, 5, 'legit');
counted($node, 'the primary');

# ── a dump, for later ───────────────────────────────────────────────────────
$node->backup('base');
my $dump = $node->basedir . '/dump.sql';
$node->command_ok([ 'pg_dump', '-f', $dump, 'postgres' ], 'dumped');

# ── a standby, promoted ─────────────────────────────────────────────────────
my $standby = PostgreSQL::Test::Cluster->new('standby');
$standby->init_from_backup($node, 'base', has_streaming => 1);
$standby->start;
pay($node, 61, 70);
label($node, 62, 'fraud');
$node->wait_for_catchup($standby);
exact($standby, 'a standby');
$open->('COMMIT');
$open->();
await_tasks($node);
pay($node, 71, 72);
$open = session($node);
$open->('BEGIN; ' . payments(81, 83));
counted($node, 'the primary, with one open');
$node->wait_for_catchup($standby);
$node->kill9;
$open->();
exact($standby, 'a standby without its primary');
$standby->promote;
exact($standby, 'promoted');
await_tasks($standby);
exact($standby, 'promoted, its tasks ended');
$standby->safe_psql('postgres', "COMMIT PREPARED 'p'");
await_tasks($standby);
exact($standby, 'what was prepared is committed');
pay($standby, 91, 99);
label($standby, 92, 'fraud');
label($standby, 7, 'legit');
exact($standby, 'it goes on');
await('its governor keeps all', sub { kept($standby) eq $standby->safe_psql('postgres', $all) });
exact($standby, 'and its governor has counted it');
is($standby->safe_psql('postgres', 'SELECT agentpay._is_behind()'), 'f', 'nothing is behind');

# ── restored elsewhere, where ids are low ───────────────────────────────────
my $copy = start_cluster('copy', '');
$copy->command_ok([ 'psql', '-X', '-q', '-v', 'ON_ERROR_STOP=1', '-f', $dump, '-d', $copy->connstr('postgres') ], 'restored');
exact($copy, 'restored, and held');
$copy->safe_psql('postgres', 'SELECT agentpay.adopt()');
exact($copy, 'adopted');
is($copy->safe_psql('postgres', "SELECT bool_and(xid > pg_snapshot_xmax(pg_current_snapshot())) FROM agentpay.decisions WHERE row_id = '1'"), 't',
	'its rows are of transactions that are yet to come');
pay($copy, 101, 110);
label($copy, $_, 'fraud') foreach (1, 104);
label($copy, 2, 'legit');
exact($copy, 'what is new and what is old');
await('its own are kept', sub { $copy->safe_psql('postgres', 'SELECT agentpay._is_behind()') eq 'f' });
exact($copy, 'when its governor has counted');
# its ids come to those of the rows, and pass them
$copy->append_conf('postgresql.conf', $quiet);
begin_at($copy, 100);
exact($copy, 'with ids at those of the rows');
turn($copy);
exact($copy, 'and counted there');
begin_at($copy, 101);
counted($copy, 'with ids beyond them');
$copy->safe_psql('postgres', payments(111, 120));
counted($copy, 'and it goes on');
$copy->stop;

# ── a subscriber, and when it is none any more ──────────────────────────────
my $hub = start_cluster('hub', $quiet);
AgentpayTest::make_ledger($hub, 'postgres');
$hub->safe_psql('postgres', $labels);
add_agent($hub, 'a');
$hub->safe_psql('postgres', payments(1001, 1009));
counted($hub, 'a hub by itself');
$standby->safe_psql('postgres', 'CREATE PUBLICATION logs FOR TABLE agentpay.decisions, agentpay._tasks, agentpay.agent_calls, agentpay.outcomes'
	  . ' WITH (publish_via_partition_root = true)');
$hub->safe_psql('postgres', "CREATE SUBSCRIPTION hub CONNECTION '" . $standby->connstr . " dbname=postgres' PUBLICATION logs");
my $same = sub {
	my $n = 'SELECT count(*) FROM agentpay.decisions WHERE row_id::int < 1000';
	return $hub->safe_psql('postgres', $n) eq $standby->safe_psql('postgres', $n);
};
await('the logs are copied', sub { $same->() && $hub->safe_psql('postgres', "SELECT count(*) FILTER (WHERE srsubstate = 'r') FROM pg_subscription_rel") eq '4' });
exact($hub, 'subscribed');
turn($hub);
exact($hub, 'subscribed, and the governor was there');
pay($standby, 201, 205);
label($standby, 202, 'fraud');
$hub->safe_psql('postgres', payments(1011, 1012));
$standby->wait_for_catchup('hub');
exact($hub, 'as they come');
turn($hub);
exact($hub, 'as they come, and the governor was there');
$hub->safe_psql('postgres', 'DROP SUBSCRIPTION hub');
exact($hub, 'no subscriber any more');
turn($hub);
exact($hub, 'and counted');
begin_at($hub, 102);
counted($hub, 'with ids beyond those of the other node');
$hub->safe_psql('postgres', payments(1013, 1015));
label($hub, 3, 'fraud');
counted($hub, 'and it goes on');
$hub->stop;
$standby->stop;
done_testing();
