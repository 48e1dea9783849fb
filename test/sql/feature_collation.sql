-- An index serves only if it takes the same keys for equal as the column does.
-- Only for servers built with ICU: feature_collation_1.out is for the others.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
SELECT count(*) = 0 AS without_icu FROM pg_collation WHERE collprovider = 'i' \gset
\if :without_icu
\quit
\endif
CREATE SCHEMA t_feature_collation;
SET search_path = t_feature_collation;
CREATE COLLATION any_case (provider = icu, locale = 'und-u-ks-level2', deterministic = false);
CREATE TABLE payments (id bigint PRIMARY KEY, card text COLLATE any_case, at timestamptz NOT NULL, bank text COLLATE any_case);
CREATE INDEX ON payments (card COLLATE "C", at);
SELECT agentpay.attach('payments', 't_feature_collation', 'fraud', 'id', 'at');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_feature_collation', 'n', '{card}', 'count', NULL, '1 hour'),
	('t_feature_collation', 'banks', '{card}', 'count_distinct', 'bank', '1 hour');
INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_feature_collation', 'READS', 'n > banks');
SELECT agentpay.activate('t_feature_collation');
INSERT INTO payments VALUES (1, 'a', '2026-01-01 10:00', 'x'), (2, 'A', '2026-01-01 10:01', 'X');
CREATE INDEX ON payments (card, at);
INSERT INTO payments VALUES (3, 'A', '2026-01-01 10:02', 'y'), (4, 'b', '2026-01-01 10:03', 'X');
-- 3: rows 1, 2 and 3 of one card at two banks
SELECT row_id, inputs, detail->'errors'->'n'->>'message' AS error FROM agentpay.decisions
 WHERE point = 't_feature_collation' ORDER BY row_id COLLATE "C";
SELECT agentpay.detach('t_feature_collation');
DROP SCHEMA t_feature_collation CASCADE;
