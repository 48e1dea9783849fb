-- What a session keeps of the configuration is what the tables say: after each
-- change, after each undone one, for lists of any length, for models, for an
-- extension that was dropped and made again, and for a copy of the database.
-- Other sessions: test/isolation/specs/configuration_cache.spec.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
DROP DATABASE IF EXISTS t_cache_copy;
DROP DATABASE IF EXISTS t_cache;
DROP ROLE IF EXISTS t_cache_clerk;
CREATE DATABASE t_cache;
\c t_cache
SET client_min_messages = warning;
CREATE EXTENSION agentpay;
CREATE TABLE payments (
	id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	amount numeric,
	card char(8),
	created_at timestamptz NOT NULL DEFAULT now(),
	outcome text,
	score numeric);
SELECT agentpay.attach('payments', point => 'c', role => 'fraud', id => 'id',
	occurred_at => 'created_at', outcome => 'outcome', score => 'score');

-- a new draft with one rule in the place of all others
CREATE FUNCTION rule(condition text) RETURNS int LANGUAGE plpgsql AS $$
BEGIN
	PERFORM agentpay.draft('c');
	DELETE FROM agentpay.rules WHERE point = 'c' AND version =
		(SELECT max(version) FROM agentpay.rulesets WHERE point = 'c');
	INSERT INTO agentpay.rules (point, code, condition, score)
		VALUES ('c', 'R', condition, 60);
	RETURN agentpay.activate('c');
END$$;
CREATE VIEW latest AS
SELECT verdict, score, ruleset_version, detail FROM agentpay.decisions
 WHERE kind = 'rules' ORDER BY row_id::bigint DESC LIMIT 1;

-- ── own changes ─────────────────────────────────────────────────────────────
INSERT INTO payments (amount) VALUES (100) RETURNING outcome;
SELECT rule('amount > 10');
PREPARE pay(numeric) AS INSERT INTO payments (amount) VALUES ($1) RETURNING outcome;
SET plan_cache_mode = force_generic_plan;
EXECUTE pay(100);
SELECT rule('amount > 1000');
EXECUTE pay(100);

-- undone by a savepoint, an error, the transaction
BEGIN;
SAVEPOINT a;
SELECT rule('amount > 10');
EXECUTE pay(100);
ROLLBACK TO a;
EXECUTE pay(100);
DO $$BEGIN
	PERFORM rule('amount > 20');
	IF (SELECT count(*) FROM agentpay.rulesets WHERE point = 'c') > 2 THEN
		RAISE division_by_zero;
	END IF;
EXCEPTION WHEN division_by_zero THEN NULL;
END$$;
EXECUTE pay(100);
SELECT rule('amount > 30');
EXECUTE pay(100);
ROLLBACK;
EXECUTE pay(100);

-- a change and a payment in one statement of the client
DO $$DECLARE
	seen text;
	before int := agentpay.draft('c');
BEGIN
	UPDATE agentpay.rules SET condition = 'amount > 40'
	 WHERE point = 'c' AND version = before;
	PERFORM agentpay.activate('c');
	INSERT INTO payments (amount) VALUES (100) RETURNING outcome INTO seen;
	RAISE WARNING 'then: %', seen;
	UPDATE agentpay.rules SET snoozed_until = '2999-01-01'
	 WHERE point = 'c' AND version = before;
	INSERT INTO payments (amount) VALUES (100) RETURNING outcome INTO seen;
	RAISE WARNING 'snoozed: %', seen;
	PERFORM agentpay.revert('c', 'test');
	INSERT INTO payments (amount) VALUES (1001) RETURNING outcome INTO seen;
	RAISE WARNING 'reverted: %', seen;
END$$;

-- thresholds, features, points
SELECT agentpay.draft('c') AS version \gset
UPDATE agentpay.rulesets SET thresholds = '{"decline": 60}'
 WHERE point = 'c' AND version = :version;
SELECT agentpay.activate('c');
EXECUTE pay(2000);
CREATE INDEX ON payments (card, created_at);
INSERT INTO agentpay.features (point, name, kind, key)
	VALUES ('c', 'since', 'since_last', '{card}');
SELECT rule('since IS NULL AND card = ''new''');
INSERT INTO payments (card) VALUES ('new') RETURNING outcome;
INSERT INTO payments (card) VALUES ('new') RETURNING outcome;
SELECT agentpay.detach('c');
EXECUTE pay(100);
SELECT agentpay.attach('payments', point => 'c', role => 'fraud', id => 'id',
	occurred_at => 'created_at', outcome => 'outcome', score => 'score');
EXECUTE pay(100);

-- whoever pays has no right to read rules, and a search_path of his own
CREATE ROLE t_cache_clerk;
GRANT USAGE ON SCHEMA public TO t_cache_clerk;
GRANT SELECT, INSERT ON payments TO t_cache_clerk;
CREATE SCHEMA trap AUTHORIZATION t_cache_clerk;
SELECT rule('amount > 10');
SET ROLE t_cache_clerk;
CREATE FUNCTION trap.max(int) RETURNS int LANGUAGE sql AS 'SELECT 1/0; SELECT $1';
CREATE TABLE trap.pg_class (oid oid);
SET search_path = trap, pg_catalog, public;
INSERT INTO public.payments (amount) VALUES (100) RETURNING outcome;
RESET search_path;
RESET ROLE;

-- ── lists ───────────────────────────────────────────────────────────────────
SELECT agentpay.in_list('l', 'x');
INSERT INTO agentpay.lists VALUES ('l'), ('long');
SELECT agentpay.in_list('l', 'x');
INSERT INTO agentpay.list_entries (list, value) VALUES
	('l', 'x'), ('l', '7'), ('l', '1.50'), ('l', ''), ('l', 'é');
SELECT agentpay.in_list('l', 'x') AS x, agentpay.in_list('l', 'X') AS upper,
	agentpay.in_list('l', 'x'::char(8)) AS padded,
	agentpay.in_list('l', 'x '::varchar) AS blank,
	agentpay.in_list('l', 7) AS int, agentpay.in_list('l', 1.50) AS numeric,
	agentpay.in_list('l', 1.5) AS other, agentpay.in_list('l', '') AS empty,
	agentpay.in_list('l', ' '::char(8)) AS blanks,
	agentpay.in_list('l', 'é') AS accent;
SELECT agentpay.in_list('l', NULL::text), agentpay.in_list(NULL, 'x');
SELECT rule('in_list(''l'', card)');
INSERT INTO payments (card) VALUES ('x') RETURNING outcome;

-- until it expires
UPDATE agentpay.list_entries SET expires_at = now() + interval '1 hour'
 WHERE list = 'l' AND value = 'x';
SELECT agentpay.in_list('l', 'x');
SET agentpay.clock_offset = '61min';
SELECT agentpay.in_list('l', 'x');
INSERT INTO payments (card) VALUES ('x') RETURNING outcome;
RESET agentpay.clock_offset;
UPDATE agentpay.list_entries SET expires_at = NULL WHERE list = 'l';

-- as long as a session keeps, one longer, and back
INSERT INTO agentpay.list_entries (list, value)
	SELECT 'long', i::text FROM generate_series(1, 10000) i;
SELECT count(*) FROM generate_series(0, 10001) i
 WHERE agentpay.in_list('long', i);
INSERT INTO agentpay.list_entries (list, value, expires_at)
	VALUES ('long', 'x', now() + interval '1 hour');
SELECT count(*) FROM generate_series(0, 10001) i
 WHERE agentpay.in_list('long', i);
SELECT agentpay.in_list('long', 'x'), agentpay.in_list('long', NULL::int);
SET agentpay.clock_offset = '61min';
SELECT agentpay.in_list('long', 'x');
RESET agentpay.clock_offset;
SELECT rule('in_list(''long'', card)');
INSERT INTO payments (card) VALUES ('x'), ('y'), ('10000') RETURNING outcome;
BEGIN;
DELETE FROM agentpay.list_entries WHERE list = 'long' AND value IN ('5', 'x');
INSERT INTO payments (card) VALUES ('x'), ('5'), ('6') RETURNING outcome;
ROLLBACK;
INSERT INTO payments (card) VALUES ('x'), ('5') RETURNING outcome;
-- a transaction that may not write, and one with an older snapshot
BEGIN ISOLATION LEVEL SERIALIZABLE READ ONLY;
SELECT agentpay.in_list('long', 'x'), agentpay.in_list('l', 'x');
COMMIT;

-- ── models ──────────────────────────────────────────────────────────────────
-- 1 / (1 + exp(-(intercept + (amount - mean) / scale * coefficient)))
SELECT agentpay.model('m');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES ('m',
	'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [2], "mean": [10], "scale": [5]}');
-- amount 15: exp(-2) is 0.13534, so 0.88080
SELECT rule('model(''m'') BETWEEN 0.8807 AND 0.8809');
EXECUTE pay(15);
EXECUTE pay(14);
-- the next version, intercept 1, makes it 0.88080 at 12.5
INSERT INTO agentpay.models (name, kind, features, definition) VALUES ('m',
	'logistic', '{amount}',
	'{"intercept": 1, "coefficients": [2], "mean": [10], "scale": [5]}');
EXECUTE pay(15);
EXECUTE pay(12.5);
SELECT detail FROM latest;
BEGIN;
UPDATE agentpay.models SET active = true WHERE name = 'm' AND version = 1;
EXECUTE pay(15);
ROLLBACK;
EXECUTE pay(15);
-- numbers that a double cannot hold: as good as 0, and no model by 0
INSERT INTO agentpay.models (name, kind, features, definition) VALUES ('m',
	'logistic', '{amount}',
	'{"intercept": 1e-400, "coefficients": [2], "mean": [10], "scale": [5]}');
EXECUTE pay(15);
INSERT INTO agentpay.models (name, kind, features, definition) VALUES ('m',
	'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [2], "mean": [10], "scale": [1e-400]}');
EXECUTE pay(15);
SELECT verdict, detail -> 'errors' -> 'R' ->> 'sqlstate' AS sqlstate FROM latest;

-- ── what is replaced is freed ───────────────────────────────────────────────
DO $$BEGIN
	FOR i IN 1..20 LOOP
		UPDATE agentpay.decision_points SET labels_complete = i % 2 = 0;
		UPDATE agentpay.list_entries SET expires_at = NULL
		 WHERE list = 'l' AND value = 'x';
		INSERT INTO payments (amount) VALUES (i);
		PERFORM agentpay.in_list('l', 'x'), agentpay.in_list('long', 'x');
		BEGIN
			PERFORM agentpay.in_list('none', 'x');
		EXCEPTION WHEN undefined_object THEN
		END;
	END LOOP;
END$$;
SELECT name, count(*) FROM pg_backend_memory_contexts
 WHERE name IN ('agentpay configuration', 'agentpay lists', 'agentpay list')
 GROUP BY name ORDER BY name;

-- ── the trigger ─────────────────────────────────────────────────────────────
SELECT agentpay._config_changed();
CREATE TABLE other (i int);
CREATE TRIGGER other BEFORE INSERT ON other FOR EACH ROW
	EXECUTE FUNCTION agentpay._config_changed();
INSERT INTO other VALUES (1);

-- ── dropped and made again ──────────────────────────────────────────────────
DROP EXTENSION agentpay CASCADE;
EXECUTE pay(100);
CREATE EXTENSION agentpay;
EXECUTE pay(100);
SELECT agentpay.in_list('l', 'x');
SELECT agentpay.attach('payments', point => 'c', role => 'fraud', id => 'id',
	occurred_at => 'created_at', amount => 'amount', currency => 'EUR',
	outcome => 'outcome', score => 'score');
EXECUTE pay(100);
INSERT INTO agentpay.rules (point, code, condition, score)
	VALUES ('c', 'R', 'amount > 50', 60);
SELECT agentpay.activate('c');
EXECUTE pay(100);
BEGIN;
SET client_min_messages = error;
DROP EXTENSION agentpay CASCADE;
ROLLBACK;
EXECUTE pay(100);

-- ── a copy asks no agent until it is adopted ────────────────────────────────
INSERT INTO agentpay.models (name, kind, features, definition) VALUES ('m',
	'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [2], "mean": [10], "scale": [5]}');
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment)
	VALUES ('payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.agents (name, point, protocol, model, fields, invoke_when)
	VALUES ('a', 'c', 'builtin', 'm', '{amount}', 'amount > 50');
UPDATE agentpay.agents SET stage = 'shadow' WHERE name = 'a';
CREATE VIEW asked AS
SELECT d.verdict, d.detail, count(t) AS tasks FROM (
	SELECT * FROM agentpay.decisions WHERE kind = 'rules'
	 ORDER BY row_id::bigint DESC LIMIT 1) AS d
  LEFT JOIN agentpay._tasks t USING (decision_id) GROUP BY d.verdict, d.detail;
EXECUTE pay(100);
SELECT * FROM asked;
EXECUTE pay(10);
SELECT * FROM asked;
-- lowered in this session
BEGIN;
UPDATE agentpay.agents SET stage = 'off' WHERE name = 'a';
EXECUTE pay(100);
SELECT * FROM asked;
ROLLBACK;
EXECUTE pay(100);
SELECT * FROM asked;
\c postgres
SET client_min_messages = warning;
CREATE DATABASE t_cache_copy TEMPLATE t_cache;
\c t_cache_copy
INSERT INTO payments (amount) VALUES (100) RETURNING outcome;
SELECT * FROM asked;
BEGIN;
SELECT agentpay.adopt();
INSERT INTO payments (amount) VALUES (100) RETURNING outcome;
SELECT * FROM asked;
ROLLBACK;
INSERT INTO payments (amount) VALUES (100) RETURNING outcome;
SELECT * FROM asked;
SELECT agentpay.adopt();
INSERT INTO payments (amount) VALUES (100) RETURNING outcome;
SELECT * FROM asked;

\c postgres
SET client_min_messages = warning;
DROP DATABASE t_cache_copy;
DROP DATABASE t_cache;
DROP ROLE t_cache_clerk;
