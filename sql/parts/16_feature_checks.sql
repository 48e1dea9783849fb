-- 16_feature_checks.sql
--		Where a feature's rows are: the table, its key columns, its time.
--
-- As 15_configuration_checks.sql, whose helpers it uses; what else a feature
-- must be is in 16_rule_checks.sql.

CREATE FUNCTION agentpay._check_from_table(f agentpay.features,
	p agentpay.decision_points) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = p.table_name);
	of_ours boolean;
BEGIN
	IF f.from_table IS NULL OR f.from_table = p.table_name THEN
		RETURN;
	ELSIF f.from_table = 'agentpay.outcomes'::regclass THEN
		PERFORM agentpay._refuse_later('a window over labels',
			format('Use aggregate ''rate'' of a boolean column of %s.',
				   p.table_name));
	END IF;
	SELECT c.relnamespace IN ('agentpay'::regnamespace,
							  'pg_catalog'::regnamespace) INTO of_ours
	  FROM pg_class c
	 WHERE c.oid = f.from_table AND c.relkind IN ('r', 'p')
	   AND c.relpersistence <> 't';
	IF of_ours IS DISTINCT FROM false THEN
		PERFORM agentpay._refuse('42809', format(
				'feature "%s" cannot read %s', f.name, f.from_table),
			'Rows are read from ordinary and partitioned tables that are not temporary, and not from those of agentpay or of PostgreSQL.',
			'Name such a table in from_table.');
	ELSIF NOT has_table_privilege(owner, f.from_table, 'SELECT') THEN
		PERFORM agentpay._refuse('42501', format(
				'feature "%s" may not read %s', f.name, f.from_table),
			format('It is read in the name of %I, who owns %s.',
				   pg_get_userbyid(owner), p.table_name),
			format('GRANT SELECT ON %s TO %I;', f.from_table,
				   pg_get_userbyid(owner)));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_from_table(agentpay.features,
	agentpay.decision_points) FROM PUBLIC;

-- The time column of the rows: by default what the points on the table say.
CREATE FUNCTION agentpay._feature_time(f agentpay.features,
	p agentpay.decision_points) RETURNS name
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source regclass := coalesce(f.from_table, p.table_name);
	times name[];
BEGIN
	IF f.from_time IS NOT NULL THEN
		PERFORM agentpay._check_column(source, f.from_time, 'from_time',
									   'time');
		RETURN f.from_time;
	ELSIF source = p.table_name THEN
		RETURN p.occurred_at_column;
	END IF;
	times := ARRAY(SELECT DISTINCT d.occurred_at_column
					 FROM agentpay.decision_points d
					WHERE d.table_name = source);
	IF cardinality(times) <> 1 THEN
		PERFORM agentpay._refuse('22023', format(
				'feature "%s" needs from_time', f.name),
			format('%s says which column of %s is the time of its rows.',
				   CASE cardinality(times) WHEN 0 THEN 'No point'
				   ELSE 'More than one point' END, source),
			coalesce((SELECT format('Use from_time %L, for example.', a.attname)
						FROM pg_attribute a
					   WHERE a.attrelid = source AND a.attnum > 0
						 AND NOT a.attisdropped AND a.attgenerated = ''
						 AND a.atttypid IN ('timestamptz'::regtype,
							'timestamp'::regtype, 'date'::regtype)
					   ORDER BY a.attnum LIMIT 1),
					 format('ALTER TABLE %s ADD COLUMN at timestamptz;',
							source)));
	END IF;
	RETURN times[1];
END$$;
REVOKE ALL ON FUNCTION agentpay._feature_time(agentpay.features,
	agentpay.decision_points) FROM PUBLIC;

-- Whether an index of the one type is searched for values of the other.
CREATE FUNCTION agentpay._types_compare(indexed regtype, given regtype)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE base (side, type_oid, kind, next_oid) AS (
		SELECT s.side, t.oid, t.typtype, t.typbasetype
		  FROM (VALUES (1, indexed), (2, given)) AS s (side, type_oid)
		  JOIN pg_type t ON t.oid = s.type_oid
		UNION ALL
		SELECT b.side, t.oid, t.typtype, t.typbasetype
		  FROM base b JOIN pg_type t ON t.oid = b.next_oid
		 WHERE b.kind = 'd'),
	types (i, g) AS (
		SELECT max(type_oid) FILTER (WHERE side = 1),
			   max(type_oid) FILTER (WHERE side = 2)
		  FROM base WHERE kind <> 'd'),
	plain (i, g) AS (
		SELECT CASE i WHEN 'varchar'::regtype THEN 'text'::regtype ELSE i END,
			   CASE g WHEN 'varchar'::regtype THEN 'text'::regtype ELSE g END
		  FROM types)
	SELECT t.i = t.g OR EXISTS (
			SELECT FROM pg_amop o JOIN pg_am m ON m.oid = o.amopmethod
			 WHERE m.amname = 'btree' AND o.amopstrategy = 3
			   AND o.amoplefttype = p.i AND o.amoprighttype = p.g)
	  FROM types t, plain p
$$;
REVOKE ALL ON FUNCTION agentpay._types_compare(regtype, regtype) FROM PUBLIC;

CREATE FUNCTION agentpay._check_from_key(f agentpay.features,
	p agentpay.decision_points) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source regclass := coalesce(f.from_table, p.table_name);
	names text[] := coalesce(f.from_key, f.key);
	indexed regtype;
	given regtype;
BEGIN
	IF array_ndims(names) IS DISTINCT FROM 1
	   OR array_position(names, NULL) IS NOT NULL
	   OR cardinality(names) <> cardinality(f.key)
	   OR cardinality(names) <> (SELECT count(DISTINCT k)
								   FROM unnest(names) AS k) THEN
		PERFORM agentpay._refuse('22023', format(
				'from_key of feature "%s" does not fit its key', f.name),
			format('It names as many distinct columns of %s as key has, in the same order.', source),
			'Leave from_key out if the columns have the same names.');
	END IF;
	FOR i IN 1 .. cardinality(names) LOOP
		indexed := agentpay._column_type(source, names[i], 'from_key');
		given := agentpay._column_type(p.table_name, f.key[i], 'key');
		IF NOT agentpay._types_compare(indexed, given) THEN
			PERFORM agentpay._refuse('42804', format(
					'columns %I and %I cannot be compared by an index',
					f.key[i], names[i]),
				format('%s of %s is %s, %s of %s is %s.', f.key[i],
					   p.table_name, given, names[i], source, indexed),
				format('Use a column of type %s in from_key.', given));
		END IF;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_from_key(agentpay.features,
	agentpay.decision_points) FROM PUBLIC;

-- The table whose columns' policies hold for a field.
CREATE FUNCTION agentpay._policy_table(p agentpay.decision_points, field text)
	RETURNS regclass
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce((SELECT f.from_table FROM agentpay.features f
					  WHERE f.point = p.point AND f.name = field), p.table_name)
$$;
REVOKE ALL ON FUNCTION agentpay._policy_table(agentpay.decision_points, text)
	FROM PUBLIC;
