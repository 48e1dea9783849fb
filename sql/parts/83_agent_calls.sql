-- 83_agent_calls.sql
--		How long agents take, and how much their answers differ when nothing
--		else does.
--
-- Load is how many of the calls that an agent may have in flight were so when
-- the call was handed over, itself included.  A call that was never handed
-- over, or of which a dispatcher that is gone left no trace, has none.

-- ── agent_latency ───────────────────────────────────────────────────────────
CREATE VIEW agentpay._most_in_flight AS
SELECT a.agent, a.version,
	   (a.definition ->> 'max_in_flight')::double precision AS most
  FROM agentpay.agent_versions a;
REVOKE ALL ON agentpay._most_in_flight FROM PUBLIC;

CREATE VIEW agentpay._attempts AS
SELECT c.call_id, c.called_at, c.task_id, c.decision_id, c.agent,
	   c.agent_version, c.status, c.queued_ms, c.latency_ms, c.request_sha256,
	   c.response_model,
	   CASE WHEN c.in_flight_at_start < 0.25 * v.most THEN '[0,.25)'
			WHEN c.in_flight_at_start < 0.75 * v.most THEN '[.25,.75)'
			WHEN c.in_flight_at_start IS NOT NULL THEN '[.75,1]' END
		   AS load_band
  FROM agentpay.agent_calls c
  JOIN agentpay._most_in_flight v
	ON v.agent = c.agent AND v.version = c.agent_version;
REVOKE ALL ON agentpay._attempts FROM PUBLIC;
COMMENT ON VIEW agentpay._attempts IS 'calls, with the load under which they were made';

CREATE FUNCTION agentpay._percentiles(numbers double precision[],
	fractions double precision[]) RETURNS double precision[]
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_percentiles';
REVOKE ALL ON FUNCTION agentpay._percentiles(double precision[],
	double precision[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._percentiles(double precision[],
	double precision[]) IS 'as percentile_cont(fractions) WITHIN GROUP (ORDER BY numbers), which would sort all groups together; NULL without a value';

-- Calls of an hour are few, and together: groups are hashed, which the planner
-- does not see.  OFFSET 0: the definition of each version is read once.
CREATE FUNCTION agentpay._hourly_calls()
	RETURNS TABLE (agent text, hour timestamptz, load_band int, calls bigint,
				   queued double precision[], took double precision[],
				   max_ms double precision)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_sort = off SET jit = off SET work_mem = '64MB'
AS $$
	SELECT c.agent, date_bin('1 hour', c.called_at, '2000-01-01 00:00:00+00'),
		   CASE WHEN c.in_flight_at_start < 0.25 * v.most THEN 1
				WHEN c.in_flight_at_start < 0.75 * v.most THEN 2
				WHEN c.in_flight_at_start IS NOT NULL THEN 3 END,
		   count(*), array_agg(c.queued_ms), array_agg(c.latency_ms),
		   max(c.latency_ms)
	  FROM agentpay._called c
	  JOIN (SELECT * FROM agentpay._most_in_flight OFFSET 0) AS v
		ON v.agent = c.agent AND v.version = c.agent_version
	 WHERE c.latency_ms IS NOT NULL AND c.status <> 'killed'
	 GROUP BY 1, 2, 3
$$;
REVOKE ALL ON FUNCTION agentpay._hourly_calls() FROM PUBLIC;

CREATE VIEW agentpay.agent_latency AS
SELECT h.agent, h.hour, b.band AS load_band,
	   (agentpay._percentiles(h.queued, '{0.95}'))[1] AS queued_p95_ms,
	   h.calls, p.took[1] AS p50_ms, p.took[2] AS p95_ms, p.took[3] AS p99_ms,
	   h.max_ms
  FROM agentpay._hourly_calls() AS h
 CROSS JOIN LATERAL (SELECT ('{"[0,.25)","[.25,.75)","[.75,1]"}'::text[])
						[h.load_band] AS band) AS b
 CROSS JOIN LATERAL (SELECT agentpay._percentiles(h.took, '{0.5,0.95,0.99}')
						AS took OFFSET 0) AS p;
REVOKE ALL ON agentpay.agent_latency FROM PUBLIC;
COMMENT ON VIEW agentpay.agent_latency IS 'how long agents take, per attempt, from the hand-over to libcurl to the last byte of the answer; one that failed or ran into its time-out, until it ended. What a kill switch cut short does not count';
COMMENT ON COLUMN agentpay.agent_latency.hour IS 'in which the call started';
COMMENT ON COLUMN agentpay.agent_latency.load_band IS 'calls in flight when it started / max_in_flight: [0,.25), [.25,.75) or [.75,1]';
COMMENT ON COLUMN agentpay.agent_latency.queued_p95_ms IS 'from the payment, or the tier below, to the hand-over; of a second attempt with the first one and the wait between them';
COMMENT ON COLUMN agentpay.agent_latency.calls IS 'attempts';
COMMENT ON COLUMN agentpay.agent_latency.p50_ms IS 'between two attempts, by their distance';
COMMENT ON COLUMN agentpay.agent_latency.p95_ms IS 'as p50_ms';
COMMENT ON COLUMN agentpay.agent_latency.p99_ms IS 'as p50_ms';

-- ── inference_variance ──────────────────────────────────────────────────────
-- The times that a row was asked about, where it was more than once: what was
-- said, and under which load.  What was not sent was not asked; what a kill
-- switch ended is not the agent's doing.
--
-- Few rows of many: OFFSET 0 keeps the planner from reading whole logs for
-- them, which takes ten times as long as finding each by its index.
--
-- SECURITY DEFINER: whoever may read the report reads the logs through it, as
-- through a view; payments have numbers, since he may call it himself.  To
-- compile the query would take longer than to run it.
CREATE FUNCTION agentpay._askings()
	RETURNS TABLE (payment bigint, agent text, agent_version int,
				   request_sha256 bytea, response_model text, load_band text,
				   said text, score numeric)
	LANGUAGE sql STABLE PARALLEL SAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
SELECT u.payment, u.agent, u.agent_version, a.request_sha256,
	   a.response_model, a.load_band,
	   CASE WHEN d.kind = 'agent' THEN coalesce(d.answer, d.verdict)
			WHEN d.failure IN ('low_confidence', 'over_authority')
			THEN d.answer ELSE 'failure ' || d.failure END AS said,
	   CASE WHEN d.kind = 'agent' THEN d.score END AS score
  FROM (SELECT dense_rank() OVER (ORDER BY t.point, t.row_id) AS payment,
			   t.point, t.row_id, t.agent, t.agent_version,
			   min(t.created_at) AS since
		  FROM agentpay._tasks t
		 WHERE t.repeat_no > 0
		 GROUP BY t.point, t.row_id, t.agent, t.agent_version) AS u
 CROSS JOIN LATERAL (
	SELECT e.decision_id, e.kind, e.answer, e.verdict, e.failure, e.score
	  FROM agentpay.decisions e
	 WHERE e.point = u.point AND e.row_id = u.row_id
	   AND e.decided_at >= u.since
	   AND e.agent = u.agent AND e.agent_version = u.agent_version
	   AND e.kind IN ('agent', 'fallback')
	   AND e.failure IS DISTINCT FROM 'killed' OFFSET 0) AS d
 CROSS JOIN LATERAL (
	SELECT c.request_sha256, c.response_model, c.load_band
	  FROM agentpay._attempts c
	 WHERE c.decision_id = d.decision_id AND c.called_at >= u.since
	   AND c.request_sha256 IS NOT NULL OFFSET 0) AS a
$$;
REVOKE ALL ON FUNCTION agentpay._askings() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._askings() IS 'each time that a row was asked about which is asked about again';

-- R. G. Newcombe, Interval estimation for the difference between independent
-- proportions: comparison of eleven methods, Statistics in Medicine 17 (1998)
-- 873-890, method 10, of two means of n1 and n2 shares.  A share that lies
-- between 0 and 1 varies at most as a proportion does, so it is on the safe
-- side.
CREATE FUNCTION agentpay._newcombe(sum1 numeric, n1 numeric, sum2 numeric,
	n2 numeric) RETURNS numeric[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH w AS (
		SELECT o.ord, o.total / nullif(o.n, 0) AS p, centre - half AS low,
			   centre + half AS high
		  FROM (VALUES (1, sum1, n1), (2, sum2, n2)) AS o (ord, total, n),
			   -- as in _wilson(), which rounds; z is its
			   (SELECT 1.959963984540054 AS z) AS c,
			   LATERAL (SELECT (2 * total + z * z) / (2 * (n + z * z)) AS centre,
							   z * sqrt(z * z + 4 * total * (n - total)
										/ nullif(n, 0))
							   / (2 * (n + z * z)) AS half
						 WHERE n > 0) AS b)
	SELECT ARRAY[round(a.p - b.p - sqrt((a.p - a.low) ^ 2
										+ (b.high - b.p) ^ 2), 6),
				 round(a.p - b.p + sqrt((a.high - a.p) ^ 2
										+ (b.p - b.low) ^ 2), 6)]
	  FROM w AS a JOIN w AS b ON a.ord = 1 AND b.ord = 2
$$;
REVOKE ALL ON FUNCTION agentpay._newcombe(numeric, numeric, numeric, numeric)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._newcombe(numeric, numeric, numeric, numeric) IS '95 % interval {low, high} of sum1 / n1 - sum2 / n2 (Newcombe 1998, method 10); NULL when one of them has nothing';

-- Askings of one row count together when the request was the same and the same
-- model answered; a failure names no model, and goes with the one that
-- answered most.  A row is in a band with the askings that fall there, if
-- there are two to compare.
CREATE VIEW agentpay.inference_variance AS
WITH askings AS MATERIALIZED (SELECT * FROM agentpay._askings()),
models AS (
	SELECT a.payment, a.agent, a.agent_version, a.request_sha256,
		   mode() WITHIN GROUP (ORDER BY a.response_model) AS model
	  FROM askings a GROUP BY 1, 2, 3, 4),
-- how often each verdict, under each load; sums of scores for their variance
said AS (
	SELECT a.agent, a.agent_version, a.payment, a.request_sha256,
		   coalesce(a.response_model, m.model) AS model, a.load_band, a.said,
		   count(*)::numeric AS n, count(a.score)::numeric AS scored,
		   sum(a.score) AS x, sum(a.score * a.score) AS xx
	  FROM askings a
	  JOIN models m
		ON m.payment = a.payment AND m.agent = a.agent
		   AND m.agent_version = a.agent_version
		   AND m.request_sha256 = a.request_sha256
	 GROUP BY 1, 2, 3, 4, 5, 6, 7),
counted AS (
	SELECT s.*, sum(s.n) OVER (PARTITION BY s.agent, s.agent_version, s.payment,
							   s.request_sha256, s.model) AS k
	  FROM said s),
compared AS (
	SELECT v.agent, v.agent_version, v.load_band, sum(v.n) AS n,
		   sum(v.n * (v.n - 1)) AS same, sum(v.scored) AS scored,
		   sum(v.x) AS x, sum(v.xx) AS xx
	  FROM (SELECT c.agent, c.agent_version, c.payment,
				   c.request_sha256, c.model, b.load_band, c.said, sum(c.n) AS n,
				   sum(c.scored) AS scored, sum(c.x) AS x, sum(c.xx) AS xx
			  FROM counted c
			 CROSS JOIN LATERAL (VALUES ('all'), (c.load_band))
				AS b (load_band)
			 WHERE c.k >= 5 AND b.load_band IS NOT NULL
			 GROUP BY 1, 2, 3, 4, 5, 6, 7) AS v
	 GROUP BY v.agent, v.agent_version, v.load_band, v.payment,
			  v.request_sha256, v.model
	HAVING sum(v.n) >= 2),
figures AS (
	SELECT c.agent, c.agent_version, c.load_band, count(*) AS rows,
		   sum(c.n) AS answers,
		   sum(1 - c.same / (c.n * (c.n - 1))) AS flips,
		   sum(c.xx - c.x * c.x / c.scored) FILTER (WHERE c.scored >= 2)
			   AS squares,
		   sum(c.scored - 1) FILTER (WHERE c.scored >= 2) AS freedom
	  FROM compared c GROUP BY 1, 2, 3)
SELECT f.agent, f.agent_version, f.rows, f.answers::bigint AS answers,
	   f.load_band, agentpay._rate(f.flips, f.rows) AS flip_rate,
	   round(f.squares / f.freedom, 9) AS score_variance,
	   round(top.flips / top.rows - bottom.flips / bottom.rows, 6)
		   AS load_effect,
	   e.bounds[1] AS load_effect_low, e.bounds[2] AS load_effect_high
  FROM figures f
  LEFT JOIN figures top
	ON top.agent = f.agent AND top.agent_version = f.agent_version
	   AND f.load_band = 'all' AND top.load_band = '[.75,1]'
  LEFT JOIN figures bottom
	ON bottom.agent = f.agent AND bottom.agent_version = f.agent_version
	   AND f.load_band = 'all' AND bottom.load_band = '[0,.25)'
 CROSS JOIN LATERAL (SELECT agentpay._newcombe(top.flips, top.rows,
		bottom.flips, bottom.rows) AS bounds) AS e;
REVOKE ALL ON agentpay.inference_variance FROM PUBLIC;
COMMENT ON VIEW agentpay.inference_variance IS 'how much an agent''s answers to one and the same request differ: of rows that were asked about at least five times with the same bytes (agents.repeat_percent, repeats), by the same version, answered by the same model';
COMMENT ON COLUMN agentpay.inference_variance.rows IS 'rows with at least two answers to compare in the band';
COMMENT ON COLUMN agentpay.inference_variance.answers IS 'their answers, the first ones and the failures included';
COMMENT ON COLUMN agentpay.inference_variance.load_band IS 'calls in flight when it started / max_in_flight: [0,.25), [.25,.75) or [.75,1]; all: whatever it was';
COMMENT ON COLUMN agentpay.inference_variance.flip_rate IS 'mean over rows of the chance that two of their answers differ, 1 - sum(n (n - 1)) / (N (N - 1)); each type of failure is a verdict of its own';
COMMENT ON COLUMN agentpay.inference_variance.score_variance IS 'within rows, pooled: sum((k - 1) s^2) / sum(k - 1), of answers that counted and gave a score';
COMMENT ON COLUMN agentpay.inference_variance.load_effect IS 'in the row of all: flip_rate in [.75,1] - flip_rate in [0,.25)';
COMMENT ON COLUMN agentpay.inference_variance.load_effect_low IS '95 % interval (Newcombe 1998, method 10), on the safe side, lower end';
COMMENT ON COLUMN agentpay.inference_variance.load_effect_high IS 'upper end';
