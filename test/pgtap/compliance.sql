-- The view compliance: every query runs as it stands, and what is broken is
-- seen to fail.  States are by hand, from what the test sets up.
BEGIN;
SET client_min_messages = warning;
SELECT plan(61);
CREATE SCHEMA t_comp;
CREATE TABLE t_comp.payments (id bigint PRIMARY KEY, at timestamptz NOT NULL
	DEFAULT now(), customer text, pan text, amount numeric, outcome text);
CREATE ROLE t_comp_role;
\o /dev/null
SELECT agentpay.detach(point) FROM agentpay.decision_points WHERE enabled;
SELECT agentpay.attach('t_comp.payments', point => 't_comp', role => 'fraud',
	id => 'id', occurred_at => 'at', amount => 'amount', currency => 'USD',
	subject => 'customer', outcome => 'outcome');
INSERT INTO agentpay.data_policies VALUES
	('t_comp.payments', 'customer', 'pii', 'mask'), ('t_comp.payments', 'pan', 'pci', 'mask'),
	('t_comp.payments', 'amount', 'financial', 'pass');
INSERT INTO agentpay.budgets (name, scope, target, period, cap_cost)
VALUES ('t_comp_h', 'point', 't_comp', 'hour', 1), ('t_comp_t', 'point', 't_comp', 'transaction', 1);
INSERT INTO agentpay.allowed_endpoints VALUES ('https://llm.example');
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, fields, invoke_when, stage,
	price_input_per_million, price_output_per_million, processor)
VALUES ('t_comp', 't_comp', 'openai', 'https://llm.example/v1', 'm', '{amount,customer}', 'true', 'shadow', 1, 1,
	'{"name": "A", "region": "EU", "dpa_ref": "1", "retention": "none"}');
INSERT INTO agentpay.guardrails (agent, metric, bound, action) VALUES ('t_comp', 'error_rate', 0.5, 'roll_back');
-- an agent that decides, and a case that waits for a person
UPDATE agentpay.gates SET enabled = false;
INSERT INTO agentpay.authorities (agent, verdict) VALUES ('t_comp', 'decline');
INSERT INTO t_comp.payments (id, customer, amount) VALUES (1, 'c', 1);
SELECT agentpay.promote('t_comp');
SELECT agentpay.open_case('t_comp', 1, 'a test');
UPDATE agentpay.decision_points SET four_eyes = true WHERE point = 't_comp';
\o
-- "framework control" of the state, of a point's controls
CREATE FUNCTION pg_temp.state(c text) RETURNS text LANGUAGE sql AS $$
	SELECT v.state FROM agentpay.compliance v WHERE v.framework || ' ' || v.control = c $$;
-- What a control says after a change, which is undone.
CREATE FUNCTION pg_temp.broken(c text, change text) RETURNS text
	LANGUAGE plpgsql AS $$
DECLARE
	said text;
BEGIN
	BEGIN
		EXECUTE change;
		said := pg_temp.state(c);
		RAISE EXCEPTION USING ERRCODE = 'ZZ000';
	EXCEPTION WHEN SQLSTATE 'ZZ000' THEN NULL;
	END;
	RETURN said;
END$$;
CREATE FUNCTION pg_temp.shown(query text, OUT state text, OUT figure text)
	LANGUAGE plpgsql AS $$ BEGIN EXECUTE query INTO STRICT state, figure; END $$;

SELECT set_eq('SELECT framework || '' '' || control FROM agentpay.compliance',
	ARRAY(SELECT 'PCI DSS 4.0.1 ' || c FROM unnest('{3.3.1,3.4.1,3.5.1,10.2,10.3.1,10.3.2,10.3.3,10.3.4,10.5.1,12.10.7}'::text[]) c)
	|| '{SOC 2 CC6.1,SOC 2 CC7.2,SOC 2 CC8.1}'::text[]
	|| ARRAY(SELECT 'GDPR Article ' || c FROM unnest('{5,17,22,25,30}'::text[]) c)
	|| '{EU AI Act (voluntary) Article 12,EU AI Act (voluntary) Article 14}'::text[]
	|| ARRAY(SELECT 'DORA Article ' || c FROM unnest('{9,10,17,28}'::text[]) c)
	|| ARRAY(SELECT 'OWASP LLM 2025 LLM' || c FROM unnest('{01,02,05,06,10}'::text[]) c), 'the controls');
SELECT is_empty('SELECT v.control FROM agentpay.compliance v WHERE v.state IS NULL OR v.figure IS NULL OR v.meaning IS NULL
	OR v.state <> ALL (''{pass,fail,not_checkable,not_applicable}'') OR v.figure LIKE ''error: %''', 'each has a state and a figure');
SELECT is_empty('SELECT v.control, v.state, s.* FROM agentpay.compliance v, pg_temp.shown(v.evidence_query) s
	WHERE (s.state, s.figure) IS DISTINCT FROM (v.state, v.figure)', 'each query gives what is shown, as it stands');
SELECT set_eq('SELECT framework || '' '' || control FROM agentpay.compliance WHERE state = ''fail''',
	'{GDPR Article 17}'::text[], 'what fails: without a master key nothing is erased');

-- ── broken, and seen to fail ────────────────────────────────────────────────
CREATE FUNCTION pg_temp.fails(c text, change text) RETURNS SETOF text LANGUAGE sql AS $$
	SELECT isnt(pg_temp.state(c), 'fail', c || ' does not fail') UNION ALL
	SELECT is(pg_temp.broken(c, change), 'fail', c || ' fails: ' || left(regexp_replace(change, '\s+', ' ', 'g'), 60)) $$;
SELECT pg_temp.fails('PCI DSS 4.0.1 3.3.1', 'ALTER TABLE t_comp.payments ADD cvv2 text');
SELECT pg_temp.fails('PCI DSS 4.0.1 3.4.1', 'ALTER TABLE t_comp.payments ADD card_number text');
SELECT pg_temp.fails('PCI DSS 4.0.1 3.5.1', $$ DELETE FROM agentpay.data_policies WHERE column_name = 'pan' $$);
SELECT pg_temp.fails('PCI DSS 4.0.1 10.3.1', 'GRANT SELECT ON agentpay.decisions TO PUBLIC');
SELECT pg_temp.fails('PCI DSS 4.0.1 10.3.2', 'GRANT DELETE ON agentpay.governance_log TO t_comp_role');
-- as if half a year of logs were all that is left of more than one
SELECT pg_temp.fails('PCI DSS 4.0.1 10.5.1', $$ UPDATE agentpay.decision_points SET attached_at = attached_at - interval '400 days' $$);
SELECT pg_temp.fails('SOC 2 CC6.1', 'GRANT EXECUTE ON FUNCTION agentpay.adopt() TO PUBLIC');
SELECT pg_temp.fails('SOC 2 CC7.2', $$ INSERT INTO agentpay.agents SELECT n.* FROM agentpay.agents a,
	jsonb_populate_record(a, '{"name": "t_comp_3", "stage": "shadow"}') n WHERE a.name = 't_comp' $$);
SELECT pg_temp.fails('SOC 2 CC8.1', $$ SELECT agentpay.attach('t_comp.payments', point => 't_comp_2', role => 'dispute', id => 'id', occurred_at => 'at') $$);
SELECT pg_temp.fails('GDPR Article 5', $$ DELETE FROM agentpay.data_policies WHERE column_name = 'amount' $$);
SELECT pg_temp.fails('GDPR Article 25', $$ UPDATE agentpay.data_policies SET treatment = 'pass' WHERE column_name = 'customer' $$);
SELECT pg_temp.fails('GDPR Article 30', $$ UPDATE agentpay.agents SET processor = '{"name": "A"}' WHERE name = 't_comp' $$);
SELECT pg_temp.fails('EU AI Act (voluntary) Article 12', 'ALTER TABLE t_comp.payments DISABLE TRIGGER "~agentpay_record"');
SELECT pg_temp.fails('DORA Article 9', $$ DELETE FROM agentpay.allowed_endpoints WHERE origin = 'https://llm.example' $$);
SELECT pg_temp.fails('DORA Article 17', $$ UPDATE agentpay.kill_switches SET engaged = true WHERE target = 't_comp' $$);
SELECT pg_temp.fails('DORA Article 28', $$ UPDATE agentpay.agents SET processor = processor - 'dpa_ref' WHERE name = 't_comp' $$);
SELECT pg_temp.fails('OWASP LLM 2025 LLM01', $$ INSERT INTO agentpay.authorities (agent, verdict, may_relax) VALUES ('t_comp', 'approve', true) $$);
SELECT pg_temp.fails('OWASP LLM 2025 LLM02', $$ UPDATE agentpay.data_policies SET treatment = 'pass' WHERE column_name = 'customer' $$);

-- ── where an agent decides ──────────────────────────────────────────────────
-- A change that agentpay itself refuses: as somebody who edits the catalog.
CREATE FUNCTION pg_temp.unguarded(relation regclass, change text) RETURNS void
	LANGUAGE plpgsql SET allow_system_table_mods = on AS $$
BEGIN
	UPDATE pg_trigger SET tgenabled = 'D' WHERE tgrelid = relation;
	UPDATE pg_class SET relname = relname WHERE oid = relation; -- who caches it looks again
	EXECUTE change;
END$$;
SELECT pg_temp.fails('PCI DSS 4.0.1 10.2', $$ SELECT pg_temp.unguarded('agentpay.rules', 'SELECT') $$);
SELECT pg_temp.fails('GDPR Article 22', $$ UPDATE agentpay.cases SET due_at = now() - interval '1 minute' WHERE point = 't_comp' $$);
SELECT pg_temp.fails('EU AI Act (voluntary) Article 14', $$ SELECT pg_temp.unguarded('agentpay.kill_switches', 'DELETE FROM agentpay.kill_switches WHERE scope = ''agent'' AND target = ''t_comp''') $$);
SELECT pg_temp.fails('DORA Article 10', $$ SELECT pg_temp.unguarded('agentpay.guardrails', 'UPDATE agentpay.guardrails SET action = ''alert'' WHERE agent = ''t_comp''') $$);
SELECT pg_temp.fails('OWASP LLM 2025 LLM05', $$ SELECT agentpay._append(jsonb_populate_record(d, '{"decision_id": "00000000-0000-7000-8000-000000000001",
	"kind": "agent", "agent": "t_comp", "agent_version": 1, "verdict": "refund_all"}')) FROM agentpay.decisions d WHERE d.point = 't_comp' AND d.kind = 'rules' $$);
SELECT pg_temp.fails('OWASP LLM 2025 LLM06', $$ SELECT pg_temp.unguarded('agentpay.authorities', 'DELETE FROM agentpay.authorities WHERE agent = ''t_comp''') $$);
SELECT pg_temp.fails('OWASP LLM 2025 LLM10', $$ SELECT pg_temp.unguarded('agentpay.budgets', 'DELETE FROM agentpay.budgets WHERE name = ''t_comp_t''') $$);
SELECT is(pg_temp.state('PCI DSS 4.0.1 12.10.7'), 'not_checkable', 'no procedure on paper is seen from here');
-- what needs an archive, a signing key and a master key: test/tap/t/compliance.pl

-- ── validate_compliance() and the gate ──────────────────────────────────────
INSERT INTO agentpay.gates (agent, metric, bound) VALUES ('t_comp', 'compliance', 1);
CREATE FUNCTION pg_temp.gate() RETURNS text LANGUAGE sql AS $$
	SELECT r.state FROM agentpay.rollout_status r WHERE r.agent = 't_comp' AND r.kind = 'gate' AND r.metric = 'compliance' $$;
SELECT is(pg_temp.gate(), 'hold', 'the gate holds until somebody has validated');
SELECT results_eq($$ SELECT state, count(*) FROM agentpay.validate_compliance() GROUP BY 1 ORDER BY 1 $$,
	$$ SELECT state, count(*) FROM agentpay.compliance GROUP BY 1 ORDER BY 1 $$, 'validate_compliance() returns the controls');
SELECT is((SELECT jsonb_array_length(g.after -> 'controls') FROM agentpay.governance_log g WHERE g.action = 'validate_compliance' AND g.actor = session_user
	AND g.reason = 'evidence, not certification'), 29, 'and records them');
SELECT is(pg_temp.gate(), 'fail', 'one control of the point fails');
SELECT is((SELECT value FROM agentpay.rollout_status WHERE agent = 't_comp' AND metric = 'compliance'),
	(SELECT trunc(count(*) FILTER (WHERE state = 'pass')::numeric / count(*), 6) FROM agentpay.compliance WHERE state IN ('pass', 'fail')), 'value: the share that does not fail');
SELECT is((SELECT count(*) FROM agentpay._check_controls('t_comp') c JOIN agentpay._check_controls('t_none') o USING (framework, control)
	WHERE c.state = 'fail' AND o.state = 'fail'), 0::bigint, 'another point has nothing to do with it');
SELECT * FROM finish();
ROLLBACK;
