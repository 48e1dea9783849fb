-- rule_stats, label_coverage and the payments of a day are the same whatever the
-- rollups have seen: each step is compared with a count of the logs in plain SQL,
-- before and after a roll.  A worker may roll at any time, too.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
CREATE SCHEMA rollup;
SET search_path = rollup;
SET jit = off;
CREATE TABLE payments (id bigint PRIMARY KEY, amount numeric,
	at timestamptz NOT NULL DEFAULT now(), outcome text);
SELECT agentpay.attach('payments', point => 't_rollup', role => 'fraud',
	id => 'id', occurred_at => 'at', outcome => 'outcome');
UPDATE agentpay.decision_points SET label_maturity = '1 day'
 WHERE point = 't_rollup';
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_rollup', 'EVEN', 'amount % 2 = 0', 10),
	('t_rollup', 'BIG', 'amount > 90', 60),
	('t_rollup', 'DIVIDE', '1 / (amount - 50) > 0.4', 1);
SELECT agentpay.activate('t_rollup');
SELECT agentpay.draft('t_rollup');
DELETE FROM agentpay.rules WHERE version = 2 AND code = 'BIG' AND point = 't_rollup';
SELECT agentpay.activate('t_rollup', 2, as_shadow => true);

-- what the view says, from the logs: of each rule, its decisions one by one
CREATE VIEW reference AS
WITH rows AS MATERIALIZED (
	SELECT d.ruleset_version AS version, d.reasons, d.detail, d.decided_at,
		   d.propensity,
		   d.occurred_at <= clock_timestamp() - interval '1 day' AS mature,
		   (SELECT o.label FROM agentpay.outcomes o
			 WHERE o.point = d.point AND o.row_id = d.row_id
			 ORDER BY o.observed_at DESC LIMIT 1) AS label
	  FROM agentpay.decisions d
	 WHERE d.point = 't_rollup' AND d.kind LIKE '%rules')
SELECT r.version, r.code, count(x) AS evaluated,
	   count(x) FILTER (WHERE r.code = ANY (x.reasons)) AS hits,
	   count(x) FILTER (WHERE x.detail -> 'errors' ? r.code) AS errors,
	   count(x) FILTER (WHERE r.code = ANY (x.reasons) AND x.mature
						AND (x.label IS NOT NULL OR x.propensity > 0))
		   AS labelled_hits,
	   CASE WHEN count(x) FILTER (WHERE r.code = ANY (x.reasons) AND x.mature
								  AND x.label IS NULL AND x.propensity = 0) = 0
			THEN round(count(x) FILTER (WHERE r.code = ANY (x.reasons)
										AND x.mature AND x.label = 'fraud')::numeric
				 / nullif(count(x) FILTER (WHERE r.code = ANY (x.reasons)
										   AND x.mature), 0), 6) END AS precision,
	   max(x.decided_at) FILTER (WHERE r.code = ANY (x.reasons)) AS last_hit
  FROM agentpay.rules r LEFT JOIN rows x ON x.version = r.version
 WHERE r.point = 't_rollup'
 GROUP BY r.version, r.code;
-- label_coverage, from the logs, one by one
CREATE VIEW coverage AS
WITH rows AS MATERIALIZED (
	SELECT d.verdict,
		   d.occurred_at <= clock_timestamp() - interval '1 day' AS mature,
		   (SELECT o.source FROM agentpay.outcomes o
			 WHERE o.point = d.point AND o.row_id = d.row_id
			 ORDER BY o.observed_at DESC LIMIT 1) AS source
	  FROM agentpay.decisions d
	 WHERE d.point = 't_rollup' AND d.kind = 'rules')
SELECT r.verdict, count(*) AS payments, count(r.source) AS labelled,
	   count(*) FILTER (WHERE r.mature) AS mature,
	   round(count(r.source) FILTER (WHERE r.mature)::numeric
			 / nullif(count(*) FILTER (WHERE r.mature), 0), 6) AS share,
	   coalesce((SELECT jsonb_object_agg(s.source, s.n)
				   FROM (SELECT x.source, count(*) AS n FROM rows x
						  WHERE x.verdict = r.verdict AND x.source IS NOT NULL
						  GROUP BY 1) AS s), '{}') AS sources
  FROM rows r GROUP BY r.verdict;
CREATE VIEW days AS
SELECT (d.decided_at AT TIME ZONE 'UTC')::date AS day, count(*) AS payments
  FROM agentpay.decisions d
 WHERE d.point = 't_rollup' AND d.kind = 'rules' GROUP BY 1;
CREATE VIEW differences AS
WITH expected AS MATERIALIZED (
	SELECT r::text AS line FROM reference r
	UNION ALL SELECT c::text FROM coverage c
	UNION ALL SELECT d::text FROM days d),
said AS MATERIALIZED (
	SELECT s::text AS line
	  FROM (SELECT version, code, evaluated, hits, errors, labelled_hits,
				   precision, last_hit
			  FROM agentpay.rule_stats WHERE point = 't_rollup') AS s
	UNION ALL
	SELECT s::text
	  FROM (SELECT verdict, payments, labelled, mature, share, sources
			  FROM agentpay.label_coverage WHERE point = 't_rollup') AS s
	UNION ALL
	SELECT s::text
	  FROM (SELECT day, payments FROM agentpay._payment_days()
			 WHERE point = 't_rollup') AS s)
SELECT 'missing' AS what, m.* FROM (TABLE expected EXCEPT ALL TABLE said) AS m
UNION ALL
SELECT 'too much', t.* FROM (TABLE said EXCEPT ALL TABLE expected) AS t;
-- whether the rollup has all that there is
CREATE VIEW rolled AS
SELECT coalesce(sum(n), 0) = (SELECT count(*) FROM agentpay.decisions
			WHERE point = 't_rollup' AND kind LIKE '%rules') AS all_rolled,
	   (SELECT coalesce(sum(n), 0) FROM agentpay._payment_rollup
		 WHERE point = 't_rollup') = (SELECT count(*) FROM agentpay.decisions
			WHERE point = 't_rollup' AND kind = 'rules') AS all_paid
  FROM agentpay._rule_rollup WHERE point = 't_rollup';

TABLE differences;
-- around the moment at which labels are due, in one hour and in others
INSERT INTO payments (id, amount, at)
SELECT i, i, now() - interval '1 day' + (i - 50) * interval '97 seconds' + interval '60 seconds'
	   + CASE WHEN i % 3 = 0 THEN interval '-5 hours' ELSE '0' END
	   + CASE WHEN i % 5 = 0 THEN interval '7 hours' ELSE '0' END
  FROM generate_series(1, 100) AS i;
TABLE differences;
SELECT version, code, evaluated, hits, errors FROM agentpay.rule_stats
 WHERE point = 't_rollup' ORDER BY version, code;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE rolled;
TABLE differences;
-- nothing new, nothing written
SELECT agentpay._roll_rules();

-- labels: one, a correction, one that is repeated
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rollup', i,
	CASE WHEN i % 4 = 0 THEN 'fraud' ELSE 'legit' END)
   FROM generate_series(1, 100, 3) i; END $$;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE differences;
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rollup', i, 'fraud')
   FROM generate_series(91, 100) i; END $$;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rollup', i, 'legit')
   FROM generate_series(91, 95) i; END $$;
INSERT INTO payments (id, amount, at)
SELECT i, i, now() - interval '3 days' FROM generate_series(101, 120) AS i;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE differences;
TABLE rolled;

-- the same labels from another source, before and after they are counted
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rollup', i, 'fraud', 'audit')
   FROM generate_series(93, 100) i; END $$;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE differences;
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rollup', i, 'fraud', 'chargeback')
   FROM generate_series(97, 104) i; END $$;
TABLE differences;
SELECT sum(n) FILTER (WHERE source = 'audit') AS audit,
	   sum(n) FILTER (WHERE source = 'chargeback') AS chargeback
  FROM agentpay._payment_cells() WHERE point = 't_rollup';
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE differences;

-- in a transaction that has written: what it wrote counts, and it rolls nothing
BEGIN;
INSERT INTO payments (id, amount) VALUES (200, 2);
TABLE differences;
SELECT agentpay._roll_rules();
SAVEPOINT s;
INSERT INTO payments (id, amount) VALUES (201, 92);
ROLLBACK TO s;
INSERT INTO payments (id, amount) VALUES (202, 94);
COMMIT;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE differences;
TABLE rolled;

-- more decisions than are looked up one by one, and a merge of what was added
INSERT INTO payments (id, amount, at)
SELECT i, i % 100, now() - interval '40 days' + i * interval '1 minute'
  FROM generate_series(1001, 26000) AS i;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE differences;
TABLE rolled;
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rollup', i, 'fraud')
   FROM generate_series(1001, 26000, 25) i; END $$;
TABLE differences;
BEGIN;
LOCK TABLE agentpay._rule_rollup_state IN SHARE ROW EXCLUSIVE MODE;
SELECT agentpay._merge_rollup(), agentpay._merge_payments();
COMMIT;
TABLE differences;
-- another maturity: nothing is counted anew
UPDATE agentpay.decision_points SET label_maturity = '20 days'
 WHERE point = 't_rollup';
SELECT count(*) FROM agentpay.rule_stats s JOIN reference r USING (version, code)
 WHERE s.point = 't_rollup' AND s.labelled_hits < r.labelled_hits;
UPDATE agentpay.decision_points SET label_maturity = '1 day'
 WHERE point = 't_rollup';
TABLE differences;
-- the state is gone, as after a restore: all is counted
DELETE FROM agentpay._rule_rollup_state;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE rolled;
TABLE differences;

-- ── payments to look at ─────────────────────────────────────────────────────
-- drawn for audit and without a label: decided now, and tomorrow
UPDATE agentpay.decision_points SET audit_sample_percent = 100
 WHERE point = 't_rollup';
CREATE VIEW draws AS
SELECT a.age, count(d) AS payments
  FROM unnest('{-3 days,-26 hours,-1 hour,1 hour}'::interval[]) AS a (age)
  LEFT JOIN agentpay.decisions d
	ON d.point = 't_rollup' AND d.kind = 'rules' AND d.assignment = 'audit'
   AND d.decided_at < clock_timestamp() - a.age
   AND NOT EXISTS (SELECT FROM agentpay.outcomes o
					WHERE o.point = d.point AND o.row_id = d.row_id)
 GROUP BY 1;
CREATE VIEW draw_differences AS
SELECT d.age, d.payments, s.said
  FROM draws d
 CROSS JOIN LATERAL (SELECT agentpay._unlabelled_draws('t_rollup', ARRAY(
		SELECT v.verdict FROM agentpay.verdicts v
		 WHERE v.point = 't_rollup' AND v.positive), d.age) AS said) AS s
 WHERE s.said <> d.payments;
INSERT INTO payments (id, amount) SELECT 300 + i, 91 + i
  FROM generate_series(1, 8) AS i;
SET agentpay.clock_offset = '25h';
INSERT INTO payments (id, amount) SELECT 310 + i, 91 + i
  FROM generate_series(1, 5) AS i;
RESET agentpay.clock_offset;
SELECT * FROM draws ORDER BY age;
TABLE draw_differences;
TABLE differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE draw_differences;
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rollup', i, 'legit', 'audit')
   FROM unnest('{301,302,311}'::int[]) i; END $$;
SELECT * FROM draws ORDER BY age;
TABLE draw_differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE draw_differences;
TABLE differences;
TABLE rolled;

-- a rule that failed
CREATE VIEW odd_differences AS
WITH expected AS MATERIALIZED (
	SELECT d.decision_id FROM agentpay.decisions d
	 WHERE d.point = 't_rollup' AND d.kind = 'rules'
	   AND d.detail -> 'errors' IS NOT NULL),
said AS MATERIALIZED (
	SELECT d.decision_id
	  FROM agentpay._odd_decisions(clock_timestamp() - interval '1 day') AS d
	 WHERE d.point = 't_rollup')
(TABLE expected EXCEPT ALL TABLE said)
UNION ALL (TABLE said EXCEPT ALL TABLE expected);
SELECT count(*) FROM agentpay._odd_decisions(clock_timestamp() - interval '1 day')
 WHERE point = 't_rollup';
INSERT INTO payments (id, amount) VALUES (320, 50), (321, 51);
TABLE odd_differences;
SELECT agentpay._roll_rules() IS NOT NULL AS rolled;
TABLE odd_differences;
SELECT count(*) FROM agentpay._odd_decisions('infinity') WHERE point = 't_rollup';
