-- Rows that an agent is asked about again: which ones are drawn, and their
-- tasks.  Nothing here commits, so nobody is asked; what then becomes of the
-- tasks is in test/tap/t/shadow_complete.pl.
--
-- The draw is computed here a second time, in SQL: HMAC by RFC 2104 from
-- sha256(), the salt, and three lines, "repeat", the agent and the row id.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
BEGIN;
CREATE SCHEMA repeats;
SET search_path = repeats;
CREATE FUNCTION hmac_sha256(key bytea, data bytea) RETURNS bytea
	LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	inner_pad bytea := decode(repeat('36', 64), 'hex');
	outer_pad bytea := decode(repeat('5c', 64), 'hex');
BEGIN
	FOR i IN 0 .. length(key) - 1 LOOP
		inner_pad := set_byte(inner_pad, i, get_byte(key, i) # 54);
		outer_pad := set_byte(outer_pad, i, get_byte(key, i) # 92);
	END LOOP;
	RETURN sha256(outer_pad || sha256(inner_pad || data));
END $$;
-- eight bytes as a share of all numbers
CREATE FUNCTION share(code bytea) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$
	SELECT sum(get_byte(code, i) * 256::numeric ^ (7 - i)) / 256::numeric ^ 8
	  FROM generate_series(0, 7) AS i $$;

CREATE TABLE payments (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric, key text);
CREATE INDEX ON payments (key);
SELECT agentpay.attach('payments', 'repeats', 'fraud', 'id', 'at', idempotency => 'key');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://repeats.example');
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost)
	SELECT 'repeats_' || p, 'point', 'repeats', p, 1 FROM unnest('{hour,transaction}'::text[]) AS p;
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, invoke_when, price_input_per_million, price_output_per_million, stage)
	SELECT a, 'repeats', 'openai', 'https://repeats.example/v1', 'm', 'true', 1, 1, 'shadow' FROM unnest('{repeats_a,repeats_b,repeats_c}'::text[]) AS a;

-- nobody is asked again unless it is said; then there is a salt
SELECT count(*) AS salts FROM agentpay._draw_salts WHERE point = 'repeats';
INSERT INTO payments (id) VALUES ('early');
UPDATE agentpay.agents SET repeat_percent = 12.5, repeats = 3 WHERE name = 'repeats_a';
UPDATE agentpay.agents SET repeat_percent = 100, repeats = 20 WHERE name = 'repeats_b';
SELECT count(*) AS salts FROM agentpay._draw_salts WHERE point = 'repeats';
UPDATE agentpay._draw_salts SET salt = sha256('repeats') WHERE point = 'repeats';

INSERT INTO payments (id) SELECT 'p' || g FROM generate_series(1, 2000) AS g;
CREATE TEMP VIEW asked AS
SELECT t.row_id, t.agent, count(*) AS times, array_agg(t.repeat_no ORDER BY t.task_id) AS repeat_nos,
	   count(DISTINCT t.idempotency_key) AS keys, count(DISTINCT (t.created_at, t.decision_id, t.agent_version)) AS same,
	   bool_and(t.escalated_from IS NULL) AS by_payment, bool_and(t.decide_by IS NULL) AS awaited_by_none
  FROM agentpay._tasks t WHERE t.point = 'repeats' GROUP BY 1, 2;
SELECT agent, times, repeat_nos FROM asked WHERE row_id = 'early' ORDER BY 1;
-- an eighth: binomial, 2000 × 0.125 = 250, sd 14.8
SELECT agent, times, count(*) BETWEEN 190 AND 310 AS an_eighth, repeat_nos FROM asked
 WHERE agent = 'repeats_a' AND row_id <> 'early' AND times > 1 GROUP BY 1, 2, 4;
SELECT agent, times, count(*) FROM asked WHERE agent <> 'repeats_a' AND row_id <> 'early' GROUP BY 1, 2 ORDER BY 1;
SELECT bool_and(keys = times) AS own_keys, bool_and(same = 1) AS one_decision, bool_and(by_payment) AS by_payment, bool_and(awaited_by_none) AS awaited_by_none FROM asked;
SELECT count(*) AS drawn_otherwise FROM asked
 WHERE agent = 'repeats_a' AND row_id <> 'early'
   AND (times > 1) <> (share(hmac_sha256(sha256('repeats'), convert_to(E'repeat\nrepeats_a\n' || row_id, 'UTF8'))) < 0.125);

-- the same row is drawn again, whenever it comes
DELETE FROM payments WHERE id IN ('p1', 'p2', 'p3', 'p4', 'p5', 'p6', 'p7', 'p8');
INSERT INTO payments (id) SELECT 'p' || g FROM generate_series(1, 8) AS g;
SELECT row_id, count(*) FROM (SELECT row_id, decision_id, count(*) FROM agentpay._tasks
	WHERE point = 'repeats' AND agent = 'repeats_a' AND row_id ~ '^p[1-8]$' GROUP BY 1, 2) AS x (row_id, decision_id, times)
 GROUP BY row_id HAVING count(*) <> 2 OR count(DISTINCT times) <> 1;
-- a row that rolls back, or repeats an idempotency key, asks nobody
SAVEPOINT before;
INSERT INTO payments (id) VALUES ('gone');
ROLLBACK TO before;
INSERT INTO payments (id, key) VALUES ('first', 'k');
INSERT INTO payments (id, key) VALUES ('second', 'k');
SELECT row_id, agent, times FROM asked WHERE row_id IN ('gone', 'first', 'second') AND agent = 'repeats_b';
-- restored half-way, without its salt: nobody is asked again, nothing fails
DELETE FROM agentpay._draw_salts WHERE point = 'repeats';
UPDATE agentpay.decision_points SET case_due = '23 hours' WHERE point = 'repeats';
INSERT INTO payments (id) VALUES ('unsalted');
SELECT agent, times FROM asked WHERE row_id = 'unsalted' ORDER BY 1;

-- ── what is refused ─────────────────────────────────────────────────────────
\set VERBOSITY default
CREATE FUNCTION try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE said text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'done';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS said = MESSAGE_TEXT, hint = PG_EXCEPTION_HINT;
	RETURN SQLSTATE || ' ' || said || ' → ' || hint;
END $$;
INSERT INTO agentpay.models (name, kind, features, definition) VALUES ('repeats', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
SELECT try($$INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, repeat_percent) VALUES ('repeats_in', 'repeats', 'builtin', 'repeats', 'true', 5)$$);
SELECT try($$UPDATE agentpay.agents SET repeat_percent = 101 WHERE name = 'repeats_c'$$);
SELECT try($$UPDATE agentpay.agents SET repeats = 1 WHERE name = 'repeats_c'$$);
SELECT try($$UPDATE agentpay.agents SET repeat_percent = 0.01 WHERE name = 'repeats_c'$$);
ROLLBACK;
