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

-- The decision of each end: the agent's verdict, or, with a failure, the rules
-- verdict that stands.  An answer that comes at decide_by or later has timed
-- out; a call that was not even made by then, too.
CREATE FUNCTION agentpay._endings(ends agentpay._task_end[],
	moment timestamptz) RETURNS agentpay.decisions[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT array_agg(CASE WHEN (n.d).detail ? 'sealed' OR n.key_id IS NOT NULL
								AND (n.d).detail ? 'explanation'
						  THEN agentpay._seal_end(n.d, n.key_id) ELSE n.d END)
	  FROM (
		SELECT ROW(e.decision_id, moment, t.point, t.row_id,
			r.occurred_at, r.amount, r.currency, r.base_amount,
			CASE WHEN f.failure IS NULL THEN 'agent' ELSE 'fallback' END,
			-- what _is_live() asks for first, since few are
			CASE WHEN l.late IS NULL AND t.repeat_no = 0
					  AND t.bucket < coalesce(t.stage, t.bucket + 1)
					  AND coalesce((
						SELECT x.definition ->> 'position'
						  FROM agentpay.agent_versions x
						 WHERE x.agent = t.agent
						   AND x.version = t.agent_version), '') <> 'review'
					  AND (SELECT agentpay._is_live(k.t, k.a, k.r)
							 FROM agentpay._asked(t.task_id, t.created_at) AS k)
				 THEN 'live' ELSE 'shadow' END,
			CASE WHEN f.failure IS NULL THEN e.verdict ELSE r.verdict END,
			e.answer,
			CASE WHEN t.escalated_from IS NOT NULL
				   OR t.holdout_bucket < 100 * a.holdout_percent
				 THEN (SELECT agentpay._assignment(k.t, k.a, k.r)
						 FROM agentpay._asked(t.task_id, t.created_at) AS k)
				 ELSE r.assignment END,
			t.repeat_no,
			CASE WHEN w.draw IS NULL THEN r.propensity
				 ELSE (SELECT agentpay._label_chance(k.r, e.verdict, w.draw)
						 FROM agentpay._asked(t.task_id, t.created_at) AS k)
				 END,
			CASE WHEN f.failure IS NULL THEN e.score ELSE r.score END,
			CASE WHEN f.failure IS NULL THEN coalesce(e.reasons, '{}')
				 ELSE r.reasons END,
			CASE WHEN f.failure IS NOT NULL THEN r.ruleset_version END,
			t.agent, t.agent_version, e.confidence, f.failure, NULL,
			coalesce(e.cost, 0), e.latency_ms, NULL,
			jsonb_strip_nulls(jsonb_build_object('task_id', t.task_id,
					'escalated_from', t.escalated_from, 'draw', w.draw))
				|| coalesce(e.detail, '{}') || coalesce(l.late, '{}'),
			NULL, NULL, NULL)::agentpay.decisions AS d, r.key_id
		  FROM unnest(ends) AS e
		  JOIN agentpay._tasks t
			ON t.task_id = e.task_id AND t.created_at = e.created_at
		  JOIN agentpay.decisions r
			ON r.decision_id = t.decision_id AND r.decided_at = t.created_at
		  LEFT JOIN agentpay.agents a ON a.name = t.agent
		 CROSS JOIN LATERAL (
			SELECT CASE WHEN t.decide_by IS NOT NULL AND EXISTS (
						SELECT FROM agentpay._asked(t.task_id, t.created_at) AS k,
							   agentpay._ending(k.t))
						THEN jsonb_build_object('late', true) END AS late
			-- once, though it is asked for more often; so are those below
			OFFSET 0) AS l
		 CROSS JOIN LATERAL (
			SELECT CASE WHEN (l.late IS NOT NULL OR t.decide_by <= moment)
							 AND coalesce(e.failure, 'skipped') = 'skipped'
						THEN 'timeout' ELSE e.failure END AS failure) AS f
		 CROSS JOIN LATERAL (
			SELECT CASE WHEN t.stage <> 0 AND f.failure IS NULL
						THEN (SELECT agentpay._label_draw(k.t, k.a, k.r)
								FROM agentpay._asked(t.task_id, t.created_at)
									AS k) END AS draw
			OFFSET 0) AS w
		 -- nothing is said by the second of two that made no call
		 WHERE l.late IS NULL OR e.answer IS NOT NULL
			OR e.latency_ms IS NOT NULL OR e.failure = 'uncertain'
			OR e.cost > 0
		OFFSET 0) AS n);
END$$;
REVOKE ALL ON FUNCTION agentpay._endings(agentpay._task_end[], timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._endings(agentpay._task_end[], timestamptz) IS 'the decisions with which tasks end, not yet written; detail.late: the task had ended before';

-- Writes the decisions, and makes them take effect.  Rows are gathered before
-- they are appended: one cannot make a partition of what is being read.
CREATE FUNCTION agentpay._end_tasks(ends agentpay._task_end[],
	waits boolean DEFAULT true) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	awaited bigint[];
	rows agentpay.decisions[];
	live agentpay.decisions[];
	leads agentpay.decisions[];
	d agentpay.decisions;
BEGIN
	IF ends IS NULL THEN
		RETURN;
	END IF;
	IF waits THEN
		SELECT array_agg(t.task_id) INTO awaited
		  FROM unnest(ends) AS e
		  JOIN agentpay._tasks t
			ON t.task_id = e.task_id AND t.created_at = e.created_at
		 WHERE t.decide_by IS NOT NULL;
		-- in a statement before those that read what it guards
		PERFORM agentpay._lock_tasks(awaited);
	END IF;
	rows := agentpay._endings(ends, agentpay._now());
	-- leads: to another agent or a person; what comes late leads to nothing
	SELECT array_agg(u.x) FILTER (WHERE NOT u.live),
		   array_agg(u.x ORDER BY ((u.x).detail ->> 'task_id')::bigint)
			   FILTER (WHERE u.live),
		   array_agg(u.x) FILTER (WHERE NOT u.live
				AND ((u.x).failure IS NOT NULL
					 OR (u.x).detail ? 'escalated_from')
				AND NOT (u.x).detail ? 'late')
	  INTO rows, live, leads
	  FROM (SELECT y.x, (y.x).kind = 'agent' AND (y.x).authority = 'live' AS live
			  FROM (SELECT unnest(rows) AS x OFFSET 0) AS y) AS u;
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
	IF awaited IS NOT NULL THEN
		PERFORM agentpay._wake_waiters((u.x).point, (u.x).row_id)
		   FROM (SELECT unnest(rows) AS x OFFSET 0) AS u
		  WHERE NOT (u.x).detail ? 'late';
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._end_tasks(agentpay._task_end[],
	boolean) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._end_tasks(agentpay._task_end[],
	boolean) IS 'ends tasks: one decision each, and what follows from it; waits: some of them may have a decide_by';
