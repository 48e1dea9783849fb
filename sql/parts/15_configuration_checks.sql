-- 15_configuration_checks.sql
--		What points and verdicts must be, and what all checks share.
--
-- One trigger function per table: features, rulesets and rules are in
-- 16_rule_checks.sql, lists and models in 16_model_checks.sql, agents and
-- endpoints in 16_agent_checks.sql, policies, budgets and kill switches in
-- 17_control_checks.sql; which table has which triggers, in 18_governance.sql.
--
-- Every error names what is wrong and, as its hint, the statement that mends
-- it.  They run BEFORE ROW, ahead of the table's CHECKs, whose messages say
-- less.  While a dump is being restored they let everything pass; adopt()
-- checks it all.
--
-- The trigger functions are SECURITY DEFINER: whoever was granted a change of
-- a table need not be granted the tables and functions that judge it.

-- ── what C does for SQL ─────────────────────────────────────────────────────
CREATE FUNCTION agentpay._config_changed() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_config_changed';
REVOKE ALL ON FUNCTION agentpay._config_changed() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._config_changed() IS 'makes every session read the configuration again';

CREATE FUNCTION agentpay._check_expression(table_name regclass, point text,
	expression text, expression_type text, usage text) RETURNS text[]
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_check_expression';
REVOKE ALL ON FUNCTION
	agentpay._check_expression(regclass, text, text, text, text) FROM PUBLIC;
COMMENT ON FUNCTION
	agentpay._check_expression(regclass, text, text, text, text)
	IS 'compiles an expression, or says where it is wrong; returns the columns and features that it reads';

CREATE FUNCTION agentpay._lookup_type(table_name regclass, point text,
	value text, default_value text) RETURNS regtype
	LANGUAGE C STABLE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_lookup_type';
REVOKE ALL ON FUNCTION agentpay._lookup_type(regclass, text, text, text)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._lookup_type(regclass, text, text, text)
	IS 'compiles the value and the default of a lookup, or says where they are wrong; returns the type of both';

-- ── shared helpers ──────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._refuse(state text, message text, detail text,
	hint text) RETURNS void
	LANGUAGE C VOLATILE PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_refuse';
REVOKE ALL ON FUNCTION agentpay._refuse(text, text, text, text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_name(what text, before text, after text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF after IS NULL OR after !~ '^[a-z][a-z0-9_]{0,47}$' THEN
		PERFORM agentpay._refuse('23514', format('invalid %s: %s', what,
				coalesce(quote_literal(after), 'NULL')),
			'A name has 1 to 48 characters: a small letter, then small letters, digits and underscores.',
			format('Use %L, for example.', left(coalesce(nullif(regexp_replace(
				regexp_replace(lower(after), '[^a-z0-9_]+', '_', 'g'),
				'^[^a-z]+', ''), ''), 'my_name'), 48)));
	END IF;
	IF before IS NOT NULL AND before <> after THEN
		PERFORM agentpay._refuse('55000',
			format('%s "%s" cannot be renamed', what, before),
			'Logs and other rows name it.',
			format('INSERT a new one named %L instead.', after));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_name(text, text, text) FROM PUBLIC;

-- NULL passes; NaN and infinity do not.
CREATE FUNCTION agentpay._check_range(what text, value numeric, low numeric,
	high numeric, mend text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF value IN ('NaN', 'Infinity', '-Infinity')
	   OR value < low OR value > high THEN
		PERFORM agentpay._refuse('23514',
			format('%s is out of range: %s', what, value),
			CASE WHEN low IS NULL THEN 'It is a finite number.'
			WHEN high IS NULL THEN format('It is a number of at least %s.', low)
			ELSE format('It lies between %s and %s.', low, high) END,
			mend);
	END IF;
END$$;
REVOKE ALL ON FUNCTION
	agentpay._check_range(text, numeric, numeric, numeric, text) FROM PUBLIC;

-- Month and year are no fixed time.
CREATE FUNCTION agentpay._check_span(what text, value interval, may_be_zero
	boolean) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF NOT isfinite(value) OR value > '36600 days' THEN
		PERFORM agentpay._refuse('22008',
			format('%s is too long: %s', what, value),
			'It is at most 36600 days.', 'Use ''30 days'', for example.');
	END IF;
	IF date_part('year', value) <> 0 OR date_part('month', value) <> 0 THEN
		PERFORM agentpay._refuse('22023',
			format('%s has months or years: %s', what, value),
			'A month has no fixed length.',
			format('Use days: %L.', extract(epoch FROM value)::bigint / 86400
									|| ' days'));
	END IF;
	IF value < '0' OR (value = '0' AND NOT may_be_zero) THEN
		PERFORM agentpay._refuse('22023',
			format('%s is %s: %s', what,
				   CASE WHEN value = '0' THEN 'zero' ELSE 'negative' END,
				   value),
			'It is a length of time.', 'Use ''1 hour'', for example.');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_span(text, interval, boolean)
	FROM PUBLIC;

CREATE FUNCTION agentpay._point(point_name text)
	RETURNS agentpay.decision_points
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	found_point agentpay.decision_points;
BEGIN
	SELECT * INTO found_point FROM agentpay.decision_points p
	 WHERE p.point = point_name;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('23503',
			format('unknown point: %s',
				   coalesce(quote_literal(point_name), 'NULL')),
			coalesce((SELECT 'Points are '
						  || string_agg(p.point, ', ' ORDER BY p.point) || '.'
						FROM agentpay.decision_points p),
					 'There is no point yet.'),
			format('SELECT agentpay.attach(''your_table'', point => %L, role => ''fraud'', id => ''id'', occurred_at => ''created_at'');',
				   CASE WHEN point_name ~ '^[a-z][a-z0-9_]{0,47}$'
				   THEN point_name ELSE 'fraud' END));
	END IF;
	RETURN found_point;
END$$;
REVOKE ALL ON FUNCTION agentpay._point(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._point(text) IS 'the point, or an error that lists the points';

CREATE FUNCTION agentpay._check_verdict(point_name text, verdict_name text,
	what text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF verdict_name IS NOT NULL AND NOT EXISTS (
		SELECT FROM agentpay.verdicts v
		 WHERE v.point = point_name AND v.verdict = verdict_name) THEN
		PERFORM agentpay._refuse('23514', format(
				'%s is not a verdict of point "%s": %L', what, point_name,
				verdict_name),
			'Verdicts are ' || (
				SELECT string_agg(v.verdict, ', ' ORDER BY v.rank, v.verdict)
				  FROM agentpay.verdicts v WHERE v.point = point_name) || '.',
			format('Use %L, for example; a new one is made by INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES (%L, %L, %s, true);', (
				SELECT v.verdict FROM agentpay.verdicts v
				 WHERE v.point = point_name
				 ORDER BY v.rank DESC NULLS LAST, v.verdict LIMIT 1),
				point_name, CASE WHEN verdict_name ~ '^[a-z][a-z0-9_]{0,47}$'
				THEN verdict_name ELSE 'step_up' END, (
				SELECT coalesce((max(v.rank) + 1)::text, 'NULL')
				  FROM agentpay.verdicts v WHERE v.point = point_name)));
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_verdict(text, text, text) FROM PUBLIC;

-- ── decision_points ─────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_point_columns(p agentpay.decision_points)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	shared text;
BEGIN
	PERFORM agentpay._check_id_column(p.table_name, p.id_column);
	PERFORM agentpay._column_type(p.table_name, p.occurred_at_column,
								  'occurred_at');
	PERFORM agentpay._check_column(p.table_name, c.col, c.what, c.kind)
	   FROM (VALUES (p.occurred_at_column, 'occurred_at', 'time'),
					(p.amount_column, 'amount', 'number'),
					(p.currency_column, 'currency', 'text'),
					(p.outcome_column, 'outcome', 'text'),
					(p.score_column, 'score', 'number'),
					(p.reasons_column, 'reasons', 'reasons'))
			AS c (col, what, kind);
	IF p.subject_column IS NOT NULL THEN
		PERFORM agentpay._column_type(p.table_name, p.subject_column,
									  'subject');
	END IF;
	IF p.idempotency_column IS NOT NULL THEN
		PERFORM agentpay._column_type(p.table_name, p.idempotency_column,
									  'idempotency');
		IF NOT EXISTS (SELECT FROM pg_index i
			JOIN pg_attribute a ON a.attrelid = i.indrelid
			 AND a.attnum = i.indkey[0] AND a.attname = p.idempotency_column
		   WHERE i.indrelid = p.table_name AND i.indisvalid
			 AND i.indpred IS NULL) THEN
			PERFORM agentpay._refuse('42809',
				format('idempotency: column "%s" of %s has no index',
					   p.idempotency_column, p.table_name),
				'Each row looks for an earlier one with the same key.',
				format('CREATE INDEX ON %s (%I);', p.table_name,
					   p.idempotency_column));
		END IF;
	END IF;
	SELECT c.col INTO shared FROM (VALUES (p.outcome_column),
				(p.score_column), (p.reasons_column)) AS c (col)
	 WHERE c.col IN (p.id_column, p.occurred_at_column, p.amount_column,
			p.currency_column, p.subject_column, p.idempotency_column)
		OR 1 < (SELECT count(*) FROM unnest(ARRAY[p.outcome_column,
					p.score_column, p.reasons_column]) AS w
				 WHERE w = c.col)
		OR c.col::text = ANY (agentpay._partition_columns(p.table_name))
	 LIMIT 1;
	IF FOUND THEN
		PERFORM agentpay._refuse('42701',
			format('column "%s" of %s cannot receive a result', shared,
				   p.table_name),
			'It has another part in the point, or rows are partitioned by it.',
			format('ALTER TABLE %s ADD COLUMN %I text; and name that one.',
				   p.table_name, p.point || '_outcome'));
	END IF;
	SELECT format('column "%s" is written by point "%s"', mine.col, o.point)
	  INTO shared
	  FROM agentpay.decision_points o,
		   unnest(ARRAY[o.outcome_column, o.score_column, o.reasons_column])
				AS theirs (col),
		   unnest(ARRAY[p.outcome_column, p.score_column, p.reasons_column])
				AS mine (col)
	 WHERE o.table_name = p.table_name AND o.point <> p.point
	   AND theirs.col = mine.col;
	IF shared IS NOT NULL THEN
		PERFORM agentpay._refuse('42701', 'two points cannot write one column',
			upper(left(shared, 1)) || substr(shared, 2) || '.',
			format('ALTER TABLE %s ADD COLUMN %I text; and name that one.',
				   p.table_name, p.point || '_outcome'));
	END IF;
END$$;
REVOKE ALL ON FUNCTION
	agentpay._check_point_columns(agentpay.decision_points) FROM PUBLIC;

-- Every verdict must fit into the column that receives it.
CREATE FUNCTION agentpay._check_outcome_fits(p agentpay.decision_points,
	verdict_names text[]) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	verdict_name text;
	column_type record;
BEGIN
	SELECT t.oid, t.typtype, a.atttypmod INTO column_type
	  FROM pg_attribute a JOIN pg_type t ON t.oid = a.atttypid
	 WHERE a.attrelid = p.table_name AND a.attname = p.outcome_column;
	FOREACH verdict_name IN ARRAY verdict_names LOOP
		IF column_type.typtype = 'e' AND NOT EXISTS (
			SELECT FROM pg_enum e WHERE e.enumtypid = column_type.oid
			   AND e.enumlabel = verdict_name) THEN
			PERFORM agentpay._refuse('22023',
				format('outcome: type %s has no value %L',
					   column_type.oid::regtype, verdict_name),
				format('Column "%s" of %s receives the verdicts of point "%s".',
					   p.outcome_column, p.table_name, p.point),
				format('ALTER TYPE %s ADD VALUE %L;',
					   column_type.oid::regtype, verdict_name));
		ELSIF column_type.oid IN ('varchar'::regtype, 'bpchar'::regtype)
			AND column_type.atttypmod - 4 < length(verdict_name)
			AND column_type.atttypmod > 0 THEN
			PERFORM agentpay._refuse('22001',
				format('outcome: column "%s" of %s is too short for %L',
					   p.outcome_column, p.table_name, verdict_name),
				format('It receives the verdicts of point "%s", and has room for %s characters.', p.point,
					   column_type.atttypmod - 4),
				format('ALTER TABLE %s ALTER COLUMN %I TYPE text;',
					   p.table_name, p.outcome_column));
		END IF;
	END LOOP;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_outcome_fits(agentpay.decision_points,
	text[]) FROM PUBLIC;

CREATE FUNCTION agentpay._check_point_settings(p agentpay.decision_points)
	RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text := format('UPDATE agentpay.decision_points SET %%s WHERE point = %L;',
						p.point);
BEGIN
	IF p.role IS NULL OR p.role NOT IN ('fraud', 'routing', 'reconciliation',
										'dispute') THEN
		PERFORM agentpay._refuse('23514', format('unknown role: %s',
				coalesce(quote_literal(p.role), 'NULL')),
			'Roles are fraud, routing, reconciliation and dispute.',
			'Use role => ''fraud'', for example.');
	END IF;
	IF p.environment IS NULL
	   OR p.environment NOT IN ('production', 'synthetic') THEN
		PERFORM agentpay._refuse('23514', format('unknown environment: %s',
				coalesce(quote_literal(p.environment), 'NULL')),
			'It is production or synthetic.',
			format(mend, 'environment = ''production'''));
	END IF;
	PERFORM agentpay._refuse('23514',
			format('%s is not a currency code: %L', c.what, c.code),
			'Currencies have three capital letters, by ISO 4217.',
			format(mend, c.what || ' = ''USD'''))
	   FROM (VALUES ('base_currency', p.base_currency),
					('currency', p.currency)) AS c (what, code)
	  WHERE c.code !~ '^[A-Z]{3}$';
	IF p.amount_column IS NOT NULL
	   AND (p.currency_column IS NULL) = (p.currency IS NULL) THEN
		PERFORM agentpay._refuse('23514', 'an amount needs its currency',
			'Either a column of the table, or one code for all rows.',
			'Use currency => ''currency'' for a column, or currency => ''USD''.');
	END IF;
	BEGIN
		PERFORM now() AT TIME ZONE p.time_zone;
	EXCEPTION WHEN invalid_parameter_value THEN
		PERFORM agentpay._refuse('22023',
			format('unknown time zone: %L', p.time_zone),
			'SELECT name FROM pg_timezone_names; lists them.',
			format(mend, 'time_zone = ''UTC'''));
	END;
	PERFORM agentpay._check_range('explore_percent', p.explore_percent, 0, 10,
								  format(mend, 'explore_percent = 0'));
	PERFORM agentpay._check_range('audit_sample_percent',
		p.audit_sample_percent, 0, 100,
		format(mend, 'audit_sample_percent = 0'));
	PERFORM agentpay._check_range('decide_within_ms', p.decide_within_ms, 1,
		3600000, format(mend, 'decide_within_ms = 3000'));
	PERFORM agentpay._refuse('22023',
			format('%s is out of range: %s', i.what, i.value),
			'It lies between 0 and 3660 days.',
			format(mend, format('%s = %L', i.what, i.example)))
	   FROM (VALUES ('label_maturity', p.label_maturity, '90 days'),
					('case_due', p.case_due, '24 hours'))
			AS i (what, value, example)
	  WHERE NOT isfinite(i.value)
		 OR i.value NOT BETWEEN interval '0' AND interval '3660 days';
	PERFORM agentpay._check_range('explore_max_amount', p.explore_max_amount, 0,
		1000000000000000, format(mend, 'explore_max_amount = NULL'));
	IF p.explore_percent > 0 AND p.role <> 'fraud' THEN
		PERFORM agentpay._refuse('23514', format(
				'point "%s" has role %s, which stops nothing', p.point, p.role),
			'Exploring lets declined payments through, to learn whether they were fraud.',
			format(mend, 'explore_percent = 0'));
	ELSIF p.explore_max_amount IS NOT NULL AND p.amount_column IS NULL THEN
		PERFORM agentpay._refuse('23514', format(
				'point "%s" has no amount to hold against explore_max_amount',
				p.point),
			'Its amount_column is NULL.',
			format(mend, 'explore_max_amount = NULL'));
	END IF;
END$$;
REVOKE ALL ON FUNCTION
	agentpay._check_point_settings(agentpay.decision_points) FROM PUBLIC;

-- What a point draws by, once it draws; from PostgreSQL's strong random numbers:
-- 2 × 122 bits.
CREATE FUNCTION agentpay._salt_draws(point text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO agentpay._draw_salts
	VALUES (point, uuid_send(gen_random_uuid())
				   || uuid_send(gen_random_uuid()))
		ON CONFLICT DO NOTHING
$$;
REVOKE ALL ON FUNCTION agentpay._salt_draws(text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_decision_points() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		IF EXISTS (SELECT FROM agentpay.decisions d
					WHERE d.point = OLD.point) OR OLD.enabled THEN
			PERFORM agentpay._refuse('55000',
				format('point "%s" cannot be deleted', OLD.point),
				'It is attached, or decisions name it.',
				format('SELECT agentpay.detach(%L);', OLD.point));
		END IF;
		RETURN OLD;
	END IF;
	PERFORM agentpay._check_name('point', OLD.point, NEW.point);
	IF TG_OP = 'UPDATE' AND EXISTS (SELECT FROM pg_class
									 WHERE oid = OLD.table_name)
	   AND (OLD.table_name, OLD.role, OLD.id_column)
		   IS DISTINCT FROM (NEW.table_name, NEW.role, NEW.id_column) THEN
		PERFORM agentpay._refuse('55000',
			format('table, role and id of point "%s" cannot change', NEW.point),
			'Its decisions were made about them.',
			format('Attach another point: SELECT agentpay.attach(%L, point => %L, ...);',
				   NEW.table_name::text, NEW.point || '_2'));
	END IF;
	IF NEW.explore_percent > 0 OR NEW.audit_sample_percent > 0 THEN
		PERFORM agentpay._salt_draws(NEW.point);
	END IF;
	-- a detached point may outlive its table
	IF NEW.enabled THEN
		PERFORM agentpay._check_table(NEW.table_name, 'a point');
		PERFORM agentpay._check_point_settings(NEW);
		PERFORM agentpay._check_point_columns(NEW);
		PERFORM agentpay._check_outcome_fits(NEW, coalesce((
			SELECT array_agg(v.verdict ORDER BY v.rank, v.verdict)
			  FROM agentpay.verdicts v WHERE v.point = NEW.point), '{}'));
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_decision_points() FROM PUBLIC;

-- ── verdicts ────────────────────────────────────────────────────────────────
-- What still names a verdict: rules and rulesets that may yet decide, agents.
CREATE FUNCTION agentpay._verdict_user(point_name text, verdict_name text)
	RETURNS text
	LANGUAGE sql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT format('rule "%s" of version %s', r.code, r.version)
	  FROM agentpay.rules r JOIN agentpay.rulesets s USING (point, version)
	 WHERE r.point = point_name AND r.verdict = verdict_name
	   AND s.state <> 'retired'
	UNION ALL
	SELECT format('version %s of the rules', s.version)
	  FROM agentpay.rulesets s
	 WHERE s.point = point_name AND s.state <> 'retired'
	   AND (s.thresholds ? verdict_name OR s.on_error = verdict_name)
	UNION ALL
	SELECT format('agent "%s"', a.name) FROM agentpay.agents a
	 WHERE a.point = point_name
	   AND (a.options -> 'thresholds' ? verdict_name
			OR verdict_name IN (SELECT w.value FROM jsonb_each_text(
				CASE jsonb_typeof(a.options -> 'verdicts') WHEN 'object'
				THEN a.options -> 'verdicts' END) AS w))
	UNION ALL
	SELECT format('the authorities of agent "%s"', a.name)
	  FROM agentpay.authorities r JOIN agentpay.agents a ON a.name = r.agent
	 WHERE a.point = point_name AND r.verdict = verdict_name
	 LIMIT 1
$$;
REVOKE ALL ON FUNCTION agentpay._verdict_user(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay._check_verdicts() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points;
	ranked boolean;
	user_of text;
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		-- with its point, it goes
		IF NOT EXISTS (SELECT FROM agentpay.decision_points o
						WHERE o.point = OLD.point) THEN
			RETURN OLD;
		END IF;
		user_of := agentpay._verdict_user(OLD.point, OLD.verdict);
		IF user_of IS NOT NULL OR OLD.is_default THEN
			PERFORM agentpay._refuse('55000', format(
					'verdict "%s" of point "%s" cannot be deleted',
					OLD.verdict, OLD.point),
				coalesce('It is used by ' || user_of,
						 'It is the default verdict') || '.',
				CASE WHEN user_of IS NULL
				THEN format('UPDATE agentpay.verdicts SET is_default = true WHERE point = %L AND verdict = %L;',
					   OLD.point, (SELECT v.verdict FROM agentpay.verdicts v
									WHERE v.point = OLD.point
									  AND v.verdict <> OLD.verdict
									ORDER BY v.rank, v.verdict LIMIT 1))
				ELSE format('Take it out there first; rules that are active change by SELECT agentpay.draft(%1$L); and SELECT agentpay.activate(%1$L);', OLD.point)
				END);
		END IF;
		RETURN OLD;
	END IF;

	p := agentpay._point(NEW.point);
	ranked := p.role IN ('fraud', 'reconciliation');
	PERFORM agentpay._check_name('verdict', OLD.verdict, NEW.verdict);
	IF ranked <> (NEW.rank IS NOT NULL) OR NEW.rank < 0 THEN
		PERFORM agentpay._refuse('23514', format(
				'verdict "%s" of point "%s" %s', NEW.verdict, NEW.point,
				CASE WHEN ranked THEN 'needs a rank of at least 0'
				ELSE 'cannot have a rank' END),
			'Verdicts of fraud and reconciliation are ordered, 0 is the loosest; those of routing and dispute are not.',
			CASE WHEN ranked THEN format('Use rank = %s.', (
				SELECT coalesce(max(v.rank) + 1, 0) FROM agentpay.verdicts v
				 WHERE v.point = NEW.point)) ELSE 'Use rank = NULL.' END);
	END IF;
	PERFORM agentpay._check_range('rank', NEW.rank, 0, 1000,
								  'Ranks count up from 0, the loosest.');
	IF OLD.rank <> NEW.rank
	   AND agentpay._verdict_user(NEW.point, NEW.verdict) IS NOT NULL THEN
		PERFORM agentpay._refuse('55000', format(
				'rank of verdict "%s" of point "%s" cannot change',
				NEW.verdict, NEW.point),
			format('It is used by %s, which may mean another order.',
				   agentpay._verdict_user(NEW.point, NEW.verdict)),
			format('INSERT INTO agentpay.verdicts (point, verdict, rank, positive) VALUES (%L, %L, %s, true); and use that one.',
				   NEW.point, left(NEW.verdict, 46) || '_2', NEW.rank));
	END IF;
	IF OLD.is_default AND NOT NEW.is_default AND pg_trigger_depth() = 1 THEN
		PERFORM agentpay._refuse('23514',
			format('point "%s" needs a default verdict', NEW.point),
			'It is given when no rule matches. Making another verdict the default takes it from this one.',
			format('UPDATE agentpay.verdicts SET is_default = true WHERE point = %L AND verdict = %L;',
				   NEW.point, (SELECT v.verdict FROM agentpay.verdicts v
								WHERE v.point = NEW.point
								  AND v.verdict <> NEW.verdict
								ORDER BY v.rank, v.verdict LIMIT 1)));
	END IF;
	PERFORM agentpay._check_outcome_fits(p, ARRAY[NEW.verdict]);
	IF NEW.is_default AND OLD.is_default IS DISTINCT FROM true THEN
		UPDATE agentpay.verdicts v SET is_default = false
		 WHERE v.point = NEW.point AND v.is_default
		   AND v.verdict <> NEW.verdict;
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_verdicts() FROM PUBLIC;
