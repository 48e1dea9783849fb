-- Every change of the configuration is one event of the governance log: who,
-- what, before and after; and what people tell agentpay about payments.
\set VERBOSITY terse
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE SCHEMA t_governance;
SET search_path = t_governance;
CREATE TABLE payments (id bigint PRIMARY KEY, at timestamptz NOT NULL DEFAULT now(), card text, amount numeric, outcome text, route text);
CREATE INDEX ON payments (card, at);
CREATE TABLE seen AS SELECT event_id FROM agentpay.governance_log;
-- The events since the last call.
CREATE FUNCTION news(OUT action text, OUT object_kind text, OUT object text, OUT reason text, OUT before text, OUT after text)
	RETURNS SETOF record LANGUAGE plpgsql AS $$
BEGIN
	RETURN QUERY SELECT g.action, g.object_kind, g.object, g.reason,
			(SELECT left(string_agg(format('%s=%s', key, value), ' ' ORDER BY key COLLATE "C"), 50) FROM jsonb_each_text(g.before) b
			  WHERE b.value IS DISTINCT FROM g.after ->> b.key AND b.key NOT LIKE '%\_at'),
			(SELECT string_agg(format('%s=%s', key, value), ' ' ORDER BY key COLLATE "C") FROM jsonb_each_text(g.after) a
			  WHERE a.value IS DISTINCT FROM g.before ->> a.key AND a.key NOT LIKE '%\_at' AND g.before IS NOT NULL)
	  FROM agentpay.governance_log g
	 WHERE g.event_id NOT IN (SELECT event_id FROM seen) AND g.actor = session_user ORDER BY g.event_id;
	INSERT INTO seen SELECT event_id FROM agentpay.governance_log WHERE event_id NOT IN (SELECT event_id FROM seen);
END$$;
\pset null '·'

-- one event for each row of each table
SELECT agentpay.attach('payments', 't_governance', 'fraud', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
SELECT * FROM news();
UPDATE agentpay.decision_points SET case_due = '2 days' WHERE point = 't_governance';
UPDATE agentpay.verdicts SET description = 'a person looks' WHERE point = 't_governance' AND verdict = 'review';
INSERT INTO agentpay.features (point, name, key, aggregate, over) VALUES ('t_governance', 'n', '{card}', 'count', '1 hour');
UPDATE agentpay.features SET over = '2 hours' WHERE point = 't_governance';
INSERT INTO agentpay.lists VALUES ('t_governance');
INSERT INTO agentpay.list_entries (list, value, added_by) VALUES ('t_governance', 'c1', 'me'), ('t_governance', 'c2', 'me');
UPDATE agentpay.list_entries SET reason = 'stolen' WHERE list = 't_governance' AND value = 'c1';
DELETE FROM agentpay.list_entries WHERE list = 't_governance' AND value = 'c2';
SELECT * FROM news();
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_governance', 'LARGE', 'amount > 1000', 60), ('t_governance', 'BUSY', 'n > 5', 10);
UPDATE agentpay.rules SET score = 20 WHERE point = 't_governance' AND code = 'BUSY';
DELETE FROM agentpay.rules WHERE point = 't_governance' AND code = 'BUSY';
UPDATE agentpay.rulesets SET description = 'the first' WHERE point = 't_governance';
SELECT * FROM news();
SELECT agentpay.activate('t_governance');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES ('t_governance', 'LARGE', 'amount > 2000', 60);
SELECT agentpay.activate('t_governance');
SELECT agentpay.revert('t_governance', 'too many passed');
SELECT * FROM news();
INSERT INTO agentpay.models (name, kind, features, definition) VALUES
	('t_governance', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO agentpay.allowed_endpoints (origin) VALUES ('https://t-governance.example');
INSERT INTO agentpay.data_policies VALUES ('payments', 'amount', 'financial', 'pass');
UPDATE agentpay.data_policies SET treatment = 'drop' WHERE table_name = 'payments'::regclass;
INSERT INTO agentpay.budgets (name, period, cap_cost) VALUES ('t_governance', 'hour', 5);
UPDATE agentpay.budgets SET cap_cost = 6 WHERE name = 't_governance';
INSERT INTO agentpay.agents (name, point, protocol, endpoint, model, secret, invoke_when, price_input_per_million, price_output_per_million)
VALUES ('t_governance', 't_governance', 'openai', 'https://t-governance.example/v1', 'm', 'env:T_GOVERNANCE_KEY', 'true', 1, 2);
UPDATE agentpay.agents SET sample_percent = 10 WHERE name = 't_governance';
UPDATE agentpay.kill_switches SET engaged = true, reason = 'drill' WHERE scope = 'agent' AND target = 't_governance';
SELECT * FROM news();
DELETE FROM agentpay.agents WHERE name = 't_governance';
DELETE FROM agentpay.budgets WHERE name = 't_governance';
DELETE FROM agentpay.data_policies WHERE table_name = 'payments'::regclass;
DELETE FROM agentpay.allowed_endpoints WHERE origin = 'https://t-governance.example';
DELETE FROM agentpay.models WHERE name = 't_governance';
DELETE FROM agentpay.lists WHERE name = 't_governance';
SELECT * FROM news();

-- what was rolled back, refused, or changed nothing is no event
BEGIN;
INSERT INTO agentpay.lists VALUES ('t_governance');
ROLLBACK;
INSERT INTO agentpay.lists VALUES ('Not A Name');
UPDATE agentpay.decision_points SET point = point;
SELECT * FROM news();
-- who is who logged in, whatever the role; when, and which transaction
CREATE ROLE t_governance;
GRANT USAGE ON SCHEMA agentpay TO t_governance;
GRANT INSERT, DELETE ON agentpay.lists TO t_governance;
SET ROLE t_governance;
INSERT INTO agentpay.lists VALUES ('t_governance');
RESET ROLE;
BEGIN;
DELETE FROM agentpay.lists WHERE name = 't_governance';
SELECT actor = session_user AS by_login, now() - logged_at < '1 minute' AS just_now, xid = pg_current_xact_id() AS this_transaction
  FROM agentpay.governance_log WHERE object_kind = 'list' AND object = 't_governance' AND action = 'delete' ORDER BY event_id DESC LIMIT 1;
COMMIT;
SELECT action, object_kind, object FROM news();
REVOKE ALL ON agentpay.lists FROM t_governance;
REVOKE ALL ON SCHEMA agentpay FROM t_governance;

-- ── record_outcome() ────────────────────────────────────────────────────────
INSERT INTO payments (id, amount) VALUES (1, 10), (2, 5000);
SELECT agentpay.attach('payments', 't_governance_route', 'routing', 'id', 'at', outcome => 'route', verdicts => '{acquirer_a,acquirer_b}');
INSERT INTO payments (id, amount) VALUES (3, 10);
SELECT agentpay.record_outcome('t_governance', 1, 'legit') IS NOT NULL AS recorded;
SELECT agentpay.record_outcome('t_governance', 2, 'fraud', 'chargeback', 4999.99, '2026-01-01') IS NOT NULL AS recorded;
-- a correction is another row
SELECT agentpay.record_outcome('t_governance', '2', 'legit', source => 'representment') IS NOT NULL AS recorded;
SELECT agentpay.record_outcome('t_governance_route', 3::bigint, 'acquirer_b', 'settlement') IS NOT NULL AS recorded;
SELECT o.point, row_id, label, source, amount_lost, effective_at < now() - interval '1 day' AS earlier, recorded_by = session_user AS by_me
  FROM agentpay.outcomes o WHERE o.point LIKE 't\_governance%' ORDER BY outcome_id;
SELECT agentpay.record_outcome('t_governance', 2, 'approve');
SELECT agentpay.record_outcome('t_governance', 2, NULL);
SELECT agentpay.record_outcome('t_governance', 2, 'fraud', 'rumour');
SELECT agentpay.record_outcome('t_governance', 2, 'fraud', amount_lost => -1);
SELECT agentpay.record_outcome('t_governance', 2, 'fraud', amount_lost => 'NaN');
SELECT agentpay.record_outcome('t_governance', 2, 'fraud', effective_at => 'infinity');
SELECT agentpay.record_outcome('t_governance', 2, 'fraud', effective_at => NULL);
SELECT agentpay.record_outcome('t_governance', 2, 'fraud', effective_at => '2999-01-01');
SELECT agentpay.record_outcome('t_governance', 99, 'fraud');
SELECT agentpay.record_outcome('t_governance', NULL::bigint, 'fraud');
SELECT agentpay.record_outcome('nobody', 2, 'fraud');
SELECT agentpay.record_outcome('t_governance_route', 3, 'fraud');
SELECT agentpay.record_outcome('t_governance_route', 3, NULL);
-- in a transaction that is rolled back, it was not recorded
BEGIN;
SELECT agentpay.record_outcome('t_governance', 1, 'fraud') IS NOT NULL AS recorded;
ROLLBACK;
SELECT count(*) FROM agentpay.outcomes WHERE point = 't_governance' AND row_id = '1';

-- clean up
SELECT agentpay.detach('t_governance'), agentpay.detach('t_governance_route');
DROP SCHEMA t_governance CASCADE;
DROP ROLE t_governance;
