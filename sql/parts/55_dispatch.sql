-- 55_dispatch.sql
--		From a task to its decision: claim, prepare, record.
--
-- agentpay._tasks is insert-only, and has no status that changes.  A cursor
-- goes over it by transaction: `done` is a snapshot all of whose transactions
-- have been claimed, `upto` the snapshot that is being claimed now, in the
-- order of (xid, task_id), as far as the position.  So a long transaction
-- holds nobody up, and its tasks are found when it commits.
--
-- A claimed task of an agent that is called has a row in agentpay._task_work
-- until its decision is written, in the same transaction that deletes it:
-- leased: waiting for its turn or for another attempt, nothing is held for it;
-- sent: its bound is held, and the request may have been sent.
-- A worker writes only where the lease is its own.

CREATE TABLE agentpay._task_cursor (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	done pg_snapshot NOT NULL,
	upto pg_snapshot NOT NULL,
	xid xid8 NOT NULL,
	task_id bigint NOT NULL) WITH (fillfactor = 50);

CREATE TABLE agentpay._task_work (
	task_id bigint PRIMARY KEY,
	place bigint GENERATED ALWAYS AS IDENTITY,
	created_at timestamptz NOT NULL,
	agent text NOT NULL,
	state text NOT NULL CHECK (state IN ('leased','sent')),
	attempt int NOT NULL DEFAULT 0,
	run_after timestamptz,
	lease bigint NOT NULL,
	lease_until timestamptz,
	bound_cost numeric,
	spent numeric NOT NULL DEFAULT 0,
	sent_at timestamptz);
CREATE INDEX ON agentpay._task_work (agent, place);
COMMENT ON TABLE agentpay._task_work IS 'tasks between claim and decision';
COMMENT ON COLUMN agentpay._task_work.place IS 'in the order of the claims';
COMMENT ON COLUMN agentpay._task_work.attempt IS 'attempts so far';
COMMENT ON COLUMN agentpay._task_work.lease IS 'of the dispatcher that may write it; a stale one can neither settle nor apply';
COMMENT ON COLUMN agentpay._task_work.spent IS 'USD, by earlier attempts';

-- ── what is waiting ─────────────────────────────────────────────────────────
-- Tasks that the cursor has not reached, as far as this statement sees them.
CREATE FUNCTION agentpay._queued_tasks() RETURNS SETOF agentpay._tasks
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c agentpay._task_cursor;
BEGIN
	SELECT * INTO c FROM agentpay._task_cursor;
	IF NOT FOUND THEN
		c.done := '1:1:';
		c.upto := '1:1:';
		c.xid := '0';
		c.task_id := 0;
	END IF;
	RETURN QUERY
	SELECT t.* FROM agentpay._tasks t
	 WHERE (t.xid >= pg_snapshot_xmax(c.done)
			OR t.xid = ANY (ARRAY(SELECT pg_snapshot_xip(c.done))))
	   AND NOT (pg_visible_in_snapshot(t.xid, c.upto)
				AND (t.xid, t.task_id) <= (c.xid, c.task_id))
	   AND agentpay._is_open(t);
END$$;
REVOKE ALL ON FUNCTION agentpay._queued_tasks() FROM PUBLIC;

-- The decision that ended a task.
CREATE FUNCTION agentpay._ending(t agentpay._tasks)
	RETURNS TABLE (decision_id uuid, decided_at timestamptz)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.decision_id, d.decided_at FROM agentpay.decisions d
	 WHERE d.point = t.point AND d.row_id = t.row_id AND d.agent = t.agent
	   AND d.kind IN ('agent', 'fallback') AND d.decided_at >= t.created_at
	   AND d.detail ->> 'task_id' = t.task_id::text
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._ending(agentpay._tasks) FROM PUBLIC;

-- Tasks from before adopt() came with a dump, and adopt() has closed them:
-- their transaction ids are another cluster's.
CREATE FUNCTION agentpay._is_open(t agentpay._tasks) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.created_at > (SELECT i.adopted_at FROM agentpay._identity i)
		OR NOT EXISTS (SELECT FROM agentpay._ending(t))
$$;
REVOKE ALL ON FUNCTION agentpay._is_open(agentpay._tasks) FROM PUBLIC;

-- The next tasks in the cursor's order; moves the cursor past them.  Only the
-- one dispatcher calls it.  Without new tasks it writes nothing.
CREATE FUNCTION agentpay._next_tasks(max_tasks int) RETURNS agentpay._tasks[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c agentpay._task_cursor;
	batch agentpay._tasks[];
	known boolean;
	low xid8;
BEGIN
	SELECT * INTO c FROM agentpay._task_cursor;
	known := FOUND;
	IF NOT known THEN
		c := ROW(true, '1:1:', '1:1:', '0', 0);
	END IF;
	IF c.done::text = c.upto::text THEN
		c.upto := pg_current_snapshot();
		c.xid := '0';
		c.task_id := 0;
	END IF;
	low := greatest(pg_snapshot_xmax(c.done), c.xid);
	SELECT array_agg(x ORDER BY x.xid, x.task_id) INTO batch
	  FROM (SELECT u.* FROM (
			(SELECT t.* FROM agentpay._tasks t
			  WHERE t.xid = ANY (ARRAY(SELECT pg_snapshot_xip(c.done)))
				AND t.xid >= c.xid AND (t.xid, t.task_id) > (c.xid, c.task_id)
				AND pg_visible_in_snapshot(t.xid, c.upto)
			  ORDER BY t.xid, t.task_id LIMIT max_tasks)
			UNION ALL
			(SELECT t.* FROM agentpay._tasks t
			  WHERE t.xid >= low AND (t.xid, t.task_id) > (c.xid, c.task_id)
				AND pg_visible_in_snapshot(t.xid, c.upto)
			  ORDER BY t.xid, t.task_id LIMIT max_tasks)) AS u
		   ORDER BY u.xid, u.task_id LIMIT max_tasks) AS x;
	IF batch IS NULL THEN
		-- a full batch may have been the last one
		IF known AND (c.xid, c.task_id) <> ('0'::xid8, 0::bigint) THEN
			UPDATE agentpay._task_cursor k
			   SET done = c.upto, upto = c.upto, xid = '0', task_id = 0;
		END IF;
		RETURN '{}';
	END IF;
	IF cardinality(batch) < max_tasks THEN
		c.done := c.upto;
		c.xid := '0';
		c.task_id := 0;
	ELSE
		c.xid := (batch[max_tasks]).xid;
		c.task_id := (batch[max_tasks]).task_id;
	END IF;
	INSERT INTO agentpay._task_cursor SELECT c.*
		ON CONFLICT (one) DO UPDATE
	   SET done = excluded.done, upto = excluded.upto, xid = excluded.xid,
		   task_id = excluded.task_id;
	RETURN ARRAY(SELECT t FROM unnest(batch) AS t
				  WHERE agentpay._is_open(t) ORDER BY t.xid, t.task_id);
END$$;
REVOKE ALL ON FUNCTION agentpay._next_tasks(int) FROM PUBLIC;

-- ── how tasks end ───────────────────────────────────────────────────────────
CREATE TYPE agentpay._task_end AS (
	task_id bigint, created_at timestamptz, decision_id uuid, failure text,
	verdict text, answer text, confidence real, score numeric, reasons text[],
	cost numeric, latency_ms double precision, detail jsonb);

-- The one decision of each task: the agent's verdict, or, with a failure, the
-- rules verdict that stands.  Rows are gathered before they are appended: one
-- cannot make a partition of what is being read.
CREATE FUNCTION agentpay._end_tasks(ends agentpay._task_end[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rows agentpay.decisions[];
BEGIN
	SELECT array_agg(ROW(e.decision_id, agentpay._now(), t.point, t.row_id,
			r.occurred_at, r.amount, r.currency, r.base_amount,
			CASE WHEN e.failure IS NULL THEN 'agent' ELSE 'fallback' END,
			'shadow',
			CASE WHEN e.failure IS NULL THEN e.verdict ELSE r.verdict END,
			e.answer, r.assignment, 0, r.propensity,
			CASE WHEN e.failure IS NULL THEN e.score ELSE r.score END,
			CASE WHEN e.failure IS NULL THEN coalesce(e.reasons, '{}')
				 ELSE r.reasons END,
			CASE WHEN e.failure IS NOT NULL THEN r.ruleset_version END,
			t.agent, t.agent_version, e.confidence, e.failure, NULL,
			coalesce(e.cost, 0), e.latency_ms, NULL,
			jsonb_build_object('task_id', t.task_id)
				|| coalesce(e.detail, '{}'), NULL, NULL,
			NULL)::agentpay.decisions)
	  INTO rows
	  FROM unnest(ends) AS e
	  JOIN agentpay._tasks t
		ON t.task_id = e.task_id AND t.created_at = e.created_at
	  JOIN agentpay.decisions r
		ON r.decision_id = t.decision_id AND r.decided_at = t.created_at;
	PERFORM agentpay._append(d) FROM unnest(rows) AS d;
END$$;
REVOKE ALL ON FUNCTION agentpay._end_tasks(agentpay._task_end[]) FROM PUBLIC;

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
			f.failure, v.verdict, v.verdict, f.confidence, x.p, NULL,
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
	  LEFT JOIN LATERAL agentpay._builtin_verdict(t.point,
			x.p::double precision, a.options) AS v ON x.p IS NOT NULL
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN t.agent = ANY (killed) THEN 'killed'
					WHEN refused ? t.task_id::text THEN 'over_budget'
					WHEN x.p IS NULL THEN 'skipped' END AS failure,
			   NOT (t.agent = ANY (killed)
					OR coalesce(refused ? t.task_id::text, false)) AS called,
			   CASE WHEN v.positive THEN x.p ELSE 1 - x.p END::real
				   AS confidence) AS f;

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
	 WHERE e.failure IS NULL;
	PERFORM agentpay._append(c) FROM unnest(calls) AS c;
	PERFORM agentpay._end_tasks(ends);
	PERFORM agentpay._settle(array_agg(ROW(e.task_id, 1,
			CASE WHEN e.failure IS NULL THEN 'settled' ELSE 'released' END,
			coalesce(e.cost, 0))::agentpay._settlement))
	   FROM unnest(ends) AS e WHERE e.failure IS NULL OR e.failure = 'skipped';
END$$;
REVOKE ALL ON FUNCTION agentpay._decide_builtin(agentpay._tasks[])
	FROM PUBLIC;

-- ── claim ───────────────────────────────────────────────────────────────────
-- Why an agent is not called any more, though the task was made; NULL: it is.
CREATE FUNCTION agentpay._why_skipped(t agentpay._tasks) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN a.name IS NULL THEN 'the agent was removed'
				WHEN NOT a.enabled THEN 'the agent is not enabled'
				WHEN a.stage = 'off' THEN 'the agent is off'
				WHEN a.protocol NOT IN ('builtin', 'openai')
					THEN 'protocol ' || a.protocol || ' is not supported'
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

-- ── prepare ─────────────────────────────────────────────────────────────────
-- What of the inputs an agent may see: its fields, with a policy that lets
-- them out.  They were treated when the row was scored.
CREATE FUNCTION agentpay._sendable_fields(a agentpay.agents,
	p agentpay.decision_points) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(array_agg(f), '{}') FROM unnest(a.fields) AS f
	 WHERE agentpay._is_sendable(p, f)
$$;
REVOKE ALL ON FUNCTION agentpay._sendable_fields(agentpay.agents,
	agentpay.decision_points) FROM PUBLIC;

-- Makes tasks ready to be sent: their bodies, and their bounds held.  action:
-- send; wait (try again at run_after); ended (skipped or over budget); stale
-- (not ours).  engage: the budget whose switch is to be engaged.
CREATE FUNCTION agentpay._prepare(lease bigint, task_ids bigint[])
	RETURNS TABLE (task_id bigint, action text, engage text, attempt int,
				   body text, bound numeric, run_after timestamptz,
				   idempotency_key uuid)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	ready jsonb;
	wanted agentpay._reservation[];
	ends agentpay._task_end[];
	outcome jsonb;
	moment timestamptz := agentpay._now();
	killed text[] := agentpay._killed_agents();
BEGIN
	-- one row per task of ours: why not, or body and bound
	WITH ours AS (
		SELECT w.*, t.point, t.row_id, t.decision_id, t.idempotency_key,
			   CASE WHEN w.agent = ANY (killed) THEN 'a switch is engaged'
					ELSE agentpay._why_skipped(t) END AS why
		  FROM agentpay._task_work w
		  JOIN agentpay._tasks t
			ON t.task_id = w.task_id AND t.created_at = w.created_at
		 WHERE w.task_id = ANY (task_ids) AND w.lease = _prepare.lease
		   AND w.state = 'leased'),
	talks AS (
		SELECT a.name, agentpay._sendable_fields(a, p) AS fields,
			   (SELECT array_agg(v.verdict ORDER BY v.rank, v.verdict)
				  FROM agentpay.verdicts v WHERE v.point = p.point) AS verdicts,
			   (SELECT array_agg(v.description ORDER BY v.rank, v.verdict)
				  FROM agentpay.verdicts v WHERE v.point = p.point)
				   AS descriptions
		  FROM agentpay.agents a
		  JOIN agentpay.decision_points p ON p.point = a.point
		 WHERE a.name IN (SELECT o.agent FROM ours o)),
	bodies AS (
		SELECT o.*, p.role, p.table_name, a.cost_center, a.timeout_ms,
			   CASE WHEN o.why IS NULL THEN agentpay._request_body(a.protocol,
					p.role, a.prompt, k.verdicts, k.descriptions,
					(SELECT coalesce(jsonb_object_agg(f, d.inputs -> f), '{}')
					   FROM unnest(k.fields) AS f WHERE d.inputs ? f)::text,
					a.model, a.max_output_tokens, a.options::text) END AS body
		  FROM ours o
		  LEFT JOIN agentpay.agents a ON a.name = o.agent
		  LEFT JOIN agentpay.decision_points p ON p.point = o.point
		  LEFT JOIN talks k ON k.name = o.agent
		  LEFT JOIN agentpay.decisions d ON d.decision_id = o.decision_id
			AND d.decided_at = o.created_at)
	SELECT jsonb_agg(to_jsonb(b) || jsonb_build_object('bound',
				agentpay._cost_bound(a, octet_length(b.body))))
	  INTO ready
	  FROM bodies b LEFT JOIN agentpay.agents a ON a.name = b.agent;

	SELECT array_agg(ROW(r.task_id, r.attempt + 1, r.bound, r.role, r.point,
			r.agent, r.cost_center, r.table_name || ':' || r.row_id,
			moment + make_interval(secs => r.timeout_ms / 1000.0 + 30)
			)::agentpay._reservation ORDER BY r.task_id)
	  INTO wanted
	  FROM jsonb_to_recordset(ready) AS r (task_id bigint, attempt int,
			bound numeric, role text, point text, agent text, cost_center text,
			table_name text, row_id text, timeout_ms int, why text)
	 WHERE r.why IS NULL;
	SELECT jsonb_object_agg(x.task_id, to_jsonb(x)) INTO outcome
	  FROM agentpay._reserve(wanted) AS x;

	SELECT array_agg(ROW(r.task_id, r.created_at, agentpay._uuid_v7(),
			CASE WHEN r.why IS NULL THEN 'over_budget'
				 WHEN r.agent = ANY (killed) THEN 'killed' ELSE 'skipped' END,
			NULL, NULL, NULL, NULL, NULL, r.spent, NULL,
			CASE WHEN r.why IS NULL
				 THEN jsonb_build_object('budget', x.o ->> 'refused_by')
				 ELSE jsonb_build_object('error', r.why) END
			)::agentpay._task_end)
	  INTO ends
	  FROM jsonb_to_recordset(ready) AS r (task_id bigint,
			created_at timestamptz, why text, spent numeric, agent text)
	 CROSS JOIN LATERAL (SELECT outcome -> r.task_id::text AS o) AS x
	 WHERE r.why IS NOT NULL
		OR x.o ->> 'refused_by' IS NOT NULL
		   AND (x.o ->> 'on_exhausted' <> 'wait' OR (x.o ->> 'hopeless')::boolean);
	PERFORM agentpay._end_tasks(ends);
	DELETE FROM agentpay._task_work w USING unnest(ends) AS e
	 WHERE w.task_id = e.task_id;

	RETURN QUERY
	WITH asked AS (
		SELECT r.*, outcome -> r.task_id::text AS o
		  FROM jsonb_to_recordset(ready) AS r (task_id bigint, attempt int,
				body text, bound numeric, timeout_ms int,
				idempotency_key uuid)),
	sent AS (
		UPDATE agentpay._task_work w
		   SET state = 'sent', attempt = w.attempt + 1, run_after = NULL,
			   bound_cost = a.bound, sent_at = moment,
			   lease_until = moment + make_interval(
					secs => a.timeout_ms / 1000.0 + 30)
		  FROM asked a
		 WHERE w.task_id = a.task_id AND a.o ->> 'task_id' IS NOT NULL
		   AND a.o ->> 'refused_by' IS NULL
		RETURNING w.task_id, w.attempt),
	later AS (
		UPDATE agentpay._task_work w
		   SET run_after = moment + interval '1 second'
		  FROM asked a
		 WHERE w.task_id = a.task_id AND a.o ->> 'refused_by' IS NOT NULL
		   AND NOT EXISTS (SELECT FROM unnest(ends) AS e
							WHERE e.task_id = a.task_id)
		RETURNING w.task_id, w.run_after)
	SELECT i.task_id,
		   CASE WHEN s.task_id IS NOT NULL THEN 'send'
				WHEN l.task_id IS NOT NULL THEN 'wait'
				WHEN a.task_id IS NOT NULL THEN 'ended' ELSE 'stale' END,
		   CASE WHEN a.o ->> 'on_exhausted' = 'kill'
				THEN a.o ->> 'refused_by' END,
		   s.attempt, a.body, a.bound, l.run_after, a.idempotency_key
	  FROM unnest(task_ids) AS i (task_id)
	  LEFT JOIN asked a ON a.task_id = i.task_id
	  LEFT JOIN sent s ON s.task_id = i.task_id
	  LEFT JOIN later l ON l.task_id = i.task_id;
END$$;
REVOKE ALL ON FUNCTION agentpay._prepare(bigint, bigint[]) FROM PUBLIC;

-- How the agents of tasks are called.
CREATE FUNCTION agentpay._connections(agents text[])
	RETURNS TABLE (agent text, protocol text, endpoint text, secret text,
				   timeout_ms int, max_attempts int, max_in_flight int,
				   verdicts text[], killed boolean)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT a.name, a.protocol, a.endpoint, a.secret, a.timeout_ms,
		   a.max_attempts, a.max_in_flight,
		   (SELECT array_agg(v.verdict ORDER BY v.rank, v.verdict)
			  FROM agentpay.verdicts v WHERE v.point = a.point),
		   agentpay._killed(p.role, p.point, a.name)
	  FROM agentpay.agents a
	  JOIN agentpay.decision_points p ON p.point = a.point
	 WHERE a.name = ANY (agents)
$$;
REVOKE ALL ON FUNCTION agentpay._connections(text[]) FROM PUBLIC;

-- ── record ──────────────────────────────────────────────────────────────────
-- What became of attempts.  final false: to be tried again in delay_ms.
-- charge: usage (by its tokens), bound, none, uncertain (at the bound), or
-- released (it was not made).  status NULL: it was never handed over, so there
-- is no call to record.
CREATE TYPE agentpay._attempt_end AS (
	task_id bigint, attempt int, final boolean, delay_ms int,
	failure text, charge text, status text, error text,
	verdict text, confidence real, score numeric, reasons text[],
	response_model text, request_id text, input_tokens bigint,
	cached_tokens bigint, output_tokens bigint, finish_reason text,
	http_status int, called_at timestamptz, queued_ms double precision,
	in_flight_at_start int, latency_ms double precision, request_sha256 text);

-- USD for tokens, rounded up to the nano-dollar; input includes cached.
CREATE FUNCTION agentpay._usage_cost(definition jsonb, input bigint,
	cached bigint, output bigint) RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT trim_scale(ceil(1000 * (
			(input - cached) * coalesce(a.price_input_per_million, 0)
			+ cached * coalesce(a.price_cached_input_per_million,
								a.price_input_per_million, 0)
			+ output * coalesce(a.price_output_per_million, 0)
			+ 1000000 * coalesce(a.price_per_call, 0))) / 1000000000)
	  FROM jsonb_to_record(definition) AS a (price_input_per_million numeric,
			price_cached_input_per_million numeric,
			price_output_per_million numeric, price_per_call numeric)
$$;
REVOKE ALL ON FUNCTION agentpay._usage_cost(jsonb, bigint, bigint, bigint)
	FROM PUBLIC;

-- What each attempt costs, by task_id.
CREATE FUNCTION agentpay._charges(results jsonb, ids bigint[]) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_object_agg(r.task_id, CASE r.charge
			WHEN 'usage' THEN agentpay._usage_cost(v.definition,
				r.input_tokens, r.cached_tokens, r.output_tokens)
			WHEN 'bound' THEN w.bound_cost
			WHEN 'uncertain' THEN w.bound_cost ELSE 0 END)
	  FROM jsonb_populate_recordset(NULL::agentpay._attempt_end, results) AS r
	  JOIN agentpay._task_work w ON w.task_id = r.task_id
	  JOIN agentpay._tasks t
		ON t.task_id = w.task_id AND t.created_at = w.created_at
	  JOIN agentpay.agent_versions v
		ON v.agent = t.agent AND v.version = t.agent_version
	 WHERE r.task_id = ANY (ids)
$$;
REVOKE ALL ON FUNCTION agentpay._charges(jsonb, bigint[]) FROM PUBLIC;

-- Writes calls, decisions and settlements of the attempts that are still the
-- lease's, and ends or puts back their work.  The caller holds the kill lock
-- shared, from an earlier statement: an answer that comes after a kill is
-- stored, and not applied.
CREATE FUNCTION agentpay._record(lease bigint, results jsonb)
	RETURNS TABLE (task_id bigint, again boolean)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	killed text[] := agentpay._killed_agents();
	ids bigint[];
	ends agentpay._task_end[];
	calls agentpay.agent_calls[];
	settlements agentpay._settlement[];
	charged jsonb;
BEGIN
	SELECT array_agg(x.task_id) INTO ids
	  FROM (SELECT w.task_id FROM agentpay._task_work w
			  JOIN jsonb_populate_recordset(NULL::agentpay._attempt_end,
											results) AS r
				ON r.task_id = w.task_id AND r.attempt = w.attempt
			 WHERE w.lease = _record.lease AND w.state = 'sent'
			 ORDER BY w.task_id FOR UPDATE OF w) AS x;
	IF ids IS NULL THEN
		RETURN;
	END IF;
	charged := agentpay._charges(results, ids);

	SELECT array_agg(ROW(r.task_id, w.created_at, agentpay._uuid_v7(),
			f.failure, r.verdict, r.verdict, r.confidence, r.score, r.reasons,
			w.spent + (charged ->> r.task_id::text)::numeric, r.latency_ms,
			CASE WHEN r.error <> '' AND f.failure IS NOT NULL
				 THEN jsonb_build_object('error', r.error) END
			)::agentpay._task_end ORDER BY r.task_id)
	  INTO ends
	  FROM jsonb_populate_recordset(NULL::agentpay._attempt_end, results) AS r
	  JOIN agentpay._task_work w ON w.task_id = r.task_id
	  LEFT JOIN agentpay.agents a ON a.name = w.agent
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN w.agent = ANY (killed) THEN 'killed'
					WHEN r.failure IS NOT NULL THEN r.failure
					WHEN r.confidence < coalesce(a.min_confidence, 0)
						THEN 'low_confidence' END AS failure) AS f
	 WHERE r.task_id = ANY (ids) AND (r.final OR w.agent = ANY (killed));

	SELECT array_agg(ROW(agentpay._uuid_v7(), r.called_at, r.task_id,
			r.attempt, e.decision_id, t.point, t.row_id, t.agent,
			t.agent_version, v.definition ->> 'cost_center',
			v.definition ->> 'protocol', v.definition ->> 'model',
			r.response_model, r.request_id, r.input_tokens, r.cached_tokens,
			r.output_tokens, r.finish_reason, r.http_status, r.status,
			nullif(r.error, ''), w.bound_cost,
			(charged ->> r.task_id::text)::numeric, r.queued_ms,
			r.in_flight_at_start, r.latency_ms,
			decode(r.request_sha256, 'hex'), NULL, NULL,
			NULL)::agentpay.agent_calls ORDER BY r.task_id)
	  INTO calls
	  FROM jsonb_populate_recordset(NULL::agentpay._attempt_end, results) AS r
	  JOIN agentpay._task_work w ON w.task_id = r.task_id
	  JOIN agentpay._tasks t
		ON t.task_id = w.task_id AND t.created_at = w.created_at
	  JOIN agentpay.agent_versions v
		ON v.agent = t.agent AND v.version = t.agent_version
	  LEFT JOIN unnest(ends) AS e ON e.task_id = r.task_id
	 WHERE r.task_id = ANY (ids) AND r.status IS NOT NULL;

	SELECT array_agg(ROW(r.task_id, r.attempt,
			CASE WHEN r.charge IN ('released', 'uncertain') THEN r.charge
				 ELSE 'settled' END,
			(charged ->> r.task_id::text)::numeric)::agentpay._settlement)
	  INTO settlements
	  FROM jsonb_populate_recordset(NULL::agentpay._attempt_end, results) AS r
	 WHERE r.task_id = ANY (ids);

	PERFORM agentpay._settle(settlements);
	PERFORM agentpay._append(c) FROM unnest(calls) AS c;
	PERFORM agentpay._end_tasks(ends);
	DELETE FROM agentpay._task_work w USING unnest(ends) AS e
	 WHERE w.task_id = e.task_id;
	RETURN QUERY
	UPDATE agentpay._task_work w
	   SET state = 'leased', lease_until = NULL, bound_cost = NULL,
		   sent_at = NULL, spent = w.spent + (charged ->> r.task_id::text)::numeric,
		   run_after = agentpay._now() + make_interval(
				secs => r.delay_ms / 1000.0)
	  FROM jsonb_populate_recordset(NULL::agentpay._attempt_end, results) AS r
	 WHERE w.task_id = r.task_id AND w.task_id = ANY (ids)
	RETURNING w.task_id, true;
END$$;
REVOKE ALL ON FUNCTION agentpay._record(bigint, jsonb) FROM PUBLIC;

-- ── after a worker is gone ──────────────────────────────────────────────────
-- Tasks that an earlier dispatcher had sent: nobody knows what became of the
-- call, so it is charged at its bound and not repeated.  Needs the certainty
-- that no dispatcher lives.
CREATE FUNCTION agentpay._heal_leases() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	work agentpay._task_work[];
	ends agentpay._task_end[];
	calls agentpay.agent_calls[];
BEGIN
	SELECT array_agg(x ORDER BY x.task_id) INTO work
	  FROM (SELECT * FROM agentpay._task_work w WHERE w.state = 'sent'
			   FOR UPDATE) AS x;
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
	PERFORM agentpay._append(c) FROM unnest(calls) AS c;
	PERFORM agentpay._end_tasks(ends);
	DELETE FROM agentpay._task_work w USING unnest(ends) AS e
	 WHERE w.task_id = e.task_id;
	RETURN cardinality(work);
END$$;
REVOKE ALL ON FUNCTION agentpay._heal_leases() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._heal_leases() IS 'ends what a dispatcher that is gone had sent, as uncertain; charged at the bound';

-- A task that cannot be prepared, whatever is tried.
CREATE FUNCTION agentpay._give_up(lease bigint, task bigint, problem text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	w agentpay._task_work;
BEGIN
	DELETE FROM agentpay._task_work x
	 WHERE x.task_id = task AND x.lease = _give_up.lease
	   AND x.state = 'leased'
	RETURNING * INTO w;
	IF FOUND THEN
		PERFORM agentpay._end_tasks(ARRAY[ROW(w.task_id, w.created_at,
			agentpay._uuid_v7(), 'skipped', NULL, NULL, NULL, NULL, NULL,
			w.spent, NULL, jsonb_build_object('error', problem)
			)::agentpay._task_end]);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._give_up(bigint, bigint, text) FROM PUBLIC;

-- A dispatcher begins: what was sent is healed, what waits becomes its own.
CREATE FUNCTION agentpay._take_over(lease bigint) RETURNS text[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._heal_leases();
	UPDATE agentpay._task_work w SET lease = _take_over.lease;
	RETURN ARRAY(SELECT DISTINCT w.agent FROM agentpay._task_work w);
END$$;
REVOKE ALL ON FUNCTION agentpay._take_over(bigint) FROM PUBLIC;

-- ── views ───────────────────────────────────────────────────────────────────
CREATE VIEW agentpay.tasks AS
	SELECT t.task_id, t.point, t.row_id, t.agent, t.agent_version,
		   CASE WHEN d.decision_id IS NOT NULL THEN 'done'
				ELSE coalesce(w.state, 'queued') END AS state,
		   coalesce(w.attempt, c.attempts, 0) AS attempts, t.created_at,
		   w.run_after, t.decide_by, w.lease_until,
		   d.decided_at AS finished_at, t.idempotency_key, d.decision_id
	  FROM agentpay._tasks t
	  LEFT JOIN agentpay._task_work w ON w.task_id = t.task_id
	  LEFT JOIN LATERAL agentpay._ending(t) AS d ON true
	  LEFT JOIN LATERAL (
		SELECT max(x.attempt) AS attempts FROM agentpay.agent_calls x
		 WHERE x.task_id = t.task_id) AS c ON true;
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
			SELECT t.point, t.agent, 'queued', t.created_at, t.decide_by
			  FROM agentpay._queued_tasks() AS t) AS q
	 GROUP BY q.point, q.agent, q.state;
REVOKE ALL ON agentpay.queue_status FROM PUBLIC;
COMMENT ON VIEW agentpay.queue_status IS 'tasks that are not done';

CREATE FUNCTION agentpay._stat_workers(OUT worker text, OUT pid int,
	OUT state text, OUT in_flight int, OUT calls bigint, OUT restarts bigint,
	OUT last_error text, OUT last_error_at timestamptz)
	RETURNS SETOF record
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_stat_workers';
REVOKE ALL ON FUNCTION agentpay._stat_workers() FROM PUBLIC;

CREATE VIEW agentpay.stat_workers AS
	SELECT s.worker, s.pid, s.state, s.in_flight, s.calls, s.restarts,
		   '{}'::text[] AS breaker_open, s.last_error, s.last_error_at
	  FROM agentpay._stat_workers() AS s;
REVOKE ALL ON agentpay.stat_workers FROM PUBLIC;
COMMENT ON VIEW agentpay.stat_workers IS 'the launcher, and this database''s dispatcher and governor; without a pid it does not run';
