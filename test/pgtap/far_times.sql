-- Payments may say any time, and any amount: whatever they say, every view and
-- report answers, and a person can decide.
BEGIN;
SET client_min_messages = error;
\o /dev/null
CREATE SCHEMA t_far;
CREATE TABLE t_far.payments (id text PRIMARY KEY, at timestamptz NOT NULL, amount numeric, outcome text);
SELECT agentpay.attach('t_far.payments', 't_far', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_far', 'LARGE', 'amount > 100', 60);
SELECT agentpay.activate('t_far');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_far', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_far', 't_far', 'builtin', 't_far', 'true', 'shadow');
INSERT INTO t_far.payments (id, at, amount)
SELECT at || ' ' || amount, at::timestamptz, amount::numeric
  FROM unnest('{infinity,-infinity,294276-12-31 23:59:59.999999+00,4714-11-24 00:00:00+00 BC,2026-01-01}'::text[]) AS at,
	   unnest('{5,500,NaN,Infinity,-Infinity,1e1000,-1}'::text[]) AS amount;
SELECT agentpay.record_outcome('t_far', id, 'fraud') FROM t_far.payments WHERE id LIKE '%500';
\o
SELECT plan((SELECT count(*) FROM pg_class c WHERE c.relnamespace = 'agentpay'::regnamespace AND c.relkind = 'v')::int + 9);
SELECT is(count(*), 35::bigint, 'each has its decision') FROM agentpay.current_decisions WHERE point = 't_far';
SELECT lives_ok(format('SELECT * FROM agentpay.%I', c.relname), c.relname::text)
  FROM pg_class c WHERE c.relnamespace = 'agentpay'::regnamespace AND c.relkind = 'v' ORDER BY c.relname;
SELECT lives_ok('SELECT agentpay.report_html()', 'the report');
SELECT lives_ok('SELECT e.* FROM agentpay.current_decisions d, agentpay.explain(d.decision_id) AS e WHERE d.point = ''t_far''', 'explain()');
SELECT lives_ok('SELECT e.* FROM agentpay.current_decisions d, agentpay.payment_timeline(d.point, d.row_id) AS e WHERE d.point = ''t_far''', 'payment_timeline()');
SELECT lives_ok('SELECT * FROM agentpay.backtest(''t_far'')', 'backtest()');
-- payments of the far future are of one hour; five wait for room that never comes
SELECT results_eq(format($$SELECT hour, payments, calls, refused FROM agentpay.simulate('t_far', '{"name": "t_far", "protocol": "builtin", "model": "t_far",
	"invoke_when": "true", "price_per_call": 0.1, "position": "%s"}', '[{"name": "day", "period": "month", "cap_calls": 2, "on_exhausted": "wait"}]')
	ORDER BY 1 DESC LIMIT 1$$, pos), $$VALUES ('294275-01-01 00:00:00+00'::timestamptz, 7::bigint, 2::bigint, 5::bigint)$$, 'simulate(), ' || pos)
  FROM unnest('{pre_auth,post_auth}'::text[]) AS pos;
SELECT lives_ok('SELECT e.* FROM agentpay.current_decisions d, agentpay.replay(d.decision_id) AS e WHERE d.point = ''t_far''', 'replay()');
-- 'review' by the rules, or by on_error: another verdict makes an action
SELECT lives_ok('SELECT agentpay.resolve_case(coalesce((SELECT c.case_id FROM agentpay.cases c WHERE c.point = ''t_far'' AND c.row_id = p.id AND c.state <> ''closed''), agentpay.open_case(''t_far'', p.id, ''a test'')), ''decline'', ''a test'') FROM t_far.payments p', 'a person decides about each');
SELECT * FROM finish();
ROLLBACK;
