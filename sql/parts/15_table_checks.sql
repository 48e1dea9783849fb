-- 15_table_checks.sql
--		What a user's table and its columns have to be: for points, features, lookups
--		and data policies.

-- The base type of a column that rules may read; domains are looked through.
CREATE FUNCTION agentpay._column_type(relation regclass, column_name text,
	what text) RETURNS regtype
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	type_oid oid;
	base_oid oid;
	is_generated boolean;
BEGIN
	SELECT a.atttypid, a.attgenerated <> '' INTO type_oid, is_generated
	  FROM pg_attribute a
	 WHERE a.attrelid = relation AND a.attname = column_name
	   AND a.attnum > 0 AND NOT a.attisdropped;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('42703',
			format('%s: table %s has no column %s', what, relation,
				   coalesce(quote_literal(column_name), 'NULL')),
			(SELECT 'Its columns are '
				 || string_agg(a.attname, ', ' ORDER BY a.attnum) || '.'
			   FROM pg_attribute a WHERE a.attrelid = relation
				AND a.attnum > 0 AND NOT a.attisdropped),
			CASE WHEN column_name IS NULL OR what = 'id'
			THEN 'Name one of them.'
			ELSE format('Name one of them, or ALTER TABLE %s ADD COLUMN %I %s;',
						relation, column_name, CASE what
						WHEN 'amount' THEN 'numeric' WHEN 'score' THEN 'numeric'
						WHEN 'occurred_at' THEN 'timestamptz'
						WHEN 'reasons' THEN 'text[]' ELSE 'text' END) END);
	END IF;
	IF is_generated THEN
		PERFORM agentpay._refuse('0A000',
			format('%s: column "%s" of %s is generated', what, column_name,
				   relation),
			'A generated column is still NULL when a row is scored.',
			'Use the columns that it is generated from.');
	END IF;
	LOOP
		SELECT nullif(t.typbasetype, 0) INTO base_oid
		  FROM pg_type t WHERE t.oid = type_oid;
		EXIT WHEN base_oid IS NULL;
		type_oid := base_oid;
	END LOOP;
	RETURN type_oid;
END$$;
REVOKE ALL ON FUNCTION agentpay._column_type(regclass, text, text)
	FROM PUBLIC;

-- A domain's CHECK is its owner's code: where agentpay casts a row id as itself,
-- it is to the type below.
CREATE FUNCTION agentpay._id_type(relation regclass, id_column name)
	RETURNS text
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH RECURSIVE t (oid) AS (
		SELECT a.atttypid FROM pg_attribute a
		 WHERE a.attrelid = $1 AND a.attname = $2
		   AND a.attnum > 0 AND NOT a.attisdropped
		UNION
		SELECT d.typbasetype FROM t JOIN pg_type d ON d.oid = t.oid
		 WHERE d.typtype = 'd')
	-- of any length: NULL would make char(1) of bpchar
	SELECT format_type(t.oid, -1) FROM t JOIN pg_type b ON b.oid = t.oid
	 WHERE b.typtype <> 'd'
$$;
REVOKE ALL ON FUNCTION agentpay._id_type(regclass, name) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._id_type(regclass, name) IS 'type of the id column, of a domain the one below it; NULL: no such column';

-- A table may be attached again with another id: what was recorded before may be
-- no value of its type.
CREATE FUNCTION agentpay._id_or_null(row_id text, type text) RETURNS text
	LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- most are, which is seen sooner
	IF type IN ('text', 'character varying')
	   OR type = 'bigint' AND row_id ~ '^-?[0-9]{1,18}$'
	   OR type = 'integer' AND row_id ~ '^-?[0-9]{1,9}$'
	   OR type = 'uuid'
		  AND row_id ~ '^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$' THEN
		RETURN row_id;
	END IF;
	EXECUTE format('SELECT $1::%s', type) USING row_id;
	RETURN row_id;
EXCEPTION WHEN data_exception OR check_violation THEN
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._id_or_null(text, text) FROM PUBLIC;

-- An expression of that type: the id that the one of type text says, or NULL.
-- Nested, since both sides of an AND may be evaluated.
CREATE FUNCTION agentpay._id_cast(expression text, type text) RETURNS text
	LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE
		WHEN type IN ('text', 'character varying') THEN
			format('%s::%s', expression, type)
		WHEN type IN ('smallint', 'integer', 'bigint') THEN
			format('CASE WHEN %1$s ~ ''^-?[0-9]{1,19}$'' THEN'
				' CASE WHEN %1$s::numeric BETWEEN %2$s AND %3$s'
				' THEN %1$s::%4$s END END', expression,
				CASE type WHEN 'smallint' THEN '-32768'
				WHEN 'integer' THEN '-2147483648'
				ELSE '-9223372036854775808' END,
				CASE type WHEN 'smallint' THEN '32767'
				WHEN 'integer' THEN '2147483647'
				ELSE '9223372036854775807' END, type)
		WHEN type = 'uuid' THEN
			format('CASE WHEN %1$s ~ ''^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$'''
				' THEN %1$s::uuid END', expression)
		ELSE format('agentpay._id_or_null(%1$s, %2$L)::%2$s', expression,
			type) END
$$;
REVOKE ALL ON FUNCTION agentpay._id_cast(text, text) FROM PUBLIC;

-- Kinds: text, number, time, reasons; NULL column passes.
CREATE FUNCTION agentpay._check_column(relation regclass, column_name text,
	what text, kind text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_type regtype;
	fits boolean;
	wanted text;
BEGIN
	IF column_name IS NULL THEN
		RETURN;
	END IF;
	found_type := agentpay._column_type(relation, column_name, what);
	CASE kind
		WHEN 'text' THEN
			fits := (SELECT t.typcategory IN ('S', 'E') FROM pg_type t
					  WHERE t.oid = found_type);
			wanted := 'text';
		WHEN 'number' THEN
			fits := found_type = ANY ('{int2,int4,int8,numeric,float4,float8}'
									  ::regtype[]);
			wanted := 'numeric';
		WHEN 'time' THEN
			fits := found_type = ANY ('{timestamptz,timestamp,date}'
									  ::regtype[]);
			wanted := 'timestamptz';
		WHEN 'reasons' THEN
			fits := found_type = 'text[]'::regtype;
			wanted := 'text[]';
	END CASE;
	IF NOT fits THEN
		PERFORM agentpay._refuse('42804',
			format('%s: column "%s" of %s has type %s', what, column_name,
				   relation, found_type),
			format('It must be %s.', CASE kind
				WHEN 'text' THEN 'text, varchar or an enum'
				WHEN 'number' THEN 'numeric, or another number'
				WHEN 'time' THEN 'timestamptz, timestamp or date'
				ELSE 'text[]' END),
			format('ALTER TABLE %s ADD COLUMN %I %s; and name that one.',
				   relation, column_name || '_2', wanted));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_column(regclass, text, text, text)
	FROM PUBLIC;

-- What stands on it: 'a point' or 'a data policy'.
CREATE FUNCTION agentpay._check_table(relation regclass, what text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	problem text;
	hint text := 'Name an ordinary or a partitioned table.';
	c pg_class;
BEGIN
	SELECT * INTO c FROM pg_class WHERE oid = relation;
	IF relation IS NULL THEN
		problem := 'there is no name';
	ELSIF NOT FOUND THEN
		problem := 'there is no such table';
		hint := coalesce((
			SELECT format('SELECT agentpay.detach(%L);', p.point)
			  FROM agentpay.decision_points p
			 WHERE what = 'a point' AND p.table_name = relation
			   AND p.enabled LIMIT 1), hint);
	ELSIF c.relnamespace IN ('pg_catalog'::regnamespace,
							 'agentpay'::regnamespace)
		OR c.relnamespace = to_regnamespace('information_schema') THEN
		problem := 'it is a system table';
	ELSIF c.relkind NOT IN ('r', 'p') THEN
		problem := 'it is a ' || CASE c.relkind WHEN 'v' THEN 'view'
			WHEN 'm' THEN 'materialized view' WHEN 'f' THEN 'foreign table'
			ELSE 'relation of another kind' END;
	ELSIF c.relpersistence = 't' THEN
		problem := 'it is a temporary table';
	ELSIF c.relispartition THEN
		problem := 'it is a partition';
		hint := format('Name %s, the table that it is a partition of.',
					   pg_partition_root(relation));
	ELSIF EXISTS (SELECT FROM pg_inherits WHERE inhrelid = relation) THEN
		problem := 'it inherits from another table';
		hint := 'Use partitioning instead of inheritance.';
	END IF;
	IF problem IS NOT NULL THEN
		PERFORM agentpay._refuse('42809',
			format('%s cannot have %s: %s', coalesce(relation::text, 'a table'),
				   what, problem),
			format('%s%s stands on one ordinary or partitioned table.',
				   upper(left(what, 1)), substr(what, 2)),
			hint);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_table(regclass, text) FROM PUBLIC;

-- Whether the column alone is unique there, at once and for every row.
CREATE FUNCTION agentpay._is_unique(relation regclass, column_name text)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM pg_index i
		  JOIN pg_attribute a ON a.attrelid = i.indrelid
		   AND a.attnum = i.indkey[0] AND a.attname = column_name
		 WHERE i.indrelid = relation AND i.indnkeyatts = 1
		   AND i.indisunique AND i.indisvalid AND i.indimmediate
		   AND i.indpred IS NULL AND i.indexprs IS NULL)
$$;
REVOKE ALL ON FUNCTION agentpay._is_unique(regclass, text) FROM PUBLIC;

-- Columns that rows are partitioned by, on every level; they cannot be missing
-- from a unique index of the table on top.
CREATE FUNCTION agentpay._partition_columns(relation regclass) RETURNS text[]
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(array_agg(DISTINCT a.attname::text), '{}')
	  FROM pg_partition_tree(relation) t
	  JOIN pg_partitioned_table p ON p.partrelid = t.relid
	  JOIN pg_attribute a ON a.attrelid = t.relid
	   AND a.attnum = ANY (p.partattrs)
$$;
REVOKE ALL ON FUNCTION agentpay._partition_columns(regclass) FROM PUBLIC;

-- A partitioned table can rarely have a unique index on the id alone, so there
-- the id with the partition key will do, or the id alone in every leaf.
CREATE FUNCTION agentpay._is_partition_unique(relation regclass,
	column_name text) RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (
		SELECT FROM pg_index i
		  JOIN pg_partitioned_table p ON p.partrelid = i.indrelid
		 CROSS JOIN LATERAL (
			SELECT array_agg(a.attname::text) AS names
			  FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, ord)
			  JOIN pg_attribute a ON a.attrelid = i.indrelid
			   AND a.attnum = k.attnum
			 WHERE k.ord <= i.indnkeyatts) AS keyed
		 WHERE i.indrelid = relation AND i.indisunique AND i.indisvalid
		   AND i.indimmediate AND i.indpred IS NULL AND i.indexprs IS NULL
		   AND column_name = ANY (keyed.names)
		   AND keyed.names
			   <@ (agentpay._partition_columns(relation) || column_name))
	OR coalesce((
		SELECT bool_and(agentpay._is_unique(t.relid, column_name))
		  FROM pg_partition_tree(relation) t
		 WHERE t.isleaf AND t.relid <> relation), false)
$$;
REVOKE ALL ON FUNCTION agentpay._is_partition_unique(regclass, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_id_column(relation regclass, column_name text)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._column_type(relation, column_name, 'id');
	IF NOT (SELECT a.attnotnull FROM pg_attribute a
			 WHERE a.attrelid = relation AND a.attname = column_name) THEN
		PERFORM agentpay._refuse('42809',
			format('id: column "%s" of %s may be NULL', column_name, relation),
			'Every decision names its row by this column.',
			format('ALTER TABLE %s ALTER COLUMN %I SET NOT NULL;',
				   relation, column_name));
	END IF;
	IF NOT agentpay._is_unique(relation, column_name)
	   AND NOT agentpay._is_partition_unique(relation, column_name) THEN
		PERFORM agentpay._refuse('42809',
			format('id: column "%s" of %s has no unique index of its own',
				   column_name, relation),
			'Every decision names its row by this column. An index that is partial, deferrable, invalid or on further columns does not do; on a partitioned table it may include the partition key.',
			format('CREATE UNIQUE INDEX ON %s (%s);', relation, (
				SELECT string_agg(quote_ident(a.attname), ', '
								  ORDER BY a.attname <> column_name, a.attnum)
				  FROM pg_attribute a
				 WHERE a.attrelid = relation AND a.attnum > 0
				   AND a.attname::text = ANY (column_name
						|| agentpay._partition_columns(relation)))));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_id_column(regclass, text) FROM PUBLIC;
