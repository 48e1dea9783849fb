-- Gates of several agents, versions and points at once: rollout_status and
-- promote() say of each agent what the logs say of it alone, in plain SQL over
-- them.
BEGIN;
SET client_min_messages = warning;
SELECT plan(9);
CREATE SCHEMA t_tog;
CREATE TABLE t_tog.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL,
	amount numeric);
\o /dev/null
SELECT agentpay.attach('t_tog.payments', point => p, role => 'fraud',
	id => 'id', occurred_at => 'at') FROM unnest('{t_tog_a,t_tog_b}'::text[]) p;
UPDATE agentpay.decision_points SET labels_complete = true,
	label_maturity = CASE point WHEN 't_tog_a' THEN interval '1 day'
	ELSE interval '2 days' END WHERE point LIKE 't_tog%';
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_tog', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
-- the last one is never asked
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
SELECT a, CASE WHEN a IN ('t_tog_1', 't_tog_2') THEN 't_tog_a'
	   ELSE 't_tog_b' END, 'builtin', 't_tog', 'true', 'shadow'
  FROM unnest('{t_tog_1,t_tog_2,t_tog_3,t_tog_none}'::text[]) a;
UPDATE agentpay.agents SET min_confidence = 0.1 WHERE name = 't_tog_2';

-- ── 1,000 payments of each point ────────────────────────────────────────────
-- agents differ by k; version 1 of t_tog_2, of which there is a second, was
-- asked about every third.
CREATE TEMP TABLE made AS
SELECT i, p.point, a.name, a.k,
	   CASE WHEN a.name = 't_tog_2' AND i % 3 > 0 THEN 2 ELSE 1 END AS version,
	   CASE WHEN i % 5 = 0 THEN 'decline' ELSE 'approve' END AS ruled,
	   CASE WHEN (i + a.k) % 7 IN (0, 3) THEN 'decline' WHEN (i + a.k) % 11 = 0
			THEN 'review' ELSE 'approve' END AS said,
	   -- no answer at all; none in time; one that was too unsure
	   CASE WHEN (i + a.k) % 31 = 1 THEN 'open' WHEN (i + a.k) % 29 = 2
			THEN 'timeout' WHEN (i + a.k) % 23 = 3 THEN 'low_confidence' END
			AS failure,
	   -- labels are due of the second ones at one of the points only
	   now() - CASE i % 4 WHEN 0 THEN interval '3 days' WHEN 1
			THEN interval '36 hours' ELSE interval '30 days' END AS at,
	   now() - interval '1 day' * (i % 21) AS asked_at,
	   gen_random_uuid() AS end_id,
	   970000000 + i * 10 + a.k AS task_id
  FROM generate_series(1, 1000) i,
	   (VALUES ('t_tog_a'), ('t_tog_b')) AS p (point)
  JOIN (VALUES ('t_tog_1', 1, 't_tog_a'), ('t_tog_2', 2, 't_tog_a'),
			   ('t_tog_3', 3, 't_tog_b')) AS a (name, k, point) USING (point);
CREATE TEMP TABLE d (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE TEMP TABLE t (LIKE agentpay._tasks INCLUDING DEFAULTS);
CREATE TEMP TABLE o (LIKE agentpay.outcomes INCLUDING DEFAULTS);
CREATE TEMP TABLE c (LIKE agentpay.agent_calls INCLUDING DEFAULTS);
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, propensity, xid)
SELECT DISTINCT ON (point, i) gen_random_uuid(), now(), point, i, at, 'rules',
	   'live', ruled, 1, pg_current_xact_id() FROM made ORDER BY point, i;
INSERT INTO t (task_id, created_at, point, row_id, decision_id, agent,
	agent_version, idempotency_key, repeat_no, forced, xid)
SELECT m.task_id, m.asked_at, m.point, m.i, d.decision_id, m.name, m.version,
	   gen_random_uuid(), 0, false, pg_current_xact_id()
  FROM made m JOIN d ON d.row_id = m.i::text AND d.point = m.point;
INSERT INTO d (decision_id, decided_at, point, row_id, occurred_at, kind,
	authority, verdict, answer, failure, agent, agent_version, confidence,
	score, detail, xid)
SELECT end_id, now(), point, i, at,
	   CASE WHEN failure IS NULL THEN 'agent' ELSE 'fallback' END, 'shadow',
	   CASE WHEN failure IS NULL THEN said ELSE ruled END,
	   CASE WHEN failure IS DISTINCT FROM 'timeout' THEN said END, failure,
	   name, version, (i % 97) / 97.0, (i * 7 % 89) / 89.0,
	   jsonb_build_object('task_id', task_id), pg_current_xact_id()
  FROM made WHERE failure IS DISTINCT FROM 'open';
-- every 40th payment has no label
INSERT INTO o
SELECT gen_random_uuid(), now(), p, i,
	   CASE WHEN i % 6 = 0 OR i % 25 = 7 THEN 'fraud' ELSE 'legit' END,
	   'import', NULL, now(), session_user, pg_current_xact_id()
  FROM generate_series(1, 1000) i, unnest('{t_tog_a,t_tog_b}'::text[]) p
 WHERE i % 40 <> 7;
-- every 9th was called twice; some calls were killed
INSERT INTO c (call_id, called_at, task_id, attempt, decision_id, point, row_id,
	agent, agent_version, cost_center, provider, status, cost, latency_ms, xid)
SELECT gen_random_uuid(), asked_at, task_id, n, end_id, point, i, name, version,
	   'c', 'openai', CASE WHEN n < least(i % 9, 1) + 1 AND i % 9 = 0
	   THEN 'timeout' WHEN i % 50 = 1 THEN 'killed' ELSE 'ok' END,
	   0.001 * k + 0.0001 * (i % 21) + n * 0.00007, i * k % 613 + n,
	   pg_current_xact_id()
  FROM made, generate_series(1, 2) n WHERE n = 1 OR i % 9 = 0;
SELECT agentpay._append(ROW(d.*)::agentpay.decisions) FROM d;
SELECT agentpay._append(ROW(t.*)::agentpay._tasks) FROM t;
SELECT agentpay._append(ROW(o.*)::agentpay.outcomes) FROM o;
SELECT agentpay._append(ROW(c.*)::agentpay.agent_calls) FROM c;
ANALYZE agentpay.decisions, agentpay._tasks, agentpay.outcomes, agentpay.agent_calls;
-- one with a bound and a confidence of its own
INSERT INTO agentpay.gates (agent, metric, bound, min_samples)
SELECT '*', m, 0, 0 FROM unnest('{coverage,agreement,fpr_vs_rules,fnr_vs_rules,cost_per_decision,p95_latency_ms,calibration_error,inference_variance}'::text[]) m
ON CONFLICT (agent, metric) DO UPDATE SET enabled = true;
INSERT INTO agentpay.gates VALUES ('t_tog_3', 'accuracy_vs_rules', -0.5, 0, 0.8);
\o

-- ── what the logs say of one agent and version ──────────────────────────────
CREATE TEMP VIEW answers AS
SELECT t.agent, t.agent_version, r.verdict AS ruled, e.valid, e.operated, e.kind,
	   CASE WHEN o.label IS NOT NULL THEN o.label
			WHEN r.occurred_at <= now() - p.label_maturity THEN 'legit' END
		   AS label
  FROM agentpay._tasks t
  JOIN agentpay.decision_points p ON p.point = t.point
  JOIN agentpay.decisions r ON r.decision_id = t.decision_id
  LEFT JOIN LATERAL (
	SELECT x.kind, CASE x.kind WHEN 'agent' THEN x.verdict ELSE r.verdict END
			   AS operated,
		   CASE WHEN x.kind = 'agent' OR x.failure = 'low_confidence'
				THEN x.answer END AS valid
	  FROM agentpay.decisions x
	 WHERE x.point = t.point AND x.row_id = t.row_id
	   AND x.kind IN ('agent', 'fallback')
	   AND (x.detail ->> 'task_id')::bigint = t.task_id) AS e ON true
  LEFT JOIN agentpay.outcomes o ON o.point = t.point AND o.row_id = t.row_id
 WHERE t.point LIKE 't_tog%';
-- z of a two-sided interval, from tables: 0.95 and 0.8
CREATE FUNCTION pg_temp.told(who text, v int, metric text, confidence numeric,
	OUT value numeric, OUT samples bigint) LANGUAGE plpgsql AS $$
#variable_conflict use_variable
DECLARE
	z constant double precision := CASE confidence WHEN 0.95
		THEN 1.959963984540054 WHEN 0.8 THEN 1.2815515655446004 END;
	n double precision;
	mean double precision;
	sd double precision;
BEGIN
	CASE WHEN metric LIKE '%\_vs_rules' THEN
		SELECT count(*), CASE WHEN max(x.positives) >= 100 THEN avg(x.d) END,
			   stddev_pop(x.d) INTO n, mean, sd
		  FROM (SELECT b.positives, CASE metric WHEN 'accuracy_vs_rules'
				THEN (fraud = said)::int - (fraud = ruled)::int
				WHEN 'fpr_vs_rules' THEN said::int - ruled::int
				ELSE ruled::int - said::int END::double precision AS d
				  FROM (SELECT a.label = 'fraud' AS fraud,
							   count(*) FILTER (WHERE a.label = 'fraud')
								   OVER () AS positives,
							   -- decline and review are positive
							   a.operated <> 'approve' AS said,
							   a.ruled <> 'approve' AS ruled
						  FROM answers a WHERE a.agent = who
						   AND a.agent_version = v AND a.kind IS NOT NULL
						   AND a.label IS NOT NULL) AS b
				 WHERE metric = 'accuracy_vs_rules'
					OR b.fraud = (metric = 'fnr_vs_rules')) AS x;
		value := round((mean + CASE metric WHEN 'accuracy_vs_rules' THEN -1
						ELSE 1 END * z * sd / sqrt(nullif(n, 0)))::numeric, 6);
		samples := n;
	WHEN metric = 'labelled_samples' THEN
		SELECT count(*), count(*) INTO value, samples FROM answers a
		 WHERE a.agent = who AND a.agent_version = v AND a.valid IS NOT NULL
		   AND a.label IS NOT NULL;
	WHEN metric = 'coverage' THEN
		SELECT round(count(a.valid)::numeric / nullif(count(*), 0), 6), count(*)
		  INTO value, samples FROM answers a
		 WHERE a.agent = who AND a.agent_version = v;
	WHEN metric = 'agreement' THEN
		-- Wilson's lower end
		SELECT nullif(count(a.valid), 0), avg((a.valid = a.ruled)::int) INTO n, mean
		  FROM answers a WHERE a.agent = who AND a.agent_version = v;
		value := round(((mean + z * z / (2 * n) - z * sqrt(mean * (1 - mean) / n
			+ z * z / (4 * n * n))) / (1 + z * z / n))::numeric, 6);
		samples := coalesce(n, 0);
	WHEN metric = 'cost_per_decision' THEN
		samples := (SELECT count(a.valid) FROM answers a
					 WHERE a.agent = who AND a.agent_version = v);
		value := round((SELECT coalesce(sum(c.cost), 0)
			FROM agentpay.agent_calls c WHERE c.agent = who
			 AND c.agent_version = v) / nullif(samples, 0), 9);
	WHEN metric = 'p95_latency_ms' THEN
		SELECT round(percentile_cont(0.95) WITHIN GROUP (
				ORDER BY c.latency_ms)::numeric, 3), count(*)
		  INTO value, samples FROM agentpay.agent_calls c
		 WHERE c.agent = who AND c.agent_version = v;
	WHEN metric = 'cost_variation' THEN
		SELECT CASE WHEN count(*) >= 14 THEN round(stddev_samp(x.figure)
				/ avg(x.figure), 6) END, sum(x.rows)
		  INTO value, samples
		  FROM (SELECT (t.created_at AT TIME ZONE 'UTC')::date AS day,
					   count(*) AS rows, 1000 * sum((SELECT sum(c.cost)
						FROM agentpay.agent_calls c WHERE c.task_id = t.task_id))
					   / count(*) AS figure
				  FROM agentpay._tasks t
				 WHERE t.agent = who AND t.agent_version = v
				 GROUP BY 1 ORDER BY 1 OFFSET 1) AS x
		 WHERE x.day < (now() AT TIME ZONE 'UTC')::date;
		samples := coalesce(samples, 0);
	WHEN metric = 'calibration_error' THEN
		SELECT CASE WHEN min(c.skill) <= 0 THEN 1
					ELSE abs(1 - min(c.observed_expected)) END,
			   coalesce(sum(c.labelled), 0)
		  INTO value, samples FROM agentpay.calibration c
		 WHERE c.agent = who AND c.agent_version = v AND c.measure = 'score';
	WHEN metric = 'sign_off' THEN
		value := 0;
		samples := 0;
	ELSE NULL; -- inference_variance: nothing was asked again
	END CASE;
END$$;
CREATE TEMP VIEW logs AS
SELECT a.name, g.metric, x.value, x.samples
  FROM (VALUES ('t_tog_1', 1), ('t_tog_2', 2), ('t_tog_3', 1),
			   ('t_tog_none', 1)) AS a (name, version)
  JOIN agentpay.gates g ON g.enabled
   AND (g.agent = a.name OR g.agent = '*' AND NOT EXISTS (
		SELECT FROM agentpay.gates o
		 WHERE o.agent = a.name AND o.metric = g.metric))
 CROSS JOIN LATERAL pg_temp.told(a.name, a.version, g.metric, g.confidence) AS x;
CREATE TEMP TABLE status AS
SELECT r.* FROM agentpay.rollout_status r
 WHERE r.agent LIKE 't_tog%' AND r.kind = 'gate';

-- one has too few positives, and was asked on too few days
SELECT is((SELECT string_agg(metrics, '; ' ORDER BY agent)
			 FROM (SELECT agent, format('%s: %s', agent,
						  string_agg(metric, ' ' ORDER BY metric)) AS metrics
					 FROM status WHERE value IS NULL AND agent <> 't_tog_none'
					GROUP BY agent) AS x), 't_tog_1: inference_variance; t_tog_2: accuracy_vs_rules cost_variation fnr_vs_rules fpr_vs_rules inference_variance; t_tog_3: inference_variance',
	'what cannot be told of those that were asked');
SELECT set_eq('SELECT agent, metric, value, samples FROM status',
	'SELECT name, metric, value, samples FROM logs',
	'each gate of each agent is what the logs say of it alone');
SELECT is((SELECT agent_version || ' ' || samples FROM status
			WHERE agent = 't_tog_2' AND metric = 'coverage'), '2 667',
	'of the present version alone');
SELECT is((SELECT string_agg(metric, ' ' ORDER BY metric) FROM status
			WHERE agent = 't_tog_none' AND value IS NOT NULL),
	'labelled_samples sign_off', 'and of an agent that was never asked');

-- ── promote() says the same ─────────────────────────────────────────────────
CREATE FUNCTION pg_temp.refused(agent text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	lines text;
BEGIN
	PERFORM agentpay.promote(agent);
	RETURN 'promoted';
EXCEPTION WHEN SQLSTATE 'AP005' THEN
	GET STACKED DIAGNOSTICS lines = PG_EXCEPTION_DETAIL;
	RETURN lines;
END$$;
SELECT is(pg_temp.refused(a), (
	SELECT string_agg(format('%s: %s, value %s, bound %s %s, samples %s', metric,
			state, coalesce(value::text, 'not known'), direction,
			trim_scale(bound), coalesce(samples::text, 'not known')), E'\n'
			ORDER BY state, metric)
	  FROM status WHERE agent = a), 'promote() of ' || a)
  FROM unnest('{t_tog_1,t_tog_2,t_tog_3,t_tog_none}'::text[]) a;
-- with the figures that were judged, and no others, on record
UPDATE agentpay.gates SET enabled = false
 WHERE metric NOT IN ('coverage', 'p95_latency_ms');
UPDATE agentpay.gates SET bound = 100000 WHERE metric = 'p95_latency_ms';
SELECT agentpay.promote('t_tog_3') AS stage \gset
SELECT is((SELECT string_agg(concat_ws(' ', g ->> 'metric', g ->> 'value',
			g ->> 'samples', g ->> 'state'), ', ' ORDER BY g ->> 'metric')
			 FROM agentpay.governance_log l
			CROSS JOIN LATERAL jsonb_array_elements(l.after -> 'gates') AS g
			WHERE l.object = 't_tog_3' AND l.action = 'promote'),
	(SELECT string_agg(concat_ws(' ', metric, value, samples, 'pass'), ', '
			ORDER BY metric)
	   FROM status WHERE agent = 't_tog_3'
		AND metric IN ('coverage', 'p95_latency_ms')),
	'promoted, with the figures that were judged on record');
SELECT * FROM finish();
ROLLBACK;
