# A dispatcher keeps what it was told about its agents until the configuration
# changes: the next payment is asked about as it is then, by the same process.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('changed_configuration', 'max_prepared_transactions = 2');
sub query { return $node->safe_psql('postgres', $_[0]); }

# While nobody claims: what happens then is older than what is done with it.
sub meanwhile
{
	my ($id, $change) = @_;
	$node->append_conf('postgresql.conf', 'agentpay.workers_enabled = off');
	$node->reload;
	await('the dispatcher rests', sub {
		query("SELECT state FROM agentpay.stat_workers WHERE worker = 'dispatcher'") eq 'disabled' });
	pay($id);
	query($change);
	$node->append_conf('postgresql.conf', 'agentpay.workers_enabled = on');
	$node->reload;
	await_tasks($node);
	return;
}
sub pay { query("INSERT INTO payments VALUES ($_[0], clock_timestamp(), 'keen', 12.5, 'two lamps')"); return; }
sub ended { return query("SELECT coalesce(failure, 'none'), coalesce(detail ->> 'error', '') FROM agentpay.decisions WHERE agent = 'keen' AND row_id = '$_[0]'"); }
sub bodies { return map { $_->{body} } journal('normal'); }
# by the rule of INTERNALS: each byte of the request and all of the output, USD
sub bound
{
	my ($body, $tokens) = @_;
	return sprintf('%.6f', (length($body) * 1 + $tokens * 2) / 1e6);
}
sub reserved { return query("SELECT to_char(reserved_cost, 'FM0.000000') FROM agentpay.agent_calls WHERE agent = 'keen' AND row_id = '$_[0]'"); }

add_agent($node, 'keen');
for my $id (1, 2)
{
	pay($id);
	await_tasks($node);
	is(ended($id), 'none|', "payment $id is answered");
	like((bodies())[-1], qr/two lamps/, 'and its memo was sent');
	is(reserved($id), bound((bodies())[-1], 500), 'its bound is that of its bytes and 500 tokens');
}
my $process = worker_pid($node, 'dispatcher');

meanwhile(3, "UPDATE agentpay.data_policies SET treatment = 'drop' WHERE column_name = 'memo'");
is(ended(3), 'none|', 'a payment from before its policy changed is answered');
unlike((bodies())[-1], qr/lamps/, 'but its memo is not sent any more');

meanwhile(4, "UPDATE agentpay.agents SET max_output_tokens = 400");
is(ended(4), 'skipped|the agent has a newer version', 'a payment from before its agent changed is not asked about');
pay(5);
await_tasks($node);
is(ended(5), 'none|', 'the next one is');
is(reserved(5), bound((bodies())[-1], 400), 'at the bound of the new version');

meanwhile(6, 'DELETE FROM agentpay.allowed_endpoints');
is(ended(6), 'skipped|the origin of its endpoint is not allowed any more', 'nobody calls where it is not allowed any more');
add_agent($node, 'other');
meanwhile(7, 'SELECT 1');
is(ended(7), 'none|', 'where it is allowed again, it is called');

# COMMIT PREPARED of a kill tells no dispatcher
meanwhile(8, <<'SQL');
BEGIN;
UPDATE agentpay.kill_switches SET engaged = true, reason = 'test' WHERE scope = 'agent' AND target = 'keen';
PREPARE TRANSACTION 'kill';
COMMIT PREPARED 'kill';
SQL
like(ended(8), qr/^killed\|/, 'a switch holds that was engaged in two phases');
is(scalar(bodies()), 5, 'as many calls as payments were answered');
query("UPDATE agentpay.kill_switches SET engaged = false");
pay(9);
await_tasks($node);
is(ended(9), 'none|', 'and released it lets through');
is(worker_pid($node, 'dispatcher'), $process, 'all by one process');
no_excess($node, 'after all');
$node->stop;
done_testing();
