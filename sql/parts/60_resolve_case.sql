-- 60_resolve_case.sql
--		What people do with cases: open one by hand, and resolve it.
--
-- A resolution is one transaction: the case, the decision of kind human, the
-- label, and what becomes of the user's row.  Kill switches do not hold people.

-- The rules decision about a row, or an error.
CREATE FUNCTION agentpay._rules_decision(p agentpay.decision_points,
	row_id text) RETURNS agentpay.decisions
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r agentpay.decisions;
BEGIN
	SELECT d.* INTO r FROM agentpay.decisions d
	 WHERE d.point = p.point AND d.row_id = _rules_decision.row_id
	   AND d.kind = 'rules'
	 ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT 1;
	IF NOT FOUND OR NOT agentpay._sees(r.point, r.row_id) THEN
		PERFORM agentpay._refuse('42704',
			format('point "%s" has no decision about row %s', p.point,
				   coalesce(quote_literal(row_id), 'NULL')),
			format('A row is named by column "%s" of %s; rows from before attach() have no decision.', p.id_column, p.table_name),
			format('SELECT %I FROM %s WHERE %I = %L;', p.id_column,
				   p.table_name, p.id_column, row_id));
	END IF;
	RETURN r;
END$$;
REVOKE ALL ON FUNCTION agentpay._rules_decision(agentpay.decision_points,
	text) FROM PUBLIC;

-- ── open_case ───────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._open_case_by_hand(point text, row_id text,
	reason text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	p agentpay.decision_points;
	r agentpay.decisions;
	id bigint;
BEGIN
	PERFORM agentpay._refuse_held();
	p := agentpay._point(point);
	r := agentpay._rules_decision(p, row_id);
	IF coalesce(btrim(reason), '') = '' THEN
		PERFORM agentpay._refuse('22023', 'open_case() needs a reason',
			'It is kept in the governance log.',
			format('SELECT agentpay.open_case(%L, %L, reason => ''the customer called'');',
				   point, row_id));
	END IF;
	id := agentpay._open_case(r,
		(agentpay._standing(point, row_id)).decision_id, NULL,
		'manual');
	IF id IS NULL THEN
		PERFORM agentpay._refuse('23505',
			format('row %L of point "%s" has an open case', row_id, point),
			coalesce((SELECT format('It is case %s, opened at %s, cause %s.',
								c.case_id, c.opened_at, c.cause)
						FROM agentpay.cases c
					   WHERE c.point = p.point AND c.row_id = r.row_id
						 AND c.state <> 'closed'),
				'A transaction that has not ended has it.'),
			format('SELECT * FROM agentpay.cases WHERE point = %L AND row_id = %L;',
				   point, row_id));
	END IF;
	PERFORM agentpay._govern('open', 'case', id::text,
		agentpay._redact(reason), NULL, (SELECT to_jsonb(c)
			FROM agentpay.cases c WHERE c.case_id = id));
	RETURN id;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_case_by_hand(text, text, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay.open_case(point text, row_id "any", reason text)
	RETURNS bigint
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_open_case';
REVOKE ALL ON FUNCTION agentpay.open_case(text, "any", text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.open_case(text, "any", text) IS 'opens a case about a row that has none, cause manual; returns case_id';

-- ── resolve_case ────────────────────────────────────────────────────────────
-- The case, locked; or why it cannot be resolved.
CREATE FUNCTION agentpay._lock_case(id bigint) RETURNS agentpay.cases
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	c agentpay.cases;
BEGIN
	SELECT k.* INTO c FROM agentpay.cases k WHERE k.case_id = id
	   FOR NO KEY UPDATE;
	IF NOT FOUND OR NOT agentpay._sees(c.point, c.row_id) THEN
		PERFORM agentpay._refuse('42704',
			format('unknown case: %s', coalesce(id::text, 'NULL')),
			format('%s cases are open.', (SELECT count(*)
				FROM agentpay.cases k WHERE k.state <> 'closed')),
			'SELECT case_id, point, row_id, due_at FROM agentpay.cases WHERE state <> ''closed'' ORDER BY due_at;');
	ELSIF c.state = 'closed' THEN
		PERFORM agentpay._refuse('55000', format('case %s is closed', id),
			(SELECT format('"%s" resolved it at %s: %s.', d.detail ->> 'actor',
						   c.closed_at, d.verdict)
			   FROM agentpay.decisions d WHERE d.decision_id = c.resolution_id),
			format('SELECT agentpay.open_case(%L, %L, reason => ''...''); opens another one.',
				   c.point, c.row_id));
	END IF;
	RETURN c;
END$$;
REVOKE ALL ON FUNCTION agentpay._lock_case(bigint) FROM PUBLIC;

-- The decision whose verdict the row's own column has: what took effect after
-- the authorisation is not in it.
CREATE FUNCTION agentpay._written(point text, row_id text)
	RETURNS agentpay.decisions
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d FROM agentpay.decisions d
	  LEFT JOIN agentpay.agent_versions v
		ON v.agent = d.agent AND v.version = d.agent_version
	 WHERE d.point = $1 AND d.row_id = $2 AND d.authority = 'live'
	   AND d.repeat_no = 0
	   AND (d.kind = 'rules'
			OR d.kind = 'agent' AND v.definition ->> 'position' = 'pre_auth'
			OR d.kind = 'human' AND NOT d.detail ?| '{action,not_applied}')
	 ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._written(text, text) FROM PUBLIC;

-- What a person's verdict does: into the row's column, or, where the payment
-- was let through and it tightens, an action for the payment system.  h is to
-- be written; it says what was done, or why it was not.
CREATE FUNCTION agentpay._take_human_effect(h agentpay.decisions,
	p agentpay.decision_points, stood agentpay.decisions)
	RETURNS agentpay.decisions
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	w agentpay.decisions := agentpay._written(h.point, h.row_id);
	old_rank int := (SELECT v.rank FROM agentpay.verdicts v
					  WHERE v.point = h.point AND v.verdict = w.verdict);
	new_rank int := (SELECT v.rank FROM agentpay.verdicts v
					  WHERE v.point = h.point AND v.verdict = h.verdict);
	is_tightest boolean := new_rank = (SELECT max(v.rank)
					  FROM agentpay.verdicts v WHERE v.point = h.point);
	a record;
	id bigint;
BEGIN
	IF w.verdict <> h.verdict
	   AND NOT (p.role = 'fraud' AND old_rank = 0
				AND coalesce(new_rank > 0, false)) THEN
		SELECT * INTO a FROM agentpay._apply_verdict(p, h.row_id, w.verdict,
			h.verdict, NULL, CASE w.kind WHEN 'human' THEN (
				SELECT r.reasons FROM agentpay.decisions r
				 WHERE r.point = h.point AND r.row_id = h.row_id
				   AND r.kind = 'rules'
				 ORDER BY r.decided_at DESC LIMIT 1) ELSE w.reasons END);
		IF a.busy THEN
			PERFORM agentpay._refuse('55P03',
				format('row %L of %s is locked', h.row_id, p.table_name),
				'Another transaction is changing it. The case is open still.',
				'Call resolve_case() again.');
		ELSIF a.message IS NOT NULL THEN
			h.detail := h.detail || jsonb_build_object('not_applied',
				jsonb_strip_nulls(jsonb_build_object('sqlstate', a.sqlstate,
					'message', a.message)));
			RAISE WARNING 'the verdict is not in column "%" of row % of %',
				p.outcome_column, h.row_id, p.table_name
				USING DETAIL = a.message || '. The decision is on record.';
		END IF;
	ELSIF stood.verdict <> h.verdict THEN
		INSERT INTO agentpay.actions (point, row_id, decision_id, action,
			created_at, actionable_until)
		SELECT h.point, h.row_id, h.decision_id, x.action, h.decided_at,
			   x.actionable_until
		  FROM agentpay._action_of(p.role, w.verdict <> h.verdict, is_tightest,
			NULL, h.occurred_at, least(h.occurred_at, '9999-12-31 00:00:00+00')
				+ interval '24 hours', h.decided_at) AS x
		RETURNING action_id INTO id;
		h.detail := h.detail || jsonb_build_object('action', id);
		PERFORM pg_notify('agentpay_actions', id::text);
	END IF;
	RETURN h;
END$$;
REVOKE ALL ON FUNCTION agentpay._take_human_effect(agentpay.decisions,
	agentpay.decision_points, agentpay.decisions) FROM PUBLIC;

CREATE FUNCTION agentpay.resolve_case(case_id bigint, verdict text,
	reason text, label text DEFAULT NULL) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	c agentpay.cases;
	p agentpay.decision_points;
	open_tasks bigint[];
	r agentpay.decisions;
	stood agentpay.decisions;
	h agentpay.decisions;
BEGIN
	PERFORM agentpay._refuse_held();
	c := agentpay._lock_case(case_id);
	IF verdict IS NULL THEN
		PERFORM agentpay._refuse('22004', 'resolve_case() needs a verdict',
			'It stands for the row from then on.',
			format('SELECT agentpay.resolve_case(%s, %L, reason => ''...'');',
				   case_id, (SELECT v.verdict FROM agentpay.verdicts v
							  WHERE v.point = c.point
							  ORDER BY v.rank, v.verdict LIMIT 1)));
	END IF;
	PERFORM agentpay._check_verdict(c.point, verdict, 'the verdict');
	IF coalesce(btrim(reason), '') = '' THEN
		PERFORM agentpay._refuse('22023', 'resolve_case() needs a reason',
			'Whoever asks later why finds it with the decision.',
			format('SELECT agentpay.resolve_case(%s, %L, reason => ''the cardholder confirmed it'');',
				   case_id, verdict));
	END IF;
	p := agentpay._point(c.point);
	r := agentpay._rules_decision(p, c.row_id);
	-- an answer that is being recorded now comes before, or finds us
	SELECT array_agg((t.t).task_id) INTO open_tasks
	  FROM agentpay._tasks_of(r) AS t WHERE (t.t).decide_by IS NOT NULL;
	PERFORM agentpay._lock_tasks(open_tasks);
	stood := agentpay._standing(c.point, c.row_id);
	h := ROW(agentpay._uuid_v7(),
		greatest(agentpay._now(), stood.decided_at + interval '1 microsecond'),
		r.point, r.row_id, r.occurred_at, r.amount, r.currency, r.base_amount,
		'human', 'live', verdict, NULL, r.assignment, 0, r.propensity, NULL,
		'{}', NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, stood.decision_id,
		jsonb_build_object('case_id', c.case_id, 'cause', c.cause,
			'actor', session_user),
		NULL, NULL, NULL)::agentpay.decisions;
	h := agentpay._seal_prose(h, 'reason', agentpay._redact(reason), r.key_id);
	h := agentpay._take_human_effect(h, p, stood);
	PERFORM agentpay._append(h);
	PERFORM agentpay._wake_waiters(h.point, h.row_id);
	UPDATE agentpay.cases k
	   SET state = 'closed', closed_at = h.decided_at,
		   resolution_id = h.decision_id,
		   first_action_at = coalesce(k.first_action_at, h.decided_at)
	 WHERE k.case_id = c.case_id;
	IF label IS NOT NULL THEN
		PERFORM agentpay._record_outcome(c.point, c.row_id, label,
			CASE r.assignment WHEN 'audit' THEN 'audit' ELSE 'analyst' END,
			NULL, agentpay._now());
	END IF;
	RETURN h.decision_id;
END$$;
REVOKE ALL ON FUNCTION agentpay.resolve_case(bigint, text, text, text)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay.resolve_case(bigint, text, text, text) IS 'decides a case as a person: the verdict stands for the row from now on; label, if given, says what turned out. Returns decision_id';
