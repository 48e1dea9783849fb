-- Labels of what is stopped: explore_percent, audit_sample_percent, and the
-- propensity and assignment of each decision.
--
-- Which rows are drawn is computed here a second time, in SQL: HMAC by RFC
-- 2104 from sha256(), the salt, and the row id.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
CREATE SCHEMA assign;
SET search_path = assign;

CREATE FUNCTION hmac_sha256(key bytea, data bytea) RETURNS bytea
	LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
	inner_pad bytea;
	outer_pad bytea;
BEGIN
	inner_pad := decode(repeat('36', 64), 'hex');
	outer_pad := decode(repeat('5c', 64), 'hex');
	FOR i IN 0 .. length(key) - 1 LOOP
		inner_pad := set_byte(inner_pad, i, get_byte(key, i) # 54);
		outer_pad := set_byte(outer_pad, i, get_byte(key, i) # 92);
	END LOOP;
	RETURN sha256(outer_pad || sha256(inner_pad || data));
END $$;
-- RFC 4231, case 2
SELECT hmac_sha256('Jefe', 'what do ya want for nothing?');

-- a number of eight bytes, as a share of all of them
CREATE FUNCTION share(code bytea, at int) RETURNS numeric
	LANGUAGE sql IMMUTABLE AS $$
	SELECT sum(get_byte(code, at - 1 + i) / 256::numeric ^ i)
	  FROM generate_series(1, 8) AS i $$;

CREATE TABLE payments (id bigint PRIMARY KEY, kind text NOT NULL, card text,
	amount numeric, currency text NOT NULL DEFAULT 'EUR', points int,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text, score numeric, reasons text[]);
SELECT agentpay.attach('payments', point => 'assign', role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'currency', outcome => 'outcome', score => 'score',
	reasons => 'reasons');
INSERT INTO agentpay.lists (name) VALUES ('t_blocked'), ('t_good');
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_blocked', 'bad'),
	('t_good', 'good');
-- thresholds are spread: review from 50, decline from 100
INSERT INTO agentpay.rules (point, code, condition, score, verdict) VALUES
	('assign', 'HALF', 'kind <> ''approve''', 60, NULL),
	('assign', 'OTHER_HALF', 'kind NOT IN (''approve'', ''review'')', 60, NULL),
	('assign', 'APPROVES', 'kind = ''approving''', 0, 'approve'),
	('assign', 'REVIEWS', 'kind = ''reviewing''', 0, 'review'),
	('assign', 'DECLINES', 'kind = ''declining''', 0, 'decline'),
	('assign', 'LISTED', 'kind = ''listed'' AND in_list(''t_blocked'', card)', 1, NULL),
	('assign', 'NOT_LISTED', 'kind = ''not_listed'' AND NOT in_list(''t_good'', card)', 1, NULL),
	('assign', 'FAILS', 'kind = ''error'' AND 1 / points > 0', 1, NULL);
SELECT agentpay.activate('assign');
CREATE TABLE kinds (kind text, card text, amount numeric, points int,
	verdict text, eligible boolean);
INSERT INTO kinds VALUES
	('approve', NULL, 10, 1, 'approve', false),
	('review', NULL, 10, 1, 'review', false),
	('sum', NULL, 10, 1, 'decline', true),
	('at_limit', NULL, 500, 1, 'decline', true),
	('above_limit', NULL, 500.01, 1, 'decline', false),
	('no_amount', NULL, NULL, 1, 'decline', false),
	('approving', NULL, 10, 1, 'decline', true),
	('reviewing', NULL, 10, 1, 'decline', false),
	('declining', NULL, 10, 1, 'decline', false),
	('listed', 'bad', 10, 1, 'decline', false),
	('listed', 'other', 10, 1, 'decline', true),
	('not_listed', 'bad', 10, 1, 'decline', false),
	('not_listed', 'good', 10, 1, 'decline', true),
	('error', NULL, 10, 1, 'decline', true),
	('error', NULL, 10, 0, 'decline', false);
CREATE FUNCTION pay(first bigint, each int) RETURNS void LANGUAGE sql AS $$
	INSERT INTO assign.payments (id, kind, card, amount, points)
	SELECT first + row_number() OVER (), k.kind, k.card, k.amount, k.points
	  FROM assign.kinds k, generate_series(1, each) $$;
-- the decisions of what pay() inserted, beside what they should be
CREATE FUNCTION compare(first bigint, until bigint, explore numeric,
	audit numeric)
	RETURNS TABLE (kind text, eligible boolean, propensity text,
				   decisions bigint, wrong bigint)
	LANGUAGE sql AS $$
	SELECT k.kind || coalesce(' ' || k.card, '') || CASE k.points WHEN 0
			THEN ' fails' ELSE '' END, k.eligible,
		   string_agg(DISTINCT d.propensity::text, ','), count(*),
		   count(*) FILTER (WHERE (d.assignment, d.verdict, d.answer, p.outcome)
			IS DISTINCT FROM (e.assignment,
				CASE e.assignment WHEN 'explore' THEN 'approve' ELSE k.verdict END,
				CASE e.assignment WHEN 'explore' THEN k.verdict END,
				CASE e.assignment WHEN 'explore' THEN 'approve' ELSE k.verdict END)
			OR d.score <> p.score OR d.reasons <> p.reasons
			OR cardinality(d.reasons) = 0 AND k.kind <> 'approve')
	  FROM assign.payments p
	  JOIN assign.kinds k ON (k.kind, k.points) = (p.kind, p.points)
	   AND k.card IS NOT DISTINCT FROM p.card
	  JOIN agentpay._draw_salts s ON s.point = 'assign'
	  JOIN agentpay.decisions d ON d.point = 'assign'
	   AND d.row_id = p.id::text
	 CROSS JOIN LATERAL assign.hmac_sha256(s.salt,
			convert_to(p.id::text, 'UTF8')) AS h
	 CROSS JOIN LATERAL (SELECT CASE
			WHEN k.eligible AND assign.share(h, 0) < explore / 100
			THEN 'explore' WHEN assign.share(h, 8) < audit / 100 THEN 'audit'
			ELSE 'treatment' END AS assignment) AS e
	 WHERE p.id > first AND p.id <= until
	 GROUP BY k.kind, k.card, k.points, k.eligible
	 ORDER BY k.eligible, 1 $$;

-- ── nothing is drawn by default ─────────────────────────────────────────────
SELECT count(*) FROM agentpay._draw_salts WHERE point = 'assign';
SELECT pay(0, 20);
SELECT assignment, verdict, answer, propensity, count(*)
  FROM agentpay.decisions WHERE point = 'assign'
 GROUP BY 1, 2, 3, 4 ORDER BY 2;

-- ── explore and audit ───────────────────────────────────────────────────────
UPDATE agentpay.decision_points SET explore_percent = 10,
	explore_max_amount = 500, audit_sample_percent = 20
 WHERE point = 'assign';
SELECT octet_length(salt) FROM agentpay._draw_salts WHERE point = 'assign';
-- 1 − 0.9 × 0.8 = 0.28 where a row can be let through, 0.2 elsewhere
SELECT pay(100000, 1000);
SELECT * FROM compare(100000, 115000, 10, 20);

-- With the salt that agentpay chose, 4,000 eligible rows: X ~ B(4000, 0.1) are
-- explored and Y ~ B(4000, 0.28) observed, but for 1e-10 within these bounds
-- (the sums of the tails of both, by lgamma in Python).
INSERT INTO payments (id, kind, amount)
SELECT 10000 + i, 'sum', 10 FROM generate_series(1, 4000) AS i;
SELECT count(*) FILTER (WHERE assignment = 'explore') BETWEEN 274 AND 526 AS explored,
	   count(*) FILTER (WHERE assignment <> 'treatment') BETWEEN 936 AND 1304 AS observed
  FROM agentpay.decisions WHERE point = 'assign'
   AND row_id::bigint BETWEEN 10001 AND 14000;

-- a salt of our own from here on, so that rows can be named
UPDATE agentpay._draw_salts SET salt = sha256('assign') WHERE point = 'assign';
UPDATE agentpay.decision_points SET audit_sample_percent = 0
 WHERE point = 'assign';
CREATE TABLE drawn AS
SELECT i AS id, share(hmac_sha256(sha256('assign'),
						  convert_to(i::text, 'UTF8')), 0) < 0.1 AS explored
  FROM generate_series(20001, 20400) AS i;
SELECT array_agg(id) FROM (SELECT id FROM drawn WHERE explored
						   ORDER BY id LIMIT 5) AS d;
SELECT id AS lucky FROM drawn WHERE explored ORDER BY id LIMIT 1 \gset
SELECT id AS other FROM drawn WHERE NOT explored ORDER BY id LIMIT 1 \gset
-- RETURNING shows it; the same id is drawn again after a rollback, a savepoint
BEGIN;
INSERT INTO payments (id, kind, amount) VALUES (:lucky, 'sum', 10)
	RETURNING outcome, score, reasons;
ROLLBACK;
BEGIN;
SAVEPOINT s;
INSERT INTO payments (id, kind, amount) VALUES (:other, 'sum', 10)
	RETURNING outcome;
ROLLBACK TO s;
INSERT INTO payments (id, kind, amount) VALUES (:lucky, 'sum', 10), (:other, 'sum', 10)
	RETURNING outcome;
COMMIT;
SELECT verdict, answer, assignment, propensity, score, reasons, detail
  FROM agentpay.decisions WHERE point = 'assign'
   AND row_id IN (:'lucky', :'other') ORDER BY row_id;
DELETE FROM payments WHERE id IN (:lucky, :other);
-- no limit: any amount that is known
UPDATE agentpay.decision_points SET explore_max_amount = NULL
 WHERE point = 'assign';
INSERT INTO payments (id, kind, amount) VALUES (:lucky, 'sum', 1e9)
	RETURNING outcome;
DELETE FROM payments WHERE id = :lucky;
INSERT INTO payments (id, kind, amount) VALUES (:lucky, 'sum', NULL)
	RETURNING outcome;
DELETE FROM payments WHERE id = :lucky;
-- what cannot be judged is stopped
INSERT INTO payments (id, kind, amount) VALUES (:lucky, 'sum', 'NaN')
	RETURNING outcome;
DELETE FROM payments WHERE id = :lucky;

-- ── evaluate() says what could happen, not what the draw says ───────────────
SELECT item, value, matched FROM agentpay.evaluate('assign',
	jsonb_build_object('id', :lucky, 'kind', 'sum', 'amount', 10))
 WHERE item IN ('verdict', 'explore', 'propensity');
UPDATE agentpay.decision_points SET audit_sample_percent = 20,
	explore_max_amount = 500 WHERE point = 'assign';
SELECT DISTINCT k.kind, e.item, e.value, e.matched, e.verdict
  FROM kinds k, agentpay.evaluate('assign', jsonb_build_object('id', 1,
	'kind', k.kind, 'card', k.card, 'amount', k.amount, 'points', k.points)) AS e
 WHERE e.item IN ('verdict', 'explore', 'propensity') AND k.card IS DISTINCT FROM 'other'
   AND k.card IS DISTINCT FROM 'good'
 ORDER BY 1, 2, 3;

-- ── labels that are complete need no draw to be known ───────────────────────
UPDATE agentpay.decision_points SET labels_complete = true
 WHERE point = 'assign';
INSERT INTO payments (id, kind, amount)
SELECT 30000 + i, 'sum', 10 FROM generate_series(1, 200) AS i;
SELECT propensity, count(*) FROM agentpay.decisions WHERE point = 'assign'
   AND row_id::bigint BETWEEN 30001 AND 30200 GROUP BY 1;
UPDATE agentpay.decision_points SET labels_complete = false
 WHERE point = 'assign';

-- ── an UPDATE makes no draw ─────────────────────────────────────────────────
UPDATE payments SET kind = 'approve' WHERE id BETWEEN 30001 AND 30010;
SELECT count(*) FROM agentpay.decisions WHERE point = 'assign'
   AND row_id::bigint BETWEEN 30001 AND 30010;

-- ── modes, vocabularies, roles ──────────────────────────────────────────────
SELECT agentpay.draft('assign') AS version \gset
UPDATE agentpay.rulesets SET mode = 'first_match'
 WHERE point = 'assign' AND version = :version;
DELETE FROM agentpay.rules WHERE point = 'assign' AND version = :version;
INSERT INTO agentpay.rules (point, version, code, condition, verdict) VALUES
	('assign', :version, 'ALL', 'kind = ''sum''', 'decline');
SELECT agentpay.activate('assign', :version) = :version AS activated;
INSERT INTO payments (id, kind, amount)
SELECT 40000 + i, 'sum', 10 FROM generate_series(1, 1000) AS i;
SELECT verdict, propensity, assignment = 'explore' AS explored, count(*)
  FROM agentpay.decisions WHERE point = 'assign'
   AND row_id::bigint BETWEEN 40001 AND 41000 GROUP BY 1, 2, 3;
SELECT problem, fix FROM agentpay.advice WHERE object = 'assign'
   AND problem LIKE 'explore%';
-- a default that stops is let through: no rule said so
UPDATE agentpay.verdicts SET is_default = true
 WHERE point = 'assign' AND verdict = 'decline';
INSERT INTO payments (id, kind, amount)
SELECT 50000 + i, 'unknown', 10 FROM generate_series(1, 400) AS i;
SELECT count(*) = (SELECT count(*) FROM generate_series(50001, 50400) AS i
	WHERE share(hmac_sha256(sha256('assign'),
							convert_to(i::text, 'UTF8')), 0) < 0.1) AS as_drawn
  FROM agentpay.decisions WHERE point = 'assign' AND assignment = 'explore'
   AND row_id::bigint BETWEEN 50001 AND 50400;
SELECT agentpay.detach('assign');

-- two verdicts; a row id that is text; a partitioned table; COPY
CREATE TABLE parts (id text NOT NULL, amount numeric,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text, PRIMARY KEY (id)) PARTITION BY HASH (id);
CREATE TABLE parts_0 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE parts_1 PARTITION OF parts FOR VALUES WITH (MODULUS 2, REMAINDER 1);
SELECT agentpay.attach('parts', point => 'assign_two', role => 'fraud',
	id => 'id', occurred_at => 'created_at', outcome => 'outcome',
	verdicts => '{pass,hold}');
INSERT INTO agentpay.rules (point, code, condition, score)
	VALUES ('assign_two', 'ALL', 'true', 100);
SELECT agentpay.activate('assign_two');
UPDATE agentpay.decision_points SET explore_percent = 10
 WHERE point = 'assign_two';
UPDATE agentpay._draw_salts SET salt = sha256('two') WHERE point = 'assign_two';
UPDATE agentpay.decision_points SET audit_sample_percent = 100
 WHERE point = 'assign_two';
COPY parts (id) FROM PROGRAM 'seq -f "ä %g" 1 300';
SELECT d.verdict, d.answer, d.assignment, d.propensity, count(*),
	   count(*) FILTER (WHERE d.assignment <> CASE WHEN share(hmac_sha256(
			sha256('two'), convert_to(d.row_id, 'UTF8')), 0) < 0.1
			THEN 'explore' ELSE 'audit' END OR d.verdict <> p.outcome) AS wrong
  FROM agentpay.decisions d JOIN parts p ON p.id = d.row_id
 WHERE d.point = 'assign_two' GROUP BY 1, 2, 3, 4 ORDER BY 1;
-- a version in shadow says its own; draw and propensity are the payment's
UPDATE agentpay.decision_points SET audit_sample_percent = 20
 WHERE point = 'assign_two';
INSERT INTO agentpay.rules (point, code, condition, score)
	VALUES ('assign_two', 'NONE', 'false', 100);
SELECT agentpay.activate('assign_two', as_shadow => true);
COPY parts (id) FROM PROGRAM 'seq -f "ö %g" 1 300';
SELECT s.verdict, s.answer, s.authority, r.verdict AS rules, s.assignment,
	   s.propensity, count(*) > 0 AS some
  FROM agentpay.decisions s
  JOIN agentpay.decisions r USING (point, row_id, assignment, propensity)
 WHERE point = 'assign_two' AND s.kind = 'shadow_rules' AND r.kind = 'rules'
 GROUP BY 1, 2, 3, 4, 5, 6 ORDER BY 5;
SELECT count(*) FROM agentpay.decisions WHERE point = 'assign_two'
   AND kind = 'shadow_rules' AND assignment IN ('explore', 'audit', 'treatment');
-- a role that stops nothing can be audited; its labels come by themselves
CREATE TABLE routes (id int PRIMARY KEY, outcome text,
	created_at timestamptz NOT NULL DEFAULT now());
SELECT agentpay.attach('routes', point => 'assign_route', role => 'routing',
	id => 'id', occurred_at => 'created_at', verdicts => '{a,b}',
	outcome => 'outcome');
UPDATE agentpay.decision_points SET audit_sample_percent = 100
 WHERE point = 'assign_route';
INSERT INTO routes (id) VALUES (1) RETURNING outcome;
SELECT verdict, answer, assignment, propensity FROM agentpay.decisions
 WHERE point = 'assign_route';
UPDATE agentpay.decision_points SET explore_percent = 1
 WHERE point = 'assign_route';
UPDATE agentpay.decision_points SET explore_max_amount = 1
 WHERE point = 'assign_two';

-- ── a row that repeats an idempotency key gets what the first one got ───────
CREATE TABLE repeated (id int PRIMARY KEY, key text, amount numeric,
	created_at timestamptz NOT NULL DEFAULT now(), outcome text);
CREATE INDEX ON repeated (key);
SELECT agentpay.attach('repeated', point => 'assign_key', role => 'fraud',
	id => 'id', occurred_at => 'created_at', outcome => 'outcome',
	idempotency => 'key');
INSERT INTO agentpay.rules (point, code, condition, score)
	VALUES ('assign_key', 'ALL', 'amount > 5', 100);
SELECT agentpay.activate('assign_key');
UPDATE agentpay.decision_points SET explore_percent = 10,
	audit_sample_percent = 20 WHERE point = 'assign_key';
-- in one statement, and in another one; the repetition would be approved
INSERT INTO repeated (id, key, amount)
SELECT i, 'k' || i % 500, CASE WHEN i <= 500 THEN 10 ELSE 1 END
  FROM generate_series(1, 1000) AS i;
INSERT INTO repeated (id, key, amount)
SELECT i, 'k' || i % 500, 1 FROM generate_series(1001, 1500) AS i;
SELECT r.assignment, r.propensity, r.verdict, r.answer,
	   count(*) > 0 AS some,
	   count(*) FILTER (WHERE (r.assignment, r.propensity, r.verdict, r.answer)
		IS DISTINCT FROM (f.assignment, f.propensity, f.verdict, f.answer)
		OR r.detail ->> 'repeats' IS NULL) AS wrong
  FROM agentpay.decisions r
  JOIN agentpay.decisions f ON f.point = 'assign_key'
   AND f.row_id = (1 + (r.row_id::int - 1) % 500)::text
 WHERE r.point = 'assign_key' AND r.row_id::int > 500
 GROUP BY 1, 2, 3, 4 ORDER BY 1, 2;
SELECT sum(count) AS repetitions FROM (SELECT count(*) FROM agentpay.decisions
 WHERE point = 'assign_key' AND detail ? 'repeats') AS r;
-- not known whether it repeats: it is not let through
DROP INDEX repeated_key_idx;
INSERT INTO repeated (id, key, amount)
SELECT i, 'n' || i, 10 FROM generate_series(2001, 2200) AS i;
SELECT propensity, verdict, assignment = 'explore' AS explored,
	   detail -> 'errors' ? 'key' AS failed, count(*)
  FROM agentpay.decisions WHERE point = 'assign_key' AND row_id::int > 2000
 GROUP BY 1, 2, 3, 4;

-- ── a salt that is missing draws nothing, and claims nothing ────────────────
SELECT agentpay.attach('payments', point => 'assign', role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'currency', outcome => 'outcome', score => 'score',
	reasons => 'reasons');
DELETE FROM agentpay._draw_salts WHERE point = 'assign';
UPDATE agentpay.features SET name = name WHERE false; -- reads it again
INSERT INTO payments (id, kind, amount)
SELECT 60000 + i, 'unknown', 10 FROM generate_series(1, 100) AS i;
SELECT assignment, propensity, verdict, count(*) FROM agentpay.decisions
 WHERE point = 'assign' AND row_id::bigint BETWEEN 60001 AND 60100 GROUP BY 1, 2, 3;

SELECT count(agentpay.detach(point)) FROM agentpay.decision_points
 WHERE point LIKE 'assign%' AND enabled;
SET client_min_messages = warning;
DROP SCHEMA assign CASCADE;
