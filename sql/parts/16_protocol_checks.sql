-- 16_protocol_checks.sql
--		What agents must be for the protocol that they speak.
--
-- As 15_configuration_checks.sql, whose helpers it uses.

CREATE FUNCTION agentpay._option_problem(protocol text, options text)
	RETURNS text
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_option_problem';
REVOKE ALL ON FUNCTION agentpay._option_problem(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._option_problem(text, text) IS 'what the protocol would not send; NULL: nothing';

-- What of the options is the protocol's: the rest belongs to every agent.
CREATE FUNCTION agentpay._protocol_options(options jsonb) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT options - '{actions,calls_per_second,capture_within}'::text[]
$$;
REVOKE ALL ON FUNCTION agentpay._protocol_options(jsonb) FROM PUBLIC;

-- For hints: a value that would do.
CREATE FUNCTION agentpay._protocol_example(protocol text, what text)
	RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('%s = %L', what, e.value)
	  FROM (VALUES
		('openai', 'endpoint', 'https://api.openai.com/v1'),
		('openai', 'model', 'gpt-5-mini'),
		('openai', 'options', '{"temperature": 0}'),
		('anthropic', 'endpoint', 'https://api.anthropic.com'),
		('anthropic', 'model', 'claude-haiku-4-5'),
		('anthropic', 'options', '{"temperature": 0}'),
		('bedrock', 'endpoint', 'https://bedrock-runtime.us-east-1.amazonaws.com'),
		('bedrock', 'model', 'anthropic.claude-3-haiku-20240307-v1:0'),
		('bedrock', 'options', '{"region": "us-east-1"}'),
		('http', 'endpoint', 'https://scoring.example.com/v1/score'),
		('http', 'options', '{"answer_paths": {"score": "$.score"}, "thresholds": {"review": 0.3, "decline": 0.7}}'),
		('builtin', 'options', '{"thresholds": {"review": 0.3, "decline": 0.7}}'))
			AS e (protocol, what, value)
	 WHERE e.protocol = $1 AND e.what = $2
$$;
REVOKE ALL ON FUNCTION agentpay._protocol_example(text, text) FROM PUBLIC;

-- What a scoring service's words and scores become: verdicts of the point.
CREATE FUNCTION agentpay._check_http_options(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._check_thresholds(a.point,
		coalesce(a.options -> 'thresholds', '{}'), format(mend,
			agentpay._protocol_example('http', 'options')));
	PERFORM agentpay._refuse('22023', format(
			'option "verdicts" of agent "%s" makes %s of %s', a.name,
			quote_literal(w.value), to_json(w.key)),
		'Verdicts of point "' || a.point || '" are ' || (
			SELECT string_agg(v.verdict, ', ' ORDER BY v.rank, v.verdict)
			  FROM agentpay.verdicts v WHERE v.point = a.point) || '.',
		'Name a verdict of the point for each word of the service.')
	   FROM jsonb_each_text(a.options -> 'verdicts') AS w
	  WHERE NOT EXISTS (SELECT FROM agentpay.verdicts v
						 WHERE v.point = a.point AND v.verdict = w.value);
	IF a.prompt IS NOT NULL THEN
		PERFORM agentpay._refuse('23514', format(
				'agent "%s" has a prompt, which protocol http does not send',
				a.name),
			'A scoring service is sent the fields only.',
			format(mend, 'prompt = NULL'));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_http_options(agentpay.agents, text)
	FROM PUBLIC;

-- Prices and keys, without which a call could be neither bounded nor signed.
CREATE FUNCTION agentpay._check_protocol_needs(a agentpay.agents, mend text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF a.protocol IN ('openai', 'anthropic', 'bedrock')
	   AND (a.price_input_per_million IS NULL
			OR a.price_output_per_million IS NULL) THEN
		PERFORM agentpay._refuse('23514',
			format('agent "%s" needs its prices', a.name),
			'Without them its cost cannot be bounded. A price of 0 is said, not assumed.',
			format(mend, 'price_input_per_million = 0.15, price_output_per_million = 0.60'));
	ELSIF a.protocol = 'http' AND a.price_per_call IS NULL THEN
		PERFORM agentpay._refuse('23514',
			format('agent "%s" needs its price per call', a.name),
			'Without it its cost cannot be bounded. A price of 0 is said, not assumed.',
			format(mend, 'price_per_call = 0.002'));
	ELSIF a.protocol = 'bedrock' AND a.secret IS NULL THEN
		PERFORM agentpay._refuse('23514',
			format('agent "%s" needs a secret to sign with', a.name),
			'Bedrock takes signed requests only. The secret refers to AWS credentials: a shared credentials file, or the JSON that a credential_process prints.',
			format(mend, 'secret = ''file:/etc/agentpay/aws_credentials'''));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_protocol_needs(agentpay.agents, text)
	FROM PUBLIC;
