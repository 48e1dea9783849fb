# Tasks that are committed while the dispatcher claims earlier ones are claimed
# too, without waiting for its timer, which is far away here.
use strict;
use warnings;
use Test::More;
use AgentpayTest;

my $node = new_ledger('wake_up', "agentpay.idle_interval = '10min'");
add_agent($node, 'embedded', protocol => 'builtin');
# the first claim of all has been made
ask($node, 'embedded', 1);
await_tasks($node, 60);

# Fuller than one claim (500), with more to come while it is worked on.
for my $round (1 .. 5)
{
	my $first = 10000 * $round;
	$node->safe_psql('postgres', join ";\n",
		map { AgentpayTest::ask_sql('embedded', $first + 150 * $_, $first + 150 * $_ + 149, 1) }
		  0 .. 19);
	await_tasks($node, 30);
}
is(decisions($node, 'embedded') =~ s/.*\|//sr, 15001, 'every task has its decision');
$node->stop;
done_testing();
