# Guardrails: what an agent does is looked at each second; beyond the bound,
# and only then, something is done, once.  Figures by hand.
use strict;
use warnings;
use PostgreSQL::Test::Utils;
use Test::More;
use AgentpayTest;

start_agents();
my $node = new_ledger('guardrails', 'agentpay.workers_enabled = off');
sub query { return $node->safe_psql('postgres', $_[0]); }
add_agent($node, $_) foreach qw(a b c);

# ── by hand, without a worker ───────────────────────────────────────────────
# $n decisions of an agent about rows that the rules let through.
query(<<'SQL');
CREATE SEQUENCE row_ids START 1000;
CREATE FUNCTION bring(agent text, n int, failure text, answer text DEFAULT NULL,
	cost numeric DEFAULT 0.001, latency double precision DEFAULT 100)
	RETURNS bigint LANGUAGE sql AS $$
	WITH ids AS MATERIALIZED (SELECT nextval('row_ids')::text AS id FROM generate_series(1, n))
	SELECT count(agentpay._append(ROW(agentpay._uuid_v7(), clock_timestamp(), 'fraud', ids.id, now(), NULL, NULL, NULL,
		k.kind, k.authority, k.verdict, k.answer, 'treatment', 0, 1, NULL, '{}', NULL, k.agent, k.version, NULL, k.failure,
		NULL, k.cost, k.latency, NULL, NULL, NULL, NULL, NULL)::agentpay.decisions))
	  FROM ids CROSS JOIN LATERAL (VALUES
		('rules', 'live', 'approve', NULL, NULL, NULL, NULL, 0, NULL),
		(CASE WHEN failure IS NULL THEN 'agent' ELSE 'fallback' END, 'shadow', CASE WHEN failure IS NULL THEN answer ELSE 'approve' END,
		 answer, agent, (SELECT max(v.version) FROM agentpay.agent_versions v WHERE v.agent = bring.agent), failure, cost, latency))
		AS k (kind, authority, verdict, answer, agent, version, failure, cost, latency)
$$;
CREATE VIEW events AS SELECT action || ' ' || object || ' ' || (after ->> 'metric') || ' ' || (after ->> 'action') || ' ' ||
	(after ->> 'samples') || ' ' || coalesce(round((after ->> 'value')::numeric, 4)::text, '-') AS event, logged_at, event_id, reason
  FROM agentpay.governance_log WHERE object_kind = 'guardrail' AND action IN ('breach', 'recover');
SQL
# Brings what came to the guardrails; how many were breached.
sub look { return query('SELECT agentpay._watch_guardrails()'); }
sub events { return query("SELECT string_agg(event, '; ' ORDER BY logged_at, event_id) FROM events WHERE event LIKE '%$_[0]%'"); }
sub status
{
	my ($agent, $metric) = @_;
	return query("SELECT round(value, 4), samples, state FROM agentpay._guardrail_status WHERE agent = '$agent' AND metric = '$metric'");
}
sub guard
{
	my ($agent, $metric, $bound, %with) = @_;
	my ($action, $min) = ($with{action} // 'alert', $with{min} // 50);
	query("INSERT INTO agentpay.guardrails (agent, metric, bound, min_samples, action) VALUES ('$agent', '$metric', $bound, $min, '$action')");
	return;
}

is(look(), '0', 'without guardrails there is nothing to do');
guard('a', 'error_rate', 0.1);
query("SELECT bring('a', 200, 'http_error')");
is(look(), '0', 'what was before the first look is not judged');
is(status('a', 'error_rate'), '|0|hold', 'nothing is known yet');

# every 20th fails: 50 of 1,000
query("SELECT sum(CASE WHEN i % 20 = 0 THEN bring('a', 1, 'http_error') ELSE bring('a', 1, NULL, 'approve') END) FROM generate_series(1, 1000) i");
is(look(), '0', 'a rate below its bound');
is(status('a', 'error_rate'), '0.0500|1000|pass', 'and its figure');
# and then 60 in a row: 110 of 1,060
query("SELECT bring('a', 60, 'timeout')");
is(look(), '1', 'a rate that rises is noticed');
is(events('error_rate'), 'breach a error_rate alert 1060 0.1038', 'once, with its figures');
query("SELECT bring('a', 60, 'timeout')");
is(look(), '0', 'and not again while it lasts: 170 of 1,120');
is(status('a', 'error_rate'), '0.1518|1120|fail', 'it stays breached');
# 170 of 1,620 is 0.1049, within neither bound; 170 of 2,220 is 0.0766
query("SELECT bring('a', 500, NULL, 'approve')");
look();
is(status('a', 'error_rate'), '0.1049|1620|fail', 'near the bound it does not flap');
query("SELECT bring('a', 600, NULL, 'approve')");
look();
is(status('a', 'error_rate'), '0.0766|2220|pass', 'at four fifths of it, it recovers');
is(events('error_rate'), 'breach a error_rate alert 1060 0.1038; recover a error_rate alert 2220 0.0766', 'which is on record');

# ── what counts ─────────────────────────────────────────────────────────────
query("DELETE FROM agentpay.guardrails");
look();
guard('*', 'error_rate', 0.1);
guard('b', 'error_rate', 0.9);
guard('*', 'timeout_rate', 0.1);
look();
query("SELECT bring('a', 100, f) FROM unnest('{skipped,killed,over_budget}'::text[]) f");
query("SELECT bring('a', 49, 'timeout')");
is(look(), '0', 'fewer than min_samples decide nothing; what was not asked does not count');
is(status('a', 'timeout_rate'), '1.0000|49|hold', 'their figure is there');
query("SELECT bring('a', 1, 'timeout')");
is(look(), '2', 'the next one decides: a time-out is an error, too');
query("SELECT bring('b', 60, 'schema')");
look();
is(events(' b '), '', 'an agent with a row of its own has no other');
# nothing but failures where nine of ten are allowed: a factor of at most 1 + 0.111 each
query("SELECT bring('b', 200, 'schema')");
is(look(), '1', 'but its own');
is(status('b', 'error_rate'), '1.0000|260|fail', 'with its figure');

query("DELETE FROM agentpay.guardrails");
look();
guard('c', $_->[0], $_->[1]) foreach ([ disagreement_rate => 0.25 ], [ decline_rate => 0.3 ], [ escalation_rate => 0.1 ],
	[ p95_latency_ms => 500 ], [ cost_per_decision => 0.01 ]);
look();
# 90 approve, 10 review, 10 decline; 5 more too unsure; 5 time-outs: 120
query("SELECT bring('c', 90, NULL, 'approve'), bring('c', 10, NULL, 'review'), bring('c', 10, NULL, 'decline')");
query("SELECT bring('c', 5, 'low_confidence', 'decline'), bring('c', 5, 'timeout', NULL, 0.02, 900)");
is(look(), '0', 'all within their bounds');
is(status('c', 'disagreement_rate'), '0.2174|115|pass', 'disagreement: 25 of 115 answers');
is(status('c', 'decline_rate'), '0.1304|115|pass', 'declines: 15 of 115');
is(status('c', 'escalation_rate'), '0.0435|115|pass', 'escalations: 5 of 115');
is(status('c', 'p95_latency_ms'), '0.0417|120|pass', 'slow: 5 of 120');
# 115 times 0.001 and 5 times 0.02, over 115 answers
is(status('c', 'cost_per_decision'), '0.0019|120|pass', 'cost: 0.215 / 115');
query("SELECT bring('c', 100, NULL, 'decline', 0.05, 900)");
is(look(), '4', 'each beyond its bound');
is(events(' c '), join('; ', 'breach c cost_per_decision alert 220 0.0243', 'breach c decline_rate alert 215 0.5349',
		'breach c disagreement_rate alert 215 0.5814', 'breach c p95_latency_ms alert 220 0.4773'),
	'with figures: 5.215 / 215, 115 / 215, 125 / 215, 105 / 220');

# ── an agent that only costs ────────────────────────────────────────────────
query("DELETE FROM agentpay.guardrails");
look();
guard('b', 'cost_per_decision', 0.01);
look();
query("SELECT bring('b', 200, 'timeout', NULL, 0.02)");
is(look(), '1', 'cost without a valid answer');
is(events('b cost_per_decision'), 'breach b cost_per_decision alert 200 -', 'is beyond any bound');
query("UPDATE agentpay.guardrails SET bound = 0.02");
is(status('b', 'cost_per_decision') =~ /fail/ ? 'fail' : 'anew', 'anew', 'another bound begins anew');
look();
is(query("SELECT bound || ' ' || breached FROM agentpay._guardrail_state WHERE agent = 'b'"), '0.02 false', 'at the next look, though nothing came');

# ── kill, and money by the hour ─────────────────────────────────────────────
query("DELETE FROM agentpay.guardrails");
look();
guard('c', 'burn_rate', 1, action => 'kill', min => 1);
look();
query("SELECT bring('c', 100, NULL, 'approve', 1)");
is(look(), '1', '100 USD within seconds, where 1 USD an hour is allowed');
is(query("SELECT engaged, reason ~ '^burn_rate of agent c is', changed_by = current_user FROM agentpay.kill_switches WHERE scope = 'agent' AND target = 'c'"),
	't|t|t', 'its switch is engaged');
is(query("SELECT count(*) FROM agentpay.kill_switches WHERE engaged"), '1', 'and no other');

# ── what is refused ─────────────────────────────────────────────────────────
foreach my $bad (
	[ "'nobody', 'error_rate', 0.1", 'there is no agent', '42704' ],
	[ "'a', 'error_rate', 1.5", 'bound is out of range', '23514' ],
	[ "'a', 'error_rate', 'NaN'", 'bound is out of range', '23514' ],
	[ "'a', 'mood', 1", 'unknown metric', '23514' ],
	[ "'a', 'ks', 1.5", 'bound is out of range', '23514' ])
{
	my (undef, undef, $stderr) = $node->psql('postgres',
		"\\set VERBOSITY verbose\nINSERT INTO agentpay.guardrails (agent, metric, bound) VALUES ($bad->[0])");
	like($stderr, qr/$bad->[2]: .*$bad->[1]/, "refused: $bad->[0]");
}

# ── a backlog, in slices ────────────────────────────────────────────────────
# A transaction of more than 50,000 decisions is a slice: 26,000 of the agent,
# and as many of the rules.  It is judged as of its last decision.
query("DELETE FROM agentpay.guardrails");
guard('c', 'error_rate', 0.5);
guard('c', 'burn_rate', 1000000);
look();
query("SELECT bring('c', 26000, 'timeout', NULL, 0.001)");
my $first = query("SELECT max(decided_at) FROM agentpay.decisions WHERE agent = 'c'");
query("SELECT bring('c', 26000, NULL, 'approve', 0.002)");
query("SELECT bring('c', 1, NULL, 'approve', 0.002)");
is(look(), '1', 'the first slice is beyond the bound');
is(events('c error_rate'), 'breach c error_rate alert 26000 1.0000', 'and only that was looked at');
is(query("SELECT count(DISTINCT t.at) FROM agentpay._guardrail_ticks t WHERE t.agent = 'c' AND t.at = '$first'"), '1', 'as of its last decision');
is(query("SELECT n, state FROM agentpay._guardrail_status g CROSS JOIN LATERAL (SELECT g.samples) AS s (n)
	WHERE agent = 'c' AND metric = 'error_rate'"), '26000|fail', 'the rest is not seen yet');
look();
look();
is(status('c', 'error_rate'), '0.5000|52001|fail', 'then it is: 26,000 of 52,001');
is(query("SELECT round(sum(total)::numeric, 3) FROM agentpay._guardrail_ticks WHERE agent = 'c' AND metric = 'burn_rate' AND at >= '$first'"), '78.002', 'each once: 26 USD and 52.002');
query('SELECT agentpay._open_missing_cases()') for 1 .. 3;
is(query("SELECT count(*) FROM agentpay.decisions d, agentpay._case_cursor k WHERE NOT pg_visible_in_snapshot(d.xid, k.horizon)"), '0',
	'cases are looked for in slices, to the end');

# ── with the governor ───────────────────────────────────────────────────────
query("UPDATE agentpay.kill_switches SET engaged = false WHERE engaged");
query("DELETE FROM agentpay.guardrails");
add_agent($node, 'wrong', behaviour => 'always-decline');
guard('wrong', 'disagreement_rate', 0.2, action => 'kill', min => 20);
$node->safe_psql('postgres', 'ALTER SYSTEM SET agentpay.workers_enabled = on');
$node->reload;
await('the governor has begun to look', sub { query('SELECT count(*) FROM agentpay._guardrail_seen') eq '1' });
ask($node, 'wrong', 1, 100);
await('the governor engages the switch', sub { query("SELECT engaged FROM agentpay.kill_switches WHERE target = 'wrong'") eq 't' });
is(query("SELECT actor, action FROM agentpay.governance_log WHERE object_kind = 'guardrail' AND object = 'wrong' AND action = 'breach'"),
	'agentpay|breach', 'and says so');
diag('breach after the first of the decisions, in seconds: ' . query("SELECT round(extract(epoch FROM (SELECT max(logged_at) FROM events WHERE event LIKE '%wrong%')
	- (SELECT min(decided_at) FROM agentpay.decisions WHERE agent = 'wrong' AND kind = 'agent')), 2)"));

$node->stop;
done_testing();
