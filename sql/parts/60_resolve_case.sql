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
	IF NOT FOUND THEN
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

-- The decision that stands for a row.
CREATE FUNCTION agentpay._standing_decision(point text, row_id text)
	RETURNS agentpay.decisions
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT d.* FROM agentpay.decisions d
	 WHERE d.point = $1 AND d.row_id = $2 AND d.authority = 'live'
	   AND d.kind <> 'shadow_rules' AND d.repeat_no = 0
	 ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._standing_decision(text, text) FROM PUBLIC;

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
		(agentpay._standing_decision(point, row_id)).decision_id, NULL,
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
	IF NOT FOUND THEN
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
			format('SELECT agentpay.open_case(%L, %L, reason => ''…''); opens another one.',
				   c.point, c.row_id));
	END IF;
	RETURN c;
END$$;
REVOKE ALL ON FUNCTION agentpay._lock_case(bigint) FROM PUBLIC;

CREATE FUNCTION agentpay.resolve_case(case_id bigint, verdict text,
	reason text, label text DEFAULT NULL) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	c agentpay.cases;
	r agentpay.decisions;
	stood agentpay.decisions;
	h agentpay.decisions;
BEGIN
	PERFORM agentpay._refuse_held();
	c := agentpay._lock_case(case_id);
	IF verdict IS NULL THEN
		PERFORM agentpay._refuse('22004', 'resolve_case() needs a verdict',
			'It stands for the row from then on.',
			format('SELECT agentpay.resolve_case(%s, %L, reason => ''…'');',
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
	r := agentpay._rules_decision(agentpay._point(c.point), c.row_id);
	stood := agentpay._standing_decision(c.point, c.row_id);
	h := ROW(agentpay._uuid_v7(),
		greatest(agentpay._now(), stood.decided_at + interval '1 microsecond'),
		r.point, r.row_id, r.occurred_at, r.amount, r.currency, r.base_amount,
		'human', 'live', verdict, NULL, r.assignment, 0, r.propensity, NULL,
		'{}', NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, stood.decision_id,
		jsonb_build_object('case_id', c.case_id, 'cause', c.cause,
			'actor', session_user, 'reason', agentpay._redact(reason)),
		NULL, NULL, NULL)::agentpay.decisions;
	PERFORM agentpay._append(h);
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
