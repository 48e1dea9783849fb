-- Windows over labels: the point's own rows, with what was known of them at
-- the time of the row that is decided about.  Answers are compared with what
-- plain SQL says about the same rows and labels.
\set SHOW_CONTEXT never
\set VERBOSITY terse
SET client_min_messages = warning;
SET TimeZone = 'UTC';
CREATE SCHEMA t_labels;
SET search_path = t_labels;
CREATE TABLE payments (id bigint NOT NULL, terminal int, card text, at timestamptz NOT NULL, amount numeric, seq int, outcome text)
	PARTITION BY RANGE (at);
CREATE TABLE payments_1 PARTITION OF payments FOR VALUES FROM (MINVALUE) TO ('2026-02-01');
CREATE TABLE payments_2 (junk int, outcome text, amount numeric, seq int, at timestamptz NOT NULL, card text, id bigint NOT NULL, terminal int);
ALTER TABLE payments_2 DROP junk;
ALTER TABLE payments ATTACH PARTITION payments_2 FOR VALUES FROM ('2026-02-01') TO (MAXVALUE);
CREATE UNIQUE INDEX ON payments_1 (id);
CREATE UNIQUE INDEX ON payments_2 (id);
CREATE UNIQUE INDEX ON payments (id, at);
SELECT agentpay.attach('payments', 't_labels', 'fraud', 'id', 'at', amount => 'amount', currency => 'USD', outcome => 'outcome');
-- another point on the same rows, with labels of its own
SELECT agentpay.attach('payments', 't_labels_other', 'dispute', 'id', 'at');
INSERT INTO agentpay.features (point, name, from_table, key, aggregate, value, over, delay) VALUES
	('t_labels', 'risk_7d', 'agentpay.outcomes', '{terminal}', 'rate', 'label = ''fraud''', '7 days', '7 days');
CREATE INDEX ON payments (terminal, at);
CREATE INDEX ON payments (card, at);
INSERT INTO agentpay.features (point, name, kind, from_table, key, aggregate, value, over, delay, filter, include_current, default_value) VALUES
	('t_labels', 'risk_7d',     'window', 'agentpay.outcomes', '{terminal}', 'rate',  'label = ''fraud''', '7 days', '7 days', NULL, true, '0'),
	('t_labels', 'risk_now',    'window', 'agentpay.outcomes', '{terminal}', 'rate',  'label = ''fraud''', '30 days', '0', NULL, true, NULL),
	('t_labels', 'risk_others', 'window', 'agentpay.outcomes', '{terminal}', 'rate',  'label = ''fraud''', '30 days', '0', NULL, false, NULL),
	('t_labels', 'n_frauds',    'window', 'agentpay.outcomes', '{card}', 'count', NULL, '30 days', '1 day', 'label = ''fraud'' AND amount > 10', true, NULL),
	('t_labels', 'n_all',       'window', 'agentpay.outcomes', '{card}', 'count', NULL, '30 days', '0', NULL, true, NULL),
	('t_labels', 'lost',        'window', 'agentpay.outcomes', '{card}', 'sum', 'amount_lost', '60 days', '0', 'label_source = ''chargeback''', true, NULL),
	('t_labels', 'sources',     'window', 'agentpay.outcomes', '{card}', 'count_distinct', 'label_source', '60 days', '0', NULL, true, NULL),
	('t_labels', 'since_fraud', 'since_last', 'agentpay.outcomes', '{card}', NULL, NULL, NULL, '0', 'label = ''fraud''', true, NULL),
	('t_labels_other', 'known', 'window', 'agentpay.outcomes', '{terminal}', 'count', NULL, '90 days', '0', 'label IS NOT NULL', true, NULL),
	('t_labels_other', 'contested', 'window', 'agentpay.outcomes', '{terminal}', 'rate', 'label = ''contest''', '90 days', '0', NULL, true, NULL);
-- timed by the point's own column, whatever it is; nothing is written down
SELECT count(*) FILTER (WHERE from_time IS NULL) AS without, count(*) FROM agentpay.features WHERE point LIKE 't\_labels%';
INSERT INTO agentpay.rules (point, code, condition, verdict)
SELECT point, 'READS', string_agg(format('%I IS NULL', name), ' OR '), CASE point WHEN 't_labels' THEN 'review' ELSE 'contest' END
  FROM agentpay.features WHERE point LIKE 't\_labels%' GROUP BY point;
UPDATE agentpay.rulesets SET mode = 'first_match' WHERE point = 't_labels_other';
SELECT agentpay.activate('t_labels'), agentpay.activate('t_labels_other');

-- 400 payments, then their labels, observed in three months, with corrections
INSERT INTO payments SELECT g, g % 5, 'card ' || g % 7, '2026-01-01'::timestamptz + g * 67867967 % 64801 * interval '1 minute', g % 50, g
  FROM generate_series(1, 400::bigint) AS g;
SELECT count(agentpay.record_outcome('t_labels', id, CASE WHEN id % 3 = 0 THEN 'fraud' ELSE 'legit' END,
	CASE id % 4 WHEN 0 THEN 'chargeback' ELSE 'analyst' END, CASE WHEN id % 6 = 0 THEN amount END, at + id % 9 * interval '1 day'))
  FROM payments WHERE id % 2 = 0;
SELECT count(agentpay.record_outcome('t_labels_other', id, CASE id % 3 WHEN 0 THEN 'accept' ELSE 'contest' END, effective_at => at + interval '9 days'))
  FROM payments WHERE id % 4 = 1;
BEGIN;
SET LOCAL agentpay.clock_offset = '32d';
SELECT count(agentpay.record_outcome('t_labels', id, CASE WHEN id % 5 = 0 THEN 'fraud' ELSE 'legit' END,
	'chargeback', amount / 2, at + 7 * interval '1 day'))
  FROM payments WHERE id % 7 = 0;
SET LOCAL agentpay.clock_offset = '64d';
SELECT count(agentpay.record_outcome('t_labels', id, 'legit', 'representment', 0, at + 12 * interval '1 day'))
  FROM payments WHERE id % 12 = 0;
COMMIT;
-- two in the same instant: the greater id counts
SELECT count(agentpay._append(ROW(x.id, '2026-11-01', 't_labels', x.row_id, x.label, 'import', 1, '2026-01-01', session_user, NULL)::agentpay.outcomes))
  FROM (VALUES ('00000000-0000-7000-8000-000000000002'::uuid, '1', 'fraud'), ('00000000-0000-7000-8000-000000000001', '1', 'legit'),
			   ('00000000-0000-7000-8000-000000000003', '5', 'fraud'), ('00000000-0000-7000-8000-000000000004', '5', 'legit')) AS x (id, row_id, label);
SELECT count(DISTINCT tableoid) >= 3 AS in_leaves FROM agentpay.outcomes WHERE point = 't_labels';
INSERT INTO payments SELECT g, g % 5, 'card ' || g % 7, '2026-01-05'::timestamptz + g * 49979687 % 72001 * interval '1 minute', g % 50, g
  FROM generate_series(1001, 1300::bigint) AS g;
CREATE TABLE labelled AS
SELECT p.id, q.terminal = p.terminal AS same_terminal, q.card = p.card AS same_card, q.at, p.at AS t, q.id = p.id AS itself, q.amount,
	   coalesce(o.label, 'legit') AS label, o.source, o.amount_lost, x.label AS other
  FROM payments p
  JOIN payments q ON q.seq <= p.seq AND (q.terminal = p.terminal OR q.card = p.card) AND q.at <= p.at
  LEFT JOIN LATERAL (SELECT * FROM agentpay.outcomes o WHERE o.point = 't_labels' AND o.row_id = q.id::text
		AND o.effective_at <= p.at ORDER BY o.observed_at DESC, o.outcome_id DESC LIMIT 1) AS o ON true
  LEFT JOIN LATERAL (SELECT * FROM agentpay.outcomes o WHERE o.point = 't_labels_other' AND o.row_id = q.id::text
		AND o.effective_at <= p.at ORDER BY o.observed_at DESC, o.outcome_id DESC LIMIT 1) AS x ON true
 WHERE p.id > 1000;
CREATE TABLE expected AS
SELECT id, jsonb_build_object(
	'risk_7d', coalesce(avg((label = 'fraud')::int) FILTER (WHERE same_terminal AND at > t - interval '14 days' AND at <= t - interval '7 days'), 0),
	'risk_now', avg((label = 'fraud')::int) FILTER (WHERE same_terminal AND at > t - interval '30 days'),
	'risk_others', avg((label = 'fraud')::int) FILTER (WHERE same_terminal AND at > t - interval '30 days' AND NOT itself),
	'n_frauds', count(*) FILTER (WHERE same_card AND at > t - interval '31 days' AND at <= t - interval '1 day' AND label = 'fraud' AND amount > 10),
	'n_all', count(*) FILTER (WHERE same_card AND at > t - interval '30 days'),
	'lost', sum(amount_lost) FILTER (WHERE same_card AND at > t - interval '60 days' AND source = 'chargeback'),
	'sources', count(DISTINCT source) FILTER (WHERE same_card AND at > t - interval '60 days'),
	'since_fraud', extract(epoch FROM t - max(at) FILTER (WHERE same_card AND label = 'fraud' AND NOT itself)),
	'known', count(other) FILTER (WHERE same_terminal AND at > t - interval '90 days'),
	'contested', avg((other = 'contest')::int) FILTER (WHERE same_terminal AND at > t - interval '90 days')) AS inputs
  FROM labelled GROUP BY id, t;
SELECT f.name, count(*), count(DISTINCT got) > 3 AS many, count(*) FILTER (WHERE got IS NULL) > 0 AS nulls,
	   count(*) FILTER (WHERE got IS DISTINCT FROM want AND NOT coalesce(abs(got - want) <= abs(want) * 1e-14, false)) AS differ
  FROM expected e JOIN agentpay.decisions d ON d.row_id::bigint = e.id AND d.kind = 'rules' JOIN agentpay.features f ON f.point = d.point,
	   LATERAL (VALUES ((d.inputs->>f.name)::numeric, (e.inputs->>f.name)::numeric)) AS v (got, want)
 WHERE d.point LIKE 't\_labels%' GROUP BY f.name ORDER BY f.name COLLATE "C";
-- the instants that two labels share were looked at
SELECT bool_or(at > t - interval '30 days' AND label = 'fraud') FILTER (WHERE q = 1) AS greater_fraud,
	   bool_or(at > t - interval '30 days' AND label = 'fraud') FILTER (WHERE q = 5) AS greater_legit
  FROM (SELECT l.*, p.id AS q FROM labelled l JOIN payments p USING (at) WHERE p.id IN (1, 5) AND l.t < p.at + interval '5 days') AS l;

-- ── a transaction's own labels ──────────────────────────────────────────────
CREATE VIEW seen AS
	SELECT row_id::bigint AS id, verdict, inputs, detail FROM agentpay.decisions WHERE kind = 'rules' AND point = 't_labels';
INSERT INTO payments VALUES (2001, 9, 'own', '2026-06-01', 100);
BEGIN;
SAVEPOINT s;
SELECT count(agentpay.record_outcome('t_labels', 2001, 'fraud', 'chargeback', 60, '2026-06-02'));
INSERT INTO payments VALUES (2002, 9, 'own', '2026-06-03', 100);
ROLLBACK TO s;
INSERT INTO payments VALUES (2003, 9, 'own', '2026-06-03', 100);
COMMIT;
WITH o AS (SELECT agentpay.record_outcome('t_labels', 2001, 'fraud', 'chargeback', 70, '2026-06-02') AS id)
INSERT INTO payments SELECT 2004, 9, 'own', '2026-06-03 01:00', 100 FROM o WHERE id IS NOT NULL;
-- in effect from 2 June on
INSERT INTO payments VALUES (2005, 9, 'own', '2026-06-01 23:59:59', 100), (2006, 9, 'own', '2026-06-02', 100);
SELECT id, inputs->'lost' AS lost, inputs->'since_fraud' AS since_fraud FROM seen WHERE id > 2000 ORDER BY id;

-- a leaf that has lost its index: contained, as any failure
BEGIN;
DO $$BEGIN
	EXECUTE (SELECT string_agg(format('DROP INDEX %s', i.indexrelid::regclass), '; ') FROM pg_index i
		WHERE i.indrelid IN (SELECT tableoid FROM agentpay.outcomes WHERE point = 't_labels') AND i.indnkeyatts = 2);
END$$;
INSERT INTO payments VALUES (2011, 9, 'own', '2026-06-03 01:00', 100);
SELECT id, verdict, inputs->'n_all' AS n_all, inputs->'lost' AS lost, detail->'errors'->'lost'->>'sqlstate' AS sqlstate,
	   detail->'errors'->'lost'->>'message' ~ '^"outcomes_\d+_\d+" has lost its index on \(point, row_id\)$' AS says_so
  FROM seen WHERE id = 2011;
ROLLBACK;

-- ── policies ────────────────────────────────────────────────────────────────
-- what was lost is as sensitive as the amount
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('http://127.0.0.1:9') ON CONFLICT DO NOTHING;
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, invoke_when, fields, price_input_per_million, price_output_per_million) VALUES
	('t_labels_llm', 't_labels', 'openai', 'http://127.0.0.1:9', 'm', 'true', '{risk_7d,n_frauds,sources,lost}', 1, 1);
INSERT INTO agentpay.data_policies (table_name, column_name, class, treatment) VALUES ('payments', 'amount', 'financial', 'drop');
INSERT INTO payments VALUES (2007, 9, 'own', '2026-06-04', 100);
SELECT inputs->'lost' AS lost, inputs->'n_frauds' AS n_frauds FROM seen WHERE id = 2007;
DELETE FROM agentpay.data_policies WHERE table_name = 'payments'::regclass;

-- ── a column of that name ───────────────────────────────────────────────────
ALTER TABLE payments ADD label text DEFAULT 'fraud';
INSERT INTO payments VALUES (2008, 9, 'own', '2026-06-05', 100);
SELECT inputs->'since_fraud' AS since_fraud, inputs->'n_frauds' AS n_frauds FROM seen WHERE id = 2008;
CREATE FUNCTION try(columns text, "values" text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
	state text; message text; detail text; hint text;
BEGIN
	EXECUTE format('INSERT INTO agentpay.features (point, name, over, %s) VALUES (''t_labels'', ''f'', ''30 days'', %s)', columns, "values");
	RETURN NEXT 'written';
	DELETE FROM agentpay.features WHERE point = 't_labels' AND name = 'f';
EXCEPTION WHEN OTHERS THEN
	GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
	RETURN NEXT state || ' ' || message;
	RETURN NEXT '  ' || detail;
	RETURN NEXT '  ' || hint;
END$$;
SELECT try('key, from_table, aggregate, value', '''{card}'', ''agentpay.outcomes'', ''rate'', ''label = ''''fraud''''''');
SELECT try('key, from_table, aggregate, value', '''{card}'', ''agentpay.outcomes'', ''rate'', ''outcomes.label = ''''fraud'''' AND payments.label = ''''fraud''''''');
SELECT try('key, aggregate, value', '''{card}'', ''rate'', ''label = ''''fraud''''''');
SELECT try('key, aggregate, value', '''{card}'', ''rate'', ''outcomes.label = ''''fraud''''''');
ALTER TABLE payments DROP label;
-- no feature is needed for a label's column
SELECT try('key, aggregate, value', '''{card}'', ''rate'', ''label = ''''fraud''''''');
SELECT try('key, from_table, aggregate, value', '''{card}'', ''agentpay.outcomes'', ''rate'', ''labl = ''''fraud''''''');
SELECT try('key, from_table, aggregate, value', '''{card}'', ''agentpay.outcomes'', ''rate'', ''outcomes.effective_at < at''');
SELECT try('key, from_table, aggregate, value', '''{card}'', ''agentpay.outcomes'', ''sum'', ''label''');
SELECT try('key, from_table, aggregate, from_time', '''{card}'', ''agentpay.outcomes'', ''count'', ''effective_at''');
SELECT try('key, from_table, aggregate, from_time', '''{card}'', ''agentpay.outcomes'', ''count'', ''at''');
SELECT try('key, from_table, aggregate, from_key', '''{card}'', ''agentpay.outcomes'', ''count'', ''{row_id}''');
SELECT try('key, from_table, aggregate', '''{amount}'', ''agentpay.outcomes'', ''count''');
SELECT try('key, from_table, aggregate', '''{card}'', ''agentpay.decisions'', ''count''');
-- advice about an index that is gone names the table that has it
DROP INDEX payments_card_at_idx;
INSERT INTO payments VALUES (2009, 9, 'own', '2026-06-06', 100);
SELECT verdict, (SELECT array_agg(k ORDER BY k) FROM jsonb_object_keys(detail->'errors') AS k) AS failed FROM seen WHERE id = 2009;
SELECT object, fix FROM agentpay.advice WHERE object = 't_labels.lost' AND level = 'error';

SELECT agentpay.detach('t_labels'), agentpay.detach('t_labels_other');
DROP SCHEMA t_labels CASCADE;
