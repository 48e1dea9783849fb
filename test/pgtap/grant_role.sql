-- grant_role(): what each role can do, and what it cannot.  Expected lists are
-- written from docs/security.md, not from _role_needs().
BEGIN;
SET client_min_messages = warning;
SELECT plan(36);
CREATE SCHEMA t_roles;
CREATE TABLE t_roles.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL
	DEFAULT now(), amount numeric, outcome text);
CREATE ROLE t_operator;
CREATE ROLE t_analyst;
CREATE ROLE t_auditor;
CREATE ROLE t_privacy_officer;
CREATE ROLE t_nobody;
GRANT USAGE ON SCHEMA t_roles TO t_privacy_officer;
\o /dev/null
SELECT agentpay.attach('t_roles.payments', point => 't_roles', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD',
	outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('t_roles', 'LARGE', 'amount > 100', 'review');
SELECT agentpay.activate('t_roles');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_roles', 'logistic', '{amount}',
	'{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.agents (name, point, protocol, model, invoke_when, stage)
VALUES ('t_roles', 't_roles', 'builtin', 't_roles', 'true', 'shadow');
INSERT INTO t_roles.payments (id, amount) VALUES (1, 50), (2, 500);
SELECT agentpay.open_case('t_roles', 1, 'a test');
SELECT agentpay.grant_role(('t_' || r)::regrole, r)
  FROM unnest('{operator,analyst,auditor,privacy_officer}'::text[]) AS r;
\o
CREATE FUNCTION pg_temp.as_role(who text, statement text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	said text := 'done';
BEGIN
	EXECUTE format('SET LOCAL ROLE %I', who);
	BEGIN
		EXECUTE statement;
		RAISE EXCEPTION USING ERRCODE = 'ZZ000'; -- undone
	EXCEPTION
		WHEN SQLSTATE 'ZZ000' THEN NULL;
		WHEN OTHERS THEN said := SQLSTATE;
	END;
	RESET ROLE;
	RETURN said;
END$$;
-- Which of some relations a role can read, all of their columns and rows.
CREATE FUNCTION pg_temp.reads(who text, names text[]) RETURNS text[]
	LANGUAGE sql AS $$
	SELECT array_agg(n ORDER BY n) FROM unnest(names) AS n
	 WHERE pg_temp.as_role(who, format('SELECT * FROM agentpay.%I', n)) = 'done'
$$;
CREATE FUNCTION pg_temp.everything() RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(c.relname::text) FROM pg_class c
	 WHERE c.relnamespace = 'agentpay'::regnamespace
	   AND c.relkind IN ('r', 'p', 'v')
$$;
-- Without those that other versions may not have.
CREATE FUNCTION pg_temp.there(names text) RETURNS text[] LANGUAGE sql AS $$
	SELECT array_agg(n ORDER BY n) FROM unnest(names::text[]) AS n
	 WHERE to_regclass('agentpay.' || n) IS NOT NULL
$$;
\set reports 'agent_accuracy,agent_cost,agent_latency,budget_status,calibration,cost_per_million,cost_to_value_weekly,drift,escalations,inference_variance,label_coverage,opex_leak,responsibility_matrix,rollout_status,rule_stats,shadow_vs_rules'
SELECT is(pg_temp.reads('t_nobody', pg_temp.everything()), NULL, 'without a role: nothing');
SELECT is(pg_temp.reads('t_operator', pg_temp.everything()), pg_temp.there('{' || :'reports' || ',actions,advice,budget_holds,budget_invariant,budgets,compliance,gates,guardrails,kill_switches,metrics,queue_status,stat_velocity,stat_workers,tasks}'),
	'an operator reads these');
SELECT is(pg_temp.reads('t_analyst', pg_temp.everything()), pg_temp.there('{' || :'reports' || ',actions,cases,current_decisions,decision_points,exchange_rates,features,list_entries,lists,outcome_mappings,rules,rulesets,verdicts}'),
	'an analyst reads these');
SELECT is(pg_temp.reads('t_auditor', pg_temp.everything()), pg_temp.there('{' || :'reports' || ',actions,agent_calls,agent_versions,allowed_endpoints,authorities,budget_holds,budget_invariant,budgets,cases,checkpoints,compliance,current_decisions,data_policies,decision_points,decisions,features,gates,governance_log,guardrails,kill_switches,list_entries,lists,outcomes,rules,rulesets,tasks,verdicts}'),
	'an auditor reads these');
SELECT is(pg_temp.reads('t_privacy_officer', pg_temp.everything()), '{compliance,data_policies,decision_points,governance_log}'::text[],
	'a privacy officer reads these');
SELECT is(pg_temp.as_role('t_auditor', 'SELECT * FROM agentpay.compliance'), 'done', 'the functions of a view with it');

-- a view's functions can be called without the view
SELECT is((SELECT array_agg(DISTINCT p.oid::regprocedure::text) FROM pg_proc p, unnest('{t_operator,t_analyst,t_auditor,t_privacy_officer}'::text[]) AS r
	WHERE p.pronamespace = 'agentpay'::regnamespace AND p.proname ~ '^_' AND has_function_privilege(r, p.oid, 'EXECUTE')
	  AND pg_get_function_result(p.oid) ~ '\m(row_id|inputs|detail|_?tasks|decisions|agent_calls|outcomes)\M'), NULL, 'none of the functions behind the views shows a row about one payment');

-- ── what they do ────────────────────────────────────────────────────────────
SELECT is(pg_temp.as_role('t_operator', $$ UPDATE agentpay.kill_switches SET engaged = true, reason = 'a test' WHERE scope = 'all' $$), 'done', 'an operator flips a switch');
SELECT is(pg_temp.as_role('t_operator', $$ SELECT agentpay.roll_back('t_roles', reason => 'a test', to_stage => 'off') $$), 'done', 'and rolls back');
SELECT is(pg_temp.as_role('t_operator', $$ SELECT agentpay.promote('t_roles') $$), 'AP005', 'and promotes, where the gates hold');
SELECT is(pg_temp.as_role('t_operator', $$ SELECT agentpay.report_html() $$), 'done', 'and reads the report');
SELECT is(pg_temp.as_role('t_analyst', $$ SELECT agentpay.resolve_case((SELECT case_id FROM agentpay.cases WHERE point = 't_roles' AND row_id = '1'), 'approve', 'known', 'legit') $$), 'done', 'an analyst resolves a case');
SELECT is(pg_temp.as_role('t_analyst', $$ UPDATE agentpay.cases SET state = 'investigating', assignee = current_user WHERE point = 't_roles' $$), 'done', 'and takes it');
SELECT is(pg_temp.as_role('t_analyst', $$ SELECT agentpay.record_outcome('t_roles', 2, 'fraud') $$), 'done', 'and labels');
SELECT is(pg_temp.as_role('t_analyst', $$ SELECT * FROM agentpay.explain('t_roles', 2), agentpay.payment_timeline('t_roles', 2) $$), 'done', 'and asks why');
SELECT is(pg_temp.as_role('t_auditor', $$ SELECT agentpay.sign_off('t_roles', 'read it') $$), 'done', 'an auditor signs');
SELECT is(pg_temp.as_role('t_auditor', $$ SELECT * FROM agentpay.validate_compliance(), agentpay.verify_log() $$), 'done', 'and validates');
SELECT is(pg_temp.as_role('t_privacy_officer', $$ INSERT INTO agentpay.data_policies VALUES ('t_roles.payments', 'amount', 'financial', 'drop') $$), 'done', 'a privacy officer writes data policies');

-- ── what they do not ────────────────────────────────────────────────────────
SELECT is_empty($$ SELECT r, n, p FROM unnest('{t_operator,t_analyst,t_auditor,t_privacy_officer}'::text[]) r,
	unnest('{decisions,agent_calls,outcomes,governance_log,agent_versions,checkpoints,_tasks,_leaves,_nodes,_seals}'::text[]) n,
	unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p WHERE has_table_privilege(r, 'agentpay.' || n, p) OR p = 'UPDATE' AND has_any_column_privilege(r, 'agentpay.' || n, p) $$, 'nobody writes logs');
SELECT set_eq($$ SELECT r || ' ' || c.relname || ' ' || p FROM unnest('{operator,analyst,auditor,privacy_officer}'::text[]) r, pg_class c,
	unnest('{INSERT,UPDATE,DELETE,TRUNCATE}'::text[]) p WHERE c.relnamespace = 'agentpay'::regnamespace AND c.relkind IN ('r', 'p', 'v')
	AND CASE WHEN p IN ('INSERT', 'UPDATE') THEN has_any_column_privilege('t_' || r, c.oid, p) ELSE has_table_privilege('t_' || r, c.oid, p) END $$,
	'{operator kill_switches UPDATE,operator actions UPDATE,analyst cases UPDATE,privacy_officer data_policies INSERT,privacy_officer data_policies UPDATE,privacy_officer data_policies DELETE}'::text[], 'what they write, and nothing else');
SELECT is_empty($$ SELECT r, a.attname FROM unnest('{t_operator,t_analyst,t_auditor,t_privacy_officer}'::text[]) r, pg_attribute a
	WHERE a.attrelid = 'agentpay.agents'::regclass AND a.attnum > 0 AND has_column_privilege(r, a.attrelid, a.attnum, 'SELECT') $$, 'nobody reads agents: prompts, names of secrets');
SELECT is((SELECT array_agg(r) FROM unnest('{t_operator,t_analyst,t_auditor,t_privacy_officer}'::text[]) r WHERE has_table_privilege(r, 'agentpay.agent_versions', 'SELECT')), '{t_auditor}', 'only an auditor the prompts of versions');
SELECT is_empty($$ SELECT r, c.oid::regclass FROM unnest('{t_operator,t_analyst,t_auditor,t_privacy_officer}'::text[]) r, pg_class c
	WHERE c.relnamespace = 'agentpay'::regnamespace AND c.relname ~ '^_' AND c.relkind IN ('r', 'p', 'v') AND has_any_column_privilege(r, c.oid, 'SELECT') $$, 'nobody reads internal tables: keys, salts, the vault');
SELECT is((SELECT array_agg(DISTINCT p.proname::text ORDER BY p.proname::text) FROM pg_proc p, unnest('{t_operator,t_analyst,t_auditor}'::text[]) r
	WHERE p.pronamespace = 'agentpay'::regnamespace AND has_function_privilege(r, p.oid, 'EXECUTE')
	  AND p.proname IN ('detokenise', 'forget', 'replay_erasures', 'rotate_master_key', 'attach', 'detach', 'activate', 'approve', 'adopt', 'apply_retention', 'grant_role', '_append', '_govern', '_check_controls', '_try_expression', '_unseal', 'evaluate', 'preview_call', 'simulate', 'backtest')), NULL, 'only a privacy officer detokenises; nobody configures');
SELECT is(has_function_privilege('t_privacy_officer', 'agentpay.grant_role(regrole,text)', 'EXECUTE'), false, 'nor grants');
SELECT is(pg_temp.as_role('t_operator', $$ UPDATE agentpay.kill_switches SET scope = 'x' $$), '42501', 'no other column of a switch');
SELECT is(pg_temp.as_role('t_auditor', $$ UPDATE agentpay.kill_switches SET engaged = true $$), '42501', 'an auditor flips none');
SELECT is(pg_temp.as_role('t_operator', $$ SELECT agentpay.sign_off('t_roles', 'x') $$), '42501', 'an operator does not sign');
SELECT is(pg_temp.as_role('t_analyst', $$ INSERT INTO agentpay.rules (point, code, condition) VALUES ('t_roles', 'A', 'true') $$), '42501', 'an analyst writes no rules');
SELECT is_empty($$ SELECT p.oid::regprocedure FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang, unnest('{t_operator,t_analyst,t_auditor,t_privacy_officer}'::text[]) r
	WHERE p.pronamespace = 'agentpay'::regnamespace AND p.prosecdef AND has_function_privilege(r, p.oid, 'EXECUTE')
	  AND l.lanname IN ('sql', 'plpgsql') AND NOT p.proconfig @> '{"search_path=pg_catalog, pg_temp"}' $$, 'what runs as the owner for them pins its search_path');

-- ── grant_role() itself ─────────────────────────────────────────────────────
SELECT throws_ok($$ SELECT agentpay.grant_role('t_nobody', 'boss') $$, '22023', 'unknown role: ''boss''', 'an unknown role');
SELECT throws_ok($$ SELECT agentpay.grant_role(NULL, 'auditor') $$, '22004', 'a role to grant to is missing', 'of nobody');
GRANT USAGE ON SCHEMA agentpay TO t_nobody;
GRANT EXECUTE ON FUNCTION agentpay.grant_role(regrole, text), agentpay._refuse(text, text, text, text) TO t_nobody;
SELECT is(pg_temp.as_role('t_nobody', $$ SELECT agentpay.grant_role('t_nobody', 'auditor') $$), '42501', 'by somebody else than the owner');
SELECT results_eq($$ SELECT object, after ->> 'role' FROM agentpay.governance_log WHERE action = 'grant_role' AND object_kind = 'role' AND object LIKE 't\_%' ORDER BY 2 $$,
	$$ VALUES ('t_analyst', 'analyst'), ('t_auditor', 'auditor'), ('t_operator', 'operator'), ('t_privacy_officer', 'privacy_officer') $$, 'each is in the log');
\o /dev/null
SELECT agentpay.grant_role('t_operator', 'operator');
REVOKE SELECT ON agentpay.advice FROM t_analyst;
\o
SELECT is((SELECT count(*) FROM agentpay.governance_log WHERE action = 'grant_role' AND object = 't_operator'), 1::bigint, 'again: nothing');
REVOKE SELECT ON agentpay.tasks FROM t_operator;
\o /dev/null
SELECT agentpay.grant_role('t_operator', 'operator');
\o
SELECT ok(has_table_privilege('t_operator', 'agentpay.tasks', 'SELECT') AND (SELECT count(*) = 2 FROM agentpay.governance_log WHERE action = 'grant_role' AND object = 't_operator'), 'what was taken back is granted again');
SELECT * FROM finish();
ROLLBACK;
