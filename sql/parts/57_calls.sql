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

-- How the tasks of an agent's version are put to it; why: they are not, for this
-- reason.  The prices are USD per million, as _cost_bound() has them, of a byte
-- and of a call without one.
CREATE FUNCTION agentpay._talk(t agentpay._tasks, killed text[], OUT why text,
	OUT protocol text, OUT role text, OUT prompt text, OUT verdicts text[],
	OUT notes text[], OUT fields text[], OUT model text,
	OUT max_output_tokens int, OUT options text, OUT table_name oid,
	OUT cost_center text, OUT timeout_ms int, OUT price_of_byte numeric,
	OUT price_of_call numeric)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
	p agentpay.decision_points;
BEGIN
	why := CASE WHEN t.agent = ANY (killed) THEN 'a switch is engaged'
		   ELSE agentpay._why_skipped(t) END;
	IF why IS NOT NULL THEN
		RETURN;
	END IF;
	SELECT * INTO a FROM agentpay.agents x WHERE x.name = t.agent;
	SELECT * INTO p FROM agentpay.decision_points x WHERE x.point = t.point;
	SELECT o.verdicts, o.notes INTO verdicts, notes
	  FROM agentpay._offered_verdicts(p) AS o;
	protocol := a.protocol;
	role := p.role;
	prompt := a.prompt;
	fields := agentpay._sendable_fields(a, p);
	model := a.model;
	max_output_tokens := a.max_output_tokens;
	options := agentpay._protocol_options(a.options)::text;
	table_name := p.table_name;
	cost_center := a.cost_center;
	timeout_ms := a.timeout_ms;
	price_of_byte := coalesce(greatest(a.price_input_per_million,
									   a.price_cached_input_per_million), 0);
	price_of_call := coalesce(a.max_output_tokens
							  * a.price_output_per_million, 0)
					 + 1000000 * coalesce(a.price_per_call, 0);
END$$;
REVOKE ALL ON FUNCTION agentpay._talk(agentpay._tasks, text[]) FROM PUBLIC;

-- A task on its way to being sent, as it was before; why: it is not, for this
-- reason.
CREATE TYPE agentpay._ready AS (
	task_id bigint, created_at timestamptz, agent text, attempt int,
	spent numeric, idempotency_key uuid, why text, body text);

-- The tasks that still wait, locked; those that can be sent are marked as sent,
-- and wanted says what is to be held for them.
CREATE FUNCTION agentpay._make_ready(lease bigint, task_ids bigint[],
	killed text[], moment timestamptz, OUT ready agentpay._ready[],
	OUT wanted agentpay._reservation[], OUT all_fit boolean)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_make_ready';
REVOKE ALL ON FUNCTION agentpay._make_ready(bigint, bigint[], text[],
	timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._make_ready(bigint, bigint[], text[],
	timestamptz) IS 'bodies and bounds of tasks that wait; the caller holds the bounds, or takes the mark back';

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
	moment timestamptz := agentpay._now();
	ready agentpay._ready[];
	wanted agentpay._reservation[];
	all_fit boolean;
	refused agentpay._refusal[];
	ends agentpay._task_end[];
BEGIN
	SELECT x.ready, x.wanted, x.all_fit INTO ready, wanted, all_fit
	  FROM agentpay._make_ready(_prepare.lease, task_ids, killed, moment) AS x;
	IF ready IS NULL THEN
		RETURN;
	END IF;
	IF wanted IS NOT NULL THEN
		SELECT array_agg(ROW(x.task_id, x.refused_by, x.on_exhausted,
				x.hopeless)::agentpay._refusal)
		  INTO refused FROM agentpay._reserve(wanted) AS x
		 WHERE x.refused_by IS NOT NULL;
	END IF;

	IF refused IS NOT NULL OR NOT all_fit THEN
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
		UPDATE agentpay._task_work w
		   SET state = 'leased', lease = NULL, lease_until = NULL,
			   attempt = w.attempt - 1, bound_cost = NULL, sent_at = NULL,
			   run_after = moment + interval '1 second'
		  FROM unnest(refused) AS x
		 WHERE w.task_id = x.task_id AND x.on_exhausted = 'wait'
		   AND NOT x.hopeless;
	END IF;

	-- nothing was decided, here or before in this transaction: the holds wait
	-- for the disk before the calls begin, when nobody waits for the budgets'
	-- locks any more
	IF ends IS NULL AND alone THEN
		PERFORM set_config('synchronous_commit', 'off', true);
	END IF;

	IF refused IS NULL AND all_fit THEN
		RETURN QUERY
		SELECT r.task_id, 'send', NULL::text, r.attempt + 1, r.body,
			   r.idempotency_key
		  FROM unnest(ready) AS r;
		RETURN;
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
-- work or puts it back; again: the tasks that are to be tried once more; awaited:
-- those that end and have a decide_by.  What is to be settled and decided is the
-- caller's to write.
CREATE FUNCTION agentpay._take_results(lease bigint,
	results agentpay._attempt_end[], killed text[],
	OUT settled agentpay._settlement[], OUT ends agentpay._task_end[],
	OUT again bigint[], OUT awaited bigint[])
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
	awaited bigint[];
BEGIN
	SELECT x.settled, x.ends, x.again, x.awaited
	  INTO settled, ends, again, awaited
	  FROM agentpay._take_results(_record.lease, results,
								  agentpay._killed_agents()) AS x;
	IF settled IS NULL THEN
		RETURN;
	END IF;
	PERFORM agentpay._settle(settled);
	IF ends IS NOT NULL THEN
		PERFORM agentpay._end_tasks(ends, awaited);
	END IF;
	RETURN QUERY SELECT a FROM unnest(again) AS a;
END$$;
REVOKE ALL ON FUNCTION agentpay._record(bigint,
	agentpay._attempt_end[]) FROM PUBLIC;
