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
		SELECT a.name, agentpay._sendable_fields(a, p) AS fields, o.verdicts,
			   o.notes
		  FROM agentpay.agents a
		  JOIN agentpay.decision_points p ON p.point = a.point
		 CROSS JOIN LATERAL agentpay._offered_verdicts(p) AS o
		 WHERE a.name IN (SELECT o.agent FROM ours o)),
	bodies AS (
		SELECT o.*, p.role, p.table_name, a.cost_center, a.timeout_ms,
			   CASE WHEN o.why IS NULL THEN agentpay._request_body(a.protocol,
					p.role, a.prompt, k.verdicts, k.notes,
					(SELECT coalesce(jsonb_object_agg(f, d.inputs -> f), '{}')
					   FROM unnest(k.fields) AS f WHERE d.inputs ? f)::text,
					a.model, a.max_output_tokens,
					agentpay._protocol_options(a.options)::text) END AS body
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
				   verdicts text[], killed boolean, version int, model text,
				   options text, positive boolean[], default_verdict text,
				   positive_verdict text, origin_allowed boolean)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
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
											   FROM '^[^/]*//[^/?#]*'))
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
	explanation text, response_model text, request_id text, input_tokens bigint,
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

-- What each attempt costs, by task_id.  Usage beyond the bound cannot be: the
-- bound counts each byte of the request, and all of max_output_tokens.
CREATE FUNCTION agentpay._charges(results jsonb, ids bigint[]) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT jsonb_object_agg(r.task_id, CASE r.charge
			WHEN 'usage' THEN least(agentpay._usage_cost(v.definition,
				r.input_tokens, r.cached_tokens, r.output_tokens),
				w.bound_cost)
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
			-- redacted; there are no keys yet to seal it with
			jsonb_strip_nulls(jsonb_build_object(
				'error', CASE WHEN f.failure IS NOT NULL
						 THEN nullif(r.error, '') END,
				'explanation', r.explanation))
			)::agentpay._task_end ORDER BY r.task_id)
	  INTO ends
	  FROM jsonb_populate_recordset(NULL::agentpay._attempt_end, results) AS r
	  JOIN agentpay._task_work w ON w.task_id = r.task_id
	  JOIN agentpay._tasks t
		ON t.task_id = w.task_id AND t.created_at = w.created_at
	  JOIN agentpay.decisions d
		ON d.decision_id = t.decision_id AND d.decided_at = t.created_at
	  LEFT JOIN agentpay.agents a ON a.name = w.agent
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN w.agent = ANY (killed) THEN 'killed'
					WHEN r.failure IS NOT NULL THEN r.failure
					ELSE agentpay._judge(t, a, d, r.verdict, r.confidence)
					END AS failure) AS f
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
