-- 81_escalations.sql
--		How long cases wait for a person, and until they are resolved.
--
-- What is still open counts as having waited at least until now: Kaplan and
-- Meier's estimator (Nonparametric estimation from incomplete observations,
-- JASA 53 (1958) 457–481).  A step of it is (1 − d/n): of the n cases that had
-- waited that long, d were taken then.  A quantile is the first time at which
-- no more than its rest is left, NULL when more is left at the end.  The mean
-- is the area below the curve, up to the longest time that was observed.

-- One row for each case and measure: how long, and whether it has ended.
CREATE VIEW agentpay._case_times AS
SELECT (c.opened_at AT TIME ZONE p.time_zone)::date AS day, c.point, c.agent,
	   c.cause, m.measure, extract(epoch FROM coalesce(m.ended_at, w.moment)
			- c.opened_at)::double precision AS waited,
	   m.ended_at IS NOT NULL AS ended,
	   c.state <> 'closed' AND c.due_at < w.moment AS overdue
  FROM agentpay.cases c
  JOIN agentpay.decision_points p ON p.point = c.point
 CROSS JOIN (SELECT agentpay._now() AS moment) AS w
 CROSS JOIN LATERAL (VALUES ('human', c.first_action_at),
			('resolution', c.closed_at)) AS m (measure, ended_at);
REVOKE ALL ON agentpay._case_times FROM PUBLIC;

CREATE VIEW agentpay.escalations AS
WITH steps AS (
	SELECT t.day, t.point, t.agent, t.cause, t.measure, t.waited,
		   count(*) AS here, count(*) FILTER (WHERE t.ended) AS ended,
		   count(*) FILTER (WHERE t.overdue) AS overdue
	  FROM agentpay._case_times t
	 GROUP BY 1, 2, 3, 4, 5, 6),
risks AS (
	SELECT s.*, sum(s.here) OVER (
			PARTITION BY s.day, s.point, s.agent, s.cause, s.measure
			ORDER BY s.waited DESC) AS at_risk
	  FROM steps s),
curve AS (
	SELECT r.*,
		   CASE WHEN bool_or(r.ended = r.at_risk) OVER upto THEN 0
				ELSE exp(sum(CASE WHEN r.ended < r.at_risk
					 THEN ln(1 - r.ended::double precision / r.at_risk::double precision)
					 ELSE 0 END) OVER upto) END AS rest
	  FROM risks r
	WINDOW upto AS (
		PARTITION BY r.day, r.point, r.agent, r.cause, r.measure
		ORDER BY r.waited)),
areas AS (
	SELECT c.*, coalesce(lag(c.rest) OVER before, 1)
				* (c.waited - coalesce(lag(c.waited) OVER before, 0)) AS area
	  FROM curve c
	WINDOW before AS (
		PARTITION BY c.day, c.point, c.agent, c.cause, c.measure
		ORDER BY c.waited))
SELECT a.day, a.point, a.agent, a.cause,
	   sum(a.here) FILTER (WHERE a.measure = 'resolution')::bigint AS opened,
	   sum(a.ended) FILTER (WHERE a.measure = 'resolution')::bigint AS closed,
	   sum(a.here - a.ended) FILTER (WHERE a.measure = 'resolution')::bigint
		   AS open,
	   sum(a.overdue) FILTER (WHERE a.measure = 'resolution')::bigint
		   AS overdue,
	   make_interval(secs => min(a.waited) FILTER (
			WHERE a.measure = 'human' AND a.rest <= 0.5 + 1e-9))
		   AS to_human_median,
	   make_interval(secs => sum(a.area) FILTER (WHERE a.measure = 'human'))
		   AS to_human_mean,
	   make_interval(secs => min(a.waited) FILTER (
			WHERE a.measure = 'human' AND a.rest <= 0.05 + 1e-9))
		   AS to_human_p95,
	   make_interval(secs => sum(a.area) FILTER (
			WHERE a.measure = 'resolution')) AS to_resolution_mean,
	   make_interval(secs => min(a.waited) FILTER (
			WHERE a.measure = 'resolution' AND a.rest <= 0.05 + 1e-9))
		   AS to_resolution_p95
  FROM areas a
 GROUP BY 1, 2, 3, 4;
REVOKE ALL ON agentpay.escalations FROM PUBLIC;
COMMENT ON VIEW agentpay.escalations IS 'how long cases waited for a person and for their resolution, by the day on which they were opened; open cases count as having waited until now (Kaplan-Meier)';
COMMENT ON COLUMN agentpay.escalations.day IS 'of opened_at, in the point''s time zone';
COMMENT ON COLUMN agentpay.escalations.agent IS 'whose answer opened them; NULL: the rules, the audit sample, people';
COMMENT ON COLUMN agentpay.escalations.overdue IS 'of the open ones, those whose due_at has passed';
COMMENT ON COLUMN agentpay.escalations.to_human_median IS 'from opening to a person''s first action, the assignment aside; NULL: not half of them have been taken';
COMMENT ON COLUMN agentpay.escalations.to_human_mean IS 'restricted mean: up to the longest time that was observed';
COMMENT ON COLUMN agentpay.escalations.to_human_p95 IS 'NULL: more than a twentieth waits';
COMMENT ON COLUMN agentpay.escalations.to_resolution_mean IS 'restricted mean: up to the longest time that was observed';
COMMENT ON COLUMN agentpay.escalations.to_resolution_p95 IS 'NULL: more than a twentieth is open';
