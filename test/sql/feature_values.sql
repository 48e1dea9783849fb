-- Keys and values of many types; functions of the user's; errors in the middle
-- of a window.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE ROLE t_feature_values;
CREATE SCHEMA t_feature_values AUTHORIZATION t_feature_values;
SET search_path = t_feature_values;
CREATE FUNCTION weight(numeric) RETURNS numeric LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF $1 = 13 THEN RAISE EXCEPTION 'unlucky'; END IF;
	RETURN CASE WHEN current_user = 't_feature_values' THEN $1 * 10 ELSE -1 END;
END$$;
CREATE TYPE kind AS ENUM ('a', 'b');
CREATE DOMAIN code AS varchar(10);
CREATE TABLE payments (id bigint PRIMARY KEY, card int, at timestamptz NOT NULL, amount numeric, k kind, c code, u uuid,
	n numeric(10,3), arr int[], f float8, ch char(5), long text, outcome text);
ALTER TABLE payments ALTER long SET STORAGE EXTERNAL;
ALTER TABLE payments OWNER TO t_feature_values;
CREATE INDEX ON payments (card, at);
CREATE INDEX ON payments (k, at);
CREATE INDEX ON payments (c, at);
CREATE INDEX ON payments (u, at);
CREATE INDEX ON payments (n, at);
CREATE INDEX ON payments (arr, at);
CREATE INDEX ON payments (f, at);
CREATE INDEX ON payments (ch DESC, at DESC);
CREATE INDEX ON payments (u, c DESC NULLS LAST, k, n, at, amount);
SET agentpay.expression_schemas = 't_feature_values';
SELECT agentpay.attach('payments', 't_feature_values', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_feature_values', 'weighed', '{card}', 'sum', 't_feature_values.weight(amount)', '1 hour'),
	('t_feature_values', 'divided', '{card}', 'sum', '1 / (amount - 7)', '1 hour'),
	('t_feature_values', 'as_text', '{card}', 'count_distinct', 'amount::text || long', '1 hour'),
	('t_feature_values', 'cast',    '{card}', 'max', 'amount::float4', '1 hour'),
	('t_feature_values', 'd_case',  '{card}', 'count_distinct', 'CASE k WHEN ''a'' THEN n END', '1 hour');
INSERT INTO agentpay.features (point, name, key, aggregate, over)
SELECT 't_feature_values', 'n_' || key, ARRAY[key], 'count', '1 hour' FROM unnest('{k,c,u,n,arr,f,ch}'::text[]) AS key;
INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES
	('t_feature_values', 'n_all', '{k,n,c,u}', 'count', '1 hour');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over)
SELECT 't_feature_values', 'd_' || value, '{card}', 'count_distinct', value, '1 hour'
  FROM unnest('{k,c,u,n,arr,f,ch,long}'::text[]) AS value;
INSERT INTO agentpay.rules (point, code, condition)
SELECT point, 'READS', string_agg(quote_ident(name), '+') || '> 1e9' FROM agentpay.features WHERE point = 't_feature_values' GROUP BY point;
SELECT agentpay.activate('t_feature_values');
INSERT INTO payments SELECT g, 1, '2026-01-01', g, 'a', 'x', '00000000-0000-0000-0000-000000000001', 1.50, '{1,2}', 0, 'q',
	repeat('x', 5000 + g % 2) FROM generate_series(1, 3) AS g;
INSERT INTO payments VALUES
	(4, 1, '2026-01-01', 4, 'b', 'y', '00000000-0000-0000-0000-000000000002', 1.5, '{1,3}', -0.0, 'q ', repeat('x', 5000)),
	(5, 1, '2026-01-01', 7, 'a', 'x', '00000000-0000-0000-0000-000000000001', 1.500, '{1,2}', 'NaN', 'r', repeat('y', 5000)),
	(6, 1, '2026-01-01', 13, 'a', 'x', '00000000-0000-0000-0000-000000000001', 1.5, NULL, 'NaN', 'r', repeat('y', 5000)),
	(7, 1, '2026-01-01', 8, 'a', 'x', '00000000-0000-0000-0000-000000000001', 1.5, NULL, 'NaN', 'r', repeat('y', 5000));
DELETE FROM payments WHERE amount IN (7, 13);
INSERT INTO payments VALUES (8, 1, '2026-01-01', 9, 'a', 'x', '00000000-0000-0000-0000-000000000001', 1.5, NULL, 'NaN', 'r', NULL);
-- equal are 1.50 and 1.5, 0 and -0, 'q' and 'q ', NaN and NaN; a NULL key shares nothing
SELECT row_id, r.* FROM agentpay.decisions d, jsonb_to_record(d.inputs) AS r (n_k int, n_c int, n_u int, n_n int, n_arr int,
	n_f int, n_ch int, n_all int, d_k int, d_c int, d_u int, d_n int, d_arr int, d_f int, d_ch int, d_long int, d_case int, as_text int)
 WHERE point = 't_feature_values' ORDER BY row_id COLLATE "C";
-- 1/(amount - 7) fails while a row of 7 is there, weight() while one of 13 is
SELECT row_id, r.weighed, round(r.divided, 12) AS divided, r."cast",
	   (SELECT string_agg(key || ': ' || (value->>'message'), ', ' ORDER BY key COLLATE "C") FROM jsonb_each(d.detail->'errors')) AS errors
  FROM agentpay.decisions d, jsonb_to_record(d.inputs) AS r (weighed numeric, divided numeric, "cast" numeric)
 WHERE point = 't_feature_values' ORDER BY row_id COLLATE "C";
SELECT current_user <> 't_feature_values' AS myself_again;

-- a function that inserts behind its back: the rows that it inserts do without
-- the feature, and the feature is none the worse for it
CREATE FUNCTION sly(n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t_feature_values.payments (id, card, at, amount) VALUES (n + 100, 1, '2026-01-01', 1)
		ON CONFLICT DO NOTHING;
END$$;
CREATE FUNCTION harmless(n bigint) RETURNS numeric LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF n < 100 THEN PERFORM t_feature_values.sly(n); END IF;
	RETURN 1;
END$$;
UPDATE agentpay.features SET value = 't_feature_values.harmless(id)' WHERE point = 't_feature_values' AND name = 'weighed';
INSERT INTO payments (id, card, at, amount) VALUES (50, 1, '2026-01-01', 5);
SELECT row_id, inputs->'weighed' AS weighed, detail->'errors'->'weighed' AS error FROM agentpay.decisions
 WHERE point = 't_feature_values' AND row_id::int >= 50 ORDER BY row_id::int;

SELECT agentpay.detach('t_feature_values');
DROP SCHEMA t_feature_values CASCADE;
DROP ROLE t_feature_values;
