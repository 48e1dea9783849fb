-- 71_timeline.sql
--		The whole story of one payment at one point, from the logs.
--
-- Each part gives moment, order within it, event, actor, verdict and note.

-- The tasks about a row, with when they were asked.  Those of the INSERT share
-- its transaction; others are found by their decisions, and while they are new
-- by _asked_later.
CREATE FUNCTION agentpay._tasks_of(r agentpay.decisions)
	RETURNS TABLE (t agentpay._tasks, asked_at timestamptz)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH ids AS (
		SELECT t.task_id FROM agentpay._tasks t
		 WHERE t.xid = r.xid AND t.decision_id = r.decision_id
		   AND t.created_at = r.decided_at
		UNION
		SELECT l.task_id FROM agentpay._asked_later l
		 WHERE l.decision_id = r.decision_id
		UNION
		SELECT (d.detail ->> 'task_id')::bigint FROM agentpay.decisions d
		 WHERE d.point = r.point AND d.row_id = r.row_id
		   AND d.kind IN ('agent', 'fallback') AND d.detail ? 'task_id')
	SELECT t, coalesce(l.asked_at, (
			SELECT x.decided_at FROM agentpay._tasks b
			 CROSS JOIN LATERAL agentpay._ending(b) AS x
			 WHERE b.task_id = t.escalated_from AND b.created_at = t.created_at),
			t.created_at)
	  FROM ids i
	  JOIN agentpay._tasks t
		ON t.task_id = i.task_id AND t.created_at = r.decided_at
	  LEFT JOIN agentpay._asked_later l
		ON l.decision_id = r.decision_id AND l.task_id = t.task_id
$$;
REVOKE ALL ON FUNCTION agentpay._tasks_of(agentpay.decisions) FROM PUBLIC;

CREATE FUNCTION agentpay._timeline_rules(r agentpay.decisions)
	RETURNS TABLE (at timestamptz, ord int, event text, actor text,
				   verdict text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.decided_at, 0, 'inserted', NULL::text, NULL::text,
		   concat_ws('; ', nullif(concat_ws(' ', r.amount, r.currency), ''),
			'its own time: ' || r.occurred_at,
			'repeats the idempotency key of ' || (r.detail ->> 'repeats'))
	UNION ALL
	SELECT d.decided_at, CASE d.kind WHEN 'rules' THEN 1 ELSE 2 END,
		   CASE d.kind WHEN 'rules' THEN 'rules' ELSE 'rules in shadow' END,
		   'version ' || coalesce(d.ruleset_version::text, 'none'), d.verdict,
		   nullif(concat_ws('; ',
			nullif(array_to_string(d.reasons, ', '), ''),
			'score ' || trim_scale(d.score),
			CASE d.assignment WHEN 'explore'
				 THEN 'let through to learn its label; the rules said '
					  || d.answer
				 WHEN 'audit' THEN 'drawn for audit'
				 WHEN 'holdout' THEN 'control group: agents do not count' END,
			'errors: ' || (SELECT string_agg(k, ', ')
							 FROM jsonb_object_keys(CASE
								jsonb_typeof(d.detail -> 'errors')
								WHEN 'object' THEN d.detail -> 'errors' END)
								AS k)), '')
	  FROM agentpay.decisions d
	 WHERE d.point = r.point AND d.row_id = r.row_id
	   AND d.kind IN ('rules', 'shadow_rules')
$$;
REVOKE ALL ON FUNCTION agentpay._timeline_rules(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._timeline_asked(r agentpay.decisions)
	RETURNS TABLE (at timestamptz, ord int, event text, actor text,
				   verdict text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH tasks AS MATERIALIZED (
		SELECT (o.t).*, o.asked_at FROM agentpay._tasks_of(r) AS o)
	SELECT t.asked_at, 3, 'asked', t.agent, NULL::text,
		   nullif(concat_ws('; ', 'version ' || t.agent_version,
			'since ' || b.agent || ' was not sure enough, or may not decide it',
			CASE WHEN t.repeat_no > 0
				 THEN 'asked again, ' || t.repeat_no END,
			'decides by ' || t.decide_by), '')
	  FROM tasks t LEFT JOIN tasks b ON b.task_id = t.escalated_from
	UNION ALL
	SELECT c.called_at, 4, 'call', c.agent, NULL,
		   concat_ws('; ', 'attempt ' || c.attempt, c.status,
			'HTTP ' || c.http_status, trim_scale(c.cost) || ' USD',
			round(c.latency_ms::numeric, 1) || ' ms')
	  FROM tasks t JOIN agentpay.agent_calls c ON c.task_id = t.task_id
	   AND c.agent = t.agent
$$;
REVOKE ALL ON FUNCTION agentpay._timeline_asked(agentpay.decisions)
	FROM PUBLIC;

-- What agents and people said.
CREATE FUNCTION agentpay._timeline_answers(r agentpay.decisions)
	RETURNS TABLE (at timestamptz, ord int, event text, actor text,
				   verdict text, note text)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.decided_at, 5, CASE WHEN d.kind = 'human' THEN 'resolved'
				WHEN d.kind = 'fallback' THEN 'fallback'
				WHEN v.definition ->> 'position' = 'review' THEN 'advice'
				ELSE 'answer' END,
		   coalesce(d.agent, d.detail ->> 'actor'), d.verdict,
		   nullif(concat_ws('; ',
			CASE WHEN d.kind = 'human'
				 THEN 'case ' || (d.detail ->> 'case_id') END,
			CASE WHEN d.kind = 'human' THEN agentpay._prose(d, 'reason') END,
			CASE WHEN d.repeat_no > 0 THEN 'asked again: recorded only'
				 WHEN d.kind = 'human' THEN NULL
				 WHEN v.definition ->> 'position' = 'review'
				 THEN 'for the case: decides nothing'
				 WHEN d.authority = 'shadow' THEN 'shadow: recorded only'
				 WHEN d.kind = 'agent' THEN 'live' END,
			CASE WHEN d.kind = 'fallback' THEN 'the rules stand: '
					|| agentpay._failure_meaning(d.failure) END,
			CASE WHEN d.kind = 'fallback' THEN 'it said ' || d.answer END,
			'confidence ' || d.confidence,
			CASE WHEN d.kind = 'agent'
				 THEN nullif(array_to_string(d.reasons, ', '), '') END,
			CASE WHEN d.kind <> 'human'
				 THEN 'it explained: ' || agentpay._prose(d, 'explanation') END,
			'not applied: ' || (d.detail -> 'not_applied' ->> 'message'),
			CASE WHEN d.detail ? 'late' THEN 'late: its task had ended' END,
			d.detail ->> 'error', 'budget ' || (d.detail ->> 'budget'),
			CASE WHEN d.cost > 0 THEN trim_scale(d.cost) || ' USD' END), '')
	  FROM agentpay.decisions d
	  LEFT JOIN agentpay.agent_versions v
		ON v.agent = d.agent AND v.version = d.agent_version
	 WHERE d.point = r.point AND d.row_id = r.row_id
	   AND d.kind IN ('agent', 'fallback', 'human')
$$;
REVOKE ALL ON FUNCTION agentpay._timeline_answers(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._timeline_cases(r agentpay.decisions)
	RETURNS TABLE (at timestamptz, ord int, event text, actor text,
				   verdict text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.opened_at, 6, 'case opened', coalesce(g.actor::text, c.agent),
		   NULL::text, concat_ws('; ', 'case ' || c.case_id, c.cause, g.reason,
			'due at ' || coalesce((
				SELECT m.before ->> 'due_at' FROM agentpay.governance_log m
				 WHERE m.object_kind = 'case' AND m.object = c.case_id::text
				   AND m.action = 'update' AND m.logged_at >= c.opened_at
				   AND m.before -> 'due_at' <> m.after -> 'due_at'
				 ORDER BY m.logged_at, m.event_id LIMIT 1)::timestamptz,
				c.due_at))
	  FROM agentpay.cases c
	  LEFT JOIN agentpay.governance_log g ON g.object_kind = 'case'
	   AND g.object = c.case_id::text AND g.action = 'open'
	   AND g.logged_at >= c.opened_at
	 WHERE c.point = r.point AND c.row_id = r.row_id
	UNION ALL
	SELECT g.logged_at, 7, k.event, g.actor, NULL, 'case ' || c.case_id || k.note
	  FROM agentpay.cases c
	  JOIN agentpay.governance_log g ON g.object_kind = 'case'
	   AND g.object = c.case_id::text AND g.action = 'update'
	   AND g.logged_at >= c.opened_at
	 CROSS JOIN LATERAL (VALUES
		('case assigned', 'assignee', coalesce(
			'; to ' || (g.after ->> 'assignee'), '; to nobody')),
		('case taken', 'state', ''),
		('case due moved', 'due_at', '; to ' || (g.after ->> 'due_at')))
		AS k (event, key, note)
	 WHERE c.point = r.point AND c.row_id = r.row_id
	   AND g.before -> k.key <> g.after -> k.key
	   AND NOT (k.key = 'state' AND g.after ->> 'state' = 'closed')
$$;
REVOKE ALL ON FUNCTION agentpay._timeline_cases(agentpay.decisions)
	FROM PUBLIC;

-- Disputes of create_ledger()'s table: it is beside the payments, and names
-- them by payment_id.
CREATE FUNCTION agentpay._timeline_disputes(r agentpay.decisions)
	RETURNS TABLE (at timestamptz, ord int, event text, actor text,
				   verdict text, note text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	disputes regclass;
BEGIN
	SELECT d.table_name INTO disputes
	  FROM agentpay.decision_points p
	  JOIN agentpay.decision_points d ON d.role = 'dispute'
	  JOIN pg_class payments ON payments.oid = p.table_name
	  JOIN pg_class c ON c.oid = d.table_name
	   AND c.relnamespace = payments.relnamespace AND c.relkind IN ('r', 'p')
	 WHERE p.point = r.point AND payments.relname = 'payments'
	   AND p.id_column = 'payment_id' AND c.relname = 'disputes'
	   -- of built-in types: reading them runs nobody's code
	   AND NOT agentpay._is_row_secured(d.table_name)
	   AND (SELECT count(*) FROM pg_attribute a
			 WHERE a.attrelid = c.oid AND NOT a.attisdropped
			   AND a.atttypid < 16384
			   AND a.attname = ANY ('{dispute_id,payment_id,received_at,respond_by,network,reason_code,amount,currency,result,resolved_at}')) = 10
	 LIMIT 1;
	IF disputes IS NULL THEN
		RETURN;
	END IF;
	RETURN QUERY EXECUTE format(
		'SELECT d.received_at, 8, ''dispute'', NULL::text, NULL::text,'
		' concat_ws(''; '', ''dispute '' || d.dispute_id,'
		' concat_ws('' '', d.network, d.reason_code),'
		' concat_ws('' '', d.amount, d.currency),'
		' ''respond by '' || d.respond_by)'
		' FROM %1$s d WHERE d.payment_id::text = $1'
		' UNION ALL SELECT d.resolved_at, 9, ''dispute '' || d.result,'
		' NULL, NULL, ''dispute '' || d.dispute_id'
		' FROM %1$s d WHERE d.payment_id::text = $1'
		' AND d.result IS NOT NULL AND d.resolved_at IS NOT NULL', disputes)
	  USING r.row_id;
END$$;
REVOKE ALL ON FUNCTION agentpay._timeline_disputes(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._payment_timeline(point text, row_id text)
	RETURNS TABLE (at timestamptz, event text, actor text, verdict text,
				   note text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	r agentpay.decisions := agentpay._rules_decision(
		agentpay._point(_payment_timeline.point), _payment_timeline.row_id);
BEGIN
	RETURN QUERY
	SELECT e.at, e.event, e.actor, e.verdict, e.note
	  FROM (SELECT * FROM agentpay._timeline_rules(r)
			UNION ALL SELECT * FROM agentpay._timeline_asked(r)
			UNION ALL SELECT * FROM agentpay._timeline_answers(r)
			UNION ALL SELECT * FROM agentpay._timeline_cases(r)
			UNION ALL SELECT * FROM agentpay._timeline_disputes(r)
			UNION ALL
			SELECT x.created_at, 8, 'action', NULL, NULL,
				   concat_ws('; ', 'action ' || x.action_id, x.action,
					'until ' || x.actionable_until, 'now ' || x.state)
			  FROM agentpay.actions x
			 WHERE x.point = r.point AND x.row_id = r.row_id
			UNION ALL
			SELECT o.observed_at, 10, 'label', o.recorded_by, NULL,
				   concat_ws('; ', o.label, o.source,
					'lost ' || o.amount_lost,
					CASE WHEN o.effective_at <> o.observed_at
						 THEN 'since ' || o.effective_at END)
			  FROM agentpay.outcomes o
			 WHERE o.point = r.point AND o.row_id = r.row_id) AS e
	 ORDER BY e.at, e.ord, e.actor, e.event;
END$$;
REVOKE ALL ON FUNCTION agentpay._payment_timeline(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay.payment_timeline(point text, row_id "any")
	RETURNS TABLE (at timestamptz, event text, actor text, verdict text,
				   note text)
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_payment_timeline';
REVOKE ALL ON FUNCTION agentpay.payment_timeline(text, "any") FROM PUBLIC;
COMMENT ON FUNCTION agentpay.payment_timeline(text, "any") IS 'everything that happened to a row at a point, in the order of time: rules, agents and their calls, cases, people, labels, disputes';
