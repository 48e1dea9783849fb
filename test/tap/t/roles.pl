# The four roles on create_ledger()'s tables, registered as docs/roles.md says:
# every block of that page runs here, with the test agent server as provider.
use strict;
use warnings;
use JSON::PP;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

my $url = start_agents();
my $node = new_ledger('roles');
$node->safe_psql('postgres', 'CREATE DATABASE roles');
sub query { return $node->safe_psql('roles', $_[0]); }
sub done
{
	return await('every task is done', sub { query('SELECT count(*) FROM agentpay.queue_status') eq '0' });
}

# ── the page ────────────────────────────────────────────────────────────────
my ($page, @blocks) = role_page($url);
my ($list) = grep { /disabled_routes', 'acquirer_b'/ } @blocks;
my ($attempt) = grep { /^INSERT INTO ledger.route_attempts/ } @blocks;
my ($types) = grep { /AS type/ } @blocks;
my ($preview) = grep { /preview_call/ } @blocks;
my ($report) = grep { /shadow_vs_rules/ } @blocks;
my ($sign) = grep { /sign_off/ } @blocks;
ok($list && $attempt && $types && $preview && $report && $sign, 'the page has its queries');
my %later = map { $_ => 1 } $list, $attempt, $types, $preview, $report, $sign;
query($_) foreach grep { !$later{$_} } @blocks;
# a busy machine may take longer than a till
query("UPDATE agentpay.decision_points SET decide_within_ms = 600000");
is(query('SELECT name, point, stage FROM agentpay.agents ORDER BY name'),
	"dispute_llm|dispute|shadow\nfraud_llm|fraud|shadow\nreconciliation_llm|reconciliation|shadow\nrouting_llm|routing|shadow",
	'an agent for each role');
is(query("SELECT level, object, problem FROM agentpay.advice WHERE object_kind = 'agent'"), '', 'nothing to advise about them');

# ── fraud ───────────────────────────────────────────────────────────────────
sub pay
{
	my ($reference, %with) = @_;
	my %row = (reference => $reference, customer_id => 'cust', card_id => "card-$reference", merchant_id => 'm1', channel => 'ecommerce',
		network => 'visa', amount => 100, currency => 'EUR', card_country => 'DE', ip_country => 'DE', %with);
	my @columns = sort keys %row;
	return query("INSERT INTO ledger.payments (@{[ join ', ', @columns ]}) VALUES (@{[ join ', ', map { qq('$row{$_}') } @columns ]})"
		. ' RETURNING payment_id, outcome, route');
}
is(pay('order 1'), '1|approve|acquirer_a', 'a payment without doubt');
# 30 for the other country: the agent is asked, and says review from 100 on
is(pay('order 2', ip_country => 'FR', customer_id => 'other'), '2|approve|acquirer_a', 'one near to a review');
done();
is(query("SELECT row_id, kind, authority, answer FROM agentpay.decisions WHERE agent = 'fraud_llm'"), '2|agent|shadow|review',
	'fraud: asked about the second alone');
my ($call) = journal('role');
my $request = decode_json($call->{body});
is_deeply([ sort keys %{ decode_json($request->{messages}[1]{content}) } ], [ sort qw(amount currency channel network card_country
	ip_country authenticated card_payments_1h card_countries_1d card_since_last card_declines_1h customer_spend_1d customer_average_30d
	merchant_declines_10m) ], 'fraud: it sees its fields, and nothing else');
like($request->{messages}[0]{content}, qr/^- approve: let it through; the default$/m, 'it is told what the verdicts mean');
$preview =~ s/, 1\)/, 2)/;
like(query($preview), qr/^\(t,/, 'preview_call() says that it would be asked');

# Each page's prompt is what is sent.
foreach my $role (qw(fraud routing reconciliation dispute))
{
	my ($shown) = $page =~ /^The prompt of role $role:\n\n```text\n(.*?)\n```$/ms;
	$shown =~ s/\n/ /g;
	my $sent = query("SELECT agentpay._request_body('openai', '$role', NULL, '{a,b}', '{NULL,NULL}', '{}', 'm', 100, '{}')::jsonb #>> '{messages,0,content}'");
	is((split /\n\nVerdicts:/, $sent)[0], $shown, "$role: the prompt as the page has it");
}

# ── routing ─────────────────────────────────────────────────────────────────
query($attempt);
is(query('SELECT payment_id, route, response FROM ledger.route_attempts'), '1|acquirer_a|approved', 'an attempt is recorded');
query("INSERT INTO ledger.route_attempts (payment_id, attempt_no, card_id, merchant_id, route, response)
	SELECT 1, 1 + g, 'card-order 1', 'm1', 'acquirer_a', CASE WHEN g <= 8 THEN 'timeout' ELSE 'approved' END FROM generate_series(1, 11) AS g");
# 8 of 12 failed
is(pay('order 3'), '3|approve|acquirer_b', 'the rules leave acquirer_a');
done();
is(query("SELECT row_id, kind, answer FROM agentpay.decisions WHERE agent = 'routing_llm'"), '3|agent|acquirer_b', 'and so does the agent');
query($list);
is(pay('order 4'), '4|approve|acquirer_c', 'acquirer_b is disabled: the rules take the third');
done();
is(query("SELECT answer FROM agentpay.decisions WHERE agent = 'routing_llm' AND row_id = '4'"), 'acquirer_c', 'and so does the agent');
my ($routed) = grep { $_->{response_format} && $_->{messages}[1]{content} =~ /acquirer_a_failures/ }
  reverse map { decode_json($_->{body}) } journal('role');
is_deeply($routed->{response_format}{json_schema}{schema}{properties}{verdict}{enum}, [qw(acquirer_a acquirer_c)],
	'a disabled route is not on offer');
# an agent that does not care what is on offer
query("UPDATE agentpay.agents SET endpoint = '$url/always-acquirer_b' WHERE name = 'routing_llm'");
is(pay('order 5'), '5|approve|acquirer_c', 'another payment');
done();
is(query("SELECT kind, failure, verdict, answer FROM agentpay.decisions WHERE agent = 'routing_llm' AND row_id = '5'"),
	'fallback|over_authority|acquirer_c|acquirer_b', 'its choice of a disabled route does not count');
query("DELETE FROM agentpay.list_entries WHERE list = 'disabled_routes'");
is(pay('order 6'), '6|approve|acquirer_b', 'enabled again');
done();
is(query("SELECT kind, failure, verdict FROM agentpay.decisions WHERE agent = 'routing_llm' AND row_id = '6'"), 'agent||acquirer_b',
	'it may be chosen again');
query("INSERT INTO agentpay.list_entries (list, value, expires_at) VALUES ('disabled_routes', 'acquirer_b', now() + interval '1 s')");
await('the entry expires', sub { query("SELECT bool_or(expires_at < now()) FROM agentpay.list_entries WHERE list = 'disabled_routes'") eq 't' });
is(pay('order 7'), '7|approve|acquirer_b', 'an entry that has expired disables nothing');
done();
is(query("SELECT kind, failure FROM agentpay.decisions WHERE agent = 'routing_llm' AND row_id = '7'"), 'agent|', 'nor for the agent');

# ── reconciliation ──────────────────────────────────────────────────────────
query("INSERT INTO ledger.captures (capture_id, payment_id, amount, currency) SELECT g, g, 100, 'EUR' FROM generate_series(1, 5) AS g");
query(<<'SQL');
INSERT INTO ledger.settlements (settlement_id, acquirer, reference, payment_id, capture_id, amount, currency, fee) VALUES
	(1, 'acquirer_a', 's1', 1, 1, 100, 'EUR', 1.5),    -- equal: nobody is asked
	(2, 'acquirer_a', 's2', 2, 2, 98.5, 'EUR', 1.5),   -- net of its fee
	(3, 'acquirer_b', 's3', 3, 3, 90, 'EUR', 1.5),     -- nothing explains it
	(4, 'acquirer_b', 's4', 4, 4, 100, 'USD', 1.5),
	(5, 'acquirer_b', 's5', 5, NULL, 100, 'EUR', 1.5), -- no capture
	(6, 'acquirer_b', 's6', NULL, NULL, 100, 'EUR', 1.5);
SQL
query("INSERT INTO ledger.settlements (settlement_id, acquirer, reference, payment_id, capture_id, amount, currency) VALUES (7, 'acquirer_a', 's7', 1, 1, 100, 'EUR')");
done();
is(query($types), <<'END' =~ s/\n\z//r, 'lines are matched, or exceptions of a type');
2|{AMOUNT_DIFFERS}|matched|FEE_EXPLAINS
3|{AMOUNT_DIFFERS}|exception|AMOUNT_DIFFERS
4|{CURRENCY_DIFFERS}|exception|CURRENCY_DIFFERS
5|{NOT_CAPTURED}|exception|NOT_CAPTURED
6|{NOT_CAPTURED,NO_AUTHORISATION}|exception|NO_AUTHORISATION
7|{MATCHED,SETTLED_TWICE}|exception|SETTLED_TWICE
END
is(query("SELECT string_agg(outcome, ' ' ORDER BY settlement_id) FROM ledger.settlements"), 'matched exception exception exception exception exception exception',
	'in shadow the lines keep what the rules said');

# ── disputes ────────────────────────────────────────────────────────────────
query("INSERT INTO ledger.refunds (payment_id, amount, currency) VALUES (3, 10, 'EUR')");
query(<<'SQL');
INSERT INTO ledger.disputes (dispute_id, reference, payment_id, received_at, respond_by, network, reason_code, amount, currency) VALUES
	(1, 'd1', 1, now(), now() + interval '20 days', 'visa', '10.4', 100, 'EUR'), -- no evidence
	(2, 'd2', 2, now(), now() + interval '20 days', 'visa', '13.1', 40, 'EUR'),  -- small
	(3, 'd3', 3, now(), now() + interval '20 days', 'visa', '10.4', 100, 'EUR'), -- refunded: the rules contest
	(4, 'd4', 4, now(), now() + interval '1 day', 'visa', '10.4', 40, 'EUR');    -- due soon
SQL
done();
is(query('SELECT dispute_id, outcome, reasons FROM ledger.disputes ORDER BY 1'),
	"1|escalate|{}\n2|escalate|{}\n3|contest|{CREDITED}\n4|escalate|{DUE_SOON}", 'escalate stands where the rules leave it open');
is(query("SELECT row_id, answer, reasons, decided_at < (SELECT respond_by FROM ledger.disputes x WHERE x.dispute_id::text = d.row_id)
	FROM agentpay.decisions d WHERE agent = 'dispute_llm' ORDER BY 1"), "1|escalate|{NO_EVIDENCE}|t\n2|accept|{SMALL}|t",
	'the agent answers in time, and is not asked where there is none');
# an agent that does not answer
query("UPDATE agentpay.agents SET endpoint = '$url/hang', timeout_ms = 200, max_attempts = 1 WHERE name = 'dispute_llm'");
query("INSERT INTO ledger.disputes (dispute_id, reference, payment_id, respond_by, network, reason_code, amount, currency)
	VALUES (5, 'd5', 5, now() + interval '20 days', 'visa', '10.4', 100, 'EUR')");
done();
is(query("SELECT d.outcome, a.kind, a.failure, a.verdict FROM ledger.disputes d JOIN agentpay.decisions a ON a.row_id = '5' AND a.agent = 'dispute_llm'
	WHERE dispute_id = 5"), 'escalate|fallback|timeout|escalate', 'then escalate stands');

# ── all of them ─────────────────────────────────────────────────────────────
like(query($report), qr/^dispute\|dispute_llm\|.*^fraud\|fraud_llm\|.*^reconciliation\|reconciliation_llm\|.*^routing\|routing_llm\|/ms,
	'the report has each');
is(query("SELECT count(*) FROM agentpay.shadow_vs_rules WHERE (tightened IS NULL) <> (point IN ('routing', 'dispute'))"), '0',
	'only ranked verdicts are tightened');
is(query("SELECT invoked, pairs, loosened FROM agentpay.shadow_vs_rules WHERE agent = 'reconciliation_llm' AND compared = 'answer'"), '6|6|1',
	'of six lines it would have closed one');

$node->stop;
done_testing();
