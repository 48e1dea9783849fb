-- A table with the columns of the model's features (:columns) and XGBoost's
-- answers, and a point on it whose rule asks the model (file :model).
SET client_min_messages = warning;
CREATE EXTENSION agentpay;
CREATE TABLE asked (n int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, at timestamptz NOT NULL DEFAULT now());
SELECT format('ALTER TABLE asked ADD %I float8', c)
  FROM unnest(string_to_array(:'columns', ',')) WITH ORDINALITY AS u (c, o) ORDER BY o
\gexec
ALTER TABLE asked ADD probability float8, ADD margin float8;
SELECT agentpay.attach('asked', 'handbook', 'fraud', 'n', 'at');
\set definition `cat :'model'`
SELECT agentpay.load_model('handbook', :'definition', string_to_array(:'columns', ','));
INSERT INTO agentpay.rules (point, code, condition) VALUES ('handbook', 'MODEL', 'model(''handbook'') > 0.5');
SELECT agentpay.activate('handbook');
CREATE VIEW apart AS
SELECT coalesce(abs(got - probability), 'Infinity') AS probability
  FROM asked LEFT JOIN agentpay.decisions ON point = 'handbook' AND row_id = n::text
 CROSS JOIN LATERAL (VALUES ((inputs->>'model(handbook)')::float8)) AS a (got);
