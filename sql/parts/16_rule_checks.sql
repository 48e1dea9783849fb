-- 16_rule_checks.sql
--		What rulesets and rules must be, and who reads which column or feature.
--
-- As 15_configuration_checks.sql, whose helpers it uses.

-- ── who reads what ──────────────────────────────────────────────────────────
-- Names of columns and features that an expression may read at a point.
CREATE FUNCTION agentpay._is_known(p agentpay.decision_points, item text)
	RETURNS boolean
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT EXISTS (SELECT FROM pg_attribute a
					WHERE a.attrelid = p.table_name AND a.attname = item
					  AND a.attnum > 0 AND NOT a.attisdropped
					  AND a.attgenerated = '')
		OR EXISTS (SELECT FROM agentpay.features f
					WHERE f.point = p.point AND f.name = item)
$$;
REVOKE ALL ON FUNCTION agentpay._is_known(agentpay.decision_points, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._known_names(p agentpay.decision_points) RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT 'Columns are ' || (
			SELECT string_agg(a.attname, ', ' ORDER BY a.attnum)
			  FROM pg_attribute a
			 WHERE a.attrelid = p.table_name AND a.attnum > 0
			   AND NOT a.attisdropped AND a.attgenerated = '')
		|| coalesce('; features are ' || (
			SELECT string_agg(f.name, ', ' ORDER BY f.name)
			  FROM agentpay.features f WHERE f.point = p.point), '') || '.'
$$;
REVOKE ALL ON FUNCTION agentpay._known_names(agentpay.decision_points)
	FROM PUBLIC;

-- What would break without that feature: rules that may still run, agents.
CREATE FUNCTION agentpay._feature_user(p agentpay.decision_points,
	feature_name text) RETURNS text
	LANGUAGE sql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('rule "%s" of version %s', r.code, r.version)
	  FROM agentpay.rules r JOIN agentpay.rulesets s USING (point, version)
	 WHERE r.point = p.point AND s.state <> 'retired'
	   AND feature_name = ANY (agentpay._check_expression(p.table_name,
							   p.point, r.condition, 'boolean', 'rule'))
	UNION ALL
	SELECT format('agent "%s"', a.name)
	  FROM agentpay.agents a
	 WHERE a.point = p.point AND (feature_name = ANY (a.fields)
		OR feature_name = ANY (agentpay._check_expression(p.table_name,
							   p.point, a.invoke_when, 'boolean', 'invoke')))
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION
	agentpay._feature_user(agentpay.decision_points, text) FROM PUBLIC;

-- Rules and agents that name a list or a model: in_list('x', …), model('x'),
-- also by named arguments or in other quotes: a word too many does no harm.
CREATE FUNCTION agentpay._caller_of(function_name text, argument text)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	WITH call (pattern) AS (
		SELECT format('\m%s"?\s*\(.*\m%s\M', function_name, argument))
	SELECT format('rule "%s" of point "%s", version %s',
				  r.code, r.point, r.version)
	  FROM call, agentpay.rules r JOIN agentpay.rulesets s USING (point, version)
	 WHERE s.state <> 'retired' AND r.condition ~* pattern
	UNION ALL
	SELECT format('agent "%s"', a.name) FROM call, agentpay.agents a
	 WHERE a.invoke_when ~* pattern
		OR function_name = 'model' AND a.protocol = 'builtin'
	   AND a.model = argument
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._caller_of(text, text) FROM PUBLIC;

-- ── features ────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_feature_shape(f agentpay.features)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF f.kind = 'lookup' THEN
		PERFORM agentpay._check_lookup_shape(f);
		RETURN;
	ELSIF f.kind IS NULL OR f.kind NOT IN ('window', 'since_last') THEN
		PERFORM agentpay._refuse('23514', format('unknown kind of feature: %s',
				coalesce(quote_literal(f.kind), 'NULL')),
			'Kinds are window, since_last and lookup.', 'Use kind ''window''.');
	ELSIF (f.kind = 'window')
		  <> (f.over IS NOT NULL AND f.aggregate IS NOT NULL) THEN
		PERFORM agentpay._refuse('23514', format(
				'feature "%s" of kind %s %s over and aggregate', f.name, f.kind,
				CASE f.kind WHEN 'window' THEN 'needs' ELSE 'takes no' END),
			'A window is an aggregate over a time.', CASE f.kind
			WHEN 'window' THEN 'Use aggregate ''count'', over ''1 hour''.'
			ELSE 'Leave both out.' END);
	ELSIF f.aggregate IS NOT NULL AND f.aggregate <> ALL ('{count,sum,avg,min,max,stddev,count_distinct,rate}') THEN
		PERFORM agentpay._refuse('23514',
			format('unknown aggregate: %L', f.aggregate),
			'Aggregates are count, sum, avg, min, max, stddev, count_distinct and rate.',
			'Use aggregate ''count''.');
	ELSIF f.aggregate IS NOT NULL
		AND (f.aggregate = 'count') <> (f.value IS NULL) THEN
		PERFORM agentpay._refuse('23514', format(
				'aggregate %s of feature "%s" %s value', f.aggregate, f.name,
				CASE f.aggregate WHEN 'count' THEN 'takes no'
				ELSE 'needs a' END),
			'count counts rows; every other aggregate is of an expression.',
			CASE f.aggregate WHEN 'count'
			THEN 'Use filter to count some rows only.'
			ELSE 'Use value ''amount'', for example.' END);
	ELSIF f.kind = 'since_last' AND f.value IS NOT NULL THEN
		PERFORM agentpay._refuse('23514',
			format('feature "%s" of kind since_last takes no value', f.name),
			'It is the seconds since the row before.',
			'Use filter to look at some rows only.');
	END IF;
	PERFORM agentpay._check_span('over', f.over, false);
	PERFORM agentpay._check_span('delay', f.delay, true);
	BEGIN
		PERFORM agentpay._check_range('default_value',
			f.default_value::double precision::numeric, NULL, NULL,
			'Use default_value ''0''.');
	EXCEPTION WHEN invalid_text_representation OR numeric_value_out_of_range
	THEN
		PERFORM agentpay._refuse('22023',
			format('default_value is not a number: %L', f.default_value),
			'Features of kind window and since_last are double precision.',
			'Use default_value ''0''.');
	END;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_feature_shape(agentpay.features)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_feature_source(f agentpay.features,
	p agentpay.decision_points) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source regclass := agentpay._feature_table(f, p);
	usage text := agentpay._feature_usage(f);
	key text[] := coalesce(f.from_key, f.key);
	time_column name;
	column_name text;
	columns text;
BEGIN
	PERFORM agentpay._check_from_table(f, p);
	IF array_ndims(f.key) IS DISTINCT FROM 1
	   OR array_position(f.key, NULL) IS NOT NULL
	   OR cardinality(f.key) <> (SELECT count(DISTINCT k)
								   FROM unnest(f.key) AS k) THEN
		PERFORM agentpay._refuse('22023',
			format('feature "%s" needs a key of distinct columns', f.name),
			'It looks at the rows that share the key.',
			format('Use key ''{%s}'', for example.', coalesce(p.subject_column,
				   (SELECT a.attname FROM pg_attribute a
					 WHERE a.attrelid = p.table_name AND a.attnum > 0
					   AND NOT a.attisdropped AND a.attgenerated = ''
					   AND a.attname NOT IN (p.id_column, p.occurred_at_column)
					 ORDER BY a.attnum LIMIT 1))));
	END IF;
	FOREACH column_name IN ARRAY f.key LOOP
		PERFORM agentpay._column_type(p.table_name, column_name, 'key');
	END LOOP;
	PERFORM agentpay._check_from_key(f, p);
	time_column := agentpay._feature_time(f, p);
	IF f.kind = 'lookup' THEN
		PERFORM agentpay._check_lookup_value(f);
	ELSIF f.value IS NOT NULL THEN
		PERFORM agentpay._check_expression(source, p.point, f.value,
			CASE f.aggregate WHEN 'rate' THEN 'boolean'
			WHEN 'count_distinct' THEN 'any' ELSE 'double precision' END,
			usage);
	END IF;
	IF f.filter IS NOT NULL THEN
		PERFORM agentpay._check_expression(source, p.point, f.filter,
										   'boolean', usage);
	END IF;
	IF time_column IS NULL THEN
		RETURN;
	ELSIF NOT agentpay._has_window_index(source, key, time_column) THEN
		SELECT string_agg(quote_ident(k), ', ' ORDER BY ord)
			   || ', ' || quote_ident(time_column) INTO columns
		  FROM unnest(key) WITH ORDINALITY AS u (k, ord);
		PERFORM agentpay._refuse('55000',
			format('feature "%s" needs an index', f.name),
			format('Its rows are found by an index on (%s), in this order, on all rows.', columns),
			format('CREATE INDEX ON %s (%s);', source, columns));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_feature_source(agentpay.features,
	agentpay.decision_points) FROM PUBLIC;

-- A btree on the key columns, in any order, then the time.
CREATE FUNCTION agentpay._has_window_index(relation regclass, key text[],
	time_column text) RETURNS boolean
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
		   AND i.indpred IS NULL
		   AND of.names[:cardinality(key)] @> key
		   AND of.names[:cardinality(key)] <@ key
		   AND of.names[cardinality(key) + 1] = time_column)
$$;
REVOKE ALL ON FUNCTION agentpay._has_window_index(regclass, text[], text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_features() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points;
	user_of text;
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		p := agentpay._point(OLD.point);
		user_of := agentpay._feature_user(p, OLD.name);
		IF user_of IS NOT NULL THEN
			PERFORM agentpay._refuse('55000', format(
					'feature "%s" of point "%s" cannot be deleted',
					OLD.name, OLD.point),
				format('It is used by %s.', user_of),
				format('SELECT agentpay.draft(%L); and change the rule there.',
					   OLD.point));
		END IF;
		RETURN OLD;
	END IF;

	p := agentpay._point(NEW.point);
	PERFORM agentpay._check_name('feature', OLD.name, NEW.name);
	IF NEW.name IN ('score', 'verdict') OR EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = p.table_name
		   AND a.attname = NEW.name AND NOT a.attisdropped) THEN
		PERFORM agentpay._refuse('42701',
			format('a feature cannot have the name "%s"', NEW.name),
			CASE WHEN NEW.name IN ('score', 'verdict')
			THEN 'invoke_when knows the rules'' score and verdict by it.'
			ELSE format('Table %s has a column of that name.', p.table_name)
			END,
			format('Use %L.', left(NEW.name, 40) || '_window'));
	END IF;
	PERFORM agentpay._check_feature_shape(NEW);
	PERFORM agentpay._check_feature_source(NEW, p);
	IF TG_OP = 'UPDATE' THEN
		PERFORM agentpay._check_feature_type(OLD, NEW, p);
	END IF;
	-- a point on the other table may go; what it said of the time stays
	IF agentpay._feature_table(NEW, p) <> p.table_name
	   OR NEW.kind = 'lookup' THEN
		NEW.from_time := agentpay._feature_time(NEW, p);
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_features() FROM PUBLIC;

-- ── rulesets ────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_thresholds(point_name text, thresholds jsonb,
	mend text) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	t record;
	problem text;
	last numeric;
BEGIN
	IF jsonb_typeof(thresholds) IS DISTINCT FROM 'object' THEN
		PERFORM agentpay._refuse('22023', 'thresholds must be a JSON object',
			format('They are %s.', coalesce(thresholds::text, 'NULL')), mend);
	END IF;
	FOR t IN
		SELECT e.key, e.value, v.verdict, v.rank
		  FROM jsonb_each(thresholds) AS e
		  LEFT JOIN agentpay.verdicts v ON v.point = point_name
		   AND v.verdict = e.key
		 ORDER BY v.rank
	LOOP
		problem := CASE
			WHEN t.verdict IS NULL THEN 'It is not a verdict of the point.'
			WHEN t.rank IS NULL THEN 'The point''s verdicts have no order.'
			WHEN t.rank = 0 THEN 'It is the loosest verdict, which needs none.'
			WHEN jsonb_typeof(t.value) <> 'number' THEN 'It must be a number.'
			WHEN abs((t.value #>> '{}')::numeric) > 1e9
			THEN 'It is at most 1000000000.'
			WHEN (t.value #>> '{}')::numeric <= last
			THEN 'A stricter verdict needs a higher threshold.' END;
		IF problem IS NOT NULL THEN
			PERFORM agentpay._refuse('22023', format(
					'invalid threshold of verdict "%s": %s', t.key, t.value),
				problem, mend);
		END IF;
		last := (t.value #>> '{}')::numeric;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_thresholds(text, jsonb, text)
	FROM PUBLIC;

-- What the version says, in whatever state it is about to be.
CREATE FUNCTION agentpay._check_ruleset(s agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text := format('UPDATE agentpay.rulesets SET %%s WHERE point = %L AND version = %s;',
						s.point, s.version);
	highest int;
	example jsonb;
BEGIN
	SELECT max(v.rank) INTO highest FROM agentpay.verdicts v
	 WHERE v.point = s.point;
	SELECT jsonb_object_agg(v.verdict, 100 * v.rank / highest) INTO example
	  FROM agentpay.verdicts v WHERE v.point = s.point AND v.rank > 0;
	IF s.mode IS NULL OR s.mode NOT IN ('score', 'first_match') THEN
		PERFORM agentpay._refuse('23514', format('unknown mode: %s',
				coalesce(quote_literal(s.mode), 'NULL')),
			'Modes are score and first_match.',
			format(mend, 'mode = ''score'''));
	ELSIF s.mode = 'score' AND highest IS NULL THEN
		PERFORM agentpay._refuse('23514',
			format('point "%s" needs mode first_match', s.point),
			'Its verdicts have no order, so scores cannot choose among them.',
			format(mend, 'mode = ''first_match'''));
	END IF;
	PERFORM agentpay._check_thresholds(s.point, s.thresholds,
		format(mend, format('thresholds = %L', coalesce(example, '{}'))));
	PERFORM agentpay._check_verdict(s.point, s.on_error, 'on_error');
END$$;
REVOKE ALL ON FUNCTION agentpay._check_ruleset(agentpay.rulesets) FROM PUBLIC;

-- What is approved: the version and its rules, as they are; snoozing aside.
CREATE FUNCTION agentpay._ruleset_digest(point_name text, ruleset_version int)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT encode(sha256(convert_to(jsonb_build_array(
			to_jsonb(s) - '{state,activated_at}'::text[],
			(SELECT jsonb_agg(to_jsonb(r) - 'snoozed_until'
							  ORDER BY r.code COLLATE "C")
			   FROM agentpay.rules r
			  WHERE r.point = s.point AND r.version = s.version))::text,
			'UTF8')), 'hex')
	  FROM agentpay.rulesets s
	 WHERE s.point = point_name AND s.version = ruleset_version
$$;
REVOKE ALL ON FUNCTION agentpay._ruleset_digest(text, int) FROM PUBLIC;

-- With four eyes, a draft goes from activate() through approve(), which says
-- so in the governance log before it changes the state.
CREATE FUNCTION agentpay._check_approved(s agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT (agentpay._point(s.point)).four_eyes OR EXISTS (
		SELECT FROM agentpay.governance_log g
		 WHERE g.object_kind = 'ruleset' AND g.action = 'approve'
		   AND g.object = format('%s.%s', s.point, s.version)
		   AND g.xid = pg_current_xact_id()
		   AND g.after ->> 'digest'
			   = agentpay._ruleset_digest(s.point, s.version)) THEN
		RETURN;
	END IF;
	PERFORM agentpay._refuse('42501',
		format('version %s of the rules of point "%s" is not approved',
			   s.version, s.point),
		'The point has four_eyes: another login than the one who asks must approve.',
		format('SELECT agentpay.activate(%L, %s); then, by another login, SELECT agentpay.approve(%1$L, %2$s, reason => ''...'');',
			   s.point, s.version));
END$$;
REVOKE ALL ON FUNCTION agentpay._check_approved(agentpay.rulesets) FROM PUBLIC;

-- A version is evaluated in shadow: each rule once more.  Each version in
-- shadow costs every payment a decision more, so there are few.
CREATE FUNCTION agentpay._enter_shadow(s agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	most constant int := 8;
	oldest int;
	n int;
BEGIN
	SELECT count(*), min(o.version) INTO n, oldest FROM agentpay.rulesets o
	 WHERE o.point = s.point AND o.state = 'shadow';
	IF n >= most THEN
		PERFORM agentpay._refuse('54000',
			format('point "%s" has %s versions in shadow already', s.point, n),
			format('Each of them is evaluated and recorded with every payment; %s is the most.', most),
			format('UPDATE agentpay.rulesets SET state = ''retired'' WHERE point = %L AND version = %s;',
				   s.point, oldest));
	END IF;
	PERFORM agentpay._check_rule(r, s) FROM agentpay.rules r
	  WHERE r.point = s.point AND r.version = s.version;
END$$;
REVOKE ALL ON FUNCTION agentpay._enter_shadow(agentpay.rulesets) FROM PUBLIC;

-- A version becomes active: each rule once more, then the one before retires.
CREATE FUNCTION agentpay._enter_active(s agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._check_rule(r, s) FROM agentpay.rules r
	  WHERE r.point = s.point AND r.version = s.version;
	UPDATE agentpay.rulesets o SET state = 'retired'
	 WHERE o.point = s.point AND o.version <> s.version
	   AND o.state = 'active';
END$$;
REVOKE ALL ON FUNCTION agentpay._enter_active(agentpay.rulesets) FROM PUBLIC;

-- From one state to another; the active version retires from within, when
-- another becomes active (trigger depth 2).  One in shadow has no effect, so
-- whoever may write the row may stop it.
CREATE FUNCTION agentpay._check_ruleset_state(before agentpay.rulesets,
	after agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF after.state = 'shadow' AND before.state IN ('draft', 'retired') THEN
		PERFORM agentpay._enter_shadow(after);
	ELSIF after.state = 'active'
		AND before.state IN ('draft', 'shadow', 'retired') THEN
		-- revert() goes back to what was approved before
		IF before.activated_at IS NULL THEN
			PERFORM agentpay._check_approved(after);
		END IF;
		PERFORM agentpay._enter_active(after);
	ELSIF after.state IS DISTINCT FROM before.state
		AND NOT (after.state = 'retired' AND (before.state = 'shadow'
				 OR before.state = 'active' AND pg_trigger_depth() > 1)) THEN
		PERFORM agentpay._refuse('55000', format(
				'version %s of point "%s" cannot go from %s to %L',
				after.version, after.point, before.state, after.state),
			'A version becomes active, and retires when another does; one in shadow becomes active or retires.',
			CASE WHEN before.state = 'active'
			THEN format('SELECT agentpay.revert(%L, reason => ''...'');',
						after.point)
			ELSE format('SELECT agentpay.activate(%L, %s);', after.point,
						after.version) END);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_ruleset_state(agentpay.rulesets,
	agentpay.rulesets) FROM PUBLIC;

CREATE FUNCTION agentpay._refuse_frozen(point_name text, version int)
	RETURNS void
	LANGUAGE sql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay._refuse('55000',
		format('version %s of the rules of point "%s" is frozen',
			   version, point_name),
		'Decisions name the version that made them, so that they can be replayed; only rules.snoozed_until may change.',
		format('SELECT agentpay.draft(%L, from_version => %s); change the draft, then SELECT agentpay.activate(%L);',
			   point_name, version, point_name))
$$;
REVOKE ALL ON FUNCTION agentpay._refuse_frozen(text, int) FROM PUBLIC;

CREATE FUNCTION agentpay._begin_ruleset(s agentpay.rulesets)
	RETURNS agentpay.rulesets
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	s.version := coalesce(s.version, (
		SELECT coalesce(max(o.version), 0) + 1 FROM agentpay.rulesets o
		 WHERE o.point = s.point));
	PERFORM agentpay._check_range('version', s.version, 1, 1000000,
		'Leave version out: it is the next one then.');
	IF s.state IS DISTINCT FROM 'draft' OR s.activated_at IS NOT NULL THEN
		PERFORM agentpay._refuse('55000', CASE WHEN s.activated_at IS NULL
			THEN format('a ruleset begins as a draft, not as %L', s.state)
			ELSE 'activated_at of a draft is NULL' END,
			'Its rules are checked when it becomes active.',
			format('INSERT it as a draft, and its rules; then SELECT agentpay.activate(%L, %s);', s.point, s.version));
	END IF;
	RETURN s;
END$$;
REVOKE ALL ON FUNCTION agentpay._begin_ruleset(agentpay.rulesets) FROM PUBLIC;

CREATE FUNCTION agentpay._check_rulesets() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		IF OLD.state <> 'draft' THEN
			PERFORM agentpay._refuse_frozen(OLD.point, OLD.version);
		END IF;
		RETURN OLD;
	END IF;
	PERFORM agentpay._point(NEW.point);
	IF TG_OP = 'INSERT' THEN
		NEW := agentpay._begin_ruleset(NEW);
		PERFORM agentpay._check_ruleset(NEW);
		RETURN NEW;
	END IF;
	IF (OLD.point, OLD.version, OLD.created_by, OLD.created_at)
	   IS DISTINCT FROM
	   (NEW.point, NEW.version, NEW.created_by, NEW.created_at)
	   OR OLD.state = NEW.state
	   AND OLD.activated_at IS DISTINCT FROM NEW.activated_at THEN
		PERFORM agentpay._refuse('55000', format(
				'point, version, author and times of version %s of point "%s" cannot change',
				OLD.version, OLD.point),
			'They are the record of who made it, and when it decided.',
			format('SELECT agentpay.draft(%L, from_version => %s);',
				   OLD.point, OLD.version));
	END IF;
	IF OLD.state <> 'draft'
	   AND (OLD.mode, OLD.thresholds, OLD.on_error, OLD.description)
		   IS DISTINCT FROM
		   (NEW.mode, NEW.thresholds, NEW.on_error, NEW.description) THEN
		PERFORM agentpay._refuse_frozen(OLD.point, OLD.version);
	END IF;
	PERFORM agentpay._check_ruleset(NEW);
	PERFORM agentpay._check_ruleset_state(OLD, NEW);
	-- revert() leaves the time as it was; nobody else chooses one
	IF NEW.state = 'active' AND OLD.state <> 'active'
	   AND (NEW.activated_at IS NULL
			OR NEW.activated_at IS DISTINCT FROM OLD.activated_at) THEN
		NEW.activated_at := agentpay._now();
	ELSE
		NEW.activated_at := OLD.activated_at;
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_rulesets() FROM PUBLIC;

-- ── rules ───────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_snooze(r agentpay.rules) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT isfinite(r.snoozed_until) THEN
		PERFORM agentpay._refuse('22008',
			format('snoozed_until of rule "%s" is infinite', r.code),
			'A snooze ends.',
			'To switch a rule off, use enabled = false in a draft.');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_snooze(agentpay.rules) FROM PUBLIC;

CREATE FUNCTION agentpay._check_rule(r agentpay.rules, s agentpay.rulesets)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points := agentpay._point(r.point);
BEGIN
	IF r.code IS NULL OR r.code !~ '^[A-Za-z][A-Za-z0-9_]{0,47}$' THEN
		PERFORM agentpay._refuse('23514', format('invalid rule code: %s',
				coalesce(quote_literal(r.code), 'NULL')),
			'A code has 1 to 48 characters: a letter, then letters, digits and underscores.',
			'Use ''LARGE_AMOUNT'', for example.');
	END IF;
	PERFORM agentpay._check_range(format('score of rule "%s"', r.code),
		r.score, NULL, NULL, 'Use score 10, for example.');
	PERFORM agentpay._check_verdict(r.point, r.verdict,
									format('the verdict of rule "%s"', r.code));
	IF s.mode = 'first_match' AND r.verdict IS NULL THEN
		PERFORM agentpay._refuse('23514',
			format('rule "%s" needs a verdict', r.code),
			'In mode first_match the first rule that matches decides.',
			format('Use verdict %L, for example.', (
				SELECT v.verdict FROM agentpay.verdicts v
				 WHERE v.point = r.point ORDER BY v.rank DESC, v.verdict
				 LIMIT 1)));
	END IF;
	PERFORM agentpay._check_snooze(r);
	PERFORM agentpay._check_expression(p.table_name, p.point, r.condition,
									   'boolean', 'rule');
END$$;
REVOKE ALL ON FUNCTION agentpay._check_rule(agentpay.rules, agentpay.rulesets)
	FROM PUBLIC;

-- The newest draft; a new one, copied from the active version, if there is
-- none.  A rule of the same code gives way to the one that is being inserted.
CREATE FUNCTION agentpay._draft_for(point_name text, rule_code text)
	RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	draft_version int;
BEGIN
	SELECT max(s.version) INTO draft_version FROM agentpay.rulesets s
	 WHERE s.point = point_name AND s.state = 'draft';
	IF draft_version IS NULL THEN
		draft_version := agentpay.draft(point_name);
		DELETE FROM agentpay.rules r
		 WHERE r.point = point_name AND r.version = draft_version
		   AND r.code = rule_code;
	END IF;
	RETURN draft_version;
END$$;
REVOKE ALL ON FUNCTION agentpay._draft_for(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_rules() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	s agentpay.rulesets;
	snoozes boolean;
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		-- with its ruleset, it goes
		SELECT * INTO s FROM agentpay.rulesets o
		 WHERE o.point = OLD.point AND o.version = OLD.version FOR SHARE;
		IF s.state <> 'draft' THEN
			PERFORM agentpay._refuse_frozen(OLD.point, OLD.version);
		END IF;
		RETURN OLD;
	END IF;
	PERFORM agentpay._point(NEW.point);
	IF TG_OP = 'INSERT' AND NEW.version IS NULL THEN
		NEW.version := agentpay._draft_for(NEW.point, NEW.code);
	END IF;
	-- a snooze is for emergencies: it waits for nobody, and nothing else may
	-- stand in its way; other changes wait for whoever activates the version
	snoozes := TG_OP = 'UPDATE'
		AND to_jsonb(OLD) - 'snoozed_until' = to_jsonb(NEW) - 'snoozed_until';
	IF snoozes THEN
		SELECT * INTO s FROM agentpay.rulesets o
		 WHERE o.point = NEW.point AND o.version = NEW.version;
	ELSE
		SELECT * INTO s FROM agentpay.rulesets o
		 WHERE o.point = NEW.point AND o.version = NEW.version FOR SHARE;
	END IF;
	IF s.point IS NULL THEN
		PERFORM agentpay._refuse('23503',
			format('point "%s" has no version %s', NEW.point,
				   coalesce(NEW.version::text, 'NULL')),
			'A rule belongs to a version; left out, it is the draft.',
			format('SELECT agentpay.draft(%L);', NEW.point));
	END IF;
	IF s.state <> 'draft' AND NOT snoozes THEN
		PERFORM agentpay._refuse_frozen(NEW.point, NEW.version);
	END IF;
	IF TG_OP = 'UPDATE' AND (OLD.point, OLD.version)
							<> (NEW.point, NEW.version) THEN
		PERFORM agentpay._refuse('55000', format(
				'rule "%s" cannot move to another version', NEW.code),
			'Rows say which version a rule belongs to.',
			format('SELECT agentpay.draft(%L, from_version => %s);',
				   OLD.point, OLD.version));
	END IF;
	IF snoozes AND OLD.snoozed_until IS DISTINCT FROM NEW.snoozed_until THEN
		PERFORM agentpay._check_snooze(NEW);
	ELSE
		PERFORM agentpay._check_rule(NEW, s);
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_rules() FROM PUBLIC;
