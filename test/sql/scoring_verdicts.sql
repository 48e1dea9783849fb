-- How a row gets its verdict: modes, thresholds, errors, time zones, lists,
-- columns that receive, agents that are asked, and what is stored of inputs.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
SET datestyle = 'ISO';
CREATE SCHEMA verdicts;
SET search_path = verdicts;

CREATE TABLE payments (
	id text PRIMARY KEY,
	card text,
	amount numeric,
	fee float8,
	qty int,
	memo text,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text,
	score numeric,
	reasons text[]);
CREATE INDEX ON payments (card, created_at);
SELECT agentpay.attach('payments', point => 'v', role => 'fraud',
	id => 'id', occurred_at => 'created_at', amount => 'amount',
	currency => 'USD', outcome => 'outcome', score => 'score',
	reasons => 'reasons');
CREATE VIEW latest AS
SELECT DISTINCT ON (row_id) row_id, verdict, score, reasons, ruleset_version,
	   inputs, detail, propensity
  FROM agentpay.decisions WHERE point = 'v' AND kind = 'rules'
 ORDER BY row_id, decided_at DESC;

-- no rules yet: the default verdict, and no version
INSERT INTO payments (id, amount) VALUES ('none', 1) RETURNING outcome, score, reasons;
SELECT verdict, score, reasons, ruleset_version, inputs, propensity
  FROM latest WHERE row_id = 'none';

-- ── mode score: 100 * rank / 2 are the thresholds: review 50, decline 100 ──
INSERT INTO agentpay.rules (point, code, condition, score, verdict) VALUES
	('v', 'A49_9', 'qty >= 1', 49.9, NULL),
	('v', 'B0_1', 'qty >= 2', 0.1, NULL),
	('v', 'C50', 'qty >= 3', 50, NULL),
	('v', 'D_MINUS', 'qty >= 4', -60.5, NULL),
	('v', 'E_FORCED', 'qty = 5', 0, 'decline'),
	('v', 'F_LOOSE', 'qty = 6', 200, 'approve'),
	('v', 'G_NULL', 'card = ''x''', 1000, NULL);
SELECT agentpay.activate('v');
INSERT INTO payments (id, qty) SELECT 'q' || i, i FROM generate_series(0, 6) i;
SELECT row_id, verdict, score, reasons, propensity FROM latest
 WHERE row_id LIKE 'q_' ORDER BY row_id;

-- thresholds of one's own; a rule that is snoozed or disabled does not count
SELECT agentpay.draft('v');
UPDATE agentpay.rulesets SET thresholds = '{"review": 10, "decline": 49.95}'
 WHERE point = 'v' AND version = 2;
UPDATE agentpay.rules SET enabled = false
 WHERE point = 'v' AND version = 2 AND code = 'C50';
SELECT agentpay.activate('v');
UPDATE agentpay.rules SET snoozed_until = now() + interval '1 day'
 WHERE point = 'v' AND version = 2 AND code = 'D_MINUS';
INSERT INTO payments (id, qty) SELECT 't' || i, i FROM generate_series(0, 4) i;
SELECT row_id, verdict, score, reasons, ruleset_version FROM latest
 WHERE row_id LIKE 't_' ORDER BY row_id;
SELECT agentpay.revert('v', 'try again');
INSERT INTO payments (id, qty) VALUES ('back', 3) RETURNING outcome, score;

-- ── mode first_match: by priority, then code ────────────────────────────────
SELECT agentpay.draft('v');
UPDATE agentpay.rulesets SET mode = 'first_match', thresholds = '{}'
 WHERE point = 'v' AND version = 3;
DELETE FROM agentpay.rules WHERE point = 'v' AND version = 3;
INSERT INTO agentpay.rules (point, code, condition, verdict, priority) VALUES
	('v', 'LATE', 'true', 'review', 200),
	('v', 'B', 'qty = 1', 'decline', 10),
	('v', 'A', 'qty IN (1, 2)', 'approve', 10),
	('v', 'FIRST', 'qty = 2', 'decline', 1);
SELECT agentpay.activate('v');
INSERT INTO payments (id, qty) SELECT 'f' || i, i FROM generate_series(1, 3) i;
SELECT row_id, verdict, score, reasons FROM latest
 WHERE row_id LIKE 'f_' ORDER BY row_id;

-- ── errors: the rule that fails, on_error, and nothing of the row's values ──
CREATE SCHEMA lib;
CREATE FUNCTION lib.gone(x int) RETURNS boolean IMMUTABLE LANGUAGE sql
	AS 'SELECT x > 0';
SET agentpay.expression_schemas = 'lib';
SELECT agentpay.draft('v', from_version => 1);
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('v', 'X_DIV', '100 / (qty - 1) > 1000', 1),
	('v', 'X_CAST', 'card::int > 5', 1),
	('v', 'X_GONE', 'qty = 9 AND lib.gone(qty)', 1);
SELECT agentpay.activate('v');
INSERT INTO payments (id, qty, card) VALUES
	('e0', 0, NULL), ('e1', 1, NULL), ('e2', 2, 'secret words'),
	('e3', 5, 'secret words'), ('e4', 1, 'more words') RETURNING id, outcome;
SELECT row_id, verdict, score, reasons, detail FROM latest
 WHERE row_id LIKE 'e_' ORDER BY row_id;
-- a function that is dropped takes its rule with it, and no other
DROP FUNCTION lib.gone(int);
INSERT INTO payments (id, qty) VALUES ('g0', 0), ('g3', 5);
SELECT row_id, verdict, score, detail #>> '{errors,X_GONE,sqlstate}' AS gone
  FROM latest WHERE row_id LIKE 'g_' ORDER BY row_id;
RESET agentpay.expression_schemas;
-- a feature whose index is dropped
SELECT agentpay.draft('v', from_version => 1);
INSERT INTO agentpay.features (point, name, key, aggregate, over)
	VALUES ('v', 'card_1h', '{card}', 'count', '1 hour');
INSERT INTO agentpay.rules (point, code, condition, score)
	VALUES ('v', 'BUSY', 'card_1h >= 2', 100);
SELECT agentpay.activate('v');
INSERT INTO payments (id, card) VALUES ('w1', 'c'), ('w2', 'c'), ('w3', NULL);
DROP INDEX payments_card_created_at_idx;
INSERT INTO payments (id, card) VALUES ('w4', 'c');
CREATE INDEX ON payments (card, created_at);
INSERT INTO payments (id, card) VALUES ('w5', 'c');
SELECT row_id, verdict, reasons, inputs -> 'card_1h' AS card_1h,
	   detail #>> '{errors,card_1h,sqlstate}' AS error
  FROM latest WHERE row_id LIKE 'w_' ORDER BY row_id;

-- amounts and times that are none
INSERT INTO payments (id, amount) VALUES ('nan', 'NaN'), ('inf', '-Infinity');
INSERT INTO payments (id, created_at) VALUES ('never', 'infinity');
SELECT d.row_id, d.verdict, d.amount, d.occurred_at = d.decided_at AS now,
	   d.detail -> 'errors' AS errors
  FROM agentpay.decisions d
 WHERE d.point = 'v' AND d.row_id IN ('nan', 'inf', 'never') ORDER BY 1;

-- ── time zone and date style are the point's ────────────────────────────────
SELECT agentpay.draft('v', from_version => 1);
DELETE FROM agentpay.rules WHERE point = 'v' AND version = 6;
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('v', 'NIGHT', 'extract(hour FROM created_at) < 6', 100),
	('v', 'DATED', 'created_at::date = date ''2026-02-03''', 60);
SELECT agentpay.activate('v');
SET TimeZone = 'America/New_York';
SET DateStyle = 'SQL, DMY';
INSERT INTO payments (id, created_at) VALUES
	('z1', timestamptz '2026-03-02 03:00+00'),
	('z2', timestamptz '2026-02-03 23:00+00');
UPDATE agentpay.decision_points SET time_zone = 'Asia/Tokyo' WHERE point = 'v';
INSERT INTO payments (id, created_at) VALUES
	('z3', timestamptz '2026-03-02 03:00+00'),
	('z4', timestamptz '2026-02-02 19:00+00');
SHOW TimeZone;
RESET TimeZone;
SET DateStyle = 'ISO';
SELECT row_id, verdict, reasons, inputs FROM latest WHERE row_id LIKE 'z_'
 ORDER BY row_id;
UPDATE agentpay.decision_points SET time_zone = 'UTC' WHERE point = 'v';

-- ── lists: any type, by its text; entries expire ────────────────────────────
INSERT INTO agentpay.lists (name) VALUES ('blocked');
SELECT agentpay.draft('v', from_version => 1);
DELETE FROM agentpay.rules WHERE point = 'v' AND version = 7;
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('v', 'CARD', 'in_list(''blocked'', card)', 100),
	('v', 'QTY', 'in_list(''blocked'', qty)', 60);
SELECT agentpay.activate('v');
INSERT INTO agentpay.list_entries (list, value, expires_at) VALUES
	('blocked', 'bad', NULL), ('blocked', '13', now() + interval '1 hour');
INSERT INTO payments (id, card, qty) VALUES
	('l1', 'bad', 1), ('l2', 'good', 13), ('l3', NULL, 13), ('l4', 'BAD', 1);
SET agentpay.clock_offset = '2h';
INSERT INTO payments (id, card, qty) VALUES ('l5', 'bad', 13);
RESET agentpay.clock_offset;
BEGIN;
DELETE FROM agentpay.list_entries WHERE value = 'bad';
INSERT INTO payments (id, card) VALUES ('l6', 'bad');
ROLLBACK;
INSERT INTO payments (id, card) VALUES ('l7', 'bad');
SELECT row_id, verdict, reasons FROM latest WHERE row_id LIKE 'l_'
 ORDER BY row_id;

-- ── agents: who is asked ────────────────────────────────────────────────────
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('m', 'logistic', '{qty,fee}',
	 '{"intercept": 0, "coefficients": [1, 0], "mean": [0, 0], "scale": [1, 1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage,
	sample_percent) VALUES
	('v_all', 'v', 'builtin', 'm', 'verdict = ''approve'' AND score < 60', 'shadow', 100),
	('v_third', 'v', 'builtin', 'm', 'true', 'shadow', 33.3),
	('v_off', 'v', 'builtin', 'm', 'true', 'off', 100),
	('v_fails', 'v', 'builtin', 'm', '1 / (qty - 3) > 0', 'shadow', 100);
INSERT INTO payments (id, card, qty, fee) VALUES
	('a1', 'bad', 0, 1), ('a2', 'good', 2, NULL), ('a3', 'good', 3, 2.5);
-- 1 / (1 + exp(-2)) and 1 / (1 + exp(-3)), by hand
SELECT l.row_id, l.verdict, l.inputs - '{card}'::text[] AS inputs, l.detail,
	   (SELECT array_agg(t.agent ORDER BY t.agent) FROM agentpay._tasks t
		 WHERE t.point = 'v' AND t.row_id = l.row_id AND t.agent <> 'v_third')
		   AS asked
  FROM latest l WHERE row_id LIKE 'a_' ORDER BY row_id;
-- a third, and the same third again
INSERT INTO payments (id, qty) SELECT 's' || i, 1 FROM generate_series(1, 3000) i;
SELECT count(*) BETWEEN 900 AND 1100 AS a_third FROM agentpay._tasks
 WHERE agent = 'v_third' AND row_id LIKE 's%';
CREATE TEMP TABLE drawn AS SELECT row_id FROM agentpay._tasks
 WHERE agent = 'v_third' AND row_id LIKE 's%';
DELETE FROM payments WHERE id LIKE 's%';
INSERT INTO payments (id, qty) SELECT 's' || i, 1 FROM generate_series(1, 3000) i;
SELECT count(*) AS otherwise FROM (
	SELECT row_id FROM agentpay._tasks
	 WHERE agent = 'v_third' AND row_id LIKE 's%' GROUP BY row_id
	HAVING count(*) <> 2) AS x;
-- a task belongs to its decision, and to its transaction
SELECT count(*) AS stray FROM agentpay._tasks t
  LEFT JOIN agentpay.decisions d ON d.decision_id = t.decision_id
   AND d.decided_at = t.created_at AND d.row_id = t.row_id AND d.xid = t.xid
 WHERE t.point = 'v' AND d.decision_id IS NULL;
BEGIN;
INSERT INTO payments (id, qty) VALUES ('undone', 1);
ROLLBACK;
SELECT count(*) FROM agentpay._tasks WHERE row_id = 'undone';
UPDATE agentpay.agents SET stage = 'off' WHERE point = 'v';

-- ── what is stored of inputs ────────────────────────────────────────────────
SELECT agentpay.draft('v', from_version => 1);
DELETE FROM agentpay.rules WHERE point = 'v' AND version = 8;
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('v', 'ALL', 'card IS NULL AND memo IS NULL AND amount > 0 AND fee > 0 AND qty > 0', 1);
SELECT agentpay.activate('v');
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment, options) VALUES
	('payments', 'card', 'pci', 'mask', '{"keep_last": 4}'),
	('payments', 'qty', 'financial', 'drop', '{}');
INSERT INTO payments (id, card, memo, amount, fee, qty) VALUES
	('i1', '4111111111111111', 'card 4111 1111 1111 1111, mail a@example.com, iban DE89 3704 0044 0532 0130 00', 12.340, 0.1, 7),
	('i2', NULL, 'plain words', 0, 'NaN', NULL);
SELECT row_id, inputs FROM latest WHERE row_id LIKE 'i_' ORDER BY row_id;

-- ── columns that receive: enum, domain, small numbers ───────────────────────
CREATE TYPE answer AS ENUM ('approve', 'review');
CREATE DOMAIN small_score AS int CHECK (VALUE < 90);
CREATE TABLE narrow (id uuid PRIMARY KEY, at date, n int, answer answer,
	score small_score);
SELECT agentpay.attach('narrow', point => 'narrow', role => 'fraud',
	id => 'id', occurred_at => 'at', outcome => 'answer', score => 'score',
	verdicts => '{approve,review}');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('narrow', 'R', 'n > 1', 50.5), ('narrow', 'S', 'n > 2', 49.5);
SELECT agentpay.activate('narrow');
INSERT INTO narrow VALUES
	('00000000-0000-0000-0000-000000000001', '2026-01-15', 1),
	('00000000-0000-0000-0000-000000000002', '2026-01-15', 2),
	('00000000-0000-0000-0000-000000000003', NULL, 3) RETURNING n, answer, score;
SELECT right(row_id, 1) AS n, verdict, score, detail,
	   CASE WHEN occurred_at <> decided_at THEN occurred_at END AS occurred_at
  FROM agentpay.decisions
 WHERE point = 'narrow' ORDER BY row_id;

-- ── two points on one table; one is unordered ───────────────────────────────
ALTER TABLE payments ADD route text;
SELECT agentpay.attach('payments', point => 'route', role => 'routing',
	id => 'id', occurred_at => 'created_at', outcome => 'route',
	verdicts => '{acquirer_a,acquirer_b,acquirer_c}');
INSERT INTO agentpay.rules (point, code, condition, verdict, priority) VALUES
	('route', 'SMALL', 'amount < 10', 'acquirer_b', 1),
	('route', 'DIVIDES', '1 / qty = 1', 'acquirer_c', 2);
SELECT agentpay.activate('route');
INSERT INTO payments (id, amount, qty) VALUES
	('r1', 5, 1), ('r2', 50, 1), ('r3', 50, 2), ('r4', 50, 0), ('r5', 5, 0)
	RETURNING id, outcome, route;
SELECT row_id, point, verdict, score, propensity FROM agentpay.decisions
 WHERE row_id IN ('r1', 'r4') AND point IN ('v', 'route') ORDER BY 1, 2;

RESET search_path;
SELECT agentpay.detach(p) FROM unnest('{v,narrow,route}'::text[]) AS p;
SET client_min_messages = warning;
DROP SCHEMA verdicts CASCADE;
