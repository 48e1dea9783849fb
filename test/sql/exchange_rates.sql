-- base_amount: the amount at the rate of the payment's own day, in the point's
-- time zone.  The products are by hand: 100 × 1.0412 = 104.12, and so on.
SET client_min_messages = warning;
CREATE SCHEMA t_rates;
CREATE TABLE t_rates.payments (id int PRIMARY KEY, at timestamptz,
	amount numeric, currency text, outcome text);
SELECT agentpay.attach('t_rates.payments', point => 't_rates', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'currency',
	outcome => 'outcome');
UPDATE agentpay.decision_points SET time_zone = 'America/New_York'
 WHERE point = 't_rates';
INSERT INTO agentpay.exchange_rates (currency, valid_from, rate)
VALUES ('EUR', '2026-01-01', 1.0412), ('EUR', '2025-07-01', 1.17),
	   ('JPY', '2026-01-01', 0.0064);
INSERT INTO agentpay.exchange_rates (base, currency, valid_from, rate)
VALUES ('GBP', 'EUR', '2026-01-01', 0.86);
CREATE VIEW t_rates.amounts AS
SELECT row_id::int AS id, amount, currency, base_amount, verdict,
	   detail -> 'errors' AS errors
  FROM agentpay.decisions WHERE point = 't_rates';

-- 5 is 22:00 of the day before in New York; 6 is before any rate, 7 has a
-- currency without one, 8 none at all
INSERT INTO t_rates.payments (id, at, amount, currency) VALUES
	(1, '2026-03-01 12:00+00', 100, 'EUR'), (2, '2026-03-01 12:00+00', 100, 'USD'),
	(3, '2026-03-01 12:00+00', 15000, 'JPY'), (4, '2025-12-31 12:00+00', 100, 'EUR'),
	(5, '2026-01-01 03:00+00', 100, 'EUR'), (6, '2025-06-30 12:00+00', 100, 'EUR'),
	(7, '2026-03-01 12:00+00', 100, 'CHF'), (8, '2026-03-01 12:00+00', 100, NULL),
	(9, '2026-03-01 12:00+00', NULL, 'EUR'), (10, '2026-03-01 12:00+00', -20, 'EUR');
SELECT * FROM t_rates.amounts ORDER BY id;

-- A rate that comes later is for what comes after it, also in a session that
-- has read the others, and in a transaction with an older snapshot.
INSERT INTO agentpay.exchange_rates (currency, valid_from, rate)
VALUES ('CHF', '2026-01-01', 1.25);
INSERT INTO t_rates.payments (id, at, amount, currency)
VALUES (11, '2026-03-01 12:00+00', 100, 'CHF');
BEGIN ISOLATION LEVEL REPEATABLE READ;
UPDATE agentpay.exchange_rates SET rate = 1.5 WHERE currency = 'CHF';
INSERT INTO t_rates.payments (id, at, amount, currency)
VALUES (12, '2026-03-01 12:00+00', 100, 'CHF');
ROLLBACK;
INSERT INTO t_rates.payments (id, at, amount, currency)
VALUES (12, '2026-03-01 12:00+00', 100, 'CHF');
DELETE FROM agentpay.exchange_rates WHERE currency = 'CHF';
INSERT INTO t_rates.payments (id, at, amount, currency)
VALUES (13, '2026-03-01 12:00+00', 100, 'CHF');
SELECT * FROM t_rates.amounts WHERE id > 10 ORDER BY id;

-- The base currency is the point's.
UPDATE agentpay.decision_points SET base_currency = 'GBP'
 WHERE point = 't_rates';
INSERT INTO t_rates.payments (id, at, amount, currency)
VALUES (14, '2026-03-01 12:00+00', 100, 'EUR'),
	   (15, '2026-03-01 12:00+00', 100, 'USD');
SELECT * FROM t_rates.amounts WHERE id > 13 ORDER BY id;

-- What does not fit into a number costs the base_amount, not the payment.
INSERT INTO agentpay.exchange_rates (base, currency, valid_from, rate)
VALUES ('GBP', 'XTS', '2026-01-01', 1e12);
INSERT INTO t_rates.payments (id, at, amount, currency)
VALUES (16, '2026-03-01 12:00+00', ('1' || repeat('0', 131070))::numeric, 'XTS');
SELECT id, base_amount, verdict, errors FROM t_rates.amounts WHERE id = 16;

SELECT action, object, before ->> 'rate' AS before, after ->> 'rate' AS after
  FROM agentpay.governance_log
 WHERE object_kind = 'exchange_rate' AND object LIKE '%CHF%'
 ORDER BY logged_at, event_id;

-- What is refused.
\set SHOW_CONTEXT never
INSERT INTO agentpay.exchange_rates (currency, valid_from, rate) VALUES ('eur', '2026-01-01', 1);
INSERT INTO agentpay.exchange_rates (currency, valid_from, rate) VALUES ('USD', '2026-01-01', 1);
INSERT INTO agentpay.exchange_rates (currency, valid_from, rate) VALUES ('EUR', 'infinity', 1);
INSERT INTO agentpay.exchange_rates (currency, valid_from, rate) VALUES ('EUR', '2026-02-01', 0);
INSERT INTO agentpay.exchange_rates (currency, valid_from, rate) VALUES ('EUR', '2026-02-01', 'NaN');

SELECT agentpay.detach('t_rates');
DELETE FROM agentpay.exchange_rates;
DROP SCHEMA t_rates CASCADE;
