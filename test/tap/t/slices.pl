# What the governor counts of a backlog: in slices of 50,000 rows, each to the
# end of the transaction that wrote the last of them, every row once, also of a
# transaction that was open all the time; and reports are exact meanwhile.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('slices', 'agentpay.workers_enabled = off');
sub query { return $node->safe_psql('postgres', $_[0]); }
add_agent($node, 'a');

my $next = 1;
sub pay
{
	my ($n, $agent) = @_;
	my $sql = "INSERT INTO payments (payment_id, created_at, agent, amount) SELECT g, now(), '$agent', 20 FROM generate_series($next, @{[ $next + $n - 1 ]}) AS g;";
	$next += $n;
	return $sql;
}

# How far each is; and what shadow_vs_rules, rule_stats and label_coverage go by,
# which is all that is committed.
sub counted
{
	return query("SELECT (SELECT sum(n) FROM agentpay._rule_rollup), (SELECT sum(n) FROM agentpay._payment_rollup), (SELECT count(*) FROM agentpay._asked_rows),
		(SELECT sum(value) FROM agentpay._metric_counts WHERE metric = 'agentpay_decisions_total')");
}
sub reported
{
	return query("SELECT (SELECT sum(invoked) FROM agentpay.shadow_vs_rules WHERE agent = 'a' AND compared = 'answer'),
		(SELECT sum(n) FROM agentpay._rule_truths), (SELECT sum(payments) FROM agentpay.label_coverage)");
}
# Each in a transaction of its own, as the governor has them.
sub turn { query("SELECT agentpay.$_()") foreach qw(_roll_rules _roll_asked _roll_drift _count_metrics); return; }

my $open = $node->background_psql('postgres', on_error_die => 1);
$open->query_safe('BEGIN; ' . pay(5, 'a'));
query(pay(30, 'a'));
query(pay(50000, 'none'));
query(pay(40, 'a'));
query('BEGIN; SAVEPOINT s; ' . pay(3, 'a') . ' ROLLBACK TO s; COMMIT');
is(query('SELECT count(*) FROM agentpay.decisions'), '50070', 'what is there');
is(reported(), '70|50070|50070', 'a report without anything that is kept');

is(query('SELECT agentpay._is_behind()'), 't', 'more than a slice');
turn();
is(counted(), '50030|50030|30|50030', 'the first slice ends with the transaction of the 50,000th row');
is(reported(), '70|50070|50070', 'and the report says the same');
turn();
is(counted(), '50070|50070|70|50070', 'the rest');
is(reported(), '70|50070|50070', 'the same');
is(query('SELECT agentpay._is_behind()'), 'f', 'nothing is behind');

$open->query_safe('COMMIT;');
$open->quit;
is(reported(), '75|50075|50075', 'a transaction that was open all the time is in the report at once');
turn();
is(counted(), '50075|50075|75|50075', 'and is counted, once');
turn();
is(counted(), '50075|50075|75|50075', 'for good');

# nothing that is kept is lost or doubled by a crash
$node->stop('immediate');
$node->start;
query(pay(7, 'a'));
is(reported(), '82|50082|50082', 'after a crash');
turn();
is(counted(), '50082|50082|82|50082', 'and the next turn');
$node->stop;
done_testing();
