-- 79_decision_counts.sql
--		Decisions of rules, counted, so that reports need not read them.
--
-- They are counted twice, in the same statement.  _rule_rollup: by hour, by the
-- set of rules that matched or failed, by label and by whose label counts.
-- _payment_rollup: payments by what the rules wrote, by the source of the label,
-- by hour and by the day on which they were decided, whatever the rules; so it
-- stays small where rules are many.  A report adds what the counts have not seen
-- yet, so it is exact at any moment, and without a worker, only slower.
--
-- What has been seen is a snapshot: a row is counted if its transaction
-- (decisions.xid, outcomes.xid) is visible in _rule_rollup_state.horizon.  So a
-- transaction that was open then, however long it takes, is found later, by
-- the leaves' indexes on xid.  A label that comes, or is corrected, or comes
-- again from another source, moves its decisions from one cell to another: −1
-- here, +1 there.
--
-- Locks: who counts holds _rule_rollup_state in SHARE ROW EXCLUSIVE mode to its
-- commit; who reads takes none.

-- ── the rollups ─────────────────────────────────────────────────────────────
-- None of these tables is dumped: what is restored is counted anew.
CREATE TABLE agentpay._rule_rollup (
	point text NOT NULL,
	version int NOT NULL,
	reasons text[] NOT NULL,
	failed text[],
	propensity real NOT NULL,
	assignment text NOT NULL,
	said text NOT NULL,
	given text NOT NULL,
	label text,
	hour timestamptz NOT NULL,
	n bigint NOT NULL,
	last_at timestamptz NOT NULL,
	first_id uuid NOT NULL,
	last_id uuid NOT NULL);
REVOKE ALL ON agentpay._rule_rollup FROM PUBLIC;
COMMENT ON TABLE agentpay._rule_rollup IS 'decisions of rules, counted; several rows of one cell add up';
COMMENT ON COLUMN agentpay._rule_rollup.said IS 'the verdict of the version';
COMMENT ON COLUMN agentpay._rule_rollup.given IS 'the verdict that the payment got, where that matters';
COMMENT ON COLUMN agentpay._rule_rollup.label IS 'the latest one; NULL: none';
COMMENT ON COLUMN agentpay._rule_rollup.hour IS 'of occurred_at, its beginning, UTC';
COMMENT ON COLUMN agentpay._rule_rollup.first_id IS 'no decision of the cell has a lower decision_id, and none a higher one than last_id';

CREATE TABLE agentpay._payment_rollup (
	point text NOT NULL,
	verdict text NOT NULL,
	drawn boolean NOT NULL,
	source text,
	hour timestamptz NOT NULL,
	day date NOT NULL,
	odd boolean NOT NULL,
	n bigint NOT NULL,
	first_at timestamptz NOT NULL,
	last_at timestamptz NOT NULL,
	first_id uuid NOT NULL,
	last_id uuid NOT NULL);
REVOKE ALL ON agentpay._payment_rollup FROM PUBLIC;
COMMENT ON TABLE agentpay._payment_rollup IS 'payments (decisions of kind rules), counted; several rows of one cell add up';
COMMENT ON COLUMN agentpay._payment_rollup.verdict IS 'what their column got';
COMMENT ON COLUMN agentpay._payment_rollup.drawn IS 'for audit';
COMMENT ON COLUMN agentpay._payment_rollup.source IS 'of the latest label; NULL: none';
COMMENT ON COLUMN agentpay._payment_rollup.hour IS 'of occurred_at, its beginning, UTC';
COMMENT ON COLUMN agentpay._payment_rollup.day IS 'of decided_at, UTC';
COMMENT ON COLUMN agentpay._payment_rollup.odd IS 'a rule failed, or the row was changed after it was scored, or its amount has no rate';
COMMENT ON COLUMN agentpay._payment_rollup.first_at IS 'none was decided earlier, and none later than last_at; first_id: none has a lower decision_id';

CREATE TABLE agentpay._rule_rollup_state (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	horizon pg_snapshot,
	cells bigint NOT NULL DEFAULT 0,
	added bigint NOT NULL DEFAULT 0,
	payment_cells bigint NOT NULL DEFAULT 0,
	payment_added bigint NOT NULL DEFAULT 0);
REVOKE ALL ON agentpay._rule_rollup_state FROM PUBLIC;
COMMENT ON TABLE agentpay._rule_rollup_state IS 'what _rule_rollup and _payment_rollup have seen; no row: nothing that counts';
COMMENT ON COLUMN agentpay._rule_rollup_state.cells IS 'rows of _rule_rollup after the last merge; added: since then';
COMMENT ON COLUMN agentpay._rule_rollup_state.payment_cells IS 'of _payment_rollup, as payment_added';

CREATE FUNCTION agentpay._lower_uuid(uuid, uuid) RETURNS uuid
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_lower_uuid';
REVOKE ALL ON FUNCTION agentpay._lower_uuid(uuid, uuid) FROM PUBLIC;
CREATE FUNCTION agentpay._higher_uuid(uuid, uuid) RETURNS uuid
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_higher_uuid';
REVOKE ALL ON FUNCTION agentpay._higher_uuid(uuid, uuid) FROM PUBLIC;
CREATE AGGREGATE agentpay._lowest_uuid(uuid) (
	SFUNC = agentpay._lower_uuid, STYPE = uuid,
	COMBINEFUNC = agentpay._lower_uuid, PARALLEL = SAFE);
REVOKE ALL ON FUNCTION agentpay._lowest_uuid(uuid) FROM PUBLIC;
CREATE AGGREGATE agentpay._highest_uuid(uuid) (
	SFUNC = agentpay._higher_uuid, STYPE = uuid,
	COMBINEFUNC = agentpay._higher_uuid, PARALLEL = SAFE);
REVOKE ALL ON FUNCTION agentpay._highest_uuid(uuid) FROM PUBLIC;

-- ── what changed between two snapshots ──────────────────────────────────────
-- A cell of either rollup, before it is told which.
CREATE TYPE agentpay._decision_cell AS (kind text, point text, version int,
	reasons text[], failed text[], propensity real, assignment text, said text,
	given text, label text, source text, hour timestamptz, day date,
	odd boolean, n bigint, first_at timestamptz, last_at timestamptz,
	first_id uuid, last_id uuid);

-- The latest label of a row and its source, joined by index scans, for a few
-- rows.
CREATE FUNCTION agentpay._label_of(row_alias text, alias text,
	until pg_snapshot) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format(' LEFT JOIN LATERAL (SELECT o.label, o.source'
		' FROM agentpay.outcomes o'
		' WHERE o.point = %1$I.point AND o.row_id = %1$I.row_id AND %3$s'
		' ORDER BY o.observed_at DESC, o.outcome_id DESC LIMIT 1) AS %2$I'
		' ON true', row_alias, alias, agentpay._seen('o', until))
$$;
REVOKE ALL ON FUNCTION agentpay._label_of(text, text, pg_snapshot) FROM PUBLIC;

-- What _payment_rollup.odd says of a decision d.
CREATE FUNCTION agentpay._odd_decision() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT '(coalesce(d.detail ?| ''{errors,changed_after_scoring}'', false)'
		' OR (d.amount IS NOT NULL AND d.base_amount IS NULL))'
$$;
REVOKE ALL ON FUNCTION agentpay._odd_decision() FROM PUBLIC;

-- A query of cells from decisions d and their labels l, each counted as often
-- as the expression says; of payments alone, what _payment_rollup has.
CREATE FUNCTION agentpay._cells_of(source text, n text, of_payments boolean)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT c.kind, c.point, c.version, c.reasons, c.failed, '
		'c.propensity, c.assignment, c.said, coalesce(c.given, c.said), '
		'c.label, c.source, c.hour, c.day, c.odd, sum(c.n)::bigint, '
		'min(c.decided_at), max(c.decided_at), agentpay._lowest_uuid(c.id), '
		'agentpay._highest_uuid(c.id) FROM (SELECT d.kind, d.point, %4$s, '
		'd.assignment, l.source, '
		'date_bin(''1 hour'', d.occurred_at, ''2000-01-01 00:00+00'') AS hour, '
		'(d.decided_at AT TIME ZONE ''UTC'')::date AS day, %3$s AS odd, '
		'%2$s AS n, d.decided_at, d.decision_id AS id FROM %1$s AND %5$s) AS c '
		'GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14',
		source, n, agentpay._odd_decision(),
		CASE WHEN of_payments THEN 'NULL::int AS version, '
		'NULL::text[] AS reasons, NULL::text[] AS failed, '
		'NULL::real AS propensity, NULL::text AS said, d.verdict AS given, '
		'NULL::text AS label'
		ELSE 'd.ruleset_version AS version, d.reasons, '
		'CASE WHEN d.detail ? ''errors'' THEN ARRAY(SELECT k FROM '
		'jsonb_object_keys(d.detail -> ''errors'') AS k) END AS failed, '
		'd.propensity, coalesce(d.answer, d.verdict) AS said, '
		-- what a version in shadow cannot know
		'CASE WHEN d.kind = ''shadow_rules'' AND d.assignment = ''audit'' '
		'AND d.propensity >= 1 THEN (SELECT r.verdict '
		'FROM agentpay.decisions r WHERE r.point = d.point '
		'AND r.row_id = d.row_id AND r.kind = ''rules'' LIMIT 1) '
		'ELSE d.verdict END AS given, l.label' END,
		CASE WHEN of_payments THEN 'd.kind = ''rules'''
		ELSE '(d.kind = ''rules'' OR (d.kind = ''shadow_rules'' '
		'AND d.ruleset_version IS NOT NULL))' END)
$$;
REVOKE ALL ON FUNCTION agentpay._cells_of(text, text, boolean)
	FROM PUBLIC;

-- What one snapshot saw and the other one did not (NULL: nothing, and all that
-- the caller sees), of few decisions: by index.  The conditions are constants,
-- so that the planner knows that they take few rows of millions.
CREATE FUNCTION agentpay._few_cells(since pg_snapshot, until pg_snapshot,
	of_payments boolean) RETURNS SETOF agentpay._decision_cell
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'agentpay.decisions d%s WHERE %s', agentpay._label_of('d', 'l', until),
		agentpay._new('d', since, until)), '1', of_payments);
END$$;
REVOKE ALL ON FUNCTION agentpay._few_cells(pg_snapshot, pg_snapshot, boolean)
	FROM PUBLIC;

-- The same of many: by hash joins.  The planner cannot know that decisions of
-- an hour are alike, and would rather sort millions than hash them; and workers
-- scan no table whole, if they can help it.
CREATE FUNCTION agentpay._many_cells(since pg_snapshot, until pg_snapshot,
	of_payments boolean) RETURNS SETOF agentpay._decision_cell
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_sort = off SET jit = off
	SET enable_nestloop = off SET enable_seqscan = on
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'agentpay.decisions d LEFT JOIN (SELECT o.point, o.row_id, o.label,'
		' o.source FROM agentpay.outcomes o WHERE %2$s AND NOT EXISTS (SELECT'
		' FROM agentpay.outcomes l WHERE l.row_id = o.row_id'
		' AND l.point IS NOT DISTINCT FROM o.point AND %3$s'
		' AND (l.observed_at, l.outcome_id)'
		' > (o.observed_at, o.outcome_id))) AS l ON l.row_id = d.row_id'
		' AND l.point IS NOT DISTINCT FROM d.point WHERE %1$s',
		agentpay._new('d', since, until), agentpay._seen('o', until),
		agentpay._seen('l', until)), '1', of_payments);
END$$;
REVOKE ALL ON FUNCTION agentpay._many_cells(pg_snapshot, pg_snapshot, boolean)
	FROM PUBLIC;

-- Decisions that the first snapshot saw, and whose label or its source changed
-- until the second one.
CREATE FUNCTION agentpay._moved_cells(since pg_snapshot, until pg_snapshot,
	of_payments boolean) RETURNS SETOF agentpay._decision_cell
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'(SELECT c.point, c.row_id, w.label AS was, w.source AS was_from,'
		' i.label AS now_is, i.source AS now_from'
		' FROM (SELECT DISTINCT o.point, o.row_id FROM agentpay.outcomes o'
		' WHERE %1$s) AS c%2$s%3$s OFFSET 0) AS x'
		' JOIN agentpay.decisions d ON d.point = x.point'
		' AND d.row_id = x.row_id'
		' CROSS JOIN LATERAL (VALUES (x.was, x.was_from, -1),'
		' (x.now_is, x.now_from, 1)) AS l (label, source, n)'
		' WHERE (x.was, x.was_from) IS DISTINCT FROM (x.now_is, x.now_from)'
		' AND %4$s',
		agentpay._new('o', since, until),
		agentpay._label_of('c', 'w', since), agentpay._label_of('c', 'i', until),
		agentpay._seen('d', since)), 'l.n', of_payments);
END$$;
REVOKE ALL ON FUNCTION agentpay._moved_cells(pg_snapshot, pg_snapshot, boolean)
	FROM PUBLIC;

CREATE FUNCTION agentpay._decision_delta(since pg_snapshot,
	until pg_snapshot, of_payments boolean) RETURNS SETOF agentpay._decision_cell
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	few constant int := 50000;
	found_rows bigint := few;
BEGIN
	IF since IS NOT NULL THEN
		EXECUTE format('SELECT count(*) FROM (SELECT FROM agentpay.decisions d'
			' WHERE %s LIMIT %s) AS x', agentpay._new('d', since, until), few)
		   INTO found_rows;
		RETURN QUERY SELECT m.*
		  FROM agentpay._moved_cells(since, until, of_payments) AS m;
	END IF;
	IF found_rows < few THEN
		RETURN QUERY SELECT f.*
		  FROM agentpay._few_cells(since, until, of_payments) AS f;
	ELSE
		RETURN QUERY SELECT m.*
		  FROM agentpay._many_cells(since, until, of_payments) AS m;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._decision_delta(pg_snapshot, pg_snapshot, boolean)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._decision_delta(pg_snapshot, pg_snapshot, boolean) IS 'what is to be added to cells that are right for the first snapshot';

-- ── the governor's part ─────────────────────────────────────────────────────
-- One statement reads a slice of what is new, adds it, and notes its end.  A
-- transaction that has written already would be seen in part, so it does not
-- roll.  Rows that come by logical replication delete the state
-- (_refuse_change()).
CREATE FUNCTION agentpay._roll_rules() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	state agentpay._rule_rollup_state;
	until pg_snapshot;
	is_slice boolean;
BEGIN
	IF pg_current_xact_id_if_assigned() IS NOT NULL
	   OR agentpay._is_subscribed() THEN
		RETURN false;
	END IF;
	LOCK TABLE agentpay._rule_rollup_state IN SHARE ROW EXCLUSIVE MODE;
	SELECT * INTO state FROM agentpay._rule_rollup_state;
	IF state.one IS NULL THEN
		DELETE FROM agentpay._rule_rollup;
		DELETE FROM agentpay._payment_rollup;
		INSERT INTO agentpay._rule_rollup_state DEFAULT VALUES;
	END IF;
	SELECT u, agentpay._is_slice(u) INTO until, is_slice
	  FROM agentpay._slice_end(state.horizon, 'decisions', 'outcomes') AS u;
	WITH delta AS MATERIALIZED (
		SELECT * FROM agentpay._decision_delta(state.horizon, until, false)),
	put AS (
		INSERT INTO agentpay._rule_rollup
		SELECT d.point, d.version, d.reasons, d.failed, d.propensity,
			   d.assignment, d.said, d.given, d.label, d.hour, sum(d.n),
			   max(d.last_at), agentpay._lowest_uuid(d.first_id),
			   agentpay._highest_uuid(d.last_id)
		  FROM delta d WHERE d.version IS NOT NULL
		 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
		HAVING sum(d.n) <> 0
		RETURNING 1),
	put_payments AS (
		INSERT INTO agentpay._payment_rollup
		SELECT d.point, d.given, d.assignment = 'audit', d.source, d.hour,
			   d.day, d.odd, sum(d.n), min(d.first_at), max(d.last_at),
			   agentpay._lowest_uuid(d.first_id),
			   agentpay._highest_uuid(d.last_id)
		  FROM delta d WHERE d.kind = 'rules'
		 GROUP BY 1, 2, 3, 4, 5, 6, 7
		HAVING sum(d.n) <> 0
		RETURNING 1)
	UPDATE agentpay._rule_rollup_state s
	   SET horizon = until, added = s.added + new.cells,
		   payment_added = s.payment_added + new.payment_cells
	  FROM (SELECT (SELECT count(*) FROM put) AS cells,
				   (SELECT count(*) FROM put_payments) AS payment_cells) AS new
	 WHERE new.cells > 0 OR new.payment_cells > 0 OR is_slice
	RETURNING s.* INTO state;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF state.added > greatest(state.cells, 1000) THEN
		PERFORM agentpay._merge_rollup();
	END IF;
	IF state.payment_added > greatest(state.payment_cells, 1000) THEN
		PERFORM agentpay._merge_payments();
	END IF;
	RETURN true;
END$$;
REVOKE ALL ON FUNCTION agentpay._roll_rules() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._roll_rules() IS 'brings the rollups up to now, or by a slice nearer to it; false: nothing was new';

CREATE FUNCTION agentpay._merge_rollup() RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH old AS (DELETE FROM agentpay._rule_rollup RETURNING *),
	put AS (
		INSERT INTO agentpay._rule_rollup
		SELECT o.point, o.version, o.reasons, o.failed, o.propensity,
			   o.assignment, o.said, o.given, o.label, o.hour, sum(o.n), max(o.last_at),
			   agentpay._lowest_uuid(o.first_id),
			   agentpay._highest_uuid(o.last_id)
		  FROM old o GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
		HAVING sum(o.n) <> 0
		RETURNING 1)
	UPDATE agentpay._rule_rollup_state
	   SET cells = (SELECT count(*) FROM put), added = 0
$$;
REVOKE ALL ON FUNCTION agentpay._merge_rollup() FROM PUBLIC;

CREATE FUNCTION agentpay._merge_payments() RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH old AS (DELETE FROM agentpay._payment_rollup RETURNING *),
	put AS (
		INSERT INTO agentpay._payment_rollup
		SELECT o.point, o.verdict, o.drawn, o.source, o.hour, o.day, o.odd,
			   sum(o.n), min(o.first_at), max(o.last_at),
			   agentpay._lowest_uuid(o.first_id),
			   agentpay._highest_uuid(o.last_id)
		  FROM old o GROUP BY 1, 2, 3, 4, 5, 6, 7
		HAVING sum(o.n) <> 0
		RETURNING 1)
	UPDATE agentpay._rule_rollup_state
	   SET payment_cells = (SELECT count(*) FROM put), payment_added = 0
$$;
REVOKE ALL ON FUNCTION agentpay._merge_payments() FROM PUBLIC;

-- ── the cells now ───────────────────────────────────────────────────────────
-- Of the hour in which rows become due just now, the rows themselves are
-- looked at: they were decided between two decision_ids that their cells know.
CREATE FUNCTION agentpay._due_rows(point text, hour timestamptz,
	cutoff timestamptz, first_id uuid, last_id uuid, of_payments boolean)
	RETURNS SETOF agentpay._decision_cell
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'agentpay.decisions d%s WHERE d.decision_id BETWEEN %L AND %L'
		' AND d.point = %L AND d.occurred_at >= %L AND d.occurred_at <= %L',
		agentpay._label_of('d', 'l', NULL), first_id, last_id, point, hour,
		cutoff), '1', of_payments);
END$$;
REVOKE ALL ON FUNCTION agentpay._due_rows(text, timestamptz, timestamptz,
	uuid, uuid, boolean) FROM PUBLIC;

-- SECURITY DEFINER: whoever may read the report reads the rollup through it,
-- as through a view; so the functions below.
CREATE FUNCTION agentpay._rule_cells()
	RETURNS TABLE (point text, version int, reasons text[], failed text[],
				   propensity real, assignment text, said text, given text,
				   label text, due boolean, n bigint, last_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	horizon pg_snapshot := (SELECT s.horizon
							  FROM agentpay._rule_rollup_state s);
	at timestamptz := agentpay._now();
BEGIN
	RETURN QUERY
	WITH cells AS MATERIALIZED (
		SELECT r.* FROM agentpay._rule_rollup r WHERE horizon IS NOT NULL
		UNION ALL
		SELECT d.point, d.version, d.reasons, d.failed, d.propensity,
			   d.assignment, d.said, d.given, d.label, d.hour, d.n, d.last_at,
			   d.first_id, d.last_id
		  FROM agentpay._decision_delta(horizon, NULL, false) AS d
		 WHERE d.version IS NOT NULL),
	points AS MATERIALIZED (
		SELECT p.point, p.labels_complete, at - p.label_maturity AS cutoff,
			   date_bin('1 hour', at - p.label_maturity,
					'2000-01-01 00:00+00') AS hour
		  FROM agentpay.decision_points p),
	edge AS MATERIALIZED (
		SELECT d.*
		  FROM (SELECT c.point, agentpay._lowest_uuid(c.first_id) AS lo,
					   agentpay._highest_uuid(c.last_id) AS hi
				  FROM cells c JOIN points p ON p.point = c.point
				   AND p.hour = c.hour AND NOT p.labels_complete
				 GROUP BY c.point) AS x
		  JOIN points p ON p.point = x.point
		 CROSS JOIN LATERAL agentpay._due_rows(p.point, p.hour, p.cutoff, x.lo,
											   x.hi, false) AS d
		 WHERE d.version IS NOT NULL)
	SELECT s.point, s.version, s.reasons, s.failed, s.propensity,
		   s.assignment, s.said, s.given, s.label, s.due, sum(s.n)::bigint,
		   max(s.last_at)
	  FROM (SELECT c.point, c.version, c.reasons, c.failed, c.propensity,
				   c.assignment, c.said, c.given, c.label, c.n, c.last_at,
				   p.labels_complete OR c.hour < p.hour AS due
			  FROM cells c JOIN points p ON p.point = c.point
			UNION ALL
			SELECT e.point, e.version, e.reasons, e.failed, e.propensity,
				   e.assignment, e.said, e.given, e.label, m.sign * e.n,
				   e.last_at, m.due
			  FROM edge e
			 CROSS JOIN (VALUES (true, 1), (false, -1)) AS m (due, sign)) AS s
	 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
	HAVING sum(s.n) <> 0;
END$$;
REVOKE ALL ON FUNCTION agentpay._rule_cells() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._rule_cells() IS 'decisions of rules, counted by what matched, what failed, the label, and whether labels are due';

CREATE FUNCTION agentpay._payment_cells()
	RETURNS SETOF agentpay._payment_rollup
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	horizon pg_snapshot := (SELECT s.horizon
							  FROM agentpay._rule_rollup_state s);
BEGIN
	RETURN QUERY
	SELECT r.* FROM agentpay._payment_rollup r WHERE horizon IS NOT NULL
	UNION ALL
	SELECT d.point, d.given, d.assignment = 'audit', d.source, d.hour, d.day,
		   d.odd, d.n, d.first_at, d.last_at, d.first_id, d.last_id
	  FROM agentpay._decision_delta(horizon, NULL, true) AS d;
END$$;
REVOKE ALL ON FUNCTION agentpay._payment_cells() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._payment_cells() IS '_payment_rollup as of now';

CREATE FUNCTION agentpay._label_counts()
	RETURNS TABLE (point text, verdict text, source text, mature boolean,
				   n numeric)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	at timestamptz := agentpay._now();
BEGIN
	RETURN QUERY
	WITH cells AS MATERIALIZED (
		SELECT c.*, at - p.label_maturity AS cutoff,
			   date_bin('1 hour', at - p.label_maturity,
					'2000-01-01 00:00+00') AS edge
		  FROM agentpay._payment_cells() AS c
		  JOIN agentpay.decision_points p ON p.point = c.point),
	edge AS MATERIALIZED (
		SELECT d.point, d.given, d.source, d.n
		  FROM (SELECT c.point, c.edge, c.cutoff,
					   agentpay._lowest_uuid(c.first_id) AS lo,
					   agentpay._highest_uuid(c.last_id) AS hi
				  FROM cells c WHERE c.hour = c.edge
				 GROUP BY c.point, c.edge, c.cutoff) AS x
		 CROSS JOIN LATERAL agentpay._due_rows(x.point, x.edge, x.cutoff, x.lo,
											   x.hi, true) AS d)
	SELECT s.point, s.verdict, s.source, s.mature, sum(s.n)
	  FROM (SELECT c.point, c.verdict, c.source, c.hour < c.edge AS mature, c.n
			  FROM cells c
			UNION ALL
			SELECT e.point, e.given, e.source, m.mature, m.sign * e.n
			  FROM edge e
			 CROSS JOIN (VALUES (true, 1), (false, -1)) AS m (mature, sign))
		AS s
	 GROUP BY 1, 2, 3, 4
	HAVING sum(s.n) <> 0;
END$$;
REVOKE ALL ON FUNCTION agentpay._label_counts() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._label_counts() IS 'payments, counted by verdict, by the source of their label, and by whether they are mature';

CREATE FUNCTION agentpay._payment_days()
	RETURNS TABLE (point text, day date, payments bigint)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	SELECT c.point, c.day, sum(c.n)::bigint
	  FROM agentpay._payment_cells() AS c
	 GROUP BY 1, 2
	HAVING sum(c.n) <> 0;
END$$;
REVOKE ALL ON FUNCTION agentpay._payment_days() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._payment_days() IS 'payments of each UTC day';

-- ── payments to look at ─────────────────────────────────────────────────────
-- Payments that were drawn for audit, decided before now - age, and without a
-- label.  Of cells that have payments of both sides of that moment, these are
-- looked at.
CREATE FUNCTION agentpay._unlabelled_draws(of_point text, verdicts text[],
	age interval) RETURNS bigint
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	cutoff timestamptz := agentpay._now() - age;
	drawn record;
	late bigint := 0;
BEGIN
	SELECT sum(c.n) AS n, array_agg(c.hour) FILTER (WHERE c.last_at >= cutoff)
			   AS hours,
		   agentpay._lowest_uuid(c.first_id)
				FILTER (WHERE c.last_at >= cutoff) AS lo,
		   agentpay._highest_uuid(c.last_id)
				FILTER (WHERE c.last_at >= cutoff) AS hi
	  INTO drawn
	  FROM (SELECT c.hour, sum(c.n) AS n, min(c.first_at) AS first_at,
				   max(c.last_at) AS last_at,
				   agentpay._lowest_uuid(c.first_id) AS first_id,
				   agentpay._highest_uuid(c.last_id) AS last_id
			  FROM agentpay._payment_cells() AS c
			 WHERE c.point = of_point AND c.verdict = ANY (verdicts)
			   AND c.drawn AND c.source IS NULL
			 GROUP BY c.hour HAVING sum(c.n) <> 0) AS c
	 WHERE c.first_at < cutoff;
	IF drawn.hours IS NOT NULL THEN
		EXECUTE format('SELECT count(*) FROM agentpay.decisions d'
			' WHERE d.decision_id BETWEEN %L AND %L AND d.point = %L'
			' AND d.kind = ''rules'' AND d.assignment = ''audit'''
			' AND d.verdict = ANY ($1) AND d.decided_at >= %L'
			' AND date_bin(''1 hour'', d.occurred_at, ''2000-01-01 00:00+00'')'
			' = ANY ($2) AND NOT EXISTS (SELECT FROM agentpay.outcomes o'
			' WHERE o.point = d.point AND o.row_id = d.row_id)',
			drawn.lo, drawn.hi, of_point, cutoff)
		   INTO late USING verdicts, drawn.hours;
	END IF;
	RETURN coalesce(drawn.n, 0) - late;
END$$;
REVOKE ALL ON FUNCTION agentpay._unlabelled_draws(text, text[], interval)
	FROM PUBLIC;

-- Odd decisions of rules, decided after that moment: few have to be looked at,
-- if any.
CREATE FUNCTION agentpay._odd_decisions(since timestamptz)
	RETURNS SETOF agentpay.decisions
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE ROWS 100
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	lo uuid;
	hi uuid;
BEGIN
	SELECT agentpay._lowest_uuid(c.first_id), agentpay._highest_uuid(c.last_id)
	  INTO lo, hi
	  FROM agentpay._payment_cells() AS c
	 WHERE c.odd AND c.last_at > since;
	IF lo IS NOT NULL THEN
		RETURN QUERY EXECUTE format('SELECT d.* FROM agentpay.decisions d'
			' WHERE d.decision_id BETWEEN %L AND %L AND d.kind = ''rules'''
			' AND d.decided_at > %L AND %s', lo, hi, since,
			agentpay._odd_decision());
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._odd_decisions(timestamptz) FROM PUBLIC;
