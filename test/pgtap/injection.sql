-- What could add a header to a request, or another request, is refused when it
-- is written: each path by which text of the configuration reaches a URL or a
-- header, each protocol, each character that some reader takes for an end of
-- line or of a word, at the beginning, in the middle and at the end.
-- Settings: test/tap/t/egress.pl. Headers as the client sees them:
-- test/unit/test_http_client.c.
BEGIN;
SET client_min_messages = error;
SET search_path = public, pg_catalog;
\o /dev/null
CREATE SCHEMA t_injection;
CREATE TABLE t_injection.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL, amount numeric, outcome text);
SELECT agentpay.attach('t_injection.payments', 't_injection', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://t-injection.example'), ('https://bedrock-runtime.eu-west-1.amazonaws.com');
INSERT INTO agentpay.data_policies VALUES ('t_injection.payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, secret, fields, invoke_when, options, price_input_per_million, price_output_per_million, price_per_call)
SELECT 't_' || protocol, 't_injection', protocol, endpoint, 'x', 'env:KEY', '{amount}', 'true', options::jsonb, 1, 2, 0
  FROM (VALUES ('openai', 'https://t-injection.example/v1', '{"reasoning_effort": "low"}'),
			   ('anthropic', 'https://t-injection.example', '{}'),
			   ('bedrock', 'https://bedrock-runtime.eu-west-1.amazonaws.com', '{"region": "eu-west-1"}'),
			   ('http', 'https://t-injection.example/score', '{"answer_paths": {"score": "$.score"}, "thresholds": {"review": 0.3, "decline": 0.7}}'))
	   AS p (protocol, endpoint, options);

-- The SQLSTATE of an update, '' when it is accepted; it does not happen.
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	EXECUTE statement;
	RAISE EXCEPTION USING ERRCODE = 'ZZZZZ';
EXCEPTION WHEN OTHERS THEN
	RETURN CASE SQLSTATE WHEN 'ZZZZZ' THEN '' ELSE SQLSTATE END;
END$$;

CREATE TEMP TABLE hostile AS
SELECT name, character, shape
  FROM (VALUES ('CR', E'\r'), ('LF', E'\n'), ('CRLF', E'\r\nX-Evil: 1\r\n'), ('CRLF twice', E'\r\n\r\nGET / HTTP/1.1\r\n'), ('tab', E'\t'),
		('space', ' '), ('vertical tab', E'\x0b'), ('DEL', E'\x7f'), ('NEL', U&'\0085'), ('no-break space', U&'\00a0'),
		('line separator', U&'\2028'), ('paragraph separator', U&'\2029')) AS c (name, character),
	   unnest(ARRAY['%2$s%1$s', '%1$s%2$s', '%1$s%2$sz']) AS shape;

-- What is there, which is accepted, and the same with something hostile.
CREATE TEMP TABLE paths AS
SELECT a.name AS agent, p.path, p.value, p.statement
  FROM agentpay.agents a
 CROSS JOIN LATERAL (VALUES
	('endpoint', a.endpoint, format('UPDATE agentpay.agents SET endpoint = %%L WHERE name = %L', a.name)),
	('model', a.model, format('UPDATE agentpay.agents SET model = %%L WHERE name = %L', a.name)),
	('secret', 'file:/etc/key', format('UPDATE agentpay.agents SET secret = %%L WHERE name = %L', a.name)),
	('cost_center', a.cost_center, format('UPDATE agentpay.agents SET cost_center = %%L WHERE name = %L', a.name)))
	AS p (path, value, statement)
 WHERE a.point = 't_injection'
UNION ALL SELECT '', 'origin', 'https://t-injection2.example', 'INSERT INTO agentpay.allowed_endpoints (origin) VALUES (%L)'
UNION ALL SELECT 't_openai', 'options.reasoning_effort', 'low',
	$$UPDATE agentpay.agents SET options = jsonb_build_object('reasoning_effort', %L::text) WHERE name = 't_openai'$$
UNION ALL SELECT 't_bedrock', 'options.region', 'eu-west-1',
	$$UPDATE agentpay.agents SET options = jsonb_build_object('region', %L::text) WHERE name = 't_bedrock'$$
UNION ALL SELECT 't_openai', 'name', 't_other',
	$$INSERT INTO agentpay.agents SELECT (jsonb_populate_record(a, jsonb_build_object('name', %L::text))).* FROM agentpay.agents a WHERE name = 't_openai'$$;
\o

SELECT plan(4);
SELECT is((SELECT count(*) FROM paths), 20::bigint, 'four texts of four protocols, and four more');
SELECT is_empty($$
	SELECT agent, path, pg_temp.try(format(statement, value)) FROM paths WHERE pg_temp.try(format(statement, value)) <> ''
	$$, 'without anything hostile each is accepted');
SELECT is_empty($$
	SELECT p.agent, p.path, h.name, h.shape FROM paths p, hostile h
	 WHERE pg_temp.try(format(p.statement, format(h.shape, p.value, h.character))) NOT IN ('22023', '23514')
	$$, 'with it none is');
-- "#", "?", "\" and "@" begin something else than what was checked
SELECT is_empty($$
	SELECT a.name, e.url, pg_temp.try(format('UPDATE agentpay.agents SET endpoint = %L WHERE name = %L', e.url, a.name))
	  FROM agentpay.agents a, unnest(ARRAY['https://t-injection.example?x', 'https://t-injection.example#x', 'https://t-injection.example\x',
		'https://t-injection.example@evil.example', 'https://evil.example@t-injection.example', 'https://t-injection.example:443:80',
		'file:///etc/passwd', 'gopher://t-injection.example', '//t-injection.example', 'https:t-injection.example', 'HTTPS://t-injection.example']) AS e (url)
	 WHERE a.point = 't_injection'
	   AND pg_temp.try(format('UPDATE agentpay.agents SET endpoint = %L WHERE name = %L', e.url, a.name)) NOT IN ('22023', '42501')
	$$, 'nor an endpoint that could be read in two ways, or of another scheme');
SELECT * FROM finish();
ROLLBACK;
