-- 21_list_history.sql
--		What was on which list at any moment, so that a decision can be tried
--		again with the lists of its time.
--
-- Each change of list_entries appends a row; what is on a list at a moment is
-- said by the latest row up to it.  Append-only, guarded and dumped as
-- agent_versions is.

CREATE TABLE agentpay._list_history (
	list text NOT NULL,
	value text NOT NULL,
	at timestamptz NOT NULL,
	seq bigint NOT NULL,
	present boolean NOT NULL,
	expires_at timestamptz,
	xid xid8 NOT NULL,
	PRIMARY KEY (list, value, at, seq));
REVOKE ALL ON agentpay._list_history FROM PUBLIC;
COMMENT ON TABLE agentpay._list_history IS 'every change of an entry of a list. Append-only';
COMMENT ON COLUMN agentpay._list_history.at IS 'of the change; other sessions see it from its commit on';
COMMENT ON COLUMN agentpay._list_history.present IS 'true: on the list, until expires_at; false: taken off';
SELECT pg_catalog.pg_extension_config_dump('agentpay._list_history', '');
CREATE SEQUENCE agentpay._list_history_seq;
REVOKE ALL ON SEQUENCE agentpay._list_history_seq FROM PUBLIC;
SELECT pg_catalog.pg_extension_config_dump('agentpay._list_history_seq', '');

-- ── writing ─────────────────────────────────────────────────────────────────
-- What the list says of that value now: one statement may take an entry off
-- and put it on again, in whatever order the triggers come.
CREATE FUNCTION agentpay._note_list_entry(list text, value text) RETURNS void
	LANGUAGE sql VOLATILE PARALLEL UNSAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	INSERT INTO agentpay._list_history (list, value, present, expires_at)
	SELECT _note_list_entry.list, _note_list_entry.value,
		   e.list IS NOT NULL, e.expires_at
	  FROM (SELECT) AS one
	  LEFT JOIN agentpay.list_entries e ON e.list = _note_list_entry.list
	   AND e.value = _note_list_entry.value
$$;
REVOKE ALL ON FUNCTION agentpay._note_list_entry(text, text) FROM PUBLIC;

CREATE FUNCTION agentpay._keep_list_history() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	IF agentpay._restoring() OR TG_OP = 'UPDATE'
	   AND (OLD.list, OLD.value, OLD.expires_at)
		   IS NOT DISTINCT FROM (NEW.list, NEW.value, NEW.expires_at) THEN
		RETURN NULL;
	END IF;
	IF TG_OP = 'DELETE' OR TG_OP = 'UPDATE'
	   AND (OLD.list, OLD.value) <> (NEW.list, NEW.value) THEN
		PERFORM agentpay._note_list_entry(OLD.list, OLD.value);
	END IF;
	IF TG_OP <> 'DELETE' THEN
		PERFORM agentpay._note_list_entry(NEW.list, NEW.value);
	END IF;
	RETURN NULL;
END$$;
REVOKE ALL ON FUNCTION agentpay._keep_list_history() FROM PUBLIC;
CREATE TRIGGER agentpay_history AFTER INSERT OR UPDATE OR DELETE
	ON agentpay.list_entries FOR EACH ROW
	EXECUTE FUNCTION agentpay._keep_list_history();
ALTER TABLE agentpay.list_entries ENABLE ALWAYS TRIGGER agentpay_history;

-- Whoever may write here can only say what is true now.
CREATE FUNCTION agentpay._list_history_insert() RETURNS trigger
	LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
	SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
	-- with a number it comes from another node's history
	IF agentpay._restoring()
	   OR (agentpay._is_apply_worker() AND NEW.seq IS NOT NULL) THEN
		RETURN NEW;
	END IF;
	IF NEW.present IS DISTINCT FROM EXISTS (
		SELECT FROM agentpay.list_entries e
		 WHERE e.list = NEW.list AND e.value = NEW.value
		   AND (NOT NEW.present
				OR e.expires_at IS NOT DISTINCT FROM NEW.expires_at)) THEN
		PERFORM agentpay._refuse('AP001',
			'agentpay._list_history is append-only: INSERT refused',
			'A row is written when an entry of a list changes.',
			format('INSERT INTO agentpay.list_entries (list, value) VALUES (%L, %L);',
				   NEW.list, NEW.value));
	END IF;
	NEW.at := agentpay._now();
	NEW.seq := nextval('agentpay._list_history_seq');
	NEW.xid := pg_current_xact_id();
	RETURN NEW;
END$$;
REVOKE ALL ON FUNCTION agentpay._list_history_insert() FROM PUBLIC;
CREATE TRIGGER agentpay_insert BEFORE INSERT ON agentpay._list_history
	FOR EACH ROW EXECUTE FUNCTION agentpay._list_history_insert();
CREATE TRIGGER agentpay_change BEFORE UPDATE OR DELETE
	ON agentpay._list_history FOR EACH ROW
	EXECUTE FUNCTION agentpay._refuse_change();
CREATE TRIGGER agentpay_truncate BEFORE TRUNCATE ON agentpay._list_history
	EXECUTE FUNCTION agentpay._refuse_change();
ALTER TABLE agentpay._list_history ENABLE ALWAYS TRIGGER agentpay_insert,
	ENABLE ALWAYS TRIGGER agentpay_change,
	ENABLE ALWAYS TRIGGER agentpay_truncate;

-- ── reading ─────────────────────────────────────────────────────────────────
CREATE FUNCTION agentpay._in_list_at(list text, value text, at timestamptz)
	RETURNS boolean
	LANGUAGE sql STABLE STRICT PARALLEL SAFE
	SET search_path = pg_catalog, pg_temp
AS $$
	SELECT coalesce((
		SELECT h.present AND coalesce(h.expires_at > _in_list_at.at, true)
		  FROM agentpay._list_history h
		 WHERE h.list = _in_list_at.list AND h.value = _in_list_at.value
		   AND h.at <= _in_list_at.at
		 ORDER BY h.at DESC, h.seq DESC LIMIT 1), false)
$$;
REVOKE ALL ON FUNCTION agentpay._in_list_at(text, text, timestamptz)
	FROM PUBLIC;
COMMENT ON FUNCTION agentpay._in_list_at(text, text, timestamptz) IS 'whether a value was on a list at that moment; false for a list that was not there';
