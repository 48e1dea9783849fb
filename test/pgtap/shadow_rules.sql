-- Versions of the rules in shadow: evaluated and logged beside the active one,
-- without effect.  Expected verdicts are the arithmetic of the rules below.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_shadow;
CREATE TABLE t_shadow.payments (id text PRIMARY KEY, card text,
	amount numeric, note text, key text, at timestamptz NOT NULL
	DEFAULT '2026-01-15 12:00+00', outcome text, score numeric, reasons text[]);
CREATE INDEX ON t_shadow.payments (card, at);
CREATE INDEX ON t_shadow.payments (key);
\o /dev/null
SELECT agentpay.attach('t_shadow.payments', point => 't_shadow',
	role => 'fraud', id => 'id', occurred_at => 'at', amount => 'amount',
	currency => 'USD', outcome => 'outcome', score => 'score',
	reasons => 'reasons', idempotency => 'key');
INSERT INTO agentpay.features (point, name, key, aggregate, over)
VALUES ('t_shadow', 'on_card', '{card}', 'count', '1 hour');
-- 1, active: 60 points from 100 on, so review (thresholds 50 and 100)
INSERT INTO agentpay.rules (point, code, condition, score)
VALUES ('t_shadow', 'BIG', 'amount > 100', 60);
SELECT agentpay.activate('t_shadow');
-- 2, shadow: reads what version 1 does not
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_shadow', 'CARD', 'on_card >= 2', 45),
	('t_shadow', 'NOTE', 'note = ''gift''', 10);
SELECT agentpay.activate('t_shadow', 2, as_shadow => true);
-- 3, shadow: the first rule that matches; fails where the amount is 5
SELECT agentpay.draft('t_shadow', from_version => 1);
DELETE FROM agentpay.rules WHERE point = 't_shadow' AND version = 3;
UPDATE agentpay.rulesets SET mode = 'first_match', on_error = 'decline'
 WHERE point = 't_shadow' AND version = 3;
INSERT INTO agentpay.rules (point, version, code, condition, verdict, priority)
VALUES ('t_shadow', 3, 'DIVIDES', '1 / (amount - 5) > 0.9', 'review', 1),
	   ('t_shadow', 3, 'OTHERWISE', 'amount < 0', 'decline', 2);
SELECT agentpay.activate('t_shadow', as_shadow => true);
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_shadow', 'logistic', '{amount}',
	 '{"intercept": 0, "coefficients": [0], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_shadow', 't_shadow', 'builtin', 't_shadow', 'true', 'shadow');
\o
\ir refused.psql
CREATE FUNCTION pg_temp.states() RETURNS text LANGUAGE sql AS $$
	SELECT string_agg(version || ' ' || state, ', ' ORDER BY version)
	  FROM agentpay.rulesets WHERE point = 't_shadow' $$;
-- kind, version, authority, verdict, score, reasons, errors of each decision
CREATE FUNCTION pg_temp.decided(id text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT concat_ws(' ', kind, ruleset_version, authority, verdict,
			trim_scale(score), reasons, detail -> 'errors')
	  FROM agentpay.decisions
	 WHERE point = 't_shadow' AND row_id = id AND kind LIKE '%rules'
	 ORDER BY kind, ruleset_version $$;
SELECT plan(49);

SELECT is(pg_temp.states(), '1 active, 2 shadow, 3 shadow', 'states');
SELECT results_eq($$SELECT object, after FROM agentpay.governance_log
	WHERE object_kind = 'ruleset' AND action = 'activate'
	  AND object LIKE 't\_shadow.%' ORDER BY object$$,
	$$VALUES ('t_shadow.1', NULL::jsonb), ('t_shadow.2', '{"as_shadow": true}'),
			 ('t_shadow.3', '{"as_shadow": true}')$$,
	'activations are on record');
SELECT is((SELECT array_agg(activated_at IS NULL ORDER BY version)
			 FROM agentpay.rulesets WHERE point = 't_shadow'), '{f,t,t}',
	'a version in shadow was never active');

-- ── what is logged ──────────────────────────────────────────────────────────
-- one card, three rows of one statement: the third sees three
INSERT INTO t_shadow.payments (id, card, amount, note) VALUES
	('a', 'c1', 50, NULL), ('b', 'c1', 150, 'gift'), ('c', 'c1', 5, 'gift');
SELECT results_eq($$SELECT pg_temp.decided('a')$$, ARRAY[
	'rules 1 live approve 0 {}', 'shadow_rules 2 shadow approve 0 {}',
	'shadow_rules 3 shadow approve {}'], 'nothing matched anywhere');
SELECT results_eq($$SELECT pg_temp.decided('b')$$, ARRAY[
	'rules 1 live review 60 {BIG}',
	'shadow_rules 2 shadow decline 115 {BIG,CARD,NOTE}',
	'shadow_rules 3 shadow approve {}'], '60 + 45 + 10 in shadow');
SELECT results_eq($$SELECT pg_temp.decided('c')$$, ARRAY[
	'rules 1 live approve 0 {}',
	'shadow_rules 2 shadow review 55 {CARD,NOTE}',
	'shadow_rules 3 shadow decline {} {"DIVIDES": {"message": "division by zero", "sqlstate": "22012"}}'],
	'an error is of its own version, by whose on_error it decides');
SELECT results_eq($$SELECT id, outcome, score, reasons FROM t_shadow.payments
	ORDER BY id$$, $$VALUES ('a', 'approve', 0::numeric, '{}'::text[]),
	('b', 'review', 60, '{BIG}'), ('c', 'approve', 0, '{}')$$,
	'the columns are those of the active version');
SELECT is((SELECT count(*) FROM agentpay._tasks WHERE point = 't_shadow'), 3::bigint,
	'no task but those of the rules decisions');
SELECT is_empty($$SELECT FROM agentpay._tasks t JOIN agentpay.decisions d
	USING (decision_id) WHERE t.point = 't_shadow' AND d.kind <> 'rules'$$,
	'tasks belong to rules decisions');
SELECT is((SELECT inputs FROM agentpay.decisions WHERE point = 't_shadow'
			  AND row_id = 'b' AND kind = 'rules'),
	'{"amount": 150, "note": "gift", "on_card": 2, "model(t_shadow)": 0.5}',
	'the rules decision holds what shadows read');
SELECT is((SELECT count(*) FROM agentpay.decisions WHERE point = 't_shadow'
			  AND kind = 'shadow_rules' AND inputs IS NOT NULL), 0::bigint,
	'a shadow''s own has no inputs');
SELECT is_empty($$SELECT FROM agentpay.decisions s
	LEFT JOIN agentpay.decisions r ON r.point = s.point AND r.row_id = s.row_id
		AND r.kind = 'rules' AND r.decided_at = s.decided_at AND r.xid = s.xid
		AND (r.amount, r.currency, r.base_amount, r.occurred_at, r.propensity)
			= (s.amount, s.currency, s.base_amount, s.occurred_at, s.propensity)
	WHERE s.point = 't_shadow' AND s.kind = 'shadow_rules'
	  AND r.decision_id IS NULL$$,
	'what is the payment''s is as in its rules decision');

-- many rows: the queue spills to its store
CREATE TEMP TABLE many AS SELECT 'm' || i AS id, i AS amount
  FROM generate_series(1, 3000) i;
INSERT INTO t_shadow.payments (id, amount) SELECT id, amount FROM many;
SELECT results_eq($$SELECT kind, ruleset_version, count(*),
		count(*) FILTER (WHERE verdict = 'review')
	FROM agentpay.decisions WHERE point = 't_shadow' AND row_id LIKE 'm%'
	GROUP BY 1, 2 ORDER BY 1, 2$$,
	-- 101 to 3000 are big; 1 / (6 - 5) alone is above 0.9
	$$VALUES ('rules', 1, 3000::bigint, 2900::bigint),
		('shadow_rules', 2, 3000, 2900), ('shadow_rules', 3, 3000, 1)$$,
	'one decision of each version for each of many rows');

-- rows that do not land
INSERT INTO t_shadow.payments (id, amount) VALUES ('b', 1), ('d', 1)
	ON CONFLICT DO NOTHING;
SAVEPOINT s;
INSERT INTO t_shadow.payments (id, amount) VALUES ('e', 1);
ROLLBACK TO s;
SELECT results_eq($$SELECT row_id, count(*) FROM agentpay.decisions
	WHERE point = 't_shadow' AND row_id IN ('b', 'd', 'e')
	  AND kind LIKE '%rules' GROUP BY 1 ORDER BY 1$$,
	$$VALUES ('b', 3::bigint), ('d', 3)$$,
	'none for a row that was skipped or rolled back');
-- a repeated key: the verdict on record, and no shadow's
INSERT INTO t_shadow.payments (id, amount, key) VALUES ('k1', 150, 'k');
INSERT INTO t_shadow.payments (id, amount, key) VALUES ('k2', 1, 'k');
SELECT results_eq($$SELECT pg_temp.decided('k2')$$,
	ARRAY['rules 1 live review 0 {}'], 'a row that repeats a key has no shadow');

-- ── errors stay in the shadow ───────────────────────────────────────────────
DROP INDEX t_shadow.payments_card_at_idx;
INSERT INTO t_shadow.payments (id, card, amount) VALUES ('f', 'c1', 150);
SELECT results_eq($$SELECT pg_temp.decided('f')$$, ARRAY[
	'rules 1 live review 60 {BIG}',
	'shadow_rules 2 shadow review 60 {BIG} {"on_card": {"message": "table \"payments\" lacks the index that a feature needs", "sqlstate": "55000"}}',
	'shadow_rules 3 shadow approve {}'],
	'a feature that only a shadow reads fails for that one');
CREATE INDEX ON t_shadow.payments (card, at);
INSERT INTO t_shadow.payments (id, amount) VALUES ('g', 'NaN');
SELECT results_eq($$SELECT pg_temp.decided('g')$$, ARRAY[
	'rules 1 live review 60 {BIG} {"amount": {"message": "the amount is no finite number", "sqlstate": "22003"}}',
	'shadow_rules 2 shadow review 60 {BIG} {"amount": {"message": "the amount is no finite number", "sqlstate": "22003"}}',
	'shadow_rules 3 shadow decline {DIVIDES} {"amount": {"message": "the amount is no finite number", "sqlstate": "22003"}}'],
	-- NaN is above every number: DIVIDES matches
	'what is wrong with the row is wrong for all, each by its own on_error');
-- another trigger changes what only a shadow read: nobody's concern
CREATE FUNCTION t_shadow.late() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN NEW.note := 'late'; RETURN NEW; END$$;
CREATE TRIGGER "~~late" BEFORE INSERT ON t_shadow.payments
	FOR EACH ROW EXECUTE FUNCTION t_shadow.late();
SET LOCAL agentpay.changed_after_scoring = 'error';
SELECT lives_ok($$INSERT INTO t_shadow.payments (id, amount) VALUES ('h', 1)$$,
	'a column that only a shadow reads may change after scoring');
RESET agentpay.changed_after_scoring;
DROP TRIGGER "~~late" ON t_shadow.payments;
-- BEFORE was switched off: the decisions are made in AFTER
ALTER TABLE t_shadow.payments DISABLE TRIGGER "~agentpay_score";
INSERT INTO t_shadow.payments (id, amount) VALUES ('i', 150);
ALTER TABLE t_shadow.payments ENABLE ALWAYS TRIGGER "~agentpay_score";
SELECT results_eq($$SELECT pg_temp.decided('i')$$, ARRAY[
	'rules 1 live review 60 {BIG}', 'shadow_rules 2 shadow review 60 {BIG}',
	'shadow_rules 3 shadow approve {}'], 'also without BEFORE');

-- ── who reads decisions ─────────────────────────────────────────────────────
SELECT is((SELECT concat_ws(' ', kind, verdict) FROM agentpay.current_decisions
			WHERE point = 't_shadow' AND row_id = 'b'), 'rules review',
	'the current decision is none in shadow');
SELECT results_eq($$SELECT item, value, split_part(note, '; ', 1)
	FROM agentpay.explain('t_shadow', 'c') WHERE section = 'shadow'$$,
	$$VALUES ('version 2', 'review', 'score 55'),
		('version 3', 'decline', 'errors: DIVIDES')$$,
	'explain() says what shadows said');
SELECT results_eq($$SELECT section, item, value FROM agentpay.explain((
		SELECT decision_id FROM agentpay.decisions WHERE point = 't_shadow'
		   AND row_id = 'b' AND ruleset_version = 2))
	WHERE section IN ('inputs', 'rules') OR item = 'verdict'$$,
	$$VALUES ('decision', 'verdict', 'decline'), ('inputs', 'amount', '150'),
		('inputs', 'model(t_shadow)', '0.5'), ('inputs', 'note', 'gift'),
		('inputs', 'on_card', '2'), ('rules', 'BIG', 'MATCHED, +60'),
		('rules', 'CARD', 'MATCHED, +45'), ('rules', 'NOTE', 'MATCHED, +10')$$,
	'explain() of a shadow''s decision: its rules, with the inputs of the payment');
SELECT results_eq($$SELECT item, name, value, score, verdict, error
	FROM agentpay.evaluate('t_shadow', '{"card": "c1", "amount": 5, "at": "2026-01-15 12:00+00"}')
	WHERE item IN ('feature', 'verdict', 'shadow')$$,
	-- a, b, c and f are on the card
	$$VALUES ('feature', 'on_card', '5', NULL::numeric, NULL, NULL),
		('verdict', 't_shadow', '1', 0, 'approve', NULL),
		('shadow', '2', 'CARD', 45, 'approve', NULL),
		('shadow', '3', NULL, NULL, 'decline',
		 'on_error: decline; DIVIDES: division by zero')$$,
	'evaluate() says what shadows would say');
SELECT results_eq($$SELECT version, code, evaluated, hits, errors
	FROM agentpay.rule_stats WHERE point = 't_shadow' ORDER BY 1, 2$$,
	-- rows: a b c d f g h i k1 and 3000; k2 repeats k1, under version 1.
	-- Above 100: b f g i k1 (NaN is above all numbers) and 2900.  On the card
	-- before: b and c.  Gifts: b and c.  6 is 1 above 5; g: NaN > 0.9.
	$$VALUES (1, 'BIG', 3010::bigint, 2905::bigint, 0::bigint),
		(2, 'BIG', 3009, 2905, 0), (2, 'CARD', 3009, 2, 0),
		(2, 'NOTE', 3009, 2, 0), (3, 'DIVIDES', 3009, 2, 2),
		(3, 'OTHERWISE', 3007, 0, 0)$$,
	'rule_stats has a version''s rules apart');
SELECT is((SELECT sum(payments) FROM agentpay.label_coverage
			WHERE point = 't_shadow'), 3010::numeric, 'a payment counts once');
SELECT is((SELECT agentpay.record_outcome('t_shadow', 'b', 'fraud')) IS NOT NULL,
	true, 'a payment with shadows takes a label');

-- ── frozen, but for snoozing ────────────────────────────────────────────────
SELECT is(pg_temp.refused($$UPDATE agentpay.rules SET score = 1
		WHERE point = 't_shadow' AND version = 2$$),
	'55000 | version 2 of the rules of point "t_shadow" is frozen | SELECT agentpay.draft(''t_shadow'', from_version => 2); change the draft, then SELECT agentpay.activate(''t_shadow'');',
	'a version in shadow is frozen');
SELECT matches(pg_temp.refused($$DELETE FROM agentpay.rulesets
		WHERE point = 't_shadow' AND version = 2$$), '^55000 .* is frozen',
	'and stays');
SELECT matches(pg_temp.refused($$DELETE FROM agentpay.features
		WHERE point = 't_shadow'$$), '^55000 .* cannot be deleted',
	'and keeps its features');
UPDATE agentpay.rules SET snoozed_until = clock_timestamp() + interval '1 hour'
 WHERE point = 't_shadow' AND version = 2 AND code = 'CARD';
INSERT INTO t_shadow.payments (id, card, amount) VALUES ('j', 'c1', 150);
SELECT results_eq($$SELECT pg_temp.decided('j') LIMIT 2$$, ARRAY[
	'rules 1 live review 60 {BIG}', 'shadow_rules 2 shadow review 60 {BIG}'],
	'its rules can be snoozed');
-- the snooze ends by the clock, without another change
UPDATE agentpay.rules SET snoozed_until = clock_timestamp() + interval '1 hour'
 WHERE point = 't_shadow' AND version = 1 AND code = 'BIG';
INSERT INTO t_shadow.payments (id, card, amount) VALUES ('p', 'c1', 150);
SET LOCAL agentpay.clock_offset = '61min';
INSERT INTO t_shadow.payments (id, card, amount) VALUES ('q', 'c1', 150);
RESET agentpay.clock_offset;
SELECT results_eq($$SELECT pg_temp.decided(id) FROM (VALUES ('p'), ('q')) AS v (id)
	WHERE true$$, ARRAY[
	'rules 1 live approve 0 {}', 'shadow_rules 2 shadow review 60 {BIG}',
	'shadow_rules 3 shadow approve {}',
	'rules 1 live review 60 {BIG}', 'shadow_rules 2 shadow decline 105 {BIG,CARD}',
	'shadow_rules 3 shadow approve {}'], 'until the hour is over');
SELECT results_eq($$SELECT after ->> 'code', before ->> 'snoozed_until' IS NULL
	FROM agentpay.governance_log WHERE object_kind = 'rule' AND action = 'update'
	AND object LIKE 't\_shadow.%' AND after ->> 'snoozed_until' IS NOT NULL ORDER BY event_id$$,
	$$VALUES ('CARD', true), ('BIG', true)$$, 'snoozes are on record');

-- ── in, out, and to the front ───────────────────────────────────────────────
SELECT lives_ok($$SELECT agentpay.activate('t_shadow', 2, as_shadow => true)$$,
	'again: a notice');
SELECT matches(pg_temp.refused($$SELECT agentpay.activate('t_shadow', 1, as_shadow => true)$$),
	'^55000 \| version 1 of point "t_shadow" cannot go from active to ''shadow''',
	'the active version decides');
SELECT matches(pg_temp.refused($$SELECT agentpay.activate('t_shadow', as_shadow => true)$$),
	'^42704 \| point "t_shadow" has no draft', 'a draft is needed');
UPDATE agentpay.rulesets SET state = 'retired'
 WHERE point = 't_shadow' AND version = 3;
INSERT INTO t_shadow.payments (id, amount) VALUES ('l', 5);
SELECT results_eq($$SELECT pg_temp.decided('l')$$, ARRAY[
	'rules 1 live approve 0 {}', 'shadow_rules 2 shadow approve 0 {}'],
	'a shadow is stopped by UPDATE');
SELECT matches(pg_temp.refused($$UPDATE agentpay.rulesets SET state = 'retired'
		WHERE point = 't_shadow' AND version = 1$$),
	'^55000 .* cannot go from active to ''retired''', 'the active one is not');
SELECT matches(pg_temp.refused($$UPDATE agentpay.rulesets SET state = 'draft'
		WHERE point = 't_shadow' AND version = 2$$),
	'^55000 .* cannot go from shadow to ''draft''',
	'what was evaluated is no draft any more');
SELECT lives_ok($$SELECT agentpay.activate('t_shadow', 2)$$, 'a shadow decides');
INSERT INTO t_shadow.payments (id, amount, note) VALUES ('n', 150, 'gift');
SELECT results_eq($$SELECT pg_temp.decided('n')$$,
	ARRAY['rules 2 live review 70 {BIG,NOTE}'], 'and is no shadow any more');
SELECT is(pg_temp.states(), '1 retired, 2 active, 3 retired', 'states');
-- the version before beside the new one: revert() still finds it
SELECT is(agentpay.activate('t_shadow', 1, as_shadow => true), 1,
	'a retired version in shadow');
SELECT is(agentpay.revert('t_shadow', reason => 'test'), 1,
	'revert() goes back to it');
SELECT is(pg_temp.states(), '1 active, 2 retired, 3 retired', 'states');

-- ── four eyes ───────────────────────────────────────────────────────────────
UPDATE agentpay.decision_points SET four_eyes = true WHERE point = 't_shadow';
SELECT is(agentpay.activate('t_shadow', 3, as_shadow => true), 3,
	'a shadow needs no second login');
SELECT is((SELECT agentpay.activate('t_shadow', 3)) || pg_temp.states(),
	'31 active, 2 retired, 3 shadow', 'but to decide it does');
SELECT matches(pg_temp.refused($$UPDATE agentpay.rulesets SET state = 'active'
		WHERE point = 't_shadow' AND version = 3$$),
	'^42501 \| version 3 .* is not approved', 'also by UPDATE');
CREATE ROLE t_shadow_b SUPERUSER;
SET client_min_messages = error;
UPDATE agentpay.decision_points SET four_eyes = false WHERE point = 't_shadow';
RESET client_min_messages;
SET SESSION AUTHORIZATION t_shadow_b;
UPDATE agentpay.decision_points SET four_eyes = false WHERE point = 't_shadow';
RESET SESSION AUTHORIZATION;

-- ── how many ────────────────────────────────────────────────────────────────
DO $$
BEGIN
	FOR i IN 1..7 LOOP
		PERFORM agentpay.activate('t_shadow', agentpay.draft('t_shadow'),
								  as_shadow => true);
	END LOOP;
END$$;
SELECT is(pg_temp.refused($$SELECT agentpay.activate('t_shadow',
		agentpay.draft('t_shadow'), as_shadow => true)$$),
	'54000 | point "t_shadow" has 8 versions in shadow already | UPDATE agentpay.rulesets SET state = ''retired'' WHERE point = ''t_shadow'' AND version = 3;',
	'the ninth is refused');
INSERT INTO t_shadow.payments (id, amount) VALUES ('o', 1);
SELECT is((SELECT count(*) FROM pg_temp.decided('o')), 9::bigint,
	'eight beside the active one');

SELECT * FROM finish();
ROLLBACK;
