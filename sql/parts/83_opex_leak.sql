-- 83_opex_leak.sql
--		What was charged without a use, by cause.
--
-- Each call has the first cause that fits, so that causes add up to what was
-- charged.  Our own definition; no standard has one.

-- Whether some answer that the agent may give would change the rules verdict;
-- amounts aside.
CREATE FUNCTION agentpay._can_change(agent_name text, rules_verdict text)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM agentpay.agents a
		  JOIN agentpay.verdicts r
			ON r.point = a.point AND r.verdict = rules_verdict
		  JOIN agentpay.verdicts v
			ON v.point = a.point AND v.verdict <> r.verdict
		  LEFT JOIN agentpay.authorities u
			ON u.agent = a.name AND u.verdict = v.verdict
		 WHERE a.name = agent_name
		   AND CASE WHEN EXISTS (SELECT FROM agentpay.authorities x
								  WHERE x.agent = a.name)
					THEN u.agent IS NOT NULL
						 AND (v.rank IS NULL OR v.rank > r.rank OR u.may_relax)
					ELSE v.rank > r.rank END)
$$;
REVOKE ALL ON FUNCTION agentpay._can_change(text, text) FROM PUBLIC;

-- As _hourly_costs(): calls and what they were charged, by day (UTC) and cause.
CREATE FUNCTION agentpay._cause_costs()
	RETURNS TABLE (day date, agent text, cost_center text, cause text,
				   calls bigint, cost numeric)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_sort = off SET jit = off SET work_mem = '64MB'
AS $$
DECLARE
	outdated constant bigint[] := ARRAY(SELECT agentpay._outdated_rows(true));
	-- rows whose verdict nothing could have changed
	agents text[];
	verdicts text[];
	source text;
BEGIN
	SELECT array_agg(a.name), array_agg(v.verdict) INTO agents, verdicts
	  FROM agentpay.agents a
	  JOIN agentpay.verdicts v ON v.point = a.point
	 WHERE NOT agentpay._can_change(a.name, v.verdict);
	FOR source IN SELECT agentpay._kept_and_new(true) LOOP
		RETURN QUERY EXECUTE format($q$
			SELECT (c.called_at AT TIME ZONE 'UTC')::date, c.agent,
				   c.cost_center,
				   CASE WHEN c.status = 'uncertain' AND NOT c.reconciled
						THEN 'uncertain'
						WHEN c.status NOT IN ('ok', 'killed') THEN 'failed'
						WHEN c.status = 'killed' OR c.failure = 'killed'
						THEN 'killed'
						WHEN c.late THEN 'late'
						WHEN c.repeat_no > 0 THEN 'evaluation'
						WHEN c.duplicate THEN 'duplicate'
						WHEN c.failure IN ('over_authority', 'low_confidence')
						THEN c.failure
						WHEN c.failure IS NOT NULL THEN 'failed'
						WHEN c.cost_center = 'unattributed'
						THEN 'unattributed'
						WHEN c.authority = 'live' THEN CASE
							WHEN n.rules IS NULL THEN 'live'
							ELSE 'no_effect' END
						ELSE 'evidence' END, count(*), sum(c.cost)
			  FROM %s AS c
			  LEFT JOIN unnest($2, $3) AS n (agent, rules)
				ON n.agent = c.agent AND n.rules = c.rules_verdict
			 GROUP BY 1, 2, 3, 4$q$, source)
		USING outdated, agents, verdicts;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._cause_costs() FROM PUBLIC;

CREATE VIEW agentpay.opex_leak AS
SELECT s.day, s.agent, s.cost_center, s.cause, s.calls, s.cost,
	   agentpay._rate(s.cost, sum(s.cost) OVER w) AS share,
	   agentpay._rate(coalesce(sum(s.cost) FILTER (WHERE s.cause NOT IN
			('evidence', 'evaluation', 'live')) OVER w, 0),
			sum(s.cost) OVER w) AS opex_loss_index
  FROM (SELECT c.day, c.agent, c.cost_center, c.cause,
			   sum(c.calls)::bigint AS calls, sum(c.cost) AS cost
		  FROM agentpay._cause_costs() AS c GROUP BY 1, 2, 3, 4) AS s
WINDOW w AS (PARTITION BY s.day, s.agent, s.cost_center);
REVOKE ALL ON agentpay.opex_leak FROM PUBLIC;
COMMENT ON VIEW agentpay.opex_leak IS 'what agents charged, by what came of it: causes of leak, and evidence, evaluation, live, which are none. Our own definition';
COMMENT ON COLUMN agentpay.opex_leak.day IS 'on which the call started, UTC';
COMMENT ON COLUMN agentpay.opex_leak.cause IS 'the first that fits: uncertain, failed, killed, late, duplicate, over_authority, low_confidence, unattributed, no_effect; evaluation: asked again; evidence: shadow; live: could have changed the verdict';
COMMENT ON COLUMN agentpay.opex_leak.share IS 'of what this agent charged to this cost center on this day';
COMMENT ON COLUMN agentpay.opex_leak.opex_loss_index IS 'leak / charged of this agent, cost center and day; NULL where nothing was charged';
