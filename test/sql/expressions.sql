-- What rules, features and invoke_when may say, what is refused and where, and
-- that neither the session's settings nor its objects change what they mean.
\set VERBOSITY terse
\set SHOW_CONTEXT never
\pset format unaligned
\pset tuples_only on
SET client_min_messages = error;
CREATE SCHEMA t_expressions;
SET search_path = t_expressions;
CREATE TYPE mood AS ENUM ('calm', 'angry');
CREATE FUNCTION checked(numeric) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	IF $1 = 13 THEN
		RAISE EXCEPTION 'the check of a domain ran as %', current_user;
	END IF;
	RETURN true;
END$$;
CREATE DOMAIN money_amount AS numeric CHECK (checked(value));
CREATE TABLE payments (
	payment_id bigint PRIMARY KEY,
	gone text,
	created_at timestamptz NOT NULL DEFAULT '2026-03-01 12:00+00',
	booked date,
	amount money_amount,
	quantity int,
	ratio double precision,
	currency varchar(3),
	country text,
	card text,
	source inet,
	device uuid,
	meta jsonb,
	tags text[],
	feeling mood,
	total numeric GENERATED ALWAYS AS (amount * 2) STORED,
	place point,
	note xml,
	parts money_amount[],
	outcome text,
	score numeric,
	reasons text[]);
ALTER TABLE payments DROP COLUMN gone;
CREATE INDEX ON payments (card, created_at);
SELECT agentpay.attach('payments', point => 't_expressions', role => 'fraud', id => 'payment_id',
	occurred_at => 'created_at', amount => 'amount', currency => 'currency',
	outcome => 'outcome', score => 'score', reasons => 'reasons');
INSERT INTO agentpay.lists (name) VALUES ('t_expressions_blocked');
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_expressions_blocked', 'card-9');
INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES
	('t_expressions', 'card_count_1h', '{card}', 'count', '1 hour');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_expressions_model', 'logistic', '{amount,card_count_1h}',
	 '{"intercept": 0, "coefficients": [0.001, 0.5], "mean": [0, 0], "scale": [1, 1]}'),
	('t_expressions_other', 'logistic', '{horsepower}',
	 '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');

-- The columns and features that an expression reads, or the error.
CREATE FUNCTION reads(expression text, expression_type text DEFAULT 'boolean',
	usage text DEFAULT 'rule') RETURNS text[] LANGUAGE sql
	AS $$ SELECT agentpay._check_expression('payments', 't_expressions', expression, expression_type, usage) $$;

-- ── what can be said ────────────────────────────────────────────────────────
SELECT reads('amount > 5000 AND country <> ''DE''');
SELECT reads('payments.amount > 1 AND Payments.AMOUNT < 2');
SELECT reads('card_count_1h >= 3 OR card_count_1h IS NULL');
SELECT reads('in_list(''t_expressions_blocked'', card) OR agentpay.in_list(list => ''t_expressions_blocked'', value => quantity)');
SELECT reads('model(''t_expressions_model'') > 0.9');
SELECT reads('true');
SELECT reads('NULL');
SELECT reads('country IN (''DE'', ''FR'') AND country LIKE ''D%'' AND country ILIKE ''d_'' AND country NOT LIKE ''x!%'' ESCAPE ''!''');
SELECT reads('amount BETWEEN 1 AND 2 AND amount IS DISTINCT FROM 3 AND (ratio > 1) IS NOT TRUE');
SELECT reads('CASE WHEN quantity > 1 THEN amount ELSE coalesce(ratio, nullif(quantity, 0)) END > greatest(1, least(quantity, 2))');
SELECT reads('CASE currency WHEN ''EUR'' THEN true END');
SELECT reads('round(amount, 2) + abs(quantity) % 7 - ceil(ratio) > |/ ratio ^ 2');
SELECT reads('extract(hour FROM created_at) < 6 AND date_trunc(''day'', created_at) < created_at - interval ''1 hour''');
SELECT reads('created_at AT TIME ZONE ''Europe/Berlin'' > ''2026-01-01'' AND created_at > timestamptz ''2026-01-01 00:00 UTC''');
SELECT reads('age(created_at, booked) > ''2 days'' AND booked > ''2026-01-01'' AND booked + 1 > created_at');
SELECT reads('source << ''10.0.0.0/8'' AND host(source) <> ''10.1.1.1'' AND family(source) = 4');
SELECT reads('meta ->> ''browser'' = ''x'' AND meta @> ''{"a": 1}'' AND meta ? ''b'' AND (meta -> ''n'')::numeric > 1 AND meta[''c''] IS NULL');
SELECT reads('''vip'' = ANY (tags) AND tags && ARRAY[''a'', country] AND tags[1] = ''q'' AND cardinality(tags) > 1 AND array_position(tags, ''z'') > 2');
SELECT reads('feeling = ''angry'' AND feeling > ''calm'' AND feeling::text <> ''calm'' AND feeling = ''calm''::t_expressions.mood');
SELECT reads('device = ''00000000-0000-0000-0000-000000000000'' AND device::text LIKE ''0%''');
SELECT reads('lower(card) || upper(left(card, 2)) LIKE substr(card, 1, 3) || ''%'' AND length(trim(card)) > 3 AND split_part(card, ''-'', 2)::int > 7');
SELECT reads('card ~ ''^card-[0-9]+$'' AND card !~* ''x'' AND card SIMILAR TO ''%(a|b)%'' AND regexp_like(card, ''[0-9]'')');
SELECT reads('quantity::text = ''1'' AND ''5''::int < quantity AND amount::double precision::int > 3 AND country::varchar(2) = ''DE''');
SELECT reads('country COLLATE "C" < ''E''');
SELECT reads('(country, currency) = (''DE'', ''EUR'') OR (country, currency) IN ((''DE'', ''EUR''), (''FR'', ''EUR''))');
SELECT reads('num_nulls(country, currency) > 0 AND md5(card) = concat(''a'', quantity, card)');
SELECT reads('quantity = ANY (''{1,2,3}''::int[3]) AND quantity IN (1, 2, 3)');
SELECT reads('make_interval(hours => quantity) > ''1 hour''');
SELECT reads('amount -- in euro' || E'\n' || '> 1');
-- score and verdict are the decision's in invoke_when, whatever columns there are
SELECT reads('score > 50 AND verdict = ''review'' AND amount > 5', 'boolean', 'invoke');
SELECT reads('payments.score > 50', 'boolean', 'invoke');
SELECT reads('score > 50');
-- what a feature's value and filter can be
SELECT reads('amount', 'double precision', 'feature');
SELECT reads('amount > 1 AND country = ''DE''', 'boolean', 'feature');
SELECT reads('card || country', 'any', 'feature');
SELECT reads('''card''', 'any', 'feature');

-- ── names ───────────────────────────────────────────────────────────────────
\set VERBOSITY default
SELECT reads('quantity > 2 AND amout > 5');
SELECT reads('card_count_1 > 5');
SELECT reads('zebra > 5');
SELECT reads('verdict = ''review''');
SELECT reads('country = "DE"');
\set VERBOSITY terse
SELECT reads('other.amount > 5');
SELECT reads('t_expressions.payments.amount > 5');
SELECT reads('card_count_1h', 'any', 'feature');
SELECT reads('in_list(''t_expressions_blocked'', card)', 'boolean', 'feature');
SELECT reads('model(''t_expressions_model'')', 'double precision', 'feature');
SELECT reads('in_list(''nobody'', card)');
SELECT reads('in_list(country, card)');
SELECT reads('in_list(NULL, card)');
SELECT reads('in_list(card)');
SELECT reads('model(''nobody'') > 1');
SELECT reads('model(country) > 1');
SELECT reads('model(''t_expressions_other'') > 1');
SELECT reads('agentpay.attach(''x'', ''y'', ''z'', ''a'', ''b'') IS NULL');
SELECT reads('agentpay.now() IS NULL');
-- generated columns have no value yet in BEFORE; system columns and rows neither
SELECT reads('total > 1');
SELECT reads('quantity > 1 AND ctid IS NOT NULL');
SELECT reads('tableoid = 1');
SELECT reads('payments IS NOT NULL');
SELECT reads('payments.* IS NOT NULL');
SELECT reads('(payments).amount > 1');
SELECT reads('payments.card_count_1h > 1');
SELECT reads('gone IS NULL');
-- a column that came later than a feature of that name
BEGIN;
ALTER TABLE payments ADD COLUMN card_count_1h int;
SELECT reads('payments.card_count_1h > 1');
SELECT reads('card_count_1h', 'any', 'feature');
\set VERBOSITY default
SELECT reads('card_count_1h > 1');
ROLLBACK;
SELECT reads('booked > ''31/12/2025''');
\set VERBOSITY terse

-- ── the result's type ───────────────────────────────────────────────────────
SELECT reads('amount');
SELECT reads('country');
SELECT reads('country = ''DE''', 'double precision', 'feature');
SELECT reads('card', 'double precision', 'feature');
SELECT reads('''maybe''');
SELECT reads('quantity', 'double precision', 'feature');
SELECT reads('amount', 'integer', 'feature');
SELECT reads('amount', 'any', 'view');

-- ── one expression, and no more ─────────────────────────────────────────────
\set VERBOSITY default
SELECT reads('amount > 1 FROM payments');
\set VERBOSITY terse
SELECT reads('');
SELECT reads('   -- nothing');
SELECT reads('amount >');
SELECT reads('amount > 1; DROP TABLE payments');
SELECT reads('amount > 1, true');
SELECT reads('amount > 1 AS large');
SELECT reads('amount > 10 AND');
SELECT reads('amount > 1 UNION SELECT true');
SELECT reads('DISTINCT amount > 1');
SELECT reads('amount > 1 WHERE true');
SELECT reads('amount > 1 GROUP BY 1');
SELECT reads('amount > 1 HAVING true');
SELECT reads('amount > 1 ORDER BY 1');
SELECT reads('amount > 1 LIMIT 1');
SELECT reads('amount > 1 OFFSET 1');
SELECT reads('amount > 1 FOR UPDATE');
SELECT reads('amount > 1 INTO x');
SELECT reads('SELECT amount > 1');
SELECT reads('*');

-- ── what an expression cannot contain ───────────────────────────────────────
\set VERBOSITY default
SELECT reads('amount > 1 AND (SELECT true)');
\set VERBOSITY terse
SELECT reads('EXISTS (SELECT FROM payments)');
SELECT reads('amount > ALL (SELECT 1)');
SELECT reads('amount IN (SELECT 1)');
SELECT reads('ARRAY(SELECT 1) IS NULL');
SELECT reads('count(*) > 1');
SELECT reads('sum(amount) > 1');
SELECT reads('sum(amount) FILTER (WHERE true) > 1');
SELECT reads('sum(amount) OVER () > 1');
SELECT reads('rank() OVER (ORDER BY amount) > 1');
SELECT reads('percentile_cont(0.5) WITHIN GROUP (ORDER BY amount) > 1');
SELECT reads('GROUPING(amount) > 1');
SELECT reads('amount > $1');
SELECT reads('DEFAULT');
SELECT reads('ROW(amount, 1) IS NULL');
SELECT reads('ROW(amount, 1) < ROW(1, 2)');
SELECT reads('xmlelement(name a) IS NULL');
SELECT reads('note IS DOCUMENT');
SELECT reads('place IS NULL');
-- a domain's check is code of its owner, which must not run here
SELECT reads('amount = ''13'' OR coalesce(amount, ''13'') > 13 OR ARRAY[amount, ''13''] IS NULL OR amount = ANY (''{13}'')');
SELECT reads('ARRAY[amount, amount] = ''{13}'' AND array_position(ARRAY[amount], ''13'') = 1 AND nullif(amount, ''13'') = 1');
SELECT reads('parts = ''{13}''');
SELECT reads('''{13}''::t_expressions.money_amount[] IS NULL');
SELECT reads('CURRENT_USER = ''x''');
SELECT reads('created_at > CURRENT_TIMESTAMP');
SELECT reads('booked > CURRENT_DATE - 1');
SELECT reads('generate_series(1, 3) > 1');
SELECT reads('unnest(tags) = ''x''');
SELECT reads('amount::t_expressions.money_amount > 1');
SELECT reads('card::t_expressions.nothing IS NULL');
SELECT reads('card::payments.card%TYPE IS NULL');
SELECT reads('country COLLATE t_expressions.nothing < ''E''');
SELECT reads('amount OPERATOR(t_expressions.+) 1 > 2');
-- the clock, in every disguise
SELECT reads('created_at > now()');
SELECT reads('created_at > clock_timestamp()');
SELECT reads('created_at > ''now''');
SELECT reads('created_at > '' ToDay ''');
SELECT reads('created_at BETWEEN ''yesterday'' AND ''2026-01-01''');
SELECT reads('booked IN (''2026-01-01'', ''tomorrow'')');
SELECT reads('booked = ANY (''{now}'')');
SELECT reads('booked = ANY (ARRAY[''now'']::date[])');
SELECT reads('timestamptz ''now'' < created_at');
SELECT reads('date(''now'') < booked');
SELECT reads('created_at > E''n\157w''');
SELECT reads('coalesce(created_at, ''now'') > ''2026-01-01''');
SELECT reads('age(''now'', created_at) > ''1 day''');
SELECT reads('card::timestamptz > created_at');
SELECT reads('(''n'' || ''ow'')::timestamptz > created_at');
SELECT reads('tags::date[] IS NULL');
SELECT reads('to_timestamp(card, ''YYYY'') > created_at');
SELECT reads('age(created_at) > ''1 day''');
SELECT reads('country = ''now'' AND meta ->> ''when'' = ''today''');
-- what a session's settings would change
SELECT reads('created_at AT TIME ZONE ''IST'' > ''2026-01-01''');
SELECT reads('created_at AT TIME ZONE country > ''2026-01-01''');
SELECT reads('created_at AT TIME ZONE ''Nowhere/City'' > ''2026-01-01''');
SELECT reads('date_trunc(''day'', created_at, ''EST'') > ''2026-01-01''');
SELECT reads('to_char(created_at, ''TMDay'') = ''Montag''');
SELECT reads('current_setting(''timezone'') = ''UTC''');
-- side effects, other tables, the operating system
SELECT reads('pg_sleep(1) IS NULL');
SELECT reads('random() < 0.5');
SELECT reads('nextval(''s'') > 1');
SELECT reads('set_config(''a.b'', ''c'', false) = ''c''');
SELECT reads('pg_advisory_lock(1) IS NULL');
SELECT reads('pg_terminate_backend(1)');
SELECT reads('pg_read_file(''/etc/passwd'') = ''''');
SELECT reads('lo_import(''/etc/passwd'') = 1');
SELECT reads('txid_current() > 1');
SELECT reads('gen_random_uuid() = device');
SELECT reads('query_to_xml(''DELETE FROM payments'', true, true, '''') IS NULL');
SELECT reads('table_to_xml(''payments'', true, true, '''') IS NULL');
SELECT reads('ts_rewrite(to_tsquery(''a''), ''DELETE FROM payments'') IS NULL');
SELECT reads('ts_rewrite(''a''::tsquery, ''DELETE FROM payments'') IS NULL');
SELECT reads('''pg_class''::regclass IS NULL');
SELECT reads('has_table_privilege(''payments'', ''select'')');
SELECT reads('textin(''a'') = ''a''');
SELECT reads('int4pl(1, 2) = 3');
SELECT reads('pg_catalog.texteq(card, ''a'')');
-- memory and time out of proportion
SELECT reads('repeat(''x'', 1000000000) = ''''');
SELECT reads('lpad(card, 1000000000) = ''''');
SELECT reads('replace(card, ''a'', card) = ''''');
SELECT reads('concat_ws(card, card, card) = ''''');
SELECT reads('array_to_string(tags, card) = ''''');
SELECT reads('tags::text = ''''');
SELECT reads('quote_literal(card) = ''''');
SELECT reads('to_jsonb(card) IS NULL');
SELECT reads('format(''%1000000000s'', card) = ''''');
SELECT reads('regexp_replace(card, ''a'', ''b'') = ''''');
SELECT reads('array_fill(1, ARRAY[100000000]) IS NULL');
SELECT reads('card::char(1000000) = ''''');
SELECT reads('amount ^ 2 > 1');
SELECT reads('power(amount, 2) > 1');
SELECT reads('exp(amount) > 1');
SELECT reads('factorial(30000) > 1');
SELECT reads('gcd(amount, 3) > 1');
SELECT reads('card ~ country');
SELECT reads('card ~ (''a'' || country)');
SELECT reads('card ~ ANY (''{a,b}'')');
SELECT reads('card ~ ''(a+)\1''');
SELECT reads('card ~ ''[a''');
SELECT reads('card ~ ''' || repeat('a', 501) || '''');
SELECT reads('regexp_like(card, country)');
SELECT reads('substring(card FROM ''a+'') = ''a''');
-- too deep and too long
SELECT reads(repeat('(', 9000) || 'true' || repeat(')', 9000));
SELECT reads(repeat('(', 200) || 'true' || repeat(')', 200));
SELECT reads(repeat('NOT ', 4000) || 'true');
SELECT reads(repeat('- ', 9000) || 'quantity > 1');
SELECT reads('quantity' || repeat(' + 1', 1000) || ' > 1');
SELECT reads('card = ' || quote_literal(repeat('(', 1000)));
SELECT reads('true' || repeat(' OR quantity = 1', 1000));
SELECT reads(repeat('CASE WHEN true THEN ', 900) || 'true' || repeat(' END', 900));
SELECT reads('card = ' || quote_literal(repeat('x', 20000)));
-- constants are folded when the rule is written
SELECT reads('1 / 0 > 1');
SELECT reads('quantity > 1 AND amount > 1 / 0');
SELECT reads('''abc''::int > 1');
SELECT reads('feeling = ''mad''');
SELECT reads('source << ''999.0.0.0/8''');

-- ── whose objects ───────────────────────────────────────────────────────────
-- in the search_path and in the temporary schema: none of these is ever found
CREATE FUNCTION trap(anyelement, anyelement) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'trapped';
END$$;
CREATE FUNCTION lower(varchar) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'trapped';
END$$;
CREATE FUNCTION pg_temp.upper(varchar) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'trapped';
END$$;
CREATE FUNCTION in_list(text, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'trapped';
END$$;
CREATE FUNCTION pg_temp.trap(varchar, text) RETURNS boolean LANGUAGE plpgsql AS $$
BEGIN
	RAISE EXCEPTION 'trapped';
END$$;
CREATE OPERATOR = (FUNCTION = trap, LEFTARG = anyelement, RIGHTARG = anyelement);
CREATE OPERATOR pg_temp.<> (FUNCTION = pg_temp.trap, LEFTARG = varchar, RIGHTARG = text);
CREATE TYPE pg_temp.text AS ENUM ('trapped');
CREATE TYPE pg_temp.trapped AS ENUM ('trapped');
CREATE TEMP TABLE decoy (a int);
SET search_path = pg_temp, t_expressions, pg_catalog;
SELECT reads('lower(currency) = upper(currency) OR currency <> card::text OR in_list(''t_expressions_blocked'', card)');
SELECT reads('trap(1, 2)');
SELECT reads('t_expressions.trap(1, 2)');
SELECT reads('pg_temp.trap(currency, card)');
SELECT reads('currency OPERATOR(pg_temp.<>) card');
SELECT reads('feeling = ''calm''::mood');
SELECT reads('''trapped''::trapped IS NULL');
SELECT reads('''trapped''::pg_temp.text IS NULL');
-- a cast that somebody made between types that can be used
SET search_path = t_expressions;
DROP TYPE pg_temp.text;
CREATE FUNCTION calm_down(mood) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE CAST (mood AS int) WITH FUNCTION calm_down(mood) AS IMPLICIT;
SELECT reads('quantity > feeling::int');
DROP CAST (mood AS int);

-- functions of schemas that the owner of the cluster names
CREATE SCHEMA t_expressions_ext;
CREATE ROLE t_expressions_owner;
CREATE ROLE t_expressions_writer;
GRANT USAGE ON SCHEMA t_expressions TO t_expressions_writer;
GRANT CREATE, USAGE ON SCHEMA t_expressions TO t_expressions_owner;
ALTER TABLE payments OWNER TO t_expressions_owner;
GRANT INSERT, SELECT ON payments TO t_expressions_writer;
CREATE FUNCTION t_expressions_ext.caller(amount numeric) RETURNS text LANGUAGE sql STABLE
	AS $$ SELECT current_user || ' ' || current_setting('search_path') || ' ' || current_setting('TimeZone') $$;
CREATE FUNCTION t_expressions_ext.limit_of(amount numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 100';
CREATE FUNCTION t_expressions_ext.unsure(amount numeric) RETURNS int LANGUAGE sql VOLATILE AS 'SELECT 1';
CREATE FUNCTION t_expressions_ext.many(amount numeric) RETURNS SETOF int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
CREATE FUNCTION t_expressions_ext.hidden(amount numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
REVOKE ALL ON FUNCTION t_expressions_ext.hidden FROM PUBLIC;
CREATE FUNCTION t_expressions_ext.whole(row_of payments) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 1';
SELECT reads('t_expressions_ext.limit_of(amount) > 1');
SET agentpay.expression_schemas = 't_expressions_ext, pg_temp, pg_catalog';
SELECT reads('t_expressions_ext.limit_of(amount) > 1');
SELECT reads('t_expressions_ext.caller(amount) = card');
SELECT reads(format('%I.t_expressions_ext.limit_of(amount) > 1', current_database()));
SELECT reads(format('%I.pg_catalog.pg_sleep(amount) IS NULL', current_database()));
\set VERBOSITY default
SELECT reads('t_expressions.checked(amount)');
\set VERBOSITY terse
SELECT reads('t_expressions_ext.unsure(amount) > 1');
SELECT reads('t_expressions_ext.many(amount) > 1');
SELECT reads('t_expressions_ext.hidden(amount) > 1');
SELECT reads('t_expressions_ext.whole(''(1)'') > 1');
SELECT reads('t_expressions_ext.nothing(amount) > 1');
SELECT reads('pg_temp.trap(currency, card)');
SELECT reads('pg_sleep(1) IS NULL');
SELECT reads('t_expressions_ext.limit_of(1) / 0 > 1');

-- ── in rules ────────────────────────────────────────────────────────────────
\set VERBOSITY default
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_expressions', 'BAD', 'amount > 1 AND amout > 2', 1);
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_expressions', 'bad', '{card}', 'sum', 'amount + pg_sleep(1)', '1 hour');
\set VERBOSITY terse
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_expressions', 'BERLIN', 'extract(hour FROM created_at) = 13 AND created_at::text = ''2026-03-01 13:00:00+01''', 1),
	('t_expressions', 'ISO', '(created_at - interval ''36 hours 5 minutes'')::date = ''2026-02-28'' AND ''2026-02-01''::date::text = ''2026-02-01''', 1),
	('t_expressions', 'DIGITS', '(ratio / 3)::text = ''0.3333333333333333''', 1),
	('t_expressions', 'NULLS', 'meta = NULL', 1),
	('t_expressions', 'BLOCKED', 'in_list(''t_expressions_blocked'', card)', 1),
	('t_expressions', 'AGAIN', 'card_count_1h >= 2', 1),
	('t_expressions', 'OWNER', 't_expressions_ext.caller(amount) = ''t_expressions_owner pg_catalog, pg_temp Europe/Berlin''', 1),
	('t_expressions', 'LIMIT', 'amount > t_expressions_ext.limit_of(amount)', 1),
	('t_expressions', 'SHARE', '100 / quantity > 20', 1),
	('t_expressions', 'FEELING', 'feeling = ''angry'' AND ''vip'' = ANY (tags) AND meta ->> ''a'' = ''1''', 1),
	('t_expressions', 'UNKNOWN', 'country > ''A''', 1);
UPDATE agentpay.decision_points SET time_zone = 'Europe/Berlin' WHERE point = 't_expressions';
SELECT agentpay.activate('t_expressions', 1);

-- as somebody who may insert and nothing else, with every setting turned
SET ROLE t_expressions_writer;
SET search_path = pg_temp, t_expressions, pg_catalog;
SET timezone = 'Asia/Tokyo';
SET datestyle = 'SQL, DMY';
SET intervalstyle = 'iso_8601';
SET extra_float_digits = -10;
SET transform_null_equals = on;
SET standard_conforming_strings = off;
SET escape_string_warning = off;
SET timezone_abbreviations = 'India';
INSERT INTO payments (payment_id, amount, quantity, ratio, card) VALUES (1, 50, 10, 1, 'card-9')
	RETURNING payment_id, reasons;
INSERT INTO payments (payment_id, amount, quantity, ratio, card, country, feeling, tags, meta)
	VALUES (2, 101, 4, 1, 'card-9', 'DE', 'angry', '{x,vip}', '{"a": 1}') RETURNING payment_id, reasons;
-- quantity 0: that rule errs, the others stand, and the point's on_error says review
INSERT INTO payments (payment_id, amount, quantity, ratio, card) VALUES (3, 500, 0, 1, 'card-3')
	RETURNING payment_id, reasons, outcome;
SHOW timezone;
SHOW datestyle;
SHOW search_path;
SELECT current_user;
RESET ALL;
RESET ROLE;
SET search_path = t_expressions;
SET agentpay.expression_schemas = 't_expressions_ext';
SET client_min_messages = error;
SELECT row_id, detail -> 'errors' FROM agentpay.decisions WHERE point = 't_expressions' AND detail ? 'errors';
-- a function that changes is seen at once, though it had been inlined
INSERT INTO payments (payment_id, amount, quantity, ratio, card) VALUES (4, 50, 10, 2, 'card-4') RETURNING reasons;
CREATE OR REPLACE FUNCTION t_expressions_ext.limit_of(amount numeric) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT 10';
INSERT INTO payments (payment_id, amount, quantity, ratio, card) VALUES (5, 50, 10, 2, 'card-5') RETURNING reasons;
-- and the columns go on to be read where they are after DROP and ADD
ALTER TABLE payments DROP COLUMN device, ADD COLUMN extra int;
INSERT INTO payments (payment_id, amount, quantity, ratio, card, country) VALUES (6, 5, 10, 2, 'card-9', 'DE') RETURNING reasons;

-- ── partitions: the same names at other places ──────────────────────────────
CREATE TABLE parts (id bigint PRIMARY KEY, gone int, at timestamptz NOT NULL DEFAULT '2026-03-01', amount numeric,
	country text, total numeric, outcome text, reasons text[]) PARTITION BY RANGE (id);
ALTER TABLE parts DROP COLUMN gone;
CREATE TABLE parts_low (reasons text[], country text, junk int, amount numeric, total numeric,
	id bigint NOT NULL, outcome text, at timestamptz NOT NULL DEFAULT '2026-03-01');
ALTER TABLE parts_low DROP COLUMN junk;
ALTER TABLE parts ATTACH PARTITION parts_low FOR VALUES FROM (0) TO (100);
CREATE TABLE parts_high PARTITION OF parts FOR VALUES FROM (100) TO (200);
SELECT agentpay.attach('parts', point => 't_expressions_parts', role => 'fraud', id => 'id',
	occurred_at => 'at', amount => 'amount', currency => 'EUR', outcome => 'outcome', reasons => 'reasons');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_expressions_parts', 'LARGE', 'parts.amount > 100 AND country = ''DE''', 1),
	('t_expressions_parts', 'TOTAL', 'total = amount', 1),
	('t_expressions_parts', 'ID', 'id = 7 OR parts.id = 107', 1);
SELECT agentpay.activate('t_expressions_parts', 1);
INSERT INTO parts (id, amount, country, total) VALUES (7, 101, 'DE', 101), (107, 101, 'DE', 101),
	(8, 100, 'DE', 0), (108, 100, 'DE', 0) RETURNING id, reasons;

-- ── as it was ───────────────────────────────────────────────────────────────
SELECT agentpay.detach('t_expressions');
SELECT agentpay.detach('t_expressions_parts');
SET client_min_messages = error;
DROP SCHEMA t_expressions, t_expressions_ext CASCADE;
DROP OWNED BY t_expressions_owner, t_expressions_writer;
DROP ROLE t_expressions_owner, t_expressions_writer;
