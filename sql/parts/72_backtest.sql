-- 72_backtest.sql
--		What a version of the rules would have said of payments that were
--		decided, by what turned out.

-- query: src/review/backtest.c names its columns; shared_query: of the blocks
-- that come to a process; rows_query: the rows of the table for ids, $1 text[].  changed: features whose definition changed, and
-- when; what was recorded before columns_since or that is not taken.
CREATE FUNCTION agentpay._backtest(point text, version int, relation regclass,
	query text, shared_query text, rows_query text, columns_since timestamptz, changed text[],
	features_since timestamptz[])
	RETURNS TABLE (recorded_verdict text, backtest_verdict text, label text,
				   payments bigint, amount numeric, currency text)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_backtest';
REVOKE ALL ON FUNCTION agentpay._backtest(text, int, regclass, text, text,
	text, timestamptz, text[], timestamptz[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._backtest(text, int, regclass, text, text, text, timestamptz, text[], timestamptz[]) IS 'backtest() of the rows of a query';

-- A label counts when it is due; a fraud that nobody reported by then, of a
-- payment that was let through, is legit.  Which rows of the rules are stopped
-- is asked here, once for each kind of row.
CREATE FUNCTION agentpay._backtest_query(p agentpay.decision_points,
	since timestamptz, until timestamptz, shared boolean) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT coalesce(d.answer, d.verdict), '
		'CASE WHEN %1$L OR d.occurred_at <= %2$L THEN coalesce(l.label, '
		'CASE WHEN %3$L = ''fraud'' AND NOT CASE WHEN e.given IS NULL THEN '
		'CASE WHEN d.propensity < 1 THEN '
		'CASE d.assignment WHEN ''explore'' THEN %7$L::boolean '
		'ELSE %8$L::boolean END '
		'WHEN d.assignment = ''audit'' THEN '
		'CASE v.positive WHEN true THEN %9$L::boolean '
		'WHEN false THEN %10$L::boolean ELSE %11$L::boolean END '
		'ELSE false END '
		'ELSE coalesce(v.positive, true) AND NOT %1$L END THEN ''legit'' END) END, '
		'd.amount, d.currency, d.base_amount, d.row_id, d.occurred_at, '
		'd.decided_at, d.read, d.sealed, d.failed '
		'FROM ' || agentpay._in_blocks('SELECT d.point, d.answer, d.verdict, d.assignment, '
		'd.propensity, d.amount, d.currency, d.base_amount, d.row_id, '
		'd.occurred_at, d.decided_at, CASE WHEN d.sealed IS NULL '
		'THEN d.inputs ELSE agentpay._unseal(d) END AS read, '
		'd.sealed IS NOT NULL AS sealed, '
		'coalesce(d.detail ? ''errors'', false) AS failed '
		'FROM agentpay.decisions d '
		'WHERE d.point = %4$L AND d.kind = ''rules'' '
		'AND NOT coalesce(d.detail ? ''repeats'', false) '
		'AND d.occurred_at >= %5$L AND d.occurred_at < %6$L', shared) || ' AS d '
		'LEFT JOIN agentpay._row_effects e ON e.point = d.point '
		'AND e.row_id = d.row_id '
		'LEFT JOIN agentpay.verdicts v ON v.point = d.point '
		'AND v.verdict = coalesce(e.given, d.verdict) '
		'LEFT JOIN agentpay._labels l ON l.row_id = d.row_id '
		'AND l.point IS NOT DISTINCT FROM d.point',
		p.labels_complete, agentpay._now() - p.label_maturity, p.role, p.point,
		coalesce(since, '-infinity'), coalesce(until, 'infinity'),
		agentpay._is_stopped(p.role, p.labels_complete, NULL, 'explore', 0),
		agentpay._is_stopped(p.role, p.labels_complete, NULL, 'treatment', 0),
		agentpay._is_stopped(p.role, p.labels_complete, true, 'audit', 1),
		agentpay._is_stopped(p.role, p.labels_complete, false, 'audit', 1),
		agentpay._is_stopped(p.role, p.labels_complete, NULL, 'audit', 1))
$$;
REVOKE ALL ON FUNCTION agentpay._backtest_query(agentpay.decision_points,
	timestamptz, timestamptz, boolean) FROM PUBLIC;

CREATE FUNCTION agentpay._rows_query(p agentpay.decision_points) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT o.number, t.tableoid, t.ctid, t '
		'FROM unnest($1::text[]) WITH ORDINALITY AS o (id, number) '
		'JOIN %1$s t ON t.%2$I = %3$s', p.table_name, p.id_column,
		agentpay._id_cast('o.id',
			agentpay._id_type(p.table_name, p.id_column)))
	 WHERE agentpay._id_type(p.table_name, p.id_column) IS NOT NULL
$$;
REVOKE ALL ON FUNCTION agentpay._rows_query(agentpay.decision_points)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._rows_query(agentpay.decision_points) IS 'the query for rows of the point''s table by their ids: number, leaf, ctid, row';

-- When the policies of what the point reads have changed last.
CREATE FUNCTION agentpay._policies_changed_at(p agentpay.decision_points)
	RETURNS timestamptz
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(max(g.logged_at), '-infinity')
	  FROM agentpay.governance_log g
	 CROSS JOIN LATERAL (SELECT
		to_regclass(coalesce(g.after, g.before) ->> 'table_name')) AS t (name)
	 WHERE g.object_kind = 'data_policy'
	   AND g.action IN ('insert', 'update', 'delete')
	   AND (t.name IS NULL OR t.name = p.table_name OR EXISTS (
			SELECT FROM agentpay.features f
			 WHERE f.point = p.point AND f.from_table = t.name))
$$;
REVOKE ALL ON FUNCTION agentpay._policies_changed_at(agentpay.decision_points)
	FROM PUBLIC;

-- When each feature of the point got the definition that it has, as far as it
-- ever had another; the point's own time and zone are part of all.
CREATE FUNCTION agentpay._features_changed_at(p agentpay.decision_points,
	OUT names text[], OUT at timestamptz[])
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(array_agg(f.name), '{}'), coalesce(array_agg(f.at), '{}')
	  FROM (
		SELECT f.name, max(g.logged_at) AS at
		  FROM agentpay.features f
		  JOIN agentpay.governance_log g
			ON g.action IN ('insert', 'update', 'delete')
		   AND (g.object_kind = 'feature'
				AND g.object = f.point || '.' || f.name
			 OR g.object_kind = 'point' AND g.object = f.point
				AND ((g.before ->> 'occurred_at_column', g.before ->> 'time_zone')
					IS DISTINCT FROM (p.occurred_at_column::text, p.time_zone)))
		 WHERE f.point = p.point
		 GROUP BY f.name) AS f
$$;
REVOKE ALL ON FUNCTION agentpay._features_changed_at(agentpay.decision_points)
	FROM PUBLIC;

CREATE FUNCTION agentpay.backtest(point text, version int DEFAULT NULL,
	since timestamptz DEFAULT NULL, until timestamptz DEFAULT NULL)
	RETURNS TABLE (recorded_verdict text, backtest_verdict text, label text,
				   payments bigint, amount numeric, currency text)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET datestyle = 'ISO'
AS $$
#variable_conflict use_column
DECLARE
	p agentpay.decision_points := agentpay._point(backtest.point);
	chosen int;
BEGIN
	SELECT s.version INTO chosen FROM agentpay.rulesets s
	 WHERE s.point = p.point
	   AND CASE WHEN backtest.version IS NULL THEN s.state IN ('draft', 'active')
		   ELSE s.version = backtest.version END
	 ORDER BY s.state = 'draft' DESC, s.version DESC LIMIT 1;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse_version(p.point, backtest.version);
	END IF;
	RETURN QUERY
	SELECT b.recorded_verdict, b.backtest_verdict, b.label, b.payments, b.amount,
		   b.currency
	  FROM agentpay._features_changed_at(p) AS f
	 CROSS JOIN agentpay._backtest(p.point, chosen, p.table_name,
			agentpay._backtest_query(p, since, until, false),
			agentpay._backtest_query(p, since, until, true),
			agentpay._rows_query(p), agentpay._policies_changed_at(p), f.names,
			f.at) AS b
	 ORDER BY b.recorded_verdict, b.backtest_verdict, b.label, b.currency;
END$$;
REVOKE ALL ON FUNCTION agentpay.backtest(text, int, timestamptz, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay.backtest(text, int, timestamptz, timestamptz) IS 'what a version of the rules (left out: the newest draft, else the active one) would have said of the payments of [since, until), counted by what was recorded and what turned out. Writes nothing';
