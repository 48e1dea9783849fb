# What must not leave is nowhere else either: values of each class are planted in
# columns and in free text; then every table of agentpay, its dump, the server's
# log, WAL and the agents' journal are searched for them.
#
# The payments table is unlogged, so that WAL holds no rows of the user's own.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;
use File::Temp;
use JSON::PP;

start_agents();
my $keys = File::Temp->newdir(CLEANUP => 1);
append_to_file("$keys/hash", 'K3y-sentinel-' . '5' x 40 . "\n");
chmod 0600, "$keys/hash";
my $node = new_ledger('planted', <<"CONF");
agentpay.hash_key = 'file:$keys/hash'
log_min_messages = debug1
log_statement = none
log_min_error_statement = panic
CONF

# what stands in the row, by name; none of it may be seen anywhere
my %planted = (
	pan => '4012888888881881', iban => 'DE89370400440532013000', email => 'joe.sentinel@example.com',
	cvv => '7391', track => ';5555555555554444=30121010000012300000?', phone => '+44 20 7946 0958',
	ip => '203.0.113.77', id => '85.07.30-033.28', name => 'Sentinella Grossmann', secret_note => 'xylophone-sentinel',
	spaced => '5105 1051 0510 5100', dashed => '3782-822463-10005', wide => "\x{FF14}222222222222");

$node->safe_psql('postgres', <<'SQL');
ALTER TABLE payments SET UNLOGGED;
ALTER TABLE payments ADD card text, ADD holder text, ADD cvv text, ADD note text, ADD born date;
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment, options) VALUES
	('payments', 'card', 'pci', 'mask', '{"keep_last": 4}'), ('payments', 'holder', 'pii', 'hash', '{}'),
	('payments', 'note', 'pii', 'drop', '{}'), ('payments', 'born', 'pii', 'bucket', '{"width": "year"}');
UPDATE agentpay.data_policies SET treatment = 'bucket', options = '{"bounds": [10, 100]}'
 WHERE column_name = 'amount';
SELECT agentpay.draft('fraud');
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES ('fraud', 'SEES',
	'card = memo OR holder = memo OR cvv = memo OR note = memo OR born IS NULL', 'decline');
SELECT agentpay.activate('fraud');
SQL
add_agent($node, 'echo', fields => '{amount,memo,card,holder,born}');
my $memo = "paid $planted{pan} / $planted{spaced} / $planted{dashed} from $planted{iban} by $planted{email}, cvv $planted{cvv},"
  . " swipe $planted{track} call $planted{phone} at $planted{ip} id $planted{id}.";
my $file = "$keys/row.sql";
append_to_file($file, "INSERT INTO payments (payment_id, agent, amount, memo, card, holder, cvv, note, born) VALUES"
	  . " (1, 'echo', 12.5, '$memo', '$planted{pan}', '$planted{name}', '$planted{cvv}', '$planted{secret_note}', '1987-06-05');\n"
	  . "INSERT INTO payments (payment_id, agent, amount, memo, card, holder, cvv, note, born) VALUES"
	  . " (2, 'echo', 99, U&'\\FF14\\FF12222222222222 \\FF14 012\\200B8888 8888 1881', '1', '$planted{name}', '1', '1', '1987-06-05');\n");
$node->safe_psql('postgres', "\\i $file");
await_tasks($node);

my $inputs = $node->safe_psql('postgres', "SELECT inputs FROM agentpay.decisions WHERE row_id = '1' AND kind = 'rules'");
like($inputs, qr/"card": "\*{12}1881"/, 'the card is masked');
like($inputs, qr/"holder": "[0-9a-f]{32}"/, 'the holder is hashed');
like($inputs, qr/"cvv": null/, 'the card verification value is withheld, without a policy');
like($inputs, qr/"note": null/, 'so is what is dropped');
like($inputs, qr/"born": "1987"/, 'a date is in its bucket');
like($inputs, qr/"amount": "\[10,100\)"/, 'an amount is in its bucket');
like($inputs, qr/paid \[PAN\] \/ \[PAN\] \/ \[PAN\] from \[IBAN\] by \[EMAIL\], \[CVV\], swipe \[TRACK\] call \[PHONE\] at \[IP\] id \[ID\]/, 'free text is scanned');
is($node->safe_psql('postgres', "SELECT count(DISTINCT inputs ->> 'holder') FROM agentpay.decisions WHERE kind = 'rules'"), '1', 'equal values have equal hashes');

# everything that is not the user's own table
my %seen;
foreach my $table (split /\n/, $node->safe_psql('postgres', <<'SQL'))
SELECT format('%I.%I', n.nspname, c.relname) FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't' AND c.oid <> 'public.payments'::regclass
   AND n.nspname <> 'pg_toast' AND c.relname NOT IN ('pg_statistic', 'pg_statistic_ext_data')
SQL
{
	$seen{tables} .= $node->safe_psql('postgres', "SELECT * FROM $table") . "\n";
}
my ($dump) = run_command([ 'pg_dump', '-n', 'agentpay', '-d', $node->connstr('postgres') ]);
$seen{'a dump'} = $dump;
$seen{'the journal of the agents'} = join "\n", map { JSON::PP->new->canonical->encode($_) } journal('normal');
like($seen{'the journal of the agents'}, qr/\[PAN\]/, 'the agent got the text');
$node->stop;
$seen{'the log'} = slurp_file($node->logfile);
$seen{WAL} = join '', map { slurp_file($_) } grep { -f } glob($node->data_dir . '/pg_wal/0*');
like($seen{WAL}, qr/\[PAN\]/, 'WAL holds the decisions');

foreach my $where (sort keys %seen)
{
	my $text = $seen{$where};
	cmp_ok(length $text, '>', 100, "$where: " . length($text) . ' bytes');
	# four digits alone are found anywhere by chance
	my @found = grep { $_ ne 'cvv' && index($text, $planted{$_}) >= 0 } sort keys %planted;
	is("@found", '', "$where: none of what was planted");
	is(index($text, "cvv $planted{cvv}"), -1, "$where: no card verification value");
	is(index($text, 'K3y-sentinel'), -1, "$where: nor the key");
}

done_testing();
