-- Cases: which rows open one, with the payment, and what may be done with them.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
CREATE SCHEMA cases_t;
SET search_path = cases_t;
SET datestyle = 'ISO';
SET timezone = 'UTC';

CREATE TABLE payments (id bigint PRIMARY KEY, amount numeric, key text,
	at timestamptz NOT NULL DEFAULT clock_timestamp(), outcome text);
CREATE INDEX ON payments (key);
SELECT agentpay.attach('payments', point => 'cases_t', role => 'fraud',
	id => 'id', occurred_at => 'at', outcome => 'outcome', idempotency => 'key');
INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES
	('cases_t', 'MID', 'amount > 100', 'review'),
	('cases_t', 'HIGH', 'amount > 1000', 'decline');
SELECT agentpay.activate('cases_t');
UPDATE agentpay.decision_points SET case_due = '90 minutes' WHERE point = 'cases_t';
CREATE VIEW found AS SELECT c.row_id, c.cause, c.state, c.agent,
	c.due_at - c.opened_at AS due, d.kind, d.verdict, c.opened_at = d.decided_at AS same
  FROM agentpay.cases c JOIN agentpay.decisions d USING (decision_id)
 WHERE c.point LIKE 'cases\_t%' ORDER BY length(c.row_id), c.row_id, c.case_id;

-- the reviews alone: 2, 4; committed or rolled back with the payment
INSERT INTO payments (id, amount) VALUES (1, 5), (2, 500), (3, 5000);
BEGIN;
INSERT INTO payments (id, amount) VALUES (4, 500);
SAVEPOINT a;
INSERT INTO payments (id, amount) VALUES (5, 500);
ROLLBACK TO a;
COMMIT;
BEGIN;
INSERT INTO payments (id, amount) VALUES (6, 500);
SELECT count(*) AS in_the_transaction FROM found WHERE row_id = '6';
ROLLBACK;
TABLE found;

-- COPY, ON CONFLICT (2 is skipped), MERGE-like upsert, a function that loops
COPY payments (id, amount) FROM stdin;
10	500
11	5
\.
INSERT INTO payments (id, amount) VALUES (2, 500), (12, 500), (12, 500)
	ON CONFLICT DO NOTHING;
INSERT INTO payments (id, amount) VALUES (4, 700), (13, 500)
	ON CONFLICT (id) DO UPDATE SET amount = excluded.amount;
DO $$ BEGIN
	FOR i IN 14 .. 15 LOOP INSERT INTO payments (id, amount) VALUES (i, 500); END LOOP;
END $$;
UPDATE payments SET amount = 900 WHERE id = 1;
SELECT row_id FROM found WHERE length(row_id) = 2 OR row_id = '1';
-- more than are written at once
INSERT INTO payments (id, amount) SELECT i, 500 FROM generate_series(1001, 3500) i;
SELECT count(*), count(DISTINCT row_id) FROM found WHERE row_id::int > 1000;

-- a row that repeats a key opens none: the first one decides
INSERT INTO payments (id, amount, key) VALUES (20, 500, 'k'), (21, 1, 'k');
SELECT id, outcome, (SELECT count(*) FROM found f WHERE f.row_id = id::text) AS cases
  FROM payments WHERE id IN (20, 21) ORDER BY id;

-- deleted and inserted again: the open case is still that row's
DELETE FROM payments WHERE id = 2;
INSERT INTO payments (id, amount) VALUES (2, 600);
SELECT count(*) FROM found WHERE row_id = '2';

-- the audit sample; a review that was drawn is a review
UPDATE agentpay.decision_points SET audit_sample_percent = 100 WHERE point = 'cases_t';
INSERT INTO payments (id, amount) VALUES (30, 5), (31, 500), (32, 5000);
SELECT row_id, cause, verdict FROM found WHERE row_id IN ('30', '31', '32');
UPDATE agentpay.decision_points SET audit_sample_percent = 0 WHERE point = 'cases_t';

-- partitions; a row that moves opens no second one
CREATE TABLE parted (id bigint PRIMARY KEY, amount numeric,
	at timestamptz NOT NULL DEFAULT clock_timestamp(), outcome text)
	PARTITION BY RANGE (id);
CREATE TABLE parted_1 PARTITION OF parted FOR VALUES FROM (0) TO (100);
CREATE TABLE parted_2 PARTITION OF parted FOR VALUES FROM (100) TO (200);
SELECT agentpay.attach('parted', point => 'cases_t_parted', role => 'fraud',
	id => 'id', occurred_at => 'at', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('cases_t_parted', 'MID', 'amount > 100', 'review');
SELECT agentpay.activate('cases_t_parted');
INSERT INTO parted (id, amount) VALUES (50, 500), (150, 500), (151, 5);
INSERT INTO parted_2 (id, amount) VALUES (152, 500);
UPDATE parted SET id = 160 WHERE id = 50;
SELECT c.row_id, c.cause FROM agentpay.cases c WHERE c.point = 'cases_t_parted'
 ORDER BY c.case_id;

-- which verdicts mean a person
CREATE TABLE others (id bigint PRIMARY KEY, v text, respond_by timestamptz,
	at timestamptz NOT NULL DEFAULT clock_timestamp());
CREATE FUNCTION point(name text, role text, verdicts text[]) RETURNS text
	LANGUAGE sql AS $$
	SELECT agentpay.attach('others', point => name, role => role, id => 'id',
		occurred_at => 'at', verdicts => verdicts) $$;
SELECT point('cases_t_own', 'fraud', '{allow,step_up,hold,block}'),
	point('cases_t_two', 'fraud', '{allow,block}'),
	point('cases_t_rec', 'reconciliation', NULL),
	point('cases_t_dis', 'dispute', NULL),
	point('cases_t_other', 'dispute', '{yes,no,ask}'),
	point('cases_t_route', 'routing', '{a,b}');
SELECT v.point, string_agg(v.verdict, ', ' ORDER BY v.rank, v.verdict)
	FILTER (WHERE agentpay._needs_person(v)) AS needs_person
  FROM agentpay.verdicts v WHERE v.point LIKE 'cases\_t%'
 GROUP BY 1 ORDER BY 1;
-- the default of a dispute is escalate; due not after respond_by
INSERT INTO others (id, respond_by) VALUES (1, NULL),
	(2, now() + interval '1 year'), (3, '2026-01-15 10:00+00');
SELECT c.row_id, c.point, c.due_at = least(c.opened_at + interval '24 hours',
		o.respond_by) AS due_by_the_rule
  FROM agentpay.cases c JOIN others o ON o.id::text = c.row_id
 WHERE c.point IN ('cases_t_dis', 'cases_t_other', 'cases_t_rec', 'cases_t_route')
   AND (c.point LIKE '%dis' OR c.row_id = '1')
 ORDER BY c.point, c.row_id;

-- what fails costs the payment nothing, and the governor opens it
ALTER TABLE agentpay.cases ADD CONSTRAINT t_no_room CHECK ((point, row_id) <> ('cases_t', '41'));
INSERT INTO payments (id, amount) VALUES (40, 500), (41, 500) RETURNING id, outcome;
SELECT count(*) AS decisions FROM agentpay.decisions WHERE point = 'cases_t' AND row_id IN ('40', '41');
SELECT action, object_kind, object, reason FROM agentpay.governance_log
 WHERE action = 'fail' AND object = 'cases_t' AND reason LIKE '% could not %'
 ORDER BY logged_at LIMIT 1;
DO $$ BEGIN PERFORM agentpay._open_missing_cases(); END $$;
SELECT count(*) AS other_opened FROM found WHERE row_id = '40';
SELECT count(*) AS opened FROM found WHERE row_id = '41';
ALTER TABLE agentpay.cases DROP CONSTRAINT t_no_room;
DO $$ BEGIN PERFORM agentpay._open_missing_cases(); END $$;
SELECT row_id, cause, due FROM found WHERE row_id IN ('40', '41');
SELECT count(*) AS failed FROM agentpay._cases_failed;

-- what people may change
SELECT case_id FROM agentpay.cases WHERE point = 'cases_t' AND row_id = '4' \gset
CREATE FUNCTION refused(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
	detail text; hint text;
BEGIN
	EXECUTE statement;
	RETURN 'no error';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN regexp_replace(regexp_replace(concat_ws(' | ', SQLSTATE || ' ' || SQLERRM,
		detail, hint), '\m(case |resolve_case\(|case_id = )[0-9]+', '\1N', 'g'),
		' at [0-9-]+ [0-9:.+]+', ' at …');
END$$;
UPDATE agentpay.cases SET assignee = 'ann' WHERE case_id = :case_id
	RETURNING state, assignee, first_action_at IS NULL AS no_action;
UPDATE agentpay.cases SET due_at = opened_at + interval '2 hours' WHERE case_id = :case_id
	RETURNING first_action_at IS NULL AS no_action;
UPDATE agentpay.cases SET state = 'investigating' WHERE case_id = :case_id
	RETURNING state, first_action_at >= opened_at AS action;
SELECT refused(format('UPDATE agentpay.cases SET %s WHERE case_id = %s', s, :case_id))
  FROM (VALUES ('state = ''pending'''), ('state = ''closed'''), ('state = ''lost'''),
	('row_id = ''5'''), ('first_action_at = NULL'), ('due_at = ''infinity'''),
	('due_at = NULL'),
	('state = ''closed'', closed_at = now(), resolution_id = decision_id'))
	AS v (s);
SELECT refused(s) FROM (VALUES ('DELETE FROM agentpay.cases WHERE row_id = ''4'''),
	('TRUNCATE agentpay.cases'),
	('INSERT INTO agentpay.cases (point, row_id, decision_id, cause, due_at)
		SELECT point, ''x'', decision_id, ''manual'', now() FROM agentpay.cases LIMIT 1'))
	AS v (s);
SELECT actor = session_user AS me, action, before ->> 'state' AS before,
	after ->> 'state' AS after, after ->> 'assignee' AS assignee
  FROM agentpay.governance_log WHERE object_kind = 'case' AND object = :'case_id'
 ORDER BY logged_at, event_id;

-- resolved: by hand no more
SELECT agentpay.resolve_case(:case_id, 'approve', 'fine') IS NOT NULL AS resolved;
SELECT refused(format('UPDATE agentpay.cases SET assignee = ''bob'' WHERE case_id = %s', :case_id));

SELECT count(agentpay.detach(point)) FROM agentpay.decision_points WHERE point LIKE 'cases\_t%';
DROP SCHEMA cases_t CASCADE;
