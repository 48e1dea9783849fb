-- 57_calls.sql
--		A call: prepared and paid for ahead, recorded and settled afterwards.
--
-- Two transactions, with nothing open in between.  _prepare() commits the
-- hold and the state `sent` before anything is handed over, so that a crash
-- cannot forget what may have been spent; _record() writes call, decision and
-- settlement together.  Locks as in 50_control.sql.

-- ── prepare ─────────────────────────────────────────────────────────────────
-- What of the inputs an agent may see: its fields, with a policy that lets
-- them out.  They were treated when the row was scored.
CREATE FUNCTION agentpay._sendable_fields(a agentpay.agents,
	p agentpay.decision_points) RETURNS text[]
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT coalesce(array_agg(f), '{}') FROM unnest(a.fields) AS f
	 WHERE agentpay._is_sendable(p, f));
END$$;
REVOKE ALL ON FUNCTION agentpay._sendable_fields(agentpay.agents,
	agentpay.decision_points) FROM PUBLIC;

-- A task on its way to being sent; why: it is not, for this reason.
CREATE TYPE agentpay._ready AS (
	task_id bigint, created_at timestamptz, agent text, attempt int,
	spent numeric, point text, row_id text, idempotency_key uuid, role text,
	table_name oid, cost_center text, timeout_ms int, why text, body text,
	bound numeric);

-- The tasks that still wait, with their bodies and bounds, locked.  What the
-- rows of a batch have in common is worked out once.
CREATE FUNCTION agentpay._get_ready(task_ids bigint[], killed text[])
	RETURNS agentpay._ready[]
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	WITH ours AS MATERIALIZED (
		SELECT w.* FROM agentpay._task_work w
		 WHERE w.task_id = ANY (task_ids) AND w.state = 'leased'
		   FOR UPDATE SKIP LOCKED),
	asked AS MATERIALIZED (
		SELECT o.task_id, o.created_at, o.agent, o.attempt, o.spent, t.point,
			   t.row_id, t.decision_id, t.agent_version, t.idempotency_key,
			   t.decide_by
		  FROM ours o
		  JOIN agentpay._tasks t
			ON t.task_id = o.task_id AND t.created_at = o.created_at),
	one AS MATERIALIZED (
		SELECT DISTINCT ON (o.agent, o.agent_version, o.point) o.agent,
			   o.agent_version, o.point, o.task_id, o.created_at
		  FROM asked o
		 ORDER BY o.agent, o.agent_version, o.point,
			   o.decide_by DESC NULLS FIRST),
	talks AS MATERIALIZED (
		SELECT o.agent, o.agent_version, o.point, a.protocol, a.prompt,
			   a.model, a.max_output_tokens, a.cost_center, a.timeout_ms,
			   p.role, p.table_name,
			   CASE WHEN o.agent = ANY (killed) THEN 'a switch is engaged'
					ELSE (SELECT agentpay._why_skipped(t)
							FROM agentpay._tasks t
						   WHERE t.task_id = o.task_id
							 AND t.created_at = o.created_at) END AS why,
			   agentpay._sendable_fields(a, p) AS fields, v.verdicts, v.notes,
			   agentpay._protocol_options(a.options)::text AS options,
			   -- as _cost_bound() has it, for one byte and for none
			   coalesce(greatest(a.price_input_per_million,
								 a.price_cached_input_per_million), 0) AS byte,
			   coalesce(a.max_output_tokens * a.price_output_per_million, 0)
			   + 1000000 * coalesce(a.price_per_call, 0) AS call
		  FROM one o
		  LEFT JOIN agentpay.agents a ON a.name = o.agent
		  LEFT JOIN agentpay.decision_points p ON p.point = o.point
		  LEFT JOIN LATERAL agentpay._offered_verdicts(p) AS v ON true)
	SELECT array_agg(ROW(o.task_id, o.created_at, o.agent, o.attempt, o.spent,
			o.point, o.row_id, o.idempotency_key, k.role, k.table_name,
			k.cost_center, k.timeout_ms, w.why, b.body,
			trim_scale(ceil(1000 * (octet_length(b.body) * k.byte + k.call))
					   / 1000000000))::agentpay._ready)
	  FROM asked o
	  JOIN talks k ON k.agent = o.agent AND k.point = o.point
	   AND k.agent_version = o.agent_version
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN o.decide_by <= agentpay._now() AND k.why IS NULL
					THEN 'decide_by passed' ELSE k.why END AS why) AS w
	  LEFT JOIN agentpay.decisions d ON w.why IS NULL
	   AND d.decision_id = o.decision_id AND d.decided_at = o.created_at
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN w.why IS NULL THEN agentpay._request_body(
				k.protocol, k.role, k.prompt, k.verdicts, k.notes,
				(SELECT coalesce(jsonb_object_agg(f, d.inputs -> f), '{}')
				   FROM unnest(k.fields) AS f WHERE d.inputs ? f)::text,
				k.model, k.max_output_tokens, k.options) END AS body
		-- once, though it is asked for twice
		OFFSET 0) AS b);
END$$;
REVOKE ALL ON FUNCTION agentpay._get_ready(bigint[], text[]) FROM PUBLIC;

CREATE TYPE agentpay._refusal AS (
	task_id bigint, refused_by text, on_exhausted text, hopeless boolean);

-- Makes tasks ready to be sent: their bodies, and their bounds held.  action:
-- send; wait (try again in a second); ended (skipped or over budget).  Without
-- a row: another dispatcher has it.  engage: the budget whose switch is to be
-- engaged.
CREATE FUNCTION agentpay._prepare(lease bigint, task_ids bigint[])
	RETURNS TABLE (task_id bigint, action text, engage text, attempt int,
				   body text, idempotency_key uuid)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	alone constant boolean := pg_current_xact_id_if_assigned() IS NULL;
	killed text[] := agentpay._killed_agents();
	ready agentpay._ready[] := agentpay._get_ready(task_ids, killed);
	moment timestamptz := agentpay._now();
	wanted agentpay._reservation[];
	refused agentpay._refusal[];
	ends agentpay._task_end[];
BEGIN
	IF ready IS NULL THEN
		RETURN;
	END IF;
	SELECT array_agg(ROW(r.task_id, r.attempt + 1, r.bound, r.role, r.point,
			r.agent, r.cost_center, r.table_name || ':' || r.row_id,
			moment + make_interval(secs => r.timeout_ms / 1000.0 + 30)
			)::agentpay._reservation ORDER BY r.task_id)
	  INTO wanted FROM unnest(ready) AS r WHERE r.why IS NULL;
	SELECT array_agg(ROW(x.task_id, x.refused_by, x.on_exhausted, x.hopeless
			)::agentpay._refusal)
	  INTO refused FROM agentpay._reserve(wanted) AS x
	 WHERE x.refused_by IS NOT NULL;

	IF refused IS NOT NULL
	   OR EXISTS (SELECT FROM unnest(ready) AS r WHERE r.why IS NOT NULL) THEN
		SELECT array_agg(ROW(r.task_id, r.created_at, agentpay._uuid_v7(),
				CASE WHEN r.why IS NULL THEN 'over_budget'
					 WHEN r.agent = ANY (killed) THEN 'killed'
					 ELSE 'skipped' END,
				NULL, NULL, NULL, NULL, NULL, r.spent, NULL,
				CASE WHEN r.why IS NULL
					 THEN jsonb_build_object('budget', x.refused_by)
					 ELSE jsonb_build_object('error', r.why) END
				)::agentpay._task_end)
		  INTO ends
		  FROM unnest(ready) AS r
		  LEFT JOIN unnest(refused) AS x ON x.task_id = r.task_id
		 WHERE r.why IS NOT NULL
			OR x.refused_by IS NOT NULL
			   AND (x.on_exhausted <> 'wait' OR x.hopeless);
		PERFORM agentpay._end_tasks(ends) WHERE ends IS NOT NULL;
		DELETE FROM agentpay._task_work w USING unnest(ends) AS e
		 WHERE w.task_id = e.task_id;
		UPDATE agentpay._task_work w SET run_after = moment + interval '1 second'
		  FROM unnest(refused) AS x
		 WHERE w.task_id = x.task_id AND x.on_exhausted = 'wait'
		   AND NOT x.hopeless;
	END IF;
	UPDATE agentpay._task_work w
	   SET state = 'sent', lease = _prepare.lease, attempt = w.attempt + 1,
		   run_after = NULL, bound_cost = r.bound, sent_at = moment,
		   lease_until = moment + make_interval(
				secs => r.timeout_ms / 1000.0 + 30)
	  FROM unnest(ready) AS r
	 WHERE w.task_id = r.task_id AND r.why IS NULL
	   AND (refused IS NULL OR r.task_id <> ALL (
			SELECT x.task_id FROM unnest(refused) AS x));

	-- nothing was decided, here or before in this transaction: the holds wait
	-- for the disk before the calls begin, when nobody waits for the budgets'
	-- locks any more
	IF ends IS NULL AND alone THEN
		PERFORM set_config('synchronous_commit', 'off', true);
	END IF;

	RETURN QUERY
	SELECT r.task_id,
		   CASE WHEN x.task_id IS NULL AND r.why IS NULL THEN 'send'
				WHEN x.on_exhausted = 'wait' AND NOT x.hopeless THEN 'wait'
				ELSE 'ended' END,
		   CASE WHEN x.on_exhausted = 'kill' THEN x.refused_by END,
		   r.attempt + 1, r.body, r.idempotency_key
	  FROM unnest(ready) AS r
	  LEFT JOIN unnest(refused) AS x ON x.task_id = r.task_id;
END$$;
REVOKE ALL ON FUNCTION agentpay._prepare(bigint, bigint[]) FROM PUBLIC;

-- Ends tasks that wait, unasked.
CREATE FUNCTION agentpay._skip(task_ids bigint[], problem text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ends agentpay._task_end[];
BEGIN
	WITH gone AS (
		DELETE FROM agentpay._task_work w
		 WHERE w.task_id IN (
			SELECT x.task_id FROM agentpay._task_work x
			 WHERE x.task_id = ANY (task_ids) AND x.state = 'leased'
			   FOR UPDATE SKIP LOCKED)
		RETURNING w.task_id, w.created_at, w.spent)
	SELECT array_agg(ROW(g.task_id, g.created_at, agentpay._uuid_v7(),
			'skipped', NULL, NULL, NULL, NULL, NULL, g.spent, NULL,
			jsonb_build_object('error', problem))::agentpay._task_end
			ORDER BY g.task_id)
	  INTO ends FROM gone g;
	PERFORM agentpay._end_tasks(ends) WHERE ends IS NOT NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._skip(bigint[], text) FROM PUBLIC;

-- How the agents of tasks are called.
CREATE FUNCTION agentpay._connections(agents text[])
	RETURNS TABLE (agent text, protocol text, endpoint text, secret text,
				   timeout_ms int, max_attempts int, max_in_flight int,
				   verdicts text[], killed boolean, version int, model text,
				   options text, positive boolean[], default_verdict text,
				   positive_verdict text, origin_allowed boolean,
				   calls_per_second double precision)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT a.name, a.protocol, a.endpoint, a.secret, a.timeout_ms,
		   a.max_attempts, a.max_in_flight,
		   (SELECT array_agg(v.verdict ORDER BY v.rank, v.verdict)
			  FROM agentpay.verdicts v WHERE v.point = a.point),
		   agentpay._killed(p.role, p.point, a.name),
		   (SELECT max(v.version) FROM agentpay.agent_versions v
			 WHERE v.agent = a.name),
		   a.model, agentpay._protocol_options(a.options)::text,
		   (SELECT array_agg(v.positive ORDER BY v.rank, v.verdict)
			  FROM agentpay.verdicts v WHERE v.point = a.point),
		   (SELECT v.verdict FROM agentpay.verdicts v
			 WHERE v.point = a.point AND v.is_default),
		   (SELECT v.verdict FROM agentpay.verdicts v
			 WHERE v.point = a.point AND v.positive
			 ORDER BY v.rank DESC NULLS LAST, v.verdict LIMIT 1),
		   EXISTS (SELECT FROM agentpay.allowed_endpoints e
					WHERE e.origin = substring(a.endpoint
											   FROM '^[^/]*//[^/?#]*')),
		   coalesce((a.options ->> 'calls_per_second')::double precision, 0)
	  FROM agentpay.agents a
	  JOIN agentpay.decision_points p ON p.point = a.point
	 WHERE a.name = ANY (agents);
END$$;
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
	explanation text, response_model text, request_id text, input_tokens bigint,
	cached_tokens bigint, output_tokens bigint, finish_reason text,
	http_status int, called_at timestamptz, queued_ms double precision,
	in_flight_at_start int, latency_ms double precision, request_sha256 text,
	-- to be sealed; NULL without a master key
	request_body text, answer_body text);

-- What was asked and answered, sealed under the key of the payment's subject;
-- NULL: there is no key, or it is destroyed.
CREATE FUNCTION agentpay._seal_call(call_id uuid, key_id bigint, request text,
	answer text) RETURNS bytea
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN agentpay._seal_text('c', call_id, key_id,
		jsonb_build_object('request', request, 'answer', answer)::text);
END$$;
REVOKE ALL ON FUNCTION agentpay._seal_call(uuid, bigint, text, text)
	FROM PUBLIC;

-- Writes the calls of the attempts that are still the lease's, and ends their
-- work or puts it back; again: the tasks that are to be tried once more.  What
-- is to be settled and decided is the caller's to write.
CREATE FUNCTION agentpay._take_results(lease bigint,
	results agentpay._attempt_end[], killed text[],
	OUT settled agentpay._settlement[], OUT ends agentpay._task_end[],
	OUT again bigint[], OUT waits boolean)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_take_results';
REVOKE ALL ON FUNCTION agentpay._take_results(bigint,
	agentpay._attempt_end[], text[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._take_results(bigint,
	agentpay._attempt_end[], text[]) IS 'what became of attempts: writes their calls, and says what follows';

-- Writes calls, decisions and settlements of the attempts that are still the
-- lease's, and ends their work or puts it back: the rows are the tasks that are
-- to be tried again.  The caller holds the kill lock
-- shared, from an earlier statement: an answer that comes after a kill is
-- stored, and not applied.
CREATE FUNCTION agentpay._record(lease bigint,
	results agentpay._attempt_end[]) RETURNS TABLE (task_id bigint)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	settled agentpay._settlement[];
	ends agentpay._task_end[];
	again bigint[];
	waits boolean;
BEGIN
	SELECT x.settled, x.ends, x.again, x.waits
	  INTO settled, ends, again, waits
	  FROM agentpay._take_results(_record.lease, results,
								  agentpay._killed_agents()) AS x;
	IF settled IS NULL THEN
		RETURN;
	END IF;
	PERFORM agentpay._settle(settled);
	IF ends IS NOT NULL THEN
		PERFORM agentpay._end_tasks(ends, waits);
	END IF;
	RETURN QUERY SELECT a FROM unnest(again) AS a;
END$$;
REVOKE ALL ON FUNCTION agentpay._record(bigint,
	agentpay._attempt_end[]) FROM PUBLIC;
