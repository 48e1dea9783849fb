-- 53_cases.sql
--		Cases: rows that a person is to look at.
--
-- agentpay opens them and resolve_case() closes them; in between people edit
-- assignee, state and due_at.  The INSERT path writes the table past its
-- triggers (src/control/cases.c), and so does agentpay._insert_case().

-- Whether a verdict of the rules opens a case.  By the role's own word: review,
-- exception, escalate.  In a vocabulary without it: of fraud the flagged
-- verdicts below the tightest, of reconciliation the flagged ones, of dispute
-- the default one.  Routes open none.
CREATE FUNCTION agentpay._needs_person(v agentpay.verdicts) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT CASE
		WHEN r.word IS NULL THEN false
		WHEN EXISTS (SELECT FROM agentpay.verdicts o
					  WHERE o.point = v.point AND o.verdict = r.word)
		THEN v.verdict = r.word
		WHEN p.role = 'fraud'
		THEN v.positive AND v.rank < (SELECT max(o.rank)
										FROM agentpay.verdicts o
									   WHERE o.point = v.point)
		WHEN p.role = 'reconciliation' THEN v.positive
		ELSE v.is_default END
	  FROM agentpay.decision_points p
	 CROSS JOIN LATERAL (SELECT CASE p.role WHEN 'fraud' THEN 'review'
			WHEN 'reconciliation' THEN 'exception'
			WHEN 'dispute' THEN 'escalate' END AS word) AS r
	 WHERE p.point = v.point);
END$$;
REVOKE ALL ON FUNCTION agentpay._needs_person(agentpay.verdicts) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._needs_person(agentpay.verdicts) IS 'whether a verdict of the rules opens a case';

CREATE TABLE agentpay.cases (
	case_id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	point text NOT NULL,
	row_id text NOT NULL,
	decision_id uuid NOT NULL,
	agent text,
	cause text NOT NULL CHECK (cause IN ('review','low_confidence','over_authority','audit','manual')),
	state text NOT NULL DEFAULT 'pending' CHECK (state IN ('pending','investigating','closed')),
	assignee name,
	opened_at timestamptz NOT NULL DEFAULT now(),
	due_at timestamptz NOT NULL,
	first_action_at timestamptz,
	closed_at timestamptz,
	resolution_id uuid,
	CHECK ((state = 'closed') = (closed_at IS NOT NULL AND resolution_id IS NOT NULL)));
CREATE UNIQUE INDEX cases_one_open ON agentpay.cases (point, row_id) WHERE state <> 'closed';
CREATE INDEX cases_row ON agentpay.cases (point, row_id);
COMMENT ON TABLE agentpay.cases IS 'rows that a person is to look at: opened by agentpay and by open_case(), closed by resolve_case(); you may change assignee, due_at, and state from pending to investigating';
COMMENT ON COLUMN agentpay.cases.decision_id IS 'the decision that opened it';
COMMENT ON COLUMN agentpay.cases.agent IS 'whose answer opened it; NULL: the rules, the audit sample or a person';
COMMENT ON COLUMN agentpay.cases.cause IS 'review: the verdict of the rules; low_confidence, over_authority: an agent''s answer that did not count; audit: drawn by audit_sample_percent; manual: open_case()';
COMMENT ON COLUMN agentpay.cases.assignee IS 'whoever looks at it; yours to set';
COMMENT ON COLUMN agentpay.cases.due_at IS 'opened_at and the point''s case_due; of a dispute, not later than the row''s respond_by';
COMMENT ON COLUMN agentpay.cases.first_action_at IS 'a person''s first action: investigating, or the resolution; not the assignment';
COMMENT ON COLUMN agentpay.cases.resolution_id IS 'the decision of kind human that closed it';
SELECT pg_catalog.pg_extension_config_dump('agentpay.cases', '');
SELECT pg_catalog.pg_extension_config_dump('agentpay.cases_case_id_seq', '');

-- ── guards ──────────────────────────────────────────────────────────────────
-- A case is closed by the human decision that this very transaction has
-- appended about it; nothing but resolve_case() can append one.
CREATE FUNCTION agentpay._is_resolution(c agentpay.cases) RETURNS boolean
	LANGUAGE plpgsql STABLE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
BEGIN
	RETURN (
	SELECT EXISTS (
		SELECT FROM agentpay.decisions d
		 WHERE d.decision_id = c.resolution_id AND d.kind = 'human'
		   AND d.point = c.point AND d.row_id = c.row_id
		   AND d.detail ->> 'case_id' = c.case_id::text
		   AND d.xid = pg_current_xact_id()));
END$$;
REVOKE ALL ON FUNCTION agentpay._is_resolution(agentpay.cases) FROM PUBLIC;

CREATE FUNCTION agentpay._check_cases() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	open_way constant text := 'SELECT agentpay.open_case(''fraud'', 4711, reason => ''...'');';
	changed text;
BEGIN
	IF agentpay._restoring() OR agentpay._is_apply_worker() THEN
		RETURN coalesce(NEW, OLD);
	ELSIF TG_OP = 'TRUNCATE' THEN
		PERFORM agentpay._refuse('42501', 'agentpay.cases cannot be truncated',
			'What people had to look at stays on record.',
			'SELECT agentpay.resolve_case(...); closes a case.');
	ELSIF TG_OP = 'INSERT' THEN
		PERFORM agentpay._refuse('42501', 'cases are opened by agentpay',
			'A case names the decision that opened it.', open_way);
	ELSIF TG_OP = 'DELETE' THEN
		PERFORM agentpay._refuse('42501',
			format('case %s cannot be deleted', OLD.case_id),
			'What people had to look at stays on record.',
			format('SELECT agentpay.resolve_case(%s, verdict => ''...'', reason => ''...''); closes it.',
				   OLD.case_id));
	ELSIF OLD.state = 'closed' AND to_jsonb(NEW) <> to_jsonb(OLD) THEN
		PERFORM agentpay._refuse('55000',
			format('case %s is closed', OLD.case_id),
			format('It was closed at %s.', OLD.closed_at), open_way);
	ELSIF NEW.state = 'closed' AND OLD.state <> 'closed' THEN
		IF NOT agentpay._is_resolution(NEW) THEN
			PERFORM agentpay._refuse('42501',
				format('case %s cannot be closed by UPDATE', OLD.case_id),
				'A resolution is a decision by a person, with a reason.',
				format('SELECT agentpay.resolve_case(%s, verdict => ''...'', reason => ''...'');',
					   OLD.case_id));
		END IF;
		RETURN NEW;
	END IF;
	SELECT string_agg(k.key, ', ' ORDER BY k.key) INTO changed
	  FROM jsonb_each(to_jsonb(NEW)) AS k
	 WHERE k.value <> to_jsonb(OLD) -> k.key
	   AND k.key <> ALL ('{assignee,state,due_at}');
	IF changed IS NOT NULL THEN
		PERFORM agentpay._refuse('42501',
			format('%s of a case cannot be changed', changed),
			'You may change assignee, due_at, and state from pending to investigating.',
			format('UPDATE agentpay.cases SET state = ''investigating'', assignee = current_user WHERE case_id = %s;',
				   OLD.case_id));
	ELSIF NEW.state IS NULL OR NEW.state NOT IN ('pending', 'investigating',
												 'closed') THEN
		PERFORM agentpay._refuse('23514',
			format('unknown state: %s', coalesce(quote_literal(NEW.state),
												 'NULL')),
			'States are pending, investigating and closed.',
			format('UPDATE agentpay.cases SET state = ''investigating'' WHERE case_id = %s;',
				   OLD.case_id));
	ELSIF NEW.state = 'pending' AND OLD.state = 'investigating' THEN
		PERFORM agentpay._refuse('55000',
			format('case %s is being investigated', OLD.case_id),
			'That somebody has begun stays on record.',
			format('UPDATE agentpay.cases SET assignee = NULL WHERE case_id = %s;',
				   OLD.case_id));
	ELSIF NOT isfinite(NEW.due_at) THEN
		PERFORM agentpay._refuse('22008', 'due_at must be a finite time',
			'A case without a due date is never overdue.',
			format('UPDATE agentpay.cases SET due_at = now() + interval ''1 day'' WHERE case_id = %s;',
				   OLD.case_id));
	ELSIF NEW.state = 'investigating' AND OLD.state = 'pending' THEN
		NEW.first_action_at := agentpay._now();
	END IF;
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._check_cases() FROM PUBLIC;

CREATE TRIGGER agentpay_check BEFORE INSERT OR UPDATE OR DELETE
	ON agentpay.cases FOR EACH ROW EXECUTE FUNCTION agentpay._check_cases();
CREATE TRIGGER agentpay_check_null BEFORE INSERT OR UPDATE ON agentpay.cases
	FOR EACH ROW EXECUTE FUNCTION agentpay._refuse_null();
-- who took, moved and closed it, and when
CREATE TRIGGER agentpay_govern AFTER UPDATE ON agentpay.cases
	FOR EACH ROW EXECUTE FUNCTION agentpay._govern_change('case', 'case_id');
CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE ON agentpay.cases
	EXECUTE FUNCTION agentpay._check_cases();
ALTER TABLE agentpay.cases ENABLE ALWAYS TRIGGER agentpay_check,
	ENABLE ALWAYS TRIGGER agentpay_check_null,
	ENABLE ALWAYS TRIGGER agentpay_govern,
	ENABLE ALWAYS TRIGGER agentpay_truncate;

-- ── opening ─────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._insert_case(c agentpay.cases) RETURNS bigint
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_sql_insert_case';
REVOKE ALL ON FUNCTION agentpay._insert_case(agentpay.cases) FROM PUBLIC;
COMMENT ON FUNCTION agentpay._insert_case(agentpay.cases) IS 'inserts a case past the table''s triggers, with a new case_id, which it returns; NULL: the row has an open case';
