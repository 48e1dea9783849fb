-- 59_ends.sql
--		How tasks end: the one decision of each, and what follows from it.
--
-- The caller has made sure that the tasks are its to end, and holds the kill
-- lock shared, from an earlier statement, if there are answers among the ends.

-- The decision of each end: the agent's verdict, or, with a failure, the rules
-- verdict that stands.
CREATE FUNCTION agentpay._endings(ends agentpay._task_end[])
	RETURNS agentpay.decisions[]
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(ROW(e.decision_id, agentpay._now(), t.point, t.row_id,
			r.occurred_at, r.amount, r.currency, r.base_amount,
			CASE WHEN e.failure IS NULL THEN 'agent' ELSE 'fallback' END,
			CASE WHEN agentpay._is_live(t, a, r) THEN 'live' ELSE 'shadow' END,
			CASE WHEN e.failure IS NULL THEN e.verdict ELSE r.verdict END,
			e.answer, r.assignment, t.repeat_no, r.propensity,
			CASE WHEN e.failure IS NULL THEN e.score ELSE r.score END,
			CASE WHEN e.failure IS NULL THEN coalesce(e.reasons, '{}')
				 ELSE r.reasons END,
			CASE WHEN e.failure IS NOT NULL THEN r.ruleset_version END,
			t.agent, t.agent_version, e.confidence, e.failure, NULL,
			coalesce(e.cost, 0), e.latency_ms, NULL,
			jsonb_strip_nulls(jsonb_build_object('task_id', t.task_id,
					'escalated_from', t.escalated_from))
				|| coalesce(e.detail, '{}'), NULL, NULL,
			NULL)::agentpay.decisions)
	  FROM unnest(ends) AS e
	  JOIN agentpay._tasks t
		ON t.task_id = e.task_id AND t.created_at = e.created_at
	  JOIN agentpay.decisions r
		ON r.decision_id = t.decision_id AND r.decided_at = t.created_at
	  LEFT JOIN agentpay.agents a ON a.name = t.agent
$$;
REVOKE ALL ON FUNCTION agentpay._endings(agentpay._task_end[]) FROM PUBLIC;

-- Rows are gathered before they are appended: one cannot make a partition of
-- what is being read.
CREATE FUNCTION agentpay._end_tasks(ends agentpay._task_end[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rows agentpay.decisions[];
BEGIN
	IF ends IS NULL THEN
		RETURN;
	END IF;
	rows := agentpay._endings(ends);
	PERFORM agentpay._append(d) FROM unnest(rows) AS d;
	PERFORM agentpay._ask_next_tier(rows);
	PERFORM agentpay._open_cases(rows);
END$$;
REVOKE ALL ON FUNCTION agentpay._end_tasks(agentpay._task_end[]) FROM PUBLIC;
