-- 54_authority.sql
--		What an agent may decide: whether an answer counts, and whether it may
--		take effect.
--
-- r is the rules decision of the row; a is NULL when the agent is gone.

-- Why an answer does not count, as decisions.failure says it; NULL: it counts.
CREATE FUNCTION agentpay._judge(t agentpay._tasks, a agentpay.agents,
	r agentpay.decisions, verdict text, confidence real) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN confidence < coalesce(a.min_confidence, 0)
				THEN 'low_confidence'
				-- a function in here is planned anew for each answer
				WHEN CASE (SELECT p.role FROM agentpay.decision_points p
							WHERE p.point = t.point)
					 WHEN 'routing'
					 THEN agentpay._is_disabled_route('routing', verdict) END
				THEN 'over_authority' END
$$;
REVOKE ALL ON FUNCTION agentpay._judge(agentpay._tasks, agentpay.agents,
	agentpay.decisions, text, real) FROM PUBLIC;

-- Whether the agent's verdict may take effect on the row.  No stage beyond
-- shadow can be set in this version.
CREATE FUNCTION agentpay._is_live(t agentpay._tasks, a agentpay.agents,
	r agentpay.decisions) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(a.stage NOT IN ('off', 'shadow') AND t.repeat_no = 0, false)
$$;
REVOKE ALL ON FUNCTION agentpay._is_live(agentpay._tasks, agentpay.agents,
	agentpay.decisions) FROM PUBLIC;
