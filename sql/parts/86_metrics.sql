-- 86_metrics.sql
--		Figures for a monitoring system, cheap enough to be read each few
--		seconds.
--
-- What only grows is counted by the governor: _metric_counts holds what a
-- snapshot saw (_metric_state.horizon), and the next count reads only what that
-- did not see, by the leaves' indexes on xid.  So a counter never falls, also
-- where apply_retention() drops what it counted.  What is true now is read when
-- it is asked for, from tables and shared memory that are small.
--
-- In the view each branch has its metric as a constant: of a query for one
-- metric, the planner leaves the other branches out.

-- ── counters ────────────────────────────────────────────────────────────────
-- Neither table is dumped: what is restored is counted anew.
CREATE TABLE agentpay._metric_counts (
	metric text NOT NULL,
	labels jsonb NOT NULL,
	value numeric NOT NULL,
	PRIMARY KEY (metric, labels)) WITH (fillfactor = 50);
REVOKE ALL ON agentpay._metric_counts FROM PUBLIC;
COMMENT ON TABLE agentpay._metric_counts IS 'what only grows, as far as it was counted';

CREATE TABLE agentpay._metric_state (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	horizon pg_snapshot NOT NULL);
REVOKE ALL ON agentpay._metric_state FROM PUBLIC;
COMMENT ON TABLE agentpay._metric_state IS 'what _metric_counts has seen; no row: nothing that counts';

-- What one snapshot saw of decisions and the other did not.
CREATE FUNCTION agentpay._count_decisions(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._metric_counts
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'WITH d AS MATERIALIZED (SELECT d.point, d.kind, d.authority,'
		' d.verdict, d.agent, d.failure,'
		' coalesce(d.detail ? ''errors'', false) AS failed,'
		' count(*)::numeric AS n FROM agentpay.decisions d'
		' WHERE %s AND d.repeat_no = 0 GROUP BY 1, 2, 3, 4, 5, 6, 7)'
		' SELECT ''agentpay_decisions_total'', jsonb_build_object('
		' ''point'', d.point, ''kind'', d.kind, ''authority'', d.authority,'
		' ''verdict'', d.verdict), sum(d.n) FROM d'
		' GROUP BY d.point, d.kind, d.authority, d.verdict'
		' UNION ALL SELECT ''agentpay_fallbacks_total'', jsonb_build_object('
		' ''point'', d.point, ''agent'', d.agent, ''failure'', d.failure),'
		' sum(d.n) FROM d WHERE d.kind = ''fallback'''
		' GROUP BY d.point, d.agent, d.failure'
		' UNION ALL SELECT ''agentpay_scoring_errors_total'','
		' jsonb_build_object(''point'', d.point), sum(d.n) FROM d'
		' WHERE d.failed AND d.kind = ''rules'' GROUP BY d.point',
		agentpay._new('d', since, until));
END$$;
REVOKE ALL ON FUNCTION agentpay._count_decisions(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- The same of calls.  Their times are a histogram: a bucket counts the calls
-- that took at most `le` seconds.
CREATE FUNCTION agentpay._count_calls(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._metric_counts
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'WITH c AS MATERIALIZED (SELECT c.agent, c.cost_center, c.status,'
		' c.cost, c.input_tokens, c.output_tokens,'
		' c.latency_ms / 1000 AS seconds FROM agentpay.agent_calls c'
		' WHERE %s)'
		' SELECT ''agentpay_calls_total'', jsonb_build_object('
		' ''agent'', c.agent, ''status'', c.status), count(*)::numeric FROM c'
		' GROUP BY c.agent, c.status'
		' UNION ALL SELECT ''agentpay_cost_usd_total'', jsonb_build_object('
		' ''agent'', c.agent, ''cost_center'', c.cost_center), sum(c.cost)'
		' FROM c GROUP BY c.agent, c.cost_center'
		' UNION ALL SELECT ''agentpay_tokens_total'', jsonb_build_object('
		' ''agent'', c.agent, ''direction'', t.direction), sum(t.n) FROM c'
		' CROSS JOIN LATERAL (VALUES (''input'', c.input_tokens),'
		' (''output'', c.output_tokens)) AS t (direction, n)'
		' WHERE t.n > 0 GROUP BY c.agent, t.direction'
		' UNION ALL SELECT ''agentpay_call_seconds_bucket'','
		' jsonb_build_object(''agent'', c.agent, ''le'', b.le), count(*)'
		' FROM c JOIN unnest(%L::text[]) AS b (le)'
		' ON c.seconds <= b.le::float8 GROUP BY c.agent, b.le'
		' UNION ALL SELECT ''agentpay_call_seconds_count'','
		' jsonb_build_object(''agent'', c.agent), count(*) FROM c'
		' WHERE c.seconds IS NOT NULL GROUP BY c.agent'
		' UNION ALL SELECT ''agentpay_call_seconds_sum'','
		' jsonb_build_object(''agent'', c.agent), sum(c.seconds)::numeric'
		' FROM c WHERE c.seconds IS NOT NULL GROUP BY c.agent',
		agentpay._new('c', since, until),
		'{0.05,0.1,0.25,0.5,1,2.5,5,10,30,60,+Inf}');
END$$;
REVOKE ALL ON FUNCTION agentpay._count_calls(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

CREATE FUNCTION agentpay._count_outcomes(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._metric_counts
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'SELECT ''agentpay_labels_total'', jsonb_build_object('
		' ''point'', o.point, ''label'', o.label, ''source'', o.source),'
		' count(*)::numeric FROM agentpay.outcomes o WHERE %s'
		' GROUP BY o.point, o.label, o.source',
		agentpay._new('o', since, until));
END$$;
REVOKE ALL ON FUNCTION agentpay._count_outcomes(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- By the governor.  As _roll_rules(), it does nothing in a transaction that has
-- written already, or where rows come from another node, whose xids mean
-- nothing here; without new rows it writes nothing.
CREATE FUNCTION agentpay._count_metrics() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	since pg_snapshot;
	until pg_snapshot;
	is_slice boolean;
	counted bigint;
BEGIN
	IF pg_current_xact_id_if_assigned() IS NOT NULL
	   OR agentpay._is_subscribed() THEN
		RETURN false;
	END IF;
	LOCK TABLE agentpay._metric_state IN SHARE ROW EXCLUSIVE MODE;
	SELECT s.horizon INTO since FROM agentpay._metric_state s;
	IF NOT FOUND THEN
		DELETE FROM agentpay._metric_counts;
	END IF;
	SELECT u, agentpay._is_slice(u) INTO until, is_slice
	  FROM agentpay._slice_end(since, 'decisions', 'agent_calls',
							   'outcomes') AS u;
	INSERT INTO agentpay._metric_counts AS m
	SELECT * FROM agentpay._count_decisions(since, until)
	UNION ALL SELECT * FROM agentpay._count_calls(since, until)
	UNION ALL SELECT * FROM agentpay._count_outcomes(since, until)
		ON CONFLICT (metric, labels) DO UPDATE
	   SET value = m.value + excluded.value;
	GET DIAGNOSTICS counted = ROW_COUNT;
	IF counted > 0 OR is_slice THEN
		INSERT INTO agentpay._metric_state (horizon) VALUES (until)
			ON CONFLICT (one) DO UPDATE SET horizon = excluded.horizon;
	END IF;
	RETURN counted > 0;
END$$;
REVOKE ALL ON FUNCTION agentpay._count_metrics() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._count_metrics() IS 'brings the counters of metrics up to now, or by a slice nearer to it; false: nothing was new';

CREATE FUNCTION agentpay._is_behind() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT NOT agentpay._is_subscribed() AND (
		agentpay._is_slice(agentpay._slice_end((SELECT s.horizon
			FROM agentpay._rule_rollup_state s), 'decisions', 'outcomes'))
		OR agentpay._is_slice(agentpay._slice_end((SELECT s.horizon
			FROM agentpay._asked_state s), 'decisions', '_tasks',
			'agent_calls', 'outcomes'))
		OR agentpay._is_slice(agentpay._slice_end((SELECT s.horizon
			FROM agentpay._drift_state s), 'decisions'))
		OR agentpay._is_slice(agentpay._slice_end((SELECT s.horizon
			FROM agentpay._metric_state s),
			'decisions', 'agent_calls', 'outcomes')))
$$;
REVOKE ALL ON FUNCTION agentpay._is_behind() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._is_behind() IS 'whether the governor has more than a slice to count';

-- ── what is read as the owner ───────────────────────────────────────────────
-- SECURITY DEFINER: whoever may read metrics has no business in what they are
-- counted from.  None has an argument.
CREATE FUNCTION agentpay._metrics_queue() RETURNS SETOF agentpay.queue_status
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 20
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM agentpay.queue_status
$$;
REVOKE ALL ON FUNCTION agentpay._metrics_queue() FROM PUBLIC;

CREATE FUNCTION agentpay._metrics_budgets() RETURNS SETOF agentpay.budget_status
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 20
	SET search_path = pg_catalog, pg_temp
AS $$
	-- per transaction it would add up the payments of thirty days
	SELECT * FROM agentpay.budget_status s WHERE s.period <> 'transaction'
$$;
REVOKE ALL ON FUNCTION agentpay._metrics_budgets() FROM PUBLIC;

CREATE FUNCTION agentpay._metrics_workers() RETURNS SETOF agentpay.stat_workers
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 20
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM agentpay.stat_workers
$$;
REVOKE ALL ON FUNCTION agentpay._metrics_workers() FROM PUBLIC;

CREATE FUNCTION agentpay._metrics_velocity() RETURNS SETOF agentpay.stat_velocity
	LANGUAGE sql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 20
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM agentpay.stat_velocity
$$;
REVOKE ALL ON FUNCTION agentpay._metrics_velocity() FROM PUBLIC;

CREATE FUNCTION agentpay._metrics_guardrails() RETURNS SETOF agentpay._guardrail_status
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 20
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT * FROM agentpay._guardrail_status
$$;
REVOKE ALL ON FUNCTION agentpay._metrics_guardrails() FROM PUBLIC;

CREATE FUNCTION agentpay._metrics_agents()
	RETURNS TABLE (agent text, point text, protocol text, stage int)
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 20
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.name, a.point, a.protocol, agentpay._stage_rank(a.stage)
	  FROM agentpay.agents a
$$;
REVOKE ALL ON FUNCTION agentpay._metrics_agents() FROM PUBLIC;

CREATE FUNCTION agentpay._metrics_held() RETURNS boolean
	LANGUAGE sql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay._held()
$$;
REVOKE ALL ON FUNCTION agentpay._metrics_held() FROM PUBLIC;

-- ── gauges of the log ───────────────────────────────────────────────────────
-- How long the oldest row has waited for its place in the Merkle tree, by the
-- first row behind the last seal's snapshot.
CREATE FUNCTION agentpay._metrics_seal_lag() RETURNS double precision
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	behind xid8 := coalesce((
		SELECT pg_snapshot_xmax(s.snapshot) FROM agentpay._seals s
		  JOIN agentpay._identity i ON i.adopted_at = s.adopted_at
		 ORDER BY s.seal_id DESC LIMIT 1), '0');
BEGIN
	RETURN coalesce(extract(epoch FROM agentpay._now() - least(
		(SELECT d.decided_at FROM agentpay.decisions d WHERE d.xid >= behind
		  ORDER BY d.xid LIMIT 1),
		(SELECT c.called_at FROM agentpay.agent_calls c WHERE c.xid >= behind
		  ORDER BY c.xid LIMIT 1),
		(SELECT o.observed_at FROM agentpay.outcomes o WHERE o.xid >= behind
		  ORDER BY o.xid LIMIT 1),
		(SELECT g.logged_at FROM agentpay.governance_log g
		  WHERE g.xid >= behind ORDER BY g.xid LIMIT 1))), 0);
END$$;
REVOKE ALL ON FUNCTION agentpay._metrics_seal_lag() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._metrics_seal_lag() IS 'seconds that the oldest row has waited for its seal; 0: every row has it';

CREATE VIEW agentpay._log_leaves AS
	SELECT p.relname::text AS log, i.inhrelid AS leaf
	  FROM pg_catalog.pg_inherits i
	  JOIN pg_catalog.pg_class p ON p.oid = i.inhparent
	 WHERE p.oid = ANY (ARRAY['agentpay.decisions', 'agentpay.agent_calls',
			'agentpay.outcomes', 'agentpay.governance_log',
			'agentpay._tasks']::regclass[]);
REVOKE ALL ON agentpay._log_leaves FROM PUBLIC;

-- ── the view ────────────────────────────────────────────────────────────────
CREATE VIEW agentpay._budget_metrics AS
	SELECT s.*, jsonb_build_object('budget', s.name, 'scope', s.scope,
			'target', s.target, 'period', s.period) AS labels
	  FROM agentpay._metrics_budgets() s;
REVOKE ALL ON agentpay._budget_metrics FROM PUBLIC;

CREATE VIEW agentpay.metrics AS
	SELECT c.metric, c.labels, c.value::double precision AS value
	  FROM agentpay._metric_counts c
	UNION ALL
	SELECT 'agentpay_info', jsonb_build_object('version', e.extversion), 1
	  FROM pg_catalog.pg_extension e WHERE e.extname = 'agentpay'
	UNION ALL
	SELECT 'agentpay_held', '{}', agentpay._metrics_held()::int
	UNION ALL
	SELECT 'agentpay_agent_stage',
		   jsonb_build_object('agent', a.agent, 'point', a.point), a.stage
	  FROM agentpay._metrics_agents() a
	UNION ALL
	SELECT 'agentpay_kill_switch_engaged',
		   jsonb_build_object('scope', k.scope, 'target', k.target),
		   k.engaged::int
	  FROM agentpay.kill_switches k
	-- budgets
	UNION ALL
	SELECT 'agentpay_budget_cap_usd', b.labels, b.cap_cost
	  FROM agentpay._budget_metrics b WHERE b.cap_cost IS NOT NULL
	UNION ALL
	SELECT 'agentpay_budget_used_usd',
		   b.labels || jsonb_build_object('state', u.state), u.cost
	  FROM agentpay._budget_metrics b
	 CROSS JOIN LATERAL (VALUES ('settled', b.settled), ('held', b.held),
								('uncertain', b.uncertain)) AS u (state, cost)
	UNION ALL
	SELECT 'agentpay_budget_cap_calls', b.labels, b.cap_calls
	  FROM agentpay._budget_metrics b WHERE b.cap_calls IS NOT NULL
	UNION ALL
	SELECT 'agentpay_budget_used_calls', b.labels, b.calls
	  FROM agentpay._budget_metrics b
	UNION ALL
	SELECT 'agentpay_budget_used_ratio', b.labels, b.used_percent / 100
	  FROM agentpay._budget_metrics b WHERE b.used_percent IS NOT NULL
	UNION ALL
	SELECT 'agentpay_budget_exhausted', b.labels,
		   (b.state = 'exhausted')::int
	  FROM agentpay._budget_metrics b
	-- the queue, and who works on it
	UNION ALL
	SELECT 'agentpay_queue_tasks', jsonb_build_object('point', q.point,
			'agent', q.agent, 'state', q.state), q.tasks
	  FROM agentpay._metrics_queue() q
	UNION ALL
	SELECT 'agentpay_queue_oldest_seconds', jsonb_build_object('point', q.point,
			'agent', q.agent, 'state', q.state), extract(epoch FROM q.oldest_age)
	  FROM agentpay._metrics_queue() q
	UNION ALL
	SELECT 'agentpay_workers', jsonb_build_object('worker', w.worker),
		   count(w.pid)
	  FROM agentpay._metrics_workers() w GROUP BY w.worker
	UNION ALL
	SELECT 'agentpay_worker_restarts_total',
		   jsonb_build_object('worker', w.worker), sum(w.restarts)
	  FROM agentpay._metrics_workers() w GROUP BY w.worker
	UNION ALL
	SELECT 'agentpay_calls_in_flight', '{}', coalesce(sum(w.in_flight), 0)
	  FROM agentpay._metrics_workers() w
	UNION ALL
	SELECT 'agentpay_breaker_open', jsonb_build_object('agent', a.agent),
		   EXISTS (SELECT FROM agentpay._metrics_workers() w
					WHERE a.agent = ANY (w.breaker_open))::int
	  FROM agentpay._metrics_agents() a WHERE a.protocol <> 'builtin'
	-- guardrails
	UNION ALL
	SELECT 'agentpay_guardrail_value', jsonb_build_object('agent', g.agent,
			'metric', g.metric, 'action', g.action), g.value
	  FROM agentpay._metrics_guardrails() g WHERE g.value IS NOT NULL
	UNION ALL
	SELECT 'agentpay_guardrail_bound', jsonb_build_object('agent', g.agent,
			'metric', g.metric, 'action', g.action), g.bound
	  FROM agentpay._metrics_guardrails() g
	UNION ALL
	SELECT 'agentpay_guardrail_breached', jsonb_build_object('agent', g.agent,
			'metric', g.metric, 'action', g.action), (g.state = 'fail')::int
	  FROM agentpay._metrics_guardrails() g
	-- people, and the payment system
	UNION ALL
	SELECT 'agentpay_cases_open', jsonb_build_object('point', c.point,
			'cause', c.cause), count(*)
	  FROM agentpay.cases c WHERE c.state <> 'closed'
	 GROUP BY c.point, c.cause
	UNION ALL
	SELECT 'agentpay_cases_overdue', jsonb_build_object('point', c.point),
		   count(*) FILTER (WHERE c.due_at < now())
	  FROM agentpay.cases c WHERE c.state <> 'closed' GROUP BY c.point
	UNION ALL
	SELECT 'agentpay_actions_open', jsonb_build_object('point', a.point,
			'action', a.action), count(*)
	  FROM agentpay.actions a WHERE a.state = 'open'
	 GROUP BY a.point, a.action
	-- the logs
	UNION ALL
	SELECT 'agentpay_log_bytes', jsonb_build_object('log', l.log),
		   sum(pg_catalog.pg_total_relation_size(l.leaf))
	  FROM agentpay._log_leaves l GROUP BY l.log
	UNION ALL
	SELECT 'agentpay_log_rows', jsonb_build_object('log', l.log),
		   sum(pg_catalog.pg_stat_get_live_tuples(l.leaf))
	  FROM agentpay._log_leaves l GROUP BY l.log
	UNION ALL
	SELECT 'agentpay_log_tree_size', '{}', coalesce((
		SELECT s.tree_size FROM agentpay._seals s
		 ORDER BY s.seal_id DESC LIMIT 1), 0)
	UNION ALL
	SELECT 'agentpay_log_seal_lag_seconds', '{}', agentpay._metrics_seal_lag()
	UNION ALL
	SELECT 'agentpay_checkpoint_tree_size', '{}', coalesce((
		SELECT max(c.tree_size) FROM agentpay.checkpoints c), 0)
	-- what features remember
	UNION ALL
	SELECT 'agentpay_velocity_entries',
		   jsonb_build_object('source', v.source::text), v.entries
	  FROM agentpay._metrics_velocity() v
	UNION ALL
	SELECT 'agentpay_velocity_bytes',
		   jsonb_build_object('source', v.source::text), v.bytes
	  FROM agentpay._metrics_velocity() v
	UNION ALL
	SELECT 'agentpay_velocity_hits_total',
		   jsonb_build_object('source', v.source::text), v.hits
	  FROM agentpay._metrics_velocity() v
	UNION ALL
	SELECT 'agentpay_velocity_loads_total',
		   jsonb_build_object('source', v.source::text), v.loads
	  FROM agentpay._metrics_velocity() v
	UNION ALL
	SELECT 'agentpay_velocity_evictions_total',
		   jsonb_build_object('source', v.source::text), v.evictions
	  FROM agentpay._metrics_velocity() v
	UNION ALL
	SELECT 'agentpay_velocity_bypasses_total',
		   jsonb_build_object('source', v.source::text), v.bypasses
	  FROM agentpay._metrics_velocity() v;
REVOKE ALL ON agentpay.metrics FROM PUBLIC;
COMMENT ON VIEW agentpay.metrics IS 'figures for a monitoring system, one a row, named as Prometheus names them: what ends in _total, _bucket, _count or _sum only grows, and is counted by the governor; the rest is of now';
COMMENT ON COLUMN agentpay.metrics.labels IS 'names and values, all strings';
