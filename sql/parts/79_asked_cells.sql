-- 79_asked_cells.sql
--		_asked counted: what reports of answers need to know of payments, in one
--		pass.
--
-- A pass over the rows that are kept is most of what such a report takes.  So
-- each makes one, which is held to hashes (groups are few, which the planner
-- does not see) and may run in parallel: outdated rows are asked for before,
-- and rows that are not kept come by a second query, since what finds them is
-- not parallel safe; nor may a query that is to be parallel have OFFSET 0.

CREATE TYPE agentpay._asked_cell AS (said text, mature boolean,
	answers bigint, sure bigint, scored bigint);
COMMENT ON TYPE agentpay._asked_cell IS 'rows of _asked that count of their row and agent version, of which the same was said';
COMMENT ON COLUMN agentpay._asked_cell.mature IS 'the label is due';
COMMENT ON COLUMN agentpay._asked_cell.sure IS 'with a confidence; scored: with a score';

-- Where to read _asked or _called from: rows that are kept, but not those whose
-- id is in $1, which is _outdated_rows(); and what stands in their place.
CREATE FUNCTION agentpay._kept_and_new(of_calls boolean) RETURNS SETOF text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('(SELECT k.* FROM agentpay.%I k WHERE k.id <> ALL ($1))',
				  CASE WHEN of_calls THEN '_call_rows' ELSE '_asked_rows' END)
	 WHERE EXISTS (SELECT FROM agentpay._asked_state)
	 UNION ALL
	SELECT format('agentpay.%I()',
				  CASE WHEN of_calls THEN '_new_calls' ELSE '_new_asked' END)
$$;
REVOKE ALL ON FUNCTION agentpay._kept_and_new(boolean) FROM PUBLIC;

-- agents: NULL for all; moment: as of when labels are due.  Cells alike may
-- come twice, from either source.
CREATE FUNCTION agentpay._asked_cells(agents text[], moment timestamptz)
	RETURNS SETOF agentpay._asked_cell
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
	SET enable_sort = off SET jit = off SET work_mem = '64MB'
AS $$
DECLARE
	outdated constant bigint[] := ARRAY(SELECT agentpay._outdated_rows(false));
	points text[];
	dues timestamptz[];
	source text;
BEGIN
	SELECT array_agg(p.point), array_agg(moment - p.label_maturity)
	  INTO points, dues FROM agentpay.decision_points p;
	FOR source IN SELECT agentpay._kept_and_new(false) LOOP
		RETURN QUERY EXECUTE format($q$
			SELECT a.said, a.occurred_at <= p.due, count(*),
				   count(a.confidence), count(a.score)
			  FROM %s AS a
			  JOIN unnest($2, $3) AS p (point, due) ON p.point = a.point
			 WHERE a.first_of_version AND a.occurred_at IS NOT NULL AND %s
			 GROUP BY 1, 2$q$, source,
			CASE WHEN agents IS NULL THEN 'true' ELSE 'a.agent = ANY ($4)' END)
		USING outdated, points, dues, agents;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._asked_cells(text[], timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._asked_cells(text[], timestamptz) IS '_asked of these agents as of now, counted';

-- How many rows these agents were asked about on each day (UTC), and what that
-- cost with all repeats.
CREATE FUNCTION agentpay._asked_days(agents text[])
	RETURNS TABLE (agent text, agent_version int, day date, rows bigint,
				   cost numeric)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_sort = off SET jit = off
AS $$
DECLARE
	outdated constant bigint[] := ARRAY(SELECT agentpay._outdated_rows(false));
	source text;
BEGIN
	IF cardinality(agents) = 0 THEN
		RETURN;
	END IF;
	FOR source IN SELECT agentpay._kept_and_new(false) LOOP
		RETURN QUERY EXECUTE format($q$
			SELECT a.agent, a.agent_version,
				   (a.created_at AT TIME ZONE 'UTC')::date,
				   count(*) FILTER (WHERE a.repeat_no = 0), sum(a.cost)
			  FROM %s AS a WHERE a.agent = ANY ($2)
			 GROUP BY 1, 2, 3$q$, source)
		USING outdated, agents;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._asked_days(text[]) FROM PUBLIC;

-- What calls of these agents were charged.
CREATE FUNCTION agentpay._call_costs(agents text[])
	RETURNS TABLE (agent text, agent_version int, cost numeric)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_sort = off SET jit = off
AS $$
DECLARE
	outdated constant bigint[] := ARRAY(SELECT agentpay._outdated_rows(true));
	source text;
BEGIN
	IF cardinality(agents) = 0 THEN
		RETURN;
	END IF;
	FOR source IN SELECT agentpay._kept_and_new(true) LOOP
		RETURN QUERY EXECUTE format('SELECT c.agent, c.agent_version,'
			' sum(c.cost) FROM %s AS c WHERE c.agent = ANY ($2)'
			' GROUP BY 1, 2', source)
		USING outdated, agents;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._call_costs(text[]) FROM PUBLIC;

-- What calls were charged by the hour in which they started (UTC).
CREATE FUNCTION agentpay._hourly_costs()
	RETURNS TABLE (hour timestamptz, agent text, cost_center text,
				   authority text, calls bigint, failed_calls bigint,
				   input_tokens numeric, output_tokens numeric, cost numeric,
				   answers bigint)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_sort = off SET jit = off
	SET work_mem = '64MB'
AS $$
DECLARE
	outdated constant bigint[] := ARRAY(SELECT agentpay._outdated_rows(true));
	source text;
BEGIN
	FOR source IN SELECT agentpay._kept_and_new(true) LOOP
		RETURN QUERY EXECUTE format($q$
			SELECT date_bin('1 hour', c.called_at, '2000-01-01 00:00:00+00'),
				   c.agent, c.cost_center, c.works_for, count(*),
				   count(*) FILTER (WHERE c.status <> 'ok'),
				   sum(c.input_tokens), sum(c.output_tokens), sum(c.cost),
				   count(*) FILTER (WHERE c.brought)
			  FROM %s AS c GROUP BY 1, 2, 3, 4$q$, source)
		USING outdated;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._hourly_costs() FROM PUBLIC;
