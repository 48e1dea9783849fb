-- 16_agent_checks.sql
--		What agents and endpoints must be, and the versions of agents.
--
-- As 15_configuration_checks.sql, whose helpers it uses.

-- ── text that leaves the database ───────────────────────────────────────────
-- Spaces and control characters could add a header to a request.
CREATE FUNCTION agentpay._check_plain(what text, value text, mend text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF value ~ '[\u0001-\u0020\u007f-\u00a0\u2028\u2029]' OR value = '' THEN
		PERFORM agentpay._refuse('22023', format('%s %s', what,
				CASE value WHEN '' THEN 'is empty'
				ELSE 'contains a space or a control character' END),
			CASE value WHEN '' THEN 'It has at least one character.'
			ELSE format('It is the one at position %s.', regexp_instr(value,
				'[\u0001-\u0020\u007f-\u00a0\u2028\u2029]')) END, mend);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_plain(text, text, text) FROM PUBLIC;

-- scheme://host[:port]: no user, nothing that two readers could take apart
-- in two ways; http only for this machine.
CREATE FUNCTION agentpay._check_origin(what text, origin text, mend text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	host constant text := '(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]*[a-z0-9])?)';
	port text := substring(origin FROM ':([0-9]+)$');
BEGIN
	PERFORM agentpay._check_plain(what, origin, mend);
	IF origin LIKE '%@%' THEN
		PERFORM agentpay._refuse('22023',
			what || ' contains a user name or a password',
			'Credentials go into secret, by reference: file:/path or env:NAME.',
			mend);
	ELSIF origin IS NULL OR origin !~ ('^https?://' || host || '(:[0-9]{1,5})?$')
		OR port::int NOT BETWEEN 1 AND 65535 THEN
		PERFORM agentpay._refuse('22023',
			format('%s is not an origin: %s', what,
				   coalesce(quote_literal(origin), 'NULL')),
			'An origin is https://host or https://host:port, in small letters, without a path.',
			mend);
	ELSIF origin ~ '^http:' AND origin !~ '^http://(localhost|127(\.[0-9]{1,3}){3}|\[::1\])(:[0-9]+)?$' THEN
		PERFORM agentpay._refuse('22023',
			format('%s is not encrypted: %L', what, origin),
			'http is for this machine only (localhost, 127.0.0.1, [::1]).',
			mend);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_origin(text, text, text) FROM PUBLIC;

-- ── allowed_endpoints ───────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_allowed_endpoints() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT agentpay._restoring() THEN
		PERFORM agentpay._check_origin('origin', NEW.origin,
			format('INSERT INTO agentpay.allowed_endpoints (origin) VALUES (%L);',
				   coalesce('https://' || substring(lower(NEW.origin)
						FROM '^(?:[a-z]+://)?(?:[^@/]*@)?([a-z0-9-]+(?:\.[a-z0-9-]+)+(?::[0-9]{2,4}(?![0-9]))?)'),
					'https://api.example.com')));
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_allowed_endpoints() FROM PUBLIC;

-- ── agents ──────────────────────────────────────────────────────────────────
-- The value of a secret is never shown, not even when it is refused.
CREATE FUNCTION agentpay._check_secret(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF a.secret !~ '^(file:/[^\u0001-\u0020\u007f-\u00a0\u2028\u2029]+|env:[A-Za-z_][A-Za-z0-9_]*)$' THEN
		PERFORM agentpay._refuse('23514',
			format('the secret of agent "%s" is not a reference', a.name),
			'The key itself never goes into the database. The value is not shown here, but the statement may be in the server''s log: if it was a key, replace the key.',
			format(mend, 'secret = ''file:/etc/agentpay/key''')
				|| ' An environment variable of the server is ''env:OPENAI_API_KEY''.');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_secret(agentpay.agents, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_endpoint(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	base text := substring(a.endpoint FROM '^[^/]*//[^/?#]*');
	example constant text := agentpay._protocol_example(a.protocol, 'endpoint');
BEGIN
	IF a.protocol = 'builtin' THEN
		IF num_nonnulls(a.endpoint, a.secret) > 0 THEN
			PERFORM agentpay._refuse('23514', format(
					'agent "%s" is built in: it has no endpoint and no secret',
					a.name),
				'A built-in model runs inside the database and calls nobody.',
				format(mend, 'endpoint = NULL, secret = NULL'));
		END IF;
		RETURN;
	END IF;
	IF a.endpoint IS NULL THEN
		PERFORM agentpay._refuse('23514',
			format('agent "%s" needs an endpoint', a.name),
			format('Protocol %s calls one.', a.protocol),
			format(mend, example));
	END IF;
	PERFORM agentpay._check_plain('endpoint', a.endpoint,
								  format(mend, example));
	PERFORM agentpay._check_origin('the origin of endpoint',
		coalesce(base, a.endpoint), format(mend, example));
	IF a.endpoint ~ '[?#\\]' THEN
		PERFORM agentpay._refuse('22023',
			format('endpoint of agent "%s" is not a base URL', a.name),
			CASE a.protocol WHEN 'openai'
			THEN 'It has no query and no fragment: the protocol adds its path, and option api_version the query that Azure wants.'
			ELSE 'It has no query and no fragment: the protocol adds its path.' END,
			format(mend, format('endpoint = %L',
				substring(a.endpoint FROM '^[^?#\\]*'))
				|| CASE WHEN a.protocol = 'openai'
						 AND a.endpoint ~ '[?&]api-version=[A-Za-z0-9]'
				   THEN format(', options = %L', a.options
						|| jsonb_build_object('api_version', substring(
							a.endpoint
							FROM '[?&]api-version=([A-Za-z0-9_.-]+)')))
				   ELSE '' END));
	ELSIF NOT EXISTS (SELECT FROM agentpay.allowed_endpoints e
					   WHERE e.origin = base) THEN
		PERFORM agentpay._refuse('42501',
			format('origin %L is not allowed', base),
			format('Agent "%s" may call only origins of agentpay.allowed_endpoints.', a.name),
			format('INSERT INTO agentpay.allowed_endpoints (origin) VALUES (%L);',
				   base));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_endpoint(agentpay.agents, text)
	FROM PUBLIC;

-- How a point gets a model of that name: only fraud has labels to train on.
CREATE FUNCTION agentpay._model_mend(model text, p agentpay.decision_points)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE p.role WHEN 'fraud' THEN format(
			'SELECT * FROM agentpay.train_logistic(%L, %L, features => ...);',
			model, p.point)
		ELSE format('INSERT INTO agentpay.models (name, kind, features, definition) VALUES (%L, ''logistic'', ...);',
			model) END
$$;
REVOKE ALL ON FUNCTION
	agentpay._model_mend(text, agentpay.decision_points) FROM PUBLIC;

CREATE FUNCTION agentpay._check_agent_model(a agentpay.agents,
	p agentpay.decision_points, mend text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	inputs text[];
	probability boolean;
	unknown text;
	unfit regtype;
	example text := CASE a.protocol WHEN 'builtin'
		THEN format('model = %L', coalesce((SELECT m.name
			FROM agentpay.models m WHERE m.active ORDER BY m.name LIMIT 1),
			'fraud_model'))
		ELSE agentpay._protocol_example(a.protocol, 'model') END;
	thresholds constant text := agentpay._protocol_example('builtin', 'options');
BEGIN
	IF a.model IS NULL AND a.protocol = 'http' THEN
		RETURN;
	ELSIF a.model IS NULL THEN
		PERFORM agentpay._refuse('23514',
			format('agent "%s" needs a model', a.name),
			CASE a.protocol WHEN 'builtin'
			THEN 'It is the name of a row of agentpay.models.'
			ELSE 'It is the provider''s name of the model.' END,
			format(mend, example));
	END IF;
	PERFORM agentpay._check_plain('model', a.model, format(mend, example));
	IF a.protocol <> 'builtin' THEN
		RETURN;
	END IF;
	SELECT m.features, agentpay._is_probability(m)
	  INTO inputs, probability FROM agentpay.models m
	 WHERE m.name = a.model AND m.active;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('42704',
			format('no active model is named %L', a.model),
			'A built-in agent answers by a model of agentpay.models.',
			agentpay._model_mend(a.model, p));
	ELSIF NOT probability THEN
		PERFORM agentpay._refuse('22023', format(
				'model "%s" answers with no probability', a.model),
			'A built-in agent compares it with thresholds from 0 to 1, and takes it for its confidence.',
			'Train with objective binary:logistic, or use model() in a rule.');
	END IF;
	SELECT i INTO unknown FROM unnest(inputs) AS i
	 WHERE NOT agentpay._is_known(p, i) LIMIT 1;
	IF FOUND THEN
		PERFORM agentpay._refuse('42703', format(
				'model "%s" reads %L, which point "%s" does not have',
				a.model, unknown, p.point),
			agentpay._known_names(p), agentpay._model_mend(a.model, p));
	END IF;
	SELECT f.name, agentpay._feature_type(f) INTO unknown, unfit
	  FROM agentpay.features f
	 WHERE f.point = p.point AND f.name = ANY (inputs)
	   AND agentpay._feature_type(f) <> ALL ('{int2,int4,int8,float4,float8,numeric,bool}'::regtype[])
	 LIMIT 1;
	IF FOUND THEN
		PERFORM agentpay._refuse('42804', format(
				'model "%s" reads feature "%s", which is of type %s', a.model,
				unknown, unfit),
			'A model''s inputs are numbers and booleans.',
			'Make the feature''s value a number, for example by comparing it with something.');
	END IF;
	PERFORM agentpay._check_thresholds(a.point,
		coalesce(a.options -> 'thresholds', '{}'), format(mend, thresholds));
	PERFORM agentpay._check_range(format('threshold of verdict "%s"', t.key),
			t.value::text::numeric, 0, 1, format(mend, thresholds))
	   FROM jsonb_each(coalesce(a.options -> 'thresholds', '{}')) AS t;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_agent_model(agentpay.agents,
	agentpay.decision_points, text) FROM PUBLIC;

-- Columns whose policy decides whether a field may be sent: the field itself,
-- or what a feature aggregates; none for features that only count.
CREATE FUNCTION agentpay._policy_columns(p agentpay.decision_points,
	field text) RETURNS text[]
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN coalesce((
		SELECT CASE WHEN f.kind = 'since_last'
					  OR f.aggregate IN ('count', 'rate') THEN '{}'
			   ELSE agentpay._check_expression(
					agentpay._policy_table(p, field), p.point, f.value,
					'any', agentpay._feature_usage(f)) END
		  FROM agentpay.features f
		 WHERE f.point = p.point AND f.name = field), ARRAY[field]);
END$$;
REVOKE ALL ON FUNCTION agentpay._policy_columns(agentpay.decision_points, text)
	FROM PUBLIC;

-- A policy that would do, for hints: text may name a person.
CREATE FUNCTION agentpay._policy_example(relation regclass, column_name text)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN (SELECT t.typcategory IN ('N', 'B', 'D', 'T')
						FROM pg_type t WHERE t.oid = agentpay._column_type(
							relation, column_name, 'field'))
		   THEN '''financial'', ''pass''' ELSE '''pii'', ''mask''' END
$$;
REVOKE ALL ON FUNCTION agentpay._policy_example(regclass, text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_agent_fields(a agentpay.agents,
	p agentpay.decision_points, mend text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	field text;
	missing text;
	source regclass;
BEGIN
	FOREACH field IN ARRAY coalesce(a.fields, '{}') LOOP
		IF field IS NULL OR NOT agentpay._is_known(p, field) THEN
			PERFORM agentpay._refuse('42703', format(
					'unknown field of agent "%s": %s', a.name,
					coalesce(quote_literal(field), 'NULL')),
				agentpay._known_names(p),
				format(mend, format('fields = %L', array_remove(a.fields,
																field))));
		END IF;
		source := agentpay._policy_table(p, field);
		SELECT c INTO missing FROM unnest(agentpay._policy_columns(p, field))
			   AS c
		 WHERE NOT EXISTS (SELECT FROM agentpay.data_policies d
							WHERE d.table_name = source
							  AND d.column_name = c) LIMIT 1;
		IF FOUND THEN
			PERFORM agentpay._refuse('42501', format(
					'field "%s" of agent "%s" has no data policy', field,
					a.name),
				format('Nothing leaves the database that no policy names: column "%s" of %s has none.', missing, source),
				format('INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES (%L, %L, %s);',
					   source::text, missing,
					   agentpay._policy_example(source, missing)));
		END IF;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_agent_fields(agentpay.agents,
	agentpay.decision_points, text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_agent_numbers(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._check_range(n.what, n.value, n.low, n.high,
				format(mend, format('%I = %s', n.what, n.example)))
	   FROM (VALUES
		('sample_percent', a.sample_percent, 0, 100, 100),
		('timeout_ms', a.timeout_ms, 1, 600000, 2000),
		('max_attempts', a.max_attempts, 1, 10, 2),
		('max_in_flight', a.max_in_flight, 1, 10000, 64),
		('max_output_tokens', a.max_output_tokens, 1, 100000, 256),
		('min_confidence', a.min_confidence, 0, 1, 0.5),
		('holdout_percent', a.holdout_percent, 0, 50, 0),
		('repeat_percent', a.repeat_percent, 0, 100, 0),
		('repeats', a.repeats, 2, 20, 5),
		-- USD; a bound in nano-dollars must fit into 64 bits
		('price_input_per_million', a.price_input_per_million, 0, 1e6, 1),
		('price_output_per_million', a.price_output_per_million, 0, 1e6, 1),
		('price_cached_input_per_million', a.price_cached_input_per_million,
		 0, 1e6, 1),
		('price_per_call', a.price_per_call, 0, 1e6, 0))
			AS n (what, value, low, high, example);
	IF a.protocol = 'builtin' AND a.repeat_percent > 0 THEN
		PERFORM agentpay._refuse('23514', format(
				'agent "%s" is built in: asking it again tells nothing',
				a.name),
			'A model inside the database gives the same row the same answer each time.',
			format(mend, 'repeat_percent = 0'));
	END IF;
	IF a.holdout_percent <> round(a.holdout_percent, 2) THEN
		PERFORM agentpay._refuse('22023',
			format('holdout_percent of agent "%s" is too fine: %s', a.name,
				   a.holdout_percent),
			'It has at most two decimal places.',
			format(mend, format('holdout_percent = %s',
								round(a.holdout_percent, 2))));
	END IF;
	PERFORM agentpay._check_protocol_needs(a, mend);
	IF array_ndims(a.rollout_steps) IS DISTINCT FROM 1
	   OR EXISTS (SELECT FROM (SELECT s, lag(s, 1, 0) OVER (ORDER BY o) AS last
								 FROM unnest(a.rollout_steps)
									  WITH ORDINALITY AS u (s, o)) AS steps
				   WHERE s IS NULL OR s <= last OR s > 100) THEN
		PERFORM agentpay._refuse('22023',
			format('rollout_steps of agent "%s" do not rise: %s', a.name,
				   a.rollout_steps),
			'They are percentages after shadow, from above 0 to 100.',
			format(mend, 'rollout_steps = ''{5,25,100}'''));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_agent_numbers(agentpay.agents, text)
	FROM PUBLIC;

-- What a verdict calls for after the authorisation, whatever the protocol.
CREATE FUNCTION agentpay._check_action_options(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problem text;
	length interval;
BEGIN
	IF NOT a.options ? 'actions' THEN
		NULL;
	ELSIF jsonb_typeof(a.options -> 'actions') <> 'object' THEN
		problem := 'option actions is an object: an action for a verdict';
	ELSE
		SELECT CASE WHEN v.verdict IS NULL
				THEN format('option actions: point "%s" has no verdict %s', a.point,
							to_jsonb(o.key))
				ELSE format('option actions: unknown action %s; actions are hold_capture, void, refund, step_up and notify', o.value) END
		  INTO problem
		  FROM jsonb_each(a.options -> 'actions') AS o
		  LEFT JOIN agentpay.verdicts v
			ON v.point = a.point AND v.verdict = o.key
		 WHERE v.verdict IS NULL
			OR coalesce(o.value #>> '{}', '') <> ALL ('{hold_capture,void,refund,step_up,notify}')
		 LIMIT 1;
	END IF;
	IF problem IS NULL AND a.options ? 'capture_within' THEN
		BEGIN
			length := (a.options ->> 'capture_within')::interval;
		EXCEPTION WHEN data_exception THEN
			NULL;
		END;
		IF length IS NULL OR length < '0' OR length > '1 year'
		   OR jsonb_typeof(a.options -> 'capture_within') <> 'string' THEN
			problem := 'option capture_within is an interval of up to a year, such as "7 days"';
		END IF;
	END IF;
	IF problem IS NOT NULL THEN
		PERFORM agentpay._refuse('22023',
			format('options of agent "%s" do not fit its position', a.name),
			format('%s%s.', upper(left(problem, 1)), substr(problem, 2)),
			format(mend, 'options = ''{"actions": {"decline": "refund"}, "capture_within": "7 days"}'''));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_action_options(agentpay.agents, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_agent_options(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problem text;
	own jsonb;
BEGIN
	PERFORM agentpay._refuse('22023',
			format('%s of agent "%s" must be a JSON object', j.what, a.name),
			'It holds settings by name.',
			format(mend, format('%s = ''{}''', j.what)))
	   FROM (VALUES ('options', a.options), ('processor', a.processor))
			AS j (what, value)
	  WHERE jsonb_typeof(j.value) IS DISTINCT FROM 'object';
	IF EXISTS (SELECT FROM jsonb_path_query(a.options,
									'strict $.** ? (@.type() == "string")') AS v
				WHERE v #>> '{}' ~ '[\u0001-\u001f\u007f-\u009f\u2028\u2029]')
	THEN
		PERFORM agentpay._refuse('22023',
			format('options of agent "%s" contain a control character', a.name),
			'It could add a header to a request.',
			format(mend, 'options = ''{}'''));
	END IF;
	own := agentpay._protocol_options(a.options);
	problem := CASE a.protocol
		WHEN 'builtin' THEN (SELECT format('option %s is not known', to_jsonb(k))
							   FROM jsonb_object_keys(own) AS k
							  WHERE k <> 'thresholds' LIMIT 1)
		ELSE agentpay._option_problem(a.protocol, own::text) END;
	IF a.options ? 'calls_per_second'
	   AND NOT coalesce(CASE jsonb_typeof(a.options -> 'calls_per_second')
			WHEN 'number' THEN (a.options ->> 'calls_per_second')::numeric
							   BETWEEN 0.001 AND 1000000 END, false) THEN
		PERFORM agentpay._refuse('22023',
			format('calls_per_second of agent "%s" must be a number from 0.001'
				   ' to 1000000', a.name),
			'It limits how fast calls start, over all dispatchers.',
			format(mend, 'options = options || ''{"calls_per_second": 10}'''));
	END IF;
	IF problem IS NOT NULL THEN
		PERFORM agentpay._refuse('22023',
			format('options of agent "%s" do not fit protocol %s', a.name,
				   a.protocol),
			format('%s%s.', upper(left(problem, 1)), substr(problem, 2)),
			format(mend, agentpay._protocol_example(a.protocol, 'options')));
	END IF;
	PERFORM agentpay._check_http_options(a, mend) WHERE a.protocol = 'http';
	PERFORM agentpay._check_action_options(a, mend);
	IF btrim(a.prompt, E' \t\r\n') = '' THEN
		PERFORM agentpay._refuse('22023',
			format('the prompt of agent "%s" is empty', a.name),
			'NULL means the prompt of the point''s role.',
			format(mend, 'prompt = NULL'));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_agent_options(agentpay.agents, text)
	FROM PUBLIC;

-- A dearer agent of the same point; following them must end.
CREATE FUNCTION agentpay._check_escalation(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problem text;
	way text[];
BEGIN
	IF a.escalate_to IS NULL THEN
		RETURN;
	END IF;
	WITH RECURSIVE steps (name, way) AS (
		SELECT a.escalate_to, ARRAY[a.name, a.escalate_to]
		UNION ALL
		SELECT o.escalate_to, s.way || o.escalate_to
		  FROM steps s JOIN agentpay.agents o ON o.name = s.name
		 WHERE o.escalate_to IS NOT NULL AND s.name <> a.name
		   AND cardinality(s.way) < 100)
	SELECT s.way INTO way FROM steps s WHERE s.name = a.name LIMIT 1;
	IF way IS NOT NULL THEN
		problem := 'it comes back: ' || array_to_string(way, ' -> ');
	ELSIF NOT EXISTS (SELECT FROM agentpay.agents o
					   WHERE o.name = a.escalate_to) THEN
		problem := 'there is no such agent';
	ELSIF NOT EXISTS (SELECT FROM agentpay.agents o
					   WHERE o.name = a.escalate_to AND o.point = a.point) THEN
		problem := format('that agent is not of point "%s"', a.point);
	END IF;
	IF problem IS NOT NULL THEN
		PERFORM agentpay._refuse('23514', format(
				'agent "%s" cannot escalate to %L: %s', a.name, a.escalate_to,
				problem),
			'Agents escalate to another agent of the same point, without a cycle.',
			format(mend, 'escalate_to = NULL'));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_escalation(agentpay.agents, text)
	FROM PUBLIC;

-- The first period without a cap on cost in the agent's scope; NULL: none.
CREATE FUNCTION agentpay._missing_cap(a agentpay.agents) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT wanted.period
	  FROM unnest(ARRAY['hour', 'transaction']) AS wanted (period)
	 WHERE a.protocol <> 'builtin' AND a.stage <> 'off'
	   AND NOT EXISTS (
		SELECT FROM agentpay.budgets b
		 WHERE b.enabled AND b.cap_cost IS NOT NULL
		   AND b.period = wanted.period
		   AND (b.scope, b.target) IN (('all', '*'), ('agent', a.name),
				('point', a.point), ('cost_center', a.cost_center),
				('role', (SELECT p.role FROM agentpay.decision_points p
						   WHERE p.point = a.point))))
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._missing_cap(agentpay.agents) FROM PUBLIC;

-- The caps that an agent depends on stay until its transaction ends.
CREATE FUNCTION agentpay._lock_caps(a agentpay.agents) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF a.protocol <> 'builtin' AND a.stage <> 'off' THEN
		PERFORM FROM agentpay.budgets b
		  WHERE b.enabled AND b.cap_cost IS NOT NULL
			AND b.period IN ('hour', 'transaction')
		  ORDER BY b.name FOR SHARE;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._lock_caps(agentpay.agents) FROM PUBLIC;

CREATE FUNCTION agentpay._check_caps(a agentpay.agents) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	missing text := agentpay._missing_cap(a);
BEGIN
	IF missing IS NOT NULL THEN
		PERFORM agentpay._refuse('55000', format(
				'agent "%s" has no cap on its cost per %s', a.name, missing),
			'An agent that is not built in leaves off only with a cap on cost per hour and one per transaction in scope.',
			format('INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES (%L, %L, %L, %L, %s);',
				   left(s.target, 30) || '_' || missing, s.scope, s.target,
				   missing, CASE missing WHEN 'hour' THEN 5 ELSE 0.05 END))
		  -- the budget of an agent comes after it
		  FROM (SELECT 'agent' AS scope, o.name AS target
				  FROM agentpay.agents o WHERE o.name = a.name
				UNION ALL SELECT 'point', a.point) AS s LIMIT 1;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_caps(agentpay.agents) FROM PUBLIC;

-- The words that an agent's columns may have.
CREATE FUNCTION agentpay._check_agent_kinds(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF a.protocol IS NULL OR a.protocol <> ALL ('{openai,anthropic,bedrock,http,builtin}') THEN
		PERFORM agentpay._refuse('23514', format('unknown protocol: %s',
				coalesce(quote_literal(a.protocol), 'NULL')),
			'Protocols are openai, anthropic, bedrock, http and builtin.',
			'Use protocol ''openai''.');
	ELSIF a.position IS NULL OR a.position <> ALL ('{pre_auth,post_auth,review}') THEN
		PERFORM agentpay._refuse('23514', format('unknown position: %s',
				coalesce(quote_literal(a.position), 'NULL')),
			'Positions are pre_auth, post_auth and review.', format(mend, 'position = ''post_auth'''));
	ELSIF a.stage IS NULL OR a.stage NOT IN ('off', 'shadow')
		AND NOT a.stage = ANY (a.rollout_steps::text[]) THEN
		PERFORM agentpay._refuse('23514', format('unknown stage: %s',
				coalesce(quote_literal(a.stage), 'NULL')),
			format('Stages are off, shadow and rollout_steps: %s.',
				   array_to_string(a.rollout_steps, ', ')),
			format(mend, 'stage = ''shadow'''));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_agent_kinds(agentpay.agents, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_agent(a agentpay.agents) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points := agentpay._point(a.point);
	mend text := CASE WHEN EXISTS (SELECT FROM agentpay.agents o
									WHERE o.name = a.name)
		THEN format('UPDATE agentpay.agents SET %%s WHERE name = %L;', a.name)
		ELSE 'In the INSERT, use %s.' END;
BEGIN
	PERFORM agentpay._check_agent_kinds(a, mend);
	PERFORM agentpay._check_secret(a, mend);
	PERFORM agentpay._check_agent_numbers(a, mend);
	PERFORM agentpay._check_agent_options(a, mend);
	PERFORM agentpay._check_plain('cost_center', a.cost_center,
								  format(mend, 'cost_center = ''fraud_team'''));
	PERFORM agentpay._check_endpoint(a, mend);
	PERFORM agentpay._check_agent_model(a, p, mend);
	PERFORM agentpay._check_agent_fields(a, p, mend);
	PERFORM agentpay._check_escalation(a, mend);
	PERFORM agentpay._check_expression(p.table_name, p.point, a.invoke_when,
									   'boolean', 'invoke');
	PERFORM agentpay._check_caps(a);
END$$;
REVOKE ALL ON FUNCTION agentpay._check_agent(agentpay.agents) FROM PUBLIC;

CREATE FUNCTION agentpay._check_agents() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		IF OLD.stage <> 'off' THEN
			PERFORM agentpay._refuse('55000',
				format('agent "%s" cannot be deleted', OLD.name),
				format('It is in stage %s.', OLD.stage),
				format('UPDATE agentpay.agents SET stage = ''off'' WHERE name = %L;',
					   OLD.name));
		END IF;
		RETURN OLD;
	END IF;
	PERFORM agentpay._check_name('agent', OLD.name, NEW.name);
	IF OLD.point <> NEW.point THEN
		PERFORM agentpay._refuse('55000',
			format('agent "%s" cannot go to another point', NEW.name),
			'Its decisions were about that point.',
			'INSERT a new agent for the other point.');
	END IF;
	-- from PostgreSQL's strong random numbers: 2 × 122 bits
	INSERT INTO agentpay._agent_salts
	VALUES (NEW.name, uuid_send(gen_random_uuid())
					  || uuid_send(gen_random_uuid()))
		ON CONFLICT DO NOTHING;
	NEW.stage := agentpay._checked_stage(OLD, NEW);
	-- to stop an agent is always possible, whatever is wrong with it
	IF OLD IS DISTINCT FROM NEW
	   AND agentpay._agent_definition(OLD) = agentpay._agent_definition(NEW)
	   AND (NEW.stage = OLD.stage AND NOT NEW.enabled
			OR NEW.stage IN ('off', 'shadow')
			   AND agentpay._stage_rank(NEW.stage)
				   < agentpay._stage_rank(OLD.stage)) THEN
		RETURN NEW;
	END IF;
	PERFORM agentpay._lock_caps(NEW);
	PERFORM agentpay._check_agent(NEW);
	IF NEW.repeat_percent > 0 THEN
		PERFORM agentpay._salt_draws(NEW.point);
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_agents() FROM PUBLIC;

-- ── versions of agents ──────────────────────────────────────────────────────
CREATE FUNCTION agentpay._agent_definition(a agentpay.agents) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT to_jsonb(a) - 'stage' - 'enabled' || coalesce((
		SELECT jsonb_build_object('authorities', jsonb_agg(to_jsonb(r) - 'agent'
					ORDER BY r.verdict COLLATE "C"))
		  FROM agentpay.authorities r WHERE r.agent = a.name
		HAVING count(*) > 0), '{}')
$$;
REVOKE ALL ON FUNCTION agentpay._agent_definition(agentpay.agents)
	FROM PUBLIC;

-- Another version, if the agent is another one than the newest says.
CREATE FUNCTION agentpay._note_version(a agentpay.agents) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	definition jsonb := agentpay._agent_definition(a);
	newest agentpay.agent_versions;
BEGIN
	SELECT * INTO newest FROM agentpay.agent_versions v
	 WHERE v.agent = a.name ORDER BY v.version DESC LIMIT 1;
	IF newest.definition IS DISTINCT FROM definition THEN
		INSERT INTO agentpay.agent_versions
		VALUES (a.name, coalesce(newest.version, 0) + 1, definition,
				sha256(convert_to(definition::text, 'UTF8')), session_user,
				agentpay._now());
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._note_version(agentpay.agents) FROM PUBLIC;

CREATE FUNCTION agentpay._version_agent() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT agentpay._restoring() THEN
		PERFORM agentpay._note_version(NEW);
	END IF;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._version_agent() FROM PUBLIC;
