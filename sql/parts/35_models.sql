-- 35_models.sql
--		Models that are fitted here, logistic regression from the ledger's own
--		rows and labels; and those that were trained elsewhere.

-- ── the arithmetic ──────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._fit_logistic(x double precision[], y boolean[],
	train_rows int, l2 double precision, weight_legit double precision,
	weight_fraud double precision,
	OUT converged boolean, OUT iterations int, OUT objective double precision,
	OUT intercept double precision, OUT coefficients double precision[],
	OUT mean double precision[], OUT scale double precision[],
	OUT auc double precision, OUT average_precision double precision,
	OUT precision_at_100 double precision, OUT scores double precision[])
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_fit_logistic';
REVOKE ALL ON FUNCTION agentpay._fit_logistic(double precision[], boolean[], int, double precision, double precision, double precision) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._fit_logistic(double precision[], boolean[], int, double precision, double precision, double precision) IS 'fits to the first train_rows rows of x, measures on the others';

-- ── the inputs ──────────────────────────────────────────────────────────────
-- For one of train_logistic()'s features the expression that reads it, of the
-- table's row p or of its rules decision's inputs d.inputs.
CREATE FUNCTION agentpay._training_input(point text, feature text) RETURNS text
	LANGUAGE plpgsql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	relation regclass := (SELECT d.table_name FROM agentpay.decision_points d
		WHERE d.point = _training_input.point);
	column_type regtype := (SELECT a.atttypid FROM pg_attribute a
		WHERE a.attrelid = relation AND a.attname = feature
			AND a.attnum > 0 AND NOT a.attisdropped);
	base_type regtype := (SELECT CASE WHEN t.typtype = 'd'
			THEN t.typbasetype ELSE t.oid END
		FROM pg_type t WHERE t.oid = column_type);
BEGIN
	IF column_type IS NULL THEN
		IF EXISTS (SELECT FROM agentpay.features f
			WHERE f.point = _training_input.point AND f.name = feature) THEN
			RETURN format($q$CASE jsonb_typeof(d.inputs -> %1$L)
				WHEN 'number' THEN (d.inputs ->> %1$L)::float8
				WHEN 'boolean' THEN (d.inputs ->> %1$L)::boolean::int END$q$,
				feature);
		END IF;
		PERFORM agentpay._refuse('42703', format(
				'point "%s" has no column or feature "%s"', point, feature),
			format('Columns are those of %s; features are the rows of agentpay.features.',
				relation),
			format('Columns that can be used: %s. Features: %s.',
				(SELECT coalesce(string_agg(a.attname, ', ' ORDER BY a.attnum), 'none')
					FROM pg_attribute a WHERE a.attrelid = relation
					AND a.attnum > 0 AND NOT a.attisdropped
					AND a.atttypid = ANY ('{int2,int4,int8,float4,float8,numeric,bool}'::regtype[])),
				(SELECT coalesce(string_agg(f.name, ', ' ORDER BY f.name), 'none')
					FROM agentpay.features f WHERE f.point = _training_input.point)));
	ELSIF base_type = 'boolean'::regtype THEN
		RETURN format('(p.%I)::boolean::int', feature);
	ELSIF base_type = ANY ('{int2,int4,int8,float4,float8,numeric}'::regtype[]) THEN
		RETURN format('(p.%I)::float8', feature);
	END IF;
	PERFORM agentpay._refuse('42804', format(
			'column "%s" is of type %s, and a logistic regression takes numbers',
			feature, column_type),
		'Integers, numeric, floating point and boolean columns can be used.',
		format('Leave it out, or add a number made of it: ALTER TABLE %s ADD COLUMN %I double precision;',
			relation, feature || '_number'));
END$$;
REVOKE ALL ON FUNCTION agentpay._training_input(text, text) FROM PUBLIC;

-- What train_logistic()'s arguments must be.
CREATE FUNCTION agentpay._check_training(name text, point text,
	features text[], label_delay interval, l2 double precision,
	holdout double precision) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	role text := (agentpay._point(point)).role;
	twice text := (SELECT f FROM unnest(features) f GROUP BY f
		HAVING count(*) > 1 LIMIT 1);
BEGIN
	PERFORM agentpay._check_name('model', NULL, name);
	IF role <> 'fraud' THEN
		PERFORM agentpay._refuse('22023',
			format('point "%s" has role %s', point, role),
			'Logistic regression tells fraud from legit, the labels of role fraud.',
			'SELECT point FROM agentpay.decision_points WHERE role = ''fraud'';');
	ELSIF coalesce(cardinality(features), 0) = 0
		OR array_position(features, NULL) IS NOT NULL THEN
		PERFORM agentpay._refuse('22023',
			'a model needs at least one feature, and none may be null',
			'features names columns of the table and features of the point.',
			'Pass features => ''{amount}'', for example.');
	ELSIF twice IS NOT NULL THEN
		PERFORM agentpay._refuse('22023',
			format('feature "%s" is named twice', twice),
			'Each input has one coefficient.',
			format('Leave one of the two "%s" out of features.', twice));
	ELSIF l2 IS NULL OR NOT l2 BETWEEN 0 AND 1e9 THEN
		PERFORM agentpay._refuse('22023',
			format('l2 is out of range: %s', coalesce(l2::text, 'NULL')),
			'It weighs the penalty on large coefficients, from 0 to 1e9.',
			'Leave it out for the default, 1.');
	ELSIF holdout IS NULL OR NOT holdout BETWEEN 0 AND 0.9 THEN
		PERFORM agentpay._refuse('22023', format('holdout is out of range: %s',
				coalesce(holdout::text, 'NULL')),
			'It is the share of the rows, the latest ones, that the model is measured on, from 0 to 0.9.',
			'Leave it out for the default, 0.3.');
	END IF;
	PERFORM agentpay._check_span('label_delay', label_delay, true);
END$$;
REVOKE ALL ON FUNCTION agentpay._check_training(text, text, text[], interval, double precision, double precision) FROM PUBLIC;

-- The rows to train on, in the order of their time: inputs as a matrix,
-- whether each was fraud, its subject (NULL: the point names none), its day. A row's label counts where it is known: the point's
-- labels are complete, or it is old enough and nothing kept its label from
-- coming. That holds for both classes, or recent rows would be frauds only.
CREATE FUNCTION agentpay._training_rows(point text, features text[],
	since timestamptz, until timestamptz, label_delay interval,
	OUT x double precision[], OUT y boolean[], OUT immature bigint,
	OUT latest timestamptz, OUT present bigint[], OUT subjects text[],
	OUT days date[])
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	at_point agentpay.decision_points;
	occurred_at text;
	inputs text;
BEGIN
	SELECT * INTO at_point FROM agentpay.decision_points d
		WHERE d.point = _training_rows.point;
	SELECT CASE a.atttypid WHEN 'timestamptz'::regtype
			THEN format('p.%I', a.attname)
			ELSE format('p.%I::timestamp AT TIME ZONE %L', a.attname, at_point.time_zone)
		END INTO occurred_at
		FROM pg_attribute a WHERE a.attrelid = at_point.table_name
		AND a.attname = at_point.occurred_at_column;
	SELECT string_agg(agentpay._training_input(point, f), ', ' ORDER BY o)
		INTO inputs FROM unnest(features) WITH ORDINALITY AS u(f, o);
	EXECUTE format($q$
		WITH payments AS (
			SELECT p.%1$I::text AS row_id, %2$s AS occurred_at, %3$s AS inputs,
				%8$s AS subject
			FROM %4$s p
			LEFT JOIN (
				SELECT DISTINCT ON (row_id) row_id, inputs
				FROM agentpay.decisions
				WHERE %5$L AND point = $1 AND kind = 'rules'
				ORDER BY row_id, decided_at DESC) d ON d.row_id = p.%1$I::text),
		labels AS (
			SELECT DISTINCT ON (row_id) row_id, label FROM agentpay.outcomes
			WHERE point = $1 ORDER BY row_id, observed_at DESC, outcome_id DESC),
		withheld AS (
			SELECT DISTINCT d.row_id FROM agentpay.decisions d
			LEFT JOIN agentpay._row_effects e
				ON e.point = d.point AND e.row_id = d.row_id
			LEFT JOIN agentpay.verdicts v ON v.point = d.point
				AND v.verdict = coalesce(e.given, d.verdict)
			WHERE NOT %6$L AND d.point = $1 AND d.kind = 'rules'
				AND d.assignment <> 'explore'
				AND CASE WHEN e.given IS NULL THEN d.propensity < 1
					OR (d.assignment = 'audit' AND v.positive)
					ELSE v.positive END),
		rows AS (
			SELECT p.*, coalesce(l.label = 'fraud', false) AS fraud,
				%6$L OR (p.occurred_at <= agentpay._now() - $5
					AND (l.label IS NOT NULL OR w.row_id IS NULL)) AS known
			FROM payments p
			LEFT JOIN labels l USING (row_id)
			LEFT JOIN withheld w USING (row_id)
			WHERE ($2 IS NULL OR p.occurred_at >= $2)
				AND ($3 IS NULL OR p.occurred_at < $3)
				AND p.occurred_at <= (SELECT max(occurred_at) FROM payments) - $4)
		SELECT array_agg(inputs ORDER BY occurred_at, row_id) FILTER (WHERE known),
			array_agg(fraud ORDER BY occurred_at, row_id) FILTER (WHERE known),
			count(*) FILTER (WHERE NOT known),
			(SELECT max(occurred_at) FROM payments) - $4,
			ARRAY[%7$s],
			array_agg(subject ORDER BY occurred_at, row_id) FILTER (WHERE known),
			array_agg((occurred_at AT TIME ZONE %9$L)::date ORDER BY occurred_at, row_id) FILTER (WHERE known)
		FROM rows$q$,
		at_point.id_column, occurred_at, format('ARRAY[%s]::float8[]', inputs),
		at_point.table_name, strpos(inputs, 'd.inputs') > 0,
		at_point.labels_complete,
		(SELECT string_agg(format('count(inputs[%s]) FILTER (WHERE known)', o),
						   ', ' ORDER BY o)
		   FROM generate_series(1, cardinality(features)) AS o),
		coalesce('p.' || quote_ident(at_point.subject_column), 'NULL') || '::text',
		at_point.time_zone)
	INTO x, y, immature, latest, present, subjects, days
	USING point, since, until, label_delay, at_point.label_maturity;
END$$;
REVOKE ALL ON FUNCTION agentpay._training_rows(text, text[], timestamptz, timestamptz, interval) FROM PUBLIC;

-- Card precision@k as the Fraud Detection Handbook defines it: of each day's k
-- subjects with the highest score of one of their rows, the share with a fraud
-- that day, those found on an earlier day left out; and of that the mean over
-- the days. NULL when no row has a subject.
CREATE FUNCTION agentpay._card_precision(scores double precision[],
	frauds boolean[], subjects text[], days date[], k int)
	RETURNS double precision
	LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	card record;
	day date;
	n_days int := 0;
	seen int;
	found text[] := '{}';
	before text[];
BEGIN
	FOR card IN
		SELECT u.day, u.subject, bool_or(u.fraud) AS fraud
		  FROM unnest(scores, frauds, subjects, days) AS u (score, fraud, subject, day)
		 WHERE u.subject IS NOT NULL
		 GROUP BY u.day, u.subject
		 ORDER BY u.day, max(u.score) DESC, u.subject COLLATE "C"
	LOOP
		IF card.day IS DISTINCT FROM day THEN
			day := card.day;
			n_days := n_days + 1;
			seen := 0;
			before := found;
		END IF;
		CONTINUE WHEN seen = k OR card.subject = ANY (before);
		seen := seen + 1;
		IF card.fraud THEN
			found := found || card.subject;
		END IF;
	END LOOP;
	RETURN cardinality(found)::double precision / nullif(n_days, 0) / k;
END$$;
REVOKE ALL ON FUNCTION agentpay._card_precision(double precision[], boolean[], text[], date[], int) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._card_precision(double precision[], boolean[], text[], date[], int) IS 'card precision@k of the Fraud Detection Handbook';

-- ── train_logistic ──────────────────────────────────────────────────────────
CREATE FUNCTION agentpay.train_logistic(name text, point text,
	features text[], since timestamptz DEFAULT NULL,
	until timestamptz DEFAULT NULL, label_delay interval DEFAULT '7 days',
	l2 double precision DEFAULT 1.0, holdout double precision DEFAULT 0.3,
	class_weights text DEFAULT 'none')
	RETURNS TABLE (version int, rows bigint, frauds bigint, converged boolean,
		iterations int, auc double precision, average_precision double precision,
		precision_at_100 double precision)
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	data record;
	fit record;
	train_rows int;
	train_frauds bigint;
	absent text;
	weight_legit double precision := 1;
	weight_fraud double precision := 1;
BEGIN
	PERFORM agentpay._check_training(train_logistic.name, train_logistic.point,
		train_logistic.features, label_delay, l2, holdout);
	IF class_weights IS NULL OR class_weights NOT IN ('none', 'balanced') THEN
		PERFORM agentpay._refuse('22023', format(
				'class_weights %s is neither none nor balanced',
				coalesce(quote_literal(class_weights), 'NULL')),
			'none: each row counts once; balanced: frauds count as much in total as the other rows.',
			format('SELECT * FROM agentpay.train_logistic(%L, %L, %L, class_weights => ''balanced'');',
				train_logistic.name, train_logistic.point, train_logistic.features));
	END IF;
	SELECT * INTO data FROM agentpay._training_rows(train_logistic.point,
		train_logistic.features, since, until, label_delay) r;
	train_logistic.rows := coalesce(cardinality(data.y), 0);
	SELECT count(*) FILTER (WHERE u.fraud),
			count(*) FILTER (WHERE u.fraud AND u.o <= ceil(train_logistic.rows * (1 - holdout)))
		INTO train_logistic.frauds, train_frauds
		FROM unnest(data.y) WITH ORDINALITY AS u(fraud, o);
	train_rows := ceil(train_logistic.rows * (1 - holdout));

	IF train_logistic.rows < 50 THEN
		PERFORM agentpay._refuse('55000', format(
				'there are %s rows to train on, and 50 are needed',
				train_logistic.rows),
			format('Rows count up to %s, the latest of the table less label_delay; the labels of %s of those asked for are not known yet.',
				coalesce(data.latest::text, 'nothing'), data.immature),
			format('Choose an earlier since, a later until, a shorter label_delay, or UPDATE agentpay.decision_points SET label_maturity = ... WHERE point = %L;',
				train_logistic.point));
	ELSIF train_frauds = 0 OR train_frauds = train_rows THEN
		PERFORM agentpay._refuse('55000', format(
				'%s of the %s rows to train on are frauds',
				CASE train_frauds WHEN 0 THEN 'none' ELSE 'all' END,
				train_rows),
			format('The latest %s rows are held out; %s of them are frauds.',
				train_logistic.rows - train_rows,
				train_logistic.frauds - train_frauds),
			format('SELECT agentpay.record_outcome(%L, ..., ''fraud''); or choose an earlier since.',
				train_logistic.point));
	END IF;
	SELECT f.name INTO absent
	  FROM unnest(train_logistic.features, data.present) AS f (name, rows)
	 WHERE f.rows = 0 LIMIT 1;
	IF FOUND THEN
		PERFORM agentpay._refuse('55000', format(
				'"%s" has no value in any of the %s rows to train on', absent,
				train_logistic.rows),
			'A feature has one from when rules or agents began to read it; the decisions hold it.',
			format('INSERT INTO agentpay.rules (point, code, condition, score) VALUES (%L, %L, %L, 0); SELECT agentpay.activate(%1$L); and train when payments have come.',
				train_logistic.point, 'READS_' || upper(left(absent, 40)),
				quote_ident(absent) || ' > 0'));
	END IF;

	IF class_weights = 'balanced' THEN
		weight_legit := train_rows / (2.0 * (train_rows - train_frauds));
		weight_fraud := train_rows / (2.0 * train_frauds);
	END IF;
	SELECT * INTO fit FROM agentpay._fit_logistic(data.x, data.y, train_rows,
		l2, weight_legit, weight_fraud) f;
	INSERT INTO agentpay.models (name, kind, features, definition, report)
	VALUES (train_logistic.name, 'logistic', train_logistic.features,
		jsonb_build_object('intercept', fit.intercept,
			'coefficients', fit.coefficients, 'mean', fit.mean, 'scale', fit.scale),
		jsonb_build_object('point', train_logistic.point,
			'since', since, 'until', until, 'label_delay', label_delay,
			'l2', l2, 'holdout', holdout, 'class_weights', class_weights,
			'weight_legit', weight_legit, 'weight_fraud', weight_fraud,
			'rows', train_logistic.rows, 'frauds', train_logistic.frauds,
			'trained_rows', train_rows, 'trained_frauds', train_frauds,
			'unknown_labels', data.immature,
			'converged', fit.converged, 'iterations', fit.iterations,
			'objective', fit.objective, 'auc', fit.auc,
			'average_precision', fit.average_precision,
			'precision_at_100', fit.precision_at_100,
			'card_precision_at_100', agentpay._card_precision(fit.scores,
				data.y[train_rows + 1:], data.subjects[train_rows + 1:],
				data.days[train_rows + 1:], 100)))
	RETURNING models.version INTO train_logistic.version;

	converged := fit.converged;
	iterations := fit.iterations;
	auc := fit.auc;
	average_precision := fit.average_precision;
	precision_at_100 := fit.precision_at_100;
	RETURN NEXT;
END$$;
REVOKE ALL ON FUNCTION agentpay.train_logistic(text, text, text[], timestamptz, timestamptz, interval, double precision, double precision, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.train_logistic(text, text, text[], timestamptz, timestamptz, interval, double precision, double precision, text) IS 'fits a logistic regression to a point''s rows and labels, weighted by class if asked, measures it on the latest share (holdout), and stores it as the model''s next, active version';

-- ── load_model ──────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay.load_model(name text, definition jsonb,
	features text[]) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	loaded record;
BEGIN
	INSERT INTO agentpay.models (name, kind, features, definition)
	VALUES (load_model.name, 'xgboost', load_model.features,
		load_model.definition)
	RETURNING models.version, models.report INTO loaded;
	IF (loaded.report ->> 'trees_used')::int
		< (loaded.report ->> 'trees')::int THEN
		RAISE NOTICE 'model "%" answers with % of its % trees', load_model.name,
			loaded.report ->> 'trees_used', loaded.report ->> 'trees'
			USING DETAIL = 'Training stopped early, and XGBoost''s scikit-learn classes answer with the best round and those before it.',
				HINT = 'To use all, before it is saved: model.get_booster().set_attr(best_iteration=None)';
	END IF;
	RETURN loaded.version;
END$$;
REVOKE ALL ON FUNCTION agentpay.load_model(text, jsonb, text[]) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.load_model(text, jsonb, text[]) IS 'stores gradient-boosted trees, in XGBoost''s JSON or {"xgboost": that, "class": 1}, as the model''s next, active version; features names its inputs in order';
