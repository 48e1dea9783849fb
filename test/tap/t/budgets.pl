# Budgets: exactly what a cap has room for is let in, by however many sessions;
# what does not fit is refused before it is spent (FAULTS 9, 10, 13).
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('budgets');
sub query { return $node->safe_psql('postgres', $_[0]); }
sub counts { return query("SELECT coalesce(failure, 'answered'), count(*) FROM agentpay.decisions WHERE agent = '$_[0]' AND kind <> 'rules' GROUP BY 1 ORDER BY 1"); }
my $status = "SELECT calls, held, state FROM agentpay.budget_status WHERE name = '%s'";

# ── 9: thirty-two sessions, room for ten ────────────────────────────────────
# Reservations straight from SQL, as the dispatcher makes them: each session
# asks for 25 calls, one after the other, in transactions of their own.
query(<<'SQL');
INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls) VALUES ('ten', 'role', 'fraud', 'hour', 10);
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('cost', 'point', 'fraud', 'hour', 0.07);
CREATE TABLE admitted (session int, task_id bigint, by text);
CREATE FUNCTION reserve(session int, tries int, role text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO admitted
	SELECT session, r.task_id, r.refused_by FROM agentpay._reserve(ARRAY(
		SELECT ROW(session * 1000 + g, 1, 0.01, role, 'fraud', 'someone', 'none', session || ':' || g, NULL)::agentpay._reservation
		  FROM generate_series(tries, tries) g)) AS r;
END$$;
SQL
my $bench = $node->basedir . '/reserve.sql';
append_to_file($bench, "SELECT reserve(:client_id, nextval('tries')::int, 'fraud');\n");
query('CREATE SEQUENCE tries');
$node->command_ok([ 'pgbench', '-n', '-c', '32', '-j', '2', '-t', '25', '-f', $bench, 'postgres' ], '32 sessions at once');
is(query('SELECT count(*) FROM admitted'), '800', 'each try has its answer');
# 0.07 at 0.01 each has room for 7, which is fewer than ten
is(query("SELECT coalesce(by, 'admitted'), count(*) FROM admitted GROUP BY 1 ORDER BY 1"), "admitted|7\ncost|793", 'exactly 7 fit 0.07 USD');
query("UPDATE agentpay.budgets SET cap_cost = 100 WHERE name = 'cost'; TRUNCATE admitted;");
$node->command_ok([ 'pgbench', '-n', '-c', '32', '-j', '2', '-t', '25', '-f', $bench, 'postgres' ], 'again, with more money');
is(query("SELECT coalesce(by, 'admitted'), count(*) FROM admitted GROUP BY 1 ORDER BY 1"), "admitted|3\nten|797", 'exactly 3 more fit ten calls');
is(query(sprintf $status, 'ten'), '10|0.1|exhausted', 'and the budget says so');
is(query("SELECT count(*) FROM agentpay.governance_log WHERE action = 'exhausted' AND object = 'ten'"), '1', 'once in the governance log');

# ── 10: settled, released, and locks in whatever order ──────────────────────
append_to_file("$bench.2", <<'SQL');
\set a random(1, 10000000)
BEGIN;
SELECT count(*) FROM agentpay._reserve(ARRAY[ROW(:a, 1, 0.001, 'fraud', 'fraud', 'someone', 'none', :a || '', NULL)::agentpay._reservation,
	ROW(:a + 1, 1, 0.001, 'routing', 'fraud', 'someone', 'none', :a || '', NULL)::agentpay._reservation]);
SELECT agentpay._settle(ARRAY[ROW(:a, 1, 'released', 0)::agentpay._settlement, ROW(:a + 1, 1, 'released', 0)::agentpay._settlement]);
COMMIT;
SQL
query("UPDATE agentpay.budgets SET cap_calls = 10000 WHERE name = 'ten'");
my $deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'postgres'";
my $deadlocked = query($deadlocks);
$node->command_ok([ 'pgbench', '-n', '-c', '16', '-j', '2', '-t', '20', '-f', "$bench.2", 'postgres' ], 'several budgets at once');
is(query($deadlocks), $deadlocked, 'no deadlock');
is(query("SELECT count(*) FROM agentpay.budget_invariant"), '0', 'the caps hold');
is(query(sprintf $status, 'ten'), '10|0.1|ok', 'what was released is free again');

# ── the dispatcher: a cap of seven calls ────────────────────────────────────
query("DELETE FROM agentpay._holds; DELETE FROM agentpay._budget_totals; DELETE FROM agentpay._budget_changes;
	DELETE FROM agentpay.budgets WHERE name IN ('ten', 'cost')");
add_agent($node, 'seven');
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls) VALUES ('seven_calls', 'agent', 'seven', 'hour', 7)");
ask($node, 'seven', 1, 40);
await_tasks($node);
is(counts('seven'), "answered|7\nover_budget|33", 'exactly seven of forty are asked');
is((() = journal('normal')), 7, 'and no more were sent');
is(query("SELECT detail ->> 'budget' FROM agentpay.decisions WHERE failure = 'over_budget' LIMIT 1"), 'seven_calls', 'the decision names the budget');
is(query("SELECT state, calls, used_percent FROM agentpay.budget_status WHERE name = 'seven_calls'"), 'exhausted|7|100.00', 'exhausted is a state');
no_excess($node, 'seven');

# a built-in agent counts in it too
add_agent($node, 'inside', protocol => 'builtin');
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls) VALUES ('inside_calls', 'agent', 'inside', 'hour', 3)");
ask($node, 'inside', 101, 110);
await_tasks($node);
is(counts('inside'), "answered|3\nover_budget|7", 'a built-in agent is within its budget');

# ── a cap on cost, under many calls in flight ───────────────────────────────
# How many bounds fit is known: they are all alike.
add_agent($node, 'dear', behaviour => 'hang', timeout_ms => 500, price_input_per_million => 10);
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('dear_hour', 'agent', 'dear', 'hour', 0.5)");
ask($node, 'dear', 201, 300);
await_tasks($node);
is(query(<<'SQL'), 't', 'as many bounds as fit, to the last one');
SELECT count(*) = floor(0.5 / max(reserved_cost)) AND count(DISTINCT reserved_cost) = 1 AND sum(cost) <= 0.5 AND sum(cost) + max(cost) > 0.5
  FROM agentpay.agent_calls WHERE agent = 'dear'
SQL
no_excess($node, 'dear');

# ── one payment's own cap, over its retries ─────────────────────────────────
add_agent($node, 'retries', behaviour => '500', max_attempts => 3, timeout_ms => 5000);
ask($node, 'retries', 401);
await_tasks($node);
my $bound = query("SELECT max(reserved_cost) FROM agentpay.agent_calls WHERE agent = 'retries'");
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('own', 'agent', 'retries', 'transaction', 2.5 * $bound)");
ask($node, 'retries', 402, 404);
await_tasks($node);
is(query("SELECT row_id, count(*) FROM agentpay.agent_calls WHERE agent = 'retries' AND row_id > '401' GROUP BY 1 ORDER BY 1"),
	"402|2\n403|2\n404|2", 'two attempts of each payment fit its cap');
is(query("SELECT DISTINCT failure FROM agentpay.decisions WHERE agent = 'retries' AND row_id > '401'"), 'over_budget', 'the third is refused');

# ── 13: the window slides; a call settles to the one it was reserved in ─────
add_agent($node, 'minute');
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls) VALUES ('per_minute', 'agent', 'minute', 'minute', 2)");
ask($node, 'minute', 501, 503);
await_tasks($node);
is(counts('minute'), "answered|2\nover_budget|1", 'two in this minute');
add_agent($node, 'slow', behaviour => 'delay-6000', timeout_ms => 60000);
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls, on_exhausted) VALUES ('slow_minute', 'agent', 'slow', 'minute', 1, 'wait')");
ask($node, 'slow', 511);
await('the slow call is under way', sub { (() = journal('delay-6000')) == 1 });
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.clock_offset = 61');
$node->reload;
ask($node, 'slow', 512);
ask($node, 'minute', 504, 506);
await('what waits, waits while the first is held', sub {
	query("SELECT count(*) FROM agentpay.queue_status WHERE agent = 'slow' AND state = 'leased'") eq '1' });
await('the window has moved on', sub { counts('minute') eq "answered|4\nover_budget|2" });
await_tasks($node);
is(counts('slow'), 'answered|2', 'and is asked when there is room');
is(query("SELECT calls, held FROM agentpay.budget_status WHERE name = 'slow_minute'"), '1|0', 'the first one counts in its own minute, not in this');

# ── exhausted, and on_exhausted = kill ──────────────────────────────────────
add_agent($node, 'stops');
query("INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls, on_exhausted) VALUES ('stop', 'agent', 'stops', 'hour', 1, 'kill')");
ask($node, 'stops', 601, 602);
await_tasks($node);
await('the switch is engaged', sub { query("SELECT engaged FROM agentpay.kill_switches WHERE target = 'stops'") eq 't' });
is(query("SELECT reason FROM agentpay.kill_switches WHERE target = 'stops'"), 'budget stop is exhausted', 'and says why');

$node->stop;
done_testing();
