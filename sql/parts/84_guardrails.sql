-- 84_guardrails.sql
--		What an agent does, looked at each second; beyond a bound, something
--		is done about it.
--
-- The governor takes the decisions that have committed since it last looked,
-- by snapshot as rule_stats does, and gives them to two judges.  A detector
-- (control/detector.h) may be asked at any moment without raising false alarms
-- by being asked so often; the figure of the last minutes (over) has to be
-- beyond the bound as well, from enough samples.  Once breached, a guardrail
-- stays so until its figure has come back to four fifths of the bound, or
-- nothing comes any more: it does not flap.  What it does and the figures that
-- made it do so are in one transaction.

-- ── what is kept ────────────────────────────────────────────────────────────
-- None of it is dumped: a restored ledger begins anew.
CREATE FUNCTION agentpay._detect(state double precision[],
	a double precision[], b double precision[], OUT next double precision[],
	OUT peak double precision)
	LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_detect';
REVOKE ALL ON FUNCTION agentpay._detect(double precision[],
	double precision[], double precision[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._detect(double precision[], double precision[], double precision[]) IS 'an e-detector (Shin, Ramdas, Rinaldo 2024) after these observations, and its highest value meanwhile; nothing is wrong while E[a] <= E[b]';

CREATE TABLE agentpay._guardrail_seen (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	horizon pg_snapshot NOT NULL,
	at timestamptz NOT NULL) WITH (fillfactor = 50);
COMMENT ON TABLE agentpay._guardrail_seen IS 'the snapshot whose decisions the guardrails have seen';

CREATE TABLE agentpay._guardrail_state (
	agent text NOT NULL,
	metric text NOT NULL,
	action text NOT NULL,
	agent_version int NOT NULL,
	stage text NOT NULL,
	bound numeric NOT NULL,
	breached boolean NOT NULL DEFAULT false,
	detector double precision[],
	PRIMARY KEY (agent, metric, action)) WITH (fillfactor = 50);
COMMENT ON TABLE agentpay._guardrail_state IS 'where each guardrail stands; it begins anew with a version, a stage or a bound';

CREATE TABLE agentpay._guardrail_ticks (
	agent text NOT NULL,
	metric text NOT NULL,
	action text NOT NULL,
	at timestamptz NOT NULL,
	n bigint NOT NULL,
	total double precision NOT NULL,
	base double precision NOT NULL);
CREATE INDEX ON agentpay._guardrail_ticks (agent, metric, action, at);
COMMENT ON TABLE agentpay._guardrail_ticks IS 'what each look brought: n observations; the figure is total / base';
REVOKE ALL ON agentpay._guardrail_seen, agentpay._guardrail_state,
	agentpay._guardrail_ticks FROM PUBLIC;

-- ── which guardrails, and how they stand ────────────────────────────────────
-- Of each agent that is not off: its own rows of a metric, else those of '*'.
CREATE VIEW agentpay._guardrails_in_force AS
SELECT a.name AS agent, g.metric, g.action, g.bound, g.over, g.min_samples,
	   a.point, a.stage,
	   (SELECT max(v.version) FROM agentpay.agent_versions v
		 WHERE v.agent = a.name) AS agent_version
  FROM agentpay.agents a
  JOIN agentpay.guardrails g
	ON g.agent = a.name
	   OR g.agent = '*' AND NOT EXISTS (
		SELECT FROM agentpay.guardrails o
		 WHERE o.agent = a.name AND o.metric = g.metric)
 WHERE g.enabled AND a.enabled AND a.stage <> 'off';
REVOKE ALL ON agentpay._guardrails_in_force FROM PUBLIC;

-- For a latency, the figure is the share of calls above the bound, which at a
-- 95th percentile is at most 5 %.
CREATE FUNCTION agentpay._guardrail_limit(metric text, bound numeric)
	RETURNS double precision
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE metric WHEN 'p95_latency_ms' THEN 0.05
		   ELSE greatest(bound::double precision, 1e-9) END
$$;
REVOKE ALL ON FUNCTION agentpay._guardrail_limit(text, numeric) FROM PUBLIC;

CREATE FUNCTION agentpay._guardrail_figure(agent text, metric text,
	action text, over interval, OUT n bigint, OUT value double precision)
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(sum(t.n), 0)::bigint,
		   CASE WHEN $2 = 'burn_rate' THEN sum(t.total) * 3600
					/ extract(epoch FROM over)::double precision
				-- it was charged, and nothing valid came
				WHEN sum(t.base) = 0 AND sum(t.total) > 0 THEN 'Infinity'
				ELSE sum(t.total) / nullif(sum(t.base), 0) END
	  FROM agentpay._guardrail_ticks t
	 WHERE t.agent = $1 AND t.metric = $2 AND t.action = $3
	   AND t.at > (SELECT agentpay._now()) - over
$$;
REVOKE ALL ON FUNCTION agentpay._guardrail_figure(text, text, text, interval)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._guardrail_figure(text, text, text, interval) IS 'the figure of the last while, and how many observations it has';

CREATE VIEW agentpay._guardrail_status AS
SELECT g.agent, g.agent_version, g.stage, g.metric, g.action, g.bound,
	   CASE WHEN f.value < 'Infinity' THEN round(f.value::numeric, 9) END
		   AS value,
	   f.n AS samples,
	   CASE WHEN s.breached THEN 'fail'
			WHEN f.n < g.min_samples THEN 'hold' ELSE 'pass' END AS state
  FROM agentpay._guardrails_in_force g
 CROSS JOIN LATERAL agentpay._guardrail_figure(g.agent, g.metric, g.action,
											   g.over) AS f
  LEFT JOIN agentpay._guardrail_state s
	ON s.agent = g.agent AND s.metric = g.metric AND s.action = g.action
	   AND s.agent_version = g.agent_version AND s.stage = g.stage
	   AND s.bound = g.bound;
REVOKE ALL ON agentpay._guardrail_status FROM PUBLIC;
COMMENT ON VIEW agentpay._guardrail_status IS 'each guardrail in force; value of p95_latency_ms is the share of calls above the bound';

-- ── what came since the last look ───────────────────────────────────────────
CREATE TYPE agentpay._observation AS (
	agent text, agent_version int, failure text, answer text,
	rules_verdict text, strict boolean, cost double precision,
	latency_ms double precision);

CREATE FUNCTION agentpay._observations(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._observation
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'SELECT d.agent, d.agent_version, d.failure, d.said, r.verdict,'
		'	  coalesce(v.rank = m.rank, v.positive, false), d.cost::float8,'
		'	  d.latency_ms'
		' FROM (SELECT d.*, CASE WHEN d.kind = ''agent'''
		'			OR d.failure IN (''low_confidence'', ''over_authority'')'
		'			THEN coalesce(d.answer, d.verdict) END AS said'
		'		 FROM agentpay.decisions d'
		'		WHERE %s AND %s AND d.repeat_no = 0'
		'		  AND d.kind IN (''agent'', ''fallback'')) AS d'
		' LEFT JOIN LATERAL (SELECT coalesce(x.answer, x.verdict) AS verdict'
		'	  FROM agentpay.decisions x WHERE x.point = d.point'
		'	   AND x.row_id = d.row_id AND x.kind = ''rules'' LIMIT 1) AS r'
		'	ON true'
		' LEFT JOIN agentpay.verdicts v'
		'	ON v.point = d.point AND v.verdict = d.said'
		' LEFT JOIN LATERAL (SELECT max(w.rank) AS rank'
		'	  FROM agentpay.verdicts w WHERE w.point = d.point) AS m ON true'
		' ORDER BY d.decided_at, d.decision_id',
		agentpay._unseen('d', since), agentpay._seen('d', until));
END$$;
REVOKE ALL ON FUNCTION agentpay._observations(pg_snapshot, pg_snapshot)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._observations(pg_snapshot, pg_snapshot) IS 'how tasks ended that one snapshot saw and the other did not; strict: the tightest verdict, or a positive one where none is tighter';

-- Observations of a metric: x of base, in the order in which they came.
CREATE FUNCTION agentpay._measure(metric text, bound numeric,
	seen agentpay._observation[], seconds double precision,
	OUT x double precision[], OUT base double precision[])
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN $1 = 'burn_rate'
				THEN ARRAY[coalesce(sum(m.x), 0)] ELSE array_agg(m.x) END,
		   CASE WHEN $1 = 'burn_rate'
				THEN ARRAY[seconds / 3600] ELSE array_agg(m.base) END
	  FROM (SELECT c.ordinality, c.x::double precision AS x,
				   c.base::double precision AS base
			  FROM (
				SELECT o.ordinality,
					   CASE $1
					   WHEN 'error_rate' THEN (coalesce(o.failure, 'low_confidence')
							NOT IN ('low_confidence', 'over_authority'))::int
					   WHEN 'timeout_rate' THEN (o.failure IS NOT DISTINCT FROM
							'timeout')::int
					   WHEN 'disagreement_rate'
							THEN (o.answer <> o.rules_verdict)::int
					   WHEN 'decline_rate' THEN o.strict::int
					   WHEN 'escalation_rate' THEN (o.failure IS NOT NULL)::int
					   WHEN 'p95_latency_ms' THEN (o.latency_ms > bound)::int
					   ELSE o.cost END AS x,
					   CASE WHEN $1 IN ('error_rate', 'timeout_rate')
							THEN nullif((coalesce(o.failure, '') NOT IN ('skipped',
								'killed', 'over_budget'))::int, 0)
					   WHEN $1 = 'p95_latency_ms'
							THEN (o.latency_ms IS NOT NULL)::int
					   WHEN $1 = 'burn_rate' THEN 0
					   WHEN $1 = 'cost_per_decision'
							THEN (o.answer IS NOT NULL)::int
					   ELSE nullif((o.answer IS NOT NULL)::int, 0) END AS base
				  FROM unnest(seen) WITH ORDINALITY AS o) AS c
			 WHERE c.x IS NOT NULL AND c.base IS NOT NULL
			 ORDER BY c.ordinality) AS m
$$;
REVOKE ALL ON FUNCTION agentpay._measure(text, numeric,
	agentpay._observation[], double precision) FROM PUBLIC;

-- ── what is done ────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._act_on_guardrail(g agentpay._guardrails_in_force,
	value double precision, n bigint) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	why text := format('%s of agent %s is %s over %s, bound %s', g.metric,
		g.agent, CASE g.metric WHEN 'p95_latency_ms'
		THEN format('beyond its bound in %s %% of the calls',
					round(100 * value::numeric, 1))
		ELSE coalesce(round(nullif(value, 'Infinity')::numeric, 6)::text,
					  'without limit') END, g.over, g.bound);
BEGIN
	PERFORM agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
		'agentpay', 'breach', 'guardrail', g.agent, why, NULL,
		jsonb_build_object('agent_version', g.agent_version,
			'stage', g.stage, 'metric', g.metric, 'bound', g.bound,
			'over', g.over, 'samples', n, 'action', g.action,
			'value', CASE WHEN value < 'Infinity' THEN value END),
		NULL)::agentpay.governance_log);
	PERFORM pg_notify('agentpay_guardrails', jsonb_build_object(
		'agent', g.agent, 'metric', g.metric, 'action', g.action)::text);
	IF g.action = 'roll_back' AND g.stage <> 'shadow' THEN
		PERFORM agentpay.roll_back(g.agent, why);
	ELSIF g.action = 'kill' THEN
		UPDATE agentpay.kill_switches k SET engaged = true, reason = why
		 WHERE k.scope = 'agent' AND k.target = g.agent AND NOT k.engaged;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._act_on_guardrail(
	agentpay._guardrails_in_force, double precision, bigint) FROM PUBLIC;

-- One guardrail, after what came; false: it says nothing new.
CREATE FUNCTION agentpay._judge_guardrail(g agentpay._guardrails_in_force,
	seen agentpay._observation[], seconds double precision,
	moment timestamptz) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	-- false alarms at the bound itself: once in a million observations
	alarm constant double precision := 1e6;
	s agentpay._guardrail_state;
	m record;
	d record;
	f record;
	most double precision := agentpay._guardrail_limit(g.metric, g.bound);
BEGIN
	SELECT * INTO s FROM agentpay._guardrail_state x
	 WHERE x.agent = g.agent AND x.metric = g.metric AND x.action = g.action;
	IF s.agent_version IS DISTINCT FROM g.agent_version
		OR s.stage <> g.stage OR s.bound <> g.bound THEN
		DELETE FROM agentpay._guardrail_ticks t
		 WHERE t.agent = g.agent AND t.metric = g.metric
		   AND t.action = g.action;
		s := ROW(g.agent, g.metric, g.action, g.agent_version, g.stage,
				 g.bound, false, NULL);
	END IF;
	SELECT * INTO m FROM agentpay._measure(g.metric, g.bound, seen, seconds);
	IF cardinality(m.x) > 0 THEN
		INSERT INTO agentpay._guardrail_ticks (agent, metric, action, at, n,
											   total, base)
		SELECT g.agent, g.metric, g.action, moment, count(*), sum(u.x),
			   sum(u.base) FROM unnest(m.x, m.base) AS u (x, base);
	END IF;
	DELETE FROM agentpay._guardrail_ticks t
	 WHERE t.agent = g.agent AND t.metric = g.metric AND t.action = g.action
	   AND t.at <= moment - g.over;
	SELECT * INTO d FROM agentpay._detect(s.detector,
		ARRAY(SELECT u.x / most / CASE g.metric WHEN 'burn_rate'
									THEN seconds / 3600 ELSE 1 END
				FROM unnest(m.x) AS u (x)),
		ARRAY(SELECT CASE g.metric WHEN 'burn_rate' THEN 1 ELSE u.b END
				FROM unnest(m.base) AS u (b)));
	SELECT * INTO f FROM agentpay._guardrail_figure(g.agent, g.metric,
													g.action, g.over);
	s.detector := d.next;
	IF NOT s.breached AND d.peak >= alarm AND f.n >= g.min_samples
		AND f.value > most THEN
		s.breached := true;
		s.detector := NULL;
	ELSIF s.breached AND (f.n = 0 OR f.n >= g.min_samples
						  AND f.value <= 0.8 * most) THEN
		s.breached := false;
		PERFORM agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
			'agentpay', 'recover', 'guardrail', g.agent,
			format('%s of agent %s is within its bound', g.metric, g.agent),
			NULL, jsonb_build_object('metric', g.metric, 'bound', g.bound,
				'samples', f.n, 'value', f.value, 'action', g.action),
			NULL)::agentpay.governance_log);
	END IF;
	INSERT INTO agentpay._guardrail_state SELECT s.*
		ON CONFLICT (agent, metric, action) DO UPDATE
	   SET agent_version = excluded.agent_version, stage = excluded.stage,
		   bound = excluded.bound, breached = excluded.breached,
		   detector = excluded.detector;
	IF s.breached AND s.detector IS NULL AND d.peak >= alarm THEN
		PERFORM agentpay._act_on_guardrail(g, f.value, f.n);
		RETURN true;
	END IF;
	RETURN false;
END$$;
REVOKE ALL ON FUNCTION agentpay._judge_guardrail(
	agentpay._guardrails_in_force, agentpay._observation[], double precision,
	timestamptz) FROM PUBLIC;

-- Each second, by the governor: how many were breached.
CREATE FUNCTION agentpay._watch_guardrails() RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	moment timestamptz := agentpay._now();
	until pg_snapshot := pg_current_snapshot();
	last agentpay._guardrail_seen;
	g agentpay._guardrails_in_force;
	seen agentpay._observation[];
	breached int := 0;
BEGIN
	IF NOT EXISTS (SELECT FROM agentpay._guardrails_in_force) THEN
		DELETE FROM agentpay._guardrail_seen;
		DELETE FROM agentpay._guardrail_state;
		DELETE FROM agentpay._guardrail_ticks;
		RETURN 0;
	END IF;
	SELECT * INTO last FROM agentpay._guardrail_seen;
	IF FOUND THEN
		SELECT array_agg(o) INTO seen
		  FROM agentpay._observations(last.horizon, until) AS o;
		-- nothing is written each second where nothing happens
		IF seen IS NULL AND last.at > moment - interval '5 seconds' THEN
			RETURN 0;
		END IF;
	END IF;
	INSERT INTO agentpay._guardrail_seen (horizon, at) VALUES (until, moment)
		ON CONFLICT (one) DO UPDATE
	   SET horizon = excluded.horizon, at = excluded.at;
	IF last IS NULL THEN
		RETURN 0; -- what was before is not judged
	END IF;
	-- the stricter action first: a kill needs no roll-back after it
	FOR g IN SELECT * FROM agentpay._guardrails_in_force x
			  ORDER BY x.agent, x.action = 'alert', x.action = 'roll_back',
					   x.metric
	LOOP
		breached := breached + agentpay._judge_guardrail(g,
			ARRAY(SELECT o FROM unnest(seen) AS o
				   WHERE o.agent = g.agent
					 AND o.agent_version = g.agent_version),
			greatest(extract(epoch FROM moment - last.at), 0.001)
				::double precision, moment)::int;
	END LOOP;
	RETURN breached;
END$$;
REVOKE ALL ON FUNCTION agentpay._watch_guardrails() FROM PUBLIC;

-- ── how an agent stands ─────────────────────────────────────────────────────
CREATE VIEW agentpay.rollout_status AS
	SELECT a.name AS agent, agentpay._agent_version(a.name) AS agent_version,
		   a.stage, agentpay._next_stage(a) AS next_stage, s.kind, s.metric,
		   s.direction, s.bound, s.value, s.samples, s.state
	  FROM agentpay.agents a
	 CROSS JOIN LATERAL agentpay._gate_states(a) AS s
	UNION ALL
	SELECT g.agent, g.agent_version, g.stage, agentpay._next_stage(a),
		   'guardrail', g.metric, 'max', g.bound, g.value, g.samples, g.state
	  FROM agentpay._guardrail_status g
	  JOIN agentpay.agents a ON a.name = g.agent;
REVOKE ALL ON agentpay.rollout_status FROM PUBLIC;
COMMENT ON VIEW agentpay.rollout_status IS 'the gates between each agent in shadow or beyond and its next stage, what promote() would say to you; and its guardrails. value NULL: it cannot be told, so the gate is on hold. sign_off: how many logins but yours have signed';
