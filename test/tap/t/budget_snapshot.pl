# A reservation looks at as much after thousands of others as after a few, while
# somebody keeps a snapshot open that is older than all of them: nothing that was
# dead by then is gone, and none of it is looked at again.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

my $node = new_ledger('snapshot', 'autovacuum = off');
sub query { return $node->safe_psql('postgres', $_[0]); }

query(<<'SQL');
CREATE FUNCTION one(task bigint) RETURNS agentpay._reservation[] LANGUAGE sql AS $$
	SELECT ARRAY[ROW(task, 1, 0.001, 'none', 'none', 'none', 'c', task::text, NULL)::agentpay._reservation]
$$;
CREATE FUNCTION spent(task bigint) RETURNS agentpay._settlement[] LANGUAGE sql AS $$
	SELECT ARRAY[ROW(task, 1, 'settled', 0.0005)::agentpay._settlement]
$$;
-- blocks that a statement looked at, for which all is known that a session remembers
CREATE FUNCTION blocks(statement text) RETURNS int LANGUAGE plpgsql AS $$
DECLARE plan json;
BEGIN
	EXECUTE 'EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) ' || statement INTO plan;
	RETURN (plan -> 0 -> 'Plan' ->> 'Shared Hit Blocks')::int + (plan -> 0 -> 'Plan' ->> 'Shared Read Blocks')::int;
END$$;
CREATE PROCEDURE churn(low bigint, high bigint) LANGUAGE plpgsql AS $$
BEGIN
	FOR i IN low .. high LOOP
		PERFORM FROM agentpay._reserve(one(-i));
		COMMIT;
		PERFORM agentpay._settle(spent(-i));
		COMMIT;
	END LOOP;
END$$;
SQL
my $task = 1_000_000;

# The least of some, in a session of its own: a page split is in some of them.
sub looks
{
	my $from = $task += 100;
	my $script = join '', map { my $id = $from + $_; <<"SQL" } 1 .. 12;
SELECT 'reserve', blocks('SELECT * FROM agentpay._reserve(one(-$id))');
SELECT 'settle', blocks('SELECT agentpay._settle(spent(-$id))');
SELECT 'status', blocks('SELECT * FROM agentpay.budget_status');
SQL
	my %least;
	foreach (split /\n/, query($script))
	{
		my ($what, $blocks) = split /\|/;
		$least{$what} = $blocks if !defined $least{$what} || $blocks < $least{$what};
	}
	return %least;
}

my $old = session($node);
$old->('BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM payments');
query('SET synchronous_commit = off; CALL churn(1, 20)');
my %before = looks();
query('SET synchronous_commit = off; CALL churn(21, 3000)');
my %after = looks();
# each of 3,000 has left versions of two totals and two changes behind, hundreds
# of blocks; that the indexes have a level more is less than twice
foreach my $what (qw(reserve settle status))
{
	cmp_ok($after{$what}, '<=', 2 * $before{$what}, "$what: $before{$what} blocks after 20, $after{$what} after 3,000");
}
is(query("SELECT settled, held, uncertain, calls FROM agentpay.budget_status WHERE name = 'hour'"), '1.512|0|0|3024',
	'and nothing is missed: 3,024 times 0.0005');
is(query('SELECT count(*) FROM agentpay._budget_totals'), '2', 'one version of each budget is seen');
$old->();
$node->stop;
done_testing();
