-- 16_model_checks.sql
--		What lists and models must be.
--
-- As 15_configuration_checks.sql, whose helpers it uses.

-- ── lists ───────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._check_lists() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	user_of text;
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		user_of := agentpay._caller_of('in_list', OLD.name);
		IF user_of IS NOT NULL THEN
			PERFORM agentpay._refuse('55000',
				format('list "%s" cannot be deleted', OLD.name),
				format('It is used by %s.', user_of),
				format('DELETE FROM agentpay.list_entries WHERE list = %L; empties it.',
					   OLD.name));
		END IF;
		RETURN OLD;
	END IF;
	PERFORM agentpay._check_name('list', OLD.name, NEW.name);
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_lists() FROM PUBLIC;

CREATE FUNCTION agentpay._check_list_entries() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() THEN
		RETURN NEW;
	END IF;
	IF NOT EXISTS (SELECT FROM agentpay.lists l WHERE l.name = NEW.list) THEN
		PERFORM agentpay._refuse('23503', format('unknown list: %s',
				coalesce(quote_literal(NEW.list), 'NULL')),
			coalesce((SELECT 'Lists are '
						  || string_agg(l.name, ', ' ORDER BY l.name) || '.'
						FROM agentpay.lists l), 'There is no list yet.'),
			format('INSERT INTO agentpay.lists (name) VALUES (%L);',
				   CASE WHEN NEW.list ~ '^[a-z][a-z0-9_]{0,47}$' THEN NEW.list
				   ELSE 'my_list' END));
	END IF;
	IF NOT isfinite(NEW.expires_at) THEN
		PERFORM agentpay._refuse('22008', format(
				'expires_at of %L is infinite', NEW.value),
			'An entry without an end has none.', 'Use expires_at = NULL.');
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_list_entries() FROM PUBLIC;

-- ── models ──────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._is_number_array(value jsonb, length int)
	RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT CASE WHEN jsonb_typeof(value) = 'array'
		THEN jsonb_array_length(value) = length
			 AND NOT jsonb_path_exists(value,
									   'strict $[*] ? (@.type() <> "number" || @ > 1e300 || @ < -1e300)')
		ELSE false END
$$;
REVOKE ALL ON FUNCTION agentpay._is_number_array(jsonb, int) FROM PUBLIC;

CREATE FUNCTION agentpay._inspect_trees(name text, definition jsonb)
	RETURNS jsonb
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_inspect_trees';
REVOKE ALL ON FUNCTION agentpay._inspect_trees(text, jsonb) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._inspect_trees(text, jsonb) IS 'what is in a model of XGBoost, or an error that says why it cannot be evaluated';

-- The file of XGBoost, which may be wrapped.
CREATE FUNCTION agentpay._model_file(m agentpay.models) RETURNS jsonb
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce(m.definition -> 'xgboost', m.definition)
$$;
REVOKE ALL ON FUNCTION agentpay._model_file(agentpay.models) FROM PUBLIC;

-- Returns what is in the model, its report.
CREATE FUNCTION agentpay._check_trees(m agentpay.models) RETURNS jsonb
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	report jsonb := agentpay._inspect_trees(m.name, m.definition);
	own jsonb := agentpay._model_file(m) #> '{learner,feature_names}';
	names text[];
	unknown text := (SELECT k FROM jsonb_object_keys(m.definition) AS k
					  WHERE m.definition ? 'xgboost'
						AND k NOT IN ('xgboost', 'class') LIMIT 1);
BEGIN
	SELECT array_agg(n.name ORDER BY n.ord) INTO names
	  FROM jsonb_array_elements_text(
			CASE jsonb_typeof(own) WHEN 'array' THEN own END)
			WITH ORDINALITY AS n (name, ord);
	IF unknown IS NOT NULL THEN
		PERFORM agentpay._refuse('22023', format(
				'the definition of model "%s" has an unknown part: %s', m.name,
				quote_literal(unknown)),
			'A file of XGBoost is wrapped in {"xgboost": ..., "class": 0}.',
			'Leave it out.');
	ELSIF cardinality(m.features) <> (report ->> 'features')::int THEN
		PERFORM agentpay._refuse('22023', format(
				'model "%s" has %s features, and %s are named', m.name,
				report ->> 'features', cardinality(m.features)),
			'features names the columns or features of the point that the model''s own are, in its order.',
			coalesce('Its own are ' || array_to_string(names, ', ') || '.',
				'Name one for each column that it was trained with.'));
	ELSIF names <> m.features AND names <@ m.features
		AND m.features <@ names THEN
		PERFORM agentpay._refuse('22023', format(
				'the features of model "%s" are in another order than its own',
				m.name),
			'They are told apart by their place alone.',
			format('Use features %L', names));
	END IF;
	RETURN report;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_trees(agentpay.models) FROM PUBLIC;

-- Whether it answers with a probability, as a built-in agent has to.
CREATE FUNCTION agentpay._is_probability(m agentpay.models) RETURNS boolean
	LANGUAGE sql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT m.kind <> 'xgboost'
		OR agentpay._model_file(m) #>> '{learner,objective,name}' = ANY (
			'{binary:logistic,binary:hinge,reg:logistic,multi:softprob,multi:softmax}')
$$;
REVOKE ALL ON FUNCTION agentpay._is_probability(agentpay.models) FROM PUBLIC;

-- Returns a report for a model that has none.
CREATE FUNCTION agentpay._check_model_definition(m agentpay.models)
	RETURNS jsonb
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	mend text := format('SELECT * FROM agentpay.train_logistic(%L, ...);',
						m.name);
	part text;
BEGIN
	IF m.kind IS NULL OR m.kind NOT IN ('logistic', 'xgboost') THEN
		PERFORM agentpay._refuse('23514', format('unknown kind of model: %s',
				coalesce(quote_literal(m.kind), 'NULL')),
			'Kinds are logistic and xgboost.', mend);
	END IF;
	IF array_ndims(m.features) IS DISTINCT FROM 1
	   OR array_position(m.features, NULL) IS NOT NULL THEN
		PERFORM agentpay._refuse('22023',
			format('model "%s" needs features', m.name),
			'They are its inputs, in order: columns or features.',
			'Use features ''{amount}'', for example.');
	ELSIF m.kind = 'xgboost' THEN
		RETURN agentpay._check_trees(m);
	END IF;
	IF NOT coalesce(agentpay._is_number_array(
				jsonb_build_array(m.definition -> 'intercept'), 1), false) THEN
		PERFORM agentpay._refuse('22023',
			format('the definition of model "%s" has no valid intercept', m.name),
			'A logistic model is {"intercept", "coefficients", "mean", "scale"}.',
			mend);
	END IF;
	FOREACH part IN ARRAY '{coefficients,mean,scale}'::text[] LOOP
		IF NOT coalesce(agentpay._is_number_array(m.definition -> part,
												  cardinality(m.features)),
						false)
		   OR part = 'scale' AND jsonb_path_exists(m.definition -> part,
												   '$[*] ? (@ == 0)') THEN
			PERFORM agentpay._refuse('22023', format(
					'the definition of model "%s" has no valid %s',
					m.name, part),
				format('It is an array of %s numbers, one a feature%s.',
					   cardinality(m.features),
					   CASE part WHEN 'scale' THEN ', none of them 0'
					   ELSE '' END),
				mend);
		END IF;
	END LOOP;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_model_definition(agentpay.models)
	FROM PUBLIC;

CREATE FUNCTION agentpay._check_models() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	user_of text;
	report jsonb;
BEGIN
	IF agentpay._restoring() THEN
		RETURN coalesce(NEW, OLD);
	END IF;
	IF TG_OP = 'DELETE' THEN
		user_of := agentpay._caller_of('model', OLD.name);
		IF OLD.active AND user_of IS NOT NULL THEN
			PERFORM agentpay._refuse('55000', format(
					'version %s of model "%s" cannot be deleted',
					OLD.version, OLD.name),
				format('It is active, and used by %s.', user_of),
				coalesce((
					SELECT format('UPDATE agentpay.models SET active = true WHERE name = %L AND version = %s;',
								  m.name, max(m.version))
					  FROM agentpay.models m
					 WHERE m.name = OLD.name AND m.version <> OLD.version
					 GROUP BY m.name), 'Take it out there first.'));
		END IF;
		RETURN OLD;
	END IF;
	IF TG_OP = 'UPDATE' AND (OLD.name, OLD.version, OLD.kind, OLD.features,
			OLD.report, OLD.trained_at, OLD.definition)
		IS DISTINCT FROM (NEW.name, NEW.version, NEW.kind, NEW.features,
			NEW.report, NEW.trained_at, NEW.definition) THEN
		PERFORM agentpay._refuse('55000', format(
				'version %s of model "%s" is frozen', OLD.version, OLD.name),
			'Decisions name the version that they used; only active may change.',
			format('INSERT INTO agentpay.models (name, ...) VALUES (%L, ...); makes the next version.',
				   OLD.name));
	END IF;
	PERFORM agentpay._check_name('model', OLD.name, NEW.name);
	-- what is stored was checked; adopt(), which changes nothing, checks again
	IF OLD.active IS NULL OR OLD.active IS NOT DISTINCT FROM NEW.active THEN
		report := agentpay._check_model_definition(NEW);
	END IF;
	IF NEW.active AND NOT agentpay._is_probability(NEW) THEN
		SELECT a.name INTO user_of FROM agentpay.agents a
		 WHERE a.protocol = 'builtin' AND a.model = NEW.name LIMIT 1;
		IF FOUND THEN
			PERFORM agentpay._refuse('55000', format(
					'model "%s" answers with no probability, and agent "%s" needs one',
					NEW.name, user_of),
				format('Its objective is %s.',
					   agentpay._model_file(NEW) #>> '{learner,objective,name}'),
				'Give it another name.');
		END IF;
	END IF;
	IF TG_OP = 'INSERT' THEN
		NEW.report := coalesce(NEW.report, report);
		NEW.version := (SELECT coalesce(max(m.version), 0) + 1
						  FROM agentpay.models m WHERE m.name = NEW.name);
	END IF;
	IF NEW.active AND OLD.active IS DISTINCT FROM true THEN
		UPDATE agentpay.models m SET active = false
		 WHERE m.name = NEW.name AND m.active AND m.version <> NEW.version;
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_models() FROM PUBLIC;
