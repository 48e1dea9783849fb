-- Errors that are not contained (a cancel, a deadlock) leave the transaction
-- at the level at which they find it: a handler undoes its own block, no more
-- and no less, and the session goes on.
\set SHOW_CONTEXT never
SET client_min_messages = warning;
CREATE EXTENSION IF NOT EXISTS agentpay;
RESET client_min_messages;
CREATE SCHEMA errors;
SET search_path = errors;
CREATE TABLE payments (id bigint PRIMARY KEY, state text,
	created_at timestamptz NOT NULL DEFAULT '2026-01-15 12:00+00',
	outcome text);
SELECT agentpay.attach('payments', point => 'errors', role => 'fraud',
	id => 'id', occurred_at => 'created_at', outcome => 'outcome');
CREATE FUNCTION fails(state text) RETURNS boolean LANGUAGE plpgsql IMMUTABLE
	AS $$BEGIN
		IF state IS NOT NULL THEN
			RAISE EXCEPTION USING errcode = state, message = 'raised';
		END IF;
		RETURN false;
	END$$;
SET agentpay.expression_schemas = 'errors';
INSERT INTO agentpay.rules (point, code, condition, score) VALUES
	('errors', 'FAILS', 'errors.fails(state)', 1);
SELECT agentpay.activate('errors');

-- a statement of its own: no transaction is left behind
INSERT INTO payments VALUES (1, '57014');
INSERT INTO payments VALUES (2, '40P01');
SELECT count(*) FROM payments;

-- one that is contained: on_error
INSERT INTO payments VALUES (3, '22012') RETURNING outcome;

-- a handler undoes what its block did; what stands around it is committed
DO $$
DECLARE
	code text;
BEGIN
	INSERT INTO payments VALUES (10);
	FOREACH code IN ARRAY ARRAY['40001', '40P01', '53200', '57014'] LOOP
		BEGIN
			INSERT INTO payments VALUES (11);
			INSERT INTO payments VALUES (12, code);
		EXCEPTION
			WHEN query_canceled OR OTHERS THEN
				RAISE NOTICE 'caught %', sqlstate;
		END;
	END LOOP;
	INSERT INTO payments VALUES (13);
END$$;
SELECT pg_current_xact_id_if_assigned() IS NULL AS committed;

-- savepoints
BEGIN;
INSERT INTO payments VALUES (20);
SAVEPOINT a;
INSERT INTO payments VALUES (21);
INSERT INTO payments VALUES (22, NULL), (23, '40001');
ROLLBACK TO a;
INSERT INTO payments VALUES (24);
COMMIT;

SELECT p.id, p.outcome, count(d.row_id) AS decisions, min(d.verdict) AS verdict
  FROM payments p
  FULL JOIN (SELECT * FROM agentpay.decisions WHERE point = 'errors') d
	ON d.row_id = p.id::text
 GROUP BY 1, 2 ORDER BY 1;

SET client_min_messages = warning;
SELECT agentpay.detach('errors');
DROP SCHEMA errors CASCADE;
