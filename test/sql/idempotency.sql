-- A row that repeats a point's idempotency key gets the recorded verdict, and
-- no new task.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
CREATE SCHEMA idem;
SET search_path = idem;
CREATE TABLE payments (id bigint, key text, amount numeric,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text, PRIMARY KEY (id));
SELECT agentpay.attach('payments', point => 'idem', role => 'fraud',
	id => 'id', occurred_at => 'created_at', outcome => 'outcome',
	idempotency => 'key');
CREATE INDEX ON payments (key);
-- a row from before attach() has no decision to repeat
INSERT INTO payments (id, key, amount) VALUES (1, 'old', 5000);
SELECT agentpay.attach('payments', point => 'idem', role => 'fraud',
	id => 'id', occurred_at => 'created_at', outcome => 'outcome',
	idempotency => 'key');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('idem', 'BIG', 'amount > 1000', 60), ('idem', 'HUGE', 'amount > 9000', 60);
SELECT agentpay.activate('idem');
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('idem', 'logistic', '{amount}',
	 '{"intercept": 0, "coefficients": [0], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
	VALUES ('idem', 'idem', 'builtin', 'idem', 'true', 'shadow');

CREATE VIEW seen AS
SELECT d.row_id, d.verdict, d.detail ->> 'repeats' AS repeats,
	   (SELECT count(*) FROM agentpay._tasks t WHERE t.point = 'idem'
		   AND t.row_id = d.row_id) AS tasks
  FROM agentpay.decisions d WHERE d.point = 'idem' AND d.kind = 'rules'
 ORDER BY d.row_id::int;

-- a later statement, the same transaction, the same statement, COPY
INSERT INTO payments (id, key, amount) VALUES (10, 'a', 5000);
INSERT INTO payments (id, key, amount) VALUES (11, 'a', 1) RETURNING outcome;
BEGIN;
INSERT INTO payments (id, key, amount) VALUES (12, 'b', 1);
INSERT INTO payments (id, key, amount) VALUES (13, 'b', 9999) RETURNING outcome;
COMMIT;
INSERT INTO payments (id, key, amount) VALUES
	(14, 'c', 9999), (15, 'c', 1), (16, 'd', 1), (17, 'c', 1), (18, 'd', 9999)
	RETURNING id, outcome;
COPY payments (id, key, amount) FROM stdin;
20	a	1
21	e	9999
22	e	1
\.
-- no key, no repetition; an old row is scored as it is
INSERT INTO payments (id, key, amount) VALUES (30, NULL, 5000), (31, NULL, 1),
	(32, 'old', 1);
-- a repetition of a repetition
INSERT INTO payments (id, key, amount) VALUES (33, 'old', 9999);
-- what was rolled back is not repeated
BEGIN;
INSERT INTO payments (id, key, amount) VALUES (40, 'f', 9999);
ROLLBACK;
INSERT INTO payments (id, key, amount) VALUES (41, 'f', 1);
-- nor what was skipped
INSERT INTO payments (id, key, amount) VALUES (41, 'g', 9999), (42, 'g', 1)
	ON CONFLICT DO NOTHING;
SELECT * FROM seen;

-- many keys, twice each; none stays locked while the transaction goes on
BEGIN;
INSERT INTO payments (id, key, amount)
SELECT 1000 + i, 'bulk' || i % 2000, CASE WHEN i < 2000 THEN 5000 ELSE 1 END
  FROM generate_series(0, 3999) AS i;
SELECT verdict, repeats IS NOT NULL AS repeats, sum(tasks), count(*) FROM seen
 WHERE row_id::int >= 1000 GROUP BY 1, 2;
SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'
   AND pid = pg_backend_pid();
COMMIT;

-- with a unique index the table itself keeps keys apart
TRUNCATE payments;
DROP INDEX payments_key_idx;
CREATE UNIQUE INDEX payments_once ON payments (key);
INSERT INTO payments (id, key, amount) VALUES
	(50001, 'u', 5000), (50002, 'u', 1), (50003, 'v', 1)
	ON CONFLICT (key) DO NOTHING;
INSERT INTO payments (id, key, amount) VALUES (50004, 'u', 1);
SELECT * FROM seen WHERE row_id::int > 50000;

-- without an index the payment comes in all the same, and no agent is asked
DROP INDEX payments_once;
INSERT INTO payments (id, key, amount) VALUES (50005, 'u', 5000)
	RETURNING outcome;
SELECT * FROM seen WHERE row_id::int = 50005;
SELECT detail FROM agentpay.decisions WHERE point = 'idem' AND row_id = '50005';

SELECT agentpay.detach('idem');
RESET search_path;
SET client_min_messages = warning;
DROP SCHEMA idem CASCADE;
