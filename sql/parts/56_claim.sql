-- 56_claim.sql
--		From the queue to a worker: claim, and the agents inside the database.
--
-- Everything here runs in the dispatcher's short transactions; the caller
-- holds the kill lock shared, from an earlier statement.

-- ── builtin agents ──────────────────────────────────────────────────────────
-- The verdict for a probability: the tightest threshold that it reaches; by
-- default the tightest positive verdict from 0.5 on; else the default verdict.
CREATE FUNCTION agentpay._builtin_verdict(point text, p double precision,
	options jsonb) RETURNS agentpay.verdicts
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT v FROM agentpay.verdicts v
	 WHERE v.point = $1
	   AND (v.is_default
			OR CASE WHEN jsonb_typeof(options -> 'thresholds') = 'object'
			   THEN p >= (options -> 'thresholds' ->> v.verdict)::double precision
			   ELSE p >= 0.5 AND v.verdict = (
				SELECT x.verdict FROM agentpay.verdicts x
				 WHERE x.point = $1 AND x.positive
				 ORDER BY x.rank DESC NULLS LAST, x.verdict LIMIT 1) END)
	 ORDER BY v.is_default, v.rank DESC NULLS LAST,
		   (options -> 'thresholds' ->> v.verdict)::double precision DESC,
		   v.verdict
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._builtin_verdict(text, double precision, jsonb)
	FROM PUBLIC;

-- Ends the tasks of builtin agents, whose answer was computed with the row.
-- The caller holds the kill lock shared, from an earlier statement.
CREATE FUNCTION agentpay._decide_builtin(batch agentpay._tasks[])
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	killed text[] := agentpay._killed_agents();
	wanted agentpay._reservation[];
	ends agentpay._task_end[];
	calls agentpay.agent_calls[];
	refused jsonb;
BEGIN
	SELECT array_agg(ROW(t.task_id, 1, coalesce(a.price_per_call, 0), p.role,
			p.point, a.name, a.cost_center,
			p.table_name::oid || ':' || t.row_id, NULL)::agentpay._reservation)
	  INTO wanted
	  FROM unnest(batch) AS t JOIN agentpay.agents a ON a.name = t.agent
	  JOIN agentpay.decision_points p ON p.point = t.point
	 WHERE a.name <> ALL (killed);
	SELECT jsonb_object_agg(r.task_id, r.refused_by) INTO refused
	  FROM agentpay._reserve(wanted) AS r WHERE r.refused_by IS NOT NULL;

	SELECT array_agg(ROW(t.task_id, t.created_at, agentpay._uuid_v7(),
			f.failure, v.verdict, v.verdict, f.confidence,
			CASE WHEN f.called THEN x.p END, NULL,
			CASE WHEN f.called THEN a.price_per_call END, NULL,
			CASE WHEN f.failure = 'over_budget'
				 THEN jsonb_build_object('budget', refused ->> t.task_id::text)
				 WHEN f.failure = 'skipped'
				 THEN jsonb_build_object('error', format(
						'model(%s) has no value for this row', a.model)) END
			)::agentpay._task_end)
	  INTO ends
	  FROM unnest(batch) AS t
	  JOIN agentpay.agents a ON a.name = t.agent
	  LEFT JOIN agentpay.decisions r
		ON r.decision_id = t.decision_id AND r.decided_at = t.created_at
	 CROSS JOIN LATERAL (
		SELECT (r.inputs ->> format('model(%s)', a.model))::numeric AS p) AS x
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN t.agent = ANY (killed) THEN 'killed'
					WHEN refused ? t.task_id::text THEN 'over_budget'
					WHEN x.p IS NULL THEN 'skipped' END AS failure) AS y
	  LEFT JOIN LATERAL agentpay._builtin_verdict(t.point,
			x.p::double precision, a.options) AS v ON y.failure IS NULL
	 CROSS JOIN LATERAL (
		SELECT y.failure IS NULL AS called, s.confidence,
			   coalesce(y.failure, agentpay._judge(t, a, r, v.verdict,
					s.confidence)) AS failure
		  FROM (SELECT CASE WHEN v.positive THEN x.p
							WHEN v.verdict IS NOT NULL THEN 1 - x.p
							END::real AS confidence) AS s) AS f;

	SELECT array_agg(ROW(agentpay._uuid_v7(), agentpay._now(), t.task_id, 1,
			e.decision_id, t.point, t.row_id, t.agent, t.agent_version,
			a.cost_center, 'builtin', a.model, NULL, NULL, NULL, NULL, NULL,
			NULL, NULL, 'ok', NULL, coalesce(a.price_per_call, 0),
			coalesce(a.price_per_call, 0),
			1000 * extract(epoch FROM agentpay._now() - t.created_at), 1, NULL,
			NULL, NULL, NULL, NULL)::agentpay.agent_calls)
	  INTO calls
	  FROM unnest(ends) AS e JOIN unnest(batch) AS t ON t.task_id = e.task_id
	  JOIN agentpay.agents a ON a.name = t.agent
	 WHERE e.answer IS NOT NULL;
	PERFORM agentpay._append(c) FROM unnest(calls) AS c;
	PERFORM agentpay._end_tasks(ends);
	PERFORM agentpay._settle(array_agg(ROW(e.task_id, 1,
			CASE WHEN e.answer IS NULL THEN 'released' ELSE 'settled' END,
			coalesce(e.cost, 0))::agentpay._settlement))
	   FROM unnest(ends) AS e;
END$$;
REVOKE ALL ON FUNCTION agentpay._decide_builtin(agentpay._tasks[])
	FROM PUBLIC;

-- ── claim ───────────────────────────────────────────────────────────────────
-- Why an agent is not called any more, though the task was made; NULL: it is.
CREATE FUNCTION agentpay._why_skipped(t agentpay._tasks) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN t.decide_by <= agentpay._now() THEN 'decide_by passed'
				WHEN a.name IS NULL THEN 'the agent was removed'
				WHEN NOT a.enabled THEN 'the agent is not enabled'
				WHEN a.stage = 'off' THEN 'the agent is off'
				WHEN EXISTS (SELECT FROM agentpay.agent_versions v
					WHERE v.agent = t.agent AND v.version > t.agent_version)
					THEN 'the agent has a newer version'
				WHEN a.protocol <> 'builtin' AND NOT EXISTS (
					SELECT FROM agentpay.allowed_endpoints e
					 WHERE e.origin = substring(a.endpoint
												FROM '^[^/]*//[^/?#]*'))
					THEN 'the origin of its endpoint is not allowed any more' END
	  FROM (SELECT 1) AS one
	  LEFT JOIN agentpay.agents a ON a.name = t.agent AND a.point = t.point
$$;
REVOKE ALL ON FUNCTION agentpay._why_skipped(agentpay._tasks) FROM PUBLIC;

-- Takes over the next tasks: those of builtin agents end here, the others get
-- their row of work, in the same transaction in which the cursor moves.
-- seen: how many tasks the cursor moved over.
CREATE FUNCTION agentpay._claim(lease bigint, max_tasks int)
	RETURNS TABLE (seen int, task_id bigint, agent text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	batch agentpay._tasks[] := agentpay._next_tasks(max_tasks);
	builtin agentpay._tasks[];
	skipped agentpay._task_end[];
BEGIN
	IF cardinality(batch) = 0 THEN
		RETURN;
	END IF;
	SELECT array_agg(ROW(t.task_id, t.created_at, agentpay._uuid_v7(),
			'skipped', NULL, NULL, NULL, NULL, NULL, 0, NULL,
			jsonb_build_object('error', w.why))::agentpay._task_end)
	  INTO skipped
	  FROM unnest(batch) AS t, agentpay._why_skipped(t) AS w (why)
	 WHERE w.why IS NOT NULL;
	PERFORM agentpay._end_tasks(skipped);
	SELECT array_agg(t ORDER BY t.task_id) INTO builtin
	  FROM unnest(batch) AS t JOIN agentpay.agents a ON a.name = t.agent
	 WHERE a.protocol = 'builtin' AND t.task_id <> ALL (
		SELECT s.task_id FROM unnest(skipped) AS s);
	PERFORM agentpay._decide_builtin(builtin) WHERE builtin IS NOT NULL;
	RETURN QUERY
	WITH work AS (
		INSERT INTO agentpay._task_work (task_id, created_at, agent, state,
										 lease)
		SELECT t.task_id, t.created_at, t.agent, 'leased', _claim.lease
		  FROM unnest(batch) WITH ORDINALITY AS t
		 WHERE t.task_id <> ALL (SELECT s.task_id FROM unnest(skipped) AS s)
		   AND t.task_id <> ALL (SELECT b.task_id FROM unnest(builtin) AS b)
		 ORDER BY t.ordinality
		RETURNING task_id, agent)
	SELECT cardinality(batch), w.task_id, w.agent
	  FROM (SELECT 1) AS one LEFT JOIN work w ON true;
END$$;
REVOKE ALL ON FUNCTION agentpay._claim(bigint, int) FROM PUBLIC;

-- Tasks of an agent that wait in _task_work, beyond those in memory.
CREATE FUNCTION agentpay._waiting(lease bigint, agent text, beyond bigint,
	max_tasks int)
	RETURNS TABLE (task_id bigint, created_at timestamptz,
				   run_after timestamptz, place bigint, max_in_flight int)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT w.task_id, w.created_at, w.run_after, w.place,
		   (SELECT a.max_in_flight FROM agentpay.agents a
			 WHERE a.name = w.agent)
	  FROM agentpay._task_work w
	 WHERE w.agent = $2 AND w.place > beyond AND w.state = 'leased'
	   AND w.lease = $1
	 ORDER BY w.place LIMIT max_tasks
$$;
REVOKE ALL ON FUNCTION agentpay._waiting(bigint, text, bigint, int)
	FROM PUBLIC;
