-- 61_disputes.sql
--		A dispute tells how its payment turned out.
--
-- record_dispute() is a trigger for a table of disputes.  It never fails the
-- row: what goes wrong is an event of the governance log, and advice names it.

CREATE FUNCTION agentpay._row_text(d record, column_name text, needed boolean)
	RETURNS text
	LANGUAGE C STABLE STRICT PARALLEL SAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_row_text';
REVOKE ALL ON FUNCTION agentpay._row_text(record, text, boolean) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._row_text(record, text, boolean) IS 'a column of any row as text, by its type''s own output function, so that no cast of the row''s owner runs; without such a column NULL, or an error if it is needed';

-- A part of the dispute: from the column of that name, unless the trigger's
-- arguments name another one.
CREATE FUNCTION agentpay._dispute_part(d record, args text[], part text,
	needed boolean) RETURNS text
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	named text := (SELECT substr(a, length(part) + 2)
					 FROM unnest(args[2:]) AS a
					WHERE starts_with(a, part || '=') LIMIT 1);
BEGIN
	RETURN agentpay._row_text(d, coalesce(named, part),
							  needed OR named IS NOT NULL);
END$$;
REVOKE ALL ON FUNCTION agentpay._dispute_part(record, text[], text, boolean)
	FROM PUBLIC;

-- What a dispute says of its payment now.  label is NULL when it says nothing
-- about fraud, or agentpay has no decision about the payment.
CREATE FUNCTION agentpay._dispute_claim(d record, args text[], OUT row_id text,
	OUT network text, OUT reason_code text, OUT mapped boolean,
	OUT label text, OUT source text, OUT amount_lost numeric,
	OUT effective_at timestamptz)
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	currency text := agentpay._dispute_part(d, args, 'currency', false);
	decided_currency text;
BEGIN
	row_id := agentpay._row_text(d, args[1], true);
	network := lower(btrim(agentpay._dispute_part(d, args, 'network', true)));
	reason_code := upper(btrim(
		agentpay._dispute_part(d, args, 'reason_code', true)));
	SELECT m.label INTO label FROM agentpay.outcome_mappings m
	 WHERE m.network = network AND m.reason_code = reason_code;
	mapped := FOUND;
	SELECT o.currency INTO decided_currency FROM agentpay.decisions o
	 WHERE o.point = args[0] AND o.row_id = row_id LIMIT 1;
	IF NOT FOUND THEN
		label := NULL;
	END IF;
	IF label = 'fraud'
	   AND agentpay._dispute_part(d, args, 'result', false) = 'won' THEN
		label := 'legit';
		source := 'representment';
		effective_at := agentpay._dispute_part(d, args, 'resolved_at', false);
	ELSE
		source := 'chargeback';
		effective_at := agentpay._dispute_part(d, args, 'received_at', false);
	END IF;
	effective_at := coalesce(effective_at, agentpay._now());
	IF label = 'legit' THEN
		amount_lost := 0;
	ELSIF currency IS NULL OR currency = decided_currency THEN
		amount_lost := agentpay._dispute_part(d, args, 'amount', false);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._dispute_claim(record, text[]) FROM PUBLIC;

CREATE FUNCTION agentpay._check_dispute_args(args text[]) RETURNS void
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points := agentpay._point(args[0]);
	wrong text := (SELECT a FROM unnest(args[2:]) AS a
					WHERE a !~ '^(network|reason_code|amount|currency|received_at|result|resolved_at)=.' LIMIT 1);
BEGIN
	IF p.role <> 'fraud' THEN
		PERFORM agentpay._refuse('22023',
			format('point "%s" has role %s', p.point, p.role),
			'A dispute says whether its payment was fraud.',
			'Name a point of role fraud in the trigger.');
	ELSIF wrong IS NOT NULL OR args[1] IS NULL THEN
		PERFORM agentpay._refuse('22023', CASE WHEN wrong IS NULL
				THEN 'the trigger names no column with the payment''s key'
				ELSE format('unknown argument of the trigger: %L', wrong) END,
			'After the point and the column with the payment''s key come network=column, reason_code=column, amount=column, currency=column, received_at=column, result=column and resolved_at=column.',
			'CREATE OR REPLACE TRIGGER ... EXECUTE FUNCTION agentpay.record_dispute(''fraud'', ''payment_id'', ''reason_code=code'');');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_dispute_args(text[]) FROM PUBLIC;

-- A code without a mapping, once for each.
CREATE FUNCTION agentpay._note_unmapped(relation regclass, network text,
	reason_code text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	code jsonb := jsonb_build_object(
		'network', left(agentpay._redact(network), 64),
		'reason_code', left(agentpay._redact(reason_code), 64));
BEGIN
	IF NOT EXISTS (SELECT FROM agentpay.governance_log g
					WHERE g.object_kind = 'dispute'
					  AND g.object = relation::text
					  AND g.action = 'unmapped' AND g.after = code) THEN
		PERFORM agentpay._govern('unmapped', 'dispute', relation::text, NULL,
								 NULL, code);
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._note_unmapped(regclass, text, text)
	FROM PUBLIC;

CREATE FUNCTION agentpay._note_dispute_failed(relation regclass, state text,
	message text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._govern('failed', 'dispute', relation::text,
		left(agentpay._redact(message), 500), NULL,
		jsonb_build_object('sqlstate', state));
EXCEPTION WHEN OTHERS THEN
	RAISE WARNING 'a dispute of % gave no label: %', relation,
		agentpay._redact(message)
		USING DETAIL = format('It could not be recorded either: %s.', SQLERRM);
END$$;
REVOKE ALL ON FUNCTION agentpay._note_dispute_failed(regclass, text, text)
	FROM PUBLIC;

-- An update that leaves the claim as it was recorded last adds nothing; so a
-- row that failed, or whose code got a mapping later, is told by updating it.
CREATE FUNCTION agentpay._is_recorded(point_name text, c record)
	RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	o agentpay.outcomes;
BEGIN
	SELECT l.* INTO o FROM agentpay.outcomes l
	 WHERE l.point = point_name AND l.row_id = c.row_id
	   AND l.source IN ('chargeback', 'representment')
	 ORDER BY l.observed_at DESC, l.outcome_id DESC LIMIT 1;
	RETURN (o.label, o.source, o.amount_lost)
		   IS NOT DISTINCT FROM (c.label, c.source, c.amount_lost);
END$$;
REVOKE ALL ON FUNCTION agentpay._is_recorded(text, record) FROM PUBLIC;

-- SECURITY DEFINER: whoever writes disputes needs no right on agentpay.  It
-- reads the row, appends labels about rows that its arguments' point knows, and
-- does nothing else; only those who were granted it put it on a table.
CREATE FUNCTION agentpay.record_dispute() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
	SET datestyle = 'ISO, MDY'
AS $$
DECLARE
	c record;
	before record;
BEGIN
	PERFORM agentpay._check_dispute_args(TG_ARGV);
	SELECT * INTO c FROM agentpay._dispute_claim(NEW, TG_ARGV);
	IF NOT c.mapped AND c.network <> '' AND c.reason_code <> '' THEN
		PERFORM agentpay._note_unmapped(TG_RELID, c.network, c.reason_code);
	END IF;
	IF TG_OP = 'UPDATE' THEN
		SELECT * INTO before FROM agentpay._dispute_claim(OLD, TG_ARGV);
		-- it speaks of fraud no more, or of another payment
		IF before.label = 'fraud'
		   AND (c.label IS NULL OR c.row_id <> before.row_id) THEN
			PERFORM agentpay._record_outcome(TG_ARGV[0], before.row_id, 'legit',
											 'chargeback', 0, agentpay._now());
		END IF;
	END IF;
	IF c.label IS NOT NULL AND NOT (TG_OP = 'UPDATE'
			AND agentpay._is_recorded(TG_ARGV[0], c)) THEN
		PERFORM agentpay._record_outcome(TG_ARGV[0], c.row_id, c.label,
			c.source, c.amount_lost, c.effective_at);
	END IF;
	RETURN NULL;
EXCEPTION WHEN OTHERS THEN
	PERFORM agentpay._note_dispute_failed(TG_RELID, SQLSTATE, SQLERRM);
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay.record_dispute() FROM PUBLIC;
COMMENT ON FUNCTION agentpay.record_dispute() IS 'AFTER ROW trigger for a table of disputes: the payment''s label, by outcome_mappings. Arguments: point, column with the payment''s key, then part=column where the table has other names than network, reason_code, amount, currency, received_at, result, resolved_at';
