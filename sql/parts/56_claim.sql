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
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
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
	 LIMIT 1);
END$$;
REVOKE ALL ON FUNCTION agentpay._builtin_verdict(text, double precision, jsonb)
	FROM PUBLIC;

-- This transaction commits without waiting for the disk; the dispatcher does so
-- afterwards, and then ends what waits in _applies, if something does.
CREATE FUNCTION agentpay._flush_later(applies boolean) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_flush_later';
REVOKE ALL ON FUNCTION agentpay._flush_later(boolean) FROM PUBLIC;

-- Ends the tasks of builtin agents, whose answer was computed with the row.
-- The caller holds the kill lock shared, from an earlier statement.  later:
-- those whose end may do more than be on record wait in _applies for another
-- transaction, so that this one, which holds the budgets' locks, need not wait
-- for the disk: what nobody has acted on, a crash may forget, to be claimed anew.
CREATE FUNCTION agentpay._decide_builtin(batch agentpay._tasks[],
	later boolean DEFAULT false) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	killed text[] := agentpay._killed_agents();
	wanted agentpay._reservation[];
	ends agentpay._task_end[];
	calls agentpay.agent_calls[];
	refused jsonb;
	waiting bigint;
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
	PERFORM agentpay._append_all(calls);
	PERFORM agentpay._settle(array_agg(ROW(e.task_id, 1,
			CASE WHEN e.answer IS NULL THEN 'released' ELSE 'settled' END,
			coalesce(e.cost, 0))::agentpay._settlement))
	   FROM unnest(ends) AS e;
	IF later THEN
		WITH waits AS (
			INSERT INTO agentpay._applies
			SELECT e.task_id, e FROM unnest(ends) AS e
			  JOIN unnest(batch) AS t ON t.task_id = e.task_id
			  JOIN agentpay.agents a ON a.name = t.agent
			 WHERE t.decide_by IS NOT NULL OR t.escalated_from IS NOT NULL
				OR t.stage IS DISTINCT FROM 0 OR a.holdout_percent > 0
			RETURNING task_id),
		ids AS (SELECT coalesce(array_agg(w.task_id), '{}') AS those
				  FROM waits w)
		SELECT cardinality(i.those), array_agg(e) FILTER (WHERE e.task_id IS NOT NULL)
		  INTO waiting, ends
		  FROM ids i LEFT JOIN unnest(ends) AS e
			ON e.task_id <> ALL (i.those)
		 GROUP BY i.those;
		PERFORM agentpay._flush_later(waiting > 0);
	END IF;
	PERFORM agentpay._end_tasks(ends);
END$$;
REVOKE ALL ON FUNCTION agentpay._decide_builtin(agentpay._tasks[], boolean)
	FROM PUBLIC;

-- ── claim ───────────────────────────────────────────────────────────────────
-- Why an agent is not called any more, though the task was made; NULL: it is.
CREATE FUNCTION agentpay._why_skipped(t agentpay._tasks) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
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
	  LEFT JOIN agentpay.agents a ON a.name = t.agent AND a.point = t.point);
END$$;
REVOKE ALL ON FUNCTION agentpay._why_skipped(agentpay._tasks) FROM PUBLIC;

-- Whose tasks the cursor has passed: seen, and the agents that have any.
CREATE TYPE agentpay._claimed AS (seen int, agents text[]);

-- Gives tasks of agents that are called their row of work; agents: these.  The
-- others are the caller's to end.
CREATE FUNCTION agentpay._take_tasks(batch agentpay._tasks[],
	OUT skipped agentpay._task_end[], OUT builtin agentpay._tasks[],
	OUT agents text[])
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_take_tasks';
REVOKE ALL ON FUNCTION agentpay._take_tasks(agentpay._tasks[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._take_tasks(agentpay._tasks[]) IS 'where claimed tasks go: to a row of work, to the agents inside the database, or to an end';

-- Takes the next tasks: those of builtin agents end here, the others get their
-- row of work, in the same transaction in which the cursor moves.
CREATE FUNCTION agentpay._claim(max_tasks int) RETURNS agentpay._claimed
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	seen int;
	batch agentpay._tasks[];
	builtin agentpay._tasks[];
	skipped agentpay._task_end[];
	called text[];
BEGIN
	SELECT n.seen, n.open_tasks INTO seen, batch
	  FROM agentpay._next_tasks(max_tasks) AS n;
	IF cardinality(batch) = 0 THEN
		PERFORM set_config('synchronous_commit', 'off', true);
		RETURN ROW(seen, '{}'::text[])::agentpay._claimed;
	END IF;
	SELECT x.skipped, x.builtin, x.agents INTO skipped, builtin, called
	  FROM agentpay._take_tasks(batch) AS x;
	PERFORM agentpay._end_tasks(skipped) WHERE skipped IS NOT NULL;
	PERFORM agentpay._decide_builtin(builtin, skipped IS NULL
				AND EXISTS (SELECT FROM agentpay.budgets b WHERE b.enabled))
	  WHERE builtin IS NOT NULL;
	-- nothing was decided or spent: a crash that forgets it has it claimed anew
	IF skipped IS NULL AND builtin IS NULL THEN
		PERFORM set_config('synchronous_commit', 'off', true);
	END IF;
	RETURN ROW(seen, called)::agentpay._claimed;
END$$;
REVOKE ALL ON FUNCTION agentpay._claim(int) FROM PUBLIC;

-- Agents that have tasks in _task_work, and what limits them.  A dispatcher
-- knows some, and how far it has come with each (beyond): what is behind that,
-- which an old snapshot keeps in the index, is not walked over again.  Without
-- a row in agents (it was removed) an agent's tasks are ended unasked.
CREATE FUNCTION agentpay._work_agents(known text[], beyond bigint[])
	RETURNS TABLE (agent text, version int, max_in_flight int,
				   calls_per_second double precision)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT coalesce(a.name, k.agent),
		   (SELECT max(v.version) FROM agentpay.agent_versions v
			 WHERE v.agent = coalesce(a.name, k.agent)),
		   coalesce(a.max_in_flight, 1),
		   coalesce((a.options ->> 'calls_per_second')::double precision, 0)
	  FROM agentpay.agents a
	  FULL JOIN unnest(known, $2) AS k (agent, beyond) ON k.agent = a.name
	 WHERE a.protocol IS DISTINCT FROM 'builtin'
	   AND EXISTS (SELECT FROM agentpay._task_work w
					WHERE w.agent = coalesce(a.name, k.agent)
					  AND w.place > coalesce(k.beyond, 0));
END$$;
REVOKE ALL ON FUNCTION agentpay._work_agents(text[], bigint[]) FROM PUBLIC;

-- The names of all of them, found by their places in the index.
CREATE FUNCTION agentpay._all_work_agents() RETURNS SETOF text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH RECURSIVE found AS (
		(SELECT w.agent FROM agentpay._task_work w ORDER BY w.agent LIMIT 1)
		UNION ALL
		SELECT (SELECT w.agent FROM agentpay._task_work w
				 WHERE w.agent > f.agent ORDER BY w.agent LIMIT 1)
		  FROM found f WHERE f.agent IS NOT NULL)
	SELECT f.agent FROM found f WHERE f.agent IS NOT NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._all_work_agents() FROM PUBLIC;

-- Tasks of an agent that wait in _task_work, beyond those in memory; of `parts`
-- dispatchers that share them, those of one.
CREATE FUNCTION agentpay._waiting(agent text, beyond bigint, max_tasks int,
	parts int, part int)
	RETURNS TABLE (task_id bigint, created_at timestamptz,
				   run_after timestamptz, place bigint)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT w.task_id, w.created_at, w.run_after, w.place
	  FROM agentpay._task_work w
	 WHERE w.agent = $1 AND w.place > beyond AND w.state = 'leased'
	   AND w.task_id % parts = part
	 ORDER BY w.place LIMIT max_tasks;
END$$;
REVOKE ALL ON FUNCTION agentpay._waiting(text, bigint, int, int, int)
	FROM PUBLIC;
