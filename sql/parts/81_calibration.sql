-- 81_calibration.sql
--		Whether the agents are as sure as they should be.
--
-- measure confidence: the agent's own, against "its verdict was right"; score:
-- the probability that it gave, against what turned out.  Sums are over cells
-- of a thousandth, so that Brier is exact and bins end at a thousandth.
--
-- G. W. Brier, Verification of forecasts expressed in terms of probability,
-- Monthly Weather Review 78 (1950) 1-3; C. Guo et al., On calibration of modern
-- neural networks, ICML 2017 (expected calibration error, here over bins of
-- equal mass).

-- Bins from the left, each joined with the next until it has enough; what is
-- left over at the end belongs to the last one.  The bin of each, from 1.
CREATE FUNCTION agentpay._merge_bins(positives numeric[], enough numeric)
	RETURNS int[]
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	bins int[] := '{}';
	bin int := 1;
	have numeric := 0;
BEGIN
	FOR i IN 1 .. coalesce(cardinality(positives), 0) LOOP
		bins := bins || bin;
		have := have + positives[i];
		IF have >= enough THEN
			bin := bin + 1;
			have := 0;
		END IF;
	END LOOP;
	IF bin > 1 AND have < enough THEN
		bins := ARRAY(SELECT least(b, bin - 1) FROM unnest(bins)
						WITH ORDINALITY AS u (b, i) ORDER BY u.i);
	END IF;
	RETURN bins;
END$$;
REVOKE ALL ON FUNCTION agentpay._merge_bins(numeric[], numeric) FROM PUBLIC;

-- Whether what was said came true, by thousandth of p.  What came true, and
-- how much it weighs, is asked once for all rows of which the same was said,
-- and for these only how many they are and their p.
CREATE TYPE agentpay._calibration_group AS (said text, mature boolean,
	measure text, agent text, agent_version int, class int, y boolean,
	weight double precision, unobservable boolean, due timestamptz);
COMMENT ON TYPE agentpay._calibration_group IS 'class: those of one measure of an agent version that came true or not, with the same weight; NULL: it is not known whether.  due: until when a payment is mature';

CREATE FUNCTION agentpay._calibration_groups(moment timestamptz)
	RETURNS SETOF agentpay._calibration_group
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
SELECT g.said, g.mature, g.measure, g.agent, g.agent_version,
	   CASE WHEN t.y IS NOT NULL
			THEN dense_rank() OVER (ORDER BY g.agent, g.agent_version,
									g.measure, t.y, g.weight)::int END AS class,
	   t.y, g.weight::double precision AS weight, g.unobservable,
	   moment - p.label_maturity AS due
  FROM agentpay._label_groups(ARRAY(
		SELECT c FROM agentpay._asked_cells(NULL, moment) AS c)) AS g
  JOIN agentpay.decision_points p ON p.point = g.point
  LEFT JOIN agentpay.verdicts said
	ON said.point = g.point AND said.verdict = g.answer
  LEFT JOIN agentpay.verdicts meant
	ON meant.point = g.point AND meant.verdict = g.label
 CROSS JOIN LATERAL (
	SELECT CASE WHEN g.measure = 'score' AND g.role = 'fraud'
				THEN g.label = 'fraud'
				WHEN g.measure = 'score' THEN meant.positive
				WHEN g.role = 'fraud'
				THEN said.positive = (g.label = 'fraud')
				ELSE g.answer = g.label END AS y) AS t
 WHERE g.measure <> 'verdict' AND g.answer IS NOT NULL
$$;
REVOKE ALL ON FUNCTION agentpay._calibration_groups(timestamptz) FROM PUBLIC;

-- As _asked_cells(): of each class and thousandth of p how many, the mean of p
-- and its variance, which one state keeps, so that p is cast once for both.
CREATE FUNCTION agentpay._calibration_sums(
	groups agentpay._calibration_group[])
	RETURNS TABLE (class int, bucket int, n bigint, mean double precision,
				   variance double precision)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_sort = off SET jit = off SET work_mem = '64MB'
AS $$
DECLARE
	outdated constant bigint[] := ARRAY(SELECT agentpay._outdated_rows(false));
	measures constant text[] := ARRAY['confidence', 'score'];
	measure text;
	source text;
BEGIN
	FOR measure, source IN SELECT m, s FROM unnest(measures) AS m,
								  agentpay._kept_and_new(false) AS s LOOP
		RETURN QUERY EXECUTE format($q$
			SELECT g.class, floor(a.%1$I::double precision * 1000)::int,
				   count(*), avg(a.%1$I::double precision),
				   var_pop(a.%1$I::double precision)
			  FROM %2$s AS a
			  JOIN unnest($2) AS g ON g.said = a.said
			   AND g.mature = (a.occurred_at <= g.due)
			 WHERE a.first_of_version AND a.%1$I IS NOT NULL
			   AND g.measure = %1$L AND g.class IS NOT NULL
			 GROUP BY 1, 2$q$, measure, source)
		USING outdated, groups;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._calibration_sums(
	agentpay._calibration_group[]) FROM PUBLIC;

CREATE VIEW agentpay._calibration_cells AS
WITH groups AS MATERIALIZED (
	SELECT * FROM agentpay._calibration_groups(agentpay._now())),
sums AS MATERIALIZED (
	SELECT s.* FROM agentpay._calibration_sums(ARRAY(
		SELECT ROW(g.*)::agentpay._calibration_group FROM groups g)) AS s)
SELECT g.agent, g.agent_version, g.measure, s.bucket, sum(s.n) AS n,
	   coalesce(sum(s.n) FILTER (WHERE g.y), 0) AS positives,
	   sum(s.n * g.weight) AS w, sum(s.n * g.weight) FILTER (WHERE g.y) AS wy,
	   sum(s.n * s.mean * g.weight) AS wp,
	   -- Σ(p - y)² is n times the variance and (mean - y)²
	   sum(s.n * g.weight * (s.variance + (s.mean - g.y::int)
										  * (s.mean - g.y::int))) AS wd2,
	   b.blind
  FROM (SELECT DISTINCT k.class, k.agent, k.agent_version, k.measure, k.y,
			   k.weight FROM groups k) AS g
  JOIN sums s ON s.class = g.class
  JOIN (SELECT k.agent, k.agent_version, k.measure,
			   coalesce(bool_or(k.unobservable), false) AS blind
		  FROM groups k GROUP BY 1, 2, 3) AS b
	ON b.agent = g.agent AND b.agent_version = g.agent_version
   AND b.measure = g.measure
 GROUP BY g.agent, g.agent_version, g.measure, s.bucket, b.blind;
REVOKE ALL ON agentpay._calibration_cells FROM PUBLIC;
COMMENT ON VIEW agentpay._calibration_cells IS 'blind: of some answers of the agent version nobody can know whether they were right';

CREATE VIEW agentpay.calibration AS
WITH cells AS MATERIALIZED (SELECT * FROM agentpay._calibration_cells),
placed AS (
	SELECT c.*, 1 + least(9, floor(10 * (c.below + c.n / 2) / c.total))::int
			   AS tenth
	  FROM (SELECT k.*, sum(k.n) OVER w - k.n AS below,
				   sum(k.n) OVER (PARTITION BY k.agent, k.agent_version,
								  k.measure) AS total
			  FROM cells k WHERE k.n > 0
			WINDOW w AS (PARTITION BY k.agent, k.agent_version, k.measure
						 ORDER BY k.bucket)) AS c),
tenths AS (
	SELECT p.agent, p.agent_version, p.measure, p.tenth,
		   min(p.bucket) AS lowest, max(p.bucket) AS highest, sum(p.n) AS n,
		   coalesce(sum(p.positives), 0) AS positives, sum(p.w) AS w,
		   coalesce(sum(p.wy), 0) AS wy, sum(p.wp) AS wp, sum(p.wd2) AS wd2
	  FROM placed p GROUP BY 1, 2, 3, 4),
merged AS (
	SELECT t.agent, t.agent_version, t.measure, m.bin,
		   min(t.lowest[m.i]) AS lowest, max(t.highest[m.i]) AS highest,
		   sum(t.n[m.i]) AS n, sum(t.w[m.i]) AS w, sum(t.wy[m.i]) AS wy,
		   sum(t.wp[m.i]) AS wp, sum(t.wd2[m.i]) AS wd2
	  FROM (SELECT a.agent, a.agent_version, a.measure,
				   array_agg(a.lowest ORDER BY a.tenth) AS lowest,
				   array_agg(a.highest ORDER BY a.tenth) AS highest,
				   array_agg(a.n ORDER BY a.tenth) AS n,
				   array_agg(a.w ORDER BY a.tenth) AS w,
				   array_agg(a.wy ORDER BY a.tenth) AS wy,
				   array_agg(a.wp ORDER BY a.tenth) AS wp,
				   array_agg(a.wd2 ORDER BY a.tenth) AS wd2,
				   agentpay._merge_bins(
					   array_agg(a.positives ORDER BY a.tenth), 5) AS bins
			  FROM tenths a GROUP BY 1, 2, 3) AS t
	 CROSS JOIN LATERAL unnest(t.bins) WITH ORDINALITY AS m (bin, i)
	 GROUP BY 1, 2, 3, 4),
whole AS (
	SELECT m.agent, m.agent_version, m.measure, sum(m.w) AS w,
		   sum(m.wy) AS wy, sum(m.wp) AS wp, sum(m.wd2) AS wd2,
		   sum(abs(m.wp - m.wy)) AS gap,
		   NOT EXISTS (SELECT FROM cells u
						WHERE u.agent = m.agent
						  AND u.agent_version = m.agent_version
						  AND u.measure = m.measure AND u.blind)
			   AS identifiable
	  FROM merged m GROUP BY 1, 2, 3)
SELECT m.agent, m.agent_version, m.measure, m.bin,
	   round(m.lowest / 1000.0, 3) AS bin_from,
	   round(least((m.highest + 1) / 1000.0, 1), 3) AS bin_to,
	   m.n::bigint AS labelled,
	   round((m.wp / m.w)::numeric, 6) AS mean_confidence,
	   CASE WHEN t.identifiable THEN round((m.wy / m.w)::numeric, 6) END
		   AS observed_rate,
	   CASE WHEN t.identifiable THEN round((t.wd2 / t.w)::numeric, 6) END
		   AS brier,
	   CASE WHEN t.identifiable AND t.wy > 0 AND t.wy < t.w THEN round((1
			- t.wd2 / t.w / (t.wy / t.w * (1 - t.wy / t.w)))::numeric, 6) END
		   AS skill,
	   CASE WHEN t.identifiable AND t.wp > 0
			THEN round((t.wy / t.wp)::numeric, 6) END AS observed_expected,
	   CASE WHEN t.identifiable THEN round((t.gap / t.w)::numeric, 6) END
		   AS ece
  FROM merged m
  JOIN whole t ON t.agent = m.agent AND t.agent_version = m.agent_version
   AND t.measure = m.measure;
REVOKE ALL ON agentpay.calibration FROM PUBLIC;
COMMENT ON VIEW agentpay.calibration IS 'whether agents are as sure as they are right, bin by bin; labels and weights as in agent_accuracy. The figures from brier on are of all bins together';
COMMENT ON COLUMN agentpay.calibration.measure IS 'confidence: the agent''s own, against "the verdict was right"; score: its probability, against the label (fraud role: fraud; others: a positive verdict)';
COMMENT ON COLUMN agentpay.calibration.bin IS 'ten of equal mass, joined until each has five positives';
COMMENT ON COLUMN agentpay.calibration.labelled IS 'answers whose label is known and counts';
COMMENT ON COLUMN agentpay.calibration.mean_confidence IS 'sum(w p) / sum(w): what was said';
COMMENT ON COLUMN agentpay.calibration.observed_rate IS 'sum(w y) / sum(w): what came true; NULL where not identifiable, as the others';
COMMENT ON COLUMN agentpay.calibration.brier IS 'sum(w (p - y)^2) / sum(w) (Brier 1950): 0 is perfect';
COMMENT ON COLUMN agentpay.calibration.skill IS '1 - brier / (mean of y * (1 - mean of y)): above 0 better than always saying the mean';
COMMENT ON COLUMN agentpay.calibration.observed_expected IS 'sum(w y) / sum(w p): below 1 too sure';
COMMENT ON COLUMN agentpay.calibration.ece IS 'expected calibration error over the bins (Guo 2017); flatters constants where positives are rare';
