# Controls whose state is the server's: an archive, a signed checkpoint, a master
# key.  Each is seen to fail for its reason, and to pass once it is mended.
use strict;
use warnings;
use File::Temp;
use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;
use FindBin;
use lib "$FindBin::Bin/..";
use AgentpayTest;

my $dir = File::Temp->newdir(CLEANUP => 1);
my $node = new_ledger('compliance', "agentpay.log_origin = 'example.com/compliance'\nwal_level = replica\narchive_mode = on\narchive_command = 'false'\n");
sub sql { return $node->safe_psql('postgres', $_[0]); }
sub control { return sql("SELECT state FROM agentpay.compliance WHERE framework || ' ' || control = '$_[0]'"); }
sub figure { return sql("SELECT figure FROM agentpay.compliance WHERE framework || ' ' || control = '$_[0]'"); }
sub set
{
	my ($name, $value) = @_;
	sql("ALTER SYSTEM SET $name = '$value'");
	$node->reload;
	return;
}
sub becomes
{
	my ($control, $state, $what) = @_;
	await("$control: $state", sub { control($control) eq $state });
	is(control($control), $state, "$control: $what");
	return;
}

# ── an archive ──────────────────────────────────────────────────────────────
my $backup = 'PCI DSS 4.0.1 10.3.3';
sql('SELECT pg_switch_wal()');
becomes($backup, 'fail', 'WAL cannot be archived');
like(figure($backup), qr/archive_mode on, 0 files archived, [1-9][0-9]* failures/, 'for that reason');
set('archive_command', 'true');
becomes($backup, 'pass', 'it can');

# ── a signed checkpoint ─────────────────────────────────────────────────────
my $notice = 'PCI DSS 4.0.1 10.3.4';
await('the governor seals', sub { sql('SELECT count(*) FROM agentpay._seals') > 0 });
becomes($notice, 'fail', 'what is sealed is under no checkpoint');
like(figure($notice), qr/^[1-9][0-9]* rows sealed, 0 under a signed checkpoint/, 'for that reason');
system_or_bail('openssl', 'genpkey', '-algorithm', 'ed25519', '-out', "$dir/key.pem");
chmod 0600, "$dir/key.pem";
set('agentpay.checkpoint_key_file', "$dir/key.pem");
becomes($notice, 'pass', 'it is');

# ── a master key ────────────────────────────────────────────────────────────
my $erasure = 'GDPR Article 17';
append_to_file("$dir/master", 'd4' x 32 . "\n");
chmod 0600, "$dir/master";
is(control($erasure), 'fail', "$erasure: no subject, no key");
like(figure($erasure), qr/^1 of 1 points name no subject; a master key is set: f/, 'for that reason');
set('agentpay.master_key', "file:$dir/master");
await('the key is there', sub { figure($erasure) =~ /is set: t/ });
is(control($erasure), 'fail', 'a key alone forgets nobody');
sql("ALTER TABLE payments ADD customer text; UPDATE agentpay.decision_points SET subject_column = 'customer' WHERE point = 'fraud'");
becomes($erasure, 'pass', 'with both it can');
done_testing();
