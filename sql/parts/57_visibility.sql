-- 57_visibility.sql
--		Row-level security of the ledger's tables, in what agentpay shows of one
--		payment.
--
-- agentpay's views and functions read its tables as their owner.  A row about
-- one payment is shown only to whom the policies of the payment's table show
-- that payment; to others it is as if it were not there.  Reports count all
-- rows.  Where a table has no policies for the asking role, nothing is asked.

CREATE FUNCTION agentpay._is_row_secured(relation oid) RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL RESTRICTED
	AS 'MODULE_PATHNAME', 'agentpay_sql_is_row_secured';
REVOKE ALL ON FUNCTION agentpay._is_row_secured(oid) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._is_row_secured(oid) IS 'whether row-level security of that table binds the role that asks';

CREATE FUNCTION agentpay._is_row_visible(relation oid, id_column name,
	row_id text) RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_is_row_visible';
REVOKE ALL ON FUNCTION agentpay._is_row_visible(oid, name, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._is_row_visible(oid, name, text) IS 'whether the role that asks sees that row of the table';

-- SECURITY DEFINER: whoever asks need not be able to read decision_points.
CREATE FUNCTION agentpay._open_points() RETURNS text[]
	LANGUAGE sql STABLE PARALLEL RESTRICTED SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(array_agg(p.point), '{}') FROM agentpay.decision_points p
	 WHERE NOT agentpay._is_row_secured(p.table_name)
$$;
REVOKE ALL ON FUNCTION agentpay._open_points() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._open_points() IS 'points of whose tables the role that asks sees every row, as far as row-level security goes';

-- SECURITY DEFINER: as _open_points().
CREATE FUNCTION agentpay._sees(point text, row_id text) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN coalesce((
		SELECT agentpay._is_row_visible(p.table_name, p.id_column,
				CASE WHEN agentpay._is_row_secured(p.table_name)
				THEN agentpay._id_or_null($2,
					agentpay._id_type(p.table_name, p.id_column))
				ELSE $2 END)
		  FROM agentpay.decision_points p
		 WHERE p.point = $1
		   AND EXISTS (SELECT FROM agentpay.decisions d
						WHERE d.point = $1 AND d.row_id = $2)), false);
END$$;
REVOKE ALL ON FUNCTION agentpay._sees(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._sees(text, text) IS 'whether the role that asks may see what is recorded of that row';
