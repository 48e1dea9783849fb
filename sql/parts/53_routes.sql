-- 53_routes.sql
--		Which verdicts agents are offered: of role routing, only routes that
--		are not disabled.
--
-- A route is disabled by an entry of the list disabled_routes, for as long as
-- that counts: rules read it by in_list(), and no agent's choice of it takes
-- effect, however it came to make it.

CREATE FUNCTION agentpay._is_disabled_route(role text, verdict text)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT role = 'routing' AND EXISTS (
		SELECT FROM agentpay.list_entries e
		 WHERE e.list = 'disabled_routes' AND e.value = verdict
		   AND (e.expires_at IS NULL OR e.expires_at > agentpay._now())));
END$$;
REVOKE ALL ON FUNCTION agentpay._is_disabled_route(text, text) FROM PUBLIC;

-- The verdicts that a request names, in their order, and what it says of them.
-- Where nothing would be left, all: the answer is judged anyway.
CREATE FUNCTION agentpay._offered_verdicts(p agentpay.decision_points,
	OUT verdicts text[], OUT notes text[])
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	SELECT array_agg(o.verdict ORDER BY o.rank, o.verdict),
		   array_agg(concat_ws('; ', o.description,
						CASE WHEN o.is_default THEN 'the default' END)
					 ORDER BY o.rank, o.verdict)
	  INTO verdicts, notes
	  FROM (SELECT v.*, u.open, bool_or(u.open) OVER () AS any_open
			  FROM agentpay.verdicts v
			 CROSS JOIN LATERAL (
				SELECT NOT agentpay._is_disabled_route(p.role, v.verdict)
					AS open) AS u
			 WHERE v.point = p.point) AS o
	 WHERE o.open OR NOT o.any_open;
END$$;
REVOKE ALL ON FUNCTION agentpay._offered_verdicts(agentpay.decision_points)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._offered_verdicts(agentpay.decision_points) IS 'what agents may choose from, as the request says it';
