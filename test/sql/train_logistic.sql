-- train_logistic(): from rows and labels to a model that rules use. Expected
-- values are computed here, from the definitions.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA t_train;
SET search_path = t_train;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL, card int, amount numeric, night boolean, memo text, outcome text);
CREATE INDEX ON payments (card, at);
SELECT agentpay.attach('payments', 't_train', 'fraud', 'id', 'at', 'amount', 'USD', subject => 'card', outcome => 'outcome');
SELECT agentpay.attach('payments', 't_train_route', 'routing', 'id', 'at', verdicts => '{a,b}');
INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES ('t_train', 'card_day', '{card}', 'count', '1 day');

-- ── what is refused ─────────────────────────────────────────────────────────
SELECT * FROM agentpay.train_logistic('T', 't_train', '{amount}');
SELECT * FROM agentpay.train_logistic('t_train', 'nobody', '{amount}');
SELECT * FROM agentpay.train_logistic('t_train', 't_train_route', '{amount}');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{}');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount,NULL}');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount,night,amount}');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amont}');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{memo}');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', l2 => -1);
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', l2 => 'NaN');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', holdout => 1);
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', label_delay => '-1 day');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', label_delay => '1 month');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', label_delay => '0');
UPDATE agentpay.decision_points SET labels_complete = true WHERE point = 't_train';
INSERT INTO payments (id, at, amount) SELECT -g, '2025-01-01', g FROM generate_series(1, 100) g;
SELECT count(agentpay.record_outcome('t_train', id, 'fraud')) AS frauds FROM payments WHERE amount > 20;
-- nothing has read the feature yet
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount,card_day}', label_delay => '0');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_train', 'READS_CARD_DAY', 'card_day > 0', 0);
SELECT agentpay.activate('t_train');
INSERT INTO payments (id, at, card, amount, night)
SELECT g, '2026-01-01'::timestamptz + g * interval '1 hour', g % 7, (g * 7919 % 1000), g % 3 = 0 FROM generate_series(1, 400) g;
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', since => '2026-01-01', label_delay => '0');

-- ── what is fitted ──────────────────────────────────────────────────────────
-- frauds: mostly the large ones, some others
SELECT count(agentpay.record_outcome('t_train', id, 'fraud')) AS frauds FROM payments WHERE id > 0 AND (amount > 800 OR id % 11 = 0);
SELECT version, rows, frauds, converged FROM agentpay.train_logistic('t_train', 't_train', '{amount,night,card_day}', since => '2026-01-01', label_delay => '0', l2 => 0.5);
SELECT name, version, kind, features, active, report ->> 'trained_rows' AS trained_rows FROM agentpay.models WHERE name = 't_train';
CREATE VIEW fitted AS
WITH m AS (SELECT definition AS d FROM agentpay.models WHERE name = 't_train' AND version = 1),
rows AS (
	SELECT p.id, row_number() OVER (ORDER BY p.at, p.id) AS n, (p.amount > 800 OR p.id % 11 = 0)::int AS y,
		   ARRAY[p.amount::float8, p.night::int, (r.inputs ->> 'card_day')::float8] AS x
	  FROM payments p JOIN agentpay.decisions r ON r.point = 't_train' AND r.row_id = p.id::text AND r.kind = 'rules'
	 WHERE p.id BETWEEN 1 AND 400),
z AS (
	SELECT rows.*, array_agg((x[k] - (d -> 'mean' ->> k - 1)::float8) / (d -> 'scale' ->> k - 1)::float8 ORDER BY k) AS z,
		   (d ->> 'intercept')::float8 + sum((d -> 'coefficients' ->> k - 1)::float8
			* (x[k] - (d -> 'mean' ->> k - 1)::float8) / (d -> 'scale' ->> k - 1)::float8) AS logit
	  FROM rows, m, generate_series(1, 3) k GROUP BY id, n, y, x, d)
SELECT *, 1 / (1 + exp(-logit)) AS p FROM z;
-- card_day, counted here: the day before the row, and the row
SELECT count(*) AS differ FROM fitted f JOIN payments p USING (id)
 WHERE f.x[3] <> (SELECT count(*) FROM payments o WHERE o.card = p.card AND o.at > p.at - interval '1 day' AND o.at <= p.at);
-- mean and standard deviation of the 280 that it was trained on
SELECT k, abs((d -> 'mean' ->> k - 1)::float8 - avg(x[k])) < 1e-9 AS mean_is_right,
	abs((d -> 'scale' ->> k - 1)::float8 - stddev_pop(x[k])) < 1e-9 AS scale_is_right
  FROM fitted, agentpay.models m, LATERAL (SELECT m.definition AS d) x1, generate_series(1, 3) k
 WHERE n <= 280 AND m.name = 't_train' GROUP BY k, d ORDER BY k;
-- at the optimum of -log likelihood + l2 / 2 |coefficients|², the gradient vanishes
SELECT abs(sum(p - y)) < 1e-6 AS intercept,
	abs(sum((p - y) * z[1]) + 0.5 * max((m.definition -> 'coefficients' ->> 0)::float8)) < 1e-6 AS amount,
	abs(sum((p - y) * z[2]) + 0.5 * max((m.definition -> 'coefficients' ->> 1)::float8)) < 1e-6 AS night,
	abs(sum((p - y) * z[3]) + 0.5 * max((m.definition -> 'coefficients' ->> 2)::float8)) < 1e-6 AS card_day
  FROM fitted, agentpay.models m WHERE n <= 280 AND m.name = 't_train';
-- on the 120 held out: the share of pairs that are in order
SELECT abs((m.report ->> 'auc')::float8 - (SELECT avg((f.p > l.p)::int + 0.5 * (f.p = l.p)::int)
	FROM fitted f, fitted l WHERE f.n > 280 AND l.n > 280 AND f.y = 1 AND l.y = 0)) < 1e-9 AS auc_is_right,
	abs((m.report ->> 'precision_at_100')::float8 - (SELECT avg(y) FROM (SELECT y FROM fitted WHERE n > 280 ORDER BY p DESC LIMIT 100) t)) < 1e-9 AS precision_is_right
  FROM agentpay.models m WHERE m.name = 't_train';

-- card precision: each day has fewer than 100 cards, so that each card is found
-- on its first day with a fraud
SELECT abs((m.report ->> 'card_precision_at_100')::float8
	- (SELECT count(DISTINCT p.card) FILTER (WHERE f.y = 1) / 100.0 / count(DISTINCT (p.at AT TIME ZONE 'UTC')::date)
		 FROM fitted f JOIN payments p USING (id) WHERE f.n > 280)) < 1e-12 AS card_precision_is_right
  FROM agentpay.models m WHERE m.name = 't_train';
-- by hand, two a day: b and c on the first day, of which b is a fraud; a and d
-- on the second, since b was found: 1 of 2, and 2 of 2
SELECT agentpay._card_precision('{0.9,0.1,0.8,0.2,0.99,0.7,0.6,0.5,1}', '{f,t,f,f,t,t,t,f,f}', '{b,b,c,a,b,a,d,c,NULL}',
	('{2026-01-01,2026-01-01,2026-01-01,2026-01-01,2026-01-02,2026-01-02,2026-01-02,2026-01-02,2026-01-02}')::date[], 2) AS card_precision;
SELECT agentpay._card_precision('{0.9}', '{t}', '{NULL}', '{2026-01-01}', 2) AS without_subjects;

-- balanced: each class weighs 280 / (2 n_class), and the gradient of the weighted
-- log likelihood vanishes; what is held out is measured as before
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', class_weights => 'heavy');
SELECT * FROM agentpay.train_logistic('t_train', 't_train', '{amount}', class_weights => NULL);
SELECT version, rows, converged FROM agentpay.train_logistic('t_balanced', 't_train', '{amount,night,card_day}', since => '2026-01-01', label_delay => '0', l2 => 0.5,
	class_weights => 'balanced');
WITH n AS (SELECT sum(y) AS frauds, 280 - sum(y) AS others FROM fitted WHERE n <= 280),
b AS (
	SELECT f.n, f.y, f.z, CASE f.y WHEN 1 THEN 280 / (2.0 * frauds) ELSE 280 / (2.0 * others) END AS w, d,
		   1 / (1 + exp(-((d ->> 'intercept')::float8 + (SELECT sum((d -> 'coefficients' ->> k - 1)::float8 * f.z[k]) FROM generate_series(1, 3) k)))) AS p
	  FROM fitted f, n, (SELECT definition AS d FROM agentpay.models WHERE name = 't_balanced') AS m)
SELECT abs(sum(w * (p - y)) FILTER (WHERE n <= 280)) < 1e-6 AS intercept,
	abs(sum(w * (p - y) * z[1]) FILTER (WHERE n <= 280) + 0.5 * max((d -> 'coefficients' ->> 0)::float8)) < 1e-6 AS amount,
	abs(sum(w * (p - y) * z[2]) FILTER (WHERE n <= 280) + 0.5 * max((d -> 'coefficients' ->> 1)::float8)) < 1e-6 AS night,
	abs(sum(w * (p - y) * z[3]) FILTER (WHERE n <= 280) + 0.5 * max((d -> 'coefficients' ->> 2)::float8)) < 1e-6 AS card_day,
	max((SELECT report ->> 'class_weights' FROM agentpay.models WHERE name = 't_balanced')) AS weights,
	abs(max((SELECT (report ->> 'weight_fraud')::float8 FROM agentpay.models WHERE name = 't_balanced')) - max(w)) < 1e-12 AS weight_is_right
  FROM b;

-- ── what it is good for ─────────────────────────────────────────────────────
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_train', 'MODEL', 'model(''t_train'') > 0.5', 60);
SELECT agentpay.activate('t_train');
INSERT INTO payments (id, at, card, amount, night) VALUES (1001, '2026-03-01', 1, 990, true), (1002, '2026-03-01', 2, 10, false), (1003, '2026-03-01', 3, NULL, false)
	RETURNING id, outcome;
SELECT d.row_id, d.reasons,
	abs((d.inputs ->> 'model(t_train)')::float8 - 1 / (1 + exp(-((m.definition ->> 'intercept')::float8 + (
		SELECT sum((m.definition -> 'coefficients' ->> k - 1)::float8 * (x[k] - (m.definition -> 'mean' ->> k - 1)::float8) / (m.definition -> 'scale' ->> k - 1)::float8)
		  FROM generate_series(1, 3) k))))) < 1e-12 AS as_computed_here, d.detail #>> '{models,t_train}' AS model_version
  FROM agentpay.decisions d JOIN payments p ON p.id::text = d.row_id
 CROSS JOIN LATERAL (SELECT ARRAY[p.amount::float8, p.night::int, 1] AS x) AS v, agentpay.models m
 WHERE d.point = 't_train' AND d.row_id IN ('1001', '1002') AND m.name = 't_train' ORDER BY d.row_id;
-- outside of a rule it knows no row
SELECT agentpay.model('t_train');
-- a second training is a second version; rules use it from then on
SELECT version FROM agentpay.train_logistic('t_train', 't_train', '{amount}', until => '2026-01-15', label_delay => '0');
SELECT version, active, features FROM agentpay.models WHERE name = 't_train' ORDER BY version;
INSERT INTO payments (id, at, card, amount, night) VALUES (1004, '2026-03-01', 1, 990, true);
SELECT d.detail #>> '{models,t_train}' AS model_version FROM agentpay.decisions d WHERE d.point = 't_train' AND d.row_id = '1004';

-- clean up
SELECT agentpay.detach('t_train'), agentpay.detach('t_train_route');
DROP SCHEMA t_train CASCADE;
