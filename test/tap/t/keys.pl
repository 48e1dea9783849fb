# Values that a data policy treats are sealed under their subject's key: nowhere
# in clear on disk, bound to their row, unreadable once the subject is forgotten,
# whatever is in flight, rolled back, rotated or restored meanwhile.
use strict;
use warnings;
use File::Find;
use File::Temp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use Time::HiRes qw(time);
use FindBin;
use lib "$FindBin::Bin/..";
use AgentpayTest;

my $dir = File::Temp->newdir(CLEANUP => 1);
my ($key_1, $key_2, $key_file) = ('a1' x 32, 'B2' x 32, "$dir/master.key");

sub write_key
{
	my ($mode, @keys) = @_;
	open my $out, '>', "$key_file.new" or die $!;
	print $out map { "$_\n" } @keys;
	close $out;
	chmod $mode, "$key_file.new";
	rename "$key_file.new", $key_file or die $!;
	return;
}

sub start
{
	my ($name, $extra) = @_;
	my $node = PostgreSQL::Test::Cluster->new($name);
	$node->init;
	$node->append_conf('postgresql.conf', "shared_preload_libraries = 'agentpay'\nagentpay.recheck_interval = 1\n"
		  . "max_worker_processes = 16\nfsync = off\n$extra\n");
	$node->start;
	return $node;
}

write_key(0600, $key_1);
my $node = start('ledger', "agentpay.master_key = 'file:$key_file'");
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub refusal { my (undef, undef, $error) = $node->psql('postgres', "\\set VERBOSITY verbose\n$_[0]"); return $error; }

# What was scored is taken off the row before it is stored, so that the ledger
# itself holds nothing in clear.
sql(<<'SQL');
CREATE EXTENSION agentpay;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT clock_timestamp(),
	customer text, card text, memo text, open text, amount numeric, outcome text);
CREATE FUNCTION take_off() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.card := NULL; NEW.memo := NULL; NEW.customer := NULL; NEW.open := NULL; RETURN NEW; END$$;
CREATE TRIGGER "~~take_off" BEFORE INSERT ON payments FOR EACH ROW EXECUTE FUNCTION take_off();
SELECT agentpay.attach('payments', 'fraud', 'fraud', id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'USD', subject => 'customer', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict)
	VALUES ('fraud', 'ALL', 'card LIKE ''41%'' AND memo <> '''' AND open <> ''''', 'decline');
SELECT agentpay.activate('fraud');
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES
	('payments', 'card', 'pci', 'mask'), ('payments', 'memo', 'free_text', 'drop'), ('payments', 'open', 'public', 'pass');
SQL
await('the governor makes the lookup key', sub { sql('SELECT count(*) FROM agentpay._lookup_key') });

# ── sealed, and nowhere in clear ────────────────────────────────────────────
sub pay
{
	my ($id, $customer) = @_;
	return "INSERT INTO payments (id, customer, card, memo, open, amount) VALUES ($id, '$customer', '4111111111111111', 'plantedmemo$id', 'plantedopen$id', 1) RETURNING outcome;";
}
is(sql(pay(1, 'plantedsubject-1')), 'decline', 'a payment is scored by what it says in clear');
sql(pay(2, 'plantedsubject-1') . pay(3, 'plantedsubject-2') . 'CHECKPOINT');
my $inputs = "SELECT inputs FROM agentpay.decisions WHERE row_id =";
my $unsealed = "SELECT agentpay._unseal(d) FROM agentpay.decisions d WHERE row_id =";
is(sql("$inputs '1'"), '{"card": "****************", "memo": null, "open": "plantedopen1"}', 'its inputs are stored treated');
is(sql("$unsealed '1'"), '{"card": "4111111111111111", "memo": "plantedmemo1", "open": "plantedopen1"}', 'and sealed as they were');
is(sql('SELECT count(DISTINCT key_id) FROM agentpay.decisions'), '2', 'a key for each subject');

sub files_with
{
	my ($what) = @_;
	my @found;
	find({ no_chdir => 1, wanted => sub {
		return unless -f $_;
		my $bytes = slurp_file($_);
		push @found, $_ if index($bytes, $what) >= 0;
	} }, $node->data_dir);
	return scalar @found;
}
cmp_ok(files_with('plantedopen1'), '>', 0, 'a value that passes is found in the data directory');
foreach my $what ('4111111111111111', 'plantedmemo1', 'plantedsubject', pack('H*', $key_1), $key_1)
{
	is(files_with($what), 0, 'nowhere: ' . ($what =~ /^[ -~]+$/ && $what !~ /^a1/ ? $what : 'the master key'));
}

# ── bound to its row ────────────────────────────────────────────────────────
my $other = "(SELECT decision_id FROM agentpay.decisions WHERE row_id = '2')";
like(refusal("SELECT agentpay._open('d', $other, key_id, sealed) FROM agentpay.decisions WHERE row_id = '1'"),
	qr/55000.*not what was sealed for its row/s, 'sealed bytes of another row are refused');
like(refusal("SELECT agentpay._open('c', decision_id, key_id, sealed) FROM agentpay.decisions WHERE row_id = '1'"),
	qr/not what was sealed for its row/, 'and those of another log');
like(refusal("SELECT agentpay._open('d', decision_id, key_id, set_byte(sealed, 20, get_byte(sealed, 20) # 1)) FROM agentpay.decisions WHERE row_id = '1'"),
	qr/not what was sealed for its row/, 'and bytes that were changed');

# ── transactions that go ────────────────────────────────────────────────────
# A key that a savepoint made goes with it, and is not used after it.
sql('BEGIN; SAVEPOINT s; ' . pay(10, 'rolled-back') . ' ROLLBACK TO s; ' . pay(11, 'rolled-back') . ' COMMIT;');
is(sql("$unsealed '11'"), '{"card": "4111111111111111", "memo": "plantedmemo11", "open": "plantedopen11"}',
	'a key of a savepoint that was rolled back is not used again');
sql('BEGIN; ' . pay(12, 'gone') . ' ROLLBACK; ' . pay(13, 'gone'));
like(sql("$unsealed '13'"), qr/plantedmemo13/, 'nor one of a transaction');

# ── what a session remembers of its subjects ────────────────────────────────
# More subjects than it has places for, each three times, by turns: all under
# their own keys, and as they were, by what the payments themselves say.
my $memo = q{E'tab\t "quoted" back\\\\slash \u00e9\u20ac \x01' || n};
my $many = "INSERT INTO payments (id, customer, card, memo, amount) SELECT %d + n, 'many-' || n, '41' || n, $memo, 1 FROM generate_series(1, 1500) AS n;";
sql(join '', map { sprintf $many, $_ } 10000, 20000, 30000);
my $of_many = 'agentpay.decisions d CROSS JOIN LATERAL (SELECT d.row_id::int % 10000 AS n) AS k WHERE d.row_id::int > 10000';
is(sql("SELECT count(*) FILTER (WHERE agentpay._unseal(d) = jsonb_build_object('card', '41' || n, 'memo', $memo, 'open', NULL)) FROM $of_many"),
	'4500', 'payments of many subjects in one session are sealed as they were');
is(sql("SELECT count(DISTINCT n), count(DISTINCT key_id), count(DISTINCT (n, key_id)) FROM $of_many"), '1500|1500|1500', 'each subject under its one key');
is(sql("SELECT count(DISTINCT substr(sealed, 2, 12)) FROM $of_many"), '4500', 'under a nonce of its own');
sql(sprintf("$many SELECT agentpay.forget('many-7', 'request 0'); ", 40000) . pay(50007, 'many-7'));
is(sql("SELECT string_agg(coalesce(left(agentpay._unseal(d) ->> 'memo', 12), 'erased'), ' ' ORDER BY row_id::int) FROM $of_many AND n = 7"),
	'erased erased erased erased plantedmemo5', 'what is forgotten within the session is not sealed under the old key again');

# ── two sessions with one new subject do not wait for each other ────────────
my ($one, $two) = (session($node), session($node));
$one->('BEGIN; ' . pay(20, 'shared'));
$two->("SET statement_timeout = '60s'; BEGIN; " . pay(21, 'shared') . ' COMMIT');
pass('a payment of a subject does not wait for another one in flight');

# ── forget() while a payment of the subject is in flight ────────────────────
sql(pay(22, 'other'));
is(sql("SELECT agentpay.forget('shared', 'request 1')"), '1', 'forget() makes the committed decision unreadable');
$one->('COMMIT');
await('the governor destroys the key of the payment that was in flight',
	sub { sql("SELECT agentpay._erased(d) FROM agentpay.decisions d WHERE row_id = '20'") eq 't' });
is(sql("$unsealed '20'"), '', 'so that it cannot be read, either');
$two->(pay(23, 'shared'));
like(sql("$unsealed '23'"), qr/plantedmemo23/, 'a payment that comes after is sealed under a new key, in a session that had the old one');
$_->() foreach $one, $two;

# ── forgotten ───────────────────────────────────────────────────────────────
my ($dump) = run_command([ 'pg_dump', '-d', $node->connstr('postgres') ]);
is(sql("SELECT agentpay.forget('plantedsubject-1', 'request 2')"), '2', 'forget() says how many decisions');
is(sql("SELECT string_agg(coalesce(agentpay._unseal(d)::text, 'erased'), ' ' ORDER BY row_id) FROM agentpay.decisions d WHERE row_id IN ('1', '2')"),
	'erased erased', 'which read as erased');
like(sql("$unsealed '3'"), qr/plantedmemo3/, 'others are as they were');
like(sql("SELECT string_agg(note, ' ') FROM agentpay.explain('fraud', 1) WHERE section = 'inputs'"), qr/erased/, 'explain() says erased');
unlike(sql('SELECT * FROM agentpay._erasures; SELECT * FROM agentpay._subject_keys; SELECT * FROM agentpay.governance_log'),
	qr/plantedsubject/, 'no subject is named by what is left');
is(sql("SELECT reason || ' ' || (after ->> 'decisions') FROM agentpay.governance_log WHERE action = 'forget' ORDER BY logged_at DESC LIMIT 1"),
	'request 2 2', 'the governance log has it');
is(sql('SELECT agentpay._seal() >= 0; SELECT ok FROM agentpay.verify_log()'), "t\nt", 'the log verifies');
like(refusal("SELECT agentpay.forget('plantedsubject-2', 'plantedsubject-2 asked')"), qr/22023.*HINT/s, 'a reason that names the subject is refused');
like(refusal("SELECT agentpay.forget('x', ' ')"), qr/22004.*HINT/s, 'so is none');
is(sql("SELECT agentpay.forget('nobody-ever', 'request 3')"), '0', 'who has no decisions has none that become unreadable');

# ── tokens ──────────────────────────────────────────────────────────────────
# Two columns are tokenised; of each payment they say the same.
sql(<<'SQL');
ALTER TABLE payments ADD email text, ADD contact text;
CREATE OR REPLACE FUNCTION take_off() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.card := NULL; NEW.memo := NULL; NEW.customer := NULL; NEW.open := NULL; NEW.email := NULL; NEW.contact := NULL; RETURN NEW; END$$;
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES
	('payments', 'email', 'pii', 'tokenise'), ('payments', 'contact', 'pii', 'tokenise');
SELECT agentpay.draft('fraud');
INSERT INTO agentpay.rules (point, version, code, condition, verdict) VALUES ('fraud', 2, 'MAIL', 'email LIKE ''planted%'' AND contact IS NOT NULL', 'decline');
SELECT agentpay.activate('fraud');
SQL
sub pay_as
{
	my ($id, $customer, $email) = @_;
	return "INSERT INTO payments (id, customer, email, contact) VALUES ($id, '$customer', '$email', '$email') RETURNING outcome;";
}
sub token { return sql("SELECT inputs ->> '$_[1]' FROM agentpay.decisions WHERE row_id = '$_[0]'"); }
is(sql(pay_as(50, 'erin', 'plantedmail@x.example') . pay_as(51, 'frank', 'plantedmail@x.example') . pay_as(52, 'frank', 'other@x.example')),
	"decline\ndecline\napprove", 'rules read values, not their tokens');
like(token(50, 'email'), qr/^tok_[0-9a-f]{32}$/, 'a token is stored');
is(token(50, 'email'), token(51, 'email'), 'the same for the same value');
isnt(token(50, 'email'), token(52, 'email'), 'another for another');
isnt(token(50, 'email'), token(50, 'contact'), 'and in another domain');
# four sessions' worth of one new value in flight: none waits, and all agree
my @flight = map { session($node) } 1 .. 3;
$flight[$_]->("SET statement_timeout = '60s'; BEGIN; " . pay_as(60 + $_, 'grace', 'inflight@x.example')) foreach 0 .. 2;
$_->('COMMIT'), $_->() foreach @flight;
is(sql("SELECT count(DISTINCT inputs ->> 'email') FROM agentpay.decisions WHERE row_id IN ('60', '61', '62')"), '1',
	'payments in flight with one new value do not wait, and have one token');
my $token = token(50, 'email');
is(sql("SELECT agentpay.detokenise('$token', 'case 1')"), 'plantedmail@x.example', 'detokenise() leads back');
is(sql("SELECT actor = session_user, reason, object = '$token' FROM agentpay.governance_log WHERE action = 'detokenise'"), 't|case 1|t', 'on record');
like(slurp_file($node->logfile), qr/LOG:  agentpay: ".*" looked behind the token $token/, "and in the server's log");
like(refusal("SELECT agentpay.detokenise('$token', '')"), qr/22004.*HINT/s, 'without a reason it is refused');
like(refusal("SELECT agentpay.detokenise('tok_0', 'case 1')"), qr/42704.*HINT/s, 'so is what is no token');
sql('CREATE ROLE clerk; GRANT USAGE ON SCHEMA agentpay TO clerk');
like(refusal("SET ROLE clerk; SELECT agentpay.detokenise('$token', 'case 1')"), qr/42501/, 'nobody may, unless it is granted');
sql('CHECKPOINT');
is(files_with('plantedmail'), 0, 'the value is nowhere on disk');
sql("SELECT agentpay.forget('erin', 'request 4')");
is(sql("SELECT agentpay.detokenise('$token', 'case 1')"), 'plantedmail@x.example', 'forgetting one subject takes nothing from another');
sql("SELECT agentpay.forget('frank', 'request 5')");
like(refusal("SELECT agentpay.detokenise('$token', 'case 1')"), qr/42704/, 'with the last one the token leads nowhere');

# ── tokens that keep their format ───────────────────────────────────────────
sql(<<'SQL');
ALTER TABLE payments ADD account text, ADD iban text;
CREATE OR REPLACE FUNCTION take_off() RETURNS trigger LANGUAGE plpgsql AS
	$$BEGIN NEW.account := NULL; NEW.iban := NULL; NEW.customer := NULL; RETURN NEW; END$$;
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment, options) VALUES
	('payments', 'account', 'pii', 'tokenise', '{"format": "ff1"}'), ('payments', 'iban', 'pii', 'tokenise', '{"format": "ff1"}');
SELECT agentpay.draft('fraud');
INSERT INTO agentpay.rules (point, version, code, condition, verdict) VALUES ('fraud', 3, 'ACCOUNT', 'account LIKE ''7%'' OR iban LIKE ''7%''', 'decline');
SELECT agentpay.activate('fraud');
SQL
sub pay_from
{
	my ($id, $customer, $account, $iban) = @_;
	return sql("INSERT INTO payments (id, customer, account, iban) VALUES ($id, '$customer', '$account', @{[ $iban ? qq('$iban') : 'NULL' ]}) RETURNING outcome;");
}
is(pay_from(70, 'hugo', '7000123456789012', '7000123456789012'), 'decline', 'rules read digits, not their token');
pay_from(71, 'ida', '7000123456789012');
pay_from(72, 'ida', '7000123456789013');
my $digits = token(70, 'account');
like($digits, qr/^[0-9]{16}\z/, 'sixteen digits are sixteen digits');
isnt($digits, '7000123456789012', 'others');
is(token(71, 'account'), $digits, 'the same for the same value');
isnt(token(72, 'account'), $digits, 'others for another');
isnt(token(70, 'iban'), $digits, 'and in another column');
is(sql("SELECT agentpay.detokenise('$digits', 'case 2')"), '7000123456789012', 'detokenise() leads back');
is(sql("SELECT agentpay.detokenise('account:$digits', 'case 2')"), '7000123456789012', 'also by the column');
is(sql("SELECT count(*) FROM agentpay.governance_log WHERE action = 'detokenise' AND object = '$digits'"), '1', 'on record');
my $odd = 73;
foreach my $value ('70001', '7000 1234 5678', 'x7000123456', '7' x 37)
{
	pay_from($odd, 'ida', $value);
	like(token($odd++, 'account'), qr/^tok_[0-9a-f]{32}\z/, "an ordinary token of what has no such format: $value");
}
# a token of one column that is one of the other
sql("INSERT INTO agentpay._vault SELECT v.token, v.key_id, 'iban', v.token_id, v.sealed, v.created_at FROM agentpay._vault v WHERE v.token = '$digits'");
like(refusal("SELECT agentpay.detokenise('$digits', 'case 2')"), qr/21000.*of several columns.*account, iban.*HINT:  SELECT agentpay.detokenise\('account:$digits'/s,
	'digits that are a token in two columns want one');
is(sql("SELECT agentpay.detokenise('account:$digits', 'case 2')"), '7000123456789012', 'which the hint names');
sql("DELETE FROM agentpay._vault WHERE domain = 'iban' AND token = '$digits'");
sql("SELECT agentpay.forget('hugo', 'request 6')");
is(sql("SELECT agentpay.detokenise('$digits', 'case 2')"), '7000123456789012', "while ida's is there");
sql("SELECT agentpay.forget('ida', 'request 7')");
like(refusal("SELECT agentpay.detokenise('$digits', 'case 2')"), qr/42704/, 'afterwards no way leads back');
sql('CHECKPOINT');
is(files_with('7000123456789012'), 0, 'the value is nowhere on disk');

# ── rotation ────────────────────────────────────────────────────────────────
my $advice = "SELECT level FROM agentpay.advice WHERE object = 'agentpay.master_key'";
write_key(0600, $key_2, $key_1);
my $keys = sql('SELECT (SELECT count(*) FROM agentpay._subject_keys) + 1');
is(sql($advice), 'warning', 'advice says that keys are wrapped by the older one');
sql('BEGIN; SELECT agentpay.rotate_master_key(); ROLLBACK');
like(sql("$unsealed '3'"), qr/plantedmemo3/, 'a rotation that is cut off leaves all readable');
$node->stop('immediate');
$node->start;
is(sql('SELECT agentpay.rotate_master_key()'), $keys, 'rotate_master_key() wraps every key');
is(sql('SELECT agentpay.rotate_master_key()'), '0', 'once');
write_key(0600, $key_2);
like(sql("SELECT pg_sleep(0); $unsealed '3'"), qr/plantedmemo3/, 'the old key is needed no more');
is(sql($advice), '', 'and advice is content');
write_key(0600, $key_1);
like(refusal("$unsealed '3'"), qr/55000.*HINT/s, 'with the old key alone nothing can be read');
is(sql(pay(30, 'someone')), 'decline', 'and payments go on');
is(sql("SELECT sealed IS NULL, inputs ->> 'memo' FROM agentpay.decisions WHERE row_id = '30'"), 't|', 'in their treated form');
is(sql($advice), 'error', 'advice says so');
write_key(0644, $key_2);
like(refusal("$unsealed '3'"), qr/open to others/, 'a file that others can read is not used');
write_key(0600, $key_2, 'no key');
like(refusal("$unsealed '3'"), qr/not 64 hexadecimal digits/, 'nor one with something else in it');
write_key(0600, $key_2);
like(sql("$unsealed '3'"), qr/plantedmemo3/, 'until it is mended');
like(refusal("ALTER SYSTEM SET agentpay.master_key = '$key_1'"), qr/^(?!.*$key_1).*is not a reference/s, 'a key in the setting is refused, and not repeated');

# ── an older dump ───────────────────────────────────────────────────────────
write_key(0600, $key_2, $key_1);
my $copy = start('copy', "agentpay.master_key = 'file:$key_file'");
append_to_file("$dir/dump.sql", $dump);
$copy->command_ok([ 'psql', '-qX', '-v', 'ON_ERROR_STOP=1', '-d', $copy->connstr('postgres'), '-f', "$dir/dump.sql" ], 'a dump from before restores');
like($copy->safe_psql('postgres', "$unsealed '1'"), qr/plantedmemo1/, 'with what was forgotten since');
$node->safe_psql('postgres', "COPY agentpay._erasures TO '$dir/erasures'");
$copy->safe_psql('postgres', "CREATE TEMP TABLE e (LIKE agentpay._erasures); COPY e FROM '$dir/erasures'; INSERT INTO agentpay._erasures SELECT * FROM e ON CONFLICT DO NOTHING;");
is($copy->safe_psql('postgres', 'SELECT agentpay.replay_erasures()'), '2', 'replay_erasures() takes it away');
is($copy->safe_psql('postgres', "$unsealed '1'"), '', 'for good');
like($copy->safe_psql('postgres', "$unsealed '3'"), qr/plantedmemo3/, 'and only that');
is($copy->safe_psql('postgres', 'SELECT agentpay.replay_erasures()'), '0', 'once');
$copy->stop;

# ── a command ───────────────────────────────────────────────────────────────
sub use_command
{
	my ($command) = @_;
	$node->safe_psql('postgres', "ALTER SYSTEM SET agentpay.master_key = 'command:$command'");
	$node->reload;
	return;
}
use_command("cat $key_file");
await('the launcher runs the command', sub { sql('SELECT agentpay._master_names() IS NOT NULL') eq 't' });
like(sql("$unsealed '3'"), qr/plantedmemo3/, 'a command gives the key');
use_command('sleep 1000');
await('the setting reaches sessions', sub { sql('SELECT agentpay._master_names() IS NULL') eq 't' });
my $began = time;
is(sql(pay(40, 'someone')), 'decline', 'while a command hangs payments go on');
cmp_ok(time - $began, '<', 8, 'and do not wait for it');
await('a command that hangs is ended', sub { sql("SELECT last_error FROM agentpay.stat_workers WHERE worker = 'launcher'") =~ /longer than 5 seconds/ });
my $left = sql(pay(41, 'someone'));
is($left, 'decline', 'as before');
$node->stop;
unlike(slurp_file($node->logfile) =~ s/^.*statement: .*$//mgir, qr/$key_1|$key_2/i, "the server's log has no key");
done_testing();
