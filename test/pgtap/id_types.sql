-- A point whose table is attached again with an id of another type: what was
-- recorded of rows before that, whose ids are no value of it, is about rows
-- that are gone, and fails nothing.
BEGIN;
SET client_min_messages = error;
SELECT plan(1 + 7 * 6);
CREATE ROLE t_ids_reader;
CREATE SCHEMA t_ids;
GRANT USAGE ON SCHEMA t_ids TO t_ids_reader;
\o /dev/null
CREATE TABLE t_ids.payments (id text PRIMARY KEY, at timestamptz NOT NULL, amount numeric, outcome text, respond_by timestamptz);
SELECT agentpay.attach('t_ids.payments', 't_ids', 'dispute', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
INSERT INTO agentpay.rules (point, code, condition, verdict)
SELECT 't_ids', 'LARGE', 'amount > 100', v.verdict FROM agentpay.verdicts v WHERE v.point = 't_ids' AND NOT v.is_default ORDER BY 1, 2, 3 LIMIT 1;
SELECT agentpay.activate('t_ids');
INSERT INTO agentpay.models (name, kind, features, definition)
VALUES ('t_ids', 'logistic', '{amount}', '{"intercept": 0, "coefficients": [1], "mean": [0], "scale": [1]}');
INSERT INTO t_ids.payments (id, at, amount)
SELECT i, now() - interval '1 day', 500 FROM unnest('{old, 9223372036854775808, newwww0, 40000, 7b2f9e1c-0000-4000-8000-000000000001, -}'::text[]) AS i;
\o
SELECT is(count(*), 6::bigint, 'six payments with ids that are text') FROM agentpay.current_decisions WHERE point = 't_ids';

-- The table anew, with an id of that type and one new row.
CREATE FUNCTION pg_temp.attach_with(type text, id text) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	PERFORM agentpay.detach('t_ids');
	ALTER TABLE t_ids.payments DROP COLUMN id;
	DELETE FROM t_ids.payments;
	EXECUTE format('ALTER TABLE t_ids.payments ADD id %s PRIMARY KEY', type);
	PERFORM agentpay.attach('t_ids.payments', 't_ids', 'dispute', 'id', 'at', 'amount', 'USD', outcome => 'outcome');
	EXECUTE format('INSERT INTO t_ids.payments (id, at, amount) VALUES (%L, now(), 600)', id);
	ALTER TABLE t_ids.payments ENABLE ROW LEVEL SECURITY;
	GRANT SELECT ON t_ids.payments TO t_ids_reader;
	DROP POLICY IF EXISTS all_rows ON t_ids.payments;
	CREATE POLICY all_rows ON t_ids.payments TO t_ids_reader USING (true);
	PERFORM agentpay.grant_role('t_ids_reader', 'auditor');
END$$;
CREATE FUNCTION pg_temp.seen() RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE n bigint;
BEGIN
	SET LOCAL ROLE t_ids_reader;
	SELECT count(*) INTO n FROM agentpay.current_decisions WHERE point = 't_ids';
	RESET ROLE;
	RETURN n;
END$$;
CREATE TEMP TABLE kinds (n int, type text, id text);
INSERT INTO kinds VALUES (1, 'bigint', '7'), (2, 'smallint', '8'), (3, 'uuid', '7b2f9e1c-0000-4000-8000-000000000002'), (4, 'numeric(8,2)', '9.25'),
	(5, 'date', '2026-01-02'), (6, 'varchar(6)', 'new'), (7, 'char(6)', 'newer');
CREATE FUNCTION pg_temp.try(kind kinds) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_temp.attach_with(kind.type, kind.id);
	RETURN NEXT lives_ok($q$SELECT count(*) FROM agentpay.simulate('t_ids', '{"name": "t_ids", "protocol": "builtin", "model": "t_ids", "invoke_when": "amount > 1"}')$q$,
		kind.type || ': simulate()');
	RETURN NEXT is((SELECT sum(payments) FROM agentpay.simulate('t_ids', '{"name": "t_ids", "protocol": "builtin", "model": "t_ids", "invoke_when": "amount > 1"}')),
		6 + kind.n::numeric, kind.type || ': it is about all that is on record');
	RETURN NEXT lives_ok($q$SELECT * FROM agentpay.backtest('t_ids')$q$, kind.type || ': backtest()');
	RETURN NEXT lives_ok($q$SELECT agentpay._respond_by(p, d.row_id) FROM agentpay.decision_points p, agentpay.decisions d
		WHERE p.point = 't_ids' AND d.point = p.point$q$, kind.type || ': when a dispute has to be answered');
	RETURN NEXT is(pg_temp.seen(), 1::bigint, kind.type || ': who is bound by policies sees what is in the table');
	RETURN NEXT lives_ok($q$SELECT e.* FROM agentpay.current_decisions d, agentpay.payment_timeline(d.point, d.row_id) AS e WHERE d.point = 't_ids'$q$,
		kind.type || ': payment_timeline()');
END$$;
SELECT t FROM kinds k, LATERAL pg_temp.try(k) AS t ORDER BY k.n;
SELECT * FROM finish();
ROLLBACK;
