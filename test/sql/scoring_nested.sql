-- A function that a rule calls inserts another row into the same table: each
-- row is decided by its own values.
SET client_min_messages = warning;
CREATE SCHEMA t_nested;
SET search_path = t_nested;
CREATE TABLE payments (id bigint PRIMARY KEY, card int, at timestamptz NOT NULL, amount numeric, outcome text);
CREATE INDEX ON payments (card, at);
CREATE FUNCTION insert_one(n bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO t_nested.payments (id, card, at, amount) VALUES (n + 100, 2, '2026-01-01', 1);
END$$;
CREATE FUNCTION harmless(n bigint) RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
	IF n < 100 THEN PERFORM t_nested.insert_one(n); END IF;
	RETURN false;
END$$;
SET agentpay.expression_schemas = 't_nested';
SELECT agentpay.attach('payments', 't_nested', 'fraud', 'id', 'at', outcome => 'outcome');
INSERT INTO agentpay.features (point, name, key, aggregate, value, over) VALUES
	('t_nested', 'spent', '{card}', 'sum', 'amount', '1 hour');
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('t_nested', 'A_INSERTS', 't_nested.harmless(id)', 1),
	('t_nested', 'B_LARGE', 'amount > 4', 10),
	('t_nested', 'C_SMALL', 'amount < 2', 0.5),
	('t_nested', 'D_SPENT', 'spent > 4', 100);
SELECT agentpay.activate('t_nested');
INSERT INTO payments (id, card, at, amount) VALUES (1, 1, '2026-01-01', 5), (2, 1, '2026-01-01', 6);
-- 1 and 2 are large, 101 and 102 are small; cards have spent 5, 11; 1, 2
SELECT row_id, reasons, score, inputs FROM agentpay.decisions WHERE point = 't_nested' ORDER BY row_id::int;

SELECT agentpay.detach('t_nested');
DROP SCHEMA t_nested CASCADE;
