-- 76_simulate.sql
--		What an agent and budgets would have done to the payments of the past.
--
-- Three steps, none of which writes: whom the agent would have been asked
-- about (C, as an INSERT finds it), what each call would have cost and said,
-- and, in the order of time, which of the calls the budgets let through.

-- ── settings ────────────────────────────────────────────────────────────────
-- A row as JSON with the defaults of its columns.
CREATE FUNCTION agentpay._column_defaults(relation regclass) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	defaults jsonb;
BEGIN
	EXECUTE (
		SELECT format('SELECT jsonb_build_object(%s)', string_agg(
				format('%L, %s', a.attname, pg_get_expr(d.adbin, d.adrelid)),
				', '))
		  FROM pg_attrdef d
		  JOIN pg_attribute a
			ON a.attrelid = d.adrelid AND a.attnum = d.adnum
		 WHERE d.adrelid = relation)
	   INTO defaults;
	RETURN defaults;
END$$;
REVOKE ALL ON FUNCTION agentpay._column_defaults(regclass) FROM PUBLIC;

-- Refuses what is no object, names no column of the relation, or leaves one
-- empty that cannot be.  Returns the object with the defaults.
CREATE FUNCTION agentpay._settings_row(what text, settings jsonb,
	relation regclass, base jsonb, beside text[], example text)
	RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	known text[];
	unknown text;
	whole jsonb;
	missing text;
BEGIN
	IF jsonb_typeof(settings) IS DISTINCT FROM 'object' THEN
		PERFORM agentpay._refuse('22023', what || ' must be a JSON object',
			format('Its members are columns of %s.', relation), example);
	END IF;
	SELECT array_agg(a.attname ORDER BY a.attnum) INTO known
	  FROM pg_attribute a
	 WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped;
	SELECT k INTO unknown FROM jsonb_object_keys(settings) AS k
	 WHERE k <> ALL (known || beside) LIMIT 1;
	IF FOUND THEN
		PERFORM agentpay._refuse('42703',
			format('unknown member of %s: %s', what, to_jsonb(unknown)),
			format('Members are %s.',
				   array_to_string(known || beside, ', ')), example);
	END IF;
	whole := agentpay._column_defaults(relation) || base || settings;
	SELECT a.attname INTO missing FROM pg_attribute a
	 WHERE a.attrelid = relation AND a.attnotnull AND a.attnum > 0
	   AND NOT a.attisdropped
	   AND coalesce(whole -> a.attname, 'null') = 'null'
	 ORDER BY a.attnum LIMIT 1;
	IF FOUND THEN
		PERFORM agentpay._refuse('23502',
			format('%s of %s is missing', missing, what),
			format('Column %s of %s cannot be NULL, and has no default.',
				   missing, relation), example);
	END IF;
	RETURN whole;
END$$;
REVOKE ALL ON FUNCTION agentpay._settings_row(text, jsonb, regclass, jsonb,
	text[], text) FROM PUBLIC;

-- The agent that is tried: one of agents with other settings, or a new one.
CREATE FUNCTION agentpay._simulated_agent(p agentpay.decision_points,
	settings jsonb, stage text) RETURNS agentpay.agents
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	example constant text := format('SELECT * FROM agentpay.simulate(%L, ''{"protocol": "openai", "model": "m", "invoke_when": "score > 20", "price_input_per_million": 1, "price_output_per_million": 4}'');', p.point);
	mend constant text := 'In agent_settings, use %s.';
	base jsonb;
	a agentpay.agents;
	problem text;
BEGIN
	IF jsonb_typeof(settings) = 'object' THEN
		SELECT to_jsonb(x) INTO base FROM agentpay.agents x
		 WHERE x.name = settings ->> 'name';
		IF base ->> 'point' <> p.point THEN
			PERFORM agentpay._refuse('22023', format(
					'agent "%s" is of point "%s"', base ->> 'name',
					base ->> 'point'),
				format('What is simulated is about point "%s".', p.point),
				format(mend, 'another name'));
		END IF;
	END IF;
	base := coalesce(base, jsonb_build_object('name', 'simulated'))
			|| jsonb_build_object('point', p.point);
	base := agentpay._settings_row('agent_settings', settings,
		'agentpay.agents', base, '{authorities}', example);
	IF base ->> 'point' <> p.point THEN
		PERFORM agentpay._refuse('22023',
			format('agent_settings is of point %L', base ->> 'point'),
			format('What is simulated is about point "%s".', p.point),
			format(mend, format('point = %L', p.point)));
	END IF;
	BEGIN
		a := jsonb_populate_record(NULL::agentpay.agents, base);
	EXCEPTION WHEN data_exception OR check_violation OR datatype_mismatch THEN
		GET STACKED DIAGNOSTICS problem = MESSAGE_TEXT;
		PERFORM agentpay._refuse('22023', 'invalid agent_settings',
			problem || '.', example);
	END;
	IF stage IS NULL OR NOT stage = ANY ('{off,shadow}')
	   AND NOT coalesce(agentpay._stage_rank(stage) <= 100, false) THEN
		PERFORM agentpay._refuse('22023', format('unknown stage: %s',
				coalesce(quote_literal(stage), 'NULL')),
			'It is off, shadow, or a percentage from 1 to 100.',
			'Use stage => ''100''.');
	END IF;
	a.stage := 'off';
	PERFORM agentpay._check_name('agent', NULL, a.name);
	PERFORM agentpay._check_agent_kinds(a, mend);
	PERFORM agentpay._check_agent_numbers(a, mend);
	PERFORM agentpay._check_agent_options(a, mend);
	PERFORM agentpay._check_agent_model(a, p, mend);
	PERFORM agentpay._check_agent_fields(a, p, mend);
	PERFORM agentpay._check_escalation(a, mend);
	PERFORM agentpay._check_expression(p.table_name, p.point, a.invoke_when,
									   'boolean', 'invoke');
	a.stage := stage;
	RETURN a;
END$$;
REVOKE ALL ON FUNCTION agentpay._simulated_agent(agentpay.decision_points,
	jsonb, text) FROM PUBLIC;

-- Those of the settings, else those that the agent has.
CREATE FUNCTION agentpay._simulated_authorities(p agentpay.decision_points,
	a agentpay.agents, settings jsonb) RETURNS agentpay.authorities[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	example constant text := 'In agent_settings, use "authorities": [{"verdict": "decline"}].';
	given jsonb := settings -> 'authorities';
	r agentpay.authorities;
	found_rows agentpay.authorities[] := '{}';
BEGIN
	IF given IS NULL THEN
		RETURN ARRAY(SELECT x FROM agentpay.authorities x
					  WHERE x.agent = a.name);
	ELSIF jsonb_typeof(given) <> 'array' THEN
		PERFORM agentpay._refuse('22023',
			'authorities of agent_settings must be a JSON array',
			'It holds an object for each verdict.', example);
	END IF;
	FOR i IN 0 .. jsonb_array_length(given) - 1 LOOP
		BEGIN
			r := jsonb_populate_record(NULL::agentpay.authorities,
				agentpay._settings_row('authorities of agent_settings',
					given -> i, 'agentpay.authorities',
					jsonb_build_object('agent', a.name), '{}', example));
		EXCEPTION WHEN invalid_text_representation THEN
			PERFORM agentpay._refuse('22023',
				'invalid authorities of agent_settings', SQLERRM || '.',
				example);
		END;
		IF NOT EXISTS (SELECT FROM agentpay.verdicts v
						WHERE v.point = p.point AND v.verdict = r.verdict) THEN
			PERFORM agentpay._refuse('23514', format(
					'unknown verdict of point "%s": %L', p.point, r.verdict),
				format('Verdicts are %s.', (
					SELECT string_agg(v.verdict, ', ' ORDER BY v.rank, v.verdict)
					  FROM agentpay.verdicts v WHERE v.point = p.point)),
				example);
		END IF;
		PERFORM agentpay._check_authority_amount(r, p,
			'In authorities of agent_settings, use %s.');
		found_rows := found_rows || r;
	END LOOP;
	RETURN found_rows;
END$$;
REVOKE ALL ON FUNCTION agentpay._simulated_authorities(
	agentpay.decision_points, agentpay.agents, jsonb) FROM PUBLIC;

-- The budgets, in the order in which they are asked for room.
CREATE FUNCTION agentpay._simulated_budgets(p agentpay.decision_points,
	a agentpay.agents, settings jsonb) RETURNS agentpay.budgets[]
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	example constant text := 'Use budgets => ''[{"name": "hour", "period": "hour", "cap_cost": 5}]''.';
	b agentpay.budgets;
	names text[] := '{}';
	found_rows agentpay.budgets[] := '{}';
BEGIN
	IF jsonb_typeof(settings) IS DISTINCT FROM 'array' THEN
		PERFORM agentpay._refuse('22023', 'budgets must be a JSON array',
			'It holds an object for each budget.', example);
	END IF;
	FOR i IN 0 .. jsonb_array_length(settings) - 1 LOOP
		BEGIN
			b := jsonb_populate_record(NULL::agentpay.budgets,
				agentpay._settings_row(format('budget %s', i + 1),
					settings -> i, 'agentpay.budgets',
					jsonb_build_object('name', format('budget_%s', i + 1)),
					'{}', example));
		EXCEPTION WHEN invalid_text_representation
					OR numeric_value_out_of_range THEN
			PERFORM agentpay._refuse('22023',
				format('invalid budget %s', i + 1), SQLERRM || '.', example);
		END;
		PERFORM agentpay._check_budget(NULL, b, 'In budgets, use %s.');
		IF b.name = ANY (names) THEN
			PERFORM agentpay._refuse('42710',
				format('two budgets are named "%s"', b.name),
				'A budget is known by its name.', example);
		ELSIF (b.scope = 'all') <> (b.target = '*')
			OR NOT agentpay._in_scope(b, p.role, p.point, a.name,
									  a.cost_center) THEN
			PERFORM agentpay._refuse('22023', format(
					'budget "%s" does not reach the agent: scope %s, target %L',
					b.name, b.scope, b.target),
				'What is out of scope would change nothing.',
				format('In budgets, use {"scope": "%s", "target": "%s"}.',
					   b.scope, CASE b.scope WHEN 'all' THEN '*'
						WHEN 'role' THEN p.role WHEN 'point' THEN p.point
						WHEN 'agent' THEN a.name ELSE a.cost_center END));
		END IF;
		names := names || b.name;
		found_rows := found_rows || b;
	END LOOP;
	RETURN ARRAY(SELECT x FROM unnest(found_rows) AS x WHERE x.enabled
				  ORDER BY x.name);
END$$;
REVOKE ALL ON FUNCTION agentpay._simulated_budgets(agentpay.decision_points,
	agentpay.agents, jsonb) FROM PUBLIC;

-- ── who is asked ────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._simulate_asked(point text, relation regclass,
	agent text, invoke_when text, sample_percent double precision,
	repeat_percent double precision, fields text[], model text, salt bytea,
	repeat_salt bytea, query text)
	RETURNS TABLE (decision_id uuid, decided_at timestamptz, bucket int,
				   holdout_bucket int, repeated boolean, computed jsonb)
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_simulate_asked';
REVOKE ALL ON FUNCTION agentpay._simulate_asked(text, regclass, text, text,
	double precision, double precision, text[], text, bytea, bytea, text)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._simulate_asked(text, regclass, text, text, double precision, double precision, text[], text, bytea, bytea, text) IS 'about which rows of the query an agent would be asked, and where they stand in its rollout; computed: inputs, where the record lacks some';

-- The payments of [since, until), each with what was recorded of it and the row
-- as the table has it.  Rows that repeat a key make no task.  who: which of the
-- rules decisions count, a condition on d.
CREATE FUNCTION agentpay._simulate_rows(p agentpay.decision_points,
	since timestamptz, until timestamptz, who text) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT d.decision_id, d.decided_at, d.row_id, '
		'agentpay._unseal(d), d.sealed IS NOT NULL, d.score, '
		'coalesce(d.answer, d.verdict), t.tableoid, t.ctid, t '
		'FROM agentpay.decisions d '
		'LEFT JOIN %1$s t ON t.%2$I = %3$s '
		'WHERE d.point = %4$L AND d.kind = ''rules'' '
		'AND NOT coalesce(d.detail ? ''repeats'', false) '
		'AND d.occurred_at >= %5$L AND d.occurred_at < %6$L AND (%7$s)',
		p.table_name, p.id_column,
		agentpay._id_cast('d.row_id',
			agentpay._id_type(p.table_name, p.id_column)), p.point,
		coalesce(since, '-infinity'), coalesce(until, 'infinity'), who)
	 WHERE agentpay._id_type(p.table_name, p.id_column) IS NOT NULL
$$;
REVOKE ALL ON FUNCTION agentpay._simulate_rows(agentpay.decision_points,
	timestamptz, timestamptz, text) FROM PUBLIC;

-- ── what a call costs, and says ─────────────────────────────────────────────
-- The attempts of one payment, with bound and cost of each; answered: after so
-- many the answer is there, those that follow ask the same again.
CREATE TYPE agentpay._simulated_call AS (
	at timestamptz, decide_by timestamptz, bounds numeric[], costs numeric[],
	answered int, changed boolean, blocked boolean, escalated boolean);

-- What an agent has answered about rows of its point, and its attempts.
CREATE FUNCTION agentpay._recorded_answers(a agentpay.agents)
	RETURNS TABLE (row_id text, answer text, confidence real, forced boolean,
				   calls agentpay.agent_calls[])
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH answered AS MATERIALIZED (
		SELECT DISTINCT ON (d.row_id) d.row_id, d.answer, d.confidence,
			   (d.detail ->> 'task_id')::bigint AS task_id
		  FROM agentpay.decisions d
		 WHERE d.point = a.point AND d.agent = a.name AND d.repeat_no = 0
		   AND d.kind IN ('agent', 'fallback')
		   AND NOT coalesce(d.detail ? 'late', false)
		   AND (d.answer IS NOT NULL
				OR d.failure NOT IN ('over_budget', 'killed', 'skipped'))
		 ORDER BY d.row_id, d.decided_at DESC, d.decision_id DESC),
	called AS MATERIALIZED (
		SELECT c.task_id, array_agg(c ORDER BY c.attempt) AS calls
		  FROM agentpay.agent_calls c
		 WHERE c.point = a.point AND c.agent = a.name
		 GROUP BY c.task_id)
	SELECT w.row_id, w.answer, w.confidence, coalesce(t.forced, true), c.calls
	  FROM answered w
	  LEFT JOIN called c ON c.task_id = w.task_id
	  LEFT JOIN agentpay._tasks t
		ON t.task_id = w.task_id AND t.agent = a.name
$$;
REVOKE ALL ON FUNCTION agentpay._recorded_answers(agentpay.agents)
	FROM PUBLIC;

-- What an attempt that was recorded costs at the agent's prices.
CREATE FUNCTION agentpay._cost_again(c agentpay.agent_calls,
	a agentpay.agents, bound numeric) RETURNS numeric
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN c.input_tokens IS NOT NULL AND c.output_tokens IS NOT NULL
		THEN least(bound, trim_scale(ceil(1000 * (
			(c.input_tokens - coalesce(c.cached_tokens, 0))
				* coalesce(a.price_input_per_million, 0)
			+ coalesce(c.cached_tokens, 0)
				* coalesce(a.price_cached_input_per_million,
						   a.price_input_per_million, 0)
			+ c.output_tokens * coalesce(a.price_output_per_million, 0)
			+ 1000000 * coalesce(a.price_per_call, 0))) / 1000000000))
		WHEN c.cost = 0 AND c.reserved_cost > 0 THEN 0
		ELSE bound END
$$;
REVOKE ALL ON FUNCTION agentpay._cost_again(agentpay.agent_calls,
	agentpay.agents, numeric) FROM PUBLIC;

-- Why an answer does not count, by authorities that are given: as _judge(),
-- which reads the agent's own.
CREATE FUNCTION agentpay._judge_by(held agentpay.authorities[],
	a agentpay.agents, r agentpay.decisions, forced boolean, verdict text,
	confidence real) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay._answer_failure(coalesce($6, 0) < a.min_confidence::real,
			$5 = s.rules OR a.position = 'review', v.point IS NOT NULL,
			v.rank - coalesce(w.rank, v.rank + 1), cardinality($1) > 0,
			l.verdict IS NOT NULL, l.may_relax,
			l.max_amount IS NULL OR abs(r.amount) <= l.max_amount
				AND r.currency = l.currency,
			forced, v.rank IS NULL AND EXISTS (
				SELECT FROM agentpay.decision_points p
				 WHERE p.point = a.point AND p.role = 'routing')
				AND agentpay._is_disabled_route('routing', $5))
	  FROM (SELECT coalesce(r.answer, r.verdict)) AS s (rules)
	  LEFT JOIN agentpay.verdicts v ON v.point = a.point AND v.verdict = $5
	  LEFT JOIN agentpay.verdicts w ON w.point = v.point AND w.verdict = s.rules
	  LEFT JOIN unnest($1) AS l ON l.verdict = v.verdict
$$;
REVOKE ALL ON FUNCTION agentpay._judge_by(agentpay.authorities[],
	agentpay.agents, agentpay.decisions, boolean, text, real) FROM PUBLIC;

-- The calls that would have been wanted, by the time of their payments.
CREATE FUNCTION agentpay._simulated_calls(p agentpay.decision_points,
	a agentpay.agents, held agentpay.authorities[], query text)
	RETURNS SETOF agentpay._simulated_call
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH asked AS MATERIALIZED (
		SELECT s.bucket < agentpay._stage_rank(a.stage)
				   AND s.holdout_bucket >= 100 * a.holdout_percent
				   AND r.assignment <> 'explore' AND a.position <> 'review'
				   AS live,
			   s.repeated, r,
			   coalesce(s.computed, '{}')
				   || coalesce(agentpay._unseal(r), '{}') AS inputs
		  FROM agentpay._simulate_asked(p.point, p.table_name, a.name,
				a.invoke_when, a.sample_percent::double precision,
				a.repeat_percent::double precision, a.fields,
				CASE a.protocol WHEN 'builtin' THEN a.model END,
				coalesce((SELECT x.salt FROM agentpay._agent_salts x
						   WHERE x.agent = a.name),
						 sha256(convert_to(a.name, 'UTF8'))),
				coalesce((SELECT x.salt FROM agentpay._draw_salts x
						   WHERE x.point = p.point),
						 sha256(convert_to(p.point, 'UTF8'))), query) AS s
		  JOIN agentpay.decisions r
			ON r.decision_id = s.decision_id AND r.decided_at = s.decided_at),
	talk AS MATERIALIZED (
		SELECT agentpay._sendable_fields(a, p) AS fields, o.verdicts, o.notes,
			   agentpay._protocol_options(a.options)::text AS options
		  FROM agentpay._offered_verdicts(p) AS o),
	priced AS (
		SELECT x.r, x.live, x.repeated, m.chance IS NULL AS nothing_said,
			   w.calls,
			   agentpay._cost_bound(a, octet_length(agentpay._request_body(
					a.protocol, p.role, a.prompt, k.verdicts, k.notes,
					(SELECT coalesce(jsonb_object_agg(f, x.inputs -> f), '{}')
					   FROM unnest(k.fields) AS f WHERE x.inputs ? f)::text,
					a.model, a.max_output_tokens, k.options))) AS bound,
			   CASE WHEN a.protocol = 'builtin' THEN v.verdict
					ELSE w.answer END AS answer,
			   CASE WHEN a.protocol <> 'builtin' THEN w.confidence
					WHEN v.positive THEN m.chance
					ELSE 1 - m.chance END::real
				   AS confidence,
			   coalesce(w.forced, true) AS forced
		  FROM asked x CROSS JOIN talk k
		  LEFT JOIN agentpay._recorded_answers(a) AS w
			ON w.row_id = (x.r).row_id
		 CROSS JOIN LATERAL (
			SELECT (x.inputs ->> format('model(%s)', a.model))::numeric
					   AS chance
			 WHERE a.protocol = 'builtin'
			UNION ALL SELECT 0 WHERE a.protocol <> 'builtin') AS m
		  LEFT JOIN LATERAL agentpay._builtin_verdict(p.point,
				m.chance::double precision, a.options) AS v
			ON a.protocol = 'builtin' AND m.chance IS NOT NULL),
	tried AS (
		SELECT q.*, t.bounds, t.costs, t.n,
			   coalesce(cardinality(q.calls), 0) > a.max_attempts AS cut,
			   CASE WHEN q.answer IS NOT NULL THEN agentpay._judge_by(held, a,
					q.r, q.forced, q.answer, q.confidence) END AS failure,
			   coalesce((q.r).answer, (q.r).verdict) AS rules
		  FROM priced q
		 CROSS JOIN LATERAL (
			SELECT CASE WHEN a.protocol <> 'builtin'
				   THEN least(coalesce(cardinality(q.calls), 0),
							  a.max_attempts) ELSE 0 END AS recorded) AS g
		 CROSS JOIN LATERAL (
			SELECT array_fill(q.bound, ARRAY[greatest(g.recorded, 1)])
					   AS bounds,
				   array_agg(CASE g.recorded WHEN 0 THEN q.bound
							 ELSE agentpay._cost_again(q.calls[i], a, q.bound)
							 END ORDER BY i) AS costs,
				   count(*)::int AS n
			  FROM generate_series(1, greatest(g.recorded, 1)) AS i) AS t
		 WHERE NOT q.nothing_said)
	-- to times far off no window can be added
	SELECT least((z.r).occurred_at, '294275-01-01 00:00:00+00'),
		   CASE a.position WHEN 'pre_auth'
				THEN least((z.r).occurred_at, '294275-01-01 00:00:00+00')
				+ make_interval(secs => p.decide_within_ms / 1000.0) END,
		   f.bounds, f.costs, z.n,
		   e.changed,
		   e.changed AND coalesce(
				(SELECT v.rank FROM agentpay.verdicts v
				  WHERE v.point = p.point AND v.verdict = z.answer)
				= (SELECT max(v.rank) FROM agentpay.verdicts v
					WHERE v.point = p.point), false),
		   NOT z.cut AND coalesce(z.failure IN ('low_confidence',
				'over_authority'), false)
			   AND a.position <> 'review'
			   AND (z.live OR a.escalate_to IS NOT NULL)
		   OR e.changed AND coalesce(
				(SELECT agentpay._needs_person(v) FROM agentpay.verdicts v
				  WHERE v.point = p.point AND v.verdict = z.answer), false)
	  FROM tried z
	 CROSS JOIN LATERAL (
		SELECT z.live AND NOT z.cut AND z.answer IS NOT NULL
			   AND z.failure IS NULL AND z.answer <> z.rules AS changed) AS e
	 CROSS JOIN LATERAL (
		SELECT array_agg(b ORDER BY g, o) AS bounds,
			   array_agg(c ORDER BY g, o) AS costs
		  FROM generate_series(1, CASE WHEN z.repeated THEN a.repeats
								  ELSE 1 END) AS g,
			   unnest(z.bounds, z.costs) WITH ORDINALITY AS u (b, c, o)) AS f
	 ORDER BY (z.r).occurred_at, (z.r).decided_at, (z.r).decision_id
$$;
REVOKE ALL ON FUNCTION agentpay._simulated_calls(agentpay.decision_points,
	agentpay.agents, agentpay.authorities[], text) FROM PUBLIC;

-- ── what the budgets let through ────────────────────────────────────────────
-- One log of calls: each is in every budget, so a budget's window is a part of
-- it, from its head to the end.  A call is settled before the next one asks for
-- room.  Who waits for room is asked again, first come first served, as soon
-- as a window has moved on.  A row for each hour in which something happened.
CREATE FUNCTION agentpay._simulate_spend(b agentpay.budgets[],
	p agentpay.decision_points, a agentpay.agents,
	held agentpay.authorities[], query text, until timestamptz)
	RETURNS TABLE (hour timestamptz, calls bigint, cost numeric,
				   refused bigint, verdict_changes bigint, blocks bigint,
				   escalations bigint, exhausted_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	wanted refcursor;
	n_budgets constant int := cardinality(b);
	lengths interval[];		-- NULL: per transaction
	heads int[] := array_fill(1, ARRAY[n_budgets]);
	spent numeric[] := array_fill(0::numeric, ARRAY[n_budgets]);
	made bigint[] := array_fill(0::bigint, ARRAY[n_budgets]);
	log_at timestamptz[];
	log_cost numeric[];
	n int := 0;
	waiting agentpay._simulated_call[];
	done int[];				-- attempts that those who wait have made
	first int := 1;
	last int := 0;
	upcoming agentpay._simulated_call;
	c agentpay._simulated_call;
	moment timestamptz;
	retry_at timestamptz;
	again boolean := false;	-- the one before got room: the next may, too
	waited boolean;
	killed boolean := false;
	no_room int;
	k int;
	own_cost numeric;
	own_calls bigint;
BEGIN
	SELECT array_agg(CASE WHEN x.period <> 'transaction'
					 THEN agentpay._period_length(x.period) END ORDER BY o)
	  INTO lengths FROM unnest(b) WITH ORDINALITY
		AS x (name, scope, target, period, cap_cost, cap_calls, alert_percent,
			  on_exhausted, enabled, o);
	calls := 0; cost := 0; refused := 0; verdict_changes := 0; blocks := 0;
	escalations := 0;
	OPEN wanted NO SCROLL FOR
		SELECT * FROM agentpay._simulated_calls(p, a, held, query);
	FETCH wanted INTO upcoming;
	LOOP
		retry_at := NULL;
		IF first <= last AND NOT killed THEN
			retry_at := moment;
			IF NOT again THEN
				SELECT min(log_at[heads[i]] + lengths[i]) INTO retry_at
				  FROM generate_series(1, n_budgets) AS i;
			END IF;
		END IF;
		IF retry_at <= coalesce(upcoming.at, until) THEN
			waited := true;
			c := waiting[first];
			k := done[first];
			first := first + 1;
			moment := retry_at;
			again := true;
			CONTINUE WHEN c.decide_by <= moment;
		ELSIF upcoming.at IS NOT NULL THEN
			waited := false;
			c := upcoming;
			k := 0;
			moment := c.at;
			FETCH wanted INTO upcoming;
		ELSE
			EXIT;
		END IF;

		IF hour IS DISTINCT FROM date_trunc('hour', moment, 'UTC') THEN
			IF hour IS NOT NULL THEN
				RETURN NEXT;
			END IF;
			hour := date_trunc('hour', moment, 'UTC');
			calls := 0; cost := 0; refused := 0; verdict_changes := 0;
			blocks := 0; escalations := 0; exhausted_at := NULL;
		END IF;
		IF killed THEN
			refused := refused + 1;
			CONTINUE;
		END IF;
		FOR i IN 1 .. n_budgets LOOP
			WHILE heads[i] <= n
				AND log_at[heads[i]] + lengths[i] <= moment LOOP
				spent[i] := spent[i] - log_cost[heads[i]];
				made[i] := made[i] - 1;
				heads[i] := heads[i] + 1;
			END LOOP;
		END LOOP;

		no_room := NULL;
		WHILE k < cardinality(c.bounds) LOOP
			k := k + 1;
			FOR i IN 1 .. n_budgets LOOP
				own_cost := spent[i];
				own_calls := made[i];
				IF lengths[i] IS NULL THEN
					SELECT coalesce(sum(x), 0) INTO own_cost
					  FROM unnest(c.costs[:k - 1]) AS x;
					own_calls := k - 1;
				END IF;
				IF own_cost + c.bounds[k] > b[i].cap_cost
				   OR own_calls + 1 > b[i].cap_calls THEN
					no_room := i;
					EXIT;
				END IF;
			END LOOP;
			EXIT WHEN no_room IS NOT NULL;
			n := n + 1;
			log_at[n] := moment;
			log_cost[n] := c.costs[k];
			FOR i IN 1 .. n_budgets LOOP
				spent[i] := spent[i] + c.costs[k];
				made[i] := made[i] + 1;
			END LOOP;
			calls := calls + 1;
			cost := cost + c.costs[k];
			IF k = c.answered THEN
				verdict_changes := verdict_changes + c.changed::int;
				blocks := blocks + c.blocked::int;
				escalations := escalations + c.escalated::int;
			END IF;
		END LOOP;
		CONTINUE WHEN no_room IS NULL;

		again := false;
		IF NOT waited THEN
			refused := refused + 1;
		END IF;
		CONTINUE WHEN b[no_room].on_exhausted = 'fallback'
			AND lengths[no_room] IS NULL;
		IF lengths[no_room] IS NOT NULL THEN
			exhausted_at := coalesce(exhausted_at, moment);
		END IF;
		IF b[no_room].on_exhausted = 'kill' THEN
			killed := true;
		ELSIF b[no_room].on_exhausted = 'wait'
			AND lengths[no_room] IS NOT NULL
			AND NOT coalesce(c.bounds[k] > b[no_room].cap_cost, false)
			AND NOT coalesce(b[no_room].cap_calls = 0, false) THEN
			IF waited THEN
				first := first - 1;
			ELSE
				last := last + 1;
			END IF;
			waiting[CASE WHEN waited THEN first ELSE last END] := c;
			done[CASE WHEN waited THEN first ELSE last END] := k - 1;
		END IF;
	END LOOP;
	CLOSE wanted;
	IF hour IS NOT NULL THEN
		RETURN NEXT;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._simulate_spend(agentpay.budgets[],
	agentpay.decision_points, agentpay.agents, agentpay.authorities[], text,
	timestamptz) FROM PUBLIC;

CREATE FUNCTION agentpay.simulate(point text, agent_settings jsonb,
	budgets jsonb DEFAULT '[]', stage text DEFAULT '100',
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
	RETURNS TABLE (hour timestamptz, payments bigint, calls bigint,
				   cost numeric, refused bigint, verdict_changes bigint,
				   blocks bigint, escalations bigint, exhausted_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO'
AS $$
#variable_conflict use_column
DECLARE
	p agentpay.decision_points := agentpay._point(simulate.point);
	a agentpay.agents := agentpay._simulated_agent(p, agent_settings,
												   simulate.stage);
	held agentpay.authorities[] := agentpay._simulated_authorities(p, a,
															agent_settings);
	b agentpay.budgets[] := agentpay._simulated_budgets(p, a,
														simulate.budgets);
BEGIN
	IF since >= until THEN
		PERFORM agentpay._refuse('22023', 'since is not before until',
			'Payments are those of [since, until), by their own time.',
			'SELECT min(occurred_at), max(occurred_at) FROM agentpay.decisions;');
	END IF;
	RETURN QUERY
	SELECT coalesce(s.hour, x.hour), coalesce(x.payments, 0),
		   coalesce(s.calls, 0), trim_scale(coalesce(s.cost, 0)),
		   coalesce(s.refused, 0), coalesce(s.verdict_changes, 0),
		   coalesce(s.blocks, 0), coalesce(s.escalations, 0), s.exhausted_at
	  FROM (SELECT date_trunc('hour', least(d.occurred_at,
					'294275-01-01 00:00:00+00'), 'UTC') AS hour,
				   count(*) AS payments
			  FROM agentpay.decisions d
			 WHERE d.point = p.point AND d.kind = 'rules'
			   AND NOT coalesce(d.detail ? 'repeats', false)
			   AND d.occurred_at >= coalesce(since, '-infinity')
			   AND d.occurred_at < coalesce(until, 'infinity')
			 GROUP BY 1) AS x
	  FULL JOIN agentpay._simulate_spend(b, p, a, held,
			agentpay._simulate_rows(p, since, until,
				CASE WHEN a.stage = 'off' OR NOT a.enabled THEN 'false'
					 WHEN a.position = 'review'
					 THEN 'd.assignment = ''audit'' OR EXISTS (SELECT FROM agentpay.verdicts v WHERE v.point = d.point AND v.verdict = d.verdict AND agentpay._needs_person(v))'
					 ELSE 'true' END),
			least(until, agentpay._now())) AS s ON s.hour = x.hour
	 ORDER BY 1;
END$$;
REVOKE ALL ON FUNCTION agentpay.simulate(text, jsonb, jsonb, text,
	timestamptz, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.simulate(text, jsonb, jsonb, text, timestamptz, timestamptz) IS 'what an agent under these settings, budgets and stage would have done to the payments of [since, until), hour by hour. Calls nobody and writes nothing';
