-- What an agent may decide: _judge() over every combination, against tables
-- that were written by hand from docs/reference/configuration.md; and what the
-- table of authorities refuses.
BEGIN;
SET client_min_messages = warning;
CREATE SCHEMA t_auth;
CREATE TABLE t_auth.payments (id text PRIMARY KEY, at timestamptz NOT NULL
	DEFAULT now(), amount numeric, currency text, outcome text, route text,
	plain text);
\o /dev/null
SELECT agentpay.attach('t_auth.payments', 't_auth', 'fraud', 'id', 'at',
	amount => 'amount', currency => 'currency', outcome => 'outcome');
SELECT agentpay.attach('t_auth.payments', 't_auth_route', 'routing', 'id', 'at',
	amount => 'amount', currency => 'USD', outcome => 'route',
	verdicts => '{a,b,c}');
SELECT agentpay.attach('t_auth.payments', 't_auth_plain', 'fraud', 'id', 'at',
	outcome => 'plain');
\o
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_auth', 'logistic', '{amount}',
	'{"intercept":0,"coefficients":[0],"mean":[0],"scale":[1]}');

-- One agent for each kind of authority and each verdict that it is about.
CREATE TEMP TABLE kinds (kind text, may_relax boolean, max_amount numeric);
INSERT INTO kinds VALUES ('none', NULL, NULL), ('other', NULL, NULL),
	('row', false, NULL), ('limit', false, 100), ('relax', true, NULL),
	('relax_limit', true, 100);
CREATE TEMP TABLE subjects AS
	SELECT v.point, v.verdict, v.rank, k.*,
		   format('t_auth_%s_%s', k.kind, v.verdict) AS agent,
		   (SELECT o.verdict FROM agentpay.verdicts o WHERE o.point = v.point
			   AND o.verdict <> v.verdict ORDER BY o.verdict LIMIT 1) AS another
	  FROM agentpay.verdicts v CROSS JOIN kinds k
	 WHERE v.point = 't_auth'
		OR v.point = 't_auth_route' AND k.may_relax IS NOT TRUE;
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when,
	min_confidence)
SELECT agent, point, 'builtin', 't_auth', 'true', 0.7 FROM subjects;
INSERT INTO agentpay.authorities
SELECT agent, CASE kind WHEN 'other' THEN another ELSE verdict END, max_amount,
	   CASE WHEN max_amount IS NOT NULL THEN 'USD' END,
	   coalesce(may_relax, false)
  FROM subjects WHERE kind <> 'none';

-- Amounts beside a limit of 100 USD.
CREATE TEMP TABLE amounts (amount numeric, currency text, fits boolean);
INSERT INTO amounts VALUES (50, 'USD', true), (100, 'USD', true),
	(100.01, 'USD', false), (-100, 'USD', true), (-150, 'USD', false),
	(0, 'USD', true), (50, 'EUR', false), (50, NULL, false),
	(NULL, 'USD', false), (NULL, NULL, false);

CREATE FUNCTION pg_temp.judged(agent text, point text, rules text, answer text,
	amount numeric, currency text, forced boolean, confidence real)
	RETURNS text LANGUAGE sql AS $$
	SELECT agentpay._judge(
		jsonb_populate_record(NULL::agentpay._tasks, jsonb_build_object(
			'point', point, 'agent', agent, 'forced', forced)), a,
		jsonb_populate_record(NULL::agentpay.decisions, jsonb_build_object(
			'verdict', rules, 'assignment', 'treatment', 'amount', amount,
			'currency', currency)), answer, confidence)
	  FROM agentpay.agents a WHERE a.name = agent $$;

CREATE TEMP TABLE judged AS
	SELECT s.point, s.kind, s.verdict AS answer, w.verdict AS rules, m.fits,
		   f.forced, CASE WHEN s.rank IS NULL AND w.verdict <> s.verdict
				THEN 'other' WHEN s.verdict = w.verdict THEN 'same'
				WHEN s.rank > w.rank THEN 'tighter' ELSE 'looser' END AS relation,
		   pg_temp.judged(s.agent, s.point, w.verdict, s.verdict, m.amount,
						  m.currency, f.forced, 0.9) AS said
	  FROM subjects s
	  JOIN agentpay.verdicts w ON w.point = s.point
	 CROSS JOIN amounts m CROSS JOIN (VALUES (true), (false)) AS f (forced);

-- By hand: what counts; NULL: whatever it is.  All else is over authority.
CREATE TEMP TABLE counts (relation text, kind text, fits boolean,
	forced boolean);
INSERT INTO counts VALUES
	('same', NULL, NULL, NULL),
	-- stricter: without rows anything, with rows those, within the limit
	('tighter', 'none', NULL, NULL),
	('tighter', 'row', NULL, NULL),
	('tighter', 'relax', NULL, NULL),
	('tighter', 'limit', true, NULL),
	('tighter', 'relax_limit', true, NULL),
	-- looser: only with may_relax, within the limit, past nothing forced
	('looser', 'relax', NULL, false),
	('looser', 'relax_limit', true, false),
	-- without an order: only what is listed, past nothing forced
	('other', 'row', NULL, false),
	('other', 'limit', true, false);

SELECT plan(51);
-- 6 kinds × 3 answers × 3 rules × 10 amounts × 2, and 4 × 3 × 3 × 10 × 2
SELECT is((SELECT count(*) FROM judged), 1080 + 720::bigint,
	'every combination');
SELECT is_empty($$SELECT j.* FROM judged j
	 WHERE (j.said IS NULL) <> EXISTS (SELECT FROM counts c
		WHERE c.relation = j.relation AND coalesce(c.kind, j.kind) = j.kind
		  AND coalesce(c.fits, j.fits) = j.fits
		  AND coalesce(c.forced, j.forced) = j.forced)$$,
	'as the table by hand says');
SELECT is((SELECT array_agg(DISTINCT said) FROM judged),
	'{over_authority,NULL}'::text[], 'nothing else is said');
SELECT cmp_ok((SELECT count(*) FROM judged WHERE said IS NULL), '>', 0::bigint,
	'some count');

-- confidence, at 0.7
SELECT is(pg_temp.judged('t_auth_none_decline', 't_auth', 'approve', 'decline',
	1, 'USD', false, c.confidence::real), c.said, 'confidence ' || c.confidence)
  FROM (VALUES ('0', 'low_confidence'), ('0.69', 'low_confidence'),
		('0.699999', 'low_confidence'), ('0.7', NULL), ('1', NULL))
		AS c (confidence, said);
SELECT is(pg_temp.judged('t_auth_none_decline', 't_auth', 'approve', 'decline',
	1, 'USD', false, NULL), 'low_confidence', 'no confidence');
SELECT is(pg_temp.judged('t_auth_none_approve', 't_auth', 'decline', 'approve',
	1, 'USD', false, 0.5), 'low_confidence', 'unsure comes before over-reaching');
SELECT is(pg_temp.judged('t_auth_none_decline', 't_auth', 'decline', 'decline',
	1, 'USD', false, 0.5), 'low_confidence', 'also of what the rules said');
SELECT is(pg_temp.judged('t_auth_none_decline', 't_auth', 'approve', 'refund',
	1, 'USD', false, 1), 'over_authority', 'no verdict of the point');
UPDATE agentpay.agents SET min_confidence = 0
 WHERE name = 't_auth_none_decline';
SELECT is(pg_temp.judged('t_auth_none_decline', 't_auth', 'approve', 'decline',
	1, 'USD', false, NULL), NULL, 'where none is asked for');

-- An agent that is gone: as one without rows.
SELECT is(agentpay._judge(jsonb_populate_record(NULL::agentpay._tasks,
		jsonb_build_object('point', 't_auth', 'agent', 'gone', 'forced', false)),
	NULL, jsonb_populate_record(NULL::agentpay.decisions, jsonb_build_object(
		'verdict', 'review', 'assignment', 'treatment')), v.verdict, 0.1), v.said,
	'an agent that is gone: ' || v.verdict)
  FROM (VALUES ('approve', 'over_authority'), ('review', NULL),
			   ('decline', NULL)) AS v (verdict, said);

-- Explored: judged against what the rules said (its answer), not its verdict.
SELECT is(agentpay._judge(jsonb_populate_record(NULL::agentpay._tasks,
		jsonb_build_object('point', 't_auth', 'agent', 'gone', 'forced', false)),
	NULL, jsonb_populate_record(NULL::agentpay.decisions, jsonb_build_object(
		'verdict', 'approve', 'answer', 'decline', 'assignment', 'explore')),
	v.verdict, 1), v.said, 'explored: ' || v.verdict)
  FROM (VALUES ('approve', 'over_authority'), ('review', 'over_authority'),
			   ('decline', NULL)) AS v (verdict, said);

-- Advice to a person is beyond nobody's authority.
SELECT is(agentpay._judge(jsonb_populate_record(NULL::agentpay._tasks,
		jsonb_build_object('point', 't_auth', 'agent', 'x', 'forced', true)),
	jsonb_populate_record(NULL::agentpay.agents, jsonb_build_object(
		'name', 'x', 'position', 'review', 'min_confidence', 0.5)),
	jsonb_populate_record(NULL::agentpay.decisions, jsonb_build_object(
		'verdict', 'decline', 'assignment', 'treatment')), 'approve',
	c.confidence), c.said, 'advice with confidence ' || c.confidence)
  FROM (VALUES (0.9::real, NULL), (0.4, 'low_confidence')) AS c (confidence, said);

-- ── which verdicts of the rules are forced ──────────────────────────────────
INSERT INTO agentpay.lists VALUES ('t_auth');
INSERT INTO agentpay.list_entries (list, value) VALUES ('t_auth', 'listed');
INSERT INTO agentpay.rules (point, code, condition, score, verdict) VALUES
	('t_auth', 'SUM', 'amount > 100', 100, NULL),
	('t_auth', 'HARD', 'amount > 1000', 0, 'review'),
	('t_auth', 'SOFT', 'amount < 0', 0, 'approve'),
	('t_auth', 'LISTED', 'in_list(''t_auth'', id)', 10, NULL),
	('t_auth', 'BROKEN', '1 / (amount - 7) > 0', 0, NULL);
UPDATE agentpay.rulesets SET thresholds = '{"review":50,"decline":100}'
 WHERE point = 't_auth';
INSERT INTO agentpay.rulesets (point, version, mode)
VALUES ('t_auth_route', 1, 'first_match');
INSERT INTO agentpay.rules (point, code, condition, verdict, priority) VALUES
	('t_auth_route', 'LISTED', 'in_list(''t_auth'', id)', 'b', 1),
	('t_auth_route', 'LARGE', 'amount > 100', 'c', 2);
\o /dev/null
SELECT agentpay.activate('t_auth'), agentpay.activate('t_auth_route');
\o
UPDATE agentpay.agents SET stage = 'shadow'
 WHERE name IN ('t_auth_none_decline', 't_auth_none_a');
INSERT INTO t_auth.payments (id, amount, currency) VALUES
	('sum', 200, 'USD'), ('hard', 2000, 'USD'), ('soft', -1, 'USD'),
	('none', 1, 'USD'), ('listed', 1, 'USD'), ('broken', 7, 'USD');
SELECT is((SELECT t.forced FROM agentpay._tasks t WHERE t.point = f.point
			  AND t.row_id = f.id), f.forced,
	format('%s, %s: forced %s', f.point, f.id, f.forced))
  FROM (VALUES
		('t_auth', 'sum', false), ('t_auth', 'hard', true),
		('t_auth', 'soft', false), ('t_auth', 'none', false),
		('t_auth', 'listed', true), ('t_auth', 'broken', true),
		('t_auth_route', 'sum', false), ('t_auth_route', 'listed', true),
		('t_auth_route', 'none', false)) AS f (point, id, forced);

-- ── what is refused ─────────────────────────────────────────────────────────
\ir refused.psql
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when) VALUES
	('t_auth_new', 't_auth', 'builtin', 't_auth', 'true'),
	('t_auth_r', 't_auth_route', 'builtin', 't_auth', 'true');
CREATE TABLE t_auth.rows (ord int GENERATED ALWAYS AS IDENTITY, row text,
	said text);
INSERT INTO t_auth.rows (row, said) VALUES
	($$'nobody', 'decline', NULL, NULL, false$$,
	 '23503 | unknown agent: ''nobody'' | INSERT INTO agentpay.agents (name, ...) VALUES (''nobody'', ...); first.'),
	($$NULL, 'decline', NULL, NULL, false$$,
	 '23503 | unknown agent: NULL%'),
	($$'t_auth_new', 'refund', NULL, NULL, false$$,
	 '23514 | unknown verdict of point "t_auth": ''refund'' | In the INSERT, use verdict = ''decline''.'),
	($$'t_auth_new', NULL, NULL, NULL, false$$,
	 '23514 | unknown verdict of point "t_auth": NULL%'),
	($$'t_auth_new', 'decline', 10, NULL, false$$,
	 '23514 | the currency of verdict "decline" for agent "t_auth_new" is missing | In the INSERT, use max_amount = 10, currency = ''USD''.'),
	($$'t_auth_new', 'decline', NULL, 'EUR', false$$,
	 '23514 | max_amount of verdict "decline" for agent "t_auth_new" is missing | In the INSERT, use max_amount = 100, currency = ''EUR''.'),
	($$'t_auth_new', 'decline', -1, 'USD', false$$,
	 '23514 | max_amount is out of range: -1%'),
	($$'t_auth_new', 'decline', 'NaN', 'USD', false$$,
	 '23514 | max_amount is out of range: NaN%'),
	($$'t_auth_new', 'decline', 1, 'usd', false$$,
	 '23514 | currency is not a currency code: ''usd''%'),
	($$'t_auth_new', 'decline', NULL, NULL, NULL$$,
	 '23502 | may_relax of agentpay.authorities cannot be NULL%'),
	($$'t_auth_r', 'a', 1, 'EUR', false$$,
	 '22023 | amounts of point "t_auth_route" are in USD, not in EUR | In the INSERT, use currency = ''USD''.'),
	($$'t_auth_r', 'a', NULL, NULL, true$$,
	 '23514 | verdicts of point "t_auth_route" have no order | In the INSERT, use may_relax = false.');
SELECT alike(pg_temp.refused('INSERT INTO agentpay.authorities VALUES ('
	|| r.row || ')'), r.said, r.row) FROM t_auth.rows r ORDER BY r.ord;
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, options)
SELECT 't_auth_p', 't_auth_plain', 'builtin', 't_auth', 'true', '{}'
  FROM generate_series(1, 1);
SELECT alike(pg_temp.refused($$INSERT INTO agentpay.authorities
	VALUES ('t_auth_p', 'decline', 1, 'USD')$$),
	'23514 | point "t_auth_plain" has no amount to hold against max_amount%',
	'no amount to compare');
SELECT alike(pg_temp.refused($$UPDATE agentpay.authorities SET verdict = 'x'
	WHERE agent = 't_auth_row_decline'$$),
	'23514 | unknown verdict of point "t_auth": ''x'' | UPDATE agentpay.authorities SET verdict = ''decline'' WHERE agent = ''t_auth_row_decline'' AND verdict = ''decline'';',
	'an UPDATE, with the statement that mends it');
INSERT INTO agentpay.verdicts (point, verdict, rank, positive)
VALUES ('t_auth', 'block', 3, true);
INSERT INTO agentpay.authorities (agent, verdict) VALUES ('t_auth_new', 'block');
SELECT alike(pg_temp.refused($$DELETE FROM agentpay.verdicts
	WHERE point = 't_auth' AND verdict = 'block'$$),
	'55000 | verdict "block" of point "t_auth" cannot be deleted%',
	'a verdict of somebody''s authority stays');
SELECT alike(pg_temp.refused('TRUNCATE agentpay.authorities'),
	'55000 | agentpay.authorities cannot be truncated%', 'no TRUNCATE');

-- Another authority is another version, which says what it was.
SELECT is((SELECT array_agg(v.definition -> 'authorities' ORDER BY v.version)
			 FROM agentpay.agent_versions v WHERE v.agent = 't_auth_new'),
	ARRAY[NULL, '[{"verdict": "block", "max_amount": null, "currency": null, "may_relax": false}]'::jsonb],
	'the version has its authorities');
DELETE FROM agentpay.authorities WHERE agent = 't_auth_new';
SELECT is((SELECT count(*) FROM agentpay.agent_versions v
			WHERE v.agent = 't_auth_new'), 3::bigint, 'and another one without');
DELETE FROM agentpay.agents WHERE name = 't_auth_row_decline';
SELECT is((SELECT count(*) FROM agentpay.authorities
			WHERE agent = 't_auth_row_decline'), 0::bigint,
	'they go with their agent');
SELECT is((SELECT count(*) FROM agentpay.governance_log
			WHERE object_kind = 'authority'
			  AND object = 't_auth_row_decline.decline'), 2::bigint,
	'its coming and going is on record');
SELECT * FROM finish();
ROLLBACK;
