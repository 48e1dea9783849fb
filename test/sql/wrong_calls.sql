-- Functions and triggers used as they are not meant to be, and tables that
-- changed after they were attached: an error of ours, or the on_error verdict.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = notice;
CREATE SCHEMA t_wrong;
SET search_path = t_wrong;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, currency text, key text, place point, outcome text);
CREATE INDEX idem ON payments (key);
CREATE INDEX ON payments (key, at);
SELECT agentpay.attach('payments', 't_wrong', 'fraud', 'id', 'at', 'amount', 'currency', idempotency => 'key', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_wrong', 'LARGE', 'amount > 100', 60);
SELECT agentpay.activate('t_wrong');
SELECT agentpay.activate('t_wrong', 1);

-- ── internal functions ──────────────────────────────────────────────────────
SELECT agentpay._score_row();
SELECT agentpay._record_row();
SELECT agentpay._config_changed();
SELECT agentpay._kill_lock();
CREATE TABLE elsewhere (id bigint);
CREATE TRIGGER a AFTER INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION agentpay._score_row();
INSERT INTO elsewhere VALUES (1);
DROP TRIGGER a ON elsewhere;
CREATE TRIGGER a BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION agentpay._record_row();
INSERT INTO elsewhere VALUES (1);
DROP TRIGGER a ON elsewhere;
CREATE TRIGGER a BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION agentpay._config_changed();
INSERT INTO elsewhere VALUES (1);
DROP TRIGGER a ON elsewhere;
-- the pair on a table without a point does nothing
CREATE TRIGGER a BEFORE INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION agentpay._score_row();
CREATE TRIGGER b AFTER INSERT ON elsewhere FOR EACH ROW EXECUTE FUNCTION agentpay._record_row();
INSERT INTO elsewhere VALUES (1) RETURNING *;
SELECT agentpay._append(ROW(1, 2));
SELECT agentpay._append(ROW(agentpay._uuid_v7(), NULL, 'x', 'x', 'x', 'x', NULL, NULL, NULL, NULL)::agentpay.governance_log);
SELECT agentpay._make_partition('decisions', '-infinity');
SELECT agentpay._refuse(NULL, 'x', 'x', 'x');
DO $$ BEGIN
	PERFORM agentpay._refuse('22023', NULL, NULL, NULL);
	RAISE 'let through';
EXCEPTION WHEN invalid_parameter_value THEN
	RAISE NOTICE 'refused, though it could not say why';
END $$;
SELECT agentpay._check_expression('payments', 't_wrong', 'true', 'money', 'rule');
SELECT agentpay._check_expression('payments', 't_wrong', 'true', 'boolean', 'view');
SELECT agentpay._check_expression('payments', 't_wrong', 'at < ''yesterday''::text::timestamptz', 'boolean', 'rule') IS NOT NULL AS compiles;
SELECT agentpay.model('nobody');
SELECT agentpay.in_list('nobody', 1);
SELECT agentpay.explain('00000000-0000-7000-8000-000000000000'::uuid);
SELECT agentpay.explain('t_wrong', 99);
SELECT agentpay.explain('nobody', 99);
SELECT agentpay.preview_call('nobody', 99);

-- ── what features cannot be made of ─────────────────────────────────────────
INSERT INTO agentpay.features (point, name, key, aggregate, over, value) VALUES ('t_wrong', 'f', '{key}', 'count_distinct', '1 hour', 'place');

-- ── rows that cannot be named, and tables that changed ──────────────────────
INSERT INTO payments (id, amount) VALUES (NULL, 5);
INSERT INTO payments (id, amount, key) VALUES (1, 500, 'k') RETURNING id, outcome;
DROP INDEX idem;
DROP INDEX payments_key_at_idx;
INSERT INTO payments (id, amount, key) VALUES (2, 50, 'k') RETURNING id, outcome;
CREATE INDEX idem ON payments (key);
INSERT INTO payments (id, amount, key) VALUES (3, 50, 'k') RETURNING id, outcome;
ALTER TABLE payments ALTER COLUMN amount TYPE text;
INSERT INTO payments (id, amount) VALUES (4, '5') RETURNING id, outcome;
ALTER TABLE payments ALTER COLUMN amount TYPE numeric USING amount::numeric;
INSERT INTO payments (id, amount) VALUES (5, 5) RETURNING id, outcome;
ALTER TABLE payments ALTER COLUMN at TYPE text;
INSERT INTO payments (id, amount) VALUES (6, 5) RETURNING id, outcome;
ALTER TABLE payments ALTER COLUMN at TYPE timestamptz USING at::timestamptz;
ALTER TABLE payments DROP COLUMN currency;
INSERT INTO payments (id, amount) VALUES (7, 5) RETURNING id, outcome;
SELECT row_id, verdict, detail ->> 'repeats' AS repeats, jsonb_path_query_array(detail, '$.errors.keyvalue().key') AS errors,
	jsonb_path_query_array(detail, '$.errors.*.sqlstate') AS states, jsonb_path_query_array(detail, '$.errors.*.message') AS messages
  FROM agentpay.decisions WHERE point = 't_wrong' ORDER BY row_id;
-- without its id no row has a name
ALTER TABLE payments DROP COLUMN id;
INSERT INTO payments (amount) VALUES (8);
SELECT agentpay.detach('t_wrong');
INSERT INTO payments (amount) VALUES (8) RETURNING outcome;

-- ── what is kept and not yet used is said ───────────────────────────────────
CREATE TABLE others (id bigint PRIMARY KEY, at timestamptz NOT NULL);
SELECT agentpay.attach('others', 't_wrong_2', 'fraud', 'id', 'at');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_wrong', 'logistic', '{id}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when) VALUES ('t_wrong_a', 't_wrong_2', 'builtin', 't_wrong', 'true');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, escalate_to) VALUES ('t_wrong_b', 't_wrong_2', 'builtin', 't_wrong', 'true', 't_wrong_a');
SELECT agentpay.adopt();

-- clean up
DELETE FROM agentpay.agents WHERE name = 't_wrong_b';
DELETE FROM agentpay.agents WHERE name = 't_wrong_a';
DELETE FROM agentpay.models WHERE name = 't_wrong';
SET client_min_messages = warning;
SELECT agentpay.detach('t_wrong_2');
DROP SCHEMA t_wrong CASCADE;
