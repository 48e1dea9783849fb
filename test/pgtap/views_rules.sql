-- rule_stats: rules that are dead, noisy or failing are seen.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_rules;
CREATE TABLE t_rules.payments (id text PRIMARY KEY, amount numeric,
	at timestamptz NOT NULL DEFAULT now() - interval '3 days');
\o /dev/null
SELECT agentpay.attach('t_rules.payments', point => 't_rules',
	role => 'fraud', id => 'id', occurred_at => 'at');
SELECT agentpay.attach('t_rules.payments', point => 't_rules_route',
	role => 'routing', id => 'id', occurred_at => 'at', verdicts => '{x,y}');
UPDATE agentpay.decision_points SET label_maturity = '1 day'
 WHERE point LIKE 't\_rules%';
INSERT INTO agentpay.rules (point, code, condition, score, verdict, priority,
	enabled, snoozed_until)
VALUES ('t_rules', 'FLAG', 'amount > 100', 10, NULL, 1, true, NULL),
	   ('t_rules', 'STOP', 'amount > 1000', 60, NULL, 1, true, NULL),
	   ('t_rules', 'DIVIDE', '1 / (amount - 5) > 1000', 1, NULL, 1, true, NULL),
	   ('t_rules', 'DEAD', 'false', 1, NULL, 1, true, NULL),
	   ('t_rules', 'QUIET', 'true', 1, NULL, 1, true, '2999-01-01 00:00+00'),
	   ('t_rules', 'NEVER', 'true', 1, NULL, 1, false, NULL),
	   ('t_rules_route', 'LAST', 'true', 0, 'x', 3, true, NULL),
	   ('t_rules_route', 'MIDDLE', 'amount > 100', 0, 'y', 2, true, NULL),
	   ('t_rules_route', 'FIRST', 'amount > 1000', 0, 'x', 1, true, NULL);
SELECT agentpay.activate('t_rules'), agentpay.activate('t_rules_route');
-- e is stopped (review), f fails; g is not mature
INSERT INTO t_rules.payments (id, amount) VALUES ('a', 50), ('b', 200),
	('c', 300), ('d', 400), ('e', 2000), ('f', 5);
INSERT INTO t_rules.payments VALUES ('g', 500, now());
SELECT agentpay.record_outcome('t_rules', 'b', 'fraud'),
	   agentpay.record_outcome('t_rules', 'c', 'legit'),
	   agentpay.record_outcome('t_rules', 'g', 'fraud'),
	   agentpay.record_outcome('t_rules_route', 'b', 'x');
INSERT INTO agentpay.rules (point, code, condition, score)
VALUES ('t_rules', 'DRAFT', 'true', 1);
\o
CREATE FUNCTION pg_temp.stats(code text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', s.evaluated, s.hits, s.share, s.errors,
				  s.labelled_hits, coalesce(s.precision::text, 'NULL'))
	  FROM agentpay.rule_stats s
	 WHERE s.point LIKE 't\_rules%' AND s.code = stats.code $$;
SELECT plan(17);

-- b, c, d, e, g of 7; labels of b, c and d (none is legit), not of e
SELECT is(pg_temp.stats('FLAG'), '7 5 0.714286 0 3 NULL',
	'a stopped hit without a label: no precision');
SELECT is(pg_temp.stats('STOP'), '7 1 0.142857 0 0 NULL', 'one that stops');
SELECT is(pg_temp.stats('DIVIDE'), '7 0 0.000000 1 0 NULL', 'one that fails');
SELECT is(pg_temp.stats('DEAD'), '7 0 0.000000 0 0 NULL', 'a dead one');
SELECT is(pg_temp.stats('QUIET'), '7 0 0.000000 0 0 NULL', 'a snoozed one');
SELECT is(pg_temp.stats('NEVER'), '0 0 0 0 NULL', 'a disabled one');
SELECT is(pg_temp.stats('DRAFT'), NULL, 'a draft decided nothing');
SELECT is((SELECT last_hit FROM agentpay.rule_stats WHERE point = 't_rules'
			AND code = 'FLAG'), (SELECT max(decided_at) FROM agentpay.decisions
			WHERE point = 't_rules' AND row_id = 'g'), 'the last hit');
SELECT is((SELECT last_hit FROM agentpay.rule_stats WHERE point = 't_rules'
			AND code = 'DEAD'), NULL, 'none');
SELECT is((SELECT snoozed_until FROM agentpay.rule_stats
			WHERE point = 't_rules' AND code = 'QUIET'),
	'2999-01-01 00:00+00'::timestamptz, 'snoozed until');

-- by priority: e; then b, c, d, g of the other 6; then a and f
SELECT is(pg_temp.stats('FIRST'), '7 1 0.142857 0 0 NULL', 'first match');
SELECT is(pg_temp.stats('MIDDLE'), '6 4 0.666667 0 0 NULL',
	'what came before is not evaluated; routes have no positive');
SELECT is(pg_temp.stats('LAST'), '2 2 1.000000 0 0 NULL', 'the last one');

-- b and e of b, c, d, e
DO $$ BEGIN PERFORM agentpay.record_outcome('t_rules', 'e', 'fraud'); END $$;
SELECT is(pg_temp.stats('FLAG'), '7 5 0.714286 0 4 0.500000',
	'every hit that is due has a label');
SELECT is(pg_temp.stats('STOP'), '7 1 0.142857 0 1 1.000000',
	'a person labelled what was stopped');

-- one more, let through once in four times: (1 + 1 + 4) / (4 × 1 + 4)
CREATE TEMP TABLE explored (LIKE agentpay.decisions INCLUDING DEFAULTS);
INSERT INTO explored SELECT * FROM agentpay.decisions
 WHERE point = 't_rules' AND row_id = 'b';
UPDATE explored SET decision_id = gen_random_uuid(), row_id = 'w',
	   propensity = 0.25, assignment = 'explore', answer = 'decline';
DO $$ BEGIN
	PERFORM agentpay._append(ROW(e.*)::agentpay.decisions) FROM explored e;
	PERFORM agentpay.record_outcome('t_rules', 'w', 'fraud');
END $$;
SELECT is(pg_temp.stats('FLAG'), '8 6 0.750000 0 5 0.750000', 'weighted');
UPDATE agentpay.decision_points SET labels_complete = true
 WHERE point = 't_rules';
-- b, e, g and w of b, c, d, e, g and w: every label counts, at once, once
SELECT is(pg_temp.stats('FLAG'), '8 6 0.750000 0 6 0.666667',
	'labels that are complete');
SELECT * FROM finish();
ROLLBACK;
