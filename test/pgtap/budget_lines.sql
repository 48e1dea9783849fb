-- What a budget does, line by line: scopes, periods, windows that slide,
-- refusal, alerts, settlements that come late, twice or too high.  Every sum
-- is by hand, beside it.
BEGIN;
SET client_min_messages = warning;
SELECT plan(89);
-- Only these budgets count here.
\o /dev/null
UPDATE agentpay.agents SET stage = 'off';
DELETE FROM agentpay.budgets;
\o
CREATE FUNCTION pg_temp.ask(task bigint, bound numeric, role text DEFAULT 'fraud', point text DEFAULT 'p1', agent text DEFAULT 'a1',
	center text DEFAULT 'c1', payment text DEFAULT NULL, attempt int DEFAULT 1) RETURNS text LANGUAGE sql AS $$
	SELECT coalesce('refused by ' || r.refused_by || ', ' || r.on_exhausted || CASE WHEN r.hopeless THEN ', hopeless' ELSE '' END, 'held')
	  FROM agentpay._reserve(ARRAY[ROW(920000000 + task, attempt, bound, role, point, agent, center, coalesce(payment, 't:' || task), NULL)
			::agentpay._reservation]) AS r $$;
CREATE FUNCTION pg_temp.settle(task bigint, state text, cost numeric, attempt int DEFAULT 1) RETURNS void LANGUAGE sql AS $$
	SELECT agentpay._settle(ARRAY[ROW(920000000 + task, attempt, state, cost)::agentpay._settlement]) $$;
-- settled, held, uncertain, calls, state
CREATE FUNCTION pg_temp.now_at(budget text) RETURNS text LANGUAGE sql AS $$
	SELECT concat_ws(' ', s.settled, s.held, s.uncertain, s.calls, s.state) FROM agentpay.budget_status s WHERE s.name = budget $$;
CREATE FUNCTION pg_temp.clean() RETURNS void LANGUAGE sql AS $$
	DELETE FROM agentpay.budgets; DELETE FROM agentpay._holds WHERE task_id > 920000000; DELETE FROM agentpay._budget_totals;
	DELETE FROM agentpay._budget_changes $$;

-- ── what is settled twice in one go, or not at all ──────────────────────────
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('twice', 'all', '*', 'hour', 10);
SELECT is(pg_temp.ask(1, 0.5) || ' ' || pg_temp.ask(2, 0.25) || ' ' || pg_temp.ask(3, 0.125), 'held held held', 'three are held');
SELECT agentpay._settle(ARRAY[ROW(920000001, 1, 'settled', 0.4), ROW(920000001, 1, 'uncertain', 0.5), NULL, ROW(920000002, 1, 'released', 0),
	ROW(920000002, 1, 'released', 0), ROW(920000003, 1, NULL, 0), ROW(920000003, 2, 'settled', 0.1)]::agentpay._settlement[]);
SELECT is(pg_temp.now_at('twice'), '0.4 0.125 0 2 ok', 'the first settlement of each counts: 0.4 for 0.5, and 0.125 is held');
SELECT is(pg_temp.ask(4, 0.0625), 'held', 'the next one takes them in');
SELECT is(pg_temp.now_at('twice'), '0.4 0.1875 0 3 ok', '0.125 + 0.0625 are held');
SELECT lives_ok($$ SELECT agentpay._expire_holds('{twice,NULL,twice}') $$, 'a budget that is named twice');
SELECT is(pg_temp.now_at('twice'), '0.4 0.1875 0 3 ok', 'is looked at once');
SELECT throws_ok($$ SELECT * FROM agentpay._reserve(ARRAY[ROW(920000005, 1, NULL, 'fraud', 'p1', 'a1', 'c1', 'x', NULL)::agentpay._reservation]) $$,
	'22004', 'a reservation has its task, attempt and bound', 'without a bound nothing is held');
SELECT pg_temp.clean();

-- ── scopes: one call each, in every budget in whose scope it is ─────────────
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES
	('all', 'all', '*', 'hour', 10), ('role', 'role', 'fraud', 'hour', 10), ('center', 'cost_center', 'c1', 'hour', 10);
SELECT is(pg_temp.ask(1, 0.01), 'held', 'fraud, c1');
SELECT is(pg_temp.ask(2, 0.02, role => 'dispute'), 'held', 'dispute, c1');
SELECT is(pg_temp.ask(3, 0.04, center => 'c2'), 'held', 'fraud, c2');
SELECT is(pg_temp.ask(4, 0.08, role => 'routing', center => 'c3'), 'held', 'routing, c3');
SELECT is(pg_temp.now_at('all'), '0 0.15 0 4 ok', 'all: 0.01 + 0.02 + 0.04 + 0.08');
SELECT is(pg_temp.now_at('role'), '0 0.05 0 2 ok', 'role fraud: 0.01 + 0.04');
SELECT is(pg_temp.now_at('center'), '0 0.03 0 2 ok', 'cost center c1: 0.01 + 0.02');
SELECT is((SELECT agentpay._in_scope(ROW('x', s.scope, s.target, 'hour', 1, NULL, 80, 'fallback', true)::agentpay.budgets, 'fraud', 'p1', 'a1', 'c1')),
	s.inside, s.scope || ' ' || s.target || ': ' || s.inside)
  FROM (VALUES ('point', 'p1', true), ('point', 'p2', false), ('agent', 'a1', true), ('agent', 'a2', false), ('cost_center', 'c2', false),
			   ('role', 'dispute', false)) AS s (scope, target, inside);

-- ── refused, never trimmed; held in all or in none ──────────────────────────
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost, cap_calls) VALUES
	('wide', 'all', '*', 'day', 100, NULL), ('narrow', 'role', 'fraud', 'hour', 1, NULL), ('three', 'role', 'dispute', 'hour', NULL, 3);
SELECT is(pg_temp.ask(1, 0.75), 'held', '0.75 of 1');
SELECT is(pg_temp.ask(2, 0.26), 'refused by narrow, fallback', '0.26 of the 0.25 that are left');
SELECT is(pg_temp.now_at('wide'), '0 0.75 0 1 ok', 'and nothing of it is held in the wider one');
SELECT is(pg_temp.ask(3, 0.25), 'held', '0.25 fits, to the last cent');
SELECT is(pg_temp.now_at('narrow'), '0 1 0 2 exhausted', 'then it is full');
SELECT is(pg_temp.ask(4, 0.000000001), 'refused by narrow, fallback', 'for a nano-dollar too');
SELECT is(pg_temp.ask(5, 1.01), 'refused by narrow, fallback, hopeless', 'what is beyond the cap can never fit');
SELECT is(pg_temp.ask(6, 0), 'held', 'what costs nothing still fits');
SELECT is(pg_temp.ask(10 + i, 0, role => 'dispute'), CASE WHEN i <= 3 THEN 'held' ELSE 'refused by three, fallback' END, 'call ' || i || ' of three')
  FROM generate_series(1, 4) AS i;
-- a batch is admitted in its order: 0.6 and 0.4 of 1, 0.5 does not fit
UPDATE agentpay.budgets SET cap_cost = 2 WHERE name = 'narrow';
SELECT is((SELECT string_agg(coalesce(r.refused_by, 'held'), ' ' ORDER BY r.task_id) FROM agentpay._reserve(ARRAY(
		SELECT ROW(920000020 + n, 1, b, 'fraud', 'p1', 'a1', 'c1', 'b:' || n, NULL)::agentpay._reservation
		  FROM (VALUES (1, 0.6), (2, 0.5), (3, 0.4)) AS v (n, b) ORDER BY n)) AS r), 'held narrow held', 'a batch that fits in part: what comes first');
SELECT is(pg_temp.now_at('narrow'), '0 2 0 5 exhausted', '0.75 + 0.25 + 0 + 0.6 + 0.4');
SELECT is_empty('SELECT FROM agentpay.budget_invariant', 'nothing is beyond a cap');

-- ── alert_percent ───────────────────────────────────────────────────────────
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost, cap_calls, alert_percent) VALUES
	('cents', 'role', 'fraud', 'hour', 1, NULL, 70), ('calls', 'role', 'dispute', 'hour', NULL, 4, 50);
SELECT pg_temp.ask(1, 0.699) AS one \gset
SELECT is(pg_temp.now_at('cents'), '0 0.699 0 1 ok', '69.9 percent are no alert');
SELECT is_empty($$SELECT FROM agentpay.advice WHERE object_kind = 'budget' AND object = 'cents'$$, 'and no advice');
SELECT pg_temp.ask(2, 0.001) AS one \gset
SELECT is(pg_temp.now_at('cents'), '0 0.7 0 2 alert', '70 are');
SELECT is((SELECT count(*) FROM agentpay.advice WHERE object_kind = 'budget' AND object = 'cents'), 1::bigint, 'and advice says so');
SELECT is((SELECT used_percent FROM agentpay.budget_status WHERE name = 'cents'), 70.00, 'percent used');
SELECT pg_temp.ask(3, 0, role => 'dispute') AS one \gset
SELECT is(pg_temp.now_at('calls'), '0 0 0 1 ok', 'one call of four');
SELECT pg_temp.ask(4, 0, role => 'dispute') AS one \gset
SELECT is(pg_temp.now_at('calls'), '0 0 0 2 alert', 'two are half');
SELECT results_eq($$SELECT name, headroom, exhausted_in IS NULL FROM agentpay.budget_status WHERE name IN ('cents', 'calls') ORDER BY 1$$,
	$$VALUES ('calls', NULL, true), ('cents', 0.3, false)$$, 'without a cap on cost no room for it can be told; 1 - 0.7 is left of the other');

-- ── windows slide ───────────────────────────────────────────────────────────
-- At 0 h 0.3, at 12 h 0.5: each counts for 24 hours from when it was held.  Ten
-- minutes are left for the test to take.
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('day', 'role', 'fraud', 'day', 1);
SELECT pg_temp.ask(1, 0.3) AS one, pg_temp.settle(1, 'settled', 0.3) AS two \gset
SET agentpay.clock_offset = '12h';
SELECT pg_temp.ask(2, 0.5) AS one, pg_temp.settle(2, 'settled', 0.5) AS two \gset
SET agentpay.clock_offset = '1430min';
SELECT is(pg_temp.ask(3, 0.21), 'refused by day, fallback', 'after 23 h 50: 0.8 and 0.21 are beyond 1');
SELECT is(pg_temp.now_at('day'), '0.8 0 0 2 exhausted', 'both count');
SET agentpay.clock_offset = '24h';
SELECT is(pg_temp.ask(3, 0.21), 'held', 'after 24 h the first one does not');
SELECT is(pg_temp.now_at('day'), '0.5 0.21 0 2 ok', '0.5, and 0.21 held');
SET agentpay.clock_offset = '36h';
SELECT is(pg_temp.now_at('day'), '0 0.21 0 1 ok', 'after 36 h the second one neither; what is held does, until it ends');
SET agentpay.clock_offset = '72h';
SELECT is(pg_temp.now_at('day'), '0 0.21 0 1 ok', 'however long that takes');

-- ── late, twice, never made, unknown, too high ──────────────────────────────
SELECT pg_temp.settle(3, 'settled', 0.2);
SELECT is(pg_temp.now_at('day'), '0 0 0 0 ok', 'it settles to its own window, which has passed');
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('day', 'role', 'fraud', 'day', 1), ('month', 'role', 'fraud', 'month', 1);
SELECT pg_temp.ask(1, 0.4) AS one \gset
SET agentpay.clock_offset = '97h';
SELECT pg_temp.ask(2, 0.1) AS one, pg_temp.settle(1, 'settled', 0.25) AS two \gset
SELECT is(pg_temp.now_at('day'), '0 0.1 0 1 ok', 'late: it does not count in the day of now');
SELECT is(pg_temp.now_at('month'), '0.25 0.1 0 2 ok', 'but in the month it does, at what it cost');
SELECT pg_temp.settle(1, 'settled', 0.4) AS one, pg_temp.settle(1, 'released', 0) AS two, pg_temp.settle(1, 'uncertain', 0.4) AS three \gset
SELECT is(pg_temp.now_at('month'), '0.25 0.1 0 2 ok', 'a second settlement, and a third, change nothing');
SELECT pg_temp.settle(2, 'released', 0);
SELECT is(pg_temp.now_at('month'), '0.25 0 0 1 ok', 'released: as if it had not been');
SELECT pg_temp.settle(2, 'settled', 0.1);
SELECT is(pg_temp.now_at('month'), '0.25 0 0 1 ok', 'and it stays so');
SELECT pg_temp.settle(99, 'settled', 0.5);
SELECT is(pg_temp.now_at('month'), '0.25 0 0 1 ok', 'what was never reserved settles nothing');
SELECT pg_temp.ask(3, 0.2) AS one, pg_temp.settle(3, 'uncertain', 0.2) AS two \gset
SELECT is(pg_temp.now_at('month'), '0.25 0 0.2 2 ok', 'of unknown fate: charged at its bound');
SELECT is(pg_temp.ask(4, 0.56), 'refused by month, fallback', 'and it takes room: 0.25 + 0.2 + 0.56');
SELECT throws_ok($$SELECT pg_temp.settle(3, 'settled', -1), pg_temp.ask(5, 0.1), pg_temp.settle(5, 'settled', -0.1)$$, '23514');

-- ── the clock was ten days ahead, and is set back ───────────────────────────
-- 0.3 before, 0.5 and 0.1 ahead: these two count for a day from when the clock
-- is right again.  By less than a minute back, the budget waits.
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('day', 'role', 'fraud', 'day', 1), ('month', 'role', 'fraud', 'month', 1);
SET agentpay.clock_offset = 0;
SELECT pg_temp.ask(1, 0.3) AS one, pg_temp.settle(1, 'settled', 0.3) AS two \gset
SET agentpay.clock_offset = '240h';
SELECT pg_temp.ask(2, 0.5) AS one, pg_temp.settle(2, 'settled', 0.5) AS two, pg_temp.ask(3, 0.1) AS three \gset
SET agentpay.clock_offset = '1h';
SELECT is(pg_temp.ask(4, 0.41), 'refused by day, fallback', 'set back: 0.5, 0.1 and 0.41 are beyond 1');
SELECT is(pg_temp.now_at('day') || ', ' || pg_temp.now_at('month'), '0.5 0.1 0 2 exhausted, 0.8 0.1 0 3 alert', 'nothing was lost; the day of 0.3 had passed');
SET agentpay.clock_offset = '3590s';
SELECT is(pg_temp.ask(4, 0.41), 'refused by day, fallback', 'ten seconds further back');
SELECT pg_temp.settle(3, 'settled', 0.1);
SET agentpay.clock_offset = '1490min';
SELECT is(pg_temp.ask(4, 0.41), 'refused by day, fallback', 'after 23 h 50 they count');
SET agentpay.clock_offset = '25h';
SELECT is(pg_temp.ask(4, 0.1), 'held', 'after 24 they do not');
SELECT is(pg_temp.now_at('day') || ', ' || pg_temp.now_at('month'), '0 0.1 0 1 ok, 0.9 0.1 0 4 exhausted', 'and all four do in the month');
SELECT is(pg_temp.ask(5, 0.1), 'refused by month, fallback', 'which is full');
SELECT is_empty('SELECT FROM agentpay.budget_invariant', 'nothing is beyond a cap');

-- A longer period: what counts goes on counting, from when it was held; a
-- shorter one takes nothing out before its time.
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES
	('grows', 'role', 'fraud', 'hour', 1), ('shrinks', 'role', 'fraud', 'day', 1), ('stays', 'role', 'fraud', 'hour', 1);
SET agentpay.clock_offset = 0;
SELECT pg_temp.ask(1, 0.3) AS one, pg_temp.settle(1, 'settled', 0.2) AS two, pg_temp.ask(2, 0.1) AS three \gset
UPDATE agentpay.budgets SET period = CASE name WHEN 'grows' THEN 'day' WHEN 'shrinks' THEN 'hour' ELSE period END;
SET agentpay.clock_offset = '2h';
SELECT pg_temp.settle(2, 'settled', 0.1);
SELECT is(pg_temp.now_at('grows'), '0.3 0 0 2 ok', 'an hour that became a day: after two hours it counts');
SELECT is(pg_temp.now_at('shrinks'), '0.3 0 0 2 ok', 'a day that became an hour: it counts its day');
SELECT is(pg_temp.now_at('stays'), '0 0 0 0 ok', 'an hour that stayed one');
SELECT is(pg_temp.ask(3, 0.71), 'refused by grows, fallback', '0.3 and 0.71 are beyond 1');
SET agentpay.clock_offset = '25h';
SELECT is(pg_temp.now_at('grows') || ', ' || pg_temp.now_at('shrinks'), '0 0 0 0 ok, 0 0 0 0 ok', 'after 25 neither');

-- Per payment it begins with the next call: what an hour had held of many is not
-- one payment's.
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost) VALUES ('turns', 'role', 'fraud', 'hour', 1);
SELECT pg_temp.ask(1, 0.4, payment => 'x:1') AS one, pg_temp.settle(1, 'settled', 0.4) AS two, pg_temp.ask(2, 0.4, payment => 'x:2') AS three \gset
UPDATE agentpay.budgets SET period = 'transaction', cap_cost = 0.5 WHERE name = 'turns';
SELECT is_empty('SELECT FROM agentpay.budget_invariant', 'an hour that became each payment''s: 0.4 and 0.4 are of two');
SELECT is(pg_temp.ask(3, 0.5, payment => 'x:1'), 'held', 'and each begins anew');

-- ── a payment's own cap: tiers, attempts, live and shadow alike ─────────────
SELECT pg_temp.clean();
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES ('payment', 'transaction', 0.5);
SELECT is(pg_temp.ask(1, 0.2, payment => 'x:1'), 'held', 'an agent');
SELECT is(pg_temp.ask(2, 0.2, payment => 'x:1', agent => 'a2'), 'held', 'a second one, about the same payment');
SELECT is(pg_temp.ask(1, 0.2, payment => 'x:1', attempt => 2), 'refused by payment, fallback, hopeless', 'and the first one''s second attempt: 0.6');
SELECT is(pg_temp.ask(3, 0.5, payment => 'x:2'), 'held', 'another payment has its own');
SELECT pg_temp.settle(1, 'settled', 0.05);
SELECT is(pg_temp.ask(1, 0.2, payment => 'x:1', attempt => 2), 'held', 'settled at 0.05: 0.45');
-- in one batch: x:3 has room for two of 0.2 and one of 0.1
SELECT is((SELECT string_agg(coalesce(r.refused_by, 'held'), ' ' ORDER BY r.task_id) FROM agentpay._reserve(ARRAY(
		SELECT ROW(920000020 + n, 1, b, 'fraud', 'p1', 'a' || n, 'c1', p, NULL)::agentpay._reservation
		  FROM (VALUES (1, 0.2, 'x:3'), (2, 0.2, 'x:3'), (3, 0.2, 'x:3'), (4, 0.1, 'x:3'), (5, 0.5, 'x:4'), (6, 0.05, 'x:3')) AS v (n, b, p)
		 ORDER BY n)) AS r), 'held held payment held held payment', 'a payment several times in a batch: what comes first');
SELECT is((SELECT sum(h.bound_cost) FROM agentpay._holds h WHERE h.payment = 'x:3'), 0.5, '0.2 + 0.2 + 0.1');
SELECT is(pg_temp.now_at('payment'), '0.05 1.9 0 8 ok', '0.05 settled; 0.2, 0.2 and 0.5 held before, 0.5 and 0.5 now');
SELECT is_empty('SELECT FROM agentpay.budget_invariant', 'nothing is beyond a cap');

-- ── on_exhausted = kill: the switch of its scope, and no other ──────────────
SELECT pg_temp.clean();
CREATE SCHEMA t_bl;
CREATE TABLE t_bl.payments (id text PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), amount numeric);
\o /dev/null
SELECT agentpay.attach('t_bl.payments', point => 't_bl', role => 'fraud', id => 'id', occurred_at => 'at');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_bl', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, cost_center)
SELECT 't_bl_' || n, 't_bl', 'builtin', 't_bl', 'true', CASE n WHEN 3 THEN 'other' ELSE 't_bl_cc' END FROM generate_series(1, 3) n;
INSERT INTO agentpay.budgets (name, scope, target, period, cap_calls, on_exhausted) VALUES
	('b_all', 'all', '*', 'hour', 1, 'kill'), ('b_role', 'role', 'fraud', 'hour', 1, 'kill'), ('b_point', 'point', 't_bl', 'hour', 1, 'kill'),
	('b_agent', 'agent', 't_bl_1', 'hour', 1, 'kill'), ('b_center', 'cost_center', 't_bl_cc', 'hour', 1, 'kill');
\o
CREATE FUNCTION pg_temp.engaged_for(budget text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE said text;
BEGIN
	UPDATE agentpay.kill_switches SET engaged = false WHERE engaged;
	PERFORM agentpay._engage_for(budget);
	SELECT string_agg(scope || ' ' || target, ', ' ORDER BY scope, target) || ': ' || min(reason) INTO said
	  FROM agentpay.kill_switches WHERE engaged;
	UPDATE agentpay.kill_switches SET engaged = false WHERE engaged;
	RETURN said;
END$$;
SELECT is(pg_temp.engaged_for('b_' || s), e || ': budget b_' || s || ' is exhausted', 'kill: ' || s)
  FROM (VALUES ('all', 'all *'), ('role', 'role fraud'), ('point', 'point t_bl'), ('agent', 'agent t_bl_1'),
			   ('center', 'agent t_bl_1, agent t_bl_2')) AS v (s, e);
UPDATE agentpay.kill_switches SET engaged = true, reason = 'by hand' WHERE scope = 'point' AND target = 't_bl';
SELECT agentpay._engage_for('b_point');
SELECT is((SELECT reason FROM agentpay.kill_switches WHERE engaged), 'by hand', 'one that is engaged keeps its reason');

SELECT * FROM finish();
ROLLBACK;
