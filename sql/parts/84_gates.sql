-- 84_gates.sql
--		What the gates measure: the evidence for an agent's present version.
--
-- Evidence is production's: at a point whose environment is synthetic nothing
-- can be told.  What cannot be told is NULL, and the gate holds.
--
-- All gates of all agents that are asked about are measured together, what is
-- kept of their payments read once for all of one kind (79_asked_cells.sql):
-- promote() asks about one agent, rollout_status about all.

CREATE FUNCTION agentpay._normal_quantile(p double precision)
	RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_normal_quantile';
REVOKE ALL ON FUNCTION agentpay._normal_quantile(double precision)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._normal_quantile(double precision) IS 'z below which a standard normal variable lies with probability p (Wichura 1988, AS 241)';

-- The agent as it would operate (a failure counts as its fallback) beside the
-- rules on the same rows.  d is what it has more of than they, of each row: −1,
-- 0 or 1; the mean of d is weighted by w = 1 / propensity, and its variance that
-- of a ratio estimator, Σ w² (d − mean)² / (Σ w)² (W. G. Cochran, Sampling
-- Techniques, 3rd edition, 1977, section 6.3).  Nothing is told with fewer than
-- 100 positives, or where labels cannot be known.  labelled: answers with one.
CREATE FUNCTION agentpay._paired_differences(cells agentpay._asked_cell[])
	RETURNS TABLE (agent text, agent_version int, metric text, told boolean,
				   mean numeric, deviation double precision, samples bigint)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	WITH groups AS MATERIALIZED (
		SELECT * FROM agentpay._label_groups(cells) AS g
		 WHERE g.measure = 'verdict'),
	rows AS (
		SELECT g.agent, g.agent_version, m.metric, g.n, g.n * g.weight AS nw,
			   g.n * g.weight * g.weight AS nww, g.unobservable, t.truth,
			   CASE m.metric WHEN 'accuracy_vs_rules'
					THEN (said.is_positive = t.truth)::int
						 - (ruled.is_positive = t.truth)::int
					WHEN 'fpr_vs_rules'
					THEN said.is_positive::int - ruled.is_positive::int
					ELSE ruled.is_positive::int - said.is_positive::int END
				   AS d
		  FROM groups g
		  JOIN agentpay._readings said
			ON said.point = g.point AND said.positive = 'positive'
			   AND said.verdict = g.verdict
		  JOIN agentpay._readings ruled
			ON ruled.point = g.point AND ruled.positive = 'positive'
			   AND ruled.verdict = g.rules_verdict
		  LEFT JOIN agentpay._readings meant
			ON meant.point = g.point AND meant.positive = 'positive'
			   AND meant.verdict = g.label
		 CROSS JOIN LATERAL (SELECT CASE WHEN g.role = 'fraud'
				THEN g.label = 'fraud' ELSE meant.is_positive END AS truth) AS t
		 CROSS JOIN (VALUES ('accuracy_vs_rules'), ('fpr_vs_rules'),
							('fnr_vs_rules')) AS m (metric)),
	sums AS (
		SELECT r.agent, r.agent_version, r.metric,
			   sum(r.n) FILTER (WHERE r.truth) AS positives,
			   sum(r.n) FILTER (WHERE u.used) AS n,
			   sum(r.nw) FILTER (WHERE u.used) AS w,
			   sum(r.nw * r.d) FILTER (WHERE u.used) AS wd,
			   sum(r.nww) FILTER (WHERE u.used) AS ww,
			   sum(r.nww * r.d) FILTER (WHERE u.used) AS wwd,
			   sum(r.nww * r.d * r.d) FILTER (WHERE u.used) AS wwdd,
			   coalesce(bool_or(r.unobservable), false) AS blind
		  FROM rows r
		 CROSS JOIN LATERAL (SELECT CASE r.metric WHEN 'fpr_vs_rules'
				THEN NOT r.truth WHEN 'fnr_vs_rules' THEN r.truth
				ELSE r.truth IS NOT NULL END AS used) AS u
		 GROUP BY 1, 2, 3)
	SELECT s.agent, s.agent_version, s.metric,
		   NOT s.blind AND s.positives >= 100, m.mean,
		   sqrt(greatest(s.wwdd - 2 * m.mean * s.wwd
						 + m.mean * m.mean * s.ww, 0)::double precision)
		   / s.w::double precision, coalesce(s.n, 0)::bigint
	  FROM sums s
	 CROSS JOIN LATERAL (SELECT s.wd / nullif(s.w, 0) AS mean) AS m
	UNION ALL
	SELECT g.agent, g.agent_version, 'labelled_samples', true, sum(g.n), 0,
		   sum(g.n)::bigint
	  FROM groups g
	 WHERE g.answer IS NOT NULL AND g.label IS NOT NULL
	 GROUP BY 1, 2
$$;
REVOKE ALL ON FUNCTION agentpay._paired_differences(agentpay._asked_cell[])
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._paired_differences(agentpay._asked_cell[]) IS 'accuracy, fpr and fnr of agents minus the rules'', on the same labelled rows, and the standard deviation of that; and how many labelled rows there are';

-- Of the rows that agents were asked about, of all days, those with a valid
-- answer and where it was the rules'; as shadow_vs_rules has them by day.
CREATE FUNCTION agentpay._answer_counts(cells agentpay._asked_cell[])
	RETURNS TABLE (agent text, agent_version int, invoked numeric,
				   pairs numeric, agreed numeric)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET jit = off
AS $$
	SELECT s.agent, s.agent_version, sum(a.n),
		   coalesce(sum(a.n) FILTER (WHERE s.valid_answer IS NOT NULL), 0),
		   coalesce(sum(a.n) FILTER (WHERE s.valid_answer = s.rules_verdict), 0)
	  FROM (SELECT c.said, sum(c.answers) AS n FROM unnest(cells) AS c
			 GROUP BY 1) AS a
	 CROSS JOIN LATERAL agentpay._said(a.said) AS s
	 GROUP BY 1, 2
$$;
REVOKE ALL ON FUNCTION agentpay._answer_counts(agentpay._asked_cell[])
	FROM PUBLIC;

-- Daily cost per 1,000 rows that the agent was asked about, over complete days
-- (UTC) from its first to yesterday: sd / mean, 0 where nothing is charged, NULL
-- with fewer than 14.
CREATE FUNCTION agentpay._cost_variations(agents text[])
	RETURNS TABLE (agent text, agent_version int, value numeric,
				   samples bigint)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH asked AS (
		SELECT d.agent, d.agent_version, d.day, sum(d.rows) AS rows,
			   sum(d.cost) AS cost,
			   min(d.day) OVER (PARTITION BY d.agent, d.agent_version) AS first
		  FROM agentpay._asked_days(agents) AS d GROUP BY 1, 2, 3),
	days AS (
		SELECT a.agent, a.agent_version, a.rows,
			   1000 * a.cost / nullif(a.rows, 0) AS figure
		  FROM asked a
		 WHERE a.rows > 0 AND a.day > a.first
		   AND a.day < ((SELECT agentpay._now()) AT TIME ZONE 'UTC')::date)
	SELECT d.agent, d.agent_version, CASE WHEN count(*) >= 14 THEN round(
				coalesce(stddev_samp(d.figure) / nullif(avg(d.figure), 0), 0),
				6) END,
		   sum(d.rows)::bigint
	  FROM days d GROUP BY 1, 2
$$;
REVOKE ALL ON FUNCTION agentpay._cost_variations(text[]) FROM PUBLIC;

-- How long calls of these agents took.  Arrays are hashed, where a percentile
-- would sort all calls.
CREATE FUNCTION agentpay._call_latencies(agents text[])
	RETURNS TABLE (agent text, agent_version int, p95 double precision,
				   samples bigint)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_sort = off
	SET jit = off SET work_mem = '64MB'
AS $$
	SELECT c.agent, c.agent_version,
		   (agentpay._percentiles(c.took, '{0.95}'))[1], cardinality(c.took)
	  FROM (SELECT x.agent, x.agent_version, array_agg(x.latency_ms) AS took
			  FROM agentpay._called x
			 WHERE x.agent = ANY (agents) AND x.latency_ms IS NOT NULL
			 GROUP BY 1, 2 OFFSET 0) AS c
$$;
REVOKE ALL ON FUNCTION agentpay._call_latencies(text[]) FROM PUBLIC;

-- Where a constant could look calibrated, it is not: without skill the error
-- is 1.  By the score where there is one, else by the confidence.
CREATE VIEW agentpay._calibration_errors AS
SELECT DISTINCT ON (k.agent, k.agent_version) k.agent, k.agent_version,
	   CASE WHEN min(k.skill) <= 0 THEN 1
			ELSE abs(1 - min(k.observed_expected)) END AS value,
	   sum(k.labelled)::bigint AS samples
  FROM agentpay.calibration k
 GROUP BY k.agent, k.agent_version, k.measure
 ORDER BY k.agent, k.agent_version, k.measure DESC;
REVOKE ALL ON agentpay._calibration_errors FROM PUBLIC;

-- What gates measure, each on how many samples; no row, or no value: it cannot
-- be told.
CREATE TYPE agentpay._evidence_wanted AS (agent text, agent_version int,
	metric text, confidence numeric);
CREATE TYPE agentpay._evidence AS (agent text, agent_version int,
	metric text, confidence numeric, value numeric, samples bigint);

-- By what was said.  Which end of a two-sided interval: the one that says less
-- for the agent.
CREATE FUNCTION agentpay._answer_evidence(wanted agentpay._evidence_wanted[],
	cells agentpay._asked_cell[]) RETURNS SETOF agentpay._evidence
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
AS $$
	WITH counts AS MATERIALIZED (SELECT * FROM agentpay._answer_counts(cells)),
	w AS (
		SELECT x.*, agentpay._normal_quantile(
				((1 + x.confidence) / 2)::double precision) AS z
		  FROM unnest(wanted) AS x)
	SELECT w.agent, w.agent_version, w.metric, w.confidence,
		   CASE WHEN w.metric = 'labelled_samples' THEN coalesce(d.mean, 0)
				WHEN d.told THEN round((d.mean
					+ CASE w.metric WHEN 'accuracy_vs_rules' THEN -1 ELSE 1 END
					* w.z * d.deviation)::numeric, 6) END,
		   coalesce(d.samples, 0)
	  FROM w
	  LEFT JOIN agentpay._paired_differences(cells) AS d
		ON d.agent = w.agent AND d.agent_version = w.agent_version
	   AND d.metric = w.metric
	 WHERE w.metric IN ('accuracy_vs_rules', 'fpr_vs_rules', 'fnr_vs_rules',
						'labelled_samples')
	UNION ALL
	SELECT w.agent, w.agent_version, w.metric, w.confidence,
		   CASE w.metric WHEN 'coverage' THEN agentpay._rate(c.pairs, c.invoked)
				ELSE (agentpay._wilson(c.agreed, c.pairs, w.z::numeric))[1] END,
		   coalesce(CASE w.metric WHEN 'coverage' THEN c.invoked
					ELSE c.pairs END, 0)::bigint
	  FROM w
	  LEFT JOIN counts c
		ON c.agent = w.agent AND c.agent_version = w.agent_version
	 WHERE w.metric IN ('coverage', 'agreement')
	UNION ALL
	SELECT w.agent, w.agent_version, w.metric, w.confidence,
		   round(coalesce(k.cost, 0) / nullif(c.pairs, 0), 9),
		   coalesce(c.pairs, 0)::bigint
	  FROM w
	  LEFT JOIN (SELECT x.agent, x.agent_version, sum(x.cost) AS cost
				   FROM agentpay._call_costs(ARRAY(SELECT y.agent FROM w AS y
						WHERE y.metric = 'cost_per_decision')) AS x
				  GROUP BY 1, 2) AS k
		ON k.agent = w.agent AND k.agent_version = w.agent_version
	  LEFT JOIN counts c
		ON c.agent = w.agent AND c.agent_version = w.agent_version
	 WHERE w.metric = 'cost_per_decision'
	UNION ALL
	SELECT w.agent, w.agent_version, w.metric, w.confidence, v.value,
		   coalesce(v.samples, 0)
	  FROM w
	  LEFT JOIN agentpay._cost_variations(ARRAY(SELECT y.agent FROM w AS y
				WHERE y.metric = 'cost_variation')) AS v
		ON v.agent = w.agent AND v.agent_version = w.agent_version
	 WHERE w.metric = 'cost_variation'
$$;
REVOKE ALL ON FUNCTION agentpay._answer_evidence(
	agentpay._evidence_wanted[], agentpay._asked_cell[]) FROM PUBLIC;

CREATE FUNCTION agentpay._gate_evidence(wanted agentpay._evidence_wanted[])
	RETURNS SETOF agentpay._evidence
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET jit = off
	-- it reads whole logs, whatever the planner takes them for
	SET enable_nestloop = off
AS $$
DECLARE
	w agentpay._evidence_wanted[];
	metrics text[];
	said constant text[] := '{accuracy_vs_rules,fpr_vs_rules,fnr_vs_rules,labelled_samples,coverage,agreement,cost_per_decision,cost_variation}';
BEGIN
	SELECT array_agg(DISTINCT x), array_agg(x.metric) INTO w, metrics
	  FROM unnest(wanted) AS x
	  JOIN agentpay.agents a ON a.name = x.agent
	  JOIN agentpay.decision_points p ON p.point = a.point
	 WHERE p.environment = 'production';
	IF metrics && said THEN
		RETURN QUERY
		SELECT * FROM agentpay._answer_evidence(w, ARRAY(
			SELECT c FROM agentpay._asked_cells(
				ARRAY(SELECT DISTINCT x.agent FROM unnest(w) AS x
					   WHERE x.metric = ANY (said)), agentpay._now()) AS c));
	END IF;
	IF 'p95_latency_ms' = ANY (metrics) THEN
		RETURN QUERY
		SELECT x.*, round(c.p95::numeric, 3), coalesce(c.samples, 0)
		  FROM unnest(w) AS x
		  LEFT JOIN agentpay._call_latencies(ARRAY(
				SELECT y.agent FROM unnest(w) AS y
				 WHERE y.metric = 'p95_latency_ms')) AS c
			ON c.agent = x.agent AND c.agent_version = x.agent_version
		 WHERE x.metric = 'p95_latency_ms';
	END IF;
	IF 'inference_variance' = ANY (metrics) THEN
		RETURN QUERY
		SELECT x.*, i.flip_rate, i.rows
		  FROM unnest(w) AS x
		  JOIN agentpay.inference_variance i ON i.agent = x.agent
		   AND i.agent_version = x.agent_version AND i.load_band = 'all'
		 WHERE x.metric = 'inference_variance';
	END IF;
	IF 'calibration_error' = ANY (metrics) THEN
		RETURN QUERY
		SELECT x.*, c.value, coalesce(c.samples, 0)
		  FROM unnest(w) AS x
		  LEFT JOIN agentpay._calibration_errors c
			ON c.agent = x.agent AND c.agent_version = x.agent_version
		 WHERE x.metric = 'calibration_error';
	END IF;
	IF 'compliance' = ANY (metrics) THEN
		RETURN QUERY
		SELECT x.*, c.value, c.samples
		  FROM unnest(w) AS x
		  JOIN (SELECT a.name, c.value, c.samples
				  FROM (SELECT DISTINCT p.point
						  FROM unnest(w) AS y
						  JOIN agentpay.agents p ON p.name = y.agent
						 WHERE y.metric = 'compliance') AS k
				 CROSS JOIN LATERAL agentpay._compliance_share(k.point) AS c
				  JOIN agentpay.agents a ON a.point = k.point) AS c
			ON c.name = x.agent
		 WHERE x.metric = 'compliance';
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._gate_evidence(agentpay._evidence_wanted[])
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._gate_evidence(agentpay._evidence_wanted[]) IS 'what gates measure of versions of agents, and on how many samples; no row or NULL: it cannot be told';

CREATE FUNCTION agentpay._gate_evidence(agent text, version int, metric text,
	confidence numeric, OUT value numeric, OUT samples bigint)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT e.value, e.samples
	  FROM agentpay._gate_evidence(ARRAY[ROW(agent, version, metric,
			confidence)::agentpay._evidence_wanted]) AS e
$$;
REVOKE ALL ON FUNCTION agentpay._gate_evidence(text, int, text, numeric)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._gate_evidence(text, int, text, numeric) IS 'of one gate';
