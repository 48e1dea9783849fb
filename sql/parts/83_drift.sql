-- 83_drift.sql
--		Whether payments, and what agents say of them, are still what they were.
--
-- A reference is of a version: of a ruleset for what its rules read
-- (decisions.inputs), of an agent for its score and confidence.  The governor
-- draws decisions of the version's first week (weeks, until there are 1,000),
-- at most 50,000 of them by a hash of the row id; then the reference is frozen:
-- its percentiles or categories, and how many fell where in each hour of the
-- week.  From then on each decision is counted by hour, once, by snapshot, as
-- rule_stats does.  What is compared has the same hours of the week on both
-- sides, in the point's time zone.
--
-- Time is decided_at: what is filled in later, with an occurred_at of its own,
-- must not move a reference that stands.

CREATE FUNCTION agentpay._count_bin(counts bigint[], bin int, bins int)
	RETURNS bigint[]
	LANGUAGE C IMMUTABLE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_count_bin';
CREATE AGGREGATE agentpay._count_bins(bin int, bins int) (
	SFUNC = agentpay._count_bin, STYPE = bigint[], PARALLEL = SAFE);
CREATE FUNCTION agentpay._add_counts(bigint[], bigint[]) RETURNS bigint[]
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_add_counts';
CREATE AGGREGATE agentpay._sum_counts(bigint[]) (
	SFUNC = agentpay._add_counts, STYPE = bigint[], PARALLEL = SAFE);
CREATE FUNCTION agentpay._psi(reference bigint[], current bigint[])
	RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_psi';
CREATE FUNCTION agentpay._ks(reference bigint[], current bigint[], bins int)
	RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_ks';
CREATE FUNCTION agentpay._chi_square_above(probability double precision,
	df double precision) RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_chi_square_above';
CREATE FUNCTION agentpay._ks_above(probability double precision)
	RETURNS double precision
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_ks_above';
REVOKE ALL ON FUNCTION agentpay._count_bin(bigint[], int, int),
	agentpay._count_bins(int, int), agentpay._add_counts(bigint[], bigint[]),
	agentpay._sum_counts(bigint[]), agentpay._psi(bigint[], bigint[]),
	agentpay._ks(bigint[], bigint[], int),
	agentpay._chi_square_above(double precision, double precision),
	agentpay._ks_above(double precision) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._psi(bigint[], bigint[]) IS 'population stability index, with p = (n + 0.5) / (N + 0.5 B)';
COMMENT ON FUNCTION agentpay._ks(bigint[], bigint[], int) IS 'Kolmogorov and Smirnov''s largest difference, at the edges of the first bins';
COMMENT ON FUNCTION agentpay._chi_square_above(double precision, double precision) IS 'what a chi-square variable exceeds with that probability';
COMMENT ON FUNCTION agentpay._ks_above(double precision) IS 'the c such that KS exceeds c sqrt(1/N + 1/M) with at most that probability';

-- ── what is kept ────────────────────────────────────────────────────────────
-- Frozen references are dumped, so that a restored ledger goes on; the rest is
-- counted anew.
CREATE TABLE agentpay._drift_references (
	point text NOT NULL,
	agent text NOT NULL,
	version int NOT NULL,
	name text NOT NULL,
	edges numeric[],
	deciles numeric[],
	categories text[],
	frozen_until timestamptz NOT NULL,
	PRIMARY KEY (point, agent, version, name));
COMMENT ON TABLE agentpay._drift_references IS 'what a version is compared with; never changes';
COMMENT ON COLUMN agentpay._drift_references.agent IS 'empty: what rules read; version is the ruleset''s';
COMMENT ON COLUMN agentpay._drift_references.edges IS 'percentiles, each the lower end of a bin, the outermost bins open; the last bin is for NULL. deciles: those of them that PSI goes by';
COMMENT ON COLUMN agentpay._drift_references.categories IS 'the most frequent; then come others, then NULL';

CREATE TABLE agentpay._drift_reference_counts (
	point text NOT NULL,
	agent text NOT NULL,
	version int NOT NULL,
	name text NOT NULL,
	slot int NOT NULL CHECK (slot BETWEEN 0 AND 167),
	n bigint[] NOT NULL,
	PRIMARY KEY (point, agent, version, name, slot));
COMMENT ON TABLE agentpay._drift_reference_counts IS 'decisions of the reference by hour of the week (0: Sunday, midnight) and bin';
SELECT pg_catalog.pg_extension_config_dump('agentpay._drift_references', '');
SELECT pg_catalog.pg_extension_config_dump(
	'agentpay._drift_reference_counts', '');

CREATE TABLE agentpay._drift_counts (
	point text NOT NULL,
	agent text NOT NULL,
	version int NOT NULL,
	name text NOT NULL,
	hour timestamptz NOT NULL,
	slot int NOT NULL,
	n bigint[] NOT NULL,
	PRIMARY KEY (point, agent, version, name, hour)) WITH (fillfactor = 50);
COMMENT ON TABLE agentpay._drift_counts IS 'decisions since the reference was frozen by hour and bin, of the last eight days';

CREATE TABLE agentpay._drift_streams (
	point text NOT NULL,
	agent text NOT NULL,
	version int NOT NULL,
	first_at timestamptz NOT NULL,
	level int NOT NULL DEFAULT 0,
	PRIMARY KEY (point, agent, version));
COMMENT ON TABLE agentpay._drift_streams IS 'versions whose reference is being drawn: one row id in 2^level';
CREATE TABLE agentpay._drift_samples (
	point text NOT NULL,
	agent text NOT NULL,
	version int NOT NULL,
	decision_id uuid NOT NULL,
	decided_at timestamptz NOT NULL,
	hash bigint NOT NULL);
CREATE INDEX ON agentpay._drift_samples (point, agent, version);
COMMENT ON TABLE agentpay._drift_samples IS 'decisions drawn for a reference';
CREATE TABLE agentpay._drift_state (
	one boolean PRIMARY KEY DEFAULT true CHECK (one),
	horizon pg_snapshot NOT NULL) WITH (fillfactor = 50);
COMMENT ON TABLE agentpay._drift_state IS 'the snapshot whose decisions have been counted';
REVOKE ALL ON agentpay._drift_references, agentpay._drift_reference_counts,
	agentpay._drift_counts, agentpay._drift_streams, agentpay._drift_samples,
	agentpay._drift_state FROM PUBLIC;

-- ── which versions, and what of them ────────────────────────────────────────
CREATE VIEW agentpay._drift_versions AS
SELECT r.point, '' AS agent, r.version
  FROM agentpay.rulesets r WHERE r.state = 'active'
UNION ALL
SELECT a.point, a.name, max(v.version)
  FROM agentpay.agents a
  JOIN agentpay.agent_versions v ON v.agent = a.name
 WHERE a.stage <> 'off' GROUP BY 1, 2;
REVOKE ALL ON agentpay._drift_versions FROM PUBLIC;
COMMENT ON VIEW agentpay._drift_versions IS 'versions in force';

-- Which decisions d are of a version v: those of rules, and valid answers.
-- Fit for the index on references.
CREATE FUNCTION agentpay._drift_join() RETURNS text
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'd.repeat_no = 0 AND v.point = d.point'
		' AND v.agent = CASE d.kind WHEN ''rules'' THEN '''' ELSE d.agent END'
		' AND v.version = CASE d.kind WHEN ''rules'' THEN d.ruleset_version'
		'	ELSE d.agent_version END'
		' AND CASE d.kind WHEN ''rules'' THEN true WHEN ''agent'' THEN true'
		'	WHEN ''fallback'''
		'	THEN d.failure IN (''low_confidence'', ''over_authority'') END'
$$;
REVOKE ALL ON FUNCTION agentpay._drift_join() FROM PUBLIC;

-- Counts of decisions d of that source by version, name and hour; numbers go
-- where width_bucket() puts them, and what should be one and is none to NULL.
--
-- OFFSET 0: each decision looks up its references.  Before a first ANALYZE the
-- planner takes decisions for few, and would read them once for each reference.
CREATE FUNCTION agentpay._drift_cells(source text, condition text)
	RETURNS SETOF agentpay._drift_counts
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
	SET enable_sort = off SET enable_incremental_sort = off SET jit = off
AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'SELECT c.point, c.agent, c.version, c.name, c.hour,'
		'	   (24 * extract(dow FROM c.hour AT TIME ZONE p.time_zone)'
		'		+ extract(hour FROM c.hour AT TIME ZONE p.time_zone))::int,'
		'	   c.n'
		' FROM (SELECT x.point, x.agent, x.version, x.name, x.hour,'
		'		agentpay._count_bins('
		'		CASE WHEN x.edges IS NOT NULL'
		'			 THEN CASE WHEN jsonb_typeof(x.value) = ''number'''
		'				THEN 1 + width_bucket(x.value::numeric, x.edges)'
		'				ELSE cardinality(x.edges) + 2 END'
		'			 WHEN coalesce(jsonb_typeof(x.value), ''null'') = ''null'''
		'			 THEN cardinality(x.categories) + 2'
		'			 ELSE coalesce(array_position(x.categories,'
		'					left(x.value #>> ''{}'', 200)),'
		'				cardinality(x.categories) + 1) END,'
		'		coalesce(cardinality(x.edges), cardinality(x.categories)) + 2'
		'		) AS n'
		'	  FROM (SELECT v.point, v.agent, v.version, v.name, v.edges,'
		'			v.categories, date_trunc(''hour'', d.decided_at,'
		'				v.time_zone) AS hour,'
		'			CASE WHEN v.agent = '''' THEN d.inputs -> v.name'
		'				 WHEN v.name = ''confidence'''
		'				 THEN to_jsonb(d.confidence)'
		'				 WHEN d.kind = ''agent'' THEN to_jsonb(d.score) END'
		'				AS value'
		'		  FROM %s'
		'		 CROSS JOIN LATERAL (SELECT v.*, p.time_zone'
		'			  FROM agentpay._drift_references v'
		'			  JOIN agentpay.decision_points p ON p.point = v.point'
		'			 WHERE %s AND %s OFFSET 0) AS v) AS x'
		'	 GROUP BY 1, 2, 3, 4, 5) AS c'
		' JOIN agentpay.decision_points p ON p.point = c.point', source,
		agentpay._drift_join(), condition);
END$$;
REVOKE ALL ON FUNCTION agentpay._drift_cells(text, text) FROM PUBLIC;

-- ── the reference ───────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._draw_drift(since pg_snapshot, until pg_snapshot)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	most constant int := 50000;
	drawn record;
BEGIN
	EXECUTE format(
		'WITH v AS MATERIALIZED ('
		'	SELECT x.point, x.agent, x.version,'
		'		   (1::bigint << coalesce(s.level, 0)) - 1 AS mask'
		'	  FROM agentpay._drift_versions x'
		'	  LEFT JOIN agentpay._drift_streams s ON s.point = x.point'
		'	   AND s.agent = x.agent AND s.version = x.version'
		'	 WHERE NOT EXISTS (SELECT FROM agentpay._drift_references r'
		'		WHERE r.point = x.point AND r.agent = x.agent'
		'		  AND r.version = x.version))'
		' INSERT INTO agentpay._drift_samples'
		' SELECT v.point, v.agent, v.version, d.decision_id, d.decided_at, h.h'
		'  FROM agentpay.decisions d'
		'  CROSS JOIN LATERAL (SELECT hashtextextended(d.row_id, 0)) AS h (h)'
		'  CROSS JOIN LATERAL (SELECT v.* FROM v'
		'	 WHERE %s AND h.h & v.mask = 0 OFFSET 0) AS v'
		' WHERE %s',
		agentpay._drift_join(), agentpay._new('d', since, until));
	INSERT INTO agentpay._drift_streams (point, agent, version, first_at)
	SELECT x.point, x.agent, x.version, min(x.decided_at)
	  FROM agentpay._drift_samples x
	 WHERE NOT EXISTS (SELECT FROM agentpay._drift_streams s
						WHERE s.point = x.point AND s.agent = x.agent
						  AND s.version = x.version)
	 GROUP BY 1, 2, 3;
	FOR drawn IN SELECT x.point, x.agent, x.version, count(*) AS n
			   FROM agentpay._drift_samples x GROUP BY 1, 2, 3
	LOOP
		WHILE drawn.n > most LOOP
			UPDATE agentpay._drift_streams t SET level = t.level + 1
			 WHERE t.point = drawn.point AND t.agent = drawn.agent
			   AND t.version = drawn.version;
			DELETE FROM agentpay._drift_samples x
			 USING agentpay._drift_streams t
			 WHERE x.point = drawn.point AND x.agent = drawn.agent
			   AND x.version = drawn.version AND t.point = x.point
			   AND t.agent = x.agent AND t.version = x.version
			   AND x.hash & ((1::bigint << t.level) - 1) <> 0;
			SELECT count(*) INTO drawn.n FROM agentpay._drift_samples x
			 WHERE x.point = drawn.point AND x.agent = drawn.agent
			   AND x.version = drawn.version;
		END LOOP;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._draw_drift(pg_snapshot, pg_snapshot)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._draw_drift(pg_snapshot, pg_snapshot) IS 'draws decisions for the references of versions that have none';

-- The decisions drawn until then, each by its id alone: with a condition on
-- the point beside it, a planner that knows no statistics would rather combine
-- two indexes, one of them read whole, for each.
CREATE FUNCTION agentpay._drift_drawn(s agentpay._drift_streams,
	until timestamptz) RETURNS SETOF agentpay.decisions
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY
	SELECT d.* FROM agentpay._drift_samples x
	 CROSS JOIN LATERAL (SELECT d.* FROM agentpay.decisions d
		WHERE d.decision_id = x.decision_id
		  AND d.decided_at = x.decided_at OFFSET 0) AS d
	 WHERE x.point = s.point AND x.agent = s.agent
	   AND x.version = s.version AND x.decided_at < until;
END$$;
REVOKE ALL ON FUNCTION agentpay._drift_drawn(agentpay._drift_streams,
	timestamptz) FROM PUBLIC;

-- What a reference is about.  Columns that name a row, a person or a moment
-- are different each time.
CREATE FUNCTION agentpay._freeze_drift(s agentpay._drift_streams,
	until timestamptz, seen pg_snapshot) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	WITH d AS (
		SELECT d.* FROM agentpay._drift_drawn(s, until) AS d),
	v AS MATERIALIZED (
		SELECT n.name, n.value, jsonb_typeof(n.value) AS type
		  FROM d
		 CROSS JOIN LATERAL (
			SELECT j.key AS name, j.value FROM jsonb_each(
				CASE WHEN d.agent IS NULL
					 AND jsonb_typeof(d.inputs) = 'object'
					 THEN d.inputs ELSE '{}' END) AS j
			UNION ALL
			SELECT k.name, k.value
			  FROM (VALUES ('confidence', to_jsonb(d.confidence)),
						   ('score', CASE WHEN d.kind = 'agent'
										  THEN to_jsonb(d.score) END))
				   AS k (name, value)
			 WHERE d.agent IS NOT NULL) AS n
		 WHERE s.agent <> '' OR NOT EXISTS (
			SELECT FROM agentpay.decision_points p
			 WHERE p.point = s.point AND n.name IN (p.id_column,
				p.occurred_at_column, p.subject_column,
				p.idempotency_column))),
	kinds AS (
		SELECT v.name, bool_and(v.type IN ('number', 'null')) AS is_number,
			   min(v.value::numeric) FILTER (WHERE v.type = 'number') AS least
		  FROM v GROUP BY 1 HAVING bool_or(v.type <> 'null')),
	points AS (
		SELECT v.name, percentile_disc(ARRAY(SELECT i / 100.0::double precision
					FROM generate_series(1, 99) AS i ORDER BY i))
				WITHIN GROUP (ORDER BY v.value::numeric) AS at
		  FROM v JOIN kinds k ON k.name = v.name AND k.is_number
		 WHERE v.type = 'number' GROUP BY 1),
	often AS (
		SELECT c.name, array_agg(c.said ORDER BY c.place) AS categories
		  FROM (SELECT v.name, left(v.value #>> '{}', 200) AS said,
					   row_number() OVER (PARTITION BY v.name ORDER BY
							count(*) DESC,
							left(v.value #>> '{}', 200) COLLATE "C") AS place
				  FROM v JOIN kinds k ON k.name = v.name AND NOT k.is_number
				 WHERE v.type <> 'null' GROUP BY 1, 2) AS c
		 WHERE c.place <= 20 GROUP BY 1)
	INSERT INTO agentpay._drift_references
	SELECT s.point, s.agent, s.version, k.name,
		   CASE WHEN k.is_number THEN ARRAY(SELECT DISTINCT u.x
				FROM unnest(p.at) AS u (x) WHERE u.x > k.least
				ORDER BY u.x) END,
		   CASE WHEN k.is_number THEN ARRAY(SELECT DISTINCT u.x
				FROM unnest(p.at) WITH ORDINALITY AS u (x, i)
				WHERE u.i % 10 = 0 AND u.x > k.least ORDER BY u.x) END,
		   CASE WHEN NOT k.is_number THEN o.categories END, until
	  FROM kinds k
	  LEFT JOIN points p ON p.name = k.name
	  LEFT JOIN often o ON o.name = k.name;
	INSERT INTO agentpay._drift_reference_counts
	SELECT c.point, c.agent, c.version, c.name, c.slot,
		   agentpay._sum_counts(c.n)
	  FROM agentpay._drift_cells(format('agentpay._drift_drawn(%L, %L) AS d',
			s, until),
		format('v.agent = %L AND v.version = %s', s.agent, s.version)) AS c
	 GROUP BY 1, 2, 3, 4, 5;
	-- what was decided since, and has been passed by
	INSERT INTO agentpay._drift_counts
	SELECT c.* FROM agentpay._drift_cells(format('(SELECT d.*'
			' FROM agentpay.decisions d WHERE %s AND d.decided_at > %L'
			' AND d.decided_at >= %L AND d.point = %L'
			' AND d.kind IN (''rules'', ''agent'', ''fallback'')) AS d',
			agentpay._seen('d', seen), agentpay._now() - interval '8 days',
			until, s.point),
		format('v.agent = %L AND v.version = %s', s.agent, s.version)) AS c
	 WHERE seen IS NOT NULL;
	DELETE FROM agentpay._drift_samples x
	 WHERE x.point = s.point AND x.agent = s.agent
	   AND x.version = s.version;
	DELETE FROM agentpay._drift_streams x
	 WHERE x.point = s.point AND x.agent = s.agent
	   AND x.version = s.version;
END$$;
REVOKE ALL ON FUNCTION agentpay._freeze_drift(agentpay._drift_streams,
	timestamptz, pg_snapshot) FROM PUBLIC;

-- Where a reference may be frozen: whole weeks with 1,000 decisions.
CREATE FUNCTION agentpay._freeze_drifts(seen pg_snapshot) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s agentpay._drift_streams;
	weeks int;
	kept bigint;
BEGIN
	FOR s IN SELECT * FROM agentpay._drift_streams x
			  WHERE x.first_at <= agentpay._now() - interval '168 hours'
			  ORDER BY x.first_at, x.point, x.agent
	LOOP
		SELECT 1 + floor(extract(epoch FROM x.decided_at - s.first_at)
						 / 604800)::int INTO weeks
		  FROM agentpay._drift_samples x
		 WHERE x.point = s.point AND x.agent = s.agent
		   AND x.version = s.version
		 ORDER BY x.decided_at OFFSET 999 LIMIT 1;
		CONTINUE WHEN weeks IS NULL OR s.first_at
			+ weeks * interval '168 hours' > agentpay._now();
		PERFORM agentpay._freeze_drift(s, s.first_at
									   + weeks * interval '168 hours', seen);
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._freeze_drifts(pg_snapshot) FROM PUBLIC;

-- ── the governor's part ─────────────────────────────────────────────────────
CREATE FUNCTION agentpay._drift_unseen(since pg_snapshot, until pg_snapshot)
	RETURNS SETOF agentpay._drift_counts
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT c.* FROM agentpay._drift_cells(format(
		'(SELECT * FROM agentpay.decisions d WHERE %s'
		' AND d.decided_at > %L'
		' AND d.kind IN (''rules'', ''agent'', ''fallback'')) AS d',
		agentpay._new('d', since, until), agentpay._now() - interval '8 days'),
		'd.decided_at >= v.frozen_until') AS c
$$;
REVOKE ALL ON FUNCTION agentpay._drift_unseen(pg_snapshot, pg_snapshot)
	FROM PUBLIC;

CREATE FUNCTION agentpay._roll_drift() RETURNS boolean
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	since pg_snapshot;
	until pg_snapshot;
	is_slice boolean;
	came boolean;
BEGIN
	IF agentpay._is_subscribed() THEN
		RETURN false;
	END IF;
	LOCK TABLE agentpay._drift_state IN SHARE ROW EXCLUSIVE MODE;
	SELECT s.horizon INTO since FROM agentpay._drift_state s;
	SELECT u, agentpay._is_slice(u) INTO until, is_slice
	  FROM agentpay._slice_end(since, 'decisions') AS u;
	EXECUTE format('SELECT EXISTS (SELECT FROM agentpay.decisions d'
		' WHERE %s)', agentpay._new('d', since, until)) INTO came;
	IF came THEN
		PERFORM agentpay._draw_drift(since, until);
	END IF;
	-- a reference is of all that came in its weeks, not of a first slice
	IF NOT is_slice THEN
		PERFORM agentpay._freeze_drifts(since);
	END IF;
	IF NOT came THEN
		RETURN false;
	END IF;
	INSERT INTO agentpay._drift_counts AS old
	SELECT * FROM agentpay._drift_unseen(since, until)
		ON CONFLICT (point, agent, version, name, hour) DO UPDATE
	   SET n = agentpay._add_counts(old.n, excluded.n);
	DELETE FROM agentpay._drift_counts c
	 WHERE c.hour < agentpay._now() - interval '8 days';
	INSERT INTO agentpay._drift_state (horizon) VALUES (until)
		ON CONFLICT (one) DO UPDATE SET horizon = excluded.horizon;
	RETURN true;
END$$;
REVOKE ALL ON FUNCTION agentpay._roll_drift() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._roll_drift() IS 'counts what was decided since the last time; false: nothing';

-- ── the figures ─────────────────────────────────────────────────────────────
-- Percentiles, joined to the bins of PSI; the last one stays for NULL.
CREATE FUNCTION agentpay._join_bins(n bigint[], edges numeric[],
	deciles numeric[]) RETURNS bigint[]
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN edges IS NULL THEN n
		   ELSE (SELECT array_agg(s.n ORDER BY s.bin) FROM (
				SELECT CASE WHEN u.i = cardinality(edges) + 2
							THEN cardinality(deciles) + 1
							WHEN u.i = 1 THEN 0
							ELSE width_bucket(edges[u.i - 1], deciles) END
						   AS bin, sum(u.c)::bigint AS n
				  FROM unnest(n) WITH ORDINALITY AS u (c, i)
				 GROUP BY 1) AS s) END
$$;
REVOKE ALL ON FUNCTION agentpay._join_bins(bigint[], numeric[], numeric[])
	FROM PUBLIC;

-- SECURITY DEFINER: whoever may read the report reads the counts through it.
-- since: from the beginning of that hour; fresh: with what the governor has
-- not counted yet.
CREATE FUNCTION agentpay._drift_figures(since timestamptz, fresh boolean)
	RETURNS TABLE (point text, agent text, version int, name text,
				   bins int, reference_rows bigint, current_rows bigint,
				   psi double precision, ks double precision)
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET enable_nestloop = off SET jit = off
AS $$
#variable_conflict use_column
BEGIN
	RETURN QUERY
	WITH now_counts AS MATERIALIZED (
		SELECT c.* FROM agentpay._drift_counts c
		UNION ALL
		SELECT u.* FROM (SELECT s.horizon FROM agentpay._drift_state s
						  WHERE fresh) AS s
		 CROSS JOIN LATERAL agentpay._drift_unseen(s.horizon, NULL) AS u),
	current AS (
		SELECT c.point, c.agent, c.version, c.name,
			   agentpay._sum_counts(c.n) AS n
		  FROM now_counts c JOIN agentpay.decision_points p
			ON p.point = c.point
		 WHERE c.hour >= date_trunc('hour', since, p.time_zone)
		 GROUP BY 1, 2, 3, 4),
	slots AS (
		SELECT DISTINCT c.point, c.agent, c.version, c.name, c.slot
		  FROM now_counts c JOIN agentpay.decision_points p
			ON p.point = c.point
		 WHERE c.hour >= date_trunc('hour', since, p.time_zone)),
	reference AS (
		SELECT r.point, r.agent, r.version, r.name,
			   agentpay._sum_counts(r.n) AS n
		  FROM agentpay._drift_reference_counts r
		  JOIN slots s ON s.point = r.point AND s.agent = r.agent
		   AND s.version = r.version AND s.name = r.name AND s.slot = r.slot
		 GROUP BY 1, 2, 3, 4)
	SELECT v.point, v.agent, v.version, r.name, cardinality(j.reference),
		   coalesce(e.n, 0)::bigint, coalesce(a.n, 0)::bigint,
		   agentpay._psi(j.reference, j.current),
		   CASE WHEN r.edges IS NOT NULL THEN agentpay._ks(b.n, c.n,
				cardinality(r.edges) + 1) END
	  FROM agentpay._drift_versions v
	  JOIN agentpay._drift_references r ON r.point = v.point
	   AND r.agent = v.agent AND r.version = v.version
	  LEFT JOIN current c ON c.point = r.point AND c.agent = r.agent
	   AND c.version = r.version AND c.name = r.name
	  LEFT JOIN reference b ON b.point = r.point AND b.agent = r.agent
	   AND b.version = r.version AND b.name = r.name
	 CROSS JOIN LATERAL (SELECT
			agentpay._join_bins(b.n, r.edges, r.deciles) AS reference,
			agentpay._join_bins(c.n, r.edges, r.deciles) AS current) AS j
	 CROSS JOIN LATERAL (SELECT sum(u.x) AS n FROM unnest(b.n) AS u (x)) AS e
	 CROSS JOIN LATERAL (SELECT sum(u.x) AS n FROM unnest(c.n) AS u (x)) AS a;
END$$;
REVOKE ALL ON FUNCTION agentpay._drift_figures(timestamptz, boolean)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._drift_figures(timestamptz, boolean) IS 'how far the decisions since then are from the reference of the version in force';

-- What PSI stays below with that probability while nothing changes.
CREATE FUNCTION agentpay._psi_noise(reference bigint, current bigint, bins int,
	probability double precision) RETURNS double precision
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (1.0::double precision / nullif(reference, 0)
			+ 1.0::double precision / nullif(current, 0))
		   * agentpay._chi_square_above(probability, bins - 1)
$$;
REVOKE ALL ON FUNCTION agentpay._psi_noise(bigint, bigint, int,
	double precision) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._psi_noise(bigint, bigint, int, double precision) IS 'what PSI exceeds with that probability under no change (Yurdakul 2018)';

CREATE VIEW agentpay.drift AS
SELECT f.point, nullif(f.agent, '') AS agent, f.name,
	   f.reference_rows, f.current_rows,
	   round(f.psi::numeric, 6) AS psi, round(f.ks::numeric, 6) AS ks,
	   CASE WHEN f.reference_rows < 1000 OR f.current_rows < 1000
			THEN 'hold'
			WHEN f.psi > greatest(0.1, agentpay._psi_noise(f.reference_rows,
				f.current_rows, f.bins, 0.001)) THEN 'alert'
			ELSE 'pass' END AS state
  FROM agentpay._drift_figures((SELECT agentpay._now())
							   - interval '167 hours', true) AS f;
REVOKE ALL ON agentpay.drift FROM PUBLIC;
COMMENT ON VIEW agentpay.drift IS 'how far the last week is from the first one of the version in force: what rules read, and what agents say';
COMMENT ON COLUMN agentpay.drift.agent IS 'whose score or confidence it is; NULL: what the rules read';
COMMENT ON COLUMN agentpay.drift.name IS 'a key of decisions.inputs; of an agent, score or confidence';
COMMENT ON COLUMN agentpay.drift.reference_rows IS 'decisions of the reference, drawn in the version''s first week, in the hours of the week that current_rows has';
COMMENT ON COLUMN agentpay.drift.current_rows IS 'decisions of the last 168 hours';
COMMENT ON COLUMN agentpay.drift.psi IS 'population stability index over ten reference deciles, or the 20 most frequent categories and the others, with NULL a bin of its own';
COMMENT ON COLUMN agentpay.drift.ks IS 'largest difference of the distribution functions at the reference''s percentiles, about 0.01 below the true one at most; NULL where values are no numbers';
COMMENT ON COLUMN agentpay.drift.state IS 'hold: fewer than 1,000 on a side; alert: psi above 0.1 and above what chance exceeds once in 1,000 times; pass: otherwise';
