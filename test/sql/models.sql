-- Gradient-boosted trees: XGBoost's own answers, versions, what is refused
-- before it is stored, and what a session keeps.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
\pset format unaligned
CREATE SCHEMA t_models;
SET search_path = t_models;
CREATE TABLE payments (
	id text PRIMARY KEY,
	amount numeric,
	logins int,
	ratio float8,
	foreign_card boolean,
	created_at timestamptz NOT NULL DEFAULT now(),
	outcome text,
	score numeric);
SELECT agentpay.attach('payments', point => 't_models', role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'USD', outcome => 'outcome', score => 'score');
CREATE VIEW latest AS
SELECT DISTINCT ON (row_id) row_id, verdict, score, detail,
	   (inputs ->> 'model(t_trees)')::float8 AS answer
  FROM agentpay.decisions WHERE point = 't_models' AND kind = 'rules'
 ORDER BY row_id, decided_at DESC;
-- an error with its code, detail and hint; "accepted" when there is none
CREATE FUNCTION pg_temp.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'accepted';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN format(E'ERROR:  %s: %s\nDETAIL:  %s\nHINT:  %s',
		SQLSTATE, message, detail, hint);
END$$;

-- ── as XGBoost answers ──────────────────────────────────────────────────────
-- test/oracle/trees.py trained this model and asked XGBoost about the rows
\getenv abs_srcdir PG_ABS_SRCDIR
\set model :abs_srcdir '/oracle/trees_binary.json'
\set rows :abs_srcdir '/oracle/trees_binary.csv'
CREATE TABLE asked (n int GENERATED ALWAYS AS IDENTITY, amount numeric,
	logins float8, ratio float8, foreign_card float8, answer float8);
COPY asked (amount, logins, ratio, foreign_card, answer) FROM :'rows' CSV;
CREATE TABLE files (name text PRIMARY KEY, definition jsonb);
\set definition `cat :'model'`
INSERT INTO files VALUES ('binary', :'definition');
SELECT agentpay.load_model('t_trees', definition,
	'{amount,logins,ratio,foreign_card}') AS version
  FROM files WHERE name = 'binary';
SELECT kind, version, active, report FROM agentpay.models WHERE name = 't_trees';
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES
	('t_models', 'TREES', 'model(''t_trees'') >= 0.1', 'decline');
SELECT agentpay.activate('t_models') AS version;
INSERT INTO payments (id, amount, logins, ratio, foreign_card)
SELECT 'r' || n, amount, logins, ratio, foreign_card = 1 FROM asked;
SELECT count(*) AS rows,
	   max(abs(l.answer - a.answer)) < 1e-6 AS as_xgboost,
	   bool_and((p.outcome = 'decline') = (a.answer >= 0.1)) AS verdicts,
	   count(*) FILTER (WHERE p.outcome = 'decline') BETWEEN 5 AND 55 AS both
  FROM asked a JOIN payments p ON p.id = 'r' || a.n
  JOIN latest l ON l.row_id = p.id;

-- ── versions ────────────────────────────────────────────────────────────────
-- the same trees from another start: by hand, the margins differ by
-- ln(0.5 / 0.5) - ln(0.02 / 0.98)
SELECT agentpay.load_model('t_trees', jsonb_set(definition,
	'{learner,learner_model_param,base_score}', '"[5E-1]"'),
	'{amount,logins,ratio,foreign_card}') AS version
  FROM files WHERE name = 'binary';
INSERT INTO payments (id, amount, logins, ratio, foreign_card)
SELECT 's' || n, amount, logins, ratio, foreign_card = 1 FROM asked;
SELECT max(abs(l.answer - 1 / (1 + exp(-(ln(a.answer / (1 - a.answer))
			- ln(0.02 / 0.98)))))) < 1e-6 AS from_a_half,
	   min(l.detail ->> 'models') AS models
  FROM asked a JOIN latest l ON l.row_id = 's' || a.n;
UPDATE agentpay.models SET active = true WHERE name = 't_trees' AND version = 1;
INSERT INTO payments (id, amount, logins, ratio, foreign_card)
SELECT 't' || n, amount, logins, ratio, foreign_card = 1 FROM asked WHERE n <= 5;
SELECT max(abs(l.answer - a.answer)) < 1e-6 AS as_xgboost,
	   min(l.detail ->> 'models') AS models
  FROM asked a JOIN latest l ON l.row_id = 't' || a.n;
-- a version that is deleted, and given again to another definition
DELETE FROM agentpay.models WHERE name = 't_trees' AND version = 2;
CREATE FUNCTION pg_temp.trees(answer text) RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_build_object('version', '[3, 1, 0]'::jsonb, 'learner',
		jsonb_build_object('attributes', '{}'::jsonb,
		'learner_model_param', '{"base_score": "[0E0]", "num_class": "0",
			"num_feature": "2", "num_target": "1"}'::jsonb,
		'objective', '{"name": "reg:squarederror"}'::jsonb,
		'gradient_booster', jsonb_build_object('name', 'gbtree', 'model',
			jsonb_build_object('gbtree_model_param',
				'{"num_trees": "1", "num_parallel_tree": "1"}'::jsonb,
			'tree_info', '[0]'::jsonb, 'trees', jsonb_build_array(
			format('{"left_children": [1, -1, -1], "right_children": [2, -1, -1],
			"split_conditions": [10, %s, -1], "split_indices": [1, 0, 0],
			"split_type": [0, 0, 0], "default_left": [1, 0, 0],
			"tree_param": {"num_nodes": "3", "size_leaf_vector": "1"}}',
			answer)::jsonb)))))
$$;
SELECT agentpay.load_model('t_trees', pg_temp.trees('0.25'), '{amount,logins}') AS version;
-- less than 10 and missing go left
INSERT INTO payments (id, logins) VALUES ('u9', 9), ('u10', 10), ('unull', NULL);
DELETE FROM payments WHERE id LIKE 'u%';
UPDATE agentpay.models SET active = true WHERE name = 't_trees' AND version = 1;
DELETE FROM agentpay.models WHERE name = 't_trees' AND version = 2;
SELECT agentpay.load_model('t_trees', pg_temp.trees('0.75'), '{amount,logins}') AS version;
SELECT row_id, answer FROM latest WHERE row_id LIKE 'u%' ORDER BY row_id;
INSERT INTO payments (id, logins) VALUES ('u9', 9), ('u10', 10), ('unull', NULL);
SELECT row_id, answer, detail -> 'models' AS models FROM latest
 WHERE row_id LIKE 'u%' ORDER BY row_id;
-- in a transaction that is rolled back
BEGIN;
SELECT agentpay.load_model('t_trees', pg_temp.trees('0.5'), '{amount,logins}') AS version;
INSERT INTO payments (id, logins) VALUES ('v1', 1);
SELECT answer, detail -> 'models' AS models FROM latest WHERE row_id = 'v1';
ROLLBACK;
INSERT INTO payments (id, logins) VALUES ('v1', 1);
SELECT answer, detail -> 'models' AS models FROM latest WHERE row_id = 'v1';
-- a session keeps the trees that it uses, and no others
INSERT INTO agentpay.lists (name) VALUES ('t_models');
INSERT INTO agentpay.rules (point, version, code, condition, verdict)
SELECT 't_models', agentpay.draft('t_models'), 'OTHER', 'amount > 1000000', 'review';
INSERT INTO payments (id, logins) VALUES ('v2', 1);
SELECT count(*) FROM pg_backend_memory_contexts WHERE name LIKE 'agentpay trees%';
-- the log keeps a digest
SELECT action, object, jsonb_object_keys(after -> 'definition') AS definition
  FROM agentpay.governance_log
 WHERE object_kind = 'model' AND object = 't_trees.1' AND action = 'insert';
SELECT bool_and(before ->> 'definition' IS NULL AND after ->> 'definition' IS NULL
			AND before -> 'active' <> after -> 'active') AS only_active
  FROM agentpay.governance_log
 WHERE object_kind = 'model' AND object = 't_trees.1' AND action = 'update';
SELECT pg_temp.try($$UPDATE agentpay.models SET definition = pg_temp.trees('1') WHERE name = 't_trees' AND version = 1$$);

-- ── an error of a model fails only its rules ────────────────────────────────
SELECT agentpay.load_model('t_trees', pg_temp.trees('0.5'), '{amount,nothing}') AS version;
INSERT INTO payments (id, logins) VALUES ('w1', 1) RETURNING outcome;
SELECT detail -> 'errors' AS errors FROM latest WHERE row_id = 'w1';
UPDATE agentpay.models SET active = true WHERE name = 't_trees' AND version = 1;

-- ── built-in agents need a probability ──────────────────────────────────────
SELECT agentpay.load_model('t_amount', pg_temp.trees('0.5'), '{amount,logins}') AS version;
SELECT pg_temp.try($$INSERT INTO agentpay.agents (name, point, protocol, model)
	VALUES ('t_models', 't_models', 'builtin', 't_amount')$$);
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
	VALUES ('t_models', 't_models', 'builtin', 't_trees', 'true', 'shadow');
SELECT pg_temp.try($$SELECT agentpay.load_model('t_trees', pg_temp.trees('0.5'), '{amount,logins}')$$);
INSERT INTO payments (id, logins) VALUES ('x1', 1);
SELECT agent FROM agentpay._tasks WHERE point = 't_models' AND row_id = 'x1';

-- ── early stopping ──────────────────────────────────────────────────────────
\set VERBOSITY default
SELECT agentpay.load_model('t_stopped', jsonb_set(definition,
	'{learner,attributes}', '{"best_iteration": "4", "scikit_learn": "{}"}'),
	'{amount,logins,ratio,foreign_card}') AS version
  FROM files WHERE name = 'binary';
\set VERBOSITY terse

-- ── one class of several ────────────────────────────────────────────────────
-- by hand: class 0 adds up to 0.25 for 9 logins and to -1 for 10, class 1 to 0
CREATE FUNCTION pg_temp.classes() RETURNS jsonb LANGUAGE sql AS $$
	SELECT jsonb_set(jsonb_set(pg_temp.trees('0.25'), '{learner,objective,name}', '"multi:softprob"'),
		'{learner,learner_model_param,num_class}', '"2"')
$$;
SELECT agentpay.load_model('t_trees', pg_temp.classes(), '{amount,logins}') AS version;
INSERT INTO payments (id, logins) VALUES ('z9', 9), ('z10', 10);
SELECT agentpay.load_model('t_trees', jsonb_build_object('xgboost', pg_temp.classes(), 'class', 0), '{amount,logins}') AS version;
INSERT INTO payments (id, logins) VALUES ('z9_0', 9), ('z10_0', 10);
SELECT l.row_id, abs(l.answer - v.answer) < 1e-7 AS as_by_hand
  FROM latest l JOIN (VALUES ('z9', 1 - 1 / (1 + exp(-0.25))), ('z10', 1 - 1 / (1 + exp(1))),
	('z9_0', 1 / (1 + exp(-0.25))), ('z10_0', 1 / (1 + exp(1)))) AS v (row_id, answer) USING (row_id)
 ORDER BY l.row_id COLLATE "C";
SELECT version, report -> 'classes' AS classes, report -> 'class' AS class FROM agentpay.models
 WHERE name = 't_trees' AND report ->> 'objective' = 'multi:softprob' ORDER BY version;
UPDATE agentpay.models SET active = true WHERE name = 't_trees' AND version = 1;

-- ── what is refused ─────────────────────────────────────────────────────────
CREATE FUNCTION pg_temp.changed(path text, value jsonb) RETURNS jsonb LANGUAGE sql AS $$
	SELECT CASE WHEN value IS NULL THEN definition #- path::text[]
		ELSE jsonb_set(definition, path::text[], value) END
	  FROM t_models.files WHERE name = 'binary'
$$;
SELECT pg_temp.try(format('SELECT agentpay.load_model(''t_refused'', %L, ''{amount,logins,ratio,foreign_card}'')',
		pg_temp.changed(path, value)))
  FROM (VALUES
	(1, '{learner}', NULL::jsonb),
	(2, '{learner}', '[]'),
	(3, '{version}', '[0, 90, 0]'),
	(4, '{learner,objective,name}', '"survival:cox"'),
	(5, '{learner,objective,name}', '"multi:softprob"'),
	(6, '{learner,gradient_booster,name}', '"dart"'),
	(7, '{learner,gradient_booster,name}', '"gblinear"'),
	(8, '{learner,learner_model_param,base_score}', '"1"'),
	(9, '{learner,learner_model_param,num_target}', '"2"'),
	-- truncated: the last tree is gone
	(10, '{learner,gradient_booster,model,trees,-1}', NULL),
	(11, '{learner,gradient_booster,model,trees,0,split_conditions,-1}', NULL),
	(12, '{learner,gradient_booster,model,trees,0,default_left}', NULL),
	-- the root's left child is the root; a child of two; none such
	(13, '{learner,gradient_booster,model,trees,0,left_children,0}', '0'),
	(14, '{learner,gradient_booster,model,trees,0,left_children,0}', '2'),
	(15, '{learner,gradient_booster,model,trees,0,left_children,0}', '1000'),
	(16, '{learner,gradient_booster,model,trees,0,split_indices,0}', '4'),
	(17, '{learner,gradient_booster,model,trees,0,split_type,0}', '1'),
	(18, '{learner,gradient_booster,model,trees,0,split_conditions,0}', '1e39'),
	(19, '{learner,gradient_booster,model,trees,0,split_conditions,0}', '"x"')
	) AS v (n, path, value) ORDER BY n;
SELECT pg_temp.try(format('SELECT agentpay.load_model(%s)', arguments))
  FROM (VALUES
	(1, $$'t_refused', '{}', '{amount}'$$),
	(2, $$'t_refused', '[]', '{amount}'$$),
	(3, $$'t_refused', 'null', '{amount}'$$),
	(4, $$'t_refused', NULL, '{amount}'$$),
	(5, $$'t_refused', pg_temp.trees('1'), NULL$$),
	(6, $$'t_refused', pg_temp.trees('1'), '{}'$$),
	(7, $$'t_refused', pg_temp.trees('1'), '{amount}'$$),
	(8, $$'t_refused', jsonb_set(pg_temp.trees('1'), '{learner,feature_names}',
		'["logins", "amount"]'), '{amount}'$$),
	(9, $$'T refused', pg_temp.trees('1'), '{amount,logins}'$$),
	(10, $$NULL, pg_temp.trees('1'), '{amount,logins}'$$),
	(11, $$'t_refused', jsonb_set(pg_temp.trees('1'), '{learner,feature_names}',
		'["logins", "amount"]'), '{amount,logins}'$$),
	(12, $$'t_refused', jsonb_set(pg_temp.trees('1'), '{pad}',
		to_jsonb(repeat('x', 100 * 1024 * 1024))), '{amount,logins}'$$),
	(13, $$'t_refused', jsonb_build_object('xgboost', pg_temp.classes(), 'class', 2), '{amount,logins}'$$),
	(14, $$'t_refused', jsonb_build_object('xgboost', pg_temp.trees('1'), 'class', 0), '{amount,logins}'$$),
	(15, $$'t_refused', jsonb_build_object('xgboost', pg_temp.classes(), 'klass', 1), '{amount,logins}'$$),
	(16, $$'t_refused', '{"xgboost": 7}', '{amount,logins}'$$),
	(17, $$'t_refused', jsonb_build_object('xgboost', jsonb_set(pg_temp.classes(), '{learner,feature_names}',
		'["logins", "amount"]')), '{amount,logins}'$$),
	-- a small definition whose text would be long: 20,000 numbers of 10,000 digits
	(18, $$'t_refused', jsonb_set(pg_temp.trees('1'), '{pad}',
		(SELECT jsonb_agg(1e9999::numeric) FROM generate_series(1, 20000))), '{amount,logins}'$$)
	) AS v (n, arguments) ORDER BY n;
SELECT count(*) FROM agentpay.models WHERE name = 't_refused';

-- ── who may only insert, in a session that has no trees yet ─────────────────
\c -
SET search_path = t_models;
CREATE ROLE t_models;
GRANT USAGE ON SCHEMA t_models TO t_models;
GRANT INSERT ON payments TO t_models;
SET ROLE t_models;
INSERT INTO payments (id, amount, logins, ratio, foreign_card)
VALUES ('y1', 106.45, 1, 0.5125330485171861, false); -- the third row asked
RESET ROLE;
SELECT abs(l.answer - a.answer) < 1e-6 AS as_xgboost, l.detail
  FROM latest l, asked a WHERE l.row_id = 'y1' AND a.n = 3;
REVOKE ALL ON payments FROM t_models;
REVOKE ALL ON SCHEMA t_models FROM t_models;
DROP ROLE t_models;
DELETE FROM agentpay.agents WHERE name = 't_models';
SELECT agentpay.detach('t_models');
SET client_min_messages = warning;
DROP SCHEMA t_models CASCADE;
