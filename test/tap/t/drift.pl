# Drift: PSI and KS beside figures computed here, row by row, and the
# guardrails that go by them.
use strict;
use warnings;
use List::Util qw(max);
use POSIX ();
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('drift', 'agentpay.workers_enabled = off');
sub query { return $node->safe_psql('postgres', $_[0]); }
add_agent($node, 'a');

# ── two weeks of decisions ──────────────────────────────────────────────────
# The first eight days ago, to eight days before now; the rest from then on.
# md5 is the source of chance, so that both sides compute the same rows.
query(<<'SQL');
CREATE FUNCTION u(seed text) RETURNS double precision LANGUAGE sql IMMUTABLE AS
	$$ SELECT ('x' || substr(md5(seed), 1, 8))::bit(32)::bigint / 4294967296.0 $$;
CREATE TABLE made (i int PRIMARY KEY, week int, at timestamptz, same numeric, moved numeric, often_zero numeric, country text,
	sometimes numeric, score numeric);
INSERT INTO made
SELECT i, week, date_trunc('hour', now()) - interval '15 days' + week * interval '7 days 12 hours' + u('t' || i) * interval '6 days 23 hours',
	   round((-ln(1 - u('s' || i)))::numeric, 4), round((-ln(1 - u('m' || i)) * (1 + 0.5 * week))::numeric, 4),
	   CASE WHEN u('z' || i) < 0.55 THEN 0 ELSE round(u('y' || i)::numeric, 3) END,
	   'c' || floor(30 * power(u('c' || i), 1.5 + week)), CASE WHEN u('n' || i) > 0.1 + 0.2 * week THEN 1 + floor(5 * u('v' || i)) END,
	   round(u('p' || i)::numeric, 3)
  FROM generate_series(1, 6000) i CROSS JOIN LATERAL (SELECT i % 2) AS w (week);
CREATE FUNCTION bring(since int, until int) RETURNS bigint LANGUAGE sql AS $$
	SELECT count(agentpay._append(ROW(agentpay._uuid_v7(), m.at, 'fraud', m.i::text, m.at, m.same, 'USD', m.same, k.kind, k.authority,
		'approve', NULL, 'treatment', 0, 1, k.score, '{}', k.ruleset, k.agent, k.version, k.confidence, NULL, k.inputs, 0, NULL, NULL,
		NULL, NULL, NULL, NULL)::agentpay.decisions))
	  FROM made m CROSS JOIN LATERAL (VALUES
		('rules', 'live', NULL, 1, NULL, NULL, NULL, jsonb_build_object('payment_id', m.i, 'same', m.same, 'moved', m.moved,
			'often_zero', m.often_zero, 'country', m.country) || CASE WHEN m.sometimes IS NULL THEN '{}'
			ELSE jsonb_build_object('sometimes', m.sometimes) END),
		('agent', 'shadow', m.score, NULL, 'a', (SELECT max(version) FROM agentpay.agent_versions WHERE agent = 'a'), 0.5::real, NULL))
		AS k (kind, authority, score, ruleset, agent, version, confidence, inputs)
	 WHERE m.i BETWEEN since AND until
$$;
-- leaves for the days that lie in other months
SELECT agentpay._make_partition('decisions', at) FROM (SELECT DISTINCT date_trunc('month', at) AS at FROM made) AS m;
SQL
is(query('SELECT agentpay._roll_drift()'), 'f', 'nothing to count');
is(query('SELECT count(*) FROM agentpay.drift'), '0', 'no reference, no figure');
query('SELECT bring(1, 3000)');
is(query('SELECT agentpay._roll_drift()'), 't', 'decisions are counted');
query('SELECT agentpay._roll_drift()');    # a reference at a time
query('SELECT agentpay._roll_drift()');
is(query("SELECT count(*), count(DISTINCT agent), min(name), max(name) FROM agentpay._drift_references"), '7|2|confidence|sometimes',
	'what rules read but the key, and what the agent says');

# ── the same from the rows ──────────────────────────────────────────────────
my @columns = qw(same moved often_zero country sometimes score);
my @rows = map { my @f = split /\|/, $_, -1; my %r = (i => $f[0], week => $f[1], at => $f[2]); @r{@columns} = @f[ 3 .. 8 ]; \%r }
	split /\n/, query('SELECT i, week, extract(epoch FROM at), ' . join(', ', @columns) . ' FROM made');
my $from = query("SELECT extract(epoch FROM date_trunc('hour', now() - interval '167 hours', 'UTC'))");
sub slot { return int($_[0]{at} / 3600) % 168; }
sub counts
{
	my ($rows, $name, $bin) = @_;
	my %n;
	$n{ $bin->($_->{$name}) }++ foreach @$rows;
	return \%n;
}
# The figures of one column: reference rows, current rows, psi, ks.
sub figures
{
	my ($name, $reference_last, $current_last) = @_;
	my @frozen = grep { $_->{week} == 0 && $_->{i} <= $reference_last } @rows;
	my @current = grep { $_->{week} == 1 && $_->{i} <= $current_last && $_->{at} >= $from } @rows;
	my %slots = map { slot($_) => 1 } @current;
	my @reference = grep { $slots{ slot($_) } } @frozen;
	my ($bin, @bins, $ks);
	if ($name eq 'country')
	{
		my $n = counts(\@frozen, $name, sub { $_[0] });
		my @top = (sort { $n->{$b} <=> $n->{$a} || $a cmp $b } keys %$n)[ 0 .. 19 ];
		my %top = map { $_ => 1 } @top;
		$bin = sub { $top{ $_[0] } ? $_[0] : 'other' };
		@bins = (@top, 'other', 'null');
	}
	else
	{
		my @known = sort { $a <=> $b } grep { $_ ne '' } map { $_->{$name} } @frozen;
		# the smallest value that at least that share is not above
		my %edges = map { $_ => 1 } grep { $_ > $known[0] } map { $known[ POSIX::ceil($_ / 10 * @known - 1e-9) - 1 ] } 1 .. 9;
		my @edges = sort { $a <=> $b } keys %edges;
		$bin = sub { my $x = $_[0]; return $x eq '' ? 'null' : scalar grep { $_ <= $x } @edges; };
		@bins = (0 .. @edges, 'null');
		# at every value there is
		my @a = sort { $a <=> $b } grep { $_ ne '' } map { $_->{$name} } @reference;
		my @b = sort { $a <=> $b } grep { $_ ne '' } map { $_->{$name} } @current;
		my ($i, $j, %at) = (0, 0);
		foreach my $x (@a, @b) { $at{$x} = 1; }
		$ks = 0;
		foreach my $x (sort { $a <=> $b } keys %at)
		{
			$i++ while $i < @a && $a[$i] <= $x;
			$j++ while $j < @b && $b[$j] <= $x;
			$ks = max($ks, abs($i / @a - $j / @b));
		}
	}
	my ($e, $a) = map { counts($_, $name, $bin) } \@reference, \@current;
	my $psi = 0;
	foreach my $b (@bins)
	{
		my $p = (($e->{$b} // 0) + 0.5) / (@reference + 0.5 * @bins);
		my $q = (($a->{$b} // 0) + 0.5) / (@current + 0.5 * @bins);
		$psi += ($q - $p) * log($q / $p);
	}
	return (scalar @reference, scalar @current, $psi, $ks);
}
sub compare
{
	my ($name, $reference_last, $current_last) = @_;
	my ($reference, $current, $psi, $ks) = figures($name, $reference_last, $current_last);
	my @got = split /\|/, query("SELECT reference_rows, current_rows, psi, ks FROM agentpay.drift WHERE name = '$name'"), -1;
	is("$got[0] $got[1]", "$reference $current", "$name: what is compared");
	is($got[2], sprintf('%.6f', $psi), "$name: psi");
	if (defined $ks)
	{
		cmp_ok(abs($got[3] - $ks), '<=', 0.0151, "$name: ks $got[3], from all values $ks");
	}
	else { is($got[3], '', "$name: no ks"); }
	return;
}
compare($_, 3000, 3000) foreach @columns;
is(query("SELECT string_agg(name || ' ' || state, ', ' ORDER BY name) FROM agentpay.drift"),
	'confidence pass, country alert, moved alert, often_zero pass, same pass, score pass, sometimes alert', 'what moved, and what did not');

# the reference stands; what is not counted yet is in the report all the same
query('SELECT bring(3001, 6000)');
compare($_, 3000, 6000) foreach qw(moved country);
query('SELECT agentpay._roll_drift()');
compare($_, 3000, 6000) foreach @columns;
is(query('SELECT agentpay._roll_drift()'), 'f', 'once');

# ── guardrails ──────────────────────────────────────────────────────────────
sub status { return query("SELECT string_agg(concat_ws(' ', metric, action, samples, state), ', ' ORDER BY metric, action) FROM agentpay._guardrail_status"); }
sub events { return query("SELECT string_agg(concat_ws(' ', action, after ->> 'metric', after ->> 'name'), ', ' ORDER BY logged_at, event_id)
	FROM agentpay.governance_log WHERE object_kind = 'guardrail' AND action IN ('breach', 'recover')"); }
sub look { return query('SELECT agentpay._watch_guardrails()'); }
query("INSERT INTO agentpay.guardrails (agent, metric, bound, over, action) VALUES ('a', 'psi', 0.1, '167 hours', 'kill'),
	('a', 'ks', 0.9, '167 hours', 'alert'), ('*', 'psi', 0.01, '1 hour', 'alert')");
is(look(), '0', 'the first look only begins');
is(status(), 'ks alert 0 hold, psi kill 0 hold', 'an agent with rows of its own has no other');
is(look(), '1', 'psi is beyond its bound');
my ($most) = sort { (figures($b, 3000, 6000))[2] <=> (figures($a, 3000, 6000))[2] } qw(country moved sometimes);
is(events(), "breach psi $most", 'what moved most is named');
is(query("SELECT engaged, reason FROM agentpay.kill_switches WHERE target = 'a'") =~ /^t\|psi of $most at the point of agent a is 0\./ ? 'yes' : 'no',
	'yes', 'and acted upon');
my $n = (figures('same', 3000, 6000))[1];
is(status(), "ks alert $n pass, psi kill $n fail", 'how they stand');
is(look(), '0', 'nothing new, nothing done');
is(query("SELECT string_agg(looks::text, ' ') FROM agentpay._guardrail_drift"), '1 1', 'and no look wasted');
# four times as many that are as they were: the index falls below four fifths
query("INSERT INTO made SELECT i + 10000 * k, 1, at + interval '7 days 12 hours', same, moved, often_zero, country, sometimes, score
	FROM made CROSS JOIN generate_series(1, 4) k WHERE week = 0");
query('SELECT bring(10001, 50000)');
query('SELECT agentpay._roll_drift()');
is(look(), '0', 'it comes back');
like(events(), qr/^breach psi $most, recover psi \w+$/, 'which is on record, with what is furthest out now');
is(query("SELECT count(*) FROM agentpay._guardrail_status WHERE state = 'pass'"), '2', 'and all is well');

$node->stop;
done_testing();
