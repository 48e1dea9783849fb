-- 72_blocks.sql
--		Tasks over the decisions on record, shared by processes
--		(src/review/parallel.c): backtest() and replay_all().

-- One range at a time, as it is asked for: in a target list, not in FROM.  By
-- ROWS the planner expects as many decisions as there are: it takes a range of
-- unknown ends for a two-hundredth of a table.
CREATE FUNCTION agentpay._blocks() RETURNS SETOF tid[]
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE ROWS 200
	AS 'MODULE_PATHNAME', 'agentpay_sql_blocks';
REVOKE ALL ON FUNCTION agentpay._blocks() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._blocks() IS 'ranges of ctid that come to this process of a shared task; outside of one, none';

-- A query's subquery of decisions d, which ends in its WHERE: all of it, or,
-- shared, of the blocks that come to a process.  What is joined to it is joined
-- once, not for each range.
CREATE FUNCTION agentpay._in_blocks(decisions text, shared boolean)
	RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN shared THEN
		'(SELECT d.* FROM (SELECT agentpay._blocks() AS range OFFSET 0) AS b '
		'CROSS JOIN LATERAL (' || decisions || ' AND d.ctid >= b.range[1] '
		'AND d.ctid < b.range[2] OFFSET 0) AS d OFFSET 0)'
		ELSE '(' || decisions || ' OFFSET 0)' END
$$;
REVOKE ALL ON FUNCTION agentpay._in_blocks(text, boolean) FROM PUBLIC;
