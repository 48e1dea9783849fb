-- responsibility_matrix: each line by hand.
BEGIN;
SET client_min_messages = warning;
SELECT plan(5);
CREATE SCHEMA t_resp;
CREATE TABLE t_resp.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL,
	amount numeric, route text);
\o /dev/null
SELECT agentpay.attach('t_resp.payments', point => 't_resp', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD');
SELECT agentpay.attach('t_resp.payments', point => 't_resp_r', role => 'routing',
	id => 'id', occurred_at => 'at', verdicts => '{north,south}');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_resp', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_large', 't_resp', 'builtin', 't_resp', 'true', 'shadow'),
	   ('t_small', 't_resp', 'builtin', 't_resp', 'true', 'off'),
	   ('t_route', 't_resp_r', 'builtin', 't_resp', 'true', 'shadow');
UPDATE agentpay.agents SET escalate_to = 't_large', stage = 'shadow' WHERE name = 't_small';
INSERT INTO agentpay.authorities (agent, verdict, max_amount, currency, may_relax)
VALUES ('t_large', 'decline', 500, 'USD', false), ('t_large', 'approve', NULL, NULL, true);
\o
CREATE FUNCTION pg_temp.matrix(name text) RETURNS TABLE (verdict text, max_amount numeric, currency text, may_relax boolean, otherwise text)
LANGUAGE sql AS $$ SELECT m.verdict, m.max_amount, m.currency, m.may_relax, m.otherwise
	FROM agentpay.responsibility_matrix m WHERE m.agent = name ORDER BY m.verdict $$;
SELECT results_eq($$ SELECT verdict, otherwise FROM agentpay.responsibility_matrix WHERE point = 't_resp' AND agent IS NULL ORDER BY 1 $$,
	$$ VALUES ('approve', 'it stands'), ('decline', 'it stands'), ('review', 'a person decides the case') $$, 'the rules');
SELECT results_eq($$ SELECT * FROM pg_temp.matrix('t_small') $$,
	$$ VALUES ('decline', NULL::numeric, NULL::text, false, 'the rules stand; t_large is asked'),
		('review', NULL, NULL, false, 'the rules stand; t_large is asked') $$, 'without authorities: what tightens');
SELECT results_eq($$ SELECT * FROM pg_temp.matrix('t_large') $$,
	$$ VALUES ('approve', NULL::numeric, NULL::text, true, 'the rules stand'), ('decline', 500, 'USD', false, 'the rules stand') $$,
	'with authorities: these');
SELECT results_eq($$ SELECT * FROM pg_temp.matrix('t_route') $$,
	$$ VALUES (NULL::text, NULL::numeric, NULL::text, NULL::boolean, 'the rules stand') $$, 'without an order and without authorities: nothing');
UPDATE agentpay.agents SET stage = 'off' WHERE name = 't_large';
SELECT is((SELECT DISTINCT otherwise FROM pg_temp.matrix('t_large')), 'it is not asked', 'an agent that is off');
SELECT * FROM finish();
ROLLBACK;
