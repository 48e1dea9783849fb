-- 24_held_changes.sql
--		What was changed while a copy was held: triggers let it pass without a
--		word, so adopt() puts it on record.

-- A row of configuration as it is compared with what was logged: trees by
-- their digest, and what only says where a table is now left out.
CREATE FUNCTION agentpay._comparable(kind text, document jsonb) RETURNS jsonb
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN kind <> 'model' OR document ->> 'kind' <> 'xgboost'
		THEN document - '{table_name,from_table}'::text[]
		ELSE document - 'definition' END
$$;
REVOKE ALL ON FUNCTION agentpay._comparable(text, jsonb) FROM PUBLIC;

-- Whether a logged name and the one of today are two tables that both exist: a
-- table that was renamed is still the same.
CREATE FUNCTION agentpay._is_elsewhere(logged jsonb, present jsonb)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(bool_or(to_regclass(logged ->> k) IS NOT NULL
			AND logged ->> k IS DISTINCT FROM present ->> k), false)
	  FROM unnest('{table_name,from_table}'::text[]) AS k
$$;
REVOKE ALL ON FUNCTION agentpay._is_elsewhere(jsonb, jsonb) FROM PUBLIC;

-- Logs, for one table, each object that is not what the log says it was left
-- as.  One that the log does not know came while the copy was held, unless it
-- is a seed row, or retention has dropped the part of the log that knew it.
CREATE FUNCTION agentpay._govern_held_changes_of(kind text, name text,
	key text[]) RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	ours text := coalesce((SELECT x.extcondition[i]
		  FROM pg_extension x, generate_subscripts(x.extconfig, 1) AS i
		 WHERE x.extname = 'agentpay'
		   AND x.extconfig[i] = format('agentpay.%I', name)::regclass), '');
	complete boolean := NOT EXISTS (SELECT FROM agentpay.governance_log g
		 WHERE g.object_kind = 'partition' AND g.action = 'drop'
		   AND g.after ->> 'log' = 'governance_log');
	recorded bigint;
BEGIN
	EXECUTE format(
		'WITH logged AS MATERIALIZED ('
		'SELECT DISTINCT ON (g.object) g.object, g.after AS document,'
		'       to_jsonb(jsonb_populate_record(NULL::agentpay.%1$I,'
		'           agentpay._comparable($1, g.after))) AS same'
		'  FROM agentpay.governance_log g'
		' WHERE g.object_kind = $1'
		'   AND g.action IN (''insert'', ''update'', ''delete'')'
		-- of two versions in one statement, the first is logged after the
		-- second one has retired it
		'   AND NOT ($1 = ''model'' AND g.action = ''insert'' AND EXISTS ('
		'       SELECT FROM agentpay.governance_log u'
		'        WHERE (u.object_kind, u.object, u.xid)'
		'              = (g.object_kind, g.object, g.xid)'
		'          AND u.action = ''update''))'
		' ORDER BY g.object, g.logged_at DESC, g.event_id DESC),'
		'present AS MATERIALIZED ('
		'SELECT (SELECT string_agg(j ->> k, ''.'' ORDER BY ord)'
		'          FROM unnest($2) WITH ORDINALITY AS u (k, ord)) AS object,'
		'       CASE WHEN $1 = ''model'' AND j ->> ''kind'' = ''xgboost'''
		'       THEN jsonb_set(j, ''{definition}'','
		'           agentpay._digest_of(j -> ''definition''))'
		'       ELSE j END AS document'
		'  FROM (SELECT to_jsonb(%1$I) FROM agentpay.%1$I) AS x (j)),'
		'own AS MATERIALIZED ('
		'SELECT (SELECT string_agg(j ->> k, ''.'' ORDER BY ord)'
		'          FROM unnest($2) WITH ORDINALITY AS u (k, ord)) AS object'
		'  FROM (SELECT to_jsonb(%1$I) FROM agentpay.%1$I %2$s) AS x (j)),'
		'different AS MATERIALIZED ('
		'SELECT coalesce(p.object, l.object) AS object,'
		'       l.document AS before, p.document AS after,'
		'       CASE WHEN p.object IS NULL THEN ''delete'''
		'            WHEN l.document IS NULL THEN ''insert'''
		'            ELSE ''update'' END AS action'
		'  FROM logged l FULL JOIN present p ON p.object = l.object'
		' WHERE CASE WHEN p.object IS NULL THEN l.document IS NOT NULL'
		'       AND (l.document ->> ''table_name'' IS NULL'
		'         OR to_regclass(l.document ->> ''table_name'') IS NOT NULL)'
		'       WHEN l.object IS NULL'
		'       THEN $3 AND EXISTS (SELECT FROM own o WHERE o.object = p.object)'
		'       WHEN l.document IS NULL THEN true'
		-- a column that a later version added says nothing
		'       ELSE agentpay._is_elsewhere(l.document, p.document)'
		'         OR EXISTS (SELECT FROM jsonb_each(l.same) AS e'
		'            WHERE agentpay._comparable($1, l.document) ? e.key'
		'              AND e.value IS DISTINCT FROM p.document -> e.key)'
		'       END)'
		'SELECT count(agentpay._govern(action, $1, object,'
		'           ''changed while the database was held'', before, after)::text)'
		'  FROM (SELECT * FROM different ORDER BY object) AS d', name, ours)
	  INTO recorded USING kind, key, complete;
	RETURN recorded;
END$$;
REVOKE ALL ON FUNCTION agentpay._govern_held_changes_of(text, text, text[])
	FROM PUBLIC;

-- Of every table of configuration; how many.  Cases are work, not
-- configuration, and most are opened without a word in that log.
CREATE FUNCTION agentpay._govern_held_changes() RETURNS bigint
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
	recorded bigint := 0;
BEGIN
	FOR t IN
		SELECT c.relname AS name,
			   string_to_array(encode(g.tgargs, 'escape'), '\000') AS arguments,
			   g.tgnargs
		  FROM pg_trigger g JOIN pg_class c ON c.oid = g.tgrelid
		 WHERE g.tgname = 'agentpay_govern'
		   AND c.relnamespace = 'agentpay'::regnamespace
		   AND c.relname <> 'cases'
		 ORDER BY c.relname
	LOOP
		recorded := recorded + agentpay._govern_held_changes_of(
			t.arguments[1], t.name, t.arguments[2:t.tgnargs]);
	END LOOP;
	RETURN recorded;
END$$;
REVOKE ALL ON FUNCTION agentpay._govern_held_changes() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._govern_held_changes() IS 'puts on record what of the configuration is not what the log says it was left as';
