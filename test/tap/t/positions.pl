# Before the authorisation an agent's verdict may replace the rules' until
# decide_by; await_decision() waits for it, needs no worker, and never waits
# longer.  Whatever the ledger's own table does, the payment has one verdict.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time sleep);
use AgentpayTest;

start_agents();
my $node = new_ledger('positions', "log_statement = 'none'");
sub query { return $node->safe_psql('postgres', $_[0]); }
sub fails
{
	my ($sql, $expected, $what) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql");
	like($err, $expected, $what);
	return;
}

# An agent whose verdict counts.
sub add_live
{
	my ($name, %with) = @_;
	add_agent($node, $name, position => 'pre_auth', timeout_ms => 60000, %with);
	promote_fully($node, $name);
	return;
}

sub within
{
	query("UPDATE agentpay.decision_points SET decide_within_ms = $_[0] WHERE point = 'fraud'");
	return;
}

# What is on record about a payment, in its order, and what its column says.
sub story
{
	my ($id) = @_;
	return query("SELECT concat_ws(' ', kind, authority, verdict, 'answer ' || answer, failure,
			CASE WHEN detail ? 'late' THEN 'late' END, 'not applied: ' || (detail #>> '{not_applied,message}'))
		FROM agentpay.decisions WHERE row_id = '$id' ORDER BY decided_at, decision_id")
	  . "\ncolumn " . query("SELECT outcome FROM payments WHERE payment_id = $id");
}

sub waited
{
	my ($id, $options) = @_;
	my $began = time;
	my $verdict = query(($options // '') . "SELECT agentpay.await_decision('fraud', $id)");
	return ($verdict, 1000 * (time - $began));
}

add_live('sure', behaviour => 'always-decline');
add_live('slow', behaviour => 'delay-300');
add_live('inside', protocol => 'builtin', options => '{"thresholds": {"decline": 0.4}}');
add_live('hangs', behaviour => 'hang');
add_live('late', behaviour => 'delay-900');
# slow enough for whoever locks the row once it is committed
add_live('soon', behaviour => 'delay-200');

# ── in time ─────────────────────────────────────────────────────────────────
within(20000);
ask($node, 'sure', 1);
is((waited(1))[0], 'decline', 'the agent decides');
is(story(1), "rules live approve\nagent live decline answer decline\ncolumn decline", 'in the log and in the column');
is(query("SELECT a.supersedes = r.decision_id FROM agentpay.decisions a, agentpay.decisions r
	WHERE a.row_id = '1' AND r.row_id = '1' AND a.kind = 'agent' AND r.kind = 'rules'"), 't', 'it supersedes the rules decision');
is(query("SELECT kind, verdict, agent, pending, decide_by FROM agentpay.current_decisions WHERE row_id = '1'"), 'agent|decline|sure|f|', 'and stands');
ask($node, 'slow', 2, 2, 5000);
my ($verdict, $ms) = waited(2);
is($verdict, 'decline', 'await_decision() waits');
cmp_ok($ms, '>', 250, 'as long as the agent takes');
cmp_ok($ms, '<', 5000, 'and not longer');
ask($node, 'inside', 3);
is((waited(3))[0], 'decline', 'a builtin agent decides too');
is(query("SELECT outcome FROM payments WHERE payment_id = 3"), 'decline', 'in the column');
is(query("SELECT count(*) FROM agentpay.decisions WHERE kind = 'rules'"), '3', 'an UPDATE makes no decision');

# ── not in time ─────────────────────────────────────────────────────────────
within(400);
ask($node, 'hangs', 11);
is(query("SELECT pending, decide_by = r.decided_at + interval '400 ms' FROM agentpay.current_decisions c
	JOIN agentpay.decisions r USING (decision_id) WHERE c.row_id = '11'"), 't|t', 'until decide_by it is pending');
($verdict, $ms) = waited(11);
is($verdict, 'approve', 'at decide_by the rules verdict is final');
cmp_ok($ms, '<', 2000, 'at once');
await('the governor says so', sub { query("SELECT count(*) FROM agentpay.decisions WHERE row_id = '11'") == 2 });
is(story(11), "rules live approve\nfallback live approve timeout\ncolumn approve", 'once');
ask($node, 'late', 12, 12, 5000);
is((waited(12))[0], 'approve', 'a late agent');
await('the answer comes', sub { query("SELECT count(*) FROM agentpay.agent_calls WHERE row_id = '12'") == 1 });
is(story(12), "rules live approve\nfallback live approve timeout\nfallback shadow approve answer decline timeout late\ncolumn approve",
	'a late answer is stored and not applied');
is(query("SELECT c.status, c.cost > 0 AND c.cost = d.cost, d.detail ? 'late' FROM agentpay.agent_calls c JOIN agentpay.decisions d USING (decision_id) WHERE c.row_id = '12'"),
	'ok|t|t', 'and paid for');
is(query("SELECT state FROM agentpay.tasks WHERE row_id = '12'"), 'done', 'the task ended once');

# ── the ledger's own table ──────────────────────────────────────────────────
within(20000);
my $session = session($node);
$session->("INSERT INTO payments (payment_id, agent, amount) VALUES (21, 'soon', 5000); BEGIN; UPDATE payments SET memo = 'mine' WHERE payment_id = 21");
await('the agent has answered', sub { query("SELECT count(*) FROM agentpay.agent_calls WHERE row_id = '21'") == 1 });
is(story(21), "rules live approve\ncolumn approve", 'while somebody has the row locked, its verdict waits');
is(query("SELECT pending FROM agentpay.current_decisions WHERE row_id = '21'"), 't', 'and is pending');
is(query("SELECT state FROM agentpay.tasks WHERE row_id = '21'"), 'sent', 'as a task');
$session->('COMMIT');
is((waited(21))[0], 'decline', 'it is applied when the row is free');
is(query("SELECT outcome, memo FROM payments WHERE payment_id = 21"), 'decline|mine', 'beside what was changed there');

within(600);
$session->("INSERT INTO payments (payment_id, agent, amount) VALUES (22, 'soon', 5000); BEGIN; UPDATE payments SET memo = 'mine' WHERE payment_id = 22");
is((waited(22))[0], 'approve', 'a row that stays locked keeps the rules verdict');
$session->('COMMIT');
await('the answer is recorded', sub { query("SELECT count(*) FROM agentpay._applies") eq '0' and query("SELECT count(*) FROM agentpay.decisions WHERE row_id = '22'") > 1 });
is(query("SELECT string_agg(concat_ws(' ', kind, verdict, failure), ', ') FROM agentpay.decisions WHERE row_id = '22' AND kind <> 'rules' AND NOT detail ? 'late'"),
	'fallback approve timeout', 'it ended once');
is(query("SELECT count(*) FROM agentpay.decisions WHERE row_id = '22' AND answer = 'decline' AND failure = 'timeout'"), '1', 'with its answer on record');

within(20000);
query(<<'SQL');
CREATE ROLE ledger_owner;
GRANT CREATE, USAGE ON SCHEMA public TO ledger_owner;
ALTER TABLE payments OWNER TO ledger_owner;
CREATE TABLE seen (who name, session name, path text, verdict text);
ALTER TABLE seen OWNER TO ledger_owner;
CREATE TABLE verdict_names (name text PRIMARY KEY);
INSERT INTO verdict_names VALUES ('approve'), ('review'), ('decline');
GRANT SELECT, REFERENCES ON verdict_names TO ledger_owner;
ALTER TABLE payments ADD FOREIGN KEY (outcome) REFERENCES verdict_names DEFERRABLE INITIALLY DEFERRED;
CREATE FUNCTION on_update() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO public.seen VALUES (current_user, session_user, current_setting('search_path'), NEW.outcome);
	IF NEW.memo = 'raise' THEN RAISE EXCEPTION 'not this one'; END IF;
	IF NEW.memo = 'slow' THEN PERFORM pg_sleep(60); END IF;
	IF NEW.memo = 'keep' THEN NEW.outcome := OLD.outcome; END IF;
	IF NEW.memo = 'skip' THEN RETURN NULL; END IF;
	IF NEW.memo = 'escape' THEN SET CONSTRAINTS ALL DEFERRED; UPDATE public.payments SET outcome = 'review' WHERE payment_id = 1; END IF;
	IF NEW.memo = 'unqualified' THEN INSERT INTO seen DEFAULT VALUES; END IF;
	RETURN NEW;
END$$;
ALTER FUNCTION on_update() OWNER TO ledger_owner;
CREATE TRIGGER on_update BEFORE UPDATE ON payments FOR EACH ROW WHEN (pg_trigger_depth() = 0) EXECUTE FUNCTION on_update();
ALTER TABLE payments ADD CHECK (memo <> 'check' OR outcome = 'approve');
SQL
my $id = 30;
foreach my $case (
	[ 'raise', qr/^P0001 not this one$/ ],
	[ 'slow', qr/^57014 canceling statement due to statement timeout$/ ],
	[ 'keep', qr/^27000 a trigger of the table kept the outcome/ ],
	[ 'skip', qr/^27000 a trigger of the table kept the outcome/ ],
	[ 'escape', qr/^42501 cannot fire deferred trigger within security-restricted operation$/ ],
	[ 'unqualified', qr/^42P01 relation "seen" does not exist$/ ],
	[ 'check', qr/^23514 .*check constraint/ ])
{
	my ($memo, $expected) = @$case;
	$id++;
	query("INSERT INTO payments (payment_id, agent, amount, memo) VALUES ($id, 'sure', 5, '$memo')");
	is((waited($id))[0], 'approve', "$memo: the rules verdict stands");
	like(story($id), qr/^rules live approve\nagent shadow decline answer decline not applied: [^\n]*\ncolumn approve$/, 'the answer is in the shadow');
	like(query("SELECT (detail #>> '{not_applied,sqlstate}') || ' ' || (detail #>> '{not_applied,message}') FROM agentpay.decisions WHERE row_id = '$id' AND kind = 'agent'"),
		$expected, 'and says why');
}
is(query("SELECT outcome FROM payments WHERE payment_id = 1"), 'decline', 'nothing of it happened');
ask($node, 'sure', 41);
is((waited(41))[0], 'decline', 'with triggers and deferred constraints');
is(query("SELECT who, path FROM seen ORDER BY ctid DESC LIMIT 1"), 'ledger_owner|pg_catalog, pg_temp', 'which run as the owner of the table');
query("ALTER TABLE payments FORCE ROW LEVEL SECURITY; ALTER TABLE payments ENABLE ROW LEVEL SECURITY");
ask($node, 'sure', 42);
is((waited(42))[0], 'approve', 'row security that binds the owner');
like(story(42), qr/not applied: query would be affected by row-level security policy/, 'is told');
query("ALTER TABLE payments NO FORCE ROW LEVEL SECURITY; ALTER TABLE payments DISABLE ROW LEVEL SECURITY; DROP TRIGGER on_update ON payments");

ask($node, 'slow', 51, 52, 5000);
query("UPDATE payments SET outcome = 'review' WHERE payment_id = 51; DELETE FROM payments WHERE payment_id = 52");
is((waited(51))[0], 'approve', 'an outcome that the user has set');
like(story(51), qr/not applied: the outcome was changed meanwhile\ncolumn review$/, 'is the user\'s');
is((waited(52))[0], 'approve', 'a row that is gone');
like(story(52), qr/not applied: the row is not there any more/, 'has its record');

# ── who may wait, and how it ends ───────────────────────────────────────────
fails("BEGIN; INSERT INTO payments (payment_id, agent, amount) VALUES (61, 'sure', 5); SELECT agentpay.await_decision('fraud', 61)",
	qr/55000: row '61' of point "fraud" is not committed yet/, 'not its own row before the commit');
fails("SELECT agentpay.await_decision('fraud', 4711)", qr/42704: point "fraud" has no decision about row '4711'/, 'not a row that is not there');
fails("SELECT agentpay.await_decision('nothing', 1)", qr/23503: /, 'nor a point');
fails("SELECT agentpay.await_decision('fraud', NULL::int)", qr/22004: row_id of await_decision\(\) cannot be NULL/, 'nor NULL');
fails("SELECT agentpay.await_decision('fraud', 1, '-1 second')", qr/22023: timeout cannot be negative/, 'nor backwards');
ask($node, 'hangs', 62, 64);
fails("SET statement_timeout = 200; SELECT agentpay.await_decision('fraud', 62)", qr/57014: canceling statement due to statement timeout/, 'statement_timeout ends it');
($verdict, $ms) = waited(62, "SET TRANSACTION READ ONLY; ");
my $began = time;
is(query("SELECT agentpay.await_decision('fraud', 62, '300 ms')"), 'approve', 'its own timeout does');
cmp_ok(time - $began, '<', 5, 'in time');
my $waiting = session($node);
my $pid = $waiting->('SELECT pg_backend_pid()');
foreach my $how ('cancel', 'terminate')
{
	my $out = '';
	my $waiter = IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SET application_name = 'w_$how'", '-c', "SELECT agentpay.await_decision('fraud', 63)" ], '>', \$out, '2>', \$out);
	await("it waits", sub { query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'w_$how' AND wait_event = 'Extension'") == 1 });
	query("SELECT pg_${how}_backend(pid) FROM pg_stat_activity WHERE application_name = 'w_$how'");
	eval { $waiter->finish };
	like($out, $how eq 'cancel' ? qr/canceling statement due to user request/ : qr/terminating connection due to administrator command/, "$how ends it");
}
is(query("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM payments; INSERT INTO seen DEFAULT VALUES; SELECT agentpay.await_decision('fraud', 1); COMMIT") =~ s/^\d+\n//r,
	'decline', 'in any isolation');

# ── without workers ─────────────────────────────────────────────────────────
within(1500);
my @waiters = map {
	my $out = '';
	[ IPC::Run::start([ 'psql', '-XAtq', '-d', $node->connstr('postgres'), '-c', "SELECT agentpay.await_decision('fraud', $_)" ], '>', \$out), \$out ]
} map { ask($node, 'hangs', $_); $_ } 71 .. 74;
$node->append_conf('postgresql.conf', 'agentpay.workers_enabled = off');
$node->reload;
query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'agentpay%'");
foreach my $waiter (@waiters)
{
	$waiter->[0]->finish;
	is(${ $waiter->[1] }, "approve\n", 'waiters get the rules verdict, with every worker dead');
}
ask($node, 'sure', 75);
($verdict, $ms) = waited(75);
is($verdict, 'approve', 'and later ones');
cmp_ok($ms, '<', 5000, 'at decide_by');
is(query("SELECT verdict, pending FROM agentpay.current_decisions WHERE row_id = '75'"), 'approve|f', 'it is final by itself');
$node->append_conf('postgresql.conf', 'agentpay.workers_enabled = on');
$node->reload;
await('workers come back', sub { query("SELECT count(*) FROM agentpay.decisions WHERE row_id = '75' AND kind = 'fallback'") == 1 });
is(story(75), "rules live approve\nfallback live approve timeout\ncolumn approve", 'nobody was asked too late');

# Many that ended while no dispatcher was there: those that come then do not wait
# behind them, a batch for each time that an idle dispatcher looks.
$node->append_conf('postgresql.conf', "agentpay.workers_enabled = off\nagentpay.idle_interval = '10min'");
$node->reload;
query("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE backend_type LIKE 'agentpay%'");
within(100);
ask($node, 'sure', 1001, 4000);
await('all are at an end', sub { query('SELECT agentpay._fall_back(500)');
	query("SELECT count(*) FROM agentpay.decisions WHERE row_id::int BETWEEN 1001 AND 4000 AND kind = 'fallback'") eq '3000' });
within(60000);
$node->append_conf('postgresql.conf', 'agentpay.workers_enabled = on');
$node->reload;
ask($node, 'sure', 76);
($verdict) = waited(76);
is($verdict, 'decline', 'a payment behind many that are at an end is asked about at once');

$node->stop;
done_testing();
