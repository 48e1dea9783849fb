-- 84_gates.sql
--		What the gates measure: the evidence for an agent's present version.
--
-- Evidence is production's: at a point whose environment is synthetic nothing
-- can be told.  What cannot be told is NULL, and the gate holds.

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
-- Techniques, 3rd edition, 1977, section 6.3).  Which end of the two-sided
-- interval: the one that says less for the agent.
CREATE FUNCTION agentpay._paired_difference(agent text, version int,
	metric text, confidence numeric, OUT value numeric, OUT samples bigint)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH cells AS (
		SELECT c.n, c.n * c.weight AS nw, c.n * c.weight * c.weight AS nww,
			   c.unobservable, t.truth,
			   CASE $3 WHEN 'accuracy_vs_rules'
					THEN (said.is_positive = t.truth)::int
						 - (ruled.is_positive = t.truth)::int
					WHEN 'fpr_vs_rules'
					THEN said.is_positive::int - ruled.is_positive::int
					ELSE ruled.is_positive::int - said.is_positive::int END
				   AS d
		  FROM agentpay._labelled_answers c
		  JOIN agentpay._readings said
			ON said.point = c.point AND said.positive = 'positive'
			   AND said.verdict = c.verdict
		  JOIN agentpay._readings ruled
			ON ruled.point = c.point AND ruled.positive = 'positive'
			   AND ruled.verdict = c.rules_verdict
		  LEFT JOIN agentpay._readings meant
			ON meant.point = c.point AND meant.positive = 'positive'
			   AND meant.verdict = c.label
		 CROSS JOIN LATERAL (SELECT CASE WHEN c.role = 'fraud'
				THEN c.label = 'fraud' ELSE meant.is_positive END AS truth) AS t
		 WHERE c.agent = $1 AND c.agent_version = $2),
	sums AS (
		SELECT sum(c.n) FILTER (WHERE c.truth) AS positives,
			   sum(c.n) FILTER (WHERE u.used) AS n,
			   sum(c.nw) FILTER (WHERE u.used) AS w,
			   sum(c.nw * c.d) FILTER (WHERE u.used) AS wd,
			   sum(c.nww) FILTER (WHERE u.used) AS ww,
			   sum(c.nww * c.d) FILTER (WHERE u.used) AS wwd,
			   sum(c.nww * c.d * c.d) FILTER (WHERE u.used) AS wwdd,
			   coalesce(bool_or(c.unobservable), false) AS blind
		  FROM cells c
		 CROSS JOIN LATERAL (SELECT CASE $3 WHEN 'fpr_vs_rules'
				THEN NOT c.truth WHEN 'fnr_vs_rules' THEN c.truth
				ELSE c.truth IS NOT NULL END AS used) AS u)
	SELECT CASE WHEN NOT s.blind AND s.positives >= 100 THEN round((m.mean
				+ CASE $3 WHEN 'accuracy_vs_rules' THEN -1 ELSE 1 END
				* agentpay._normal_quantile(
					((1 + confidence) / 2)::double precision)
				* sqrt(greatest(s.wwdd - 2 * m.mean * s.wwd
								+ m.mean * m.mean * s.ww, 0)::double precision)
				/ s.w::double precision)::numeric, 6) END,
		   coalesce(s.n, 0)::bigint
	  FROM sums s
	 CROSS JOIN LATERAL (SELECT s.wd / nullif(s.w, 0) AS mean) AS m
$$;
REVOKE ALL ON FUNCTION agentpay._paired_difference(text, int, text, numeric)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._paired_difference(text, int, text, numeric) IS 'the less favourable end of the interval of an agent''s accuracy, fpr or fnr minus the rules'', on the same labelled rows; NULL with fewer than 100 positives, or where labels cannot be known';

-- Daily cost per 1,000 rows that the agent was asked about, over complete days
-- (UTC) from its first to yesterday; NULL with fewer than 14.
CREATE FUNCTION agentpay._cost_variation(agent text, version int,
	OUT value numeric, OUT samples bigint)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH asked AS (
		SELECT (t.created_at AT TIME ZONE 'UTC')::date AS day,
			   count(*) FILTER (WHERE t.repeat_no = 0) AS rows,
			   sum(coalesce(c.cost, 0)) AS cost
		  FROM agentpay._tasks t
		  LEFT JOIN (SELECT x.task_id, sum(x.cost) AS cost
					   FROM agentpay._charged_calls x
					  WHERE x.agent = $1 AND x.agent_version = $2
					  GROUP BY 1) AS c ON c.task_id = t.task_id
		 WHERE t.agent = $1 AND t.agent_version = $2
		 GROUP BY 1),
	days AS (
		SELECT 1000 * a.cost / a.rows AS figure, a.rows
		  FROM asked a
		 WHERE a.rows > 0
		   AND a.day < ((SELECT agentpay._now()) AT TIME ZONE 'UTC')::date
		   AND a.day > (SELECT min(b.day) FROM asked b))
	SELECT CASE WHEN count(*) >= 14 THEN round(
				coalesce(stddev_samp(d.figure) / nullif(avg(d.figure), 0), 0),
				6) END,
		   coalesce(sum(d.rows), 0)::bigint
	  FROM days d
$$;
REVOKE ALL ON FUNCTION agentpay._cost_variation(text, int) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._cost_variation(text, int) IS 'sd / mean of the daily cost per 1,000 rows asked about; 0 where nothing is charged';

-- Of valid answers, raw: Wilson's lower end of their agreement with the rules; or
-- the share of the rows asked about that got one.
CREATE FUNCTION agentpay._agreement(agent text, version int, metric text,
	confidence numeric, OUT value numeric, OUT samples bigint)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE $3 WHEN 'coverage'
				THEN agentpay._rate(sum(v.pairs), sum(v.invoked))
				ELSE (agentpay._wilson(sum(v.agreed), sum(v.pairs),
						agentpay._normal_quantile(((1 + confidence) / 2)
							::double precision)::numeric))[1] END,
		   coalesce(sum(CASE $3 WHEN 'coverage' THEN v.invoked
						ELSE v.pairs END), 0)::bigint
	  FROM agentpay.shadow_vs_rules v
	 WHERE v.agent = $1 AND v.agent_version = $2 AND v.compared = 'answer'
$$;
REVOKE ALL ON FUNCTION agentpay._agreement(text, int, text, numeric)
	FROM PUBLIC;

-- Where a constant could look calibrated, it is not: without skill the error
-- is 1.  By the score where there is one, else by the confidence.
CREATE FUNCTION agentpay._calibration_error(agent text, version int,
	OUT value numeric, OUT samples bigint)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN c.skill <= 0 THEN 1
				ELSE abs(1 - c.observed_expected) END,
		   coalesce(c.labelled, 0)::bigint
	  FROM (SELECT 1) AS one
	  LEFT JOIN LATERAL (
		SELECT k.measure, min(k.skill) AS skill,
			   min(k.observed_expected) AS observed_expected,
			   sum(k.labelled) AS labelled
		  FROM agentpay.calibration k
		 WHERE k.agent = $1 AND k.agent_version = $2
		 GROUP BY 1 ORDER BY k.measure DESC LIMIT 1) AS c ON true
$$;
REVOKE ALL ON FUNCTION agentpay._calibration_error(text, int) FROM PUBLIC;

CREATE FUNCTION agentpay._gate_evidence(agent text, version int, metric text,
	confidence numeric, OUT value numeric, OUT samples bigint)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	-- it reads whole logs, whatever the planner takes them for
	SET enable_nestloop = off SET jit = off
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	who text := agent;
	what text := metric;
	v int := version;
BEGIN
	IF NOT EXISTS (
		SELECT FROM agentpay.agents a
		  JOIN agentpay.decision_points p ON p.point = a.point
		 WHERE a.name = who AND p.environment = 'production') THEN
		RETURN;
	END IF;
	CASE what
	WHEN 'accuracy_vs_rules', 'fpr_vs_rules', 'fnr_vs_rules' THEN
		SELECT x.value, x.samples INTO value, samples
		  FROM agentpay._paired_difference(who, v, what, confidence) AS x;
	WHEN 'labelled_samples' THEN
		SELECT coalesce(sum(c.n), 0), coalesce(sum(c.n), 0)
		  INTO value, samples FROM agentpay._labelled_answers c
		 WHERE c.agent = who AND c.agent_version = v
		   AND c.answer IS NOT NULL AND c.label IS NOT NULL;
	WHEN 'coverage', 'agreement' THEN
		SELECT x.value, x.samples INTO value, samples
		  FROM agentpay._agreement(who, v, what, confidence) AS x;
	WHEN 'cost_per_decision' THEN
		SELECT round(c.cost / nullif(d.n, 0), 9), d.n INTO value, samples
		  FROM (SELECT coalesce(sum(x.cost), 0) AS cost
				  FROM agentpay._charged_calls x
				 WHERE x.agent = who AND x.agent_version = v) AS c,
			   (SELECT coalesce(sum(x.n), 0)::bigint AS n
				  FROM (SELECT a.said, count(*) AS n FROM agentpay._asked a
						 WHERE a.agent = who AND a.agent_version = v
						   AND a.first_of_version AND a.occurred_at IS NOT NULL
						 GROUP BY 1) AS x
				 CROSS JOIN LATERAL agentpay._said(x.said) AS s
				 WHERE s.valid_answer IS NOT NULL) AS d;
	WHEN 'cost_variation' THEN
		SELECT x.value, x.samples INTO value, samples
		  FROM agentpay._cost_variation(who, v) AS x;
	WHEN 'p95_latency_ms' THEN
		SELECT round(percentile_cont(0.95) WITHIN GROUP (
				ORDER BY c.latency_ms)::numeric, 3), count(c.latency_ms)
		  INTO value, samples FROM agentpay.agent_calls c
		 WHERE c.agent = who AND c.agent_version = v;
	WHEN 'inference_variance' THEN
		SELECT i.flip_rate, i.rows INTO value, samples
		  FROM agentpay.inference_variance i
		 WHERE i.agent = who AND i.agent_version = v AND i.load_band = 'all';
	WHEN 'calibration_error' THEN
		SELECT x.value, x.samples INTO value, samples
		  FROM agentpay._calibration_error(who, v) AS x;
	ELSE -- compliance
		SELECT x.value, x.samples INTO value, samples
		  FROM agentpay.agents a, agentpay._compliance_share(a.point) AS x
		 WHERE a.name = who;
	END CASE;
END$$;
REVOKE ALL ON FUNCTION agentpay._gate_evidence(text, int, text, numeric)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._gate_evidence(text, int, text, numeric) IS 'what a gate measures of a version of an agent, and on how many samples; NULL: it cannot be told';
