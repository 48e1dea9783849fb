-- 72_backtest.sql
--		What a version of the rules would have said of payments that were
--		decided, by what turned out.

-- The rows of the query: recorded verdict, label, amount, currency, row_id,
-- decided_at, and leaf, ctid and row of the table, NULL where it is gone.
CREATE FUNCTION agentpay._backtest(point text, version int, relation regclass,
	query text) RETURNS TABLE (recorded_verdict text, backtest_verdict text,
	label text, amount numeric, currency text)
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_backtest';
REVOKE ALL ON FUNCTION agentpay._backtest(text, int, regclass, text)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._backtest(text, int, regclass, text) IS 'backtest(), payment by payment';

-- A label counts when it is due; a fraud that nobody reported by then, of a
-- payment that was let through, is legit.
CREATE FUNCTION agentpay._backtest_rows(p agentpay.decision_points,
	since timestamptz, until timestamptz) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT coalesce(d.answer, d.verdict), '
		'CASE WHEN %1$L OR d.occurred_at <= %2$L THEN coalesce(l.label, '
		'CASE WHEN %3$L = ''fraud'' AND NOT CASE WHEN e.given IS NULL THEN '
		'agentpay._is_stopped(%3$L, %1$L, v.positive, d.assignment, '
		'd.propensity) ELSE coalesce(v.positive, true) AND NOT %1$L END THEN ''legit'' END) END, '
		'd.amount, d.currency, d.row_id, d.decided_at, t.tableoid, t.ctid, t '
		'FROM agentpay.decisions d '
		'LEFT JOIN agentpay._row_effects e ON e.point = d.point '
		'AND e.row_id = d.row_id '
		'LEFT JOIN agentpay.verdicts v ON v.point = d.point '
		'AND v.verdict = coalesce(e.given, d.verdict) '
		'LEFT JOIN agentpay._labels l ON l.row_id = d.row_id '
		'AND l.point IS NOT DISTINCT FROM d.point '
		'LEFT JOIN %4$s t ON t.%5$I = d.row_id::%6$s '
		'WHERE d.point = %7$L AND d.kind = ''rules'' '
		'AND NOT coalesce(d.detail ? ''repeats'', false) '
		'AND d.occurred_at >= %8$L AND d.occurred_at < %9$L',
		p.labels_complete, agentpay._now() - p.label_maturity, p.role,
		p.table_name, p.id_column,
		agentpay._id_type(p.table_name, p.id_column), p.point,
		coalesce(since, '-infinity'), coalesce(until, 'infinity'))
	 WHERE agentpay._id_type(p.table_name, p.id_column) IS NOT NULL
$$;
REVOKE ALL ON FUNCTION agentpay._backtest_rows(agentpay.decision_points,
	timestamptz, timestamptz) FROM PUBLIC;

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
	SELECT b.recorded_verdict, b.backtest_verdict, b.label, count(*),
		   sum(b.amount), b.currency
	  FROM agentpay._backtest(p.point, chosen, p.table_name,
			agentpay._backtest_rows(p, since, until)) AS b
	 GROUP BY b.recorded_verdict, b.backtest_verdict, b.label, b.currency
	 ORDER BY b.recorded_verdict, b.backtest_verdict, b.label, b.currency;
END$$;
REVOKE ALL ON FUNCTION agentpay.backtest(text, int, timestamptz, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay.backtest(text, int, timestamptz, timestamptz) IS 'what a version of the rules (left out: the newest draft, else the active one) would have said of the payments of [since, until), counted by what was recorded and what turned out. Writes nothing';
