-- Whoever owns a table of the ledger is not agentpay's owner: what he puts into
-- its types, policies, indexes and triggers never runs with the rights of
-- agentpay's owner, who reads and changes the table for him.
BEGIN;
SET client_min_messages = error;
SELECT plan(6);
\o /dev/null
CREATE ROLE t_tenant;
CREATE SCHEMA t_tenant AUTHORIZATION t_tenant;
SET ROLE t_tenant;
CREATE TABLE t_tenant.ran (what text, who name);
GRANT INSERT, SELECT ON t_tenant.ran TO PUBLIC;
GRANT USAGE ON SCHEMA t_tenant TO PUBLIC;
CREATE FUNCTION t_tenant.note(what text) RETURNS boolean LANGUAGE plpgsql AS
$$ BEGIN INSERT INTO t_tenant.ran VALUES (what, current_user); RETURN true; END $$;
CREATE FUNCTION t_tenant.note_change() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN PERFORM t_tenant.note('trigger'); RETURN NEW; END $$;
CREATE TABLE t_tenant.disputes (id bigint PRIMARY KEY,
	at timestamptz NOT NULL DEFAULT now(), respond_by timestamptz NOT NULL,
	amount numeric, outcome text);
RESET ROLE;
SELECT agentpay.attach('t_tenant.disputes', 't_tenant', 'dispute', 'id', 'at',
	'amount', 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict)
VALUES ('t_tenant', 'ALL', 'true', 'contest');
SELECT agentpay.activate('t_tenant');
UPDATE agentpay.decision_points SET case_due = '30 days' WHERE point = 't_tenant';
SET ROLE t_tenant;
CREATE DOMAIN t_tenant.watched AS bigint CHECK (t_tenant.note('domain'));
CREATE DOMAIN t_tenant.watched_too AS t_tenant.watched;
ALTER TABLE t_tenant.disputes ALTER COLUMN id TYPE t_tenant.watched_too;
CREATE POLICY p ON t_tenant.disputes USING (t_tenant.note('policy'));
ALTER TABLE t_tenant.disputes ENABLE ROW LEVEL SECURITY;
CREATE TRIGGER a BEFORE UPDATE ON t_tenant.disputes FOR EACH ROW
	EXECUTE FUNCTION t_tenant.note_change();
INSERT INTO t_tenant.disputes (id, respond_by, amount)
VALUES (1, now() + interval '9 days', 10), (2, now() + interval '8 days', 20);
TRUNCATE t_tenant.ran;
RESET ROLE;
CREATE TEMP TABLE opened AS SELECT agentpay.open_case('t_tenant', 1, 'a test') AS case_id;
\o
SELECT is((SELECT c.due_at FROM agentpay.cases c JOIN opened o USING (case_id)), now() + interval '9 days', 'a case is due when the dispute must be answered');
SELECT lives_ok('SELECT agentpay.resolve_case((SELECT case_id FROM opened), ''accept'', ''a test'')', 'a person decides it');
SELECT is((SELECT outcome FROM t_tenant.disputes WHERE id = 1), 'accept', 'which changes the row');
SELECT lives_ok('SELECT * FROM agentpay.backtest(''t_tenant''), agentpay.simulate(''t_tenant'', ''{"protocol": "openai", "model": "m", "invoke_when": "amount > 5", "price_input_per_million": 1, "price_output_per_million": 4}'', ''[{"period": "hour", "cap_cost": 1}]'')', 'the past is looked at');
SELECT isnt_empty('SELECT FROM t_tenant.ran WHERE what = ''trigger''', 'the trigger ran');
SELECT is((SELECT array_agg(DISTINCT what || ' as ' || who) FROM t_tenant.ran WHERE who <> 't_tenant'), NULL, 'nothing of it ran as anybody but its owner');
SELECT * FROM finish();
ROLLBACK;
