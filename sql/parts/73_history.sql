-- 73_history.sql
--		The configuration as it was at a moment, from what it is now and what
--		governance_log says was changed since.
--
-- The governance log keeps the row before each change, so the first change
-- after the moment says what a row was then.

-- Rows of a configuration table as jsonb.  kind and key are those of its
-- trigger agentpay_govern.
CREATE FUNCTION agentpay._config_at(kind text, name text, key text[],
	at timestamptz) RETURNS SETOF jsonb
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN QUERY EXECUTE format(
		'WITH later AS MATERIALIZED ('
		'SELECT DISTINCT ON (g.object) g.object, g.before'
		'  FROM agentpay.governance_log g'
		' WHERE g.object_kind = $1 AND g.logged_at > $2'
		'   AND g.action IN (''insert'', ''update'', ''delete'')'
		' ORDER BY g.object, g.logged_at, g.event_id)'
		'SELECT l.before FROM later l WHERE l.before IS NOT NULL '
		'UNION ALL '
		'SELECT j FROM agentpay.%I t CROSS JOIN LATERAL (SELECT to_jsonb(t))'
		'  AS x (j)'
		' WHERE NOT EXISTS (SELECT FROM later l WHERE l.object = ('
		'  SELECT string_agg(j ->> k, ''.'' ORDER BY ord)'
		'    FROM unnest($3) WITH ORDINALITY AS u (k, ord)))', name)
	USING kind, at, key;
END$$;
REVOKE ALL ON FUNCTION agentpay._config_at(text, text, text[], timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._config_at(text, text, text[], timestamptz) IS 'the rows of a configuration table as they were at that moment';

DO $$
DECLARE
	t record;
BEGIN
	FOR t IN
		SELECT * FROM (VALUES
			('verdicts', 'verdict', '{point,verdict}'),
			('rulesets', 'ruleset', '{point,version}'),
			('rules', 'rule', '{point,version,code}'),
			('authorities', 'authority', '{agent,verdict}'),
			('agents', 'agent', '{name}'))
			AS c (name, kind, key)
	LOOP
		EXECUTE format('CREATE FUNCTION agentpay.%1$I(at timestamptz)'
			' RETURNS SETOF agentpay.%2$I LANGUAGE sql STABLE PARALLEL SAFE'
			' SET search_path = pg_catalog, pg_temp AS %5$L;'
			' REVOKE ALL ON FUNCTION agentpay.%1$I(timestamptz) FROM PUBLIC',
			'_' || t.name || '_at', t.name, t.kind, t.key,
			format('SELECT (jsonb_populate_record(NULL::agentpay.%1$I, j)).*'
				' FROM agentpay._config_at(%2$L, %1$L, %3$L, at) AS j',
				t.name, t.kind, t.key));
	END LOOP;
END$$;

-- A table is the one that it is now, whatever its name was.
CREATE FUNCTION agentpay._decision_points_at(at timestamptz)
	RETURNS SETOF agentpay.decision_points
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (jsonb_populate_record(NULL::agentpay.decision_points,
			j || jsonb_build_object('table_name', p.table_name::oid))).*
	  FROM agentpay._config_at('point', 'decision_points', '{point}', at) AS j
	  JOIN agentpay.decision_points p ON p.point = j ->> 'point'
$$;
REVOKE ALL ON FUNCTION agentpay._decision_points_at(timestamptz) FROM PUBLIC;

CREATE FUNCTION agentpay._features_at(at timestamptz)
	RETURNS SETOF agentpay.features
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (jsonb_populate_record(NULL::agentpay.features,
			CASE WHEN to_regclass(j ->> 'from_table') IS NULL
				 THEN j || jsonb_build_object('from_table', (
					SELECT f.from_table::oid FROM agentpay.features f
					 WHERE f.point = j ->> 'point' AND f.name = j ->> 'name'))
				 ELSE j END)).*
	  FROM agentpay._config_at('feature', 'features', '{point,name}', at) AS j
$$;
REVOKE ALL ON FUNCTION agentpay._features_at(timestamptz) FROM PUBLIC;

CREATE FUNCTION agentpay._data_policies_at(at timestamptz)
	RETURNS SETOF agentpay.data_policies
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT (jsonb_populate_record(NULL::agentpay.data_policies, j)).*
	  FROM agentpay._config_at('data_policy', 'data_policies',
			'{table_name,column_name}', at) AS j
	 WHERE to_regclass(j ->> 'table_name') IS NOT NULL
$$;
REVOKE ALL ON FUNCTION agentpay._data_policies_at(timestamptz) FROM PUBLIC;

-- When what rules were evaluated with has changed, in order: between two of
-- these moments one compilation serves.
CREATE FUNCTION agentpay._config_changes(since timestamptz)
	RETURNS timestamptz[]
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(array_agg(DISTINCT g.logged_at ORDER BY g.logged_at), '{}')
	  FROM agentpay.governance_log g
	 WHERE g.object_kind IN ('point', 'verdict', 'feature', 'ruleset', 'rule',
							 'data_policy')
	   AND g.action IN ('insert', 'update', 'delete') AND g.logged_at >= since
$$;
REVOKE ALL ON FUNCTION agentpay._config_changes(timestamptz) FROM PUBLIC;
