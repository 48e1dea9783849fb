-- 51_rollout.sql
--		From off to every row: gates, promote(), sign_off(), roll_back().
--
-- promote() writes its event before it raises the stage, and the trigger of
-- agents asks for that event (16_stage_checks.sql).  promote() and roll_back()
-- take the kill lock ahead of the agent's row.

-- ── where an agent stands ───────────────────────────────────────────────────
CREATE FUNCTION agentpay._agent(name text) RETURNS agentpay.agents
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
BEGIN
	SELECT * INTO a FROM agentpay.agents x WHERE x.name = _agent.name;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('42704', format('unknown agent: %s',
				coalesce(quote_literal(name), 'NULL')),
			coalesce((SELECT format('Agents are %s.', string_agg(x.name, ', '
							ORDER BY x.name)) FROM agentpay.agents x
					  HAVING count(*) > 0), 'There is no agent yet.'),
			'SELECT name, stage FROM agentpay.agents;');
	END IF;
	RETURN a;
END$$;
REVOKE ALL ON FUNCTION agentpay._agent(text) FROM PUBLIC;

-- The stage above; NULL: there is none.
CREATE FUNCTION agentpay._next_stage(a agentpay.agents) RETURNS text
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT CASE a.stage WHEN 'off' THEN 'shadow' ELSE (
		SELECT min(s)::text FROM unnest(a.rollout_steps) AS s
		 WHERE s > agentpay._stage_rank(a.stage)) END);
END$$;
REVOKE ALL ON FUNCTION agentpay._next_stage(agentpay.agents) FROM PUBLIC;

CREATE FUNCTION agentpay._agent_version(name text) RETURNS int
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT max(v.version) FROM agentpay.agent_versions v WHERE v.agent = name);
END$$;
REVOKE ALL ON FUNCTION agentpay._agent_version(text) FROM PUBLIC;

-- ── gates ───────────────────────────────────────────────────────────────────
-- Logins but this one that have signed off the next stage of this version.  A
-- sign-off is used up, or void, when the stage moves.
CREATE FUNCTION agentpay._signers(a agentpay.agents) RETURNS name[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT coalesce(array_agg(DISTINCT g.actor), '{}')
	  FROM agentpay.governance_log g
	 WHERE g.object_kind = 'agent' AND g.object = a.name
	   AND g.action = 'sign_off' AND g.actor <> session_user
	   AND g.after = jsonb_build_object('stage', agentpay._next_stage(a),
			'agent_version', agentpay._agent_version(a.name))
	   AND NOT EXISTS (
		SELECT FROM agentpay.governance_log m
		 WHERE m.object_kind = 'agent' AND m.object = a.name
		   AND (m.logged_at, m.event_id) > (g.logged_at, g.event_id)
		   AND m.before ->> 'stage' <> m.after ->> 'stage'));
END$$;
REVOKE ALL ON FUNCTION agentpay._signers(agentpay.agents) FROM PUBLIC;

-- Switches that stop an agent.
CREATE FUNCTION agentpay._engaged_switches(a agentpay.agents)
	RETURNS SETOF agentpay.kill_switches
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT k.* FROM agentpay.kill_switches k
	  JOIN agentpay.decision_points p ON p.point = a.point
	 WHERE k.engaged
	   AND (k.scope = 'all' OR k.target = CASE k.scope WHEN 'role' THEN p.role
				WHEN 'point' THEN p.point WHEN 'agent' THEN a.name END)
	 ORDER BY k.scope, k.target;
END$$;
REVOKE ALL ON FUNCTION agentpay._engaged_switches(agentpay.agents) FROM PUBLIC;

-- The gates between these agents and their next stage.  With four_eyes a
-- sign-off is needed anyway.
CREATE FUNCTION agentpay._gates_ahead(agents agentpay.agents[])
	RETURNS TABLE (agent agentpay.agents, kind text, gate agentpay.gates)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT w.agent, w.kind, w.gate
	  FROM (SELECT a AS agent, 'gate' AS kind, g AS gate
			  FROM unnest(agents) AS a
			  JOIN agentpay.gates g ON g.enabled
			   AND (g.agent = a.name OR g.agent = '*' AND NOT EXISTS (
					SELECT FROM agentpay.gates o
					 WHERE o.agent = a.name AND o.metric = g.metric))
			UNION ALL
			SELECT a, 'four_eyes', ROW(a.name, 'sign_off', 1, 0, 0.95,
									   true)::agentpay.gates
			  FROM unnest(agents) AS a
			  JOIN agentpay.decision_points p ON p.point = a.point
			 WHERE p.four_eyes) AS w
	 WHERE agentpay._stage_rank((w.agent).stage) >= 0
	   AND agentpay._next_stage(w.agent) IS NOT NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._gates_ahead(agentpay.agents[]) FROM PUBLIC;

-- How each of them stands.  What cannot be told, or by too few samples, is on
-- hold, never passed; so is a sign-off that is not there yet.  And a killed
-- agent goes nowhere.  All are measured at once: see _gate_evidence().
CREATE FUNCTION agentpay._gate_states(agents agentpay.agents[])
	RETURNS TABLE (agent text, kind text, metric text, direction text,
				   bound numeric, value numeric, samples bigint, state text)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH ahead AS MATERIALIZED (
		SELECT w.*, (w.agent).name, (w.gate).metric,
			   agentpay._agent_version((w.agent).name) AS version
		  FROM agentpay._gates_ahead(agents) AS w),
	evidence AS MATERIALIZED (
		SELECT * FROM agentpay._gate_evidence(ARRAY(
			SELECT ROW(w.name, w.version, w.metric, (w.gate).confidence)
				::agentpay._evidence_wanted
			  FROM ahead w WHERE w.metric <> 'sign_off')))
	SELECT w.name, w.kind, w.metric, d.direction, (w.gate).bound, x.value,
		   x.samples,
		   -- of compliance the samples are its controls
		   CASE WHEN x.value IS NULL OR x.samples < (w.gate).min_samples
					 AND w.metric <> 'compliance'
				THEN 'hold'
				WHEN CASE d.direction WHEN 'min' THEN x.value >= (w.gate).bound
					 ELSE x.value <= (w.gate).bound END THEN 'pass'
				WHEN w.metric IN ('sign_off', 'labelled_samples')
				THEN 'hold'
				ELSE 'fail' END
	  FROM ahead w
	  LEFT JOIN evidence e ON e.agent = w.name AND e.agent_version = w.version
	   AND e.metric = w.metric AND e.confidence = (w.gate).confidence
	 CROSS JOIN LATERAL (SELECT CASE w.metric WHEN 'sign_off'
			THEN cardinality(agentpay._signers(w.agent)) END AS signers) AS s
	 CROSS JOIN LATERAL (SELECT coalesce(s.signers, e.value) AS value,
			coalesce(s.signers, e.samples) AS samples) AS x
	 CROSS JOIN LATERAL (SELECT agentpay._gate_direction(w.metric)
						 AS direction) AS d
	UNION ALL
	SELECT a.name, 'kill_switch', 'engaged', 'max', 0::numeric,
		   count(*)::numeric, count(*), 'fail'
	  FROM unnest(agents) AS a
	 CROSS JOIN LATERAL agentpay._engaged_switches(a) AS k
	 WHERE agentpay._next_stage(a) IS NOT NULL
	 GROUP BY a.name;
END$$;
REVOKE ALL ON FUNCTION agentpay._gate_states(agentpay.agents[]) FROM PUBLIC;

-- ── promote, sign off, roll back ────────────────────────────────────────────
-- Refuses when something keeps an agent where it is, with one line for each
-- gate; else how the gates stand, for the record.
CREATE FUNCTION agentpay._refuse_gates(a agentpay.agents) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	next_stage text := agentpay._next_stage(a);
	g record;
BEGIN
	SELECT count(*) FILTER (WHERE s.state <> 'pass') AS closed,
		   string_agg(CASE s.kind WHEN 'kill_switch' THEN (
				SELECT string_agg(format('kill switch %s: engaged by %s at %s%s',
						concat_ws(' ', k.scope, nullif(k.target, '*')),
						k.changed_by, k.changed_at, ': ' || k.reason), E'\n')
				  FROM agentpay._engaged_switches(a) AS k)
				ELSE format('%s: %s, value %s, bound %s %s, samples %s',
				s.metric, s.state, coalesce(s.value::text, 'not known'),
				s.direction, trim_scale(s.bound),
				coalesce(s.samples::text, 'not known')) END, E'\n'
				ORDER BY s.state, s.metric, s.kind) AS lines,
		   -- the cheapest way to go on
		   (array_agg(CASE s.metric WHEN 'engaged' THEN (SELECT format(
				'When what it was engaged for is mended: UPDATE agentpay.kill_switches SET engaged = false WHERE scope = %L AND target = %L RETURNING *;',
				k.scope, k.target) FROM agentpay._engaged_switches(a) AS k LIMIT 1)
				WHEN 'sign_off' THEN format(
				'Let another login run SELECT agentpay.sign_off(%L, reason => ''...'');',
				a.name) ELSE format(
				'SELECT * FROM agentpay.rollout_status WHERE agent = %L; a gate that is not wanted goes by INSERT INTO agentpay.gates (agent, metric, bound, enabled) VALUES (%1$L, %L, %s, false) ON CONFLICT (agent, metric) DO UPDATE SET enabled = false;',
				a.name, s.metric, trim_scale(s.bound)) END
				ORDER BY s.metric <> 'engaged', s.metric = 'sign_off', s.metric)
			FILTER (WHERE s.state <> 'pass'))[1] AS hint,
		   coalesce(jsonb_agg(to_jsonb(s) - 'agent' ORDER BY s.metric, s.kind),
					'[]') AS gates
	  INTO g FROM agentpay._gate_states(ARRAY[a]) AS s;
	IF g.closed > 0 THEN
		PERFORM agentpay._refuse('AP005', format(
				'agent "%s" cannot go from stage %s to %s: %s of its gates %s closed',
				a.name, a.stage, next_stage, g.closed,
				CASE g.closed WHEN 1 THEN 'is' ELSE 'are' END),
			g.lines, g.hint);
	END IF;
	RETURN g.gates;
END$$;
REVOKE ALL ON FUNCTION agentpay._refuse_gates(agentpay.agents) FROM PUBLIC;

CREATE FUNCTION agentpay.promote(agent text) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
	next_stage text;
	gates jsonb;
BEGIN
	PERFORM agentpay._refuse_held();
	PERFORM agentpay._agent(promote.agent);
	PERFORM agentpay._lock_stages();
	-- not FOR NO KEY UPDATE: with an update that a savepoint took back, the same
	-- lock again would fail an assertion of PostgreSQL (heap_update)
	PERFORM FROM agentpay.agents x WHERE x.name = promote.agent FOR UPDATE;
	a := agentpay._agent(promote.agent);
	next_stage := agentpay._next_stage(a);
	IF next_stage IS NULL THEN
		PERFORM agentpay._refuse('55000', format(
				'agent "%s" is at its last stage, %s', a.name, a.stage),
			format('Its rollout_steps are %s.',
				   array_to_string(a.rollout_steps, ', ')),
			format('SELECT agentpay.roll_back(%L, reason => ''...''); takes it back to shadow.',
				   a.name));
	END IF;
	gates := agentpay._refuse_gates(a);
	PERFORM agentpay._govern('promote', 'agent', a.name, NULL,
		jsonb_build_object('stage', a.stage),
		jsonb_build_object('stage', next_stage,
			'agent_version', agentpay._agent_version(a.name),
			'signed_by', to_jsonb(agentpay._signers(a)), 'gates', gates));
	UPDATE agentpay.agents x SET stage = next_stage WHERE x.name = a.name;
	RETURN next_stage;
END$$;
REVOKE ALL ON FUNCTION agentpay.promote(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.promote(text) IS 'takes an agent one stage up, if every gate holds; returns its new stage. Otherwise the error has a line for each gate';

CREATE FUNCTION agentpay.sign_off(agent text, reason text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
	next_stage text;
BEGIN
	PERFORM agentpay._refuse_held();
	a := agentpay._agent(sign_off.agent);
	next_stage := agentpay._next_stage(a);
	IF coalesce(btrim(sign_off.reason), '') = '' THEN
		PERFORM agentpay._refuse('22023', 'sign_off() needs a reason',
			'It is kept in the governance log.',
			format('SELECT agentpay.sign_off(%L, reason => ''read 200 of its answers in shadow'');',
				   a.name));
	ELSIF a.stage = 'off' OR next_stage IS NULL THEN
		PERFORM agentpay._refuse('55000', format(
				'agent "%s" is at stage %s: there is nothing to sign', a.name,
				a.stage),
			CASE WHEN next_stage IS NULL THEN 'It is at its last stage.'
			ELSE 'Shadow has no effect and needs no signature.' END,
			CASE WHEN next_stage IS NULL
			THEN 'SELECT * FROM agentpay.rollout_status;'
			ELSE format('SELECT agentpay.promote(%L);', a.name) END);
	END IF;
	PERFORM agentpay._govern('sign_off', 'agent', a.name, sign_off.reason,
		NULL, jsonb_build_object('stage', next_stage,
			'agent_version', agentpay._agent_version(a.name)));
END$$;
REVOKE ALL ON FUNCTION agentpay.sign_off(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.sign_off(text, text) IS 'signs that this version may go to its next stage, once; another login than this one then promotes it';

CREATE FUNCTION agentpay.roll_back(agent text, reason text,
	to_stage text DEFAULT 'shadow') RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	a agentpay.agents;
	wanted int := agentpay._stage_rank(to_stage);
BEGIN
	PERFORM agentpay._refuse_held();
	a := agentpay._agent(roll_back.agent);
	IF coalesce(btrim(roll_back.reason), '') = '' THEN
		PERFORM agentpay._refuse('22023', 'roll_back() needs a reason',
			'It is kept in the governance log.',
			format('SELECT agentpay.roll_back(%L, reason => ''too many declines'');',
				   a.name));
	ELSIF wanted IS NULL
		OR wanted > 0 AND wanted <> ALL (a.rollout_steps) THEN
		PERFORM agentpay._refuse('22023', format('unknown stage: %s',
				coalesce(quote_literal(to_stage), 'NULL')),
			format('Stages are off, shadow and rollout_steps: %s.',
				   array_to_string(a.rollout_steps, ', ')),
			format('SELECT agentpay.roll_back(%L, reason => %L, to_stage => ''shadow'');',
				   a.name, roll_back.reason));
	END IF;
	PERFORM agentpay._lock_stages();
	a := agentpay._agent(roll_back.agent);
	IF wanted > agentpay._stage_rank(a.stage) THEN
		PERFORM agentpay._refuse('22023', format(
				'agent "%s" cannot be rolled back from stage %s to %s', a.name,
				a.stage, to_stage),
			'That is no way back.', format('SELECT agentpay.promote(%L);',
										   a.name));
	ELSIF wanted = agentpay._stage_rank(a.stage) THEN
		RAISE NOTICE 'agent "%" is at stage % already', a.name, a.stage;
		RETURN a.stage;
	END IF;
	-- not before: a row that is locked and then updated in a subtransaction that
	-- fails trips an assertion of PostgreSQL at its next update
	PERFORM FROM agentpay.agents x
	  WHERE x.name = roll_back.agent FOR NO KEY UPDATE;
	a := agentpay._agent(roll_back.agent);
	PERFORM agentpay._govern('roll_back', 'agent', a.name, roll_back.reason,
		jsonb_build_object('stage', a.stage),
		jsonb_build_object('stage', to_stage,
			'agent_version', agentpay._agent_version(a.name)));
	UPDATE agentpay.agents x SET stage = to_stage WHERE x.name = a.name;
	RETURN to_stage;
END$$;
REVOKE ALL ON FUNCTION agentpay.roll_back(text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.roll_back(text, text, text) IS 'takes an agent down to a stage, at once: after the commit no verdict of the higher one is applied; returns the stage';
