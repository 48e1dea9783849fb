-- 84_responsibility.sql
--		Who decides what, and up to which amount.

-- What happens with an answer that the agent may not give.
CREATE FUNCTION agentpay._otherwise(a agentpay.agents) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN a.stage = 'off' OR NOT a.enabled THEN 'it is not asked'
				WHEN a.position = 'review' THEN 'it only advises the case'
				ELSE 'the rules stand'
					|| coalesce('; ' || a.escalate_to || ' is asked', '')
					|| CASE a.stage WHEN 'shadow' THEN '' ELSE '; a case'
						|| CASE WHEN a.escalate_to IS NULL THEN ' is opened'
						   ELSE ', if that does not help' END END END
$$;
REVOKE ALL ON FUNCTION agentpay._otherwise(agentpay.agents) FROM PUBLIC;

CREATE VIEW agentpay.responsibility_matrix AS
	SELECT p.role, p.point, NULL::text AS agent, v.verdict,
		   NULL::numeric AS max_amount, NULL::text AS currency,
		   NULL::boolean AS may_relax,
		   CASE WHEN agentpay._needs_person(v) THEN 'a person decides the case'
				ELSE 'it stands' END AS otherwise
	  FROM agentpay.decision_points p
	  JOIN agentpay.verdicts v ON v.point = p.point
	 WHERE p.enabled
	UNION ALL
	SELECT p.role, p.point, a.name, u.verdict, u.max_amount, u.currency,
		   u.may_relax, agentpay._otherwise(a)
	  FROM agentpay.agents a
	  JOIN agentpay.decision_points p ON p.point = a.point AND p.enabled
	 CROSS JOIN LATERAL (
		SELECT x.verdict, x.max_amount, x.currency, x.may_relax
		  FROM agentpay.authorities x WHERE x.agent = a.name
		UNION ALL
		-- without rows: what tightens something, or, without an order, nothing
		SELECT v.verdict, NULL, NULL, false
		  FROM agentpay.verdicts v
		 WHERE v.point = a.point
		   AND v.rank > (SELECT min(w.rank) FROM agentpay.verdicts w
						  WHERE w.point = a.point)
		   AND NOT EXISTS (SELECT FROM agentpay.authorities x
							WHERE x.agent = a.name)
		UNION ALL
		SELECT NULL, NULL, NULL, NULL
		 WHERE NOT EXISTS (SELECT FROM agentpay.authorities x
							WHERE x.agent = a.name)
		   AND NOT EXISTS (SELECT FROM agentpay.verdicts v
							WHERE v.point = a.point AND v.rank IS NOT NULL))
		AS u;
REVOKE ALL ON agentpay.responsibility_matrix FROM PUBLIC;
COMMENT ON VIEW agentpay.responsibility_matrix IS 'who decides what: the rules (agent NULL), and the verdicts that each agent may give';
COMMENT ON COLUMN agentpay.responsibility_matrix.verdict IS 'NULL: the agent may decide nothing yet, since its point''s verdicts have no order and it has no authorities';
COMMENT ON COLUMN agentpay.responsibility_matrix.max_amount IS 'in currency; NULL: no limit';
COMMENT ON COLUMN agentpay.responsibility_matrix.may_relax IS 'whether it may be given where it loosens the rules'' verdict';
COMMENT ON COLUMN agentpay.responsibility_matrix.otherwise IS 'what becomes of any other answer; of the rules'' own verdict, what follows it';
