-- 58_workers.sql
--		What a worker that is gone left behind, and what people see of workers.

-- ── after a worker is gone ──────────────────────────────────────────────────
-- Tasks that a dispatcher had sent which is gone: nobody knows what became of
-- the call, so it is charged at its bound and not repeated.  The caller holds
-- the lock on the lease.
CREATE FUNCTION agentpay._heal_lease(lease bigint) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	work agentpay._task_work[];
	ends agentpay._task_end[];
	calls agentpay.agent_calls[];
BEGIN
	SELECT array_agg(x ORDER BY x.task_id) INTO work
	  FROM (SELECT * FROM agentpay._task_work w
			 WHERE w.lease = _heal_lease.lease AND w.state = 'sent'
			   FOR UPDATE) AS x;
	DELETE FROM agentpay._dispatchers d WHERE d.lease = _heal_lease.lease;
	IF work IS NULL THEN
		RETURN 0;
	END IF;
	SELECT array_agg(ROW(w.task_id, w.created_at, agentpay._uuid_v7(),
			'uncertain', NULL, NULL, NULL, NULL, NULL, w.spent + w.bound_cost,
			NULL, jsonb_build_object('error',
				'the worker ended while the call was under way')
			)::agentpay._task_end)
	  INTO ends FROM unnest(work) AS w;
	SELECT array_agg(ROW(agentpay._uuid_v7(), w.sent_at, w.task_id, w.attempt,
			e.decision_id, t.point, t.row_id, t.agent, t.agent_version,
			v.definition ->> 'cost_center', v.definition ->> 'protocol',
			v.definition ->> 'model', NULL, NULL, NULL, NULL, NULL, NULL, NULL,
			'uncertain', 'the worker ended while the call was under way',
			w.bound_cost, w.bound_cost,
			1000 * extract(epoch FROM w.sent_at - w.created_at), NULL, NULL,
			NULL, NULL, NULL, NULL)::agentpay.agent_calls)
	  INTO calls
	  FROM unnest(work) AS w JOIN unnest(ends) AS e ON e.task_id = w.task_id
	  JOIN agentpay._tasks t
		ON t.task_id = w.task_id AND t.created_at = w.created_at
	  JOIN agentpay.agent_versions v
		ON v.agent = t.agent AND v.version = t.agent_version;
	PERFORM agentpay._settle(array_agg(ROW(w.task_id, w.attempt, 'uncertain',
						w.bound_cost)::agentpay._settlement))
	   FROM unnest(work) AS w;
	PERFORM agentpay._append_all(calls);
	PERFORM agentpay._end_tasks(ends);
	DELETE FROM agentpay._task_work w USING unnest(ends) AS e
	 WHERE w.task_id = e.task_id;
	RETURN cardinality(work);
END$$;
REVOKE ALL ON FUNCTION agentpay._heal_lease(bigint) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._heal_lease(bigint) IS 'ends what a dispatcher that is gone had sent, as uncertain; charged at the bound';

-- A circuit breaker has opened, stays open after a probe, or has closed.
CREATE FUNCTION agentpay._note_breaker(agent text, action text, reason text,
	detail jsonb) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
		'agentpay', action, 'agent', agent, reason, NULL, detail,
		NULL)::agentpay.governance_log);
END$$;
REVOKE ALL ON FUNCTION agentpay._note_breaker(text, text, text, jsonb)
	FROM PUBLIC;

-- ── statistics ──────────────────────────────────────────────────────────────
-- Autovacuum never analyses a partitioned parent, and reports over a log that
-- was never analysed are planned blindly.  Analyses one log that has grown by a
-- tenth and 1,000 rows since the last time; false when there is none.
CREATE FUNCTION agentpay._analyze_log() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	log regclass;
BEGIN
	SELECT c.oid INTO log
	  FROM unnest(ARRAY['decisions', 'agent_calls', 'outcomes',
						'governance_log', '_tasks']) AS l (name)
	  JOIN pg_class c ON c.oid = to_regclass('agentpay.' || l.name)
	 CROSS JOIN LATERAL (
		SELECT sum(pg_stat_get_live_tuples(i.inhrelid)) AS rows
		  FROM pg_inherits i WHERE i.inhparent = c.oid) AS live
	 WHERE live.rows > 0
	   AND (c.reltuples < 0 OR live.rows > 1.1 * c.reltuples + 1000)
	 LIMIT 1;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	-- somebody's lock on one partition must not hold up the seals
	EXECUTE format('ANALYZE (SKIP_LOCKED) %s', log);
	RETURN true;
END$$;
REVOKE ALL ON FUNCTION agentpay._analyze_log() FROM PUBLIC;

-- ── views ───────────────────────────────────────────────────────────────────
CREATE VIEW agentpay.tasks WITH (security_barrier) AS
	SELECT t.task_id, t.point, t.row_id, t.agent, t.agent_version,
		   CASE WHEN d.decision_id IS NOT NULL THEN 'done'
				WHEN y.task_id IS NOT NULL THEN 'sent'
				ELSE coalesce(w.state, 'queued') END AS state,
		   coalesce(w.attempt, c.attempts, 0) AS attempts, t.created_at,
		   w.run_after, t.decide_by, w.lease_until,
		   d.decided_at AS finished_at, t.idempotency_key, d.decision_id
	  FROM agentpay._tasks t
	  LEFT JOIN agentpay._task_work w ON w.task_id = t.task_id
	  LEFT JOIN agentpay._applies y ON y.task_id = t.task_id
	  LEFT JOIN LATERAL agentpay._ending(t) AS d ON true
	  LEFT JOIN LATERAL (
		SELECT max(x.attempt) AS attempts FROM agentpay.agent_calls x
		 WHERE x.task_id = t.task_id) AS c ON true
	 WHERE t.point = ANY ((SELECT agentpay._open_points())::text[])
		OR agentpay._sees(t.point, t.row_id);
REVOKE ALL ON agentpay.tasks FROM PUBLIC;
COMMENT ON VIEW agentpay.tasks IS 'every question for an agent: queued, leased, sent, or done; its decision says how it ended';

CREATE VIEW agentpay.queue_status AS
	SELECT q.point, q.agent, q.state, count(*) AS tasks,
		   agentpay._now() - min(q.created_at) AS oldest_age,
		   min(q.decide_by) AS next_decide_by
	  FROM (SELECT t.point, t.agent, w.state, t.created_at, t.decide_by
			  FROM agentpay._task_work w
			  JOIN agentpay._tasks t ON t.task_id = w.task_id
			   AND t.created_at = w.created_at
			UNION ALL
			SELECT t.point, t.agent, 'sent', t.created_at, t.decide_by
			  FROM agentpay._applies y
			  JOIN agentpay._tasks t ON t.task_id = y.task_id
			   AND t.created_at = (y.ending).created_at
			UNION ALL
			SELECT t.point, t.agent, 'queued', t.created_at, t.decide_by
			  FROM agentpay._queued_tasks() AS t) AS q
	 GROUP BY q.point, q.agent, q.state;
REVOKE ALL ON agentpay.queue_status FROM PUBLIC;
COMMENT ON VIEW agentpay.queue_status IS 'tasks that are not done';

CREATE FUNCTION agentpay._stat_workers(OUT worker text, OUT pid int,
	OUT state text, OUT in_flight int, OUT calls bigint, OUT restarts bigint,
	OUT breaker_open text[], OUT last_error text, OUT last_error_at timestamptz)
	RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_stat_workers';
REVOKE ALL ON FUNCTION agentpay._stat_workers() FROM PUBLIC;

CREATE VIEW agentpay.stat_workers AS
	SELECT s.worker, s.pid, s.state, s.in_flight, s.calls, s.restarts,
		   s.breaker_open, s.last_error, s.last_error_at
	  FROM agentpay._stat_workers() AS s;
REVOKE ALL ON agentpay.stat_workers FROM PUBLIC;
COMMENT ON VIEW agentpay.stat_workers IS 'the launcher, and this database''s dispatchers and governor; without a pid it does not run';

-- ── what features remember ──────────────────────────────────────────────────
CREATE FUNCTION agentpay._stat_velocity(OUT source regclass,
	OUT entries bigint, OUT bytes bigint, OUT hits bigint, OUT loads bigint,
	OUT evictions bigint, OUT bypasses bigint) RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_stat_velocity';
REVOKE ALL ON FUNCTION agentpay._stat_velocity() FROM PUBLIC;

CREATE VIEW agentpay.stat_velocity AS
	SELECT s.source, s.entries, s.bytes, s.hits, s.loads, s.evictions,
		   s.bypasses
	  FROM agentpay._stat_velocity() AS s
	 WHERE EXISTS (SELECT FROM pg_catalog.pg_class c WHERE c.oid = s.source);
REVOKE ALL ON agentpay.stat_velocity FROM PUBLIC;
COMMENT ON VIEW agentpay.stat_velocity IS 'what shared memory remembers of the rows that features count, by table; counts are since the server started';
