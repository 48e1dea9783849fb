-- 59_ends.sql
--		How tasks end: the one decision of each, and what follows from it.
--
-- The caller has made sure that the tasks are its to end, and holds the kill
-- lock shared, from an earlier statement, if there are answers among the ends.
--
-- A task with decide_by may be ended by an answer or, at that moment, by the
-- governor: the task's lock picks the winner.  What comes second is recorded
-- beside the first, as late, and has no effect.

CREATE FUNCTION agentpay._lock_tasks(ids bigint[]) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_lock_tasks';
REVOKE ALL ON FUNCTION agentpay._lock_tasks(bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._lock_tasks(bigint[]) IS 'locks tasks, in ascending order, to the end of the transaction';

-- Takes the explanation out of detail, to be sealed; one that was sealed before
-- it had to wait for its row is put where it belongs.
CREATE FUNCTION agentpay._seal_end(d agentpay.decisions, key_id bigint)
	RETURNS agentpay.decisions
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	prose text := d.detail ->> 'explanation';
BEGIN
	IF d.detail ? 'sealed' THEN
		d.sealed := decode(d.detail ->> 'sealed', 'base64');
		d.key_id := key_id;
		d.detail := d.detail - 'sealed';
	ELSIF prose IS NOT NULL AND key_id IS NOT NULL THEN
		d.detail := d.detail - 'explanation';
		d := agentpay._seal_prose(d, 'explanation', prose, key_id);
	END IF;
	RETURN d;
END$$;
REVOKE ALL ON FUNCTION agentpay._seal_end(agentpay.decisions, bigint)
	FROM PUBLIC;

-- What effect the end of a task has that may do more than watch.  An answer
-- that comes at decide_by or later has timed out; a call that was not even made
-- by then, too.
CREATE FUNCTION agentpay._end_effect(t agentpay._tasks, r agentpay.decisions,
	verdict text, INOUT failure text, moment timestamptz, OUT late boolean,
	OUT authority text, OUT assignment text, OUT draw jsonb,
	OUT propensity real)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
BEGIN
	SELECT * INTO a FROM agentpay.agents x WHERE x.name = t.agent;
	late := t.decide_by IS NOT NULL
		AND EXISTS (SELECT FROM agentpay._ending(t));
	IF (late OR t.decide_by <= moment)
	   AND coalesce(failure, 'skipped') = 'skipped' THEN
		failure := 'timeout';
	END IF;
	authority := 'shadow';
	-- what _is_live() asks for first, since few are
	IF NOT late AND t.repeat_no = 0
	   AND t.bucket < coalesce(t.stage, t.bucket + 1)
	   -- one that has a decide_by is pre_auth
	   AND (t.decide_by IS NOT NULL
			OR coalesce((SELECT v.definition ->> 'position'
						   FROM agentpay.agent_versions v
						  WHERE v.agent = t.agent
							AND v.version = t.agent_version), '') <> 'review')
	   AND agentpay._is_live(t, a, r) THEN
		authority := 'live';
	END IF;
	assignment := r.assignment;
	IF t.escalated_from IS NOT NULL
	   OR t.holdout_bucket < 100 * a.holdout_percent THEN
		assignment := agentpay._assignment(t, a, r);
	END IF;
	propensity := r.propensity;
	IF t.stage <> 0 AND failure IS NULL THEN
		draw := agentpay._label_draw(t, a, r);
		IF draw IS NOT NULL THEN
			propensity := agentpay._label_chance(r, verdict, draw);
		END IF;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._end_effect(agentpay._tasks,
	agentpay.decisions, text, text, timestamptz) FROM PUBLIC;

-- The decision of each end: the agent's verdict, or, with a failure, the rules
-- verdict that stands.  live: those that take effect, by their tasks; leads: to
-- another agent or a person; what comes late leads to nothing.
CREATE FUNCTION agentpay._endings(ends agentpay._task_end[],
	moment timestamptz, OUT rows agentpay.decisions[],
	OUT live agentpay.decisions[], OUT leads agentpay.decisions[])
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_endings';
REVOKE ALL ON FUNCTION agentpay._endings(agentpay._task_end[], timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._endings(agentpay._task_end[], timestamptz) IS 'the decisions with which tasks end, not yet written; detail.late: the task had ended before';

-- Writes the decisions, and makes them take effect.  Rows are gathered before
-- they are appended: one cannot make a partition of what is being read.
CREATE FUNCTION agentpay._end_tasks(ends agentpay._task_end[],
	awaited bigint[] DEFAULT NULL) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rows agentpay.decisions[];
	live agentpay.decisions[];
	leads agentpay.decisions[];
	d agentpay.decisions;
BEGIN
	IF ends IS NULL THEN
		RETURN;
	END IF;
	IF awaited IS NULL THEN
		SELECT coalesce(array_agg(t.task_id), '{}') INTO awaited
		  FROM unnest(ends) AS e
		  JOIN agentpay._tasks t
			ON t.task_id = e.task_id AND t.created_at = e.created_at
		 WHERE t.decide_by IS NOT NULL;
	END IF;
	-- in a statement before those that read what it guards
	IF awaited <> '{}' THEN
		PERFORM agentpay._lock_tasks(awaited);
	END IF;
	SELECT x.rows, x.live, x.leads INTO rows, live, leads
	  FROM agentpay._endings(ends, agentpay._now()) AS x;
	IF rows IS NOT NULL THEN
		PERFORM agentpay._append_all(rows);
	END IF;
	-- one by one: what takes effect first is what the next one finds
	FOREACH d IN ARRAY coalesce(live, '{}') LOOP
		d := agentpay._take_effect(d, e)
		   FROM unnest(ends) AS e WHERE e.decision_id = d.decision_id;
		CONTINUE WHEN d.decision_id IS NULL;
		PERFORM agentpay._append(d);
		PERFORM agentpay._open_action(d);
		rows := rows || d;
		IF NOT d.detail ? 'late' THEN
			leads := leads || d;
		END IF;
	END LOOP;
	IF leads IS NOT NULL THEN
		PERFORM agentpay._ask_next_tier(leads);
		PERFORM agentpay._open_cases(leads);
	END IF;
	IF awaited <> '{}' THEN
		PERFORM agentpay._wake_waiters((u.x).point, (u.x).row_id)
		   FROM (SELECT unnest(rows) AS x OFFSET 0) AS u
		  WHERE NOT (u.x).detail ? 'late';
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._end_tasks(agentpay._task_end[],
	bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._end_tasks(agentpay._task_end[],
	bigint[]) IS 'ends tasks: one decision each, and what follows from it; awaited: those of them that have a decide_by; NULL: not known';
