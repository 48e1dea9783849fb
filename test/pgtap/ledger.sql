-- create_ledger(): what it makes, and payments through all of its tables.  The
-- figures in comments are worked out by hand from the rows above them.
BEGIN;
SET client_min_messages = warning;
SET search_path = public, pg_catalog;
SET timezone = 'UTC';
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	message text; detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT,
		detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN concat_ws(' | ', SQLSTATE, message, detail, hint);
END$$;
SELECT plan(76);

-- ── refused ─────────────────────────────────────────────────────────────────
CREATE SCHEMA t_full;
CREATE TABLE t_full.x ();
SELECT is(pg_temp.refused($$SELECT agentpay.create_ledger('t_full')$$),
	'42P06 | schema "t_full" is not empty | It already holds table t_full.x. | SELECT * FROM agentpay.create_ledger(''t_full_2'');',
	'a schema with a table');
SELECT alike(pg_temp.refused(format('SELECT agentpay.create_ledger(%L)', s)), '42602 | invalid schema: %', 'no schema ' || s)
  FROM unnest(ARRAY['', 'pg_mine', 'agentpay']) AS s;
CREATE TABLE t_full.p (id bigint PRIMARY KEY, at timestamptz NOT NULL);
SAVEPOINT taken;
SELECT agentpay.attach('t_full.p', 'dispute', 'fraud', 'id', 'at') \g /dev/null
SELECT alike(pg_temp.refused($$SELECT agentpay.create_ledger('t_ledger')$$),
	'42710 | point "dispute" is taken | It stands on t_full.p. create_ledger() makes points % | CREATE DATABASE ledger; %point => ''dispute_2''%',
	'a point of a name is there');
ROLLBACK TO taken;

-- ── what it makes ───────────────────────────────────────────────────────────
CREATE SCHEMA "t Ledger's";
SAVEPOINT quoted;
SELECT is((SELECT count(*) FROM agentpay.create_ledger('t Ledger''s')), 4::bigint, 'an empty schema with any name');
ROLLBACK TO quoted;
-- tried, and dropped before it decided anything: the names are free again
SELECT FROM agentpay.create_ledger('t_tried') \g /dev/null
DROP SCHEMA t_tried CASCADE;
SELECT is(string_agg(object, ' ' ORDER BY object), 'dispute fraud reconciliation routing', 'after DROP SCHEMA, advice names the points')
  FROM agentpay.advice WHERE object_kind = 'point' AND problem = 'its table was dropped'
   AND fix = format('SELECT agentpay.detach(%L);', object);
SELECT results_eq($$ SELECT table_name::text, point, role FROM agentpay.create_ledger('t_ledger') $$, $$ VALUES
	('t_ledger.payments', 'fraud', 'fraud'), ('t_ledger.payments', 'routing', 'routing'),
	('t_ledger.settlements', 'reconciliation', 'reconciliation'), ('t_ledger.disputes', 'dispute', 'dispute') $$,
	'create_ledger() returns its points');
SELECT set_eq($$ SELECT relname::text FROM pg_class WHERE relnamespace = 't_ledger'::regnamespace AND relkind = 'r' $$,
	'{payments,captures,settlements,reversals,refunds,disputes,route_attempts}'::text[], 'seven tables');
SELECT is_empty($$ SELECT c.relname, a.attname FROM pg_class c
	JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum >= 0 AND NOT a.attisdropped
	WHERE c.relnamespace = 't_ledger'::regnamespace AND c.relkind = 'r' AND col_description(c.oid, a.attnum) IS NULL
	UNION ALL SELECT c.relname, NULL FROM pg_class c WHERE c.relnamespace = 't_ledger'::regnamespace
	AND c.relkind = 'r' AND obj_description(c.oid, 'pg_class') IS NULL $$, 'every table and column says what it is');
SELECT set_eq($$ SELECT conrelid::regclass::text, confrelid::regclass::text FROM pg_constraint
	WHERE connamespace = 't_ledger'::regnamespace AND contype = 'f' $$, $$ VALUES
	('t_ledger.captures', 't_ledger.payments'), ('t_ledger.disputes', 't_ledger.payments'),
	('t_ledger.refunds', 't_ledger.captures'), ('t_ledger.refunds', 't_ledger.payments'),
	('t_ledger.reversals', 't_ledger.payments'), ('t_ledger.route_attempts', 't_ledger.payments'),
	('t_ledger.settlements', 't_ledger.captures'), ('t_ledger.settlements', 't_ledger.payments') $$, 'foreign keys');
SELECT results_eq($$ SELECT point, string_agg(verdict || CASE WHEN is_default THEN '*' ELSE '' END, ' ' ORDER BY rank, verdict)
	FROM agentpay.verdicts WHERE point IN ('fraud', 'routing', 'reconciliation', 'dispute') GROUP BY 1 ORDER BY 1 $$, $$ VALUES
	('dispute', 'accept contest escalate*'), ('fraud', 'approve* review decline'),
	('reconciliation', 'matched exception*'), ('routing', 'acquirer_a* acquirer_b acquirer_c') $$, 'vocabularies');
SELECT is_empty($$ SELECT * FROM agentpay.advice WHERE object LIKE 't_ledger.%'
	OR split_part(object, '.', 1) IN ('fraud', 'routing', 'reconciliation', 'dispute') $$, 'nothing to advise');
SELECT is_empty($$ SELECT f.point, f.name FROM agentpay.features f
	WHERE f.point IN ('fraud', 'routing', 'reconciliation', 'dispute') AND NOT EXISTS (
		SELECT FROM agentpay.rules r WHERE r.point = f.point AND r.condition LIKE '%' || f.name || '%') $$,
	'every feature is used by a rule');

-- ── an ordinary role pays ───────────────────────────────────────────────────
CREATE ROLE t_ledger_app;
GRANT USAGE ON SCHEMA t_ledger TO t_ledger_app;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA t_ledger TO t_ledger_app;
INSERT INTO agentpay.list_entries (list, value) VALUES ('blocked_cards', 'card-0666');
SET ROLE t_ledger_app;
CREATE FUNCTION pg_temp.pay(reference text, at text, customer text, card text, amount numeric,
	currency text DEFAULT 'EUR', ip text DEFAULT 'DE', merchant text DEFAULT 'm1', network text DEFAULT 'visa',
	OUT said text, OUT route text) LANGUAGE sql AS $$
	INSERT INTO t_ledger.payments (reference, created_at, customer_id, card_id, merchant_id, channel, network, amount,
		currency, card_country, ip_country)
	VALUES (reference, ('2024-03-02 ' || at || '+00')::timestamptz, customer, card, merchant, 'ecommerce', network, amount,
		currency, 'DE', ip)
	RETURNING concat_ws(' ', outcome, risk_score, nullif(array_to_string(reasons, ' '), '')), route $$;
CREATE FUNCTION pg_temp.payment(which text) RETURNS bigint LANGUAGE sql STABLE AS $$
	SELECT payment_id FROM t_ledger.payments WHERE reference = which $$;
CREATE FUNCTION pg_temp.attempts(n int, at text, merchant text, route text, response text, card text DEFAULT 'none')
	RETURNS void LANGUAGE sql AS $$
	INSERT INTO t_ledger.route_attempts (payment_id, attempt_no, card_id, merchant_id, route, attempted_at, response)
	SELECT pg_temp.payment('p1'), coalesce((SELECT max(attempt_no) FROM t_ledger.route_attempts), 0) + g, card, merchant, route,
		('2024-03-02 ' || at || '+00')::timestamptz, response FROM generate_series(1, n) AS g $$;
SELECT is(said, 'approve 0', 'fraud: nothing to say') FROM pg_temp.pay('p1', '10:00:00', 'cust-0001', 'card-0001', 100);
SELECT is(said, 'approve 20 CARD_REPEATED', 'five seconds later') FROM pg_temp.pay('p2', '10:00:05', 'cust-0001', 'card-0001', 100);
-- 30 + 40: 600 > 5 * avg(100, 100); 800 in a day < 10 * 100
SELECT is(said, 'review 70 OTHER_COUNTRY UNUSUAL_AMOUNT', 'elsewhere, and much')
  FROM pg_temp.pay('p3', '10:10:00', 'cust-0001', 'card-0001', 600, ip => 'FR');
-- 50 + 30: DE, FR, GB; 900 < 5 * avg(100, 100, 600)
SELECT is(said, 'review 80 CARD_COUNTRIES OTHER_COUNTRY', 'a third country')
  FROM pg_temp.pay('p4', '10:20:00', 'cust-0001', 'card-0001', 900, ip => 'GB');
SELECT is(said, 'review 50 CARD_COUNTRIES', 'the fifth of the hour') FROM pg_temp.pay('p5', '10:25:00', 'cust-0001', 'card-0001', 100);
SELECT is(said, 'decline 110 CARD_BURST CARD_COUNTRIES', 'the sixth') FROM pg_temp.pay('p6', '10:30:00', 'cust-0001', 'card-0001', 100);
-- the first six: 1,900 in a day; yens are another key, so no average to exceed
SELECT is(said, 'approve 0', 'another currency is not compared')
  FROM pg_temp.pay('p7', '10:40:00', 'cust-0001', 'card-0002', 100000, 'JPY');
-- none of the ten is above 10 * 10 in a day with the others, the next one is
SELECT is(count(*) FILTER (WHERE said = 'approve 0'), 10::bigint, 'ten payments on ten cards')
  FROM generate_series(1, 10) AS g,
	LATERAL (SELECT * FROM pg_temp.pay('q' || g, '09:00:00', 'cust-0002', 'card-1' || g, 10)) AS x;
SELECT is(said, 'approve 30 UNUSUAL_SPEND', '110 in a day is more than ten times 10')
  FROM pg_temp.pay('q11', '09:30:00', 'cust-0002', 'card-2', 10);
SELECT is(said, 'decline 0 CARD_BLOCKED', 'a list is final') FROM pg_temp.pay('p8', '11:00:00', 'cust-0003', 'card-0666', 1);
SELECT pg_temp.attempts(2, '11:55:00', 'm2', 'acquirer_a', 'declined', 'card-0009') \g /dev/null
SELECT is(said, 'approve 0', 'two declined attempts with the card') FROM pg_temp.pay('p9', '12:00:00', 'cust-0009', 'card-0009', 10);
SELECT pg_temp.attempts(1, '11:56:00', 'm2', 'acquirer_a', 'declined', 'card-0009') \g /dev/null
SELECT is(said, 'review 60 CARD_DECLINED', 'three') FROM pg_temp.pay('p10', '12:01:00', 'cust-0009', 'card-0009', 10);
SELECT is(said, 'approve 0', 'not an hour later') FROM pg_temp.pay('p11', '12:57:00', 'cust-0009', 'card-0009', 10);
SELECT pg_temp.attempts(10, '13:00:00', 'm3', 'acquirer_a', 'declined'), pg_temp.attempts(10, '13:00:00', 'm3', 'acquirer_a', 'approved') \g /dev/null
SELECT is(said, 'approve 0', '10 of 20 attempts at the merchant declined')
  FROM pg_temp.pay('p12', '13:05:00', 'cust-0010', 'card-0010', 10, merchant => 'm3');
SELECT pg_temp.attempts(1, '13:00:00', 'm3', 'acquirer_a', 'declined') \g /dev/null
SELECT is(said, 'review 60 CARD_TESTING', '11 of 21')
  FROM pg_temp.pay('p13', '13:05:01', 'cust-0011', 'card-0011', 10, merchant => 'm3');

-- ── routing ─────────────────────────────────────────────────────────────────
SELECT is(route, 'acquirer_a', 'routing: the default') FROM pg_temp.pay('r1', '14:00:00', 'c', 'r1', 1, merchant => 'm5');
SELECT is(route, 'acquirer_b', 'American Express') FROM pg_temp.pay('r2', '14:00:00', 'c', 'r2', 1, merchant => 'm5', network => 'amex');
SELECT pg_temp.attempts(9, '14:00:00', 'm5', 'acquirer_a', 'error') \g /dev/null
SELECT is(route, 'acquirer_a', 'nine attempts are too few') FROM pg_temp.pay('r3', '14:01:00', 'c', 'r3', 1, merchant => 'm5');
SELECT pg_temp.attempts(1, '14:00:00', 'm5', 'acquirer_a', 'declined') \g /dev/null
SELECT is(route, 'acquirer_b', 'nine of ten failed') FROM pg_temp.pay('r4', '14:01:00', 'c', 'r4', 1, merchant => 'm5');
SELECT is(route, 'acquirer_a', 'for another merchant they did not') FROM pg_temp.pay('r5', '14:01:00', 'c', 'r5', 1, merchant => 'm6');
SELECT pg_temp.attempts(10, '14:02:00', 'm5', 'acquirer_b', 'timeout') \g /dev/null
SELECT is(route, 'acquirer_c', 'both fail') FROM pg_temp.pay('r6', '14:03:00', 'c', 'r6', 1, merchant => 'm5');

-- ── reconciliation ──────────────────────────────────────────────────────────
INSERT INTO t_ledger.captures (capture_id, payment_id, amount, currency)
SELECT 100 + n, pg_temp.payment('p' || n), c.amount, c.currency
  FROM (VALUES (1, 100, 'EUR'), (2, 100.10, 'EUR'), (3, 200.30, 'EUR'), (4, 1, 'EUR'), (5, 100, 'EUR')) AS c (n, amount, currency);
CREATE FUNCTION pg_temp.settle(reference text, payment bigint, capture bigint, amount numeric, currency text DEFAULT 'EUR')
	RETURNS text LANGUAGE sql AS $$
	INSERT INTO t_ledger.settlements (acquirer, reference, payment_id, capture_id, amount, currency)
	VALUES ('acquirer_a', reference, payment, capture, amount, currency)
	RETURNING concat_ws(' ', outcome, nullif(array_to_string(reasons, ' '), '')) $$;
SELECT is(pg_temp.settle('s1', pg_temp.payment('p1'), 101, 100), 'matched MATCHED', 'reconciliation: settled as captured');
SELECT is(pg_temp.settle('s2', pg_temp.payment('p1'), 101, 100), 'exception MATCHED SETTLED_TWICE', 'twice');
-- 100.10 was captured of 100
SELECT is(pg_temp.settle('s3', pg_temp.payment('p2'), 102, 100.10), 'exception MATCHED OVER_AUTHORISED', 'more than was authorised');
SELECT is(pg_temp.settle('s4', pg_temp.payment('p3'), 103, 200.3000), 'matched MATCHED', 'amounts are exact, whatever their scale');
SELECT is(pg_temp.settle('s5', pg_temp.payment('p4'), 104, 1.01), 'exception AMOUNT_DIFFERS', 'another amount');
SELECT is(pg_temp.settle('s6', pg_temp.payment('p5'), 105, 100, 'USD'), 'exception CURRENCY_DIFFERS', 'another currency');
SELECT is(pg_temp.settle('s7', pg_temp.payment('p6'), NULL, 100), 'exception NOT_CAPTURED', 'never captured');
SELECT is(pg_temp.settle('s8', NULL, NULL, 5), 'exception NOT_CAPTURED NO_AUTHORISATION', 'a line that names no payment');
SELECT alike(pg_temp.refused($$ INSERT INTO t_ledger.settlements (acquirer, reference, payment_id, capture_id, amount, currency)
	VALUES ('acquirer_a', 's9', pg_temp.payment('p1'), 102, 100, 'EUR') $$), '23503 | %', 'the capture is one of that payment');
RESET ROLE;

-- ── disputes: the point ─────────────────────────────────────────────────────
UPDATE t_ledger.payments SET authenticated = true WHERE reference = 'p4';
SET ROLE t_ledger_app;
INSERT INTO t_ledger.refunds (payment_id, refunded_at, amount, currency) VALUES (pg_temp.payment('p2'), '2024-03-03', 50, 'EUR');
INSERT INTO t_ledger.reversals (payment_id, reversed_at, amount, currency, reason)
VALUES (pg_temp.payment('p5'), '2024-03-03', 100, 'EUR', 'void');
CREATE FUNCTION pg_temp.dispute(which text, payment text, code text, amount numeric DEFAULT 100, currency text DEFAULT 'EUR',
	network text DEFAULT 'visa', days int DEFAULT 20, at timestamptz DEFAULT '2024-03-10') RETURNS text LANGUAGE sql AS $$
	INSERT INTO t_ledger.disputes (reference, payment_id, received_at, respond_by, network, reason_code, amount, currency)
	VALUES (which, pg_temp.payment(payment), at, at + days * interval '1 day', network, code, amount, currency)
	RETURNING concat_ws(' ', outcome, nullif(array_to_string(reasons, ' '), '')) $$;
SELECT is(pg_temp.dispute('d1', 'p1', '10.4'), 'escalate', 'dispute: a person decides');
SELECT is(pg_temp.dispute('d2', 'p2', '13.6', 50), 'contest CREDITED', 'refunded already');
SELECT is(pg_temp.dispute('d3', 'p3', '12.5', 14.99), 'accept SMALL', 'small');
SELECT is(pg_temp.dispute('d4', 'p4', '10.4', 900), 'contest LIABILITY_SHIFTED', 'the cardholder was authenticated');
SELECT is(pg_temp.dispute('d5', 'p6', '13.1', days => 1), 'escalate DUE_SOON', 'a day is left');
SELECT is(pg_temp.dispute('d6', 'p5', '11.2'), 'contest CREDITED', 'reversed already');

-- ── disputes: labels ────────────────────────────────────────────────────────
RESET ROLE;
CREATE FUNCTION pg_temp.labels(which text) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT string_agg(concat_ws(' ', label, source, amount_lost, to_char(effective_at, 'MM-DD')), ', '
					  ORDER BY observed_at, outcome_id)
	  FROM agentpay.outcomes WHERE point = 'fraud' AND row_id = pg_temp.payment(which)::text $$;
SELECT is(pg_temp.labels('p1'), 'fraud chargeback 100 03-10', 'fraud, by an ordinary role''s dispute');
SELECT is((SELECT count(*) FROM agentpay.outcomes WHERE point IN ('routing', 'reconciliation', 'dispute')
	OR row_id NOT IN (pg_temp.payment('p1')::text, pg_temp.payment('p4')::text)), 0::bigint,
	'processing, consumer and authorisation disputes, refunds and reversals give no label');
UPDATE t_ledger.disputes SET result = 'won', resolved_at = '2024-03-20' WHERE reference = 'd1';
SELECT is(pg_temp.labels('p1'), 'fraud chargeback 100 03-10, legit representment 0 03-20', 'won: corrected by appending');
UPDATE t_ledger.disputes SET reference = reference, result = 'won' WHERE reference = 'd1';
SELECT is(pg_temp.labels('p1'), 'fraud chargeback 100 03-10, legit representment 0 03-20', 'an update that says nothing new adds nothing');
UPDATE t_ledger.disputes SET result = 'lost', resolved_at = '2024-03-20' WHERE reference = 'd4';
SELECT is(pg_temp.labels('p4'), 'fraud chargeback 900 03-10', 'lost: it stands');
UPDATE t_ledger.disputes SET reason_code = '10.5' WHERE reference = 'd3';
UPDATE t_ledger.disputes SET reason_code = '13.1' WHERE reference = 'd3';
SELECT matches(pg_temp.labels('p3'), '^fraud chargeback 14.99 03-10, legit chargeback 0 \d\d-\d\d$', 'a code that changes to fraud, and back');
SELECT is(pg_temp.dispute('d7', 'p6', 'f29', 99, 'USD', network => 'amex'), 'escalate', 'a code in small letters');
SELECT is(pg_temp.labels('p6'), 'fraud chargeback 03-10', 'is found; the loss in another currency is not that of the payment');
UPDATE t_ledger.disputes SET payment_id = pg_temp.payment('p7') WHERE reference = 'd7';
SELECT is(regexp_replace(pg_temp.labels('p6'), ' \S+$', '') || '; ' || pg_temp.labels('p7'),
	'fraud chargeback 03-10, legit chargeback 0; fraud chargeback 03-10', 'a dispute that was linked to the wrong payment');
SELECT results_eq($$ SELECT DISTINCT recorded_by = session_user FROM agentpay.outcomes $$, 'VALUES (true)', 'who is the session''s user');

-- ── what goes wrong does not lose the dispute ───────────────────────────────
SELECT is(pg_temp.dispute('d8', 'p8', '10.99'), 'escalate', 'an unknown code');
SELECT is((SELECT fix FROM agentpay.advice WHERE problem = 'disputes have code 10.99 of visa, which no mapping knows: they give no label'),
	'INSERT INTO agentpay.outcome_mappings (network, reason_code, label) VALUES (''visa'', ''10.99'', ...); -- ''fraud'', or NULL: no fraud',
	'advice names it');
INSERT INTO agentpay.outcome_mappings VALUES ('visa', '10.99', 'fraud');
UPDATE t_ledger.disputes SET reason_code = reason_code WHERE reason_code = '10.99';
SELECT is(pg_temp.labels('p8') || (SELECT count(*) FROM agentpay.advice WHERE problem LIKE '%10.99%'),
	'fraud chargeback 100 03-100', 'once it is mapped, an update tells it');
SELECT is(pg_temp.dispute('d9', 'p9', '10.4', at => agentpay._now() + interval '9 days'), 'escalate', 'a time in the future');
SELECT is(coalesce(pg_temp.labels('p9'), 'none') || '; ' || (SELECT string_agg(problem, '; ') FROM agentpay.advice
	WHERE object = 't_ledger.disputes' AND level = 'error'),
	'none; 1 disputes of the last week gave no label: effective_at is in the future: '
	|| (SELECT received_at FROM t_ledger.disputes WHERE reference = 'd9'), 'gives none, and advice says so');
UPDATE agentpay.decision_points SET enabled = false WHERE point = 'fraud';
SELECT isnt(pg_temp.pay('old', '08:00:00', 'cust-0004', 'card-0004', 10), NULL, 'a payment that nobody decided about');
UPDATE agentpay.decision_points SET enabled = true WHERE point = 'fraud';
SELECT is(pg_temp.dispute('d10', 'old', '10.4') || coalesce(pg_temp.labels('old'), '') || (SELECT count(*)
	FROM agentpay.governance_log WHERE object_kind = 'dispute' AND action = 'failed'), 'escalate1', 'its dispute gives no label, and no fault');

-- ── a table of disputes of one's own ────────────────────────────────────────
-- A cast from the code's type is somebody's, and must not run as the owner.
CREATE TYPE t_full.code AS ENUM ('10.4', '13.1');
CREATE FUNCTION t_full.as_text(t_full.code) RETURNS text LANGUAGE plpgsql
	AS $$BEGIN RAISE EXCEPTION 'ran as %', current_user; END$$;
CREATE CAST (t_full.code AS text) WITH FUNCTION t_full.as_text(t_full.code);
CREATE TABLE t_full.claims (payment char(20), scheme text, code t_full.code, claimed numeric);
CREATE TRIGGER label AFTER INSERT OR UPDATE ON t_full.claims FOR EACH ROW
	EXECUTE FUNCTION agentpay.record_dispute('fraud', 'payment', 'network=scheme', 'reason_code=code', 'amount=claimed');
INSERT INTO t_full.claims VALUES (pg_temp.payment('p10')::text, ' Visa ', '10.4', 3);
SELECT matches(pg_temp.labels('p10'), '^fraud chargeback 3 \d\d-\d\d$', 'other names, other types, by output functions alone');
INSERT INTO t_full.claims VALUES (pg_temp.payment('p11')::text, NULL, NULL, NULL), (NULL, 'visa', '10.4', 3), (pg_temp.payment('p11')::text, 'visa', '10.4', 'NaN');
SELECT is(pg_temp.labels('p11'), NULL, 'without a code, a payment or a real amount: no label');
CREATE OR REPLACE TRIGGER label AFTER INSERT OR UPDATE ON t_full.claims FOR EACH ROW
	EXECUTE FUNCTION agentpay.record_dispute('fraud', 'payment', 'network=scheme', 'code=code');
INSERT INTO t_full.claims VALUES (pg_temp.payment('p11')::text, 'visa', '10.4', 3);
CREATE OR REPLACE TRIGGER label AFTER INSERT OR UPDATE ON t_full.claims FOR EACH ROW
	EXECUTE FUNCTION agentpay.record_dispute('fraud', 'payment', 'network=nosuch', 'reason_code=code');
INSERT INTO t_full.claims VALUES (pg_temp.payment('p11')::text, 'visa', '10.4', 3);
CREATE OR REPLACE TRIGGER label AFTER INSERT OR UPDATE ON t_full.claims FOR EACH ROW
	EXECUTE FUNCTION agentpay.record_dispute('routing', 'payment', 'network=scheme', 'reason_code=code');
INSERT INTO t_full.claims VALUES (pg_temp.payment('p11')::text, 'visa', '10.4', 3);
SELECT results_eq($$ SELECT reason, after ->> 'sqlstate' FROM agentpay.governance_log WHERE object = 't_full.claims'
	ORDER BY logged_at, event_id $$, $$ VALUES ('amount_lost is out of range: NaN', '23514'), ('unknown argument of the trigger: ''code=code''', '22023'),
	('the table has no column "nosuch"', '42703'), ('point "routing" has role routing', '22023') $$,
	'a trigger that is wrong loses no row');
SELECT is((SELECT count(*) FROM t_full.claims), 7::bigint, 'all are there');

-- ── who may ─────────────────────────────────────────────────────────────────
SET ROLE t_ledger_app;
SELECT alike(pg_temp.refused('SELECT agentpay.create_ledger(''t_mine'')'), '42501 | permission denied for schema agentpay%', 'not for everybody');
SELECT alike(pg_temp.refused('TABLE agentpay.outcomes'), '42501 | %', 'nor the labels');
RESET ROLE;
SELECT is((SELECT relowner::regrole::text FROM pg_class WHERE oid = 't_ledger.payments'::regclass), current_user::text,
	'the tables are the caller''s');

-- ── dropped ─────────────────────────────────────────────────────────────────
DROP SCHEMA t_ledger CASCADE;
SELECT alike(pg_temp.refused($$SELECT agentpay.create_ledger('t_again')$$),
	'42710 | point "dispute" is taken | Its table was dropped, and decisions name it. %', 'its log is not taken for that of another table');
SELECT agentpay.detach(p) FROM unnest('{fraud,routing,reconciliation,dispute}'::text[]) AS p \g /dev/null
SELECT is_empty($$ SELECT * FROM agentpay.advice WHERE split_part(object, '.', 1) IN ('fraud', 'routing', 'reconciliation', 'dispute') $$,
	'detached, nothing is left to mend');
SELECT * FROM finish();
ROLLBACK;
