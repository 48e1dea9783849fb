-- 70_review.sql
--		Why a decision came out as it did.
--
-- explain() reads the pinned versions and the logs, not today's settings:
-- what may have changed since is taken back through governance_log.

-- ── words for people ────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._failure_meaning(failure text) RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE failure
		WHEN 'timeout' THEN 'the agent did not answer in time'
		WHEN 'http_error' THEN 'the agent could not be reached, or answered with an error'
		WHEN 'rate_limited' THEN 'the provider refused: too many requests'
		WHEN 'truncated' THEN 'the answer was cut off'
		WHEN 'not_json' THEN 'the answer was not JSON'
		WHEN 'schema' THEN 'the answer did not have the required shape'
		WHEN 'unknown_verdict' THEN 'the answer named a verdict that the point does not have'
		WHEN 'over_authority' THEN 'the agent may not give this verdict here'
		WHEN 'low_confidence' THEN 'the agent was less sure than its min_confidence'
		WHEN 'over_budget' THEN 'the call did not fit a budget, so it was not made'
		WHEN 'killed' THEN 'a kill switch was engaged'
		WHEN 'uncertain' THEN 'it is not known whether the call arrived; it is charged at its bound'
		WHEN 'skipped' THEN 'the call was not made, since the agent kept failing'
		END
$$;
REVOKE ALL ON FUNCTION agentpay._failure_meaning(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._failure_meaning(text) IS 'why the rules verdict stands, in plain words';

-- The row of an object at that moment: the before of its first later change,
-- or what it is now.  NULL: it did not exist.
CREATE FUNCTION agentpay._as_of(kind text, name text, at timestamptz,
	today jsonb) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.before
	  FROM (SELECT 0 AS ord, g.logged_at, g.event_id, g.before
			  FROM agentpay.governance_log g
			 WHERE g.object_kind = kind AND g.object = name
			   AND g.logged_at > at
			   AND g.action IN ('insert', 'update', 'delete')
			UNION ALL
			SELECT 1, NULL, NULL, today) AS c
	 ORDER BY c.ord, c.logged_at, c.event_id LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._as_of(text, text, timestamptz, jsonb)
	FROM PUBLIC;

-- ── the sections of explain() ───────────────────────────────────────────────
CREATE FUNCTION agentpay._explain_decision(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT i.item, i.value, i.note
	  FROM (VALUES
		(1, 'verdict', d.verdict, CASE d.kind
			WHEN 'rules' THEN 'by the rules, version '
				|| coalesce(d.ruleset_version::text, 'none')
			WHEN 'shadow_rules' THEN 'by shadow rules, version '
				|| coalesce(d.ruleset_version::text, 'none')
			WHEN 'agent' THEN format('by agent %s, version %s', d.agent,
									 d.agent_version)
			WHEN 'fallback' THEN format('the rules stand: agent %s, version %s, failed',
										d.agent, d.agent_version)
			ELSE 'by a person' END
			|| CASE d.authority WHEN 'live' THEN '; it counted'
			   ELSE '; shadow: recorded only' END),
		(2, 'row', d.row_id, 'point ' || d.point),
		(3, 'amount', d.amount || coalesce(' ' || d.currency, ''),
			CASE WHEN d.base_amount IS DISTINCT FROM d.amount
				 THEN d.base_amount || ' in the base currency' END),
		(4, 'occurred at', d.occurred_at::text, 'the payment''s own time'),
		(5, 'decided at', d.decided_at::text, NULL),
		(6, 'score', d.score::text, NULL),
		(7, 'reasons', nullif(array_to_string(d.reasons, ', '), ''), NULL),
		(8, 'assignment', nullif(d.assignment, 'treatment'), CASE d.assignment
			WHEN 'explore' THEN 'let through to learn its label; the rules said '
				|| coalesce(d.answer, '?')
			WHEN 'holdout' THEN 'control group: stays under the rules'
			WHEN 'audit' THEN 'drawn for somebody to look at and to label, source audit' END),
		(9, 'propensity', CASE WHEN d.propensity < 1
				OR d.assignment <> 'treatment' THEN d.propensity::text END,
			CASE WHEN d.propensity > 0
			THEN 'probability that its label can be observed'
			ELSE 'stopped: no label comes by itself' END),
		(10, 'repeats', d.detail ->> 'repeats',
			'same idempotency key as that row: its verdict was taken over'),
		(11, 'changed after scoring',
			(SELECT string_agg(c, ', ') FROM jsonb_array_elements_text(
				CASE jsonb_typeof(d.detail -> 'changed_after_scoring')
				WHEN 'array' THEN d.detail -> 'changed_after_scoring' END)
				AS c),
			'these columns were not what the rules had seen'),
		(12, 'reason', CASE d.kind WHEN 'human'
			THEN agentpay._prose(d, 'reason') END,
			'as ' || (d.detail ->> 'actor') || ' gave it'),
		(13, 'decision', d.decision_id::text, NULL))
		AS i (ord, item, value, note)
	 WHERE i.value IS NOT NULL
	 ORDER BY i.ord
$$;
REVOKE ALL ON FUNCTION agentpay._explain_decision(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._explain_inputs(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT i.key, coalesce(i.value, 'NULL'),
		   nullif(concat_ws('; ',
			CASE WHEN i.key LIKE 'model(%)' THEN 'version '
					|| coalesce(d.detail #>> ARRAY['models',
						substring(i.key FROM '^model\((.*)\)$')], '?')
				 WHEN f.name IS NOT NULL THEN concat_ws(' ', 'feature:',
					coalesce(f.aggregate, CASE f.kind WHEN 'lookup'
						THEN 'lookup' ELSE 'seconds since the last row' END),
					'of ' || f.value, 'from ' || f.from_table,
					'by ' || array_to_string(f.key, ', '),
					'over ' || f.over, 'where ' || f.filter) END,
			CASE WHEN p.treatment <> 'pass'
				 THEN 'policy ' || p.treatment || CASE
					WHEN d.sealed IS NULL THEN ''
					WHEN agentpay._erased(d) THEN ', erased'
					ELSE ', sealed' END END,
			'error: ' || (d.detail #>> ARRAY['errors', i.key, 'message'])), '')
	  FROM jsonb_each_text(CASE jsonb_typeof(d.inputs) WHEN 'object'
						   THEN d.inputs END) AS i
	  LEFT JOIN agentpay.features f ON f.point = d.point AND f.name = i.key
	  LEFT JOIN agentpay.decision_points dp ON dp.point = d.point
	  LEFT JOIN agentpay.data_policies p
		ON p.table_name = dp.table_name AND p.column_name = i.key
	 ORDER BY f.name IS NOT NULL, i.key
$$;
REVOKE ALL ON FUNCTION agentpay._explain_inputs(agentpay.decisions)
	FROM PUBLIC;

-- A frozen version's rules are what they were; only snoozing can change.
CREATE FUNCTION agentpay._explain_rules(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r.code,
		   CASE WHEN NOT r.enabled THEN 'disabled'
				WHEN e.message IS NOT NULL THEN 'error'
				WHEN r.code = ANY (d.reasons) THEN concat_ws(', ', 'MATCHED',
					CASE WHEN s.mode = 'score' AND r.score > 0 THEN '+' ELSE '' END
						|| CASE WHEN s.mode = 'score' AND r.score <> 0
								THEN trim_scale(r.score)::text END,
					CASE WHEN s.mode = 'score' THEN 'at least ' || r.verdict
						 ELSE r.verdict END)
				WHEN r.snoozed_at_the_time THEN 'snoozed'
				WHEN s.mode = 'first_match' AND EXISTS (
					SELECT FROM agentpay.rules o
					 WHERE o.point = r.point AND o.version = r.version
					   AND o.code = ANY (d.reasons)
					   AND (o.priority, o.code) < (r.priority, r.code))
				THEN 'not reached'
				ELSE 'no match' END,
		   concat_ws(' - ', r.condition, r.reason, e.sqlstate || ' ' || e.message)
	  FROM agentpay.rulesets s
	  JOIN LATERAL (
		SELECT a.*, (agentpay._as_of('rule',
					format('%s.%s.%s', a.point, a.version, a.code),
					d.decided_at, to_jsonb(a)) ->> 'snoozed_until')::timestamptz
				> d.decided_at AS snoozed_at_the_time
		  FROM agentpay.rules a
		 WHERE a.point = s.point AND a.version = s.version) AS r ON true
	 CROSS JOIN LATERAL (SELECT
		d.detail #>> ARRAY['errors', r.code, 'message'] AS message,
		d.detail #>> ARRAY['errors', r.code, 'sqlstate'] AS sqlstate) AS e
	 WHERE s.point = d.point AND s.version = d.ruleset_version
	 ORDER BY r.priority, r.code
$$;
REVOKE ALL ON FUNCTION agentpay._explain_rules(agentpay.decisions)
	FROM PUBLIC;

-- What versions in shadow said of the same row at the same time.
CREATE FUNCTION agentpay._explain_shadows(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'version ' || s.ruleset_version, s.verdict,
		   concat_ws('; ', 'score ' || trim_scale(s.score),
			nullif(array_to_string(s.reasons, ', '), ''),
			'errors: ' || (SELECT string_agg(k, ', ')
							 FROM jsonb_object_keys(s.detail -> 'errors') AS k),
			s.decision_id::text)
	  FROM agentpay.decisions s
	 WHERE s.point = d.point AND s.row_id = d.row_id
	   AND s.kind = 'shadow_rules' AND s.xid = d.xid
	   AND s.decided_at = d.decided_at
	 ORDER BY s.ruleset_version
$$;
REVOKE ALL ON FUNCTION agentpay._explain_shadows(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._explain_thresholds(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH steps AS (
		SELECT v.verdict, v.rank, v.is_default,
			   CASE WHEN s.thresholds <> '{}'
					THEN (s.thresholds ->> v.verdict)::numeric
					WHEN v.rank > 0
					THEN round(100.0 * v.rank / max(v.rank) OVER (), 6) END
				   AS bound, s.thresholds = '{}' AS spread
		  FROM agentpay.rulesets s
		  JOIN agentpay.verdicts v ON v.point = s.point
		 WHERE s.point = d.point AND s.version = d.ruleset_version
		   AND s.mode = 'score' AND v.rank IS NOT NULL)
	SELECT t.verdict,
		   CASE WHEN t.bound IS NOT NULL
				THEN 'score >= ' || trim_scale(t.bound)
				WHEN t.is_default THEN 'when no threshold is reached'
				ELSE 'only by a rule that says so' END,
		   concat_ws('; ', 'rank ' || t.rank,
			CASE WHEN t.bound IS NOT NULL AND t.spread
				 THEN 'spread evenly to 100' END,
			CASE WHEN d.score >= t.bound THEN 'reached' END)
	  FROM steps t
	UNION ALL
	SELECT 'first match', 'the first rule that matches decides',
		   'by priority, then code; none: '
			|| (SELECT v.verdict FROM agentpay.verdicts v
				 WHERE v.point = d.point AND v.is_default)
	  FROM agentpay.rulesets s
	 WHERE s.point = d.point AND s.version = d.ruleset_version
	   AND s.mode = 'first_match'
	UNION ALL
	-- as src/base/config_load.c fills it in
	SELECT 'on_error', coalesce(s.on_error, (
				SELECT v.verdict FROM agentpay.verdicts v
				 WHERE v.point = d.point
				   AND (p.role = 'fraud' OR v.is_default)
				 ORDER BY v.verdict = 'review' DESC, v.rank DESC LIMIT 1)),
		   'errors: ' || (SELECT string_agg(k, ', ')
							FROM jsonb_object_keys(d.detail -> 'errors') AS k)
	  FROM agentpay.rulesets s
	  JOIN agentpay.decision_points p ON p.point = s.point
	 WHERE s.point = d.point AND s.version = d.ruleset_version
	   AND jsonb_typeof(d.detail -> 'errors') = 'object'
$$;
REVOKE ALL ON FUNCTION agentpay._explain_thresholds(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._explain_agent(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT i.item, i.value, i.note
	  FROM (SELECT d.agent) AS one
	  LEFT JOIN agentpay.agent_versions v
		ON v.agent = d.agent AND v.version = d.agent_version
	 CROSS JOIN LATERAL (VALUES
		(1, 'agent', d.agent, format('version %s, %s, model %s',
			d.agent_version, v.definition ->> 'protocol',
			v.definition ->> 'model')),
		(2, 'answer', coalesce(d.answer, CASE d.kind WHEN 'agent'
			THEN d.verdict ELSE 'none' END), CASE
			WHEN d.repeat_no > 0
			THEN format('asked again, repeat %s: recorded only', d.repeat_no)
			WHEN d.authority = 'shadow' THEN 'shadow: recorded only'
			ELSE 'live' END),
		(3, 'confidence', d.confidence::text,
			'needed: ' || (v.definition ->> 'min_confidence')),
		(4, 'reasons', nullif(array_to_string(d.reasons, ', '), ''),
			'the agent''s own'),
		(5, 'failure', d.failure, agentpay._failure_meaning(d.failure)),
		(6, 'effective verdict', d.verdict, CASE d.kind
			WHEN 'fallback' THEN 'the rules verdict stands' END),
		(7, 'latency', round(d.latency_ms::numeric, 1) || ' ms', NULL),
		(8, 'cost', d.cost || ' USD', 'all attempts'),
		(9, 'tier below', d.detail ->> 'escalated_from',
			'the task that was not sure enough, or over its authority'),
		(10, 'tier above', CASE WHEN d.failure IN ('low_confidence',
												  'over_authority')
			THEN v.definition ->> 'escalate_to' END,
			'asked next, if its own conditions held'),
		(11, 'not applied', d.detail #>> '{not_applied,message}',
			'what stood before it stands'),
		(12, 'late', CASE WHEN d.detail ? 'late' THEN 'yes' END,
			'it came when the decision was final'),
		(13, 'explanation', agentpay._prose(d, 'explanation'),
			'in the agent''s own words, redacted'))
		AS i (ord, item, value, note)
	 WHERE i.value IS NOT NULL
	 ORDER BY i.ord
$$;
REVOKE ALL ON FUNCTION agentpay._explain_agent(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._explain_calls(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT i.item, i.value, i.note
	  FROM agentpay.agent_calls c
	 CROSS JOIN LATERAL (VALUES
		(1, format('attempt %s', c.attempt),
		   concat_ws(', ', c.status, 'HTTP ' || c.http_status,
			c.cost || ' USD of ' || c.reserved_cost || ' held',
			c.input_tokens || ' tokens in', c.output_tokens || ' out',
			round(c.latency_ms::numeric, 1) || ' ms'),
		   nullif(concat_ws('; ', c.called_at::text,
			coalesce(c.response_model, c.request_model),
			'request ' || c.request_id, 'finished by ' || c.finish_reason,
			c.error), '')),
		(2, 'request', agentpay._read_sealed('c', c.call_id, c.key_id,
			c.sealed, 'request'),
			'as it was sent; SHA-256 ' || encode(c.request_sha256, 'hex')),
		(3, 'answer', agentpay._read_sealed('c', c.call_id, c.key_id,
			c.sealed, 'answer'), 'as it came, redacted'))
		AS i (ord, item, value, note)
	 WHERE c.task_id = (d.detail ->> 'task_id')::bigint
	   AND c.agent = d.agent AND i.value IS NOT NULL
	 ORDER BY c.attempt, c.called_at, i.ord
$$;
REVOKE ALL ON FUNCTION agentpay._explain_calls(agentpay.decisions)
	FROM PUBLIC;

-- What had been charged in each budget in scope, this decision included, and
-- the cap as it was.
CREATE FUNCTION agentpay._explain_budgets(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH scoped AS (
		SELECT h.name, h.scope, h.target, h.period, h.cap_cost, h.cap_calls,
			   h.on_exhausted,
			   CASE h.period WHEN 'month' THEN interval '30 days'
					WHEN 'transaction' THEN interval '30 days'
					ELSE ('1 ' || h.period)::interval END AS span
		  FROM agentpay.budgets b
		 CROSS JOIN LATERAL jsonb_populate_record(NULL::agentpay.budgets,
			agentpay._as_of('budget', b.name, d.decided_at, to_jsonb(b))) AS h
		  JOIN agentpay.decision_points p ON p.point = d.point
		  LEFT JOIN agentpay.agent_versions v
			ON v.agent = d.agent AND v.version = d.agent_version
		 WHERE h.enabled AND (h.scope, h.target) IN (('all', '*'),
			('role', p.role), ('point', d.point), ('agent', d.agent),
			('cost_center', v.definition ->> 'cost_center'))),
	spent AS (
		SELECT s.name, count(*) AS calls, coalesce(sum(c.cost), 0) AS cost
		  FROM scoped s
		  JOIN agentpay.agent_calls c
			ON c.called_at > d.decided_at - s.span
			   AND c.called_at <= d.decided_at
		  JOIN agentpay.decision_points p ON p.point = c.point
		 WHERE (s.scope, s.target) IN (('all', '*'), ('role', p.role),
			('point', c.point), ('agent', c.agent),
			('cost_center', c.cost_center))
		   AND (s.period <> 'transaction'
				OR (c.point = d.point AND c.row_id = d.row_id))
		 GROUP BY s.name)
	SELECT s.name,
		   concat_ws(', ',
			coalesce(x.cost, 0) || ' of ' || s.cap_cost || ' USD'
				|| coalesce(format(' (%s %%)', round(100 * coalesce(x.cost, 0)
					/ nullif(s.cap_cost, 0), 1)), ''),
			coalesce(x.calls, 0) || ' of ' || s.cap_calls || ' calls'),
		   format('%s, per %s; when exhausted: %s', CASE s.scope WHEN 'all'
			THEN 'all agents' ELSE s.scope || ' ' || s.target END, s.period,
			s.on_exhausted)
	  FROM scoped s LEFT JOIN spent x ON x.name = s.name
	 ORDER BY s.name
$$;
REVOKE ALL ON FUNCTION agentpay._explain_budgets(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._explain_control(d agentpay.decisions)
	RETURNS TABLE (item text, value text, note text)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'stage of ' || d.agent,
		   coalesce(agentpay._as_of('agent', d.agent, d.decided_at,
			(SELECT to_jsonb(a) FROM agentpay.agents a
			  WHERE a.name = d.agent)) ->> 'stage', 'not there yet'),
		   'at that moment'
	 WHERE d.agent IS NOT NULL
	UNION ALL
	SELECT concat_ws(' ', 'kill switch', k.scope, nullif(k.target, '*')),
		   CASE WHEN (h.at_the_time ->> 'engaged')::boolean THEN 'ENGAGED'
				ELSE 'not engaged' END,
		   h.at_the_time ->> 'reason'
	  FROM agentpay.kill_switches k
	  JOIN agentpay.decision_points p ON p.point = d.point
	 CROSS JOIN LATERAL (SELECT agentpay._as_of('kill_switch',
			k.scope || '.' || k.target, d.decided_at, to_jsonb(k))
			AS at_the_time) AS h
	 WHERE (k.scope, k.target) IN (('all', '*'), ('role', p.role),
			('point', d.point), ('agent', d.agent))
$$;
REVOKE ALL ON FUNCTION agentpay._explain_control(agentpay.decisions)
	FROM PUBLIC;

-- ── explain ─────────────────────────────────────────────────────────────────
-- The rules decision behind an agent's: by its task.
CREATE FUNCTION agentpay._rules_decision_of(d agentpay.decisions)
	RETURNS agentpay.decisions
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT r FROM agentpay.decisions r
	 WHERE r.point = d.point AND r.row_id = d.row_id AND r.kind = 'rules'
	   AND r.decided_at <= d.decided_at
	 ORDER BY r.decision_id = (
			SELECT t.decision_id FROM agentpay._tasks t
			 WHERE t.task_id = (d.detail ->> 'task_id')::bigint
			 LIMIT 1) DESC NULLS LAST,
		   r.decided_at DESC, r.decision_id DESC
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._rules_decision_of(agentpay.decisions)
	FROM PUBLIC;

-- Agents that are still asked about the row of a rules decision.
CREATE FUNCTION agentpay._open_tasks_of(r agentpay.decisions)
	RETURNS SETOF agentpay._tasks
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT t.* FROM agentpay._tasks t
	 WHERE t.xid = r.xid AND t.decision_id = r.decision_id
	   AND t.created_at = r.decided_at
	   AND NOT EXISTS (SELECT FROM agentpay._ending(t))
	 ORDER BY t.task_id
$$;
REVOKE ALL ON FUNCTION agentpay._open_tasks_of(agentpay.decisions)
	FROM PUBLIC;

CREATE FUNCTION agentpay._explain(d agentpay.decisions)
	RETURNS TABLE (section text, item text, value text, note text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r agentpay.decisions := d;
	a agentpay.decisions;
BEGIN
	IF d.kind = 'shadow_rules' THEN
		-- its inputs stand with the rules' decision
		a := agentpay._rules_decision_of(d);
		r.inputs := a.inputs;
		r.sealed := a.sealed;
		r.key_id := a.key_id;
		a := NULL;
	ELSIF d.kind <> 'rules' THEN
		r := agentpay._rules_decision_of(d);
	END IF;
	RETURN QUERY SELECT 'decision', x.* FROM agentpay._explain_decision(d) x;
	RETURN QUERY SELECT 'inputs', x.*
					FROM agentpay._explain_inputs(r) AS x;
	IF r.decision_id IS DISTINCT FROM d.decision_id THEN
		RETURN QUERY SELECT 'rules', 'verdict', r.verdict,
			concat_ws('; ', 'version ' || r.ruleset_version,
					  'score ' || r.score, r.decision_id::text);
	ELSIF r.ruleset_version IS NULL AND NOT coalesce(r.detail ? 'repeats',
													 false) THEN
		RETURN QUERY SELECT 'rules', 'none', NULL::text,
			'no ruleset was active: the default verdict';
	END IF;
	RETURN QUERY SELECT 'rules', x.* FROM agentpay._explain_rules(r) AS x;
	RETURN QUERY SELECT 'thresholds', x.*
					FROM agentpay._explain_thresholds(r) AS x;
	RETURN QUERY SELECT 'shadow', x.*
					FROM agentpay._explain_shadows(r) AS x
				   WHERE d.kind = 'rules';
	-- every agent that was asked about the same row, or the one that decided
	FOR a IN
		SELECT o.* FROM agentpay.decisions o
		 WHERE o.point = d.point AND o.row_id = d.row_id
		   AND o.kind IN ('agent', 'fallback')
		   AND (o.decision_id = d.decision_id OR d.kind = 'rules')
		 ORDER BY o.agent, o.decided_at, o.repeat_no
	LOOP
		RETURN QUERY SELECT 'agent', x.* FROM agentpay._explain_agent(a) AS x;
		RETURN QUERY SELECT 'call', x.* FROM agentpay._explain_calls(a) AS x;
		RETURN QUERY SELECT 'budget', x.*
						FROM agentpay._explain_budgets(a) AS x;
		RETURN QUERY SELECT 'control', x.*
						FROM agentpay._explain_control(a) AS x;
	END LOOP;
	IF d.kind = 'rules' THEN
		RETURN QUERY SELECT 'agent', t.agent, 'no answer yet',
							'task ' || t.task_id || ' of ' || t.created_at
						FROM agentpay._open_tasks_of(d) AS t;
	END IF;
	IF a IS NULL THEN
		RETURN QUERY SELECT 'control', x.*
						FROM agentpay._explain_control(d) AS x;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._explain(agentpay.decisions) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._explain(agentpay.decisions) IS 'the sections of explain(), in reading order';

CREATE FUNCTION agentpay.explain(decision_id uuid)
	RETURNS TABLE (section text, item text, value text, note text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	d agentpay.decisions;
BEGIN
	SELECT s.* INTO d FROM agentpay.decisions s
	 WHERE s.decision_id = explain.decision_id;
	IF NOT FOUND OR NOT agentpay._sees(d.point, d.row_id) THEN
		RAISE EXCEPTION 'there is no decision %', coalesce(
				explain.decision_id::text, 'NULL')
			USING ERRCODE = 'undefined_object',
			DETAIL = coalesce(CASE WHEN d.decision_id IS NULL
				THEN agentpay._absence(explain.decision_id) END,
				'It was never made, or you may not see its row.'),
			HINT = 'SELECT decision_id FROM agentpay.decisions WHERE point = ''...'' AND row_id = ''...'';';
	END IF;
	RETURN QUERY SELECT x.* FROM agentpay._explain(d) AS x;
END$$;
REVOKE ALL ON FUNCTION agentpay.explain(uuid) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.explain(uuid) IS 'why that decision came out as it did: inputs, rules, thresholds, the agent''s answer and call, budgets and control at that moment';

CREATE FUNCTION agentpay._explain(point text, row_id text)
	RETURNS TABLE (section text, item text, value text, note text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	p agentpay.decision_points := agentpay._point(point);
	id uuid;
BEGIN
	SELECT c.decision_id INTO id FROM agentpay.current_decisions c
	 WHERE c.point = p.point AND c.row_id = _explain.row_id;
	IF NOT FOUND THEN
		RAISE EXCEPTION 'point "%" has no decision about row %', point,
				coalesce(quote_literal(row_id), 'NULL')
			USING ERRCODE = 'undefined_object',
			DETAIL = format('A row is named by column "%s" of %s; rows from before attach() have no decision.',
							p.id_column, p.table_name),
			HINT = format('SELECT %I FROM %s WHERE %I = %L;', p.id_column,
						  p.table_name, p.id_column, row_id);
	END IF;
	RETURN QUERY SELECT x.* FROM agentpay.explain(id) AS x;
END$$;
REVOKE ALL ON FUNCTION agentpay._explain(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay.explain(point text, row_id "any")
	RETURNS TABLE (section text, item text, value text, note text)
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_explain';
REVOKE ALL ON FUNCTION agentpay.explain(text, "any") FROM PUBLIC;
COMMENT ON FUNCTION agentpay.explain(text, "any") IS 'explain() of the row''s current decision';

-- ── evaluate() ──────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._evaluate(point text, relation regclass, input record)
	RETURNS TABLE (item text, name text, value text, matched boolean,
				   score numeric, verdict text, error text)
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_evaluate';
REVOKE ALL ON FUNCTION agentpay._evaluate(text, regclass, record) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._evaluate(text, regclass, record) IS 'evaluate(), of a row of the table''s type';

CREATE FUNCTION agentpay.evaluate(point text, input jsonb)
	RETURNS TABLE (item text, name text, value text, matched boolean,
				   score numeric, verdict text, error text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	p agentpay.decision_points := agentpay._point(evaluate.point);
	example text := format('SELECT * FROM agentpay.evaluate(%L, %L);', p.point,
		jsonb_build_object(coalesce(p.amount_column, p.id_column)::text, 100));
	unknown text;
BEGIN
	IF jsonb_typeof(evaluate.input) IS DISTINCT FROM 'object' THEN
		PERFORM agentpay._refuse('22023',
			'evaluate() needs the row as a JSON object',
			format('It is %s.', coalesce('of type '
				|| jsonb_typeof(evaluate.input), 'NULL')), example);
	END IF;
	SELECT k INTO unknown
	  FROM jsonb_object_keys(evaluate.input) WITH ORDINALITY AS u (k, ord)
	 WHERE NOT EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = p.table_name
		   AND a.attname = k AND a.attnum > 0 AND NOT a.attisdropped)
	 ORDER BY ord LIMIT 1;
	IF FOUND THEN
		PERFORM agentpay._refuse('42703',
			format('table %s has no column "%s"', p.table_name, unknown),
			agentpay._known_names(p) || ' Features are read, not given.',
			example);
	END IF;
	-- what the row's text says in the session's time zone, as an INSERT would
	RETURN QUERY EXECUTE format('SELECT e.* FROM agentpay._evaluate($1, $2,'
		' jsonb_populate_record(NULL::%s, $3)) AS e', p.table_name)
		USING p.point, p.table_name, evaluate.input;
END$$;
REVOKE ALL ON FUNCTION agentpay.evaluate(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.evaluate(text, jsonb) IS 'what the point would say about a row, given as a JSON object of its columns (those left out are NULL): features, models, rules, the verdict, agents. Writes nothing and asks nobody';
