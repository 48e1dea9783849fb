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
-- how much it weighs, is asked once for all rows of which the same was said.
CREATE VIEW agentpay._calibration_cells AS
WITH groups AS MATERIALIZED (
	SELECT dense_rank() OVER (ORDER BY c.agent, c.agent_version, c.measure)
			   AS which, c.measure, c.said, c.mature, c.agent, c.agent_version,
		   c.weight::double precision AS weight, c.unobservable, t.y
	  FROM agentpay._labelled_groups c
	  LEFT JOIN agentpay.verdicts said
		ON said.point = c.point AND said.verdict = c.answer
	  LEFT JOIN agentpay.verdicts meant
		ON meant.point = c.point AND meant.verdict = c.label
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN c.measure = 'score' AND c.role = 'fraud'
					THEN c.label = 'fraud'
					WHEN c.measure = 'score' THEN meant.positive
					WHEN c.role = 'fraud'
					THEN said.positive = (c.label = 'fraud')
					ELSE c.answer = c.label END AS y) AS t
	 WHERE c.measure <> 'verdict' AND c.answer IS NOT NULL)
SELECT w.agent, w.agent_version, w.measure,
	   ((b.cell & 4294967295) - 2147483648)::int AS bucket, b.n, b.positives, b.w,
	   b.wy, b.wp, b.wd2, b.unobservable
  FROM (SELECT x.cell,
			   (count(*) FILTER (WHERE x.y IS NOT NULL))::numeric AS n,
			   (count(*) FILTER (WHERE x.y))::numeric AS positives,
			   sum(x.weight) FILTER (WHERE x.y IS NOT NULL) AS w,
			   sum(x.weight) FILTER (WHERE x.y) AS wy,
			   sum(x.p * x.weight) FILTER (WHERE x.y IS NOT NULL) AS wp,
			   sum(x.weight * (x.p - x.y::int) * (x.p - x.y::int)) AS wd2,
			   count(*) FILTER (WHERE x.unobservable) AS unobservable
		  -- the planner hashes what has one column
		  FROM (SELECT g.y, g.weight, g.unobservable, a.p,
					   (g.which << 32) + floor(a.p * 1000)::int + 2147483648
						   AS cell
				  FROM (SELECT m.measure, a.said, m.p, a.occurred_at
								   <= (SELECT agentpay._now())
									  - p.label_maturity AS mature
						  FROM agentpay._asked a
						  JOIN agentpay.decision_points p ON p.point = a.point
						 CROSS JOIN LATERAL (VALUES
								('confidence', a.confidence::double precision),
								('score', a.score::double precision))
							AS m (measure, p)
						 WHERE a.first_of_version AND m.p IS NOT NULL
						OFFSET 0) AS a
				  JOIN groups g ON g.said = a.said AND g.measure = a.measure
				   AND g.mature = a.mature OFFSET 0) AS x
		 GROUP BY x.cell) AS b
  JOIN (SELECT DISTINCT g.which, g.agent, g.agent_version, g.measure
		  FROM groups g) AS w
	ON w.which = b.cell >> 32;
REVOKE ALL ON agentpay._calibration_cells FROM PUBLIC;

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
						  AND u.measure = m.measure AND u.unobservable > 0)
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
