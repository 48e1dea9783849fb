# The agents of docs/roles.md, from shadow to every row: signatures and gates on
# the way, and then their verdicts in the ledger's own columns, as far as their
# authority goes.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

my $url = start_agents();
my $node = new_ledger('roles_live');
$node->safe_psql('postgres', 'CREATE DATABASE roles');
my $session = session($node, 'roles');
sub query { return $session->($_[0]); }
sub fails
{
	my ($sql, $expected, $what) = @_;
	my ($rc, $out, $err) = $node->psql('roles', "\\set VERBOSITY verbose\n$sql");
	like($err, $expected, $what);
	return;
}
sub done
{
	return await('every task is done', sub { query('SELECT count(*) FROM agentpay.queue_status') eq '0' });
}
my (undef, @blocks) = role_page($url);
query($_) foreach grep { !/disabled_routes|^INSERT INTO ledger|^SELECT/m || /^CREATE EXTENSION/ } @blocks;
my @agents = qw(fraud_llm routing_llm reconciliation_llm dispute_llm);
is(query("SELECT string_agg(name || ' ' || position || ' ' || stage, ', ' ORDER BY name) FROM agentpay.agents"),
	join(', ', map { "$_ pre_auth shadow" } sort @agents), 'the agents of the page, in shadow');
# a busy machine may take longer than a till
query("UPDATE agentpay.decision_points SET decide_within_ms = 600000, label_maturity = '0'");

sub pay
{
	my ($reference, %with) = @_;
	my %row = (reference => $reference, customer_id => "cust-$reference", card_id => "card-$reference", merchant_id => "m-$reference",
		channel => 'ecommerce', network => 'visa', amount => 100, currency => 'EUR', card_country => 'DE', ip_country => 'FR', %with);
	my @columns = sort keys %row;
	my $id = query("INSERT INTO ledger.payments (@{[ join ', ', @columns ]}) VALUES (@{[ join ', ', map { qq('$row{$_}') } @columns ]}) RETURNING payment_id");
	return $id;
}
# what await_decision() says, and what stands in the columns then
sub paid
{
	my ($id) = @_;
	return query("SELECT agentpay.await_decision('fraud', $id), agentpay.await_decision('routing', $id)") . ': '
	  . query("SELECT outcome, route FROM ledger.payments WHERE payment_id = $id");
}
sub story
{
	my ($point, $id) = @_;
	return query("SELECT string_agg(concat_ws(' ', kind, authority, verdict, 'answer ' || answer, failure), ', ' ORDER BY decided_at, decision_id)
		FROM agentpay.decisions WHERE point = '$point' AND row_id = '$id'");
}

# ── the gates ───────────────────────────────────────────────────────────────
# For the fraud agent its own evidence, of a size that a test has; the others
# go by signature alone.
query(<<'SQL');
CREATE ROLE signer LOGIN SUPERUSER;
UPDATE agentpay.gates SET enabled = false WHERE metric <> 'sign_off';
INSERT INTO agentpay.gates (agent, metric, bound, min_samples) VALUES
	('fraud_llm', 'labelled_samples', 20, 0), ('fraud_llm', 'coverage', 0.95, 20), ('fraud_llm', 'agreement', 0.8, 20);
SQL
sub sign
{
	my ($agent) = @_;
	return $node->safe_psql('roles', "SELECT agentpay.sign_off('$agent', reason => 'read its answers')", extra_params => [ '-U', 'signer' ]);
}
sub climb
{
	my ($agent) = @_;
	my @stages;
	while (query("SELECT stage FROM agentpay.agents WHERE name = '$agent'") ne '100')
	{
		sign($agent);
		push @stages, query("SELECT agentpay.promote('$agent')");
	}
	return "@stages";
}
fails("SELECT agentpay.promote('fraud_llm')", qr/AP005: .*4 of its gates are closed.*agreement: hold.*coverage: hold.*labelled_samples: hold.*sign_off: hold/s,
	'nothing is known of it: no gate is open');
# amounts below 100: it says approve, as the rules do; and one review
pay("shadow $_", amount => 10 + $_) foreach 1 .. 20;
my $reviewed = pay('shadow 21', amount => 500);
done();
is(story('fraud', $reviewed), 'rules live approve, agent shadow review answer review', 'in shadow it is asked');
is(query("SELECT DISTINCT outcome FROM ledger.payments"), 'approve', 'and changes nothing');
# Wilson's lower end for 20 of 21, two-sided 95 %
my ($z, $n, $share) = (1.959964, 21, 20 / 21);
my $wilson = sprintf '%.6f', ($share + $z**2 / (2 * $n) - $z * sqrt($share * (1 - $share) / $n + $z**2 / (4 * $n**2))) / (1 + $z**2 / $n);
is(query("SELECT string_agg(concat_ws(' ', metric, value, samples, state), ', ' ORDER BY metric) FROM agentpay.rollout_status WHERE agent = 'fraud_llm' AND kind = 'gate'"),
	"agreement $wilson 21 fail, coverage 1.000000 21 pass, labelled_samples 21 21 pass, sign_off 0 0 hold", 'its evidence');
fails("SELECT agentpay.promote('fraud_llm')", qr/AP005: .*2 of its gates are closed/, 'it agrees too little');
pay("shadow $_", amount => 10) foreach 22 .. 40;
done();
sign('fraud_llm');
is(query("SELECT agentpay.promote('fraud_llm')"), '5', 'with more of it and a signature: 5');
fails("SELECT agentpay.promote('fraud_llm')", qr/AP005: .*sign_off: hold/s, 'the next step needs the next signature');
pay("five $_", amount => 500) foreach 1 .. 30;
done();
is(query("SELECT count(*) FILTER (WHERE t.bucket < 5 AND d.authority <> 'live' OR t.bucket >= 5 AND d.authority <> 'shadow'
		OR p.outcome <> CASE WHEN t.bucket < 5 THEN 'review' ELSE 'approve' END)
	FROM ledger.payments p JOIN agentpay._tasks t ON t.point = 'fraud' AND t.row_id = p.payment_id::text
	JOIN agentpay.decisions d ON d.point = 'fraud' AND d.row_id = t.row_id AND d.kind = 'agent' WHERE p.reference LIKE 'five%'"), '0',
	'at 5 it decides about those in its buckets');
is(query("SELECT count(*) FROM agentpay.decisions d JOIN ledger.payments p ON p.payment_id::text = d.row_id AND d.point = 'fraud'
	WHERE d.kind = 'agent' AND p.reference LIKE 'five%'"), '30', 'and is asked about all');
query("DELETE FROM agentpay.gates WHERE agent = 'fraud_llm'");
is(climb('fraud_llm'), '25 100', 'then up to every payment');
is(climb($_), '5 25 100', "$_: signed step by step") foreach @agents[ 1 .. 3 ];

# ── fraud ───────────────────────────────────────────────────────────────────
my $id = pay('plain', ip_country => 'DE');
is(paid($id), 'approve|acquirer_a: approve|acquirer_a', 'nobody is asked about a payment without doubt');
is(story('fraud', $id), 'rules live approve', 'so the rules decided');
$id = pay('small', amount => 50);
is(paid($id), 'approve|acquirer_a: approve|acquirer_a', 'approve');
is(story('fraud', $id), 'rules live approve, agent live approve answer approve', 'by the agent');
$id = pay('middle', amount => 500);
is(paid($id), 'review|acquirer_a: review|acquirer_a', 'review');
is(query("SELECT cause, agent FROM agentpay.cases WHERE point = 'fraud' AND row_id = '$id'"), 'review|fraud_llm', 'opens a case');
$id = pay('large', amount => 1500);
is(paid($id), 'decline|acquirer_a: decline|acquirer_a', 'decline');
is(query("SELECT risk_score, reasons FROM ledger.payments WHERE payment_id = $id"), '0.75|{amount_high}', 'with its score and reasons');
query("INSERT INTO agentpay.list_entries (list, value) VALUES ('blocked_cards', 'card-blocked')");
$id = pay('blocked', amount => 50);
is(paid($id), 'decline|acquirer_a: decline|acquirer_a', 'what a list declined');
is(story('fraud', $id), 'rules live decline, fallback live decline answer approve over_authority', 'it may not loosen');
is(query("SELECT cause FROM agentpay.cases WHERE point = 'fraud' AND row_id = '$id'"), 'over_authority', 'which becomes a case');
# an agent that may relax: 30 + 20 for a card that comes again is a review
query("INSERT INTO agentpay.authorities (agent, verdict, max_amount, currency, may_relax) VALUES ('fraud_llm', 'approve', 60, 'EUR', true), ('fraud_llm', 'review', NULL, NULL, false), ('fraud_llm', 'decline', NULL, NULL, false)");
is(query("SELECT stage FROM agentpay.agents WHERE name = 'fraud_llm'"), 'shadow', 'with another authority it begins again');
climb('fraud_llm');
pay('again 1', amount => 50, card_id => 'card-again');
$id = pay('again 2', amount => 50, card_id => 'card-again');
paid($id);
is(story('fraud', $id), 'rules live review, agent live approve answer approve', 'a review by score may be relaxed');
is(query("SELECT outcome FROM ledger.payments WHERE payment_id = $id"), 'approve', 'in the column too');
$id = pay('again 3', amount => 90, card_id => 'card-again');
paid($id);
is(story('fraud', $id), 'rules live review, fallback live review answer approve over_authority', 'up to its amount');
$id = pay('blocked again', amount => 50, card_id => 'card-blocked');
is(paid($id), 'decline|acquirer_a: decline|acquirer_a', 'but never what is forced');
is(story('fraud', $id), 'rules live decline, fallback live decline answer approve over_authority', 'whatever it may');

# ── routing ─────────────────────────────────────────────────────────────────
# 4 of 5 attempts fail: too few for the rules, enough for the agent
my $m = pay('routes', ip_country => 'DE', merchant_id => 'm1');
query("INSERT INTO ledger.route_attempts (payment_id, attempt_no, card_id, merchant_id, route, response)
	SELECT $m, g, 'card-routes', 'm1', 'acquirer_a', CASE WHEN g < 5 THEN 'timeout' ELSE 'approved' END FROM generate_series(1, 5) AS g");
my %to = (ip_country => 'DE', merchant_id => 'm1');
$id = pay('route 1', %to);
is(paid($id), 'approve|acquirer_b: approve|acquirer_b', 'it chooses another route than the rules');
is(story('routing', $id), 'rules live acquirer_a, agent live acquirer_b answer acquirer_b', 'of those that it may');
query("INSERT INTO ledger.route_attempts (payment_id, attempt_no, card_id, merchant_id, route, response)
	SELECT payment_id, 1, card_id, merchant_id, route, 'error' FROM ledger.payments WHERE payment_id = $id");
$id = pay('route 2', %to);
is(paid($id), 'approve|acquirer_c: approve|acquirer_c', 'the attempt is what the next decision looks at: the third');
query("DELETE FROM ledger.route_attempts WHERE route = 'acquirer_b'; INSERT INTO agentpay.list_entries (list, value) VALUES ('disabled_routes', 'acquirer_b')");
$id = pay('route 3', %to);
is(paid($id), 'approve|acquirer_c: approve|acquirer_c', 'a route that is disabled is not chosen');
query("UPDATE agentpay.agents SET endpoint = '$url/always-acquirer_b' WHERE name = 'routing_llm'");
climb('routing_llm');
$id = pay('route 4', %to);
is(paid($id), 'approve|acquirer_a: approve|acquirer_a', 'nor by an agent that does not care');
is(story('routing', $id), 'rules live acquirer_a, fallback live acquirer_a answer acquirer_b over_authority', 'which is refused');
query("DELETE FROM agentpay.list_entries WHERE list = 'disabled_routes'");
$id = pay('both', amount => 1500, merchant_id => 'm1');
is(paid($id), 'decline|acquirer_b: decline|acquirer_b', 'two agents decide about one row');

# ── reconciliation ──────────────────────────────────────────────────────────
query("INSERT INTO ledger.captures (capture_id, payment_id, amount, currency) SELECT g, g, CASE g WHEN 4 THEN 1500 ELSE 100 END, 'EUR' FROM generate_series(1, 4) AS g;
	UPDATE ledger.payments SET amount = 1500 WHERE payment_id = 4");
query(<<'SQL');
INSERT INTO ledger.settlements (settlement_id, acquirer, reference, payment_id, capture_id, amount, currency, fee) VALUES
	(1, 'acquirer_a', 's1', 1, 1, 98.5, 'EUR', 1.5),    -- net of its fee
	(2, 'acquirer_a', 's2', 2, 2, 90, 'EUR', 1.5),      -- nothing explains it
	(3, 'acquirer_a', 's3', 3, 3, 100, 'USD', 1.5),
	(4, 'acquirer_a', 's4', 4, 4, 1498.5, 'EUR', 1.5),  -- beyond its 1,000 euros
	(5, 'acquirer_b', 's5', NULL, NULL, 100, 'EUR', 1.5);
SQL
done();
is(query("SELECT settlement_id, outcome, reasons FROM ledger.settlements ORDER BY 1"), <<'END' =~ s/\n\z//r, 'matched, or an exception whose first reason is its type');
1|matched|{FEE_EXPLAINS}
2|exception|{AMOUNT_DIFFERS}
3|exception|{CURRENCY_DIFFERS}
4|exception|{AMOUNT_DIFFERS}
5|exception|{NO_AUTHORISATION}
END
is(story('reconciliation', 1), 'rules live exception, agent live matched answer matched', 'a line that it closed');
is(story('reconciliation', 4), 'rules live exception, fallback live exception answer matched over_authority', 'and one that it may not');
is(query("SELECT cause, agent FROM agentpay.cases WHERE point = 'reconciliation' AND row_id = '4'"), 'review|', 'the case is the one that the rules opened');

# ── disputes ────────────────────────────────────────────────────────────────
query("UPDATE ledger.payments SET authenticated = true WHERE payment_id = 3");
query(<<'SQL');
INSERT INTO ledger.disputes (dispute_id, reference, payment_id, received_at, respond_by, network, reason_code, amount, currency) VALUES
	(1, 'd1', 1, now(), now() + interval '20 days', 'visa', '13.1', 40, 'EUR'),   -- small
	(2, 'd2', 3, now(), now() + interval '20 days', 'visa', '13.1', 100, 'EUR'),  -- authenticated
	(3, 'd3', 2, now(), now() + interval '20 days', 'visa', '13.1', 100, 'EUR'),  -- no evidence
	(4, 'd4', 2, now(), now() + interval '49 hours', 'visa', '13.1', 40, 'USD'),  -- in another currency
	(5, 'd5', 2, now(), now() + interval '1 day', 'visa', '13.1', 40, 'EUR');     -- due soon
SQL
is(query("SELECT string_agg(agentpay.await_decision('dispute', g), ' ' ORDER BY g) FROM generate_series(1, 5) AS g"), 'accept contest escalate escalate escalate',
	'accept, contest, or leave it to a person');
is(query('SELECT dispute_id, outcome, reasons FROM ledger.disputes ORDER BY 1'), <<'END' =~ s/\n\z//r, 'in the column, with reasons');
1|accept|{SMALL}
2|contest|{AUTHENTICATED}
3|escalate|{NO_EVIDENCE}
4|escalate|{}
5|escalate|{DUE_SOON}
END
is(query("SELECT count(*) FROM agentpay.decisions d JOIN ledger.disputes x ON x.dispute_id::text = d.row_id WHERE d.point = 'dispute' AND d.decided_at >= x.respond_by"),
	'0', 'before respond_by, all of them');
is(story('dispute', 4), 'rules live escalate, fallback live escalate answer accept over_authority', 'no loss in a currency that its authority does not name');
is(query("SELECT cause, due_at <= x.respond_by FROM agentpay.cases c JOIN ledger.disputes x ON x.dispute_id::text = c.row_id WHERE c.point = 'dispute' AND c.row_id = '4'"),
	'review|t', 'its case is due before there is nothing to respond to');
is(story('dispute', 5), 'rules live escalate', 'due soon: nobody is asked');
# an answer that comes too late
query("UPDATE agentpay.decision_points SET decide_within_ms = 1 WHERE point = 'dispute'");
query("INSERT INTO ledger.disputes (dispute_id, reference, payment_id, respond_by, network, reason_code, amount, currency)
	VALUES (6, 'd6', 2, now() + interval '20 days', 'visa', '13.1', 40, 'EUR')");
is(query("SELECT agentpay.await_decision('dispute', 6)"), 'escalate', 'late: escalate stands');
await('it ends', sub { query("SELECT count(*) FROM agentpay.decisions WHERE point = 'dispute' AND row_id = '6' AND kind = 'fallback'") > 0 });
done();
like(story('dispute', 6), qr/^rules live escalate, fallback live escalate timeout/, 'and says so');
is(query("SELECT outcome FROM ledger.disputes WHERE dispute_id = 6"), 'escalate', 'in the column too');

# ── all of them ─────────────────────────────────────────────────────────────
is(query("SELECT count(*) FROM agentpay.budget_invariant"), '0', 'within every cap');
is(query("SELECT count(*) FROM (SELECT t.task_id FROM agentpay._tasks t LEFT JOIN agentpay.decisions d ON d.point = t.point AND d.row_id = t.row_id
	AND d.agent = t.agent AND d.detail ->> 'task_id' = t.task_id::text AND NOT d.detail ? 'late' GROUP BY 1 HAVING count(d.decision_id) <> 1) AS x"),
	'0', 'one decision for each question');
# without a master key masked inputs are erased
is(query("SELECT count(*) FROM agentpay.replay_all() WHERE state = 'different'"), '0', 'and nothing replays differently');
$session->();
$node->stop;
done_testing();
