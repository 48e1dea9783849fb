-- 64_create_ledger.sql
--		create_ledger(): a ledger for those who have none, in one call.

-- Whether the schema can take the tables; made when it is missing.
CREATE FUNCTION agentpay._ledger_schema(schema_name name) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	squatter text;
BEGIN
	IF coalesce(schema_name, '') = '' OR schema_name LIKE 'pg\_%'
	   OR schema_name IN ('agentpay', 'information_schema') THEN
		PERFORM agentpay._refuse('42602', format('invalid schema: %s',
				coalesce(quote_literal(schema_name), 'NULL')),
			'The ledger''s tables are yours: they get a schema of their own.',
			'SELECT * FROM agentpay.create_ledger(''ledger'');');
	END IF;
	IF to_regnamespace(quote_ident(schema_name)) IS NULL THEN
		EXECUTE format('CREATE SCHEMA %I', schema_name);
		RETURN;
	END IF;
	SELECT pg_describe_object(o.classid, o.objid, 0) INTO squatter
	  FROM (SELECT 'pg_class'::regclass, c.oid, c.relnamespace FROM pg_class c
			UNION ALL
			SELECT 'pg_proc'::regclass, p.oid, p.pronamespace FROM pg_proc p
			UNION ALL
			SELECT 'pg_type'::regclass, t.oid, t.typnamespace FROM pg_type t)
			AS o (classid, objid, schema_oid)
	 WHERE o.schema_oid = to_regnamespace(quote_ident(schema_name))
	 ORDER BY o.classid::oid DESC, o.objid LIMIT 1; -- a relation first
	IF FOUND THEN
		PERFORM agentpay._refuse('42P06',
			format('schema "%s" is not empty', schema_name),
			format('It already holds %s.', squatter),
			format('SELECT * FROM agentpay.create_ledger(%L);',
				   left(schema_name, 61) || '_2'));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._ledger_schema(name) FROM PUBLIC;

-- The points are named after the roles.  One is free that there is not, or
-- whose table is gone without having decided anything: its log cannot be
-- mistaken for that of a new table, whose keys begin with 1 again.
CREATE FUNCTION agentpay._check_ledger_points(schema_name name) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p record;
BEGIN
	SELECT d.point, d.table_name, c.oid IS NOT NULL AS stands INTO p
	  FROM agentpay.decision_points d
	  LEFT JOIN pg_class c ON c.oid = d.table_name
	 WHERE d.point IN ('fraud', 'routing', 'reconciliation', 'dispute')
	   AND (c.oid IS NOT NULL OR d.role <> d.point
			OR EXISTS (SELECT FROM agentpay.decisions o
						WHERE o.point = d.point))
	 ORDER BY d.point LIMIT 1;
	IF NOT FOUND THEN
		RETURN;
	END IF;
	PERFORM agentpay._refuse('42710', format('point "%s" is taken', p.point),
		CASE WHEN p.stands THEN format('It stands on %s.', p.table_name)
		ELSE 'Its table was dropped, and decisions name it.' END
			|| ' create_ledger() makes points fraud, routing, reconciliation and dispute.',
		format('CREATE DATABASE ledger; in it, CREATE EXTENSION agentpay; and SELECT * FROM agentpay.create_ledger(%L); or attach tables of your own under other names: SELECT agentpay.attach(..., point => %L, ...);',
			   schema_name, p.point || '_2'));
END$$;
REVOKE ALL ON FUNCTION agentpay._check_ledger_points(name) FROM PUBLIC;

CREATE FUNCTION agentpay.create_ledger(schema_name name DEFAULT 'ledger')
	RETURNS TABLE (table_name regclass, point text, role text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	PERFORM agentpay._refuse_held();
	PERFORM agentpay._check_ledger_points(schema_name);
	PERFORM agentpay._ledger_schema(schema_name);
	PERFORM agentpay._ledger_payments(schema_name);
	PERFORM agentpay._ledger_route_attempts(schema_name);
	PERFORM agentpay._ledger_captures(schema_name);
	PERFORM agentpay._ledger_settlements(schema_name);
	PERFORM agentpay._ledger_returns(schema_name);
	PERFORM agentpay._ledger_disputes(schema_name);
	PERFORM agentpay._ledger_attach(schema_name);
	PERFORM agentpay._ledger_descriptions();
	PERFORM agentpay._ledger_policies(schema_name);
	PERFORM agentpay._ledger_features(schema_name);
	PERFORM agentpay._ledger_rules();
	RETURN QUERY
	SELECT p.table_name, p.point, p.role
	  FROM unnest('{fraud,routing,reconciliation,dispute}'::text[])
			WITH ORDINALITY AS w (point, ord)
	  JOIN agentpay.decision_points p ON p.point = w.point
	 ORDER BY w.ord;
END$$;
REVOKE ALL ON FUNCTION agentpay.create_ledger(name) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.create_ledger(name) IS 'makes payments, captures, settlements, reversals, refunds, disputes and route_attempts in a new schema, with points fraud, routing, reconciliation and dispute, starter features, rules and data policies; returns the points';
