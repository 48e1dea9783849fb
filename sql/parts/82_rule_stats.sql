-- 82_rule_stats.sql
--		What each rule did, over all decisions, in a moment.
--
-- Decisions are counted by hour, by the set of rules that matched or failed,
-- by label and by whose label counts: few cells, which the governor keeps in _rule_rollup.  A report
-- adds what the rollup has not seen yet, so it is exact at any moment, and
-- without a worker, only slower.
--
-- What has been seen is a snapshot: a row is in the rollup if its transaction
-- (decisions.xid, outcomes.xid) is visible in _rule_rollup_state.horizon.  So a
-- transaction that was open then, however long it takes, is found later, by
-- the leaves' indexes on xid.  A label that comes, or is corrected, moves its
-- decisions from one cell to another: −1 here, +1 there.

-- ── the rollup ──────────────────────────────────────────────────────────────
-- Neither table is dumped: what is restored is counted anew.
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

CREATE TABLE agentpay._rule_rollup_state (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	horizon pg_snapshot,
	cells bigint NOT NULL DEFAULT 0,
	added bigint NOT NULL DEFAULT 0);
REVOKE ALL ON agentpay._rule_rollup_state FROM PUBLIC;
COMMENT ON TABLE agentpay._rule_rollup_state IS 'what _rule_rollup has seen; no row: nothing that counts';
COMMENT ON COLUMN agentpay._rule_rollup_state.cells IS 'rows after the last merge; added: since then';

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
-- The latest label of a row, as a subquery with index scans, for a few rows.
CREATE FUNCTION agentpay._label_of(alias text, until pg_snapshot) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('(SELECT o.label FROM agentpay.outcomes o'
		' WHERE o.point = %1$I.point AND o.row_id = %1$I.row_id AND %2$s'
		' ORDER BY o.observed_at DESC, o.outcome_id DESC LIMIT 1)', alias,
		agentpay._seen('o', until))
$$;
REVOKE ALL ON FUNCTION agentpay._label_of(text, pg_snapshot) FROM PUBLIC;

-- A query of cells from decisions d, whose label is that expression, each
-- counted as often as the other one says.
CREATE FUNCTION agentpay._cells_of(source text, label text, n text)
	RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('SELECT c.point, c.version, c.reasons, c.failed, '
		'c.propensity, c.assignment, c.said, coalesce(c.given, c.said), '
		'c.label, c.hour, sum(c.n)::bigint, max(c.decided_at), '
		'agentpay._lowest_uuid(c.id), agentpay._highest_uuid(c.id) FROM (SELECT d.point, '
		'd.ruleset_version AS version, d.reasons, '
		'CASE WHEN d.detail ? ''errors'' THEN ARRAY(SELECT k FROM '
		'jsonb_object_keys(d.detail -> ''errors'') AS k) END AS failed, '
		'd.propensity, d.assignment, coalesce(d.answer, d.verdict) AS said, '
		-- what a version in shadow cannot know
		'CASE WHEN d.kind = ''shadow_rules'' AND d.assignment = ''audit'' '
		'AND d.propensity >= 1 THEN (SELECT r.verdict '
		'FROM agentpay.decisions r WHERE r.point = d.point '
		'AND r.row_id = d.row_id AND r.kind = ''rules'' LIMIT 1) '
		'ELSE d.verdict END AS given, %2$s AS label, '
		'date_bin(''1 hour'', d.occurred_at, ''2000-01-01 00:00+00'') AS hour, '
		'%3$s AS n, '
		'd.decided_at, d.decision_id AS id FROM %1$s '
		'AND d.kind IN (''rules'', ''shadow_rules'') '
		'AND d.ruleset_version IS NOT NULL) AS c '
		'GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10',
		source, label, n)
$$;
REVOKE ALL ON FUNCTION agentpay._cells_of(text, text, text) FROM PUBLIC;

-- What one snapshot saw and the other one did not (NULL: nothing, and all that
-- the caller sees), of few decisions: by index.  The conditions are constants,
-- so that the planner knows that they take few rows of millions.
CREATE FUNCTION agentpay._few_cells(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._rule_rollup
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'agentpay.decisions d WHERE %s', agentpay._new('d', since, until)),
		agentpay._label_of('d', until), '1');
END$$;
REVOKE ALL ON FUNCTION agentpay._few_cells(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- The same of many: by hash joins.  The planner cannot know that decisions of
-- an hour are alike, and would rather sort millions than hash them; and workers
-- scan no table whole, if they can help it.
CREATE FUNCTION agentpay._many_cells(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._rule_rollup
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp SET enable_sort = off SET jit = off
	SET enable_nestloop = off SET enable_seqscan = on
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'agentpay.decisions d LEFT JOIN (SELECT o.point, o.row_id, o.label'
		' FROM agentpay.outcomes o WHERE %2$s AND NOT EXISTS (SELECT'
		' FROM agentpay.outcomes l WHERE l.row_id = o.row_id'
		' AND l.point IS NOT DISTINCT FROM o.point AND %3$s'
		' AND (l.observed_at, l.outcome_id)'
		' > (o.observed_at, o.outcome_id))) AS l ON l.row_id = d.row_id'
		' AND l.point IS NOT DISTINCT FROM d.point WHERE %1$s',
		agentpay._new('d', since, until), agentpay._seen('o', until),
		agentpay._seen('l', until)),
		'l.label', '1');
END$$;
REVOKE ALL ON FUNCTION agentpay._many_cells(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

-- Decisions that the first snapshot saw, and whose label changed until the
-- second one.
CREATE FUNCTION agentpay._moved_cells(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._rule_rollup
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'(SELECT c.point, c.row_id, %2$s AS was, %3$s AS is'
		' FROM (SELECT DISTINCT o.point, o.row_id FROM agentpay.outcomes o'
		' WHERE %1$s) AS c OFFSET 0) AS x'
		' JOIN agentpay.decisions d ON d.point = x.point'
		' AND d.row_id = x.row_id'
		' CROSS JOIN LATERAL (VALUES (x.was, -1), (x.is, 1)) AS m (label, n)'
		' WHERE x.was IS DISTINCT FROM x.is AND %4$s',
		agentpay._new('o', since, until),
		agentpay._label_of('c', since), agentpay._label_of('c', until),
		agentpay._seen('d', since)), 'm.label', 'm.n');
END$$;
REVOKE ALL ON FUNCTION agentpay._moved_cells(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

CREATE FUNCTION agentpay._rule_delta(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._rule_rollup
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
		RETURN QUERY SELECT m.* FROM agentpay._moved_cells(since, until) AS m;
	END IF;
	IF found_rows < few THEN
		RETURN QUERY SELECT f.* FROM agentpay._few_cells(since, until) AS f;
	ELSE
		RETURN QUERY SELECT m.* FROM agentpay._many_cells(since, until) AS m;
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._rule_delta(pg_snapshot, pg_snapshot)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._rule_delta(pg_snapshot, pg_snapshot) IS 'what is to be added to cells that are right for the first snapshot';

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
		INSERT INTO agentpay._rule_rollup_state DEFAULT VALUES;
	END IF;
	SELECT u, agentpay._is_slice(u) INTO until, is_slice
	  FROM agentpay._slice_end(state.horizon, 'decisions', 'outcomes') AS u;
	WITH put AS (
		INSERT INTO agentpay._rule_rollup
		SELECT * FROM agentpay._rule_delta(state.horizon, until)
		RETURNING 1)
	UPDATE agentpay._rule_rollup_state s
	   SET horizon = until, added = s.added + new.cells
	  FROM (SELECT count(*) AS cells FROM put) AS new
	 WHERE new.cells > 0 OR is_slice
	RETURNING s.* INTO state;
	IF NOT FOUND THEN
		RETURN false;
	END IF;
	IF state.added > greatest(state.cells, 1000) THEN
		PERFORM agentpay._merge_rollup();
	END IF;
	RETURN true;
END$$;
REVOKE ALL ON FUNCTION agentpay._roll_rules() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._roll_rules() IS 'brings the rollup up to now, or by a slice nearer to it; false: nothing was new';

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

-- ── the cells now ───────────────────────────────────────────────────────────
-- Of the hour in which rows become due just now, the rows themselves are
-- looked at: they were decided between two decision_ids that their cells know.
CREATE FUNCTION agentpay._due_rows(p agentpay.decision_points, hour timestamptz,
	cutoff timestamptz, first_id uuid, last_id uuid)
	RETURNS SETOF agentpay._rule_rollup
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE agentpay._cells_of(format(
		'agentpay.decisions d WHERE d.decision_id BETWEEN %L AND %L'
		' AND d.point = %L AND d.occurred_at >= %L AND d.occurred_at <= %L',
		first_id, last_id, p.point, hour, cutoff),
		agentpay._label_of('d', NULL), '1');
END$$;
REVOKE ALL ON FUNCTION agentpay._due_rows(agentpay.decision_points,
	timestamptz, timestamptz, uuid, uuid) FROM PUBLIC;

-- SECURITY DEFINER: whoever may read the report reads the rollup through it,
-- as through a view.
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
		SELECT r.* FROM agentpay._rule_delta(horizon, NULL) AS r),
	points AS MATERIALIZED (
		SELECT p.point, p, p.labels_complete, at - p.label_maturity AS cutoff,
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
		 CROSS JOIN LATERAL agentpay._due_rows(p.p, p.hour, p.cutoff, x.lo,
											   x.hi) AS d)
	SELECT s.point, s.version, s.reasons, s.failed, s.propensity,
		   s.assignment, s.said, s.given, s.label, s.due, sum(s.n)::bigint,
		   max(s.last_at)
	  FROM (SELECT c.*, p.labels_complete OR c.hour < p.hour AS due
			  FROM cells c JOIN points p ON p.point = c.point
			UNION ALL
			SELECT e.point, e.version, e.reasons, e.failed, e.propensity,
				   e.assignment, e.said, e.given, e.label, e.hour,
				   m.sign * e.n, e.last_at, e.first_id, e.last_id, m.due
			  FROM edge e
			 CROSS JOIN (VALUES (true, 1), (false, -1)) AS m (due, sign)) AS s
	 GROUP BY 1, 2, 3, 4, 5, 6, 7, 8, 9, 10
	HAVING sum(s.n) <> 0;
END$$;
REVOKE ALL ON FUNCTION agentpay._rule_cells() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._rule_cells() IS 'decisions of rules, counted by what matched, what failed, the label, and whether labels are due';

-- ── rule_stats ──────────────────────────────────────────────────────────────
CREATE VIEW agentpay._rule_truths AS
SELECT s.point, s.version, s.reasons, s.failed,
	   CASE WHEN NOT s.due THEN NULL
			WHEN s.role <> 'fraud' THEN v.is_positive
			ELSE (s.use).label = 'fraud' END AS truth,
	   s.due AND (s.use).unobservable AS unobservable,
	   (s.use).weight, s.n, s.last_at
  FROM (
	SELECT k.*, agentpay._use_label(k.stopped, k.assignment,
			CASE WHEN k.labels_complete THEN 1 ELSE k.propensity END, k.truth,
			bool_and(k.truth IS NOT NULL)
				FILTER (WHERE k.due AND k.stopped AND k.assignment <> 'audit')
				OVER (PARTITION BY k.point, k.version, k.said, k.propensity))
				AS use
	  FROM (
		SELECT c.*, p.role, p.labels_complete, t.stopped,
			   coalesce(c.label, CASE WHEN p.role = 'fraud' AND NOT t.stopped
									  THEN 'legit' END) AS truth
		  FROM agentpay._rule_cells() AS c
		  JOIN agentpay.decision_points p ON p.point = c.point
		  LEFT JOIN agentpay.verdicts g
			ON g.point = c.point AND g.verdict = c.given
		 CROSS JOIN LATERAL (SELECT agentpay._is_stopped(p.role,
				p.labels_complete, g.positive, c.assignment, c.propensity)
			AS stopped) AS t) AS k) AS s
  LEFT JOIN agentpay._readings v
	ON v.point = s.point AND v.verdict = (s.use).label
	   AND v.positive = 'positive';
REVOKE ALL ON agentpay._rule_truths FROM PUBLIC;
COMMENT ON VIEW agentpay._rule_truths IS '_rule_cells(), with what turned out';

CREATE VIEW agentpay.rule_stats AS
WITH cells AS MATERIALIZED (SELECT * FROM agentpay._rule_truths),
decided AS (
	SELECT c.point, c.version, sum(c.n) AS n FROM cells c GROUP BY 1, 2),
matched AS (
	SELECT c.point, c.version, r.code, sum(c.n) AS n,
		   max(c.last_at) AS last_at,
		   sum(c.n) FILTER (WHERE c.truth IS NOT NULL) AS labelled,
		   sum(c.n * c.weight) FILTER (WHERE c.truth IS NOT NULL) AS weight,
		   sum(c.n * c.weight) FILTER (WHERE c.truth) AS positive,
		   bool_or(c.unobservable) AS unobservable
	  FROM cells c CROSS JOIN LATERAL unnest(c.reasons) AS r (code)
	 GROUP BY 1, 2, 3),
failed AS (
	SELECT c.point, c.version, f.code, sum(c.n) AS n
	  FROM cells c CROSS JOIN LATERAL unnest(c.failed) AS f (code)
	 GROUP BY 1, 2, 3)
SELECT r.point, r.version, r.code, e.evaluated::bigint AS evaluated,
	   coalesce(m.n, 0)::bigint AS hits,
	   agentpay._rate(coalesce(m.n, 0), e.evaluated) AS share,
	   coalesce(f.n, 0)::bigint AS errors,
	   coalesce(m.labelled, 0)::bigint AS labelled_hits,
	   CASE WHEN NOT m.unobservable
			THEN agentpay._rate(coalesce(m.positive, 0), m.weight) END
		   AS precision,
	   m.last_at AS last_hit, r.snoozed_until
  FROM (SELECT r.*, s.mode,
			   coalesce(sum(h.n) OVER before, 0) AS taken
		  FROM agentpay.rules r
		  JOIN agentpay.rulesets s ON s.point = r.point
			   AND s.version = r.version AND s.state <> 'draft'
		  LEFT JOIN matched h ON h.point = r.point AND h.version = r.version
			   AND h.code = r.code
		WINDOW before AS (PARTITION BY r.point, r.version
			ORDER BY r.priority, r.code COLLATE "C"
			ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)) AS r
  LEFT JOIN decided d ON d.point = r.point AND d.version = r.version
  LEFT JOIN matched m ON m.point = r.point AND m.version = r.version
	   AND m.code = r.code
  LEFT JOIN failed f ON f.point = r.point AND f.version = r.version
	   AND f.code = r.code
 CROSS JOIN LATERAL (SELECT CASE WHEN r.enabled THEN coalesce(d.n, 0)
		- CASE r.mode WHEN 'first_match' THEN r.taken ELSE 0 END ELSE 0 END
		AS evaluated) AS e;
REVOKE ALL ON agentpay.rule_stats FROM PUBLIC;
COMMENT ON VIEW agentpay.rule_stats IS 'what each rule of each version that decided, or was evaluated in shadow, has done: dead ones have no hits, noisy ones a low precision';
COMMENT ON COLUMN agentpay.rule_stats.evaluated IS 'decisions of that version in which the rule was reached; first_match: those that no rule before it decided. A time of snoozing counts, without hits';
COMMENT ON COLUMN agentpay.rule_stats.hits IS 'rows that it matched';
COMMENT ON COLUMN agentpay.rule_stats.share IS 'hits / evaluated';
COMMENT ON COLUMN agentpay.rule_stats.errors IS 'rows for which it failed';
COMMENT ON COLUMN agentpay.rule_stats.labelled_hits IS 'hits whose label is known and counts, of rows older than the point''s label_maturity, unless its labels are complete';
COMMENT ON COLUMN agentpay.rule_stats.precision IS 'of the labelled hits, those that turned out fraud (other roles: whose label is a positive verdict), weighted by 1 / propensity; NULL where a hit that should count was stopped, and nobody has labelled it';
COMMENT ON COLUMN agentpay.rule_stats.last_hit IS 'when it last matched';
COMMENT ON COLUMN agentpay.rule_stats.snoozed_until IS 'as in rules';
