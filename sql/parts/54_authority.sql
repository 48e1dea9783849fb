-- 54_authority.sql
--		What an agent may decide: whether an answer counts, and whether it may
--		take effect.
--
-- r is the rules decision of the row; a is NULL when the agent is gone.  Both
-- are asked where an answer is written, under the kill lock: a stage that was
-- lowered, or an authority that was narrowed, before is seen.

-- ── authority ───────────────────────────────────────────────────────────────
-- Why an answer does not count, as decisions.failure says it; NULL: it counts.
-- src/control/authority.c has the rules, for _judge(), replay() and simulate().
CREATE FUNCTION agentpay._answer_failure(unsure boolean, exempt boolean,
	known boolean DEFAULT NULL, tightens int DEFAULT NULL,
	listed boolean DEFAULT NULL, held boolean DEFAULT NULL,
	may_relax boolean DEFAULT NULL, small_enough boolean DEFAULT NULL,
	forced boolean DEFAULT NULL, disabled boolean DEFAULT NULL) RETURNS text
	LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_answer_failure';
REVOKE ALL ON FUNCTION agentpay._answer_failure(boolean, boolean, boolean, int,
	boolean, boolean, boolean, boolean, boolean, boolean) FROM PUBLIC;

-- The same of now.  What explore let through is judged against what the rules
-- said.
CREATE FUNCTION agentpay._judge(t agentpay._tasks, a agentpay.agents,
	r agentpay.decisions, verdict text, confidence real) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	rules text := CASE r.assignment WHEN 'explore' THEN r.answer
				  ELSE r.verdict END;
	-- in the precision of the answer, so that 0.7 is not below 0.7
	unsure boolean := coalesce(confidence, 0)
					  < coalesce(a.min_confidence, 0)::real;
	exempt boolean := coalesce(verdict = rules, false)
					  OR coalesce(a.position = 'review', false);
	x record;
	disabled boolean;
BEGIN
	IF unsure OR exempt THEN
		RETURN agentpay._answer_failure(unsure, exempt);
	END IF;
	-- a rules verdict that is gone from an order was the strictest
	SELECT v.rank - coalesce(w.rank, v.rank + 1) AS tightens, s.listed,
		   l.verdict IS NOT NULL AS held, l.may_relax,
		   l.max_amount IS NULL OR coalesce(abs(r.amount) <= l.max_amount
				AND r.currency = l.currency, false) AS small_enough
	  INTO x
	  FROM agentpay.verdicts v
	  LEFT JOIN agentpay.verdicts w ON w.point = v.point AND w.verdict = rules
	 CROSS JOIN LATERAL (SELECT EXISTS (SELECT FROM agentpay.authorities o
							WHERE o.agent = t.agent) AS listed) AS s
	  LEFT JOIN agentpay.authorities l
		ON l.agent = t.agent AND l.verdict = v.verdict
	 WHERE v.point = t.point AND v.verdict = _judge.verdict;
	IF NOT FOUND THEN
		RETURN agentpay._answer_failure(false, false);
	END IF;
	-- a function in here is planned anew for each answer
	disabled := x.tightens IS NULL AND (
			SELECT p.role FROM agentpay.decision_points p
			 WHERE p.point = t.point) = 'routing';
	IF disabled THEN
		disabled := agentpay._is_disabled_route('routing', verdict);
	END IF;
	RETURN agentpay._answer_failure(false, false, true, x.tightens, x.listed,
		x.held, x.may_relax, x.small_enough, t.forced, disabled);
END$$;
REVOKE ALL ON FUNCTION agentpay._judge(agentpay._tasks, agentpay.agents,
	agentpay.decisions, text, real) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._judge(agentpay._tasks, agentpay.agents,
	agentpay.decisions, text, real) IS 'low_confidence, over_authority, or NULL: the answer counts';

-- What a task is judged by; for those of a batch that need it.
CREATE FUNCTION agentpay._asked(task_id bigint, created_at timestamptz)
	RETURNS TABLE (t agentpay._tasks, a agentpay.agents, r agentpay.decisions)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT t, a, r
	  FROM agentpay._tasks t
	  JOIN agentpay.decisions r
		ON r.decision_id = t.decision_id AND r.decided_at = t.created_at
	  LEFT JOIN agentpay.agents a ON a.name = t.agent
	 WHERE t.task_id = $1 AND t.created_at = $2;
END$$;
REVOKE ALL ON FUNCTION agentpay._asked(bigint, timestamptz) FROM PUBLIC;

-- ── rollout ─────────────────────────────────────────────────────────────────
-- The task of the tier below; of a payment's own question, nothing.
CREATE FUNCTION agentpay._task_below(t agentpay._tasks)
	RETURNS agentpay._tasks
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT b FROM agentpay._tasks b
	 WHERE b.task_id = t.escalated_from AND b.created_at = t.created_at);
END$$;
REVOKE ALL ON FUNCTION agentpay._task_below(agentpay._tasks) FROM PUBLIC;

-- Whether the row is in the control group of the agent, or of one that asked
-- it: these rows stay under rules, so that what agents do can be measured.
CREATE FUNCTION agentpay._held_out(t agentpay._tasks, a agentpay.agents)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	b agentpay._tasks;
BEGIN
	IF t.holdout_bucket < 100 * a.holdout_percent THEN
		RETURN true;
	ELSIF t.escalated_from IS NULL THEN
		RETURN false;
	END IF;
	b := agentpay._task_below(t);
	RETURN agentpay._held_out(b, o) FROM (SELECT 1) AS one
	  LEFT JOIN agentpay.agents o ON o.name = b.agent;
END$$;
REVOKE ALL ON FUNCTION agentpay._held_out(agentpay._tasks, agentpay.agents)
	FROM PUBLIC;

-- What decisions.assignment says of an agent's answer.
CREATE FUNCTION agentpay._assignment(t agentpay._tasks, a agentpay.agents,
	r agentpay.decisions) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN CASE WHEN r.assignment <> 'explore' AND agentpay._held_out(t, a)
				THEN 'holdout' ELSE r.assignment END;
END$$;
REVOKE ALL ON FUNCTION agentpay._assignment(agentpay._tasks, agentpay.agents,
	agentpay.decisions) FROM PUBLIC;

CREATE FUNCTION agentpay._times_lowered(agent text) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN coalesce((SELECT l.times FROM agentpay._stage_lowerings l
					  WHERE l.agent = $1), 0);
END$$;
REVOKE ALL ON FUNCTION agentpay._times_lowered(text) FROM PUBLIC;

-- Whether the agent's verdict may take effect on the row.  Advice never does,
-- and nothing where explore let the row through: the label that was to be
-- learned would be lost.  A tier has
-- the bucket of the task below it, and takes effect only where that may, too.
-- What was once not live never is again, since await_decision() may have said
-- so: the stage counts as the session saw it that asked, and one that was
-- lowered since and raised again counts for later questions only.
CREATE FUNCTION agentpay._is_live(t agentpay._tasks, a agentpay.agents,
	r agentpay.decisions) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	b agentpay._tasks;
BEGIN
	IF t.repeat_no <> 0 OR r.assignment = 'explore' OR a.position = 'review'
	   OR NOT coalesce(t.bucket < least(t.stage,
										agentpay._stage_rank(a.stage)), false)
	   OR t.lowered < agentpay._times_lowered(t.agent)
	   OR t.holdout_bucket < 100 * a.holdout_percent THEN
		RETURN false;
	ELSIF t.escalated_from IS NULL THEN
		RETURN true;
	END IF;
	b := agentpay._task_below(t);
	RETURN agentpay._is_live(b, o, r) FROM (SELECT 1) AS one
	  LEFT JOIN agentpay.agents o ON o.name = b.agent;
END$$;
REVOKE ALL ON FUNCTION agentpay._is_live(agentpay._tasks, agentpay.agents,
	agentpay.decisions) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._is_live(agentpay._tasks, agentpay.agents,
	agentpay.decisions) IS 'whether the row is inside the agent''s stage and not held out';

CREATE FUNCTION agentpay._is_positive(point text, verdict text)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN coalesce((SELECT v.positive FROM agentpay.verdicts v
					  WHERE v.point = $1 AND v.verdict = $2), false);
END$$;
REVOKE ALL ON FUNCTION agentpay._is_positive(text, text) FROM PUBLIC;

-- The probability, over the draws of bucket and control group, that the
-- agent's verdict decides a row like this one: the share of its stage, and of a
-- chain of tiers, which have one bucket, the smallest.  0: it cannot.
CREATE FUNCTION agentpay._decides(t agentpay._tasks, a agentpay.agents)
	RETURNS numeric
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	share int := 100;
	held numeric := 0;
BEGIN
	LOOP
		IF a.name IS NULL OR t.repeat_no <> 0 OR a.position = 'review'
		   OR t.bucket IS NULL
		   OR t.lowered < agentpay._times_lowered(t.agent) THEN
			RETURN 0;
		END IF;
		share := least(share, coalesce(abs(t.stage), 0),
					   agentpay._stage_rank(a.stage));
		-- whoever was held out when asked stays so
		held := greatest(held, a.holdout_percent, (
			SELECT (v.definition ->> 'holdout_percent')::numeric
			  FROM agentpay.agent_versions v
			 WHERE v.agent = t.agent AND v.version = t.agent_version));
		EXIT WHEN share <= 0 OR t.escalated_from IS NULL;
		t := agentpay._task_below(t);
		SELECT * INTO a FROM agentpay.agents x WHERE x.name = t.agent;
	END LOOP;
	RETURN trim_scale(greatest(share, 0) * 0.01 * (1 - ceil(100 * held) * 0.0001));
END$$;
REVOKE ALL ON FUNCTION agentpay._decides(agentpay._tasks, agentpay.agents)
	FROM PUBLIC;

-- What an agent's verdict does to the chance of learning the row's label, as
-- decisions.detail.draw keeps it.  decides: as above.  if_stopped: the
-- probability that the label is observed where the row is stopped.  NULL:
-- nothing.
CREATE FUNCTION agentpay._label_draw(t agentpay._tasks, a agentpay.agents,
	r agentpay.decisions) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	audit numeric := (
		SELECT p.audit_sample_percent FROM agentpay.decision_points p
		 WHERE p.point = t.point AND p.role = 'fraud'
		   AND NOT p.labels_complete);
	decides numeric := CASE WHEN audit IS NULL THEN 0
					   ELSE agentpay._decides(t, a) END;
BEGIN
	IF decides = 0 THEN
		RETURN NULL;
	END IF;
	RETURN jsonb_build_object('decides', decides, 'if_stopped',
		CASE WHEN agentpay._is_positive(r.point, coalesce(r.answer, r.verdict))
			 THEN r.propensity::numeric ELSE trim_scale(audit * 0.01) END);
END$$;
REVOKE ALL ON FUNCTION agentpay._label_draw(agentpay._tasks, agentpay.agents,
	agentpay.decisions) FROM PUBLIC;

-- The probability that the row's label is observed: the agent's verdict decides
-- with probability q, else the rules do.
CREATE FUNCTION agentpay._label_chance(r agentpay.decisions, verdict text,
	draw jsonb) RETURNS real
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	q numeric := draw ->> 'decides';
BEGIN
	IF q IS NULL THEN
		RETURN r.propensity;
	END IF;
	RETURN q * CASE WHEN agentpay._is_positive(r.point, verdict)
					THEN (draw ->> 'if_stopped')::numeric ELSE 1 END
		   + (1 - q) * r.propensity::numeric;
END$$;
REVOKE ALL ON FUNCTION agentpay._label_chance(agentpay.decisions, text, jsonb)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._label_chance(agentpay.decisions, text, jsonb) IS 'q pi(agent) + (1 - q) pi(rules)';
