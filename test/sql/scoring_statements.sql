-- Promise 1: a committed row has exactly one rules decision per point, however
-- it came; a row that did not land has none, and an UPDATE makes none (FAULTS 11).
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
SET datestyle = 'ISO';

CREATE SCHEMA statements;
SET search_path = statements;
CREATE TABLE payments (
	id bigint PRIMARY KEY,
	amount numeric,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	note text,
	outcome text,
	score numeric);
SELECT agentpay.attach('payments', point => 'stmt', role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'EUR', outcome => 'outcome', score => 'score');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('stmt', 'BIG', 'amount > 1000', 60),
	('stmt', 'HUGE', 'amount > 5000', 60);
SELECT agentpay.activate('stmt');

-- Rows of the table beside their decisions; what does not fit is listed.
CREATE VIEW mismatch AS
SELECT coalesce(p.id::text, d.row_id) AS row_id, p.outcome,
	   count(d.row_id) AS decisions, min(d.verdict) AS verdict
  FROM payments p
  FULL JOIN (SELECT * FROM agentpay.decisions
			  WHERE point = 'stmt' AND kind = 'rules') d
	ON d.row_id = p.id::text
 GROUP BY 1, 2
HAVING count(d.row_id) <> 1 OR p.outcome IS DISTINCT FROM min(d.verdict);

-- the verdict is seen at once: 60 reaches review (50), 120 decline (100)
INSERT INTO payments (id, amount) VALUES (1, 10), (2, 2000), (3, 6000)
	RETURNING id, outcome, score;
SELECT row_id, verdict, score, reasons, occurred_at, amount, currency, inputs
  FROM agentpay.decisions WHERE point = 'stmt' ORDER BY row_id;

-- INSERT … SELECT, COPY, WITH, prepared, from PL/pgSQL, MERGE
INSERT INTO payments (id, amount) SELECT i, i FROM generate_series(10, 19) i;
COPY payments (id, amount) FROM stdin;
20	10
21	9999
\.
WITH x AS (INSERT INTO payments (id, amount) VALUES (22, 1) RETURNING id),
	 y AS (INSERT INTO payments (id, amount) VALUES (23, 7000) RETURNING id)
SELECT x.id, y.id FROM x, y;
PREPARE one (bigint) AS INSERT INTO payments (id, amount) VALUES ($1, 5);
EXECUTE one (24);
EXECUTE one (25);
DO $$BEGIN
	FOR i IN 26..28 LOOP
		INSERT INTO payments (id, amount) VALUES (i, 1500);
	END LOOP;
END$$;
MERGE INTO payments p USING (VALUES (3, 1), (29, 2000)) AS s (id, amount)
   ON p.id = s.id
 WHEN MATCHED THEN UPDATE SET note = 'merged'
 WHEN NOT MATCHED THEN INSERT (id, amount) VALUES (s.id, s.amount);
SELECT * FROM mismatch;
SELECT count(*) FROM agentpay.decisions WHERE point = 'stmt';

-- an UPDATE makes no decision
UPDATE payments SET amount = amount + 100000 WHERE id < 4;
SELECT * FROM mismatch;

-- rows that ON CONFLICT skips: the same key twice in one statement, and keys
-- that are there. BEFORE fires for each of them, AFTER only for 31 and 32.
INSERT INTO payments (id, amount) VALUES
	(1, 9000), (31, 9000), (31, 1), (2, 9000), (2, 1), (32, 1), (3, 1)
	ON CONFLICT DO NOTHING;
INSERT INTO payments (id, amount) VALUES (1, 1), (33, 2000)
	ON CONFLICT (id) DO UPDATE SET note = 'again';
SELECT * FROM mismatch;
SELECT row_id, verdict FROM agentpay.decisions
 WHERE point = 'stmt' AND row_id::int BETWEEN 31 AND 33 ORDER BY row_id;

-- a thousand that are skipped before one that lands
INSERT INTO payments (id, amount)
SELECT 1, 9000 FROM generate_series(1, 1000) UNION ALL SELECT 34, 1
	ON CONFLICT DO NOTHING;
SELECT * FROM mismatch;

-- transactions
BEGIN;
INSERT INTO payments (id, amount) VALUES (40, 1);
ROLLBACK;
BEGIN;
INSERT INTO payments (id, amount) VALUES (41, 1);
SAVEPOINT a;
INSERT INTO payments (id, amount) VALUES (42, 1);
SAVEPOINT b;
INSERT INTO payments (id, amount) VALUES (43, 1);
RELEASE SAVEPOINT b;
ROLLBACK TO SAVEPOINT a;
INSERT INTO payments (id, amount) VALUES (44, 1);
COMMIT;
DO $$BEGIN
	BEGIN
		INSERT INTO payments (id, amount) VALUES (45, 1);
		RAISE EXCEPTION 'no';
	EXCEPTION WHEN raise_exception THEN
		INSERT INTO payments (id, amount) VALUES (46, 1);
	END;
END$$;
-- an error in the middle of a statement, after rows were scored
INSERT INTO payments (id, amount) VALUES (47, 1), (48, 1), (1, 1);
SELECT * FROM mismatch;
SELECT row_id FROM agentpay.decisions
 WHERE point = 'stmt' AND row_id::int BETWEEN 40 AND 49 ORDER BY row_id;

-- a statement inside a statement: a trigger that inserts into the same table
CREATE FUNCTION twin() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.id BETWEEN 50 AND 59 THEN
		INSERT INTO statements.payments (id, amount)
		VALUES (NEW.id + 100, NEW.amount * 1000);
	END IF;
	RETURN NEW;
END$$;
CREATE TRIGGER twin_before BEFORE INSERT ON payments
	FOR EACH ROW WHEN (NEW.id % 2 = 0) EXECUTE FUNCTION twin();
CREATE TRIGGER twin_after AFTER INSERT ON payments
	FOR EACH ROW WHEN (NEW.id % 2 = 1) EXECUTE FUNCTION twin();
INSERT INTO payments (id, amount) VALUES (50, 2), (51, 3), (52, 10), (53, 4);
SELECT * FROM mismatch;
SELECT row_id, verdict FROM agentpay.decisions
 WHERE point = 'stmt' AND row_id::int BETWEEN 50 AND 153 ORDER BY row_id::int;
DROP TRIGGER twin_before ON payments;
DROP TRIGGER twin_after ON payments;

-- what is replicated or restored is not scored again
SET session_replication_role = replica;
INSERT INTO payments (id, amount) VALUES (60, 9000) RETURNING outcome;
RESET session_replication_role;
SELECT count(*) FROM agentpay.decisions WHERE point = 'stmt' AND row_id = '60';
DELETE FROM payments WHERE id = 60;

-- a later trigger that skips the row, and one that changes what was read
CREATE FUNCTION meddle() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	IF NEW.note = 'skip' THEN
		RETURN NULL;
	ELSIF NEW.note = 'raise' THEN
		NEW.amount := NEW.amount * 10;
	ELSIF NEW.note = 'rename' THEN
		NEW.id := NEW.id + 100;
	END IF;
	RETURN NEW;
END$$;
CREATE TRIGGER "~~meddle" BEFORE INSERT ON payments
	FOR EACH ROW EXECUTE FUNCTION meddle();
INSERT INTO payments (id, amount, note) VALUES
	(70, 1, 'skip'), (71, 200, 'raise'), (72, 1, 'rename'), (73, 1, NULL),
	(74, 1, 'rename');
SELECT row_id, verdict, amount, detail FROM agentpay.decisions
 WHERE point = 'stmt' AND row_id::int BETWEEN 70 AND 199
   AND decided_at > (SELECT max(decided_at) FROM agentpay.decisions
					  WHERE point = 'stmt' AND row_id = '153')
 ORDER BY row_id::int;
SELECT * FROM mismatch;
SET agentpay.changed_after_scoring = error;
INSERT INTO payments (id, amount, note) VALUES (75, 200, 'raise');
RESET agentpay.changed_after_scoring;
SELECT object, problem FROM agentpay.advice
 WHERE problem ILIKE '%after%scor%' AND object IN ('stmt', 'statements.payments');
DROP TRIGGER "~~meddle" ON payments;

-- somebody disables the BEFORE trigger: the decision is recorded all the same
ALTER TABLE payments DISABLE TRIGGER "~agentpay_score";
INSERT INTO payments (id, amount) VALUES (80, 9000) RETURNING outcome;
ALTER TABLE payments ENABLE ALWAYS TRIGGER "~agentpay_score";
SELECT row_id, verdict FROM agentpay.decisions
 WHERE point = 'stmt' AND row_id = '80';

-- a deferred constraint fails at commit
CREATE TABLE customers (id bigint PRIMARY KEY);
ALTER TABLE payments ADD customer bigint REFERENCES customers
	DEFERRABLE INITIALLY DEFERRED;
BEGIN;
INSERT INTO payments (id, amount, customer) VALUES (90, 1, 7);
COMMIT;
SELECT count(*) FROM agentpay.decisions WHERE point = 'stmt' AND row_id = '90';

SELECT agentpay.detach('stmt');
INSERT INTO payments (id, amount) VALUES (91, 9000) RETURNING outcome;
SELECT count(*) FROM agentpay.decisions WHERE point = 'stmt' AND row_id = '91';
SELECT agentpay.attach('payments', point => 'stmt', role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'EUR', outcome => 'outcome', score => 'score');
INSERT INTO payments (id, amount) VALUES (92, 9000) RETURNING outcome;

-- ── a row that moves to another partition keeps its decision ────────────────
CREATE TABLE parted (
	id bigint, region text, amount numeric,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text, PRIMARY KEY (id, region)) PARTITION BY LIST (region);
CREATE TABLE parted_eu PARTITION OF parted FOR VALUES IN ('eu');
-- other attribute numbers
CREATE TABLE parted_us (junk int, outcome text, amount numeric, id bigint NOT NULL,
	gone text, region text NOT NULL,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00');
ALTER TABLE parted_us DROP COLUMN junk, DROP COLUMN gone;
ALTER TABLE parted_us ADD PRIMARY KEY (id, region);
ALTER TABLE parted ATTACH PARTITION parted_us FOR VALUES IN ('us');
CREATE UNIQUE INDEX ON parted_eu (id);
CREATE UNIQUE INDEX ON parted_us (id);
SELECT agentpay.attach('parted', point => 'parted', role => 'fraud',
	id => 'id', occurred_at => 'created_at', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('parted', 'BIG', 'amount > 1000', 60),
	('parted', 'US', 'region = ''us''', 50);
SELECT agentpay.activate('parted');
INSERT INTO parted (id, region, amount) VALUES
	(1, 'eu', 10), (2, 'us', 10), (3, 'eu', 2000), (4, 'us', 2000);
INSERT INTO parted_us (id, region, amount) VALUES (5, 'us', 1)
	RETURNING outcome;
COPY parted (id, region, amount) FROM stdin;
6	us	2000
7	eu	1
\.
UPDATE parted SET region = CASE region WHEN 'eu' THEN 'us' ELSE 'eu' END
	WHERE id <= 4;
-- moved, and new, by one statement
MERGE INTO parted p USING (VALUES (1, 'eu'), (8, 'us')) AS s (id, region)
   ON p.id = s.id
 WHEN MATCHED THEN UPDATE SET region = s.region
 WHEN NOT MATCHED THEN INSERT (id, region, amount) VALUES (s.id, s.region, 1);
DELETE FROM parted WHERE id = 7;
SELECT row_id, count(*), min(verdict) FROM agentpay.decisions
 WHERE point = 'parted' GROUP BY 1 ORDER BY 1;
SELECT id, tableoid::regclass, outcome FROM parted ORDER BY 1;

-- a cascade that moves rows: the moving statement has no triggers of its own
CREATE TABLE regions (region text PRIMARY KEY);
INSERT INTO regions VALUES ('eu'), ('us');
ALTER TABLE parted ADD FOREIGN KEY (region) REFERENCES regions
	ON UPDATE CASCADE;
CREATE TABLE parted_uk PARTITION OF parted FOR VALUES IN ('uk');
CREATE UNIQUE INDEX ON parted_uk (id);
UPDATE regions SET region = 'uk' WHERE region = 'us';
SELECT row_id, count(*) FROM agentpay.decisions
 WHERE point = 'parted' GROUP BY 1 HAVING count(*) <> 1;
SELECT id, tableoid::regclass, outcome FROM parted ORDER BY 1;

RESET search_path;
SELECT agentpay.detach('stmt'), agentpay.detach('parted');
SET client_min_messages = warning;
DROP SCHEMA statements CASCADE;
