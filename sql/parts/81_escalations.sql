-- 81_escalations.sql
--		How long cases wait for a person, and until they are resolved.
--
-- What is still open counts as having waited at least until now: Kaplan and
-- Meier's estimator (src/control/survival.h).  A quantile is NULL when more than
-- its rest is left at the end.

CREATE FUNCTION agentpay._add_wait(state internal, waited double precision,
	ended boolean) RETURNS internal
	LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_add_wait';
REVOKE ALL ON FUNCTION agentpay._add_wait(internal, double precision, boolean)
	FROM PUBLIC;
CREATE FUNCTION agentpay._survival_of(state internal)
	RETURNS double precision[]
	LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_survival';
REVOKE ALL ON FUNCTION agentpay._survival_of(internal) FROM PUBLIC;
CREATE AGGREGATE agentpay._survival(waited double precision, ended boolean) (
	SFUNC = agentpay._add_wait, STYPE = internal, SSPACE = 16384,
	FINALFUNC = agentpay._survival_of, FINALFUNC_MODIFY = READ_WRITE,
	PARALLEL = SAFE);
REVOKE ALL ON FUNCTION agentpay._survival(double precision, boolean)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._survival(double precision, boolean) IS '{median, mean, p95} of what lasted that long, or lasts still (Kaplan-Meier)';

-- How long each case waits, or waited.
CREATE VIEW agentpay._case_times AS
SELECT (c.opened_at AT TIME ZONE p.time_zone)::date AS day, c.point, c.agent,
	   c.cause,
	   extract(epoch FROM coalesce(c.first_action_at, w.moment)
			- c.opened_at)::double precision AS to_human,
	   c.first_action_at IS NOT NULL AS taken,
	   extract(epoch FROM coalesce(c.closed_at, w.moment)
			- c.opened_at)::double precision AS to_resolution,
	   c.closed_at IS NOT NULL AS closed,
	   c.state <> 'closed' AND c.due_at < w.moment AS overdue
  FROM agentpay.cases c
  JOIN agentpay.decision_points p ON p.point = c.point
 CROSS JOIN (SELECT agentpay._now() AS moment) AS w;
REVOKE ALL ON agentpay._case_times FROM PUBLIC;

CREATE VIEW agentpay.escalations AS
SELECT f.day, f.point, f.agent, f.cause, f.opened, f.closed,
	   f.opened - f.closed AS open, f.overdue,
	   make_interval(secs => f.human[1]) AS to_human_median,
	   make_interval(secs => f.human[2]) AS to_human_mean,
	   make_interval(secs => f.human[3]) AS to_human_p95,
	   make_interval(secs => f.resolution[2]) AS to_resolution_mean,
	   make_interval(secs => f.resolution[3]) AS to_resolution_p95
  FROM (SELECT t.day, t.point, t.agent, t.cause, count(*) AS opened,
			   count(*) FILTER (WHERE t.closed) AS closed,
			   count(*) FILTER (WHERE t.overdue) AS overdue,
			   agentpay._survival(t.to_human, t.taken) AS human,
			   agentpay._survival(t.to_resolution, t.closed) AS resolution
		  FROM agentpay._case_times t
		 GROUP BY 1, 2, 3, 4) AS f;
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
