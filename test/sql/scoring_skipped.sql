-- Rows of one statement that have the same id, of which only some land: the
-- decision is the one of the row that landed.
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
CREATE SCHEMA skipped;
SET search_path = skipped;
CREATE TABLE payments (id bigint PRIMARY KEY, reference text UNIQUE,
	amount numeric, created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text);
-- two points, so that a row has two entries
SELECT agentpay.attach('payments', point => point, role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'EUR', outcome => outcome)
  FROM (VALUES ('skipped', 'outcome'), ('skipped_too', NULL)) p (point, outcome);
INSERT INTO agentpay.rules (point, code, condition, score)
SELECT point, 'BIG', 'amount > 1000', 100
  FROM (VALUES ('skipped'), ('skipped_too')) p (point);
SELECT agentpay.activate(point)
  FROM (VALUES ('skipped'), ('skipped_too')) p (point);
CREATE VIEW seen AS
SELECT p.id, p.amount, p.outcome, d.point, d.verdict, d.amount AS scored,
	   d.detail
  FROM payments p JOIN agentpay.decisions d ON d.row_id = p.id::text
 WHERE d.point LIKE 'skipped%'
 ORDER BY p.id, d.point;

-- the first of each is skipped because of another column than its id
INSERT INTO payments (id, reference, amount) VALUES (1, 'a', 10);
INSERT INTO payments (id, reference, amount) VALUES
	(2, 'a', 9999), (2, 'b', 1), (3, 'a', 1), (3, 'a', 2), (3, 'c', 9999),
	(4, 'd', 1), (4, 'e', 9999)
	ON CONFLICT DO NOTHING;
SELECT * FROM seen;

-- the same where another trigger changes what was scored
CREATE FUNCTION doubles() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN NEW.amount := NEW.amount * 2; RETURN NEW; END';
CREATE TRIGGER "~later" BEFORE INSERT ON payments
	FOR EACH ROW EXECUTE FUNCTION doubles();
INSERT INTO payments (id, reference, amount) VALUES
	(5, 'f', 700), (6, 'a', 700), (7, 'g', 700), (8, 'h', 9999)
	ON CONFLICT DO NOTHING;
SELECT * FROM seen WHERE id >= 5 AND point = 'skipped';

-- and where it overrules the verdict
CREATE OR REPLACE FUNCTION doubles() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN NEW.outcome := ''approve''; RETURN NEW; END';
INSERT INTO payments (id, reference, amount) VALUES (9, 'i', 1), (10, 'j', 9999);
SELECT * FROM seen WHERE id >= 9;
SET agentpay.changed_after_scoring = error;
INSERT INTO payments (id, reference, amount) VALUES (11, 'k', 9999);
RESET agentpay.changed_after_scoring;

-- a row that a trigger keeps in its partition is not the one that comes next
CREATE TABLE moving (id bigint, amount numeric, region text,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE moving_a PARTITION OF moving FOR VALUES IN ('a');
CREATE TABLE moving_b PARTITION OF moving FOR VALUES IN ('b');
SELECT agentpay.attach('moving', point => 'moving', role => 'fraud',
	id => 'id', occurred_at => 'created_at', outcome => 'outcome');
INSERT INTO moving (id, amount, region) VALUES (1, 1, 'a'), (2, 2, 'a');
CREATE FUNCTION keeps() RETURNS trigger LANGUAGE plpgsql
	AS 'BEGIN RETURN CASE WHEN OLD.id = 1 THEN NULL ELSE OLD END; END';
CREATE TRIGGER "~keeps" BEFORE DELETE ON moving
	FOR EACH ROW EXECUTE FUNCTION keeps();
SET enable_hashjoin = off; -- in the order of VALUES
SET enable_mergejoin = off;
MERGE INTO moving m USING (VALUES (1), (3)) AS s (id) ON m.id = s.id
 WHEN MATCHED THEN UPDATE SET region = 'b'
 WHEN NOT MATCHED THEN INSERT (id, amount, region) VALUES (s.id, 3, 'b');
MERGE INTO moving m USING (VALUES (2), (4)) AS s (id) ON m.id = s.id
 WHEN MATCHED THEN UPDATE SET region = 'b', id = 20
 WHEN NOT MATCHED THEN INSERT (id, amount, region) VALUES (s.id, 4, 'b');
SELECT m.tableoid::regclass, m.id, m.outcome, count(d.row_id) AS decisions
  FROM moving m LEFT JOIN agentpay.decisions d
	ON d.point = 'moving' AND d.row_id = m.id::text
 GROUP BY 1, 2, 3 ORDER BY 2;
SET client_min_messages = warning;
SELECT agentpay.detach('moving');
SELECT agentpay.detach('skipped');
SELECT agentpay.detach('skipped_too');
DROP SCHEMA skipped CASCADE;
