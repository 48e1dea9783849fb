-- agent_latency and inference_variance on calls of known figures.
-- Expected values: test/oracle/views_calls.py, which knows only the
-- definitions and the rows; quantiles of 1 … 100 by hand beside them.
BEGIN;
SET client_min_messages = warning;
\o /dev/null
CREATE SCHEMA t_calls;
CREATE TABLE t_calls.payments (id text PRIMARY KEY, at timestamptz NOT NULL);
SELECT agentpay.attach('t_calls.payments', point => 't_calls', role => 'fraud',
	id => 'id', occurred_at => 'at');
INSERT INTO agentpay.allowed_endpoints (origin)
VALUES ('https://t-calls.example');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model,
	invoke_when, price_input_per_million, price_output_per_million,
	max_in_flight)
SELECT a, 't_calls', 'openai', 'https://t-calls.example/v1', 'm', 'true', 1, 1,
	   20
  FROM unnest('{t_wavers,t_slow}'::text[]) AS a;

-- Askings of a row: load is calls in flight of 20, so 5 is the first in the
-- middle band, 15 in the top one.  said: the answer; failure beside an answer:
-- it was too unsure; unsent: it ended without a call.
CREATE TEMP TABLE asked (row_id text, repeat_no int, load int, said text,
	failure text, score numeric, sha text DEFAULT 'a', model text DEFAULT 'm1',
	unsent boolean DEFAULT false, version int DEFAULT 1);
INSERT INTO asked (row_id, repeat_no, load, said, failure, score) VALUES
	('P1', 0, 1, 'approve', NULL, 0.1), ('P1', 1, 2, 'approve', NULL, 0.1),
	('P1', 2, 3, 'approve', NULL, 0.1), ('P1', 3, 4, 'approve', NULL, 0.1),
	('P1', 4, 4, 'approve', NULL, 0.1),
	('P2', 0, 4, 'approve', NULL, 0.1), ('P2', 1, 4, 'approve', NULL, 0.1),
	('P2', 2, 4, 'approve', NULL, 0.2), ('P2', 3, 4, 'decline', NULL, 0.8),
	('P2', 4, 4, 'decline', NULL, 0.9),
	('P3', 0, 15, 'approve', NULL, 0.1), ('P3', 1, 16, 'decline', NULL, 0.9),
	('P3', 2, 17, 'review', NULL, 0.5), ('P3', 3, 20, NULL, 'timeout', NULL),
	('P3', 4, 19, 'decline', NULL, 0.8),
	('P4', 0, 4, 'approve', NULL, 0.3), ('P4', 1, 4, 'approve', NULL, 0.3),
	('P4', 2, 4, 'decline', NULL, 0.7), ('P4', 3, 5, 'approve', NULL, 0.3),
	('P4', 4, 5, 'approve', NULL, 0.2), ('P4', 5, 14, 'approve', NULL, 0.3),
	('P8', 0, 18, 'review', NULL, 0.4), ('P8', 1, 18, 'review', NULL, 0.4),
	('P8', 2, 18, 'review', NULL, 0.4), ('P8', 3, 18, 'review', NULL, 0.4),
	('P8', 4, 18, 'decline', 'low_confidence', 0.9),
	('P12', 0, 1, 'approve', NULL, 0.2), ('P12', 1, 18, 'approve', NULL, 0.1),
	('P12', 2, 18, 'approve', NULL, 0.1), ('P12', 3, 18, 'approve', NULL, 0.1),
	('P12', 4, 18, 'approve', NULL, 0.1);
INSERT INTO asked (row_id, repeat_no, load, failure)
SELECT 'P11', g, 19, 'timeout' FROM generate_series(0, 4) AS g;
-- a kill is not the agent's doing, whether the answer came or not
INSERT INTO asked (row_id, repeat_no, load, said, failure) VALUES
	('P8', 5, 18, NULL, 'killed'), ('P8', 6, 18, 'approve', 'killed');
-- rows without five askings of one request that one model answered
INSERT INTO asked (row_id, repeat_no, load, said)
SELECT 'P5', g, 19, CASE g WHEN 1 THEN 'decline' ELSE 'approve' END
  FROM generate_series(0, 3) AS g;
INSERT INTO asked (row_id, repeat_no, load, said, sha, model, unsent)
SELECT p, g, 19, CASE g WHEN 1 THEN 'decline' ELSE 'approve' END,
	   CASE WHEN p = 'P6' AND g = 4 THEN 'b' ELSE 'a' END,
	   CASE WHEN p = 'P7' AND g > 2 THEN 'm2' ELSE 'm1' END,
	   p = 'P10' AND g = 4
  FROM unnest('{P6,P7,P10}'::text[]) AS p, generate_series(0, 4) AS g;
INSERT INTO asked (row_id, repeat_no, load, said, version)
SELECT 'P9', g, 10, CASE g WHEN 1 THEN 'decline' ELSE 'approve' END, 2
  FROM generate_series(0, 4) AS g;
UPDATE asked SET model = NULL WHERE failure IN ('timeout', 'killed');
ALTER TABLE asked ADD task_id bigint GENERATED ALWAYS AS IDENTITY
	(START 910000001), ADD agent_id uuid DEFAULT gen_random_uuid();
UPDATE agentpay.agents SET max_output_tokens = 300 WHERE name = 't_wavers';

CREATE TEMP TABLE rules AS SELECT DISTINCT row_id, md5(row_id)::uuid AS id FROM asked;
SELECT agentpay._append((md5(row_id)::uuid, now(), 't_calls', row_id, now(),
	NULL, NULL, NULL, 'rules', 'live', 'approve', NULL, 'treatment', 0, 1,
	NULL, '{}', NULL, NULL, NULL, NULL, NULL, '{}', 0, NULL, NULL, NULL, NULL,
	NULL, NULL)::agentpay.decisions) FROM rules;
CREATE TEMP TABLE new_tasks (LIKE agentpay._tasks);
INSERT INTO new_tasks (task_id, created_at, point, row_id, decision_id, agent,
	agent_version, idempotency_key, repeat_no, forced, xid)
SELECT task_id, now(), 't_calls', row_id, md5(row_id)::uuid, 't_wavers',
	   version, gen_random_uuid(), repeat_no, false, pg_current_xact_id()
  FROM asked;
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM new_tasks t;
CREATE TEMP TABLE new_decisions (LIKE agentpay.decisions INCLUDING DEFAULTS);
INSERT INTO new_decisions (decision_id, decided_at, point, row_id, occurred_at,
	kind, authority, verdict, answer, repeat_no, score, agent, agent_version,
	failure, detail, xid)
SELECT agent_id, now(), 't_calls', row_id, now(),
	   CASE WHEN failure IS NULL AND NOT unsent THEN 'agent' ELSE 'fallback' END,
	   'shadow', CASE WHEN failure IS NULL AND NOT unsent THEN said ELSE 'approve' END,
	   said, repeat_no,
	   -- a fallback has the rules' score
	   CASE WHEN failure IS NULL THEN score ELSE 77 END, 't_wavers', version,
	   CASE WHEN unsent THEN 'skipped' ELSE failure END,
	   jsonb_build_object('task_id', task_id), pg_current_xact_id() FROM asked;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM new_decisions d;
CREATE TEMP TABLE new_calls (LIKE agentpay.agent_calls INCLUDING DEFAULTS);
INSERT INTO new_calls (call_id, called_at, task_id, attempt, decision_id,
	point, row_id, agent, agent_version, cost_center, provider, status,
	in_flight_at_start, latency_ms, request_sha256, response_model, xid)
SELECT gen_random_uuid(), now(), task_id, 2, agent_id, 't_calls', row_id,
	   't_wavers', version, 'risk', 'openai',
	   CASE WHEN failure IN ('timeout', 'killed') THEN failure ELSE 'ok' END,
	   load, 10, convert_to(row_id || sha, 'UTF8'), model, pg_current_xact_id()
  FROM asked WHERE NOT unsent;
-- an attempt that led to no decision
INSERT INTO new_calls (call_id, called_at, task_id, attempt, point, row_id,
	agent, agent_version, cost_center, provider, status, in_flight_at_start,
	latency_ms, request_sha256, xid)
SELECT gen_random_uuid(), now(), task_id, 1, 't_calls', row_id, 't_wavers',
	   version, 'risk', 'openai', 'http_error', 1, 10,
	   convert_to(row_id || sha, 'UTF8'), pg_current_xact_id()
  FROM asked WHERE row_id = 'P12';
-- 100 calls of 1 to 100 ms, which waited ten times as long; another hour and
-- load; what a kill cut short, and what was never handed over
INSERT INTO new_calls (call_id, called_at, task_id, attempt, point, row_id,
	agent, agent_version, cost_center, provider, status, queued_ms,
	in_flight_at_start, latency_ms, xid)
SELECT gen_random_uuid(), '2026-03-29 01:30+00'::timestamptz + s.later,
	   s.task_id, 1, 't_calls', 'P1', 't_slow', 1, 'risk', 'openai', s.status,
	   s.queued, s.load, s.took, pg_current_xact_id()
  FROM (SELECT 920000000 + g AS task_id, interval '0' AS later, 'ok' AS status,
			   10.0 * g AS queued, 4 AS load, 1.0 * g AS took
		  FROM generate_series(1, 100) AS g
		UNION ALL VALUES
		(920001001, interval '0', 'timeout', 0.0, 5, 300.0),
		(920001002, interval '0', 'killed', 0.0, 4, 9999.0),
		(920001003, interval '0', 'uncertain', 0.0, NULL, NULL),
		(920001004, interval '29 min', 'http_error', 0.0, 15, 7.0),
		(920001005, interval '30 min', 'ok', 1.0, 20, 8.0),
		(920001006, interval '30 min', 'ok', 2.0, 20, 10.0)) AS s;
SELECT agentpay._append(ROW(c.*)::agentpay.agent_calls) FROM new_calls c;
\o
SELECT plan(12);

-- ── inference_variance ──────────────────────────────────────────────────────
SELECT results_eq($$ SELECT load_band, rows, answers, flip_rate, score_variance
	FROM agentpay.inference_variance WHERE agent = 't_wavers'
	AND agent_version = 1 ORDER BY load_band COLLATE "C" $$,
	$$ VALUES ('[.25,.75)', 1::bigint, 3::bigint, 0.000000, 0.003333333),
	('[.75,1]', 4::bigint, 19::bigint, 0.325000, 0.043055556),
	('[0,.25)', 3::bigint, 13::bigint, 0.422222, 0.073466667),
	('all', 7::bigint, 36::bigint, 0.319048, 0.051239130) $$,
	'flip rate and score variance, and under each load');
SELECT results_eq($$ SELECT load_effect, load_effect_low, load_effect_high
	FROM agentpay.inference_variance WHERE agent = 't_wavers'
	AND agent_version = 1 AND load_band = 'all' $$,
	$$ VALUES (-0.097222, -0.584472, 0.439910) $$,
	'top band − bottom band, with its interval');
SELECT is_empty($$ SELECT FROM agentpay.inference_variance
	WHERE load_band <> 'all' AND load_effect IS NOT NULL $$,
	'which stands once');
-- P9: 4 approve, 1 decline: 1 − 12/20
SELECT results_eq($$ SELECT load_band, rows, answers, flip_rate,
	score_variance, load_effect, load_effect_low
	FROM agentpay.inference_variance WHERE agent = 't_wavers'
	AND agent_version = 2 ORDER BY load_band COLLATE "C" $$,
	$$ VALUES ('[.25,.75)', 1::bigint, 5::bigint, 0.400000, NULL::numeric,
	NULL::numeric, NULL::numeric), ('all', 1::bigint, 5::bigint, 0.400000,
	NULL, NULL, NULL) $$, 'versions are apart; without scores and other bands there is nothing to say about them');
SELECT is(agentpay._newcombe(56, 70, 48, 80), '{0.052431,0.333873}',
	'Newcombe''s own example: 0.0524 to 0.3339');
SELECT is(agentpay._newcombe(0, 0, 1, 2), NULL, 'no rows, no interval');

-- ── repeats are in no other figure ──────────────────────────────────────────
SELECT results_eq($$ SELECT agent_version, sum(invoked)
	FROM agentpay.shadow_vs_rules WHERE agent = 't_wavers'
	AND compared = 'answer' GROUP BY 1 ORDER BY 1 $$,
	$$ VALUES (1, 11::numeric), (2, 1::numeric) $$,
	'shadow_vs_rules: the rows, once each');

-- ── agent_latency ───────────────────────────────────────────────────────────
-- of 1 … 100: 1 + 99 × 0.5, 1 + 99 × 0.95, 1 + 99 × 0.99
SELECT results_eq($$ SELECT hour, load_band, queued_p95_ms::numeric, calls,
	p50_ms::numeric, p95_ms::numeric, p99_ms::numeric, max_ms::numeric
	FROM agentpay.agent_latency WHERE agent = 't_slow'
	ORDER BY hour, load_band COLLATE "C" $$,
	$$ VALUES
	('2026-03-29 01:00+00'::timestamptz, '[.25,.75)', 0.0, 1::bigint, 300.0, 300.0, 300.0, 300.0),
	('2026-03-29 01:00+00', '[.75,1]', 0.0, 1::bigint, 7.0, 7.0, 7.0, 7.0),
	('2026-03-29 01:00+00', '[0,.25)', 950.5, 100::bigint, 50.5, 95.05, 99.01, 100.0),
	('2026-03-29 02:00+00', '[.75,1]', 1.95, 2::bigint, 9.0, 9.9, 9.98, 10.0) $$,
	'quantiles by hour and load; what a kill cut short is out');
-- those that were sent, less those that a kill cut short, and 5 first attempts
SELECT is(sum(calls)::bigint, (SELECT count(*) FILTER (WHERE NOT unsent)
		- count(*) FILTER (WHERE failure = 'killed')
		+ count(*) FILTER (WHERE row_id = 'P12') FROM asked),
	'each attempt of a repeat counts')
  FROM agentpay.agent_latency WHERE agent = 't_wavers';
-- by PostgreSQL's own, of 1 to 60 values with ties, NULL, NaN and infinities
SELECT is_empty($$
	SELECT n FROM (
		SELECT n, array_agg(x) AS list, percentile_cont('{0,0.05,0.5,0.95,0.99,1}'::double precision[])
			   WITHIN GROUP (ORDER BY x) AS core
		  FROM generate_series(1, 60) AS n
		 CROSS JOIN LATERAL (
			SELECT CASE WHEN (i * n) % 13 = 7 THEN NULL WHEN (i * n) % 41 = 5
				THEN 'NaN' WHEN (i * n) % 43 = 6 THEN '-Infinity'
				ELSE (hashint4(i * 100 + n) % 50) / 7.0 END::double precision AS x
			  FROM generate_series(1, n) AS i) AS v GROUP BY n) AS s
	 WHERE core IS DISTINCT FROM agentpay._percentiles(list, '{0,0.05,0.5,0.95,0.99,1}') $$,
	'percentiles are as percentile_cont() has them');
SELECT is(agentpay._percentiles('{NULL}', '{0.5}'), NULL, 'none without a value');
SELECT throws_ok($$ SELECT agentpay._percentiles('{1}', '{1.5}') $$, '22003',
	'fraction 1.5 is not between 0 and 1', 'no such percentile');
SELECT * FROM finish();
ROLLBACK;
