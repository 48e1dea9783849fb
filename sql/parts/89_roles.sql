-- 89_roles.sql
--		grant_role(): what an operator, an analyst, an auditor and a privacy
--		officer need, and nothing else.
--
-- Grants are PostgreSQL's own: they are in dumps, and REVOKE takes them back.

-- What a role needs: privilege, the kind of object, its name; columns in
-- brackets.  Nobody reads keys, salts or the rows of agents, which hold prompts
-- and the names of secrets; nobody writes logs or configuration, beyond what is
-- named here.
CREATE FUNCTION agentpay._role_needs(role text)
	RETURNS TABLE (privilege text, kind text, object text)
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH reports (names) AS (VALUES ('{label_coverage,shadow_vs_rules,agent_accuracy,agent_cost,cost_per_million,agent_latency,escalations,inference_variance,drift,calibration,cost_to_value_weekly,opex_leak,responsibility_matrix,rollout_status,rule_stats,budget_status}'::text[])),
	needs (who, privilege, kind, names) AS (VALUES
		-- runs it: what works now, the switches, the way up and down
		('operator', 'SELECT', 'table', '{tasks,queue_status,budget_invariant,budget_holds,advice,stat_workers,stat_velocity,metrics,compliance,kill_switches,budgets,guardrails,gates,actions}'::text[]),
		('operator', 'UPDATE (engaged, reason)', 'table', '{kill_switches}'),
		('operator', 'UPDATE (state)', 'table', '{actions}'),
		('operator', 'EXECUTE', 'function', '{promote,roll_back,reconcile_hold,kill_drill,report_html}'),
		-- asks how right and how dear the agents are, and decides cases
		('analyst', 'SELECT', 'table', '{current_decisions,decision_points,verdicts,features,rulesets,rules,lists,list_entries,outcome_mappings,exchange_rates,cases,actions}'),
		('analyst', 'UPDATE (assignee, state, due_at)', 'table', '{cases}'),
		('analyst', 'EXECUTE', 'function', '{explain,payment_timeline,await_decision,open_case,resolve_case,record_outcome,report_html}'),
		-- reads everything that was recorded; signs
		('auditor', 'SELECT', 'table', '{decisions,agent_calls,outcomes,governance_log,agent_versions,checkpoints,current_decisions,tasks,budget_invariant,budget_holds,compliance,decision_points,verdicts,features,rulesets,rules,authorities,lists,list_entries,gates,guardrails,budgets,kill_switches,data_policies,allowed_endpoints,cases,actions}'),
		('auditor', 'EXECUTE', 'function', '{explain,payment_timeline,replay,replay_all,inclusion_proof,canonical_leaf,consistency_proof,checkpoint,verify_log,sign_off,validate_compliance,report_html}'),
		-- answers for personal data
		('privacy_officer', 'SELECT', 'table', '{data_policies,governance_log,compliance,decision_points}'),
		('privacy_officer', 'INSERT', 'table', '{data_policies}'),
		('privacy_officer', 'UPDATE', 'table', '{data_policies}'),
		('privacy_officer', 'DELETE', 'table', '{data_policies}'),
		('privacy_officer', 'EXECUTE', 'function', '{detokenise,forget,replay_erasures,validate_compliance}'))
	SELECT n.privilege, n.kind, u.name
	  FROM (SELECT * FROM needs
			UNION ALL
			SELECT w, 'SELECT', 'table', r.names FROM reports r,
				   unnest('{operator,analyst,auditor}'::text[]) AS w) AS n,
		   unnest(n.names) AS u (name)
	 WHERE n.who = $1
$$;
REVOKE ALL ON FUNCTION agentpay._role_needs(text) FROM PUBLIC;

-- The functions that a view calls, also through other views.  PostgreSQL checks
-- them against whoever reads it.
CREATE FUNCTION agentpay._functions_of(view regclass) RETURNS SETOF regprocedure
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE v (relation) AS (
		SELECT view::oid
		UNION
		SELECT d.refobjid FROM v
		  JOIN pg_rewrite r ON r.ev_class = v.relation
		  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
		   AND d.objid = r.oid AND d.refclassid = 'pg_class'::regclass
		  JOIN pg_class c ON c.oid = d.refobjid AND c.relkind = 'v')
	SELECT DISTINCT p.oid::regprocedure FROM v
	  JOIN pg_rewrite r ON r.ev_class = v.relation
	  JOIN pg_depend d ON d.classid = 'pg_rewrite'::regclass
	   AND d.objid = r.oid AND d.refclassid = 'pg_proc'::regclass
	  JOIN pg_proc p ON p.oid = d.refobjid
	 WHERE p.pronamespace = 'agentpay'::regnamespace
	 UNION
	-- the policies of tables
	SELECT p.oid::regprocedure FROM pg_policy y
	  JOIN pg_depend d ON d.classid = 'pg_policy'::regclass
	   AND d.objid = y.oid AND d.refclassid = 'pg_proc'::regclass
	  JOIN pg_proc p ON p.oid = d.refobjid
	 WHERE y.polrelid = view
$$;
REVOKE ALL ON FUNCTION agentpay._functions_of(regclass) FROM PUBLIC;

CREATE FUNCTION agentpay.grant_role(who regrole, role text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	grantee text := who::text;
	g record;
	before text;
BEGIN
	IF who IS NULL THEN
		PERFORM agentpay._refuse('22004', 'a role to grant to is missing',
			'It is a role of this server.',
			'SELECT agentpay.grant_role(''alice'', ''analyst'');');
	ELSIF role IS NULL OR role <> ALL ('{operator,analyst,auditor,privacy_officer}') THEN
		PERFORM agentpay._refuse('22023', format('unknown role: %s',
				coalesce(quote_literal(role), 'NULL')),
			'Roles are operator, analyst, auditor and privacy_officer.',
			format('SELECT agentpay.grant_role(%L, ''analyst'');', grantee));
	ELSIF NOT pg_has_role((SELECT n.nspowner FROM pg_namespace n
							WHERE n.nspname = 'agentpay'), 'USAGE') THEN
		PERFORM agentpay._refuse('42501', 'only the owner of agentpay grants its roles',
			format('You are %s.', current_user),
			format('Let the owner run SELECT agentpay.grant_role(%L, %L);',
				   grantee, role));
	END IF;
	PERFORM agentpay._refuse_held();
	before := agentpay._grants_digest(who);
	EXECUTE format('GRANT USAGE ON SCHEMA agentpay TO %s', grantee);
	FOR g IN
		SELECT format('GRANT %s ON agentpay.%I TO %s', n.privilege, n.object,
					  grantee) AS statement
		  FROM agentpay._role_needs(role) AS n
		 WHERE n.kind = 'table'
		   AND to_regclass('agentpay.' || n.object) IS NOT NULL
		UNION ALL
		SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s',
					  p.oid::regprocedure, grantee)
		  FROM agentpay._role_needs(role) AS n
		  JOIN pg_proc p ON p.pronamespace = 'agentpay'::regnamespace
		   AND p.proname = n.object
		 WHERE n.kind = 'function'
		UNION
		SELECT format('GRANT EXECUTE ON FUNCTION %s TO %s', f, grantee)
		  FROM agentpay._role_needs(role) AS n
		 CROSS JOIN LATERAL agentpay._functions_of(
			to_regclass('agentpay.' || n.object)) AS f
		 WHERE n.kind = 'table'
	LOOP
		EXECUTE g.statement;
	END LOOP;
	IF before IS DISTINCT FROM agentpay._grants_digest(who) THEN
		PERFORM agentpay._govern('grant_role', 'role', who::text, NULL, NULL,
								 jsonb_build_object('role', role));
	ELSE
		RAISE NOTICE '% has the role % already', who, role;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay.grant_role(regrole, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.grant_role(regrole, text) IS 'grants what an operator, analyst, auditor or privacy_officer needs, with the views'' own functions; again: what has come since';

-- What who was granted here, as a digest: whether a call changed anything.
CREATE FUNCTION agentpay._grants_digest(who regrole) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT md5(coalesce(string_agg(x.line, ',' ORDER BY x.line COLLATE "C"), ''))
	  FROM (SELECT format('%s %s', c.oid, g.privilege_type)
			  FROM pg_class c, aclexplode(c.relacl) AS g
			 WHERE c.relnamespace = 'agentpay'::regnamespace
			   AND g.grantee = who
			UNION ALL
			SELECT format('%s.%s %s', a.attrelid, a.attnum, g.privilege_type)
			  FROM pg_attribute a
			  JOIN pg_class c ON c.oid = a.attrelid
			   AND c.relnamespace = 'agentpay'::regnamespace,
				   aclexplode(a.attacl) AS g
			 WHERE g.grantee = who
			UNION ALL
			SELECT format('f %s', p.oid)
			  FROM pg_proc p, aclexplode(p.proacl) AS g
			 WHERE p.pronamespace = 'agentpay'::regnamespace
			   AND g.grantee = who) AS x (line)
$$;
REVOKE ALL ON FUNCTION agentpay._grants_digest(regrole) FROM PUBLIC;

-- Tables that hold rows of single payments; the owner is not bound.
DO $$
DECLARE
	name text;
BEGIN
	FOREACH name IN ARRAY ARRAY['cases', 'actions'] LOOP
		EXECUTE format('ALTER TABLE agentpay.%1$I ENABLE ROW LEVEL SECURITY;'
			' CREATE POLICY agentpay_visible ON agentpay.%1$I'
			' USING (point = ANY ((SELECT agentpay._open_points())::text[])'
			' OR agentpay._sees(point, row_id))', name);
	END LOOP;
END$$;

-- What these roles call runs as the owner: they need no right on what it reads.
-- Each checks what it is asked, and who asks is session_user in the log.  The
-- functions of views likewise; those that only compute, too, since they may
-- call others.  Functions that evaluate an expression of whoever calls them
-- (evaluate, preview_call, backtest, simulate) stay with their caller.
DO $$
DECLARE
	f record;
BEGIN
	FOR f IN
		SELECT p.oid::regprocedure AS name
		  FROM pg_proc p JOIN pg_language l ON l.oid = p.prolang
		 WHERE NOT p.prosecdef AND (
			l.lanname IN ('sql', 'plpgsql')
			AND p.oid IN (SELECT u FROM pg_class c
						 CROSS JOIN LATERAL agentpay._functions_of(c.oid) AS u
						 WHERE c.relnamespace = 'agentpay'::regnamespace
						   AND c.relkind = 'v' AND c.relname !~ '^_')
			OR p.pronamespace = 'agentpay'::regnamespace AND p.proname IN (
				SELECT n.object
				  FROM unnest('{operator,analyst,auditor,privacy_officer}'::text[]) AS r
				 CROSS JOIN LATERAL agentpay._role_needs(r) AS n
				 WHERE n.kind = 'function'))
	LOOP
		EXECUTE format('ALTER FUNCTION %s SECURITY DEFINER', f.name);
	END LOOP;
END$$;
