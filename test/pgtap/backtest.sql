-- backtest(): a version of the rules over payments that were decided.  Each
-- expected answer is a plain SQL query over the table: the rules as CASE, the
-- windows as window functions, the lists by their entries' own times.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_back;
CREATE TABLE t_back.payments (id bigint, card text, amount numeric,
	currency text, note text, key text, at timestamptz NOT NULL, outcome text,
	PRIMARY KEY (id)) PARTITION BY RANGE (id);
CREATE TABLE t_back.low PARTITION OF t_back.payments FOR VALUES FROM (0) TO (150);
-- attribute numbers of its own
CREATE TABLE t_back.high (gone int, note text, key text, at timestamptz NOT NULL,
	outcome text, currency text, amount numeric, card text, id bigint NOT NULL);
ALTER TABLE t_back.high DROP COLUMN gone;
ALTER TABLE t_back.payments ATTACH PARTITION t_back.high FOR VALUES FROM (150) TO (10000);
CREATE INDEX ON t_back.payments (card, at);
CREATE INDEX ON t_back.payments (key);
\o /dev/null
SELECT agentpay.attach('t_back.payments', point => 't_back', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'currency', outcome => 'outcome', idempotency => 'key');
UPDATE agentpay.decision_points SET label_maturity = '1 day' WHERE point = 't_back';
INSERT INTO agentpay.lists VALUES ('t_back');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_back', 'BIG', 'amount > 80', 60), ('t_back', 'HUGE', 'amount > 95', 60);
SELECT agentpay.activate('t_back');
-- distinct times; the last ten are not mature
INSERT INTO t_back.payments (id, card, amount, currency, at)
SELECT i, 'c' || i % 7, i * 37 % 101, CASE WHEN i % 3 = 0 THEN 'EUR' ELSE 'USD' END,
	   CASE WHEN i <= 290 THEN '2026-01-10 00:00+00' ELSE now() END
	   + i * interval '5 minutes'
  FROM generate_series(1, 300) i;
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_back', 'c1');
INSERT INTO t_back.payments (id, card, amount, currency, at)
SELECT i, 'c' || i % 7, i * 37 % 101, 'USD', '2026-02-10 00:00+00'::timestamptz + i * interval '5 minutes'
  FROM generate_series(301, 400) i;
DELETE FROM agentpay.list_entries WHERE list = 't_back';
INSERT INTO t_back.payments (id, card, amount, currency, at)
SELECT i, 'c' || i % 7, i * 37 % 101, 'USD', '2026-02-20 00:00+00'::timestamptz + i * interval '5 minutes'
  FROM generate_series(401, 500) i;
SELECT agentpay.record_outcome('t_back', i, CASE WHEN i % 2 = 0 THEN 'fraud' ELSE 'legit' END)
  FROM generate_series(1, 300, 11) i;
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_back', 'card_sum', '{card}', 'sum', 'amount', '2 hours'),
	('t_back', 'card_n', '{card}', 'count', NULL, '3 hours');
INSERT INTO agentpay.features (point, name, kind, key)
VALUES ('t_back', 'since', 'since_last', '{card}');
UPDATE agentpay.features SET include_current = false WHERE point = 't_back' AND name = 'card_n';
-- 2: what was never computed; division fails where the amount is 50
INSERT INTO agentpay.rules (point, code, condition, score, verdict) VALUES
	('t_back', 'SUM', 'card_sum > 100', 30, NULL),
	('t_back', 'COUNT', 'card_n >= 5', 25, NULL),
	('t_back', 'SOON', 'since < 2500', 5, NULL),
	('t_back', 'LISTED', 'in_list(''t_back'', card)', 0, 'decline'),
	('t_back', 'DIVIDE', '1 / (amount - 50) > 0.9', 1, NULL);
UPDATE agentpay.rules SET condition = 'amount > 90' WHERE point = 't_back' AND version = 2 AND code = 'BIG';
DELETE FROM agentpay.rules WHERE point = 't_back' AND version = 2 AND code = 'HUGE';
\o
CREATE TEMP VIEW labelled AS
SELECT t.*, (SELECT o.label FROM agentpay.outcomes o
			 WHERE o.point = 't_back' AND o.row_id = t.id::text) AS observed
  FROM t_back.payments t;
CREATE TEMP VIEW expected AS
WITH features AS (
	SELECT l.*,
		   sum(amount) OVER (PARTITION BY card ORDER BY at RANGE '119 minutes 59 seconds' PRECEDING) AS card_sum,
		   count(*) OVER (PARTITION BY card ORDER BY at RANGE '179 minutes 59 seconds' PRECEDING) - 1 AS card_n,
		   extract(epoch FROM at - lag(at) OVER (PARTITION BY card ORDER BY at)) AS since
	  FROM labelled l),
scored AS (
	SELECT f.*, CASE WHEN card_sum > 100 THEN 30 ELSE 0 END
		   + CASE WHEN card_n >= 5 THEN 25 ELSE 0 END
		   + CASE WHEN since < 2500 THEN 5 ELSE 0 END
		   + CASE WHEN amount > 90 THEN 60 ELSE 0 END
		   + CASE WHEN amount = 51 THEN 1 ELSE 0 END AS score
	  FROM features f),
said AS (
	SELECT s.*, CASE WHEN amount > 80 AND amount > 95 THEN 'decline'
					 WHEN amount > 80 THEN 'review' ELSE 'approve' END AS recorded,
		   -- c1 was on the list while 301 to 400 were decided
		   CASE WHEN score >= 100 OR card = 'c1' AND id BETWEEN 301 AND 400 THEN 'decline'
				WHEN score >= 50 OR amount = 50 THEN 'review'
				ELSE 'approve' END AS verdict
	  FROM scored s)
SELECT recorded, verdict,
	   CASE WHEN at <= now() - interval '1 day' THEN coalesce(observed,
			CASE WHEN recorded = 'approve' THEN 'legit' END) END AS label,
	   id, amount, currency, at FROM said;
CREATE FUNCTION pg_temp.same(since timestamptz, until timestamptz) RETURNS SETOF text
	LANGUAGE sql AS $$
	WITH want AS (SELECT recorded, verdict, label, count(*), sum(amount), currency
					FROM expected WHERE at >= coalesce(since, '-infinity') AND at < coalesce(until, 'infinity')
				   GROUP BY recorded, verdict, label, currency),
	have AS (SELECT * FROM agentpay.backtest('t_back', 2, since, until))
	SELECT 'missing ' || m::text FROM (TABLE want EXCEPT TABLE have) m
	UNION ALL SELECT 'too much ' || t::text FROM (TABLE have EXCEPT TABLE want) t
	UNION ALL SELECT 'nothing' WHERE NOT EXISTS (TABLE have) $$;
CREATE FUNCTION pg_temp.refused(statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	message text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS message = MESSAGE_TEXT;
	RETURN concat_ws(' | ', SQLSTATE, message);
END$$;
SELECT plan(19);

SELECT is_empty($$SELECT * FROM pg_temp.same(NULL, NULL)$$, 'all of it, as plain SQL says');
SELECT is((SELECT sum(payments) FROM agentpay.backtest('t_back', 2)), 500::numeric,
	'every payment once');
SELECT is((SELECT count(DISTINCT verdict) FROM expected), 3::bigint, 'each verdict occurs');
SELECT is((SELECT count(*) FROM expected WHERE verdict <> recorded) > 100, true,
	'and the versions disagree');
SELECT is_empty($$SELECT * FROM pg_temp.same('2026-01-10 03:00+00', '2026-01-10 09:00+00')$$,
	'from since on, until before until');
SELECT is((SELECT sum(payments) FROM agentpay.backtest('t_back', 2, '2026-01-10 00:10+00', '2026-01-10 00:20+00')),
	2::numeric, 'both ends: the second and the third, not the fourth');
UPDATE t_back.payments SET note = 'touched' WHERE id % 2 = 0;
CREATE TEMP TABLE before AS SELECT
	(SELECT count(*) FROM agentpay.decisions) AS decisions,
	(SELECT count(*) FROM agentpay.governance_log) AS events,
	(SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t_back.payments t) AS rows;
SELECT is_empty($$SELECT * FROM pg_temp.same(NULL, NULL)$$, 'rows that were updated count once in their windows');
-- the active version says what was recorded
SELECT is_empty($$SELECT * FROM agentpay.backtest('t_back', 1)
	WHERE backtest_verdict IS DISTINCT FROM recorded_verdict$$, 'the active version says it again');
SELECT results_eq($$SELECT * FROM agentpay.backtest('t_back')$$,
	$$SELECT * FROM agentpay.backtest('t_back', 2)$$, 'left out: the newest draft');
SELECT is((SELECT ROW(decisions, events, rows)::text FROM before),
	ROW((SELECT count(*) FROM agentpay.decisions),
		(SELECT count(*) FROM agentpay.governance_log),
		(SELECT md5(string_agg(t::text, ',' ORDER BY id)) FROM t_back.payments t))::text,
	'nothing is written');
SELECT is(agentpay.in_list('t_back', 'c1'), false, 'lists are asked as they are now again');
INSERT INTO t_back.payments (id, card, amount, currency, at) VALUES (600, 'c0', 1, 'USD', '2026-03-01');
SELECT is((SELECT verdict FROM agentpay.decisions WHERE point = 't_back' AND row_id = '600'), 'approve',
	'and the next payment is decided by the active version');
DELETE FROM t_back.payments WHERE id = 600;
SELECT results_eq($$SELECT recorded_verdict, backtest_verdict, payments FROM agentpay.backtest('t_back', 2, '2026-03-01')
	WHERE amount = 1$$, $$VALUES ('approve', NULL, 1::bigint)$$, 'a row that is gone has no answer');
-- a repeated key: no rules decided about it
INSERT INTO t_back.payments (id, card, amount, currency, at, key)
VALUES (700, 'k', 1, 'USD', '2026-03-02', 'k'), (701, 'k', 99, 'USD', '2026-03-02', 'k');
SELECT is((SELECT sum(payments) FROM agentpay.backtest('t_back', 2, '2026-03-02', '2026-03-03')), 1::numeric,
	'a row that repeats a key is left out');
-- snoozed now, and once
UPDATE agentpay.rules SET snoozed_until = '2999-01-01' WHERE point = 't_back' AND version = 1 AND code = 'HUGE';
SELECT is((SELECT sum(payments) FROM agentpay.backtest('t_back', 1, NULL, '2026-02-01')
			WHERE backtest_verdict = 'decline'), NULL, 'a rule that is snoozed');
UPDATE agentpay.rules SET snoozed_until = now() - interval '1 s' WHERE point = 't_back' AND version = 1 AND code = 'HUGE';
SELECT is((SELECT sum(payments) FROM agentpay.backtest('t_back', 1, NULL, '2026-02-01')
			WHERE backtest_verdict = 'decline'),
	(SELECT count(*)::numeric FROM expected WHERE recorded = 'decline' AND at < '2026-02-01'),
	'a snooze that is over');
SELECT matches(pg_temp.refused($$SELECT * FROM agentpay.backtest('t_back', 9)$$), '^42704', 'no such version');
SELECT matches(pg_temp.refused($$SELECT * FROM agentpay.backtest('nobody')$$), '^23503', 'no such point');
SELECT agentpay.detach('t_back') \g /dev/null
SELECT matches(pg_temp.refused($$SELECT * FROM agentpay.backtest('t_back', 1)$$),
	'^55000 \| point "t_back" does not score rows now', 'a point that is off its table');
SELECT * FROM finish();
ROLLBACK;
