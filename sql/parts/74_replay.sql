-- 74_replay.sql
--		Decisions judged again, as of their moment, on what was stored.
--
-- Rules are evaluated by src/review/replay.c.  An agent is not asked again:
-- its recorded answer is judged again, by its version, the authorities and
-- the vocabulary of that moment.  replay() and replay_all() are SECURITY
-- DEFINER: whoever is granted them need not be able to read the logs, and sees
-- verdicts and names, no inputs.

-- The rows of the query: src/review/replay.c names its columns.
CREATE FUNCTION agentpay._replay_rules(query text)
	RETURNS TABLE (decision_id uuid, state text, recorded_verdict text,
				   replayed_verdict text, difference jsonb)
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_replay_rules';
REVOKE ALL ON FUNCTION agentpay._replay_rules(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._replay_rules(text) IS 'replays the decisions of rules that a query gives';

CREATE FUNCTION agentpay._replay_count(query text, shared_query text)
	RETURNS TABLE (state text, decisions bigint, first_decision_id uuid)
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_replay_count';
REVOKE ALL ON FUNCTION agentpay._replay_count(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._replay_count(text, text) IS 'the same, counted by what came out';

-- Of decisions that stand on their own; and of the others: a version in shadow
-- has its inputs with the rules decision of its row, a row that repeats an
-- idempotency key has what the first one got.  shared: of the blocks that come
-- to a process.
CREATE FUNCTION agentpay._replay_query(plain boolean, condition text,
	shared boolean DEFAULT false) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'SELECT d.decision_id, d.decided_at, d.occurred_at, d.point,'
		' d.row_id, d.amount, d.currency, d.base_amount, d.score, d.verdict,'
		' d.answer, d.assignment, d.propensity, d.reasons,'
		' coalesce(d.ruleset_version, 0),' || CASE WHEN plain THEN
			' d.read, d.detail, false, d.sealed IS NOT NULL, NULL::text,'
			' NULL::text, NULL::text, 1::real'
		ELSE
			' CASE WHEN d.kind = ''shadow_rules'' THEN r.inputs ELSE d.read END,'
			' d.detail, d.kind = ''shadow_rules'','
			' coalesce(r.sealed, d.sealed IS NOT NULL), f.verdict, f.answer,'
			' f.assignment, coalesce(f.propensity, 1)' END
		|| ' FROM ' || agentpay._in_blocks(
		'SELECT d.*, CASE WHEN d.sealed IS NULL THEN d.inputs'
		' ELSE agentpay._unseal(d) END AS read'
		' FROM agentpay.decisions d WHERE '
		|| CASE WHEN plain THEN
			'd.kind = ''rules'' AND (d.detail ? ''repeats'') IS NOT TRUE'
		ELSE
			'(d.kind = ''shadow_rules'''
			' OR d.kind = ''rules'' AND d.detail ? ''repeats'')' END
		|| ' AND ' || condition, shared) || ' AS d'
		|| CASE WHEN plain THEN '' ELSE
			'  LEFT JOIN LATERAL ('
			'	SELECT CASE WHEN o.sealed IS NULL THEN o.inputs'
			'			ELSE agentpay._unseal(o) END AS inputs,'
			'		   o.sealed IS NOT NULL AS sealed FROM agentpay.decisions o'
			'	 WHERE d.kind = ''shadow_rules'' AND o.kind = ''rules'''
			'	   AND o.point = d.point AND o.row_id = d.row_id'
			'	   AND o.decided_at = d.decided_at LIMIT 1) AS r ON true'
			'  LEFT JOIN LATERAL ('
			'	SELECT o.verdict, o.answer, o.assignment, o.propensity'
			'	  FROM agentpay.decisions o'
			'	 WHERE d.detail ? ''repeats'' AND o.kind = ''rules'''
			'	   AND o.point = d.point'
			'	   AND o.row_id = d.detail ->> ''repeats'''
			'	   AND d.kind = ''rules'''
			'	 ORDER BY o.decided_at LIMIT 1) AS f ON true' END
$$;
REVOKE ALL ON FUNCTION agentpay._replay_query(boolean, text, boolean)
	FROM PUBLIC;

-- ── agents and people ───────────────────────────────────────────────────────
-- As agentpay._judge(), of what held at that moment.  The answer is the
-- recorded one.
CREATE FUNCTION agentpay._judge_then(t agentpay._tasks, a agentpay.agents,
	r agentpay.decisions, verdict text, confidence real, at timestamptz)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay._answer_failure(s.unsure, s.exempt, v.point IS NOT NULL,
			v.rank - coalesce(w.rank, v.rank + 1), EXISTS (
				SELECT FROM agentpay._authorities_at(at) o
				 WHERE o.agent = t.agent),
			l.verdict IS NOT NULL, l.may_relax,
			l.max_amount IS NULL OR abs(r.amount) <= l.max_amount
				AND r.currency = l.currency,
			t.forced, v.rank IS NULL AND EXISTS (
				SELECT FROM agentpay.decision_points p
				 WHERE p.point = t.point AND p.role = 'routing'
				   AND agentpay._in_list_at('disabled_routes', $4, at)))
	  FROM (SELECT coalesce($5, 0) < coalesce(a.min_confidence, 0)::real,
				   $4 = x.rules OR a.position = 'review', x.rules
			  FROM (SELECT CASE r.assignment WHEN 'explore' THEN r.answer
						   ELSE r.verdict END) AS x (rules))
		AS s (unsure, exempt, rules)
	  LEFT JOIN agentpay._verdicts_at(at) v
		ON v.point = t.point AND v.verdict = $4
	  LEFT JOIN agentpay._verdicts_at(at) w
		ON w.point = v.point AND w.verdict = s.rules
	  LEFT JOIN agentpay._authorities_at(at) l
		ON l.agent = t.agent AND l.verdict = v.verdict
$$;
REVOKE ALL ON FUNCTION agentpay._judge_then(agentpay._tasks, agentpay.agents,
	agentpay.decisions, text, real, timestamptz) FROM PUBLIC;

CREATE FUNCTION agentpay._agent_then(agent text, at timestamptz,
	last_change timestamptz) RETURNS agentpay.agents
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF at >= last_change THEN
		RETURN (SELECT a FROM agentpay.agents a WHERE a.name = agent);
	END IF;
	RETURN (SELECT a FROM agentpay._agents_at(at) a WHERE a.name = agent);
END$$;
REVOKE ALL ON FUNCTION agentpay._agent_then(text, timestamptz, timestamptz)
	FROM PUBLIC;

-- How often the agent's stage had been lowered by then.
CREATE FUNCTION agentpay._times_lowered_then(agent text, at timestamptz)
	RETURNS bigint
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay._times_lowered($1) - count(*)
	  FROM agentpay.governance_log g
	 WHERE g.object_kind = 'agent' AND g.object = $1 AND g.action = 'update'
	   AND g.logged_at > $2 AND agentpay._stage_rank(g.before ->> 'stage') > 0
	   AND agentpay._stage_rank(g.after ->> 'stage')
		   < agentpay._stage_rank(g.before ->> 'stage')
$$;
REVOKE ALL ON FUNCTION agentpay._times_lowered_then(text, timestamptz)
	FROM PUBLIC;

-- Whether the row was inside the stages, and whether it was held out, of the
-- agent and of those that had asked it.  As in agentpay._is_live(), the stage
-- counts as it was when the question was asked, too.
CREATE FUNCTION agentpay._rollout_then(t agentpay._tasks,
	r agentpay.decisions, at timestamptz, last_change timestamptz,
	OUT live boolean, OUT held_out boolean)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
BEGIN
	live := true;
	held_out := false;
	LOOP
		a := agentpay._agent_then(t.agent, at, last_change);
		live := live AND t.repeat_no = 0 AND r.assignment <> 'explore'
			AND coalesce(a.position <> 'review', false)
			AND coalesce(t.bucket < least(t.stage,
									agentpay._stage_rank(a.stage)), false)
			AND NOT coalesce(t.holdout_bucket < 100 * a.holdout_percent, false)
			AND NOT coalesce(t.lowered < agentpay._times_lowered(t.agent)
				AND t.lowered < agentpay._times_lowered_then(t.agent, at), false);
		held_out := held_out
			OR coalesce(t.holdout_bucket < 100 * a.holdout_percent, false);
		EXIT WHEN t.escalated_from IS NULL;
		t := agentpay._task_below(t);
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._rollout_then(agentpay._tasks,
	agentpay.decisions, timestamptz, timestamptz) FROM PUBLIC;

-- {"name": {"recorded": ..., "replayed": ...}}, or nothing when they agree.
CREATE FUNCTION agentpay._differs(name text, recorded anyelement,
	replayed anyelement) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN recorded IS DISTINCT FROM replayed
		THEN jsonb_build_object(name, jsonb_build_object(
			'recorded', recorded, 'replayed', replayed))
		ELSE '{}' END
$$;
REVOKE ALL ON FUNCTION agentpay._differs(text, anyelement, anyelement)
	FROM PUBLIC;

-- What a decision has from the rules decision of its row.
CREATE FUNCTION agentpay._differs_from_rules(d agentpay.decisions,
	r agentpay.decisions) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay._differs('occurred_at', d.occurred_at, r.occurred_at)
		|| agentpay._differs('amount', d.amount, r.amount)
		|| agentpay._differs('currency', d.currency, r.currency)
		|| agentpay._differs('base_amount', d.base_amount, r.base_amount)
		|| agentpay._differs('propensity', d.propensity,
			CASE WHEN d.kind = 'agent'
				 THEN agentpay._label_chance(r, d.verdict, d.detail -> 'draw')
				 ELSE r.propensity END)
$$;
REVOKE ALL ON FUNCTION agentpay._differs_from_rules(agentpay.decisions,
	agentpay.decisions) FROM PUBLIC;

-- An agent's answer, judged again; a call that failed stays failed.
CREATE FUNCTION agentpay._replay_answer(d agentpay.decisions,
	last_change timestamptz, OUT state text, OUT replayed_verdict text,
	OUT difference jsonb)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t agentpay._tasks;
	r agentpay.decisions;
	a agentpay.agents;
	rollout record;
	failure text := d.failure;
	live boolean;
	assignment text;
BEGIN
	state := 'different';
	SELECT * INTO t FROM agentpay._tasks x
	 WHERE x.task_id = (d.detail ->> 'task_id')::bigint
	   AND x.created_at <= d.decided_at;
	SELECT * INTO r FROM agentpay.decisions x
	 WHERE x.decision_id = t.decision_id AND x.decided_at = t.created_at;
	IF r.decision_id IS NULL OR NOT EXISTS (
		SELECT FROM agentpay.agent_versions v
		 WHERE v.agent = d.agent AND v.version = d.agent_version) THEN
		difference := jsonb_build_object('problem',
			CASE WHEN t.task_id IS NULL THEN 'its task is gone'
				 WHEN r.decision_id IS NULL
				 THEN 'the rules decision of its row is gone'
				 ELSE 'its version of the agent is gone' END);
		RETURN;
	END IF;
	a := agentpay._agent_then(t.agent, d.decided_at, last_change);
	rollout := agentpay._rollout_then(t, r, d.decided_at, last_change);
	IF d.answer IS NOT NULL AND coalesce(d.failure, 'low_confidence')
	   IN ('low_confidence', 'over_authority') THEN
		failure := CASE WHEN d.decided_at >= last_change
			THEN agentpay._judge(t, a, r, d.answer, d.confidence)
			ELSE agentpay._judge_then(t, a, r, d.answer, d.confidence,
									  d.decided_at) END;
	END IF;
	replayed_verdict := CASE WHEN failure IS NULL THEN d.answer
							 ELSE r.verdict END;
	live := rollout.live AND NOT d.detail ? 'late'
		AND NOT d.detail ? 'not_applied';
	assignment := CASE WHEN r.assignment <> 'explore' AND rollout.held_out
				  AND NOT (coalesce(d.failure, '') = 'skipped'
						   AND d.assignment = r.assignment)
				  THEN 'holdout' ELSE r.assignment END;
	-- adopt() closes what another database asked, in the shadow
	live := live AND NOT (coalesce(d.failure, '') = 'skipped'
						  AND d.authority = 'shadow');
	difference := agentpay._differs('verdict', d.verdict, replayed_verdict)
		|| agentpay._differs('failure', d.failure, failure)
		|| agentpay._differs('kind', d.kind,
			CASE WHEN failure IS NULL THEN 'agent' ELSE 'fallback' END)
		|| agentpay._differs('authority', d.authority,
			CASE WHEN live THEN 'live' ELSE 'shadow' END)
		|| agentpay._differs('assignment', d.assignment, assignment)
		|| agentpay._differs('agent', d.agent, t.agent)
		|| agentpay._differs('agent_version', d.agent_version, t.agent_version)
		|| agentpay._differs('repeat_no', d.repeat_no, t.repeat_no)
		|| agentpay._differs_from_rules(d, r);
	IF failure IS NOT NULL THEN
		difference := difference
			|| agentpay._differs('score', d.score, r.score)
			|| agentpay._differs('reasons', d.reasons, r.reasons)
			|| agentpay._differs('ruleset_version', d.ruleset_version,
								 r.ruleset_version);
	END IF;
	IF difference = '{}' THEN
		state := 'identical';
		difference := NULL;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._replay_answer(agentpay.decisions, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._replay_answer(agentpay.decisions, timestamptz) IS 'replays a decision of kind agent or fallback; last_change: of what judges answers';

-- Nothing computes what a person decides: it is what its case says, and a
-- verdict that the point had.
CREATE FUNCTION agentpay._replay_person(d agentpay.decisions, OUT state text,
	OUT replayed_verdict text, OUT difference jsonb)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	r agentpay.decisions;
	k agentpay.cases;
BEGIN
	state := 'different';
	SELECT * INTO r FROM agentpay.decisions x
	 WHERE x.point = d.point AND x.row_id = d.row_id AND x.kind = 'rules'
	 ORDER BY x.decided_at LIMIT 1;
	SELECT * INTO k FROM agentpay.cases x
	 WHERE x.case_id = (d.detail ->> 'case_id')::bigint;
	IF r.decision_id IS NULL THEN
		difference := '{"problem": "the rules decision of its row is gone"}';
		RETURN;
	END IF;
	SELECT v.verdict INTO replayed_verdict
	  FROM agentpay._verdicts_at(d.decided_at) v
	 WHERE v.point = d.point AND v.verdict = d.verdict;
	difference := agentpay._differs('verdict', d.verdict, replayed_verdict)
		|| agentpay._differs('assignment', d.assignment, r.assignment)
		|| agentpay._differs_from_rules(d, r)
		|| CASE WHEN k.case_id IS NULL THEN '{}'
		   ELSE agentpay._differs('resolution_id', d.decision_id,
								  k.resolution_id) END;
	IF difference = '{}' THEN
		state := 'identical';
		difference := NULL;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._replay_person(agentpay.decisions) FROM PUBLIC;

-- ── replay() ────────────────────────────────────────────────────────────────
-- When something last changed by which answers are judged.
CREATE FUNCTION agentpay._judges_changed_at() RETURNS timestamptz
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(max(g.logged_at), '-infinity')
	  FROM agentpay.governance_log g
	 WHERE g.object_kind IN ('agent', 'authority', 'verdict', 'point',
							 'list_entry')
	   AND g.action IN ('insert', 'update', 'delete')
$$;
REVOKE ALL ON FUNCTION agentpay._judges_changed_at() FROM PUBLIC;

CREATE FUNCTION agentpay.replay(decision_id uuid)
	RETURNS TABLE (state text, recorded_verdict text, replayed_verdict text,
				   difference jsonb)
	LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	d agentpay.decisions;
BEGIN
	SELECT * INTO d FROM agentpay.decisions x
	 WHERE x.decision_id = replay.decision_id;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('42704',
			format('there is no decision %s', replay.decision_id),
			coalesce(agentpay._absence(replay.decision_id),
					 'It was never made.'),
			'SELECT decision_id FROM agentpay.decisions WHERE point = ... AND row_id = ...;');
	END IF;
	IF d.kind IN ('rules', 'shadow_rules') THEN
		RETURN QUERY
		SELECT p.state, p.recorded_verdict, p.replayed_verdict, p.difference
		  FROM agentpay._replay_rules(agentpay._replay_query(
				d.kind = 'rules' AND (d.detail ? 'repeats') IS NOT TRUE,
				format('d.decision_id = %L AND d.decided_at = %L',
					   d.decision_id, d.decided_at))) AS p;
	ELSIF d.kind = 'human' THEN
		RETURN QUERY
		SELECT p.state, d.verdict, p.replayed_verdict, p.difference
		  FROM agentpay._replay_person(d) AS p;
	ELSE
		RETURN QUERY
		SELECT p.state, d.verdict, p.replayed_verdict, p.difference
		  FROM agentpay._replay_answer(d, agentpay._judges_changed_at()) AS p;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay.replay(uuid) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.replay(uuid) IS 'judges a decision again, by the versions that it names and everything else as of its moment, on its stored inputs and the recorded answer: identical, different (difference says in what), or erased';

-- When something changed of what answers are judged by, in order; lists are
-- asked as of the moment itself.
CREATE FUNCTION agentpay._judges_changes() RETURNS timestamptz[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT array_agg(c.at ORDER BY c.at)
	  FROM (SELECT '-infinity'::timestamptz AS at
			UNION
			SELECT g.logged_at FROM agentpay.governance_log g
			 WHERE g.object_kind IN ('agent', 'authority', 'verdict', 'point')
			   AND g.action IN ('insert', 'update', 'delete')) AS c
$$;
REVOKE ALL ON FUNCTION agentpay._judges_changes() FROM PUBLIC;

-- Decisions of kind agent and fallback, judged again all together: between two
-- changes the configuration is read once.  What does not come out the same, and
-- what a tier above answered, is left to agentpay._replay_answer().
CREATE FUNCTION agentpay._replay_answers(since timestamptz, until timestamptz)
	RETURNS TABLE (state text, decisions bigint, first_decision_id uuid)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	changes timestamptz[] := agentpay._judges_changes();
	last_change timestamptz := agentpay._judges_changed_at();
BEGIN
	RETURN QUERY
	WITH epochs AS MATERIALIZED (
		SELECT DISTINCT width_bucket(d.decided_at, changes) AS n
		  FROM agentpay.decisions d
		 WHERE d.kind IN ('agent', 'fallback')
		   AND d.decided_at >= since AND d.decided_at < until),
	agents AS MATERIALIZED (
		SELECT e.n, a.name, a.position, a.min_confidence, a.holdout_percent,
			   agentpay._stage_rank(a.stage) AS stage,
			   agentpay._times_lowered(a.name) AS lowered,
			   agentpay._times_lowered_then(a.name, changes[e.n])
				AS lowered_then
		  FROM epochs e CROSS JOIN LATERAL agentpay._agents_at(changes[e.n]) a),
	verdicts AS MATERIALIZED (
		SELECT e.n, v.point, v.verdict, v.rank
		  FROM epochs e
		 CROSS JOIN LATERAL agentpay._verdicts_at(changes[e.n]) v),
	authorities AS MATERIALIZED (
		SELECT e.n, l.agent, l.verdict, l.may_relax, l.max_amount, l.currency
		  FROM epochs e
		 CROSS JOIN LATERAL agentpay._authorities_at(changes[e.n]) l),
	judged AS (
		SELECT d.decision_id, d.kind, d.authority, d.verdict, d.failure,
			   d.assignment, t.decision_id IS NOT NULL
				AND t.escalated_from IS NULL AND r.decision_id IS NOT NULL
				AND g.agent IS NOT NULL AND (d.agent, d.agent_version,
					d.repeat_no, d.occurred_at, d.amount, d.currency,
					d.base_amount, d.propensity)
				IS NOT DISTINCT FROM (t.agent, t.agent_version, t.repeat_no,
					r.occurred_at, r.amount, r.currency, r.base_amount,
					CASE WHEN d.kind = 'agent'
						  AND d.detail -> 'draw' ->> 'decides' IS NOT NULL
						 THEN agentpay._label_chance(r, d.verdict,
													 d.detail -> 'draw')
						 ELSE r.propensity END) AS same,
			   (d.score, d.reasons, d.ruleset_version) IS NOT DISTINCT FROM
			   (r.score, r.reasons, r.ruleset_version) AS same_rules,
			   d.answer, r.verdict AS rules_verdict,
			   r.assignment AS rules_assignment,
			   CASE WHEN d.answer IS NULL OR coalesce(d.failure,
						'low_confidence') NOT IN ('low_confidence',
												  'over_authority')
					THEN d.failure
					ELSE agentpay._answer_failure(
						coalesce(d.confidence, 0)
							< coalesce(a.min_confidence, 0)::real,
						d.answer = x.rules OR a.position = 'review',
						v.point IS NOT NULL,
						v.rank - coalesce(w.rank, v.rank + 1),
						o.agent IS NOT NULL, l.verdict IS NOT NULL,
						l.may_relax, l.max_amount IS NULL
							OR abs(r.amount) <= l.max_amount
							AND r.currency = l.currency,
						t.forced, CASE WHEN v.rank IS NULL
											AND p.role = 'routing'
							THEN agentpay._in_list_at('disabled_routes',
								d.answer, d.decided_at) END) END
				AS failure_now,
			   coalesce(t.repeat_no = 0 AND r.assignment <> 'explore'
				AND a.position <> 'review' AND t.bucket < least(t.stage, a.stage)
				AND NOT coalesce(t.lowered < a.lowered
								 AND t.lowered < a.lowered_then, false)
				AND NOT h.held_out AND NOT d.detail ? 'late'
				AND NOT d.detail ? 'not_applied'
				AND NOT (d.failure IS NOT DISTINCT FROM 'skipped'
						 AND d.authority = 'shadow'), false) AS live,
			   r.assignment <> 'explore' AND h.held_out
				AND NOT (d.failure IS NOT DISTINCT FROM 'skipped'
						 AND d.assignment = r.assignment) AS is_held_out
		  FROM agentpay.decisions d
		  LEFT JOIN agentpay._tasks t
			ON t.task_id = (d.detail ->> 'task_id')::bigint
		   AND t.created_at <= d.decided_at
		  LEFT JOIN agentpay.decisions r
			ON r.decision_id = t.decision_id AND r.decided_at = t.created_at
		  LEFT JOIN agentpay.agent_versions g
			ON g.agent = d.agent AND g.version = d.agent_version
		 CROSS JOIN LATERAL (SELECT width_bucket(d.decided_at, changes),
				CASE r.assignment WHEN 'explore' THEN r.answer
					 ELSE r.verdict END) AS x (n, rules)
		  LEFT JOIN agents a ON a.n = x.n AND a.name = t.agent
		  LEFT JOIN verdicts v ON v.n = x.n AND v.point = t.point
		   AND v.verdict = d.answer
		  LEFT JOIN verdicts w ON w.n = x.n AND w.point = v.point
		   AND w.verdict = x.rules
		  LEFT JOIN (SELECT DISTINCT s.n, s.agent FROM authorities s) AS o
			ON o.n = x.n AND o.agent = t.agent
		  LEFT JOIN authorities l ON l.n = x.n AND l.agent = t.agent
		   AND l.verdict = v.verdict
		  LEFT JOIN agentpay.decision_points p ON p.point = t.point
		 CROSS JOIN LATERAL (SELECT coalesce(
				t.holdout_bucket < 100 * a.holdout_percent, false))
			AS h (held_out)
		 WHERE d.kind IN ('agent', 'fallback')
		   AND d.decided_at >= since AND d.decided_at < until),
	answers AS MATERIALIZED (
		SELECT j.decision_id, count(*) = 1 AND bool_and(coalesce(j.same
				AND (j.kind, j.verdict, j.failure, j.authority, j.assignment)
				IS NOT DISTINCT FROM (
					CASE WHEN j.failure_now IS NULL THEN 'agent'
						 ELSE 'fallback' END,
					CASE WHEN j.failure_now IS NULL THEN j.answer
						 ELSE j.rules_verdict END,
					j.failure_now, CASE WHEN j.live THEN 'live'
										ELSE 'shadow' END,
					CASE WHEN j.is_held_out THEN 'holdout'
						 ELSE j.rules_assignment END)
				AND (j.failure_now IS NULL OR j.same_rules), false))
			AS identical
		  FROM judged j
		 GROUP BY j.decision_id)
	SELECT 'identical', count(*), min(n.decision_id::text COLLATE "C")::uuid
	  FROM answers n WHERE n.identical
	HAVING count(*) > 0
	UNION ALL
	SELECT x.state, count(*), min(d.decision_id::text COLLATE "C")::uuid
	  FROM agentpay.decisions d
	 CROSS JOIN LATERAL agentpay._replay_answer(d, last_change) AS x
	 WHERE d.kind IN ('agent', 'fallback')
	   AND d.decided_at >= since AND d.decided_at < until
	   AND d.decision_id IN (SELECT n.decision_id FROM answers n
							  WHERE NOT n.identical)
	 GROUP BY x.state;
END$$;
REVOKE ALL ON FUNCTION agentpay._replay_answers(timestamptz, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._replay_answers(timestamptz, timestamptz) IS 'agentpay._replay_answer() of many, counted';

CREATE FUNCTION agentpay.replay_all(since timestamptz DEFAULT NULL,
	until timestamptz DEFAULT NULL)
	RETURNS TABLE (state text, decisions bigint, first_decision_id uuid)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	first timestamptz := coalesce(since, '-infinity');
	beyond timestamptz := coalesce(until, 'infinity');
BEGIN
	RETURN QUERY
	SELECT p.state, sum(p.decisions)::bigint,
		   min(p.first::text COLLATE "C")::uuid
	  FROM (
		SELECT x.state, x.decisions, x.first_decision_id
		  FROM (VALUES (true), (false)) AS q (plain)
		 CROSS JOIN format('d.decided_at >= %L AND d.decided_at < %L', first,
						   beyond) AS c (condition)
		 CROSS JOIN agentpay._replay_count(
				agentpay._replay_query(q.plain, c.condition),
				agentpay._replay_query(q.plain, c.condition, true)) AS x
		UNION ALL
		SELECT x.state, x.decisions, x.first_decision_id
		  FROM agentpay._replay_answers(first, beyond) AS x
		UNION ALL
		SELECT x.state, count(*), min(d.decision_id::text COLLATE "C")::uuid
		  FROM agentpay.decisions d
		 CROSS JOIN LATERAL agentpay._replay_person(d) AS x
		 WHERE d.kind = 'human'
		   AND d.decided_at >= first AND d.decided_at < beyond
		 GROUP BY x.state) AS p (state, decisions, first)
	 GROUP BY p.state ORDER BY p.state;
END$$;
REVOKE ALL ON FUNCTION agentpay.replay_all(timestamptz, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay.replay_all(timestamptz, timestamptz) IS 'replays every decision with decided_at in [since, until): how many were identical, different or erased, and the first of each';
