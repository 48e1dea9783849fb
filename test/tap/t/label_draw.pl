# An agent beyond shadow stops payments whose label then never comes by itself.
# Each of its decisions says how likely the label was to be learned, over the
# draws of bucket, control group, explore and audit; the reports weigh by it.
# Expected figures by arithmetic, by simulation of the draws, and from the truth
# about all payments, which the ledger never learns.
use strict;
use warnings;
use Digest::SHA qw(hmac_sha256);
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('label_draw');
sub query { return $node->safe_psql('postgres', $_[0]); }

# ── a live agent ────────────────────────────────────────────────────────────
# Asked at 25 %, with a tenth held out: it decides with probability
# 0.25 × 0.9 = 0.225.  Of what the rules stop 10 % are let through, and 20 % of
# everything is audited: 1 − 0.9 × 0.8 = 0.28, or 0.2 of what it stops alone.
query(<<'SQL');
UPDATE agentpay.decision_points SET label_maturity = '1 day', explore_percent = 10, explore_max_amount = 5000,
	audit_sample_percent = 20, decide_within_ms = 600000 WHERE point = 'fraud';
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('fraud', 'ODD', 'amount IN (60, 1060)', 100);
SELECT agentpay.activate('fraud');
INSERT INTO agentpay._agent_salts VALUES ('steep', sha256('steep'));
SQL
my %steep = (position => 'pre_auth', rollout_steps => '{25}', holdout_percent => 10, max_in_flight => 500);
add_agent($node, 'steep', invoke_when => "agent IN ('steep', 'both')", %steep);
query("INSERT INTO agentpay.authorities (agent, verdict, may_relax) VALUES ('steep', 'approve', true), ('steep', 'decline', false)");
promote_fully($node, 'steep');

# As docs/rollout.md has it, in Perl.
sub draw
{
	my ($id) = @_;
	my ($first, $second) = unpack 'Q>Q>', hmac_sha256($id, Digest::SHA::sha256('steep'));
	use bigint;
	return (($first * 100) >> 64, ($second * 10000) >> 64);
}
sub pay
{
	my ($agent, $first, $last, $amount) = @_;
	query("INSERT INTO payments (payment_id, created_at, agent, amount) SELECT g, now() - interval '3 days', '$agent', $amount FROM generate_series($first, $last) AS g");
	return;
}

# The test agent flags from 1,000 on, and says review from 100.
my $n = 600;
pay('steep', 1, $n, 'CASE g % 2 WHEN 1 THEN 1500 ELSE 20 END');
pay('steep', 1001, 1040, 60);      # the rules decline by score, it approves
pay('steep', 1101, 1140, 1060);    # both decline
pay('steep', 1201, 1210, 500);     # a review is not in its authority
pay('steep', 1301, 1310, 20000);   # a rule's own verdict: never explored, never relaxed
await_tasks($node);

# ── what is recorded ────────────────────────────────────────────────────────
sub recorded
{
	my ($first, $last) = @_;
	return query("SELECT DISTINCT kind, verdict, propensity, detail -> 'draw' FROM agentpay.decisions
		WHERE agent = 'steep' AND row_id::int BETWEEN $first AND $last ORDER BY 1, 2");
}
is(recorded(1, $n), "agent|approve|1|{\"decides\": 0.225, \"if_stopped\": 0.2}\n"
	  . 'agent|decline|0.82|{"decides": 0.225, "if_stopped": 0.2}', '0.225 × 0.2 + 0.775 × 1, and 1 of what both let through');
is(recorded(1001, 1040), 'agent|approve|0.442|{"decides": 0.225, "if_stopped": 0.28}', 'relaxed: 0.225 × 1 + 0.775 × 0.28');
is(recorded(1101, 1140), 'agent|decline|0.28|{"decides": 0.225, "if_stopped": 0.28}', 'both stop it: as without an agent');
is(recorded(1201, 1210), 'fallback|approve|1|', 'a failure decides nothing');
is(recorded(1301, 1310), 'agent|decline|0.2|{"decides": 0.225, "if_stopped": 0.2}', 'forced: nothing is explored');
is(query("SELECT count(*) FROM agentpay.replay_all() WHERE state <> 'identical'"), '0', 'replay() finds the same');

# Who is inside, by the draw of the documentation.
my %live = map { my ($bucket, $held) = draw($_); $_ => $bucket < 25 && $held >= 1000 } 1 .. $n;
is(query("SELECT string_agg(row_id, ' ' ORDER BY row_id::int) FROM agentpay.decisions WHERE agent = 'steep' AND authority = 'live'
	AND kind = 'agent' AND row_id::int <= $n"), join(' ', grep { $live{$_} } 1 .. $n), 'it decides where the draw says');
is(query("SELECT string_agg(payment_id::text, ' ' ORDER BY payment_id) FROM payments WHERE outcome = 'decline' AND payment_id <= $n"),
	join(' ', grep { $live{$_} && $_ % 2 } 1 .. $n), 'and in the column');

# The draws of many rows: how often is the label observed?
sub simulate
{
	my ($rules_stop, $agent_stops, $explored) = @_;
	my $observed = 0;
	srand 20070921;
	foreach (1 .. 100000)
	{
		my $audited = rand() < 0.2;
		my $explore = $explored && rand() < 0.1;
		my $decides = rand() < 0.25 && rand() >= 0.1;
		my $stopped = $explore ? 0 : $decides ? $agent_stops : $rules_stop;
		$observed++ if !$stopped || $audited;
	}
	return $observed / 100000;
}
# five standard deviations of a share of 100,000 are at most 0.008
foreach my $case ([ 0, 1, 0, 0.82 ], [ 1, 0, 1, 0.442 ], [ 1, 1, 1, 0.28 ], [ 0, 0, 0, 1 ], [ 1, 1, 0, 0.2 ])
{
	my ($rules, $agent, $explored, $expected) = @$case;
	cmp_ok(abs(simulate($rules, $agent, $explored) - $expected), '<', 0.008, "simulated: $expected");
}

# ── what the reports make of it ─────────────────────────────────────────────
# The truth: every fifth of the flagged ones is a fraud, and every fiftieth of
# the others.  Nature labels what went through, auditors what they were given.
my @flagged = grep { $_ % 2 } 1 .. $n;
my %fraud = map { $_ => $_ % 2 ? $_ % 5 == 0 : $_ % 50 == 0 } 1 .. $n;
my %audited = map { $_ => 1 } split /\n/, query("SELECT row_id FROM agentpay.decisions WHERE kind = 'rules' AND assignment = 'audit' AND row_id::int <= $n");
my (%tp, %fp, $unseen);
foreach my $id (@flagged)
{
	my $stopped = $live{$id};
	if ($stopped && !$audited{$id}) { $unseen++; next; }
	$fraud{$id} ? $tp{$id}++ : $fp{$id}++;
}
my @outcomes;
foreach my $id (1 .. $n)
{
	my $stopped = $live{$id} && $id % 2;
	push @outcomes, "($id, 'fraud', 'chargeback')" if $fraud{$id} && !$stopped;
	push @outcomes, "($id, '@{[ $fraud{$id} ? 'fraud' : 'legit' ]}', 'audit')" if $stopped && $audited{$id};
}
query("SELECT count(agentpay.record_outcome('fraud', id, label, source => source)) FROM (VALUES @{[ join ', ', @outcomes ]}) AS o (id, label, source)");
# What the reports group, row by row.
query(<<'SQL');
CREATE VIEW answers AS
SELECT a.row_id, a.agent, coalesce(d.given, s.given) AS given,
	   CASE WHEN d.point IS NULL THEN s.propensity
			ELSE agentpay._row_propensity(d.unstopped, d.unpassed, d.if_stopped, s.propensity) END AS propensity
  FROM agentpay._made_asked(NULL, NULL) AS a
 CROSS JOIN LATERAL agentpay._said(a.said) AS s
  LEFT JOIN agentpay._draw_effects d ON d.point = s.point AND d.draws = s.draws
 WHERE a.first_of_version
SQL
my $where = "agent = 'steep' AND row_id::int <= $n";
is(query("SELECT count(*) FILTER (WHERE given = 'decline'), count(DISTINCT propensity) FROM answers WHERE $where"),
	scalar(grep { $live{$_} } @flagged) . '|2', 'what the payments got');
my ($tp, $fp) = map { sprintf '%.0f', $_ / 0.82 } scalar(keys %tp), scalar(keys %fp);
sub accuracy { return query("SELECT $_[0] FROM agentpay.agent_accuracy WHERE agent = 'steep' AND decided_by = 'agent' AND positive = 'tightest' AND population = 'answered'"); }
ok($unseen > 30, "$unseen payments were stopped, and nobody looked");
is(accuracy('identifiable'), 'f', 'not identifiable, as long as audited ones have no label');
query("SELECT count(agentpay.record_outcome('fraud', row_id, 'legit', source => 'audit')) FROM agentpay.decisions
	WHERE kind = 'rules' AND assignment = 'audit' AND row_id::int > 1000");
is(accuracy('identifiable'), 't', 'identifiable, though most of what it stopped has no label');
# the further rows are all legit: approved by it, or flagged
my $others = query(<<'SQL');
SELECT coalesce(sum(1 / propensity::numeric), 0) FROM agentpay.decisions d JOIN payments p ON p.payment_id::text = d.row_id
 WHERE d.agent = 'steep' AND d.kind = 'agent' AND d.verdict = 'decline' AND d.row_id::int > 1000
   AND (p.outcome = 'approve' OR (SELECT r.assignment FROM agentpay.decisions r WHERE r.row_id = d.row_id AND r.kind = 'rules') = 'audit')
SQL
is(accuracy('tp'), $tp, 'frauds that it flags: those observed, each 1 / 0.82 times');
is(accuracy('fp'), sprintf('%.0f', keys(%fp) / 0.82 + $others), 'legit ones: the same');
# All of them, which nobody knows: 60 and 240.  The estimate's variance is
# Σ (1 − π)/π; within four standard deviations.
cmp_ok(abs($tp - 60), '<', 4 * sqrt(60 * 0.18 / 0.82), "about the 60 frauds that there are: $tp");
cmp_ok(abs($fp - 240), '<', 4 * sqrt(240 * 0.18 / 0.82), "and the 240 others: $fp");
is(query("SELECT count(*) FROM agentpay._labelled_answers WHERE agent = 'steep' AND label IS NULL AND unobservable"), '0', 'the gates see none that is unobservable');

# ── two agents ──────────────────────────────────────────────────────────────
# Their draws are independent: nobody decides with 0.775 × 0.75 = 0.58125.
add_agent($node, 'strict', invoke_when => "agent = 'both'", behaviour => 'always-decline', %steep, holdout_percent => 0);
promote_fully($node, 'strict');
add_agent($node, 'watcher', invoke_when => "agent = 'both'");
pay('both', 2001, 2010, 1500);
pay('both', 2011, 2020, 20);
await_tasks($node);
is(query("SELECT DISTINCT agent, propensity FROM answers WHERE row_id::int BETWEEN 2001 AND 2010 ORDER BY 1"),
	"steep|0.665\nstrict|0.665\nwatcher|0.665", 'both decline: 0.41875 × 0.2 + 0.58125');
is(query("SELECT DISTINCT agent, propensity FROM answers WHERE row_id::int BETWEEN 2011 AND 2020 ORDER BY 1"),
	"steep|0.8\nstrict|0.8\nwatcher|0.8", 'one declines: 0.25 × 0.2 + 0.75, also for whoever watches');
is(query("SELECT count(*) FROM answers a JOIN payments p ON p.payment_id::text = a.row_id WHERE a.row_id::int > 2000 AND a.given <> p.outcome"),
	'0', 'the payment got what its column says');

# ── a stage that was lowered ────────────────────────────────────────────────
query("SELECT agentpay.roll_back('strict', reason => 'enough')");
pay('both', 2021, 2022, 20);
await_tasks($node);
is(query("SELECT DISTINCT agent, propensity, detail ? 'draw' FROM agentpay.decisions WHERE agent IS NOT NULL AND row_id::int IN (2021, 2022) ORDER BY 1"),
	"steep|1|t\nstrict|1|f\nwatcher|1|f", 'in shadow it decides nothing');
no_excess($node, 'at the end');
$node->stop;
done_testing();
