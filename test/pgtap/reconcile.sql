-- reconcile_hold(): what an uncertain call cost after all.  Sums by hand: of
-- two calls with bounds of 0.50 and 0.30, the first is uncertain and turns
-- out to have cost 0.20, the second is settled at 0.10.
BEGIN;
SET client_min_messages = warning;
SELECT plan(13);
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES
	('t_rec_hour', 'hour', 1), ('t_rec_payment', 'transaction', 1);
\o /dev/null
SELECT * FROM agentpay._reserve(ARRAY[
	ROW(910000001, 1, 0.50, 'fraud', 't_rec', 't_rec', 'c', 'p:1', now()),
	ROW(910000002, 1, 0.30, 'fraud', 't_rec', 't_rec', 'c', 'p:2', now())
	]::agentpay._reservation[]);
SELECT agentpay._settle(ARRAY[ROW(910000001, 1, 'uncertain', 0.50),
	ROW(910000002, 1, 'settled', 0.10)]::agentpay._settlement[]);
\o
CREATE FUNCTION pg_temp.hold(task bigint, of_budget text) RETURNS bigint
LANGUAGE sql AS $$ SELECT hold_id FROM agentpay.budget_holds
	WHERE task_id = task AND budget = of_budget $$;
CREATE VIEW pg_temp.sums AS SELECT name, settled, held, uncertain, headroom
	FROM agentpay.budget_status WHERE name LIKE 't\_rec%' ORDER BY name;
SELECT results_eq('SELECT * FROM pg_temp.sums',
	$$ VALUES ('t_rec_hour', 0.10, 0::numeric, 0.50, 0.40),
			  ('t_rec_payment', 0.10, 0, 0.50, NULL) $$, 'charged at the bound');

-- what is refused changes nothing
SELECT throws_ok(format('SELECT agentpay.reconcile_hold(%s, 0.2, %L)',
	pg_temp.hold(910000001, 't_rec_hour'), ' '), '22004');
SELECT throws_ok(format('SELECT agentpay.reconcile_hold(%s, NULL, %L)',
	pg_temp.hold(910000001, 't_rec_hour'), 'bill'), '22004');
SELECT throws_ok(format('SELECT agentpay.reconcile_hold(%s, 0.51, %L)',
	pg_temp.hold(910000001, 't_rec_hour'), 'bill'), '23514');
SELECT throws_ok(format('SELECT agentpay.reconcile_hold(%s, -0.01, %L)',
	pg_temp.hold(910000001, 't_rec_hour'), 'bill'), '23514');
SELECT throws_ok(format('SELECT agentpay.reconcile_hold(%s, %L, %L)',
	pg_temp.hold(910000001, 't_rec_hour'), 'NaN', 'bill'), '23514');
SELECT throws_ok(format('SELECT agentpay.reconcile_hold(%s, 0.1, %L)',
	pg_temp.hold(910000002, 't_rec_hour'), 'bill'), '55000');
SELECT throws_ok($$ SELECT agentpay.reconcile_hold(-1, 0.1, 'bill') $$, '42704');

SELECT agentpay.reconcile_hold(pg_temp.hold(910000001, 't_rec_payment'), 0.20,
	'bill of November');
SELECT results_eq('SELECT * FROM pg_temp.sums',
	$$ VALUES ('t_rec_hour', 0.30, 0::numeric, 0::numeric, 0.70),
			  ('t_rec_payment', 0.30, 0, 0, NULL) $$,
	'settled in each budget, whichever hold was named');
SELECT throws_ok(format('SELECT agentpay.reconcile_hold(%s, 0.1, %L)',
	pg_temp.hold(910000001, 't_rec_hour'), 'again'), '55000');
SELECT results_eq($$ SELECT actor::text, reason, before ->> 'cost', after ->> 'cost'
	FROM agentpay.governance_log WHERE action = 'reconcile' $$,
	$$ VALUES (session_user::text, 'bill of November', '0.50', '0.20') $$, 'on record');

-- reports count what is known now; the log stays
CREATE TEMP TABLE call (LIKE agentpay.agent_calls);
INSERT INTO call (call_id, called_at, task_id, attempt, point, row_id, agent,
	agent_version, cost_center, provider, status, reserved_cost, cost, xid)
VALUES (gen_random_uuid(), now(), 910000001, 1, 't_rec', '1', 't_rec', 1, 'c',
		'openai', 'uncertain', 0.50, 0.50, pg_current_xact_id()),
	   (gen_random_uuid(), now(), 910000002, 1, 't_rec', '2', 't_rec', 1, 'c',
		'openai', 'ok', 0.30, 0.10, pg_current_xact_id());
\o /dev/null
SELECT agentpay._append(ROW(call.*)::agentpay.agent_calls) FROM call;
\o
SELECT results_eq($$ SELECT calls, cost FROM agentpay.agent_cost
	WHERE agent = 't_rec' $$, 'VALUES (2::bigint, 0.30)', 'agent_cost');
SELECT results_eq($$ SELECT cost FROM agentpay.agent_calls
	WHERE agent = 't_rec' ORDER BY task_id $$, 'VALUES (0.50), (0.10)', 'agent_calls');
SELECT * FROM finish();
ROLLBACK;
