-- 60_people.sql
--		What people tell agentpay: how payments turned out.

-- The checks and the row; record_outcome() has made the row's key text.
CREATE FUNCTION agentpay._record_outcome(point text, row_id text, label text,
	source text, amount_lost numeric, effective_at timestamptz) RETURNS uuid
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	p agentpay.decision_points := agentpay._point(point);
	id uuid := agentpay._uuid_v7();
BEGIN
	IF p.role = 'fraud' THEN
		IF label IS NULL OR label NOT IN ('fraud', 'legit') THEN
			PERFORM agentpay._refuse('22023', format('unknown label: %s',
					coalesce(quote_literal(label), 'NULL')),
				'A label says what turned out; of a point of role fraud it is fraud or legit.',
				format('SELECT agentpay.record_outcome(%L, %L, ''fraud'');',
					   point, row_id));
		END IF;
	ELSIF label IS NULL THEN
		PERFORM agentpay._refuse('22004', 'a label is missing',
			'It is the verdict that was right.',
			format('SELECT agentpay.record_outcome(%L, %L, ...);', point, row_id));
	ELSE
		PERFORM agentpay._check_verdict(point, label, 'the label');
	END IF;
	IF source IS NULL OR source <> ALL ('{chargeback,fraud_report,analyst,explore,audit,settlement,representment,import}') THEN
		PERFORM agentpay._refuse('22023', format('unknown source: %s',
				coalesce(quote_literal(source), 'NULL')),
			'Sources are chargeback, fraud_report, analyst, explore, audit, settlement, representment and import.',
			'Use source => ''analyst''.');
	END IF;
	PERFORM agentpay._check_range('amount_lost', amount_lost, 0, NULL,
								  'Leave amount_lost out when it is not known.');
	IF effective_at IS NULL OR NOT isfinite(effective_at) THEN
		PERFORM agentpay._refuse('22008', 'effective_at must be a finite time',
			'It is when the label became true in the world.',
			'Leave it out: it is now() then.');
	END IF;
	IF effective_at > agentpay._now() + interval '1 day' THEN
		PERFORM agentpay._refuse('22008',
			format('effective_at is in the future: %s', effective_at),
			'It is when the label became true in the world.',
			'Leave it out: it is now() then.');
	END IF;
	IF NOT EXISTS (SELECT FROM agentpay.decisions d
					WHERE d.point = p.point
					  AND d.row_id = _record_outcome.row_id)
	   OR NOT agentpay._sees(p.point, row_id) THEN
		PERFORM agentpay._refuse('42704',
			format('point "%s" has no decision about row %s', point,
				   coalesce(quote_literal(row_id), 'NULL')),
			format('A row is named by column "%s" of %s; rows from before attach() have no decision.', p.id_column, p.table_name)
				|| agentpay._kept_since(),
			format('SELECT %I FROM %s WHERE %I = %L;', p.id_column,
				   p.table_name, p.id_column, row_id));
	END IF;
	PERFORM agentpay._append(ROW(id, agentpay._now(), point, row_id, label,
		source, amount_lost, effective_at, session_user,
		NULL)::agentpay.outcomes);
	RETURN id;
END$$;
REVOKE ALL ON FUNCTION agentpay._record_outcome(text, text, text, text,
	numeric, timestamptz) FROM PUBLIC;

CREATE FUNCTION agentpay.record_outcome(point text, row_id "any", label text,
	source text DEFAULT 'analyst', amount_lost numeric DEFAULT NULL,
	effective_at timestamptz DEFAULT now()) RETURNS uuid
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_record_outcome';
REVOKE ALL ON FUNCTION agentpay.record_outcome(text, "any", text, text,
	numeric, timestamptz) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.record_outcome(text, "any", text, text, numeric,
	timestamptz)
	IS 'what turned out about a row: fraud or legit, or the verdict that was right; a correction is another call. Returns outcome_id';
