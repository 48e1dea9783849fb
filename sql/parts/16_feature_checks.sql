-- 16_feature_checks.sql
--		Where a feature's rows are: the table, its key columns, its time.
--
-- As 15_configuration_checks.sql, whose helpers it uses; what else a feature
-- must be is in 16_rule_checks.sql.

-- The table whose rows are read: labels are of the point's own rows.
CREATE FUNCTION agentpay._feature_table(f agentpay.features,
	p agentpay.decision_points) RETURNS regclass
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(nullif(f.from_table, 'agentpay.outcomes'::regclass),
					p.table_name)
$$;
REVOKE ALL ON FUNCTION agentpay._feature_table(agentpay.features,
	agentpay.decision_points) FROM PUBLIC;

-- How its value and filter are checked: label: they may name the row's label.
CREATE FUNCTION agentpay._feature_usage(f agentpay.features) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE f.from_table WHEN 'agentpay.outcomes'::regclass THEN 'label'
		   ELSE 'feature' END
$$;
REVOKE ALL ON FUNCTION agentpay._feature_usage(agentpay.features) FROM PUBLIC;

CREATE FUNCTION agentpay._check_from_table(f agentpay.features,
	p agentpay.decision_points) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	owner oid := (SELECT c.relowner FROM pg_class c WHERE c.oid = p.table_name);
	of_ours boolean;
BEGIN
	IF f.from_table IS NULL OR f.from_table = p.table_name
	   OR (f.from_table = 'agentpay.outcomes'::regclass
		   AND f.kind <> 'lookup') THEN
		RETURN;
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

-- A unique btree on just these columns, in any order, that holds at any moment.
CREATE FUNCTION agentpay._has_unique_index(relation regclass, key text[])
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM pg_index i
		  JOIN pg_class c ON c.oid = i.indexrelid
		  JOIN pg_am m ON m.oid = c.relam AND m.amname = 'btree'
		 CROSS JOIN LATERAL (
			SELECT array_agg(a.attname::text ORDER BY k.ord) AS names
			  FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, ord)
			  LEFT JOIN pg_attribute a ON a.attrelid = i.indrelid
			   AND a.attnum = k.attnum AND k.attnum > 0
			 WHERE k.ord <= i.indnkeyatts) AS of
		 WHERE i.indrelid = relation AND i.indisvalid AND i.indisready
		   AND i.indisunique AND i.indimmediate AND i.indpred IS NULL
		   AND of.names @> key AND of.names <@ key)
$$;
REVOKE ALL ON FUNCTION agentpay._has_unique_index(regclass, text[])
	FROM PUBLIC;

-- Whether it can have such an index: not one that leaves out what a
-- partitioned table is partitioned by.
CREATE FUNCTION agentpay._can_be_unique(relation regclass, key text[])
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT NOT EXISTS (
		SELECT FROM pg_partition_tree(relation) AS t
		  JOIN pg_partitioned_table p ON p.partrelid = t.relid
		 CROSS JOIN LATERAL unnest(p.partattrs) AS u (attnum)
		  LEFT JOIN pg_attribute a ON a.attrelid = p.partrelid
		   AND a.attnum = u.attnum AND u.attnum > 0
		 WHERE (a.attname = ANY (key)) IS NOT TRUE)
$$;
REVOKE ALL ON FUNCTION agentpay._can_be_unique(regclass, text[]) FROM PUBLIC;

CREATE FUNCTION agentpay._check_lookup_shape(f agentpay.features)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problem text := CASE
		WHEN f.from_table IS NULL THEN 'needs from_table'
		WHEN f.value IS NULL THEN 'needs a value'
		WHEN f.aggregate IS NOT NULL THEN 'takes no aggregate'
		WHEN f.over IS NOT NULL THEN 'takes no over'
		WHEN f.delay <> '0' THEN 'takes no delay' END;
BEGIN
	IF problem IS NULL THEN
		RETURN;
	END IF;
	PERFORM agentpay._refuse('23514',
		format('feature "%s" of kind lookup %s', f.name, problem),
		'It is an expression over one row of from_table, as it is now.',
		CASE problem
		WHEN 'needs from_table' THEN 'Name the table whose row is looked up.'
		WHEN 'needs a value' THEN 'Use value ''amount'', for example.'
		WHEN 'takes no delay' THEN 'Use filter to look at some rows only, or kind ''window''.'
		ELSE 'Leave it out, or use kind ''window''.' END);
END$$;
REVOKE ALL ON FUNCTION agentpay._check_lookup_shape(agentpay.features)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_lookup_value(f agentpay.features)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	gives regtype := agentpay._lookup_type(f.from_table, f.point, f.value,
										   NULL);
BEGIN
	PERFORM agentpay._lookup_type(f.from_table, f.point, f.value,
								  f.default_value);
EXCEPTION WHEN data_exception OR feature_not_supported THEN
	PERFORM agentpay._refuse('22023',
		format('default_value of feature "%s" is no constant of type %s: %L',
			   f.name, gives, f.default_value),
		format('It is used instead of NULL, and value is %s.', gives),
		'Leave it out, or compare with NULL in the rule.');
END$$;
REVOKE ALL ON FUNCTION agentpay._check_lookup_value(agentpay.features)
	FROM PUBLIC;

-- The type of a feature's values; NULL: its value does not compile any more.
CREATE FUNCTION agentpay._feature_type(f agentpay.features) RETURNS regtype
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF f.kind <> 'lookup' THEN
		RETURN 'double precision'::regtype;
	END IF;
	RETURN agentpay._lookup_type(f.from_table, f.point, f.value, NULL);
EXCEPTION WHEN OTHERS THEN
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._feature_type(agentpay.features) FROM PUBLIC;

-- What reads a feature was checked with the type that it had then.
CREATE FUNCTION agentpay._check_feature_type(before agentpay.features,
	after agentpay.features, p agentpay.decision_points) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	had regtype := agentpay._feature_type(before);
	gets regtype := agentpay._feature_type(after);
	user_of text;
BEGIN
	IF had = gets OR had IS NULL THEN
		RETURN;
	END IF;
	user_of := agentpay._feature_user(p, before.name);
	IF user_of IS NOT NULL THEN
		PERFORM agentpay._refuse('55000', format(
				'feature "%s" of point "%s" cannot become %s', before.name,
				before.point, gets),
			format('It is %s, and is used by %s.', had, user_of),
			format('Use value %L, or a feature of another name.',
				   format('(%s)::%s', after.value, had)));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_feature_type(agentpay.features,
	agentpay.features, agentpay.decision_points) FROM PUBLIC;

-- The time column of the rows: by default what the points on the table say.
-- NULL: a lookup's, by a key that is unique.
CREATE FUNCTION agentpay._feature_time(f agentpay.features,
	p agentpay.decision_points) RETURNS name
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source regclass := agentpay._feature_table(f, p);
	key text[] := coalesce(f.from_key, f.key);
	times name[];
BEGIN
	IF f.from_time <> p.occurred_at_column
	   AND f.from_table = 'agentpay.outcomes'::regclass THEN
		PERFORM agentpay._refuse('22023', format(
				'feature "%s" over labels takes no from_time', f.name),
			format('Its rows are those of %s, timed by %I.', source,
				   p.occurred_at_column), 'Leave from_time out.');
	ELSIF f.from_time IS NOT NULL THEN
		PERFORM agentpay._check_column(source, f.from_time, 'from_time',
									   'time');
		RETURN f.from_time;
	ELSIF f.kind = 'lookup' AND agentpay._has_unique_index(source, key) THEN
		RETURN NULL;
	ELSIF source = p.table_name THEN
		RETURN p.occurred_at_column;
	END IF;
	times := ARRAY(SELECT DISTINCT d.occurred_at_column
					 FROM agentpay.decision_points d
					WHERE d.table_name = source);
	IF f.kind = 'lookup' AND cardinality(times) = 0
	   AND agentpay._can_be_unique(source, key) THEN
		PERFORM agentpay._refuse('55000', format(
				'feature "%s" needs a unique index', f.name),
			'A lookup finds one row: by a unique key, or the latest one by the time in from_time.',
			format('CREATE UNIQUE INDEX ON %s (%s);', source,
				   (SELECT string_agg(quote_ident(k), ', ' ORDER BY ord)
					  FROM unnest(key) WITH ORDINALITY AS u (k, ord))));
	ELSIF cardinality(times) <> 1 THEN
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
	source regclass := agentpay._feature_table(f, p);
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
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	RETURN coalesce((SELECT agentpay._feature_table(f, p)
					   FROM agentpay.features f
					  WHERE f.point = p.point AND f.name = field),
					p.table_name);
END$$;
REVOKE ALL ON FUNCTION agentpay._policy_table(agentpay.decision_points, text)
	FROM PUBLIC;
