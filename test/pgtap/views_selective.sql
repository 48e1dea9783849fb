-- Selective labels: figures by the propensity of each label, from rows of
-- which the figures are known, and from a simulation whose nature is known.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_sel;
CREATE TABLE t_sel.payments (id bigint PRIMARY KEY, amount numeric,
	country text, at timestamptz NOT NULL DEFAULT now() - interval '3 days',
	outcome text);
\o /dev/null
SELECT agentpay.attach('t_sel.payments', point => 't_sel', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'EUR',
	outcome => 'outcome');
UPDATE agentpay.decision_points SET label_maturity = '1 day'
 WHERE point = 't_sel';
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_sel', 'logistic', '{amount}',
	'{"intercept": -6, "coefficients": [1], "mean": [0], "scale": [100]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_sel', 't_sel', 'builtin', 't_sel', 'true', 'shadow');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_sel', 'LARGE', 'amount > 500', 50), ('t_sel', 'HUGE', 'amount > 700', 50);
SELECT agentpay.activate('t_sel');

-- ── rows made by hand ───────────────────────────────────────────────────────
CREATE TEMP TABLE crafted (row_id text, rules text, verdict text,
	assignment text, propensity real, label text,
	decision_id uuid DEFAULT gen_random_uuid());
CREATE TEMP TABLE one_decision (LIKE agentpay.decisions INCLUDING DEFAULTS);
CREATE FUNCTION pg_temp.append(new crafted) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	task bigint := nextval('agentpay._task_id_seq');
	d one_decision;
BEGIN
	INSERT INTO one_decision (decision_id, decided_at, point, row_id,
		occurred_at, kind, authority, verdict, answer, assignment, propensity,
		reasons, ruleset_version, xid)
	VALUES (new.decision_id, now() - interval '2 days', 't_sel', new.row_id,
			now() - interval '3 days', 'rules', 'live', new.verdict,
			CASE new.assignment WHEN 'explore' THEN new.rules END,
			new.assignment, new.propensity, CASE new.rules WHEN 'approve'
			THEN '{}'::text[] ELSE '{LARGE}' END, 1, pg_current_xact_id())
	RETURNING * INTO d;
	PERFORM agentpay._append(ROW(d.*)::agentpay.decisions);
	PERFORM agentpay._append(ROW(task, d.decided_at, 't_sel', new.row_id,
		new.decision_id, 't_sel', 1, NULL, gen_random_uuid(),
		0, NULL, NULL, NULL, false, NULL, NULL, pg_current_xact_id())::agentpay._tasks);
	-- the agent says approve to all
	d.detail := jsonb_build_object('task_id', task);
	d.decision_id := gen_random_uuid();
	d.kind := 'agent'; d.authority := 'shadow'; d.agent := 't_sel';
	d.agent_version := 1; d.verdict := 'approve'; d.answer := 'approve';
	PERFORM agentpay._append(ROW(d.*)::agentpay.decisions);
	IF new.label IS NOT NULL THEN
		PERFORM agentpay.record_outcome('t_sel', new.row_id, new.label,
			CASE new.assignment WHEN 'audit' THEN 'audit' ELSE 'analyst' END);
	END IF;
END $$;
INSERT INTO crafted VALUES
	('a1', 'approve', 'approve', 'treatment', 1, 'fraud'),
	('e1', 'decline', 'approve', 'explore', 0.28, 'fraud'),
	('e2', 'decline', 'approve', 'explore', 0.28, NULL),
	('u1', 'decline', 'decline', 'audit', 0.28, 'fraud');
INSERT INTO crafted SELECT 'a' || i, 'approve', 'approve', 'treatment', 1, NULL
  FROM generate_series(2, 5) AS i;
INSERT INTO crafted SELECT 't' || i, 'decline', 'decline', 'treatment', 0.28, NULL
  FROM generate_series(1, 7) AS i;
-- let through, and drawn for audit all the same: nature labels it
INSERT INTO crafted VALUES ('a6', 'approve', 'approve', 'audit', 1, NULL);
DO $$ BEGIN PERFORM pg_temp.append(c) FROM crafted c; END $$;
\o
CREATE FUNCTION pg_temp.rules(reading text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', identifiable, labelled, positives, effective_n,
		coalesce(recall::text, '-'), coalesce(fpr::text, '-'),
		coalesce(precision::text, '-'), coalesce(accuracy::text, '-'))
	  FROM agentpay.agent_accuracy WHERE agent = 't_sel'
	   AND decided_by = 'rules' AND positive = reading
	   AND population = 'answered' $$;
CREATE FUNCTION pg_temp.bounds(by_whom text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', accuracy_low, accuracy_high, fpr_low, fpr_high,
		fnr_low, fnr_high)
	  FROM agentpay.agent_accuracy WHERE agent = 't_sel'
	   AND decided_by = by_whom AND positive = 'positive'
	   AND population = 'answered' $$;
CREATE FUNCTION pg_temp.add(row_id text, rules text, verdict text,
	assignment text, propensity real, label text) RETURNS void
	LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_temp.append(ROW(row_id, rules, verdict, assignment, propensity,
							   label, gen_random_uuid())::crafted);
END $$;
CREATE FUNCTION pg_temp.label(row_id text, label text, source text)
	RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM agentpay.record_outcome('t_sel', row_id, label, source);
END $$;
SELECT plan(36);

-- w = 1 / 0.28 for e1, e2 and u1; t1 to t7 are spoken for; a1 to a6 weigh 1.
--	TP = 2 / 0.28 (e1, u1)	FN = 1 (a1)		FP = 1 / 0.28 (e2)	TN = 5
--	recall = 2 / (2 + 0.28) = 0.877193		fpr = 1 / (1 + 5 × 0.28) = 0.416667
--	precision = 2 / 3		accuracy = (2 + 1.4) / (3 + 1.68) = 0.726496
--	n_eff = (6 + 3 / 0.28)² / (6 + 3 / 0.28²) = 279.367347 / 44.265306 = 6.3
SELECT is(pg_temp.rules('positive'), 't 9 3 6.3 0.877193 0.416667 0.666667 0.726496',
	'each label counts 1 / propensity times');
SELECT is(pg_temp.rules('tightest'), 't 9 3 6.3 0.877193 0.416667 0.666667 0.726496',
	'so it does for the tightest verdict');
-- on the labels of what the rules approved alone, they found nothing
SELECT is((SELECT count(*) FILTER (WHERE d.verdict <> 'approve')
	FROM agentpay.decisions d JOIN agentpay.outcomes o USING (point, row_id)
	WHERE point = 't_sel' AND d.kind = 'rules' AND o.label = 'fraud'
	AND d.assignment = 'treatment'), 0::bigint, 'the naive recall is 0');
SELECT results_eq($$ SELECT tp, fp, tn, fn FROM agentpay.agent_accuracy
	WHERE agent = 't_sel' AND decided_by = 'agent' AND positive = 'positive'
	AND population = 'answered' $$,
	-- it approved all: FN = 1 + 2 / 0.28, TN = 5 + 1 / 0.28
	$$ VALUES (0::bigint, 0::bigint, 9::bigint, 8::bigint) $$,
	'the agent on the same rows');
-- the rule: e1, e2, u1, t1 to t7; 2 / 3
SELECT results_eq($$ SELECT hits, labelled_hits, precision
	FROM agentpay.rule_stats WHERE point = 't_sel' AND code = 'LARGE' $$,
	$$ VALUES (10::bigint, 3::bigint, 0.666667) $$, 'rule_stats');

-- drawn for audit, and nobody has looked at it yet
SELECT lives_ok($$ SELECT pg_temp.add('u2', 'decline', 'decline', 'audit', 0.28, NULL) $$);
SELECT is(pg_temp.rules('positive'), 'f 9 3 6.3 - - - -',
	'not identifiable while a label that was drawn is missing');
-- u = 1 / 0.28, flagged by the rules. In units of 1 / 0.28: TP 2, FN 0.28,
-- FP 1, TN 1.4, u 1: accuracy 3.4 / 5.68 to 4.4 / 5.68; fpr 1 / 2.4 to
-- 2 / 3.4; fnr 0.28 / 3.28 to 0.28 / 2.28
SELECT is(pg_temp.bounds('rules'),
	'0.598592 0.774648 0.416667 0.588235 0.085366 0.122807',
	'the bounds weigh it');
-- the agent approved it: TP 0, FN 2.28, FP 0, TN 2.4, u 1: accuracy
-- 2.4 / 5.68 to 3.4 / 5.68; fpr 0; fnr 1
SELECT is(pg_temp.bounds('agent'),
	'0.422535 0.598592 0.000000 0.000000 1.000000 1.000000', 'either way');
SELECT is((SELECT precision FROM agentpay.rule_stats WHERE point = 't_sel'
	AND code = 'LARGE'), NULL, 'rule_stats says so, too');
UPDATE agentpay.decision_points SET audit_sample_percent = 20
 WHERE point = 't_sel';
SELECT matches((SELECT problem FROM agentpay.advice WHERE object = 't_sel'
	AND problem LIKE '%audit%'), '^1 stopped payments were drawn for audit',
	'advice counts what nobody has looked at');
SELECT lives_ok($$ SELECT pg_temp.label('u2', 'legit', 'audit') $$);
-- FP = 2 / 0.28: fpr 2 / 3.4; recall as before;
-- n_eff = (6 + 4 / 0.28)² / (6 + 4 / 0.28²) = 411.510204 / 57.020408 = 7.2
SELECT is(pg_temp.rules('positive'), 't 10 3 7.2 0.877193 0.588235 0.500000 0.598592',
	'until somebody did');
SELECT is((SELECT count(*) FROM agentpay.advice WHERE object = 't_sel'
	AND problem LIKE '%audit%'), 0::bigint, 'and no advice is left');

-- a person labels one that was not drawn: whom they chose is not known
SELECT lives_ok($$ SELECT pg_temp.label('t1', 'fraud', 'analyst') $$);
SELECT is(pg_temp.rules('positive'), 't 10 3 7.2 0.877193 0.588235 0.500000 0.598592',
	'it does not count beside those that were drawn');
-- all of them: no draw is needed. 11 rows that were stopped or explored:
-- TP = e1, u1, t1 = 3, FP = e2, u2, t2 to t7 = 8, FN = 1, TN = 5
SELECT lives_ok($$ SELECT pg_temp.label('t' || i, 'legit', 'analyst')
	FROM generate_series(2, 7) AS i $$);
SELECT is(pg_temp.rules('positive'), 't 17 4 17.0 0.750000 0.615385 0.272727 0.470588',
	'a stratum of which all is known weighs 1');
-- a review that nothing could let through, and its resolution
SELECT lives_ok($$ SELECT pg_temp.add('r1', 'review', 'review', 'treatment', 0, NULL) $$);
SELECT is(pg_temp.rules('positive'), 'f 17 4 17.0 - - - -',
	'propensity 0: not identifiable');
SELECT lives_ok($$ SELECT pg_temp.label('r1', 'fraud', 'analyst') $$);
SELECT is(pg_temp.rules('positive'), 't 18 5 18.0 0.800000 0.615385 0.333333 0.500000',
	'a review that a person resolved counts once');

-- audit_sample_percent = 100: propensity 1, and still no label by itself. An
-- own version of the rules, so that nothing else is in it.
DO $$ BEGIN
	PERFORM agentpay.draft('t_sel');
	PERFORM agentpay.activate('t_sel');
END $$;
CREATE FUNCTION pg_temp.audited(id text, given text, kind text)
	RETURNS void LANGUAGE plpgsql AS $$
DECLARE
	d one_decision;
BEGIN
	INSERT INTO one_decision (decision_id, decided_at, point, row_id,
		occurred_at, kind, authority, verdict, assignment, propensity, reasons,
		ruleset_version, xid)
	VALUES (gen_random_uuid(), now() - interval '2 days', 't_sel', id,
			now() - interval '3 days', kind, 'live', given, 'audit', 1,
			'{LARGE}', CASE kind WHEN 'rules' THEN 1 ELSE 2 END,
			pg_current_xact_id())
	RETURNING * INTO d;
	PERFORM agentpay._append(ROW(d.*)::agentpay.decisions);
END $$;
SELECT lives_ok($$ SELECT pg_temp.audited('w1', 'decline', 'rules'),
	pg_temp.audited('w1', 'approve', 'shadow_rules') $$);
SELECT is((SELECT array_agg(precision) FROM agentpay.rule_stats
	WHERE point = 't_sel' AND code = 'LARGE'), '{NULL,NULL}'::numeric[],
	'all are audited: not known before somebody has looked');
SELECT lives_ok($$ SELECT pg_temp.label('w1', 'fraud', 'audit') $$);
-- version 1 on the rows by hand: e1, u1, t1, r1, w1 of e1, e2, u1, u2, t1 to
-- t7, r1, w1; version 2 on w1 alone
SELECT results_eq($$ SELECT version, labelled_hits, precision
	FROM agentpay.rule_stats WHERE point = 't_sel' AND code = 'LARGE'
	ORDER BY 1 $$,
	$$ VALUES (1, 13::bigint, 0.384615), (2, 1::bigint, 1.000000) $$, 'then it is');

-- ── a simulation ────────────────────────────────────────────────────────────
-- 20,000 payments; nature makes 2 % of the small ones fraud, 30 % of those
-- above 500, and 60 % of those above 700, which the rules decline. It is asked
-- by a hash, so that the same rows come each time.
UPDATE agentpay.decision_points SET explore_percent = 10,
	explore_max_amount = 10000, audit_sample_percent = 20
 WHERE point = 't_sel';
UPDATE agentpay._draw_salts SET salt = sha256('t_sel') WHERE point = 't_sel';
UPDATE agentpay.decision_points SET label_maturity = '2 days'
 WHERE point = 't_sel';
\o /dev/null
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_sel_2', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [600], "scale": [100]}');
UPDATE agentpay.agents SET model = 't_sel_2' WHERE name = 't_sel';
CREATE TEMP TABLE nature AS
SELECT i AS id, a.amount,
	   (hashint8extended(i, 2) & 1048575) / 1048576.0
		   < CASE WHEN a.amount > 700 THEN 0.6 WHEN a.amount > 500 THEN 0.3
			 ELSE 0.02 END AS fraud
  FROM generate_series(1, 20000) AS i
 CROSS JOIN LATERAL (SELECT (hashint8extended(i, 1) & 1023)::numeric AS amount)
	AS a;
INSERT INTO t_sel.payments (id, amount) SELECT id, amount FROM nature;
DO $$
DECLARE
	batch agentpay._tasks[];
BEGIN
	FOR batch IN SELECT array_agg(t) FROM agentpay._tasks t
		WHERE t.point = 't_sel' AND t.agent_version = 2
		GROUP BY t.task_id % 20
	LOOP
		PERFORM agentpay._decide_builtin(batch);
	END LOOP;
END $$;
-- nature labels frauds that were let through; auditors label what they drew,
-- and reviews are all resolved
DO $$ BEGIN
	PERFORM agentpay.record_outcome('t_sel', n.id, CASE WHEN n.fraud
		THEN 'fraud' ELSE 'legit' END, CASE WHEN d.verdict = 'approve'
		THEN 'chargeback' WHEN d.assignment = 'audit' THEN 'audit'
		ELSE 'analyst' END)
	   FROM nature n JOIN agentpay.decisions d ON d.point = 't_sel'
		AND d.row_id = n.id::text AND d.kind = 'rules'
	  WHERE (d.verdict = 'approve' AND n.fraud) OR d.assignment = 'audit'
		 OR d.verdict = 'review';
END $$;
ANALYZE agentpay.decisions, agentpay._tasks, agentpay.outcomes;
\o
CREATE TEMP TABLE truth AS
SELECT count(*) FILTER (WHERE fraud AND amount > 700)::numeric
		   / count(*) FILTER (WHERE fraud) AS tightest,
	   count(*) FILTER (WHERE fraud AND amount > 500)::numeric
		   / count(*) FILTER (WHERE fraud) AS positive
  FROM nature;
-- The estimate is R = T / (T + M): T of the declined frauds by their weight.
-- Each of the N declined frauds is seen with probability 0.28: the variance of
-- T is N (1 − 0.28) / 0.28, and that of R, linearised, (M / (T + M)²)² of it.
CREATE TEMP TABLE error AS
SELECT 4 * m / (n + m) ^ 2 * sqrt(n * 0.72 / 0.28) AS four_sigma
  FROM (SELECT count(*) FILTER (WHERE fraud AND amount > 700)::numeric AS n,
			   count(*) FILTER (WHERE fraud AND amount <= 700)::numeric AS m
		  FROM nature) AS c;
CREATE TEMP TABLE estimate AS
SELECT positive, identifiable, recall, fpr, precision
  FROM agentpay.agent_accuracy
 WHERE agent = 't_sel' AND agent_version = 2 AND decided_by = 'rules'
   AND population = 'answered';
SELECT cmp_ok((SELECT abs(recall - tightest) FROM estimate, truth
	WHERE estimate.positive = 'tightest'), '<',
	(SELECT four_sigma FROM error), 'the recall of the rules is the true one, within four sigma');
SELECT is((SELECT count(*) FROM nature n JOIN agentpay.decisions d
	ON d.row_id = n.id::text AND d.point = 't_sel' AND d.kind = 'rules'
	JOIN agentpay.outcomes o ON o.row_id = d.row_id AND o.point = 't_sel'
	WHERE d.assignment = 'treatment' AND d.verdict = 'approve'
	AND n.amount > 500), 0::bigint,
	'on what the rules let through it would be 0');
-- precision of the rule that declines: 60 %, of 0.28 × 6318 labels: four sigma
-- = 4 √(0.6 × 0.4 / 1769) = 0.0466
SELECT cmp_ok(abs(precision - 0.6), '<', 0.0466, 'and so is its precision')
  FROM agentpay.rule_stats
 WHERE point = 't_sel' AND version = 2 AND code = 'HUGE';
SELECT results_eq($$ SELECT DISTINCT a.assignment, a.propensity
	FROM agentpay.decisions a JOIN agentpay.decisions r USING (point, row_id)
	WHERE point = 't_sel' AND a.kind = 'agent' AND r.kind = 'rules'
	AND a.agent_version = 2
	AND (a.assignment, a.propensity) = (r.assignment, r.propensity)
	ORDER BY 1, 2 $$,
	$$ VALUES ('audit', 0.2::real), ('audit', 0.28), ('audit', 1),
	('explore', 0.28), ('treatment', 0.2), ('treatment', 0.28),
	('treatment', 1) $$, 'the agent''s decisions carry them');
SELECT is((SELECT count(*) FROM agentpay.decisions a
	JOIN agentpay.decisions r USING (point, row_id)
	WHERE point = 't_sel' AND a.kind = 'agent' AND r.kind = 'rules'
	AND (a.assignment, a.propensity) <> (r.assignment, r.propensity)),
	0::bigint, 'each those of its payment');

-- ── training leaves out what cannot be known ────────────────────────────────
SELECT is((SELECT cardinality(y) FROM agentpay._training_rows('t_sel',
	'{amount}', NULL, NULL, '0')),
	(SELECT count(*)::int FROM agentpay.decisions d
	  WHERE point = 't_sel' AND kind = 'rules' AND row_id ~ '^[0-9]+$'
	  AND (verdict = 'approve' OR EXISTS (SELECT FROM agentpay.outcomes o
		WHERE o.row_id = d.row_id AND o.point = 't_sel'))),
	'a stopped row without a label teaches nothing');

-- ── explain() ───────────────────────────────────────────────────────────────
CREATE FUNCTION pg_temp.explained(id text) RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(concat_ws(' | ', item, value, note), ' // ')
	  FROM agentpay.explain('t_sel', id)
	 WHERE section = 'decision' AND item IN ('assignment', 'propensity') $$;
SELECT is(pg_temp.explained('e1'), 'assignment | explore | let through to learn its label; the rules said decline // propensity | 0.28 | probability that its label can be observed', 'an explored row');
SELECT is(pg_temp.explained('u1'), 'assignment | audit | drawn for somebody to look at and to label, source audit // propensity | 0.28 | probability that its label can be observed', 'an audited one');
SELECT is(pg_temp.explained('r1'), 'propensity | 0 | stopped: no label comes by itself', 'one that was stopped');
SELECT is(pg_temp.explained('a1'), NULL, 'one that was let through');
SELECT * FROM finish();
ROLLBACK;
