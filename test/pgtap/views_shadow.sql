-- shadow_vs_rules, agent_accuracy, label_coverage, agent_cost,
-- cost_per_million and current_decisions on rows of known figures.
-- Expected values: test/oracle/views_metrics.py, which knows only the formulas
-- of the papers and the counts in the fixture; sums are by hand beside them.
BEGIN;
SET client_min_messages = warning;
\o /dev/null
\ir views_fixture.psql
\o
SELECT plan(38);

-- ── shadow_vs_rules ─────────────────────────────────────────────────────────
-- 21 asked: 10 + 3 + 2 + 1 + 1 (low confidence) answered, 3 failed, 1 open
SELECT results_eq($$ SELECT invoked, pairs, coverage, agreed, agreement,
	agreement_low, agreement_high, kappa, tightened, loosened, failed
	FROM agentpay.shadow_vs_rules
	WHERE agent = 't_a' AND compared = 'answer' $$,
	$$ VALUES (21::bigint, 17::bigint, 0.809524, 12::bigint, 0.705882,
	0.468669, 0.867200, 0.330709, 4::bigint, 1::bigint, 3::bigint) $$,
	'raw answers against the rules');
SELECT results_eq($$ SELECT invoked, pairs, agreed, agreement, agreement_low,
	agreement_high, kappa, tightened, loosened, failed
	FROM agentpay.shadow_vs_rules
	WHERE agent = 't_a' AND compared = 'effective' $$,
	$$ VALUES (21::bigint, 17::bigint, 13::bigint, 0.764706, 0.527382,
	0.904450, 0.403509, 3::bigint, 1::bigint, 3::bigint) $$,
	'an answer of low confidence counts as the rules verdict');
SELECT results_eq($$ SELECT by_reason FROM agentpay.shadow_vs_rules
	WHERE agent = 't_a' AND compared = 'answer' $$,
	$$ VALUES ('{"timeout": 2, "over_budget": 1, "open": 1}'::jsonb) $$,
	'what is missing, by reason: 21 - 17 = 2 + 1 + 1');
SELECT is(day, ((now() - interval '3 days') AT TIME ZONE 'UTC')::date,
	'a day is of the payment''s own time')
  FROM agentpay.shadow_vs_rules WHERE agent = 't_a' AND compared = 'answer';
SELECT results_eq($$ SELECT pairs, agreement, agreement_low, agreement_high,
	kappa FROM agentpay.shadow_vs_rules WHERE agent = 't_b'
	AND compared = 'answer' AND agreed = 2 $$,
	$$ VALUES (2::bigint, 1.000000, 0.342380, 1.000000, NULL::numeric) $$,
	'both always approve: agreement by chance is 1, kappa NULL');
SELECT results_eq($$ SELECT invoked, pairs, coverage, agreement, agreement_low,
	kappa, failed, by_reason FROM agentpay.shadow_vs_rules
	WHERE agent = 't_d' AND compared = 'effective' $$,
	$$ VALUES (1::bigint, 0::bigint, 0.000000, NULL::numeric, NULL::numeric,
	NULL::numeric, 1::bigint, '{"timeout": 1}'::jsonb) $$,
	'no pairs: no agreement');
SELECT results_eq($$ SELECT agreed, tightened, loosened
	FROM agentpay.shadow_vs_rules
	WHERE agent = 't_c' AND compared = 'answer' $$,
	$$ VALUES (2::bigint, 1::bigint, 0::bigint) $$,
	'an explored row counts by what the rules said, not by what it got');

-- ── agent_accuracy, labels by nature ────────────────────────────────────────
SELECT results_eq($$ SELECT identifiable, labelled, positives, accuracy, tp,
	fpr, fnr, precision, recall, f1 FROM agentpay.agent_accuracy
	WHERE agent = 't_a' AND decided_by = 'agent' AND positive = 'positive'
	AND population = 'answered' $$,
	$$ VALUES (false, 16::bigint, 5::bigint, NULL::numeric, NULL::bigint,
	NULL::numeric, NULL::numeric, NULL::numeric, NULL::numeric,
	NULL::numeric) $$,
	'a declined row can have no label: figures are NULL');
SELECT results_eq($$ SELECT decided_by, accuracy_low, accuracy_high, fpr_low,
	fpr_high, fnr_low, fnr_high FROM agentpay.agent_accuracy
	WHERE agent = 't_a' AND positive = 'positive' AND population = 'answered'
	ORDER BY 1 $$,
	$$ VALUES ('agent', 0.764706, 0.823529, 0.166667, 0.181818, 0.200000, 0.333333),
			  ('rules', 0.647059, 0.705882, 0.090909, 0.166667, 0.666667, 0.800000) $$,
	'and what is left are worst-case bounds');
SELECT results_eq($$ SELECT labelled, positives, tp, fp, tn, fn, identifiable
	FROM agentpay.agent_accuracy WHERE agent = 't_b' AND decided_by = 'agent'
	AND positive = 'positive' AND population = 'answered' $$,
	$$ VALUES (2::bigint, 1::bigint, 0::bigint, 0::bigint, 1::bigint,
	1::bigint, true) $$,
	'the latest label wins, and an immature one does not count');
UPDATE agentpay.decision_points SET label_maturity = '30 minutes'
 WHERE point = 't_views';
SELECT is(positives, 2::bigint, 'until it is mature')
  FROM agentpay.agent_accuracy WHERE agent = 't_b' AND decided_by = 'agent'
   AND positive = 'positive' AND population = 'answered';
UPDATE agentpay.decision_points SET label_maturity = '1 day'
 WHERE point = 't_views';
-- Σw = 4 + 1 + 1 = 6, Σw² = 18: effective n = 36 / 18
SELECT results_eq($$ SELECT labelled, effective_n, tp, fp, tn, fn, accuracy,
	accuracy_low, fpr, fnr, precision, recall, f1
	FROM agentpay.agent_accuracy WHERE agent = 't_c' AND decided_by = 'agent'
	AND positive = 'tightest' AND population = 'answered' $$,
	$$ VALUES (3::bigint, 2.0, 4::bigint, 1::bigint, 1::bigint, 0::bigint,
	0.833333, NULL::numeric, 0.500000, 0.000000, 0.800000, 1.000000,
	0.888889) $$,
	'rows weigh 1 / propensity, without an interval');
SELECT is_empty($$ SELECT FROM agentpay.agent_accuracy WHERE agent = 't_d'
	AND population = 'answered' $$, 'who never answered is not rated');

-- ── agent_accuracy, every label known ───────────────────────────────────────
CREATE FUNCTION pg_temp.counts(by_whom text, reading text, of_whom text)
	RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', identifiable, labelled, positives, tp, fp, tn, fn)
	  FROM agentpay.agent_accuracy
	 WHERE agent = 't_a' AND decided_by = by_whom AND positive = reading
	   AND population = of_whom $$;
CREATE FUNCTION pg_temp.rates(by_whom text, reading text, of_whom text)
	RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', accuracy, accuracy_low, accuracy_high, fpr, fpr_low,
		fpr_high, fnr, fnr_low, fnr_high, precision, recall, f1)
	  FROM agentpay.agent_accuracy
	 WHERE agent = 't_a' AND decided_by = by_whom AND positive = reading
	   AND population = of_whom $$;
DO $$ BEGIN
	PERFORM agentpay.record_outcome('t_views', row_id, 'fraud')
	   FROM unnest('{D1,F2}'::text[]) AS row_id;
END $$;
SELECT is(pg_temp.counts('rules', 'positive', 'operated'), 't 20 7 3 1 12 4',
	'people labelled what was stopped: C, D1, F2 flagged');
UPDATE agentpay.decision_points SET labels_complete = true
 WHERE point = 't_views';
SELECT is(pg_temp.counts('agent', 'positive', 'answered'), 't 17 6 4 2 9 2',
	'flagged by the agent: B, C, E');
SELECT is(pg_temp.rates('agent', 'positive', 'answered'),
	'0.764706 0.527382 0.904450 0.181818 0.051368 0.476981 0.333333 0.096771 0.700007 0.666667 0.666667 0.666667', 'its rates');
SELECT is(pg_temp.counts('agent', 'tightest', 'answered'), 't 17 6 3 1 10 3',
	'declined by the agent: B, E');
SELECT is(pg_temp.rates('agent', 'tightest', 'answered'),
	'0.764706 0.527382 0.904450 0.090909 0.016232 0.377358 0.500000 0.187616 0.812384 0.750000 0.500000 0.600000', 'its rates');
SELECT is(pg_temp.counts('rules', 'positive', 'answered'), 't 17 6 2 1 10 4',
	'flagged by the rules on the same rows: C, D');
SELECT is(pg_temp.rates('rules', 'positive', 'answered'),
	'0.705882 0.468669 0.867200 0.090909 0.016232 0.377358 0.666667 0.299993 0.903229 0.666667 0.333333 0.444444', 'their rates');
SELECT is(pg_temp.counts('agent', 'positive', 'operated'), 't 20 7 4 2 11 3',
	'a failure counts as its fallback: F2 flagged, E1 not; the open one is out');
SELECT is(pg_temp.rates('agent', 'positive', 'operated'),
	'0.750000 0.531299 0.888138 0.153846 0.043258 0.422346 0.428571 0.158220 0.749542 0.666667 0.571429 0.615385', 'its rates');

-- ── label_coverage ──────────────────────────────────────────────────────────
-- approve: A 10, B 3, E 1, F1, G1, H1, K 2, L1, M1 = 21, one of them young;
-- labelled A1 B1 B2 E1 K1 K2, and the young L1
SELECT results_eq($$ SELECT verdict, payments, labelled, mature, share, sources
	FROM agentpay.label_coverage WHERE point = 't_views' ORDER BY 1 $$,
	$$ VALUES
	('approve', 21::bigint, 7::bigint, 20::bigint, 0.300000, '{"chargeback": 7}'::jsonb),
	('decline', 2::bigint, 2::bigint, 2::bigint, 1.000000, '{"analyst": 2}'),
	('review', 2::bigint, 1::bigint, 2::bigint, 0.500000, '{"chargeback": 1}') $$,
	'labels by what the rules did');

-- ── agent_cost ──────────────────────────────────────────────────────────────
-- 10 × 0.001 + 4 × 0.0005 = 0.012 in 14 calls; 0.012 / 10 answers
SELECT results_eq($$ SELECT hour, cost_center, authority, calls, failed_calls,
	input_tokens, output_tokens, cost, decisions, cost_per_decision, share
	FROM agentpay.agent_cost WHERE agent = 't_a' $$,
	$$ VALUES (date_trunc('hour', now()), 'risk', 'shadow', 14::bigint,
	4::bigint, 1400::bigint, 280::bigint, 0.0120, 10::bigint, 0.001200000,
	1.000000) $$,
	'failures are charged to the answers');
-- ── cost_per_million ────────────────────────────────────────────────────────
-- 25 payments of the point, 21 asked about: 10⁶ × 0.012 / 25 = 480
SELECT results_eq($$ SELECT authority, payments, invoked_share,
	calls_per_invocation, cost_per_call, cost_per_invocation, cost_per_million,
	cost_per_million_low FROM agentpay.cost_per_million
	WHERE agent = 't_a' AND payments = 25 $$,
	$$ SELECT a, 25::bigint, s, c, p, i, m, NULL::numeric FROM (VALUES
	('shadow', 0.840000, 0.666667, 0.000857143, 0.000571429, 480.000000))
	AS v (a, s, c, p, i, m) $$,
	'of all payments of the point; one day has no interval');

-- ── statistics ──────────────────────────────────────────────────────────────
SELECT is(agentpay._wilson(0, 0), NULL, 'no trial, no interval');
SELECT is(agentpay._wilson(0, 10), '{0.000000,0.277533}'::numeric[],
	'none of ten: 3.8414588 / 13.8414588');
SELECT is(agentpay._bootstrap_ratio('{1}', '{1}'), NULL,
	'one day has no spread');
-- two days give 1, 2 or 3 with chances 1/4, 1/2, 1/4: the ends are both days
SELECT is(agentpay._bootstrap_ratio('{1,3}', '{1,1}'), '{1,3}',
	'two days: from one to the other');
-- mean of 100 days of 0 and 1: sd of the mean 0.05, so about 0.5 ± 0.098
SELECT ok(b[1] BETWEEN 0.37 AND 0.44 AND b[2] BETWEEN 0.56 AND 0.63
		  AND b = agentpay._bootstrap_ratio(n, d),
		  'a hundred days: near the normal interval, and the same each time')
  FROM (SELECT array_agg((g % 2)::float8) AS n, array_agg(1::float8) AS d,
			   agentpay._bootstrap_ratio(array_agg((g % 2)::float8),
										 array_agg(1::float8)) AS b
		  FROM generate_series(1, 100) AS g) AS s;
-- the definition in SQL: 1,000 times, as many days as there are, by a hash of
-- (replicate, position); one without payments has no ratio
SELECT is(agentpay._bootstrap_ratio(x.n, x.d), x.bounds, 'it is what it says: ' || x.what)
  FROM (SELECT s.*, (
			SELECT percentile_disc('{0.025,0.975}'::float8[]) WITHIN GROUP (ORDER BY r.ratio)
			  FROM (SELECT sum(s.n[d.i] ORDER BY j) / nullif(sum(s.d[d.i] ORDER BY j), 0)
					  FROM generate_series(1, 1000) AS b,
						   generate_series(1, cardinality(s.n)) AS j,
						   LATERAL (SELECT 1 + (hashint8extended((b::bigint << 20) | j, 20070921)
									& 9223372036854775807) % cardinality(s.n)) AS d (i)
					 GROUP BY b) AS r (ratio)) AS bounds
		  FROM (SELECT 'sixty days', array_agg(g * sqrt(g)), array_agg((1000 + g % 7 * 31)::float8)
				  FROM generate_series(1, 60) AS g
				UNION ALL
				SELECT 'days without', array_agg(g::float8), array_agg(CASE WHEN g = 3 THEN 7.5 ELSE 0 END)
				  FROM generate_series(1, 4) AS g) AS s (what, n, d)) AS x;
SELECT throws_ok($$ SELECT agentpay._bootstrap_ratio('{1,2}', '{1}') $$, '22023', NULL, 'of pairs');
SELECT throws_ok($$ SELECT agentpay._bootstrap_ratio('{1,NULL}', '{1,2}') $$, '22023', NULL, 'of numbers');

-- ── current_decisions ───────────────────────────────────────────────────────
SELECT results_eq($$ SELECT kind, verdict, pending
	FROM agentpay.current_decisions WHERE point = 't_views'
	AND row_id = 'B1' $$, $$ VALUES ('rules', 'approve', false) $$,
	'a shadow decision does not stand');
INSERT INTO new_decisions (decision_id, decided_at, point, row_id,
	occurred_at, kind, authority, verdict, xid)
SELECT gen_random_uuid(), now() + interval '1 second', 't_views', 'B1', now(),
	   'human', 'live', 'decline', pg_current_xact_id();
DO $$ BEGIN PERFORM pg_temp.append_all(); END $$;
SELECT results_eq($$ SELECT kind, verdict FROM agentpay.current_decisions
	WHERE point = 't_views' AND row_id = 'B1' $$,
	$$ VALUES ('human', 'decline') $$, 'the latest live one stands');
SELECT is(count(*), 25::bigint, 'one per row')
  FROM agentpay.current_decisions WHERE point = 't_views';
SELECT is(count(*), 0::bigint, 'no stranger in the shadow: all answers are of tasks')
  FROM agentpay.shadow_vs_rules WHERE point LIKE 't\_views%' AND pairs > invoked;
SELECT * FROM finish();
ROLLBACK;
