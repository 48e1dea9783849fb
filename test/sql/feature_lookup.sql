-- Lookups: what the row of another table says.  Answers are compared with what
-- plain SQL says about the same rows, or follow from the few rows that are
-- written out.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA t_lookup;
SET search_path = t_lookup;
CREATE VIEW seen AS
	SELECT row_id::bigint AS id, verdict, reasons, inputs, detail FROM agentpay.decisions
	 WHERE kind = 'rules' AND point = 't_lookup';

-- ── a settlement and its authorisation ──────────────────────────────────────
CREATE TYPE channel AS ENUM ('pos', 'web');
CREATE DOMAIN euros AS numeric(12,2) CHECK (VALUE >= 0);
CREATE TABLE auths (auth_id bigint PRIMARY KEY, made timestamptz, amount euros, currency char(3), captured boolean, channel channel,
	tags text[], doc jsonb, holder text, gone text);
CREATE TABLE settlements (id bigint PRIMARY KEY, auth_id int, at timestamptz NOT NULL, amount numeric, currency text, outcome text);
SELECT agentpay.attach('settlements', 't_lookup', 'reconciliation', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, kind, from_table, key, value, filter, default_value) VALUES
	('t_lookup', 'auth_amount',   'lookup', 'auths', '{auth_id}', 'amount', NULL, NULL),
	('t_lookup', 'auth_currency', 'lookup', 'auths', '{auth_id}', 'currency', NULL, '---'),
	('t_lookup', 'auth_made',     'lookup', 'auths', '{auth_id}', 'made', NULL, '1970-01-01'),
	('t_lookup', 'auth_captured', 'lookup', 'auths', '{auth_id}', 'captured AND amount > 5', NULL, 'false'),
	('t_lookup', 'auth_channel',  'lookup', 'auths', '{auth_id}', 'channel', NULL, 'web'),
	('t_lookup', 'auth_tags',     'lookup', 'auths', '{auth_id}', 'tags', NULL, '{none}'),
	('t_lookup', 'auth_doc',      'lookup', 'auths', '{auth_id}', 'doc', NULL, NULL),
	('t_lookup', 'auth_euros',    'lookup', 'auths', '{auth_id}', 'amount', 'currency = ''EUR''', NULL),
	('t_lookup', 'auth_holder',   'lookup', 'auths', '{auth_id}', 'holder', NULL, NULL);
-- each is of its value's type: rules are checked with that
SELECT f.name, f.from_time, agentpay._feature_type(f) FROM agentpay.features f WHERE point = 't_lookup' ORDER BY name COLLATE "C";
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_lookup', 'WRONG', 'auth_currency > 5', 1);
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_lookup', 'WRONG', 'auth_amount', 1);
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_lookup', 'AMOUNT',   'auth_amount IS NULL OR abs(auth_amount - amount) > 0.01', 100),
	('t_lookup', 'CURRENCY', 'auth_currency <> currency', 100),
	('t_lookup', 'EARLY',    'at < auth_made - interval ''1 minute''', 100),
	('t_lookup', 'OPEN',     'NOT auth_captured', 100),
	('t_lookup', 'WEB',      'auth_channel = ''web''', 0),
	('t_lookup', 'TAGGED',   '''x'' = ANY (auth_tags)', 0),
	('t_lookup', 'DOC',      'auth_doc->>''k'' = ''v'' OR auth_euros > 0 OR auth_holder IS NULL', 0);
SELECT agentpay.activate('t_lookup');
INSERT INTO auths VALUES
	(1, '2026-01-01 10:00', 10.00, 'EUR', true, 'pos', '{x,y}', '{"k": "v"}', 'A'),
	(2, '2026-01-01 10:00', 20.00, 'USD', NULL, 'web', NULL, NULL, NULL),
	(3, '2026-01-01 10:00', 3, 'USD', true, NULL, '{}', '[]', 'C');
INSERT INTO settlements VALUES (1, 1, '2026-01-02', 10, 'EUR'), (2, 2, '2026-01-01', 20.02, 'EUR'), (3, 3, '2026-01-02', 3.01, 'USD'),
	(4, 99, '2026-01-02', 4, 'EUR'), (5, NULL, '2026-01-02', 5, 'EUR') RETURNING id, outcome;
SELECT id, reasons, inputs - '{id,at,amount,currency}'::text[] AS looked_up, detail FROM seen ORDER BY id;
-- what it would be is what it is
SELECT item, name, value, matched, error FROM agentpay.evaluate('t_lookup',
	'{"id": 9, "auth_id": 2, "at": "2026-01-01", "amount": 20.02, "currency": "EUR"}') WHERE item IN ('feature', 'verdict');

-- this transaction's own rows: of the statement, of a savepoint that stays,
-- not of one that is rolled back; and as it left them
WITH a AS (INSERT INTO auths VALUES (11, '2026-01-01', 11, 'EUR', true) RETURNING *)
INSERT INTO settlements SELECT 11, auth_id, '2026-01-02', amount, 'EUR' FROM a RETURNING id, outcome;
BEGIN;
SAVEPOINT s;
INSERT INTO auths VALUES (12, '2026-01-01', 12, 'EUR', true);
INSERT INTO settlements VALUES (12, 12, '2026-01-02', 12, 'EUR') RETURNING id, outcome;
UPDATE auths SET amount = 12.5 WHERE auth_id = 12;
INSERT INTO settlements VALUES (13, 12, '2026-01-02', 12, 'EUR');
ROLLBACK TO s;
INSERT INTO settlements VALUES (14, 12, '2026-01-02', 12, 'EUR');
DELETE FROM auths WHERE auth_id = 3;
INSERT INTO settlements VALUES (15, 3, '2026-01-02', 3, 'USD');
ROLLBACK TO s;
INSERT INTO settlements VALUES (16, 3, '2026-01-02', 3, 'USD');
COMMIT;
SELECT id, inputs->'auth_amount' AS auth_amount FROM seen WHERE id BETWEEN 11 AND 19 ORDER BY id;

-- a long text that is stored out of line outlives its row
INSERT INTO auths VALUES (21, '2026-01-01', 21, 'EUR', true, NULL, NULL, NULL, (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1000) g));
INSERT INTO settlements VALUES (21, 21, '2026-01-02', 21, 'EUR');
SELECT inputs->>'auth_holder' = (SELECT string_agg(md5(g::text), '') FROM generate_series(1, 1000) g) AS whole FROM seen WHERE id = 21;

-- ── policies ────────────────────────────────────────────────────────────────
SELECT object, problem, fix FROM agentpay.advice WHERE object_kind = 'column' AND object = 't_lookup.auths.holder';
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment, options) VALUES
	('auths', 'holder', 'pii', 'mask', '{"keep_last": 2}'), ('auths', 'amount', 'financial', 'drop', '{}');
INSERT INTO auths VALUES (31, '2026-01-01', 31, 'EUR', true, NULL, NULL, NULL, 'Ada Lovelace');
INSERT INTO settlements VALUES (31, 31, '2026-01-02', 31, 'EUR') RETURNING outcome;
-- captured AND amount > 5 is of amount, too
SELECT inputs->>'auth_holder' AS holder, inputs->'auth_amount' AS amount, inputs->'auth_captured' AS captured, inputs->'auth_made' AS made
  FROM seen WHERE id = 31;
DELETE FROM agentpay.data_policies WHERE table_name = 'auths'::regclass;
-- free text is scanned whatever its policy
UPDATE auths SET holder = 'card 4111 1111 1111 1111' WHERE auth_id = 31;
INSERT INTO settlements VALUES (32, 31, '2026-01-02', 31, 'EUR');
SELECT inputs->>'auth_holder' AS holder FROM seen WHERE id = 32;

-- ── the latest of several ───────────────────────────────────────────────────
-- prices of three time types in three tables, one of them in partitions, with
-- integer and bigint, varchar and text as keys
CREATE TABLE rates (id int, ccy text, made timestamptz, rate numeric, ok boolean) PARTITION BY RANGE (made);
CREATE TABLE rates_1 PARTITION OF rates FOR VALUES FROM (MINVALUE) TO ('2026-03-15');
CREATE TABLE rates_2 (ok boolean, rate numeric, junk int, made timestamptz, ccy text, id int);
ALTER TABLE rates_2 DROP junk;
ALTER TABLE rates ATTACH PARTITION rates_2 FOR VALUES FROM ('2026-03-15') TO (MAXVALUE);
CREATE INDEX ON rates (ccy, made DESC);
CREATE TABLE local_rates (shop bigint, ccy text, made timestamp, rate numeric);
CREATE INDEX ON local_rates (ccy, shop, made);
CREATE TABLE day_rates (ccy text, day date, rate float8);
CREATE INDEX ON day_rates (ccy, day);
CREATE TABLE buys (id bigint PRIMARY KEY, ccy varchar(3), shop int, at timestamptz NOT NULL, amount int, outcome text);
CREATE INDEX ON buys (shop, at);
SELECT agentpay.attach('buys', 't_lookup_latest', 'fraud', 'id', 'at', outcome => 'outcome');
UPDATE agentpay.decision_points SET time_zone = 'Europe/Berlin' WHERE point = 't_lookup_latest';
INSERT INTO agentpay.features (point, name, kind, from_table, key, from_time, value, filter) VALUES
	('t_lookup_latest', 'rate',     'lookup', 'rates', '{ccy}', 'made', 'rate', NULL),
	('t_lookup_latest', 'rate_ok',  'lookup', 'rates', '{ccy}', 'made', 'rate * 2', 'ok'),
	('t_lookup_latest', 'local',    'lookup', 'local_rates', '{shop,ccy}', 'made', 'rate', NULL),
	('t_lookup_latest', 'day_rate', 'lookup', 'day_rates', '{ccy}', 'day', 'rate', NULL),
	-- of its own table: who bought there before
	('t_lookup_latest', 'before',   'lookup', 'buys', '{shop}', NULL, 'amount', NULL);
SELECT name, from_time FROM agentpay.features WHERE point = 't_lookup_latest' ORDER BY name COLLATE "C";
INSERT INTO agentpay.rules (point, code, condition)
SELECT 't_lookup_latest', 'READS', string_agg(format('%I IS NULL', name), ' OR ')
  FROM agentpay.features WHERE point = 't_lookup_latest';
SELECT agentpay.activate('t_lookup_latest');
-- no two of one key have the same time (7919 and 104729 are primes), see below
INSERT INTO rates SELECT g, 'C' || g % 7, '2026-03-01'::timestamptz + g * 7919 % 43201 * interval '1 minute',
	g * 104729 % 10007 / 100.0, g * 15485863 % 5 > 1 FROM generate_series(1, 900::bigint) AS g;
INSERT INTO local_rates SELECT g % 3, 'C' || g % 7, '2026-03-01'::timestamp + g * 7919 % 43201 * interval '1 minute', g
  FROM generate_series(1, 900::bigint) AS g;
INSERT INTO day_rates SELECT 'C' || g % 7, '2026-03-01'::date + (g / 7)::int, g / 4.0 FROM generate_series(1, 150::bigint) AS g;
INSERT INTO buys SELECT g, 'C' || g % 9, g % 4, '2026-02-27'::timestamptz + g * 67867967 % 46001 * interval '1 minute', g
  FROM generate_series(1, 500::bigint) AS g ORDER BY g * 7 % 501;
CREATE TABLE expected AS
SELECT b.id, jsonb_build_object(
	'rate',     (SELECT rate FROM rates r WHERE r.ccy = b.ccy AND r.made <= b.at ORDER BY made DESC LIMIT 1),
	'rate_ok',  (SELECT rate * 2 FROM rates r WHERE r.ccy = b.ccy AND r.made <= b.at AND ok ORDER BY made DESC LIMIT 1),
	'local',    (SELECT rate FROM local_rates r WHERE r.ccy = b.ccy AND r.shop = b.shop
		AND r.made AT TIME ZONE 'Europe/Berlin' <= b.at ORDER BY made DESC LIMIT 1),
	'day_rate', (SELECT rate FROM day_rates r WHERE r.ccy = b.ccy
		AND r.day::timestamp AT TIME ZONE 'Europe/Berlin' <= b.at ORDER BY day DESC LIMIT 1),
	-- of those that were inserted earlier
	'before',   (SELECT amount FROM buys o WHERE o.shop = b.shop AND o.at <= b.at AND o.id * 7 % 501 < b.id * 7 % 501
		ORDER BY at DESC LIMIT 1)) AS inputs
  FROM buys b;
SELECT f.name, count(*), count(*) FILTER (WHERE got IS NULL) > 0 AS nulls, count(DISTINCT got) > 50 AS many,
	   count(*) FILTER (WHERE got IS DISTINCT FROM want) AS differ
  FROM expected e JOIN agentpay.decisions d ON d.row_id::bigint = e.id AND d.kind = 'rules' AND d.point = 't_lookup_latest',
	   agentpay.features f, LATERAL (VALUES ((d.inputs->>f.name)::numeric, (e.inputs->>f.name)::numeric)) AS v (got, want)
 WHERE f.point = 't_lookup_latest' GROUP BY f.name ORDER BY f.name COLLATE "C";
SELECT count(DISTINCT (ccy, made)) = count(*) AS no_ties FROM rates;
SELECT count(DISTINCT (shop, at)) = count(*) AS no_ties FROM buys;

-- ── models, agents ──────────────────────────────────────────────────────────
INSERT INTO agentpay.features (point, name, kind, from_table, key, from_time, value) VALUES
	('t_lookup_latest', 'good', 'lookup', 'rates', '{ccy}', 'made', 'ok'), ('t_lookup_latest', 'word', 'lookup', 'rates', '{ccy}', 'made', 'ccy');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_lookup_ok',  'logistic', '{rate,good}', '{"intercept": 0, "coefficients": [0.01, 1], "mean": [0, 0], "scale": [1, 1]}'),
	('t_lookup_bad', 'logistic', '{word}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_lookup_latest', 'BAD', 'model(''t_lookup_bad'') > 0.5');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage) VALUES
	('t_lookup_agent', 't_lookup_latest', 'builtin', 't_lookup_bad', 'true', 'shadow');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_lookup_latest', 'MODEL', 'model(''t_lookup_ok'') > 0.5', 1);
SELECT agentpay.activate('t_lookup_latest');
INSERT INTO rates (id, ccy, made, rate, ok) VALUES (2001, 'Z', '2026-06-01', 12, true), (2002, 'Y', '2026-06-01', 12, false), (2003, 'X', '2026-06-01', NULL, true);
INSERT INTO buys VALUES (2001, 'Z', 1, '2026-06-02', 1), (2002, 'Y', 1, '2026-06-02', 1), (2003, 'X', 1, '2026-06-02', 1);
-- 1 / (1 + exp(-(0.01 * rate + good))); a missing input counts as its mean, 0
SELECT row_id, inputs->'rate' AS rate, inputs->'good' AS good,
	   abs((inputs->>'model(t_lookup_ok)')::float8 - 1 / (1 + exp(-(CASE row_id WHEN '2001' THEN 1.12 WHEN '2002' THEN 0.12 ELSE 1 END)))) < 1e-15 AS right
  FROM agentpay.decisions WHERE point = 't_lookup_latest' AND row_id::bigint > 2000 ORDER BY row_id;
-- a field needs the policy of the column that it comes from, in that table
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('http://127.0.0.1:9') ON CONFLICT DO NOTHING;
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, invoke_when, fields, price_input_per_million, price_output_per_million) VALUES
	('t_lookup_llm', 't_lookup_latest', 'openai', 'http://127.0.0.1:9', 'm', 'good AND word = ''Z'' AND rate > 5', '{rate,word}', 1, 1);
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES ('rates', 'rate', 'financial', 'pass'), ('rates', 'ccy', 'pii', 'mask');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, invoke_when, fields, price_input_per_million, price_output_per_million) VALUES
	('t_lookup_llm', 't_lookup_latest', 'openai', 'http://127.0.0.1:9', 'm', 'good AND rate > 5', '{rate,word}', 1, 1);
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('t_lookup_h', 'agent', 't_lookup_llm', 'hour', 1), ('t_lookup_t', 'agent', 't_lookup_llm', 'transaction', 1);
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 't_lookup_llm';
INSERT INTO buys VALUES (2011, 'Z', 1, '2026-06-02', 1), (2012, 'Y', 1, '2026-06-02', 1);
SELECT row_id, inputs->'word' AS word, (SELECT invoked FROM agentpay.preview_call('t_lookup_llm', row_id)) AS invoked,
	   (SELECT why FROM agentpay.preview_call('t_lookup_llm', row_id)) AS why,
	   (SELECT request->'messages'->-1->>'content' FROM agentpay.preview_call('t_lookup_llm', row_id)) LIKE '%"rate": 12%' AS sent
  FROM agentpay.decisions WHERE point = 't_lookup_latest' AND kind = 'rules' AND row_id IN ('2011', '2012') ORDER BY row_id;
SELECT row_id, agent FROM agentpay.tasks WHERE point = 't_lookup_latest' AND row_id IN ('2011', '2012') ORDER BY row_id;
UPDATE agentpay.agents SET enabled = false WHERE name = 't_lookup_llm';

-- ── what changes under it ───────────────────────────────────────────────────
-- the key is no longer unique, and is again
ALTER TABLE auths DROP CONSTRAINT auths_pkey;
INSERT INTO settlements VALUES (41, 1, '2026-01-02', 10, 'EUR');
SELECT verdict, detail->'errors'->'auth_amount'->>'message' AS error FROM seen WHERE id = 41;
SELECT problem, fix FROM agentpay.advice WHERE object = 't_lookup.auth_amount';
ALTER TABLE auths ADD UNIQUE (auth_id) DEFERRABLE;
SELECT count(*) FROM agentpay.advice WHERE object = 't_lookup.auth_amount';
CREATE UNIQUE INDEX ON auths (auth_id) WHERE captured;
CREATE UNIQUE INDEX ON auths (auth_id, made);
INSERT INTO settlements VALUES (42, 1, '2026-01-02', 10, 'EUR');
SELECT verdict, detail->'errors' ? 'auth_amount' AS failed FROM seen WHERE id = 42;
CREATE UNIQUE INDEX ON auths (auth_id) INCLUDE (amount);
INSERT INTO settlements VALUES (43, 1, '2026-01-02', 10, 'EUR');
SELECT verdict, detail FROM seen WHERE id = 43;
-- a column goes, and comes back
ALTER TABLE auths RENAME holder TO gone_holder;
INSERT INTO settlements VALUES (46, 1, '2026-01-02', 10, 'EUR');
SELECT verdict, detail->'errors' AS errors FROM seen WHERE id = 46;
ALTER TABLE auths RENAME gone_holder TO holder;
INSERT INTO settlements VALUES (47, 1, '2026-01-02', 10, 'EUR');
SELECT verdict, detail FROM seen WHERE id = 47;
-- another type of the column: rules that still fit go on, others are in error
DROP INDEX auths_auth_id_idx;
ALTER TABLE auths ALTER made TYPE timestamp USING made AT TIME ZONE 'UTC', ALTER captured TYPE text;
INSERT INTO settlements VALUES (44, 1, '2026-01-02', 10, 'EUR');
SELECT verdict, reasons, inputs->'auth_made' AS made, detail->'errors' AS errors FROM seen WHERE id = 44;
SELECT object, problem FROM agentpay.advice WHERE object_kind = 'rule' AND object LIKE 't\_lookup.1.%' ORDER BY object COLLATE "C";
-- the table goes
DROP TABLE auths;
INSERT INTO settlements VALUES (45, 1, '2026-01-02', 10, 'EUR') RETURNING outcome;
SELECT verdict, detail->'errors'->'AMOUNT'->>'message' AS error FROM seen WHERE id = 45;
SELECT DISTINCT problem FROM agentpay.advice WHERE object LIKE 't\_lookup.auth\_%';

-- ── what is refused ─────────────────────────────────────────────────────────
CREATE FUNCTION try(columns text, "values" text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE format('INSERT INTO agentpay.features (point, name, kind, key, %s) VALUES (''t_lookup_latest'', ''f'', ''lookup'', ''{ccy}'', %s)', columns, "values");
	RETURN NEXT 'written';
	DELETE FROM agentpay.features WHERE point = 't_lookup_latest' AND name = 'f';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT state || ' ' || message;
	RETURN NEXT '  ' || detail;
	RETURN NEXT '  ' || hint;
END$$;
CREATE TABLE plain (ccy text, rate numeric, made timestamptz, "odd Name" text);
CREATE TABLE by_time (ccy text, made timestamptz, rate numeric) PARTITION BY RANGE (made);
SELECT try('value', '''rate''');
SELECT try('from_table', '''t_lookup.plain''');
SELECT try('from_table, value, aggregate', '''t_lookup.plain'', ''rate'', ''sum''');
SELECT try('from_table, value, over', '''t_lookup.plain'', ''rate'', ''1 day''');
SELECT try('from_table, value, delay', '''t_lookup.plain'', ''rate'', ''1 day''');
SELECT try('from_table, value', '''t_lookup.plain'', ''rate''');
SELECT try('from_table, value, from_key', '''t_lookup.plain'', ''rate'', ''{"odd Name"}''');
SELECT try('from_table, value', '''t_lookup.by_time'', ''rate''');
SELECT try('from_table, value, from_time', '''t_lookup.plain'', ''rate'', ''made''');
SELECT try('from_table, value', '''agentpay.outcomes'', ''label''');
SELECT try('from_table, value', '''agentpay.decisions'', ''verdict''');
CREATE UNIQUE INDEX ON plain (ccy);
SELECT try('from_table, value', '''t_lookup.plain'', ''rat''');
SELECT try('from_table, value', '''t_lookup.plain'', ''ctid''');
SELECT try('from_table, value', '''t_lookup.plain'', ''before + 1''');
SELECT try('from_table, value, filter', '''t_lookup.plain'', ''rate'', ''rate''');
SELECT try('from_table, value, default_value', '''t_lookup.plain'', ''rate'', ''none''');
SELECT try('from_table, value, default_value', '''t_lookup.plain'', ''made'', ''now''');
SELECT try('from_table, value, default_value', '''t_lookup.plain'', ''rate'', ''0''');
SELECT try('from_table, value, default_value', '''t_lookup.plain'', ''ccy'', ''it''''s \ odd''');
-- from_time given: by the time, whatever is unique
SELECT try('from_table, value, from_time', '''t_lookup.plain'', ''rate'', ''made''');
CREATE ROLE regress_t_lookup;
ALTER TABLE plain OWNER TO regress_t_lookup;
GRANT USAGE, CREATE ON SCHEMA t_lookup TO regress_t_lookup;
ALTER TABLE buys OWNER TO regress_t_lookup;
REVOKE ALL ON plain FROM regress_t_lookup;
SELECT try('from_table, value', '''t_lookup.plain'', ''rate''');
ALTER TABLE buys OWNER TO CURRENT_USER;
-- what reads it was checked with its type
UPDATE agentpay.features SET value = 'ccy' WHERE point = 't_lookup_latest' AND name = 'rate';
UPDATE agentpay.features SET value = 'rate + 1' WHERE point = 't_lookup_latest' AND name = 'rate';
UPDATE agentpay.features SET kind = 'since_last', value = NULL WHERE point = 't_lookup_latest' AND name = 'good';
UPDATE agentpay.features SET value = 'id' WHERE point = 't_lookup_latest' AND name = 'word';
DELETE FROM agentpay.features WHERE point = 't_lookup_latest' AND name = 'rate';

-- functions in its expressions run as the table's owner
SET agentpay.expression_schemas = 't_lookup';
CREATE FUNCTION who(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT current_user || $1';
ALTER TABLE plain OWNER TO CURRENT_USER;
INSERT INTO plain VALUES ('Z', 7);
INSERT INTO agentpay.features (point, name, kind, from_table, key, value, default_value) VALUES
	('t_lookup_latest', 'owner', 'lookup', 'plain', '{ccy}', 't_lookup.who(ccy)', 'nobody');
ALTER TABLE plain OWNER TO regress_t_lookup;
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_lookup_latest', 'OWNER', 'owner = ''regress_t_lookupZ''');
SELECT agentpay.activate('t_lookup_latest');
INSERT INTO buys VALUES (3001, 'Z', 1, '2026-06-02', 1), (3002, 'A', 1, '2026-06-02', 1);
SELECT row_id, inputs->'owner' AS owner, reasons @> '{OWNER}' AS matched, detail->'errors' AS errors
  FROM agentpay.decisions WHERE point = 't_lookup_latest' AND row_id::bigint > 3000 AND kind = 'rules' ORDER BY row_id;

SELECT agentpay.detach('t_lookup'), agentpay.detach('t_lookup_latest');
DROP SCHEMA t_lookup CASCADE;
DROP ROLE regress_t_lookup;
