# Starting calls fails after their bounds are held and they are marked as sent:
# nothing stays so until its lease ends.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('hand_over', 'agentpay.breaker_failures = 0');
sub query { return $node->safe_psql('postgres', $_[0]); }

# What the dispatcher reads under the kill lock, just before it calls.  The
# schema is guarded, so that it takes a change of the catalog.
my $broken = "RAISE EXCEPTION 'it cannot be read';";
sub change
{
	my ($from, $to) = @_;
	is(query(<<"SQL"), '1', 'the function is changed');
SET allow_system_table_mods = on;
UPDATE pg_proc SET prosrc = replace(prosrc, \$\$$from\$\$, \$\$$to\$\$)
 WHERE oid = 'agentpay._connections(text[])'::regprocedure AND prosrc LIKE '%' || \$\$$from\$\$ || '%' RETURNING 1;
SQL
	# it is read again once the configuration has changed
	query("UPDATE agentpay.agents SET enabled = enabled");
	return;
}
sub errors { return query("SELECT count(*) FROM agentpay.stat_workers WHERE worker = 'dispatcher' AND last_error = 'it cannot be read'"); }

add_agent($node, 'late', timeout_ms => 60000);
ask($node, 'late', 1, 2);
await_tasks($node);

# ── again and again ─────────────────────────────────────────────────────────
change("BEGIN\n", "BEGIN\n$broken\n");
ask($node, 'late', 11, 13);
# a lease is for its timeout and half a minute: far beyond this deadline
await('tasks end while it fails', sub {
	query("SELECT count(*) FROM agentpay.decisions WHERE agent = 'late' AND row_id::int > 10 AND kind = 'fallback'") eq '3' }, 60);
is(errors(), '1', 'the error is on show');
is(query("SELECT DISTINCT failure, detail ->> 'error', cost FROM agentpay.decisions WHERE agent = 'late' AND row_id::int > 10 AND kind = 'fallback'"),
	'skipped|it cannot be read|0', 'as skipped, which says why');
is(query('SELECT count(*) FROM agentpay._task_work'), '0', 'none is left as sent');
is(query("SELECT count(*) FROM agentpay.budget_holds WHERE state = 'held'"), '0', 'and nothing held');
is(query("SELECT count(*) FROM agentpay.agent_calls WHERE row_id::int > 10"), '0', 'no call is on record');
no_excess($node, 'after that');

# ── and then no more ────────────────────────────────────────────────────────
change($broken, '');
ask($node, 'late', 21, 23);
await_tasks($node);
is(query("SELECT count(*) FROM agentpay.decisions WHERE agent = 'late' AND row_id::int > 20 AND kind = 'agent'"), '3', 'later ones are answered');
is(query('SELECT in_flight FROM agentpay.stat_workers WHERE worker = \'dispatcher\''), '0', 'none counts as under way');
$node->stop;
done_testing();
