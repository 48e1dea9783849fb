-- 84_guardrails.sql
--		What an agent does, looked at each second; beyond a bound, something
--		is done about it.
--
-- The governor takes the decisions that have committed since it last looked, of
-- many a slice, by snapshot as rule_stats does, and gives them to two judges.  A detector
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
CREATE TABLE agentpay._guardrail_drift (
	agent text NOT NULL,
	metric text NOT NULL,
	action text NOT NULL,
	horizon pg_snapshot NOT NULL,
	looks bigint NOT NULL,
	name text,
	n bigint NOT NULL,
	value double precision,
	most double precision,
	PRIMARY KEY (agent, metric, action)) WITH (fillfactor = 50);
COMMENT ON TABLE agentpay._guardrail_drift IS 'the last look at psi and ks: the name furthest out, its figure, and what it must exceed';
REVOKE ALL ON agentpay._guardrail_seen, agentpay._guardrail_state,
	agentpay._guardrail_ticks, agentpay._guardrail_drift FROM PUBLIC;

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
	   CASE WHEN c.value < 'Infinity' THEN round(c.value::numeric, 9) END
		   AS value,
	   c.n AS samples,
	   CASE WHEN s.breached THEN 'fail'
			WHEN c.n < g.min_samples THEN 'hold' ELSE 'pass' END AS state
  FROM agentpay._guardrails_in_force g
 CROSS JOIN LATERAL agentpay._guardrail_figure(g.agent, g.metric, g.action,
											   g.over) AS f
  LEFT JOIN agentpay._guardrail_state s
	ON s.agent = g.agent AND s.metric = g.metric AND s.action = g.action
	   AND s.agent_version = g.agent_version AND s.stage = g.stage
	   AND s.bound = g.bound
  LEFT JOIN agentpay._guardrail_drift d
	ON d.agent = s.agent AND d.metric = s.metric AND d.action = s.action
 CROSS JOIN LATERAL (
	SELECT CASE WHEN g.metric IN ('psi', 'ks') THEN coalesce(d.n, 0)
				ELSE f.n END AS n,
		   CASE WHEN g.metric IN ('psi', 'ks') THEN d.value
				ELSE f.value END AS value) AS c;
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
		'		WHERE %s AND d.repeat_no = 0'
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
		agentpay._new('d', since, until));
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
-- name: what psi and ks are about; otherwise NULL.
CREATE FUNCTION agentpay._act_on_guardrail(g agentpay._guardrails_in_force,
	value double precision, n bigint, name text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	why text := format('%s of %sagent %s is %s over %s, bound %s', g.metric,
		name || ' at the point of ', g.agent, CASE g.metric WHEN 'p95_latency_ms'
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
			'value', CASE WHEN value < 'Infinity' THEN value END)
			|| CASE WHEN name IS NULL THEN '{}'
			   ELSE jsonb_build_object('name', name) END,
		NULL)::agentpay.governance_log);
	PERFORM pg_notify('agentpay_guardrails', jsonb_build_object(
		'agent', g.agent, 'metric', g.metric, 'action', g.action)::text);
	IF g.action = 'roll_back' AND g.stage <> 'shadow' THEN
		PERFORM agentpay.roll_back(g.agent, why);
	ELSIF g.action = 'kill' THEN
		UPDATE agentpay.kill_switches k SET engaged = true, reason = why
		 WHERE k.scope = 'agent' AND k.target = g.agent
		   AND (NOT k.engaged OR k.reason = 'kill drill');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._act_on_guardrail(
	agentpay._guardrails_in_force, double precision, bigint, text) FROM PUBLIC;

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
		PERFORM agentpay._act_on_guardrail(g, f.value, f.n, NULL);
		RETURN true;
	END IF;
	RETURN false;
END$$;
REVOKE ALL ON FUNCTION agentpay._judge_guardrail(
	agentpay._guardrails_in_force, agentpay._observation[], double precision,
	timestamptz) FROM PUBLIC;

-- ── drift ───────────────────────────────────────────────────────────────────
-- psi and ks are looked at when decisions have been counted (83_drift.sql), of
-- the hours that over reaches into: the agent's own figures, and those of what
-- the rules of its point read, whichever is furthest out.
--
-- What chance does is kept apart by a union bound.  The i-th look may raise a
-- false alarm with probability 0.01 / (i (i + 1)) at most, divided among the
-- names, so that all looks together do with 0.01, however often one looks
-- and however much one look resembles the next (a Bonferroni correction with
-- alpha spending: D. A. Darling, H. Robbins, Inequalities for the sequence of
-- sample means, PNAS 57 (1967) 1577-1580).  Beyond that, and beyond the bound,
-- is a breach.
CREATE FUNCTION agentpay._drift_extreme(g agentpay._guardrails_in_force,
	looks bigint, moment timestamptz, OUT name text, OUT n bigint,
	OUT value double precision, OUT most double precision)
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT x.name, x.n, x.value, greatest(x.noise, g.bound::double precision)
	  FROM (SELECT f.name, f.current_rows AS n,
				   CASE g.metric WHEN 'psi' THEN f.psi ELSE f.ks END AS value,
				   CASE g.metric WHEN 'psi' THEN agentpay._psi_noise(
						f.reference_rows, f.current_rows, f.bins, a.level)
				   ELSE agentpay._ks_above(a.level)
						* sqrt(1.0 / f.reference_rows + 1.0 / f.current_rows)
				   END AS noise
			  FROM (SELECT d.*, count(*) OVER () AS names
					  FROM agentpay._drift_figures(moment - g.over, false) AS d
					 WHERE d.point = g.point AND d.agent IN ('', g.agent)) AS f
			 CROSS JOIN LATERAL (SELECT 0.01::double precision / f.names
					/ (looks::double precision * (looks + 1)) AS level) AS a
			 WHERE f.reference_rows >= 1000
			   AND f.current_rows >= greatest(g.min_samples, 1000)) AS x
	 WHERE x.value IS NOT NULL
	 ORDER BY x.value / greatest(x.noise, g.bound::double precision, 1e-9)
			  DESC, x.name
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._drift_extreme(agentpay._guardrails_in_force,
	bigint, timestamptz) FROM PUBLIC;

CREATE FUNCTION agentpay._judge_drift(g agentpay._guardrails_in_force,
	moment timestamptz) RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	s agentpay._guardrail_state;
	l agentpay._guardrail_drift;
	f record;
	counted pg_snapshot;
	breach boolean := false;
BEGIN
	SELECT d.horizon INTO counted FROM agentpay._drift_state d;
	SELECT * INTO l FROM agentpay._guardrail_drift x
	 WHERE x.agent = g.agent AND x.metric = g.metric AND x.action = g.action;
	SELECT * INTO s FROM agentpay._guardrail_state x
	 WHERE x.agent = g.agent AND x.metric = g.metric AND x.action = g.action;
	IF s.agent_version IS DISTINCT FROM g.agent_version
		OR s.stage <> g.stage OR s.bound <> g.bound THEN
		s := ROW(g.agent, g.metric, g.action, g.agent_version, g.stage,
				 g.bound, false, NULL);
		l := NULL;
	END IF;
	IF counted IS NULL OR l.horizon::text = counted::text THEN
		RETURN false;
	END IF;
	SELECT * INTO f FROM agentpay._drift_extreme(g, coalesce(l.looks, 0) + 1,
												 moment);
	-- a look at too little is none
	l := ROW(g.agent, g.metric, g.action, counted,
			 coalesce(l.looks, 0) + (f.n IS NOT NULL)::int, f.name,
			 coalesce(f.n, 0), f.value, f.most);
	IF NOT s.breached AND f.value > f.most THEN
		s.breached := true;
		breach := true;
	ELSIF s.breached AND (f.n IS NULL OR f.value <= 0.8 * f.most) THEN
		s.breached := false;
		PERFORM agentpay._append(ROW(agentpay._uuid_v7(), agentpay._now(),
			'agentpay', 'recover', 'guardrail', g.agent,
			format('%s of agent %s is within its bound', g.metric, g.agent),
			NULL, jsonb_build_object('metric', g.metric, 'bound', g.bound,
				'samples', l.n, 'value', f.value, 'name', f.name,
				'action', g.action), NULL)::agentpay.governance_log);
	END IF;
	INSERT INTO agentpay._guardrail_drift SELECT l.*
		ON CONFLICT (agent, metric, action) DO UPDATE
	   SET horizon = excluded.horizon, looks = excluded.looks,
		   name = excluded.name, n = excluded.n, value = excluded.value,
		   most = excluded.most;
	INSERT INTO agentpay._guardrail_state SELECT s.*
		ON CONFLICT (agent, metric, action) DO UPDATE
	   SET agent_version = excluded.agent_version, stage = excluded.stage,
		   bound = excluded.bound, breached = excluded.breached,
		   detector = excluded.detector;
	IF breach THEN
		PERFORM agentpay._act_on_guardrail(g, f.value, f.n, f.name);
	END IF;
	RETURN breach;
END$$;
REVOKE ALL ON FUNCTION agentpay._judge_drift(agentpay._guardrails_in_force,
	timestamptz) FROM PUBLIC;

-- When the last decision of a slice was made: it is judged as of then, since
-- what is spent in a second is not what was spent since the last look.
CREATE FUNCTION agentpay._slice_moment(since pg_snapshot, until pg_snapshot)
	RETURNS timestamptz
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	at timestamptz;
BEGIN
	EXECUTE format('SELECT max(d.decided_at) FROM agentpay.decisions d'
		' WHERE %s', agentpay._new('d', since, until)) INTO at;
	RETURN at;
END$$;
REVOKE ALL ON FUNCTION agentpay._slice_moment(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- Each second, by the governor: how many were breached.
CREATE FUNCTION agentpay._watch_guardrails() RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	now constant timestamptz := agentpay._now();
	moment timestamptz := now;
	until pg_snapshot := pg_current_snapshot();
	is_slice boolean := false;
	last agentpay._guardrail_seen;
	g agentpay._guardrails_in_force;
	seen agentpay._observation[];
	breached int := 0;
BEGIN
	IF NOT EXISTS (SELECT FROM agentpay._guardrails_in_force) THEN
		DELETE FROM agentpay._guardrail_seen;
		DELETE FROM agentpay._guardrail_state;
		DELETE FROM agentpay._guardrail_ticks;
		DELETE FROM agentpay._guardrail_drift;
		RETURN 0;
	END IF;
	SELECT * INTO last FROM agentpay._guardrail_seen;
	IF FOUND THEN
		SELECT u, agentpay._is_slice(u) INTO until, is_slice
		  FROM agentpay._slice_end(last.horizon, 'decisions') AS u;
		IF is_slice THEN
			moment := greatest(last.at, least(now,
				agentpay._slice_moment(last.horizon, until)));
		END IF;
		SELECT array_agg(o) INTO seen
		  FROM agentpay._observations(last.horizon, until) AS o;
		-- nothing is written each second where nothing happens and nothing
		-- began anew
		IF seen IS NULL AND NOT is_slice
			AND last.at > moment - interval '5 seconds'
			AND NOT EXISTS (
				SELECT FROM agentpay._guardrails_in_force x
				  LEFT JOIN agentpay._guardrail_state s ON s.agent = x.agent
				   AND s.metric = x.metric AND s.action = x.action
				 WHERE (s.agent_version, s.stage, s.bound)
					   IS DISTINCT FROM (x.agent_version, x.stage, x.bound)
				   AND (x.metric NOT IN ('psi', 'ks')
						OR EXISTS (SELECT FROM agentpay._drift_state)))
			AND NOT EXISTS (
				SELECT FROM agentpay._guardrails_in_force x
				 CROSS JOIN agentpay._drift_state s
				  LEFT JOIN agentpay._guardrail_drift d ON d.agent = x.agent
				   AND d.metric = x.metric AND d.action = x.action
				 WHERE x.metric IN ('psi', 'ks')
				   AND d.horizon::text IS DISTINCT FROM s.horizon::text) THEN
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
		IF g.metric IN ('psi', 'ks') THEN
			breached := breached + agentpay._judge_drift(g, now)::int;
			CONTINUE;
		END IF;
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
	  FROM (SELECT ARRAY(SELECT x FROM agentpay.agents x) AS agents) AS w
	 CROSS JOIN LATERAL agentpay._gate_states(w.agents) AS s
	  JOIN agentpay.agents a ON a.name = s.agent
	UNION ALL
	SELECT g.agent, g.agent_version, g.stage, agentpay._next_stage(a),
		   'guardrail', g.metric, 'max', g.bound, g.value, g.samples, g.state
	  FROM agentpay._guardrail_status g
	  JOIN agentpay.agents a ON a.name = g.agent;
REVOKE ALL ON agentpay.rollout_status FROM PUBLIC;
COMMENT ON VIEW agentpay.rollout_status IS 'the gates between each agent in shadow or beyond and its next stage, what promote() would say to you; and its guardrails. value NULL: it cannot be told, so the gate is on hold. sign_off: how many logins but yours have signed';
