-- 59_positions.sql
--		How a verdict takes effect: before the authorisation, in the ledger's
--		own column; after it, as an action for the payment system.

-- ── what stands ─────────────────────────────────────────────────────────────
-- The latest decision that counts; a person's before any agent's.  A fallback
-- decides nothing: what stood before it stands.
CREATE FUNCTION agentpay._standing(point text, row_id text)
	RETURNS agentpay.decisions
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT d FROM agentpay.decisions d
	 WHERE d.point = $1 AND d.row_id = $2 AND d.authority = 'live'
	   AND d.kind IN ('rules', 'agent', 'human') AND d.repeat_no = 0
	 ORDER BY d.kind = 'human' DESC, d.decided_at DESC, d.decision_id DESC
	 LIMIT 1);
END$$;
REVOKE ALL ON FUNCTION agentpay._standing(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._standing(text, text) IS 'the decision that stands for a row, as current_decisions has it';

-- ── taking effect ───────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._apply(relation regclass, look text, change text,
	limit_ms int, OUT busy boolean, OUT sqlstate text, OUT message text)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_apply';
REVOKE ALL ON FUNCTION agentpay._apply(regclass, text, text, int) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._apply(regclass, text, text, int) IS 'changes a row of a user''s table as its owner; look locks it and says whether it is as it was, change whether it is as it should be. sqlstate NULL: done';

-- Puts a verdict into the row's columns; NULL: done.  was: the verdict that the
-- outcome has now; another one there is the user's, and stays.
CREATE FUNCTION agentpay._apply_verdict(p agentpay.decision_points,
	row_id text, was text, verdict text, score numeric, reasons text[],
	OUT busy boolean, OUT sqlstate text, OUT message text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	types jsonb := (SELECT jsonb_object_agg(a.attname,
							format_type(a.atttypid, a.atttypmod))
					  FROM pg_attribute a
					 WHERE a.attrelid = p.table_name AND a.attnum > 0
					   AND a.attname IN (p.outcome_column, p.score_column)
					   AND NOT a.attisdropped);
	changes text := concat_ws(', ',
		CASE WHEN p.outcome_column IS NOT NULL
			 THEN format('%I = %L', p.outcome_column, verdict) END,
		CASE WHEN p.score_column IS NOT NULL AND score IS NOT NULL
			 THEN format('%I = %L::numeric::%s', p.score_column, score,
						 types ->> p.score_column) END,
		CASE WHEN p.reasons_column IS NOT NULL
			 THEN format('%I = %L::text[]', p.reasons_column, reasons) END);
	same text := CASE WHEN p.outcome_column IS NULL THEN 'true'
		ELSE format('%I IS NOT DISTINCT FROM %%L::%s', p.outcome_column,
					types ->> p.outcome_column) END;
BEGIN
	busy := false;
	IF changes = '' THEN
		RETURN;
	END IF;
	SELECT x.busy, x.sqlstate, x.message INTO busy, sqlstate, message
	  FROM agentpay._apply(p.table_name,
		format('SELECT %s FROM %s WHERE %I = %L FOR NO KEY UPDATE NOWAIT',
			   format(same, was), p.table_name, p.id_column, row_id),
		format('UPDATE %s SET %s WHERE %I = %L RETURNING %s', p.table_name,
			   changes, p.id_column, row_id, format(same, verdict)),
		250) AS x;
END$$;
REVOKE ALL ON FUNCTION agentpay._apply_verdict(agentpay.decision_points, text,
	text, text, numeric, text[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._apply_verdict(agentpay.decision_points, text,
	text, text, numeric, text[]) IS 'a verdict into the outcome, score and reasons columns of a row, unless the outcome is no longer was';

-- Why an agent's verdict may not follow what stands; NULL: it may.  Of two
-- agents the tighter one decides; without an order, the first.
CREATE FUNCTION agentpay._follow_problem(d agentpay.decisions,
	s agentpay.decisions) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT CASE WHEN s.kind = 'human' THEN 'a person has decided'
				WHEN d.assignment = 'explore'
				THEN 'the payment was let through to learn its label'
				WHEN NOT p.enabled THEN 'the point is detached'
				WHEN s.kind = 'agent' AND d.verdict <> s.verdict
					 AND NOT coalesce(n.rank > o.rank, false)
				THEN format('the verdict of agent %s stands', s.agent) END
	  FROM agentpay.decision_points p
	  LEFT JOIN agentpay.verdicts n
		ON n.point = p.point AND n.verdict = d.verdict
	  LEFT JOIN agentpay.verdicts o
		ON o.point = p.point AND o.verdict = s.verdict
	 WHERE p.point = d.point);
END$$;
REVOKE ALL ON FUNCTION agentpay._follow_problem(agentpay.decisions,
	agentpay.decisions) FROM PUBLIC;

-- An agent's live verdict, as it is to be recorded: it supersedes what stood,
-- or, where that is not to be, it is in the shadow and says why.  NULL: its row
-- is locked, and it waits in _applies.
CREATE FUNCTION agentpay._take_effect(d agentpay.decisions,
	e agentpay._task_end) RETURNS agentpay.decisions
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s agentpay.decisions := agentpay._standing(d.point, d.row_id);
	p agentpay.decision_points;
	is_pre_auth boolean;
	problem text := agentpay._follow_problem(d, s);
	a record;
BEGIN
	SELECT t.decide_by IS NOT NULL INTO is_pre_auth FROM agentpay._tasks t
	 WHERE t.task_id = e.task_id AND t.created_at = e.created_at;
	IF problem IS NULL AND is_pre_auth THEN
		SELECT * INTO p FROM agentpay.decision_points x
		 WHERE x.point = d.point;
		SELECT * INTO a FROM agentpay._apply_verdict(p, d.row_id, s.verdict,
									d.verdict, d.score, d.reasons);
		IF a.busy THEN
			-- what is sealed waits sealed
			IF d.sealed IS NOT NULL THEN
				e.detail := e.detail - 'explanation' || jsonb_build_object(
					'sealed', encode(d.sealed, 'base64'));
			END IF;
			INSERT INTO agentpay._applies VALUES (e.task_id, e);
			RETURN NULL;
		END IF;
		problem := a.message;
	END IF;
	IF problem IS NULL THEN
		d.supersedes := s.decision_id;
	ELSE
		d.authority := 'shadow';
		d.detail := d.detail || jsonb_build_object('not_applied',
			jsonb_strip_nulls(jsonb_build_object('sqlstate', a.sqlstate,
												 'message', problem)));
	END IF;
	RETURN d;
END$$;
REVOKE ALL ON FUNCTION agentpay._take_effect(agentpay.decisions,
	agentpay._task_end) FROM PUBLIC;

-- The verdicts that waited for their row, once more; those that are left.  The
-- caller holds the kill lock shared, from an earlier statement.
CREATE FUNCTION agentpay._apply_again(max_tasks int) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	killed text[] := agentpay._killed_agents();
	ids bigint[];
	ends agentpay._task_end[];
	e agentpay._task_end;
BEGIN
	SELECT array_agg(x.task_id) INTO ids
	  FROM (SELECT w.task_id FROM agentpay._applies w ORDER BY w.task_id
			 LIMIT max_tasks FOR UPDATE SKIP LOCKED) AS x;
	IF ids IS NULL THEN
		RETURN 0;
	END IF;
	WITH taken AS (
		DELETE FROM agentpay._applies w WHERE w.task_id = ANY (ids)
		RETURNING w.ending)
	SELECT array_agg(w.ending) INTO ends FROM taken w;
	FOR i IN 1 .. cardinality(ends) LOOP
		e := ends[i];
		IF EXISTS (SELECT FROM agentpay._tasks t
					WHERE t.task_id = e.task_id AND t.created_at = e.created_at
					  AND t.agent = ANY (killed)) THEN
			e.failure := 'killed';
			ends[i] := e;
		END IF;
	END LOOP;
	PERFORM agentpay._end_tasks(ends);
	RETURN (SELECT count(*) FROM agentpay._applies w);
END$$;
REVOKE ALL ON FUNCTION agentpay._apply_again(int) FROM PUBLIC;

-- ── actions ─────────────────────────────────────────────────────────────────
CREATE TABLE agentpay.actions (
	action_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	point text NOT NULL,
	row_id text NOT NULL,
	decision_id uuid NOT NULL,
	action text NOT NULL CHECK (action IN ('hold_capture','void','refund','step_up','notify')),
	state text NOT NULL DEFAULT 'open' CHECK (state IN ('open','done','refused','expired')),
	created_at timestamptz NOT NULL DEFAULT now(),
	actionable_until timestamptz);
CREATE INDEX ON agentpay.actions (point, row_id);
CREATE INDEX ON agentpay.actions (actionable_until) WHERE state = 'open';
REVOKE ALL ON agentpay.actions FROM PUBLIC;
COMMENT ON TABLE agentpay.actions IS 'a verdict that tightens after the authorisation never rewrites it: it appends a decision and an action, and notifies agentpay_actions. Set state, and nothing else';
COMMENT ON COLUMN agentpay.actions.decision_id IS 'the decision that calls for it';
COMMENT ON COLUMN agentpay.actions.action IS 'what the payment system should now do';
COMMENT ON COLUMN agentpay.actions.state IS 'open; yours to set: done or refused; expired, after actionable_until';
COMMENT ON COLUMN agentpay.actions.actionable_until IS 'after it there is nothing to do any more; NULL: no limit';
SELECT pg_catalog.pg_extension_config_dump('agentpay.actions', '');
SELECT pg_catalog.pg_extension_config_dump('agentpay.actions_action_id_seq', '');

CREATE FUNCTION agentpay._check_actions() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	example text := format('UPDATE agentpay.actions SET state = ''done'' WHERE action_id = %s;', OLD.action_id);
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	ELSIF TG_OP = 'DELETE' THEN
		IF OLD.state = 'open' THEN
			PERFORM agentpay._refuse('55000',
				format('action %s is open', OLD.action_id),
				'What is to be done stays until somebody has said what became of it.',
				example);
		END IF;
		RETURN OLD;
	ELSIF to_jsonb(OLD) - 'state' <> to_jsonb(NEW) - 'state' THEN
		PERFORM agentpay._refuse('55000',
			format('only the state of action %s may change', OLD.action_id),
			'The rest is what a decision called for.', example);
	ELSIF NEW.state IS NULL OR NEW.state <> ALL ('{open,done,refused,expired}') THEN
		PERFORM agentpay._refuse('23514', format('unknown state: %s',
				coalesce(quote_literal(NEW.state), 'NULL')),
			'States are open, done, refused and expired.', example);
	ELSIF OLD.state <> 'open' AND NEW.state <> OLD.state THEN
		PERFORM agentpay._refuse('55000',
			format('action %s is %s already', OLD.action_id, OLD.state),
			'An action goes from open to done, refused or expired, once.',
			format('SELECT * FROM agentpay.actions WHERE action_id = %s;',
				   OLD.action_id));
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_actions() FROM PUBLIC;
CREATE TRIGGER agentpay_check BEFORE UPDATE OR DELETE ON agentpay.actions
	FOR EACH ROW EXECUTE FUNCTION agentpay._check_actions();
CREATE TRIGGER agentpay_govern AFTER UPDATE OR DELETE ON agentpay.actions
	FOR EACH ROW EXECUTE FUNCTION agentpay._govern_change('action', 'action_id');
CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE ON agentpay.actions
	EXECUTE FUNCTION agentpay._refuse_truncate();
ALTER TABLE agentpay.actions ENABLE ALWAYS TRIGGER agentpay_check;
ALTER TABLE agentpay.actions ENABLE ALWAYS TRIGGER agentpay_govern;
ALTER TABLE agentpay.actions ENABLE ALWAYS TRIGGER agentpay_truncate;

-- What a verdict that was changed after the authorisation calls for, and until
-- when.  Until the capture a fraud point's payment can be held or voided; after
-- it only money can be given back.  The agent's options.actions may name
-- another action for a verdict, options.capture_within another time.
CREATE FUNCTION agentpay._action_of(role text, tightens boolean,
	is_tightest boolean, chosen text, occurred_at timestamptz,
	captured_at timestamptz, moment timestamptz,
	OUT action text, OUT actionable_until timestamptz)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT f.action,
		   CASE WHEN f.action IN ('hold_capture', 'void', 'step_up')
				THEN captured_at END
	  FROM (SELECT coalesce(chosen,
				CASE WHEN role = 'fraud' AND tightens AND is_tightest THEN 'void'
					 WHEN role = 'fraud' AND tightens THEN 'hold_capture'
					 ELSE 'notify' END) AS action) AS w
	 CROSS JOIN LATERAL (
		SELECT CASE WHEN w.action IN ('refund', 'notify')
					  OR moment < captured_at THEN w.action
					WHEN w.action = 'void' THEN 'refund'
					ELSE 'notify' END AS action) AS f
$$;
REVOKE ALL ON FUNCTION agentpay._action_of(text, boolean, boolean, text,
	timestamptz, timestamptz, timestamptz) FROM PUBLIC;

-- The action of a decision that took effect after the authorisation, if it
-- changed the verdict.
CREATE FUNCTION agentpay._open_action(d agentpay.decisions) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	id bigint;
BEGIN
	IF d.authority <> 'live' OR d.supersedes IS NULL OR NOT EXISTS (
		SELECT FROM agentpay.agent_versions v
		 WHERE v.agent = d.agent AND v.version = d.agent_version
		   AND v.definition ->> 'position' = 'post_auth') THEN
		RETURN;
	END IF;
	INSERT INTO agentpay.actions (point, row_id, decision_id, action,
								  created_at, actionable_until)
	SELECT d.point, d.row_id, d.decision_id, x.action, d.decided_at,
		   x.actionable_until
	  FROM agentpay.decisions s
	  JOIN agentpay.decision_points p ON p.point = d.point
	  JOIN agentpay.agent_versions v
		ON v.agent = d.agent AND v.version = d.agent_version
	  LEFT JOIN agentpay.verdicts n
		ON n.point = d.point AND n.verdict = d.verdict
	  LEFT JOIN agentpay.verdicts o
		ON o.point = d.point AND o.verdict = s.verdict
	 CROSS JOIN LATERAL (
		SELECT v.definition -> 'options' AS options) AS a
	 CROSS JOIN LATERAL agentpay._action_of(p.role,
		coalesce(n.rank > o.rank, false),
		n.rank = (SELECT max(m.rank) FROM agentpay.verdicts m
				   WHERE m.point = d.point),
		a.options -> 'actions' ->> d.verdict, d.occurred_at,
		least(d.occurred_at, '9999-12-31 00:00:00+00')
			+ coalesce(a.options ->> 'capture_within', '24 hours')::interval,
		d.decided_at) AS x
	 WHERE s.point = d.point AND s.row_id = d.row_id
	   AND s.decision_id = d.supersedes AND s.verdict <> d.verdict
	   AND v.definition ->> 'position' = 'post_auth'
	RETURNING action_id INTO id;
	IF FOUND THEN
		PERFORM pg_notify('agentpay_actions', id::text);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_action(agentpay.decisions) FROM PUBLIC;

CREATE FUNCTION agentpay._expire_actions() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	UPDATE agentpay.actions a SET state = 'expired'
	 WHERE a.action_id IN (
		SELECT o.action_id FROM agentpay.actions o
		 WHERE o.state = 'open' AND o.actionable_until <= agentpay._now()
		 LIMIT 1000 FOR UPDATE SKIP LOCKED);
END$$;
REVOKE ALL ON FUNCTION agentpay._expire_actions() FROM PUBLIC;

-- ── deadlines ───────────────────────────────────────────────────────────────
-- Tasks whose decide_by is at most `swept` have ended, or somebody is at them.
CREATE TABLE agentpay._deadlines (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	swept timestamptz NOT NULL) WITH (fillfactor = 50);

CREATE FUNCTION agentpay._try_lock_tasks(ids bigint[]) RETURNS bigint[]
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_try_lock_tasks';
REVOKE ALL ON FUNCTION agentpay._try_lock_tasks(bigint[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._try_lock_tasks(bigint[]) IS 'locks those that are free to the end of the transaction, and returns them';

-- Milliseconds until there may be another; a task can come meanwhile that has
-- less time.
CREATE FUNCTION agentpay._next_deadline(moment timestamptz) RETURNS int
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT CASE WHEN NOT EXISTS (SELECT FROM agentpay.agents a
			WHERE a.position = 'pre_auth' AND a.stage <> 'off') THEN 2000
		ELSE coalesce((
			SELECT least(500, greatest(20, ceil(1000 * extract(epoch
						FROM t.decide_by - moment))))
			  FROM agentpay._tasks t WHERE t.decide_by > moment
			 ORDER BY t.decide_by LIMIT 1), 500)::int END);
END$$;
REVOKE ALL ON FUNCTION agentpay._next_deadline(timestamptz) FROM PUBLIC;

-- Ends tasks whose deadline has passed: the rules verdict is final.  Returns
-- in how many milliseconds to look again; 0: there may be more.  A task that
-- commits long after its deadline is ended by the dispatcher, when it finds it.
CREATE FUNCTION agentpay._fall_back(max_tasks int) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moment timestamptz := agentpay._now();
	since timestamptz;
	due agentpay._tasks[];
	open bigint[];
BEGIN
	SELECT greatest(i.adopted_at, (SELECT w.swept FROM agentpay._deadlines w))
	  INTO since FROM agentpay._identity i;
	SELECT array_agg(x ORDER BY x.decide_by) INTO due
	  FROM (SELECT t.* FROM agentpay._tasks t
			 WHERE t.decide_by > since AND t.decide_by <= moment
			   AND t.created_at > since - interval '1 day'
			 ORDER BY t.decide_by LIMIT max_tasks) AS x;
	IF due IS NULL THEN
		RETURN agentpay._next_deadline(moment);
	END IF;
	-- as _ending() has it, for all at once
	SELECT array_agg(t.task_id) INTO open FROM unnest(due) AS t
	 WHERE NOT EXISTS (
		SELECT FROM agentpay.decisions d
		 WHERE d.point = t.point AND d.row_id = t.row_id AND d.agent = t.agent
		   AND d.kind IN ('agent', 'fallback')
		   AND d.decided_at >= t.created_at
		   AND d.detail ->> 'task_id' = t.task_id::text
		   AND NOT d.detail ? 'late');
	-- one that is locked is being ended just now
	open := agentpay._try_lock_tasks(open);
	PERFORM agentpay._end_tasks(array_agg(ROW(t.task_id, t.created_at,
			agentpay._uuid_v7(), 'timeout', NULL, NULL, NULL, NULL, NULL, 0,
			NULL, jsonb_build_object('error', 'decide_by passed'))
			::agentpay._task_end))
	   FROM unnest(due) AS t WHERE t.task_id = ANY (open);
	-- a little is looked at again, for what committed meanwhile
	IF cardinality(due) < max_tasks THEN
		since := greatest(since, least((due[cardinality(due)]).decide_by,
									   moment - interval '2 seconds'));
	ELSE
		-- what was cut off may have the same deadline
		since := (due[max_tasks]).decide_by - interval '1 microsecond';
	END IF;
	INSERT INTO agentpay._deadlines (swept) VALUES (since)
		ON CONFLICT (one) DO UPDATE SET swept = excluded.swept
	 WHERE _deadlines.swept < excluded.swept;
	RETURN CASE WHEN cardinality(due) = max_tasks THEN 0
		   ELSE agentpay._next_deadline(moment) END;
END$$;
REVOKE ALL ON FUNCTION agentpay._fall_back(int) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._fall_back(int) IS 'ends tasks that nobody answered by decide_by; the governor calls it';

-- ── waiting ─────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._wake_waiters(point text, row_id text) RETURNS void
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_wake_waiters';
REVOKE ALL ON FUNCTION agentpay._wake_waiters(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._wake_waiters(text, text) IS 'at commit, sessions that wait for this row in await_decision()';

-- The verdict that stands, and what may still change it: the earliest deadline
-- to come, and tasks whose deadline has passed without a decision.  A row that
-- repeats another one's key follows that one; awaited is the row it is about.
CREATE FUNCTION agentpay._await_state(point text, row_id text,
	OUT verdict text, OUT next_by timestamptz, OUT passed bigint[],
	OUT awaited text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	-- planning costs more than what it runs, and somebody waits
	SET plan_cache_mode = force_generic_plan
AS $$
DECLARE
	p agentpay.decision_points := agentpay._point(_await_state.point);
	r agentpay.decisions;
	moment timestamptz;
BEGIN
	SELECT * INTO r FROM agentpay.decisions d
	 WHERE d.point = p.point AND d.row_id = _await_state.row_id
	   AND d.kind = 'rules'
	 ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT 1;
	IF NOT FOUND OR NOT agentpay._sees(r.point, r.row_id) THEN
		PERFORM agentpay._refuse('42704',
			format('point "%s" has no decision about row %L', p.point,
				   _await_state.row_id),
			format('A row is named by column "%s" of %s, and has a decision once its transaction has committed.', p.id_column, p.table_name),
			format('SELECT %I FROM %s WHERE %I = %L;', p.id_column,
				   p.table_name, p.id_column, _await_state.row_id));
	ELSIF r.xid = pg_current_xact_id_if_assigned() THEN
		PERFORM agentpay._refuse('55000',
			format('row %L of point "%s" is not committed yet',
				   _await_state.row_id, p.point),
			'This transaction has inserted it; no agent is asked before it commits.',
			'COMMIT; then call await_decision() in a new transaction.');
	END IF;
	awaited := coalesce(r.detail ->> 'repeats', r.row_id);
	IF awaited <> r.row_id THEN
		SELECT * INTO r FROM agentpay.decisions d
		 WHERE d.point = p.point AND d.row_id = awaited AND d.kind = 'rules'
		 ORDER BY d.decided_at DESC, d.decision_id DESC LIMIT 1;
	END IF;
	verdict := (agentpay._standing(p.point, awaited)).verdict;
	moment := agentpay._now();
	SELECT min(t.decide_by) FILTER (WHERE t.decide_by > moment),
		   array_agg(t.task_id) FILTER (WHERE t.decide_by <= moment)
	  INTO next_by, passed
	  FROM agentpay._tasks t LEFT JOIN agentpay.agents a ON a.name = t.agent
	 WHERE t.decision_id = r.decision_id AND t.decide_by IS NOT NULL
	   AND t.created_at = r.decided_at AND agentpay._is_live(t, a, r)
	   AND NOT EXISTS (SELECT FROM agentpay._ending(t));
END$$;
REVOKE ALL ON FUNCTION agentpay._await_state(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay.await_decision(point text, row_id "any",
	timeout interval DEFAULT '10 seconds') RETURNS text
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_await_decision';
REVOKE ALL ON FUNCTION agentpay.await_decision(text, "any", interval)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay.await_decision(text, "any", interval) IS 'the verdict of a row, once no agent of position pre_auth can change it any more, at decide_by at the latest; after timeout, the verdict of that moment';
