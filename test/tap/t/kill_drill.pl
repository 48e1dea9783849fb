# kill_drill(): the switch is flipped by another session, calls under way end,
# and it is open again; who may, and what it refuses.  And simulate() in a
# transaction that may not write.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('kill_drill');
sub query { return $node->safe_psql('postgres', $_[0]); }
sub refused
{
	my ($sql, %with) = @_;
	my ($rc, $out, $err) = $node->psql('postgres', "\\set VERBOSITY verbose\n$sql", %with);
	$err =~ s/\s*(?:LOCATION|CONTEXT|PL\/pgSQL|SQL statement).*//s;
	return $err;
}

# ── with calls under way ────────────────────────────────────────────────────
add_agent($node, 'hangs', behaviour => 'hang', timeout_ms => 60000);
add_agent($node, 'other');
ask($node, 'hangs', 1, 12);
await('the calls are under way', sub { (() = journal('hang')) == 12 });
my ($last_call, $last_apply, $aborted) = split /\|/, query("SELECT * FROM agentpay.kill_drill('agent', 'hangs')");
is($aborted, 12, 'every call under way is aborted');
# they began before the flip, and nothing of theirs took effect
is("$last_call $last_apply", '0 0', 'no call began and nothing took effect after the flip');
is(decisions($node, 'hangs'), 'fallback|killed|approve||12', 'the rules stand');
await('the agent sees its connections close', sub { (grep { $_->{closed_early} } journal('hang')) == 12 });
is(query("SELECT engaged FROM agentpay.kill_switches WHERE target = 'hangs'"), 'f', 'the switch is open again');
is(query("SELECT action, actor = session_user, after ->> 'aborted' FROM agentpay.governance_log WHERE object_kind = 'kill_switch' AND object = 'agent.hangs' AND action <> 'insert' ORDER BY logged_at, event_id"),
	"update|t|\nupdate|t|\ndrill|t|12", 'engaged, disengaged, and the drill: in the governance log, by whoever called it');

# ── with payments coming in ─────────────────────────────────────────────────
add_agent($node, 'inside', protocol => 'builtin');
promote_fully($node, 'inside');
my $stream = session($node);
$stream->("CREATE SEQUENCE drilled START 1000");
$stream->("DO \$\$ BEGIN FOR i IN 1 .. 60 LOOP INSERT INTO payments (payment_id, agent, amount)"
	  . " SELECT nextval('drilled'), a, 5 FROM unnest('{inside,other}'::text[]) AS a, generate_series(1, 3); COMMIT; END LOOP; END \$\$");
my $drill = query('SELECT last_call_ms >= 0 AND last_call_ms < 5000 AND last_apply_ms >= 0 AND last_apply_ms < 5000 AND aborted >= 0 FROM agentpay.kill_drill()');
is($drill, 't', 'the figures of a drill of everything');
ask($node, 'other', 5001, 5005);
await_tasks($node);
is(query("SELECT count(*) FROM agentpay.decisions WHERE agent = 'other' AND kind = 'agent' AND row_id::int > 5000"), '5', 'afterwards agents are asked as before');
is(query('SELECT count(*) FROM agentpay.kill_switches WHERE engaged'), '0', 'and no switch is engaged');
$stream->();
no_excess($node, 'after drills');

# ── a kill in earnest, while a drill runs: its two flips, one by one ────────
foreach my $kill ('UPDATE agentpay.kill_switches SET engaged = true', q{UPDATE agentpay.kill_switches SET engaged = true, reason = 'in earnest'})
{
	query("SELECT agentpay._flip_for_drill('agent', 'other', true)");
	query("$kill WHERE target = 'other'");
	is(query("SELECT agentpay._flip_for_drill('agent', 'other', false)"), 'f', 'the drill says that the switch is not its own any more');
	is(query("SELECT engaged FROM agentpay.kill_switches WHERE target = 'other'"), 't', 'and leaves it engaged');
	query("UPDATE agentpay.kill_switches SET engaged = false, reason = 'kill drill' WHERE target = 'other'");
}
query("UPDATE agentpay.kill_switches SET engaged = true WHERE target = 'other'");
like(refused("SELECT agentpay._flip_for_drill('agent', 'other', true)"), qr/55000: kill switch agent other could not be engaged/, 'nor does a drill take one over that was engaged just before it');
query("UPDATE agentpay.kill_switches SET engaged = false WHERE target = 'other'");

# ── with four_eyes: it opens what it engaged, and nothing else ──────────────
query("CREATE ROLE second SUPERUSER LOGIN; UPDATE agentpay.decision_points SET four_eyes = true");
is(query("SELECT aborted FROM agentpay.kill_drill('agent', 'other')"), '0', 'a drill takes one login');
is(query("SELECT count(*) FROM agentpay.kill_switches WHERE engaged"), '0', 'and leaves no switch engaged');
query("UPDATE agentpay.kill_switches SET engaged = true, reason = 'kill drill' WHERE target = 'other'");
is(query("SET client_min_messages = error; UPDATE agentpay.kill_switches SET engaged = false, reason = 'kill drill' WHERE target = 'other' RETURNING 1"), '',
	'the word alone opens nothing');
foreach my $who (qw(postgres second))
{
	$node->psql('postgres', "UPDATE agentpay.kill_switches SET engaged = false WHERE target = 'other'; UPDATE agentpay.decision_points SET four_eyes = false",
		extra_params => [ '-U', $who ]);
}
is(query("SELECT count(*) FROM agentpay.kill_switches WHERE engaged") . query("SELECT count(*) FROM agentpay.decision_points WHERE four_eyes"), '00', 'two logins do');

# ── what it refuses ─────────────────────────────────────────────────────────
like(refused("SELECT * FROM agentpay.kill_drill('agent', 'nobody')"), qr/42704: there is no kill switch agent nobody\n.*DETAIL:  Switches are .*\n.*HINT:/, 'no such switch');
query("UPDATE agentpay.kill_switches SET engaged = true WHERE target = 'other'");
like(refused("SELECT * FROM agentpay.kill_drill('agent', 'other')"), qr/55000: kill switch agent other is engaged\n.*HINT:  UPDATE/s, 'one that is engaged stays so');
is(query("SELECT engaged FROM agentpay.kill_switches WHERE target = 'other'"), 't', 'indeed');
query("UPDATE agentpay.kill_switches SET engaged = false WHERE target = 'other'");
like(refused("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT * FROM agentpay.kill_drill();"), qr/25001/, 'a snapshot of before');
like(refused("BEGIN; UPDATE agentpay.kill_switches SET engaged = true WHERE target = 'other'; SELECT * FROM agentpay.kill_drill('point', 'fraud');"),
	qr/55000: kill switch point fraud could not be engaged\n.*HINT:/s, 'a transaction that is flipping one itself is told so');
query("CREATE ROLE drill LOGIN; GRANT USAGE ON SCHEMA agentpay TO drill");
like(refused('SELECT * FROM agentpay.kill_drill()', extra_params => [ '-U', 'drill' ]), qr/42501/, 'nobody may who was not granted it');
is(query('SELECT count(*) FROM agentpay.kill_switches WHERE engaged'), '0', 'nothing is engaged by what was refused');

# ── simulate() writes nothing ───────────────────────────────────────────────
is($node->safe_psql('postgres', <<"SQL"), "12\n\nt", 'simulate() in a read-only transaction: no row is written, no transaction id is taken');
BEGIN READ ONLY;
SELECT sum(calls) FROM agentpay.simulate('fraud', '{"name": "hangs"}', '[{"period": "hour", "cap_cost": 1}]');
SELECT pg_current_xact_id_if_assigned();
SELECT NOT EXISTS (SELECT FROM pg_stat_xact_user_tables WHERE n_tup_ins + n_tup_upd + n_tup_del > 0);
COMMIT;
SQL

$node->stop;
done_testing();
