-- 59_cases.sql
--		What follows from an answer that does not count: the next tier is
--		asked, or a person.
--
-- agentpay._end_tasks() calls both, in the transaction that writes the
-- decisions.  Unsure is low_confidence and over_authority: the agent spoke, and
-- another one, or a person, may know better or decide more.  Other failures
-- leave the verdict of the rules.
--
-- Which agents may be asked later was found with the row (detail.later of the
-- rules decision), and their fields were kept with its inputs.

CREATE TABLE agentpay._asked_later (
	decision_id uuid NOT NULL,
	agent text NOT NULL,
	task_id bigint NOT NULL,
	escalated_from bigint,
	asked_at timestamptz NOT NULL,
	PRIMARY KEY (decision_id, agent));
CREATE INDEX ON agentpay._asked_later (asked_at);
COMMENT ON TABLE agentpay._asked_later IS 'agents that were asked after the INSERT, so that nobody is asked twice about a row; kept for 30 days. Not dumped: adopt() closes the tasks';
COMMENT ON COLUMN agentpay._asked_later.decision_id IS 'the rules decision of the row';

-- Appends those of the tasks whose agent was not asked about the row.
CREATE FUNCTION agentpay._ask_later(wanted agentpay._tasks[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	fresh bigint[];
BEGIN
	WITH noted AS (
		INSERT INTO agentpay._asked_later
		SELECT w.decision_id, w.agent, w.task_id, w.escalated_from,
			   agentpay._now()
		  FROM unnest(wanted) AS w
		-- two dispatchers that ask the same wait for each other in one order
		 ORDER BY w.decision_id, w.agent
			ON CONFLICT DO NOTHING
		RETURNING task_id)
	SELECT array_agg(n.task_id) INTO fresh FROM noted n;
	PERFORM agentpay._append(w) FROM unnest(wanted) AS w
	  WHERE w.task_id = ANY (fresh);
END$$;
REVOKE ALL ON FUNCTION agentpay._ask_later(agentpay._tasks[]) FROM PUBLIC;

CREATE FUNCTION agentpay._decided_by_person(point text, row_id text)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT EXISTS (SELECT FROM agentpay.decisions d
					WHERE d.point = $1 AND d.row_id = $2 AND d.kind = 'human'));
END$$;
REVOKE ALL ON FUNCTION agentpay._decided_by_person(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay._is_unsure(d agentpay.decisions) RETURNS boolean
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN coalesce(d.failure IN ('low_confidence', 'over_authority'), false)
	   AND d.repeat_no = 0;
END$$;
REVOKE ALL ON FUNCTION agentpay._is_unsure(agentpay.decisions) FROM PUBLIC;

-- ── tiers ───────────────────────────────────────────────────────────────────
-- A pre_auth agent is asked while its verdict could still take effect.
CREATE FUNCTION agentpay._ask_next_tier(rows agentpay.decisions[])
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	said agentpay.decisions;
	unsure boolean := false;
	wanted agentpay._tasks[];
BEGIN
	-- an expression, which costs less than a query; few go on from here
	FOREACH said IN ARRAY coalesce(rows, '{}') LOOP
		unsure := unsure OR agentpay._is_unsure(said);
	END LOOP;
	IF NOT unsure THEN
		RETURN;
	END IF;
	SELECT array_agg(ROW(nextval('agentpay._task_id_seq'), t.created_at,
			t.point, t.row_id, t.decision_id, b.name, v.version,
			CASE WHEN b.position = 'pre_auth' THEN t.decide_by END,
			agentpay._uuid_v7(), 0, t.task_id, t.bucket, t.holdout_bucket,
			t.forced, CASE WHEN t.holdout_bucket < 100 * b.holdout_percent THEN -1
				ELSE 1 END * agentpay._stage_rank(b.stage),
			agentpay._times_lowered(b.name), NULL)::agentpay._tasks)
	  INTO wanted
	  FROM unnest(rows) AS d
	  JOIN agentpay._tasks t ON t.task_id = (d.detail ->> 'task_id')::bigint
	   AND t.point = d.point AND t.row_id = d.row_id AND t.agent = d.agent
	  JOIN agentpay.agents a ON a.name = d.agent
	  JOIN agentpay.agents b ON b.name = a.escalate_to AND b.point = a.point
	   AND b.enabled AND b.stage <> 'off'
	  JOIN agentpay.decisions r
		ON r.decision_id = t.decision_id AND r.decided_at = t.created_at
	 CROSS JOIN LATERAL (SELECT max(x.version) AS version
						   FROM agentpay.agent_versions x
						  WHERE x.agent = b.name) AS v
	 WHERE agentpay._is_unsure(d) AND r.detail -> 'later' ? b.name
	   AND (b.position <> 'pre_auth' OR t.decide_by > agentpay._now())
	   AND NOT agentpay._decided_by_person(d.point, d.row_id);
	IF wanted IS NOT NULL THEN
		PERFORM agentpay._ask_later(wanted);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._ask_next_tier(agentpay.decisions[])
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._ask_next_tier(agentpay.decisions[]) IS 'of decisions of tasks that were just written: where the agent was unsure, asks the one that it escalates to';

-- Whether an answer that takes effect has come from above, or may still come:
-- the governor looks at the tiers below again, however far the chain has got.
CREATE FUNCTION agentpay._waits_for_tier(t agentpay._tasks,
	r agentpay.decisions) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- nearly always nobody was asked further
	IF NOT EXISTS (SELECT FROM agentpay._asked_later l
					WHERE l.decision_id = t.decision_id
					  AND l.escalated_from = t.task_id) THEN
		RETURN false;
	END IF;
	RETURN (
	SELECT EXISTS (
		SELECT FROM agentpay._asked_later l
		  JOIN agentpay._tasks n
			ON n.task_id = l.task_id AND n.created_at = t.created_at
		  LEFT JOIN agentpay.agents b ON b.name = n.agent
		  LEFT JOIN LATERAL agentpay._ending(n) AS x ON true
		  LEFT JOIN agentpay.decisions e ON e.decision_id = x.decision_id
		   AND e.decided_at = x.decided_at
		 WHERE l.decision_id = t.decision_id AND l.escalated_from = t.task_id
		   AND CASE WHEN e.decision_id IS NULL
					THEN b.name IS NOT NULL AND agentpay._is_live(n, b, r)
					WHEN e.kind = 'agent' THEN e.authority = 'live'
					ELSE agentpay._waits_for_tier(n, r) END));
END$$;
REVOKE ALL ON FUNCTION agentpay._waits_for_tier(agentpay._tasks,
	agentpay.decisions) FROM PUBLIC;

-- ── cases ───────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._read_time(relation regclass, query text)
	RETURNS timestamptz
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_read_time';
REVOKE ALL ON FUNCTION agentpay._read_time(regclass, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._read_time(regclass, text) IS 'the time that a query about a user''s table gives, as the table''s owner';

-- When a dispute can be contested no more; NULL where nobody knows.  Whoever
-- opens the case has the rights of agentpay's owner: not what the table's owner
-- has put into its types, policies and indexes.
CREATE FUNCTION agentpay._respond_by(p agentpay.decision_points, row_id text)
	RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF p.role <> 'dispute' THEN
		RETURN NULL;
	ELSIF NOT EXISTS (
		SELECT FROM pg_attribute a
		 WHERE a.attrelid = p.table_name AND a.attname = 'respond_by'
		   AND a.atttypid = 'timestamptz'::regtype AND NOT a.attisdropped
		   AND a.attgenerated = '') THEN
		RETURN NULL;
	END IF;
	RETURN agentpay._read_time(p.table_name, format(
		'SELECT respond_by FROM %s WHERE %I = %s LIMIT 1', p.table_name,
		p.id_column, coalesce(agentpay._id_cast(
			quote_literal(row_id) || '::text',
			agentpay._id_type(p.table_name, p.id_column)), 'NULL')));
END$$;
REVOKE ALL ON FUNCTION agentpay._respond_by(agentpay.decision_points, text)
	FROM PUBLIC;

-- Opens a case about a row and asks the agents that advise cases.  NULL: the
-- row has an open case.  r is the rules decision of the row.
CREATE FUNCTION agentpay._open_case(r agentpay.decisions, opened_by uuid,
	agent text, cause text) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points := agentpay._point(r.point);
	moment timestamptz := agentpay._now();
	case_id bigint;
	wanted agentpay._tasks[];
BEGIN
	case_id := agentpay._insert_case(ROW(NULL, r.point, r.row_id, opened_by,
		agent, cause, 'pending', NULL, moment,
		least(moment + p.case_due, agentpay._respond_by(p, r.row_id)), NULL,
		NULL, NULL)::agentpay.cases);
	IF case_id IS NULL THEN
		RETURN NULL;
	END IF;
	SELECT array_agg(ROW(nextval('agentpay._task_id_seq'), r.decided_at,
			r.point, r.row_id, r.decision_id, a.name, v.version, NULL,
			agentpay._uuid_v7(), 0, NULL, NULL, NULL, true,
			0, 0, NULL)::agentpay._tasks)
	  INTO wanted
	  FROM agentpay.agents a
	 CROSS JOIN LATERAL (SELECT max(x.version) AS version
						   FROM agentpay.agent_versions x
						  WHERE x.agent = a.name) AS v
	 WHERE a.point = r.point AND a.position = 'review' AND a.enabled
	   AND a.stage <> 'off' AND r.detail -> 'later' ? a.name
	   AND NOT EXISTS (SELECT FROM agentpay.agents o
						WHERE o.escalate_to = a.name);
	IF wanted IS NOT NULL AND NOT agentpay._held() THEN
		PERFORM agentpay._ask_later(wanted);
	END IF;
	RETURN case_id;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_case(agentpay.decisions, uuid, text,
	text) FROM PUBLIC;

-- The decision for which a person is to look, after that one: itself, or that
-- of the nearest tier below that spoke, when those above could not help.  A live
-- verdict that means a person is one for itself.
CREATE FUNCTION agentpay._case_of(d agentpay.decisions)
	RETURNS TABLE (r agentpay.decisions, decision_id uuid, agent text,
				   cause text)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	-- of the payment's own question: there is no tier below
	IF NOT d.detail ? 'escalated_from' THEN
		RETURN QUERY
		SELECT r, d.decision_id, d.agent, coalesce(d.failure, 'review')
		  FROM agentpay._tasks t
		  JOIN agentpay.decisions r ON r.decision_id = t.decision_id
		   AND r.decided_at = t.created_at
		 WHERE t.task_id = (d.detail ->> 'task_id')::bigint
		   AND t.point = d.point AND t.row_id = d.row_id AND t.agent = d.agent
		   AND d.authority = 'live'
		   AND (d.kind = 'agent' OR agentpay._is_unsure(d))
		   AND NOT agentpay._waits_for_tier(t, r);
		RETURN;
	END IF;
	RETURN QUERY
	WITH RECURSIVE chain AS (
		SELECT t, d AS ended, 1 AS step
		  FROM agentpay._tasks t
		 WHERE t.task_id = (d.detail ->> 'task_id')::bigint
		   AND t.point = d.point AND t.row_id = d.row_id AND t.agent = d.agent
		UNION ALL
		SELECT b, e, c.step + 1
		  FROM chain c
		  JOIN agentpay._tasks b ON b.task_id = (c.t).escalated_from
		   AND b.created_at = (c.t).created_at
		 CROSS JOIN LATERAL agentpay._ending(b) AS x
		  JOIN agentpay.decisions e ON e.decision_id = x.decision_id
		   AND e.decided_at = x.decided_at)
	SELECT r, (c.ended).decision_id, (c.ended).agent,
		   coalesce((c.ended).failure, 'review')
	  FROM chain c
	  JOIN agentpay.decisions r ON r.decision_id = (c.t).decision_id
	   AND r.decided_at = (c.t).created_at
	 WHERE CASE WHEN d.kind = 'agent' AND d.authority = 'live' THEN c.step = 1
				ELSE (c.ended).authority = 'live'
					 AND agentpay._is_unsure(c.ended) END
	   AND NOT EXISTS (
		SELECT FROM chain w
		 WHERE (w.step = 1 OR d.kind <> 'agent' OR d.authority <> 'live')
		   AND agentpay._waits_for_tier(w.t, r))
	 ORDER BY c.step LIMIT 1;
END$$;
REVOKE ALL ON FUNCTION agentpay._case_of(agentpay.decisions) FROM PUBLIC;

-- Whether an agent's verdict is one that means a person, and took effect.
CREATE FUNCTION agentpay._calls_person(d agentpay.decisions) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN d.kind = 'agent' AND d.authority = 'live' AND coalesce((
		SELECT agentpay._needs_person(v) FROM agentpay.verdicts v
		 WHERE v.point = d.point AND v.verdict = d.verdict), false);
END$$;
REVOKE ALL ON FUNCTION agentpay._calls_person(agentpay.decisions) FROM PUBLIC;

-- Of its own, an unsure live answer, or one that means a person; of a tier, also
-- one that could not help.
CREATE FUNCTION agentpay._may_open_case(d agentpay.decisions) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN d.repeat_no = 0
	   AND (d.authority = 'live' AND agentpay._is_unsure(d)
			OR agentpay._calls_person(d)
			OR d.kind IN ('agent', 'fallback') AND d.detail ? 'escalated_from'
			   AND (d.kind = 'fallback' OR d.authority = 'shadow'));
END$$;
REVOKE ALL ON FUNCTION agentpay._may_open_case(agentpay.decisions)
	FROM PUBLIC;

-- What an agent of position review says advises people, and opens no case.
CREATE FUNCTION agentpay._open_cases(rows agentpay.decisions[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	d agentpay.decisions;
	c record;
BEGIN
	FOREACH d IN ARRAY coalesce(rows, '{}') LOOP
		-- an expression, which costs less than a query; few go on from here
		CONTINUE WHEN NOT agentpay._may_open_case(d);
		FOR c IN
			SELECT u.* FROM agentpay._case_of(d) AS u
			 WHERE NOT EXISTS (SELECT FROM agentpay.agents a
								WHERE a.name = d.agent
								  AND a.position = 'review')
			   AND NOT agentpay._decided_by_person(d.point, d.row_id)
		LOOP
			PERFORM agentpay._open_case(c.r, c.decision_id, c.agent, c.cause);
		END LOOP;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_cases(agentpay.decisions[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._open_cases(agentpay.decisions[]) IS 'of decisions of tasks that were just written: opens a case where a live agent was unsure and no other one is asked, or sent the row to a person';

-- ── what could not be opened at once ────────────────────────────────────────
-- A snapshot: decisions of the transactions that it sees were looked at.
CREATE TABLE agentpay._case_cursor (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	horizon pg_snapshot NOT NULL);
COMMENT ON TABLE agentpay._case_cursor IS 'how far the governor has looked for decisions without their case; not dumped';

CREATE TABLE agentpay._cases_failed (
	decision_id uuid PRIMARY KEY,
	decided_at timestamptz NOT NULL,
	problem text NOT NULL);
COMMENT ON TABLE agentpay._cases_failed IS 'decisions whose case could not be opened by the governor either; it tries again. Not dumped';

-- The case of one decision; what goes wrong holds up no other.
CREATE FUNCTION agentpay._open_missing_case(d agentpay.decisions)
	RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF d.kind <> 'rules' THEN
		PERFORM agentpay._open_cases(ARRAY[d]);
	ELSIF NOT agentpay._decided_by_person(d.point, d.row_id) THEN
		PERFORM agentpay._open_case(d, d.decision_id, NULL, CASE WHEN EXISTS (
			SELECT FROM agentpay.verdicts v
			 WHERE v.point = d.point AND v.verdict = d.verdict
			   AND agentpay._needs_person(v)) THEN 'review' ELSE 'audit' END);
	END IF;
	DELETE FROM agentpay._cases_failed f WHERE f.decision_id = d.decision_id;
	RETURN true;
EXCEPTION WHEN OTHERS THEN
	INSERT INTO agentpay._cases_failed
	VALUES (d.decision_id, d.decided_at, SQLSTATE || ' ' || SQLERRM)
		ON CONFLICT (decision_id) DO UPDATE SET problem = excluded.problem
	 WHERE _cases_failed.problem <> excluded.problem;
	IF FOUND THEN
		PERFORM agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
			'agentpay', 'fail', 'case', d.point, 'case of decision '
				|| d.decision_id || ': ' || SQLSTATE || ' ' || SQLERRM, NULL,
			NULL, NULL)::agentpay.governance_log);
	END IF;
	RETURN false;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_missing_case(agentpay.decisions)
	FROM PUBLIC;

-- Cases of an INSERT whose own attempt failed (the governance log says why),
-- and of agents' answers that met a case which was then closed or rolled back.
-- Of many new decisions a slice at a time, as _roll_rules().
CREATE FUNCTION agentpay._open_missing_cases() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	seen pg_snapshot;
	upto pg_snapshot;
	is_slice boolean;
	wanted text[];
	missing agentpay.decisions[];
	unseen bigint;
	opened bigint;
BEGIN
	-- one at a time, and no lock is made stronger later: either would deadlock
	LOCK TABLE agentpay._case_cursor IN SHARE ROW EXCLUSIVE MODE;
	LOCK TABLE agentpay.cases, agentpay._cases_failed IN ROW EXCLUSIVE MODE;
	seen := (SELECT k.horizon FROM agentpay._case_cursor k);
	SELECT u, agentpay._is_slice(u) INTO upto, is_slice
	  FROM agentpay._slice_end(seen, 'decisions') AS u;
	wanted := ARRAY(SELECT v.point || '.' || v.verdict
					  FROM agentpay.verdicts v
					 WHERE agentpay._needs_person(v));
	EXECUTE format($q$
		SELECT count(*), array_agg(d ORDER BY d.decided_at, d.decision_id)
		 FILTER (WHERE (d.kind = 'rules'
				AND (d.point || '.' || d.verdict = ANY ($1)
					 OR d.assignment = 'audit')
				AND NOT coalesce(d.detail ? 'repeats', false)
				OR agentpay._may_open_case(d))
		   AND NOT EXISTS (
			SELECT FROM agentpay.cases c
			 WHERE c.point = d.point AND c.row_id = d.row_id
			   AND (c.state <> 'closed' OR c.opened_at >= d.decided_at))
		   AND EXISTS (SELECT FROM agentpay.decision_points p
						WHERE p.point = d.point))
		  FROM agentpay.decisions d
		 WHERE %s AND d.decided_at >= (SELECT i.adopted_at
										 FROM agentpay._identity i)$q$,
		CASE WHEN is_slice THEN agentpay._new('d', seen, upto)
		ELSE agentpay._unseen('d', seen) END)
	   INTO unseen, missing USING wanted;
	SELECT missing || coalesce(array_agg(d), '{}') INTO missing
	  FROM agentpay._cases_failed f
	  JOIN agentpay.decisions d ON d.decision_id = f.decision_id
	   AND d.decided_at = f.decided_at
	 WHERE d.decision_id <> ALL (SELECT m.decision_id
								   FROM unnest(missing) AS m);
	SELECT count(*) FILTER (WHERE agentpay._open_missing_case(d))
	  INTO opened FROM unnest(missing) AS d;
	-- its own write would be unseen the next time
	IF unseen = 0 AND NOT is_slice THEN
		RETURN opened;
	END IF;
	INSERT INTO agentpay._case_cursor (horizon) VALUES (upto)
		ON CONFLICT (one) DO UPDATE SET horizon = excluded.horizon;
	DELETE FROM agentpay._asked_later l
	 WHERE l.asked_at < agentpay._now() - interval '30 days';
	RETURN opened;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_missing_cases() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._open_missing_cases() IS 'by the governor: opens the cases that could not be opened with their decision';
