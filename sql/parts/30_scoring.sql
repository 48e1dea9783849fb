-- 30_scoring.sql
--		Putting a point on a table and taking it off, versions of its rules,
--		and what rules may call.
--
-- Configuration is for the owner of the extension, a superuser: attach() puts
-- triggers on other people's tables.

-- ── the trigger pair (C) ────────────────────────────────────────────────────
CREATE FUNCTION agentpay._score_row() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_score_row';
REVOKE ALL ON FUNCTION agentpay._score_row() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._score_row() IS 'BEFORE ROW: evaluates the table''s points and fills their columns';

CREATE FUNCTION agentpay._record_row() RETURNS trigger
	LANGUAGE C VOLATILE PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_record_row';
REVOKE ALL ON FUNCTION agentpay._record_row() FROM PUBLIC;
COMMENT ON FUNCTION agentpay._record_row() IS 'AFTER ROW: appends what BEFORE decided, and the tasks of agents';

-- ── what rules may call (C) ─────────────────────────────────────────────────
CREATE FUNCTION agentpay.in_list(list text, value "any") RETURNS boolean
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_in_list';
REVOKE ALL ON FUNCTION agentpay.in_list(text, "any") FROM PUBLIC;
COMMENT ON FUNCTION agentpay.in_list(text, "any") IS 'whether the value''s text form is on the list now; NULL for NULL';

CREATE FUNCTION agentpay.model(name text) RETURNS double precision
	LANGUAGE C STABLE STRICT PARALLEL UNSAFE
	AS 'MODULE_PATHNAME', 'agentpay_model';
REVOKE ALL ON FUNCTION agentpay.model(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.model(text) IS 'the active version''s answer for the row, 0 to 1; only inside rules and invoke_when';

-- ── attach and detach ───────────────────────────────────────────────────────
CREATE FUNCTION agentpay._refuse_held() RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._ensure_started();
	IF agentpay._held() THEN
		PERFORM agentpay._refuse('AP003',
			'this database is a copy that waits for adopt()',
			'It was restored, copied or upgraded; nothing starts here until its owner says that it is the ledger now.',
			'SELECT agentpay.adopt();');
	END IF;
END$$;
REVOKE ALL ON FUNCTION agentpay._refuse_held() FROM PUBLIC;

-- One pair per table, whatever the number of its points.  The names sort last,
-- so that other triggers have changed the row before it is scored.  UPDATE and
-- DELETE change what windows count; on a partitioned table an UPDATE of the key
-- moves a row, too: UPDATE, DELETE, INSERT.
CREATE FUNCTION agentpay._install_triggers(relation regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF EXISTS (SELECT FROM pg_trigger WHERE tgrelid = relation
				  AND tgname = '~agentpay_score') THEN
		RETURN;
	END IF;
	EXECUTE format('CREATE TRIGGER "~agentpay_score"'
		' BEFORE INSERT OR UPDATE OR DELETE ON %1$s'
		' FOR EACH ROW EXECUTE FUNCTION agentpay._score_row();'
		' CREATE TRIGGER "~agentpay_record"'
		' AFTER INSERT OR UPDATE OR DELETE ON %1$s'
		' FOR EACH ROW EXECUTE FUNCTION agentpay._record_row();'
		' ALTER TABLE %1$s ENABLE ALWAYS TRIGGER "~agentpay_score",'
		' ENABLE ALWAYS TRIGGER "~agentpay_record"', relation);
END$$;
REVOKE ALL ON FUNCTION agentpay._install_triggers(regclass) FROM PUBLIC;

-- The vocabulary of a role.  Ranked roles: loosest first; fraud gives the
-- loosest by default and reconciliation the strictest, as dispute the last.
CREATE FUNCTION agentpay._fill_verdicts(point_name text, role text,
	wanted text[]) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	present text[] := (SELECT array_agg(v.verdict ORDER BY v.rank, v.verdict)
						 FROM agentpay.verdicts v WHERE v.point = point_name);
	names text[] := coalesce(wanted, CASE role
		WHEN 'fraud' THEN '{approve,review,decline}'
		WHEN 'reconciliation' THEN '{matched,exception}'
		WHEN 'dispute' THEN '{accept,contest,escalate}' END::text[]);
	ranked boolean := role IN ('fraud', 'reconciliation');
BEGIN
	IF present IS NOT NULL THEN
		IF wanted IS NOT NULL AND NOT (wanted @> present
									   AND wanted <@ present) THEN
			PERFORM agentpay._refuse('55000',
				format('point "%s" has other verdicts already', point_name),
				format('They are %s.', array_to_string(present, ', ')),
				'Leave verdicts out; INSERT and DELETE in agentpay.verdicts change them.');
		END IF;
		RETURN;
	END IF;
	IF coalesce(cardinality(names), 0) < 2 THEN
		PERFORM agentpay._refuse('22023',
			format('point "%s" needs at least two verdicts', point_name),
			CASE role WHEN 'routing' THEN 'A routing point chooses among its routes; the first one is the default.'
			ELSE 'There is nothing to decide otherwise.' END,
			'Use verdicts => ''{acquirer_a,acquirer_b}'', for example.');
	END IF;
	INSERT INTO agentpay.verdicts (point, verdict, rank, positive, is_default)
	SELECT point_name, n.name, CASE WHEN ranked THEN n.ord - 1 END,
		   CASE WHEN ranked THEN n.ord > 1 ELSE n.name = 'contest' END,
		   n.ord = CASE WHEN role IN ('fraud', 'routing') THEN 1
				   ELSE cardinality(names) END
	  FROM unnest(names) WITH ORDINALITY AS n (name, ord);
END$$;
REVOKE ALL ON FUNCTION agentpay._fill_verdicts(text, text, text[])
	FROM PUBLIC;

-- Says which columns lose what they were, for want of a master key.
CREATE FUNCTION agentpay._note_unsealed(relation regclass) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	columns text := (SELECT string_agg(d.column_name, ', ' ORDER BY d.column_name)
					   FROM agentpay.data_policies d
					  WHERE d.table_name = relation AND d.treatment <> 'pass'
						AND NOT agentpay._forbids(d.column_name));
BEGIN
	IF columns IS NULL OR agentpay._master_names() IS NOT NULL THEN
		RETURN;
	END IF;
	RAISE NOTICE 'there is no master key: of columns that a data policy treats, decisions keep the treated form only'
		USING DETAIL = format('Of %s: %s. Decisions that read them cannot be replayed, and tokenise withholds its values.',
							  relation, columns),
			  HINT = 'ALTER SYSTEM SET agentpay.master_key = ''file:/etc/agentpay/master.key''; SELECT pg_reload_conf();';
END$$;
REVOKE ALL ON FUNCTION agentpay._note_unsealed(regclass) FROM PUBLIC;

CREATE FUNCTION agentpay.attach(table_name regclass, point text, role text,
	id name, occurred_at name, amount name DEFAULT NULL,
	currency text DEFAULT NULL, subject name DEFAULT NULL,
	verdicts text[] DEFAULT NULL, idempotency name DEFAULT NULL,
	outcome name DEFAULT NULL, score name DEFAULT NULL,
	reasons name DEFAULT NULL) RETURNS text
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_column
DECLARE
	-- a column of that name, otherwise a code for all rows
	has_column boolean := EXISTS (
		SELECT FROM pg_attribute a WHERE a.attrelid = attach.table_name
		   AND a.attname = attach.currency AND a.attnum > 0
		   AND NOT a.attisdropped);
BEGIN
	PERFORM agentpay._refuse_held();
	IF NOT has_column AND attach.currency !~ '^[A-Z]{3}$' THEN
		PERFORM agentpay._refuse('42703', format(
				'currency: %L is neither a column of %s nor a currency code',
				attach.currency, attach.table_name),
			'A code has three capital letters, by ISO 4217.',
			format('Use currency => %L, for example, for all rows.',
				   CASE WHEN attach.currency ~ '^[A-Za-z]{3}$'
				   THEN upper(attach.currency) ELSE 'USD' END));
	END IF;
	INSERT INTO agentpay.decision_points (point, table_name, role, id_column,
		occurred_at_column, amount_column, currency_column, currency,
		subject_column, outcome_column, score_column, reasons_column,
		idempotency_column)
	VALUES (attach.point, attach.table_name, attach.role, attach.id,
		attach.occurred_at, attach.amount,
		CASE WHEN has_column THEN attach.currency END,
		CASE WHEN NOT has_column THEN attach.currency END, attach.subject,
		attach.outcome, attach.score, attach.reasons, attach.idempotency)
	ON CONFLICT (point) DO UPDATE
	   SET table_name = excluded.table_name, role = excluded.role,
		   id_column = excluded.id_column,
		   occurred_at_column = excluded.occurred_at_column,
		   amount_column = excluded.amount_column,
		   currency_column = excluded.currency_column,
		   currency = excluded.currency,
		   subject_column = excluded.subject_column,
		   outcome_column = excluded.outcome_column,
		   score_column = excluded.score_column,
		   reasons_column = excluded.reasons_column,
		   idempotency_column = excluded.idempotency_column,
		   enabled = true;
	PERFORM agentpay._fill_verdicts(attach.point, attach.role,
									attach.verdicts);
	PERFORM agentpay._install_triggers(attach.table_name);
	PERFORM agentpay._govern('attach', 'point', attach.point, NULL, NULL,
		jsonb_build_object('table_name', attach.table_name::text));
	PERFORM agentpay._note_unsealed(attach.table_name);
	RETURN attach.point;
END$$;
REVOKE ALL ON FUNCTION agentpay.attach(regclass, text, text, name, name, name,
	text, name, text[], name, name, name, name) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.attach(regclass, text, text, name, name, name,
	text, name, text[], name, name, name, name)
	IS 'puts a point on a table: its new rows are scored from now on. Never rewrites the table; a second call resumes the point';

CREATE FUNCTION agentpay.detach(point text) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points := agentpay._point(detach.point);
BEGIN
	PERFORM agentpay._refuse_held();
	UPDATE agentpay.decision_points d SET enabled = false
	 WHERE d.point = p.point;
	IF EXISTS (SELECT FROM pg_class WHERE oid = p.table_name)
	   AND NOT EXISTS (SELECT FROM agentpay.decision_points d
						WHERE d.table_name = p.table_name AND d.enabled) THEN
		EXECUTE format('DROP TRIGGER IF EXISTS "~agentpay_score" ON %1$s;'
			' DROP TRIGGER IF EXISTS "~agentpay_record" ON %1$s',
			p.table_name);
	END IF;
	PERFORM agentpay._govern('detach', 'point', p.point, NULL, NULL, NULL);
END$$;
REVOKE ALL ON FUNCTION agentpay.detach(text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.detach(text) IS 'takes a point off its table; its configuration and its logs stay';

-- ── versions of rules ───────────────────────────────────────────────────────
CREATE FUNCTION agentpay.draft(point text, from_version int DEFAULT NULL)
	RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	source agentpay.rulesets;
	new_version int;
BEGIN
	PERFORM agentpay._point(draft.point);
	-- one draft at a time is numbered
	PERFORM FROM agentpay.decision_points p
	  WHERE p.point = draft.point FOR NO KEY UPDATE;
	SELECT * INTO source FROM agentpay.rulesets s
	 WHERE s.point = draft.point
	   AND CASE WHEN from_version IS NULL THEN s.state = 'active'
		   ELSE s.version = from_version END;
	IF NOT FOUND AND from_version IS NOT NULL THEN
		PERFORM agentpay._refuse_version(draft.point, from_version);
	END IF;
	INSERT INTO agentpay.rulesets (point, version, mode, thresholds, on_error,
								   description)
	VALUES (draft.point, NULL,
			coalesce(source.mode, CASE WHEN EXISTS (
				SELECT FROM agentpay.verdicts v WHERE v.point = draft.point
				   AND v.rank IS NOT NULL) THEN 'score'
				ELSE 'first_match' END),
			coalesce(source.thresholds, '{}'), source.on_error,
			source.description)
	RETURNING version INTO new_version;
	INSERT INTO agentpay.rules (point, version, code, condition, score,
		verdict, reason, priority, enabled, snoozed_until)
	SELECT r.point, new_version, r.code, r.condition, r.score, r.verdict,
		   r.reason, r.priority, r.enabled, r.snoozed_until
	  FROM agentpay.rules r
	 WHERE r.point = source.point AND r.version = source.version;
	RETURN new_version;
END$$;
REVOKE ALL ON FUNCTION agentpay.draft(text, int) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.draft(text, int) IS 'a new draft, copied from a version (left out: the active one, or empty); returns its version';

CREATE FUNCTION agentpay._refuse_version(point_name text, version int)
	RETURNS void
	LANGUAGE sql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT agentpay._refuse('42704',
		CASE WHEN version IS NULL
		THEN format('point "%s" has no draft', point_name)
		ELSE format('point "%s" has no version %s', point_name, version) END,
		coalesce((SELECT 'Versions are ' || string_agg(format('%s (%s)',
					s.version, s.state), ', ' ORDER BY s.version) || '.'
					FROM agentpay.rulesets s WHERE s.point = point_name),
				 'It has no rules yet.'),
		-- a rule makes the draft
		(SELECT format('INSERT INTO agentpay.rules (point, code, condition, verdict) VALUES (%L, ''FIRST_RULE'', ''false'', %L);',
					   point_name, v.verdict)
		   FROM agentpay.verdicts v WHERE v.point = point_name
		  ORDER BY v.rank DESC NULLS LAST, v.is_default DESC, v.verdict
		  LIMIT 1))
$$;
REVOKE ALL ON FUNCTION agentpay._refuse_version(text, int) FROM PUBLIC;

-- The trigger checks every rule and retires the version before.
CREATE FUNCTION agentpay._activate(s agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	UPDATE agentpay.rulesets r
	   SET state = 'active', activated_at = agentpay._now()
	 WHERE r.point = s.point AND r.version = s.version;
	PERFORM agentpay._govern('activate', 'ruleset',
		format('%s.%s', s.point, s.version), NULL, NULL, NULL);
END$$;
REVOKE ALL ON FUNCTION agentpay._activate(agentpay.rulesets) FROM PUBLIC;

-- The request is an event of the governance log; its actor is who asked.
CREATE FUNCTION agentpay._ask_approval(s agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	PERFORM agentpay._check_rule(r, s) FROM agentpay.rules r
	  WHERE r.point = s.point AND r.version = s.version;
	PERFORM agentpay._govern('ask', 'ruleset',
		format('%s.%s', s.point, s.version), NULL, NULL, jsonb_build_object(
			'digest', agentpay._ruleset_digest(s.point, s.version)));
	RAISE NOTICE 'version % of point "%" waits for approve() by another login than "%"',
				 s.version, s.point, session_user
		USING HINT = format('SELECT agentpay.approve(%L, %s, reason => ''...'');',
							s.point, s.version);
END$$;
REVOKE ALL ON FUNCTION agentpay._ask_approval(agentpay.rulesets) FROM PUBLIC;

-- No approval is needed: it decides nothing.
CREATE FUNCTION agentpay._activate_shadow(s agentpay.rulesets) RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF s.state = 'shadow' THEN
		RAISE NOTICE 'version % of point "%" is in shadow already',
					 s.version, s.point;
		RETURN;
	END IF;
	UPDATE agentpay.rulesets r SET state = 'shadow'
	 WHERE r.point = s.point AND r.version = s.version;
	PERFORM agentpay._govern('activate', 'ruleset',
		format('%s.%s', s.point, s.version), NULL, NULL,
		jsonb_build_object('as_shadow', true));
END$$;
REVOKE ALL ON FUNCTION agentpay._activate_shadow(agentpay.rulesets)
	FROM PUBLIC;

CREATE FUNCTION agentpay.activate(point text, version int DEFAULT NULL,
	as_shadow boolean DEFAULT false) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	chosen agentpay.rulesets;
BEGIN
	PERFORM agentpay._refuse_held();
	PERFORM agentpay._point(activate.point);
	-- one activate() or revert() of a point at a time
	PERFORM FROM agentpay.rulesets s WHERE s.point = activate.point
	  ORDER BY s.version FOR UPDATE;
	SELECT * INTO chosen FROM agentpay.rulesets s
	 WHERE s.point = activate.point
	   AND CASE WHEN activate.version IS NULL THEN s.state = 'draft'
		   ELSE s.version = activate.version END
	 ORDER BY s.version DESC LIMIT 1 FOR UPDATE;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse_version(activate.point, activate.version);
	END IF;
	IF coalesce(as_shadow, false) THEN
		PERFORM agentpay._activate_shadow(chosen);
		RETURN chosen.version;
	END IF;
	IF chosen.state = 'active' THEN
		RAISE NOTICE 'version % of point "%" is active already',
					 chosen.version, chosen.point;
		RETURN chosen.version;
	END IF;
	IF (agentpay._point(chosen.point)).four_eyes THEN
		PERFORM agentpay._ask_approval(chosen);
	ELSE
		PERFORM agentpay._activate(chosen);
	END IF;
	RETURN chosen.version;
END$$;
REVOKE ALL ON FUNCTION agentpay.activate(text, int, boolean) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.activate(text, int, boolean) IS 'lets a version of the rules decide (left out: the newest draft), and freezes it; returns it. With four_eyes, it waits for approve(). as_shadow: it is evaluated and logged with each payment, without effect';

-- What was asked, unless it was answered since.
CREATE FUNCTION agentpay._open_request(s agentpay.rulesets)
	RETURNS agentpay.governance_log
	LANGUAGE plpgsql VOLATILE PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	request agentpay.governance_log;
BEGIN
	SELECT g.* INTO request FROM agentpay.governance_log g
	 WHERE g.object_kind = 'ruleset'
	   AND g.object = format('%s.%s', s.point, s.version)
	   AND g.action IN ('ask', 'approve', 'activate')
	 ORDER BY g.logged_at DESC, g.event_id DESC LIMIT 1;
	IF request.action IS DISTINCT FROM 'ask' THEN
		PERFORM agentpay._refuse('55000',
			format('nobody asked to activate version %s of point "%s"',
				   s.version, s.point),
			'One login asks, another one approves.',
			format('SELECT agentpay.activate(%L, %s);', s.point, s.version));
	END IF;
	RETURN request;
END$$;
REVOKE ALL ON FUNCTION agentpay._open_request(agentpay.rulesets) FROM PUBLIC;

CREATE FUNCTION agentpay.approve(point text, version int, reason text)
	RETURNS void
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	p agentpay.decision_points;
	chosen agentpay.rulesets;
	request agentpay.governance_log;
BEGIN
	PERFORM agentpay._refuse_held();
	p := agentpay._point(approve.point);
	IF coalesce(btrim(approve.reason), '') = '' THEN
		PERFORM agentpay._refuse('22023', 'approve() needs a reason',
			'It is kept in the governance log.',
			format('SELECT agentpay.approve(%L, %s, reason => ''tried on payments of last week'');',
				   p.point, coalesce(approve.version::text, 'version')));
	END IF;
	SELECT * INTO chosen FROM agentpay.rulesets s
	 WHERE s.point = p.point AND s.version = approve.version FOR UPDATE;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse_version(p.point,
										 coalesce(approve.version, 0));
	ELSIF NOT p.four_eyes THEN
		PERFORM agentpay._refuse('55000',
			format('point "%s" needs no approval', p.point),
			'Its four_eyes is false: activate() is enough.',
			format('SELECT agentpay.activate(%L, %s);', p.point,
				   chosen.version));
	END IF;
	-- nobody changes a rule between the look and the approval
	PERFORM FROM agentpay.rules r
	  WHERE r.point = p.point AND r.version = chosen.version FOR UPDATE;
	request := agentpay._open_request(chosen);
	IF request.actor = session_user THEN
		PERFORM agentpay._refuse('42501',
			format('"%s" asked to activate version %s of point "%s", and cannot approve it',
				   session_user, chosen.version, p.point),
			'Four eyes are those of two logins; SET ROLE makes no other.',
			format('Let another login run SELECT agentpay.approve(%L, %s, reason => ''...'');',
				   p.point, chosen.version));
	ELSIF request.after ->> 'digest'
		  <> agentpay._ruleset_digest(p.point, chosen.version) THEN
		PERFORM agentpay._refuse('55000',
			format('version %s of point "%s" has changed since it was asked for',
				   chosen.version, p.point),
			format('"%s" asked at %s for another content.', request.actor,
				   request.logged_at),
			format('SELECT agentpay.activate(%L, %s); asks for the present one.',
				   p.point, chosen.version));
	END IF;
	PERFORM agentpay._govern('approve', 'ruleset',
		format('%s.%s', p.point, chosen.version), approve.reason, NULL,
		request.after || jsonb_build_object('asked_by', request.actor));
	PERFORM agentpay._activate(chosen);
END$$;
REVOKE ALL ON FUNCTION agentpay.approve(text, int, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.approve(text, int, text) IS 'four_eyes: lets the version decide for which another session_user has called activate()';

CREATE FUNCTION agentpay.revert(point text, reason text) RETURNS int
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
	back_to int;
	current_version int;
BEGIN
	PERFORM agentpay._refuse_held();
	PERFORM agentpay._point(revert.point);
	IF coalesce(btrim(reason), '') = '' THEN
		PERFORM agentpay._refuse('22023', 'revert() needs a reason',
			'It is kept in the governance log.',
			format('SELECT agentpay.revert(%L, reason => ''too many declines'');',
				   revert.point));
	END IF;
	PERFORM FROM agentpay.rulesets s WHERE s.point = revert.point
	  ORDER BY s.version FOR UPDATE;
	-- by when activate() made it active: going back does not make it newer, so
	-- that a second revert() goes one further
	SELECT old.version, cur.version INTO back_to, current_version
	  FROM agentpay.rulesets cur JOIN agentpay.rulesets old USING (point)
	 WHERE cur.point = revert.point AND cur.state = 'active'
	   AND old.state IN ('retired', 'shadow')
	   AND old.activated_at <= cur.activated_at
	 ORDER BY old.activated_at DESC, old.version DESC LIMIT 1
	   FOR UPDATE;
	IF NOT FOUND THEN
		PERFORM agentpay._refuse('55000',
			format('point "%s" has no version to go back to', revert.point),
			'No version was active before the present one.',
			format('SELECT agentpay.detach(%L); takes the point off its table.',
				   revert.point));
	END IF;
	UPDATE agentpay.rulesets s SET state = 'active'
	 WHERE s.point = revert.point AND s.version = back_to;
	PERFORM agentpay._govern('revert', 'ruleset',
		format('%s.%s', revert.point, back_to), revert.reason,
		jsonb_build_object('version', current_version),
		jsonb_build_object('version', back_to));
	RETURN back_to;
END$$;
REVOKE ALL ON FUNCTION agentpay.revert(text, text) FROM PUBLIC;
COMMENT ON FUNCTION agentpay.revert(text, text) IS 'back to the version that was active before; returns it';
