# What was said about a payment in prose, an agent's explanation, a person's
# reason, the request and the answer themselves, is sealed under the key of its
# subject: nowhere in clear, shown to those who may ask, gone when the subject is
# forgotten, also where it comes later or has to wait for its row.
use strict;
use warnings;
use Digest::SHA qw(sha256_hex);
use File::Find;
use File::Temp;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

my $dir = File::Temp->newdir(CLEANUP => 1);
append_to_file("$dir/master", 'c3' x 32 . "\n");
chmod 0600, "$dir/master";
start_agents();
my $node = new_ledger('prose', "agentpay.master_key = 'file:$dir/master'\nlog_statement = none\nlog_min_error_statement = panic\n");
sub sql { return $node->safe_psql('postgres', $_[0]); }
# memo passes: inputs hold it as it is, and the agent says it backwards
sql('ALTER TABLE payments ADD customer text;'
	  . " UPDATE agentpay.decision_points SET subject_column = 'customer', explore_percent = 0 WHERE point = 'fraud'");
await('the governor makes the lookup key', sub { sql('SELECT count(*) FROM agentpay._lookup_key') });
add_agent($node, 'talker', behaviour => 'explains');
add_agent($node, 'slow', behaviour => 'explains-1500', position => 'pre_auth', timeout_ms => 20000);
sql("UPDATE agentpay.decision_points SET decide_within_ms = 60000 WHERE point = 'fraud'");

sub pay
{
	my ($id, $agent, $customer, $memo, $amount) = @_;
	sql("INSERT INTO payments (payment_id, agent, customer, amount, memo) VALUES ($id, '$agent', '$customer', @{[ $amount // 12 ]}, '$memo')");
	return;
}
sub explained
{
	my ($id, $section, $item) = @_;
	return sql("SELECT string_agg(value, ' / ') FROM agentpay.explain((SELECT decision_id FROM agentpay.decisions"
		  . " WHERE row_id = '$id' AND kind = 'rules')) WHERE section = '$section' AND item = '$item'");
}
sub timeline { return sql("SELECT string_agg(note, ' | ') FROM agentpay.payment_timeline('fraud', $_[0])"); }

# ── sealed, and shown ───────────────────────────────────────────────────────
pay(1, 'talker', 'alice', 'the quick brown fox');
pay(2, 'talker', 'bob', 'a lazy dog, 4111 1111 1111 1111');
await_tasks($node);
is(sql("SELECT detail ? 'explanation', sealed IS NOT NULL, key_id IS NOT NULL FROM agentpay.decisions WHERE row_id = '1' AND agent = 'talker'"),
	'f|t|t', 'an explanation is sealed');
is(sql("SELECT bool_and(a.key_id = r.key_id AND c.key_id = r.key_id) FROM agentpay.decisions r JOIN agentpay.decisions a USING (row_id)"
		. " JOIN agentpay.agent_calls c USING (row_id) WHERE r.kind = 'rules' AND a.kind = 'agent'"), 't',
	"under the key of the payment's subject, as the call");
is(explained(1, 'agent', 'explanation'), 'it says xof nworb kciuq eht', 'explain() shows it');
like(timeline(1), qr/it explained: it says xof nworb kciuq eht/, 'so does payment_timeline()');
my $request = explained(1, 'call', 'request');
like($request, qr/"model":"test".*the quick brown fox/, 'and what was asked');
is(sql("SELECT encode(request_sha256, 'hex') FROM agentpay.agent_calls WHERE row_id = '1'"), sha256_hex($request), 'byte by byte');
like(explained(1, 'call', 'answer'), qr/xof nworb kciuq eht/, 'and what was answered');
unlike(explained(2, 'call', 'request') . explained(2, 'call', 'answer') . explained(2, 'agent', 'explanation'),
	qr/4111 1111|1111 1114/, 'what detection finds is in none of them');

# ── a person's reason ───────────────────────────────────────────────────────
sql(q{SELECT agentpay.resolve_case(agentpay.open_case('fraud', 1, 'a look'), 'review', 'her uncle Ferdinand paid before')});
is(sql("SELECT detail ? 'reason', sealed IS NOT NULL FROM agentpay.decisions WHERE kind = 'human'"), 'f|t', "a person's reason is sealed, too");
like(timeline(1), qr/her uncle Ferdinand paid before/, 'and told');
is(sql("SELECT value FROM agentpay.explain('fraud', 1) WHERE section = 'decision' AND item = 'reason'"), 'her uncle Ferdinand paid before', 'explain() has it');

# ── who may see it ──────────────────────────────────────────────────────────
sql("CREATE ROLE alma; CREATE ROLE otto; SELECT agentpay.grant_role('alma', 'analyst'); SELECT agentpay.grant_role('otto', 'auditor')");
foreach my $who (qw(alma otto))
{
	like(sql("SET ROLE $who; SELECT string_agg(note, ' ') FROM agentpay.payment_timeline('fraud', 2)"), qr/god yzal a/, "$who: may ask for it");
	my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\nSET ROLE $who; SELECT agentpay._read_sealed('d', decision_id, key_id, sealed, 'explanation') FROM agentpay.decisions");
	like($error, qr/42501/, "$who: may not open what is sealed by hand");
}

# ── nowhere in clear ────────────────────────────────────────────────────────
sql('CHECKPOINT');
sub files_with
{
	my ($what) = @_;
	my $found = 0;
	find({ no_chdir => 1, wanted => sub { $found++ if -f $_ && index(slurp_file($_), $what) >= 0; } }, $node->data_dir);
	return $found + (index(slurp_file($node->logfile), $what) >= 0);
}
cmp_ok(files_with('the quick brown fox'), '>', 0, 'a value that passes is found on disk');
is(files_with($_), 0, "nowhere: $_") foreach 'xof nworb', 'uncle Ferdinand', 'god yzal';

# ── it waits for its row ────────────────────────────────────────────────────
promote_fully($node, 'slow');
pay(3, 'slow', 'carol', 'patience', 5000);
my $holder = session($node);
$holder->('BEGIN; SELECT 1 FROM payments WHERE payment_id = 3 FOR UPDATE');
await('the verdict waits for its row', sub { sql('SELECT count(*) FROM agentpay._applies') eq '1' });
is(sql("SELECT (ending).detail ? 'explanation', (ending).detail ? 'sealed' FROM agentpay._applies"), 'f|t', 'an explanation that waits is sealed');
$holder->('COMMIT');
$holder->();
await_tasks($node);
is(explained(3, 'agent', 'explanation'), 'it says ecneitap', 'and is read when its row was free');
sql('CHECKPOINT');
is(files_with('ecneitap'), 0, 'nowhere: ecneitap');

# ── it comes when its subject is forgotten ──────────────────────────────────
pay(4, 'slow', 'dora', 'too late');
await('the call is under way', sub { in_flight($node) eq '1' });
is(sql("SELECT agentpay.forget('dora', 'request 1')"), '1', 'the rules decision is unreadable');
await_tasks($node);
is(sql("SELECT detail ? 'explanation', sealed IS NULL, key_id IS NULL, kind FROM agentpay.decisions WHERE row_id = '4' AND agent = 'slow'"), 'f|t|t|agent',
	'what comes then is not kept');
is(sql("SELECT sealed IS NULL, status FROM agentpay.agent_calls WHERE row_id = '4'"), 't|ok', 'nor is the call');

# ── forgotten ───────────────────────────────────────────────────────────────
my $before = sql("SELECT string_agg(agentpay.canonical_leaf(decision_id), E'\\n' ORDER BY decision_id) FROM agentpay.decisions WHERE row_id = '1'");
is(sql("SELECT agentpay.forget('alice', 'request 2')"), '3', 'of the rules, the agent and the person: three decisions');
is(explained(1, @$_), '[erased]', "explain() says erased: $_->[1]") foreach [ 'agent', 'explanation' ], [ 'call', 'request' ], [ 'call', 'answer' ];
is(sql("SELECT value FROM agentpay.explain('fraud', 1) WHERE section = 'decision' AND item = 'reason'"), '[erased]', 'and the reason');
like(timeline(1), qr/it explained: \[erased\]/, 'payment_timeline() says so, too');
unlike(timeline(1), qr/Ferdinand|nworb/, 'and nothing else');
is(sql("SELECT DISTINCT state FROM agentpay.decisions d, agentpay.replay(d.decision_id) WHERE row_id = '1' AND d.kind = 'rules'"), 'erased', 'replay() says erased');
is(sql("SELECT decisions FROM agentpay.replay_all() WHERE state = 'erased'"), '2', 'replay_all(): of both who were forgotten');
like(sql("SELECT string_agg(note, ' ') FROM agentpay.payment_timeline('fraud', 2)"), qr/god yzal a/, 'another subject is as before');
is(sql("SELECT string_agg(agentpay.canonical_leaf(decision_id), E'\\n' ORDER BY decision_id) FROM agentpay.decisions WHERE row_id = '1'"), $before, 'not a byte of the log has changed');
is(sql('SELECT agentpay._seal() >= 0; SELECT ok FROM agentpay.verify_log()'), "t\nt", 'it verifies');

# ── without the master key ──────────────────────────────────────────────────
unlink "$dir/master";
await('sessions see that it is gone', sub { explained(2, 'agent', 'explanation') =~ /^\[sealed: / });
like(explained(2, 'agent', 'explanation'), qr/^\[sealed: no key can be used/, 'explain() says why, and is no error');
pay(5, 'talker', 'erik', 'no key, card 4111 1111 1111 1111');
await_tasks($node);
is(sql("SELECT detail ->> 'explanation' FROM agentpay.decisions WHERE row_id = '5' AND agent = 'talker'"), 'it says ]NAP[ drac ,yek on',
	'without it an explanation is stored as it was treated');
is(sql("SELECT sealed IS NULL FROM agentpay.agent_calls WHERE row_id = '5'"), 't', 'and the call is not');
done_testing();
